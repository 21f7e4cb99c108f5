"""When training stops, and at which rate it goes on: scikit-learn's rules, for many trainings at once."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

LEAST_RATE = 1e-6
"""The adaptive learning rate at which training stops instead of going on at a fifth of it."""


@dataclass
class Course:
    """Where trainings stand; every array has one number per training.

    Attributes:
        initial: learning rates to begin with.
        tol: how far the loss has to fall, or the validation score to rise, to count as an improvement.
        patience: training stops, or the rate falls, after more epochs in a row than that without improvement.
        power: the learning rate falls with this power of the number of examples seen; 0 for constant.
        adaptive: whether the rate falls to a fifth, instead of training stopping at once.
        epochs: at most so many.
        best: least loss so far, or greatest validation score.
        idle: epochs in a row without improvement.
        rate: the present learning rate.
        trained: number of epochs.
        stopped: whether training has stopped for want of improvement.
        diverged: whether the loss is not finite any more.
    """

    initial: Float[np.ndarray, "*shape"]
    tol: Float[np.ndarray, "*shape"]
    patience: Float[np.ndarray, "*shape"]
    power: Float[np.ndarray, "*shape"]
    adaptive: Bool[np.ndarray, "*shape"]
    epochs: Int[np.ndarray, "*shape"]
    best: Float[np.ndarray, "*shape"]
    idle: Int[np.ndarray, "*shape"]
    rate: Float[np.ndarray, "*shape"]
    trained: Int[np.ndarray, "*shape"] = field(init=False)
    stopped: Bool[np.ndarray, "*shape"] = field(init=False)
    diverged: Bool[np.ndarray, "*shape"] = field(init=False)

    def __post_init__(self) -> None:
        self.trained = np.zeros(self.initial.shape, int)
        self.stopped = np.zeros(self.initial.shape, bool)
        self.diverged = np.zeros(self.initial.shape, bool)

    @property
    def running(self) -> Bool[np.ndarray, "*shape"]:
        """Which trainings go on."""
        return ~self.stopped & ~self.diverged & (self.trained < self.epochs)

    def after_epoch(
        self,
        losses: Float[np.ndarray, "*shape"],
        scores: Float[np.ndarray, "*shape"] | None,
        seen: Int[np.ndarray, "*shape"] | int,
    ) -> Bool[np.ndarray, "*shape"]:
        """Note how an epoch went, and return for which trainings it was the best one so far.

        Args:
            losses: of the epoch.
            scores: on validation examples after it, which then decide; None if losses do.
            seen: number of examples that a training has seen.
        """
        running = self.running
        if scores is None:
            idle, better = losses > self.best - self.tol, losses < self.best
            self.best = np.where(running & better, losses, self.best)
        else:
            idle, better = scores < self.best + self.tol, scores > self.best
            self.best = np.where(running & better, scores, self.best)
        self.idle = np.where(running, np.where(idle, self.idle + 1, 0), self.idle)
        self.trained = self.trained + running
        self.diverged = self.diverged | (running & ~np.isfinite(losses))
        falling = running & (self.power > 0)
        self.rate = np.where(falling, self.initial / (np.asarray(seen) + 1.0) ** self.power, self.rate)
        out = running & (self.idle > self.patience)
        lowered = out & self.adaptive & (self.rate > LEAST_RATE)
        self.rate = np.where(lowered, self.rate / 5, self.rate)
        self.idle = np.where(lowered, 0, self.idle)
        self.stopped = self.stopped | (out & ~lowered)
        better_now: Bool[np.ndarray, "*shape"] = running & better
        return better_now
