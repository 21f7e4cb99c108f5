"""Comparisons of means, seed by seed and example by example: a contest of alternatives, and steps between widths."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from mlp_jax.answers.rows import SETTING, BySeed, OfSetting, by_seed, groups
from mlp_jax.answers.variation import Estimate, Interval, Prior, Spread, estimate, prior, spread
from mlp_jax.runs.tables import Criterion, Table, criterion
from mlp_jax.sweeps.outcomes import Outcomes


class Contest:
    """Alternatives, such as the widths of a setting, that are compared on one split.

    Trials of one seed share the order of their minibatches and the keys of their initial weights, so differences are
    taken seed by seed, and example by example.
    """

    def __init__(
        self,
        alternatives: Mapping[Any, BySeed],
        trials: Table,
        by: Criterion,
        split: str,
        outcomes: Outcomes | None,
    ) -> None:
        """Make a contest from the row of each alternative's trial by seed, the measure, the split and the outcomes."""
        self.alternatives, self._by, self._split, self._outcomes = alternatives, by, split, outcomes
        self._values = by.merit(trials[f"{split}_{by.measure}"].astype(float))
        self._numbers = trials["trial"]
        self.comparisons = max(1, math.comb(len(alternatives), 2))
        """Number of comparisons that intervals hold for together: all pairs, as results decide which are looked at."""

    @property
    def measure(self) -> str:
        """``score`` or ``loss``."""
        return self._by.measure

    @cached_property
    def best(self) -> Any:
        """The alternative with the best mean, the first of equals."""
        means = {each: self._values[list(rows.values())].mean() for each, rows in self.alternatives.items()}
        return max(means, key=lambda each: -np.inf if np.isnan(means[each]) else means[each])

    def spread(self, one: Any) -> Spread:
        """The spread of one alternative's mean."""
        rows = list(self.alternatives[one].values())
        if self._known:
            assert self._outcomes is not None
            found = spread(self._merit(rows))
            # R² is 1 less the mean of what examples take off it.
            return replace(found, mean=found.mean + (self._outcomes.graded and self.measure == "score"))
        scores = self._values[rows]
        return self._of_scores(scores, float(scores.mean() * (1 - scores.mean())))

    def difference(self, lesser: Any, greater: Any) -> Spread:
        """The spread of the second mean minus the first, over the seeds that both have."""
        less, more = self.alternatives[lesser], self.alternatives[greater]
        seeds = [seed for seed in less if seed in more]
        if not seeds:
            return Spread(math.nan, 0, 0, math.nan, math.nan, 0.0)
        before, after = ([rows[seed] for seed in seeds] for rows in (less, more))
        if self._known:
            assert self._outcomes is not None
            return spread(self._merit(after) - self._merit(before), paired_bits=not self._outcomes.graded)
        first, second = self._values[before], self._values[after]
        # As if two models were right and wrong independently of each other: they are not, and differ less.
        independent = sum(float(each.mean() * (1 - each.mean())) for each in (first, second))
        return self._of_scores(second - first, independent)

    def against(self, one: Any, guess: Float[np.ndarray, "1 examples"]) -> Estimate:
        """The gain of one alternative over answers that depend on no seed, given their merit by example."""
        assert self._outcomes is not None
        merit = self._merit(list(self.alternatives[one].values()))
        return estimate(spread(merit - guess, paired_bits=not self._outcomes.graded), self._prior, one_seed=True)

    def compare(self, lesser: Any, greater: Any) -> tuple[Spread, Estimate]:
        """The spread of the second mean minus the first, and the estimate made of it."""
        found = self.difference(lesser, greater)
        return found, estimate(found, self._prior)

    @cached_property
    def _prior(self) -> Prior | None:
        """The spreads of each step from one to the next, and between each and the best."""
        names = list(self.alternatives)
        to_best = ((each, self.best) for each in names if each != self.best)
        pairs = dict.fromkeys([*itertools.pairwise(names), *to_best])
        return prior([self.difference(*pair) for pair in pairs], len(names))

    @property
    def of_hits(self) -> bool:
        """Whether an accuracy is compared whose hits are known."""
        return self._outcomes is not None and bool(self._outcomes.sizes) and not self._outcomes.graded

    @property
    def _known(self) -> bool:
        return self._outcomes is not None and self._outcomes.known

    def _merit(self, rows: Sequence[int]) -> Float[np.ndarray, "seeds examples"]:
        assert self._outcomes is not None
        return self._outcomes.merit(self._split, self._numbers[list(rows)].tolist(), self._by.measure)

    def _of_scores(self, scores: Float[np.ndarray, "seeds"], over_examples: float) -> Spread:
        """The spread of scores without results by example."""
        count = self._outcomes.sizes.get(self._split, 0) if self._outcomes is not None else 0
        over_seeds = float(scores.var(ddof=1)) if len(scores) > 1 else math.nan
        chance = over_examples if count else math.nan
        return Spread(float(scores.mean()), len(scores), count, over_seeds, chance, 0.0)


def contests(trials: Table, split: str, outcomes: Outcomes | None) -> dict[tuple[str, float], Contest]:
    """One contest per setting, between the widths, ascending, at which some trial did not diverge."""
    settings: dict[tuple[Any, ...], dict[int, BySeed]] = {}
    for (*setting, width), rows in by_seed(trials, *SETTING, "hidden_units").items():
        settings.setdefault(tuple(setting), {})[width] = rows
    order = list(groups(trials, *SETTING))
    by = criterion(trials)
    return {key: Contest(settings[key], trials, by, split, outcomes) for key in order if key in settings}


@dataclass(frozen=True)
class Step(OfSetting):
    """The gain of one width over another, seed by seed and example by example.

    Attributes:
        variant, learning_rate: the setting of both.
        hidden_units: the width to compare with, and the width whose gain it is.
        seeds: number of pairs of trials that did not diverge.
        examples: number of examples that count as chance; 0 if results by example are not known and only seeds count.
        gain: mean difference in the measure of choice on this split; higher is better.
        standard_error: of the gain; NaN if there is none, as for one seed.
        interval: of the gain, at 95 % for the comparisons of all widths with each other together.
        p_value: two-sided, that the gain is 0 in truth, times that number.
    """

    variant: str
    learning_rate: float
    hidden_units: tuple[int, int]
    seeds: int
    examples: int
    gain: float
    standard_error: float
    interval: Interval
    p_value: float

    @property
    def distinguishable(self) -> bool | None:
        """Whether the interval excludes 0; None if there is no interval."""
        if np.isnan(self.interval.low):
            return None
        return self.interval.low > 0 or self.interval.high < 0


def compare_widths(setting: tuple[str, float], contest: Contest, lesser: int, greater: int) -> Step:
    """The gain of the greater width of a setting's contest over the smaller."""
    found, sure = contest.compare(lesser, greater)
    interval, p = sure.interval(contest.comparisons), sure.p_value(contest.comparisons)
    if contest.of_hits:  # no difference of two accuracies is beyond 1
        interval = Interval(*np.clip(interval, -1, 1).tolist())
    return Step(*setting, (lesser, greater), found.seeds, found.examples, found.mean, sure.standard_error, interval, p)
