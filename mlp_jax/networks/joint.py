"""Second layers of networks of different widths, in a number of products that does not grow with the widths.

Hidden units of all networks lie below each other, ``[S, B]``, and the second layers' weights likewise, ``[S, K]``: a
row per unit, the units of a network together. Each network's logits are the sum over its own rows. A loop over widths
would be compiled to a handful of kernels each; here all of them are one product, padded. Both ways of doing so have a
gradient of their own, so that nothing that is not finite in one network can reach another by way of a zero.
"""

from collections.abc import Callable, Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

JointLayers = Callable[[Float[Array, "S K"], Float[Array, "S B"]], Float[Array, "T K B"]]

EXACT = lax.Precision.HIGHEST  # float32 as it is; a gradient is traced where no context says so

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
        return jnp.einsum("tsk,tsb->tkb", weights[rows], wide, precision=EXACT)

    return with_gradient_by_owner(layers, widths)


def with_gradient_by_owner(layers: JointLayers, widths: Sequence[int]) -> JointLayers:
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
        logits = jnp.einsum("tks,sb->tkb", blocks(weights), jnp.where(fine, units, 0), precision=EXACT)
        return jnp.where(spoiled("ts,sb->tb", ~fine)[:, None, :], jnp.nan, logits)

    def backward(saved: tuple[Array, Array], cotangent: Float[Array, "T K B"]) -> tuple[Array, Array]:
        weights, units = saved
        every = jnp.einsum("tkb,sb->tks", cotangent, units, precision=EXACT)
        of_weights = jnp.where(own[:, None, :], every, 0).sum(axis=0).T
        fine = jnp.isfinite(cotangent)
        of_units = jnp.einsum("tks,tkb->sb", blocks(weights), jnp.where(fine, cotangent, 0), precision=EXACT)
        return of_weights, jnp.where(spoiled("ts,tb->sb", ~fine.all(axis=1)), jnp.nan, of_units)

    layers.defvjp(lambda weights, units: (layers(weights, units), (weights, units)), backward)
    return layers


MOST_OUTPUTS = 128
"""K whose logits of a tile of examples fit in the registers of a block of threads."""


def own_kernel(kernels: str, outputs: int, dtype: DTypeLike) -> bool:
    """Whether second layers with K outputs have a kernel of our own; ``kernels`` as in ``Forms``."""
    return bool(kernels) and outputs <= MOST_OUTPUTS and dtype == jnp.float32


def joint_layers(form: str, widths: tuple[int, ...], outputs: int, dtype: DTypeLike, kernels: str) -> JointLayers:
    """The second layers of networks in a lot.

    Args:
        form: as in ``Forms.joint``.
        widths: hidden units of each network.
        outputs: K.
        dtype: of the weights.
        kernels: as in ``Forms.kernels``.
    """
    if form == "blocks":
        return block_layers(widths)
    if own_kernel(kernels, outputs, dtype):
        from mlp_jax.networks.joint_kernel import kernel_layers  # Pallas takes a tenth of a second to import

        return kernel_layers(widths, kernels == "interpreted")
    return padded_layers(widths)
