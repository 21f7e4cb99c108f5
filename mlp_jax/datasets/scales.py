"""Checks that the features of all splits are on one scale, from which a model can learn.

uint8 is taken as intensities and scaled to [0, 1] when it is used, and nothing else is scaled: so intensities from 0 to
255 of another type, and small numbers that happen to be stored as uint8, are not used as intended. What makes no sense
is refused, and what is doubtful is warned about. Tables may be on any scale, if it is the same in every split.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

from mlp_jax.errors import DataError, SweepWarning

Features = Num[np.ndarray, "N D"]

_ROWS = 250  # of a split, looked at where a look at all of them would take long
_FACTOR = 50  # between typical values of two splits that is no accident
_PIXEL_FACTOR = 8  # the same, where the pixels of one split are in [0, 1] and those of the other whole numbers
_LEAST_VALUES = 20  # other than 0, from which to tell what is typical
_LEAST_PIXELS = 500  # from which to tell whether there are any below 0
_FEW_LEVELS = 64  # of uint8: images use more of its 256
_MANY_FEATURES = 64  # so many whole numbers from 0 to 255 are the pixels of an image
_FULL_SCALE = (255, 1023, 4095, 65535)  # of 8, 10, 12 and 16 bits


@dataclass(frozen=True)
class _Scale:
    """The scale of the features of a split, as stored."""

    dtype: np.dtype
    low: float
    high: float
    rows: Features  # some

    @property
    def unit(self) -> bool:
        """Whether all values are about in [0, 1], like scaled images."""
        return self.low >= -0.1 and self.high <= 1.1

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        return bool((self.rows == np.round(self.rows)).all())

    @property
    def bytes(self) -> bool:
        """Whether the values look like intensities from 0 to 255."""
        return self.low >= 0 and 1.1 < self.high <= 255 and self.whole

    def __str__(self) -> str:
        how = ", scaled by 255 when used" if self.dtype == np.uint8 else ""
        return f"{self.dtype} from {self.low:.5g} to {self.high:.5g}{how}"


def check_scales(splits: Mapping[str, Features], *, images: bool = False) -> None:
    """Compare the scale of every split with that of the first.

    Args:
        splits: features by the name of their split, the training split first.
        images: whether they are known to be pixels.

    Raises:
        DataError: the scales contradict each other.
    """
    scales = {name: _scale(features) for name, features in splits.items()}
    (first, train), *others = scales.items()
    for name, other in others:
        ranges = f"features of {first} are {train}, those of {name} {other}"
        if train.dtype != other.dtype and np.uint8 in (train.dtype, other.dtype):
            if not (train if other.dtype == np.uint8 else other).unit:
                raise DataError(f"{ranges}: give both the same type and scale (pixels: .astype(np.uint8))")
            continue
        gap = _gap(train.rows, other.rows)
        lower, upper = (train, other) if gap > 0 else (other, train)
        pixels = lower.unit and upper.bytes and (images or train.rows.shape[1] >= _MANY_FEATURES)
        if abs(gap) > np.log(_PIXEL_FACTOR if pixels else _FACTOR):
            if pixels and abs(gap) > np.log(_FACTOR):
                raise DataError(f"{ranges}: scale both alike (pixels: .astype(np.uint8), or divide by 255)")
            times = f"{np.exp(abs(gap)):.2g} times as {'great' if gap > 0 else 'small'}"
            _warn(f"{ranges}, typically {times}: if that is not meant, scale both alike")
        elif (images and _differ_below_zero(train, other)) or _few_levels_of(train, other):
            _warn(f"{ranges}: if that is not meant, scale both alike")
        elif _standardized_alone(train.rows, other.rows):
            _warn(f"{ranges}, and one of them alone is standardized: if that is not meant, scale both alike")


def check_scale(name: str, features: Features, *, images: bool = False) -> None:
    """Warn if features are on a scale that is probably not intended.

    Args:
        name: of the split.
        features: of its examples.
        images: whether they are known to be pixels.
    """
    scale = _scale(features)
    if scale.dtype == np.uint8:
        if 0 < scale.high < _FEW_LEVELS:
            _warn(
                f"features of {name} are {scale}, so that the model sees at most {scale.high / 255:.2g}: if they are "
                "no intensities from 0 to 255, give them as floats (.astype(np.float32))"
            )
    elif (
        (images or features.shape[1] >= _MANY_FEATURES)
        and scale.low == 0
        and (scale.high in _FULL_SCALE or (images and 128 <= scale.high < 255))
        and (scale.whole or (images and scale.high == 255))
    ):
        mend = ".astype(np.uint8), or divide by 255" if scale.high <= 255 else f"divide by {scale.high:.0f}"
        _warn(f"features of {name} are {scale}, and used as they are: if they are intensities, scale them ({mend})")


def _scale(features: Features) -> _Scale:
    step = max(1, len(features) // _ROWS)
    return _Scale(features.dtype, float(features.min()), float(features.max()), features[::step])


def _gap(train: Features, other: Features) -> float:
    """Logarithm of the ratio of the other split's values to train's, for the median feature.

    Of each feature the geometric mean of its values other than 0 is compared, which neither a few extreme values nor
    sparse features decide. 0 where there are too few values to tell.
    """
    if min(np.count_nonzero(train), np.count_nonzero(other)) < _LEAST_VALUES:
        return 0.0
    gaps = _magnitude(other) - _magnitude(train)
    known = gaps[np.isfinite(gaps)]
    return float(np.median(known)) if known.size else 0.0


def _magnitude(rows: Features) -> Float[np.ndarray, "D"]:
    """Logarithm of the geometric mean of the nonzero values of each feature; NaN if there are none."""
    present = rows != 0
    logs = np.log(np.abs(rows, dtype=np.float64), where=present, out=np.zeros(rows.shape))
    with np.errstate(invalid="ignore"):
        return logs.sum(axis=0) / present.sum(axis=0)


def _standardized_alone(train: Features, other: Features) -> bool:
    """Whether most features of one split, but few of the other, have mean 0 and standard deviation 1.

    Features that do not vary in both, and splits of a few examples, say nothing.
    """
    if min(len(train), len(other)) < _LEAST_VALUES:
        return False
    both = (train, other)
    means, deviations = (
        np.stack([each(rows, axis=0, dtype=np.float64) for rows in both]) for each in (np.mean, np.std)
    )
    vary = (deviations > 0).all(axis=0)
    if not vary.any():
        return False
    shift, stretch = np.abs(means[:, vary]), np.abs(np.log(deviations[:, vary]))
    near = ((shift < 0.5) & (stretch < np.log(2))).mean(axis=1)  # parts of the features, by split
    far = ((shift > 1) | (stretch > np.log(3))).mean(axis=1)
    return bool(((near > 0.75) & (far[::-1] > 0.5)).any())


def _differ_below_zero(train: _Scale, other: _Scale) -> bool:
    """Whether pixels of only one split are far below 0, as those of standardized images are."""
    enough = min(train.rows.size, other.rows.size) >= _LEAST_PIXELS
    return enough and (train.low < 0) != (other.low < 0) and abs(train.low - other.low) > (train.high - train.low) / 10


def _few_levels_of(train: _Scale, other: _Scale) -> bool:
    """Whether both splits are uint8, and the other one, with more than a few examples, has few of train's levels."""
    return train.dtype == other.dtype == np.uint8 and other.high < _FEW_LEVELS <= train.high and len(other.rows) >= 20


def _warn(message: str) -> None:
    warnings.warn(message, SweepWarning, stacklevel=2)
