"""Folders of images by class: split or not, grey or colour; files that cannot be used are refused by name."""

import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

import mlp_jax.datasets.rasters
from mlp_jax import DataError, Dataset, SweepWarning, cli, load_dataset
from mlp_jax.datasets.carving import test_of as drawn_for_test

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (36, 5, 4), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (36, 5, 4, 3), dtype=np.uint8)
LABELS = np.repeat(np.arange(3), 12)
NAMES = ("ant", "bee", "cat")


def write(folder, images=IMAGES, labels=LABELS, names=NAMES, suffix=".png"):
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / names[label] / f"{number:03}{suffix}")
    return folder


def refuses(message, place):
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("images", [IMAGES, COLOURS])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".TIFF"])
def test_one_folder_for_each_class(images, suffix, tmp_path):
    dataset = load_dataset(write(tmp_path / "set", images, suffix=suffix))
    test = drawn_for_test(36, LABELS, seed=0)
    expected = Dataset.from_arrays(images[~test], LABELS[~test], images[test], LABELS[test])
    assert dataset.digest == expected.digest
    assert (dataset.name, dataset.class_names, dataset.image_shape) == ("set", NAMES, images.shape[1:])
    assert dataset.train.features.dtype == np.uint8


@pytest.mark.parametrize("validation", [None, "validation", "val", "Valid"])
def test_folders_for_each_split(validation, tmp_path):
    parts = {"train": slice(0, 36, 3), "test": slice(1, 36, 3)} | ({validation: slice(2, 36, 3)} if validation else {})
    for split, part in parts.items():
        write(tmp_path / split, IMAGES[part], LABELS[part])
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "train" / "ant" / ".hidden.png").write_bytes(b"\0")
    held = {"x_validation": IMAGES[2::3], "y_validation": LABELS[2::3]} if validation else {}
    expected = Dataset.from_arrays(IMAGES[::3], LABELS[::3], IMAGES[1::3], LABELS[1::3], **held)
    assert load_dataset(tmp_path).digest == expected.digest


def test_the_same_images_as_arrays_and_as_files_are_the_same(tmp_path):
    write(tmp_path / "set" / "train")
    write(tmp_path / "set" / "test", IMAGES[::3], LABELS[::3])
    np.savez(tmp_path / "set.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[::3], y_test=LABELS[::3])
    assert load_dataset(tmp_path / "set").digest == load_dataset(tmp_path / "set.npz").digest


def test_numbers_are_ordered_as_numbers(tmp_path):
    dataset = load_dataset(write(tmp_path, names=("10", "9", "1")))
    assert dataset.class_names == ("1", "9", "10")
    first = load_dataset(write(tmp_path / "b", names=("10", "9", "x")))
    assert first.class_names == ("10", "9", "x")


def test_other_modes(tmp_path):
    grey = {"one": IMAGES[0] > 99, "palette": IMAGES[0], "opaque": IMAGES[0]}
    write(tmp_path / "set")
    ant = tmp_path / "set" / "ant"
    Image.fromarray(grey["one"]).save(ant / "000.png")  # of one bit
    palette = Image.fromarray(IMAGES[1])
    palette.convert("P").save(ant / "001.png")
    Image.fromarray(IMAGES[2]).convert("LA").save(ant / "002.png")  # opaque everywhere
    dataset = load_dataset(tmp_path / "set")
    assert dataset.image_shape == (5, 4)
    rows = {row.tobytes() for split in dataset.splits.values() for row in split.features}
    assert {(255 * grey["one"]).astype(np.uint8).tobytes(), IMAGES[1].tobytes(), IMAGES[2].tobytes()} <= rows
    Image.fromarray(COLOURS[0]).save(ant / "000.png")
    assert load_dataset(tmp_path / "set").image_shape == (5, 4, 3)  # where one is in colour, all are


def test_sixteen_bits(tmp_path):
    deep = RNG.integers(0, 65536, (36, 5, 4), dtype=np.uint16)
    dataset = load_dataset(write(tmp_path / "set", deep))
    assert dataset.train.features.dtype == np.float32
    assert 0 <= dataset.train.features.min() < 0.01 < 0.99 < dataset.train.features.max() <= 1
    Image.fromarray(IMAGES[0]).save(tmp_path / "set" / "cat" / "040.png")
    refuses("040.png has 8 bits a channel, .*000.png 16: expected the same", tmp_path / "set")


def test_an_image_of_another_size_is_named(tmp_path):
    write(tmp_path / "set")
    Image.fromarray(IMAGES[0].T).save(tmp_path / "set" / "bee" / "odd.png")
    refuses(r"bee/odd.png has 4 × 5 pixels, and 36 of 37 images have 5 × 4: expected one size", tmp_path / "set")


def test_a_camera_that_was_turned(tmp_path):
    write(tmp_path / "set", suffix=".jpg")
    turned = Image.fromarray(np.rot90(IMAGES[0]).copy())
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "set" / "ant" / "040.jpg", exif=exif)
    assert load_dataset(tmp_path / "set").image_shape == (5, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bee/bad.png is no image that can be read: mend it, or take it out"),
        (b"not an image", "bee/bad.png is no image that can be read"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "bee/bad.png (is no image|cannot be read)"),
        ("cut", "bee/bad.png cannot be read"),
        ("transparent", "bee/bad.png is transparent in places: expected opaque pixels"),
        ("two", "bee/bad.png holds 2 pictures: expected one"),
        ("I", "bee/bad.png has pixels of Pillow's mode (I|F)"),
    ],
)
def test_a_bad_file_is_refused_by_name(content, message, tmp_path):
    write(tmp_path / "set")
    bad = tmp_path / "set" / "bee" / "bad.png"
    if content == "cut":
        whole = (tmp_path / "set" / "bee" / "012.png").read_bytes()
        bad.write_bytes(whole[: len(whole) // 2])
    elif content == "transparent":
        Image.fromarray(np.dstack([COLOURS[0], IMAGES[0]])).save(bad)
    elif content == "two":
        Image.fromarray(IMAGES[0]).save(bad, format="TIFF", save_all=True, append_images=[Image.fromarray(IMAGES[1])])
    elif content == "I":
        Image.fromarray(IMAGES[0].astype(np.int32)).save(bad, format="TIFF")
    else:
        bad.write_bytes(content)
    refuses(message, tmp_path / "set")


def test_folders_that_are_none(tmp_path):
    refuses("holds no data: expected train.csv, IDX files named as MNIST's are, or images in a folder", tmp_path)
    (tmp_path / "ant").mkdir()
    refuses("holds no data", tmp_path)
    write(tmp_path, IMAGES[:9], LABELS[:9])
    refuses("has a folder for class ant alone: expected a folder for each of at least two classes", tmp_path)
    write(tmp_path / "a" / "train")
    (tmp_path / "a" / "test" / "ant").mkdir(parents=True)
    refuses("holds no data for test", tmp_path / "a")
    (tmp_path / "a" / "extra").mkdir()
    refuses("holds extra beside train: expected train, test and validation alone", tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "extra")
    write(tmp_path / "a" / "training")
    refuses("holds both train and training", tmp_path / "a")
    write(tmp_path / "b", IMAGES[:1], [0])
    (tmp_path / "b" / "bee").mkdir()
    refuses("train has 1 image: too few to hold validation and test out", tmp_path / "b")
    write(tmp_path / "c")
    (tmp_path / "c" / "ant" / "more").mkdir()
    refuses("ant/more is a folder: expected images alone", tmp_path / "c")


def test_what_is_doubtful_is_warned_of(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test", IMAGES[:24], LABELS[:24])
    (tmp_path / "train" / "README.txt").write_text("text")
    (tmp_path / "train" / "bee" / "notes.txt").write_text("text")
    (tmp_path / "train" / "dog").mkdir()
    with pytest.warns(SweepWarning) as said:
        dataset = load_dataset(tmp_path)
    told = " ".join(str(each.message) for each in said)
    assert "2 files are no images, and are left out" in told
    assert "notes.txt" in told
    assert "no split has an example of class dog; test has no example of class cat" in told
    assert dataset.class_names == (*NAMES, "dog")


def test_more_than_memory_is_refused(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(mlp_jax.datasets.rasters, "machine_memory", lambda: 100)
    refuses("more than this machine's memory of 100 bytes", tmp_path)


def test_a_sweep_of_a_folder(tmp_path, monkeypatch, capsys):
    write(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    options = ["--hidden-units", "0", "2", "--seeds", "1", "--epochs", "1", "--out", "run"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)
        assert cli.main(["sweep", "--dataset", "set", *options]) == 0
    capsys.readouterr()
    assert cli.main(["check", "run"]) == 0
    assert "run: sound." in capsys.readouterr().out
