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

from mlp_jax.training.recipe import Recipe

ByRow = Mapping[str, Any]
"""Numbers by name: pytrees like the parameters, of arrays that broadcast against them."""


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
    """Adam (Kingma and Ba, 2015)."""
    return optax.scale_by_adam(b1=recipe.beta1, b2=recipe.beta2, eps=recipe.epsilon)


def _adamw(recipe: Recipe, numbers: ByRow) -> optax.GradientTransformation:
    """Adam, and weights that decay by the learning rate times ``weight_decay`` (Loshchilov and Hutter, 2019)."""
    return optax.chain(_adam(recipe, numbers), _plus(numbers.get("weight_decay")))


def _sgd(nesterov: bool) -> Callable[[Recipe, ByRow], optax.GradientTransformation]:
    """Stochastic gradient descent, with (Nesterov's) momentum and weight decay as PyTorch has them."""

    def direction(recipe: Recipe, numbers: ByRow) -> optax.GradientTransformation:
        return optax.chain(_plus(numbers.get("weight_decay")), _trace(numbers.get("momentum"), nesterov))

    return direction


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(frozenset(), _adam, adaptive=True),
    "adamw": Optimizer(frozenset({"weight_decay"}), _adamw, adaptive=True),
    "sgd": Optimizer(frozenset({"momentum", "weight_decay"}), _sgd(nesterov=False)),
    "nesterov": Optimizer(frozenset({"momentum", "weight_decay"}), _sgd(nesterov=True)),
}


def make_optimizer(
    name: str, recipe: Recipe, numbers: ByRow, kernels: Any, rate_factors: Any = None
) -> optax.GradientTransformation:
    """The optimizer of that name.

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
    return optax.chain(
        _plus(penalty),
        OPTIMIZERS[name].direction(recipe, numbers),
        optax.stateless(lambda updates, _: jax.tree.map(lambda u, rate: -rate * u, updates, rates)),
    )


def _times(numbers: Any, constants: Any) -> Any:
    """Numbers by row times constants of the parameters."""
    return jax.tree.map(lambda each, constant: each * jnp.asarray(constant, each.dtype), numbers, constants)


def _inverse(factor: Any) -> Any:
    return 1 / np.asarray(factor)


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
