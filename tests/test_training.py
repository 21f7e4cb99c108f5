"""Minibatches, averages, fit, evaluate: one model alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_dataset
from flax import nnx

from mlp_jax import MLP, Dataset, InputError, Recipe, Split, SweepWarning, evaluate, evaluate_model, fit
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.models import parameter_key
from mlp_jax.tasks import MOST_APART, TASKS, classes_apart, get_task
from mlp_jax.training import epoch as training
from mlp_jax.training.epoch import minibatches


@pytest.mark.parametrize(("examples", "batch_size", "steps"), [(55000, 128, 430), (10, 5, 2), (7, 3, 3), (4, 100, 1)])
def test_an_epoch_visits_every_example_once(examples, batch_size, steps):
    batches = np.asarray(minibatches(jax.random.key(0), 0, examples, batch_size))
    assert batches.shape == (steps, min(batch_size, examples))
    real = batches[batches < examples]
    np.testing.assert_array_equal(np.sort(real), np.arange(examples))
    left = examples - (steps - 1) * batches.shape[1]
    assert (batches[:-1] < examples).all()
    assert (batches[-1][:left] < examples).all()
    assert (batches[-1][left:] == examples).all()


def test_minibatches_differ_by_epoch_and_seed_and_repeat():
    def order(seed, epoch):
        return np.asarray(minibatches(jax.random.key(seed), epoch, 50, 50))[0]

    np.testing.assert_array_equal(order(1, 2), order(1, 2))
    assert not np.array_equal(order(1, 2), order(1, 3))
    assert not np.array_equal(order(1, 2), order(2, 2))
    assert not np.array_equal(order(1, 0), np.arange(50))


@pytest.mark.parametrize("count", [1, 2, 1000, 2**16, 2**16 + 1])
@pytest.mark.parametrize("different", [3, 2**32])
def test_the_order_of_an_epoch_is_that_of_a_stable_sort(count, different):
    bits = np.random.default_rng(0).integers(0, different, count, np.uint32)
    np.testing.assert_array_equal(jax.jit(training._argsort)(bits), np.argsort(bits, kind="stable"))


def test_history_averages_by_example_over_minibatches_as_trained():
    """The first epoch's loss, worked out by hand: a vanishing learning rate leaves the model as it is."""
    dataset = make_dataset()
    model = MLP(dataset.features, 4, dataset.outputs, rngs=nnx.Rngs(0))
    trained = fit(model, dataset.train, dataset.validation, learning_rate=1e-30, recipe=Recipe(epochs=1, batch_size=16))
    for split, (loss, score) in (
        (dataset.train, (trained.history.loss[0], trained.history.score[0])),
        (dataset.validation, (trained.history.validation_loss[0], trained.history.validation_score[0])),
    ):
        probabilities = np.asarray(model.predict_proba(jnp.asarray(split.features, jnp.float32)))
        expected = -np.log(probabilities[np.arange(len(split)), split.targets]).mean()
        assert loss == pytest.approx(expected, rel=1e-5)
        assert score == pytest.approx((probabilities.argmax(axis=1) == split.targets).mean(), rel=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_fit_learns_and_leaves_its_argument_alone(task):
    dataset = make_dataset(task, examples=400)
    model = MLP(dataset.features, 16, dataset.outputs, task=task, activation="tanh", rngs=nnx.Rngs(0))
    before = jax.tree.map(np.array, model.weights)
    seen = []
    trained = fit(
        model,
        dataset.train,
        dataset.validation,
        learning_rate=3e-2,
        recipe=Recipe(epochs=40, batch_size=32),
        on_epoch=lambda epoch, train, validation: seen.append((epoch, train.loss, validation.loss)),
    )
    jax.tree.map(np.testing.assert_array_equal, model.weights, before)
    assert evaluate(trained.model, dataset.train).score > max(0.85, evaluate(model, dataset.train).score)
    assert [row[0] for row in seen] == list(range(1, 41))
    np.testing.assert_allclose([row[1] for row in seen], trained.history.loss)
    last = evaluate(trained.model, dataset.validation)
    assert last.loss == pytest.approx(trained.history.validation_loss[-1], rel=1e-5)
    assert last.score == pytest.approx(trained.history.validation_score[-1], rel=1e-5)


def test_regression_score_is_r_squared():
    dataset = make_dataset("regression", outputs=1)
    model = MLP(dataset.features, 8, 1, task="regression", rngs=nnx.Rngs(0))
    y = dataset.test.targets[:, 0]
    predicted = np.asarray(model.predict(jnp.asarray(dataset.test.features, jnp.float32)))[:, 0]
    expected = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert evaluate(model, dataset.test).score == pytest.approx(expected, rel=1e-4)


def test_evaluate_counts_every_row_of_more_than_one_chunk():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(2345, 4)).astype(np.float32), rng.integers(0, 3, 2345).astype(np.int32)
    model = MLP(4, 5, 3, rngs=nnx.Rngs(0))
    expected = (np.asarray(model.predict(jnp.asarray(x))) == y).mean()
    assert evaluate(model, Split(x, y)).score == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("one_hot", [False, True])
def test_the_articles_function(one_hot):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (300, 4, 5)).astype(np.uint8)
    y = (x.reshape(300, -1)[:, :10].mean(axis=1) > x.reshape(300, -1)[:, 10:].mean(axis=1)).astype(int)
    targets = np.eye(2)[y] if one_hot else y
    train, test = evaluate_model(6, 2, x[:200], targets[:200], x[200:], targets[200:])
    dataset = Dataset.from_arrays(x[:200], y[:200], x[200:], y[200:], x_validation=x[200:], y_validation=y[200:])
    alone = fit(MLP(20, 6, 2, rngs=nnx.Rngs(0)), dataset.train).model
    assert tuple(train) == evaluate(alone, dataset.train)
    assert tuple(test) == evaluate(alone, dataset.test)
    assert train == (train.loss, train.score)


def test_the_articles_function_takes_k_from_its_argument():
    x = np.zeros((6, 3), np.uint8)
    with pytest.warns(SweepWarning, match="train has no example of class 2"):
        train, _ = evaluate_model(2, 3, x, [0, 1, 0, 1, 0, 1], x, [0, 1, 2, 0, 1, 2])
    assert 0 < train.loss < np.log(3) * 1.5


def test_splits_that_are_stored_differently_are_the_same_data():
    """Intensities as uint8 in one split and scaled in the other: scaled in both."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (30, 6)).astype(np.uint8), np.arange(30) % 3
    scaled = x / np.float32(255)
    model = MLP(6, 4, 3, rngs=nnx.Rngs(0))
    histories = [
        fit(model, Split(x, y.astype(np.int32)), Split(other, y.astype(np.int32)), recipe=Recipe(epochs=2)).history
        for other in (x, scaled)
    ]
    np.testing.assert_allclose(histories[0].loss, histories[1].loss, rtol=1e-5)
    np.testing.assert_allclose(histories[0].validation_loss, histories[1].validation_loss, rtol=1e-5)


def test_the_articles_function_refuses_more_classes_than_k():
    x = np.zeros((6, 3), np.uint8)
    with pytest.raises(InputError, match="labels go up to 2: expected 0 to 1"):
        evaluate_model(4, 2, x, [0, 1, 2, 0, 1, 2], x, [0, 1, 2, 0, 1, 2])


def test_a_model_is_what_its_seed_says():
    expected = parameter_key(7)
    assert jnp.array_equal(jax.random.key_data(nnx.Rngs(7).params()), jax.random.key_data(expected))


def test_compiler_options_are_those_that_the_compiler_knows(monkeypatch):
    known: dict = {"xla_embed_ir_in_executable": False}
    monkeypatch.setattr(jax, "default_backend", lambda: "here")
    monkeypatch.setitem(training._COMPILER_OPTIONS, ("here", False), known | {"xla_no_such_option": 1})
    assert training.compiler_options.__wrapped__("float32") == known


@pytest.mark.parametrize("classes", [2, 10, MOST_APART, MOST_APART + 1])
def test_classes_written_out_are_the_same_task(classes, float64):
    """Losses, gradients and hits, ties and values that are not finite included."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 40, classes)).round(1)  # with ties
    logits[0, 0, 1], logits[1, 1, 0], logits[2, 2, :] = np.nan, np.inf, -np.inf
    logits[2, 3, 1], logits[2, 3, 0], logits[2, 4] = np.nan, np.inf, np.nan
    labels = jnp.asarray(rng.integers(0, classes, 40), jnp.int32)
    plain = get_task("multiclass")
    apart = classes_apart(plain)
    np.testing.assert_array_equal(apart.hit(jnp.asarray(logits), labels), plain.hit(jnp.asarray(logits), labels))
    fine = jnp.asarray(logits[:, 5:])
    np.testing.assert_allclose(apart.loss(fine, labels[5:], None), plain.loss(fine, labels[5:], None), atol=1e-12)
    slopes = [jax.grad(lambda z, task=task: task.loss(z, labels[5:], None).sum())(fine) for task in (apart, plain)]
    np.testing.assert_allclose(*slopes, atol=1e-12)
    finite = [np.isfinite(task.loss(jnp.asarray(logits), labels, None)) for task in (apart, plain)]
    assert not (finite[0] & ~finite[1]).any()  # whatever is not finite is not made so
    assert classes_apart(get_task("binary")) is get_task("binary")


@pytest.mark.parametrize(("examples", "count"), [(50, 47), (50, 50), (70_000, 69_998)])
def test_padding_comes_last_and_changes_nothing_of_the_order(examples, count):
    key = root_key(3)
    alone = np.asarray(minibatches(key, 2, count, 16)).ravel()
    padded = np.asarray(minibatches(key, 2, examples, 16, jnp.asarray(count, jnp.int32))).ravel()
    np.testing.assert_array_equal(padded[:count], alone[:count])
    assert (padded[count:] >= count).all()
