"""mlp-jax search."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from mlp_jax.answers.ranking import ranking, search_record
from mlp_jax.answers.terminal import Display, print_search
from mlp_jax.cli._axes import axes_of, widths, with_axes
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._training import TrainingOptions, check, place, print_written, train_run
from mlp_jax.datasets import Dataset
from mlp_jax.errors import InputError, shown, whole
from mlp_jax.runs.directory import grid_of, is_finished, read_config, read_run
from mlp_jax.sweeps.grid import ARTICLE_WIDTHS, MOST_TRIALS, Grid
from mlp_jax.sweeps.halving import search_of
from mlp_jax.sweeps.sampling import Between, sample
from mlp_jax.sweeps.search import SearchResult, make_search, search
from mlp_jax.sweeps.sweep import Setup
from mlp_jax.training.axes import OF_RECIPE

T = TypeVar("T")

_OWN = (
    *("resume", "out", "memory", "checkpoint_every", "cache", "json", "tensorboard", "dataset", "transpose"),
    *("config", "print_config"),
)
"""Options that a search may be resumed with: they do not say what is searched."""


@with_axes(several=True)
@dataclass
class Search(TrainingOptions):
    """Search among configurations: train all for a while, and go on with the best, each with all of its seeds.

    Successive halving, or Hyperband, over every combination of the values given, or over a random sample: --sample 64
    --learning-rates 1e-4..1e-1 --hidden-units 8..256. Writes a run directory that every command takes.
    """

    hidden_units: tuple[str, ...] = ("0", *map(str, ARTICLE_WIDTHS))
    """Widths M of the hidden layer; 0 for none, as 100-50 for several layers; with --sample also a range, as 8..256."""
    activations: tuple[str, ...] = ("sigmoid",)
    """Of the hidden layer: sigmoid, tanh, relu, gelu, silu, elu, softplus, identity."""
    learning_rates: tuple[str, ...] = ("1e-4", "1e-3", "1e-2", "1e-1")
    """Of the optimizer; with --sample also a range, as 1e-4..1e-1, drawn log-uniformly."""
    seeds: int = 3
    """How many seeds to train everything with: 0, 1, 2, ..."""
    first_seed: int = 0
    """Where to begin counting seeds."""
    sample: int | None = None
    """Search among so many configurations, drawn from the combinations and ranges given."""
    method: Literal["halving", "hyperband"] = "halving"
    """hyperband divides the configurations into brackets that are judged from different epochs on."""
    eta: int = 4
    """One in so many configurations goes on at a rung."""
    first_epochs: int = 1
    """The first rung; the others are at eta times, eta² times, ... as many epochs."""
    budget: int | None = None
    """Epochs of training that all trials may take together; by default twice what sharp cuts take."""
    search_seed: int = 0
    """Of what is drawn: the sample, Hyperband's brackets."""
    resume: Path | None = None
    """Run directory of a search that was interrupted, to be finished."""

    @property
    def _deciding(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("method", "eta", "first_epochs", "budget", "search_seed")}

    def setup(self, grid: Grid, dataset: Dataset, asked: dict[str, Any]) -> Setup:
        """What searching a grid means, given how; raises InputError before anything is begun."""
        return make_search(grid, dataset, **asked, **self._deciding)[0]

    def train(
        self, grid: Grid, dataset: Dataset, asked: dict[str, Any], display: Display, **further: Any
    ) -> SearchResult:
        """Search a grid as asked; ``further`` are other arguments of ``search``."""
        told: dict[str, Any] = {"on_rung": display.on_rung, "on_plan": display.on_plan}
        return search(grid, dataset, **asked, **self._deciding, **further, **told)


def run(options: Search) -> int:
    """Run the command; returns the exit code."""
    console = console_for(stderr=options.json)
    out = options.resume
    if out is None:
        check(options, options.out)
        grid = _grid(options)
    else:
        options, grid = _begun(options, out)
        check(options, None)
    if out is None or not is_finished(out):
        with contextlib.nullcontext(out) if out is not None else place(options, "search") as out:
            train_run(options, grid, out, console, resume=options.resume is not None)
    else:
        console.print(f"{out} is finished: there is nothing to resume", highlight=False, soft_wrap=True)
    found = read_run(out)
    if options.json:
        record = search_record(ranking(found.trials, found.config["epochs"]), found.trials, found.config)
        print_json(record | {"seconds": found.environment["seconds"], "run": str(out)})
    else:
        print_search(console, found.trials, found.config, found.environment)
        print_written(console, out)
    return 0


def _grid(options: Search) -> Grid:
    """What to search among."""
    seeds = whole("seeds", options.seeds, 1, MOST_TRIALS)
    seeds_of = range(options.first_seed, options.first_seed + seeds)
    given: dict[str, Any] = {
        "hidden_units": _values("--hidden-units", options.hidden_units, widths, int),
        "activations": options.activations,
        "learning_rates": _values("--learning-rates", options.learning_rates, _rates, float),
        **axes_of(options),
    }
    if options.sample is not None:
        return sample(options.sample, **given, seeds=seeds_of, sample_seed=options.search_seed)
    for name, values in given.items():
        if isinstance(values, Between):
            raise InputError(f"{name} is a range: expected --sample, how many configurations to draw, as well")
    return Grid(**given, seeds=seeds_of)


def _values(
    option: str, texts: Sequence[str], listed: Callable[[Sequence[str]], Sequence[T]], number: Callable[[str], T]
) -> Sequence[T] | Between:
    """The values of an option: a list, or one range such as 8..256."""
    if not any(".." in text for text in texts):
        return listed(texts)
    ends = re.fullmatch(r"([^.]\S*?)\.\.(\S+)", texts[0].strip()) if len(texts) == 1 else None
    try:
        if ends is None:
            raise ValueError
        low, high = number(ends[1]), number(ends[2])
    except ValueError:
        example = "8..256" if number is int else "1e-4..1e-1"
        raise InputError(
            f"{option} is {shown(' '.join(texts))}: expected values, or one range such as {example}"
        ) from None
    return Between(low, high)  # type: ignore[arg-type]


def _rates(texts: Sequence[str]) -> tuple[float, ...]:
    try:
        return tuple(map(float, texts))
    except ValueError:
        commas = ", not commas" if any("," in text for text in texts) else ""
        raise InputError(
            f"--learning-rates is {shown(' '.join(texts))}: expected numbers separated by spaces{commas}, or a range"
        ) from None


def _begun(options: Search, path: Path) -> tuple[Search, Grid]:
    """The options of a search that was begun there, and what it searches among.

    Raises:
        InputError: it is none, or an option asks for another search.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no directory: expected one that mlp-jax search began")
    config = read_config(path)
    if "search" not in config:
        raise InputError(f"{path} is of a sweep: mlp-jax sweep --resume {path}")
    usual = Search()
    for each in dataclasses.fields(Search):
        if each.name not in _OWN and (now := getattr(options, each.name)) != getattr(usual, each.name):
            option = f"--{each.name.replace('_', '-')}"
            raise InputError(f"{option} is {shown(now)} with --resume: expected none, as {path} says what is searched")
    if options.out is not None:
        raise InputError(f"out is {options.out}: expected none, as {path} is resumed where it is")
    try:
        grid, decided = grid_of(config), search_of(config["search"])
        given = {name: config[name] for name in ("use_bias", "layout", "dtype", "precision", "report_every")}
    except (InputError, KeyError) as error:
        raise InputError(f"{path}: {error}") from None
    given |= {name: (config[name],) for name in OF_RECIPE}
    given |= {name: getattr(decided, name) for name in ("method", "eta", "first_epochs", "budget")}
    if options.dataset == usual.dataset:
        given |= {"dataset": config["dataset"], "transpose": config.get("transpose")}
    return dataclasses.replace(options, **given, search_seed=decided.seed), grid
