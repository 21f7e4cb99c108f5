"""Kernels for GPUs, for what XLA makes several of: written in Pallas, compiled by Triton.

Each has a plain form elsewhere that computes the same but for rounding (tests hold them to it, interpreted on a CPU).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from mlp_jax.training.optimizers import Corrections
from mlp_jax.training.recipe import Recipe

_ROWS, _COLUMNS, _INNER = 64, 32, 32
"""Of a tile of the gradient that a block of threads computes, and how much of the minibatch it takes at a time."""

COLUMNS = _COLUMNS
"""The columns have to be a multiple of this."""


def adam_on_product(
    cotangent: Float[Array, "S B"],
    x: Float[Array, "B C"],
    weights: Float[Array, "S C"],
    mean: Float[Array, "S C"],
    square: Float[Array, "S C"],
    rates: Float[Array, "S 1"],
    corrections: Corrections,
    recipe: Recipe,
    interpret: bool = False,
) -> tuple[Float[Array, "S C"], Float[Array, "S C"], Float[Array, "S C"]]:
    """A step of Adam on weights whose gradient is a product, which is never written to memory.

    Args:
        cotangent: gradient by the outputs of the layer, before its activation.
        x: what the layer was given.
        weights: of the layer.
        mean: Adam's first moment.
        square: Adam's second moment.
        rates: the learning rate of each row.
        corrections: of this step.
        recipe: Adam's constants.
        interpret: whether to run it step by step, where there is no GPU.

    Returns:
        The new weights and moments.
    """
    rows, columns = weights.shape
    if columns % COLUMNS:
        raise ValueError(f"{columns} columns: expected a multiple of {COLUMNS}")
    whole = jax.ShapeDtypeStruct(weights.shape, weights.dtype)
    return pl.pallas_call(
        functools.partial(_adam_on_product, recipe=recipe),
        out_shape=(whole, whole, whole),
        grid=(pl.cdiv(rows, _ROWS), columns // _COLUMNS),
        input_output_aliases={2: 0, 3: 1, 4: 2},
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
        interpret=interpret,
        name="adam_on_product",
    )(cotangent, x, weights, mean, square, rates, corrections)


def _adam_on_product(
    cotangent: Any,
    x: Any,
    weights: Any,
    mean: Any,
    square: Any,
    rates: Any,
    corrections: Any,
    new_weights: Any,
    new_mean: Any,
    new_square: Any,
    *,
    recipe: Recipe,
) -> None:
    """One tile."""
    rows, batch = cotangent.shape
    first, column = pl.program_id(0) * _ROWS, pl.program_id(1) * _COLUMNS
    there = (first + jnp.arange(_ROWS, dtype=jnp.int32) < rows)[:, None]
    tile = pl.ds(first, _ROWS), pl.ds(column, _COLUMNS)

    def gradient(turn: Array, sums: Array) -> Array:
        some = turn * _INNER
        inner = some + jnp.arange(_INNER, dtype=jnp.int32) < batch
        left = plgpu.load(cotangent.at[tile[0], pl.ds(some, _INNER)], mask=there & inner[None], other=0.0)
        right = plgpu.load(x.at[pl.ds(some, _INNER), tile[1]], mask=inner[:, None], other=0.0)
        return sums + jax.lax.dot(left, right, precision=jax.lax.Precision.HIGHEST)

    zero = jnp.zeros((_ROWS, _COLUMNS), weights.dtype)
    g = jax.lax.fori_loop(0, pl.cdiv(batch, _INNER), gradient, zero)
    a, m, v = (plgpu.load(ref.at[tile], mask=there, other=0.0) for ref in (weights, mean, square))
    rate = plgpu.load(rates.at[tile[0], pl.ds(0, 1)], mask=there, other=0.0)
    m = (1 - recipe.beta1) * g + recipe.beta1 * m
    v = (1 - recipe.beta2) * (g * g) + recipe.beta2 * v
    step = (m / corrections[0]) / (jnp.sqrt(v / corrections[1]) + recipe.epsilon)
    for ref, value in ((new_weights, a - rate * step), (new_mean, m), (new_square, v)):
        plgpu.store(ref.at[tile], value, mask=there)
