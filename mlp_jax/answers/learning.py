"""When each trial was at its best, and whether training stopped too early."""

import math
from dataclasses import dataclass

import numpy as np

from mlp_jax.answers.rows import SETTING, OfSetting, groups
from mlp_jax.runs.tables import Table, criterion

STILL_LEARNING = 0.05
"""Share of the total fall of the validation loss; a greater share in the last quarter means still learning.

Greatest share of any width, default grid, 5 seeds: MNIST 0.015 after 20 epochs, 0.036 after 10, 0.12 after 5; digits,
breast cancer, diabetes 0.25, 0.21, 0.23 after 20, and 0.022, 0.014, 0.007 after 500. A steady fall gives 0.25.
"""


def best_epochs(history: Table) -> dict[int, int]:
    """The best epoch (from 1) by ``criterion``, the first of equals, by number of the trial.

    Trials that diverged are left out, and so is every trial without validation scores.
    """
    diverged = set(history["trial"][history["diverged"] > 0].tolist())
    by = criterion(history)
    best: dict[int, tuple[float, int]] = {}
    columns = (history["trial"], history["epoch"], by.merit(history[by.column]))
    for trial, epoch, score in zip(*(column.tolist() for column in columns), strict=True):
        if trial not in diverged and np.isfinite(score) and (trial not in best or score > best[trial][0]):
            best[trial] = (score, epoch)
    return {trial: epoch for trial, (_, epoch) in best.items()}


@dataclass(frozen=True)
class LateLearning(OfSetting):
    """How much of its learning a width did at the end of training.

    Attributes:
        variant, learning_rate, hidden_units: the point; the mean over the trials that did not diverge.
        share: what the last quarter of the epochs (rounded up) took off the validation loss, as a share of what all of
            training did: from the start (the first epoch's mean training loss, or its validation loss if greater) to
            the least. 0 or less if the loss no longer fell; 1 after a single epoch, which has nothing before it.
    """

    variant: str
    learning_rate: float
    hidden_units: int
    share: float

    @property
    def still_learning(self) -> bool:
        """Whether more epochs would likely lower the validation loss further, by ``STILL_LEARNING``."""
        return self.share > STILL_LEARNING


def late_learning(history: Table) -> list[LateLearning]:
    """How much each width learned at the end; widths without validation loss are left out.

    Args:
        history: table with one row per trial and epoch.
    """
    diverged = history["trial"][history["diverged"] > 0]
    known = ~np.isin(history["trial"], diverged) & np.isfinite(history["validation_loss"])
    kept = {name: values[known] for name, values in history.items()}
    found = []
    for (variant, rate, width), here in groups(kept, *SETTING, "hidden_units").items():
        epoch = kept["epoch"][here]
        loss = np.array([kept["validation_loss"][here][epoch == e].mean(dtype=float) for e in np.unique(epoch)])
        start = max(float(kept["loss"][here][epoch == epoch.min()].mean(dtype=float)), loss[0])
        before = np.concatenate([[start], loss])[-1 - math.ceil(len(loss) / 4)]
        whole = start - loss.min()
        found.append(LateLearning(variant, rate, width, float((before - loss[-1]) / whole) if whole > 0 else 0.0))
    return found
