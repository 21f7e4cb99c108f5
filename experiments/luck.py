"""How much is luck: the distribution of a network's accuracy over seeds, and where it comes from.

    python experiments/luck.py          # 1,000 seeds, and 200 each of weights and order alone
    python experiments/luck.py --quick  # a look in half a minute

Questions and sources: Bouthillier et al. (2021), "Accounting for Variance in Machine Learning Benchmarks", ask what a
benchmark's spread comes from: initial weights, the order of the examples, the test set's size. Jordan (2024), "On the
Variance of Neural Network Training with respect to Test Sets and Distributions", arXiv:2304.01910, finds on CIFAR-10
and ImageNet that trained networks err on test examples about independently of each other, that most of the spread
therefore is of this test set and would not be there on another one, and that any one source of randomness alone gives
nearly all of it. Neither publishes figures of a perceptron on MNIST.

Recipe: the article's. M = 100 sigmoid units, Adam 0.001, batches of 128, 20 epochs of 55,000 images.

Takes 25 minutes on a 2-core CPU (an epoch of 1,000 seeds is 100,000 hidden units).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _study import begin, command_line, count_of, finish, markdown, swept, taken
from matplotlib.ticker import MaxNLocator
from scipy import stats

import mlp_jax
from mlp_jax.answers.plots.style import GREY, WIDTH, Figure, colours, styled

NAME = "luck"
SOURCES = {"both": "weights and order", "weights": "initial weights alone", "order": "order alone"}


def grids(hidden_units: int, seeds: int, apart: int) -> dict[str, mlp_jax.Grid]:
    """The networks, by what differs between them."""
    widths = (hidden_units,)
    return {
        "both": mlp_jax.Grid(widths, seeds=seeds),
        "weights": mlp_jax.Grid(widths, seeds=(0,), init_seeds=tuple(range(apart))),
        "order": mlp_jax.Grid(widths, seeds=apart, init_seeds=(0,)),
    }


def spread(accuracies: Sequence[float]) -> tuple[float, float, float]:
    """The standard deviation, and its 95 % interval for normal accuracies."""
    count, deviation = len(accuracies), float(np.std(accuracies, ddof=1))
    low, high = stats.chi2.ppf((0.975, 0.025), count - 1)
    return deviation, deviation * ((count - 1) / low) ** 0.5, deviation * ((count - 1) / high) ** 0.5


def examples(result: mlp_jax.SweepResult) -> dict[str, float]:
    """What the test examples say: each network's hits on them, compared between networks.

    Returns:
        independent: the standard deviation of the accuracy if networks of these seeds erred on each example with the
            rate that they do, independently of the other examples.
        sampling: the standard error of one network's accuracy by the test set's size alone.
        disagreement: share of the test examples that one of two networks has right and the other wrong.
    """
    hits = result.outcomes.merit("test", range(len(result.trials)))
    networks, count = hits.shape
    rate = hits.mean(axis=0)
    # Of n networks, the mean of rate · (1 − rate) is too small by n / (n − 1).
    variance = float((rate * (1 - rate)).sum()) * networks / (networks - 1)
    mean = float(rate.mean())
    return {
        "independent": variance**0.5 / count,
        "sampling": (mean * (1 - mean) / count) ** 0.5,
        "disagreement": 2 * variance / count,
    }


def table(record: dict[str, Any]) -> str:
    """Spread by source, and what it would be for other reasons."""
    asked, runs = record["asked"], record["runs"]
    rows = []
    for name, each in runs.items():
        accuracies = 100 * np.array(each["test_accuracy"])
        deviation, low, high = spread(accuracies.tolist())
        rows.append(
            [
                SOURCES[name],
                str(len(accuracies)),
                f"{accuracies.mean():.3f}",
                f"{deviation:.3f} ({low:.3f} to {high:.3f})",
                f"{100 * each['independent']:.3f}",
                f"{100 * each['disagreement']:.2f}",
                f"{stats.skew(accuracies):+.2f}, {stats.kurtosis(accuracies):+.2f}".replace("-", "−"),
                f"{accuracies.min():.2f} … {accuracies.max():.2f}",
            ]
        )
    both = runs["both"]
    deviation = spread(both["test_accuracy"])[0]
    independent, sampling = 100 * both["independent"], 100 * both["sampling"]
    apart = 100 * deviation * 2**0.5 * 1.96
    beyond = max(0.0, (100 * deviation) ** 2 - independent**2) ** 0.5
    lines = [
        (
            f"M = {asked['hidden_units']}, {count_of(asked['epochs'], 'epoch')}; test accuracy in percent, of 10,000 "
            f"examples. {taken(record, sum(each['seconds'] for each in runs.values()))}."
        ),
        (
            f"- The test set's size alone leaves one network's accuracy uncertain by {sampling:.3f} points (binomial), "
            f"{sampling / (100 * deviation):.1f} times the spread over seeds."
        ),
        f"- Of two networks that differ by luck alone, one in twenty pairs is {apart:.2f} points or more apart.",
        (
            f"- If networks erred independently on each example, at the rates measured, accuracies would spread by "
            f"{independent:.3f} points; they do by {100 * deviation:.3f}. On a test set without end it would be "
            f"{beyond:.3f}."
        ),
    ]
    headings = ["what differs", "networks", "mean", "standard deviation (95 % interval)", "if errors were independent"]
    headings += ["two networks disagree (%)", "skewness, excess kurtosis", "range"]
    return "\n".join([*lines, "", markdown(headings, rows)])


@styled
def figure(record: dict[str, Any]) -> Figure:
    """Histogram with what the spread would be for other reasons, and quantiles against the normal ones."""
    drawn = Figure(figsize=(WIDTH, 3.6))
    left, right = drawn.subplots(1, 2)
    runs, tones = record["runs"], colours(3)
    both = 100 * np.array(runs["both"]["test_accuracy"])
    step = 0.01 * max(1, round(100 * (both.max() - both.min()) / 30))  # accuracies are multiples of 0.01 points
    edges = np.arange(both.min() - step / 2, both.max() + step, step)
    left.hist(both, edges, density=True, color=tones[2], alpha=0.6, label=f"{len(both):,} seeds")
    reach = 4 * max(float(both.std(ddof=1)), 100 * runs["both"]["sampling"])
    at = np.linspace(both.mean() - reach, both.mean() + reach, 300)
    for label, deviation, line in (
        ("normal, their standard deviation", both.std(ddof=1), "-"),
        ("if errors were independent", 100 * runs["both"]["independent"], "--"),
        ("the test set's size alone", 100 * runs["both"]["sampling"], ":"),
    ):
        left.plot(at, stats.norm.pdf(at, both.mean(), deviation), line, color=tones[0], label=label)
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.set_xlabel("test accuracy (%)")
    left.set_ylabel("density")
    left.set_ylim(0, 1.45 * left.get_ylim()[1])
    left.legend(fontsize=8, loc="upper left")
    for (name, each), tone, marker in zip(runs.items(), tones, ("o", "s", "^"), strict=True):
        accuracies = np.sort(100 * np.array(each["test_accuracy"]))
        places = (np.arange(len(accuracies)) + 0.5) / len(accuracies)
        scores = (accuracies - accuracies.mean()) / accuracies.std(ddof=1)
        right.plot(stats.norm.ppf(places), scores, marker, color=tone, markersize=3, label=SOURCES[name])
    ends = np.array(right.get_xlim())
    right.plot(ends, ends, color=GREY, linewidth=0.8, zorder=0)
    right.set_xlabel("normal quantile")
    right.set_ylabel("standard deviations from the mean")
    right.legend(fontsize=8, loc="upper left")
    asked = record["asked"]
    drawn.suptitle(
        f"MNIST, M = {asked['hidden_units']}, {count_of(asked['epochs'], 'epoch')}: luck of the seed", fontsize="medium"
    )
    return drawn


def main(
    quick: bool = False,
    seeds: int = 1000,
    apart: int = 200,
    hidden_units: int = 100,
    epochs: int = 20,
    from_record: bool = False,
    out: Path = Path("runs/studies"),
    page: bool = False,
) -> None:
    """Train one network with many seeds, and say what its accuracy varies by.

    Args:
        quick: few seeds, few epochs, a small network, to see it work.
        seeds: how many, of weights and order together.
        apart: how many of initial weights with one order, and of orders with the same initial weights.
        hidden_units: M.
        epochs: passes over the training split.
        from_record: train nothing: show what the repository's record says.
        out: directory for record and figure.
        page: also write both, and the table, into the repository.
    """
    if quick:
        seeds, apart, hidden_units, epochs = 20, 10, 10, 1
    record = None
    if not from_record:
        record = begin(seeds=seeds, apart=apart, hidden_units=hidden_units, epochs=epochs) | {"runs": {}}
        dataset = mlp_jax.load_dataset("mnist")
        recipe = mlp_jax.Recipe(epochs=epochs, report_every=epochs)
        chosen = grids(hidden_units, seeds, apart)
        mlp_jax.device_a_core(chosen["both"], dataset, recipe=recipe)
        for name, grid in chosen.items():
            place = out / NAME / "checkpoints" / name
            result, seconds = swept(record, SOURCES[name], grid, dataset, recipe, place)
            record["runs"][name] = {
                "seconds": round(seconds, 1),
                **{key: round(value, 7) for key, value in examples(result).items()},
                "test_accuracy": [round(float(each), 4) for each in result.final["test_score"]],
            }
    finish(NAME, record, table, figure, out=out, page=page)


if __name__ == "__main__":
    command_line(main, __doc__)
