"""The grid search whose networks are trained together: it finds what scikit-learn's finds with the same estimators."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlp_jax.adapters.estimators import MLPClassifier, MLPRegressor, MLPSearchCV

pytestmark = pytest.mark.filterwarnings("ignore:.*had not converged:sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)[::2]
Y = Y[::2]  # 75 examples, so that folds differ in size
QUICK = MLPClassifier(3, learning_rate_init=0.02, batch_size=20, max_iter=6, random_state=0)


def assert_alike(ours, theirs, **tolerance):
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    for name, values in theirs.cv_results_.items():
        if name.startswith(("mean_t", "std_t", "rank", "split")):
            np.testing.assert_allclose(ours.cv_results_[name], values, **{"atol": 1e-6} | tolerance, err_msg=name)
    for name in ("best_index_", "best_params_", "n_splits_", "multimetric_", "refit"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert repr(ours.scorer_) == repr(theirs.scorer_) or callable(ours.scorer_)
    assert ours.best_score_ == pytest.approx(theirs.best_score_, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "grid", "cv"),
    [
        # Other widths, depths, activations, penalties and ends, side by side.
        (
            {"tol": 5e-2, "n_iter_no_change": 1, "max_iter": 12},
            [{"hidden_layer_sizes": [4, (3, 2)], "alpha": [0, 1]}, {"activation": ["tanh"], "max_iter": [3]}],
            4,
        ),
        pytest.param(
            {"solver": "sgd", "learning_rate": "adaptive"},
            {"tol": [1e-3, 1.0], "nesterovs_momentum": [True, False]},
            2,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"early_stopping": True, "validation_fraction": 0.3, "class_weight": "balanced"},
            {"alpha": [0, 5]},
            2,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {},
            {"batch_size": [20, 50], "shuffle": [False]},
            KFold(2, shuffle=True, random_state=1),  # 37 and 38 examples
            marks=pytest.mark.slow,
        ),
    ],
    ids=["shapes", "sgd", "early stopping", "two programs"],
)
def test_finds_what_scikit_learns_search_finds(changes, grid, cv):
    estimator = clone(QUICK).set_params(**changes)
    searches = [kind(estimator, grid, cv=cv, return_train_score=True) for kind in (MLPSearchCV, GridSearchCV)]
    ours, theirs = (search.fit(X, Y) for search in searches)
    assert_alike(ours, theirs)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    assert ours.score(X, Y) == theirs.score(X, Y)
    np.testing.assert_array_equal(ours.classes_, [0, 1, 2])
    assert ours.n_features_in_ == 4
    assert ours.refit_time_ > 0


@pytest.mark.slow
def test_a_minibatch_more_in_some_folds():
    grid = {"alpha": [1e-4, 0.1]}
    estimator = clone(QUICK).set_params(batch_size=37)  # 37 examples are one minibatch, 38 are two
    ours, theirs = (kind(estimator, grid, cv=KFold(2)).fit(X, Y % 2) for kind in (MLPSearchCV, GridSearchCV))
    assert_alike(ours, theirs)


def test_values_weights_and_groups():
    data = load_diabetes()
    x, y = StandardScaler().fit_transform(data.data[:90]), data.target[:90] / 100
    weights, groups = np.linspace(0.1, 3, 90), np.arange(90) // 10
    estimator = MLPRegressor(hidden_layer_sizes=3, max_iter=8, batch_size=30, random_state=1)
    grid = {"learning_rate_init": [1e-3, 0.1]}
    settings = {"cv": GroupKFold(3), "scoring": ["r2", "neg_mean_absolute_error"], "refit": "r2"}
    theirs = GridSearchCV(estimator, grid, **settings).fit(x, y, groups=groups, sample_weight=weights)
    ours = MLPSearchCV(estimator, grid, **settings).fit(x, y, groups=groups, sample_weight=weights)
    assert_alike(ours, theirs, atol=1e-5)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


@pytest.mark.slow
def test_steps_before_the_network_are_fitted_on_each_fold():
    frame = pd.DataFrame(X * [1, 100, 1, 1] + 5, columns=list("abcd"))
    pipeline = make_pipeline(StandardScaler(), QUICK)
    grid = {"mlpclassifier__hidden_layer_sizes": [2, 4], "standardscaler__with_mean": [True, False]}
    ours, theirs = (kind(pipeline, grid, cv=2).fit(frame, Y) for kind in (MLPSearchCV, GridSearchCV))
    assert_alike(ours, theirs)
    np.testing.assert_array_equal(ours.predict(frame), theirs.predict(frame))
    assert ours.feature_names_in_.tolist() == list("abcd")


def test_scores_of_all_kinds_choose():
    def most(estimator, x, y):
        assert x.shape[1] == 4
        return {"accuracy": accuracy_score(y, estimator.predict(x)), "width": estimator.coefs_[0].shape[1]}

    def widest(results):
        return int(np.argmax(results["mean_test_width"]))

    grid = {"hidden_layer_sizes": [2, 6, 4]}
    search = MLPSearchCV(QUICK, grid, cv=2, scoring=most, refit=widest).fit(X, Y)
    assert search.best_params_ == {"hidden_layer_sizes": 6}
    assert search.best_estimator_.coefs_[0].shape == (4, 6)
    probable = MLPSearchCV(QUICK, grid, cv=2, scoring="neg_log_loss", refit=False).fit(X, Y)
    assert not hasattr(probable, "best_estimator_")
    assert (probable.cv_results_["mean_test_score"] < 0).all()
    with pytest.raises(AttributeError):
        probable.predict(X)


def test_says_how_many_had_not_converged(capsys):
    search = MLPSearchCV(QUICK, {"max_iter": [2, 300], "tol": [1.0, 10.0]}, cv=2, verbose=1)
    with pytest.warns(ConvergenceWarning) as caught:
        search.fit(X, Y)
    (warning,) = caught
    assert "4 of 8 trainings" in str(warning.message)
    assert warning.filename == __file__
    assert "4 candidates on 2 folds" in capsys.readouterr().out


def test_what_diverges_gets_the_error_score():
    search = MLPSearchCV(QUICK, {"activation": ["relu"], "learning_rate_init": [0.01, 1e30]}, cv=2)
    with pytest.warns((FitFailedWarning, UserWarning)) as caught:
        search.fit(X, Y)
    assert any("training diverged" in str(each.message) for each in caught if each.category is FitFailedWarning)
    assert search.best_params_["learning_rate_init"] == 0.01
    np.testing.assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), [False, True])
    with pytest.raises(ValueError, match="training diverged"):
        search.set_params(error_score="raise").fit(X, Y)


@pytest.mark.parametrize(
    ("estimator", "grid", "message"),
    [
        (LogisticRegression(), {}, "expected MLPClassifier or MLPRegressor of mlp_jax"),
        (make_pipeline(StandardScaler(), DecisionTreeClassifier()), {}, "expected MLPClassifier or MLPRegressor"),
        (QUICK, {"solver": ["adam", "lbfgs"]}, "solver is 'lbfgs': expected adam or sgd"),
        (QUICK, {"hidden_layer_sizes": [3, -3]}, "hidden_layer_sizes is -3: expected"),
        (QUICK, {"dropout": [0.5]}, "Invalid parameter 'dropout'"),
    ],
)
def test_bad_searches_are_refused_before_anything_is_trained(estimator, grid, message):
    with pytest.raises(ValueError, match=message):
        MLPSearchCV(estimator, grid, cv=2).fit(X, Y)


def test_a_fold_may_lack_a_class():
    ordered = np.argsort(Y, kind="stable")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = MLPSearchCV(QUICK, {"alpha": [0, 1]}, cv=KFold(3)).fit(X[ordered], Y[ordered])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
