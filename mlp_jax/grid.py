"""The grid: the trials asked for."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np

from mlp_jax.errors import InputError, listed, shown, whole
from mlp_jax.layouts import Architecture
from mlp_jax.models import check_activation, check_seed, check_width
from mlp_jax.recipe import check_learning_rate

ARTICLE_WIDTHS = (10, 25, 50, 100, 150, 200)
MOST_TRIALS = 10_000_000
"""Of a grid; more than any machine trains, and few enough to list."""


_AXES: dict[str, Callable[[Any], Any]] = {
    "hidden_units": check_width,
    "activations": check_activation,
    "learning_rates": check_learning_rate,
    "seeds": check_seed,
}
"""Of a grid, and what makes a value of each of what was given, or raises InputError."""


class Trial(NamedTuple):
    """One point of the grid, trained as if it were alone."""

    hidden_units: int
    activation: str
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Grid:
    """All the trials asked for: every combination of the four.

    Attributes:
        hidden_units: widths M of the hidden layer; 0 for none (softmax, logistic or linear regression).
        activations: of the hidden layer, names in ``mlp_jax.ACTIVATIONS``.
        learning_rates: Adam's α.
        seeds: of initial weights and minibatches; a number n stands for 0, ..., n − 1.
    """

    hidden_units: Sequence[int] = ARTICLE_WIDTHS
    activations: Sequence[str] = ("sigmoid",)
    learning_rates: Sequence[float] = (1e-3,)
    seeds: Sequence[int] | int = 5

    def __post_init__(self) -> None:
        for name, checked in _AXES.items():
            values = getattr(self, name)
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
            object.__setattr__(self, name, tuple(checked(value) for value in values))
        for name in _AXES:
            value, times = Counter(getattr(self, name)).most_common(1)[0]
            if times > 1:
                raise InputError(f"{name} holds {shown(value)} {times} times: expected each value once")

        count = len(self.hidden_units) * len(self.activations) * len(self.learning_rates) * len(self._seeds)
        if count > MOST_TRIALS:
            raise InputError(f"the grid has {count} trials: expected at most {MOST_TRIALS}")

    @property
    def _seeds(self) -> tuple[int, ...]:
        return cast("tuple[int, ...]", self.seeds)  # __post_init__ made it one

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every combination, seeds varying fastest."""
        points = itertools.product(self.hidden_units, self.activations, self.learning_rates, self._seeds)
        return tuple(Trial(*point) for point in points)

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """The trials of one replica."""
        return tuple(Architecture(f, m) for m, f in itertools.product(self.hidden_units, self.activations))

    @cached_property
    def replicas(self) -> tuple[tuple[float, int], ...]:
        """(learning rate, seed) of each replica."""
        return tuple(itertools.product(self.learning_rates, self._seeds))
