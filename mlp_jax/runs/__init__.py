"""Runs: tables of results, run directories, and their verification."""

from mlp_jax.runs.directory import Run, new_directory, read_run, write_run
from mlp_jax.runs.extending import extend

__all__ = ["Run", "extend", "new_directory", "read_run", "write_run"]
