"""A trial is the same under every generator that JAX can be told to use, and so is a data set that is divided."""

import jax
import numpy as np
import pytest
from conftest import make_dataset
from flax import nnx

from mlp_jax import MLP, Dataset, Grid, Recipe, fit, load_dataset, sweep

SETTINGS = {
    "rbg": lambda: jax.default_prng_impl("rbg"),
    "unsafe_rbg": lambda: jax.default_prng_impl("unsafe_rbg"),
    "not partitionable": lambda: jax.threefry_partitionable(False),
}
RECIPE = Recipe(epochs=2, batch_size=32)


def trained(widths=(0, 5)):
    return sweep(Grid(widths, ("relu",), (1e-2,), seeds=2), make_dataset(), recipe=RECIPE)


def weights(result, trial):
    return {symbol: np.asarray(array) for symbol, array in result.weights(trial).items()}


@pytest.fixture(scope="module")
def by_default():
    return trained()


@pytest.mark.parametrize(
    "setting", [next(iter(SETTINGS)), *(pytest.param(each, marks=pytest.mark.slow) for each in list(SETTINGS)[1:])]
)
def test_a_trial_is_the_same(setting, by_default):
    with SETTINGS[setting]():
        result, fewer = trained(), trained(widths=(5,))
        for trial in result.trials:
            expected = weights(by_default, trial)
            for symbol, array in weights(result, trial).items():
                np.testing.assert_array_equal(array, expected[symbol])
            start = MLP(12, trial.hidden_units, 3, activation="relu", rngs=nnx.Rngs(trial.seed))
            alone = fit(start, make_dataset().train, learning_rate=1e-2, seed=trial.seed, recipe=RECIPE).model.weights
            for symbol, array in expected.items():
                np.testing.assert_allclose(alone[symbol], array, rtol=0, atol=2e-4)
        for trial in fewer.trials:
            for symbol, array in weights(fewer, trial).items():
                np.testing.assert_allclose(array, weights(by_default, trial)[symbol], rtol=0, atol=2e-4)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_data_set_is_divided_alike(setting):
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3

    def digests():
        return Dataset.from_arrays(x, y, x[:9], y[:9]).digest, load_dataset("sklearn:iris").digest

    expected = digests()
    with SETTINGS[setting]():
        assert digests() == expected


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_stream_goes_on_by_one_for_each_model(setting):
    def drawn():
        rngs = nnx.Rngs(3)
        return [np.asarray(MLP(4, 2, 3, rngs=rngs).weights["A"]) for _ in range(2)]

    first, second = drawn()
    assert np.abs(first - second).max() > 0.1
    with SETTINGS[setting]():
        np.testing.assert_array_equal(drawn(), [first, second])
