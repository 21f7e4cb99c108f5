"""Runs held against each other: what is so is found, what is not is not claimed beyond the stated rate."""

import json
from dataclasses import replace

import numpy as np
import pytest
import simulation
from conftest import make_dataset, make_run, save_dataset
from scipy import stats
from test_report import Page

from mlp_jax import Grid, InputError, cli
from mlp_jax.answers import plots
from mlp_jax.answers.compare import Side, compare, comparison_record, settings_that_differ
from mlp_jax.answers.compare_words import comparison_answer, comparison_tables
from mlp_jax.answers.variation import spread, spread_apart
from mlp_jax.runs.directory import read_run
from mlp_jax.runs.tables import with_variants
from mlp_jax.sweeps.outcomes import Outcomes

CONFIG = {"dataset_digest": "same", "score_name": "accuracy", "epochs": 1, "batch_size": 32, "use_bias": True}


def drawn(truth, other, seeds, examples, rng, *, shared=True):
    """Two runs of the widths 10, 25 and 50 with these true accuracies, on the same examples."""
    trials, history, outcomes = simulation.draw((*truth, *other), seeds, examples, rng)
    sides, half = [], len(truth) * seeds
    for name, rows in (("A", slice(0, half)), ("B", slice(half, None))):
        ours = {column: values[rows] for column, values in trials.items()}
        ours["trial"] = ours["trial"] - ours["trial"][0]
        ours["hidden_units"] = np.repeat(simulation.WIDTHS[: len(truth)], seeds)
        ours["activation"] = np.full(half, "sigmoid" if name == "A" else "relu")
        if name == "B" and not shared:
            ours["seed"] = ours["seed"] + 100
        curves = {column: values[rows] for column, values in history.items()} | {"trial": ours["trial"]}
        hits = {split: values[rows] for split, values in outcomes.hits.items()}
        sides.append(Side(name, CONFIG, with_variants(ours), curves, replace(outcomes, hits=hits)))
    return sides


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("seeds", "examples"), [(2, 400), (5, 95)])
def test_no_difference_is_claimed_where_there_is_none(seeds, examples, shared):
    rng, runs, claimed, missed = np.random.default_rng(seeds), 60, 0, 0
    for _ in range(runs):
        found = compare(drawn((0.9, 0.93, 0.95), (0.9, 0.93, 0.95), seeds, examples, rng, shared=shared))
        effects = [each.effects["validation"] for each in found.differences]
        assert [each.paired for each in found.differences] == [shared] * 3
        claimed += any(effect.distinguishable for effect in effects)
        missed += any(not effect.interval.low <= 0 <= effect.interval.high for effect in effects)
    assert max(claimed, missed) / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("shared", [True, False])
def test_a_difference_that_is_there_is_found(shared):
    rng, truth, other = np.random.default_rng(0), (0.88, 0.92, 0.95), (0.93, 0.96, 0.95)
    found, missed, runs = [], 0, 30
    for _ in range(runs):
        both = compare(drawn(truth, other, 4, 2000, rng, shared=shared))
        effects = [each.effects["validation"] for each in both.differences]
        found.append([bool(effect.distinguishable) and effect.gain > 0 for effect in effects])
        missed += any(
            not effect.interval.low <= b - a <= effect.interval.high
            for effect, a, b in zip(effects, truth, other, strict=True)
        )
    first, second, third = np.mean(found, axis=0)
    assert min(first, second) > 0.9
    assert third <= 0.1
    assert missed / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    said = comparison_answer(both).short
    assert said.startswith("B is better than A at M = 10, 25 (by ")
    assert "at M = 50 the difference could be luck" in said
    assert comparison_answer(compare([replace(each) for each in drawn(other, truth, 4, 2000, rng)])).short.startswith(
        "B is worse than A at M = 10, 25"
    )


def test_tables_of_other_seeds_are_compared_by_example():
    rng = np.random.default_rng(0)
    hard = 5 * rng.normal(size=50)
    lesser, greater = (hard + rng.normal(size=(seeds, 50)) for seeds in (3, 3))
    found, paired = spread_apart(lesser, greater), spread(greater - lesser)
    assert found.mean == pytest.approx(greater.mean() - lesser.mean())
    variance = lesser.mean(axis=1).var(ddof=1) + greater.mean(axis=1).var(ddof=1)
    assert found.over_seeds == pytest.approx(variance)
    assert found.over_examples == pytest.approx(paired.over_examples)
    assert found.over_examples < hard.var(ddof=1)  # how hard an example is cancels out
    more = spread_apart(lesser, np.vstack([greater, greater + 1]))
    assert more.seeds == 3
    assert np.isnan(spread_apart(lesser[:1], greater).over_seeds)


def test_without_outcomes_chance_is_that_of_seeds_and_welch_agrees():
    rng = np.random.default_rng(1)
    unknown, truth = Outcomes({}, {}, {}, {}), (0.9, 0.9, 0.9)
    both = [replace(each, outcomes=unknown) for each in drawn(truth, truth, 6, 400, rng, shared=False)]
    both = [replace(each, trials={name: values[:6] for name, values in each.trials.items()}) for each in both]
    (only,) = compare(both).differences
    scores = [side.trials["validation_score"] for side in both]
    effect = only.effects["validation"]
    assert effect.gain == pytest.approx(scores[1].mean() - scores[0].mean())
    welch = stats.ttest_ind(scores[1], scores[0], equal_var=False)
    assert effect.standard_error == pytest.approx(effect.gain / welch.statistic)
    assert only.examples == {"validation": 0, "test": 0}
    assert "by the luck of seeds alone" in str(comparison_answer(compare(both)))


def test_only_what_differs_is_said():
    one = {"dataset_digest": "x", "dataset": "a", "epochs": 3, "seeds": [0, 1], "use_bias": True, "most_rows": 3}
    other = one | {"dataset": "elsewhere", "epochs": 5, "optimizers": ["sgd"], "most_rows": None}
    found = {each.name: each.values for each in settings_that_differ([one, other])}
    assert found == {"epochs": (3, 5), "optimizers": (["adam"], ["sgd"])}
    assert not settings_that_differ([one, one])
    apart = {each.name for each in settings_that_differ([one, other | {"dataset_digest": "y", "dataset_name": "b"}])}
    assert {"dataset_name", "dataset_digest"} <= apart


# Runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("compare")
    save_dataset(make_dataset(), place / "small.npz")
    for name, grid in {
        "base": Grid((0, 3, (4, 2)), ("relu",), (1e-2, 1e30), seeds=2),
        "tanh": Grid((3, 5), ("tanh",), (1e-2, 1e30), seeds=3),
        "wide": Grid((9,), ("relu",), (1e-2,), seeds=1),
        "later": Grid((3, (4, 2)), ("relu",), (1e-2,), seeds=[7, 8]),
    }.items():
        make_run(make_dataset(), str(place / "small.npz"), place / name, grid)
    make_run(make_dataset("regression"), "values.npz", place / "values")
    make_run(make_dataset("regression"), "values.npz", place / "longer", epochs=4)
    return place


def sides(place, *names):
    runs = [read_run(place / name) for name in names]
    return [Side(n, run.config, run.trials, run.history, run.outcomes) for n, run in zip(names, runs, strict=True)]


def test_points_are_matched_but_for_what_is_compared(made):
    found = compare(sides(made, "base", "tanh", "later"))
    matched = [(each.hidden_units, each.point, each.paired, each.seeds) for each in found.against_first("tanh")]
    assert matched == [((3, 3), {}, True, (2, 2))]  # the other rate diverged with both
    found_later = found.against_first("later")
    assert [each.hidden_units[1] for each in found_later] == [3, (4, 2)]
    assert not any(each.paired for each in found_later)
    assert found.unmatched["tanh"] == 3
    text = str(comparison_answer(found))
    for said in (
        "diverged",
        "no seeds are shared",
        "pairs of trials share their seed",
        "no counterpart",
        "3 differences",
    ):
        assert said in text
    assert {table.title for table in comparison_tables(found)} == {
        "What differs in configuration",
        "tanh against base",
        "later against base",
    }
    json.dumps(comparison_record(found))


def test_widths_may_be_what_is_compared(made):
    one, other = sides(made, "wide", "wide")
    wider = with_variants({**other.trials, "hidden_units": np.array([12])})
    found = compare([one, replace(other, name="wider", trials=wider)])
    (only,) = found.differences
    assert only.hidden_units == (9, 12)
    assert only.effects["validation"].distinguishable is None
    assert "one seed (one random start) does not say" in comparison_answer(found).short
    assert "9 → 12" in comparison_tables(found)[-1].rows[0]


def test_values_are_compared_in_their_measure(made):
    found = compare(sides(made, "values", "longer"))
    assert found.measure_name == "R²"
    assert {each.name for each in found.settings} == {"epochs"}
    assert len(found.differences) == 2
    for each in found.differences:
        less, more = each.effects["test"].means
        assert each.effects["test"].gain == pytest.approx(more - less, abs=1e-6)


def test_runs_without_a_point_in_common(made):
    found = compare(sides(made, "tanh", "wide"))
    assert not found.differences
    assert "no point of the grid in common" in comparison_answer(found).short


def test_nothing_is_subtracted_of_different_data(made):
    found = compare(sides(made, "base", "values"))
    assert not found.same_data
    assert not found.differences
    assert "different data" in comparison_answer(found).short
    settings, scores = comparison_tables(found)
    assert "dataset_digest" in {row[0] for row in settings.rows}
    assert {row[0] for row in scores.rows} == {"base", "values"}
    assert [figure.name for figure in plots.comparison_figures(sides(made, "base", "values"), found)]


def test_the_command_draws_and_prints_for_people_and_scripts(made, tmp_path, capsys):
    runs = [str(made / name) for name in ("base", "tanh", "later")]
    assert cli.main(["compare", *runs, "--out", str(tmp_path / "figures")]) == 0
    said = capsys.readouterr().out
    assert f"B: {made / 'tanh'}" in said
    assert "Whether B is better than A cannot be told" in said
    assert "\x1b" not in said
    assert {each.name for each in (tmp_path / "figures").iterdir()} == {"comparison.png", "learning-curves.png"}
    assert cli.main(["compare", *runs, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["paths"]["C"] == str(made / "later")
    assert {each["runs"][1] for each in record["differences"]} == {"B", "C"}
    assert record["settings"]["activations"] == {"A": ["relu"], "B": ["tanh"], "C": ["relu"]}


@pytest.mark.parametrize("other", ["base", "values"])
def test_a_report_holds_a_run_against_another(made, tmp_path, capsys, other):
    out = tmp_path / "report.html"
    assert cli.main(["report", str(made / "tanh"), "--against", str(made / other), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"Written to {out}\n"
    page = Page(out.read_text(encoding="utf-8"))
    words = " ".join(" ".join(page.words).split()).replace("\xa0", " ")
    one, this = sides(made, other, "tanh")
    found = compare([replace(one, name="A"), replace(this, name="B")])
    assert f"A: {made / other}; B: this run." in words
    assert " ".join(comparison_answer(found).short.split()) in words
    for table in comparison_tables(found):
        assert table.title in words
        assert all(" ".join(row) in words for row in table.rows)
    (compared,) = [image for image in page.all("img") if image["alt"].startswith("Lines: validation")]
    assert compared["src"].startswith("data:image/")
    out.unlink()
    assert cli.main(["report", str(made / "tanh"), "--against", "nowhere", "--out", str(out)]) == 2
    assert "nowhere is no directory: expected one that mlp-jax sweep wrote" in capsys.readouterr().err
    assert not out.exists()


def test_fewer_than_two_runs_are_refused(made):
    with pytest.raises(InputError, match="expected two or more"):
        compare(sides(made, "base"))
    with pytest.raises(InputError, match="expected two or more"):
        compare(sides(made, "base", "base"))
