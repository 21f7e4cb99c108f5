"""Figure of pictures that a model was shown: the picture, what the model saw, what it predicts."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes

from mlp_jax.answers.plots.fonts import drawable, fitted, width
from mlp_jax.answers.plots.style import NAME_SIZE, WIDTH, Figure, colours, show_image, styled
from mlp_jax.pictures.images import verdict

MOST_CLASSES = 10  # with a bar, the likeliest

_ROW = 2.1  # inches
_LONGEST = 1.0  # inches, of a class's name
_TITLE = 2.8  # inches, of what is said on one line


@styled
def predictions(
    pictures: Sequence[tuple[str, np.ndarray, np.ndarray]], outputs: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """One row per picture: as it was read, as the network saw it, and the probabilities of the most probable classes.

    Args:
        pictures: for each its name, greys ``[H, W]`` from black 0 to white 1, and ink ``[H', W']`` from 0 to 1.
        outputs: probabilities ``[pictures, classes]``, or values if there are no classes.
        class_names: one per class.
    """
    class_names = drawable(class_names)
    figure = Figure(figsize=(WIDTH, _ROW * len(pictures) + 0.4))
    rows = figure.subplots(len(pictures), 3, squeeze=False, width_ratios=(1, 1, 1.6))
    for (came, saw, said), (name, grey, ink), output in zip(rows, pictures, outputs, strict=True):
        show_image(came, 1 - grey)
        show_image(saw, ink)
        came.set_title(name if len(name) <= 28 else f"…{name[-27:]}")
        saw.set_title(f"seen as {ink.shape[0]} × {ink.shape[1]}")
        for axes in (came, saw):
            axes.grid(visible=False)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(True)
        if class_names:
            _draw_probabilities(said, output, class_names)
        else:
            said.set_axis_off()
            said.set_title(", ".join(f"{value:.4g}" for value in output))
    if class_names:
        rows[-1, 2].set_xlabel("probability (%)")
    return figure


def _draw_probabilities(axes: Axes, probabilities: np.ndarray, class_names: Sequence[str]) -> None:
    shown = np.sort(probabilities.argsort(kind="stable")[::-1][:MOST_CLASSES])
    best = int(probabilities.argmax())
    dark, _, light = colours(3)
    places = np.arange(len(shown))
    axes.barh(places, 100 * probabilities[shown], color=[dark if k == best else light for k in shown])
    names = fitted([class_names[k] for k in shown], _LONGEST, NAME_SIZE)
    axes.set_yticks(places, names, fontsize=NAME_SIZE)
    axes.set_ylim(len(shown) - 0.5, -0.5)  # the first class on top
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 100)
    axes.grid(visible=False, axis="y")
    said = verdict(probabilities, fitted(class_names, _LONGEST, rcParams["font.size"]))
    axes.set_title(said if width(said, rcParams["font.size"]) <= _TITLE else said.replace(") or ", ")\nor "))
