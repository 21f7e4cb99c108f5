"""Settings, which the trials of a curve share: their rows in a table, and their names in figures."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.answers.rows import MOST_SETTINGS, POINT, SETTING, groups
from mlp_jax.errors import InputError
from mlp_jax.runs.tables import Table, criterion, shared_parts, without

_PER_INCH = 12  # characters of a figure's text

LINEAR = "M = 0 (generalized linear model)"


class Setting(NamedTuple):
    """What the trials of one or several curves over M share; None for learning rates that differ."""

    variant: str
    learning_rate: float | None

    def text(self, told: "Setting | None" = None) -> str:
        """The known parts, without those that ``told`` already mentions."""
        variant = self.variant if told is None else without(self.variant, told.variant)
        rate = self.learning_rate if told is None or told.learning_rate is None else None
        return join(variant, "" if rate is None else f"learning rate {rate:g}")


def choose(table: Table, wanted: Mapping[str, Any]) -> Table:
    """The rows with these values in the named columns.

    Raises:
        InputError: there are none; the message says which values there are.
    """
    for name, value in wanted.items():
        if name not in table:
            raise InputError(f"no column {name}: expected one of {', '.join(table)}")
        if not (table[name] == value).any():
            known = ", ".join(map(str, np.unique(table[name])[:20].tolist())) or "none at all"
            raise InputError(f"no trials with {name} {value}: there are {known}")
    mask = np.ones(len(table["trial"]), bool)
    for name, value in wanted.items():
        mask &= table[name] == value
    chosen = where(table, mask)
    if not mask.any():
        raise InputError(f"no trials with {join(*(f'{name} {value}' for name, value in wanted.items()))} together")
    return chosen


def shown(table: Table, *of: str) -> tuple[Table, str]:
    """The rows of the settings that a figure has room for, those best on validation; and a note if there are more.

    Args:
        table: trials, or epochs of trials, of which the last counts.
        *of: the columns that distinguish settings; by default variant and learning rate.
    """
    keys = list(zip(*(table[name].tolist() for name in of or SETTING), strict=True))
    count = len(set(keys))
    if count <= MOST_SETTINGS:
        return table, ""
    by = criterion(table)
    last = table["epoch"] == table["epoch"].max() if "epoch" in table else np.ones(len(keys), bool)
    merit = np.where(last & (table["diverged"] == 0), by.merit(table[by.column].astype(float)), np.nan)
    best: dict[Any, float] = dict.fromkeys(keys, -np.inf)
    for rows in groups(table, *POINT).values():
        if not np.isnan(merit[rows]).all():
            best[keys[rows[0]]] = max(best[keys[rows[0]]], float(np.nanmean(merit[rows])))
    kept = set(sorted(best, key=lambda key: best[key], reverse=True)[:MOST_SETTINGS])
    what = "settings" if len(of) != 1 else f"{of[0]}s"
    return where(
        table, np.array([key in kept for key in keys])
    ), f"the {MOST_SETTINGS} best on validation of {count} {what}"


def rows_of(table: Table, setting: Setting) -> np.ndarray:
    """The rows of a setting, as a mask."""
    return (table["variant"] == setting.variant) & (table["learning_rate"] == setting.learning_rate)


def shared_setting(settings: Iterable[Setting]) -> Setting:
    """What all settings share."""
    variants, rates = zip(*settings, strict=True)
    return Setting(shared_parts(variants), rates[0] if len(set(rates)) == 1 else None)


def where(table: Table, mask: np.ndarray) -> Table:
    """The rows where the mask is true."""
    return {name: column[mask] for name, column in table.items()}


def divergence_note(trials: int, kept: int) -> str:
    """A note on how many trials a figure leaves out; empty if none."""
    gone = trials - kept
    return f"{gone} of {trials} trials diverged and {'is' if gone == 1 else 'are'} left out" if gone else ""


def spread(statistics: str, counts: Sequence[int]) -> str:
    """A note on what bars or bands show, and over how many seeds."""
    least, most = min(counts), max(counts)
    if most == 1:
        return "1 seed"
    return f"{statistics} over {most if least == most else f'{least} to {most}'} seeds"


def join(*parts: str, by: str = ", ") -> str:
    """Join the parts that are not empty."""
    return by.join(filter(None, parts))


def wrapped(text: str, inches: float) -> str:
    """Text in as many lines as it needs, broken at commas."""
    fixed = text.replace(" ", "\xa0").replace(",\xa0", ", ")
    return textwrap.fill(fixed, max(20, int(_PER_INCH * inches)), break_on_hyphens=False).replace("\xa0", " ")


def heading(what: str, title: str, setting: str) -> str:
    """The heading of a figure: what it shows and, if a title is given, of which data, on a second line."""
    return join(what, join(title, setting), by="\n" if title else ": ")
