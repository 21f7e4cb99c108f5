"""Tasks: the article's output function f, its loss, and the score that it is judged by.

Logits are ``[..., B, K]``: any number of leading axes (trials), a minibatch of B examples, K outputs.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Num

from mlp_jax.errors import InputError, shown

Logits = Float[Array, "*trials B K"]
Targets = Num[Array, "B *K"]
PerExample = Float[Array, "*trials B"]


@dataclass(frozen=True)
class Task:
    """One output function f with its loss and its score.

    Attributes:
        name: ``multiclass``, ``binary`` or ``regression``.
        score_name: what the score is; more is better for every task.
        probabilities: the article's f, logits to predictions.
        predict: logits to decisions: a class, or the predicted value.
        loss: loss of each example.
        smoothed_loss: the same with labels smoothed by a share for each trial, ``[T]`` (Szegedy et al., 2016).
        hit: quantity of each example whose mean over a split, put through ``score``, is the split's score.
        graded: whether ``hit`` is any number (a squared error, less is better) rather than 0 or 1 (1 for correct).
    """

    name: str
    score_name: str
    probabilities: Callable[[Logits], Array]
    predict: Callable[[Logits], Array]
    loss: Callable[[Logits, Targets], PerExample]
    smoothed_loss: Callable[[Logits, Targets, Float[Array, "T"]], PerExample]
    hit: Callable[[Logits, Targets], PerExample]
    graded: bool = False

    def score(self, mean_hit: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The score of a split from the mean of ``hit`` over its examples.

        Args:
            mean_hit: any shape (trials, epochs, ...).
            targets: the split's targets, ``[N]`` or ``[N, K]``.

        Returns:
            For classes the accuracy, which is the mean itself; for regression the coefficient of
            determination R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)² (pooled over outputs), NaN where the targets do not vary.
        """
        if not self.graded:
            return mean_hit
        variance = variance_of(targets)
        return 1.0 - mean_hit / variance if variance > 0 else np.full_like(mean_hit, np.nan)

    def guess_hits(self, train: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """``hit`` ``[N]`` of the trivial guess: always the commonest class of the training split, or its mean.

        Args:
            train: targets of the training split.
            targets: those of the split that is guessed.
        """
        if self.graded:
            return np.mean((targets - train.mean(axis=0, dtype=float)).reshape(len(targets), -1) ** 2, axis=1)
        return targets == np.bincount(train).argmax()

    def guess_loss(self, targets: np.ndarray) -> float:
        """Mean loss of answering nothing, all logits 0: ln K, ln 2, or the mean of y²; ``targets`` as in ``score``.

        For ``multiclass`` K is taken from the targets.
        """
        if self.name == "regression":
            return float(np.mean(targets**2))
        return float(np.log(2 if self.name == "binary" else max(2, int(targets.max()) + 1)))


def variance_of(targets: np.ndarray) -> float:
    """Of values ``[N]`` or ``[N, K]``, pooled over outputs: exactly 0 where all are the same."""
    if not len(targets) or (targets == targets[0]).all():
        return 0.0
    return float(np.mean((targets - targets.mean(axis=0, dtype=float)) ** 2))


def class_logits(task: str, logits: Float[Array, "*trials B K"]) -> Float[Array, "*trials B classes"]:
    """A logit for every class: those of ``multiclass`` as they are, 0 and z for the single logit z of ``binary``.

    Their softmax is (σ(−z), σ(z)), where 1 − σ(z) would be 0 for every z above 17 in float32.
    """
    return jnp.pad(logits, [(0, 0)] * (logits.ndim - 1) + [(1, 0)]) if task == "binary" else logits


def _cross_entropy(logits: Logits, labels: Targets) -> PerExample:
    # One-hot rather than a gather: its gradient is elementwise, where a gather's is a scatter.
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return optax.softmax_cross_entropy(logits, jnp.broadcast_to(one_hot, logits.shape))


def _smoothed_cross_entropy(logits: Logits, labels: Targets, smoothing: Float[Array, "T"]) -> PerExample:
    """Against 1 − s at the label, and s shared among all K classes."""
    share = smoothing[:, None]
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return (1 - share) * _cross_entropy(logits, labels) - share * log_p.mean(axis=-1)


def _correct_class(logits: Logits, labels: Targets) -> PerExample:
    predicted = jnp.argmax(logits, axis=-1).astype(labels.dtype)
    return (predicted == jnp.broadcast_to(labels, predicted.shape)).astype(logits.dtype)


MOST_APART = 16
"""Classes that are written out one by one; of more, the program would be long and slow to compile."""


def classes_apart(task: Task) -> Task:
    """The same task, where there are few classes with every class written out.

    A maximum and a sum over classes are reductions, each of them a kernel of its own on a GPU, with another to read
    what it made; written out they are elementwise, and all of it is one. The same but for rounding.
    """
    if task.name != "multiclass":
        return task

    def few(logits: Logits) -> bool:
        return logits.shape[-1] <= MOST_APART

    return replace(
        task,
        loss=lambda logits, labels: (_cross_entropy_apart if few(logits) else task.loss)(logits, labels),
        hit=lambda logits, labels: (_correct_class_apart if few(logits) else task.hit)(logits, labels),
    )


@jax.custom_vjp
def _cross_entropy_apart(logits: Logits, labels: Targets) -> PerExample:
    return _cross_entropy_and_share(logits, labels)[0]


def _cross_entropy_and_share(logits: Logits, labels: Targets) -> tuple[PerExample, Logits]:
    """The loss, and its gradient by the logits: softmax less one at the label."""
    each = [logits[..., k] for k in range(logits.shape[-1])]
    most = functools.reduce(jnp.maximum, each)
    powers = [jnp.exp(logit - most) for logit in each]
    total = functools.reduce(jnp.add, powers)
    at_label = [jnp.broadcast_to(labels == k, most.shape) for k in range(len(each))]
    # A where, as a product would turn an infinite logit of another class into NaN.
    own = functools.reduce(jnp.add, [jnp.where(at, logit, 0) for at, logit in zip(at_label, each, strict=True)])
    share = [power / total - at.astype(power.dtype) for power, at in zip(powers, at_label, strict=True)]
    return jnp.log(total) + most - own, jnp.stack(share, axis=-1)


_cross_entropy_apart.defvjp(
    lambda logits, labels: _cross_entropy_and_share(logits, labels),
    lambda share, cotangent: (share * cotangent[..., None], None),
)


def _correct_class_apart(logits: Logits, labels: Targets) -> PerExample:
    """``_correct_class``, a NaN being the greatest as ``argmax`` has it."""
    most, best = logits[..., 0], jnp.zeros(logits.shape[:-1], labels.dtype)
    for k in range(1, logits.shape[-1]):
        better = (logits[..., k] > most) | (jnp.isnan(logits[..., k]) & ~jnp.isnan(most))
        most, best = jnp.where(better, logits[..., k], most), jnp.where(better, jnp.asarray(k, labels.dtype), best)
    return (best == jnp.broadcast_to(labels, best.shape)).astype(logits.dtype)


def _binary_cross_entropy(logits: Logits, labels: Targets) -> PerExample:
    wide = jnp.broadcast_to(labels.astype(logits.dtype), logits.shape[:-1])
    return optax.sigmoid_binary_cross_entropy(logits[..., 0], wide)


def _smoothed_binary_cross_entropy(logits: Logits, labels: Targets, smoothing: Float[Array, "T"]) -> PerExample:
    share = smoothing[:, None]
    z = logits[..., 0]
    even = (jax.nn.softplus(z) + jax.nn.softplus(-z)) / 2
    return (1 - share) * _binary_cross_entropy(logits, labels) + share * even


def _correct_side(logits: Logits, labels: Targets) -> PerExample:
    predicted = logits[..., 0] > 0
    return (predicted == jnp.broadcast_to(labels == 1, predicted.shape)).astype(logits.dtype)


def _squared_error(logits: Logits, values: Targets) -> PerExample:
    wide = jnp.broadcast_to(values.astype(logits.dtype), logits.shape)
    return jnp.mean((logits - wide) ** 2, axis=-1)


TASKS = {
    task.name: task
    for task in (
        Task(
            "multiclass",
            "accuracy",
            probabilities=lambda logits: jax.nn.softmax(logits, axis=-1),
            predict=lambda logits: jnp.argmax(logits, axis=-1),
            loss=_cross_entropy,
            smoothed_loss=_smoothed_cross_entropy,
            hit=_correct_class,
        ),
        Task(
            "binary",
            "accuracy",
            probabilities=lambda logits: jax.nn.sigmoid(logits[..., 0]),
            predict=lambda logits: (logits[..., 0] > 0).astype(jnp.int32),
            loss=_binary_cross_entropy,
            smoothed_loss=_smoothed_binary_cross_entropy,
            hit=_correct_side,
        ),
        Task(
            "regression",
            "R²",
            probabilities=lambda logits: logits,
            predict=lambda logits: logits,
            loss=_squared_error,
            smoothed_loss=lambda logits, values, _: _squared_error(logits, values),  # there are no labels
            hit=_squared_error,
            graded=True,
        ),
    )
}


def get_task(name: Any) -> Task:
    """The task of that name; raises InputError naming the known ones."""
    if not isinstance(name, str) or name not in TASKS:
        raise InputError(f"unknown task {shown(name)}: expected one of {', '.join(TASKS)}")
    return TASKS[name]
