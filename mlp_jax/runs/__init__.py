"""Runs: tables of results, run directories, and their verification."""

from mlp_jax.runs.directory import Run, new_directory, read_run, write_run

__all__ = ["Run", "new_directory", "read_run", "write_run"]
