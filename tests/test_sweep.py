"""The sweep: what it returns, and that each trial does not know of the others."""

import itertools

import numpy as np
import pytest
from conftest import make_dataset
from flax import nnx

from mlp_jax import MLP, Dataset, Grid, InputError, Recipe, Trial, evaluate, fit, sweep

RECIPE = Recipe(epochs=3, batch_size=16)


@pytest.mark.parametrize("layout", ["packed", pytest.param("vmap", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "task", ["multiclass", *(pytest.param(task, marks=pytest.mark.slow) for task in ("binary", "regression"))]
)
def test_every_trial_is_what_fit_gives_alone(task, layout, float64):
    dataset = make_dataset(task)
    grid = Grid((3, 0), ("tanh", "relu"), (1e-2, 1e-3), (0, 7))
    result = sweep(grid, dataset, recipe=RECIPE, layout=layout, dtype="float64")
    assert len(result.trials) == 16
    for i, trial in list(enumerate(result.trials))[::7]:
        alone = fit(
            MLP(
                dataset.features,
                trial.hidden_units,
                dataset.outputs,
                activation=trial.activation,
                task=task,
                dtype="float64",
                rngs=nnx.Rngs(trial.seed),
            ),
            dataset.train,
            dataset.validation,
            learning_rate=trial.learning_rate,
            seed=trial.seed,
            recipe=RECIPE,
        )
        for symbol, expected in alone.model.weights.items():
            np.testing.assert_allclose(result.weights(trial)[symbol], expected, rtol=0, atol=1e-9)
        for curve in ("loss", "score", "validation_loss", "validation_score"):
            np.testing.assert_allclose(result.history[curve][i], getattr(alone.history, curve), atol=1e-9)
        for split, values in dataset.splits.items():
            scores = evaluate(alone.model, values)
            assert result.final[f"{split}_loss"][i] == pytest.approx(scores.loss, abs=1e-9)
            assert result.final[f"{split}_score"][i] == pytest.approx(scores.score, abs=1e-9)


@pytest.mark.slow
def test_neighbours_order_and_mapping_do_not_matter(small, float64):
    """The same trial in grids that differ in everything else."""
    trial = Trial(5, "sigmoid", 1e-2, 3)
    grids = [
        Grid((5,), ("sigmoid",), (1e-2,), (3,)),
        Grid((0, 5, 40), ("relu", "sigmoid"), (1e-3, 1e-2), (0, 3)),
        Grid((40, 5, 0), ("sigmoid", "gelu"), (1e-2, 1e-3), (3, 0)),
        Grid(tuple(range(40)), ("sigmoid",), (1e-2,), (3,)),  # more widths than groups: some are padded together
    ]
    results = [
        sweep(grid, small, recipe=RECIPE, layout=layout, dtype="float64", replicas_at_once=at_once)
        for grid, layout, at_once in zip(grids, ("packed", "packed", "vmap", "packed"), (1, 2, 4, 1), strict=True)
    ]
    expected = results[0].weights(trial)
    for result in results[1:]:
        for symbol, array in result.weights(trial).items():
            np.testing.assert_allclose(array, expected[symbol], rtol=0, atol=1e-9)


@pytest.mark.parametrize("layout", ["packed", "vmap"])
def test_groups_side_by_side_with_nothing_to_train_in_the_first_layer(layout, float64):
    """Features that are always 0, and no biases; five replicas, two at a time and one left over."""
    x, y = np.zeros((12, 2)), np.arange(12) % 3
    dataset = Dataset.from_arrays(x, y, x + 1, y, x_validation=x + 1, y_validation=y)
    how = {"recipe": RECIPE, "layout": layout, "use_bias": False, "dtype": "float64"}
    alone, pairs = (sweep(Grid((0, 3), seeds=5), dataset, replicas_at_once=at_once, **how) for at_once in (1, 2))
    for i in range(10):
        for symbol, expected in alone.weights(i).items():
            np.testing.assert_allclose(pairs.weights(i)[symbol], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout", ["packed", pytest.param("vmap", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("task", "rate"), [("multiclass", 1e6), ("regression", 1e18)])
def test_one_trial_that_diverges_changes_no_other(task, rate, layout):
    """In one grid with a learning rate that is far too high, and in one without: the same bits."""
    dataset = make_dataset(task)
    calm = sweep(Grid((6, 0), ("sigmoid",), (1e-3,), 2), dataset, recipe=RECIPE, layout=layout)
    mixed = sweep(Grid((6, 0), ("sigmoid",), (1e-3, rate), 2), dataset, recipe=RECIPE, layout=layout)
    for i, trial in enumerate(mixed.trials):
        assert (mixed.diverged[i] > 0) == (trial.learning_rate == rate)
        if trial.learning_rate == 1e-3:
            for symbol, array in calm.weights(trial).items():
                np.testing.assert_array_equal(mixed.weights(trial)[symbol], array)


def test_a_trial_that_starts_badly_and_recovers_has_not_diverged():
    rng = np.random.default_rng(0)
    x = 1000 * rng.uniform(size=(200, 4))
    y = x @ np.array([1e-3, -2e-3, 3e-3, 0])
    dataset = Dataset.from_arrays(x, y, x, y, task="regression")
    result = sweep(Grid((0,), ("sigmoid",), (0.05,), 2), dataset, recipe=Recipe(epochs=60, batch_size=32))
    assert (result.history["loss"][:, 0] > 1000 * np.mean(y**2)).all()
    assert (result.final["test_score"] > 0.9).all()
    assert not result.diverged.any()


@pytest.mark.parametrize("layout", ["packed", "vmap"])
def test_a_trial_that_overflows_leaves_its_own_replica_alone(layout):
    """Same seed, same learning rate, same matrices: without an activation a trial overflows, with one it does not."""
    dataset = make_dataset("regression")
    recipe, rate = Recipe(epochs=3, batch_size=16), 1e13
    both = sweep(Grid((1, 40), ("identity", "sigmoid"), (rate,), 1), dataset, recipe=recipe, layout=layout)
    calm = sweep(Grid((1, 40), ("sigmoid",), (rate,), 1), dataset, recipe=recipe, layout=layout)
    assert not all(np.isfinite(array).all() for array in both.weights(Trial(40, "identity", rate, 0)).values())
    for trial in calm.trials:
        for symbol, array in calm.weights(trial).items():
            assert np.isfinite(array).all()
            np.testing.assert_allclose(both.weights(trial)[symbol], array, rtol=1e-3)


def test_a_sweep_compiles_its_epoch_once(small, monkeypatch):
    """Of any number of replicas and epochs; and an equal one not at all."""
    from mlp_jax.training import epoch as training

    traced = []
    step = training.scale_features
    monkeypatch.setattr(training, "scale_features", lambda *a: traced.append(1) or step(*a))
    counts = []
    for seeds, epochs in ((1, 1), (3, 4), (3, 4)):
        traced.clear()
        sweep(Grid((3, 4), ("elu",), seeds=seeds), small, recipe=Recipe(epochs=epochs, batch_size=17))
        counts.append(len(traced))
    assert counts[0] == counts[1] > 0
    assert counts[2] == 0


def test_models_come_back_whole(small):
    result = sweep(Grid((0, 5), seeds=2), small, recipe=RECIPE)
    for i, trial in enumerate(result.trials):
        model = result.model(trial)
        assert isinstance(model, MLP)
        assert model.hidden_units == trial.hidden_units
        assert evaluate(model, small.test).score == pytest.approx(float(result.final["test_score"][i]), abs=1e-6)
        assert sum(array.size for array in model.weights.values()) == result.parameters[i]
    assert result.model(-1).hidden_units == 5
    with pytest.raises(InputError, match="trial is 4: expected"):
        result.model(4)
    with pytest.raises(InputError, match="has no Trial"):
        result.model(Trial(6, "sigmoid", 1e-3, 0))


def test_weights_of_features_that_are_always_0_stay_and_still_count(small):
    """Such features are left out of training; a test example that has them must see their initial weights."""
    result = sweep(Grid((5,), seeds=1), small, recipe=RECIPE)
    initial = MLP(small.features, 5, small.outputs, rngs=nnx.Rngs(0)).weights["A"]
    trained = result.weights(0)["A"]
    np.testing.assert_array_equal(trained[[3, 7]], np.asarray(initial)[[3, 7]])
    assert (trained[0] != np.asarray(initial)[0]).any()
    assert small.test.features[:, 3].any()
    assert result.final["test_loss"][0] == pytest.approx(evaluate(result.model(0), small.test).loss, rel=1e-5)


@pytest.mark.parametrize("layout", ["packed", "vmap"])
def test_without_biases(small, layout):
    result = sweep(Grid((0, 4), seeds=1), small, recipe=RECIPE, use_bias=False, layout=layout)
    assert set(result.weights(0)) == {"A"}
    assert set(result.weights(1)) == {"A", "B"}
    model = MLP(small.features, 4, small.outputs, use_bias=False, rngs=nnx.Rngs(0))
    alone = fit(model, small.train, recipe=RECIPE).model
    for symbol, array in alone.weights.items():
        np.testing.assert_allclose(result.weights(1)[symbol], array, atol=2e-5)


def test_grid_takes_numbers_from_numpy_and_counts_seeds():
    grid = Grid(np.array([1, 2]), ("relu",), np.array([0.5]), 3)
    assert grid.trials == tuple(Trial(m, "relu", 0.5, s) for m, s in itertools.product((1, 2), (0, 1, 2)))
    assert all(type(trial.hidden_units) is int for trial in grid.trials)


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_losses_of_many_trials_of_a_replica_are_their_own(precision):
    """Beyond 32 trials × 1,000 rows XLA's fusions for YNNPACK give a trial the loss of an earlier one."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1000, 20)).astype(np.float32), rng.integers(0, 3, 1000)
    dataset = Dataset.from_arrays(x, y, x, y, x_validation=x, y_validation=y)
    grid = Grid((4,), ("relu",), tuple(np.geomspace(1e-4, 1e-1, 70)), 1)
    result = sweep(grid, dataset, recipe=Recipe(epochs=1, batch_size=500, precision=precision))
    assert len(result.plans) == 1
    for place in range(0, 70, 3):
        w = result.weights(place)
        z = np.maximum(x @ w["A"] + w["c1"], 0) @ w["B"] + w["c2"]
        z -= z.max(axis=1, keepdims=True)
        loss = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(1000), y])
        tolerance = 1e-5 if precision == "float32" else 2e-3
        assert result.final["validation_loss"][place] == pytest.approx(loss, abs=tolerance)
