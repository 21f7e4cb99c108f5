"""From an estimator's parameters to its training, alone or together with others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from mlp_jax.adapters.estimators._checks import as_parameters
from mlp_jax.adapters.estimators._losses import scores
from mlp_jax.adapters.estimators._stopping import Course
from mlp_jax.errors import instance, listed, one_of, real, whole
from mlp_jax.networks.layers import Widths, check_widths
from mlp_jax.networks.layouts import Params
from mlp_jax.sweeps.folds import Cohort
from mlp_jax.tasks import Task
from mlp_jax.training.axes import Trial, check_trial, make_trial
from mlp_jax.training.recipe import Recipe

SOLVERS = ("adam", "sgd", "lbfgs")
LEARNING_RATES = ("constant", "invscaling", "adaptive")

AUTO_BATCH = 200
"""Examples per minibatch with ``batch_size="auto"``, where there are as many."""

_MOST = 2**31 - 1


@dataclass(frozen=True)
class Settings:
    """The parameters of an estimator, checked.

    Attributes:
        trial: the network, its optimizer and numbers.
        recipe: what the trials of a cohort share; its epochs mean nothing.
        solver: a name in ``SOLVERS``.
        epochs: at most so many.
        tol: as in ``Course``; likewise the next three.
        patience: may be infinite.
        power: 0 for a rate that does not fall by itself.
        adaptive: whether the rate falls where there is no improvement.
        shuffle: whether every epoch has an order of its own.
        early_stopping: whether the score on some of the examples decides when to stop.
        validation_fraction: the share of these.
        warm_start: whether ``fit`` goes on from where the last one ended.
        max_fun: evaluations of the loss by L-BFGS, at most.
    """

    trial: Trial
    recipe: Recipe
    solver: str
    epochs: int
    tol: float
    patience: float
    power: float
    adaptive: bool
    shuffle: bool
    early_stopping: bool
    validation_fraction: float
    warm_start: bool
    max_fun: int


def settings_of(estimator: Any) -> Settings:
    """Check an estimator's parameters.

    Raises:
        InputError: one makes no sense.
    """
    for name in ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping"):
        instance(name, getattr(estimator, name), bool | np.bool_, "True or False")
    solver = one_of("solver", estimator.solver, SOLVERS)
    schedule = one_of("learning_rate", estimator.learning_rate, LEARNING_RATES)
    patience = estimator.n_iter_no_change
    if not (isinstance(patience, float | np.floating) and patience == np.inf):
        patience = whole("n_iter_no_change", patience, 1, _MOST)
    power = real("power_t", estimator.power_t, lambda p: 0 <= p < np.inf, "a finite number, 0 or more")
    share = real(
        "validation_fraction", estimator.validation_fraction, lambda f: 0 <= f < 1, "a number, 0 or more and below 1"
    )
    batch = estimator.batch_size
    auto = isinstance(batch, str) and batch == "auto"
    if not auto:
        batch = whole("batch_size", batch, 1, _MOST)
    sgd = {"momentum": estimator.momentum} if solver == "sgd" else {}
    with as_parameters():
        trial = make_trial(
            hidden_units=_hidden_units(estimator.hidden_layer_sizes),
            activation="sigmoid" if estimator.activation == "logistic" else estimator.activation,
            learning_rate=estimator.learning_rate_init,
            seed=0,
            optimizer="adam" if solver != "sgd" else "nesterov" if estimator.nesterovs_momentum else "sgd",
            l2=estimator.alpha,
            **sgd,
        )
        check_trial(trial)
        recipe = Recipe(1, AUTO_BATCH if auto else batch, estimator.beta_1, estimator.beta_2, estimator.epsilon)
    return Settings(
        trial,
        recipe,
        solver,
        epochs=whole("max_iter", estimator.max_iter, 1, _MOST),
        tol=real("tol", estimator.tol, lambda t: t >= 0, "a number, 0 or more"),
        patience=float(patience),
        power=power if solver == "sgd" and schedule == "invscaling" else 0.0,
        adaptive=solver == "sgd" and schedule == "adaptive",
        shuffle=bool(estimator.shuffle),
        early_stopping=bool(estimator.early_stopping),
        validation_fraction=share,
        warm_start=bool(estimator.warm_start),
        max_fun=whole("max_fun", estimator.max_fun, 1, _MOST),
    )


def _hidden_units(sizes: Any) -> Widths:
    if isinstance(sizes, int | np.integer):
        return check_widths(sizes)
    layers = listed("hidden_layer_sizes", sizes, "a number of units, a tuple of them, or () for no hidden layer")
    return check_widths(tuple(layers) if len(layers) > 1 else layers[0] if len(layers) else 0)


class Validation(NamedTuple):
    """What decides about early stopping.

    Attributes:
        rows: of the data, for each subset.
        targets: of all rows.
        weights: of all rows, for each subset; None for 1.
    """

    rows: Sequence[Int[np.ndarray, "v"]]
    targets: Num[np.ndarray, "N *K"]
    weights: Sequence[Float[np.ndarray, "N"]] | None


class Trained(NamedTuple):
    """What came of a training.

    Attributes:
        losses: of every epoch; NaN from where a training had stopped.
        scores: likewise, on validation examples; None without them.
        params: of the epoch with the best score, or of the last one.
    """

    losses: Float[np.ndarray, "epochs F T"]
    scores: Float[np.ndarray, "epochs F T"] | None
    params: Params


def course_of(
    settings: Sequence[Settings],
    folds: int,
    *,
    best: float | None = None,
    idle: int = 0,
    rate: float | None = None,
    epochs: int | None = None,
) -> Course:
    """The course of trainings ``[F, T]`` before the first epoch, or of one that goes on."""

    def each(values: Sequence[Any]) -> np.ndarray:
        return np.tile(np.array(values), (folds, 1))

    initial = each([one.trial.learning_rate for one in settings])
    start = best if best is not None else -np.inf if settings[0].early_stopping else np.inf
    return Course(
        initial,
        tol=each([one.tol for one in settings]),
        patience=each([one.patience for one in settings]),
        power=each([one.power for one in settings]),
        adaptive=each([one.adaptive for one in settings]),
        epochs=each([one.epochs if epochs is None else epochs for one in settings]),
        best=np.full(initial.shape, start),
        idle=np.full(initial.shape, idle),
        rate=initial if rate is None else np.full(initial.shape, rate),
    )


def train(
    cohort: Cohort,
    course: Course,
    task: Task,
    counts: Sequence[int],
    *,
    first: int = 0,
    seen: int = 0,
    validation: Validation | None = None,
    on_epoch: Callable[[int, np.ndarray, np.ndarray | None], None] | None = None,
) -> Trained:
    """Train until the course of every training has ended.

    Args:
        cohort: what is trained.
        course: of each training; brought up to date.
        task: what the logits mean.
        counts: number of training examples of each subset.
        first: number of the first epoch.
        seen: number of examples that have been seen before.
        validation: what decides about early stopping, if there is any.
        on_epoch: called after every epoch with the number of epochs trained, losses and scores.
    """
    kept = cohort.copied() if validation is not None else None
    losses: list[np.ndarray] = []
    scored: list[np.ndarray] = []
    while (running := course.running).any():
        loss = cohort.epoch(first + len(losses), np.where(running, course.rate, 0.0))
        score = None
        if validation is not None:
            score = _validation_scores(cohort, task, validation)
            scored.append(np.where(running, score, np.nan))
        losses.append(np.where(running, loss, np.nan))
        better = course.after_epoch(loss, score, seen + len(losses) * np.array(counts)[:, None])
        if kept is not None and better.any():
            kept = cohort.chosen(better, kept)
        if on_epoch is not None:
            on_epoch(len(losses), loss, score)
    params = cohort.state.params if kept is None else kept
    return Trained(np.stack(losses), np.stack(scored) if scored else None, params)


def _validation_scores(cohort: Cohort, task: Task, validation: Validation) -> Float[np.ndarray, "F T"]:
    found = []
    for fold, logits in enumerate(cohort.logits(validation.rows)):
        rows = validation.rows[fold]
        weights = None if validation.weights is None else validation.weights[fold][rows]
        found.append(scores(task, np.moveaxis(logits, 1, 0), validation.targets[rows], weights))
    return np.stack(found)
