"""Axes: the things in which trials can differ, each declared once.

Command line, grids, tables and checks follow from the declaration. There are three kinds: a *shape* decides what is
compiled; a *number* is one traced value for each trial, so that a new value compiles nothing; an *order* decides the
minibatches, which trials of one replica share.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from mlp_jax.errors import InputError, one_of, real, whole
from mlp_jax.networks.layers import Widths, check_activation, check_widths
from mlp_jax.training.optimizers import OPTIMIZERS

_SMALLEST, _GREATEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Axis:
    """One thing in which trials differ.

    Attributes:
        name: of a trial's value, and of its column in tables.
        plural: of the values in a grid.
        kind: ``shape``, ``number`` or ``order``.
        check: makes a value of what was given, or raises InputError.
        label: for people.
        default: what a trial has that is not asked for otherwise; None where it has to be asked for.
    """

    name: str
    plural: str
    kind: Literal["shape", "number", "order"]
    check: Callable[[Any], Any]
    label: str
    default: Any = None


def check_seed(seed: Any) -> int:
    """The seed as an int; raises InputError unless it is a whole number that JAX makes a key of its own from."""
    return whole("seed", seed, 0, 2**32 - 1)


def check_learning_rate(learning_rate: Any) -> float:
    """The learning rate as a Python number.

    Raises:
        InputError: it is not a finite number above 0, or float32 would make one that is not.
    """
    expected = f"a finite float32 number above 0 ({_SMALLEST:.3g} or more)"
    return real("learning rate", learning_rate, lambda rate: _SMALLEST <= rate <= _GREATEST, expected)


def _not_negative(what: str) -> Callable[[Any], float]:
    expected = "a finite float32 number, 0 or more"
    return lambda value: real(what, value, lambda number: 0 <= number <= _GREATEST, expected)


def _below_one(what: str) -> Callable[[Any], float]:
    return lambda value: real(what, value, lambda number: 0 <= number < 1, "a number, 0 or more and below 1")


AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("hidden_units", "hidden_units", "shape", check_widths, "M"),
        Axis("activation", "activations", "shape", check_activation, "activation"),
        Axis("learning_rate", "learning_rates", "number", check_learning_rate, "learning rate"),
        Axis("seed", "seeds", "order", check_seed, "seed"),
        Axis(
            "optimizer", "optimizers", "shape", lambda name: one_of("optimizer", name, OPTIMIZERS), "optimizer", "adam"
        ),
        Axis("momentum", "momenta", "number", _below_one("momentum"), "momentum", 0.0),
        Axis("weight_decay", "weight_decays", "number", _not_negative("weight decay"), "weight decay", 0.0),
        Axis("l2", "l2s", "number", _not_negative("l2"), "L2 penalty", 0.0),
        Axis("label_smoothing", "label_smoothings", "number", _below_one("label smoothing"), "label smoothing", 0.0),
    )
}
"""By name, in the order of a trial's fields."""


class Trial(NamedTuple):
    """One network to train, as if it were alone.

    Attributes:
        hidden_units: M, the width of the hidden layer; 0 for none, a tuple for several.
        activation: of the hidden layers, a name in ``mlp_jax.ACTIVATIONS``.
        learning_rate: the optimizer's α.
        seed: of initial weights and minibatches.
        optimizer: ``adam``, ``adamw``, ``sgd``, or ``nesterov`` (SGD with Nesterov's momentum).
        momentum: of SGD.
        weight_decay: what each step takes off every parameter, as a share times the learning rate: as PyTorch's and
            optax's AdamW have it, and PyTorch's SGD.
        l2: λ of the penalty ½ λ Σ W² on the weights, without the biases, that is added to the loss.
        label_smoothing: share of each label that is spread over all classes.
    """

    hidden_units: Widths
    activation: str
    learning_rate: float
    seed: int
    optimizer: str = "adam"
    momentum: float = 0.0
    weight_decay: float = 0.0
    l2: float = 0.0
    label_smoothing: float = 0.0

    def __repr__(self) -> str:
        """Without what is as usual."""
        values = {name: value for name, value in self._asdict().items() if value != AXES[name].default}
        return f"Trial({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def check_trial(trial: Trial, task: str | None = None) -> None:
    """Raise InputError if a trial's values do not go together."""
    takes = OPTIMIZERS[trial.optimizer].numbers
    for name in ("momentum", "weight_decay"):
        if getattr(trial, name) and name not in takes:
            able = ", ".join(each for each, optimizer in OPTIMIZERS.items() if name in optimizer.numbers)
            penalty = "; l2 is a penalty for every optimizer" if name == "weight_decay" else ""
            raise InputError(
                f"{AXES[name].label} is {getattr(trial, name)} with optimizer {trial.optimizer}, which takes none: "
                f"expected 0, or an optimizer of {able}{penalty}"
            )
    if trial.label_smoothing and task == "regression":
        raise InputError(
            f"label smoothing is {trial.label_smoothing} for a regression, which has no labels: expected 0"
        )


def decays(trial: Trial) -> bool:
    """Whether weights move that get no gradient."""
    return trial.weight_decay > 0 or trial.l2 > 0


RULE = tuple(name for name, axis in AXES.items() if axis.default is not None)
"""Names of the axes that say how weights are updated, besides the learning rate: what the article does not vary."""

NUMBERS = tuple(name for name, axis in AXES.items() if axis.kind == "number")
"""Names of the number axes."""
