"""Figures against the width of the hidden layer."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWNBASE, CARETUPBASE
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation, Transform

from mlp_jax.answers.analysis import (
    Summary,
    bounded,
    by_setting,
    measure_name,
    score_text,
    seconds_alone,
    seconds_together,
    summarize,
    undefined_scores,
)
from mlp_jax.answers.plots.settings import (
    LINEAR,
    Setting,
    divergence_note,
    heading,
    join,
    shared_setting,
    shown,
    spread,
    wrapped,
)
from mlp_jax.answers.plots.style import (
    GREY,
    MARKERS,
    WIDTH,
    Figure,
    Style,
    colours,
    nothing_but,
    panel_columns,
    score_axis,
    score_label,
    styled,
    width_axis,
)
from mlp_jax.answers.variation import UNKNOWN
from mlp_jax.runs.tables import LAYERS, Table, criterion, shared_parts, without_activation
from mlp_jax.sweeps.outcomes import Outcomes

DEVIATIONS = "mean ± standard deviation"
MOST_IN_PANEL = 3  # settings whose training and test lines share a panel; more get panels of their own

TRAINING = "training, finished models"
PARTS = (TRAINING, "validation", "test")
SPLITS = {TRAINING: "train", "validation": "validation", "test": "test"}

_LONGEST_OF_TWO = 46  # characters of a label, that two of them have room beside each other
_MOST_BEYOND = 1.0  # parts of the range of the means that an interval may go beyond them
_ASIDE = 3.0  # points between neighbours at the same M, in a panel of full width
_REFERENCES = (("#d55e00", "D"), ("black", "s"), ("#009e73", "^"), ("#cc79a7", "v"))


@styled
def accuracy_against_width(
    trials: Table,
    score_name: str,
    reference: Mapping[str, Mapping[int, float]] | None = None,
    *,
    outcomes: Outcomes | None = None,
    enough: tuple[int, str] | None = None,
    title: str = "",
) -> Figure:
    """Training, validation and test score of the finished models against M, with 95 % intervals.

    Intervals, of validation and test only, cover the luck of seeds and of examples. The test score of M = 0, the
    generalized linear model, is a horizontal line, and so is its validation score. Up to three settings (variant,
    learning rate) share a panel, without training; more get their own panels; of many, those that are best on
    validation. The axis spans the means and most intervals; an arrow says where one goes on. Where the score cannot be
    computed on validation, the loss is drawn.

    Args:
        trials: table with one row per trial.
        score_name: ``accuracy``, which is shown in percent, or another.
        reference: test scores of single runs to compare with, by name and M: the article's, Keras's, ...
        outcomes: results by example; None if they are not known, so that intervals only count seeds.
        enough: a width to mark, and why.
        title: name of the data, for the title.
    """
    reference = reference or {}
    trials, some = shown(trials)
    measure, score_name = criterion(trials).measure, measure_name(trials, score_name)
    undefined = _undefined_note(trials, measure)
    left_out = divergence_note(len(trials["trial"]), int(np.count_nonzero(trials["diverged"] == 0)))
    usable = [row for row in summarize(trials, outcomes) if row.seeds]
    if not usable:
        return nothing_but(left_out)
    linear = {_without_layers(row): row for row in usable if not row.hidden_units}
    curves = {Setting(*key): rows for key, rows in by_setting([row for row in usable if row.hidden_units]).items()}
    baseline = {setting: _without_layers(rows[0]) for setting, rows in curves.items()}
    if not curves:  # nothing that M = 0 would be the baseline of
        curves = {Setting(without_activation(row.variant), row.learning_rate): [row] for row in linear.values()}
        linear = {}
    shared, groups = shared_setting(curves), _groups(list(curves))
    titles = [shared_setting(group) for group in groups]
    if any(told.learning_rate is None for told in titles):  # then lines say it, in panels that have one, too
        titles = [told._replace(learning_rate=None) for told in titles]
    texts = (setting.text(told=told) for group, told in zip(groups, titles, strict=True) for setting in group)
    names = list(dict.fromkeys(texts))
    looks = dict(zip(names, zip(colours(len(names)), itertools.cycle(MARKERS), strict=False), strict=True))

    columns = panel_columns(len(groups))
    above = [wrapped(told.text(told=shared), (WIDTH - 0.6) / columns) if groups[1:] else "" for told in titles]
    figure, panels = _score_panels(len(groups), score_name, max(text.count("\n") for text in above))
    step = _ASIDE / columns / 72  # inches
    parts = PARTS if max(map(len, groups)) == 1 else PARTS[1:]
    marks: dict[str, Any] = {}  # what the legend explains, by label: the same in every panel, so each once
    for axes, group, told, text in zip(panels, groups, titles, above, strict=True):
        axes.set_title(text)
        for i, setting in enumerate(group):
            name = setting.text(told=told)
            first = len(parts) * i - (len(parts) * len(group) - 1) / 2  # series lie evenly about M
            asides = [ScaledTranslation(step * (first + k), 0, figure.dpi_scale_trans) for k in range(len(parts))]
            marks |= _draw_scores(axes, curves[setting], name, score_name, measure, *looks[name], parts, asides)
        marks |= _draw_references(figure, axes, reference, step * (len(parts) * len(group) + 3) / 2)
    drawn = [row.mean[f"{SPLITS[part]}_{measure}"] for rows in curves.values() for row in rows for part in parts]
    _span_means(panels[0], [*drawn, *(score for points in reference.values() for score in points.values())])
    for axes, group, told in zip(panels, groups, titles, strict=True):
        for key, row in linear.items():
            if of_row := [setting for setting in group if baseline[setting] == key]:
                name = shared_setting(of_row).text(told=told)
                colour = looks[name][0] if name in looks and name else GREY
                for part in PARTS[1:]:
                    alone = (colours(3)[1] if parts == PARTS else colour, ":")
                    look = alone if part == "validation" else (colour, "-.")
                    marks |= _draw_baseline(axes, row, name, score_name, measure, part, *look)
        marks |= _draw_enough(axes, enough)
    widths = {row.hidden_units for rows in curves.values() for row in rows}
    width_axis(panels[0], sorted(widths.union(*reference.values()) - {0} or {0}), len(panels))
    score_axis(panels[0], score_name)
    cut = _mark_cut_bars(panels)
    figure.suptitle(heading(f"{score_name} against width", title, shared.text()))
    counts = [row.seeds for rows in (*curves.values(), linear.values()) for row in rows]
    of_examples = outcomes is not None and bool(outcomes.sizes)
    luck = "seeds and examples" if of_examples and max(counts) > 1 else "examples" if of_examples else "seeds"
    bars = f"bars: 95 % interval of the mean (of no difference), by the luck of {luck}"
    bars = bars if of_examples or max(counts) > 1 else ""
    without = f"M = 0: {enough[1]}" if enough is not None and not enough[0] else ""  # no line marks it
    note = join(join(spread("mean", counts), left_out, undefined, by="; "), bars, cut, without, some, by="\n")
    _legend(figure, marks, note)
    return figure


def _legend(figure: Figure, marks: Mapping[str, Any], note: str) -> None:
    """Put the legend below the panels; the figure grows if the legend has many lines."""
    columns = 2 if max(map(len, marks), default=0) <= _LONGEST_OF_TWO else 1
    lines = math.ceil(len(marks) / columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0, lines - 4))
    figure.legend(list(marks.values()), list(marks), title=note, loc="outside lower center", ncols=columns)


def _without_layers(row: Summary) -> tuple[object, ...]:
    """What a network without a hidden layer is told apart by: no activation, no depth."""
    axes = ((name, value) for name, value in row.axes.items() if name not in ("activation", LAYERS))
    return (*axes, row.learning_rate)


def _undefined_note(trials: Table, measure: str) -> str:
    """A note on scores that cannot be computed; empty if all can, or if the loss is drawn instead."""
    if measure == "loss":
        return "the score of validation cannot be computed"
    missing = list(undefined_scores(trials, {}))
    return f"the score of {' and '.join(missing)} cannot be computed" if missing else ""


def _means(rows: Sequence[Summary], part: str, measure: str, score_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each point over its seeds, and how far its interval extends down and up; NaN if there is none."""
    mean = np.array([row.mean[f"{SPLITS[part]}_{measure}"] for row in rows])
    ends = np.array([bounded(row.interval.get(part, UNKNOWN), score_name) for row in rows]).T
    return mean, np.maximum([mean - ends[0], ends[1] - mean], 0.0)  # NaN stays NaN


def _groups(settings: list[Setting]) -> list[list[Setting]]:
    """Which settings share a panel: all if they are few, else those of one variant if those are, else none."""
    if len(settings) <= MOST_IN_PANEL:
        return [settings]
    by_variant: dict[str, list[Setting]] = {}
    for setting in settings:
        by_variant.setdefault(setting.variant, []).append(setting)
    if max(map(len, by_variant.values())) <= MOST_IN_PANEL:
        return list(by_variant.values())
    return [[setting] for setting in settings]


def _score_panels(count: int, score_name: str, more_lines: int) -> tuple[Figure, list[Axes]]:
    """Panels whose titles have one line, or that many more."""
    columns = panel_columns(count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, 5 if count == 1 else (2.2 + 0.18 * more_lines) * rows + 1.8))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[max(0, count - columns) : count]:  # nothing is below them
        axes.set_xlabel("hidden units M")
        axes.tick_params(labelbottom=True)
    for axes in grid[:count:columns]:
        axes.set_ylabel(score_label(score_name))
    return figure, list(grid[:count])


def _draw_scores(
    axes: Axes,
    rows: list[Summary],
    name: str,
    score_name: str,
    measure: str,
    colour: str,
    marker: str,
    parts: Sequence[str],
    asides: Sequence[Transform],
) -> dict[str, Any]:
    """Draw scores of one setting by split, each shifted a little so that error bars do not overlap."""
    rows = sorted(rows, key=lambda row: row.hidden_units)
    x = np.array([row.hidden_units for row in rows])
    looks: dict[str, Style] = {
        TRAINING: {"color": colour, "linestyle": "--", "markerfacecolor": "white", "marker": marker},
        "validation": {"color": colours(3)[1], "linestyle": ":", "markerfacecolor": "white", "marker": "s"},
        "test": {"color": colour, "linestyle": "-", "marker": marker},
    }
    if TRAINING not in parts:
        looks["validation"] = looks[TRAINING]
    marks: dict[str, Any] = {}
    for part, aside in zip(parts, asides, strict=True):
        mean, margins = _means(rows, part, measure, score_name)
        if np.isnan(mean).all():
            continue
        marks[join(name, part)] = axes.errorbar(
            x,
            mean,
            yerr=None if np.isnan(margins).all() else margins,  # NaN is not drawn
            capsize=2.5,
            transform=axes.transData + aside,
            **looks[part],
        )
        for end in (mean - np.nan_to_num(margins[0]), mean, mean + np.nan_to_num(margins[1])):
            axes.update_datalim(np.column_stack([x, end]))  # which does not look at what has a transform of its own
    axes.autoscale_view()
    return marks


def _mark_cut_bars(panels: Iterable[Axes]) -> str:
    """Draw an arrow wherever a bar goes on beyond the axis; returns a note if any does."""
    note = ""
    for axes in panels:
        bottom, top = axes.get_ylim()
        drawn = [container for container in axes.containers if isinstance(container, ErrorbarContainer)]
        for bars in itertools.chain.from_iterable(container.lines[2] for container in drawn):
            style: Style = {"transform": bars.get_transform(), "color": bars.get_color()[0], "clip_on": False}
            for segment in filter(len, bars.get_segments()):  # without one where the interval is not known
                (x, low), (_, high) = segment
                for end, marker in ((bottom, CARETDOWNBASE), (top, CARETUPBASE)):
                    if low < end < high:
                        axes.plot([x], [end], marker=marker, markersize=7, **style)
                        note = "arrows: a bar goes on beyond the axis"
        axes.set_ylim(bottom, top)
    return note


def _span_means(axes: Axes, means: Sequence[float]) -> None:
    """Let a few wide intervals leave the axis where they would flatten everything else."""
    known = [mean for mean in means if np.isfinite(mean)]
    if not known:
        return
    low, high = min(known), max(known)
    room = _MOST_BEYOND * max(high - low, 1e-3)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, low - room), min(top, high + room))


def _draw_baseline(
    axes: Axes, row: Summary, name: str, score_name: str, measure: str, part: str, colour: str, dash: str
) -> dict[str, Any]:
    """Draw a line and its band; a value far beyond the curves is put into the legend instead."""
    (mean,), margins = _means([row], part, measure, score_name)
    if np.isnan(mean):
        return {}
    label = join("M = 0" if name else LINEAR, name, part)
    bottom, top = axes.get_ylim()
    if not bottom - (top - bottom) <= mean <= top + (top - bottom):
        where = "below" if mean < bottom else "above"
        off = Line2D([], [])
        off.set(color=colour, linestyle=dash)
        return {f"{label}: {score_text(mean, score_name)}, {where} the axis": off}
    if part == "test" and not np.isnan(margins).all():
        axes.axhspan(mean - margins[0, 0], mean + margins[1, 0], color=colour, alpha=0.15, linewidth=0)
    line = axes.axhline(mean, color=colour, linestyle=dash, linewidth=1.2, zorder=1.5)
    room = 0.05 * (top - bottom)
    axes.set_ylim(min(bottom, mean - room), max(top, mean + room))
    return {label: line}


def _draw_references(
    figure: Figure, axes: Axes, reference: Mapping[str, Mapping[int, float]], beside: float
) -> dict[str, Any]:
    """Draw others' scores that many inches to the left and right of ours, so that they do not cover them."""
    marks = {}
    for i, ((name, points), (colour, marker)) in enumerate(
        zip(reference.items(), itertools.cycle(_REFERENCES), strict=False)
    ):
        inches = beside * (1 + i // 2) * (-1, 1)[i % 2]
        side = ScaledTranslation(inches, 0, figure.dpi_scale_trans)
        style: Style = {"color": colour, "linestyle": "", "marker": marker, "markersize": 6, "markerfacecolor": "none"}
        hidden = {m: score for m, score in points.items() if m}
        x, y = list(hidden), list(hidden.values())
        (marks[f"{name}, test (one run)"],) = axes.plot(x, y, transform=axes.transData + side, **style)
        axes.update_datalim(np.column_stack([x, y]))
        if 0 in points:  # on the left edge
            axes.plot([0], [points[0]], transform=axes.get_yaxis_transform(), clip_on=False, **style)
    axes.autoscale_view()
    return marks


def _draw_enough(axes: Axes, enough: tuple[int, str] | None) -> dict[str, Any]:
    if enough is None or not enough[0]:
        return {}
    width, why = enough
    return {f"M = {width}: {why}": axes.axvline(width, color=GREY, linestyle=":", zorder=1.5)}


# Loss and score against the number of parameters


@styled
def scores_against_parameters(trials: Table, score_name: str, *, title: str = "") -> Figure:
    """Loss and score of the finished models against the number of their parameters, ± standard deviation over seeds.

    The axes span the means and most bars; an arrow says where one goes on. One line per setting (variant, learning
    rate), of many for those that are best on validation; training is shown for up to three of them. The scale above
    gives M, where networks of as many parameters have the same. M = 0, which has nearly as many parameters as a small
    M > 0 can have, is a point of its own.

    Args:
        trials: table with one row per trial.
        score_name: ``accuracy``, which is shown in percent, or another.
        title: name of the data, for the title.
    """
    trials, some = shown(trials)
    note = divergence_note(len(trials["trial"]), int(np.count_nonzero(trials["diverged"] == 0)))
    usable = [row for row in summarize(trials) if row.seeds]
    if not usable:
        return nothing_but(note)
    curves = {Setting(*key): sorted(rows, key=lambda row: row.parameters) for key, rows in by_setting(usable).items()}
    shared = shared_setting(curves)
    figure = Figure(figsize=(WIDTH, 4.2))
    panels = figure.subplots(1, 2, sharex=True)
    marks: dict[str, Any] = {}
    parts = ("train", "test") if len(curves) <= MOST_IN_PANEL else ("test",)
    looks = zip(colours(len(curves)), itertools.cycle(MARKERS), strict=False)
    for (setting, rows), (colour, marker) in zip(curves.items(), looks, strict=False):
        for part, (axes, metric) in itertools.product(parts, zip(panels, ("loss", "score"), strict=True)):
            name = join(setting.text(told=shared), TRAINING if part == "train" else "test")
            style: Style = {
                "color": colour,
                "capsize": 2.5,
                "linestyle": "--" if part == "train" else "-",
                "markerfacecolor": "white" if part == "train" else colour,
            }
            hidden, linear = ([row for row in rows if bool(row.hidden_units) == wide] for wide in (True, False))
            for chosen, changes in ((hidden, {"marker": marker}), (linear, {"marker": "*", "markersize": 11})):
                if not chosen:
                    continue
                mean, deviation = (
                    np.array([values[f"{part}_{metric}"] for values in of])
                    for of in ([row.mean for row in chosen], [row.deviation for row in chosen])
                )
                if np.isnan(mean).all():
                    continue
                mark = axes.errorbar(
                    [row.parameters for row in chosen],
                    mean,
                    yerr=None if np.isnan(deviation).all() else deviation,
                    **style | changes,
                )
                marks.setdefault(name, mark)
    for axes, metric in zip(panels, ("loss", "score"), strict=True):
        _span_means(axes, [row.mean[f"{part}_{metric}"] for row in usable for part in parts])
        axes.set_xscale("log")
        axes.set_xlabel("parameters")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if len({row.axes.get(LAYERS, "").count("-") for row in usable if row.hidden_units}) == 1:
            _widths_above(axes, {row.parameters: row.hidden_units for row in usable if row.hidden_units})
    panels[0].set_ylabel("loss")
    panels[1].set_ylabel(score_label(score_name))
    score_axis(panels[1], score_name)
    cut = _mark_cut_bars(panels)
    figure.suptitle(heading(f"loss and {score_name} against the number of parameters", title, shared.text()))
    star = "star: M = 0" if any(not row.hidden_units for row in usable) else ""
    undefined = _undefined_note(trials, "score")
    note = join(spread(DEVIATIONS, [row.seeds for row in usable]), star, cut, note, undefined, by="; ")
    note = join(note, some, by="\n")
    _legend(figure, marks, note)
    return figure


def _widths_above(axes: Axes, widths: Mapping[int, int]) -> None:
    """A scale of M above that of the parameters, with as many labels as have room."""
    scale = axes.secondary_xaxis("top")
    low, high = (math.log(end) for end in axes.get_xlim())
    labelled: list[int] = []
    for parameters in sorted(widths, reverse=True):
        if not labelled or math.log(labelled[-1] / parameters) > 0.09 * (high - low):
            labelled.append(parameters)
    scale.xaxis.set_minor_locator(NullLocator())
    scale.set_xticks(labelled, [f"{widths[parameters]:,}" for parameters in labelled])
    scale.set_xlabel("hidden units M")


# Learning rate × width


@styled
def rate_by_width(trials: Table, score_name: str, *, title: str = "") -> Figure:
    """Heat map: mean validation score over seeds by learning rate and width, one panel per variant.

    Of many variants those that are best on validation are shown. The best learning rate of each width is framed (of
    many widths, has a dot); combinations of which every trial diverged are hatched.

    Args:
        trials: table with one row per trial.
        score_name: ``accuracy``, which is shown in percent, or another.
        title: name of the data, for the title.
    """
    trials, some = shown(trials, "variant")
    note = divergence_note(len(trials["trial"]), int(np.count_nonzero(trials["diverged"] == 0)))
    rows = summarize(trials)
    if not any(row.seeds for row in rows):
        return nothing_but(note)
    by, score_name = criterion(trials), measure_name(trials, score_name)
    variants = list(dict.fromkeys(row.variant for row in rows))
    shared = Setting(shared_parts(variants), None)
    widths = sorted({row.hidden_units for row in rows})
    rates = sorted({row.learning_rate for row in rows})
    scores = np.full((len(variants), len(rates), len(widths)), np.nan)
    lost = np.zeros(scores.shape, bool)
    for row in rows:
        place = variants.index(row.variant), rates.index(row.learning_rate), widths.index(row.hidden_units)
        scores[place], lost[place] = row.mean[by.column], not row.seeds
    figure = Figure(figsize=(WIDTH, len(variants) * (0.42 * len(rates) + 0.9) + 1.0))
    panels = figure.subplots(len(variants), 1, squeeze=False, sharex=True)[:, 0]
    scale, digits = (100, 1 if len(widths) > 8 else 2) if score_name == "accuracy" else (1, 3)
    norm = Normalize(np.nanmin(scores), np.nanmax(scores))
    marked, framed = False, len(widths) <= 14
    for axes, variant, table, gone in zip(panels, variants, scores, lost, strict=True):
        axes.set_facecolor("0.92")
        mesh = axes.imshow(table, cmap="viridis", norm=norm, origin="lower", aspect="auto")
        for (i, j), score in np.ndenumerate(table):
            if gone[i, j]:
                cell = Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="///", edgecolor="0.6", linewidth=0)
                axes.add_patch(cell)
            elif framed and not np.isnan(score):  # elsewhere nothing was asked for
                ink = "black" if norm(score) > 0.55 else "white"
                axes.text(j, i, f"{scale * score:.{digits}f}", ha="center", va="center", color=ink, fontsize=8)
        for j in range(len(widths)):
            if np.isfinite(table[:, j]).sum() > 1:
                marked, best = True, int(np.nanargmax(by.merit(table[:, j])))
                if framed:
                    for colour, line in (("white", 3.0), ("black", 1.4)):
                        frame = Rectangle((j - 0.46, best - 0.46), 0.92, 0.92, fill=False)
                        frame.set(edgecolor=colour, linewidth=line)
                        axes.add_patch(frame)
                else:
                    axes.plot(j, best, "o", color="white", markeredgecolor="black", markersize=4)
        axes.set_title(Setting(variant, None).text(told=shared))
        axes.set_yticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        axes.set_ylabel("learning rate")
        axes.grid(visible=False)
        axes.tick_params(length=0)
    labelled = range(0, len(widths), math.ceil(len(widths) / 20))
    panels[-1].set_xticks(labelled, [str(widths[j]) for j in labelled])
    panels[-1].set_xlabel("hidden units M")
    aspect = max(30.0, 6 * figure.get_figheight())
    bar = figure.colorbar(mesh, ax=list(panels), aspect=aspect, label=f"validation {score_label(score_name)}")
    score_axis(bar.ax, score_name)
    figure.suptitle(heading(f"validation {score_name} by learning rate and width", title, shared.text()))
    hatched = "hatched: every trial diverged" if lost.any() else ""
    counts = [row.seeds for row in rows if row.seeds]
    notes = join(
        spread("mean", counts),
        f"{'framed' if framed else 'dot'}: best of its width" if marked else "",
        hatched,
        by="; ",
    )
    figure.supxlabel(join(notes, join(some, note, by="; "), by="\n"), fontsize="medium")
    return figure


# Training time


@styled
def training_time(timing: Table) -> Figure:
    """Measured seconds per epoch against M: each width alone, the widths one after another, and all together.

    Args:
        timing: table with one row per measured epoch, from ``mlp_jax.runs.timing.time_widths``.
    """
    alone, together = seconds_alone(timing), seconds_together(timing)
    widths = list(alone)
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    series = (
        ("this width alone", list(alone.values()), ":", "^"),
        ("this and all smaller widths, one after another", np.cumsum(list(alone.values())).tolist(), "--", "s"),
        ("this and all smaller widths, together", list(together.values()), "-", "o"),
    )
    for (label, seconds, dash, marker), colour in zip(series, ("0.45", *colours(3)[1::-1]), strict=True):
        axes.plot(widths, seconds, linestyle=dash, marker=marker, color=colour, label=label)
    for name, colour in (("alone", "0.45"), ("together", colours(3)[0])):  # every epoch that was measured
        here = timing["program"] == name
        axes.plot(timing["hidden_units"][here], timing["seconds"][here], "_", color=colour, markersize=9, zorder=1.9)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("hidden units M")
    axes.set_ylabel("seconds per epoch")
    width_axis(axes, sorted({0, *widths}), 1)
    figure.suptitle(f"training time against width, on {timing['device'][0]}")
    epochs = int(np.count_nonzero((timing["program"] == "alone") & (timing["hidden_units"] == widths[0])))
    title = f"median of {epochs} epochs, compilation left out (dashes: each epoch)"
    figure.legend(title=title, loc="outside lower center", ncols=1)
    return figure
