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
from mlp_jax.networks.keys import drawing
from mlp_jax.networks.layouts import FIRST
from mlp_jax.networks.models import scale_features
from mlp_jax.tasks import Task, classes_apart
from mlp_jax.training.fused import FUSED, fuses, step_first_layers
from mlp_jax.training.optimizers import Corrections, corrections_ahead, counted, make_optimizer
from mlp_jax.training.recipe import Recipe

Logits = Callable[..., Float[Array, "T B K"]]
"""From parameters and examples ``[B, C]`` to logits; and, where ``Trials`` has ``products``, from those besides."""

Numbers = Mapping[str, Float[Array, "T"]]
"""By name of a number axis, one number for each trial; those that are 0 for all may be left out."""

MINIBATCHES = 0xBA7C4  # what the key that shuffles the examples is for

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
    """All splits one after another, on the device, still uint8 where they were.

    Attributes:
        features: ``[N, C]``, N = train + validation + test, the columns that a layout asks for.
        targets: labels ``[N]`` or values ``[N, K]``.
    """

    features: Num[Array, "N C"]
    targets: Num[Array, "N *K"]


class Means(NamedTuple):
    """Means over the examples of a split, ``[T]``: of the loss, and of the task's ``hit``."""

    loss: Float[Array, "T"]
    hit: Float[Array, "T"]


class Scored(NamedTuple):
    """How trials do on a split: means, and ``hit`` of each of the first examples, as many as were asked for.

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
    """An array on devices, perhaps of several processes, all of which have it whole."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory that all devices of a CPU can use as it is, and need no copy of: that is what XLA asks of it."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


@cache
def compiler_options(precision: str) -> dict[str, Any]:
    """What to tell XLA when it compiles training, for ``jax.jit``: options that change its speed alone.

    Those that this backend's compiler does not know are left out.

    Args:
        precision: as in ``Recipe``.
    """
    known = {}
    for name, value in _COMPILER_OPTIONS.get((jax.default_backend(), precision == "bfloat16"), {}).items():
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
    key: PRNGKeyArray, epoch: Int[Array, ""] | int, examples: int, batch_size: int
) -> Int[Array, "steps B"]:
    """Indices of an epoch's minibatches: every example once, in an order of its own.

    Args:
        key: ``root_key(seed)`` of the trial.
        epoch: number of the epoch, from 0.
        examples: N, how many there are.
        batch_size: B; a larger one than N means N.

    Returns:
        ``[⌈N / B⌉, B]``; the places past the end in the last row hold N, which is no example.
    """
    batch_size = min(batch_size, examples)
    steps = -(-examples // batch_size)
    key = jax.random.fold_in(jax.random.fold_in(key, MINIBATCHES), epoch)
    # Random numbers, sorted once. Of 55,000 of 32 bits two are equal in every third epoch, and that pair then keeps its
    # order; jax.random.permutation mends that by sorting again, which takes twice as long, for nothing anybody sees.
    with drawing():
        order = _argsort(jax.random.bits(key, (examples,), jnp.uint32)).astype(jnp.int32)
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


@dataclass(frozen=True)
class Trials:
    """The trials that see the same minibatches, as training knows them.

    Attributes:
        count: T, how many there are.
        columns: C, how many feature columns to train on, from the left.
        logits: from parameters and examples ``[B, C]`` to logits ``[T, B, K]``.
        by_row: from numbers ``[T]`` and parameters, by optimizer, to a pytree like the parameters: the number of the
            trial that each of them belongs to, to be broadcast.
        kernels: a pytree like the parameters: 1 for weights, 0 for biases.
        forms: how the backend's compiler wants it.
        products: from parameters and examples to the products of first layers that ``logits`` may be given, by
            optimizer; None if it takes none.
    """

    count: int
    columns: int
    logits: Logits
    by_row: Callable[[Float[Array, "T"], Any], Any]
    kernels: Any
    forms: Forms = CPU
    products: Callable[[Any, Float[Array, "B C"]], dict[str, Array]] | None = None

    def optimizers(
        self, recipe: Recipe, numbers: Numbers, params: Mapping[str, Any]
    ) -> dict[str, optax.GradientTransformationExtraArgs]:
        """The optimizer of each part of the parameters, by its name."""
        rows = {name: self.by_row(each, params) for name, each in numbers.items()}
        return {
            name: make_optimizer(
                name, recipe, {number: each[name] for number, each in rows.items()}, self.kernels[name]
            )
            for name in params
        }

    def begin(self, recipe: Recipe, numbers: Numbers, params: Mapping[str, Any]) -> State:
        """The state before the first step."""
        return State(
            dict(params),
            {name: each.init(params[name]) for name, each in self.optimizers(recipe, numbers, params).items()},
        )


def train_minibatches(
    trials: Trials,
    task: Task,
    recipe: Recipe,
    examples: int,
    state: State,
    numbers: Numbers,
    batches: Int[Array, "steps B"],
    data: DeviceData,
) -> tuple[State, Means]:
    """Train all trials of one replica on minibatches, one after another.

    The objective is Σ_t (mean loss of trial t over the minibatch): no parameter is shared, and updates are elementwise,
    so every trial gets its own gradient and its own update.

    Args:
        trials: what is trained.
        task: its loss and score.
        recipe: the optimizers' constants.
        examples: N, the training split's size; the first N rows of ``data``.
        state: parameters and optimizer state.
        numbers: of the trials.
        batches: rows of ``data``; N or more for a place without an example.
        data: on the device.

    Returns:
        The new state, and loss and hit averaged by example over the minibatches as they were trained.
    """
    # Here and not in the step: of each row its numbers, once.
    optimizers = trials.optimizers(recipe, numbers, state.params)
    dtype = jnp.result_type(*jax.tree.leaves(state.params))
    smoothing = numbers.get("label_smoothing")
    if trials.forms.classes_apart:
        task = classes_apart(task)

    rates = None
    if trials.products is not None and fuses(trials.forms, recipe, numbers, state.params):
        rates = trials.by_row(numbers["learning_rate"], state.params)[FUSED][FIRST]

    def objective(
        params: Any, products: dict[str, Array], x: Array, y: Array, weight: Float[Array, "B"], ahead: Ahead | None
    ) -> tuple[Array, Means]:
        with jax.default_matmul_precision("highest"):  # GPUs would multiply less precisely than asked for
            out = trials.logits(params, x, products) if products else trials.logits(params, x)
        # where, not a product alone: a row past the end must not turn an overflow into 0 · inf = NaN.
        present = jnp.broadcast_to(weight > 0, out.shape[:-1])
        losses = task.loss(out, y) if smoothing is None else task.smoothed_loss(out, y, smoothing)
        loss, hit = jnp.where(present, losses, 0), jnp.where(present, task.hit(out, y), 0)
        sums = Means(loss.sum(axis=1), hit.sum(axis=1))
        count = weight.sum() if ahead is None else ahead.examples
        return jnp.sum(sums.loss / count), Means(loss, hit) if trials.forms.sums_last else sums

    def step(
        carry: tuple[State, Means], given: tuple[Int[Array, "B"], Ahead | None]
    ) -> tuple[tuple[State, Means], None]:
        (params, opt_state), sums = carry
        batch, ahead = given
        weight = (batch < examples).astype(dtype)
        rows = jnp.minimum(batch, examples - 1)
        if trials.forms.whole_rows:
            # Without the barrier XLA would put the two in one gather of a part of each row: on a TPU a loop over rows.
            taken = lax.optimization_barrier(data.features[rows])[:, : trials.columns]
        else:
            taken = data.features[rows, : trials.columns]
        x = scale_features(taken, dtype)
        products: dict[str, Array] = {}
        if rates is not None and trials.products is not None:
            x = lax.optimization_barrier(x)  # or XLA would write it twice, once as it is and once scaled
            with jax.default_matmul_precision("highest"):
                products = {FUSED: trials.products(params, x)[FUSED]}
        slopes = jax.grad(objective, argnums=(0, 1), has_aux=True)
        (gradients, cotangents), new = slopes(params, products, x, data.targets[rows], weight, ahead)
        stepped = {}
        for name, optimizer in optimizers.items():
            with jax.numpy_dtype_promotion("standard"):  # optax raises its decays to the power of an integer
                corrections = None if ahead is None else ahead.corrections[name]
                updates, after = optimizer.update(
                    gradients[name], opt_state[name], params[name], corrections=corrections
                )
            stepped[name] = optax.apply_updates(params[name], updates), after
        if rates is not None and ahead is not None and (corrections := ahead.corrections[FUSED]) is not None:
            # The gradient of the first layers was not asked for; what was made of none is not used.
            before, interpret = (params[FUSED], opt_state[FUSED]), trials.forms.kernels == "interpreted"
            stepped[FUSED] = step_first_layers(
                stepped[FUSED], before, cotangents[FUSED], x, rates, corrections, recipe, interpret
            )
        state = State(*({name: each[i] for name, each in stepped.items()} for i in (0, 1)))
        return (state, jax.tree.map(jnp.add, sums, new)), None

    zero = jnp.zeros((trials.count, *batches.shape[1:]) if trials.forms.sums_last else trials.count, dtype)
    ahead = None
    if trials.forms.ahead:
        corrections = {
            name: corrections_ahead(recipe, each, len(batches), dtype) for name, each in state.opt_state.items()
        }
        ahead = Ahead(jnp.sum(batches < examples, axis=1).astype(dtype), corrections)
    (state, sums), _ = lax.scan(step, (state, Means(zero, zero)), (batches, ahead))
    if trials.forms.ahead:
        state = state._replace(opt_state=counted(state.opt_state, len(batches)))
    if trials.forms.sums_last:
        sums = jax.tree.map(lambda each: each.sum(axis=1), sums)
    count = jnp.sum(batches < examples).astype(dtype)
    return state, jax.tree.map(lambda total: total / count, sums)


def evaluate_rows(
    logits: Logits,
    task: Task,
    params: Any,
    data: DeviceData,
    first: Int[Array, ""] | int,
    last: Int[Array, ""] | int,
) -> Means:
    """Loss and hit of all trials of one replica, averaged over rows first (included) to last (excluded)."""
    return score_rows(logits, task, params, data, first, last, 0).means


def score_rows(
    logits: Logits,
    task: Task,
    params: Any,
    data: DeviceData,
    first: Int[Array, ""] | int,
    last: Int[Array, ""] | int,
    kept: int,
) -> Scored:
    """``evaluate_rows``, and the hit of each of the first ``kept`` of these rows.

    The bounds may be traced, so that one compiled program serves every split.
    """
    dtype = jnp.result_type(*jax.tree.leaves(params))
    size = min(ROWS_AT_ONCE, len(data.features))
    trials = jax.eval_shape(logits, params, jax.ShapeDtypeStruct((1, data.features.shape[1]), dtype)).shape[0]
    first, last = jnp.asarray(first, jnp.int32), jnp.asarray(last, jnp.int32)

    def chunk(i: Int[Array, ""], carry: tuple[Means, Array]) -> tuple[Means, Array]:
        sums, hits = carry
        wanted = first + i * size
        start = jnp.minimum(wanted, len(data.features) - size)
        row = start + jnp.arange(size, dtype=jnp.int32)
        x, y = (lax.dynamic_slice_in_dim(array, start, size) for array in data)
        with jax.default_matmul_precision("highest"):
            out = logits(params, scale_features(x, dtype))
        present = jnp.broadcast_to((row >= wanted) & (row < last), out.shape[:-1])
        loss, hit = (jnp.where(present, f(out, y), 0) for f in (task.loss, task.hit))
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
