"""The search: successive halving or Hyperband over the trials of a grid, all seeds of a configuration together.

A rung is a sweep of what is left: trained from the state in which the last rung left each trial, repacked, and scored
at its end. Decisions follow from the scores alone, so a search is resumed by doing again what it did: of a rung whose
replicas are finished, their files are read.

    checkpoints/          of all trials until the first rung, as a sweep's (``mlp_jax.sweeps.checkpoints``)
    checkpoints/rung-N/   likewise of those that are left after rung N, the first of which is rung 1
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlp_jax.datasets.dataset import Dataset
from mlp_jax.errors import SweepStopped, instance
from mlp_jax.machine.distributed import from_all, leads, wait_for_all
from mlp_jax.sweeps.blocks import arrange
from mlp_jax.sweeps.checkpoints import Checkpoints
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.halving import Ladder, Rung, judged
from mlp_jax.sweeps.loop import Loop, Piece, Timing
from mlp_jax.sweeps.plan import Plan
from mlp_jax.sweeps.record import Progress, Record
from mlp_jax.sweeps.repacking import Repacker, go_on_from
from mlp_jax.sweeps.running import Running
from mlp_jax.sweeps.sweep import Setup, SweepResult, collected, make_setup, prepare
from mlp_jax.training.recipe import Recipe


@dataclass(frozen=True, repr=False)
class SearchResult(SweepResult):
    """All trials of a search, each as far as it was trained. Arrays are in the order of ``trials``.

    Attributes:
        stopped: ``[trials]``, the epoch of the rung that ended each; 0 for those that were trained to the end. Their
            ``history`` is NaN from there on, and ``final`` is of the model as it was then.
        rungs: what was decided.
    """

    stopped: np.ndarray
    rungs: tuple[Rung, ...]

    @property
    def epochs(self) -> np.ndarray:
        """``[trials]``, how many epochs each was trained."""
        return np.where(self.stopped > 0, self.stopped, self.recipe.epochs)

    @property
    def examples_per_second(self) -> float:
        """Training examples of any trial, each counted once for every trial."""
        examples = np.array([trial.subset or self.examples[0] for trial in self.trials])
        return float(np.sum(examples * self.epochs) / sum(self.timing.epochs))


@dataclass(frozen=True)
class Announced:
    """What is known of a search when a rung begins.

    Attributes:
        rung: number of the rung that training goes on to, from 1; one more than there are, to the last epoch.
        epochs: from which to which.
        trials: that are trained.
        decided: what was decided at the rung before; None at the beginning.
    """

    rung: int
    epochs: tuple[int, int]
    trials: int
    decided: Rung | None


def make_search(
    grid: Grid,
    dataset: Dataset,
    *,
    recipe: Recipe = Recipe(),
    method: str = "halving",
    eta: int = 4,
    first_epochs: int = 1,
    budget: int | None = None,
    search_seed: int = 0,
    **options: Any,
) -> tuple[Setup, Ladder]:
    """What ``search`` with these arguments is to train, and how it decides; ``options`` are ``make_setup``'s.

    Raises:
        InputError: an argument that makes no sense; the message says which and why.
    """
    setup = make_setup(grid, dataset, recipe=recipe, **options)
    ladder = Ladder(
        grid.trials,
        recipe,
        method=method,
        eta=eta,
        first_epochs=first_epochs,
        budget=budget,
        seed=search_seed,
    )
    return replace(setup, search=ladder.search), ladder


def search(
    grid: Grid,
    dataset: Dataset,
    *,
    recipe: Recipe = Recipe(),
    method: str = "halving",
    eta: int = 4,
    first_epochs: int = 1,
    budget: int | None = None,
    search_seed: int = 0,
    layout: str = "auto",
    replicas_at_once: int | None = None,
    use_bias: bool = True,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | None = None,
    memory: int | None = None,
    checkpoints: str | Path | None = None,
    resume: str | Path | None = None,
    checkpoint_every: int | None = None,
    stop: Callable[[], bool] | None = None,
    on_rung: Callable[[Announced], None] | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_epoch: Callable[[Progress], None] | None = None,
) -> SearchResult:
    """Train every trial of a grid for a while, and go on with those whose configuration is among the best.

    A configuration is what trials have in common that differ in their seeds alone; it is judged by its mean validation
    score over the seeds, and kept or ended with all of them (``mlp_jax.sweeps.halving``). Those that go on keep their
    parameters, optimizer state and order of minibatches: they are, up to rounding, what they would be in a sweep of
    themselves.

    Args:
        grid: the trials.
        dataset: what to train on.
        recipe: as for ``sweep``; schedules are those of all of its epochs.
        method: ``halving``, or ``hyperband``, which divides the configurations into brackets that are judged from
            different epochs on.
        eta: one in so many configurations is kept at a rung.
        first_epochs: the first rung; the others are at eta times, eta² times, ... as many epochs.
        budget: epochs of training that all trials may take together; None for twice what sharp cuts take. As long as
            it allows, configurations below a cut stay that cannot be told apart from the last above it.
        search_seed: of what is drawn: Hyperband's brackets.
        layout: this and what follows as for ``sweep``.
        replicas_at_once: likewise.
        use_bias: likewise.
        dtype: likewise.
        devices: likewise.
        memory: likewise.
        checkpoints: likewise.
        resume: likewise, of this very search.
        checkpoint_every: likewise.
        stop: likewise.
        on_rung: told when training goes on to a rung.
        on_plan: as for ``sweep``, at each rung.
        on_epoch: likewise; of trials that were stopped nothing is known.

    Returns:
        Scores, learning curves and models of all trials, each as far as it was trained.

    Raises:
        InputError: an argument that makes no sense; the message says which and why.
        SweepStopped: ``stop`` said so.
        OSError: a checkpoint cannot be written; those before it are intact.
    """
    began = datetime.now(UTC)
    running = Running(replicas_at_once, devices, memory, checkpoints, resume, checkpoint_every, stop, on_plan, on_epoch)
    instance("on_rung", on_rung, Callable | None, "a function, or None")
    setup, ladder = make_search(
        grid,
        dataset,
        recipe=recipe,
        method=method,
        eta=eta,
        first_epochs=first_epochs,
        budget=budget,
        search_seed=search_seed,
        layout=layout,
        use_bias=use_bias,
        dtype=dtype,
    )
    climb = _Climb(setup, dataset, ladder, running, on_rung)
    with jax.disable_jit(False):  # as in ``sweep``
        climb.run()
    return SearchResult(
        **collected(setup, dataset, climb.records),
        plans=tuple(climb.plans),
        timing=_added(climb.timings),
        started=began,
        ended=datetime.now(UTC),
        _pieces=tuple(climb.pieces),
        stopped=ladder.stopped(climb.kept, len(grid.trials)),
        rungs=tuple(climb.rungs),
    )


def _checkpoints(setup: Setup, running: Running, rung: int, trials: Sequence[int]) -> Checkpoints | None:
    """The checkpoints of what is trained up to a rung; None if nothing is saved."""
    if running.place is None:
        return None
    resumed = running.resume is not None
    if rung == 0:
        return Checkpoints(running.place, setup.identity, resume=resumed, every=running.checkpoint_every)
    directory = running.place / f"rung-{rung}"
    begun = resumed and bool(from_all([(directory / "sweep.json").is_file()])[0, 0])
    if not begun and leads():
        shutil.rmtree(directory, ignore_errors=True)  # a process that was killed had made it and written nothing
    wait_for_all(f"rung {rung}")
    identity = setup.identity | {"rung": rung, "trials": list(trials)}
    return Checkpoints(directory, identity, resume=begun, every=running.checkpoint_every)


class _Climb:
    """A search as it runs, and what it leaves: records, pieces, plans and times of every rung, block by block."""

    def __init__(
        self,
        setup: Setup,
        dataset: Dataset,
        ladder: Ladder,
        running: Running,
        on_rung: Callable[[Announced], None] | None,
    ) -> None:
        self._setup, self._dataset, self._ladder = setup, dataset, ladder
        self._running, self._on_rung = running, on_rung
        self.records: list[Record] = []
        self.pieces: list[Piece] = []
        self.plans: list[Plan] = []
        self.timings: list[Timing] = []
        self.rungs: list[Rung] = []
        self.kept: list[np.ndarray] = []  # which configurations went on after each rung
        self._spent = 0  # epochs of training, of all trials

    def run(self) -> None:
        """Climb to the last epoch."""
        setup, ladder, running = self._setup, self._ladder, self._running
        alive, repacker, begun = np.ones(len(ladder.configurations), bool), None, 0
        for rung, epoch in enumerate(ladder.epochs):
            started = time.perf_counter()
            trials, last = ladder.trials(alive), rung == len(ladder.epochs) - 1
            if self._on_rung is not None:
                self._on_rung(Announced(rung + 1, (begun, epoch), len(trials), self.rungs[-1] if rung else None))
            every = setup.recipe.report_every
            stages = prepare(
                setup,
                self._dataset,
                running.replicas_at_once,
                running.devices,
                running.memory,
                arrange(setup.grid.trials, setup.most_rows, trials),
                range(begun // every, epoch // every),
            )
            if repacker is not None:
                stages = tuple(replace(stage, begin=go_on_from(stage, repacker.alone)) for stage in stages)
            stages = tuple(replace(stage, keep_state=not last) for stage in stages)
            saver = _checkpoints(setup, running, rung, trials)
            with saver or contextlib.nullcontext():
                report = None if running.on_epoch is None else self._report(running.on_epoch, trials, epoch - begun)
                loop = Loop(stages, self._dataset, saver, running.stops, running.on_plan, report)
                if rung:
                    curves = collected_curves(self.records)
                    for record in loop.records:
                        record.take_before(curves)
                try:
                    trained = loop.run(started)
                except SweepStopped:
                    raise SweepStopped(running.place) from None
            pieces = loop.pieces(trained)
            self.pieces += pieces
            self.records += loop.records
            self.plans += [stage.plan for stage in stages]
            self.timings.append(loop.timing)
            self._spent += len(trials) * (epoch - begun)
            begun = epoch
            if not last:
                repacker = Repacker(pieces)
                alive, decided = ladder.decide(rung, alive, *self._merit(loop.records), self._spent)
                self.kept.append(alive)
                self.rungs.append(decided)

    def _merit(self, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
        """Of each trial of the grid what a rung looks at, more is better, and whether it has diverged."""
        size = len(self._setup.grid.trials)
        score, loss = (np.full(size, np.nan, self._setup.dtype) for _ in range(2))
        lost = np.zeros(size, bool)
        for record in records:
            latest = record.latest()
            score[record.trials], loss[record.trials] = latest["validation_score"], latest["validation_loss"]
            lost[record.trials] = latest["diverged"]
        return judged(score, loss, lost), lost

    def _report(
        self, on_epoch: Callable[[Progress], None], trials: Sequence[int], epochs: int
    ) -> Callable[[Progress], None]:
        """What to tell of an epoch while these trials are trained for so many: of all trials, and of the search."""
        here, whole = len(trials) * epochs, self._ladder.left(len(self.rungs) + 1)
        total = self._spent + here + whole
        size = len(self._setup.grid.trials)

        def report(progress: Progress) -> None:
            known: dict[str, Any] = {}
            for name in ("loss", "score", "validation_loss", "validation_score", "diverged"):
                reported = getattr(progress, name)
                known[name] = np.zeros(size, bool) if reported.dtype == bool else np.full(size, np.nan, reported.dtype)
                known[name][list(trials)] = reported[list(trials)]
            before, done = ((self._spent + here * share) / total for share in (progress.before, progress.done))
            on_epoch(replace(progress, before=before, done=done, **known))

        return report


def collected_curves(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """By name the curves ``[trials, rounds]`` of all trials of the grid, as far as they are known."""
    trials = 1 + max(int(record.trials.max()) for record in records)
    rounds = max(record.rounds for record in records)
    found = {}
    for name, example in records[0].curves.items():
        found[name] = np.zeros((trials, rounds), example.dtype)
        for record in records:
            found[name][record.trials, : record.rounds] = record.curves[name]
    return found


def _added(timings: Sequence[Timing]) -> Timing:
    """Where the time of several loops went."""
    sums = {name: sum(getattr(each, name) for each in timings) for name in ("prepare", "compile", "evaluate", "saving")}
    return Timing(**sums, chunks=tuple(chunk for each in timings for chunk in each.chunks))
