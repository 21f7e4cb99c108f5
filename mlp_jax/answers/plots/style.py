"""The style of all figures and shared helpers; ``save`` writes a figure to a file."""

import io
import math
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import IO, Any, ParamSpec

import matplotlib.figure
import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_hex
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from mlp_jax.answers.plots.fonts import make_drawable
from mlp_jax.errors import InputError
from mlp_jax.files import written_whole
from mlp_jax.runs.tables import Table

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,  # 8 inches are 1200 pixels; shown 800 wide, 10-point text is still 14 pixels high
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar sign in the name of a class is a dollar sign
    "svg.hashsalt": "mlp_jax",  # the same figure gives the same file
}

WIDTH = 8.0  # inches, of every figure
NAME_SIZE = 8.0  # points, of what is written above pictures

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
GREY = "0.35"
_INK = "gray_r"  # dark on light, as ink and as the sparsity pattern

Style = dict[str, Any]
"""Line style: arguments of ``Axes.plot``."""

P = ParamSpec("P")


class Figure(matplotlib.figure.Figure):
    """A figure that notebooks display although pyplot does not know it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        return encode(self, "png"), {"width": width, "height": height}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Context for drawing in the style, with fonts for the text; matplotlib's own style is restored."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
            figure = draw(*args, **kwargs)
            make_drawable(figure)
            return figure

    return styled


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure: PNG, or SVG if the suffix says so. The file appears whole, or not at all.

    Args:
        figure: the figure.
        path: ends in .png or .svg, in a directory that exists.

    Raises:
        InputError: another suffix.
        OSError: it cannot be written; an existing file is unchanged.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg"):
        raise InputError(f"{path}: cannot tell the kind of file: expected a name that ends in .png or .svg")
    with written_whole(path) as file:
        _write(figure, file, suffix[1:])


def encode(figure: Figure, kind: str) -> bytes:
    """A figure as the content of a file, ``png`` or ``svg``."""
    content = io.BytesIO()
    _write(figure, content, kind)
    return content.getvalue()


def _write(figure: Figure, target: IO[bytes], kind: str) -> None:
    with rc_context(STYLE):  # ticks are made when the figure is drawn, and look at the style then
        figure.savefig(target, format=kind, metadata={"Date": None} if kind == "svg" else None)


def panel_columns(panels: int) -> int:
    """Number of panels side by side."""
    return 2 if panels == 4 else min(panels, 3)


def width_axis(axes: Axes, widths: Sequence[int], panels: int) -> None:
    """Ticks at the widths that were trained, as many as have room; a log scale if they span more than 30 times."""
    place: Callable[[float], float] = float
    if widths[-1] > 30 * widths[0] > 0:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        place = math.log
    columns = panel_columns(panels)
    # The longest label (in parts of the axis) decides for all, so that ticks are spaced evenly where widths are.
    room = (0.012 + 0.0125 * len(str(widths[-1]))) * columns * (place(widths[-1]) - place(widths[0]))
    labelled = [widths[0]]
    for width in widths[1:]:
        if place(width) - place(labelled[-1]) >= room:
            labelled.append(width)
    axes.set_xticks(labelled, [str(width) for width in labelled])


def loss_axis(axes: Axes, history: Table) -> None:
    """A log scale if losses span more than 5 times."""
    losses = np.concatenate([history["loss"], history["validation_loss"]])
    losses = losses[np.isfinite(losses)]
    if losses.min() > 0 and losses.max() > 5 * losses.min():
        axes.set_yscale("log")
        few_decades = losses.max() < 300 * losses.min()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few_decades else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def score_axis(axes: Axes, score_name: str) -> None:
    """Ticks of an accuracy in percent, and an axis that ends where accuracies do."""
    if score_name == "accuracy":
        bottom, top = axes.get_ylim()
        room = 0.03 * (min(top, 1.0) - max(bottom, 0.0))  # for a marker that lies there
        axes.set_ylim(max(bottom, -room), min(top, 1 + room))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}"))


def score_label(score_name: str) -> str:
    """Label of the score with its unit."""
    return "accuracy (%)" if score_name == "accuracy" else score_name


def nothing_but(note: str) -> Figure:
    """A figure with a line of text, for when there is nothing to draw."""
    figure = Figure(figsize=(WIDTH, 1))
    figure.text(0.5, 0.5, note, ha="center", va="center")
    return figure


def colours(count: int) -> list[str]:
    """Colours from dark to light, none so light that it is lost on white."""
    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0, 0.72, count)]


def show_image(axes: Axes, image: np.ndarray) -> None:
    """An image ``[H, W]`` or ``[H, W, C]``: dark on light, or if it has three channels in colour."""
    axes.imshow(_grey_or_colour(image), cmap=_INK)


def as_picture(image: np.ndarray) -> np.ndarray:
    """The image that ``show_image`` draws, as RGBA."""
    shown = _grey_or_colour(image)
    if shown.ndim == 3:
        return np.dstack([shown, np.ones(shown.shape[:2])])
    return colormaps[_INK](Normalize()(shown))


def _grey_or_colour(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2 or image.shape[2] != 3:
        return image if image.ndim == 2 else image.mean(axis=2)
    low, high = float(image.min()), float(image.max())
    return (image - low) / ((high - low) or 1.0)


def show_images(
    axes: Axes, pictures: Sequence[np.ndarray], names: Sequence[str], columns: int, step: tuple[int, int]
) -> None:
    """Pictures ``[H, W, 4]`` with names above them, as one image: axes for each take seconds.

    Args:
        axes: to draw in.
        pictures: RGBA, of one size.
        names: one per picture.
        columns: columns of the grid.
        step: pixels from one picture to the next, down and to the right; the space beyond H is for the name.
    """
    rows, (height, width) = math.ceil(len(pictures) / columns), pictures[0].shape[:2]
    sheet = np.ones((rows * step[0], columns * step[1], 4))
    for place, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        bottom, left = (place // columns + 1) * step[0], (place % columns) * step[1]
        sheet[bottom - height : bottom, left : left + width] = picture
        middle = left + width / 2 - 0.5
        axes.text(middle, bottom - height - 1, name, ha="center", va="bottom", fontsize=NAME_SIZE, in_layout=False)
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
