"""Data sets of Hugging Face: copies on disk of images and of tables, read by the package itself, and names."""

import sys

import numpy as np
import pytest
from PIL import Image

from mlp_jax import DataError, Dataset, MissingExtraError, cli, load_dataset
from mlp_jax.datasets import absolute_path
from mlp_jax.datasets.carving import test_of as drawn_for_test
from mlp_jax.runs.directory import read_run

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (36, 5, 4), dtype=np.uint8)
X = RNG.normal(size=(36, 2)).round(3)
LABELS = np.arange(36) % 3
NAMES = ("low", "mid", "top")


@pytest.fixture
def hf():
    package = pytest.importorskip("datasets", reason="needs the extra huggingface")
    package.disable_progress_bars()
    return package


def pictures(hf, images=IMAGES, labels=LABELS, label=None, **more):
    """A split of images with class labels, which is to be decoded."""
    features = {"image": hf.Image(), "label": label or hf.ClassLabel(names=list(NAMES))}
    columns = {"image": [Image.fromarray(image) for image in images], "label": list(labels)}
    features |= {name: hf.Value("string") for name in more}
    return hf.Dataset.from_dict(columns | more, features=hf.Features(features))


def refuses(message, name, error=DataError):
    with pytest.raises(error, match=message) as caught:
        load_dataset(name)
    assert "\n" not in str(caught.value)
    assert "hf:" in str(caught.value)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    refuses(r'hf:toy needs the package datasets, .*pip install "mlp-jax\[huggingface\]"', "hf:toy", MissingExtraError)


def test_images_of_every_split(hf, tmp_path):
    parts = {"train": slice(0, 24), "valid": slice(24, 30), "test": slice(30, 36)}
    copy = hf.DatasetDict({split: pictures(hf, IMAGES[part], LABELS[part]) for split, part in parts.items()})
    copy.save_to_disk(tmp_path / "copy")
    dataset = load_dataset(f"hf:{tmp_path / 'copy'}")
    expected = Dataset.from_arrays(
        IMAGES[:24], LABELS[:24], IMAGES[30:], LABELS[30:], x_validation=IMAGES[24:30], y_validation=LABELS[24:30]
    )
    assert dataset.digest == expected.digest
    assert (dataset.name, dataset.class_names, dataset.image_shape) == ("copy", NAMES, (5, 4))


@pytest.mark.parametrize("label", ["class", "number", "text"])
def test_images_in_one_piece(label, hf, tmp_path):
    kinds = {"class": None, "number": hf.Value("int8"), "text": hf.Value("string")}
    labels = [NAMES[each] for each in LABELS] if label == "text" else LABELS
    split = pictures(hf, labels=labels, label=kinds[label], file=["a.png"] * 36)
    split.save_to_disk(tmp_path / "copy")
    dataset = load_dataset(f"hf:{tmp_path / 'copy'}")
    test = drawn_for_test(36, LABELS, seed=0)
    assert dataset.digest == Dataset.from_arrays(IMAGES[~test], LABELS[~test], IMAGES[test], LABELS[test]).digest
    assert dataset.class_names == (("0", "1", "2") if label == "number" else NAMES)


def test_a_shuffled_selection_is_read_in_its_order(hf, tmp_path):
    order = RNG.permutation(36)[:30]
    pictures(hf).select(order).save_to_disk(tmp_path / "copy")
    dataset = load_dataset(f"hf:{tmp_path / 'copy'}")
    test = drawn_for_test(30, LABELS[order], seed=0)
    np.testing.assert_array_equal(dataset.test.features, IMAGES[order][test].reshape(-1, 20))
    np.testing.assert_array_equal(dataset.test.targets, LABELS[order][test])


def table(hf, **columns):
    return hf.Dataset.from_dict({"a": X[:, 0], "b": X[:, 1], "kind": [NAMES[each] for each in LABELS]} | columns)


def test_a_table_is_what_its_csv_file_is(hf, tmp_path):
    table(hf).save_to_disk(tmp_path / "copy")
    table(hf).to_csv(tmp_path / "copy.csv")
    expected = load_dataset(tmp_path / "copy.csv")
    for setting in ("", ":label=kind"):
        dataset = load_dataset(f"hf:{tmp_path / 'copy'}{setting}")
        assert (dataset.digest, dataset.class_names) == (expected.digest, NAMES)
    dataset = load_dataset(f"hf:{tmp_path / 'copy'}:label=b:drop=kind:standardize=yes")
    assert (dataset.task, dataset.features) == ("regression", 1)
    np.testing.assert_allclose(dataset.train.targets.std(), 1, rtol=1e-5)


def test_names_of_classes_are_kept_in_their_order(hf, tmp_path):
    split = table(hf, kind=LABELS).cast_column("kind", hf.ClassLabel(names=["zero", "one", "two"]))
    split.save_to_disk(tmp_path / "copy")
    assert load_dataset(f"hf:{tmp_path / 'copy'}").class_names == ("zero", "one", "two")


def test_a_name_is_the_packages_affair(hf, monkeypatch):
    asked = []

    def load(*what):
        asked.append(what)
        return hf.DatasetDict({"train": pictures(hf), "unsupervised": pictures(hf)})

    monkeypatch.setattr(hf, "load_dataset", load)
    assert load_dataset("hf:someone/toy:config=small").name == "toy"
    load_dataset("hf:someone/toy")
    assert asked == [("someone/toy", "small"), ("someone/toy", None)]


def test_what_the_package_raises_is_one_line(hf, monkeypatch):
    def load(*_):
        raise ConnectionError("Couldn't reach 'someone/toy' on the Hub.\nMore")

    monkeypatch.setattr(hf, "load_dataset", load)
    refuses("hf:someone/toy: Couldn't reach .*: expected a name that the package datasets loads", "hf:someone/toy")


def test_data_that_do_not_fit_are_refused(hf, tmp_path):
    def saved(split, name="copy"):
        split.save_to_disk(tmp_path / name)
        return f"hf:{tmp_path / name}"

    both = pictures(hf).add_column("fine", LABELS).cast_column("fine", hf.ClassLabel(names=list(NAMES)))
    name = saved(both.rename_column("label", "coarse"), "two labels")
    refuses("has several labels .coarse, fine.: name the one to learn .:label=coarse.", name)
    assert load_dataset(f"{name}:label=fine").digest == load_dataset(f"{name}:label=coarse").digest
    refuses("has no column z: expected one of image, coarse, fine", f"{name}:label=z")
    refuses("unknown setting task: expected label, image, config", f"{name}:label=fine:task=binary")
    refuses("unknown setting lable", f"{name}:lable=fine")
    refuses("column coarse holds no images", f"{name}:label=fine:image=coarse")
    more = both.add_column("second", [None] * 36).cast_column("second", hf.Image())
    images = f"{saved(more, 'two images')}:label=fine"
    refuses("has several columns of images .image, second.: name one", images)
    refuses("image 0 of train is missing", f"{images}:image=second")
    refuses("no such directory", "hf:./nowhere")
    refuses("its columns are a, b: name the one to learn", saved(table(hf).remove_columns("kind"), "no label"))
    odd = pictures(hf, [*IMAGES[:35], IMAGES[35].T])
    refuses("image 35 of train has 4 × 5 pixels, image 0 of train 5 × 4: expected one size", saved(odd, "odd"))
    refuses("column a: 1 of 36 values are missing", saved(table(hf, a=[None, *X[1:, 0]]), "missing"))
    refuses("column a: holds text like 'x'", saved(table(hf, a=["x"] * 36), "text") + ":label=kind")
    refuses("column a holds List.*: expected one value for each row", saved(table(hf, a=X.tolist()), "lists"))
    refuses("column kind holds 'low' in every row", saved(table(hf, kind=["low"] * 36), "one class"))
    refuses("no train split .test.", saved(hf.DatasetDict({"test": table(hf)}), "test alone"))
    other = hf.DatasetDict({"train": table(hf), "test": table(hf).remove_columns("a")})
    refuses("test has other columns than train", saved(other, "other columns"))
    refuses("train has 1 row: too few", saved(table(hf).select([0]), "one row"))
    refuses("hf:: names no data set", "hf:")
    (tmp_path / "two labels" / "dataset_info.json").write_text("{")
    refuses("cannot be read .*: save it anew with save_to_disk", f"{name}:label=fine")


def test_a_run_finds_its_copy_again(hf, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table(hf).save_to_disk("copy")
    name = "hf:copy:label=kind"
    assert absolute_path(name) == f"hf:{tmp_path}/copy:label=kind"
    assert absolute_path("hf:someone/toy") is None
    options = ["--hidden-units", "2", "--seeds", "1", "--epochs", "1", "--out", "run"]
    assert cli.main(["sweep", "--dataset", name, *options]) == 0
    assert read_run(tmp_path / "run").config["dataset_path"] == absolute_path(name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    monkeypatch.setattr(hf, "load_dataset", lambda *_: pytest.fail("a path is no name on the hub"))
    assert cli.main(["check", "../run"]) == 0
    assert "sound" in capsys.readouterr().out
