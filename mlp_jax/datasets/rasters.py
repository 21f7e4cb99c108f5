"""Pictures decoded by Pillow, as arrays of one kind: grey or colour, all of one size."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Num
from PIL import Image, ImageOps

from mlp_jax.datasets.dataset import machine_memory
from mlp_jax.errors import DataError

_UPRIGHT = 0x0112  # the EXIF tag of the orientation
_TURNED = (5, 6, 7, 8)  # its values that exchange height and width


def size_of(image: Image.Image) -> tuple[int, int]:
    """Height and width of an upright picture, read from its header only."""
    width, height = image.size
    return (width, height) if image.getexif().get(_UPRIGHT) in _TURNED else (height, width)


def pixels(image: Image.Image) -> Num[np.ndarray, "height width *channels"]:
    """The intensities of a picture: uint8, without channels if grey; float32 in [0, 1] for 16 bits.

    A palette is looked up, and a camera's orientation undone.

    Raises:
        DataError: it has several frames, or is transparent, so that its colours are ambiguous.
    """
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise DataError(f"holds {frames} pictures: expected one")
    with warnings.catch_warnings():  # Pillow warns of odd metadata
        warnings.simplefilter("ignore")
        upright: Image.Image = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            layers = upright.convert("RGBA")
            if np.asarray(layers.getchannel("A")).min() < 255:
                raise DataError("is transparent in places: expected opaque pixels, so put it on a background")
            upright = layers.convert("RGB")
            return _grey_if_grey(np.asarray(upright)) if image.mode in ("LA", "La", "P", "L") else np.asarray(upright)
    if upright.mode.startswith("I;16"):
        return np.asarray(upright).astype(np.float32) / np.float32(65535)
    if upright.mode in ("1", "L"):
        return np.asarray(upright.convert("L"))
    if upright.mode == "P":
        return _grey_if_grey(np.asarray(upright.convert("RGB")))
    if upright.mode in ("I", "F"):
        raise DataError(
            f"has pixels of Pillow's mode {upright.mode}: expected 8 bits, or 16 unsigned ones, so convert it"
        )
    return np.asarray(upright.convert("RGB"))


def _grey_if_grey(colours: Num[np.ndarray, "height width 3"]) -> Num[np.ndarray, "height width *channels"]:
    return colours[..., 0] if (colours == colours[..., :1]).all() else colours


def stack(pictures: Iterable[tuple[str, Num[np.ndarray, "height width *channels"]]]) -> list[Any]:
    """All named pictures, if they have one size and depth and fit in memory.

    Raises:
        DataError: they differ in size or depth, or do not fit in memory.
    """
    arrays: list[Any] = []
    first, used = "", 0
    for name, array in pictures:
        if not arrays:
            first = name
        elif array.shape[:2] != arrays[0].shape[:2]:
            (height, width), (h, w) = arrays[0].shape[:2], array.shape[:2]
            raise DataError(
                f"{name} has {h} × {w} pixels, {first} {height} × {width}: expected one size, so bring all to it"
            )
        elif array.dtype != arrays[0].dtype:
            raise DataError(f"{name} has {_bits(array)} bits a channel, {first} {_bits(arrays[0])}: expected the same")
        arrays.append(array)
        used += array.nbytes
        if used > machine_memory():
            raise DataError(f"the pictures hold more than this machine's memory of {machine_memory()} bytes")
    return arrays


def same_channels(splits: dict[str, list[Any]]) -> dict[str, Num[np.ndarray, "N height width *channels"]]:
    """Arrays of the pictures of each split; all in colour if some are."""
    colour = any(array.ndim == 3 for arrays in splits.values() for array in arrays)
    return {
        split: np.stack(
            [np.repeat(each[..., None], 3, axis=2) if colour and each.ndim == 2 else each for each in arrays]
        )
        for split, arrays in splits.items()
    }


def _bits(array: np.ndarray) -> int:
    return 8 if array.dtype == np.uint8 else 16
