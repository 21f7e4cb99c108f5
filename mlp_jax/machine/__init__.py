"""The machine: JAX's backends, what is compiled and kept, several processes."""
