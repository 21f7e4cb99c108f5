"""What is planned of memory, against what XLA says that the compiled program needs."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, InputError, Recipe
from mlp_jax.layouts import Problem, make_layout
from mlp_jax.loop import bytes_of
from mlp_jax.plan import make_mesh, make_plan
from mlp_jax.program import Program, jitted
from mlp_jax.training import DeviceData, live_features, stack_splits


def program_and_host(widths, seeds, layout="packed", at_once=1):
    dataset = make_dataset(examples=3000, features=60)
    grid = Grid(widths, seeds=seeds)
    problem = Problem(dataset.features, dataset.outputs, True, live_features(dataset.train.features))
    plan = make_layout(layout, grid.architectures, problem)
    splits = list(dataset.splits.values())
    sizes = tuple(len(split) for split in splits)
    program = Program(plan, dataset.task, Recipe(), sizes, np.dtype(np.float32), at_once, make_mesh(None, seeds))
    return program, stack_splits(splits, plan.columns)


@pytest.mark.parametrize("layout", ["packed", "vmap"])
@pytest.mark.parametrize(
    ("widths", "seeds", "at_once"), [((10, 25, 50), 1, 1), ((10, 25, 50), 7, 1), ((3, 200), 6, 6), ((1500,), 2, 1)]
)
def test_the_plan_counts_what_the_program_needs(layout, widths, seeds, at_once):
    """Never too little, and at most three times as much: side by side, XLA fuses more than can be counted on."""
    program, host = program_and_host(widths, seeds, layout, at_once)
    plan = make_plan(program, host, seeds, memory=2**33)
    assert plan.chunk == seeds
    shape = jax.ShapeDtypeStruct
    state, replicas = jax.eval_shape(program.init, shape((seeds,), np.uint32), shape((seeds,), np.float32))
    data = DeviceData(*(shape(array.shape, array.dtype) for array in host))
    scalar = shape((), np.int32)
    compiled = jitted(program).epoch.lower(scalar, state, replicas, scalar, data).compile()
    assert bytes_of(compiled) <= plan.bytes_used <= 3 * bytes_of(compiled)


@pytest.mark.parametrize("at_once", [1, 3, 20])
def test_every_amount_of_memory_that_holds_one_replica_holds_a_chunk(at_once):
    program, host = program_and_host((10, 30), 20, at_once=at_once)
    whole = make_plan(program, host, 20, memory=2**33)
    assert (whole.chunk, whole.chunks, whole.padding) == (20, 1, 0)
    least = whole.need.total(1, 1)
    chunks = []
    for memory in np.linspace(least, whole.bytes_used, 60).astype(int):
        plan = make_plan(program, host, 20, memory=int(memory))
        assert plan.bytes_used <= memory
        assert plan.chunks * plan.chunk - plan.padding == 20
        assert plan.padding < plan.chunks
        chunks.append(plan.chunks)
    assert chunks[0] == 20
    assert chunks[-1] == 1
    assert chunks == sorted(chunks, reverse=True)
    with pytest.raises(InputError, match="does not fit in memory"):
        make_plan(program, host, 20, memory=least - 1)


def test_the_plan_says_what_it_means():
    program, host = program_and_host((10, 30), 5)
    plan = make_plan(program, host, 5, memory=2**33)
    assert str(plan).startswith(
        "5 groups of trials (one for each seed and learning rate) on 1 device, one after another, "
    )
    idle = dataclasses.replace(plan, idle=tuple(f"gpu:{i}" for i in range(1, 11)))
    assert ", 10 devices idle (gpu:1, gpu:2, gpu:3, gpu:4, gpu:5, gpu:6, gpu:7, gpu:8 and 2 more), " in str(idle)
    assert str(plan).endswith(" of 8.00 GiB free memory")
    chunked = make_plan(program, host, 5, memory=plan.need.total(3, 1))
    assert "2 chunks of 3, one after another" in str(chunked)
    assert "for nothing" not in str(chunked)
    assert "1 computed for nothing" in str(dataclasses.replace(chunked, at_once=3))
