"""One model, trained and scored alone: the article's first half, and the plain form of a trial."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mlp_jax.datasets.dataset import MOST_CLASSES, Dataset, Split
from mlp_jax.datasets.scales import check_scales
from mlp_jax.errors import InputError, instance, whole
from mlp_jax.machine.backend import require_jax
from mlp_jax.machine.compilation import run_compiled
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layers import Network, Shape, apply_network, walk
from mlp_jax.networks.models import MLP, Model, Weights, by_symbol, layer_parameters
from mlp_jax.tasks import Task, get_task
from mlp_jax.training.axes import AXES, NUMBERS, Trial, check_trial
from mlp_jax.training.epoch import (
    DeviceData,
    Means,
    Numbers,
    State,
    Trials,
    compiler_options,
    evaluate_rows,
    minibatches,
    to_device,
    train_minibatches,
)
from mlp_jax.training.recipe import Recipe


class Scores(NamedTuple):
    """Loss and score (accuracy, or R² for regression) of one model on one split."""

    loss: float
    score: float


@dataclass(frozen=True)
class History:
    """Learning curves of one model, an entry an epoch.

    Attributes:
        loss, score: of the training split, averaged over the minibatches as they were trained: running means, while
            parameters change.
        validation_loss, validation_score: of the validation split after the epoch; NaN if there was none.
    """

    loss: np.ndarray
    score: np.ndarray
    validation_loss: np.ndarray
    validation_score: np.ndarray


@dataclass(frozen=True, repr=False)
class Fit:
    """A trained model and how it got there.

    Attributes:
        model: with the trained parameters.
        history: its learning curves.
        learning_rate, seed: as it was trained.
    """

    model: Model
    history: History
    learning_rate: float
    seed: int

    def __repr__(self) -> str:
        curves, score_name = self.history, get_task(self.model.task).score_name
        return (
            f"Fit(M = {self.model.hidden_units}, learning rate {self.learning_rate:g}, seed {self.seed}, "
            f"{len(curves.loss)} epochs; training loss {curves.loss[-1]:.4f}, {score_name} {curves.score[-1]:.4f})"
        )


def _alone(network: Network, optimizer: str, shape: Shape, precision: str) -> Trials:
    """One network as training knows it; its parameters are those of each layer, under the name of its optimizer.

    Examples come flattened; ``shape`` is what its first layer is given.
    """
    kernels = [
        {name: float(name == "kernel") for name in layer.shapes(before)} for layer, before in walk(network, shape)
    ]

    def logits(params: Any, x: Array) -> Float[Array, "1 B K"]:
        return apply_network(network, params[optimizer], x.reshape(x.shape[0], *shape), precision)[None]

    def by_row(numbers: Float[Array, "1"], params: Any) -> Any:
        return jax.tree.map(lambda _: numbers[0], params)

    return Trials(1, math.prod(shape), logits, by_row, {optimizer: kernels})


def _begin(
    weights: Weights, numbers: Numbers, *, network: Network, optimizer: str, shape: Shape, recipe: Recipe
) -> State:
    """A state of its own, which may be donated."""
    params = {optimizer: layer_parameters(network, jax.tree.map(jnp.copy, weights))}
    return _alone(network, optimizer, shape, recipe.precision).begin(recipe, numbers, params)


def _epoch(
    state: State,
    key: PRNGKeyArray,
    numbers: Numbers,
    epoch: Array,
    data: DeviceData,
    *,
    network: Network,
    optimizer: str,
    shape: Shape,
    task: str,
    recipe: Recipe,
    examples: int,
) -> tuple[State, Means, Means]:
    trials = _alone(network, optimizer, shape, recipe.precision)
    batches = minibatches(key, epoch, examples, recipe.batch_size)
    state, trained = train_minibatches(trials, get_task(task), recipe, examples, state, numbers, batches, data)
    validation = evaluate_rows(trials.logits, get_task(task), state.params, data, examples, len(data.features))
    return state, trained, validation


def network_means(
    params: list[dict[str, Float[Array, "T ..."]]],
    data: DeviceData,
    first: Int[Array, ""],
    last: Int[Array, ""],
    *,
    network: Network,
    task: str,
    precision: str = "float32",
    shape: Shape | None = None,
) -> Means:
    """Loss and hit of T equal networks with parameters of their own, over rows first (included) to last (excluded).

    ``shape`` is that of an example as the networks are given it; None: flattened, as it is in the data.
    """

    def logits(params: Any, x: Array) -> Float[Array, "T B K"]:
        x = x if shape is None else x.reshape(x.shape[0], *shape)
        return jax.vmap(lambda alone: apply_network(network, alone, x, precision))(params)

    return evaluate_rows(logits, get_task(task), params, data, first, last)


def _own_means(weights: Weights, data: DeviceData, *, network: Network, shape: Shape, task: str) -> Means:
    """Loss and hit of one network over all rows of the data."""
    params = layer_parameters(network, jax.tree.map(lambda array: array[None], weights))
    first, last = (jnp.asarray(row, jnp.int32) for row in (0, len(data.features)))
    return network_means(params, data, first, last, network=network, task=task, shape=shape)


def fit(
    model: Model,
    train: Split,
    validation: Split | None = None,
    *,
    learning_rate: float = 1e-3,
    seed: int = 0,
    optimizer: str = "adam",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    l2: float = 0.0,
    label_smoothing: float = 0.0,
    recipe: Recipe = Recipe(),
    on_epoch: Callable[[int, Scores, Scores], None] | None = None,
) -> Fit:
    """Train one model, alone. A trial of a sweep gives the same parameters, up to rounding.

    Args:
        model: where to start; it is left as it is.
        train: training split.
        validation: scored after each epoch, if given.
        learning_rate: the optimizer's α.
        seed: of the minibatches; a trial of that seed starts from ``MLP(..., rngs=nnx.Rngs(seed))``.
        optimizer: as a ``Trial`` has it, and so the next four.
        momentum: of SGD.
        weight_decay: of AdamW and SGD.
        l2: penalty on weights.
        label_smoothing: share of each label.
        recipe: epochs, batch size and Adam's constants.
        on_epoch: called after each epoch with its number (from 1) and the scores of train and validation.

    Returns:
        A new model with the trained parameters, and the history.

    Raises:
        InputError: an argument that makes no sense, or splits that do not fit the model.
    """
    values = (0, "identity", learning_rate, seed, optimizer, momentum, weight_decay, l2, label_smoothing)
    trial = Trial(*(axis.check(value) for axis, value in zip(AXES.values(), values, strict=True)))
    instance("recipe", recipe, Recipe, "an mlp_jax.Recipe")
    instance("on_epoch", on_epoch, Callable | None, "a function, or None")
    splits = [train] if validation is None else [train, validation]
    for split in splits:
        _check_split(model, split)
    check_trial(trial, model.task)
    learning_rate, seed = trial.learning_rate, trial.seed
    check_scales({name: split.features for name, split in zip(("train", "validation"), splits, strict=False)})
    data = to_device(splits)
    rule: dict[str, Any] = {
        "network": model.network,
        "optimizer": trial.optimizer,
        "shape": model.shape,
        "recipe": recipe,
    }
    dtype = model.weights["A"].dtype
    numbers = {name: np.full(1, value, dtype) for name in NUMBERS if (value := getattr(trial, name))}
    state = run_compiled(_begin, rule, model.weights, numbers)
    static = {**rule, "task": model.task, "examples": len(train)}
    options = compiler_options(recipe.precision)
    task = get_task(model.task)
    rows = []
    for epoch in range(recipe.epochs):
        index = jnp.asarray(epoch, jnp.int32)
        arguments = state, root_key(seed), numbers, index, data
        state, *means = run_compiled(_epoch, static, *arguments, donate=(0,), compiler_options=options)
        scores = [_scores(task, m, s) for m, s in zip(means, splits, strict=False)]
        scores += [Scores(np.nan, np.nan)] * (2 - len(scores))
        rows.append([*scores[0], *scores[1]])
        if on_epoch is not None:
            on_epoch(epoch + 1, *scores)
    history = History(*np.array(rows).T)
    finished = by_symbol(model.network, state.params[trial.optimizer])
    return Fit(model.with_weights(finished), history, learning_rate, seed)


def evaluate(model: Model, split: Split) -> Scores:
    """Loss and score of a model on a split."""
    _check_split(model, split)
    static = {"network": model.network, "shape": model.shape, "task": model.task}
    means = run_compiled(_own_means, static, model.weights, to_device([split]))
    return _scores(get_task(model.task), means, split)


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
    K = whole("K", K, 1, MOST_CLASSES)
    dataset = Dataset.from_arrays(
        X_train,
        Y_train,
        X_test,
        Y_test,
        x_validation=X_test,
        y_validation=Y_test,
        task="multiclass",
        class_names=[str(k) for k in range(K)] if np.ndim(Y_train) == 1 else (),
    )
    if dataset.outputs > K:
        raise InputError(f"K is {K} but the labels have {dataset.outputs} classes: expected K = {dataset.outputs}")
    model = MLP(dataset.features, M, K, rngs=nnx.Rngs(0))
    trained = fit(model, dataset.train).model
    return evaluate(trained, dataset.train), evaluate(trained, dataset.test)


def _check_split(model: Model, split: Split) -> None:
    require_jax()
    instance("model", model, Model, "an mlp_jax.MLP or mlp_jax.CNN")
    instance("the split", split, Split, "an mlp_jax.Split, as a Dataset has them")
    split.check_fits(model.task, model.features, model.outputs)


def _scores(task: Task, means: Means, split: Split) -> Scores:
    score = task.score(np.asarray(means.hit), split.targets)
    return Scores(float(means.loss[0]), float(score[0]))
