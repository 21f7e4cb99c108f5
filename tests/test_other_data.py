"""Other data than MNIST, for real: the same commands, with the metrics and names that fit."""

import json
import sys

import numpy as np
import pytest
from sklearn import datasets
from test_idx import write_directory

from mlp_jax import DataError, InputError, MissingExtraError, cli, load_dataset, plots
from mlp_jax.datasets.scikit_learn import TASKS
from mlp_jax.runs import read_run


@pytest.mark.parametrize("name", TASKS)
def test_scikit_learns_data_are_all_there(name):
    dataset = load_dataset(f"sklearn:{name}")
    theirs = getattr(datasets, f"load_{name}")()
    sizes = {split: len(values) for split, values in dataset.splits.items()}
    assert sum(sizes.values()) == len(theirs.data)
    assert sizes["test"] == sizes["validation"] == round(len(theirs.data) / 6)
    assert dataset.task == TASKS[name]
    assert load_dataset(f"sklearn:{name}").digest == dataset.digest
    together = np.concatenate([split.features for split in dataset.splits.values()])
    targets = np.concatenate([split.targets for split in dataset.splits.values()])
    if dataset.task == "regression":
        assert dataset.class_names == ()
        np.testing.assert_allclose(np.corrcoef(np.sort(targets[:, 0]), np.sort(theirs.target))[0, 1], 1)
        np.testing.assert_allclose([dataset.train.targets.mean(), dataset.train.targets.std()], [0, 1], atol=1e-5)
    else:
        assert dataset.class_names == tuple(str(each) for each in theirs.target_names)
        np.testing.assert_array_equal(np.bincount(targets), np.bincount(theirs.target))
    if name == "digits":
        assert dataset.image_shape == (8, 8)
        as_theirs = {row.tobytes() for row in theirs.data}
        assert {row.tobytes() for row in (together * 16).astype(float)} == as_theirs
    else:
        np.testing.assert_allclose(dataset.train.features.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(dataset.train.features.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "least", "figures"),
    [
        ("digits", 0.85, {"confusion-matrix.png", "hidden-units.png", "mistakes.png"}),
        ("breast_cancer", 0.9, {"confusion-matrix.png"}),
        ("diabetes", 0.3, {"predicted-against-true.png"}),
    ],
)
def test_sweep_and_evaluate(name, least, figures, tmp_path, capsys):
    out = tmp_path / "run"
    data, grid = ["--dataset", f"sklearn:{name}"], ["--hidden-units", "0", "8", "--seeds", "1"]
    how = ["--epochs", "20", "--batch-size", "32", "--learning-rates", "0.01"]
    assert cli.main(["sweep", *data, *grid, *how, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    unit = "R² after" if name == "diabetes" else "accuracy (%) after"
    assert f"{name.replace('_', ' ')}: {unit} 20 epochs" in printed
    run = read_run(out)
    assert run.trials["test_score"].max() > least
    there = {path.name for path in (out / "figures").iterdir()}
    assert there >= figures | {"accuracy-against-width.png", "learning-curves.png", "scores-against-parameters.png"}

    assert cli.main(["evaluate", str(out), "--trial", "1", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["same_data"]
    assert record["trials"][0]["test_score"] == pytest.approx(run.trials["test_score"][1], abs=1e-5)


def test_images_whose_targets_are_values(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 5), dtype=np.uint8)
    values = images.mean(axis=(1, 2))
    path = tmp_path / "values.npz"
    np.savez(path, x_train=images, y_train=values, x_test=images, y_test=values, task="regression")
    assert cli.main(["data", "--dataset", str(path), "--out", str(tmp_path / "data")]) == 0
    printed = capsys.readouterr().out
    assert "regression, 20 features (4 × 5)" in printed
    assert f"{values.std():.4g}" in printed
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["digit.png", "examples.png", "values.png"]


def test_values_are_drawn_an_output_a_row(small):
    with pytest.raises(InputError, match="has classes for targets"):
        plots.value_distribution(small)
    from conftest import make_dataset

    figure = plots.value_distribution(make_dataset("regression"))
    assert len(figure.axes) == 9
    shares = [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes]
    np.testing.assert_allclose(shares, 100)


def test_npz_says_the_task_and_the_names(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    np.savez(tmp_path / "two.npz", **arrays, task="binary", class_names=["no", "yes"])
    dataset = load_dataset(tmp_path / "two.npz")
    assert (dataset.task, dataset.outputs, dataset.class_names) == ("binary", 1, ("no", "yes"))
    for wrong, message in [
        ({"task": "ranking"}, "unknown task 'ranking'"),
        ({"class_names": ["one"]}, "expected 0 to 0, by class_names"),
        ({"class_names": [1, 2]}, "class_names has dtype int64: text is taken"),
        ({"class_names": "no"}, "expected a list of names"),
    ]:
        np.savez(tmp_path / "wrong.npz", **arrays, **wrong)
        with pytest.raises(InputError, match=message):
            load_dataset(tmp_path / "wrong.npz")


def emnist(prefix):
    return [
        f"{prefix}{split}-{what}" for split in ("train", "test") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")
    ]


def test_idx_directory_with_names(tmp_path):
    write_directory(tmp_path / "clothes", shape=(4, 3))
    (tmp_path / "clothes" / "classes.txt").write_text("T-shirt/top\nTrouser\n\nAnkle boot\n", encoding="utf-8")
    dataset = load_dataset(tmp_path / "clothes")
    assert dataset.class_names == ("T-shirt/top", "Trouser", "Ankle boot")
    assert dataset.image_shape == (4, 3)
    write_directory(tmp_path / "letters", names=emnist("kannada-"))
    (tmp_path / "letters" / "kannada-mapping.txt").write_text("0 3238\n1 65 97\n2 66 98 \n")
    (tmp_path / "letters" / "other-mapping.txt").write_text("0 48\n")
    assert load_dataset(tmp_path / "letters").class_names == ("ದ", "A/a", "B/b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0 65\n1\xff 66\n", "damaged"),
        (b"0 65\n-1 66\n", "damaged"),
        (b"zero 65\n", "damaged"),
        (b"0 99999999999999\n", "damaged"),
        (b"9999999999 65\n", "damaged"),
        (b"\n", "damaged"),
        (b"0 65\n", "train labels hold 1, which has no name: expected 0 to 0"),
    ],
)
def test_a_damaged_file_of_names_is_refused(content, message, tmp_path):
    write_directory(tmp_path / "letters", names=emnist("emnist-"))
    (tmp_path / "letters" / "emnist-mapping.txt").write_bytes(content)
    with pytest.raises(DataError, match=message) as refused:
        load_dataset(tmp_path / "letters")
    assert "\n" not in str(refused.value)


def test_scikit_learn_is_an_extra(monkeypatch):
    with pytest.raises(DataError, match="unknown data set sklearn:cats: expected sklearn: and one of breast_cancer"):
        load_dataset("sklearn:cats")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"mlp-jax\[sklearn\]"):
        load_dataset("sklearn:digits")
