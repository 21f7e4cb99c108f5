"""The IDX file format, as LeCun's MNIST page describes it, gzip-compressed or plain.

Two zero bytes, a type code, the number of dimensions, each dimension as a big-endian 32-bit count, then the
values, big-endian, last dimension fastest. The header is checked against the file's size before it is trusted, so
that a few bytes cannot make the reader allocate gigabytes.
"""

import gzip
import hashlib
import io
import math
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp_jax.datasets import carving
from mlp_jax.datasets.dataset import DEFLATE_LIMIT, MOST_CLASSES, Dataset, machine_memory, naming_source
from mlp_jax.datasets.emnist import CLASSES, numbered, variant_of_file
from mlp_jax.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 32  # what every NumPy can hold; the format would allow 255
_NAME = re.compile(
    r"(?P<prefix>(?!\.).*?)(?P<part>train|t10k|test(10k|50k)?)-(?P<what>images|labels)[.-]idx(?P<dimensions>\d)-(?P<type>ubyte|byte|short|int|float|double)(\.gz)?"
)  # a name that begins with a dot is hidden: macOS puts ._NAME beside a NAME that it copies
_EXTENDED = (
    8  # columns of QMNIST's labels (idx2-int): class, then series, writer, template, places, duplicate and group
)


def read_idx(path: str | Path, *, dimensions: int | None = None, sha256: str | None = None) -> np.ndarray:
    """Read one IDX file.

    Args:
        path: the file; compressed if it starts with gzip's magic number.
        dimensions: required number of dimensions, if given.
        sha256: required checksum of the file as stored, hexadecimal, if given.

    Returns:
        The array, with the shape and type in the header, in native byte order.

    Raises:
        DataError: the file is missing, damaged, or not the required one.
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


class IdxFiles(NamedTuple):
    """The four files of one data set.

    Attributes:
        place: what messages name: the directory, or the file that was given.
        prefix: prefix of the names, such as ``qmnist-``; empty for MNIST's.
        paths: by split (``train``, ``test``) and kind (``images``, ``labels``).
    """

    place: Path
    prefix: str
    paths: Mapping[tuple[str, str], Path]


def is_idx_name(path: Path) -> bool:
    """Whether a file is named as one of a data set of IDX files."""
    return _NAME.fullmatch(path.name) is not None


def find_idx(place: Path, sha256: Mapping[str, str] | None = None) -> IdxFiles:
    """Find the four files of an MNIST-style data set; a plain one goes before its compressed copy.

    Args:
        place: a directory that holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, or names like them (test for t10k, a common prefix, .idx3, .gz; byte, short, int,
            float or double for ubyte; labels-idx2-int, as QMNIST has them). Where it holds several data sets, one
            of the files of the one that is meant.
        sha256: checksum by file name, if they are known; then no other file is looked at.

    Raises:
        DataError: a file is missing, or there are several data sets.
    """
    given = None if place.is_dir() else _NAME.fullmatch(place.name)
    directory = place.parent if given else place
    try:
        paths = sorted(path for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise DataError(
            f"{directory}: cannot be listed ({error.strerror or error}): expected a directory of IDX files"
        ) from None
    matches = [
        (path, match)
        for path in paths
        if (match := _NAME.fullmatch(path.name)) and (sha256 is None or path.name in sha256)
    ]
    found = [(path, match) for path, match in matches if given is None or match["prefix"] == given["prefix"]]
    for group, chosen in (("prefix", given), ("part", given if given and given["part"] != "train" else None)):
        values = sorted({match[group] for _, match in found} - {"train"})
        if len(values) > 1 and chosen is None:
            examples = ", ".join(next(path.name for path, match in found if match[group] == value) for value in values)
            raise DataError(
                f"{directory}: holds several data sets ({examples}): expected one, so give the path of a file of it "
                "instead of the directory, or move the others out"
            )
        found = [(path, match) for path, match in found if chosen is None or match[group] in ("train", chosen[group])]
    prefix = found[0][1]["prefix"] if found else ""
    files: dict[tuple[str, str], Path] = {}
    for path, match in found:
        known = files.setdefault(("train" if match["part"] == "train" else "test", match["what"]), path)
        if path.name not in (known.name, known.name + ".gz"):
            raise DataError(
                f"{directory}: {path.name} belongs to another data set than {known.name}: expected one data set in a "
                "directory, so move the others out"
            )
    for split, what in (("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels")):
        if (split, what) not in files:
            example = (
                f"{prefix}{'train' if split == 'train' else 't10k'}-{what}-idx{3 if what == 'images' else 1}-ubyte"
            )
            raise DataError(f"{directory}: no {split} {what} file: expected {example} or {example}.gz")
    return IdxFiles(place, prefix, files)


def load_idx(files: IdxFiles, *, name: str, sha256: Mapping[str, str] | None = None) -> Dataset:
    """Read an MNIST-style data set; its images are left as they are stored.

    The validation split is a twelfth of the training files, drawn from every class in proportion; for MNIST's own
    files, recognized by their content, the first 5,000, as in TensorFlow's loader. Class names come from a file beside
    them: ``classes.txt``, one name per line, or a mapping like those that EMNIST is published with
    (``emnist-letters-mapping.txt``, with a label and the codes of its characters on each line), whose labels need not
    start at 0. The classes of EMNIST's own files are known without one. Labels of a floating-point type that are not
    whole, or ``[N, K]``, are the values of a regression.

    Args:
        files: of one data set.
        name: the data set's name.
        sha256: checksum by file name, if they are known.

    Raises:
        DataError: a file is missing or damaged, or the files disagree.
    """
    arrays = {key: _read_part(key[1], path, sha256[path.name] if sha256 else None) for key, path in files.paths.items()}
    for split in ("train", "test"):
        images, labels = arrays[split, "images"], arrays[split, "labels"]
        if len(images) != len(labels):
            names = [files.paths[split, what].name for what in ("images", "labels")]
            raise DataError(
                f"{files.place}: {names[0]} holds {len(images)} images but {names[1]} {len(labels)} labels: "
                "expected one each, so take both from one set"
            )
    with naming_source(files.place):
        stored = {split: arrays[split, "labels"] for split in ("train", "test")}
        floats = all(y.dtype.kind == "f" for y in stored.values())
        regression = floats and any(y.ndim == 2 or (y != np.round(y)).any() for y in stored.values())
        targets, class_names = (stored, ()) if regression else _classes(files, stored, bool(sha256))
        return Dataset.from_arrays(
            arrays["train", "images"],
            targets["train"],
            arrays["test", "images"],
            targets["test"],
            task="regression" if regression else "multiclass",
            name=name,
            class_names=class_names,
            hold_out=carving.hold_out(arrays["train", "images"], arrays["train", "labels"]),
        )


def _read_part(what: str, path: Path, sha256: str | None) -> np.ndarray:
    """Images ``[N, ...]``, or labels ``[N]``; values of a regression may be ``[N, K]``."""
    if what == "images":
        images = read_idx(path, sha256=sha256)
        if images.ndim < 2:
            raise DataError(
                f"{path}: its header announces 1 dimension, expected images (3 dimensions): is it the right file?"
            )
        return images
    match = _NAME.fullmatch(path.name)
    if match is None or (match["dimensions"], match["type"]) != ("2", "int"):
        labels = read_idx(path, sha256=sha256)
        if labels.ndim > (2 if labels.dtype.kind == "f" else 1):
            raise DataError(f"{path}: its header announces {labels.ndim} dimensions, expected 1: is it the right file?")
        return labels
    labels = read_idx(path, dimensions=2, sha256=sha256)
    if labels.shape[1] != _EXTENDED:
        raise DataError(f"{path}: has {labels.shape[1]} columns: expected QMNIST's {_EXTENDED}, the class first")
    return labels[:, 0]


def _classes(
    files: IdxFiles, labels: Mapping[str, np.ndarray], plain: bool
) -> tuple[Mapping[str, np.ndarray], Sequence[str]]:
    """Labels as classes from 0, by split, and the names of the classes; none if they are not known."""
    if plain:
        return labels, ()
    beside = files.paths["train", "images"]
    own = CLASSES.get(variant_of_file(files.prefix) or "", {})
    if not all(np.isin(values, list(own)).all() for values in labels.values()):
        own = {}  # named as EMNIST's are, and numbered otherwise
    listed = _read_names(beside.with_name("classes.txt"), lambda lines: dict(enumerate(lines)))
    if listed is not None:
        return (numbered(labels, own)[0] if len(own) == len(listed) else labels), list(listed.values())
    names = _read_names(beside.with_name(f"{files.prefix}mapping.txt"), _parse_mapping) or own
    return numbered(labels, names) if names else (labels, ())


def _read_names(path: Path, parse: Callable[[list[str]], dict[int, str]]) -> Mapping[int, str] | None:
    """The names of classes by label that a file gives; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")  # which editors on Windows begin with a mark
        return parse([line.strip() for line in text.splitlines() if line.strip()])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): expected the names of the classes") from None
    except (ValueError, OverflowError):
        raise DataError(
            f"{path}: damaged: expected one name per line in classes.txt, a label and codes of characters in a mapping"
        ) from None


def _parse_mapping(lines: list[str]) -> dict[int, str]:
    codes = {int(label): codes for label, *codes in (line.split() for line in lines)}
    if min(codes) < 0 or max(codes) >= MOST_CLASSES:
        raise ValueError("a label out of range")
    return {label: "/".join(chr(int(code)) for code in each) for label, each in codes.items()}
