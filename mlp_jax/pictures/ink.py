"""Separate what is drawn in a picture, its ink, from the paper.

Ink is what differs from the paper. Even paper has one grey. In a photograph the paper's shading is fitted and removed;
a border along the picture's sides and the lines of ruled paper are recognized and left out.

Pillow resizes, and scipy.ndimage labels, opens and filters; what remains here decides what is paper. scikit-image has
the same operations but nothing that finds shaded paper as well as the fit in ``_shading``: of 60 MNIST digits on each
of the 18 backgrounds in tests/test_predict.py, 1,055 of 1,080 are recognized with it, and 1,043 with a morphological
opening alone; with scikit-image's ``rolling_ball`` in its place 11 of the 21 tests of uneven paper fail, and with the
local median of ``threshold_local`` one does.
"""

import itertools
from contextlib import suppress

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from mlp_jax.errors import DataError

FAINTEST = 0.1
"""Contrast below which a picture is blank."""

_NOISE = 4.5  # median deviations of the frame's pixels from their median; what is nearer to it is paper
_SPECK = 0.01  # of the largest connected piece of ink; smaller ones are dust and grain
_LEAST_NOISE = 0.04  # what JPEG leaves on even paper
_BORDER = 0.12  # of the picture's height or width: as far in as a border is looked for
_EVEN = 0.06  # differences of paper that need no fit
_FIT = 96  # pixels, the longer side of the picture that shading is fitted to
_STROKE = 0.3  # of the picture's shorter side: broader than any stroke
_FAINT = 0.15  # of the ink; on paper that was fitted, what is fainter is what the fit left
_PRINTED = 0.6  # of the ink; ruled lines fainter than that are told by their grey
_AWAY = 0.08  # of the picture's side; what is ruled is seen that far from what is drawn
_PART = 0.25  # of the heaviest piece; a piece as heavy as that may be a drawing of its own

Grey = Float[np.ndarray, "H W"]
Mask = Bool[np.ndarray, "H W"]


def drawing(grey: Grey) -> Grey:
    """The ink of a picture, cropped: what differs from the paper, of which the picture's frame consists.

    Args:
        grey: ``[H, W]``, dark on light or light on dark.

    Returns:
        The smallest rectangle that holds the drawing, 0 for paper and more for ink.

    Raises:
        DataError: nothing is drawn, or the paper is so uneven that it does not stand out.
    """
    lines = _borders(grey)
    if any(lines):
        top, bottom, left, right = lines
        with suppress(DataError):  # then it is no border, but drawn
            return _cut_out(grey[top : len(grey) - bottom, left : grey.shape[1] - right], lines)
    return _cut_out(grey, (0, 0, 0, 0))


def _cut_out(grey: Grey, borders: tuple[int, ...]) -> Grey:
    """``drawing`` inside the borders; nothing that is drawn may touch a border."""
    shading = _shading(grey)
    if shading is None:
        paper = np.median(_frame(grey))
        difference = grey - paper
        noise = _noise(difference)
        marked = np.abs(difference) > noise
        ink = difference * (np.sign(difference[marked].sum()) if marked.any() else 1.0)
    else:
        paper, sign = shading
        room = np.maximum(paper if sign < 0 else 1 - paper, FAINTEST)
        ink = sign * (grey - paper) / room  # in the shade, ink differs less from the paper
        noise = max(_noise(ink), _FAINT * np.quantile(ink, 0.99))
    if ink.max() < FAINTEST:
        raise DataError("is blank: expected a drawing that stands out from its background")
    if ink.max() < noise:
        raise DataError("the background is too uneven: expected even paper and light, or a darker drawing")
    present = _without_specks(ink, _without_ruling(ink, ink > noise, noise))
    if any(side.any() for side, border in zip(_sides(present), borders, strict=True) if border):
        raise DataError("the drawing touches the picture's border")
    rows, columns = (_span(np.any(present, axis=axis)) for axis in (1, 0))
    return np.where(present, ink, 0)[rows, columns]


def _sides(image: np.ndarray) -> tuple[np.ndarray, ...]:
    return image[0], image[-1], image[:, 0], image[:, -1]


def _frame(image: np.ndarray) -> np.ndarray:
    return np.concatenate(_sides(image))


def _deviation(values: np.ndarray) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def _noise(difference: Grey) -> float:
    return max(_LEAST_NOISE, _NOISE * _deviation(_frame(difference)))


def _borders(grey: Grey) -> tuple[int, ...]:
    """Number of lines of pixels that are a border at the top, bottom, left and right."""
    step = max(1, max(grey.shape) // 500)
    inside = float(np.median(grey[::step, ::step]))
    return tuple(_border(lines, inside) for lines in (grey, grey[::-1], grey.T, grey.T[::-1]))


def _border(lines: Grey, inside: float) -> int:
    """Number of first lines that are a border: whole lines that differ from one further in, which is like the inside.

    A border may itself have a margin, as the edge of a sheet inside a scan has.
    """
    most, ends = (int(_BORDER * side) for side in lines.shape)
    lines = lines[: most + 1, ends : lines.shape[1] - ends]
    kept = start = 0
    line = 1
    while line <= most:
        step = lines[line] - lines[start]
        if max((step > FAINTEST).mean(), (step < -FAINTEST).mean()) > 0.95:
            sign = np.sign(np.median(step))
            while line < most and np.median(sign * (lines[line + 1] - lines[line])) > _LEAST_NOISE / 2:
                line += 1  # the border's edge may be soft
            if abs(np.median(lines[line]) - inside) < abs(np.median(lines[start]) - inside):
                kept = line
            start = line
        line += 1
    return kept


def _resized(image: Grey, shape: tuple[int, ...], how: Image.Resampling) -> Grey:
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((shape[1], shape[0]), how))


def _reduced(grey: Grey, most: int) -> Grey:
    """Shrink to a longer side of at most that many pixels, by averaging areas."""
    scale = most / max(grey.shape)
    if scale >= 1:
        return grey
    return _resized(grey, tuple(max(1, round(scale * side)) for side in grey.shape), Image.Resampling.BOX)


def _shading(grey: Grey) -> tuple[Grey, float] | None:
    """The paper of a picture, ``[H, W]``, and the sign of ink on it; None if the paper is even.

    A surface of second degree is fitted to the frame, and again to all that lies near it. Where it leaves much of the
    frame (a shadow), a morphological opening or closing is used instead: what is broader than a stroke is paper.
    """
    small = _reduced(grey, _FIT)
    if _is_even(small):
        return None
    y, x = np.mgrid[-1 : 1 : small.shape[0] * 1j, -1 : 1 : small.shape[1] * 1j]
    terms = np.stack([np.ones(small.shape), x, y, x * x, x * y, y * y], axis=-1)
    surface = terms @ _least_absolute(_frame(terms), _frame(small))
    if np.ptp(surface) <= _EVEN:
        return None
    for _ in range(10):
        rest = small - surface
        near = np.abs(rest) < max(_LEAST_NOISE, 3 * _deviation(_frame(rest)))
        if near.sum() < 2 * terms.shape[-1]:
            break
        surface = terms @ np.linalg.lstsq(terms[near], small[near])[0]
    rest = small - surface
    if (np.abs(_frame(rest)) > _LEAST_NOISE).mean() > 0.05:
        sign = _sign_of_ink(small)
        surface = sign * _opened(sign * small)
    else:
        marked = np.abs(rest) > _noise(rest)
        sign = float(np.sign(rest[marked].sum())) if marked.any() else 1.0
    return _resized(surface, grey.shape, Image.Resampling.BICUBIC), sign


def _is_even(small: Grey) -> bool:
    """Whether most of the frame, and opposite corners, have one grey: then everything else in the frame is drawn.

    Unless it fills a corner, and is fainter than what is drawn: a shadow.
    """
    away = np.abs(small - np.median(_frame(small)))
    least, _, most = _corners(away, 5)
    if np.any((least > _EVEN) & (most < _PRINTED * away.max())):
        return False
    paper = _corners(away, 20)[1] < _EVEN
    return bool((paper[:2].all() or paper[2:].all()) and (_frame(away) < _EVEN).mean() > 0.5)


def _corners(image: Grey, part: int) -> Float[np.ndarray, "3 4"]:
    """Low quantile, median and high quantile of each corner; opposite corners are next to each other."""
    rows, columns = (max(1, side // part) for side in image.shape)
    above, below = image[:rows], image[-rows:]
    corners = [above[:, :columns], below[:, -columns:], above[:, -columns:], below[:, :columns]]
    return np.quantile([corner.ravel() for corner in corners], [0.1, 0.5, 0.9], axis=1)


def _least_absolute(
    terms: Float[np.ndarray, "N P"], values: Float[np.ndarray, "N"], rounds: int = 30
) -> Float[np.ndarray, "P"]:
    """Least absolute deviations fit, by reweighted least squares, so that a stroke in the frame has no effect."""
    weights = np.ones(len(values))
    for _ in range(rounds):
        coefficients = np.linalg.lstsq(terms * weights[:, None], values * weights)[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(values - terms @ coefficients), 1e-3))
    return coefficients


def _opened(image: Grey) -> Grey:
    """Morphological opening by a square that is broader than a stroke; slopes go on beyond the image's sides."""
    from scipy import ndimage

    size = int(_STROKE * min(image.shape)) | 1
    padded = np.pad(image, size, mode="reflect", reflect_type="odd")
    return ndimage.grey_opening(padded, (size, size))[size:-size, size:-size]


def _sign_of_ink(small: Grey) -> float:
    """1 for light ink and -1 for dark: there is less of it than of paper, wherever one looks."""
    from scipy import ndimage

    tiny = _reduced(small, _FIT // 2)
    typical = ndimage.median_filter(tiny, max(3, min(tiny.shape) // 2), mode="nearest")
    return 1.0 if (tiny - typical).sum() > 0 else -1.0


def _without_ruling(ink: Grey, present: Mask, noise: float) -> Mask:
    """Where there is ink that is neither a ruled line nor the rest of a shadow: pieces that reach across the picture.

    They are fainter than what is drawn, or thinner.
    """
    from scipy import ndimage

    pieces, _ = ndimage.label(present, structure=np.ones((3, 3)))
    top, bottom, left, right = (np.unique(side) for side in _sides(pieces))
    across = np.union1d(np.intersect1d(top, bottom), np.intersect1d(left, right))
    across = across[across > 0]
    if not len(across):
        return present
    reached = [np.isin(side, across) for side in _sides(pieces)]
    level = np.quantile(np.concatenate([side[on] for side, on in zip(_sides(ink), reached, strict=True)]), 0.98)
    if level < _PRINTED * np.quantile(ink[present], 0.95):
        drawn = ink > max(noise, 1.2 * level)
    else:
        runs = [np.bincount(ndimage.label(on)[0])[1:] for on in reached]
        lengths = np.concatenate([length[length < len(on) / 2] for length, on in zip(runs, reached, strict=True)])
        if not len(lengths) or np.median(lengths) > _SPECK * 5 * min(ink.shape):
            return present
        size = int(2 * np.median(lengths) + 1)
        opened = ndimage.binary_opening(present, np.ones((size, size)))
        drawn = present & ndimage.binary_dilation(opened, np.ones((3, 3)))
    drawn = _without_specks(ink, drawn)
    return drawn if drawn.any() and _away(reached, drawn) else present


def _away(reached: list[np.ndarray], drawn: Mask) -> bool:
    """Whether most of what reaches the picture's sides lies far from the drawing, so that it is no edge of a stroke."""
    rows, columns = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    far = []
    for k, on in enumerate(reached):  # top, bottom, left, right
        along, across = (columns, rows) if k < 2 else (rows, columns)
        depth = across[0] if k % 2 == 0 else drawn.shape[0 if k < 2 else 1] - 1 - across[-1]
        place = np.flatnonzero(on)
        beside = np.maximum(along[0] - place, place - along[-1])
        far.append(np.maximum(beside, depth) > _AWAY * min(drawn.shape))
    return bool(np.concatenate(far).mean() > 0.5)


def _without_specks(ink: Grey, present: Mask) -> Mask:
    """Where there is ink in a connected piece that is not tiny compared with the largest."""
    from scipy import ndimage  # takes a fifth as long as all the rest of the package

    pieces, count = ndimage.label(present, structure=np.ones((3, 3)))
    amount = np.bincount(pieces.ravel(), ink.ravel(), count + 1)
    amount[0] = 0  # what is no piece
    return (amount >= _SPECK * amount.max())[pieces] & present


def beside(ink: Grey) -> int:
    """Number of drawings that seem to lie side by side, like the digits of a number.

    Args:
        ink: as ``drawing`` returns it.

    Returns:
        The number of pieces that share no column with each other, each of at least half the height, and of a quarter of
        the ink that the heaviest has; 1 if there are no two such pieces. The parts of a broken stroke share columns.
    """
    from scipy import ndimage

    pieces, count = ndimage.label(ink > 0, structure=np.ones((3, 3)))
    amount = np.bincount(pieces.ravel(), ink.ravel(), count + 1)[1:]
    spans = [
        (columns.start, columns.stop)
        for (rows, columns), mass in zip(ndimage.find_objects(pieces), amount, strict=True)
        if mass >= _PART * amount.max() and rows.stop - rows.start >= len(ink) / 2
    ]
    spans.sort()
    apart = all(stop <= start for (_, stop), (start, _) in itertools.pairwise(spans))
    return len(spans) if apart else 1


def _span(occupied: Bool[np.ndarray, "S"]) -> slice:
    places = np.flatnonzero(occupied)
    return slice(places[0], places[-1] + 1)
