"""Time the sweep against other ways to train it, side by side.

    python benchmarks/peers.py                     an epoch of the whole sweep, by every peer
    python benchmarks/peers.py --whole-process     a whole program: Keras, and mlp-jax sweep

needs: python -m pip install -e ".[peers]"; a peer whose package is missing is named and left out. Takes minutes on 2
cores, on a machine with nothing else to do. Writes a record and a figure, peers-cpu or whole-process-cpu (-gpu), to
benchmarks/records.

Every peer runs in a process of its own. In each round every process trains two epochs of all its models while the
others wait, in an order drawn anew: what slows the machine for a while slows all of them. The second is timed, the
first brings the caches back to its own data. The first epoch of all, counted from the start of the process, is the cold
one; cached is the same for a peer that compiles, in a process of its own that finds what another one compiled; warm is
the median of those timed later. All have then trained equally long, and their test accuracies stand beside their times.
"""

import contextlib
import csv
import importlib.util
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _chart import Bar, Panel, draw
from _record import RECORDS, environment, summary, write_record
from _turns import Worker, WorkerError, last_line
from peer_workers import CACHE_DIRECTORY, PEERS, Name, Problem, worker_command
from rich import box
from rich.console import Console
from rich.table import Table

import mlp_jax

ARTICLE_WIDTHS = (10, 25, 50, 100, 150, 200)
OURS: Name = "jax-packed"  # what the others are compared with

_SETTLE = 0.3  # seconds between turns, in which threads that wait actively for more work give up
_MOST_WIDTHS_SHOWN = 6


@dataclass(frozen=True)
class Options:
    """Time the sweep against other ways to train it, side by side."""

    widths: tuple[int, ...] = ARTICLE_WIDTHS
    """Hidden units of the models: the article's."""
    peers: tuple[Name, ...] = tuple(name for name in PEERS if name != "parallel-mlps")
    """Who trains them."""
    wide_widths: tuple[int, ...] = tuple(range(10, 201, 10))
    """Hidden units of a second, larger sweep."""
    wide_peers: tuple[Name, ...] = ("torch", "torch-padded", "parallel-mlps", "jax-packed-one", OURS)
    """Who trains that (nobody: --wide-peers and nothing after it)."""
    rounds: int = 5
    """How many warm epochs to time; or, with --whole-process, how often to run each program."""
    train_size: int | None = None
    """Train on this many examples only, to try the benchmark out."""
    whole_process: bool = False
    """Time whole programs instead: Keras (TensorFlow backend), 1 seed, and mlp-jax sweep, 1 and 5 seeds; with 1 seed
    also where an earlier run has left its compiled programs, as it does unless --no-cache is given."""
    epochs: int = 20
    """Of each program, with --whole-process."""
    out: Path = RECORDS
    """Directory of the record and the figure."""


@dataclass(frozen=True)
class Measurement:
    """What one contestant did.

    Attributes:
        name, title: of the contestant.
        ours: whether it is mlp_jax.
        widths: of its models.
        device: ``cpu``, or an accelerator's name; empty if it is not known.
        cold: seconds of the first epoch, from the start of the process; None where whole programs are timed.
        cached: the same where all is compiled already; None for a peer that does not compile.
        samples: seconds of the warm epochs, or of the whole programs.
        accuracies: on the test split, of each width (with several seeds, their mean).
    """

    name: str
    title: str
    ours: bool
    widths: tuple[int, ...]
    device: str
    cold: float | None
    cached: float | None
    samples: tuple[float, ...]
    accuracies: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the samples."""
        return float(np.median(self.samples))

    def record(self) -> dict[str, Any]:
        """As it is written to the record."""
        if self.cold is None:
            times: dict[str, Any] = {"whole": summary(self.samples)}
        else:
            times = {"cold": self.cold, "cached": self.cached, "warm": summary(self.samples)}
        return {
            "name": self.name,
            "title": self.title,
            "widths": self.widths,
            "device": self.device,
            **times,
            "test_accuracy": [round(accuracy, 6) for accuracy in self.accuracies],
        }


def main(options: Options) -> None:
    """Measure, and write down what was found."""
    if options.rounds < 1:
        sys.exit(f"rounds is {options.rounds}: expected 1 or more")
    console = Console(width=None if sys.stdout.isatty() else 160)
    record = environment()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        examples = write_data(data, options.train_size)
        measurements, left_out = (_whole_programs if options.whole_process else _epochs)(options, data)
    for name, reason in left_out.items():
        _say(f"left out: {name}: {reason}")
    if not measurements:
        sys.exit("nothing was measured")
    for widths in dict.fromkeys(m.widths for m in measurements):
        console.print(_table([m for m in measurements if m.widths == widths]))

    platform = "gpu" if any(m.device not in ("", "cpu") for m in measurements) else "cpu"
    name = f"{'whole-process' if options.whole_process else 'peers'}-{platform}"
    record |= {
        "train_examples": examples,
        "epochs": _epochs_trained(options),
        "batch_size": Problem.batch_size,
        "learning_rate": Problem.learning_rate,
        "seed": Problem.seed,
        "results": [measurement.record() for measurement in measurements],
        "left_out": left_out,
    }
    written = write_record(record, options.out, name)
    figure = written.with_suffix(".png")
    _draw(measurements, options, record, figure)
    console.print(f"Written: {written.name} and {figure.name}", highlight=False)


def _epochs_trained(options: Options) -> int:
    return options.epochs if options.whole_process else 1 + 2 * options.rounds


def missing(modules: Sequence[str]) -> str:
    """Says which of these are not installed; empty if none."""
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def write_data(path: Path, train_size: int | None) -> int:
    """Write MNIST where every worker reads it; the number of training examples."""
    dataset = mlp_jax.load_dataset("mnist")
    splits = {name: (split.features, split.targets) for name, split in dataset.splits.items()}
    x, y = splits["train"]
    if train_size is not None:
        kept = train_size / len(x)
        splits["train"] = x[:train_size], y[:train_size]
        # mlp_jax's sweep scores it after every epoch: it must not outweigh the training.
        x, y = splits["validation"]
        splits["validation"] = x[: max(1, round(kept * len(x)))], y[: max(1, round(kept * len(y)))]
    arrays = {f"{axis}_{name}": array for name, pair in splits.items() for axis, array in zip("xy", pair, strict=True)}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # savez has options by name besides
    return len(splits["train"][0])


# Epoch by epoch ------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Contestant:
    """A peer on one grid of widths, while it is timed."""

    name: Name
    widths: tuple[int, ...]
    worker: Worker
    cached: float | None = None
    seconds: list[float] = field(default_factory=list)

    def train(self, untimed: int = 0) -> None:
        """Train one epoch, after so many that are not timed."""
        for _ in range(untimed):
            self.worker.epoch()
        self.seconds.append(self.worker.epoch())

    def finish(self) -> Measurement:
        """Score the models."""
        report = self.worker.finish()
        peer = PEERS[self.name]
        cold, *warm = self.seconds
        return Measurement(
            name=self.name,
            title=peer.title,
            ours="mlp_jax" in peer.modules,
            widths=self.widths,
            device=report["device"],
            cold=cold,
            cached=self.cached,
            samples=tuple(warm),
            accuracies=tuple(report["accuracies"]),
        )


def _epochs(options: Options, data: Path) -> tuple[list[Measurement], dict[str, str]]:
    """Time epochs, in rounds; what was measured, and why others were not."""
    wanted = [(name, options.widths) for name in options.peers]
    wanted += [(name, options.wide_widths) for name in options.wide_peers]
    running: list[_Contestant] = []
    measurements, left_out = [], {}

    @contextlib.contextmanager
    def turn(contestant: _Contestant) -> Iterator[None]:
        try:
            yield
        except WorkerError as error:
            running.remove(contestant)
            left_out[f"{contestant.name}, {len(contestant.widths)} widths"] = str(error)
        time.sleep(_SETTLE)

    with contextlib.ExitStack() as stack:
        for name, widths in wanted:
            if lacking := missing(PEERS[name].modules):
                left_out[name] = lacking
                continue
            _say(f"first epoch: {PEERS[name].title}, {len(widths)} widths")
            command = worker_command(name, Problem(str(data), widths, _epochs_trained(options)))
            log = data.with_name(f"{name}-{len(widths)}.log")
            worker = stack.enter_context(Worker(command, PEERS[name].variables, log))
            running.append(_Contestant(name, widths, worker))
            with turn(running[-1]):
                running[-1].train()
                running[-1].cached = _cached(name, command, log)
        order = random.Random(0)
        for number in range(options.rounds):
            _say(f"round {number + 1} of {options.rounds}")
            for contestant in order.sample(running, len(running)):
                with turn(contestant):
                    contestant.train(untimed=1)
        for contestant in running.copy():
            with turn(contestant):
                measurements.append(contestant.finish())
    return measurements, left_out


def _cached(name: Name, command: Sequence[str], log: Path) -> float | None:
    """Seconds of a peer's first epoch where a process before has compiled everything; None if it does not compile."""
    peer, seconds = PEERS[name], None
    if peer.cache is not None:
        variables = {**peer.variables, **peer.cache, CACHE_DIRECTORY: str(log.with_suffix(".cache"))}
        for _ in range(2):  # the first one fills the cache
            with Worker(command, variables, log.with_suffix(".cached.log")) as worker:
                seconds = worker.epoch()
    return seconds


# Whole programs ------------------------------------------------------------------------------------------------------


def _whole_programs(options: Options, data: Path) -> tuple[list[Measurement], dict[str, str]]:
    """Time programs from start to end, one after another, in rounds; what was measured, and why others were not."""
    keras: Name = "keras-tensorflow"
    programs: dict[str, Callable[[Path], tuple[str, list[float]]]] = {
        f"{PEERS[keras].title}, 1 seed": lambda _: _keras_program(keras, options, data),
        "mlp-jax sweep, 1 seed": lambda out: _sweep_program(1, options, data, out),
        "mlp-jax sweep, 1 seed, compiled before": lambda out: _sweep_program(1, options, data, out, kept),
        "mlp-jax sweep, 5 seeds": lambda out: _sweep_program(5, options, data, out),
    }
    kept = data.with_name("compiled")
    _say("compiling")
    _sweep_program(1, options, data, data.with_name("run-to-compile"), kept)
    left_out: dict[str, str] = {}
    if lacking := missing(PEERS[keras].modules):
        left_out[keras] = lacking
        programs.pop(next(iter(programs)))
    seconds: dict[str, list[float]] = {title: [] for title in programs}
    results: dict[str, tuple[str, list[float]]] = {}
    for number in range(options.rounds):
        for place, (title, program) in enumerate(programs.items()):
            if title in left_out:
                continue
            _say(f"round {number + 1} of {options.rounds}: {title}")
            begun = time.perf_counter()
            try:
                results[title] = program(data.with_name(f"run-{number}-{place}"))
            except WorkerError as error:
                left_out[title] = str(error)
                continue
            seconds[title].append(time.perf_counter() - begun)
            time.sleep(_SETTLE)
    measurements = []
    for title, (device, accuracies) in results.items():
        measurement = Measurement(
            name=title,
            title=title,
            ours=title.startswith("mlp-jax"),
            widths=options.widths,
            device=device,
            cold=None,
            cached=None,
            samples=tuple(seconds[title]),
            accuracies=tuple(accuracies),
        )
        measurements.append(measurement)
    return measurements, left_out


def _keras_program(name: Name, options: Options, data: Path) -> tuple[str, list[float]]:
    """Keras: its device and the test accuracies."""
    command = worker_command(name, Problem(str(data), options.widths, _epochs_trained(options), alone=True))
    report = json.loads(run_program(command, PEERS[name].variables).splitlines()[-1])
    return report["device"], report["accuracies"]


def _sweep_program(
    seeds: int, options: Options, data: Path, out: Path, kept: Path | None = None
) -> tuple[str, list[float]]:
    """The command line of mlp_jax, figures and all: its device and, for each width, the mean test accuracy.

    Args:
        seeds: how many.
        options: of the benchmark.
        data: what is trained on, if it isn't all of MNIST.
        out: the run.
        kept: directory of programs that were compiled before; None to compile all and keep nothing.
    """
    command = [str(Path(sysconfig.get_path("scripts")) / "mlp-jax"), "sweep", "--out", str(out)]
    variables = dict(PEERS[OURS].variables)
    if kept is None:
        command += ["--no-cache"]
    else:
        variables |= {**(PEERS[OURS].cache or {}), CACHE_DIRECTORY: str(kept)}
    command += ["--dataset", "mnist" if options.train_size is None else str(data)]
    command += ["--seeds", str(seeds), "--epochs", str(_epochs_trained(options))]
    command += ["--hidden-units", *map(str, options.widths)]
    run_program(command, variables)
    scores: dict[int, list[float]] = {width: [] for width in options.widths}
    with (out / "trials.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            scores[int(row["hidden_units"])].append(float(row["test_score"]))
    where = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    return "cpu" if where["backend"] == "cpu" else where["device"], [float(np.mean(s)) for s in scores.values()]


def run_program(command: Sequence[str], variables: Mapping[str, str]) -> str:
    """Run a program to its end; what it printed."""
    try:
        done = subprocess.run(
            command, env=os.environ | dict(variables), capture_output=True, text=True, encoding="utf-8"
        )
    except OSError as error:
        raise WorkerError(str(error)) from None
    if done.returncode:
        raise WorkerError(f"exit status {done.returncode}: {last_line(done.stderr)}")
    return done.stdout


# What was found ------------------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _title(widths: Sequence[int]) -> str:
    shown = ", ".join(map(str, widths)) if len(widths) <= _MOST_WIDTHS_SHOWN else f"{widths[0]} … {widths[-1]}"
    return f"M = {shown} ({len(widths)} models, {sum(widths):,} hidden units)"


def _table(measurements: Sequence[Measurement]) -> Table:
    """Of the measurements on one grid of widths, fastest first."""
    widths = measurements[0].widths
    places = np.linspace(0, len(widths) - 1, min(len(widths), _MOST_WIDTHS_SHOWN)).astype(int)
    cold, elsewhere = measurements[0].cold is not None, any(m.device != "cpu" for m in measurements)
    ours = next((m for m in measurements if m.name == OURS), None)
    table = Table(title=f"{_title(widths)}: seconds, and test accuracy by M", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    if elsewhere:
        table.add_column("device")
    headings = (["cold", "cached", "warm"] if cold else ["seconds"]) + ["least", "most"] + (["× ours"] if ours else [])
    for heading in headings + [f"M={widths[place]}" for place in places]:
        table.add_column(heading, justify="right")
    for m in sorted(measurements, key=lambda m: m.median):
        cells = [m.title] + ([m.device] if elsewhere else []) + ([_or_dash(m.cold), _or_dash(m.cached)] if cold else [])
        cells += [f"{value:.3f}" for value in (m.median, min(m.samples), max(m.samples))]
        cells += [f"{m.median / ours.median:.2f}"] if ours else []
        cells += [f"{m.accuracies[place]:.4f}" for place in places]
        table.add_row(*cells, style="bold" if m.ours else None)
    return table


def _or_dash(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2f}"


def _draw(measurements: Sequence[Measurement], options: Options, record: dict[str, Any], path: Path) -> None:
    panels = [
        Panel(_title(widths), [Bar(m.title, m.samples, m.ours) for m in measurements if m.widths == widths])
        for widths in dict.fromkeys(m.widths for m in measurements)
    ]
    accelerators = sorted({m.device for m in measurements} - {"cpu"})
    machine = ", ".join([*accelerators, f"{record['cores']} cores of {record['cpu']}", record["date"][:10]])
    if options.whole_process:
        heading, axis = f"The whole program, {options.epochs} epochs, start to results", "seconds"
    else:
        heading, axis = "One epoch of the whole sweep", "seconds, after compilation"
    draw(panels, heading, f"{axis}, median of {options.rounds}", machine, path)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
