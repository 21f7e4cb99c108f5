"""Models as ONNX, run by onnxruntime."""

import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import image_dataset, make_dataset, make_run
from flax import nnx

from mlp_jax import ACTIVATIONS, CNN, MLP, Grid, InputError, MissingExtraError, Model, cli
from mlp_jax.adapters.onnx import onnx_bytes
from mlp_jax.networks.layers import Dense
from mlp_jax.runs import read_run


@pytest.fixture
def called():
    """A function that runs the content of an .onnx file on examples, and gives its outputs by name."""
    onnx, onnxruntime = (pytest.importorskip(name, reason="extra onnx") for name in ("onnx", "onnxruntime"))

    def call(content, x):
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return dict(zip([each.name for each in session.get_outputs()], session.run(None, {"x": x}), strict=True))

    return call


def trained(model, seed=0):
    """The model with other parameters, biases too."""
    rng = np.random.default_rng(seed)
    moved = {name: np.asarray(each) + rng.normal(size=each.shape) / 4 for name, each in model.weights.items()}
    return model.with_weights({name: each.astype(model.weights[name].dtype) for name, each in moved.items()})


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation(activation, called):
    model = trained(MLP(12, (6, 4), 3, activation=activation, rngs=nnx.Rngs(0)))
    x = 3 * np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32)
    answer = called(onnx_bytes(model), x)
    np.testing.assert_array_equal(answer["prediction"], model.predict(x))
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(x), atol=2e-6)


@pytest.mark.parametrize(
    "model",
    [
        CNN((6, 7), 2, 3, rngs=nnx.Rngs(0)),
        CNN((7, 5, 3), 3, 4, kernel_size=5, activation="silu", use_bias=False, rngs=nnx.Rngs(1)),
        MLP(1, 0, 2, use_bias=False, rngs=nnx.Rngs(0)),
        MLP(42, 5, 1, task="binary", rngs=nnx.Rngs(0)),
    ],
    ids=["grey", "colour", "one feature", "binary"],
)
@pytest.mark.parametrize("examples", [0, 1, 9])
def test_pixels_are_scaled_for_any_number_of_examples(model, examples, called):
    model = trained(model)
    x = np.random.default_rng(0).integers(0, 256, (examples, model.features)).astype(np.uint8)
    answer = called(onnx_bytes(model, inputs="uint8"), x)
    assert answer["prediction"].shape == (examples,)
    assert answer["probabilities"].shape == (examples, max(2, model.outputs))
    if examples:
        np.testing.assert_array_equal(answer["prediction"], model.predict(x))
        np.testing.assert_allclose(answer["probabilities"], model.class_probabilities(x), atol=2e-6)


def test_a_regression_gives_values(called):
    model = trained(MLP(5, 4, 2, task="regression", activation="tanh", rngs=nnx.Rngs(0)))
    x = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    (values,) = (answer := called(onnx_bytes(model), x)).values()
    assert list(answer) == ["prediction"]
    np.testing.assert_allclose(values, model.predict(x), atol=1e-6)


def test_a_sure_binary_model_keeps_the_probability_of_the_other_class(called):
    model = MLP(3, 2, 1, task="binary", rngs=nnx.Rngs(0))
    sure = MLP.from_weights(model.weights | {"c2": jnp.array([40.0])}, task="binary")
    x = np.zeros((1, 3), np.float32)
    probabilities = called(onnx_bytes(sure), x)["probabilities"]
    np.testing.assert_allclose(probabilities[:, 0], np.exp(-sure(x)[:, 0]), rtol=1e-4)


def test_float64(float64, called):
    model = trained(MLP(5, 4, 3, activation="tanh", dtype=np.float64, rngs=nnx.Rngs(0)))
    x = np.random.default_rng(0).normal(size=(8, 5))
    np.testing.assert_allclose(called(onnx_bytes(model), x)["probabilities"], model.predict_proba(x), atol=1e-14)


def test_the_command_writes_what_the_run_was_trained_on(tmp_path, called):
    dataset = image_dataset((6, 7), class_names=("naught", "one", "two"))
    grid = Grid((2,), ("relu",), (1e-2,), seeds=1, networks=["cnn"])
    run = make_run(dataset, "images", tmp_path / "run", grid, epochs=1)
    for inputs in ("auto", "float"):
        out = tmp_path / f"{inputs}.onnx"
        assert cli.main(["export", str(run), "--format", "onnx", "--out", str(out), "--inputs", inputs]) == 0
        x = dataset.test.features
        x = x if inputs == "auto" else x.astype(np.float32) / 255
        answer = called(out.read_bytes(), x)
        np.testing.assert_allclose(answer["probabilities"], read_run(run).model(0).predict_proba(x), atol=2e-6)
    import onnx

    props = {each.key: each.value for each in onnx.load(tmp_path / "auto.onnx").metadata_props}
    assert props["task"] == "multiclass"
    assert json.loads(props["class_names"]) == ["naught", "one", "two"]


def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch, capsys):
    run = make_run(make_dataset(), "small", tmp_path / "run", Grid((2,), seeds=1), epochs=1)
    assert cli.main(["export", str(run), "--format", "onnx", "--out", str(tmp_path / "model.npz")]) == 2
    assert "ends in .onnx" in capsys.readouterr().err
    assert cli.main(["export", str(run), "--format", "stablehlo", "--out", str(tmp_path / "model.onnx")]) == 2
    assert "such as model.stablehlo" in capsys.readouterr().err
    model = MLP(5, 4, 3, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="unknown inputs 'int4'"):
        onnx_bytes(model, inputs="int4")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"mlp-jax\[onnx\]"):
        onnx_bytes(model)
    assert cli.main(["export", str(run), "--format", "onnx", "--out", str(tmp_path / "model.onnx")]) == 2
    assert "mlp-jax[onnx]" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_layers_and_activations_of_ones_own_are_refused(monkeypatch):
    pytest.importorskip("onnx", reason="extra onnx")

    class Own(Dense):
        pass

    model = Model((Own(4, "relu"), Dense(3)), (5,), rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="'Own'"):
        onnx_bytes(model)
    monkeypatch.setitem(ACTIVATIONS, "mish", lambda z: z * jnp.tanh(z))
    with pytest.raises(InputError, match="mish"):
        onnx_bytes(MLP(5, 4, 3, activation="mish", rngs=nnx.Rngs(0)))
    monkeypatch.setattr("mlp_jax.adapters.onnx._MOST_BYTES", 100)
    with pytest.raises(InputError, match="2 GiB"):
        onnx_bytes(MLP(5, 4, 3, rngs=nnx.Rngs(0)))
