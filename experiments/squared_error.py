"""Double descent with squared error, and without label noise: where is the peak?

    python experiments/squared_error.py                # a tenth of the published epochs
    python experiments/squared_error.py --epochs 6000  # as published
    python experiments/squared_error.py --quick        # a look in half a minute

Source: Belkin, Hsu, Ma and Mandal (2019), "Reconciling modern machine-learning practice and the classical
bias–variance trade-off", arXiv:1812.11118, the perceptron on MNIST without reuse of weights: the test loss peaks where
there are about as many parameters as training examples times classes, 40,000, which is M = 50. Its figures are curves
without a table.

Recipe: the first 4,000 of MNIST's 60,000 training images, pixels in [0, 1], one hidden ReLU layer of M units, the mean
squared error of the 10 logits to one-hot labels, SGD with momentum 0.95, rate 0.01, 6,000 epochs; up to M = 50 the
rate falls to nine tenths every 500 epochs. With fewer epochs, the rate falls as often, and so the sooner.

The paper's text leaves open what a published replication (github.com/songweige/double-descent-pytorch) settles with
batches of 128, weights N(0, 0.1²) (Glorot-uniform at M = 1), PyTorch's biases, and the 27 widths: taken from there.
Not done here: the paper's other curve, whose networks begin with the weights of narrower ones.

Takes 2 to 4 minutes a seed on a 2-core CPU, ten times as long as published.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _study import begin, command_line, count_of, finish, log_axis, markdown, peak, percent, swept, taken
from double_descent import BATCH, TRAINED_ON, first_images

import mlp_jax
from mlp_jax.answers.plots.style import GREY, MARKERS, WIDTH, Figure, colours, styled, width_axis

NAME = "squared-error"
EPOCHS, DECAYS, THRESHOLD = 6000, 12, 50
WIDTHS = (
    *(1, 3, 5, 7, 9, 10, 20, 30, 40, 45, 47, 49, 50, 51, 53, 55, 60, 70, 80, 90, 100, 110, 130, 150, 170),
    *(200, 250),
)


def published_grid(widths: Sequence[int], seeds: int, epochs: int) -> mlp_jax.Grid:
    """The networks."""
    steps = math.ceil(TRAINED_ON / BATCH) * max(1, epochs // DECAYS)
    recipe: dict[str, Any] = {"optimizers": ("sgd",), "momenta": (0.95,), "objectives": ("squared-error",)}
    recipe |= {"bias_initializations": ("pytorch",)}
    normal: dict[str, Any] = {"initializations": ("normal",), "init_scales": (0.1,)}
    falling: dict[str, Any] = {"schedules": ("steps",), "decay_steps": (steps,), "decay_factors": (0.9,)}
    parts = (
        ([width for width in widths if width == 1], falling),
        ([width for width in widths if 1 < width <= THRESHOLD], normal | falling),
        ([width for width in widths if width > THRESHOLD], normal),
    )
    summands = [mlp_jax.Grid(some, ("relu",), (0.01,), seeds, **recipe, **how) for some, how in parts if some]
    return sum(summands[1:], start=summands[0])


def table(record: dict[str, Any]) -> str:
    """Losses and error width by width, below a summary."""
    asked, widths = record["asked"], record["asked"]["widths"]
    loss = np.array(record["test_loss"])
    means = loss.mean(axis=1).tolist()
    top = peak(widths, means)
    parameters = dict(zip(widths, record["parameters"], strict=True))
    where = f"at M = {top}, {parameters[top]:,} parameters" if top else "nowhere: it only falls"
    lines = [
        (
            f"{count_of(asked['seeds'], 'seed')}, {count_of(asked['epochs'], 'epoch')} (published: {EPOCHS:,}); "
            f"{taken(record, record['seconds'])}."
        ),
        f"- Peak of the test loss: published where parameters are about 40,000 (M = 50); here {where}.",
    ]
    if asked["epochs"] < EPOCHS:
        lines[0] += " **A reduced run: the peak needs the published epochs, at which training has ended.**"
    rows = []
    for place, width in enumerate(widths):
        rows.append(
            [
                str(width),
                f"{parameters[width]:,}",
                *(f"{np.mean(record[name][place]):.4f}" for name in ("train_loss", "test_loss")),
                f"{loss[place].std(ddof=1):.4f}" if asked["seeds"] > 1 else "",
                *(percent(record[name][place]) for name in ("train_error", "test_error")),
            ]
        )
    headings = ["M", "parameters", "training loss", "test loss", "± between seeds"]
    headings += ["training error (%)", "test error (%)"]
    return "\n".join([*lines, "", markdown(headings, rows)])


@styled
def figure(record: dict[str, Any]) -> Figure:
    """Loss and error against width."""
    asked, widths = record["asked"], record["asked"]["widths"]
    drawn = Figure(figsize=(WIDTH, 3.6))
    panels = drawn.subplots(1, 2)
    dark, light = colours(2)
    for axes, measure, factor in zip(panels, ("loss", "error"), (1, 100), strict=True):
        for split, tone, marker in (("test", dark, MARKERS[0]), ("train", light, MARKERS[1])):
            values = factor * np.array(record[f"{split}_{measure}"])
            deviation = values.std(axis=1, ddof=1) if values.shape[1] > 1 else np.zeros(len(values))
            label = "training" if split == "train" else split
            axes.errorbar(widths, values.mean(axis=1), deviation, color=tone, marker=marker, markersize=3, label=label)
        axes.axvline(THRESHOLD, color=GREY, linestyle=":", label="40,000 parameters")
        width_axis(axes, widths, 2)
        axes.set_xlabel("hidden units M")
    log_axis(panels[0])
    panels[0].set_ylabel("squared error")
    panels[1].set_ylabel("error (%)")
    panels[1].legend(fontsize=8, frameon=True, framealpha=1, edgecolor="white")
    said = f"MNIST, 4,000 images, squared error, {count_of(asked['epochs'], 'epoch')}"
    drawn.suptitle(f"{said}: mean ± standard deviation of {count_of(asked['seeds'], 'seed')}", fontsize="medium")
    return drawn


def main(
    quick: bool = False,
    seeds: int = 2,
    epochs: int = EPOCHS // 10,
    widths: tuple[int, ...] = WIDTHS,
    from_record: bool = False,
    out: Path = Path("runs/studies"),
    page: bool = False,
) -> None:
    """Train the published networks, and look for the peak.

    Args:
        quick: a few widths for a few epochs, to see it work.
        seeds: how many.
        epochs: passes over the 4,000 images; 6,000 are published.
        widths: of the hidden layer.
        from_record: train nothing: show what the repository's record says.
        out: directory for record and figure.
        page: also write both, and the table, into the repository.
    """
    if quick:
        seeds, epochs, widths = 1, 12, (1, 10, 50, 100)
    record = None
    if not from_record:
        record = begin(seeds=seeds, epochs=epochs, widths=widths)
        dataset, grid = first_images(), published_grid(widths, seeds, epochs)
        recipe = mlp_jax.Recipe(epochs=epochs, batch_size=BATCH, report_every=math.gcd(epochs, 100))
        mlp_jax.device_a_core(grid, dataset, recipe=recipe)
        result, seconds = swept(record, "networks", grid, dataset, recipe, out / NAME / "checkpoints")
        record["seconds"] = round(seconds, 1)
        places = [[i for i, trial in enumerate(result.trials) if trial.hidden_units == width] for width in widths]
        record["parameters"] = [int(result.parameters[row[0]]) for row in places]
        for split in ("train", "test"):
            found = {"loss": result.final[f"{split}_loss"], "error": 1 - result.final[f"{split}_score"]}
            for name, each in found.items():
                record[f"{split}_{name}"] = [[round(float(each[i]), 6) for i in row] for row in places]
    finish(NAME, record, table, figure, out=out, page=page)


if __name__ == "__main__":
    command_line(main, __doc__)
