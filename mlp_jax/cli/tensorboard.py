"""mlp-jax tensorboard."""

from dataclasses import dataclass
from pathlib import Path

from mlp_jax.cli._output import console_for
from mlp_jax.cli._using import RunPath
from mlp_jax.runs import check_new, new_directory, read_run
from mlp_jax.tensorboard import write_events


@dataclass
class TensorBoard:
    """Write a run for TensorBoard: learning curves, and a table of hyperparameters with a row a trial.

    Needs the extra tensorboard. Look at it with: tensorboard --logdir RUN/tensorboard
    """

    run: RunPath
    """What mlp-jax sweep wrote."""
    out: Path | None = None
    """Directory to write; it must not be there yet. By default tensorboard in the run's own."""


def run(options: TensorBoard) -> int:
    """Run the command; returns the exit code."""
    run = read_run(options.run)
    out = options.out or run.path / "tensorboard"
    check_new(out)
    with new_directory(out) as directory:
        write_events(run, directory)
    console = console_for()
    console.print(f"Written to {out}/; look at it with: tensorboard --logdir {out}", highlight=False, soft_wrap=True)
    return 0
