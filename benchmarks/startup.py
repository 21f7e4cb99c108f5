"""Time what a user waits for: from the start of the process to the first epoch, and to the figures on disk.

    python benchmarks/startup.py

``mlp-jax sweep`` (the article's widths, one seed, one epoch) without a compilation cache, with an empty one, and with
one that holds the same sweep; and, before it, Python alone and ``import mlp_jax``. They take turns. Takes 2 minutes on
2 cores. Writes a record and a figure, startup-cpu (-gpu), to benchmarks/records.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from _chart import Bar, Panel, draw
from _record import RECORDS, environment, summary, write_record
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Options:
    """Time what a user waits for: from the start of the process to the first epoch, and to the figures on disk."""

    rounds: int = 5
    """How often to start everything."""
    widths: tuple[int, ...] = (10, 25, 50, 100, 150, 200)
    """Hidden units of the sweep."""
    out: Path = RECORDS
    """Directory of the record and the figure."""


def main(options: Options) -> None:
    """Measure, and write down what was found."""
    if options.rounds < 1:
        sys.exit(f"rounds is {options.rounds}: expected 1 or more")
    record = environment()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        kept = {"XDG_CACHE_HOME": f"{folder}/kept"}
        _sweep(options, Path(folder) / "first", kept)  # fills the cache, and the operating system's
        backend = json.loads((Path(folder) / "first" / "environment.json").read_text(encoding="utf-8"))["backend"]
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            _add(seconds, "python", _whole([sys.executable, "-c", "pass"]))
            _add(seconds, "import mlp_jax", _whole([sys.executable, "-c", "import mlp_jax"]))
            for title, variables, extra in (
                ("no cache", kept, ["--no-cache"]),
                ("cache empty", {"XDG_CACHE_HOME": f"{folder}/empty-{number}"}, []),
                ("cached", kept, []),
            ):
                place = Path(folder) / f"{number}-{title.replace(' ', '-')}"
                first, end = _sweep(options, place, variables, *extra)
                _add(seconds, f"{title}: to the first epoch", first)
                _add(seconds, f"{title}: to the figures", end)
    record |= {
        "widths": options.widths,
        "results": [{"name": title, "whole": summary(samples)} for title, samples in seconds.items()],
    }
    table = Table(title="Seconds from the start of the process")
    for heading in ("", "median", "min", "max"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in record["results"]:
        table.add_row(row["name"], *(f"{row['whole'][key]:.2f}" for key in ("median", "min", "max")))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    written = write_record(record, options.out, f"startup-{'cpu' if backend == 'cpu' else 'gpu'}")
    bars = [Bar(title, samples, title.startswith("cached")) for title, samples in seconds.items()]
    machine = f"{record['cpu']}, {record['cores']} cores, backend {backend}, median of {options.rounds}"
    heading = f"mlp-jax sweep, M = {', '.join(map(str, options.widths))}, one seed"
    draw([Panel("", bars)], heading, "seconds from the start of the process", machine, written.with_suffix(".png"))
    print(f"Written: {written.name} and {written.with_suffix('.png').name}")


def _add(seconds: dict[str, list[float]], title: str, sample: float) -> None:
    seconds.setdefault(title, []).append(sample)


def _whole(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - begun


def _sweep(options: Options, out: Path, variables: Mapping[str, str], *extra: str) -> tuple[float, float]:
    """Run the command; seconds to the first epoch, and to its end, when the figures are on the disk."""
    command = [sys.executable, "-c", "from mlp_jax.cli import main; main()", "sweep", "--seeds", "1", "--epochs", "1"]
    command += ["--hidden-units", *map(str, options.widths), "--out", str(out), *extra]
    begun = time.perf_counter()
    first = None
    with subprocess.Popen(command, env=os.environ | dict(variables), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if first is None and line.startswith("epoch 1/"):
                first = time.perf_counter() - begun
    if process.returncode or first is None:
        sys.exit(f"mlp-jax sweep ended with exit code {process.returncode}")
    return first, time.perf_counter() - begun


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
