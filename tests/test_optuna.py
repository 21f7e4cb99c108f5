"""A study of Optuna's whose trials are trained together: what it asks for, and what it is told."""

import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, InputError, MissingExtraError, Recipe, Trial, sweep
from mlp_jax.adapters.optuna import optimize

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)
RECIPE = Recipe(epochs=2, batch_size=16)


def suggest(trial):
    return {
        "hidden_units": trial.suggest_int("hidden_units", 2, 4),
        "activation": "relu",
        "learning_rate": trial.suggest_categorical("learning_rate", [1e-3, 1e-2, 1e-1]),
    }


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_study_is_told_the_mean_over_seeds_of_what_it_asked_for(direction, small):
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    batches = []
    best = optimize(study, suggest, small, batches=2, batch_size=3, seeds=2, recipe=RECIPE, on_batch=batches.append)
    assert [trial.state.name for trial in study.trials] == 6 * ["COMPLETE"]
    assert best in batches
    measure = "validation_score" if direction == "maximize" else "validation_loss"
    for trial in study.trials:
        result = batches[trial.number // 3]
        point = Trial(trial.params["hidden_units"], "relu", trial.params["learning_rate"], 0)
        places = [result.trials.index(point._replace(seed=seed)) for seed in (0, 1)]
        assert trial.value == pytest.approx(result.final[measure][places].mean())
        assert trial.user_attrs["by_seed"] == pytest.approx(result.final[measure][places].tolist())
        assert list(trial.intermediate_values) == [1, 2]
        assert trial.intermediate_values[2] == pytest.approx(result.history[measure][places, 1].mean())
    ends = [result.final[measure].reshape(-1, 2).mean(axis=1) for result in batches]
    greatest = max if direction == "maximize" else min
    assert study.best_value == pytest.approx(greatest(np.concatenate(ends).tolist()))


def test_each_is_trained_as_in_any_sweep(small):
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True))
    result = optimize(study, suggest, small, batches=1, batch_size=2, seeds=(5,), recipe=RECIPE, layout="packed")
    alone = sweep(Grid.of(result.trials), small, recipe=RECIPE, layout="packed")
    np.testing.assert_array_equal(result.final["test_loss"], alone.final["test_loss"])
    assert {trial.seed for trial in result.trials} == {5}


def test_trials_that_diverge_are_pruned(small):
    study = optuna.create_study(direction="maximize")
    optimize(
        study,
        lambda trial: {"hidden_units": 3, "activation": "relu", "learning_rate": 1e30},
        small,
        batches=1,
        batch_size=2,
        seeds=1,
        recipe=RECIPE,
    )
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED"]


def test_what_fails_is_told_so(small):
    study = optuna.create_study()
    with pytest.raises(InputError, match="learning rate is -1"):
        optimize(
            study,
            lambda trial: {"hidden_units": 3, "activation": "relu", "learning_rate": -1.0},
            small,
            batches=1,
            batch_size=2,
        )
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"study": 3}, "study is 3: expected an optuna.Study"),
        ({"suggest": 3}, "suggest is 3: expected a function"),
        ({"suggest": lambda trial: 3}, "what suggest returns is 3: expected values by the names of axes"),
        ({"suggest": lambda trial: {"hidden_units": 3}}, "suggest gives no activation"),
        ({"suggest": lambda trial: suggest(trial) | {"seed": 1}}, "suggest gives a seed: expected none"),
        ({"suggest": lambda trial: suggest(trial) | {"widths": 1}}, "unknown 'widths': expected one of hidden_units"),
        ({"batches": 0}, "batches is 0: expected a whole number from 1"),
        ({"batch_size": 0}, "batch_size is 0: expected a whole number from 1"),
        ({"seeds": 0}, "seeds is 0: expected a whole number from 1"),
        ({"on_batch": 3}, "on_batch is 3: expected a function, or None"),
        ({"study": optuna.create_study(directions=["minimize", "maximize"])}, "study has 2 directions: expected one"),
    ],
)
def test_bad_input(changed, message):
    arguments = {"study": optuna.create_study(), "suggest": suggest, "dataset": make_dataset(), "batches": 1}
    with pytest.raises(InputError, match=message):
        optimize(**arguments | changed)


def test_without_optuna(monkeypatch, small):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"mlp-jax\[optuna\]"):
        optimize(None, suggest, small, batches=1)
