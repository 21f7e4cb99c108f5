"""A process that sweeps again and again; run by test_soak.py: ``python tests/soak.py KIND TIMES`` prints JSON.

A row after each twentieth of them: times so far, memory in KiB after garbage collection, open files, threads of Python,
all threads, and how often XLA has compiled something.
"""

import collections
import gc
import json
import shutil
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import jax
import psutil
from conftest import make_dataset
from flax import nnx

from mlp_jax import MLP, Grid, Recipe, SweepStopped, evaluate, fit, sweep
from mlp_jax.adapters.estimators import MLPClassifier

COMPILED = "/jax/core/compile/backend_compile_duration"
GRID, RECIPE = Grid((0, 3), seeds=2), Recipe(epochs=3, batch_size=8)
DATASET = make_dataset(examples=20, features=8)


def alike(_):
    sweep(GRID, DATASET, recipe=RECIPE)


def different(number):
    """A recipe that no other has: its programs are compiled, and the last few kept (KEPT_SWEEPS)."""
    sweep(GRID, DATASET, recipe=Recipe(epochs=3, batch_size=8, beta1=0.9 - 1e-4 * number))


def shapes(number):
    """A width that no other has, by each way to train and use a model: its programs are new, and the last are kept."""
    units = number + 1
    sweep(Grid((units,), seeds=1 + number % 3), DATASET, recipe=RECIPE)
    model = MLP(DATASET.features, units, DATASET.outputs, rngs=nnx.Rngs(0))
    trained = fit(model, DATASET.train, DATASET.validation, recipe=RECIPE).model
    evaluate(trained, DATASET.test)
    trained.predict_proba(DATASET.test.features)
    estimator = MLPClassifier(hidden_layer_sizes=units, max_iter=2, tol=1e9, n_iter_no_change=1, random_state=0)
    with warnings.catch_warnings(action="ignore"):  # not converged
        estimator.fit(DATASET.train.features, DATASET.train.targets).predict(DATASET.test.features)


def checkpointed(number):
    """Checkpoints after each epoch; every other sweep is stopped after the second and resumed."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "checkpoints"
        asked = iter([False, False, number % 2 == 0])
        try:
            sweep(GRID, DATASET, recipe=RECIPE, checkpoints=place, checkpoint_every=1, stop=lambda: next(asked))
        except SweepStopped:
            sweep(GRID, DATASET, recipe=RECIPE, resume=place, checkpoint_every=1)
        shutil.rmtree(place)


def main(kind, times):
    compiled = collections.Counter()
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.update([event]))
    process = psutil.Process()
    act = {"alike": alike, "different": different, "shapes": shapes, "checkpointed": checkpointed}[kind]
    rows = []
    for number in range(1, times + 1):
        act(number)
        if number % (times // 20) == 0:
            gc.collect()
            rows.append(
                {
                    "times": number,
                    "kib": process.memory_info().rss / 1024,
                    "files": process.num_fds(),
                    "threads": threading.active_count(),
                    "all_threads": process.num_threads(),
                    "compiled": compiled[COMPILED],
                }
            )
    print(json.dumps(rows))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
