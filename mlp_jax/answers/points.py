"""Points of the grid over their seeds: means, deviations, intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlp_jax.answers.contests import contests
from mlp_jax.answers.rows import POINT, OfSetting, groups
from mlp_jax.answers.variation import UNKNOWN, Estimate, Interval, estimate, prior
from mlp_jax.runs.tables import SCORES, Criterion, Table, criterion, variant_axes
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes


@dataclass(frozen=True)
class Summary(OfSetting):
    """One point of the grid over its seeds; trials that diverged are left out and counted.

    Attributes:
        hidden_units, variant, learning_rate: the point.
        axes: the values that the variant stands for, by column.
        parameters: number of parameters of a trial.
        seeds: number of trials that the statistics are based on.
        diverged: number of trials that were left out.
        mean: by column of ``SCORES``; NaN if every trial diverged, or a score cannot be computed.
        deviation: standard deviation over seeds (n − 1), by column of ``SCORES``; NaN for fewer than two trials.
        merit: mean of the measure of choice, ``mlp_jax.runs.tables.criterion``; higher is better.
        interval: of the mean in the measure of choice, for validation and test: over seeds and examples; over examples
            alone for one seed; over seeds alone if results by example are not known.
    """

    hidden_units: int
    variant: str
    learning_rate: float
    axes: dict[str, Any]
    parameters: int
    seeds: int
    diverged: int
    mean: dict[str, float]
    deviation: dict[str, float]
    merit: float
    interval: dict[str, Interval]

    @property
    def record(self) -> dict[str, Any]:
        """The point as plain data, each axis by its name."""
        values = asdict(self)
        axes = values.pop("axes")
        return {"hidden_units": values.pop("hidden_units"), "variant": values.pop("variant"), **axes, **values}


def summarize(trials: Table, outcomes: Outcomes | None = None) -> list[Summary]:
    """Means, standard deviations over seeds and intervals, one summary per point, in the table's order.

    Args:
        trials: table with one row per trial.
        outcomes: results by example; None if they are not known.
    """
    by = criterion(trials)
    intervals = {split: _point_intervals(trials, by, split, outcomes) for split in SPLITS}
    names, rows = variant_axes(trials), []
    for (width, variant, rate), here in groups(trials, *POINT).items():
        good = here[trials["diverged"][here] == 0]
        count = len(good)
        rows.append(
            Summary(
                hidden_units=width,
                variant=variant,
                learning_rate=rate,
                axes={name: trials[name][here[0]].item() for name in names},
                parameters=int(trials["parameters"][here[0]]),
                seeds=count,
                diverged=len(here) - count,
                mean={c: float(trials[c][good].mean(dtype=float)) if count else np.nan for c in SCORES},
                deviation={c: float(trials[c][good].std(ddof=1, dtype=float)) if count > 1 else np.nan for c in SCORES},
                merit=float(by.merit(trials[by.column][good]).mean(dtype=float)) if count else np.nan,
                interval={split: intervals[split].get((width, variant, rate), UNKNOWN) for split in SPLITS},
            )
        )
    return rows


def _point_intervals(
    trials: Table, by: Criterion, split: str, outcomes: Outcomes | None
) -> dict[tuple[Any, ...], Interval]:
    """Intervals of each point's mean, by setting, whose widths inform each other about the variance over seeds."""
    found: dict[tuple[Any, ...], Interval] = {}
    for setting, contest in contests(trials, split, outcomes).items():
        widths = contest.alternatives
        spreads = {width: contest.spread(width) for width in widths}
        known = prior(list(spreads.values()), len(widths) + 1)
        for width, each in spreads.items():
            sure = estimate(each, known, one_seed=True)
            if by.measure == "loss":
                sure = Estimate(-sure.mean, sure.standard_error, sure.degrees)
            proportion = each.examples and outcomes is not None and not outcomes.graded
            found[(width, *setting)] = sure.proportion(each.examples) if proportion else sure.interval()
    return found


def by_setting(summaries: Iterable[Summary]) -> dict[tuple[str, float], list[Summary]]:
    """The points by variant and learning rate, each list a curve over M."""
    settings: dict[tuple[str, float], list[Summary]] = {}
    for row in summaries:
        settings.setdefault(row.setting, []).append(row)
    return settings


def best_point(summaries: Sequence[Summary]) -> Summary | None:
    """The point with the best mean on validation; None if every trial diverged."""
    return max((row for row in summaries if row.seeds), key=lambda row: row.merit, default=None)
