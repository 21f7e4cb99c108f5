"""Every trial is trained as if it were alone: in every layout, at every step, every parameter.

Float64 proves the algorithm (1e-9 absolute, on parameters of order 1: a rounding error of 1e-16 a step cannot
grow to that in the steps taken here, a wrong term cannot stay under it). In float32 the layouts sum in different
orders, and Adam divides by the root of a mean square, so that a gradient near 0 turns rounding into a visible step of
at most the learning rate. Hence 2e-4 absolute, after 15 steps at learning rates up to 1e-2.
"""

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_dataset
from flax import nnx

from mlp_jax import MLP, Grid, Recipe, fit, sweep
from mlp_jax.layouts import Architecture, PackedLayout, Problem, make_layout
from mlp_jax.models import initial_weights, parameter_key
from mlp_jax.tasks import TASKS, get_task
from mlp_jax.training import State, live_features, minibatches, to_device, train_minibatches

ARCHITECTURES = (
    Architecture("sigmoid", 7),
    Architecture("relu", 30),
    Architecture("sigmoid", 1),
    Architecture("tanh", 12),
    Architecture("sigmoid", 0),
    Architecture("relu", 7),
    Architecture("sigmoid", 12),
)
F32_TOLERANCE = 2e-4


pytestmark = pytest.mark.usefixtures("optimized")  # what is compared here is what users run


def numpy_trial(weights, activation, x, y, batches, learning_rate, recipe):
    """One trial by the maths of a textbook: forward, backpropagation, Adam; yields the weights after each step."""
    w = {k: np.array(v, np.float64) for k, v in weights.items()}
    m = {k: np.zeros_like(v) for k, v in w.items()}
    v = {k: np.zeros_like(u) for k, u in w.items()}
    f, slope = {
        "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), lambda a, z: z * (1 - z)),
        "tanh": (np.tanh, lambda a, z: 1 - z**2),
        "relu": (lambda a: np.maximum(a, 0), lambda a, z: (a > 0).astype(float)),
    }[activation]
    for step, batch in enumerate(batches, start=1):
        batch = batch[batch < len(x)]
        xb, target = x[batch], np.eye(3)[y[batch]]
        a = xb @ w["A"] + w["c1"]
        z = f(a) if "B" in w else None
        out = a if z is None else z @ w["B"] + w["c2"]
        p = np.exp(out - out.max(axis=1, keepdims=True))
        delta = (p / p.sum(axis=1, keepdims=True) - target) / len(batch)
        g = {}
        if z is not None:
            g["B"], g["c2"] = z.T @ delta, delta.sum(axis=0)
            delta = delta @ w["B"].T * slope(a, z)
        g["A"], g["c1"] = xb.T @ delta, delta.sum(axis=0)
        for k in w:
            m[k] = recipe.beta1 * m[k] + (1 - recipe.beta1) * g[k]
            v[k] = recipe.beta2 * v[k] + (1 - recipe.beta2) * g[k] ** 2
            mean, square = m[k] / (1 - recipe.beta1**step), v[k] / (1 - recipe.beta2**step)
            w[k] = w[k] - learning_rate * mean / (np.sqrt(square) + recipe.epsilon)
        yield w


def layout_trainer(layout, dataset, recipe, dtype):
    """A function that trains a layout step by step, and yields the weights of every slot after each step."""
    data = to_device(list(dataset.splits.values()), layout.columns)
    init = jax.jit(lambda key: layout.init(key, dtype))
    task, examples = get_task(dataset.task), len(dataset.train)
    step = jax.jit(partial(train_minibatches, layout.logits, task, recipe, examples, layout.trained))

    def steps(learning_rate, seed, batches):
        params, frozen = init(parameter_key(seed))
        state = State(params, recipe.optimizer(learning_rate).init(params))
        for batch in batches:
            state, _ = step(state, jnp.asarray(learning_rate, dtype), batch[None], data)
            host = jax.tree.map(np.asarray, (state.params, frozen))
            yield {slot: layout.weights(*host, i) for i, slot in enumerate(layout.slots)}

    return steps


def module_trainer(architecture, dataset, recipe, dtype):
    """A function that trains an MLP alone, step by step, and yields its weights after each step."""
    data = to_device(list(dataset.splits.values()))
    task, examples = get_task(dataset.task), len(dataset.train)

    def make(seed):
        return MLP(
            dataset.features,
            architecture.hidden_units,
            dataset.outputs,
            activation=architecture.activation,
            task=dataset.task,
            dtype=dtype,
            rngs=nnx.Rngs(seed),
        )

    graphdef = nnx.graphdef(make(0))

    def logits(params, x):
        return nnx.merge(graphdef, params)(x)[None]

    step = jax.jit(partial(train_minibatches, logits, task, recipe, examples, dataset.features))

    def steps(learning_rate, seed, batches):
        params = nnx.state(make(seed))
        state = State(params, recipe.optimizer(learning_rate).init(params))
        for batch in batches:
            state, _ = step(state, jnp.asarray(learning_rate, dtype), batch[None], data)
            yield nnx.merge(graphdef, state.params).weights

    return steps


def assert_close(found, expected, tolerance, what):
    assert set(found) == set(expected), what
    for symbol in expected:
        difference = np.abs(np.asarray(found[symbol]) - np.asarray(expected[symbol])).max()
        assert difference <= tolerance, f"{what}: {symbol} differs by {difference:.3g}"


def lockstep(task, dtype, tolerance, epochs=3):
    dataset = make_dataset(task)
    problem = Problem(dataset.features, dataset.outputs, True, live_features(dataset.train.features))
    assert len(problem.live) == dataset.features - 2
    recipe = Recipe(batch_size=16)  # 70 examples: 4 minibatches of 16, one of 6
    forms = {
        name: layout_trainer(make_layout(name, ARCHITECTURES, problem), dataset, recipe, dtype)
        for name in ("packed", "vmap")
    }
    alone = {a: module_trainer(a, dataset, recipe, dtype) for a in ARCHITECTURES}
    for replica in itertools.product((1e-2, 1e-3), (0, 5)):
        orders = [minibatches(jax.random.key(replica[1]), epoch, 70, recipe.batch_size) for epoch in range(epochs)]
        batches = np.concatenate(orders)
        expected = {a: train(*replica, batches) for a, train in alone.items()}
        for name, train in forms.items():
            expected = {a: list(steps) for a, steps in expected.items()}
            for step, found in enumerate(train(*replica, batches)):
                for a in ARCHITECTURES:
                    where = f"{name}, step {step}, {a}, (learning rate, seed) {replica}"
                    assert_close(found[a], expected[a][step], tolerance, where)


@pytest.mark.parametrize("task", TASKS)
def test_layouts_follow_the_model_alone_in_float64(task, float64):
    lockstep(task, jnp.float64, 1e-9)


def test_packed_layout_follows_the_textbook(float64):
    """Not our own code twice: forward pass, backpropagation and Adam written out in NumPy."""
    dataset = make_dataset()
    problem = Problem(dataset.features, dataset.outputs, True, live_features(dataset.train.features))
    recipe = Recipe(batch_size=16, epsilon=1e-3)  # an epsilon that shows where it is added
    batches = np.concatenate([minibatches(jax.random.key(2), epoch, 70, 16) for epoch in range(3)])
    found = list(layout_trainer(PackedLayout(ARCHITECTURES, problem), dataset, recipe, jnp.float64)(1e-2, 2, batches))
    x, y = dataset.train.features.astype(np.float64), dataset.train.targets
    for a in ARCHITECTURES:
        start = initial_weights(parameter_key(2), 12, a.hidden_units, 3, True, jnp.float64)
        for step, expected in enumerate(numpy_trial(start, a.activation, x, y, batches, 1e-2, recipe)):
            assert_close(found[step][a], expected, 1e-9, f"step {step}, {a}")


def test_layouts_follow_the_model_alone_in_float32():
    lockstep("multiclass", jnp.float32, F32_TOLERANCE)


@pytest.mark.parametrize(
    ("layout", "precision"), [("packed", "bfloat16"), ("vmap", "bfloat16"), ("packed", "tensorfloat32")]
)
def test_trials_follow_the_model_alone_in_lower_precision(layout, precision):
    """The same rounding in every form: they part by far less than they part from float32 (bfloat16 has 8 bits)."""
    dataset, rate = make_dataset(), 1e-2
    recipe = Recipe(epochs=2, batch_size=16, precision=precision)
    result = sweep(Grid((0, 7), ("sigmoid",), (rate,), 1), dataset, recipe=recipe, layout=layout)
    exact = sweep(Grid((0, 7), ("sigmoid",), (rate,), 1), dataset, recipe=replace(recipe, precision="float32"))
    for trial in result.trials:
        start = MLP(dataset.features, trial.hidden_units, dataset.outputs, rngs=nnx.Rngs(0))
        alone = fit(start, dataset.train, learning_rate=rate, recipe=recipe).model.weights
        assert_close(result.weights(trial), alone, 1e-3, trial)
        distance = np.abs(result.weights(trial)["A"] - exact.weights(trial)["A"]).mean()
        if precision == "bfloat16":
            assert 1e-5 < distance < rate
        else:
            assert distance < 1e-3
