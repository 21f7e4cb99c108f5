"""mlp-jax time."""

import shlex
from dataclasses import dataclass

import numpy as np

from mlp_jax.answers.analysis import seconds_alone, seconds_together
from mlp_jax.answers.terminal import print_table
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._using import RunPath, own_dataset
from mlp_jax.errors import InputError
from mlp_jax.runs.directory import grid_of, read_run, recipe_of, write_timing
from mlp_jax.runs.timing import time_widths
from mlp_jax.sweeps.plan import counted
from mlp_jax.training.axes import OF_MODEL, RULE

MOST_WIDTHS = 10


@dataclass
class Time:
    """Measure how long training takes against M: each width alone, one after another, and all together.

    Trains for a few epochs with the run's data set and recipe, the first of its variants, one seed and up to ten of its
    widths, and adds timing.csv to the run, for analyse, plot and report. Run it on an otherwise idle machine.
    """

    run: RunPath
    """What mlp-jax sweep wrote."""
    epochs: int = 3
    """Epochs to time of each, after one that is not counted."""
    dataset: str | None = None
    """The run's data set, if it has moved; by default loaded by its original name, else from the recorded path."""
    json: bool = False
    """Print the medians as JSON."""


def run(options: Time) -> int:
    """Run the command; returns the exit code."""
    run = read_run(options.run)
    config = run.config
    console = console_for(stderr=options.json)
    grid = grid_of(config)
    of_one = [trial for trial in grid.trials if isinstance(trial.hidden_units, int) and trial.network == "mlp"]
    if not of_one:
        raise InputError(f"{options.run} has no perceptron with one hidden layer: widths are timed of these alone")
    first, widths = of_one[0], sorted({trial.hidden_units for trial in of_one if isinstance(trial.hidden_units, int)})
    timing = time_widths(
        own_dataset(run, options.dataset),
        _spread(widths),
        activation=first.activation,
        learning_rate=first.learning_rate,
        seed=first.seed,
        recipe=recipe_of(config),
        rule={name: getattr(first, name) for name in RULE if name not in (*OF_MODEL, "epochs")},
        **{key: config[key] for key in ("layout", "use_bias", "dtype")},
        epochs=options.epochs,
        on_width=lambda width: console.print(f"M = {width} timed", highlight=False),
    )
    write_timing(run.path, timing)
    alone, together = seconds_alone(timing), seconds_together(timing)
    after_another = dict(zip(alone, np.cumsum(list(alone.values())).tolist(), strict=True))
    if options.json:
        print_json({"seconds_alone": alone, "seconds_one_after_another": after_another, "seconds_together": together})
        return 0
    rows = []
    for width, seconds in alone.items():
        numbers = (seconds, after_another[width], together[width])
        times = after_another[width] / together[width]
        rows.append((str(width), *(f"{each:.3f}" for each in numbers), f"{times:.2f}"))
    headings = ("M", "alone", "up to M, one after another", "up to M, together", "times as fast")
    title = f"{config['dataset_name']}: seconds per epoch, on {timing['device'][0]}"
    print_table(console, headings, rows, title=title, drop=("alone",), elsewhere="timing.csv")
    what = f"Median of {counted(options.epochs, 'epoch')}, compilation left out."
    console.print(f"{what} Written to {run.path / 'timing.csv'}", highlight=False, soft_wrap=True)
    console.print(f"Next: mlp-jax plot {shlex.quote(str(run.path))} draws it.", highlight=False, soft_wrap=True)
    return 0


def _spread(widths: list[int]) -> list[int]:
    """At most ten widths, evenly by rank, including the least and the greatest."""
    ordered = sorted(widths)
    places = np.linspace(0, len(ordered) - 1, min(len(ordered), MOST_WIDTHS)).round().astype(int)
    return [ordered[i] for i in places]
