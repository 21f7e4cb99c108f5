"""scikit-learn's own tests of its perceptrons, run against ours; what does not pass is listed with its reason."""

import importlib
import sys

import pytest

pytest.importorskip("sklearn.neural_network.tests.test_mlp", reason="needs scikit-learn's own tests")

from sklearn import neural_network

from mlp_jax.adapters.estimators import MLPClassifier, MLPRegressor

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

EXCEPTIONS = {
    "test_gradient": "calls the function of scikit-learn's that computes gradients; ours are JAX's",
    "test_lbfgs_regression_maxfun[X0-y0]": "from our initial weights the linear network converges within the limit",
    "test_nonfinite_params": "ours names the column that float32 cannot hold, before anything is trained",
    "test_predict_proba_multilabel": "ours tells logarithms of probabilities apart that both round to 1",
    "test_warm_start": "ours refuses other classes, too, in other words",
    "test_early_stopping_stratified": "ours names the class as y does, and not as its truth value",
    "test_preserve_feature_names[MLPClassifier]": "ours refuses labels of one class",
}


def _their_tests():
    """The tests, from a module imported anew, so that what they are parametrized by is ours, too."""
    name = "sklearn.neural_network.tests.test_mlp"
    before = sys.modules.pop(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural_network, "MLPClassifier", MLPClassifier)
        patch.setattr(neural_network, "MLPRegressor", MLPRegressor)
        module = importlib.import_module(name)
    sys.modules[name] = before
    return {name: test for name, test in vars(module).items() if name.startswith("test_")}


globals().update(_their_tests())


@pytest.fixture
def global_random_seed():
    """scikit-learn's fixture of this name."""
    return 42


@pytest.fixture(autouse=True)
def excepted(request):
    """An exception has to fail, so that none is listed for nothing."""
    if reason := EXCEPTIONS.get(request.node.name):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
