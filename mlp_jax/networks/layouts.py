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

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mlp_jax.machine.forms import CPU, Forms
from mlp_jax.networks.joint import divide, joint_layers
from mlp_jax.networks.keys import drawing
from mlp_jax.networks.layers import (
    ACTIVATIONS,
    Network,
    Rows,
    Shape,
    examples_last,
    first_product,
    init_network,
    parameter_count,
    rate_factors,
    symbols,
    unit_rows,
    walk,
)

Arrays = dict[str, Any]
"""Parameters of the trials that one optimizer trains, as a packing arranges them, by key."""

Params = dict[str, Arrays]
"""Parameters of all trials of one replica, by optimizer."""

Parameters = list[dict[str, Any]]
"""Parameters of one trial, by layer and name."""

FIRST = "A"
"""Name of the stacked first layers: ``[ΣM, C]``, one row per unit, with the biases in the column ``ONES``."""

LAST_BIAS = "bias-1"
"""Name of the output layers' biases: those of the last layer, counted from the output."""

ONES = -1
"""Stands for the column of ones among the feature columns."""

ZEROS = -2
"""Stands for a column of zeros, there for the compiler's sake alone."""

MOST_GROUPS = 32
"""Groups that a packed layout compiles kernels for; where a grid has more networks, neighbouring ones are padded to
common widths, chosen so that the padding is least (3 % of the units for widths 10, 20, ..., 4000)."""


@dataclass(frozen=True)
class Problem:
    """What all trials of a sweep share.

    Attributes:
        shape: of an example as the first layers see it.
        outputs: K.
        use_bias: whether layers have biases.
        live: the features that are not 0 in every training example, or all of them where weights decay. The weights of
            the others get no gradient and so no update: a layout may leave them out of training.
        precision: of the first layers' products, as in ``Recipe``.
        forms: how the backend's compiler wants it.
    """

    shape: Shape
    outputs: int
    use_bias: bool
    live: tuple[int, ...]
    precision: str = "float32"
    forms: Forms = CPU

    @property
    def features(self) -> int:
        """D, the numbers of an example."""
        return math.prod(self.shape)

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """The columns C that examples are to have: live features, ``ONES`` if there are biases, the other features.

        Before the others, and at the end, ``ZEROS`` as ``forms`` has it.
        """
        dead = sorted(set(range(self.features)) - set(self.live))
        columns = [*self.live, *([ONES] if self.use_bias else [])]
        columns += [ZEROS] * (self.trained - len(columns)) + dead
        return (*columns, *[ZEROS] * (-len(columns) % self.forms.row))

    @property
    def useful(self) -> int:
        """How many columns get a gradient."""
        return len(self.live) + self.use_bias

    @property
    def trained(self) -> int:
        """How many of the columns, from the left, training reads: those that get a gradient, and zeros."""
        return self.useful + -self.useful % self.forms.columns

    def operations(self, network: Network) -> int:
        """Useful floating-point operations of training on one example, 2 for a multiplication and addition.

        The first layer's product forward and that of its gradient, over the C features that get a gradient (and the
        bias); every other layer's forward, its gradient, and that of what it is given: for one dense hidden layer
        2 (2 C M + 3 M K). Nothing padded counts.
        """
        (first, before), *rest = walk(network, self.shape)
        of_first = 2 * (self.useful * first.units if first.stackable else first.products(before))
        return 2 * (of_first + sum(3 * layer.products(each) for layer, each in rest))


@dataclass(frozen=True)
class Group:
    """Neighbouring trials whose networks are padded to a common one.

    Attributes:
        network: what they are padded to.
        members: the true network of each.
    """

    network: Network
    members: tuple[Network, ...]

    @property
    def padded(self) -> bool:
        """Whether any member is narrower than the group."""
        return any(member != self.network for member in self.members)

    def mask(self, place: int) -> Bool[np.ndarray, "T units"]:
        """Which outputs of a layer are a member's own."""
        own = np.array([member[place].units for member in self.members])
        return np.arange(self.network[place].units) < own[:, None]


def _spans(groups: Sequence[Group]) -> list[range]:
    """The slots of each group."""
    starts = np.cumsum([0, *(len(group.members) for group in groups)]).tolist()
    return [range(first, last) for first, last in pairwise(starts)]


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
        slots = _spans(self.groups)
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
        slots = _spans(self.groups)
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
        slots = _spans(self.groups)
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
        dropout: "Dropout | None" = None,
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

    def _dropped(self, dropout: "Dropout | None", examples: int) -> list[list[Float[Array, "T _ B"]]] | None:
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
            for group, slots in zip(self.groups, _spans(self.groups), strict=True)
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


class Dropout(NamedTuple):
    """The units that are dropped in one step.

    Attributes:
        key: of the step.
        share: of the hidden units of each trial.
    """

    key: PRNGKeyArray
    share: Float[Array, "T"]

    def drawn(self, place: int, units: int, examples: int) -> Float[Array, "units B"]:
        """Numbers uniform in [0, 1) for the layer at a place; those of a unit do not depend on how many there are."""
        with drawing():
            return jax.random.uniform(jax.random.fold_in(self.key, place), (units, examples), self.share.dtype)

    def alone(self, place: int, x: Float[Array, "B *after"]) -> Float[Array, "B *after"]:
        """The outputs of a layer of the only trial."""
        mask = kept(self.drawn(place, x.shape[-1], len(x)), self.share[0]).T
        return x * mask.reshape(len(x), *(1,) * (x.ndim - 2), x.shape[-1])


def kept(drawn: Float[Array, "..."], share: Float[Array, "..."]) -> Float[Array, "..."]:
    """0 for a unit that is dropped, and for the others the factor that keeps the mean."""
    return jnp.where(drawn >= share, 1 / (1 - share), 0)


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


def _sum_by_owner(values: Float[Array, "rows"], owner: Int[np.ndarray, "rows"], trials: int) -> Float[Array, "T"]:
    """The sum of each trial's rows: by a gather, as a CPU would add a scatter's up one by one."""
    count = np.bincount(owner, minlength=trials)
    places = np.arange(max(1, count.max()))
    rows = np.full((trials, len(places)), len(owner))  # past the end, for what a trial lacks
    rows[places < count[:, None]] = np.argsort(owner, kind="stable")
    return jnp.append(values, jnp.zeros(1, values.dtype))[rows].sum(axis=1)


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
        classes = [[numbers[i] for i in members] for members in _classes([networks[i] for i in numbers])]
        runs: list[tuple[Network, list[int]]] = []
        for members in classes:
            of_class = [networks[i] for i in members]
            if name == "vmap":
                runs.append((_widest(of_class), members))
            else:
                runs += _runs(of_class, members, max(1, MOST_GROUPS // len(classes)), problem.shape)
        groups = tuple(Group(network, tuple(networks[i] for i in members)) for network, members in runs)
        packings.append((optimizer, Packing(groups, problem, stacked=name == "packed")))
        order += [i for _, members in runs for i in members]
    return Layout(tuple(packings), tuple(order), problem)


def _kind(network: Network) -> tuple[Any, ...]:
    """What networks have to share to be padded to each other."""
    return tuple(layer.widened(1) for layer in network)


def _classes(networks: Sequence[Network]) -> list[list[int]]:
    """Numbers of the networks that can be padded to each other, narrow to wide; those without hidden layers last."""

    def units(i: int) -> tuple[int, ...]:
        return tuple(layer.units for layer in networks[i])

    order = sorted(
        range(len(networks)),
        # Stackable first layers first, those of one activation next to each other.
        key=lambda i: (
            not networks[i][0].stackable,
            len(networks[i]) == 1,
            networks[i][0].activation,
            str(_kind(networks[i])),
            units(i),
        ),
    )
    return [list(members) for _, members in groupby(order, key=lambda i: _kind(networks[i]))]


def _widest(networks: Sequence[Network]) -> Network:
    """The network that networks of one kind are padded to."""
    return tuple(max(layers, key=lambda layer: layer.units) for layers in zip(*networks, strict=True))


def _runs(
    networks: Sequence[Network], numbers: Sequence[int], most: int, shape: Shape
) -> list[tuple[Network, list[int]]]:
    """Divide networks of one kind, narrow to wide, into at most ``most`` runs with the least padding.

    Returns:
        For each run the network that it is padded to and the numbers of its members.
    """
    distinct = list(dict.fromkeys(networks))
    members = {
        network: [i for i, each in zip(numbers, networks, strict=True) if each == network] for network in distinct
    }
    n = len(distinct)
    if n <= most:
        return [(network, members[network]) for network in distinct]
    count = np.cumsum([0, *(len(members[network]) for network in distinct)])
    cost = np.full((n, n), np.inf)  # of the run from the first to the last (included), in parameters
    for first in range(n):
        widest = distinct[first]
        for last in range(first, n):
            widest = _widest([widest, distinct[last]])
            cost[first, last] = (count[last + 1] - count[first]) * parameter_count(widest, shape)
    # least[j]: the fewest parameters that the first j distinct networks take, in the number of runs allowed so far.
    least, choices = np.concatenate([[0.0], np.full(n, np.inf)]), []
    for _ in range(most):
        total = least[:-1, None] + cost
        choices.append(total.argmin(axis=0))
        least = np.concatenate([[0.0], total.min(axis=0)])
    runs: list[tuple[Network, list[int]]] = []
    end = n
    for choice in reversed(choices):
        start = int(choice[end - 1])
        run = distinct[start:end]
        runs.append((_widest(run), [i for network in run for i in members[network]]))
        end = start
        if end == 0:
            break
    return runs[::-1]
