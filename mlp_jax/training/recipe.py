"""How to train: the parts of the article's recipe that all trials share."""

from dataclasses import dataclass

import numpy as np

from mlp_jax.errors import InputError, real, shown, whole

PRECISIONS = ("float32", "bfloat16", "tensorfloat32")

_GREATEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the article's, which are Keras's.

    Attributes:
        epochs: passes over the training split.
        batch_size: B, examples per minibatch; the last one of an epoch has the remainder.
        beta1: decay rate of Adam's running mean of the gradient.
        beta2: decay rate of Adam's running mean of its square.
        epsilon: Adam's ε, added to the square root of the bias-corrected mean square.
        precision: of the first layers' products, which are nearly all of the arithmetic. ``bfloat16`` rounds what goes
            into them and adds up in float32; ``tensorfloat32`` is the like with a longer mantissa, where the hardware
            has it (elsewhere it is float32). Weights, Adam and everything else are float32 in any case.
        report_every: epochs between two points of the learning curves, and so between two evaluations of the validation
            split; ``epochs`` is a multiple of it.
    """

    epochs: int = 20
    batch_size: int = 128
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-7
    precision: str = "float32"
    report_every: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "report_every"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1, 2**31 - 1))
        if self.epochs % self.report_every:
            raise InputError(f"report_every is {self.report_every}: expected a divisor of the {self.epochs} epochs")
        for name in ("beta1", "beta2"):
            value = real(name, getattr(self, name), lambda b: 0 <= b < 1, "a number, 0 or more and below 1")
            object.__setattr__(self, name, value)
        value = real("epsilon", self.epsilon, lambda e: 0 <= e <= _GREATEST, "a finite float32 number, 0 or more")
        object.__setattr__(self, "epsilon", value)
        if self.precision not in PRECISIONS:
            raise InputError(f"unknown precision {shown(self.precision)}: expected one of {', '.join(PRECISIONS)}")

    @property
    def rounds(self) -> int:
        """Number of points of the learning curves."""
        return self.epochs // self.report_every
