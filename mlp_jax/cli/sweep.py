"""mlp-jax sweep."""

import time
from dataclasses import dataclass
from pathlib import Path

from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._training import TrainingOptions, check, train_grid, write
from mlp_jax.datasets import load_dataset
from mlp_jax.errors import whole
from mlp_jax.grid import ARTICLE_WIDTHS, MOST_TRIALS, Grid
from mlp_jax.results import trials_table
from mlp_jax.runs import environment
from mlp_jax.terminal import print_summary, summary_record


@dataclass
class Sweep(TrainingOptions):
    """Train every combination of hidden units, activations, learning rates and seeds, together.

    Prints the scores by number of hidden units, and writes a run directory: config.json, environment.json, trials.csv,
    history.csv, parameters.npz and figures.
    """

    hidden_units: tuple[int, ...] = (0, *ARTICLE_WIDTHS)
    """Widths M of the hidden layer; 0 for none (softmax regression, the baseline)."""
    activations: tuple[str, ...] = ("sigmoid",)
    """Of the hidden layer: sigmoid, tanh, relu, gelu, silu, elu, softplus, identity."""
    learning_rates: tuple[float, ...] = (1e-3,)
    """Of Adam."""
    seeds: int = 5
    """How many seeds to train everything with: 0, 1, 2, ..."""
    first_seed: int = 0
    """Where to begin counting seeds."""


def run(options: Sweep) -> int:
    """Run the command; returns the exit code."""
    seeds = whole("seeds", options.seeds, 1, MOST_TRIALS)
    grid = Grid(
        options.hidden_units,
        options.activations,
        options.learning_rates,
        range(options.first_seed, options.first_seed + seeds),
    )
    out = options.out or Path("runs") / f"sweep-{time.strftime('%Y%m%d-%H%M%S')}"
    check(options, out)
    console = console_for(stderr=options.json)
    dataset = load_dataset(options.dataset)
    result = train_grid(options, grid, dataset, console)
    config = write(result, options.dataset, out, dataset)
    trials, where = trials_table(result), environment(result)
    if options.json:
        print_json(summary_record(trials, config, where) | {"run": str(out)})
    else:
        print_summary(console, trials, config, where)
        console.print(f"Written to {out}/", highlight=False, soft_wrap=True)
    return 0
