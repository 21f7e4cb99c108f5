"""Interruption: the first signal lets the epoch end and saves what is trained; the second one does not."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

GRACE = 2.0
"""Seconds after the second signal before the program is ended, as an epoch may take hours."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 (as asked for)
    """A command ends early on request, with this exit code and a line that says what is left.

    Attributes:
        exit_code: the command's exit code.
        together: whether all processes (if there are several) end here.
    """

    def __init__(self, exit_code: int, message: str, *, together: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.together = together


class Stop:
    """Whether to stop, for ``sweep(stop=...)``. Used as a context manager, inside which signals are caught.

    Python runs signal handlers between its own instructions, of which there are none while the devices train an epoch:
    so a thread listens as well.
    """

    def __init__(self, parting: Callable[[], str]) -> None:
        """Start without a signal.

        Args:
            parting: the last words if the program has to be ended at the second signal.
        """
        self.signal: int | None = None
        self._parting = parting
        self._handled = self._listened = 0  # signals that handler and thread know of
        self._noting = threading.RLock()
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """The exit code that shells use: 130 for SIGINT, 143 for SIGTERM (or if another process got the signal)."""
        return 128 + (self.signal or signal.SIGTERM)

    def _note(self, number: int) -> None:
        with self._noting:
            if self.signal is None:
                self.signal = number
                _say("stopping after this epoch (once more to stop at once)")

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._handled += 1
        self._note(number)
        if max(self._handled, self._listened) > 1:  # two that came during an epoch are handled as one
            raise KeyboardInterrupt

    def _listen(self) -> None:
        while numbers := self._ear.recv(1):
            if numbers[0] not in _SIGNALS:
                continue
            self._listened += 1
            self._note(numbers[0])
            if self._listened > 1 and not self._over.wait(GRACE):
                _say(self._parting())
                os._exit(self.exit_code)

    def __enter__(self) -> Self:
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        self._over = threading.Event()
        self._wakeup_before = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True, name="signals")
        self._thread.start()
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._over.set()
        self._mouth.close()
        self._thread.join()
        self._ear.close()


def _say(text: str) -> None:
    """Write with a single system call, which is safe in a signal handler."""
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"mlp-jax: {text}\n".encode())
