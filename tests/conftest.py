"""Every test runs with strict dtype promotion; small data sets that several test files use."""

import warnings

import jax
import numpy as np
import pytest

from mlp_jax import Dataset, Grid, Recipe, SweepWarning, sweep
from mlp_jax.runs.directory import new_directory, write_run
from mlp_jax.tasks import get_task
from mlp_jax.training.axes import shape_of
from mlp_jax.training.epoch import Trials

jax.config.update("jax_numpy_dtype_promotion", "strict")
# Compiling is most of the time. What is compared step by step is compiled as users compile it (test_equality.py).
jax.config.update("jax_disable_most_optimizations", True)
# Nor in the cache of whoever runs the tests (test_cache.py has one of its own).
jax.config.update("jax_enable_compilation_cache", False)
# Whichever test comes first: the command line would make devices of all cores (test_devices.py has it do so).
jax.devices()


def make_dataset(task: str = "multiclass", *, examples: int = 70, features: int = 12, outputs: int = 3, seed: int = 0):
    """A small learnable problem, with feature columns 3 and 7 always 0 in train but not in the other splits."""
    rng = np.random.default_rng(seed)
    n = examples + 40
    x = rng.uniform(size=(n, features))
    x[:examples, [3, 7]] = 0
    signal = x @ rng.normal(size=(features, outputs))
    signal -= signal.mean(axis=0)
    if task == "multiclass":
        y = signal.argmax(axis=1)
    elif task == "binary":
        y = (signal[:, 0] > np.median(signal[:, 0])).astype(int)
    else:
        y = np.tanh(signal)
    cut = [slice(0, examples), slice(examples, examples + 20), slice(examples + 20, n)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "small .* example of ", SweepWarning)  # a small split may lack a class
        return Dataset.from_arrays(
            x[cut[0]],
            y[cut[0]],
            x[cut[2]],
            y[cut[2]],
            x_validation=x[cut[1]],
            y_validation=y[cut[1]],
            task=task,
            class_names=[str(k) for k in range(outputs)] if task == "multiclass" else (),  # a small train may lack one
            name=f"small {task}",
        )


def trials_of(layout, points, dataset, recipe):
    """The trials of a layout as training knows them; ``points`` by slot."""
    return Trials(
        shapes=tuple(map(shape_of, points)),
        columns=layout.trained,
        classes=max(2, dataset.outputs),
        logits=layout.logits,
        by_row=layout.by_row,
        kernels=layout.kernels,
        rate_factors=layout.rate_factors,
        task=get_task(dataset.task),
        recipe=recipe,
        examples=len(dataset.train),
    )


def save_dataset(dataset, path):
    arrays = {}
    for split, values in dataset.splits.items():
        arrays |= {f"x_{split}": values.features, f"y_{split}": values.targets}
    np.savez(path, **arrays)


def make_run(dataset, name, path, grid=Grid((0, 4), ("relu",), (1e-2,), seeds=2), epochs=3, **options):
    """A run directory, without figures."""
    recipe = Recipe(epochs=epochs, batch_size=32, precision=options.pop("precision", "float32"))
    with new_directory(path) as directory:
        write_run(sweep(grid, dataset, recipe=recipe, **options), directory, name)
    return path


def image_dataset(shape=(4, 5), classes=3, examples=20, **kwargs):
    """Small images of noise, with classes."""
    x = np.random.default_rng(0).integers(0, 256, (examples, *shape)).astype(np.uint8)
    y = np.arange(examples) % classes
    return Dataset.from_arrays(x, y, x[:7], y[:7], x_validation=x[:5], y_validation=y[:5], name="small", **kwargs)


def image_values():
    """Small black images, with values of four outputs."""
    x, y = np.zeros((4, 2, 2), np.uint8), np.eye(4)
    return Dataset.from_arrays(x, y, x, y, x_validation=x, y_validation=y, task="regression")


@pytest.fixture
def small() -> Dataset:
    return make_dataset()


@pytest.fixture
def optimized():
    """Programs optimized as users' are, for one test."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def float64():
    """JAX's 64-bit mode, for one test."""
    with jax.enable_x64(True):
        yield
