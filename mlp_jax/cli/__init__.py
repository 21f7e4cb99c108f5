"""The command line: one module per command, each a typed configuration and the function that runs it."""

import dataclasses
import functools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import jax
import tyro

from mlp_jax.cli import (
    analyse,
    check,
    compare,
    data,
    evaluate,
    export,
    plot,
    predict,
    report,
    search,
    sweep,
    tensorboard,
    time,
    train,
    watch,
)
from mlp_jax.cli._configuration import options_text, read_options
from mlp_jax.cli._output import print_in_any_encoding
from mlp_jax.cli._parsing import check_command, given, parsed
from mlp_jax.cli._signals import Interrupted
from mlp_jax.cli._training import TrainingOptions
from mlp_jax.errors import InputError, SweepWarning
from mlp_jax.machine import distributed
from mlp_jax.machine.backend import check_xla_flags, require_jax

COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "sweep": (sweep.Sweep, sweep.run),
    "train": (train.Train, train.run),
    "search": (search.Search, search.run),
    "data": (data.Data, data.run),
    "check": (check.Check, check.run),
    "watch": (watch.Watch, watch.run),
    "predict": (predict.Predict, predict.run),
    "evaluate": (evaluate.Evaluate, evaluate.run),
    "export": (export.Export, export.run),
    "tensorboard": (tensorboard.TensorBoard, tensorboard.run),
    "analyse": (analyse.Analyse, analyse.run),
    "compare": (compare.Compare, compare.run),
    "report": (report.Report, report.run),
    "plot": (plot.Plot, plot.run),
    "time": (time.Time, time.run),
}
"""Commands by name: the configuration, whose docstrings are the help, and the function, which returns the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, 2 for a user's mistake."""
    _hush()
    print_in_any_encoding()
    try:
        code, together = _run_if_jax_can(arguments)
    except BaseException:
        if distributed.several():
            traceback.print_exc()
            distributed.end_alone(1)
        raise
    if code and not together:
        distributed.end_alone(code)
    return code


def _run_if_jax_can(arguments: Sequence[str] | None) -> tuple[int, bool]:
    """Run, and blame JAX's settings for a failure if JAX cannot compute with them."""
    try:
        return _run(arguments)
    except Exception:
        try:
            require_jax()
        except InputError as error:
            print(f"mlp-jax: error: {error}", file=sys.stderr)
            return 2, False
        raise


def _run(arguments: Sequence[str] | None) -> tuple[int, bool]:
    """Returns the exit code, and whether all processes (if there are several) end here with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", SweepWarning)
            warnings.showwarning = _show
            arguments = sys.argv[1:] if arguments is None else list(arguments)
            if list(arguments) == ["--version"]:
                print(f"mlp-jax {version('mlp-jax')}, jax {version('jax')}, flax {version('flax')}")
                return 0, True
            options = _parse(arguments)
            check_xla_flags()
            if isinstance(options, TrainingOptions):
                options = _with_files(options, arguments)
                if options.print_config:
                    print(options_text(options), end="")
                    return 0, True
            return next(run for kind, run in COMMANDS.values() if isinstance(options, kind))(options), True
    except InputError as error:
        print(f"mlp-jax: error: {error}", file=sys.stderr)
        return 2, False
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print("mlp-jax: error: that does not fit in memory: ask for fewer or narrower trials", file=sys.stderr)
        return 2, False
    except BrokenPipeError:  # whoever read the help has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0, False
    except OSError as error:
        print(f"mlp-jax: error: {error}", file=sys.stderr)
        return 2, False
    except Interrupted as stop:
        print(f"mlp-jax: {stop}", file=sys.stderr)
        return stop.exit_code, stop.together
    except KeyboardInterrupt:
        print("mlp-jax: interrupted: no run was written", file=sys.stderr)
        return 130, False


def _with_files(options: TrainingOptions, arguments: Sequence[str]) -> TrainingOptions:
    """The options, with those of a configuration file or of a run in place of the defaults."""
    kind = type(options)
    from_file = {} if options.config is None else read_options(options.config, kind)
    if from_file:
        options = parsed(kind, arguments[0], arguments[1:], kind(**from_file))
    if not isinstance(options, sweep.Sweep) or (run := sweep.run_of(options)) is None:
        return options
    named = (*from_file, *given(arguments[1:]))
    default = dataclasses.replace(sweep.begun_with(run), **from_file, given=named)
    return parsed(kind, arguments[0], arguments[1:], default)


@functools.cache
def _hush() -> None:
    """Silence what is raised elsewhere as well: when Orbax gives up on a file, its abandoned tasks also complain."""

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    before = sys.unraisablehook
    sys.unraisablehook = hook
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps its cache is nobody's concern


def _show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
    if issubclass(category, SweepWarning) or "persistent compilation cache" in str(message):  # which JAX cannot write
        print(f"mlp-jax: warning: {str(message).splitlines()[0]}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def _parse(arguments: Sequence[str]) -> Any:
    check_command(arguments, COMMANDS)
    if arguments[0] in COMMANDS:
        return parsed(COMMANDS[arguments[0]][0], arguments[0], arguments[1:])
    return tyro.extras.subcommand_cli_from_dict(  # help, or a completion script
        {name: kind for name, (kind, _) in COMMANDS.items()},
        prog="mlp-jax",
        description="How wide must the network be? Trains a whole grid of perceptrons in one XLA program.",
        args=arguments,
        config=(tyro.conf.AvoidSubcommands,),
    )
