"""The first layers' step as one kernel: their gradient is a product, and Adam takes it as it is made."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mlp_jax.machine.forms import Forms
from mlp_jax.networks.packing import FIRST
from mlp_jax.training.optimizers import Corrections, is_adam
from mlp_jax.training.recipe import Recipe

FUSED = "adam"
"""The optimizer that the kernel is of; with a penalty, or weights that decay, XLA's kernels are used."""


def fuses(forms: Forms, recipe: Recipe, numbers: Any, params: Any) -> bool:
    """Whether there are first layers that this kernel can train, and a compiler for it.

    Args:
        forms: of the backend.
        recipe: how to train.
        numbers: of the trials, by name.
        params: of the trials, by optimizer.
    """
    if not forms.kernels or not forms.ahead or recipe.precision != "float32" or numbers.keys() & {"l2", "clip"}:
        return False
    from mlp_jax.training.kernels import COLUMNS  # Pallas takes a tenth of a second to import

    weights = params.get(FUSED, {}).get(FIRST)
    return weights is not None and weights.dtype == jnp.float32 and weights.shape[1] % COLUMNS == 0


def step_first_layers(
    stepped: tuple[Any, Any],
    before: tuple[Any, Any],
    cotangent: Float[Array, "S B"],
    x: Float[Array, "B C"],
    rates: Float[Array, "S 1"],
    corrections: Corrections,
    recipe: Recipe,
    interpret: bool,
) -> tuple[Any, Any]:
    """Parameters and state of the optimizer after a step, of which all but the first layers is there.

    Args:
        stepped: parameters and state with all else done.
        before: both before the step.
        cotangent: gradient by the first layers' products.
        x: the minibatch.
        rates: the learning rate of each of their rows.
        corrections: Adam's of this step.
        recipe: its constants.
        interpret: the kernel, where there is no GPU.
    """
    from mlp_jax.training.kernels import adam_on_product

    params, opt_state = stepped
    old = next(each for each in jax.tree.leaves(before[1], is_leaf=is_adam) if is_adam(each))
    weights, mean, square = adam_on_product(
        cotangent, x, before[0][FIRST], old.mu[FIRST], old.nu[FIRST], rates, corrections, recipe, interpret
    )

    def with_moments(node: Any) -> Any:
        if not isinstance(node, optax.ScaleByAdamState):
            return node
        return node._replace(mu=node.mu | {FIRST: mean}, nu=node.nu | {FIRST: square})

    return params | {FIRST: weights}, jax.tree.map(with_moments, opt_state, is_leaf=is_adam)
