"""Data sets of Hugging Face: a copy that ``save_to_disk`` wrote, or a name that the package ``datasets`` loads.

A name is looked up in that package's cache and on its hub, and downloaded as the package does, unless it is told to
stay offline (HF_HUB_OFFLINE=1). Examples are images with a label, or a table. Missing test and validation splits are
drawn from train: for images a sixth as test, then a twelfth of the rest as validation; for tables as for CSV files.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.datasets.dataset import Dataset, naming_source
from mlp_jax.datasets.folders import images_dataset
from mlp_jax.datasets.frames import table_of
from mlp_jax.datasets.naming import check_known, task_setting, yes_or_no
from mlp_jax.datasets.rasters import pixels, same_channels, stack
from mlp_jax.datasets.tables import LABELS, Table, aligned, from_tables
from mlp_jax.errors import DataError, MissingExtraError, first_line

_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


def load_huggingface(place: str, settings: Mapping[str, str]) -> Dataset:
    """Load a data set of Hugging Face.

    Args:
        place: the path of a copy on disk, or a name, ``ylecun/mnist``.
        settings: ``label``, the column to learn, by default the only class label, or the column called label, labels,
            class, target or y, or the only one of text; ``image``, the column of images, by default the only one;
            ``config``, where a name has several; of tables also ``drop``, ``task`` and ``standardize``, as of CSV
            files.

    Raises:
        DataError: there is no such data set, it does not hold images or numbers with a label, or it cannot be read.
        MissingExtraError: the package is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(f"hf:{place}", "datasets", "huggingface") from None
    with naming_source(f"hf:{place}"):
        if not place:
            raise DataError("names no data set: expected hf:NAME or hf:PATH")
        check_known(settings, ("label", "image", "config", "drop", "task", "standardize"))
        splits = _splits(datasets, _load(datasets, place, settings.get("config")))
        features = splits["train"].features
        for split, each in splits.items():
            if each.features != features:
                raise DataError(f"{split} has other columns than train: expected the same in every split")
        drop = tuple(each.strip() for each in settings.get("drop", "").split(",") if each.strip())
        images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        for each in (*drop, *(settings[key] for key in ("label", "image") if key in settings)):
            if each not in features:
                raise DataError(f"has no column {each}: expected one of {', '.join(features)}")
        label = settings.get("label") or _label(datasets, features)
        kind = features[label]
        stated = tuple(kind.names) if isinstance(kind, datasets.ClassLabel) else None
        name = Path(place).name
        if "image" in settings or len(images) == 1:
            image = settings.get("image") or images[0]
            if image not in images:
                raise DataError(f"column {image} holds no images: expected one of {', '.join(images) or 'a table'}")
            check_known(dict.fromkeys(settings, ""), ("label", "image", "config"))
            pictures = same_channels({split: stack(_images(each, image, split)) for split, each in splits.items()})
            labels = {split: _column(each, label, split) for split, each in splits.items()}
            if stated is None:
                stated, labels = _numbered(labels, label)
            return images_dataset(pictures, labels, stated, name=name)
        if images:
            raise DataError(f"has several columns of images ({', '.join(images)}): name one (:image={images[0]})")
        tables: dict[str, Table] = {}
        for split, each in splits.items():
            with naming_source(split):
                columns = {column: _column(each, column, split) for column in features if column not in drop}
                table = table_of(columns, label, stated)
                tables[split] = aligned(table, tables.get("train", table))
        return from_tables(
            tables,
            task=task_setting(settings),
            name=name,
            standardize=bool(yes_or_no(settings, "standardize")),
            mend=":standardize=yes after the name standardizes them",
        )


def _load(datasets: Any, place: str, config: str | None) -> Any:
    path = Path(place).expanduser()
    on_disk = path.is_dir() and any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
    if not on_disk and place.startswith(("/", ".", "~")) and not path.exists():
        raise DataError("no such directory: expected one that save_to_disk wrote")
    try:
        return datasets.load_from_disk(str(path)) if on_disk else datasets.load_dataset(place, config)
    except Exception as error:  # whatever the package, Arrow or the network raise
        if on_disk:
            raise DataError(f"cannot be read ({first_line(error)}): save it anew with save_to_disk") from None
        raise DataError(
            f"{first_line(error)}: expected a name that the package datasets loads, or what save_to_disk wrote"
        ) from None


def _splits(datasets: Any, found: Any) -> dict[str, Any]:
    """Train, and validation and test if they are there."""
    if isinstance(found, datasets.Dataset):
        return {"train": found}
    names = {ours: next((each for each in theirs if each in found), None) for ours, theirs in _SPLITS.items()}
    if names["train"] is None:
        raise DataError(f"has no train split ({', '.join(found) or 'none at all'}): choose another data set")
    return {ours: found[theirs] for ours, theirs in names.items() if theirs is not None}


def _label(datasets: Any, features: Mapping[str, Any]) -> str:
    """The column to learn, where nobody says which."""
    called = [name for name in features if name.lower() in LABELS]
    stated = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    texts = [
        name for name, feature in features.items() if getattr(feature, "dtype", None) in ("string", "large_string")
    ]
    for found in (stated, called, texts):
        if len(found) == 1:
            return found[0]
    several = stated or called
    told = f"has several labels ({', '.join(several)})" if several else f"its columns are {', '.join(features)}"
    raise DataError(f"{told}: name the one to learn (:label={next(iter(several or features))})")


def _column(split: Any, name: str, which: str) -> np.ndarray:
    """The values of a column, ``[N]``."""
    try:
        column = split.select_columns([name]).with_format("arrow")[:].column(name)
        values = column.to_numpy()
    except Exception as error:
        raise DataError(f"column {name} of {which} cannot be read ({first_line(error)})") from None
    if values.dtype.kind == "O" and len(values) and isinstance(values[0], np.ndarray | list | dict):
        raise DataError(f"column {name} holds {split.features[name]}: expected one value for each row, so leave it out")
    return values


def _images(split: Any, column: str, which: str) -> Iterator[tuple[str, np.ndarray]]:
    only = split.select_columns([column])
    for index in range(len(only)):
        source = f"image {index} of {which}"
        try:
            image = only[index][column]
            if image is None:
                raise DataError("is missing")
            yield source, pixels(image)
        except DataError as error:
            raise DataError(f"{source} {error}") from None
        except Exception as error:  # whatever Pillow and Arrow raise on damaged files
            raise DataError(f"{source} cannot be read ({first_line(error)})") from None


def _numbered(labels: dict[str, np.ndarray], name: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Labels from 0, and their names: numbers, or texts."""
    together = np.concatenate([*labels.values()])
    if together.dtype.kind == "O" and not all(isinstance(each, str) for each in together):
        raise DataError(f"column {name} holds values that are missing: expected a label for each image")
    if together.dtype.kind not in "buiO":
        raise DataError(f"column {name} holds {together.dtype}: expected labels, whole numbers or text")
    known = np.unique(together.astype(str) if together.dtype.kind == "O" else together)
    numbered = {
        split: np.searchsorted(known, each.astype(known.dtype) if each.dtype.kind == "O" else each)
        for split, each in labels.items()
    }
    return tuple(str(each) for each in known.tolist()), numbered
