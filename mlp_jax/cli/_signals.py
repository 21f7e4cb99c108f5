"""Interruption: the first signal lets the epoch end and what is trained be saved, the second one does not."""

import signal
import sys
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 (as asked for)
    """A command ends early because it was asked to: with this exit code, and a line that says what is left.

    Attributes:
        exit_code: of the command.
        together: whether all processes, if there are several, end at this place.
    """

    def __init__(self, exit_code: int, message: str, *, together: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.together = together


class Stop:
    """Whether to stop, as ``sweep(stop=...)`` asks it. Used as a context, in which signals are heard."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 for SIGINT, 143 for SIGTERM (or if it came to another process)."""
        return 128 + (self.signal or signal.SIGTERM)

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        print("mlp-jax: stopping after this epoch (once more to stop at once)", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
