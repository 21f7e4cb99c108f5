"""Measure training time against M: each width alone, and all widths together."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from flax import nnx

from mlp_jax.datasets import Dataset
from mlp_jax.errors import InputError
from mlp_jax.networks.models import MLP
from mlp_jax.runs.tables import Table
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.sweep import sweep
from mlp_jax.training.axes import AXES
from mlp_jax.training.fit import fit
from mlp_jax.training.recipe import Recipe


def time_widths(
    dataset: Dataset,
    hidden_units: Sequence[int],
    *,
    activation: str = "sigmoid",
    learning_rate: float = 1e-3,
    seed: int = 0,
    recipe: Recipe = Recipe(),
    rule: Mapping[str, Any] = MappingProxyType({}),
    layout: str = "auto",
    use_bias: bool = True,
    dtype: str = "float32",
    epochs: int = 3,
    on_width: Callable[[int], None] | None = None,
) -> Table:
    """Time epochs of ``fit`` for each width alone, and of ``sweep`` for it and all smaller widths together.

    Both score the validation split after each epoch. The first epoch of each, which compiles, is left out. The two
    take turns, so that other load on the machine affects both.

    Args:
        dataset: what to train on.
        hidden_units: widths M.
        activation: of the hidden layers.
        learning_rate: the optimizer's α.
        seed: of initial weights and minibatches.
        recipe: batch size and Adam's constants; its epochs do not matter.
        rule: optimizer, momentum, ..., where they are not the defaults: arguments of ``fit`` by name.
        layout: of the sweep.
        use_bias: whether layers have biases.
        dtype: of parameters and arithmetic.
        epochs: number of epochs to time of each.
        on_width: called with a width when it has been timed.

    Returns:
        A table with one row per measured epoch: ``program`` (``alone`` or ``together``), ``hidden_units`` (the widest),
        ``epoch`` (from 1, of those timed), ``seconds``, ``device``.

    Raises:
        InputError: an argument that makes no sense.
    """
    if epochs < 1:
        raise InputError(f"epochs is {epochs}: expected how many to time, 1 or more")
    widths = sorted(hidden_units)
    recipe = replace(recipe, epochs=1 + epochs, report_every=1)
    rows: list[tuple[str, int, int, float]] = []
    for i, width in enumerate(widths):
        model = MLP(
            dataset.features,
            width,
            dataset.outputs,
            activation=activation,
            use_bias=use_bias,
            task=dataset.task,
            dtype=dtype,
            rngs=nnx.Rngs(seed),
        )
        ends: list[float] = []
        with jax.disable_jit(False):  # as in ``sweep``: compiled programs are compared
            fit(
                model,
                dataset.train,
                dataset.validation,
                learning_rate=learning_rate,
                seed=seed,
                recipe=recipe,
                **rule,
                on_epoch=lambda *_, ends=ends: ends.append(time.perf_counter()),
            )
        by_axis = {AXES[name].plural: (value,) for name, value in rule.items()}
        grid = Grid(widths[: i + 1], (activation,), (learning_rate,), (seed,), **by_axis)
        result = sweep(grid, dataset, recipe=recipe, layout=layout, use_bias=use_bias, dtype=dtype)
        for program, seconds in (("alone", np.diff(ends)), ("together", result.timing.epochs[1:])):
            rows += [(program, width, epoch, float(each)) for epoch, each in enumerate(seconds, start=1)]
        if on_width is not None:
            on_width(width)
    names = ("program", "hidden_units", "epoch", "seconds")
    table = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return table | {"device": np.full(len(rows), jax.devices()[0].device_kind)}
