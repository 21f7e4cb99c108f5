"""Several processes that train one sweep: how they find each other, agree, and stop together.

Built on JAX's own runtime (``jax.distributed``). Every process runs the same program and makes the same calls; only the
first one, which *leads*, writes and prints. With a single process, everything here is trivial.
"""

import contextlib
import os
import socket
import sys
import time
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mlp_jax.errors import InputError

HEARTBEAT = 30
"""Seconds without a heartbeat after which a process counts as dead, and the others end."""

TIME_TO_JOIN = 300
"""Seconds for which processes wait for each other at the start."""

GATHERED_BYTES = 2**26
"""Bytes of an array that processes exchange at a time."""

_TIME_TO_WRITE = 24 * 3600
"""Seconds for which the others wait at the end for the one that writes; if it dies, its heartbeat tells them."""


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Become one of several processes. Call it before JAX does anything.

    Arguments that are None come from Slurm, Open MPI, Kubernetes or a TPU pod, if one of them started this process.
    From then on only the leading process shows what is printed; every process shows its errors.

    Args:
        coordinator: HOST:PORT of process 0, the same in every process.
        processes: how many there are.
        process: which one this is, from 0.

    Raises:
        InputError: the arguments are incomplete or make no sense, or the other processes cannot be reached.
    """
    if coordinator is not None:
        _check_address(coordinator)
    if processes is not None and processes < 1:
        raise InputError(f"process count is {processes}: expected 1 or more")
    if process is not None and not 0 <= process < (processes or 2**31):
        most = processes - 1 if processes else "one less than all"
        raise InputError(f"process id is {process}: expected 0 to {most}")
    if coordinator is not None and process:
        _await(coordinator)  # JAX ends the whole program where it finds nobody
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, which has its own meaning here
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=TIME_TO_JOIN,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=_TIME_TO_WRITE,
        )
    except (ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"no other processes ({reason}): expected to be started by Slurm, Open MPI, Kubernetes or on a TPU pod, or "
            "to be told coordinator, process count and process id"
        ) from None
    _part_output()


def cores() -> int:
    """Number of this machine's CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_cpu_devices(count: int) -> None:
    """Have JAX make that many devices of this machine's CPU. Call it before JAX does anything.

    Nothing changes if JAX has its devices, if the user has set their number, or if several processes share a sweep.
    """
    said = jax.config.jax_num_cpu_devices != -1  # type: ignore[attr-defined]
    if said or jax.distributed.is_initialized() or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with contextlib.suppress(RuntimeError):  # JAX has its devices already
        jax.config.update("jax_num_cpu_devices", count)


def _check_address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"coordinator is {coordinator!r}: expected HOST:PORT of process 0, such as 10.0.0.1:7654")
    return host.strip("[]"), int(port)


def _await(coordinator: str) -> None:
    """Wait until the coordinator listens."""
    address, deadline = _check_address(coordinator), time.monotonic() + TIME_TO_JOIN
    while True:
        try:
            socket.create_connection(address, timeout=5).close()
            return
        except OSError as error:
            if isinstance(error, socket.gaierror) or time.monotonic() > deadline:
                raise InputError(
                    f"coordinator {coordinator} cannot be reached ({error.strerror or error}): expected process 0 there"
                ) from None
        time.sleep(0.2)


def _part_output() -> None:
    """Silence the standard output of all processes but the leading one."""
    # Gloo, in C++, writes to the descriptor 1 what belongs on the standard error.
    where = os.dup(1) if leads() else os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.stdout = os.fdopen(where, "w", encoding=sys.stdout.encoding, buffering=1)


def leads() -> bool:
    """Whether this is the leading process, which alone writes files and prints."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def several() -> bool:
    """Whether there are other processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def wait_for_all(what: str) -> None:
    """Wait until every process has arrived here; ``what`` names the barrier."""
    if several():
        multihost_utils.sync_global_devices(what)


def to_host(tree: Any) -> Any:
    """Arrays as NumPy arrays, whole, in every process."""

    def whole(leaf: Any) -> np.ndarray:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return np.asarray(leaf)
        # What is gathered lies on every device for a moment: rows by rows, as all of them need not fit there.
        rows = max(1, GATHERED_BYTES * len(leaf) // max(1, leaf.nbytes))
        parts = [leaf[first : first + rows] if rows < len(leaf) else leaf for first in range(0, len(leaf), rows)]
        return np.concatenate([multihost_utils.process_allgather(part, tiled=True) for part in parts])

    return jax.tree.map(whole, tree)


def from_all(values: Sequence[int]) -> np.ndarray:
    """A few integers (or booleans) from every process: ``[processes, values]``, the same in each."""
    mine = np.array(values, np.int64)
    if not several():
        return mine[None]
    halves = mine.view(np.uint32)  # JAX would make numbers of 64 bits shorter
    return multihost_utils.process_allgather(halves).view(np.int64)


def neighbours() -> int:
    """Number of processes on this host, including this one."""
    host = from_all([zlib.crc32(socket.gethostname().encode())])[:, 0]
    return int((host == host[jax.process_index() if several() else 0]).sum())


def lost(error: BaseException) -> bool:
    """Whether a JAX error means that another process has ended."""
    signs = ("Gloo", "UNAVAILABLE", "DEADLINE_EXCEEDED", "heartbeat", "coordination service", "Connection closed")
    return several() and any(sign in str(error) for sign in signs)


def end_alone(code: int) -> None:
    """End this process at once instead of waiting for the others, which notice and end too."""
    if several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
