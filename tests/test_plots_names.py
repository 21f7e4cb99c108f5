"""Names in figures: in any script, with a font for it or without, and none on top of another."""

import itertools
import string
import warnings

import numpy as np
import pytest
from conftest import image_dataset
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from mlp_jax import Dataset, SweepWarning, cli
from mlp_jax.answers import plots
from mlp_jax.answers.plots import fonts, style

KANA = tuple("おきすつなはまやれを")


def fresh():
    for cached in (fonts._fallbacks, fonts._add_new_fonts, fonts._cut, fonts._characters):
        cached.cache_clear()
    fonts._told.clear()


@pytest.fixture
def only_usual(monkeypatch):
    """No fonts but matplotlib's own, and those in the list that this gives, which were installed just now."""
    monkeypatch.setattr(
        fontManager, "ttflist", [font for font in fontManager.ttflist if font.name.startswith("DejaVu")]
    )
    installed = []
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: installed)
    fresh()
    yield installed
    fresh()


def tiny_font(path, characters, family="Tiny Kana"):
    """A font of squares for these characters."""
    names = [".notdef", *(f"u{ord(c):04X}" for c in characters)]
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 700), (900, 700), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): name for c, name in zip(characters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


def every_figure(names, title="くずし字"):
    """Every figure that shows names of classes, with a title in another script."""
    rng = np.random.default_rng(0)
    count = len(names)
    x, y = rng.integers(0, 256, (4 * count, 6, 5), dtype=np.uint8), np.arange(4 * count) % count
    dataset = Dataset.from_arrays(x, y, x, y, x_validation=x, y_validation=y, class_names=names, name=title)
    probabilities = rng.dirichlet(np.ones(count), len(y))
    return [
        plots.confusion_matrix(y, probabilities.argmax(axis=1), names, title=title),
        plots.mistakes(x, y, probabilities, names, title=title),
        plots.hidden_units(rng.normal(size=(30, count)), (6, 5), names=names, title=title),
        plots.class_balance(dataset),
        plots.examples(dataset),
        plots.digit(x[0], names[0]),
        plots.predictions([(f"{title}.png", x[0] / 255, x[0] / 255)], probabilities[:1], names),
    ]


def texts(figure):
    """Those that are seen on a figure."""
    style.encode(figure, "png")
    found = [figure._suptitle, figure._supxlabel]
    for axes in figure.axes:
        found += [axes.title, *axes.texts]
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                found += [axis.label, *(label for tick in ticks for label in (tick.label1, tick.label2))]
    return [text for text in found if text is not None and text.get_visible() and text.get_text().strip()]


def test_names_that_no_font_has_are_numbers_and_one_line_says_so(only_usual, tmp_path):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figures = every_figure(KANA)
        for number, figure in enumerate(figures):
            plots.save(figure, tmp_path / f"{number}.png")
            plots.save(figure, tmp_path / f"{number}.svg")
    assert [each.category for each in said] == [SweepWarning]
    message = str(said[0].message)
    assert "no installed font has お" in message
    assert "install one that has them, like Noto Sans CJK" in message
    labels = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert labels == [str(k) for k in range(10)]
    assert figures[0].get_suptitle().endswith("\n" + 4 * "\N{REPLACEMENT CHARACTER}")
    with pytest.warns(SweepWarning, match="THAI|Thai.*like Noto Sans Thai"):
        plots.digit(np.eye(3), "ก")


def test_a_font_that_has_them_is_used_though_it_is_new(only_usual, tmp_path):
    only_usual.append(str(tmp_path / "broken.ttf"))
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    only_usual.append(tiny_font(tmp_path / "kana.ttf", KANA + tuple("くずし字")))
    figures = every_figure([*KANA[:9], f"{KANA[9]} and Latin"])
    for number, figure in enumerate(figures):  # a glyph that lacks would warn, and so fail
        plots.save(figure, tmp_path / f"{number}.png")
        for text in texts(figure):
            assert ("Tiny Kana" in text.get_fontfamily()) == any(ord(c) > 0x3000 for c in text.get_text())
    assert figures[0].axes[0].get_xticklabels()[0].get_text() == "お"


def test_two_scripts_take_two_fonts(only_usual, tmp_path):
    only_usual.append(tiny_font(tmp_path / "kana.ttf", "おき"))
    only_usual.append(tiny_font(tmp_path / "thai.ttf", "ก", family="Tiny Thai"))
    plots.save(plots.digit(np.eye(3), "おก"), tmp_path / "both.png")


def test_control_characters_are_spaces(tmp_path):
    for figure in every_figure(["one\ttwo", "bell\x07", "three\nfour"], title="tab\there"):
        plots.save(figure, tmp_path / "any.png")


def test_the_command_warns_once(only_usual, tmp_path, capsys):
    dataset = image_dataset((4, 5), classes=3, class_names=KANA[:3])
    arrays = {
        f"{letter}_{name}": getattr(split, what)
        for name, split in dataset.splits.items()
        for letter, what in (("x", "features"), ("y", "targets"))
    }
    for name in dataset.splits:
        arrays[f"x_{name}"] = arrays[f"x_{name}"].reshape(-1, 4, 5)
    np.savez(tmp_path / "set.npz", **arrays, class_names=list(KANA[:3]))
    sweep = [
        "sweep",
        "--dataset",
        str(tmp_path / "set.npz"),
        "--hidden-units",
        "0",
        "2",
        "--seeds",
        "1",
        "--epochs",
        "1",
    ]
    assert cli.main([*sweep, "--out", str(tmp_path / "run")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert [line.startswith("mlp-jax: warning: no installed font has") for line in lines] == [True]


# Room


def overlapping(labels, renderer):
    boxes = [label.get_window_extent(renderer) for label in labels if label.get_text()]
    return [(a, b) for a, b in itertools.pairwise(boxes) if a.overlaps(b)]


MANY = string.digits + string.ascii_letters
CASES = {
    "letters": [f"{c}/{c.lower()}" for c in string.ascii_uppercase],
    "27 numbers": [str(k) for k in range(27)],
    "three wide": ["WWW"] * 10,
    "47": list(MANY[:47]),
    "62": list(MANY),
    "100 numbers": [str(k) for k in range(100)],
    "300 numbers": [str(k) for k in range(300)],
    "long": [f"a class with quite a long name, {k}" for k in range(27)],
    "many long": [f"a class with quite a long name, {k}" for k in range(70)],
    "few long": [f"a class with quite a long name, {k}" for k in range(3)],
    "one endless": ["x" * 5000, "y", "z"],
}


@pytest.mark.parametrize("case", CASES)
def test_labels_of_the_confusion_matrix_do_not_overlap(case):
    names = CASES[case]
    classes = np.arange(len(names))
    figure = plots.confusion_matrix(classes, classes[::-1], names, title="test split")
    seen = texts(figure)
    axes, renderer = figure.axes[0], figure._get_renderer()
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert not overlapping(labels, renderer)
        assert min(label.get_fontsize() for label in labels) >= 6
    for text in seen:
        box = text.get_window_extent(renderer)
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.x1
    shown = [label.get_text() for label in axes.get_yticklabels()]
    if len(names) <= 62:
        assert len(shown) == len(names) or "long" in case
        assert len(set(shown)) == len({names[k] for k in range(0, len(names), -(-len(names) // len(shown)))})
    assert ("a name for every" in axes.get_xlabel()) == (len(shown) < len(names))
    assert axes.images[0].get_window_extent(renderer).width > 250


@pytest.mark.parametrize("count", [3, 12, 40])
def test_names_above_pictures_do_not_overlap(count):
    figures = every_figure([f"a class with quite a long name, {k}" for k in range(count)], title="long")
    for figure in figures:
        boxes = [text.get_window_extent() for text in texts(figure)]
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].padded(-1).overlaps(pair[1])]


def test_names_are_cut_where_they_differ():
    names = [f"a class with quite a long name, {k}" for k in range(3)]
    cut = fonts.fitted(names, 1.0, 10)
    assert len(set(cut)) == 3
    assert all(fonts.width(each, 10) <= 1.0 for each in cut)
    assert all("…" in each and each[-1] == str(k) for k, each in enumerate(cut))
    assert fonts.fitted(["trousers", "shirt"], 1.0, 10) == ["trousers", "shirt"]
    assert fonts.fitted(["woodpeckers of the garden", "beetles of the garden"], 1.0, 10)[1].startswith("beetles of")
    assert fonts.fitted(["W", ""], 0.01, 10) == ["W", ""]
