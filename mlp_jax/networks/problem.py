"""What the trials of a sweep share: the examples' shape and columns, and how the backend wants them."""

import math
from dataclasses import dataclass
from functools import cached_property

from mlp_jax.machine.forms import CPU, Forms
from mlp_jax.networks.layers import Network, Shape, walk

ONES = -1
"""Stands for the column of ones among the feature columns."""

ZEROS = -2
"""Stands for a column of zeros, there for the compiler's sake alone."""


@dataclass(frozen=True)
class Problem:
    """What all trials of a sweep share.

    Attributes:
        shape: of an example as the first layers see it.
        outputs: K.
        use_bias: whether layers have biases.
        live: the features that are not 0 in every training example, or all of them where weights decay. The weights of
            the others get no gradient and so no update: a layout may leave them out of training.
        precision: of the first layers' products, as in ``Recipe``.
        forms: how the backend's compiler wants it.
    """

    shape: Shape
    outputs: int
    use_bias: bool
    live: tuple[int, ...]
    precision: str = "float32"
    forms: Forms = CPU

    @property
    def features(self) -> int:
        """D, the numbers of an example."""
        return math.prod(self.shape)

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """The columns C that examples are to have: live features, ``ONES`` if there are biases, the other features.

        Before the others, and at the end, ``ZEROS`` as ``forms`` has it.
        """
        dead = sorted(set(range(self.features)) - set(self.live))
        columns = [*self.live, *([ONES] if self.use_bias else [])]
        columns += [ZEROS] * (self.trained - len(columns)) + dead
        return (*columns, *[ZEROS] * (-len(columns) % self.forms.row))

    @property
    def useful(self) -> int:
        """How many columns get a gradient."""
        return len(self.live) + self.use_bias

    @property
    def trained(self) -> int:
        """How many of the columns, from the left, training reads: those that get a gradient, and zeros."""
        return self.useful + -self.useful % self.forms.columns

    def operations(self, network: Network) -> int:
        """Useful floating-point operations of training on one example, 2 for a multiplication and addition.

        The first layer's product forward and that of its gradient, over the C features that get a gradient (and the
        bias); every other layer's forward, its gradient, and that of what it is given: for one dense hidden layer
        2 (2 C M + 3 M K). Nothing padded counts.
        """
        (first, before), *rest = walk(network, self.shape)
        of_first = 2 * (self.useful * first.units if first.stackable else first.products(before))
        return 2 * (of_first + sum(3 * layer.products(each) for layer, each in rest))
