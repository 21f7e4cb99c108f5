"""Figures of one trained model: what it confuses, what it gets wrong, what its hidden units look at."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from mlp_jax.answers.plots.fonts import drawable, fitted, width
from mlp_jax.answers.plots.settings import join
from mlp_jax.answers.plots.style import NAME_SIZE, WIDTH, Figure, as_picture, colours, show_images, styled
from mlp_jax.errors import InputError

MOST_UNITS = 100  # hidden units in a figure

_LONGEST = 1.7  # inches, of a class's name beside a matrix
_LARGEST, _SMALLEST = 10.0, 6.0  # points, of such a name
_LINE = 1.2  # height of a line of text, by the size of its font

_NEVER_INKED = np.ones(4)  # white, as the paper
_DIVERGING = "cividis"  # dark blue, grey at 0, light yellow: the sign is there in greyscale, too


@styled
def confusion_matrix(
    targets: Int[np.ndarray, "N"], predictions: Int[np.ndarray, "N"], class_names: Sequence[str], *, title: str = ""
) -> Figure:
    """Confusion matrix: examples of each class (rows) taken for each class (columns); mistakes are coloured.

    Args:
        targets: true classes.
        predictions: predicted classes.
        class_names: one per class.
        title: model and split, for the title.
    """
    class_names = drawable(class_names)
    count = len(class_names)
    table = np.zeros((count, count), int)
    np.add.at(table, (targets, predictions), 1)
    mistaken = np.ma.masked_array(table, mask=np.eye(count, dtype=bool))
    tall = count > 20
    side = (WIDTH - 1.6 if tall else 4.6) - min(_LONGEST, max(width(name, _LARGEST) for name in class_names))
    size, step = _label_size(72 * side / count)
    labelled = range(0, count, step)
    names = fitted([class_names[i] for i in labelled], _LONGEST, size)
    pitch = step * side / count
    lies = max(width(name, size) for name in names) < 0.85 * pitch
    figure = Figure(figsize=(WIDTH, WIDTH * (0.95 if tall else 0.78)))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)  # long names push others out a little, else
    axes = figure.subplots()
    axes.set_facecolor("0.93")  # where they agree
    norm = Normalize(0, max(1, int(mistaken.max())) if count > 1 else 1)
    image = axes.imshow(mistaken, cmap="Blues", norm=norm)
    if count <= 20:
        for (i, j), number in np.ndenumerate(table):
            if number:
                ink = "white" if i != j and norm(number) > 0.6 else "black"
                small = count > 12
                axes.text(
                    j, i, f"{number:,}", ha="center", va="center", color=ink, fontsize="x-small" if small else "medium"
                )
    axes.set_xticks(labelled, names, rotation=0 if lies else 90, fontsize=size)
    axes.set_yticks(labelled, names, fontsize=size)
    thinned = f"(a name for every {step} classes)" if step > 1 else ""
    axes.set_xlabel(join("predicted", thinned, by=" "))
    axes.set_ylabel("true")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, label="mistakes")
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    wrong = len(targets) - int(np.trace(table))
    figure.suptitle(join(f"confusion matrix: {wrong:,} of {len(targets):,} wrong", title, by="\n"))
    return figure


def _label_size(pitch: float) -> tuple[float, int]:
    """Size of the names beside rows so many points high, and how many rows there are to a name: one if it can be."""
    step = max(1, math.ceil(_SMALLEST * _LINE / pitch))
    return min(_LARGEST, step * pitch / _LINE), step


@styled
def mistakes(
    images: Num[np.ndarray, "N H W *C"],
    targets: Int[np.ndarray, "N"],
    probabilities: Float[np.ndarray, "N K"],
    class_names: Sequence[str],
    *,
    rows: int = 4,
    columns: int | None = None,
    title: str = "",
) -> Figure:
    """Examples that a model gets wrong, the most confident mistakes first: prediction, its probability, and the truth.

    Args:
        images: images of a split.
        targets: their true classes.
        probabilities: the model's probability of each class.
        class_names: one per class.
        rows: rows of the grid; empty ones are left out.
        columns: columns of the grid; None for as many as leave room for the names.
        title: model and split, for the title.
    """
    class_names = drawable(class_names)
    columns = columns or (8 if max(map(len, class_names)) <= 3 else 5)
    predictions = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    wrong = np.flatnonzero(predictions != targets)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][: rows * columns]
    rows = max(1, min(rows, math.ceil(len(chosen) / columns)))
    height, across = images.shape[1:3]
    gap = math.ceil(across / 7)
    inches = (WIDTH - 0.2) / (columns * (across + gap))  # of a pixel
    step = (height + math.ceil(0.38 / inches), across + gap)  # two lines, and room above them
    figure = Figure(figsize=(WIDTH, rows * step[0] * inches + 0.6))
    axes = figure.subplots()
    axes.set_axis_off()
    if len(chosen):
        room = across * inches + 0.05
        seen, true = (
            fitted([class_names[k] for k in labels[chosen].tolist()], room - width(beside, NAME_SIZE), NAME_SIZE)
            for labels, beside in ((predictions, " (100.0 %)"), (targets, "true: "))
        )
        names = [
            f"{one} ({100 * sure[i]:.1f} %)\ntrue: {other}" for i, one, other in zip(chosen, seen, true, strict=True)
        ]
        show_images(axes, [as_picture(images[i]) for i in chosen], names, columns, step)
    heading = f"{len(wrong):,} of {len(targets):,} wrong"
    more = f"the {len(chosen)} surest of them: prediction (probability), truth" if len(chosen) else ""
    figure.suptitle(join(join(heading, more, by="; "), title, by="\n"))
    return figure


@styled
def hidden_units(
    weights: Float[np.ndarray, "D M"],
    image_shape: tuple[int, ...],
    *,
    strength: Float[np.ndarray, "M"] | None = None,
    live: Bool[np.ndarray, "D"] | None = None,
    names: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """The weights of each unit as an image, yellow where ink excites it and blue where ink inhibits it.

    All share one scale around 0, which clips the outermost hundredth of the weights: there its bar has arrows.

    Args:
        weights: A, one column per unit.
        image_shape: (height, width) or (height, width, channels); channels are added up.
        strength: of each unit; beyond ``MOST_UNITS`` only the strongest are shown. By default the norm of its
            weights.
        live: which pixels were ever anything but 0 in training; the weights of the others never moved, and are left
            white.
        names: one per unit, written above it (for M = 0, the class); by default its number.
        title: model, for the title.

    Raises:
        InputError: the weights are not those of such images.
    """
    if weights.ndim != 2 or weights.shape[0] != math.prod(image_shape):
        raise InputError(f"weights have shape {weights.shape}: expected a row for each pixel of {image_shape}")
    units = weights.shape[1]
    strength = np.linalg.norm(weights, axis=0) if strength is None else strength
    chosen = np.sort(np.argsort(-strength, kind="stable")[:MOST_UNITS])
    shown = weights.astype(float)
    if live is not None:
        shown = np.where(live[:, None], shown, np.nan)
    maps = shown.T.reshape(units, *image_shape)[chosen]
    maps = maps if maps.ndim == 3 else maps.sum(axis=3)
    finite = maps[np.isfinite(maps)]
    limit = float(np.quantile(np.abs(finite), 0.99)) if finite.size else 0.0
    columns = min(len(chosen), 5 if len(chosen) <= 10 else 10)
    height, across = image_shape[:2]
    norm = Normalize(-(limit or 1.0), limit or 1.0)
    step = (height + math.ceil(0.28 * height), across + max(1, across // 14))
    size = math.ceil(len(chosen) / columns) * step[0], columns * step[1]
    figure = Figure(figsize=(WIDTH, (WIDTH - 1.4) / max(columns, 5) * columns * size[0] / size[1] + 0.9))
    axes = figure.subplots()
    pictures = [
        np.where(np.isnan(image)[..., None], _NEVER_INKED, colormaps[_DIVERGING](norm(np.nan_to_num(image))))
        for image in maps
    ]
    above = drawable(names) if names else [str(unit + 1) for unit in range(units)]
    above = fitted([above[unit] for unit in chosen], (WIDTH - 1.4) / max(columns, 5) - 0.05, NAME_SIZE)
    show_images(axes, pictures, above, columns, step)
    scale = ScalarMappable(norm, _DIVERGING)
    ends = finite.min(initial=0.0) < -limit, finite.max(initial=0.0) > limit
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max"}.get(ends, "both")
    shrink = min(1.0, 4 / figure.get_figheight())
    figure.colorbar(scale, ax=axes, label="weight", aspect=30, shrink=shrink, extend=extend)
    what = "the weights into each class" if names else "what each hidden unit looks at"
    some = f"the {len(chosen)} of {units} that weigh most" if len(chosen) < units else ""
    blank = "white: never inked in training" if live is not None and not live.all() else ""
    figure.suptitle(join(join(what, some, blank, by="; "), title, by="\n"))
    return figure


@styled
def predicted_against_true(
    targets: Float[np.ndarray, "N K"], predictions: Float[np.ndarray, "N K"], *, unit: str = "", title: str = ""
) -> Figure:
    """Predicted against true values, one panel for each of the first six outputs, with the line where they agree.

    Args:
        targets: true values.
        predictions: predicted values.
        unit: unit of the values, or how they were transformed.
        title: model and split, for the title.
    """
    count = min(6, targets.shape[1])
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, WIDTH / max(columns, 1.4) * rows + 0.6))
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells[count:]:
        axes.remove()
    for k, axes in enumerate(cells[:count]):
        both = np.concatenate([targets[:, k], predictions[:, k]])
        ends = [float(both.min()), float(both.max())]
        axes.plot(ends, ends, color="black", linestyle="--", linewidth=1)
        axes.plot(targets[:, k], predictions[:, k], ".", color=colours(3)[1], alpha=0.5, markersize=4)
        room = 0.04 * ((ends[1] - ends[0]) or 1.0)
        limits = (ends[0] - room, ends[1] + room)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set_xlabel(join("true", unit))
        axes.set_ylabel(join("predicted", unit))
        if targets.shape[1] > 1:
            axes.set_title(f"output {k + 1}")
    figure.suptitle(join(f"predicted against true values of {len(targets):,} examples", title, by="\n"))
    return figure
