"""TensorFlow Datasets: what we make of a set (with a stand-in for the package), and the real thing (slow)."""

import functools
import http.server
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import mlp_jax.datasets
from mlp_jax import DataError, MissingExtraError, SweepWarning, load_dataset


class Image:
    """Stands in for tfds.features.Image."""

    def __init__(self, shape=(2, 3, 1)):
        self.shape = shape


class ClassLabel:
    """Stands in for tfds.features.ClassLabel."""

    def __init__(self, names=("cat", "dog", "eel")):
        self.names = None if names is None else list(names)


class FeaturesDict(dict):
    """Stands in for tfds.features.FeaturesDict."""


class Builder:
    """Stands in for a builder: lists of examples by split; prepared if its directory exists."""

    def __init__(self, path, splits, features=None, supervised_keys=("image", "label"), failure=None):
        features = FeaturesDict(image=Image(), label=ClassLabel()) if features is None else features
        self.info = SimpleNamespace(features=features, supervised_keys=supervised_keys, splits=splits, file_format=None)
        self.data_path, self.failure, self.calls = path, failure, []

    def download_and_prepare(self, **kwargs):
        self.calls.append(kwargs)
        if self.failure:
            raise self.failure
        self.data_path.mkdir()

    def as_data_source(self, split):
        if isinstance(self.failure, NotImplementedError):
            self.info.file_format = SimpleNamespace(value="tfrecord")
            raise self.failure
        return self.info.splits[split]


def examples(count, *, shape=(2, 3, 1), classes=2, seed=0, keys=("image", "label")):
    rng = np.random.default_rng(seed)
    return [{keys[0]: rng.integers(0, 256, shape, dtype=np.uint8), keys[1]: i % classes} for i in range(count)]


@pytest.fixture
def tfds(monkeypatch):
    """A stand-in for the package, whose only set is what the function that this gives is called with."""

    def install(found):
        def builder(name, *, data_dir):
            if isinstance(found, Exception):
                raise found
            found.asked = (name, data_dir)
            return found

        package = ModuleType("tensorflow_datasets")
        package.builder = builder
        package.features = SimpleNamespace(Image=Image, ClassLabel=ClassLabel, FeaturesDict=FeaturesDict)
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", package)
        return found

    return install


@pytest.fixture
def tensorflow(monkeypatch):
    """Makes TensorFlow look installed, or not."""

    def install(installed):
        package = ModuleType("tensorflow")
        package.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None)
        monkeypatch.setitem(sys.modules, "tensorflow", package if installed else None)

    return install


def refuses(message, error=DataError):
    """load_dataset("tfds:toy") raises that error with that message, in one line."""
    with pytest.raises(error, match=message) as caught:
        load_dataset("tfds:toy")
    assert "\n" not in str(caught.value)
    assert "tfds:toy" in str(caught.value)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    refuses(r'tfds:toy needs the package tensorflow-datasets, .*pip install "mlp-jax\[tfds\]"', MissingExtraError)


def test_a_set_with_three_splits(tfds, tmp_path):
    train, validation, test = examples(24), examples(5, seed=1), examples(2, seed=2)
    builder = tfds(Builder(tmp_path, {"train": train, "test": test, "validation": validation, "extra": None}))
    with pytest.warns(SweepWarning, match="no split has an example of class eel"):
        dataset = load_dataset("tfds:toy/config:1.*.*", data_dir=tmp_path)
    assert builder.asked == ("toy/config:1.*.*", str(tmp_path))
    for split, rows in ((dataset.train, train), (dataset.validation, validation), (dataset.test, test)):
        np.testing.assert_array_equal(split.features, [row["image"].reshape(-1) for row in rows])
        np.testing.assert_array_equal(split.targets, [row["label"] for row in rows])
        assert split.features.dtype == np.uint8
    assert dataset.outputs == 3  # the info's classes, though nothing is an eel
    assert dataset.class_names == ("cat", "dog", "eel")
    assert (dataset.name, dataset.task, dataset.image_shape) == ("toy/config:1.*.*", "multiclass", (2, 3, 1))
    assert builder.calls == []


def test_emnist_is_turned_upright_and_numbered_from_0(tfds, tmp_path):
    train = [{"image": row["image"], "label": 1 + i % 26} for i, row in enumerate(examples(52))]
    tfds(Builder(tmp_path, {"train": train, "test": train[:26], "validation": train[:5]}))
    with pytest.warns(SweepWarning, match="tfds:emnist/letters is EMNIST: images are stored transposed"):
        dataset = load_dataset("tfds:emnist/letters")
    assert (dataset.image_shape, dataset.outputs, dataset.class_names[25]) == ((3, 2, 1), 26, "Z/z")
    np.testing.assert_array_equal(dataset.validation.targets, range(5))
    images = dataset.train.features.reshape(-1, 3, 2, 1)
    np.testing.assert_array_equal(images, [row["image"].swapaxes(0, 1) for row in train])


@pytest.mark.parametrize(
    ("test", "counts"),
    [
        (examples(6, classes=3, seed=2), {"train": [22] * 3, "validation": [2] * 3, "test": [2] * 3}),
        (None, {"train": [18, 18, 19], "validation": [2, 2, 1], "test": [4] * 3}),
    ],
)
def test_what_a_set_lacks_is_taken_from_every_class_of_train(test, counts, tfds, tmp_path):
    train = sorted(examples(72, classes=3), key=lambda row: row["label"])
    tfds(Builder(tmp_path, {"train": train} | ({"test": test} if test else {})))
    dataset = load_dataset("tfds:toy")
    found = {name: sorted(np.bincount(split.targets).tolist()) for name, split in dataset.splits.items()}
    assert found == {name: sorted(each) for name, each in counts.items()}
    together = [
        (image.tolist(), label)
        for split in dataset.splits.values()
        for image, label in zip(split.features, split.targets, strict=True)
    ]
    rows = train + (test or [])
    assert sorted(together) == sorted((row["image"].ravel().tolist(), row["label"]) for row in rows)
    assert load_dataset("tfds:toy").digest == dataset.digest


@pytest.mark.parametrize(
    ("supervised_keys", "features", "keys"),
    [
        (("image", "kind"), {"image": Image(), "kind": ClassLabel(), "label": ClassLabel(["x"])}, ("image", "kind")),
        (("image", "label", "file"), {"image": Image(), "label": ClassLabel()}, ("image", "label")),
        (("text", "label"), {"image": Image(), "label": ClassLabel(), "text": None}, ("image", "label")),
        ((("image", "text"), "label"), {"image": Image(), "label": ClassLabel()}, ("image", "label")),
        (None, {"image": Image((None, None, 1)), "label": ClassLabel(None)}, ("image", "label")),
    ],
)
def test_the_features_that_are_learned(supervised_keys, features, keys, tfds, tmp_path):
    rows = examples(24, classes=3, keys=keys)
    tfds(Builder(tmp_path, {"train": rows, "test": rows}, FeaturesDict(features), supervised_keys))
    dataset = load_dataset("tfds:toy")
    np.testing.assert_array_equal(dataset.test.targets, [row[keys[1]] for row in rows])
    assert dataset.class_names == tuple(features[keys[1]].names or "012")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (ValueError("Dataset toy not found.\nAvailable:\n\t- mnist"), "toy: Dataset toy not found: expected a name"),
        (AssertionError(), "tfds:toy: AssertionError: expected a name in the TFDS catalogue, like fashion_mnist"),
        (ImportError("No module named 'h5py'"), "tfds:toy: No module named 'h5py': expected"),
    ],
)
def test_an_unknown_name_is_refused(found, message, tfds):
    tfds(found)
    refuses(message)


def test_a_builder_that_needs_tensorflow_names_the_extra(tfds):
    tfds(ModuleNotFoundError("Failed to construct dataset: No module named 'tensorflow'"))
    refuses(r'tfds:toy needs the package tensorflow, .*"mlp-jax\[tfds-prepare\]"', MissingExtraError)


TEXT = FeaturesDict(text=None, label=ClassLabel())
TWO_SIZES = examples(5) + examples(1, shape=(1, 1, 1))


@pytest.mark.parametrize(
    ("splits", "features", "message"),
    [
        ({}, TEXT, "its features are text, label: expected an image and a class label, so choose"),
        ({}, FeaturesDict(image=Image(), label=None), "its features are image, label: expected an image and"),
        ({}, ClassLabel(), "its features are ClassLabel: expected an image and a class label"),
        ({"test": examples(4)}, None, r"has no train split \(test\): choose another data set"),
        ({}, None, r"has no train split \(none at all\)"),
        ({"train": TWO_SIZES}, None, r"different sizes \(\(2, 3, 1\) and \(1, 1, 1\) in train\): expected one size"),
        ({"train": examples(5), "test": []}, None, "the test split is empty"),
        ({"train": examples(5), "test": [{**examples(1)[0], "label": -1}]}, None, "test labels run from -1 to -1"),
        ({"train": examples(5), "test": examples(5, shape=(3, 2, 1))}, None, r"test examples have shape \(3, 2, 1\)"),
        ({"train": examples(5, classes=4)}, None, "train labels go up to 3: expected 0 to 2, by class_names"),
        ({"train": [{}]}, None, r"the copy in .* cannot be read \('image'\): delete it to have it prepared afresh"),
    ],
)
def test_a_set_that_cannot_be_learned_is_refused(splits, features, message, tfds, tmp_path):
    tfds(Builder(tmp_path, splits, features))
    refuses(message)


def test_a_copy_that_only_tensorflow_reads_is_refused(tfds, tmp_path):
    tfds(Builder(tmp_path, {"train": examples(5)}, failure=NotImplementedError("no random access\n* ...")))
    refuses(
        "is in the format tfrecord, which takes TensorFlow to read: expected array_record, so give another data_dir"
    )


def test_preparing_without_tensorflow_names_the_extra(tfds, tensorflow, tmp_path):
    tensorflow(False)
    builder = tfds(Builder(tmp_path / "toy", {"train": examples(24)}))
    refuses(r'preparing tfds:toy in .*/toy needs .* tensorflow, .*"mlp-jax\[tfds-prepare\]"', MissingExtraError)
    assert builder.calls == []


def test_a_set_is_prepared_once(tfds, tensorflow, tmp_path):
    tensorflow(True)
    builder = tfds(Builder(tmp_path / "toy", {"train": examples(72, classes=3)}))
    for _ in range(2):
        load_dataset("tfds:toy")
    assert builder.calls == [{"file_format": "array_record"}]


@pytest.mark.parametrize(
    ("features", "failure", "calls", "message"),
    [
        (None, OSError("no network\nat all"), 1, r"be downloaded and prepared in .*/toy \(no network\): mend that"),
        (FeaturesDict(image=Image((None, None, 3)), label=ClassLabel()), None, 0, "images have no fixed size .*None"),
    ],
)
def test_preparing_may_fail(features, failure, calls, message, tfds, tensorflow, tmp_path):
    tensorflow(True)
    builder = tfds(Builder(tmp_path / "toy", {}, features, failure=failure))
    refuses(message)
    assert len(builder.calls) == calls


def run(script, *arguments):
    """What the script prints last, from JSON. Its own process: these packages warn, and stay imported."""
    finished = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "JAX_PLATFORMS": "cpu"},
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


PREPARE = """
import json, sys
import tensorflow_datasets as tfds
from mlp_jax import load_dataset

url, data_dir = sys.argv[1:]
tfds.builder_cls("mnist").URL = url
dataset = load_dataset("tfds:mnist", data_dir=data_dir)
print(json.dumps({"tensorflow": "tensorflow" in sys.modules, "digest": dataset.digest}))
"""

# TensorFlow is hidden where it is looked for: TFDS takes sys.modules["tensorflow"] = None for a loaded TensorFlow and
# breaks, and a finder that raises breaks those that only ask whether it is there.
READ = """
import json, sys
from importlib.machinery import PathFinder
import numpy as np

find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] == "tensorflow" else find_spec(name, *rest)
try:
    import tensorflow
except ModuleNotFoundError:
    pass
else:
    sys.exit("TensorFlow can still be imported")

from mlp_jax import load_dataset
data_dir, out = sys.argv[1:]
dataset = load_dataset("tfds:mnist", data_dir=data_dir)
arrays = {}
for name, split in dataset.splits.items():
    arrays |= {f"x_{name}": split.features, f"y_{name}": split.targets}
np.savez(out, **arrays)
try:
    load_dataset("tfds:fashion_mnist", data_dir=data_dir)
except ImportError as error:
    missing = str(error)
print(json.dumps([dataset.digest, dataset.outputs, dataset.class_names, dataset.image_shape, missing]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not (importlib.util.find_spec("tensorflow") and importlib.util.find_spec("tensorflow_datasets")),
    reason='preparing MNIST takes TensorFlow: python -m pip install "mlp-jax[tfds-prepare]"',
)
def test_mnist_is_prepared_with_tensorflow_and_read_without(tmp_path):
    served = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            served.append(Path(self.path).name)

    directory = Path(mlp_jax.datasets.__file__).parent / "mnist"
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(directory))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/"
            prepared = run(PREPARE, url, tmp_path / "data")
        finally:
            server.shutdown()
            thread.join()
    assert set(served) == {path.name for path in directory.glob("*.gz")}
    assert prepared["tensorflow"]
    facts = run(READ, tmp_path / "data", tmp_path / "out.npz")
    assert facts[:-1] == [prepared["digest"], 10, list("0123456789"), [28, 28, 1]]
    assert "preparing tfds:fashion_mnist" in facts[-1]
    assert "mlp-jax[tfds-prepare]" in facts[-1]

    def rows(*splits):  # TFDS shuffles when it prepares, so rows are compared as a set that counts
        table = [np.concatenate([x, y[:, None].astype(np.uint8)], axis=1) for x, y in splits]
        return sorted(row.tobytes() for row in np.concatenate(table))

    mnist = load_dataset("mnist")
    with np.load(tmp_path / "out.npz") as found:
        assert [len(found[f"y_{name}"]) for name in mnist.splits] == [55000, 5000, 10000]
        assert {found[f"x_{name}"].dtype.name for name in mnist.splits} == {"uint8"}
        train = [(found[f"x_{name}"], found[f"y_{name}"]) for name in ("train", "validation")]
        test = [(found["x_test"], found["y_test"])]
    assert rows(*train) == rows(*((split.features, split.targets) for split in (mnist.train, mnist.validation)))
    assert rows(*test) == rows((mnist.test.features, mnist.test.targets))


# Prepares sets of PNG bytes, which takes no TensorFlow, and prints what comes of them and of some other names.
OWN_SETS = """
import io, json, sys
import numpy as np
from PIL import Image
import tensorflow_datasets as tfds
from mlp_jax import load_dataset

def png(shape, value):
    buffer = io.BytesIO()
    Image.fromarray(np.full(shape, value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()

def prepare(own, image, splits):
    class Own(tfds.core.GeneratorBasedBuilder):
        name = own
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": image, "label": tfds.features.ClassLabel(names=["a", "b", "c"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {split: self._generate_examples(shapes) for split, shapes in splits.items()}

        def _generate_examples(self, shapes=()):
            for index, shape in enumerate(shapes):
                yield index, {"image": png(shape, index), "label": index % 2}

    Own(data_dir=sys.argv[1]).download_and_prepare(file_format="array_record")

def outcome(name):
    try:
        dataset = load_dataset("tfds:" + name, data_dir=sys.argv[1])
    except ValueError as error:
        return type(error).__name__, str(error)
    labels_fit = all((split.features % 2 == split.targets[:, None]).all() for split in dataset.splits.values())
    return [len(split) for split in dataset.splits.values()], dataset.class_names, dataset.image_shape, bool(labels_fit)

prepare("even", tfds.features.Image(), {"train": 24 * [(4, 5, 3)]})
sizes = {"train": 24, "validation": 7, "test": 9}
prepare("grey", tfds.features.Image(shape=(4, 5, 1)), {split: size * [(4, 5)] for split, size in sizes.items()})
prepare("uneven", tfds.features.Image(), {"train": 24 * [(4, 5, 3)] + [(5, 4, 3)]})
print(json.dumps({name: outcome(name) for name in sys.argv[2:]}))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None,
    reason='TFDS is not installed: python -m pip install "mlp-jax[tfds]"',
)
def test_the_real_package(tmp_path):
    unprepared = ["mnist", "coco"] if importlib.util.find_spec("tensorflow") is None else []  # or they are fetched
    wrong = ["uneven", "no_such", "not/a:name", "mnist:9.9.9", "imdb_reviews", "cats_vs_dogs"]
    found = run(OWN_SETS, tmp_path, "even", "grey", *wrong, *unprepared)
    assert found["even"] == [[18, 2, 4], ["a", "b", "c"], [4, 5, 3], True]
    assert found["grey"] == [[24, 7, 9], ["a", "b", "c"], [4, 5, 1], True]
    assert "different sizes" in found["uneven"][1]
    assert found["no_such"][1].startswith("tfds:no_such: Dataset no_such not found: expected a name")
    assert "Parsing builder name string not/a:name failed" in found["not/a:name"][1]
    assert "cannot be loaded at version 9.9.9" in found["mnist:9.9.9"][1]
    assert "its features are text, label" in found["imdb_reviews"][1]
    assert "its images have no fixed size" in found["cats_vs_dogs"][1]
    for name in wrong:
        assert found[name][0] == "DataError"
        assert "\n" not in found[name][1]
    for name in unprepared:
        assert found[name][0] == "MissingExtraError"
        assert "mlp-jax[tfds-prepare]" in found[name][1]
