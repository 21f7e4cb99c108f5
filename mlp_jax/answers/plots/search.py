"""The figure of a search: every configuration's curve, as far as it was trained."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from mlp_jax.answers.plots.settings import join
from mlp_jax.answers.plots.style import WIDTH, Figure, colours, score_axis, score_label, styled
from mlp_jax.answers.ranking import Ranked
from mlp_jax.answers.rows import POINT, groups
from mlp_jax.runs.tables import STOPPED, Table, criterion, to_the_end
from mlp_jax.sweeps.plan import counted

MOST_NAMED = 6
"""Configurations that a legend names."""

GREY = "0.7"


@styled
def search_curves(trials: Table, history: Table, ranked: list[Ranked], score_name: str, *, title: str = "") -> Figure:
    """Validation score by epoch of every configuration: mean over seeds; what a rung ended ends there in a point.

    Args:
        trials: one row a trial, of a search.
        history: one row a trial and epoch.
        ranked: the configurations, best first (``mlp_jax.answers.ranking``).
        score_name: of the score.
        title: of the figure: which data.
    """
    by = criterion(to_the_end(trials))
    column = f"validation_{by.measure}"
    means, stopped = {}, {}
    rows_of = groups(history, "trial")
    for point, here in groups(trials, *POINT).items():
        curves = [history[column][rows_of[(trials["trial"][row],)]].astype(float) for row in here]
        means[point] = np.mean(curves, axis=0)
        stopped[point] = int(trials[STOPPED][here[0]])
    epochs = history["epoch"][rows_of[(history["trial"][np.argmax(history["epoch"])],)]]
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.subplots()
    ended = [np.column_stack([epochs[: len(mean)], mean]) for point, mean in means.items() if stopped[point]]
    axes.add_collection(LineCollection(ended, colors=GREY, linewidths=0.6, zorder=1))
    if ended:
        x, y = np.array([curve[-1] for curve in ended]).T
        axes.scatter(x, y, s=7, color=GREY, zorder=2)
    survivors = [each for each in ranked if not each.stopped]
    named = colours(len(survivors))
    handles = []
    for each, colour in list(zip(survivors, named, strict=True))[::-1]:
        point = (each.point.hidden_units, each.point.variant, each.point.learning_rate)
        axes.plot(epochs, means[point], color=colour, linewidth=1.4, zorder=3)
        text = join(
            f"M = {each.hidden_layers}", f"{each.point.variant}", f"learning rate {each.point.learning_rate:.3g}"
        )
        handles.append(Line2D([], [], color=colour, label=text))
    rungs = sorted(set(stopped.values()) - {0})
    for epoch in rungs:
        axes.axvline(epoch, color="0.85", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    ticks = sorted({*rungs, int(epochs[0]), int(epochs[-1])})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("epoch (log axis)")
    _limit(axes, np.concatenate([mean[np.isfinite(mean)] for mean in means.values()]), by.measure)
    if by.measure == "score":
        score_axis(axes, score_name)
    axes.set_ylabel(f"validation {score_label(score_name) if by.measure == 'score' else 'loss'}")
    handles = handles[::-1]
    more = f" and {len(handles) - MOST_NAMED} more" if len(handles) > MOST_NAMED else ""
    ended_text = f"{counted(len(ended), 'configuration')} ended at a rung (vertical lines)"
    handles = [*handles[:MOST_NAMED], Line2D([], [], color=GREY, marker=".", label=ended_text)]
    seeds = sorted({len(here) for here in groups(trials, *POINT).values()})
    note = f"trained to the end{more}; mean over {'–'.join(map(str, seeds))} seed{'s' * (seeds[-1] > 1)}"
    figure.legend(handles=handles, title=note, loc="outside lower center", ncols=1 if len(handles) < 3 else 2)
    figure.suptitle(join(title, f"search among {counted(len(means), 'configuration')}", by=": "))
    return figure


def _limit(axes: Axes, values: np.ndarray, measure: str) -> None:
    """Show the better part: a few bad beginnings would take all the room."""
    low, high = np.quantile(values, [0.05, 1.0] if measure == "score" else [0.0, 0.95])
    room = 0.05 * (high - low) or 0.05
    axes.set_ylim(low - room, high + room)
