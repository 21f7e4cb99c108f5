"""EMNIST's and QMNIST's own files, sets that are stored transposed, and what a run remembers of it."""

import contextlib
import gzip
import json
import shutil
import string

import numpy as np
import pytest
from PIL import Image
from test_idx import idx_bytes, refuses

from mlp_jax import DataError, Dataset, InputError, SweepWarning, cli, load_dataset
from mlp_jax.datasets.emnist import CLASSES, variant_of_tfds
from mlp_jax.runs.directory import read_config, read_run, write_json

HEIGHT, WIDTH = 9, 7


def bars(labels, *, height=HEIGHT, width=WIDTH, seed=0):
    """Upright images: of class k a horizontal bar in row k, with noise, so that a transposed one looks otherwise."""
    images = np.random.default_rng(seed).integers(0, 60, (len(labels), height, width), dtype=np.uint8)
    images[np.arange(len(labels)), np.asarray(labels) % height] = 250
    return images


def write(directory, prefix, train, test, *, transposed=False, labels="labels-idx1-ubyte", test_name="test", first=0):
    """Four files; ``train`` and ``test`` are labels. Returns the upright images."""
    directory.mkdir(exist_ok=True)
    upright = []
    for split, values in (("train", train), (test_name, test)):
        images = bars(values, seed=len(upright))
        upright.append(images)
        stored = images.swapaxes(1, 2) if transposed else images
        stored_labels = np.asarray(values) + first
        if labels.endswith("-int"):
            others = np.random.default_rng(0).integers(0, 9999, (len(values), 7))
            stored_labels = np.column_stack([stored_labels, others]).astype(np.int32)
        else:
            stored_labels = stored_labels.astype(np.uint8)
        for name, array in (("images-idx3-ubyte", stored), (labels, stored_labels)):
            (directory / f"{prefix}{split}-{name}.gz").write_bytes(
                gzip.compress(idx_bytes(np.ascontiguousarray(array)))
            )
    return upright


def features(dataset):
    """Training images, those that were held out among them, and test images."""
    train = np.concatenate([dataset.validation.features, dataset.train.features])
    return train.reshape(-1, *dataset.image_shape), dataset.test.features.reshape(-1, *dataset.image_shape)


def assert_same_images(found, expected):
    """In any order."""
    assert found.shape == expected.shape
    np.testing.assert_array_equal(*(sorted(image.tobytes() for image in images) for images in (found, expected)))


LETTERS = np.arange(52) % 26


def mapping(variant):
    return "".join(
        f"{label} {' '.join(str(ord(c)) for c in name.split('/'))}\n" for label, name in CLASSES[variant].items()
    )


@pytest.mark.parametrize("with_mapping", [True, False])
def test_emnists_letters(with_mapping, tmp_path):
    upright = write(tmp_path / "set", "emnist-letters-", LETTERS, LETTERS[:26], transposed=True, first=1)
    if with_mapping:
        (tmp_path / "set" / "emnist-letters-mapping.txt").write_text(mapping("letters"))
    with pytest.warns(SweepWarning, match="set holds EMNIST's own files: .* turned upright .--no-transpose") as said:
        dataset = load_dataset(tmp_path / "set")
    assert len(said) == 1
    assert (dataset.outputs, dataset.image_shape, dataset.transpose) == (26, (HEIGHT, WIDTH), True)
    assert dataset.class_names == tuple(f"{c}/{c.lower()}" for c in string.ascii_uppercase)
    for found, expected in zip(features(dataset), upright, strict=True):
        assert_same_images(found, expected)
    np.testing.assert_array_equal(dataset.test.targets, LETTERS[:26])
    assert load_dataset(tmp_path / "set", transpose=True).digest == dataset.digest  # asked for, nothing is said
    as_stored = load_dataset(tmp_path / "set", transpose=False)
    assert (as_stored.image_shape, as_stored.transpose) == ((WIDTH, HEIGHT), False)
    assert as_stored.digest != dataset.digest


def test_names_of_letters_beside_them(tmp_path):
    write(tmp_path, "emnist-letters-", LETTERS, LETTERS[:26], first=1)
    for names, outputs, first in ((list("abcdefghijklmnopqrstuvwxyz"), 26, 0), (["-", *string.ascii_lowercase], 27, 1)):
        (tmp_path / "classes.txt").write_text("\n".join(names), encoding="utf-8-sig")
        missing = pytest.warns(SweepWarning, match="no split has an example of class -")
        with missing if first else contextlib.nullcontext():
            dataset = load_dataset(tmp_path, transpose=False)
        assert (dataset.outputs, dataset.class_names) == (outputs, tuple(names))
        assert dataset.test.targets[0] == first
        assert dataset.class_names[dataset.test.targets[0]] == "a"


@pytest.mark.parametrize(
    ("variant", "count", "last"),
    [("byclass", 62, "z"), ("bymerge", 47, "t"), ("balanced", 47, "t"), ("digits", 10, "9"), ("mnist", 10, "9")],
)
def test_the_other_variants(variant, count, last, tmp_path):
    labels = np.arange(2 * count) % count
    write(tmp_path / "set", f"emnist-{variant}-", labels, labels[:count], transposed=True)
    dataset = load_dataset(tmp_path / "set", transpose=True)
    assert (dataset.outputs, len(set(dataset.class_names)), dataset.class_names[-1]) == (count, count, last)
    assert dataset.class_names[:10] == tuple("0123456789")


def test_a_directory_of_several_sets(tmp_path):
    place = tmp_path / "gzip"
    for variant, first, classes in (("letters", 1, 26), ("digits", 0, 10)):
        labels = np.arange(3 * classes) % classes
        write(place, f"emnist-{variant}-", labels, labels[:classes], transposed=True, first=first)
    refuses(
        "gzip: holds several data sets .emnist-digits-.*, emnist-letters-.*give the path of a file", load_dataset, place
    )
    for variant, outputs in (("letters", 26), ("digits", 10)):
        for part in ("train-images-idx3", "test-labels-idx1"):
            dataset = load_dataset(place / f"emnist-{variant}-{part}-ubyte.gz", transpose=True)
            assert (dataset.name, dataset.outputs) == (f"emnist-{variant}", outputs)
    for path in place.glob("emnist-digits-test-*"):
        path.unlink()
    refuses(
        "no test images file: expected emnist-digits-t10k-images",
        load_dataset,
        place / "emnist-digits-train-images-idx3-ubyte.gz",
    )


def test_qmnists_own_files(tmp_path):
    labels = np.arange(40) % 10
    names = {"labels": "labels-idx2-int"}
    upright = write(tmp_path / "q", "qmnist-", labels, labels[::-1], **names)
    dataset = load_dataset(tmp_path / "q")
    assert (dataset.outputs, dataset.image_shape, dataset.transpose) == (10, (HEIGHT, WIDTH), None)
    np.testing.assert_array_equal(dataset.test.targets, labels[::-1])
    np.testing.assert_array_equal(features(dataset)[1], upright[1])
    write(tmp_path / "q", "qmnist-", labels, labels[:20], test_name="test10k", **names)
    refuses("several data sets .*test-images.*test10k-images.*path of a file", load_dataset, tmp_path / "q")
    chosen = load_dataset(tmp_path / "q" / "qmnist-test10k-labels-idx2-int.gz")
    assert (len(chosen.test), len(chosen.train) + len(chosen.validation)) == (20, 40)
    (tmp_path / "q" / "qmnist-test10k-labels-idx2-int.gz").write_bytes(idx_bytes(np.zeros((20, 3), np.int32)))
    refuses("has 3 columns: expected QMNIST's 8", load_dataset, tmp_path / "q" / "qmnist-test10k-labels-idx2-int.gz")
    (tmp_path / "q" / "qmnist-test10k-labels-idx2-int.gz").write_bytes(idx_bytes(np.zeros(20, np.int32)))
    refuses("announces 1 dimensions, expected 2", load_dataset, tmp_path / "q" / "qmnist-test10k-labels-idx2-int.gz")


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_any_images_can_be_transposed(channels, tmp_path):
    x, y = bars(np.arange(24) % 3), np.arange(24) % 3
    x = np.stack([x] * channels[0], axis=3) if channels else x
    upright = Dataset.from_arrays(x, y, x, y, x_validation=x, y_validation=y)
    stored = x.swapaxes(1, 2)
    np.savez(tmp_path / "set.npz", x_train=stored, y_train=y, x_test=stored, y_test=y, x_val=stored, y_val=y)
    turned = load_dataset(tmp_path / "set.npz", transpose=True)
    assert (turned.digest, turned.image_shape) == (upright.digest, (HEIGHT, WIDTH, *channels))
    assert turned.image_form == upright.image_form
    assert load_dataset(tmp_path / "set.npz").digest != upright.digest
    assert load_dataset("mnist", transpose=True).digest != load_dataset("mnist").digest


def test_what_is_no_image_is_not_transposed(capsys):
    refuses("iris: transpose is for images, and an example is 4 numbers", load_dataset, "sklearn:iris", transpose=True)
    assert load_dataset("sklearn:iris", transpose=False).transpose is False
    with pytest.raises(InputError, match="transpose is 'yes': expected True, False or None"):
        load_dataset("mnist", transpose="yes")
    for command in (["sweep"], ["train"], ["data"]):
        assert cli.main([*command, "--dataset", "sklearn:iris", "--transpose"]) == 2
        assert "transpose is for images" in capsys.readouterr().err
    assert cli.main(["data", "--transpose", "yes"]) == 2
    assert "--transpose has the value 'yes': expected none" in capsys.readouterr().err


SMALL = ["--hidden-units", "8", "--seeds", "1", "--batch-size", "16", "--learning-rates", "0.02"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on sideways images in an .npz file, which it turned; the upright images beside it."""
    place = tmp_path_factory.mktemp("turned")
    y = np.arange(270) % HEIGHT
    x = bars(y)
    stored = x.swapaxes(1, 2)
    np.savez(place / "set.npz", x_train=stored, y_train=y, x_test=stored, y_test=y, x_validation=stored, y_validation=y)
    np.savez(place / "upright.npz", x_train=x, y_train=y, x_test=x, y_test=y, x_validation=x, y_validation=y)
    sweep = ["sweep", "--dataset", str(place / "set.npz"), "--transpose", *SMALL, "--epochs", "30"]
    assert cli.main([*sweep, "--out", str(place / "run")]) == 0
    return place


def test_a_run_reads_its_data_as_it_did(run, capsys):
    path = str(run / "run")
    assert read_config(run / "run")["transpose"] is True
    assert read_config(run / "run")["image_form"]["shape"] == [HEIGHT, WIDTH]
    for command in (
        ["check", path],
        ["evaluate", path],
        ["plot", path],
        ["report", path],
        ["time", path, "--epochs", "1"],
    ):
        capsys.readouterr()
        assert cli.main(command) == 0, command
        said = capsys.readouterr()
        assert said.err == ""
        assert "not checked" not in said.out
        assert "not the data" not in said.out
    assert "sweep --dataset" in (html := (run / "run" / "report.html").read_text())
    assert " --transpose " in html
    assert read_run(path).dataset().digest == load_dataset(run / "upright.npz").digest


def test_evaluate_turns_other_data(run, capsys):
    def score(*options):
        assert cli.main(["evaluate", str(run / "run"), *options, "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        return record["trials"][0]["test_score"], record["same_data"]

    shutil.copy(run / "set.npz", run / "copy.npz")
    right, same = score()
    assert right > 0.9
    assert same
    assert score("--dataset", str(run / "upright.npz")) == (right, True)
    assert score("--dataset", str(run / "copy.npz"), "--transpose") == (right, True)
    sideways, same = score("--dataset", str(run / "copy.npz"))
    assert sideways < 0.5
    assert not same
    assert cli.main(["evaluate", str(run / "run"), "--transpose"]) == 2
    assert "transpose without dataset" in capsys.readouterr().err


@pytest.mark.parametrize("turn", [True, False])
def test_predict_reads_upright_pictures(turn, tmp_path, capsys):
    y = np.arange(200) % 2
    x = np.random.default_rng(0).integers(0, 30, (200, 12, 12), dtype=np.uint8)
    x[y == 0, 5:7, 2:10] = 250  # lies
    x[y == 1, 2:10, 5:7] = 250  # stands
    arrays = {"x_train": x.swapaxes(1, 2), "y_train": y, "x_test": x.swapaxes(1, 2), "y_test": y}
    np.savez(tmp_path / "set.npz", **arrays, class_names=["lies", "stands"])
    how = [
        "--dataset",
        str(tmp_path / "set.npz"),
        "--transpose" if turn else "--no-transpose",
        *SMALL,
        "--epochs",
        "20",
    ]
    assert cli.main(["sweep", *how, "--out", str(tmp_path / "run")]) == 0
    picture = np.full((120, 120), 255, np.uint8)
    picture[50:70, 20:100] = 0
    Image.fromarray(picture).save(tmp_path / "lying.png")
    capsys.readouterr()
    assert cli.main(["predict", str(tmp_path / "run"), str(tmp_path / "lying.png"), "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["predictions"]
    assert said["class"] == ("lies" if turn else "stands")


def test_resume_keeps_it(run, tmp_path, capsys):
    begun = tmp_path / "begun"
    begun.mkdir()
    write_json(begun / "config.json", read_config(run / "run") | {"epochs": 1, "seeds": [0]})
    assert cli.main(["sweep", "--resume", str(begun), "--no-transpose"]) == 2
    assert "transpose was True and is now False" in capsys.readouterr().err
    assert cli.main(["sweep", "--resume", str(begun)]) == 0
    assert read_config(begun)["transpose"] is True
    write_json(begun / "config.json", read_config(begun) | {"transpose": "sideways"})
    assert cli.main(["check", str(begun)]) in (1, 2)
    with pytest.raises(DataError, match="transpose is 'sideways': expected true, false or null"):
        read_run(begun)


def test_tfds_has_it_transposed_too():
    assert variant_of_tfds("emnist") == variant_of_tfds("emnist:3.*.*") == "byclass"
    assert variant_of_tfds("emnist/letters:3.1.0") == "letters"
    assert variant_of_tfds("emnist_like") is variant_of_tfds("kmnist") is variant_of_tfds("emnist/unheard_of") is None
