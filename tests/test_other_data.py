"""Other data than MNIST, for real: the same commands, with the metrics and names that fit."""

import json
import re
import shutil
import sys
from typing import NamedTuple

import numpy as np
import pytest
from conftest import make_run
from PIL import Image
from sklearn import datasets
from test_idx import write_directory

from mlp_jax import DataError, Grid, InputError, MissingExtraError, SweepWarning, cli, load_dataset
from mlp_jax.answers import plots
from mlp_jax.datasets.scikit_learn import TASKS
from mlp_jax.runs.directory import dataset_of, read_run


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
    score = "r2" if name == "diabetes" else "accuracy"
    assert there >= figures | {f"{score}-against-width.png", "learning-curves.png", "scores-against-parameters.png"}

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


NAMES = ("ant", "bee", "cat")
SHIFTED = ("bee", "cat", "ant")


class Published(NamedTuple):
    """A run on small images of three classes, and what turns them into other files."""

    run: str
    images: np.ndarray
    labels: np.ndarray
    folder: object

    def publish(self, images, labels=None, **texts):
        arrays = {}
        for split, rows in (("train", slice(0, 90)), ("validation", slice(90, 120)), ("test", slice(120, 180))):
            arrays[f"x_{split}"] = images[rows]
            arrays[f"y_{split}"] = (self.labels if labels is None else labels)[rows]
        path = self.folder / "other.npz"
        np.savez(path, **arrays, **texts)
        return str(path)

    def evaluate(self, path, capsys):
        code = cli.main(["evaluate", self.run, "--dataset", path, "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out)["trials"][0] if code == 0 else None, said.err


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Three stripes, one of which is bright."""
    folder = tmp_path_factory.mktemp("published")
    labels = np.arange(180) % 3
    images = np.random.default_rng(0).integers(0, 60, (180, 6, 5), dtype=np.uint8)
    for label in range(3):
        images[labels == label, 2 * label : 2 * label + 2] += 190
    images[:, 0, 0], images[:, 5, 4] = 0, 255
    made = Published(str(folder / "run"), images, labels, folder)
    path = made.publish(images, class_names=NAMES)
    make_run(load_dataset(path), path, folder / "run", Grid((6,), ("relu",), (0.1,), seeds=1), epochs=20)
    return made


def test_classes_in_another_order_are_matched_by_name(published, capsys):
    as_before = published.publish(published.images, class_names=NAMES)
    _, own, said = published.evaluate(as_before, capsys)
    assert own["test_score"] > 0.9
    assert said == ""
    code, found, said = published.evaluate(
        published.publish(published.images, (published.labels + 2) % 3, class_names=SHIFTED), capsys
    )
    assert (code, found) == (0, own)
    assert "other has its classes in another order: they are matched by name" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("ant", "bee", "dog"), "other has other classes: dog where cat is expected"),
        (("ant", "bee", "cat", "dog"), "multiclass with 30 features and 4 outputs: the run's models expect"),
        (("ant", "bee", "bee"), "class_names holds 'bee' more than once"),
    ],
)
def test_other_classes_are_refused(names, message, published, capsys):
    for images in (published.images // 2 * 2, published.images):
        code, _, said = published.evaluate(published.publish(images, class_names=names), capsys)
        assert (code, message in said) == (2, True), said


def test_classes_without_names_are_matched_by_number(published, capsys):
    code, found, said = published.evaluate(published.publish(published.images // 2 * 2), capsys)
    assert code == 0
    assert found["test_score"] > 0.9
    assert "matched by number (0, 1, 2 as ant, bee, cat)" in said


def test_the_same_data_with_other_names_keep_the_runs(published, capsys):
    path = published.publish(published.images, class_names=SHIFTED)
    code, found, said = published.evaluate(path, capsys)
    assert code == 0
    assert found["test_score"] > 0.9
    assert "taken as ant, bee, cat" in said
    run = read_run(published.run)
    with pytest.warns(SweepWarning, match="taken as ant, bee, cat"):
        assert dataset_of(run.config, run.path, path).class_names == NAMES


@pytest.mark.parametrize(
    ("convert", "refused", "message"),
    [
        (lambda x: x / 255, False, ""),
        (lambda x: x // 2 * 2, False, ""),
        (lambda x: x.astype(np.float32), True, "the run's own data are uint8 from 0 to 255, .* those of other float32"),
        (lambda x: x.reshape(180, 30).astype(int), True, "the run's own data are uint8"),
        (lambda x: (x / 255 - 0.5) / 0.2, True, "the run's own data are uint8"),
        (lambda x: x // 16, False, "uint8 from 0 to 15, scaled by 255"),
    ],
)
def test_other_data_are_on_the_scale_of_the_runs(convert, refused, message, published, capsys):
    code, found, said = published.evaluate(published.publish(convert(published.images), class_names=NAMES), capsys)
    assert code == (2 if refused else 0)
    assert re.search(message, said)
    assert bool(message) == bool(said)
    if not message:
        assert found["test_score"] > 0.9


def test_a_run_on_plain_numbers_knows_their_scale_from_its_data(published, tmp_path, capsys):
    small = published.publish(published.images.reshape(180, 30) / 255, class_names=NAMES)
    own = shutil.copy(small, tmp_path / "own.npz")
    run = make_run(load_dataset(own), str(own), tmp_path / "run", Grid((2,), seeds=1), epochs=1)
    for convert, code, message in (
        (lambda x: x // 2 * 2 / 255, 0, ""),
        (lambda x: x // 2 * 2, 0, ""),
        (lambda x: x * 400.0, 0, "typically 1e.05 times as great"),
    ):
        other = published.publish(convert(published.images.reshape(180, 30)), class_names=NAMES)
        assert cli.main(["evaluate", str(run), "--dataset", other]) == code
        said = capsys.readouterr().err
        assert re.search(message, said)
        assert bool(said) == bool(message)


def test_channels_first_are_drawn_and_read_as_pictures(published, tmp_path, capsys):
    first, run = published.publish(published.images[:, None]), tmp_path / "run"
    assert (
        cli.main(
            ["sweep", "--dataset", first, "--hidden-units", "4", "--seeds", "1", "--epochs", "1", "--out", str(run)]
        )
        == 0
    )
    assert "their 1 channel first" in capsys.readouterr().err
    assert {"hidden-units.png", "mistakes.png"} <= {path.name for path in (run / "figures").iterdir()}
    ink = np.full((40, 40), 255, np.uint8)
    ink[5:35, 18:22] = 0
    Image.fromarray(ink).save(tmp_path / "drawn.png")
    assert cli.main(["predict", str(run), str(tmp_path / "drawn.png")]) == 0
    last = published.publish(published.images[..., None])
    capsys.readouterr()
    assert cli.main(["evaluate", str(run), "--dataset", last, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same_data"]


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
