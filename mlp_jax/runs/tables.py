"""Results as tidy tables; what they say is worked out in ``mlp_jax.answers.analysis``.

A table is a dict of columns, NumPy arrays of equal length: ``trials`` has a row a trial, ``history`` a row a trial
and epoch.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mlp_jax.errors import InputError
from mlp_jax.sweeps.sweep import SweepResult
from mlp_jax.training.axes import AXES, RULE
from mlp_jax.training.fit import Fit

Table = dict[str, np.ndarray]

KEYS = ("hidden_units", "activation", "learning_rate", "seed")
SCORES = ("train_loss", "train_score", "validation_loss", "validation_score", "test_loss", "test_score")
CURVES = ("loss", "score", "validation_loss", "validation_score")

ARTICLE_TEST_ACCURACY = {10: 0.9238, 100: 0.9749}
"""By M: the article's own figures, one seed."""

KERAS_TEST_ACCURACY = {10: 0.9263, 25: 0.9503, 50: 0.9668, 100: 0.9754, 150: 0.9783, 200: 0.9776}
"""By M: Keras 3.15 (TensorFlow), the article's recipe, one seed, measured for this project's design page."""


def trials_table(result: SweepResult) -> Table:
    """One row a trial, in the order of the grid; ``diverged`` is the epoch in which it did, 0 if it did not.

    Raises:
        InputError: trials differ in more than width, activation, learning rate and seed, or have several hidden layers.
    """
    if deep := next((widths for widths in result.grid.values("hidden_units") if isinstance(widths, tuple)), None):
        raise InputError(
            f"hidden_units holds {deep}: tables, runs and their analysis are of one hidden layer, so use what sweep "
            "returns"
        )
    keys = {key: np.array([getattr(trial, key) for trial in result.trials]) for key in KEYS}
    return {
        "trial": np.arange(len(result.trials)),
        **keys,
        "parameters": result.parameters,
        "diverged": result.diverged,
        **{column: result.final[column] for column in SCORES},
    }


def history_table(result: SweepResult) -> Table:
    """One row a trial and epoch; ``diverged`` is 1 from the epoch on in which the trial diverged."""
    trials, epochs = len(result.trials), result.recipe.epochs
    epoch = np.tile(np.arange(1, epochs + 1), trials)
    diverged = np.repeat(result.diverged, epochs)
    keys = trials_table(result)
    return {
        **{key: np.repeat(keys[key], epochs) for key in ("trial", *KEYS)},
        "epoch": epoch,
        "diverged": ((diverged > 0) & (epoch >= diverged)).astype(int),
        **{column: result.history[column].ravel() for column in CURVES},
    }


def fit_history_table(trained: Fit) -> Table:
    """One row an epoch of a model that was trained alone: like ``history_table`` of a single trial."""
    epochs, model = len(trained.history.loss), trained.model
    curves = {column: getattr(trained.history, column) for column in CURVES}
    keys = dict(zip(KEYS, (model.hidden_units, model.activation, trained.learning_rate, trained.seed), strict=True))
    return {
        "trial": np.zeros(epochs, int),
        **{key: np.full(epochs, value) for key, value in keys.items()},
        "epoch": np.arange(1, epochs + 1),
        "diverged": (~np.isfinite(curves["loss"])).astype(int),
        **curves,
    }


class Criterion(NamedTuple):
    """What choices look at: the validation score or, of a run of which none can be computed, the validation loss.

    R² is not defined where targets do not vary, as of a single example.
    """

    measure: str

    @property
    def column(self) -> str:
        """Of a table."""
        return f"validation_{self.measure}"

    def merit(self, values: np.ndarray) -> np.ndarray:
        """Values of the measure, of any split, so that more is better."""
        return values if self.measure == "score" else -values


def criterion(table: Table) -> Criterion:
    """What choices look at among these trials, or epochs of trials."""
    score, loss = (table[f"validation_{measure}"][table["diverged"] == 0] for measure in ("score", "loss"))
    return Criterion("loss" if np.isnan(score).all() and not np.isnan(loss).all() else "score")


def best_trial(trials: Table) -> int:
    """Number of the trial that is best by ``criterion``, the first of equals; those that diverged are left out.

    Raises:
        InputError: every trial diverged.
    """
    by = criterion(trials)
    scores = np.where(trials["diverged"] == 0, by.merit(trials[by.column]), np.nan)
    if np.isnan(scores).all():
        raise InputError("every trial of the run diverged: there is none to use")
    return int(trials["trial"][np.nanargmax(scores)])


def references(config: Mapping[str, object]) -> dict[str, dict[int, float]]:
    """Test accuracies by others that a run may be held against: the article's and Keras's, if the recipe was theirs.

    Args:
        config: of the run, as ``mlp_jax.runs.directory`` writes it.
    """
    recipe = {"dataset": "mnist", "epochs": 20, "batch_size": 128, "use_bias": True}
    other_rule = any(AXES[name].plural in config for name in RULE)
    if other_rule or any(config.get(key) != value for key, value in recipe.items()):
        return {}
    return {"article": ARTICLE_TEST_ACCURACY, "Keras 3": KERAS_TEST_ACCURACY}
