"""How often answers are wrong: grids of known truth, drawn, analysed, and what is said held against what is so.

    PYTHONPATH=. python tests/simulation.py [GRIDS]

prints the table of docs/method.md. A grid has six widths. Whether a trial is right about an example is drawn from how
hard the example is, what the width makes of it, how lucky the trial's seed is, and chance of its own; so trials of a
width share their mistakes, other widths share most of them, and seeds matter, to narrow widths more.
"""

import itertools
import sys
from typing import NamedTuple

import numpy as np
from scipy import stats

from mlp_jax.answers.analysis import Verdict, summarize, verdicts
from mlp_jax.runs.tables import CURVES, SCORES, with_variants
from mlp_jax.sweeps.outcomes import Outcomes, packed

WIDTHS = (10, 25, 50, 100, 150, 200)
CURVES_OF_TRUTH = {
    "flat": (0.94,) * 6,
    "saturating": (0.90, 0.93, 0.95, 0.96, 0.96, 0.96),
    "rising": (0.926, 0.955, 0.967, 0.975, 0.978, 0.980),
}
SEEDS, EXAMPLES = (2, 3, 5, 10), (95, 1000, 5000)

HARD, TASTE, OWN = 2.0, 0.5, 1.0  # standard deviations: of examples, of width and example, of trial and example
LUCK = (0.06, 0.05, 0.04, 0.03, 0.02, 0.02)  # of seeds, by width
MUCH = 4  # times as lucky: as training that does not converge makes them


def draw(truth, seeds, examples, rng, times=1):
    """Tables of trials and of their history, and outcomes, of a grid whose widths have these true accuracies."""
    luck = times * np.array(LUCK)[:, None]
    whole = np.sqrt(HARD**2 + TASTE**2 + OWN**2 + luck**2)
    ability = (stats.norm.ppf(truth)[:, None] * whole + luck * rng.normal(size=(len(truth), seeds)))[:, :, None]
    ability = ability + HARD * rng.normal(size=examples) + TASTE * rng.normal(size=(len(truth), 1, examples))
    right = ability + OWN * rng.normal(size=(len(truth), seeds, examples)) > 0
    hits = right.reshape(-1, examples)
    sizes = {"validation": examples, "test": 8}  # of what is said of test nothing is judged
    outcomes = Outcomes(
        sizes,
        {split: packed(hits[:, :size]) for split, size in sizes.items()},
        {split: packed(np.zeros(size, bool)) for split, size in sizes.items()},
        dict.fromkeys(sizes, np.nan),
    )
    count = len(hits)
    trials = {
        "trial": np.arange(count),
        "hidden_units": np.repeat(WIDTHS[: len(truth)], seeds),
        "activation": np.full(count, "sigmoid"),
        "learning_rate": np.full(count, 1e-3),
        "seed": np.tile(np.arange(seeds), len(truth)),
        "parameters": np.ones(count, int),
        "diverged": np.zeros(count, int),
        **dict.fromkeys(SCORES, hits.mean(axis=1)),
    }
    trials = with_variants(trials)
    keys = ("trial", "hidden_units", "variant", "learning_rate", "seed", "diverged")
    history = (
        {key: trials[key] for key in keys} | {"epoch": np.ones(count, int)} | dict.fromkeys(CURVES, np.ones(count))
    )
    return trials, history, outcomes


class Counts(NamedTuple):
    """Of what is said of a grid, what is not so; each 0 or 1, or a share."""

    wrong: float
    """A width is said to be worse than another that is not, or a gain to be more than luck that is none."""
    overconfident: float
    """Wider widths gain more than what is said not to be excluded."""
    silent: float
    """No width is excluded, though some are worse."""
    missed: float
    """Share of the intervals of gains that do not hold the truth; they are to hold all together."""
    outside: float
    """Share of the intervals of means that do not hold the truth."""


def judge(truth, verdict: Verdict, rows) -> Counts:
    """Hold a verdict against the truth."""
    true = dict(zip(WIDTHS, truth, strict=False))
    steps = [*verdict.gains, *verdict.against_best, *verdict.beyond]

    def gain(step):
        return true[step.hidden_units[1]] - true[step.hidden_units[0]]

    told = [step for step in steps if step.distinguishable]
    best = min(width for width in true if np.isclose(true[width], max(true.values())))
    wrong = verdict.alike_from > best or any(np.sign(step.gain) * gain(step) <= 1e-12 for step in told)
    point = verdict.enough.hidden_units
    more = max((true[width] - true[point] for width in true if width > point), default=0.0)
    allowed = np.inf if verdict.allowed is None else verdict.allowed
    missed = [not step.interval.low - 1e-12 <= gain(step) <= step.interval.high + 1e-12 for step in verdict.gains]
    outside = [
        not row.interval["validation"].low <= true[row.hidden_units] <= row.interval["validation"].high for row in rows
    ]
    return Counts(
        float(wrong),
        float(more > allowed + 1e-12),
        float(verdict.alike_from == WIDTHS[0] and true[WIDTHS[0]] < max(true.values())),
        float(any(missed)),
        float(np.mean(outside)),
    )


def rates(truth, seeds, examples, grids, rng, times=1) -> Counts:
    """Means over so many grids."""
    found = []
    for _ in range(grids):
        trials, history, outcomes = draw(truth, seeds, examples, rng, times)
        (verdict,) = verdicts(trials, history, outcomes)
        found.append(judge(truth, verdict, summarize(trials, outcomes)))
    return Counts(*np.mean(found, axis=0))


def table(grids):
    """Lines of the table in docs/method.md."""
    yield "| curve | seeds | examples | wrong | overconfident | silent | gains missed | means missed |"
    yield "| --- " + "| ---: " * 7 + "|"
    much = itertools.product(("flat", "saturating"), (5000,), SEEDS)
    for times, cases in ((1, itertools.product(CURVES_OF_TRUTH, EXAMPLES, SEEDS)), (MUCH, much)):
        rng = np.random.default_rng(times > 1)
        for name, examples, seeds in cases:
            counts = rates(CURVES_OF_TRUTH[name], seeds, examples, grids, rng, times)
            cells = (f"{100 * count:.1f} %" for count in counts)
            cells = " | ".join("–" if name == "flat" and i == 2 else cell for i, cell in enumerate(cells))
            yield f"| {name}{', seeds matter much' if times > 1 else ''} | {seeds} | {examples:,} | {cells} |"


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if sys.argv[1:] else 100):
        print(line, flush=True)
