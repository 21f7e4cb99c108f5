"""Tables, means over seeds, and where the curve saturates."""

import numpy as np
import pytest
from flax import nnx

from mlp_jax import MLP, Grid, InputError, Recipe, fit, sweep
from mlp_jax.answers.analysis import summarize
from mlp_jax.runs.tables import (
    SCORES,
    best_trial,
    fit_history_table,
    history_table,
    references,
    trials_table,
    with_variants,
)


def table(scores, diverged=None):
    """Trials of which the validation score is given by (M, seed); every other score is twice that."""
    rows = [(m, seed, score) for m, by_seed in scores.items() for seed, score in enumerate(by_seed)]
    units, seeds, values = (np.array(column) for column in zip(*rows, strict=True))
    table = {
        "trial": np.arange(len(rows)),
        "hidden_units": units,
        "activation": np.array(["sigmoid"] * len(rows)),
        "learning_rate": np.full(len(rows), 1e-3),
        "seed": seeds,
        "parameters": units * 10,
        "diverged": np.zeros(len(rows), int) if diverged is None else np.array(diverged),
        **{column: values if column == "validation_score" else 2 * values for column in SCORES},
    }
    return with_variants(table)


def test_means_and_sample_deviations():
    first, second = summarize(table({10: [0.8, 0.9, 1.0], 20: [0.5, 0.5, 0.5]}))
    assert (first.hidden_units, first.seeds, first.parameters) == (10, 3, 100)
    assert first.mean["validation_score"] == pytest.approx(0.9)
    assert first.mean["test_score"] == pytest.approx(1.8)
    assert first.deviation["validation_score"] == pytest.approx(0.1)
    assert second.deviation["test_score"] == 0


def test_trials_that_diverged_are_left_out_and_counted():
    (row,) = summarize(table({10: [0.8, 0.9, 55.0]}, diverged=[0, 0, 2]))
    assert (row.seeds, row.diverged) == (2, 1)
    assert row.mean["validation_score"] == pytest.approx(0.85)
    (lost,) = summarize(table({10: [0.8]}, diverged=[1]))
    assert np.isnan(lost.mean["test_score"])
    assert np.isnan(lost.merit)


def test_tables_hold_what_the_sweep_found(small):
    result = sweep(Grid((0, 3), seeds=2), small, recipe=Recipe(epochs=2))
    trials, history = trials_table(result), history_table(result)
    assert {len(column) for column in trials.values()} == {4}
    assert {len(column) for column in history.values()} == {8}
    np.testing.assert_array_equal(trials["hidden_units"], [0, 0, 3, 3])
    np.testing.assert_array_equal(trials["seed"], [0, 1, 0, 1])
    np.testing.assert_array_equal(history["epoch"], [1, 2] * 4)
    np.testing.assert_array_equal(history["trial"], np.repeat(range(4), 2))
    np.testing.assert_array_equal(trials["test_score"], result.final["test_score"])
    last = history["epoch"] == 2
    np.testing.assert_allclose(history["validation_loss"][last], trials["validation_loss"], rtol=1e-6)


def test_the_table_of_a_model_alone_is_that_of_its_trial(small):
    recipe = Recipe(epochs=2)
    start = MLP(small.features, 3, small.outputs, activation="tanh", rngs=nnx.Rngs(1))
    trained = fit(start, small.train, small.validation, learning_rate=1e-2, seed=1, recipe=recipe)
    alone = fit_history_table(trained)
    together = history_table(sweep(Grid((3,), ("tanh",), (1e-2,), (1,)), small, recipe=recipe))
    assert list(alone) == list(together)
    for name, column in together.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(alone[name], column, rtol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(alone[name], column, err_msg=name)


def test_history_marks_the_epochs_from_the_one_that_diverged_on(small):
    result = sweep(Grid((3,), learning_rates=(1e-3, 1e6), seeds=1), small, recipe=Recipe(epochs=3, batch_size=8))
    first = int(result.diverged[1])
    assert first > 0
    history = history_table(result)
    np.testing.assert_array_equal(history["diverged"], [0, 0, 0, *(int(e >= first) for e in (1, 2, 3))])


def test_others_figures_are_shown_beside_their_own_recipe_only():
    config = {"dataset": "mnist", "epochs": 20, "batch_size": 128, "use_bias": True}
    config |= {"hidden_units": [0, 10, 25, 100], "activations": ["relu", "sigmoid"], "learning_rates": [1e-3]}
    keras = {10: 0.9263, 25: 0.9503, 100: 0.9754}
    assert references(config) == {"article": {10: 0.9238, 100: 0.9749}, "Keras 3": keras}
    assert references(config | {"hidden_units": [25, 64]}) == {"Keras 3": {25: 0.9503}}
    assert references(config | {"hidden_units": [64]}) == {}
    assert references(config | {"activations": ["relu"]}) == {}
    assert references(config | {"learning_rates": [1e-2]}) == {}
    assert references(config | {"epochs": 10}) == {}
    assert references(config | {"dataset": "elsewhere"}) == {}


def test_the_best_trial_is_the_best_on_validation_that_did_not_diverge():
    assert best_trial(table({10: [0.8, 0.9], 20: [0.85, 0.9]})) == 1
    assert best_trial(table({10: [0.8, 0.9], 20: [0.85, 0.9]}, diverged=[0, 3, 0, 0])) == 3
    undefined = table({10: [0.8, 0.9], 20: [0.85, 0.7]})
    undefined |= {"validation_score": np.full(4, np.nan), "validation_loss": np.array([0.5, 0.2, 0.1, 0.3])}
    assert best_trial(undefined) == 2  # a score that cannot be computed gives way to the loss
    assert best_trial(undefined | {"diverged": np.array([0, 0, 1, 0])}) == 1
    with pytest.raises(InputError, match="every trial of the run diverged"):
        best_trial(table({10: [0.8]}, diverged=[1]))
