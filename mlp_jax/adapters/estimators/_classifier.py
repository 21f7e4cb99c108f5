"""The classifier."""

import warnings
from collections.abc import Mapping
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.sparse import issparse
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from mlp_jax.adapters.estimators._checks import (
    BEYOND,
    CENTRE,
    check_labels,
    check_range,
    rounding_message,
)
from mlp_jax.adapters.estimators._losses import BINARY, MULTICLASS, MULTILABEL, decisions
from mlp_jax.adapters.estimators._perceptron import Perceptron, Prepared
from mlp_jax.datasets.rounding import GREATEST
from mlp_jax.errors import InputError, shown
from mlp_jax.tasks import class_logits


class MLPClassifier(ClassifierMixin, Perceptron):  # type: ignore[misc]
    """Multilayer perceptron: softmax and cross-entropy; logistic for two classes, or for several labels at once.

    Weights begin Glorot-uniform and biases at 0, as everywhere in this package. Momentum is PyTorch's: where the rate
    changes, it changes for the momentum that there is, too.

    Args:
        hidden_layer_sizes: units of each hidden layer; a number for one layer, 0 or () for none.
        activation: of the hidden layers: ``logistic`` (which is ``sigmoid``), or another name in
            ``mlp_jax.ACTIVATIONS``.
        solver: ``adam``, ``sgd``, or ``lbfgs``, which takes all examples at once, in float64.
        alpha: λ of the penalty ½ λ Σ W² on the sum of the losses of a minibatch.
        batch_size: examples per minibatch; ``auto`` for 200, or all where there are fewer.
        learning_rate: of ``sgd``: ``constant``; ``invscaling``, which falls with the number of examples seen;
            ``adaptive``, which falls to a fifth where training would stop, until it is below 10⁻⁶.
        learning_rate_init: the learning rate, or the first one.
        power_t: of ``invscaling``: after t examples the rate is the first one divided by (t + 1) to this power.
        max_iter: epochs, at most; iterations of ``lbfgs``.
        shuffle: whether every epoch has an order of its own.
        random_state: of initial weights, minibatches and the validation split; an integer is the seed of a trial.
        tol: how far the training loss has to fall below its least so far in an epoch to count as an improvement, or the
            validation score to rise. For ``lbfgs``: the greatest component of the gradient at the end.
        verbose: whether to print the loss of every epoch.
        warm_start: whether ``fit`` goes on with the weights that there are.
        momentum: of ``sgd``.
        nesterovs_momentum: whether that is Nesterov's.
        early_stopping: whether accuracy on held-out examples decides when to stop; the weights are then those of the
            best epoch.
        validation_fraction: share of the examples that are held out for it, of every class the same.
        beta_1: decay rate of Adam's running mean of the gradient.
        beta_2: decay rate of Adam's running mean of its square.
        epsilon: Adam's ε.
        n_iter_no_change: training stops after more epochs than that in a row without improvement; ``np.inf`` for never.
        max_fun: evaluations of the loss by ``lbfgs``, at most.
        class_weight: what the loss of each class counts: a dict by label, or ``balanced``. scikit-learn's own has none.

    Warns:
        ConvergenceWarning: ``fit`` ended with its last epoch.

    Attributes:
        coefs_: weights of each layer, ``[before, units]``, in the type of X.
        intercepts_: biases of each layer.
        n_iter_: epochs of the last ``fit`` (1 after ``partial_fit``), or iterations.
        t_: number of examples seen.
        loss_: the last training loss, with the penalty.
        loss_curve_: training loss by epoch.
        best_loss_: the least of them; None with early stopping.
        validation_scores_: by epoch; None without early stopping.
        best_validation_score_: the greatest of them; None without early stopping.
        n_layers_: number of layers, the features being the first.
        n_outputs_: number of logits.
        out_activation_: ``softmax`` or ``logistic``.
        n_features_in_: number of features.
        classes_: the labels, sorted; for several labels at once their numbers.
        feature_names_in_: column names, if X was a data frame.
        model_: the trained model, a plain ``mlp_jax.MLP``.
    """

    def __init__(
        self,
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
        class_weight: Mapping[Any, float] | str | None = None,
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
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples ``[N, D]``, dense or sparse, and labels ``[N]``, or indicators ``[N, K]`` of several.

        Args:
            X: the examples.
            y: numbers or strings; 0 and 1 for several labels at once.
            sample_weight: what the loss of each example counts; None for 1.

        Raises:
            InputError: a parameter or value that makes no sense, or training diverged.
        """
        for message, category in self._learn(X, y, sample_weight):
            warnings.warn(message, category, stacklevel=2)
        return self

    @available_if(Perceptron._steps_forward)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for an epoch on these examples, from where training is.

        Args:
            X: the examples.
            y: labels, as for ``fit``.
            sample_weight: what the loss of each example counts; None for 1.
            classes: all labels that there will be; needed in the first call.

        Raises:
            InputError: as ``fit``.
        """
        for message, category in self._learn(X, y, sample_weight, incremental=True, classes=classes):
            warnings.warn(message, category, stacklevel=2)
        return self

    def _prepare(self, X: Any, y: Any, *, reset: bool, classes: Any = None, incremental: bool = False) -> Prepared:
        y = y.toarray() if issparse(y) else y
        if y is not None:
            check_labels(y)
        x, y = self._examples(X, y, reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        several = y.ndim == 2
        if several and type_of_target(y) != "multilabel-indicator":
            raise InputError(
                f"y has {y.shape[1]} columns that hold more than 0 and 1: expected one label for each example, or for "
                "each label a column of 0 and 1"
            )
        found = np.arange(y.shape[1]) if several else np.unique(y)
        self.classes_ = self._known_classes(found, None if several else classes, reset, incremental and not several)
        if len(self.classes_) < 2:
            raise InputError(f"y has one class, {shown(self.classes_[0])}: expected two or more classes")
        check_range(x, GREATEST, self._columns(), BEYOND)
        said = [rounding_message(x, self._columns(), CENTRE)]
        if several:
            task, outputs, targets = MULTILABEL, len(self.classes_), y.astype(np.float32)
        else:
            binary = len(self.classes_) == 2
            task, outputs = (BINARY, 1) if binary else (MULTICLASS, len(self.classes_))
            targets = np.searchsorted(self.classes_, y).astype(np.int32)
        return Prepared(x, targets, task, outputs, said)

    def _known_classes(self, found: np.ndarray, classes: Any, reset: bool, incremental: bool) -> np.ndarray:
        """The classes, given those in y; raises InputError if they are not those that they have to be."""
        known = getattr(self, "classes_", None)
        if incremental and known is None and classes is None:
            raise InputError("classes must be passed on the first call to partial_fit: all labels that there will be")
        if classes is not None:
            given = np.unique(np.asarray(classes))
            if known is not None and not np.array_equal(given, known):
                raise InputError(f"classes are {shown(given)}: expected those of the calls before, {shown(known)}")
            known = given
        if known is None or (reset and not incremental):
            return found
        extra = np.setdiff1d(found, known)
        if len(extra):
            raise InputError(f"y holds {shown(extra[0])}: expected one of the classes {shown(known)}, as before")
        if not incremental and len(found) != len(known):
            lacking = np.setdiff1d(known, found)
            raise InputError(f"y lacks the class {shown(lacking[0])}: with warm_start it has to hold those of before")
        return known

    def _class_weights(self, prepared: Prepared, incremental: bool) -> Float[np.ndarray, "N"] | None:
        if self.class_weight is None:
            return None
        if prepared.task is MULTILABEL:
            raise InputError("class_weight is for one label per example: expected None for several, or sample_weight")
        if incremental and isinstance(self.class_weight, str):
            raise InputError(
                f"class_weight is {shown(self.class_weight)}: expected a dict by label for partial_fit, which does not "
                "see all examples"
            )
        weights: np.ndarray = compute_sample_weight(self.class_weight, self.classes_[prepared.targets])
        return weights

    def _strata(self, prepared: Prepared) -> np.ndarray | None:
        return None if prepared.task is MULTILABEL else self.classes_[prepared.targets]

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each example, ``[N]``, or 0 and 1 ``[N, K]`` for several labels."""
        return self._decided(self._logits(self._validated(X)))

    def predict_proba(self, X: Any) -> Float[np.ndarray, "N classes"]:
        """Probability of each class in float64, in the order of ``classes_``; of each label, if there are several."""
        return self._probabilities(self._logits(self._validated(X)))

    def predict_log_proba(self, X: Any) -> Float[np.ndarray, "N classes"]:
        """Logarithm of ``predict_proba``, finite where that is 0."""
        return self._log_probabilities(self._logits(self._validated(X)))

    def _decided(self, logits: Float[np.ndarray, "N K"]) -> np.ndarray:
        found = decisions(self._task, logits)
        return found if self._task is MULTILABEL else self.classes_[found]

    def _probabilities(self, logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N classes"]:
        if self._task is MULTILABEL:
            return np.asarray(expit(logits.astype(np.float64)))
        return np.asarray(softmax(self._of_classes(logits), axis=1))

    def _log_probabilities(self, logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N classes"]:
        if self._task is MULTILABEL:
            return np.asarray(log_expit(logits.astype(np.float64)))
        return np.asarray(log_softmax(self._of_classes(logits), axis=1))

    def _of_classes(self, logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N classes"]:
        return np.asarray(class_logits(self._task.name, jnp.asarray(logits)), np.float64)
