"""A run for TensorBoard: learning curves as scalars, and the trials as a table of hyperparameters (HParams)."""

import contextlib
import math
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.errors import MissingExtraError
from mlp_jax.runs.directory import Run
from mlp_jax.runs.tables import LAYERS, SCORES, Table, axes_table, layers_text, widths_at
from mlp_jax.sweeps.record import Progress
from mlp_jax.training.axes import AXES, Trial

EVENTS = "events.out.tfevents.mlp_jax"
"""Name of the file in each trial's directory; TensorBoard looks for tfevents in it."""


def trial_directories(trials: Table) -> list[str]:
    """Name of each trial's directory, which TensorBoard shows as the name of the run."""
    digits = len(str(max(trials["trial"])))
    keys = (trials[key].tolist() for key in ("trial", "variant", "learning_rate", "seed"))
    return [
        f"{trial:0{digits}d} M={layers_text(widths_at(trials, place))} {variant} lr={rate:g} seed={seed}"
        for place, (trial, variant, rate, seed) in enumerate(zip(*keys, strict=True))
    ]


def _curve_tags(score_name: str) -> dict[str, str]:
    """By column of a history, the name of its scalar."""
    score = score_name.replace("²", "2")
    return {
        "loss": "loss/train",
        "validation_loss": "loss/validation",
        "score": f"{score}/train",
        "validation_score": f"{score}/validation",
    }


def _final_tags(score_name: str) -> dict[str, str]:
    """By column of trials, the name of its scalar."""
    score = score_name.replace("²", "2")
    return {column: f"final/{column.replace('score', score)}" for column in SCORES}


def _settings(trials: Table, place: int) -> dict[str, Any]:
    """The hyperparameters of a trial."""
    return {name: trials[name][place].item() for name in (*AXES, LAYERS, "parameters") if name in trials}


def write_events(run: Run, directory: Path) -> None:
    """Write one directory per trial, each with an event file.

    Scalars by epoch are loss/train, loss/validation, accuracy/train and accuracy/validation (R2 for R²); those of
    training are running means, while parameters change. Values that are not finite (of trials that diverged, or scores
    that cannot be computed) are left out. Those of the finished model, which the HParams table shows, are
    final/train_loss, ..., final/test_accuracy.

    Args:
        run: a run that was read back.
        directory: an empty directory.

    Raises:
        MissingExtraError: tensorboardX is not installed.
    """
    hparams, scalar = summaries()
    curves, finals = _curve_tags(run.config["score_name"]), _final_tags(run.config["score_name"])
    for place, name in enumerate(trial_directories(run.trials)):
        rows = run.history["trial"] == run.trials["trial"][place]
        experiment, start, end = hparams(_settings(run.trials, place), dict.fromkeys(finals.values()))
        events: list[tuple[int, Any]] = [(0, experiment), (0, start)]
        for column, tag in curves.items():
            values = zip(run.history["epoch"][rows].tolist(), run.history[column][rows].tolist(), strict=True)
            events += [(epoch, scalar(tag, value)) for epoch, value in values if math.isfinite(value)]
        epochs = run.history["epoch"][rows].max().item()
        ends = ((tag, run.trials[column][place].item()) for column, tag in finals.items())
        events += [(epochs, scalar(tag, value)) for tag, value in ends if math.isfinite(value)]
        (directory / name).mkdir()
        _write(directory / name / EVENTS, [*events, (epochs, end)])


class LiveEvents:
    """Event files that grow while a sweep trains: the same directories and scalars as ``write_events`` writes.

    They are opened only to be written to: there may be more trials than files may be open. A sweep that is resumed goes
    on in a file of its own, as the last event of the one before may be cut short. A disk that is full is no reason to
    stop training: what cannot be written is left out.
    """

    def __init__(self, directory: Path, trials: Sequence[Trial], score_name: str) -> None:
        """Begin in a directory that may be there.

        Raises:
            MissingExtraError: tensorboardX is not installed.
        """
        hparams, self._scalar = summaries()
        self._trials = {"trial": np.arange(len(trials)), **axes_table(trials)}
        self._curves, self._finals = _curve_tags(score_name), _final_tags(score_name)
        self._seen = np.full(len(trials), np.nan)
        self._epochs = np.zeros(len(trials), int)
        names = trial_directories(self._trials)
        self._paths, self._ends = [], []
        for place, name in enumerate(names):
            (directory / name).mkdir(parents=True, exist_ok=True)
            number = sum(1 for _ in (directory / name).glob(f"{EVENTS}*"))
            self._paths.append(directory / name / (f"{EVENTS}.{number}" if number else EVENTS))
            experiment, start, end = hparams(_settings(self._trials, place), dict.fromkeys(self._finals.values()))
            _write(self._paths[-1], [] if number else [(0, experiment), (0, start)])
            self._ends.append(end)

    def on_epoch(self, progress: Progress) -> None:
        """Add what is new of each trial (``sweep(on_epoch=...)``)."""
        news = ~np.isnan(progress.loss) & (progress.loss != self._seen)
        self._seen = np.where(news, progress.loss, self._seen)
        self._epochs[news] = progress.epoch
        for place in np.flatnonzero(news).tolist():
            values = ((tag, getattr(progress, column)[place].item()) for column, tag in self._curves.items())
            self._add(place, [(progress.epoch, self._scalar(tag, each)) for tag, each in values if math.isfinite(each)])

    def finish(self, trials: Table) -> None:
        """Add what became of the trials, from the table of a finished run."""
        for place, epoch in enumerate(self._epochs.tolist()):
            values = ((tag, trials[column][place].item()) for column, tag in self._finals.items())
            scalars = [(epoch, self._scalar(tag, each)) for tag, each in values if math.isfinite(each)]
            self._add(place, [*scalars, (epoch, self._ends[place])])

    def _add(self, place: int, noted: Sequence[tuple[int, Any]]) -> None:
        with contextlib.suppress(OSError):
            _write(self._paths[place], noted)


def summaries() -> tuple[Any, Any]:
    """What makes summaries of hyperparameters and of a scalar.

    Raises:
        MissingExtraError: tensorboardX is not installed.
    """
    try:
        from tensorboardX.summary import hparams, scalar
    except ImportError:
        raise MissingExtraError("writing for TensorBoard", "tensorboardX", "tensorboard") from None
    return hparams, scalar


def _write(path: Path, noted: Iterable[tuple[int, Any]]) -> None:
    """Add summaries with their epochs to an event file.

    The package's own writers begin a file anew, and take a thread for each.
    """
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    now, events = time.time(), []
    if not path.exists():
        events.append(Event(wall_time=now, file_version="brain.Event:2"))
    events += [Event(wall_time=now, step=epoch, summary=summary) for epoch, summary in noted]
    records = []  # each with its length, and checksums of both
    for content in (event.SerializeToString() for event in events):
        length = struct.pack("<Q", len(content))
        checks = (struct.pack("<I", masked_crc32c(each)) for each in (length, content))
        records += [length, next(checks), content, next(checks)]
    with path.open("ab") as file:
        file.write(b"".join(records))  # in one go: who reads meanwhile finds whole events
