"""Random samples of a space of trials: values between two numbers, and any of several values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import InputError, instance, shown, whole
from mlp_jax.networks.keys import drawing, root_key
from mlp_jax.sweeps.grid import MOST_TRIALS, Grid
from mlp_jax.training.axes import AXES

SAMPLES = 0x5A3B1E
"""What a key is for: the values of samples."""

TRIES = 20
"""So many times as many samples as asked for are drawn, where some are equal."""

DIGITS = 4
"""Significant digits of a number that is drawn."""


@dataclass(frozen=True)
class Between:
    """Values of an axis from ``low`` to ``high``, both included, drawn log-uniformly: of 1 to 100, half are below 10.

    Attributes:
        low: above 0.
        high: more than that; both whole numbers for an axis of whole numbers, such as widths.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        for value in (self.low, self.high):
            if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
                raise InputError(f"{shown(value)} is the end of a range: expected a number")
        if not 0 < self.low < self.high < math.inf:
            raise InputError(f"a range is from {self.low} to {self.high}: expected numbers above 0, the lower first")

    def value(self, share: float, whole_numbers: bool) -> float:
        """What lies at that share of the way, 0 to 1, on a logarithmic scale."""
        if whole_numbers:  # each whole number has the room from half a step below it to half a step above
            low, high = self.low - 0.5, self.high + 0.5
            return min(max(round(low * (high / low) ** share), int(self.low)), int(self.high))
        value = self.low * (self.high / self.low) ** share
        return min(max(float(f"{value:.{DIGITS - 1}e}"), self.low), self.high)


def sample(
    count: int,
    hidden_units: Sequence[Any] | Between,
    activations: Sequence[str] | Between = ("sigmoid",),
    learning_rates: Sequence[float] | Between = (1e-3,),
    seeds: Sequence[int] | int = 5,
    *,
    sample_seed: int = 0,
    **others: Sequence[Any] | Between,
) -> Grid:
    """A grid of randomly drawn configurations, each with all of the seeds.

    Args:
        count: how many configurations, all different.
        hidden_units: as ``Grid`` takes it and this and every other axis but the seeds, of which one value is drawn; or
            ``Between(8, 256)``, log-uniformly drawn numbers, whole ones for axes of whole numbers.
        activations: likewise.
        learning_rates: likewise.
        seeds: of the trials, as ``Grid`` takes it.
        sample_seed: of what is drawn.
        **others: further axes by their plural names.

    Raises:
        InputError: an argument that makes no sense, or there are not so many configurations.
    """
    count = whole("sample", count, 1, MOST_TRIALS)
    key = jax.random.fold_in(root_key(whole("sample seed", sample_seed, 0, 2**32 - 1)), SAMPLES)
    given: dict[str, Any] = {
        "hidden_units": hidden_units,
        "activations": activations,
        "learning_rates": learning_rates,
        **others,
    }
    ends: dict[str, Any] = {
        name: (each.low, each.high) if isinstance(each, Between) else each for name, each in given.items()
    }
    _check_ranges(given)
    Grid(**ends, seeds=seeds)  # whatever makes no sense in all of it makes none in a part
    with drawing():
        shares = np.asarray(jax.random.uniform(key, (count * TRIES, len(given))), float)
    products: dict[tuple[Any, ...], None] = {}
    for row in shares.tolist():
        drawn = zip(given.items(), row, strict=True)
        products[tuple(_drawn(name, values, share) for (name, values), share in drawn)] = None
        if len(products) == count:
            break
    else:
        raise InputError(f"sample is {count}: expected at most about {len(products)}, as there are not so many to draw")
    one = [{name: (value,) for name, value in zip(given, each, strict=True)} for each in products]
    grids = [Grid(**values, seeds=seeds) for values in one]
    return sum(grids[1:], grids[0])


def _check_ranges(given: Mapping[str, Any]) -> None:
    axes = {axis.plural: axis for axis in AXES.values()}
    for name, each in given.items():
        if not isinstance(each, Between):
            continue
        axis = axes.get(name)
        if axis is not None and axis.choices:
            raise InputError(f"{name} is a range: expected names of {', '.join(axis.choices)}")
        if axis is not None and _is_whole(name):
            for value in (each.low, each.high):
                instance(f"an end of {name}", value, int | np.integer, "a whole number")


def _is_whole(plural: str) -> bool:
    """Whether an axis has whole numbers."""
    axis = next(axis for axis in AXES.values() if axis.plural == plural)
    return axis.name == "hidden_units" or isinstance(axis.default, int)


def _drawn(name: str, values: Any, share: float) -> Any:
    """The value of an axis at a share of its values."""
    if isinstance(values, Between):
        return values.value(share, _is_whole(name))
    return values[int(share * len(values))]
