"""Which rows of a table belong together: points, settings, the seeds of each."""

from typing import Any

import numpy as np
from jaxtyping import Int

from mlp_jax.runs.tables import REPEATS, Table

POINT = ("hidden_units", "variant", "learning_rate")
SETTING = ("variant", "learning_rate")
"""What the trials of one curve over M share."""

MOST_SETTINGS = 12
"""Most settings that get a sentence or a panel of their own; of more, those that are best on validation."""

BySeed = dict[tuple[int, ...], int]
"""The row of a trial, by seed (or whatever else distinguishes repetitions)."""


class OfSetting:
    """A statement about one setting."""

    variant: str
    learning_rate: float

    @property
    def setting(self) -> tuple[str, float]:
        """The setting: variant and learning rate."""
        return self.variant, self.learning_rate


def groups(table: Table, *columns: str) -> dict[tuple[Any, ...], Int[np.ndarray, "rows"]]:
    """The numbers of the rows that agree in these columns, by those values, in the table's order."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, values in enumerate(zip(*(table[column].tolist() for column in columns), strict=True)):
        groups.setdefault(values, []).append(i)
    return {values: np.array(rows) for values, rows in groups.items()}


def by_seed(trials: Table, *columns: str) -> dict[tuple[Any, ...], BySeed]:
    """Rows of trials that did not diverge, by the values of these columns and by seed, widths ascending."""
    found: dict[tuple[Any, ...], BySeed] = {}
    repeats = [trials[name] for name in REPEATS if name in trials]
    rows = np.flatnonzero(trials["diverged"] == 0)
    for row in rows[np.lexsort((*(each[rows] for each in repeats[::-1]), trials["hidden_units"][rows]))].tolist():
        point = tuple(trials[column][row].item() for column in columns)
        found.setdefault(point, {})[tuple(each[row].item() for each in repeats)] = row
    return found
