"""What is known of EMNIST as its authors publish it (Cohen and others, 2017), and TFDS after them.

Its images are stored transposed, height for width. Its letters are labelled from 1, so that a class 0 would be empty.
"""

import re
import string
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, Num

from mlp_jax.errors import DataError

_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"  # the other small letters look like their capitals

CLASSES: Mapping[str, Mapping[int, str]] = {
    "balanced": dict(enumerate(_MERGED)),
    "byclass": dict(enumerate(string.digits + string.ascii_letters.swapcase())),
    "bymerge": dict(enumerate(_MERGED)),
    "digits": dict(enumerate(string.digits)),
    "letters": {label: f"{letter}/{letter.lower()}" for label, letter in enumerate(string.ascii_uppercase, start=1)},
    "mnist": dict(enumerate(string.digits)),
}
"""Names of classes by label, of each variant, as its mapping file has them."""


def variant_of_file(prefix: str) -> str | None:
    """The variant that files of EMNIST belong to, by what their names begin with: ``emnist-letters-``."""
    return _variant(re.fullmatch(r"emnist-(\w+)-", prefix))


def variant_of_tfds(name: str) -> str | None:
    """The variant that a name of TFDS means: ``emnist/letters:3.1.0``; without one, it is TFDS's first."""
    return _variant(re.fullmatch(r"emnist(?:/(\w+))?(?::.*)?", name), default="byclass")


def _variant(match: re.Match[str] | None, default: str | None = None) -> str | None:
    found = (match[1] or default) if match else None
    return found if found in CLASSES else None


def numbered(
    labels: Mapping[str, Num[np.ndarray, "N"]], names: Mapping[int, str]
) -> tuple[dict[str, Int[np.ndarray, "N"]], list[str]]:
    """Labels as classes 0 to K − 1, and the names of these.

    Args:
        labels: labels as stored, by split.
        names: names by label as stored; labels may start anywhere and have gaps.

    Raises:
        DataError: a label has no name.
    """
    stored = np.array(sorted(names))
    classes = {}
    for split, values in labels.items():
        unnamed = values[~np.isin(values, stored)]
        if unnamed.size:
            raise DataError(f"{split} labels hold {unnamed[0]}, which has no name: expected {_briefly(stored)}")
        classes[split] = np.searchsorted(stored, values)
    return classes, [names[label] for label in stored.tolist()]


def _briefly(labels: np.ndarray) -> str:
    least, most = labels[0], labels[-1]
    return f"{least} to {most}" if most - least == len(labels) - 1 else ", ".join(map(str, labels))
