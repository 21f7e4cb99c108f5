"""Figures: what the digits look like, how training went, and where more hidden units stop helping.

Every function takes plain data (a data set, or a table of ``mlp_jax.runs.tables``) and returns a Figure that belongs to
nobody else: pyplot's global state is not touched, and any backend will do. Trials that diverged are left out of every
mean, and the figure says how many.

Lines stay apart in greyscale: colours of one figure differ in lightness, and a few lines also in marker and dash.
"""

from mlp_jax.answers.plots.compare import comparison, comparison_figures
from mlp_jax.answers.plots.curves import learning_curves
from mlp_jax.answers.plots.data import class_balance, digit, examples, value_distribution
from mlp_jax.answers.plots.model import confusion_matrix, hidden_units, mistakes, predicted_against_true
from mlp_jax.answers.plots.predictions import predictions
from mlp_jax.answers.plots.run import RunFigure, run_figures
from mlp_jax.answers.plots.search import search_curves
from mlp_jax.answers.plots.style import save
from mlp_jax.answers.plots.width import accuracy_against_width, rate_by_width, scores_against_parameters, training_time
from mlp_jax.answers.showing import what_is_enough

__all__ = [
    "RunFigure",
    "accuracy_against_width",
    "class_balance",
    "comparison",
    "comparison_figures",
    "confusion_matrix",
    "digit",
    "examples",
    "hidden_units",
    "learning_curves",
    "mistakes",
    "predicted_against_true",
    "predictions",
    "rate_by_width",
    "run_figures",
    "save",
    "scores_against_parameters",
    "search_curves",
    "training_time",
    "value_distribution",
    "what_is_enough",
]
