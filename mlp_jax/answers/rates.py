"""Which learning rate suits each width, and whether that depends on the width."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mlp_jax.answers.contests import Contest
from mlp_jax.answers.rows import BySeed, by_seed, groups
from mlp_jax.runs.tables import Table, criterion
from mlp_jax.sweeps.outcomes import Outcomes

# SciPy's statistics are imported where they are used: that takes as long as the rest of the package.


@dataclass(frozen=True)
class BestRate:
    """The learning rate that suits a width best.

    Attributes:
        variant, hidden_units: the width.
        learning_rate: the one with the best mean on validation.
        as_good: the others over which its gain is at most the standard error of that gain; None with fewer than two
            seeds.
    """

    variant: str
    hidden_units: int
    learning_rate: float
    as_good: tuple[float, ...] | None


def best_rates(trials: Table, outcomes: Outcomes | None = None) -> list[BestRate]:
    """The best learning rate of each variant and width, among those at which some trial did not diverge."""
    points: dict[tuple[Any, ...], dict[float, BySeed]] = {}
    for (variant, width, rate), rows in by_seed(trials, "variant", "hidden_units", "learning_rate").items():
        points.setdefault((variant, width), {})[rate] = rows
    order = [key for key in groups(trials, "variant", "hidden_units") if key in points]
    by, found = criterion(trials), []
    for variant, width in order:
        rates = points[variant, width]
        contest = Contest(rates, trials, by, "validation", outcomes)
        near = []
        for rate in rates:
            _, sure = contest.compare(rate, contest.best)
            if rate != contest.best and sure.mean <= sure.standard_error:
                near.append(rate)
        known = len(rates[contest.best]) > 1
        found.append(BestRate(variant, width, contest.best, tuple(near) if known else None))
    return found


@dataclass(frozen=True)
class Interaction:
    """Whether the effect of the learning rate depends on the width: analysis of variance of the validation measure.

    Width and learning rate are fixed factors; seeds and examples are random factors, crossed with them. F is the mean
    square of the interaction over what chance would make of it: the interaction's variance over seeds and that over
    examples, each divided by their number, added (a quasi-F ratio; what both count is not taken off, which errs to the
    safe side). It takes these variances to be the same in every cell; learning rates far too low or high break that.

    Attributes:
        variant: the variant of the trials.
        hidden_units, learning_rates: the levels that were compared. Learning rates at which every trial diverged are
            left out, then widths of which some trial did.
        seeds: number of seeds.
        f: the statistic.
        degrees: degrees of freedom of the interaction and (Satterthwaite's) of the denominator.
        p_value: probability of an F at least as great if there is no interaction.
    """

    variant: str
    hidden_units: tuple[int, ...]
    learning_rates: tuple[float, ...]
    seeds: int
    f: float
    degrees: tuple[int, float]
    p_value: float


def interactions(trials: Table, outcomes: Outcomes | None = None) -> list[Interaction]:
    """The interaction of width and learning rate for each variant with at least two of each, and two seeds."""
    by, found = criterion(trials), []
    points = by_seed(trials, "variant", "hidden_units", "learning_rate")
    for variant in dict.fromkeys(trials["variant"].tolist()):
        cells = {(width, rate): rows for (name, width, rate), rows in points.items() if name == variant}
        rates = tuple(sorted({rate for _, rate in cells}))
        seeds = sorted({seed for rows in cells.values() for seed in rows})
        widths = tuple(
            width
            for width in sorted({width for width, _ in cells})
            if all(seed in cells.get((width, rate), {}) for rate in rates for seed in seeds)
        )
        if min(len(widths), len(rates), len(seeds)) < 2:
            continue
        rows = np.array([[[cells[width, rate][seed] for seed in seeds] for rate in rates] for width in widths])
        scores = by.merit(trials[by.column].astype(float))[rows]
        by_example = None
        if outcomes is not None and outcomes.known:
            by_example = np.array(
                [
                    [
                        outcomes.merit("validation", trials["trial"][cell].tolist(), by.measure).mean(axis=0)
                        for cell in line
                    ]
                    for line in rows
                ]
            )
        found.append(Interaction(variant, widths, rates, len(seeds), *_interaction_test(scores, by_example)))
    return found


def _interaction_test(
    by_seed: Float[np.ndarray, "widths rates seeds"], by_example: Float[np.ndarray, "widths rates examples"] | None
) -> tuple[float, tuple[int, float], float]:
    """F, its degrees of freedom and its p-value, for complete tables; without one by example only seeds count."""
    from scipy import stats

    def mixed(y: np.ndarray) -> np.ndarray:
        return y - y.mean(axis=0, keepdims=True) - y.mean(axis=1, keepdims=True) + y.mean(axis=(0, 1), keepdims=True)

    a, b, _ = by_seed.shape
    free = (a - 1) * (b - 1)
    chance, uncertain = 0.0, 0.0
    for table in (by_seed, by_example):
        if table is not None and (n := table.shape[2]) > 1:
            each = mixed(table)
            error = float(np.sum((each - each.mean(axis=2, keepdims=True)) ** 2)) / (free * (n - 1)) / n
            chance, uncertain = chance + error, uncertain + error**2 / (free * (n - 1))
    with np.errstate(divide="ignore", invalid="ignore"):  # no error at all: F is infinite, or nothing differs
        f = np.sum(mixed(by_seed.mean(axis=2, keepdims=True)) ** 2) / free / np.float64(chance)
        degrees = float(np.float64(chance) ** 2 / uncertain)
    return float(f), (free, degrees), float(stats.f.sf(f, free, degrees))
