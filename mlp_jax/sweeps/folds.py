"""The same trials trained on several subsets of one data set, such as the folds of a cross-validation, together.

Each subset is a replica of a program: trials of one replica lie side by side in a layout, and replicas are mapped. The
host decides from epoch to epoch: it chooses every trial's learning rate, and 0 leaves a trial as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from mlp_jax.datasets.dataset import Split
from mlp_jax.machine.compilation import run_compiled
from mlp_jax.machine.forms import forms_of
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layouts import Layout, Params, make_layout
from mlp_jax.networks.models import parameter_key, scale_features
from mlp_jax.networks.packing import Parameters
from mlp_jax.networks.problem import Problem
from mlp_jax.sweeps.program import AXIS, map_replicas
from mlp_jax.tasks import Task
from mlp_jax.training.axes import Trial, numbers_of, shape_of
from mlp_jax.training.epoch import (
    ROWS_AT_ONCE,
    DeviceData,
    State,
    Subset,
    Trials,
    begin,
    compiler_options,
    live_features,
    minibatches,
    quick_to_compile,
    stack_splits,
    train_minibatches,
)
from mlp_jax.training.recipe import Recipe
from mlp_jax.training.trials import network_of


@dataclass(frozen=True)
class _Program:
    """What is compiled.

    Attributes:
        layout: of the trials of a replica.
        slots: the shape of the trial in each slot.
        task: what the logits mean.
        recipe: how to train; its number of epochs is of no consequence.
        examples: the most that any subset has.
        shuffle: whether every epoch has an order of its own.
        own_data: whether each replica has data of its own, instead of rows of the same.
        mesh: the devices.
    """

    layout: Layout
    slots: tuple[Trial, ...]
    task: Task
    recipe: Recipe
    examples: int
    shuffle: bool
    own_data: bool
    mesh: Mesh

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Once: an epoch of small data takes no longer than a walk over all layers.
        return hash((self.layout, self.slots, self.task, self.recipe, self.examples, self.shuffle, self.own_data))

    @property
    def trials(self) -> Trials:
        """The trials of a replica, in the form that training takes."""
        return Trials(
            shapes=self.slots,
            columns=self.layout.trained,
            classes=max(2, self.layout.problem.outputs),
            logits=self.layout.logits,
            by_row=self.layout.by_row,
            kernels=self.layout.kernels,
            rate_factors=self.layout.rate_factors,
            task=self.task,
            recipe=self.recipe,
            examples=self.examples,
            forms=self.layout.problem.forms,
            products=self.layout.products,
            squares=self.layout.squares,
        )

    def map(self, f: Any, count: Array, mapped: tuple[Any, ...], data: DeviceData, *same: Any) -> Any:
        """Map f over replicas; the data come after what is mapped."""
        if self.own_data:
            return map_replicas(f, count, (*mapped, data), *same, mesh=self.mesh, at_once=1)
        return map_replicas(f, count, mapped, data, *same, mesh=self.mesh, at_once=1)


def _init(seed: UInt32[Array, ""], *, layout: Layout) -> tuple[Params, Params]:
    return layout.init(parameter_key(seed), jnp.float32)


def _begin(params: Params, numbers: Mapping[str, Float[Array, "R T"]], *, program: _Program) -> State:
    return jax.vmap(partial(begin, program.trials))(numbers, params)


def _orders(
    key: PRNGKeyArray, epoch: Int[Array, ""], counts: Int[Array, "R"], *, examples: int, batch_size: int, shuffle: bool
) -> Int[Array, "R steps B"]:
    """The minibatches of an epoch for each replica; padding comes last."""
    if shuffle:
        return jax.vmap(lambda count: minibatches(key, epoch, examples, batch_size, count))(counts)
    size = min(batch_size, examples)
    steps = -(-examples // size)
    places = jnp.minimum(jnp.arange(steps * size, dtype=jnp.int32), examples).reshape(steps, size)
    return jnp.broadcast_to(places, (len(counts), steps, size))


def _epoch(
    count: Int[Array, ""],
    state: State,
    numbers: Mapping[str, Float[Array, "R T"]],
    batches: Int[Array, "R steps B"],
    subsets: Subset,
    data: DeviceData,
    key: PRNGKeyArray,
    *,
    program: _Program,
) -> tuple[State, Float[Array, "R T"]]:
    """Train every trial on every subset for an epoch."""

    def one(
        state: State,
        numbers: Mapping[str, Float[Array, "T"]],
        batches: Int[Array, "steps B"],
        subset: Subset,
        data: DeviceData,
        key: PRNGKeyArray,
    ) -> tuple[State, Float[Array, "T"]]:
        state, means = train_minibatches(program.trials, state, numbers, key, batches, 0, data, subset)
        return state, means.loss

    return program.map(one, count, (state, numbers, batches, subsets), data, key)


def _logits(
    count: Int[Array, ""],
    params: Params,
    frozen: Params,
    rows: Int[Array, "R V"],
    data: DeviceData,
    *,
    program: _Program,
) -> Float[Array, "R V T K"]:
    """Logits of every trial for some rows of the data, of each replica its own."""
    dtype = jnp.result_type(*jax.tree.leaves(params))

    def one(params: Params, frozen: Params, rows: Int[Array, "V"], data: DeviceData) -> Float[Array, "V T K"]:
        full = program.layout.merge(params, frozen)

        def some(rows: Int[Array, "B"]) -> Float[Array, "B T K"]:
            with jax.default_matmul_precision("highest"):
                return program.layout.logits(full, scale_features(data.features[rows], dtype)).transpose(1, 0, 2)

        size = min(len(rows), ROWS_AT_ONCE)
        out = lax.map(some, jnp.pad(rows, (0, -len(rows) % size)).reshape(-1, size))
        return out.reshape(-1, *out.shape[2:])[: len(rows)]

    return program.map(one, count, (params, frozen, rows), data)


def _chosen(new: Params, old: Params, mask: Bool[Array, "R T"], *, layout: Layout) -> Params:
    """The new parameters of some trials, and the old ones of the others."""

    def one(new: Params, old: Params, mask: Bool[Array, "T"]) -> Params:
        rows = layout.by_row(mask.astype(jnp.result_type(*jax.tree.leaves(new))), new)
        return jax.tree.map(lambda chosen, a, b: jnp.where(chosen > 0, a, b), rows, new, old)

    return jax.vmap(one)(new, old, mask)


class Cohort:
    """Trials, each trained on every subset of the data as if it were alone.

    Attributes:
        trials: as they were given; arrays that have an axis T are in this order.
        state: parameters and optimizer state, with the axis R of the replicas in front.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        split: Split | Sequence[Split],
        subsets: Sequence[Int[np.ndarray, "n"]],
        *,
        task: Task,
        outputs: int,
        recipe: Recipe,
        seed: int,
        example_weights: Float[np.ndarray, "*F N"] | None = None,
        shuffle: bool = True,
        models: Sequence[Parameters] | None = None,
        opt_state: Any = None,
    ) -> None:
        """Put everything on the devices, with initial weights.

        Args:
            trials: which share the recipe's order of examples; their own ``seed``, ``batch_size``, ``subset`` and
                ``epochs`` are not looked at.
            split: the examples; or one for each subset, of the same examples with other features.
            subsets: the rows to train on, of each replica.
            task: what the logits mean.
            outputs: K.
            recipe: batch size and constants.
            seed: of initial weights and minibatches.
            example_weights: what the loss of each example counts, in every subset or in each.
            shuffle: whether every epoch has an order of its own; else examples are taken as they lie.
            models: parameters by layer and name to start from, of each trial; None for initial ones.
            opt_state: the optimizer's state to start from, as ``opt_state`` returns it.
        """
        self.trials = tuple(trials)
        self._folds = len(subsets)
        splits = [split] if isinstance(split, Split) else list(split)
        device = jax.devices()[0]
        features = np.concatenate([each.features for each in splits]) if len(splits) > 1 else splits[0].features
        columns = range(features.shape[1]) if any(trial.l2 for trial in trials) else live_features(features)
        problem = Problem((features.shape[1],), outputs, True, tuple(columns), recipe.precision, forms_of(device))
        networks = [network_of(trial, outputs, True) for trial in self.trials]
        layout = make_layout("packed", networks, problem, [trial.optimizer for trial in self.trials])
        devices = jax.devices()[: min(len(subsets), len(jax.devices()))]
        counts = [len(rows) for rows in subsets]
        slots = tuple(shape_of(self.trials[number]) for number in layout.order)
        self._program = _Program(
            layout, slots, task, recipe, max(counts), shuffle, len(splits) > 1, Mesh(np.array(devices), (AXIS,))
        )
        self._slot = np.argsort(layout.order)
        self._count = jnp.asarray(self._folds, jnp.int32)
        self._seed, self._key = seed, root_key(seed)
        rows = [np.pad(each, (0, max(counts) - len(each))).astype(np.int32) for each in subsets]
        weights = None
        if example_weights is not None:
            of_each = np.broadcast_to(example_weights, (len(rows), np.shape(example_weights)[-1]))
            weights = self._shared_out(np.take_along_axis(of_each, np.stack(rows), axis=1).astype(np.float32))
        self._subsets = Subset(self._shared_out(np.stack(rows)), self._shared_out(np.array(counts, np.int32)), weights)
        stacked = [stack_splits([each], layout.columns) for each in splits]
        if len(splits) > 1:
            self._data = DeviceData(*(self._shared_out(np.stack(each)) for each in zip(*stacked, strict=True)))
        else:
            place = NamedSharding(self._program.mesh, P())
            self._data = DeviceData(*(jax.device_put(each, place) for each in stacked[0]))
        self._rates: np.ndarray | None = None
        self._numbers = {
            name: self._of_each(values[list(layout.order)].astype(np.float32))
            for name, values in numbers_of(self.trials).items()
        }
        self._start(models, opt_state)

    def _start(self, models: Sequence[Parameters] | None, opt_state: Any) -> None:
        layout = self._program.layout
        if models is None:
            params, frozen = run_compiled(
                _init, {"layout": layout}, np.uint32(self._seed), compiler_options=quick_to_compile()
            )
        else:
            by_optimizer = {}
            for name, packing in layout.packings:
                own = [models[layout.order[slot]] for slot in layout.slots_of(name)]
                by_optimizer[name] = packing.together(own, np)
            params = {name: each[0] for name, each in by_optimizer.items()}
            frozen = {name: each[1] for name, each in by_optimizer.items()}

        params, self._frozen = jax.tree.map(self._of_each, (params, frozen))
        if opt_state is None:
            begun = run_compiled(_begin, {"program": self._program}, params, self._numbers)
            self.state = jax.tree.map(self._shared_out, begun)
        else:
            self.state = State(params, jax.tree.map(self._shared_out, opt_state))

    @cached_property
    def _replicas(self) -> int:
        """R: the subsets, and padding, so that every device has as many."""
        devices = self._program.mesh.size
        return -(-self._folds // devices) * devices

    def _shared_out(self, array: Any) -> Array:
        """An array with one row per replica on the devices; the last row is repeated as padding."""
        if len(array) < self._replicas:
            array = np.asarray(array)
            array = np.concatenate([array, np.repeat(array[-1:], self._replicas - len(array), axis=0)])
        return jax.device_put(array, NamedSharding(self._program.mesh, P(AXIS)))

    def _of_each(self, array: Any) -> Array:
        """The same array for every replica."""
        return self._shared_out(np.broadcast_to(np.asarray(array), (self._folds, *array.shape)))

    def _numbers_now(self, rates: Float[np.ndarray, "F T"]) -> dict[str, Array]:
        if self._rates is None or not np.array_equal(rates, self._rates):
            by_slot = rates[:, list(self._program.layout.order)].astype(np.float32)
            self._numbers["learning_rate"], self._rates = self._shared_out(by_slot), rates
        return self._numbers

    def epoch(self, number: int, rates: Float[np.ndarray, "F T"]) -> Float[np.ndarray, "F T"]:
        """Train for an epoch, and return the mean losses while parameters change, penalty included.

        Args:
            number: of the epoch, which with the seed determines the order of the examples.
            rates: learning rate of each trial on each subset; 0 leaves the parameters as they are.
        """
        program = self._program
        of_order = {
            "examples": program.examples,
            "batch_size": program.recipe.batch_size,
            "shuffle": program.shuffle,
        }
        number_ = np.asarray(number if program.shuffle else 0, np.int32)
        batches = run_compiled(
            _orders, of_order, self._key, number_, self._subsets.size, compiler_options=quick_to_compile()
        )
        self.state, losses = run_compiled(
            _epoch,
            {"program": program},
            self._count,
            self.state,
            self._numbers_now(rates),
            batches,
            self._subsets,
            self._data,
            self._key,
            donate=(1,),
            compiler_options=compiler_options(program.recipe.precision),
        )
        return np.asarray(losses, np.float64)[: self._folds, self._slot]

    def logits(self, rows: Sequence[Int[np.ndarray, "v"]], params: Params | None = None) -> list[np.ndarray]:
        """Logits ``[v, T, K]`` of each subset's networks, for some rows of the data.

        Args:
            rows: of each subset.
            params: ``state.params``, or others like them.
        """
        most = max(1, *map(len, rows))
        padded = np.stack([np.pad(each, (0, most - len(each))).astype(np.int32) for each in rows])
        out = run_compiled(
            _logits,
            {"program": self._program},
            self._count,
            self.state.params if params is None else params,
            self._frozen,
            self._shared_out(padded),
            self._data,
            compiler_options=compiler_options("float32"),
        )
        return [np.asarray(out[fold])[: len(each), self._slot] for fold, each in enumerate(rows)]

    def chosen(self, mask: Bool[np.ndarray, "F T"], old: Params) -> Params:
        """The present parameters where ``mask`` says so, and others elsewhere."""
        by_slot = self._shared_out(mask[:, list(self._program.layout.order)])
        return run_compiled(_chosen, {"layout": self._program.layout}, self.state.params, old, by_slot)

    def copied(self) -> Params:
        """The present parameters, in memory of their own: an epoch takes that of the state."""
        copy: Params = jax.tree.map(jnp.copy, self.state.params)
        return copy

    def models(self, params: Params | None = None) -> list[list[Parameters]]:
        """Parameters of every trial on every subset, ``[F][T]``; ``params`` as for ``logits``."""
        layout = self._program.layout
        found = jax.device_get((self.state.params if params is None else params, self._frozen))
        models = []
        for fold in range(self._folds):
            own, frozen = jax.tree.map(lambda leaf, i=fold: leaf[i], found)
            models.append([layout.alone(own, frozen, slot) for slot in self._slot.tolist()])
        return models

    @property
    def opt_state(self) -> Any:
        """The optimizer's state, as NumPy arrays."""
        return jax.device_get(self.state.opt_state)
