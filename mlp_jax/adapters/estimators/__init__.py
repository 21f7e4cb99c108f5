"""Estimators for scikit-learn's pipelines, cross-validation and searches. Needs the extra ``sklearn``.

Parameters, attributes and defaults are those of ``MLPClassifier`` and ``MLPRegressor`` of ``sklearn.neural_network``,
except where a docstring says otherwise. Networks are trained in float32, by ``solver="lbfgs"`` in float64. Features are
used as they are, as everywhere in scikit-learn: put a scaler in front, or divide intensities by 255.

``MLPSearchCV`` is scikit-learn's ``GridSearchCV`` for them, with all networks of all folds trained together.
"""

from mlp_jax.errors import MissingExtraError

try:
    import sklearn as sklearn
except ImportError:
    raise MissingExtraError("mlp_jax.estimators", "scikit-learn", "sklearn") from None

from mlp_jax.adapters.estimators._classifier import MLPClassifier
from mlp_jax.adapters.estimators._regressor import MLPRegressor
from mlp_jax.adapters.estimators._search import MLPSearchCV

__all__ = ["MLPClassifier", "MLPRegressor", "MLPSearchCV"]
