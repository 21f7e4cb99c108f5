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
from pathlib import Path

import jax
import psutil
from conftest import make_dataset

from mlp_jax import Grid, Recipe, SweepStopped, sweep

COMPILED = "/jax/core/compile/backend_compile_duration"
GRID, RECIPE = Grid((0, 3), seeds=2), Recipe(epochs=3, batch_size=8)
DATASET = make_dataset(examples=20, features=8)


def alike(_):
    sweep(GRID, DATASET, recipe=RECIPE)


def different(number):
    """A recipe that no other has: its programs are compiled, and the last few kept (KEPT_PROGRAMS)."""
    sweep(GRID, DATASET, recipe=Recipe(epochs=3, batch_size=8, beta1=0.9 - 1e-4 * number))


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
    process, act = psutil.Process(), {"alike": alike, "different": different, "checkpointed": checkpointed}[kind]
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
