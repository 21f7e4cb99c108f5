"""One call that loads a trained model."""

import shutil

import numpy as np
import pytest
from conftest import image_dataset, make_dataset, make_run
from flax import nnx

import mlp_jax
from mlp_jax import CNN, MLP, DataError, Grid, InputError, load_model
from mlp_jax.adapters.export import npz_bytes
from mlp_jax.runs import read_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    grid = Grid((0, 4, (5, 3)), ("relu",), (1e-2, 1e30), seeds=2)
    return make_run(make_dataset(), "small", tmp_path_factory.mktemp("runs") / "run", grid)


def same(one, other):
    assert type(one) is type(other)
    assert (one.activation, one.task, one.shape, one.hidden_units) == (
        (other.activation, other.task, other.shape, other.hidden_units)
    )
    assert one.weights.keys() == other.weights.keys()
    for symbol, array in one.weights.items():
        np.testing.assert_array_equal(array, other.weights[symbol])


@pytest.mark.parametrize(
    "model",
    [
        MLP(5, 0, 3, rngs=nnx.Rngs(0)),
        MLP(1, 4, 1, activation="gelu", task="binary", use_bias=False, rngs=nnx.Rngs(0)),
        MLP(5, (4, 3, 2), 2, activation="tanh", task="regression", rngs=nnx.Rngs(0)),
        CNN((6, 7), 2, 3, rngs=nnx.Rngs(0)),
        CNN((6, 7, 3), 2, 3, kernel_size=5, use_bias=False, rngs=nnx.Rngs(0)),
    ],
    ids=["linear", "binary", "deep", "grey", "colour"],
)
def test_an_exported_model_comes_back(model, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(npz_bytes(model, class_names=["a", "b", "c"]))
    loaded = load_model(str(path))
    same(loaded, model)
    x = np.random.default_rng(0).integers(0, 256, (4, model.features)).astype(np.uint8)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def test_a_run_gives_its_best_trial_that_of_a_width_or_the_one_asked_for(run):
    back = read_run(run)
    scores = np.where(back.trials["diverged"] == 0, back.trials["validation_score"], -1.0)
    same(load_model(run), back.model(int(scores.argmax())))
    for width in (0, 4, (5, 3)):
        mine = [trial for trial in range(len(scores)) if back.model(trial).hidden_units == width]
        same(load_model(run, hidden_units=width), back.model(mine[int(scores[mine].argmax())]))
    same(load_model(run, trial=3), back.model(3))


def test_a_run_of_convolutions_goes_by_its_width(tmp_path):
    run = make_run(image_dataset(), "images", tmp_path / "run", Grid((2, 3), seeds=1, networks=["cnn"]), epochs=1)
    assert load_model(run, hidden_units=3).hidden_units == (3, 6)


def test_float64_is_loaded_in_64_bit_mode_alone(tmp_path, float64):
    path = tmp_path / "model.npz"
    path.write_bytes(npz_bytes(MLP(5, 2, 3, dtype=np.float64, rngs=nnx.Rngs(0))))
    assert load_model(path).weights["A"].dtype == np.float64


def test_what_is_no_model_is_refused(run, tmp_path):
    good = dict(np.load(_written(tmp_path / "good.npz", npz_bytes(MLP(5, 2, 3, rngs=nnx.Rngs(0))))))
    conv = dict(np.load(_written(tmp_path / "conv.npz", npz_bytes(CNN((6, 7), 2, 3, rngs=nnx.Rngs(0))))))
    for name, arrays in {
        "holds no A": good | {"A": None},
        "holds no activation": good | {"activation": None},
        "holds no c2": good | {"c2": None},
        "unknown activation 'swish'": good | {"activation": np.array("swish")},
        "unknown task": good | {"task": np.array(["a", "b"])},
        "c1 has shape": good | {"c1": np.zeros(3, np.float32)},
        "expected a matrix": good | {"B": np.zeros(3, np.float32)},
        "pickled": good | {"A": np.array([{}])},
        "no layer": good | {"B": None},
        "floating-point type": good | {"A": np.zeros((5, 2), int)},
        "64-bit mode": good | {"A": good["A"].astype(float)},
        "expected the shape of its images": conv | {"shape": None},
        "a side of shape": conv | {"shape": np.array([-6, 7])},
        "a matrix B": conv | {"B": None},
    }.items():
        np.savez(tmp_path / "bad.npz", **{key: array for key, array in arrays.items() if array is not None})
        with pytest.raises(InputError, match=name):
            load_model(tmp_path / "bad.npz")
    _written(tmp_path / "bad.npz", (tmp_path / "good.npz").read_bytes()[:300])
    with pytest.raises(DataError, match="zip archive"):
        load_model(tmp_path / "bad.npz")
    with pytest.raises(DataError, match="No such file"):
        load_model(tmp_path / "nowhere.npz")
    with pytest.raises(DataError, match="onnxruntime"):
        load_model(_written(tmp_path / "model.onnx", b""))
    with pytest.raises(DataError, match=r"config\.json"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="no width 7: expected one of 0, 4, 5-3"):
        load_model(run, hidden_units=7)
    with pytest.raises(InputError, match="no trial 12"):
        load_model(run, trial=12)
    with pytest.raises(InputError, match="both given"):
        load_model(run, trial=1, hidden_units=4)
    with pytest.raises(InputError, match="no run directory"):
        load_model(tmp_path / "good.npz", hidden_units=4)


def test_a_width_whose_trials_all_diverged_has_no_model(run, tmp_path):
    path = make_run(make_dataset(), "small", tmp_path / "run", Grid((2,), ("relu",), (1e30,), seeds=1))
    with pytest.raises(InputError, match="diverged"):
        load_model(path, hidden_units=2)
    shutil.rmtree(path)
    with pytest.raises(DataError, match="No such file"):
        mlp_jax.load_model(path)


def _written(path, content):
    path.write_bytes(content)
    return path
