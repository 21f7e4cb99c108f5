"""Grids drawn at random: each trial as if it were alone, whatever is trained beside it and however it is fed.

In float64, to 1e-9, like test_equality.py. Each example compiles programs of its own, so the default run takes few
and the slow one many. What is drawn: widths (0 and 1 among them), activations, rates, seeds, all in any order; the
size of the data and of a minibatch (that divides it, does not, or is larger); layout, replicas side by side, biases,
and how many widths the packed layout keeps apart.
"""

import jax
import numpy as np
import pytest
from conftest import make_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlp_jax import ACTIVATIONS, Grid, Recipe, fit, sweep
from mlp_jax.networks import layouts
from mlp_jax.sweeps.parts import kept
from mlp_jax.tasks import TASKS
from mlp_jax.training.axes import AXES, OF_MODEL, RULE
from mlp_jax.training.trials import initial_model

TOLERANCE = 1e-9
CURVES = ("loss", "score", "validation_loss", "validation_score")


def some(values, most):
    """Distinct values in any order."""
    return st.lists(values, min_size=1, max_size=most, unique=True).map(tuple)


RATES = st.floats(1e-4, 0.1)
SEEDS = st.integers(0, 2**32 - 1)
HIDDEN = st.one_of(st.integers(0, 6), st.lists(st.integers(1, 6), min_size=2, max_size=3).map(tuple))
RULES = st.sampled_from(  # how weights are updated
    [
        {},
        {"optimizers": ("adam", "nesterov"), "l2s": (0.0, 0.1)},
        {"optimizers": ("sgd",), "momenta": (0.0, 0.9)},
        {"optimizers": ("adamw", "sgd"), "weight_decays": (0.0, 0.1)},
        {"schedules": ("cosine", "rsqrt"), "warmup_steps": (0, 2), "dropouts": (0.0, 0.3)},
        {"optimizers": ("sgd", "adam"), "parametrizations": ("mup", "standard"), "initializations": ("he",)},
        {"objectives": ("squared-error", "likelihood"), "init_scales": (0.5,), "bias_initializations": ("pytorch",)},
        {"batch_sizes": (0, 3), "init_seeds": (7,)},
        {"budgets": (1, 2), "subsets": (1,)},
    ]
)
AXES_OF_GRIDS = st.tuples(
    some(HIDDEN, 4), some(st.sampled_from(sorted(ACTIVATIONS)), 2), some(RATES, 2), some(SEEDS, 2), RULES
)
DATA = st.fixed_dictionaries({"examples": st.integers(1, 24), "task": st.sampled_from(sorted(TASKS))})
RECIPES = st.builds(Recipe, epochs=st.just(2), batch_size=st.integers(1, 30))
WAYS = st.fixed_dictionaries(
    {
        "layout": st.sampled_from(["packed", "vmap"]),
        "replicas_at_once": st.integers(1, 4),
        "use_bias": st.booleans(),
    }
)
GROUPS = st.sampled_from([1, 4, layouts.MOST_GROUPS])


def drawn_grid(data):
    """Made here and not in a strategy: beartype, which checks the package while tests run, draws random numbers."""
    *axes, rule = data.draw(AXES_OF_GRIDS)
    return Grid(*axes, **rule)


def trained(grid, dataset, recipe, way, groups=layouts.MOST_GROUPS):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "MOST_GROUPS", groups)
        kept.cache_clear()  # programs are not told apart by it
        return sweep(grid, dataset, recipe=recipe, dtype="float64", **way)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def as_if_alone(data):
    dataset, recipe, way = make_dataset(**data.draw(DATA), features=8), data.draw(RECIPES), data.draw(WAYS)
    grid = drawn_grid(data)
    result = trained(grid, dataset, recipe, way, data.draw(GROUPS))
    place = data.draw(st.integers(0, len(grid.trials) - 1))
    trial = grid.trials[place]
    start = initial_model(
        trial,
        (dataset.features,),
        dataset.outputs,
        use_bias=way["use_bias"],
        task=dataset.task,
        dtype="float64",
    )
    alone = fit(
        start,
        dataset.train,
        dataset.validation,
        learning_rate=trial.learning_rate,
        seed=trial.seed,
        recipe=recipe,
        **{name: getattr(trial, name) for name in RULE if name not in OF_MODEL},
    )
    weights = result.weights(place)
    assert set(weights) == set(alone.model.weights)
    for symbol, expected in alone.model.weights.items():
        close(weights[symbol], expected)
    for curve in CURVES:
        found, expected = result.history[curve][place], getattr(alone.history, curve)
        close(found[: len(expected)], expected)
        assert np.isnan(found[len(expected) :]).all()  # of trials that are trained longer


def in_another_grid(data):
    """A grid, and one that holds part of its trials and others, in another order, trained in another way."""
    dataset, recipe = make_dataset(**data.draw(DATA), features=8), data.draw(RECIPES)
    grid, bias = drawn_grid(data), data.draw(st.booleans())

    def other(values, more, most):
        kept = data.draw(st.lists(st.sampled_from(values), min_size=1, unique=True))
        added = data.draw(st.lists(more.filter(lambda value: value not in values), max_size=most, unique=True))
        return tuple(data.draw(st.permutations(kept + added)))

    another = Grid(
        other(grid.values("hidden_units"), st.one_of(st.integers(0, 9), HIDDEN), 2),
        other(grid.values("activation"), st.sampled_from(sorted(ACTIVATIONS)), 1),
        other(grid.values("learning_rate"), RATES, 1),
        other(grid.values("seed"), SEEDS, 1),
        **{AXES[name].plural: grid.values(name) for name in RULE},
    )
    first, second = (
        trained(each, dataset, recipe, data.draw(WAYS) | {"use_bias": bias}, data.draw(GROUPS))
        for each in (grid, another)
    )
    shared = set(first.trials) & set(second.trials)
    assert shared
    for trial in shared:
        here, there = first.trials.index(trial), second.trials.index(trial)
        found, expected = second.weights(trial), first.weights(trial)
        assert set(found) == set(expected)
        for symbol in expected:
            close(found[symbol], expected[symbol])
        for curve in CURVES:
            close(second.history[curve][there], first.history[curve][here])
        for score in first.final:
            close(second.final[score][there], first.final[score][here])


@pytest.mark.parametrize("examples", [1, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("holds", [as_if_alone, in_another_grid])
def test_each_trial_as_if_alone(holds, examples):
    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(data=st.data())
    def cases(data):
        with jax.enable_x64(True):
            holds(data)

    cases()
