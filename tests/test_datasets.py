"""Data sets from the package, from arrays and from .npz: what comes in, and what is refused."""

import dataclasses
import io
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlp_jax.datasets
from mlp_jax import DataError, Dataset, InputError, Split, SweepWarning, load_dataset
from mlp_jax.datasets import read_idx
from mlp_jax.datasets.dataset import ImageForm

lacking_classes = pytest.mark.filterwarnings("ignore:.* no .*example:mlp_jax.SweepWarning")

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


@lacking_classes
@pytest.mark.parametrize("channels", [(), (2,)])
def test_image_form_of_dark_drawings_on_light_paper(channels):
    images = np.full((3, 9, 6, *channels), 5.0)
    images[0, 2:6, 1:3] = images[1, 3:5, 0:5] = images[2, 8, 2] = -3
    dataset = Dataset.from_arrays(images, [0, 1, 0], images, [0, 1, 0], x_validation=images, y_validation=[0, 1, 0])
    assert dataset.image_form == ImageForm((9, 6, *channels), box=4, paper=5, ink=-3)
    assert Dataset.from_arrays(np.eye(2), [0, 1], np.eye(2), [0, 1], hold_out="first").image_form is None


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
        (lambda x: (x // 4).tolist(), np.float32),
        (lambda x: x.astype(bool), np.float32),
        (lambda x: x.astype(np.int64) - 128, np.float32),
        (lambda x: x.astype(np.float16) / 255, np.float32),
        (lambda x: x.astype(">f4") / 255, np.float32),
        (lambda x: x.astype(np.float64) / 255, np.float64),
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
@lacking_classes
def test_outputs_and_class_names(y, kwargs, outputs, names):
    dataset = Dataset.from_arrays(X, y, XT, y[:6], **kwargs)
    assert (dataset.outputs, dataset.class_names) == (outputs, names)
    assert dataset.task == kwargs.get("task", "multiclass")
    assert dataset.test.targets.shape == ((6, outputs) if dataset.task == "regression" else (6,))


@lacking_classes  # one example a class
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


@lacking_classes
def test_the_held_out_examples_follow_from_the_seed():
    x = np.arange(100, dtype=np.float32)[:, None]
    held_out = [
        tuple(Dataset.from_arrays(x, np.arange(100), x, np.arange(100), split_seed=seed).validation.targets)
        for seed in (0, 0, 1)
    ]
    assert held_out[0] == held_out[1] != held_out[2]


@lacking_classes
@pytest.mark.parametrize("sizes", [(24, 24, 24), (600, 12, 40, 100), (5, 5), (7, 1, 30)])
def test_every_class_is_held_out_in_proportion(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x, count = np.arange(len(labels), dtype=np.float32)[:, None], max(1, round(len(labels) / 12))
    dataset = Dataset.from_arrays(x, labels, x, labels)
    held_out = np.bincount(dataset.validation.targets, minlength=len(sizes))
    assert held_out.sum() == count
    assert (abs(held_out - np.array(sizes) * count / len(labels)) < 1).all()
    assert np.bincount(dataset.train.targets).tolist() == (np.array(sizes) - held_out).tolist()


def test_what_is_held_out_of_a_regression_is_random():
    x = np.arange(1200, dtype=np.float32)[:, None]
    validation = Dataset.from_arrays(x, x[:, 0], x, x[:, 0], task="regression").validation
    assert len(validation) == 100
    assert 500 < validation.targets.mean() < 700


@pytest.mark.slow
def test_data_follow_from_no_setting_of_jax(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=X, y_train=Y, x_test=XT, y_test=YT)
    names = [str(tmp_path / "mine.npz"), "sklearn:iris"]
    script = "import sys, mlp_jax; print(*(mlp_jax.load_dataset(name).digest for name in sys.argv[1:]))"
    others = {"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_THREEFRY_PARTITIONABLE": "0", "JAX_ENABLE_X64": "1"}
    found = subprocess.run(
        [sys.executable, "-c", script, *names], env=os.environ | others, capture_output=True, text=True
    )
    assert found.stdout.split() == [load_dataset(name).digest for name in names], found.stderr


def test_arrays_are_read_without_starting_jax(tmp_path):
    """So that as many devices can still be made as a sweep of these data gains by."""
    np.savez(tmp_path / "mine.npz", x_train=X, y_train=Y, x_test=XT, y_test=YT)
    script = "import sys, jax, mlp_jax; mlp_jax.load_dataset(sys.argv[1]); jax.config.update('jax_num_cpu_devices', 2)"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "mine.npz")], check=True)


LETTERS = np.repeat(np.arange(5), 24)


@pytest.mark.parametrize(
    ("train", "test", "kwargs", "message"),
    [
        (LETTERS, LETTERS[:72], {}, r"test has no example of 2 of 5 classes \(3, 4\)$"),
        (LETTERS, LETTERS[24:], {"class_names": list("abcde")}, "test has no example of class a$"),
        (LETTERS[24:], LETTERS, {}, "train has no example of class 0; validation has no example of class 0$"),
        (
            LETTERS + 1,
            LETTERS + 1,
            {},
            "no split has an example of class 0: are they numbered 0, 1, 2, .* without a gap",
        ),
        (10 * LETTERS, 10 * LETTERS, {}, r"no split .* of 36 of 41 classes \(1, 2, 3, 4, 5, \.\.\.\)"),
        (LETTERS, LETTERS, {"class_names": list("abcdef")}, "no split has an example of class f$"),
        (LETTERS % 2, LETTERS * 0, {"task": "binary"}, "test has no example of class 1$"),
    ],
)
def test_absent_classes_are_warned_of(train, test, kwargs, message):
    with pytest.warns(SweepWarning, match=message) as said:
        Dataset.from_arrays(train[:, None] / 9, train, test[:, None] / 9, test, **kwargs)
    assert len(said) == 1


PIXELS = np.random.default_rng(1).integers(0, 256, (60, 8, 8)) * (
    np.random.default_rng(2).uniform(size=(60, 8, 8)) < 0.5
)
PIXELS[0, 0, 0] = PIXELS[50, 0, 0] = 255
TABLE = np.random.default_rng(3).normal(size=(60, 4)) * [1, 50, 1e6, 1e-3] + [0, 900, 1.7e9, 1e-3]
NORMAL = np.random.default_rng(4).normal(size=(200, 4))


def split_in_two(convert_train, convert_test, x=PIXELS):
    y = np.arange(len(x)) % 2
    most = len(x) * 4 // 5
    return Dataset.from_arrays(convert_train(x[:most]), y[:most], convert_test(x[most:]), y[most:])


def uint8(x):
    return x.astype(np.uint8)


def unit(x):
    return (x / 255).astype(np.float32)


def flat(convert):
    return lambda x: convert(x).reshape(len(x), -1)


def standardized(x):
    return (x / 255 - 0.25) / 0.3


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (np.float32, uint8),
        (uint8, np.float64),
        (uint8, np.int64),
        (standardized, uint8),
        (uint8, standardized),
        (np.float32, unit),
        (unit, np.float32),
        (flat(np.float32), flat(uint8)),
        (flat(unit), flat(np.float32)),
    ],
)
def test_scales_that_cannot_both_be_meant_are_refused(train, test):
    dtypes = [
        np.dtype(convert(PIXELS).dtype if convert(PIXELS).dtype != np.int64 else np.float32)
        for convert in (train, test)
    ]
    refuses(
        rf"features of train are {dtypes[0]} from .* to .*, those of test {dtypes[1]} from .* to .*: ",
        split_in_two,
        train,
        test,
    )


@pytest.mark.parametrize(
    ("train", "test", "x", "message"),
    [
        (np.int64, np.int64, PIXELS, r"train are float32 from 0 to 255, and used as they are: .*astype\(np.uint8\)"),
        (np.float32, np.float32, PIXELS, "from 0 to 255, and used as they are"),
        (flat(np.float64), flat(np.float64), PIXELS, "from 0 to 255, and used as they are"),
        (lambda x: x * 257, lambda x: x * 257, PIXELS, "from 0 to 65535, and used as they are: .*divide by 65535"),
        (
            lambda x: uint8(x // 16),
            lambda x: uint8(x // 16),
            PIXELS,
            "uint8 from 0 to 15, .* at most 0.059: .*as floats",
        ),
        (
            standardized,
            unit,
            PIXELS,
            "train are float64 from -0.8.*, those of test float32 from 0 to .*: if that is not",
        ),
        (lambda x: x / 127.5 - 1, unit, PIXELS, "train are float64 from -1 to 1, those of test"),
        (
            uint8,
            lambda x: uint8(x // 16),
            np.tile(PIXELS, (3, 1, 1)),
            "train are uint8 .*, those of test uint8 .* to 15,",
        ),
        (lambda x: x, lambda x: x * 1000, TABLE, "typically 1e.03 times as great: if that is not meant"),
        (lambda x: x, lambda x: x / 255, TABLE, "typically 2.6e.02 times as small"),
        (lambda x: x // 16, lambda x: x / 255, PIXELS, "train are .* to 15, those of test .* 1[0-9] times as small"),
        (lambda x: x, lambda x: 3 * x + 4, NORMAL, "one of them alone is standardized"),
        (lambda x: x / 10, lambda x: x, NORMAL, "one of them alone is standardized"),
    ],
)
def test_doubtful_scales_are_warned_of(train, test, x, message):
    with pytest.warns(SweepWarning, match=message) as said:
        split_in_two(train, test, x)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("train", "test", "x"),
    [
        (uint8, uint8, PIXELS),
        (unit, unit, PIXELS),
        (uint8, unit, PIXELS),
        (unit, uint8, PIXELS),
        (flat(uint8), flat(unit), PIXELS),
        (standardized, standardized, PIXELS),
        (unit, lambda x: unit(x) * 1.05, PIXELS),
        (unit, lambda x: unit(x) / 20, PIXELS),
        (lambda x: unit(x) - 0.02, unit, PIXELS),
        (unit, lambda x: unit(x[:1]).repeat(len(x), axis=0), PIXELS),
        (lambda x: x // 16, lambda x: x // 16, PIXELS),
        (lambda x: x, lambda x: x, TABLE),
        (np.float32, lambda x: 3 * x, TABLE),
        (lambda x: x, lambda x: x + 0.9, NORMAL),
        (lambda x: x, lambda x: np.c_[x[:, :2], 9 * x[:, 2:]], NORMAL),
        (lambda x: x, lambda x: 3 * x + 4, NORMAL[:70]),
        (lambda x: np.exp(4 * x[:, :1]), lambda x: np.exp(4 * x[:, :1]), TABLE),
        (lambda x: x[:, :1] * 0, lambda x: x[:, :1], TABLE),
        (lambda x: np.round(x), lambda x: np.round(x), TABLE),
    ],
)
def test_what_is_on_one_scale_passes_in_silence(train, test, x):
    split_in_two(train, test, x)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "digits"])
def test_scikit_learns_own_features_pass_in_silence(name):
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    task = "regression" if name == "diabetes" else None
    Dataset.from_arrays(x[::2], y[::2], x[1::2], y[1::2], task=task)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.ma.masked_less(X, 9)}, r"train features hold [\d,]+ masked values, .*filled"),
        ({"x_test": [np.ma.masked_less(each, 99) for each in XT]}, "test features hold .* masked"),
        ({"y_train": np.ma.masked_equal(Y, 0)}, r"train targets hold 8 masked values, [^(]*: leave those"),
        ({"class_names": list("aba")}, "class_names holds 'a' more than once"),
        ({"y_train": pd.Series(list("abc") * 8, dtype="string")}, "train targets have dtype object.*class_names"),
        ({"y_train": pd.Series(list("abc") * 8)}, "number the classes 0, 1, 2, .*class_names"),
        ({"y_train": pd.Series(list("abc") * 8, dtype="category")}, "number the classes 0, 1, 2, .*class_names"),
        ({"x_train": pd.DataFrame({"a": list("abc") * 8})}, "train features have dtype object.*convert them"),
        ({"y_train": pd.Series([0, 1, None] * 8, dtype="Int64")}, "train labels hold nan"),
    ],
)
def test_arrays_that_would_be_misread_are_refused(arrays, message):
    refuses(message, Dataset.from_arrays, **{"x_train": X, "y_train": Y, "x_test": XT, "y_test": YT, **arrays})


def test_masked_arrays_without_a_mask_are_arrays():
    dataset = Dataset.from_arrays(np.ma.array(X), np.ma.array(Y, mask=False), XT, YT)
    assert type(dataset.train.features) is np.ndarray


@pytest.mark.parametrize(
    ("dtype", "expected"), [("Float64", "float64"), ("Int64", "float32"), ("UInt8", "uint8"), ("boolean", "float32")]
)
def test_nullable_data_frames_are_arrays(dtype, expected):
    values = np.random.default_rng(0).integers(0, 2, (24, 3)) * (1 if dtype == "boolean" else 100)
    frame, labels = pd.DataFrame(values).astype(dtype), pd.Series(Y).astype("Int64")
    dataset = Dataset.from_arrays(frame, labels, frame, labels, x_validation=frame, y_validation=labels)
    assert dataset.train.features.dtype == expected
    np.testing.assert_array_equal(dataset.train.features, values)
    np.testing.assert_array_equal(dataset.train.targets, Y)
    mixed = pd.DataFrame({"a": frame[0], "b": values[:, 1] / 2, "c": values[:, 2] > 0})
    mixed = Dataset.from_arrays(mixed, labels, mixed, labels, x_validation=mixed, y_validation=labels)
    np.testing.assert_array_equal(mixed.train.features, np.stack([values[:, 0], values[:, 1] / 2, values[:, 2] > 0], 1))


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 6, 5), (3, 6, 5), (3, 3, 5), (4, 6, 5), (1, 1, 5)])
def test_channels_that_come_first_are_put_last(channels, height, width):
    x = np.random.default_rng(0).integers(0, 256, (24, height, width, channels), dtype=np.uint8)
    last = Dataset.from_arrays(x, Y, x, Y) if channels != 4 else None
    with pytest.warns(
        SweepWarning, match=rf"shape \({channels}, {height}, {width}\) .* channels? first.*channels last"
    ):
        first = Dataset.from_arrays(np.moveaxis(x, 3, 1), Y, np.moveaxis(x, 3, 1), Y)
    assert first.image_shape == (height, width, channels)
    np.testing.assert_array_equal(first.test.features, x.reshape(24, -1))
    assert last is None or first.digest == last.digest


@pytest.mark.parametrize("shape", [(3, 3, 3), (1, 5, 1), (3, 5, 1), (6, 5, 3), (2, 6, 4), (10, 6, 5), (6, 5)])
def test_other_shapes_stay_as_they_are(shape):
    x = np.random.default_rng(0).integers(0, 256, (24, *shape), dtype=np.uint8)
    dataset = Dataset.from_arrays(x, Y, x, Y)
    assert dataset.image_shape == shape
    np.testing.assert_array_equal(dataset.test.features, x.reshape(24, -1))


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        (X, Y, r"features have shape \(24, 3, 2\): expected \[N, D\], so flatten each example"),
        (X[:, 0], Y[:20], r"24 examples but targets of shape \(20,\)"),
        (X[:, 0], np.eye(3, dtype=int)[Y], r"integers of shape \(24, 3\): expected labels \[N\] .*argmax"),
        (X[:, 0], Y[:, None], r"expected labels \[N\] .y.reshape\(-1\)"),
        (X[:, 0], Y / 2, r"float64 of shape \(24,\): expected values \[N, K\]"),
        (X[:, 0], Y - 1, "targets run from -1 to 1: number the classes"),
        (X[:, 0], Y + 10**6, "targets run from 1000000"),
        (X[:, 0] * np.nan, Y, r"features hold nan at \(0, 0\): expected finite"),
        (X[:, 0], np.full((24, 1), np.inf), "targets hold inf at"),
        (X[:, 0].astype(str), Y, "features have dtype <U3"),
        (X[:0, 0], Y[:0], "the split is empty"),
        (X[:, 0, :0], Y, r"features have shape \(24, 0\)"),
        (np.ma.masked_less(X[:, 0], 99), Y, "features hold .* masked values"),
    ],
)
def test_a_split_is_sound_however_it_is_made(features, targets, message):
    refuses(message, Split, features, targets)


def test_a_split_has_types_that_the_package_knows():
    split = Split((X[:, 0] > 9).tolist(), Y.astype(np.uint8))
    assert (split.features.dtype, split.targets.dtype) == (np.float32, np.int32)
    assert Split(X[:, 0] / 3, Y[:, None] / 3).targets.dtype == np.float64


def test_a_data_set_is_sound_however_it_is_made():
    dataset = Dataset.from_arrays(X, Y, XT, YT, x_validation=XV, y_validation=YV)
    train = dataset.train
    for changes, message in (
        ({"train": Split(train.features, train.targets + 1)}, "train: labels go up to 3: .* expects 0 to 2"),
        ({"test": Split(train.features, train.targets[:, None] / 2)}, "test: targets are values of shape"),
        ({"validation": Split(train.features[:, :2], train.targets)}, r"validation: examples have shape \(2,\)"),
        (
            {"test": Split(train.features.astype(float), train.targets)},
            "features of train are uint8 .* of test float64",
        ),
        ({"class_names": ("a", "a", "b")}, "class_names holds 'a' more than once"),
        ({"class_names": ("a", "b")}, "class_names has 2 names: expected 3"),
        ({"image_shape": (2, 2)}, r"image_shape is \(2, 2\)"),
    ):
        refuses(message, dataclasses.replace, dataset, **changes)


def test_data_sets_and_splits_are_printed_in_a_line(mnist):
    assert repr(mnist) == (
        "Dataset(MNIST: multiclass, train 55,000, validation 5,000, test 10,000, features 28 × 28 uint8, "
        "10 classes (0, 1, 2, 3, 4, ...))"
    )
    assert repr(mnist.test) == "Split(10,000 × 784 uint8, targets int32)"
    assert "regression, " in repr(load_dataset("sklearn:diabetes"))


def test_mnist_is_the_packages_and_says_so_where_it_hides_another(mnist, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_dataset("mnist").digest == mnist.digest
    np.savez(tmp_path / "mine.npz", x_train=X, y_train=Y, x_test=XT, y_test=YT)
    (tmp_path / "mnist").mkdir()
    with pytest.warns(SweepWarning, match=r"from the package, .*: \./mnist names that"):
        assert load_dataset("mnist").digest == mnist.digest
    for local in ("./mnist", Path("mnist")):
        refuses("mnist: holds no data: expected train.csv, IDX files", load_dataset, local)


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


@lacking_classes
def test_the_digest_follows_the_content():
    def digest(x=X, y=Y, **kwargs):
        return Dataset.from_arrays(x, y, XT, YT, x_validation=XV, y_validation=YV, **kwargs).digest

    changed = X.copy()
    changed[3, 1, 1] ^= 1
    assert digest() == digest(X.copy(), Y.copy(), name="another")
    others = [
        digest(changed),
        digest(y=(Y + 1) % 3),
        digest(X / 255),
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
            "unknown data set 'fashion': expected mnist, tfds:NAME, sklearn:NAME, hf:NAME, a CSV file or a directory",
        ),
        ("no/such/directory", "'no/such/directory': no such file or directory in /"),
        ("nul\0.npz", r"nul\\x00.npz': no such file or directory"),
        ("no\nsuch", r"unknown data set 'no\\nsuch'"),
        ("nul\0", r"unknown data set 'nul\\x00'"),
        ("x" * 5000, "cannot be looked up .*File name too long.*: expected the name or path"),
        ("~no-such-user/x", "cannot be looked up"),
        (__file__, r"test_datasets.py: is a file: expected \.csv, \.tsv or \.npz, or a directory of IDX files"),
        (f"{__file__}/set", "test_datasets.py/set': no such file or directory: expected the path"),
    ],
)
def test_an_unknown_data_set_is_refused(name, message):
    refuses(message, load_dataset, name)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_values_that_float32_cannot_tell_apart_are_warned_of(dtype):
    seconds = np.arange(300)
    x = np.stack([seconds, 1_700_000_000 + seconds], axis=1).astype(dtype)
    with pytest.warns(SweepWarning, match=r"column 1 of train features \(300 different values become 3\)") as said:
        Dataset.from_arrays(x, seconds % 2, x, seconds % 2)
    assert len(said) == 1
    with pytest.warns(SweepWarning, match=r"column 0 of train targets \(300 different"):
        Dataset.from_arrays(x[:, :1], x[:, 1], x[:, :1], x[:, 1], task="regression")
