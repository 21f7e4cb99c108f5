"""What XLA's compilers for an H100 and for TPUs make of a sweep, on a machine that has neither.

    python -m pip install "mlp-jax[accelerators]"
    python benchmarks/accelerators.py                                  everything, about half an hour on 2 cores
    python benchmarks/accelerators.py --targets h100 --cases one five  some of it; the rest stays as it is in the record

Nothing runs: all figures are read from the compiled programs (``_hlo``), or calculated from them and published rates.
For each target, sweep and layout, of the programs that train an epoch, score a split and make the initial state:

- kernels a step (of a TPU: operations), the bytes of memory that they read and write, floating-point operations; beside
  them what a step of Adam cannot do without, 36 bytes a parameter and the layers' products;
- kernels that only copy or pad, by name; collectives, of which training needs none;
- memory as the compiler counts it, and as the sweep's plan foresees it;
- of a TPU, the cycles that the compiler estimates;
- the least time that a step can take: the longest of bytes over bandwidth, operations over rate, and launches.

A step is a minibatch of all replicas of a device; of scoring it is a thousand rows, of the initial state the whole.

Where JAX has one of the targets, the same command also trains on it, and the record has seconds a step as measured
beside those that were calculated; how long a kernel takes to start is then measured too.

Writes the record accelerators to benchmarks/records; ``--texts DIRECTORY`` keeps the compiled programs as text.
"""

import functools
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from _deviceless import CASES, TARGETS, build, compiled, devices, floor, foreseen, taken, target_of, useful
from _hlo import Module
from _record import RECORDS, environment, write_record
from jax import lax
from rich import box
from rich.console import Console
from rich.table import Table

from mlp_jax.networks.layouts import NAMES
from mlp_jax.training.epoch import DeviceData, put

NAMED = (("h100", "one", "packed"), ("h100", "five", "packed"), ("v5e", "sixteen", "packed"))
"""Programs whose kernels the record has one by one."""

_ENVIRONMENT = dict(os.environ)  # as it was when this process began, for the process that measures


@dataclass(frozen=True)
class Options:
    """Compile, and read what came of it."""

    targets: tuple[Literal["h100", "v5e", "v6e"], ...] = ("h100", "v5e", "v6e")
    """What to compile for."""
    cases: tuple[str, ...] = tuple(CASES)
    """Which sweeps: one, five, sixteen, sixteen-bfloat16, two-hundred (replicas of the article's widths),
    twenty-widths, eighty-trials, wide, eight-devices."""
    layouts: tuple[Literal["packed", "vmap"], ...] = ("packed", "vmap")
    """Which layouts."""
    texts: Path | None = None
    """Directory for the compiled programs, as text."""
    name: str = "accelerators"
    """Of the record."""
    out: Path = RECORDS
    """Directory of the record."""
    epochs: int = 3
    """Where there is a device: of each sweep, the least of which counts; one more comes before."""
    measure: str | None = None
    """Used by this program itself: sweeps to measure, as JSON."""


# Read from a compiled program -----------------------------------------------------------------------------------------


def read(module: Module) -> dict[str, Any]:
    """What a program does in a step, for the record."""
    cost, kernels = module.cost(module.step), module.kernels(module.step)
    found: dict[str, Any] = {
        "kernels": cost.kernels,
        "read": cost.read,
        "written": cost.written,
        "operations": cost.operations,
        "copies": [kernel.name for kernel in kernels if kernel.kind == "copy"],
        "paddings": [kernel.name for kernel in kernels if kernel.kind == "padding"],
        "collectives": module.collectives,
    }
    return found | ({"cycles": cost.cycles} if cost.cycles else {})


def named(module: Module) -> list[dict[str, Any]]:
    """The kernels of a step, in order."""
    return [
        {
            "name": kernel.name,
            "kind": kernel.kind,
            "makes": [f"{each.dtype}[{','.join(map(str, each.dims))}]" for each in kernel.shape],
            "source": kernel.source,
            "read": kernel.cost.read,
            "written": kernel.cost.written,
            **({"cycles": kernel.cost.cycles} if kernel.cost.cycles else {}),
            **({"turns": kernel.cost.kernels} if kernel.kind == "loop" else {}),
        }
        for kernel in module.kernels(module.step)
    ]


def look(target: str, case: str, layout: str, texts: Path | None) -> dict[str, Any]:
    """Compile a sweep, and read what came of it."""
    sweep = CASES[case]
    built = build(sweep, layout, devices(target, sweep.devices))
    begun = time.perf_counter()
    programs = compiled(built)
    seconds = time.perf_counter() - begun
    modules = {name: Module(program.as_text()) for name, program in programs.items()}
    if texts is not None:
        texts.mkdir(parents=True, exist_ok=True)
        for name, program in programs.items():
            (texts / f"{target}-{case}-{layout}-{name}.txt").write_text(program.as_text(), encoding="utf-8")
    sizes = taken(built, programs)
    found = {
        "case": case,
        "title": sweep.title,
        "layout": layout,
        "compile_seconds": round(seconds, 1),
        "useful": useful(built),
        "programs": {name: read(module) | {"memory": sizes[name]} for name, module in modules.items()},
        "memory": {"compiler": max(sizes.values()), "plan": foreseen(built)},
    }
    found["floor"] = floors(target, case, found, None)
    if (target, case, layout) in NAMED:
        found["named"] = named(modules["epoch"])
    return found


def floors(target: str, case: str, row: dict[str, Any], launch: float | None) -> dict[str, float]:
    """Seconds of a step of training, at least."""
    step = row["programs"]["epoch"]
    cost = {"bytes": step["read"] + step["written"], **{key: step[key] for key in ("kernels", "operations")}}
    return {
        name: float(f"{seconds:.4g}")
        for name, seconds in floor(TARGETS[target], cost, CASES[case].precision, launch).items()
    }


# Measured, where there is a device ------------------------------------------------------------------------------------


def step_seconds(case: str, layout: str, epochs: int) -> float:
    """Seconds a step of a sweep on the devices that are here: of the epoch that took least."""
    sweep = CASES[case]
    built = build(sweep, layout, jax.devices()[: sweep.devices])
    program, programs = built.program, compiled(built)
    data = DeviceData(*(put(array, program.everywhere) for array in built.host))
    scalar = [put(np.array(number, np.int32), program.everywhere) for number in (sweep.replicas, *range(epochs + 1))]
    seeds = put(np.arange(sweep.replicas, dtype=np.uint32), program.shared_out)
    state, replicas = programs["init"](seeds, seeds, {"learning_rate": put(built.learning_rates, program.shared_out)})
    seconds = []
    for number in scalar[1:]:
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(programs["epoch"](scalar[0], state, replicas, number, data))
        seconds.append(time.perf_counter() - begun)
    return min(seconds[1:]) / steps(built.program.examples[0], program.recipe.batch_size)


def steps(examples: int, batch: int) -> int:
    """Minibatches an epoch."""
    return -(-examples // batch)


def launch_seconds(turns: int = 20_000, kernels: int = 8) -> float:
    """Seconds that a kernel takes which does next to nothing, among others in a loop."""

    def turn(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        # A barrier, so that it is not fused with the next one.
        return functools.reduce(lambda x, _: lax.optimization_barrier(x * 0.5 + 1.0), range(kernels), x), None

    x = jnp.ones(128, jnp.float32)
    program = jax.jit(lambda x: lax.scan(turn, x, length=turns)[0]).lower(x).compile()
    module = Module(program.as_text() or "")
    body = max(module.loops, key=lambda name: module.cost(name).kernels)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        jax.block_until_ready(program(x))
        seconds.append(time.perf_counter() - begun)
    return min(seconds[1:]) / (turns * module.cost(body).kernels)


def measure(asked: Sequence[Sequence[str]], epochs: int) -> dict[str, Any]:
    """What the devices that are here take: the target that they are, the time of a launch, and of each sweep asked for.

    Sweeps that do not fit, or want more devices than there are, are left out, and said to be.
    """
    here = jax.devices()
    target = target_of(here[0])
    found: dict[str, Any] = {"device": here[0].device_kind, "target": target, "seconds": []}
    if target is None:
        return found
    if TARGETS[target].launch is not None:
        found["launch"] = launch_seconds()
    for case, layout in asked:
        if CASES[case].devices > len(here):
            continue
        try:
            found["seconds"].append([f"{case}, {layout}", round(step_seconds(case, layout, epochs), 9)])
        except jax.errors.JaxRuntimeError as error:
            print(f"{case}, {layout}: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
    return found


def measured(options: Options) -> dict[str, Any]:
    """``measure`` in a process that has the devices: this one has none."""
    asked = [[case, layout] for case in options.cases for layout in options.layouts]
    command = [sys.executable, __file__, "--epochs", str(options.epochs), "--measure", json.dumps(asked)]
    done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"measuring: exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["target"] is not None:  # without a device, JAX complains at length that its plugins find none
        print(done.stderr, file=sys.stderr, end="")
    return found


def main(options: Options) -> None:
    """Compile what was asked for, measure where that is possible, and write the record."""
    if options.measure is not None:
        print(json.dumps(measure(json.loads(options.measure), options.epochs)))
        return
    where = environment()
    path = options.out / f"{options.name}.json"
    record: dict[str, Any] = {"environment": {}, "rates": {}, "results": {}}
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
    record["environment"] = where
    ran = measured(options)
    for target in options.targets:
        here = ran["target"] == target
        launch = ran.get("launch") if here else record["rates"].get(target, {}).get("launch_measured")
        record["rates"][target] = vars(TARGETS[target]) | ({"launch_measured": launch} if launch else {})
        for case, layout in itertools.product(options.cases, options.layouts):
            print(f"{target}, {CASES[case].title}, {layout}", file=sys.stderr, flush=True)
            row = look(target, case, layout, options.texts) | {"commit": where["commit"]}
            row["floor"] = floors(target, case, row, launch)
            if here and (seconds := dict(ran["seconds"]).get(f"{case}, {layout}")):
                row["measured"] = {"device": ran["device"], "commit": where["commit"], "step_seconds": seconds}
            _keep(record["results"], target, row)
            write_record(record, options.out, options.name)
    _print(record, options)


def _keep(results: dict[str, list[dict[str, Any]]], target: str, row: dict[str, Any]) -> None:
    """Put a row in its place among those of its target, instead of an older one, whose measurement it keeps."""
    rows = {(each["case"], each["layout"]): each for each in results.get(target, [])}
    place = row["case"], row["layout"]
    measured_before = {"measured": rows[place]["measured"]} if "measured" in rows.get(place, {}) else {}
    rows[place] = measured_before | row
    results[target] = [rows[case, layout] for case, layout in itertools.product(CASES, NAMES) if (case, layout) in rows]


def _print(record: dict[str, Any], options: Options) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=140)
    for target in options.targets:
        table = Table(
            title=f"{TARGETS[target].title}: computed, nothing ran", title_justify="left", box=box.SIMPLE_HEAD
        )
        for heading in ("sweep", "layout", "kernels", "MB", "× useful", "× operations", "cycles", "floor (µs)", "plan"):
            table.add_column(heading, justify="left" if heading in ("sweep", "layout") else "right")
        for row in record["results"][target]:
            step, least = row["programs"]["epoch"], max(row["floor"], key=lambda name: row["floor"][name])
            moved = step["read"] + step["written"]
            table.add_row(
                row["title"],
                row["layout"],
                f"{step['kernels']:,}",
                f"{moved / 1e6:.1f}",
                f"{moved / row['useful']['bytes']:.2f}",
                f"{step['operations'] / row['useful']['operations']:.2f}",
                f"{step['cycles']:,}" if "cycles" in step else "",
                f"{1e6 * row['floor'][least]:.0f} ({least})",
                f"{row['memory']['plan'] / row['memory']['compiler']:.2f} ×",
            )
        console.print(table)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
