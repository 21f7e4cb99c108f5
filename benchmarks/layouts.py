"""Time both layouts, with one, some and all replicas side by side: what ``layout="auto"`` chooses by.

    python benchmarks/layouts.py

The article's widths and 4 seeds; every combination trains an epoch in turn, in one process, and the median counts.
Takes 2 minutes on 2 cores. Writes a record and a figure, layouts-cpu (-gpu), to benchmarks/records.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro
from _chart import Bar, Panel, draw
from _record import RECORDS, environment, summary, write_record
from rich.console import Console
from rich.table import Table

import mlp_jax


@dataclass(frozen=True)
class Options:
    """Time both layouts, with one, some and all replicas side by side."""

    rounds: int = 5
    """Epochs of each combination to time."""
    widths: tuple[int, ...] = (10, 25, 50, 100, 150, 200)
    """Hidden units of the trials of a replica."""
    seeds: int = 4
    """Replicas."""
    out: Path = RECORDS
    """Directory of the record and the figure."""


def main(options: Options) -> None:
    """Measure, and write down what was found."""
    if options.rounds < 1:
        sys.exit(f"rounds is {options.rounds}: expected 1 or more")
    record = environment()
    dataset = mlp_jax.load_dataset("mnist")
    grid = mlp_jax.Grid(options.widths, seeds=options.seeds)
    beside = dict.fromkeys((1, 2, options.seeds))
    seconds: dict[tuple[str, int], list[float]] = {(name, n): [] for name in ("packed", "vmap") for n in beside}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        for (layout, at_once), samples in seconds.items():
            recipe = mlp_jax.Recipe(epochs=2)  # the first of them warms up
            result = mlp_jax.sweep(grid, dataset, recipe=recipe, layout=layout, replicas_at_once=at_once)
            samples.append(result.timing.epochs[1] / options.seeds)
    backend = jax.default_backend()
    record |= {
        "widths": options.widths,
        "seeds": options.seeds,
        "backend": backend,
        "results": [
            {"layout": layout, "replicas_at_once": at_once, "seconds_an_epoch_and_replica": summary(samples)}
            for (layout, at_once), samples in seconds.items()
        ],
    }
    best = min(np.median(samples) for samples in seconds.values())
    table = Table(title="Seconds an epoch and replica")
    for heading in ("layout", "side by side", "median", "against the best"):
        table.add_column(heading, justify="left" if heading == "layout" else "right")
    for (layout, at_once), samples in seconds.items():
        median = float(np.median(samples))
        table.add_row(layout, str(at_once), f"{median:.3f}", f"{median / best:.2f} ×")
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    written = write_record(record, options.out, f"layouts-{'cpu' if backend == 'cpu' else 'gpu'}")
    bars = [
        Bar(f"{layout}, {at_once} side by side", samples, bool(np.median(samples) == best))
        for (layout, at_once), samples in seconds.items()
    ]
    machine = f"{record['cpu']}, {record['cores']} cores, backend {backend}, median of {options.rounds}"
    heading = f"{options.seeds} replicas of M = {', '.join(map(str, options.widths))}"
    draw([Panel("", bars)], heading, "seconds an epoch and replica", machine, written.with_suffix(".png"))
    print(f"Written: {written.name} and {written.with_suffix('.png').name}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
