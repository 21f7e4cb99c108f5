"""Adding trials to a finished run, from Python."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mlp_jax.datasets import Dataset
from mlp_jax.errors import DataError, InputError, instance
from mlp_jax.runs.directory import CHECKPOINTS, Run, is_extending, read_run, read_wanted, sweep_config
from mlp_jax.runs.extension import Extension, extension_of, pending, sound_run, write_extended
from mlp_jax.runs.running import new_run, results, resume_from, resumed_run, run_extended_in_place
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.sweep import make_setup, sweep
from mlp_jax.training.recipe import Recipe


def extend(
    run: str | os.PathLike[str],
    grid: Grid,
    dataset: Dataset | None,
    out: str | os.PathLike[str],
    *,
    recipe: Recipe | None = None,
    keep_state: bool = False,
    **how: Any,
) -> Run:
    """Train the trials of a grid that a finished run lacks, and write a run of all, as if it had been one sweep.

    What the run has is verified first and then taken over byte for byte. Its figures are not drawn
    (``mlp_jax.plots.run_figures``). A call that was interrupted is repeated as it was to go on from the last
    checkpoint. Trials that are lacking for their epochs alone go on from the state of the run's, if it keeps that
    (``keep_state``) and their learning rate does not depend on how long training is.

    Args:
        run: directory of the run.
        grid: the trials that are wanted, besides those that it has.
        dataset: what it was trained on; None to load it by its name.
        out: directory to write, a new or empty one; the run's own to extend it in place.
        recipe: of the trials that are wanted: the run's (None), or one with other epochs or another batch size.
        keep_state: whether the run is to hold the state of what is trained, even if it holds none yet.
        **how: ``memory``, ``devices``, ``checkpoint_every``, ``stop``, ``on_epoch`` and the like, as ``sweep`` takes
            them.

    Returns:
        The run, read back.

    Raises:
        InputError: an argument that makes no sense, or the run was trained otherwise, on other data, or by another
            version; or has all of these trials.
        SweepStopped: ``stop`` said so.
    """
    for argument, value, kind, expected in (
        ("run", run, str | os.PathLike, "the path of a run directory"),
        ("grid", grid, Grid, "an mlp_jax.Grid"),
        ("dataset", dataset, Dataset | None, "an mlp_jax.Dataset, or None"),
        ("out", out, str | os.PathLike, "the path of a directory"),
        ("recipe", recipe, Recipe | None, "an mlp_jax.Recipe, or None"),
        ("keep_state", keep_state, bool, "True or False"),
    ):
        instance(argument, value, kind, expected)
    path, place = Path(run), Path(out)
    resumed = is_extending(place)
    extension = pending(place) if resumed else extension_of(sound_run(path), grid, recipe, keep_state=keep_state)
    if resumed and not set(grid.trials) <= {*extension.grid.trials}:
        raise InputError(f"{place} is being extended by other trials: finish that with mlp-jax sweep --resume {place}")
    base = read_run(extension.base)
    dataset = base.dataset() if dataset is None else dataset
    check_data(extension, path, dataset)
    wanted, lacking = configs(extension, dataset, base.config["dataset"], base.config.get("dataset_path"))
    with resumed_run(place) if resumed else begun(extension, place, wanted, lacking):
        saved: dict[str, Any] = {**resume_from(place)} if resumed else {"checkpoints": place / CHECKPOINTS}
        result = sweep(extension.lacking, dataset, **extension.how, beginnings=extension.beginnings, **saved, **how)
        with results(place) as directory:
            write_extended(result, directory, extension, read_wanted(place))
    return read_run(place)


def check_data(extension: Extension, path: Path, dataset: Dataset) -> None:
    """Raise DataError unless these are the data that the run was trained on."""
    if dataset.digest != extension.config["dataset_digest"]:
        raise DataError(f"{path} cannot be extended: {dataset.name} is not what it was trained on: its SHA-256 differs")


def configs(
    extension: Extension, dataset: Dataset, name: str, place: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configurations of the whole, and of the sweep of what is lacking; data set and its place as ``sweep_config``."""
    whole, lacking = (
        sweep_config(make_setup(grid, dataset, **extension.how), name, place)
        for grid in (extension.grid, extension.lacking)
    )
    return whole | {key: extension.config[key] for key in ("looks",) if key in extension.config}, lacking


def begun(
    extension: Extension, out: Path, wanted: Mapping[str, Any], lacking: Mapping[str, Any]
) -> AbstractContextManager[None]:
    """Begin an extension in a directory, new or the run's own, and hold it."""
    if out.is_dir() and extension.base.samefile(out):
        return run_extended_in_place(out, wanted, lacking)
    return new_run(out, wanted, extends=extension.base, lacking=lacking)
