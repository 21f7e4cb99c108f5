"""What a run is good for afterwards: scored again, exported, shown in TensorBoard."""

import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_dataset, make_run, save_dataset
from flax import nnx

from mlp_jax import MLP, Dataset, Grid, InputError, cli
from mlp_jax.adapters.export import npz_bytes, stablehlo_bytes
from mlp_jax.adapters.tensorboard import EVENTS, trial_directories
from mlp_jax.runs.directory import read_run

WITHOUT_US = "import sys; sys.modules['mlp_jax'] = None\n"  # importing it raises


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of three classes, its data in a file beside it."""
    path = tmp_path_factory.mktemp("run")
    save_dataset(make_dataset(), path / "small.npz")
    return make_run(make_dataset(), str(path / "small.npz"), path / "run")


# Evaluate


def test_evaluate_agrees_with_what_the_run_recorded(run, capsys):
    assert cli.main(["evaluate", str(run), "--trial", "all", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["same_data"]
    assert record["sizes"] == {"train": 70, "validation": 20, "test": 20}
    trials = read_run(run).trials
    assert [row.pop("trial") for row in record["trials"]] == list(range(4))
    for place, row in enumerate(record["trials"]):
        for column, value in row.items():
            assert value == pytest.approx(trials[column][place], abs=1e-5), column


def test_evaluate_takes_the_best_trial_or_the_one_asked_for(run, capsys):
    trials = read_run(run).trials
    best = int(np.argmax(trials["validation_score"]))
    for arguments, trial in ([], best), (["--trial", "2"], 2):
        assert cli.main(["evaluate", str(run), *arguments]) == 0
        printed = capsys.readouterr().out
        assert f"Trial {trial} of" in printed
        assert f"{100 * trials['test_score'][trial]:.2f} %" in printed
    assert cli.main(["evaluate", str(run), "--trial", "all"]) == 0
    assert f"{100 * trials['test_score'][3]:.2f} %" in capsys.readouterr().out


def test_evaluate_scores_other_data_that_fit(run, tmp_path, capsys):
    other = make_dataset(seed=1)
    save_dataset(other, tmp_path / "other.npz")
    assert cli.main(["evaluate", str(run), "--dataset", str(tmp_path / "other.npz"), "--trial", "3", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert not record["same_data"]
    predicted = read_run(run).model(3).predict(other.test.features)
    assert record["trials"][0]["test_score"] == pytest.approx(np.mean(predicted == other.test.targets))
    assert cli.main(["evaluate", str(run), "--dataset", str(tmp_path / "other.npz")]) == 0
    assert "not the data that the run was trained on" in capsys.readouterr().out


# Export


def predict_without_us(code, *arguments):
    """What a program prints that cannot import this package, as JSON."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "error", "-c", WITHOUT_US + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


NUMPY = """
import json, numpy as np
assert "jax" not in sys.modules
features = np.load(sys.argv[1])
answers = []
for path in sys.argv[2:]:
    with np.load(path, allow_pickle=False) as stored:
        model = dict(stored)
    x = features / 255 if model["feature_dtype"] == "uint8" else features
    z = x @ model["A"] + model.get("c1", 0)
    if "B" in model:
        f = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "relu": lambda z: np.maximum(z, 0)}[str(model["activation"])]
        z = f(z) @ model["B"] + model.get("c2", 0)
    if model["task"] == "multiclass":
        answers.append([str(model["class_names"][k]) for k in z.argmax(axis=1)])
    else:
        answers.append((z[:, 0] > 0).astype(int).tolist() if model["task"] == "binary" else z.tolist())
print(json.dumps(answers))
"""

JAX = """
import json, jax.export, numpy as np
answers = []
for path in sys.argv[2:]:
    exported = jax.export.deserialize(open(path, "rb").read())
    assert {"cpu", "cuda", "tpu"} <= set(exported.platforms)
    (inputs,) = exported.in_avals
    features = np.load(sys.argv[1])
    x = features if inputs.dtype == features.dtype == np.uint8 else (features / 255).astype(inputs.dtype)
    for some in (x, x[:1]):  # any number of examples
        answers.append({name: np.asarray(value).tolist() for name, value in exported.call(some).items()})
print(json.dumps(answers))
"""


def test_exports_work_without_this_package(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 4), dtype=np.uint8)
    labels = images.reshape(40, -1).argmax(axis=1) % 3
    names = ("naught", "one", "two")
    dataset = Dataset.from_arrays(images, labels, images, labels, class_names=names)
    run = make_run(dataset, "images", tmp_path / "run", Grid((0, 5), ("relu",), (1e-2,), seeds=1))
    features = dataset.test.features
    np.save(tmp_path / "x.npy", features)
    npz, hlo = [], []
    for trial in (0, 1):
        npz.append(tmp_path / f"{trial}.npz")
        assert cli.main(["export", str(run), "--trial", str(trial), "--out", str(npz[-1])]) == 0
        assert f"Trial {trial} of" in capsys.readouterr().out
    for inputs in ("auto", "float"):
        hlo.append(tmp_path / f"{inputs}.stablehlo")
        assert cli.main(["export", str(run), "--format=stablehlo", "--out", str(hlo[-1]), "--inputs", inputs]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0.npz", "1.npz", "auto.stablehlo", "float.stablehlo", "run", "x.npy",
    ]  # fmt: skip
    back = read_run(run)
    ours = [[names[k] for k in back.model(trial).predict(features)] for trial in (0, 1)]
    assert predict_without_us(NUMPY, tmp_path / "x.npy", *npz) == ours

    model = back.model(int(np.argmax(back.trials["validation_score"])))
    answers = predict_without_us(JAX, tmp_path / "x.npy", *hlo)
    assert len(answers) == 4
    for answer in answers:
        count = len(answer["prediction"])
        assert answer["prediction"] == model.predict(features[:count]).tolist()
        np.testing.assert_allclose(answer["probabilities"], model.predict_proba(features[:count]), atol=1e-6)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_exports_of_other_tasks(task, tmp_path):
    model = MLP(12, 4, 1 if task == "binary" else 3, task=task, use_bias=task == "binary", rngs=nnx.Rngs(0))
    features = make_dataset().test.features.astype(np.float32)
    np.save(tmp_path / "x.npy", features)
    (tmp_path / "model.npz").write_bytes(npz_bytes(model))
    (answer,) = predict_without_us(NUMPY, tmp_path / "x.npy", tmp_path / "model.npz")
    np.testing.assert_allclose(answer, model.predict(features), atol=1e-5)

    from jax import export

    called = export.deserialize(bytearray(stablehlo_bytes(model))).call(features)
    assert set(called) == ({"prediction", "probabilities"} if task == "binary" else {"prediction"})
    rounding = 1e-6 if task == "regression" else 0  # one program for any N, and another for this one
    np.testing.assert_allclose(called["prediction"], model.predict(features), rtol=0, atol=rounding)
    if task == "binary":
        np.testing.assert_allclose(called["probabilities"][:, 1], model.predict_proba(features), atol=1e-6)
        sure = MLP.from_weights(model.weights | {"c2": np.array([40.0], np.float32)}, task=task)
        called = export.deserialize(bytearray(stablehlo_bytes(sure))).call(features)
        np.testing.assert_allclose(called["probabilities"][:, 0], np.exp(-sure(features)[:, 0]), rtol=1e-4)
    with pytest.raises(InputError, match="unknown inputs 'int4'"):
        stablehlo_bytes(model, inputs="int4")


# TensorBoard


def read_events(path):
    """The events of a file, by TFRecord's framing (length, checksum, content, checksum) and tensorboardX's protos."""
    from tensorboardX.proto.event_pb2 import Event

    content, place = path.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield Event.FromString(content[place + 12 : place + 12 + length])
        place += 12 + length + 4


def test_tensorboard_shows_a_row_a_trial(run, tmp_path, capsys):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    out = tmp_path / "events"
    assert cli.main(["tensorboard", str(run), "--out", str(out)]) == 0
    assert f"tensorboard --logdir {out}" in capsys.readouterr().out
    back = read_run(run)
    names = trial_directories(back.trials)
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert len(set(names)) == 4
    for trial, name in enumerate(names):
        scalars, settings, metrics = {}, {}, set()
        for event in read_events(out / name / EVENTS):
            for value in event.summary.value:
                if not value.tag.startswith("_hparams_/"):
                    scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
                    continue
                plugin = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                settings |= {k: v.string_value or v.number_value for k, v in plugin.session_start_info.hparams.items()}
                metrics |= {metric.name.tag for metric in plugin.experiment.metric_infos}
        row = {column: values[trial].item() for column, values in back.trials.items()}
        assert settings == {
            key: row[key] for key in ("hidden_units", "activation", "learning_rate", "seed", "parameters")
        }
        assert len(metrics) == 6
        assert metrics < set(scalars)  # each has a column that is filled
        (final,) = scalars["final/test_accuracy"]
        assert final == (3, pytest.approx(row["test_score"]))
        here = back.history["trial"] == trial
        for tag, column in (("loss/train", "loss"), ("accuracy/validation", "validation_score")):
            assert [step for step, _ in scalars[tag]] == [1, 2, 3]
            np.testing.assert_allclose([value for _, value in scalars[tag]], back.history[column][here], rtol=1e-6)


def test_tensorboard_beside_the_run_by_default(tmp_path, monkeypatch, capsys):
    run = make_run(make_dataset("regression"), "r", tmp_path / "run", Grid((2,), seeds=1))
    assert cli.main(["tensorboard", str(run)]) == 0
    (trial,) = (run / "tensorboard").iterdir()
    tags = {value.tag for event in read_events(trial / EVENTS) for value in event.summary.value}
    assert "R2/train" in tags
    (trial / "left").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tensorboard" else True)
    assert cli.main(["tensorboard", str(run)]) == 0  # in place of the first
    assert [each.name for each in trial.iterdir()] == [EVENTS]
    said = capsys.readouterr().out
    assert f"look at it with: pip install tensorboard && tensorboard --logdir {run / 'tensorboard'}" in said
    shutil.rmtree(run / "tensorboard")
    (run / "tensorboard").symlink_to(tmp_path)
    assert cli.main(["tensorboard", str(run)]) == 2
    assert "leads out of the run directory" in capsys.readouterr().err


def test_tensorboard_leaves_out_scores_that_cannot_be_computed(tmp_path, caplog, capsys):
    x = np.random.default_rng(0).normal(size=(30, 3))
    data = Dataset.from_arrays(x, x[:, 0], x, x[:, 0], x_validation=x[:1], y_validation=x[:1, 0], task="regression")
    run = make_run(data, "r", tmp_path / "run", Grid((2,), seeds=1))
    assert cli.main(["tensorboard", str(run)]) == 0
    (trial,) = (run / "tensorboard").iterdir()
    tags = {value.tag for event in read_events(trial / EVENTS) for value in event.summary.value}
    assert {"R2/train", "loss/validation", "final/validation_loss"} <= tags
    assert not tags & {"R2/validation", "final/validation_R2"}
    assert "NaN" not in caplog.text + capsys.readouterr().err


# Mistakes


def test_mistakes_are_one_line(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for task in ("binary", "multiclass"):
        save_dataset(make_dataset(task, features=12 if task == "binary" else 13), tmp_path / f"{task}.npz")
    lost = make_run(make_dataset(), "nowhere.npz", tmp_path / "lost", Grid((2,), seeds=1))
    old = shutil.copytree(lost, tmp_path / "old")
    config = json.loads((old / "config.json").read_text())
    del config["feature_dtype"]
    (old / "config.json").write_text(json.dumps(config))
    before = sorted(tmp_path.iterdir())
    for arguments, message in [
        (["evaluate", "nowhere"], "nowhere is no directory"),
        (["evaluate", str(run), "--trial", "4"], "has no trial 4: expected 0 to 3"),
        (["evaluate", str(run), "--trial", "worst"], "worst"),
        (["evaluate", str(run), "--dataset", "multiclass.npz"], "13 features and 3 outputs: the run's models expect"),
        (["evaluate", str(run), "--dataset", "nowhere"], "unknown data set 'nowhere'"),
        (["evaluate", str(lost), "--trial", "0"], "--dataset names another place"),
        (["export", str(run)], "--out"),
        (["export", str(run), "--out", "model.onnx"], "ends in .npz"),
        (["export", str(run), "--out", "m.npz", "--format", "stablehlo"], "such as m.stablehlo"),
        (["export", str(run), "--out", "."], "expected a name that ends in .npz"),
        (["export", str(run), "--out", ".", "--format", "stablehlo"], "is a directory"),
        (["export", str(run), "--out", "no/model.npz"], "no directory that you may write to"),
        (["export", str(run), "--out", "model.npz", "--trial", "-1"], "has no trial -1"),
        (["export", str(run), "--out", "model.npz", "--format", "onnx"], "onnx"),
        (["export", str(old), "--out", "model.npz"], "config.json holds no feature_dtype"),
        (["tensorboard", "nowhere"], "nowhere is no directory"),
        (["tensorboard", str(run), "--out", str(run)], "is there already"),
    ]:
        assert cli.main(arguments) == 2, arguments
        said = capsys.readouterr()
        assert said.err.startswith("mlp-jax: error: ")
        assert said.err.count("\n") == 1
        assert message in said.err
        assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        (["export", "--format", "stablehlo", "--out", "model"], "flatbuffers"),
        (["tensorboard", "--out", "events"], "tensorboardX"),
    ],
)
def test_what_needs_an_extra_says_which(arguments, package, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for module in (package, f"{package}.summary"):
        monkeypatch.setitem(sys.modules, module, None)
    assert cli.main([arguments[0], str(run), *arguments[1:]]) == 2
    said = capsys.readouterr().err
    assert f"needs the package {package}" in said
    assert f"mlp-jax[{'export' if package == 'flatbuffers' else 'tensorboard'}]" in said
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_which_every_trial_diverged_has_none_to_use(tmp_path, capsys):
    run = make_run(make_dataset(), "small", tmp_path / "run", Grid((2,), ("relu",), (1e30,), seeds=1))
    assert cli.main(["evaluate", str(run)]) == 2
    assert "every trial of the run diverged" in capsys.readouterr().err
