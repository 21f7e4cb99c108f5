"""What the trials of a curve share, which rows of a table are theirs, and how a figure says so."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.runs.tables import Table

LINEAR = "M = 0 (generalized linear model)"


class Setting(NamedTuple):
    """What the trials of one curve over M share; None in a place where the settings it stands for differ."""

    activation: str | None
    learning_rate: float | None

    def text(self, told: "Setting | None" = None) -> str:
        """The parts that are known, leaving out those that ``told`` has said already."""
        activation = self.activation if told is None or told.activation is None else None
        rate = self.learning_rate if told is None or told.learning_rate is None else None
        return join(activation or "", "" if rate is None else f"learning rate {rate:g}")


def choose(table: Table, activation: str | None, learning_rate: float | None) -> Table:
    """The rows of a setting.

    Raises:
        InputError: there are none; the message says which settings there are.
    """
    chosen = where(table, of(table, Setting(activation, learning_rate)))
    if not len(chosen["trial"]):
        there = sorted(set(map(Setting, table["activation"].tolist(), table["learning_rate"].tolist())))
        known = "; ".join(setting.text() for setting in there) or "none at all"
        raise InputError(
            f"no trials with {Setting(activation, learning_rate).text() or 'any setting'}: there are {known}"
        )
    return chosen


def of(table: Table, setting: Setting) -> np.ndarray:
    """Which rows are of a setting."""
    mask = np.ones(len(table["trial"]), bool)
    if setting.activation is not None:
        mask &= table["activation"] == setting.activation
    if setting.learning_rate is not None:
        mask &= table["learning_rate"] == setting.learning_rate
    return mask


def shared_setting(settings: Iterable[Setting]) -> Setting:
    """What all of them have in common."""
    activations, rates = (set(values) for values in zip(*settings, strict=True))
    return Setting(activations.pop() if len(activations) == 1 else None, rates.pop() if len(rates) == 1 else None)


def where(table: Table, mask: np.ndarray) -> Table:
    """The rows where the mask is true."""
    return {name: column[mask] for name, column in table.items()}


def divergence_note(trials: int, kept: int) -> str:
    """How many trials a figure leaves out; empty if none."""
    gone = trials - kept
    return f"{gone} of {trials} trials diverged and {'is' if gone == 1 else 'are'} left out" if gone else ""


def spread(statistics: str, counts: Sequence[int]) -> str:
    """What bars or bands show, over how many seeds."""
    least, most = min(counts), max(counts)
    if most == 1:
        return "1 seed"
    return f"{statistics} over {most if least == most else f'{least} to {most}'} seeds"


def join(*parts: str, by: str = ", ") -> str:
    """Join the parts that are not empty."""
    return by.join(filter(None, parts))


def heading(what: str, title: str, setting: str) -> str:
    """What a figure shows, and of what: on a line of its own where a title tells."""
    return join(what, join(title, setting), by="\n" if title else ": ")
