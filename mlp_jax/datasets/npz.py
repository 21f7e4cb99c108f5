"""Arrays out of .npz files: plain numbers alone, and nothing believed before it has been held against the file's size.

An .npz file is a zip archive of .npy files. NumPy's own reader allocates what a header announces, and lets an archive
expand without bound; here members are checked before they are read.
"""

import contextlib
import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.datasets import carving
from mlp_jax.datasets.dataset import (
    DEFLATE_LIMIT,
    NUMBER_THEM,
    Dataset,
    machine_memory,
    naming_source,
)
from mlp_jax.errors import DataError, first_line, shown

_LONGEST_HEADER = 10_000  # bytes, as NumPy limits it; plain arrays have 128


_NAMES = {
    "x_train": ("x_train", "X_train", "train_images"),
    "y_train": ("y_train", "train_labels"),
    "x_test": ("x_test", "X_test", "test_images"),
    "y_test": ("y_test", "test_labels"),
    "x_validation": ("x_validation", "x_val", "x_valid", "X_val", "X_valid", "val_images"),
    "y_validation": ("y_validation", "y_val", "y_valid", "val_labels"),
}  # ours, then what others call them; the last is MedMNIST's
_REQUIRED = ("x_train", "y_train", "x_test", "y_test")
_TEXTS = ("task", "class_names")
_MOST_LISTED = 10  # names of arrays that a message repeats


def load_npz(path: Path) -> Dataset:
    """A data set of arrays x_train, y_train, x_test, y_test and perhaps x_validation, y_validation, task, class_names.

    Validation may be called x_val or x_valid too. MedMNIST's names are taken as well: train_images, train_labels,
    val_images, ...

    Raises:
        DataError: the file is missing or damaged, or its arrays are not the expected ones or do not fit each other.
    """
    found = names_in(path)
    called = {key: [name for name in same if name in found] for key, same in _NAMES.items()}
    if missing := [key for key in _REQUIRED if not called[key]]:
        listed = ", ".join(shown(name)[1:-1] for name in found[:_MOST_LISTED]) + ", ..." * (len(found) > _MOST_LISTED)
        raise DataError(
            f"{path}: holds no {', '.join(missing)}: expected {', '.join(_REQUIRED)} (or MedMNIST's train_images, "
            f"train_labels, ...), found {listed or 'nothing'}"
        )
    if twice := next((same for same in called.values() if len(same) > 1), None):
        raise DataError(f"{path}: holds both {twice[0]} and {twice[1]}: expected one of them")
    theirs = {key: same[0] for key, same in called.items() if same}
    arrays: dict[str, Any] = read_npz(path, list(theirs.values()), _TEXTS)
    texts = {name: arrays[name].tolist() for name in _TEXTS if name in arrays}
    with naming_source(path):
        return Dataset.from_arrays(
            **{key: arrays[name] for key, name in theirs.items()},
            **texts,
            name=path.stem,
            hold_out=carving.hold_out(arrays[theirs["x_train"]], arrays[theirs["y_train"]]),
        )


def names_in(path: Path) -> list[str]:
    """The names of the arrays in an .npz file, in order; raises DataError if it is missing or damaged."""
    with _archive(path) as (archive, _):
        return [info.filename.removesuffix(".npy") for info in archive.infolist()]


def read_npz(path: Path, names: Sequence[str], texts: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read arrays by their names from an .npz file; the others stay unread.

    Args:
        path: the file, as ``numpy.savez`` or ``numpy.savez_compressed`` writes it.
        names: names of the numeric arrays to read.
        texts: names of the text arrays to read.

    Returns:
        The arrays that exist, by name.

    Raises:
        DataError: the file is missing or damaged, or one of these arrays does not hold real numbers, or text.
    """
    arrays: dict[str, np.ndarray] = {}
    with _archive(path) as (archive, size):
        members = {info.filename: info for info in archive.infolist()}
        for name, kinds in [(name, "buif") for name in names] + [(name, "U") for name in texts]:
            if f"{name}.npy" in members:
                arrays[name] = _read_member(archive, members[f"{name}.npy"], name, kinds, size)
    return arrays


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """The archive, open, and the file's size in bytes; whatever is wrong with it is a DataError."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not zipfile.is_zipfile(file):
                raise DataError("not a zip archive, or cut short")
            with zipfile.ZipFile(file) as archive:
                yield archive, size
    except Exception as error:  # a damaged archive makes zipfile, zlib and NumPy raise nearly anything
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise DataError(
            f"{path}: cannot be read ({reason}): expected plain arrays as numpy.savez writes them"
        ) from None


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, kinds: str, most: int) -> np.ndarray:
    """One array, of an archive of ``most`` bytes; what raises is described by ``read_npz``."""
    packed = min(info.compress_size, most) * (DEFLATE_LIMIT if info.compress_type == zipfile.ZIP_DEFLATED else 1)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise DataError(f"{name} is encrypted, or compressed in another way than deflate")
    if info.file_size > packed:
        raise DataError(f"{name} announces {info.file_size} bytes, more than the file can hold")
    if info.file_size > machine_memory():
        raise DataError(f"{name} holds {info.file_size} bytes, more than this machine's {machine_memory()}")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f"{name} is in version {version} of the format .npy")
        counted = member.read(2 if version == (1, 0) else 4)
        length = int.from_bytes(counted, "little")
        if length > _LONGEST_HEADER:
            raise DataError(f"{name} announces a header of {length} bytes")
        header = io.BytesIO(struct.pack("<I", length) + member.read(length))
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(header)
        if dtype.hasobject:
            raise DataError(f"{name} holds pickled objects, which are not loaded")
        if dtype.kind not in kinds:
            mend = f", {NUMBER_THEM}" if dtype.kind in "US" and ("label" in name or name.startswith("y_")) else ""
            raise DataError(
                f"{name} has dtype {dtype}: {'text is' if kinds == 'U' else 'real numbers are'} taken{mend}"
            )
        needed = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or len(counted) + 8 + length + needed != info.file_size:
            raise DataError(f"{name} announces shape {shape} of {dtype}, but the file holds {info.file_size} bytes")
        content = member.read()
    return (
        np.frombuffer(content, dtype)
        .reshape(shape, order="F" if fortran else "C")
        .astype(dtype.newbyteorder("="), copy=False)
    )
