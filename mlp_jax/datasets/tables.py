"""Tables as data sets, whatever they were read from: columns of numbers, and one column to learn.

The task is judged by the values of the column to learn. Text means classes. So do whole numbers, unless there are many
with few examples of each; other numbers are the values of a regression. Columns that hold the pixels of square images
become images.
"""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Num, Shaped

from mlp_jax.datasets import carving
from mlp_jax.datasets.dataset import Dataset
from mlp_jax.errors import DataError, SweepWarning, shown

LABELS = ("label", "labels", "class", "target", "y")
"""Usual names of the column to learn, in lower case."""

_SPLITS = ("train", "validation", "test")
_MANY_CLASSES, _EXAMPLES_OF_A_CLASS = 20, 5  # more different whole numbers, and fewer examples of each, are values
_FEW_VALUES = 10  # of numbers that are not whole: more like classes
_EXACT = 2**53  # from which on float64 no longer holds every whole number
_PIXEL = re.compile(r"(pixel|px)[ _.-]?\d+([x_.-]\d+)?|\d+x\d+", re.IGNORECASE)
_LEAST_PIXELS = 64  # of an image whose columns are not called pixels
_LEAST_LEVEL = 64  # that is reached in images; less, and the numbers are something else than intensities up to 255
_GREAT = 100  # root mean square of a feature beyond which networks learn little from it
_MOST_NAMED = 3  # columns, in a message


@dataclass(frozen=True)
class Table:
    """The rows of one split.

    Attributes:
        features: ``[N, D]``, finite: uint8 if all are whole numbers from 0 to 255, other integers, float32 or
            float64.
        columns: names of the D features.
        label: the name of the column to learn.
        targets: ``[N]`` numbers or strings; numbers of classes if ``classes`` is given.
        classes: names of classes in order, if the source states them.
    """

    features: Num[np.ndarray, "N D"]
    columns: tuple[str, ...]
    label: str
    targets: Shaped[np.ndarray, "N"]
    classes: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.features)


def compact(values: Num[np.ndarray, "N D"]) -> Num[np.ndarray, "N D"]:
    """The same numbers, in the type that ``Table.features`` has."""
    if values.dtype.kind in "bu" and values.dtype.itemsize == 1:
        return values.astype(np.uint8)
    if values.dtype.kind == "f" and not ((np.abs(values) < _EXACT) & (values == np.round(values))).all():
        return values if values.dtype == np.float32 else values.astype(np.float64)
    if values.size and values.min() >= 0 and values.max() <= 255:
        return values.astype(np.uint8)
    return values.astype(np.int64) if values.dtype.kind == "f" else values


def from_tables(
    tables: Mapping[str, Table],
    *,
    task: str | None = None,
    name: str,
    standardize: bool = False,
    mend: str = "standardize=True standardizes them",
    split_seed: int = 0,
) -> Dataset:
    """Make a data set from tables.

    Args:
        tables: by split: train, and optionally validation and test. Missing splits are drawn from train: a sixth for
            each if both are missing; else a sixth as test or a twelfth as validation.
        task: by default judged by the column to learn.
        name: the data set's name.
        standardize: whether to standardize features, and the values of a regression.
        mend: how to ask for that, for messages.
        split_seed: seed of the draw.

    Raises:
        DataError: the tables do not fit each other or the task, or there are too few rows.
    """
    train = tables["train"]
    lacking = [split for split in ("validation", "test") if split not in tables]
    if len(train) <= len(lacking):
        rows = f"{len(train)} row{'s' * (len(train) > 1)}"
        raise DataError(
            f"train has {rows}: too few to hold {' and '.join(lacking)} out, so give at least {len(lacking) + 1}"
        )
    task, targets, class_names = _targets(tables, task)
    features, images = _features(tables)
    labels = None if task == "regression" else targets["train"]
    for part in (features, targets):
        if len(lacking) == 2:
            chosen = carving.three_parts(len(train), labels, split_seed)
            part |= {split: part["train"][rows] for split, rows in zip(_SPLITS, chosen, strict=True)}
        elif "test" in lacking:
            test = carving.test_of(len(train), labels, split_seed)
            part |= {"train": part["train"][~test], "test": part["train"][test]}
    if not standardize:
        values = {"features": (features["train"], train.columns)} if not images else {}
        if task == "regression":
            values["values to learn"] = (targets["train"].reshape(-1, 1), (train.label,))
        for what, (numbers, columns) in values.items():
            _check_magnitudes(what, numbers, columns, mend)
    with warnings.catch_warnings():
        if standardize:  # which mends it
            warnings.filterwarnings("ignore", "float32, in which", SweepWarning)
        dataset = Dataset.from_arrays(
            features["train"],
            targets["train"],
            features["test"],
            targets["test"],
            x_validation=features.get("validation"),
            y_validation=targets.get("validation"),
            task=task,
            name=name,
            class_names=class_names,
            hold_out=carving.hold_out(features["train"], targets["train"]),
            split_seed=split_seed,
            feature_names=train.columns,
        )
    return dataset.standardized() if standardize else dataset


def _targets(tables: Mapping[str, Table], task: str | None) -> tuple[str, dict[str, np.ndarray], tuple[str, ...]]:
    """The task, the targets by split (labels from 0, or values), and the names of the classes."""
    label = f"column {tables['train'].label}"
    stated = {split: table.classes for split, table in tables.items()}
    if len(set(stated.values())) > 1:
        told = "; ".join(f"{split}: {', '.join(each) if each else 'none'}" for split, each in stated.items())
        raise DataError(f"{label} has other categories in each split ({told}): give every split the same")
    values = {split: table.targets for split, table in tables.items()}
    classes = stated["train"]
    numeric = all(each.dtype.kind in "buif" for each in values.values())
    if classes is not None:
        if task == "regression":
            raise DataError(f"{label} holds categories: expected numbers, for task regression")
        return _checked_classes(label, task, values, classes)
    if not numeric:
        if task == "regression":
            raise DataError(f"{label} holds text: expected numbers, for task regression")
        names = {split: np.array([str(each) for each in column]) for split, column in values.items()}
        known = np.unique(np.concatenate([*names.values()]))
        return _checked_classes(
            label, task, {split: np.searchsorted(known, each) for split, each in names.items()}, known.tolist()
        )
    together = np.concatenate([*values.values()])
    if task == "regression" or (task is None and _holds_values(label, together)):
        return "regression", {split: each.astype(np.float64) for split, each in values.items()}, ()
    if np.abs(together.astype(np.float64)).max() >= _EXACT:
        raise DataError(f"{label} holds {together.max()}: expected numbers of classes below 2^53, so number them anew")
    distinct = np.unique(together)
    named = [str(int(each)) if each == np.round(each) else f"{each:g}" for each in distinct.tolist()]
    numbered = {split: np.searchsorted(distinct, each) for split, each in values.items()}
    return _checked_classes(label, task, numbered, named)


def _checked_classes(
    label: str, task: str | None, labels: dict[str, np.ndarray], classes: Sequence[str]
) -> tuple[str, dict[str, np.ndarray], tuple[str, ...]]:
    present = np.unique(np.concatenate([*labels.values()]))
    if len(classes) < 2 or len(present) < 2:
        raise DataError(f"{label} holds {shown(classes[int(present[0])])} in every row: expected at least two classes")
    return task or "multiclass", labels, tuple(classes)


def _holds_values(label: str, numbers: Num[np.ndarray, "N"]) -> bool:
    """Whether numbers are the values of a regression rather than classes; warns if that is uncertain."""
    whole, count = bool((numbers == np.round(numbers)).all()), len(np.unique(numbers))
    if whole and (count <= _MANY_CLASSES or len(numbers) >= _EXAMPLES_OF_A_CLASS * count):
        return False
    if whole or count <= _FEW_VALUES:
        kind = "whole numbers" if whole else "numbers"
        _warn(
            f"{label} holds {count:,} different {kind} in {len(numbers):,} rows: taken as the values of a regression "
            "(task=multiclass takes them as classes)"
        )
    return True


def _features(tables: Mapping[str, Table]) -> tuple[dict[str, np.ndarray], bool]:
    """The features by split, images ``[N, side, side]`` or numbers ``[N, D]``, and whether they are images."""
    columns = tables["train"].columns
    side = math.isqrt(len(columns))
    called_pixels = all(_PIXEL.fullmatch(name) for name in columns)
    levels = all(table.features.dtype == np.uint8 for table in tables.values())
    levels = levels and int(tables["train"].features.max()) >= _LEAST_LEVEL
    unnamed = all(name.isdecimal() for name in columns) and len(columns) >= _LEAST_PIXELS
    images = side > 1 and side * side == len(columns) and (called_pixels or (unnamed and levels))
    features = {}
    for split, table in tables.items():
        x = table.features
        if x.dtype == np.uint8 and not (images and levels):
            x = x.astype(np.float32)  # uint8 would be scaled by 255
        features[split] = x.reshape(len(x), side, side) if images else x
    return features, images


def _check_magnitudes(what: str, train: Num[np.ndarray, "N D"], columns: Sequence[str], mend: str) -> None:
    """Warn about columns so large that networks learn little."""
    magnitudes = np.sqrt(np.mean(np.square(train, dtype=np.float64), axis=0))
    great = np.flatnonzero(magnitudes > _GREAT)
    if great.size:
        named = [f"{columns[column]} (root mean square {magnitudes[column]:.3g})" for column in great[:_MOST_NAMED]]
        more = [f"{great.size - _MOST_NAMED} more"] if great.size > _MOST_NAMED else []
        _warn(f"networks learn little with {what} as great as {', '.join(named + more)}: {mend}")


def aligned(table: Table, train: Table) -> Table:
    """The table of another split with its features in train's order.

    Raises:
        DataError: it has other columns.
    """
    if table.columns == train.columns:
        return table
    lacks = [column for column in train.columns if column not in set(table.columns)]
    more = [column for column in table.columns if column not in set(train.columns)]
    if lacks or more:
        what = f"lacks column {lacks[0]}" if lacks else f"has column {more[0]}, which train lacks"
        raise DataError(f"{what}: expected the columns of train ({len(train.columns)} features)")
    place = {column: index for index, column in enumerate(table.columns)}
    order = [place[column] for column in train.columns]
    return replace(table, features=table.features[:, order], columns=train.columns)


def _warn(message: str) -> None:
    warnings.warn(message, SweepWarning, stacklevel=2)
