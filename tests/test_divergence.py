"""A trial that becomes NaN or infinite is marked with its epoch, and no other trial differs by a single bit.

One parameter of one trial is overwritten before some epoch, in the program that users run, optimized as theirs is. A
trial that gets there by itself, in a grid of another learning rate, is in test_sweep.py; that figures and statistics
leave it out and count it, in test_plots.py, test_results.py, test_analysis.py and test_report.py.
"""

from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, Recipe, sweep
from mlp_jax.answers import analysis
from mlp_jax.networks import layouts
from mlp_jax.runs.directory import read_run, write_run
from mlp_jax.runs.tables import best_trial, trials_table
from mlp_jax.sweeps.loop import Loop

GRID = Grid((3, 0, 1, 4), ("sigmoid", "relu"), (1e-2,), (0, 5))
RECIPE = Recipe(epochs=4, batch_size=16)


def entries(layout, slot):
    """Where the parameters of one trial are in those of its replica: (leaf, place in it) of each."""
    params, frozen = jax.eval_shape(lambda key: layout.init(key, np.float32), jax.random.key(0))
    leaves, treedef = jax.tree.flatten(params)
    ends = np.cumsum([leaf.size for leaf in leaves])
    numbered = [np.arange(end - leaf.size, end).reshape(leaf.shape) for leaf, end in zip(leaves, ends, strict=True)]
    nowhere = jax.tree.map(lambda leaf: np.full(leaf.shape, -1), frozen)
    found = layout.weights(jax.tree.unflatten(treedef, numbered), nowhere, slot)
    numbers = np.concatenate([array.ravel() for array in found.values()])
    for number in numbers[numbers >= 0]:
        leaf = int(np.searchsorted(ends, number, side="right"))
        yield leaf, np.unravel_index(number - (ends[leaf] - leaves[leaf].size), leaves[leaf].shape)


@pytest.fixture
def poison(monkeypatch):
    """A function: before that epoch (from 0), overwrite an entry of one trial's parameters."""
    ask = Loop._save_or_stop

    def set_up(replica, slot, epoch, value, pick):
        def poisoned(loop, stage, record, chunk, states, now):
            if now == epoch:
                (state,) = states
                leaf, place = pick(list(entries(stage.parts.whole.layout, int(slot))))
                leaves, treedef = jax.tree.flatten(state.params)
                array = np.array(leaves[leaf])
                array[(replica, *place)] = value
                leaves[leaf] = jax.device_put(array, leaves[leaf].sharding)
                state.params.update(jax.tree.unflatten(treedef, leaves))
            return ask(loop, stage, record, chunk, states, now)

        monkeypatch.setattr(Loop, "_save_or_stop", poisoned)

    yield set_up
    monkeypatch.undo()


def bits(array):
    return np.ascontiguousarray(array).view(np.uint32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "groups", "at_once"),
    [("packed", 2, 2), *(pytest.param(*each, marks=pytest.mark.slow) for each in (("packed", 32, 1), ("vmap", 32, 2)))],
)
def test_a_trial_that_is_lost_changes_no_other_by_a_bit(layout, groups, at_once, monkeypatch, poison, optimized):
    monkeypatch.setattr(layouts, "MOST_GROUPS", groups)  # 2: widths padded together, in one batched product
    dataset, rng = make_dataset(), np.random.default_rng(0)

    def trained():
        return sweep(GRID, dataset, recipe=RECIPE, layout=layout, replicas_at_once=at_once)

    calm = trained()
    assert not calm.diverged.any()
    replicas, slots = calm._places[:, 1], calm._places[:, 2]
    for number, (replica, slot) in list(enumerate(zip(replicas, slots, strict=True)))[::2]:
        epoch, value = (0, 1, 3)[number % 3], (np.nan, np.inf, -np.inf)[number % 2]
        poison(replica, slot, epoch, value, lambda places: places[rng.integers(len(places))])
        result = trained()
        lost = (replicas == replica) & (slots == slot)
        where = f"{GRID.trials[number]} before epoch {epoch + 1}: {value}"
        np.testing.assert_array_equal(result.diverged, np.where(lost, epoch + 1, 0), where)
        for i in np.flatnonzero(~lost):
            for symbol, expected in calm.weights(int(i)).items():
                np.testing.assert_array_equal(bits(result.weights(int(i))[symbol]), bits(expected), where)
        for after, before in ((result.final, calm.final), (result.history, calm.history)):
            for key in before:
                np.testing.assert_array_equal(bits(after[key][~lost]), bits(before[key][~lost]), where)
        for key in calm.history:
            np.testing.assert_array_equal(
                bits(result.history[key][lost, :epoch]), bits(calm.history[key][lost, :epoch]), where
            )


def test_tables_mark_a_lost_trial_from_its_epoch_on_and_statistics_leave_it_out(small, tmp_path, poison):
    grid = Grid((4, 2), seeds=3)
    calm = trials_table(sweep(grid, small, recipe=RECIPE))
    best = best_trial(calm)
    poison(grid.trials[best].seed, [2, 4].index(grid.trials[best].hidden_units), 2, np.nan, lambda places: places[0])
    result = sweep(grid, small, recipe=RECIPE)
    write_run(result, tmp_path, "small")
    run = read_run(tmp_path)
    np.testing.assert_array_equal(run.trials["diverged"], np.where(np.arange(6) == best, 3, 0))
    lost = run.history["trial"] == best
    np.testing.assert_array_equal(run.history["diverged"], lost & (run.history["epoch"] >= 3))
    assert np.isfinite(run.history["loss"][lost & (run.history["epoch"] < 3)]).all()
    assert best_trial(run.trials) != best
    for row, unharmed in zip(analysis.summarize(trials_table(result)), analysis.summarize(calm), strict=True):
        hit = row.hidden_units == grid.trials[best].hidden_units
        assert (row.seeds, row.diverged) == ((2, 1) if hit else (3, 0))
        if not hit:  # but for the intervals, in which each width's spread is moderated by the others'
            assert replace(row, interval={}) == replace(unharmed, interval={})
