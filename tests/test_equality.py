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
from conftest import make_dataset, trials_of
from flax import nnx

from mlp_jax import MLP, Grid, Recipe, Trial, fit, sweep
from mlp_jax.machine.forms import CPU, FORMS
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layers import layers_of
from mlp_jax.networks.layouts import NAMES, make_layout
from mlp_jax.networks.models import parameter_key
from mlp_jax.networks.problem import Problem
from mlp_jax.tasks import TASKS
from mlp_jax.training import kernels
from mlp_jax.training.axes import numbers_of
from mlp_jax.training.epoch import (
    DROPOUT,
    begin,
    live_features,
    minibatches,
    relabelling,
    to_device,
    train_minibatches,
)
from mlp_jax.training.trials import initial_model, network_of

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
    Trial(7, "sigmoid", 1e-2, 0, dropout=0.4),
    Trial((9, 4), "relu", 1e-2, 0, dropout=0.2, schedule="cosine", warmup_steps=3),
    Trial(12, "relu", 1e-1, 0, optimizer="sgd", schedule="rsqrt", decay_steps=2, objective="squared-error"),
    Trial(12, "tanh", 1e-2, 0, schedule="steps", decay_steps=3, decay_factor=0.5, label_noise=0.5),
    Trial(
        7,
        "relu",
        3e-2,
        0,
        optimizer="sgd",
        momentum=0.9,
        schedule="linear",
        objective="squared-error",
        label_smoothing=0.1,
    ),
    Trial(7, "relu", 1e-2, 0, initialization="normal", init_scale=0.3, bias_initialization="pytorch", label_noise=0.2),
    Trial(5, "relu", 1e-2, 0, initialization="he", warmup_steps=4),
    Trial(7, "relu", 1e-1, 0, "sgd", 0.5, l2=0.1, clip=0.01),
    Trial((8, 6), "relu", 1e-3, 0, "lion", weight_decay=0.2),
    Trial((8, 6), "relu", 1e-2, 0, parametrization="mup", base_width=4, bias_initialization="pytorch"),
    Trial((8, 6), "relu", 1e-1, 0, parametrization="mup", base_width=4, optimizer="sgd", initialization="lecun"),
    Trial(8, "relu", 1e-2, 0, parametrization="mup", base_width=16, optimizer="adamw", weight_decay=0.3),
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
    networks = [network_of(point, dataset.outputs, True) for point in points]
    layout = make_layout(name, networks, problem_of(dataset, points, forms), [point.optimizer for point in points])
    data = to_device(list(dataset.splits.values()), layout.columns)
    trials = trials_of(layout, [points[i] for i in layout.order], dataset, recipe)
    numbers = numbers_of([points[i] for i in layout.order])
    numbers = {name: jnp.asarray(values, dtype) for name, values in numbers.items()}

    @jax.jit
    def init(key):
        params, frozen = layout.init(key, dtype)
        return layout.scaled(params, frozen, numbers["init_scale"]) if "init_scale" in numbers else (params, frozen)

    step = jax.jit(partial(train_minibatches, trials))

    def steps(seed, batches):
        params, frozen = init(parameter_key(seed))
        state = begin(trials, numbers, params)
        for number, batch in enumerate(batches):
            state, _ = step(state, numbers, root_key(seed), batch[None], jnp.int32(number), data)
            host = jax.tree.map(np.asarray, (state.params, frozen))
            yield {layout.order[slot]: layout.weights(*host, slot) for slot in range(layout.trials)}

    return steps


def plain_schedule(point, total):
    """The learning rate of a step, written out."""

    def rate(step):
        n = point.decay_steps
        factor = {
            "constant": lambda: 1.0,
            "cosine": lambda: 0.5 * (1 + jnp.cos(jnp.pi * step / total)),
            "linear": lambda: 1 - step / total,
            "rsqrt": lambda: 1 / jnp.sqrt(jnp.maximum(1, (step + 1) // n)),
            "steps": lambda: point.decay_factor ** (step // n),
        }[point.schedule]()
        warm = (step + 1) / point.warmup_steps if point.warmup_steps and step < point.warmup_steps else 1.0
        return point.learning_rate * factor * warm

    return rate


def plain_optimizer(point, recipe):
    """As a user of optax would write it, but for the learning rate, which the step says."""
    adam = {"b1": recipe.beta1, "b2": recipe.beta2, "eps": recipe.epsilon}
    momentum = point.momentum or None

    def make(learning_rate):
        sgd = optax.chain(
            optax.add_decayed_weights(point.weight_decay),
            optax.sgd(learning_rate, momentum, nesterov=point.optimizer == "nesterov"),
        )
        return {
            "adam": optax.adam(learning_rate, **adam),
            # The decay of µP is added by hand.
            "adamw": optax.adamw(
                learning_rate, **adam, weight_decay=0.0 if point.parametrization == "mup" else point.weight_decay
            ),
            "lion": optax.lion(learning_rate, recipe.beta1, recipe.beta2, weight_decay=point.weight_decay),
            "sgd": sgd,
            "nesterov": sgd,
        }[point.optimizer]

    def clipped(learning_rate):
        return optax.chain(optax.clip(point.clip), make(learning_rate))

    return optax.inject_hyperparams(clipped if point.clip else make)(learning_rate=point.learning_rate)


def mup_factors(point, layers):
    """Table 3 of Yang et al. (2022), as multiples of the base width: of a layer's kernel and its bias."""
    widths = layers_of(point.hidden_units)
    adaptive = point.optimizer.startswith("adam")
    for place in range(layers):
        into = widths[place - 1] / point.base_width if place else 1
        out = widths[place] / point.base_width if place < layers - 1 else 1
        if adaptive:
            yield (1.0 if place == 0 else 1 / into), 1.0  # input 1; hidden and output 1 / fan-in
        elif place == 0:
            yield out, out  # input: fan-out
        elif place < layers - 1:
            yield out / into, out  # hidden: 1 where the widths are equal
        else:
            yield 1 / into, 1.0


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

        def __call__(self, x, key):
            f = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh}[point.activation]
            for place, layer in enumerate(self.linear[:-1]):
                x = f(layer(x))
                if point.dropout:
                    u = jax.random.uniform(jax.random.fold_in(key, place), (x.shape[1], recipe.batch_size), dtype)
                    x = jnp.where((u >= point.dropout).T[: len(x)], x / (1 - point.dropout), 0)
            return self.linear[-1](x)

        @property
        def weights(self):
            pairs = zip(self.names, self.linear, strict=True)
            return {s: v[...] for names, layer in pairs for s, v in zip(names, (layer.kernel, layer.bias), strict=True)}

    def loss(model, x, y, key):
        out = model(x, key)
        if dataset.task == "regression":
            mean = jnp.mean((out - y) ** 2)
        elif dataset.task == "binary" and point.objective == "squared-error":
            mean = jnp.mean((out[:, 0] - (1 - smoothing) * (2 * y.astype(dtype) - 1)) ** 2)
        elif dataset.task == "binary":
            target = (1 - smoothing) * y.astype(dtype) + smoothing / 2
            mean = optax.sigmoid_binary_cross_entropy(out[:, 0], target).mean()
        else:
            target = optax.smooth_labels(jax.nn.one_hot(y, k, dtype=dtype), smoothing)
            squared = point.objective == "squared-error"
            mean = jnp.mean((out - target) ** 2) if squared else optax.softmax_cross_entropy(out, target).mean()
        penalty = sum(jnp.sum(layer.kernel[...] ** 2) for layer in model.linear)
        return mean + point.l2 / 2 * penalty

    optimizer, mup = plain_optimizer(point, recipe), point.parametrization == "mup"
    rate = plain_schedule(point, recipe.epochs * -(-len(dataset.train) // recipe.batch_size))

    def scaled(updates, params, learning_rate):
        factors = mup_factors(point, len(params["linear"]))
        for place, (kernel, bias) in enumerate(factors):
            layer, own = updates["linear"][place], params["linear"][place]
            for name, factor in (("kernel", kernel), ("bias", bias)):
                decay = learning_rate * point.weight_decay * own[name].get_value()
                layer[name].set_value(factor * layer[name].get_value() - decay)
        return updates

    @nnx.jit
    def step(model, state, x, y, key, learning_rate):
        gradients = nnx.grad(loss)(model, x, y, key)
        state = state._replace(hyperparams={"learning_rate": learning_rate})
        params = nnx.state(model, nnx.Param)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradients, state, params)
        if mup:
            updates = scaled(updates, params, learning_rate)
        nnx.update(model, optax.apply_updates(params, updates))
        return state

    def steps(seed, batches):
        start = initial_model(point._replace(seed=seed), (dataset.features,), k, task=dataset.task, dtype=dtype)
        model = Plain(start.weights)
        state = optimizer.init(nnx.state(model, nnx.Param))
        targets, examples = jnp.asarray(dataset.train.targets), len(dataset.train)
        if point.label_noise:
            new = relabelling(root_key(seed), examples, examples, max(2, k), dtype)
            targets = jnp.where(new.drawn < point.label_noise, new.label.astype(targets.dtype), targets)
        for number, batch in enumerate(batches):
            rows = batch[batch < examples]
            key = jax.random.fold_in(jax.random.fold_in(root_key(seed), DROPOUT), number)
            x, y = dataset.train.features[rows], targets[rows]
            state = step(model, state, jnp.asarray(x, dtype), y, key, jnp.asarray(rate(number), dtype))
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
        points = [point for point in points if not point.label_smoothing and not point.label_noise]
    assert len(live_features(dataset.train.features)) == dataset.features - 2
    recipe = Recipe(epochs=epochs, batch_size=16)  # 70 examples: 4 minibatches of 16, one of 6
    trained = {name: layout_trainer(name, points, dataset, recipe, dtype, forms) for name in layouts}
    alone = [module_trainer(point, dataset, recipe, dtype) for point in points]
    for seed in (0, 5):
        batches = np.concatenate([minibatches(root_key(seed), epoch, 70, recipe.batch_size) for epoch in range(epochs)])
        jax.config.update("jax_disable_most_optimizations", True)  # of the plain form, which takes most of the time
        expected = [list(train(seed, batches)) for train in alone]
        jax.config.update("jax_disable_most_optimizations", False)
        for name, train in trained.items():
            for step, found in enumerate(train(seed, batches)):
                for i, point in enumerate(points):
                    assert_close(found[i], expected[i][step], tolerance, f"{name}, step {step}, {point}, seed {seed}")


@pytest.mark.parametrize(
    ("task", "points", "layouts"),
    [
        ("multiclass", POINTS, ("packed",)),  # all recipes
        *(pytest.param(task, POINTS, NAMES, marks=pytest.mark.slow) for task in TASKS),
    ],
    ids=lambda value: len(value) if isinstance(value, tuple) else None,
)
def test_layouts_follow_the_network_alone_in_float64(task, points, layouts, float64):
    lockstep(task, points, jnp.float64, 1e-9, layouts=layouts)


@pytest.mark.parametrize(
    ("backend", "task"),
    [
        pytest.param("gpu", "multiclass", marks=pytest.mark.slow),
        pytest.param("tpu", "multiclass", marks=pytest.mark.slow),
        pytest.param("gpu", "regression", marks=pytest.mark.slow),
        pytest.param("tpu", "binary", marks=pytest.mark.slow),
    ],
)
def test_the_forms_of_accelerators_follow_the_network_alone_in_float64(task, backend, float64):
    points = POINTS[::2] if task == "multiclass" else POINTS
    lockstep(task, points, jnp.float64, 1e-9, epochs=1, layouts=("packed",), forms=FORMS[backend])


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_the_forms_of_accelerators_follow_the_network_alone_in_float32(backend):
    """A GPU's kernels interpreted, as a CPU has no compiler for them."""
    forms = FORMS[backend]
    forms = replace(forms, kernels="interpreted" if forms.kernels else "")
    lockstep("multiclass", ARTICLE[::3], jnp.float32, F32_TOLERANCE, epochs=1, layouts=("packed",), forms=forms)


@pytest.mark.slow
def test_kernels_follow_the_forms_that_xla_compiles(monkeypatch):
    """With every optimizer and number beside those that kernels train, and one minibatch that is not full."""
    dataset, recipe = make_dataset(), Recipe(batch_size=16)
    points = [point for point in POINTS if not point.weight_decay and not point.l2][::2]
    batches = minibatches(root_key(0), 0, 70, 16)
    forms = [replace(FORMS["gpu"], kernels=which) for which in ("", "interpreted")]
    calls = []
    kernel = kernels.adam_on_product
    monkeypatch.setattr(kernels, "adam_on_product", lambda *args: calls.append(args[2].shape) or kernel(*args))
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
    lockstep("multiclass", ARTICLE[::3], jnp.float32, F32_TOLERANCE)


@pytest.mark.parametrize(
    ("layout", "precision"),
    [
        ("packed", "bfloat16"),
        pytest.param("vmap", "bfloat16", marks=pytest.mark.slow),
        pytest.param("packed", "tensorfloat32", marks=pytest.mark.slow),
    ],
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
