"""Convolution: the layer, the model, and networks of it among others, each trained as if it were alone."""

import warnings
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import trials_of
from flax import nnx

from mlp_jax import ACTIVATIONS, CNN, MLP, Dataset, InputError, Model, Recipe, SweepWarning, Trial, evaluate, fit
from mlp_jax.networks.convolution import Conv, convolutional
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layers import Dense, init_network, parameter_count, perceptron, unit_rows, walk
from mlp_jax.networks.layouts import NAMES, make_layout
from mlp_jax.networks.models import by_symbol, model_from_weights, parameter_key
from mlp_jax.networks.problem import Problem
from mlp_jax.training.epoch import begin, live_features, minibatches, to_device, train_minibatches

RATES = (1e-2, 3e-3, 1e-2, 1e-3, 2e-2, 5e-3)


def some_networks(outputs):
    """Convolutional networks, equal ones and a narrower one, among perceptrons."""
    return (
        convolutional(3, outputs, "sigmoid"),
        perceptron((7,), outputs, "sigmoid"),
        convolutional(2, outputs, "sigmoid"),
        perceptron((), outputs, "sigmoid"),
        convolutional(3, outputs, "sigmoid"),
        perceptron((5, 4), outputs, "relu"),
    )


def images(shape=(6, 9), classes=3, examples=48, seed=0):
    """Noisy images whose class is where they are bright; their first column is always 0 in train."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, examples)
    x = rng.uniform(size=(examples, *shape))
    for i, label in enumerate(y):
        x[i, :, 2 * label + 1] += 1
    x[:, :, 0] = 0
    some = x[:20], y[:20]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "small .* example of ", SweepWarning)
        return Dataset.from_arrays(x, y, *some, x_validation=some[0], y_validation=some[1], name="small images")


def flax_layer(layer, params, dtype):
    """The layer as a user of Flax would write it."""
    channels = params["kernel"].shape[2]
    conv = nnx.Conv(
        channels,
        layer.units,
        (layer.kernel_size, layer.kernel_size),
        padding="SAME",
        use_bias=layer.use_bias,
        kernel_init=lambda *_: params["kernel"],
        bias_init=lambda *_: params["bias"],
        dtype=dtype,
        param_dtype=dtype,
        rngs=nnx.Rngs(0),
    )

    def apply(x):
        z = ACTIVATIONS[layer.activation](conv(x))
        return nnx.max_pool(z, (layer.pool,) * 2, (layer.pool,) * 2) if layer.pool > 1 else z

    return apply


def random_params(network, shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {name: jnp.asarray(rng.normal(size=each), dtype) / 2 for name, each in layer.shapes(before).items()}
        for layer, before in walk(network, shape)
    ]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv(4, "relu"), (6, 8, 3)),
        pytest.param(Conv(4, "gelu"), (6, 8, 3), marks=pytest.mark.slow),  # which is not monotone
        (Conv(3, "tanh", use_bias=False), (7, 5, 2)),  # whose last row and column are in no square
        pytest.param(Conv(2, "sigmoid", kernel_size=5, pool=3), (8, 10, 2), marks=pytest.mark.slow),
        (Conv(2, "relu", kernel_size=5, pool=1), (3, 2, 1)),  # smaller than what a unit sees
        pytest.param(Conv(2, "identity", kernel_size=1), (5, 4, 3), marks=pytest.mark.slow),
        pytest.param(Conv(1, "relu", kernel_size=3, pool=4), (11, 4, 1), marks=pytest.mark.slow),
    ],
)
def test_layer_is_flax_convolution_and_pooling(layer, shape, float64):
    (params,) = random_params((layer,), shape, jnp.float64)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, *shape)))
    found = jax.jit(layer.apply)(params, x)
    expected = jax.jit(lambda params, x: flax_layer(layer, params, jnp.float64)(x))(params, x)
    assert found.shape[1:] == layer.after(shape)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    weight = jnp.asarray(np.random.default_rng(2).normal(size=found.shape))

    def gradient(apply):
        return jax.jit(jax.grad(lambda params, x: jnp.sum(weight * apply(params, x)), argnums=(0, 1)))(params, x)

    expected = gradient(lambda params, x: flax_layer(layer, params, jnp.float64)(x))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-11), gradient(layer.apply), expected)


def test_an_image_without_channels_has_one():
    layer, shape = Conv(3, "relu"), (6, 4)
    assert layer.shapes(shape) == layer.shapes((*shape, 1)) == {"kernel": (3, 3, 1, 3), "bias": (3,)}
    (params,) = random_params((layer,), shape, jnp.float32)
    x = jax.random.normal(jax.random.key(0), (5, *shape))
    np.testing.assert_array_equal(layer.apply(params, x), layer.apply(params, x[..., None]))


def test_counts_parameters_and_multiplications():
    network = convolutional(16, 10)
    assert parameter_count(network, (28, 28)) == 16 * 10 + 32 * (16 * 9 + 1) + 10 * (49 * 32 + 1)
    counts = [layer.products(before) for layer, before in walk(network, (28, 28))]
    assert counts == [28 * 28 * 9 * 16, 14 * 14 * 9 * 16 * 32, 49 * 32 * 10]
    assert Conv(4).products((5, 7, 2)) == 4 * 6 * 9 * 2 * 4  # what is pooled away is not computed
    problem = Problem((28, 28), 10, True, tuple(range(784)))
    assert problem.operations(network) == 2 * (2 * counts[0] + 3 * counts[1] + 3 * counts[2])


def test_starts_glorot_uniform_with_zero_biases():
    network, shape = convolutional(30, 10), (8, 8, 3)
    params = init_network(network, shape, lambda place: unit_rows(parameter_key(0), place, jnp.float32))
    for (layer, before), each, fans in zip(
        walk(network, shape), params, (9 * 3 + 9 * 30, 9 * 30 + 9 * 60, 240 + 10), strict=True
    ):
        assert sum(layer.fans(before)) == fans
        limit = np.sqrt(6 / fans) if isinstance(layer, Conv) else np.sqrt(6 / (2 * 2 * 60 + 10))
        assert 0.98 * limit < np.abs(each["kernel"]).max() <= limit
        np.testing.assert_allclose(np.std(each["kernel"]), limit / np.sqrt(3), rtol=0.1)
        assert not np.any(each["bias"])


@pytest.mark.slow
def test_channels_start_as_the_first_ones_of_a_wider_network():
    few, many = (
        init_network(convolutional(m, 3), (8, 8), lambda place: unit_rows(parameter_key(1), place, jnp.float32))
        for m in (2, 5)
    )
    for place, fans in ((0, (9 * 3, 9 * 6)), (1, (9 * 6, 9 * 15))):
        own, wide = few[place]["kernel"], many[place]["kernel"]
        part = wide[tuple(slice(size) for size in own.shape)]
        np.testing.assert_allclose(own * np.sqrt(fans[0]), part * np.sqrt(fans[1]), rtol=1e-5)
        assert len(np.unique(wide)) == wide.size


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Conv(3, kernel_size=4), "kernel_size is 4: expected an odd number"),
        (lambda: Conv(3, kernel_size=0), "kernel_size"),
        (lambda: Conv(3, pool=0), "pool"),
        (lambda: convolutional(0, 3), "channels"),
        (lambda: convolutional(2, 3, "reluu"), "activation"),
        (lambda: CNN((12,), 2, 3, rngs=nnx.Rngs(0)), r"shape \(12,\): expected images"),
        (lambda: CNN((2, 2, 2, 2), 2, 3, rngs=nnx.Rngs(0)), "expected images"),
        (lambda: CNN((3, 9), 2, 3, rngs=nnx.Rngs(0)), "images of 1 × 4: expected at least 2 × 2"),
        (lambda: CNN((8, 0), 2, 3, rngs=nnx.Rngs(0)), "side of shape"),
        (lambda: CNN((8, 8), 2, 0, rngs=nnx.Rngs(0)), "outputs"),
        (lambda: CNN((8, 8), 2, 3, task="sorting", rngs=nnx.Rngs(0)), "task"),
        (
            lambda: make_layout("packed", [convolutional(2, 3)], Problem((12,), 3, True, tuple(range(12)))).init(
                parameter_key(0), jnp.float32
            ),
            "expected images",
        ),
    ],
)
def test_bad_networks_are_refused_in_one_line(make, says):
    with pytest.raises(InputError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


# Layouts


def layout_trainer(layout, dataset, recipe, rates, dtype):
    """A function that trains a layout step by step, and yields the weights of every network after each step."""
    data = to_device(list(dataset.splits.values()), layout.columns)
    trials = trials_of(layout, [Trial(0, "relu", rates[i], 0) for i in layout.order], dataset, recipe)
    numbers = {"learning_rate": jnp.asarray([rates[i] for i in layout.order], dtype)}
    step = jax.jit(partial(train_minibatches, trials))

    def steps(seed, batches):
        params, frozen = jax.jit(lambda key: layout.init(key, dtype))(parameter_key(seed))
        state = jax.jit(partial(begin, trials))(numbers, params)
        for number, batch in enumerate(batches):
            state, _ = step(state, numbers, root_key(seed), batch[None], jnp.int32(number), data)
            host = jax.tree.map(np.asarray, (state.params, frozen))
            yield {layout.order[slot]: layout.weights(*host, slot) for slot in range(layout.trials)}

    return steps


def alone_trainer(network, dataset, recipe, rate, dtype):
    """The same of a network alone, in plain Flax and optax."""
    k, shape = dataset.outputs, dataset.image_shape
    optimizer = optax.adam(rate, recipe.beta1, recipe.beta2, recipe.epsilon)

    def logits(params, x):
        for layer, each in zip(network, params, strict=True):
            if isinstance(layer, Dense):
                x = ACTIVATIONS[layer.activation](x.reshape(len(x), -1) @ each["kernel"] + each["bias"])
            else:
                x = flax_layer(layer, each, dtype)(x)
        return x

    def loss(params, x, y):
        return optax.softmax_cross_entropy(logits(params, x), jax.nn.one_hot(y, k, dtype=dtype)).mean()

    @jax.jit
    def step(params, state, x, y):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(jax.grad(loss)(params, x, y), state)
        return optax.apply_updates(params, updates), state

    def steps(seed, batches):
        key = parameter_key(seed)
        params = jax.jit(lambda: init_network(network, shape, lambda place: unit_rows(key, place, dtype)))()
        state = optimizer.init(params)
        for batch in batches:
            rows = batch[batch < len(dataset.train)]
            x = jnp.asarray(dataset.train.features[rows], dtype).reshape(len(rows), *shape, *(1,) * (len(shape) == 2))
            params, state = step(params, state, x, jnp.asarray(dataset.train.targets[rows]))
            yield by_symbol(network, params)

    return steps


def problem_of(dataset):
    return Problem(dataset.image_shape, dataset.outputs, True, live_features(dataset.train.features))


def assert_lockstep(networks, layouts, dataset, tolerance=1e-9):
    recipe, dtype = Recipe(batch_size=16), jnp.float64
    batches = minibatches(root_key(3), 0, len(dataset.train), recipe.batch_size)
    alone = [
        list(alone_trainer(network, dataset, recipe, rate, dtype)(3, batches))
        for network, rate in zip(networks, RATES, strict=False)
    ]
    for layout in layouts:
        for step, found in enumerate(layout_trainer(layout, dataset, recipe, RATES, dtype)(3, batches)):
            assert len(found) == len(networks)
            for i, weights in found.items():
                assert set(weights) == set(alone[i][step])
                for symbol, expected in alone[i][step].items():
                    assert weights[symbol].shape == expected.shape
                    apart = np.abs(weights[symbol] - np.asarray(expected)).max()
                    assert apart <= tolerance, f"step {step}, {networks[i]}: {symbol} differs by {apart:.3g}"


def test_layouts_follow_each_network_alone_in_float64(float64):
    dataset = images((6, 9, 2))
    assert len(live_features(dataset.train.features)) < dataset.features
    networks = some_networks(dataset.outputs)
    layouts = [make_layout(name, networks, problem_of(dataset)) for name in NAMES]
    assert [any(group.padded for _, packing in each.packings for group in packing.groups) for each in layouts] == [
        False,
        True,
    ]
    assert_lockstep(networks, layouts, dataset)


@pytest.mark.slow
def test_convolutional_networks_padded_by_the_packed_layout(float64, monkeypatch):
    """As where a grid has more widths than a packed layout compiles kernels for."""
    dataset = images()
    networks = [convolutional(m, dataset.outputs, "relu") for m in (3, 1, 2)]
    monkeypatch.setattr("mlp_jax.networks.layouts.MOST_GROUPS", 1)
    padded = make_layout("packed", networks, problem_of(dataset))
    ((_, packing),) = padded.packings
    assert len(packing.groups) == 1
    assert packing.groups[0].padded
    assert_lockstep(networks, [padded], dataset)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_convolutional_network_is_a_layout(name, float64):
    dataset = images()
    network = convolutional(2, dataset.outputs, "gelu", kernel_size=5)
    assert_lockstep([network], [make_layout(name, [network], problem_of(dataset))], dataset)


@pytest.mark.slow
def test_padding_neither_counts_nor_learns():
    networks = [convolutional(m, 3, "sigmoid") for m in (4, 2)]  # with f(0) = 1/2
    layout = make_layout("vmap", networks, Problem((6, 6), 3, True, tuple(range(36))))
    ((_, packing),) = layout.packings
    params, _ = jax.jit(partial(packing.init, dtype=jnp.float32))(parameter_key(0))
    logits = jax.jit(packing.logits)
    narrow = layout.order.index(1)
    x = jax.random.uniform(jax.random.key(1), (5, 36))
    weights = packing.weights(jax.tree.map(np.asarray, params), {}, narrow)
    alone = CNN.from_weights(weights, (6, 6), activation="sigmoid")(x)
    np.testing.assert_allclose(logits(params, x)[narrow], alone, atol=1e-6)
    # Of kernels, the weights of a network's own are not 0.
    padding = {
        key: (packing.owner[key] == narrow).reshape(-1, *(1,) * (values.ndim - 1)) & (np.asarray(values) == 0)
        for key, values in params.items()
        if key.startswith("kernel")
    }
    own = parameter_count(networks[1], (6, 6)) - sum(weights[bias].size for bias in ("c1", "c2", "c3"))
    assert sum(each.sum() for each in padding.values()) == 9 * 4 + 9 * 4 * 8 + 8 * 3 - own
    changed = {key: jnp.where(padding[key], 7, values) if key in padding else values for key, values in params.items()}
    np.testing.assert_allclose(logits(changed, x)[narrow], alone, atol=1e-6)
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(packing.logits(params, x)[narrow] ** 2)))(params)
    for key, each in padding.items():
        assert not np.any(np.asarray(gradients[key])[each])
        mine = (packing.owner[key] == narrow).reshape(-1, *(1,) * (each.ndim - 1)) & ~each
        assert np.any(np.asarray(gradients[key])[mine])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["packed", pytest.param("vmap", marks=pytest.mark.slow)])
def test_parts_of_a_layout_keep_their_rows(name):
    dataset = images()
    networks = some_networks(dataset.outputs)
    layout = make_layout(name, networks, problem_of(dataset))
    params, frozen = jax.jit(partial(layout.init, dtype=jnp.float32))(parameter_key(2))
    sizes = jax.tree.map(len, params)
    assert jax.tree.map(len, layout.owner) == sizes
    x = jax.random.uniform(jax.random.key(1), (4, len(layout.columns)))
    logits = jax.jit(layout.logits)(layout.merge(params, frozen), x)
    for slots in ([0], [1, 2, 4, 5]):
        part, rows = layout.part(slots), layout.rows_of(slots)
        kept = {key: {k: params[key][k][r] for k, r in each.items()} for key, each in rows.items()}
        still = {key: {k: frozen[key][k][rows[key][k]] for k in each if k in rows[key]} for key, each in frozen.items()}
        assert part.networks == tuple(layout.networks[slot] for slot in slots)
        found = jax.jit(part.logits)(part.merge(kept, still), x)
        np.testing.assert_allclose(found, logits[np.array(slots)], atol=1e-5)


@pytest.mark.slow
def test_only_the_trial_with_an_infinite_weight_is_not_finite():
    dataset = images()
    layout = make_layout("packed", some_networks(dataset.outputs), problem_of(dataset))
    params, _ = jax.jit(partial(layout.init, dtype=jnp.float32))(parameter_key(2))
    for key, owner in layout.owner["adam"].items():
        row = len(owner) // 2
        broken = {"adam": params["adam"] | {key: params["adam"][key].at[row].set(jnp.inf)}}
        np.testing.assert_array_equal(np.flatnonzero(~np.asarray(layout.finite(broken))), [owner[row]])


# The model


def test_model_computes_what_flax_computes():
    model = CNN((8, 6, 3), 2, 4, activation="tanh", rngs=nnx.Rngs(3))
    weights = {symbol: np.asarray(values) + 0.1 for symbol, values in model.weights.items()}
    assert list(weights) == ["A", "c1", "A2", "c2", "B", "c3"]
    assert [weights[symbol].shape for symbol in ("A", "A2", "B")] == [(3, 3, 3, 2), (3, 3, 2, 4), (2 * 1 * 4, 4)]
    model = CNN.from_weights(weights, (8, 6, 3), activation="tanh")
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3)).astype(np.uint8)
    z = jnp.asarray(x, jnp.float32) / 255
    for layer, kernel, bias in zip(model.network, ("A", "A2"), ("c1", "c2"), strict=False):
        z = flax_layer(layer, {"kernel": weights[kernel], "bias": weights[bias]}, jnp.float32)(z)
    expected = z.reshape(5, -1) @ weights["B"] + weights["c3"]
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    np.testing.assert_allclose(model(x.reshape(5, -1)), expected, atol=1e-5)  # as a Split has them
    np.testing.assert_allclose(model.predict_proba(x), jax.nn.softmax(expected), atol=1e-5)
    np.testing.assert_array_equal(model.predict(x), expected.argmax(axis=1))
    with pytest.raises(InputError, match=r"examples have shape \(8, 6\): expected \(8, 6, 3\) or \(144,\)"):
        model(x[..., 0])


def test_model_tells_its_form():
    model = CNN((8, 6), 3, 4, use_bias=False, kernel_size=5, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert isinstance(model, Model)
    assert (model.features, model.outputs, model.hidden_units, model.activation) == (48, 4, (3, 6), "relu")
    assert set(model.weights) == {"A", "A2", "B"}
    assert {str(each.dtype) for each in model.weights.values()} == {"bfloat16"}
    again = CNN.from_weights(model.weights, (8, 6))
    assert again.network == model.network
    jax.tree.map(np.testing.assert_array_equal, again.weights, model.weights)
    same = CNN((8, 6), 3, 4, use_bias=False, kernel_size=5, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    jax.tree.map(np.testing.assert_array_equal, same.weights, model.weights)


def test_weights_tell_which_model_they_are_of():
    conv = CNN((8, 8), 2, 3, activation="tanh", rngs=nnx.Rngs(0))
    dense = MLP(5, 2, 3, activation="tanh", rngs=nnx.Rngs(0))
    found = model_from_weights(conv.weights, activation="tanh", shape=(8, 8))
    assert isinstance(found, CNN)
    x = np.random.default_rng(0).uniform(size=(4, 64)).astype(np.float32)
    np.testing.assert_array_equal(found(x), conv(x))
    assert isinstance(model_from_weights(dense.weights, activation="tanh"), MLP)
    with pytest.raises(InputError, match="expected the shape of its images"):
        model_from_weights(conv.weights, activation="tanh")
    with pytest.raises(InputError, match=r"B has shape .* expected"):
        model_from_weights(conv.weights, activation="tanh", shape=(12, 8))
    with pytest.raises(InputError, match="expected kernels of two convolutions"):
        CNN.from_weights(dense.weights, (8, 8))
    with pytest.raises(InputError, match="A2 has shape"):
        CNN.from_weights(conv.weights | {"A2": conv.weights["A2"][..., :3]}, (8, 8))
    with pytest.raises(InputError, match=r"A has shape .* expected a matrix"):
        MLP.from_weights(conv.weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("packed", "float32"),
        pytest.param("packed", "bfloat16", marks=pytest.mark.slow),
        pytest.param("vmap", "float32", marks=pytest.mark.slow),
    ],
)
def test_fit_follows_the_layouts(name, precision):
    dataset = images()
    recipe, rate = Recipe(epochs=2, batch_size=16, precision=precision), 1e-2
    start = CNN(dataset.image_shape, 2, dataset.outputs, rngs=nnx.Rngs(0))
    alone = fit(start, dataset.train, learning_rate=rate, recipe=recipe).model.weights
    batches = np.concatenate([minibatches(root_key(0), epoch, len(dataset.train), 16) for epoch in range(2)])
    layout = make_layout(name, [start.network], replace(problem_of(dataset), precision=precision))
    *_, found = layout_trainer(layout, dataset, recipe, [rate], jnp.float32)(0, batches)
    for symbol, values in alone.items():
        np.testing.assert_allclose(found[0][symbol], values, atol=2e-4)


@pytest.mark.slow
def test_learns_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x.reshape(-1, 8, 8)[order] / 16, y[order]
    train, validation, test = slice(1200), slice(1200, 1500), slice(1500, None)
    dataset = Dataset.from_arrays(
        x[train], y[train], x[test], y[test], x_validation=x[validation], y_validation=y[validation]
    )
    model = CNN(dataset.image_shape, 8, dataset.outputs, rngs=nnx.Rngs(0))
    before = evaluate(model, dataset.test)
    trained = fit(model, dataset.train, dataset.validation, learning_rate=1e-2, recipe=Recipe(epochs=8, batch_size=64))
    after = evaluate(trained.model, dataset.test)
    assert before.score < 0.3
    assert after.score > 0.95
    assert trained.history.validation_score[-1] > 0.95
    said = trained.model.predict(dataset.test.features)
    np.testing.assert_allclose(after.score, np.mean(said == dataset.test.targets), atol=0.005)
