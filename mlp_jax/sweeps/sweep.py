"""The sweep: every trial of a grid trained at once."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax.datasets.dataset import Dataset, ImageForm
from mlp_jax.errors import InputError, instance, listed, shown, whole
from mlp_jax.machine.backend import require_jax
from mlp_jax.machine.distributed import cores, make_cpu_devices, several
from mlp_jax.machine.forms import CPU, Forms, forms_of
from mlp_jax.networks.layers import Network, layers_of, parameter_count, perceptron
from mlp_jax.networks.layouts import Layout, Problem, make_layout
from mlp_jax.networks.models import MLP
from mlp_jax.sweeps.checkpoints import Checkpoints
from mlp_jax.sweeps.grid import MOST_TRIALS, Grid, Trial
from mlp_jax.sweeps.loop import Loop, Progress, Timing, Trained, places
from mlp_jax.sweeps.outcomes import Outcomes
from mlp_jax.sweeps.parts import Parts, Sharing, divide, share_out, undivided
from mlp_jax.sweeps.plan import Plan, counted, make_mesh, make_plan
from mlp_jax.sweeps.program import Program
from mlp_jax.tasks import get_task
from mlp_jax.training.axes import check_trial
from mlp_jax.training.epoch import live_features, stack_splits
from mlp_jax.training.recipe import Recipe

LAYOUTS = ("auto", "packed", "vmap")

FASTEST = {"cpu": ("packed", 1)}
"""By backend: the layout, and how many replicas run side by side on a device (None: all), where it has been measured
(benchmarks/records). On a CPU several gain where each has a device of its own (``device_a_core``)."""

ELSEWHERE: tuple[str, int | None] = ("packed", None)
"""The same for a backend that has not been measured: accelerators are the faster the more they get at a time."""


@dataclass(frozen=True)
class Setup:
    """What is known of a sweep before anything is trained.

    Attributes:
        grid: what was asked for.
        recipe: how it is trained.
        task, score_name: the task and what its score is.
        use_bias, dtype: as asked for.
        dataset_name, dataset_digest, class_names, feature_dtype, image_form, transpose: what it is trained on
            (``Dataset``).
        examples: sizes of the train, validation and test split.
        layout: ``packed`` or ``vmap``.
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

    @property
    def identity(self) -> dict[str, Any]:
        """All that determines the results, as JSON knows it."""
        return {
            **self.grid.axes,
            **asdict(self.recipe),
            **{key: getattr(self, key) for key in ("layout", "use_bias", "dtype", "task", "dataset_digest")},
        }


@dataclass(frozen=True, repr=False)
class SweepResult(Setup):
    """All trials, trained. Arrays are in the order of ``trials``.

    Attributes:
        history: loss, score, validation_loss, validation_score, each ``[trials, epochs]``; the training figures are
            averaged over minibatches as they were trained.
        final: of the finished models: train_loss, train_score, validation_loss, ..., test_score, each ``[trials]``.
        diverged: ``[trials]``, the epoch (from 1) in which a loss or parameter was no longer finite, or from which on
            the training loss was hopeless to the end (``mlp_jax.sweeps.loop.HOPELESS``); 0 for none.
        parameters: ``[trials]``, how many each has.
        outcomes: what every finished model makes of every example of the validation and the test split.
        plan: how it was shared out.
        timing: where the time went.
        started, ended: when, UTC; of a sweep that was resumed, when it was resumed last.
    """

    history: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    diverged: np.ndarray
    parameters: np.ndarray
    outcomes: Outcomes
    plan: Plan
    timing: Timing
    started: datetime
    ended: datetime
    _layout: Layout
    _treedefs: tuple[Any, Any]
    _trained: tuple[Trained, ...]

    def __repr__(self) -> str:
        widths, scores = sorted(self.grid.hidden_units), self.final["validation_score"]
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

    def weights(self, trial: Trial | int) -> dict[str, np.ndarray]:
        """Trained parameters of a trial (or of the trial at that place) by the article's symbols (``Weights``).

        Raises:
            InputError: the sweep has no such trial.
        """
        place = self._place(trial)
        replica = int(self._places[0][place])
        trained = next(t for t in self._trained if t.first <= replica < t.first + t.count)
        return self._weights(trained.arrays(), replica - trained.first, int(self._places[1][place]))

    def all_weights(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Every trial's place and weights, replica by replica, so that each chunk is read once."""
        replicas, slots = self._places
        order = np.argsort(replicas, kind="stable")
        starts = np.searchsorted(replicas[order], np.arange(len(self.grid.replicas) + 1))
        for trained in self._trained:
            arrays = trained.arrays()
            for replica in range(trained.first, trained.first + trained.count):
                for place in order[starts[replica] : starts[replica + 1]]:
                    yield int(place), self._weights(arrays, replica - trained.first, int(slots[place]))

    def model(self, trial: Trial | int) -> MLP:
        """The trained model of a trial (or of the trial at that place), a plain ``MLP``.

        Raises:
            InputError: the sweep has no such trial.
        """
        activation = self.trials[self._place(trial)].activation
        return MLP.from_weights(self.weights(trial), activation=activation, task=self.task)

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        return places(self.grid, self._layout)

    def _weights(self, arrays: Mapping[str, np.ndarray], replica: int, slot: int) -> dict[str, np.ndarray]:
        params, frozen = (
            jax.tree.unflatten(treedef, [arrays[f"{name}/{i}"][replica] for i in range(treedef.num_leaves)])
            for name, treedef in zip(("params", "frozen"), self._treedefs, strict=True)
        )
        return self._layout.weights(params, frozen, slot)

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
) -> Setup:
    """What ``sweep`` with these arguments is to train.

    Raises:
        InputError: an argument that makes no sense; the message says which and why. Or JAX cannot be used here.
    """
    _check_kinds(grid, dataset, recipe, layout, use_bias)
    check_dtype(dtype)
    for smoothing in grid.label_smoothings:
        check_trial(grid.points[0]._replace(label_smoothing=smoothing), dataset.task)
    require_jax()
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
        layout=_fastest()[0] if layout == "auto" else layout,
    )


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


class Prepared(NamedTuple):
    """What is to be run, with which data, on which devices."""

    parts: Parts
    host: tuple[np.ndarray, np.ndarray]
    plan: Plan


def prepare(
    setup: Setup,
    dataset: Dataset,
    replicas_at_once: int | None,
    devices: Sequence[jax.Device] | None,
    memory: int | None,
) -> Prepared:
    """Lay out a sweep and plan it; the arguments are ``sweep``'s.

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
    replicas = len(setup.grid.replicas)
    program = make_program(setup, dataset, replicas_at_once or _fastest()[1] or replicas, devices)
    everything = jax.devices() if devices is None else devices
    host = stack_splits(list(dataset.splits.values()), program.layout.columns)
    sharing = _sharing(program.layout, setup.grid, setup.examples[0], setup.recipe.epochs, len(everything))
    parts = divide(program, sharing, everything)
    try:
        plan = make_plan(parts, host, replicas, devices, memory)
    except InputError:  # too little memory: all trials on one device need less of it in all
        parts = divide(program, undivided(program.layout, replicas, len(everything)), everything)
        plan = make_plan(parts, host, replicas, devices, memory)
    return Prepared(parts.changed(at_once=plan.at_once), host, plan)


def _sharing(layout: Layout, grid: Grid, examples: int, epochs: int, devices: int) -> Sharing:
    """Which trials to train where. Several processes and padded trials are not divided, but share out replicas."""
    replicas = len(grid.replicas)
    if not all(packing.stacked for _, packing in layout.packings) or several():
        return undivided(layout, replicas, devices)
    by_slot = [layout.problem.operations(network) for network in layout.networks]
    unit = 4 * layout.problem.useful or 1  # of a row of a first layer
    rows = [max(1, round(each / unit)) for each in by_slot]
    return share_out(rows, replicas, devices, sum(by_slot) * examples * epochs)


def device_a_core(
    grid: Grid, dataset: Dataset, *, recipe: Recipe = Recipe(), layout: str = "auto", use_bias: bool = True
) -> None:
    """Have JAX make a device of each core of this machine's CPU, as far as a sweep with these arguments gains by it.

    The kernels of a sweep are small: cores that share them wait for each other, and cores that have trials of their
    own do not (benchmarks/scaling.py). To be called before JAX does anything; where it was said already how many
    devices there are to be, by the user or by an earlier call, nothing is changed.

    Raises:
        InputError: an argument that makes no sense; the message says which and why.
    """
    _check_kinds(grid, dataset, recipe, layout, use_bias)
    arranged = _arranged("packed" if layout == "auto" else layout, grid, _problem(grid, dataset, use_bias, recipe))
    sharing = _sharing(arranged, grid, len(dataset.train), recipe.epochs, cores())
    make_cpu_devices(len(sharing.slots) * sharing.devices)


def _problem(grid: Grid, dataset: Dataset, use_bias: bool, recipe: Recipe, forms: Forms = CPU) -> Problem:
    live = tuple(range(dataset.features)) if grid.decays else live_features(dataset.train.features)
    return Problem((dataset.features,), dataset.outputs, use_bias, live, recipe.precision, forms)


def _padding(problem: Problem) -> dict[str, int]:
    """What a checkpoint holds besides, on this backend: it is no state for one that pads otherwise."""
    return {"columns_on_this_backend": problem.trained} if problem.trained != problem.useful else {}


def network_of(trial: Trial, outputs: int, use_bias: bool) -> Network:
    """The layers of a trial."""
    return perceptron(layers_of(trial.hidden_units), outputs, trial.activation, use_bias)


def _arranged(layout: str, grid: Grid, problem: Problem) -> Layout:
    networks = [network_of(point, problem.outputs, problem.use_bias) for point in grid.points]
    return make_layout(layout, networks, problem, [point.optimizer for point in grid.points])


def make_program(
    setup: Setup, dataset: Dataset, at_once: int = 1, devices: Sequence[jax.Device] | None = None
) -> Program:
    """The functions that train a sweep.

    Args:
        setup: of the sweep.
        dataset: what it is trained on.
        at_once: how many replicas run side by side on a device.
        devices: as for ``sweep``.
    """
    mesh = make_mesh(devices, len(setup.grid.replicas))
    forms = forms_of(mesh.devices.flat[0])
    problem = _problem(setup.grid, dataset, setup.use_bias, setup.recipe, forms)
    return Program(
        layout=_arranged(setup.layout, setup.grid, problem),
        numbers=tuple(setup.grid.numbers),
        task=setup.task,
        recipe=setup.recipe,
        examples=setup.examples,
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
    stop: Callable[[], bool] | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
) -> SweepResult:
    """Train every trial of a grid, each as if it were trained alone.

    All of them are one compiled program, or one for each part where trials are divided among devices.

    Args:
        grid: the trials.
        dataset: what to train on.
        recipe: epochs, batch size, Adam's constants, precision.
        layout: ``packed``, ``vmap``, or ``auto`` for the faster one.
        replicas_at_once: how many seeds are trained side by side on a device; the rest follow.
            None for what is fastest: one on a CPU, whose cores one seed's trials already fill, all on anything else.
        use_bias: whether layers have biases.
        dtype: ``float32``, or ``float64`` if JAX has it enabled.
        devices: to share the replicas out to, and the trials of a replica where devices would be idle otherwise; None
            for all that JAX has, in all its processes.
        memory: bytes of each device to use; None for most of what is free. Replicas that do not fit together are
            trained one chunk after another, with the same results.
        checkpoints: directory for checkpoints, new or empty.
        resume: directory of the checkpoints of this very sweep, begun before: training goes on from the last good one.
        checkpoint_every: epochs between checkpoints; None for as often as costs little.
        stop: asked after each epoch; when it says True, the sweep saves what it has and raises SweepStopped.
        on_plan: told how the sweep is shared out, before training.
        on_epoch: called after each epoch.

    Returns:
        Scores, learning curves and models of all trials.

    Raises:
        InputError: an argument that makes no sense; the message says which and why.
        SweepStopped: ``stop`` said so.
        OSError: a checkpoint cannot be written; those before it are intact.
    """
    began, started = datetime.now(UTC), time.perf_counter()
    for argument, value, kind, expected in (
        ("checkpoints", checkpoints, str | os.PathLike | None, "a path, or None"),
        ("resume", resume, str | os.PathLike | None, "a path, or None"),
        ("stop", stop, Callable | None, "a function, or None"),
        ("on_plan", on_plan, Callable | None, "a function, or None"),
        ("on_epoch", on_epoch, Callable | None, "a function, or None"),
    ):
        instance(argument, value, kind, expected)
    setup = make_setup(grid, dataset, recipe=recipe, layout=layout, use_bias=use_bias, dtype=dtype)
    if checkpoint_every is not None:
        checkpoint_every = whole("checkpoint_every", checkpoint_every, 1, sys.maxsize)
    if checkpoints is not None and resume is not None:
        raise InputError("checkpoints and resume are both given: expected one (resume goes on saving where it began)")
    parts, host, plan = prepare(setup, dataset, replicas_at_once, devices, memory)
    if on_plan is not None:
        on_plan(plan)
    place = checkpoints if resume is None else resume
    saver = None
    if place is not None:
        identity = setup.identity | _padding(parts.whole.layout.problem)
        saver = Checkpoints(Path(place), identity, resume=resume is not None, every=checkpoint_every)
    # A sweep is compiled ahead, which jax.disable_jit, for looking at a program step by step, has no part in.
    with jax.disable_jit(False), saver or contextlib.nullcontext():
        loop = Loop(grid, dataset, parts, plan, saver, stop or (lambda: False), on_epoch)
        trained = loop.run(host, started)
    history, final, diverged = loop.results()
    return SweepResult(
        **vars(setup),
        history=history,
        final=final,
        diverged=diverged,
        parameters=np.array(
            [
                parameter_count(network_of(trial, dataset.outputs, use_bias), (dataset.features,))
                for trial in grid.trials
            ]
        ),
        outcomes=Outcomes.of(dataset, loop.hits),
        plan=plan,
        timing=loop.timing,
        started=began,
        ended=datetime.now(UTC),
        _layout=parts.whole.layout,
        _treedefs=loop.treedefs,
        _trained=tuple(trained),
    )
