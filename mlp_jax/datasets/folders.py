"""A folder of images for each class, ``CLASS/*.png``, or such folders for each split, ``train/CLASS/*.png``.

The folders' names are the names of the classes, in order (as numbers, if they all are numbers). Images are read by
Pillow, in the order of their names.
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mlp_jax.datasets import carving
from mlp_jax.datasets.dataset import Dataset, naming_source
from mlp_jax.datasets.rasters import pixels, same_channels, size_of, stack
from mlp_jax.errors import DataError, SweepWarning, first_line

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
}  # names of folders, in small letters
_MOST_NAMED = 3  # files, in a message


def load_folders(place: Path) -> Dataset:
    """Read images in a folder for each class.

    Args:
        place: holds folders train and optionally test and validation (or val, valid), each with one folder per class;
            or just one folder per class. Missing splits are drawn from train: a sixth as test, then a twelfth of the
            rest as validation, from every class in proportion.

    Raises:
        DataError: there are no such folders, or an image cannot be read or differs in size.

    Warns:
        SweepWarning: some files are not images, or a split lacks a class.
    """
    with naming_source(place):
        files = _files(place)
        names = _in_order({name for classes in files.values() for name in classes})
        _check_sizes([path for classes in files.values() for paths in classes.values() for path in paths])
        images: dict[str, list[Any]] = {}
        labels: dict[str, np.ndarray] = {}
        for split, classes in files.items():
            pairs = [(path, label) for label, name in enumerate(names) for path in classes.get(name, ())]
            images[split] = stack((str(path), _read(path)) for path, _ in pairs)
            labels[split] = np.array([label for _, label in pairs])
        return images_dataset(same_channels(images), labels, names, name=place.resolve().name)


def images_dataset(
    images: dict[str, np.ndarray], labels: dict[str, np.ndarray], class_names: Sequence[str], *, name: str
) -> Dataset:
    """A data set of images ``[N, height, width, ...]`` and labels ``[N]`` by split; test is drawn if there is none."""
    lacking = [split for split in ("validation", "test") if split not in images]
    if len(images["train"]) <= len(lacking):
        raise DataError(
            f"train has {len(images['train'])} image: too few to hold {' and '.join(lacking)} out, so give more"
        )
    if "test" in lacking:
        chosen = carving.test_of(len(labels["train"]), labels["train"], seed=0)
        for part in (images, labels):
            part["train"], part["test"] = part["train"][~chosen], part["train"][chosen]
    return Dataset.from_arrays(
        images["train"],
        labels["train"],
        images["test"],
        labels["test"],
        x_validation=images.get("validation"),
        y_validation=labels.get("validation"),
        task="multiclass",
        name=name,
        class_names=class_names,
        hold_out=carving.hold_out(images["train"], labels["train"]),
    )


def _files(place: Path) -> dict[str, dict[str, list[Path]]]:
    """Files of images, by split and class."""
    folders = _folders(place)
    by_split: dict[str, Path] = {}
    for folder in folders:
        if (split := _SPLITS.get(folder.name.lower())) is not None:
            if split in by_split:
                raise DataError(f"holds both {by_split[split].name} and {folder.name}: expected one of them")
            by_split[split] = folder
    if "train" not in by_split:
        by_split = {"train": place}
    elif len(by_split) < len(folders):
        odd = next(folder.name for folder in folders if folder not in by_split.values())
        raise DataError(f"holds {odd} beside {by_split['train'].name}: expected train, test and validation alone")
    ignored: list[Path] = []
    files: dict[str, dict[str, list[Path]]] = {
        split: _classes(by_split[split], ignored) for split in ("train", "validation", "test") if split in by_split
    }
    for split, classes in files.items():
        if not any(classes.values()):
            raise DataError(
                f"holds no data{'' if split == 'train' else f' for {split}'}: expected train.csv, IDX files named as "
                f"MNIST's are, or images in a folder for each class, {by_split[split].name}/CLASS/1.png (PNG, JPEG, "
                "BMP, GIF, TIFF, WebP or PNM)"
            )
    if len({name for classes in files.values() for name in classes}) < 2:
        (name,) = files["train"]
        raise DataError(f"has a folder for class {name} alone: expected a folder for each of at least two classes")
    if ignored:
        shown = ", ".join(str(path) for path in ignored[:_MOST_NAMED]) + ", ..." * (len(ignored) > _MOST_NAMED)
        _warn(f"{place}: {len(ignored):,} files are no images, and are left out ({shown})")
    return files


def _classes(split: Path, ignored: list[Path]) -> dict[str, list[Path]]:
    """Files of images of a split, by class; adds what is no image to ``ignored``."""
    classes: dict[str, list[Path]] = {}
    ignored += [path for path in _visible(split) if not path.is_dir()]
    for folder in _folders(split):
        classes[folder.name] = []
        for path in _visible(folder):
            if path.is_dir():
                raise DataError(f"{path} is a folder: expected images alone in the folder of a class")
            (classes[folder.name] if path.suffix.lower() in _SUFFIXES else ignored).append(path)
    return classes


def _folders(place: Path) -> list[Path]:
    return [path for path in _visible(place) if path.is_dir()]


def _visible(place: Path) -> list[Path]:
    """What a folder holds, in order, without hidden files."""
    try:
        return sorted(path for path in place.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{place}: cannot be listed ({error.strerror or error}): expected a folder of images") from None


def _in_order(names: set[str]) -> list[str]:
    numbers = all(name.isascii() and name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name), name)) if numbers else sorted(names)


def _check_sizes(paths: Sequence[Path]) -> None:
    """Raise DataError if images differ in size, naming the first that has another one than most."""
    sizes = {}
    for path in paths:
        with _opened(path) as image:
            sizes[path] = size_of(image)
    ((most, count),) = Counter(sizes.values()).most_common(1)
    odd = next((path for path in paths if sizes[path] != most), None)
    if odd is not None:
        (height, width), (h, w) = sizes[odd], most
        raise DataError(
            f"{odd} has {height} × {width} pixels, and {count:,} of {len(paths):,} images have {h} × {w}: expected one "
            "size, so bring all to it"
        )


def _read(path: Path) -> np.ndarray:
    with _opened(path) as image:
        return pixels(image)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file; whatever is wrong with it is a DataError that names it."""
    try:
        with warnings.catch_warnings():  # Pillow warns of what is large, and of odd metadata
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                yield image
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image that can be read: mend it, or take it out") from None
    except DataError as error:
        raise DataError(f"{path} {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:  # of damaged files
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{path} cannot be read ({reason}): mend it, or take it out") from None


def _warn(message: str) -> None:
    warnings.warn(message, SweepWarning, stacklevel=2)
