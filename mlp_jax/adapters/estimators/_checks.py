"""Checks of what an estimator is given, in messages of one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from mlp_jax.datasets.rounding import rounding_problem
from mlp_jax.errors import InputError, shown

# What is wrong with numbers, and how to mend it.
SCALE_X = "scale the features (StandardScaler)"
BEYOND = f"beyond what float32 can hold: {SCALE_X}"
SCALE_Y = "scale the values (TransformedTargetRegressor does, with StandardScaler)"
CENTRE = "subtract its mean from each such column first, as StandardScaler does"

_PARAMETERS = {  # by what the rest of the package calls them
    "hidden_units": "hidden_layer_sizes",
    "learning rate": "learning_rate_init",
    "L2 penalty": "alpha",
    "seed": "random_state",
    "beta1": "beta_1",
    "beta2": "beta_2",
}


@contextmanager
def as_parameters() -> Iterator[None]:
    """Context in which errors name the estimator's parameters."""
    try:
        yield
    except InputError as error:
        name, _, rest = str(error).partition(" is ")
        if name not in _PARAMETERS:
            raise
        raise InputError(f"{_PARAMETERS[name]} is {rest}") from None


def check_nothing_masked(*arrays: Any) -> None:
    """Raise InputError if a value is masked: scikit-learn would take what lies below the mask."""
    if any(np.ma.is_masked(array) for array in arrays):
        raise InputError("some values are masked: fill them (sklearn.impute), or leave their examples out")


def check_labels(y: Any) -> None:
    """Raise InputError, in clearer words than scikit-learn's, if labels are missing or of several kinds."""
    missing = y.isna() if hasattr(y, "isna") else False  # of pandas
    if np.any(missing):
        raise InputError(
            f"labels are missing from y ({np.count_nonzero(missing)} of {len(y)}): leave their examples out"
        )
    labels = np.asarray(y)
    odd = [label for label in labels.flat if not isinstance(label, str)] if labels.dtype.kind == "O" else []
    if odd:
        raise InputError(
            f"Unknown label type: y holds {shown(odd[0])} as an object: expected an array of numbers, or of text alone"
        )


def check_range(values: Num[np.ndarray, "N D"], greatest: float, names: Sequence[str], problem: str) -> None:
    """Raise InputError for the first value of greater magnitude, naming its column."""
    if len(values) and max(float(values.max()), -float(values.min())) > greatest:
        row, column = np.argwhere(np.abs(values) > greatest)[0]
        raise InputError(f"{names[column]} holds {values[row, column]:.6g}, {problem}")


def rounding_message(values: Num[np.ndarray, "N D"], names: Sequence[str], mend: str) -> str:
    """A warning about columns whose values float32 cannot tell apart; empty if there are none."""
    problem = rounding_problem(values, names)
    return f"{problem}: {mend}" if problem else ""


def check_sample_weight(sample_weight: Any, examples: int) -> Float[np.ndarray, "N"] | None:
    """The weights as an array; raises InputError unless they are a finite number, 0 or more, for each example."""
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"sample_weight is {shown(sample_weight)}: expected numbers") from None
    weights = np.full(examples, float(weights)) if weights.ndim == 0 else weights
    if weights.ndim != 1:
        raise InputError(f"sample_weight has shape {weights.shape}: expected one number for each example")
    if len(weights) != examples:
        raise InputError(f"sample_weight has {len(weights)} weights: expected one for each of the {examples} examples")
    if not np.isfinite(weights).all() or (weights < 0).any():
        odd = weights[~np.isfinite(weights) | (weights < 0)][0]
        raise InputError(f"sample_weight holds {odd:g}: expected finite numbers, 0 or more")
    if not weights.any():
        raise InputError("sample_weight: every weight is zero, expected some above 0")
    return weights
