"""What both estimators share: parameters, training, logits."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, Num
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mlp_jax.adapters.estimators._checks import (
    BEYOND,
    SCALE_X,
    SCALE_Y,
    as_parameters,
    check_nothing_masked,
    check_range,
    check_sample_weight,
)
from mlp_jax.adapters.estimators._lbfgs import minimize
from mlp_jax.adapters.estimators._losses import (
    BINARY,
    MULTICLASS,
    OUT_ACTIVATIONS,
    SQUARED_ERROR,
)
from mlp_jax.adapters.estimators._training import Settings, Validation, course_of, settings_of, train
from mlp_jax.datasets.dataset import Split
from mlp_jax.datasets.rounding import GREATEST
from mlp_jax.errors import InputError, shown
from mlp_jax.machine.backend import require_jax
from mlp_jax.machine.compilation import run_compiled
from mlp_jax.networks.layers import Network, apply_network, layers_of, perceptron, symbols
from mlp_jax.networks.models import MLP
from mlp_jax.networks.packing import Parameters
from mlp_jax.sweeps.folds import Cohort
from mlp_jax.tasks import Task
from mlp_jax.training.axes import check_seed

FLOATS = (np.float64, np.float32)  # the first for whatever is neither, as in scikit-learn

_BLOCK = 512  # rows predicted at a time, always: compiled once, and no row's result depends on how many there are

_TASKS = {task.name: task for task in OUT_ACTIVATIONS}

Said = list[tuple[str, type[Warning]]]
"""Warnings to give, at the line that called the estimator, by kind."""


class Prepared(NamedTuple):
    """Examples as training takes them.

    Attributes:
        x: features, dense.
        targets: labels ``[N]``, or float32 truth values or values ``[N, K]``.
        task: what the logits mean.
        outputs: K, the number of logits.
        said: warnings about values; empty where there is nothing to say.
    """

    x: Float[np.ndarray, "N D"]
    targets: Num[np.ndarray, "N *K"]
    task: Task
    outputs: int
    said: Sequence[str]


class _Optimizer(NamedTuple):
    """What ``partial_fit`` goes on with.

    Attributes:
        learning_rate: the present one.
        state: the optimizer's own, as NumPy arrays; None after L-BFGS.
        kind: what the state is good for.
    """

    learning_rate: float
    state: Any
    kind: Any


class Perceptron(BaseEstimator):  # type: ignore[misc]
    """Base of both estimators."""

    _PRIVATE: ClassVar[tuple[str, ...]] = (
        "_optimizer",
        "_no_improvement_count",
        "_epochs",
        "_task_name",
        "_activation",
    )

    def __init__(  # as in scikit-learn, an estimator's own signature lists its parameters and their defaults
        self,
        *,
        hidden_layer_sizes: int | tuple[int, ...],
        activation: str,
        solver: str,
        alpha: float,
        batch_size: int | str,
        learning_rate: str,
        learning_rate_init: float,
        power_t: float,
        max_iter: int,
        shuffle: bool,
        random_state: int | np.random.RandomState | None,
        tol: float,
        verbose: bool,
        warm_start: bool,
        momentum: float,
        nesterovs_momentum: bool,
        early_stopping: bool,
        validation_fraction: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        n_iter_no_change: float,
        max_fun: int,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _steps_forward(self) -> bool:
        """Whether there is a ``partial_fit``: its solver takes the examples in minibatches."""
        if isinstance(self.solver, str) and self.solver == "lbfgs":
            raise AttributeError("partial_fit is for the solvers adam and sgd: lbfgs needs all examples at once")
        return True

    # Data

    @abstractmethod
    def _prepare(self, X: Any, y: Any, *, reset: bool, classes: Any = None, incremental: bool = False) -> Prepared:
        """Check and convert the examples, and keep what the estimator has to know of them."""

    def _class_weights(self, prepared: Prepared, incremental: bool) -> Float[np.ndarray, "N"] | None:
        """Weights of the examples by their classes; None for 1."""
        return None

    def _strata(self, prepared: Prepared) -> np.ndarray | None:
        """What a validation split has in the same proportions as all examples; None for nothing."""
        return None

    def _columns(self) -> list[str]:
        """What messages call the columns of X."""
        names = getattr(self, "feature_names_in_", range(self.n_features_in_))
        return [f"column {shown(name)} of X" for name in names]

    def _examples(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        check_nothing_masked(X, y)
        x, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], dtype=FLOATS, multi_output=True, reset=reset, **self._of_y
        )
        return (x.toarray() if issparse(x) else x), y

    _of_y: ClassVar[dict[str, Any]] = {}

    def _validated(self, X: Any) -> Num[np.ndarray, "N D"]:
        check_is_fitted(self)
        check_nothing_masked(X)
        x = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        x = x.toarray() if issparse(x) else x
        check_range(x, GREATEST, self._columns(), BEYOND)
        return x

    # Training

    def _unfit(self) -> None:
        """Discard what was learned, so that a failing fit does not leave half of an earlier one."""
        for name in list(vars(self)):
            if (name.endswith("_") and not name.startswith("_")) or name in self._PRIVATE:
                delattr(self, name)

    def _learn(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool = False, classes: Any = None) -> Said:
        """``fit``, or ``partial_fit``; returns the warnings to give."""
        require_jax()
        first = not hasattr(self, "coefs_") or not (incremental or self.warm_start)
        if first:
            self._unfit()
        settings = settings_of(self)
        if incremental and settings.early_stopping:
            raise InputError("partial_fit does not support early_stopping=True: call fit, or do not stop early")
        prepared = self._prepare(X, y, reset=first, classes=classes, incremental=incremental)
        weights = check_sample_weight(sample_weight, len(prepared.x))
        by_class = self._class_weights(prepared, incremental)
        if by_class is not None:
            weights = by_class if weights is None else weights * by_class
        seed = self._seed()
        if first:
            self._begin(settings, prepared)
        self._check_network(settings, prepared)
        said: Said = [(message, DataConversionWarning) for message in prepared.said if message]
        if settings.solver == "lbfgs":
            return said + self._minimize(settings, prepared, weights, seed, first)
        return said + self._train(settings, prepared, weights, seed, first, incremental)

    def _seed(self) -> int:
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        with as_parameters():
            return check_seed(seed)

    def _begin(self, settings: Settings, prepared: Prepared) -> None:
        """Attributes before the first epoch."""
        self.n_iter_, self.t_, self._epochs = 0, 0, 0
        self.n_outputs_ = prepared.outputs
        self.n_layers_ = len(layers_of(settings.trial.hidden_units)) + 2
        self.out_activation_ = OUT_ACTIVATIONS[prepared.task]
        if settings.solver != "lbfgs":
            self._begin_curves(settings)

    def _begin_curves(self, settings: Settings) -> None:
        """Attributes of training by epochs before the first one."""
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        early = settings.early_stopping
        self.best_loss_ = None if early else np.inf
        self.best_validation_score_ = -np.inf if early else None
        self.validation_scores_: list[float] | None = [] if early else None

    def _check_network(self, settings: Settings, prepared: Prepared) -> None:
        """Raise InputError if the network that is trained further is not the one that is asked for."""
        if not hasattr(self, "coefs_"):
            return
        layers = tuple(coef.shape[1] for coef in self.coefs_[:-1])
        if layers_of(settings.trial.hidden_units) != layers or self.n_outputs_ != prepared.outputs:
            raise InputError(
                f"the network that is trained further has hidden layers of {shown(layers)} units and {self.n_outputs_} "
                f"outputs: expected {shown(self.hidden_layer_sizes)} and {prepared.outputs}, so set warm_start=False"
            )

    def _network(self, settings: Settings, prepared: Prepared) -> Network:
        trial = settings.trial
        return perceptron(layers_of(trial.hidden_units), prepared.outputs, trial.activation)

    def _parameters(self, dtype: Any = np.float32) -> Parameters:
        """Parameters by layer and name."""
        return [
            {"kernel": np.asarray(kernel, dtype), "bias": np.asarray(bias, dtype)}
            for kernel, bias in zip(self.coefs_, self.intercepts_, strict=True)
        ]

    def _split(self, settings: Settings, prepared: Prepared, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows to train on, and those that decide when to stop; None without these."""
        return split_rows(settings, np.arange(len(prepared.x)), self._strata(prepared), seed)

    def _train(
        self,
        settings: Settings,
        prepared: Prepared,
        weights: Float[np.ndarray, "N"] | None,
        seed: int,
        first: bool,
        incremental: bool,
    ) -> Said:
        if not hasattr(self, "loss_curve_"):  # after lbfgs
            self._begin_curves(settings)
        rows, held_out = self._split(settings, prepared, seed)
        validation = (
            None
            if held_out is None
            else Validation([held_out], prepared.targets, None if weights is None else [weights])
        )
        split = Split(prepared.x.astype(np.float32, copy=False), prepared.targets)
        kind = (settings.trial._replace(learning_rate=1.0), settings.recipe)
        before = getattr(self, "_optimizer", None) if incremental else None
        goes_on = before is not None and before.kind == kind
        cohort = Cohort(
            [settings.trial],
            split,
            [rows],
            task=prepared.task,
            outputs=prepared.outputs,
            recipe=settings.recipe,
            seed=seed,
            example_weights=weights,
            shuffle=settings.shuffle,
            models=None if first else [self._parameters()],
            opt_state=before.state if before is not None and goes_on else None,
        )
        course = course_of(
            [settings],
            1,
            best=self.best_validation_score_ if settings.early_stopping else self.best_loss_,
            idle=self._no_improvement_count,
            rate=before.learning_rate if before is not None and goes_on else None,
            epochs=1 if incremental else None,
        )

        def note(epoch: int, losses: np.ndarray, scored: np.ndarray | None) -> None:
            print(f"Iteration {epoch}, loss = {losses.item():.8f}")
            if scored is not None:
                print(f"Validation score: {scored.item():f}")

        trained = train(
            cohort,
            course,
            prepared.task,
            [len(rows)],
            first=getattr(self, "_epochs", 0),  # weights may have been put here by hand
            seen=self.t_,
            validation=validation,
            on_epoch=note if self.verbose else None,
        )
        (((params,),)) = cohort.models(trained.params)
        finite = all(np.isfinite(array).all() for layer in params for array in layer.values())
        least = trained.losses.max()
        if not finite or (not settings.early_stopping and self._overflows(prepared, least)):
            raise self._failure(cohort, prepared, settings, seed, first)
        self._finish(params, prepared, settings)
        epochs = len(trained.losses)
        self.n_iter_, self.t_ = epochs, self.t_ + epochs * len(rows)
        self._epochs = getattr(self, "_epochs", 0) + epochs
        self.loss_curve_ += trained.losses[:, 0, 0].tolist()
        self.loss_ = self.loss_curve_[-1]
        self._no_improvement_count = int(course.idle.item())
        best = float(course.best.item())
        if trained.scores is None:
            self.best_loss_, self.best_validation_score_, self.validation_scores_ = best, None, None
        else:
            self.best_loss_, self.best_validation_score_ = None, best
            self.validation_scores_ = [*(self.validation_scores_ or []), *trained.scores[:, 0, 0].tolist()]
        self._optimizer = _Optimizer(float(course.rate.item()), cohort.opt_state, kind)
        if incremental or course.stopped.item():
            return []
        return [(not_converged(settings), ConvergenceWarning)]

    def _minimize(
        self,
        settings: Settings,
        prepared: Prepared,
        weights: Float[np.ndarray, "N"] | None,
        seed: int,
        first: bool,
    ) -> Said:
        start = initial_parameters(settings, prepared, seed) if first else self._parameters(np.float64)
        found = minimize(
            self._network(settings, prepared),
            start,
            prepared.x,
            prepared.targets,
            weights,
            task=prepared.task,
            alpha=settings.trial.l2,
            iterations=settings.epochs,
            evaluations=settings.max_fun,
            tol=settings.tol,
            verbose=bool(self.verbose),
        )
        if not np.isfinite(found.loss):
            raise InputError("training diverged: scale the features")
        self._finish(found.params, prepared, settings)
        outputs = self.n_outputs_ if prepared.task is SQUARED_ERROR else 1  # of which scikit-learn reports the mean
        self.n_iter_, self.loss_ = found.iterations, found.loss / outputs + found.penalty
        if not found.problem:
            return []
        message = f"lbfgs ended before it converged ({found.problem.lower()}): raise max_iter or max_fun, or scale the "
        return [(f"{message}features", ConvergenceWarning)]

    def _finish(self, params: Parameters, prepared: Prepared, settings: Settings) -> None:
        self.coefs_ = [layer["kernel"].astype(prepared.x.dtype) for layer in params]
        self.intercepts_ = [layer["bias"].astype(prepared.x.dtype) for layer in params]
        self._task_name, self._activation, self._dtype = prepared.task.name, settings.trial.activation, prepared.x.dtype

    # What may go wrong

    def _overflows(self, prepared: Prepared, loss: float) -> bool:
        """Whether float32 overflows in the loss or a gradient's square, by which Adam divides: it would not move."""
        error = np.sqrt(2 * loss) if prepared.task is SQUARED_ERROR else 1.0
        return not np.isfinite(loss) or 2 * error * float(np.abs(prepared.x).max()) > np.sqrt(GREATEST)

    def _failure(self, cohort: Cohort, prepared: Prepared, settings: Settings, seed: int, first: bool) -> InputError:
        """The error for training that diverged: it says so, or that the data are too much from the start."""
        start = initial_parameters(settings, prepared, seed) if first else self._parameters()
        network = self._network(settings, prepared)
        logits = _logits_of(network, start, prepared.x).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            if prepared.task is SQUARED_ERROR:
                loss = float(((logits - prepared.targets) ** 2).sum(axis=1).mean() / 2)
            else:
                loss = float(np.abs(logits).max())
        if loss > GREATEST or self._overflows(prepared, loss):
            return self._overflow(prepared.x, prepared.targets if prepared.task is SQUARED_ERROR else None)
        return InputError("training diverged: lower learning_rate_init, or scale the features")

    def _overflow(self, x: Num[np.ndarray, "N D"], y: Num[np.ndarray, "N K"] | None = None) -> InputError:
        """The error for numbers within float32 that overflow it in outputs, loss or gradients."""
        row, column = np.unravel_index(np.abs(x).argmax(), x.shape)
        name, greatest, mend = self._columns()[column], x[row, column], SCALE_X
        if y is not None and np.abs(y).max() > np.abs(greatest):
            name, greatest, mend = "y", y.flat[np.abs(y).argmax()], SCALE_Y
        return InputError(f"{name} holds {greatest:.6g}, too much for the network's arithmetic in float32: {mend}")

    # Use

    @property
    def _task(self) -> Task:
        return _TASKS[self._task_name]

    @property
    def _trained_network(self) -> Network:
        widths = [coef.shape[1] for coef in self.coefs_]
        return perceptron(widths[:-1], widths[-1], self._activation)

    @property
    def model_(self) -> MLP:
        """The trained model of this package.

        For several labels at once, and for Poisson losses, it is a regression of the logits.
        """
        check_is_fitted(self)
        names = symbols(self._trained_network)
        weights = {
            symbol: layer[name]
            for layer, each in zip(self._parameters(), names, strict=True)
            for name, symbol in each.items()
        }
        task = self._task.name if self._task in (MULTICLASS, BINARY) else "regression"
        return MLP.from_weights(weights, activation=self._activation, task=task)

    def _logits(self, x: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        logits = _logits_of(self._trained_network, self._parameters(), x)
        if not np.isfinite(logits).all():
            raise self._overflow(x)
        return logits


def split_rows(
    settings: Settings, rows: Int[np.ndarray, "n"], strata: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Divide rows into those to train on and those that decide when to stop; None for these without early stopping.

    Args:
        settings: what share they are.
        rows: of the examples.
        strata: of these rows: what both parts have in the same proportions; None for nothing.
        seed: of the choice.

    Raises:
        InputError: there would be less than two that decide.
    """
    if not settings.early_stopping:
        return rows, None
    small = "The validation set is too small: raise validation_fraction, or give more examples"
    if settings.validation_fraction == 0:
        raise InputError(small)
    kept, held_out = train_test_split(rows, test_size=settings.validation_fraction, random_state=seed, stratify=strata)
    if len(held_out) < 2:
        raise InputError(small)
    return kept, held_out


def not_converged(settings: Settings) -> str:
    """The warning for a training that ended with its last epoch."""
    return (
        f"training ended at max_iter={settings.epochs} epochs and had not converged: raise max_iter or "
        f"learning_rate_init, scale the features (and the values of a regression), or raise tol={settings.tol:g}"
    )


def initial_parameters(settings: Settings, prepared: Prepared, seed: int) -> Parameters:
    """Initial parameters by layer and name."""
    from flax import nnx

    trial = settings.trial
    model = MLP(prepared.x.shape[1], trial.hidden_units, prepared.outputs, rngs=nnx.Rngs(seed))
    names = symbols(model.network)
    return [{name: np.asarray(model.weights[symbol]) for name, symbol in each.items()} for each in names]


def _logits_of(network: Network, params: Parameters, x: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
    padded = np.pad(x.astype(np.float32), ((0, -len(x) % _BLOCK), (0, 0)))
    blocks = np.split(padded, len(padded) // _BLOCK)
    return np.concatenate([run_compiled(_apply, {"network": network}, params, block) for block in blocks])[: len(x)]


def _apply(params: Any, x: Float[Array, "B D"], *, network: Network) -> Float[Array, "B K"]:
    return apply_network(network, params, x)
