"""What the estimators minimize: scikit-learn's losses, as tasks of this package."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, Num
from scipy.special import expit

from mlp_jax.tasks import LOSSES, TASKS, Loss, Task

MULTICLASS, BINARY = TASKS["multiclass"], TASKS["binary"]


_SUM = "squared-error"
"""Name of the losses that are sums over outputs, in value as in gradient."""


def _task(
    name: str,
    score: str,
    output: Callable[[Array], Array],
    loss: Callable[[Array, Array], Array],
    reported: Callable[[Array], Array] | None = None,
) -> Task:
    """A task over targets ``[B, K]``, with the gradient of the sum of the losses of the outputs.

    Args:
        name: of the task.
        score: its name.
        output: from logits to predictions.
        loss: of each output.
        reported: from the losses of the outputs to the value that is reported; None for their sum.
    """

    def of_outputs(logits: Array, targets: Array) -> Array:
        return loss(logits, jnp.broadcast_to(targets.astype(logits.dtype), logits.shape))

    def total(logits: Array, targets: Array, smoothing: Array | None) -> Array:
        return of_outputs(logits, targets).sum(axis=-1)

    def told(logits: Array, targets: Array, smoothing: Array | None) -> Array:
        each = of_outputs(logits, targets)
        summed = each.sum(axis=-1)
        if reported is None:
            return summed
        return jax.lax.stop_gradient(reported(each)) + (summed - jax.lax.stop_gradient(summed))

    return Task(
        name,
        score,
        probabilities=output,
        predict=output,
        losses={each: total if each == _SUM else told for each in LOSSES},
        hit=lambda logits, targets: jnp.zeros(logits.shape[:-1], logits.dtype),  # scores are the estimators' own
        graded=True,
    )


MULTILABEL = _task("multilabel", "accuracy", jax.nn.sigmoid, optax.sigmoid_binary_cross_entropy)
SQUARED_ERROR = _task(
    "squared_error",
    "R²",
    lambda logits: logits,
    lambda logits, values: (logits - values) ** 2 / 2,
    reported=lambda each: each.mean(axis=-1),  # as scikit-learn does, though its gradient is the sum's
)
POISSON = _task(
    "poisson",
    "R²",
    jnp.exp,
    lambda logits, values: jnp.exp(logits) - values * logits + xlogy(values, values) - values,
)

OUT_ACTIVATIONS = {
    MULTICLASS: "softmax",
    BINARY: "logistic",
    MULTILABEL: "logistic",
    SQUARED_ERROR: "identity",
    POISSON: "exp",
}


def consistent_loss(task: Task) -> Loss:
    """The loss with the value that its gradient belongs to, which a line search needs."""
    return task.loss if task in (MULTICLASS, BINARY) else task.losses[_SUM]


def decisions(task: Task, logits: Float[np.ndarray, "*trials N K"]) -> Num[np.ndarray, "..."]:
    """Numbers of classes, truth values of labels, or values."""
    if task is MULTICLASS:
        return logits.argmax(axis=-1)
    if task is BINARY:
        return (logits[..., 0] > 0).astype(int)
    if task is MULTILABEL:
        return (expit(logits) > 0.5).astype(int)
    return np.exp(logits) if task is POISSON else logits


def scores(
    task: Task,
    logits: Float[np.ndarray, "*trials N K"],
    targets: Num[np.ndarray, "N *K"],
    weights: Float[np.ndarray, "N"] | None,
) -> Float[np.ndarray, "*trials"]:
    """What ``score`` of an estimator is: (subset) accuracy, or R², the mean over outputs; NaN unless all is finite."""
    logits = np.asarray(logits, np.float64)
    finite = np.isfinite(logits).all(axis=(-2, -1))
    with np.errstate(over="ignore", invalid="ignore"):
        predicted = decisions(task, logits)
        if task in (SQUARED_ERROR, POISSON):
            values = np.asarray(targets, np.float64)
            centre = np.average(values, axis=0, weights=weights)
            error = np.average((predicted - values) ** 2, axis=-2, weights=weights)
            variance = np.average((values - centre) ** 2, axis=0, weights=weights)
            perfect = np.where(error == 0, 1.0, 0.0)  # as scikit-learn has it where values do not vary
            found = np.where(variance > 0, 1 - error / np.where(variance > 0, variance, 1), perfect).mean(axis=-1)
        else:
            right = predicted == targets
            found = np.average(right.all(axis=-1) if task is MULTILABEL else right, axis=-1, weights=weights)
    return np.where(finite, found, np.nan)
