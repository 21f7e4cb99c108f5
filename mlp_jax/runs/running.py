"""A run directory while its sweep runs: one sweep at a time, checkpoints, and results put in place whole.

config.json    from the beginning
checkpoints/   until the results are there (``mlp_jax.sweeps.checkpoints``)
progress.npz   how far it is (``mlp_jax.runs.progress``)
.lock          held by the process that writes; the system lets go of it when that process ends, however it ends
.results/      results on their way

Of a process that is killed, files may be left that were on their way (``mlp_jax.files``); they are in nobody's way, and
go when the run is finished.
"""

import contextlib
import itertools
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from mlp_jax.errors import InputError
from mlp_jax.files import is_partial
from mlp_jax.machine.distributed import from_all, leads
from mlp_jax.runs.directory import CHECKPOINTS, LOCK, MANIFEST, check_new, is_finished, write_json, write_manifest
from mlp_jax.runs.progress import PROGRESS

_RESULTS = ".results"


@contextlib.contextmanager
def own_place(command: str) -> Iterator[Path]:
    """An empty directory in runs/, named by command and time, that no other process has; removed if it stays empty.

    Raises:
        InputError: none can be made.
    """
    runs = Path("runs")
    named = runs / f"{command}-{time.strftime('%Y%m%d-%H%M%S')}"
    made = [] if runs.exists() else [runs]
    for number in itertools.count(1):
        path = named if number == 1 else named.with_name(f"{named.name}-{number}")
        try:
            runs.mkdir(exist_ok=True)
            path.mkdir()
            break
        except FileExistsError:
            if not runs.is_dir():
                raise InputError(f"{runs} is no directory: name one to write with --out") from None
        except FileNotFoundError:  # another process removed an empty runs/ in between
            continue
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}): name a directory with --out") from None
    try:
        yield path
    finally:
        _remove_empty([path, *made])


@contextlib.contextmanager
def new_run(path: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Begin a run and hold its directory. When the block ends badly and nothing is saved by then, nothing is left.

    That goes for directories above it too; those that were there before stay.

    Raises:
        InputError: something is there already, or it cannot be written, or another sweep is about to write there.
    """
    check_new(path)
    made = [each for each in (path, *path.parents) if not each.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(made)
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    with _held(path):
        # Who came first may have begun, and even ended, in the meantime.
        check_new(path)
        try:
            write_json(path / "config.json", config)
            yield
        except BaseException as error:
            if not _holds_something(path) and not isinstance(error, GeneratorExit):
                _clear(path)
                _remove_empty(made)
            raise


@contextlib.contextmanager
def resumed_run(path: Path) -> Iterator[None]:
    """Hold the directory of a run that was begun and not finished.

    Raises:
        InputError: it is none, or another sweep is writing to it.
    """
    with _held(path):
        if is_finished(path):
            _tidy(path)
            raise InputError(f"{path} was finished in the meantime: there is nothing to resume")
        yield


def resume_from(path: Path) -> dict[str, Path]:
    """What to tell ``sweep``: to go on, or, if it ended before there was anything to go on from, to begin.

    With several processes all of them have to ask; the one that leads decides.
    """
    place = path / CHECKPOINTS
    if from_all([(place / "sweep.json").is_file()])[0, 0]:
        return {"resume": place}
    if leads():
        shutil.rmtree(place, ignore_errors=True)
    return {"checkpoints": place}


@contextlib.contextmanager
def results(path: Path) -> Iterator[Path]:
    """A directory to write results to; when the block ends well they are put in place, and checkpoints removed."""
    partial = path / _RESULTS
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for each in sorted(partial.iterdir()):
            place = path / each.name
            if each.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            if each.name != MANIFEST:
                each.replace(place)
        write_manifest(path)  # last: from now on the run is finished
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _tidy(path)


def tidy_finished(path: Path) -> None:
    """Remove what a process may have left that was killed when its run was finished."""
    if (path / LOCK).exists():  # what goes last
        with contextlib.suppress(InputError), _held(path):
            _tidy(path)


def _tidy(path: Path) -> None:
    for name in (CHECKPOINTS, _RESULTS):
        shutil.rmtree(path / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        for left in [*filter(is_partial, path.iterdir()), path / PROGRESS, path / LOCK]:
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path / LOCK, blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(f"{path}: another sweep is writing to it: wait for it, or name another directory") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()


def _clear(directory: Path) -> None:
    """Remove what is in it, as far as that can be done."""
    with contextlib.suppress(OSError):
        for each in directory.iterdir():
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)


def _remove_empty(directories: Iterable[Path]) -> None:
    """Remove them, the innermost first, up to one that is not empty: somebody else has put something there."""
    with contextlib.suppress(OSError):
        for each in directories:
            each.rmdir()


def _holds_something(path: Path) -> bool:
    """Whether there is anything to resume from, or finished results."""
    kept = (path / CHECKPOINTS / "states", path / CHECKPOINTS / "finished")
    return is_finished(path) or any(place.is_dir() and any(place.iterdir()) for place in kept)
