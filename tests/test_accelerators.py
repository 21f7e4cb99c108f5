"""What benchmarks/accelerators.py reads of compiled programs; that a sweep's programs lower for GPUs and TPUs."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import pytest
from conftest import make_dataset
from jax import export

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import _deviceless  # noqa: E402
import accelerators  # noqa: E402
from _hlo import Cost, Module, arrays  # noqa: E402

sys.path.pop(0)

# Three turns of a step on 4 rows out of 100: a gather, padding, a product of [6, 8] and [4, 8], an update of one row in
# place; and around it a loop that does not say how often it turns.
GPU = (Path(__file__).parent / "compiled" / "gpu.txt").read_text(encoding="utf-8")
# Rows that are fetched one by one, and a product of three matrices each with another.
TPU = (Path(__file__).parent / "compiled" / "tpu.txt").read_text(encoding="utf-8")


def test_a_step_is_the_loop_that_multiplies():
    module = Module(GPU)
    assert module.step == "step"
    assert module.turns(module.loops["step"]) == 3
    assert module.turns(module.loops["replica"]) is None
    kernels = module.kernels("step")
    assert [(kernel.name, kernel.kind) for kernel in kernels] == [
        ("x.1", "copy"),
        ("some.1", "copy"),
        ("padded.1", "padding"),
        ("z.1", "product"),
        ("new.1", "other"),
    ]
    assert kernels[0].source == "jvp()/gather"
    # Of 100 rows 4 are read, and their numbers; of the array that is updated none, and one row of it is written.
    assert [kernel.cost.read for kernel in kernels] == [4 * (32 + 4), 4 * 28, 4 * 28, 4 * (48 + 32), 4 * (8 + 1)]
    assert [kernel.cost.written for kernel in kernels] == [4 * 32, 4 * 28, 4 * 32, 4 * 24, 4 * 16]
    assert module.cost("step").operations == 2 * 6 * 4 * 8
    assert module.collectives == []
    once = module.cost("step")
    assert module.cost("main") == once.times(3)  # the loop around it turns once, as far as is known


def test_collectives_are_found_wherever_they_are():
    reduced = "  %sum.9 = f32[6,8]{1,0} all-reduce-start(%a.1), replica_groups={{0,1}}, to_apply=%any\n"
    module = Module(GPU.replace("  %some.1 =", reduced + "  %some.1 ="))
    assert module.collectives == ["sum.9"]


def test_a_tpu_has_cycles_tiles_and_memory_on_the_chip():
    module = Module(TPU)
    assert module.step == "main"  # no loop multiplies
    loop, copy, product = module.kernels("main")
    assert (loop.kind, copy.kind, product.kind) == ("loop", "copy", "product")
    row, number = 4 * 256, 4  # bytes, and a row whole tiles
    assert loop.cost == Cost(2048, 2048 * (row + number), 0, 0, 204_800)
    assert (copy.cost.read, copy.cost.written) == (4 * 3 * 8 * 128, 0)  # to the chip
    assert (product.cost.read, product.cost.written) == (4 * 3 * 8 * 128, 4 * 3 * 8 * 128)
    # A batch of three products as a convolution over zeros: what multiplies a zero in between is not counted.
    assert product.cost.operations == 2 * 3 * 5 * 7 * 2
    assert module.cost("main").cycles == 204_840


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("f32[5,535,716]{2,1,0}", 4 * 5 * 535 * 716),
        ("f32[5,535,716]{2,1,0:T(8,128)}", 4 * 5 * 536 * 768),
        ("f32[16,25,10]{1,2,0:T(8,128)}", 4 * 16 * 16 * 128),
        ("bf16[8,128]{1,0:T(8,128)(2,1)S(1)}", 0),
        ("pred[7]{0}", 7),
        ("s32[]", 4),
        ("(f32[2]{0}, u8[3]{0})", 11),
    ],
)
def test_bytes_of_a_shape(text, size):
    assert sum(array.bytes for array in arrays(text)) == size


def test_a_text_that_is_no_module_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        Module("what is this?")


SMALL = _deviceless.Case((3, 5), 2, activations=("sigmoid", "relu"))


@pytest.mark.parametrize("layout", ["packed", "vmap"])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_programs_lower_for_accelerators(platform, layout):
    built = _deviceless.build(SMALL, layout, jax.devices()[:1], make_dataset())
    for name, (function, given) in _deviceless.lowered(built).items():
        exported = export.export(function, platforms=[platform])(*given)
        assert exported.platforms == (platform,)
        assert len(exported.mlir_module_serialized) > 1000, name


def test_what_is_useful_counts_no_dead_feature():
    built = _deviceless.build(SMALL, "vmap", jax.devices()[:1], make_dataset())
    live = 10  # of 12 features
    parameters = 2 * 2 * sum((live + 1 + 3) * m + 3 for m in (3, 5))
    products = 2 * 2 * 128 * sum(2 * (2 * (live + 1) * m + 3 * 3 * m) for m in (3, 5))
    assert _deviceless.useful(built) == {"parameters": parameters, "bytes": 36 * parameters, "operations": products}


@pytest.mark.slow
def test_a_device_that_is_here_is_measured(monkeypatch):
    here = jax.devices()[0]
    target = replace(_deviceless.TARGETS["h100"], kind=here.device_kind)
    monkeypatch.setattr(accelerators, "TARGETS", {"here": target})
    monkeypatch.setattr(_deviceless, "TARGETS", {"here": target})
    monkeypatch.setattr(accelerators, "CASES", {"small": SMALL, "many": replace(SMALL, devices=1000)})
    monkeypatch.setattr(_deviceless, "_mnist", make_dataset)
    monkeypatch.setattr(accelerators, "launch_seconds", partial(accelerators.launch_seconds, 10, 4))
    found = accelerators.measure([["small", "packed"], ["small", "vmap"], ["many", "packed"]], 1)
    assert found["target"] == "here"
    assert [name for name, _ in found["seconds"]] == ["small, packed", "small, vmap"]
    assert all(0 < seconds < 60 for _, seconds in found["seconds"])
    assert 0 < found["launch"] < 1


RECORD = json.loads((BENCHMARKS / "records" / "accelerators.json").read_text(encoding="utf-8"))
REACHED = {
    (target, row["case"], row["layout"]): row["programs"]["epoch"]
    for target, rows in RECORD["results"].items()
    for row in rows
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "cases", "plugin"),
    [("h100", ("one", "five"), "jax_cuda13_plugin"), ("v5e", ("sixteen",), "libtpu")],
)
def test_a_step_stays_as_small_as_it_was(target, cases, plugin, tmp_path):
    """Kernels, bytes and cycles, against the record; 2 % for another version of a compiler."""
    if importlib.util.find_spec(plugin) is None:
        pytest.skip(f"needs the extra accelerators ({plugin})")
    command = [sys.executable, BENCHMARKS / "accelerators.py", "--targets", target, "--cases", *cases]
    command += ["--layouts", "packed", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "accelerators.json").read_text(encoding="utf-8"))["results"][target]
    assert [row["case"] for row in rows] == list(cases)
    for row in rows:
        step, reached = row["programs"]["epoch"], REACHED[target, row["case"], "packed"]
        assert step["collectives"] == []
        for figure in ("kernels", "read", "written", "cycles"):
            assert step.get(figure, 0) <= 1.02 * reached.get(figure, 0), (row["title"], figure)
        assert row["memory"]["compiler"] <= 1.02 * row["memory"]["plan"]


def test_a_plan_foresees_no_less_than_compilers_count_and_little_more():
    """But where a TPU keeps small states on the chip, as docs/performance.md says."""
    ratios = {
        (target, row["case"], row["layout"]): row["memory"]["plan"] / row["memory"]["compiler"]
        for target, rows in RECORD["results"].items()
        for row in rows
    }
    assert min(ratios.values()) >= 1
    assert {which for which, ratio in ratios.items() if ratio > 1.2} == {
        ("v5e", "five", "packed"),
        ("v5e", "five", "vmap"),
        ("v5e", "wide", "vmap"),
    }
