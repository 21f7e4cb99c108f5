"""The sweep: every trial of a grid trained in one compiled program."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mlp_jax.datasets.dataset import Dataset, ImageForm
from mlp_jax.errors import InputError
from mlp_jax.layouts import Architecture, Layout, Params, Problem, make_layout
from mlp_jax.models import MLP, check_architecture, parameter_key
from mlp_jax.recipe import Recipe, check_learning_rate
from mlp_jax.tasks import get_task
from mlp_jax.training import (
    DeviceData,
    Means,
    State,
    evaluate_rows,
    live_features,
    minibatches,
    to_device,
    train_minibatches,
)

ARTICLE_WIDTHS = (10, 25, 50, 100, 150, 200)
MOST_TRIALS = 10_000_000
"""Of a grid; more than any machine trains, and few enough to list."""

HOPELESS = 1000.0
"""A trial has diverged when its training loss ends so many times as high as that of a model that answers nothing."""

KEPT_PROGRAMS = 16
"""How many sweeps' compiled programs a process keeps, in case the like is asked for again; then the oldest goes."""

LAYOUTS = ("auto", "packed", "vmap")


class Trial(NamedTuple):
    """One point of the grid, trained as if it were alone."""

    hidden_units: int
    activation: str
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Grid:
    """All the trials asked for: every combination of the four.

    Attributes:
        hidden_units: widths M of the hidden layer; 0 for none (softmax, logistic or linear regression).
        activations: of the hidden layer, names in ``mlp_jax.ACTIVATIONS``.
        learning_rates: Adam's α.
        seeds: of initial weights and minibatches; a number n stands for 0, ..., n − 1.
    """

    hidden_units: Sequence[int] = ARTICLE_WIDTHS
    activations: Sequence[str] = ("sigmoid",)
    learning_rates: Sequence[float] = (1e-3,)
    seeds: Sequence[int] | int = 5

    def __post_init__(self) -> None:
        for name in ("hidden_units", "activations", "learning_rates", "seeds"):
            values = getattr(self, name)
            if name == "seeds" and isinstance(values, int) and not isinstance(values, bool):
                if not 1 <= values < 2**32:
                    raise InputError(f"seeds is {values}: expected how many, 1 or more, or a list of them")
                values = range(values)
            if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
                raise InputError(f"{name} is {values!r}: expected a list of values")
            if len(values) > MOST_TRIALS:
                raise InputError(f"{name} has {len(values)} values: expected at most {MOST_TRIALS}")
            values = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
            object.__setattr__(self, name, values)
            if not values:
                raise InputError(f"{name} is empty: expected at least one value")
        for units, activation in itertools.product(self.hidden_units, self.activations):
            check_architecture(units, activation)
        for rate in self.learning_rates:
            check_learning_rate(rate)
        for seed in self._seeds:
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
                raise InputError(f"seed is {seed!r}: expected a whole number from 0 to 2³² − 1")
        for name in ("hidden_units", "activations", "learning_rates", "seeds"):
            values = getattr(self, name)
            value, times = Counter(values).most_common(1)[0]
            if times > 1:
                raise InputError(f"{name} holds {value!r} {times} times: expected each value once")

        count = len(self.hidden_units) * len(self.activations) * len(self.learning_rates) * len(self._seeds)
        if count > MOST_TRIALS:
            raise InputError(f"the grid has {count} trials: expected at most {MOST_TRIALS}")

    @property
    def _seeds(self) -> tuple[int, ...]:
        return cast("tuple[int, ...]", self.seeds)  # __post_init__ made it one

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every combination, seeds varying fastest."""
        points = itertools.product(self.hidden_units, self.activations, self.learning_rates, self._seeds)
        return tuple(Trial(*point) for point in points)

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """The trials of one replica."""
        return tuple(Architecture(f, m) for m, f in itertools.product(self.hidden_units, self.activations))

    @property
    def replicas(self) -> tuple[tuple[float, int], ...]:
        """(learning rate, seed) of each replica."""
        return tuple(itertools.product(self.learning_rates, self._seeds))


class Replicas(NamedTuple):
    """What distinguishes the replicas, and does not change; every leaf has the mapped axis R in front."""

    frozen: Params
    key: PRNGKeyArray
    learning_rate: Float[Array, "R"]


class EpochMeans(NamedTuple):
    """What an epoch reports of each trial, ``[R, T]``."""

    train: Means
    validation: Means
    finite: Bool[Array, "R T"]


@dataclass(frozen=True)
class Program:
    """The pure functions of a sweep, to be compiled; every one maps over the replicas in its arguments.

    Attributes:
        layout: of the trials of a replica.
        task: name of the task.
        recipe: how to train.
        examples: sizes of the train, validation and test split.
        dtype: of parameters and arithmetic.
        at_once: how many replicas run side by side; the rest follow one group after another.
    """

    layout: Layout
    task: str
    recipe: Recipe
    examples: tuple[int, int, int]
    dtype: Any
    at_once: int

    def _map(self, f: Callable[..., Any], *args: Any) -> Any:
        replicas = len(jax.tree.leaves(args)[0])
        if self.at_once >= replicas:
            return jax.vmap(f)(*args)
        batch = None if self.at_once == 1 else self.at_once
        return lax.map(lambda each: f(*each), args, batch_size=batch)

    def init(
        self, parameter_keys: PRNGKeyArray, keys: PRNGKeyArray, rates: Float[Array, "R"]
    ) -> tuple[State, Replicas]:
        """Initial state of every replica."""

        def one(parameter_key: PRNGKeyArray, key: PRNGKeyArray, rate: Array) -> tuple[State, Replicas]:
            params, frozen = self.layout.init(parameter_key, self.dtype)
            return State(params, self.recipe.optimizer(rate).init(params)), Replicas(frozen, key, rate)

        return self._map(one, parameter_keys, keys, rates)

    def epoch(
        self, state: State, replicas: Replicas, epoch: Int[Array, ""], data: DeviceData
    ) -> tuple[State, EpochMeans]:
        """Train every replica for one epoch, then score it on the validation split."""
        task, train = get_task(self.task), self.examples[0]

        def one(state: State, replica: Replicas) -> tuple[State, EpochMeans]:
            batches = minibatches(replica.key, epoch, train, self.recipe.batch_size)
            state, means = train_minibatches(
                self.layout.logits,
                task,
                self.recipe,
                train,
                self.layout.trained,
                state,
                replica.learning_rate,
                batches,
                data,
            )
            full = self.layout.merge(state.params, replica.frozen)
            validation = evaluate_rows(self.layout.logits, task, full, data, train, train + self.examples[1])
            return state, EpochMeans(means, validation, self.layout.finite(state.params))

        return self._map(one, state, replicas)

    def evaluate(
        self, params: Params, replicas: Replicas, first: Int[Array, ""], last: Int[Array, ""], data: DeviceData
    ) -> Means:
        """Score every replica on rows first (included) to last (excluded)."""

        def one(params: Params, replica: Replicas) -> Means:
            full = self.layout.merge(params, replica.frozen)
            return evaluate_rows(self.layout.logits, get_task(self.task), full, data, first, last)

        return self._map(one, params, replicas)


class Compiled(NamedTuple):
    """A program's functions as ``jax.jit`` has them; ``epoch`` takes over the buffers of its state."""

    init: Any
    epoch: Any
    evaluate: Any


@lru_cache(maxsize=KEPT_PROGRAMS)
def jitted(program: Program) -> Compiled:
    """The functions of a program: the same ones for equal programs, so that equal sweeps compile once."""
    return Compiled(jax.jit(program.init), jax.jit(program.epoch, donate_argnums=0), jax.jit(program.evaluate))


@dataclass(frozen=True)
class Timing:
    """Where the time of a sweep went, in seconds.

    Attributes:
        prepare: data to the device, initial weights.
        compile: tracing and compiling the epoch's program.
        epochs: each epoch of all trials, as the host saw it.
        evaluate: final scores of the three splits, compilation included.
    """

    prepare: float
    compile: float
    epochs: tuple[float, ...]
    evaluate: float

    @property
    def warm_epoch(self) -> float:
        """Median time of an epoch after the first (of the first, if there is no other)."""
        return float(np.median(self.epochs[1:] or self.epochs))


@dataclass(frozen=True)
class Progress:
    """What is known after an epoch; arrays are in the order of ``Grid.trials``.

    Attributes:
        epoch: number of the epoch, from 1.
        epochs: how many there will be.
        loss, score, validation_loss, validation_score: ``[trials]``, of this epoch.
        diverged: ``[trials]``, whether it has diverged, as far as can be told by now.
    """

    epoch: int
    epochs: int
    loss: np.ndarray
    score: np.ndarray
    validation_loss: np.ndarray
    validation_score: np.ndarray
    diverged: np.ndarray


@dataclass(frozen=True)
class SweepResult:
    """All trials, trained. Arrays are in the order of ``trials``.

    Attributes:
        grid: what was asked for.
        recipe: how it was trained.
        task, score_name: the task and what its score is.
        use_bias, dtype: as asked for.
        dataset_name, dataset_digest, class_names, feature_dtype, image_form: what it was trained on (``Dataset``).
        examples: sizes of the train, validation and test split.
        layout: ``packed`` or ``vmap``.
        history: loss, score, validation_loss, validation_score, each ``[trials, epochs]``; the training figures are
            averaged over minibatches as they were trained.
        final: of the finished models: train_loss, train_score, validation_loss, ..., test_score, each ``[trials]``.
        diverged: ``[trials]``, the epoch (from 1) in which a loss or parameter was no longer finite, or from which on
            the training loss was hopeless to the end (``HOPELESS``); 0 for none.
        parameters: ``[trials]``, how many each has.
        timing: where the time went.
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
    examples: tuple[int, int, int]
    layout: str
    history: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    diverged: np.ndarray
    parameters: np.ndarray
    timing: Timing
    _plan: Layout = field(repr=False)
    _params: Params = field(repr=False)
    _frozen: Params = field(repr=False)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials, in the order of every array."""
        return self.grid.trials

    def weights(self, trial: Trial | int) -> dict[str, np.ndarray]:
        """Trained parameters of a trial (or of the trial at that place) by the article's symbols (``Weights``).

        Raises:
            InputError: the sweep has no such trial.
        """
        trial = self._find(trial)
        replica = self.grid.replicas.index((trial.learning_rate, trial.seed))
        slot = self._plan.slots.index(Architecture(trial.activation, trial.hidden_units))
        params, frozen = jax.tree.map(lambda leaf: np.asarray(leaf[replica]), (self._params, self._frozen))
        return self._plan.weights(params, frozen, slot)

    def model(self, trial: Trial | int) -> MLP:
        """The trained model of a trial (or of the trial at that place), a plain ``MLP``.

        Raises:
            InputError: the sweep has no such trial.
        """
        trial = self._find(trial)
        return MLP.from_weights(self.weights(trial), activation=trial.activation, task=self.task)

    def _find(self, trial: Trial | int) -> Trial:
        if isinstance(trial, int | np.integer):
            if not -len(self.trials) <= trial < len(self.trials):
                raise InputError(f"no trial at {trial}: the sweep has {len(self.trials)}")
            return self.trials[trial]
        if trial not in self.trials:
            raise InputError(f"the sweep has no {trial}")
        return Trial(*trial)


def check_dtype(dtype: str) -> None:
    """Raise InputError unless parameters can be of this type."""
    if dtype not in ("float32", "float64"):
        raise InputError(f"unknown dtype {dtype!r}: expected float32 or float64")
    if dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise InputError("dtype float64 needs JAX's 64-bit mode: set JAX_ENABLE_X64=1")


def sweep(
    grid: Grid,
    dataset: Dataset,
    *,
    recipe: Recipe = Recipe(),
    layout: str = "auto",
    replicas_at_once: int | None = None,
    use_bias: bool = True,
    dtype: str = "float32",
    on_epoch: Callable[[Progress], None] | None = None,
) -> SweepResult:
    """Train every trial of a grid, in one compiled program, each as if it were trained alone.

    Args:
        grid: the trials.
        dataset: what to train on.
        recipe: epochs, batch size and Adam's constants.
        layout: ``packed``, ``vmap``, or ``auto`` for the faster one.
        replicas_at_once: how many (learning rate, seed) pairs are trained side by side; the rest follow. None for
            what is fastest: one on a CPU, whose cores one pair already fills, all on anything else.
        use_bias: whether layers have biases.
        dtype: ``float32``, or ``float64`` if JAX has it enabled.
        on_epoch: called after each epoch.

    Returns:
        Scores, learning curves and models of all trials.

    Raises:
        InputError: an argument that makes no sense; the message says which and why.
    """
    started = time.perf_counter()
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
    check_dtype(dtype)
    if replicas_at_once is not None and replicas_at_once < 1:
        raise InputError(f"replicas_at_once is {replicas_at_once}: expected 1 or more")
    name = "packed" if layout == "auto" else layout
    problem = Problem(dataset.features, dataset.outputs, use_bias, live_features(dataset.train.features))
    plan = make_layout(name, grid.architectures, problem)
    data = to_device(list(dataset.splits.values()), plan.columns)
    sizes = (len(dataset.train), len(dataset.validation), len(dataset.test))
    if replicas_at_once is None:
        replicas_at_once = 1 if jax.default_backend() == "cpu" else len(grid.replicas)
    program = jitted(Program(plan, dataset.task, recipe, sizes, jnp.dtype(dtype), replicas_at_once))
    task = get_task(dataset.task)

    rates, seeds = zip(*grid.replicas, strict=True)
    state, replicas = program.init(
        jnp.stack([parameter_key(seed) for seed in seeds]),
        jnp.stack([jax.random.key(seed) for seed in seeds]),
        jnp.asarray(rates, dtype),
    )
    jax.block_until_ready((data, state))
    prepared = time.perf_counter()
    index = jnp.zeros((), jnp.int32)
    train_all = program.epoch.lower(state, replicas, index, data).compile()
    compiled = time.perf_counter()

    place = _places(grid, plan)
    hopeless = HOPELESS * task.guess_loss(dataset.train.targets) or np.inf
    splits = dataset.splits
    rows, seconds, diverged = [], [], np.zeros(len(grid.trials), int)
    for epoch in range(recipe.epochs):
        begun = time.perf_counter()
        state, means = train_all(state, replicas, jnp.asarray(epoch, jnp.int32), data)
        means = jax.tree.map(lambda leaf: np.asarray(leaf)[place], means)
        seconds.append(time.perf_counter() - begun)
        row = {
            "loss": means.train.loss,
            "score": task.score(means.train.hit, splits["train"].targets),
            "validation_loss": means.validation.loss,
            "validation_score": task.score(means.validation.hit, splits["validation"].targets),
        }
        rows.append(row)
        finite = means.finite & np.isfinite(means.train.loss) & np.isfinite(means.validation.loss)
        diverged = np.where((diverged == 0) & ~finite, epoch + 1, diverged)
        if on_epoch is not None:
            lost = (diverged > 0) | (means.train.loss > hopeless)
            on_epoch(Progress(epoch + 1, recipe.epochs, **row, diverged=lost))

    history = {key: np.stack([row[key] for row in rows], axis=1) for key in rows[0]}
    bearable = np.flip(history["loss"] <= hopeless, axis=1)
    since = recipe.epochs - np.where(bearable.any(axis=1), bearable.argmax(axis=1), recipe.epochs) + 1
    diverged = np.where((diverged == 0) & (since <= recipe.epochs), since, diverged)

    begun = time.perf_counter()
    final, first = {}, 0
    for split, size in zip(splits, sizes, strict=True):
        bounds = (jnp.asarray(row, jnp.int32) for row in (first, first + size))
        means = jax.tree.map(
            lambda leaf: np.asarray(leaf)[place], program.evaluate(state.params, replicas, *bounds, data)
        )
        final[f"{split}_loss"] = means.loss
        final[f"{split}_score"] = task.score(means.hit, splits[split].targets)
        first += size
    timing = Timing(prepared - started, compiled - prepared, tuple(seconds), time.perf_counter() - begun)
    return SweepResult(
        grid=grid,
        recipe=recipe,
        task=task.name,
        score_name=task.score_name,
        use_bias=use_bias,
        dtype=dtype,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        class_names=dataset.class_names,
        feature_dtype=dataset.train.features.dtype.name,
        image_form=dataset.image_form,
        examples=sizes,
        layout=name,
        history=history,
        final=final,
        diverged=diverged,
        parameters=np.array([_parameter_count(t.hidden_units, problem) for t in grid.trials]),
        timing=timing,
        _plan=plan,
        _params=state.params,
        _frozen=replicas.frozen,
    )


def _places(grid: Grid, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Where each trial of the grid is in arrays ``[R, T]``."""
    replica = {pair: i for i, pair in enumerate(grid.replicas)}
    slot = {architecture: i for i, architecture in enumerate(layout.slots)}
    return (
        np.array([replica[t.learning_rate, t.seed] for t in grid.trials]),
        np.array([slot[Architecture(t.activation, t.hidden_units)] for t in grid.trials]),
    )


def _parameter_count(units: int, problem: Problem) -> int:
    first = units or problem.outputs
    count = (problem.features + problem.use_bias) * first
    return count + (units + problem.use_bias) * problem.outputs if units else count
