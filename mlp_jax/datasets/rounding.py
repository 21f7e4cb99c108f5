"""What float32, in which networks are trained, loses of numbers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Num

GREATEST = float(np.finfo(np.float32).max)
"""The greatest float32."""

_MOST_NAMED = 3  # columns in a message
_EXAMINED = 10_000  # rows, spread evenly: enough to see how a column's values spread
_COARSE = 1e-3  # of a column's spread: rounding by more than that is seen in what a network can learn
_NOISE = 1e-12  # of a column's magnitude: what float64's own rounding may have left there


def merged_columns(values: Num[np.ndarray, "N D"]) -> dict[int, tuple[int, int]]:
    """Columns whose values float32 cannot tell apart, such as times in seconds since 1970 that are seconds apart.

    A column counts if different values become equal *and* rounding is coarse compared with their spread (over
    their interquartile range, or their standard deviation where that is 0): of a million numbers between 0 and 1 some
    become equal too, and nothing is lost.

    Args:
        values: finite, and within the range of float32.

    Returns:
        For each such column, by number: how many different values it has, and how many remain in float32.
    """
    if values.dtype == np.float32 or len(values) == 0:
        return {}
    sample = values[:: -(-len(values) // _EXAMINED)].astype(np.float64)
    rounding = np.abs(sample - sample.astype(np.float32)).max(axis=0)
    if not rounding.any():
        return {}
    low, high = np.percentile(sample, [25, 75], axis=0)
    spread = np.where(high > low, high - low, sample.std(axis=0))
    coarse = (rounding > _COARSE * spread) & (spread > _NOISE * np.abs(sample).max(axis=0))
    merged = {}
    for column in np.flatnonzero(coarse).tolist():
        different = np.unique(values[:, column])
        left = np.unique(different.astype(np.float32))
        if len(left) < len(different):
            merged[column] = len(different), len(left)
    return merged


def rounding_problem(values: Num[np.ndarray, "N D"], names: Sequence[str]) -> str:
    """A warning about columns that lose values in float32, by name, and how many; empty if none does."""
    merged = merged_columns(values)
    if not merged:
        return ""
    told = [f"{names[column]} ({before} different values become {after})" for column, (before, after) in merged.items()]
    more = [f"{len(told) - _MOST_NAMED} more columns"] if len(told) > _MOST_NAMED else []
    return f"float32, in which networks are trained, cannot tell values apart: {', '.join(told[:_MOST_NAMED] + more)}"
