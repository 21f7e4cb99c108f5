"""mlp-jax data."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlp_jax.answers.terminal import print_table
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._using import DatasetName, Transpose
from mlp_jax.datasets import Dataset, load_dataset
from mlp_jax.runs.directory import check_new, new_directory


@dataclass
class Data:
    """Show a data set: sizes, class balance, and figures of its examples."""

    dataset: DatasetName = "mnist"
    transpose: Transpose = None
    """Whether images are stored transposed and have to be turned upright; by default only for known EMNIST files."""
    out: Path | None = None
    """Directory to write figures to, new or empty."""
    json: bool = False
    """Print sizes and balance as JSON."""


def run(options: Data) -> int:
    """Run the command; returns the exit code."""
    if options.out is not None:
        check_new(options.out)
    dataset = load_dataset(options.dataset, transpose=options.transpose)
    counts = {
        split: [int((values.targets == label).sum()) for label in range(len(dataset.class_names))]
        for split, values in dataset.splits.items()
    }
    if options.json:
        sizes = {split: len(values) for split, values in dataset.splits.items()}
        record = {"name": dataset.name, "task": dataset.task, "features": dataset.features, "sizes": sizes}
        print_json(record | {"classes": dataset.class_names, "class_counts": counts})
    else:
        console = console_for()
        shape = f" ({' × '.join(map(str, dataset.image_shape))})" if dataset.image_shape else ""
        title = f"{dataset.name}: {dataset.task}, {dataset.features} features{shape}"
        first = "class" if dataset.class_names else ""
        rows = [
            (name, *(f"{column[label]:,}" for column in counts.values()))
            for label, name in enumerate(dataset.class_names)
        ]
        if not dataset.class_names:
            for text, of in (("mean of the values", np.mean), ("standard deviation", np.std)):
                rows.append((text, *(_values(of(split.targets, axis=0)) for split in dataset.splits.values())))
        total = [("examples", *(f"{len(split):,}" for split in dataset.splits.values()))]
        print_table(console, (first, *counts), rows, total, title=title, left=(first,))
    if options.out is not None:
        _draw_data(dataset, options.out)
        if not options.json:
            console.print(f"Written to {options.out}/", highlight=False, soft_wrap=True)
    return 0


def _values(values: np.ndarray) -> str:
    return ", ".join(f"{round(float(value), 4) + 0.0:.4g}" for value in values)  # + 0.0: no minus before 0


def _draw_data(dataset: Dataset, out: Path) -> None:
    from mlp_jax.answers import plots

    with new_directory(out) as directory:
        if dataset.class_names:
            plots.save(plots.class_balance(dataset), directory / "class-balance.png")
        else:
            plots.save(plots.value_distribution(dataset), directory / "values.png")
        if dataset.image_shape is not None:
            first = dataset.train.features[0].reshape(dataset.image_shape)
            plots.save(plots.digit(first, dataset.target_text(dataset.train.targets[0])), directory / "digit.png")
            plots.save(plots.examples(dataset), directory / "examples.png")
