"""mlp-jax plot."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlp_jax.cli._training import draw
from mlp_jax.cli._using import RunPath, figure_arguments, own_directory
from mlp_jax.runs.directory import new_directory, read_run


@dataclass
class Plot:
    """Redraw the figures of a run."""

    run: RunPath
    """What mlp-jax sweep wrote."""
    out: Path | None = None
    """Directory to write to, new or empty. By default the run's own figures are replaced."""
    dataset: str | None = None
    """The run's data set, if it has moved; by default loaded by its original name, else from the recorded path."""
    format: Literal["png", "svg"] = "png"
    """File format of the figures."""


def run(options: Plot) -> int:
    """Run the command; returns the exit code."""
    run = read_run(options.run)
    arguments = figure_arguments(run, lambda note: print(f"mlp-jax: {note}", file=sys.stderr), options.dataset)
    if options.out is None:
        directory = own_directory(run, "figures")
        directory.mkdir(exist_ok=True)
        draw(directory, options.format, **arguments)
    else:
        directory = options.out
        with new_directory(directory) as partial:
            draw(partial, options.format, **arguments)
    print(f"Written to {directory}/")
    return 0
