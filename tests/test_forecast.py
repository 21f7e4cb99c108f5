"""The dry run: what it counts, what it measures, and that it leaves nothing."""

import json
import math

import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, InputError, Recipe
from mlp_jax.cli import main
from mlp_jax.networks.layers import perceptron
from mlp_jax.networks.problem import Problem
from mlp_jax.sweeps.forecast import forecast
from mlp_jax.sweeps.sweep import make_setup, prepare, sweep


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("mlp_jax.sweeps.forecast.MEASURED_FOR", 0.0)


def test_operations_of_products_by_hand():
    problem = Problem((784,), 10, True, tuple(range(715)))
    # 716 columns forward and for their gradient; 10 outputs forward, gradient, and that of the hidden layer.
    assert problem.operations(perceptron((100,), 10, "relu")) == 2 * 716 * 100 * 2 + 3 * 100 * 10 * 2
    assert problem.operations(perceptron((), 10, "relu")) == 2 * 716 * 10 * 2


@pytest.mark.parametrize(
    ("at_once", "memory_for", "turns", "chunks"), [(3, 7, 3, 1), pytest.param(1, 3, 7, 3, marks=pytest.mark.slow)]
)
def test_what_is_foreseen_is_what_the_sweep_does(small, at_once, memory_for, turns, chunks):
    grid, recipe = Grid((3, 0), ("relu",), seeds=7), Recipe(epochs=2, batch_size=16)
    (stage,) = prepare(make_setup(grid, small, recipe=recipe), small, at_once, None, None)
    need = stage.plan.need
    memory = need.total(memory_for, at_once)
    found = forecast(grid, small, recipe=recipe, replicas_at_once=at_once, memory=memory)
    result = sweep(grid, small, recipe=recipe, replicas_at_once=at_once, memory=memory)
    assert found.plan == result.plan
    assert (found.turns, found.plan.chunks) == (turns, chunks)
    assert (found.trials, found.replicas, found.parameters) == (14, 7, result.parameters.sum())
    # Parameters and two moments of each replica, without the two features that are always 0; and Adam's count.
    trained = result.parameters[::7].sum() - 2 * (3 + small.outputs)
    assert found.checkpoint_bytes == found.plan.chunk * (3 * trained + 1) * 4
    measured = found.calibration
    assert measured.replicas == at_once
    assert measured.minibatches == math.ceil(70 / 16)  # of so few, all
    assert measured.passes >= 3
    assert min(measured.compile, measured.validation, measured.step) > 0
    assert found.epoch == pytest.approx(turns * (5 * measured.step + measured.validation))
    assert found.seconds > 2 * found.epoch + measured.compile


def test_plan_prints_and_writes_nothing(tmp_path, monkeypatch, capsys):
    dataset = make_dataset()
    features = {f"x_{name}": split.features for name, split in dataset.splits.items()}
    targets = {f"y_{name}": split.targets for name, split in dataset.splits.items()}
    np.savez(tmp_path / "data.npz", **features, **targets)
    monkeypatch.chdir(tmp_path)
    command = ["sweep", "--plan", "--dataset", "data.npz", "--hidden-units", "4", "--seeds", "3", "--epochs", "2"]
    assert main(command) == 0
    table = capsys.readouterr().out
    for word in ("3 groups of trials", "parameters", "operations", "checkpoint", "expected time", "Measured"):
        assert word in table
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["trials"] == 3
    assert record["operations"] == 3 * 70 * 2 * (2 * 11 * 4 + 3 * 4 * 3)
    assert record["memory_bytes"]["in_all"] <= record["memory_bytes"]["usable"]
    seconds = record["seconds"]
    assert seconds["in_all"] == pytest.approx(seconds["compile"] + 2 * seconds["epoch"] + seconds["evaluate"])
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


def test_a_plan_that_cannot_be(small):
    with pytest.raises(InputError, match="does not fit in memory"):
        forecast(Grid((3,), seeds=1), small, memory=1000)
