"""Figures show the data's numbers, say what they are, and reach the disk whole or not at all."""

import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from conftest import image_dataset, image_values
from flax import nnx
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWNBASE, CARETUPBASE

from mlp_jax import MLP, InputError
from mlp_jax.answers import plots
from mlp_jax.answers.analysis import summarize
from mlp_jax.answers.showing import trials_to_show
from mlp_jax.runs.tables import CURVES, SCORES, with_variants


def trials_table(widths=(0, 10, 25), activations=("sigmoid",), rates=(1e-3,), seeds=3):
    """A table of trials with scores that all differ."""
    points = list(itertools.product(widths, activations, rates, range(seeds)))
    names = ("hidden_units", "activation", "learning_rate", "seed")
    columns = {name: np.array(values) for name, values in zip(names, zip(*points, strict=True), strict=True)}
    rng = np.random.default_rng(0)
    scores = {column: rng.uniform(0.8, 0.99, len(points)) for column in SCORES}
    same = np.full(len(points), 7)
    return with_variants(
        {"trial": np.arange(len(points)), **columns, "parameters": same, "diverged": 0 * same, **scores}
    )


def history_table(*args, epochs=6, **kwargs):
    trials = trials_table(*args, **kwargs)
    names = ("trial", "hidden_units", "activation", "learning_rate", "seed", "variant", "diverged")
    table = {name: np.repeat(trials[name], epochs) for name in names}
    table["epoch"] = np.tile(np.arange(1, epochs + 1), len(trials["trial"]))
    rng = np.random.default_rng(1)
    return table | {column: rng.uniform(0.1, 0.9, len(table["trial"])) for column in CURVES}


def rows_until(table, epoch):
    return {name: column[table["epoch"] <= epoch] for name, column in table.items()}


def rows(table, **wanted):
    mask = np.all([table[name] == value for name, value in wanted.items()], axis=0)
    return {name: column[mask] for name, column in table.items()}


def expected_curve(table, column, **wanted):
    """Mean and sample standard deviation of a column over seeds, by epoch."""
    chosen = rows(table, **wanted)
    groups = [chosen[column][chosen["epoch"] == epoch] for epoch in np.unique(chosen["epoch"])]
    return np.array([g.mean() for g in groups]), np.array([g.std(ddof=1) for g in groups])


def bands(axes):
    """Lower and upper edge of each band, by epoch."""
    out = []
    for collection in axes.collections:
        assert isinstance(collection, PolyCollection)
        x, y = collection.get_paths()[0].vertices.T
        out.append(np.array([[y[x == place].min(), y[x == place].max()] for place in np.unique(x)]))
    return out


def bars(axes):
    """x, mean, lower and upper end of each series; without error bars the mean."""
    out = []
    for container in axes.containers:
        x, mean = container.lines[0].get_xydata().T
        segments = (
            container.lines[2][0].get_segments()
            if container.has_yerr
            else [np.stack([xy, xy]) for xy in zip(x, mean, strict=True)]
        )
        out.append((x, mean, *np.array([segment[:, 1] for segment in segments]).T))
    return out


def intervals(trials, split, **wanted):
    """Of the mean accuracy of each point, as every table has them."""
    points = summarize(trials)
    chosen = [row for row in points if all(getattr(row, name) == value for name, value in wanted.items())]
    return np.clip([row.interval[split] for row in chosen if row.hidden_units or wanted], 0, 1)


def legend_texts(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def words(figure):
    """Everything that is written on a figure."""
    return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


# Apart from the rest


def test_importing_the_package_imports_no_matplotlib_and_plots_no_pyplot():
    code = (
        "import sys, mlp_jax; assert 'matplotlib' not in sys.modules; import mlp_jax.answers.plots; "
        "assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_style_does_not_leak(tmp_path):
    before = dict(matplotlib.rcParams)
    plots.save(plots.digit(np.eye(3), 1), tmp_path / "digit.png")
    assert dict(matplotlib.rcParams) == before


# Learning curves


def test_curves_of_several_widths_are_means_with_bands():
    history = history_table()
    figure = plots.learning_curves(history, "accuracy")
    columns = ("loss", "validation_loss", "score", "validation_score")
    for axes, column in zip(figure.axes, columns, strict=True):
        for line, band, width in zip(axes.lines, bands(axes), (0, 10, 25), strict=True):
            mean, deviation = expected_curve(history, column, hidden_units=width)
            np.testing.assert_array_equal(line.get_xdata(), range(1, 7))
            np.testing.assert_allclose(line.get_ydata(), mean)
            np.testing.assert_allclose(band, np.column_stack([mean - deviation, mean + deviation]))
    assert [axes.get_title() for axes in figure.axes] == ["training (running)", "validation", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "", "accuracy (%)", ""]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "epoch", "epoch"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert legend_texts(figure) == ["0", "10", "25"]
    assert figure.legends[0].get_title().get_text() == "hidden units M"
    said = "mean ± standard deviation (bands) over 3 seeds", "training (running): mean over each epoch, while"
    assert figure.get_supxlabel() == "\n".join(said) + " parameters change"
    assert figure.get_suptitle() == "learning curves: sigmoid, learning rate 0.001"


def test_curves_of_one_width_hold_training_against_validation():
    history = history_table((10,))
    figure = plots.learning_curves(history, "accuracy")
    for axes, metric in zip(figure.axes, ("loss", "score"), strict=True):
        for line, column in zip(axes.lines, (metric, f"validation_{metric}"), strict=True):
            np.testing.assert_allclose(line.get_ydata(), expected_curve(history, column)[0])
        assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()
    assert legend_texts(figure) == ["training (running)", "validation"]
    assert figure.get_suptitle() == "M = 10, sigmoid, learning rate 0.001"


def test_curves_without_validation_show_training_alone():
    for widths, lines in (((10,), 1), ((10, 25), 2)):
        history = history_table(widths)
        nothing = np.full(len(history["trial"]), np.nan)
        figure = plots.learning_curves(history | {"validation_loss": nothing, "validation_score": nothing}, "accuracy")
        assert [len(axes.lines) for axes in figure.axes] == [lines, lines]
        assert "validation" not in words(figure)


def test_curves_leave_diverged_trials_out_and_say_so():
    history = history_table()
    gone = (history["hidden_units"] == 10) & (history["seed"] == 1)
    history["diverged"] = (gone & (history["epoch"] >= 3)).astype(int)  # as results.history_table has it
    history["loss"] = np.where(gone, np.nan, history["loss"])
    figure = plots.learning_curves(history, "accuracy")
    kept = {name: column[~gone] for name, column in history.items()}
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), expected_curve(kept, "loss", hidden_units=10)[0])
    assert "over 2 to 3 seeds" in figure.get_supxlabel()
    assert "1 of 9 trials diverged and is left out" in figure.get_supxlabel()


def test_the_first_epoch_takes_no_room_from_the_others():
    history = history_table((10, 25), epochs=30)
    for column in CURVES:
        history[column] = (0.9 if "score" in column else 0.1) + 0.001 * history["epoch"]
    calm = plots.learning_curves(history, "accuracy")
    assert "beyond the axes" not in words(calm)
    history["score"][history["epoch"] == 1] = 0.2
    history["validation_loss"][history["epoch"] <= 2] = 9.0
    figure = plots.learning_curves(history, "accuracy")
    assert "epochs 1 to 2: partly beyond the axes" in words(figure)
    loss, score = figure.axes[0], figure.axes[2]
    assert 0.85 < score.get_ylim()[0] < score.get_ylim()[1] < 0.99
    assert loss.get_ylim()[1] < 0.2
    few = plots.learning_curves(rows_until(history, 4), "accuracy")
    assert few.axes[2].get_ylim()[0] < 0.2
    assert few.axes[0].get_ylim()[1] > 9


@pytest.mark.parametrize("widths", [(0, 10), range(20)])
def test_a_single_epoch_can_be_seen(widths):
    axes = plots.learning_curves(history_table(widths, epochs=1), "accuracy").axes[0]
    assert all(line.get_marker() not in ("", "None") for line in axes.lines)


@pytest.mark.parametrize(
    ("decades", "labels"), [(0.5, None), (1, {"0.1", "0.2", "0.5", "1"}), (9, {"1", "100", "10000"})]
)
def test_losses_get_ticks_over_any_span(decades, labels):
    history = history_table(seeds=1)
    history["loss"] = history["validation_loss"] = 0.1 * 10 ** np.linspace(0, decades, len(history["trial"]))
    figure = plots.learning_curves(history, "accuracy")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_yscale() == ("log" if labels else "linear")
    assert {text.get_text() for text in axes.get_yticklabels()} >= (labels or set())
    assert axes.get_ylim()[0] < 0.1 < 0.1 * 10**decades < axes.get_ylim()[1]


def test_one_seed_has_no_bands_and_no_bars():
    figure = plots.learning_curves(history_table(seeds=1), "accuracy")
    assert all(not axes.collections for axes in figure.axes)
    assert figure.get_supxlabel().startswith("1 seed\n")
    figure = plots.accuracy_against_width(trials_table(seeds=1), "accuracy")
    assert all(not container.has_yerr for container in figure.axes[0].containers)
    assert not figure.axes[0].patches  # nor a band about the baseline
    assert figure.legends[0].get_title().get_text() == "1 seed"


def test_many_widths_get_a_colour_bar_and_no_legend():
    figure = plots.learning_curves(history_table((0, *range(10, 201, 10)), seeds=1), "accuracy")
    assert not figure.legends
    *panels, bar = figure.axes
    assert all(len(axes.lines) == 21 for axes in panels)
    assert bar.get_ylabel() == "hidden units M"
    assert [text.get_text() for text in bar.get_yticklabels()] == [str(width) for width in range(10, 201, 10)]
    assert "dashed grey: M = 0" in figure.get_supxlabel()


@pytest.mark.parametrize("count", [6, 20])
def test_widths_differ_in_lightness(count):
    figure = plots.learning_curves(history_table(range(1, count + 1), seeds=1), "accuracy")
    lightness = [np.dot((0.2126, 0.7152, 0.0722), to_rgb(line.get_color())) for line in figure.axes[0].lines]
    assert np.all(np.diff(lightness) < 0)
    assert lightness[0] < 0.65  # dark enough for white paper


def test_settings_follow_one_below_the_other_or_are_chosen():
    history = history_table((5, 10), ("sigmoid", "relu"), (1e-3, 1e-2))
    both = plots.learning_curves(history, "accuracy", of={"learning_rate": 1e-2})
    assert [axes.get_title() for axes in both.axes[::4]] == ["sigmoid: training (running)", "relu: training (running)"]
    assert both.axes[0].get_ylim() == both.axes[5].get_ylim()
    mean, _ = expected_curve(history, "validation_score", hidden_units=10, activation="relu", learning_rate=1e-2)
    np.testing.assert_allclose(both.axes[7].lines[1].get_ydata(), mean)

    every = plots.learning_curves(history, "accuracy")
    assert every.axes[0].get_ylabel() == "sigmoid\nlearning rate 0.001\nloss"
    assert [axes.get_title() for axes in every.axes[:5]] == [
        "training (running)",
        "validation",
        "training (running)",
        "validation",
        "",
    ]
    mean, _ = expected_curve(history, "score", hidden_units=5, activation="sigmoid", learning_rate=1e-2)
    np.testing.assert_allclose(every.axes[6].lines[0].get_ydata(), mean)

    one = plots.learning_curves(history, "accuracy", of={"activation": "relu", "learning_rate": 1e-3})
    assert one.get_suptitle() == "learning curves: relu, learning rate 0.001"
    with pytest.raises(InputError, match=r"no trials with activation tanh: there are relu, sigmoid"):
        plots.learning_curves(history, "accuracy", of={"activation": "tanh"})
    with pytest.raises(InputError, match="no column optimiser: expected one of trial, hidden_units"):
        plots.learning_curves(history, "accuracy", of={"optimiser": "sgd"})


def test_no_hidden_layer_has_no_activation():
    figure = plots.learning_curves(history_table((0,), ("sigmoid", "relu")), "accuracy")
    assert figure.get_suptitle() == "M = 0 (generalized linear model), learning rate 0.001"
    assert len(figure.axes) == 2
    assert "over 3 seeds" in words(figure)
    figure = plots.accuracy_against_width(trials_table((0,), ("sigmoid", "relu")), "accuracy")
    assert "sigmoid" not in words(figure)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["0"]


# Score against width


def test_scores_are_means_with_bars_of_a_95_percent_interval():
    trials = trials_table()
    figure = plots.accuracy_against_width(trials, "accuracy")
    (axes,) = figure.axes
    drawn = bars(axes)
    for (x, mean, low, high), column in zip(drawn, ("train_score", "validation_score", "test_score"), strict=True):
        values = np.array([rows(trials, hidden_units=width)[column] for width in (10, 25)])
        np.testing.assert_array_equal(x, [10, 25])
        np.testing.assert_allclose(mean, values.mean(axis=1))
        split = column.removesuffix("_score")
        ends = np.column_stack([mean, mean]) if split == "train" else intervals(trials, split)  # training has no bars
        np.testing.assert_allclose(np.column_stack([low, high]), ends)
    means = np.concatenate([mean for _, mean, _, _ in drawn])
    bottom, top = axes.get_ylim()
    assert means.min() - 1.01 * np.ptp(means) < bottom < means.min()
    assert means.max() < top < 1.01  # no accuracy is beyond 100 %
    assert axes.get_xlim()[0] < 10 < 25 < axes.get_xlim()[1]
    assert axes.get_xlabel() == "hidden units M"
    assert axes.get_ylabel() == "accuracy (%)"
    assert axes.yaxis.get_major_formatter()(0.925) == "92.5"
    linear = [f"M = 0 (generalized linear model), {split}" for split in ("validation", "test")]
    assert legend_texts(figure) == ["training, finished models", "validation", "test", *linear]
    said = figure.legends[0].get_title().get_text()
    bars_are = "bars: 95 % interval of the mean (of no difference), by the luck of seeds"
    assert said.splitlines()[:2] == ["mean over 3 seeds", bars_are]
    beyond = [end for _, _, low, high in drawn for end in (*low, *high) if not bottom <= end <= top]
    arrows = [line for line in axes.lines if line.get_marker() in (CARETDOWNBASE, CARETUPBASE)]
    assert len(arrows) == len(beyond) > 0
    assert {line.get_ydata()[0] for line in arrows} <= {bottom, top}
    assert "arrows" in said


def test_bars_that_fit_have_no_arrows():
    trials = trials_table(seeds=3)
    for name in SCORES:
        trials[name] = 0.8 + 0.001 * trials["seed"] + 0.002 * trials["hidden_units"]
    figure = plots.accuracy_against_width(trials, "accuracy")
    (axes,) = figure.axes
    bottom, top = axes.get_ylim()
    assert all(bottom <= low.min() <= high.max() <= top for _, _, low, high in bars(axes))
    assert "arrows" not in words(figure)


def test_the_baseline_is_at_the_test_score_of_no_hidden_layer():
    trials = trials_table(activations=("sigmoid", "relu"))
    for column in SCORES:  # without a hidden layer the activation changes nothing
        linear = trials["hidden_units"] == 0
        trials[column][linear] = np.tile(trials[column][linear][:3], 2)
    (axes,) = plots.accuracy_against_width(trials, "accuracy").axes
    scores = rows(trials, hidden_units=0, activation="sigmoid")["test_score"]
    (line,) = [line for line in axes.lines if line.get_linestyle() == "-."]
    np.testing.assert_allclose(line.get_ydata(), scores.mean())
    (band,) = axes.patches
    (expected,) = intervals(trials, "test", hidden_units=0, variant="relu")
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx(tuple(expected))

    (axes,) = plots.accuracy_against_width(trials_table((10, 25)), "accuracy").axes
    assert not [line for line in axes.lines if line.get_linestyle() == "-."]


def test_a_baseline_far_below_is_told_and_does_not_flatten_the_curves():
    trials = trials_table((0, 10, 25), seeds=2)
    trials["test_score"][:2] = 0.1, 0.2
    figure = plots.accuracy_against_width(trials, "accuracy")
    assert "M = 0 (generalized linear model), test: 15.00 %, below the axis" in legend_texts(figure)
    assert figure.axes[0].get_ylim()[0] > 0.5
    assert not figure.axes[0].patches


def test_diverged_trials_are_left_out_of_scores_and_counted():
    trials = trials_table()
    gone = (trials["hidden_units"] == 10) & (trials["seed"] > 0)
    trials["diverged"] = np.where(gone, 4, 0)
    trials["test_score"] = np.where(gone, np.nan, trials["test_score"])
    figure = plots.accuracy_against_width(trials, "accuracy")
    *_, test = figure.axes[0].containers
    assert test.lines[0].get_ydata()[0] == trials["test_score"][trials["hidden_units"] == 10][0]
    title = figure.legends[0].get_title().get_text()
    first, second, *_ = title.splitlines()
    assert first == "mean over 1 to 3 seeds; 2 of 9 trials diverged and are left out"
    assert second == "bars: 95 % interval of the mean (of no difference), by the luck of seeds"


def test_when_all_diverged_the_figure_says_only_that(tmp_path):
    trials, history = trials_table(), history_table()
    trials["diverged"] += 1
    history["diverged"] += 1
    for figure in (
        plots.accuracy_against_width(trials, "accuracy", enough=(10, "why")),
        plots.learning_curves(history, "accuracy"),
        plots.scores_against_parameters(trials, "accuracy"),
        plots.rate_by_width(trials, "accuracy"),
    ):
        assert not figure.axes
        assert words(figure) == "9 of 9 trials diverged and are left out"
        plots.save(figure, tmp_path / "nothing.png")


def upright(line):
    x = line.get_xdata()
    return len(x) == 2 and x[0] == x[1]


def test_references_and_what_is_enough_are_marked():
    reference = {"article": {10: 0.9238, 100: 0.9749}, "Keras 3": {0: 0.9, 25: 0.9503}}
    figure = plots.accuracy_against_width(trials_table(), "accuracy", reference, enough=(25, "why"))
    (axes,) = figure.axes
    article, keras, edge = (line for line in axes.lines if line.get_markersize() == 6)
    np.testing.assert_array_equal(article.get_xydata(), [[10, 0.9238], [100, 0.9749]])
    np.testing.assert_array_equal(keras.get_xydata(), [[25, 0.9503]])
    assert edge.get_ydata()[0] == 0.9
    assert article.get_marker() != keras.get_marker()
    assert [line.get_xdata()[0] for line in axes.lines if upright(line)] == [25]
    assert legend_texts(figure)[3:5] == ["article, test (one run)", "Keras 3, test (one run)"]
    assert legend_texts(figure)[-1] == "M = 25: why"
    figure.draw_without_rendering()
    ours = axes.transData.transform((10, 0.9))[0]
    assert article.get_transform().transform((10, 0.9))[0] < ours - 5  # pixels: beside our points, not on them
    assert keras.get_transform().transform((10, 0.9))[0] > ours + 5
    assert axes.get_xlim()[1] > 100


def test_no_hidden_layer_is_said_to_be_enough_and_not_drawn():
    figure = plots.accuracy_against_width(trials_table((0, 1, 1000)), "accuracy", enough=(0, "why"))
    assert figure.axes[0].get_xscale() == "log"
    assert "M = 0: why" in figure.legends[0].get_title().get_text()
    assert not any("why" in text for text in legend_texts(figure))  # where there is no line
    assert not any(map(upright, figure.axes[0].lines))


def test_r_squared_is_no_percentage():
    figure = plots.accuracy_against_width(trials_table(), "R²")
    assert figure.axes[0].get_ylabel() == "R²"
    assert figure.axes[0].yaxis.get_major_formatter()(0.5) != "50"
    assert figure.get_suptitle() == "R² against width: sigmoid, learning rate 0.001"
    assert "accuracy" not in words(figure) + words(plots.learning_curves(history_table(), "R²"))


@pytest.mark.parametrize(
    ("activations", "rates", "titles"),
    [
        (("sigmoid", "relu"), (1e-3,), [""]),
        (("sigmoid", "relu"), (1e-3, 1e-2), ["sigmoid", "relu"]),
        (("sigmoid", "tanh", "relu", "elu", "gelu"), (1e-3,), ["sigmoid", "tanh", "relu", "elu", "gelu"]),
        (("relu",), (1e-4, 1e-3, 1e-2, 1e-1), [f"learning rate {rate:g}" for rate in (1e-4, 1e-3, 1e-2, 1e-1)]),
    ],
)
def test_settings_share_a_panel_while_they_are_few(activations, rates, titles):
    trials = trials_table((0, 10, 25), activations, rates)
    figure = plots.accuracy_against_width(trials, "accuracy")
    assert [axes.get_title() for axes in figure.axes] == titles
    drawn = [mean for axes in figure.axes for _, mean, _, _ in bars(axes)]
    alone = len(titles) == len(activations) * len(rates) > 1
    columns = (*(["train_score"] if alone else []), "validation_score", "test_score")
    points = itertools.product(activations, rates, columns)
    for mean, (activation, rate, column) in zip(drawn, points, strict=True):
        chosen = rows(trials, activation=activation, learning_rate=rate)
        values = [chosen[column][chosen["hidden_units"] == width].mean() for width in (10, 25)]
        np.testing.assert_allclose(mean, values)
    for axes in figure.axes:
        looks = {(c.lines[0].get_color(), c.lines[0].get_marker()) for c in axes.containers}
        assert len(looks) == (2 if alone else len(axes.containers) / 2)  # a colour and a marker each
    assert len(legend_texts(figure)) == len(set(legend_texts(figure)))


def test_a_setting_that_lost_all_its_trials_does_not_change_the_looks_of_others():
    trials = trials_table((10, 25), ("sigmoid", "tanh", "relu"), (1e-3, 1e-2))
    whole = plots.accuracy_against_width(trials, "accuracy")
    trials["diverged"] = ((trials["activation"] == "relu") & (trials["learning_rate"] == 1e-3)).astype(int)
    figure = plots.accuracy_against_width(trials, "accuracy")
    assert [len(axes.containers) for axes in figure.axes] == [4, 4, 2]
    assert [axes.get_title() for axes in figure.axes] == ["sigmoid", "tanh", "relu"]
    assert legend_texts(figure) == legend_texts(whole)
    assert figure.axes[2].containers[0].lines[0].get_color() == whole.axes[2].containers[2].lines[0].get_color()


@pytest.mark.parametrize(
    "widths", [(10, 25, 50, 100, 150, 200), range(10, 201, 10), [2**i for i in range(13)], range(1, 60)]
)
@pytest.mark.parametrize("activations", [("sigmoid",), ("sigmoid", "tanh", "relu", "elu", "gelu")])
def test_tick_labels_do_not_run_into_each_other(widths, activations):
    figure = plots.accuracy_against_width(trials_table(widths, activations, seeds=1), "accuracy")
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
        assert {int(text.get_text()) for text in axes.get_xticklabels()} <= set(widths)


def test_legend_and_notes_lie_clear_of_the_panels():
    grids = {"activations": ("sigmoid", "relu"), "rates": (1e-3, 1e-2)}
    trials, history = trials_table(**grids), history_table(**grids)
    trials["diverged"][0] = history["diverged"][0] = 1
    reference = {"article": {10: 0.9}, "Keras 3": {25: 0.95}}
    for figure in (
        plots.accuracy_against_width(trials, "accuracy", reference, enough=(25, "why")),
        plots.learning_curves(history, "accuracy"),
    ):
        figure.draw_without_rendering()
        (legend,) = figure.legends
        others = [axes.get_tightbbox() for axes in figure.axes]
        assert not any(legend.get_window_extent().overlaps(box) for box in others)
        for text in figure.texts:
            assert not any(text.get_window_extent().overlaps(box) for box in others)
            assert figure.bbox.x0 <= text.get_window_extent().x0 < text.get_window_extent().x1 <= figure.bbox.x1
        assert figure.bbox.x0 <= legend.get_window_extent().x0 < legend.get_window_extent().x1 <= figure.bbox.x1


# Against parameters, learning rate × width, time


def test_scores_against_parameters_are_on_a_log_axis():
    trials = trials_table()
    trials["parameters"] = trials["hidden_units"] * 100 + 7
    figure = plots.scores_against_parameters(trials, "accuracy")
    for axes, metric in zip(figure.axes, ("loss", "score"), strict=True):
        assert axes.get_xscale() == "log"
        hidden, linear, *_ = bars(axes)
        np.testing.assert_array_equal(hidden[0], [1007, 2507])
        np.testing.assert_array_equal(linear[0], [7])
        for (_, mean, low, high), widths in ((hidden, (10, 25)), (linear, (0,))):
            values = [rows(trials, hidden_units=width)[f"train_{metric}"] for width in widths]
            np.testing.assert_allclose(mean, [each.mean() for each in values])
            deviation = [each.std(ddof=1) for each in values]
            np.testing.assert_allclose([mean - low, high - mean], [deviation, deviation])
        (above,) = axes.child_axes
        assert [text.get_text() for text in above.get_xticklabels()] == ["25", "10"]
        np.testing.assert_array_equal(above.get_xticks(), [2507, 1007])
    assert "over 3 seeds; star: M = 0" in figure.legends[0].get_title().get_text()
    many = plots.scores_against_parameters(trials_table(rates=(1e-4, 1e-3, 1e-2, 1e-1)), "R²")
    assert not any("training" in text for text in legend_texts(many))


def test_the_heat_map_shows_validation_means_and_frames_the_best_rate_of_each_width():
    trials = trials_table((10, 25), rates=(1e-2, 1e-3))
    gone = (trials["hidden_units"] == 25) & (trials["learning_rate"] == 1e-2)
    trials["diverged"] = gone.astype(int)
    trials["validation_score"][gone] = np.nan
    axes, bar = plots.rate_by_width(trials, "accuracy").axes
    shown = axes.images[0].get_array()
    expected = [
        [rows(trials, hidden_units=width, learning_rate=rate)["validation_score"].mean() for width in (10, 25)]
        for rate in (1e-3, 1e-2)
    ]
    np.testing.assert_allclose(shown, expected)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.001", "0.01"]
    hatched = [patch for patch in axes.patches if patch.get_hatch()]
    assert [patch.get_xy() for patch in hatched] == [(0.5, 0.5)]
    framed = {patch.get_y() for patch in axes.patches if not patch.get_hatch()}
    assert framed == {int(np.argmax(shown[:, 0])) - 0.46}  # of M = 25 there is nothing to choose from
    assert "3 of 12 trials diverged" in words(axes.figure)
    assert bar.get_ylabel() == "validation accuracy (%)"


def timing_table(widths=(0, 10, 100), epochs=3):
    points = list(itertools.product(("alone", "together"), widths, range(1, epochs + 1)))
    columns = (np.array(values) for values in zip(*points, strict=True))
    table = dict(zip(("program", "hidden_units", "epoch"), columns, strict=True))
    seconds = np.random.default_rng(2).uniform(0.1, 1, len(points))
    return table | {"seconds": seconds, "device": np.full(len(points), "some device")}


def test_training_time_is_alone_added_up_and_together():
    timing = timing_table()
    figure = plots.training_time(timing)
    (axes,) = figure.axes
    alone, after_another, together = axes.lines[:3]
    medians = [np.median(rows(timing, program="alone", hidden_units=m)["seconds"]) for m in (0, 10, 100)]
    np.testing.assert_allclose(alone.get_xydata(), np.column_stack([(0, 10, 100), medians]))
    np.testing.assert_allclose(after_another.get_ydata(), np.cumsum(medians))
    np.testing.assert_allclose(
        together.get_ydata(),
        [np.median(rows(timing, program="together", hidden_units=m)["seconds"]) for m in (0, 10, 100)],
    )
    assert axes.get_ylim()[0] == 0
    assert "some device" in figure.get_suptitle()
    assert "median of 3 epochs" in figure.legends[0].get_title().get_text()


# All figures of a run


CONFIG = {"score_name": "accuracy", "dataset": "sklearn:small", "dataset_name": "small one", "epochs": 6}
TABLES = ["accuracy-against-width", "learning-curves", "scores-against-parameters"]


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        (image_dataset((4, 5)), ["confusion-matrix", "mistakes", "hidden-units"]),
        (image_dataset((4, 5), classes=2, task="binary"), ["confusion-matrix", "mistakes", "hidden-units"]),
        (image_values(), ["predicted-against-true", "hidden-units"]),
    ],
    ids=["multiclass", "binary", "regression"],
)
@pytest.mark.parametrize("width", [0, 10])
def test_a_run_gets_the_figures_that_apply_to_it(dataset, names, width, tmp_path):
    trials = trials_table()
    trial = int(trials["trial"][trials["hidden_units"] == width][0])
    model = MLP(dataset.features, width, dataset.outputs, task=dataset.task, rngs=nnx.Rngs(0))
    config = CONFIG | {"score_name": "R²" if dataset.task == "regression" else "accuracy"}
    recommended = MLP(dataset.features, 4, dataset.outputs, task=dataset.task, rngs=nnx.Rngs(1))
    models = {trial: model, 8: recommended}
    drawn = list(plots.run_figures(trials, history_table(), config, models=models, dataset=dataset))
    tables = ["r2-against-width", *TABLES[1:]] if dataset.task == "regression" else TABLES
    assert [each.name for each in drawn] == [*tables, *names, *(f"{name}-recommended" for name in names)]
    for name, figure, alt in drawn:
        assert alt.endswith(".")
        assert "6 epochs" in figure.get_suptitle()
        assert name.removesuffix("-recommended") in names or "small one" in figure.get_suptitle()
        assert name.endswith("-recommended") == ("of the recommended width" in figure.get_suptitle())
        if name.endswith("-recommended"):
            assert "M = 4, " in words(figure)
        if name in names:
            assert f"M = {width}, " in words(figure)
            assert ("sigmoid" in words(figure)) == bool(width)
            assert ("predicted, standardized" in words(figure)) == (name == "predicted-against-true")
            plots.save(figure, tmp_path / f"{name}.png")


def test_what_a_run_lacks_is_not_drawn():
    tables = (trials_table((10,), seeds=1), history_table((10,), seeds=1))
    assert [each.name for each in plots.run_figures(*tables, CONFIG)] == ["learning-curves"]
    tables = (trials_table(rates=(1e-3, 1e-2)), history_table(rates=(1e-3, 1e-2)))
    drawn = [each.name for each in plots.run_figures(*tables, CONFIG, timing=timing_table())]
    assert drawn == [*TABLES, "rate-by-width", "training-time"]


def test_models_are_those_of_the_best_trial_and_of_the_recommended_width():
    trials, history = trials_table((10, 25, 50)), history_table((10, 25, 50))
    trials["validation_score"] = np.array([0.5, 0.51, 0.52, 0.9, 0.92, 0.91, 0.891, 0.931, 0.911])
    assert trials_to_show(trials, history, CONFIG) == [7, 4]
    trials["validation_score"][3:6] -= 0.3  # then the widest is enough, and its best trial the best of all
    assert trials_to_show(trials, history, CONFIG) == [7]
    several = trials_table((10, 25), rates=(1e-3, 1e-2)), history_table((10, 25), rates=(1e-3, 1e-2))
    assert trials_to_show(*several, CONFIG) == [int(np.argmax(several[0]["validation_score"]))]
    trials["diverged"] += 1
    with pytest.raises(InputError, match="diverged"):
        trials_to_show(trials, history, CONFIG)


@pytest.mark.parametrize(("second", "marked"), [(0.9, True), (0.5, False)])
def test_what_is_enough_is_marked_and_that_the_best_is_the_widest(second, marked):
    trials, history = trials_table((10, 25)), history_table((10, 25))
    trials["validation_score"] = np.array([0.90, 0.91, 0.92, 0.91, 0.9, 0.93])
    trials["validation_score"][:3] -= 0.9 - second
    drawn = next(plots.run_figures(trials, history, CONFIG)).figure
    said = "M = 10: within one standard error of the best\non validation, M = 25, the widest tried"
    assert (said in legend_texts(drawn)) == marked


def test_where_the_score_cannot_be_computed_the_loss_is_drawn():
    trials, history = trials_table(rates=(1e-3, 1e-2)), history_table(rates=(1e-3, 1e-2))
    for table in (trials, history):
        table["validation_score"][:] = np.nan
    names = []
    for drawn in plots.run_figures(trials, history, CONFIG | {"score_name": "R²"}):
        names.append(drawn.name)
        drawn.figure.draw_without_rendering()
        if drawn.name == "loss-against-width":
            assert drawn.figure.axes[0].get_ylabel() == "loss"
            assert "the score of validation cannot be computed" in drawn.figure.legends[0].get_title().get_text()
            columns = "validation_loss", "test_loss"
            for (_, mean, _, _), column in zip(bars(drawn.figure.axes[0]), columns, strict=False):
                chosen = [rows(trials, hidden_units=m, learning_rate=1e-3)[column].mean() for m in (10, 25)]
                np.testing.assert_allclose(mean, chosen)
        if drawn.name == "rate-by-width":
            assert "validation loss" in words(drawn.figure)
    assert "loss-against-width" in names
    trials["test_score"][:] = np.nan
    trials["validation_score"][:] = 0.5
    figure = plots.accuracy_against_width(trials, "R²")
    assert "the score of test cannot be computed" in figure.legends[0].get_title().get_text()


# Files


@pytest.fixture
def figure() -> Figure:
    return plots.accuracy_against_width(trials_table(), "accuracy")


def test_save_writes_png_and_svg_and_nothing_beside(figure, tmp_path):
    plots.save(figure, tmp_path / "a.png")
    plots.save(figure, str(tmp_path / "b.SVG"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "b.SVG").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.SVG"]


def test_the_same_figure_gives_the_same_file(tmp_path):
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        plots.save(plots.accuracy_against_width(trials_table(), "accuracy"), tmp_path / name)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_figures_are_1200_pixels_wide(figure, tmp_path):
    plots.save(figure, tmp_path / "a.png")
    assert int.from_bytes((tmp_path / "a.png").read_bytes()[16:20], "big") == 1200


def test_a_notebook_shows_a_figure(figure):
    shown, size = figure._repr_png_()
    assert shown.startswith(b"\x89PNG")
    assert int.from_bytes(shown[16:20], "big") == 1.5 * size["width"]


def test_save_leaves_everything_as_it_was_on_failure(figure, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("before")

    def half(self, file, **_):
        file.write(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_text() == "before"


def test_save_refuses_other_kinds_of_file(figure, tmp_path):
    for name in ("a.pdf", "a"):
        with pytest.raises(InputError, match=r"\.png or \.svg"):
            plots.save(figure, tmp_path / name)
    with pytest.raises(FileNotFoundError):
        plots.save(figure, tmp_path / "missing" / "a.png")
    assert not list(tmp_path.iterdir())
