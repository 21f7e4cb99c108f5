"""The command line: a module a command, each a typed configuration and what it calls."""

import contextlib
import functools
import io
import itertools
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import tyro

from mlp_jax import distributed
from mlp_jax.cli import analyse, check, data, evaluate, export, plot, predict, report, sweep, tensorboard, time, train
from mlp_jax.cli._output import print_in_any_encoding
from mlp_jax.cli._signals import Interrupted
from mlp_jax.errors import InputError, SweepWarning

COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "sweep": (sweep.Sweep, sweep.run),
    "train": (train.Train, train.run),
    "data": (data.Data, data.run),
    "check": (check.Check, check.run),
    "predict": (predict.Predict, predict.run),
    "evaluate": (evaluate.Evaluate, evaluate.run),
    "export": (export.Export, export.run),
    "tensorboard": (tensorboard.TensorBoard, tensorboard.run),
    "analyse": (analyse.Analyse, analyse.run),
    "report": (report.Report, report.run),
    "plot": (plot.Plot, plot.run),
    "time": (time.Time, time.run),
}
"""By name: the configuration, which is the command's help, and the function that runs it and returns the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, 2 for a user's mistake."""
    _hush()
    print_in_any_encoding()
    try:
        code, together = _run(arguments)
    except BaseException:
        if distributed.several():
            traceback.print_exc()
            distributed.end_alone(1)
        raise
    if code and not together:
        distributed.end_alone(code)
    return code


def _run(arguments: Sequence[str] | None) -> tuple[int, bool]:
    """The exit code, and whether all processes, if there are several, end at this place with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", SweepWarning)
            warnings.showwarning = _show
            arguments = sys.argv[1:] if arguments is None else list(arguments)
            options = _parse(arguments)
            if isinstance(options, sweep.Sweep) and options.resume is not None:
                # Once more, with what the run was begun with in place of the defaults: all that differs now was said.
                begun = sweep.begun_with(options.resume)
                options = _in_one_line(
                    lambda: tyro.cli(sweep.Sweep, prog="mlp-jax sweep", args=arguments[1:], default=begun)
                )
            return next(run for kind, run in COMMANDS.values() if isinstance(options, kind))(options), True
    except InputError as error:
        print(f"mlp-jax: error: {error}", file=sys.stderr)
        return 2, False
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print("mlp-jax: error: that does not fit in memory: ask for fewer or narrower trials", file=sys.stderr)
        return 2, False
    except OSError as error:
        print(f"mlp-jax: error: {error}", file=sys.stderr)
        return 2, False
    except Interrupted as stop:
        print(f"mlp-jax: {stop}", file=sys.stderr)
        return stop.exit_code, stop.together
    except KeyboardInterrupt:
        print("mlp-jax: interrupted: no run was written", file=sys.stderr)
        return 130, False


@functools.cache
def _hush() -> None:
    """Keep to what is raised: where Orbax gives a file up, it abandons tasks that complain too."""

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    before = sys.unraisablehook
    sys.unraisablehook = hook
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
    if issubclass(category, SweepWarning) or "persistent compilation cache" in str(message):  # which JAX cannot write
        print(f"mlp-jax: warning: {str(message).splitlines()[0]}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def _parse(arguments: Sequence[str]) -> Any:
    return _in_one_line(
        lambda: tyro.extras.subcommand_cli_from_dict(
            {name: kind for name, (kind, _) in COMMANDS.items()},
            prog="mlp-jax",
            description="How wide must the network be? Trains a whole grid of perceptrons in one XLA program.",
            args=arguments,
            config=(tyro.conf.AvoidSubcommands,),
        )
    )


def _in_one_line(parse: Callable[[], Any]) -> Any:
    """What tyro makes of the arguments; a mistake as an InputError."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse()
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(_one_line(said.getvalue())) from None


def _one_line(box: str) -> str:
    """What tyro draws as a box (of ASCII, where the locale asks for it), as a line: up to the first rule, unframed."""

    def rule(text: str) -> bool:
        return not text.strip("╰╯─+-")

    lines = (line.strip("│| \t") for line in box.splitlines()[1:])  # the first is the title
    said = itertools.takewhile(lambda text: not rule(text), itertools.dropwhile(rule, lines))
    return " ".join(said) + " (mlp-jax --help shows what is possible)"
