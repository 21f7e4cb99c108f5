"""The IDX file format, as LeCun's MNIST page describes it, gzip-compressed or plain.

Two zero bytes, a type code, the number of dimensions, each dimension as a big-endian 32-bit count, then the
values, big-endian, last dimension fastest. Nothing in the header is believed before it has been held against
the file's size, so that a few bytes cannot make the reader allocate gigabytes.
"""

import gzip
import hashlib
import math
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mlp_jax.datasets.dataset import VALIDATION_FRACTION, Dataset
from mlp_jax.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DEFLATE_LIMIT = 1032  # deflate cannot expand by more than this factor
_NAME = re.compile(r"(?P<prefix>.*?)(?P<split>train|t10k|test)-(?P<what>images|labels)[.-]idx\d-ubyte(\.gz)?")


def read_idx(path: Path, *, dimensions: int | None = None, sha256: str | None = None) -> np.ndarray:
    """Read one IDX file.

    Args:
        path: the file; compressed if it starts with gzip's magic number.
        dimensions: the number of dimensions that it has to have, if given.
        sha256: checksum that the file (as stored) has to have, as hexadecimal, if given.

    Returns:
        The array, in native byte order.

    Raises:
        DataError: the file is missing, damaged or another than asked for.
    """
    try:
        if sha256 is not None:
            _check_sha256(path, sha256)
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            size = path.stat().st_size
            if not compressed:
                return _read(raw, path, dimensions, size)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read(stream, path, dimensions, size * _DEFLATE_LIMIT)  # type: ignore[arg-type]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip data ({error}): fetch the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _check_sha256(path: Path, expected: str) -> None:
    with path.open("rb") as raw:
        found = hashlib.file_digest(raw, "sha256").hexdigest()
    if found != expected:
        raise DataError(f"{path}: SHA-256 is {found}, expected {expected}: the file was altered or damaged")


def _read(stream: BinaryIO, path: Path, dimensions: int | None, most: int) -> np.ndarray:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
        raise DataError(f"{path}: starts with {head.hex(' ') or 'nothing'}, which is no IDX magic number")
    if dimensions is not None and head[3] != dimensions:
        raise DataError(f"{path}: has {head[3]} dimensions, expected {dimensions}")
    counts = stream.read(4 * head[3])
    if len(counts) < 4 * head[3]:
        raise DataError(f"{path}: ends inside its header")
    shape = struct.unpack(f">{head[3]}I", counts)
    dtype = np.dtype(_TYPES[head[2]])
    expected = math.prod(shape) * dtype.itemsize
    announced = f"its header announces {' × '.join(map(str, shape))} values"
    if expected > most or expected > np.iinfo(np.intp).max:
        raise DataError(f"{path}: {announced}, more than the file can hold: truncated or damaged")
    payload = stream.read(expected)
    if len(payload) < expected:
        raise DataError(f"{path}: {announced} ({expected} bytes) but only {len(payload)} bytes follow: truncated")
    if stream.read(1):
        raise DataError(f"{path}: {announced} ({expected} bytes) but more bytes follow: damaged")
    return np.frombuffer(payload, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def load_idx_directory(directory: Path, *, name: str, sha256: dict[str, str] | None = None) -> Dataset:
    """Read the four files of an MNIST-style directory.

    The validation split is the first twelfth of the training files (5,000 of MNIST's 60,000), as TensorFlow's
    loader made it.

    Args:
        directory: holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, or names like them (test for t10k, a common prefix, .idx3, .gz).
        name: the data set's name.
        sha256: checksum by file name, if they are known.

    Raises:
        DataError: a file is missing or damaged, or the files disagree.
    """
    files = _find(directory)
    arrays = {
        key: read_idx(path, dimensions=1 if key[1] == "labels" else None, sha256=(sha256 or {}).get(path.name))
        for key, path in files.items()
    }
    for split in ("train", "test"):
        images, labels = arrays[split, "images"], arrays[split, "labels"]
        if images.ndim < 2:
            raise DataError(f"{files[split, 'images']}: has {images.ndim} dimensions, expected images (3 of them)")
        if len(images) != len(labels):
            raise DataError(
                f"{files[split, 'images'].name} holds {len(images)} images but {files[split, 'labels'].name} "
                f"{len(labels)} labels: expected one label each"
            )
    x, y = arrays["train", "images"], arrays["train", "labels"]
    held_out = round(len(x) * VALIDATION_FRACTION)
    return Dataset.from_arrays(
        x[held_out:],
        y[held_out:],
        arrays["test", "images"],
        arrays["test", "labels"],
        x_validation=x[:held_out],
        y_validation=y[:held_out],
        task="multiclass",
        name=name,
    )


def _find(directory: Path) -> dict[tuple[str, str], Path]:
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(directory.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        key = ("train" if match["split"] == "train" else "test", match["what"])
        if key in found and found[key].name.removesuffix(".gz") != path.name.removesuffix(".gz"):
            raise DataError(
                f"{directory} holds several {key[0]} {key[1]} files ({found[key].name}, {path.name}): "
                "expected one data set in a directory"
            )
        found.setdefault(key, path)
    for split, what in (("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels")):
        if (split, what) not in found:
            example = f"{'train' if split == 'train' else 't10k'}-{what}-idx{3 if what == 'images' else 1}-ubyte"
            raise DataError(f"{directory}: no {split} {what} file: expected {example} or {example}.gz")
    return found
