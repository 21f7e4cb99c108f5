"""Keras 3 trains the article's model to the same weights: same initial weights, same minibatches, same recipe.

One thing is not the same. Keras adds Adam's ε to √v, v not yet corrected for its start at 0; optax, as Kingma and Ba's
Algorithm 1, adds it to √v̂ = √(v / (1 − β2ᵗ)). So the two can agree to rounding only where ε is too small to matter.
1e-30 is: of the √v that are not 0, the least that an epoch meets is about 1e-12 (pixels that are hardly ever lit), and
1e-30 lies below its rounding even in float64. It must not be 0, nor too small for a normal number of float32: pixels
that are 0 in every training image keep m = v = 0, and only ε makes their update 0 / (0 + ε) = 0 rather than NaN. The
last test puts ε back and asks what its place does to the accuracy.

The largest differences stated below were seen over several seeds, with Keras's loss computed from the probabilities, as
here and in the article, and from the logits.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mlp_jax import MLP, Grid, Recipe, Trial, evaluate, fit, load_dataset, sweep
from mlp_jax.training.epoch import minibatches

pytestmark = [
    pytest.mark.peers,
    # Keras's own get_weights, with NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

SYMBOLS = ("A", "c1", "B", "c2")  # in the order of Keras's get_weights


@pytest.fixture(scope="module")
def keras():
    # Imported here, not above: pytest imports every test file, whether or not its tests are wanted.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "KERAS_BACKEND", "jax")
        module = pytest.importorskip("keras", reason="needs Keras 3: python -m pip install 'mlp-jax[peers]'")
    if module.backend.backend() != "jax":
        pytest.skip(f"Keras was already imported, with the backend {module.backend.backend()}")
    return module


@pytest.fixture(scope="module")
def mnist():
    return load_dataset("mnist")


def set_keras_dtype(keras, dtype):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)  # it is made from floatx once, at its first use


def keras_weights(keras, start, train, seed, recipe):
    """Train the article's Keras model from ``start``'s weights on the minibatches of that seed."""
    dtype = np.asarray(start.weights["A"]).dtype.name
    usual = keras.config.floatx()
    set_keras_dtype(keras, dtype)
    # Keras relies on JAX's own rules of promotion, which the other tests forbid.
    try:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            model = keras.Sequential(
                [
                    keras.Input((start.weights["A"].shape[0],)),
                    keras.layers.Dense(start.hidden_units, activation="sigmoid"),
                    keras.layers.Dense(start.weights["B"].shape[1], activation="softmax"),
                ]
            )
            adam = keras.optimizers.Adam(1e-3, recipe.beta1, recipe.beta2, recipe.epsilon)
            model.compile(optimizer=adam, loss="sparse_categorical_crossentropy")
            model.set_weights([np.asarray(start.weights[symbol]) for symbol in SYMBOLS])
            x = train.features.astype(dtype) / 255
            for epoch in range(recipe.epochs):
                order = np.asarray(minibatches(jax.random.key(seed), epoch, len(train), recipe.batch_size)).ravel()
                order = order[order < len(train)]
                assert len(np.unique(order)) == len(train)
                model.fit(x[order], train.targets[order], batch_size=recipe.batch_size, shuffle=False, verbose=0)
            return dict(zip(SYMBOLS, model.get_weights(), strict=True))
    finally:
        set_keras_dtype(keras, usual)


def largest_differences(keras, train, dtype):
    """Of each parameter, after one epoch of M = 100 and an ε too small to matter."""
    assert len(train) % 128 == 88  # the last minibatch is a short one
    recipe = Recipe(epochs=1, epsilon=1e-30)
    start = MLP(train.features.shape[1], 100, 10, dtype=dtype, rngs=nnx.Rngs(0))
    ours = fit(start, train, seed=0, recipe=recipe).model.weights
    theirs = keras_weights(keras, start, train, 0, recipe)
    for symbol in SYMBOLS:
        assert ours[symbol].dtype == theirs[symbol].dtype == dtype
        assert np.abs(theirs[symbol] - start.weights[symbol]).max() > 0.01  # it did train
    return {symbol: float(np.abs(theirs[symbol] - ours[symbol]).max()) for symbol in SYMBOLS}


def test_same_weights_in_float64(keras, mnist, float64):
    """To 5e-15, which proves the algorithm: the largest difference seen was 6e-16 (in A).

    That is a few units in the last place of parameters of order 0.1, what summing in another order leaves. It is also
    sharp: ε = 1e-12, whose place matters to the least of the √v alone, makes it 1e-3.
    """
    differences = largest_differences(keras, mnist.train, jnp.float64)
    print(f"float64: {differences}")
    assert max(differences.values()) < 5e-15


def test_same_weights_in_float32(keras, mnist):
    """To 2e-5: the largest difference seen was 2.8e-6 (in A, of which half differ by less than 3e-8).

    Adam divides m by √v, and so passes on the relative error of a gradient, not its absolute one: where the terms of
    the first gradients of a weight nearly cancel, it is larger than that of the rest (c1, B and c2 stay below 4e-7).
    The tolerance is still a fiftieth of one step, 1e-3.
    """
    differences = largest_differences(keras, mnist.train, jnp.float32)
    print(f"float32: {differences}")
    assert max(differences.values()) < 2e-5


def test_place_of_epsilon_moves_accuracy_less_than_the_seed_does(keras, mnist):
    """With ε = 1e-7 on both sides, test accuracy after 5 epochs differs by less than it does from seed to seed.

    The two trainings of a seed share everything but the place of ε, so their differences are paired: the mean of the
    three is compared with the standard deviation over seeds (n − 1; the variances of both sides averaged). Measured:
    0.0030 from seed to seed for M = 10 and 0.0015 for M = 100; for the place of ε none of the six accuracies moved,
    though logits differ by up to 0.02.
    """
    widths, seeds, recipe = (10, 100), (0, 1, 2), Recipe(epochs=5)
    result = sweep(Grid(hidden_units=widths, seeds=seeds), mnist, recipe=recipe)
    ours = result.final["test_score"].reshape(len(widths), len(seeds))  # seeds vary fastest
    theirs = np.empty_like(ours)
    for i, units in enumerate(widths):
        for j, seed in enumerate(seeds):
            start = MLP(mnist.features, units, 10, rngs=nnx.Rngs(seed))
            weights = keras_weights(keras, start, mnist.train, seed, recipe)
            model = MLP.from_weights({symbol: jnp.asarray(array) for symbol, array in weights.items()})
            theirs[i, j] = evaluate(model, mnist.test).score
            # Not the same trainings: ε's place did move weights, by more than a step.
            assert np.abs(weights["A"] - result.weights(Trial(units, "sigmoid", 1e-3, seed))["A"]).max() > 1e-3
    shift = np.abs((ours - theirs).mean(axis=1))
    spread = np.sqrt((ours.var(axis=1, ddof=1) + theirs.var(axis=1, ddof=1)) / 2)
    for i, units in enumerate(widths):
        print(f"M = {units}: ours {ours[i]}, Keras {theirs[i]}, shift {shift[i]:.5f}, spread {spread[i]:.5f}")
    assert (theirs > 0.85).all()
    assert (shift < spread).all()
