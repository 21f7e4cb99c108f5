"""Figures against the width of the hidden layer."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform

from mlp_jax.analysis import Summary, by_setting, summarize
from mlp_jax.plots.settings import LINEAR, Setting, divergence_note, join, shared_setting, spread
from mlp_jax.plots.style import (
    GREY,
    MARKERS,
    WIDTH,
    Style,
    colours,
    nothing_but,
    panel_columns,
    score_axis,
    score_label,
    styled,
    width_axis,
)
from mlp_jax.results import Table

MOST_IN_PANEL = 3  # settings whose training and test lines share a panel; more get panels of their own

_ASIDE = 3.0  # points between neighbours at the same M, in a panel of full width
_REFERENCES = (("#d55e00", "D"), ("black", "s"), ("#009e73", "^"), ("#cc79a7", "v"))


@styled
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
    left_out = divergence_note(len(trials["trial"]), int(np.count_nonzero(trials["diverged"] == 0)))
    usable = [row for row in summarize(trials) if row.seeds]
    if not usable:
        return nothing_but(left_out)
    linear = {row.learning_rate: row for row in usable if not row.hidden_units}  # of every activation the same
    curves = {Setting(*key): rows for key, rows in by_setting([row for row in usable if row.hidden_units]).items()}
    if not curves:  # nothing that M = 0 would be the baseline of
        curves, linear = {Setting("", rate): [row] for rate, row in linear.items()}, {}
    shared, groups = shared_setting(curves), _groups(list(curves))
    titles = [shared_setting(group) for group in groups]
    if any(title.learning_rate is None for title in titles):  # then lines say it, in panels that have one, too
        titles = [title._replace(learning_rate=None) for title in titles]
    texts = (setting.text(told=title) for group, title in zip(groups, titles, strict=True) for setting in group)
    names = list(dict.fromkeys(texts))
    looks = dict(zip(names, zip(colours(len(names)), itertools.cycle(MARKERS), strict=False), strict=True))

    figure, panels = _score_panels(len(groups), score_name)
    step = _ASIDE / panel_columns(len(groups)) / 72  # inches
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
                marks |= _draw_baseline(axes, row, name, looks[name][0] if name in looks and name else GREY)
        marks |= _draw_references(axes, reference)
        marks |= _draw_saturation(axes, saturation)
    widths = {row.hidden_units for rows in curves.values() for row in rows}
    width_axis(panels[0], sorted(widths.union(*reference.values()) - {0} or {0}), len(panels))
    score_axis(panels[0], score_name)
    figure.suptitle(join(f"{score_name} against width", shared.text(), by=": "))
    counts = [row.seeds for rows in (*curves.values(), linear.values()) for row in rows]
    note = join(spread("mean ± standard deviation (bars)", counts), left_out, by="; ")
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
    columns = panel_columns(count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, 5 if count == 1 else 2.2 * rows + 1.8))
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
        marks[join(name, part)] = axes.errorbar(
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
    return {join("M = 0" if name else LINEAR, name, "test"): line}


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
        axes.axvline(saturation, color=GREY, linestyle=":", zorder=1.5) if saturation else Line2D([], [], linestyle="")
    )
    return {f"saturation at M = {saturation}, by validation": line}
