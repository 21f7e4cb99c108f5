"""The grid: the trials asked for."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from mlp_jax.errors import InputError, listed, shown, whole
from mlp_jax.networks.layers import Widths
from mlp_jax.training.axes import AXES, NUMBERS, Trial, check_trial, decays

ARTICLE_WIDTHS = (10, 25, 50, 100, 150, 200)
MOST_TRIALS = 10_000_000
"""Of a grid; more than any machine trains, and few enough to list."""

__all__ = ["ARTICLE_WIDTHS", "MOST_TRIALS", "Grid", "Trial"]


@dataclass(frozen=True)
class Grid:
    """All the trials asked for: every combination of the values on each axis (``mlp_jax.training.axes``).

    Attributes:
        hidden_units: widths M of the hidden layer; 0 for none (softmax, logistic or linear regression), a tuple for
            several layers.
        activations: of the hidden layers, names in ``mlp_jax.ACTIVATIONS``.
        learning_rates: of the optimizer, α.
        seeds: of initial weights and minibatches; a number n stands for 0, ..., n − 1.
        optimizers: ``adam``, ``adamw``, ``sgd``, ``nesterov``.
        momenta: of SGD.
        weight_decays: of AdamW and SGD.
        l2s: penalties on weights.
        label_smoothings: shares of a label.
    """

    hidden_units: Sequence[Widths] = ARTICLE_WIDTHS
    activations: Sequence[str] = ("sigmoid",)
    learning_rates: Sequence[float] = (1e-3,)
    seeds: Sequence[int] | int = 5
    optimizers: Sequence[str] = ("adam",)
    momenta: Sequence[float] = (0.0,)
    weight_decays: Sequence[float] = (0.0,)
    l2s: Sequence[float] = (0.0,)
    label_smoothings: Sequence[float] = (0.0,)

    def __post_init__(self) -> None:
        count = 1
        for axis in AXES.values():
            values = _values(axis.plural, getattr(self, axis.plural))
            object.__setattr__(self, axis.plural, tuple(axis.check(value) for value in values))
            value, times = Counter(self._of(axis.plural)).most_common(1)[0]
            if times > 1:
                raise InputError(f"{axis.plural} holds {shown(value)} {times} times: expected each value once")
            count *= len(values)
        if count > MOST_TRIALS:
            raise InputError(f"the grid has {count} trials: expected at most {MOST_TRIALS}")
        first = {axis.name: self._of(axis.plural)[0] for axis in AXES.values()}
        together = ("optimizer", "momentum", "weight_decay", "label_smoothing")  # what has to fit each other
        for values in itertools.product(*(self._of(AXES[name].plural) for name in together)):
            check_trial(Trial(**first | dict(zip(together, values, strict=True))))

    def _of(self, plural: str) -> tuple[Any, ...]:
        return cast("tuple[Any, ...]", getattr(self, plural))  # __post_init__ made it one

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The values on each axis that was used: those of the article, and all that differ from the defaults."""
        values = {axis.plural: list(self._of(axis.plural)) for axis in AXES.values()}
        defaults = {axis.plural: [axis.default] for axis in AXES.values()}
        return {plural: each for plural, each in values.items() if each != defaults[plural]}

    @cached_property
    def points(self) -> tuple[Trial, ...]:
        """The trials of one replica, all with the first seed."""
        first = self._of("seeds")[0]
        axes = [axis for axis in AXES.values() if axis.kind != "order"]
        combinations = itertools.product(*(self._of(axis.plural) for axis in axes))
        return tuple(
            Trial(seed=first, **dict(zip((axis.name for axis in axes), values, strict=True))) for values in combinations
        )

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every combination, seeds varying fastest."""
        return tuple(point._replace(seed=seed) for point in self.points for seed in self._of("seeds"))

    @property
    def replicas(self) -> tuple[int, ...]:
        """The seed of each replica."""
        return self._of("seeds")

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """By name the number of each point; those that are 0 for all points are left out."""
        by_name = {name: np.array([getattr(point, name) for point in self.points]) for name in NUMBERS}
        return {name: values for name, values in by_name.items() if values.any()}

    @property
    def decays(self) -> bool:
        """Whether, in some trial, weights move that get no gradient."""
        return any(map(decays, self.points))


def _values(name: str, values: Any) -> Sequence[Any]:
    if name == "seeds" and isinstance(values, int | np.integer):
        values = range(whole("seeds", values, 1, MOST_TRIALS))
    values = listed(name, values, "a list of values")
    try:
        length = len(values)
    except OverflowError:  # a range can be longer than len can say
        raise InputError(f"{name} is {shown(values)}: expected at most {MOST_TRIALS} values") from None
    if length > MOST_TRIALS:
        raise InputError(f"{name} has {length} values: expected at most {MOST_TRIALS}")
    if not length:
        raise InputError(f"{name} is empty: expected at least one value")
    return values
