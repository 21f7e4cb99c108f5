"""What every trial makes of every example of the validation and the test split, which none was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num, UInt8

from mlp_jax.datasets.dataset import Dataset
from mlp_jax.tasks import get_task, variance_of

SPLITS = ("validation", "test")


def packed(hits: Num[np.ndarray, "*many N"]) -> np.ndarray:
    """Hits as they are kept: of truth values the bits, ``[..., ⌈N / 8⌉]`` (np.packbits); others as they are."""
    return np.packbits(hits, axis=-1) if hits.dtype == bool else hits.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Outcomes:
    """Whether each trial, and the trivial guess, is right about each example; for regression, the squared errors.

    The trivial guess is always the commonest class of the training split, or its mean. Dicts have a key a split,
    ``validation`` and ``test``, of N examples.

    Attributes:
        sizes: N.
        hits: of every trial: bits ``[trials, ⌈N / 8⌉]``, uint8, as np.packbits leaves them, 1 for right; or squared
            errors ``[trials, N]``, float32, means over outputs.
        guess: of the trivial guess: the same, ``[⌈N / 8⌉]`` or ``[N]``.
        variance: of the targets, which R² divides squared errors by; 0 where they do not vary, and NaN for classes.

    Of a run of an earlier version the last three are empty, and ``sizes`` too, unless the score is an accuracy.
    """

    sizes: dict[str, int]
    hits: dict[str, np.ndarray]
    guess: dict[str, np.ndarray]
    variance: dict[str, float]

    @classmethod
    def of(cls, dataset: Dataset, hits: Mapping[str, np.ndarray]) -> "Outcomes":
        """Those of a data set's splits, from the hits of every trial, ``packed``."""
        task, train = get_task(dataset.task), dataset.train.targets
        targets = {split: dataset.splits[split].targets for split in SPLITS}
        return cls(
            sizes={split: len(values) for split, values in targets.items()},
            hits=dict(hits),
            guess={split: packed(task.guess_hits(train, values)) for split, values in targets.items()},
            variance={split: variance_of(values) if task.graded else np.nan for split, values in targets.items()},
        )

    @property
    def known(self) -> bool:
        """Whether it is known what each example makes."""
        return bool(self.hits)

    @property
    def graded(self) -> bool:
        """Whether hits are squared errors."""
        return self.known and self.hits["test"].dtype != np.uint8

    def merit(self, split: str, trials: Sequence[int], measure: str = "score") -> Float[np.ndarray, "trials N"]:
        """What each example adds to a measure of these trials, more for better: its means differ as the measure does.

        Args:
            split: of the examples.
            trials: their numbers.
            measure: ``score``: 1 for right and 0 for wrong, or minus the squared error as a part of the variance of the
                split's targets (NaN where they do not vary); ``loss``: minus the squared error.
        """
        return self._merit(split, self.hits[split][list(trials)], measure)

    def guess_merit(self, split: str, measure: str = "score") -> Float[np.ndarray, "1 N"]:
        """The same of the trivial guess."""
        return self._merit(split, self.guess[split][None], measure)

    def _merit(self, split: str, hits: np.ndarray, measure: str) -> Float[np.ndarray, "trials N"]:
        if hits.dtype == np.uint8:
            return unpacked(hits, self.sizes[split]).astype(np.float64)
        return -hits.astype(np.float64) / (1.0 if measure == "loss" else self.variance[split] or np.nan)

    def mean_hits(self, split: str) -> Float[np.ndarray, "trials"]:
        """Mean of each trial's hits: its accuracy, or its mean squared error."""
        hits = self.hits[split]
        if hits.dtype == np.uint8:
            return np.bitwise_count(hits).sum(axis=1, dtype=float) / self.sizes[split]
        return hits.mean(axis=1, dtype=float)


def unpacked(bits: UInt8[np.ndarray, "*many bytes"], count: int) -> np.ndarray:
    """The reverse of ``packed`` for truth values: ``[..., N]`` of 0 and 1."""
    return np.unpackbits(bits, axis=-1, count=count)
