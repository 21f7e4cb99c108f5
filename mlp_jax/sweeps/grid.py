"""The grid: the trials asked for."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlp_jax.errors import InputError, instance, listed, shown, whole
from mlp_jax.networks.layers import Widths
from mlp_jax.training.axes import AXES, RULE, Trial, check_trial

ARTICLE_WIDTHS = (10, 25, 50, 100, 150, 200)
MOST_TRIALS = 10_000_000
"""Of a grid; more than any machine trains, and few enough to list."""

__all__ = ["ARTICLE_WIDTHS", "MOST_TRIALS", "Grid", "Trial"]

_TOGETHER = (
    ("optimizer", "momentum", "weight_decay"),
    ("schedule", "decay_steps", "decay_factor"),
    ("parametrization", "base_width"),
    ("network", "hidden_units"),
)
"""Axes whose values have to fit each other (``check_trial``)."""

Values = Mapping[str, tuple[Any, ...]]
"""Of each axis, by plural name."""


@dataclass(frozen=True, init=False)
class Grid:
    """The trials asked for: every combination of the values on each axis (``mlp_jax.training.axes``), or several such.

    Grids are added with ``+``; a trial that is in both is in the sum once.

    Attributes:
        products: of each summand the values on every axis.
    """

    products: tuple[Values, ...]

    def __init__(
        self,
        hidden_units: Sequence[Widths] = ARTICLE_WIDTHS,
        activations: Sequence[str] = ("sigmoid",),
        learning_rates: Sequence[float] = (1e-3,),
        seeds: Sequence[int] | int = 5,
        **others: Sequence[Any],
    ) -> None:
        """Make the grid of all combinations.

        Args:
            hidden_units: widths M of the hidden layer; 0 for none (softmax, logistic or linear regression), a tuple for
                several layers.
            activations: of the hidden layers, names in ``mlp_jax.ACTIVATIONS``.
            learning_rates: of the optimizer, α.
            seeds: of initial weights and minibatches; a number n stands for 0, ..., n − 1.
            **others: the values of further axes by their plural names: ``optimizers``, ``momenta``, ``weight_decays``,
                ``schedules``, ``dropouts``, ... (see ``Trial``).

        Raises:
            InputError: an axis or a value that does not exist, values that do not go together, or too many trials.
        """
        given = {
            "hidden_units": hidden_units,
            "activations": activations,
            "learning_rates": learning_rates,
            "seeds": seeds,
            **others,
        }
        known = [axis.plural for axis in AXES.values()]
        for plural in given:
            if plural not in known:
                raise InputError(f"a grid has no {shown(plural)}: expected one of {', '.join(known)}")
        object.__setattr__(self, "products", (_product(given),))

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> "Grid":
        """The grid of these very trials.

        Raises:
            InputError: there is none, or one that makes no sense.
        """
        products: list[Values] = []
        for trial in trials:
            instance("a trial", trial, Trial, "an mlp_jax.Trial")
            products.append(_product({AXES[name].plural: [value] for name, value in trial._asdict().items()}))
        if not products:
            raise InputError("trials is empty: expected at least one")
        return _sum(products)

    def __add__(self, other: "Grid") -> "Grid":
        """The trials of both."""
        instance("a summand", other, Grid, "an mlp_jax.Grid")
        return _sum([*self.products, *other.products])

    def values(self, name: str) -> tuple[Any, ...]:
        """The values that trials have on an axis, in the order in which they come."""
        return tuple(dict.fromkeys(value for product in self.products for value in product[AXES[name].plural]))

    @property
    def axes(self) -> dict[str, Any]:
        """The grid as JSON holds it: the values on each axis that is used; of a sum, all its products as ``grids`` too.

        Used are the article's axes and all whose values differ from the defaults.
        """
        each = [_used(product) for product in self.products]
        if len(each) == 1:
            return each[0]
        used = [axis for axis in AXES.values() if any(axis.plural in one for one in each)]
        return {axis.plural: list(self.values(axis.name)) for axis in used} | {"grids": each}

    @classmethod
    def from_axes(cls, axes: Mapping[str, Any]) -> "Grid":
        """The reverse of ``axes``; other keys are passed over. Where there are ``grids``, they alone count.

        Raises:
            InputError: it makes no sense.
        """
        if "grids" in axes:
            summands = listed("grids", axes["grids"], "a list of grids")
            for each in summands:
                instance("a grid", each, Mapping, "the values of its axes")
            return _sum([product for each in summands for product in cls.from_axes(each).products])
        return cls(**{axis.plural: axes[axis.plural] for axis in AXES.values() if axis.plural in axes})

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every combination, seeds varying fastest; of a sum, one summand after another."""
        fastest = sorted(AXES.values(), key=lambda axis: axis.name == "seed")
        found: dict[Trial, None] = {}
        for product in self.products:
            for values in itertools.product(*(product[axis.plural] for axis in fastest)):
                found[Trial(**dict(zip((axis.name for axis in fastest), values, strict=True)))] = None
        return tuple(found)

    def check(self, task: str) -> None:
        """Raise InputError if any trial is not for that task."""
        for product in self.products:
            first = _first(product)
            for name in ("label_smoothing", "label_noise"):
                for value in product[AXES[name].plural]:
                    check_trial(first._replace(**{name: value}), task)


def _product(given: Mapping[str, Any]) -> Values:
    """The values on every axis, each checked, and those that have to fit each other together."""
    found = {}
    for axis in AXES.values():
        values = _values(axis.plural, given.get(axis.plural, (axis.default,)))
        checked = tuple(axis.check(value) for value in values)
        value, times = Counter(checked).most_common(1)[0]
        if times > 1:
            raise InputError(f"{axis.plural} holds {shown(value)} {times} times: expected each value once")
        found[axis.plural] = checked
    _check_count(math.prod(map(len, found.values())))
    first = _first(found)
    plain = first._replace(**{name: AXES[name].default for names in _TOGETHER for name in names if name in RULE})
    for names in _TOGETHER:
        for values in itertools.product(*(found[AXES[name].plural] for name in names)):
            check_trial(plain._replace(**dict(zip(names, values, strict=True))))
    return found


def _sum(products: Sequence[Values]) -> Grid:
    _check_count(sum(math.prod(map(len, product.values())) for product in products))
    grid = Grid.__new__(Grid)
    object.__setattr__(grid, "products", tuple(products))
    return grid


def _first(product: Values) -> Trial:
    return Trial(**{axis.name: product[axis.plural][0] for axis in AXES.values()})


def _used(product: Values) -> dict[str, list[Any]]:
    usual = {AXES[name].plural: (AXES[name].default,) for name in RULE}
    return {plural: list(values) for plural, values in product.items() if values != usual.get(plural)}


def _check_count(count: int) -> None:
    if count > MOST_TRIALS:
        raise InputError(f"the grid has {count} trials: expected at most {MOST_TRIALS}")


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
