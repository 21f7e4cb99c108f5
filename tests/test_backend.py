"""Where JAX cannot compute: one line and exit code 2, whatever is wrong with how it is set; an error where forked."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import make_dataset, make_run
from flax import nnx

from mlp_jax import MLP, Grid, InputError, Recipe, evaluate, fit, sweep
from mlp_jax.adapters.estimators import MLPRegressor
from mlp_jax.machine import backend
from mlp_jax.runs.directory import read_run
from mlp_jax.runs.timing import time_widths
from mlp_jax.sweeps.forecast import forecast

COMMAND = [sys.executable, Path(__file__).parent.parent / "mlp_jax_command.py"]


def run(setting, *arguments, cwd=None):
    name, _, value = setting.partition("=")
    return subprocess.run(
        [*COMMAND, *arguments], env=os.environ | {name: value}, cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param("JAX_PLATFORMS=cuda", marks=pytest.mark.slow),
        "JAX_PLATFORMS=nonsense",
        pytest.param("JAX_NUM_CPU_DEVICES=0", marks=pytest.mark.slow),
        pytest.param("JAX_NUM_CPU_DEVICES=abc", marks=pytest.mark.slow),
        "JAX_ENABLE_X64=nonsense",
        pytest.param("JAX_DEFAULT_DEVICE=gpu", marks=pytest.mark.slow),
        "XLA_FLAGS=--xla_nonsense=1",
        pytest.param("XLA_FLAGS=--xla_force_host_platform_device_count=abc", marks=pytest.mark.slow),
        "XLA_FLAGS=--xla_force_host_platform_device_count=0",
    ],
)
def test_settings_that_jax_cannot_compute_with_are_one_line(setting, tmp_path):
    done = run(setting, "train", "--dataset", "sklearn:iris", "--epochs", "1", "--out", "run", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("mlp-jax: error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert setting.partition("=")[0] in done.stderr.upper()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_is_compiled_though_jit_is_disabled(tmp_path):
    arguments = ["--dataset", "sklearn:iris", "--epochs", "1", "--seeds", "1", "--hidden-units", "3", "--out", "run"]
    done = run("JAX_DISABLE_JIT=1", "sweep", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "manifest.json").exists()


def test_a_run_is_not_blamed_where_jax_cannot_compute(tmp_path):
    make_run(make_dataset(), "small", tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "_forked", True)  # as in a worker, quickly
        with pytest.raises(InputError, match="forked") as refusal:
            read_run(tmp_path / "run").model(0)
    assert "parameters" not in str(refusal.value)


@pytest.mark.slow
def test_widths_are_timed_compiled_though_jit_is_disabled(monkeypatch):
    disabled = []

    def noting(*arguments, **options):
        disabled.append(jax.config.jax_disable_jit)
        return fit(*arguments, **options)

    monkeypatch.setattr("mlp_jax.runs.timing.fit", noting)
    with jax.disable_jit():
        time_widths(make_dataset(), (2,), epochs=1)
    assert disabled == [False]


# Forked workers


def fit_estimator(dataset):
    MLPRegressor(hidden_layer_sizes=3, max_iter=1).fit(dataset.train.features, dataset.train.targets)


USES = {
    "fit": lambda dataset, model: fit(model, dataset.train, recipe=Recipe(epochs=1)),
    "evaluate": lambda dataset, model: evaluate(model, dataset.test),
    "sweep": lambda dataset, model: sweep(Grid((3,), seeds=1), dataset, recipe=Recipe(epochs=1)),
    "forecast": lambda dataset, model: forecast(Grid((3,), seeds=1), dataset),
    "predict": lambda dataset, model: model.predict(dataset.test.features),
    "predict_proba": lambda dataset, model: model.predict_proba(dataset.test.features),
    "call": lambda dataset, model: model(dataset.test.features),
    "load": lambda dataset, model: MLP.from_weights({"A": np.ones((3, 2), np.float32)}),
    "estimator": lambda dataset, model: fit_estimator(dataset),
}


@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here")
def test_a_worker_forked_after_jax_began_is_told_of_spawn_at_once():
    dataset = make_dataset()
    model = MLP(dataset.features, 3, dataset.outputs, rngs=nnx.Rngs(0))
    context = multiprocessing.get_context("fork")
    ear, mouth = context.Pipe(duplex=False)

    def work():
        for use in USES.values():
            try:
                use(dataset, model)
                mouth.send("nothing")
            except InputError as error:
                mouth.send(str(error))

    worker = context.Process(target=work, daemon=True)
    worker.start()
    for name in USES:
        assert ear.poll(20), f"{name} hangs"
        assert "spawn" in ear.recv(), name
    worker.join(20)
    assert worker.exitcode == 0
    model.predict(dataset.test.features)  # here all is well


FORKS = """
import multiprocessing
from mlp_jax import Grid, Recipe, Dataset, sweep
import numpy as np

x, y = np.eye(12, 5), np.arange(12) % 2


def work(_):
    dataset = Dataset.from_arrays(x, y, x, y, x_validation=x, y_validation=y)
    return sweep(Grid((2,), seeds=1), dataset, recipe=Recipe(epochs=1)).final["test_loss"].shape


if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(pool.map(work, [0]))
"""


@pytest.mark.slow
def test_workers_forked_before_jax_began_and_spawned_ones_train(tmp_path):
    (tmp_path / "program.py").write_text(FORKS)
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["[(1,)]"] * 2, done.stderr
