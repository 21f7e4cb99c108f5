"""JAX's persistent compilation cache, accessible to its user only."""

import hashlib
import os
import platform
import stat
import warnings
from pathlib import Path

import jax
import platformdirs

from mlp_jax.errors import SweepWarning, first_line

MOST_BYTES = 2**30
"""Bytes of compiled programs to keep; the least recently used go first."""


def enable_compilation_cache() -> Path | None:
    """Keep compiled programs for later processes, unless JAX has already been told whether and where to.

    They are code that will be executed, so their directory belongs to the user and is closed to everyone else.

    Returns:
        The directory; None if there is none.
    """
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return None
    if chosen := jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return Path(chosen)
    # By kind of processor, as programs compiled for one may use instructions that another lacks.
    directory: Path | None = None
    try:
        directory = platformdirs.user_cache_path("mlp_jax") / f"xla-{_processor()}"
        if not directory.is_absolute():
            raise OSError("it is in nobody's home")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
            raise OSError("it belongs to somebody else")
        directory.chmod(0o700)
    except (OSError, RuntimeError, KeyError) as error:  # a user without a home has no such directory
        reason = getattr(error, "strerror", None) or first_line(error)
        where = "the user's cache directory" if directory is None else directory
        warnings.warn(
            f"compiled programs are not kept: {where} cannot be used ({reason})",
            SweepWarning,
            stacklevel=2,
        )
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return directory


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:12]
