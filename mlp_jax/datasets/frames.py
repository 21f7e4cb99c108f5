"""Data frames, of pandas, polars or pyarrow, and mappings of names to columns; none of these packages is imported."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Num, Shaped

from mlp_jax.datasets.dataset import Dataset, naming_source
from mlp_jax.datasets.rounding import GREATEST
from mlp_jax.datasets.tables import Table, aligned, compact, from_tables
from mlp_jax.errors import DataError, InputError, shown

_MOST_NAMED = 5  # columns, in a message


def load_frames(
    frames: Mapping[str, Any],
    label: str,
    *,
    task: str | None = None,
    name: str,
    standardize: bool = False,
    split_seed: int = 0,
) -> Dataset:
    """Make a data set of frames, by split; the arguments are those of ``Dataset.from_frame``."""
    tables: dict[str, Table] = {}
    for split, frame in frames.items():
        with naming_source(split):
            table = table_of(frame, label)
            tables[split] = aligned(table, tables.get("train", table))
    return from_tables(tables, task=task, name=name, standardize=standardize, split_seed=split_seed)


def table_of(frame: Any, label: Any, classes: Sequence[str] | None = None) -> Table:
    """The table that a data frame is.

    Args:
        frame: with columns by name.
        label: the column to learn.
        classes: names of classes, where the column holds their numbers.

    Raises:
        DataError: a column does not hold numbers, or values are missing.
        InputError: this is not a data frame.
    """
    columns = _columns(frame)
    if label not in columns:
        raise DataError(f"has no column {shown(label)}: expected one of {_some(columns)}")
    target = _series(columns[label], label)
    names = [each for each in columns if each != label]
    if not names:
        raise DataError(f"has column {label} alone: expected others beside it, to learn it from")
    with _column(label):
        stated = classes if classes is not None else _categories(target)
        values = _values(target)
        _check_present(values)
        if stated is not None:
            if classes is None:
                place = {str(each): index for index, each in enumerate(stated)}
                values = np.array([place[str(each)] for each in values], np.int64)
        elif values.dtype.kind not in "uif":
            values = _texts(values)
    features = []
    for each in names:
        with _column(each):
            features.append(_numbers(_series(columns[each], each)))
    lengths = {len(each) for each in [*features, values]}
    if len(lengths) > 1:
        raise DataError(
            f"has columns of different lengths ({', '.join(map(str, sorted(lengths)))}): expected one length"
        )
    if lengths == {0}:
        raise DataError("has no rows: expected at least one example")
    return Table(
        compact(np.stack(features, axis=1)),
        tuple(str(each) for each in names),
        str(label),
        values,
        None if stated is None else tuple(str(each) for each in stated),
    )


def _columns(frame: Any) -> Mapping[Any, Any]:
    """Columns by name, in order."""
    if isinstance(frame, Mapping):
        return frame
    if not hasattr(frame, "columns") or not hasattr(frame, "__getitem__"):
        raise InputError(f"the frame is {shown(frame)}: expected a data frame, or a mapping of names to columns")
    names = list(getattr(frame, "column_names", frame.columns))  # pyarrow's columns are not names
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"has two columns called {shown(twice)}: give each its own name")
    return {name: frame[name] for name in names}


@contextlib.contextmanager
def _column(name: Any) -> Iterator[None]:
    with naming_source(f"column {name}"):
        yield


def _series(values: Any, name: Any) -> Any:
    if np.ndim(values) != 1:
        raise DataError(f"column {name} has shape {np.shape(values)}: expected one value for each row")
    return values


def _categories(series: Any) -> list[Any] | None:
    """The categories of a categorical column, in order; None for another."""
    dtype: Any = getattr(series, "dtype", None)
    if hasattr(dtype, "categories"):  # pandas, and polars' Enum
        return list(dtype.categories)
    if type(dtype).__name__ == "Categorical":  # polars'
        return list(series.cat.get_categories())
    return None


def _values(series: Any) -> Shaped[np.ndarray, "N"]:
    """The values, with NaN or None where they are missing."""
    if isinstance(series, np.ma.MaskedArray) and np.ma.count_masked(series):
        raise DataError("holds masked values: fill them, or leave those rows out")
    array = np.asarray(series)
    if array.dtype.kind != "O":
        return array
    present = [value for value in array.tolist() if not _is_missing(value)]
    if len(present) == len(array) and all(isinstance(value, bool | int | float | np.number) for value in present):
        numbers = np.array(present)  # a nullable type of pandas, none of them null
        return numbers if numbers.dtype.kind != "O" else numbers.astype(np.float64)  # past 64 bits
    return array


def _is_missing(value: Any) -> bool:
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _check_present(values: np.ndarray) -> None:
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind == "O":
        missing = np.array([_is_missing(value) for value in values], bool)
    else:
        return
    if missing.any():
        raise DataError(
            f"{missing.sum():,} of {len(missing):,} values are missing, the first in row {int(missing.argmax())} "
            "(counted from 0): fill them in, or leave those rows out"
        )
    if values.dtype.kind == "f" and not (np.abs(values) <= GREATEST).all():
        row = int((~(np.abs(values) <= GREATEST)).argmax())
        raise DataError(f"holds {values[row]} in row {row} (counted from 0): expected finite float32 numbers")


def _texts(values: np.ndarray) -> np.ndarray:
    plain = values.tolist()
    if values.dtype.kind not in "bUOT" or not all(isinstance(value, str | bool | int | float) for value in plain):
        raise DataError(f"holds {values.dtype} values like {shown(plain[0])}: expected numbers, text or categories")
    return np.array([str(value) for value in plain], object)


def _numbers(series: Any) -> Num[np.ndarray, "N"]:
    """A column to learn from."""
    values = _values(series)
    _check_present(values)
    if _categories(series) is not None or values.dtype.kind not in "buif":
        strings = values.dtype.kind in "UT" or any(isinstance(value, str) for value in values.tolist())
        text = strings or _categories(series) is not None
        mend = (
            "make a column of 0 and 1 of each value (pandas.get_dummies, polars.DataFrame.to_dummies)"
            if text
            else "turn them into numbers"
        )
        first = f" like {shown(values[0])}" if len(values) else ""
        raise DataError(f"holds {'text' if text else str(values.dtype)}{first}: expected numbers, so {mend} or drop it")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values


def _some(names: Mapping[Any, Any]) -> str:
    named = [str(each) for each in names]
    return ", ".join(named[:_MOST_NAMED]) + ", ..." * (len(named) > _MOST_NAMED)
