"""Names of classes and data sets in any script: fonts that have their characters, and names cut to the room there is.

matplotlib's own font has Latin, Greek, Cyrillic and some more. For what it lacks, an installed font is looked for; if
there is none, classes are called by their numbers, and one warning says what is missing.
"""

import contextlib
import functools
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib import rcParams
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator

from mlp_jax.errors import SweepWarning

_ELLIPSIS = "…"
_UNDRAWN = "\N{REPLACEMENT CHARACTER}"  # which the usual font has
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH")
_NO_TEXT = ("Last Resort", "cmb10", "cmex10", "cmmi10", "cmr10", "cmss10", "cmsy10", "cmtt10")
"""Fonts of placeholders and of TeX, whose code points are other characters."""

_told: set[str] = set()
"""Scripts that have been warned about."""


def drawable(names: Sequence[str]) -> list[str]:
    """Names of classes, each on one line, and the number of the class for a name that no installed font can write."""
    _, missing = _fallbacks(_lacking("".join(names)))
    return [str(number) if missing & set(name) else _one_line(name) for number, name in enumerate(names)]


def make_drawable(figure: Figure) -> None:
    """Give every text of a figure the fonts that it needs; characters that no font has become a sign for that."""
    for axis in figure.findobj(Axis):
        if isinstance(axis.get_major_locator(), FixedLocator):  # the others have numbers
            axis.get_ticklabels()  # which makes them, to be found
    for text in figure.findobj(Text):
        if not text.get_text():
            continue
        content = "\n".join(map(_one_line, text.get_text().split("\n")))
        families, missing = _fallbacks(_lacking(content))
        if missing:
            content = "".join(_UNDRAWN if c in missing else c for c in content)
        if content != text.get_text():
            text.set_text(content)
        if families:
            text.set_fontfamily([*text.get_fontfamily(), *families])


def _one_line(text: str) -> str:
    """Text without control characters, which no font has."""
    return "".join(c if c.isprintable() else " " for c in text)


def fitted(names: Sequence[str], inches: float, size: float) -> list[str]:
    """Names cut to a width: at the end, or, where that would make different ones alike, in the middle.

    Args:
        names: each on one line.
        inches: maximum width.
        size: font size in points.
    """
    at_end, in_middle = ([_cut(name, inches, size, tail) for name in names] for tail in (False, True))
    return at_end if len(set(at_end)) >= len(set(in_middle)) else in_middle


def width(text: str, size: float) -> float:
    """Width in inches of a line of text in a font of that size in points."""
    font = FontProperties(family=[*rcParams["font.family"], *_fallbacks(_lacking(text))[0]], size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


@functools.lru_cache(maxsize=4096)
def _cut(name: str, inches: float, size: float, tail: bool) -> str:
    """The name, without as many characters as it takes; the last ones stay, as many as the first, if ``tail``."""

    def of(kept: int) -> str:
        last = kept // 2 if tail else 0
        return name[: kept - last] + _ELLIPSIS + name[len(name) - last :]

    if len(name) < 3 or width(name, size) <= inches:
        return name
    least, most = 1, len(name) - 1
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if width(of(middle), size) <= inches else (least, middle - 1)
    return of(least)


# Which font has what


def _lacking(text: str) -> frozenset[str]:
    """The characters of a text that the usual font does not have."""
    usual = _usual_characters(tuple(rcParams["font.family"]))
    return frozenset(c for c in set(text) if ord(c) not in usual and c.isprintable())


@functools.cache
def _usual_characters(families: tuple[str, ...]) -> frozenset[int]:
    return frozenset().union(*(_characters(findfont(FontProperties(family=[family]))) for family in families))


@functools.cache
def _characters(path: str) -> frozenset[int]:
    """The code points that a font has; none if it cannot be read."""
    with contextlib.suppress(Exception):  # whatever FreeType has against a file
        return frozenset(FT2Font(path).get_charmap())
    return frozenset()


@functools.lru_cache(maxsize=1024)
def _fallbacks(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Families that together have the characters, and the characters that none has, which a warning names."""
    families: list[str] = []
    missing = characters
    for fonts in (_known_fonts, _new_fonts):
        while missing:
            best = max(fonts(), key=lambda font: len(_had(font, missing)), default=None)
            if best is None or not (had := _had(best, missing)):
                break
            families.append(best.name)
            missing -= had
    if missing:
        _warn_of(missing)
    return tuple(families), missing


def _had(font: FontEntry, characters: frozenset[str]) -> frozenset[str]:
    there = _characters(font.fname)
    return frozenset(c for c in characters if ord(c) in there)


def _known_fonts() -> list[FontEntry]:
    """Scalable fonts that matplotlib knows, upright sans-serif ones first."""
    fonts = [font for font in fontManager.ttflist if font.size == "scalable" and not font.name.startswith(_NO_TEXT)]
    return sorted(fonts, key=lambda font: (font.style != "normal", font.weight != 400, "Sans" not in font.name))


def _new_fonts() -> list[FontEntry]:
    """The same, including fonts that were installed after matplotlib wrote its list."""
    _add_new_fonts()
    return _known_fonts()


@functools.cache
def _add_new_fonts() -> None:
    known = {Path(font.fname) for font in fontManager.ttflist}
    for path in findSystemFonts():
        if Path(path) not in known:
            with contextlib.suppress(Exception):  # as above
                fontManager.addfont(path)


def _scripts(characters: frozenset[str]) -> Iterator[str]:
    for character in sorted(characters):
        script = unicodedata.name(character, "UNNAMED").replace("-", " ").split()[0]
        yield "East Asian" if script in _EAST_ASIAN else script.capitalize()


def _warn_of(characters: frozenset[str]) -> None:
    """Warn about characters that no font has, once per script."""
    scripts = list(dict.fromkeys(_scripts(characters)))
    if _told.issuperset(scripts):
        return
    _told.update(scripts)
    some = " ".join(sorted(characters)[:10]) + (" ..." if len(characters) > 10 else "")
    font = "Noto Sans CJK" if scripts[0] == "East Asian" else f"Noto Sans {scripts[0]}"
    warnings.warn(
        f"no installed font has {some} ({', '.join(scripts)}): figures show the numbers of such classes, so install "
        f"one that has them, like {font}",
        SweepWarning,
        stacklevel=2,
    )
