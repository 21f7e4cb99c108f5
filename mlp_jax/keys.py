"""Keys whose bits follow from a seed alone, whatever JAX's default generator is."""

import jax
from jaxtyping import PRNGKeyArray


def root_key(seed: int) -> PRNGKeyArray:
    """The key of a seed, of the generator threefry: the same bits whatever ``jax_default_prng_impl`` says."""
    return jax.random.key(seed, impl="threefry2x32")
