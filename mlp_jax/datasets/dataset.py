"""A data set in memory: three splits of features and targets, checked once, on entry."""

import contextlib
import hashlib
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import psutil
from jaxtyping import Float, Num

from mlp_jax.datasets import carving
from mlp_jax.datasets.rounding import rounding_problem
from mlp_jax.datasets.scales import check_scale, check_scales
from mlp_jax.errors import DataError, InputError, SweepWarning, first_line, instance, listed, shown, whole
from mlp_jax.tasks import get_task

DEFLATE_LIMIT = 1032
"""Deflate (gzip, zip) cannot expand by more than this factor."""

VALIDATION_FRACTION = 1 / 12  # the article's loader held 5,000 of MNIST's 60,000 training images out

NUMBER_THEM = "so number the classes 0, 1, 2, ... and give their names as class_names"
_VALUES = 'or task="regression" for values (an array in the .npz file, or an argument of Dataset.from_arrays)'
MOST_CLASSES = 1_000_000  # labels past this are identifiers or damage, and would ask for a logit each
_MOST_NAMED = 5  # classes, in a message


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One split.

    Attributes:
        features: ``[N, D]``, uint8 (images, scaled to [0, 1] when used) or floating point (used as they are). Other
            numbers become float32.
        targets: int32 class labels ``[N]``, or floating-point values ``[N, K]`` for regression. Other integers become
            int32.

    Raises:
        DataError: these are not finite features and targets of the same N ≥ 1 examples, with labels from 0.
    """

    features: Num[np.ndarray, "N D"]
    targets: Num[np.ndarray, "N *K"]

    def __post_init__(self) -> None:
        features, targets = _as_array(self.features, "features"), _as_array(self.targets, "targets")
        if features.ndim != 2 or features.shape[1] == 0:
            raise DataError(
                f"features have shape {features.shape}: expected [N, D], so flatten each example "
                "(x.reshape(len(x), -1)), as Dataset.from_arrays does"
            )
        if len(features) == 0:
            raise DataError("the split is empty: expected at least one example")
        if targets.shape[:1] != features.shape[:1]:
            raise DataError(
                f"there are {len(features)} examples but targets of shape {targets.shape}: give each example one"
            )
        if targets.dtype.kind == "f":
            if targets.ndim != 2 or targets.shape[1] == 0:
                raise DataError(
                    f"targets are {targets.dtype} of shape {targets.shape}: expected values [N, K] of a regression "
                    "(y.reshape(len(y), -1)), or integer labels [N] of classes (y.astype(int))"
                )
            targets = _checked_floats(targets, "targets")
        elif targets.ndim != 1:
            mend = "y.reshape(-1)" if targets.shape[1:] == (1,) else "y.argmax(axis=1), if they are one-hot rows"
            raise DataError(f"targets are integers of shape {targets.shape}: expected labels [N] ({mend})")
        else:
            targets = _checked_integers(targets, "targets")
        object.__setattr__(self, "features", _checked_numbers(features, "features"))
        object.__setattr__(self, "targets", targets)

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        count, width = self.features.shape
        return f"Split({count:,} × {width:,} {self.features.dtype}, targets {self.targets.dtype})"

    def check_fits(self, task: str, features: int, outputs: int, who: str = "the model") -> None:
        """Raise DataError unless a model can be trained on this split, and scored by it.

        Args:
            task: the model's task.
            features: D, the model's number of features.
            outputs: K, the model's number of logits.
            who: what takes them, for the message.
        """
        if self.features.shape[1] != features:
            raise DataError(f"examples have shape {self.features.shape[1:]}: {who} expects ({features},)")
        values = self.targets.ndim == 2
        if task == "regression":
            if not values:
                raise DataError(f"targets are labels: {who} expects values [N, {outputs}], for task regression")
            if self.targets.shape[1] != outputs:
                raise DataError(
                    f"targets have {self.targets.shape[1]} values each: {who} expects {outputs}, one an output"
                )
            return
        if values:
            raise DataError(
                f"targets are values of shape {self.targets.shape}: {who} expects integer labels [N], for task {task} "
                "(y.argmax(axis=1), if they are one-hot rows)"
            )
        classes, most = _classes(task, outputs), int(self.targets.max())
        if most >= classes:
            mend = f"{most + 1} outputs are needed, or" if task == "multiclass" else 'task="multiclass" takes more, or'
            raise DataError(
                f"labels go up to {most}: {who} has {classes} classes and expects 0 to {classes - 1} ({mend} number "
                "the classes 0, 1, 2, ...)"
            )


@dataclass(frozen=True)
class ImageForm:
    """The form of a data set's images, as needed to convert other images to it.

    Attributes:
        shape: (height, width) or (height, width, channels).
        box: side of the square that drawings fit into: the median, over the training images, of the longer side of
            the bounding box. 20 for MNIST, in images of 28 × 28.
        paper: intensity of the background, as the model sees it (uint8 scaled to [0, 1]).
        ink: intensity farthest from it.
    """

    shape: tuple[int, ...]
    box: int
    paper: float
    ink: float


@dataclass(frozen=True, eq=False, repr=False)  # equal content is equal digests
class Dataset:
    """Train, validation and test split of one problem. Made by ``load_dataset`` or ``Dataset.from_arrays``.

    However it is made, its splits fit its task and each other.

    Attributes:
        name: for titles and records.
        task: name of the task (``mlp_jax.tasks``).
        train: training split.
        validation: validation split, on which every choice is based (best width, saturation, early stopping).
        test: test split, which is only reported.
        outputs: K, the number of logits.
        class_names: one name per class; empty for regression.
        image_shape: (height, width) or (height, width, channels) if an example is an image, else None.
        transpose: the argument of ``load_dataset`` that reads it again in the same way, without a warning: True if its
            images were transposed, False if they were left as stored on request, else None.

    Raises:
        InputError: the splits or the names do not fit, or the scales contradict each other (``DataError``).

    Warns:
        SweepWarning: a split lacks a class, or the features are on a doubtful scale.
    """

    name: str
    task: str
    train: Split
    validation: Split
    test: Split
    outputs: int
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None
    transpose: bool | None = None

    def __post_init__(self) -> None:
        self.check()
        named = 0 if self.task == "regression" else _classes(self.task, self.outputs)
        if len(self.class_names) != named:
            raise DataError(f"class_names has {len(self.class_names)} names: expected {named}, one a class")
        twice = [name for name, count in Counter(self.class_names).items() if count > 1]
        if twice:
            raise DataError(f"class_names holds {_shortly(map(shown, twice))} more than once: give each class its own")
        if self.image_shape is not None and math.prod(self.image_shape) != self.features:
            raise DataError(f"image_shape is {self.image_shape}: expected one of the {self.features} features")
        features = {split: values.features for split, values in self.splits.items()}
        check_scales(features, images=self.image_shape is not None)
        check_scale("train", self.train.features, images=self.image_shape is not None)
        if self.class_names:
            _check_classes(self)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        shape = " × ".join(map(str, self.image_shape or (self.features,)))
        classes = f", {len(self.class_names)} classes ({_shortly(self.class_names)})" if self.class_names else ""
        return f"Dataset({self.name}: {self.task}, {sizes}, features {shape} {self.train.features.dtype}{classes})"

    def check(self) -> None:
        """Raise DataError unless every split is one that a model of this task can be trained on, and scored by."""
        get_task(self.task)
        for name, split in self.splits.items():
            instance(f"the {name} split", split, Split, "an mlp_jax.Split")
            with naming_source(name):
                split.check_fits(self.task, self.features, self.outputs, "the data set")

    def with_classes(self, names: Sequence[str]) -> "Dataset":
        """The same data with the classes of a model, their labels numbered as it has them.

        Classes are matched by name, or by number if one side only has numbers.

        Raises:
            DataError: the classes have other names.

        Warns:
            SweepWarning: they are in another order, or are matched by number.
        """
        names = tuple(names)
        if names == self.class_names:
            return self
        if sorted(names) == sorted(self.class_names):
            _warn(f"{self.name} has its classes in another order: they are matched by name")
            order = np.array([names.index(name) for name in self.class_names], np.int32)
            splits = {name: Split(split.features, order[split.targets]) for name, split in self.splits.items()}
            return self._changed(class_names=names, **splits)
        if len(names) == len(self.class_names) and (_numbers(len(names)) in (names, self.class_names)):
            by_number = f"{_shortly(self.class_names)} as {_shortly(names)}"
            _warn(f"{self.name} has other names for its classes: they are matched by number ({by_number})")
            return self.with_names(names)
        here, expected = set(self.class_names) - set(names), set(names) - set(self.class_names)
        raise DataError(
            f"{self.name} has other classes: {_shortly(sorted(here)) or 'none'} where "
            f"{_shortly(sorted(expected)) or 'none'} is expected, so give the same classes the same names"
        )

    def with_names(self, names: Sequence[str]) -> "Dataset":
        """The same data, whose classes have these names; warns where those that they have were not just numbers."""
        names = tuple(names)
        if names == self.class_names:
            return self
        if _numbers(len(names)) not in (names, self.class_names):
            _warn(
                f"{self.name} has other names for its classes than these very data had before ("
                f"{_shortly(self.class_names)}): they are taken as {_shortly(names)}"
            )
        return self._changed(class_names=names)

    def _changed(self, **changes: Any) -> "Dataset":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SweepWarning)  # all was said when this one was made
            return replace(self, **changes)

    @property
    def features(self) -> int:
        """D, the number of features of an example."""
        return int(self.train.features.shape[1])

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def target_text(self, target: np.ndarray) -> str:
        """A target as a person reads it: the name of its class, or its values."""
        return self.class_names[int(target)] if self.class_names else ", ".join(f"{value:.3g}" for value in target)

    def oriented(self, transpose: bool | None, *, known: str = "") -> "Dataset":
        """With its images upright: height and width swapped, if they are stored transposed.

        Args:
            transpose: whether they are stored transposed; None leaves it to ``known``.
            known: how they are known to be, as the warning says it; empty if they are not.

        Raises:
            DataError: they are to be transposed, but examples are not images.
        """
        if transpose is None and known:
            message = f"{known}: images are stored transposed, and turned upright (--no-transpose leaves them so)"
            warnings.warn(message, SweepWarning, stacklevel=2)
        if not (bool(known) if transpose is None else transpose):
            return self._changed(transpose=transpose)
        if self.image_shape is None:
            raise DataError(
                f"{self.name}: transpose is for images, and an example is {self.features} numbers: leave it out"
            )
        height, width, *channels = self.image_shape
        train, validation, test = (_transposed(split, self.image_shape) for split in self.splits.values())
        return self._changed(
            train=train,
            validation=validation,
            test=test,
            image_shape=(width, height, *channels),
            transpose=True,
        )

    def standardized(self) -> "Dataset":
        """The same data with features, and the values of a regression, of mean 0 and standard deviation 1.

        Means and deviations are those of the training split, applied to every split; what does not vary there becomes
        0. Results are float32.
        """
        splits = {}
        features = _standardizer(self.train.features)
        targets = _standardizer(self.train.targets) if self.task == "regression" else None
        for name, split in self.splits.items():
            values = split.targets if targets is None else targets(split.targets)
            splits[name] = Split(features(split.features), values)
        return self._changed(**splits)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the task and every split's type, shape and content, as hexadecimal."""
        digest = hashlib.sha256(f"{self.task} {self.outputs}".encode())
        for split in self.splits.values():
            for array in (split.features, split.targets):
                digest.update(f"{array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @cached_property
    def image_form(self) -> ImageForm | None:
        """How the training images are made; None if examples are no images."""
        if self.image_shape is None:
            return None
        images = self.train.features.reshape(len(self.train), *self.image_shape)
        scale = 255.0 if images.dtype == np.uint8 else 1.0
        low, high = float(images.min()), float(images.max())
        frame = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
        paper, ink = (low, high) if np.mean(frame) <= (low + high) / 2 else (high, low)
        drawn = images != paper if images.ndim == 3 else (images != paper).any(axis=3)
        sides = [_extent(drawn.any(axis=axis)) for axis in (1, 2)]
        return ImageForm(self.image_shape, int(np.median(np.maximum(*sides))), paper / scale, ink / scale)

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
        hold_out: Literal["random", "first"] = "random",
        split_seed: int = 0,
        feature_names: Sequence[str] = (),
    ) -> "Dataset":
        """Make a data set from arrays.

        Args:
            x_train: ``[N, ...]``; examples are flattened. uint8 is taken as image intensities and scaled to
                [0, 1] when used; anything else is used as it is, as floats. Images with channels first,
                ``[N, 3, height, width]``, become ``[N, height, width, 3]``, with a warning.
            y_train: integer labels ``[N]`` or ``[N, 1]``, one-hot rows ``[N, K]``, or for regression values
                ``[N]`` or ``[N, K]``.
            x_test: like x_train.
            y_test: like y_train.
            x_validation: like x_train; None to hold out one training example in 12.
            y_validation: like y_train; None if and only if x_validation is.
            task: ``multiclass``, ``binary`` or ``regression``; None means ``multiclass``, and is an error if the
                labels are neither integers nor one-hot rows.
            name: for titles and records.
            class_names: one per class, which determines the number of classes; by default 0 to K − 1, where K
                is the width of one-hot rows or one more than the greatest label of train (held-out ones too).
            hold_out: training examples for validation if no such split is given: ``random`` ones, from every class
                in proportion, or the ``first`` ones, as TensorFlow's loader did with MNIST.
            split_seed: seed of ``random``.
            feature_names: one per feature, for messages; by default their numbers.

        Raises:
            DataError: the arrays do not fit each other or the task; the message says which and why.
            InputError: there is no such task.

        Warns:
            SweepWarning: something is doubtful: missing classes, the scale, channels that come first, training values
                that float32 cannot tell apart.
        """
        if task is not None:
            get_task(task)
        instance("name", name, str, "text")
        class_names = tuple(str(each) for each in listed("class_names", class_names, "a list of names"))
        if not isinstance(hold_out, str) or hold_out not in ("random", "first"):
            raise InputError(f"hold_out is {shown(hold_out)}: expected random or first")
        split_seed = whole("split_seed", split_seed, 0, 2**32 - 1)
        if (x_validation is None) != (y_validation is None):
            raise DataError("validation has features or targets, not both: give x_validation and y_validation")
        raw = {"train": (x_train, y_train), "test": (x_test, y_test)}
        if x_validation is not None:
            raw["validation"] = (x_validation, y_validation)
        features = {split: _checked_features(x, split) for split, (x, _) in raw.items()}
        targets = {split: _as_array(y, f"{split} targets") for split, (_, y) in raw.items()}
        shape = features["train"].shape[1:]
        columns = [f"column {name}" for name in feature_names]
        if columns and len(columns) != math.prod(shape):
            raise DataError(f"feature_names has {len(columns)} names: expected {math.prod(shape)}, one a feature")
        _check_rounding("features", _as_array(x_train, "train features"), columns)
        if math.prod(shape) == 0:
            raise DataError(f"train examples have shape {shape}: expected at least one feature")
        for split, x in features.items():
            if x.shape[1:] != shape:
                raise DataError(
                    f"{split} examples have shape {x.shape[1:]}, those of train {shape}: give every split the same"
                )
            if targets[split].shape[:1] != x.shape[:1]:
                raise DataError(
                    f"{split} has {len(x)} examples but targets of shape {targets[split].shape}: give each example one"
                )
        if (channels := _channels_first(shape)) is not None:
            features = {split: np.ascontiguousarray(np.moveaxis(x, 1, 3)) for split, x in features.items()}
            shape, given = features["train"].shape[1:], shape
            _warn(
                f"images of shape {given} are taken to have their {channels} channel{'s' * (channels > 1)} first, and "
                f"are kept as {shape}, channels last"
            )
        if task == "regression":
            unrounded = targets["train"]
            targets, outputs, names = _checked_values(targets)
            _check_rounding("targets", unrounded)
        else:
            task = task or "multiclass"
            targets, outputs, names = _checked_labels(targets, task == "binary", class_names)
        splits = {split: Split(x.reshape(len(x), -1), targets[split]) for split, x in features.items()}
        if "validation" not in splits:
            splits["train"], splits["validation"] = _carve(splits["train"], None if hold_out == "first" else split_seed)
        return cls(
            name=name,
            task=task,
            outputs=outputs,
            class_names=names,
            image_shape=shape if len(shape) in (2, 3) else None,
            transpose=None,
            **splits,
        )

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        label: str,
        test: Any = None,
        validation: Any = None,
        task: str | None = None,
        name: str = "frame",
        standardize: bool = False,
        split_seed: int = 0,
    ) -> "Dataset":
        """Make a data set from a data frame: one column to learn, all others to learn it from.

        Args:
            frame: a pandas or polars frame, a pyarrow table, or a mapping of names to columns: numbers and booleans,
                without missing values.
            label: the column to learn. Text, booleans and categories are classes; so are whole numbers, unless there
                are few examples of each; other numbers are the values of a regression. Classes are in the order of
                a categorical column's categories, else sorted.
            test: a frame with the same columns; None to hold out one example in 6.
            validation: likewise; None to hold out one training example in 12, or in 6 if test is None as well.
            task: ``multiclass``, ``binary`` or ``regression``; None to judge by the label column.
            name: for titles and records.
            standardize: whether to standardize features, and the values of a regression (``standardized``).
            split_seed: seed of the choice of examples that are held out.

        Raises:
            DataError: there is no such column, a column is not of numbers, or values are missing; the message names
                the column and what to do.

        Warns:
            SweepWarning: something is doubtful, as in ``from_arrays``; or features are far from 1 in magnitude.
        """
        from mlp_jax.datasets import frames

        given = {"train": frame, "validation": validation, "test": test}
        return frames.load_frames(
            {split: each for split, each in given.items() if each is not None},
            label,
            task=task,
            name=name,
            standardize=standardize,
            split_seed=split_seed,
        )


def _extent(occupied: np.ndarray) -> np.ndarray:
    """Number of places from the first to the last True in each row of ``[N, S]``, ``[N]``; 0 if there is none."""
    first, last = occupied.argmax(axis=1), occupied.shape[1] - occupied[:, ::-1].argmax(axis=1)
    return np.where(occupied.any(axis=1), last - first, 0)


def machine_memory() -> int:
    """Bytes of this machine's memory, which no file may exceed."""
    return int(psutil.virtual_memory().total)


@contextlib.contextmanager
def naming_source(source: object) -> Iterator[None]:
    """Context that puts the data's source in front of error messages."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{source}: {error}") from error.__cause__


def _carve(train: Split, seed: int | None) -> tuple[Split, Split]:
    count = max(1, round(len(train) * VALIDATION_FRACTION))
    if count == len(train):
        raise DataError("train has a single example: too few to hold a validation split out, so give one")
    if seed is None:
        return _take(train, slice(count, None)), _take(train, slice(None, count))
    labels = train.targets if train.targets.ndim == 1 else None
    chosen = carving.held_out(len(train), count, seed, carving.VALIDATION, labels)
    return _take(train, ~chosen), _take(train, chosen)


def _transposed(split: Split, shape: tuple[int, ...]) -> Split:
    """The features with height and width of the images swapped; ``shape`` is the current one."""
    images = split.features.reshape(len(split), *shape)
    return Split(np.swapaxes(images, 1, 2).reshape(len(split), -1), split.targets)


def _standardizer(train: Num[np.ndarray, "N D"]) -> Callable[[Num[np.ndarray, "M D"]], Float[np.ndarray, "M D"]]:
    """A function that standardizes columns: to mean 0 and standard deviation 1 in ``train``."""
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    varies = train.min(axis=0) < train.max(axis=0)  # rounding gives equal values a deviation above 0
    return lambda values: (np.where(varies, values - mean, 0) / np.where(varies, deviation, 1)).astype(np.float32)


def _take(split: Split, examples: slice | np.ndarray) -> Split:
    return Split(split.features[examples], split.targets[examples])


def _classes(task: str, outputs: int) -> int:
    """Number of classes of a task with that many logits."""
    return 2 if task == "binary" else outputs


def _channels_first(shape: tuple[int, ...]) -> int | None:
    """Number of channels of images of that shape, if the channels certainly come first."""
    if len(shape) != 3:
        return None
    first, last = shape[0], shape[2]
    grey_or_colours = first in (1, 3) and last not in (1, 3)
    return first if grey_or_colours or (first in (2, 4) and last > 4) else None


def _check_classes(dataset: Dataset) -> None:
    """Warn if a split lacks classes that have a name or occur in another split.

    Of validation and test that is said if they have as many examples as there are classes, and could have them all.
    """
    count = len(dataset.class_names)
    present = {split: np.bincount(values.targets, minlength=count) > 0 for split, values in dataset.splits.items()}
    nowhere = ~np.any([*present.values()], axis=0)
    said = []
    if nowhere.any():
        mend = ": are they numbered 0, 1, 2, ... without a gap?" if dataset.class_names == _numbers(count) else ""
        said.append(f"no split has an example of {_named(dataset, nowhere)}{mend}")
    for split, there in present.items():
        lacking = ~there & ~nowhere
        if lacking.any() and (split == "train" or len(dataset.splits[split]) >= count):
            said.append(f"{split} has no example of {_named(dataset, lacking)}")
    if said:
        _warn(f"{dataset.name}: {'; '.join(said)}")


def _numbers(count: int) -> tuple[str, ...]:
    """Default names of classes."""
    return tuple(str(label) for label in range(count))


def _named(dataset: Dataset, which: np.ndarray) -> str:
    """Classes as a message names them."""
    names = [dataset.class_names[label] for label in np.flatnonzero(which)]
    if len(names) == 1:
        return f"class {names[0]}"
    return f"{len(names)} of {len(dataset.class_names)} classes ({_shortly(names)})"


def _shortly(names: Iterable[str]) -> str:
    """The first names, separated by commas."""
    first = [*itertools.islice(names, _MOST_NAMED + 1)]
    return ", ".join([*first[:_MOST_NAMED], "..."] if len(first) > _MOST_NAMED else first)


def _warn(message: str) -> None:
    warnings.warn(message, SweepWarning, stacklevel=2)


def _as_array(values: Any, what: str) -> np.ndarray:
    masked = _masked(values)
    if masked:
        mend = "" if what.endswith("targets") else "fill them (x.filled(0)) or "  # a label of 0 would be a class
        raise DataError(
            f"{what} hold {masked:,} masked values, which would be used as if they were not masked: {mend}leave those "
            "examples out"
        )
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O" and hasattr(values, "to_numpy"):  # a data frame of several or nullable types
            with contextlib.suppress(AttributeError, TypeError, ValueError):
                array = values.to_numpy(_plain_type(values), na_value=np.nan)
    except ValueError as error:
        raise DataError(f"{what} are not an array ({first_line(error)}): give every example the same shape") from None
    if array.dtype.kind not in "buif":
        text = array.dtype.kind in "UST" or (array.dtype.kind == "O" and any(isinstance(v, str) for v in array.flat))
        mend = NUMBER_THEM if text and what.endswith("targets") else "so convert them"
        raise DataError(f"{what} have dtype {array.dtype}: expected real numbers, {mend}")
    return array


def _masked(values: Any) -> int:
    """Number of masked values in an array or in a list of arrays."""
    if isinstance(values, list | tuple):
        return sum(_masked(each) for each in values if isinstance(each, np.ma.MaskedArray))
    return int(np.ma.count_masked(values)) if isinstance(values, np.ma.MaskedArray) else 0


def _plain_type(frame: Any) -> np.dtype:
    """NumPy dtype for all columns of a pandas data frame, or for a series; float64 if values are missing."""
    if bool(np.any(frame.isna())):
        return np.dtype(np.float64)
    columns = frame.dtypes if frame.ndim == 2 else [frame.dtype]
    return np.result_type(*(getattr(each, "numpy_dtype", each) for each in columns))


def _checked_features(x: Any, split: str) -> np.ndarray:
    array = _as_array(x, f"{split} features")
    if array.ndim < 2:
        raise DataError(f"{split} features have shape {array.shape}: expected [examples, features] or [examples, ...]")
    if len(array) == 0:
        raise DataError(f"the {split} split is empty: expected at least one example")
    return np.ascontiguousarray(_checked_numbers(array, f"{split} features"))


def _checked_numbers(array: np.ndarray, what: str) -> np.ndarray:
    """Features as uint8 or floats."""
    return array if array.dtype == np.uint8 else _checked_floats(array, what)


def _checked_floats(array: np.ndarray, what: str) -> np.ndarray:
    # What float64 can hold and float32 cannot would be infinite on the device.
    most = np.finfo(np.float32).max
    if array.size and array.dtype.kind == "f" and not (array.min() >= -most and array.max() <= most):  # nor if NaN
        place = tuple(int(index) for index in np.argwhere(~(np.abs(array) <= most))[0])
        raise DataError(f"{what} hold {array[place]} at {place}: expected finite float32 numbers, so clean them first")
    return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)


def _check_rounding(what: str, array: np.ndarray, names: Sequence[str] = ()) -> None:
    """Warn about columns of the training split, as given, whose values float32 cannot tell apart."""
    rows = array.reshape(len(array), -1)
    names = names or [f"column {column} of train {what}" for column in range(rows.shape[1])]
    if problem := rounding_problem(rows, names):
        _warn(f"{problem}: subtract its mean from each such column, of every split")


def _checked_values(raw: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int, tuple[str, ...]]:
    values = {}
    for split, y in raw.items():
        if y.ndim not in (1, 2) or y.size == 0:
            raise DataError(f"{split} targets have shape {y.shape}: expected [N] or [N, K] values")
        values[split] = _checked_floats(y.reshape(len(y), -1), f"{split} targets")
    widths = {split: y.shape[1] for split, y in values.items()}
    if len(set(widths.values())) > 1:
        counts = ", ".join(f"{width} in {split}" for split, width in widths.items())
        raise DataError(f"the number of values in a target differs ({counts}): give every split the same")
    return values, widths["train"], ()


def _checked_labels(
    raw: dict[str, np.ndarray], binary: bool, class_names: Sequence[str]
) -> tuple[dict[str, np.ndarray], int, tuple[str, ...]]:
    labels: dict[str, np.ndarray] = {}
    stated = {"class_names": len(class_names)} if class_names else {}  # the number of classes, and who says so
    if binary:
        stated["a binary task"] = 2
    for split, y in raw.items():
        if y.ndim == 2 and y.shape[1] > 1:
            stated[f"the one-hot rows of {split}"] = y.shape[1]
            y = _from_one_hot(y, split)
        elif y.ndim not in (1, 2) or y.size == 0:
            raise DataError(f"{split} labels have shape {y.shape}: expected [N] integers or [N, K] one-hot rows")
        labels[split] = _checked_integers(y.reshape(-1), f"{split} labels")
    if len(set(stated.values())) > 1:
        counts = ", ".join(f"{count} by {who}" for who, count in stated.items())
        raise DataError(f"the number of classes is not clear ({counts}): give every one of them the same")
    classes = next(iter(stated.values()), max(2, int(labels["train"].max()) + 1))
    for split, y in labels.items():
        if y.max() >= classes:
            raise DataError(
                f"{split} labels go up to {y.max()}: expected 0 to {classes - 1}, "
                + (f"by {next(iter(stated))}" if stated else "as in train (class_names can say that there are more)")
            )
    names = tuple(class_names) or _numbers(classes)
    return labels, 1 if binary else classes, names


def _from_one_hot(y: np.ndarray, split: str) -> np.ndarray:
    if not np.isin(y, (0, 1)).all():
        raise DataError(
            f"{split} labels have shape {y.shape} and are not one-hot: expected a single 1 in each row, {_VALUES}"
        )
    if not (np.count_nonzero(y, axis=1) == 1).all():
        raise DataError(
            f"{split} labels have shape {y.shape} and are not one-hot: expected a single 1 in each row, as several "
            "classes of one example, or none (multi-label), are not taken"
        )
    return y.argmax(axis=1)


def _checked_integers(y: np.ndarray, what: str) -> np.ndarray:
    if y.dtype.kind == "f" and (odd := y[y != np.round(y)]).size:
        raise DataError(f"{what} hold {odd[0]}: expected integers, {_VALUES}")
    if y.min() < 0 or y.max() >= MOST_CLASSES:
        raise DataError(f"{what} run from {y.min()} to {y.max()}: number the classes 0, 1, 2, ...")
    return y.astype(np.int32, copy=False)
