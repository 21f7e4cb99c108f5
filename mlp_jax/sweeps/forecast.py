"""What a sweep will take, before it starts: memory, operations and, from a short trial run, time."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from mlp_jax.datasets.dataset import Dataset
from mlp_jax.networks.layers import parameter_count
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.loop import Stage
from mlp_jax.sweeps.plan import Plan
from mlp_jax.sweeps.sweep import make_setup, prepare
from mlp_jax.training.epoch import aligned
from mlp_jax.training.recipe import Recipe

OPERATIONS_A_PASS = 2e11
"""Operations in a calibration pass, roughly: a second or two on a slow machine."""

FEWEST, MOST = 4, 128
"""Most minibatches in a calibration pass."""

MEASURED_FOR = 1.0
"""Seconds for which passes are repeated; there are at least three."""


@dataclass(frozen=True)
class Calibration:
    """The trial run that times are extrapolated from.

    Attributes:
        minibatches: trained per pass.
        replicas: trained side by side, on all devices together.
        passes: number of timed passes; the times are medians.
        compile: seconds of tracing and compiling the programs.
        step: seconds per minibatch.
        validation: seconds of scoring the validation split.
        seconds: duration of the trial run.
    """

    minibatches: int
    replicas: int
    passes: int
    compile: float
    step: float
    validation: float
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a sweep will take.

    Attributes:
        trials, replicas: how many.
        epochs: of each trial.
        parameters: of all trials.
        operations: floating-point operations of training all trials for an epoch (``operations``).
        plan: how replicas are shared out, and what memory a device needs.
        turns: groups of replicas that a device trains one after another in an epoch, over all chunks.
        checkpoint_bytes: of the state of a chunk.
        parameter_bytes: of all trained parameters.
        calibration: the trial run that the times come from.
        epoch: seconds expected for an epoch of all trials.
        training: seconds expected for all epochs.
        evaluate: seconds expected for the final scores.
    """

    trials: int
    replicas: int
    epochs: int
    parameters: int
    operations: int
    plan: Plan
    turns: int
    checkpoint_bytes: int
    parameter_bytes: int
    calibration: Calibration
    epoch: float
    training: float
    evaluate: float

    @property
    def seconds(self) -> float:
        """Seconds expected for compilation, training and final scores; writing and drawing are not included."""
        return self.calibration.compile + self.training + self.evaluate


def forecast(
    grid: Grid,
    dataset: Dataset,
    *,
    recipe: Recipe = Recipe(),
    layout: str = "auto",
    replicas_at_once: int | None = None,
    use_bias: bool = True,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | None = None,
    memory: int | None = None,
) -> Forecast:
    """Say what ``sweep`` with these arguments will take, by training a few minibatches of it. Writes nothing.

    Raises:
        InputError: as ``sweep`` raises it.
    """
    setup = make_setup(grid, dataset, recipe=recipe, layout=layout, use_bias=use_bias, dtype=dtype)
    stages = prepare(setup, dataset, replicas_at_once, devices, memory)
    with jax.disable_jit(False):  # as in ``sweep``
        return _together([_of_stage(stage) for stage in stages])


def _of_stage(stage: Stage) -> Forecast:
    """What the trials of one block will take."""
    block, parts, plan = stage.block, stage.parts, stage.plan
    program, mesh = parts.whole, parts.mesh_size
    arranged, recipe = program.layout, program.recipe
    by_trial = [arranged.problem.operations(network) for network in arranged.networks]
    calibration = _calibrate(stage, sum(by_trial) * recipe.batch_size * plan.at_once * mesh)
    turns = plan.chunks * math.ceil(plan.share / plan.at_once)
    if plan.at_once == 1:  # rows for no replica take no time
        turns -= plan.share - math.ceil((plan.chunk - plan.padding) / mesh)
    steps = math.ceil(program.trained_on / recipe.batch_size)
    one_replica = sum(parameter_count(network, arranged.problem.shape) for network in arranged.networks)
    parameters = one_replica * block.replicas
    training, validation = turns * steps * calibration.step, turns * calibration.validation
    return Forecast(
        trials=block.replicas * arranged.trials,
        replicas=block.replicas,
        epochs=recipe.epochs,
        parameters=parameters,
        operations=sum(by_trial) * block.replicas * program.trained_on,
        plan=plan,
        turns=turns,
        checkpoint_bytes=plan.chunk * plan.need.saved,
        parameter_bytes=parameters * np.dtype(program.dtype).itemsize,
        calibration=calibration,
        epoch=training + validation / recipe.report_every,
        training=training * recipe.epochs + validation * recipe.rounds,
        evaluate=validation * sum(program.examples) / program.examples[1],
    )


def _together(each: Sequence[Forecast]) -> Forecast:
    """The total of consecutive blocks; plan and calibration are those of the block that needs most memory."""
    greatest = max(each, key=lambda one: one.plan.bytes_used)
    calibration = replace(
        greatest.calibration,
        compile=sum(one.calibration.compile for one in each),
        seconds=sum(one.calibration.seconds for one in each),
    )
    added = ("trials", "replicas", "parameters", "operations", "turns", "parameter_bytes", "epoch", "training")
    return replace(
        greatest,
        **{name: sum(getattr(one, name) for one in each) for name in (*added, "evaluate")},
        epochs=max(one.epochs for one in each),
        checkpoint_bytes=max(one.checkpoint_bytes for one in each),
        calibration=calibration,
    )


def _calibrate(stage: Stage, step_operations: int) -> Calibration:
    """Train as many replicas as run side by side, on the first minibatches; and score the validation split."""
    begun = time.perf_counter()
    program, block = stage.parts.whole, stage.block
    batch, (train, validation, test) = program.recipe.batch_size, program.examples
    wanted = min(MOST, max(FEWEST, round(OPERATIONS_A_PASS / step_operations)))
    few = min(program.trained_on, wanted * batch)
    recipe = replace(program.recipe, report_every=1)
    parts = stage.parts.changed(examples=(few, validation, test), trained_on=few, recipe=recipe)
    rows = parts.whole.at_once * parts.mesh_size
    places = np.arange(rows) % block.replicas
    data = parts.put_data(*(_without(array, few, train) for array in stage.host))
    count, epoch, first, last = (parts.put(np.array(value, np.int32)) for value in (rows, 0, few, few + validation))
    before = time.perf_counter()
    run = parts.compile(rows, data)
    compiled = time.perf_counter() - before
    seeds, init_seeds = block.seeds[:, places]
    numbers = {name: values[places] for name, values in block.numbers.items()}
    states, replicas = parts.init(run, seeds, init_seeds, numbers)
    params = [state.params for state in states]

    def train_once() -> Any:
        nonlocal states
        states, means = run.epoch(count, states, replicas, epoch, data)
        return states, means

    scored, _ = _median_seconds(lambda: run.evaluate(count, params, replicas, first, last, data))
    trained, passes = _median_seconds(train_once)
    steps = math.ceil(few / batch)
    return Calibration(steps, rows, passes, compiled, trained / steps, scored, time.perf_counter() - begun)


def _without(array: np.ndarray, first: int, last: int) -> np.ndarray:
    """The first rows of an array."""
    kept = aligned((len(array) - last + first, *array.shape[1:]), array.dtype)
    return np.concatenate([array[:first], array[last:]], out=kept)


def _median_seconds(run: Callable[[], Any]) -> tuple[float, int]:
    """Median seconds of calls after the first one, and the number of those calls."""
    jax.block_until_ready(run())
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < MEASURED_FOR:
        begun = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds)), len(seconds)
