"""The machine: JAX's backends, compiled programs and their cache, several processes."""
