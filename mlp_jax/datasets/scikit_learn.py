"""The small data sets in scikit-learn, without a download.

They are not split. A sixth becomes test and a sixth validation, drawn from every class in proportion, always the same
examples. Features, and the values of a regression, are standardized: mean 0 and standard deviation 1 over
the training split. The pixels of digits, 0 to 16, are scaled to [0, 1] instead.
"""

from collections.abc import Mapping

import numpy as np

from mlp_jax.datasets import carving
from mlp_jax.datasets.dataset import Dataset
from mlp_jax.errors import DataError, MissingExtraError

TASKS: Mapping[str, str] = {
    "breast_cancer": "binary",
    "diabetes": "regression",
    "digits": "multiclass",
    "iris": "multiclass",
    "wine": "multiclass",
}
"""The task of each data set by name."""


def load_scikit_learn(name: str) -> Dataset:
    """Load a data set of scikit-learn.

    Args:
        name: a key of ``TASKS``; scikit-learn's function is load_NAME.

    Raises:
        DataError: there is no such data set.
        MissingExtraError: scikit-learn is not installed.
    """
    if name not in TASKS:
        raise DataError(f"unknown data set sklearn:{name}: expected sklearn: and one of {', '.join(TASKS)}")
    try:
        from sklearn import datasets
    except ImportError:
        raise MissingExtraError(f"sklearn:{name}", "scikit-learn", "sklearn") from None
    bunch = getattr(datasets, f"load_{name}")()
    x, y = (bunch.images if name == "digits" else bunch.data), bunch.target
    train, validation, test = carving.three_parts(len(x), None if TASKS[name] == "regression" else y, seed=0)
    x = (x / 16).astype(np.float32) if name == "digits" else _standardized(x, train)
    y = _standardized(y.reshape(len(y), -1), train) if TASKS[name] == "regression" else y
    return Dataset.from_arrays(
        x[train],
        y[train],
        x[test],
        y[test],
        x_validation=x[validation],
        y_validation=y[validation],
        task=TASKS[name],
        name=name.replace("_", " "),
        class_names=[] if TASKS[name] == "regression" else [str(each) for each in bunch.target_names],
    )


def _standardized(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    mean, deviation = values[train].mean(axis=0), values[train].std(axis=0)
    return ((values - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
