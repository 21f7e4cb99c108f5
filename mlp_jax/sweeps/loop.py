"""The host's side of a sweep: chunk after chunk of replicas, epoch after epoch, each reported and kept."""

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from mlp_jax.datasets.dataset import Dataset
from mlp_jax.errors import InputError, SweepStopped, SweepWarning
from mlp_jax.machine.distributed import from_all, several, to_host
from mlp_jax.networks.layouts import Layout, Params
from mlp_jax.sweeps.checkpoints import Checkpoints, DamagedError, Finished, Saved, read_arrays
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.outcomes import SPLITS, packed
from mlp_jax.sweeps.parts import Parts
from mlp_jax.sweeps.plan import Plan
from mlp_jax.sweeps.program import EpochMeans, Program
from mlp_jax.tasks import get_task
from mlp_jax.training.epoch import DeviceData, Means, State

HOPELESS = 1000.0
"""A trial has diverged when its training loss ends so many times as high as that of a model that answers nothing."""

_CURVES = ("train_loss", "train_hit", "validation_loss", "validation_hit")
_FINAL = tuple(f"{split}_{mean}" for split in ("train", "validation", "test") for mean in ("loss", "hit"))
_HITS = {split: f"hits/{split}" for split in SPLITS}
"""By split: the name under which what each example made is kept of replicas that are finished."""


@dataclass(frozen=True)
class Timing:
    """Where the time of a sweep went, in seconds.

    Attributes:
        prepare: data to the devices, initial weights.
        compile: tracing and compiling the programs that train and score.
        chunks: for each chunk of replicas, each epoch of all its trials, as the host saw it.
        evaluate: final scores of the three splits.
        saving: what training waited for checkpoints.
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
class Progress:
    """What is known after an epoch; arrays are in the order of ``Grid.trials``.

    Attributes:
        epoch: number of the epoch, from 1.
        epochs: how many there will be.
        chunk: number of the chunk of replicas in training, from 1.
        chunks: how many there will be.
        before: share of the work that was done before this process began, 0 to 1.
        done: share of the work that is done, 0 to 1.
        loss, score, validation_loss, validation_score: ``[trials]``, the last that is known; NaN for none yet.
        diverged: ``[trials]``, whether it has diverged, as far as can be told by now.
    """

    epoch: int
    epochs: int
    chunk: int
    chunks: int
    before: float
    done: float
    loss: np.ndarray
    score: np.ndarray
    validation_loss: np.ndarray
    validation_score: np.ndarray
    diverged: np.ndarray


@dataclass(frozen=True)
class Trained:
    """Replicas that are finished: arrays by name, here or in a file.

    ``history/...`` are ``[R, T, epochs]``, ``final/...`` ``[R, T]``, ``hits/...`` ``[R, T, ...]`` as ``packed`` leaves
    them, ``params/i`` and ``frozen/i`` the leaves of their parameters, ``seconds`` an entry an epoch.
    """

    first: int
    count: int
    source: dict[str, np.ndarray] | Finished

    def arrays(self) -> dict[str, np.ndarray]:
        """All of them."""
        return read_arrays(self.source.path) if isinstance(self.source, Finished) else self.source


class _TooLargeError(Exception):
    """Replicas do not fit in memory together."""


class Loop:
    """The host's side of a sweep: chunk after chunk of replicas, epoch after epoch, each reported and kept."""

    def __init__(
        self,
        grid: Grid,
        dataset: Dataset,
        parts: Parts,
        plan: Plan,
        saver: Checkpoints | None,
        stop: Callable[[], bool],
        on_epoch: Callable[[Progress], None] | None,
    ) -> None:
        self._grid, self._parts, self._plan, self._saver = grid, parts, plan, saver
        self._stop, self._on_epoch = stop, on_epoch
        self._task, self._targets = get_task(dataset.task), {k: s.targets for k, s in dataset.splits.items()}
        self._hopeless = HOPELESS * self._task.guess_loss(dataset.train.targets) or np.inf
        program = parts.whole
        self._places = places(grid, program.layout)
        self._epochs = program.recipe.epochs
        shape = (len(grid.replicas), program.layout.trials)
        # As the devices report it: means of loss and hit of each replica and slot, and whether all was finite.
        self._curves = {key: np.full((*shape, self._epochs), np.nan, program.dtype) for key in _CURVES}
        self._curves["finite"] = np.ones((*shape, self._epochs), bool)
        self._final = {key: np.full(shape, np.nan, program.dtype) for key in _FINAL}
        kind = np.float32 if self._task.graded else np.bool_
        empty = {split: packed(np.zeros((1, 1, len(dataset.splits[split])), kind)) for split in SPLITS}
        self._hits = {split: np.zeros((*shape, each.shape[-1]), each.dtype) for split, each in empty.items()}
        self._before = self._done = 0  # replicas × epochs
        self._chunk = (1, 1)  # its number, and how many there are
        self._seconds: dict[int, list[float]] = {}  # of the epochs of each chunk, by its first replica
        self._prepare = self._compile = self._evaluate = self._saving = 0.0
        state, replicas = program.shapes(parts.mesh_size)
        self.treedefs = (jax.tree.structure(state.params), jax.tree.structure(replicas.frozen))

    @property
    def timing(self) -> Timing:
        """Where the time went so far."""
        chunks = tuple(tuple(self._seconds[first]) for first in sorted(self._seconds))
        return Timing(self._prepare, self._compile, chunks, self._evaluate, self._saving)

    def run(self, host: tuple[np.ndarray, np.ndarray], started: float) -> list[Trained]:
        """Train every replica that is not finished yet."""
        trained, resumed = self._recover()
        self._before = self._done
        spans = [range(t.first, t.first + t.count) for t in trained] + ([resumed.span] if resumed else [])
        pending = deque(_chunks(spans, len(self._grid.replicas), self._plan.chunk))
        if resumed:
            pending.appendleft(resumed.span)
        if not pending:
            return trained
        data = self._parts.put_data(*host)
        self._prepare = time.perf_counter() - started
        rows = self._plan.chunk
        while pending:
            chunk = pending.popleft()
            begin, resumed = resumed, None
            self._chunk = (len(trained) + 1, len(trained) + 1 + len(pending))
            try:
                trained.append(self._train(chunk, max(rows, self._padded(len(chunk))), data, begin))
            except Exception as error:
                if not _out_of_memory(error):
                    raise
                if several() and not isinstance(error, _TooLargeError):
                    raise InputError(
                        f"out of memory in process {jax.process_index()}: resume with less memory (memory=, --memory)"
                    ) from None  # the others do not know, and cannot be told
                if len(chunk) <= self._parts.mesh_size:
                    raise InputError(
                        "out of memory with one replica on a device: that does not fit in memory; ask for fewer or "
                        "narrower trials"
                    ) from None
                rows = self._padded(math.ceil(len(chunk) / 2))
                warnings.warn(
                    f"out of memory with {len(chunk)} replicas together: going on with {rows}",
                    SweepWarning,
                    stacklevel=2,
                )
                self._forget(chunk)
                begin = None
                pending = deque(part for each in (chunk, *pending) for part in _chunks([], len(each), rows, each.start))
        return sorted(trained, key=lambda each: each.first)

    @property
    def hits(self) -> dict[str, np.ndarray]:
        """What every trial made of every example of validation and test, in the order of the trials, ``packed``."""
        return {split: values[self._places] for split, values in self._hits.items()}

    def results(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """History, final scores and divergence, in the order of the trials."""
        history = self._scored({key: values[self._places] for key, values in self._curves.items()})
        final = {}
        for split, targets in self._targets.items():
            final[f"{split}_loss"] = self._final[f"{split}_loss"][self._places]
            final[f"{split}_score"] = self._task.score(self._final[f"{split}_hit"][self._places], targets)
        lost = ~self._curves["finite"][self._places]
        first_lost = np.where(lost.any(axis=1), lost.argmax(axis=1) + 1, 0)
        bearable = np.flip(history["loss"] <= self._hopeless, axis=1)
        since = self._epochs - np.where(bearable.any(axis=1), bearable.argmax(axis=1), self._epochs) + 1
        return history, final, np.where((first_lost == 0) & (since <= self._epochs), since, first_lost)

    # Beginning

    def _recover(self) -> tuple[list[Trained], "_Resumed | None"]:
        """What earlier processes left: finished replicas, and the newest good state of unfinished ones."""
        if self._saver is None:
            return [], None
        trained = []
        for finished in self._saver.finished():
            one = Trained(finished.first, finished.count, finished)
            arrays = one.arrays()
            if not arrays.keys() >= set(_HITS.values()):
                warnings.warn(f"{finished.path}: of an earlier version: trained again", SweepWarning, stacklevel=2)
                continue
            rows = slice(one.first, one.first + one.count)
            for key in self._curves:
                self._curves[key][rows] = arrays[f"history/{key}"]
            for key in self._final:
                self._final[key][rows] = arrays[f"final/{key}"]
            for split, name in _HITS.items():
                self._hits[split][rows] = arrays[name]
            self._seconds[one.first] = arrays["seconds"].tolist()
            self._done += one.count * self._epochs
            trained.append(one)
        taken = {replica for t in trained for replica in range(t.first, t.first + t.count)}
        damaged = False
        for step in self._saver.steps():
            try:
                saved = self._saver.notes(step)
                span = range(saved.first, saved.first + saved.count)
                if not taken.isdisjoint(span):
                    continue
                resumed = self._restore(saved, span)
            except DamagedError as damage:
                damaged = True
                warnings.warn(f"{damage}: passed over", SweepWarning, stacklevel=2)
                continue
            if damaged:
                warnings.warn(
                    f"going on from {self._saver.place(step)}, epoch {saved.epoch}", SweepWarning, stacklevel=2
                )
            return trained, resumed
        if damaged:
            warnings.warn("no good state is left: training begins again", SweepWarning, stacklevel=2)
        return trained, None

    def _restore(self, saved: Saved, span: range) -> "_Resumed":
        rows = max(self._plan.chunk, self._padded(saved.count))
        assert self._saver is not None
        state, history = self._saver.restore(saved, *saved_shapes(self._parts.whole, saved, rows))
        for key, values in history.items():
            self._curves[key][span.start : span.stop, :, : saved.epoch] = values
        self._seconds[span.start] = list(saved.seconds)
        self._done += saved.count * saved.epoch
        return _Resumed(span, rows, saved.epoch, self._parts.split_state(state))

    def _padded(self, replicas: int) -> int:
        """So many replicas, and as many more as it takes to give each device the same number."""
        return math.ceil(replicas / self._parts.mesh_size) * self._parts.mesh_size

    def _seeds(self, chunk: range, rows: int) -> list[int]:
        """The seed of each of the chunk's replicas; of the last one again for rows past the end."""
        return [self._grid.replicas[min(i, chunk.stop - 1)] for i in range(chunk.start, chunk.start + rows)]

    # Training

    def _train(self, chunk: range, rows: int, data: tuple[DeviceData, ...], begin: "_Resumed | None") -> Trained:
        """Train a chunk to the end, and score it."""
        jax.block_until_ready(data)
        begun = time.perf_counter()
        run = self._parts.compile(rows, data)
        if len(chunk) > self._parts.mesh_size and run.bytes > self._plan.memory:
            raise _TooLargeError
        compiled = time.perf_counter()
        states, replicas = self._parts.init(run, self._seeds(chunk, rows), self._grid.numbers)
        if begin is not None:
            states = begin.states
        jax.block_until_ready(states)
        self._prepare += time.perf_counter() - compiled
        self._compile += compiled - begun
        epoch = begin.epoch if begin is not None else 0
        count = self._scalar(len(chunk))

        seconds, validation_rows = self._seconds.setdefault(chunk.start, []), self._rows("validation")
        while epoch < self._epochs:
            if self._save_or_stop(chunk, states, epoch):
                raise SweepStopped(self._saver.directory if self._saver is not None else None)
            begun = time.perf_counter()
            states, means = run.epoch(count, states, replicas, self._scalar(epoch), data)
            params = [state.params for state in states]
            validation = run.evaluate(count, params, replicas, *validation_rows, data)
            trained, scored = self._parts.by_slot(means), self._parts.by_slot([each.means for each in validation])
            seconds.append(time.perf_counter() - begun)
            self._note(chunk, epoch, trained, scored)
            epoch += 1
            self._done += len(chunk)
            self._report(chunk, epoch)
        begun = time.perf_counter()
        params = [state.params for state in states]
        for split, targets in self._targets.items():
            done = run.evaluate(count, params, replicas, *self._rows(split), data)
            scored = self._parts.by_slot([each.means for each in done])
            self._final[f"{split}_loss"][chunk.start : chunk.stop] = scored.loss[: len(chunk)]
            self._final[f"{split}_hit"][chunk.start : chunk.stop] = scored.hit[: len(chunk)]
            if split in self._hits:
                hits = np.asarray(self._parts.by_slot([each.hits for each in done]))
                self._hits[split][chunk.start : chunk.stop] = packed(hits[: len(chunk), :, : len(targets)])
        self._evaluate += time.perf_counter() - begun
        return self._finish(chunk, params, [each.frozen for each in replicas])

    def _rows(self, split: str) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """Where a split begins and ends in the data."""
        place, sizes = list(self._targets).index(split), self._parts.whole.examples
        return self._scalar(sum(sizes[:place])), self._scalar(sum(sizes[: place + 1]))

    def _finish(self, chunk: range, params: Sequence[Params], frozen: Sequence[Params]) -> Trained:
        """Keep what is known of a chunk that is trained."""
        span = slice(chunk.start, chunk.stop)
        arrays = {
            **{f"history/{key}": values[span] for key, values in self._curves.items()},
            **{f"final/{key}": values[span] for key, values in self._final.items()},
            **{name: self._hits[split][span] for split, name in _HITS.items()},
            "seconds": np.array(self._seconds[chunk.start]),
        }
        for name, trees in (("params", params), ("frozen", frozen)):
            leaves = jax.tree.leaves(to_host(self._parts.join(trees)))
            arrays |= {f"{name}/{i}": leaf[: len(chunk)] for i, leaf in enumerate(leaves)}
        if self._saver is None:
            return Trained(chunk.start, len(chunk), arrays)
        begun = time.perf_counter()
        finished = self._saver.finish(chunk.start, len(chunk), arrays)
        self._saver.forget()
        self._saving += time.perf_counter() - begun
        # A sweep that is one chunk is kept in memory as well: its models outlive the checkpoints.
        whole = len(chunk) == len(self._grid.replicas)
        return Trained(chunk.start, len(chunk), arrays if whole else finished)

    def _save_or_stop(self, chunk: range, states: tuple[State, ...], epoch: int) -> bool:
        """Save if that is due; whether the sweep is to stop here."""
        stop, due = self._stop(), self._saver is not None and 0 < epoch < self._epochs and self._saver.due(epoch)
        asked = from_all([stop, due])  # all processes do the same; the clock of the first one counts
        stop, due = bool(asked[:, 0].any()), bool(asked[0, 1])
        if self._saver is not None and epoch > 0 and (due or stop):
            begun = time.perf_counter()
            span = slice(chunk.start, chunk.stop)
            history = {key: values[span, :, :epoch] for key, values in self._curves.items()}
            self._saver.save(
                chunk.start, len(chunk), self._parts.join_states(states), history, self._seconds[chunk.start]
            )
            if stop:
                self._saver.wait()
            self._saving += time.perf_counter() - begun
        return stop

    def _scalar(self, value: int) -> tuple[jax.Array, ...]:
        return self._parts.put(np.array(value, np.int32))

    def _note(self, chunk: range, epoch: int, trained: EpochMeans, validation: Means) -> None:
        noted = {
            "train_loss": trained.train.loss,
            "train_hit": trained.train.hit,
            "validation_loss": validation.loss,
            "validation_hit": validation.hit,
            "finite": trained.finite & np.isfinite(trained.train.loss) & np.isfinite(validation.loss),
        }
        for key, values in noted.items():
            self._curves[key][chunk.start : chunk.stop, :, epoch] = values[: len(chunk)]

    def _forget(self, chunk: range) -> None:
        """That a chunk was trained in part."""
        self._done -= len(chunk) * len(self._seconds.pop(chunk.start, []))
        self._before = min(self._before, self._done)
        for key, values in self._curves.items():
            values[chunk.start : chunk.stop] = True if key == "finite" else np.nan

    def _report(self, chunk: range, epoch: int) -> None:
        if self._on_epoch is None:
            return
        # By trial the last epoch that is known: that of this chunk, the last of those before it.
        latest = np.full(len(self._grid.replicas), self._epochs - 1)
        latest[chunk.start : chunk.stop] = epoch - 1
        replica, slot = self._places
        last = {key: values[replica, slot, latest[replica]] for key, values in self._curves.items()}
        scored = self._scored(last)
        lost = ~self._curves["finite"][self._places].all(axis=1) | (scored["loss"] > self._hopeless)
        self._on_epoch(
            Progress(
                epoch=epoch,
                epochs=self._epochs,
                chunk=self._chunk[0],
                chunks=self._chunk[1],
                before=self._before / (len(self._grid.replicas) * self._epochs),
                done=self._done / (len(self._grid.replicas) * self._epochs),
                diverged=lost,
                **scored,
            )
        )

    def _scored(self, means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            "loss": means["train_loss"],
            "score": self._task.score(means["train_hit"], self._targets["train"]),
            "validation_loss": means["validation_loss"],
            "validation_score": self._task.score(means["validation_hit"], self._targets["validation"]),
        }


@dataclass(frozen=True)
class _Resumed:
    """A state read back: its replicas, the rows of its arrays, epochs trained; and of each part the arrays."""

    span: range
    rows: int
    epoch: int
    states: tuple[State, ...]


def saved_shapes(program: Program, saved: Saved, rows: int) -> tuple[Any, dict[str, jax.ShapeDtypeStruct]]:
    """What ``Checkpoints.restore`` is to make of a state: shapes of the state of a program, and of its history.

    Args:
        program: that it is a state of.
        saved: which.
        rows: R of the state's leaves, a multiple of the number of the program's devices.
    """
    state, _ = program.shapes(rows)
    shape = (saved.count, program.layout.trials, saved.epoch)
    history = {key: jax.ShapeDtypeStruct(shape, program.dtype) for key in _CURVES}
    return state, history | {"finite": jax.ShapeDtypeStruct(shape, np.bool_)}


def _chunks(spans: Sequence[range], replicas: int, size: int, offset: int = 0) -> Iterator[range]:
    """The replicas from offset on that are in none of the spans, in runs of at most ``size``."""
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


def places(grid: Grid, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Where each trial of the grid is in arrays ``[R, T]``."""
    replicas, slots = np.arange(len(grid.replicas)), np.argsort(layout.order)
    return np.tile(replicas, len(slots)), np.repeat(slots, len(replicas))
