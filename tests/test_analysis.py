"""Statistics: against SciPy, textbook formulas and least squares, and what each leaves out."""

import numpy as np
import pytest
from scipy import stats
from test_results import table

from mlp_jax.analysis import (
    against_best,
    analyse,
    analysis_record,
    best_epochs,
    best_rates,
    interactions,
    late_learning,
    marginal_gains,
    sampling_interval,
    saturation_record,
    summarize,
    verdicts,
)
from mlp_jax.answers import learning_caution, saturation_sentence, widest_caution


def joined(*tables):
    """Tables one below the other, trials numbered through."""
    whole = {name: np.concatenate([each[name] for each in tables]) for name in tables[0]}
    return whole | {"trial": np.arange(len(whole["trial"]))}


def with_rate(rate, scores, **kwargs):
    here = table(scores, **kwargs)
    return here | {"learning_rate": np.full(len(here["trial"]), rate)}


def history_of(validation_scores, trials=None, validation_loss=None, first_loss=None):
    """A history in which each trial has these validation scores, epoch by epoch; by default a loss of 1 − score.

    ``first_loss`` is the mean training loss of the first epoch, by default the validation loss after it.
    """
    scores = np.asarray(validation_scores, float)
    count, epochs = scores.shape
    trials = table({10: np.zeros(count)}) if trials is None else trials
    losses = 1 - scores if validation_loss is None else np.asarray(validation_loss, float)
    training = losses.copy()
    training[:, 0] = losses[:, 0] if first_loss is None else first_loss
    return {
        **{name: np.repeat(trials[name], epochs) for name in ("hidden_units", "activation", "learning_rate", "seed")},
        "trial": np.repeat(np.arange(count), epochs),
        "epoch": np.tile(np.arange(1, epochs + 1), count),
        "diverged": np.zeros(scores.size, int),
        "loss": training.ravel(),
        "validation_loss": losses.ravel(),
        "validation_score": scores.ravel(),
    }


def verdict_of(scores, diverged=None, epochs=((0.5,) * 8)):
    """What is said of one setting whose trials have these validation scores, and all the same curve."""
    trials = table(scores, diverged)
    (verdict,) = verdicts(trials, history_of([epochs] * len(trials["trial"]), trials))
    return verdict


def test_the_margin_over_seeds_is_student_s_t():
    values = np.array([0.8, 0.9, 1.0, 0.85])
    (row,) = summarize(table({10: values}))
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert row.margin("validation_score") == pytest.approx((high - low) / 2)
    assert row.mean["validation_score"] - row.margin("validation_score") == pytest.approx(low)
    assert np.isnan(summarize(table({10: [0.8]}))[0].margin("validation_score"))


def test_sampling_error_is_wilson_s():
    p, n, z = 0.975, 10_000, stats.norm.ppf(0.975)
    centre, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2),
    )
    interval = sampling_interval(p, n)
    assert interval == pytest.approx((centre - half, centre + half))
    assert (interval.high - interval.low) / 2 == pytest.approx(0.0031, abs=5e-5)  # ± 0.31 points
    assert sampling_interval(1.0, 20).high == 1
    for accuracy, examples in ((np.nan, 10), (-0.3, 10), (0.5, 0)):
        assert np.isnan(sampling_interval(accuracy, examples)).all()


def test_best_epochs_are_the_first_of_the_best_on_validation():
    history = history_of([[0.1, 0.9, 0.9], [0.3, 0.2, 0.1], [0.5, 0.6, np.nan], [np.nan] * 3])
    history["diverged"][8] = 1
    assert best_epochs(history) == {0: 2, 1: 1}


def test_gains_are_paired_over_the_seeds_that_both_widths_have():
    lesser, greater = np.array([0.80, 0.90, 0.85, 0.70]), np.array([0.82, 0.91, 0.88, 0.99])
    trials = table({20: greater, 10: lesser, 40: [0.5] * 4}, diverged=[0, 0, 0, 4, 0, 0, 0, 0, 1, 1, 1, 1])
    (step,) = marginal_gains(trials)  # the trials of M = 40 all diverged
    test = stats.ttest_rel(greater[:3], lesser[:3])
    assert (step.hidden_units, step.seeds) == ((10, 20), 3)
    assert step.gain == pytest.approx(0.02)
    assert step.p_value == pytest.approx(test.pvalue)
    assert step.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert step.distinguishable == (test.pvalue < 0.05)
    (on_test,) = marginal_gains(trials, "test_score")
    assert on_test.gain == pytest.approx(0.04)


def test_distinguishable_just_when_the_interval_leaves_zero_out():
    rng = np.random.default_rng(0)
    scores = {m: 0.5 + 0.004 * m + 0.01 * rng.normal(size=5) for m in range(1, 30)}
    steps = marginal_gains(table(scores))
    assert {step.distinguishable for step in steps} == {True, False}
    for step in steps:
        assert step.distinguishable == (not step.interval.low <= 0 <= step.interval.high)


def test_gains_without_spread_and_of_one_seed():
    same, more = marginal_gains(table({10: [0.5, 0.6], 20: [0.5, 0.6], 40: [0.75, 0.85]}))
    assert (same.gain, same.p_value, same.distinguishable) == (0, 1, False)
    assert more.distinguishable
    assert more.interval == pytest.approx((0.25, 0.25))
    (single,) = marginal_gains(table({10: [0.5], 20: [0.6]}))
    assert single.gain == pytest.approx(0.1)
    assert single.distinguishable is None


def test_gains_of_each_setting_are_its_own():
    steps = marginal_gains(
        joined(with_rate(1e-3, {10: [0.5, 0.6], 20: [0.7, 0.8]}), with_rate(1e-2, {10: [0.1, 0.2], 20: [0.1, 0.3]}))
    )
    assert [(step.learning_rate, step.gain) for step in steps] == [
        (1e-3, pytest.approx(0.2)),
        (1e-2, pytest.approx(0.05)),
    ]


def test_best_rates_and_those_within_a_standard_error():
    trials = joined(
        with_rate(1e-4, {10: [0.80, 0.82], 20: [0.70, 0.70]}),
        with_rate(1e-3, {10: [0.81, 0.84], 20: [0.80, 0.82]}),
        with_rate(1e-2, {10: [0.99, 0.99], 20: [0.90, 0.92]}, diverged=[2, 2, 0, 0]),
    )
    ten, twenty = best_rates(summarize(trials))
    assert (ten.hidden_units, ten.learning_rate, ten.as_good) == (10, 1e-3, (1e-4,))  # 0.825 − 0.015 ≤ 0.81
    assert (twenty.hidden_units, twenty.learning_rate, twenty.as_good) == (20, 1e-2, ())
    (single,) = best_rates(summarize(joined(with_rate(1e-4, {10: [0.8]}), with_rate(1e-3, {10: [0.9]}))))
    assert (single.learning_rate, single.as_good) == (1e-3, None)


def residual(design, y):
    """Residual sum of squares and degrees of freedom of a linear model."""
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return np.sum((y - fitted) ** 2), len(y) - np.linalg.matrix_rank(design)


def test_the_interaction_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    widths, rates, seeds = (5, 10, 20), (1e-4, 1e-3), 4
    scores = rng.uniform(0.5, 0.9, (len(rates), len(widths), seeds))
    trials = joined(
        *(with_rate(rate, dict(zip(widths, s, strict=True))) for rate, s in zip(rates, scores, strict=True))
    )
    (found,) = interactions(trials)
    assert (found.hidden_units, found.learning_rates, found.seeds) == (widths, rates, seeds)

    r, w, s = (index.ravel() for index in np.indices(scores.shape))
    one_hot = [np.eye(count)[index] for index, count in ((r, 2), (w, 3), (s, seeds), (r * 3 + w, 6))]
    y = scores.ravel()
    without, df_without = residual(np.hstack(one_hot[:3]), y)
    full, df = residual(np.hstack(one_hot), y)
    f = (without - full) / (df_without - df) / (full / df)
    assert found.degrees == (df_without - df, df)
    assert found.f == pytest.approx(f)
    assert found.p_value == pytest.approx(stats.f.sf(f, df_without - df, df))


def test_the_interaction_leaves_out_what_diverged():
    rng = np.random.default_rng(0)
    scores = {m: rng.uniform(size=3) for m in (5, 10, 20)}
    tables = [
        with_rate(1e-4, scores),
        with_rate(1e-3, scores, diverged=[0, 0, 0, 0, 5, 0, 0, 0, 0]),
        with_rate(1.0, scores, diverged=[1] * 9),
    ]
    (found,) = interactions(joined(*tables))
    assert (found.hidden_units, found.learning_rates) == ((5, 20), (1e-4, 1e-3))
    assert found.f == pytest.approx(0, abs=1e-9)  # both rates have the same scores
    assert found.p_value == pytest.approx(1)
    assert interactions(tables[0]) == []
    assert interactions(joined(with_rate(1e-4, {5: [0.1], 10: [0.2]}), with_rate(1e-3, {5: [0.1], 10: [0.3]}))) == []


RISING = {10: [0.5, 0.6, 0.55], 20: [0.8, 0.9, 0.85], 40: [0.9, 1.0, 0.96]}
NOISE = {10: [0.80, 0.84, 0.88], 20: [0.86, 0.81, 0.83], 40: [0.84, 0.83, 0.88]}
MIXED = {10: [0.5, 0.6, 0.5], 20: [0.84, 0.92, 0.86], 40: [0.85, 0.91, 0.89]}
SURE = {10: [0.5, 0.6, 0.55], 20: [0.76, 0.9, 0.83], 40: [0.9, 0.9, 0.9]}
TOLD = {10: [0.6, 0.7, 0.8], 20: [0.64, 0.75, 0.843], 40: [0.645, 0.745, 0.845]}


@pytest.mark.parametrize(
    ("scores", "reached", "point", "alike", "said"),
    [
        (RISING, False, 40, 40, "none up to M = 40; the widest is the best on validation."),
        (MIXED, True, 20, 20, "at M = 20, the smallest within one standard error of the best on validation (M = 40)."),
        (NOISE, True, 10, 10, "at M = 10, the smallest within one standard error of the best on validation (M = 40)."),
        (SURE, False, 40, 20, "the best on validation, but from M = 20 on none is worse by more than luck, seed"),
        (TOLD, True, 10, 20, "but seed by seed M = 10 is worse than the best by more than luck."),
        ({10: [0.5], 20: [0.8]}, None, None, None, "needs two seeds or more."),
    ],
)
def test_the_rule_and_the_pairs_each_have_their_say(scores, reached, point, alike, said):
    verdict = verdict_of(scores)
    assert (verdict.reached, verdict.alike_from) == (reached, alike)
    assert (verdict.saturation and verdict.saturation.hidden_units) == point
    assert said in saturation_sentence(verdict)
    (record,) = saturation_record([verdict])
    assert (record["reached"], record["hidden_units"], record["alike_from"]) == (reached, point, alike)
    assert bool(widest_caution(verdict)) == (record["best"] == record["widest"])


def test_nothing_is_said_of_what_diverged():
    lost = verdict_of({10: [0.5], 20: [0.8]}, [1, 1])
    assert saturation_sentence(lost) == "every trial diverged."
    assert saturation_record([lost])[0]["widest"] is None
    assert widest_caution(lost) == learning_caution(lost) == ""


def test_the_best_is_compared_with_each_width_seed_by_seed():
    steps = against_best(table(MIXED | {80: [0.8, 0.8, 0.8]}))
    assert [step.hidden_units for step in steps] == [(10, 40), (20, 40), (80, 40)]
    for step, width in zip(steps, (10, 20, 80), strict=True):
        lesser = (MIXED | {80: [0.8, 0.8, 0.8]})[width]
        test = stats.ttest_rel(MIXED[40], lesser)
        assert step.gain == pytest.approx(np.mean(np.subtract(MIXED[40], lesser)))
        assert step.p_value == pytest.approx(test.pvalue)


def test_noise_is_seldom_answered_with_more():
    rng = np.random.default_rng(0)
    found = [verdict_of(dict(zip((10, 25, 50, 100), rng.normal(size=(4, 5)), strict=True))) for _ in range(60)]
    more = [each for each in found if each.reached is False and each.alike_from == 100]
    assert len(more) <= 3  # of 60; by the one-standard-error rule alone about three times as many
    assert sum(each.alike_from == 10 for each in found) > 35


@pytest.mark.parametrize(
    ("losses", "first", "share"),
    [
        ([0.8, 0.6, 0.4, 0.2], 1.0, 0.25),  # a steady fall
        ([0.8, 0.4, 0.2, 0.2], 1.0, 0.0),
        ([0.8, 0.2, 0.3, 0.5], 1.0, -0.25),  # it overfits
        ([0.8, 0.6, 0.5, 0.4, 0.2], 1.0, 0.375),  # of five epochs the last two
        ([0.5, 0.4], None, 1.0),
        ([0.5, 0.4], 0.9, 0.2),
        ([0.5], 0.9, 1.0),
        ([0.5], None, 0.0),
        ([0.7, 0.7, 0.7, 0.7], 0.7, 0.0),
    ],
)
def test_how_much_was_learned_at_the_end(losses, first, share):
    history = history_of([[0.5] * len(losses)] * 2, None, [losses] * 2, first)
    (found,) = late_learning(history)
    assert found.share == pytest.approx(share)
    assert found.still_learning == (share > 0.05)
    lost = history["trial"] == 0
    wild = {"diverged": lost.astype(int), "validation_loss": np.where(lost, 1e9, history["validation_loss"])}
    assert late_learning(history | wild)[0].share == pytest.approx(share)
    assert late_learning(history | {"validation_loss": np.full(len(history["trial"]), np.nan)}) == []


def test_widths_that_still_learn_are_named():
    trials = table({10: [0.5, 0.6], 20: [0.8, 0.9]})
    steady, flat = [0.2, 0.4, 0.6, 0.8], [0.8, 0.8, 0.8, 0.8]
    for curves, which in (([steady] * 2 + [flat] * 2, " with 10 hidden units"), ([steady] * 4, "")):
        history = history_of(curves, trials, first_loss=1.0)
        (verdict,) = verdicts(trials, history)
        said = f"Still learning at the last epoch{which}: train longer (--epochs) before believing this."
        assert learning_caution(verdict) == said
        record = analysis_record(analyse(trials, history, {"score_name": "accuracy"}))
        assert record["saturation"][0]["still_learning"] == ([10] if which else [10, 20])
        assert [each["still_learning"] for each in record["late_learning"]] == [True, not which]


def test_an_analysis_holds_a_row_for_each_point():
    trials = joined(
        with_rate(1e-3, {10: [0.4, 0.41], 20: [0.45, 0.46]}), with_rate(1e-2, {10: [0.4, 0.4], 20: [0.3, 0.31]})
    )
    history = history_of([[0.1, 0.2, 0.3]] * 4 + [[0.3, 0.2, 0.1]] * 4, trials)
    timing = {
        "program": np.array(["alone", "alone", "alone", "together"]),
        "hidden_units": np.array([10, 10, 10, 10]),
        "seconds": np.array([1.0, 2.0, 9.0, 5.0]),
    }
    config = {"score_name": "accuracy", "examples": {"test": 1000}}
    record = analysis_record(analyse(trials, history, config, timing))
    first, *_, last = record["widths"]
    assert (first["hidden_units"], first["best_epoch"], last["best_epoch"]) == (10, 3, 1)
    assert first["seconds_alone"] == 2.0
    assert last["seconds_alone"] is None
    assert first["test_sampling_interval"] == sampling_interval(0.81, 1000)
    assert len(record["gains"]) == len(record["test_gains"]) == 2
    assert len(record["best_rates"]) == 2
    assert len(record["interactions"]) == 1
    plain = analysis_record(analyse(trials, history, config | {"score_name": "R²"}))
    assert np.isnan(plain["widths"][0]["test_sampling_interval"]).all()
