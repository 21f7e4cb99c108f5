"""mlp-jax sweep."""

import contextlib
import dataclasses
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import tyro
from rich.console import Console

from mlp_jax.answers.analysis import Analysis, analyse
from mlp_jax.answers.deciding import looks_until, undecided
from mlp_jax.answers.terminal import forecast_record, print_forecast, print_summary, summary_record
from mlp_jax.cli._axes import axes_of, of_recipe, options_of, values_of, widths, with_axes
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
from mlp_jax.runs.directory import (
    Run,
    environment,
    grid_of,
    is_extending,
    is_finished,
    read_config,
    read_run,
    read_trials,
    read_wanted,
    recipe_of,
    resume_command,
)
from mlp_jax.runs.extension import Extension, extension_of, pending, sound_run
from mlp_jax.runs.running import tidy_finished
from mlp_jax.runs.tables import history_table
from mlp_jax.sweeps.forecast import forecast
from mlp_jax.sweeps.grid import ARTICLE_WIDTHS, MOST_TRIALS, Grid
from mlp_jax.training.axes import AXES, RULE


@with_axes(several=True)
@dataclass
class Sweep(TrainingOptions):
    """Train every combination of hidden units, activations, learning rates and seeds, together.

    Or, with --extend, those that a finished run lacks. Prints the scores by number of hidden units, and writes a run
    directory: config.json, environment.json, trials.csv, history.csv, parameters.npz, outcomes.npz and figures.
    """

    hidden_units: tuple[str, ...] = ("0", *map(str, ARTICLE_WIDTHS))
    """Widths M of the hidden layer; 0 for none (softmax regression, the baseline), 100-50 for two layers."""
    activations: tuple[str, ...] = ("sigmoid",)
    """Activations to try: sigmoid, tanh, relu, gelu, silu, elu, softplus, identity."""
    learning_rates: tuple[float, ...] = (1e-3,)
    """Learning rates to try."""
    seeds: int = 5
    """Number of seeds to train everything with: 0, 1, 2, ..."""
    first_seed: int = 0
    """The first of the seeds."""
    resume: Path | None = None
    """Run directory of a sweep that was interrupted, to be finished; options are then what it was begun with."""
    extend: Path | None = None
    """Run directory of a finished sweep. Trains the trials that it lacks, and writes a run of all as if they had been
    asked for at once; options that are not given are its own, and those that are name all values that are wanted."""
    in_place: bool = False
    """With --extend: write to that run's own directory, once everything is trained."""
    keep_state: bool = False
    """Keep what training can go on from, in state.npz (for Adam twice the size of the parameters), so that --extend RUN
    with more --epochs need not train from the beginning. A run that is extended goes on keeping it."""
    until_decided: bool = False
    """Add seeds (twice as many in all each time) to the widths whose order is not settled, until the smallest that is
    enough is also the smallest that cannot be excluded, or --most-seeds is reached. Intervals allow for every look."""
    most_seeds: int | None = None
    """With --until-decided: how many seeds a width may get."""
    plan: bool = False
    """Only say what the sweep will take (memory, operations, time from a short trial run), without training."""
    distributed: bool = False
    """Train together with other processes that were started with the same command, each with its own devices."""
    coordinator: str | None = None
    """With --distributed: HOST:PORT of process 0; by default from Slurm, Open MPI, Kubernetes or the TPU pod."""
    process_count: int | None = None
    """With --distributed: the number of processes; likewise."""
    process_id: int | None = None
    """With --distributed: which one this is, from 0; likewise."""
    given: tyro.conf.Suppress[tuple[str, ...]] = ()
    """Names of the options that were given, where others are a run's."""


def begun_with(path: Path) -> Sweep:
    """The options of a run that was begun, as defaults for the command that resumes or extends it.

    Where no options say what its trials are, as of a sum of grids, they name all values on each axis.

    Raises:
        InputError: it is no run.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no directory: expected one that mlp-jax sweep started")
    config = read_wanted(path)
    if "search" in config:
        raise InputError(f"{path} is of a search, which can't be extended, and is resumed by {resume_command(path)}")
    try:
        axes = options_of(config)
        seeds = grid_of(config).values("seed")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    values = {each.name: config[each.name] for each in dataclasses.fields(Sweep) if each.name in config} | axes
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Sweep(**values | {"seeds": len(seeds), "first_seed": min(seeds)})


def run_of(options: Sweep) -> Path | None:
    """The run that is resumed or extended, whose options replace the defaults; None if there is none.

    Raises:
        InputError: options exclude one another.
    """
    _check_together(options)
    return options.resume if options.resume is not None else options.extend


def run(options: Sweep) -> int:
    """Run the command; returns the exit code."""
    console = console_for(stderr=options.json)
    extension: Extension | None = None
    out, finished = options.resume, False
    if options.extend is not None:
        extension = _asked_extension(options, options.extend)
        grid = extension.lacking
        out = options.extend if options.in_place else None
        check(options, options.out)
    elif out is None:
        grid = _grid(options)
        check(options, options.out)
    else:
        check(options, None)
        _check_as_begun(options, out)
        if is_extending(out):
            extension = pending(out)
        grid = extension.lacking if extension is not None else grid_of(read_config(out))
        finished = is_finished(out) and extension is None
        if finished and "looks" not in read_config(out):
            run = _resume_finished(out, console)
            if options.json:
                found = analyse(run.trials, run.history, run.config, outcomes=run.outcomes)
                print_json(summary_record(found, run.config, run.environment) | {"run": str(out)})
            return 0
    if options.distributed:
        if options.out is None and out is None and not options.plan:
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
        return _plan(options, grid, extension)
    if finished and out is not None:
        return _until_decided(options, out, console)
    if extension is not None:
        console.print(f"{extension}", highlight=False, soft_wrap=True)
    looks = _looks(options)
    with contextlib.nullcontext(out) if out is not None else place(options, "sweep") as out:
        how: dict[str, Any] = {"resume": options.resume is not None, "extension": extension}
        how["keep_state"] = options.keep_state
        result, _ = train_run(options, grid, out, console, **how, looks=looks, figures=not looks)
    if "looks" in read_config(out):
        return _until_decided(options, out, console)
    if not distributed.leads():
        return 0
    if extension is not None:
        run = read_run(out)
        analysis = analyse(run.trials, run.history, run.config, outcomes=run.outcomes)
        _say(options, analysis, run.config, run.environment, out, console)
        return 0
    # As written: rounded like this, a mean of float32 numbers may differ in its last digit from what analyse says.
    config, trials, where = read_config(out), read_trials(out), environment(result)
    analysis = analyse(trials, history_table(result), config, outcomes=result.outcomes)
    _say(options, analysis, config, where, out, console)
    return 0


def _say(
    options: Sweep,
    analysis: Analysis,
    config: dict[str, Any],
    where: dict[str, Any],
    out: Path,
    console: Console,
) -> None:
    """Print what was found."""
    if options.json:
        print_json(summary_record(analysis, config, where) | {"run": str(out)})
    else:
        print_summary(console, analysis, config, where)
        print_written(console, out)


def _check_together(options: Sweep) -> None:
    """Raise InputError if options exclude one another."""
    if options.extend is not None and options.resume is not None:
        raise InputError("resume and extend are both given: expected one (an extension is resumed with --resume)")
    if options.resume is not None and options.out is not None:
        raise InputError(f"out is {options.out}: expected none, as {options.resume} is resumed where it is")
    if options.until_decided and (options.extend, options.resume) != (None, None):
        raise InputError("until decided with extend or resume: expected a new sweep (one that was begun so resumes so)")
    if options.until_decided != (options.most_seeds is not None):
        raise InputError("until decided and most seeds are given apart: expected --until-decided --most-seeds N")
    if options.most_seeds is not None:
        least = max(2, whole("seeds", options.seeds, 1, MOST_TRIALS))
        whole("most_seeds", options.most_seeds, least, MOST_TRIALS)
    if options.in_place and options.extend is None:
        raise InputError("in place without extend: expected --extend RUN as well")
    if options.in_place and options.out is not None:
        raise InputError(f"out is {options.out}: expected none, as {options.extend} is extended in place")


def _looks(options: Sweep) -> tuple[int, ...]:
    """Seeds at each look at the results; none where these do not decide."""
    if not options.until_decided:
        return ()
    assert options.most_seeds is not None
    return looks_until(options.seeds, options.most_seeds)


def _until_decided(options: Sweep, out: Path, console: Console) -> int:
    """Add seeds to a finished run as long as its results ask for more, and say what was found.

    With several processes, all read the run that one of them writes, and come to the same decision.
    """
    while True:
        distributed.wait_for_all("written")
        if distributed.leads():
            tidy_finished(out)
        run = sound_run(out)
        more = undecided(run.trials, run.history, run.outcomes, run.config["looks"])
        distributed.wait_for_all("read")
        if not more.widths or more.seeds is None:
            break
        console.print(f"{more}", highlight=False, soft_wrap=True)
        trials, first = grid_of(run.config).trials, min(run.trials["seed"].tolist())
        seeds = range(first, first + more.seeds)
        grid = Grid.of([trial for row in more.rows for trial in (trials[row]._replace(seed=seed) for seed in seeds)])
        extension = extension_of(run, grid)
        train_run(options, extension.lacking, out, console, extension=extension, figures=False)
    if not distributed.leads():
        return 0
    draw_lacking(out, **figure_arguments(run, lambda note: warnings.warn(note, SweepWarning, stacklevel=2)))
    analysis = analyse(run.trials, run.history, run.config, outcomes=run.outcomes)
    _say(options, analysis, run.config, run.environment, out, console)
    if not options.json:
        console.print(f"{more}", highlight=False, soft_wrap=True)
    return 0


def _grid(options: Sweep) -> Grid:
    return Grid(
        widths(options.hidden_units),
        options.activations,
        options.learning_rates,
        _seeds(options),
        **axes_of(options),
    )


def _seeds(options: Sweep) -> range:
    seeds = whole("seeds", options.seeds, 1, MOST_TRIALS)
    return range(options.first_seed, options.first_seed + seeds)


def _asked_extension(options: Sweep, path: Path) -> Extension:
    """What is to be added to a run: of each of its products, those with the values that were given."""
    run = sound_run(path)
    values: dict[str, Any] = {"hidden_units": widths(options.hidden_units), "seed": _seeds(options)}
    values |= {"activation": options.activations, "learning_rate": options.learning_rates, **values_of(options)}
    names = {"activations": "activation", "learning_rates": "learning_rate", "seeds": "seed", "first_seed": "seed"}
    given = {names.get(name, name) for name in options.given}
    wanted = {AXES[name].plural: values[name] for name in values if name in given}
    how = {name: getattr(options, name) for name in ("use_bias", "dtype", "layout")}
    ours: dict[str, Any] = {"precision": options.precision, "report_every": options.report_every, **of_recipe(options)}
    recipe = replace(recipe_of(run.config), **ours)
    grid = grid_of(run.config).changed(lambda _: wanted)
    return extension_of(run, grid, recipe, keep_state=options.keep_state, **how)


def _check_as_begun(options: Sweep, out: Path) -> None:
    """Raise InputError if an option asks for another sweep than the one that was begun there."""
    begun, config = begun_with(out), read_wanted(out)
    asked = [each.name for each in dataclasses.fields(Sweep) if each.name in config]
    for name in [*asked, *RULE, "first_seed"]:
        was, now = getattr(begun, name), getattr(options, name)
        # auto is what it was then, and data may be elsewhere by now: what they hold is checked when they are read.
        if was == now or (name, now) == ("layout", "auto") or (name == "dataset" and not is_finished(out)):
            continue
        raise InputError(
            f"{out} cannot be resumed as another sweep: {name} was {_told(was)} and is now {_told(now)}: leave that "
            "option out, or start another sweep with --out"
        )


def _told(value: Any) -> str:
    """The value of an option as messages show it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else shown(value)


def _resume_finished(out: Path, console: Console) -> Run:
    """Draw the figures that a finished run lacks."""
    tidy_finished(out)
    run = read_run(out)
    own_directory(run, "figures")
    draw_lacking(out, **figure_arguments(run, lambda note: warnings.warn(note, SweepWarning, stacklevel=2)))
    console.print(f"{out} is finished: there is nothing to resume", highlight=False, soft_wrap=True)
    return run


def _plan(options: Sweep, grid: Grid, extension: Extension | None) -> int:
    """Say what the sweep would take."""
    dataset = load_dataset(options.dataset, transpose=options.transpose)
    asked = options.asked if extension is None else extension.how
    asked.pop("keep_state", None)
    options.make_devices(grid, dataset, asked["recipe"])
    found = forecast(grid, dataset, **asked, memory=options.memory_bytes)
    if not distributed.leads():
        return 0
    if options.json:
        print_json(forecast_record(found))
    else:
        print_forecast(console_for(), found)
    return 0
