"""Dropout: which units a trial drops in a step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mlp_jax.networks.keys import drawing


class Dropout(NamedTuple):
    """The units that are dropped in one step.

    Attributes:
        key: of the step.
        share: of the hidden units of each trial.
    """

    key: PRNGKeyArray
    share: Float[Array, "T"]

    def drawn(self, place: int, units: int, examples: int) -> Float[Array, "units B"]:
        """Numbers uniform in [0, 1) for the layer at a place; those of a unit do not depend on how many there are."""
        with drawing():
            return jax.random.uniform(jax.random.fold_in(self.key, place), (units, examples), self.share.dtype)

    def alone(self, place: int, x: Float[Array, "B *after"]) -> Float[Array, "B *after"]:
        """The outputs of a layer of the only trial."""
        mask = kept(self.drawn(place, x.shape[-1], len(x)), self.share[0]).T
        return x * mask.reshape(len(x), *(1,) * (x.ndim - 2), x.shape[-1])


def kept(drawn: Float[Array, "..."], share: Float[Array, "..."]) -> Float[Array, "..."]:
    """0 for a unit that is dropped, and for the others the factor that keeps the mean."""
    return jnp.where(drawn >= share, 1 / (1 - share), 0)
