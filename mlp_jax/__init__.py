"""How wide must the network be? A grid of multilayer perceptrons trained in one compiled XLA program."""

from mlp_jax.datasets import Dataset, Split, load_dataset
from mlp_jax.errors import DataError, InputError, MissingExtraError
from mlp_jax.models import ACTIVATIONS, MLP
from mlp_jax.recipe import Recipe
from mlp_jax.single import Fit, History, Scores, evaluate, evaluate_model, fit
from mlp_jax.sweep import Grid, Progress, SweepResult, Trial, sweep
from mlp_jax.tasks import TASKS, Task

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "TASKS",
    "DataError",
    "Dataset",
    "Fit",
    "Grid",
    "History",
    "InputError",
    "MissingExtraError",
    "Progress",
    "Recipe",
    "Scores",
    "Split",
    "SweepResult",
    "Task",
    "Trial",
    "evaluate",
    "evaluate_model",
    "fit",
    "load_dataset",
    "sweep",
]
