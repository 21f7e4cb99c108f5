"""mlp-jax evaluate."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlp_jax.answers.terminal import percent_or_plain, print_table
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._using import Chosen, RunPath, Transpose, choose, image_form, own_dataset, setting
from mlp_jax.datasets import Dataset, load_dataset
from mlp_jax.datasets.scales import check_scales
from mlp_jax.errors import InputError, SweepWarning
from mlp_jax.networks.models import Model
from mlp_jax.runs.directory import Run
from mlp_jax.runs.tables import layers_text, widths_at
from mlp_jax.training.fit import Scores, evaluate


@dataclass
class Evaluate:
    """Score a run's models on every split of a data set: the run's own, or another one that fits."""

    run: RunPath
    """What mlp-jax sweep wrote."""
    dataset: str | None = None
    """A data set as mlp-jax sweep takes it, with as many features and outputs; by default the run's own. Classes are
    matched by name."""
    transpose: Transpose = None
    """With --dataset: whether its images are stored transposed; the run's own are read as they were."""
    trial: int | Literal["best", "all"] = "best"
    """A trial's number in trials.csv, all, or the best on validation."""
    json: bool = False
    """Print the result as JSON."""


def run(options: Evaluate) -> int:
    """Run the command; returns the exit code."""
    first = choose(options.run, None if options.trial == "best" else 0 if options.trial == "all" else options.trial)
    run = first.run
    dataset = _load(first, options)
    _check_fits(first.model, dataset)
    same = dataset.digest == setting(run, "dataset_digest")
    names = setting(run, "class_names")
    # The very data keep the run's numbering; but data that are named, and whose classes are others, are not meant.
    as_trained = same and (options.dataset is None or set(dataset.class_names) == set(names))
    dataset = dataset.with_names(names) if as_trained else dataset.with_classes(names)
    if not same:
        _check_scale(run, dataset)
    numbers = run.trials["trial"].tolist() if options.trial == "all" else [first.trial]
    scores: dict[int, dict[str, Scores]] = {}
    for number in numbers:
        model = run.model(number)
        scores[number] = {name: evaluate(model, split) for name, split in dataset.splits.items()}
    score_name = setting(run, "score_name")
    if options.json:
        by_trial = [{"trial": number} | _flat(by) for number, by in scores.items()]
        print_json(
            {
                "run": str(options.run),
                "dataset": dataset.name,
                "same_data": same,
                "score_name": score_name,
                "sizes": {name: len(split) for name, split in dataset.splits.items()},
                "trials": by_trial,
            }
        )
        return 0
    console = console_for()
    score = percent_or_plain(score_name)
    rows: list[tuple[str, ...]] = []
    if len(scores) == 1:
        console.print(f"{first}.", highlight=False, soft_wrap=True)
        rows = [
            (name, f"{len(dataset.splits[name]):,}", f"{loss:.4f}", score(value))
            for name, (loss, value) in scores[first.trial].items()
        ]
        print_table(
            console,
            ("split", "examples", "loss", score_name),
            rows,
            title=dataset.name,
            left=("split",),
            drop=("examples",),
        )
    else:
        for place, (number, by) in enumerate(scores.items()):
            units = layers_text(widths_at(run.trials, place))
            variant, rate, seed = (run.trials[name][place] for name in ("variant", "learning_rate", "seed"))
            cells = [f"{loss:.4f}  {score(value)}" for loss, value in by.values()]
            rows.append((str(number), units, variant, f"{rate:g}", str(seed), *cells))
        headings = ("trial", "M", "variant", "learning rate", "seed", *dataset.splits)
        look: dict[str, Any] = {
            "title": f"{dataset.name}: loss and {score_name}",
            "left": ("variant",),
            "prose": "variant",
        }
        print_table(console, headings, rows, drop=("train", "validation"), **look)
    if not same:
        console.print("These are not the data that the run was trained on.", highlight=False, soft_wrap=True)
    return 0


def _flat(scores: dict[str, Scores]) -> dict[str, float]:
    """Scores by the names of the columns of trials.csv."""
    return {f"{split}_{name}": value for split, pair in scores.items() for name, value in pair._asdict().items()}


def _load(chosen: Chosen, options: Evaluate) -> Dataset:
    if options.dataset is not None:
        return load_dataset(options.dataset, transpose=options.transpose)
    if options.transpose is not None:
        raise InputError("transpose without dataset: the run's own images are read as they were, so leave it out")
    return own_dataset(chosen.run, None)


def _check_scale(run: Run, dataset: Dataset) -> None:
    """Compare the scale of other data with that of the run's own: as recorded for images, else from the data."""
    features, images = dataset.train.features, dataset.image_shape is not None
    as_bytes = setting(run, "feature_dtype") == "uint8"
    if setting(run, "image_form") is not None:
        form = image_form(run)
        ends = np.array([form.paper, form.ink], np.float32)
        own = np.resize(np.round(255 * ends).astype(np.uint8) if as_bytes else ends, (1, dataset.features))
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SweepWarning)  # of what they are was warned when they were trained on
                own = own_dataset(run, None).train.features
        except InputError:  # not there any more
            if not as_bytes:
                return
            own = np.resize(np.array([0, 255], np.uint8), (1, dataset.features))
    check_scales({"the run's own data": own, dataset.name: features}, images=images)


def _check_fits(model: Model, dataset: Dataset) -> None:
    features, outputs = model.features, model.outputs
    asked = (model.task, features, outputs)
    found = (dataset.task, dataset.features, dataset.outputs)
    if asked != found:
        there, here = (f"{task} with {count} features and {k} outputs" for task, count, k in (found, asked))
        raise InputError(f"{dataset.name} is {there}: the run's models expect {here}")
