"""Data sets: from files, frames, TFDS, Hugging Face or arrays to NumPy arrays."""

import contextlib
import os
import warnings
from pathlib import Path

from mlp_jax.datasets import emnist
from mlp_jax.datasets.csv_files import find_csv, is_csv_name, load_csv
from mlp_jax.datasets.dataset import Dataset, Split, naming_source
from mlp_jax.datasets.idx import find_idx, is_idx_name, load_idx, read_idx
from mlp_jax.datasets.naming import FORMS, check_known, split_settings
from mlp_jax.datasets.npz import load_npz
from mlp_jax.errors import DataError, SweepWarning, first_line, instance

__all__ = ["Dataset", "Split", "absolute_path", "load_dataset", "read_idx"]

_MNIST = Path(__file__).parent / "mnist"
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def load_dataset(
    name: str | os.PathLike[str], *, data_dir: str | Path | None = None, transpose: bool | None = None
) -> Dataset:
    """Load a data set by name or path.

    Args:
        name: ``mnist`` (in the package: train 55,000, validation 5,000, test 10,000); ``tfds:NAME`` for an
            image-classification data set of TensorFlow Datasets (see ``mlp_jax.datasets.tfds``); ``sklearn:NAME`` for
            one of scikit-learn's (see ``mlp_jax.datasets.scikit_learn``); ``hf:NAME`` for a data set of Hugging Face,
            or ``hf:PATH`` for a copy on disk (see ``mlp_jax.datasets.huggingface``); a CSV file, or a directory of
            train.csv and perhaps test.csv and validation.csv (see ``mlp_jax.datasets.csv_files``); a directory of
            images with one folder per class (see ``mlp_jax.datasets.folders``); a directory of IDX files named as
            MNIST's are, or, where it holds several data sets, a file of one of them; or an ``.npz`` file with x_train,
            y_train, x_test, y_test and optionally x_validation, y_validation, and as text task and class_names
            (MedMNIST's names, train_images and so on, work too). Settings of CSV files and of Hugging Face data follow
            the name: ``iris.csv:label=species:standardize=yes``.
        data_dir: where TensorFlow Datasets keeps prepared data; None for its own default.
        transpose: whether images are stored transposed and have to be turned upright; None turns only EMNIST's own
            files and ``tfds:emnist``, with a warning that says so.

    Returns:
        The data set, in memory.

    Raises:
        DataError: there is no such data set, its data are damaged, or it is to be transposed but holds no images.
        MissingExtraError: it needs a package that is not installed.
    """
    instance("the data set", name, str | os.PathLike, "a name or a path")
    instance("transpose", transpose, bool | None, "True, False or None")
    path_given, name = not isinstance(name, str), os.fspath(name)
    if name == "mnist" and Path(name).exists():
        if path_given:
            name = os.path.join(os.curdir, name)  # noqa: PTH118 (Path would leave the dot out)
        else:
            warnings.warn(
                "mnist is read from the package, and not from what is here by that name: ./mnist names that",
                SweepWarning,
                stacklevel=2,
            )
    dataset, known = _load(name, data_dir)
    return dataset.oriented(transpose, known=known)


def _load(name: str, data_dir: str | Path | None) -> tuple[Dataset, str]:
    """A data set as it is stored, and how it is known to be stored transposed, if it is."""
    if name == "mnist":
        return load_idx(find_idx(_MNIST, _MNIST_SHA256), name="MNIST", sha256=_MNIST_SHA256), ""
    if name.startswith("tfds:"):
        from mlp_jax.datasets.tfds import load_tfds

        known = f"{name} is EMNIST" if emnist.variant_of_tfds(name.removeprefix("tfds:")) else ""
        return load_tfds(name.removeprefix("tfds:"), data_dir), known
    if name.startswith("sklearn:"):
        from mlp_jax.datasets.scikit_learn import load_scikit_learn

        return load_scikit_learn(name.removeprefix("sklearn:")), ""
    if name.startswith("hf:"):
        from mlp_jax.datasets.huggingface import load_huggingface

        return load_huggingface(*_path_and_settings(name.removeprefix("hf:"))), ""
    place, settings = _path_and_settings(name)
    try:
        path = Path(place).expanduser()
        is_directory, is_file = path.is_dir(), path.is_file()
        files = sorted(path.iterdir()) if is_directory and place else [path] if is_file else []
    except (OSError, RuntimeError) as error:  # a name too long, a folder that may not be entered, no such ~user
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{name!r}: cannot be looked up ({reason}): expected the name or path of a data set") from None
    if not any(map(is_idx_name, files)) and any(map(is_csv_name, files)) and (tables := find_csv(path)):
        return load_csv(tables, settings, place=path), ""
    with naming_source(name):
        check_known(settings, ())
    if any(map(is_idx_name, files)):
        found = find_idx(path)
        known = f"{path} holds EMNIST's own files" if emnist.variant_of_file(found.prefix) else ""
        title = path.resolve().name if is_directory else found.prefix.rstrip("-_.") or path.resolve().parent.name
        return load_idx(found, name=title), known
    if is_directory and place:  # an empty name would be the current directory
        from mlp_jax.datasets.folders import load_folders

        return load_folders(path), ""
    if not is_file and not path.exists() and (path.suffix or path.name != place):
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise DataError(f"{place!r}: no such file or directory{where}: expected the path of a data set")
    if not is_file:
        raise DataError(f"unknown data set {name!r}: expected {FORMS}")
    if path.suffix != ".npz":
        raise DataError(
            f"{path}: is a file: expected .csv, .tsv or .npz, or a directory of IDX files, CSV files or images"
        )
    return load_npz(path), ""


def _path_and_settings(name: str) -> tuple[str, dict[str, str]]:
    """Split a name into path and settings; the whole is the path if something of exactly that name exists."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        if Path(name).expanduser().exists():
            return name, {}
    return split_settings(name)


def absolute_path(name: str) -> str | None:
    """The absolute name of a data set that ``load_dataset`` takes by path; None if it has no path, or does not exist.

    Whatever surrounds the path in the name (``hf:`` before it, settings after it) is kept.
    """
    if not name or name == "mnist" or name.startswith(("tfds:", "sklearn:")):
        return None
    before = "hf:" if name.startswith("hf:") else ""
    place, _ = _path_and_settings(name.removeprefix(before))
    try:
        path = Path(place).expanduser().absolute()
        return f"{before}{path}{name.removeprefix(before + place)}" if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # as in load_dataset, and a name with a NUL in it
        return None
