"""Figures of several runs beside each other."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from mlp_jax.answers.analysis import Summary, by_setting
from mlp_jax.answers.compare import Comparison, Side
from mlp_jax.answers.plots.curves import learning_curves
from mlp_jax.answers.plots.run import RunFigure
from mlp_jax.answers.plots.settings import Setting
from mlp_jax.answers.plots.style import (
    MARKERS,
    WIDTH,
    Figure,
    Style,
    colours,
    score_axis,
    score_label,
    styled,
    width_axis,
)
from mlp_jax.answers.scores import bounded
from mlp_jax.answers.variation import Interval
from mlp_jax.runs.tables import Table

_ASIDE = 4.0  # points between neighbours at the same M


def comparison_figures(sides: Sequence[Side], found: Comparison) -> Iterator[RunFigure]:
    """Draw the figures of runs that are held against each other, one after another."""
    alt = f"Lines: validation {found.measure_name} of each run against M, with 95 % intervals"
    yield RunFigure("comparison", comparison(found), f"{alt}, and differences to the first run.")
    of_runs = {side.name: side.history for side in sides}
    alt = f"Curves: loss and {found.score_name} by epoch, of training and validation, of each run and width."
    yield RunFigure("learning-curves", learning_curves(_together(of_runs), found.score_name), alt)


def _together(histories: dict[str, Table]) -> Table:
    """Histories as one, in which the runs are parts of the variants."""
    names = [name for name in next(iter(histories.values())) if all(name in table for table in histories.values())]
    tables, first = [], 0
    for run, table in histories.items():
        variants = np.array([f"{variant}, run {run}" for variant in table["variant"].tolist()])
        tables.append({**table, "variant": variants, "trial": table["trial"] + first})
        first += int(table["trial"].max()) + 1
    return {name: np.concatenate([table[name] for table in tables]) for name in names}


class _Series(NamedTuple):
    """Values by width, with intervals, and how they are drawn."""

    widths: list[int]
    values: list[float]
    intervals: list[Interval]
    look: Style


@styled
def comparison(found: Comparison) -> Figure:
    """Validation scores of runs against M, with 95 % intervals; and what each has over the first, if data are the same.

    Of a run of several settings (variant, learning rate) the best on validation is drawn; all differences are.
    """
    looks: dict[str, Style] = {
        name: {"color": colour, "marker": marker, "label": name}
        for name, colour, marker in zip(found.names, colours(len(found.names)), itertools.cycle(MARKERS), strict=False)
    }
    measure, column = found.measure_name, "validation_loss" if found.measure_name == "loss" else "validation_score"
    compared = bool(found.differences)
    figure = Figure(figsize=(WIDTH, 3.4))
    panels = figure.subplots(1, 2 if compared else 1, squeeze=False, sharex=True)[0]
    best = {name: rows for name, points in found.summaries.items() if (rows := _best_setting(points))}
    several = any(len(by_setting([row for row in points if row.seeds])) > 1 for points in found.summaries.values())
    for name, rows in best.items():
        label = f"{name}: {Setting(rows[0].variant, rows[0].learning_rate).text()}"
        place = found.names.index(name) - (len(best) - 1) / 2
        hidden = [row for row in rows if row.hidden_units]
        for part in (hidden, [row for row in rows if not row.hidden_units]):  # M = 0 is no point of the curve
            if part:
                intervals = [bounded(row.interval["validation"], measure) for row in part]
                look = looks[name] | {"label": label if part is hidden or not hidden else None}
                series = _Series(
                    [row.hidden_units for row in part], [row.mean[column] for row in part], intervals, look
                )
                _draw(figure, panels[0], series, place)
    panels[0].set_ylabel(f"validation {score_label(measure)}")
    panels[0].set_title("best setting of each run" if several else "each run")
    score_axis(panels[0], measure)
    if compared:
        _draw_differences(figure, panels[1], found, looks)
    widths = sorted({row.hidden_units for rows in best.values() for row in rows})
    for axes in panels:
        axes.set_xlabel("hidden units M")
        if len(widths) > 1:
            width_axis(axes, widths, len(panels))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if max(map(len, labels), default=0) > 40 else 2)
    return figure


def _draw_differences(figure: Figure, axes: Axes, found: Comparison, looks: dict[str, Style]) -> None:
    """What runs have over the first, point by point."""
    scale = 100.0 if found.measure_name == "accuracy" else 1.0
    series = []
    for name in found.names[1:]:
        by_point: dict[tuple[object, ...], list[tuple[int, float, Interval]]] = {}
        for each in found.against_first(name):
            effect = each.effects["validation"]
            interval = Interval(scale * effect.interval.low, scale * effect.interval.high)
            by_point.setdefault(tuple(each.point.values()), []).append((each.width, scale * effect.gain, interval))
        for rows in by_point.values():
            widths, values, intervals = (list(column) for column in zip(*sorted(rows), strict=True))
            series.append(_Series(widths, values, intervals, looks[name] | {"linestyle": ""}))
    for place, one in enumerate(series):
        _draw(figure, axes, one, place - (len(series) - 1) / 2)
    axes.axhline(0, color="black", linewidth=0.8)
    unit = "points" if found.measure_name == "accuracy" else found.measure_name
    axes.set_ylabel(f"gain ({unit})")
    axes.set_title(f"over {found.names[0]}, 95 % intervals for all together")


def _draw(figure: Figure, axes: Axes, series: _Series, place: float) -> None:
    """A series beside others at the same M."""
    aside = axes.transData + ScaledTranslation(_ASIDE * place / 72, 0, figure.dpi_scale_trans)
    axes.plot(series.widths, series.values, transform=aside, **series.look)
    for width, interval in zip(series.widths, series.intervals, strict=True):
        if not np.isnan(interval.low):
            axes.plot([width, width], interval, transform=aside, color=series.look["color"], linewidth=1)
            axes.update_datalim([(width, interval.low), (width, interval.high)])
    axes.update_datalim([each for each in zip(series.widths, series.values, strict=True) if not np.isnan(each[1])])
    axes.autoscale_view()


def _best_setting(points: Sequence[Summary]) -> list[Summary]:
    """The points, widths ascending, of the setting that has the best one on validation; none if all diverged."""
    settings = by_setting([row for row in points if row.seeds])
    best = max(settings.values(), key=lambda rows: max(row.merit for row in rows), default=[])
    return sorted(best, key=lambda row: row.hidden_units)
