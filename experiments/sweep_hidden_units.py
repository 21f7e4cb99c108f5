"""The article's last part: train and test accuracy against the number of hidden units, here with error bars.

    python experiments/sweep_hidden_units.py

Expect, means and standard deviations over 5 seeds: M = 0 (softmax regression) 92.77 ± 0.05 %, 10 92.26 ± 0.13, 25
95.42 ± 0.18, 50 96.64 ± 0.14, 100 97.46 ± 0.07, 150 97.64 ± 0.02, 200 97.77 ± 0.05; M = 150 is enough as far as
validation tells, and the best is M = 200, the widest. Draws the curve into runs/sweep-hidden-units/.
Takes 32 s on a 2-core CPU.
"""

from pathlib import Path

import tyro

import mlp_jax
from mlp_jax.answers import plots
from mlp_jax.answers.analysis import analyse
from mlp_jax.answers.words import answer
from mlp_jax.runs.directory import sweep_config
from mlp_jax.runs.tables import ARTICLE_TEST_ACCURACY, KERAS_TEST_ACCURACY, history_table, trials_table


def main(seeds: int = 5, epochs: int = 20, out: Path = Path("runs/sweep-hidden-units")) -> None:
    """Train the article's widths and the softmax-regression baseline with several seeds, together.

    Args:
        seeds: how many.
        epochs: passes over the training split.
        out: directory for the figure.
    """
    dataset = mlp_jax.load_dataset("mnist")
    grid = mlp_jax.Grid(hidden_units=(0, 10, 25, 50, 100, 150, 200), seeds=seeds)
    recipe = mlp_jax.Recipe(epochs=epochs)
    mlp_jax.device_a_core(grid, dataset, recipe=recipe)
    result = mlp_jax.sweep(
        grid,
        dataset,
        recipe=recipe,
        on_epoch=lambda progress: print(f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss.mean():.4f}"),
    )
    trials = trials_table(result)
    found = analyse(trials, history_table(result), sweep_config(result, "mnist"), outcomes=result.outcomes)
    for row in found.rows:
        mean, deviation = row.mean["test_score"], row.deviation["test_score"]
        print(f"M = {row.hidden_units:3d}: test accuracy {100 * mean:.2f} %, standard deviation {100 * deviation:.2f}")
    print(answer(found))

    out.mkdir(parents=True, exist_ok=True)
    figure = plots.accuracy_against_width(
        trials,
        result.score_name,
        reference={"article": ARTICLE_TEST_ACCURACY, "Keras 3": KERAS_TEST_ACCURACY},
        outcomes=result.outcomes,
        enough=plots.what_is_enough(found.verdicts),
        title=dataset.name,
    )
    plots.save(figure, out / "accuracy-against-width.png")
    print(f"figure: {out}/accuracy-against-width.png")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
