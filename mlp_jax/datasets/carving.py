"""Choose the training examples to hold out if a data set lacks a split: from every class in proportion, reproducibly.

The draw is NumPy's Philox counter, whose bits are the same everywhere and follow from a seed alone: from no setting of
JAX, and without it, so that JAX's devices can still be made when the data are there.
"""

import hashlib
from typing import Literal

import numpy as np
from jaxtyping import Bool, Integer

VALIDATION, TEST = 0x5EED, 0x7E57
"""Purposes of a draw: draws of one seed for different splits are independent."""

_TEST_FRACTION = 1 / 6  # MNIST's test split is 10,000 beside 60,000

_MNIST_TRAINING = (
    "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
)
"""SHA-256 of the bytes of MNIST's 60,000 training images, and of their labels, without the files' headers."""


def held_out(
    examples: int, count: int, seed: int, purpose: int, labels: Integer[np.ndarray, "N"] | None = None
) -> Bool[np.ndarray, "N"]:
    """Draw the examples that make another split.

    Args:
        examples: N, the number of examples to draw from.
        count: number to hold out, at most N.
        seed: seed of the draw.
        purpose: ``VALIDATION`` or ``TEST``.
        labels: the class of each example; classes are then drawn from in proportion to their sizes (largest
            remainders), and keep at least one example where possible. None for a plain random draw.

    Returns:
        Mask of the examples that are held out; exactly ``count`` are.
    """
    order = np.argsort(np.random.Philox(key=[purpose, seed]).random_raw(examples), kind="stable")
    if labels is not None:
        _, first, group, sizes = np.unique(labels[order], return_index=True, return_inverse=True, return_counts=True)
        take = _shares(sizes, count, first)
        by_class = np.argsort(group, kind="stable")
        place = np.arange(examples) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of an example within its class
        order = order[by_class[np.argsort(place >= np.repeat(take, sizes), kind="stable")]]
    chosen = np.zeros(examples, bool)
    chosen[order[:count]] = True
    return chosen


def test_of(examples: int, labels: Integer[np.ndarray, "N"] | None, seed: int) -> Bool[np.ndarray, "N"]:
    """Draw a test split for data without one: a sixth, and at least one example.

    Args:
        examples: N, the number of examples.
        labels: the class of each; None for a regression.
        seed: seed of the draw.

    Returns:
        Mask of the examples for testing.
    """
    return held_out(examples, max(1, round(examples * _TEST_FRACTION)), seed, TEST, labels)


def three_parts(
    examples: int, labels: Integer[np.ndarray, "N"] | None, seed: int
) -> tuple[Integer[np.ndarray, "A"], Integer[np.ndarray, "B"], Integer[np.ndarray, "C"]]:
    """Split data that come in one piece: a sixth for testing, and as many for validation.

    Args:
        examples: N, the number of examples; at least 3.
        labels: the class of each; None for a regression.
        seed: seed of the draw.

    Returns:
        Indices of the training, validation and test examples, in order.
    """
    test = test_of(examples, labels, seed)
    rest = np.flatnonzero(~test)
    chosen = held_out(len(rest), int(test.sum()), seed, VALIDATION, None if labels is None else labels[rest])
    return rest[~chosen], rest[chosen], np.flatnonzero(test)


def _shares(sizes: Integer[np.ndarray, "K"], count: int, rank: Integer[np.ndarray, "K"]) -> Integer[np.ndarray, "K"]:
    """Number to take from each class, ``count`` in total; ``rank`` decides between equal remainders."""
    room = sizes - 1 if sizes.sum() - len(sizes) >= count else sizes
    exact = sizes * (count / sizes.sum())
    take = np.minimum(np.floor(exact).astype(sizes.dtype), room)
    while left := count - int(take.sum()):
        free = np.flatnonzero(take < room)
        take[free[np.lexsort((rank[free], (take - exact)[free]))[:left]]] += 1
    return take


def hold_out(images: np.ndarray, labels: np.ndarray) -> Literal["random", "first"]:
    """``hold_out`` for ``Dataset.from_arrays``: ``first`` for MNIST in its own order, else ``random``."""
    if images.dtype != np.uint8 or images.size != 60_000 * 28 * 28 or labels.shape != (60_000,):
        return "random"
    # Labels of another integer type are the same labels; values past uint8's would not have these bytes in them.
    digests = (
        hashlib.sha256(np.ascontiguousarray(each).data).hexdigest() for each in (images, labels.astype(np.uint8))
    )
    return "first" if tuple(digests) == _MNIST_TRAINING else "random"
