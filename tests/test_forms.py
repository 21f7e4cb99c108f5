"""Which form of a step each backend gets, and what of it a user sees: nothing."""

from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, InputError, Recipe, sweep
from mlp_jax.machine import forms
from mlp_jax.machine.forms import CPU, FORMS, forms_of
from mlp_jax.networks.layers import perceptron
from mlp_jax.networks.layouts import make_layout
from mlp_jax.networks.problem import ZEROS, Problem


@dataclass(frozen=True)
class Device:
    platform: str
    compute_capability: str = "9.0"


def test_a_backend_has_its_forms_and_a_user_can_leave_out_kernels(monkeypatch):
    monkeypatch.delenv("MLP_JAX_KERNELS", raising=False)
    assert forms_of(jax.devices("cpu")[0]) == CPU
    assert forms_of(Device("gpu")) == FORMS["gpu"]
    assert forms_of(Device("gpu", "7.5")) == replace(FORMS["gpu"], kernels="")  # no Triton
    assert forms_of(Device("tpu")) == FORMS["tpu"]
    assert forms_of(Device("unheard of")) == CPU
    monkeypatch.setenv("MLP_JAX_KERNELS", "0")
    assert forms_of(Device("gpu")) == replace(FORMS["gpu"], kernels="")


@pytest.mark.parametrize("live", [(0, 2, 5), (), tuple(range(6))])
@pytest.mark.parametrize("backend", FORMS)
def test_padding_is_zeros_that_training_reads_and_nobody_counts(backend, live):
    form = FORMS[backend]
    problem = Problem((6,), 3, True, live, forms=form)
    plain = replace(problem, forms=CPU)
    assert problem.useful == len(live) + 1
    assert problem.trained % form.columns == 0
    assert len(problem.columns) % form.row == 0
    assert [column for column in problem.columns if column != ZEROS] == list(plain.columns)
    network = perceptron((4,), 3, "relu")
    assert problem.operations(network) == plain.operations(network)
    layouts = [make_layout("packed", [network], each) for each in (problem, plain)]
    weights = []
    for layout in layouts:
        params, frozen = jax.tree.map(np.asarray, layout.init(jax.random.key(0), np.float32))
        weights.append(layout.weights(params, frozen, 0))
    for symbol, values in weights[0].items():
        np.testing.assert_array_equal(values, weights[1][symbol])


@pytest.mark.parametrize("backend", ["gpu", pytest.param("tpu", marks=pytest.mark.slow)])
def test_a_sweep_in_the_forms_of_an_accelerator_is_the_same_sweep(backend, monkeypatch, tmp_path):
    """Of every kind of trial; and its checkpoints are not taken for those of another backend."""
    form = FORMS[backend]
    form = replace(form, kernels="interpreted" if form.kernels else "")
    grid = Grid((0, 3, 7), ("sigmoid",), (1e-2,), 2, optimizers=("adam", "sgd")) + Grid(
        ((4, 3),), ("relu",), (1e-2,), 2
    )
    dataset, recipe = make_dataset(), Recipe(epochs=2, batch_size=16)
    plain = sweep(grid, dataset, recipe=recipe)
    monkeypatch.setitem(forms.FORMS, "cpu", form)
    found = sweep(grid, dataset, recipe=recipe, checkpoints=tmp_path / "checkpoints")
    for name, values in plain.history.items():
        np.testing.assert_allclose(found.history[name], values, atol=2e-3, err_msg=name)
    for trial in plain.trials:
        for symbol, values in plain.weights(trial).items():
            np.testing.assert_allclose(found.weights(trial)[symbol], values, atol=2e-3, err_msg=f"{trial} {symbol}")
    monkeypatch.undo()
    with pytest.raises(InputError, match="columns_on_this_backend"):
        sweep(grid, dataset, recipe=recipe, resume=tmp_path / "checkpoints")
