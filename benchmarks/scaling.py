"""What the time of a sweep grows with: trials, width, batch size, devices, checkpoints; and what a plan foresees.

    python benchmarks/scaling.py                      all parts, about six minutes on 2 cores with nothing else to do
    python benchmarks/scaling.py --parts trials       one of them; the others stay as they are in the record

Writes a record and a figure, scaling-cpu (-gpu), to benchmarks/records. Every point is a process of its own, so that
its compilation is cold and its peak of memory its own; the compilation cache is off. Devices are those of
one CPU (--xla_force_host_platform_device_count): however many, they share its cores.

From the points a model of cost is fitted (``_fit``), for docs/scaling.md.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from _record import RECORDS, environment, write_record
from rich import box
from rich.console import Console
from rich.table import Table

Part = Literal["trials", "widths", "batch", "devices", "checkpoints", "many", "plan"]
PARTS: tuple[Part, ...] = ("trials", "widths", "batch", "devices", "checkpoints", "many", "plan")

_ARTICLE = (10, 25, 50, 100, 150, 200)
_FIVE = (10, 20, 30, 40, 50)
_TWENTY = tuple(range(10, 201, 10))


@dataclass(frozen=True)
class Options:
    """Measure, part by part."""

    parts: tuple[Part, ...] = PARTS
    """Which parts to measure."""
    train_size: int = 5_500
    """Examples to train on, of MNIST's 55,000; as many more tenths are held out. The part plan has them all, and so
    have some points of the part devices, ten times as many."""
    epochs: int = 4
    """Of each point; the first one is not counted, and of the others the least is."""
    rounds: int = 2
    """Of the parts trials and devices, whose points are compared with each other."""
    out: Path = RECORDS
    """Directory of the record and the figure."""
    point: str | None = None
    """Used by this program itself: a point to measure, as JSON."""


@dataclass(frozen=True)
class Point:
    """A sweep to measure."""

    widths: tuple[int, ...]
    seeds: int
    train_size: int
    epochs: int
    batch_size: int = 128
    devices: int = 1
    checkpoint_every: int | None = None
    tiny: bool = False
    """Whether on 64 examples of 8 features, where all but the host's work is next to nothing."""


# One point, in a process of its own -----------------------------------------------------------------------------------


def measure(point: Point) -> dict[str, Any]:
    """Run a sweep; where its time went."""
    begun = time.perf_counter()
    import mlp_jax

    imported = time.perf_counter() - begun
    dataset = _tiny() if point.tiny else _part_of_mnist(point.train_size)
    grid = mlp_jax.Grid(point.widths, seeds=point.seeds)
    recipe = mlp_jax.Recipe(epochs=point.epochs, batch_size=point.batch_size)
    with tempfile.TemporaryDirectory() as directory:
        where: dict[str, Any] = {}
        if point.checkpoint_every is not None:
            where = {"checkpoints": Path(directory) / "checkpoints", "checkpoint_every": point.checkpoint_every}
        begun = time.perf_counter()
        result = mlp_jax.sweep(grid, dataset, recipe=recipe, **where)
        whole = time.perf_counter() - begun
    timing = result.timing
    return {
        "trials": len(grid.trials),
        "parameters": int(result.parameters.sum()),
        "import": imported,
        "prepare": timing.prepare,
        "compile": timing.compile,
        "epochs": list(timing.epochs),
        "epoch": min(timing.epochs[1:] or timing.epochs),
        "evaluate": timing.evaluate,
        "saving": timing.saving,
        "elsewhere": whole - timing.prepare - timing.compile - sum(timing.epochs) - timing.evaluate - timing.saving,
        "planned_bytes": result.plan.bytes_used,
        "state_bytes": result.plan.chunk * result.plan.need.saved,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _part_of_mnist(size: int) -> Any:
    import mlp_jax

    mnist = mlp_jax.load_dataset("mnist")
    train, validation, test = (
        (split.features[:count], split.targets[:count])
        for split, count in zip(mnist.splits.values(), (size, size // 10, size // 10), strict=True)
    )
    return mlp_jax.Dataset.from_arrays(
        *train, *test, x_validation=validation[0], y_validation=validation[1], name="part of MNIST"
    )


def _tiny() -> Any:
    import mlp_jax

    x = np.random.default_rng(0).uniform(size=(96, 8)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(int)
    return mlp_jax.Dataset.from_arrays(x[:64], y[:64], x[80:], y[80:], x_validation=x[64:80], y_validation=y[64:80])


def _run(point: Point) -> dict[str, Any]:
    """Measure a point in a process of its own."""
    flags = f"--xla_force_host_platform_device_count={point.devices}"
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--point", json.dumps(asdict(point))],
        env=os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{point}: exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    found = json.loads(done.stdout.splitlines()[-1]) | {"process": time.perf_counter() - begun}
    rounded = {key: _rounded(value) for key, value in found.items()}
    print(f"{point}: {rounded['epoch']:.4g} s an epoch", file=sys.stderr, flush=True)
    return asdict(point) | rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value


# The parts ------------------------------------------------------------------------------------------------------------


def trials(options: Options) -> Iterator[dict[str, Any]]:
    """From one trial to a thousand."""
    base = Point(_FIVE, 1, options.train_size, options.epochs)
    points = [replace(base, widths=(30,)), *(replace(base, seeds=seeds) for seeds in (1, 5, 20, 60, 200))]
    rounds = [[_run(point) for point in points] for _ in range(options.rounds)]  # taking turns
    for runs in zip(*rounds, strict=True):
        warm = [seconds for run in runs for seconds in run["epochs"][1:]]
        yield runs[0] | {"warm": warm, "epoch": min(warm), "compile": min(run["compile"] for run in runs)}


def widths(options: Options) -> Iterator[dict[str, Any]]:
    """From 10 hidden units to 4,000; and distinct widths together, from 1 to 100."""
    base = Point((10,), 1, options.train_size, options.epochs)
    for width in (10, 30, 100, 300, 1_000, 4_000):
        yield _run(replace(base, widths=(width,)))
    for count in (10, 30, 100):
        yield _run(replace(base, widths=tuple(range(2, 2 * count + 1, 2))))


def batch(options: Options) -> Iterator[dict[str, Any]]:
    """Minibatches of 16 to 1,024."""
    for size in (16, 32, 64, 128, 256, 512, 1_024):
        yield _run(Point(_ARTICLE, 1, options.train_size, options.epochs, batch_size=size))


def devices(options: Options) -> Iterator[dict[str, Any]]:
    """One device and several, which share the same cores; points take turns, as in the part trials.

    First replicas whose trials are divided among devices, which needs all of MNIST, and time, to be worth it; then more
    replicas than devices.
    """
    all_of_it, long = 10 * options.train_size, 2 * options.epochs
    points = [
        Point(wide, seeds, all_of_it, long, devices=count)
        for wide, seeds in ((_ARTICLE, 1), (_TWENTY, 1), (_ARTICLE, 5))
        for count in (1, 2)
    ]
    points += [
        Point(wide, seeds, options.train_size, options.epochs, devices=count)
        for wide, seeds in ((_FIVE, 16), (_ARTICLE, 4), ((2_100,), 2))
        for count in (1, 2, 4, 8)
        if count <= seeds
    ]
    rounds = [[_run(point) for point in points] for _ in range(options.rounds)]
    for runs in zip(*rounds, strict=True):
        yield min(runs, key=lambda run: run["epoch"])


def checkpoints(options: Options) -> Iterator[dict[str, Any]]:
    """A state after each epoch but the last: two of them."""
    for seeds in (5, 50):
        yield _run(Point((200,), seeds, options.train_size // 5, 3, checkpoint_every=1))


def many(options: Options) -> Iterator[dict[str, Any]]:
    """Very many trials of next to no work: what is left is the host's."""
    for seeds in (200, 2_000, 20_000):
        yield _run(Point((1, 2, 3, 4, 5), seeds, 64, options.epochs, tiny=True))


def plan(options: Options) -> Iterator[dict[str, Any]]:
    """What ``mlp-jax sweep --plan`` foresees for three sizes, and what they take."""
    program = [sys.executable, "-c", "import sys; from mlp_jax.cli import main; sys.exit(main())", "sweep", "--json"]
    sizes = (((50,), 1), (_ARTICLE, 2), ((100,), 25))
    for wide, seeds in sizes:
        command = [*program, "--hidden-units", *map(str, wide), "--seeds", str(seeds), "--epochs", str(options.epochs)]
        foreseen = _json_of([*command, "--plan"])
        with tempfile.TemporaryDirectory() as directory:
            seconds = _json_of([*command, "--no-cache", "--out", str(Path(directory) / "run")])["seconds"]
        measured = {
            "compile": seconds["compile"],
            "epoch": seconds["warm_epoch"],
            "evaluate": seconds["evaluate"],
            "in_all": seconds["compile"] + sum(seconds["epochs"]) + seconds["evaluate"],
        }
        found = {
            "widths": wide,
            "seeds": seeds,
            "foreseen": {key: _rounded(value) for key, value in foreseen["seconds"].items()},
            "calibration": {key: _rounded(value) for key, value in foreseen["calibration"].items()},
            "measured": {key: _rounded(value) for key, value in measured.items()},
        }
        print(f"{wide} × {seeds}: {found['foreseen']} {found['measured']}", file=sys.stderr, flush=True)
        yield found


def _json_of(command: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    record: dict[str, Any] = json.loads(done.stdout)
    return record


# The model ------------------------------------------------------------------------------------------------------------

TERMS = {
    "operation": "seconds a floating-point operation of the layers' products",
    "parameter": "seconds a parameter and step: what Adam reads and writes",
    "step": "seconds a step of a replica",
    "batch": "seconds an example that is read and scaled, once a replica",
}
LIVE = 716  # columns of MNIST that get a gradient, and the bias's


def work(point: dict[str, Any]) -> np.ndarray:
    """How much of each term an epoch of a point has; on this machine all replicas come one after another."""
    examples, wide, replicas = point["train_size"], sum(point["widths"]), point["seeds"]
    steps = -(-examples // point["batch_size"])
    parameters = (LIVE + 10) * wide + 10 * len(point["widths"])
    training = 2 * (2 * LIVE + 3 * 10) * wide * examples
    validation = 2 * (785 + 10) * wide * (examples // 10)
    return replicas * np.array([training + validation, parameters * steps, steps, examples * 1.1])


def _fit(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Least squares of relative errors, with coefficients that are not negative."""
    from scipy.optimize import nnls

    seconds = np.array([point["epoch"] for point in points])
    rows = np.array([work(point) for point in points])
    scale = rows.max(axis=0)
    found, _ = nnls(rows / scale / seconds[:, None], np.ones(len(points)))
    coefficients = found / scale
    ratios = rows @ coefficients / seconds
    return {
        "points": len(points),
        "coefficients": {name: float(f"{value:.4g}") for name, value in zip(TERMS, coefficients, strict=True)},
        "meaning": TERMS,
        "predicted_over_measured": {
            "median": round(float(np.median(ratios)), 3),
            "min": round(float(ratios.min()), 3),
            "max": round(float(ratios.max()), 3),
        },
    }


# On other machines: predictions ---------------------------------------------------------------------------------------

# Published rates of a device: NVIDIA's page of the H100 (SXM; FP32 without tensor cores), Google Cloud's page of TPU
# v5e (bfloat16, which is what JAX makes of float32 products there unless it is told otherwise).
MACHINES = {
    "1 × H100 SXM": {"devices": 1, "operations": 67e12, "bandwidth": 3.35e12, "memory": 80e9},
    "8 × H100 SXM": {"devices": 8, "operations": 67e12, "bandwidth": 3.35e12, "memory": 80e9},
    "TPU v5e, 256 chips": {"devices": 256, "operations": 197e12, "bandwidth": 819e9, "memory": 16e9},
}
ADAM_BYTES = 36  # a parameter and step: weight and two moments read and written, gradient written and read, weight read


def predict(replicas: int, epochs: int = 20) -> list[dict[str, Any]]:
    """The article's six widths on machines that were not measured: no faster than this, at their published rates."""
    steps, parameters = -(-55_000 // 128), (LIVE + 10) * sum(_ARTICLE) + 10 * len(_ARTICLE)
    found = []
    for name, machine in MACHINES.items():
        share = -(-replicas // int(machine["devices"]))
        operations = 2 * (2 * LIVE + 3 * 10) * sum(_ARTICLE) * 128 * share / machine["operations"]
        traffic = ADAM_BYTES * parameters * share / machine["bandwidth"]
        # Twice over: weights, two moments, and the weights of pixels that are always 0.
        held = 2 * share * 4 * (3 * parameters + (785 - LIVE) * sum(_ARTICLE))
        found.append(
            {
                "machine": name,
                "trials": replicas * len(_ARTICLE),
                "seconds_of_operations": float(f"{epochs * steps * operations:.3g}"),
                "seconds_of_traffic": float(f"{epochs * steps * traffic:.3g}"),
                "bytes_a_device": held,
                "chunks": int(-(-held // (0.8 * machine["memory"]))),
                "checkpoint_bytes": 12 * parameters * replicas,
                "result_bytes": 4 * (795 * sum(_ARTICLE) + 10 * len(_ARTICLE)) * replicas,
            }
        )
    return found


# What was found -------------------------------------------------------------------------------------------------------


def main(options: Options) -> None:
    """Measure what was asked for, and write the record and the figure."""
    if options.point is not None:
        wanted = json.loads(options.point)
        print(json.dumps(measure(Point(**wanted | {"widths": tuple(wanted["widths"])}))))
        return
    run: dict[Part, Callable[[Options], Iterator[dict[str, Any]]]] = {
        "trials": trials,
        "widths": widths,
        "batch": batch,
        "devices": devices,
        "checkpoints": checkpoints,
        "many": many,
        "plan": plan,
    }
    name = f"scaling-{_backend()}"
    path = options.out / f"{name}.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"parts": {}}
    for part in options.parts:
        where = environment()  # of each part, as they may be measured one by one
        record["parts"][part] = {"environment": where, "points": list(run[part](options))}
    parts = record["parts"]
    fitted = [point for part in ("trials", "widths", "batch") if part in parts for point in parts[part]["points"]]
    if fitted:
        record["model"] = _fit(fitted)
    record["predicted"] = [each for replicas in (200, 166_667) for each in predict(replicas)]
    write_record(record, options.out, name)
    _print(record)
    _draw(record, options.out / f"{name}.png")


def _backend() -> str:
    import jax

    return jax.default_backend()


def _print(record: dict[str, Any]) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=120)
    for part, found in record["parts"].items():
        table = Table(title=part, title_justify="left", box=box.SIMPLE_HEAD)
        columns: tuple[str, ...]
        if part == "plan":
            columns = ("widths", "seeds", "epoch foreseen", "measured", "in all foreseen", "measured")
        else:
            columns = ("widths", "seeds", "batch", "devices", "epoch (s)", "ms a trial", "compile (s)", "peak (GiB)")
        for column in columns:
            table.add_column(column, justify="right")
        for point in found["points"]:
            wide = point["widths"]
            shown = ", ".join(map(str, wide)) if len(wide) <= 6 else f"{wide[0]} … {wide[-1]}"
            if part == "plan":
                pairs = [point[which][key] for key in ("epoch", "in_all") for which in ("foreseen", "measured")]
                table.add_row(shown, str(point["seeds"]), *(f"{value:.3g}" for value in pairs))
                continue
            table.add_row(
                *(shown, str(point["seeds"]), str(point["batch_size"]), str(point["devices"])),
                f"{point['epoch']:.4g}",
                f"{1000 * point['epoch'] / point['trials']:.3g}",
                f"{point['compile']:.2f}",
                f"{point['peak_bytes'] / 2**30:.2f}",
            )
        console.print(table)
    console.print(record.get("model"))
    console.print(record["predicted"])


def _draw(record: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    parts = record["parts"]
    coefficients = np.array(list(record["model"]["coefficients"].values())) if "model" in record else None
    panels: list[tuple[Part, str, str, Callable[[dict[str, Any]], float]]] = [
        ("trials", "Trials (M = 10, 20, …, 50)", "trials", lambda point: point["trials"]),
        ("widths", "One trial, its width", "hidden units M", lambda point: sum(point["widths"])),
        ("batch", "The article's six widths, batch size", "examples a minibatch", lambda point: point["batch_size"]),
    ]
    figure = Figure(figsize=(11, 7), layout="constrained")
    grid = figure.subplots(2, 3)
    for axes, (part, title, label, of) in zip(grid[0], panels, strict=True):
        points = [
            point for point in parts.get(part, {"points": []})["points"] if part != "widths" or point["trials"] == 1
        ]
        axes.loglog([of(p) for p in points], [p["epoch"] for p in points], "o", color="#1f3a5f", label="measured")
        if coefficients is not None:
            predicted = [float(work(p) @ coefficients) for p in points]
            axes.loglog([of(p) for p in points], predicted, "--", color="#8a8f98", label="model of cost")
        axes.set(title=title, xlabel=label, ylabel="seconds an epoch")
        axes.legend(frameon=False)
        axes.set_visible(bool(points))  # a part may not have been measured yet
    _three_more(parts, grid[1])
    for axes in grid.flat:
        axes.title.set(fontsize=10, ha="left", position=(0, 1))
        axes.spines[["top", "right"]].set_visible(False)
    where = next(iter(parts.values()))["environment"]
    figure.supxlabel(f"{where['cores']} cores of {where['cpu']}, {where['date'][:10]}", fontsize=9)
    figure.savefig(path, dpi=150)


def _three_more(parts: dict[str, Any], row: Sequence[Any]) -> None:
    """Compilation, devices, and the plan against what was measured."""
    compiled, shared, foreseen = row
    styles = (("trials", "o", "#1f3a5f", "more replicas"), ("widths", "s", "#8a8f98", "more distinct widths"))
    for part, marker, colour, label in styles:
        points = parts.get(part, {"points": []})["points"]
        points = [point for point in points if part == "trials" or len(point["widths"]) > 1]
        places = [point["trials"] for point in points]
        compiled.semilogx(places, [point["compile"] for point in points], marker, color=colour, label=label)
    compiled.set(title="Compilation", xlabel="trials", ylabel="seconds")
    compiled.margins(y=0.1)
    compiled.set_ylim(bottom=0)
    compiled.legend(frameon=False, loc="upper left")
    points = parts.get("devices", {"points": []})["points"]
    cases = dict.fromkeys((tuple(point["widths"]), point["seeds"]) for point in points)
    colours = ("#1f3a5f", "#8a8f98", "#c46a1b")
    for (wide, seeds), marker, colour in zip(cases, "os^Dv*", 2 * colours, strict=False):
        here = [point for point in points if (tuple(point["widths"]), point["seeds"]) == (wide, seeds)]
        times = [point["epoch"] / here[0]["epoch"] for point in here]
        label = f"{seeds} replica{'s' if seeds > 1 else ''}, ΣM {sum(wide):,}"
        shared.plot([str(p["devices"]) for p in here], times, marker, color=colour, label=label, alpha=0.8)
    shared.set(title="Devices", xlabel="CPU devices, which share the cores", ylabel="time against one device")
    shared.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", columnspacing=0.6, handletextpad=0.2)
    shared.set_ylim(0, 1.2)
    shared.set_visible(bool(points))
    points = parts.get("plan", {"points": []})["points"]
    most = max((max(p["foreseen"]["in_all"], p["measured"]["in_all"]) for p in points), default=1)
    foreseen.plot([0, most], [0, most], "--", color="#8a8f98")
    foreseen.plot(
        [p["measured"]["in_all"] for p in points], [p["foreseen"]["in_all"] for p in points], "o", color="#1f3a5f"
    )
    foreseen.set(title="mlp-jax sweep --plan", xlabel="seconds measured", ylabel="seconds foreseen")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
