"""The options that say what trials are, made from the declarations of ``mlp_jax.training.axes``."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import tyro

from mlp_jax.errors import InputError, shown, whole
from mlp_jax.networks.layers import Widths
from mlp_jax.sweeps.grid import Grid
from mlp_jax.training.axes import AXES, OF_RECIPE, RULE, Axis
from mlp_jax.training.recipe import Recipe

T = TypeVar("T")


def _kind(axis: Axis) -> Any:
    """The type of an axis's values on the command line."""
    return Literal[axis.choices] if axis.choices else type(axis.default)


def with_axes(*, several: bool) -> Callable[[type[T]], type[T]]:
    """Add one option to a command's dataclass for each axis that has a default.

    Args:
        several: whether an option takes any number of values, to train every combination.
    """

    def add(command: type[T]) -> type[T]:
        fields: list[tuple[str, Any, Any]] = []
        for axis in (AXES[each] for each in RULE):
            default = getattr(Recipe(), axis.name) if axis.name in OF_RECIPE else axis.default
            kind: Any = tuple.__class_getitem__((_kind(axis), ...)) if several else _kind(axis)
            described = Annotated.__class_getitem__((kind, tyro.conf.arg(help=axis.help)))  # type: ignore[attr-defined]
            fields.append((axis.name, described, dataclasses.field(default=(default,) if several else default)))
        namespace = {"__module__": command.__module__, "__doc__": command.__doc__}
        return dataclasses.make_dataclass(command.__name__, fields, bases=(command,), namespace=namespace)

    return add


def values_of(options: Any) -> dict[str, tuple[Any, ...]]:
    """The values that the options give each axis that has a default, by the axis's name."""
    found = {}
    for name in RULE:
        value = getattr(options, name)
        found[name] = value if isinstance(value, tuple) else (value,)
        if not found[name]:
            raise InputError(f"--{name.replace('_', '-')} has no value: expected at least one")
    return found


def axes_of(options: Any) -> dict[str, Sequence[Any]]:
    """The same as arguments of ``Grid``, without what the recipe holds."""
    values = values_of(options)
    alone = {name for name in OF_RECIPE if len(values[name]) == 1}
    return {AXES[name].plural: each for name, each in values.items() if name not in alone}


def of_recipe(options: Any) -> dict[str, int]:
    """Epochs and batch size of the recipe: the greatest, if trials have their own."""
    values = values_of(options)
    return {name: max(whole(name, each, 1, 2**31 - 1) for each in values[name]) for name in OF_RECIPE}


def widths(text: Sequence[str]) -> tuple[Widths, ...]:
    """Hidden layers from the command line: 100 is one, 100-50 two, 0 none.

    Raises:
        InputError: it is neither.
    """
    found: list[Widths] = []
    for each in text:
        if not re.fullmatch(r"[+-]?\d{1,18}(-\d{1,18})*", each, re.ASCII):
            raise InputError(
                f"--hidden-units is {shown(each)}: expected whole numbers separated by spaces, or 100-50 for two layers"
            )
        layers = (int(each),) if each[0] in "+-" else tuple(map(int, each.split("-")))
        found.append(layers if len(layers) > 1 else layers[0])
    return tuple(found)


def widths_text(hidden_units: Any) -> str:
    """The reverse of ``hidden_layers``, for one trial."""
    return "-".join(map(str, hidden_units)) if isinstance(hidden_units, list | tuple) else str(hidden_units)


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a sweep, by their names, that a configuration came from; of a sum of grids all its values.

    Raises:
        InputError: it makes no sense.
    """
    grid = Grid.from_axes(config)
    found = {name: grid.values(name) for name in RULE if name not in OF_RECIPE}
    for name in OF_RECIPE:
        plural = AXES[name].plural
        found[name] = tuple(config[plural]) if plural in config else (config[name],)
    return found | {"hidden_units": tuple(map(widths_text, config["hidden_units"]))}
