"""What the commands that train share: options, and writing the run."""

import contextlib
import json
import math
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
from rich.console import Console

from mlp_jax.adapters.tensorboard import LiveEvents, summaries
from mlp_jax.answers.showing import trials_to_show
from mlp_jax.answers.terminal import Display
from mlp_jax.cli._axes import of_recipe
from mlp_jax.cli._signals import Interrupted, Stop
from mlp_jax.cli._using import DatasetName, Transpose
from mlp_jax.datasets import Dataset, absolute_path, load_dataset
from mlp_jax.errors import InputError, SweepStopped, SweepWarning, first_line, whole
from mlp_jax.machine.cache import enable_compilation_cache
from mlp_jax.machine.distributed import leads, lost, several
from mlp_jax.networks.models import Model
from mlp_jax.runs.directory import (
    CHECKPOINTS,
    MANIFEST,
    check_new,
    dataset_of,
    is_extending,
    is_finished,
    read_run,
    read_wanted,
    resume_command,
    sweep_config,
    write_json,
    write_run,
)
from mlp_jax.runs.extending import begun as begun_extension
from mlp_jax.runs.extending import check_data, configs
from mlp_jax.runs.extension import Extension, write_extended
from mlp_jax.runs.kept import STATE
from mlp_jax.runs.progress import ProgressFile
from mlp_jax.runs.running import new_run, own_place, results, resume_from, resumed_run
from mlp_jax.runs.tables import Table, history_table, trials_table
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.outcomes import Outcomes
from mlp_jax.sweeps.plan import gibibytes
from mlp_jax.sweeps.record import Progress
from mlp_jax.sweeps.sweep import Setup, SweepResult, check_dtype, device_a_core, make_setup, sweep
from mlp_jax.tasks import get_task
from mlp_jax.training.recipe import Recipe


@dataclass
class TrainingOptions:
    """How to train, by default as the article does. Commands add the options of ``mlp_jax.cli._axes``."""

    dataset: DatasetName = "mnist"
    transpose: Transpose = None
    """Whether images are stored transposed and have to be turned upright; by default only for known EMNIST files."""
    use_bias: bool = True
    """Whether the layers have biases."""
    layout: Literal["auto", "packed", "vmap"] = "auto"
    """How trials lie in memory."""
    dtype: Literal["float32", "float64"] = "float32"
    """Type of parameters and arithmetic (float64 needs JAX_ENABLE_X64=1)."""
    precision: Literal["float32", "bfloat16", "tensorfloat32"] = "float32"
    """Precision of the first layers' matrix products; sums and weights are always float32."""
    out: Path | None = None
    """Directory to write to, new or empty; by default a new one in runs/, named by command and time."""
    memory: float | None = None
    """GiB to use of each device; by default most of what is free. What does not fit at once is trained in chunks."""
    checkpoint_every: int | None = None
    """Epochs between checkpoints; by default as many as keep their cost below 2 % of the time."""
    cache: bool = True
    """Keep compiled programs in the user's cache directory, for the next sweep of the same shapes."""
    tensorboard: bool = False
    """Write event files while training, to tensorboard/ in the run's directory. Needs the extra tensorboard."""
    json: bool = False
    """Print the result as JSON, and progress to standard error."""
    report_every: int = 1
    """Epochs between two points of the learning curves; has to divide the epochs."""
    config: Path | None = None
    """TOML file of options, or another run's directory or config.json; options given here replace the file's."""
    print_config: bool = False
    """Only print the options in effect, as a TOML file for --config."""

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
        """Bytes to use of each device, as ``sweep`` takes it."""
        return None if self.memory is None else int(self.memory * 2**30)

    def setup(self, grid: Grid, dataset: Dataset, asked: dict[str, Any]) -> Setup:
        """What training a grid means, given how (``asked``); raises InputError before anything is begun."""
        return make_setup(grid, dataset, **asked)

    def train(
        self, grid: Grid, dataset: Dataset, asked: dict[str, Any], display: Display, **further: Any
    ) -> SweepResult:
        """Train a grid as asked; ``further`` are other arguments of ``sweep``."""
        return sweep(grid, dataset, **asked, **further, on_plan=display.on_plan)

    def make_devices(self, grid: Grid, dataset: Dataset, recipe: Recipe) -> None:
        """Have as many devices of the CPU as training gains by."""
        device_a_core(grid, dataset, recipe=recipe, layout=self.layout, use_bias=self.use_bias)


def train_run(
    options: TrainingOptions,
    grid: Grid,
    out: Path,
    console: Console,
    *,
    resume: bool = False,
    extension: Extension | None = None,
    looks: Sequence[int] = (),
    keep_state: bool = False,
    figures: bool = True,
) -> tuple[SweepResult, Dataset]:
    """Train a grid, showing its progress on the console, and write its run directory.

    Args:
        options: of the command.
        grid: the trials to train.
        out: the run directory.
        console: to show progress on.
        resume: whether the run directory is there, and training goes on from what it holds.
        extension: that has those trials to be added to a run, which ``out`` is to hold as well.
        looks: seeds at each look at the results, if these are to say when there are enough.
        keep_state: whether to keep what training can go on from; a run that was begun so keeps it in any case.
        figures: whether to draw them.

    Raises:
        InputError: the run cannot be started, or would be resumed with another configuration.
        Interrupted: a signal arrived; what can be saved is saved.
    """
    if options.cache:
        enable_compilation_cache()
    begun = read_wanted(out) if resume else None
    before = begun if extension is None else extension.config
    dataset, place = _dataset(options, before, out if extension is None else extension.base)
    asked, further = options.asked if extension is None else extension.how, {}
    if extension is None and (keep_state or (begun or {}).get("keep_state", False)):
        asked |= {"keep_state": True}
    if extension is not None and (beginnings := extension.beginnings) is not None:
        further = {"beginnings": beginnings}
    recipe: Recipe = asked["recipe"]
    options.make_devices(grid, dataset, recipe)
    beginning: Callable[[], contextlib.AbstractContextManager[None]]
    if extension is None:
        config = sweep_config(options.setup(grid, dataset, asked), options.dataset, place)
        looks = looks or (begun or {}).get("looks", ())
        config |= {"looks": list(looks)} if looks else {}
        beginning = partial(new_run, out, config)
    else:
        check_data(extension, extension.base, dataset)
        config, lacking = configs(extension, dataset, options.dataset, place)
        beginning = partial(begun_extension, extension, out, config, lacking)
    was = (out / MANIFEST).read_bytes() if is_finished(out) else None  # extended in place
    stop = Stop(lambda: f"interrupted; {_left(out, was)}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_told(stop, out, was))
        stack.enter_context(stop)
        if begun is not None:
            _check_same(out, begun, config)
            if leads():
                stack.enter_context(resumed_run(out))
            saved: dict[str, Any] = {**resume_from(out)}
        else:
            if leads():
                stack.enter_context(beginning())
            saved = {"checkpoints": out / CHECKPOINTS}
        if several() and not leads():
            # Said now: should the process that leads die, JAX ends this one before it can say anything.
            who = f"process {jax.process_index()} of {jax.process_count()}"
            again = f"if any process ends, they all end; to continue, start them all with: {resume_command(out)}"
            print(f"mlp-jax: {who}: {again}", file=sys.stderr, flush=True)
        with Display(console, grid, recipe.epochs, get_task(dataset.task).score_name) as display:
            if (batch := recipe.batch_size) > (count := len(dataset.train)):
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
                asked,
                display,
                **saved,
                **further,
                memory=options.memory_bytes,
                checkpoint_every=options.checkpoint_every,
                stop=stop,
                on_epoch=_each(reports),
            )
        if leads():
            drawn: dict[str, Any] = {}
            with results(out) as directory:
                if extension is not None:
                    write_extended(result, directory, extension, config)
                else:
                    write_run(result, directory, config["dataset"], config["dataset_path"])
                    write_json(directory / "config.json", config)  # which says more, where looks are planned
                    if figures:  # now: a model may be read from checkpoints, which go with this block
                        tables = trials_table(result), history_table(result)
                        drawn = _to_draw(*tables, config, result.outcomes, lambda i: result.model(result.trials[i]))
            if extension is not None and figures:
                run = read_run(out)
                drawn = _to_draw(run.trials, run.history, run.config, run.outcomes, run.model) | {"timing": run.timing}
            if events is not None:
                events.finish(trials_table(result))
            if figures:
                draw_lacking(out, **drawn, dataset=dataset)
    return result, dataset


def _each(reports: Sequence[Callable[[Progress], None]]) -> Callable[[Progress], None]:
    """What reports to all of these."""

    def report(progress: Progress) -> None:
        for each in reports:
            each(progress)

    return report


def _dataset(options: TrainingOptions, begun: Mapping[str, Any] | None, out: Path) -> tuple[Dataset, str | None]:
    """The data set, and its path if it is a file or directory."""
    same = begun is not None and begun["dataset"] == options.dataset
    if begun is not None and same and begun.get("transpose", options.transpose) == options.transpose:
        return dataset_of(begun, out), begun.get("dataset_path")
    return load_dataset(options.dataset, transpose=options.transpose), absolute_path(options.dataset)


@contextlib.contextmanager
def _told(stop: Stop, out: Path, was: bytes | None) -> Iterator[None]:
    """Say, of what ends a run early, what is left of it."""
    try:
        yield
    except SweepStopped:
        raise Interrupted(stop.exit_code, f"stopped; {_left(out, was)}", together=True) from None
    except KeyboardInterrupt:
        raise Interrupted(stop.exit_code if stop() else 130, f"interrupted; {_left(out, was)}") from None
    except InputError:
        raise
    except jax.errors.JaxRuntimeError as error:
        if not lost(error):
            raise
        raise Interrupted(
            1, f"another process has ended, so this one ends; to continue, start them all with: {resume_command(out)}"
        ) from None
    except OSError as error:
        raise InputError(f"{error}; {_left(out, was)}") from None


def _left(out: Path, was: bytes | None) -> str:
    """What is left of a run that ends early; ``was`` is the manifest that it had already, if it had one."""
    if was is not None and is_finished(out) and not is_extending(out) and (out / MANIFEST).read_bytes() == was:
        return f"{out} is as it was"
    if not (out / "config.json").is_file():
        return "no run was written"
    return f"to continue from the last checkpoint: {resume_command(out)}"


def _check_same(out: Path, begun: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise InputError if a run was started with another configuration or other data; data may have moved."""
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
    """Where to write a run of that command: ``--out``, or a new directory."""
    check(options, options.out)
    if options.out is not None:
        yield options.out
    else:
        with own_place(command) as out:
            yield out


def print_written(console: Console, out: Path) -> None:
    """Say where the run is, and what can be done with it."""
    console.print(f"Written to {out}/", highlight=False, soft_wrap=True)
    if (out / STATE).is_file():
        size = gibibytes((out / STATE).stat().st_size)
        console.print(f"{STATE}, to go on from with --extend and more --epochs: {size}", highlight=False)
    run = shlex.quote(str(out))
    console.print(f"Next: mlp-jax analyse {run}, or report, evaluate, predict", highlight=False, soft_wrap=True)


def check(options: TrainingOptions, out: Path | None) -> None:
    """Refuse what can be refused before anything is loaded or trained."""
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


def _to_draw(
    trials: Table, history: Table, config: Mapping[str, Any], outcomes: Outcomes, model: Callable[[int], Model]
) -> dict[str, Any]:
    """Arguments of ``draw_lacking``: the results, and the models that figures show, none if all have diverged."""
    good = (trials["diverged"] == 0).any()
    shown = trials_to_show(trials, history, config, outcomes) if good else []
    tables = {"trials": trials, "history": history, "config": config, "outcomes": outcomes}
    return tables | {"models": {trial: model(trial) for trial in shown}}


def draw_lacking(out: Path, **drawn: Any) -> None:
    """Draw the figures that a finished run lacks, as far as possible, and warn about the others.

    Args:
        out: the run directory.
        **drawn: arguments of ``plots.run_figures``.
    """
    lacking, reason = [], ""
    try:
        (out / "figures").mkdir(exist_ok=True)
        from mlp_jax import plots  # matplotlib wants a directory to write to

        for name, figure, _ in plots.run_figures(**drawn):
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


def draw(directory: Path, kind: str, **drawn: Any) -> None:
    """Draw a run's figures into a directory, as png or svg; the other arguments are those of ``plots.run_figures``."""
    from mlp_jax.answers import plots

    for name, figure, _ in plots.run_figures(**drawn):
        plots.save(figure, directory / f"{name}.{kind}")
