"""How to train: what of the article's recipe can be varied."""

from dataclasses import dataclass

import numpy as np
import optax
from jax import Array

from mlp_jax.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are the article's, which are Keras's.

    Attributes:
        epochs: passes over the training split.
        batch_size: B, examples a minibatch; the last of an epoch has what is left.
        beta1: Adam's decay of the mean of the gradient.
        beta2: Adam's decay of the mean of its square.
        epsilon: Adam's ε, added to the square root of the bias-corrected mean square.
    """

    epochs: int = 20
    batch_size: int = 128
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value < 2**31:
                raise InputError(f"{name} is {value!r}: expected a whole number, 1 or more")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}: expected 0 or more and below 1")
        if not 0 <= self.epsilon < np.inf:
            raise InputError(f"epsilon is {self.epsilon!r}: expected a finite number, 0 or more")

    def optimizer(self, learning_rate: float | Array) -> optax.GradientTransformation:
        """Adam (Kingma and Ba, 2015) with this recipe's constants."""
        return optax.adam(learning_rate, b1=self.beta1, b2=self.beta2, eps=self.epsilon)


def check_learning_rate(learning_rate: float) -> None:
    """Raise InputError unless this is a finite number above 0."""
    if isinstance(learning_rate, bool | str) or not 0 < learning_rate < np.inf:
        raise InputError(f"learning rate is {learning_rate!r}: expected a finite number above 0")
