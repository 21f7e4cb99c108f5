"""Second layers of networks of different widths in one product: the sum of each over its own units, and no other's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.networks.joint import MOST_PADDING, MOST_ROWS, block_layers, divide, padded_layers
from mlp_jax.networks.joint_kernel import kernel_layers

WIDTHS = (3, 1, 5, 5, 2)
owner = np.repeat(np.arange(len(WIDTHS)), WIDTHS)
K, B = 4, 6

FORMS = {"padded": padded_layers, "blocks": block_layers, "kernel": partial(kernel_layers, interpret=True)}
form = pytest.mark.parametrize("form", FORMS)


def plain(weights, units):
    return jnp.stack([weights[owner == t].T @ units[owner == t] for t in range(len(WIDTHS))])


def examples():
    rng = np.random.default_rng(0)
    weights, units = rng.normal(size=(len(owner), K)), rng.normal(size=(len(owner), B))
    return tuple(jnp.asarray(each, jnp.float32) for each in (weights, units, rng.normal(size=(len(WIDTHS), K, B))))


@form
def test_logits_and_gradients_are_those_of_networks_apart(form):
    weights, units, cotangent = examples()
    for function in (FORMS[form](WIDTHS), jax.jit(FORMS[form](WIDTHS))):
        expected, back = jax.vjp(plain, weights, units)
        found, joint_back = jax.vjp(function, weights, units)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        for mine, its in zip(joint_back(cotangent), back(cotangent), strict=True):
            np.testing.assert_allclose(mine, its, atol=1e-5)


@form
def test_it_can_be_mapped(form):
    weights, units, _ = examples()
    two = [jnp.stack([each, 2 * each]) for each in (weights, units)]
    np.testing.assert_allclose(jax.vmap(FORMS[form](WIDTHS))(*two), jax.vmap(plain)(*two), atol=1e-5)


@form
@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("trial", [0, 3])
@pytest.mark.parametrize("where", ["weights", "units", "cotangent"])
def test_what_is_not_finite_stays_where_it_is(form, where, trial, value):
    """In the trial that it is of, all that another trial makes and gets is as it was."""
    weights, units, cotangent = examples()
    rows, others = owner == trial, np.arange(len(WIDTHS)) != trial
    expected, back = jax.vjp(FORMS[form](WIDTHS), weights, units)
    grads = back(cotangent)
    if where == "weights":
        weights = weights.at[np.flatnonzero(rows)[0], 1].set(value)
    elif where == "units":
        units = units.at[np.flatnonzero(rows)[0], 2].set(value)
    else:
        cotangent = cotangent.at[trial, 1, 2].set(value)
    found, joint_back = jax.vjp(FORMS[form](WIDTHS), weights, units)
    np.testing.assert_array_equal(found[others], expected[others])
    if where != "cotangent":
        assert not np.isfinite(found[trial]).all()
    of_weights, of_units = joint_back(cotangent)
    np.testing.assert_array_equal(of_weights[~rows], grads[0][~rows])
    np.testing.assert_array_equal(of_units[~rows], grads[1][~rows])
    assert not (np.isfinite(of_weights[rows]).all() and np.isfinite(of_units[rows]).all())


@pytest.mark.parametrize("form", ["padded", "blocks"])
def test_lots_are_consecutive_and_not_too_large(form):
    widths, members = [1, 2, 3, 200, 150, 400, 1000], [1, 1, 40, 1, 2, 1, 1]
    sizes = divide(form, widths, members, 10)
    assert sum(sizes) == len(widths)
    first = 0
    for size in sizes:
        lot = range(first, first + size)
        networks = sum(members[g] for g in lot)
        if size > 1 and form == "padded":
            own = sum(members[g] * widths[g] for g in lot)
            assert networks * max(widths[g] for g in lot) <= MOST_PADDING * own
        elif size > 1:
            assert networks * 10 <= MOST_ROWS
        first += size
    assert 1 < len(sizes) < len(widths)
    assert divide(form, [10, 25, 50, 100, 150, 200], [1] * 6, 10) == [6]
