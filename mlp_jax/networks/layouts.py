"""Layouts: how the networks of one replica, which see the same minibatches, lie in memory.

Parameters of many networks are a dict of arrays, in each of which every leading row belongs to one trial: its *owner*.
Leaves of the same kind (place counted from the output, name, trailing shape) lie one below the other. Equal networks
are next to each other, and one group is one mapped call of the functions in ``mlp_jax.networks.layers``. Everything
else follows from groups and owners by one rule each: which parameters are finite, the weights of a trial, the
parameters of some trials, a number of each trial by row.

Two layouts differ in what a group is, and in the first layers:

- ``packed``: the fast form. First layers, which all see the same x, lie below each other in one matrix A of ΣM rows:
  one product ``A xᵀ`` serves every width, and one its gradient. Groups are of equal networks.
- ``vmap``: the plain form. Networks of one activation and depth are padded to the widest, masked, and mapped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mlp_jax.networks.dropout import Dropout
from mlp_jax.networks.groups import MOST_GROUPS, Group, by_kind, common, least_padded
from mlp_jax.networks.layers import Network, rate_factors
from mlp_jax.networks.packing import Arrays, Packing, Parameters
from mlp_jax.networks.problem import Problem

Params = dict[str, Arrays]
"""Parameters of all trials of one replica, by optimizer."""


def _sum_by_owner(values: Float[Array, "rows"], owner: Int[np.ndarray, "rows"], trials: int) -> Float[Array, "T"]:
    """The sum of each trial's rows: by a gather, as a CPU would add a scatter's up one by one."""
    count = np.bincount(owner, minlength=trials)
    places = np.arange(max(1, count.max()))
    rows = np.full((trials, len(places)), len(owner))  # past the end, for what a trial lacks
    rows[places < count[:, None]] = np.argsort(owner, kind="stable")
    return jnp.append(values, jnp.zeros(1, values.dtype))[rows].sum(axis=1)


@dataclass(frozen=True)
class Layout:
    """What training needs to know of the trials of a replica: one packing for each optimizer.

    Attributes:
        packings: by optimizer. A trial's number, counted through them, is its slot.
        order: of each slot, the number of its trial as they were given.
        problem: what all trials share.
    """

    packings: tuple[tuple[str, Packing], ...]
    order: tuple[int, ...]
    problem: Problem

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """The network of each slot."""
        return tuple(network for _, packing in self.packings for network in packing.networks)

    @cached_property
    def optimizers(self) -> tuple[str, ...]:
        """The optimizer of each slot."""
        return tuple(name for name, packing in self.packings for _ in packing.networks)

    @property
    def trials(self) -> int:
        """T, the number of trials."""
        return len(self.order)

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns C that examples need."""
        return self.problem.columns

    @property
    def trained(self) -> int:
        """Number of columns, from the left, that training needs."""
        return self.problem.trained

    @cached_property
    def _slots(self) -> dict[str, range]:
        ends = np.cumsum([0, *(len(packing.networks) for _, packing in self.packings)])
        return {name: range(*ends[i : i + 2]) for i, (name, _) in enumerate(self.packings)}

    @cached_property
    def owner(self) -> dict[str, dict[str, Int[np.ndarray, "rows"]]]:
        """For each array of parameters, the slot that owns each leading row."""
        return {
            name: {key: owner + self._slots[name].start for key, owner in packing.owner.items()}
            for name, packing in self.packings
        }

    @cached_property
    def kernels(self) -> dict[str, dict[str, Any]]:
        """For each parameter 1 if it is a weight and 0 if it is a bias, to be broadcast."""

        def weights(network: Network) -> list[dict[str, float]]:
            return [{"kernel": 1.0, "bias": 0.0} for _ in network]

        return {name: packing.by_leaf(weights) for name, packing in self.packings}

    def rate_factors(self, optimizer: str, adaptive: bool) -> dict[str, Any] | None:
        """Factors of the learning rates of an optimizer's parameters; None if all are 1."""
        factors = dict(self.packings)[optimizer].by_leaf(lambda network: rate_factors(network, adaptive))
        return factors if any((each != 1).any() for each in factors.values()) else None

    def scaled(self, params: Params, frozen: Params, scale: Float[Array, "T"]) -> tuple[Params, Params]:
        """Parameters with each trial's weights, but not its biases, multiplied by a number."""
        rows = self.by_row(scale, params)

        def one(array: Array, by: Array, kernel: np.ndarray) -> Array:
            return array * jnp.where(kernel > 0, by, 1)

        scaled = jax.tree.map(one, params, rows, self.kernels)
        return scaled, {
            name: {key: array * rows[name][key] for key, array in arrays.items()} for name, arrays in frozen.items()
        }

    def init(self, key: PRNGKeyArray, dtype: DTypeLike) -> tuple[Params, Params]:
        """Initial parameters of a seed: those that are trained, and those that never change."""
        both = {name: packing.init(key, dtype) for name, packing in self.packings}
        return {name: each[0] for name, each in both.items()}, {name: each[1] for name, each in both.items()}

    def merge(self, params: Params, frozen: Params) -> Params:
        """The parameters that ``logits`` needs for examples with all columns."""
        return {name: packing.merge(params[name], frozen[name]) for name, packing in self.packings}

    def products(self, params: Params, x: Float[Array, "B C"]) -> dict[str, Float[Array, "S B"]]:
        """The product of each optimizer's stacked first layers, if it has some, before their activations."""
        return {name: packing.product(params[name], x) for name, packing in self.packings if packing.firsts}

    def logits(
        self,
        params: Params,
        x: Float[Array, "B C"],
        dropout: Dropout | None = None,
        products: Mapping[str, Float[Array, "S B"]] | None = None,
    ) -> Float[Array, "T B K"]:
        """Logits of every trial for the same examples, which have all columns, or the trained ones.

        Args:
            params: of the trials.
            x: the examples.
            dropout: of the step, if there is any.
            products: ``products`` of both, those that are known.
        """
        known = products or {}

        def own(name: str) -> Dropout | None:
            slots = self._slots[name]
            return dropout and dropout._replace(share=dropout.share[slots.start : slots.stop])

        return jnp.concatenate(
            [packing.logits(params[name], x, own(name), known.get(name)) for name, packing in self.packings]
        )

    def finite(self, params: Params) -> Bool[Array, "T"]:
        """Whether all parameters of a trial are finite."""
        return jnp.concatenate([packing.finite(params[name]) for name, packing in self.packings])

    def squares(self, params: Params) -> Float[Array, "T"]:
        """Σ W² of each trial's weights, without the biases."""
        total = jnp.zeros(self.trials, jnp.result_type(*jax.tree.leaves(params)))
        for name, arrays in params.items():
            for key, array in arrays.items():
                kernel = self.kernels[name][key]
                if kernel.any():
                    each = jnp.sum(array * array * jnp.asarray(kernel, array.dtype), axis=tuple(range(1, array.ndim)))
                    total += _sum_by_owner(each, self.owner[name][key], self.trials)
        return total

    def by_row(self, numbers: Float[Array, "T"], params: Params) -> Params:
        """One number per trial as one per row of every array, to be broadcast along the other axes."""

        def one(array: Array, owner: np.ndarray) -> Array:
            return numbers[owner].reshape(-1, *(1,) * (array.ndim - 1))

        return jax.tree.map(one, params, self.owner)

    def alone(self, params: Params, frozen: Params, slot: int) -> Parameters:
        """The parameters of one trial by layer and name, from NumPy arrays of its replica."""
        name = self.optimizers[slot]
        packing = dict(self.packings)[name]
        return packing.alone(params[name], frozen[name], slot - self._slots[name].start)

    def weights(self, params: Params, frozen: Params, slot: int) -> dict[str, np.ndarray]:
        """The parameters of one trial by the article's symbols, from NumPy arrays of its replica."""
        name = self.optimizers[slot]
        packing = dict(self.packings)[name]
        return packing.weights(params[name], frozen[name], slot - self._slots[name].start)

    def slots_of(self, optimizer: str) -> range:
        """The slots of the trials that an optimizer trains."""
        return self._slots[optimizer]

    def rows_of(self, slots: Sequence[int]) -> dict[str, dict[str, Int[np.ndarray, "n"]]]:
        """For each array of parameters, the rows that belong to the given trials; arrays without any are left out."""
        rows = jax.tree.map(lambda owner: np.flatnonzero(np.isin(owner, slots)), self.owner)
        kept = {name: {key: each for key, each in arrays.items() if len(each)} for name, arrays in rows.items()}
        return {name: arrays for name, arrays in kept.items() if arrays}

    def part(self, slots: Sequence[int]) -> "Layout":
        """Some of the trials, by ascending slot, in a layout of their own: its rows are ``rows_of(slots)``."""
        kept = {name: [slot - own.start for slot in slots if slot in own] for name, own in self._slots.items()}
        packings = tuple((name, packing.part(kept[name])) for name, packing in self.packings if kept[name])
        return Layout(packings, tuple(self.order[slot] for slot in slots), self.problem)


# Which layout


NAMES = ("packed", "vmap")


def make_layout(
    name: str, networks: Sequence[Network], problem: Problem, optimizers: Sequence[str] | None = None
) -> Layout:
    """The layout called ``packed`` or ``vmap`` for these networks, and the optimizer of each (None: Adam for all)."""
    optimizers = ["adam"] * len(networks) if optimizers is None else optimizers
    if name == "vmap" or not all(network[0].stackable for network in networks):
        problem = replace(problem, live=tuple(range(problem.features)))  # examples as they are, for layers to take
    packings, order = [], []
    for optimizer in dict.fromkeys(optimizers):
        numbers = [i for i, each in enumerate(optimizers) if each == optimizer]
        classes = [[numbers[i] for i in members] for members in by_kind([networks[i] for i in numbers])]
        found: list[tuple[Network, list[int]]] = []
        for members in classes:
            of_class = [networks[i] for i in members]
            if name == "vmap":
                found.append((common(of_class), members))
            else:
                found += least_padded(of_class, members, max(1, MOST_GROUPS // len(classes)), problem.shape)
        groups = tuple(Group(network, tuple(networks[i] for i in members)) for network, members in found)
        packings.append((optimizer, Packing(groups, problem, stacked=name == "packed")))
        order += [i for _, members in found for i in members]
    return Layout(tuple(packings), tuple(order), problem)
