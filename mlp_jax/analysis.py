"""What results say."""

from dataclasses import dataclass

import numpy as np

from mlp_jax.results import SCORES, Table


@dataclass(frozen=True)
class Summary:
    """One point of the grid over its seeds; trials that diverged are left out and counted.

    Attributes:
        hidden_units, activation, learning_rate: the point.
        parameters: of a trial.
        seeds: how many trials the figures rest on.
        diverged: how many were left out.
        mean: by column of ``SCORES``; NaN if every trial diverged.
        deviation: standard deviation (n − 1), by column of ``SCORES``; NaN for fewer than two trials.
    """

    hidden_units: int
    activation: str
    learning_rate: float
    parameters: int
    seeds: int
    diverged: int
    mean: dict[str, float]
    deviation: dict[str, float]

    @property
    def standard_error(self) -> float:
        """Of the mean validation score."""
        return self.deviation["validation_score"] / np.sqrt(self.seeds) if self.seeds else np.nan


def summarize(trials: Table) -> list[Summary]:
    """Mean and standard deviation over seeds, a row for each point in the table's order."""
    columns = (trials[key].tolist() for key in ("hidden_units", "activation", "learning_rate"))
    points = list(zip(*columns, strict=True))
    rows = []
    for point in dict.fromkeys(points):
        here = np.array([p == point for p in points])
        good = here & (trials["diverged"] == 0)
        count = int(good.sum())
        rows.append(
            Summary(
                hidden_units=point[0],
                activation=point[1],
                learning_rate=point[2],
                parameters=int(trials["parameters"][here][0]),
                seeds=count,
                diverged=int(here.sum()) - count,
                mean={c: float(trials[c][good].mean(dtype=float)) if count else np.nan for c in SCORES},
                deviation={c: float(trials[c][good].std(ddof=1, dtype=float)) if count > 1 else np.nan for c in SCORES},
            )
        )
    return rows


def saturation(summaries: list[Summary]) -> Summary | None:
    """Where more hidden units stop helping: the smallest M within one standard error of the best, on validation.

    Args:
        summaries: points that differ in M alone.

    Returns:
        The point; None with fewer than two seeds at the best one, where there is no standard error.
    """
    usable = [row for row in summaries if row.seeds]
    if not usable:
        return None
    best = max(usable, key=lambda row: row.mean["validation_score"])
    if np.isnan(best.standard_error):
        return None
    bar = best.mean["validation_score"] - best.standard_error
    return min((row for row in usable if row.mean["validation_score"] >= bar), key=lambda row: row.hidden_units)


def by_setting(summaries: list[Summary]) -> dict[tuple[str, float], list[Summary]]:
    """The points by (activation, learning rate), each list a curve over M."""
    settings: dict[tuple[str, float], list[Summary]] = {}
    for row in summaries:
        settings.setdefault((row.activation, row.learning_rate), []).append(row)
    return settings
