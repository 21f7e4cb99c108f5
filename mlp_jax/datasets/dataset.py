"""A data set in memory: three splits of features and targets, checked once, where they come in."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import DataError, InputError
from mlp_jax.tasks import get_task

VALIDATION_FRACTION = 1 / 12  # the article's loader held 5,000 of MNIST's 60,000 training images out

_CARVE = 0x5EED  # what the key that carves a validation split is for


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        features: ``[N, D]``, uint8 (images, scaled to [0, 1] when used) or floating point (used as they are).
        targets: int32 class labels ``[N]``, or floating-point values ``[N, K]`` for regression.
    """

    features: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test split of one problem. Made by ``load_dataset`` or ``Dataset.from_arrays``.

    Attributes:
        name: for titles and records.
        task: name of the task (``mlp_jax.tasks``).
        train: what is trained on.
        validation: what every choice looks at (best width, saturation, early stopping).
        test: what is reported, and nothing else.
        outputs: K, the number of logits.
        class_names: one name a class; empty for regression.
        image_shape: (height, width) or (height, width, channels) if an example is an image, else None.
    """

    name: str
    task: str
    train: Split
    validation: Split
    test: Split
    outputs: int
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None

    @property
    def features(self) -> int:
        """D, the number of features of an example."""
        return int(self.train.features.shape[1])

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the task and every split's type, shape and content, as hexadecimal."""
        digest = hashlib.sha256(f"{self.task} {self.outputs}".encode())
        for split in self.splits.values():
            for array in (split.features, split.targets):
                digest.update(f"{array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @classmethod
    def from_arrays(
        cls,
        x_train: Any,
        y_train: Any,
        x_test: Any,
        y_test: Any,
        *,
        x_validation: Any = None,
        y_validation: Any = None,
        task: str | None = None,
        name: str = "arrays",
        class_names: Sequence[str] = (),
        split_seed: int = 0,
    ) -> "Dataset":
        """Make a data set from arrays.

        Args:
            x_train, x_test, x_validation: ``[N, ...]``, each example flattened. uint8 is taken as image
                intensities and scaled to [0, 1] when used; anything else is used as it is, as floats.
            y_train, y_test, y_validation: integer labels ``[N]`` or ``[N, 1]``, one-hot rows ``[N, K]``, or
                for regression values ``[N]`` or ``[N, K]``.
            task: ``multiclass``, ``binary`` or ``regression``; None takes ``multiclass``, and asks for an
                answer if the labels are neither integers nor one-hot rows.
            class_names: one a class; by default the numbers.
            split_seed: where no validation split is given, one example in 12 is taken from train, chosen at
                random from this seed.

        Raises:
            DataError: the arrays do not fit each other or the task; the message says which and why.
        """
        if task is not None:
            get_task(task)
        if (x_validation is None) != (y_validation is None):
            raise DataError("validation needs both x_validation and y_validation, or neither")
        raw = {"train": (x_train, y_train), "test": (x_test, y_test)}
        if x_validation is not None:
            raw["validation"] = (x_validation, y_validation)
        features = {split: _checked_features(x, split) for split, (x, _) in raw.items()}
        for split, x in features.items():
            if x.shape[1:] != features["train"].shape[1:]:
                raise DataError(
                    f"{split} examples have shape {x.shape[1:]}, those of train {features['train'].shape[1:]}: "
                    "every split needs the same"
                )
        shape = features["train"].shape[1:]
        targets, outputs, task = _checked_targets({split: y for split, (_, y) in raw.items()}, task)
        splits = {}
        for split, x in features.items():
            if len(x) != len(targets[split]):
                raise DataError(
                    f"{split} has {len(x)} examples but {len(targets[split])} targets: expected one target each"
                )
            flat = np.ascontiguousarray(x.reshape(len(x), -1))
            splits[split] = Split(flat, targets[split])
        if flat.shape[1] == 0:
            raise DataError(f"examples of shape {shape} have no features")
        if "validation" not in splits:
            splits["train"], splits["validation"] = _carve(splits["train"], split_seed)
        return cls(
            name=name,
            task=task,
            outputs=outputs,
            class_names=_checked_class_names(class_names, task, outputs),
            image_shape=shape if len(shape) in (2, 3) else None,
            **splits,
        )


def _carve(train: Split, seed: int) -> tuple[Split, Split]:
    held_out = round(len(train) * VALIDATION_FRACTION) or 1
    if held_out >= len(train):
        raise DataError(f"train has {len(train)} example: too few to hold a validation split out; give one")
    key = jax.random.fold_in(jax.random.key(seed), _CARVE)
    order = np.asarray(jax.random.permutation(key, len(train)))
    chosen, rest = np.sort(order[:held_out]), np.sort(order[held_out:])
    return (
        Split(train.features[rest], train.targets[rest]),
        Split(train.features[chosen], train.targets[chosen]),
    )


def _checked_features(x: Any, split: str) -> np.ndarray:
    array = _as_array(x, f"{split} features")
    if array.ndim < 2:
        raise DataError(f"{split} features have shape {array.shape}: expected [examples, ...]")
    if len(array) == 0:
        raise DataError(f"the {split} split is empty: expected at least one example")
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32)
    elif array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise DataError(f"{split} features hold {array[place]} at {place}: expected finite numbers")
    return array


def _as_array(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} are not an array: {error}") from None
    if array.dtype != bool and not np.issubdtype(array.dtype, np.number):
        raise DataError(f"{what} have dtype {array.dtype}: expected numbers")
    if np.issubdtype(array.dtype, np.complexfloating):
        raise DataError(f"{what} have dtype {array.dtype}: expected real numbers")
    return array


def _checked_targets(raw: dict[str, Any], task: str | None) -> tuple[dict[str, np.ndarray], int, str]:
    arrays = {split: _as_array(y, f"{split} targets") for split, y in raw.items()}
    if task == "regression":
        return *_checked_values(arrays), task
    labels: dict[str, np.ndarray] = {}
    classes = 0
    for split, y in arrays.items():
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim == 2:
            y, width = _from_one_hot(y, split)
            if classes and width != classes:
                raise DataError(f"{split} labels have {width} classes, those of train {classes}: expected the same")
            classes = width
        elif y.ndim != 1:
            raise DataError(f"{split} labels have shape {y.shape}: expected [N] integers or [N, K] one-hot rows")
        if not (y.dtype == bool or np.issubdtype(y.dtype, np.integer)):
            if not np.array_equal(y, np.round(y)):
                raise DataError(
                    f"{split} labels are not integers (the first is {y[0]}): expected class labels, "
                    'or task="regression" for values'
                )
        if len(y) and (y.min() < 0 or y.max() > np.iinfo(np.int32).max):
            raise DataError(f"{split} labels run from {y.min()} to {y.max()}: expected 0, 1, 2, ...")
        labels[split] = y.astype(np.int32)
    seen = int(labels["train"].max()) + 1 if len(labels["train"]) else 0
    classes = classes or max(seen, 2)
    if task == "binary":
        classes = 2
    for split, y in labels.items():
        if len(y) and y.max() >= classes:
            raise DataError(
                f"{split} labels go up to {y.max()}: expected 0 to {classes - 1}"
                + (" for a binary task" if task == "binary" else ", the classes of train")
            )
    if task == "binary":
        return labels, 1, task
    return labels, classes, "multiclass"


def _checked_values(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    values = {}
    for split, y in arrays.items():
        if y.ndim not in (1, 2):
            raise DataError(f"{split} targets have shape {y.shape}: expected [N] or [N, K]")
        y = y.reshape(len(y), -1)
        if not np.isfinite(y).all():
            raise DataError(f"{split} targets hold NaN or infinite values: expected finite numbers")
        values[split] = y.astype(np.float64 if y.dtype == np.float64 else np.float32)
    widths = {split: y.shape[1] for split, y in values.items()}
    if len(set(widths.values())) > 1 or widths["train"] == 0:
        raise DataError(f"targets have {widths} values an example: expected the same number in every split")
    return values, widths["train"]


def _from_one_hot(y: np.ndarray, split: str) -> tuple[np.ndarray, int]:
    if len(y) and not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
        raise DataError(f"{split} labels have shape {y.shape} but are not one-hot: expected one 1 in each row")
    return y.argmax(axis=1), y.shape[1]


def _checked_class_names(names: Sequence[str], task: str, outputs: int) -> tuple[str, ...]:
    if task == "regression":
        return ()
    classes = 2 if task == "binary" else outputs
    if not names:
        return tuple(str(label) for label in range(classes))
    if len(names) != classes:
        raise InputError(f"{len(names)} class names for {classes} classes: expected one each")
    return tuple(str(name) for name in names)

