"""How wide must the network be? A grid of multilayer perceptrons trained in one compiled XLA program."""

from mlp_jax.axes import Trial
from mlp_jax.cache import enable_compilation_cache
from mlp_jax.datasets import Dataset, Split, load_dataset
from mlp_jax.errors import DataError, InputError, MissingExtraError, SweepStopped, SweepWarning
from mlp_jax.grid import Grid
from mlp_jax.layers import ACTIVATIONS
from mlp_jax.loop import Progress
from mlp_jax.models import MLP
from mlp_jax.plan import Plan
from mlp_jax.recipe import Recipe
from mlp_jax.single import Fit, History, Scores, evaluate, evaluate_model, fit
from mlp_jax.sweep import SweepResult, device_a_core, sweep
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
    "Plan",
    "Progress",
    "Recipe",
    "Scores",
    "Split",
    "SweepResult",
    "SweepStopped",
    "SweepWarning",
    "Task",
    "Trial",
    "device_a_core",
    "enable_compilation_cache",
    "evaluate",
    "evaluate_model",
    "fit",
    "load_dataset",
    "sweep",
]
