"""How every trial does on every example of the validation and test splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num, UInt8

from mlp_jax.datasets.dataset import Dataset
from mlp_jax.tasks import get_task, variance_of

SPLITS = ("validation", "test")


def packed(hits: Num[np.ndarray, "*many N"]) -> np.ndarray:
    """Hits as they are stored: booleans as bits, ``[..., ⌈N / 8⌉]`` (np.packbits); others unchanged."""
    return np.packbits(hits, axis=-1) if hits.dtype == bool else hits.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Outcomes:
    """Whether each trial, and the trivial guess, is right on each example; for regression, squared errors.

    The trivial guess is always the commonest class of the training split, or its mean. Dicts have one
    key per split, ``validation`` and ``test``, of N examples.

    Attributes:
        sizes: N of each split.
        hits: for every trial bits ``[trials, ⌈N / 8⌉]``, uint8, as np.packbits makes them, 1 for right; or squared
            errors ``[trials, N]``, float32, means over outputs.
        guess: the same for the trivial guess, ``[⌈N / 8⌉]`` or ``[N]``.
        variance: variance of the targets, by which R² divides squared errors; 0 if they do not vary, NaN for classes.

    For runs of earlier versions the last three are empty, and ``sizes`` as well, unless the score is an accuracy.
    """

    sizes: dict[str, int]
    hits: dict[str, np.ndarray]
    guess: dict[str, np.ndarray]
    variance: dict[str, float]

    @classmethod
    def of(cls, dataset: Dataset, hits: Mapping[str, np.ndarray]) -> "Outcomes":
        """Outcomes on a data set's splits, from the hits of every trial, ``packed``."""
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
        """Whether results are known example by example."""
        return bool(self.hits)

    @property
    def graded(self) -> bool:
        """Whether hits are squared errors."""
        return self.known and self.hits["test"].dtype != np.uint8

    def merit(self, split: str, trials: Sequence[int], measure: str = "score") -> Float[np.ndarray, "trials N"]:
        """Each example's contribution to a measure of trials, higher for better: means differ as the measure does.

        Args:
            split: name of the split.
            trials: their numbers.
            measure: ``score``: 1 for right and 0 for wrong, or minus the squared error as a part of the variance of the
                split's targets (NaN where they do not vary); ``loss``: minus the squared error.
        """
        return self._merit(split, self.hits[split][list(trials)], measure)

    def guess_merit(self, split: str, measure: str = "score") -> Float[np.ndarray, "1 N"]:
        """The same for the trivial guess."""
        return self._merit(split, self.guess[split][None], measure)

    def _merit(self, split: str, hits: np.ndarray, measure: str) -> Float[np.ndarray, "trials N"]:
        if hits.dtype == np.uint8:
            return unpacked(hits, self.sizes[split]).astype(np.float64)
        return -hits.astype(np.float64) / (1.0 if measure == "loss" else self.variance[split] or np.nan)

    def mean_hits(self, split: str) -> Float[np.ndarray, "trials"]:
        """Mean of each trial's hits: accuracy, or mean squared error."""
        hits = self.hits[split]
        if hits.dtype == np.uint8:
            return np.bitwise_count(hits).sum(axis=1, dtype=float) / self.sizes[split]
        return hits.mean(axis=1, dtype=float)


def unpacked(bits: UInt8[np.ndarray, "*many bytes"], count: int) -> np.ndarray:
    """The reverse of ``packed`` for booleans: ``[..., N]`` of 0 and 1."""
    return np.unpackbits(bits, axis=-1, count=count)
