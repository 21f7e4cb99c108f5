"""The host's side of a sweep: block after block, chunk after chunk of replicas, round after round of epochs."""

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax.datasets.dataset import Dataset
from mlp_jax.errors import InputError, SweepStopped, SweepWarning
from mlp_jax.machine.distributed import from_all, several, to_host
from mlp_jax.networks.layouts import Layout, Params
from mlp_jax.networks.packing import Parameters
from mlp_jax.sweeps.blocks import Block
from mlp_jax.sweeps.checkpoints import Checkpoints, DamagedError, Finished, Saved, read_arrays
from mlp_jax.sweeps.parts import Parts, moments
from mlp_jax.sweeps.plan import Plan
from mlp_jax.sweeps.program import Program
from mlp_jax.sweeps.record import CURVES, KEPT_CURVES, Progress, Record, gathered
from mlp_jax.training.epoch import DeviceData, State


@dataclass(frozen=True)
class Stage:
    """A block and how it is trained.

    Attributes:
        block: the trials.
        parts: the programs that train them.
        plan: how they are distributed.
        host: the examples, in the form that these programs take (``stack_splits``).
        rounds: to train, numbered from the beginning of training.
        begin: state of replicas before these rounds, and their parameters that are not trained, given their numbers in
            the block; None for the initial state.
        keep_state: whether to keep the optimizer state of finished replicas.
    """

    block: Block
    parts: Parts
    plan: Plan
    host: tuple[np.ndarray, np.ndarray]
    rounds: range
    begin: Callable[[np.ndarray], tuple[State, Params]] | None = None
    keep_state: bool = False

    @property
    def epochs(self) -> int:
        """How many are trained."""
        return len(self.rounds) * self.parts.whole.recipe.report_every

    @property
    def work(self) -> float:
        """Operations of training one replica for an epoch."""
        program = self.parts.whole
        problem = program.layout.problem
        return program.trained_on * (1.0 + sum(map(problem.operations, program.layout.networks)))

    @property
    def span(self) -> range:
        """Numbers of its replicas, counted through the sweep."""
        return range(self.block.first, self.block.first + self.block.replicas)


@dataclass(frozen=True)
class Timing:
    """Where the time of a sweep went, in seconds.

    Attributes:
        prepare: data to the devices, initial weights.
        compile: tracing and compiling the programs that train and score.
        chunks: for each chunk of replicas, each epoch of all its trials, as measured by the host (the average over
            the epochs between two reports).
        evaluate: final scores of the three splits.
        saving: time that training waited for checkpoints.
    """

    prepare: float
    compile: float
    chunks: tuple[tuple[float, ...], ...]
    evaluate: float
    saving: float

    @property
    def epochs(self) -> tuple[float, ...]:
        """Each epoch of each chunk."""
        return tuple(seconds for chunk in self.chunks for seconds in chunk)

    @property
    def warm_epoch(self) -> float:
        """An epoch of all trials: of every chunk the median of the epochs after the first (or the first)."""
        return float(sum(np.median(chunk[1:] or chunk) for chunk in self.chunks))


@dataclass(frozen=True)
class Trained:
    """Finished replicas: arrays by name, in memory or in a file; ``first`` counts from the sweep's first replica.

    ``history/...`` are ``[R, T, epochs]``, ``final/...`` ``[R, T]``, ``hits/...`` ``[R, T, ...]`` as ``packed`` leaves
    them, ``params/i`` and ``frozen/i`` the leaves of their parameters, ``state/i`` those of the optimizer state if
    it is kept, ``seconds`` one entry per epoch.
    """

    first: int
    count: int
    source: dict[str, np.ndarray] | Finished

    def arrays(self) -> dict[str, np.ndarray]:
        """All of them."""
        return read_arrays(self.source.path) if isinstance(self.source, Finished) else self.source


class TrialState(NamedTuple):
    """All that a trial's training goes on from, on the host.

    Attributes:
        params: its parameters, by layer and name.
        moments: its optimizer's state, leaf by leaf: what lies as parameters do (Adam's moments), or a number of steps.
        curves: its learning curves so far, as ``Record`` keeps them, each ``[rounds]``.
    """

    params: Parameters
    moments: list[Any]
    curves: dict[str, np.ndarray]


@dataclass(frozen=True)
class Piece:
    """The replicas of a block, all finished.

    Attributes:
        first: number of the first replica.
        places: number in the grid of each trial, ``[R, T]``, by slot.
        layout: of the trials of a replica.
        treedefs: structures of its parameters, trained and frozen, and of its optimizer state.
        trained: the replicas, in order.
    """

    first: int
    places: np.ndarray
    layout: Layout
    treedefs: tuple[Any, Any, Any]
    trained: tuple[Trained, ...]

    def holding(self, replica: int) -> Trained:
        """What holds a replica."""
        return next(each for each in self.trained if each.first <= replica < each.first + each.count)

    def weights(self, arrays: Mapping[str, np.ndarray], replica: int, slot: int) -> dict[str, np.ndarray]:
        """Parameters of a trial by the article's symbols, from the arrays of what holds its replica there."""
        return self.layout.weights(self._tree("params", arrays, replica), self._tree("frozen", arrays, replica), slot)

    def state(self, arrays: Mapping[str, np.ndarray], replica: int, slot: int) -> TrialState:
        """What a trial goes on from, likewise; its optimizer state was kept."""
        params, frozen, opt_state = (self._tree(name, arrays, replica) for name in ("params", "frozen", "state"))
        name = self.layout.optimizers[slot]
        packing, own = dict(self.layout.packings)[name], slot - self.layout.slots_of(name).start
        leaves, _ = moments(params[name], opt_state[name])
        return TrialState(
            packing.alone(params[name], frozen[name], own),
            [packing.alone(leaf, {}, own) if isinstance(leaf, dict) else leaf for leaf in leaves],
            {key: arrays[f"history/{key}"][replica, slot] for key in KEPT_CURVES},
        )

    def _tree(self, name: str, arrays: Mapping[str, np.ndarray], replica: int) -> Any:
        treedef = self.treedefs[("params", "frozen", "state").index(name)]
        return jax.tree.unflatten(treedef, [arrays[f"{name}/{i}"][replica] for i in range(treedef.num_leaves)])


@dataclass(frozen=True)
class _Resumed:
    """A restored state: its stage and replicas, the rows of its arrays, rounds trained, and the arrays of each part."""

    stage: Stage
    chunk: range
    rows: int
    rounds: int
    states: tuple[State, ...]


class _TooLargeError(Exception):
    """The replicas of a chunk do not fit in memory together."""


class Loop:
    """The host's side of a sweep. Chunks are ranges of a block's replicas."""

    def __init__(
        self,
        stages: Sequence[Stage],
        dataset: Dataset,
        saver: Checkpoints | None,
        stop: Callable[[], bool],
        on_plan: Callable[[Plan], None] | None,
        on_epoch: Callable[[Progress], None] | None,
    ) -> None:
        self._stages, self._saver, self._stop = stages, saver, stop
        self._on_plan, self._on_epoch = on_plan, on_epoch
        self._splits = {split: len(each) for split, each in dataset.splits.items()}
        self.records = [Record(stage.block, stage.parts.whole, dataset, stage.rounds) for stage in stages]
        self._work = sum(s.work * s.block.replicas * s.epochs for s in stages)
        self._before = self._done = 0.0  # of this work
        self._chunk = (1, 1)  # its number, and how many there are
        self._seconds: dict[int, list[float]] = {}  # an epoch, by round, of each chunk, by its first replica
        self._prepare = self._compile = self._evaluate = self._saving = 0.0

    @property
    def timing(self) -> Timing:
        """Where the time has gone so far."""
        chunks = tuple(tuple(self._seconds[first]) for first in sorted(self._seconds))
        return Timing(self._prepare, self._compile, chunks, self._evaluate, self._saving)

    def run(self, started: float) -> list[Trained]:
        """Train every replica that is not finished yet; ``started`` is when preparation started."""
        trained, resumed = self._recover()
        self._before = self._done
        finished = [range(t.first, t.first + t.count) for t in trained]
        pending = {}
        for stage in self._stages:
            taken = [span for span in finished if span.start in stage.span]
            mine = resumed if resumed is not None and resumed.stage is stage else None
            if mine is not None:
                taken.append(_shifted(mine.chunk, stage.block.first))
            whole = deque(_chunks(taken, stage.block.replicas, stage.plan.chunk, stage.block.first))
            chunks = deque(_shifted(chunk, -stage.block.first) for chunk in whole)
            if mine is not None:
                chunks.appendleft(mine.chunk)
            pending[stage.block.first] = chunks
        for stage, record in zip(self._stages, self.records, strict=True):
            chunks = pending[stage.block.first]
            if chunks:
                if self._on_plan is not None:
                    self._on_plan(stage.plan)
                begin = resumed if resumed is not None and resumed.stage is stage else None
                behind = sum(map(len, list(pending.values())[self._stages.index(stage) + 1 :]))
                self._run_stage(stage, record, chunks, begin, trained, behind, started)
            started = time.perf_counter()
        return sorted(trained, key=lambda each: each.first)

    def _run_stage(
        self,
        stage: Stage,
        record: Record,
        pending: deque[range],
        resumed: _Resumed | None,
        trained: list[Trained],
        behind: int,
        started: float,
    ) -> None:
        """Train the pending chunks of a stage; ``behind`` are those of later stages."""
        mesh = stage.parts.mesh_size
        data = stage.parts.put_data(*stage.host)
        self._prepare += time.perf_counter() - started
        rows = stage.plan.chunk
        while pending:
            chunk = pending.popleft()
            begin, resumed = resumed, None
            self._chunk = (len(trained) + 1, len(trained) + 1 + len(pending) + behind)
            try:
                trained.append(self._train(stage, record, chunk, max(rows, _padded(len(chunk), mesh)), data, begin))
            except Exception as error:
                if not _out_of_memory(error):
                    raise
                if several() and not isinstance(error, _TooLargeError):
                    raise InputError(
                        f"out of memory in process {jax.process_index()}: resume with less memory (memory=, --memory)"
                    ) from None  # the others do not know, and cannot be told
                if len(chunk) <= mesh:
                    raise InputError(
                        "out of memory with one replica on a device: that does not fit in memory; ask for fewer or "
                        "narrower trials"
                    ) from None
                rows = _padded(math.ceil(len(chunk) / 2), mesh)
                warnings.warn(
                    f"out of memory with {len(chunk)} replicas together: continuing with {rows}",
                    SweepWarning,
                    stacklevel=2,
                )
                self._forget(stage, record, chunk)
                begin = None
                pending = deque(part for each in (chunk, *pending) for part in _chunks([], len(each), rows, each.start))

    def pieces(self, trained: Sequence[Trained]) -> tuple[Piece, ...]:
        """What ``run`` returned, block by block."""
        return tuple(
            Piece(
                stage.block.first,
                record.trials,
                stage.parts.whole.layout,
                treedefs(stage.parts.whole, stage.parts.mesh_size),
                tuple(each for each in trained if each.first in stage.span),
            )
            for stage, record in zip(self._stages, self.records, strict=True)
        )

    # Beginning

    def _recover(self) -> tuple[list[Trained], _Resumed | None]:
        """Load what earlier processes left: finished replicas, and the newest good state of unfinished ones."""
        if self._saver is None:
            return [], None
        trained = []
        for finished in self._saver.finished():
            one = Trained(finished.first, finished.count, finished)
            stage, record = self._at(one.first)
            arrays = one.arrays()
            if not record.take(_shifted(range(one.first, one.first + one.count), -stage.block.first), arrays):
                warnings.warn(f"{finished.path}: of an earlier version: trained again", SweepWarning, stacklevel=2)
                continue
            self._seconds[one.first] = arrays["seconds"].tolist()
            self._done += one.count * stage.work * stage.epochs
            trained.append(one)
        taken = {replica for t in trained for replica in range(t.first, t.first + t.count)}
        damaged = False
        for step in self._saver.steps():
            try:
                saved = self._saver.notes(step)
                if not taken.isdisjoint(range(saved.first, saved.first + saved.count)):
                    continue
                resumed = self._restore(saved)
            except DamagedError as damage:
                damaged = True
                warnings.warn(f"{damage}: skipped", SweepWarning, stacklevel=2)
                continue
            if damaged:
                place, epoch = self._saver.place(step), resumed.rounds * resumed.stage.parts.whole.recipe.report_every
                warnings.warn(f"continuing from {place}, epoch {epoch}", SweepWarning, stacklevel=2)
            return trained, resumed
        if damaged:
            warnings.warn("no good state is left: training starts again", SweepWarning, stacklevel=2)
        return trained, None

    def _at(self, replica: int) -> tuple[Stage, Record]:
        """The stage that a replica belongs to, and its record."""
        return next(
            (stage, record) for stage, record in zip(self._stages, self.records, strict=True) if replica in stage.span
        )

    def _restore(self, saved: Saved) -> _Resumed:
        assert self._saver is not None
        stage, record = self._at(saved.first)
        chunk = _shifted(range(saved.first, saved.first + saved.count), -stage.block.first)
        rows = max(stage.plan.chunk, _padded(saved.count, stage.parts.mesh_size))
        state, history = self._saver.restore(saved, *saved_shapes(stage.parts.whole, saved, rows))
        rounds = stage.rounds.start + saved.epoch
        record.take_history(chunk, rounds, history)
        self._seconds[saved.first] = list(saved.seconds)
        self._done += saved.count * stage.work * saved.epoch * stage.parts.whole.recipe.report_every
        return _Resumed(stage, chunk, rows, rounds, stage.parts.split_state(state))

    # Training

    def _train(
        self,
        stage: Stage,
        record: Record,
        chunk: range,
        rows: int,
        data: tuple[DeviceData, ...],
        begin: _Resumed | None,
    ) -> Trained:
        """Train a chunk to the end, and score it."""
        parts, recipe, first = stage.parts, stage.parts.whole.recipe, stage.block.first + chunk.start
        jax.block_until_ready(data)
        begun = time.perf_counter()
        run = parts.compile(rows, data, begins=stage.begin is None)
        if len(chunk) > parts.mesh_size and run.bytes > stage.plan.memory:
            raise _TooLargeError
        compiled = time.perf_counter()
        # Rows past the end are the last replica's again.
        places = np.minimum(np.arange(chunk.start, chunk.start + rows), chunk.stop - 1)
        numbers = {name: values[places] for name, values in stage.block.numbers.items()}
        seeds, init_seeds = stage.block.seeds[:, places]
        if stage.begin is None:
            states, replicas = parts.init(run, seeds, init_seeds, numbers)
        else:
            states, replicas = parts.go_on(*stage.begin(places), seeds, numbers)
        if begin is not None:
            states = begin.states
        jax.block_until_ready(states)
        self._prepare += time.perf_counter() - compiled
        self._compile += compiled - begun
        number = begin.rounds if begin is not None else stage.rounds.start
        count = _scalar(parts, len(chunk))

        seconds, validation_rows = self._seconds.setdefault(first, []), self._rows(stage, "validation")
        while number < stage.rounds.stop:
            if self._save_or_stop(stage, record, chunk, states, number):
                raise SweepStopped(self._saver.directory if self._saver is not None else None)
            begun = time.perf_counter()
            epoch = _scalar(parts, number * recipe.report_every)
            states, means = run.epoch(count, states, replicas, epoch, data)
            params = [state.params for state in states]
            validation = run.evaluate(count, params, replicas, *validation_rows, data)
            trained, scored = parts.by_slot(means), parts.by_slot([each.means for each in validation])
            seconds.append((time.perf_counter() - begun) / recipe.report_every)
            record.note_round(chunk, number, trained, scored)
            number += 1
            self._done += len(chunk) * stage.work * recipe.report_every
            self._report(number * recipe.report_every, recipe.epochs)
        begun = time.perf_counter()
        params = [state.params for state in states]
        for split in self._splits:
            done = run.evaluate(count, params, replicas, *self._rows(stage, split), data)
            record.note_final(chunk, split, parts.by_slot(done))
        self._evaluate += time.perf_counter() - begun
        return self._finish(stage, record, chunk, states, [each.frozen for each in replicas])

    def _rows(self, stage: Stage, split: str) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """First and last row of a split in the data; of the training split, of the rows that are trained on."""
        sizes, place = list(self._splits.values()), list(self._splits).index(split)
        first = sum(sizes[:place])
        last = first + (stage.parts.whole.trained_on if split == "train" else sizes[place])
        return _scalar(stage.parts, first), _scalar(stage.parts, last)

    def _finish(
        self, stage: Stage, record: Record, chunk: range, states: Sequence[State], frozen: Sequence[Params]
    ) -> Trained:
        """Store the results of a trained chunk."""
        first = stage.block.first + chunk.start
        arrays = record.arrays(chunk) | {"seconds": np.array(self._seconds[first])}
        trees = {"params": stage.parts.join([each.params for each in states]), "frozen": stage.parts.join(frozen)}
        if stage.keep_state:
            trees["state"] = stage.parts.join_states(states).opt_state
        for name, tree in trees.items():
            leaves = jax.tree.leaves(to_host(tree))
            arrays |= {f"{name}/{i}": leaf[: len(chunk)] for i, leaf in enumerate(leaves)}
        if self._saver is None:
            return Trained(first, len(chunk), arrays)
        begun = time.perf_counter()
        finished = self._saver.finish(first, len(chunk), arrays)
        self._saver.forget()
        self._saving += time.perf_counter() - begun
        # A sweep that is one chunk is kept in memory as well: its models outlive the checkpoints.
        whole = len(self._stages) == 1 and len(chunk) == stage.block.replicas
        return Trained(first, len(chunk), arrays if whole else finished)

    def _save_or_stop(self, stage: Stage, record: Record, chunk: range, states: tuple[State, ...], number: int) -> bool:
        """Save if that is due after so many rounds; returns whether the sweep is to stop here."""
        recipe = stage.parts.whole.recipe
        between = stage.rounds.start < number < stage.rounds.stop
        stop = self._stop()
        due = self._saver is not None and between and self._saver.due(number * recipe.report_every)
        asked = from_all([stop, due])  # all processes do the same; the clock of the first one counts
        stop, due = bool(asked[:, 0].any()), bool(asked[0, 1])
        if self._saver is not None and number > stage.rounds.start and (due or stop):
            begun = time.perf_counter()
            first, state = stage.block.first + chunk.start, stage.parts.join_states(states)
            self._saver.save(first, len(chunk), state, record.history(chunk, number), self._seconds[first])
            if stop:
                self._saver.wait()
            self._saving += time.perf_counter() - begun
        return stop

    def _forget(self, stage: Stage, record: Record, chunk: range) -> None:
        """Discard what is recorded of a partly trained chunk."""
        rounds = len(self._seconds.pop(stage.block.first + chunk.start, []))
        self._done -= len(chunk) * stage.work * rounds * stage.parts.whole.recipe.report_every
        self._before = min(self._before, self._done)
        record.forget(chunk)

    def _report(self, epoch: int, epochs: int) -> None:
        if self._on_epoch is None:
            return
        latest = [record.latest() for record in self.records]
        whole = {key: gathered(self.records, [each[key] for each in latest]) for key in latest[0]}
        self._on_epoch(
            Progress(
                epoch=epoch,
                epochs=epochs,
                chunk=self._chunk[0],
                chunks=self._chunk[1],
                before=self._before / self._work,
                done=self._done / self._work,
                **whole,
            )
        )


def saved_shapes(program: Program, saved: Saved, rows: int) -> tuple[Any, dict[str, jax.ShapeDtypeStruct]]:
    """The target of ``Checkpoints.restore``: shapes of a program's state and of its history.

    Args:
        program: the program whose state it is.
        saved: which.
        rows: R of the state's leaves, a multiple of the number of the program's devices.
    """
    state, _ = program.shapes(rows)
    shape = (saved.count, program.layout.trials, saved.epoch)
    history = {key: jax.ShapeDtypeStruct(shape, program.dtype) for key in CURVES}
    return state, history | {"finite": jax.ShapeDtypeStruct(shape, np.bool_)}


def treedefs(program: Program, mesh_size: int) -> tuple[Any, Any, Any]:
    """The structures of a program's parameters, trained and frozen, and of its optimizer state."""
    state, replicas = program.shapes(mesh_size)
    params, frozen, opt_state = map(jax.tree.structure, (state.params, replicas.frozen, state.opt_state))
    return params, frozen, opt_state


def _scalar(parts: Parts, value: int) -> tuple[jax.Array, ...]:
    return parts.put(np.array(value, np.int32))


def _padded(replicas: int, mesh_size: int) -> int:
    """That number of replicas, rounded up to the same number for each device."""
    return math.ceil(replicas / mesh_size) * mesh_size


def _shifted(chunk: range, by: int) -> range:
    return range(chunk.start + by, chunk.stop + by)


def _chunks(spans: Sequence[range], replicas: int, size: int, offset: int = 0) -> Iterator[range]:
    """The replicas from ``offset`` on that are in none of the spans, in runs of at most ``size``."""
    position, end = offset, offset + replicas
    for start, stop in [*sorted((span.start, span.stop) for span in spans), (end, end)]:
        while position < start:
            yield range(position, min(position + size, start))
            position = min(position + size, start)
        position = stop


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, jax.errors.JaxRuntimeError):
        return "RESOURCE_EXHAUSTED" in str(error)
    return isinstance(error, MemoryError | _TooLargeError)
