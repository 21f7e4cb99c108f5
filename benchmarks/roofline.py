"""How near the machine's limit an epoch comes, and where the rest of its time goes.

    python benchmarks/roofline.py

Takes about three minutes on 2 cores, on a machine with nothing else to do. Writes a record and a figure, roofline-cpu
(-gpu), to benchmarks/records.

The limit is what the epoch's useful work would take at the rates that this machine shows in the same run:

- operations, N Σ 2 (2 C M + 3 M K): each of N examples goes through two products of the first layer (forward, and the
  gradient) and three of the second, C columns being the pixels that are not always 0 and the bias's. Padding and pixels
  that are always 0 are not counted. At the rate of the best square matrix product.
- bytes, 36 a parameter and step: Adam reads and writes the weight and two moments, the gradient is written and read,
  and the forward product reads the weight. At the bandwidth of a sum over arrays as large as the parameters, which fit
  in a cache or not as they do.

The rest is found by leaving parts out: the same function that the sweep compiles is given an optimizer, a task, a
model or data that do less; like the sweep it is divided among the CPU's cores, each of which has some of the trials.
So are the products that it is compared with; undivided they are there too. All variants are in one process and take
turns, in an order drawn anew each round. What counts is the least time of each: others at work on the machine only ever
add to it, and not to all alike. For that the engine's modules are imported, where other benchmarks use the public names
alone.
"""

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from _chart import Bar, Panel, draw
from _record import RECORDS, environment, summary, write_record
from _turns import stepwise
from jax import lax
from rich import box
from rich.console import Console
from rich.table import Table

import mlp_jax
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layers import first_product, perceptron
from mlp_jax.networks.layouts import Layout, make_layout
from mlp_jax.networks.models import parameter_key
from mlp_jax.networks.packing import FIRST
from mlp_jax.networks.problem import Problem
from mlp_jax.sweeps.parts import share_out
from mlp_jax.tasks import LOSSES, Loss, get_task
from mlp_jax.training.axes import Trial, shape_of
from mlp_jax.training.epoch import (
    Trials,
    begin,
    compiler_options,
    live_features,
    minibatches,
    to_device,
    train_minibatches,
)

ACTIVATION, LEARNING_RATE = "sigmoid", 1e-3
BYTES = 36  # a parameter and step
PRODUCTS = "the two products alone"
ENOUGH = 1e15  # operations of a training so long that it is divided
ENDLESS = 1_000_000  # epochs
EPOCH = "an epoch of the sweep"

_SQUARES = (1024, 2048, 4096)  # sides of the matrices whose product gives the rate


@dataclass(frozen=True)
class Options:
    """Time an epoch, its parts, and the machine's rates."""

    widths: tuple[int, ...] = (10, 25, 50, 100, 150, 200)
    """Hidden units of the models: the article's."""
    wide_widths: tuple[int, ...] = tuple(range(10, 201, 10))
    """Hidden units of a second, larger sweep (nothing after the option: none)."""
    rounds: int = 7
    """How often to time everything."""
    out: Path = RECORDS
    """Directory of the record and the figure."""


@dataclass(frozen=True)
class Variant:
    """A thing to time.

    Attributes:
        title: for tables and figures.
        run: does it once, to the end; one epoch's worth.
        ours: whether to emphasise it.
    """

    title: str
    run: Callable[[], Any]
    ours: bool = False


@dataclass(frozen=True)
class Engine:
    """What the sweep compiles for one grid of widths, taken apart."""

    dataset: mlp_jax.Dataset
    widths: tuple[int, ...]
    recipe: mlp_jax.Recipe
    optimizer: str = "adam"

    @property
    def layout(self) -> Layout:
        """Of one replica."""
        problem = Problem(
            (self.dataset.features,),
            self.dataset.outputs,
            True,
            live_features(self.dataset.train.features),
            self.recipe.precision,
        )
        networks = [perceptron((width,), self.dataset.outputs, ACTIVATION) for width in self.widths]
        return make_layout("packed", networks, problem, [self.optimizer] * len(networks))

    @property
    def parts(self) -> list[tuple[Layout, jax.Device]]:
        """The trials as the sweep divides them, and where it trains them."""
        layout, devices = self.layout, jax.devices()
        slots = share_out(units_of(layout), 1, len(devices), ENOUGH).slots
        return [(layout.part(some), device) for some, device in zip(slots, devices, strict=False)]

    def divided(self, make: Callable[[Layout], Callable[[], Any]]) -> Callable[[], Any]:
        """What ``make`` makes of each part, on its device, all at the same time."""
        runs = []
        for layout, device in self.parts:
            with jax.default_device(device):
                runs.append(make(layout))
        return lambda: [run() for run in runs]

    @property
    def steps(self) -> int:
        """Minibatches an epoch."""
        return -(-len(self.dataset.train) // self.recipe.batch_size)

    @property
    def operations(self) -> int:
        """Useful floating-point operations an epoch."""
        columns, outputs = self.layout.trained, self.dataset.outputs
        return len(self.dataset.train) * sum(2 * (2 * columns * m + 3 * m * outputs) for m in self.widths)

    @property
    def parameters(self) -> int:
        """That are trained."""
        outputs = self.dataset.outputs
        return sum((self.layout.trained + outputs) * m + outputs for m in self.widths)

    def training(self, *, second_layer: bool = True, score: bool = True, gather: bool = True) -> Callable[[], Any]:
        """The scan over an epoch's minibatches, compiled: all of it, or with a part left out."""
        return self.divided(lambda layout: self._training(layout, second_layer, score, gather))

    def _training(self, layout: Layout, second_layer: bool, score: bool, gather: bool) -> Callable[[], Any]:
        examples = len(self.dataset.train)
        data = to_device(list(self.dataset.splits.values()), layout.columns)
        trials = Trials(
            shapes=(shape_of(Trial(0, ACTIVATION, LEARNING_RATE, 0, self.optimizer)),) * layout.trials,
            columns=layout.trained,
            classes=self.dataset.outputs,
            logits=layout.logits,
            by_row=layout.by_row,
            kernels=layout.kernels,
            rate_factors=layout.rate_factors,
            task=get_task(self.dataset.task),
            recipe=self.recipe,
            examples=examples,
        )
        batches = minibatches(root_key(0), 0, examples, self.recipe.batch_size)
        if not gather:  # always the same rows, as floats, in the cache
            rows = min(self.recipe.batch_size, examples)
            data = data._replace(features=data.features[:rows] / jnp.float32(255), targets=data.targets[:rows])
            batches = jnp.broadcast_to(jnp.arange(rows, dtype=batches.dtype), (self.steps, rows))
            trials = replace(trials, examples=rows)
        if not score:
            trials = replace(trials, task=replace(trials.task, hit=lambda out, _: jnp.zeros(out.shape[:-1], out.dtype)))
        if not second_layer:
            hidden = partial(_hidden_layer, self.recipe.precision, self.optimizer)
            squares: dict[str, Loss] = dict.fromkeys(LOSSES, lambda z, _, smoothing: z[..., 0] * z[..., 0])
            task = replace(trials.task, losses=squares, hit=lambda z, _: jnp.zeros_like(z[..., 0]))
            trials = replace(trials, shapes=trials.shapes[:1] * sum(units_of(layout)), logits=hidden, task=task)
        params, _ = jax.jit(lambda key: layout.init(key, jnp.float32))(parameter_key(0))
        numbers = {"learning_rate": jnp.full(layout.trials, LEARNING_RATE)}
        state = begin(trials, numbers, params)
        train = partial(train_minibatches, trials)
        arguments = (state, numbers, root_key(0), batches, jnp.int32(0), data)
        options = compiler_options(self.recipe.precision)
        compiled = jax.jit(train).lower(*arguments).compile(options)
        return lambda: compiled(*arguments)

    def products(self, columns: int, options: dict[str, Any], units: int) -> Callable[[], Any]:
        """So many units' two products and nothing else, as often as an epoch has minibatches."""
        rows = np.random.default_rng(0).normal(size=(columns, self.recipe.batch_size))
        x = jnp.asarray(np.linalg.qr(rows)[0].T, jnp.float32)  # orthonormal: a xᵀ x grows no more than a
        a = jnp.ones((units, columns), jnp.float32)

        def step(a: jax.Array, _: None) -> tuple[jax.Array, None]:
            return (a @ x.T) @ x, None

        compiled = jax.jit(lambda a: lax.scan(step, a, length=self.steps)[0]).lower(a).compile(options)
        return lambda: compiled(a)

    def sweep(self) -> Callable[[], Any]:
        """``mlp_jax.sweeps.sweep``: shuffling, training, validation, as users have it; one epoch a call."""
        recipe = replace(self.recipe, epochs=ENDLESS)  # as many as are asked for; the process ends before they do
        grid = mlp_jax.Grid(self.widths, (ACTIVATION,), (LEARNING_RATE,), 1)
        training = stepwise(
            lambda pause: mlp_jax.sweep(grid, self.dataset, recipe=recipe, layout="packed", on_epoch=lambda _: pause())
        )
        return lambda: next(training)


def units_of(layout: Layout) -> list[int]:
    """Hidden units of each trial."""
    return [network[0].units for network in layout.networks]


def _hidden_layer(
    precision: str, optimizer: str, params: dict[str, dict[str, jax.Array]], x: jax.Array, dropout: None
) -> jax.Array:
    """The hidden layer's units, each as if it were a trial with one output: nothing is transposed or copied."""
    return jax.nn.sigmoid(first_product(params[optimizer][FIRST], x, precision))[:, :, None]


def variants(engine: Engine) -> list[Variant]:
    """What is timed for one grid of widths."""
    low = replace(engine.recipe, precision="bfloat16")
    columns, everything, tuned = engine.layout.trained, sum(engine.widths), compiler_options("float32")
    return [
        Variant(EPOCH, engine.sweep(), ours=True),
        Variant("the training of an epoch alone", engine.training()),
        Variant("training without Adam", replace(engine, optimizer="sgd").training()),
        Variant("training without second layer and loss", engine.training(second_layer=False)),
        Variant("training without the score", engine.training(score=False)),
        Variant("training without gathering and scaling", engine.training(gather=False)),
        Variant("training, products in bfloat16", replace(engine, recipe=low).training(), ours=True),
        Variant(PRODUCTS, engine.divided(lambda layout: engine.products(columns, tuned, sum(units_of(layout))))),
        Variant(f"{PRODUCTS}, undivided", engine.products(columns, tuned, everything)),
        Variant(f"{PRODUCTS}, undivided, as JAX compiles them", engine.products(columns, {}, everything)),
        Variant(
            f"{PRODUCTS}, undivided, all pixels, as JAX compiles them",
            engine.products(engine.dataset.features, {}, everything),
        ),
    ]


# The machine ---------------------------------------------------------------------------------------------------------


def matmul(side: int) -> tuple[Callable[[], Any], int]:
    """A product of square matrices, and its operations."""
    a = jnp.full((side, side), 1 / side, jnp.float32)
    compiled = jax.jit(jnp.matmul).lower(a, a).compile(compiler_options("float32"))
    return lambda: compiled(a, a), 2 * side**3


def stream(numbers: int, times: int) -> tuple[Callable[[], Any], int]:
    """A sum of two arrays, in place, again and again, and the bytes that it reads and writes."""
    a, b = jnp.zeros(numbers, jnp.float32), jnp.ones(numbers, jnp.float32)

    def step(a: jax.Array, _: None) -> tuple[jax.Array, None]:
        return a + b, None

    compiled = jax.jit(lambda a: lax.scan(step, a, length=times)[0]).lower(a).compile(compiler_options("float32"))
    return lambda: compiled(a), 12 * numbers * times


# Measuring -----------------------------------------------------------------------------------------------------------


def in_turn(runs: Sequence[Callable[[], Any]], rounds: int) -> np.ndarray:
    """Seconds ``[runs, rounds]`` of each, after each has run once untimed."""
    for run in runs:
        jax.block_until_ready(run())
    seconds = np.zeros((len(runs), rounds))
    order = random.Random(0)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for place in order.sample(range(len(runs)), len(runs)):
            begun = time.perf_counter()
            jax.block_until_ready(runs[place]())
            seconds[place, number] = time.perf_counter() - begun
    return seconds


def measure(dataset: mlp_jax.Dataset, widths: tuple[int, ...], options: Options) -> tuple[dict[str, Any], Panel]:
    """All about one grid of widths, for the record and for the figure."""
    engine = Engine(dataset, widths, mlp_jax.Recipe())
    timed = variants(engine)
    squares = [matmul(side) for side in _SQUARES]
    # Twice as large as anything cached, and as large as the state; as long as an epoch's Adam takes, or so.
    streams = [stream(2**27, 2), stream(3 * engine.parameters, 50)]
    runs = [variant.run for variant in timed] + [run for run, _ in squares + streams]
    seconds = in_turn(runs, options.rounds)
    titles = [variant.title for variant in timed]
    works = np.array([work for _, work in squares + streams])
    least = seconds.min(axis=1)
    rates = works / least[len(timed) :]
    rate, (memory, state) = rates[: len(squares)].max(), rates[len(squares) :]
    arithmetic = engine.operations / rate
    traffic = BYTES * engine.parameters * engine.steps / max(memory, state)
    products, epoch = float(least[titles.index(PRODUCTS)]), float(least[titles.index(EPOCH)])
    rows = [
        {
            "title": variant.title,
            "widths": widths,
            "least": round(float(samples.min()), 6),
            "against_products": round(float(samples.min()) / products, 3),
            "seconds": summary(samples.tolist()),
        }
        for variant, samples in zip(timed, seconds, strict=False)
    ]
    found = {
        "widths": widths,
        "operations": engine.operations,
        "bytes": BYTES * engine.parameters * engine.steps,
        "matmul_operations_a_second": round(rate),
        "memory_bytes_a_second": round(memory),
        "parameters_bytes_a_second": round(state),
        "seconds_of_operations": round(arithmetic, 6),
        "seconds_of_bytes": round(traffic, 6),
        "limit_overlapped": round(max(arithmetic, traffic), 6),
        "limit_one_after_the_other": round(arithmetic + traffic, 6),
        "reached": round(max(arithmetic, traffic) / epoch, 3),
        "reached_one_after_the_other": round((arithmetic + traffic) / epoch, 3),
    }
    bars = [Bar(v.title, [seconds], v.ours) for v, seconds in zip(timed, least.tolist(), strict=False)]
    limits = {"limit: operations": arithmetic, "limit: operations, then bytes": arithmetic + traffic}
    bars += [Bar(title, [value], False) for title, value in limits.items()]
    return {"limit": found, "results": rows}, Panel(f"{len(widths)} widths, {sum(widths):,} hidden units", bars)


def main(options: Options) -> None:
    """Measure, and write down what was found."""
    if options.rounds < 1:
        sys.exit(f"rounds is {options.rounds}: expected 1 or more")
    console = Console(width=None if sys.stdout.isatty() else 140)
    record = environment()
    dataset = mlp_jax.load_dataset("mnist")
    mlp_jax.device_a_core(mlp_jax.Grid(options.widths, seeds=1), dataset, recipe=mlp_jax.Recipe(epochs=ENDLESS))
    sets = [widths for widths in (options.widths, options.wide_widths) if widths]
    measured = [measure(dataset, widths, options) for widths in sets]
    for found, _ in measured:
        console.print(_table(found))
    device = jax.devices()[0]
    platform = "cpu" if device.platform == "cpu" else "gpu"
    record |= {
        "device": device.device_kind,
        "train_examples": len(dataset.train),
        "batch_size": mlp_jax.Recipe().batch_size,
        "limits": [found["limit"] for found, _ in measured],
        "results": [row for found, _ in measured for row in found["results"]],
    }
    written = write_record(record, options.out, f"roofline-{platform}")
    machine = f"{record['cores']} cores of {record['cpu']}, {record['date'][:10]}"
    machine = machine if platform == "cpu" else f"{device.device_kind}, {machine}"
    panels = [panel for _, panel in measured]
    axis = f"seconds an epoch's worth, least of {options.rounds}"
    draw(panels, "Where an epoch's time goes", axis, machine, written.with_suffix(".png"))
    console.print(f"Written: {written.name} and {written.with_suffix('.png').name}", highlight=False)


def _table(found: dict[str, Any]) -> Table:
    limit = found["limit"]
    gigas = {key: limit[f"{key}_a_second"] / 1e9 for key in ("matmul_operations", "memory_bytes", "parameters_bytes")}
    rates = (
        f"{gigas['matmul_operations']:.0f} GFLOP/s, {gigas['memory_bytes']:.0f} GB/s from memory, "
        f"{gigas['parameters_bytes']:.0f} GB/s at the parameters' size; limit {limit['limit_overlapped']:.3f} s "
        f"({limit['limit_one_after_the_other']:.3f} one after the other), reached {100 * limit['reached']:.0f} % "
        f"({100 * limit['reached_one_after_the_other']:.0f} %)"
    )
    title = f"{len(limit['widths'])} widths, {sum(limit['widths']):,} hidden units"
    table = Table(title=title, caption=rates, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("", "least", "median", "most", "× the products"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=not heading)
    for row in found["results"]:
        cells = [f"{row['seconds'][key]:.3f}" for key in ("min", "median", "max")]
        table.add_row(row["title"], *cells, f"{row['against_products']:.2f}")
    return table


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
