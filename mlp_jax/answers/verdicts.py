"""How many hidden units are enough, setting by setting, and what remains unclear."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlp_jax.answers.contests import Contest, Step, compare_widths, contests
from mlp_jax.answers.learning import late_learning
from mlp_jax.answers.points import Summary, by_setting, summarize
from mlp_jax.answers.rows import OfSetting
from mlp_jax.answers.variation import Interval
from mlp_jax.runs.tables import Table
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes


@dataclass(frozen=True)
class Guess:
    """A width compared with the trivial guess: always the commonest class of the training split, or its mean.

    Attributes:
        score: of the guess, in the measure of choice.
        gain: the width's gain over it; higher is better.
        interval: of the gain, at 95 % for all widths together, as the best of them is compared.
    """

    score: float
    gain: float
    interval: Interval

    @property
    def beaten(self) -> bool:
        """Whether the width is better by more than luck."""
        return self.interval.low > 0


@dataclass(frozen=True)
class Verdict(OfSetting):
    """How many hidden units one setting needs, as far as is known.

    Attributes:
        variant, learning_rate: the setting.
        widths: widths at which some trial did not diverge, ascending.
        best: the width with the best mean on validation; None if every trial diverged.
        enough: the smallest width to which the best one's gain is at most the standard error of that gain: the
            one-standard-error rule (Breiman et al. 1984); None if there is no standard error.
        alike_from: the smallest width that is not worse than another by more than luck, at 95 % for all of them
            together: what the answer cannot exclude; None likewise.
        gains, test_gains: the gain of each step from one width to the next, on validation and on test.
        against_best, test_against_best: the gain of the best over each other width.
        beyond, test_beyond: the gain of each wider width over ``enough``.
        guess: the best compared with the trivial guess, by split; empty if results by example are not known.
        still_learning: widths that were still learning at the last epoch.
    """

    variant: str
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
        """Whether fewer hidden units than the most that were tried are enough; None if unknown."""
        return None if self.enough is None else self.enough.hidden_units < self.widths[-1]

    @property
    def widest_is_best(self) -> bool:
        """Whether the best of several widths is the widest, so that wider ones might be even better."""
        return self.best is not None and len(self.widths) > 1 and self.best.hidden_units == self.widths[-1]

    @property
    def allowed(self) -> float | None:
        """The greatest gain of a wider width over ``enough`` that validation does not exclude; None if none."""
        known = [step.interval.high for step in self.beyond if not np.isnan(step.interval.high)]
        return max(0.0, *known) if known else None


def verdicts(trials: Table, history: Table, outcomes: Outcomes | None = None) -> list[Verdict]:
    """The verdict on each setting.

    Args:
        trials: table with one row per trial.
        history: table with one row per trial and epoch.
        outcomes: results by example; None if they are not known, so that only seeds count.
    """
    late = late_learning(history)
    by_split = {split: contests(trials, split, outcomes) for split in SPLITS}
    said = []
    for setting, rows in by_setting(summarize(trials, outcomes)).items():
        slow = (each.hidden_units for each in late if each.setting == setting and each.still_learning)
        here = {split: found[setting] for split, found in by_split.items() if setting in found}
        said.append(
            _verdict(setting, {row.hidden_units: row for row in rows if row.seeds}, here, outcomes, tuple(sorted(slow)))
        )
    return said


def _verdict(
    setting: tuple[str, float],
    rows: Mapping[int, Summary],
    by_split: Mapping[str, Contest],
    outcomes: Outcomes | None,
    slow: tuple[int, ...],
) -> Verdict:
    if not rows:
        return Verdict(*setting, (), None, None, None, [], [], [], [], [], [], {}, slow)
    widths = tuple(sorted(rows))
    best = max((rows[width] for width in widths), key=lambda row: row.merit)

    def steps(split: str, pairs: Sequence[tuple[int, int]]) -> list[Step]:
        return [compare_widths(setting, by_split[split], *pair) for pair in pairs]

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
        _guesses(best.hidden_units, by_split, outcomes),
        slow,
    )


def _guesses(best: int, by_split: Mapping[str, Contest], outcomes: Outcomes | None) -> dict[str, Guess]:
    if outcomes is None or not outcomes.known:
        return {}
    found = {}
    for split, contest in by_split.items():
        merit = outcomes.guess_merit(split, contest.measure)
        sure = contest.against(best, merit)
        if contest.measure == "loss":
            score = -float(merit.mean())
        else:
            score = float(merit.mean()) + (1.0 if outcomes.graded else 0.0)
        found[split] = Guess(score, sure.mean, sure.interval(len(contest.alternatives)))
    return found


def saturation_record(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """How many hidden units each setting needs, as plain data; None where unknown.

    ``hidden_units`` is the smallest width that is enough by the one-standard-error rule, and ``reached`` false if that
    is the widest that was tried; ``alike_from`` the smallest that is not worse than another by more than luck;
    ``gain_not_excluded`` the greatest that a wider one may have over ``hidden_units``.
    """
    return [
        {
            "variant": each.variant,
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
