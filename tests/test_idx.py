"""The IDX reader: what is written reads back equal, and nothing else than DataError comes of damage."""

import contextlib
import gzip
import struct
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import mlp_jax.datasets
from mlp_jax import DataError, Dataset, SweepWarning, load_dataset
from mlp_jax.datasets.idx import find_idx, load_idx, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def idx_bytes(array):
    """The array as the format's description has it, written without the reader's help."""
    array = np.asarray(array)
    header = struct.pack(f">2xBB{array.ndim}I", CODES[array.dtype.str[1:]], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_directory(directory, *, classes=3, train=24, test=6, shape=(3, 2), compress=True, names=None):
    """An MNIST-style directory of random images; returns the arrays by file name."""
    rng = np.random.default_rng(0)
    names = names or [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ]
    arrays = []
    for count in (train, test):
        arrays.append(rng.integers(0, 256, (count, *shape), dtype=np.uint8))
        arrays.append((np.arange(count) % classes).astype(np.uint8))
    directory.mkdir(exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        content = idx_bytes(array)
        (directory / (name + ".gz" * compress)).write_bytes(gzip.compress(content) if compress else content)
    return dict(zip(names, arrays, strict=True))


def refuses(message, call, *args, **kwargs):
    """The call raises DataError with that message, in one line."""
    with pytest.raises(DataError, match=message) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)


@QUICK
@given(
    array=st.sampled_from(sorted(CODES)).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    ),
    compress=st.booleans(),
)
def test_any_array_reads_back_equal(array, compress, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx_bytes(array)) if compress else idx_bytes(array))
    found = read_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)


@settings(QUICK, max_examples=200)
@given(
    content=st.binary(max_size=64), start=st.sampled_from([b"", b"\0\0\x08\x01", b"\0\0\x08\x03", b"\x1f\x8b\x08\0"])
)
def test_arbitrary_bytes_raise_nothing_but_data_error(content, start, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(start + content)
    reads_or_refuses(read_idx, path)


def mutations(content):
    """The content with bytes changed, a stretch replaced by others, or cut short."""
    position = st.integers(0, len(content) - 1)
    return st.one_of(
        st.lists(st.tuples(position, st.integers(0, 255)), min_size=1, max_size=3).map(
            lambda edits: bytes(dict(edits).get(index, byte) for index, byte in enumerate(content))
        ),
        st.tuples(position, st.integers(0, 8), st.binary(max_size=8)).map(
            lambda edit: content[: edit[0]] + edit[2] + content[edit[0] + edit[1] :]
        ),
        position.map(lambda length: content[:length]),
    )


def reads_or_refuses(call, *args):
    """What the call returns, or None if it raises DataError, in one line."""
    try:
        return call(*args)
    except DataError as error:
        message = str(error)
    assert "\n" not in message
    return None


@settings(QUICK, max_examples=300)
@given(content=st.sampled_from([idx_bytes(IMAGES), gzip.compress(idx_bytes(IMAGES))]).flatmap(mutations))
def test_mutated_files_raise_nothing_but_data_error(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    found = reads_or_refuses(read_idx, path)
    assert found is None or found.nbytes < 1000


@settings(QUICK, max_examples=150)
@given(data=st.data())
def test_mutated_directories_raise_nothing_but_data_error(data, tmp_path):
    arrays = write_directory(tmp_path / "set", compress=False)
    name = data.draw(st.sampled_from(sorted(arrays)))
    (tmp_path / "set" / name).write_bytes(data.draw(mutations(idx_bytes(arrays[name]))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)  # data may still be read, and be odd
        reads_or_refuses(load_dataset, str(tmp_path / "set"))


PLAIN, SQUEEZED = idx_bytes(IMAGES), gzip.compress(idx_bytes(IMAGES), mtime=0)  # the same tests in each process
HUGE = b"\0\0\x08\x03" + b"\xff" * 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .No such file or directory.: expected an IDX file"),
        (b"", "starts with nothing, which is no IDX magic number: expected 00 00"),
        (b"\0\0\x08", "starts with 00 00 08, which is no IDX magic number"),
        (b"\0\1\x08\x03", "starts with 00 01 08 03, which is no IDX magic number"),
        (b"\0\0\x07\x03", "starts with 00 00 07 03, which is no IDX magic number"),
        (b"<!DOCTYPE html>", "starts with 3c 21 44 4f, which is no IDX magic number"),
        (b"\0\0\x08\0\5", "announces 0 dimensions, expected 1 to 32"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\5", "announces 255 dimensions, expected 1 to 32"),
        (PLAIN[:9], "ends inside its header of 16 bytes: truncated"),
        (PLAIN[:-1], r"announces 2 × 3 × 4 values \(24 bytes\) but 23 bytes follow: truncated"),
        (PLAIN[:16], "2 × 3 × 4 values .24 bytes., more than the file can hold: truncated"),
        (PLAIN + b"\0", r"announces 2 × 3 × 4 values \(24 bytes\) but more bytes follow: damaged"),
        (HUGE, "more than the file can hold: truncated or damaged"),
        (b"\0\0\x08\x04" + b"\0" * 4 + b"\xff" * 12, "announces 0 × 4294967295 .* more than the file can hold"),
        (gzip.compress(HUGE, mtime=0), "more than the file can hold: truncated or damaged"),
        (gzip.compress(PLAIN[:-1], mtime=0), "but 23 bytes follow: truncated"),
        (gzip.compress(PLAIN + b"\0", mtime=0), "but more bytes follow: damaged"),
        (SQUEEZED[:-1], "damaged gzip data .*: fetch the file again"),
        (SQUEEZED[:30], "damaged gzip data"),
        (SQUEEZED[:-8] + bytes(8), "damaged gzip data .CRC check failed"),
        (SQUEEZED + b"more", "damaged gzip data"),
        (b"\x1f\x8b\x08\0" + bytes(6) + b"\xff" * 20, "damaged gzip data"),
    ],
)
def test_a_damaged_file_is_refused(content, message, tmp_path):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    refuses(message, read_idx, path)
    refuses("file: ", read_idx, path)  # it says which


def test_another_file_than_asked_for_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(PLAIN)
    refuses("announces 3 dimensions, expected 1: is it the right file", read_idx, path, dimensions=1)
    refuses("SHA-256 is [0-9a-f]{64}, expected 00: .* put the original back", read_idx, path, sha256="00")
    refuses("cannot be read .Is a directory", read_idx, tmp_path)
    np.testing.assert_array_equal(read_idx(str(path), dimensions=3), IMAGES)


def test_a_gzip_bomb_is_refused_unexpanded(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(PLAIN) + 64 * gzip.compress(bytes(1 << 24), 1))  # 1 GiB after the 40 bytes announced
    tracemalloc.start()
    try:
        refuses("but more bytes follow", read_idx, path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "classes", "compress", "names"),
    [
        ((3, 2), 3, True, "train-{}s-idx{}-ubyte t10k-{}s-idx{}-ubyte"),
        ((5, 4), 2, False, "train-{}s-idx{}-ubyte test-{}s-idx{}-ubyte"),
        ((2, 2, 3), 7, False, "train-{}s.idx{}-ubyte t10k-{}s.idx{}-ubyte"),
        ((3, 3), 6, True, "kannada-train-{}s-idx{}-ubyte kannada-test-{}s-idx{}-ubyte"),
    ],
)
def test_a_directory_is_read(shape, classes, compress, names, tmp_path):
    names = [name.format(*kind) for name in names.split() for kind in (("image", 3), ("label", 1))]
    files = write_directory(tmp_path / "set", shape=shape, classes=classes, compress=compress, names=names)
    arrays = [files[name] for name in names]
    (tmp_path / "set" / "readme.txt").write_text("not looked at")
    (tmp_path / "set" / "train-images-idx3-ubyte.d").mkdir()
    dataset = load_dataset(tmp_path / "set")
    assert (dataset.name, dataset.task, dataset.outputs, dataset.image_shape) == ("set", "multiclass", classes, shape)
    assert len(dataset.validation) == 2  # of 24
    images = np.concatenate([dataset.validation.features, dataset.train.features])
    labels = np.concatenate([dataset.validation.targets, dataset.train.targets])
    found = sorted((image.tolist(), label) for image, label in zip(images, labels, strict=True))
    assert found == sorted((image.ravel().tolist(), label) for image, label in zip(*arrays[:2], strict=True))
    np.testing.assert_array_equal(dataset.test.features, arrays[2].reshape(6, -1))
    np.testing.assert_array_equal(dataset.test.targets, arrays[3])
    assert images.dtype == np.uint8
    assert dataset.test.targets.dtype == np.int32


def test_a_plain_file_goes_before_its_compressed_copy(tmp_path):
    arrays = write_directory(tmp_path, compress=False)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8b damaged")
    (tmp_path / "train-images.idx3-ubyte").mkdir()  # as one well-known archive unpacks
    np.testing.assert_array_equal(load_dataset(tmp_path).test.targets, arrays["t10k-labels-idx1-ubyte"])


def test_sorted_files_are_held_out_from_every_class(tmp_path):
    write_directory(tmp_path, train=120, classes=5, compress=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.repeat(np.arange(5, dtype=np.uint8), 24)))
    dataset = load_dataset(tmp_path)
    assert np.bincount(dataset.validation.targets).tolist() == [2] * 5
    assert np.bincount(dataset.train.targets).tolist() == [22] * 5
    assert load_dataset(tmp_path).digest == dataset.digest


def test_mnists_own_files_keep_the_articles_split_wherever_they_are(tmp_path):
    package, compressed, plain = load_dataset("mnist"), tmp_path / "compressed", tmp_path / "plain"
    compressed.mkdir()
    plain.mkdir()
    for path in (Path(mlp_jax.datasets.__file__).parent / "mnist").glob("*.gz"):
        content = gzip.decompress(path.read_bytes())
        (compressed / path.name).write_bytes(gzip.compress(content, 1))  # other bytes, the same content
        (plain / path.stem).write_bytes(content)
    for directory in (compressed, plain):
        assert load_dataset(directory).digest == package.digest
    images, labels = (read_idx(plain / f"train-{name}-ubyte") for name in ("images-idx3", "labels-idx1"))
    test = {"x_test": images[:100], "y_test": labels[:100]}
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels.astype(np.int64), **test)
    assert np.array_equal(load_dataset(tmp_path / "mnist.npz").validation.features, package.validation.features)
    (plain / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels[::-1]))  # another set
    assert not np.array_equal(load_dataset(plain).validation.features, package.validation.features)


@pytest.mark.filterwarnings("ignore:.*example of:mlp_jax.SweepWarning")
def test_a_label_that_is_there_once_stays_in_train(tmp_path):
    write_directory(tmp_path, compress=False, classes=1)
    labels = np.zeros(24, np.uint8)
    labels[0] = 4
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    dataset = load_dataset(tmp_path)
    assert dataset.outputs == 5
    assert 4 in dataset.train.targets


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t10k-labels-idx1-ubyte", None, "no test labels file: expected t10k-labels-idx1-ubyte or .*gz"),
        ("train-images-idx3-ubyte", None, "no train images file: expected train-images-idx3-ubyte or .*gz"),
        ("test-labels-idx1-ubyte", np.zeros(6, np.uint8), "several data sets .t10k-.*, test-.* or move the others out"),
        ("old-train-labels-idx1-ubyte", np.zeros(24, np.uint8), "holds several data sets .t10k-.*, old-train"),
        ("train-labels.idx1-ubyte", np.zeros(24, np.uint8), "belongs to another data set than train-labels-idx1"),
        ("train-images-idx3-ubyte", np.zeros(24, np.uint8), "announces 1 dimension, expected images .3 dimensions"),
        ("train-labels-idx1-ubyte", np.zeros((24, 3), np.uint8), "announces 2 dimensions, expected 1"),
        ("train-labels-idx1-ubyte", np.zeros(23, np.uint8), "holds 24 images but train-labels-idx1-ubyte 23 labels"),
        ("t10k-images-idx3-ubyte", np.zeros((5, 3, 2), np.uint8), "holds 5 images but t10k-labels-idx1-ubyte 6 labels"),
        ("t10k-images-idx3-ubyte", np.zeros((6, 2, 3), np.uint8), r"test examples have shape \(2, 3\), those of train"),
        ("t10k-labels-idx1-ubyte", np.full(6, 3, np.uint8), "test labels go up to 3: expected 0 to 2"),
        ("train-labels-idx1-ubyte", np.full(24, -1, np.int8), "train labels run from -1 to -1: number the classes"),
        ("train-labels-idx1-ubyte", np.full(24, 2**31 - 1, np.int32), "train labels run from 2147483647 to"),
        ("train-labels-idx1-ubyte", np.full(24, 0.5, np.float32), "train labels hold 0.5: expected integers"),
        ("train-images-idx3-ubyte", np.full((24, 3, 2), np.nan, np.float32), r"train features hold nan at \(0, 0, 0\)"),
    ],
)
def test_a_wrong_directory_is_refused(name, content, message, tmp_path):
    write_directory(tmp_path, compress=False)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(idx_bytes(content))
    refuses(message, load_dataset, tmp_path)
    refuses(str(tmp_path), load_dataset, tmp_path)


def test_files_of_two_data_sets_are_not_mixed(tmp_path):
    write_directory(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").rename(tmp_path / "letters-t10k-labels-idx1-ubyte.gz")
    refuses("several data sets .t10k-images-idx3-ubyte.gz, letters-t10k-labels", load_dataset, tmp_path)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [(0, 6, "the train split is empty"), (24, 0, "the test split is empty"), (1, 6, "train has a single example")],
)
def test_an_empty_split_is_refused(train, test, message, tmp_path):
    write_directory(tmp_path, train=train, test=test, classes=1)
    refuses(message, load_dataset, tmp_path)


def test_checksums_cover_the_files_that_are_read(tmp_path):
    write_directory(tmp_path)
    files = {path.name: "00" for path in tmp_path.iterdir()}
    refuses("SHA-256 is", load_idx, find_idx(tmp_path, files), name="set", sha256=files)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(6, np.uint8)))
    del files["t10k-labels-idx1-ubyte.gz"]  # an unchecked stand-in is not taken
    refuses("no test labels file", find_idx, tmp_path, files)


def test_what_macos_puts_beside_a_file_is_no_data(tmp_path):
    arrays = write_directory(tmp_path)
    for path in list(tmp_path.iterdir()):
        (tmp_path / f"._{path.name}").write_bytes(b"\0\5\x16\7" + bytes(60))  # AppleDouble
    (tmp_path / ".DS_Store").write_bytes(bytes(8))
    np.testing.assert_array_equal(load_dataset(tmp_path).test.targets, arrays["t10k-labels-idx1-ubyte"])


@pytest.mark.parametrize("shape", [(3, 8, 6), (1, 8, 6), (8, 6, 3)])
def test_images_with_channels_are_taken_as_arrays_are(shape, tmp_path):
    names = [
        name.format(*kind)
        for name in ("train-{}-idx{}-ubyte", "t10k-{}-idx{}-ubyte")
        for kind in (("images", 4), ("labels", 1))
    ]
    files = write_directory(tmp_path, shape=shape, names=names)
    first = shape[2] == 6
    with pytest.warns(SweepWarning, match="channels? first") if first else contextlib.nullcontext():
        found, same = load_dataset(tmp_path), Dataset.from_arrays(*files.values())
    assert found.image_shape == ((8, 6, shape[0]) if first else shape)
    assert found.digest == same.digest


KINDS = {"ubyte": "u1", "byte": "i1", "short": "i2", "int": "i4", "float": "f4", "double": "f8"}


@pytest.mark.parametrize("images", KINDS)
@pytest.mark.parametrize("labels", KINDS)
def test_files_of_every_element_type_are_a_data_set(images, labels, tmp_path):
    x = np.random.default_rng(0).integers(0, 120, (24, 3, 2))
    y = np.arange(24) % 3
    for part in ("train", "t10k"):
        for what, values, kind, rank in (("images", x, images, 3), ("labels", y, labels, 1)):
            content = idx_bytes(values.astype(KINDS[kind]))
            (tmp_path / f"{part}-{what}-idx{rank}-{kind}").write_bytes(content)
    dataset = load_dataset(tmp_path)
    typed = x.astype(KINDS[images])
    assert dataset.digest == Dataset.from_arrays(typed, y, typed, y).digest
    assert (dataset.image_shape, dataset.outputs) == ((3, 2), 3)
    assert load_dataset(tmp_path / f"train-images-idx3-{images}").digest == dataset.digest


@pytest.mark.parametrize("shape", [(24,), (24, 1), (24, 2)])
def test_labels_that_are_not_whole_are_the_values_of_a_regression(shape, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 5)), rng.normal(size=shape)
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx2-double").write_bytes(idx_bytes(x))
        (tmp_path / f"{part}-labels-idx{y.ndim}-double").write_bytes(idx_bytes(y))
    (tmp_path / "classes.txt").write_text("a\nb\n")  # of something else
    dataset = load_dataset(tmp_path)
    assert dataset.digest == Dataset.from_arrays(x, y, x, y, task="regression").digest
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(24, np.uint8)))
    (tmp_path / f"t10k-labels-idx{y.ndim}-double").unlink()
    refuses("expected", load_dataset, tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    (tmp_path / f"t10k-labels-idx{y.ndim}-double").write_bytes(idx_bytes(np.full(shape, np.nan)))
    refuses("test targets hold nan", load_dataset, tmp_path)
