"""Second layers of networks of different widths by a kernel of our own, written in Pallas and compiled by Triton."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from mlp_jax.networks.joint import EXACT, JointLayers, with_gradient_by_owner

_ROWS, _EXAMPLES = 32, 128
"""Rows of a network that a block of threads takes at a time, and examples that it has in all, at most."""


@cache
def kernel_layers(widths: tuple[int, ...], interpret: bool) -> JointLayers:
    """Logits by a kernel of our own for GPUs, with a block of threads for each network, which reads its rows alone.

    Args:
        widths: hidden units of each network.
        interpret: whether to run it step by step, where there is no GPU.
    """
    starts = np.cumsum([0, *widths[:-1]])
    bounds = np.stack([starts, starts + widths], axis=1).astype(np.int32)

    def layers(weights: Float[Array, "S K"], units: Float[Array, "S B"]) -> Float[Array, "T K B"]:
        outputs, examples = weights.shape[1], units.shape[1]
        sides = _side(outputs), min(_side(examples), _EXAMPLES)
        return pl.pallas_call(
            partial(_network_logits, sides=sides),
            out_shape=jax.ShapeDtypeStruct((len(widths), outputs, examples), weights.dtype),
            grid=(len(widths), pl.cdiv(examples, sides[1])),
            compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
            interpret=interpret,
            name="joint_layers",
        )(weights, units, jnp.asarray(bounds))

    return with_gradient_by_owner(layers, widths)


def _network_logits(weights: Any, units: Any, bounds: Any, logits: Any, *, sides: tuple[int, int]) -> None:
    """Those of the network and the examples that are this block of threads' own."""
    network, some = pl.program_id(0), pl.program_id(1) * sides[1]
    (_, outputs), (_, examples) = weights.shape, units.shape
    classes, batch = pl.ds(0, sides[0]), pl.ds(some, sides[1])
    of_classes = jnp.arange(sides[0]) < outputs
    of_batch = some + jnp.arange(sides[1], dtype=jnp.int32) < examples
    places = jnp.arange(_ROWS, dtype=jnp.int32)
    first, end = bounds[network, 0], bounds[network, 1]

    def add(turn: Array, sums: Array) -> Array:
        start = first + turn * _ROWS
        own = (start + places < end)[:, None]
        w = plgpu.load(weights.at[pl.ds(start, _ROWS), classes], mask=own & of_classes, other=0.0)
        z = plgpu.load(units.at[pl.ds(start, _ROWS), batch], mask=own & of_batch, other=0.0)
        return sums + lax.dot(w.T, z, precision=EXACT)

    turns = lax.div(end - first + jnp.int32(_ROWS - 1), jnp.int32(_ROWS))
    found = lax.fori_loop(jnp.int32(0), turns, add, jnp.zeros(sides, weights.dtype))
    plgpu.store(logits.at[network, classes, batch], found, mask=of_classes[:, None] & of_batch)


def _side(size: int) -> int:
    """Of a tile that holds so many: a power of 2, and no smaller than a product can be."""
    return int(pl.next_power_of_2(max(size, 16)))
