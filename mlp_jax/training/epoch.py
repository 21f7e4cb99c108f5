"""Training: minibatches, the step, an epoch as one scan, evaluation.

Everything here is a pure function of (parameters, optimizer state, key), to be compiled by its caller. A sweep and
``fit`` share it; it sees a model only as a function from parameters and examples to logits ``[T, B, K]`` of T trials.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import dtypes, lax
from jax.sharding import Sharding
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray, UInt32

from mlp_jax.datasets.dataset import Split
from mlp_jax.machine.forms import CPU, Forms
from mlp_jax.networks.dropout import Dropout
from mlp_jax.networks.keys import drawing
from mlp_jax.networks.models import scale_features
from mlp_jax.networks.packing import FIRST
from mlp_jax.tasks import Loss, Task, classes_apart, loss_of_each
from mlp_jax.training.axes import Trial
from mlp_jax.training.fused import FUSED, fuses, step_first_layers
from mlp_jax.training.optimizers import OPTIMIZERS, Corrections, corrections_ahead, counted, make_optimizer
from mlp_jax.training.recipe import Recipe
from mlp_jax.training.schedules import factors, scheduled

Logits = Callable[..., Float[Array, "T B K"]]
"""Logits from parameters and examples ``[B, C]``; perhaps from the ``Dropout`` of the step and known products."""

Numbers = Mapping[str, Float[Array, "T"]]
"""One number per trial, by the name of the number axis; axes on which every trial has the default are left out."""

# What keys are for, that are made from the one of a seed.
MINIBATCHES = 0xBA7C4
DROPOUT = 0xD409
LABEL_NOISE = 0x401E

ROWS_AT_ONCE = 1000  # in evaluation: enough to fill the machine, and few enough to stay in its caches


ALIGNMENT = 64  # bytes: where XLA wants arrays to begin

# Measured on 2 cores with AVX-512 (benchmarks/roofline.py: the products tuned, as JAX compiles them, and in bfloat16).
# XLA hands products to YNNPACK, whose gradient product is slower than XLA's own in float32, but faster in bfloat16,
# which XLA's own would convert back; and it uses half the width of the vector units.
_COMPILER_OPTIONS: dict[tuple[str, bool], dict[str, Any]] = {
    ("cpu", False): {"xla_cpu_experimental_ynn_fusion_type": "", "xla_cpu_prefer_vector_width": 512},
    ("cpu", True): {"xla_cpu_prefer_vector_width": 512},
}


class DeviceData(NamedTuple):
    """All splits one after another, on the device; uint8 stays uint8.

    Attributes:
        features: ``[N, C]``, N = train + validation + test, with the columns that a layout needs.
        targets: labels ``[N]`` or values ``[N, K]``.
    """

    features: Num[Array, "N C"]
    targets: Num[Array, "N *K"]


class Means(NamedTuple):
    """Means over the examples of a split, ``[T]``: of the loss, and of the task's ``hit``."""

    loss: Float[Array, "T"]
    hit: Float[Array, "T"]


class Scored(NamedTuple):
    """Scores of trials on a split: means, and ``hit`` of as many of the first examples as were asked for.

    ``hits`` are truth values where the task's ``hit`` is 0 or 1, else float32; past the split's end they mean nothing.
    """

    means: Means
    hits: Bool[Array, "T kept"] | Float[Array, "T kept"]


class Ahead(NamedTuple):
    """What is known of the steps of an epoch before the first: how many examples each has, and Adam's corrections."""

    examples: Float[Array, "*steps"]
    corrections: dict[str, Corrections | None]


class State(NamedTuple):
    """What an epoch changes: parameters and optimizer state, pytrees."""

    params: Any
    opt_state: Any


def stack_splits(splits: Sequence[Split], columns: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of splits, one split after another: ``DeviceData``, still on the host.

    Args:
        splits: with the same features.
        columns: feature columns to take, in this order; −1 for a column that the model sees as 1, −2 for one of zeros.
            None for all.
    """
    some = [split.features for split in splits]
    if len({each.dtype == np.uint8 for each in some}) > 1:  # scaled here, as floats would not be scaled in the step
        some = [each / np.float32(255) if each.dtype == np.uint8 else each for each in some]
    dtype = dtypes.canonicalize_dtype(np.result_type(*some))
    wanted = np.arange(some[0].shape[1]) if columns is None else np.array(columns)
    stacked = aligned((sum(map(len, some)), len(wanted)), dtype)
    rows = np.cumsum([0, *map(len, some)])
    for each, first, last in zip(some, rows, rows[1:], strict=False):
        # An array as index would take four times as long, and so would a look at whether every place is there.
        each.astype(dtype, copy=False).take(np.maximum(wanted, 0), axis=1, out=stacked[first:last], mode="clip")
    stacked[:, wanted == -1] = 255 if dtype == np.uint8 else 1
    stacked[:, wanted == -2] = 0
    targets = np.concatenate([split.targets for split in splits])
    return stacked, targets.astype(dtypes.canonicalize_dtype(targets.dtype), copy=False)


def to_device(splits: Sequence[Split], columns: Sequence[int] | None = None) -> DeviceData:
    """Put what ``stack_splits`` gives on the device that JAX uses by default."""
    return DeviceData(*map(jax.device_put, stack_splits(splits, columns)))


def put(array: np.ndarray, sharding: Sharding) -> Array:
    """An array replicated on devices, perhaps of several processes, each of which has all of it."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array aligned as XLA requires, so that all devices of a CPU can share it without copies."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


@cache
def compiler_options(precision: str) -> dict[str, Any]:
    """XLA options for compiling training, for ``jax.jit``; they only affect speed.

    Those that this backend's compiler does not know are left out.

    Args:
        precision: as in ``Recipe``.
    """
    return _known(_COMPILER_OPTIONS.get((jax.default_backend(), precision == "bfloat16"), {}))


@cache
def quick_to_compile() -> dict[str, Any]:
    """XLA options, for ``jax.jit``, for programs that take longer to compile than they will ever run."""
    return _known({"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {})


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that this backend's compiler knows."""
    known = {}
    for name, value in options.items():
        try:
            jax.jit(jnp.negative).lower(np.float32(0)).compile({name: value})
        except jax.errors.JaxRuntimeError:
            continue
        known[name] = value
    return known


def live_features(features: np.ndarray) -> tuple[int, ...]:
    """The columns of ``[N, D]`` that are not 0 in every row."""
    return tuple(int(column) for column in np.flatnonzero(features.any(axis=0)))


def minibatches(
    key: PRNGKeyArray,
    epoch: Int[Array, ""] | int,
    examples: int,
    batch_size: int,
    count: Int[Array, ""] | None = None,
) -> Int[Array, "steps B"]:
    """Indices of an epoch's minibatches: every example once, in an order drawn for this epoch.

    Args:
        key: ``root_key(seed)`` of the trial.
        epoch: number of the epoch, from 0.
        examples: N, how many there are.
        batch_size: B; a larger one than N means N.
        count: how many of them are examples; the others are padding and come last. The order of the examples is what
            it would be without padding. None for all.

    Returns:
        ``[⌈N / B⌉, B]``; places past the end in the last row hold N, which is not an example.
    """
    batch_size = min(batch_size, examples)
    steps = -(-examples // batch_size)
    key = jax.random.fold_in(jax.random.fold_in(key, MINIBATCHES), epoch)
    # Random numbers, sorted once. Of 55,000 of 32 bits two are equal in every third epoch, and that pair then keeps its
    # order; jax.random.permutation mends that by sorting again, which takes twice as long, for nothing anybody sees.
    with drawing():
        bits = jax.random.bits(key, (examples,), jnp.uint32)
    if count is not None:
        bits = jnp.where(jnp.arange(examples, dtype=count.dtype) < count, bits, jnp.uint32(2**32 - 1))
    order = _argsort(bits).astype(jnp.int32)
    return jnp.pad(order, (0, steps * batch_size - examples), constant_values=examples).reshape(steps, batch_size)


def _argsort(bits: UInt32[Array, "N"]) -> UInt32[Array, "N"] | Int[Array, "N"]:
    """``jnp.argsort``, in a third of the time on a CPU for up to 65,536 numbers.

    Sorting plain numbers is so much faster than sorting them with something to carry along that it is done twice: by
    the lower halves of the bits, then by the upper ones, each with its place as the other half of the number.
    """
    if len(bits) > 2**16:
        return jnp.argsort(bits)
    place = jnp.arange(len(bits), dtype=jnp.uint32)
    order = place
    for shift in (0, 16):
        half = bits[order] >> shift << 16
        order = order[jnp.sort(half | place) & 0xFFFF]
    return order


class Relabelling(NamedTuple):
    """A seed's redrawn labels, for label noise.

    Attributes:
        drawn: of each example, uniform in [0, 1): a trial relabels those below its share; 2 for those of other splits.
        label: what it becomes.
    """

    drawn: Float[Array, "N"]
    label: Int[Array, "N"]

    def of(self, rows: Int[Array, "B"], y: Int[Array, "B"], share: Float[Array, "T"]) -> Int[Array, "T B"]:
        """The labels of each trial for some rows, given the true ones."""
        return jnp.where(self.drawn[rows] < share[:, None], self.label[rows].astype(y.dtype), y)


def relabelling(key: PRNGKeyArray, examples: int, rows: int, classes: int, dtype: Any) -> Relabelling:
    """The new labels of a seed.

    Args:
        key: ``root_key(seed)``.
        examples: N, how many there are to train on, the first rows of the data.
        rows: how many rows the data have.
        classes: to draw from.
        dtype: of the numbers that are drawn.
    """
    which, what = jax.random.split(jax.random.fold_in(key, LABEL_NOISE))
    with drawing():
        drawn = jax.random.uniform(which, (examples,), dtype)
        label = jax.random.randint(what, (examples,), 0, classes, jnp.int32)
    return Relabelling(*(jnp.pad(x, (0, rows - examples), constant_values=2) for x in (drawn, label)))


class Subset(NamedTuple):
    """Examples chosen from the data to train on.

    Attributes:
        rows: of the data; minibatches hold places in this array.
        size: how many of these rows, from the first, are examples; the others are padding.
        weights: what the loss of each example counts; None for 1.
    """

    rows: Int[Array, "N"]
    size: Int[Array, ""]
    weights: Float[Array, "N"] | None = None


@dataclass(frozen=True)
class Trials:
    """The trials that see the same minibatches, as training knows them: their model, and how each is trained.

    Attributes:
        shapes: each trial's shape (``shape_of``).
        columns: C, the number of feature columns to train on, from the left.
        classes: of the labels.
        logits: from parameters and examples ``[B, C]`` to logits ``[T, B, K]``.
        by_row: from numbers ``[T]`` and parameters, by optimizer, to a pytree like the parameters: the number of the
            trial that each of them belongs to, to be broadcast.
        kernels: a pytree like the parameters: 1 for weights, 0 for biases.
        rate_factors: from the name of an optimizer and whether it is adaptive, the factors of its parameters' learning
            rates; None for 1.
        task: of all of them.
        recipe: likewise.
        examples: N, how many are trained on; the first rows of the data.
        forms: how the backend's compiler wants it.
        products: from parameters and examples to the products of first layers that ``logits`` may be given, by
            optimizer; None if it takes none.
        squares: from parameters to Σ W² of each trial's weights. Where it is given, the penalty ½ λ Σ W² is on the sum
            of the losses of a minibatch, and not on their mean, as scikit-learn's is; the losses reported include it.
    """

    shapes: tuple[Trial, ...]
    columns: int
    classes: int
    logits: Logits
    by_row: Callable[[Float[Array, "T"], Any], Any]
    kernels: Any
    rate_factors: Callable[[str, bool], Any]
    task: Task
    recipe: Recipe
    examples: int
    forms: Forms = CPU
    products: Callable[[Any, Float[Array, "B C"]], dict[str, Array]] | None = None
    squares: Callable[[Any], Float[Array, "T"]] | None = None

    @property
    def loss(self) -> Loss:
        """The loss of each trial, which training minimizes."""
        return loss_of_each(self.task, [shape.objective for shape in self.shapes])

    def rows_of(self, numbers: Numbers, params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """By optimizer and name, the numbers of each parameter's trial."""
        rows = {name: self.by_row(each, params) for name, each in numbers.items()}
        return {part: {name: each[part] for name, each in rows.items()} for part in params}

    def optimizer(self, name: str, numbers: Mapping[str, Any]) -> optax.GradientTransformation:
        """The optimizer of that name, with the numbers of each parameter's trial."""
        factors = self.rate_factors(name, OPTIMIZERS[name].adaptive)
        return make_optimizer(name, self.recipe, numbers, self.kernels[name], factors)

    def relabelling(self, key: PRNGKeyArray, numbers: Numbers, data: DeviceData) -> Relabelling | None:
        """The noisy labels of a seed's trials; None without label noise."""
        if "label_noise" not in numbers:
            return None
        dtype = numbers["label_noise"].dtype
        return relabelling(key, self.examples, len(data.targets), self.classes, dtype)

    @property
    def steps(self) -> int:
        """Number of minibatches in an epoch."""
        return -(-self.examples // min(self.recipe.batch_size, self.examples))


def begin(trials: Trials, numbers: Numbers, params: Mapping[str, Any]) -> State:
    """The state before the first step."""
    rows = trials.rows_of(numbers, params)
    return State(dict(params), {name: trials.optimizer(name, rows[name]).init(params[name]) for name in params})


def train_round(
    trials: Trials, state: State, numbers: Numbers, key: PRNGKeyArray, first: Int[Array, ""], data: DeviceData
) -> tuple[State, Means]:
    """Train for the epochs from one report to the next; the means are those of the last epoch.

    Args:
        trials: what is trained.
        state: parameters and optimizer state.
        numbers: of the trials.
        key: ``root_key(seed)``.
        first: number of the first epoch.
        data: on the device.
    """
    epochs = trials.recipe.report_every
    if epochs == 1:
        return train_epoch(trials, state, numbers, key, first, data)
    zero = jnp.zeros(len(trials.shapes), jnp.result_type(*jax.tree.leaves(state.params)))

    def turn(i: Int[Array, ""], carry: tuple[State, Means]) -> tuple[State, Means]:
        return train_epoch(trials, carry[0], numbers, key, first + i.astype(first.dtype), data)

    return lax.fori_loop(0, epochs, turn, (state, Means(zero, zero)))


def train_epoch(
    trials: Trials, state: State, numbers: Numbers, key: PRNGKeyArray, epoch: Int[Array, ""], data: DeviceData
) -> tuple[State, Means]:
    """Train all trials of one replica for an epoch; the arguments are those of ``train_round``."""
    batches = minibatches(key, epoch, trials.examples, trials.recipe.batch_size)
    return train_minibatches(trials, state, numbers, key, batches, epoch * len(batches), data)


def train_minibatches(
    trials: Trials,
    state: State,
    numbers: Numbers,
    key: PRNGKeyArray,
    batches: Int[Array, "steps B"],
    first: Int[Array, ""] | int,
    data: DeviceData,
    subset: Subset | None = None,
) -> tuple[State, Means]:
    """Train all trials of one replica on minibatches, one after another.

    The objective is Σ_t (mean loss of trial t over the minibatch): no parameter is shared, and updates are elementwise,
    so every trial gets its own gradient and its own update.

    Args:
        trials: what is trained.
        state: parameters and optimizer state.
        numbers: of the trials.
        key: ``root_key(seed)``.
        batches: rows of ``data``; ``trials.examples`` or more for a place without an example.
        first: number of the first step among all of training.
        data: on the device.
        subset: the examples that ``batches`` are places of; None for the first rows of ``data``, each of weight 1.

    Returns:
        The new state, and loss and hit averaged by example over the minibatches as they were trained. With weights the
        loss of a minibatch is their weighted mean.
    """
    examples, task, loss_of = trials.examples, trials.task, trials.loss
    present_below = examples if subset is None else subset.size
    weights = None if subset is None else subset.weights
    dtype = jnp.result_type(*jax.tree.leaves(state.params))
    steps = first + jnp.arange(len(batches), dtype=jnp.int32)
    forms, recipe = trials.forms, trials.recipe
    if forms.classes_apart:
        task = classes_apart(task)
        loss_of = loss_of_each(task, [shape.objective for shape in trials.shapes])
    # Here and not in the step: of each parameter its numbers, once.
    rows_of = trials.rows_of(numbers, state.params)
    schedules = [shape.schedule for shape in trials.shapes]
    changing = scheduled(schedules, numbers)
    total = recipe.epochs * trials.steps
    factor = factors(schedules, numbers, steps, total) if changing else jnp.zeros((len(batches), 0), dtype)
    relabelling, dropout_key = trials.relabelling(key, numbers, data), jax.random.fold_in(key, DROPOUT)
    fused = trials.products if fuses(forms, recipe, numbers, state.params) else None
    penalized = trials.squares is not None and "l2" in numbers

    def weights_of(batch: Int[Array, "*steps B"]) -> Float[Array, "*steps B"]:
        present = (batch < present_below).astype(dtype)
        return present if weights is None else present * weights[jnp.minimum(batch, examples - 1)]

    def objective(
        params: Any,
        products: dict[str, Array],
        x: Array,
        y: Array,
        weight: Float[Array, "B"],
        size: Float[Array, ""],
        number: Int[Array, ""],
        ahead: Ahead | None,
    ) -> tuple[Array, Means]:
        extra: dict[str, Any] = {"products": products} if products else {}
        if "dropout" in numbers:
            extra["dropout"] = Dropout(jax.random.fold_in(dropout_key, number), numbers["dropout"])
        with jax.default_matmul_precision("highest"):  # GPUs would multiply less precisely than asked for
            out = trials.logits(params, x, **extra)
        # where, not a product alone: a row past the end must not turn an overflow into 0 · inf = NaN.
        present = jnp.broadcast_to(weight > 0, out.shape[:-1])
        loss = jnp.where(present, loss_of(out, y, numbers.get("label_smoothing")), 0)
        hit = jnp.where(present, task.hit(out, y), 0)
        if weights is not None:
            loss = loss * weight
        sums = Means(loss.sum(axis=1), hit.sum(axis=1))
        mean = jnp.sum(sums.loss / size)
        if weights is not None or penalized:
            reported = loss * (jnp.sum(weight > 0).astype(dtype) / size)
            if trials.squares is not None and penalized:
                penalty = numbers["l2"] * trials.squares(params) / (2 * size)
                reported = reported + jnp.where(present, penalty[:, None], 0)
            loss, sums = reported, sums._replace(loss=reported.sum(axis=1))
        return mean, Means(loss, hit) if forms.sums_last else sums

    def minibatch(rows: Int[Array, "B"]) -> Float[Array, "B C"]:
        if forms.whole_rows:
            # Without the barrier XLA would put the two in one gather of a part of each row: on a TPU a loop over rows.
            taken = lax.optimization_barrier(data.features[rows])[:, : trials.columns]
        else:
            taken = data.features[rows, : trials.columns]
        x = scale_features(taken, dtype)
        return x if fused is None else lax.optimization_barrier(x)  # or XLA would write it twice: before scaling, after

    def numbers_now(name: str, factor: Float[Array, "T"], params: Any, size: Float[Array, ""]) -> dict[str, Any]:
        now = rows_of[name]
        if penalized:
            now = now | {"l2": jax.tree.map(lambda each: each / size, now["l2"])}
        if not changing:
            return now
        by_row = trials.by_row(factor, params)[name]
        return now | {"learning_rate": jax.tree.map(jnp.multiply, now["learning_rate"], by_row)}

    Given = tuple[Int[Array, "B"], Int[Array, ""], Float[Array, "_"], Ahead | None]

    def step(carry: tuple[State, Means], given: Given) -> tuple[tuple[State, Means], None]:
        ((params, opt_state), sums), (batch, number, factor, ahead) = carry, given
        weight = weights_of(batch)
        size = weight.sum() if ahead is None else ahead.examples
        if weights is not None:
            size = jnp.where(size > 0, size, 1)  # where all weights are 0 there is no loss, and no gradient
        rows = jnp.minimum(batch, examples - 1)
        if subset is not None:
            rows = subset.rows[rows]
        x, y = minibatch(rows), data.targets[rows]
        if relabelling is not None:
            y = relabelling.of(rows, y, numbers["label_noise"])
        products: dict[str, Array] = {}
        if fused is not None:
            with jax.default_matmul_precision("highest"):
                products = {FUSED: fused(params, x)[FUSED]}
        slopes = jax.grad(objective, argnums=(0, 1), has_aux=True)
        (gradients, cotangents), new = slopes(params, products, x, y, weight, size, number, ahead)
        stepped = {}
        for name in params:
            mine = numbers_now(name, factor, params, size)
            optimizer, corrections = trials.optimizer(name, mine), None if ahead is None else ahead.corrections[name]
            with jax.numpy_dtype_promotion("standard"):  # optax raises its decays to the power of an integer
                updates, after = optimizer.update(
                    gradients[name], opt_state[name], params[name], corrections=corrections
                )
            stepped[name] = optax.apply_updates(params[name], updates), after
            if name == FUSED and fused is not None and corrections is not None:
                # The gradient of the first layers was not asked for; what was made of none is not used.
                before, interpret = (params[name], opt_state[name]), forms.kernels == "interpreted"
                rates = mine["learning_rate"][FIRST]  # µP leaves the first layers' as they are
                stepped[name] = step_first_layers(
                    stepped[name], before, cotangents[name], x, rates, corrections, recipe, interpret
                )
        state = State(*({name: each[i] for name, each in stepped.items()} for i in (0, 1)))
        return (state, jax.tree.map(jnp.add, sums, new)), None

    zero = jnp.zeros((len(trials.shapes), *(batches.shape[1:] if forms.sums_last else ())), dtype)
    ahead = None
    if forms.ahead:
        corrections = {
            name: corrections_ahead(recipe, each, len(batches), dtype) for name, each in state.opt_state.items()
        }
        ahead = Ahead(weights_of(batches).sum(axis=1), corrections)
    (state, sums), _ = lax.scan(step, (state, Means(zero, zero)), (batches, steps, factor, ahead))
    if forms.ahead:
        state = state._replace(opt_state=counted(state.opt_state, len(batches)))
    if forms.sums_last:
        sums = jax.tree.map(lambda each: each.sum(axis=1), sums)
    count = jnp.sum(batches < present_below if weights is None else weights_of(batches) > 0).astype(dtype)
    return state, jax.tree.map(lambda total: total / count, sums)


Targets = Callable[[Int[Array, "B"], Num[Array, "B *K"]], Num[Array, "..."]]
"""Maps rows and their targets to the targets that trials are scored against."""


def score_rows(
    logits: Logits,
    task: Task,
    params: Any,
    data: DeviceData,
    first: Int[Array, ""] | int,
    last: Int[Array, ""] | int,
    *,
    kept: int = 0,
    loss_of: Loss | None = None,
    relabelled: Targets | None = None,
) -> Scored:
    """Loss and hit of all trials of one replica on rows first (included) to last (excluded).

    The bounds may be traced, so that one compiled program serves every split.

    Args:
        logits: from parameters and examples to logits ``[T, B, K]``.
        task: whose hits are counted.
        params: for ``logits``.
        data: on the device.
        first: row to begin at.
        last: row to end before.
        kept: number of rows, from the first, whose hits are returned one by one.
        loss_of: the loss; None for the task's own.
        relabelled: targets of each trial from rows and the true ones; None for the true ones.
    """
    dtype = jnp.result_type(*jax.tree.leaves(params))
    size = min(ROWS_AT_ONCE, len(data.features))
    trials = jax.eval_shape(logits, params, jax.ShapeDtypeStruct((1, data.features.shape[1]), dtype)).shape[0]
    first, last = jnp.asarray(first, jnp.int32), jnp.asarray(last, jnp.int32)
    loss_of = task.loss if loss_of is None else loss_of

    def chunk(i: Int[Array, ""], carry: tuple[Means, Array]) -> tuple[Means, Array]:
        sums, hits = carry
        wanted = first + i * size
        start = jnp.minimum(wanted, len(data.features) - size)
        row = start + jnp.arange(size, dtype=jnp.int32)
        x, y = (lax.dynamic_slice_in_dim(array, start, size) for array in data)
        with jax.default_matmul_precision("highest"):
            out = logits(params, scale_features(x, dtype))
        y = y if relabelled is None else relabelled(row, y)
        present = jnp.broadcast_to((row >= wanted) & (row < last), out.shape[:-1])
        loss, hit = (jnp.where(present, each, 0) for each in (loss_of(out, y, None), task.hit(out, y)))
        if kept:
            # Rows of the last chunk that were there before are not present: they keep what they have.
            old = lax.dynamic_slice_in_dim(hits, start - first + size, size, axis=1)
            new = jnp.where(present, hit.astype(hits.dtype), old)
            hits = lax.dynamic_update_slice_in_dim(hits, new, start - first + size, axis=1)
        return Means(sums.loss + loss.sum(axis=1), sums.hit + hit.sum(axis=1)), hits

    zero = jnp.zeros(trials, dtype)
    # With room on either side for what a chunk has besides the rows that are wanted.
    hits = jnp.zeros((trials, size + kept + size if kept else 0), jnp.float32 if task.graded else jnp.bool_)
    chunks = (last - first + size - 1) // size
    sums, hits = lax.fori_loop(0, chunks, chunk, (Means(zero, zero), hits))
    count = (last - first).astype(dtype)
    return Scored(jax.tree.map(lambda total: total / count, sums), hits[:, size : size + kept])
