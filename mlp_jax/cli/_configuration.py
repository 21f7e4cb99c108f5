"""Options from a configuration file (TOML, or the config.json of a run), and options as TOML."""

import dataclasses
import json
import math
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mlp_jax.cli._axes import options_of
from mlp_jax.cli._parsing import did_you_mean, expected
from mlp_jax.errors import InputError, first_line, shown
from mlp_jax.runs.directory import grid_of, read_json
from mlp_jax.sweeps.halving import search_of
from mlp_jax.training.axes import AXES

_NOT_IN_FILES = ("config", "print_config", "given")
"""Fields of the commands' dataclasses that no file sets."""
_SINGULAR = {"activations": "activation", "learning_rates": "learning_rate"}
"""What ``mlp-jax train``, which trains one model, calls an option of ``mlp-jax sweep``."""


def read_options(path: Path, kind: type) -> dict[str, Any]:
    """The options that a configuration file gives a command.

    Args:
        path: a TOML file of options by name, with dashes or underscores; or a run directory or its config.json.
        kind: the command's dataclass.

    Returns:
        The values by field name, of the fields' types.

    Raises:
        InputError: the file can't be read, holds an option that the command does not have or a value of another type,
            or is of a run whose trials no options describe.
    """
    path = path / "config.json" if path.is_dir() else path
    content = read_json(path) if path.suffix.lower() == ".json" else _read_toml(path)
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in _NOT_IN_FILES}
    if "dataset_digest" in content:
        content = _options_of_run(content, path, hints)
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in hints:
            near = did_you_mean(name, hints)
            raise InputError(f"{path}: mlp-jax {kind.__name__.lower()} has no option {shown(key)}: {near}".rstrip(": "))
        if name in found:
            raise InputError(f"{path}: {name} is given twice: expected it once, with dashes or with underscores")
        try:
            found[name] = _typed(hints[name], value)
        except (TypeError, OverflowError):
            wanted = expected(hints[name]).replace("separated by spaces", "in a list")
            raise InputError(f"{path}: {key} is {shown(value)}: expected {wanted}") from None
    return found


def options_text(options: Any) -> str:
    """The options of a command as TOML that ``read_options`` reads; those that are not set are left out."""
    fields = (each.name for each in dataclasses.fields(options) if each.name not in _NOT_IN_FILES)
    values = {name: getattr(options, name) for name in fields}
    return "".join(f"{name} = {_toml(value)}\n" for name, value in values.items() if value is not None)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): expected a TOML file of options") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not TOML ({first_line(error)})") from None


def _options_of_run(config: Mapping[str, Any], path: Path, hints: Mapping[str, Any]) -> dict[str, Any]:
    """The options that would begin the same run.

    Raises:
        InputError: there are none: its trials are not every combination of values, or its seeds do not count up.
    """
    try:
        grid, values = grid_of(config), options_of(config)
        decided = search_of(config["search"]) if config.get("search") else None
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the configuration of a run ({first_line(error)})") from None
    seeds = grid.values("seed")
    if math.prod(len(grid.values(name)) for name in AXES) != len(grid.trials):
        raise InputError(f"{path}: that run's trials are not all combinations of values, which options could give")
    if seeds != tuple(range(seeds[0], seeds[0] + len(seeds))):
        raise InputError(f"{path}: that run's seeds do not count up by one, as those of --seeds and --first-seed do")
    values |= {name: config[name] for name in hints if name in config and name not in values}
    if config.get("dataset_path"):
        values["dataset"] = config["dataset_path"]  # the name may be a path from where that run was started
    if decided is not None and "eta" in hints:
        values |= {name: getattr(decided, name) for name in ("method", "eta", "first_epochs", "budget")}
        values["search_seed"] = decided.seed
    values |= {"activations": config["activations"], "learning_rates": config["learning_rates"]}
    if "seeds" in hints:
        values |= {"seeds": len(seeds), "first_seed": seeds[0]}
    else:
        values = _of_one_model(values | {"seed": seeds}, path)
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {name: value for name, value in values.items() if name in hints and value is not None}


def _of_one_model(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The options of ``mlp-jax train`` from those of a sweep; raises InputError if they are of several models."""
    found: dict[str, Any] = {}
    for plural, value in values.items():
        name = _SINGULAR.get(plural) or plural
        if isinstance(value, list | tuple):
            if len(value) > 1:
                raise InputError(f"{path}: that run has {len(value)} values of {name}: expected one model's")
            value = value[0]
        found[name] = value
    return found


def _typed(hint: Any, value: Any) -> Any:
    """The value as an option of that type; raises TypeError (or OverflowError, for a float) if it is none."""
    if get_origin(hint) is tuple:
        each = get_args(hint)[0]
        return tuple(_typed(each, one) for one in (value if isinstance(value, list) else [value]))
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(each for each in get_args(hint) if each is not types.NoneType)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is str and number:  # a width or a rate among texts such as 100-50 and 8..256
        return repr(value)
    if hint is float and number:
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    fits = value in get_args(hint) if get_origin(hint) is Literal else type(value) is hint
    if not fits:
        raise TypeError
    return value


def _toml(value: Any) -> str:
    """A value of an option in TOML's syntax."""
    if isinstance(value, tuple):
        return f"[{', '.join(each if _is_whole(each) else _toml(each) for each in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # else JSON's escapes are TOML's


def _is_whole(value: Any) -> bool:
    """Whether a text, such as a width, is a whole number as TOML writes it."""
    return isinstance(value, str) and value.isascii() and value.isdecimal() and str(int(value)) == value
