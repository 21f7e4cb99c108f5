"""Sweeps on eight devices of one host. Run by test_devices.py, or by hand:

XLA_FLAGS=--xla_force_host_platform_device_count=8 pytest tests/on_eight_devices.py
"""

import re
import sys
from typing import Any

import jax
import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, InputError, Recipe, SweepStopped, sweep
from mlp_jax.sweeps import parts
from mlp_jax.sweeps.program import Compiled, jitted
from mlp_jax.training.epoch import put, stack_splits

RECIPE = Recipe(epochs=3, batch_size=32)
COLLECTIVES = re.compile(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast")


def grid(seeds: int) -> Grid:
    return Grid((3, 0), ("relu",), (1e-2,), seeds)


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


@pytest.fixture(scope="module")
def alone(dataset):
    """Eleven replicas on one device."""
    return sweep(grid(11), dataset, recipe=RECIPE, devices=jax.devices()[:1])


def assert_same(result, expected, atol: float) -> None:
    """Each trial is the one of that name in ``expected``: parameters to atol, scores to rounding."""
    assert set(result.trials) <= set(expected.trials)
    for i, trial in enumerate(result.trials):
        j = expected.trials.index(trial)
        for symbol, array in result.weights(i).items():
            np.testing.assert_allclose(array, expected.weights(j)[symbol], rtol=0, atol=atol)
        for name, curve in result.history.items():
            np.testing.assert_allclose(curve[i], expected.history[name][j], rtol=1e-6, atol=atol)
        for split, hits in result.outcomes.hits.items():
            assert atol or np.array_equal(hits[i], expected.outcomes.hits[split][j])
        for name, scores in result.final.items():
            np.testing.assert_allclose(scores[i], expected.final[name][j], rtol=1e-6, atol=atol)


@pytest.mark.parametrize(
    ("replicas", "devices", "busy", "places"), [(3, 8, 3, 3), (3, 3, 3, 3), (11, 8, 8, 16), (11, 3, 3, 12)]
)
def test_any_number_of_replicas_on_any_number_of_devices(dataset, alone, replicas, devices, busy, places):
    """One after another on each device: the same program on each, and the same bits."""
    result = sweep(grid(replicas), dataset, recipe=RECIPE, devices=jax.devices()[:devices], replicas_at_once=1)
    plan = result.plan
    idle = tuple(f"cpu:{i}" for i in range(busy, devices))
    assert (plan.replicas, plan.devices, plan.idle, plan.chunk) == (replicas, busy, idle, places)
    assert plan.padding == places - replicas
    assert ("5 devices idle (cpu:3, cpu:4, cpu:5, cpu:6, cpu:7)" in str(plan)) == (devices - busy == 5)
    assert len(result.trials) == 2 * replicas
    assert_same(result, alone, atol=0)


@pytest.mark.slow
def test_side_by_side_on_each_device(dataset, alone):
    """Of four on a device two at a time: to rounding."""
    assert_same(sweep(grid(11), dataset, recipe=RECIPE, devices=jax.devices()[:3], replicas_at_once=2), alone, 1e-6)


@pytest.mark.slow
def test_chunks_on_devices(dataset, alone):
    one = alone.plan
    memory = one.need.total(1, 1)
    result = sweep(grid(11), dataset, recipe=RECIPE, devices=jax.devices()[:3], memory=memory)
    assert (result.plan.chunks, result.plan.chunk) == (4, 3)
    assert_same(result, alone, atol=0)


class Watched:
    """What a sweep compiles and what with."""

    def __init__(self, monkeypatch) -> None:
        self.compiled: Any = None
        self.places: Any = None

        def watched(program) -> Compiled:
            self.run = jitted(program)
            return self.run._replace(epoch=self)

        monkeypatch.setattr(parts, "kept", lambda programs, *_: tuple(map(watched, programs)))

    def lower(self, *arguments):
        self.lowered = self.run.epoch.lower(*arguments)
        return self

    def compile(self):
        self.compiled = self.lowered.compile()
        self.memory_analysis = self.compiled.memory_analysis
        return self

    def __call__(self, *arguments):
        # Taken down now, since the program takes over the arrays.
        self.places = jax.tree.map(lambda leaf: [(s.device, s.index[:1]) for s in leaf.addressable_shards], arguments)
        return self.compiled(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "at_once"), [(8, 1), (3, 2)])
def test_an_epoch_holds_no_communication(dataset, monkeypatch, devices, at_once):
    watched = Watched(monkeypatch)
    sweep(grid(11), dataset, recipe=RECIPE, devices=jax.devices()[:devices], replicas_at_once=at_once)
    assert not COLLECTIVES.findall(watched.compiled.as_text())
    # The same words do appear where there is communication.
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.NamedSharding(mesh, jax.P("x"))
    together = jax.jit(lambda x: x.sum(), in_shardings=spread).lower(jax.ShapeDtypeStruct((8,), np.float32)).compile()
    assert COLLECTIVES.findall(together.as_text())


@pytest.mark.slow
def test_replicas_live_on_their_devices_and_the_data_on_each(dataset, monkeypatch):
    watched = Watched(monkeypatch)
    devices = jax.devices()
    sweep(grid(11), dataset, recipe=RECIPE)
    _, state, replicas, _, data = watched.places
    is_list = lambda each: isinstance(each, list)  # noqa: E731
    for places in jax.tree.leaves((state, replicas), is_leaf=is_list):
        assert places == [(device, (slice(2 * i, 2 * i + 2),)) for i, device in enumerate(devices)]
    for places in jax.tree.leaves(data, is_leaf=is_list):
        assert places == [(device, (slice(None),)) for device in devices]
    inputs, outputs = watched.compiled.input_shardings[0], watched.compiled.output_shardings
    assert all(sharding.is_fully_replicated for sharding in jax.tree.leaves(inputs[4]))
    assert not any(sharding.is_fully_replicated for sharding in jax.tree.leaves((inputs[1], outputs)))


def test_a_sweep_goes_on_with_another_number_of_devices(dataset, alone, tmp_path):
    """3 devices, then 8, then 1: the same bits as without a stop. Padding differs: 12 places, 16, 11."""
    devices = jax.devices()

    def part(count: int, epochs: int | None, **where):
        done = iter(range(100))
        stop = (lambda: next(done) == epochs) if epochs is not None else None
        return sweep(grid(11), dataset, recipe=RECIPE, devices=devices[:count], stop=stop, **where)

    with pytest.raises(SweepStopped):
        part(3, 1, checkpoints=tmp_path / "there")
    with pytest.raises(SweepStopped):
        part(8, 1, resume=tmp_path / "there")
    seen = []
    result = sweep(
        grid(11),
        dataset,
        recipe=RECIPE,
        devices=devices[:1],
        resume=tmp_path / "there",
        on_epoch=lambda progress: seen.append(progress.epoch),
    )
    assert seen == [3]
    assert_same(result, alone, atol=0)


def wide_grid(seeds: int) -> Grid:
    """Trials that have a width, an activation or neither in common, and one without a hidden layer."""
    return Grid((0, 3, 5, 9), ("relu", "sigmoid"), (1e-2,), seeds)


@pytest.fixture(scope="module")
def wide_alone(dataset):
    """Five of these replicas on one device."""
    return sweep(wide_grid(5), dataset, recipe=RECIPE, devices=jax.devices()[:1])


@pytest.fixture
def divided(monkeypatch):
    """Trials are divided though they are narrow, and trained before a second program is compiled."""
    monkeypatch.setattr(parts, "WORTH", 0)
    monkeypatch.setattr(parts, "FIXED_ROWS", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replicas", "devices", "at_once", "expected"),
    [(1, 2, 1, (2, 2, 1)), (2, 8, 2, (4, 8, 2)), (5, 2, 2, (2, 2, 5)), (5, 8, 1, (4, 8, 6)), (3, 7, 1, (2, 6, 3))],
)
def test_trials_of_a_replica_divided_among_devices(dataset, wide_alone, divided, replicas, devices, at_once, expected):
    used = jax.devices()[:devices]
    result = sweep(wide_grid(replicas), dataset, recipe=RECIPE, devices=used, replicas_at_once=at_once)
    assert (result.plan.parts, result.plan.devices, result.plan.chunk) == expected
    assert len(result.plan.idle) == devices - expected[1]
    assert_same(result, wide_alone, 2e-6)


@pytest.mark.slow
def test_divided_trials_without_bias_in_float64(dataset, divided):
    with jax.enable_x64(True):
        options = {"recipe": RECIPE, "use_bias": False, "dtype": "float64"}
        one, two = (sweep(wide_grid(1), dataset, devices=jax.devices()[:n], **options) for n in (1, 2))
        assert (one.plan.parts, two.plan.parts) == (1, 2)
        assert_same(two, one, 1e-12)


@pytest.mark.slow
def test_more_widths_than_have_kernels_of_their_own_divided(dataset, divided):
    """Neighbouring widths are padded to a common one: divided as they are, each with its padding, which stays 0."""
    grid = Grid(tuple(range(1, 40)), ("sigmoid", "softplus"), (1e-2,), 1)  # f(0) is not 0
    one, three = (sweep(grid, dataset, recipe=RECIPE, devices=jax.devices()[:n]) for n in (1, 3))
    assert three.plan.parts == 3
    assert_same(three, one, 5e-6)


@pytest.mark.slow
def test_a_part_without_a_hidden_layer(dataset, divided, tmp_path):
    grid = Grid((0, 4), ("relu",), (1e-2,), 2)
    one = sweep(grid, dataset, recipe=RECIPE, devices=jax.devices()[:1])
    done = iter(range(100))
    where = {"devices": jax.devices()[:4], "recipe": RECIPE}
    with pytest.raises(SweepStopped):
        sweep(grid, dataset, **where, checkpoints=tmp_path / "there", stop=lambda: next(done) == 2)
    result = sweep(grid, dataset, **where, resume=tmp_path / "there")
    assert (result.plan.parts, result.plan.devices) == (2, 4)
    assert_same(result, one, 2e-6)


@pytest.mark.slow
def test_too_little_memory_for_parts_is_enough_undivided(dataset, divided, monkeypatch):
    real = sys.modules["mlp_jax.sweeps.sweep"].make_plan

    def make_plan(programs, *arguments):
        if len(programs.programs) > 1:
            raise InputError("does not fit")
        return real(programs, *arguments)

    monkeypatch.setattr(sys.modules["mlp_jax.sweeps.sweep"], "make_plan", make_plan)
    assert sweep(wide_grid(1), dataset, recipe=RECIPE).plan.parts == 1


def test_devices_of_one_cpu_share_the_examples(dataset):
    features, _ = stack_splits(list(dataset.splits.values()), tuple(range(dataset.features)))
    everywhere = jax.NamedSharding(jax.make_mesh((8,), ("x",)), jax.P())
    shards = put(features, everywhere).addressable_shards
    assert {shard.data.unsafe_buffer_pointer() for shard in shards} == {features.ctypes.data}


def test_a_device_twice(dataset):
    with pytest.raises(InputError, match="2 times: expected each once"):
        sweep(grid(2), dataset, devices=2 * jax.devices()[:1])


@pytest.mark.slow
def test_divided_trials_stop_and_go_on_with_another_number_of_devices(dataset, wide_alone, divided, tmp_path):
    """Not divided, then in 2 parts, then in 4: finished replicas and a state of each kind of sweep."""
    memory = wide_alone.plan.need.total(1, 1)

    def part(count: int, epochs: int | None, **where):
        done = iter(range(100))
        stop = (lambda: next(done) == epochs) if epochs is not None else None
        devices = jax.devices()[:count]
        return sweep(wide_grid(5), dataset, recipe=RECIPE, devices=devices, memory=memory, stop=stop, **where)

    with pytest.raises(SweepStopped):
        part(1, 4, checkpoints=tmp_path / "there")  # one replica is finished, one in training
    with pytest.raises(SweepStopped):
        part(2, 4, resume=tmp_path / "there")
    result = part(4, None, resume=tmp_path / "there")
    assert result.plan.parts == 4
    assert_same(result, wide_alone, 2e-6)


def test_a_divided_sweep_that_goes_on_has_the_same_bits(dataset, divided, tmp_path):
    devices = jax.devices()[:3]
    whole = sweep(wide_grid(1), dataset, recipe=RECIPE, devices=devices)
    done = iter(range(100))
    with pytest.raises(SweepStopped):
        sweep(
            wide_grid(1),
            dataset,
            recipe=RECIPE,
            devices=devices,
            checkpoints=tmp_path / "there",
            stop=lambda: next(done) == 2,
        )
    assert_same(sweep(wide_grid(1), dataset, recipe=RECIPE, devices=devices, resume=tmp_path / "there"), whole, 0)


def test_no_devices(dataset):
    with pytest.raises(InputError, match="at least one"):
        sweep(grid(1), dataset, devices=[])
