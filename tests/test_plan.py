"""What is planned of memory, against what XLA says that the compiled program needs."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, InputError
from mlp_jax.sweeps.parts import Sharing, divide, share_out
from mlp_jax.sweeps.plan import make_plan
from mlp_jax.sweeps.sweep import make_program, make_setup
from mlp_jax.training.epoch import stack_splits


def parts_and_host(widths, seeds, layout="packed", at_once=1):
    """All of it in one part."""
    dataset = make_dataset(examples=3000, features=60)
    grid = Grid(widths, seeds=seeds)
    setup = make_setup(grid, dataset, layout=layout)
    program = make_program(setup, setup.blocks[0], dataset, at_once)
    sharing = Sharing((tuple(range(len(widths))),), program.mesh.size)
    return divide(program, sharing, jax.devices()), stack_splits(list(dataset.splits.values()), program.layout.columns)


@pytest.mark.parametrize("layout", ["packed", "vmap"])
@pytest.mark.parametrize(
    ("widths", "seeds", "at_once"), [((10, 25, 50), 1, 1), ((10, 25, 50), 7, 1), ((3, 200), 6, 6), ((1500,), 2, 1)]
)
def test_the_plan_counts_what_the_program_needs(layout, widths, seeds, at_once):
    """Never too little, and at most three times as much: side by side, XLA fuses more than can be counted on."""
    parts, host = parts_and_host(widths, seeds, layout, at_once)
    plan = make_plan(parts, host, seeds, memory=2**33)
    assert plan.chunk == seeds
    compiled = parts.compile(seeds, parts.put_data(*host))
    assert compiled.bytes <= plan.bytes_used <= 3 * compiled.bytes


@pytest.mark.parametrize("at_once", [1, 3, 20])
def test_every_amount_of_memory_that_holds_one_replica_holds_a_chunk(at_once):
    parts, host = parts_and_host((10, 30), 20, at_once=at_once)
    whole = make_plan(parts, host, 20, memory=2**33)
    assert (whole.chunk, whole.chunks, whole.padding) == (20, 1, 0)
    least = whole.need.total(1, 1)
    chunks = []
    for memory in np.linspace(least, whole.bytes_used, 60).astype(int):
        plan = make_plan(parts, host, 20, memory=int(memory))
        assert plan.bytes_used <= memory
        assert plan.chunks * plan.chunk - plan.padding == 20
        assert plan.padding < plan.chunks
        chunks.append(plan.chunks)
    assert chunks[0] == 20
    assert chunks[-1] == 1
    assert chunks == sorted(chunks, reverse=True)
    with pytest.raises(InputError, match="does not fit in memory"):
        make_plan(parts, host, 20, memory=least - 1)


def test_the_plan_says_what_it_means():
    parts, host = parts_and_host((10, 30), 5)
    plan = make_plan(parts, host, 5, memory=2**33)
    assert str(plan).startswith("5 groups of trials (one for each seed) on 1 device, one after another, ")
    idle = dataclasses.replace(plan, idle=tuple(f"gpu:{i}" for i in range(1, 11)))
    assert ", 10 devices idle (gpu:1, gpu:2, gpu:3, gpu:4, gpu:5, gpu:6, gpu:7, gpu:8 and 2 more), " in str(idle)
    assert str(plan).endswith(" of 8.00 GiB free memory")
    chunked = make_plan(parts, host, 5, memory=plan.need.total(3, 1))
    assert "2 chunks of 3, one after another" in str(chunked)
    assert "padding" not in str(chunked)
    assert "1 padding replica, " in str(dataclasses.replace(chunked, at_once=3))
    divided = dataclasses.replace(plan, parts=2, devices=2)
    assert "on 2 devices, each group's trials divided among 2 of them, one after another, " in str(divided)
    alone = dataclasses.replace(divided, replicas=1, chunk=1)
    assert str(alone).startswith("on 2 devices, trials divided among them, ")


MANY = 1e13  # operations: compilation is nothing beside them


@pytest.mark.parametrize(
    ("rows", "replicas", "devices", "operations", "slots", "each"),
    [
        ([10, 25, 50, 100, 150, 200], 1, 1, MANY, [(0, 1, 2, 3, 4, 5)], 1),
        ([10, 25, 50, 100, 150, 200], 1, 2, MANY, [(1, 2, 5), (0, 3, 4)], 1),  # 275 and 260
        ([10, 25, 50, 100, 150, 200], 1, 2, 1e10, [(0, 1, 2, 3, 4, 5)], 1),  # compiling twice would take longer
        ([10, 25, 50, 100, 150, 200], 2, 2, MANY, [(0, 1, 2, 3, 4, 5)], 2),  # a replica each
        ([10, 25, 50, 100, 150, 200], 5, 2, MANY, [(1, 2, 5), (0, 3, 4)], 1),  # 3 and 2 replicas would not balance
        ([10, 25, 50, 100, 150, 200], 1, 64, MANY, [(5,), (4, 1), (3, 2, 0)], 1),  # the widest is as wide as it is
        ([100], 1, 8, MANY, [(0,)], 1),
        ([50, 50], 2, 5, MANY, [(0,), (1,)], 2),
    ],
)
def test_trials_are_shared_out_so_that_no_device_has_more_than_it_must(
    rows, replicas, devices, operations, slots, each
):
    sharing = share_out(rows, replicas, devices, operations)
    assert {frozenset(part) for part in sharing.slots} == {frozenset(part) for part in slots}
    assert all(list(part) == sorted(part) for part in sharing.slots)
    assert sharing.devices == each
