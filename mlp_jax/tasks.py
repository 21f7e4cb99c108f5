"""Tasks: the output function, the loss, and the score that a model is judged by.

Logits are ``[..., B, K]``: any number of leading axes (trials), a minibatch of B examples, K outputs.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Num

from mlp_jax.errors import InputError, shown

Logits = Float[Array, "*trials B K"]
Targets = Num[Array, "*B_K"]
PerExample = Float[Array, "*trials B"]

LOSSES = ("likelihood", "squared-error")
"""What each task can be trained on: the negative log-likelihood of its output function (cross-entropy; squared error
for regression), or the squared error of the logits against one-hot targets, against −1 and 1 for the one logit of two
classes."""

Loss = Callable[[Logits, Targets, Float[Array, "T"] | None], PerExample]
"""Loss of each example, from logits, targets and the smoothing of each trial (None for none).

Targets may have the axis of trials in front. Smoothing spreads a share of each label evenly over all classes (Szegedy
et al., 2016)."""


@dataclass(frozen=True, eq=False)  # each is itself alone, so that programs can be compiled for one
class Task:
    """An output function with its losses and its score.

    Attributes:
        name: ``multiclass``, ``binary`` or ``regression``.
        score_name: name of the score; higher is better for every task.
        probabilities: output function, from logits to predictions.
        predict: logits to decisions: a class, or the predicted value.
        losses: by name in ``LOSSES``.
        hit: a number per example; ``score`` turns its mean over a split into the split's score.
        graded: whether ``hit`` can be any number (a squared error, lower is better) rather than 0 or 1 (1 for correct).
    """

    name: str
    score_name: str
    probabilities: Callable[[Logits], Array]
    predict: Callable[[Logits], Array]
    losses: Mapping[str, Loss]
    hit: Callable[[Logits, Targets], PerExample]
    graded: bool = False

    @property
    def loss(self) -> Loss:
        """The task's own loss: the negative log-likelihood."""
        return self.losses["likelihood"]

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

    def guess_loss(self, targets: np.ndarray, loss: str = "likelihood") -> float:
        """Mean loss of a model whose logits are all 0: ln K, ln 2, or the mean of y²; ``targets`` as in ``score``.

        For ``multiclass`` K is taken from the targets. For ``squared-error`` it is 1 / K, or 1 for a single logit.
        """
        if self.name == "regression":
            return float(np.mean(targets**2))
        classes = 2 if self.name == "binary" else max(2, int(targets.max()) + 1)
        if loss == "likelihood":
            return float(np.log(classes))
        return 1.0 if self.name == "binary" else 1 / classes


def variance_of(targets: np.ndarray) -> float:
    """Variance of values ``[N]`` or ``[N, K]``, pooled over outputs: exactly 0 where all are the same."""
    if not len(targets) or (targets == targets[0]).all():
        return 0.0
    return float(np.mean((targets - targets.mean(axis=0, dtype=float)) ** 2))


def class_logits(task: str, logits: Float[Array, "*trials B K"]) -> Float[Array, "*trials B classes"]:
    """One logit per class: those of ``multiclass`` as they are, 0 and z for the single logit z of ``binary``.

    Their softmax is (σ(−z), σ(z)), where 1 − σ(z) would be 0 for every z above 17 in float32.
    """
    return jnp.pad(logits, [(0, 0)] * (logits.ndim - 1) + [(1, 0)]) if task == "binary" else logits


def _one_hot(logits: Logits, labels: Targets) -> Logits:
    # One-hot rather than a gather: its gradient is elementwise, where a gather's is a scatter.
    return jnp.broadcast_to(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), logits.shape)


def _cross_entropy(logits: Logits, labels: Targets, smoothing: Float[Array, "T"] | None) -> PerExample:
    loss = optax.softmax_cross_entropy(logits, _one_hot(logits, labels))
    if smoothing is None:
        return loss
    share = smoothing[:, None]
    return (1 - share) * loss - share * jax.nn.log_softmax(logits, axis=-1).mean(axis=-1)


def _one_hot_error(logits: Logits, labels: Targets, smoothing: Float[Array, "T"] | None) -> PerExample:
    wanted = _one_hot(logits, labels)
    if smoothing is not None:
        share = smoothing[:, None, None]
        wanted = (1 - share) * wanted + share / logits.shape[-1]
    return jnp.mean((logits - wanted) ** 2, axis=-1)


def _correct_class(logits: Logits, labels: Targets) -> PerExample:
    predicted = jnp.argmax(logits, axis=-1).astype(labels.dtype)
    return (predicted == jnp.broadcast_to(labels, predicted.shape)).astype(logits.dtype)


MOST_APART = 16
"""Classes that are written out one by one; with more, the program would be long and slow to compile."""


def classes_apart(task: Task) -> Task:
    """The same task, where there are few classes with every class written out.

    A maximum and a sum over classes are reductions, each of them a kernel of its own on a GPU, with another to read
    what it made; written out they are elementwise, and all of it is one. The same but for rounding.
    """
    if task.name != "multiclass":
        return task

    def few(logits: Logits) -> bool:
        return logits.shape[-1] <= MOST_APART

    def loss(logits: Logits, labels: Targets, smoothing: Float[Array, "T"] | None) -> PerExample:
        if few(logits) and smoothing is None:
            return _cross_entropy_apart(logits, labels)
        return task.loss(logits, labels, smoothing)

    def hit(logits: Logits, labels: Targets) -> PerExample:
        return (_correct_class_apart if few(logits) else task.hit)(logits, labels)

    return replace(task, losses={**task.losses, "likelihood": loss}, hit=hit)


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


def _binary_cross_entropy(logits: Logits, labels: Targets, smoothing: Float[Array, "T"] | None) -> PerExample:
    z = logits[..., 0]
    loss = optax.sigmoid_binary_cross_entropy(z, jnp.broadcast_to(labels.astype(z.dtype), z.shape))
    if smoothing is None:
        return loss
    share = smoothing[:, None]
    return (1 - share) * loss + share * (jax.nn.softplus(z) + jax.nn.softplus(-z)) / 2


def _sign_error(logits: Logits, labels: Targets, smoothing: Float[Array, "T"] | None) -> PerExample:
    z = logits[..., 0]
    wanted = jnp.broadcast_to(2 * labels.astype(z.dtype) - 1, z.shape)
    return (z - (wanted if smoothing is None else (1 - smoothing[:, None]) * wanted)) ** 2


def _correct_side(logits: Logits, labels: Targets) -> PerExample:
    predicted = logits[..., 0] > 0
    return (predicted == jnp.broadcast_to(labels == 1, predicted.shape)).astype(logits.dtype)


def _squared_error(logits: Logits, values: Targets, smoothing: Float[Array, "T"] | None) -> PerExample:
    wide = jnp.broadcast_to(values.astype(logits.dtype), logits.shape)
    return jnp.mean((logits - wide) ** 2, axis=-1)  # there are no labels to be smoothed


TASKS = {
    task.name: task
    for task in (
        Task(
            "multiclass",
            "accuracy",
            probabilities=lambda logits: jax.nn.softmax(logits, axis=-1),
            predict=lambda logits: jnp.argmax(logits, axis=-1),
            losses={"likelihood": _cross_entropy, "squared-error": _one_hot_error},
            hit=_correct_class,
        ),
        Task(
            "binary",
            "accuracy",
            probabilities=lambda logits: jax.nn.sigmoid(logits[..., 0]),
            predict=lambda logits: (logits[..., 0] > 0).astype(jnp.int32),
            losses={"likelihood": _binary_cross_entropy, "squared-error": _sign_error},
            hit=_correct_side,
        ),
        Task(
            "regression",
            "R²",
            probabilities=lambda logits: logits,
            predict=lambda logits: logits,
            losses=dict.fromkeys(LOSSES, _squared_error),
            hit=lambda logits, values: _squared_error(logits, values, None),
            graded=True,
        ),
    )
}


def get_task(name: Any) -> Task:
    """The task of that name; raises InputError naming the known ones."""
    if not isinstance(name, str) or name not in TASKS:
        raise InputError(f"unknown task {shown(name)}: expected one of {', '.join(TASKS)}")
    return TASKS[name]


def loss_of_each(task: Task, losses: Sequence[str]) -> Loss:
    """The loss of T trials, each by its own name in ``LOSSES``."""
    if len(set(losses)) == 1:
        return task.losses[losses[0]]

    def loss(logits: Logits, targets: Targets, smoothing: Float[Array, "T"] | None) -> PerExample:
        found = task.loss(logits, targets, smoothing)
        for name in dict.fromkeys(losses):
            mine = np.array([each == name for each in losses])[:, None]
            found = jnp.where(mine, task.losses[name](logits, targets, smoothing), found)
        return found

    return loss
