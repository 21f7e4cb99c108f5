"""A sweep's program and its parts: the trials of every replica divided among devices, which run at the same time."""

import heapq
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from mlp_jax.machine.distributed import cores, to_host
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layouts import Layout, Params
from mlp_jax.networks.packing import Arrays
from mlp_jax.sweeps.program import AXIS, Compiled, EpochMeans, Program, Replicas, jitted
from mlp_jax.training.epoch import DeviceData, Scored, State, put

T = TypeVar("T")

FIXED_ROWS = 32
"""Hidden units that take as long to train as what a part costs whatever its width: its minibatches' order, gathering
them (benchmarks/roofline.py)."""

WORTH = 2e11
"""Operations that take about as long as compiling another program; parts that save fewer are not worth it."""


KEPT_SWEEPS = 8
"""Number of sweeps whose compiled programs a process keeps for sweeps of the same shapes."""


@dataclass(frozen=True)
class Sharing:
    """How the trials of a sweep are divided among devices.

    Attributes:
        slots: those of each part, ascending; every slot of the layout is in one part.
        devices: number of devices of each part, over which replicas are distributed.
    """

    slots: tuple[tuple[int, ...], ...]
    devices: int


def undivided(layout: Layout, replicas: int, devices: int) -> Sharing:
    """All trials together; only replicas are distributed."""
    return Sharing((tuple(range(layout.trials)),), min(devices, replicas))


def share_out(rows: Sequence[int], replicas: int, devices: int, operations: float) -> Sharing:
    """Divide trials into parts, and devices among them, so that the busiest device has the least to do.

    Args:
        rows: hidden units of each slot.
        replicas: number of replicas.
        devices: number of devices.
        operations: number in training one replica to the end.
    """
    unit = operations / (FIXED_ROWS + sum(rows))

    def cost(sharing: Sharing) -> float:
        turns = math.ceil(replicas / sharing.devices)
        busiest = max(sum(rows[slot] for slot in part) for part in sharing.slots)
        return turns * (FIXED_ROWS + busiest) * unit + len(sharing.slots) * WORTH

    counts = range(1, min(devices, len(rows)) + 1)
    return min((Sharing(_balanced(rows, count), min(devices // count, replicas)) for count in counts), key=cost)


def _balanced(rows: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    """Divide slots into that many parts of about equal rows: the widest first, each to the part with fewest so far."""
    parts: list[tuple[int, int, list[int]]] = [(0, number, []) for number in range(count)]
    for slot in sorted(range(len(rows)), key=lambda slot: -rows[slot]):
        taken, number, slots = heapq.heappop(parts)
        slots.append(slot)
        heapq.heappush(parts, (taken + rows[slot], number, slots))
    return tuple(tuple(sorted(slots)) for _, _, slots in sorted(parts, key=lambda part: part[1]))


class Runs(NamedTuple):
    """The compiled functions of a sweep: ``init`` for all trials together, the others for each part.

    Arguments and results of the latter have one value per part. ``begin`` is None where states are given.
    """

    begin: Any
    train: tuple[Any, ...]
    score: tuple[Any, ...]

    def epoch(self, *arguments: Sequence[Any]) -> tuple[tuple[State, ...], tuple[EpochMeans, ...]]:
        """Start ``Program.epoch`` on the devices of every part."""
        done = (run(*values) for run, *values in zip(self.train, *arguments, strict=True))
        states, means = zip(*done, strict=True)
        return states, means

    def evaluate(self, *arguments: Sequence[Any]) -> tuple[Scored, ...]:
        """Start ``Program.evaluate`` on the devices of every part."""
        return tuple(run(*values) for run, *values in zip(self.score, *arguments, strict=True))

    @property
    def bytes(self) -> int:
        """Bytes that training or scoring needs on the device that needs most; 0 if JAX does not say."""
        return max(map(_bytes_of, (*self.train, *self.score)))


def _bytes_of(compiled: Any) -> int:
    sizes = compiled.memory_analysis()
    if sizes is None:
        return 0
    return int(
        sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes - sizes.alias_size_in_bytes
    )


@dataclass(frozen=True)
class Parts:
    """The programs that train a sweep, each of which trains some of the trials of every replica.

    Attributes:
        whole: the program for all trials; the only part's, if there is one part.
        slots: each part's slots of ``whole``'s layout.
        programs: each part's program, on its own devices.
    """

    whole: Program
    slots: tuple[tuple[int, ...], ...]
    programs: tuple[Program, ...]

    @property
    def mesh_size(self) -> int:
        """Number of devices over which a part distributes the replicas."""
        return self.whole.mesh.size

    @property
    def devices(self) -> tuple[jax.Device, ...]:
        """All devices that train."""
        return tuple(device for program in self.programs for device in program.mesh.devices.flat)

    def changed(self, **fields: Any) -> "Parts":
        """The same parts with other fields of every ``Program``."""
        whole, *programs = (replace(program, **fields) for program in (self.whole, *self.programs))
        return Parts(whole, self.slots, tuple(programs))

    def put(self, array: np.ndarray) -> tuple[jax.Array, ...]:
        """An array replicated on every device, for each part."""
        return tuple(put(array, program.everywhere) for program in self.programs)

    def put_data(self, features: np.ndarray, targets: np.ndarray) -> tuple[DeviceData, ...]:
        """The examples on every device."""
        return tuple(map(DeviceData, self.put(features), self.put(targets)))

    def compile(self, replicas: int, data: Sequence[DeviceData], *, begins: bool = True) -> Runs:
        """Compile everything for that many replicas; traced programs are compiled while the others are traced.

        Args:
            replicas: number, a multiple of ``mesh_size``.
            data: each part's data.
            begins: whether replicas begin with initial weights (``init``), or go on from a state (``go_on``).
        """
        whole, *jits = kept((self.whole, *self.programs), replicas, str(data[0].features.dtype))
        with ThreadPoolExecutor(cores()) as pool:
            arguments = [(each.scalar, *each.shapes(replicas)) for each in self.programs]
            train = [
                pool.submit(jit.epoch.lower(scalar, state, constant, scalar, mine).compile)
                for jit, (scalar, state, constant), mine in zip(jits, arguments, data, strict=True)
            ]
            # The initial state by the program of all trials: each part's would take as long again to compile.
            begin = pool.submit(whole.init.lower(*self.whole.asked(replicas)).compile) if begins else None
            score = [
                pool.submit(jit.evaluate.lower(scalar, state.params, constant, scalar, scalar, mine).compile)
                for jit, (scalar, state, constant), mine in zip(jits, arguments, data, strict=True)
            ]
        first = None if begin is None else begin.result()
        return Runs(first, tuple(each.result() for each in train), tuple(each.result() for each in score))

    def init(
        self, runs: Runs, seeds: np.ndarray, init_seeds: np.ndarray, numbers: Mapping[str, np.ndarray]
    ) -> tuple[tuple[State, ...], tuple[Replicas, ...]]:
        """Initial states of replicas, of each part.

        Args:
            runs: of these parts.
            seeds: of the minibatches of each replica, ``[R]``.
            init_seeds: of its initial weights, likewise.
            numbers: of its trials as they were given to the layout, ``[R, T]``.
        """
        asked = (put(np.asarray(each, np.uint32), self.whole.shared_out) for each in (seeds, init_seeds))
        state, replicas = runs.begin(*asked, self._by_slot(numbers))
        return self.split_state(state), self._constants(replicas)

    def go_on(
        self, state: State, frozen: Params, seeds: np.ndarray, numbers: Mapping[str, np.ndarray]
    ) -> tuple[tuple[State, ...], tuple[Replicas, ...]]:
        """The same for replicas that go on from a state of all trials, which is on the host.

        Args:
            state: of the replicas.
            frozen: their parameters that are not trained.
            seeds: as for ``init``.
            numbers: likewise.
        """
        place = self.whole.shared_out
        state, frozen = jax.tree.map(lambda leaf: put(leaf, place), (state, frozen))
        key = jax.jit(jax.vmap(root_key), out_shardings=place)(put(np.asarray(seeds, np.uint32), place))
        return self.split_state(state), self._constants(Replicas(frozen, key, self._by_slot(numbers)))

    def _by_slot(self, numbers: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        whole = self.whole
        by_slot = {name: each[:, list(whole.layout.order)].astype(whole.dtype) for name, each in numbers.items()}
        return {name: put(each, whole.shared_out) for name, each in by_slot.items()}

    def _constants(self, replicas: Replicas) -> tuple[Replicas, ...]:
        """What distinguishes replicas, for each part."""
        return tuple(
            Replicas(frozen, self._place(replicas.key, program), self._numbers(replicas.numbers, slots, program))
            for frozen, program, slots in zip(self.split(replicas.frozen), self.programs, self.slots, strict=True)
        )

    def _place(self, tree: Any, program: Program) -> Any:
        return tree if len(self.programs) == 1 else jax.device_put(tree, program.shared_out)

    def _numbers(self, numbers: Mapping[str, Any], slots: Sequence[int], program: Program) -> dict[str, jax.Array]:
        if len(self.programs) == 1:
            return dict(numbers)
        return {name: self._place(np.asarray(each)[:, list(slots)], program) for name, each in numbers.items()}

    def by_slot(self, trees: Sequence[T]) -> T:
        """Arrays ``[R, slots of a part, ...]`` of each part as NumPy arrays ``[R, T, ...]``, in the order of slots."""
        order = np.argsort(np.concatenate(self.slots))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1)[:, order], *map(to_host, trees))

    # One packing's arrays (``Arrays``) of all parts, or what lies as they do: an optimizer's moments.

    @cached_property
    def _rows(self) -> tuple[Mapping[str, Mapping[str, np.ndarray]], ...]:
        """For each part, the rows that it has of the arrays of all trials."""
        return tuple(self.whole.layout.rows_of(slots) for slots in self.slots)

    def _joined(self, optimizer: str, parts: Mapping[int, Arrays]) -> Arrays:
        """The leaves of all trials, from those of parts by number."""
        joined: Arrays = {}
        for key in {key: None for arrays in parts.values() for key in arrays}:
            having = [number for number, arrays in parts.items() if key in arrays]
            order = np.argsort(np.concatenate([self._rows[number][optimizer][key] for number in having]))
            joined[key] = np.concatenate([parts[number][key] for number in having], axis=1)[:, order]
        return joined

    def _own(self, optimizer: str, arrays: Arrays, number: int) -> Arrays:
        """The leaves of one part."""
        rows = self._rows[number][optimizer]
        return {key: np.asarray(array)[:, rows[key]] for key, array in arrays.items() if key in rows}

    def join(self, trees: Sequence[Params]) -> Params:
        """Parameters of all trials from those of each part."""
        if len(trees) == 1:
            return trees[0]
        host = [to_host(tree) for tree in trees]
        return {name: self._joined(name, self._having(name, host)) for name in self.whole.layout.owner}

    @staticmethod
    def _having(name: str, trees: Sequence[Mapping[str, T]]) -> dict[int, T]:
        return {number: tree[name] for number, tree in enumerate(trees) if name in tree}

    def split(self, tree: Params) -> tuple[Params, ...]:
        """The reverse of ``join``: parameters of each part, on its devices."""
        if len(self.programs) == 1:
            return (tree,)
        return tuple(
            jax.device_put({name: self._own(name, tree[name], number) for name in rows}, program.shared_out)
            for number, (program, rows) in enumerate(zip(self.programs, self._rows, strict=True))
        )

    def join_states(self, states: Sequence[State]) -> State:
        """The state of all trials from those of each part."""
        if len(states) == 1:
            return states[0]
        host = [to_host(state) for state in states]
        joined = {}
        for name in self.whole.layout.owner:
            here = self._having(name, [state.opt_state for state in host])
            nodes = {number: moments(host[number].params[name], here[number]) for number in here}
            first, treedef = next(iter(nodes.values()))
            leaves = [
                self._joined(name, {number: each[0][i] for number, each in nodes.items()})
                if isinstance(leaf, dict)
                else leaf
                for i, leaf in enumerate(first)
            ]
            joined[name] = jax.tree.unflatten(treedef, leaves)
        return State(self.join([state.params for state in states]), joined)

    def split_state(self, state: State) -> tuple[State, ...]:
        """The reverse of ``join_states``."""
        if len(self.programs) == 1:
            return (state,)
        parts = []
        for number, (program, params) in enumerate(zip(self.programs, self.split(state.params), strict=True)):
            own = {}
            for name in params:
                leaves, treedef = moments(state.params[name], state.opt_state[name])
                mine = [
                    self._own(name, leaf, number) if isinstance(leaf, dict) else np.asarray(leaf) for leaf in leaves
                ]
                own[name] = jax.tree.unflatten(treedef, mine)
            parts.append(State(params, jax.device_put(own, program.shared_out)))
        return tuple(parts)


@lru_cache(maxsize=KEPT_SWEEPS)
def kept(programs: tuple[Program, ...], replicas: int, features: str) -> tuple[Compiled, ...]:
    """The functions of each program, the same for equal arguments, so that equal sweeps compile once.

    ``replicas`` and ``features`` (a dtype) tell apart what is compiled separately, so that each is dropped in its turn.
    """
    return tuple(map(jitted, programs))


def moments(params: Arrays, opt_state: Any) -> tuple[list[Any], Any]:
    """An optimizer's state taken apart: subtrees that look like the parameters, as one leaf each, and the rest."""
    return jax.tree.flatten(opt_state, is_leaf=lambda node: isinstance(node, dict) and node.keys() == params.keys())


def divide(program: Program, sharing: Sharing, devices: Sequence[jax.Device]) -> Parts:
    """The parts of a program whose mesh is the first part's devices.

    Args:
        program: of all trials.
        sharing: the trials of each part.
        devices: for all parts.
    """
    if len(sharing.slots) == 1:
        return Parts(program, sharing.slots, (program,))
    own = [devices[first : first + sharing.devices] for first in range(0, len(devices), sharing.devices)]
    parts = tuple(
        replace(
            program,
            layout=program.layout.part(slots),
            slots=tuple(program.slots[slot] for slot in slots),
            mesh=Mesh(np.array(mine), (AXIS,)),
        )
        for slots, mine in zip(sharing.slots, own, strict=False)
    )
    return Parts(replace(program, mesh=parts[0].mesh), sharing.slots, parts)
