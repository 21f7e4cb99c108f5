"""How wide must the network be? A grid of multilayer perceptrons trained in one compiled XLA program."""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from mlp_jax.datasets import Dataset, Split, load_dataset
from mlp_jax.errors import DataError, InputError, MissingExtraError, SweepStopped, SweepWarning
from mlp_jax.machine.cache import enable_compilation_cache
from mlp_jax.networks.layers import ACTIVATIONS
from mlp_jax.networks.models import CNN, MLP, Model
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.plan import Plan
from mlp_jax.sweeps.record import Progress
from mlp_jax.sweeps.sampling import Between, sample
from mlp_jax.sweeps.search import SearchResult, search
from mlp_jax.sweeps.sweep import SweepResult, device_a_core, sweep
from mlp_jax.tasks import TASKS, Task
from mlp_jax.training.axes import Trial
from mlp_jax.training.fit import Fit, History, Scores, evaluate, evaluate_model, fit
from mlp_jax.training.recipe import Recipe

if TYPE_CHECKING:
    from mlp_jax.runs.loading import load_model

__all__ = [
    "ACTIVATIONS",
    "CNN",
    "MLP",
    "TASKS",
    "Between",
    "DataError",
    "Dataset",
    "Fit",
    "Grid",
    "History",
    "InputError",
    "MissingExtraError",
    "Model",
    "Plan",
    "Progress",
    "Recipe",
    "Scores",
    "SearchResult",
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
    "load_model",
    "sample",
    "search",
    "sweep",
]

_MODULES = {
    "analysis": "answers.analysis",
    "compare": "answers.compare",
    "estimators": "adapters.estimators",
    "export": "adapters.export",
    "images": "pictures.images",
    "optuna": "adapters.optuna",
    "plots": "answers.plots",
    "report": "answers.report",
    "runs": "runs",
    "tensorboard": "adapters.tensorboard",
    "timing": "runs.timing",
    "verify": "runs.verify",
}
"""Imported when they are first asked for: they take time, and some need an extra."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("mlp-jax")
    if name == "load_model":
        return importlib.import_module("mlp_jax.runs.loading").load_model
    if name in _MODULES:
        return importlib.import_module(f"mlp_jax.{_MODULES[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, "load_model", "__version__"})
