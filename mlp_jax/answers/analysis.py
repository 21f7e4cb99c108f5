"""What results say: means and intervals, what each step in M gains, how many units are enough, what is unsure of it.

Pure functions of the tables of ``mlp_jax.runs.tables`` and of what each trial makes of each example
(``mlp_jax.sweeps.outcomes``). Whatever is said to be more than chance, every interval and the choice of the smallest
width that is enough rest on one model of chance, of both the seeds and the examples: ``mlp_jax.answers.variation``. All
intervals are of 95 %. Choices look at the validation split; trials that diverged are left out and counted.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mlp_jax.answers.variation import CONFIDENCE, UNKNOWN, Estimate, Interval, Prior, Spread, estimate, prior, spread
from mlp_jax.runs.tables import SCORES, Criterion, Table, criterion
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes

STILL_LEARNING = 0.05
"""Share of all that training took off the validation loss; more than that in the last quarter is still learning.

Greatest share of any width, default grid, 5 seeds: MNIST 0.015 after 20 epochs, 0.036 after 10, 0.12 after 5; digits,
breast cancer, diabetes 0.25, 0.21, 0.23 after 20, and 0.022, 0.014, 0.007 after 500. A steady fall gives 0.25.
"""
POINT = ("hidden_units", "activation", "learning_rate")

# SciPy's statistics are imported where they are used: that takes as long as the rest of the package.


@dataclass(frozen=True)
class Summary:
    """One point of the grid over its seeds; trials that diverged are left out and counted.

    Attributes:
        hidden_units, activation, learning_rate: the point.
        parameters: of a trial.
        seeds: how many trials the figures rest on.
        diverged: how many were left out.
        mean: by column of ``SCORES``; NaN if every trial diverged, or a score cannot be computed.
        deviation: standard deviation over seeds (n − 1), by column of ``SCORES``; NaN for fewer than two trials.
        merit: mean of what choices look at, ``mlp_jax.runs.tables.criterion``; more is better.
        interval: by split, validation and test, of the mean in the measure that choices look at: of seeds and
            examples both; of one seed, of the examples alone; of seeds alone where nothing is known of the examples.
    """

    hidden_units: int
    activation: str
    learning_rate: float
    parameters: int
    seeds: int
    diverged: int
    mean: dict[str, float]
    deviation: dict[str, float]
    merit: float
    interval: dict[str, Interval]


def summarize(trials: Table, outcomes: Outcomes | None = None) -> list[Summary]:
    """Means, standard deviations over seeds and intervals, a row for each point in the table's order.

    Args:
        trials: one row a trial.
        outcomes: what each makes of each example; None if that is not known.
    """
    by = criterion(trials)
    intervals = {split: _point_intervals(trials, by, split, outcomes) for split in SPLITS}
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
                merit=float(by.merit(trials[by.column][good]).mean(dtype=float)) if count else np.nan,
                interval={split: intervals[split].get((width, activation, rate), UNKNOWN) for split in SPLITS},
            )
        )
    return rows


def _groups(table: Table, *columns: str) -> dict[tuple[Any, ...], Int[np.ndarray, "rows"]]:
    """The numbers of the rows that agree in these columns, by their values, in the table's order."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, values in enumerate(zip(*(table[column].tolist() for column in columns), strict=True)):
        groups.setdefault(values, []).append(i)
    return {values: np.array(rows) for values, rows in groups.items()}


def _point_intervals(
    trials: Table, by: Criterion, split: str, outcomes: Outcomes | None
) -> dict[tuple[Any, ...], Interval]:
    """Of each point's mean; setting by setting, whose widths tell each other how much seeds do."""
    points = _by_seed(trials, *POINT)
    settings: dict[Any, dict[Any, dict[int, int]]] = {}
    for (width, *setting), by_seed in points.items():
        settings.setdefault(tuple(setting), {})[width] = by_seed
    found: dict[tuple[Any, ...], Interval] = {}
    for setting, widths in settings.items():
        contest = Contest(widths, trials, by, split, outcomes)
        spreads = {width: contest.spread(width) for width in widths}
        known = prior(list(spreads.values()), len(widths) + 1)
        for width, each in spreads.items():
            sure = estimate(each, known, one_seed=True)
            if by.measure == "loss":
                sure = Estimate(-sure.mean, sure.standard_error, sure.degrees)
            proportion = each.examples and outcomes is not None and not outcomes.graded
            found[(width, *setting)] = sure.proportion(each.examples) if proportion else sure.interval()
    return found


def _by_seed(trials: Table, *columns: str) -> dict[tuple[Any, ...], dict[int, int]]:
    """By the values of these columns, and seed: the row of a trial that did not diverge, widths ascending."""
    found: dict[tuple[Any, ...], dict[int, int]] = {}
    rows = np.flatnonzero(trials["diverged"] == 0)
    for row in rows[np.lexsort((trials["seed"][rows], trials["hidden_units"][rows]))].tolist():
        point = tuple(trials[column][row].item() for column in columns)
        found.setdefault(point, {})[int(trials["seed"][row])] = row
    return found


class Contest:
    """Alternatives, such as the widths of a setting, that are held against each other on one split.

    Trials of one seed share the order of their minibatches and the keys of their initial weights, so differences are
    taken seed by seed, and example by example.
    """

    def __init__(
        self,
        alternatives: Mapping[Any, Mapping[int, int]],
        trials: Table,
        by: Criterion,
        split: str,
        outcomes: Outcomes | None,
    ) -> None:
        """Of each alternative by seed the row of its trial; what is compared, on which split; what examples make."""
        self.alternatives, self._by, self._split, self._outcomes = alternatives, by, split, outcomes
        self._values = by.merit(trials[f"{split}_{by.measure}"].astype(float))
        self._numbers = trials["trial"]
        self.comparisons = max(1, math.comb(len(alternatives), 2))
        """For how many together an interval holds: each alternative with each other, as results choose among them."""

    @property
    def measure(self) -> str:
        """``score`` or ``loss``."""
        return self._by.measure

    @cached_property
    def best(self) -> Any:
        """The alternative whose mean is the best, the first of equals."""
        means = {each: self._values[list(rows.values())].mean() for each, rows in self.alternatives.items()}
        return max(means, key=lambda each: -np.inf if np.isnan(means[each]) else means[each])

    def spread(self, one: Any) -> Spread:
        """What the mean of one varies with."""
        rows = list(self.alternatives[one].values())
        if self._known:
            assert self._outcomes is not None
            found = spread(self._merit(rows))
            # R² is 1 less the mean of what examples take off it.
            return replace(found, mean=found.mean + (self._outcomes.graded and self.measure == "score"))
        scores = self._values[rows]
        return self._of_scores(scores, float(scores.mean() * (1 - scores.mean())))

    def difference(self, lesser: Any, greater: Any) -> Spread:
        """What the mean of the second less that of the first varies with, over the seeds that both have."""
        less, more = self.alternatives[lesser], self.alternatives[greater]
        seeds = [seed for seed in less if seed in more]
        if not seeds:
            return Spread(math.nan, 0, 0, math.nan, math.nan, 0.0)
        before, after = ([rows[seed] for seed in seeds] for rows in (less, more))
        if self._known:
            assert self._outcomes is not None
            return spread(self._merit(after) - self._merit(before), paired_bits=not self._outcomes.graded)
        first, second = self._values[before], self._values[after]
        # As if two models were right and wrong independently of each other: they are not, and differ less.
        independent = sum(float(each.mean() * (1 - each.mean())) for each in (first, second))
        return self._of_scores(second - first, independent)

    def against(self, one: Any, guess: Float[np.ndarray, "1 examples"]) -> Estimate:
        """How much one has over answers that owe nothing to a seed, given what each example makes of these."""
        assert self._outcomes is not None
        merit = self._merit(list(self.alternatives[one].values()))
        return estimate(spread(merit - guess, paired_bits=not self._outcomes.graded), self._prior, one_seed=True)

    def compare(self, lesser: Any, greater: Any) -> tuple[Spread, Estimate]:
        """What the mean of the second less that of the first varies with, and how sure it is."""
        found = self.difference(lesser, greater)
        return found, estimate(found, self._prior)

    @cached_property
    def _prior(self) -> Prior | None:
        """Of each step from one to the next, and of each and the best."""
        names = list(self.alternatives)
        to_best = ((each, self.best) for each in names if each != self.best)
        pairs = dict.fromkeys([*itertools.pairwise(names), *to_best])
        return prior([self.difference(*pair) for pair in pairs], len(names))

    @property
    def of_hits(self) -> bool:
        """Whether what is compared is known to be an accuracy."""
        return self._outcomes is not None and bool(self._outcomes.sizes) and not self._outcomes.graded

    @property
    def _known(self) -> bool:
        return self._outcomes is not None and self._outcomes.known

    def _merit(self, rows: Sequence[int]) -> Float[np.ndarray, "seeds examples"]:
        assert self._outcomes is not None
        return self._outcomes.merit(self._split, self._numbers[list(rows)].tolist(), self._by.measure)

    def _of_scores(self, scores: Float[np.ndarray, "seeds"], over_examples: float) -> Spread:
        """The spread of scores of which it is not known what each example makes."""
        count = self._outcomes.sizes.get(self._split, 0) if self._outcomes is not None else 0
        over_seeds = float(scores.var(ddof=1)) if len(scores) > 1 else math.nan
        chance = over_examples if count else math.nan
        return Spread(float(scores.mean()), len(scores), count, over_seeds, chance, 0.0)


def _contests(trials: Table, split: str, outcomes: Outcomes | None) -> dict[tuple[str, float], Contest]:
    """The widths, ascending, of each (activation, learning rate), of which some trial did not diverge."""
    settings: dict[tuple[str, float], dict[Any, dict[int, int]]] = {}
    for (activation, rate, width), rows in _by_seed(trials, "activation", "learning_rate", "hidden_units").items():
        settings.setdefault((activation, rate), {})[width] = rows
    order = list(_groups(trials, "activation", "learning_rate"))
    by = criterion(trials)
    return {key: Contest(settings[key], trials, by, split, outcomes) for key in order if key in settings}


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
    text = f"{100 * value:z.2f}" if score_name == "accuracy" else f"{value:z.4f}"  # z: a rounded 0 has no sign
    return text.replace("-", "−")


def score_text(score: float, score_name: str) -> str:
    """A score as it is written: an accuracy in percent, R² as it is."""
    return number_text(score, score_name) + (" %" if score_name == "accuracy" else "")


def bounded(interval: Interval, score_name: str) -> Interval:
    """An interval of a score, within what the score can be: an accuracy is from 0 to 1."""
    return Interval(*np.clip(interval, 0, 1).tolist()) if score_name == "accuracy" else interval


def best_point(summaries: Sequence[Summary]) -> Summary | None:
    """The point that is best on validation in the mean; None if every trial diverged."""
    return max((row for row in summaries if row.seeds), key=lambda row: row.merit, default=None)


def best_epochs(history: Table) -> dict[int, int]:
    """By number of the trial: the epoch (from 1) that is best by ``criterion``, the first of equals.

    Trials that diverged are left out, and so are all where no validation score was taken.
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
class Step:
    """What one width has over another, seed by seed and example by example.

    Attributes:
        activation, learning_rate: of both.
        hidden_units: the width compared with, and the width whose gain it is.
        seeds: how many pairs, of trials that did not diverge.
        examples: how many count as chance; 0 where nothing is known of them, and seeds alone do.
        gain: mean difference in what choices look at, of this split; more is better.
        standard_error: of the gain; NaN where there is none, as of one seed.
        interval: of the gain, at 95 % for the comparisons of all widths with each other together.
        p_value: two-sided, that the gain is 0 in truth, times that number.
    """

    activation: str
    learning_rate: float
    hidden_units: tuple[int, int]
    seeds: int
    examples: int
    gain: float
    standard_error: float
    interval: Interval
    p_value: float

    @property
    def distinguishable(self) -> bool | None:
        """Whether the interval leaves 0 out; None if there is no interval."""
        if np.isnan(self.interval.low):
            return None
        return self.interval.low > 0 or self.interval.high < 0


def _step(setting: tuple[str, float], contest: Contest, lesser: int, greater: int) -> Step:
    found, sure = contest.compare(lesser, greater)
    interval, p = sure.interval(contest.comparisons), sure.p_value(contest.comparisons)
    if contest.of_hits:  # no difference of two accuracies is beyond 1
        interval = Interval(*np.clip(interval, -1, 1).tolist())
    return Step(*setting, (lesser, greater), found.seeds, found.examples, found.mean, sure.standard_error, interval, p)


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
class Guess:
    """A width against the trivial guess: always the commonest class of the training split, or its mean.

    Attributes:
        score: of the guess, in the measure that choices look at.
        gain: what the width has over it, more for better.
        interval: of the gain, at 95 % for as many as there are widths, as the best of them is what is compared.
    """

    score: float
    gain: float
    interval: Interval

    @property
    def beaten(self) -> bool:
        """Whether the width is better by more than luck."""
        return self.interval.low > 0


@dataclass(frozen=True)
class Verdict:
    """What is known of how many hidden units one setting needs.

    Attributes:
        activation, learning_rate: the setting.
        widths: those at which some trial did not diverge, ascending.
        best: the width that is best on validation in the mean; None if every trial diverged.
        enough: the smallest width to which the best one's gain is at most the standard error of that gain: the
            one-standard-error rule (Breiman et al. 1984); None where there is no standard error.
        alike_from: the smallest width that is not worse than another by more than luck, at 95 % for all of them
            together: what the answer cannot exclude; None likewise.
        gains, test_gains: what each step from one width to the next gains, on validation and on test.
        against_best, test_against_best: what the best has over each other width.
        beyond, test_beyond: what each wider one has over ``enough``.
        guess: of the best against the trivial guess, by split; empty where it is not known what examples make.
        still_learning: widths that were, at the last epoch.
    """

    activation: str
    learning_rate: float
    widths: tuple[int, ...]
    best: Summary | None
    enough: Summary | None
    alike_from: int | None
    gains: list[Step]
    test_gains: list[Step]
    against_best: list[Step]
    test_against_best: list[Step]
    beyond: list[Step]
    test_beyond: list[Step]
    guess: dict[str, Guess]
    still_learning: tuple[int, ...]

    @property
    def reached(self) -> bool | None:
        """Whether fewer than the widest that was tried are enough; None if it cannot be told."""
        return None if self.enough is None else self.enough.hidden_units < self.widths[-1]

    @property
    def widest_is_best(self) -> bool:
        """Whether the best of several widths is the widest, so that wider ones might be better still."""
        return self.best is not None and len(self.widths) > 1 and self.best.hidden_units == self.widths[-1]

    @property
    def allowed(self) -> float | None:
        """The greatest gain over ``enough`` of any wider one tried that validation does not exclude; None for none."""
        known = [step.interval.high for step in self.beyond if not np.isnan(step.interval.high)]
        return max(0.0, *known) if known else None


def verdicts(trials: Table, history: Table, outcomes: Outcomes | None = None) -> list[Verdict]:
    """What is known of each setting.

    Args:
        trials: one row a trial.
        history: one row a trial and epoch.
        outcomes: what each trial makes of each example; None if that is not known, and seeds alone count.
    """
    late = late_learning(history)
    contests = {split: _contests(trials, split, outcomes) for split in SPLITS}
    found = []
    for setting, rows in by_setting(summarize(trials, outcomes)).items():
        slow = (
            each.hidden_units
            for each in late
            if (each.activation, each.learning_rate) == setting and each.still_learning
        )
        here = {split: contests[split][setting] for split in SPLITS if setting in contests[split]}
        found.append(
            _verdict(setting, {row.hidden_units: row for row in rows if row.seeds}, here, outcomes, tuple(sorted(slow)))
        )
    return found


def _verdict(
    setting: tuple[str, float],
    rows: Mapping[int, Summary],
    contests: Mapping[str, Contest],
    outcomes: Outcomes | None,
    slow: tuple[int, ...],
) -> Verdict:
    if not rows:
        return Verdict(*setting, (), None, None, None, [], [], [], [], [], [], {}, slow)
    widths = tuple(sorted(rows))
    best = max((rows[width] for width in widths), key=lambda row: row.merit)

    def steps(split: str, pairs: Sequence[tuple[int, int]]) -> list[Step]:
        return [_step(setting, contests[split], *pair) for pair in pairs]

    to_next = list(itertools.pairwise(widths))
    to_best = [(width, best.hidden_units) for width in widths if width != best.hidden_units]
    gains, against = steps("validation", to_next), steps("validation", to_best)
    enough: Summary | None = None
    alike: int | None = None
    past: list[tuple[int, int]] = []
    if best.seeds > 1:
        worse = {step.hidden_units[step.interval.low <= 0] for step in (*gains, *against) if step.distinguishable}
        near = {step.hidden_units[0] for step in against if step.gain <= step.standard_error}
        for width in sorted(near - worse | {best.hidden_units}):
            past = [(width, wider) for wider in widths if wider > width]
            if not any(step.interval.low > 0 for step in steps("validation", past)):
                enough = rows[width]
                break
            worse.add(width)
        # What has no interval, for want of seeds in common, excludes nothing.
        alike = min(width for width in widths if width not in worse or width == best.hidden_units)
    return Verdict(
        *setting,
        widths,
        best,
        enough,
        alike,
        gains,
        steps("test", to_next),
        against,
        steps("test", to_best),
        steps("validation", past),
        steps("test", past),
        _guesses(best.hidden_units, contests, outcomes),
        slow,
    )


def _guesses(best: int, contests: Mapping[str, Contest], outcomes: Outcomes | None) -> dict[str, Guess]:
    if outcomes is None or not outcomes.known:
        return {}
    found = {}
    for split, contest in contests.items():
        merit = outcomes.guess_merit(split, contest.measure)
        sure = contest.against(best, merit)
        if contest.measure == "loss":
            score = -float(merit.mean())
        else:
            score = float(merit.mean()) + (1.0 if outcomes.graded else 0.0)
        found[split] = Guess(score, sure.mean, sure.interval(len(contest.alternatives)))
    return found


@dataclass(frozen=True)
class BestRate:
    """The learning rate that suits a width best.

    Attributes:
        activation, hidden_units: whose.
        learning_rate: the one that is best on validation in the mean.
        as_good: the others over which its gain is at most the standard error of that gain; None with fewer than two
            seeds.
    """

    activation: str
    hidden_units: int
    learning_rate: float
    as_good: tuple[float, ...] | None


def best_rates(trials: Table, outcomes: Outcomes | None = None) -> list[BestRate]:
    """The best learning rate of each activation and width, of those at which not every trial diverged."""
    points: dict[tuple[str, int], dict[Any, dict[int, int]]] = {}
    for (activation, width, rate), rows in _by_seed(trials, "activation", "hidden_units", "learning_rate").items():
        points.setdefault((activation, width), {})[rate] = rows
    order = [key for key in _groups(trials, "activation", "hidden_units") if key in points]
    by, found = criterion(trials), []
    for activation, width in order:
        rates = points[activation, width]
        contest = Contest(rates, trials, by, "validation", outcomes)
        near = []
        for rate in rates:
            _, sure = contest.compare(rate, contest.best)
            if rate != contest.best and sure.mean <= sure.standard_error:
                near.append(rate)
        known = len(rates[contest.best]) > 1
        found.append(BestRate(activation, width, contest.best, tuple(near) if known else None))
    return found


@dataclass(frozen=True)
class Interaction:
    """Whether the effect of the learning rate depends on the width: analysis of variance of the validation measure.

    Width and learning rate are fixed factors; seeds and examples are random ones, crossed with them. F is the mean
    square of the interaction over what chance would make of it: the interaction's variance over seeds and that over
    examples, each divided by their number, added (a quasi-F ratio; what both count is not taken off, which errs to the
    safe side). It takes these variances to be the same in every cell; learning rates far too low or high break that.

    Attributes:
        activation: whose trials.
        hidden_units, learning_rates: the levels that were compared. Learning rates at which every trial diverged are
            left out, then widths of which some trial did.
        seeds: how many.
        f: the statistic.
        degrees: of freedom, of the interaction and (Satterthwaite's) of what it is held against.
        p_value: probability of an F as great if there is no interaction.
    """

    activation: str
    hidden_units: tuple[int, ...]
    learning_rates: tuple[float, ...]
    seeds: int
    f: float
    degrees: tuple[int, float]
    p_value: float


def interactions(trials: Table, outcomes: Outcomes | None = None) -> list[Interaction]:
    """The interaction of width and learning rate for each activation that has two or more of each, and of seeds."""
    by, found = criterion(trials), []
    points = _by_seed(trials, "activation", "hidden_units", "learning_rate")
    for activation in dict.fromkeys(trials["activation"].tolist()):
        cells = {(width, rate): rows for (name, width, rate), rows in points.items() if name == activation}
        rates = tuple(sorted({rate for _, rate in cells}))
        seeds = sorted({seed for rows in cells.values() for seed in rows})
        widths = tuple(
            width
            for width in sorted({width for width, _ in cells})
            if all(seed in cells.get((width, rate), {}) for rate in rates for seed in seeds)
        )
        if min(len(widths), len(rates), len(seeds)) < 2:
            continue
        rows = np.array([[[cells[width, rate][seed] for seed in seeds] for rate in rates] for width in widths])
        scores = by.merit(trials[by.column].astype(float))[rows]
        by_example = None
        if outcomes is not None and outcomes.known:
            by_example = np.array(
                [
                    [
                        outcomes.merit("validation", trials["trial"][cell].tolist(), by.measure).mean(axis=0)
                        for cell in line
                    ]
                    for line in rows
                ]
            )
        found.append(Interaction(activation, widths, rates, len(seeds), *_interaction_test(scores, by_example)))
    return found


def _interaction_test(
    by_seed: Float[np.ndarray, "widths rates seeds"], by_example: Float[np.ndarray, "widths rates examples"] | None
) -> tuple[float, tuple[int, float], float]:
    """F, its degrees of freedom and its p-value, of complete tables; without one by example seeds alone count."""
    from scipy import stats

    def mixed(y: np.ndarray) -> np.ndarray:
        return y - y.mean(axis=0, keepdims=True) - y.mean(axis=1, keepdims=True) + y.mean(axis=(0, 1), keepdims=True)

    a, b, _ = by_seed.shape
    free = (a - 1) * (b - 1)
    chance, uncertain = 0.0, 0.0
    for table in (by_seed, by_example):
        if table is not None and (n := table.shape[2]) > 1:
            each = mixed(table)
            error = float(np.sum((each - each.mean(axis=2, keepdims=True)) ** 2)) / (free * (n - 1)) / n
            chance, uncertain = chance + error, uncertain + error**2 / (free * (n - 1))
    with np.errstate(divide="ignore", invalid="ignore"):  # no error at all: F is infinite, or nothing differs
        f = np.sum(mixed(by_seed.mean(axis=2, keepdims=True)) ** 2) / free / np.float64(chance)
        degrees = float(np.float64(chance) ** 2 / uncertain)
    return float(f), (free, degrees), float(stats.f.sf(f, free, degrees))


def seconds_alone(timing: Table) -> dict[int, float]:
    """By width: median seconds of an epoch of ``fit``, from a table that ``mlp_jax.runs.timing`` measured."""
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
        measure_name: what choices look at: the score, or ``loss`` where it cannot be computed.
        undefined: why a score cannot be computed, by split; empty where all can.
        examples: by split, how many; empty of a run that does not say.
        sure_of: what chance counts, in words: seeds and examples, or seeds alone where nothing is known of examples.
        rows: by point of the grid.
        best_epoch: of each row, the median over its trials of ``best_epochs``; NaN if there is none.
        seconds_alone: by width, if it was measured; else empty.
        learning_rates: that were asked for.
        best_rates: where there are several learning rates; else empty.
        interactions: where there are several learning rates and widths; else empty.
        late_learning: ``late_learning``.
        verdicts: a row a setting.
    """

    score_name: str
    measure_name: str
    undefined: dict[str, str]
    examples: dict[str, int]
    sure_of: str
    rows: list[Summary]
    best_epoch: list[float]
    seconds_alone: dict[int, float]
    learning_rates: tuple[float, ...]
    best_rates: list[BestRate]
    interactions: list[Interaction]
    late_learning: list[LateLearning]
    verdicts: list[Verdict]

    def steps(self, name: str) -> list[Step]:
        """Those of every setting: ``gains``, ``against_best``, ``beyond``, or one of these on test."""
        return [step for verdict in self.verdicts for step in getattr(verdict, name)]


def undefined_scores(trials: Table, examples: Mapping[str, int]) -> dict[str, str]:
    """By split, why the score of every trial that did not diverge cannot be computed there; empty where all can."""
    good = trials["diverged"] == 0
    found = {}
    for split in ("train", *SPLITS):
        if good.any() and np.isnan(trials[f"{split}_score"][good]).all():
            found[split] = "1 example" if examples.get(split) == 1 else "all targets are the same"
    return found


def measure_name(trials: Table, score_name: str) -> str:
    """What choices look at, in words: the score, or the loss."""
    return score_name if criterion(trials).measure == "score" else "loss"


def _chance_of(outcomes: Outcomes | None) -> str:
    if outcomes is None or not outcomes.sizes:
        return "seeds"
    return "seeds and examples" + ("" if outcomes.known else " (as if models were wrong independently)")


def analyse(
    trials: Table,
    history: Table,
    config: Mapping[str, Any],
    timing: Table | None = None,
    outcomes: Outcomes | None = None,
) -> Analysis:
    """Analyse a run.

    Args:
        trials: one row a trial.
        history: one row a trial and epoch.
        config: of the run.
        timing: what ``mlp_jax.runs.timing`` measured, if it did.
        outcomes: what each trial makes of each example; None if that is not known.
    """
    rows = summarize(trials, outcomes)
    epochs = best_epochs(history)
    several_rates = len(set(trials["learning_rate"].tolist())) > 1
    best = []
    for here in _groups(trials, *POINT).values():  # in the order of the rows
        known = [epochs[trial] for trial in trials["trial"][here].tolist() if trial in epochs]
        best.append(float(np.median(known)) if known else np.nan)
    examples = dict(config.get("examples") or {})
    return Analysis(
        score_name=config["score_name"],
        measure_name=measure_name(trials, config["score_name"]),
        undefined=undefined_scores(trials, examples),
        examples=examples,
        sure_of=_chance_of(outcomes),
        rows=rows,
        best_epoch=best,
        seconds_alone=seconds_alone(timing) if timing is not None else {},
        learning_rates=tuple(dict.fromkeys(trials["learning_rate"].tolist())),
        best_rates=best_rates(trials, outcomes) if several_rates else [],
        interactions=interactions(trials, outcomes),
        late_learning=late_learning(history),
        verdicts=verdicts(trials, history, outcomes),
    )


def analysis_record(analysis: Analysis) -> dict[str, Any]:
    """An analysis as plain data, for scripts."""
    columns = zip(analysis.rows, analysis.best_epoch, strict=True)
    return {
        "score_name": analysis.score_name,
        "measure": analysis.measure_name,
        "undefined": analysis.undefined,
        "confidence": CONFIDENCE,
        "chance_of": analysis.sure_of,
        "widths": [
            asdict(row) | {"best_epoch": epoch, "seconds_alone": analysis.seconds_alone.get(row.hidden_units)}
            for row, epoch in columns
        ],
        "saturation": saturation_record(analysis.verdicts),
        "late_learning": [asdict(each) | {"still_learning": each.still_learning} for each in analysis.late_learning],
        **{
            name: [asdict(step) | {"distinguishable": step.distinguishable} for step in analysis.steps(name)]
            for name in ("gains", "test_gains", "against_best", "test_against_best", "beyond", "test_beyond")
        },
        "best_rates": [asdict(best) for best in analysis.best_rates],
        "interactions": [asdict(each) for each in analysis.interactions],
    }


def saturation_record(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """How many hidden units each setting needs, as plain data; None where it cannot be told.

    ``hidden_units`` is the smallest width that is enough by the one-standard-error rule, and ``reached`` false if that
    is the widest that was tried; ``alike_from`` the smallest that is not worse than another by more than luck;
    ``gain_not_excluded`` the greatest that a wider one may have over ``hidden_units``.
    """
    return [
        {
            "activation": each.activation,
            "learning_rate": each.learning_rate,
            "hidden_units": each.enough.hidden_units if each.enough else None,
            "reached": each.reached,
            "best": each.best.hidden_units if each.best else None,
            "widest": each.widths[-1] if each.widths else None,
            "widest_is_best": each.widest_is_best,
            "alike_from": each.alike_from,
            "gain_not_excluded": each.allowed,
            "trivial_guess": {split: asdict(guess) | {"beaten": guess.beaten} for split, guess in each.guess.items()},
            "still_learning": list(each.still_learning),
        }
        for each in verdicts
    ]
