"""A grid search with cross-validation whose networks are trained together."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import joblib
import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import accuracy_score, make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples

from mlp_jax.adapters.estimators._checks import check_sample_weight
from mlp_jax.adapters.estimators._perceptron import Perceptron, Prepared, split_rows
from mlp_jax.adapters.estimators._training import Settings, Validation, course_of, settings_of, train
from mlp_jax.datasets.dataset import Split
from mlp_jax.errors import InputError, shown
from mlp_jax.machine.backend import require_jax
from mlp_jax.machine.distributed import cores, make_cpu_devices
from mlp_jax.networks.packing import Parameters
from mlp_jax.sweeps.folds import Cohort

_SCORER = type(make_scorer(accuracy_score))


class _Fitted(NamedTuple):
    """A candidate trained on a fold.

    Attributes:
        network: the estimator, fitted.
        whole: the same with the steps before it, if it is part of a pipeline.
        test: logits of the fold's test rows.
        own: logits of its training part; None if nobody asks for them.
        problem: why it is of no use; empty if it is.
    """

    network: Any
    whole: Any
    test: Float[np.ndarray, "n K"]
    own: Float[np.ndarray, "n K"] | None
    problem: str


@dataclass
class _Table:
    """What came of every candidate on every fold.

    Attributes:
        estimator: the one that candidates are made of.
        found: by the candidate's digest, each fold's.
        splits: rows to train on and to test on, of each fold.
    """

    estimator: Any
    found: dict[str, list[_Fitted]]
    splits: list[tuple[np.ndarray, np.ndarray]]


def _network_has(name: str) -> Callable[[Any], bool]:
    return lambda lookup: hasattr(_network(lookup.table.estimator), name)


class _Lookup(BaseEstimator):  # type: ignore[misc]
    """Stands for a candidate in scikit-learn's search, and is given numbers of rows instead of examples."""

    def __init__(self, table: _Table) -> None:
        self.table = table
        self.parameters: Mapping[str, Any] = {}

    def __sklearn_clone__(self) -> "_Lookup":
        return _Lookup(self.table)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.table.estimator)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fitted_")

    def set_params(self, **parameters: Any) -> Self:
        self.parameters = parameters
        return self

    def fit(self, rows: Int[np.ndarray, "n 1"], y: Any = None, sample_weight: Any = None) -> Self:
        folds = [fold for fold, (own, _) in enumerate(self.table.splits) if np.array_equal(own, rows[:, 0])]
        if not folds:
            return self  # all rows, for the refit, which is not done here
        found = self.table.found[joblib.hash(dict(self.parameters))]
        self.fitted_ = found[folds[0]]
        self.known_: list[tuple[np.ndarray, np.ndarray | None]] = [
            (self.table.splits[fold][1], found[fold].test) for fold in folds
        ]
        self.known_.append((rows[:, 0], self.fitted_.own))
        if self.fitted_.problem:
            raise InputError(self.fitted_.problem)
        self.classes_ = getattr(self.fitted_.network, "classes_", None)
        return self

    def _logits(self, rows: Int[np.ndarray, "n 1"]) -> Float[np.ndarray, "n K"]:
        return next(logits for known, logits in self.known_ if logits is not None and np.array_equal(known, rows[:, 0]))

    def predict(self, rows: Int[np.ndarray, "n 1"]) -> np.ndarray:
        return np.asarray(self.fitted_.network._decided(self._logits(rows)))

    @available_if(_network_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, rows: Int[np.ndarray, "n 1"]) -> np.ndarray:
        return np.asarray(self.fitted_.network._probabilities(self._logits(rows)))

    @available_if(_network_has("predict_log_proba"))  # type: ignore[untyped-decorator]
    def predict_log_proba(self, rows: Int[np.ndarray, "n 1"]) -> np.ndarray:
        return np.asarray(self.fitted_.network._log_probabilities(self._logits(rows)))

    def score(self, rows: Int[np.ndarray, "n 1"], y: Any, sample_weight: Any = None) -> float:
        measure = accuracy_score if is_classifier(self.table.estimator) else r2_score
        return float(measure(y, self.predict(rows), sample_weight=sample_weight))


def _network(estimator: Any) -> Any:
    """The perceptron of an estimator: itself, or the last step of a pipeline."""
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def _checked_network(estimator: Any) -> Perceptron:
    network = _network(estimator)
    if not isinstance(network, Perceptron):
        raise InputError(
            f"estimator is {shown(estimator)}: expected MLPClassifier or MLPRegressor of mlp_jax, or a Pipeline that "
            "ends with one"
        )
    return network


class MLPSearchCV(GridSearchCV):  # type: ignore[misc]
    """``sklearn.model_selection.GridSearchCV`` for MLPClassifier and MLPRegressor, trained together.

    All candidates on all folds are one compiled program: networks of any widths, depths, activations, penalties, rates
    and solvers (``adam`` and ``sgd``) side by side. Each ends where it would end alone. What decides about minibatches
    (``batch_size``, ``shuffle``, ``random_state``, early stopping), Adam's constants, class weights and the parameters
    of steps before make programs of their own.

    Parameters and attributes are GridSearchCV's. ``estimator`` is one of this package, or a Pipeline that ends with
    one, whose other steps are fitted on the training part of each fold. ``n_jobs`` and ``pre_dispatch`` do nothing.
    Fit times are shares of the time that all took together. Every network knows all classes of y, even where the
    training part of a fold lacks one.
    """

    def fit(self, X: Any, y: Any = None, *, groups: Any = None, sample_weight: Any = None) -> Self:
        """Train every candidate on every fold, and the best one on all examples.

        Args:
            X: the examples.
            y: labels or values.
            groups: of the examples, for splitters that take them.
            sample_weight: what the loss of each example counts; in scores where GridSearchCV has it so.

        Raises:
            InputError: a candidate or value that makes no sense.

        Warns:
            ConvergenceWarning: some networks had not converged with their last epoch.
        """
        _checked_network(self.estimator)
        X, y = indexable(X, y)
        candidates = list(ParameterGrid(self.param_grid))
        estimators = [clone(self.estimator).set_params(**clone(each, safe=False)) for each in candidates]
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = [(np.asarray(own), np.asarray(test)) for own, test in splitter.split(X, y, groups)]
        if self.verbose:
            print(f"Training {len(candidates)} candidates on {len(splits)} folds together")
        begun = time.perf_counter()
        together = _Together(X, y, splits, sample_weight, bool(self.return_train_score))
        fitted = together.train(estimators)
        seconds = (time.perf_counter() - begun) / max(1, len(candidates) * len(splits))
        table = _Table(
            self.estimator, {joblib.hash(each): found for each, found in zip(candidates, fitted, strict=True)}, splits
        )
        weights = {} if together.weights is None else {"sample_weight": together.weights}
        found = GridSearchCV(
            _Lookup(table),
            self.param_grid,
            scoring=_by_rows(self.scoring, X),
            refit=self.refit,
            cv=splits,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
        ).fit(np.arange(_num_samples(X))[:, None], y, **weights)
        for name in ("cv_results_", "best_index_", "best_params_", "best_score_", "scorer_", "n_splits_"):
            if hasattr(found, name):
                setattr(self, name, getattr(found, name))
        self.multimetric_ = found.multimetric_
        self.cv_results_["mean_fit_time"] = np.full(len(candidates), seconds)
        self.cv_results_["std_fit_time"] = np.zeros(len(candidates))
        if self.refit:
            self._refit(X, y, sample_weight)
        for message, category in together.said.items():
            warnings.warn(message, category, stacklevel=2)
        return self

    def _refit(self, X: Any, y: Any, sample_weight: Any) -> None:
        begun = time.perf_counter()
        self.best_estimator_ = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
        name = "sample_weight"
        if isinstance(self.best_estimator_, Pipeline):
            name = f"{self.best_estimator_.steps[-1][0]}__sample_weight"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said of all that have not converged
            self.best_estimator_.fit(X, y, **({} if sample_weight is None else {name: sample_weight}))
        self.refit_time_ = time.perf_counter() - begun
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_


def _by_rows(scoring: Any, X: Any) -> Any:
    """Scoring that is given numbers of rows; functions of users are given the estimator and its examples."""
    if isinstance(scoring, Mapping):
        return {name: _by_rows(each, X) for name, each in scoring.items()}
    if not callable(scoring) or isinstance(scoring, _SCORER):
        return scoring

    def score(lookup: _Lookup, rows: Int[np.ndarray, "n 1"], y: Any) -> Any:
        return scoring(lookup.fitted_.whole, _safe_indexing(X, rows[:, 0]), y)

    return score


class _Member(NamedTuple):
    """A candidate in training.

    Attributes:
        number: among the candidates.
        estimator: the candidate.
        network: its perceptron.
        settings: of this.
    """

    number: int
    estimator: Any
    network: Perceptron
    settings: Settings


class _Fold(NamedTuple):
    """A fold as the members of a program see it.

    Attributes:
        steps: those before the network, fitted; None if there are none.
        known: a network that knows what there is to know of the data.
        prepared: the examples of all folds, through the steps.
        rows: to train on.
        decide: those of the training part that decide when to stop; None without early stopping.
        own: the training part.
        test: the test part.
        weights: of the examples of all folds; None for 1.
    """

    steps: Any
    known: Perceptron
    prepared: Prepared
    rows: Int[np.ndarray, "n"]
    decide: Int[np.ndarray, "n"] | None
    own: Int[np.ndarray, "n"]
    test: Int[np.ndarray, "n"]
    weights: Float[np.ndarray, "N"] | None


def _program_of(member: _Member) -> str:
    """Equal for candidates that one program can train."""
    estimator, network, settings = member.estimator, member.network, member.settings
    steps = [repr(step.get_params()) for _, step in estimator.steps[:-1]] if isinstance(estimator, Pipeline) else []
    share = settings.validation_fraction if settings.early_stopping else None
    parameters = network.get_params()
    others = [parameters.get(name) for name in ("random_state", "loss", "class_weight")]
    return str(joblib.hash((steps, settings.recipe, settings.shuffle, share, others)))


class _Together:
    """Trains candidates on folds, in as few programs as possible.

    Attributes:
        X: the examples.
        y: labels or values.
        splits: rows to train on and to test on, of each fold.
        weights: of the examples; None for 1.
        train_scores: whether logits of training rows are asked for.
        said: warnings to give, by message.
        unfinished: how many trainings had not converged.
    """

    def __init__(
        self, X: Any, y: Any, splits: list[tuple[np.ndarray, np.ndarray]], sample_weight: Any, train_scores: bool
    ) -> None:
        self.X, self.y, self.splits = X, y, splits
        self.weights = check_sample_weight(sample_weight, _num_samples(X))
        self.train_scores = train_scores
        self.said: dict[str, type[Warning]] = {}
        self.unfinished = 0

    def train(self, estimators: Sequence[Any]) -> list[list[_Fitted]]:
        """What came of each candidate on each fold."""
        if len(self.splits) > 1:
            make_cpu_devices(min(cores(), len(self.splits)))
        require_jax()
        programs: dict[str, list[_Member]] = {}
        for number, estimator in enumerate(estimators):
            network = _checked_network(estimator)
            settings = settings_of(network)
            if settings.solver == "lbfgs":
                raise InputError("solver is 'lbfgs': expected adam or sgd, whose networks are trained together")
            member = _Member(number, estimator, network, settings)
            programs.setdefault(_program_of(member), []).append(member)
        found: dict[int, list[_Fitted]] = {}
        for members in programs.values():
            by_fold = self._train(members)
            found |= {member.number: [fold[t] for fold in by_fold] for t, member in enumerate(members)}
        if self.unfinished:
            message = (
                f"{self.unfinished} of {len(estimators) * len(self.splits)} trainings ended at max_iter and had not "
                "converged: raise max_iter or learning_rate_init, scale the features, or raise tol"
            )
            self.said[message] = ConvergenceWarning
        return [found[number] for number in range(len(estimators))]

    def _train(self, members: Sequence[_Member]) -> list[list[_Fitted]]:
        """Train candidates that one program can train; what came of them, by fold."""
        seed = members[0].network._seed()
        folds = self._folds(members[0], seed)
        batch = members[0].settings.recipe.batch_size
        steps = [-(-len(fold.rows) // min(batch, len(fold.rows))) for fold in folds]
        found: list[list[_Fitted]] = [[] for _ in folds]
        for count in dict.fromkeys(
            steps
        ):  # folds of one size more or less have as many minibatches, but for rare sizes
            some = [i for i, each in enumerate(steps) if each == count]
            for i, fitted in zip(some, self._train_folds(members, [folds[i] for i in some], seed), strict=True):
                found[i] = fitted
        return found

    def _folds(self, member: _Member, seed: int) -> list[_Fold]:
        has_steps = isinstance(member.estimator, Pipeline) and len(member.estimator) > 1
        known = clone(member.network)
        prepared = None if has_steps else known._prepare(self.X, self.y, reset=True)
        folds = []
        for own, test in self.splits:
            steps = None
            if has_steps:
                known, steps = clone(member.network), clone(member.estimator[:-1])
                steps.fit(_safe_indexing(self.X, own), _safe_indexing(self.y, own))
                prepared = known._prepare(steps.transform(self.X), self.y, reset=True)
            assert prepared is not None
            self.said |= {message: DataConversionWarning for message in prepared.said if message}
            strata = known._strata(prepared)
            rows, decide = split_rows(member.settings, own, None if strata is None else strata[own], seed)
            weights = self.weights
            by_class = known._class_weights(prepared._replace(targets=prepared.targets[own]), incremental=False)
            if by_class is not None:
                weights = np.ones(len(prepared.x)) if weights is None else weights.copy()
                weights[own] *= by_class
            folds.append(_Fold(steps, known, prepared, rows, decide, own, test, weights))
        widths = sorted({fold.prepared.x.shape[1] for fold in folds})
        if len(widths) > 1:
            raise InputError(
                f"the steps before the network make {widths[0]} features of one fold and {widths[-1]} of another: "
                "expected as many"
            )
        return folds

    def _train_folds(self, members: Sequence[_Member], folds: Sequence[_Fold], seed: int) -> list[list[_Fitted]]:
        """Train candidates on folds that have as many minibatches."""
        settings, prepared = members[0].settings, folds[0].prepared
        splits = [
            Split(fold.prepared.x.astype(np.float32, copy=False), prepared.targets)
            for fold in (folds if folds[0].steps is not None else folds[:1])
        ]
        weights = None if folds[0].weights is None else [fold.weights for fold in folds if fold.weights is not None]
        cohort = Cohort(
            [member.settings.trial for member in members],
            splits if folds[0].steps is not None else splits[0],
            [fold.rows for fold in folds],
            task=prepared.task,
            outputs=prepared.outputs,
            recipe=settings.recipe,
            seed=seed,
            example_weights=None if weights is None else np.stack(weights),
            shuffle=settings.shuffle,
        )
        course = course_of([member.settings for member in members], len(folds))
        deciding = [fold.decide for fold in folds if fold.decide is not None]
        validation = Validation(deciding, prepared.targets, weights) if deciding else None
        trained = train(cohort, course, prepared.task, [len(fold.rows) for fold in folds], validation=validation)
        self.unfinished += int((~course.stopped & ~course.diverged).sum())
        models = cohort.models(trained.params)
        of_test = cohort.logits([fold.test for fold in folds], trained.params)
        of_own = cohort.logits([fold.own for fold in folds], trained.params) if self.train_scores else None
        return [
            [
                self._fitted(member, fold, models[i][t], trained.losses[: course.trained[i, t], i, t])._replace(
                    test=of_test[i][:, t], own=None if of_own is None else of_own[i][:, t]
                )
                for t, member in enumerate(members)
            ]
            for i, fold in enumerate(folds)
        ]

    def _fitted(self, member: _Member, fold: _Fold, params: Parameters, losses: Float[np.ndarray, "epochs"]) -> _Fitted:
        """A candidate as an estimator, without its logits."""
        network = clone(member.network)
        parameters = network.get_params()
        vars(network).update({name: value for name, value in vars(fold.known).items() if name not in parameters})
        network._begin(member.settings, fold.prepared)
        network._finish(params, fold.prepared, member.settings)
        network.n_iter_, network.loss_curve_, network.loss_ = len(losses), losses.tolist(), float(losses[-1])
        finite = all(np.isfinite(array).all() for layer in params for array in layer.values())
        diverged = not finite or (not np.isfinite(losses).all() and not member.settings.early_stopping)
        problem = "training diverged: lower learning_rate_init, or scale the features" if diverged else ""
        whole = network
        if fold.steps is not None:
            whole = Pipeline([*fold.steps.steps, (member.estimator.steps[-1][0], network)])
        return _Fitted(network, whole, np.empty((0, 0)), None, problem)
