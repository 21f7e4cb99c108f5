"""The plan of a sweep: which devices, how many replicas side by side, how many in memory at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
import psutil
from jax.sharding import Mesh

from mlp_jax.errors import InputError
from mlp_jax.machine.distributed import from_all, neighbours, several
from mlp_jax.networks.joint import own_kernel
from mlp_jax.networks.layers import parameter_count, walk
from mlp_jax.sweeps.parts import Parts
from mlp_jax.sweeps.program import AXIS, Program
from mlp_jax.tasks import get_task
from mlp_jax.training.epoch import ROWS_AT_ONCE

USABLE = 0.8
"""Share of a device's free memory to use; the rest is for what cannot be counted beforehand."""


ON_CHIP = 0.6
"""Share of what a step of training needs that lies on a TPU's chip, at least (benchmarks/records/accelerators.json)."""

MOST_NAMED = 8
"""Most idle devices that a plan names."""


@dataclass(frozen=True)
class Need:
    """Bytes needed on a device.

    Attributes:
        fixed: the data.
        kept: per replica in memory: parameters, Adam's two moments and weights that are not trained; twice over on a
            CPU, where an epoch's state cannot always reuse the buffers of the last one's.
        begun: per replica before its trials are divided among devices; like ``kept`` where they are not.
        working: per replica that runs beside others: gradients, activations, the order of the minibatches.
        alone: the same for one that runs by itself, and whose state is taken out of that of all.
        saved: per replica in a checkpoint.
        scoring: per replica that is scored beside others, where that is not what ``working`` and ``alone`` count.
        chip: on the chip, where most of what is not a copy of the state may lie.
    """

    fixed: int
    kept: int
    begun: int
    working: int
    alone: int
    saved: int
    scoring: int = 0
    chip: int = 0

    def total(self, replicas: int, at_once: int) -> int:
        """Bytes for that many replicas on a device, ``at_once`` of which run side by side."""
        running = self.running(min(replicas, at_once))
        return self.fixed + max(replicas * self.begun, replicas * self.kept + running)

    def running(self, replicas: int) -> int:
        """Bytes for what that many replicas need while they are trained or scored side by side."""
        training = self.alone if replicas == 1 else replicas * self.working
        training -= min(self.chip, int(ON_CHIP * max(0, training - replicas * self.saved)))
        return max(training, replicas * self.scoring)


@dataclass(frozen=True)
class Plan:
    """How the replicas of a sweep are distributed over devices and time.

    Attributes:
        replicas: number of replicas.
        parts: number of parts into which the trials of a replica are divided, each on its own devices.
        devices: number of devices that train, in all parts.
        idle: names of the idle devices.
        at_once: replicas that run side by side on a device.
        chunk: replicas in memory together, on all devices; a multiple of ``devices / parts``.
        need: bytes on the device that needs most.
        memory: bytes available on a device.
    """

    replicas: int
    parts: int
    devices: int
    idle: tuple[str, ...]
    at_once: int
    chunk: int
    need: Need
    memory: int

    @property
    def chunks(self) -> int:
        """Number of consecutive chunks."""
        return math.ceil(self.replicas / self.chunk)

    @property
    def padding(self) -> int:
        """Padding replicas, so that chunks and devices get equal shares; computed if replicas run side by side."""
        return self.chunks * self.chunk - self.replicas

    @property
    def bytes_used(self) -> int:
        """Bytes used on a device while a chunk is trained."""
        return self.need.total(self.share, self.at_once)

    @property
    def share(self) -> int:
        """Replicas of a chunk on each device."""
        return self.chunk * self.parts // self.devices

    def __str__(self) -> str:
        groups = f"{self.replicas} groups of trials (one for each seed) " if self.replicas > 1 else ""
        parts = [f"{groups}on {counted(self.devices, 'device')}"]
        if self.parts > 1:
            whose, which = ("each group's trials", f"{self.parts} of them") if groups else ("trials", "them")
            parts.append(f"{whose} divided among {which}")
        if self.idle:
            more = f" and {len(self.idle) - MOST_NAMED} more" if len(self.idle) > MOST_NAMED else ""
            parts.append(f"{counted(len(self.idle), 'device')} idle ({', '.join(self.idle[:MOST_NAMED])}{more})")
        if self.chunks > 1:
            parts.append(f"{self.chunks} chunks of {self.chunk}, one after another")
        if self.share > 1:
            together = min(self.at_once, self.share)
            if together > 1 or self.chunks == 1:
                parts.append(f"{together} at a time on each" if together > 1 else "one after another")
        if self.padding and self.at_once > 1:
            parts.append(f"{counted(self.padding, 'padding replica')}, so that devices get equal shares")
        each = " of each" if self.devices > 1 else ""
        parts.append(f"{gibibytes(self.bytes_used)} of {gibibytes(self.memory)} free memory{each}")
        return ", ".join(parts)


def counted(number: int, one: str, many: str | None = None) -> str:
    """A count in words: 1 epoch, 2 epochs; ``many`` is an irregular plural."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def gibibytes(size: float) -> str:
    """A number of bytes in words."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 100 else f"{size / 2**20:.1f} MiB"


def free_memory(device: jax.Device, sharing: int = 1, shared: int = 0) -> int:
    """Free bytes of a device; if it uses the host's memory, its share of that.

    Args:
        device: of this process.
        sharing: number of such devices, of all processes on the host, that share the host's memory.
        shared: bytes that they need only once, together.
    """
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    available = psutil.virtual_memory().available
    return max(0, available - shared) // sharing + min(shared, available)


def make_mesh(devices: Sequence[jax.Device] | None, replicas: int) -> Mesh:
    """The devices that train, along one axis: no more of them than replicas.

    With several processes, each has some of them; the same number each if there are fewer replicas than devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    if not devices:
        raise InputError("devices is empty: expected at least one")
    by_process: dict[int, list[jax.Device]] = {}
    for device in devices:
        by_process.setdefault(device.process_index, []).append(device)
    if several() and len(by_process) < jax.process_count():
        few = f"{len(by_process)} of {jax.process_count()} processes"
        raise InputError(f"devices belong to {few}: expected some of each")
    most = math.ceil(replicas / len(by_process))
    return Mesh(np.array([device for each in by_process.values() for device in each[:most]]), (AXIS,))


def memory_need(program: Program, host: tuple[np.ndarray, np.ndarray]) -> Need:
    """Bytes that a sweep needs on a device, by counting arrays; ``host`` is what ``stack_splits`` gives."""
    one = program.mesh.size  # the fewest that can be shared out
    state, replicas = program.shapes(one)
    params, frozen = _bytes(state.params) // one, _bytes(replicas.frozen) // one
    itemsize = np.dtype(program.dtype).itemsize
    columns = host[0].shape[1]
    units = _units(program)
    order = 4 * 4 * program.examples[0]  # random numbers, indices, and what sorting them takes
    # What each example made, of the split that is scored, and while it is written with a chunk more on either side.
    hits = len(program.layout.networks) * max(program.examples[1:]) * (4 if get_task(program.task).graded else 1)
    saved = _bytes(state) // one
    training = (columns + 4 * units) * program.recipe.batch_size * itemsize
    if program.layout.problem.forms.in_place:
        # All replicas are scored on the same rows. Weights that are not trained are put into one array with the others.
        merged = params + frozen if frozen else 0
        scoring = merged + _scoring_units(program) * ROWS_AT_ONCE * itemsize + hits
        training += params + order
        copied = saved if program.layout.problem.forms.chip else 0
        if not all(packing.stacked for _, packing in program.layout.packings):
            training += 2 * units * program.recipe.batch_size * itemsize  # by activation, and put together again
            copied *= 4  # a TPU has whole tiles of a network's last layer, of 128 outputs
        fixed, kept = _bytes(host) + columns * ROWS_AT_ONCE * itemsize, saved + frozen + hits
        chip = program.layout.problem.forms.chip
        return Need(fixed, kept, kept, training + copied, training + saved, saved, scoring, chip)
    kept = 2 * (saved + frozen) + hits
    working = max(training, (columns + 2 * units) * ROWS_AT_ONCE * itemsize) + 3 * params + frozen + order + hits
    return Need(_bytes(host), kept, kept, working, working, saved)


def _scoring_units(program: Program) -> int:
    """Numbers that an example becomes while an accelerator scores it, all that are there at a time."""
    problem, units = program.layout.problem, _units(program)
    lots = [
        [packing.groups[g] for g in lot]
        for _, packing in program.layout.packings
        for lot in packing.lots.values()
        if len(lot) > 1
    ]
    if problem.forms.joint != "padded" or not lots:
        return 2 * units  # before their activation and after it
    padded = sum(
        sum(len(group.members) for group in lot) * max(group.network[0].units for group in lot) for lot in lots
    )
    # Of several widths together half of them at most are there twice.
    return 3 * units // 2 + (0 if own_kernel(problem.forms.kernels, problem.outputs, program.dtype) else padded)


def _units(program: Program) -> int:
    """Number of activations per example in all layers of all trials, including padding."""
    shape = program.layout.problem.shape
    return sum(
        len(group.members) * sum(math.prod(layer.after(before)) for layer, before in walk(group.network, shape))
        for _, packing in program.layout.packings
        for group in packing.groups
    )


def make_plan(
    parts: Parts,
    host: tuple[np.ndarray, np.ndarray],
    replicas: int,
    devices: Sequence[jax.Device] | None = None,
    memory: int | None = None,
) -> Plan:
    """Choose how many replicas are in memory at once.

    Args:
        parts: the programs; their ``at_once`` is at most the number chosen.
        host: the data that every device holds.
        replicas: number in the whole sweep.
        devices: the available devices; those that no part uses are idle. None for all that JAX has.
        memory: bytes to use on each device; None for ``USABLE`` of what is free on the fullest.

    Raises:
        InputError: not even one replica fits.
    """
    if memory is None:
        local = [device for device in parts.devices if device.process_index == jax.process_index()]
        sharing = neighbours() * len(local)
        shared = _bytes(host) if not several() else 0
        free = min(free_memory(device, sharing, shared) for device in local)
        memory = int(USABLE * from_all([free]).min())  # of all processes: they have to plan alike
    # First without what memory_need has to make for its count, which for very wide trials does not fit itself.
    _check_fits(3 * max(map(_parameter_bytes, parts.programs)), memory)
    need = _greatest_need(parts, host)
    _check_fits(need.total(1, 1), memory)
    mesh, most = parts.mesh_size, parts.whole.at_once
    share = math.ceil(replicas / mesh)  # the most that a device can have to do
    while share > 1 and need.total(share, most) > memory:
        share = min(share - 1, max(1, int(share * memory / need.total(share, most))))
    at_once = min(most, share)
    while at_once > 1 and need.total(share, at_once) > memory:
        at_once -= 1
    chunks = math.ceil(replicas / (share * mesh))
    share = math.ceil(replicas / (chunks * mesh))  # chunks of one size: one compiled program, least padding
    busy = parts.devices
    idle = tuple(f"{each.platform}:{each.id}" for each in devices or jax.devices() if each not in busy)
    return Plan(replicas, len(parts.programs), len(busy), idle, min(at_once, share), share * mesh, need, memory)


def _greatest_need(parts: Parts, host: tuple[np.ndarray, np.ndarray]) -> Need:
    """Bytes on the device that needs most."""
    needs, whole = [memory_need(program, host) for program in parts.programs], memory_need(parts.whole, host)
    names = ("kept", "working", "alone", "scoring")
    kept, working, alone, scoring = (max(getattr(need, name) for need in needs) for name in names)
    # All trials begin on the devices of the first part; those of a CPU have one memory.
    begun = whole.kept // (len(needs) if parts.devices[0].platform == "cpu" else 1)
    return Need(whole.fixed, kept, max(kept, begun), working, alone, whole.saved, scoring, whole.chip)


def _parameter_bytes(program: Program) -> int:
    """Bytes per replica."""
    layout = program.layout
    parameters = sum(parameter_count(network, layout.problem.shape) for network in layout.networks)
    return parameters * np.dtype(program.dtype).itemsize


def _check_fits(replica: int, memory: int) -> None:
    if replica > memory:
        raise InputError(
            f"one replica (all trials of one seed) needs {gibibytes(replica)} "
            f"and does not fit in memory, of which {gibibytes(memory)} can be used: ask for fewer or narrower trials"
        )


def _bytes(tree: object) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
