"""The grid: the trials asked for."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlp_jax.errors import InputError, instance, listed, shown, whole
from mlp_jax.networks.layers import Widths
from mlp_jax.training.axes import AXES, RULE, Trial, check_trial

ARTICLE_WIDTHS = (10, 25, 50, 100, 150, 200)
MOST_TRIALS = 10_000_000
"""Most trials of a grid: more than any machine trains, and few enough to list."""

__all__ = ["ARTICLE_WIDTHS", "MOST_TRIALS", "Grid", "Trial"]

_TOGETHER = (
    ("optimizer", "momentum", "weight_decay"),
    ("schedule", "decay_steps", "decay_factor"),
    ("parametrization", "base_width"),
    ("network", "hidden_units"),
)
"""Groups of axes whose values have to fit each other (``check_trial``)."""

Values = Mapping[str, tuple[Any, ...]]
"""The values on each axis, by the axis's plural name."""


@dataclass(frozen=True, init=False)
class Grid:
    """The trials asked for: every combination of the values on each axis (``mlp_jax.training.axes``), or several such.

    Grids are added with ``+``; a trial that is in both is in the sum once.

    Attributes:
        products: the values on every axis, for each summand.
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
        """Make a grid of all combinations.

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
        """Make a grid of exactly these trials.

        Raises:
            InputError: there is no trial, or one that makes no sense.
        """
        products: list[Values] = []
        for trial in trials:
            instance("a trial", trial, Trial, "an mlp_jax.Trial")
            products.append(_product({AXES[name].plural: [value] for name, value in trial._asdict().items()}))
        if not products:
            raise InputError("trials is empty: expected at least one")
        return _sum(products)

    def __add__(self, other: "Grid") -> "Grid":
        """The trials of both grids."""
        instance("a summand", other, Grid, "an mlp_jax.Grid")
        return _sum([*self.products, *other.products])

    def __sub__(self, other: "Grid") -> "Grid":
        """The trials that the other lacks, in as few products as their order allows.

        Raises:
            InputError: it lacks none.
        """
        instance("a grid to take away", other, Grid, "an mlp_jax.Grid")
        theirs = set(other.trials)
        left = [trial for trial in self.trials if trial not in theirs]
        if not left:
            raise InputError("the grids have the same trials: expected one that the other lacks")
        return _sum(_factored(left))

    def united(self, other: "Grid") -> "Grid":
        """The trials of both, as they would have been asked for at once: in one product, if they are one.

        The values on an axis ascend if those of each grid do; else those of the other follow behind.
        """
        instance("a grid to unite with", other, Grid, "an mlp_jax.Grid")
        both = self + other
        ranks = []
        for name in _fastest():
            values = list(both.values(name))
            if all(_ascend(grid.values(name)) for grid in (self, other)):
                values.sort()
            ranks.append({value: rank for rank, value in enumerate(values)})

        def place(trial: Trial) -> tuple[int, ...]:
            return tuple(rank[getattr(trial, name)] for name, rank in zip(_fastest(), ranks, strict=True))

        return _sum(_factored(sorted(both.trials, key=place)))

    def changed(self, change: Callable[[Values], Mapping[str, Any]]) -> "Grid":
        """Every product with the values that ``change`` makes of it, by plural name, in place of its own.

        Raises:
            InputError: values that make no sense, or do not go together.
        """
        return _sum([_product({**product, **change(product)}) for product in self.products])

    def values(self, name: str) -> tuple[Any, ...]:
        """The values that trials have on an axis, in order of appearance."""
        return tuple(dict.fromkeys(value for product in self.products for value in product[AXES[name].plural]))

    @property
    def axes(self) -> dict[str, Any]:
        """The grid as JSON holds it: the values on each axis that is used; of a sum, all its products as ``grids`` too.

        The article's axes are always included, the others where a value is not the default.
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
        fastest = _fastest()
        found: dict[Trial, None] = {}
        for product in self.products:
            for values in itertools.product(*(product[AXES[name].plural] for name in fastest)):
                found[Trial(**dict(zip(fastest, values, strict=True)))] = None
        return tuple(found)

    def check(self, task: str) -> None:
        """Raise InputError if some trial does not suit the task."""
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


def _fastest() -> list[str]:
    """Names of the axes, from the one that varies slowest in a product's trials to the seed."""
    return sorted(AXES, key=lambda name: name == "seed")


def _ascend(values: Sequence[Any]) -> bool:
    numbers = all(isinstance(value, int | float) for value in values)
    return numbers and all(less < more for less, more in itertools.pairwise(values))


def _factored(trials: Sequence[Trial]) -> list[Values]:
    """Products that have these trials and no others, each once: of those that differ on one axis alone, one is made.

    Seeds come first: trials that are repeated by the same seeds are joined then on other axes.
    """
    rows = [tuple((value,) for value in trial) for trial in trials]
    for name in _fastest()[::-1]:
        place = Trial._fields.index(name)
        joined: dict[tuple[Any, ...], list[Any]] = {}
        for row in rows:
            joined.setdefault(row[:place] + row[place + 1 :], []).extend(row[place])
        rows = [(*rest[:place], tuple(values), *rest[place:]) for rest, values in joined.items()]
    return [{axis.plural: values for axis, values in zip(AXES.values(), row, strict=True)} for row in rows]


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
