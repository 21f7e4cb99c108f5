"""mlp-jax analyse."""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.table import Table as RichTable

from mlp_jax.analysis import analyse, analysis_record
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.report import answer, findings, question, tables
from mlp_jax.runs import read_run


@dataclass
class Analyse:
    """Say what a run found: intervals over seeds and of the test set, what each step in M gains, where it saturates."""

    run: tyro.conf.Positional[Path]
    """What mlp-jax sweep wrote."""
    json: bool = False
    """Print everything as JSON."""


def run(options: Analyse) -> int:
    """Run the command; returns the exit code."""
    run = read_run(options.run)
    analysis = analyse(run.trials, run.history, run.config, run.timing)
    if options.json:
        print_json(analysis_record(analysis))
        return 0
    console = console_for()
    console.print(question(run.config), style="bold", highlight=False, markup=False)
    console.print(answer(analysis), highlight=False, markup=False, soft_wrap=not console.is_terminal)
    for found in tables(analysis):
        table = RichTable(title=found.title, title_justify="left", caption_justify="left")
        for heading in found.headings:
            table.add_column(heading, justify="right")
        for row in found.rows:
            table.add_row(*row)
        console.print()
        console.print(table)
        for note in found.notes:
            console.print(note, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    console.print()
    for sentence in findings(analysis):
        console.print(sentence, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    return 0
