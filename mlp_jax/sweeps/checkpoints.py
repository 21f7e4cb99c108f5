"""Checkpoints of a sweep: the replicas in training (Orbax), and those that are finished.

    sweep.json               what is trained: a sweep goes on only if it is the same one
    states/STEP/             parameters, optimizer state and history of the replicas in training, after some epoch
    finished/FIRST-LAST.npz  history, scores and parameters of finished replicas

Steps are numbered in the order of saving. Every state carries a fingerprint of all its bits, which is checked when it
is read back: a state that is truncated, altered or half deleted is reported, and the one before it used.
"""

import contextlib
import errno
import gc
import hashlib
import json
import logging
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, UInt32

from mlp_jax.errors import InputError, SweepWarning
from mlp_jax.files import written_whole
from mlp_jax.machine.distributed import from_all, leads, to_host, wait_for_all

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

_T = TypeVar("_T")

KEEP = 3
"""Number of states that are kept."""

SHARE_OF_TIME = 0.02
"""Share of a sweep's time that saving may take."""

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT)
"""Errors that a disk, or damage to its files, can cause."""

LEAST_BETWEEN = 60.0
"""Seconds before the first state is saved, and between states. The first costs a second or two, mostly imports; a
killed process loses at most this much work, and an epoch, where saving is cheap."""


@dataclass(frozen=True)
class Saved:
    """A state that can be restored, as described by its own notes.

    Attributes:
        step: its number.
        first, count: the replicas that it holds.
        epoch: number of epochs that they have been trained for.
        seconds: of each of these epochs.
        fingerprint: of its arrays.
    """

    step: int
    first: int
    count: int
    epoch: int
    seconds: tuple[float, ...]
    fingerprint: str


@dataclass(frozen=True)
class Finished:
    """A file of finished replicas."""

    first: int
    count: int
    path: Path


class DamagedError(Exception):
    """A checkpoint that cannot be used; the message says which and why."""


class Checkpoints:
    """The checkpoints of one sweep. A context manager, which waits at its end for pending writes.

    With several processes, each has its own object for the same directory, and all make the same calls.
    """

    def __init__(
        self,
        directory: Path,
        identity: Mapping[str, Any],
        *,
        resume: bool,
        every: int | None = None,
        read_only: bool = False,
    ) -> None:
        """Start in a new directory, or continue in an existing one.

        Args:
            directory: for the checkpoints of this sweep only.
            identity: everything that determines the results, as JSON values.
            resume: whether to continue from what is there.
            every: epochs between states; None for as often as ``SHARE_OF_TIME`` allows.
            read_only: with ``resume``, look without changing any file.

        Raises:
            InputError: the directory holds something and ``resume`` is false, or it holds no checkpoints, or those of
                another sweep, and ``resume`` is true.
            OSError: it cannot be written.
        """
        if every is not None and every < 1:
            raise InputError(f"checkpoint interval is {every}: expected 1 epoch or more")
        self.directory = directory.absolute()
        self._every, self._read_only = every, read_only
        self._manager: ocp.CheckpointManager | None = None
        self._last_saved = time.perf_counter()
        self._cost = 0.0  # seconds of a save, with all that goes on beside training
        identity = json.loads(json.dumps(identity))
        if resume:
            self._check_identity(identity)
            if leads() and not read_only:
                (self.directory / "finished").mkdir(exist_ok=True)
            return
        if leads() and directory.exists() and any(directory.iterdir()):
            raise InputError(f"{directory} is there already and is not empty: resume from it, or name another")
        if leads():
            (self.directory / "finished").mkdir(parents=True, exist_ok=True)
            with written_whole(self.directory / "sweep.json") as file:
                file.write((json.dumps(identity, indent=2) + "\n").encode())
        wait_for_all("checkpoints begun")

    def _check_identity(self, identity: Mapping[str, Any]) -> None:
        path = self.directory / "sweep.json"
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(before, dict):
                raise ValueError("no JSON object")
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{self.directory}: no sweep to resume ({path.name}: {error})") from None
        differ = [
            f"{key} was {_short(before.get(key))} and is now {_short(identity.get(key))}"
            for key in sorted(before.keys() | identity.keys())
            if before.get(key) != identity.get(key)
        ]
        if differ:
            raise InputError(f"{self.directory}: cannot resume another sweep: {'; '.join(differ)}")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._manager is None:
            return
        with contextlib.suppress(Exception) if kind is not None else _disk_errors():
            self._manager.close()  # waits; its failure must not hide what went wrong before it

    # Finished replicas

    def finished(self) -> list[Finished]:
        """Finished replicas, in order; a damaged file is reported and left out."""
        found: list[Finished] = []
        for path in sorted((self.directory / "finished").glob("*.npz")):
            if not (name := re.fullmatch(r"(\d{9})-(\d{9})\.npz", path.name)):
                continue
            first, last = map(int, name.groups())
            if found and first < found[-1].first + found[-1].count:
                continue
            try:
                read_arrays(path)
            except DamagedError as damage:
                warnings.warn(f"{damage}: its replicas are trained again", SweepWarning, stacklevel=2)
                continue
            found.append(Finished(first, last - first + 1, path))
        return found

    def finish(self, first: int, count: int, arrays: Mapping[str, np.ndarray]) -> Finished:
        """Save the results of finished replicas."""
        path = self.directory / "finished" / f"{first:09d}-{first + count - 1:09d}.npz"
        if leads():
            with written_whole(path) as file:
                np.savez(file, **arrays, digest=_digest_of(arrays))  # type: ignore[arg-type]
        wait_for_all(f"finished {first}")
        return Finished(first, count, path)

    # Replicas in training

    def due(self, epoch: int) -> bool:
        """Whether a state is due to be saved after that epoch."""
        if self._every is not None:
            return epoch % self._every == 0
        return time.perf_counter() - self._last_saved >= max(LEAST_BETWEEN, self._cost / SHARE_OF_TIME)

    def save(self, first: int, count: int, state: Any, history: Mapping[str, np.ndarray], seconds: list[float]) -> None:
        """Start saving a state; it is written while training continues.

        Args:
            first: number of the first replica in it.
            count: number of replicas; leaves of ``state`` may have more rows, which are ignored.
            state: pytree of arrays ``[R, ...]``.
            history: arrays ``[count, T, epochs so far]``.
            seconds: of each epoch so far.

        Raises:
            OSError: this state or an earlier one cannot be written.
        """
        import orbax.checkpoint as ocp

        begun = time.perf_counter()
        manager = self._open()
        notes = {
            "first": first,
            "count": count,
            "seconds": list(seconds),  # a copy: they are written while training goes on, and the list grows
            "fingerprint": _fingerprint(state, history, count),
        }
        notes["digest"] = _digest(notes)
        arrays = {"state": _with_elements(state), "history": dict(history)}
        step = max(manager.all_steps(), default=-1) + 1
        with _disk_errors():
            manager.save(
                step, args=ocp.args.Composite(arrays=ocp.args.PyTreeSave(arrays), notes=ocp.args.JsonSave(notes))
            )
            if not self._cost:  # how long it takes in all is known by waiting, once
                manager.wait_until_finished()
                self._cost = time.perf_counter() - begun
        self._last_saved = time.perf_counter()

    def wait(self) -> None:
        """Wait until everything is on disk.

        Raises:
            OSError: it cannot be written.
        """
        if self._manager is not None:
            with _disk_errors():
                self._manager.wait_until_finished()

    def steps(self) -> list[int]:
        """Numbers of the existing states, newest first."""
        return sorted(self._open().all_steps(), reverse=True) if (self.directory / "states").is_dir() else []

    def notes(self, step: int) -> Saved:
        """A state's own notes.

        Raises:
            DamagedError: it is not what was saved.
        """
        import orbax.checkpoint as ocp

        def read() -> Saved:
            notes = self._open().restore(step, args=ocp.args.Composite(notes=ocp.args.JsonRestore()))["notes"]
            if notes.pop("digest") != _digest(notes):
                raise ValueError("its notes were altered")
            first, count, seconds, fingerprint = (notes[key] for key in ("first", "count", "seconds", "fingerprint"))
            return Saved(step, first, count, len(seconds), tuple(seconds), fingerprint)

        return self._read(step, read)

    def _read(self, step: int, read: Callable[[], _T]) -> _T:
        """The result of ``read``; any exception becomes a DamagedError."""
        with _silence():
            result, reason = None, ""
            try:
                result = read()
            except Exception as error:
                reason = _first_line(error)
            if reason:
                time.sleep(0.1)
                gc.collect()
        # What one process cannot read no other may use.
        if from_all([bool(reason)]).any():
            raise DamagedError(f"{self.place(step)}: damaged ({reason or 'another process cannot read it'})")
        assert result is not None
        return result

    def restore(
        self, saved: Saved, state: Any, history: Mapping[str, jax.ShapeDtypeStruct]
    ) -> tuple[Any, dict[str, Any]]:
        """Read a state back, onto any number of devices.

        Args:
            saved: which.
            state: the target, as ``jax.ShapeDtypeStruct`` with shardings; its leaves may have more or fewer rows than
                when it was saved, but at least ``saved.count``.
            history: shapes ``[count, T, epochs so far]``.

        Raises:
            DamagedError: it is not what was saved.
        """
        import orbax.checkpoint as ocp

        arrays = {"state": _with_elements(state), "history": dict(history)}
        restore_args = {
            "state": jax.tree.map(
                lambda leaf: ocp.ArrayRestoreArgs(
                    dtype=leaf.dtype, sharding=leaf.sharding, global_shape=leaf.shape, strict=False
                ),
                arrays["state"],
            ),
            "history": {key: ocp.RestoreArgs(restore_type=np.ndarray) for key in history},
        }

        def read() -> tuple[Any, dict[str, Any]]:
            back = self._open().restore(
                saved.step,
                args=ocp.args.Composite(arrays=ocp.args.PyTreeRestore(item=arrays, restore_args=restore_args)),
            )["arrays"]
            return jax.tree.map(_or_empty, state, back["state"]), back["history"]

        back = self._read(saved.step, read)
        if _fingerprint(*back, saved.count) != saved.fingerprint:
            raise DamagedError(f"{self.place(saved.step)}: damaged (its arrays were altered)")
        return back

    def forget(self) -> None:
        """Remove the states, whose replicas are finished."""
        if self._manager is not None:
            self.wait()
            with _disk_errors():
                for step in self._manager.all_steps():
                    self._manager.delete(step)

    def place(self, step: int) -> Path:
        """The directory of a state."""
        return self.directory / "states" / str(step)

    def _open(self) -> "ocp.CheckpointManager":
        import orbax.checkpoint as ocp

        if self._manager is None:
            logging.getLogger("absl").addFilter(_not_orbax)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=KEEP,
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
                read_only=self._read_only,
            )
            with _disk_errors():
                self._manager = ocp.CheckpointManager(self.directory / "states", options=options)
        return self._manager


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of finished replicas.

    Raises:
        DamagedError: it is not such a file, or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        # Every array has a checksum of its own in the archive; that all of them are there is known by this one.
        if (arrays.pop("digest") != _digest_of(arrays)).any():
            raise ValueError("altered since it was saved")
        return arrays
    except Exception as error:  # a damaged archive makes zipfile, zlib and NumPy raise nearly anything
        raise DamagedError(f"{path}: damaged ({_first_line(error)})") from None


def _with_elements(state: Any) -> Any:
    """A pytree as it is saved: with None for arrays without elements, which Orbax refuses."""
    return jax.tree.map(lambda leaf: leaf if math.prod(leaf.shape) else None, state)


def _or_empty(shape: jax.ShapeDtypeStruct, read: Array | None) -> Array:
    """The reverse, for one array."""
    return jnp.empty(shape.shape, shape.dtype, device=shape.sharding) if read is None else read


@jax.jit
def _row_sums(state: Any) -> list[UInt32[Array, "R"]]:
    """Weighted sums of the bits of every leaf ``[R, ...]`` by row; odd weights detect any change of one word."""

    def one(leaf: Array) -> UInt32[Array, "R"]:
        bits = lax.bitcast_convert_type(leaf, jnp.uint32)
        bits = bits.reshape(len(leaf), math.prod(bits.shape[1:]))
        weights = 2 * lax.iota(jnp.uint32, bits.shape[1]) + 1
        return jnp.sum(bits * weights[None], axis=1, dtype=jnp.uint32)

    return [one(leaf) for leaf in jax.tree.leaves(state)]


def _fingerprint(state: Any, history: Mapping[str, np.ndarray], count: int) -> str:
    digest = hashlib.sha256()
    for sums in to_host(_row_sums(state)):
        digest.update(np.ascontiguousarray(sums[:count]).tobytes())
    for key in sorted(history):
        digest.update(np.ascontiguousarray(history[key]).tobytes())
    return digest.hexdigest()


def _digest_of(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _digest(notes: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(notes, sort_keys=True).encode()).hexdigest()


def _not_orbax(record: logging.LogRecord) -> bool:
    """Log filter: drops Orbax's traceback of an error that it raises anyway."""
    return "orbax" not in Path(record.pathname).parts


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence Orbax's long complaints about a damaged state and about other reads that it abandons."""
    disabled, hook = logging.root.manager.disable, sys.unraisablehook
    logging.disable()
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        logging.disable(disabled)
        sys.unraisablehook = hook


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn what Orbax and TensorStore raise for a full or read-only disk into an OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        for code in _DISK:
            if os.strerror(code) in str(error):
                raise OSError(code, f"a checkpoint cannot be written ({os.strerror(code)})") from error
        raise


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
