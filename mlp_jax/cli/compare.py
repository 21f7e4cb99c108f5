"""mlp-jax compare."""

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mlp_jax.answers.compare import compare, comparison_record, side_of
from mlp_jax.answers.compare_words import comparison_answer, comparison_tables
from mlp_jax.answers.terminal import print_table
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.errors import InputError
from mlp_jax.runs.directory import new_directory, read_run

MOST_RUNS = len(string.ascii_uppercase)


@dataclass
class Compare:
    """Hold runs against the first of them: what differs in how they were made, and what that changes, width by width.

    Trials are matched by their point of the grid and by their seed; where no seeds are shared, they are compared
    unpaired, and it says so. Runs of different data are shown side by side.
    """

    runs: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN RUN ...")]]
    """What mlp-jax sweep wrote, two or more; the first is what the others are held against."""
    out: Path | None = None
    """Directory to draw figures to, a new or empty one; by default none are drawn."""
    format: Literal["png", "svg"] = "png"
    """Of the figures."""
    json: bool = False
    """Print everything as JSON."""


def run(options: Compare) -> int:
    """Run the command; returns the exit code."""
    if not 2 <= len(options.runs) <= MOST_RUNS:
        raise InputError(f"{len(options.runs)} runs are named: expected 2 to {MOST_RUNS}, as in mlp-jax compare A B")
    resolved = [path.resolve() for path in options.runs]
    if twice := next((path for path in resolved if resolved.count(path) > 1), None):
        raise InputError(f"{twice} is named {resolved.count(twice)} times: expected each run once")
    sides = [side_of(name, read_run(path)) for name, path in zip(string.ascii_uppercase, options.runs, strict=False)]
    found = compare(sides)
    if options.out is not None:
        from mlp_jax.answers import plots

        with new_directory(options.out) as partial:
            for name, figure, _ in plots.comparison_figures(sides, found):
                plots.save(figure, partial / f"{name}.{options.format}")
    paths = dict(zip(found.names, map(str, options.runs), strict=True))
    if options.json:
        print_json({"paths": paths} | comparison_record(found))
        return 0
    console = console_for()
    for name, where in paths.items():
        console.print(f"{name}: {where}", highlight=False, markup=False, soft_wrap=True)
    said = comparison_answer(found)
    console.print(str(said), highlight=False, markup=False, soft_wrap=not console.is_terminal)
    for table in comparison_tables(found):
        console.print()
        kept = ("setting", *found.names, "run", "M", "difference", f"test {found.measure_name}")
        drop = [heading for heading in reversed(table.headings) if heading not in kept]
        left = ("setting", *found.names, "run", "variant") if table.headings[0] in ("setting", "run") else ()
        look: dict[str, Any] = {"title": table.title, "title_justify": "left", "left": left}
        print_table(console, table.headings, table.rows, drop=drop, **look)
        for note in table.notes:
            console.print(note, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    if options.out is not None:
        console.print(f"Written to {options.out}/", highlight=False, soft_wrap=True)
    return 0
