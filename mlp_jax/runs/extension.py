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
from mlp_jax.runs.kept import STATE, kept_trials, read_states
from mlp_jax.runs.tables import LAYERS, VARIANT, axes_table, reports_table
from mlp_jax.runs.verify import verify_files
from mlp_jax.sweeps.blocks import arrange
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes
from mlp_jax.sweeps.repacking import Beginnings
from mlp_jax.sweeps.sweep import SweepResult
from mlp_jax.training.axes import AXES, OF_RECIPE, Trial
from mlp_jax.training.recipe import Recipe
from mlp_jax.training.schedules import SCHEDULES

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
        keep_state: whether what training can go on from is kept of those that are trained, too.
    """

    base: Path
    config: Mapping[str, Any]
    grid: Grid
    recipe: Recipe
    keep_state: bool

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
        return {
            "recipe": self.recipe,
            **{name: self.config[name] for name in _SAME},
            **({"keep_state": True} if self.keep_state else {}),
        }

    @cached_property
    def _shorter(self) -> tuple[tuple[int, ...], ...]:
        """Of each trial that is lacking, numbers of the run's that differ from it in having fewer epochs, most first.

        Those whose learning rate depends on how long training is are none.
        """
        alike: dict[Trial, list[tuple[int, int]]] = {}
        for number, trial in enumerate(self.taken.trials):
            alike.setdefault(trial._replace(epochs=0), []).append((self._epochs(trial), number))
        return tuple(
            tuple(
                number
                for epochs, number in sorted(alike.get(trial._replace(epochs=0), []), reverse=True)
                if epochs < self._epochs(trial)
            )
            for trial in self.lacking.trials
        )

    @cached_property
    def goes_on_from(self) -> tuple[int | None, ...]:
        """Of each trial that is lacking, the number of the run's trial whose kept state it goes on from, if any."""
        kept = kept_trials(self.base)
        return tuple(
            None if SCHEDULES[trial.schedule].of_total else next((each for each in shorter if each in kept), None)
            for trial, shorter in zip(self.lacking.trials, self._shorter, strict=True)
        )

    def _epochs(self, trial: Trial) -> int:
        return trial.epochs or self.recipe.epochs

    @property
    def beginnings(self) -> Beginnings | None:
        """What trials that are lacking go on from; None if all are trained from the beginning.

        Raises:
            DataError: what the run has kept is damaged.
        """
        sources = self.goes_on_from
        wanted = {number: self.taken.trials[number] for number in sources if number is not None}
        if not wanted:
            return None
        states = read_states(self.base, wanted, self.config["use_bias"])
        return Beginnings(
            tuple(0 if number is None else self._epochs(self.taken.trials[number]) for number in sources),
            lambda place: states[sources[place] or 0],
        )

    def __str__(self) -> str:
        said = [f"{len(self.taken.trials)} trials are taken over, {len(self.lacking.trials)} are trained"]
        by_reason: dict[str, list[Trial]] = {}
        for trial, shorter, source in zip(self.lacking.trials, self._shorter, self.goes_on_from, strict=True):
            if source is not None:
                reason = f"going on from epoch {self._epochs(self.taken.trials[source])}"
            elif SCHEDULES[trial.schedule].of_total:
                reason = f"from the beginning, as the schedule {trial.schedule} depends on the number of epochs"
            else:
                reason = "from the beginning, as no state was kept to go on from (--keep-state)"
            if shorter:
                by_reason.setdefault(reason, []).append(trial)
        for reason, trials in by_reason.items():
            epochs = " and ".join(map(str, sorted({*map(self._epochs, trials)})))
            said.append(f"{len(trials)} of them, of {epochs} epochs, {reason}")
        return "; ".join(said)


def extension_of(
    run: Run, grid: Grid, recipe: Recipe | None = None, *, keep_state: bool = False, **how: Any
) -> Extension:
    """What is to be added to a run so that it has the trials of a grid too.

    Args:
        run: finished; ``sound_run`` reads one.
        grid: the trials that are wanted, besides those that it has.
        recipe: of these: the run's, but perhaps for epochs and batch size; None for the run's.
        keep_state: whether the state of what is trained is kept, even if the run keeps none.
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
    keep_state = keep_state or run.config.get("keep_state", False)
    found = Extension(run.path, run.config, whole, replace(ours, **everything), keep_state)
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
    return Extension(run.path, run.config, grid_of(wanted), recipe_of(wanted), wanted.get("keep_state", False))


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
    _merge_arrays([run.path / "parameters.npz" for run in runs], directory / "parameters.npz", places, order)
    if extension.keep_state:
        _merge_arrays([run.path / STATE for run in runs], directory / STATE, places, order)
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


def _merge_arrays(sources: Sequence[Path], path: Path, places: Sequence[tuple[int, int]], order: Sequence[int]) -> None:
    """Copy the arrays of every trial, byte for byte; a run that kept no state has none."""
    with contextlib.ExitStack() as stack:
        archives = {
            which: stack.enter_context(zipfile.ZipFile(source))
            for which, source in enumerate(sources)
            if source.name != STATE or source.exists()
        }
        whole = stack.enter_context(zipfile.ZipFile(stack.enter_context(written_whole(path)), "w"))
        names: list[dict[int, list[str]]] = [{}, {}]
        for which, archive in archives.items():
            for name in archive.namelist():
                names[which].setdefault(int(name.partition("/")[0]), []).append(name)
        for trial in order:
            which, number = places[trial]
            for name in names[which].get(number, ()):
                symbol = name.partition("/")[2]
                with archives[which].open(name) as member, new_member(whole, f"{trial}/{symbol}") as stream:
                    shutil.copyfileobj(member, stream)


def _merged_outcomes(found: Sequence[Outcomes], places: Sequence[tuple[int, int]]) -> Outcomes:
    hits = {split: np.stack([found[which].hits[split][number] for which, number in places]) for split in SPLITS}
    return replace(found[0], hits=hits)
