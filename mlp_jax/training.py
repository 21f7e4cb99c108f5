"""Training: minibatches, the step, an epoch as one scan; and a single model from start to end.

Everything inside ``jax.jit`` is a pure function of (parameters, optimizer state, key). ``train_minibatches`` and
``evaluate_rows`` are what a sweep and ``fit`` share; they see a model only as a function from parameters and
examples to logits ``[T, B, K]`` of T trials.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from mlp_jax.datasets.dataset import Dataset, Split
from mlp_jax.errors import InputError
from mlp_jax.models import MLP, scale_features
from mlp_jax.tasks import Task, get_task

Logits = Callable[[Any, Float[Array, "B C"]], Float[Array, "T B K"]]

MINIBATCHES = 0xBA7C4  # what the key that shuffles the examples is for

_ROWS_AT_ONCE = 1000  # in evaluation: enough to fill the machine, and few enough to stay in its caches


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are the article's, which are Keras's.

    Attributes:
        epochs: passes over the training split.
        batch_size: B, examples a minibatch; the last of an epoch has what is left.
        beta1: Adam's decay of the mean of the gradient.
        beta2: Adam's decay of the mean of its square.
        epsilon: Adam's ε, added to the square root of the bias-corrected mean square.
    """

    epochs: int = 20
    batch_size: int = 128
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value < 2**31:
                raise InputError(f"{name} is {value!r}: expected a whole number, 1 or more")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}: expected 0 or more and below 1")
        if not 0 <= self.epsilon < np.inf:
            raise InputError(f"epsilon is {self.epsilon!r}: expected a finite number, 0 or more")

    def optimizer(self, learning_rate: float | Array) -> optax.GradientTransformation:
        """Adam (Kingma and Ba, 2015) with this recipe's constants."""
        return optax.adam(learning_rate, b1=self.beta1, b2=self.beta2, eps=self.epsilon)


def check_learning_rate(learning_rate: float) -> None:
    """Raise InputError unless this is a finite number above 0."""
    if isinstance(learning_rate, bool | str) or not 0 < learning_rate < np.inf:
        raise InputError(f"learning rate is {learning_rate!r}: expected a finite number above 0")


class DeviceData(NamedTuple):
    """All splits one after another, on the device, still uint8 where they were.

    Attributes:
        features: ``[N, C]``, N = train + validation + test, the columns that a layout asks for.
        targets: labels ``[N]`` or values ``[N, K]``.
    """

    features: Num[Array, "N C"]
    targets: Num[Array, "N *K"]


class Means(NamedTuple):
    """Means over the examples of a split, ``[T]``: of the loss, and of the task's ``hit``."""

    loss: Float[Array, "T"]
    hit: Float[Array, "T"]


class State(NamedTuple):
    """What an epoch changes: parameters and optimizer state, pytrees."""

    params: Any
    opt_state: Any


def to_device(splits: Sequence[Split], columns: Sequence[int] | None = None) -> DeviceData:
    """Put splits on the device, one after another.

    Args:
        splits: with the same features.
        columns: feature columns to take, in this order; −1 for a column that the model sees as 1. None for all.
    """
    features = np.concatenate([split.features for split in splits])
    if columns is not None:
        ones = np.full((len(features), 1), 255 if features.dtype == np.uint8 else 1, features.dtype)
        features = np.concatenate([features, ones], axis=1)[:, np.array(columns)]  # the ones are the last column
    return DeviceData(jnp.asarray(features), jnp.asarray(np.concatenate([split.targets for split in splits])))


def live_features(features: np.ndarray) -> tuple[int, ...]:
    """The columns of ``[N, D]`` that are not 0 in every row."""
    return tuple(int(column) for column in np.flatnonzero(features.any(axis=0)))


def minibatches(
    key: PRNGKeyArray, epoch: Int[Array, ""] | int, examples: int, batch_size: int
) -> Int[Array, "steps B"]:
    """Indices of an epoch's minibatches: every example once, in an order of its own.

    Args:
        key: ``jax.random.key(seed)`` of the trial.
        epoch: number of the epoch, from 0.
        examples: N, how many there are.
        batch_size: B; a larger one than N means N.

    Returns:
        ``[⌈N / B⌉, B]``; the places past the end in the last row hold N, which is no example.
    """
    batch_size = min(batch_size, examples)
    steps = -(-examples // batch_size)
    key = jax.random.fold_in(jax.random.fold_in(key, MINIBATCHES), epoch)
    # Random numbers, sorted once. Of 55,000 of 32 bits two are equal in every third epoch, and that pair then keeps its
    # order; jax.random.permutation mends that by sorting again, which takes twice as long, for nothing anybody sees.
    order = jnp.argsort(jax.random.bits(key, (examples,), jnp.uint32)).astype(jnp.int32)
    return jnp.pad(order, (0, steps * batch_size - examples), constant_values=examples).reshape(steps, batch_size)


def train_minibatches(
    logits: Logits,
    task: Task,
    recipe: Recipe,
    examples: int,
    columns: int,
    state: State,
    learning_rate: Float[Array, ""],
    batches: Int[Array, "steps B"],
    data: DeviceData,
) -> tuple[State, Means]:
    """Train all trials of one replica on minibatches, one after another.

    The objective is Σ_t (mean loss of trial t over the minibatch): no parameter is shared, and Adam is elementwise, so
    every trial gets its own gradient and its own update.

    Args:
        logits: the trials' model.
        task: its loss and score.
        recipe: Adam's constants.
        examples: N, the training split's size; the first N rows of ``data``.
        columns: C, how many feature columns to train on, from the left.
        state: parameters and optimizer state.
        learning_rate: Adam's α.
        batches: rows of ``data``; N or more for a place without an example.
        data: on the device.

    Returns:
        The new state, and loss and hit averaged by example over the minibatches as they were trained.
    """
    optimizer = recipe.optimizer(learning_rate)
    dtype = jnp.result_type(*jax.tree.leaves(state.params))
    trials = jax.eval_shape(logits, state.params, jax.ShapeDtypeStruct((1, columns), dtype)).shape[0]

    def objective(params: Any, x: Array, y: Array, weight: Float[Array, "B"]) -> tuple[Array, Means]:
        out = logits(params, x)
        # where, not a product alone: a row past the end must not turn an overflow into 0 · inf = NaN.
        present = jnp.broadcast_to(weight > 0, out.shape[:-1])
        loss = jnp.where(present, task.loss(out, y), 0).sum(axis=1)
        hit = jnp.where(present, task.hit(out, y), 0).sum(axis=1)
        return jnp.sum(loss / weight.sum()), Means(loss, hit)

    def step(carry: tuple[State, Means], batch: Int[Array, "B"]) -> tuple[tuple[State, Means], None]:
        (params, opt_state), sums = carry
        weight = (batch < examples).astype(dtype)
        rows = jnp.minimum(batch, examples - 1)
        x = scale_features(data.features[rows, :columns], dtype)
        gradients, new = jax.grad(objective, has_aux=True)(params, x, data.targets[rows], weight)
        with jax.numpy_dtype_promotion("standard"):  # optax raises its decays to the power of an integer
            updates, opt_state = optimizer.update(gradients, opt_state)
        params = optax.apply_updates(params, updates)
        return (State(params, opt_state), jax.tree.map(jnp.add, sums, new)), None

    zero = jnp.zeros(trials, dtype)
    (state, sums), _ = lax.scan(step, (state, Means(zero, zero)), batches)
    count = jnp.sum(batches < examples).astype(dtype)
    return state, jax.tree.map(lambda total: total / count, sums)


def evaluate_rows(
    logits: Logits,
    task: Task,
    params: Any,
    data: DeviceData,
    first: Int[Array, ""] | int,
    last: Int[Array, ""] | int,
) -> Means:
    """Loss and hit of all trials of one replica, averaged over rows first (included) to last (excluded).

    The bounds may be traced, so that one compiled program serves every split.
    """
    dtype = jnp.result_type(*jax.tree.leaves(params))
    size = min(_ROWS_AT_ONCE, len(data.features))
    trials = jax.eval_shape(logits, params, jax.ShapeDtypeStruct((1, data.features.shape[1]), dtype)).shape[0]
    first, last = jnp.asarray(first, jnp.int32), jnp.asarray(last, jnp.int32)

    def chunk(i: Int[Array, ""], sums: Means) -> Means:
        wanted = first + i * size
        start = jnp.minimum(wanted, len(data.features) - size)
        row = start + jnp.arange(size, dtype=jnp.int32)
        x, y = (lax.dynamic_slice_in_dim(array, start, size) for array in data)
        out = logits(params, scale_features(x, dtype))
        present = jnp.broadcast_to((row >= wanted) & (row < last), out.shape[:-1])
        loss, hit = (jnp.where(present, f(out, y), 0).sum(axis=1) for f in (task.loss, task.hit))
        return Means(sums.loss + loss, sums.hit + hit)

    zero = jnp.zeros(trials, dtype)
    sums = lax.fori_loop(0, (last - first + size - 1) // size, chunk, Means(zero, zero))
    count = (last - first).astype(dtype)
    return jax.tree.map(lambda total: total / count, sums)


class Scores(NamedTuple):
    """Loss and score (accuracy, or R² for regression) of one model on one split."""

    loss: float
    score: float


@dataclass(frozen=True)
class History:
    """Learning curves of one model, an entry an epoch.

    Attributes:
        loss, score: of the training split, averaged over the minibatches as they were trained.
        validation_loss, validation_score: of the validation split after the epoch; NaN if there was none.
    """

    loss: np.ndarray
    score: np.ndarray
    validation_loss: np.ndarray
    validation_score: np.ndarray


@dataclass(frozen=True)
class Fit:
    """A trained model and how it got there."""

    model: MLP
    history: History


def _module_logits(graphdef: nnx.GraphDef[MLP]) -> Logits:
    return lambda params, x: nnx.merge(graphdef, params)(x)[None]


@partial(jax.jit, static_argnames=("graphdef", "task", "recipe", "examples"), donate_argnames="state")
def _fit_epoch(
    graphdef: nnx.GraphDef[MLP],
    task: str,
    recipe: Recipe,
    examples: int,
    state: State,
    key: PRNGKeyArray,
    learning_rate: Array,
    epoch: Array,
    data: DeviceData,
) -> tuple[State, Means, Means]:
    logits = _module_logits(graphdef)
    columns = data.features.shape[1]
    batches = minibatches(key, epoch, examples, recipe.batch_size)
    state, trained = train_minibatches(
        logits, get_task(task), recipe, examples, columns, state, learning_rate, batches, data
    )
    validation = evaluate_rows(logits, get_task(task), state.params, data, examples, len(data.features))
    return state, trained, validation


@partial(jax.jit, static_argnames=("graphdef", "task"))
def _evaluate(graphdef: nnx.GraphDef[MLP], task: str, params: Any, data: DeviceData) -> Means:
    return evaluate_rows(_module_logits(graphdef), get_task(task), params, data, 0, len(data.features))


def fit(
    model: MLP,
    train: Split,
    validation: Split | None = None,
    *,
    learning_rate: float = 1e-3,
    seed: int = 0,
    recipe: Recipe = Recipe(),
    on_epoch: Callable[[int, Scores, Scores], None] | None = None,
) -> Fit:
    """Train one model, alone. A trial of a sweep gives the same parameters, up to rounding.

    Args:
        model: where to start; it is left as it is.
        train: training split.
        validation: scored after each epoch, if given.
        learning_rate: Adam's α.
        seed: of the minibatches; a trial of that seed starts from ``MLP(..., rngs=nnx.Rngs(seed))``.
        recipe: epochs, batch size and Adam's constants.
        on_epoch: called after each epoch with its number (from 1) and the scores of train and validation.

    Returns:
        A new model with the trained parameters, and the history.

    Raises:
        InputError: an argument that makes no sense, or splits that do not fit the model.
    """
    check_learning_rate(learning_rate)
    splits = [train] if validation is None else [train, validation]
    for split in splits:
        _check_split(model, split)
    data = to_device(splits)
    graphdef, params = nnx.split(model)
    params = jax.tree.map(jnp.copy, params)  # they are donated
    state = State(params, recipe.optimizer(learning_rate).init(params))
    rate = jnp.asarray(learning_rate, model.weights["A"].dtype)
    task = get_task(model.task)
    rows = []
    for epoch in range(recipe.epochs):
        index = jnp.asarray(epoch, jnp.int32)
        state, *means = _fit_epoch(
            graphdef, model.task, recipe, len(train), state, jax.random.key(seed), rate, index, data
        )
        scores = [_scores(task, m, s) for m, s in zip(means, splits, strict=False)]
        scores += [Scores(np.nan, np.nan)] * (2 - len(scores))
        rows.append([*scores[0], *scores[1]])
        if on_epoch is not None:
            on_epoch(epoch + 1, *scores)
    history = History(*np.array(rows).T)
    return Fit(nnx.merge(graphdef, state.params), history)


def evaluate(model: MLP, split: Split) -> Scores:
    """Loss and score of a model on a split."""
    _check_split(model, split)
    graphdef, params = nnx.split(model)
    return _scores(get_task(model.task), _evaluate(graphdef, model.task, params, to_device([split])), split)


def evaluate_model(M: int, K: int, X_train: Any, Y_train: Any, X_test: Any, Y_test: Any) -> tuple[Scores, Scores]:
    """The article's function: train a perceptron of M sigmoid units, 20 epochs in batches of 128, and score it.

    Args:
        M: hidden units.
        K: classes.
        X_train: examples ``[N, ...]``, flattened; uint8 is scaled to [0, 1].
        Y_train: one-hot rows ``[N, K]`` or integer labels ``[N]``.
        X_test: like X_train.
        Y_test: like Y_train.

    Returns:
        (training_scores, test_scores), each (loss, accuracy).

    Raises:
        InputError: arrays that do not fit each other, or more classes in them than K.
    """
    dataset = Dataset.from_arrays(
        X_train, Y_train, X_test, Y_test, x_validation=X_test, y_validation=Y_test, task="multiclass"
    )
    if dataset.outputs > K:
        raise InputError(f"K is {K} but the labels have {dataset.outputs} classes: expected K = {dataset.outputs}")
    model = MLP(dataset.features, M, K, rngs=nnx.Rngs(0))
    trained = fit(model, dataset.train).model
    return evaluate(trained, dataset.train), evaluate(trained, dataset.test)


def _check_split(model: MLP, split: Split) -> None:
    features = model.weights["A"].shape[0]
    if split.features.ndim != 2 or split.features.shape[1] != features:
        raise InputError(f"examples have shape {split.features.shape[1:]}: the model expects ({features},)")
    if len(split) == 0:
        raise InputError("the split is empty: expected at least one example")


def _scores(task: Task, means: Means, split: Split) -> Scores:
    score = task.score(np.asarray(means.hit), split.targets)
    return Scores(float(means.loss[0]), float(score[0]))
