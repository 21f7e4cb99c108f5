"""The figure of a benchmark: horizontal bars of seconds, shortest first, to be read in greyscale too."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: beside it.
        samples: seconds; the bar is as long as their median, and a line spans them all.
        ours: whether to emphasise it.
    """

    label: str
    samples: Sequence[float]
    ours: bool

    @property
    def median(self) -> float:
        """Of the samples."""
        return float(np.median(self.samples))


@dataclass(frozen=True)
class Panel:
    """Bars that may be compared with each other."""

    title: str
    bars: Sequence[Bar]


def draw(panels: Sequence[Panel], heading: str, axis: str, machine: str, path: Path) -> None:
    """Draw panels under each other, each with an axis of its own from 0, as PNG.

    Args:
        panels: with at least one bar each.
        heading: above all.
        axis: what the bars' length is.
        machine: what it was measured on.
        path: file to write.
    """
    from matplotlib.figure import Figure  # not pyplot: no window, no state

    counts = [len(panel.bars) for panel in panels]
    figure = Figure(figsize=(8, 1.0 + sum(0.9 + 0.34 * count for count in counts)), layout="constrained")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
    grid = figure.subplots(len(panels), 1, height_ratios=[count + 1.2 for count in counts], squeeze=False)
    for panel, axes in zip(panels, grid[:, 0], strict=True):
        bars = sorted(panel.bars, key=lambda bar: bar.median, reverse=True)  # the lowest place is the first
        medians = np.array([bar.median for bar in bars])
        ends = np.array([[bar.median - min(bar.samples), max(bar.samples) - bar.median] for bar in bars])
        places = np.arange(len(bars))
        axes.barh(
            places,
            medians,
            height=0.66,
            color=["#1f3a5f" if bar.ours else "#c9ced6" for bar in bars],
            xerr=ends.T,
            error_kw={"ecolor": "#8a8f98", "elinewidth": 1.5, "capsize": 3},
        )
        longest = (medians + ends[:, 1]).max()
        for place, bar in zip(places, bars, strict=True):
            weight = "bold" if bar.ours else "normal"
            end = max(bar.samples) + 0.012 * longest
            axes.text(end, place, f"{bar.median:.3g} s", va="center", fontsize=9, fontweight=weight)
        axes.set_yticks(places, [bar.label for bar in bars], fontsize=9)
        for label, bar in zip(axes.get_yticklabels(), bars, strict=True):
            label.set_fontweight("bold" if bar.ours else "normal")
        axes.set_title(panel.title, loc="left", fontsize=10)
        axes.set_xlim(0, 1.12 * longest)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    lines = "; lines: least to most" if any(len(bar.samples) > 1 for panel in panels for bar in panel.bars) else ""
    grid[-1, 0].set_xlabel(f"{axis}{lines}\n{machine}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
