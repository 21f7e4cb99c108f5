"""mlp-jax analyse."""

from dataclasses import dataclass
from typing import Any

from mlp_jax.answers.analysis import analyse, analysis_record
from mlp_jax.answers.terminal import print_table
from mlp_jax.answers.words import answer, findings, question, tables
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._using import RunPath
from mlp_jax.runs.directory import read_run

_KEPT = (
    "variant",
    "learning rate",
    "M",
    "step in M",
    "from M to the best",
    "from M to wider",
    "test",
    "best learning rate",
)
"""Columns that even a narrow terminal has to show."""


@dataclass
class Analyse:
    """Say what a run found: how many hidden units are enough, what each step in M gains, and how sure that is."""

    run: RunPath
    """What mlp-jax sweep wrote."""
    json: bool = False
    """Print everything as JSON."""


def run(options: Analyse) -> int:
    """Run the command; returns the exit code."""
    run = read_run(options.run)
    analysis = analyse(run.trials, run.history, run.config, run.timing, run.outcomes)
    if options.json:
        print_json(analysis_record(analysis))
        return 0
    console = console_for()
    console.print(question(run.config), style="bold", highlight=False, markup=False)
    console.print(str(answer(analysis)), highlight=False, markup=False, soft_wrap=not console.is_terminal)
    for found in tables(analysis):
        console.print()
        drop = [heading for heading in reversed(found.headings) if heading not in _KEPT]
        prose = "variant" if "variant" in found.headings else None
        look: dict[str, Any] = {"title": found.title, "title_justify": "left", "left": ("variant",), "prose": prose}
        print_table(console, found.headings, found.rows, drop=drop, **look)
        for note in found.notes:
            console.print(note, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    console.print()
    for sentence in findings(analysis):
        console.print(sentence, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    return 0
