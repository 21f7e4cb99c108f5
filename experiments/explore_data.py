"""The article's first part: what the data look like.

    python experiments/explore_data.py

Prints the sizes of the splits (55,000, 5,000 and 10,000) and how far the classes are from equal shares, and draws a
digit as sparsity pattern and in greys, a grid of digits, and the class balance into runs/explore-data/.
Takes 3 s on a 2-core CPU.
"""

from pathlib import Path

import numpy as np
import tyro

import mlp_jax
from mlp_jax.answers import plots


def main(out: Path = Path("runs/explore-data")) -> None:
    """Describe MNIST and draw it.

    Args:
        out: directory for the figures.
    """
    out.mkdir(parents=True, exist_ok=True)
    dataset = mlp_jax.load_dataset("mnist")
    for name, split in dataset.splits.items():
        share = np.bincount(split.targets) / len(split)
        print(
            f"{name}: {len(split):,} images of {dataset.image_shape} pixels, {split.features.dtype}; "
            f"the rarest digit makes up {100 * share.min():.1f} %, the most frequent {100 * share.max():.1f} %"
        )
    inked = (dataset.train.features > 0).mean()
    unused = int((~dataset.train.features.any(axis=0)).sum())
    print(f"{100 * inked:.1f} % of the pixels hold ink; {unused} of {dataset.features} never do in any training image")

    image, label = dataset.train.features[0].reshape(28, 28), dataset.class_names[dataset.train.targets[0]]
    plots.save(plots.digit(image, label), out / "digit.png")
    plots.save(plots.examples(dataset), out / "examples.png")
    plots.save(plots.class_balance(dataset), out / "class-balance.png")
    print(f"figures: {out}/")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
