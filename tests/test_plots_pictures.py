"""Pictures of data sets and of what one model makes of them: pixels, classes, mistakes, weights."""

import matplotlib
import numpy as np
import pytest
from conftest import image_dataset, image_values
from matplotlib import colormaps

from mlp_jax import InputError, SweepWarning
from mlp_jax.answers import plots

# Data sets


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 2)])
def test_digit_shows_where_pixels_are_and_how_dark(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    image[1] = 0
    pattern, shades = plots.digit(image, "seven").axes
    grey = image if image.ndim == 2 else image.mean(axis=2)
    np.testing.assert_array_equal(pattern.images[0].get_array(), grey != 0)
    np.testing.assert_array_equal(shades.images[0].get_array(), grey)
    assert f"{np.count_nonzero(grey)} of 20 pixels" in pattern.get_title()
    assert f"from 0 to {image.max()}" in shades.get_title()
    assert pattern.figure.get_suptitle() == "label: seven"


def test_digit_of_three_channels_is_in_colour():
    image = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    shown = plots.digit(image, 0).axes[1].images[0].get_array()
    assert shown.shape == (4, 5, 3)
    assert shown.min() == 0
    assert shown.max() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(784,), (0, 5), (2, 3, 4, 5)])
def test_digit_refuses_what_is_no_image(shape):
    with pytest.raises(InputError, match="shape"):
        plots.digit(np.zeros(shape), 0)


def test_a_blank_digit_can_be_drawn(tmp_path):
    plots.save(plots.digit(np.zeros((4, 5, 3), np.uint8), 0), tmp_path / "blank.png")


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_examples_are_labelled_with_their_class(shape):
    dataset = image_dataset(shape, class_names=("coat", "$5 bag$", "shoe"))
    figure = plots.examples(dataset, split="test", rows=3, columns=5)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(figure.axes) == 10  # a third row would be empty
    assert [axes.get_title() for axes in shown] == ["coat", "$5 bag$", "shoe", "coat", "$5 bag$", "shoe", "coat"]
    if len(shape) == 2:
        for axes, x in zip(shown, dataset.test.features, strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array(), x.reshape(shape))
    assert figure.get_suptitle() == "small, test"
    assert not figure.findobj(matplotlib.text.Text)[1].get_parse_math()


def test_examples_of_a_regression_show_their_values():
    assert plots.examples(image_values(), split="test", rows=1, columns=2).axes[1].get_title() == "0, 1, 0, 0"


def test_examples_refuses_what_it_cannot_show(small):
    with pytest.raises(InputError, match="images"):
        plots.examples(small)
    with pytest.raises(InputError, match="train, validation, test"):
        plots.examples(image_dataset(), split="dev")
    with pytest.raises(InputError, match="1 or more"):
        plots.examples(image_dataset(), rows=0)


def test_class_balance_counts_every_class_of_every_split():
    with pytest.warns(SweepWarning, match="no split has an example of class never"):
        dataset = image_dataset(classes=3, class_names=("coat", "bag", "shoe", "never"))
    figure = plots.class_balance(dataset)
    for axes, split in zip(figure.axes, dataset.splits.values(), strict=True):
        widths = [bar.get_width() for bar in axes.patches]
        assert widths == [int((split.targets == label).sum()) for label in range(4)]
        assert axes.lines[0].get_xdata()[0] == len(split) / 4
        assert axes.get_xlabel() == "examples"
    assert [axes.get_title() for axes in figure.axes] == ["train: 20", "validation: 5", "test: 7"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["coat", "bag", "shoe", "never"]


def test_class_balance_of_many_classes_labels_some_and_refuses_values():
    figure = plots.class_balance(image_dataset(classes=100, examples=200))
    assert len(figure.axes[0].patches) == 100
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()][:3] == ["0", "4", "8"]
    with pytest.raises(InputError, match="classes"):
        plots.class_balance(image_values())


# One model


def test_the_confusion_matrix_counts_true_rows_and_predicted_columns():
    targets, predictions = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 2])
    figure = plots.confusion_matrix(targets, predictions, ("coat", "$bag$", "shoe"), title="M = 3")
    axes = figure.axes[0]
    written = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert written == {(0, 0): "1", (0, 1): "1", (1, 1): "1", (2, 0): "2", (2, 2): "1"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")
    assert [text.get_text() for text in axes.get_yticklabels()] == ["coat", "$bag$", "shoe"]
    assert figure.get_suptitle() == "confusion matrix: 3 of 6 wrong\nM = 3"
    assert np.ma.getmaskarray(axes.images[0].get_array()).diagonal().all()  # what is right has no colour


def test_mistakes_are_shown_surest_first_with_prediction_and_truth():
    shown = np.arange(5 * 6, dtype=np.uint8).reshape(5, 2, 3)
    targets = np.array([0, 1, 0, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9], [0.05, 0.95]])
    figure = plots.mistakes(shown, targets, probabilities, ("no", "yes"), columns=2)
    (axes,) = figure.axes
    titles = ["yes (95.0 %)\ntrue: no", "no (80.0 %)\ntrue: yes", "yes (70.0 %)\ntrue: no"]
    assert [text.get_text() for text in axes.texts] == titles
    (sheet,) = (image.get_array() for image in axes.images)
    for text, i in zip(axes.texts, (4, 1, 2), strict=True):
        middle, above = text.get_position()
        top, left = int(above) + 1, int(middle - 1)
        darkness = (shown[i] - shown[i].min()) / np.ptp(shown[i])
        np.testing.assert_allclose(sheet[top : top + 2, left : left + 3, 0], 1 - darkness, atol=0.01)
        assert (sheet[top - 1, left : left + 3] == 1).all()
    assert figure.get_suptitle().startswith("3 of 5 wrong; the 3 surest of them")
    none = plots.mistakes(shown, probabilities.argmax(axis=1), probabilities, ("no", "yes"))
    assert not any(axes.images for axes in none.axes)
    assert none.get_suptitle() == "0 of 5 wrong"


def test_hidden_units_are_images_about_zero():
    weights = np.random.default_rng(0).normal(size=(6, 4))
    live = np.array([True] * 5 + [False])
    figure = plots.hidden_units(weights, (2, 3), live=live, title="M = 4")
    axes, bar = figure.axes
    picture = axes.images[0].get_array()
    low, high = bar.get_ylim()
    assert low == -high
    for unit, name in enumerate(axes.texts):
        left, top = round(name.get_position()[0] + 0.5 - 3 / 2), round(name.get_position()[1]) + 1
        seen = picture[top : top + 2, left : left + 3].reshape(6, 4)
        assert name.get_text() == str(unit + 1)
        np.testing.assert_allclose(seen[:5], colormaps["cividis"]((weights[:5, unit] - low) / (high - low)), atol=1e-6)
        assert (seen[5] == 1).all()  # white
        lightness = seen[:5, :3] @ (0.2126, 0.7152, 0.0722)
        assert (np.diff(lightness[np.argsort(weights[:5, unit])]) >= 0).all()  # so the sign is there in greyscale, too
    assert len(axes.texts) == 4
    assert np.abs(weights[:5]).max() == -weights[:5].min() > high  # the outermost hundredth is cut
    assert bar._colorbar.extend == "min"
    assert "white: never inked in training" in figure.get_suptitle()
    with pytest.raises(InputError, match=r"a row for each pixel of \(28, 28\)"):
        plots.hidden_units(weights, (28, 28))


def test_of_many_hidden_units_the_strongest_are_shown():
    weights = np.ones((4, 130))
    strength = np.arange(130.0)
    figure = plots.hidden_units(weights, (2, 2), strength=strength)
    assert [name.get_text() for name in figure.axes[0].texts] == [str(i) for i in range(31, 131)]
    assert "the 100 of 130 that weigh most" in figure.get_suptitle()


def test_predicted_against_true_values():
    targets, predictions = np.random.default_rng(0).normal(size=(2, 9, 2))
    figure = plots.predicted_against_true(targets, predictions, unit="mm")
    for k, axes in enumerate(figure.axes):
        np.testing.assert_array_equal(axes.lines[1].get_xydata(), np.column_stack([targets[:, k], predictions[:, k]]))
        both = np.array([targets[:, k], predictions[:, k]])
        assert axes.get_xlim() == axes.get_ylim()
        assert np.ptp(axes.get_xlim()) < 1.1 * np.ptp(both)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("true, mm", "predicted, mm")
    assert [axes.get_title() for axes in figure.axes] == ["output 1", "output 2"]
