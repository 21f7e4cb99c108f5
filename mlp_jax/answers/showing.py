"""What figures show of a run's answer: the width that is enough, and the trials whose models are drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlp_jax.answers.deciding import looks_of
from mlp_jax.answers.verdicts import Verdict, verdicts
from mlp_jax.runs.tables import Table, best_trial, of_trials, to_the_end
from mlp_jax.sweeps.outcomes import Outcomes


def what_is_enough(found: Sequence[Verdict]) -> tuple[int, str] | None:
    """The width that is enough and why, if there is only one setting."""
    first, *others = found
    if others or first.enough is None or first.best is None or not first.reached:
        return None
    width, best = first.enough.hidden_units, first.best.hidden_units
    why = f"within one standard error of the best\non validation, M = {best}" if width != best else "best on validation"
    return width, f"{why}{', the widest tried' if first.widest_is_best else ''}"


def trials_to_show(
    trials: Table, history: Table, config: Mapping[str, Any], outcomes: Outcomes | None = None
) -> list[int]:
    """Numbers of the trials whose models are worth a figure.

    They are the best trial on validation and, where a smaller width is recommended than it has, the best of that width.

    Args:
        trials: table with one row per trial.
        history: table with one row per trial and epoch.
        config: the run's configuration.
        outcomes: results by example.

    Raises:
        InputError: every trial diverged.
    """
    best = best_trial(trials)
    trials = to_the_end(trials) if "search" in config else trials
    enough = what_is_enough(verdicts(trials, of_trials(history, trials), outcomes, looks_of(config)))
    if enough is None or enough[0] == trials["hidden_units"][trials["trial"] == best][0]:
        return [best]
    of_width = trials["hidden_units"] == enough[0]
    return [best, best_trial({name: column[of_width] for name, column in trials.items()})]
