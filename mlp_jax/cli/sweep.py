"""mlp-jax sweep."""

import contextlib
import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path

import jax
from rich.console import Console

from mlp_jax.answers.analysis import analyse
from mlp_jax.answers.terminal import forecast_record, print_forecast, print_summary, summary_record
from mlp_jax.cli._axes import axes_of, options_of, widths, with_axes
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._training import (
    TrainingOptions,
    check,
    draw_lacking,
    place,
    print_written,
    train_run,
)
from mlp_jax.cli._using import figure_arguments, own_directory
from mlp_jax.datasets import load_dataset
from mlp_jax.errors import InputError, SweepWarning, shown, whole
from mlp_jax.machine import distributed
from mlp_jax.runs.directory import Run, environment, is_finished, read_config, read_run, read_trials, resume_command
from mlp_jax.runs.running import tidy_finished
from mlp_jax.runs.tables import history_table
from mlp_jax.sweeps.forecast import forecast
from mlp_jax.sweeps.grid import ARTICLE_WIDTHS, MOST_TRIALS, Grid
from mlp_jax.training.axes import RULE


@with_axes(several=True)
@dataclass
class Sweep(TrainingOptions):
    """Train every combination of hidden units, activations, learning rates and seeds, together.

    Prints the scores by number of hidden units, and writes a run directory: config.json, environment.json, trials.csv,
    history.csv, parameters.npz, outcomes.npz and figures.
    """

    hidden_units: tuple[str, ...] = ("0", *map(str, ARTICLE_WIDTHS))
    """Widths M of the hidden layer; 0 for none (softmax regression, the baseline), as 100-50 for several layers."""
    activations: tuple[str, ...] = ("sigmoid",)
    """Of the hidden layer: sigmoid, tanh, relu, gelu, silu, elu, softplus, identity."""
    learning_rates: tuple[float, ...] = (1e-3,)
    """Of the optimizer."""
    seeds: int = 5
    """How many seeds to train everything with: 0, 1, 2, ..."""
    first_seed: int = 0
    """Where to begin counting seeds."""
    resume: Path | None = None
    """Run directory of a sweep that was interrupted, to be finished; options are then what it was begun with."""
    plan: bool = False
    """Say what it will take (memory, operations, time from a short trial run), and do nothing else."""
    distributed: bool = False
    """This is one of several processes that were started alike, each with devices of its own, and train together."""
    coordinator: str | None = None
    """With --distributed: HOST:PORT of process 0; known from Slurm, Open MPI, Kubernetes or a TPU pod if not given."""
    process_count: int | None = None
    """With --distributed: how many processes there are; likewise."""
    process_id: int | None = None
    """With --distributed: which one this is, from 0; likewise."""


def begun_with(path: Path) -> Sweep:
    """The options of a run that was begun, as defaults for the command that resumes it.

    Raises:
        InputError: it is no run, or not one that this command can have begun.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no directory: expected one that mlp-jax sweep began")
    config = read_config(path)
    if "search" in config:
        raise InputError(f"{path} is of a search: {resume_command(path)}")
    try:
        axes = options_of(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    values = {each.name: config[each.name] for each in dataclasses.fields(Sweep) if each.name in config} | axes
    seeds = values.pop("seeds")
    if not all(isinstance(seed, int) for seed in seeds) or seeds != list(range(seeds[0], seeds[0] + len(seeds))):
        raise InputError(f"{path}: its seeds do not follow one another: resume it from Python, with sweep(resume=...)")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Sweep(**values, seeds=len(seeds), first_seed=seeds[0])


def run(options: Sweep) -> int:
    """Run the command; returns the exit code."""
    seeds = whole("seeds", options.seeds, 1, MOST_TRIALS)
    grid = Grid(
        widths(options.hidden_units),
        options.activations,
        options.learning_rates,
        range(options.first_seed, options.first_seed + seeds),
        **axes_of(options),
    )
    console = console_for(stderr=options.json)
    if (out := options.resume) is not None:
        if options.out is not None:
            raise InputError(f"out is {options.out}: expected none, as {out} is resumed where it is")
        check(options, None)
        _check_as_begun(options, out)
        if is_finished(out):
            run = _resume_finished(out, console)
            if options.json:
                found = analyse(run.trials, run.history, run.config, outcomes=run.outcomes)
                print_json(summary_record(found, run.config, run.environment) | {"run": str(out)})
            return 0
    else:
        check(options, options.out)
    if options.distributed:
        if options.out is None and options.resume is None and not options.plan:
            raise InputError("distributed without out: expected --out, a directory that all processes see as the same")
        distributed.join(options.coordinator, options.process_count, options.process_id)
        if not distributed.leads():
            console.quiet = True
            warnings.simplefilter("ignore", SweepWarning)
        elif distributed.several():
            console.print(f"{jax.process_count()} processes; when one ends, all end", highlight=False)
    elif (options.coordinator, options.process_count, options.process_id) != (None, None, None):
        raise InputError("coordinator, process count or process id without distributed: expected --distributed as well")
    if options.plan:
        return _plan(options, grid)
    with contextlib.nullcontext(out) if out is not None else place(options, "sweep") as out:
        result, _ = train_run(options, grid, out, console, resume=options.resume is not None)
    if not distributed.leads():
        return 0
    # As written: rounded like this, a mean of float32 numbers may differ in its last digit from what analyse says.
    config, trials, where = read_config(out), read_trials(out), environment(result)
    analysis = analyse(trials, history_table(result), config, outcomes=result.outcomes)
    if options.json:
        print_json(summary_record(analysis, config, where) | {"run": str(out)})
    else:
        print_summary(console, analysis, config, where)
        print_written(console, out)
    return 0


def _check_as_begun(options: Sweep, out: Path) -> None:
    """Raise InputError if an option asks for another sweep than the one that was begun there."""
    begun, config = begun_with(out), read_config(out)
    asked = [each.name for each in dataclasses.fields(Sweep) if each.name in config]
    for name in [*asked, *RULE, "first_seed"]:
        was, now = getattr(begun, name), getattr(options, name)
        # auto is what it was then, and data may be elsewhere by now: what they hold is checked when they are read.
        if was == now or (name, now) == ("layout", "auto") or (name == "dataset" and not is_finished(out)):
            continue
        raise InputError(
            f"{out} cannot be resumed as another sweep: {name} was {shown(was)} and is now {shown(now)}: leave that "
            "option away, or begin another sweep with --out"
        )


def _resume_finished(out: Path, console: Console) -> Run:
    """Of a run whose results are there, draw what is not."""
    tidy_finished(out)
    run = read_run(out)
    own_directory(run, "figures")
    draw_lacking(out, **figure_arguments(run, lambda note: warnings.warn(note, SweepWarning, stacklevel=2)))
    console.print(f"{out} is finished: there is nothing to resume", highlight=False, soft_wrap=True)
    return run


def _plan(options: Sweep, grid: Grid) -> int:
    """Say what the sweep would take."""
    dataset = load_dataset(options.dataset, transpose=options.transpose)
    options.make_devices(grid, dataset)
    found = forecast(grid, dataset, **options.asked, memory=options.memory_bytes)
    if not distributed.leads():
        return 0
    if options.json:
        print_json(forecast_record(found))
    else:
        print_forecast(console_for(), found)
    return 0
