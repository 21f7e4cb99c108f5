"""The command line: typed configurations in, one call each."""

import contextlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import tyro
from rich.console import Console
from rich.table import Table as RichTable

from mlp_jax.datasets import Dataset, load_dataset
from mlp_jax.errors import InputError
from mlp_jax.recipe import Recipe
from mlp_jax.report import Display, percent_or_plain, print_summary, summary_record
from mlp_jax.results import Table, by_setting, history_table, references, saturation, summarize, trials_table
from mlp_jax.runs import check_new, environment, new_directory, read_run, sweep_config, write_run
from mlp_jax.sweep import ARTICLE_WIDTHS, Grid, SweepResult, check_dtype, sweep
from mlp_jax.tasks import get_task


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


@dataclass
class Sweep(TrainingOptions):
    """Train every combination of hidden units, activations, learning rates and seeds, together.

    Prints the scores by number of hidden units, and writes a run directory: config.json, environment.json, trials.csv,
    history.csv, parameters.npz and figures.
    """

    hidden_units: tuple[int, ...] = (0, *ARTICLE_WIDTHS)
    """Widths M of the hidden layer; 0 for none (softmax regression, the baseline)."""
    activations: tuple[str, ...] = ("sigmoid",)
    """Of the hidden layer: sigmoid, tanh, relu, gelu, silu, elu, softplus, identity."""
    learning_rates: tuple[float, ...] = (1e-3,)
    """Of Adam."""
    seeds: int = 5
    """How many seeds to train everything with: 0, 1, 2, ..."""
    first_seed: int = 0
    """Where to begin counting seeds."""


@dataclass
class Train(TrainingOptions):
    """Train one model, and show its loss and score epoch by epoch."""

    hidden_units: int = 10
    """Width M of the hidden layer; 0 for none."""
    activation: str = "sigmoid"
    """Of the hidden layer."""
    learning_rate: float = 1e-3
    """Of Adam."""
    seed: int = 0
    """Of initial weights and minibatches."""


@dataclass
class Data:
    """Show a data set: sizes, class balance, and figures of its examples."""

    dataset: str = "mnist"
    """mnist, tfds:NAME, a directory of IDX files, or an .npz file."""
    out: Path | None = None
    """Directory to write figures to; it must not be there yet."""
    json: bool = False
    """Print sizes and balance as JSON."""


@dataclass
class Plot:
    """Draw the figures of a run directory again."""

    run: tyro.conf.Positional[Path]
    """What mlp-jax sweep wrote."""
    out: Path | None = None
    """Directory to write; it must not be there yet. By default the run's own figures are replaced."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, 2 for a user's mistake."""
    try:
        command = _parse(arguments)
        if isinstance(command, Sweep):
            return _sweep(command)
        if isinstance(command, Train):
            return _train(command)
        if isinstance(command, Data):
            return _data(command)
        return _plot(command)
    except InputError as error:
        print(f"mlp-jax: error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print("mlp-jax: error: that does not fit in memory: ask for fewer or narrower trials", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"mlp-jax: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mlp-jax: interrupted: no run was written", file=sys.stderr)
        return 130


def _parse(arguments: Sequence[str] | None) -> Sweep | Train | Data | Plot:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {"sweep": Sweep, "train": Train, "data": Data, "plot": Plot},
                prog="mlp-jax",
                description="How wide must the network be? Trains a whole grid of perceptrons in one XLA program.",
                args=arguments,
                config=(tyro.conf.AvoidSubcommands,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(_one_line(said.getvalue())) from None


def _one_line(box: str) -> str:
    """What tyro draws as a box, as a line: up to the first rule, without the frame."""
    lines = []
    for line in box.splitlines():
        text = line.strip("│╭╮╰╯─ \t")
        if line.startswith("╭"):
            continue
        if not text:
            break
        lines.append(text)
    return " ".join(lines) + " (mlp-jax --help shows what is possible)"


def _console(*, stderr: bool = False) -> Console:
    """A console; in a pipe, which has no width, wide enough for every table."""
    console = _Console(stderr=stderr)
    return console if console.is_terminal else _Console(stderr=stderr, width=160)


class _Console(Console):
    """One that falls silent when nobody reads any more, so that the run is still written."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_json(record: dict[str, Any]) -> None:
    """Print as JSON, which has no NaN: null instead."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(plain(record), indent=2, allow_nan=False))


def _run(options: TrainingOptions, grid: Grid, dataset: Dataset, console: Console) -> SweepResult:
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


def _sweep(options: Sweep) -> int:
    if options.seeds < 1:
        raise InputError(f"seeds is {options.seeds}: expected how many, 1 or more")
    grid = Grid(
        options.hidden_units,
        options.activations,
        options.learning_rates,
        range(options.first_seed, options.first_seed + options.seeds),
    )
    out = options.out or Path("runs") / f"sweep-{time.strftime('%Y%m%d-%H%M%S')}"
    _check(options, out)
    console = _console(stderr=options.json)
    dataset = load_dataset(options.dataset)
    result = _run(options, grid, dataset, console)
    config = _write(result, options.dataset, out)
    trials, where = trials_table(result), environment(result)
    if options.json:
        _print_json(summary_record(trials, config, where) | {"run": str(out)})
    else:
        print_summary(console, trials, config, where)
        console.print(f"Written to {out}/", highlight=False, soft_wrap=True)
    return 0


def _train(options: Train) -> int:
    grid = Grid((options.hidden_units,), (options.activation,), (options.learning_rate,), (options.seed,))
    _check(options, options.out)
    console = _console(stderr=options.json)
    dataset = load_dataset(options.dataset)
    result = _run(options, grid, dataset, console)
    if options.out is not None:
        _write(result, options.dataset, options.out)
    scores = {column: float(values[0]) for column, values in result.final.items()}
    if options.json:
        _print_json({"score_name": result.score_name, **scores, "diverged": int(result.diverged[0])})
        return 0
    score = percent_or_plain(result.score_name)
    table = RichTable()
    for heading in ("split", "loss", result.score_name):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split in dataset.splits:
        table.add_row(split, f"{scores[f'{split}_loss']:.4f}", score(scores[f"{split}_score"]))
    console.print(table)
    if result.diverged[0]:
        console.print(f"It diverged in epoch {result.diverged[0]}: try a lower learning rate.", highlight=False)
    if options.out is not None:
        console.print(f"Written to {options.out}/", highlight=False, soft_wrap=True)
    return 0


def _check(options: TrainingOptions, out: Path | None) -> None:
    """What can be refused before anything is loaded or trained."""
    _ = options.recipe
    check_dtype(options.dtype)
    if out is not None:
        check_new(out)


def _write(result: SweepResult, dataset: str, out: Path) -> dict[str, Any]:
    config = sweep_config(result, dataset)
    with new_directory(out) as directory:
        write_run(result, directory, dataset)
        _draw(trials_table(result), history_table(result), config, directory / "figures")
    return config


def _draw(trials: Table, history: Table, config: dict[str, Any], directory: Path) -> None:
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


def _data(options: Data) -> int:
    if options.out is not None:
        check_new(options.out)
    dataset = load_dataset(options.dataset)
    counts = {
        split: [int((values.targets == label).sum()) for label in range(len(dataset.class_names))]
        for split, values in dataset.splits.items()
    }
    if options.json:
        sizes = {split: len(values) for split, values in dataset.splits.items()}
        record = {"name": dataset.name, "task": dataset.task, "features": dataset.features, "sizes": sizes}
        _print_json(record | {"classes": dataset.class_names, "class_counts": counts})
    else:
        console = _console()
        shape = f" ({' × '.join(map(str, dataset.image_shape))})" if dataset.image_shape else ""
        table = RichTable(title=f"{dataset.name}: {dataset.task}, {dataset.features} features{shape}")
        table.add_column("class" if dataset.class_names else "")
        for split in counts:
            table.add_column(split, justify="right")
        for label, name in enumerate(dataset.class_names):
            table.add_row(name, *(f"{column[label]:,}" for column in counts.values()))
        table.add_section()
        table.add_row("examples", *(f"{len(split):,}" for split in dataset.splits.values()))
        console.print(table)
    if options.out is not None:
        _draw_data(dataset, options.out)
        if not options.json:
            console.print(f"Written to {options.out}/", highlight=False, soft_wrap=True)
    return 0


def _draw_data(dataset: Dataset, out: Path) -> None:
    from mlp_jax import plots

    with new_directory(out) as directory:
        if dataset.class_names:
            plots.save(plots.class_balance(dataset), directory / "class-balance.png")
        if dataset.image_shape is not None:
            first = dataset.train.features[0].reshape(dataset.image_shape)
            label = dataset.class_names[int(dataset.train.targets[0])]
            plots.save(plots.digit(first, label), directory / "digit.png")
            plots.save(plots.examples(dataset), directory / "examples.png")


def _plot(options: Plot) -> int:
    run = read_run(options.run)
    if options.out is None:
        directory = run.path / "figures"
        _draw(run.trials, run.history, run.config, directory)
    else:
        directory = options.out
        with new_directory(directory) as partial:
            _draw(run.trials, run.history, run.config, partial)
    print(f"Written to {directory}/")
    return 0
