"""Statistics: against SciPy, textbook formulas and least squares, and what each leaves out."""

import re

import numpy as np
import pytest
from scipy import stats
from test_results import table

from mlp_jax.answers.analysis import (
    analyse,
    analysis_record,
    best_epochs,
    best_rates,
    interactions,
    late_learning,
    number_text,
    saturation_record,
    summarize,
    undefined_scores,
    verdicts,
)
from mlp_jax.answers.words import answer, how_many, learning_caution, tables, widest_caution
from mlp_jax.sweeps.outcomes import Outcomes, packed


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
        **{name: np.repeat(trials[name], epochs) for name in ("hidden_units", "variant", "learning_rate", "seed")},
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


def drawn(accuracies, seeds, examples, guess=None, seed=0):
    """Trials, by width, that are right about the easier examples, but for some; and outcomes."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=examples)
    scores, rows = {}, []
    for width, accuracy in accuracies.items():
        noise = hard + 0.3 * rng.normal(size=(seeds, examples))
        right = noise < np.quantile(noise, accuracy)
        scores[width] = right.mean(axis=1).tolist()
        rows.append(right)
    hits = packed(np.concatenate(rows))
    guess = packed(np.zeros(examples, bool) if guess is None else guess)
    splits = ("validation", "test")
    outcomes = Outcomes(
        dict.fromkeys(splits, examples),
        dict.fromkeys(splits, hits),
        dict.fromkeys(splits, guess),
        dict.fromkeys(splits, np.nan),
    )
    trials = table(scores)
    return trials | {"test_score": trials["validation_score"]}, outcomes


def analysed(trials, outcomes=None, score_name="accuracy", **config):
    sizes = outcomes.sizes if outcomes is not None else {}
    config = {"score_name": score_name, "examples": sizes | {"train": 1000}} | config
    flat = history_of(np.full((len(trials["trial"]), 8), 0.5), trials)
    return analyse(trials, flat, config, outcomes=outcomes)


def test_without_outcomes_the_interval_is_student_s_t_over_seeds():
    values = np.array([0.8, 0.9, 1.0, 0.85])
    (row,) = summarize(table({10: values}))
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert row.interval["validation"] == pytest.approx((low, high))
    assert np.isnan(summarize(table({10: [0.8]}))[0].interval["validation"]).all()


def test_intervals_are_of_seeds_and_examples():
    trials, outcomes = drawn({10: 0.8, 20: 0.9}, 3, 200)
    for row in summarize(trials, outcomes):
        low, high = row.interval["test"]
        wilson = stats.binomtest(round(200 * row.mean["test_score"]), 200).proportion_ci(0.95, method="wilson")
        assert low <= wilson.low + 0.02
        assert high >= wilson.high - 0.02
        assert low < row.mean["test_score"] < high
    one, outcomes = drawn({10: 0.8}, 1, 200)
    assert np.isfinite(summarize(one, outcomes)[0].interval["test"]).all()  # of the examples alone


def test_an_older_run_s_examples_count_as_if_models_were_wrong_independently():
    trials, outcomes = drawn({10: 0.8, 20: 0.9, 40: 0.9}, 3, 400)
    older = Outcomes(outcomes.sizes, {}, {}, {})
    (known,), (unknown,) = (
        verdicts(trials, history_of(np.full((9, 2), 0.5), trials), each) for each in (outcomes, older)
    )
    for new, old in zip(known.gains, unknown.gains, strict=True):
        assert new.gain == pytest.approx(old.gain)
        assert old.standard_error > new.standard_error
    assert unknown.guess == {}
    assert analysed(trials, older).sure_of.startswith("seeds and examples (as if")
    assert "as if they were wrong independently" in str(answer(analysed(trials, older)))
    assert analysed(trials).sure_of == "seeds"


def test_best_epochs_are_the_first_of_the_best_on_validation():
    history = history_of([[0.1, 0.9, 0.9], [0.3, 0.2, 0.1], [0.5, 0.6, np.nan], [np.nan] * 3])
    history["diverged"][8] = 1
    assert best_epochs(history) == {0: 2, 1: 1}


def test_gains_are_paired_over_the_seeds_that_both_widths_have():
    lesser, greater = np.array([0.80, 0.90, 0.85, 0.70]), np.array([0.82, 0.91, 0.88, 0.99])
    trials = table({20: greater, 10: lesser, 40: [0.5] * 4}, diverged=[0, 0, 0, 4, 0, 0, 0, 0, 1, 1, 1, 1])
    verdict = verdicts(trials, history_of(np.full((12, 2), 0.5), trials))[0]
    (step,) = verdict.gains  # the trials of M = 40 all diverged
    test = stats.ttest_rel(greater[:3], lesser[:3])
    assert (step.hidden_units, step.seeds, step.examples) == ((10, 20), 3, 0)
    assert step.gain == pytest.approx(0.02)
    assert step.p_value == pytest.approx(test.pvalue)
    assert step.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert step.distinguishable == (test.pvalue < 0.05)
    (on_test,) = verdict.test_gains
    assert on_test.gain == pytest.approx(0.04)


def test_every_table_tells_the_same_of_the_same_pair():
    trials, outcomes = drawn({10: 0.7, 20: 0.85, 40: 0.9, 80: 0.905}, 2, 300)
    (verdict,) = analysed(trials, outcomes).verdicts
    seen = {}
    for step in (*verdict.gains, *verdict.against_best, *verdict.beyond):
        assert step.distinguishable == (not step.interval.low <= 0 <= step.interval.high) == (step.p_value < 0.05)
        assert seen.setdefault(step.hidden_units, step) == step
    worse = {step.hidden_units[0] for step in seen.values() if step.interval.low > 0}
    assert worse
    assert verdict.alike_from == min(set(verdict.widths) - worse)
    assert verdict.enough.hidden_units not in worse


def test_gains_of_one_seed_have_no_interval():
    (single,) = verdict_of({10: [0.5], 20: [0.6]}).gains
    assert single.gain == pytest.approx(0.1)
    assert single.distinguishable is None


def test_gains_of_each_setting_are_its_own():
    trials = joined(
        with_rate(1e-3, {10: [0.5, 0.6], 20: [0.7, 0.8]}), with_rate(1e-2, {10: [0.1, 0.2], 20: [0.1, 0.3]})
    )
    steps = analysed(trials).steps("gains")
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
    ten, twenty = best_rates(trials)
    assert (ten.hidden_units, ten.learning_rate, ten.as_good) == (10, 1e-3, ())  # 0.015 ± 0.005, seed by seed
    assert (twenty.hidden_units, twenty.learning_rate, twenty.as_good) == (20, 1e-2, ())
    (single,) = best_rates(joined(with_rate(1e-4, {10: [0.8]}), with_rate(1e-3, {10: [0.9]})))
    assert (single.learning_rate, single.as_good) == (1e-3, None)


def test_the_interaction_is_held_against_seeds_and_examples():
    rng = np.random.default_rng(0)
    widths, rates, seeds = (5, 10, 20), (1e-4, 1e-3), 4
    scores = rng.uniform(0.5, 0.9, (len(rates), len(widths), seeds))
    trials = joined(
        *(with_rate(rate, dict(zip(widths, s, strict=True))) for rate, s in zip(rates, scores, strict=True))
    )
    (found,) = interactions(trials)
    assert (found.hidden_units, found.learning_rates, found.seeds) == (widths, rates, seeds)

    # Of two rates the interaction is that of their difference: one way by width, seeds as blocks.
    apart = scores[1] - scores[0]
    between = seeds * np.sum((apart.mean(axis=1) - apart.mean()) ** 2) / 2
    left = apart - apart.mean(axis=0) - apart.mean(axis=1, keepdims=True) + apart.mean()
    f = between / (np.sum(left**2) / (2 * 3))
    assert found.f == pytest.approx(f)
    assert found.degrees == (2, pytest.approx(6))
    assert found.p_value == pytest.approx(stats.f.sf(f, 2, 6))

    hits = rng.uniform(size=(24, 50)) < 0.7
    sizes = {"validation": 50, "test": 50}
    outcomes = Outcomes(sizes, dict.fromkeys(sizes, packed(hits)), {}, {})
    trials |= {"validation_score": hits.mean(axis=1)}
    (alone,), (both,) = interactions(trials), interactions(trials, outcomes)
    assert both.f < alone.f


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


RISING = ({10: 0.5, 20: 0.7, 40: 0.9}, 3, 1000)
FLAT = ({10: 0.9, 20: 0.902, 40: 0.904}, 3, 1000)
MIXED = ({10: 0.7, 20: 0.93, 40: 0.931}, 3, 1000)
SMALL = ({10: 0.90, 20: 0.93, 40: 0.95}, 2, 95)
BETWEEN = ({10: 0.7, 20: 0.92, 40: 0.931}, 3, 400)


@pytest.mark.parametrize(
    ("case", "enough", "alike", "said"),
    [
        (RISING, 40, 40, "As many as were tried, or more: 40 hidden units, the most, beat 20 by more than luck."),
        (
            MIXED,
            20,
            20,
            "About 20 hidden units: 10 are worse by more than luck; beyond 20 no gain is more than luck, but up",
        ),
        (
            FLAT,
            10,
            10,
            "It cannot be told whether more than 10 hidden units help: M = 40, the best, is not better than M = 10",
        ),
        (SMALL, 20, 10, "It cannot be told whether more than 10 hidden units help"),
        (BETWEEN, 40, 20, "10 are too few, but whether more than 20 hidden units help cannot be told"),
    ],
)
def test_what_is_enough_and_what_cannot_be_excluded(case, enough, alike, said):
    found = analysed(*drawn(*case))
    (verdict,) = found.verdicts
    assert (verdict.enough.hidden_units, verdict.alike_from) == (enough, alike)
    words = how_many(verdict, found)
    assert words.startswith(said)
    assert f"That rests on validation ({case[1]} seeds, {case[2]:,} examples), at the one learning rate tried" in words
    assert "On test, which had no say in this" in words
    (record,) = saturation_record([verdict])
    assert (record["reached"], record["hidden_units"], record["alike_from"]) == (enough < 40, enough, alike)
    assert bool(widest_caution(verdict)) == (record["best"] == record["widest"]) == ("may be better" in words)
    for most in re.findall(r"up to ([\d.]+) points", words):  # what is not excluded is a figure of the page
        assert any(cell.endswith(f" to +{most}") for each in tables(found) for row in each.rows for cell in row)
    if enough == alike == 20:
        assert f"up to {100 * verdict.allowed:.2f} points more" in words


def test_two_seeds_are_not_called_alike():
    # By a t test of two pairs none of these differences is more than luck: it has one degree of freedom.
    scores = {10: [0.927, 0.931], 50: [0.973, 0.972], 100: [0.977, 0.977]}
    before = stats.ttest_rel(scores[100], scores[10]).pvalue
    trials, outcomes = drawn({10: 0.929, 50: 0.9725, 100: 0.977}, 2, 5000)
    found = analysed(trials, outcomes)
    assert found.verdicts[0].alike_from > 10
    assert "no gain is more than luck" not in how_many(found.verdicts[0], found).split(";")[0]
    assert before < 1


def test_a_model_no_better_than_the_trivial_guess_is_said_first():
    rng = np.random.default_rng(0)
    commonest = np.arange(2455) >= 20  # 20 of the other class
    rows = np.concatenate([np.where(rng.uniform(size=(3, 2455)) < 0.001, ~commonest, commonest)] * 2)
    splits = {"validation": 2455, "test": 2455}
    of = [packed(rows), packed(commonest)]
    outcomes = Outcomes(splits, *(dict.fromkeys(splits, each) for each in of), dict.fromkeys(splits, np.nan))
    trials = table(dict(zip((4, 8), rows.mean(axis=1).reshape(2, 3), strict=True)))
    said = answer(analysed(trials, outcomes)).short
    assert said.startswith("No width is better by more than luck than always answering the commonest class, whose")
    assert "99.19 %" in said
    good, outcomes = drawn({4: 0.9, 8: 0.95}, 3, 400, np.arange(400) < 200)
    found = analysed(good, outcomes)
    assert "luck than always" not in answer(found).short
    assert found.verdicts[0].guess["validation"].score == 0.5
    assert found.verdicts[0].guess["validation"].beaten


def test_nothing_is_written_as_minus_0():
    assert number_text(-0.0, "loss") == number_text(-1e-9, "R²") == "0.0000"
    assert number_text(-1e-9, "accuracy") == "0.00"
    assert number_text(-0.002, "R²") == "−0.0020"


def test_an_r2_below_0_is_said_in_plain_words():
    errors = np.random.default_rng(0).uniform(0, 226, (3, 60)).astype(np.float32)
    splits = {"validation": 60, "test": 60}
    outcomes = Outcomes(
        splits,
        dict.fromkeys(splits, errors),
        dict.fromkeys(splits, np.ones(60, np.float32)),
        dict.fromkeys(splits, 1.0),
    )
    scores = 1 - errors.mean(axis=1, dtype=float)
    trials = table({10: scores.tolist()}) | {"test_score": scores}
    said = answer(analysed(trials, outcomes, "R²")).short
    assert said.startswith("The model is not better by more than luck than always answering the mean of the training")
    assert f"squared errors {1 - scores.mean():.3g} times as great" in said


def test_where_no_score_can_be_computed_the_loss_takes_its_place():
    errors = np.random.default_rng(0).uniform(0, 1, (6, 60)).astype(np.float32)
    errors[3:] /= 10
    splits = {"validation": 60, "test": 60}
    outcomes = Outcomes(
        splits, dict.fromkeys(splits, errors), dict.fromkeys(splits, errors[0] * 5), {"validation": 0.0, "test": 1.0}
    )
    losses = errors.mean(axis=1, dtype=float)
    trials = table({10: [0.0] * 3, 20: [0.0] * 3})
    trials |= {"validation_score": np.full(6, np.nan), "validation_loss": losses, "test_loss": losses}
    found = analysed(trials, outcomes, "R²")
    (verdict,) = found.verdicts
    assert found.measure_name == "loss"
    assert verdict.best.hidden_units == 20
    (step,) = verdict.gains
    assert step.gain == pytest.approx(losses[:3].mean() - losses[3:].mean())
    assert step.distinguishable
    assert "R² cannot be computed on validation (all targets are the same): choices look at the loss." in str(
        answer(found)
    )
    assert "diverged" not in str(answer(found))
    (row,) = (row for row in found.rows if row.hidden_units == 20)
    assert row.interval["test"].low < losses[3:].mean() < row.interval["test"].high
    assert undefined_scores(trials, {"validation": 1}) == {"validation": "1 example"}
    history = history_of(np.full((6, 3), np.nan), trials, validation_loss=[[3, 1, 2]] * 6)
    assert set(best_epochs(history).values()) == {2}


def test_a_test_score_that_cannot_be_computed_is_not_written_as_a_dash():
    trials = table({10: [0.5, 0.6], 20: [0.7, 0.8]}) | {"test_score": np.full(4, np.nan)}
    assert "a test R² that cannot be computed" in str(answer(analysed(trials, None, "R²")))


def test_nothing_is_said_of_what_diverged():
    lost = verdict_of({10: [0.5], 20: [0.8]}, [1, 1])
    assert saturation_record([lost])[0]["widest"] is None
    assert widest_caution(lost) == learning_caution(lost) == ""


def test_a_width_most_of_whose_seeds_diverged_excludes_nothing():
    verdict = verdict_of({10: [0.5, 0.6, 0.5], 20: [0.8, 0.9, 0.85], 40: [0.9, 0.1, 0.1]}, [0] * 7 + [1, 1])
    assert verdict.best.hidden_units == 40  # of one seed
    assert verdict.enough is None


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
    assert first["interval"]["test"] == pytest.approx(summarize(trials)[0].interval["test"])
    assert len(record["gains"]) == len(record["test_gains"]) == 2
    assert len(record["best_rates"]) == 2
    assert len(record["interactions"]) == 1
