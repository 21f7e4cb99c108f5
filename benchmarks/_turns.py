"""Taking turns: many programs that train, each in a process of its own, one epoch of one of them at a time.

A training is a generator that yields the seconds of every epoch after it, and returns the test accuracies of its
models. A worker process serves one over its standard input and output: it blocks until it reads an order, and answers
with one line of JSON. So of all the workers only the one that was asked is at work; the others cost memory alone.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")

Training = Generator[float, None, list[float]]

_EPOCH, _FINISH = "epoch", "finish"


class WorkerError(RuntimeError):
    """A worker ended without an answer."""


def stepwise(train: Callable[[Callable[[], None]], Result]) -> Generator[float, None, Result]:
    """Make a generator, which stops after every epoch, of a function that only calls back after every epoch.

    Args:
        train: what trains to the end; it is given a function to call after each epoch, which returns when the generator
            is resumed.

    Returns:
        A generator that yields the seconds of every epoch and returns what ``train`` returns. ``train`` runs in a
        thread of its own, but never while the caller does.
    """
    outcome: Future[Result] = Future()
    stopped: queue.SimpleQueue[None] = queue.SimpleQueue()
    resumed: queue.SimpleQueue[None] = queue.SimpleQueue()

    def pause() -> None:
        stopped.put(None)
        resumed.get()

    def run() -> None:
        try:
            outcome.set_result(train(pause))
        except BaseException as error:
            outcome.set_exception(error)
        stopped.put(None)

    begun = time.perf_counter()
    threading.Thread(target=run, daemon=True).start()
    stopped.get()
    while not outcome.done():
        yield time.perf_counter() - begun
        begun = time.perf_counter()
        resumed.put(None)
        stopped.get()
    return outcome.result()


def in_turn(trainings: Sequence[Training]) -> Training:
    """One epoch of each of several trainings, then the next epoch of each, ..."""
    accuracies: list[float] = []
    while not accuracies:
        seconds = 0.0
        for training in trainings:
            try:
                seconds += next(training)
            except StopIteration as end:
                accuracies += end.value
        if not accuracies:
            yield seconds
    return accuracies


def to_the_end(training: Training) -> list[float]:
    """Run a training to its end; its test accuracies."""
    while True:
        try:
            next(training)
        except StopIteration as end:
            accuracies: list[float] = end.value
            return accuracies


def serve(training: Training, about: Callable[[], dict[str, Any]]) -> None:
    """Be a worker.

    Args:
        training: to be advanced as ordered.
        about: more to say with the accuracies.
    """
    # Orders are answered on the standard output as it was; whatever a package prints goes to the standard error.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for order in sys.stdin:
            answer: dict[str, Any]
            if order.strip() == _EPOCH:
                answer = {"seconds": next(training)}
            else:
                answer = {"accuracies": [float(accuracy) for accuracy in to_the_end(training)], **about()}
            print(json.dumps(answer), file=answers, flush=True)


def last_line(text: str) -> str:
    """Of what a program said on its standard error, the line that most likely says what was wrong."""
    return (text.strip().splitlines() or ["nothing said"])[-1]


class Worker:
    """A worker process, seen from the process that gives the orders."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
        """Start it.

        Args:
            command: what runs ``serve``.
            variables: to add to the environment.
            log: file for what it prints on its standard error.
        """
        self._log = log
        self._started: float | None = time.perf_counter()
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                env=os.environ | dict(variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )

    def epoch(self) -> float:
        """Have it train one epoch; the seconds that took.

        Those of the first epoch, to be ordered at once, count from the start of the process: imports, reading the data,
        building and compiling are in them.
        """
        seconds = float(self._ask(_EPOCH)["seconds"])
        if self._started is not None:
            seconds, self._started = time.perf_counter() - self._started, None
        return seconds

    def finish(self) -> dict[str, Any]:
        """Have it train what epochs are left, and report; it says ``accuracies`` and what else ``serve`` was given."""
        return self._ask(_FINISH)

    def _ask(self, order: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            print(order, file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise WorkerError(f"exit status {status}: {last_line(self._log.read_text(errors='replace'))}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; its training is not waited for."""
        self._process.kill()
        self._process.communicate()
