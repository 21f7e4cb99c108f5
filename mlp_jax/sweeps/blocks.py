"""Blocks: the trials of a grid as programs train them, replicas side by side whose trials have the same shapes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlp_jax.networks.layers import layers_of
from mlp_jax.training.axes import Trial, numbers_of, shape_of


@dataclass(frozen=True)
class Block:
    """R replicas of T trials each, which one program trains.

    Attributes:
        first: number of the first replica among those of all blocks.
        shapes: of the trials of each replica, ``[T]``.
        places: number in the grid of each replica's trials, ``[R][T]``, in the order of ``shapes``.
        trials: those of the grid, all of them.
        named: names of the numbers that its program knows; None for those that some trial of the block has.
    """

    first: int
    shapes: tuple[Trial, ...]
    places: tuple[tuple[int, ...], ...]
    trials: tuple[Trial, ...]
    named: tuple[str, ...] | None = None

    @property
    def replicas(self) -> int:
        """R, how many there are."""
        return len(self.places)

    @property
    def order(self) -> Trial:
        """A trial, as all of them have its batch size, subset and epochs."""
        return self.trials[self.places[0][0]]

    @cached_property
    def seeds(self) -> np.ndarray:
        """Of minibatches and of initial weights, of each replica, ``[2, R]``."""
        leaders = [self.trials[row[0]] for row in self.places]
        own = [trial.seed if trial.init_seed < 0 else trial.init_seed for trial in leaders]
        return np.array([[trial.seed for trial in leaders], own], np.uint32)

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """By name those of each trial, ``[R, T]``; those that all have by default are left out."""
        flat = numbers_of([self.trials[place] for row in self.places for place in row], self.named)
        return {name: values.reshape(self.replicas, -1) for name, values in flat.items()}


def arrange(
    trials: Sequence[Trial], most_rows: int | None = None, places: Sequence[int] | None = None
) -> tuple[Block, ...]:
    """Divide trials into blocks, and those of a block into replicas.

    Trials of a replica share their minibatches, hence seed, batch size, subset and epochs. Where more than one block
    is needed, it is because these differ, or because seeds have other trials than others.

    Args:
        trials: of the grid.
        most_rows: hidden units of a replica from which on trials of the same shapes, which differ in numbers alone, are
            divided into several replicas; None for any number. What fits into the caches of a CPU is trained faster.
        places: numbers of the trials to take; None for all. Programs of a part of the trials know the same numbers as
            those of all, so that optimizers have the same state.
    """
    by_order: dict[tuple[int, ...], list[int]] = {}
    for place in range(len(trials)) if places is None else places:
        trial = trials[place]
        key = (trial.batch_size, trial.subset, trial.epochs, trial.seed, trial.init_seed)
        by_order.setdefault(key, []).append(place)
    blocks: dict[tuple[tuple[int, ...], tuple[Trial, ...]], list[tuple[int, ...]]] = {}
    for order, places in by_order.items():
        for replica in _replicas(trials, places, most_rows):
            shapes = tuple(shape_of(trials[place]) for place in replica)
            blocks.setdefault((order[:3], shapes), []).append(replica)
    found, first = [], 0
    named = None if places is None else tuple(numbers_of(trials))
    for (_, shapes), rows in blocks.items():
        found.append(Block(first, shapes, tuple(rows), tuple(trials), named))
        first += len(rows)
    return tuple(found)


def _replicas(trials: Sequence[Trial], places: Sequence[int], most_rows: int | None) -> list[tuple[int, ...]]:
    """Trials of one order in replicas of the same shapes, by their numbers in the grid."""
    by_shape: dict[Trial, list[int]] = {}
    for place in places:
        by_shape.setdefault(shape_of(trials[place]), []).append(place)
    alike = [by_shape[shape] for shape in sorted(by_shape, key=repr)]
    count = 1
    if most_rows is not None:
        common = math.gcd(*map(len, alike))
        rows = sum(sum(layers_of(trials[place].hidden_units)) + 1 for place in places)
        divisors = [each for each in range(1, common + 1) if common % each == 0]
        count = next((each for each in divisors if rows <= each * most_rows), common)
    shares = [len(each) // count for each in alike]
    return [
        tuple(
            place
            for each, share in zip(alike, shares, strict=True)
            for place in each[number * share : (number + 1) * share]
        )
        for number in range(count)
    ]
