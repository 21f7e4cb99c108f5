"""What the commands that use a run share: which trial, what it was trained on, where to write."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from mlp_jax.answers.analysis import score_text
from mlp_jax.answers.showing import trials_to_show
from mlp_jax.datasets import Dataset
from mlp_jax.datasets.dataset import ImageForm
from mlp_jax.datasets.naming import FORMS
from mlp_jax.errors import DataError, InputError
from mlp_jax.networks.models import Model
from mlp_jax.runs.directory import Run, read_run
from mlp_jax.runs.tables import best_trial, criterion, layers_text
from mlp_jax.sweeps.sweep import check_dtype

RunPath = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
"""The run directory that a command uses."""

DatasetName = Annotated[str, tyro.conf.arg(help=f"{FORMS}.")]
"""The option --dataset: a name or path for ``load_dataset``."""

Transpose = Annotated[bool | None, tyro.conf.DisallowNone]
"""The option --transpose or --no-transpose, as ``load_dataset`` takes it; neither for None."""


@dataclass(frozen=True)
class Chosen:
    """A trial of a run.

    Attributes:
        run: the run that it belongs to.
        trial: its number.
        model: the trained model.
        by_validation: whether it was chosen as the best on validation, since none was asked for.
    """

    run: Run
    trial: int
    model: Model
    by_validation: bool

    @property
    def row(self) -> dict[str, Any]:
        """Its row of the run's table of trials."""
        place = self.run.trials["trial"].tolist().index(self.trial)
        return {name: column[place].item() for name, column in self.run.trials.items()}

    def __str__(self) -> str:
        row = self.row
        text = (
            f"Trial {self.trial} of {self.run.path}: M = {layers_text(self.model.hidden_units)}, {row['variant']}, "
            f"learning rate {row['learning_rate']:g}, seed {row['seed']}"
        )
        if not self.by_validation:
            return text
        by = criterion(self.run.trials)
        name = setting(self.run, "score_name") if by.measure == "score" else "loss"
        score = ("loss " if name == "loss" else "") + score_text(row[by.column], name)
        return f"{text}; of {len(self.run.trials['trial'])} the best on validation ({score})"


def choose(path: Path, trial: int | None) -> Chosen:
    """Read a run and choose a trial of it, by default the best on validation.

    Raises:
        InputError: there is no such run or trial.
    """
    run = read_run(path)
    check_dtype(setting(run, "dtype"))
    number = best_trial(run.trials) if trial is None else trial
    return Chosen(run, number, run.model(number), trial is None)


def setting(run: Run, name: str) -> Any:
    """A value of the run's configuration.

    Raises:
        DataError: it has no such value.
    """
    try:
        return run.config[name]
    except KeyError:
        raise DataError(f"{run.path / 'config.json'} holds no {name}: written by another version, or altered") from None


def image_form(run: Run) -> ImageForm:
    """The form of the images that a run was trained on.

    Raises:
        InputError: it was trained on something else.
    """
    form = setting(run, "image_form")
    if form is None:
        raise InputError(f"{run.path} was trained on {setting(run, 'dataset_name')}, whose examples are no images")
    try:
        return ImageForm(**form | {"shape": tuple(form["shape"])})
    except (TypeError, KeyError):
        raise DataError(f"{run.path / 'config.json'}: its image_form is damaged: {form}") from None


def own_directory(run: Run, name: str) -> Path:
    """A directory of the run to write to; raises InputError if it leads out of the run."""
    directory = run.path / name
    if directory.is_symlink():
        raise InputError(f"{directory} leads out of the run directory: remove that link, or name one with --out")
    return directory


def check_file(path: Path, *suffixes: str) -> None:
    """Raise InputError unless a file with one of those suffixes can be written there."""
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: expected a name that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise InputError(f"{path} is a directory: name a file")
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise InputError(f"{path} cannot be written: {path.parent} is no directory that you may write to")


def own_dataset(run: Run, name: str | None) -> Dataset:
    """The data set that a run was trained on, from the option --dataset or from where it was.

    Raises:
        InputError: it cannot be loaded, or is another data set.
    """
    try:
        return run.dataset(name)
    except DataError as error:
        if name is not None:
            raise
        raise DataError(f"{error}; --dataset names another place") from None


def figure_arguments(run: Run, warn: Callable[[str], None], dataset: str | None = None) -> dict[str, Any]:
    """The arguments of ``plots.run_figures`` for a run that was read back.

    Args:
        run: the run.
        warn: called with a line that says why figures of the model are left out, if they have to be.
        dataset: the option --dataset.

    Raises:
        InputError: the data set that is named cannot be loaded, or is not the run's.
    """
    named = None if dataset is None else run.dataset(dataset)
    names = ("trials", "history", "config", "timing", "outcomes")
    arguments: dict[str, Any] = {name: getattr(run, name) for name in names}
    try:
        shown = trials_to_show(run.trials, run.history, run.config, run.outcomes)
        return arguments | {
            "models": {trial: run.model(trial) for trial in shown},
            "dataset": own_dataset(run, None) if named is None else named,
        }
    except InputError as error:
        warn(f"without figures of a model: {error}")
        return arguments
