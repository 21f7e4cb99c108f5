"""Whether JAX can compute in this process; if not, one line says why, instead of a hang, an abort or a traceback.

A process forked after JAX has initialized its devices has none of their threads, so its computations never finish.
"""

import os
import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.errors import InputError, first_line, shown

_had_devices = _forked = False  # JAX in a parent, when it forked; and so in this process, its child


def initialized() -> bool:
    """Whether JAX has initialized its devices, so that their number is fixed."""
    count: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    try:
        jax.config.update("jax_num_cpu_devices", count + 1)  # which JAX refuses from then on
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", count)
    return False


def require_jax() -> None:
    """Check that JAX can compute here; called wherever the package starts to use JAX. Free after the first time.

    Raises:
        InputError: this process was forked after JAX was initialized, or JAX cannot compute with its settings.
    """
    if _forked:
        raise InputError(
            "this process was forked from one that uses JAX, and would wait forever: start it with "
            'multiprocessing.get_context("spawn"), or use JAX in the child processes alone'
        )
    _try_jax()


@cache
def _try_jax() -> None:
    try:
        with jax.ensure_compile_time_eval():
            jax.block_until_ready(jax.jit(jnp.negative)(np.float32(0)))
    except Exception as error:  # whatever kind it is: JAX has no one kind for this, and some of these say nothing
        asked = ", ".join(f"{name}={value}" for name, value in os.environ.items() if re.match("JAX_|XLA_", name))
        because = f" ({first_line(error)})" if str(error) else ""
        mend = f": change or unset what is wrong of {shown(asked)[1:-1]}" if asked else ""
        raise InputError(f"JAX cannot compute here{because}{mend}") from None


def check_xla_flags() -> None:
    """Raise InputError if XLA would abort the process because of ``XLA_FLAGS``.

    XLA aborts at its first use, so a child process tries it.
    """
    if "XLA_FLAGS" not in os.environ or not hasattr(os, "fork") or initialized():
        return
    ear, mouth = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(mouth, 2)
        jax.config.update("jax_platforms", "cpu")  # any will do, and an accelerator may be taken by one process alone
        try:
            jax.devices()
        finally:
            os._exit(0)  # whatever JAX raises, this process will raise as well
    os.close(mouth)
    with os.fdopen(ear, errors="replace") as said:
        text = said.read()
    if os.waitpid(child, 0)[1]:
        reason = (text.splitlines() or ["it crashes"])[0].rpartition("] ")[2]  # without time and place of a log
        raise InputError(f"XLA_FLAGS is {shown(os.environ['XLA_FLAGS'])}, which XLA refuses: {reason}")


def _note_devices() -> None:
    global _had_devices
    _had_devices = initialized()


def _note_fork() -> None:
    global _forked
    _forked = _forked or _had_devices


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_note_devices, after_in_child=_note_fork)
