"""The configurations of a search in the order of what they came to, and what was decided at its rungs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlp_jax.answers.points import Summary, summarize
from mlp_jax.answers.rows import POINT, groups
from mlp_jax.answers.scores import score_text
from mlp_jax.runs.tables import STOPPED, Table, criterion, layers_text, to_the_end, widths_at
from mlp_jax.sweeps.plan import counted


@dataclass(frozen=True)
class Ranked:
    """A configuration of a search.

    Attributes:
        point: what it is, and its means over seeds when it ended.
        hidden_layers: its widths, for people.
        epochs: that it was trained.
        stopped: whether a rung ended it.
    """

    point: Summary
    hidden_layers: str
    epochs: int
    stopped: bool

    @property
    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **self.point.record,
            "hidden_layers": self.hidden_layers,
            "epochs": self.epochs,
            "stopped": self.stopped,
        }


@dataclass(frozen=True)
class Round:
    """What was decided at a rung: how many configurations went on, and how many were stopped."""

    epoch: int
    trained: int
    stopped: int


def ranking(trials: Table, epochs: int) -> list[Ranked]:
    """The configurations, best first: those trained to the end, then those of each rung, the last rung first.

    Args:
        trials: one row a trial, of a search.
        epochs: that the survivors were trained.
    """
    found = []
    points = groups(trials, *POINT)
    for summary, here in zip(summarize(trials), points.values(), strict=True):
        reached = int(trials[STOPPED][here[0]])
        layers = layers_text(widths_at(trials, int(here[0])))
        found.append(Ranked(summary, layers, reached or epochs, reached > 0))

    def place(one: Ranked) -> tuple[int, bool, float]:
        merit = one.point.merit
        return -one.epochs, np.isnan(merit) or one.point.diverged > 0, -merit

    return sorted(found, key=place)


def rounds(trials: Table) -> list[Round]:
    """What each rung decided, in their order; a rung that ended nothing is not known of."""
    left, found = ranking_size(trials), []
    for epoch in sorted(set(trials[STOPPED].tolist()) - {0}):
        stopped = ranking_size({name: values[trials[STOPPED] == epoch] for name, values in trials.items()})
        found.append(Round(epoch, left, stopped))
        left -= stopped
    return found


def ranking_size(trials: Table) -> int:
    """How many configurations there are among these rows."""
    return len(groups(trials, *POINT))


def search_answer(ranked: list[Ranked], trials: Table, config: Mapping[str, Any]) -> str:
    """In a sentence, what a search found."""
    best = ranked[0]
    if not best.point.seeds or np.isnan(best.point.merit):
        return "No configuration is left: every trial that was trained to the end diverged."
    by = criterion(to_the_end(trials))
    name = config["score_name"] if by.measure == "score" else "loss"
    spread = best.point.deviation[by.column]
    told = score_text(best.point.mean[by.column], name)
    sure = f" ± {score_text(spread, name)}" if np.isfinite(spread) else ""
    spent = int(np.sum(np.where(trials[STOPPED] > 0, trials[STOPPED], config["epochs"])))
    whole = len(trials["trial"]) * config["epochs"]
    what = f"M = {best.hidden_layers}, {best.point.variant}, learning rate {best.point.learning_rate:g}"
    over = f"over {counted(best.point.seeds, 'seed')} after {counted(best.epochs, 'epoch')}"
    return (
        f"Best of {counted(len(ranked), 'configuration')}: {what}: validation {name} {told}{sure} {over}. "
        f"{sum(not each.stopped for each in ranked)} were trained to the end; all took {100 * spent / whole:.0f} % "
        "of the epochs of a whole sweep. Configurations that were stopped were compared at the rung that stopped them "
        "alone."
    )


def search_record(ranked: list[Ranked], trials: Table, config: Mapping[str, Any]) -> dict[str, Any]:
    """The same as data, for scripts."""
    return {
        "settings": config["search"],
        "answer": search_answer(ranked, trials, config),
        "rungs": [asdict(each) for each in rounds(trials)],
        "ranking": [each.record for each in ranked],
    }
