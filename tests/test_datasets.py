"""Data sets from the package, from arrays and from .npz: what comes in, and what is refused."""

import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlp_jax.datasets
from mlp_jax import DataError, Dataset, InputError, load_dataset
from mlp_jax.datasets import read_idx
from mlp_jax.datasets.dataset import ImageForm

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (24, 3, 2), dtype=np.uint8), np.arange(24) % 3
XT, YT = RNG.integers(0, 256, (6, 3, 2), dtype=np.uint8), np.arange(6) % 3
XV, YV = RNG.integers(0, 256, (4, 3, 2), dtype=np.uint8), np.arange(4) % 3


def refuses(message, call, *args, **kwargs):
    """The call raises DataError with that message, in one line."""
    with pytest.raises(DataError, match=message) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def mnist():
    return load_dataset("mnist")


def test_mnist(mnist):
    directory = Path(mlp_jax.datasets.__file__).parent / "mnist"
    images = read_idx(directory / "train-images-idx3-ubyte.gz").reshape(60000, 784)
    labels = read_idx(directory / "train-labels-idx1-ubyte.gz")
    assert {name: split.features.shape for name, split in mnist.splits.items()} == {
        "train": (55000, 784),
        "validation": (5000, 784),
        "test": (10000, 784),
    }
    assert {split.features.dtype.name for split in mnist.splits.values()} == {"uint8"}
    assert {split.targets.dtype.name for split in mnist.splits.values()} == {"int32"}
    np.testing.assert_array_equal(mnist.validation.features, images[:5000])
    np.testing.assert_array_equal(mnist.train.features, images[5000:])
    np.testing.assert_array_equal(mnist.validation.targets, labels[:5000])
    np.testing.assert_array_equal(mnist.train.targets, labels[5000:])
    assert mnist.validation.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # as everybody's MNIST starts
    assert mnist.test.targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(mnist.test.targets).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (mnist.features, mnist.outputs, mnist.image_shape) == (784, 10, (28, 28))
    assert mnist.class_names == tuple("0123456789")
    assert mnist.image_form == ImageForm((28, 28), box=20, paper=0.0, ink=1.0)  # as LeCun's page describes it


@pytest.mark.parametrize("channels", [(), (2,)])
def test_image_form_of_dark_drawings_on_light_paper(channels):
    images = np.full((3, 9, 6, *channels), 5.0)
    images[0, 2:6, 1:3] = images[1, 3:5, 0:5] = images[2, 8, 2] = -3
    dataset = Dataset.from_arrays(images, [0, 1, 0], images, [0, 1, 0], x_validation=images, y_validation=[0, 1, 0])
    assert dataset.image_form == ImageForm((9, 6, *channels), box=4, paper=5, ink=-3)
    assert Dataset.from_arrays(np.eye(2), [0, 1], np.eye(2), [0, 1]).image_form is None


def test_an_altered_mnist_is_refused(tmp_path, monkeypatch):
    directory = Path(mlp_jax.datasets.__file__).parent / "mnist"
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        (tmp_path / name).symlink_to(directory / name)
    name = "t10k-labels-idx1-ubyte.gz"
    shutil.copy(directory / name, tmp_path / name)
    monkeypatch.setattr(mlp_jax.datasets, "_MNIST", tmp_path)
    load_dataset("mnist")
    content = bytearray((tmp_path / name).read_bytes())
    content[4] ^= 1  # gzip's time stamp: the data are the same, the file is not
    (tmp_path / name).write_bytes(content)
    refuses(f"{name}: SHA-256 is .* expected f7ae60f9.*: the file was altered or damaged", load_dataset, "mnist")


def test_arrays_come_out_as_they_went_in():
    dataset = Dataset.from_arrays(X, Y, XT, YT, x_validation=XV, y_validation=YV, name="mine")
    for split, x, y in ((dataset.train, X, Y), (dataset.validation, XV, YV), (dataset.test, XT, YT)):
        np.testing.assert_array_equal(split.features, x.reshape(len(x), 6))
        np.testing.assert_array_equal(split.targets, y)
        assert (split.features.dtype, split.targets.dtype) == (np.uint8, np.int32)
    assert (dataset.name, dataset.outputs, dataset.image_shape, dataset.features) == ("mine", 3, (3, 2), 6)


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        (lambda x: x.tolist(), np.float32),
        (lambda x: x.astype(bool), np.float32),
        (lambda x: x.astype(np.int64), np.float32),
        (lambda x: x.astype(np.float16), np.float32),
        (lambda x: x.astype(">f4"), np.float32),
        (lambda x: x.astype(np.float64), np.float64),
        (lambda x: x[..., None].transpose(0, 2, 1, 3), np.uint8),
        (lambda x: x[:, ::-1], np.uint8),
    ],
)
def test_features_of_any_type_and_layout(convert, dtype):
    dataset = Dataset.from_arrays(convert(X), Y, convert(XT), YT)
    assert dataset.test.features.dtype == dtype
    assert dataset.test.features.dtype.isnative
    np.testing.assert_array_equal(dataset.test.features, np.reshape(convert(XT), (6, -1)))


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y.tolist(),
        lambda y: y[:, None],
        lambda y: y.astype(np.uint8),
        lambda y: y.astype(np.float64),
        lambda y: np.eye(3)[y],
        lambda y: np.eye(3, dtype=bool)[y],
        lambda y: np.eye(3, dtype=np.uint8)[y],
    ],
)
def test_labels_of_any_form(convert):
    dataset = Dataset.from_arrays(X, convert(Y), XT, convert(YT), x_validation=XV, y_validation=convert(YV))
    np.testing.assert_array_equal(dataset.train.targets, Y)
    np.testing.assert_array_equal(dataset.test.targets, YT)
    assert dataset.outputs == 3


@pytest.mark.parametrize(
    ("y", "kwargs", "outputs", "names"),
    [
        (np.zeros(24, int), {}, 2, ("0", "1")),
        (Y, {"class_names": list("abcde")}, 5, tuple("abcde")),  # classes that train does not show
        (np.eye(5)[Y], {}, 5, tuple("01234")),
        (Y > 0, {"task": "binary"}, 1, ("0", "1")),
        (Y > 0, {"task": "binary", "class_names": ["no", "yes"]}, 1, ("no", "yes")),
        (Y / 7, {"task": "regression"}, 1, ()),
        (np.stack([Y, Y], 1), {"task": "regression"}, 2, ()),
    ],
)
def test_outputs_and_class_names(y, kwargs, outputs, names):
    dataset = Dataset.from_arrays(X, y, XT, y[:6], **kwargs)
    assert (dataset.outputs, dataset.class_names) == (outputs, names)
    assert dataset.task == kwargs.get("task", "multiclass")
    assert dataset.test.targets.shape == ((6, outputs) if dataset.task == "regression" else (6,))


@pytest.mark.parametrize("examples", [2, 11, 24, 100])
@pytest.mark.parametrize("hold_out", ["first", "random"])
def test_validation_is_held_out_of_train(examples, hold_out):
    x = np.arange(examples, dtype=np.float32)[:, None]
    dataset = Dataset.from_arrays(x, x[:, 0].astype(int), x[:1], [0], hold_out=hold_out)
    train, validation = dataset.train.features[:, 0], dataset.validation.features[:, 0]
    assert len(validation) == max(1, round(examples / 12))
    assert sorted([*train, *validation]) == list(range(examples))
    for split in (dataset.train, dataset.validation):
        np.testing.assert_array_equal(split.targets, split.features[:, 0])  # each example kept its label
        assert np.all(np.diff(split.targets) > 0)  # and the order stayed
    if hold_out == "first":
        assert validation.tolist() == list(range(len(validation)))


def test_the_held_out_examples_follow_from_the_seed():
    x = np.arange(100, dtype=np.float32)[:, None]
    held_out = [
        tuple(Dataset.from_arrays(x, np.arange(100), x, np.arange(100), split_seed=seed).validation.targets)
        for seed in (0, 0, 1)
    ]
    assert held_out[0] == held_out[1] != held_out[2]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": X[:0], "y_train": Y[:0]}, "the train split is empty: expected at least one example"),
        ({"x_test": XT[:0], "y_test": YT[:0]}, "the test split is empty"),
        ({"x_validation": XV[:0], "y_validation": YV[:0]}, "the validation split is empty"),
        ({"x_train": X[:1], "y_train": Y[:1], "y_test": 0 * YT}, "train has a single example: too few to hold"),
        ({"x_validation": XV}, "features or targets, not both: give x_validation and y_validation"),
        ({"y_validation": YV}, "features or targets, not both"),
        ({"x_train": X[:, 0, 0]}, r"train features have shape \(24,\): expected \[examples, features\]"),
        ({"x_train": np.float32(1)}, r"train features have shape \(\)"),
        ({"x_train": X[:, :0]}, r"train examples have shape \(0, 2\): expected at least one feature"),
        ({"x_test": XT.reshape(6, 6)}, r"test examples have shape \(6,\), those of train \(3, 2\): give every split"),
        ({"x_validation": XV[:, 1:], "y_validation": YV}, r"validation examples have shape \(2, 2\), those of train"),
        ({"x_train": [[1, 2], [3]]}, "train features are not an array .*: give every example the same shape"),
        ({"x_train": X.astype(object)}, "train features have dtype object: expected real numbers, so convert them"),
        ({"x_train": X.astype(complex)}, "train features have dtype complex128: expected real numbers"),
        ({"x_train": X.astype(str)}, "train features have dtype <U3: expected real numbers"),
        ({"x_train": X.astype("m8[s]")}, "train features have dtype timedelta64.s.: expected real numbers"),
        ({"x_train": [[None]]}, "train features have dtype object"),
        ({"x_train": np.where(X > 200, np.nan, X)}, r"train features hold nan at \(\d+, \d, \d\): expected finite"),
        ({"x_test": np.full((6, 3, 2), np.inf)}, r"test features hold inf at \(0, 0, 0\): expected finite"),
        ({"x_test": np.full((6, 3, 2), -1e39)}, "test features hold -1e.39 at .*: expected finite float32 numbers"),
        ({"y_train": Y[:23]}, r"train has 24 examples but targets of shape \(23,\): give each example one"),
        ({"y_test": YT[:, None][:5]}, r"test has 6 examples but targets of shape \(5, 1\)"),
        ({"y_test": 1}, r"test has 6 examples but targets of shape \(\)"),
        ({"y_train": np.zeros((0, 0))}, r"train has 24 examples but targets of shape \(0, 0\)"),
        ({"y_train": np.zeros((24, 0))}, r"train labels have shape \(24, 0\): expected \[N\] integers or"),
        ({"y_train": np.zeros((24, 2, 2))}, r"train labels have shape \(24, 2, 2\): expected \[N\] integers or"),
        ({"y_train": Y.astype(object)}, "train targets have dtype object"),
        ({"y_train": Y + 1j}, "train targets have dtype complex128"),
        ({"y_train": Y.astype(str)}, "train targets have dtype <U"),
        ({"y_test": [0, 1, 2, 0, 1, 3]}, "test labels go up to 3: expected 0 to 2, as in train .class_names can say"),
        ({"y_test": [0, 1, 2, 0, 1, -1]}, "test labels run from -1 to 2: number the classes 0, 1, 2"),
        ({"y_train": Y + 10**6}, "train labels run from 1000000 to 1000002: number the classes"),
        ({"y_train": Y.astype(np.uint64) + 2**63}, "train labels run from 9223372036854775808 to"),
        ({"y_train": Y + 0.25}, "train labels hold 0.25: expected integers, or .*regression"),
        ({"y_test": [0, 1, 2, 0, 1, np.nan]}, "test labels hold nan: expected integers"),
        ({"y_test": [0, 1, 2, 0, 1, np.inf]}, "test labels run from 0.0 to inf"),
        ({"y_train": np.ones((24, 3))}, r"train labels have shape \(24, 3\) and are not one-hot: expected a single 1"),
        ({"y_train": np.zeros((24, 3))}, "are not one-hot"),
        ({"y_train": np.full((24, 2), 0.5)}, "are not one-hot"),
        ({"y_train": np.tile([1, 1, -1], (24, 1))}, "are not one-hot"),
        ({"y_train": np.tile([1, 0, np.nan], (24, 1))}, "are not one-hot"),
        ({"y_train": np.eye(3)[Y], "y_test": np.eye(4)[YT]}, "classes is not clear .3 by the one-hot rows of"),
        ({"y_train": np.eye(2)[Y % 2]}, "test labels go up to 2: expected 0 to 1, by the one-hot rows of train"),
        ({"class_names": ["a", "b"]}, "train labels go up to 2: expected 0 to 1, by class_names"),
        ({"class_names": ["a", "b"], "y_train": np.eye(3)[Y]}, "not clear .2 by class_names, 3 by the one-hot rows"),
        ({"class_names": ["a", "b", "c"], "task": "binary"}, "not clear .3 by class_names, 2 by a binary task"),
        ({"task": "binary"}, "train labels go up to 2: expected 0 to 1, by a binary task"),
        ({"task": "regression", "y_train": np.where(Y == 1, np.nan, Y)}, r"train targets hold nan at \(1, 0\)"),
        ({"task": "regression", "y_test": np.full(6, np.inf)}, r"test targets hold inf at \(0, 0\)"),
        ({"task": "regression", "y_train": np.zeros((24, 1, 1))}, r"train targets have shape \(24, 1, 1\): expected"),
        ({"task": "regression", "y_train": np.zeros((24, 0))}, r"train targets have shape \(24, 0\): expected"),
        ({"task": "regression", "y_train": np.zeros((24, 2))}, "in a target differs .2 in train, 1 in test.: give"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, message):
    refuses(message, Dataset.from_arrays, **{"x_train": X, "y_train": Y, "x_test": XT, "y_test": YT, **arrays})


def test_an_unknown_task_is_refused():
    with pytest.raises(InputError, match="unknown task 'ranking': expected one of multiclass, binary, regression"):
        Dataset.from_arrays(X, Y, XT, YT, task="ranking")


def test_the_digest_follows_the_content():
    def digest(x=X, y=Y, **kwargs):
        return Dataset.from_arrays(x, y, XT, YT, x_validation=XV, y_validation=YV, **kwargs).digest

    changed = X.copy()
    changed[3, 1, 1] ^= 1
    assert digest() == digest(X.copy(), Y.copy(), name="another")
    others = [
        digest(changed),
        digest(y=(Y + 1) % 3),
        digest(X.astype(float)),
        digest(class_names=list("abcd")),
        digest(X[:23], Y[:23]),
    ]
    assert len({digest(), *others}) == 6


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("validation", [{}, {"x_validation": XV, "y_validation": YV}])
def test_npz(save, validation, tmp_path):
    arrays = {"x_train": X, "y_train": Y, "x_test": XT, "y_test": YT, **validation}
    save(tmp_path / "mine.npz", **arrays, unrelated=np.array([{}], dtype=object))  # what is not asked for stays unread
    found, expected = load_dataset(tmp_path / "mine.npz"), Dataset.from_arrays(**arrays)
    assert found.digest == expected.digest
    assert found.name == "mine"


MEDMNIST = {"x_train": "train_images", "y_train": "train_labels", "x_test": "test_images", "y_test": "test_labels"}


def test_npz_with_medmnists_names(tmp_path):
    def save(**changes):
        arrays = {MEDMNIST.get(key, key): value for key, value in GOOD.items()}
        arrays = {key: value[:, None] if key.endswith("labels") else value for key, value in arrays.items()}
        arrays["val_images"], arrays["val_labels"] = arrays.pop("x_validation"), arrays.pop("y_validation")[:, None]
        np.savez(tmp_path / "pathmnist.npz", **arrays | changes)
        return tmp_path / "pathmnist.npz"

    assert load_dataset(save()).digest == Dataset.from_arrays(**GOOD).digest
    colours = {
        f"{split}_images": np.zeros((n, 4, 5, 3), np.uint8)
        for split, n in (("train", 24), ("val", len(XV)), ("test", 6))
    }
    assert load_dataset(save(**colours)).image_shape == (4, 5, 3)
    several = {
        f"{split}_labels": np.zeros((n, 14), np.uint8) for split, n in (("train", 24), ("val", len(XV)), ("test", 6))
    }
    several["train_labels"][:, :2] = 1
    refuses(
        r"pathmnist.npz: train labels have shape \(24, 14\) .*multi-label.* are not taken",
        load_dataset,
        save(**several),
    )
    refuses("holds both train_images and x_train|both x_train and train_images", load_dataset, save(x_train=X))


def test_what_an_npz_file_holds_is_said(tmp_path):
    np.savez(tmp_path / "kmnist-train-imgs.npz", X)
    refuses(
        "imgs.npz: holds no x_train, y_train, x_test, y_test: expected .*, found arr_0$",
        load_dataset,
        tmp_path / "kmnist-train-imgs.npz",
    )
    np.savez(tmp_path / "many.npz", **{f"array\n{i}": X for i in range(20)})
    refuses("found array.*n0, .*n9, ...$", load_dataset, tmp_path / "many.npz")
    np.savez(tmp_path / "none.npz")
    refuses("found nothing", load_dataset, tmp_path / "none.npz")


@pytest.mark.parametrize(
    "names", [("X_train", "X_test", "x_val", "y_val"), ("x_train", "X_test", "X_valid", "y_valid")]
)
def test_other_usual_names_are_taken(names, tmp_path):
    train, test, x_validation, y_validation = names
    np.savez(
        tmp_path / "set.npz", **{train: X, "y_train": Y, test: XT, "y_test": YT, x_validation: XV, y_validation: YV}
    )
    assert load_dataset(tmp_path / "set.npz").digest == Dataset.from_arrays(**GOOD).digest


class Exploit:
    """A pickle that leaves a trace if anybody loads it."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return open, (self.trace, "w")


def test_pickled_objects_are_refused_unread(tmp_path):
    exploit, path, trace = Exploit(tmp_path / "trace"), tmp_path / "set.npz", tmp_path / "trace"
    np.savez(path, x_train=np.array([exploit], dtype=object), y_train=Y, x_test=XT, y_test=YT)
    refuses(
        "cannot be read .x_train holds pickled objects, which are not loaded.: expected plain arrays",
        load_dataset,
        path,
    )
    path.write_bytes(pickle.dumps(exploit))
    refuses("cannot be read .not a zip archive, or cut short.: expected plain arrays", load_dataset, path)
    assert not trace.exists()


def npz_bytes(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy_bytes(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


GOOD = {"x_train": X, "y_train": Y, "x_test": XT, "y_test": YT, "x_validation": XV, "y_validation": YV}
NPZ = npz_bytes(**GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "set.npz: cannot be read .not a zip archive, or cut short"),
        (npy_bytes(X), "set.npz: cannot be read .not a zip archive"),
        (NPZ[:-30], "set.npz: cannot be read .not a zip archive, or cut short"),
        (NPZ.replace(b"\x93NUMPY\1", b"\x93NUMPY\7"), "set.npz: cannot be read .*: expected plain arrays"),
        (NPZ.replace(b"(24, 3, 2)", b"(9**9,22) "), "set.npz: cannot be read .*: expected plain arrays"),
        (
            npz_bytes(x_train=X, y_train=Y),
            "set.npz: holds no x_test, y_test: expected x_train, y_train, x_test, y_test",
        ),
        (npz_bytes(**{**GOOD, "y_test": YT[:2]}), "set.npz: test has 6 examples but targets of shape .2,"),
        (npz_bytes(**{**GOOD, "x_test": XT * np.nan}), "set.npz: test features hold nan"),
    ],
)
def test_a_damaged_npz_is_refused(content, message, tmp_path):
    (tmp_path / "set.npz").write_bytes(content)
    refuses(message, load_dataset, tmp_path / "set.npz")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.dictionaries(st.integers(0, len(NPZ) - 1), st.integers(0, 255), min_size=1, max_size=4))
def test_a_mutated_npz_raises_nothing_but_data_error(edits, tmp_path):
    path = tmp_path / "set.npz"
    path.write_bytes(bytes(edits.get(index, byte) for index, byte in enumerate(NPZ)))
    message = ""
    try:
        load_dataset(path)
    except DataError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fashion",
            "unknown data set 'fashion': expected mnist, tfds:NAME, sklearn:NAME, or the path of an IDX directory",
        ),
        ("no/such/directory", "'no/such/directory': no such file or directory in /"),
        ("nul\0.npz", r"nul\\x00.npz': no such file or directory"),
        ("no\nsuch", r"unknown data set 'no\\nsuch'"),
        ("nul\0", r"unknown data set 'nul\\x00'"),
        ("x" * 5000, "cannot be looked up .*File name too long.*: expected the name or path"),
        ("~no-such-user/x", "cannot be looked up"),
        (__file__, "test_datasets.py: is a file: expected an .npz file or a directory of IDX files"),
        (f"{__file__}/set", "test_datasets.py/set': no such file or directory: expected the path"),
    ],
)
def test_an_unknown_data_set_is_refused(name, message):
    refuses(message, load_dataset, name)
