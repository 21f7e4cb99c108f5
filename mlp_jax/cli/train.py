"""mlp-jax train."""

from dataclasses import dataclass

from mlp_jax.answers.terminal import percent_or_plain, print_table
from mlp_jax.cli._axes import axes_of, widths, with_axes
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._training import TrainingOptions, place, print_written, train_run
from mlp_jax.sweeps.grid import Grid


@with_axes(several=False)
@dataclass
class Train(TrainingOptions):
    """Train one model, showing its loss and score after each epoch."""

    hidden_units: str = "10"
    """Width M of the hidden layer; 0 for none, 100-50 for two layers."""
    activation: str = "sigmoid"
    """Activation of the hidden layer."""
    learning_rate: float = 1e-3
    """The optimizer's learning rate."""
    seed: int = 0
    """Seed of the initial weights and minibatches."""


def run(options: Train) -> int:
    """Run the command; returns the exit code."""
    point = (widths([options.hidden_units]), (options.activation,), (options.learning_rate,), (options.seed,))
    grid = Grid(*point, **axes_of(options))
    console = console_for(stderr=options.json)
    with place(options, "train") as out:
        result, dataset = train_run(options, grid, out, console)
    scores = {column: float(values[0]) for column, values in result.final.items()}
    if options.json:
        print_json({"score_name": result.score_name, **scores, "diverged": int(result.diverged[0]), "run": str(out)})
        return 0
    score = percent_or_plain(result.score_name)
    rows = [(split, f"{scores[f'{split}_loss']:.4f}", score(scores[f"{split}_score"])) for split in dataset.splits]
    print_table(console, ("split", "loss", result.score_name), rows, left=("split",), title="Finished model")
    if result.diverged[0]:
        console.print(f"It diverged in epoch {result.diverged[0]}: try a lower learning rate.", highlight=False)
    print_written(console, out)
    return 0
