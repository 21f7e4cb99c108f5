"""What commands print with: a console that works in a pipe and in any encoding, and JSON."""

import codecs
import io
import json
import math
import os
import sys
from typing import Any

from rich.console import Console

from mlp_jax.answers.terminal import ASCII


def print_in_any_encoding() -> None:
    """Have standard output and error print a similar character where their encoding lacks one."""
    codecs.register_error("mlp_jax", _like_it)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="mlp_jax")


def _like_it(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(ASCII)
    return text.encode("ascii", "replace").decode("ascii"), error.end


def console_for(*, stderr: bool = False) -> Console:
    """A console; in a pipe, which has no width, it is wide enough for every table."""
    console = _Console(stderr=stderr)
    return console if console.is_terminal else _Console(stderr=stderr, width=160)


class _Console(Console):
    """A console that goes silent once nobody reads it any more, so that the run is still written."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(record: dict[str, Any]) -> None:
    """Print as JSON, with null for NaN, which JSON lacks."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(plain(record), indent=2, allow_nan=False))
