"""Learning curves."""

import itertools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from mlp_jax.answers.plots.settings import (
    LINEAR,
    Setting,
    choose,
    divergence_note,
    heading,
    join,
    rows_of,
    shared_setting,
    shown,
    spread,
    where,
)
from mlp_jax.answers.plots.style import (
    DASHES,
    MARKERS,
    WIDTH,
    Figure,
    Style,
    colours,
    loss_axis,
    nothing_but,
    score_axis,
    score_label,
    styled,
)
from mlp_jax.runs.tables import Table, without_activation

Band = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Epochs, and the lower and upper end of a curve's band at each."""

_LEAST_EPOCHS = 5  # from which the first ones may be left out
_MOST_OF_LATER = 0.6  # of an axis, that later epochs take where the first ones waste the rest
MOST_IN_LEGEND = 8  # widths; more of them get a colour bar
METRICS = ("loss", "score")
RUNNING = "training (running)"
PARTS = (RUNNING, "validation")
RUNNING_MEANS = "training (running): mean over each epoch, while parameters change"


@styled
def learning_curves(
    history: Table,
    score_name: str,
    *,
    of: Mapping[str, Any] = MappingProxyType({}),
    title: str = "",
) -> Figure:
    """Loss and score by epoch, for training and validation and by width: mean over seeds with a ± SD band.

    What is shown of training is the running mean over each epoch, as it was trained, whose parameters change meanwhile;
    validation is scored after the epoch. Where the first epochs, which are far from the others, would take most of a
    panel, it shows the others. One width is drawn as training against validation; several as one line each,
    training beside validation.
    Settings (variant, learning rate) follow one below the other, on the same scales: of many those that are best on
    validation.

    Args:
        history: table with one row per trial and epoch; a trial with a ``diverged`` row other than 0 is left out,
            the validation columns are NaN if there was none.
        score_name: ``accuracy``, which is shown in percent, or another.
        of: only trials with these values, by name of a column, such as ``{"activation": "relu"}``.
        title: name of the data, for the title.

    Raises:
        InputError: there are no such trials.
    """
    chosen, some = shown(choose(history, of))
    kept = where(chosen, ~np.isin(chosen["trial"], chosen["trial"][chosen["diverged"] > 0]))
    left_out = divergence_note(len(np.unique(chosen["trial"])), len(np.unique(kept["trial"])))
    if not len(kept["trial"]):
        return nothing_but(left_out)
    widths = sorted(set(kept["hidden_units"].tolist()))
    if widths == [0]:
        kept = _without_activations(kept)
    settings = list(dict.fromkeys(map(Setting, kept["variant"].tolist(), kept["learning_rate"].tolist())))
    parts = PARTS if np.isfinite(kept["validation_loss"]).any() else PARTS[:1]
    apart = len(widths) > 1
    styles = _width_styles(widths) if apart else _part_styles(parts)

    figure, panels = _curve_panels(len(settings), len(parts) if apart else 1)
    for axes in panels.ravel():  # set the limits once, below: after each curve would take minutes for a large grid
        axes.set_autoscale_on(False)
    counts: list[int] = []
    drawn: list[list[Band]] = [[], []]
    for i, setting in enumerate(settings):
        here = where(kept, rows_of(kept, setting))
        for width in widths:
            rows = where(here, here["hidden_units"] == width)
            for (j, metric), (k, part) in itertools.product(enumerate(METRICS), enumerate(parts)):
                axes, style = (panels[i, j, k], styles[width]) if apart else (panels[i, j, 0], styles[part])
                column = metric if part == RUNNING else f"validation_{metric}"
                count, band = _draw_curve(axes, rows["epoch"], rows[column], style)
                counts += count
                drawn[j].append(band)
    for axes in panels.ravel():
        axes.autoscale()
    _head_curves(panels, settings, parts, score_name)
    first = _beginning(kept["epoch"])
    loss_axis(panels[0, 0, 0], where(kept, kept["epoch"] > first))
    beyond = [_leave_out_beginning(axes, bands, first) for axes, bands in zip(panels[0, :, 0], drawn, strict=True)]
    cut = f"epoch{'s 1 to' if first > 1 else ''} {first}: partly beyond the axes" if any(beyond) else ""
    score_axis(panels[0, 1, 0], score_name)
    panels[0, 0, 0].xaxis.set_major_locator(
        MaxNLocator(4 if panels.shape[2] > 1 and len(settings) > 2 else "auto", integer=True, steps=[1, 2, 5, 10])
    )

    statistics = spread("mean ± standard deviation (bands)", counts)
    if apart:
        figure.suptitle(heading("learning curves", title, shared_setting(settings).text()))
        grey = "dashed grey: M = 0" if 0 in widths and len(widths) > MOST_IN_LEGEND else ""
        notes = join(join(statistics, cut, grey, by="; "), RUNNING_MEANS, join(some, left_out, by="; "), by="\n")
        figure.supxlabel(notes, fontsize="medium")
        _width_key(figure, styles)
    else:
        what = join(f"M = {widths[0]}" if widths[0] else LINEAR, shared_setting(settings).text())
        figure.suptitle(join(title, what, by=": "))
        handles = [Line2D([], [], label=part, **style) for part, style in styles.items()]
        note = join(statistics, RUNNING_MEANS, cut, join(some, left_out, by="; "), by="; ")
        figure.legend(handles=handles, title=note, loc="outside lower center", ncols=2)
    return figure


def _without_activations(kept: Table) -> Table:
    """Trials without a hidden layer, once, as they are the same for every activation."""
    without = np.array([without_activation(variant) for variant in kept["variant"].tolist()])
    first: dict[tuple[str, float], str] = {}
    keys = zip(without.tolist(), kept["learning_rate"].tolist(), kept["variant"].tolist(), strict=True)
    once = [first.setdefault((short, rate), variant) == variant for short, rate, variant in keys]
    return where(kept | {"variant": without}, np.array(once))


def _curve_panels(settings: int, parts: int) -> tuple[Figure, np.ndarray]:
    """Axes ``[setting, metric, part]`` that share epochs, and share a scale for each metric.

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
    shared = shared_setting(settings)
    for i, setting in enumerate(settings):
        text = setting.text(told=shared)
        before = text.replace(", ", "\n") + "\n" if four else ""
        panels[i, 0, 0].set_ylabel(f"{before}loss")
        panels[i, 1, 0].set_ylabel(score_label(score_name))
        for axes, part in zip(panels[i, 0], parts if panels.shape[2] > 1 else ("",), strict=True):
            axes.set_title("" if four else join(text, part, by=": "))
    if four:
        for axes, part in zip(panels[0].ravel(), itertools.cycle(parts), strict=False):
            axes.set_title(part)


def _beginning(epochs: np.ndarray) -> int:
    """The last of the first epochs, in which curves may run so fast that they would take most of a panel; 0 for few."""
    shown = np.unique(epochs)
    return int(shown[len(shown) // 20]) if len(shown) >= _LEAST_EPOCHS else 0


def _leave_out_beginning(axes: Axes, bands: Sequence[Band], first: int) -> bool:
    """Limit an axis to what follows the first epochs if these would take much of it; returns whether it was limited."""
    late = [(low[x > first], high[x > first]) for x, low, high in bands]
    ends = np.concatenate([values for pair in late for values in pair])
    ends = ends[np.isfinite(ends)]
    to, back = (np.log, np.exp) if axes.get_yscale() == "log" else (np.asarray, np.asarray)
    if not first or not len(ends):
        return False
    low, high = to(np.array([ends.min(), ends.max()]))
    bottom, top = to(np.array(axes.get_ylim()))
    if not (np.isfinite([bottom, top]).all() and 0 < high - low < _MOST_OF_LATER * (top - bottom)):
        return False
    room = 0.05 * (high - low)
    axes.set_ylim(*back(np.array([max(bottom, low - room), min(top, high + room)])).tolist())
    return True


def _draw_curve(axes: Axes, x: np.ndarray, y: np.ndarray, style: Style) -> tuple[list[int], Band]:
    """Draw mean and standard deviation (n − 1) of y at each x.

    Returns:
        The number of values in each mean, and the band.
    """
    places = np.unique(x)
    groups = [y[x == place].astype(float) for place in places]
    mean = np.array([group.mean() for group in groups])
    deviation = np.zeros(len(mean))
    if groups and all(len(group) > 1 for group in groups):
        deviation = np.array([group.std(ddof=1) for group in groups])
        axes.fill_between(places, mean - deviation, mean + deviation, color=style["color"], alpha=0.2, linewidth=0)
    step = max(1, math.ceil(len(places) / 10))  # a few have markers, and the last; a single point needs one
    marker = {"marker": style.get("marker", "o" if len(places) == 1 else "")}
    axes.plot(places, mean, markevery=((len(places) - 1) % step, step), **style | marker)
    return [len(group) for group in groups], (places, mean - deviation, mean + deviation)


def _part_styles(parts: Sequence[str]) -> dict[Any, Style]:
    dark, middle = colours(3)[:2]
    styles: list[Style] = [
        {"color": dark, "linestyle": "-", "marker": "o"},
        {"color": middle, "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
    ]
    return dict(zip(parts, styles, strict=False))


def _width_styles(widths: Sequence[int]) -> dict[Any, Style]:
    """Colours from light to dark by rank, with M = 0 in grey; few lines also get markers and dashes."""
    few = len(widths) <= MOST_IN_LEGEND
    hidden = [width for width in widths if width]
    styles: dict[Any, Style] = {0: {"color": "0.55", "linestyle": (0, (4, 1.5))}} if 0 in widths else {}
    for i, (width, colour) in enumerate(zip(hidden, colours(len(hidden))[::-1], strict=True)):
        marked = {"linestyle": DASHES[i % len(DASHES)], "marker": MARKERS[i % len(MARKERS)]}
        styles[width] = {"color": colour} | (marked if few else {})
    return styles


def _width_key(figure: Figure, styles: Mapping[Any, Style]) -> None:
    """A legend of widths, or a colour bar with one step per width if there are many."""
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
