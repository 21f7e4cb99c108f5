"""Schedules: factors of the learning rate over the course of training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Values = Mapping[str, Float[Array, "T"]]
"""One number per trial, by the name of the number axis; absent if every trial has the default."""


@dataclass(frozen=True)
class Schedule:
    """A factor of the learning rate.

    Attributes:
        numbers: names of the number axes that it takes.
        factor: from the step ``[S, 1]``, the number of steps in all and the numbers of the trials to ``[S, T]``, or
            something that is broadcast to it.
        of_total: whether that number makes a difference: what is trained longer then is another training from its
            first step on.
    """

    numbers: frozenset[str]
    factor: Callable[[Float[Array, "S 1"], float, Values], Float[Array, "S _"]]
    of_total: bool = False


def _times_decayed(step: Float[Array, "S 1"], numbers: Values) -> Float[Array, "S _"]:
    return jnp.floor(step / numbers["decay_steps"]) if "decay_steps" in numbers else step


SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(frozenset(), lambda step, total, numbers: jnp.ones_like(step)),
    # From 1 to 0 along half a cosine (Loshchilov and Hutter, 2017, without restarts).
    "cosine": Schedule(
        frozenset(), lambda step, total, numbers: (1 + jnp.cos(jnp.pi * step / total)) / 2, of_total=True
    ),
    "linear": Schedule(frozenset(), lambda step, total, numbers: 1 - step / total, of_total=True),
    # 1 / √max(1, ⌊s / n⌋) for the s-th step: constant for the first n, as transformers have it.
    "rsqrt": Schedule(
        frozenset({"decay_steps"}),
        lambda step, total, numbers: 1 / jnp.sqrt(jnp.maximum(1, _times_decayed(step + 1, numbers))),
    ),
    # factor ^ ⌊step / n⌋.
    "steps": Schedule(
        frozenset({"decay_steps", "decay_factor"}),
        lambda step, total, numbers: (
            numbers.get("decay_factor", jnp.ones(1, step.dtype)) ** _times_decayed(step, numbers)
        ),
    ),
}


def scheduled(schedules: Sequence[str], numbers: Values) -> bool:
    """Whether any trial's learning rate changes; ``schedules`` are the trials'."""
    return "warmup_steps" in numbers or any(name != "constant" for name in schedules)


def factors(schedules: Sequence[str], numbers: Values, step: Int[Array, "S"], total: int) -> Float[Array, "S T"]:
    """The factor of each trial's learning rate in each step.

    Args:
        schedules: of each of T trials.
        numbers: of the trials.
        step: numbers of the steps, from 0.
        total: number of steps in all of training.
    """
    dtype = numbers["learning_rate"].dtype
    at = step.astype(dtype)[:, None]
    factor = jnp.ones((len(step), len(schedules)), dtype)
    for name in dict.fromkeys(schedules):
        mine = np.array([each == name for each in schedules])
        factor = jnp.where(mine, SCHEDULES[name].factor(at, float(total), numbers), factor)
    if "warmup_steps" in numbers:
        factor = factor * jnp.minimum(1, (at + 1) / jnp.maximum(1, numbers["warmup_steps"]))
    return factor
