"""Blocks: the trials of a grid grouped for compilation, in replicas whose trials have the same shapes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mlp_jax.networks.layers import layers_of
from mlp_jax.training.axes import Trial, numbers_of, shape_of


@dataclass(frozen=True)
class Block:
    """R replicas of T trials each, trained by one program.

    Attributes:
        first: number of the first replica, counted through all blocks.
        shapes: of the trials of each replica, ``[T]``.
        places: number in the grid of each replica's trials, ``[R][T]``, in the order of ``shapes``.
        trials: all trials of the grid.
        named: names of the numbers that the program takes; None for those on which some trial of the block differs.
    """

    first: int
    shapes: tuple[Trial, ...]
    places: tuple[tuple[int, ...], ...]
    trials: tuple[Trial, ...]
    named: tuple[str, ...] | None = None

    @property
    def replicas(self) -> int:
        """R, the number of replicas."""
        return len(self.places)

    @property
    def order(self) -> Trial:
        """Some trial of the block: all of them have its batch size, subset and epochs."""
        return self.trials[self.places[0][0]]

    @cached_property
    def seeds(self) -> np.ndarray:
        """Seeds of the minibatches and of the initial weights of each replica, ``[2, R]``."""
        leaders = [self.trials[row[0]] for row in self.places]
        own = [trial.seed if trial.init_seed < 0 else trial.init_seed for trial in leaders]
        return np.array([[trial.seed for trial in leaders], own], np.uint32)

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """The numbers of each trial by name, ``[R, T]``; those on which every trial has the default are left out."""
        flat = numbers_of([self.trials[place] for row in self.places for place in row], self.named)
        return {name: values.reshape(self.replicas, -1) for name, values in flat.items()}


def arrange(
    trials: Sequence[Trial], most_rows: int | None = None, places: Sequence[int] | None = None
) -> tuple[Block, ...]:
    """Divide trials into blocks, and each block into replicas.

    Trials of a replica share their minibatches, hence seed, batch size, subset and epochs. More than one block is
    needed if batch size, subset or epochs differ, or if seeds do not all have the same trials.

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


def arrange_begun(
    trials: Sequence[Trial], most_rows: int | None, epochs: Sequence[int]
) -> tuple[tuple[Block, int], ...]:
    """The same where trials have been trained before: blocks of trials that have been so for equally many epochs.

    Args:
        trials: of the grid.
        most_rows: as for ``arrange``.
        epochs: of each trial, how many it has been trained.

    Returns:
        Blocks, and how many epochs their trials have been trained.
    """
    found: list[tuple[Block, int]] = []
    for begun in sorted(set(epochs)):
        places = None if set(epochs) == {begun} else [place for place, each in enumerate(epochs) if each == begun]
        first = sum(block.replicas for block, _ in found)
        found += [(replace(block, first=first + block.first), begun) for block in arrange(trials, most_rows, places)]
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
