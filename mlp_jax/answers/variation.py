"""The uncertainty of a mean over seeds and examples: the one model of chance behind every interval and decision.

A score is a mean over trials of several seeds and over the examples of a split; so is the difference of two. Another
draw of the seeds would change it, and another draw of the examples: two crossed random effects, whose variance is

    variance over seeds / seeds + variance over examples / examples − variance of what is left / (seeds · examples)

where the variances are those of the means by seed, of the means by example, and of what neither explains, which the
first two count twice (Cameron, Gelbach and Miller 2011; as an analysis of variance Brennan 2001; Owen 2007 of large
tables). Few seeds give a poor variance: those of all comparisons together moderate each (Smyth 2004), which lends it
degrees of freedom. Those of the sum are Satterthwaite's (1946).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

CONFIDENCE = 0.95

# SciPy's statistics are imported where they are used: that takes as long as the rest of the package.


class Interval(NamedTuple):
    """An interval from low to high; NaN if there are too few values."""

    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Spread:
    """A mean and the components of its variance.

    Attributes:
        mean: of the scores or differences.
        seeds: number of seeds.
        examples: number of examples; 0 if results by example are not known.
        over_seeds: variance of the means by seed; NaN for one seed.
        over_examples: variance of the means by example, or a substitute; NaN if nothing is known about it.
        rest: variance that seeds and examples do not explain; 0 if unknown, which is conservative.
    """

    mean: float
    seeds: int
    examples: int
    over_seeds: float
    over_examples: float
    rest: float


def spread(values: Float[np.ndarray, "seeds examples"], *, paired_bits: bool = False) -> Spread:
    """The mean of a table and the components of its variance.

    Args:
        values: one row per seed, one column per example.
        paired_bits: whether they are differences of hits, 0 or 1. Few examples may have none on which two models
            differ, and would give a variance of 0: two are added, one for each model (Bonett and Price 2012).
    """
    seeds, examples = values.shape
    mean = float(values.mean())
    by_seed, by_example = values.mean(axis=1), values.mean(axis=0)
    over_examples = math.nan
    if paired_bits:
        over_examples = float((np.sum((by_example - mean) ** 2) + 2) / (examples + 1) * examples / (examples + 2))
    elif examples > 1:
        over_examples = float(by_example.var(ddof=1))
    rest = 0.0
    if min(seeds, examples) > 1:
        # Of a table, the sum of squares of what rows and columns leave is that of all less theirs.
        squares = np.sum((values - mean) ** 2) - examples * np.sum((by_seed - mean) ** 2)
        squares -= seeds * np.sum((by_example - mean) ** 2)
        rest = float(max(squares, 0.0) / ((seeds - 1) * (examples - 1)))
    return Spread(mean, seeds, examples, float(by_seed.var(ddof=1)) if seeds > 1 else math.nan, over_examples, rest)


def spread_apart(
    lesser: Float[np.ndarray, "m examples"], greater: Float[np.ndarray, "n examples"], *, paired_bits: bool = False
) -> Spread:
    """What the difference of two tables' means varies with, whose seeds have nothing to do with one another.

    Their examples are the same, and so differences are taken by example; the variances over seeds of both add up. Of
    seeds there count as many as the smaller table has, which errs to the safe side.

    Args:
        lesser: a row a seed, a column an example.
        greater: from which the other is taken.
        paired_bits: as ``spread`` takes it.
    """
    each = [spread(table) for table in (lesser, greater)]
    seeds = min(one.seeds for one in each)
    by_example = spread(greater.mean(axis=0, keepdims=True) - lesser.mean(axis=0), paired_bits=paired_bits)
    return Spread(
        by_example.mean,
        seeds,
        by_example.examples,
        seeds * sum(one.over_seeds / one.seeds for one in each),
        by_example.over_examples,
        seeds * sum(one.rest / one.seeds for one in each),
    )


class Prior(NamedTuple):
    """What the variances over seeds of several comparisons say of each: a ratio, worth so many degrees of freedom.

    The ratio is to what examples alone would make of a variance over seeds (``_by_chance``): what narrow widths have
    more of, whose trials differ about more examples, is in that already. ``most`` is how many degrees of freedom all
    comparisons have together.
    """

    ratio: float
    degrees: float
    most: float


LEAST_RATIO = 0.1
"""Least ratio that counts, since seeds may agree to the digit by chance."""


def prior(spreads: Sequence[Spread], alternatives: int) -> Prior | None:
    """The prior of the variances over seeds: the scaled inverse χ² that fits their logarithms (Smyth 2004).

    Args:
        spreads: spreads of the comparisons; those with one seed do not count.
        alternatives: number of things compared, of which one fewer comparisons are independent.

    Returns:
        None if fewer than two count.
    """
    from scipy import special

    usable = [each for each in spreads if each.seeds > 1 and (each.over_seeds > 0 or each.rest > 0)]
    if len(usable) < 2:
        return None
    degrees = np.array([each.seeds - 1.0 for each in usable])
    ratio = np.array([max(each.over_seeds / _by_chance(each), LEAST_RATIO if each.rest else 0) for each in usable])
    logarithm = np.log(ratio) - special.digamma(degrees / 2) + np.log(degrees / 2)
    center = float(logarithm.mean())
    most = float(degrees.mean()) * max(1, min(alternatives - 1, len(usable)))
    excess = float(logarithm.var(ddof=1) - special.polygamma(1, degrees / 2).mean())
    if excess <= 0:  # no more different than chance makes them
        return Prior(math.exp(center), math.inf, most)
    half = _inverse_trigamma(excess)
    return Prior(math.exp(center + float(special.digamma(half)) - math.log(half)), 2 * half, most)


def _by_chance(each: Spread) -> float:
    """The variance over seeds that trials would have which differ in nothing but single examples; 1 if not known."""
    return each.rest / each.examples if each.rest > 0 else 1.0


def _inverse_trigamma(value: float) -> float:
    """The argument above 0 at which the trigamma function, which falls from ∞ to 0, has that value."""
    from scipy import optimize, special

    found = optimize.brentq(lambda log: float(special.polygamma(1, math.exp(log))) - value, -20.0, 20.0)
    return math.exp(found)


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error, from a spread whose variance over seeds is moderated.

    Attributes:
        mean: the mean.
        standard_error: its standard error; NaN if it is unknown.
        degrees: degrees of freedom.
    """

    mean: float
    standard_error: float
    degrees: float

    def interval(self, comparisons: int = 1) -> Interval:
        """Student's t interval, at 95 % for that many intervals together (Bonferroni)."""
        if math.isnan(self.standard_error):
            return UNKNOWN
        reach = self.quantile(comparisons) * self.standard_error
        return Interval(self.mean - reach, self.mean + reach)

    def quantile(self, comparisons: int = 1) -> float:
        """Half the width of ``interval`` in standard errors."""
        from scipy import stats

        return float(stats.t.isf((1 - CONFIDENCE) / (2 * comparisons), self.degrees))

    def p_value(self, comparisons: int = 1) -> float:
        """Two-sided p-value for a true mean of 0, times the number of comparisons, at most 1."""
        if math.isnan(self.standard_error):
            return math.nan
        if not self.standard_error:
            return float(self.mean == 0)
        from scipy import stats

        return min(1.0, comparisons * 2 * float(stats.t.sf(abs(self.mean) / self.standard_error, self.degrees)))

    def proportion(self, examples: int) -> Interval:
        """Wilson's 95 % interval of a mean of hits, for the number of examples that would give the same uncertainty."""
        if math.isnan(self.standard_error):
            return UNKNOWN
        p, q = self.mean, self.quantile()
        binomial = p * (1 - p)
        count = min(binomial / self.standard_error**2, examples) if binomial > 1e-12 else float(examples)
        middle = (p + q * q / (2 * count)) / (1 + q * q / count)
        reach = q / (1 + q * q / count) * math.sqrt(max(binomial, 0) / count + q * q / (4 * count * count))
        return Interval(max(middle - reach, 0.0), min(middle + reach, 1.0))


def estimate(each: Spread, known: Prior | None, *, one_seed: bool = False) -> Estimate:
    """The estimate of a mean.

    Args:
        each: its spread.
        known: prior of the variances over seeds of comparable spreads.
        one_seed: whether one seed is enough: the estimate is then about that seed's models only.
    """
    if each.seeds < 2:
        if not one_seed or math.isnan(each.over_examples):
            return Estimate(each.mean, math.nan, math.nan)
        return Estimate(each.mean, math.sqrt(each.over_examples / each.examples), max(each.examples - 1.0, 1.0))
    degrees, chance = each.seeds - 1.0, _by_chance(each)
    ratio = each.over_seeds / chance
    if known is not None:
        if math.isinf(known.degrees):
            ratio, degrees = known.ratio, known.most
        else:
            whole = known.degrees + degrees
            ratio = (known.degrees * known.ratio + degrees * ratio) / whole
            degrees = min(whole, max(known.most, degrees))
    if each.rest > 0 and ratio <= 1:  # nothing but single examples, of which there are many
        ratio, degrees = 1.0, (each.seeds - 1.0) * max(each.examples - 1.0, 1.0)
    by_seeds = ratio * chance / each.seeds
    if each.examples == 1 and math.isnan(each.over_examples):  # which has no variance
        return Estimate(each.mean, math.nan, math.nan)
    if math.isnan(each.over_examples):
        return Estimate(each.mean, math.sqrt(by_seeds), degrees)
    by_examples, examples = each.over_examples / each.examples, max(each.examples - 1.0, 1.0)
    twice = each.rest / (each.seeds * each.examples)
    total = by_seeds + by_examples - twice
    if total <= max(by_seeds, by_examples):  # one of the two kinds of chance is not to be seen
        return Estimate(each.mean, *max((math.sqrt(by_seeds), degrees), (math.sqrt(by_examples), examples)))
    uncertain = by_seeds**2 / degrees + by_examples**2 / examples + twice**2 / (examples * (each.seeds - 1))
    return Estimate(each.mean, math.sqrt(total), total**2 / uncertain)
