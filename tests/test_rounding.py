"""Which columns float32 cannot hold, and which it can."""

import numpy as np
import pytest

from mlp_jax.datasets.rounding import merged_columns

SECONDS = np.arange(300.0)
NOISE = np.random.default_rng(0).normal(size=300)


@pytest.mark.parametrize(
    ("values", "left"),
    [
        (1.7e9 + SECONDS, 3),  # float32 has a number every 128 there
        ((1.7e9 + SECONDS).astype(np.int64), 3),
        (-1.7e9 - SECONDS, 3),
        (1.7e18 + 1e9 * SECONDS, 3),  # the same in nanoseconds
        (np.r_[0, 1.7e9 + SECONDS[1:]], 4),  # with a mark for a missing one
        (np.r_[np.full(280, 1.7e9), 1.7e9 + SECONDS[:20]], 1),
        (2**24 + np.array([0, 1]), 1),
    ],
)
def test_columns_that_lose_values(values, left):
    columns = np.stack([np.linspace(0, 1, len(values)), values], axis=1)
    assert merged_columns(columns) == {1: (len(np.unique(values)), left)}


@pytest.mark.parametrize(
    "values",
    [
        (1.7e9 + SECONDS).astype(np.float32),  # nothing more is lost
        1.7e9 + 86_400 * SECONDS,  # days
        2.0**24 - SECONDS,
        np.random.default_rng(0).uniform(size=200_000),  # some thousand become equal
        1e6 + 1e4 * NOISE,
        np.array([0.3, 0.1 + 0.2] * 9),  # meant to be the same
        np.array([0, 0.3, 0.1 + 0.2] * 9),
        np.full(5, 0.1),
        np.array([1e9 + 0.1]),
        np.array([True, False]),
        np.zeros(0),
    ],
)
def test_columns_that_lose_nothing_of_use(values):
    assert merged_columns(values[:, None]) == {}
