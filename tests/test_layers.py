"""Initial weights, and the scales of µP."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mlp_jax import MLP
from mlp_jax.networks.layers import INITIALIZATIONS, perceptron, rate_factors


def weights(hidden, features=300, outputs=10, seed=0, **how):
    return MLP(features, hidden, outputs, rngs=nnx.Rngs(seed), **how).weights


@pytest.mark.parametrize(
    ("initialization", "variance"),
    [
        ("glorot", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        ("he", lambda fan_in, fan_out: 2 / fan_in),
        ("lecun", lambda fan_in, fan_out: 1 / fan_in),
        ("pytorch", lambda fan_in, fan_out: 1 / (3 * fan_in)),
        ("normal", lambda fan_in, fan_out: 1.0),
    ],
)
def test_initial_weights_have_the_variance_that_the_name_says(initialization, variance):
    found = weights((400, 200), initialization=initialization, init_scale=0.5, bias_initialization="pytorch")
    for name, fans in (("A", (300, 400)), ("A2", (400, 200)), ("B", (200, 10))):
        values = np.asarray(found[name], float)
        expected = 0.25 * variance(*fans)
        error = 4 * np.sqrt(2 / values.size)  # four standard errors of a normal variance; others vary less
        assert values.var() == pytest.approx(expected, rel=error), name
        assert abs(values.mean()) < 4 * np.sqrt(expected / values.size), name
        if initialization != "normal":
            assert abs(values).max() <= np.sqrt(3 * expected) * (1 + 1e-6)
        else:
            assert np.mean(abs(values) > 2 * np.sqrt(expected)) == pytest.approx(0.0455, abs=0.01)
    for name, fan_in in (("c1", 300), ("c2", 400), ("c3", 200)):
        biases = np.asarray(found[name], float)
        assert abs(biases).max() <= 1 / np.sqrt(fan_in)
        assert abs(biases).max() > 0.5 / np.sqrt(fan_in)
        kernel = np.asarray(found["A" if name == "c1" else "A2" if name == "c2" else "B"], float)
        assert abs(np.corrcoef(biases, kernel[0])[0, 1]) < 0.99  # drawn apart


def test_narrow_networks_begin_with_the_first_weights_of_wide_ones():
    wide, narrow = (weights(m, initialization="normal", bias_initialization="pytorch") for m in (7, 3))
    np.testing.assert_array_equal(narrow["A"], wide["A"][:, :3])
    np.testing.assert_array_equal(narrow["B"], wide["B"][:3])


def test_mup_is_the_standard_parametrization_at_the_base_width():
    for initialization in INITIALIZATIONS:
        usual = weights((64, 64), initialization=initialization)
        mup = weights((64, 64), initialization=initialization, base_width=64)
        for name in usual:
            np.testing.assert_array_equal(usual[name], mup[name])


def test_mup_scales_as_table_3_says():
    network = perceptron((256, 256), 10, "relu", base_width=64)
    found, base = weights((256, 256), base_width=64), weights((64, 64))
    for name, shrinks in (("A", 1), ("A2", 2), ("B", 4)):  # standard deviation
        ratio = np.asarray(base[name]).std() / np.asarray(found[name]).std()
        assert ratio == pytest.approx(shrinks, rel=0.1)
    assert rate_factors(network, adaptive=True) == [
        {"kernel": 1, "bias": 1},
        {"kernel": 0.25, "bias": 1},
        {"kernel": 0.25, "bias": 1},
    ]
    assert rate_factors(network, adaptive=False) == [
        {"kernel": 4, "bias": 4},
        {"kernel": 1, "bias": 4},
        {"kernel": 0.25, "bias": 1},
    ]
    assert rate_factors(perceptron((), 10, "relu", base_width=64), adaptive=False) == [{"kernel": 1, "bias": 1}]


def test_logits_of_mup_do_not_grow_with_the_width():
    """What a few steps of Adam at one rate change them by; in the standard parametrization it grows."""
    from mlp_jax import Recipe, fit
    from mlp_jax.datasets.dataset import Split

    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 20)).astype(np.float32)
    train = Split(x, rng.integers(0, 3, 64))

    def size(width, base):
        model = MLP(20, (width, width), 3, activation="relu", base_width=base, rngs=nnx.Rngs(1))
        trained = fit(model, train, learning_rate=0.02, recipe=Recipe(epochs=4, batch_size=64)).model
        return float(jnp.abs(trained(x) - model(x)).mean())

    growth = {base: size(512, base) / size(32, base) for base in (0, 32)}
    assert growth[0] > 2
    assert growth[32] < 1.3
