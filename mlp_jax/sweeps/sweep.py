"""The sweep: every trial of a grid trained at once."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlp_jax.datasets.dataset import Dataset, ImageForm
from mlp_jax.errors import InputError, instance, listed, shown, whole
from mlp_jax.machine.backend import require_jax
from mlp_jax.machine.distributed import cores, make_cpu_devices, several
from mlp_jax.machine.forms import CPU, Forms, forms_of
from mlp_jax.networks.layers import Shape, layers_of, parameter_count
from mlp_jax.networks.layouts import Layout, make_layout
from mlp_jax.networks.models import Model, model_from_weights
from mlp_jax.networks.problem import Problem
from mlp_jax.sweeps.blocks import Block, arrange, arrange_begun
from mlp_jax.sweeps.checkpoints import Checkpoints
from mlp_jax.sweeps.grid import MOST_TRIALS, Grid, Trial
from mlp_jax.sweeps.halving import Search
from mlp_jax.sweeps.loop import Loop, Piece, Stage, Timing, TrialState
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes
from mlp_jax.sweeps.parts import Sharing, divide, share_out, undivided
from mlp_jax.sweeps.plan import Plan, counted, make_mesh, make_plan
from mlp_jax.sweeps.program import Program
from mlp_jax.sweeps.record import Progress, Record, gathered
from mlp_jax.sweeps.repacking import Beginnings, go_on_from
from mlp_jax.sweeps.running import Running
from mlp_jax.tasks import get_task
from mlp_jax.training.axes import decays, examples_of, recipe_of_trial
from mlp_jax.training.epoch import live_features, stack_splits
from mlp_jax.training.recipe import Recipe
from mlp_jax.training.trials import network_of

LAYOUTS = ("auto", "packed", "vmap")

FASTEST = {"cpu": ("packed", 1)}
"""By backend, where measured (benchmarks/records): the layout, and how many replicas run side by side on a device
(None: all). On a CPU, several are faster if each has its own device (``device_a_core``)."""

CACHED = 8 << 20
"""Bytes of a replica's parameters and Adam moments that a CPU trains without waiting for memory, roughly: trials that
differ only in numbers are divided into replicas of at most this size."""

ELSEWHERE: tuple[str, int | None] = ("packed", None)
"""The same for a backend that has not been measured: accelerators are faster the more they get at a time."""


@dataclass(frozen=True)
class Setup:
    """What is known about a sweep before training.

    Attributes:
        grid: the trials.
        recipe: how they are trained.
        task, score_name: the task and the name of its score.
        use_bias, dtype: arguments of ``sweep``.
        dataset_name, dataset_digest, class_names, feature_dtype, image_form, transpose: of the ``Dataset``.
        examples: sizes of the train, validation and test split.
        layout: ``packed`` or ``vmap``.
        most_rows: argument of ``arrange``; None where it makes no difference.
        search: how a search decides which trials are trained to the end; None for a sweep.
        keep_state: argument of ``sweep``.
    """

    grid: Grid
    recipe: Recipe
    task: str
    score_name: str
    use_bias: bool
    dtype: str
    dataset_name: str
    dataset_digest: str
    class_names: tuple[str, ...]
    feature_dtype: str
    image_form: ImageForm | None
    transpose: bool | None
    examples: tuple[int, int, int]
    layout: str
    most_rows: int | None
    search: Search | None
    keep_state: bool

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The trials as they are grouped into programs."""
        return arrange(self.grid.trials, self.most_rows)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the results, as JSON values."""
        return {
            **self.grid.axes,
            **asdict(self.recipe),
            **{
                key: getattr(self, key)
                for key in ("layout", "most_rows", "use_bias", "dtype", "task", "dataset_digest")
            },
            **({"search": asdict(self.search)} if self.search is not None else {}),
            **({"keep_state": True} if self.keep_state else {}),
        }


@dataclass(frozen=True, repr=False)
class SweepResult(Setup):
    """All trials, trained. Arrays are in the order of ``trials``.

    Has the attributes of ``Setup`` as well.

    Attributes:
        history: loss, score, validation_loss, validation_score, each ``[trials, rounds]``, with one entry per report
            (``Recipe.report_every``); NaN after a trial's last epoch. The training figures are averaged over
            minibatches as they were trained.
        final: the finished models' train_loss, train_score, validation_loss, ..., test_score, each ``[trials]``.
        diverged: ``[trials]``, the epoch (from 1) in which a loss or parameter was no longer finite, or from which on
            the training loss was hopeless to the end (``mlp_jax.sweeps.loop.HOPELESS``); 0 for none.
        parameters: ``[trials]``, number of parameters of each.
        outcomes: how every finished model does on every example of the validation and test splits.
        plans: how it was distributed over devices and time, block by block.
        timing: where the time went, in seconds.
        started, ended: UTC times; if the sweep was resumed, of the last time.
    """

    history: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    diverged: np.ndarray
    parameters: np.ndarray
    outcomes: Outcomes
    plans: tuple[Plan, ...]
    timing: Timing
    started: datetime
    ended: datetime
    _pieces: tuple[Piece, ...]

    def __repr__(self) -> str:
        widths = sorted({max(layers_of(trial.hidden_units), default=0) for trial in self.trials})
        scores = self.final["validation_score"]
        seeds = counted(len({trial.seed for trial in self.trials}), "seed")
        best = float(np.nanmax(scores)) if np.isfinite(scores).any() else np.nan
        return (
            f"SweepResult({counted(len(self.trials), 'trial')} on {self.dataset_name}: "
            f"M = {widths[0]} to {widths[-1]}, {seeds}, {counted(self.recipe.epochs, 'epoch')}; "
            f"best validation {self.score_name} {best:.4f}, {np.count_nonzero(self.diverged)} diverged)"
        )

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials, in the order of every array."""
        return self.grid.trials

    @property
    def plan(self) -> Plan:
        """The plan of the first block, which in most sweeps is the only one."""
        return self.plans[0]

    @property
    def examples_per_second(self) -> float:
        """Training examples of any trial, each counted once for every trial."""
        return self.examples[0] * len(self.trials) / self.timing.warm_epoch

    @property
    def epochs(self) -> np.ndarray:
        """``[trials]``, number of epochs that each was trained for."""
        return np.array([trial.epochs or self.recipe.epochs for trial in self.trials])

    def weights(self, trial: Trial | int) -> dict[str, np.ndarray]:
        """Trained parameters of a trial (or of the trial at that place) by the article's symbols (``Weights``).

        Raises:
            InputError: the sweep has no such trial.
        """
        number, replica, slot = self._places[self._place(trial)].tolist()
        piece = self._pieces[number]
        trained = piece.holding(replica)
        return piece.weights(trained.arrays(), replica - trained.first, slot)

    def all_weights(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Every trial's place and weights, replica by replica, so that each chunk is read once."""
        return ((place, piece.weights(*where)) for place, piece, where in self._by_chunk())

    def all_states(self) -> Iterator[tuple[int, TrialState]]:
        """Every trial's place and what its training goes on from, likewise; of a sweep with ``keep_state``."""
        return ((place, piece.state(*where)) for place, piece, where in self._by_chunk())

    def _by_chunk(self) -> Iterator[tuple[int, Piece, tuple[dict[str, np.ndarray], int, int]]]:
        """Every trial's place, its piece, and where it lies there: arrays, replica and slot."""
        order = np.lexsort((np.arange(len(self._places)), self._places[:, 1], self._places[:, 0]))
        for (number, first), trials in groupby(order.tolist(), key=self._chunk_of):
            piece = self._pieces[number]
            arrays = piece.holding(first).arrays()
            for place in trials:
                _, replica, slot = self._places[place].tolist()
                yield place, piece, (arrays, replica - first, slot)

    def model(self, trial: Trial | int) -> Model:
        """The trained model of a trial (or of the trial at that place).

        Raises:
            InputError: the sweep has no such trial.
        """
        activation = self.trials[self._place(trial)].activation
        shape = None if self.image_form is None else self.image_form.shape
        return model_from_weights(self.weights(trial), activation=activation, task=self.task, shape=shape)

    @cached_property
    def _places(self) -> np.ndarray:
        """``[trials, 3]``, the piece, replica and slot of each trial: of several pieces that hold it, the last."""
        places = np.zeros((len(self.trials), 3), int)
        for number, piece in enumerate(self._pieces):
            replica, slot = np.indices(piece.places.shape)
            places[piece.places] = np.stack([np.full_like(replica, number), piece.first + replica, slot], axis=-1)
        return places

    def _chunk_of(self, place: int) -> tuple[int, int]:
        """Of a trial, the piece and the first replica of the chunk that holds it."""
        number, replica, _ = self._places[place].tolist()
        return number, self._pieces[number].holding(replica).first

    def _place(self, trial: Trial | int) -> int:
        if isinstance(trial, tuple):
            if trial not in self.trials:
                raise InputError(f"the sweep has no {shown(trial)}: expected one of its trials, or a trial's place")
            return self.trials.index(trial)
        return whole("trial", trial, -len(self.trials), len(self.trials) - 1) % len(self.trials)


def check_dtype(dtype: str) -> None:
    """Raise InputError unless parameters can be of this type."""
    if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
        raise InputError(f"unknown dtype {shown(dtype)}: expected float32 or float64")
    if dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise InputError("dtype float64 needs JAX's 64-bit mode: set JAX_ENABLE_X64=1")


def make_setup(
    grid: Grid,
    dataset: Dataset,
    *,
    recipe: Recipe = Recipe(),
    layout: str = "auto",
    use_bias: bool = True,
    dtype: str = "float32",
    keep_state: bool = False,
) -> Setup:
    """What ``sweep`` would train with these arguments.

    Raises:
        InputError: an argument that makes no sense; the message says which and why. Or JAX cannot be used here.
    """
    _check_kinds(grid, dataset, recipe, layout, use_bias)
    check_dtype(dtype)
    instance("keep_state", keep_state, bool, "True or False")
    grid.check(dataset.task)
    shape_given(grid, dataset)
    for subset in grid.values("subset"):
        examples_of(grid.trials[0]._replace(subset=subset), len(dataset.train))
    for epochs in grid.values("epochs"):
        recipe_of_trial(recipe, grid.trials[0]._replace(epochs=epochs))
    require_jax()
    layout = _fastest()[0] if layout == "auto" else layout
    most_rows = _most_rows(dataset)
    if most_rows is not None and arrange(grid.trials) == arrange(grid.trials, most_rows):
        most_rows = None
    return Setup(
        grid=grid,
        recipe=recipe,
        task=dataset.task,
        score_name=get_task(dataset.task).score_name,
        use_bias=use_bias,
        dtype=dtype,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        class_names=dataset.class_names,
        feature_dtype=dataset.train.features.dtype.name,
        image_form=dataset.image_form,
        transpose=dataset.transpose,
        examples=(len(dataset.train), len(dataset.validation), len(dataset.test)),
        layout=layout,
        most_rows=most_rows,
        search=None,
        keep_state=keep_state,
    )


def _most_rows(dataset: Dataset) -> int | None:
    """Rows of first layers that are fastest to train together: on a CPU what its caches hold; None for all."""
    if jax.default_backend() != "cpu":
        return None
    return max(1, CACHED // (dataset.features * 3 * 4))


def _check_kinds(grid: Any, dataset: Any, recipe: Any, layout: Any, use_bias: Any) -> None:
    for argument, value, kind, expected in (
        ("grid", grid, Grid, "an mlp_jax.Grid"),
        ("dataset", dataset, Dataset, "an mlp_jax.Dataset, as load_dataset and Dataset.from_arrays make them"),
        ("recipe", recipe, Recipe, "an mlp_jax.Recipe"),
        ("use_bias", use_bias, bool, "True or False"),
    ):
        instance(argument, value, kind, expected)
    dataset.check()
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise InputError(f"unknown layout {shown(layout)}: expected one of {', '.join(LAYOUTS)}")


def _fastest() -> tuple[str, int | None]:
    return FASTEST.get(jax.default_backend(), ELSEWHERE)


def prepare(
    setup: Setup,
    dataset: Dataset,
    replicas_at_once: int | None,
    devices: Sequence[jax.Device] | None,
    memory: int | None,
    blocks: Sequence[Block] | None = None,
    rounds: range | None = None,
    since: int = 0,
) -> tuple[Stage, ...]:
    """Lay out a sweep and plan it, block by block.

    Args:
        setup: what is asked for.
        dataset: as for ``sweep``.
        replicas_at_once: likewise.
        devices: likewise.
        memory: likewise.
        blocks: those to train; None for all trials.
        rounds: those to train them for; None for all from ``since`` on.
        since: number of the first of these.

    Raises:
        InputError: as ``sweep`` raises it.
    """
    if replicas_at_once is not None:
        replicas_at_once = whole("replicas_at_once", replicas_at_once, 1, MOST_TRIALS)
    if memory is not None:
        memory = whole("memory", memory, 1, sys.maxsize)
    if devices is not None:
        for each in listed("devices", devices, "a list of jax.Device, or None"):
            instance("a device", each, jax.Device, "a jax.Device")
            if devices.count(each) > 1:
                raise InputError(f"devices holds {each} {devices.count(each)} times: expected each once")
    everything = jax.devices() if devices is None else devices
    stages: list[Stage] = []
    for block in setup.blocks if blocks is None else blocks:
        replicas = block.replicas
        program = make_program(setup, block, dataset, replicas_at_once or _fastest()[1] or replicas, devices)
        columns = program.layout.columns
        same = (stage.host for stage in stages if stage.parts.whole.layout.columns == columns)
        host = next(same, None) or stack_splits(list(dataset.splits.values()), columns)
        trained = range(since, program.recipe.rounds) if rounds is None else rounds
        sharing = _sharing(program, replicas, len(everything), len(trained) * program.recipe.report_every)
        parts = divide(program, sharing, everything)
        try:
            plan = make_plan(parts, host, replicas, devices, memory)
        except InputError:  # too little memory: all trials on one device need less of it in all
            parts = divide(program, undivided(program.layout, replicas, len(everything)), everything)
            plan = make_plan(parts, host, replicas, devices, memory)
        parts = parts.changed(at_once=plan.at_once)
        stages.append(Stage(block, parts, plan, host, trained, keep_state=setup.keep_state))
    return tuple(stages)


def _prepare_from(setup: Setup, dataset: Dataset, running: Running, beginnings: Beginnings | None) -> tuple[Stage, ...]:
    """Lay out and plan a sweep of which some trials go on from where they were left."""
    how = (running.replicas_at_once, running.devices, running.memory)
    if beginnings is None:
        return prepare(setup, dataset, *how)
    stages: list[Stage] = []
    arranged = arrange_begun(setup.grid.trials, setup.most_rows, beginnings.epochs)
    for begun, pairs in groupby(arranged, key=lambda pair: pair[1]):
        blocks = [block for block, _ in pairs]
        found = prepare(setup, dataset, *how, blocks, since=begun // setup.recipe.report_every)
        stages += [replace(stage, begin=go_on_from(stage, beginnings.state)) if begun else stage for stage in found]
    return tuple(stages)


def _sharing(program: Program, replicas: int, devices: int, epochs: int) -> Sharing:
    """Which trials to train where, for so many epochs.

    With several processes or padded trials, only replicas are distributed.
    """
    if not all(packing.stacked for _, packing in program.layout.packings) or several():
        return undivided(program.layout, replicas, devices)
    return _shared_out(program.layout, replicas, devices, program.trained_on * epochs)


def _shared_out(layout: Layout, replicas: int, devices: int, examples: int) -> Sharing:
    """Which trials to train where, given the number of examples trained on, counting every epoch."""
    by_slot = [layout.problem.operations(network) for network in layout.networks]
    unit = 4 * layout.problem.useful or 1  # of a row of a first layer
    rows = [max(1, round(each / unit)) for each in by_slot]
    return share_out(rows, replicas, devices, sum(by_slot) * examples)


def device_a_core(
    grid: Grid, dataset: Dataset, *, recipe: Recipe = Recipe(), layout: str = "auto", use_bias: bool = True
) -> None:
    """Have JAX make one device per CPU core, as far as that makes a sweep with these arguments faster.

    The kernels of a sweep are small: cores that share them wait for each other, while cores with trials of their own do
    not (benchmarks/scaling.py). Call it before JAX does anything; if the number of devices is already set, by the user
    or by an earlier call, nothing changes.

    Raises:
        InputError: an argument that makes no sense; the message says which and why.
    """
    _check_kinds(grid, dataset, recipe, layout, use_bias)
    problem = _problem(grid, dataset, use_bias, recipe)
    most = 1
    for block in arrange(grid.trials, max(1, CACHED // (dataset.features * 3 * 4))):
        arranged = _arranged("packed" if layout == "auto" else layout, block.shapes, problem)
        examples = (block.order.subset or len(dataset.train)) * (block.order.epochs or recipe.epochs)
        sharing = _shared_out(arranged, block.replicas, cores(), examples)
        most = max(most, len(sharing.slots) * sharing.devices)
    make_cpu_devices(most)


def _problem(grid: Grid, dataset: Dataset, use_bias: bool, recipe: Recipe, forms: Forms = CPU) -> Problem:
    """What all trials share; raises InputError if some are convolutions but the examples are not images."""
    shape = shape_given(grid, dataset)
    decaying = any(decays(trial) for trial in grid.trials)
    live = tuple(range(dataset.features)) if decaying else live_features(dataset.train.features)
    return Problem(shape, dataset.outputs, use_bias, live, recipe.precision, forms)


def _padding(problem: Problem) -> dict[str, int]:
    """What a checkpoint holds besides on this backend: its state is of no use to one that pads otherwise."""
    return {"columns_on_this_backend": problem.trained} if problem.trained != problem.useful else {}


def shape_given(grid: Grid, dataset: Dataset) -> Shape:
    """Shape of an example as the networks take it: flat if all are perceptrons.

    Raises:
        InputError: some are convolutions, but the examples are not images.
    """
    if "cnn" not in grid.values("network"):
        return (dataset.features,)
    if dataset.image_shape is None:
        raise InputError(f"network is cnn and {dataset.name} holds no images: expected images, or network mlp")
    return dataset.image_shape


def _arranged(layout: str, shapes: Sequence[Trial], problem: Problem) -> Layout:
    networks = [network_of(shape, problem.outputs, problem.use_bias) for shape in shapes]
    return make_layout(layout, networks, problem, [shape.optimizer for shape in shapes])


def make_program(
    setup: Setup, block: Block, dataset: Dataset, at_once: int = 1, devices: Sequence[jax.Device] | None = None
) -> Program:
    """The functions that train a block of a sweep.

    Args:
        setup: of the sweep.
        block: of it.
        dataset: what it is trained on.
        at_once: number of replicas that run side by side on a device.
        devices: as for ``sweep``.
    """
    mesh = make_mesh(devices, block.replicas)
    forms = forms_of(mesh.devices.flat[0])
    problem = _problem(setup.grid, dataset, setup.use_bias, setup.recipe, forms)
    layout = _arranged(setup.layout, block.shapes, problem)
    return Program(
        layout=layout,
        slots=tuple(block.shapes[i] for i in layout.order),
        numbers=tuple(block.numbers),
        task=setup.task,
        recipe=recipe_of_trial(setup.recipe, block.order),
        examples=setup.examples,
        trained_on=examples_of(block.order, setup.examples[0]),
        dtype=np.dtype(setup.dtype),
        at_once=at_once,
        mesh=mesh,
    )


def sweep(
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
    checkpoints: str | Path | None = None,
    resume: str | Path | None = None,
    checkpoint_every: int | None = None,
    keep_state: bool = False,
    beginnings: Beginnings | None = None,
    stop: Callable[[], bool] | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
) -> SweepResult:
    """Train every trial of a grid, each as if it were trained alone.

    They are one compiled program, or one per part where trials are divided among devices.

    Args:
        grid: the trials.
        dataset: what to train on.
        recipe: epochs, batch size, Adam's constants, precision.
        layout: ``packed``, ``vmap``, or ``auto`` for the faster one.
        replicas_at_once: number of seeds that are trained side by side on a device; the rest follow. None for the
            fastest: one on a CPU, whose cores one seed's trials already fill, all on anything else.
        use_bias: whether layers have biases.
        dtype: ``float32``, or ``float64`` if JAX has it enabled.
        devices: devices to distribute replicas over, and the trials of a replica where devices would otherwise be idle;
            None for all that JAX has, in all its processes.
        memory: bytes to use of each device; None for most of what is free. Replicas that do not fit together are
            trained one chunk after another, with the same results.
        checkpoints: directory for checkpoints, new or empty.
        resume: directory with checkpoints of this same sweep: training continues from the last good one.
        checkpoint_every: epochs between checkpoints; None for as often as is cheap.
        keep_state: whether the result, and a run that is written of it, holds what training can go on from.
        beginnings: what some trials go on from; ``mlp_jax.runs.extend`` reads that of a run.
        stop: called after each epoch; if it returns True, the sweep saves its state and raises SweepStopped.
        on_plan: called with the plan of each block of trials before it is trained. Most sweeps are one block; trials
            that differ in batch size, subset or epochs are in separate blocks.
        on_epoch: called after each epoch.

    Returns:
        Scores, learning curves and models of all trials.

    Raises:
        InputError: an argument that makes no sense; the message says which and why.
        SweepStopped: ``stop`` said so.
        OSError: a checkpoint cannot be written; those before it are intact.
    """
    began, started = datetime.now(UTC), time.perf_counter()
    instance("beginnings", beginnings, Beginnings | None, "states that trials go on from, or None")
    running = Running(replicas_at_once, devices, memory, checkpoints, resume, checkpoint_every, stop, on_plan, on_epoch)
    setup = make_setup(
        grid, dataset, recipe=recipe, layout=layout, use_bias=use_bias, dtype=dtype, keep_state=keep_state
    )
    stages = _prepare_from(setup, dataset, running, beginnings)
    saver = None
    if running.place is not None:
        identity = setup.identity | _padding(stages[0].parts.whole.layout.problem)
        identity |= {"begun": list(beginnings.epochs)} if beginnings is not None else {}
        saver = Checkpoints(running.place, identity, resume=resume is not None, every=checkpoint_every)
    # A sweep is compiled ahead, which jax.disable_jit, for looking at a program step by step, has no part in.
    with jax.disable_jit(False), saver or contextlib.nullcontext():
        loop = Loop(stages, dataset, saver, running.stops, on_plan, on_epoch)
        for stage, record in zip(stages, loop.records, strict=True):
            if beginnings is not None and stage.begin is not None:
                record.take_curves(lambda place: beginnings.state(place).curves)
        trained = loop.run(started)
    return SweepResult(
        **collected(setup, dataset, loop.records),
        plans=tuple(stage.plan for stage in stages),
        timing=loop.timing,
        started=began,
        ended=datetime.now(UTC),
        _pieces=loop.pieces(trained),
    )


def collected(setup: Setup, dataset: Dataset, records: Sequence[Record]) -> dict[str, Any]:
    """What a result says of its trials, by field: from records of all of them, the last of several of one trial."""
    found = [record.results() for record in records]
    history, final = ({key: gathered(records, [each[i][key] for each in found]) for key in found[0][i]} for i in (0, 1))
    shape = shape_given(setup.grid, dataset)
    networks = (network_of(trial, dataset.outputs, setup.use_bias) for trial in setup.grid.trials)
    return {
        **{each.name: getattr(setup, each.name) for each in fields(Setup)},
        "history": history,
        "final": final,
        "diverged": gathered(records, [each[2] for each in found], 0) * setup.recipe.report_every,
        "parameters": np.array([parameter_count(network, shape) for network in networks]),
        "outcomes": Outcomes.of(dataset, {k: gathered(records, [r.hits[k] for r in records], 0) for k in SPLITS}),
    }
