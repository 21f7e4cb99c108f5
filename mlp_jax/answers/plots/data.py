"""Figures of data sets: a digit, a grid of examples, the balance of classes."""

import math

import numpy as np
from matplotlib import rcParams
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mlp_jax.answers.plots.fonts import drawable, fitted, width
from mlp_jax.answers.plots.style import NAME_SIZE, WIDTH, Figure, colours, show_image, styled
from mlp_jax.datasets import Dataset
from mlp_jax.errors import InputError, shown

MOST_OUTPUTS = 6  # of a regression, with a row each

_LONGEST = 2.0  # inches, of a class's name beside its bars


@styled
def digit(image: np.ndarray, label: str | int) -> Figure:
    """One image as a sparsity pattern and in grey, side by side.

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
    show_image(shades, image)
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


@styled
def examples(dataset: Dataset, *, split: str = "train", rows: int = 4, columns: int = 10) -> Figure:
    """The first images of a split, each with the name of its class (or its value).

    Args:
        dataset: a data set of images.
        split: ``train``, ``validation`` or ``test``.
        rows: rows of the grid; empty ones are left out.
        columns: columns of the grid.

    Raises:
        InputError: the examples are no images, or there is no such split.
    """
    if dataset.image_shape is None:
        raise InputError(f"an example of {dataset.name} is {dataset.features} numbers: expected images")
    if split not in dataset.splits:
        raise InputError(f"unknown split {shown(split)}: expected one of {', '.join(dataset.splits)}")
    if rows < 1 or columns < 1:
        raise InputError(f"the grid is {rows} by {columns}: expected 1 or more of each")
    chosen = dataset.splits[split]
    rows = min(rows, math.ceil(len(chosen) / columns))
    height, across = dataset.image_shape[:2]
    figure = Figure(figsize=(WIDTH, rows * (WIDTH / columns * height / across + 0.25) + 0.4))
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    names = drawable(dataset.class_names)
    texts = [names[int(y)] if names else dataset.target_text(y) for y in chosen.targets[: rows * columns]]
    room = WIDTH / columns - 0.1
    size = rcParams["font.size"] if max(width(text, rcParams["font.size"]) for text in texts) <= room else NAME_SIZE
    texts = fitted(texts, room, size)
    for axes, x, text in zip(cells, chosen.features, texts, strict=False):
        show_image(axes, x.reshape(dataset.image_shape))
        axes.set_title(text, pad=3, fontsize=size)
    figure.suptitle(f"{dataset.name}, {split}")
    return figure


@styled
def class_balance(dataset: Dataset) -> Figure:
    """Bars: the number of examples of each class in each split, with a line where all would be equal.

    Raises:
        InputError: the data set has no classes.
    """
    names = fitted(drawable(dataset.class_names), _LONGEST, rcParams["font.size"])
    if not names:
        raise InputError(f"{dataset.name} has values for targets: expected classes")
    labelled = range(0, len(names), math.ceil(len(names) / 30))
    figure = Figure(figsize=(WIDTH, 0.24 * len(labelled) + 1.3))
    panels = figure.subplots(1, len(dataset.splits), sharey=True)
    for axes, (name, split) in zip(panels, dataset.splits.items(), strict=True):
        counts = np.bincount(split.targets, minlength=len(names))
        axes.barh(np.arange(len(names)), counts, color=colours(3)[1])
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


@styled
def value_distribution(dataset: Dataset) -> Figure:
    """Histograms of the values that a regression learns, one row per output, each split as a share of its examples.

    Raises:
        InputError: the data set has classes.
    """
    if dataset.class_names:
        raise InputError(f"{dataset.name} has classes for targets: expected values")
    outputs = min(dataset.outputs, MOST_OUTPUTS)
    figure = Figure(figsize=(WIDTH, 1.9 * outputs + 0.7))
    rows = figure.subplots(outputs, len(dataset.splits), squeeze=False, sharey="row", sharex="row")
    for k, row in enumerate(rows):
        everything = np.concatenate([split.targets[:, k] for split in dataset.splits.values()])
        edges = np.histogram_bin_edges(everything, bins=20)
        for axes, (name, split) in zip(row, dataset.splits.items(), strict=True):
            share = np.full(len(split), 100 / len(split))
            axes.hist(split.targets[:, k], bins=edges.tolist(), weights=share.tolist(), color=colours(3)[1])
            axes.axvline(float(split.targets[:, k].mean()), color="black", linestyle="--", linewidth=1)
            if k == 0:
                axes.set_title(f"{name}: {len(split):,}")
        row[0].set_ylabel("examples (%)")
        row[len(row) // 2].set_xlabel("value" if dataset.outputs == 1 else f"value {k + 1}")
    figure.suptitle(f"{dataset.name}: values by split")
    figure.supxlabel("dashed: mean", fontsize="medium")
    return figure
