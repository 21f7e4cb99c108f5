"""What a sweep has recorded so far: learning curves, final scores, results by example."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlp_jax.datasets.dataset import Dataset
from mlp_jax.sweeps.blocks import Block
from mlp_jax.sweeps.outcomes import SPLITS, packed
from mlp_jax.sweeps.program import EpochMeans, Program
from mlp_jax.tasks import LOSSES, get_task
from mlp_jax.training.epoch import Means, Scored

HOPELESS = 1000.0
"""A trial has diverged if its final training loss is this many times that of a model whose logits are all 0."""

CURVES = ("train_loss", "train_hit", "validation_loss", "validation_hit")
KEPT_CURVES = (*CURVES, "finite")
"""What is kept of each round of each trial."""
_FINAL = tuple(f"{split}_{mean}" for split in ("train", "validation", "test") for mean in ("loss", "hit"))
_HITS = {split: f"hits/{split}" for split in SPLITS}
"""By split: the name under which results by example are stored for finished replicas."""


@dataclass(frozen=True)
class Progress:
    """The state of a sweep after an epoch; arrays are in the order of ``Grid.trials``.

    Attributes:
        epoch: number of the epoch, from 1.
        epochs: total number of epochs.
        chunk: number of the chunk of replicas in training, from 1.
        chunks: total number of chunks.
        before: share of the work that was done before this process started, 0 to 1.
        done: share of the work that is done, 0 to 1.
        loss, score, validation_loss, validation_score: ``[trials]``, the latest values; NaN where there is none yet.
        diverged: ``[trials]``, whether a trial has diverged, as far as is known.
    """

    epoch: int
    epochs: int
    chunk: int
    chunks: int
    before: float
    done: float
    loss: np.ndarray
    score: np.ndarray
    validation_loss: np.ndarray
    validation_score: np.ndarray
    diverged: np.ndarray


class Record:
    """The results of a block's trials, as devices report them: by replica and slot ``[R, T, ...]``."""

    def __init__(self, block: Block, program: Program, dataset: Dataset, rounds: range) -> None:
        """Nothing is known yet of these rounds, numbered from the first of all training, nor of those before them."""
        self._task = get_task(dataset.task)
        self._targets = {split: each.targets for split, each in dataset.splits.items()}
        guess = {loss: self._task.guess_loss(dataset.train.targets, loss) for loss in LOSSES}
        self._hopeless = np.array([HOPELESS * guess[slot.objective] or np.inf for slot in program.slots])
        self.trials = np.array(block.places)[:, list(program.layout.order)]
        """Number in the grid of each trial."""
        shape, self.rounds, self._since = self.trials.shape, rounds.stop, rounds.start
        self.curves = {key: np.full((*shape, self.rounds), np.nan, program.dtype) for key in CURVES}
        self.curves["finite"] = np.ones((*shape, self.rounds), bool)
        self.final = {key: np.full(shape, np.nan, program.dtype) for key in _FINAL}
        kind = np.float32 if self._task.graded else np.bool_
        empty = {split: packed(np.zeros((1, 1, len(dataset.splits[split])), kind)) for split in SPLITS}
        self.hits = {split: np.zeros((*shape, each.shape[-1]), each.dtype) for split, each in empty.items()}
        self._known = np.full(shape[0], self._since)  # rounds of each replica

    def note_round(self, chunk: range, number: int, trained: EpochMeans, validation: Means) -> None:
        """Add the report of a round of a chunk of replicas; arrays may have further rows."""
        noted = {
            "train_loss": trained.train.loss,
            "train_hit": trained.train.hit,
            "validation_loss": validation.loss,
            "validation_hit": validation.hit,
            "finite": trained.finite & np.isfinite(trained.train.loss) & np.isfinite(validation.loss),
        }
        for key, values in noted.items():
            self.curves[key][chunk.start : chunk.stop, :, number] = values[: len(chunk)]
        self._known[chunk.start : chunk.stop] = number + 1

    def note_final(self, chunk: range, split: str, scored: Scored) -> None:
        """Add the scores of finished models on a split."""
        self.final[f"{split}_loss"][chunk.start : chunk.stop] = scored.means.loss[: len(chunk)]
        self.final[f"{split}_hit"][chunk.start : chunk.stop] = scored.means.hit[: len(chunk)]
        if split in self.hits:
            hits = np.asarray(scored.hits)[: len(chunk), :, : len(self._targets[split])]
            self.hits[split][chunk.start : chunk.stop] = packed(hits)

    def forget(self, chunk: range) -> None:
        """Discard the results of a partly trained chunk."""
        for key, values in self.curves.items():
            values[chunk.start : chunk.stop, :, self._since :] = True if key == "finite" else np.nan
        self._known[chunk.start : chunk.stop] = self._since

    def arrays(self, chunk: range) -> dict[str, np.ndarray]:
        """Everything about finished replicas, by name."""
        span = slice(chunk.start, chunk.stop)
        return {
            **{f"history/{key}": values[span] for key, values in self.curves.items()},
            **{f"final/{key}": values[span] for key, values in self.final.items()},
            **{name: self.hits[split][span] for split, name in _HITS.items()},
        }

    def take(self, chunk: range, arrays: Mapping[str, np.ndarray]) -> bool:
        """The reverse of ``arrays``; returns whether all was there, which in files of earlier versions it is not."""
        if not arrays.keys() >= set(_HITS.values()):
            return False
        span = slice(chunk.start, chunk.stop)
        for key in self.curves:
            self.curves[key][span] = arrays[f"history/{key}"]
        for key in self.final:
            self.final[key][span] = arrays[f"final/{key}"]
        for split, name in _HITS.items():
            self.hits[split][span] = arrays[name]
        self._known[span] = self.rounds
        return True

    def history(self, chunk: range, rounds: int) -> dict[str, np.ndarray]:
        """The curves of a chunk in training so far, from the first of this record's rounds on."""
        return {key: values[chunk.start : chunk.stop, :, self._since : rounds] for key, values in self.curves.items()}

    def take_history(self, chunk: range, rounds: int, history: Mapping[str, np.ndarray]) -> None:
        """The reverse of ``history``."""
        for key, values in history.items():
            self.curves[key][chunk.start : chunk.stop, :, self._since : rounds] = values
        self._known[chunk.start : chunk.stop] = rounds

    def take_before(self, curves: Mapping[str, np.ndarray]) -> None:
        """Add the curves ``[trials, rounds]`` of all trials of the grid before this record's rounds."""
        for key, values in curves.items():
            self.curves[key][:, :, : self._since] = values[self.trials, : self._since]

    def take_curves(self, curves: Callable[[int], Mapping[str, np.ndarray]]) -> None:
        """The same, from the curves ``[rounds]`` of each trial by its number in the grid."""
        for where, place in np.ndenumerate(self.trials):
            for key, values in curves(int(place)).items():
                self.curves[key][where][: self._since] = values

    def latest(self) -> dict[str, np.ndarray]:
        """The latest loss and score of each trial, and whether it has diverged as far as is known."""
        last = np.maximum(self._known - 1, 0)[:, None, None]
        now = {key: np.take_along_axis(values, last, axis=2)[..., 0] for key, values in self.curves.items()}
        scored = self._scored(now)
        lost = ~self.curves["finite"].all(axis=2) | (scored["loss"] > self._hopeless)
        return {**scored, "diverged": lost}

    def results(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """History ``[R, T, rounds]``, final scores and the round of divergence (0 for none) ``[R, T]``."""
        history, final = self._scored(self.curves), {}
        for split, targets in self._targets.items():
            final[f"{split}_loss"] = self.final[f"{split}_loss"]
            final[f"{split}_score"] = self._task.score(self.final[f"{split}_hit"], targets)
        lost = ~self.curves["finite"]
        first_lost = np.where(lost.any(axis=2), lost.argmax(axis=2) + 1, 0)
        bearable = np.flip(history["loss"] <= self._hopeless[:, None], axis=2)
        since = self.rounds - np.where(bearable.any(axis=2), bearable.argmax(axis=2), self.rounds) + 1
        return history, final, np.where((first_lost == 0) & (since <= self.rounds), since, first_lost)

    def _scored(self, means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            "loss": means["train_loss"],
            "score": self._task.score(means["train_hit"], self._targets["train"]),
            "validation_loss": means["validation_loss"],
            "validation_score": self._task.score(means["validation_hit"], self._targets["validation"]),
        }


def gathered(records: Sequence[Record], arrays: Sequence[np.ndarray], fill: float = np.nan) -> np.ndarray:
    """Arrays ``[R, T, ...]`` of each record as one in the order of the grid's trials, ``[trials, ...]``.

    Where last axes differ in length, the shorter ones are padded with ``fill``. Of several records of one trial, the
    last counts.
    """
    trials = 1 + max(int(record.trials.max()) for record in records)
    longest = max(each.shape[2:] for each in arrays)
    whole = np.full((trials, *longest), fill, arrays[0].dtype)
    for record, each in zip(records, arrays, strict=True):
        beyond = [(0, most - size) for most, size in zip(longest, each.shape[2:], strict=True)]
        flat = np.pad(each.reshape(-1, *each.shape[2:]), [(0, 0), *beyond], constant_values=fill)
        whole[record.trials.ravel()] = flat
    return whole
