"""Packing: how the networks that one optimizer trains lie in memory, and what is computed of them there."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mlp_jax.networks.dropout import Dropout, kept
from mlp_jax.networks.groups import Group, spans
from mlp_jax.networks.joint import divide, joint_layers
from mlp_jax.networks.layers import (
    ACTIVATIONS,
    Network,
    Rows,
    Shape,
    examples_last,
    first_product,
    init_network,
    symbols,
    unit_rows,
    walk,
)
from mlp_jax.networks.problem import ONES, ZEROS, Problem

Arrays = dict[str, Any]
"""Parameters of the trials that one optimizer trains, as a packing arranges them, by key."""

Parameters = list[dict[str, Any]]
"""Parameters of one trial, by layer and name."""

FIRST = "A"
"""Name of the stacked first layers: ``[ΣM, C]``, one row per unit, with the biases in the column ``ONES``."""

LAST_BIAS = "bias-1"
"""Name of the output layers' biases: those of the last layer, counted from the output."""


@dataclass(frozen=True)
class Leaf:
    """Parameters of one name of one layer of a group.

    Attributes:
        key: of the array that they are rows of.
        group: number of the group.
        place: of the layer, from the input.
        name: of the parameter.
        shape: of one trial's, padded.
        axes: the same with all axes of the layer's input, along which it is padded.
    """

    key: str
    group: int
    place: int
    name: str
    shape: Shape
    axes: Shape


@dataclass(frozen=True)
class Packing:
    """How the networks that one optimizer trains lie in memory: a plan, fixed before anything is compiled.

    Attributes:
        groups: of trials; a trial's number, counted through the groups, is its slot.
        problem: what all trials share.
        stacked: whether first layers that can lie below each other in ``FIRST``.
    """

    groups: tuple[Group, ...]
    problem: Problem
    stacked: bool

    # The plan

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """The network of each slot."""
        return tuple(member for group in self.groups for member in group.members)

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Groups whose first layers lie in ``FIRST``; they come before the others."""
        return tuple(g for g, group in enumerate(self.groups) if self.stacked and group.network[0].stackable)

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every group's parameters except those of stacked first layers, by array, in the order of its rows."""
        found = []
        for number, group in enumerate(self.groups):
            for place, (layer, before) in enumerate(walk(group.network, self.problem.shape)):
                if place == 0 and number in self.firsts:
                    continue
                axes = layer.unflattened(before)
                for name, shape in layer.shapes(before).items():
                    trailing = "x".join(map(str, shape[1:]))
                    key = f"{name}{place - len(group.network)}{trailing and f'[{trailing}]'}"
                    found.append(Leaf(key, number, place, name, shape, axes[name]))
        return tuple(sorted(found, key=lambda leaf: leaf.key))

    @cached_property
    def owner(self) -> dict[str, Int[np.ndarray, "rows"]]:
        """For each array of parameters, the slot that owns each leading row."""
        slots = spans(self.groups)
        owner = {}
        if self.firsts:
            owner[FIRST] = np.concatenate([np.repeat(slots[g], self.groups[g].network[0].units) for g in self.firsts])
        for key, leaves in groupby(self.leaves, key=lambda leaf: leaf.key):
            owner[key] = np.concatenate([np.repeat(slots[leaf.group], leaf.shape[0]) for leaf in leaves])
        return owner

    def by_leaf(self, values: Callable[[Network], list[dict[str, float]]]) -> dict[str, Float[np.ndarray, "rows ..."]]:
        """One number for each parameter of each layer, by row of the arrays, to be broadcast along their other axes.

        Args:
            values: of a network, for each layer by the name of the parameter.
        """
        by_slot = [values(network) for network in self.networks]
        found = {}
        if self.firsts:
            bias = np.array([column == ONES for column in self.problem.columns[: self.problem.trained]])
            owners = self.owner[FIRST]
            kernels = np.array([each[0]["kernel"] for each in by_slot])[owners]
            biases = np.array([each[0].get("bias", 0.0) for each in by_slot])[owners]
            found[FIRST] = np.where(bias, biases[:, None], kernels[:, None])
        slots = spans(self.groups)
        for key, leaves in groupby(self.leaves, key=lambda leaf: leaf.key):
            rows, inner = [], 0
            for leaf in leaves:
                mine = [by_slot[slot][leaf.place][leaf.name] for slot in slots[leaf.group]]
                rows.append(np.repeat(mine, leaf.shape[0]))
                inner = len(leaf.shape) - 1
            found[key] = np.concatenate(rows).reshape(-1, *(1,) * inner)
        return found

    # Parameters

    def init(self, key: PRNGKeyArray, dtype: DTypeLike) -> tuple[Arrays, Arrays]:
        """Initial parameters: those that are trained, and those that never change."""
        rows = _shared_rows(key, dtype, set(self.networks), self.problem.shape)
        alone = {network: init_network(network, self.problem.shape, rows) for network in dict.fromkeys(self.networks)}
        return self.together([alone[network] for network in self.networks])

    def together(self, models: Sequence[Parameters], xp: Any = jnp) -> tuple[Arrays, Arrays]:
        """Parameters of one model for each slot as this packing has them: those trained, and those that never change.

        Args:
            models: by layer and name.
            xp: ``jax.numpy``, or ``numpy`` for arrays on the host.
        """
        axes = {network: _axes(network, self.problem.shape) for network in dict.fromkeys(self.networks)}
        slots = spans(self.groups)
        params: Arrays = {}
        frozen: Arrays = {}
        if self.firsts:
            units = [
                _stacked(models[slot][0], self.groups[g].network[0].units, xp) for g in self.firsts for slot in slots[g]
            ]
            wide = xp.concatenate(units)  # [ΣM, D + 1]: the bias is the last column, as ONES is in Python
            columns = np.array(self.problem.columns)
            if ZEROS in columns:
                wide = xp.pad(wide, [(0, 0), (0, 1)])
                columns = np.where(columns < 0, self.problem.features + ONES - columns, columns)
            a = wide[:, columns]
            params[FIRST] = a[:, : self.problem.trained]
            if self.problem.trained < a.shape[1]:
                frozen[FIRST] = a[:, self.problem.trained :]
        for array, leaves in groupby(self.leaves, key=lambda leaf: leaf.key):
            params[array] = xp.concatenate(
                [
                    _padded(
                        models[slot][leaf.place][leaf.name].reshape(axes[self.networks[slot]][leaf.place][leaf.name]),
                        leaf.axes,
                        xp,
                    ).reshape(leaf.shape)
                    for leaf in leaves
                    for slot in slots[leaf.group]
                ]
            )
        return params, frozen

    def merge(self, params: Arrays, frozen: Arrays) -> Arrays:
        """The parameters that ``logits`` needs for examples with all columns."""
        return params | {key: jnp.concatenate([params[key], rest], axis=1) for key, rest in frozen.items()}

    def product(self, params: Arrays, x: Float[Array, "B C"]) -> Float[Array, "S B"]:
        """The product of all stacked first layers, before their activations; there are some."""
        return first_product(params[FIRST], x, self.problem.precision)

    def logits(
        self,
        params: Arrays,
        x: Float[Array, "B C"],
        dropout: Dropout | None = None,
        product: Float[Array, "S B"] | None = None,
    ) -> Float[Array, "T B K"]:
        """Logits of every trial for the same examples, which have all columns, or the trained ones.

        Args:
            params: of the trials.
            x: the examples.
            dropout: of the step, if there is any.
            product: ``product`` of both, if it is known.
        """
        masks = self._dropped(dropout, len(x))
        by_group: list[list[dict[str, Array]]] = [[{} for _ in group.network] for group in self.groups]
        for key, leaves in groupby(self.leaves, key=lambda leaf: leaf.key):
            each = [list(some) for _, some in groupby(leaves, key=lambda leaf: self._lot_of[leaf.group])]
            sizes = [sum(len(self.groups[leaf.group].members) * leaf.shape[0] for leaf in some) for some in each]
            # lax.split, not slices: its gradient is one concatenation, where slices' is a sum of padded arrays.
            for (leaf, *more), rows in zip(each, lax.split(params[key], sizes), strict=True):
                joined = rows if more else rows.reshape(-1, *leaf.shape)
                by_group[leaf.group][leaf.place][leaf.name] = joined
        if product is None and self.firsts:
            product = self.product(params, x)
        hidden = {} if product is None else self._first_units(product)
        features = self.problem.features
        out = []
        for number, group in enumerate(self.groups):
            if self._lot_of[number] != number:
                continue
            lot = self.lots[number]
            if len(lot) > 1:
                z = hidden[number]
                if masks is not None:
                    z = z * jnp.concatenate([masks[g][0].reshape(-1, x.shape[0]) for g in lot])
                widths = tuple(self.groups[g].network[0].units for g in lot for _ in self.groups[g].members)
                forms = self.problem.forms
                layers = joint_layers(forms.joint, widths, self.problem.outputs, x.dtype, forms.kernels)
                out.append(layers(by_group[number][1]["kernel"], z))
            elif number in hidden:
                z = hidden[number]
                if masks is not None and len(group.network) > 1:
                    z = z * masks[number][0]
                rest = None if masks is None else masks[number][1:]
                out.append(_group_logits(group, 1, by_group[number][1:], z, rest))
            else:
                image = x[:, :features].reshape(x.shape[0], *self.problem.shape)
                mine = None if masks is None else masks[number]
                last = examples_last(image)
                out.append(_group_logits(group, 0, by_group[number], last, mine, self.problem.precision))
        logits = jnp.concatenate(out)  # [T, K, B]
        if LAST_BIAS in params:  # of all groups at once, which is a kernel and not one per group
            biases = params[LAST_BIAS].reshape(-1, logits.shape[1])
            places = np.unique(self.owner[LAST_BIAS])
            apart = len(biases) < len(logits)  # trials of a single, stacked layer have theirs in FIRST
            if apart:
                biases = jnp.zeros(logits.shape[:2], logits.dtype).at[places].set(biases)
            logits += biases[:, :, None]
        return logits.transpose(0, 2, 1)

    @cached_property
    def lots(self) -> dict[int, list[int]]:
        """Groups whose last layers are multiplied together, by the first of them; a group alone where ``apart``."""
        form, found = self.problem.forms.joint, {}
        joined = [g for g in self.firsts if form != "apart" and len(self.groups[g].network) == 2]
        for _, some in groupby(enumerate(joined), key=lambda each: each[1] - each[0]):  # runs of consecutive ones
            run = [g for _, g in some]
            sizes = divide(
                form,
                [self.groups[g].network[0].units for g in run],
                [len(self.groups[g].members) for g in run],
                self.problem.outputs,
            )
            for first, last in pairwise(np.cumsum([0, *sizes])):
                found[run[first]] = run[first:last]
        alone = set(range(len(self.groups))) - {g for lot in found.values() for g in lot}
        return found | {g: [g] for g in alone}

    @cached_property
    def _lot_of(self) -> dict[int, int]:
        """The first group of the lot that each group is in."""
        return {g: first for first, lot in self.lots.items() for g in lot}

    def _first_units(self, product: Float[Array, "S B"]) -> dict[int, Array]:
        """Outputs of the stacked first layers, as ``_own_units`` has them, by the first group of each lot."""
        # One activation a block, not a group: fewer kernels to compile and to start.
        blocks = [list(block) for _, block in groupby(self.firsts, key=lambda g: self.groups[g].network[0].activation)]
        sizes = {g: len(self.groups[g].members) * self.groups[g].network[0].units for g in self.firsts}
        found: dict[int, list[Array]] = {self._lot_of[g]: [] for g in self.firsts}
        for block, rows in zip(blocks, lax.split(product, [sum(sizes[g] for g in b) for b in blocks]), strict=True):
            z = ACTIVATIONS[self.groups[block[0]].network[0].activation](rows)
            lots = [list(some) for _, some in groupby(block, key=self._lot_of.__getitem__)]
            for lot, units in zip(lots, lax.split(z, [sum(sizes[g] for g in lot) for lot in lots]), strict=True):
                found[self._lot_of[lot[0]]].append(units)
        return {first: self._own_units(self.lots[first], parts) for first, parts in found.items()}

    def _own_units(self, lot: Sequence[int], parts: Sequence[Array]) -> Array:
        """The units of a lot, 0 where they are padding before another layer: ``[T, M, B]`` of a group alone."""
        units = jnp.concatenate(parts) if len(parts) > 1 else parts[0]
        first = self.groups[lot[0]]
        if len(lot) == 1:
            units = units.reshape(len(first.members), -1, units.shape[1])
        if len(first.network) > 1 and any(self.groups[g].padded for g in lot):
            own = [self.groups[g].mask(0) for g in lot]
            mask = own[0] if len(lot) == 1 else np.concatenate([each.ravel() for each in own])
            units = jnp.where(mask[..., None], units, 0)
        return units

    def _dropped(self, dropout: Dropout | None, examples: int) -> list[list[Float[Array, "T _ B"]]] | None:
        """Dropout factors of hidden units, by group and place."""
        if dropout is None:
            return None
        most: dict[int, int] = {}
        for group in self.groups:
            for place, layer in enumerate(group.network[:-1]):
                most[place] = max(most.get(place, 0), layer.units)
        drawn = {place: dropout.drawn(place, units, examples) for place, units in most.items()}
        return [
            [
                kept(drawn[place][: layer.units], dropout.share[np.array(slots), None, None])
                for place, layer in enumerate(group.network[:-1])
            ]
            for group, slots in zip(self.groups, spans(self.groups), strict=True)
        ]

    # By owner

    def finite(self, params: Arrays) -> Bool[Array, "T"]:
        """Whether all parameters of a trial are finite."""
        finite = jnp.ones(len(self.networks), bool)
        for key, array in params.items():
            rows = jnp.isfinite(array).all(axis=tuple(range(1, array.ndim)))
            finite = finite.at[self.owner[key]].min(rows)
        return finite

    def rows_of(self, slots: Sequence[int]) -> dict[str, Int[np.ndarray, "n"]]:
        """For each array, the rows that belong to the given trials."""
        return {key: np.flatnonzero(np.isin(owner, slots)) for key, owner in self.owner.items()}

    def part(self, slots: Sequence[int]) -> "Packing":
        """A packing of only these trials, by ascending slot: its rows are ``rows_of(slots)``."""
        groups, first = [], 0
        for group in self.groups:
            kept = [slot for slot in slots if first <= slot < first + len(group.members)]
            if kept:
                groups.append(Group(group.network, tuple(group.members[slot - first] for slot in kept)))
            first += len(group.members)
        return replace(self, groups=tuple(groups))

    def alone(self, params: Arrays, frozen: Arrays, slot: int) -> Parameters:
        """The parameters of one trial, from NumPy arrays of its replica: the reverse of ``together``.

        Instead of parameters there may be what lies as they do, such as an optimizer's moments, and nothing frozen: 0
        stands for what is missing.
        """
        network, number, first = self.networks[slot], 0, 0
        while slot >= first + len(self.groups[number].members):
            first += len(self.groups[number].members)
            number += 1
        own: Parameters = [{} for _ in network]
        shapes = [layer.shapes(before) for layer, before in walk(network, self.problem.shape)]
        axes = _axes(network, self.problem.shape)
        if number in self.firsts:
            rows = np.flatnonzero(self.owner[FIRST] == slot)[: network[0].units]
            wide = np.concatenate([part[FIRST][rows] for part in (params, frozen) if FIRST in part], axis=1)
            wide = np.pad(wide, ((0, 0), (0, len(self.problem.columns) - wide.shape[1])))
            place = {column: i for i, column in enumerate(self.problem.columns)}
            own[0] = {"kernel": wide[:, [place[d] for d in range(self.problem.features)]].T}
            if network[0].use_bias:
                own[0]["bias"] = wide[:, place[ONES]]
        for leaf in self.leaves:
            if leaf.group == number:
                rows = np.flatnonzero(self.owner[leaf.key] == slot)
                true = tuple(slice(size) for size in axes[leaf.place][leaf.name])
                values = params[leaf.key][rows].reshape(leaf.axes)[true]
                own[leaf.place][leaf.name] = values.reshape(shapes[leaf.place][leaf.name])
        return own

    def weights(self, params: Arrays, frozen: Arrays, slot: int) -> dict[str, np.ndarray]:
        """The parameters of one trial by the article's symbols, from NumPy arrays of its replica."""
        return {
            symbol: np.asarray(layer[name])
            for layer, named in zip(self.alone(params, frozen, slot), symbols(self.networks[slot]), strict=True)
            for name, symbol in named.items()
        }


def _group_logits(
    group: Group,
    place: int,
    params: Sequence[dict[str, Array]],
    x: Array,
    dropped: Sequence[Float[Array, "T _ B"]] | None,
    precision: str = "float32",
) -> Float[Array, "T K B"]:
    """Logits of a group from the outputs of the layers before a place, or, for place 0, from the examples.

    Either have the examples last (``examples_last``). ``dropped`` is what hidden layers from that place on are
    multiplied by, if there is dropout.
    """
    rest = group.network[place:]
    masks = [jnp.asarray(group.mask(i)) for i in range(place, len(group.network) - 1)] if group.padded else []
    factors = list(dropped or [])

    def one(params: Any, masks: Any, factors: Any, x: Any) -> Float[Array, "K B"]:
        for i, (layer, each) in enumerate(zip(rest, params, strict=True)):
            unbiased = replace(layer, use_bias=False) if i == len(rest) - 1 else layer  # added for all groups at once
            x = unbiased.across(each, x, precision if i == 0 else "float32")
            if masks and i < len(masks):  # f(0) need not be 0, as with the sigmoid
                x = jnp.where(masks[i].reshape(-1, *(1,) * (x.ndim - 1)), x, 0)
            if factors and i < len(factors):
                x = x * factors[i].reshape(len(x), *(1,) * (x.ndim - 2), x.shape[-1])
        return x

    if place and len(group.members) == 1:  # compiles and runs faster than a batched product
        alone, own, mine = jax.tree.map(lambda leaf: leaf[0], (list(params), masks, factors))
        return one(alone, own, mine, x[0])[None]
    return jax.vmap(one, in_axes=(0, 0, 0, 0 if place else None))(list(params), masks, factors, x)


def _axes(network: Network, shape: Shape) -> list[dict[str, Shape]]:
    """Shapes of the parameters of each layer, by name, with all axes of what it is given."""
    return [layer.unflattened(before) for layer, before in walk(network, shape)]


def _stacked(layer: dict[str, Any], units: int, xp: Any) -> Any:
    """A first layer as rows, the bias (or 0) in the last column, padded with rows of 0: ``[units, columns]``."""
    kernel = layer["kernel"].T
    bias = layer["bias"] if "bias" in layer else xp.zeros(len(kernel), kernel.dtype)
    return _padded(xp.concatenate([kernel, bias[:, None]], axis=1), (units, kernel.shape[1] + 1), xp)


def _padded(array: Any, shape: Shape, xp: Any) -> Any:
    """Pad with zeros at the end of each axis."""
    return xp.pad(array, [(0, size - own) for own, size in zip(array.shape, shape, strict=True)])


def _shared_rows(
    key: PRNGKeyArray, dtype: DTypeLike, networks: Iterable[Network], shape: Shape
) -> Callable[[int], Rows]:
    """``unit_rows`` for several networks: drawn once for the widest; the others take the first rows."""
    most: dict[tuple[int, int], int] = {}

    def counted(place: int) -> Rows:
        def rows(units: int, count: int) -> Float[Array, "units count"]:
            most[place, count] = max(units, most.get((place, count), 0))
            return jnp.zeros((units, count), dtype)

        return rows

    for network in networks:
        jax.eval_shape(lambda network=network: init_network(network, shape, counted))
    # An odd number of rows: XLA compiles an even one, on a CPU, in twice the time.
    drawn = {(place, count): unit_rows(key, place, dtype)(units | 1, count) for (place, count), units in most.items()}
    return lambda place: lambda units, count: drawn[place, count][:units]
