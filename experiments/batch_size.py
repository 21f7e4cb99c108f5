"""Batch size against steps: how many steps does a goal take, at the best learning rate for each batch size?

    python experiments/batch_size.py                                   # batches of 1 to 8,192
    python experiments/batch_size.py --batch-sizes 16 64 256 1024 4096 # a quarter of an hour less
    python experiments/batch_size.py --quick                           # a look in half a minute

Source: Shallue et al. (2019), "Measuring the Effects of Data Parallelism on Neural Network Training",
arXiv:1811.03600. At the best rate for each batch size, twice the batch takes half the steps at first; then less is
gained, and at last nothing. Where that bends depends on the network and the data. The exact network and goal of their
"Simple MLP" on MNIST could not be looked up here, so that no number of theirs stands beside ours: what is compared is
the form.

Recipe: MNIST, one hidden ReLU layer of M = 100 units, He-uniform weights, zero biases, SGD without momentum, constant
rates, a dozen for each batch size, 2⁻⁹ … 2². The goal is an error of 3 % on the 5,000 validation images, which are
looked at after every epoch; steps in between are interpolated (log error against log steps), and a goal that is
reached in the first epoch counts as reached at its end. Small batches are given 4 epochs, large ones as many as they
may need.

Takes about 25 minutes a seed on a 2-core CPU, 12 of them for batches of 1 and 2.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from _study import begin, command_line, count_of, finish, log_axis, markdown, swept, taken
from matplotlib.ticker import MaxNLocator

import mlp_jax
from mlp_jax.answers.plots.style import GREY, WIDTH, Figure, colours, styled, width_axis

NAME = "batch-size"
RATES = tuple(2.0**power for power in range(-9, 3))
BATCH_SIZES = tuple(2**power for power in range(14))


def epochs_for(batch_size: int, examples: int) -> int:
    """Passes over the examples that a batch size is given: at least 4, and for large batches at least 550 steps."""
    return max(4, math.ceil(550 * batch_size / examples))


def steps_to(goal: float, errors: np.ndarray, steps_an_epoch: int) -> float:
    """Steps after which the error is at the goal, from the error after each epoch; infinite if it never is."""
    reached = np.flatnonzero(errors <= goal)
    if not len(reached):
        return math.inf
    last = int(reached[0])
    if not last:
        return steps_an_epoch
    before, after = np.log(errors[last - 1]), np.log(max(float(errors[last]), 1e-9))
    share = (before - math.log(goal)) / (before - after)
    return float(steps_an_epoch * last * ((last + 1) / last) ** share)


def best(record: dict[str, Any], place: int) -> tuple[int | None, np.ndarray]:
    """The rate at which a batch size reaches the goal soonest on average, as a place; and its steps, by seed."""
    steps = np.array(record["steps"][place], float)  # [rates, seeds], NaN for never
    means = np.where(np.isnan(steps).any(axis=1), np.inf, np.exp(np.log(steps).mean(axis=1)))
    at = int(means.argmin())
    return (at, steps[at]) if np.isfinite(means[at]) else (None, steps[at])


def table(record: dict[str, Any]) -> str:
    """Steps and examples to the goal by batch size."""
    asked = record["asked"]
    found = [best(record, place) for place in range(len(asked["batch_sizes"]))]
    needed = [
        size * float(np.exp(np.log(steps).mean())) if at is not None else math.inf
        for size, (at, steps) in zip(asked["batch_sizes"], found, strict=True)
    ]
    least = min(needed)
    straight = [size for size, each in zip(asked["batch_sizes"], needed, strict=True) if each <= 2 * least]
    lines = [
        (
            f"{count_of(asked['seeds'], 'seed')}, M = {asked['hidden_units']}, {asked['examples']:,} images, goal: a "
            f"validation error of {100 * asked['goal']:g} %; {taken(record, record['seconds'])}."
        )
    ]
    if straight:
        lines.append(f"- The examples needed are at most twice the least up to batches of {max(straight):,}.")
    rows = []
    for size, (at, steps), each in zip(asked["batch_sizes"], found, needed, strict=True):
        if at is None:
            rows.append([f"{size:,}", "not reached", "", "", "", ""])
            continue
        edge = at in (0, len(asked["rates"]) - 1)
        rows.append(
            [
                f"{size:,}",
                f"{each / size:,.0f}",
                f"{steps.min():,.0f} … {steps.max():,.0f}" if len(steps) > 1 else "",
                f"2^{math.log2(asked['rates'][at]):.0f}" + (" (the last one tried)" if edge else ""),
                f"{each / asked['examples']:.1f}",
                f"{each / least:.1f} ×",
            ]
        )
    headings = ["batch size", "steps", "seeds", "best rate", "epochs", "examples, against the fewest"]
    return "\n".join([*lines, "", markdown(headings, rows)])


@styled
def figure(record: dict[str, Any]) -> Figure:
    """Steps to the goal and the best rate against the batch size."""
    asked = record["asked"]
    sizes = asked["batch_sizes"]
    found = [best(record, place) for place in range(len(sizes))]
    drawn = Figure(figsize=(WIDTH, 3.6))
    left, right = drawn.subplots(1, 2)
    tone = colours(2)[0]
    steps = [float(np.exp(np.log(each).mean())) if at is not None else math.nan for at, each in found]
    left.plot(sizes, steps, "o-", color=tone, label="best rate")
    width_axis(left, sizes, 2)
    if np.isfinite(steps).any():
        least = int(np.nanargmin(np.array(steps) * sizes))
        ideal = steps[least] * sizes[least] / np.array(sizes)
        left.plot(sizes, ideal, "--", color=GREY, label="twice the batch, half the steps")
        log_axis(left)
    left.set_ylabel(f"steps to a validation error of {100 * asked['goal']:g} %")
    left.legend(fontsize=8)
    rates = [math.log2(asked["rates"][at]) if at is not None else math.nan for at, _ in found]
    right.plot(sizes, rates, "o-", color=tone)
    width_axis(right, sizes, 2)
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_ylabel("log₂ of the best rate")
    for axes in (left, right):
        axes.set_xlabel("batch size")
    said = f"MNIST, M = {asked['hidden_units']}, SGD, the best of {len(asked['rates'])} rates"
    drawn.suptitle(f"{said}, {count_of(asked['seeds'], 'seed')}", fontsize="medium")
    return drawn


def steps_of(record: dict[str, Any], dataset: mlp_jax.Dataset, size: int, place: Path) -> list[list[float | None]]:
    """Train one batch size at all rates: steps to the goal, ``[rates][seeds]``; None for never."""
    asked = record["asked"]
    rates, seeds, examples = asked["rates"], asked["seeds"], asked["examples"]
    recipe = mlp_jax.Recipe(epochs=epochs_for(size, examples), batch_size=size)
    subset = 0 if examples == len(dataset.train) else examples
    grid = mlp_jax.Grid(
        (asked["hidden_units"],),
        ("relu",),
        rates,
        seeds,
        optimizers=("sgd",),
        initializations=("he",),
        subsets=(subset,),
    )
    result, seconds = swept(record, f"batches of {size}", grid, dataset, recipe, place / str(size))
    record["seconds"] = round(record.get("seconds", 0) + seconds, 1)
    found: list[list[float | None]] = [[None] * seeds for _ in rates]
    errors = np.where(np.isfinite(result.history["loss"]), 1 - result.history["validation_score"], 1.0)
    for trial, curve in zip(result.trials, errors, strict=True):
        steps = steps_to(asked["goal"], curve, math.ceil(examples / min(size, examples)))
        found[rates.index(trial.learning_rate)][trial.seed] = round(steps, 1) if math.isfinite(steps) else None
    return found


def main(
    quick: bool = False,
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
    seeds: int = 1,
    hidden_units: int = 100,
    goal: float = 0.03,
    examples: int = 55_000,
    from_record: bool = False,
    out: Path = Path("runs/studies"),
    page: bool = False,
) -> None:
    """Count the steps to a goal at the best rate for each batch size.

    Args:
        quick: few batch sizes, rates and examples, to see it work.
        batch_sizes: to try.
        seeds: how many.
        hidden_units: M.
        goal: validation error to reach.
        examples: how many to train on.
        from_record: train nothing: show what the repository's record says.
        out: directory for record and figure.
        page: also write both, and the table, into the repository.
    """
    rates = RATES
    if quick:
        batch_sizes, rates, hidden_units, goal, examples = (16, 128, 1024), RATES[4:12:2], 16, 0.15, 4096
    record = None
    if not from_record:
        record = begin(
            batch_sizes=batch_sizes, rates=rates, seeds=seeds, hidden_units=hidden_units, goal=goal, examples=examples
        )
        dataset = mlp_jax.load_dataset("mnist")
        grid = mlp_jax.Grid((hidden_units,), ("relu",), rates, seeds, optimizers=("sgd",))
        mlp_jax.device_a_core(grid, dataset, recipe=mlp_jax.Recipe(epochs=4))
        record["steps"] = [steps_of(record, dataset, size, out / NAME / "checkpoints") for size in batch_sizes]
    finish(NAME, record, table, figure, out=out, page=page)


if __name__ == "__main__":
    command_line(main, __doc__)
