"""Run directories: what a sweep leaves behind, written whole or not at all.

config.json       what was asked for: enough to run it again
environment.json  versions, device, where the time went
trials.csv        a row a trial
history.csv       a row a trial and epoch
parameters.npz    TRIAL/A, TRIAL/c1, TRIAL/B, TRIAL/c2 of every trial
timing.csv        seconds an epoch by width, if ``mlp-jax time`` measured them
figures/          drawn from the above
"""

import contextlib
import csv
import json
import os
import platform
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlp_jax.datasets import Dataset, load_dataset
from mlp_jax.errors import DataError, InputError
from mlp_jax.models import MLP
from mlp_jax.results import KEYS, Table, history_table, trials_table
from mlp_jax.sweep import SweepResult

_TEXT = {"activation", "program", "device"}
_NEEDED = (
    *("dataset", "dataset_name", "dataset_digest", "task", "score_name"),
    *("hidden_units", "activations", "learning_rates", "seeds"),
    *("epochs", "batch_size", "beta1", "beta2", "epsilon", "layout", "use_bias", "dtype"),
)
"""What a configuration has to hold."""
_WHOLE = {"trial", "hidden_units", "seed", "parameters", "diverged", "epoch"}


@dataclass(frozen=True)
class Run:
    """A run directory, read back.

    Attributes:
        path: where it is.
        config: what was asked for.
        environment: what it ran on and how long it took.
        trials: table, a row a trial.
        history: table, a row a trial and epoch.
        timing: table, a row a measured epoch (``mlp_jax.timing``); None if nobody measured.
    """

    path: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    trials: Table
    history: Table
    timing: Table | None = None

    def dataset(self) -> Dataset:
        """The data set that it was trained on, loaded again.

        Raises:
            DataError: it cannot be found, or is another one by now.
            MissingExtraError: it needs a package that is not installed.
        """
        name = str(self.config["dataset"])
        dataset = load_dataset(name)
        if dataset.digest != self.config["dataset_digest"]:
            raise DataError(f"{name} is not what {self.path} was trained on: its SHA-256 differs")
        return dataset

    def model(self, trial: int) -> MLP:
        """The trained model of a trial, by its number.

        Raises:
            InputError: no such trial.
            DataError: the parameters are missing or damaged.
        """
        if trial not in self.trials["trial"]:
            raise InputError(f"{self.path} has no trial {trial}: expected 0 to {len(self.trials['trial']) - 1}")
        path = self.path / "parameters.npz"
        try:
            # Opened here, since NumPy leaves a file open that turns out to be damaged.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                prefix = f"{trial}/"
                weights = {k.removeprefix(prefix): stored[k] for k in stored.files if k.startswith(prefix)}
            activation = str(self.trials["activation"][list(self.trials["trial"]).index(trial)])
            return MLP.from_weights(weights, activation=activation, task=self.config["task"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not the parameters of this run ({error})") from None


def check_new(path: Path) -> None:
    """Raise InputError unless a run can be written there: nothing is, or an empty directory."""
    if path.is_dir():
        if any(path.iterdir()):
            raise InputError(f"{path} is there already and is not empty: name another directory, or remove it")
    elif path.exists():
        raise InputError(f"{path} is a file: name a directory")
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise InputError(f"{path} cannot be written: {existing} is no directory that you may write to")


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A directory to fill, which gets its name when the block ends well and is removed when it does not.

    Raises:
        InputError: something is there already, or it cannot be written.
    """
    check_new(path)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.absolute().parent))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp makes it private
        partial.rename(path)
    except OSError as error:
        raise InputError(f"{path} could not be written ({error.strerror or error}): nothing was left there") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sweep_config(result: SweepResult, dataset: str) -> dict[str, Any]:
    """What was asked for, in the names of the command line's options.

    Args:
        result: of the sweep.
        dataset: the name or path that the data set was loaded by.
    """
    return {
        "dataset": dataset,
        "dataset_name": result.dataset_name,
        "dataset_digest": result.dataset_digest,
        "class_names": list(result.class_names),
        "feature_dtype": result.feature_dtype,
        "image_form": asdict(result.image_form) if result.image_form else None,
        "examples": dict(zip(("train", "validation", "test"), result.examples, strict=True)),
        "task": result.task,
        "score_name": result.score_name,
        **{
            name: list(getattr(result.grid, name))
            for name in ("hidden_units", "activations", "learning_rates", "seeds")
        },
        **asdict(result.recipe),
        "layout": result.layout,
        "use_bias": result.use_bias,
        "dtype": result.dtype,
    }


def environment(result: SweepResult) -> dict[str, Any]:
    """What a sweep ran on and where its time went, in seconds."""
    timing = result.timing
    devices = jax.devices()
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("mlp-jax", "jax", "jaxlib", "flax", "optax", "numpy")},
        },
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
        },
        "examples_times_trials_per_second": result.examples[0] * len(result.trials) / timing.warm_epoch,
    }


def write_run(result: SweepResult, directory: Path, dataset: str) -> None:
    """Write everything but the figures into a directory that is there (see ``new_directory``).

    Args:
        result: of the sweep.
        directory: an empty one.
        dataset: the name or path that the data set was loaded by.
    """
    _write_json(directory / "config.json", sweep_config(result, dataset))
    _write_json(directory / "environment.json", environment(result))
    _write_csv(directory / "trials.csv", trials_table(result))
    _write_csv(directory / "history.csv", history_table(result))
    weights = ((i, result.weights(i)) for i in range(len(result.trials)))
    np.savez(
        directory / "parameters.npz",
        **{f"{i}/{symbol}": array for i, arrays in weights for symbol, array in arrays.items()},  # type: ignore[arg-type]
    )


def read_run(path: str | Path) -> Run:
    """Read a run directory.

    Raises:
        DataError: it is not one, or a file of it is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path} is no directory: expected one that mlp-jax sweep wrote")
    timing = path / "timing.csv"
    config = _read_json(path / "config.json")
    if missing := [name for name in _NEEDED if name not in config]:
        raise DataError(f"{path / 'config.json'} holds no {missing[0]}: written by another version, or altered")
    return Run(
        path,
        config,
        _read_json(path / "environment.json"),
        _read_csv(path / "trials.csv", ("trial", *KEYS)),
        _read_csv(path / "history.csv", ("trial", *KEYS, "epoch")),
        _read_csv(timing, ("program", "hidden_units", "seconds", "device")) if timing.exists() else None,
    )


def write_timing(path: Path, timing: Table) -> None:
    """Add what was measured to a run directory; an older table is replaced."""
    partial = path / f".timing.{os.getpid()}.partial"
    try:
        _write_csv(partial, timing)
        partial.replace(path / "timing.csv")
    finally:
        partial.unlink(missing_ok=True)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): is this a run directory?") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object")
    return content


def _write_csv(path: Path, table: Table) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*(map(str, column) for column in table.values()), strict=True))


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
        return {name: np.array(values, dtype=_column_type(name)) for name, values in columns}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): is this a run directory?") from None
    except DataError:
        raise
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: damaged ({error})") from None


def _column_type(name: str) -> type:
    return str if name in _TEXT else int if name in _WHOLE else float
