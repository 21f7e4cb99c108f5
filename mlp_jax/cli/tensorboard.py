"""mlp-jax tensorboard."""

import importlib.util
import shlex
from dataclasses import dataclass
from pathlib import Path

from mlp_jax.adapters.tensorboard import write_events
from mlp_jax.cli._output import console_for
from mlp_jax.cli._using import RunPath, own_directory
from mlp_jax.runs.directory import new_directory, read_run


@dataclass
class TensorBoard:
    """Write a run for TensorBoard: learning curves, and a table of hyperparameters with one row per trial.

    Needs the extra tensorboard. Look at it with: tensorboard --logdir RUN/tensorboard (pip install tensorboard)
    """

    run: RunPath
    """What mlp-jax sweep wrote."""
    out: Path | None = None
    """Directory to write to, new or empty. By default tensorboard/ in the run directory, which is replaced."""


def run(options: TensorBoard) -> int:
    """Run the command; returns the exit code."""
    run = read_run(options.run)
    out = options.out or own_directory(run, "tensorboard")
    with new_directory(out, replace=options.out is None) as directory:
        write_events(run, directory)
    install = "" if importlib.util.find_spec("tensorboard") else "pip install tensorboard && "
    look = f"{install}tensorboard --logdir {shlex.quote(str(out))}"
    console_for().print(f"Written to {out}/; look at it with: {look}", highlight=False, soft_wrap=True)
    return 0
