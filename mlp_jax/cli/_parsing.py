"""From arguments to options, by tyro. A mistake is one line: what is wrong, what is expected, which help says more.

tyro raises nothing that says which mistake it found, and its messages are not read: what is wrong follows from the
arguments and the types of the command's dataclass.
"""

import contextlib
import dataclasses
import difflib
import io
import itertools
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from mlp_jax.errors import InputError, shown

T = TypeVar("T")

_COMPLETIONS = {"--tyro-write-completion": 3, "--tyro-print-completion": 2}
"""tyro's options that make a completion script, with the number of arguments they are."""
_SHELLS = ("bash", "zsh", "fish")
"""Shells that tyro makes one for without another package."""
_FLAGS = (bool, bool | None)  # options without a value
_NAMES = {int: ("a whole number", "whole numbers"), float: ("a number", "numbers"), str: ("text", "words")}


def check_command(arguments: Sequence[str], commands: Mapping[str, Any]) -> None:
    """Raise InputError unless the program is given a command, or asked for help or a completion script.

    Args:
        arguments: of the program.
        commands: by name.
    """
    name = next(iter(arguments), "")
    if name in commands or name in ("-h", "--help"):
        return
    if (count := _COMPLETIONS.get(name)) is not None:
        if len(arguments) != count or arguments[1] not in _SHELLS:  # tyro would raise others
            wanted = " and a file" if count > 2 else ""
            raise InputError(f"{name} is {shown(' '.join(arguments[1:]))}: expected {' or '.join(_SHELLS)}{wanted}")
        return
    known = f"expected one of {', '.join(commands)} (mlp-jax --help)"
    if not name:
        raise InputError(f"no command is given: {known}")
    if name.startswith("-"):
        raise InputError(f"mlp-jax has no option {shown(name)[1:-1]}: {known}")
    raise InputError(f"unknown command {shown(name)}: {did_you_mean(name, commands)}{known}")


def parsed(kind: type[T], command: str, arguments: Sequence[str], default: T | None = None) -> T:
    """Parse the arguments of a command with tyro.

    Args:
        kind: the command's dataclass.
        command: its name.
        arguments: those behind the name.
        default: options in place of the dataclass's defaults.

    Raises:
        InputError: they are not understood.
    """
    how: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            options, left = tyro.cli(kind, prog=f"mlp-jax {command}", args=arguments, return_unknown_args=True, **how)
    except SystemExit as stop:
        if not stop.code:
            raise
        options, left = None, []
    if options is None or left:
        raise InputError(f"{_mistake(kind, command, arguments, left)} (mlp-jax {command} --help)")
    return _at_home(options)


def _at_home(options: Any) -> Any:
    """Expand ~ at the start of an option's path: shells do not do so after an equals sign.

    Raises:
        InputError: there is no such user, or no home directory.
    """

    def at_home(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(at_home, value))
        try:
            return value.expanduser() if isinstance(value, Path) else value
        except RuntimeError:
            raise InputError(f"{value}: that home directory is unknown: write the path in full") from None

    return dataclasses.replace(
        options, **{each.name: at_home(getattr(options, each.name)) for each in dataclasses.fields(options)}
    )


def _mistake(kind: type, command: str, arguments: Sequence[str], left: Sequence[str]) -> str:
    """What is wrong with a command's arguments; ``left`` are those for which tyro has no use."""
    hints = {f"--{name.replace('_', '-')}": hint for name, hint in get_type_hints(kind, include_extras=True).items()}
    places = {option: hint for option, hint in hints.items() if tyro.conf.Positional in get_args(hint)}
    hints = {option: _plain(hint) for option, hint in hints.items() if option not in places}
    options = {**hints, **{f"--no-{option[2:]}": hint for option, hint in hints.items() if hint in _FLAGS}}
    given = list(dict.fromkeys(_option(argument) for argument in arguments if argument.startswith("--")))
    for option in given:
        if option not in options:
            near = did_you_mean(option, options)
            return f"mlp-jax {command} has no option {shown(option)[1:-1]}: {near}".strip(": ")
        values = _values(option, arguments)
        if options[option] in _FLAGS:
            if values and values[0] in left:
                on = option.replace("--no-", "--", 1) if option not in hints else option
                return f"{option} has the value {shown(values[0])}: expected none; {on} for yes, --no-{on[2:]} for no"
        elif not _fit(hints[option], values):
            if not values:
                return f"{option} has no value: expected {expected(hints[option])}"
            commas = ", not commas" if "," in " ".join(values) and get_origin(hints[option]) is tuple else ""
            return f"{option} is {shown(' '.join(values))}: expected {expected(hints[option])}{commas}"
    if left:
        return f"mlp-jax {command} does not know what to do with {shown(' '.join(left))}"
    if "--run" in places and not any(_elsewhere(arguments, options)):
        return f"RUN is missing: expected what mlp-jax sweep wrote, as in mlp-jax {command} runs/sweep-..."
    for field in dataclasses.fields(kind):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        option = f"--{field.name.replace('_', '-')}"
        if needed and option in hints and option not in given:
            return f"{option} is missing: expected {expected(hints[option])}"
    return f"mlp-jax {command} does not understand {shown(' '.join(arguments))}"


def _plain(hint: Any) -> Any:
    """A type without what is said to tyro about it."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _fit(hint: Any, values: Sequence[str]) -> bool:
    """Whether tyro can make a value of that type from these words; what a scalar has no use for it leaves over."""
    hint = _plain(hint)
    if get_origin(hint) is tuple:
        return all(_fit(get_args(hint)[0], [value]) for value in values)
    if not values:
        return False
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fit(each, values) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return values[0] in map(str, get_args(hint))
    if hint is types.NoneType:
        return values[0] == "None"
    if hint in (int, float):
        try:
            hint(values[0])
        except ValueError:
            return False
    return True


def _elsewhere(arguments: Sequence[str], options: Mapping[str, Any]) -> Iterator[str]:
    """The arguments that are neither options nor their values."""
    free = 0  # values that the option before still takes
    for argument in arguments:
        if argument.startswith("--"):
            hint = options.get(_option(argument))
            several = get_origin(hint) is tuple
            free = 0 if hint in _FLAGS or "=" in argument else len(arguments) if several else 1
        elif free:
            free -= 1
        else:
            yield argument


def _option(argument: str) -> str:
    """The name of an option as the help writes it."""
    return argument.partition("=")[0].replace("_", "-")


def given(arguments: Sequence[str]) -> tuple[str, ...]:
    """The names of the fields whose options are among the arguments of a command."""
    options = (_option(argument)[2:] for argument in arguments if argument.startswith("--"))
    return tuple(dict.fromkeys(option.replace("-", "_") for option in options))


def _values(option: str, arguments: Sequence[str]) -> list[str]:
    """The value of an option, where it is given last."""
    places = [i for i, argument in enumerate(arguments) if _option(argument) == option]
    if places and "=" in (last := arguments[places[-1]]):
        return [last.partition("=")[2]]
    behind = arguments[places[-1] + 1 :] if places else ()
    return list(itertools.takewhile(lambda argument: not argument.startswith("--"), behind))


def did_you_mean(word: str, words: Mapping[str, Any]) -> str:
    """A question that ends with a space, if one of the words is much like that one; else nothing."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.7)
    return f"did you mean {near[0]}? " if near else ""


def expected(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) is Annotated:
        return expected(get_args(hint)[0])
    if get_origin(hint) is tuple:
        each = get_args(hint)[0]
        return f"{_NAMES[each][1] if each in _NAMES else expected(each)} separated by spaces"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(expected(each) for each in get_args(hint) if each is not types.NoneType)
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    return _NAMES[hint][0] if hint in _NAMES else {bool: "true or false"}.get(hint, "a path")
