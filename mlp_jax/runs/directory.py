"""Run directories: what a sweep leaves behind, written whole or not at all.

config.json       what was asked for: enough to run it again
environment.json  versions, device, where the time went
trials.csv        one row per trial, with a column for each axis in which one differs (``mlp_jax.runs.tables``)
history.csv       one row per trial and epoch, likewise
parameters.npz    TRIAL/A, TRIAL/c1, TRIAL/B, TRIAL/c2 of every trial; TRIAL/A2 and so on of several hidden layers
outcomes.npz      how each trial does on each example of validation and test (``mlp_jax.sweeps.outcomes``):
                  validation, test: bits [trials, ⌈N / 8⌉], 1 for right, or squared errors [trials, N];
                  validation_guess, test_guess: the same for the trivial guess; validation_variance, test_variance
state.npz         what training can go on from, if that is kept (``mlp_jax.runs.kept``)
manifest.json     size and SHA-256 of these; written last
extension/        while trials are added to a run: what they are added to (``mlp_jax.runs.extension``)
timing.csv        seconds an epoch by width, if ``mlp-jax time`` measured them
figures/          drawn from the above
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

from mlp_jax.datasets import Dataset, absolute_path, load_dataset
from mlp_jax.datasets.npz import read_npz
from mlp_jax.errors import DataError, InputError, first_line, shown, whole
from mlp_jax.files import is_partial, written_whole
from mlp_jax.machine.backend import require_jax
from mlp_jax.networks.layers import layers_of
from mlp_jax.networks.models import Model, model_from_weights
from mlp_jax.runs.kept import STATE, kept_arrays
from mlp_jax.runs.tables import (
    CURVES,
    KEYS,
    LAYERS,
    SCORES,
    STOPPED,
    VARIANT,
    Table,
    column_type,
    history_table,
    layers_text,
    trials_table,
    widths_at,
    with_variants,
)
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes
from mlp_jax.sweeps.sweep import Setup, SweepResult
from mlp_jax.tasks import get_task
from mlp_jax.training.axes import AXES, RULE
from mlp_jax.training.recipe import Recipe

OUTCOMES = "outcomes.npz"
FILES = ("config.json", "environment.json", "trials.csv", "history.csv", "parameters.npz", OUTCOMES, STATE)
"""The files of a finished run."""
NOT_ALWAYS = (OUTCOMES, STATE)
"""Those that a run of an earlier version, and one that keeps no state, does not have."""
MANIFEST = "manifest.json"
LOCK = ".lock"
"""Lock file of a run directory, held by the process that writes."""
CHECKPOINTS = "checkpoints"
"""Of a run directory, until it is finished."""
EXTENSION = "extension"
"""Of a run directory, while trials are added to a run."""
WANTED, LACKING = "wanted.json", "lacking.json"
"""Of an extension: the configurations of the whole, and of the sweep that trains what is added."""

_TEXT = {"program", "device"}
_WHOLE = {"trial", "parameters", "diverged", "epoch", STOPPED}
"""Columns, besides axes, that are not floating-point numbers."""

_CONFIG: dict[str, Any] = {
    **dict.fromkeys(("dataset", "dataset_name", "dataset_digest", "task", "score_name", "layout", "dtype"), str),
    **dict.fromkeys(("hidden_units", "activations", "learning_rates", "seeds"), list),
    **dict.fromkeys(("epochs", "batch_size"), int),
    **dict.fromkeys(("beta1", "beta2", "epsilon"), int | float),
    "use_bias": bool,
}
"""Keys of every configuration, with their types."""

MOST_JSON, MOST_CSV = 64 << 20, 1 << 30
"""Most bytes of a CSV file that is read. A history of ten million rows fits."""


@dataclass(frozen=True)
class Run:
    """A run directory, read back.

    Attributes:
        path: the directory.
        config: what was asked for.
        environment: what it ran on and how long it took.
        trials: table with one row per trial.
        history: table with one row per trial and epoch.
        timing: table with one row per measured epoch (``mlp_jax.runs.timing``); None if there is none.
    """

    path: Path
    config: dict[str, Any] = field(repr=False)
    environment: dict[str, Any] = field(repr=False)
    trials: Table = field(repr=False)
    history: Table = field(repr=False)
    timing: Table | None = field(default=None, repr=False)

    def dataset(self, name: str | None = None) -> Dataset:
        """Load the data set that the run was trained on.

        Args:
            name: its current name or path; by default the original name, else the recorded path.

        Raises:
            DataError: it cannot be found, or has changed.
            MissingExtraError: it needs a package that is not installed.
        """
        return dataset_of(self.config, self.path, name)

    @cached_property
    def outcomes(self) -> Outcomes:
        """How every trial does on every example of validation and test; for runs of earlier versions only their sizes.

        Raises:
            DataError: the file is damaged, or is not this run's.
        """
        if not os.path.lexists(self.path / OUTCOMES):
            sizes = self.config.get("examples") if self.config["score_name"] == "accuracy" else None
            return Outcomes(sizes if isinstance(sizes, dict) else {}, {}, {}, {})
        return _read_outcomes(_inside(self.path, OUTCOMES, sys.maxsize), self.config, len(self.trials["trial"]))

    def model(self, trial: int) -> Model:
        """The trained model of a trial, by its number.

        Raises:
            InputError: no such trial.
            DataError: the parameters are missing or damaged.
        """
        trial, trials = whole("trial", trial, -sys.maxsize, sys.maxsize), len(self.trials["trial"])
        if not 0 <= trial < trials:
            raise InputError(f"{self.path} has no trial {trial}: expected 0 to {trials - 1}")
        path = _inside(self.path, "parameters.npz", sys.maxsize)
        widths = widths_at(self.trials, trial)
        cnn = "network" in self.trials and self.trials["network"][trial] == "cnn"
        hidden = 2 if cnn else len(layers_of(widths))
        between = [f"A{place}" for place in range(2, hidden + 1)]
        biases = [f"c{place}" for place in range(1, hidden + 2)]
        stored = read_npz(path, [f"{trial}/{symbol}" for symbol in ("A", *between, "B", *biases)])
        weights = {name.removeprefix(f"{trial}/"): array for name, array in stored.items()}
        require_jax()  # or its refusal would be taken for one of these parameters
        try:
            form, activation = self.config.get("image_form"), str(self.trials["activation"][trial])
            shape = tuple(form["shape"]) if form else None
            model = model_from_weights(weights, activation=activation, task=self.config["task"], shape=shape)
        except (TypeError, ValueError, KeyError) as error:
            raise DataError(f"{path}: not the parameters of this run ({first_line(error)})") from None
        if model.hidden_units != ((widths, 2 * widths) if cnn else widths):
            units = layers_text(model.hidden_units)
            raise DataError(f"{path}: not the parameters of this run (trial {trial} has {units} units)")
        return model


def check_new(path: Path) -> None:
    """Raise InputError unless a run can be written there: the path is free, or an empty directory.

    Leftovers of a process that was killed before its run started (``mlp_jax.runs.running``) are ignored.
    """
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()  # which says what is_dir and its like keep to themselves
        if path.is_symlink():
            raise InputError(f"{path} is a symbolic link: name a directory that is not there yet")
        if path.is_dir():
            if any(each.name != LOCK and not is_partial(each) for each in path.iterdir()):
                raise InputError(f"{path} is there already and is not empty: name another directory, or remove it")
        elif path.exists():
            raise InputError(f"{path} is a file: name a directory")
        existing = next(parent for parent in path.absolute().parents if parent.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            raise InputError(f"{path} cannot be written: {existing} is no directory that you may write to")
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a name too long, or one with a NUL in it
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{path} cannot be written ({reason}): name a directory that can") from None


@contextlib.contextmanager
def new_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary directory to fill; it is renamed to ``path`` if the block succeeds, and removed if not.

    Args:
        path: a path that is free, or an empty directory.
        replace: whether an existing directory and its content are replaced if the block succeeds.

    Raises:
        InputError: something is there already, or it cannot be written.
    """
    replace = replace and path.is_dir() and not path.is_symlink()
    if not replace:
        check_new(path)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.absolute().parent))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp makes it private
        if replace:
            shutil.rmtree(path)
        partial.rename(path)
    except OSError as error:
        raise InputError(f"{path} could not be written ({error.strerror or error}): nothing was left there") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sweep_config(setup: Setup, dataset: str, dataset_path: str | None = None) -> dict[str, Any]:
    """A sweep's configuration, with the names of the command line's options.

    Args:
        setup: of the sweep (or its result).
        dataset: the name or path that the data set was loaded by.
        dataset_path: its path, if it is a file or directory; by default where that name leads from here.
    """
    return {
        "dataset": dataset,
        "dataset_path": absolute_path(dataset) if dataset_path is None else dataset_path,
        "dataset_name": setup.dataset_name,
        "dataset_digest": setup.dataset_digest,
        "transpose": setup.transpose,
        "class_names": list(setup.class_names),
        "feature_dtype": setup.feature_dtype,
        "image_form": asdict(setup.image_form) if setup.image_form else None,
        "examples": dict(zip(("train", "validation", "test"), setup.examples, strict=True)),
        "task": setup.task,
        "score_name": setup.score_name,
        **setup.grid.axes,
        **asdict(setup.recipe),
        "layout": setup.layout,
        "most_rows": setup.most_rows,
        "use_bias": setup.use_bias,
        "dtype": setup.dtype,
        **({"search": asdict(setup.search)} if setup.search is not None else {}),
        **({"keep_state": True} if setup.keep_state else {}),
    }


def grid_of(config: Mapping[str, Any]) -> Grid:
    """The grid that a configuration holds; raises InputError if that makes no sense."""
    return Grid.from_axes(config)


def rule_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values that all trials share on the axes with a default, by name; defaults are left out.

    Raises:
        InputError: trials differ in it.
    """
    for name in RULE:
        if len(values := config.get(AXES[name].plural, ())) > 1:
            raise InputError(f"{AXES[name].plural} has {len(values)} values: expected one for all trials")
    return {name: config[AXES[name].plural][0] for name in RULE if AXES[name].plural in config}


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """The recipe that a configuration holds."""
    return Recipe(**{each.name: config[each.name] for each in fields(Recipe) if each.name in config})


def versions() -> dict[str, str]:
    """Of Python and of the packages that results may depend on."""
    packages = ("mlp-jax", "jax", "jaxlib", "flax", "optax", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def environment(result: SweepResult) -> dict[str, Any]:
    """What a sweep ran on, when (UTC), and where its time went, in seconds."""
    timing = result.timing
    devices = jax.devices()
    return {
        "versions": versions(),
        "started": result.started.isoformat(timespec="seconds"),
        "ended": result.ended.isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "cpu_count": os.cpu_count(),
        "seconds": {
            "prepare": timing.prepare,
            "compile": timing.compile,
            "epochs": list(timing.epochs),
            "warm_epoch": timing.warm_epoch,
            "evaluate": timing.evaluate,
            "saving": timing.saving,
        },
        "plan": "; ".join(dict.fromkeys(map(str, result.plans))),
        "examples_times_trials_per_second": result.examples_per_second,
    }


def write_run(result: SweepResult, directory: Path, dataset: str, dataset_path: str | None = None) -> None:
    """Write everything but the figures into an existing directory (see ``new_directory``).

    Args:
        result: of the sweep.
        directory: an empty directory.
        dataset: the name or path that the data set was loaded by.
        dataset_path: as for ``sweep_config``.
    """
    write_json(directory / "config.json", sweep_config(result, dataset, dataset_path))
    write_json(directory / "environment.json", environment(result))
    write_csv(directory / "trials.csv", trials_table(result))
    write_csv(directory / "history.csv", history_table(result))
    _write_parameters(directory / "parameters.npz", result)
    write_outcomes(directory / OUTCOMES, result.outcomes)
    if result.keep_state:
        _write_npz(directory / STATE, kept_arrays(result))
    write_manifest(directory)


def write_manifest(directory: Path) -> None:
    """Record size and SHA-256 of each file of a run, which marks it as finished."""
    files = {name: _describe(directory / name) for name in FILES if name != STATE or (directory / STATE).exists()}
    write_json(directory / MANIFEST, {"files": files})


def is_finished(path: Path) -> bool:
    """Whether a run directory holds all its results."""
    return (path / MANIFEST).is_file()


def is_extending(path: Path) -> bool:
    """Whether trials are being added there to a run: that was begun, and has not ended.

    In place, the run stays as it was until then.
    """
    if not (path / EXTENSION / LACKING).is_file():
        return False
    return not is_finished(path) or (path / MANIFEST).read_bytes() == (path / EXTENSION / MANIFEST).read_bytes()


def read_wanted(path: Path) -> dict[str, Any]:
    """What was asked for, in a directory where perhaps a run is being extended; raises DataError if it is damaged."""
    return _read_extension(path, WANTED) if is_extending(path) else read_config(path)


def read_training(path: Path) -> dict[str, Any]:
    """What is in training there: what was asked for, or of an extension what is added; raises DataError likewise."""
    return _read_extension(path, LACKING) if is_extending(path) else read_config(path)


def _read_extension(path: Path, name: str) -> dict[str, Any]:
    place = f"{EXTENSION}/{name}"
    return _checked_config(read_json(_inside(path, place, MOST_JSON)), path / place)


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write_parameters(path: Path, result: SweepResult) -> None:
    _write_npz(
        path,
        ((f"{trial}/{symbol}", array) for trial, weights in result.all_weights() for symbol, array in weights.items()),
    )


def write_outcomes(path: Path, outcomes: Outcomes) -> None:
    """Write what each trial makes of each example, whole or not at all."""
    of_split = (
        (f"{split}{what}", values[split])
        for split in SPLITS
        for what, values in (("", outcomes.hits), ("_guess", outcomes.guess), ("_variance", outcomes.variance))
    )
    _write_npz(path, ((name, np.asarray(values)) for name, values in of_split))


def _write_npz(path: Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write arrays as ``np.savez`` does, but without having all of them in memory."""
    with written_whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays:
            with new_member(archive, f"{name}.npy") as stream:
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)


def new_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A member of an archive to write, with a fixed date: the same run, the same bytes."""
    return archive.open(zipfile.ZipInfo(name), "w", force_zip64=True)


def _read_outcomes(path: Path, config: Mapping[str, Any], trials: int) -> Outcomes:
    """Read what ``_write_outcomes`` wrote; raises DataError if it is damaged, or does not fit the configuration."""
    names = [f"{split}{what}" for split in SPLITS for what in ("", "_guess", "_variance")]
    arrays, sizes = read_npz(path, names), config.get("examples") or {}
    graded = get_task(config["task"]).graded
    for split in SPLITS:
        size = sizes.get(split) if isinstance(sizes, dict) else None
        if not isinstance(size, int) or size < 1:
            raise DataError(f"{path}: config.json does not say how many {split} examples there are")
        columns, kind = (size, np.float32) if graded else (-(-size // 8), np.uint8)
        for name, shape, dtype in (
            (split, (trials, columns), kind),
            (f"{split}_guess", (columns,), kind),
            (f"{split}_variance", (), np.float64),
        ):
            if name not in arrays or arrays[name].shape != shape or arrays[name].dtype != dtype:
                found = f"is {arrays[name].dtype} {arrays[name].shape}" if name in arrays else "is not there"
                raise DataError(f"{path}: {name} {found}: expected {np.dtype(dtype)} {shape}")
    return Outcomes(
        {split: sizes[split] for split in SPLITS},
        {split: arrays[split] for split in SPLITS},
        {split: arrays[f"{split}_guess"] for split in SPLITS},
        {split: float(arrays[f"{split}_variance"]) for split in SPLITS},
    )


def read_run(path: str | Path) -> Run:
    """Read a run directory.

    Raises:
        DataError: it is not a run directory, or one of its files is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path} is no directory: expected one that mlp-jax sweep wrote")
    if not is_finished(path) and (path / CHECKPOINTS).is_dir():
        raise DataError(f"{path} is not finished: {resume_command(path)}")
    return Run(
        path,
        read_config(path),
        read_json(_inside(path, "environment.json", MOST_JSON)),
        read_trials(path),
        _read_csv(_inside(path, "history.csv", MOST_CSV), ("trial", *KEYS, "epoch", "diverged", *CURVES)),
        _read_csv(_inside(path, "timing.csv", MOST_CSV), ("program", "hidden_units", "seconds", "device"))
        if os.path.lexists(path / "timing.csv")
        else None,
    )


def resume_command(path: Path) -> str:
    """What to type to go on with a run that was begun there."""
    try:
        command = "search" if "search" in read_config(path) else "sweep"
    except DataError:
        command = "sweep"
    return f"mlp-jax {command} --resume {shlex.quote(str(path))}"


def read_trials(path: Path) -> Table:
    """The table of trials of a run directory; raises DataError if it is damaged."""
    return _read_csv(_inside(path, "trials.csv", MOST_CSV), ("trial", *KEYS, "parameters", "diverged", *SCORES))


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run, finished or not; raises DataError if it is damaged."""
    return _checked_config(read_json(_inside(path, "config.json", MOST_JSON)), path / "config.json")


def dataset_of(config: Mapping[str, Any], path: Path, name: str | None = None) -> Dataset:
    """Load the data set of a configuration, as ``Run.dataset`` does; errors name the run by its path."""
    names = [str(config["dataset"])] if name is None else [name]
    if name is None and isinstance(there := config.get("dataset_path"), str) and there.isprintable():
        names.insert(0 if there.startswith("hf:") else 1, there)  # a path from elsewhere may be a name on the hub
    refused, altered = None, None
    for each in names:
        try:
            dataset = load_dataset(each, transpose=config.get("transpose", False))
        except DataError as error:
            refused = refused or error
            continue
        if dataset.digest == config["dataset_digest"]:
            return dataset.with_names(config.get("class_names", dataset.class_names))
        altered = altered or DataError(f"{each} is not what {path} was trained on: its SHA-256 differs")
    raise altered or refused or AssertionError


def write_timing(path: Path, timing: Table) -> None:
    """Add what was measured to a run directory; an older table is replaced."""
    write_csv(path / "timing.csv", timing)


def _inside(directory: Path, name: str, most: int) -> Path:
    """The path of a file of a run directory, checked to be a regular file inside it and not too long to read."""
    path = directory / name
    try:
        real, size = path.resolve(strict=True), path.stat().st_size
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{path}: cannot be read ({reason}): is this a run directory?") from None
    if not real.is_relative_to(directory.resolve()):
        raise DataError(f"{path}: leads out of the run directory, to {real}: expected a file in it")
    if not real.is_file():
        raise DataError(f"{path}: is no file: is this a run directory?")
    if size > most:
        raise DataError(f"{path}: has {size} bytes: expected at most {most}")
    return path


def _checked_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    for key, kind in _CONFIG.items():
        if key not in config:
            raise DataError(f"{path} holds no {key}: written by another version, or altered")
        value = config[key]
        typed = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if not typed or (isinstance(value, str) and not value.isprintable()):
            expected = getattr(kind, "__name__", "number")
            raise DataError(f"{path}: {key} is {shown(value)}: expected a {expected}")
    names = config.get("class_names", [])  # which older runs lack
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: class_names is {shown(names)}: expected a list of names")
    looks = config.get("looks", [1])
    if not isinstance(looks, list) or not looks or not all(type(each) is int and each > 0 for each in looks):
        raise DataError(f"{path}: looks is {shown(looks)}: expected numbers of seeds")
    if not isinstance(searched := config.get("search"), dict | None):
        raise DataError(f"{path}: search is {shown(searched)}: expected its settings")
    if not isinstance(kept := config.get("keep_state", False), bool):
        raise DataError(f"{path}: keep_state is {shown(kept)}: expected true or false")
    if not isinstance(transpose := config.get("transpose"), bool | None):
        raise DataError(f"{path}: transpose is {shown(transpose)}: expected true, false or null")
    return config


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with written_whole(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; raises DataError if it does not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): is this a run directory?") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({first_line(error)})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object")
    return content


def write_csv(path: Path, table: Mapping[str, Iterable[Any]]) -> None:
    """Write columns, whole or not at all; the variant, which follows from others, is left out."""
    with written_whole(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        columns = {name: column for name, column in table.items() if name != VARIANT}
        writer.writerow(columns)
        writer.writerows(zip(*(map(str, column) for column in columns.values()), strict=True))
        text.detach()  # flushed, and the file left open


def _read_csv(path: Path, required: tuple[str, ...]) -> Table:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            names = next(reader, [])
            rows = list(reader)
        missing = [name for name in required if name not in names]
        if missing or not rows:
            raise DataError(f"{path}: has no {', '.join(missing) if missing else 'rows'}: not a table of a run")
        columns = zip(names, zip(*rows, strict=True), strict=True)
        table: Table = {name: np.array(values, dtype=_column_type(name)) for name, values in columns}
        _check_table(table)
        return with_variants(table) if "activation" in table else table
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): is this a run directory?") from None
    except DataError:
        raise
    except (ValueError, OverflowError, csv.Error) as error:
        raise DataError(f"{path}: damaged ({first_line(error)})") from None


def _check_table(table: Table) -> None:
    """Raise ValueError unless the table holds values that a run can have."""
    for name in (*_WHOLE, "hidden_units"):
        if name in table and table[name].min() < 0:
            raise ValueError(f"{name} is {table[name].min()}: expected 0 or more")
    if "epoch" not in table and "trial" in table and (table["trial"] != np.arange(len(table["trial"]))).any():
        raise ValueError("the trials are not numbered 0, 1, 2, ...")
    for name in AXES.keys() & table.keys():
        for value in np.unique(table[name]).tolist():
            AXES[name].check(value)
    if LAYERS in table:
        pairs = zip(table[LAYERS].tolist(), table["hidden_units"].tolist(), strict=True)
        for row in {pair: row for row, pair in enumerate(pairs)}.values():
            widths_at(table, row)


def _column_type(name: str) -> type:
    if name in AXES or name == LAYERS:
        return column_type(name)
    return str if name in _TEXT else int if name in _WHOLE else float
