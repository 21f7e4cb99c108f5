"""Optimizers made of optax's parts, with each trial's own numbers, row by row.

Parameters of many trials lie in the same arrays, so a learning rate is not one number but one for each row. Everything
in an update is elementwise, hence a trial's update is what it would be alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mlp_jax.training.recipe import Recipe

ByRow = Mapping[str, Any]
"""Numbers by name: pytrees like the parameters, of arrays that broadcast against them."""


Corrections = Float[Array, "*steps 2"]
"""What Adam divides its moments by at a step t from 1: 1 − β₁ᵗ and 1 − β₂ᵗ."""


def corrections_ahead(recipe: Recipe, opt_state: Any, steps: int, dtype: DTypeLike) -> Corrections | None:
    """Those of the next steps, for a state of Adam; None for other optimizers."""
    states = [each for each in jax.tree.leaves(opt_state, is_leaf=is_adam) if is_adam(each)]
    if not states:
        return None
    count = states[0].count
    step = (count + 1 + jnp.arange(steps, dtype=count.dtype)).astype(dtype)
    return jnp.stack([1 - recipe.beta1**step, 1 - recipe.beta2**step], axis=-1)


def counted(opt_state: Any, steps: int) -> Any:
    """A state after so many steps with corrections that were given."""
    return jax.tree.map(
        lambda node: node._replace(count=node.count + steps) if is_adam(node) else node, opt_state, is_leaf=is_adam
    )


def is_adam(node: Any) -> bool:
    """Whether a node of an optimizer's state is Adam's."""
    return isinstance(node, optax.ScaleByAdamState)


@dataclass(frozen=True)
class Optimizer:
    """An update rule.

    Attributes:
        numbers: names of the number axes that it takes besides the learning rate.
        direction: makes the transformation from gradients to the direction that the learning rate scales, given the
            recipe's constants and the numbers by row, of which some may be missing (they are 0 for every trial).
        adaptive: whether the size of an update does not grow with that of the gradient.
    """

    numbers: frozenset[str]
    direction: Callable[[Recipe, ByRow], optax.GradientTransformation]
    adaptive: bool = False


def _adam(recipe: Recipe, numbers: ByRow) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015); its corrections for the bias of the first steps may be given, if they are known."""
    adam = optax.scale_by_adam(b1=recipe.beta1, b2=recipe.beta2, eps=recipe.epsilon)

    def update(
        gradients: Any, state: optax.ScaleByAdamState, params: Any = None, *, corrections: Corrections | None, **_: Any
    ) -> tuple[Any, optax.ScaleByAdamState]:
        if corrections is None:
            return adam.update(gradients, state, params)
        mu = optax.tree.update_moment(gradients, state.mu, recipe.beta1, 1)
        nu = optax.tree.update_moment_per_elem_norm(gradients, state.nu, recipe.beta2, 2)
        updates = jax.tree.map(
            lambda m, v: (m / corrections[0]) / (jnp.sqrt(v / corrections[1]) + recipe.epsilon), mu, nu
        )
        return updates, state._replace(mu=mu, nu=nu)  # whoever knows the corrections counts the steps: ``counted``

    return optax.GradientTransformationExtraArgs(adam.init, update)


def _adamw(recipe: Recipe, numbers: ByRow) -> optax.GradientTransformation:
    """Adam, and weights that decay by the learning rate times ``weight_decay`` (Loshchilov and Hutter, 2019)."""
    return optax.chain(_adam(recipe, numbers), _plus(numbers.get("weight_decay")))


def _lion(recipe: Recipe, numbers: ByRow) -> optax.GradientTransformation:
    """Lion: the sign of a moving average, and weights that decay as AdamW's (Chen et al., 2023)."""
    return optax.chain(optax.scale_by_lion(recipe.beta1, recipe.beta2), _plus(numbers.get("weight_decay")))


def _sgd(nesterov: bool) -> Callable[[Recipe, ByRow], optax.GradientTransformation]:
    """Stochastic gradient descent, with (Nesterov's) momentum and weight decay as PyTorch has them."""

    def direction(recipe: Recipe, numbers: ByRow) -> optax.GradientTransformation:
        return optax.chain(_plus(numbers.get("weight_decay")), _trace(numbers.get("momentum"), nesterov))

    return direction


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(frozenset(), _adam, adaptive=True),
    "adamw": Optimizer(frozenset({"weight_decay"}), _adamw, adaptive=True),
    "lion": Optimizer(frozenset({"weight_decay"}), _lion, adaptive=True),
    "sgd": Optimizer(frozenset({"momentum", "weight_decay"}), _sgd(nesterov=False)),
    "nesterov": Optimizer(frozenset({"momentum", "weight_decay"}), _sgd(nesterov=True)),
}


def make_optimizer(
    name: str, recipe: Recipe, numbers: ByRow, kernels: Any, rate_factors: Any = None
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of that name; ``update`` may be given ``Corrections``.

    Args:
        name: in ``OPTIMIZERS``.
        recipe: its constants.
        numbers: by row; the learning rate at least.
        kernels: a pytree like the parameters, 1 for weights and 0 for biases, which no penalty touches.
        rate_factors: likewise, factors of the learning rates, but not of the decay (µP); None for 1.
    """
    rates, penalty = numbers["learning_rate"], numbers.get("l2")
    if penalty is not None:
        penalty = _times(penalty, kernels)
    if rate_factors is not None:
        rates = _times(rates, rate_factors)
        if "weight_decay" in numbers:
            numbers = {**numbers, "weight_decay": _times(numbers["weight_decay"], jax.tree.map(_inverse, rate_factors))}
    chained = optax.chain(
        _plus(penalty),
        _clipped(numbers.get("clip")),
        OPTIMIZERS[name].direction(recipe, numbers),
        optax.stateless(lambda updates, _: jax.tree.map(lambda u, rate: -rate * u, updates, rates)),
    )
    return optax.with_extra_args_support(chained)


def _times(numbers: Any, constants: Any) -> Any:
    """Numbers by row times constants of the parameters."""
    return jax.tree.map(lambda each, constant: each * jnp.asarray(constant, each.dtype), numbers, constants)


def _inverse(factor: Any) -> Any:
    return 1 / np.asarray(factor)


def _clipped(bounds: Any) -> optax.GradientTransformation:
    """``optax.clip`` with a bound by row, 0 for none; nothing where there are no bounds."""
    if bounds is None:
        return optax.identity()

    def clip(update: Array, bound: Array) -> Array:
        return jnp.where(bound > 0, jnp.clip(update, -bound, bound), update)

    return optax.stateless(lambda updates, _: jax.tree.map(clip, updates, bounds))


def _plus(factors: Any) -> optax.GradientTransformation:
    """Add parameters times factors by row; the identity without factors."""
    if factors is None:
        return optax.identity()
    return optax.stateless(
        lambda updates, params: jax.tree.map(lambda u, p, factor: u + factor * p, updates, params, factors)
    )


def _trace(decays: Any, nesterov: bool) -> optax.GradientTransformation:
    """``optax.trace`` with a decay by row; the identity, without state, if there is none."""
    if decays is None:
        return optax.identity()

    def follow(gradients: Any, trace: Any) -> Any:
        return jax.tree.map(lambda g, t, decay: g + decay * t, gradients, trace, decays)

    def update(gradients: Any, state: optax.TraceState, params: Any = None) -> tuple[Any, optax.TraceState]:
        trace = follow(gradients, state.trace)
        return (follow(gradients, trace) if nesterov else trace), optax.TraceState(trace)

    return optax.GradientTransformation(lambda params: optax.TraceState(optax.tree.zeros_like(params)), update)
