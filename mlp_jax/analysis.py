"""What results say: means and intervals, what each step in M gains, where the curve saturates, what is unsure of it.

Pure functions of the tables of ``mlp_jax.results``. Two kinds of chance are kept apart:

- seeds (initial weights and minibatches): standard deviation (n − 1), and Student's t interval of the mean;
- the test set, of which another draw would score otherwise: Wilson's interval of a proportion.

All intervals are of 95 %. Choices look at the validation split; trials that diverged are left out and counted.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mlp_jax.results import SCORES, Table

CONFIDENCE = 0.95
STILL_LEARNING = 0.05
"""Share of all that training took off the validation loss; more than that in the last quarter is still learning.

Greatest share of any width, default grid, 5 seeds: MNIST 0.015 after 20 epochs, 0.036 after 10, 0.12 after 5; digits,
breast cancer, diabetes 0.25, 0.21, 0.23 after 20, and 0.022, 0.014, 0.007 after 500. A steady fall gives 0.25.
"""
POINT = ("hidden_units", "activation", "learning_rate")

# SciPy's statistics are imported where they are used: that takes as long as the rest of the package.


class Interval(NamedTuple):
    """From low to high; NaN where there are too few values for one."""

    low: float
    high: float


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

    def margin(self, column: str) -> float:
        """Half the width of Student's t interval of the mean over seeds; NaN for fewer than two."""
        if self.seeds < 2:
            return np.nan
        from scipy import stats

        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, self.seeds - 1))
        return quantile * self.deviation[column] / float(np.sqrt(self.seeds))


def summarize(trials: Table) -> list[Summary]:
    """Mean and standard deviation over seeds, a row for each point in the table's order."""
    rows = []
    for (width, activation, rate), here in _groups(trials, *POINT).items():
        good = here[trials["diverged"][here] == 0]
        count = len(good)
        rows.append(
            Summary(
                hidden_units=width,
                activation=activation,
                learning_rate=rate,
                parameters=int(trials["parameters"][here[0]]),
                seeds=count,
                diverged=len(here) - count,
                mean={c: float(trials[c][good].mean(dtype=float)) if count else np.nan for c in SCORES},
                deviation={c: float(trials[c][good].std(ddof=1, dtype=float)) if count > 1 else np.nan for c in SCORES},
            )
        )
    return rows


def _groups(table: Table, *columns: str) -> dict[tuple[Any, ...], Int[np.ndarray, "rows"]]:
    """The numbers of the rows that agree in these columns, by their values, in the table's order."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, values in enumerate(zip(*(table[column].tolist() for column in columns), strict=True)):
        groups.setdefault(values, []).append(i)
    return {values: np.array(rows) for values, rows in groups.items()}


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


def number_text(value: float, score_name: str) -> str:
    """A score, or a difference of two, without its unit: an accuracy in percent, R² as it is; a dash for NaN."""
    if np.isnan(value):
        return "–"
    text = f"{100 * value:.2f}" if score_name == "accuracy" else f"{value:.4f}"
    return text.replace("-", "−")


def score_text(score: float, score_name: str) -> str:
    """A score as it is written: an accuracy in percent, R² as it is."""
    return number_text(score, score_name) + (" %" if score_name == "accuracy" else "")


def best_point(summaries: list[Summary]) -> Summary | None:
    """The point with the best mean validation score; None if every trial diverged."""
    return max((row for row in summaries if row.seeds), key=lambda row: row.mean["validation_score"], default=None)


def sampling_interval(accuracy: float, examples: int) -> Interval:
    """Wilson's interval of an accuracy measured on so many examples: what another test set of that size might say."""
    if not 0 <= accuracy <= 1 or examples < 1:
        return Interval(np.nan, np.nan)
    from scipy import stats

    proportion = stats.binomtest(round(accuracy * examples), examples).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(proportion.low), float(proportion.high))


def best_epochs(history: Table) -> dict[int, int]:
    """By number of the trial: the epoch (from 1) with its best validation score, the first of equals.

    Trials that diverged are left out, and so are all where no validation score was taken.
    """
    diverged = set(history["trial"][history["diverged"] > 0].tolist())
    best: dict[int, tuple[float, int]] = {}
    columns = (history[name].tolist() for name in ("trial", "epoch", "validation_score"))
    for trial, epoch, score in zip(*columns, strict=True):
        if trial not in diverged and np.isfinite(score) and (trial not in best or score > best[trial][0]):
            best[trial] = (score, epoch)
    return {trial: epoch for trial, (_, epoch) in best.items()}


@dataclass(frozen=True)
class Step:
    """What one width scores more than another, in pairs of trials of the same seed.

    Trials of one seed share the order of their minibatches and the keys of their initial weights.

    Attributes:
        activation, learning_rate: of both.
        hidden_units: the width compared with, and the width whose gain it is.
        seeds: how many pairs, of trials that did not diverge.
        gain: mean difference.
        interval: Student's t interval of the mean difference.
        p_value: two-sided, of the paired t test that the difference is 0 in the mean; not corrected for the
            number of comparisons.
    """

    activation: str
    learning_rate: float
    hidden_units: tuple[int, int]
    seeds: int
    gain: float
    interval: Interval
    p_value: float

    @property
    def distinguishable(self) -> bool | None:
        """Whether the interval leaves 0 out; None if there is no interval."""
        return None if np.isnan(self.p_value) else self.p_value < 1 - CONFIDENCE


def marginal_gains(trials: Table, column: str = "validation_score") -> list[Step]:
    """What each step from one width to the next gains, setting by setting, widths ascending.

    Widths of which every trial diverged are left out.

    Args:
        trials: one row a trial.
        column: the score that is compared, one of ``SCORES``.
    """
    return [
        _step(setting, lesser, greater)
        for setting, by_width in _scores_by_width(trials, column).items()
        for lesser, greater in itertools.pairwise(by_width.items())
    ]


def against_best(trials: Table) -> list[Step]:
    """What the width with the best mean validation score has over each other, setting by setting, widths ascending.

    The best is chosen by the same trials, which makes it look a little better than it is: differences that cannot be
    told from 0 nevertheless are all the less worth believing.
    """
    steps = []
    for setting, by_width in _scores_by_width(trials, "validation_score").items():
        best = max(by_width, key=lambda width: np.mean(list(by_width[width].values())))
        steps += [_step(setting, each, (best, by_width[best])) for each in by_width.items() if each[0] != best]
    return steps


def _scores_by_width(trials: Table, column: str) -> dict[tuple[str, float], dict[int, dict[int, float]]]:
    """By (activation, learning rate), width (ascending) and seed: a score; trials that diverged are left out."""
    found: dict[tuple[str, float], dict[int, dict[int, float]]] = {}
    good = {name: values[trials["diverged"] == 0] for name, values in trials.items()}
    for (activation, rate), here in _groups(good, "activation", "learning_rate").items():
        by_width = found.setdefault((activation, rate), {})
        columns = (good[name][here].tolist() for name in ("hidden_units", "seed", column))
        for width, seed, score in sorted(zip(*columns, strict=True)):
            by_width.setdefault(width, {})[seed] = score
    return found


def _step(
    setting: tuple[str, float], lesser: tuple[int, dict[int, float]], greater: tuple[int, dict[int, float]]
) -> Step:
    """The comparison of two widths, each with its scores by seed."""
    (before, less), (after, more) = lesser, greater
    differences = np.array([more[seed] - less[seed] for seed in less if seed in more])
    gain = float(differences.mean()) if len(differences) else np.nan
    return Step(*setting, (before, after), len(differences), gain, *_paired_test(differences))


def _paired_test(differences: Float[np.ndarray, "n"]) -> tuple[Interval, float]:
    """Student's t interval of the mean of paired differences, and the two-sided p-value of its being 0."""
    if len(differences) < 2:
        return Interval(np.nan, np.nan), np.nan
    mean = float(differences.mean())
    if np.ptp(differences) <= 1e-12 * abs(mean):  # no spread, for which SciPy has no answer
        return Interval(mean, mean), float(mean == 0)
    from scipy import stats

    test = stats.ttest_1samp(differences, 0.0)
    return Interval(*map(float, test.confidence_interval(CONFIDENCE))), float(test.pvalue)


@dataclass(frozen=True)
class LateLearning:
    """How much of what a width learned it learned at the end of training.

    Attributes:
        activation, learning_rate, hidden_units: whose; the mean over the trials that did not diverge.
        share: what the last quarter of the epochs (rounded up) took off the validation loss, as a share of what all of
            training did: from the start (the first epoch's mean training loss, or its validation loss if greater) to
            the least. 0 or less if the loss no longer fell; 1 after a single epoch, which has nothing before it.
    """

    activation: str
    learning_rate: float
    hidden_units: int
    share: float

    @property
    def still_learning(self) -> bool:
        """Whether more epochs would likely lower the validation loss further, by ``STILL_LEARNING``."""
        return self.share > STILL_LEARNING


def late_learning(history: Table) -> list[LateLearning]:
    """How much each width learned at the end; those that have no validation loss are left out.

    Args:
        history: one row a trial and epoch.
    """
    diverged = history["trial"][history["diverged"] > 0]
    known = ~np.isin(history["trial"], diverged) & np.isfinite(history["validation_loss"])
    kept = {name: values[known] for name, values in history.items()}
    found = []
    for (activation, rate, width), here in _groups(kept, "activation", "learning_rate", "hidden_units").items():
        epoch = kept["epoch"][here]
        loss = np.array([kept["validation_loss"][here][epoch == e].mean(dtype=float) for e in np.unique(epoch)])
        start = max(float(kept["loss"][here][epoch == epoch.min()].mean(dtype=float)), loss[0])
        before = np.concatenate([[start], loss])[-1 - math.ceil(len(loss) / 4)]
        whole = start - loss.min()
        found.append(LateLearning(activation, rate, width, float((before - loss[-1]) / whole) if whole > 0 else 0.0))
    return found


@dataclass(frozen=True)
class Verdict:
    """What is known of how many hidden units one setting needs.

    Attributes:
        activation, learning_rate: the setting.
        widths: those at which some trial did not diverge, ascending.
        best: the width with the best mean validation score; None if every trial diverged.
        saturation: see ``saturation``; None where there is no standard error.
        alike_from: the smallest width that cannot be told from the best, nor any between them, pair by pair
            (``against_best``), at that many seeds; None with fewer than two.
        still_learning: widths that were, at the last epoch.
    """

    activation: str
    learning_rate: float
    widths: tuple[int, ...]
    best: Summary | None
    saturation: Summary | None
    alike_from: int | None
    still_learning: tuple[int, ...]

    @property
    def reached(self) -> bool | None:
        """Whether the curve saturates below the widest that was tried; None if it cannot be told."""
        return None if self.saturation is None else self.saturation.hidden_units < self.widths[-1]

    @property
    def widest_is_best(self) -> bool:
        """Whether the best of several widths is the widest, so that wider ones might be better still."""
        return self.best is not None and len(self.widths) > 1 and self.best.hidden_units == self.widths[-1]


def verdicts(trials: Table, history: Table) -> list[Verdict]:
    """What is known of each setting.

    Args:
        trials: one row a trial.
        history: one row a trial and epoch.
    """
    late = late_learning(history)
    compared = against_best(trials)
    found = []
    for (activation, rate), rows in by_setting(summarize(trials)).items():
        here = [each for each in compared if (each.activation, each.learning_rate) == (activation, rate)]
        widths = tuple(sorted(row.hidden_units for row in rows if row.seeds))
        best = best_point(rows)
        slow = (
            each.hidden_units
            for each in late
            if (each.activation, each.learning_rate) == (activation, rate) and each.still_learning
        )
        alike = _alike_from(best, here) if best else None
        found.append(Verdict(activation, rate, widths, best, saturation(rows), alike, tuple(sorted(slow))))
    return found


def _alike_from(best: Summary, compared: list[Step]) -> int | None:
    if best.seeds < 2:
        return None
    alike = best.hidden_units
    for step in reversed([step for step in compared if step.hidden_units[0] < alike]):
        if step.distinguishable:
            break
        alike = step.hidden_units[0]
    return alike


@dataclass(frozen=True)
class BestRate:
    """The learning rate that suits a width best.

    Attributes:
        activation, hidden_units: whose.
        learning_rate: the one with the best mean validation score.
        as_good: the others within one standard error of it; None with fewer than two seeds.
    """

    activation: str
    hidden_units: int
    learning_rate: float
    as_good: tuple[float, ...] | None


def best_rates(summaries: list[Summary]) -> list[BestRate]:
    """The best learning rate of each activation and width, of those at which not every trial diverged."""
    points: dict[tuple[str, int], list[Summary]] = {}
    for row in summaries:
        if row.seeds:
            points.setdefault((row.activation, row.hidden_units), []).append(row)
    found = []
    for (activation, width), rows in points.items():
        best = max(rows, key=lambda row: row.mean["validation_score"])
        bar = best.mean["validation_score"] - best.standard_error
        near = tuple(r.learning_rate for r in rows if r is not best and r.mean["validation_score"] >= bar)
        found.append(BestRate(activation, width, best.learning_rate, None if np.isnan(bar) else near))
    return found


@dataclass(frozen=True)
class Interaction:
    """Whether the effect of the learning rate depends on the width: analysis of variance of the validation score.

    Two fixed factors, width and learning rate, and seeds as blocks:
    score = cell(width, rate) + seed + error. F is the mean square of the interaction over that of the error. It takes
    the error's variance to be the same in every cell, which learning rates far too low or too high break.

    Attributes:
        activation: whose trials.
        hidden_units, learning_rates: the levels that were compared. Learning rates at which every trial diverged are
            left out, then widths of which some trial did.
        seeds: number of blocks.
        f: the statistic.
        degrees: of freedom, of the interaction and of the error.
        p_value: probability of an F as great if there is no interaction.
    """

    activation: str
    hidden_units: tuple[int, ...]
    learning_rates: tuple[float, ...]
    seeds: int
    f: float
    degrees: tuple[int, int]
    p_value: float


def interactions(trials: Table) -> list[Interaction]:
    """The interaction of width and learning rate for each activation that has two or more of each, and of seeds."""
    found = []
    good = {name: values[trials["diverged"] == 0] for name, values in trials.items()}
    for (activation,), here in _groups(good, "activation").items():
        columns = (good[name][here].tolist() for name in ("hidden_units", "learning_rate", "seed", "validation_score"))
        scores = {(width, rate, seed): score for width, rate, seed, score in zip(*columns, strict=True)}
        rates = tuple(sorted({rate for _, rate, _ in scores}))
        seeds = sorted({seed for _, _, seed in scores})
        widths = tuple(
            width
            for width in sorted({width for width, _, _ in scores})
            if all((width, rate, seed) in scores for rate in rates for seed in seeds)
        )
        if min(len(widths), len(rates), len(seeds)) < 2:
            continue
        table = np.array([[[scores[width, rate, seed] for seed in seeds] for rate in rates] for width in widths])
        found.append(Interaction(activation, widths, rates, len(seeds), *_interaction_test(table)))
    return found


def _interaction_test(y: Float[np.ndarray, "widths rates seeds"]) -> tuple[float, tuple[int, int], float]:
    """F, its degrees of freedom and its p-value, of a complete table."""
    from scipy import stats

    a, b, n = y.shape
    grand, cell = y.mean(), y.mean(axis=2, keepdims=True)
    mixed = cell - y.mean(axis=(1, 2), keepdims=True) - y.mean(axis=(0, 2), keepdims=True) + grand
    error = y - cell - y.mean(axis=(0, 1), keepdims=True) + grand
    degrees = ((a - 1) * (b - 1), (a * b - 1) * (n - 1))
    with np.errstate(divide="ignore", invalid="ignore"):  # no error at all: F is infinite, or nothing differs
        f = n * np.sum(mixed**2) / degrees[0] / (np.sum(error**2) / degrees[1])
    return float(f), degrees, float(stats.f.sf(f, *degrees))


def seconds_alone(timing: Table) -> dict[int, float]:
    """By width: median seconds of an epoch of ``fit``, from a table that ``mlp_jax.timing`` measured."""
    return _median_seconds(timing, "alone")


def seconds_together(timing: Table) -> dict[int, float]:
    """By width: median seconds of an epoch of a sweep of it and all lesser widths, measured likewise."""
    return _median_seconds(timing, "together")


def _median_seconds(timing: Table, program: str) -> dict[int, float]:
    here = timing["program"] == program
    widths = sorted(set(timing["hidden_units"][here].tolist()))
    return {m: float(np.median(timing["seconds"][here & (timing["hidden_units"] == m)])) for m in widths}


@dataclass(frozen=True)
class Analysis:
    """Everything above for one run.

    Attributes:
        score_name: what the score is.
        rows: by point of the grid.
        best_epoch: of each row, the median over its trials of ``best_epochs``; NaN if there is none.
        sampling: of each row, Wilson's interval of its mean test accuracy; NaN if the score is no accuracy.
        seconds_alone: by width, if it was measured; else empty.
        gains: ``marginal_gains`` on validation.
        test_gains: the same on the test split.
        best_rates: where there are several learning rates; else empty.
        interactions: where there are several learning rates and widths; else empty.
        against_best: ``against_best``.
        late_learning: ``late_learning``.
        verdicts: a row a setting.
    """

    score_name: str
    rows: list[Summary]
    best_epoch: list[float]
    sampling: list[Interval]
    seconds_alone: dict[int, float]
    gains: list[Step]
    test_gains: list[Step]
    best_rates: list[BestRate]
    interactions: list[Interaction]
    against_best: list[Step]
    late_learning: list[LateLearning]
    verdicts: list[Verdict]


def analyse(trials: Table, history: Table, config: Mapping[str, Any], timing: Table | None = None) -> Analysis:
    """Analyse a run.

    Args:
        trials: one row a trial.
        history: one row a trial and epoch.
        config: of the run; without ``examples``, the sizes of its splits, there is no sampling error.
        timing: what ``mlp_jax.timing`` measured, if it did.
    """
    rows = summarize(trials)
    epochs = best_epochs(history)
    sizes = config.get("examples", {}) if config["score_name"] == "accuracy" else {}
    several_rates = len(set(trials["learning_rate"].tolist())) > 1
    best = []
    for here in _groups(trials, *POINT).values():  # in the order of the rows
        known = [epochs[trial] for trial in trials["trial"][here].tolist() if trial in epochs]
        best.append(float(np.median(known)) if known else np.nan)
    return Analysis(
        score_name=config["score_name"],
        rows=rows,
        best_epoch=best,
        sampling=[sampling_interval(row.mean["test_score"], sizes.get("test", 0)) for row in rows],
        seconds_alone=seconds_alone(timing) if timing is not None else {},
        gains=marginal_gains(trials),
        test_gains=marginal_gains(trials, "test_score"),
        best_rates=best_rates(rows) if several_rates else [],
        interactions=interactions(trials),
        against_best=against_best(trials),
        late_learning=late_learning(history),
        verdicts=verdicts(trials, history),
    )


def analysis_record(analysis: Analysis) -> dict[str, Any]:
    """An analysis as plain data, for scripts."""
    columns = zip(analysis.rows, analysis.best_epoch, analysis.sampling, strict=True)
    return {
        "score_name": analysis.score_name,
        "confidence": CONFIDENCE,
        "widths": [
            asdict(row)
            | {
                "margin": {column: row.margin(column) for column in SCORES},
                "best_epoch": epoch,
                "test_sampling_interval": interval,
                "seconds_alone": analysis.seconds_alone.get(row.hidden_units),
            }
            for row, epoch, interval in columns
        ],
        "saturation": saturation_record(analysis.verdicts),
        "late_learning": [asdict(each) | {"still_learning": each.still_learning} for each in analysis.late_learning],
        **{
            name: [asdict(step) | {"distinguishable": step.distinguishable} for step in getattr(analysis, name)]
            for name in ("gains", "test_gains", "against_best")
        },
        "best_rates": [asdict(best) for best in analysis.best_rates],
        "interactions": [asdict(each) for each in analysis.interactions],
    }


def saturation_record(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Where the curve of each setting saturates, as plain data; None where it cannot be told.

    ``hidden_units`` is what ``saturation`` finds, and ``reached`` false if that is the widest that was tried.
    """
    return [
        {
            "activation": each.activation,
            "learning_rate": each.learning_rate,
            "hidden_units": each.saturation.hidden_units if each.saturation else None,
            "reached": each.reached,
            "best": each.best.hidden_units if each.best else None,
            "widest": each.widths[-1] if each.widths else None,
            "alike_from": each.alike_from,
            "still_learning": list(each.still_learning),
        }
        for each in verdicts
    ]
