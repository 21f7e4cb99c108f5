"""Image-classification data sets of TensorFlow Datasets (TFDS), read without TensorFlow.

A prepared copy is read through TFDS's data source (ArrayRecord files, images decoded by Pillow), which needs no
TensorFlow; only preparing one does. Missing splits are drawn from the train split, in about MNIST's proportions: a
sixth as test, then a twelfth of the rest as validation, from every class in proportion and always the same examples, as
TFDS prepares a set in the same order everywhere. (Its mnist holds MNIST's examples in another order, so that the first
5,000 would not be the article's; they are drawn as for any other set.)
"""

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.datasets import carving, emnist
from mlp_jax.datasets.dataset import Dataset, naming_source
from mlp_jax.errors import DataError, MissingExtraError, first_line


def load_tfds(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Load an image-classification data set of TFDS, preparing it first if necessary.

    Args:
        name: as TFDS takes it, ``NAME[/CONFIG][:VERSION]``: fashion_mnist, emnist/letters, ...
        data_dir: where TFDS keeps prepared data; None for its own default. A missing copy is downloaded and prepared
            there, which needs TensorFlow.

    Returns:
        The data set, with labels and class names from the builder's info.

    Raises:
        DataError: there is no such data set, it does not hold images of one size with one label each, or the copy
            cannot be read.
        MissingExtraError: TFDS is not installed, or the set is not prepared and TensorFlow is not installed.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise MissingExtraError(f"tfds:{name}", "tensorflow-datasets", "tfds") from None
    with naming_source(f"tfds:{name}"):
        try:
            builder = tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))
        except Exception as error:  # TFDS raises what it likes: ValueError, AssertionError, ...
            if isinstance(error, ImportError) and "tensorflow" in str(error):  # some builders cannot even start
                raise MissingExtraError(f"tfds:{name}", "tensorflow", "tfds-prepare") from None
            raise DataError(f"{first_line(error)}: expected a name in the TFDS catalogue, like fashion_mnist") from None
        image, label = _image_and_label(tfds, builder.info)
        if not builder.data_path.exists():
            _prepare(builder, image, name)
        splits = set(builder.info.splits)
        if "train" not in splits:
            raise DataError(
                f"has no train split ({', '.join(sorted(splits)) or 'none at all'}): choose another data set"
            )
        arrays = {
            split: _read(builder, split, image, label) for split in ("train", "validation", "test") if split in splits
        }
        x_train, y_train = arrays["train"]
        if "test" not in arrays:
            chosen = carving.test_of(len(x_train), y_train, seed=0)
            arrays["test"] = x_train[chosen], y_train[chosen]
            x_train, y_train = x_train[~chosen], y_train[~chosen]
        images = {"train": x_train, "test": arrays["test"][0]}
        labels = {"train": y_train, "test": arrays["test"][1]}
        if "validation" in arrays:
            images["validation"], labels["validation"] = arrays["validation"]
        names = builder.info.features[label].names or ()
        if variant := emnist.variant_of_tfds(name):  # whose classes have numbers for names there, and of letters more
            labels, names = emnist.numbered(labels, emnist.CLASSES[variant])
        return Dataset.from_arrays(
            images["train"],
            labels["train"],
            images["test"],
            labels["test"],
            x_validation=images.get("validation"),
            y_validation=labels.get("validation"),
            task="multiclass",
            name=name,
            class_names=names,
        )


def _image_and_label(tfds: Any, info: Any) -> tuple[str, str]:
    """The names of the image and the label feature."""
    candidates = [("image", "label")]
    if isinstance(info.supervised_keys, tuple):  # as some sets have others: ("image", "label_category")
        candidates.insert(0, info.supervised_keys[:2])
    features = dict(info.features.items()) if isinstance(info.features, tfds.features.FeaturesDict) else {}
    for image, label in candidates:
        if isinstance(features.get(image), tfds.features.Image) and isinstance(
            features.get(label), tfds.features.ClassLabel
        ):
            return image, label
    raise DataError(
        f"its features are {', '.join(features) or type(info.features).__name__}: "
        "expected an image and a class label, so choose an image-classification data set"
    )


def _prepare(builder: Any, image: str, name: str) -> None:
    shape = builder.info.features[image].shape
    if None in shape:  # said before gigabytes are fetched, though a set whose info does not tell may turn out even
        raise DataError(
            f"its images have no fixed size ({shape}): expected one size, the same features in every example, "
            "so choose another data set"
        )
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError(f"preparing tfds:{name} in {builder.data_path}", "tensorflow", "tfds-prepare")
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # whatever the network, the disk or the builder's own code raises
        raise DataError(
            f"could not be downloaded and prepared in {builder.data_path} ({first_line(error)}): mend that, try again"
        ) from error


def _read(builder: Any, split: str, image: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, height, width, channels]`` and labels ``[N]`` of one split, in the copy's order."""
    where = f"the copy in {builder.data_path}"
    try:
        source = builder.as_data_source(split)
        images, labels = np.empty((0, 0), np.uint8), np.empty(len(source), np.int64)
        for index, example in enumerate(source):
            pixels = np.asarray(example[image])
            if index == 0:
                images = np.empty((len(source), *pixels.shape), pixels.dtype)
            if pixels.shape != images.shape[1:]:
                raise DataError(
                    f"its images have different sizes ({images.shape[1:]} and {pixels.shape} in {split}): expected "
                    "one size, the same features in every example, so choose another data set"
                )
            images[index], labels[index] = pixels, example[label]
    except DataError:
        raise
    except NotImplementedError:
        raise DataError(
            f"{where} is in the format {builder.info.file_format.value}, which takes TensorFlow to read: expected "
            "array_record, so give another data_dir, or delete that copy, to have it prepared afresh"
        ) from None
    except Exception as error:  # whatever ArrayRecord and Pillow raise on damaged files
        raise DataError(
            f"{where} cannot be read ({first_line(error)}): delete it to have it prepared afresh"
        ) from error
    return images, labels
