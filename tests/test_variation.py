"""The model of chance: against textbook analysis of variance, SciPy, and grids of known truth."""

import numpy as np
import pytest
import simulation
from scipy import stats

from mlp_jax.answers.variation import Estimate, Spread, estimate, prior, spread


def test_variances_are_those_of_a_two_way_analysis_of_variance():
    values = np.random.default_rng(0).normal(size=(4, 30)) + np.arange(4)[:, None] + np.arange(30) / 9
    found = spread(values)
    left = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    assert found.over_seeds == pytest.approx(values.mean(axis=1).var(ddof=1))
    assert found.over_examples == pytest.approx(values.mean(axis=0).var(ddof=1))
    assert found.rest == pytest.approx(np.sum(left**2) / (3 * 29))
    by_seeds, by_examples, rest = found.over_seeds / 4, found.over_examples / 30, found.rest / 120
    sure = estimate(found, None)
    assert sure.standard_error == pytest.approx(np.sqrt(by_seeds + by_examples - rest))
    degrees = sure.standard_error**4 / (by_seeds**2 / 3 + by_examples**2 / 29 + rest**2 / 87)
    assert sure.degrees == pytest.approx(degrees)
    low, high = stats.t.interval(0.95, degrees, loc=values.mean(), scale=sure.standard_error)
    assert sure.interval() == pytest.approx((low, high))
    assert sure.p_value() == pytest.approx(2 * stats.t.sf(abs(values.mean()) / sure.standard_error, degrees))


def test_the_standard_error_is_that_of_the_truth():
    rng = np.random.default_rng(0)

    def table():
        return rng.normal(size=(5, 1)) + 2 * rng.normal(size=(1, 40)) + 3 * rng.normal(size=(5, 40))

    drawn = [table() for _ in range(3000)]
    variance = np.mean([estimate(spread(each), None).standard_error ** 2 for each in drawn])
    truth = 1 / 5 + 4 / 40 + 9 / 200
    assert np.var([each.mean() for each in drawn]) == pytest.approx(truth, rel=0.1)
    assert variance == pytest.approx(truth, rel=0.03)
    assert (
        np.mean([not (each.low < 0 < each.high) for each in (estimate(spread(d), None).interval() for d in drawn)])
        < 0.06
    )


def test_intervals_of_several_comparisons_are_bonferroni_s_and_agree_with_p_values():
    sure = Estimate(1.0, 0.4, 12.0)
    assert sure.quantile(10) == pytest.approx(stats.t.isf(0.0025, 12))
    for comparisons in range(1, 30):
        assert (sure.interval(comparisons).low > 0) == (sure.p_value(comparisons) < 0.05)
    assert sure.p_value(10_000) == 1
    assert Estimate(0.0, 0.0, 3.0).p_value() == 1
    assert np.isnan(Estimate(0.0, np.nan, np.nan).interval()).all()


def test_the_prior_finds_the_distribution_of_the_variances():
    rng, degrees, about, worth = np.random.default_rng(0), 4, 0.5, 6
    truth = about * worth / rng.chisquare(worth, 5000)
    spreads = [Spread(0.0, degrees + 1, 0, v * rng.chisquare(degrees) / degrees, np.nan, 0.0) for v in truth]
    found = prior(spreads, 5001)
    assert found.ratio == pytest.approx(about, rel=0.1)
    assert found.degrees == pytest.approx(worth, rel=0.2)
    same = prior([Spread(0.0, 2, 0, rng.chisquare(1), np.nan, 0.0) for _ in range(4)] * 3, 5)
    assert same.degrees == np.inf  # no more different than chance makes them
    assert same.most == 4
    assert prior([Spread(0.0, 1, 0, np.nan, np.nan, 0.0)], 2) is None


def test_two_seeds_borrow_from_the_other_comparisons():
    rng = np.random.default_rng(3)
    tables = [rng.normal(size=(2, 300)) + 0.3 * rng.normal(size=(2, 1)) for _ in range(6)]
    spreads = [spread(each) for each in tables]
    known = prior(spreads, 7)
    alone, together = (estimate(spreads[0], each) for each in (None, known))
    assert together.degrees > alone.degrees
    assert together.quantile() < alone.quantile()


def test_few_examples_on_which_two_models_agree_say_little():
    found = estimate(spread(np.zeros((2, 95)), paired_bits=True), None)
    assert 0.02 < found.interval().high < 0.05  # three of 95 may be otherwise
    assert estimate(spread(np.zeros((2, 9500)), paired_bits=True), None).interval().high < 0.001
    one = estimate(spread(np.array([[1.0], [1.0]]), paired_bits=True), None)
    assert one.interval().low < 0


def test_a_proportion_s_interval_is_wilson_s():
    hits = np.arange(400) < 360
    sure = estimate(spread(hits[None].astype(float)), None, one_seed=True)
    wilson = stats.binomtest(360, 400).proportion_ci(0.95, method="wilson")
    assert sure.proportion(400) == pytest.approx((wilson.low, wilson.high), abs=1e-3)
    all_right = estimate(spread(np.ones((3, 20))), None).proportion(20)
    assert 0.75 < all_right.low < 0.9
    assert all_right.high == 1


def test_one_seed_tells_of_examples_alone():
    values = np.random.default_rng(0).normal(size=(1, 50))
    assert np.isnan(estimate(spread(values), None).standard_error)
    sure = estimate(spread(values), None, one_seed=True)
    assert sure.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def most(grids):
    """What 5 % may be by chance, of so many grids."""
    return 0.05 + 3 * np.sqrt(0.05 * 0.95 / grids)


@pytest.mark.parametrize(("curve", "seeds", "examples"), [("flat", 2, 400), ("saturating", 3, 400), ("rising", 2, 95)])
def test_answers_are_seldom_wrong(curve, seeds, examples):
    grids = 60
    found = simulation.rates(simulation.CURVES_OF_TRUTH[curve], seeds, examples, grids, np.random.default_rng(1))
    assert max(found.wrong, found.overconfident, found.missed, found.outside) <= most(grids)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, simulation.MUCH])
@pytest.mark.parametrize("examples", simulation.EXAMPLES)
@pytest.mark.parametrize("seeds", simulation.SEEDS)
@pytest.mark.parametrize("curve", simulation.CURVES_OF_TRUTH)
def test_answers_are_wrong_as_seldom_as_they_say(curve, seeds, examples, times):
    grids = 200
    truth = simulation.CURVES_OF_TRUTH[curve]
    found = simulation.rates(truth, seeds, examples, grids, np.random.default_rng(2), times)
    assert max(found.wrong, found.overconfident, found.missed) <= most(grids)
    assert found.outside <= 0.08
