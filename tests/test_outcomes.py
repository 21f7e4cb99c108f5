"""What each example makes: against the models' own predictions, however a sweep was laid out, cut up or resumed."""

import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, Recipe, SweepWarning, cli, sweep
from mlp_jax.errors import SweepStopped
from mlp_jax.runs.directory import read_run, write_run
from mlp_jax.sweeps.checkpoints import _digest_of, read_arrays
from mlp_jax.sweeps.outcomes import SPLITS, packed, unpacked
from mlp_jax.training import epoch as training

RECIPE = Recipe(epochs=2, batch_size=32)


def expected(result, dataset, split, trial):
    """Of one trial, by the model that the sweep gives."""
    data = dataset.splits[split]
    said = np.asarray(result.model(trial).predict(data.features))
    if dataset.task == "regression":
        return np.mean((said.reshape(data.targets.shape) - data.targets) ** 2, axis=1)
    return said == data.targets


def check(result, dataset):
    for split in SPLITS:
        for trial in range(len(result.trials)):
            own = expected(result, dataset, split, trial)
            if dataset.task == "regression":
                np.testing.assert_allclose(result.outcomes.hits[split][trial], own, rtol=1e-4, atol=1e-6)
            else:
                np.testing.assert_array_equal(result.outcomes.merit(split, [trial])[0], own)
        mean, score = result.outcomes.mean_hits(split), result.final[f"{split}_score"]
        if dataset.task == "regression":
            mean = 1 - mean / result.outcomes.variance[split]
        np.testing.assert_allclose(mean, score, atol=1e-5)


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize("layout", ["packed", "vmap"])
def test_outcomes_are_what_the_models_say(task, layout):
    dataset = make_dataset(task)
    check(sweep(Grid((0, 3, 5), ("relu",), (1e-2,), seeds=3), dataset, recipe=RECIPE, layout=layout), dataset)


@pytest.mark.parametrize("rows", [1, 7, 19, 64])
def test_splits_are_scored_in_chunks_that_do_not_divide_them(rows, monkeypatch):
    monkeypatch.setattr(training, "ROWS_AT_ONCE", rows)
    dataset = make_dataset()
    check(sweep(Grid((2, rows), ("tanh",), (1e-2,), seeds=1), dataset, recipe=RECIPE), dataset)


def test_bits_are_packed_and_come_back():
    hits = np.random.default_rng(0).uniform(size=(3, 2, 21)) < 0.5
    assert packed(hits).shape == (3, 2, 3)
    np.testing.assert_array_equal(unpacked(packed(hits), 21), hits)


def test_the_trivial_guess_is_the_commonest_class_or_the_mean_of_training():
    dataset = make_dataset()
    outcomes = sweep(Grid((2,), seeds=1), dataset, recipe=RECIPE).outcomes
    commonest = np.bincount(dataset.train.targets).argmax()
    np.testing.assert_array_equal(outcomes.guess_merit("test")[0], dataset.test.targets == commonest)
    dataset = make_dataset("regression")
    outcomes = sweep(Grid((2,), seeds=1), dataset, recipe=RECIPE).outcomes
    errors = np.mean((dataset.test.targets - dataset.train.targets.mean(axis=0)) ** 2, axis=1)
    np.testing.assert_allclose(outcomes.guess["test"], errors, rtol=1e-5)
    assert outcomes.variance["test"] == pytest.approx(dataset.test.targets.var(axis=0).mean())


def test_a_sweep_in_chunks_stopped_and_resumed_has_the_same(small, tmp_path):
    grid = Grid((0, 3), ("relu",), (1e-2,), seeds=4)
    whole = sweep(grid, small, recipe=RECIPE)
    memory = whole.plan.need.total(2, 1)
    asked = iter((False, False, False, True))  # in the second chunk
    with pytest.raises(SweepStopped):
        sweep(
            grid,
            small,
            recipe=RECIPE,
            memory=memory,
            replicas_at_once=1,
            checkpoints=tmp_path / "c",
            stop=lambda: next(asked),
        )
    (finished,) = (tmp_path / "c" / "finished").iterdir()
    resumed = sweep(grid, small, recipe=RECIPE, memory=memory, replicas_at_once=1, resume=tmp_path / "c")
    for split in SPLITS:
        np.testing.assert_array_equal(resumed.outcomes.hits[split], whole.outcomes.hits[split])
    # What an earlier version left of finished replicas does not say what examples make.
    arrays = {name: array for name, array in read_arrays(finished).items() if not name.startswith("hits/")}
    np.savez(finished, **arrays, digest=_digest_of(arrays))
    with pytest.warns(SweepWarning, match="of an earlier version: trained again"):
        again = sweep(grid, small, recipe=RECIPE, memory=memory, replicas_at_once=1, resume=tmp_path / "c")
    for split in SPLITS:
        np.testing.assert_array_equal(again.outcomes.hits[split], whole.outcomes.hits[split])


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_run_holds_them(task, tmp_path):
    result = sweep(Grid((0, 3), seeds=2), make_dataset(task), recipe=RECIPE)
    write_run(result, tmp_path, "small")
    back = read_run(tmp_path).outcomes
    assert back.sizes == result.outcomes.sizes
    np.testing.assert_equal(back.variance, result.outcomes.variance)
    for split in SPLITS:
        np.testing.assert_array_equal(back.hits[split], result.outcomes.hits[split])
        np.testing.assert_array_equal(back.guess[split], result.outcomes.guess[split])


def values(examples, constant):
    x = np.random.default_rng(examples).normal(size=(examples, 3))
    return x, np.full((examples, 1), 0.1) if constant else x[:, :1] - x[:, 1:2]


@pytest.mark.parametrize(
    ("validation", "test", "said"),
    [
        ((1, False), (10, False), "R² cannot be computed on validation (1 example): choices look at the loss."),
        (
            (10, True),
            (10, False),
            "R² cannot be computed on validation (all targets are the same): choices look at the loss.",
        ),
        ((10, False), (10, True), "R² cannot be computed on test (all targets are the same)."),
        (
            (10, True),
            (1, False),
            "validation (all targets are the same) and test (1 example): choices look at the loss.",
        ),
    ],
)
def test_a_score_that_cannot_be_computed_is_said_and_ends_nothing(validation, test, said, tmp_path, capsys):
    arrays = {}
    for split, (examples, constant) in {"train": (40, False), "validation": validation, "test": test}.items():
        arrays[f"x_{split}"], arrays[f"y_{split}"] = values(examples, constant)
    np.savez(tmp_path / "values.npz", **arrays, task="regression")
    out = str(tmp_path / "run")
    options = ["--hidden-units", "0", "3", "--seeds", "2", "--epochs", "2", "--out", out]
    assert cli.main(["sweep", "--dataset", str(tmp_path / "values.npz"), *options]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert said in printed
    assert "diverged" not in printed
    assert len(list((tmp_path / "run" / "figures").glob("*-against-width.png"))) == 1  # named by what decides
    for command in ("analyse", "evaluate", "check", *(["report"] if validation[1] else [])):
        assert cli.main([command, out]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "diverged" not in printed.replace(" 0 diverged", "")
        if command == "analyse":
            assert said in printed


def test_one_example_to_choose_by_tells_nothing_but_ends_nothing(tmp_path, capsys):
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    splits = {"train": slice(0, 30), "validation": slice(30, 31), "test": slice(31, 40)}
    arrays = {f"{name}_{split}": array[rows] for split, rows in splits.items() for name, array in (("x", x), ("y", y))}
    np.savez(tmp_path / "classes.npz", **arrays)
    options = ["--hidden-units", "0", "3", "--seeds", "2", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert cli.main(["sweep", "--dataset", str(tmp_path / "classes.npz"), *options]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "That rests on validation (2 seeds, 1 example)" in said
    assert "not better" in said or "did best" in said


def test_a_model_of_rare_cases_is_held_against_the_commonest_class(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 3)), (np.arange(600) % 120 == 0).astype(int)
    x_train, x_validation, x_test = np.split(x, (300, 450))
    y_train, y_validation, y_test = np.split(y, (300, 450))
    np.savez(
        tmp_path / "rare.npz",
        x_train=x_train,
        y_train=y_train,
        x_validation=x_validation,
        y_validation=y_validation,
        x_test=x_test,
        y_test=y_test,
        task="binary",
    )
    options = ["--hidden-units", "2", "4", "--seeds", "2", "--epochs", "60", "--learning-rates", "0.01"]
    assert cli.main(["sweep", "--dataset", str(tmp_path / "rare.npz"), *options, "--out", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "No width is better by more than luck than always answering the commonest class" in said
