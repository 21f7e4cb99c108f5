"""Optuna's samplers: a study is asked for a batch of trials, which a sweep trains together, and is told the results."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp_jax.datasets import Dataset
from mlp_jax.errors import InputError, MissingExtraError, instance, whole
from mlp_jax.sweeps.grid import MOST_TRIALS, Grid
from mlp_jax.sweeps.sweep import SweepResult, sweep
from mlp_jax.training.axes import AXES, Trial, make_trial
from mlp_jax.training.recipe import Recipe

if TYPE_CHECKING:
    import optuna

Suggest = Callable[["optuna.trial.Trial"], Mapping[str, Any]]
"""From a trial of a study to values of axes (``mlp_jax.Trial``), without a seed: what it is to stand for."""


def optimize(
    study: "optuna.study.Study",
    suggest: Suggest,
    dataset: Dataset,
    *,
    batches: int,
    batch_size: int = 32,
    seeds: Sequence[int] | int = 3,
    recipe: Recipe = Recipe(),
    on_batch: Callable[[SweepResult], None] | None = None,
    **options: Any,
) -> SweepResult:
    """Optimize a study, as ``study.optimize`` would, but train the trials of each batch together, each with all seeds.

    A study that maximizes is told the mean validation score over the seeds; one that minimizes, the mean validation
    loss. Of every report the mean is an intermediate value, and each seed's final value the user attribute ``by_seed``.
    Where a seed diverged, the trial counts as pruned, which samplers take for worse than any that was not.

    The study chooses a batch before it knows any result of it: ``TPESampler(constant_liar=True)`` keeps its trials
    apart. A study that has a storage goes on where it ended, as always.

    Args:
        study: with one direction.
        suggest: from a trial of the study to values by the names of ``mlp_jax.Trial``'s fields, of which
            ``hidden_units``, ``activation`` and ``learning_rate`` have to be there, and ``seed`` must not.
        dataset: what to train on.
        batches: how many.
        batch_size: trials of the study in each.
        seeds: a number n stands for 0, ..., n − 1.
        recipe: as for ``sweep``.
        on_batch: told what came of each batch.
        **options: further ones of ``sweep``.

    Returns:
        What came of the batch that has the best trial of these, from which its models can be had.

    Raises:
        InputError: an argument that makes no sense; trials that were begun are told to have failed.
        MissingExtraError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("optimizing a study", "optuna", "optuna") from None
    instance("study", study, optuna.study.Study, "an optuna.Study")
    instance("suggest", suggest, Callable, "a function")
    instance("on_batch", on_batch, Callable | None, "a function, or None")
    batches, batch_size = whole("batches", batches, 1, MOST_TRIALS), whole("batch_size", batch_size, 1, MOST_TRIALS)
    if len(study.directions) > 1:
        raise InputError(f"study has {len(study.directions)} directions: expected one, to maximize or to minimize")
    maximizes = study.direction == optuna.study.StudyDirection.MAXIMIZE
    each_seed = Grid((1,), seeds=seeds).values("seed")
    best: tuple[float, SweepResult] | None = None
    result = None
    for _ in range(batches):
        asked = [study.ask() for _ in range(batch_size)]
        told: set[int] = set()
        try:
            points = [_point(suggest(trial)) for trial in asked]
            every = (point._replace(seed=seed) for point in dict.fromkeys(points) for seed in each_seed)
            result = sweep(Grid.of(every), dataset, recipe=recipe, **options)
            place = {trial: number for number, trial in enumerate(result.trials)}
            for trial, point in zip(asked, points, strict=True):
                value = _tell(study, trial, result, [place[point._replace(seed=seed)] for seed in each_seed], maximizes)
                told.add(trial.number)
                merit = value if maximizes else -value
                if np.isfinite(merit) and (best is None or merit > best[0]):
                    best = merit, result
        finally:
            for trial in asked:
                if trial.number not in told:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
        if on_batch is not None:
            on_batch(result)
    assert result is not None
    return result if best is None else best[1]


def _point(values: Any) -> Trial:
    """What a trial of a study stands for, without a seed."""
    instance("what suggest returns", values, Mapping, "values by the names of axes")
    for name, axis in AXES.items():
        if axis.default is None and name != "seed" and name not in values:
            raise InputError(f"suggest gives no {name}: expected a value for it")
    if "seed" in values:
        raise InputError("suggest gives a seed: expected none, as each trial is trained with all of seeds")
    return make_trial(**values, seed=0)


def _tell(
    study: "optuna.study.Study", trial: "optuna.trial.Trial", result: SweepResult, places: list[int], maximizes: bool
) -> float:
    """Tell a study what came of one of its trials; returns its value, NaN if it has none."""
    from optuna.trial import TrialState

    measure = "validation_score" if maximizes else "validation_loss"
    by_seed = result.final[measure][places].astype(float)
    curve = result.history[measure][places].mean(axis=0, dtype=float)
    for number, value in enumerate(curve.tolist()):
        if np.isfinite(value):
            trial.report(value, (number + 1) * result.recipe.report_every)
    trial.set_user_attr("by_seed", by_seed.tolist())
    if (result.diverged[places] > 0).any() or not np.isfinite(by_seed).all():
        study.tell(trial, state=TrialState.PRUNED)
        return float("nan")
    value = float(by_seed.mean())
    study.tell(trial, value)
    return value
