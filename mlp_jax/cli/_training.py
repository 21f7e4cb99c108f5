"""What the commands that train share: their options, the run they write."""

import contextlib
import json
import math
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
from rich.console import Console

from mlp_jax.adapters.tensorboard import LiveEvents, summaries
from mlp_jax.answers.terminal import Display
from mlp_jax.cli._axes import of_recipe
from mlp_jax.cli._signals import Interrupted, Stop
from mlp_jax.cli._using import DatasetName, Transpose
from mlp_jax.datasets import Dataset, absolute_path, load_dataset
from mlp_jax.errors import InputError, SweepStopped, SweepWarning, first_line, whole
from mlp_jax.machine.cache import enable_compilation_cache
from mlp_jax.machine.distributed import leads, lost, several
from mlp_jax.runs.directory import (
    CHECKPOINTS,
    check_new,
    dataset_of,
    read_config,
    resume_command,
    sweep_config,
    write_run,
)
from mlp_jax.runs.progress import ProgressFile
from mlp_jax.runs.running import new_run, own_place, results, resume_from, resumed_run
from mlp_jax.runs.tables import best_trial, history_table, trials_table
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.record import Progress
from mlp_jax.sweeps.sweep import Setup, SweepResult, check_dtype, device_a_core, make_setup, sweep
from mlp_jax.tasks import get_task
from mlp_jax.training.recipe import Recipe


@dataclass
class TrainingOptions:
    """How to train: the defaults are the article's. Commands add the options of ``mlp_jax.cli._axes``."""

    dataset: DatasetName = "mnist"
    transpose: Transpose = None
    """Whether images are stored transposed, to be turned upright; by default just what is known to be EMNIST's."""
    use_bias: bool = True
    """Whether the layers have biases."""
    layout: Literal["auto", "packed", "vmap"] = "auto"
    """How trials lie in memory."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of parameters and arithmetic (float64 needs JAX_ENABLE_X64=1)."""
    precision: Literal["float32", "bfloat16", "tensorfloat32"] = "float32"
    """Of the first layers' products; sums and weights are float32 in any case."""
    out: Path | None = None
    """Directory to write, a new or empty one; by default a new one in runs/, named by command and time."""
    memory: float | None = None
    """GiB of each device to use; by default most of what is free. What does not fit together is trained in chunks."""
    checkpoint_every: int | None = None
    """Epochs between checkpoints; by default as often as costs no more than 2 % of the time."""
    cache: bool = True
    """Keep compiled programs in the user's cache directory, for the next run of a like sweep."""
    tensorboard: bool = False
    """Write event files while training, to tensorboard/ in the run's directory. Needs the extra tensorboard."""
    json: bool = False
    """Print the result as JSON, and progress to the standard error."""

    report_every: int = 1
    """Epochs between two entries of the learning curves; a divisor of the epochs."""

    @property
    def recipe(self) -> Recipe:
        """Epochs, batch size and precision, with Keras's Adam."""
        return Recipe(**of_recipe(self), precision=self.precision, report_every=self.report_every)

    @property
    def asked(self) -> dict[str, Any]:
        """How to train, as ``sweep`` takes it."""
        return {"recipe": self.recipe, **{key: getattr(self, key) for key in ("layout", "use_bias", "dtype")}}

    @property
    def memory_bytes(self) -> int | None:
        """Of each device to use, as ``sweep`` takes it."""
        return None if self.memory is None else int(self.memory * 2**30)

    def setup(self, grid: Grid, dataset: Dataset) -> Setup:
        """What training that grid means, checked before anything is begun."""
        return make_setup(grid, dataset, **self.asked)

    def train(self, grid: Grid, dataset: Dataset, display: Display, **how: Any) -> SweepResult:
        """Train that grid; ``how`` is what ``sweep`` takes besides."""
        return sweep(grid, dataset, **self.asked, **how, on_plan=display.on_plan)

    def make_devices(self, grid: Grid, dataset: Dataset) -> None:
        """Have as many devices of the CPU as training gains by."""
        device_a_core(grid, dataset, recipe=self.recipe, layout=self.layout, use_bias=self.use_bias)


def train_run(
    options: TrainingOptions, grid: Grid, out: Path, console: Console, *, resume: bool = False
) -> tuple[SweepResult, Dataset]:
    """Train a grid, showing its progress on the console, and write its run directory.

    Args:
        options: of the command.
        grid: the trials.
        out: the run directory.
        console: to show progress on.
        resume: whether the run directory is there, and training goes on from what it holds.

    Raises:
        InputError: the run cannot be begun, or is to be resumed as another one than it was.
        Interrupted: a signal came; what can be saved is saved.
    """
    if options.cache:
        enable_compilation_cache()
    begun = read_config(out) if resume else None
    dataset, place = _dataset(options, begun, out)
    options.make_devices(grid, dataset)
    config = sweep_config(options.setup(grid, dataset), options.dataset, place)
    stop = Stop(lambda: f"interrupted; {_left(out)}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_told(stop, out))
        stack.enter_context(stop)
        if begun is not None:
            _check_same(out, begun, config)
            if leads():
                stack.enter_context(resumed_run(out))
            saved: dict[str, Any] = {**resume_from(out)}
        else:
            if leads():
                stack.enter_context(new_run(out, config))
            saved = {"checkpoints": out / CHECKPOINTS}
        if several() and not leads():
            # Said now: should the process that leads die, JAX ends this one before it can say anything.
            who = f"process {jax.process_index()} of {jax.process_count()}"
            again = f"should another one end, so does this one; to go on, all of them: {resume_command(out)}"
            print(f"mlp-jax: {who}: {again}", file=sys.stderr, flush=True)
        with Display(console, grid, options.recipe.epochs, get_task(dataset.task).score_name) as display:
            if (batch := options.recipe.batch_size) > (count := len(dataset.train)):
                more = f"Batches of {batch:,} are more than the {count:,} training examples"
                console.print(f"{more}: all of them are one batch", highlight=False, soft_wrap=True)
            reports: list[Callable[[Progress], None]] = [display.on_epoch]
            events = None
            if leads():
                reports.append(ProgressFile(out, grid).on_epoch)
                if options.tensorboard:
                    events = LiveEvents(out / "tensorboard", grid.trials, get_task(dataset.task).score_name)
                    reports.append(events.on_epoch)
            result = options.train(
                grid,
                dataset,
                display,
                **saved,
                memory=options.memory_bytes,
                checkpoint_every=options.checkpoint_every,
                stop=stop,
                on_epoch=_each(reports),
            )
        if leads():
            with results(out) as directory:
                write_run(result, directory, config["dataset"], config["dataset_path"])
                drawn = _to_draw(result)  # now: it may be read from checkpoints, which go with this block
            tables = (trials_table(result), history_table(result), config)
            if events is not None:
                events.finish(tables[0])
            draw_lacking(out, *tables, outcomes=result.outcomes, dataset=dataset, **drawn)
    return result, dataset


def _each(reports: Sequence[Callable[[Progress], None]]) -> Callable[[Progress], None]:
    """What reports to all of these."""

    def report(progress: Progress) -> None:
        for each in reports:
            each(progress)

    return report


def _dataset(options: TrainingOptions, begun: Mapping[str, Any] | None, out: Path) -> tuple[Dataset, str | None]:
    """The data set, and where it is, if it is a file or directory."""
    same = begun is not None and begun["dataset"] == options.dataset
    if begun is not None and same and begun.get("transpose", options.transpose) == options.transpose:
        return dataset_of(begun, out), begun.get("dataset_path")
    return load_dataset(options.dataset, transpose=options.transpose), absolute_path(options.dataset)


@contextlib.contextmanager
def _told(stop: Stop, out: Path) -> Iterator[None]:
    """Say, of what ends a run early, what is left of it."""
    try:
        yield
    except SweepStopped:
        raise Interrupted(stop.exit_code, f"stopped; {_left(out)}", together=True) from None
    except KeyboardInterrupt:
        raise Interrupted(stop.exit_code if stop() else 130, f"interrupted; {_left(out)}") from None
    except InputError:
        raise
    except jax.errors.JaxRuntimeError as error:
        if not lost(error):
            raise
        raise Interrupted(
            1, f"another process has ended, and so does this one; to go on, all of them: {resume_command(out)}"
        ) from None
    except OSError as error:
        raise InputError(f"{error}; {_left(out)}") from None


def _left(out: Path) -> str:
    """What is left of a run that ends early."""
    if not (out / "config.json").is_file():
        return "no run was written"
    return f"to go on from the last checkpoint: {resume_command(out)}"


def _check_same(out: Path, begun: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise InputError if a run was begun with another configuration, or other data; they may be elsewhere by now."""
    now = json.loads(json.dumps(config))
    if begun.get("dataset_digest") != now["dataset_digest"]:
        raise InputError(f"{out} cannot be resumed: the data set {now['dataset']} is not what it was (SHA-256 differs)")
    keys = sorted((begun.keys() | now.keys()) - {"dataset", "dataset_path", "dataset_name", "transpose"})
    differ = [key for key in keys if begun.get(key) != now.get(key)]
    if differ:
        changes = (f"{key} was {json.dumps(begun.get(key))} and is now {json.dumps(now.get(key))}" for key in differ)
        raise InputError(f"{out} cannot be resumed as another sweep: {'; '.join(changes)}")


@contextlib.contextmanager
def place(options: TrainingOptions, command: str) -> Iterator[Path]:
    """Where a run of that command is to be written: ``--out``, or a place of its own."""
    check(options, options.out)
    if options.out is not None:
        yield options.out
    else:
        with own_place(command) as out:
            yield out


def print_written(console: Console, out: Path) -> None:
    """Say where a run is, and what to do with it."""
    console.print(f"Written to {out}/", highlight=False, soft_wrap=True)
    run = shlex.quote(str(out))
    console.print(f"Next: mlp-jax analyse {run}, or report, evaluate, predict", highlight=False, soft_wrap=True)


def check(options: TrainingOptions, out: Path | None) -> None:
    """What can be refused before anything is loaded or trained."""
    _ = options.recipe
    check_dtype(options.dtype)
    if options.memory is not None and not 0 < options.memory < math.inf:
        raise InputError(f"memory is {options.memory}: expected a number of GiB above 0")
    if options.checkpoint_every is not None:
        whole("checkpoint_every", options.checkpoint_every, 1, sys.maxsize)
    if options.tensorboard:
        summaries()
    if out is not None:
        check_new(out)


def _to_draw(result: SweepResult) -> dict[str, Any]:
    """The trial that figures show, the best on validation, and its model; None for each if all have diverged."""
    trials = trials_table(result)
    best = best_trial(trials) if (trials["diverged"] == 0).any() else None
    return {"trial": best, "model": None if best is None else result.model(result.trials[best])}


def draw_lacking(out: Path, *tables: Any, **model: Any) -> None:
    """Draw the figures that a finished run lacks, as far as that can be done, and warn of those that it cannot.

    Args:
        out: the run directory.
        *tables: as ``plots.run_figures`` takes them.
        **model: likewise.
    """
    lacking, reason = [], ""
    try:
        (out / "figures").mkdir(exist_ok=True)
        from mlp_jax import plots  # matplotlib wants a directory to write to

        for name, figure, _ in plots.run_figures(*tables, **model):
            path = out / "figures" / f"{name}.png"
            try:
                if not path.exists():
                    plots.save(figure, path)
            except OSError as error:
                lacking.append(name)
                reason = error.strerror or first_line(error)
    except Exception as error:  # whatever a figure fails for: the results are there
        lacking.append("figures" if not lacking else "others")
        reason = getattr(error, "strerror", None) or first_line(error)
    if lacking:
        again = f"mlp-jax plot {shlex.quote(str(out))}"
        warnings.warn(f"not drawn: {', '.join(lacking)} ({reason}); to draw them: {again}", SweepWarning, stacklevel=2)


def draw(directory: Path, kind: str, *tables: Any, **model: Any) -> None:
    """Draw the figures of a run into a directory, as png or svg; the other arguments are ``plots.run_figures``'s."""
    from mlp_jax.answers import plots

    for name, figure, _ in plots.run_figures(*tables, **model):
        plots.save(figure, directory / f"{name}.{kind}")
