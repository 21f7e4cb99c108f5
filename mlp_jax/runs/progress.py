"""How far a run in training has come, in a file of its directory that any process may read: ``progress.npz``.

    time, begun          seconds since 1970: when it was written, and when training began
    epoch, epochs        number of the last epoch (from 1), and of how many
    chunk, chunks        number of the chunk of replicas in training, and of how many
    before, done         share of the work that was done before the process began, and that is done, 0 to 1
    loss, score, validation_loss, validation_score, diverged
                         of each trial, the last that is known; NaN for none yet
    trained              of each trial, the epoch that this is of; 0 for none yet
    widths               the values of M (of the first hidden layer), ascending
    curve_epochs         the epochs that were reported
    curve_validation_score, curve_validation_loss
                         [epochs, widths], means over the trials that did not diverge; NaN for none

It is replaced as a whole, now and then. It goes when the run is finished.
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mlp_jax.datasets.npz import read_npz
from mlp_jax.errors import DataError
from mlp_jax.files import written_whole
from mlp_jax.runs.tables import axes_table
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.record import Progress

PROGRESS = "progress.npz"
"""Of a run directory, until the run is finished."""

EVERY = 1.0
"""Seconds between two writes, at least."""

SHARE_OF_TIME = 0.01
"""What writing may take of the time of training."""

_BY_TRIAL = ("loss", "score", "validation_loss", "validation_score")
_CURVES = ("validation_score", "validation_loss")
_SCALARS = ("time", "begun", "epoch", "epochs", "chunk", "chunks", "before", "done")
_NAMES = (
    *_SCALARS,
    *_BY_TRIAL,
    "diverged",
    "trained",
    "widths",
    "curve_epochs",
    *(f"curve_{name}" for name in _CURVES),
)


@dataclass(frozen=True)
class Snapshot:
    """How far a run has come, as the file says (see above)."""

    time: float
    begun: float
    epoch: int
    epochs: int
    chunk: int
    chunks: int
    before: float
    done: float
    loss: Float[np.ndarray, "trials"]
    score: Float[np.ndarray, "trials"]
    validation_loss: Float[np.ndarray, "trials"]
    validation_score: Float[np.ndarray, "trials"]
    diverged: np.ndarray
    trained: Int[np.ndarray, "trials"]
    widths: Int[np.ndarray, "widths"]
    curve_epochs: Int[np.ndarray, "epochs"]
    curve_validation_score: Float[np.ndarray, "epochs widths"]
    curve_validation_loss: Float[np.ndarray, "epochs widths"]

    @property
    def remaining(self) -> float:
        """Seconds, as far as can be told; NaN before anything is."""
        gained = self.done - self.before
        return (self.time - self.begun) * (1 - self.done) / gained if gained > 0 else np.nan


class ProgressFile:
    """Keeps the file of a run up to date; ``on_epoch`` is for ``sweep(on_epoch=...)``.

    A disk that is full or gone is no reason to stop training: then the file is as old as it is.
    """

    def __init__(self, directory: Path, grid: Grid) -> None:
        """Begin, or go on with the curves of a run that is resumed there."""
        self._path, self._begun, self._due = directory / PROGRESS, time.time(), 0.0
        units = axes_table(grid.trials)["hidden_units"]
        self._widths, self._place = np.unique(units, return_inverse=True)
        trials = len(grid.trials)
        self._latest = {name: np.full(trials, np.nan) for name in _BY_TRIAL}
        self._diverged, self._trained = np.zeros(trials, bool), np.zeros(trials, int)
        # By epoch, of each width the sum over trials and their number.
        self._sums: dict[int, dict[str, np.ndarray]] = {}
        with contextlib.suppress(DataError):
            self._go_on(read_progress(directory, trials))

    def _go_on(self, found: Snapshot) -> None:
        if not np.array_equal(found.widths, self._widths):
            return
        self._diverged, self._trained = found.diverged, found.trained
        self._latest = {name: getattr(found, name) for name in _BY_TRIAL}
        for row, epoch in enumerate(found.curve_epochs.tolist()):
            known = {name: getattr(found, f"curve_{name}")[row] for name in _CURVES}
            counts = {name: np.isfinite(values).astype(float) for name, values in known.items()}
            self._sums[epoch] = {name: np.stack([np.nan_to_num(known[name]), counts[name]]) for name in _CURVES}

    def on_epoch(self, progress: Progress) -> None:
        """Take note of an epoch, and write the file if that is due."""
        known = ~np.isnan(progress.loss)
        news = known & (progress.loss != self._latest["loss"])
        for name in _BY_TRIAL:
            self._latest[name] = np.where(known, getattr(progress, name), self._latest[name])
        self._diverged = np.where(known | progress.diverged, progress.diverged, self._diverged)
        self._trained = np.where(news, progress.epoch, self._trained)
        good = news & ~progress.diverged
        sums = self._sums.setdefault(progress.epoch, {name: np.zeros((2, len(self._widths))) for name in _CURVES})
        for name in _CURVES:
            values = getattr(progress, name)
            here = good & np.isfinite(values)
            for row, weights in enumerate((values[here], np.ones(here.sum()))):
                sums[name][row] += np.bincount(self._place[here], weights, len(self._widths))
        now = time.time()
        if now >= self._due or progress.done >= 1:
            with contextlib.suppress(OSError):
                self._write(progress, now)
            self._due = now + max(EVERY, (time.time() - now) / SHARE_OF_TIME)

    def _write(self, progress: Progress, now: float) -> None:
        epochs = sorted(self._sums)
        curves = {}
        for name in _CURVES:
            total, count = np.stack([self._sums[epoch][name] for epoch in epochs], axis=1)
            curves[f"curve_{name}"] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        values = {
            "time": now,
            "begun": self._begun,
            **{name: getattr(progress, name) for name in ("epoch", "epochs", "chunk", "chunks", "before", "done")},
            **{name: self._latest[name].astype(np.float32) for name in _BY_TRIAL},
            "diverged": self._diverged,
            "trained": self._trained,
            "widths": self._widths,
            "curve_epochs": np.array(epochs),
            **curves,
        }
        with written_whole(self._path) as file:
            np.savez(file, **{name: np.asarray(value) for name, value in values.items()})  # type: ignore[arg-type]


def read_progress(directory: Path, trials: int) -> Snapshot:
    """How far a run of so many trials has come.

    Raises:
        DataError: nothing is known of it, or the file is damaged.
    """
    path = directory / PROGRESS
    if not path.is_file():
        raise DataError(f"{path} is not there: nothing is known of its progress yet")
    found = read_npz(path, _NAMES)
    if missing := [name for name in _NAMES if name not in found]:
        raise DataError(f"{path}: holds no {missing[0]}: damaged")
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_SCALARS, ())
    shapes |= dict.fromkeys((*_BY_TRIAL, "diverged", "trained"), (trials,))
    shapes |= {"widths": found["widths"].shape, "curve_epochs": found["curve_epochs"].shape}
    shapes |= {f"curve_{name}": found["curve_epochs"].shape + found["widths"].shape for name in _CURVES}
    for name, shape in shapes.items():
        if found[name].shape != shape or found[name].dtype.kind not in "biuf":
            raise DataError(f"{path}: {name} is {found[name].dtype} {found[name].shape}: expected {shape}")
    values: dict[str, Any] = {**found, **{name: found[name].item() for name in _SCALARS}}
    return Snapshot(**values)
