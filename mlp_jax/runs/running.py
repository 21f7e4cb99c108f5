"""A run directory while its sweep runs: one sweep at a time, checkpoints, and results put in place whole.

config.json    from the beginning
checkpoints/   until the results are there (``mlp_jax.sweeps.checkpoints``)
progress.npz   how far it is (``mlp_jax.runs.progress``)
extension/     while trials are added to a run: that run's files, and what is added (``mlp_jax.runs.extension``)
.lock          held by the process that writes; the system lets go of it when that process ends, however it ends
.results/      results on their way

A killed process may leave temporary files (``mlp_jax.files``); they do no harm, and are removed when the run is
finished.
"""

import contextlib
import itertools
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from mlp_jax.errors import InputError
from mlp_jax.files import is_partial
from mlp_jax.machine.distributed import from_all, leads
from mlp_jax.runs.directory import (
    CHECKPOINTS,
    EXTENSION,
    FILES,
    LACKING,
    LOCK,
    MANIFEST,
    WANTED,
    check_new,
    is_extending,
    is_finished,
    write_json,
    write_manifest,
)
from mlp_jax.runs.kept import STATE
from mlp_jax.runs.progress import PROGRESS

_RESULTS = ".results"
_COPYING = ".extension"


@contextlib.contextmanager
def own_place(command: str) -> Iterator[Path]:
    """A new directory in runs/, named by command and time and unique to this process; removed if it stays empty.

    Raises:
        InputError: it cannot be made.
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
def new_run(
    path: Path, config: Mapping[str, Any], *, extends: Path | None = None, lacking: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Begin a run and hold its directory. When the block ends badly and nothing is saved by then, nothing is left.

    The same holds for new parent directories; existing ones stay.

    Args:
        path: of the directory.
        config: of the run.
        extends: a finished run that this one is to hold as well, if there is one.
        lacking: then the configuration of the sweep that trains the others.

    Raises:
        InputError: the path is taken or cannot be written, or another sweep is about to write there.
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
            if extends is not None and lacking is not None:
                _begin_extension(path, extends, config, lacking)
            write_json(path / "config.json", config)
            yield
        except BaseException as error:
            if not _holds_something(path) and not isinstance(error, GeneratorExit):
                _clear(path)
                _remove_empty(made)
            raise


@contextlib.contextmanager
def run_extended_in_place(path: Path, config: Mapping[str, Any], lacking: Mapping[str, Any]) -> Iterator[None]:
    """Hold the directory of a finished run, to add trials to it. When the block ends badly, it is as it was.

    Unless something is saved by then, which can be resumed.

    Args:
        path: of the directory.
        config: of the run as it is to be.
        lacking: of the sweep that trains what is added.

    Raises:
        InputError: another sweep is writing to it, or was about to.
    """
    with _held(path):
        if (path / EXTENSION).exists():
            raise InputError(
                f"{path} is being extended already: finish that with mlp-jax sweep --resume {shlex.quote(str(path))}, "
                f"or remove {path / EXTENSION} and {path / CHECKPOINTS} to give it up"
            )
        try:
            _begin_extension(path, path, config, lacking)
            yield
        except BaseException as error:
            if is_finished(path) and not _saved(path) and not isinstance(error, GeneratorExit):
                _tidy(path)
            raise


def _begin_extension(path: Path, source: Path, wanted: Mapping[str, Any], lacking: Mapping[str, Any]) -> None:
    """Keep the files of a finished run, and what is to be added, in a directory of a run that begins."""
    partial = path / _COPYING
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name in (*FILES, MANIFEST):
        if name == STATE and not (source / name).exists():
            continue
        try:
            (partial / name).hardlink_to((source / name).resolve())  # files of a run are replaced, and never altered
        except OSError:
            shutil.copyfile(source / name, partial / name)
    write_json(partial / WANTED, wanted)
    write_json(partial / LACKING, lacking)
    partial.rename(path / EXTENSION)


@contextlib.contextmanager
def resumed_run(path: Path) -> Iterator[None]:
    """Lock the directory of an unfinished run.

    Raises:
        InputError: it is not such a directory, or another sweep is writing to it.
    """
    with _held(path):
        if is_finished(path) and not is_extending(path):
            _tidy(path)
            raise InputError(f"{path} was finished in the meantime: there is nothing to resume")
        yield


def resume_from(path: Path) -> dict[str, Path]:
    """Arguments for ``sweep``: to resume, or to start if there is nothing to resume from.

    With several processes, all have to call this; the leading one decides.
    """
    place = path / CHECKPOINTS
    if from_all([(place / "sweep.json").is_file()])[0, 0]:
        return {"resume": place}
    if leads():
        shutil.rmtree(place, ignore_errors=True)
    return {"checkpoints": place}


@contextlib.contextmanager
def results(path: Path) -> Iterator[Path]:
    """A directory to write results to; if the block succeeds they are moved into place and checkpoints removed."""
    partial = path / _RESULTS
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if is_extending(path):
            shutil.rmtree(path / "figures", ignore_errors=True)  # which show what it was before
            (path / MANIFEST).unlink(missing_ok=True)  # from now on the run is not finished
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
    """Remove leftovers of a process that was killed after its run was finished."""
    if (path / LOCK).exists():  # what goes last
        with contextlib.suppress(InputError), _held(path):
            _tidy(path)


def _tidy(path: Path) -> None:
    for name in (CHECKPOINTS, _RESULTS, _COPYING, EXTENSION):
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
    """Remove the content of a directory, as far as possible."""
    with contextlib.suppress(OSError):
        for each in directory.iterdir():
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)


def _remove_empty(directories: Iterable[Path]) -> None:
    """Remove directories, the innermost first, up to one that is not empty because others use it."""
    with contextlib.suppress(OSError):
        for each in directories:
            each.rmdir()


def _holds_something(path: Path) -> bool:
    """Whether there is anything to resume from, or finished results."""
    return is_finished(path) or _saved(path)


def _saved(path: Path) -> bool:
    """Whether there is anything to resume from."""
    kept = (path / CHECKPOINTS / "states", path / CHECKPOINTS / "finished")
    return any(place.is_dir() and any(place.iterdir()) for place in kept)
