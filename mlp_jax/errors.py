"""Exceptions for when the user's input or the machine is at fault, and the checks that raise them."""

import numbers
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

LONGEST_SHOWN = 80
"""Longest part of a wrong value that a message repeats, in characters."""


class InputError(ValueError):
    """Bad input: one line that says what was wrong, what was expected and how to mend it."""

    def __init__(self, message: str) -> None:
        """Keep the message on one line, and keep control characters (in file names, say) off the terminal."""
        super().__init__(
            "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(message))
        )


class DataError(InputError):
    """Data that cannot be used as asked: a damaged file, labels that do not fit the task, ..."""


class MissingExtraError(InputError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        super().__init__(
            f'{purpose} needs the package {package}, which is not installed: python -m pip install "mlp-jax[{extra}]"'
        )


class SweepStopped(Exception):  # noqa: N818 (nothing went wrong)
    """A sweep stopped early on request; what was trained is saved, if it had a directory to save to.

    Attributes:
        saved: the directory to resume from; None if there is none.
    """

    def __init__(self, saved: Path | None) -> None:
        super().__init__("stopped" if saved is None else f"stopped; saved in {saved}")
        self.saved = saved


class SweepWarning(UserWarning):
    """Something doubtful that did not stop the work, but that the user should know."""


def shown(value: Any) -> str:
    """A wrong value as messages show it: as Python writes it (NumPy's numbers like Python's), shortened if long."""
    try:
        with np.printoptions(legacy="1.25"):  # before NumPy 2 wrote np.int64(1) for 1, in lists and tuples too
            text = repr(value)
    except Exception:  # anybody's class may be passed, and whole numbers past 4,300 digits raise ValueError
        text = f"a {type(value).__name__} that cannot be printed"
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def whole(name: str, value: Any, least: int, most: int) -> int:
    """The value as an int: from Python's or NumPy's, or from an array without dimensions.

    Raises:
        InputError: it is not a whole number from ``least`` to ``most`` (inclusive), or it is a boolean.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise InputError(f"{name} is {shown(value)}: expected a whole number from {least} to {most}")
    return number


def real(name: str, value: Any, fits: Any, expected: str) -> float:
    """The value as a Python number: from Python's or NumPy's, or from an array without dimensions.

    Args:
        name: for the message.
        value: what was given.
        fits: whether a number will do, called with it.
        expected: the same for the message.

    Raises:
        InputError: it is not a real number, or does not fit.
    """
    number = value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool) or not isinstance(number, numbers.Real) or not fits(number):
        raise InputError(f"{name} is {shown(value)}: expected {expected}")
    return float(number)


def instance(name: str, value: Any, kind: Any, expected: str) -> None:
    """Raise InputError unless the value is of that type, or of one of several joined by ``|``."""
    if not isinstance(value, kind):
        raise InputError(f"{name} is {shown(value)}: expected {expected}")


def listed(name: str, values: Any, expected: str) -> Sequence[Any]:
    """The values as a list; raises InputError unless they are a sequence (not text) or a one-dimensional array."""
    in_order = isinstance(values, Sequence) or (isinstance(values, np.ndarray) and values.ndim == 1)
    if isinstance(values, str | bytes) or not in_order:  # text is a sequence, but of characters
        raise InputError(f"{name} is {shown(values)}: expected {expected}")
    return values


def first_line(error: BaseException) -> str:
    """A library exception's message, on the one line that our messages have."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .:") if lines else type(error).__name__


def one_of(what: str, value: Any, known: Any) -> str:
    """The name; raises InputError unless it is a known one."""
    if not isinstance(value, str) or value not in known:
        raise InputError(f"unknown {what} {shown(value)}: expected one of {', '.join(known)}")
    return value
