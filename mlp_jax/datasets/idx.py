"""The IDX file format, as LeCun's MNIST page describes it, gzip-compressed or plain.

Two zero bytes, a type code, the number of dimensions, each dimension as a big-endian 32-bit count, then the
values, big-endian, last dimension fastest. Nothing in the header is believed before it has been held against
the file's size, so that a few bytes cannot make the reader allocate gigabytes.
"""

import gzip
import hashlib
import io
import math
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlp_jax.datasets import carving
from mlp_jax.datasets.dataset import DEFLATE_LIMIT, MOST_CLASSES, Dataset, machine_memory, naming_source
from mlp_jax.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 32  # what every NumPy can hold; the format would allow 255
_NAME = re.compile(r"(?P<prefix>.*?)(?P<split>train|t10k|test)-(?P<what>images|labels)[.-]idx\d-ubyte(\.gz)?")


def read_idx(path: str | Path, *, dimensions: int | None = None, sha256: str | None = None) -> np.ndarray:
    """Read one IDX file.

    Args:
        path: the file; compressed if it starts with gzip's magic number.
        dimensions: the number of dimensions that it has to have, if given.
        sha256: checksum that the file (as stored) has to have, as hexadecimal, if given.

    Returns:
        The array, of the shape and type that the header states, in native byte order.

    Raises:
        DataError: the file is missing, damaged or another than asked for.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            if sha256 is not None:
                _check_sha256(raw, path, sha256)
            raw.seek(0)
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            size = path.stat().st_size
            if not compressed:
                return _read(raw, path, dimensions, size)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read(stream, path, dimensions, size * DEFLATE_LIMIT)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip data ({error}): fetch the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}): expected an IDX file there") from None


def _check_sha256(raw: io.BufferedReader, path: Path, expected: str) -> None:
    found = hashlib.file_digest(raw, "sha256").hexdigest()
    if found != expected:
        raise DataError(
            f"{path}: SHA-256 is {found}, expected {expected}: the file was altered or damaged, put the original back"
        )


def _read(stream: io.BufferedIOBase, path: Path, dimensions: int | None, most: int) -> np.ndarray:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
        raise DataError(
            f"{path}: starts with {head.hex(' ') or 'nothing'}, which is no IDX magic number: "
            f"expected 00 00, a type ({' '.join(f'{code:02x}' for code in _TYPES)}) and the number of dimensions"
        )
    if not 1 <= head[3] <= _MOST_DIMENSIONS or dimensions not in (None, head[3]):
        expected = f"1 to {_MOST_DIMENSIONS}" if dimensions is None else dimensions
        raise DataError(
            f"{path}: its header announces {head[3]} dimensions, expected {expected}: is it the right file?"
        )
    counts = stream.read(4 * head[3])
    if len(counts) < 4 * head[3]:
        raise DataError(f"{path}: ends inside its header of {4 + 4 * head[3]} bytes: truncated, fetch it again")
    shape = struct.unpack(f">{head[3]}I", counts)
    dtype = np.dtype(_TYPES[head[2]])
    length = math.prod(shape) * dtype.itemsize
    announced = f"its header announces {' × '.join(map(str, shape))} values ({length} bytes)"
    # NumPy refuses a shape whose other dimensions overflow, even where one of them is 0 and there are no values.
    if length > most or math.prod(max(count, 1) for count in shape) * dtype.itemsize > np.iinfo(np.intp).max:
        raise DataError(f"{path}: {announced}, more than the file can hold: truncated or damaged, fetch it again")
    if length > machine_memory():
        raise DataError(f"{path}: {announced}, more than this machine's memory of {machine_memory()} bytes")
    payload = stream.read(length)
    if len(payload) < length:
        raise DataError(f"{path}: {announced} but {len(payload)} bytes follow: truncated, fetch it again")
    if stream.read(1):
        raise DataError(f"{path}: {announced} but more bytes follow: damaged, fetch it again")
    return np.frombuffer(payload, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def load_idx_directory(directory: Path, *, name: str, sha256: Mapping[str, str] | None = None) -> Dataset:
    """Read the four files of an MNIST-style directory.

    The validation split is a twelfth of the training files, drawn from every class in proportion; of MNIST's own, which
    are known by their content, the first 5,000, as TensorFlow's loader made it. Classes have the names that a file
    beside them gives: ``classes.txt``, a name a line, or a mapping like those that EMNIST is published with
    (``emnist-letters-mapping.txt``, on each line a label and the codes of its characters).

    Args:
        directory: holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, or names like them (test for t10k, a common prefix, .idx3, .gz).
        name: the data set's name.
        sha256: checksum by file name, if they are known; then no other file is looked at.

    Raises:
        DataError: a file is missing or damaged, or the files disagree.
    """
    files = _find(directory, sha256)
    arrays = {
        key: read_idx(path, dimensions=1 if key[1] == "labels" else None, sha256=sha256[path.name] if sha256 else None)
        for key, path in files.items()
    }
    for split in ("train", "test"):
        images, labels = arrays[split, "images"], arrays[split, "labels"]
        if images.ndim < 2:
            raise DataError(
                f"{files[split, 'images']}: its header announces 1 dimension, expected images (3 dimensions): "
                "is it the right file?"
            )
        if len(images) != len(labels):
            raise DataError(
                f"{directory}: {files[split, 'images'].name} holds {len(images)} images but "
                f"{files[split, 'labels'].name} {len(labels)} labels: expected one each, so take both from one set"
            )
    with naming_source(directory):
        return Dataset.from_arrays(
            arrays["train", "images"],
            arrays["train", "labels"],
            arrays["test", "images"],
            arrays["test", "labels"],
            task="multiclass",
            name=name,
            class_names=() if sha256 else _class_names(files["train", "images"]),
            hold_out=carving.hold_out(arrays["train", "images"], arrays["train", "labels"]),
        )


def _class_names(images: Path) -> list[str]:
    """The names that a file beside the images gives; none if there is no such file."""
    match = _NAME.fullmatch(images.name)
    mapping = images.with_name(f"{match['prefix'] if match else ''}mapping.txt")
    names = images.with_name("classes.txt")
    path = names if names.is_file() else mapping
    if not path.is_file():
        return []
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if path == names:
            return lines
        codes = {int(label): codes for label, *codes in (line.split() for line in lines)}
        if min(codes) < 0 or max(codes) >= MOST_CLASSES:
            raise ValueError("a label out of range")
        characters = {label: "/".join(chr(int(code)) for code in each) for label, each in codes.items()}
        return [characters.get(label, str(label)) for label in range(max(codes) + 1)]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): expected the names of the classes") from None
    except (ValueError, OverflowError):
        raise DataError(
            f"{path}: damaged: expected a name a line in classes.txt, a label and codes of characters in a mapping"
        ) from None


def _find(directory: Path, names: Mapping[str, str] | None) -> dict[tuple[str, str], Path]:
    """The four files by split and kind; a plain one before its compressed copy."""
    try:
        paths = sorted(path for path in directory.iterdir() if path.is_file() and (names is None or path.name in names))
    except OSError as error:
        raise DataError(
            f"{directory}: cannot be listed ({error.strerror or error}): expected a directory of IDX files"
        ) from None
    found: dict[tuple[str, str], Path] = {}
    prefix = None
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        known = found.setdefault(("train" if match["split"] == "train" else "test", match["what"]), path)
        prefix = match["prefix"] if prefix is None else prefix
        if match["prefix"] != prefix or path.name not in (known.name, known.name + ".gz"):
            raise DataError(
                f"{directory}: {path.name} belongs to another data set than {next(iter(found.values())).name}: "
                "expected one data set in a directory, so move the others out"
            )
    for split, what in (("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels")):
        if (split, what) not in found:
            example = f"{'train' if split == 'train' else 't10k'}-{what}-idx{3 if what == 'images' else 1}-ubyte"
            raise DataError(f"{directory}: no {split} {what} file: expected {example} or {example}.gz")
    return found
