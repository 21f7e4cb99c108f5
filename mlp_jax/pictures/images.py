"""Convert pictures to the form of the images that a model was trained on.

As LeCun's page describes it for MNIST: the drawing fitted into a box of 20 × 20, aspect kept, antialiased, and placed
in the image of 28 × 28 so that its centre of mass is in the middle. Box, image size and intensities are those of the
training images (``ImageForm``), so that other data sets of single grey drawings work, too.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError

from mlp_jax.datasets.dataset import ImageForm
from mlp_jax.errors import DataError, InputError
from mlp_jax.pictures.ink import FAINTEST, Grey, beside, drawing

MOST_PIXELS = 50_000_000
"""Most pixels of a picture; a file of a few kilobytes can announce more than any memory holds."""

SURE = 0.6
"""Probability below which an answer is unsure: there, most answers about MNIST's test images are wrong."""


_FULL = (255, 1023, 4095, 16383, 65535)  # greatest values of 8, 10, 12, 14 and 16 bits


@dataclass(frozen=True)
class Picture:
    """A picture as it was read and as the network sees it.

    Attributes:
        path: the file.
        grey: ``[H, W]``, upright, 0 for black and 1 for white.
        ink: ``[height, width]`` of the model's images, 0 for paper and 1 for ink.
        beside: number of drawings that seem to lie side by side (``beside``).
    """

    path: Path
    grey: Grey
    ink: Grey
    beside: int = 1

    def features(self, form: ImageForm) -> Float[np.ndarray, "1 D"]:
        """The model's input: one row, with intensities as in its training images."""
        return (form.paper + (form.ink - form.paper) * self.ink).reshape(1, -1).astype(np.float32)


def read_picture(path: str | Path, form: ImageForm) -> Picture:
    """Read a PNG or JPEG file of one dark drawing on light paper, or light on dark.

    Colours become grey, transparent parts paper, and a camera's orientation is undone.

    Args:
        path: the file.
        form: form of the images that the model was trained on.

    Raises:
        DataError: no such file, no such picture, nothing on it, or nothing that stands out from its background.
        InputError: pictures cannot have this form: the training images are in colour, or blank.
    """
    check_form(form)
    path = Path(path)
    grey = _read_grey(path)
    try:
        drawn = drawing(grey)
        return Picture(path, grey, fit_drawing(drawn, form), beside(drawn))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def check_form(form: ImageForm) -> None:
    """Raise InputError unless pictures can be converted to this form."""
    if len(form.shape) == 3 and form.shape[2] != 1:
        raise InputError(f"the training images have shape {form.shape}: expected grey ones, without colours")
    if form.box < 1:
        raise InputError("the training images are blank: expected drawings, to make pictures like them")


def _read_grey(path: Path) -> Grey:
    try:
        with warnings.catch_warnings():  # Pillow warns of what is large, and of odd metadata
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise DataError(
                        f"announces {image.width} × {image.height} pixels: expected at most {MOST_PIXELS:,}, so make "
                        "it smaller"
                    )
                deep = any("16" in str(tile.args) for tile in image.tile)  # what its decoder is told
                return _to_grey(ImageOps.exif_transpose(image), deep)
    except UnidentifiedImageError:
        raise DataError(f"{path}: is no PNG or JPEG image: convert it to one of them") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: announces more than {MOST_PIXELS:,} pixels: make it smaller") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read ({reason}): expected a PNG or JPEG image") from None
    except (SyntaxError, ValueError, EOFError) as error:  # what Pillow raises on damaged chunks
        raise DataError(f"{path}: damaged ({error}): expected a PNG or JPEG image") from None


def _to_grey(image: Image.Image, deep: bool) -> Grey:
    """Greys of a picture, with transparent parts white; ``deep`` if its file has 16 bits per channel.

    Those of cameras and microscopes often go to 1023 or 4095 only, and what was cast from 8 bits to 255. Pillow keeps
    all 16 bits of greys; of colours, and of greys with transparency, the upper 8.
    """
    if image.mode.startswith("I"):  # which convert("L") would clip
        values = np.asarray(image, np.float32)
        clear = image.info.get("transparency")
        return _on_paper(values / _full(values, _FULL), None if clear is None else (values != clear).astype(np.float32))
    if not image.has_transparency_data:
        luminance, opacity = np.asarray(image.convert("L"), np.float32), None
    else:
        layers = np.asarray(image.convert("RGBA").convert("LA"), np.float32)
        luminance, opacity = layers[..., 0], layers[..., 1]
    if not deep:
        return _on_paper(luminance / 255, None if opacity is None else opacity / 255)
    upper = [full // 256 for full in _FULL[1:]]
    if luminance.max() == 0 and (opacity is None or opacity.max() == 0):
        raise DataError("is blank, or its 16-bit channels stay below 256 of 65535: expected 8 bits, so convert it")
    return _on_paper(luminance / _full(luminance, upper), None if opacity is None else opacity / _full(opacity, upper))


def _full(values: np.ndarray, candidates: Sequence[int]) -> int:
    """The greatest value that a channel can have: the least candidate that no pixel exceeds."""
    return next(full for full in candidates if values.max() <= full)


def _on_paper(luminance: Grey, opacity: Grey | None) -> Grey:
    """Make transparent parts white paper, or black if the drawing is white, so that it can be seen."""
    if opacity is None:
        return luminance
    grey = luminance * opacity + (1 - opacity)
    return grey if np.ptp(grey) >= FAINTEST else luminance * opacity


def fit_drawing(ink: Grey, form: ImageForm) -> Grey:
    """Fit a drawing into the form's box, aspect kept, and place it by its centre of mass.

    Args:
        ink: ``[H, W]``, cut out (``drawing``).
        form: image size and box.

    Returns:
        ``[height, width]`` of the form's images, 0 for paper and 1 for the strongest ink: thin strokes, which shrinking
        makes faint, are as dark as others. The drawing stays inside, though its mass be elsewhere.
    """
    height, width = form.shape[:2]
    scale = min(min(form.box, height) / ink.shape[0], min(form.box, width) / ink.shape[1])
    size = [max(1, round(scale * side)) for side in ink.shape]
    # The mean of the area that falls on each pixel; enlarged, that would show the old pixels.
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    fitted = np.maximum(np.asarray(Image.fromarray(ink).resize((size[1], size[0]), how)), 0)
    image = np.zeros((height, width), np.float32)
    rows, columns = (_place(fitted.sum(axis=axis), room) for axis, room in ((1, height), (0, width)))
    image[rows, columns] = fitted / fitted.max()
    return image


def _place(mass: Float[np.ndarray, "S"], room: int) -> slice:
    """Offset of a drawing, given its mass by row (or column), so that its centre is as near the middle as possible."""
    centre = float(mass @ (np.arange(len(mass)) + 0.5) / mass.sum())
    start = min(max(0, math.ceil(room / 2 - centre)), room - len(mass))
    return slice(start, start + len(mass))


def verdict(probabilities: Float[np.ndarray, "K"], names: Sequence[str]) -> str:
    """The answer in words: the most probable class, or the two most probable if the model is unsure (``SURE``)."""
    best = probabilities.argsort(kind="stable")[::-1]
    first = f"{100 * probabilities[best[0]]:.1f} %"
    if probabilities[best[0]] >= SURE:
        return f"is {names[best[0]]}, with probability {first}"
    return f"unsure: {names[best[0]]} ({first}) or {names[best[1]]} ({100 * probabilities[best[1]]:.1f} %)"
