"""mlp-jax report."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mlp_jax.answers.analysis import analyse
from mlp_jax.answers.compare import compare, side_of
from mlp_jax.answers.report import comparison_section, page
from mlp_jax.cli._using import RunPath, check_file, figure_arguments
from mlp_jax.errors import InputError
from mlp_jax.files import written_whole
from mlp_jax.runs.directory import Run, read_run


@dataclass
class Report:
    """Write the report of a run: one HTML page with the answer, tables, figures, and how to run it again.

    The page is self-contained: it needs no other file, no network and no script.
    """

    run: RunPath
    """What mlp-jax sweep wrote."""
    against: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Another run, to say in a section whether this one is better than that, and where (mlp-jax compare)."""
    out: Path | None = None
    """HTML file to write; by default report.html in the run directory."""
    dataset: str | None = None
    """The run's data set, if it has moved; by default loaded by its original name, else from the recorded path."""


def run(options: Report) -> int:
    """Run the command; returns the exit code."""
    if options.against is not None and options.against.resolve() == options.run.resolve():
        raise InputError(f"--against is {options.against}: expected another run than the one that is reported")
    run = read_run(options.run)
    out = options.out or run.path / "report.html"
    check_file(out, ".html", ".htm")
    other = None if options.against is None else read_run(options.against)
    from mlp_jax.answers import plots

    notes: list[str] = []
    arguments = figure_arguments(run, notes.append, options.dataset)
    for note in notes:
        print(f"mlp-jax: {note}", file=sys.stderr)
    analysis = analyse(run.trials, run.history, run.config, run.timing, run.outcomes)
    against = "" if other is None else _compared(run, other)
    text = page(run.config, run.environment, analysis, plots.run_figures(**arguments), notes, against)
    with written_whole(out) as file:
        file.write(text.encode())
    print(f"Written to {out}")
    return 0


def _compared(run: Run, other: Run) -> str:
    """The section that holds a run against another one."""
    from mlp_jax.answers import plots

    sides = [side_of("A", other), side_of("B", run)]
    found = compare(sides)
    return comparison_section(found, {"A": str(other.path), "B": "this run"}, plots.comparison_figures(sides, found))
