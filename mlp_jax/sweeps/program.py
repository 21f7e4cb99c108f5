"""The compiled programs of a sweep: initial state, epoch, scores; mapped over replicas and sharded over devices."""

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
from mlp_jax.training.axes import Trial
from mlp_jax.training.epoch import (
    DeviceData,
    Means,
    Scored,
    State,
    Trials,
    begin,
    compiler_options,
    score_rows,
    train_round,
)
from mlp_jax.training.recipe import Recipe

AXIS = "replicas"
"""Name of the mesh axis: each device has its share of the replicas, and all of the data."""


class Replicas(NamedTuple):
    """What distinguishes replicas and does not change; every leaf has the mapped axis R in front.

    Attributes:
        frozen: parameters that are not trained.
        key: each replica's ``root_key(seed)``.
        numbers: each trial's numbers by name, ``[R, T]``.
    """

    frozen: Params
    key: PRNGKeyArray
    numbers: dict[str, Float[Array, "R T"]]


class EpochMeans(NamedTuple):
    """A round's report on each trial, ``[R, T]``: training means, and whether all parameters are finite."""

    train: Means
    finite: Bool[Array, "R T"]


@dataclass(frozen=True)
class Program:
    """The pure functions of a sweep, for compilation; each maps over the replicas in its arguments.

    Replicas are independent of each other, so devices do not communicate during training.

    Attributes:
        layout: of the trials of a replica.
        slots: the shape of the trial in each slot.
        numbers: names of the trials' numbers.
        task: name of the task.
        recipe: how to train.
        examples: sizes of the train, validation and test split.
        trained_on: number of training examples used, from the first.
        dtype: of parameters and arithmetic.
        at_once: number of replicas that run side by side on a device; the rest follow in groups.
        mesh: the devices, along one axis, ``AXIS``.
    """

    layout: Layout
    slots: tuple[Trial, ...]
    numbers: tuple[str, ...]
    task: str
    recipe: Recipe
    examples: tuple[int, int, int]
    trained_on: int
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
        return map_replicas(f, count, mapped, *same, mesh=self.mesh, at_once=self.at_once)

    @property
    def trials(self) -> Trials:
        """The trials of a replica, in the form that training takes."""
        layout = self.layout
        return Trials(
            shapes=self.slots,
            columns=layout.trained,
            classes=max(2, layout.problem.outputs),
            logits=layout.logits,
            by_row=layout.by_row,
            kernels=layout.kernels,
            rate_factors=layout.rate_factors,
            task=get_task(self.task),
            recipe=self.recipe,
            examples=self.trained_on,
            forms=layout.problem.forms,
            products=layout.products,
        )

    def init(
        self, seeds: UInt32[Array, "R"], init_seeds: UInt32[Array, "R"], numbers: dict[str, Float[Array, "R T"]]
    ) -> tuple[State, Replicas]:
        """Initial state of every replica."""

        def one(
            seed: UInt32[Array, ""], init_seed: UInt32[Array, ""], numbers: dict[str, Float[Array, "T"]]
        ) -> tuple[State, Replicas]:
            params, frozen = self.layout.init(parameter_key(init_seed), self.dtype)
            if "init_scale" in numbers:
                params, frozen = self.layout.scaled(params, frozen, numbers["init_scale"])
            return begin(self.trials, numbers, params), Replicas(frozen, root_key(seed), numbers)

        return jax.shard_map(
            lambda *local: lax.map(lambda each: one(*each), local),
            mesh=self.mesh,
            in_specs=P(AXIS),
            out_specs=P(AXIS),
            check_vma=False,
        )(seeds, init_seeds, numbers)

    # What the functions are given, as shapes and types where they are to lie: enough to compile them.

    @property
    def scalar(self) -> jax.ShapeDtypeStruct:
        """A whole number."""
        return jax.ShapeDtypeStruct((), np.int32, sharding=self.everywhere)

    def asked(
        self, replicas: int
    ) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct, dict[str, jax.ShapeDtypeStruct]]:
        """Shapes of that many seeds, initialization seeds and numbers."""
        shape = (replicas, self.layout.trials)
        number = jax.ShapeDtypeStruct(shape, self.dtype, sharding=self.shared_out)
        seed = jax.ShapeDtypeStruct(shape[:1], np.uint32, sharding=self.shared_out)
        return seed, seed, dict.fromkeys(self.numbers, number)

    def shapes(self, replicas: int) -> tuple[State, Replicas]:
        """Shapes of the state and the constants of that many replicas."""

        def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.shared_out)

        state, constant = jax.tree.map(placed, jax.eval_shape(self.init, *self.asked(replicas)))
        return state, constant

    def epoch(
        self, count: Int[Array, ""], state: State, replicas: Replicas, epoch: Int[Array, ""], data: DeviceData
    ) -> tuple[State, EpochMeans]:
        """Train the first ``count`` replicas for a round of epochs, starting with ``epoch``."""

        def one(state: State, replica: Replicas, epoch: Int[Array, ""], data: DeviceData) -> tuple[State, EpochMeans]:
            state, means = train_round(self.trials, state, replica.numbers, replica.key, epoch, data)
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
        """Score the first ``count`` replicas on rows first (inclusive) to last (exclusive).

        Results by example are kept for as many rows as the longer of validation and test has.
        """

        def one(
            params: Params, replica: Replicas, first: Int[Array, ""], last: Int[Array, ""], data: DeviceData
        ) -> Scored:
            full, trials = self.layout.merge(params, replica.frozen), self.trials
            relabelling = trials.relabelling(replica.key, replica.numbers, data)
            return score_rows(
                self.layout.logits,
                trials.task,
                full,
                data,
                first,
                last,
                kept=max(self.examples[1:]),
                loss_of=trials.loss,
                relabelled=relabelling and (lambda rows, y: relabelling.of(rows, y, replica.numbers["label_noise"])),
            )

        return self._map(one, count, (params, replicas), first, last, data)


def map_replicas(
    f: Callable[..., Any], count: Int[Array, ""], mapped: tuple[Any, ...], *same: Any, mesh: Mesh, at_once: int
) -> Any:
    """Map f over the leading axis of ``mapped``, on all devices; each call gets ``same`` unchanged.

    Args:
        f: called with one row of each of ``mapped``, and ``same``.
        count: rows from this one on are padding, and their results are meaningless.
        mapped: pytrees of arrays, shared out over the devices.
        *same: pytrees of arrays.
        mesh: the devices, along one axis, ``AXIS``.
        at_once: number of rows that run side by side on a device; the rest follow in groups.
    """

    def local(count: Int[Array, ""], mapped: tuple[Any, ...], *same: Any) -> Any:
        rows = len(jax.tree.leaves(mapped)[0])
        if at_once == 1:
            mine = jnp.clip(count - lax.axis_index(AXIS) * rows, 0, rows)
            return _one_by_one(lambda each: f(*each, *same), mapped, mine)
        if at_once >= rows:
            return jax.vmap(lambda *each: f(*each, *same))(*mapped)
        return _in_batches(lambda each: f(*each, *same), mapped, at_once)

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(P(), P(AXIS), *(P() for _ in same)),
        out_specs=P(AXIS),
        check_vma=False,  # nothing here varies over devices that should not, nor the other way round
    )(count, mapped, *same)


def _one_by_one(f: Callable[[Any], Any], mapped: Any, count: Int[Array, ""]) -> Any:
    """Like ``jax.lax.map``, over the first ``count`` rows.

    The compiler does not know the count, so it cannot unroll a single row and round differently than for several.
    """
    rows = len(jax.tree.leaves(mapped)[0])
    shapes = jax.eval_shape(f, jax.tree.map(lambda leaf: leaf[0], mapped))
    out = jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape), leaf.dtype), shapes)

    def turn(i: Int[Array, ""], out: Any) -> Any:
        each = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, keepdims=False), mapped)
        return jax.tree.map(lambda all_, one: lax.dynamic_update_index_in_dim(all_, one, i, 0), out, f(each))

    return lax.fori_loop(0, count, turn, out)


def _in_batches(f: Callable[[Any], Any], mapped: Any, size: int) -> Any:
    """Like ``jax.lax.map`` with ``batch_size``, which fails for arrays without elements."""
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
    """A program's jitted functions; ``epoch`` donates the buffers of its state."""

    init: Any
    epoch: Any
    evaluate: Any


def jitted(program: Program) -> Compiled:
    """New functions of a program, so that their compiled programs are freed with them."""
    options = compiler_options(program.recipe.precision)
    # In bfloat16 training is left to YNNPACK, as it is faster; of the scores of more than 32 trials it makes wrong
    # losses (those of a trial before), in jax 0.10.2.
    exact = compiler_options("float32")
    # Where results lie is said, and not left to XLA: it puts an array without elements (of a data set in which no
    # feature is always 0, say) on every device alike, where the next function expects it shared out.
    out = program.shared_out
    return Compiled(
        jax.jit(program.init, out_shardings=out),
        jax.jit(program.epoch, donate_argnames="state", out_shardings=out, compiler_options=options),
        jax.jit(program.evaluate, out_shardings=out, compiler_options=exact),
    )
