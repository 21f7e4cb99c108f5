"""What results say: means and intervals, the gain of each step in M, how many units are enough, and how sure that is.

Pure functions of the tables of ``mlp_jax.runs.tables`` and of what each trial makes of each example
(``mlp_jax.sweeps.outcomes``): each subject in a file of its own beside this one, everything for a run here. Whatever
is said to be more than chance, every interval and the choice of the smallest width that is enough rest on one model of
chance, of both the seeds and the examples: ``mlp_jax.answers.variation``. All intervals are of 95 %. Choices look at
the validation split; trials that diverged are left out and counted.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlp_jax.answers.contests import Step
from mlp_jax.answers.deciding import looks_of
from mlp_jax.answers.learning import LateLearning, best_epochs, late_learning
from mlp_jax.answers.points import Summary, best_point, by_setting, summarize
from mlp_jax.answers.ranking import ranking, search_record
from mlp_jax.answers.rates import BestRate, Interaction, best_rates, interactions
from mlp_jax.answers.rows import POINT, groups
from mlp_jax.answers.scores import bounded, number_text, score_text
from mlp_jax.answers.variation import CONFIDENCE
from mlp_jax.answers.verdicts import Verdict, saturation_record, verdicts
from mlp_jax.runs.tables import Table, criterion, of_trials, to_the_end
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes

__all__ = [
    "Analysis",
    "BestRate",
    "Interaction",
    "LateLearning",
    "Step",
    "Summary",
    "Verdict",
    "analyse",
    "analysis_record",
    "best_epochs",
    "best_point",
    "best_rates",
    "bounded",
    "by_setting",
    "interactions",
    "late_learning",
    "measure_name",
    "number_text",
    "saturation_record",
    "score_text",
    "seconds_alone",
    "seconds_together",
    "summarize",
    "undefined_scores",
    "verdicts",
]


def seconds_alone(timing: Table) -> dict[int, float]:
    """Median seconds per epoch of ``fit`` by width, from a table measured by ``mlp_jax.runs.timing``."""
    return _median_seconds(timing, "alone")


def seconds_together(timing: Table) -> dict[int, float]:
    """Median seconds per epoch of a sweep of each width and all smaller ones, by width, measured likewise."""
    return _median_seconds(timing, "together")


def _median_seconds(timing: Table, program: str) -> dict[int, float]:
    here = timing["program"] == program
    widths = sorted(set(timing["hidden_units"][here].tolist()))
    return {m: float(np.median(timing["seconds"][here & (timing["hidden_units"] == m)])) for m in widths}


@dataclass(frozen=True)
class Analysis:
    """The analysis of one run.

    Attributes:
        score_name: name of the score.
        measure_name: what choices are based on: the score, or ``loss`` if it cannot be computed.
        undefined: why a score cannot be computed, by split; empty if all can.
        examples: number of examples by split; empty if the run does not say.
        looks: number of planned looks at which seeds could have stopped being added; 1 if all were asked for.
        sure_of: sources of chance in words: seeds and examples, or seeds alone if results by example are not known.
        rows: one summary per point of the grid.
        best_epoch: for each row, the median of ``best_epochs`` over its trials; NaN if there is none.
        seconds_alone: by width, if measured; else empty.
        learning_rates: the learning rates of the grid.
        best_rates: best rates, if there are several learning rates; else empty.
        interactions: interactions, if there are several learning rates and widths; else empty.
        late_learning: result of ``late_learning``.
        verdicts: one per setting.
        search: of a search, its result (``mlp_jax.answers.ranking``), everything else being of the configurations that
            were trained to the end; empty for a sweep.
    """

    score_name: str
    measure_name: str
    undefined: dict[str, str]
    examples: dict[str, int]
    looks: int
    sure_of: str
    rows: list[Summary]
    best_epoch: list[float]
    seconds_alone: dict[int, float]
    learning_rates: tuple[float, ...]
    best_rates: list[BestRate]
    interactions: list[Interaction]
    late_learning: list[LateLearning]
    verdicts: list[Verdict]
    search: dict[str, Any]

    def steps(self, name: str) -> list[Step]:
        """The comparisons of every setting: ``gains``, ``against_best``, ``beyond``, or one of these on test."""
        return [step for verdict in self.verdicts for step in getattr(verdict, name)]


def undefined_scores(trials: Table, examples: Mapping[str, int]) -> dict[str, str]:
    """Why scores of trials that did not diverge cannot be computed, by split; empty where they can."""
    good = trials["diverged"] == 0
    found = {}
    for split in ("train", *SPLITS):
        if good.any() and np.isnan(trials[f"{split}_score"][good]).all():
            found[split] = "1 example" if examples.get(split) == 1 else "all targets are the same"
    return found


def measure_name(trials: Table, score_name: str) -> str:
    """Name of what choices are based on: the score, or the loss."""
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
        trials: table with one row per trial.
        history: table with one row per trial and epoch.
        config: of the run.
        timing: measurements of ``mlp_jax.runs.timing``, if there are any.
        outcomes: results by example; None if they are not known.
    """
    search = {}
    if "search" in config:
        search = search_record(ranking(trials, config["epochs"]), trials, config)
        trials = to_the_end(trials)
        history = of_trials(history, trials)
    rows = summarize(trials, outcomes)
    epochs = best_epochs(history)
    several_rates = len(set(trials["learning_rate"].tolist())) > 1
    best = []
    for here in groups(trials, *POINT).values():  # in the order of the rows
        known = [epochs[trial] for trial in trials["trial"][here].tolist() if trial in epochs]
        best.append(float(np.median(known)) if known else np.nan)
    examples = dict(config.get("examples") or {})
    return Analysis(
        score_name=config["score_name"],
        measure_name=measure_name(trials, config["score_name"]),
        undefined=undefined_scores(trials, examples),
        examples=examples,
        looks=looks_of(config),
        sure_of=_chance_of(outcomes),
        rows=rows,
        best_epoch=best,
        seconds_alone=seconds_alone(timing) if timing is not None else {},
        learning_rates=tuple(dict.fromkeys(trials["learning_rate"].tolist())),
        best_rates=best_rates(trials, outcomes) if several_rates else [],
        interactions=interactions(trials, outcomes),
        late_learning=late_learning(history),
        verdicts=verdicts(trials, history, outcomes, looks_of(config)),
        search=search,
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
        "looks": analysis.looks,
        "widths": [
            row.record | {"best_epoch": epoch, "seconds_alone": analysis.seconds_alone.get(row.hidden_units)}
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
        **({"search": analysis.search} if analysis.search else {}),
    }
