"""Runs: tables of results, the directory that holds them, checking it."""

from mlp_jax.runs.directory import Run, new_directory, read_run, write_run

__all__ = ["Run", "new_directory", "read_run", "write_run"]
