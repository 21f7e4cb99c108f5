"""The regressor."""

import warnings
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from mlp_jax.adapters.estimators._checks import BEYOND, CENTRE, SCALE_Y, check_range, rounding_message
from mlp_jax.adapters.estimators._losses import POISSON, SQUARED_ERROR, decisions
from mlp_jax.adapters.estimators._perceptron import Perceptron, Prepared
from mlp_jax.datasets.rounding import GREATEST
from mlp_jax.errors import InputError, shown

_LOSSES = {"squared_error": SQUARED_ERROR, "poisson": POISSON}


class MLPRegressor(RegressorMixin, Perceptron):  # type: ignore[misc]
    """Multilayer perceptron for one value or several: identity output and squared error, or exp and Poisson deviance.

    The other arguments, and the attributes but ``classes_``, are those of ``MLPClassifier``. Early stopping goes by R².

    Args:
        loss: ``squared_error``, half of it as everywhere in scikit-learn, or ``poisson``; it comes first, as there.
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | tuple[int, ...] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 1e-3,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15_000,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    _of_y: ClassVar[dict[str, Any]] = {"y_numeric": True}

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples ``[N, D]``, dense or sparse, and values ``[N]`` or ``[N, K]``.

        Args:
            X: the examples.
            y: the values; 0 or more for ``poisson``.
            sample_weight: what the loss of each example counts; None for 1.

        Raises:
            InputError: a parameter or value that makes no sense, or training diverged.
        """
        for message, category in self._learn(X, y, sample_weight):
            warnings.warn(message, category, stacklevel=2)
        return self

    @available_if(Perceptron._steps_forward)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for an epoch on these examples, from where training is; the arguments are those of ``fit``.

        Raises:
            InputError: as ``fit``.
        """
        for message, category in self._learn(X, y, sample_weight, incremental=True):
            warnings.warn(message, category, stacklevel=2)
        return self

    def _prepare(self, X: Any, y: Any, *, reset: bool, classes: Any = None, incremental: bool = False) -> Prepared:
        if not isinstance(self.loss, str) or self.loss not in _LOSSES:
            raise InputError(
                f"loss is {shown(self.loss)}: expected 'squared_error' or 'poisson' (hidden_layer_sizes comes after it)"
            )
        x, y = self._examples(X, y, reset)
        if y.dtype.kind not in "buif":
            raise InputError(f"y has dtype {y.dtype}: expected numbers")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._one_dimensional = y.ndim == 1
        values = y.reshape(len(y), -1)
        if self.loss == "poisson" and (values < 0).any():
            raise InputError(f"y holds {values.min():.6g}: expected 0 or more for loss='poisson'")
        names = ["y"] if self._one_dimensional else [f"column {column} of y" for column in range(values.shape[1])]
        most = float(np.sqrt(GREATEST / values.size)) / 2  # the sum of squared errors, each up to twice that, is finite
        check_range(values, most, names, f"for which squared errors are beyond float32: {SCALE_Y}")
        check_range(x, GREATEST, self._columns(), BEYOND)
        said = [rounding_message(values, names, SCALE_Y), rounding_message(x, self._columns(), CENTRE)]
        return Prepared(x, values.astype(np.float32), _LOSSES[self.loss], values.shape[1], said)

    def predict(self, X: Any) -> Float[np.ndarray, "N *K"]:
        """Values, in the shape that y had in ``fit``; float32 if X is float32 both there and here, else float64."""
        x = self._validated(X)
        return self._decided(self._logits(x)).astype(np.result_type(x.dtype, self._dtype))

    def _decided(self, logits: Float[np.ndarray, "N K"]) -> np.ndarray:
        values = decisions(self._task, logits)
        return values[:, 0] if values.shape[1] == 1 and self._one_dimensional else values
