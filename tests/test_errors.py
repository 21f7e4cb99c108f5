"""How messages repeat a wrong value."""

import numpy as np
import pytest

from mlp_jax import Grid, InputError
from mlp_jax.errors import LONGEST_SHOWN, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.int64(1), "1"),
        (np.float32(0.1), "0.1"),
        (np.bool_(True), "True"),
        (np.str_("relu"), "'relu'"),
        ((np.int64(3), [np.float64(4.5)]), "(3, [4.5])"),
        ({np.str_("a"): np.int8(-1)}, "{'a': -1}"),
        (np.array([1, 2]), "array([1, 2])"),
        (1.5, "1.5"),
        ("a\nb", r"'a\nb'"),
    ],
)
def test_values_are_shown_as_python_writes_them(value, text):
    assert shown(value) == text


def test_long_values_are_cut():
    assert len(shown("a" * 1000)) == LONGEST_SHOWN + 3


def test_messages_of_a_grid_show_plain_numbers():
    with pytest.raises(InputError, match=r"hidden_units is -1: "):
        Grid(np.array([10, -1]))
    with pytest.raises(InputError, match=r"activations holds 'relu' 2 times"):
        Grid(activations=np.array(["relu", "relu"]))
