"""What the commands that train share: their options, the run they write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from mlp_jax.analysis import by_setting, saturation, summarize
from mlp_jax.datasets import Dataset
from mlp_jax.recipe import Recipe
from mlp_jax.results import Table, history_table, references, trials_table
from mlp_jax.runs import check_new, new_directory, sweep_config, write_run
from mlp_jax.sweep import Grid, SweepResult, check_dtype, sweep
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


def write(result: SweepResult, dataset: str, out: Path) -> dict[str, Any]:
    """Write the run with its figures; returns its configuration."""
    config = sweep_config(result, dataset)
    with new_directory(out) as directory:
        write_run(result, directory, dataset)
        draw(trials_table(result), history_table(result), config, directory / "figures")
    return config


def draw(trials: Table, history: Table, config: dict[str, Any], directory: Path) -> None:
    """Draw the figures of a run into a directory."""
    from mlp_jax import plots

    directory.mkdir(exist_ok=True)
    settled = [saturation(rows) for rows in by_setting(summarize(trials)).values()]
    saturated = settled[0].hidden_units if len(settled) == 1 and settled[0] is not None else None
    plots.save(plots.learning_curves(history, config["score_name"]), directory / "learning-curves.png")
    if len(set(trials["hidden_units"].tolist())) > 1:
        figure = plots.accuracy_against_width(
            trials, config["score_name"], reference=references(config), saturation=saturated
        )
        plots.save(figure, directory / "accuracy-against-width.png")
