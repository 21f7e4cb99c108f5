"""Compiling a sweep for accelerators that are not there.

XLA's compilers for NVIDIA's GPUs and for TPUs are plugins of JAX, and need no device: the extra ``accelerators`` brings
them. A GPU is described by a file (h100.txtpb), a TPU by its topology. There is no autotuning, so that a real GPU may
choose other products of matrices.
"""

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies

import mlp_jax
from mlp_jax.errors import MissingExtraError
from mlp_jax.networks.layers import parameter_count
from mlp_jax.sweeps.plan import memory_need
from mlp_jax.sweeps.program import Program
from mlp_jax.sweeps.sweep import make_program, make_setup
from mlp_jax.training.epoch import DeviceData, stack_splits

LEARNING_RATE = 1e-3
ADAM_BYTES = 36  # a parameter and step: weight and two moments read and written, gradient written and read, weight read


@dataclass(frozen=True)
class Target:
    """An accelerator and its published rates.

    Attributes:
        title: for people.
        kind: what ``jax.Device.device_kind`` says of such a device, a pattern.
        platform: JAX's name of it.
        bandwidth: bytes a second.
        operations: floating-point operations a second in float32, as products are here unless they are told otherwise.
        rounded: the same in bfloat16.
        launch: seconds that a kernel takes to start: assumed, as none is published, until one is measured. None where
            kernels are not launched one by one.
        clock: cycles a second; None where it is not published, nor follows from what is.
    """

    title: str
    kind: str
    platform: str
    bandwidth: float
    operations: float
    rounded: float
    launch: float | None = None
    clock: float | None = None


# NVIDIA's H100 data sheet (SXM; bfloat16 by tensor cores, dense). Google Cloud's pages of TPU v5e and v6e: bfloat16; a
# product of float32 numbers takes six of those. 197 TFLOP/s are four units of 128 × 128 at 1.5 GHz.
TARGETS = {
    "h100": Target("H100", "H100", "cuda", 3.35e12, 67e12, 989e12, launch=2.5e-6),
    "v5e": Target("TPU v5e", "TPU v5 lite", "tpu", 819e9, 197e12 / 6, 197e12, clock=1.5e9),
    "v6e": Target("TPU v6e", "TPU v6 lite", "tpu", 1640e9, 918e12 / 6, 918e12),
}


@dataclass(frozen=True)
class Case:
    """A sweep to compile.

    Attributes:
        widths: hidden units of the trials.
        replicas: seeds.
        devices: that share them out.
        activations: of the hidden layer; each width has a trial with each.
        precision: as in ``Recipe``.
    """

    widths: tuple[int, ...]
    replicas: int
    devices: int = 1
    activations: tuple[str, ...] = ("sigmoid",)
    precision: str = "float32"

    @property
    def title(self) -> str:
        """For people."""
        parts = [f"{len(self.widths)} widths" if len(self.widths) > 1 else f"M = {self.widths[0]:,}"]
        if len(self.activations) > 1:
            parts.append(f"{len(self.activations)} activations")
        parts.append(f"{self.replicas} replica{'s' if self.replicas > 1 else ''}")
        if self.devices > 1:
            parts.append(f"{self.devices} devices")
        if self.precision != "float32":
            parts.append(self.precision)
        return ", ".join(parts)


_ARTICLE = (10, 25, 50, 100, 150, 200)
_TWENTY = tuple(range(10, 201, 10))
CASES = {
    "one": Case(_ARTICLE, 1),
    "five": Case(_ARTICLE, 5),
    "sixteen": Case(_ARTICLE, 16),
    "sixteen-bfloat16": Case(_ARTICLE, 16, precision="bfloat16"),
    "two-hundred": Case(_ARTICLE, 200),
    "twenty-widths": Case(_TWENTY, 1),
    "eighty-trials": Case(_TWENTY, 1, activations=("sigmoid", "tanh", "relu", "gelu")),
    "wide": Case((4_000,), 1),
    "eight-devices": Case(_ARTICLE, 8, devices=8),
}


def devices(target: str, count: int) -> list[jax.Device]:
    """Devices to compile for that are not there.

    Raises:
        MissingExtraError: their compiler is not installed.
    """
    jax.config.update("jax_platforms", "cpu")  # what is here, if anything, is left alone
    if TARGETS[target].platform == "cuda":
        if (
            importlib.util.find_spec("jax_plugins") is None
            or importlib.util.find_spec("jax_plugins.xla_cuda13") is None
        ):
            raise MissingExtraError("compiling for a GPU", "jax_cuda13_plugin", "accelerators")
        found = topologies.get_topology_desc(
            topology_name=target,
            platform="cuda",
            target_config=(Path(__file__).parent / f"{target}.txtpb").read_text(encoding="utf-8"),
            topology=f"1x1x{count}",
        ).devices
    else:
        if importlib.util.find_spec("libtpu") is None:
            raise MissingExtraError("compiling for a TPU", "libtpu", "accelerators")
        # So that libtpu asks no cloud what machine this is, and several processes can compile at a time.
        os.environ |= {
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        }
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
        shape = "2x2" if count <= 4 else "2x4"
        found = topologies.get_topology_desc(topology_name=f"{target}:{shape}", platform="tpu").devices
    return list(found[:count])


class Built(NamedTuple):
    """A sweep, ready to be compiled.

    Attributes:
        program: what trains it.
        host: what ``stack_splits`` gives.
        learning_rates: of each replica's trials, ``[R, T]``.
    """

    program: Program
    host: tuple[np.ndarray, np.ndarray]
    learning_rates: np.ndarray


@cache
def _mnist() -> mlp_jax.Dataset:
    return mlp_jax.load_dataset("mnist")


def build(case: Case, layout: str, places: Sequence[jax.Device], dataset: mlp_jax.Dataset | None = None) -> Built:
    """The program of a sweep as ``mlp_jax.sweep`` would make it for these devices, all replicas side by side."""
    dataset = dataset or _mnist()
    grid = mlp_jax.Grid(case.widths, case.activations, (LEARNING_RATE,), case.replicas)
    setup = make_setup(grid, dataset, recipe=mlp_jax.Recipe(precision=case.precision), layout=layout)
    program = make_program(setup, setup.blocks[0], dataset, -(-case.replicas // len(places)), places)
    host = stack_splits(list(dataset.splits.values()), program.layout.columns)
    return Built(program, host, np.full((case.replicas, program.layout.trials), LEARNING_RATE, program.dtype))


def lowered(built: Built) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """The functions of a sweep under ``jax.jit``, by name, and shapes of what each is given."""
    program, replicas = built.program, len(built.learning_rates)
    shapes: list[Any] = [jax.ShapeDtypeStruct(h.shape, h.dtype, sharding=program.everywhere) for h in built.host]
    data = DeviceData(*shapes)
    state, constant = program.shapes(replicas)
    scalar, out = program.scalar, program.shared_out
    return {
        "epoch": (
            jax.jit(program.epoch, donate_argnames="state", out_shardings=out),
            (scalar, state, constant, scalar, data),
        ),
        "evaluate": (
            jax.jit(program.evaluate, out_shardings=out),
            (scalar, state.params, constant, scalar, scalar, data),
        ),
        "init": (jax.jit(program.init, out_shardings=out), program.asked(replicas)),
    }


def compiled(built: Built) -> dict[str, Any]:
    """The functions of a sweep, compiled."""
    return {name: _compile(function.lower(*given)) for name, (function, given) in lowered(built).items()}


def _compile(function: Any) -> Any:
    """Compile, with products by cuBLAS where XLA, without autotuning, finds no way to tile one of its own."""
    try:
        return function.compile()
    except jax.errors.JaxRuntimeError as error:
        if "Couldn't find output tile sizes" not in str(error):
            raise
        return function.compile({"xla_gpu_enable_triton_gemm": False})


def useful(built: Built) -> dict[str, int]:
    """What a step of training on one device cannot do without: parameters, bytes that Adam moves, operations."""
    problem, networks = built.program.layout.problem, built.program.layout.networks
    # Those of pixels that are always 0 get no gradient, whether a layout trains them or not.
    live = _live(built)
    share = -(-len(built.learning_rates) // built.program.mesh.size)
    parameters = share * sum(parameter_count(network, (live,)) for network in networks)
    batch = built.program.recipe.batch_size
    products = (
        share
        * batch
        * sum(
            2 * (2 * (live + network[0].use_bias) * network[0].units + 3 * problem.outputs * network[0].units)
            for network in networks
        )
    )
    return {"parameters": parameters, "bytes": ADAM_BYTES * parameters, "operations": products}


def _live(built: Built) -> int:
    columns = np.array(built.program.layout.columns)
    train = built.host[0][: built.program.examples[0]]
    return int(np.count_nonzero(train.any(axis=0) & (columns >= 0)))


def foreseen(built: Built) -> int:
    """Bytes that the plan of such a sweep foresees on a device."""
    share = -(-len(built.learning_rates) // built.program.mesh.size)
    return memory_need(built.program, built.host).total(share, built.program.at_once)


def taken(built: Built, programs: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of a device while each program runs, as the compiler has it; scoring goes on beside the moments of Adam."""
    found = {}
    for name, program in programs.items():
        said = program.memory_analysis()
        own = said.argument_size_in_bytes + said.output_size_in_bytes + said.temp_size_in_bytes
        found[name] = int(own - said.alias_size_in_bytes)
    state, _ = built.program.shapes(len(built.learning_rates))
    moments = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.opt_state))
    found["evaluate"] += moments // built.program.mesh.size
    return found


def target_of(device: jax.Device) -> str | None:
    """Which target a device is."""
    return next((name for name, each in TARGETS.items() if re.search(each.kind, device.device_kind)), None)


def floor(target: Target, cost: Mapping[str, float], precision: str, launch: float | None) -> dict[str, float]:
    """Seconds that a step takes at least, one for each thing that can hold it up.

    Args:
        target: with its rates.
        cost: ``bytes``, ``operations`` and ``kernels`` of a step.
        precision: of the products.
        launch: seconds that a kernel takes to start; None for the target's.
    """
    rate = target.rounded if precision == "bfloat16" else target.operations
    start = target.launch if launch is None else launch
    found = {"bytes": cost["bytes"] / target.bandwidth, "operations": cost["operations"] / rate}
    return found | ({"launches": cost["kernels"] * start} if start is not None else {})
