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


SMOKE = (
    # of every room something that takes no more than seconds: whole files, and single tests
    *("test_errors.py", "test_house.py", "test_idx.py", "test_folders.py", "test_layers.py", "test_models.py"),
    *("test_rounding.py", "test_terminal.py", "test_variation.py"),
    "test_hosts.py::test_one_process_agrees_with_itself",
    "test_csv.py::test_which_column_is_learned",
    "test_csv.py::test_a_bad_file_is_refused_by_row_and_column",
    "test_frames.py::test_a_frame_is_what_its_file_is_whatever_made_it",
    "test_training.py::test_an_epoch_visits_every_example_once",
    "test_training.py::test_minibatches_differ_by_epoch_and_seed_and_repeat",
    "test_training.py::test_fit_learns_and_leaves_its_argument_alone",
    "test_equality.py::test_packed_layout_follows_the_textbook",
    "test_sweep.py::test_models_come_back_whole",
    "test_plan.py::test_the_plan_says_what_it_means",
    "test_results.py::test_tables_hold_what_the_sweep_found",
    "test_runs.py::test_reads_back_what_was_written",
    "test_runs.py::test_a_failure_leaves_nothing",
    "test_analysis.py::test_gains_are_paired_over_the_seeds_that_both_widths_have",
    "test_analysis.py::test_what_is_enough_and_what_cannot_be_excluded",
    "test_plots.py::test_save_writes_png_and_svg_and_nothing_beside",
    "test_estimators.py::test_trains_as_fit_does",
    "test_using_runs.py::test_exports_of_other_tasks",
    "test_predict.py::test_fits_the_box_and_is_centred_by_mass",
    "test_cli.py::test_version",
    "test_cli.py::test_help_ends_well",
    "test_cli.py::test_sweep_prints_the_table_and_writes_the_run",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the smoke tests, before markers choose among tests."""
    for item in items:
        names = {item.path.name, f"{item.path.name}::{item.name.partition('[')[0]}"}
        if not names.isdisjoint(SMOKE) and not any(item.iter_markers("slow")):
            item.add_marker("smoke")


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
