"""The figures of a run: which ones apply to it, drawn one at a time."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from mlp_jax.answers.analysis import best_point, by_setting, measure_name, score_text, summarize, verdicts
from mlp_jax.answers.deciding import looks_of
from mlp_jax.answers.plots.curves import learning_curves
from mlp_jax.answers.plots.model import confusion_matrix, hidden_units, mistakes, predicted_against_true
from mlp_jax.answers.plots.search import search_curves
from mlp_jax.answers.plots.settings import Setting, join
from mlp_jax.answers.plots.style import Figure
from mlp_jax.answers.plots.width import (
    accuracy_against_width,
    rate_by_width,
    scores_against_parameters,
    training_time,
)
from mlp_jax.answers.ranking import ranking
from mlp_jax.answers.showing import what_is_enough
from mlp_jax.datasets import Dataset
from mlp_jax.networks.models import MLP, Model
from mlp_jax.runs.tables import (
    Table,
    criterion,
    layers_text,
    of_trials,
    references,
    to_the_end,
    without_activation,
)
from mlp_jax.sweeps.outcomes import Outcomes
from mlp_jax.sweeps.plan import counted
from mlp_jax.training.epoch import live_features

_MOST_ON_LINE = 66  # characters of a model's description, beside the name of its split
_CHUNK = 16384  # examples that a model sees at once: for each number of them JAX compiles anew


class RunFigure(NamedTuple):
    """A figure, the name of its file without suffix, and its alternative text."""

    name: str
    figure: Figure
    alt: str


def run_figures(
    trials: Table,
    history: Table,
    config: Mapping[str, Any],
    *,
    timing: Table | None = None,
    outcomes: Outcomes | None = None,
    models: Mapping[int, Model] = MappingProxyType({}),
    dataset: Dataset | None = None,
) -> Iterator[RunFigure]:
    """Draw the figures that apply to a run, one after another.

    Args:
        trials: table with one row per trial.
        history: table with one row per trial and epoch.
        config: the run's configuration, as ``mlp_jax.runs.directory`` writes it.
        timing: measurements of ``mlp_jax.runs.timing``, if there are any.
        outcomes: results by example; None if they are not known.
        models: the models that are shown, by the numbers of their trials (``mlp_jax.answers.showing``).
        dataset: the data set that they were trained on; None leaves out the figures of models.
    """
    score_name, searched = config["score_name"], None
    if "search" in config:
        searched = trials, history
        trials = to_the_end(trials)
        history = of_trials(history, trials)
    several_widths, several_rates = (len(set(trials[k].tolist())) > 1 for k in ("hidden_units", "learning_rate"))
    data = str(config.get("dataset_name", ""))
    trained = "" if "epochs" in trials else counted(config["epochs"], "epoch")  # where they differ, variants say so
    name = join(data, trained)
    if searched is not None:
        several_widths = any(len(curve) > 1 for curve in by_setting(summarize(trials)).values())
        ranked = ranking(searched[0], config["epochs"])
        figure = search_curves(*searched, ranked, score_name, title=data)
        alt = f"Curves: validation {score_name} by epoch of {len(ranked)} configurations, as far as each was trained."
        yield RunFigure("search", figure, alt)
    if several_widths:
        enough = what_is_enough(verdicts(trials, history, outcomes, looks_of(config)))
        figure = accuracy_against_width(
            trials, score_name, references(config), outcomes=outcomes, enough=enough, title=name
        )
        measured = measure_name(trials, score_name).lower().replace("²", "2")
        yield RunFigure(f"{measured}-against-width", figure, _width_alt(trials, score_name))
    alt = f"Curves: loss and {score_name} by epoch, of training and validation, for each width."
    yield RunFigure("learning-curves", learning_curves(history, score_name, title=name), alt)
    if several_widths:
        alt = f"Lines: loss and {score_name} of the finished models against their number of parameters, on a log axis."
        figure = scores_against_parameters(trials, score_name, title=name)
        yield RunFigure("scores-against-parameters", figure, alt)
    if several_rates and searched is None:
        alt = f"Heat map: validation {score_name} of each learning rate and width; the best of each width is framed."
        yield RunFigure("rate-by-width", rate_by_width(trials, score_name, title=name), alt)
    if timing is not None:
        alt = "Lines: seconds per epoch against M, of each width alone, one after another, and all together."
        yield RunFigure("training-time", training_time(timing), alt)
    if dataset is not None:
        unit = "standardized" if str(config.get("dataset")).startswith("sklearn:") else ""
        for place, (trial, model) in enumerate(models.items()):
            for drawn in _model_figures(trials, trial, model, dataset, unit, trained, recommended=place > 0):
                yield drawn._replace(name=f"{drawn.name}-recommended") if place else drawn


def _width_alt(trials: Table, score_name: str) -> str:
    rows = [row for row in summarize(trials) if row.seeds]
    measure, score_name = criterion(trials).measure, measure_name(trials, score_name)
    best = best_point(rows)
    if best is None:
        return "No plot: every trial diverged."
    curve = by_setting(rows)[best.setting]
    ends = (
        f"{score_text(row.mean[f'test_{measure}'], score_name)} at M = {row.hidden_units}"
        for row in (curve[0], curve[-1])
    )
    drawn = f"Lines: training, validation and test {score_name} against hidden units M"
    return f"{drawn}; test {score_name} is {' and '.join(ends)}."


def _model_figures(
    trials: Table, trial: int, model: Model, dataset: Dataset, unit: str, trained: str, *, recommended: bool
) -> Iterator[RunFigure]:
    """Figures of one model on the test split, and of its units.

    Args:
        trials: table with one row per trial.
        trial: number of the model's trial.
        model: the model.
        dataset: what it was trained on.
        unit: unit of a regression's values.
        trained: for how many epochs; may be empty.
        recommended: whether it is shown as the best of the recommended width, rather than of all.
    """
    row = {name: trials[name][trials["trial"] == trial][0] for name in ("variant", "learning_rate", "seed")}
    variant = str(row["variant"]) if model.hidden_units else without_activation(str(row["variant"]))
    setting = Setting(variant, float(row["learning_rate"])).text()
    which = join(f"M = {layers_text(model.hidden_units)}", setting, f"seed {row['seed']}", trained)
    why = "the best trial on validation" + (" of the recommended width" if recommended else "")
    alt = f"{which}: {why}"
    title = alt if len(alt) <= _MOST_ON_LINE else f"{which}\n{why}"
    test = dataset.test
    chunks = (test.features[i : i + _CHUNK] for i in range(0, len(test), _CHUNK))
    # Compiled as one: op by op, each would be compiled by itself, which takes longer than all the rest.
    says = nnx.jit(Model.predict if dataset.task == "regression" else Model.class_probabilities)
    outputs = np.concatenate([np.asarray(says(model, chunk)) for chunk in chunks])
    if dataset.task == "regression":
        figure = predicted_against_true(test.targets, outputs, unit=unit, title=f"{dataset.name}, test split, {title}")
        yield RunFigure("predicted-against-true", figure, f"Points: predicted against true values. {alt}.")
    else:
        predictions = outputs.argmax(axis=1)
        names, about = dataset.class_names, f"test split, {title}"
        wrong = f"{int((predictions != test.targets).sum()):,} of {len(test):,} test examples are wrong"
        figure = confusion_matrix(test.targets, predictions, names, title=about)
        yield RunFigure("confusion-matrix", figure, f"Matrix: true against predicted classes; {wrong}. {alt}.")
        if dataset.image_shape is not None:
            images = test.features.reshape(len(test), *dataset.image_shape)
            figure = mistakes(images, test.targets, outputs, names, title=about)
            yield RunFigure("mistakes", figure, f"Test images that are taken for another class; {wrong}. {alt}.")
    if dataset.image_shape is not None and isinstance(model, MLP):
        weights = {symbol: np.asarray(values) for symbol, values in model.weights.items()}
        live = np.zeros(dataset.features, bool)
        live[list(live_features(dataset.train.features))] = True
        if model.hidden_units:
            after = weights.get("A2", weights["B"])  # where the first hidden layer leads
            strength = np.linalg.norm(weights["A"], axis=0) * np.linalg.norm(after, axis=1)
            figure = hidden_units(weights["A"], dataset.image_shape, strength=strength, live=live, title=title)
        else:
            names = dataset.class_names if len(dataset.class_names) == dataset.outputs else ()
            figure = hidden_units(weights["A"], dataset.image_shape, live=live, names=names, title=title)
        yield RunFigure("hidden-units", figure, f"Images: the weights of each hidden unit, one per pixel. {alt}.")
