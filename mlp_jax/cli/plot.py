"""mlp-jax plot."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mlp_jax.cli._training import draw
from mlp_jax.runs import new_directory, read_run


@dataclass
class Plot:
    """Draw the figures of a run directory again."""

    run: tyro.conf.Positional[Path]
    """What mlp-jax sweep wrote."""
    out: Path | None = None
    """Directory to write; it must not be there yet. By default the run's own figures are replaced."""


def run(options: Plot) -> int:
    """Run the command; returns the exit code."""
    run = read_run(options.run)
    if options.out is None:
        directory = run.path / "figures"
        draw(run.trials, run.history, run.config, directory)
    else:
        directory = options.out
        with new_directory(directory) as partial:
            draw(run.trials, run.history, run.config, partial)
    print(f"Written to {directory}/")
    return 0
