"""What commands print with: a console that works in a pipe, and JSON."""

import json
import math
import os
import sys
from typing import Any

from rich.console import Console


def console_for(*, stderr: bool = False) -> Console:
    """A console; in a pipe, which has no width, wide enough for every table."""
    console = _Console(stderr=stderr)
    return console if console.is_terminal else _Console(stderr=stderr, width=160)


class _Console(Console):
    """One that falls silent when nobody reads any more, so that the run is still written."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(record: dict[str, Any]) -> None:
    """Print as JSON, which has no NaN: null instead."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(plain(record), indent=2, allow_nan=False))
