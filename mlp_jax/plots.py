"""Figures: what the digits look like, how training went, and where more hidden units stop helping.

Every function takes plain data (a data set, or a table of ``mlp_jax.results``) and returns a Figure that belongs to
nobody else: pyplot's global state is not touched, and any backend will do. Trials that diverged are left out of every
mean, and the figure says how many. ``save`` writes a figure to a file.

Lines stay apart in greyscale: colours of one figure differ in lightness, and a few lines also in marker and dash.
"""

import itertools
import math
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation, Transform

from mlp_jax.datasets import Dataset
from mlp_jax.errors import InputError
from mlp_jax.results import Summary, Table, by_setting, summarize

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
MOST_IN_LEGEND = 8  # widths; more of them get a colour bar
MOST_IN_PANEL = 3  # settings whose training and test lines share a panel; more get panels of their own

LINEAR = "M = 0 (generalized linear model)"

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", "-.", ":")
_GREY = "0.35"
_ASIDE = 3.0  # points between neighbours at the same M, in a panel of full width
_REFERENCES = (("#d55e00", "D"), ("black", "s"), ("#009e73", "^"), ("#cc79a7", "v"))

Style = dict[str, Any]
"""How a line is drawn: arguments of ``Axes.plot``."""

P = ParamSpec("P")


class Setting(NamedTuple):
    """What the trials of one curve over M share; None in a place where the settings it stands for differ."""

    activation: str | None
    learning_rate: float | None

    def text(self, told: "Setting | None" = None) -> str:
        """The parts that are known, leaving out those that ``told`` has said already."""
        activation = self.activation if told is None or told.activation is None else None
        rate = self.learning_rate if told is None or told.learning_rate is None else None
        return _join(activation or "", "" if rate is None else f"learning rate {rate:g}")


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure: PNG, or SVG if the suffix says so. The file appears whole, or not at all.

    Args:
        figure: what to write.
        path: ends in .png or .svg, in a directory that exists.

    Raises:
        InputError: another suffix.
        OSError: it cannot be written; a file that was there is left as it was.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg"):
        raise InputError(f"{path}: cannot tell the kind of file: expected a name that ends in .png or .svg")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with rc_context(STYLE):  # ticks are made when the figure is drawn, and look at the style then
            figure.savefig(beside, format=suffix[1:], metadata={"Date": None} if suffix == ".svg" else None)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


# Data sets


@_styled
def digit(image: np.ndarray, label: str | int) -> Figure:
    """One image as a sparsity pattern and in greys, side by side.

    Args:
        image: ``[H, W]`` or ``[H, W, C]``; three channels are shown in colour, any other number as their mean.
        label: its class.

    Raises:
        InputError: the array is no image.
    """
    if image.ndim not in (2, 3) or image.size == 0:
        raise InputError(f"the image has shape {image.shape}: expected (height, width) or (height, width, channels)")
    present = image != 0 if image.ndim == 2 else (image != 0).any(axis=2)
    height, width = present.shape
    figure = Figure(figsize=(WIDTH, WIDTH / 2 * min(1.5, height / width) + 0.5))
    pattern, shades = figure.subplots(1, 2)
    pattern.spy(present)
    pattern.set_title(f"sparsity pattern: {np.count_nonzero(present):,} of {present.size:,} pixels are not 0")
    _show(shades, image)
    kind = "colours" if image.ndim == 3 and image.shape[2] == 3 else "greys"
    shades.set_title(f"{kind}: intensities from {image.min():.3g} to {image.max():.3g}")
    for axes in (pattern, shades):
        axes.grid(visible=False)
        axes.tick_params(top=False, labeltop=False, bottom=True, labelbottom=True)  # spy has them on top
        axes.spines[:].set_visible(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    figure.suptitle(f"label: {label}")
    return figure


@_styled
def examples(dataset: Dataset, *, split: str = "train", rows: int = 4, columns: int = 10) -> Figure:
    """The first images of a split, each with the name of its class (or its value).

    Args:
        dataset: of images.
        split: ``train``, ``validation`` or ``test``.
        rows: of the grid; those that would stay empty are left out.
        columns: of the grid.

    Raises:
        InputError: the examples are no images, or there is no such split.
    """
    if dataset.image_shape is None:
        raise InputError(f"an example of {dataset.name} is {dataset.features} numbers: expected images")
    if split not in dataset.splits:
        raise InputError(f"unknown split {split!r}: expected one of {', '.join(dataset.splits)}")
    if rows < 1 or columns < 1:
        raise InputError(f"the grid is {rows} by {columns}: expected 1 or more of each")
    chosen = dataset.splits[split]
    rows = min(rows, math.ceil(len(chosen) / columns))
    height, width = dataset.image_shape[:2]
    figure = Figure(figsize=(WIDTH, rows * (WIDTH / columns * height / width + 0.25) + 0.4))
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, x, y in zip(cells, chosen.features, chosen.targets, strict=False):
        _show(axes, x.reshape(dataset.image_shape))
        text = dataset.class_names[int(y)] if dataset.class_names else ", ".join(f"{value:.3g}" for value in y)
        axes.set_title(text, pad=3)
    figure.suptitle(f"{dataset.name}, {split}")
    return figure


@_styled
def class_balance(dataset: Dataset) -> Figure:
    """Bars: how many examples of each class a split has, and a line where all would be equal.

    Raises:
        InputError: the data set has no classes.
    """
    names = dataset.class_names
    if not names:
        raise InputError(f"{dataset.name} has values for targets: expected classes")
    labelled = range(0, len(names), math.ceil(len(names) / 30))
    figure = Figure(figsize=(WIDTH, 0.24 * len(labelled) + 1.3))
    panels = figure.subplots(1, len(dataset.splits), sharey=True)
    for axes, (name, split) in zip(panels, dataset.splits.items(), strict=True):
        counts = np.bincount(split.targets, minlength=len(names))
        axes.barh(np.arange(len(names)), counts, color=_colours(3)[1])
        axes.axvline(len(split) / len(names), color="black", linestyle="--", linewidth=1)
        axes.set_title(f"{name}: {len(split):,}")
        axes.set_xlabel("examples")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(labelled, [names[i] for i in labelled])
    panels[0].set_ylim(len(names) - 0.5, -0.5)  # the first class on top
    panels[0].set_ylabel("class")
    figure.suptitle(f"{dataset.name}: examples by class and split")
    figure.supxlabel("dashed: all classes equal", fontsize="medium")
    return figure


def _show(axes: Axes, image: np.ndarray) -> None:
    if image.ndim == 3 and image.shape[2] == 3:
        low, high = float(image.min()), float(image.max())
        axes.imshow((image - low) / ((high - low) or 1.0))
    else:  # dark on light, as ink and as the sparsity pattern
        axes.imshow(image if image.ndim == 2 else image.mean(axis=2), cmap="gray_r")


# Learning curves

METRICS = ("loss", "score")
PARTS = ("training", "validation")


@_styled
def learning_curves(
    history: Table, score_name: str, *, activation: str | None = None, learning_rate: float | None = None
) -> Figure:
    """Loss and score by epoch of training and validation, by width: mean over seeds, band of ± standard deviation.

    One width is drawn as training against validation; several as one line each, training beside validation.
    Activations and learning rates follow one below the other, on the same scales.

    Args:
        history: one row a trial and epoch; ``diverged`` is not 0 in some row of each trial that is to be left out,
            the validation columns are NaN if there was none.
        score_name: ``accuracy``, which is shown in percent, or another.
        activation: only this one; None for all.
        learning_rate: only this one; None for all.

    Raises:
        InputError: there are no such trials.
    """
    chosen = _choose(history, activation, learning_rate)
    kept = _where(chosen, ~np.isin(chosen["trial"], chosen["trial"][chosen["diverged"] > 0]))
    left_out = _left_out(len(np.unique(chosen["trial"])), len(np.unique(kept["trial"])))
    if not len(kept["trial"]):
        return _nothing_but(left_out)
    widths = sorted(set(kept["hidden_units"].tolist()))
    if widths == [0]:  # without a hidden layer, another activation is the same trials once more
        kept = _where(kept, kept["activation"] == kept["activation"][0])
        kept |= {"activation": np.full(len(kept["trial"]), "")}
    settings = list(dict.fromkeys(map(Setting, kept["activation"].tolist(), kept["learning_rate"].tolist())))
    parts = PARTS if np.isfinite(kept["validation_loss"]).any() else PARTS[:1]
    apart = len(widths) > 1
    styles = _width_styles(widths) if apart else _part_styles(parts)

    figure, panels = _curve_panels(len(settings), len(parts) if apart else 1)
    for axes in panels.ravel():  # set the limits once, below: after each curve would take minutes for a large grid
        axes.set_autoscale_on(False)
    counts: list[int] = []
    for i, setting in enumerate(settings):
        here = _where(kept, _of(kept, setting))
        for width in widths:
            rows = _where(here, here["hidden_units"] == width)
            for (j, metric), (k, part) in itertools.product(enumerate(METRICS), enumerate(parts)):
                axes, style = (panels[i, j, k], styles[width]) if apart else (panels[i, j, 0], styles[part])
                column = metric if part == "training" else f"validation_{metric}"
                counts += _draw_curve(axes, rows["epoch"], rows[column], style)
    for axes in panels.ravel():
        axes.autoscale()
    _head_curves(panels, settings, parts, score_name)
    _loss_axis(panels[0, 0, 0], kept)
    _score_axis(panels[0, 1, 0], score_name)
    panels[0, 0, 0].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))

    statistics = _spread("mean ± standard deviation (bands)", counts)
    if apart:
        figure.suptitle(_join("learning curves", _shared(settings).text(), by=": "))
        grey = "dashed grey: M = 0" if 0 in widths and len(widths) > MOST_IN_LEGEND else ""
        figure.supxlabel(_join(_join(statistics, grey, by="; "), left_out, by="\n"), fontsize="medium")
        _width_key(figure, styles)
    else:
        figure.suptitle(_join(f"M = {widths[0]}" if widths[0] else LINEAR, _shared(settings).text()))
        handles = [Line2D([], [], label=part, **style) for part, style in styles.items()]
        title = _join(statistics, left_out, by="; ")
        figure.legend(handles=handles, title=title, loc="outside lower center", ncols=2)
    return figure


def _curve_panels(settings: int, parts: int) -> tuple[Figure, np.ndarray]:
    """Axes ``[setting, metric, part]`` with common epochs, and a common scale for each metric.

    Score below loss for one or two settings, beside it for more (or where training and validation share their axes).
    """
    below = parts > 1 and settings <= 2
    rows, columns = (2 * settings, parts) if below else (settings, 2 * parts)
    figure = Figure(figsize=(WIDTH, (2.4 if columns == 2 else 1.6) * rows + (0.9 if rows > 1 else 1.4)))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    panels = grid.reshape(settings, 2, parts)
    for metric in range(2):
        first, *others = panels[:, metric].ravel()
        for axes in others:
            axes.sharey(first)
    for axes in panels[:, :, 1:].ravel():
        axes.tick_params(labelleft=False)
    return figure, panels


def _head_curves(panels: np.ndarray, settings: Sequence[Setting], parts: Sequence[str], score_name: str) -> None:
    """Say what each panel shows: its part above it, its setting above or, where four are in a row, before the row."""
    four = panels.shape[2] > 1 and len(settings) > 2
    shared = _shared(settings)
    for i, setting in enumerate(settings):
        text = setting.text(told=shared)
        before = text.replace(", ", "\n") + "\n" if four else ""
        panels[i, 0, 0].set_ylabel(f"{before}loss")
        panels[i, 1, 0].set_ylabel(_score_label(score_name))
        for axes, part in zip(panels[i, 0], parts if panels.shape[2] > 1 else ("",), strict=True):
            axes.set_title("" if four else _join(text, part, by=": "))
    if four:
        for axes, part in zip(panels[0].ravel(), itertools.cycle(parts), strict=False):
            axes.set_title(part)


def _draw_curve(axes: Axes, x: np.ndarray, y: np.ndarray, style: Style) -> list[int]:
    """Draw mean and standard deviation (n − 1) of y at each x; return how many values each mean is of."""
    places = np.unique(x)
    groups = [y[x == place].astype(float) for place in places]
    mean = np.array([group.mean() for group in groups])
    if groups and all(len(group) > 1 for group in groups):
        deviation = np.array([group.std(ddof=1) for group in groups])
        axes.fill_between(places, mean - deviation, mean + deviation, color=style["color"], alpha=0.2, linewidth=0)
    step = max(1, math.ceil(len(places) / 10))  # a few have markers, and the last; a single point needs one
    marker = {"marker": style.get("marker", "o" if len(places) == 1 else "")}
    axes.plot(places, mean, markevery=((len(places) - 1) % step, step), **style | marker)
    return [len(group) for group in groups]


def _part_styles(parts: Sequence[str]) -> dict[Any, Style]:
    dark, middle = _colours(3)[:2]
    styles: list[Style] = [
        {"color": dark, "linestyle": "-", "marker": "o"},
        {"color": middle, "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
    ]
    return dict(zip(parts, styles, strict=False))


def _width_styles(widths: Sequence[int]) -> dict[Any, Style]:
    """Colours from light to dark by rank, and M = 0 apart in grey; where lines are few, markers and dashes too."""
    few = len(widths) <= MOST_IN_LEGEND
    hidden = [width for width in widths if width]
    styles: dict[Any, Style] = {0: {"color": "0.55", "linestyle": (0, (4, 1.5))}} if 0 in widths else {}
    for i, (width, colour) in enumerate(zip(hidden, _colours(len(hidden))[::-1], strict=True)):
        marked = {"linestyle": _DASHES[i % len(_DASHES)], "marker": _MARKERS[i % len(_MARKERS)]}
        styles[width] = {"color": colour} | (marked if few else {})
    return styles


def _width_key(figure: Figure, styles: Mapping[Any, Style]) -> None:
    """A legend of widths, or if they are many a colour bar with a step for each."""
    if len(styles) <= MOST_IN_LEGEND:
        handles = [Line2D([], [], label=str(width), **style) for width, style in styles.items()]
        figure.legend(handles=handles, title="hidden units M", loc="outside right upper")
        return
    hidden = [width for width in styles if width]  # M = 0 is no step of the scale
    steps = ListedColormap([styles[width]["color"] for width in hidden])
    norm = BoundaryNorm((np.arange(len(hidden) + 1) - 0.5).tolist(), len(hidden))
    bar = figure.colorbar(ScalarMappable(norm, steps), ax=figure.axes, aspect=40, label="hidden units M")
    labelled = range(0, len(hidden), math.ceil(len(hidden) / 24))
    bar.set_ticks(list(labelled), labels=[str(hidden[i]) for i in labelled])
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(length=0)
    bar.ax.grid(visible=False)


# Score against width


@_styled
def accuracy_against_width(
    trials: Table,
    score_name: str,
    reference: Mapping[str, Mapping[int, float]] | None = None,
    *,
    saturation: int | None = None,
) -> Figure:
    """Training and test score of the finished models against M, with error bars of ± standard deviation over seeds.

    The test score of M = 0, the generalized linear model, is a horizontal line. Up to three settings (activation,
    learning rate) share a panel; more get panels of their own.

    Args:
        trials: one row a trial.
        score_name: ``accuracy``, which is shown in percent, or another.
        reference: test scores to compare with, by name and M: the article's, Keras's, ...
        saturation: the width past which more units gain nothing, if it is known: the smallest M within one standard
            error of the best on validation.
    """
    reference = reference or {}
    left_out = _left_out(len(trials["trial"]), int(np.count_nonzero(trials["diverged"] == 0)))
    usable = [row for row in summarize(trials) if row.seeds]
    if not usable:
        return _nothing_but(left_out)
    linear = {row.learning_rate: row for row in usable if not row.hidden_units}  # of every activation the same
    curves = {Setting(*key): rows for key, rows in by_setting([row for row in usable if row.hidden_units]).items()}
    if not curves:  # nothing that M = 0 would be the baseline of
        curves, linear = {Setting("", rate): [row] for rate, row in linear.items()}, {}
    shared, groups = _shared(curves), _groups(list(curves))
    titles = [_shared(group) for group in groups]
    if any(title.learning_rate is None for title in titles):  # then lines say it, in panels that have one, too
        titles = [title._replace(learning_rate=None) for title in titles]
    texts = (setting.text(told=title) for group, title in zip(groups, titles, strict=True) for setting in group)
    names = list(dict.fromkeys(texts))
    looks = dict(zip(names, zip(_colours(len(names)), itertools.cycle(_MARKERS), strict=False), strict=True))

    figure, panels = _score_panels(len(groups), score_name)
    step = _ASIDE / _columns(len(groups)) / 72  # inches
    marks: dict[str, Any] = {}  # what the legend explains, by label: the same in every panel, so each once
    for axes, group, title in zip(panels, groups, titles, strict=True):
        if len(groups) > 1:
            axes.set_title(title.text(told=shared))
        for i, setting in enumerate(group):
            name = setting.text(told=title)
            places = (2 * i - len(group) + 0.5, 2 * i - len(group) + 1.5)  # two series a setting, evenly about M
            asides = [ScaledTranslation(step * place, 0, figure.dpi_scale_trans) for place in places]
            marks |= _draw_scores(axes, curves[setting], name, *looks[name], asides)
        for rate, row in linear.items():
            if any(setting.learning_rate == rate for setting in group):
                name = f"learning rate {rate:g}" if title.learning_rate is None else ""
                marks |= _draw_baseline(axes, row, name, looks[name][0] if name in looks and name else _GREY)
        marks |= _draw_references(axes, reference)
        marks |= _draw_saturation(axes, saturation)
    widths = {row.hidden_units for rows in curves.values() for row in rows}
    _width_axis(panels[0], sorted(widths.union(*reference.values()) - {0} or {0}), len(panels))
    _score_axis(panels[0], score_name)
    figure.suptitle(_join(f"{score_name} against width", shared.text(), by=": "))
    counts = [row.seeds for rows in (*curves.values(), linear.values()) for row in rows]
    note = _join(_spread("mean ± standard deviation (bars)", counts), left_out, by="; ")
    figure.legend(list(marks.values()), list(marks), title=note, loc="outside lower center", ncols=2)
    return figure


def _groups(settings: list[Setting]) -> list[list[Setting]]:
    """Which settings share a panel: all if they are few, else those of one activation if those are, else none."""
    if len(settings) <= MOST_IN_PANEL:
        return [settings]
    by_activation: dict[str | None, list[Setting]] = {}
    for setting in settings:
        by_activation.setdefault(setting.activation, []).append(setting)
    if max(map(len, by_activation.values())) <= MOST_IN_PANEL:
        return list(by_activation.values())
    return [[setting] for setting in settings]


def _score_panels(count: int, score_name: str) -> tuple[Figure, list[Axes]]:
    columns = _columns(count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, 5 if count == 1 else 2.2 * rows + 1.8))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[max(0, count - columns) : count]:  # nothing is below them
        axes.set_xlabel("hidden units M")
        axes.tick_params(labelbottom=True)
    for axes in grid[:count:columns]:
        axes.set_ylabel(_score_label(score_name))
    return figure, list(grid[:count])


def _columns(panels: int) -> int:
    return 2 if panels == 4 else min(panels, 3)


def _draw_scores(
    axes: Axes, rows: list[Summary], name: str, colour: str, marker: str, asides: Sequence[Transform]
) -> dict[str, Any]:
    """Training and test scores of one setting, each moved aside a little, so that error bars stay apart."""
    rows = sorted(rows, key=lambda row: row.hidden_units)
    x = np.array([row.hidden_units for row in rows])
    marks: dict[str, Any] = {}
    for part, column, dash, face, aside in (
        ("training", "train_score", "--", "white", asides[0]),
        ("test", "test_score", "-", colour, asides[1]),
    ):
        mean, deviation = (np.array([getattr(row, of)[column] for row in rows]) for of in ("mean", "deviation"))
        marks[_join(name, part)] = axes.errorbar(
            x,
            mean,
            yerr=None if np.isnan(deviation).all() else deviation,  # NaN, where there is one seed, is not drawn
            color=colour,
            linestyle=dash,
            marker=marker,
            markerfacecolor=face,
            capsize=2.5,
            transform=axes.transData + aside,
        )
        for sign in (-1, 1):  # the axes' limits do not look at what has a transform of its own
            axes.update_datalim(np.column_stack([x, mean + sign * np.nan_to_num(deviation)]))
    axes.autoscale_view()
    return marks


def _draw_baseline(axes: Axes, row: Summary, name: str, colour: str) -> dict[str, Any]:
    mean, deviation = row.mean["test_score"], row.deviation["test_score"]
    if not np.isnan(deviation):
        axes.axhspan(mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
    line = axes.axhline(mean, color=colour, linestyle="-.", linewidth=1.2, zorder=1.5)
    return {_join("M = 0" if name else LINEAR, name, "test"): line}


def _draw_references(axes: Axes, reference: Mapping[str, Mapping[int, float]]) -> dict[str, Any]:
    marks = {}
    for (name, points), (colour, marker) in zip(reference.items(), itertools.cycle(_REFERENCES), strict=False):
        # Large and hollow, so that it shows around a point of ours; on the left edge where M = 0.
        style: Style = {"color": colour, "linestyle": "", "marker": marker, "markersize": 10, "markerfacecolor": "none"}
        hidden = {m: score for m, score in points.items() if m}
        (marks[f"{name}, test"],) = axes.plot(list(hidden), list(hidden.values()), **style)
        if 0 in points:
            axes.plot([0], [points[0]], transform=axes.get_yaxis_transform(), clip_on=False, **style)
    return marks


def _draw_saturation(axes: Axes, saturation: int | None) -> dict[str, Any]:
    if saturation is None:
        return {}
    line = (
        axes.axvline(saturation, color=_GREY, linestyle=":", zorder=1.5) if saturation else Line2D([], [], linestyle="")
    )
    return {f"saturation at M = {saturation}, by validation": line}


# Axes and words


def _width_axis(axes: Axes, widths: Sequence[int], panels: int) -> None:
    """Ticks at the widths that were trained, as many as have room; a log scale if they span more than 30 times."""
    place: Callable[[float], float] = float
    if widths[-1] > 30 * widths[0] > 0:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        place = math.log
    columns = _columns(panels)
    # The longest label (in parts of the axis) decides for all, so that ticks are spaced evenly where widths are.
    room = (0.012 + 0.0125 * len(str(widths[-1]))) * columns * (place(widths[-1]) - place(widths[0]))
    labelled = [widths[0]]
    for width in widths[1:]:
        if place(width) - place(labelled[-1]) >= room:
            labelled.append(width)
    axes.set_xticks(labelled, [str(width) for width in labelled])


def _loss_axis(axes: Axes, history: Table) -> None:
    """A log scale if losses span more than 5 times."""
    losses = np.concatenate([history["loss"], history["validation_loss"]])
    losses = losses[np.isfinite(losses)]
    if losses.min() > 0 and losses.max() > 5 * losses.min():
        axes.set_yscale("log")
        few_decades = losses.max() < 300 * losses.min()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few_decades else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def _score_axis(axes: Axes, score_name: str) -> None:
    if score_name == "accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}"))


def _score_label(score_name: str) -> str:
    return "accuracy (%)" if score_name == "accuracy" else score_name


def _nothing_but(note: str) -> Figure:
    figure = Figure(figsize=(WIDTH, 1))
    figure.text(0.5, 0.5, note, ha="center", va="center")
    return figure


def _left_out(trials: int, kept: int) -> str:
    gone = trials - kept
    return f"{gone} of {trials} trials diverged and {'is' if gone == 1 else 'are'} left out" if gone else ""


def _spread(statistics: str, counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    if most == 1:
        return "1 seed"
    return f"{statistics} over {most if least == most else f'{least} to {most}'} seeds"


def _join(*parts: str, by: str = ", ") -> str:
    return by.join(filter(None, parts))


def _colours(count: int) -> list[str]:
    """Colours from dark to light, none so light that it is lost on white."""
    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0, 0.72, count)]


# Tables


def _choose(table: Table, activation: str | None, learning_rate: float | None) -> Table:
    chosen = _where(table, _of(table, Setting(activation, learning_rate)))
    if not len(chosen["trial"]):
        there = sorted(set(map(Setting, table["activation"].tolist(), table["learning_rate"].tolist())))
        known = "; ".join(setting.text() for setting in there) or "none at all"
        raise InputError(
            f"no trials with {Setting(activation, learning_rate).text() or 'any setting'}: there are {known}"
        )
    return chosen


def _of(table: Table, setting: Setting) -> np.ndarray:
    """Which rows are of a setting."""
    mask = np.ones(len(table["trial"]), bool)
    if setting.activation is not None:
        mask &= table["activation"] == setting.activation
    if setting.learning_rate is not None:
        mask &= table["learning_rate"] == setting.learning_rate
    return mask


def _shared(settings: Iterable[Setting]) -> Setting:
    """What all of them have in common."""
    activations, rates = (set(values) for values in zip(*settings, strict=True))
    return Setting(activations.pop() if len(activations) == 1 else None, rates.pop() if len(rates) == 1 else None)


def _where(table: Table, mask: np.ndarray) -> Table:
    return {name: column[mask] for name, column in table.items()}
