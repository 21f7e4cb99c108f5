"""Grids: products, sums and lists of trials; and the blocks that programs train them in."""

import json

import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, InputError, Recipe, Trial, sweep
from mlp_jax.sweeps.blocks import arrange
from mlp_jax.training.axes import AXES, NUMBERS, ORDERS, SHAPES, make_trial, shape_of


def test_every_axis_is_declared_whole():
    assert tuple(AXES) == Trial._fields
    assert {*NUMBERS, *SHAPES, *ORDERS} == set(AXES)
    plurals = [axis.plural for axis in AXES.values()]
    assert len(set(plurals)) == len(plurals)
    for axis in AXES.values():
        assert axis.label
        assert axis.help
        if axis.default is not None:
            assert axis.check(axis.default) == axis.default
        if axis.choices:
            assert all(axis.check(choice) == choice for choice in axis.choices)


def test_the_documentation_has_every_axis(request):
    def default(axis):
        named = {"epochs": "20", "batch_size": "128", "init_seed": "the seed", "subset": "all", "seed": "5 seeds"}
        usual = {"hidden_units": "the article's", "activation": "sigmoid", "learning_rate": "0.001"}
        return {**named, **usual}.get(axis.name, axis.default)

    def one_of(axis):
        return f" One of {', '.join(axis.choices)}." if axis.choices else ""

    rows = [
        f"| `--{axis.plural.replace('_', '-') if axis.default is None else axis.name.replace('_', '-')}` "
        f"| `{axis.plural}` | {axis.kind} | {default(axis)} "
        f"| {axis.help}{one_of(axis)} |"
        for axis in AXES.values()
    ]
    head = "| option | in a `Grid` | kind | default | |\n| --- | --- | --- | --- | --- |\n"
    text = (request.config.rootpath / "docs/recipes.md").read_text()
    assert head + "\n".join(rows) + "\n" in text


def test_a_sum_has_the_trials_of_both_once_and_json_brings_it_back():
    wide = Grid((8, 4), seeds=2)
    sgd = Grid((4,), seeds=3, optimizers=("sgd", "adam"), weight_decays=(0.0,))
    grid = wide + sgd
    assert grid.trials[:4] == wide.trials
    assert set(grid.trials) == {*wide.trials, *sgd.trials}
    assert len(grid.trials) == len(set(grid.trials)) == 4 + 6 - 2
    for each in (wide, sgd, grid, Grid.of(grid.trials)):
        back = Grid.from_axes(json.loads(json.dumps(each.axes)))
        assert back == each
        assert back.trials == each.trials
    assert grid.values("optimizer") == ("adam", "sgd")


def test_a_list_of_trials_is_a_grid():
    trials = [Trial(3, "relu", 0.1, 5), Trial((4, 2), "tanh", 0.2, 0, optimizer="sgd", momentum=0.5)]
    assert Grid.of(trials).trials == tuple(trials)
    for wrong, why in (
        ([], "empty"),
        ([(3, "relu")], "expected an mlp_jax.Trial"),
        ([trials[0]._replace(seed=-1)], "seed"),
    ):
        with pytest.raises(InputError, match=why):
            Grid.of(wrong)


@pytest.mark.parametrize(
    ("axes", "why"),
    [
        ({"optimiser": ("sgd",)}, "a grid has no 'optimiser': expected one of hidden_units"),
        ({"schedules": ("cosin",)}, "unknown schedule 'cosin': expected one of constant, cosine"),
        ({"decay_steps": (5,)}, "decay steps is 5 with schedule constant.* the schedule rsqrt, steps"),
        ({"decay_factors": (0.5,), "schedules": ("rsqrt",)}, "decay factor is 0.5 with schedule rsqrt"),
        ({"dropouts": (1.0,)}, "dropout is 1.0: expected a number, 0 or more and below 1"),
        ({"label_noises": (1.5,)}, "label noise is 1.5: expected a number from 0 to 1"),
        ({"init_scales": (0,)}, "initial scale is 0: expected a finite float32 number above 0"),
        ({"base_widths": (8,)}, "base width is 8 with the standard parametrization"),
        ({"batch_sizes": (8, 8)}, "batch_sizes holds 8 2 times"),
        ({"budgets": (-1,)}, "epochs is -1: expected a whole number from 0"),
        ({"objectives": "squared-error"}, "objectives is 'squared-error': expected a list of values"),
    ],
)
def test_what_makes_no_sense_is_refused(axes, why):
    with pytest.raises(InputError, match=why):
        Grid((4,), **axes)


def test_what_the_data_have_not_is_refused():
    dataset = make_dataset()
    with pytest.raises(InputError, match="training subset is 71: expected at most the 70 training examples"):
        sweep(Grid((4,), subsets=(0, 71)), dataset)
    with pytest.raises(InputError, match="report_every is 2: expected a divisor of the 3 epochs"):
        sweep(Grid((4,), budgets=(2, 3)), dataset, recipe=Recipe(epochs=4, report_every=2))
    with pytest.raises(InputError, match=r"label noise is 0\.5 for a regression"):
        sweep(Grid((4,), label_noises=(0, 0.5)), make_dataset("regression"))


def arranged(grid, most_rows=None):
    """By block: batch size, subset and epochs; the seeds; and of each replica the trials."""
    blocks = arrange(grid.trials, most_rows)
    places = np.concatenate([np.ravel(block.places) for block in blocks])
    assert sorted(places.tolist()) == list(range(len(grid.trials)))
    assert [block.first for block in blocks] == np.cumsum([0, *(block.replicas for block in blocks)]).tolist()[:-1]
    for block in blocks:
        for replica, row in enumerate(block.places):
            trials = [grid.trials[place] for place in row]
            assert tuple(map(shape_of, trials)) == block.shapes
            assert {(t.seed, t.batch_size, t.subset, t.epochs, t.init_seed) for t in trials} == {
                (trials[0].seed, trials[0].batch_size, trials[0].subset, trials[0].epochs, trials[0].init_seed)
            }
            for name, numbers in block.numbers.items():
                assert numbers[replica].tolist() == [getattr(trial, name) for trial in trials]
    return blocks


def test_a_product_is_one_block_of_a_replica_per_seed():
    (block,) = arranged(Grid((5, 3), learning_rates=(0.1, 0.2), seeds=4))
    assert (block.replicas, len(block.shapes)) == (4, 4)
    assert block.seeds.tolist() == [[0, 1, 2, 3]] * 2
    assert list(block.numbers) == ["learning_rate"]


def test_trials_of_equal_shapes_are_divided_where_caches_are_small():
    grid = Grid((6, 3, 0), learning_rates=np.linspace(0.1, 0.8, 8), seeds=2)
    (block,) = arranged(grid, most_rows=30)  # 12 rows and biases of a rate: two rates fit
    assert (block.replicas, len(block.shapes)) == (8, 6)
    (block,) = arranged(grid, most_rows=1)
    assert (block.replicas, len(block.shapes)) == (16, 3)
    uneven = Grid((6,), learning_rates=(0.1, 0.2, 0.3)) + Grid((3,), learning_rates=(0.1, 0.2))
    assert {len(block.shapes) for block in arranged(uneven, most_rows=1)} == {5}  # nothing to divide evenly


def test_what_decides_the_minibatches_is_apart():
    grid = Grid((5, 3), seeds=2, batch_sizes=(8, 16), budgets=(0, 3)) + Grid((9,), seeds=(7,)) + Grid((5,), seeds=(8,))
    blocks = arranged(grid)
    assert [(block.order.batch_size, block.order.epochs, block.replicas) for block in blocks] == [
        (8, 0, 2),
        (8, 3, 2),
        (16, 0, 2),
        (16, 3, 2),
        (0, 0, 1),
        (0, 0, 1),
    ]
    (block,) = arranged(Grid((5,), seeds=(3,), init_seeds=(-1, 3, 4)))
    assert block.seeds.tolist() == [[3, 3, 3], [3, 3, 4]]


def test_trials_of_several_blocks_are_as_in_sweeps_of_their_own(tmp_path):
    dataset = make_dataset()
    grid = (
        Grid((6, 3), seeds=2, batch_sizes=(8, 0), budgets=(2, 4))
        + Grid((4,), seeds=(5,), subsets=(30,), dropouts=(0.5, 0.2))
        + Grid((6,), seeds=1, label_noises=(0.3,))
    )
    recipe = Recipe(epochs=4, batch_size=16, report_every=2)
    stopping = iter(range(1000))
    with pytest.raises(Exception, match="stopped"):
        sweep(grid, dataset, recipe=recipe, checkpoints=tmp_path / "c", stop=lambda: next(stopping) == 5)
    resumed = sweep(grid, dataset, recipe=recipe, resume=tmp_path / "c")
    result = sweep(grid, dataset, recipe=recipe)
    assert result.history["loss"].shape == (len(grid.trials), 2)
    for place, trial in list(enumerate(grid.trials))[::7]:
        alone = sweep(Grid.of([trial]), dataset, recipe=recipe)
        rounds = alone.history["loss"].shape[1]
        assert rounds == (trial.epochs or 4) // 2
        for symbol, expected in alone.weights(0).items():
            np.testing.assert_allclose(result.weights(place)[symbol], expected, rtol=0, atol=1e-5)
            np.testing.assert_array_equal(resumed.weights(place)[symbol], result.weights(place)[symbol])
        for curve, values in result.history.items():
            np.testing.assert_allclose(values[place, :rounds], alone.history[curve][0], rtol=0, atol=1e-4)
            assert np.isnan(values[place, rounds:]).all()
        for score, values in result.final.items():
            np.testing.assert_allclose(values[place], alone.final[score][0], rtol=0, atol=1e-4)


def test_a_new_number_compiles_nothing():
    from mlp_jax.sweeps.parts import kept

    dataset, recipe = make_dataset(), Recipe(epochs=1, batch_size=16)
    kept.cache_clear()
    for rate, dropout in ((0.1, 0.2), (0.3, 0.4), (1e-4, 0.5)):
        sweep(Grid((4,), learning_rates=(rate,), dropouts=(dropout,), seeds=1), dataset, recipe=recipe)
    assert kept.cache_info().misses == 1


def test_trials_are_made_of_checked_values():
    assert make_trial(hidden_units=[4, 2], activation="relu", learning_rate=1, seed=0).hidden_units == (4, 2)
    with pytest.raises(InputError, match="unknown 'rate': expected one of hidden_units, "):
        make_trial(rate=3)


def test_a_sweep_of_many_rates_is_divided_where_caches_are_small(monkeypatch):
    """On a CPU; with the same results, whatever shares a replica."""
    import sys

    dataset, recipe = make_dataset(), Recipe(epochs=2, batch_size=16)
    grid = Grid((6, 3), learning_rates=(0.01, 0.02, 0.03, 0.04), seeds=2)
    whole = sweep(grid, dataset, recipe=recipe)
    monkeypatch.setattr(sys.modules["mlp_jax.sweeps.sweep"], "CACHED", 12 * 3 * 4 * 11)
    divided = sweep(grid, dataset, recipe=recipe)
    assert (whole.plan.replicas, divided.plan.replicas) == (2, 8)
    for place in range(len(grid.trials)):
        for symbol, expected in whole.weights(place).items():
            np.testing.assert_allclose(divided.weights(place)[symbol], expected, rtol=0, atol=1e-5)
