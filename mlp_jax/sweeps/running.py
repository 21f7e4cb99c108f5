"""How what is asked for is run: where, how much at a time, what is saved and told. No result depends on it."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from mlp_jax.errors import InputError, instance, whole
from mlp_jax.sweeps.plan import Plan
from mlp_jax.sweeps.record import Progress


@dataclass(frozen=True)
class Running:
    """Arguments that ``sweep`` and ``search`` share, which describes them.

    Raises:
        InputError: one makes no sense; the message says which and why.
    """

    replicas_at_once: int | None
    devices: Sequence[jax.Device] | None
    memory: int | None
    checkpoints: str | Path | None
    resume: str | Path | None
    checkpoint_every: int | None
    stop: Callable[[], bool] | None
    on_plan: Callable[[Plan], None] | None
    on_epoch: Callable[[Progress], None] | None

    def __post_init__(self) -> None:
        for name in ("checkpoints", "resume"):
            instance(name, getattr(self, name), str | os.PathLike | None, "a path, or None")
        for name in ("stop", "on_plan", "on_epoch"):
            instance(name, getattr(self, name), Callable | None, "a function, or None")
        if self.checkpoint_every is not None:
            whole("checkpoint_every", self.checkpoint_every, 1, sys.maxsize)
        if self.checkpoints is not None and self.resume is not None:
            raise InputError(
                "checkpoints and resume are both given: expected one (resume goes on saving where it began)"
            )

    @property
    def place(self) -> Path | None:
        """The directory of checkpoints; None to save nothing."""
        place = self.checkpoints if self.resume is None else self.resume
        return None if place is None else Path(place)

    @property
    def stops(self) -> Callable[[], bool]:
        """Whether to stop now."""
        return self.stop or (lambda: False)
