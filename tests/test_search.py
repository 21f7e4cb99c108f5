"""The search: what goes on is what it would be in a sweep of itself; what was decided, and what is left of it."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_dataset, save_dataset
from scipy import stats

from mlp_jax import Between, Grid, InputError, Recipe, SweepStopped, cli, sample, search, sweep
from mlp_jax.answers.plots import run_figures
from mlp_jax.runs.directory import read_run
from mlp_jax.runs.tables import best_trial
from mlp_jax.runs.verify import verify
from mlp_jax.sweeps.halving import Ladder, worse_by_luck

GRID = Grid((0, 2, (4, 3)), ("relu",), (1e-3, 1e-2, 1e-1), seeds=3)
RECIPE = Recipe(epochs=7, batch_size=16)


def survivors(result):
    return [i for i, epoch in enumerate(result.stopped) if epoch == 0]


def assert_as_in_a_sweep_of_themselves(result, dataset, tolerance, **options):
    left = survivors(result)
    alone = sweep(Grid.of([result.trials[i] for i in left]), dataset, recipe=result.recipe, **options)
    for i in left:
        trial = result.trials[i]
        place = alone.trials.index(trial)
        for symbol, expected in alone.weights(place).items():
            np.testing.assert_allclose(result.weights(i)[symbol], expected, rtol=0, atol=tolerance, err_msg=str(trial))
        for name, curve in alone.history.items():
            np.testing.assert_allclose(result.history[name][i], curve[place], rtol=tolerance * 10, atol=tolerance * 10)
        for name, score in alone.final.items():
            np.testing.assert_allclose(result.final[name][i], score[place], rtol=tolerance * 10, atol=tolerance * 10)
    return alone


@pytest.mark.parametrize("layout", ["packed", pytest.param("vmap", marks=pytest.mark.slow)])
def test_survivors_are_what_they_would_be_in_a_sweep_of_themselves(float64, layout):
    dataset = make_dataset()
    result = search(GRID, dataset, recipe=RECIPE, eta=3, budget=10**6, layout=layout, dtype="float64")
    assert 3 <= len(survivors(result)) < len(result.trials)
    assert len(result.rungs) == 2
    assert_as_in_a_sweep_of_themselves(result, dataset, 1e-9, layout=layout, dtype="float64")


@pytest.mark.slow
def test_what_optimizers_and_schedules_remember_goes_on(float64):
    """Momentum that only some have, warm-up, dropout, label noise, decay; several batch sizes."""
    dataset = make_dataset()
    some = Grid(
        (3, 6), ("tanh",), (1e-2,), 2, optimizers=("sgd", "nesterov"), momenta=(0.0, 0.9), schedules=("cosine",)
    )
    others = Grid(
        (4,), ("relu",), (1e-2, 3e-1), 2, optimizers=("adamw",), weight_decays=(0.1,), dropouts=(0.0, 0.3),
        warmup_steps=(7,), label_noises=(0.1,), batch_sizes=(16, 8),
    )  # fmt: skip
    recipe = Recipe(epochs=3, batch_size=16)
    result = search(some + others, dataset, recipe=recipe, eta=2, budget=10**6, dtype="float64")
    assert len({result.trials[i].batch_size for i in survivors(result)}) > 1
    assert_as_in_a_sweep_of_themselves(result, dataset, 1e-9, dtype="float64")


@pytest.mark.slow
def test_in_float32_bits_are_those_of_a_sweep_where_shapes_are_the_same(small):
    """With the programs of a sweep that trains the same networks from the beginning."""
    grid = Grid((3,), ("relu",), (1e-3, 1e-2, 3e-1, 1e-1), seeds=2)
    result = search(grid, small, recipe=Recipe(epochs=5, batch_size=16), eta=2, budget=10**6, layout="packed")
    alone = assert_as_in_a_sweep_of_themselves(result, small, 1e-5, layout="packed")
    for i in survivors(result):
        place = alone.trials.index(result.trials[i])
        for symbol, expected in alone.weights(place).items():
            np.testing.assert_array_equal(result.weights(i)[symbol], expected)


def test_each_trial_is_what_it_was_when_it_was_stopped(float64):
    dataset = make_dataset()
    result = search(GRID, dataset, recipe=RECIPE, eta=3, first_epochs=1, dtype="float64")
    stopped = [int(epoch) for epoch in np.unique(result.stopped)]
    assert stopped == [0, 1, 3]
    alone = sweep(GRID, dataset, recipe=Recipe(epochs=3, batch_size=16), dtype="float64")
    for i in np.flatnonzero(result.stopped == 3):
        assert np.isnan(result.history["loss"][i][3:]).all()
        np.testing.assert_allclose(result.history["loss"][i][:3], alone.history["loss"][i], rtol=1e-8)
        np.testing.assert_allclose(result.final["test_loss"][i], alone.final["test_loss"][i], rtol=1e-8)
        for symbol, expected in alone.weights(int(i)).items():
            np.testing.assert_allclose(result.weights(int(i))[symbol], expected, rtol=0, atol=1e-9)
        for split in ("validation", "test"):
            np.testing.assert_array_equal(result.outcomes.hits[split][i], alone.outcomes.hits[split][i])
    everything = dict(result.all_weights())
    assert sorted(everything) == list(range(len(result.trials)))
    for i, weights in everything.items():
        for symbol, expected in result.weights(i).items():
            np.testing.assert_array_equal(weights[symbol], expected)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [2, *(pytest.param(epoch, marks=pytest.mark.slow) for epoch in (1, 5))])
def test_a_search_resumes_with_the_same_bits(small, tmp_path, epoch):
    """Stopped after that many epochs, at a rung and between rungs."""
    options = {"recipe": RECIPE, "eta": 3, "checkpoint_every": 1}
    whole = search(GRID, small, **options)
    asked = iter(range(100))
    with pytest.raises(SweepStopped) as stopped:
        search(GRID, small, **options, checkpoints=tmp_path / "c", stop=lambda: next(asked) == epoch)
    assert stopped.value.saved == tmp_path / "c"
    reported = []
    again = search(GRID, small, **options, resume=tmp_path / "c", on_epoch=reported.append)
    assert len(reported) == RECIPE.epochs - epoch
    assert reported[0].before > 0 or epoch < 1
    assert reported[-1].done == pytest.approx(1)
    np.testing.assert_array_equal(again.stopped, whole.stopped)
    for name, curve in whole.history.items():
        np.testing.assert_array_equal(again.history[name], curve)
    for i in range(len(whole.trials)):
        for symbol, expected in whole.weights(i).items():
            np.testing.assert_array_equal(again.weights(i)[symbol], expected)
    with pytest.raises(InputError, match="cannot resume another sweep: search was"):
        search(GRID, small, **options | {"eta": 2}, resume=tmp_path / "c")


ON_TWO_DEVICES = """
import numpy as np
from conftest import make_dataset
from mlp_jax import Grid, Recipe, search, sweep
from mlp_jax.sweeps import parts

parts.WORTH = parts.FIXED_ROWS = 0  # trials are divided among devices, however few there are
grid, dataset = Grid((0, 2, 3), ("relu",), (1e-2, 1e-1), seeds=1), make_dataset()
options = {"dtype": "float64", "layout": "packed"}
result = search(grid, dataset, recipe=Recipe(epochs=4, batch_size=16), eta=2, budget=10**6, **options)
assert {plan.parts for plan in result.plans} & {2}, result.plans
left = [i for i, epoch in enumerate(result.stopped) if epoch == 0]
alone = sweep(Grid.of([grid.trials[i] for i in left]), dataset, recipe=result.recipe, **options)
for i in left:
    for symbol, expected in alone.weights(alone.trials.index(grid.trials[i])).items():
        np.testing.assert_allclose(result.weights(i)[symbol], expected, rtol=0, atol=1e-9)
print("as in a sweep of themselves")
"""


@pytest.mark.slow
def test_on_two_devices_with_trials_divided_among_them():
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_ENABLE_X64": "1"} | path
    done = subprocess.run([sys.executable, "-c", ON_TWO_DEVICES], env=environment, capture_output=True, text=True)
    assert done.stdout == "as in a sweep of themselves\n", done.stderr


# Decisions


def scores(*rows):
    """Of each trial, from a row of each configuration's seeds."""
    return np.array(rows, float).ravel()


def ladder(count, seeds=3, epochs=20, **options):
    rates = tuple(0.01 * (1 + i) for i in range(count))
    return Ladder(Grid((3,), ("relu",), rates, seeds).trials, Recipe(epochs=epochs), **options)


def test_rungs_and_how_many_are_kept():
    """Jamieson and Talwalkar's: ⌊n η^-i⌋ at epochs r η^i."""
    found = ladder(64, budget=3 * (64 + 16 * 3 + 4 * 12 + 1 * 4))
    assert found.epochs == (1, 4, 16, 20)
    alive, spent, before = np.ones(64, bool), 0, 0
    for rung, (epoch, kept) in enumerate(((1, 16), (4, 4), (16, 1))):
        spent, before = spent + 3 * alive.sum() * (epoch - before), epoch
        merit = np.repeat(np.arange(64.0), 3)  # the last ones are the best
        alive, decided = found.decide(rung, alive, merit, np.zeros(192, bool), int(spent))
        assert (decided.epoch, decided.kept, decided.undecided) == (epoch, kept, 0)
        assert np.flatnonzero(alive).tolist() == list(range(64 - kept, 64))


def test_a_configuration_is_judged_by_the_mean_over_its_seeds_and_not_by_a_lucky_one():
    found = ladder(4, eta=4, epochs=3, budget=3 * (4 + 2))
    lucky = scores([0.1, 0.1, 0.99], [0.6, 0.6, 0.6], [0.5, 0.5, 0.5], [0.2, 0.2, 0.2])
    alive, decided = found.decide(0, np.ones(4, bool), lucky, np.zeros(12, bool), 12)
    assert alive.tolist() == [False, True, False, False]
    assert decided.trials == 12


def test_what_cannot_be_told_apart_stays_as_long_as_the_budget_allows():
    merit = scores([0.60, 0.62, 0.64], [0.59, 0.63, 0.63], [0.61, 0.60, 0.63], [0.3, 0.31, 0.32])
    for budget, kept in ((6 * 3, [True, False, False, False]), (8 * 3, [True, True, False, False]), (99, [1, 1, 1, 0])):
        found = ladder(4, eta=4, epochs=3, budget=budget)
        alive, decided = found.decide(0, np.ones(4, bool), merit, np.zeros(12, bool), 12)
        assert alive.tolist() == kept
        assert decided.undecided == sum(kept) - 1
    single = ladder(4, seeds=1, eta=4, epochs=3, budget=99)  # of one seed there is no test
    alive, _ = single.decide(0, np.ones(4, bool), np.array([0.5, 0.5, 0.4, 0.3]), np.zeros(4, bool), 4)
    assert alive.tolist() == [True, False, False, False]


def test_the_test_is_a_paired_t_test():
    behind = np.array([0.01, 0.03, 0.02, 0.05])
    assert worse_by_luck(behind) == pytest.approx(stats.ttest_1samp(behind, 0, alternative="greater").pvalue)
    assert worse_by_luck(np.array([0.1, 0.1])) == 0
    assert worse_by_luck(np.zeros(3)) == 1


def test_configurations_that_diverge_go_first():
    found = ladder(4, eta=2, epochs=3, budget=99)
    merit, lost = scores([0.9] * 3, [0.1] * 3, [0.2] * 3, [0.3] * 3), np.zeros(12, bool)
    lost[1] = True
    alive, _ = found.decide(0, np.ones(4, bool), merit, lost, 12)
    assert alive.tolist() == [False, False, True, True]
    alive, _ = found.decide(0, np.ones(4, bool), merit * np.nan, ~lost, 12)
    assert alive.sum() == 2  # though all did: somebody has to go on


def test_hyperband_divides_into_brackets_judged_from_different_epochs_on():
    found = ladder(81, epochs=27, eta=3, first_epochs=1, method="hyperband")
    assert found.epochs == (1, 3, 9, 27)
    counts = np.bincount(found.first, minlength=4)
    expected = np.array([27, 4 / 3 * 9, 2 * 3, 4])  # (s_max + 1) / (s + 1) η^s
    assert (np.abs(counts - expected / expected.sum() * 81) <= 1).all()
    merit, lost = np.repeat(np.arange(81.0), 3), np.zeros(243, bool)
    alive, _ = found.decide(0, np.ones(81, bool), merit, lost, 10**9)
    assert alive[found.first > 0].all()
    assert alive[found.first == 0].sum() == counts[0] // 3
    alive, _ = found.decide(1, alive, merit, lost, 10**9)
    assert alive[found.first == 1].sum() == counts[1] // 3
    other = ladder(81, epochs=27, eta=3, method="hyperband", seed=1)
    assert (other.first != found.first).any()
    assert (ladder(2, epochs=27, eta=3, method="hyperband").first < 4).all()


def test_hyperband_trains_every_bracket(small):
    grid = Grid((2,), ("relu",), tuple(10.0**-i for i in range(1, 5)), seeds=2)
    result = search(grid, small, recipe=Recipe(epochs=4, batch_size=16), eta=2, method="hyperband")
    by_configuration = result.stopped.reshape(4, 2)
    assert (by_configuration[:, 0] == by_configuration[:, 1]).all()
    assert result.search.method == "hyperband"
    for i, epochs in enumerate(result.epochs):
        assert np.isfinite(result.history["loss"][i]).sum() == epochs
    assert len(result.rungs) == 2


# Samples


def test_a_sample_is_of_the_space_and_follows_its_seed():
    given = {"hidden_units": Between(8, 256), "learning_rates": Between(1e-4, 1e-1), "activations": ("relu", "tanh")}
    grid = sample(200, **given, seeds=2)
    assert len(grid.trials) == 400
    trials = grid.trials[::2]
    units, rates = (np.array([getattr(trial, name) for trial in trials]) for name in ("hidden_units", "learning_rate"))
    assert units.min() >= 8
    assert units.max() <= 256
    # Log-uniform: half below the geometric mean; four standard deviations of that share are 0.14.
    assert abs((units < np.sqrt(8 * 256)).mean() - 0.5) < 0.14
    assert abs((rates < np.sqrt(1e-4 * 1e-1)).mean() - 0.5) < 0.14
    assert rates.min() >= 1e-4
    assert rates.max() <= 1e-1
    assert {trial.activation for trial in trials} == {"relu", "tanh"}
    assert sample(200, **given, seeds=2) == grid
    assert sample(200, **given, seeds=2, sample_seed=1) != grid
    assert {trial.hidden_units for trial in sample(3, Between(4, 6), seeds=1).trials} == {4, 5, 6}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Between(3, 2), "a range is from 3 to 2: expected numbers above 0, the lower first"),
        (lambda: Between("a", 2), "'a' is the end of a range: expected a number"),
        (lambda: sample(2, Between(3.5, 9)), "an end of hidden_units is 3.5: expected a whole number"),
        (lambda: sample(2, (3,), Between(1, 2)), "activations is a range: expected names"),
        (lambda: sample(4, Between(4, 6)), "sample is 4: expected at most about 3"),
        (lambda: sample(2, (3, 4), widths=(3,)), "a grid has no 'widths'"),
        (
            lambda: search(GRID, make_dataset(), recipe=Recipe(epochs=1)),
            "first_epochs is 1: expected less than the 1 epochs",
        ),
        (
            lambda: search(GRID, make_dataset(), method="best"),
            "unknown method 'best': expected one of halving, hyperband",
        ),
        (lambda: search(GRID, make_dataset(), on_rung=3), "on_rung is 3: expected a function, or None"),
        (lambda: search(GRID, make_dataset(), checkpoints="a", resume="b"), "checkpoints and resume are both given"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()


# Run directories

SEARCHED = [
    "--sample",
    "5",
    "--hidden-units",
    "2..6",
    "--learning-rates",
    "1e-3..1e-1",
    "--activations",
    "relu",
    "--seeds",
    "2",
    "--epochs",
    "4",
    "--batch-size",
    "16",
    "--eta",
    "2",
    "--budget",
    "18",
    "--no-cache",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run directory of a search, from the command line."""
    place = tmp_path_factory.mktemp("search")
    save_dataset(make_dataset(), place / "data.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_jax.cli._training.draw_lacking", lambda *_, **__: None)  # which takes seconds
        assert cli.main(["search", *SEARCHED, "--dataset", str(place / "data.npz"), "--out", str(place / "run")]) == 0
    return place / "run"


def test_the_run_directory_says_who_was_stopped_when(made, capsys):
    run = read_run(made)
    assert sorted(set(run.trials["stopped"].tolist())) == [0, 1, 2]
    counts = np.bincount(run.history["trial"])
    np.testing.assert_array_equal(counts, np.where(run.trials["stopped"] > 0, run.trials["stopped"], 4))
    assert all(each.verdict == "sound" for each in verify(made))
    best = best_trial(run.trials)
    assert run.trials["stopped"][best] == 0
    assert cli.main(["analyse", str(made), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    ranked = record["search"]["ranking"]
    assert [each["epochs"] for each in ranked] == sorted((each["epochs"] for each in ranked), reverse=True)
    assert len(ranked) == 5
    assert len(record["widths"]) == sum(not each["stopped"] for each in ranked)  # the others do not compete
    assert cli.main(["search", "--resume", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ranking"][0]["hidden_units"] == ranked[0]["hidden_units"]
    assert cli.main(["search", "--resume", str(made), "--eta", "3"]) == 2
    assert "--eta is 3 with --resume: expected none" in capsys.readouterr().err
    assert cli.main(["sweep", "--resume", str(made)]) == 2
    said = "is of a search, which can't be extended, and is resumed by mlp-jax search --resume"
    assert f"{said} {made}" in capsys.readouterr().err
    assert cli.main(["sweep", "--extend", str(made), "--seeds", "3", "--out", str(made.parent / "longer")]) == 2
    assert "is of a search, which can't be extended" in capsys.readouterr().err


def test_figures_draw_partial_curves(made):
    run = read_run(made)
    names = []
    for name, figure, alt in run_figures(run.trials, run.history, run.config, outcomes=run.outcomes):
        names.append(name)
        assert alt
        if name == "search":
            (axes,) = figure.axes
            (ended,) = [each for each in axes.collections if hasattr(each, "get_segments")]
            lengths = sorted(len(segment) for segment in ended.get_segments())
            stopped = run.trials["stopped"].reshape(5, 2)[:, 0]
            assert lengths == sorted(stopped[stopped > 0].tolist())
    assert "search" in names
    assert "learning-curves" in names


def test_check_knows_which_trials_a_search_must_have_stopped(made, tmp_path):
    for column, change, found in (
        ("stopped", lambda row: "3" if row["stopped"] == "1" else row["stopped"], "expected a rung, 1, 2, or 0"),
        ("validation_score", None, "was stopped in epoch|went on, and should"),
    ):
        run = tmp_path / column
        shutil.copytree(made, run)
        name = "trials.csv" if change is not None else "history.csv"
        rows = list(csv.DictReader((run / name).read_text().splitlines()))
        for row in rows:
            if change is not None:
                row[column] = change(row)
            elif row["epoch"] == "1":
                row[column] = str(-float(row[column]))  # who was best is worst
        with (run / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        wrong = [each for each in verify(run) if each.verdict == "wrong"]
        assert any(re.search(found, each.message) for each in wrong), wrong


def test_an_unfinished_search_can_be_checked_and_resumed(made, tmp_path, monkeypatch, capsys):
    place = tmp_path / "run"
    monkeypatch.setattr("mlp_jax.cli._training.draw_lacking", lambda *_, **__: None)
    decide = Ladder.decide

    def killed(self, rung, *arguments):
        if rung == 1:
            raise MemoryError  # between two rungs
        return decide(self, rung, *arguments)

    monkeypatch.setattr(Ladder, "decide", killed)
    assert cli.main(["search", *SEARCHED, "--dataset", str(made.parent / "data.npz"), "--out", str(place)]) == 2
    monkeypatch.setattr(Ladder, "decide", decide)
    findings = verify(place)
    assert all(each.verdict == "sound" for each in findings), findings
    assert any(each.part == "checkpoints/rung-1" and "next rung" in each.message for each in findings)
    capsys.readouterr()
    assert cli.main(["analyse", str(place)]) == 2
    assert f"is not finished: mlp-jax search --resume {place}" in capsys.readouterr().err
    assert cli.main(["search", "--resume", str(place), "--no-cache"]) == 0
    for name in ("trials.csv", "history.csv", "parameters.npz", "outcomes.npz"):
        assert (place / name).read_bytes() == (made / name).read_bytes()
    assert not (place / "checkpoints").exists()
