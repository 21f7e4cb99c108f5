"""Every trial is trained as if it were alone: in every layout, at every step, every parameter.

Float64 proves the algorithm (1e-9 absolute, on parameters of order 1: a rounding error of 1e-16 a step cannot
grow to that in the steps taken here, a wrong term cannot stay under it). In float32 the layouts sum in different
orders, and Adam divides by the root of a mean square, so that a gradient near 0 turns rounding into a visible step of
at most the learning rate. Hence 2e-4 absolute, after 15 steps at learning rates up to 1e-2.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import make_dataset
from flax import nnx

from mlp_jax import MLP, Grid, Recipe, Trial, fit, sweep
from mlp_jax.machine.forms import CPU, FORMS
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layers import layers_of, perceptron
from mlp_jax.networks.layouts import NAMES, Problem, make_layout
from mlp_jax.networks.models import parameter_key
from mlp_jax.tasks import TASKS, get_task
from mlp_jax.training import fused
from mlp_jax.training.axes import NUMBERS
from mlp_jax.training.epoch import Trials, live_features, minibatches, to_device, train_minibatches

# Each with numbers of its own, all of them in one replica.
POINTS = (
    Trial(7, "sigmoid", 1e-2, 0),
    Trial(30, "relu", 1e-2, 0, weight_decay=0.1, optimizer="adamw"),
    Trial(1, "sigmoid", 1e-3, 0, l2=0.1),
    Trial(12, "tanh", 3e-3, 0),
    Trial(0, "sigmoid", 1e-2, 0),
    Trial(7, "relu", 1e-1, 0, momentum=0.9, optimizer="sgd"),
    Trial(7, "relu", 1e-3, 0, label_smoothing=0.2),
    Trial((9, 4), "relu", 1e-2, 0),
    Trial((9, 4), "relu", 2e-2, 0, momentum=0.5, weight_decay=0.01, optimizer="nesterov"),
    Trial((5, 6, 3), "tanh", 1e-3, 0),
    Trial(0, "relu", 1e-1, 0, optimizer="sgd"),
)
ARTICLE = tuple(Trial(m, f, rate, 0) for m in (7, 30, 1, 0) for f in ("sigmoid", "relu") for rate in (1e-2,))
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


def problem_of(dataset, points, forms=CPU):
    live = live_features(dataset.train.features)
    if any(point.weight_decay or point.l2 for point in points):
        live = tuple(range(dataset.features))
    return Problem((dataset.features,), dataset.outputs, True, live, forms=forms)


def layout_trainer(name, points, dataset, recipe, dtype, forms=CPU):
    """A function that trains a layout step by step, and yields the weights of every point after each step."""
    networks = [perceptron(layers_of(point.hidden_units), dataset.outputs, point.activation) for point in points]
    layout = make_layout(name, networks, problem_of(dataset, points, forms), [point.optimizer for point in points])
    data = to_device(list(dataset.splits.values()), layout.columns)
    init = jax.jit(lambda key: layout.init(key, dtype))
    task, examples = get_task(dataset.task), len(dataset.train)
    trials = Trials(layout.trials, layout.trained, layout.logits, layout.by_row, layout.kernels, forms, layout.products)
    numbers = {}
    for number in NUMBERS:
        values = np.array([getattr(points[i], number) for i in layout.order])
        if values.any():
            numbers[number] = jnp.asarray(values, dtype)
    step = jax.jit(partial(train_minibatches, trials, task, recipe, examples))

    def steps(seed, batches):
        params, frozen = init(parameter_key(seed))
        state = trials.begin(recipe, numbers, params)
        for batch in batches:
            state, _ = step(state, numbers, batch[None], data)
            host = jax.tree.map(np.asarray, (state.params, frozen))
            yield {layout.order[slot]: layout.weights(*host, slot) for slot in range(layout.trials)}

    return steps


def plain_optimizer(point, recipe):
    """As a user of optax would write it."""
    adam = {"b1": recipe.beta1, "b2": recipe.beta2, "eps": recipe.epsilon}
    rate, momentum = point.learning_rate, point.momentum or None
    sgd = optax.chain(
        optax.add_decayed_weights(point.weight_decay),
        optax.sgd(rate, momentum, nesterov=point.optimizer == "nesterov"),
    )
    return {
        "adam": optax.adam(rate, **adam),
        "adamw": optax.adamw(rate, **adam, weight_decay=point.weight_decay),
        "sgd": sgd,
        "nesterov": sgd,
    }[point.optimizer]


def module_trainer(point, dataset, recipe, dtype):
    """A function that trains a network alone, in plain NNX and optax; yields its weights after each step."""
    smoothing, k = point.label_smoothing, dataset.outputs

    class Plain(nnx.Module):
        def __init__(self, weights):
            names = sorted((s for s in weights if s[0] in "AB"), key=lambda s: (s[0], int(s[1:] or 1)))
            biases = [f"c{i + 1}" for i in range(len(names))]
            self.names = tuple(zip(names, biases, strict=True))
            self.linear = nnx.List(
                [
                    nnx.Linear(
                        *weights[w].shape,
                        dtype=dtype,
                        param_dtype=dtype,
                        kernel_init=lambda *_, w=w: weights[w],
                        bias_init=lambda *_, c=c: weights[c],
                        rngs=nnx.Rngs(0),
                    )
                    for w, c in self.names
                ]
            )

        def __call__(self, x):
            f = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh}[point.activation]
            for layer in self.linear[:-1]:
                x = f(layer(x))
            return self.linear[-1](x)

        @property
        def weights(self):
            pairs = zip(self.names, self.linear, strict=True)
            return {s: v[...] for names, layer in pairs for s, v in zip(names, (layer.kernel, layer.bias), strict=True)}

    def loss(model, x, y):
        out = model(x)
        if dataset.task == "regression":
            mean = jnp.mean((out - y) ** 2)
        elif dataset.task == "binary":
            target = (1 - smoothing) * y.astype(dtype) + smoothing / 2
            mean = optax.sigmoid_binary_cross_entropy(out[:, 0], target).mean()
        else:
            target = optax.smooth_labels(jax.nn.one_hot(y, k, dtype=dtype), smoothing)
            mean = optax.softmax_cross_entropy(out, target).mean()
        penalty = sum(jnp.sum(layer.kernel[...] ** 2) for layer in model.linear)
        return mean + point.l2 / 2 * penalty

    optimizer = plain_optimizer(point, recipe)

    @nnx.jit
    def step(model, state, x, y):
        gradients = nnx.grad(loss)(model, x, y)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradients, state, nnx.state(model, nnx.Param))
        nnx.update(model, optax.apply_updates(nnx.state(model, nnx.Param), updates))
        return state

    def steps(seed, batches):
        start = MLP(
            dataset.features,
            point.hidden_units,
            dataset.outputs,
            activation=point.activation,
            task=dataset.task,
            dtype=dtype,
            rngs=nnx.Rngs(seed),
        )
        model = Plain(start.weights)
        state = optimizer.init(nnx.state(model, nnx.Param))
        for batch in batches:
            rows = batch[batch < len(dataset.train)]
            x, y = dataset.train.features[rows], dataset.train.targets[rows]
            state = step(model, state, jnp.asarray(x, dtype), jnp.asarray(y))
            yield model.weights

    return steps


def assert_close(found, expected, tolerance, what):
    assert set(found) == set(expected), what
    for symbol in expected:
        difference = np.abs(np.asarray(found[symbol]) - np.asarray(expected[symbol])).max()
        assert difference <= tolerance, f"{what}: {symbol} differs by {difference:.3g}"


def lockstep(task, points, dtype, tolerance, epochs=2, layouts=NAMES, forms=CPU):
    dataset = make_dataset(task)
    if task == "regression":
        points = [point for point in points if not point.label_smoothing]
    assert len(live_features(dataset.train.features)) == dataset.features - 2
    recipe = Recipe(batch_size=16)  # 70 examples: 4 minibatches of 16, one of 6
    trained = {name: layout_trainer(name, points, dataset, recipe, dtype, forms) for name in layouts}
    alone = [module_trainer(point, dataset, recipe, dtype) for point in points]
    for seed in (0, 5):
        batches = np.concatenate([minibatches(root_key(seed), epoch, 70, recipe.batch_size) for epoch in range(epochs)])
        expected = [list(train(seed, batches)) for train in alone]
        for name, train in trained.items():
            for step, found in enumerate(train(seed, batches)):
                for i, point in enumerate(points):
                    assert_close(found[i], expected[i][step], tolerance, f"{name}, step {step}, {point}, seed {seed}")


@pytest.mark.parametrize("task", TASKS)
def test_layouts_follow_the_network_alone_in_float64(task, float64):
    lockstep(task, POINTS, jnp.float64, 1e-9)


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
@pytest.mark.parametrize("task", TASKS)
def test_the_forms_of_accelerators_follow_the_network_alone_in_float64(task, backend, float64):
    lockstep(task, POINTS, jnp.float64, 1e-9, layouts=("packed",), forms=FORMS[backend])


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_the_forms_of_accelerators_follow_the_network_alone_in_float32(backend):
    """A GPU's kernels interpreted, as a CPU has no compiler for them."""
    forms = FORMS[backend]
    forms = replace(forms, kernels="interpreted" if forms.kernels else "")
    lockstep("multiclass", ARTICLE, jnp.float32, F32_TOLERANCE, layouts=("packed",), forms=forms)


def test_kernels_follow_the_forms_that_xla_compiles(monkeypatch):
    """With every optimizer and number beside those that kernels train, and one minibatch that is not full."""
    dataset, recipe = make_dataset(), Recipe(batch_size=16)
    points = [point for point in POINTS if not point.weight_decay and not point.l2]
    batches = minibatches(root_key(0), 0, 70, 16)
    forms = [replace(FORMS["gpu"], kernels=kernels) for kernels in ("", "interpreted")]
    calls = []
    kernel = fused.adam_on_product
    monkeypatch.setattr(fused, "adam_on_product", lambda *args: calls.append(args[2].shape) or kernel(*args))
    plain, own = (
        list(layout_trainer("packed", points, dataset, recipe, jnp.float32, each)(0, batches)) for each in forms
    )
    assert len(calls) == 1  # traced once, of one of the two
    for step, (expected, found) in enumerate(zip(plain, own, strict=True)):
        for i, point in enumerate(points):
            assert_close(found[i], expected[i], F32_TOLERANCE, f"step {step}, {point}")


def test_packed_layout_follows_the_textbook(float64):
    """Not our own code twice: forward pass, backpropagation and Adam written out in NumPy."""
    dataset = make_dataset()
    recipe = Recipe(batch_size=16, epsilon=1e-3)  # an epsilon that shows where it is added
    points = [Trial(m, f, 1e-2, 2) for m in (7, 1, 0) for f in ("sigmoid", "relu", "tanh")]
    batches = np.concatenate([minibatches(root_key(2), epoch, 70, 16) for epoch in range(3)])
    found = list(layout_trainer("packed", points, dataset, recipe, jnp.float64)(2, batches))
    x, y = dataset.train.features.astype(np.float64), dataset.train.targets
    for i, point in enumerate(points):
        start = MLP(12, point.hidden_units, 3, dtype=jnp.float64, rngs=nnx.Rngs(2)).weights
        for step, expected in enumerate(numpy_trial(start, point.activation, x, y, batches, 1e-2, recipe)):
            assert_close(found[step][i], expected, 1e-9, f"step {step}, {point}")


def test_layouts_follow_the_network_alone_in_float32():
    lockstep("multiclass", ARTICLE, jnp.float32, F32_TOLERANCE)


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
