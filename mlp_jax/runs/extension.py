"""What is added to a finished run: which trials it lacks, and one run of those it has and those that were trained.

A trial depends on its own point of the grid alone, and on no other: so a run that is extended holds what it would hold
had all trials been asked for at once. What it had before is copied, text and bytes.
"""

import contextlib
import csv
import shutil
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.errors import DataError, InputError, SweepWarning, shown
from mlp_jax.files import written_whole
from mlp_jax.runs.directory import (
    EXTENSION,
    OUTCOMES,
    Run,
    grid_of,
    new_member,
    read_run,
    read_wanted,
    recipe_of,
    versions,
    write_csv,
    write_json,
    write_outcomes,
    write_run,
)
from mlp_jax.runs.tables import LAYERS, VARIANT, axes_table, reports_table
from mlp_jax.runs.verify import verify_files
from mlp_jax.sweeps.blocks import arrange
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes
from mlp_jax.sweeps.sweep import SweepResult
from mlp_jax.training.axes import AXES, OF_RECIPE
from mlp_jax.training.recipe import Recipe

_ADDED = "added"
_SAME = ("use_bias", "dtype", "layout")
"""Besides the recipe, what all trials of a run share and results depend on."""


@dataclass(frozen=True)
class Extension:
    """A finished run, and the trials that are to be added to it.

    Attributes:
        base: directory of the run, or of a copy of it.
        config: of the run.
        grid: all trials, those of the run and those that are added.
        recipe: of all of them; trials that differ in epochs or batch size have their own.
    """

    base: Path
    config: Mapping[str, Any]
    grid: Grid
    recipe: Recipe

    @cached_property
    def taken(self) -> Grid:
        """The run's trials, as the whole grid has them."""
        return _under(grid_of(self.config), recipe_of(self.config), self.grid)

    @cached_property
    def lacking(self) -> Grid:
        """The trials that are to be trained."""
        return self.grid - self.taken

    @property
    def how(self) -> dict[str, Any]:
        """How to train them, as ``sweep`` takes it."""
        return {"recipe": self.recipe, **{name: self.config[name] for name in _SAME}}

    def __str__(self) -> str:
        more, there = len(self.lacking.trials), len(self.taken.trials)
        said = f"{there} trials are taken over, {more} are trained"
        epochs = {name: {t.epochs or self.recipe.epochs for t in g.trials} for name, g in self._both.items()}
        if epochs["lacking"] - epochs["taken"]:
            listed = " and ".join(map(str, sorted(epochs["lacking"] - epochs["taken"])))
            said += f"; those of {listed} epochs from the beginning, as a run keeps no state to go on from"
        return said

    @property
    def _both(self) -> dict[str, Grid]:
        return {"taken": self.taken, "lacking": self.lacking}


def extension_of(run: Run, grid: Grid, recipe: Recipe | None = None, **how: Any) -> Extension:
    """What is to be added to a run so that it has the trials of a grid too.

    Args:
        run: finished; ``sound_run`` reads one.
        grid: the trials that are wanted, besides those that it has.
        recipe: of these: the run's, but perhaps for epochs and batch size; None for the run's.
        **how: ``use_bias``, ``dtype``, ``layout``, if they are known.

    Raises:
        InputError: the run was trained otherwise than is asked for, by another version, or lacks none of the trials.
    """
    theirs = recipe_of(run.config)
    ours = theirs if recipe is None else recipe
    asked: dict[str, Any] = {**asdict(ours), **{name: how[name] for name in _SAME if name in how}}
    was = {**asdict(theirs), **{name: run.config[name] for name in _SAME}}
    differ = [name for name in asked if asked[name] != was[name] and name not in OF_RECIPE]
    if changes := [f"{n} was {shown(was[n])} and is now {shown(asked[n])}" for n in differ if asked[n] != "auto"]:
        raise InputError(
            f"{run.path} cannot be extended: {'; '.join(changes)}: trials of one run share that; sweep anew, and hold "
            "the runs against each other with mlp-jax compare"
        )
    _check_versions(run)
    both = _explicit(grid_of(run.config), theirs).united(_explicit(grid, ours))
    alone = {name: both.values(name)[0] for name in OF_RECIPE if len(both.values(name)) == 1}
    everything = {name: max(both.values(name)) for name in OF_RECIPE}
    whole = both.changed(lambda _: {AXES[name].plural: (0,) for name in alone})
    found = Extension(run.path, run.config, whole, replace(ours, **everything))
    if set(found.grid.trials) <= set(found.taken.trials):
        raise InputError(f"{run.path} has all of these trials already: ask for others, such as more --seeds")
    return found


def _check_versions(run: Run) -> None:
    """Refuse what trains otherwise than the run was trained, and warn of what rounds otherwise."""
    was, now = run.environment.get("versions"), versions()
    was = was if isinstance(was, dict) else {}
    if was.get("mlp-jax") != now["mlp-jax"]:
        raise InputError(
            f"{run.path} cannot be extended: mlp-jax {was.get('mlp-jax')} trained it, and this is {now['mlp-jax']}, "
            "whose results may differ: install that version, or sweep anew"
        )
    if rounding := [name for name in ("jax", "jaxlib") if was.get(name) != now[name]]:
        changes = ", ".join(f"{name} {was.get(name)} and not {now[name]}" for name in rounding)
        warnings.warn(f"{run.path} was trained with {changes}: rounding may differ", SweepWarning, stacklevel=2)


def _explicit(grid: Grid, recipe: Recipe) -> Grid:
    """The same trials, each with the epochs and the batch size that the recipe gives it."""

    def explicit(product: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        return {
            plural: list(dict.fromkeys(value or usual for value in product[plural]))
            for plural, usual in ((AXES[name].plural, getattr(recipe, name)) for name in OF_RECIPE)
        }

    return grid.changed(explicit)


def _under(grid: Grid, recipe: Recipe, whole: Grid) -> Grid:
    """A run's trials, as a whole grid has them: with epochs and batch size of their own if its trials differ in it."""
    alone = [AXES[name].plural for name in OF_RECIPE if whole.values(name) == (0,)]
    return _explicit(grid, recipe).changed(lambda _: dict.fromkeys(alone, (0,)))


def sound_run(path: Path) -> Run:
    """A finished run whose files are as they were written.

    Raises:
        InputError: it is none, or they are not; the message says which.
    """
    run = read_run(path)
    if "search" in run.config:
        raise InputError(f"{path} cannot be extended: it is of a search, whose trials depend on each other")
    for finding in verify_files(path):
        if finding.verdict == "wrong":
            raise DataError(f"{path} cannot be extended: {finding.part} {finding.message} (mlp-jax check {path})")
    if not (path / OUTCOMES).is_file():
        raise DataError(f"{path} cannot be extended: it has no {OUTCOMES}, as an earlier version wrote it: sweep anew")
    return run


def pending(path: Path) -> Extension:
    """The extension that was begun in a run directory (``is_extending``); raises DataError if it is damaged."""
    run, wanted = read_run(path / EXTENSION), read_wanted(path)
    return Extension(run.path, run.config, grid_of(wanted), recipe_of(wanted))


# One run of two


def write_extended(result: SweepResult, directory: Path, extension: Extension, config: Mapping[str, Any]) -> None:
    """Write one run, but for its manifest: the trials of an extended run and those that were added.

    Args:
        result: of the sweep of what was lacking.
        directory: an empty one.
        extension: what was added to what.
        config: of the whole.
    """
    added = directory / _ADDED
    added.mkdir()
    write_run(result, added, config["dataset"], config["dataset_path"])
    runs = (read_run(extension.base), read_run(added))
    places = _places(extension)
    write_json(directory / "config.json", config)
    before, now = (run.environment for run in runs)
    taken_over = {"trials": len(extension.taken.trials), "environment": before}
    write_json(directory / "environment.json", {**now, "taken_over": taken_over})
    trials = extension.grid.trials
    rows = [_rows(run.path / "trials.csv") for run in runs]
    write_csv(
        directory / "trials.csv",
        {"trial": range(len(trials)), **axes_table(trials), **_column_by_column(rows, places)},
    )
    rows = [_rows(run.path / "history.csv") for run in runs]
    write_csv(directory / "history.csv", {**reports_table(trials, extension.recipe), **_column_by_column(rows, places)})
    order = [
        place for block in arrange(trials, config["most_rows"]) for replica in block.places for place in sorted(replica)
    ]
    _merge_parameters([run.path / "parameters.npz" for run in runs], directory / "parameters.npz", places, order)
    write_outcomes(directory / OUTCOMES, _merged_outcomes([run.outcomes for run in runs], places))
    shutil.rmtree(added)


def _places(extension: Extension) -> list[tuple[int, int]]:
    """Of each trial of the whole: 0 for taken over or 1 for added, and its number among those."""
    grids = (extension.taken, extension.lacking)
    known = {trial: (which, number) for which, grid in enumerate(grids) for number, trial in enumerate(grid.trials)}
    return [known[trial] for trial in extension.grid.trials]


_Rows = dict[int, list[dict[str, str]]]
"""Of a table, by number of a trial: its rows, as they are written."""


def _rows(path: Path) -> _Rows:
    found: _Rows = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(int(row["trial"]), []).append(row)
    return found


def _column_by_column(rows: Sequence[_Rows], places: Sequence[tuple[int, int]]) -> dict[str, Iterable[str]]:
    """What tables say of the trials of a whole, as they are written, without what tells which trial a row is of."""
    first = next(iter(rows[1].values()))[0]
    told = {"trial", "epoch", LAYERS, VARIANT, *AXES}
    names = [name for name in first if name not in told]
    return {name: [row[name] for which, number in places for row in rows[which][number]] for name in names}


def _merge_parameters(
    sources: Sequence[Path], path: Path, places: Sequence[tuple[int, int]], order: Sequence[int]
) -> None:
    """Copy the arrays of every trial, byte for byte."""
    with contextlib.ExitStack() as stack:
        archives = [stack.enter_context(zipfile.ZipFile(source)) for source in sources]
        whole = stack.enter_context(zipfile.ZipFile(stack.enter_context(written_whole(path)), "w"))
        names: list[dict[int, list[str]]] = [{}, {}]
        for which, archive in enumerate(archives):
            for name in archive.namelist():
                names[which].setdefault(int(name.partition("/")[0]), []).append(name)
        for trial in order:
            which, number = places[trial]
            for name in names[which][number]:
                symbol = name.partition("/")[2]
                with archives[which].open(name) as member, new_member(whole, f"{trial}/{symbol}") as stream:
                    shutil.copyfileobj(member, stream)


def _merged_outcomes(found: Sequence[Outcomes], places: Sequence[tuple[int, int]]) -> Outcomes:
    hits = {split: np.stack([found[which].hits[split][number] for which, number in places]) for split in SPLITS}
    return replace(found[0], hits=hits)
