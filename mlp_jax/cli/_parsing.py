"""From arguments to options, by tyro. A mistake is one line: what is wrong, what is expected, which help says more.

tyro draws a box for a mistake, and raises nothing that says which one it was: so the kind and the name of the option
are read from its text, and everything else is asked of the command's dataclass.
"""

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from mlp_jax.errors import InputError, shown

_FLAGS = (bool, bool | None)  # options without a value
_NAMES = {int: ("a whole number", "whole numbers"), float: ("a number", "numbers"), str: ("text", "words")}


def parsed(parse: Callable[[], Any], arguments: Sequence[str], commands: Mapping[str, Any]) -> Any:
    """Parse the arguments with tyro.

    Args:
        parse: calls tyro.
        arguments: of the program.
        commands: by name, the dataclass of each.

    Raises:
        InputError: they are not understood.
    """
    name = next(iter(arguments), "")
    if name not in commands and name[:1] not in ("", "-"):
        raise InputError(
            f"unknown command {shown(name)}: {did_you_mean(name, commands)}expected one of {', '.join(commands)} "
            "(mlp-jax --help)"
        )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return _at_home(parse())
    except SystemExit as stop:
        if not stop.code:
            raise
        text = _unframed(said.getvalue())
    if name not in commands:
        raise InputError(f"{text} (mlp-jax --help)") from None
    raise InputError(f"{_mistake(text, name, arguments[1:], commands[name])} (mlp-jax {name} --help)") from None


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


def _mistake(text: str, command: str, arguments: Sequence[str], kind: type) -> str:
    """What is wrong with a command's arguments, according to tyro's message."""
    fields = {f"--{field.name.replace('_', '-')}": field for field in dataclasses.fields(kind)}
    hints = {option: get_type_hints(kind)[field.name] for option, field in fields.items()}
    options = {**fields, **{f"--no-{option[2:]}": None for option, hint in hints.items() if hint in _FLAGS}}
    if text.startswith("Unrecognized"):
        for place, argument in enumerate(arguments):
            option = _option(argument)
            if argument.startswith("--") and option not in options:
                near = did_you_mean(option, options)
                return f"mlp-jax {command} has no option {shown(option)[1:-1]}: {near}".strip(": ")
            if argument in text.split() and place and hints.get(before := _option(arguments[place - 1])) in _FLAGS:
                return f"{before} has the value {shown(argument)}: expected none, or --no-{before[2:]} for the contrary"
        extra = re.sub(r" \(applied to .*?\)", "", text.partition(": ")[2]).partition(" Arguments are applied")[0]
        return f"mlp-jax {command} does not know what to do with {shown(extra)}"
    found = re.search(r"(?:Error parsing |for argument ')(--[\w-]+)", text)
    if found and (option := found[1]) in hints:
        if text.startswith("Missing"):
            return f"{option} has no value: expected {expected(hints[option])}"
        given = " ".join(_values(option, arguments))
        commas = ", not commas" if "," in given and get_origin(hints[option]) is tuple else ""
        return f"{option} is {shown(given)}: expected {expected(hints[option])}{commas}"
    if text.startswith("Missing from"):
        absent = [name for name in ("RUN", "--out") if f" {name} " in f"{text} "]
        if "RUN" in absent:
            return f"RUN is missing: expected what mlp-jax sweep wrote, as in mlp-jax {command} runs/sweep-..."
        return f"{' and '.join(absent)} is missing: {text.rpartition(' PATH ')[2].removesuffix(' (required)')}"
    return text


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


def _unframed(box: str) -> str:
    """The text in the box that tyro draws (in ASCII, if the locale asks for it) as one line, up to the first rule."""

    def rule(text: str) -> bool:
        return not text.strip("╰╯─+-")

    lines = (line.strip("│| \t") for line in box.splitlines()[1:])  # the first is the title
    return " ".join(itertools.takewhile(lambda text: not rule(text), itertools.dropwhile(rule, lines)))
