"""Layouts: how the trials of one replica (same minibatches, same learning rate) lie in memory.

A layout is a plan, fixed before anything is compiled; parameters are a pytree that the plan says how to read.
``VmapLayout`` is the plain form: every trial padded to the widest, masked, mapped. ``PackedLayout`` is the fast
form: hidden layers side by side in one matrix. Both compute, for every trial, what the trial alone would compute.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mlp_jax.models import (
    ACTIVATIONS,
    HIDDEN,
    OUTPUT,
    Weights,
    first_product,
    glorot_limit,
    initial_weights,
    unit_weights,
)

Params = dict[str, Any]
"""Parameters of all trials of one replica, as its layout arranges them: a pytree of arrays."""

ONES = -1
"""Stands for a column of ones among feature columns."""

MOST_GROUPS = 32
"""Groups of equal width that a packed layout compiles kernels for; where a grid has more widths, neighbouring ones
are padded to a common width, chosen so that the padding is least (3 % of the units for widths 10, 20, ..., 4000)."""


@dataclass(frozen=True, order=True)
class Architecture:
    """What distinguishes the trials of a replica: f and M."""

    activation: str
    hidden_units: int


@dataclass(frozen=True)
class Problem:
    """What all trials of a sweep share.

    Attributes:
        features: D.
        outputs: K.
        use_bias: whether c1 and c2 are there.
        live: the features that are not 0 in every training example. The weights of the others get no gradient and so,
            under Adam, no update: a layout may leave them out of training.
        precision: of the first layers' products, as in ``Recipe``.
    """

    features: int
    outputs: int
    use_bias: bool
    live: tuple[int, ...]
    precision: str = "float32"


def parameter_count(units: int, problem: Problem) -> int:
    """How many parameters a trial of that width has."""
    first = units or problem.outputs
    count = (problem.features + problem.use_bias) * first
    return count + (units + problem.use_bias) * problem.outputs if units else count


def operations(problem: Problem, units: int) -> int:
    """Useful floating-point operations of training one trial on one example, 2 for a multiplication and addition.

    The first layer's product forward and that of its gradient, over the C features that get a gradient (and the bias);
    the second layer's forward, its gradient, and that of the hidden layer: 2 (2 C M + 3 M K). Nothing padded counts.
    """
    columns = len(problem.live) + problem.use_bias
    if units == 0:
        return 2 * 2 * columns * problem.outputs
    return 2 * (2 * columns * units + 3 * units * problem.outputs)


@dataclass(frozen=True)
class Layout(ABC):
    """What training needs to know of a layout.

    Attributes:
        architectures: the trials of a replica, in any order.
        problem: what they share.
    """

    architectures: tuple[Architecture, ...]
    problem: Problem

    @cached_property
    def slots(self) -> tuple[Architecture, ...]:
        """The architecture of each trial of a replica, in the order of the axis T below."""
        return tuple(a for _, group in _by_activation(self.architectures) for a in group)

    @property
    @abstractmethod
    def columns(self) -> tuple[int, ...]:
        """The columns C that examples are to have: all D features in some order, and ONES if wanted."""

    @property
    @abstractmethod
    def trained(self) -> int:
        """How many of the columns, from the left, training needs."""

    @abstractmethod
    def init(self, key: PRNGKeyArray, dtype: DTypeLike) -> tuple[Params, Params]:
        """Initial parameters: those that are trained, and those that never change."""

    @abstractmethod
    def merge(self, params: Params, frozen: Params) -> Params:
        """The parameters that ``logits`` needs for examples with all columns."""

    @abstractmethod
    def logits(self, params: Params, x: Float[Array, "B C"]) -> Float[Array, "T B K"]:
        """Logits of every trial for the same examples, which have all columns, or the trained ones."""

    @abstractmethod
    def finite(self, params: Params) -> Bool[Array, "T"]:
        """Whether all parameters of a trial are finite."""

    @abstractmethod
    def weights(self, params: Params, frozen: Params, slot: int) -> dict[str, np.ndarray]:
        """The parameters of one trial (``Weights``), from NumPy arrays of its replica."""


def make_layout(name: str, architectures: Sequence[Architecture], problem: Problem) -> Layout:
    """The layout called ``packed`` or ``vmap`` for these trials."""
    layouts: dict[str, type[PackedLayout] | type[VmapLayout]] = {"packed": PackedLayout, "vmap": VmapLayout}
    return layouts[name](tuple(architectures), problem)


def _by_activation(architectures: Sequence[Architecture]) -> Iterator[tuple[str | None, list[Architecture]]]:
    """The trials with a hidden layer by activation, narrow to wide; then, under None, those without."""
    hidden = sorted(a for a in architectures if a.hidden_units)
    for activation, group in groupby(hidden, key=lambda a: a.activation):
        yield activation, list(group)
    linear = [a for a in architectures if not a.hidden_units]
    if linear:
        yield None, linear


class VmapLayout(Layout):
    """Every trial padded to the widest M and masked, ``jax.vmap`` over trials: the readable reference.

    Padded units must be masked, since f(0) need not be 0 (sigmoid(0) = 0.5). One ``jax.vmap`` an activation, and
    one for the trials without a hidden layer.
    """

    @cached_property
    def _groups(self) -> dict[str, list[Architecture]]:
        return {activation or "": group for activation, group in _by_activation(self.architectures)}

    @property
    def columns(self) -> tuple[int, ...]:
        return tuple(range(self.problem.features))

    @property
    def trained(self) -> int:
        return self.problem.features

    def init(self, key: PRNGKeyArray, dtype: DTypeLike) -> tuple[Params, Params]:
        problem = self.problem

        def padded(trial: Architecture, widest: int) -> Weights:
            units = trial.hidden_units
            weights = initial_weights(key, problem.features, units, problem.outputs, problem.use_bias, dtype)
            extra = widest - units
            axes = {"A": ((0, 0), (0, extra)), "c1": ((0, extra),), "B": ((0, extra), (0, 0)), "c2": ((0, 0),)}
            return {symbol: jnp.pad(array, axes[symbol]) for symbol, array in weights.items()}

        params = {}
        for activation, group in self._groups.items():
            alone = [padded(trial, max(t.hidden_units for t in group)) for trial in group]
            params[activation] = jax.tree.map(lambda *arrays: jnp.stack(arrays), *alone)
        return params, {}

    def merge(self, params: Params, frozen: Params) -> Params:
        return params

    def logits(self, params: Params, x: Float[Array, "B C"]) -> Float[Array, "T B K"]:
        out = []

        def first(weights: Params) -> Float[Array, "B M"]:
            product = first_product(weights["A"].T, x, self.problem.precision).T
            return product + weights["c1"][None] if "c1" in weights else product

        for activation, group in self._groups.items():
            if not activation:
                out.append(jax.vmap(first)(params[activation]))
                continue
            units = jnp.array([trial.hidden_units for trial in group])

            def one(weights: Params, units: Array, f: str = activation) -> Float[Array, "B K"]:
                z = ACTIVATIONS[f](first(weights))
                z = jnp.where(jnp.arange(z.shape[1])[None] < units, z, 0)
                out = z @ weights["B"]
                return out + weights["c2"][None] if "c2" in weights else out

            out.append(jax.vmap(one)(params[activation], units))
        return jnp.concatenate(out)

    def finite(self, params: Params) -> Bool[Array, "T"]:
        def one(weights: Weights) -> Bool[Array, ""]:
            return jnp.stack([jnp.isfinite(array).all() for array in weights.values()]).all()

        return jnp.concatenate([jax.vmap(one)(params[activation]) for activation in self._groups])

    def weights(self, params: Params, frozen: Params, slot: int) -> dict[str, np.ndarray]:
        for activation, group in self._groups.items():
            if slot < len(group):
                units = group[slot].hidden_units or self.problem.outputs
                cut = {"A": np.s_[:, :units], "c1": np.s_[:units], "B": np.s_[:units], "c2": np.s_[:]}
                return {symbol: array[slot][cut[symbol]] for symbol, array in params[activation].items()}
            slot -= len(group)
        raise IndexError(slot)


@dataclass(frozen=True)
class _Group:
    """Trials of one activation and one width, next to each other in a packed layout.

    Attributes:
        activation: f; None for trials without a hidden layer, whose rows are their K outputs.
        width: rows a trial: its hidden units and, where widths are padded together, some that stay 0.
        units: the true number of rows of each trial.
        row: where its rows begin in A; those with a hidden layer come first, so that B has the same rows.
        slot: where its trials begin.
    """

    activation: str | None
    width: int
    units: tuple[int, ...]
    row: int
    slot: int

    @property
    def rows(self) -> int:
        return self.width * len(self.units)

    @property
    def padded(self) -> bool:
        return any(u != self.width for u in self.units)

    @cached_property
    def mask(self) -> np.ndarray:
        """``[rows]``, whether a row is a unit of its trial."""
        return (np.arange(self.width) < np.array(self.units)[:, None]).ravel()


@dataclass(frozen=True)
class PackedLayout(Layout):
    """Hidden layers side by side in one matrix: one product for the first layers of all trials.

    Parameters of one replica: A ``[H, C]``, a row a hidden unit, H = ΣM (a trial with M = 0 has K rows, its outputs);
    B ``[H′, K]``, the same rows, of the trials with a hidden layer (H′ of them); c2 ``[T′, K]``. Rows are units and not
    columns so that a trial is one block of memory. The biases c1 are A's column for the constant feature 1: they cost
    no kernel of their own. Features that are 0 in every training example are left out of A and kept apart, unchanged.

    Second layers go group by group, one batched product over the trials of equal width: T of them cost ΣM·K, where
    one block-diagonal matrix would cost T·ΣM·K, and would let one trial's NaN reach the others.

    Attributes:
        widths: rows that each slot has in A, at least its units; None for the least that ``MOST_GROUPS`` allows.
    """

    widths: tuple[int, ...] | None = None

    @cached_property
    def _groups(self) -> tuple[_Group, ...]:
        by_activation = dict(_by_activation(self.architectures))
        most = max(1, MOST_GROUPS // max(1, len(by_activation)))
        groups, row, slot = [], 0, 0
        for activation, trials in by_activation.items():
            units = [trial.hidden_units if activation is not None else self.problem.outputs for trial in trials]
            if self.widths is None:
                runs = _padded_groups(units, most)
            else:
                wide = zip(self.widths[slot : slot + len(units)], units, strict=True)
                runs = [(width, [u for _, u in run]) for width, run in groupby(wide, key=lambda each: each[0])]
            for width, members in runs:
                groups.append(_Group(activation, width, tuple(members), row, slot))
                row += groups[-1].rows
                slot += len(members)
        return tuple(groups)

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """How many rows of A each slot has."""
        return tuple(group.width for group in self._groups for _ in group.units)

    def part(self, slots: Sequence[int]) -> "PackedLayout":
        """Some of the trials, by ascending slot, in a layout of their own: values as here, at ``places(slots)``."""
        widths = tuple(self.rows[slot] for slot in slots)
        return PackedLayout(tuple(self.slots[slot] for slot in slots), self.problem, widths)

    def places(self, slots: Sequence[int]) -> dict[str, Int[np.ndarray, "n"]]:
        """By name of a parameter, where the values of some slots are along its first axis."""
        ends = np.cumsum(self.rows)
        hidden = [slot for slot in slots if self.slots[slot].hidden_units]
        a, b = (
            np.concatenate([np.arange(ends[s] - self.rows[s], ends[s]) for s in some] or [np.zeros(0, int)])
            for some in (slots, hidden)
        )
        return {"A": a, "B": b, "c2": np.array(hidden, int)}

    @cached_property
    def columns(self) -> tuple[int, ...]:
        dead = sorted(set(range(self.problem.features)) - set(self.problem.live))
        return (*self.problem.live, *([ONES] if self.problem.use_bias else []), *dead)

    @property
    def trained(self) -> int:
        return len(self.problem.live) + self.problem.use_bias

    @property
    def _hidden(self) -> list[_Group]:
        return [group for group in self._groups if group.activation is not None]

    def init(self, key: PRNGKeyArray, dtype: DTypeLike) -> tuple[Params, Params]:
        features, outputs = self.problem.features, self.problem.outputs

        def draw(layer: int, groups: Sequence[_Group], count: int) -> Float[Array, "H count"]:
            units = np.concatenate([np.tile(np.arange(g.width), len(g.units)) for g in groups])
            fans = np.concatenate([np.repeat(g.units, g.width) for g in groups]) + count
            mask = np.concatenate([g.mask for g in groups])
            limits = jnp.asarray(np.where(mask, glorot_limit(fans), 0), dtype)
            return unit_weights(key, layer, jnp.asarray(units), limits, count)

        rows = draw(HIDDEN, self._groups, features)
        wide = jnp.concatenate([rows, jnp.zeros((len(rows), 1), dtype)], axis=1)  # ONES is its last column
        a = wide[:, np.array(self.columns)]
        params, frozen = {"A": a[:, : self.trained]}, {"A": a[:, self.trained :]}
        if self._hidden:
            params["B"] = draw(OUTPUT, self._hidden, outputs)
            if self.problem.use_bias:
                params["c2"] = jnp.zeros((sum(len(g.units) for g in self._hidden), outputs), dtype)
        return params, frozen

    def merge(self, params: Params, frozen: Params) -> Params:
        return params | {"A": jnp.concatenate([params["A"], frozen["A"]], axis=1)}

    def logits(self, params: Params, x: Float[Array, "B C"]) -> Float[Array, "T B K"]:
        # One activation a block, not a group: fewer kernels to compile and to start. And lax.split, not slices: its
        # gradient is one concatenation, where T slices' is a sum of T padded arrays.
        blocks = [(f, list(groups)) for f, groups in groupby(self._groups, key=lambda group: group.activation)]
        first = first_product(params["A"], x, self.problem.precision)
        pre = lax.split(first, [sum(group.rows for group in groups) for _, groups in blocks])
        b = iter(lax.split(params["B"], [group.rows for group in self._hidden]) if self._hidden else [])
        out = []
        for (activation, groups), block in zip(blocks, pre, strict=True):
            z = block if activation is None else ACTIVATIONS[activation](block)
            for group, rows in zip(groups, lax.split(z, [group.rows for group in groups]), strict=True):
                if activation is None:
                    out.append(rows.reshape(len(group.units), group.width, -1))
                    continue
                second = next(b)
                if len(group.units) == 1 and not group.padded:  # compiles and runs faster than a batched product
                    out.append((second.T @ rows)[None])
                    continue
                units = rows.reshape(len(group.units), group.width, -1)
                if group.padded:
                    units = jnp.where(group.mask.reshape(len(group.units), group.width, 1), units, 0)
                out.append(jnp.einsum("tmb,tmk->tkb", units, second.reshape(len(group.units), group.width, -1)))
        logits = jnp.concatenate(out)  # [T, K, B]
        if "c2" in params:
            linear = len(logits) - len(params["c2"])
            logits += jnp.pad(params["c2"], ((0, linear), (0, 0)))[:, :, None]
        return logits.transpose(0, 2, 1)

    def finite(self, params: Params) -> Bool[Array, "T"]:
        rows = jnp.isfinite(params["A"]).all(axis=1)
        if self._hidden:
            hidden = len(params["B"])
            rows = rows.at[:hidden].set(rows[:hidden] & jnp.isfinite(params["B"]).all(axis=1))
        slot_of_row = np.repeat(np.arange(len(self.rows)), self.rows)
        lost = jax.ops.segment_sum((~rows).astype(jnp.int32), slot_of_row, len(self.rows), indices_are_sorted=True)
        finite = lost == 0
        if "c2" in params:
            biases = jnp.isfinite(params["c2"]).all(axis=1)
            finite = finite.at[: len(biases)].set(finite[: len(biases)] & biases)
        return finite

    def weights(self, params: Params, frozen: Params, slot: int) -> dict[str, np.ndarray]:
        group = next(g for g in self._groups if g.slot <= slot < g.slot + len(g.units))
        first = group.row + (slot - group.slot) * group.width
        rows = slice(first, first + group.units[slot - group.slot])
        wide = np.concatenate([params["A"][rows], frozen["A"][rows]], axis=1)
        place = {column: i for i, column in enumerate(self.columns)}
        weights = {"A": wide[:, [place[d] for d in range(self.problem.features)]].T}
        if self.problem.use_bias:
            weights["c1"] = wide[:, place[ONES]]
        if group.activation is not None:
            weights["B"] = np.asarray(params["B"][rows])
            if self.problem.use_bias:
                weights["c2"] = np.asarray(params["c2"][slot])
        return weights


def _padded_groups(widths: Sequence[int], most: int) -> list[tuple[int, list[int]]]:
    """Divide ascending widths into at most ``most`` runs, each padded to its widest, with the least padding.

    Returns:
        For each run the width that it is padded to and its members.
    """
    distinct, counts = np.unique(np.asarray(widths), return_counts=True)
    n = len(distinct)
    total = np.concatenate([[0], np.cumsum(counts)])
    # least[j]: the fewest rows that the first j distinct widths take, in the number of runs allowed so far.
    least = np.concatenate([[0], np.full(n, np.inf)])
    choices = []
    for _ in range(min(most, n)):
        cost = least[:, None] + np.where(
            np.arange(n + 1)[:, None] < np.arange(1, n + 1)[None],
            (total[None, 1:] - total[:, None]) * distinct[None],
            np.inf,
        )
        choices.append(cost.argmin(axis=0))
        least = np.concatenate([[0], cost.min(axis=0)])
    runs, end = [], n
    for choice in reversed(choices):
        start = int(choice[end - 1])
        members = [int(w) for w, c in zip(distinct[start:end], counts[start:end], strict=True) for _ in range(c)]
        runs.append((int(distinct[end - 1]), members))
        end = start
        if end == 0:
            break
    return runs[::-1]
