"""Arrays out of .npz files: plain numbers alone, and nothing believed before it has been held against the file's size.

An .npz file is a zip archive of .npy files. NumPy's own reader allocates what a header announces, and lets an archive
expand without bound; here a member is looked at before it is read.
"""

import io
import math
import os
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlp_jax.datasets.dataset import DEFLATE_LIMIT, NUMBER_THEM, first_line, machine_memory
from mlp_jax.errors import DataError

_LONGEST_HEADER = 10_000  # bytes, as NumPy limits it; plain arrays have 128


def read_npz(path: Path, names: Sequence[str], texts: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read arrays by their names from an .npz file; the others stay unread.

    Args:
        path: the file, as ``numpy.savez`` or ``numpy.savez_compressed`` writes it.
        names: of the arrays of numbers that are wanted.
        texts: of the arrays of text that are wanted.

    Returns:
        Those of them that are there.

    Raises:
        DataError: the file is missing or damaged, or an array that is wanted is not of real numbers, or not of text.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not zipfile.is_zipfile(file):
                raise DataError("not a zip archive, or cut short")
            with zipfile.ZipFile(file) as archive:
                members = {info.filename: info for info in archive.infolist()}
                for name, kinds in [(name, "buif") for name in names] + [(name, "U") for name in texts]:
                    if f"{name}.npy" in members:
                        arrays[name] = _read_member(archive, members[f"{name}.npy"], name, kinds, size)
    except Exception as error:  # a damaged archive makes zipfile, zlib and NumPy raise nearly anything
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise DataError(
            f"{path}: cannot be read ({reason}): expected plain arrays as numpy.savez writes them"
        ) from None
    return arrays


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
            mend = f", {NUMBER_THEM}" if dtype.kind in "US" and name.startswith("y_") else ""
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
