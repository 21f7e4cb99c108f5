"""What the studies share: records of what they found, and the table and figure that a page shows of each.

A study is a module with ``NAME``, ``table(record)`` and ``figure(record)``. A record says what was asked for, so that a
table made of it can't claim more.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

import mlp_jax
from mlp_jax.answers import plots
from mlp_jax.answers.plots.style import Figure

ROOT = Path(__file__).parents[1]
PUBLISHED, RECORDS = ROOT / "experiments" / "published", ROOT / "experiments" / "records"
FIGURES, PAGE = ROOT / "docs" / "studies", ROOT / "docs" / "studies.md"

sys.path.append(str(ROOT / "benchmarks"))

from _record import environment, filled, markdown, read_record, write_record  # noqa: E402

__all__ = [
    "PUBLISHED",
    "begin",
    "chosen",
    "command_line",
    "count_of",
    "finish",
    "log_axis",
    "markdown",
    "peak",
    "percent",
    "signed",
    "swept",
    "taken",
]

Record = dict[str, Any]


def command_line(main: Callable[..., None], said: str | None) -> None:
    """Run a study from the command line; a user's mistake is one line and exit code 2."""
    try:
        tyro.cli(main, description=said)
    except mlp_jax.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def chosen(what: str, values: Sequence[float], known: Sequence[float]) -> None:
    """Raise InputError unless something was published for each of the values."""
    for value in values:
        if value not in known:
            raise mlp_jax.InputError(f"{what} {value}: expected some of {', '.join(map(str, known))}")


def begin(**asked: Any) -> Record:
    """A record to be filled: what was asked for, and with what; to be called before anything is trained."""
    return {"asked": asked, "environment": environment()}


def taken(record: Record, seconds: float) -> str:
    """How long it took, on what; processor time, too, as studies are long and may run beside other work."""
    env, busy = record["environment"], record.get("processor_seconds")
    spent = f" ({busy / 60:.0f} minutes of processor time in all)" if busy else ""
    return f"{seconds / 60:.1f} minutes on {env['cores']} cores of {env['cpu']}{spent}"


def finish(
    name: str,
    record: Record | None,
    table: Callable[[Record], str],
    figure: Callable[[Record], Figure],
    *,
    out: Path,
    page: bool,
) -> None:
    """Write a study's record and figure, print its table and, if asked to, show all three in the repository's page.

    Args:
        name: of the study, and of its files.
        record: what was found; None for what the repository's own record says.
        table: of a record, as Markdown.
        figure: of a record.
        out: directory for record and figure.
        page: also put them into the repository, and the table into docs/studies.md.
    """
    if record is None:
        record = read_record(RECORDS, name)
    print(table(record))
    for directory, pictures in ((out / name, out / name), *([(RECORDS, FIGURES)] if page else [])):
        pictures.mkdir(parents=True, exist_ok=True)
        path = write_record(record, directory, name)
        plots.save(figure(record), pictures / f"{name}.png")
        print(f"record: {path}; figure: {pictures / name}.png")
    shutil.rmtree(out / name / "checkpoints", ignore_errors=True)
    if page:
        text = filled(PAGE.read_text(encoding="utf-8"), {name: lambda: table(record)})
        PAGE.write_text(text, encoding="utf-8")


def swept(
    record: Record, what: str, grid: mlp_jax.Grid, dataset: mlp_jax.Dataset, recipe: mlp_jax.Recipe, place: Path
) -> tuple[mlp_jax.SweepResult, float]:
    """Train a study's networks, or go on where the same command was interrupted; says how far it is every ten seconds.

    Args:
        record: to whose ``processor_seconds`` the processor time is added, of all attempts.
        what: is trained, for people.
        grid: the networks.
        dataset: what they are trained on.
        recipe: how.
        place: directory for checkpoints, which ``finish`` removes with the one that it is in.

    Returns:
        The result, and the seconds that it took, in all attempts.
    """
    notes, states = place / "spent.json", place / "states"
    before = json.loads(notes.read_text()) if notes.exists() else {"seconds": 0.0, "processor_seconds": 0.0}
    place.mkdir(parents=True, exist_ok=True)
    began, busy, last = time.perf_counter(), time.process_time(), time.perf_counter()

    def spent() -> dict[str, float]:
        now = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - busy}
        return {name: before[name] + now[name] for name in before}

    def say(now: Any) -> None:
        nonlocal last
        if time.perf_counter() - last >= 10:
            last = time.perf_counter()
            left = (last - began) * (1 - now.done) / now.done if now.done else 0
            print(f"{what}: {100 * now.done:.0f} %, about {left:.0f} s left", flush=True)
            notes.write_text(json.dumps(spent()))

    there: dict[str, Any] = {"resume" if states.exists() else "checkpoints": states}
    result = mlp_jax.sweep(grid, dataset, recipe=recipe, on_epoch=say, **there)
    notes.write_text(json.dumps(spent()))
    record["processor_seconds"] = round(record.get("processor_seconds", 0) + spent()["processor_seconds"], 1)
    return result, spent()["seconds"]


def peak(widths: Sequence[int], errors: Sequence[float]) -> int | None:
    """The width whose error lies farthest above the least of a narrower network; None where error only falls."""
    rise = np.array(errors) - np.minimum.accumulate(errors)
    return widths[int(rise.argmax())] if rise.max() > 0 else None


def percent(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation of shares, in percent; the mean alone of one."""
    mean = 100 * sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    deviation = (sum((100 * value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """A difference, with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def count_of(number: int, thing: str) -> str:
    """A number of things, which are more than one unless it is 1."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def log_axis(axes: Axes) -> None:
    """A vertical log axis with plain numbers."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
