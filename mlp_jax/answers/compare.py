"""Runs held against each other: what differs in how they were made, and what that changes, point by point.

Trials are matched by their point of the grid; where two runs differ in something that each has one value of, such as
the optimizer, that is what is compared, and no part of the point. Pairs of trials share their seed, hence their
minibatches, and every example; where no two seeds are shared, examples alone are paired. Chance is that of
``mlp_jax.answers.variation``, and intervals hold for all points together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from mlp_jax.answers.points import Summary, summarize
from mlp_jax.answers.rows import BySeed
from mlp_jax.answers.variation import Estimate, Interval, Spread, estimate, prior, spread, spread_apart
from mlp_jax.errors import InputError
from mlp_jax.networks.layers import Widths, layers_of
from mlp_jax.runs.directory import Run
from mlp_jax.runs.tables import REPEATS, Criterion, Table, criterion, of_trials, to_the_end, widths_at
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes
from mlp_jax.training.axes import AXES, OF_RECIPE

_ELSEWHERE = (
    "dataset",
    "dataset_path",
    "keep_state",
    "most_rows",
    "grids",
    "class_names",
    "feature_dtype",
    "image_form",
)
"""Of a configuration, what says where data are, or how it was shared out, or what else has said."""
_OF_DATA = ("dataset_name", "dataset_digest", "transpose", "examples", "task", "score_name")
"""What is the same if the data are."""


@dataclass(frozen=True)
class Side:
    """A run that is held against others.

    Attributes:
        name: to call it by.
        config: of the run.
        trials, history: its tables.
        outcomes: what each trial makes of each example.
    """

    name: str
    config: Mapping[str, Any]
    trials: Table
    history: Table
    outcomes: Outcomes


def side_of(name: str, run: Run) -> Side:
    """A run under a name; of a search, the trials that were trained to the end."""
    trials = to_the_end(run.trials)
    return Side(name, run.config, trials, of_trials(run.history, trials), run.outcomes)


@dataclass(frozen=True)
class Setting:
    """Something in which configurations differ.

    Attributes:
        name: of the setting.
        values: of each run; None for one that has none.
    """

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Effect:
    """How much better one run is than another at a point, on one split; more is better.

    Attributes:
        gain: the difference of the means.
        standard_error: of that; NaN where there is none, as of one seed.
        interval: of the gain, at 95 % for all comparisons of these runs together.
        p_value: two-sided, that it is 0 in truth, times their number.
        means: of the measure, of both.
    """

    gain: float
    standard_error: float
    interval: Interval
    p_value: float
    means: tuple[float, float]

    @property
    def distinguishable(self) -> bool | None:
        """Whether the interval leaves 0 out; None if there is no interval."""
        if np.isnan(self.interval.low):
            return None
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True)
class Difference:
    """What one run has over another at a point that both have.

    Attributes:
        runs: names of the run compared with, and of the other.
        hidden_units: of both, which differ only where widths are what is compared.
        point: on the other axes in which some run has several values, by name.
        paired: whether pairs share their seed.
        seeds: how many trials of each run count.
        examples: how many count as chance, by split; 0 where nothing is known of them.
        effects: by split, validation and test.
    """

    runs: tuple[str, str]
    hidden_units: tuple[Widths, Widths]
    point: dict[str, Any]
    paired: bool
    seeds: tuple[int, int]
    examples: dict[str, int]
    effects: dict[str, Effect]

    @property
    def width(self) -> int:
        """M of the second."""
        return (*layers_of(self.hidden_units[1]), 0)[0]


@dataclass(frozen=True)
class Comparison:
    """Runs held against the first of them.

    Attributes:
        names: of the runs.
        score_name: what the score is.
        measure_name: what is compared: the score, or ``loss`` where that cannot be computed.
        settings: in which configurations differ.
        same_data: whether the runs are of the same data; if not, nothing is subtracted.
        differences: of each run and the first, point by point.
        unmatched: by name of a run, how many of its points the first lacks, or (of the first) any other one.
        diverged: by name of a run, how many trials are left out.
        summaries: by name of a run, its points over their seeds.
    """

    names: tuple[str, ...]
    score_name: str
    measure_name: str
    settings: list[Setting]
    same_data: bool
    differences: list[Difference]
    unmatched: dict[str, int]
    diverged: dict[str, int]
    summaries: dict[str, list[Summary]]

    def against_first(self, name: str) -> list[Difference]:
        """Those of a run and the first."""
        return [each for each in self.differences if each.runs[1] == name]


def compare(sides: Sequence[Side]) -> Comparison:
    """Hold runs against the first of them.

    Raises:
        InputError: there are fewer than two, or two of one name.
    """
    names = tuple(side.name for side in sides)
    if len(set(names)) < max(2, len(names)):
        raise InputError(f"{len(sides)} runs, of which {len(set(names))} have names of their own: expected two or more")
    first, *others = sides
    by = [criterion(side.trials) for side in sides]
    chosen = next((each for each in by if each.measure == "loss"), by[0])
    same_data = len({side.config["dataset_digest"] for side in sides}) == 1
    found, unmatched = [], {}
    if same_data:
        matched = {other.name: _matched(first, other) for other in others}
        count = sum(len(points) for points in matched.values())
        for other in others:
            found += _differences(first, other, matched[other.name], chosen, count)
            unmatched[other.name] = len(_points(other)) - len(matched[other.name])
        unmatched[first.name] = len(_points(first)) - max(map(len, matched.values()))
    return Comparison(
        names,
        first.config["score_name"],
        first.config["score_name"] if chosen.measure == "score" else "loss",
        settings_that_differ([side.config for side in sides]),
        same_data,
        found,
        unmatched,
        {side.name: int(np.count_nonzero(side.trials["diverged"])) for side in sides},
        {side.name: summarize(side.trials, side.outcomes) for side in sides},
    )


def settings_that_differ(configs: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """What differs between configurations; an axis that one does not mention has its default there."""
    usual = {axis.plural: [axis.default] for axis in AXES.values()}
    left_out = set(_ELSEWHERE)
    if len({config["dataset_digest"] for config in configs}) == 1:
        left_out |= set(_OF_DATA)
    found = []
    for name in dict.fromkeys(name for config in configs for name in config):
        values = [config.get(name, usual.get(name)) for config in configs]
        if name not in left_out and any(value != values[0] for value in values):
            found.append(Setting(name, tuple(values)))
    return found


# Matching

_Point = dict[str, Any]
"""A value on each axis but those of repetitions."""


def _points(side: Side) -> list[tuple[_Point, BySeed]]:
    """The points of a run, each with its trials' rows by seed; those that diverged are left out."""
    names = [name for name in AXES if name not in REPEATS]
    found: dict[tuple[Any, ...], tuple[_Point, BySeed]] = {}
    for row in range(len(side.trials["trial"])):
        values = {name: side.trials[name][row].item() if name in side.trials else AXES[name].default for name in AXES}
        values["hidden_units"] = widths_at(side.trials, row)
        values |= {name: values[name] or side.config[name] for name in OF_RECIPE}
        point = {name: values[name] for name in names}
        _, rows = found.setdefault(tuple(point.values()), (point, {}))
        if side.trials["diverged"][row] == 0:
            rows[tuple(values[name] for name in REPEATS)] = row
    return list(found.values())


@dataclass(frozen=True)
class _Pair:
    """A point that two runs have: as each has it, and the rows of its trials."""

    points: tuple[_Point, _Point]
    rows: tuple[BySeed, BySeed]


def _matched(first: Side, other: Side) -> list[_Pair]:
    """The points that both have trials at, but for what distinguishes the runs as wholes."""
    ours, theirs = _points(first), _points(other)
    values = [{name: {point[name] for point, _ in points} for name in points[0][0]} for points in (ours, theirs)]
    apart = {name for name, here in values[0].items() if len(here) == len(values[1][name]) == 1}
    by_point = {_key(point, apart): (point, rows) for point, rows in ours}
    found = []
    for point, rows in theirs:
        if (mine := by_point.get(_key(point, apart))) and mine[1] and rows:
            found.append(_Pair((mine[0], point), (mine[1], rows)))
    return sorted(found, key=lambda pair: [layers_of(each["hidden_units"]) for each in pair.points])


def _key(point: _Point, apart: set[str]) -> tuple[Any, ...]:
    return tuple(value for name, value in point.items() if name not in apart)


# Differences


def _differences(first: Side, other: Side, pairs: Sequence[_Pair], by: Criterion, count: int) -> list[Difference]:
    """Of two runs, at each point; intervals are for so many of them together."""
    sides = (first, other)
    varied = [
        name
        for name in AXES
        if name not in (*REPEATS, "hidden_units") and len({point[name] for p in pairs for point in p.points[1:]}) > 1
    ]
    spreads: dict[str, list[Spread]] = {split: [] for split in SPLITS}
    chosen = [_chosen(pair) for pair in pairs]
    for split, found in spreads.items():
        found += [_spread(sides, rows, paired, split, by) for rows, paired in chosen]
    known = {split: prior(found, len(found) + 1) for split, found in spreads.items()}
    differences = []
    for place, (pair, (rows, paired)) in enumerate(zip(pairs, chosen, strict=True)):
        effects = {}
        for split in SPLITS:
            sure = estimate(spreads[split][place], known[split])
            means = [
                float(s.trials[f"{split}_{by.measure}"][r].mean(dtype=float)) for s, r in zip(sides, rows, strict=True)
            ]
            effects[split] = _effect(sure, (means[0], means[1]), count, first.config["score_name"], by)
        units = (pair.points[0]["hidden_units"], pair.points[1]["hidden_units"])
        differences.append(
            Difference(
                (first.name, other.name),
                units,
                {name: pair.points[1][name] for name in varied},
                paired,
                (len(rows[0]), len(rows[1])),
                {split: spreads[split][place].examples for split in SPLITS},
                effects,
            )
        )
    return differences


def _effect(sure: Estimate, means: tuple[float, float], count: int, score_name: str, by: Criterion) -> Effect:
    interval = sure.interval(count)
    if score_name == "accuracy" and by.measure == "score":  # no difference of two accuracies is beyond 1
        interval = Interval(*np.clip(interval, -1, 1).tolist())
    return Effect(sure.mean, sure.standard_error, interval, sure.p_value(count), means)


def _chosen(pair: _Pair) -> tuple[tuple[list[int], list[int]], bool]:
    """The rows of both runs that are compared, and whether in pairs: if some seeds are shared, two where there are."""
    ours, theirs = pair.rows
    shared = [seed for seed in ours if seed in theirs]
    if len(shared) > 1 or (shared and min(len(ours), len(theirs)) == 1):
        return ([ours[seed] for seed in shared], [theirs[seed] for seed in shared]), True
    return (list(ours.values()), list(theirs.values())), False


def _spread(
    sides: tuple[Side, Side], rows: tuple[list[int], list[int]], paired: bool, split: str, by: Criterion
) -> Spread:
    """What the second less the first varies with."""
    if not all(side.outcomes.known for side in sides):  # of what each example makes: then chance is that of seeds alone
        less, more = (
            by.merit(side.trials[f"{split}_{by.measure}"][chosen].astype(float))[:, None]
            for side, chosen in zip(sides, rows, strict=True)
        )
        found = spread(more - less) if paired else spread_apart(less, more)
        return replace(found, examples=0, over_examples=np.nan, rest=0.0)
    less, more = (_merit(side, chosen, split, by) for side, chosen in zip(sides, rows, strict=True))
    bits = not sides[0].outcomes.graded
    return spread(more - less, paired_bits=bits) if paired else spread_apart(less, more, paired_bits=bits)


def _merit(side: Side, rows: Sequence[int], split: str, by: Criterion) -> Float[np.ndarray, "seeds examples"]:
    return side.outcomes.merit(split, side.trials["trial"][list(rows)].tolist(), by.measure)


def comparison_record(found: Comparison) -> dict[str, Any]:
    """A comparison as plain data, for scripts."""
    return {
        "runs": list(found.names),
        "score_name": found.score_name,
        "measure": found.measure_name,
        "same_data": found.same_data,
        "settings": {each.name: dict(zip(found.names, each.values, strict=True)) for each in found.settings},
        "differences": [
            asdict(each)
            | {
                "effects": {
                    split: asdict(effect) | {"distinguishable": effect.distinguishable}
                    for split, effect in each.effects.items()
                }
            }
            for each in found.differences
        ],
        "unmatched": found.unmatched,
        "diverged": found.diverged,
        "widths": {name: [row.record for row in rows] for name, rows in found.summaries.items()},
    }
