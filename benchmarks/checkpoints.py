"""Time what checkpoints cost a sweep: none, as many as by default, one after every epoch.

    python benchmarks/checkpoints.py

The article's widths on MNIST with 10 seeds, so that a sweep lasts long enough to be saved. Waited is what training
waited for a save; the rest of a save goes on beside it and shows in the time of the epochs, which vary anyway. Takes
5 minutes on 2 cores. Writes a record and a figure, checkpoints-cpu (-gpu), to benchmarks/records.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from _chart import Bar, Panel, draw
from _record import RECORDS, environment, write_record
from rich.console import Console
from rich.table import Table

import mlp_jax


@dataclass(frozen=True)
class Options:
    """Time what checkpoints cost a sweep: none, as many as by default, one after every epoch."""

    seeds: int = 10
    """Replicas."""
    epochs: int = 24
    """Of the sweeps without checkpoints and with as many as by default; the third has a quarter."""
    out: Path = RECORDS
    """Directory of the record and the figure."""


def main(options: Options) -> None:
    """Measure, and write down what was found."""
    if options.epochs < 4:
        sys.exit(f"epochs is {options.epochs}: expected 4 or more")
    record = environment()
    dataset = mlp_jax.load_dataset("mnist")
    grid = mlp_jax.Grid(seeds=options.seeds)
    results: list[dict[str, Any]] = []
    mlp_jax.sweep(grid, dataset, recipe=mlp_jax.Recipe(epochs=1))  # warms up
    for title, epochs, every in (
        ("none", options.epochs, None),
        ("by default", options.epochs, None),
        ("after every epoch", options.epochs // 4, 1),
    ):
        print(f"checkpoints: {title}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            place = None if title == "none" else Path(folder) / "checkpoints"
            timing = mlp_jax.sweep(
                grid, dataset, recipe=mlp_jax.Recipe(epochs=epochs), checkpoints=place, checkpoint_every=every
            ).timing
        training = sum(timing.epochs)
        results.append(
            {
                "checkpoints": title,
                "epochs": epochs,
                "epoch": float(np.median(timing.epochs)),
                "training": training,
                "waited": timing.saving,
                "share": timing.saving / (training + timing.saving),
            }
        )
    backend = jax.default_backend()
    table = Table(title=f"{len(grid.trials)} trials")
    for heading in ("checkpoints", "epochs", "median epoch (s)", "training (s)", "waited (s)", "share"):
        table.add_column(heading, justify="left" if heading == "checkpoints" else "right")
    for row in results:
        seconds = (f"{row[key]:.2f}" for key in ("epoch", "training", "waited"))
        table.add_row(row["checkpoints"], str(row["epochs"]), *seconds, f"{100 * row['share']:.1f} %")
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    record |= {"seeds": options.seeds, "backend": backend, "costs": results}
    written = write_record(record, options.out, f"checkpoints-{'cpu' if backend == 'cpu' else 'gpu'}")
    bars = [Bar(f"{row['checkpoints']}, {row['epochs']} epochs", [row["waited"]], False) for row in results[1:]]
    machine = f"{record['cpu']}, {record['cores']} cores, backend {backend}"
    heading = f"A sweep of {len(grid.trials)} trials"
    draw(
        [Panel("", bars)], heading, "seconds that training waited for checkpoints", machine, written.with_suffix(".png")
    )
    print(f"Written: {written.name} and {written.with_suffix('.png').name}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
