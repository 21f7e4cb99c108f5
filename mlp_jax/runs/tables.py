"""Results as tidy tables, which ``mlp_jax.answers.analysis`` interprets.

A table is a dict of columns, NumPy arrays of equal length: ``trials`` has one row per trial, ``history`` one row per
trial and epoch. Both say which trial a row is of:

hidden_units, activation, learning_rate, seed   always; hidden_units is the width M of the first hidden layer
hidden_layers                                   all widths ("100-50"; "0" for none), if some trial has several layers
any other axis, by its name                     if some trial differs from the axis's default
stopped                                         of trials of a search: the epoch of the rung that ended a trial, 0 for
                                                none; its other columns are of the model as it was then
variant                                         what distinguishes curves over M besides the learning rate
                                                (``with_variants``); follows from the others, so files do not hold it
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import InputError, shown
from mlp_jax.networks.layers import Widths, check_widths, layers_of
from mlp_jax.sweeps.search import SearchResult
from mlp_jax.sweeps.sweep import SweepResult
from mlp_jax.training.axes import AXES, Trial, recipe_of_trial
from mlp_jax.training.fit import Fit
from mlp_jax.training.recipe import Recipe

Table = dict[str, np.ndarray]

KEYS = ("hidden_units", "activation", "learning_rate", "seed")
"""Axes for which every table has a column."""
LAYERS = "hidden_layers"
VARIANT = "variant"
STOPPED = "stopped"
REPEATS = ("seed", "init_seed")
"""Axes of repetition: trials that differ in these alone are repetitions of each other."""
SCORES = ("train_loss", "train_score", "validation_loss", "validation_score", "test_loss", "test_score")
CURVES = ("loss", "score", "validation_loss", "validation_score")

ARTICLE_TEST_ACCURACY = {10: 0.9238, 100: 0.9749}
"""By M: the article's own figures, one seed."""

KERAS_TEST_ACCURACY = {10: 0.9263, 25: 0.9503, 50: 0.9668, 100: 0.9754, 150: 0.9783, 200: 0.9776}
"""By M: Keras 3.15 (TensorFlow), the article's recipe, one seed, measured for this project's design page."""


def trials_table(result: SweepResult) -> Table:
    """One row per trial, in the order of the grid; ``diverged`` is the epoch in which it did, 0 if it did not."""
    return {
        "trial": np.arange(len(result.trials)),
        **axes_table(result.trials),
        "parameters": result.parameters,
        "diverged": result.diverged,
        **({STOPPED: result.stopped} if isinstance(result, SearchResult) else {}),
        **{column: result.final[column] for column in SCORES},
    }


def history_table(result: SweepResult) -> Table:
    """One row per trial and report; ``diverged`` is 1 from the epoch on in which the trial diverged."""
    table = reports_table(result.trials, result.recipe, result.epochs)
    trial, epoch = table["trial"], table["epoch"]
    diverged = result.diverged[trial]
    number = epoch // result.recipe.report_every - 1
    return {
        **table,
        "diverged": ((diverged > 0) & (epoch >= diverged)).astype(int),
        **{column: result.history[column][trial, number] for column in CURVES},
    }


def reports_table(trials: Sequence[Trial], recipe: Recipe, epochs: Sequence[int] | np.ndarray | None = None) -> Table:
    """The columns that say which trial and epoch each report is of, one row per trial and report.

    Args:
        trials: of the grid.
        recipe: of all.
        epochs: that each was trained; None for as many as asked for.
    """
    if epochs is None:
        epochs = [recipe_of_trial(recipe, trial).epochs for trial in trials]
    rounds = np.asarray(epochs) // recipe.report_every
    return {
        "trial": np.repeat(np.arange(len(trials)), rounds),
        **{name: np.repeat(values, rounds) for name, values in axes_table(trials).items()},
        "epoch": recipe.report_every * np.concatenate([np.arange(1, count + 1) for count in rounds]),
    }


def fit_history_table(trained: Fit) -> Table:
    """One row per epoch of a model that was trained alone: like ``history_table`` of a single trial."""
    epochs, model = len(trained.history.loss), trained.model
    curves = {column: getattr(trained.history, column) for column in CURVES}
    trial = Trial(model.hidden_units, model.activation, trained.learning_rate, trained.seed)
    return {
        "trial": np.zeros(epochs, int),
        **axes_table([trial] * epochs),
        "epoch": np.arange(1, epochs + 1),
        "diverged": (~np.isfinite(curves["loss"])).astype(int),
        **curves,
    }


# Which trial a row is of


def axes_table(trials: Sequence[Trial]) -> Table:
    """The columns that say which trial each row is of, one row per trial."""
    layers = [layers_of(trial.hidden_units) for trial in trials]
    table: Table = {"hidden_units": np.array([each[0] if each else 0 for each in layers])}
    if any(len(each) > 1 for each in layers):
        table[LAYERS] = np.array(["-".join(map(str, each)) or "0" for each in layers])
    for name, axis in AXES.items():
        values = [getattr(trial, name) for trial in trials] if name not in table else []
        if name in KEYS[1:] or any(value != axis.default for value in values):
            table[name] = np.array(values, column_type(name))
    return with_variants({name: table[name] for name in sorted(table, key=_place)})


def _place(name: str) -> int:
    """Sort key of a column: those that every table has come first."""
    return [*KEYS, LAYERS, *AXES].index(name)


def column_type(name: str) -> type:
    """Type of the column of an axis, or of all hidden layers: ``int``, ``float`` or ``str``."""
    if name == "hidden_units":
        return int
    if name not in AXES:
        return str
    axis = AXES[name]
    of_kind = {"number": float, "order": int, "shape": str}[axis.kind]
    return of_kind if axis.default is None else type(axis.default)


def widths_at(table: Table, row: int) -> Widths:
    """The hidden layers of the trial in a row, as a grid has them; raises InputError if the columns contradict."""
    first = int(table["hidden_units"][row])
    if LAYERS not in table:
        return first
    text = str(table[LAYERS][row])
    if not re.fullmatch(r"\d{1,9}(-\d{1,9})*", text, re.ASCII):
        raise InputError(f"{LAYERS} is {shown(text)}: expected widths, such as 100-50")
    widths = tuple(map(int, text.split("-")))
    if widths[0] != first:
        raise InputError(f"{LAYERS} is {text} where hidden_units is {first}: expected the same first width")
    return check_widths(widths if len(widths) > 1 else widths[0])


def layers_text(hidden_units: Widths) -> str:
    """The widths of hidden layers as text: 100, or 100-50 for two layers."""
    return "-".join(map(str, layers_of(hidden_units))) or "0"


def variant_axes(table: Table) -> list[str]:
    """Names of the columns that a variant is made of."""
    return ["activation", *(name for name in (LAYERS, *AXES) if name in table and name not in (*KEYS, *REPEATS))]


def with_variants(table: Table) -> Table:
    """Add the column that distinguishes curves over M, besides the learning rate.

    A variant is a text of parts, joined by commas: the activation; if some trial has several hidden layers, how many
    this one has and how wide they are; and every further axis that takes more than one value in the table, unless all
    trials that are otherwise of the same kind have its default (the momentum of Adam). "relu, sgd, momentum 0.9".
    """
    names = variant_axes(table)
    if names == ["activation"]:
        return table | {VARIANT: table["activation"]}
    codes = np.stack([np.unique(table[name], return_inverse=True)[1] for name in names], axis=1)
    _, rows, inverse = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    points = [{name: table[name][row].item() for name in names} for row in rows]
    varied = [name for name in names[1:] if name in AXES and len({point[name] for point in points}) > 1]
    words = [name for name in names if column_type(name) is str and name != LAYERS]
    depths = _depth_texts({point[LAYERS] for point in points}) if LAYERS in table else {}

    def kind(point: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(point[name] for name in words)

    taken: dict[tuple[Any, ...], set[Any]] = {}
    for point in points:
        for name in varied:
            taken.setdefault((name, *kind(point)), set()).add(point[name])
    texts = []
    for point in points:
        parts = [point["activation"], *([depths[point[LAYERS]]] if depths else [])]
        said = (name for name in varied if name in words or taken[(name, *kind(point))] != {AXES[name].default})
        texts.append(", ".join([*parts, *(axis_text(name, point[name]) for name in said)]))
    return table | {VARIANT: np.array(texts)[inverse.ravel()]}


def axis_text(name: str, value: Any) -> str:
    """A value on an axis as text: momentum 0.9."""
    if isinstance(value, float):
        value = f"{value:g}" if float(f"{value:g}") == value else repr(value)  # no two values look the same
    return str(value) if name in ("activation", "optimizer") else f"{AXES[name].label} {value}"


def _depth_texts(stacks: Iterable[str]) -> dict[str, str]:
    """How deep and wide hidden layers are, given M: layers after the first by their widths, or relative to M.

    Relative where that makes fewer curves: of 8-4 and 16-8 one, M-0.5M.
    """
    by_depth: dict[int, list[tuple[int, ...]]] = {}
    for stack in sorted(stacks):
        widths = tuple(map(int, stack.split("-")))
        by_depth.setdefault(len(widths), []).append(widths)
    texts = {}
    for depth, here in sorted(by_depth.items()):
        ratios = {widths: tuple(each / widths[0] if widths[0] else 1.0 for each in widths[1:]) for widths in here}
        exact = all(float(f"{ratio:g}") == ratio for each in ratios.values() for ratio in each)
        fewer = len(set(ratios.values())) < len({widths[1:] for widths in here})
        equal = all(set(each) == {1.0} for each in ratios.values())
        for widths in here:
            after = [str(each) for each in widths[1:]]
            if exact and (fewer or equal):
                after = ["M" if ratio == 1 else f"{ratio:g}M" for ratio in ratios[widths]]
            layers = f"{depth} layers {'-'.join(['M', *after])}" if depth > 1 else "1 layer"
            texts["-".join(map(str, widths))] = layers
    if "0" in texts:  # begins the curve of the networks with the fewest layers, if these are one
        fewest = min((depth for depth, here in by_depth.items() if here != [(0,)]), default=1)
        shallow = {texts["-".join(map(str, widths))] for widths in by_depth.get(fewest, []) if widths != (0,)}
        texts["0"] = shallow.pop() if len(shallow) == 1 else "no hidden layer"
    return texts


def parts(variant: str) -> list[str]:
    """The parts of a variant, the activation first."""
    return variant.split(", ") if variant else []


def without_activation(variant: str) -> str:
    """A variant without its activation, which networks without hidden layers do not use."""
    return ", ".join(parts(variant)[1:])


def shared_parts(variants: Iterable[str]) -> str:
    """The parts that all variants share, as a variant."""
    first, *others = dict.fromkeys(variants)
    return ", ".join(part for part in parts(first) if all(part in parts(other) for other in others))


def without(variant: str, told: str) -> str:
    """A variant without the parts that have already been mentioned."""
    return ", ".join(part for part in parts(variant) if part not in parts(told))


class Criterion(NamedTuple):
    """What choices are based on: the validation score or, if none can be computed, the validation loss.

    R² is not defined where targets do not vary, as for a single example.
    """

    measure: str

    @property
    def column(self) -> str:
        """Name of its column in a table."""
        return f"validation_{self.measure}"

    def merit(self, values: np.ndarray) -> np.ndarray:
        """Values of the measure, on any split, with their sign changed if lower is better."""
        return values if self.measure == "score" else -values


def criterion(table: Table) -> Criterion:
    """What choices among these trials, or epochs of trials, are based on."""
    score, loss = (table[f"validation_{measure}"][table["diverged"] == 0] for measure in ("score", "loss"))
    return Criterion("loss" if np.isnan(score).all() and not np.isnan(loss).all() else "score")


def to_the_end(trials: Table) -> Table:
    """The rows of the trials that were trained to the end, of a table of trials: those a search did not stop."""
    if STOPPED not in trials:
        return trials
    return {name: values[trials[STOPPED] == 0] for name, values in trials.items()}


def of_trials(history: Table, trials: Table) -> Table:
    """The rows of a history that are of these trials."""
    here = np.isin(history["trial"], trials["trial"])
    return history if here.all() else {name: values[here] for name, values in history.items()}


def best_trial(trials: Table) -> int:
    """Number of the best trial by ``criterion``, the first of equals; trials that diverged are left out.

    So are those that a search stopped, unless all others diverged.

    Raises:
        InputError: every trial diverged.
    """
    if (to_the_end(trials)["diverged"] == 0).any():
        trials = to_the_end(trials)
    by = criterion(trials)
    scores = np.where(trials["diverged"] == 0, by.merit(trials[by.column]), np.nan)
    if np.isnan(scores).all():
        raise InputError("every trial of the run diverged: there is none to use")
    return int(trials["trial"][np.nanargmax(scores)])


def references(config: Mapping[str, object]) -> dict[str, dict[int, float]]:
    """Test accuracies of others to compare a run with: the article's and Keras's, if the recipe was theirs.

    Of the widths that the run has, and without those who have none of them.

    Args:
        config: the run's configuration, as ``mlp_jax.runs.directory`` writes it.
    """
    recipe = {"dataset": "mnist", "epochs": 20, "batch_size": 128, "use_bias": True}
    further = [axis for name, axis in AXES.items() if name not in (*KEYS, *recipe)]
    other_rule = any(config.get(axis.plural, [axis.default]) != [axis.default] for axis in further)
    widths = config.get("hidden_units", ())
    several_layers = isinstance(widths, list) and any(isinstance(each, list) for each in widths)
    if other_rule or several_layers or any(config.get(key) != value for key, value in recipe.items()):
        return {}
    same = "sigmoid" in _listed(config.get("activations")) and 1e-3 in _listed(config.get("learning_rates"))
    others = {"article": ARTICLE_TEST_ACCURACY, "Keras 3": KERAS_TEST_ACCURACY} if same else {}
    of_widths = {
        name: {width: score for width, score in points.items() if width in _listed(widths)}
        for name, points in others.items()
    }
    return {name: points for name, points in of_widths.items() if points}


def _listed(values: object) -> list[Any]:
    return values if isinstance(values, list) else []
