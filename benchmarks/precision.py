"""What lower precision of the first layers' products does to accuracy and to the time of an epoch.

    python benchmarks/precision.py

Takes about a minute on 2 cores. Writes a record and a figure, precision-cpu (-gpu), to benchmarks/records. The sweeps
differ in nothing but their precision and train epoch by epoch in turn, in an order drawn anew each round; the time of
an epoch is the median of those after the first.
"""

import random
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro
from _chart import Bar, Panel, draw
from _record import RECORDS, environment, summary, write_record
from _turns import stepwise

import mlp_jax

PRECISIONS = ("float32", "tensorfloat32", "bfloat16")


@dataclass(frozen=True)
class Options:
    """Compare the precisions of the first layers' products."""

    widths: tuple[int, ...] = (10, 25, 50, 100, 150, 200)
    """Hidden units of the models: the article's."""
    seeds: int = 5
    """How many of each."""
    epochs: int = 5
    """To train, 2 or more."""
    out: Path = RECORDS
    """Directory of the record and the figure."""


def main(options: Options) -> None:
    """Train, and write down what was found."""
    if options.epochs < 2:
        sys.exit(f"epochs is {options.epochs}: expected 2 or more")
    record = environment()
    dataset = mlp_jax.load_dataset("mnist")
    grid = mlp_jax.Grid(options.widths, seeds=options.seeds)
    recipes = {name: mlp_jax.Recipe(epochs=options.epochs, precision=name) for name in PRECISIONS}
    sweeps = {name: _training(grid, dataset, recipe) for name, recipe in recipes.items()}
    seconds: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    order = random.Random(0)
    for number in range(options.epochs):
        print(f"epoch {number + 1} of {options.epochs}", file=sys.stderr, flush=True)
        for name in order.sample(PRECISIONS, len(PRECISIONS)):
            seconds[name].append(next(sweeps[name]))
    rows = []
    for name, training in sweeps.items():
        # A row a width, a column a seed: seeds vary fastest in a grid.
        scores = _result(training).final["test_score"].reshape(len(options.widths), options.seeds)
        means, deviations = scores.mean(axis=1), scores.std(axis=1, ddof=min(1, options.seeds - 1))
        rows.append(
            {
                "title": name,
                "widths": options.widths,
                "warm": summary(seconds[name][1:]),
                "test_accuracy": [round(float(mean), 6) for mean in means],
                "test_accuracy_deviation": [round(float(deviation), 6) for deviation in deviations],
            }
        )
        print(f"{name}: {np.median(seconds[name][1:]):.2f} s an epoch; test accuracy (%), M = {options.widths}:")
        print("  " + ", ".join(f"{100 * m:.2f} ± {100 * d:.2f}" for m, d in zip(means, deviations, strict=True)))
    device = jax.devices()[0]
    record |= {"device": device.device_kind, "seeds": options.seeds, "epochs": options.epochs, "results": rows}
    written = write_record(record, options.out, f"precision-{'cpu' if device.platform == 'cpu' else 'gpu'}")
    bars = [Bar(name, seconds[name][1:], name == "float32") for name in PRECISIONS]
    panel = Panel(f"{len(options.widths)} widths, {options.seeds} seeds", bars)
    machine = f"{device.device_kind}, {record['cores']} cores of {record['cpu']}, {record['date'][:10]}"
    axis = f"seconds an epoch, median of {options.epochs - 1}"
    draw([panel], "Precision of the first layers' products", axis, machine, written.with_suffix(".png"))


def _training(
    grid: mlp_jax.Grid, dataset: mlp_jax.Dataset, recipe: mlp_jax.Recipe
) -> Generator[float, None, mlp_jax.SweepResult]:
    return stepwise(lambda pause: mlp_jax.sweep(grid, dataset, recipe=recipe, on_epoch=lambda _: pause()))


def _result(training: Generator[float, None, mlp_jax.SweepResult]) -> mlp_jax.SweepResult:
    while True:
        try:
            next(training)
        except StopIteration as end:
            result: mlp_jax.SweepResult = end.value
            return result


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
