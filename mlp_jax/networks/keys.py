"""Where all randomness comes from: the key of a seed, for one fixed generator, however JAX is configured.

JAX's default generator, and how it counts, can be changed from outside (``JAX_DEFAULT_PRNG_IMPL``,
``JAX_THREEFRY_PARTITIONABLE``). A trial must be the same whatever they are, and its draws must be the same alone and
mapped over replicas, which of JAX's generators threefry alone promises.
"""

from contextlib import AbstractContextManager

import jax
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray

GENERATOR = "threefry2x32"


def root_key(seed: ArrayLike) -> PRNGKeyArray:
    """The key of a seed, from which ``jax.random.fold_in`` makes one for each purpose."""
    return jax.random.key(seed, impl=GENERATOR)


def next_key(rngs: nnx.Rngs) -> PRNGKeyArray:
    """What ``rngs.params()`` returns if threefry is JAX's default generator; advances the stream by one."""
    stream = rngs.params
    # The keys of JAX's other generators begin with the two words of threefry's key of the same seed.
    base = jax.random.wrap_key_data(jax.random.key_data(stream.key.get_value())[..., :2], impl=GENERATOR)
    key = jax.random.fold_in(base, stream.count.get_value())
    stream()
    return key


def drawing() -> AbstractContextManager[None]:
    """Context in which ``jax.random`` gives the same bits for a key whichever way JAX is configured to count."""
    context: AbstractContextManager[None] = jax.threefry_partitionable(True)
    return context
