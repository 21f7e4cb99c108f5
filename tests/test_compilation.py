"""Programs that a process keeps: however many shapes it sees, those of the last few."""

import gc
import weakref

import jax
import numpy as np
import pytest
from conftest import make_dataset
from flax import nnx

from mlp_jax import MLP, Grid, Recipe, evaluate, fit, sweep
from mlp_jax.adapters.estimators import MLPClassifier
from mlp_jax.machine import compilation
from mlp_jax.machine.compilation import KEPT_PROGRAMS, run_compiled
from mlp_jax.sweeps import parts

RECIPE = Recipe(epochs=1)


def total(x, *, times):
    return times * x.sum()


def test_programs_are_the_same_for_the_same_shapes_and_go_in_their_turn(monkeypatch):
    compilation.require_jax()  # compiles once, to try
    made = []
    jit = jax.jit

    def noted(*arguments, **options):
        function = jit(*arguments, **options)
        made.append(weakref.ref(function))
        return function

    monkeypatch.setattr(jax, "jit", noted)
    for length in range(1, KEPT_PROGRAMS + 6):
        for _ in range(2):
            assert run_compiled(total, {"times": 2}, np.ones(length, np.float32)) == 2 * length
    assert run_compiled(total, {"times": 3}, np.ones(1, np.int32)) == 3
    assert len(made) == KEPT_PROGRAMS + 6
    gc.collect()
    assert sum(each() is not None for each in made) == KEPT_PROGRAMS


@pytest.fixture
def compiled():
    """Names of what is compiled: of the functions of JAX that it is traced from."""
    names = []

    def note(event, _, **about):
        if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
            names.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def uses(units, dataset):
    model = MLP(dataset.features, units, dataset.outputs, rngs=nnx.Rngs(0))
    fit(model, dataset.train, dataset.validation, recipe=RECIPE)
    evaluate(model, dataset.test)
    model.predict(dataset.test.features)
    sweep(Grid((units,), seeds=1), dataset, recipe=RECIPE)
    estimator = MLPClassifier(hidden_layer_sizes=units, max_iter=1, tol=1e9, n_iter_no_change=1, random_state=0)
    with pytest.warns(match="max_iter"):
        estimator.fit(dataset.train.features, dataset.train.targets)
    return estimator.coefs_


def test_a_new_width_compiles_nothing_but_programs_that_are_counted(compiled, monkeypatch):
    """Operations outside of one would compile programs of their own by shape, which JAX keeps for ever."""
    dataset = make_dataset()
    uses(5, dataset)
    compiled.clear()
    ours = {"_initial", "_begin", "_round", "_own_means", "_predict", "init", "epoch", "evaluate"}
    ours |= {"_init", "_epoch", "_logits", "_orders"}
    uses(6, dataset)
    assert set(compiled) <= ours | {f"jit({name})" for name in ours}
    compiled.clear()
    uses(6, dataset)
    assert compiled == []
    assert compilation._jitted.cache_info().maxsize == KEPT_PROGRAMS
    assert parts.kept.cache_info().maxsize == parts.KEPT_SWEEPS
