"""µP: does the best learning rate move with the width? And the coordinate check.

    python experiments/rate_transfer.py                                          # widths 64 to 2,048, Adam
    python experiments/rate_transfer.py --widths 64 128 256 512 1024 2048 4096   # where there is a GPU
    python experiments/rate_transfer.py --quick                                  # a look in half a minute

Source: Yang et al. (2022), "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter Transfer",
arXiv:2203.03466. There, perceptrons of standard parametrization want a smaller rate the wider they are, and those in
the maximal update parametrization (µP) the same one. Their figures are curves for other data (CIFAR-10) without a
table of numbers, so that what is compared is the claim: a shift that is 0 in µP and is not in the standard
parametrization.

Recipe: MNIST, two hidden ReLU layers of M units each, He-uniform weights, zero biases, Adam (or SGD without momentum),
batches of 128, 3 epochs of 55,000 images, a dozen constant rates, 2⁻¹⁴ … 2⁻³ (2⁻⁸ … 2³), 3 seeds; base width 64, where
both parametrizations are the same. The loss is the mean over the minibatches of the last epoch, as they were trained:
that of the finished network would depend on its very last steps, at large rates. The best rate of a seed and width is
the vertex of the parabola through log loss at the best of the rates and its two neighbours.

The coordinate check trains on the first 128 images for a few steps at one rate, and compares the mean size of what a
layer's outputs have changed by since the start, over these images: its exponent in the width is 0 in µP.

Takes about an hour on a 2-core CPU; the widths from 64 to 512 take 6 minutes.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from _study import begin, command_line, count_of, finish, log_axis, markdown, signed, swept, taken
from flax import nnx
from scipy import stats

import mlp_jax
from mlp_jax.answers.plots.style import MARKERS, WIDTH, Figure, colours, styled, width_axis

NAME = "rate-transfer"
BASE, CHECK_EXAMPLES = 64, 128
RATES = {
    "adam": tuple(2.0**power for power in range(-14, -2)),
    "sgd": tuple(2.0**power for power in range(-8, 4)),
}
CHECK_RATES = {"adam": 2.0**-10, "sgd": 2.0**-4}
PARAMETRIZATIONS = {"standard": "standard", "mup": "µP"}
OPTIMIZERS = {"adam": "Adam", "sgd": "SGD"}
LAYERS = ("first layer", "second layer", "logits")


def grid(optimizer: str, widths: Sequence[int], rates: Sequence[float], seeds: int, **others: Any) -> mlp_jax.Grid:
    """Networks of both parametrizations."""
    shapes = tuple((width, width) for width in widths)
    recipe = {"optimizers": (optimizer,), "initializations": ("he",), "parametrizations": tuple(PARAMETRIZATIONS)}
    return mlp_jax.Grid(shapes, ("relu",), rates, seeds, base_widths=(BASE,), **recipe, **others)


def best_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    """log₂ of the rate at the vertex of the parabola through log loss at the best rate and its neighbours.

    The best of the rates themselves where it is the first or last one, or a neighbour has diverged; NaN if all have.
    """
    logs = np.log(np.where(np.isfinite(losses), losses, np.inf))
    if not np.isfinite(logs).any():
        return math.nan
    at, powers = int(np.argmin(logs)), np.log2(rates)
    if at in (0, len(rates) - 1) or not np.isfinite(logs[at - 1 : at + 2]).all():
        return float(powers[at])
    square, line, _ = np.polyfit(powers[at - 1 : at + 2] - powers[at], logs[at - 1 : at + 2], 2)
    return float(powers[at] - line / (2 * square)) if square > 0 else float(powers[at])


def outputs(weights: dict[str, np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """What each layer makes of examples."""
    first = np.maximum(x @ weights["A"] + weights["c1"], 0)
    second = np.maximum(first @ weights["A2"] + weights["c2"], 0)
    return [first, second, second @ weights["B"] + weights["c3"]]


def coordinate_check(
    dataset: mlp_jax.Dataset, optimizer: str, widths: Sequence[int], seeds: int, steps: Sequence[int]
) -> dict[str, Any]:
    """Mean size of the change of each layer's outputs: by parametrization ``[steps][layers][widths][seeds]``."""
    few = {"subsets": (CHECK_EXAMPLES,), "batch_sizes": (CHECK_EXAMPLES,)}  # an epoch is one step
    result = mlp_jax.sweep(grid(optimizer, widths, (CHECK_RATES[optimizer],), seeds, budgets=steps, **few), dataset)
    x = dataset.train.features[:CHECK_EXAMPLES].astype(np.float32) / 255
    found = {name: np.zeros((len(steps), len(LAYERS), len(widths), seeds)) for name in PARAMETRIZATIONS}
    for trial, weights in ((result.trials[place], weights) for place, weights in result.all_weights()):
        assert isinstance(trial.hidden_units, tuple)
        model = mlp_jax.MLP(
            dataset.features,
            trial.hidden_units,
            dataset.outputs,
            activation="relu",
            initialization="he",
            base_width=BASE if trial.parametrization == "mup" else 0,
            rngs=nnx.Rngs(trial.seed),
        )
        before = {name: np.asarray(each) for name, each in model.weights.items()}
        pairs = zip(outputs(weights, x), outputs(before, x), strict=True)
        place = (steps.index(trial.epochs), slice(None), widths.index(trial.hidden_units[0]), trial.seed)
        found[trial.parametrization][place] = [float(np.abs(now - then).mean()) for now, then in pairs]
    return {name: np.round(each, 6).tolist() for name, each in found.items()}


def losses_of(result: mlp_jax.SweepResult, widths: Sequence[int], rates: Sequence[float], seeds: int) -> dict[str, Any]:
    """Training loss of the last epoch: by parametrization ``[widths][seeds][rates]``; None where diverged."""
    found = {name: np.full((len(widths), seeds, len(rates)), None, object) for name in PARAMETRIZATIONS}
    for trial, loss, diverged in zip(result.trials, result.history["loss"][:, -1], result.diverged, strict=True):
        assert isinstance(trial.hidden_units, tuple)
        place = widths.index(trial.hidden_units[0]), trial.seed, rates.index(trial.learning_rate)
        known = not diverged and math.isfinite(loss)
        found[trial.parametrization][place] = round(float(loss), 6) if known else None
    return {name: each.tolist() for name, each in found.items()}


def optima(record: dict[str, Any], name: str) -> np.ndarray:
    """log₂ of the best rate, ``[widths, seeds]``."""
    losses, rates = np.array(record["losses"][name], float), record["asked"]["rates"]
    return np.array([[best_rate(rates, each) for each in row] for row in losses])


def interval(values: np.ndarray) -> str:
    """Mean of seeds and its 95 % interval; the mean alone of one."""
    mean = float(values.mean())
    if len(values) < 2:
        return signed(mean)
    reach = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return f"{signed(mean)} ({signed(mean - reach)} to {signed(mean + reach)})"


def exponent(widths: Sequence[int], sizes: np.ndarray) -> np.ndarray:
    """Slope of log₂ size ``[widths, seeds]`` against log₂ width, of each seed."""
    return np.array([np.polyfit(np.log2(widths), np.log2(each), 1)[0] for each in sizes.T])


def table(record: dict[str, Any]) -> str:
    """The best rates by width, how far they move, and the exponents of the coordinate check."""
    asked, widths = record["asked"], record["asked"]["widths"]
    rows, check = [], []
    for name, title in PARAMETRIZATIONS.items():
        best = optima(record, name)
        rows.append([title, *(signed(float(np.mean(each))) for each in best), interval(best[-1] - best[0])])
        for steps, changes in zip(asked["check_steps"], np.array(record["check"][name]), strict=True):
            after = f"{title}, {count_of(steps, 'step')}"
            check.append([after, *(interval(exponent(widths, each)) for each in changes)])
    ends = [float(np.log2(asked["rates"][place])) for place in (0, -1)]
    at_the_end = sum(int(np.isin(optima(record, name), ends).sum()) for name in PARAMETRIZATIONS)
    lines = [
        (
            f"{OPTIMIZERS[asked['optimizer']]}, {count_of(asked['seeds'], 'seed')}, "
            f"{count_of(asked['epochs'], 'epoch')} of {asked['examples']:,} "
            f"images, {len(asked['rates'])} rates from 2^{ends[0]:.0f} to 2^{ends[1]:.0f}; "
            f"{taken(record, record['seconds'])}."
        )
    ]
    if at_the_end:
        lines.append(f"{at_the_end} of the best rates are the first or last one tried, and may lie beyond.")
    headings = ["log₂ of the best rate", *(f"M = {width}" for width in widths), f"from {widths[0]} to {widths[-1]}"]
    rate = math.log2(asked["check_rate"])
    said = f"Coordinate check: exponent, in the width, of the change of a layer's outputs, at a rate of 2^{rate:.0f}."
    return "\n".join([*lines, "", markdown(headings, rows), "", said, "", markdown(["exponent", *LAYERS], check)])


@styled
def figure(record: dict[str, Any]) -> Figure:
    """Loss against the rate by width, a panel for each parametrization; change of the logits against width."""
    asked = record["asked"]
    widths, powers = asked["widths"], np.log2(asked["rates"])
    drawn = Figure(figsize=(WIDTH, 3.4))
    panels = drawn.subplots(1, 3)
    lowest = min(np.nanmin(np.array(record["losses"][name], float)) for name in PARAMETRIZATIONS)
    for axes, (name, title) in zip(panels, PARAMETRIZATIONS.items(), strict=False):
        losses = np.array(record["losses"][name], float).mean(axis=1)  # NaN where a seed diverged
        for width, tone, each in zip(widths, colours(len(widths)), losses, strict=True):
            axes.plot(powers, each, color=tone, label=str(width))
            best = int(np.nanargmin(each)) if np.isfinite(each).any() else None
            if best is not None:
                axes.plot(powers[best], each[best], "o", color=tone)
        axes.set_ylim(0.7 * lowest, 3)
        log_axis(axes)
        axes.set_title(title)
        axes.set_xlabel("log₂ of the learning rate")
    panels[0].set_ylabel("training loss")
    panels[0].legend(title="M", fontsize=7, title_fontsize=8)
    for (name, title), tone, marker in zip(PARAMETRIZATIONS.items(), colours(2), MARKERS, strict=False):
        sizes = np.array(record["check"][name])[-1, -1].mean(axis=1)
        panels[2].plot(widths, sizes, color=tone, marker=marker, label=title)
    width_axis(panels[2], widths, 3)
    log_axis(panels[2])
    panels[2].set_title(f"coordinate check, step {asked['check_steps'][-1]}")
    panels[2].set_xlabel("hidden units M")
    panels[2].set_ylabel("mean change of the logits")
    panels[2].legend(fontsize=8)
    said = f"MNIST, two hidden layers, {OPTIMIZERS[asked['optimizer']]}, {count_of(asked['epochs'], 'epoch')}"
    drawn.suptitle(f"{said}, {count_of(asked['seeds'], 'seed')}", fontsize="medium")
    return drawn


def main(
    quick: bool = False,
    optimizer: Literal["adam", "sgd"] = "adam",
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048),
    seeds: int = 3,
    epochs: int = 3,
    examples: int = 55_000,
    from_record: bool = False,
    out: Path = Path("runs/studies"),
    page: bool = False,
) -> None:
    """Find the best learning rate by width in both parametrizations.

    Args:
        quick: narrow networks, few rates, few examples, to see it work.
        optimizer: adam, or sgd without momentum.
        widths: M of both hidden layers.
        seeds: how many.
        epochs: passes over the training examples.
        examples: how many to train on.
        from_record: train nothing: show what the repository's record says.
        out: directory for record and figure.
        page: also write both, and the table, into the repository.
    """
    rates = RATES[optimizer]
    check_steps: tuple[int, ...] = (1, 8)
    if quick:
        widths, rates, seeds, epochs, examples, check_steps = (32, 128), rates[3::2], 2, 1, 2560, (4,)
    record = None
    if not from_record:
        record = begin(
            optimizer=optimizer,
            widths=widths,
            rates=rates,
            seeds=seeds,
            epochs=epochs,
            examples=examples,
            check_steps=check_steps,
            check_rate=CHECK_RATES[optimizer],
        )
        dataset = mlp_jax.load_dataset("mnist")
        recipe = mlp_jax.Recipe(epochs=epochs, report_every=epochs)
        chosen = grid(optimizer, widths, rates, seeds, subsets=(0 if examples == len(dataset.train) else examples,))
        mlp_jax.device_a_core(chosen, dataset, recipe=recipe)
        result, seconds = swept(record, "rates", chosen, dataset, recipe, out / NAME / "checkpoints")
        record["losses"] = losses_of(result, widths, rates, seeds)
        record["seconds"] = round(seconds, 1)
        record["check"] = coordinate_check(dataset, optimizer, widths, seeds, check_steps)
    finish(NAME, record, table, figure, out=out, page=page)


if __name__ == "__main__":
    command_line(main, __doc__)
