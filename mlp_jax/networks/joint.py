"""Second layers of networks of different widths, in a number of products that does not grow with the widths.

Hidden units of all networks lie below each other, ``[S, B]``, and the second layers' weights likewise, ``[S, K]``: a
row per unit, the units of a network together. Each network's logits are the sum over its own rows. A loop over widths
would be compiled to a handful of kernels each; here all of them are one product, padded. Both ways of doing so have a
gradient of their own, so that nothing that is not finite in one network can reach another by way of a zero.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

JointLayers = Callable[[Float[Array, "S K"], Float[Array, "S B"]], Float[Array, "T K B"]]

_EXACT = lax.Precision.HIGHEST  # float32 as it is; a gradient is traced where no context says so

MOST_PADDING = 3
"""How many times as many units as there are may be multiplied, padding included."""

MOST_ROWS = 128
"""Rows of a matrix with blocks on its diagonal: a TPU's unit multiplies that many, needed or not."""


def divide(form: str, widths: Sequence[int], members: Sequence[int], outputs: int) -> list[int]:
    """Divide consecutive groups of networks into lots, to be multiplied together.

    Args:
        form: ``padded`` or ``blocks``, as in ``Forms.joint``.
        widths: hidden units of the networks of each group.
        members: how many networks each group has.
        outputs: K.

    Returns:
        How many groups each lot has.
    """
    found: list[list[int]] = []
    for group in range(len(widths)):
        together = [*(found[-1] if found else []), group]
        networks = sum(members[each] for each in together)
        own = sum(widths[each] * members[each] for each in together)
        fits = {
            "padded": networks * max(widths[each] for each in together) <= MOST_PADDING * own,
            "blocks": networks * outputs <= MOST_ROWS,
        }[form]
        if found and fits:
            found[-1] = together
        else:
            found.append([group])
    return [len(each) for each in found]


@cache
def padded_layers(widths: tuple[int, ...]) -> JointLayers:
    """Logits by a batch of products, each as wide as the widest network's.

    Args:
        widths: hidden units of each network.
    """
    starts, places = np.cumsum([0, *widths[:-1]])[:, None], np.arange(max(widths))
    rows = starts + np.minimum(places, np.array(widths)[:, None] - 1)  # a row past a network's end is some row of it
    own = (places < np.array(widths)[:, None])[:, :, None]

    def layers(weights: Float[Array, "S K"], units: Float[Array, "S B"]) -> Float[Array, "T K B"]:
        wide = jnp.where(own, units[rows], 0)
        return jnp.einsum("tsk,tsb->tkb", weights[rows], wide, precision=_EXACT)

    return _with_gradient_by_owner(layers, widths)


def _with_gradient_by_owner(layers: JointLayers, widths: Sequence[int]) -> JointLayers:
    """A gradient that gives every row what its own network's logits have got."""
    owner = np.repeat(np.arange(len(widths)), widths)
    function = jax.custom_vjp(layers)

    def backward(saved: tuple[Array, Array], cotangent: Float[Array, "T K B"]) -> tuple[Array, Array]:
        weights, units = saved
        each = cotangent[owner]  # [S, K, B]
        return (each * units[:, None, :]).sum(axis=2), (each * weights[:, :, None]).sum(axis=1)

    function.defvjp(lambda weights, units: (layers(weights, units), (weights, units)), backward)
    return function


@cache
def block_layers(widths: tuple[int, ...]) -> JointLayers:
    """Logits by a product with a matrix that has every network's weights in a block on its diagonal.

    Args:
        widths: hidden units of each network.
    """
    own = np.arange(len(widths))[:, None] == np.repeat(np.arange(len(widths)), widths)  # [T, S]

    def blocks(weights: Float[Array, "S K"]) -> Float[Array, "T K S"]:
        return jnp.where(own[:, None, :], weights.T, 0)

    def spoiled(shares: str, bad: Array) -> Array:
        """Where a network has something that is not finite: 0 · ∞ is NaN, which a zero would carry everywhere."""
        # Counts of at most a few thousand: exact where there is none, and that is what matters.
        return jnp.einsum(shares, jnp.asarray(own, jnp.bfloat16), bad.astype(jnp.bfloat16)) > 0

    @jax.custom_vjp
    def layers(weights: Float[Array, "S K"], units: Float[Array, "S B"]) -> Float[Array, "T K B"]:
        fine = jnp.isfinite(units)
        logits = jnp.einsum("tks,sb->tkb", blocks(weights), jnp.where(fine, units, 0), precision=_EXACT)
        return jnp.where(spoiled("ts,sb->tb", ~fine)[:, None, :], jnp.nan, logits)

    def backward(saved: tuple[Array, Array], cotangent: Float[Array, "T K B"]) -> tuple[Array, Array]:
        weights, units = saved
        every = jnp.einsum("tkb,sb->tks", cotangent, units, precision=_EXACT)
        of_weights = jnp.where(own[:, None, :], every, 0).sum(axis=0).T
        fine = jnp.isfinite(cotangent)
        of_units = jnp.einsum("tks,tkb->sb", blocks(weights), jnp.where(fine, cotangent, 0), precision=_EXACT)
        return of_weights, jnp.where(spoiled("ts,tb->sb", ~fine.all(axis=1)), jnp.nan, of_units)

    layers.defvjp(lambda weights, units: (layers(weights, units), (weights, units)), backward)
    return layers


_TILE = 32
"""Rows of a network that a block of threads takes at a time."""


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
        return pl.pallas_call(
            _network_logits,
            out_shape=jax.ShapeDtypeStruct((len(widths), outputs, examples), weights.dtype),
            grid=(len(widths),),
            compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
            interpret=interpret,
            name="joint_layers",
        )(weights, units, jnp.asarray(bounds))

    return _with_gradient_by_owner(layers, widths)


def _network_logits(weights: Any, units: Any, bounds: Any, logits: Any) -> None:
    """Those of the network that is this block of threads' own."""
    network = pl.program_id(0)
    (_, outputs), (_, examples) = weights.shape, units.shape
    size = _sides(outputs, examples)
    classes, batch = (pl.ds(0, side) for side in size)
    of_classes, of_batch = jnp.arange(size[0]) < outputs, jnp.arange(size[1]) < examples
    places = jnp.arange(_TILE, dtype=jnp.int32)
    first, end = bounds[network, 0], bounds[network, 1]

    def add(turn: Array, sums: Array) -> Array:
        start = first + turn * _TILE
        own = (start + places < end)[:, None]
        w = plgpu.load(weights.at[pl.ds(start, _TILE), classes], mask=own & of_classes, other=0.0)
        z = plgpu.load(units.at[pl.ds(start, _TILE), batch], mask=own & of_batch, other=0.0)
        return sums + plgpu.dot(w.T, z, allow_tf32=False)

    zero = jnp.zeros(size, weights.dtype)
    turns = lax.div(end - first + jnp.int32(_TILE - 1), jnp.int32(_TILE))
    found = lax.fori_loop(jnp.int32(0), turns, add, zero)
    plgpu.store(logits.at[network, classes, batch], found, mask=of_classes[:, None] & of_batch)


def _sides(outputs: int, examples: int) -> tuple[int, int]:
    """Of the tile that holds a network's logits: powers of 2, and no smaller than a product can be."""
    return pl.next_power_of_2(max(outputs, 16)), pl.next_power_of_2(max(examples, 16))


MOST_NUMBERS = 2**15
"""Of the logits of a network, padded: what fits in the registers of a block of threads."""


def joint_layers(form: str, widths: tuple[int, ...], outputs: int, examples: int, kernels: str) -> JointLayers:
    """The second layers of networks in a lot.

    Args:
        form: as in ``Forms.joint``.
        widths: hidden units of each network.
        outputs: K.
        examples: B.
        kernels: as in ``Forms.kernels``.
    """
    if form == "blocks":
        return block_layers(widths)
    if kernels and math.prod(_sides(outputs, examples)) <= MOST_NUMBERS:
        return kernel_layers(widths, kernels == "interpreted")
    return padded_layers(widths)
