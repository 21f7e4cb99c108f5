"""Time a search by successive halving against the whole sweep: 16 widths × 16 learning rates, 3 seeds, 20 epochs.

    python benchmarks/search.py             # as above, on MNIST
    python benchmarks/search.py --quick     # 4 × 4, on 5,000 images, 8 epochs: to see that it works

Each is a process of its own, so that both compile everything. Says how long each takes to its results, which share of
the search is compilation, which configuration each picks, and by how much they differ, in standard errors of the
sweep's best over its seeds. Takes about an hour on 2 cores. Writes a record, search-cpu (-gpu), to benchmarks/records.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from _record import RECORDS, environment, summary, write_record
from rich.console import Console
from rich.table import Table

import mlp_jax


@dataclass(frozen=True)
class Options:
    """Time a search against the whole sweep."""

    widths: int = 16
    """How many, from 8 to 256, evenly on a logarithmic scale."""
    rates: int = 16
    """Likewise learning rates, from 1e-4 to 1e-1."""
    seeds: int = 3
    """Of each configuration."""
    epochs: int = 20
    """Of the sweep, and of what a search trains to the end."""
    eta: int = 4
    """One in so many configurations goes on at a rung."""
    examples: int = 55_000
    """To train on."""
    rounds: int = 1
    """How many times each is run, in turns."""
    quick: bool = False
    """A small problem instead."""
    out: Path = RECORDS
    """Directory of the record."""
    worker: Literal["", "search", "sweep"] = ""
    """Run one of the two, and print what came of it as JSON: for this program's own use."""


def problem(options: Options) -> tuple[mlp_jax.Grid, mlp_jax.Dataset, mlp_jax.Recipe]:
    """What both are asked."""
    widths = dict.fromkeys(np.geomspace(8, 256, options.widths).round().astype(int).tolist())
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(1e-4, 1e-1, options.rates)]
    grid = mlp_jax.Grid(tuple(widths), ("relu",), tuple(rates), options.seeds)
    whole = mlp_jax.load_dataset("mnist")
    train = whole.train
    dataset = mlp_jax.Dataset.from_arrays(
        train.features[: options.examples],
        train.targets[: options.examples],
        whole.test.features,
        whole.test.targets,
        x_validation=whole.validation.features,
        y_validation=whole.validation.targets,
        name="MNIST",
    )
    return grid, dataset, mlp_jax.Recipe(epochs=options.epochs)


def work(options: Options) -> dict[str, Any]:
    """Run one of the two; validation scores are of each trial, in the order of the grid."""
    grid, dataset, recipe = problem(options)
    mlp_jax.device_a_core(grid, dataset, recipe=recipe)
    begun = time.perf_counter()
    stopped = np.zeros(len(grid.trials), int)
    result: mlp_jax.SweepResult
    if options.worker == "search":
        result = found = mlp_jax.search(grid, dataset, recipe=recipe, eta=options.eta)
        stopped = found.stopped
    else:
        result = mlp_jax.sweep(grid, dataset, recipe=recipe)
    seconds = time.perf_counter() - begun
    scores = np.where(result.diverged > 0, 0.0, result.final["validation_score"])
    return {
        "seconds": seconds,
        "compile": result.timing.compile,
        "epochs": int(result.epochs.sum()),
        "stopped": stopped.tolist(),
        "validation": np.round(scores.astype(float), 6).tolist(),
    }


def picked(found: dict[str, Any], seeds: int) -> int:
    """Number of the configuration that is best in the mean, among those trained to the end."""
    means = np.reshape(found["validation"], (-1, seeds)).mean(axis=1)
    return int(np.where(np.reshape(found["stopped"], (-1, seeds))[:, 0] == 0, means, -1).argmax())


def main(options: Options) -> None:
    """Measure, and write down what was found."""
    if options.worker:
        print(json.dumps(work(options)))
        return
    if options.quick:
        options = Options(widths=4, rates=4, epochs=8, eta=2, examples=5_000, rounds=1, quick=True, out=options.out)
    record = environment()
    names = ("search", "sweep")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    shared = [f"--{key}={getattr(options, key)}" for key in ("widths", "rates", "seeds", "epochs", "eta", "examples")]
    for number in range(options.rounds):
        for name in names[:: -1 if number % 2 else 1]:
            print(f"round {number + 1}: {name}", file=sys.stderr)
            command = [sys.executable, __file__, *shared, f"--worker={name}"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    seeds = options.seeds
    of_sweep = np.reshape(runs["sweep"][0]["validation"], (-1, seeds))
    best, chosen = picked(runs["sweep"][0], seeds), picked(runs["search"][0], seeds)
    error = float(of_sweep[best].std(ddof=1) / np.sqrt(seeds)) if seeds > 1 else float("nan")
    behind = float(of_sweep[best].mean() - of_sweep[chosen].mean())  # both as the sweep trained them
    grid, _, _ = problem(options)
    table = Table(title=f"{len(grid.trials) // seeds} configurations, {seeds} seeds, {options.epochs} epochs")
    for heading in ("", "seconds", "compilation", "epochs of trials", "picks", "validation (%)"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, place in zip(names, (chosen, best), strict=True):
        trial, each = grid.trials[place * seeds], runs[name]
        table.add_row(
            name,
            f"{np.median([run['seconds'] for run in each]):.1f}",
            f"{100 * np.median([run['compile'] / run['seconds'] for run in each]):.0f} %",
            f"{each[0]['epochs']:,}",
            f"M = {trial.hidden_units}, {trial.learning_rate:g}",
            f"{100 * of_sweep[place].mean():.2f}",
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    share = float(np.median([a["seconds"] / b["seconds"] for a, b in zip(runs["search"], runs["sweep"], strict=True)]))
    console.print(
        f"The search takes {share:.2f} × the time of the sweep; what it picks is {100 * behind:.2f} points behind the "
        f"sweep's best, whose standard error is {100 * error:.2f}."
    )
    backend = jax.default_backend()
    record |= {
        "problem": {key: getattr(options, key) for key in ("widths", "rates", "seeds", "epochs", "eta", "examples")},
        "backend": backend,
        "share": share,
        "behind": behind,
        "standard_error": error,
        **{
            name: {
                "seconds": summary([run["seconds"] for run in each]),
                "compile": summary([run["compile"] for run in each]),
                "epochs": each[0]["epochs"],
            }
            for name, each in runs.items()
        },
    }
    kind = "cpu" if backend == "cpu" else "gpu"
    print(f"Written to {write_record(record, options.out, f'search-{kind}')}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
