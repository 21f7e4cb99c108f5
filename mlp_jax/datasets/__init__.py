"""Data sets: files, TFDS and arrays in; NumPy arrays out."""

import os
import warnings
from pathlib import Path
from typing import Any

from mlp_jax.datasets import carving
from mlp_jax.datasets.dataset import Dataset, Split, first_line, naming_source
from mlp_jax.datasets.idx import load_idx_directory, read_idx
from mlp_jax.datasets.npz import read_npz
from mlp_jax.errors import DataError, SweepWarning, instance

__all__ = ["Dataset", "Split", "absolute_path", "load_dataset", "read_idx"]

_MNIST = Path(__file__).parent / "mnist"
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def load_dataset(name: str | os.PathLike[str], *, data_dir: str | Path | None = None) -> Dataset:
    """Load a data set by name or path.

    Args:
        name: ``mnist`` (in the package: train 55,000, validation 5,000, test 10,000); ``tfds:NAME`` for an
            image-classification data set of TensorFlow Datasets (see ``mlp_jax.datasets.tfds``); ``sklearn:NAME`` for
            one of scikit-learn's (see ``mlp_jax.datasets.scikit_learn``); a directory of IDX files named as MNIST's
            are; or an ``.npz`` file with x_train, y_train, x_test, y_test and, if they are there, x_validation,
            y_validation, and as text task and class_names.
        data_dir: where TensorFlow Datasets keeps its prepared data; None for its own default.

    Returns:
        The data set, in memory.

    Raises:
        DataError: no such data set, or its data are damaged.
        MissingExtraError: it needs a package that is not installed.
    """
    instance("the data set", name, str | os.PathLike, "a name or a path")
    path_given, name = not isinstance(name, str), os.fspath(name)
    if name == "mnist" and not (path_given and Path(name).exists()):
        if Path(name).exists():
            warnings.warn(
                "mnist is read from the package, and not from what is here by that name: ./mnist names that",
                SweepWarning,
                stacklevel=2,
            )
        return load_idx_directory(_MNIST, name="MNIST", sha256=_MNIST_SHA256)
    if name.startswith("tfds:"):
        from mlp_jax.datasets.tfds import load_tfds

        return load_tfds(name.removeprefix("tfds:"), data_dir)
    if name.startswith("sklearn:"):
        from mlp_jax.datasets.scikit_learn import load_scikit_learn

        return load_scikit_learn(name.removeprefix("sklearn:"))
    try:
        path = Path(name).expanduser()
        is_directory, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # a name too long, a folder that may not be entered, no such ~user
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{name!r}: cannot be looked up ({reason}): expected the name or path of a data set") from None
    if is_directory and name:  # an empty name would be the current directory
        return load_idx_directory(path, name=path.resolve().name)
    if not is_file and not path.exists() and (path.suffix or path.name != name):
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise DataError(f"{name!r}: no such file or directory{where}: expected the path of a data set")
    if not is_file:
        raise DataError(
            f"unknown data set {name!r}: expected mnist, tfds:NAME, sklearn:NAME, or the path of an IDX directory or "
            ".npz file"
        )
    if path.suffix != ".npz":
        raise DataError(f"{path}: is a file: expected an .npz file or a directory of IDX files")
    return _load_npz(path)


def absolute_path(name: str) -> str | None:
    """Where a data set is that ``load_dataset`` takes by a path; None if it has no path, or is not there."""
    if not name or name == "mnist" or name.startswith(("tfds:", "sklearn:")):
        return None
    try:
        path = Path(name).expanduser().absolute()
        return str(path) if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # as in load_dataset, and a name with a NUL in it
        return None


def _load_npz(path: Path) -> Dataset:
    required = ("x_train", "y_train", "x_test", "y_test")
    optional = ("x_validation", "y_validation")
    texts = ("task", "class_names")
    arrays: dict[str, Any] = dict(read_npz(path, required + optional, texts))
    missing = [key for key in required if key not in arrays]
    if missing:
        raise DataError(f"{path}: holds no {', '.join(missing)}: expected {', '.join(required)}")
    for text in texts:
        if text in arrays:
            arrays[text] = arrays[text].tolist()
    with naming_source(path):
        return Dataset.from_arrays(
            **arrays, name=path.stem, hold_out=carving.hold_out(arrays["x_train"], arrays["y_train"])
        )
