"""When there are seeds enough: looks at the results of a run that grows, and which widths need more.

A width is settled when it is excluded, being worse than another by more than luck; the answer, when the smallest width
that is enough by the one-standard-error rule is also the smallest that cannot be excluded. Whoever looks at results
again and again, and stops when they please, is misled more often than a single look would mislead (Armitage, McPherson
and Rowe 1969). So all looks are planned before the first, few of them, as seeds double from one to the next; and every
interval holds for all pairs of widths at all looks together (Bonferroni: an even spending of the error, Lan and DeMets
1983), whether or not the later looks take place. That is on the safe side, as looks share their seeds. Intervals of
means, which no decision rests on, are not corrected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlp_jax.answers.verdicts import Verdict, verdicts
from mlp_jax.runs.tables import Table
from mlp_jax.sweeps.outcomes import Outcomes


def looks_until(first: int, most: int) -> tuple[int, ...]:
    """Seeds at each look: twice as many as at the one before, at least two of them, and at most so many."""
    seeds = [min(max(first, 2), most)]
    while seeds[-1] < most:
        seeds.append(min(2 * seeds[-1], most))
    return tuple(seeds)


def looks_of(config: Mapping[str, Any]) -> int:
    """At how many looks a run could have ended."""
    return len(config.get("looks", [1]))


@dataclass(frozen=True)
class Undecided:
    """What is not settled of a run.

    Attributes:
        widths: those whose order is not settled, of any setting; none if everything is decided.
        rows: of the table of trials, one for each point that needs more seeds.
        seeds: how many these are to have next; None if they have as many as may be.
        counts: by width, how many seeds it has now, the most of any setting.
    """

    widths: tuple[int, ...]
    rows: tuple[int, ...]
    seeds: int | None
    counts: dict[int, int]

    def __str__(self) -> str:
        each = ", ".join(f"{width}: {count}" for width, count in self.counts.items())
        has = f"Seeds by width: {each}."
        if not self.widths:
            return f"Decided. {has}"
        listed = ", ".join(map(str, self.widths))
        if self.seeds is None:
            return f"Not decided with as many seeds as were allowed: M = {listed}. {has}"
        return f"Not decided yet: M = {listed} get {self.seeds} seeds each. {has}"


def undecided(trials: Table, history: Table, outcomes: Outcomes | None, looks: Sequence[int]) -> Undecided:
    """Which widths of which settings need more seeds.

    Args:
        trials: one row a trial.
        history: one row a trial and epoch.
        outcomes: what each trial makes of each example; None if that is not known.
        looks: seeds at each look, as planned.
    """
    open_points = {
        (*verdict.setting, width)
        for verdict in verdicts(trials, history, outcomes, len(looks))
        for width in unsettled(verdict)
    }
    points: dict[tuple[Any, ...], int] = {}
    counts: dict[tuple[Any, ...], int] = {}
    columns = (trials[name].tolist() for name in ("variant", "learning_rate", "hidden_units"))
    for row, point in enumerate(zip(*columns, strict=True)):
        points.setdefault(point, row)
        counts[point] = counts.get(point, 0) + 1
    by_width: dict[int, int] = {}
    for (*_, width), count in counts.items():
        by_width[width] = max(count, by_width.get(width, 0))
    look = max(counts.values())  # who comes late joins the others: each look takes place once
    return Undecided(
        tuple(sorted({width for *_, width in open_points})),
        tuple(points[point] for point in sorted(open_points)),
        next((seeds for seeds in looks if seeds > look), None),
        dict(sorted(by_width.items())),
    )


def unsettled(verdict: Verdict) -> tuple[int, ...]:
    """The widths that the answer of a setting hangs on: those that might be the smallest enough, and the best.

    None if it is decided; or if there is a single width, or every trial diverged.
    """
    if verdict.best is None or len(verdict.widths) < 2:
        return ()
    if verdict.enough is None or verdict.alike_from is None:
        return verdict.widths
    if verdict.enough.hidden_units == verdict.alike_from:
        return ()
    least, most = verdict.alike_from, verdict.enough.hidden_units
    best = verdict.best.hidden_units
    return tuple(width for width in verdict.widths if least <= width <= most or width == best)
