"""Double descent on MNIST-1D, with seeds and intervals, beside the one run that was published.

    python experiments/double_descent_1d.py          # 380 networks, 500 epochs (extra studies)
    python experiments/double_descent_1d.py --quick  # a look in half a minute

Source: Greydanus and Kobak (2024), "Scaling Down Deep Learning with MNIST-1D", and the notebook that comes with the
data, whose printed figures are in experiments/published/. The package mnist1d makes the data, as that notebook calls
it: its seed 42, 16,000 examples of 40 numbers, 4,000 to train on and 12,000 to test.

Recipe, from the notebook: 40-H-H-10, ReLU, PyTorch's initial weights and biases (uniform within ±1 / √fan-in), softmax
cross-entropy, SGD with rate 0.01 and momentum 0.9, batches of 100, 500 epochs, 19 widths from 2 to 300; once with the
labels as they are, once with 15 % of the training labels drawn anew from all ten classes.

One difference: theirs is one draw of the noise, the same for all widths; here each seed draws its own, so that the
deviation holds that of the noise, too.

Takes 5 to 25 minutes on a 2-core CPU; theirs took 11 and 13 minutes for one run of each noise level, on 4 cores.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _study import (
    PUBLISHED,
    begin,
    chosen,
    command_line,
    count_of,
    finish,
    markdown,
    peak,
    percent,
    signed,
    swept,
    taken,
)

import mlp_jax
from mlp_jax.answers.plots.style import MARKERS, WIDTH, Figure, colours, styled, width_axis

NAME = "double-descent-1d"
NOISES = (0.0, 0.15)
WIDTHS = (2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 47, 61, 80, 104, 135, 177, 230, 300)


def mnist1d_data() -> mlp_jax.Dataset:
    """MNIST-1D as the notebook makes it. Nobody chooses by a validation split, so that test examples stand in for one.

    Raises:
        MissingExtraError: the package mnist1d is not there.
    """
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError:
        raise mlp_jax.MissingExtraError("MNIST-1D", "mnist1d", "studies") from None
    arguments = get_dataset_args()
    arguments.num_samples, arguments.train_split = 16_000, 0.25
    made = make_dataset(arguments)
    x, y, x_test, y_test = (
        made[name].astype(kind) for name, kind in (("x", "f4"), ("y", "i4"), ("x_test", "f4"), ("y_test", "i4"))
    )
    return mlp_jax.Dataset.from_arrays(
        x, y, x_test, y_test, x_validation=x_test[:1000], y_validation=y_test[:1000], name="MNIST-1D"
    )


def published_grid(widths: Sequence[int], noises: Sequence[float], seeds: int) -> mlp_jax.Grid:
    """The networks of all noise levels."""
    shapes = tuple((width, width) for width in widths)
    recipe = {"optimizers": ("sgd",), "momenta": (0.9,), "label_noises": noises}
    return mlp_jax.Grid(
        shapes, ("relu",), (0.01,), seeds, initializations=("pytorch",), bias_initializations=("pytorch",), **recipe
    )


def published() -> dict[int, dict[str, dict[int, float]]]:
    """What the notebook prints: by noise in percent, measure and width."""
    found: dict[int, dict[str, dict[int, float]]] = {}
    with (PUBLISHED / "mnist1d.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            level = found.setdefault(int(row["label_noise_percent"]), {"train_error": {}, "test_error": {}})
            for name, by_width in level.items():
                by_width[int(row["hidden_units"])] = float(row[name]) / 100
    return found


def first_without_error(widths: Sequence[int], errors: Sequence[float]) -> str:
    """The narrowest width whose training error prints as 0.00 %."""
    return next((f"H = {width}" for width, error in zip(widths, errors, strict=True) if error < 5e-5), "nowhere")


def highest(widths: Sequence[int], errors: Sequence[float], training: Sequence[float]) -> str:
    """Where the test error peaks, among the networks that learn two thirds of their training labels."""
    fitting = [place for place, error in enumerate(training) if error < 1 / 3]
    width = peak([widths[place] for place in fitting], [errors[place] for place in fitting]) if fitting else None
    return f"H = {width}" if width else "nowhere"


def table(record: dict[str, Any]) -> str:
    """Published and ours, width by width, below a summary."""
    asked, theirs = record["asked"], published()
    widths, levels = asked["widths"], record["levels"]
    lines = [
        (
            f"{count_of(asked['seeds'], 'seed')} and {count_of(asked['epochs'], 'epoch')} of ours, one run and 500 "
            f"epochs of theirs; {taken(record, record['seconds'])}, theirs took 23.9 for one run of each noise level."
        )
    ]
    if asked["epochs"] < 500:
        lines.append("**A reduced run: errors are not comparable yet.**")
    headings, cells = ["H"], {width: [str(width)] for width in widths}
    for level in levels:
        noise, ours = level["label_noise_percent"], np.array(level["test_error"])
        headings += [f"noise {noise} %: published", "ours", "difference (points)"]
        apart = []
        for width, each in zip(widths, ours, strict=True):
            error = theirs[noise]["test_error"][width]
            cells[width] += [f"{100 * error:.1f}", percent(each, 1), signed(100 * float(each.mean() - error), 1)]
            # A single run of theirs would deviate from the mean of all like one of ours.
            reach = each.std(ddof=1) * (1 + 1 / len(each)) ** 0.5 if len(each) > 1 else np.nan
            apart.append(abs(each.mean() - error) <= 2 * reach)
        training = np.array(level["train_error"]).mean(axis=1).tolist()
        logged = {name: [theirs[noise][name][width] for width in widths] for name in ("train_error", "test_error")}
        tops = [
            highest(widths, logged["test_error"], logged["train_error"]),
            highest(widths, ours.mean(axis=1).tolist(), training),
        ]
        fitted = [first_without_error(widths, each) for each in (logged["train_error"], training)]
        lines.append(
            f"- Label noise {noise} %: {sum(apart)} of {len(apart)} published figures within two standard deviations "
            f"of a run of ours; peak of the test error: {tops[0]} published, {tops[1]} here; first without a training "
            f"error: {fitted[0]} published, {fitted[1]} here."
        )
    rows = list(cells.values())
    return "\n".join([*lines, "", "Test error (%), mean ± standard deviation:", "", markdown(headings, rows)])


@styled
def figure(record: dict[str, Any]) -> Figure:
    """Test and training error against width, theirs and ours, a panel for each noise level."""
    asked, theirs = record["asked"], published()
    widths = asked["widths"]
    drawn = Figure(figsize=(WIDTH, 3.6))
    panels = drawn.subplots(1, len(record["levels"]), sharey=True)
    dark, light = colours(2)
    for axes, level in zip(panels, record["levels"], strict=True):
        noise = level["label_noise_percent"]
        for measure, what, line in (("test_error", "test", "-"), ("train_error", "training", ":")):
            logged = [100 * theirs[noise][measure][width] for width in widths]
            marker = MARKERS[1] if line == "-" else ""
            axes.plot(widths, logged, line, color=light, marker=marker, markersize=3, label=f"published, {what}")
            ours = 100 * np.array(level[measure])
            deviation = ours.std(axis=1, ddof=1) if ours.shape[1] > 1 else np.zeros(len(ours))
            how = {"color": dark, "linestyle": line, "marker": MARKERS[0] if line == "-" else ""}
            axes.errorbar(
                widths, ours.mean(axis=1), deviation, markersize=3, elinewidth=0.8, label=f"ours, {what}", **how
            )
        axes.set_title(f"label noise {noise} %")
        width_axis(axes, widths, len(record["levels"]))
        axes.set_xlabel("units H of both hidden layers")
    panels[0].set_ylabel("error (%)")
    panels[0].legend(fontsize=8)
    said = f"MNIST-1D, 4,000 examples, {asked['epochs']} epochs: mean ± standard deviation of {asked['seeds']} seeds"
    drawn.suptitle(f"{said}; published: one run", fontsize="medium")
    return drawn


def main(
    quick: bool = False,
    seeds: int = 10,
    epochs: int = 500,
    widths: tuple[int, ...] = WIDTHS,
    from_record: bool = False,
    out: Path = Path("runs/studies"),
    page: bool = False,
) -> None:
    """Train the published networks with more seeds, and compare.

    Args:
        quick: a few widths for a few epochs, to see it work.
        seeds: how many runs.
        epochs: passes over the 4,000 examples.
        widths: of the published ones.
        from_record: train nothing: show what the repository's record says.
        out: directory for record and figure.
        page: also write both, and the table, into the repository.
    """
    if quick:
        seeds, epochs, widths = 2, 20, (2, 7, 21, 61)
    record = None
    if not from_record:
        chosen("width", widths, WIDTHS)
        record = begin(seeds=seeds, epochs=epochs, widths=widths)
        dataset, grid = mnist1d_data(), published_grid(widths, NOISES, seeds)
        recipe = mlp_jax.Recipe(epochs=epochs, batch_size=100, report_every=math.gcd(epochs, 20))
        mlp_jax.device_a_core(grid, dataset, recipe=recipe)
        result, seconds = swept(record, "networks", grid, dataset, recipe, out / NAME / "checkpoints")
        record["seconds"] = round(seconds, 1)
        record["levels"] = []
        for noise in NOISES:
            places = [
                [i for i, t in enumerate(result.trials) if t.hidden_units == (width, width) and t.label_noise == noise]
                for width in widths
            ]
            scores = {f"{split}_error": result.final[f"{split}_score"] for split in ("train", "test")}
            level = {
                name: [[round(1 - float(each[i]), 5) for i in row] for row in places] for name, each in scores.items()
            }
            record["levels"].append({"label_noise_percent": round(100 * noise), **level})
    finish(NAME, record, table, figure, out=out, page=page)


if __name__ == "__main__":
    command_line(main, __doc__)
