"""Train and score one model alone: the article's first half, and the plain form of a trial."""

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
from mlp_jax.errors import InputError, instance, shown, whole
from mlp_jax.machine.backend import require_jax
from mlp_jax.machine.compilation import run_compiled
from mlp_jax.networks.dropout import Dropout
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layers import Network, Shape, apply_network, walk
from mlp_jax.networks.layers import rate_factors as layer_rate_factors
from mlp_jax.networks.models import MLP, Model, Weights, by_symbol, layer_parameters
from mlp_jax.tasks import Task, get_task
from mlp_jax.training.axes import (
    OF_MODEL,
    RULE,
    Trial,
    check_trial,
    examples_of,
    make_trial,
    numbers_of,
    recipe_of_trial,
    shape_of,
)
from mlp_jax.training.epoch import (
    DeviceData,
    Means,
    Numbers,
    State,
    Trials,
    begin,
    compiler_options,
    score_rows,
    to_device,
    train_round,
)
from mlp_jax.training.recipe import Recipe


class Scores(NamedTuple):
    """Loss and score (accuracy, or R² for regression) of one model on one split."""

    loss: float
    score: float


@dataclass(frozen=True)
class History:
    """Learning curves of one model, one entry per epoch.

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
    """A trained model and its training history.

    Attributes:
        model: with the trained parameters.
        history: its learning curves.
        learning_rate, seed: the ones that it was trained with.
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


def _alone(trial: Trial, network: Network, shape: Shape, task: str, recipe: Recipe, examples: int) -> Trials:
    """One network in the form that training takes; its parameters are per layer, under the name of its optimizer.

    Examples come flattened; ``shape`` is what its first layer is given.
    """
    kernels = [
        {name: float(name == "kernel") for name in layer.shapes(before)} for layer, before in walk(network, shape)
    ]

    def logits(params: Any, x: Array, dropout: Dropout | None = None) -> Float[Array, "1 B K"]:
        x = x.reshape(len(x), *shape)
        drop = None if dropout is None else dropout.alone
        return apply_network(network, params[trial.optimizer], x, recipe.precision, drop)[None]

    def by_row(numbers: Float[Array, "1"], params: Any) -> Any:
        return jax.tree.map(lambda _: numbers[0], params)

    def rate_factors(optimizer: str, adaptive: bool) -> list[dict[str, float]]:
        factors = layer_rate_factors(network, adaptive)
        return [{name: factor[name] for name in layer} for layer, factor in zip(kernels, factors, strict=True)]

    return Trials(
        shapes=(trial,),
        columns=math.prod(shape),
        classes=max(2, network[-1].units),
        logits=logits,
        by_row=by_row,
        kernels={trial.optimizer: kernels},
        rate_factors=rate_factors,
        task=get_task(task),
        recipe=recipe,
        examples=examples,
    )


class _Static(NamedTuple):
    """What the programs of a fit are compiled for."""

    trial: Trial
    network: Network
    shape: Shape
    task: str
    recipe: Recipe
    examples: int


def _begin(weights: Weights, numbers: Numbers, *, static: _Static) -> State:
    """A new state, whose buffers may be donated."""
    params = {static.trial.optimizer: layer_parameters(static.network, jax.tree.map(jnp.copy, weights))}
    return begin(_alone(*static), numbers, params)


def _round(
    state: State, key: PRNGKeyArray, numbers: Numbers, first: Array, data: DeviceData, *, static: _Static, rows: int
) -> tuple[State, Means, Means]:
    """Train from one report to the next, and score the rows of the data from ``rows`` on."""
    trials = _alone(*static)
    state, trained = train_round(trials, state, numbers, key, first, data)
    validation = score_rows(
        trials.logits, trials.task, state.params, data, rows, len(data.features), loss_of=trials.loss
    )
    return state, trained, validation.means


def network_means(
    params: list[dict[str, Float[Array, "T ..."]]],
    data: DeviceData,
    first: Int[Array, ""],
    last: Int[Array, ""],
    labels: Int[Array, "T N"] | None = None,
    *,
    network: Network,
    shape: Shape,
    task: str,
    loss: str = "likelihood",
    precision: str = "float32",
) -> Means:
    """Loss and hit of T networks of one architecture, over rows first (inclusive) to last (exclusive).

    Args:
        params: of each layer.
        data: on the device.
        first: row to begin at.
        last: row to end before.
        labels: of each network for every row; None for the true ones.
        network: the layers.
        shape: of an example as the networks are given it.
        task: its name.
        loss: its name.
        precision: as in ``Recipe``.
    """

    def logits(params: Any, x: Array) -> Float[Array, "T B K"]:
        x = x.reshape(x.shape[0], *shape)
        return jax.vmap(lambda alone: apply_network(network, alone, x, precision))(params)

    return score_rows(
        logits,
        get_task(task),
        params,
        data,
        first,
        last,
        loss_of=get_task(task).losses[loss],
        relabelled=None if labels is None else (lambda rows, y: labels[:, rows]),
    ).means


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
    recipe: Recipe = Recipe(),
    on_epoch: Callable[[int, Scores, Scores], None] | None = None,
    **rule: Any,
) -> Fit:
    """Train one model alone. A trial of a sweep ends with the same parameters, up to rounding.

    Args:
        model: the initial model; it is not modified.
        train: training split.
        validation: scored after each epoch, if given.
        learning_rate: the optimizer's α.
        seed: of the minibatches; a trial of that seed starts from ``MLP(..., rngs=nnx.Rngs(seed))``.
        recipe: epochs, batch size and Adam's constants.
        on_epoch: called after each epoch with its number (from 1) and the scores of train and validation.
        **rule: any field of ``Trial`` that the model does not hold: ``optimizer``, ``momentum``, ``weight_decay``,
            ``schedule``, ``dropout``, ``batch_size``, ...

    Returns:
        A new model with the trained parameters, and the history.

    Raises:
        InputError: an argument makes no sense, or a split does not fit the model.
    """
    for name in rule:
        if name in OF_MODEL or name not in RULE:
            known = ", ".join(each for each in RULE if each not in OF_MODEL)
            raise InputError(f"unknown {shown(name)}: expected one of {known}")
    asked = make_trial(hidden_units=0, activation="identity", learning_rate=learning_rate, seed=seed, **rule)
    instance("recipe", recipe, Recipe, "an mlp_jax.Recipe")
    instance("on_epoch", on_epoch, Callable | None, "a function, or None")
    splits = [train] if validation is None else [train, validation]
    for split in splits:
        _check_split(model, split)
    check_trial(asked, model.task)
    recipe = recipe_of_trial(recipe, asked)
    check_scales({name: split.features for name, split in zip(("train", "validation"), splits, strict=False)})
    data = to_device(splits)
    dtype = model.weights["A"].dtype
    numbers = {name: np.full(1, each, dtype) for name, each in numbers_of([asked]).items()}
    examples = examples_of(asked, len(train))
    static = _Static(shape_of(asked), model.network, model.shape, model.task, recipe, examples)
    state = run_compiled(_begin, {"static": static}, model.weights, numbers)
    options = compiler_options(recipe.precision)
    task = get_task(model.task)
    rows = []
    for number in range(recipe.rounds):
        first = jnp.asarray(number * recipe.report_every, jnp.int32)
        arguments = state, root_key(asked.seed), numbers, first, data
        compiled = {"static": static, "rows": len(train)}
        state, *means = run_compiled(_round, compiled, *arguments, donate=(0,), compiler_options=options)
        scores = [_scores(task, m, s) for m, s in zip(means, splits, strict=False)]
        scores += [Scores(np.nan, np.nan)] * (2 - len(scores))
        rows.append([*scores[0], *scores[1]])
        if on_epoch is not None:
            on_epoch((number + 1) * recipe.report_every, *scores)
    finished = by_symbol(model.network, state.params[asked.optimizer])
    return Fit(model.with_weights(finished), History(*np.array(rows).T), asked.learning_rate, asked.seed)


def evaluate(model: Model, split: Split) -> Scores:
    """Loss and score of a model on a split.

    Raises:
        InputError: the split does not fit the model.
    """
    _check_split(model, split)
    static = {"network": model.network, "shape": model.shape, "task": model.task}
    options = compiler_options("float32")
    means = run_compiled(_own_means, static, model.weights, to_device([split]), compiler_options=options)
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
        InputError: the arrays do not fit each other, or hold more classes than K.
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
