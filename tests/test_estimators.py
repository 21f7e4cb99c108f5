"""scikit-learn's estimators: its own checks, and what one does with them."""

import inspect
import pickle
import re
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from flax import nnx
from scipy import sparse
from scipy.special import expit
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

import mlp_jax
from mlp_jax.adapters.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore:training ended at max_iter:sklearn.exceptions.ConvergenceWarning")


def assert_probabilities(estimator, x):
    """Float64, adding up to 1, agreeing with their logarithms and with ``predict``; returns them."""
    probabilities = estimator.predict_proba(x)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.exp(estimator.predict_log_proba(x)), probabilities, rtol=1e-12)
    np.testing.assert_array_equal(estimator.classes_[probabilities.argmax(axis=1)], estimator.predict(x))
    return probabilities


QUICK = {"hidden_layer_sizes": 20, "learning_rate_init": 0.02, "batch_size": 32, "max_iter": 30}
IRIS = load_iris()
IRIS_X = StandardScaler().fit_transform(IRIS.data)


WEIGHTS_ARE_REPEATS = "check_sample_weight_equivalence_on_dense_data"


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [MLPClassifier(), MLPRegressor()], ids=str)
def test_check_estimator(estimator):
    # An example that is there twice is in two minibatches, and one of weight 2 in one: scikit-learn's own differ, too.
    differ = dict.fromkeys((WEIGHTS_ARE_REPEATS, WEIGHTS_ARE_REPEATS.replace("dense", "sparse")), "minibatches differ")
    results = check_estimator(estimator, on_skip=None, expected_failed_checks=differ)
    assert len(results) > 50
    skipped = {"check_array_api_input", "check_classifiers_multilabel_output_format_decision_function"}
    assert {each["check_name"] for each in results if each["status"] == "skipped"} <= skipped
    assert {each["check_name"] for each in results if each["status"] == "xfail"} <= differ.keys()
    assert {each["status"] for each in results} <= {"passed", "skipped", "xfail"}


def test_a_weight_is_a_repetition_without_minibatches():
    estimator = MLPClassifier(3, activation="tanh", solver="lbfgs", max_iter=20)
    checks = [check for _, check in estimator_checks_generator(estimator)]
    (check,) = (each for each in checks if each.func.__name__ == WEIGHTS_ARE_REPEATS)
    check(estimator)


BY_DEFAULT = {
    "check_estimators_unfitted",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_classifiers_one_label",
    "check_dtype_object",
    "check_methods_subset_invariance",
    "check_set_params",
    "check_valid_tag_types",
    "check_estimator_sparse_array",
    "check_supervised_y_no_nan",
}


@pytest.mark.parametrize("estimator", [MLPClassifier(**QUICK), MLPRegressor(**QUICK)], ids=["classifier", "regressor"])
def test_some_checks(estimator):
    passed = set()
    for instance, check in estimator_checks_generator(estimator):
        if check.func.__name__ in BY_DEFAULT:
            check(instance)
            passed.add(check.func.__name__)
    assert len(passed) >= 8


def test_trains_as_fit_does():
    estimator = MLPClassifier((7, 5), "relu", max_iter=3, batch_size=40, alpha=0, random_state=4)
    estimator.fit(IRIS.data, IRIS.target)
    model = mlp_jax.MLP(4, (7, 5), 3, activation="relu", rngs=nnx.Rngs(4))
    split = mlp_jax.Split(IRIS.data.astype(np.float32), IRIS.target.astype(np.int32))
    fitted = mlp_jax.fit(model, split, seed=4, recipe=mlp_jax.Recipe(epochs=3, batch_size=40, epsilon=1e-8))
    symbols = ["A", "A2", "B", "c1", "c2", "c3"]
    for ours, theirs in zip((*estimator.coefs_, *estimator.intercepts_), symbols, strict=True):
        np.testing.assert_allclose(ours, fitted.model.weights[theirs], atol=1e-5)
    np.testing.assert_allclose(estimator.loss_curve_, fitted.history.loss, rtol=1e-5)
    np.testing.assert_array_equal(estimator.predict(IRIS.data), fitted.model.predict(split.features))
    np.testing.assert_allclose(
        estimator.predict_proba(IRIS.data), fitted.model.predict_proba(split.features), atol=1e-5
    )
    assert isinstance(estimator.model_, mlp_jax.MLP)
    np.testing.assert_allclose(estimator.model_(split.features), fitted.model(split.features), atol=1e-5)
    assert (estimator.n_iter_, estimator.n_features_in_, estimator.n_outputs_) == (3, 4, 3)
    assert (estimator.n_layers_, estimator.out_activation_, estimator.t_) == (4, "softmax", 450)


def test_labels_may_be_strings_and_columns_have_names():
    frame = pd.DataFrame(IRIS_X, columns=["sepal length", "sepal width", "petal length", "petal width"])
    names = IRIS.target_names[IRIS.target]
    estimator = MLPClassifier(**QUICK, random_state=0).fit(frame, names)
    assert estimator.feature_names_in_.tolist() == list(frame.columns)
    assert estimator.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert estimator.score(frame, names) > 0.95
    assert_probabilities(estimator, frame)
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(frame.rename(columns={"sepal width": "sepals"}))


def test_two_classes_are_a_binary_task():
    data = load_breast_cancer()
    x = StandardScaler().fit_transform(data.data)
    estimator = MLPClassifier((), max_iter=20, learning_rate_init=0.01, random_state=0).fit(x, data.target)
    assert estimator.score(x, data.target) > 0.95
    assert [a.shape for a in estimator.coefs_] == [(30, 1)]
    assert estimator.predict_proba(x).shape == (569, 2)
    assert_probabilities(estimator, x)


def test_the_rare_class_of_a_sure_binary_model_has_its_probability():
    x = np.linspace(-1, 1, 60)[:, None]
    labels = np.array(["no", "yes"])[(x[:, 0] > 0).astype(int)]
    estimator = MLPClassifier((), learning_rate_init=0.1, max_iter=40, random_state=0).fit(x, labels)
    sure = np.array([[-17.0], [-10.0], [10.0], [17.0]])  # far out: one class or the other, with logits of either sign
    probabilities = assert_probabilities(estimator, sure)
    z = np.asarray(estimator.model_(sure.astype(np.float32)), np.float64)[:, 0]
    assert np.abs(z).min() > 17  # where 1 - p would be 0 in float32
    np.testing.assert_allclose(probabilities, np.stack([expit(-z), expit(z)], axis=1), rtol=1e-12)
    wrong = estimator.classes_[probabilities.argmin(axis=1)]
    assert log_loss(wrong, probabilities) == pytest.approx(np.abs(z).mean())


def test_regression_of_one_value_and_of_several():
    data = load_diabetes()
    x, y = (StandardScaler().fit_transform(array) for array in (data.data, data.target[:, None]))
    single = MLPRegressor(**QUICK, random_state=0).fit(x, y[:, 0])
    assert single.predict(x).shape == (442,)
    assert single.score(x, y) > 0.5
    both = MLPRegressor(**QUICK, random_state=0).fit(x, np.hstack([y, -y]))
    assert both.predict(x).shape == (442, 2)
    assert both.score(x, np.hstack([y, -y])) > 0.5


@pytest.mark.parametrize("fitted", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("asked", [np.float16, np.float32, np.float64, np.int32])
def test_regression_answers_in_scikit_learns_type(fitted, asked):
    x, y = np.arange(12).reshape(6, 2), np.arange(6.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = neural_network.MLPRegressor(hidden_layer_sizes=1, max_iter=1).fit(x.astype(fitted), y)
    ours = MLPRegressor(hidden_layer_sizes=1, max_iter=1).fit(x.astype(fitted), y)
    assert ours.predict(x.astype(asked)).dtype == theirs.predict(x.astype(asked)).dtype


def both(ours, theirs, x, y, *, settings, epochs, weights=None):
    """Ours and scikit-learn's, trained from the same weights on the same minibatches, and their losses."""
    how = {**settings, "shuffle": False, "random_state": 0, "max_iter": 1, "warm_start": True}
    fitted = ours(**how), theirs(**how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for estimator in fitted:
            estimator.fit(x, y)
            estimator.coefs_ = [coef.copy() for coef in fitted[0].coefs_]
            estimator.intercepts_ = [bias.copy() for bias in fitted[0].intercepts_]
            estimator.loss_curve_, estimator.best_loss_, estimator._no_improvement_count = [], np.inf, 0
            estimator.t_ = 0
        for estimator in fitted:
            estimator.set_params(max_iter=epochs).fit(x, y, sample_weight=weights)
    return fitted


SOLVERS = {
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.01},
    "sgd": {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5, "learning_rate_init": 0.01},
    "invscaling": {"solver": "sgd", "momentum": 0, "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {"solver": "sgd", "momentum": 0, "learning_rate": "adaptive", "tol": 1e-2, "n_iter_no_change": 2},
}
SOLVERS["invscaling"]["learning_rate_init"] = SOLVERS["adaptive"]["learning_rate_init"] = 0.05


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("outputs", "weighted"), [(1, False), (3, True)])
def test_regression_follows_scikit_learn(solver, outputs, weighted):
    """With a penalty, whose share differs in the last minibatch, which has fewer examples."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    y = (np.tanh(x @ rng.normal(size=(3, outputs))) + 2).squeeze()
    weights = rng.uniform(0.1, 3, size=40) if weighted else None
    settings = {"hidden_layer_sizes": (5, 4), "activation": "tanh", "alpha": 0.3, "batch_size": 16, **SOLVERS[solver]}
    settings = {"tol": 0, **settings}
    ours, theirs = both(MLPRegressor, neural_network.MLPRegressor, x, y, settings=settings, epochs=40, weights=weights)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=2e-3)  # their Adam has its ε elsewhere
    assert ours.loss_ == ours.loss_curve_[-1]
    assert ours.best_loss_ == min(ours.loss_curve_)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), atol=2e-3)
    if solver != "adam":
        assert ours._optimizer.learning_rate == pytest.approx(theirs._optimizer.learning_rate)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "poisson"])
def test_other_tasks_follow_scikit_learn(task):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 4))
    signal = x @ rng.normal(size=(4, 3))
    y = {
        "binary": signal[:, 0] > 0,
        "multiclass": np.array(list("abc"))[signal.argmax(axis=1)],
        "multilabel": (signal > 0).astype(int),
        "poisson": rng.poisson(np.exp(signal[:, 0] / 2)),
    }[task]
    settings = {"hidden_layer_sizes": 6, "activation": "logistic", "solver": "sgd", "batch_size": 20, "tol": 0}
    settings |= {"learning_rate_init": 0.05} | ({"loss": "poisson"} if task == "poisson" else {})
    name = "MLPRegressor" if task == "poisson" else "MLPClassifier"
    ours, theirs = both(
        globals()[name], getattr(neural_network, name), x, y, settings=settings, epochs=30, weights=rng.uniform(size=50)
    )
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)
    assert ours.out_activation_ == theirs.out_activation_
    if task == "poisson":
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-3)
    else:
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-4)
        assert ours.score(x, y) == theirs.score(x, y)


@pytest.mark.parametrize("ours", [MLPClassifier, MLPRegressor])
def test_arguments_by_position_are_scikit_learns(ours):
    def positional(estimator):
        parameters = inspect.signature(estimator).parameters.values()
        return [parameter.name for parameter in parameters if parameter.kind == parameter.POSITIONAL_OR_KEYWORD]

    assert positional(ours) == positional(getattr(neural_network, ours.__name__))


@pytest.mark.parametrize("loss", ["absolute_error", (100,), None])
def test_other_losses_are_refused(loss):
    with pytest.raises(ValueError, match=r"loss is .*: expected 'squared_error'"):
        MLPRegressor(loss).fit(IRIS_X, IRIS.target)


def test_values_past_float32_are_said_to_be_at_fault():
    x = np.arange(8.0).reshape(4, 2)
    classifier, regressor = MLPClassifier((), max_iter=2), MLPRegressor(hidden_layer_sizes=(), max_iter=2)
    # Not a number of float32, nor its square, nor the sum of the squares, nor the square of a gradient.
    for greatest in (1e39, -1e30, 1e19, 3e18):
        with pytest.raises(ValueError, match=r"^y holds .*: scale the values"):
            regressor.fit(x, [0, 1, greatest, greatest])
    with pytest.raises(ValueError, match=r"^column 1 of y holds 1e"):
        regressor.fit(x, [[0, 1], [0, 1], [0, 1], [0, 1e39]])
    huge = pd.DataFrame({"width": x[:, 0], "height": [0, 1, 2, 1e39]})
    for estimator in (classifier, regressor):
        with pytest.raises(ValueError, match=r"^column 'height' of X holds 1e.39, beyond what float32 can hold"):
            estimator.fit(huge, [0, 0, 1, 1])
        estimator.fit(huge / [1, 1e39], [0, 0, 1, 1])
        with pytest.raises(ValueError, match=r"^column 'height' of X holds 1e.39"):
            estimator.predict(huge)
        with pytest.raises(
            ValueError, match=r"^column 1 of X holds 3e\+38, too much for .* float32: scale the features"
        ):
            estimator.fit(x + np.array([0, 3e38]), [0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"^column 1 of X holds 1.7e\+18, too much"):
        regressor.fit(x + np.array([0, 1.7e18]), [0, 0, 1, 1])  # times in nanoseconds: Adam's steps would all be 0


TIMES = 1.7e9 + np.arange(300.0)  # in seconds since 1970


@pytest.mark.parametrize("estimator", [MLPClassifier(4, max_iter=1), MLPRegressor(hidden_layer_sizes=4, max_iter=1)])
@pytest.mark.parametrize("times", [TIMES, TIMES.astype(np.int64), np.r_[0, TIMES[1:]]], ids=["float", "int", "outlier"])
def test_warns_of_values_that_become_one(estimator, times):
    frame = pd.DataFrame({"one": np.linspace(0, 1, 300), "time": times})
    y = np.arange(300) % 2
    with pytest.warns(DataConversionWarning, match=r"column 'time' of X \(300 different .* StandardScaler") as caught:
        estimator.fit(frame, y)
    (warning,) = (each for each in caught if each.category is DataConversionWarning)
    assert warning.filename == __file__
    assert "'one'" not in str(warning.message)
    estimator.fit(StandardScaler().fit_transform(frame), y)  # the mend: no warning


def test_warns_of_targets_that_become_one():
    with pytest.warns(DataConversionWarning, match=r"y \(300 different values .*: scale the values"):
        MLPRegressor(hidden_layer_sizes=4, max_iter=1).fit(np.linspace(0, 1, 300)[:, None], TIMES)


def test_goes_through_a_search_a_clone_and_a_pickle():
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**QUICK, random_state=0))
    search = GridSearchCV(pipeline, {"mlpclassifier__learning_rate_init": [1e-6, 0.02]}, cv=2)
    search.fit(IRIS.data, IRIS.target)
    best = search.best_estimator_[-1]
    assert best.learning_rate_init == 0.02
    assert cross_val_score(best, IRIS_X, IRIS.target, cv=2).min() > 0.9
    assert search.best_score_ > 0.9
    assert clone(best).get_params() == best.get_params()
    with pytest.raises(NotFittedError):
        clone(best).predict(IRIS_X)
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.predict_proba(IRIS_X), best.predict_proba(IRIS_X))


def test_a_rows_prediction_does_not_depend_on_the_others():
    x = np.tile(IRIS_X, (4, 1))  # more than a block
    estimator = MLPClassifier(**QUICK, random_state=0).fit(IRIS_X, IRIS.target)
    together = estimator.predict_proba(x)
    np.testing.assert_array_equal(together[:150], together[450:])
    np.testing.assert_array_equal(estimator.predict_proba(x[-1:])[0], together[-1])


def test_warns_unless_training_converged():
    def warned(**parameters):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator = MLPClassifier(4, batch_size=150, max_iter=40, random_state=0, **parameters)
            estimator.fit(IRIS_X, IRIS.target)
        assert {warning.category for warning in caught} <= {ConvergenceWarning}
        assert {warning.filename for warning in caught} <= {__file__}
        assert bool(caught) == (estimator.n_iter_ == 40)
        return bool(caught), np.array(estimator.loss_curve_)

    slow, losses = warned(learning_rate_init=1e-3)
    fall = -np.diff(losses)
    assert slow
    assert fall.min() > 1e-4
    assert not warned(learning_rate_init=1e-3, tol=2 * fall.max())[0]
    assert warned(learning_rate_init=1e-3, tol=2 * fall.max(), n_iter_no_change=39)[0]
    assert warned(learning_rate_init=1e-3, tol=2 * fall.max(), n_iter_no_change=np.inf)[0]
    assert not warned(learning_rate_init=1e-7)[0]  # nothing moves


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("learning_rate", [1e-3, 3e-2])
def test_stops_where_scikit_learn_stops(tol, learning_rate):
    settings = {"hidden_layer_sizes": 5, "learning_rate_init": learning_rate, "tol": tol}
    ours, theirs = both(MLPClassifier, neural_network.MLPClassifier, IRIS_X, IRIS.target, settings=settings, epochs=60)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours._no_improvement_count == theirs._no_improvement_count


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": (10, 0)}, "hidden_layer_sizes is 0: expected a whole number"),
        ({"hidden_layer_sizes": np.array([3, -4])}, "hidden_layer_sizes is -4: expected a whole number"),
        ({"hidden_layer_sizes": -3}, "hidden_layer_sizes is -3: expected a whole number"),
        ({"hidden_layer_sizes": (2.5,)}, "hidden_layer_sizes is 2.5: expected a whole number"),
        ({"hidden_layer_sizes": np.int64(-3)}, "hidden_layer_sizes is -3: expected a whole number"),
        ({"hidden_layer_sizes": None}, "hidden_layer_sizes is None: expected a number of units"),
        ({"activation": "swish"}, "unknown activation 'swish'"),
        ({"max_iter": -1}, "max_iter is -1: expected a whole number"),
        ({"batch_size": "all"}, "batch_size is 'all': expected a whole number"),
        ({"solver": "newton"}, "unknown solver 'newton': expected one of adam, sgd, lbfgs"),
        ({"alpha": -1}, "alpha is -1: expected a finite"),
        ({"learning_rate": "cosine"}, "unknown learning_rate 'cosine': expected one of constant, invscaling, adaptive"),
        ({"solver": "sgd", "momentum": 1}, "momentum is 1: expected a number"),
        ({"shuffle": "yes"}, "shuffle is 'yes': expected True or False"),
        ({"validation_fraction": 1}, "validation_fraction is 1: expected"),
        ({"early_stopping": True, "validation_fraction": 0.0}, "validation set is too small"),
        ({"power_t": -1}, "power_t is -1: expected"),
        ({"max_fun": 0}, "max_fun is 0: expected a whole number"),
        ({"n_iter_no_change": 1.5}, "n_iter_no_change is 1.5: expected a whole number"),
        ({"learning_rate_init": 0}, "learning_rate_init is 0: expected a finite float32 number"),
        ({"random_state": -1}, "random_state is -1: expected a whole number"),
        ({"beta_1": 1}, "beta_1 is 1: expected a number"),
        ({"beta_2": -0.5}, "beta_2 is -0.5: expected a number"),
        ({"tol": -1e-4}, "tol is -0.0001: expected a number, 0 or more"),
        ({"tol": float("nan")}, "tol is nan: expected a number, 0 or more"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0: expected a whole number"),
        ({"activation": "relu", "learning_rate_init": 1e30}, "training diverged: lower learning_rate_init"),
    ],
)
def test_bad_parameters_are_refused_when_fitted(parameters, message):
    estimator = MLPClassifier(4, max_iter=2, random_state=0).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        estimator.fit(IRIS_X, IRIS.target)


def test_a_fit_that_fails_leaves_nothing_of_an_earlier_one():
    for estimator in (MLPClassifier(4, max_iter=1), MLPRegressor(hidden_layer_sizes=4, max_iter=1)):
        estimator.fit(IRIS_X, IRIS.target)
        with pytest.raises(ValueError, match="max_iter is 0"):
            clone(estimator).set_params(max_iter=0).fit(IRIS_X, IRIS.target)
        with pytest.raises(ValueError, match="max_iter is 0"):
            estimator.set_params(max_iter=0).fit(IRIS_X[:, :2], IRIS.target > 0)
        for x in (IRIS_X, IRIS_X[:, :2]):
            with pytest.raises(NotFittedError):
                estimator.predict(x)
        estimator.set_params(max_iter=1).fit(IRIS_X[:, :2], IRIS.target > 0)
        assert estimator.predict(IRIS_X[:, :2]).shape == (150,)


def test_fitted_again_with_other_classes():
    estimator = MLPClassifier(4, max_iter=1, random_state=0).fit(IRIS_X, IRIS.target)
    for labels in (IRIS.target > 0, IRIS.target.astype(np.uint8), IRIS.target_names[IRIS.target]):
        estimator.fit(IRIS_X, labels)
        assert estimator.classes_.dtype == estimator.predict(IRIS_X).dtype == labels.dtype
        np.testing.assert_array_equal(estimator.classes_, np.unique(labels))
        assert_probabilities(estimator, IRIS_X)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pd.Series(["a", "b", pd.NA, "a"], dtype="string"), r"labels are missing from y \(1 of 4\)"),
        (pd.Series(pd.Categorical(["a", None, None, "b"])), r"labels are missing from y \(2 of 4\)"),
        (np.array(["a", None, "b", "a"], object), "y holds None as an object"),
        (np.array(["a", 1, "b", "a"], object), "y holds 1 as an object"),
        (np.ma.masked_array([0, 1, 0, 1], [0, 0, 0, 1]), "masked"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(4, max_iter=1).fit(IRIS_X[:4], labels)


def test_values_that_are_no_numbers_are_refused():
    estimator = MLPRegressor(hidden_layer_sizes=4, max_iter=1)
    with pytest.raises(ValueError, match="y has dtype <U1: expected numbers"):
        estimator.fit(IRIS_X[:4], np.array(list("1234")))
    masked = np.ma.masked_array(IRIS_X, IRIS_X > 1)
    with pytest.raises(ValueError, match="masked"):
        estimator.fit(masked, IRIS.target)
    with pytest.raises(ValueError, match="masked"):
        estimator.fit(IRIS_X, IRIS.target).predict(masked)


def test_messages_name_the_class_and_plain_values():
    with pytest.raises(TypeError, match=r"^MLPClassifier\.__init__"):
        MLPClassifier(dropout=0.5)
    with pytest.raises(TypeError, match=r"^MLPRegressor\.__init__"):
        MLPRegressor(dropout=0.5)
    with pytest.raises(ValueError, match=r"^y has one class, 1: expected"):
        MLPClassifier().fit(IRIS_X, np.ones(150, int))
    with pytest.raises(ValueError, match=r"^y has one class, 'no': expected"):
        MLPClassifier().fit(IRIS_X, ["no"] * 150)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_an_epoch_at_a_time_is_the_whole(solver):
    settings = {"hidden_layer_sizes": 5, "solver": solver, "batch_size": 40, "random_state": 3, "tol": 0}
    whole = MLPClassifier(**settings, max_iter=6).fit(IRIS_X, IRIS.target)
    steps = MLPClassifier(**settings)
    for _ in range(3):
        steps.partial_fit(IRIS_X, IRIS.target, classes=[0, 1, 2])
    steps = pickle.loads(pickle.dumps(steps))
    for _ in range(3):
        steps.partial_fit(IRIS_X, IRIS.target)
    assert steps.loss_curve_ == whole.loss_curve_
    for one, other in zip(whole.coefs_ + whole.intercepts_, steps.coefs_ + steps.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (steps.n_iter_, steps.t_) == (1, 900)


def test_partial_fit_is_told_all_classes():
    estimator = MLPClassifier(4, random_state=0)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        estimator.partial_fit(IRIS_X, IRIS.target)
    estimator.partial_fit(IRIS_X[:50], IRIS.target[:50], classes=[0, 1, 2, 7])  # of one class alone
    assert estimator.predict_proba(IRIS_X).shape == (150, 4)
    estimator.partial_fit(IRIS_X[50:], IRIS.target[50:])
    with pytest.raises(ValueError, match="y holds 5: expected one of the classes"):
        estimator.partial_fit(IRIS_X[:2], [0, 5])
    with pytest.raises(ValueError, match=r"classes are .*: expected those of the calls before"):
        estimator.partial_fit(IRIS_X[:2], [0, 1], classes=[0, 1])
    with pytest.raises(ValueError, match="set warm_start=False"):
        estimator.set_params(hidden_layer_sizes=9).partial_fit(IRIS_X[:2], [0, 1])
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        MLPClassifier(4, early_stopping=True).partial_fit(IRIS_X, IRIS.target, classes=[0, 1, 2])


def test_early_stopping_keeps_the_best_epoch():
    estimator = MLPClassifier(
        8, early_stopping=True, validation_fraction=0.3, learning_rate_init=0.05, random_state=1, n_iter_no_change=5
    ).fit(IRIS_X, IRIS.target)
    scores = estimator.validation_scores_
    assert len(scores) == len(estimator.loss_curve_) == estimator.n_iter_ < 200
    assert estimator.best_validation_score_ == max(scores)
    assert estimator.best_loss_ is None
    best = int(np.argmax(scores)) + 1
    until = MLPClassifier(**estimator.get_params() | {"max_iter": best}).fit(IRIS_X, IRIS.target)
    assert until.n_iter_ == best
    for one, other in zip(estimator.coefs_, until.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)


def test_validation_scores_are_the_estimators_own():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    weights = rng.uniform(size=60)
    cases = [
        (MLPClassifier, (x[:, 0] > 0).astype(int)),
        (MLPClassifier, (x > 0).astype(int)),
        (MLPRegressor, x[:, :2] ** 2),
        (MLPRegressor, np.ones(60)),
    ]
    for kind, y in cases:
        estimator = kind(hidden_layer_sizes=3, early_stopping=True, validation_fraction=0.5, max_iter=1, random_state=0)
        estimator.fit(x, y, sample_weight=weights)
        strata = y if kind is MLPClassifier and y.ndim == 1 else None
        _, held_out = train_test_split(np.arange(60), test_size=0.5, random_state=0, stratify=strata)
        (score,) = estimator.validation_scores_
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert score == pytest.approx(estimator.score(x[held_out], y[held_out], weights[held_out]), abs=1e-6)


def test_warm_start_goes_on():
    estimator = MLPClassifier(5, warm_start=True, max_iter=4, random_state=0).fit(IRIS_X, IRIS.target)
    before = estimator.loss_
    estimator.fit(IRIS_X, IRIS.target)
    assert estimator.loss_ < before
    assert (estimator.n_iter_, len(estimator.loss_curve_), estimator.t_) == (4, 8, 1200)
    for labels in (IRIS.target + 1, IRIS.target > 0):
        with pytest.raises(ValueError, match=r"^y (holds|lacks)"):
            estimator.fit(IRIS_X, labels)
    with pytest.raises(ValueError, match="set warm_start=False"):
        estimator.set_params(hidden_layer_sizes=(5, 5)).fit(IRIS_X, IRIS.target)
    estimator.set_params(warm_start=False).fit(IRIS_X, IRIS.target)
    assert len(estimator.loss_curve_) == 4


def test_lbfgs_finds_what_scikit_learn_finds():
    settings = {"hidden_layer_sizes": (4,), "activation": "identity", "solver": "lbfgs", "alpha": 1.0, "tol": 1e-8}
    weights = np.linspace(0.1, 2, 150)
    ours = MLPClassifier(**settings, max_iter=2000, random_state=0).fit(IRIS_X, IRIS.target, weights)
    theirs = neural_network.MLPClassifier(**settings, max_iter=2000, random_state=0).fit(IRIS_X, IRIS.target, weights)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
    np.testing.assert_allclose(ours.predict_proba(IRIS_X), theirs.predict_proba(IRIS_X), atol=1e-3)
    with pytest.warns(ConvergenceWarning, match="lbfgs ended before it converged"):
        MLPClassifier(**settings, max_iter=2, random_state=0).fit(IRIS_X, IRIS.target)
    loss = ours.loss_
    ours.set_params(solver="adam", warm_start=True, max_iter=1, learning_rate_init=1e-6).fit(IRIS_X, IRIS.target)
    assert ours.loss_curve_ == [ours.loss_]
    assert ours.loss_ != loss
    ours.set_params(early_stopping=True).fit(IRIS_X, IRIS.target)
    assert len(ours.validation_scores_) == 1


def test_weights_of_examples_and_classes():
    settings = {"hidden_layer_sizes": 3, "max_iter": 5, "batch_size": 150, "random_state": 0}
    weights = np.array([1.0, 2.5, 0.5])
    by_class = MLPClassifier(**settings, class_weight=dict(enumerate(weights))).fit(IRIS_X, IRIS.target)
    by_example = MLPClassifier(**settings).fit(IRIS_X, IRIS.target, sample_weight=weights[IRIS.target])
    np.testing.assert_array_equal(by_class.coefs_[0], by_example.coefs_[0])
    without = IRIS.target > 0
    none = MLPClassifier(**settings).fit(IRIS_X, IRIS.target, sample_weight=without)
    assert np.abs(none.coefs_[0] - by_class.coefs_[0]).max() > 1e-4
    rare = np.r_[0:50, 50:53]
    balanced = MLPClassifier(**settings, class_weight="balanced").fit(IRIS_X[rare], IRIS.target[rare])
    counts = 53 / (2 * np.array([50, 3]))
    alike = MLPClassifier(**settings).fit(IRIS_X[rare], IRIS.target[rare], counts[IRIS.target[rare]])
    np.testing.assert_allclose(balanced.coefs_[0], alike.coefs_[0], rtol=1e-6)
    bad = [
        (np.ones(3), "sample_weight has 3 weights"),
        (np.full(150, -1.0), "sample_weight holds -1: expected"),
        (np.zeros(150), "every weight is zero"),
        (np.full(150, np.nan), "sample_weight holds nan"),
        (np.ones((150, 2)), "sample_weight has shape"),
        ("heavy", "sample_weight is 'heavy'"),
    ]
    for value, message in bad:
        with pytest.raises(ValueError, match=message):
            MLPClassifier(**settings).fit(IRIS_X, IRIS.target, sample_weight=value)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_examples_are_taken_as_dense_ones(form):
    x = np.where(np.abs(IRIS_X) > 1, IRIS_X, 0)
    dense = MLPClassifier(3, max_iter=3, random_state=0).fit(x, IRIS.target)
    estimator = MLPClassifier(3, max_iter=3, random_state=0).fit(form(x), IRIS.target)
    np.testing.assert_array_equal(dense.predict_proba(x), estimator.predict_proba(form(x)))
    labels = np.eye(3, dtype=int)[IRIS.target]
    several = MLPClassifier(3, max_iter=3, random_state=0).fit(form(x), form(labels))
    assert several.predict(x).shape == (150, 3)


def test_columns_of_anything_but_0_and_1_are_no_labels():
    with pytest.raises(ValueError, match="y has 2 columns that hold more than 0 and 1"):
        MLPClassifier(3).fit(IRIS_X[:4], [[0, 1], [2, 0], [1, 1], [0, 2]])
    with pytest.raises(ValueError, match="y holds -1: expected 0 or more for loss='poisson'"):
        MLPRegressor("poisson", 3).fit(IRIS_X[:2], [1, -1])
    with pytest.raises(ValueError, match="class_weight is for one label per example"):
        MLPClassifier(3, class_weight="balanced").fit(IRIS_X[:2], [[0, 1], [1, 0]])


def test_prints_every_epoch_if_asked_to(capsys):
    MLPClassifier(3, max_iter=2, verbose=True, random_state=0, early_stopping=True).fit(IRIS_X, IRIS.target)
    said = capsys.readouterr().out.splitlines()
    assert [re.split("[,:]", line)[0] for line in said] == [
        *("Iteration 1", "Validation score", "Iteration 2", "Validation score")
    ]


def test_without_scikit_learn_the_extra_is_named():
    code = """
import sys
sys.modules["sklearn"] = None
import mlp_jax
try:
    import mlp_jax.adapters.estimators
except mlp_jax.MissingExtraError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "needs the package scikit-learn" in said
    assert "mlp-jax[sklearn]" in said
