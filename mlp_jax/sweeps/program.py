"""The compiled programs of a sweep: initial state, an epoch, scores; replicas mapped, and shared out over devices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layouts import Layout, Params
from mlp_jax.networks.models import parameter_key
from mlp_jax.tasks import get_task
from mlp_jax.training.epoch import (
    DeviceData,
    Means,
    Scored,
    State,
    Trials,
    compiler_options,
    minibatches,
    score_rows,
    train_minibatches,
)
from mlp_jax.training.recipe import Recipe

AXIS = "replicas"
"""Of the mesh: each device has its share of the replicas, and all of the data."""


class Replicas(NamedTuple):
    """What distinguishes the replicas, and does not change; every leaf has the mapped axis R in front.

    Attributes:
        frozen: parameters that are not trained.
        key: of the seed.
        numbers: by name, those of each trial, ``[R, T]``.
    """

    frozen: Params
    key: PRNGKeyArray
    numbers: dict[str, Float[Array, "R T"]]


class EpochMeans(NamedTuple):
    """What an epoch reports of each trial, ``[R, T]``: as it was trained, and whether all parameters are finite."""

    train: Means
    finite: Bool[Array, "R T"]


@dataclass(frozen=True)
class Program:
    """The pure functions of a sweep, to be compiled; every one maps over the replicas in its arguments.

    Replicas need nothing of each other: a device trains its share of them without a word to the others.

    Attributes:
        layout: of the trials of a replica.
        numbers: names of those that the trials have.
        task: name of the task.
        recipe: how to train.
        examples: sizes of the train, validation and test split.
        dtype: of parameters and arithmetic.
        at_once: how many replicas run side by side on a device; the rest follow one group after another.
        mesh: the devices, along one axis, ``AXIS``.
    """

    layout: Layout
    numbers: tuple[str, ...]
    task: str
    recipe: Recipe
    examples: tuple[int, int, int]
    dtype: Any
    at_once: int
    mesh: Mesh

    @property
    def shared_out(self) -> NamedSharding:
        """How arrays with an axis R lie on the devices."""
        return NamedSharding(self.mesh, P(AXIS))

    @property
    def everywhere(self) -> NamedSharding:
        """How all other arrays lie on the devices."""
        return NamedSharding(self.mesh, P())

    def _map(self, f: Callable[..., Any], count: Int[Array, ""], mapped: tuple[Any, ...], *same: Any) -> Any:
        """Map f over the leading axis of ``mapped``, on all devices; ``same`` comes to each call as it is.

        Rows from ``count`` on are padding: what comes out of them has no meaning.
        """

        def local(count: Int[Array, ""], mapped: tuple[Any, ...], *same: Any) -> Any:
            rows = len(jax.tree.leaves(mapped)[0])
            if self.at_once == 1:
                mine = jnp.clip(count - lax.axis_index(AXIS) * rows, 0, rows)
                return _one_by_one(lambda each: f(*each, *same), mapped, mine)
            if self.at_once >= rows:
                return jax.vmap(lambda *each: f(*each, *same))(*mapped)
            return _in_batches(lambda each: f(*each, *same), mapped, self.at_once)

        return jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(P(), P(AXIS), *(P() for _ in same)),
            out_specs=P(AXIS),
            check_vma=False,  # nothing here varies over devices that should not, nor the other way round
        )(count, mapped, *same)

    @property
    def trials(self) -> Trials:
        """The trials of a replica, as training knows them."""
        layout = self.layout
        return Trials(
            layout.trials,
            layout.trained,
            layout.logits,
            layout.by_row,
            layout.kernels,
            layout.problem.forms,
            layout.products,
        )

    def init(self, seeds: UInt32[Array, "R"], numbers: dict[str, Float[Array, "R T"]]) -> tuple[State, Replicas]:
        """Initial state of every replica."""

        def one(seed: UInt32[Array, ""], numbers: dict[str, Float[Array, "T"]]) -> tuple[State, Replicas]:
            params, frozen = self.layout.init(parameter_key(seed), self.dtype)
            return self.trials.begin(self.recipe, numbers, params), Replicas(frozen, root_key(seed), numbers)

        return jax.shard_map(
            lambda *local: lax.map(lambda each: one(*each), local),
            mesh=self.mesh,
            in_specs=P(AXIS),
            out_specs=P(AXIS),
            check_vma=False,
        )(seeds, numbers)

    # What the functions are given, as shapes and types where they are to lie: enough to compile them.

    @property
    def scalar(self) -> jax.ShapeDtypeStruct:
        """A whole number."""
        return jax.ShapeDtypeStruct((), np.int32, sharding=self.everywhere)

    def asked(self, replicas: int) -> tuple[jax.ShapeDtypeStruct, dict[str, jax.ShapeDtypeStruct]]:
        """Seeds and numbers of so many."""
        shape = (replicas, self.layout.trials)
        number = jax.ShapeDtypeStruct(shape, self.dtype, sharding=self.shared_out)
        return jax.ShapeDtypeStruct(shape[:1], np.uint32, sharding=self.shared_out), dict.fromkeys(self.numbers, number)

    def shapes(self, replicas: int) -> tuple[State, Replicas]:
        """State of so many, and what is constant of them."""

        def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.shared_out)

        state, constant = jax.tree.map(placed, jax.eval_shape(self.init, *self.asked(replicas)))
        return state, constant

    def epoch(
        self, count: Int[Array, ""], state: State, replicas: Replicas, epoch: Int[Array, ""], data: DeviceData
    ) -> tuple[State, EpochMeans]:
        """Train the first ``count`` replicas for one epoch."""
        task, train = get_task(self.task), self.examples[0]

        def one(state: State, replica: Replicas, epoch: Int[Array, ""], data: DeviceData) -> tuple[State, EpochMeans]:
            batches = minibatches(replica.key, epoch, train, self.recipe.batch_size)
            state, means = train_minibatches(
                self.trials, task, self.recipe, train, state, replica.numbers, batches, data
            )
            return state, EpochMeans(means, self.layout.finite(state.params))

        return self._map(one, count, (state, replicas), epoch, data)

    def evaluate(
        self,
        count: Int[Array, ""],
        params: Params,
        replicas: Replicas,
        first: Int[Array, ""],
        last: Int[Array, ""],
        data: DeviceData,
    ) -> Scored:
        """Score the first ``count`` replicas on rows first (included) to last (excluded).

        What each example makes is kept of a validation or test split; of a longer one, of its beginning.
        """

        def one(
            params: Params, replica: Replicas, first: Int[Array, ""], last: Int[Array, ""], data: DeviceData
        ) -> Scored:
            full = self.layout.merge(params, replica.frozen)
            return score_rows(self.layout.logits, get_task(self.task), full, data, first, last, max(self.examples[1:]))

        return self._map(one, count, (params, replicas), first, last, data)


def _one_by_one(f: Callable[[Any], Any], mapped: Any, count: Int[Array, ""]) -> Any:
    """Like ``jax.lax.map``, of the first ``count`` rows.

    How many there are is not known to the compiler, so that it can't unroll one, and round otherwise than several.
    """
    rows = len(jax.tree.leaves(mapped)[0])
    shapes = jax.eval_shape(f, jax.tree.map(lambda leaf: leaf[0], mapped))
    out = jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape), leaf.dtype), shapes)

    def turn(i: Int[Array, ""], out: Any) -> Any:
        each = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, keepdims=False), mapped)
        return jax.tree.map(lambda all_, one: lax.dynamic_update_index_in_dim(all_, one, i, 0), out, f(each))

    return lax.fori_loop(0, count, turn, out)


def _in_batches(f: Callable[[Any], Any], mapped: Any, size: int) -> Any:
    """Like ``jax.lax.map`` with ``batch_size``, which cannot put arrays without elements together again."""
    rows = len(jax.tree.leaves(mapped)[0])
    batches, rest = divmod(rows, size)
    whole = batches * size
    batched = jax.tree.map(lambda leaf: leaf[:whole].reshape(batches, size, *leaf.shape[1:]), mapped)
    out = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), lax.map(jax.vmap(f), batched))
    if not rest:
        return out
    last = jax.vmap(f)(jax.tree.map(lambda leaf: leaf[whole:], mapped))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), out, last)


class Compiled(NamedTuple):
    """A program's functions as ``jax.jit`` has them; ``epoch`` takes over the buffers of its state."""

    init: Any
    epoch: Any
    evaluate: Any


def jitted(program: Program) -> Compiled:
    """The functions of a program, anew each time: what is compiled of them goes with them."""
    options = compiler_options(program.recipe.precision)
    # Where results lie is said, and not left to XLA: it puts an array without elements (of a data set in which no
    # feature is always 0, say) on every device alike, where the next function expects it shared out.
    out = program.shared_out
    return Compiled(
        jax.jit(program.init, out_shardings=out),
        jax.jit(program.epoch, donate_argnames="state", out_shardings=out, compiler_options=options),
        jax.jit(program.evaluate, out_shardings=out, compiler_options=options),
    )
