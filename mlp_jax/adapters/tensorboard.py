"""A run for TensorBoard: learning curves as scalars, and the trials as a table of hyperparameters (HParams)."""

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlp_jax.errors import MissingExtraError
from mlp_jax.runs.directory import Run
from mlp_jax.runs.tables import LAYERS, SCORES, layers_text, widths_at
from mlp_jax.training.axes import AXES

EVENTS = "events.out.tfevents.mlp_jax"
"""Name of the file in each trial's directory; TensorBoard looks for tfevents in it."""


def trial_directories(run: Run) -> list[str]:
    """Name of each trial's directory, which TensorBoard shows as the name of the run."""
    digits = len(str(max(run.trials["trial"])))
    keys = (run.trials[key].tolist() for key in ("trial", "variant", "learning_rate", "seed"))
    return [
        f"{trial:0{digits}d} M={layers_text(widths_at(run.trials, place))} {variant} lr={rate:g} seed={seed}"
        for place, (trial, variant, rate, seed) in enumerate(zip(*keys, strict=True))
    ]


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
    try:
        from tensorboardX.summary import hparams, scalar
    except ImportError:
        raise MissingExtraError("writing for TensorBoard", "tensorboardX", "tensorboard") from None
    score = run.config["score_name"].replace("²", "2")
    curves = {
        "loss": "loss/train",
        "validation_loss": "loss/validation",
        "score": f"{score}/train",
        "validation_score": f"{score}/validation",
    }
    finals = {column: f"final/{column.replace('score', score)}" for column in SCORES}
    for place, name in enumerate(trial_directories(run)):
        trial = {column: values[place].item() for column, values in run.trials.items()}
        rows = run.history["trial"] == trial["trial"]
        settings = {name: trial[name] for name in (*AXES, LAYERS, "parameters") if name in trial}
        experiment, start, end = hparams(settings, dict.fromkeys(finals.values()))
        events: list[tuple[int, Any]] = [(0, experiment), (0, start)]
        for column, tag in curves.items():
            values = zip(run.history["epoch"][rows].tolist(), run.history[column][rows].tolist(), strict=True)
            events += [(epoch, scalar(tag, value)) for epoch, value in values if math.isfinite(value)]
        epochs = run.history["epoch"][rows].max().item()
        ends = ((tag, trial[column]) for column, tag in finals.items())
        events += [(epochs, scalar(tag, value)) for tag, value in ends if math.isfinite(value)]
        (directory / name).mkdir()
        _write(directory / name / EVENTS, [*events, (epochs, end)])


def _write(path: Path, summaries: Iterable[tuple[int, Any]]) -> None:
    """Write an event file of summaries with their epochs; tensorboardX's own writer starts a thread for each file."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter

    now = time.time()
    writer = RecordWriter(str(path))
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for epoch, summary in summaries:
        writer.write(Event(wall_time=now, step=epoch, summary=summary).SerializeToString())
    writer.close()
