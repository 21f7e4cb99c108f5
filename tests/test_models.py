"""The model: its shape, its initial weights, its predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mlp_jax import ACTIVATIONS, MLP, InputError
from mlp_jax.networks.layers import first_product, unit_rows
from mlp_jax.networks.models import parameter_key


@pytest.mark.parametrize("units", [0, 1, 17])
@pytest.mark.parametrize("use_bias", [True, False])
def test_computes_the_article_formula(units, use_bias):
    model = MLP(5, units, 3, use_bias=use_bias, activation="tanh", rngs=nnx.Rngs(1))
    weights = {k: np.asarray(v) for k, v in model.weights.items()}
    weights = {k: v + 0.3 for k, v in weights.items()}  # biases start at 0
    model = MLP.from_weights(weights, activation="tanh")
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    c1, c2 = (weights.get(symbol, 0) for symbol in ("c1", "c2"))
    expected = x @ weights["A"] + c1
    if units:
        expected = np.tanh(expected) @ weights["B"] + c2
    np.testing.assert_allclose(model(jnp.asarray(x)), expected, rtol=2e-5, atol=2e-6)
    assert model.hidden_units == units


def test_biases_are_there_only_if_asked_for():
    assert set(MLP(5, 2, 3, rngs=nnx.Rngs(0)).weights) == {"A", "c1", "B", "c2"}
    assert set(MLP(5, 0, 3, rngs=nnx.Rngs(0)).weights) == {"A", "c1"}
    assert set(MLP(5, 2, 3, use_bias=False, rngs=nnx.Rngs(0)).weights) == {"A", "B"}
    assert set(MLP(5, 0, 3, use_bias=False, rngs=nnx.Rngs(0)).weights) == {"A"}


def test_starts_glorot_uniform_with_zero_biases():
    weights = MLP(300, 100, 10, rngs=nnx.Rngs(3)).weights
    for symbol, fans in (("A", 400), ("B", 110)):
        limit = np.sqrt(6 / fans)
        kernel = np.asarray(weights[symbol])
        assert np.abs(kernel).max() <= limit
        assert np.abs(kernel).max() > 0.99 * limit
        deviation, expected = kernel.std(), limit / np.sqrt(3)
        assert abs(deviation - expected) < 4 * expected / np.sqrt(kernel.size)
        assert abs(kernel.mean()) < 4 * expected / np.sqrt(kernel.size)
    assert not np.any(weights["c1"])
    assert not np.any(weights["c2"])


def test_a_units_initial_weights_do_not_depend_on_its_neighbours():
    key = parameter_key(4)
    few, many = (unit_rows(key, 0, jnp.float32)(units, 6) for units in (2, 7))
    np.testing.assert_array_equal(few, many[:2])
    assert len(np.unique(many)) == many.size
    assert not np.array_equal(unit_rows(key, 1, jnp.float32)(2, 6), few)


def test_seeds_and_layers_differ():
    first, second = (MLP(6, 6, 6, rngs=nnx.Rngs(seed)).weights for seed in (0, 1))
    assert not np.array_equal(first["A"], second["A"])
    assert not np.array_equal(first["A"], first["B"])


@pytest.mark.parametrize(
    ("task", "outputs", "shape"), [("multiclass", 4, (7, 4)), ("binary", 1, (7,)), ("regression", 2, (7, 2))]
)
def test_predictions_follow_from_probabilities(task, outputs, shape):
    model = MLP(5, 6, outputs, task=task, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (7, 5))
    probabilities, predicted = model.predict_proba(x), np.asarray(model.predict(x))
    assert probabilities.shape == shape
    if task == "multiclass":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_array_equal(predicted, np.argmax(probabilities, axis=1))
    elif task == "binary":
        np.testing.assert_array_equal(predicted, np.asarray(probabilities) > 0.5)
    else:
        np.testing.assert_array_equal(predicted, model(x))


@pytest.mark.parametrize(("task", "outputs"), [("multiclass", 2), ("binary", 1)])
def test_a_class_that_is_all_but_excluded_keeps_its_probability(task, outputs):
    weights = {"A": np.array([[0.0, 1.0]] if outputs == 2 else [[1.0]], np.float32)}
    model = MLP.from_weights(weights, task=task)
    z = np.array([[-60.0], [-20.0], [0.0], [20.0], [60.0]], np.float32)
    probabilities = np.asarray(model.class_probabilities(z))
    np.testing.assert_allclose(probabilities, np.exp(-np.logaddexp(0, np.hstack([z, -z]))), rtol=1e-5)
    np.testing.assert_array_equal(probabilities, probabilities[::-1, ::-1])


def test_a_regression_has_no_classes():
    with pytest.raises(InputError, match="no classes"):
        MLP(2, 0, 1, task="regression", rngs=nnx.Rngs(0)).class_probabilities(np.zeros((1, 2), np.float32))


def test_scales_uint8_to_the_unit_interval():
    model = MLP(3, 2, 2, rngs=nnx.Rngs(0))
    images = np.array([[0, 128, 255]], np.uint8)
    np.testing.assert_array_equal(model(jnp.asarray(images)), model(jnp.asarray(images.astype(np.float32) / 255)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_finite_with_a_finite_gradient(name):
    at = jnp.array([-200.0, -1.0, 0.0, 1.0, 200.0])
    assert np.isfinite(ACTIVATIONS[name](at)).all()
    assert np.isfinite(jax.vmap(jax.grad(ACTIVATIONS[name]))(at)).all()


def test_bfloat16_product_rounds_its_factors_and_nothing_else():
    rng = np.random.default_rng(0)
    a, x, weight = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((5, 300), (7, 300), (5, 7)))
    product, gradient = jax.vjp(lambda a: first_product(a, x, "bfloat16"), a)
    rounded = [np.asarray(array.astype(jnp.bfloat16), np.float64) for array in (a, x, weight)]
    np.testing.assert_allclose(product, rounded[0] @ rounded[1].T, atol=1e-4)
    np.testing.assert_allclose(gradient(weight)[0], rounded[2] @ rounded[1], atol=1e-5)
    assert np.abs(product - a @ x.T).max() > 1e-3


def test_lower_precisions_are_for_float32(float64):
    with pytest.raises(InputError, match="precision bfloat16 is for dtype float32: got float64"):
        first_product(jnp.ones((2, 3)), jnp.ones((4, 3)), "bfloat16")


def test_other_weights_leave_the_model_as_it_is():
    model = MLP(3, 2, 2, rngs=nnx.Rngs(0))
    before = {symbol: np.array(array) for symbol, array in model.weights.items()}
    other = model.with_weights({symbol: array + 1 for symbol, array in before.items()})
    for symbol, array in before.items():
        np.testing.assert_array_equal(model.weights[symbol], array)
        np.testing.assert_array_equal(other.weights[symbol], array + 1)
