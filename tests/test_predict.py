"""Pictures from anywhere, brought to MNIST's form, and what a run's models make of them."""

import json
import math
import struct
import zlib

import numpy as np
import pytest
from conftest import make_dataset
from PIL import Image, ImageDraw, ImageOps

from mlp_jax import DataError, Dataset, Grid, InputError, Recipe, cli, load_dataset, sweep
from mlp_jax.cli.predict import blocks
from mlp_jax.datasets.dataset import ImageForm
from mlp_jax.pictures.images import fit_drawing, read_picture, verdict
from mlp_jax.pictures.ink import beside, drawing
from mlp_jax.runs.directory import new_directory, read_run, write_run

MNIST_FORM = ImageForm((28, 28), box=20, paper=0.0, ink=1.0)
TRAINED = 12_000


def arc(x, y, rx, ry, start, stop):
    angles = [math.radians(start + (stop - start) * i / 40) for i in range(41)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


STROKES = {  # by hand, on a sheet of 320 × 400
    "0": [arc(160, 200, 75, 120, 0, 360)],
    "1": [[(165, 70), (155, 330)]],
    "2": [[*arc(160, 140, 75, 70, 180, 400), (90, 320), (240, 320)]],
    "3": [arc(150, 130, 70, 60, 200, 450), arc(150, 260, 80, 70, 270, 520)],
    "4": [[(120, 70), (90, 210), (250, 210)], [(200, 80), (190, 340)]],
    "5": [[(230, 80), (120, 80), (110, 180)], arc(155, 240, 80, 75, 235, 490)],
    "6": [[(190, 70), (115, 220)], arc(160, 255, 58, 65, 190, 550)],
    "7": [[(80, 90), (240, 90), (140, 340)]],
    "8": [arc(160, 135, 55, 60, 0, 360), arc(160, 262, 68, 68, 0, 360)],
    "9": [arc(160, 140, 60, 65, 0, 360), [(220, 140), (190, 340)]],
}


def draw(digit, *, mode="L", paper=255, ink=20, width=24):
    """A digit drawn by hand."""
    image = Image.new(mode, (320, 400), paper)
    pen = ImageDraw.Draw(image)
    for line in STROKES[digit]:
        pen.line(line, fill=ink, width=width, joint="curve")
        for x, y in (line[0], line[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)
    return image


@pytest.fixture(scope="module")
def mnist():
    return load_dataset("mnist")


@pytest.fixture(scope="module")
def run(mnist, tmp_path_factory):
    """A run on the first of MNIST's images; its second trial is the best."""
    dataset = Dataset.from_arrays(
        mnist.train.features[:TRAINED].reshape(-1, 28, 28),
        mnist.train.targets[:TRAINED],
        mnist.test.features.reshape(-1, 28, 28),
        mnist.test.targets,
        name="MNIST",
    )
    result = sweep(Grid((0, 60), learning_rates=(3e-3,), seeds=1), dataset, recipe=Recipe(epochs=5))
    path = tmp_path_factory.mktemp("runs") / "run"
    with new_directory(path) as directory:
        write_run(result, directory, "mnist")
    return path


def test_enlarged_test_images_come_back_and_are_recognized_as_well(mnist, run, tmp_path):
    model = read_run(run).model(1)
    originals, labels = mnist.test.features[:200], mnist.test.targets[:200]
    pictures = []
    for i, original in enumerate(originals.reshape(-1, 28, 28)):
        image = Image.fromarray(original).resize((280, 280), Image.Resampling.NEAREST)
        path = tmp_path / f"{i}.png"
        (ImageOps.invert(image) if i % 2 else image).save(path)
        pictures.append(read_picture(path, MNIST_FORM))
    seen = np.concatenate([picture.features(MNIST_FORM) for picture in pictures])
    error = np.abs(seen - originals / 255).mean(axis=1)
    assert np.median(error) < 1e-3
    assert (error < 0.02).mean() > 0.97  # a few lie otherwise than by their centre of mass
    as_pictures, as_images = ((np.asarray(model.predict(x)) == labels).mean() for x in (seen, originals))
    assert abs(as_pictures - as_images) <= 0.01
    assert as_images > 0.9


@pytest.mark.parametrize("width", [12, 24, 36])
def test_digits_drawn_by_hand_are_recognized(run, width, tmp_path):
    model = read_run(run).model(1)
    right = 0
    for digit in STROKES:
        path = tmp_path / f"{digit}.png"
        draw(digit, width=width).save(path)
        right += str(model.predict(read_picture(path, MNIST_FORM).features(MNIST_FORM))[0]) == digit
    assert right >= 9


def variants(tmp_path):
    """The same 2 in every way that a file can hold it, and how much what is seen may differ."""
    sheet = draw("2")
    clear = draw("2", mode="RGBA", paper=(0, 0, 0, 0), ink=(0, 0, 0, 255))
    chalk = draw("2", mode="RGBA", paper=(255, 255, 255, 0), ink=(255, 255, 255, 255))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by 90° clockwise
    ways = {
        "inverted.png": (ImageOps.invert(sheet), {}, 0),
        "deep.png": (Image.fromarray(np.asarray(sheet).astype(np.uint16) * 257), {}, 0),
        "colours.png": (draw("2", mode="RGB", paper=(250, 240, 200), ink=(20, 30, 120)), {}, 0),
        "palette.png": (sheet.convert("P"), {}, 0),
        "palette-transparent.png": (clear.quantize(), {}, 0),
        "two-colours.png": (sheet.convert("1"), {}, 0.002),
        "two-colours-transparent.png": (sheet.convert("1"), {"transparency": 255}, 0.002),
        "grey-one-transparent.png": (sheet, {"transparency": 255}, 0),
        "transparent.png": (clear, {}, 0),
        "white-on-transparent.png": (chalk, {}, 0),
        "grey-transparent.png": (clear.convert("LA"), {}, 0),
        "photograph.jpg": (sheet, {"quality": 50}, 0.02),
        "cmyk.jpg": (sheet.convert("RGB").convert("CMYK"), {"quality": 90}, 0.02),
        "turned.jpg": (sheet.transpose(Image.Transpose.ROTATE_90), {"quality": 95, "exif": turned}, 0.02),
        "turned.png": (sheet.transpose(Image.Transpose.ROTATE_90), {"exif": turned}, 0),
        "large.png": (sheet.resize((1280, 1600), Image.Resampling.NEAREST), {}, 0.002),
        "cropped.png": (sheet.crop((70, 50, 260, 340)), {}, 0),
    }
    for name, (image, how, tolerance) in ways.items():
        image.save(tmp_path / name, **how)
        yield tmp_path / name, tolerance


def test_every_kind_of_file_gives_the_same(tmp_path):
    draw("2").save(tmp_path / "plain.png")
    plain = read_picture(tmp_path / "plain.png", MNIST_FORM).ink
    for path, tolerance in variants(tmp_path):
        seen = read_picture(path, MNIST_FORM).ink
        assert np.abs(seen - plain).mean() <= tolerance + 1e-6, path.name


def deep_png(path, channels, clear=None):
    """A PNG file of 16 bits a channel, ``[H, W, channels]``, as Pillow does not write them; ``clear`` is its tRNS."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, count = channels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[count], 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in channels.astype(">u2"))
    transparent = b"" if clear is None else chunk(b"tRNS", struct.pack(">H", clear))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + transparent
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("most", [255, 1000, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_need_not_be_used_to_the_full(channels, most, tmp_path):
    draw("2").save(tmp_path / "plain.png")
    plain = read_picture(tmp_path / "plain.png", MNIST_FORM).ink
    for grey in (np.asarray(draw("2")), 255 - np.asarray(draw("2"))):
        values = np.round(grey / 255 * most)[..., None]
        opaque = [np.full_like(values, most)] if channels in (2, 4) else []
        deep_png(tmp_path / "deep.png", np.concatenate([values] * (1 if channels < 3 else 3) + opaque, axis=2))
        if most < 256 and channels > 1:  # Pillow drops the lower 8 bits
            with pytest.raises(DataError, match=r"deep\.png: is blank, or its 16-bit channels stay below 256"):
                read_picture(tmp_path / "deep.png", MNIST_FORM)
        else:
            assert np.abs(read_picture(tmp_path / "deep.png", MNIST_FORM).ink - plain).mean() < 0.003


def test_deep_pictures_with_one_transparent_grey(tmp_path):
    draw("2").save(tmp_path / "plain.png")
    plain = read_picture(tmp_path / "plain.png", MNIST_FORM).ink
    values = np.where(np.asarray(draw("2")) > 128, 7, 300)[..., None]  # dark paper that is declared transparent
    deep_png(tmp_path / "deep.png", values, clear=7)
    assert np.abs(read_picture(tmp_path / "deep.png", MNIST_FORM).ink - plain).mean() < 0.003


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 60), (2950, 3000), (4095, 4096), (65535, 65536)])
def test_a_deep_picture_with_nothing_on_it_is_refused(low, high, tmp_path):
    deep_png(tmp_path / "blank.png", np.random.default_rng(0).integers(low, high, (100, 80, 1)))
    with pytest.raises(DataError, match=r"is blank|too uneven"):
        read_picture(tmp_path / "blank.png", MNIST_FORM)


def test_a_grain_that_a_camera_adds_is_no_drawing(tmp_path):
    grain = np.random.default_rng(0).normal(0, 6, (400, 320))
    noisy = np.clip(np.asarray(draw("2", paper=200, ink=60)) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    draw("2").save(tmp_path / "plain.png")
    seen, plain = (read_picture(tmp_path / name, MNIST_FORM).ink for name in ("noisy.png", "plain.png"))
    assert np.abs(seen - plain).mean() < 0.05


HEIGHT, WIDTH = 400, 320
Y, X = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]


def with_frame(paper, width, margin=0):
    framed = np.full((HEIGHT, WIDTH), 10.0)
    framed[:margin], framed[HEIGHT - margin :], framed[:, :margin], framed[:, WIDTH - margin :] = (paper,) * 4
    inside = slice(margin + width, -margin - width)
    framed[inside, inside] = paper
    return framed


def ruled(grey, step, width, tilt=0.0, squared=False):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    lines = (rows + tilt * columns) % step < width
    if squared:
        lines |= (columns + 11 - tilt * rows) % step < width
    return np.where(lines, grey, 255.0)


BACKGROUNDS = {  # greys of 255, and the noise on them
    "shade to the right": (220 - 80 * X, 0),
    "strong shade to the right": (220 - 180 * X, 6),
    "strong shade to the corner": (210 - 65 * X - 65 * Y, 6),
    "strong shade upwards": (80 + 140 * Y, 0),
    "vignette": (220 - 260 * ((X - 0.5) ** 2 + (Y - 0.5) ** 2), 4),
    "lamp": (230 - 120 * ((X - 0.2) ** 2 + (Y - 0.15) ** 2), 6),
    "soft shadow": (215 * (1 - 0.4 / (1 + np.exp(-(X + 0.3 * Y - 0.75) / 0.03))), 5),
    "shadow": (215 * np.where(X > 0.65, 0.8, 1), 5),
    "thin frame": (with_frame(250, 1), 0),
    "frame": (with_frame(220, 12), 6),
    "frame with a margin": (with_frame(250, 4, margin=5), 0),
    "scanner's edge": (np.where((X < 0.03) | (Y > 0.98), 20, 240), 4),
    "frame in shade": (with_frame(220, 6) * (1 - 0.35 * X), 4),
    "ruled": (ruled(180, 50, 1), 0),
    "ruled, tilted": (ruled(140, 40, 2, tilt=0.03), 3),
    "ruled, as dark as the digit": (ruled(60, 50, 2), 3),
    "ruled, in shade": (ruled(180, 50, 1) - 60 * X, 3),
    "squared": (ruled(190, 25, 1, squared=True), 3),
}


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_digits_are_recognized_on_uneven_paper(run, background, tmp_path):
    model = read_run(run).model(1)
    paper, noise = BACKGROUNDS[background]
    right = 0
    for number, digit in enumerate(STROKES):
        covered = 1 - np.asarray(draw(digit, ink=0)) / 255
        greys = paper * (1 - 0.8 * covered) + np.random.default_rng(number).normal(0, 1, covered.shape) * noise
        image = Image.fromarray(greys.clip(0, 255).astype(np.uint8))
        path = tmp_path / ("photograph.jpg" if number % 2 else "photograph.png")
        image.save(path)
        right += str(model.predict(read_picture(path, MNIST_FORM).features(MNIST_FORM))[0]) == digit
    assert right >= 9


def test_chalk_on_a_board_in_uneven_light(run, tmp_path):
    model = read_run(run).model(1)
    right = 0
    for digit in STROKES:
        covered = 1 - np.asarray(draw(digit, ink=0)) / 255
        Image.fromarray(((30 + 100 * X) * (1 - covered) + 220 * covered).astype(np.uint8)).save(tmp_path / "board.png")
        right += str(model.predict(read_picture(tmp_path / "board.png", MNIST_FORM).features(MNIST_FORM))[0]) == digit
    assert right >= 9


def test_even_paper_gives_what_it_gave(mnist):
    """The drawing on even paper, by what defines it, to the bit; border, shading and lines change nothing."""
    for number, image in enumerate(mnist.test.features[:200].reshape(-1, 28, 28)):
        grey = image.astype(np.float32) / 255
        rows, columns = (np.flatnonzero((grey > 0.04).any(axis=axis)) for axis in (1, 0))
        box = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        ink = drawing(np.pad(grey, number % 3))
        if ink.shape == box.shape:  # no speck is left out
            kept = ink > 0
            np.testing.assert_array_equal(ink[kept], box[kept])
            assert box[~kept].sum() < 0.05 * box.sum()


def test_noise_alone_is_too_uneven(tmp_path):
    greys = np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
    Image.fromarray(greys).save(tmp_path / "noise.png")
    with pytest.raises(DataError, match="the background is too uneven: expected even paper"):
        read_picture(tmp_path / "noise.png", MNIST_FORM)


def test_drawings_beside_each_other_are_noted(mnist, run, tmp_path, capsys):
    sheet = Image.new("L", (640, 400), 255)
    sheet.paste(draw("4"), (0, 0))
    sheet.paste(draw("2"), (320, 0))
    sheet.save(tmp_path / "42.png")
    assert cli.main(["predict", str(run), str(tmp_path / "42.png")]) == 0
    assert "2 drawings seem to lie beside each other: expected one per picture" in " ".join(
        capsys.readouterr().out.split()
    )
    broken = draw("5")
    ImageDraw.Draw(broken).rectangle((0, 120, 320, 150), fill=255)  # the bar is apart from the rest
    for image in (broken, *(draw(digit) for digit in STROKES)):
        image.save(tmp_path / "one.png")
        assert read_picture(tmp_path / "one.png", MNIST_FORM).beside == 1
    flagged = [beside(drawing(image / np.float32(255))) > 1 for image in mnist.test.features[:1000].reshape(-1, 28, 28)]
    assert sum(flagged) <= 1


def test_says_unsure_below_what_is_sure():
    names = ["cat", "dog", "eel"]
    assert verdict(np.array([0.1, 0.65, 0.25]), names) == "is dog, with probability 65.0 %"
    assert verdict(np.array([0.3, 0.292, 0.408]), names) == "unsure: eel (40.8 %) or cat (30.0 %)"


def test_fits_the_box_and_is_centred_by_mass():
    sheet = np.zeros((300, 200), np.float32)
    sheet[40:240, 50:90] = 1  # a bar of 200 × 40 with a foot to the right
    sheet[200:240, 50:150] = 1
    seen = fit_drawing(drawing(sheet), MNIST_FORM)
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    assert (len(rows), len(columns)) == (20, 10)  # aspect kept
    for axis in (0, 1):
        centre = (seen.sum(axis=1 - axis) @ (np.arange(28) + 0.5)) / seen.sum()
        assert 14 <= centre < 15  # as that of every MNIST image is
    assert seen.max() == 1


@pytest.mark.parametrize("shape", [(8, 8), (12, 30), (9, 9, 1)])
def test_other_image_sizes_have_boxes_of_their_own(shape):
    form = ImageForm(shape, box=8, paper=16.0, ink=-2.0)
    sheet = np.zeros((40, 40), np.float32)
    sheet[:30, 10:30] = 1
    seen = fit_drawing(drawing(np.pad(sheet, 5)), form)
    assert seen.shape == shape[:2]
    assert seen.any(axis=1).sum() == 8


def test_intensities_are_those_of_the_training_images(tmp_path):
    draw("1").save(tmp_path / "one.png")
    x = read_picture(tmp_path / "one.png", ImageForm((8, 8), box=8, paper=16.0, ink=-2.0)).features(
        ImageForm((8, 8), box=8, paper=16.0, ink=-2.0)
    )
    assert x.shape == (1, 64)
    assert (x.max(), x.min()) == (16, -2)


def test_blocks():
    assert blocks(np.array([[0, 1, 0], [1, 1, 0], [0, 0, 1.0]])).splitlines() == ["┌───┐", "│▄█ │", "│  ▀│", "└───┘"]


def test_command_says_what_it_saw(run, tmp_path, capsys):
    paths = []
    for digit in "27":
        draw(digit).save(tmp_path / f"{digit}.png")
        paths.append(str(tmp_path / f"{digit}.png"))
    assert cli.main(["predict", str(run), *paths, "--out", str(tmp_path / "seen.png")]) == 0
    printed = capsys.readouterr().out
    assert "Trial 1 of" in printed
    assert "of 2 the best on validation (9" in printed
    assert "is 2, with probability" in printed
    assert "is 7, with probability" in printed
    assert printed.count("┌────────────────────────────┐") == 2
    assert "\x1b" not in printed
    with Image.open(tmp_path / "seen.png") as figure:
        assert figure.width == 1200

    assert cli.main(["predict", str(run), paths[0], "--trial", "0", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["trial"]["trial"], record["trial"]["hidden_units"], record["by_validation"]) == (0, 0, False)
    (said,) = record["predictions"]
    assert said["image"] == paths[0]
    assert said["sure"] == (said["probability"] >= 0.6)
    assert said["beside"] == 1
    assert said["class"] == max(said["probabilities"], key=said["probabilities"].get)
    assert sum(said["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    x = read_picture(paths[0], MNIST_FORM).features(MNIST_FORM)
    assert said["probability"] == pytest.approx(float(read_run(run).model(0).predict_proba(x).max()), abs=1e-6)


def test_command_in_a_pipe_that_takes_ascii_alone(run, tmp_path, monkeypatch):
    draw("1").save(tmp_path / "1.png")
    with (tmp_path / "said.txt").open("w", encoding="ascii") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert cli.main(["predict", str(run), str(tmp_path / "1.png")]) == 0
    said = (tmp_path / "said.txt").read_text(encoding="ascii")
    assert "is 1, with probability" in said
    assert f"+{'-' * 28}+" in said
    assert "##" in said


def test_pictures_that_are_none_do_not_stop_the_others(run, tmp_path, capsys):
    draw("1").save(tmp_path / "1.png")
    (tmp_path / "words.png").write_text("a digit")
    paths = [str(tmp_path / name) for name in ("nowhere.png", "1.png", "words.png")]
    assert cli.main(["predict", str(run), *paths]) == 2
    said = capsys.readouterr()
    assert "is 1, with probability" in said.out
    first, second = said.err.splitlines()
    assert first.startswith(f"mlp-jax: error: {paths[0]}")
    assert second.startswith(f"mlp-jax: error: {paths[2]}")
    assert cli.main(["predict", str(run), *paths, "--json"]) == 2
    record = json.loads(capsys.readouterr().out)
    assert [each["image"] for each in record["predictions"]] == paths[1:2]
    assert [each["image"] for each in record["refused"]] == [paths[0], paths[2]]


def png(width, height):
    """What announces a picture of that size, and holds none of it."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def test_files_that_are_no_pictures(tmp_path):
    whole = tmp_path / "whole.png"
    draw("2").save(whole)
    draw("2").save(tmp_path / "moving.gif")
    Image.new("L", (50, 50), 128).save(tmp_path / "blank.png")
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    (tmp_path / "words.png").write_text("a digit")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "short.png").write_bytes(whole.read_bytes()[:-300])
    (tmp_path / "bomb.png").write_bytes(png(9000, 9000))
    (tmp_path / "larger-bomb.png").write_bytes(png(100_000, 100_000))
    damaged = bytearray(whole.read_bytes())
    damaged[60] ^= 255
    (tmp_path / "damaged.png").write_bytes(damaged)
    expected = {
        "nowhere.png": "No such file",
        "moving.gif": "is no PNG or JPEG",
        "blank.png": "is blank",
        "clear.png": "is blank",
        "words.png": "is no PNG or JPEG",
        "empty.png": "is no PNG or JPEG",
        "short.png": "cannot be read|damaged",
        "damaged.png": "cannot be read|damaged",
        "bomb.png": "9000 × 9000 pixels",
        "larger-bomb.png": "make it smaller",
        ".": "Is a directory",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message) as refused:
            read_picture(tmp_path / name, MNIST_FORM)
        assert "\n" not in str(refused.value)


def test_forms_that_no_picture_has(tmp_path):
    with pytest.raises(InputError, match="without colours"):
        read_picture(tmp_path, ImageForm((28, 28, 3), 20, 0, 1))
    with pytest.raises(InputError, match="blank"):
        read_picture(tmp_path, ImageForm((28, 28), 0, 0, 0))


def test_mistakes_are_one_line(run, tmp_path, capsys):
    other = tmp_path / "other"
    with new_directory(other) as directory:
        write_run(sweep(Grid((2,), seeds=1), make_dataset(), recipe=Recipe(epochs=1)), directory, "small.npz")
    draw("2").save(tmp_path / "2.png")
    picture = str(tmp_path / "2.png")
    for arguments, message in [
        (["nowhere", picture], "nowhere is no directory"),
        ([str(other), picture], "whose examples are no images"),
        ([str(run), str(tmp_path / "nowhere.png")], "No such file"),
        ([str(run), picture, "--trial", "2"], "has no trial 2: expected 0 to 1"),
        ([str(run), picture, "--out", str(tmp_path / "seen.jpg")], "ends in .png or .svg"),
        ([str(run), picture, "--out", str(tmp_path / "no" / "seen.png")], "no directory that you may write to"),
        ([str(run)], "expected one or more PNG or JPEG files"),
    ]:
        assert cli.main(["predict", *arguments]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("mlp-jax: error: "), arguments
        assert said.err.count("\n") == 1
        assert message in said.err
        assert said.out == ""
