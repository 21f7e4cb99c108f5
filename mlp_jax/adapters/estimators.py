"""Estimators for scikit-learn's pipelines, cross-validation and searches. Needs the extra ``sklearn``.

Parameters and attributes have scikit-learn's names where they have the same meaning (``MLPClassifier`` of
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
from scipy.special import log_softmax, softmax

from mlp_jax.datasets.dataset import Split
from mlp_jax.datasets.rounding import GREATEST, rounding_problem
from mlp_jax.errors import InputError, MissingExtraError, listed, real, shown, whole
from mlp_jax.machine.backend import require_jax
from mlp_jax.machine.compilation import run_compiled
from mlp_jax.networks.layers import check_width
from mlp_jax.networks.models import MLP
from mlp_jax.tasks import class_logits
from mlp_jax.training.axes import check_seed
from mlp_jax.training.fit import evaluate, fit
from mlp_jax.training.recipe import Recipe

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise MissingExtraError("mlp_jax.estimators", "scikit-learn", "sklearn") from None

_FLOATS = (np.float64, np.float32)  # the first for whatever is neither, as in scikit-learn

# What is wrong with numbers, and how to mend it.
_SCALE_X = "scale the features (StandardScaler)"
_BEYOND = f"beyond what float32 can hold: {_SCALE_X}"
_SCALE_Y = "scale the values (TransformedTargetRegressor does, with StandardScaler)"
_CENTRE = "subtract its mean from each such column first, as StandardScaler does"

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
    """Context in which errors name the estimator's parameters."""
    try:
        yield
    except InputError as error:
        name, _, rest = str(error).partition(" is ")
        if name not in _PARAMETERS:
            raise
        raise InputError(f"{_PARAMETERS[name]} is {rest}") from None


def _check_nothing_masked(*arrays: Any) -> None:
    if any(np.ma.is_masked(array) for array in arrays):  # scikit-learn would take what lies below the mask
        raise InputError("some values are masked: fill them (sklearn.impute), or leave their examples out")


def _check_labels(y: Any) -> None:
    """Raise InputError, in clearer words than scikit-learn's, if labels are missing or of several kinds."""
    missing = y.isna() if hasattr(y, "isna") else False  # of pandas
    if np.any(missing):
        raise InputError(
            f"labels are missing from y ({np.count_nonzero(missing)} of {len(y)}): leave their examples out"
        )
    labels = np.asarray(y)
    odd = [label for label in labels.flat if not isinstance(label, str)] if labels.dtype.kind == "O" else []
    if odd:
        raise InputError(
            f"Unknown label type: y holds {shown(odd[0])} as an object: expected an array of numbers, or of text alone"
        )


def _check_range(values: Num[np.ndarray, "N D"], greatest: float, names: Sequence[str], problem: str) -> None:
    """Raise InputError for the first value of greater magnitude, naming its column."""
    if len(values) and max(float(values.max()), -float(values.min())) > greatest:
        row, column = np.argwhere(np.abs(values) > greatest)[0]
        raise InputError(f"{names[column]} holds {values[row, column]:.6g}, {problem}")


def _warn_of_rounding(values: Num[np.ndarray, "N D"], names: Sequence[str], mend: str) -> None:
    """Warn, at the line that called ``fit``, about columns whose values float32 cannot tell apart."""
    if problem := rounding_problem(values, names):
        warnings.warn(f"{problem}: {mend}", DataConversionWarning, stacklevel=3)


def _overflows(task: str, loss: float, split: Split) -> bool:
    """Whether float32 overflows in the loss or the square of a gradient, by which Adam divides: it would not move."""
    error = np.sqrt(loss) if task == "regression" else 1.0
    return not np.isfinite(loss) or 2 * error * float(np.abs(split.features).max()) > np.sqrt(GREATEST)


def _converged(losses: Sequence[float], tol: float, n_iter_no_change: int) -> bool:
    """Whether scikit-learn's perceptrons would have stopped: after more than ``n_iter_no_change`` epochs without gain.

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
    """Base of both estimators."""

    def __init__(  # as in scikit-learn, an estimator's own signature lists its parameters and their defaults
        self,
        *,
        hidden_layer_sizes: int | tuple[int, ...],
        activation: str,
        learning_rate_init: float,
        batch_size: int,
        max_iter: int,
        random_state: int | np.random.RandomState | None,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        tol: float,
        n_iter_no_change: int,
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

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")

    def _unfit(self) -> None:
        """Discard what was learned, so that a failing fit does not leave half of an earlier one."""
        if hasattr(self, "coefs_"):
            del self.coefs_

    def _columns(self) -> list[str]:
        """What messages call the columns of X."""
        names = getattr(self, "feature_names_in_", range(self.n_features_in_))
        return [f"column {shown(name)} of X" for name in names]

    def _train(
        self, x: Float[np.ndarray, "N D"], targets: Num[np.ndarray, "N *K"], task: str, outputs: int, loss_unit: float
    ) -> Self:
        """Train on targets in the package's form; ``loss_unit`` converts the package's loss to scikit-learn's."""
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
            split = Split(x.astype(np.float32, copy=False), targets)
            trained = fit(model, split, learning_rate=self.learning_rate_init, seed=int(seed), recipe=recipe)
        weights = {symbol: np.asarray(array) for symbol, array in trained.model.weights.items()}
        finite = all(np.isfinite(array).all() for array in weights.values())
        if not finite or _overflows(task, trained.history.loss.max(), split):
            if _overflows(task, evaluate(model, split).loss, split):  # of the model that training began with
                raise self._overflow(x, targets if task == "regression" else None)
            raise InputError("training diverged: lower learning_rate_init, or scale the features")
        self.coefs_ = [weights[symbol] for symbol in ("A", "B") if symbol in weights]
        self.intercepts_ = [weights[symbol] for symbol in ("c1", "c2") if symbol in weights]
        self.n_outputs_ = outputs
        self.n_iter_ = recipe.epochs
        self.loss_curve_ = (loss_unit * trained.history.loss).tolist()
        self.loss_ = self.loss_curve_[-1]
        self._task, self._activation, self._dtype = task, trained.model.activation, x.dtype
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
            raise InputError(f"hidden_layer_sizes is {shown(tuple(layers))}: expected one layer, or () for none")
        return check_width(layers[0]) if len(layers) else 0

    @property
    def model_(self) -> MLP:
        """The trained model of this package."""
        check_is_fitted(self)
        weights = dict(zip(("A", "B"), self.coefs_, strict=False)) | dict(
            zip(("c1", "c2"), self.intercepts_, strict=False)
        )
        return MLP.from_weights(weights, activation=self._activation, task=self._task)

    def _overflow(self, x: Num[np.ndarray, "N D"], y: Num[np.ndarray, "N K"] | None = None) -> InputError:
        """The error for numbers within float32 that overflow it in outputs, loss or gradients."""
        row, column = np.unravel_index(np.abs(x).argmax(), x.shape)
        name, greatest, mend = self._columns()[column], x[row, column], _SCALE_X
        if y is not None and np.abs(y).max() > np.abs(greatest):
            name, greatest, mend = "y", y.flat[np.abs(y).argmax()], _SCALE_Y
        return InputError(f"{name} holds {greatest:.6g}, too much for the network's arithmetic in float32: {mend}")

    def _validated(self, X: Any) -> Num[np.ndarray, "N D"]:
        check_is_fitted(self)
        _check_nothing_masked(X)
        x = validate_data(self, X, reset=False)
        _check_range(x, GREATEST, self._columns(), _BEYOND)
        return x

    def _logits(self, x: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        graphdef, params = nnx.split(self.model_)
        padded = np.pad(x.astype(np.float32), ((0, -len(x) % _BLOCK), (0, 0)))
        blocks = np.split(padded, len(padded) // _BLOCK)
        logits = np.concatenate([run_compiled(_apply, {"graphdef": graphdef}, params, block) for block in blocks])
        if not np.isfinite(logits[: len(x)]).all():
            raise self._overflow(x)
        return logits[: len(x)]


def _apply(params: Any, x: Float[Array, "B D"], *, graphdef: nnx.GraphDef[MLP]) -> Float[Array, "B K"]:
    return nnx.merge(graphdef, params)(x)


class MLPClassifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]
    """Perceptron with one hidden layer: softmax and categorical cross-entropy, or logistic for two classes.

    Args:
        hidden_layer_sizes: M, or (M,); 0 or () for no hidden layer.
        activation: of the hidden layer: ``logistic`` (which is ``sigmoid``), or another name in
            ``mlp_jax.ACTIVATIONS``.
        learning_rate_init: Adam's α.
        batch_size: examples per minibatch.
        max_iter: number of epochs, all of which are trained.
        random_state: of initial weights and minibatches; an integer is the seed of a trial.
        beta_1: decay rate of Adam's running mean of the gradient.
        beta_2: decay rate of Adam's running mean of its square.
        epsilon: Adam's ε.
        tol: how far the training loss has to fall below its least so far in an epoch to count as an improvement.
        n_iter_no_change: training has converged if more epochs than that in a row, at any time, do not improve. That
            is scikit-learn's rule, on ``loss_curve_``; there it stops training, here it only decides about the warning.

    Warns:
        ConvergenceWarning: scikit-learn's; ``fit`` had not converged after ``max_iter`` epochs.

    Attributes:
        coefs_: [A ``[D, M]``, B ``[M, K]``]; [A ``[D, K]``] without a hidden layer.
        intercepts_: [c1, c2], or [c1].
        n_iter_: number of epochs trained.
        loss_curve_: training loss by epoch: cross-entropy; for MLPRegressor half the squared error, as in scikit-learn;
            ``loss_`` is the last.
        n_outputs_: K, the number of logits.
        n_features_in_: D.
        classes_: the labels, sorted.
        feature_names_in_: column names, if X was a data frame.
        model_: the trained model, a plain ``mlp_jax.MLP``.
    """

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
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            learning_rate_init=learning_rate_init,
            batch_size=batch_size,
            max_iter=max_iter,
            random_state=random_state,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
        )

    def fit(self, X: Any, y: Any) -> Self:
        """Train on examples ``[N, D]`` and labels ``[N]``, numbers or strings."""
        self._unfit()
        _check_nothing_masked(X, y)
        if y is not None:
            _check_labels(y)
        x, y = validate_data(self, X, y, dtype=_FLOATS)
        check_classification_targets(y)
        self.classes_, labels = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has one class, {shown(self.classes_[0])}: expected two or more classes")
        _check_range(x, GREATEST, self._columns(), _BEYOND)
        _warn_of_rounding(x, self._columns(), _CENTRE)
        binary = len(self.classes_) == 2
        task, outputs = ("binary", 1) if binary else ("multiclass", len(self.classes_))
        return self._train(x, labels.astype(np.int32), task, outputs, loss_unit=1.0)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each example, ``[N]``."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "N classes"]:
        """Probability of each class in float64, in the order of ``classes_``."""
        return softmax(self._class_logits(X), axis=1)

    def predict_log_proba(self, X: Any) -> Float[np.ndarray, "N classes"]:
        """Logarithm of ``predict_proba``, finite where that is 0."""
        return log_softmax(self._class_logits(X), axis=1)

    def _class_logits(self, X: Any) -> Float[np.ndarray, "N classes"]:
        logits = jnp.asarray(self._logits(self._validated(X)))
        return np.asarray(class_logits(self._task, logits), np.float64)


class MLPRegressor(RegressorMixin, _Perceptron):  # type: ignore[misc]
    """Perceptron with one hidden layer: identity output and squared error, for one value or several.

    The other arguments, and the attributes but ``classes_``, are those of ``MLPClassifier``.

    Args:
        loss: ``squared_error``, the only choice; it comes first, as in scikit-learn.
    """

    def __init__(
        self,
        loss: str = "squared_error",
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
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            learning_rate_init=learning_rate_init,
            batch_size=batch_size,
            max_iter=max_iter,
            random_state=random_state,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
        )
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Train on examples ``[N, D]`` and values ``[N]`` or ``[N, K]``."""
        self._unfit()
        _check_nothing_masked(X, y)
        if not isinstance(self.loss, str) or self.loss != "squared_error":
            raise InputError(
                f"loss is {shown(self.loss)}: expected 'squared_error' (hidden_layer_sizes comes after it)"
            )
        x, y = validate_data(self, X, y, dtype=_FLOATS, multi_output=True, y_numeric=True)
        if y.dtype.kind not in "buif":
            raise InputError(f"y has dtype {y.dtype}: expected numbers")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._one_dimensional = y.ndim == 1
        values = y.reshape(len(y), -1)
        names = ["y"] if self._one_dimensional else [f"column {column} of y" for column in range(values.shape[1])]
        most = float(np.sqrt(GREATEST / values.size)) / 2  # the sum of squared errors, each up to twice that, is finite
        _check_range(values, most, names, f"for which squared errors are beyond float32: {_SCALE_Y}")
        _check_range(x, GREATEST, self._columns(), _BEYOND)
        _warn_of_rounding(values, names, _SCALE_Y)
        _warn_of_rounding(x, self._columns(), _CENTRE)
        return self._train(x, values.astype(np.float32), "regression", values.shape[1], loss_unit=0.5)

    def predict(self, X: Any) -> Float[np.ndarray, "N *K"]:
        """Values, in the shape that y had in ``fit``; float32 if X is float32 both there and here, else float64."""
        x = self._validated(X)
        values = self._logits(x).astype(np.result_type(x.dtype, self._dtype))
        return values[:, 0] if self._one_dimensional else values
