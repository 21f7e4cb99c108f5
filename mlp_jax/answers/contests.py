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
    """Alternatives, such as the widths of a setting, that are held against each other on one split.

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
        """Of each alternative by seed the row of its trial; what is compared, on which split; what examples make."""
        self.alternatives, self._by, self._split, self._outcomes = alternatives, by, split, outcomes
        self._values = by.merit(trials[f"{split}_{by.measure}"].astype(float))
        self._numbers = trials["trial"]
        self.comparisons = max(1, math.comb(len(alternatives), 2))
        """For how many together an interval holds: each alternative with each other, as results choose among them."""

    @property
    def measure(self) -> str:
        """``score`` or ``loss``."""
        return self._by.measure

    @cached_property
    def best(self) -> Any:
        """The alternative whose mean is the best, the first of equals."""
        means = {each: self._values[list(rows.values())].mean() for each, rows in self.alternatives.items()}
        return max(means, key=lambda each: -np.inf if np.isnan(means[each]) else means[each])

    def spread(self, one: Any) -> Spread:
        """What the mean of one varies with."""
        rows = list(self.alternatives[one].values())
        if self._known:
            assert self._outcomes is not None
            found = spread(self._merit(rows))
            # R² is 1 less the mean of what examples take off it.
            return replace(found, mean=found.mean + (self._outcomes.graded and self.measure == "score"))
        scores = self._values[rows]
        return self._of_scores(scores, float(scores.mean() * (1 - scores.mean())))

    def difference(self, lesser: Any, greater: Any) -> Spread:
        """What the mean of the second less that of the first varies with, over the seeds that both have."""
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
        """How much one has over answers that owe nothing to a seed, given what each example makes of these."""
        assert self._outcomes is not None
        merit = self._merit(list(self.alternatives[one].values()))
        return estimate(spread(merit - guess, paired_bits=not self._outcomes.graded), self._prior, one_seed=True)

    def compare(self, lesser: Any, greater: Any) -> tuple[Spread, Estimate]:
        """What the mean of the second less that of the first varies with, and how sure it is."""
        found = self.difference(lesser, greater)
        return found, estimate(found, self._prior)

    @cached_property
    def _prior(self) -> Prior | None:
        """Of each step from one to the next, and of each and the best."""
        names = list(self.alternatives)
        to_best = ((each, self.best) for each in names if each != self.best)
        pairs = dict.fromkeys([*itertools.pairwise(names), *to_best])
        return prior([self.difference(*pair) for pair in pairs], len(names))

    @property
    def of_hits(self) -> bool:
        """Whether what is compared is known to be an accuracy."""
        return self._outcomes is not None and bool(self._outcomes.sizes) and not self._outcomes.graded

    @property
    def _known(self) -> bool:
        return self._outcomes is not None and self._outcomes.known

    def _merit(self, rows: Sequence[int]) -> Float[np.ndarray, "seeds examples"]:
        assert self._outcomes is not None
        return self._outcomes.merit(self._split, self._numbers[list(rows)].tolist(), self._by.measure)

    def _of_scores(self, scores: Float[np.ndarray, "seeds"], over_examples: float) -> Spread:
        """The spread of scores of which it is not known what each example makes."""
        count = self._outcomes.sizes.get(self._split, 0) if self._outcomes is not None else 0
        over_seeds = float(scores.var(ddof=1)) if len(scores) > 1 else math.nan
        chance = over_examples if count else math.nan
        return Spread(float(scores.mean()), len(scores), count, over_seeds, chance, 0.0)


def contests(trials: Table, split: str, outcomes: Outcomes | None) -> dict[tuple[str, float], Contest]:
    """The widths, ascending, of each setting, of which some trial did not diverge."""
    settings: dict[tuple[Any, ...], dict[int, BySeed]] = {}
    for (*setting, width), rows in by_seed(trials, *SETTING, "hidden_units").items():
        settings.setdefault(tuple(setting), {})[width] = rows
    order = list(groups(trials, *SETTING))
    by = criterion(trials)
    return {key: Contest(settings[key], trials, by, split, outcomes) for key in order if key in settings}


@dataclass(frozen=True)
class Step(OfSetting):
    """What one width has over another, seed by seed and example by example.

    Attributes:
        variant, learning_rate: of both.
        hidden_units: the width compared with, and the width whose gain it is.
        seeds: how many pairs, of trials that did not diverge.
        examples: how many count as chance; 0 where nothing is known of them, and seeds alone do.
        gain: mean difference in what choices look at, of this split; more is better.
        standard_error: of the gain; NaN where there is none, as of one seed.
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
        """Whether the interval leaves 0 out; None if there is no interval."""
        if np.isnan(self.interval.low):
            return None
        return self.interval.low > 0 or self.interval.high < 0


def compare_widths(setting: tuple[str, float], contest: Contest, lesser: int, greater: int) -> Step:
    """What the greater width of a setting's contest has over the lesser."""
    found, sure = contest.compare(lesser, greater)
    interval, p = sure.interval(contest.comparisons), sure.p_value(contest.comparisons)
    if contest.of_hits:  # no difference of two accuracies is beyond 1
        interval = Interval(*np.clip(interval, -1, 1).tolist())
    return Step(*setting, (lesser, greater), found.seeds, found.examples, found.mean, sure.standard_error, interval, p)
