"""What the commands that train share: their options, the run they write."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from mlp_jax.datasets import Dataset
from mlp_jax.errors import InputError
from mlp_jax.grid import Grid
from mlp_jax.recipe import Recipe
from mlp_jax.results import best_trial, history_table, trials_table
from mlp_jax.runs import Run, check_new, new_directory, sweep_config, write_run
from mlp_jax.sweep import SweepResult, check_dtype, sweep
from mlp_jax.tasks import get_task
from mlp_jax.terminal import Display


@dataclass
class TrainingOptions:
    """How to train: the defaults are the article's."""

    dataset: str = "mnist"
    """mnist, tfds:NAME, a directory of IDX files, or an .npz file."""
    epochs: int = 20
    """Passes over the training split."""
    batch_size: int = 128
    """Examples a minibatch."""
    use_bias: bool = True
    """Whether the layers have biases."""
    layout: Literal["auto", "packed", "vmap"] = "auto"
    """How trials lie in memory."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of parameters and arithmetic (float64 needs JAX_ENABLE_X64=1)."""
    out: Path | None = None
    """Directory to write; it must not be there yet."""
    json: bool = False
    """Print the result as JSON, and progress to the standard error."""

    @property
    def recipe(self) -> Recipe:
        """Epochs and batch size, with Keras's Adam."""
        return Recipe(epochs=self.epochs, batch_size=self.batch_size)


def train_grid(options: TrainingOptions, grid: Grid, dataset: Dataset, console: Console) -> SweepResult:
    """Train a grid, showing its progress on the console."""
    score_name = get_task(dataset.task).score_name
    with Display(console, grid, options.epochs, score_name) as display:
        return sweep(
            grid,
            dataset,
            recipe=options.recipe,
            layout=options.layout,
            use_bias=options.use_bias,
            dtype=options.dtype,
            on_epoch=display.on_epoch,
        )


def check(options: TrainingOptions, out: Path | None) -> None:
    """What can be refused before anything is loaded or trained."""
    _ = options.recipe
    check_dtype(options.dtype)
    if out is not None:
        check_new(out)


def write(result: SweepResult, name: str, out: Path, dataset: Dataset) -> dict[str, Any]:
    """Write the run with its figures; returns its configuration.

    Args:
        result: of the sweep.
        name: of the data set, as it was asked for.
        out: directory to write.
        dataset: what was trained on.
    """
    config, trials = sweep_config(result, name), trials_table(result)
    with new_directory(out) as directory:
        write_run(result, directory, name)
        best = best_trial(trials) if (trials["diverged"] == 0).any() else None
        model = None if best is None else result.model(result.trials[best])
        (directory / "figures").mkdir()
        tables = (trials, history_table(result), config)
        draw(directory / "figures", "png", *tables, trial=best, model=model, dataset=dataset)
    return config


def draw(directory: Path, kind: str, *tables: Any, **model: Any) -> None:
    """Draw the figures of a run into a directory, as png or svg; the other arguments are ``plots.run_figures``'s."""
    from mlp_jax import plots

    for name, figure, _ in plots.run_figures(*tables, **model):
        plots.save(figure, directory / f"{name}.{kind}")


def figure_arguments(run: Run, warn: Callable[[str], None]) -> dict[str, Any]:
    """What ``plots.run_figures`` takes of a run that was read back.

    Args:
        run: the run.
        warn: called with a line that says why figures of the model are left out, where they have to be.
    """
    arguments = {"trials": run.trials, "history": run.history, "config": run.config, "timing": run.timing}
    try:
        best = best_trial(run.trials)
        return arguments | {"trial": best, "model": run.model(best), "dataset": run.dataset()}
    except InputError as error:
        warn(f"without figures of a model: {error}")
        return arguments
