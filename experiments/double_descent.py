"""Double descent under label noise: the test error of small networks against their width, beside published logs.

    python experiments/double_descent.py             # as published: 210 networks, 100,000 steps each
    python experiments/double_descent.py --pytorch   # the same, and PyTorch's time beside ours
    python experiments/double_descent.py --quick     # a look in half a minute

Source: Gu, Zheng and Aste (2023), "Unraveling the Enigma of Double Descent", arXiv:2310.13572, whose code comes with
the logs of 35 widths × 3 runs × label noise 0 and 20 % (experiments/published/).

Recipe, from the paper, that code and those logs: the first 4,000 of MNIST's 60,000 training images, pixels in [0, 1];
one hidden ReLU layer of M units; weights N(0, 0.1²), at M = 1 Glorot-uniform; PyTorch's biases; softmax cross-entropy;
batches of 128, the last one of an epoch with the 32 images left; SGD without momentum; 3,125 epochs, which are 100,000
steps; with noise, a fifth of the labels drawn anew from all ten classes, the same for all widths of a run. Test
accuracy of the finished networks on the 10,000 test images.

One difference is known: they draw exactly 800 labels anew, we each one with probability 0.2 (800 ± 25).

Takes 35 to 75 minutes for each noise level on a 2-core CPU, by its speed.
"""

import csv
import math
import time
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
from scipy import stats

import mlp_jax
from mlp_jax.answers.plots.style import MARKERS, WIDTH, Figure, colours, styled, width_axis

NAME = "double-descent"
TRAINED_ON, BATCH, EPOCHS, DECAY, RATE = 4000, 128, 3125, 512, 0.05
WIDTHS = (
    *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22, 25, 30, 35, 40, 45, 50, 55, 60, 70, 80, 90, 100),
    *(120, 150, 200, 400, 600, 800, 1000),
)
NOISES = (0.0, 0.2)
MEASURES = ("train_accuracy", "test_accuracy", "test_loss")


def first_images() -> mlp_jax.Dataset:
    """MNIST with its first 4,000 training images to train on, which ``load_dataset`` holds out for validation."""
    mnist = mlp_jax.load_dataset("mnist")
    first = mnist.validation
    return mlp_jax.Dataset.from_arrays(
        first.features[:TRAINED_ON],
        first.targets[:TRAINED_ON],
        mnist.test.features,
        mnist.test.targets,
        x_validation=first.features[TRAINED_ON:],
        y_validation=first.targets[TRAINED_ON:],
        name="the first 4,000 images of MNIST",
    )


def published_grid(widths: Sequence[int], noise: float, seeds: int) -> mlp_jax.Grid:
    """The networks of one noise level."""
    recipe: dict[str, Any] = {"optimizers": ("sgd",), "schedules": ("rsqrt",), "decay_steps": (DECAY,)}
    recipe |= {"bias_initializations": ("pytorch",), "label_noises": (noise,)}
    glorot = {"initializations": ("glorot",)}
    normal: dict[str, Any] = {"initializations": ("normal",), "init_scales": (0.1,)}
    parts = (([width for width in widths if width == 1], glorot), ([width for width in widths if width > 1], normal))
    summands = [mlp_jax.Grid(some, ("relu",), (RATE,), seeds, **recipe, **how) for some, how in parts if some]
    return sum(summands[1:], start=summands[0])


def trained(record: dict[str, Any], dataset: mlp_jax.Dataset, noise: float, epochs: int, place: Path) -> dict[str, Any]:
    """Train the networks of one noise level: by measure, ``[widths][seeds]``, and the seconds that it took."""
    asked, percents = record["asked"], round(100 * noise)
    widths = asked["widths"]
    result, seconds = swept(
        record,
        f"label noise {percents} %",
        published_grid(widths, noise, asked["seeds"]),
        dataset,
        mlp_jax.Recipe(epochs=epochs, batch_size=BATCH, report_every=math.gcd(epochs, 125)),
        place / f"{percents}-{epochs}",
    )
    found = {
        "train_accuracy": result.history["score"][:, -1],
        "test_accuracy": result.final["test_score"],
        "test_loss": result.final["test_loss"],
    }
    places = [[i for i, trial in enumerate(result.trials) if trial.hidden_units == width] for width in widths]
    return {
        "label_noise_percent": percents,
        "seconds": round(seconds, 1),
        "compile_seconds": round(result.timing.compile, 1),
        **{name: [[round(float(each[i]), 5) for i in row] for row in places] for name, each in found.items()},
    }


def published() -> dict[int, dict[str, dict[int, list[float]]]]:
    """Their logs: by noise in percent, measure (``minutes`` too) and width, the runs."""
    found: dict[int, dict[str, dict[int, list[float]]]] = {}
    with (PUBLISHED / "gu2023-mnist.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            level = found.setdefault(int(row["label_noise_percent"]), {name: {} for name in (*MEASURES, "minutes")})
            for name, by_width in level.items():
                by_width.setdefault(int(row["hidden_units"]), []).append(float(row[name]))
    return found


def compared(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """The difference of means, theirs and ours, against what luck makes of it.

    Returns:
        The difference in standard errors of it, and the chance that it is within two of them where there is none
        (Welch); NaN of a single run, or of runs that are all the same.
    """
    if len(ours) < 2 or np.ptp(ours) + np.ptp(theirs) == 0:
        return math.nan, math.nan
    parts = [float(np.var(each, ddof=1)) / len(each) for each in (ours, theirs)]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(each) - 1) for part, each in zip(parts, (ours, theirs), strict=True))
    errors = float(np.mean(ours) - np.mean(theirs)) / math.sqrt(sum(parts))
    return errors, float(1 - 2 * stats.t.sf(2, freedom))


def product_rate() -> float:
    """Operations a second of a float32 matrix product by NumPy, 10⁹, to compare machines by: the best of five."""
    a = np.ones((2048, 2048), np.float32)
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best / 1e9


def pytorch_seconds(dataset: mlp_jax.Dataset, widths: Sequence[int], noise: float, seeds: int, epochs: int) -> float:
    """Seconds that PyTorch takes for the same networks one after another: examples in memory, no loader, warmed up."""
    import torch

    x = torch.tensor(dataset.train.features, dtype=torch.float32) / 255
    true = torch.tensor(dataset.train.targets, dtype=torch.int64)
    loss_of = torch.nn.CrossEntropyLoss()

    def train(y: Any, width: int, epochs: int) -> None:
        hidden, output = torch.nn.Linear(x.shape[1], width), torch.nn.Linear(width, 10)
        for layer in (hidden, output):
            torch.nn.init.normal_(layer.weight, std=0.1)
        model = torch.nn.Sequential(hidden, torch.nn.ReLU(), output)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        step = 0
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(BATCH):
                step += 1
                if step % DECAY == 0:
                    optimizer.param_groups[0]["lr"] = RATE / math.sqrt(step // DECAY)
                optimizer.zero_grad()
                loss_of(model(x[batch]), y[batch]).backward()
                optimizer.step()

    train(true, widths[0], 1)
    began = time.perf_counter()
    for seed in range(seeds):
        torch.manual_seed(seed)
        y = torch.where(torch.rand(len(true)) < noise, torch.randint(0, 10, true.shape), true)
        for width in widths:
            train(y, width, epochs)
    return time.perf_counter() - began


def against_pytorch(record: dict[str, Any], dataset: mlp_jax.Dataset, epochs: int, place: Path) -> dict[str, Any]:
    """Seconds of ours and PyTorch's for the networks of one noise level, one after the other.

    Ours are without compilation, which does not grow with the steps: 100 times as many are trained after it.
    """
    widths, seeds = record["asked"]["widths"], record["asked"]["seeds"]
    ours = trained(record, dataset, 0.2, epochs, place)
    return {
        "epochs": epochs,
        "networks": len(widths) * seeds,
        "ours": round(ours["seconds"] - ours["compile_seconds"], 1),
        "compile": ours["compile_seconds"],
        "pytorch": round(pytorch_seconds(dataset, widths, 0.2, seeds, epochs), 1),
    }


def table(record: dict[str, Any]) -> str:
    """Published and ours, width by width, below a summary."""
    asked, theirs = record["asked"], published()
    widths, steps = asked["widths"], asked["epochs"] * math.ceil(TRAINED_ON / BATCH)
    lines = [f"{asked['seeds']} seeds and {steps:,} steps of ours, 3 runs and 100,000 steps of theirs."]
    if steps < 100_000:
        lines[0] += " **A reduced run: accuracies are not comparable yet.**"
    cells: dict[int, list[str]] = {width: [str(width)] for width in widths}
    headings = ["M"]
    for level in record["levels"]:
        noise = level["label_noise_percent"]
        headings += [f"noise {noise} %: published", "ours", "difference (points)", "(standard errors)"]
        logged, pairs = theirs[noise]["test_accuracy"], []
        for width, ours in zip(widths, level["test_accuracy"], strict=True):
            pairs.append(compared(ours, logged[width]))
            difference = signed(100 * float(np.mean(ours) - np.mean(logged[width])))
            apart = "" if math.isnan(pairs[-1][0]) else signed(pairs[-1][0], 1)
            cells[width] += [percent(logged[width]), percent(ours), difference, apart]
        known = [each for each in pairs if not math.isnan(each[0])]
        peaks = [
            peak(widths, [1 - float(np.mean(each)) for each in values])
            for values in ([logged[width] for width in widths], level["test_accuracy"])
        ]
        hours = sum(sum(theirs[noise]["minutes"][width]) for width in widths) / 60
        said = [f"M = {each}" if each else "nowhere" for each in peaks]
        close = (
            f"{sum(abs(errors) <= 2 for errors, _ in known)} of {len(known)} widths within two standard errors of the "
            f"difference ({sum(chance for _, chance in known):.1f} expected of so few runs where there is none)"
        )
        lines.append(
            f"- Label noise {noise} %: {close}; peak of the test error: {said[0]} published, {said[1]} here. "
            f"{taken(record, level['seconds'])}; their logs add up to {hours:.0f} hours."
        )
    if "pytorch" in record:
        took = record["pytorch"]
        lines.append(
            f"- PyTorch, the same {took['networks']} networks one after another on the same cores, "
            f"{count_of(took['epochs'], 'epoch')}: {took['pytorch']:.0f} s; ours {took['ours']:.0f} s and "
            f"{took['compile']:.0f} s to compile: {took['pytorch'] / took['ours']:.1f} × as fast."
        )
    lines.append(f"- The machine's matrix products: {record['product_rate']:.0f} GFLOP/s.")
    return "\n".join(
        [*lines, "", "Test accuracy (%), mean ± standard deviation:", "", markdown(headings, list(cells.values()))]
    )


@styled
def figure(record: dict[str, Any]) -> Figure:
    """Test and training error against width, theirs and ours, a panel for each noise level."""
    widths, theirs, levels = record["asked"]["widths"], published(), record["levels"]
    drawn = Figure(figsize=(WIDTH, 3.6))
    dark, light = colours(2)
    panels = drawn.subplots(1, len(levels), sharey=True, squeeze=False)[0]
    for axes, level in zip(panels, levels, strict=True):
        noise = level["label_noise_percent"]
        for measure, line in (("test_accuracy", "-"), ("train_accuracy", ":")):
            logged = [theirs[noise][measure][width] for width in widths]
            what = "test" if measure == "test_accuracy" else "training"
            for name, colour, marker, values in (
                (f"Gu et al., {what}", light, MARKERS[1], logged),
                (f"ours, {what}", dark, MARKERS[0], level[measure]),
            ):
                error = 100 * (1 - np.array(values))
                deviation = error.std(axis=1, ddof=1) if error.shape[1] > 1 else np.zeros(len(error))
                axes.errorbar(
                    widths,
                    error.mean(axis=1),
                    deviation,
                    label=name,
                    color=colour,
                    linestyle=line,
                    marker=marker if line == "-" else "",
                    markersize=3,
                    elinewidth=0.8,
                )
        axes.set_title(f"label noise {noise} %")
        width_axis(axes, widths, len(levels))
        axes.set_xlabel("hidden units M")
    panels[0].set_ylabel("error (%)")
    panels[-1].legend(fontsize=8)
    steps = record["asked"]["epochs"] * math.ceil(TRAINED_ON / BATCH)
    drawn.suptitle(
        f"Double descent on MNIST, 4,000 images, {steps:,} steps: mean ± standard deviation "
        f"(3 runs; ours {record['asked']['seeds']} seeds)",
        fontsize="medium",
    )
    return drawn


def main(
    quick: bool = False,
    seeds: int = 3,
    epochs: int = EPOCHS,
    noises: tuple[float, ...] = NOISES,
    widths: tuple[int, ...] = WIDTHS,
    pytorch: bool = False,
    from_record: bool = False,
    out: Path = Path("runs/studies"),
    page: bool = False,
) -> None:
    """Train the published networks, and compare.

    Args:
        quick: a few widths for a few epochs, to see it work.
        seeds: how many runs.
        epochs: passes over the 4,000 images, of 32 steps each.
        noises: shares of the labels drawn anew.
        widths: of the published ones.
        pytorch: also train a hundredth of the steps with PyTorch, and compare the time (extra peers).
        from_record: train nothing: show what the repository's record says.
        out: directory for record and figure.
        page: also write both, and the table, into the repository.
    """
    if quick:
        seeds, epochs, widths = 2, 10, (1, 4, 16, 60, 200)
    record = None
    if not from_record:
        chosen("width", widths, WIDTHS)
        chosen("label noise", noises, NOISES)
        record = begin(seeds=seeds, epochs=epochs, widths=widths) | {"product_rate": product_rate()}
        dataset = first_images()
        grid = published_grid(widths, noises[0], seeds)
        mlp_jax.device_a_core(grid, dataset, recipe=mlp_jax.Recipe(epochs=epochs, batch_size=BATCH))
        place = out / NAME / "checkpoints"
        if pytorch:
            record["pytorch"] = against_pytorch(record, dataset, max(1, epochs // 100), place)
        record["levels"] = [trained(record, dataset, noise, epochs, place) for noise in noises]
    finish(NAME, record, table, figure, out=out, page=page)


if __name__ == "__main__":
    command_line(main, __doc__)
