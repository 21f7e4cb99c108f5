"""Estimators for scikit-learn: go into its pipelines, cross-validation and searches. Needs the extra ``sklearn``.

Parameters and attributes have scikit-learn's names where they mean what they mean there (``MLPClassifier`` of
``sklearn.neural_network``). Features are used as they are, as everywhere in scikit-learn: put a scaler in front, or
divide intensities by 255.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num
from scipy.special import log_softmax

from mlp_jax.backend import require_jax
from mlp_jax.compilation import run_compiled
from mlp_jax.datasets.dataset import Split
from mlp_jax.errors import InputError, MissingExtraError, listed, real, whole
from mlp_jax.models import MLP, check_seed, check_width
from mlp_jax.recipe import Recipe
from mlp_jax.single import fit
from mlp_jax.tasks import get_task

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise MissingExtraError("mlp_jax.estimators", "scikit-learn", "sklearn") from None

_BLOCK = 512  # rows predicted at a time, always: compiled once, and no row's result depends on how many there are

_PARAMETERS = {  # by what the rest of the package calls them
    "hidden_units": "hidden_layer_sizes",
    "learning rate": "learning_rate_init",
    "epochs": "max_iter",
    "seed": "random_state",
    "beta1": "beta_1",
    "beta2": "beta_2",
}


@contextmanager
def _as_parameters() -> Iterator[None]:
    """Errors that name the estimator's parameters."""
    try:
        yield
    except InputError as error:
        name, _, rest = str(error).partition(" is ")
        if name not in _PARAMETERS:
            raise
        raise InputError(f"{_PARAMETERS[name]} is {rest}") from None


def _converged(losses: Sequence[float], tol: float, n_iter_no_change: int) -> bool:
    """Whether scikit-learn's perceptrons would have stopped: after more epochs than that in a row, none of them better.

    Better is a loss that is at least ``tol`` below the least before it.
    """
    best, without = np.inf, 0
    for loss in losses:
        without = without + 1 if loss > best - tol else 0
        best = min(best, loss)
        if without > n_iter_no_change:
            return True
    return False


class _Perceptron(BaseEstimator):  # type: ignore[misc]
    """What both estimators share."""

    def __init__(
        self,
        hidden_layer_sizes: int | tuple[int, ...] = (100,),
        activation: str = "logistic",
        *,
        learning_rate_init: float = 1e-3,
        batch_size: int = 128,
        max_iter: int = 200,
        random_state: int | np.random.RandomState | None = None,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.random_state = random_state
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change

    def _train(self, x: Float[np.ndarray, "N D"], targets: Num[np.ndarray, "N *K"], task: str, outputs: int) -> Self:
        require_jax()
        tol = real("tol", self.tol, lambda t: t >= 0, "a number, 0 or more")
        n_iter_no_change = whole("n_iter_no_change", self.n_iter_no_change, 1, 2**31 - 1)
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        activation = "sigmoid" if self.activation == "logistic" else self.activation
        with _as_parameters():
            recipe = Recipe(self.max_iter, self.batch_size, self.beta_1, self.beta_2, self.epsilon)
            rngs = nnx.Rngs(check_seed(seed))
            model = MLP(x.shape[1], self._hidden_units(), outputs, activation=activation, task=task, rngs=rngs)
            split = Split(x, targets)
            trained = fit(model, split, learning_rate=self.learning_rate_init, seed=int(seed), recipe=recipe)
        weights = {symbol: np.asarray(array) for symbol, array in trained.model.weights.items()}
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise InputError("training diverged: lower learning_rate_init, or scale the features")
        self.coefs_ = [weights[symbol] for symbol in ("A", "B") if symbol in weights]
        self.intercepts_ = [weights[symbol] for symbol in ("c1", "c2") if symbol in weights]
        self.n_outputs_ = outputs
        self.n_iter_ = recipe.epochs
        self.loss_curve_ = trained.history.loss.tolist()
        self.loss_ = self.loss_curve_[-1]
        self._task, self._activation = task, trained.model.activation
        if not _converged(self.loss_curve_, tol, n_iter_no_change):
            warnings.warn(
                f"training ended at max_iter={recipe.epochs} epochs and had not converged: raise max_iter or "
                f"learning_rate_init, scale the features (and the values of a regression), or raise tol={tol:g}",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _hidden_units(self) -> int:
        sizes = self.hidden_layer_sizes
        if isinstance(sizes, int | np.integer):
            return check_width(sizes)
        layers = listed("hidden_layer_sizes", sizes, "a number of units, a tuple of one, or () for no hidden layer")
        if len(layers) > 1:
            raise InputError(f"hidden_layer_sizes is {tuple(layers)}: expected one layer, or () for none")
        return check_width(layers[0]) if len(layers) else 0

    @property
    def model_(self) -> MLP:
        """The trained model, of this package."""
        check_is_fitted(self)
        weights = dict(zip(("A", "B"), self.coefs_, strict=False)) | dict(
            zip(("c1", "c2"), self.intercepts_, strict=False)
        )
        return MLP.from_weights(weights, activation=self._activation, task=self._task)

    def _logits(self, X: Any) -> Float[np.ndarray, "N K"]:
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float32, reset=False)
        graphdef, params = nnx.split(self.model_)
        padded = np.pad(x, ((0, -len(x) % _BLOCK), (0, 0)))
        blocks = np.split(padded, len(padded) // _BLOCK)
        return np.concatenate([run_compiled(_apply, {"graphdef": graphdef}, params, block) for block in blocks])[
            : len(x)
        ]


def _apply(params: Any, x: Float[Array, "B D"], *, graphdef: nnx.GraphDef[MLP]) -> Float[Array, "B K"]:
    return nnx.merge(graphdef, params)(x)


class MLPClassifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]
    """Perceptron with one hidden layer: softmax and categorical cross-entropy, or logistic for two classes.

    Args:
        hidden_layer_sizes: M, or (M,); 0 or () for no hidden layer.
        activation: of the hidden layer: ``logistic`` (which is ``sigmoid``), or another name in
            ``mlp_jax.ACTIVATIONS``.
        learning_rate_init: Adam's α.
        batch_size: examples a minibatch.
        max_iter: epochs, all of which are trained.
        random_state: of initial weights and minibatches; an integer is the seed of a trial.
        beta_1: Adam's decay of the mean of the gradient.
        beta_2: Adam's decay of the mean of its square.
        epsilon: Adam's ε.
        tol: what the training loss has to fall by in an epoch, below its least so far, to count as better.
        n_iter_no_change: training has converged when more epochs than that in a row, at any time, are no better. That
            is scikit-learn's rule, on ``loss_curve_``; there training then stops, here it decides on the warning alone.

    Warns:
        ConvergenceWarning: (scikit-learn's, by ``fit``) training had not converged after ``max_iter`` epochs.

    Attributes:
        coefs_: [A ``[D, M]``, B ``[M, K]``], without a hidden layer [A ``[D, K]``].
        intercepts_: [c1, c2], or [c1].
        n_iter_: epochs trained.
        loss_curve_: training loss by epoch; ``loss_`` is the last.
        n_outputs_: K, the number of logits.
        n_features_in_: D.
        classes_: the labels, sorted.
        feature_names_in_: of a data frame's columns, if X was one.
        model_: the trained model, a plain ``mlp_jax.MLP``.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train on examples ``[N, D]`` and labels ``[N]``, numbers or strings."""
        x, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has one class, {self.classes_[0]!r}: expected two or more classes")
        binary = len(self.classes_) == 2
        task, outputs = ("binary", 1) if binary else ("multiclass", len(self.classes_))
        return self._train(x, labels.astype(np.int32), task, outputs)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each example, ``[N]``."""
        logits = jnp.asarray(self._logits(X))
        return self.classes_[np.asarray(get_task(self._task).predict(logits))]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "N classes"]:
        """Probability of each class, in the order of ``classes_``."""
        logits = jnp.asarray(self._logits(X))
        p = np.asarray(get_task(self._task).probabilities(logits))
        return np.stack([1 - p, p], axis=1) if self._task == "binary" else p

    def predict_log_proba(self, X: Any) -> Float[np.ndarray, "N classes"]:
        """Logarithm of ``predict_proba``, finite where that is 0."""
        logits = self._logits(X).astype(np.float64)
        if self._task == "binary":
            logits = np.pad(logits, ((0, 0), (1, 0)))
        return log_softmax(logits, axis=1)


class MLPRegressor(RegressorMixin, _Perceptron):  # type: ignore[misc]
    """Perceptron with one hidden layer: identity output and squared error, for one value or several.

    Arguments and attributes are those of ``MLPClassifier``, without ``classes_``.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Train on examples ``[N, D]`` and values ``[N]`` or ``[N, K]``."""
        x, y = validate_data(self, X, y, dtype=np.float32, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._one_dimensional = y.ndim == 1
        values = y.reshape(len(y), -1).astype(np.float32)
        return self._train(x, values, "regression", values.shape[1])

    def predict(self, X: Any) -> Float[np.ndarray, "N *K"]:
        """Values, of the shape that y had in ``fit``."""
        values = self._logits(X).astype(np.float64)
        return values[:, 0] if self._one_dimensional else values
