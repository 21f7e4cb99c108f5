"""Checkpoints: a sweep that was stopped ends with the bits of one that never was; damage is noticed and passed over."""

import itertools
import json
import re
import shutil
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Dataset, Grid, InputError, Recipe, SweepResult, SweepStopped, SweepWarning, sweep
from mlp_jax.sweeps import checkpoints
from mlp_jax.sweeps.checkpoints import Checkpoints, DamagedError, read_arrays
from mlp_jax.sweeps.program import Program, jitted

GRID = Grid((0, 5), ("tanh",), (1e-2, 1e-3), 6)  # 6 replicas
RECIPE = Recipe(epochs=5, batch_size=16)
LAYOUTS = ("packed", "vmap")


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


@pytest.fixture(scope="module")
def uninterrupted(dataset):
    """By layout: the result, and how many bytes so many replicas take."""
    results = {}
    for layout in LAYOUTS:
        plans = []
        result = sweep(GRID, dataset, recipe=RECIPE, layout=layout, on_plan=plans.append)
        results[layout] = result, plans[0].need
    return results


def stop_after(epochs: int):
    """A sweep's ``stop``, which says so when the process has trained so many epochs."""
    asked = itertools.count()
    return lambda: next(asked) >= epochs


def stopped(dataset, path: Path, epochs: int, **options) -> None:
    with pytest.raises(SweepStopped) as stop:
        sweep(GRID, dataset, recipe=RECIPE, **options, stop=stop_after(epochs))
    assert stop.value.saved == path


def assert_same_bits(result: SweepResult, expected: SweepResult) -> None:
    for name in ("history", "final"):
        for key, values in getattr(expected, name).items():
            assert getattr(result, name)[key].tobytes() == values.tobytes(), key
    for split, hits in expected.outcomes.hits.items():
        assert result.outcomes.hits[split].tobytes() == hits.tobytes()
    assert (result.diverged == expected.diverged).all()
    pairs = zip(result.all_weights(), expected.all_weights(), strict=True)
    for (place, weights), (expected_place, expected_weights) in pairs:
        assert place == expected_place
        assert weights.keys() == expected_weights.keys()
        for symbol, array in expected_weights.items():
            assert weights[symbol].tobytes() == array.tobytes()


# Resume


@pytest.mark.parametrize(
    ("layout", "replicas", "stops"),
    [
        ("packed", 6, (0,)),
        ("packed", 2, (1,)),
        ("packed", 6, (4,)),
        ("packed", 2, (1, 1, 0, 2)),
        ("vmap", 2, (1, 1, 0, 2)),
        pytest.param("vmap", 6, (4,), marks=pytest.mark.slow),
        pytest.param("vmap", 2, (0,), marks=pytest.mark.slow),
    ],
)
def test_a_stopped_sweep_ends_as_one_that_was_not(dataset, uninterrupted, tmp_path, layout, replicas, stops):
    """Of one chunk and of three, however often it is stopped."""
    expected, need = uninterrupted[layout]
    options = {"layout": layout, "memory": need.total(replicas, 1)}
    for i, epochs in enumerate(stops):
        place = {"resume": tmp_path / "c"} if i else {"checkpoints": tmp_path / "c"}
        stopped(dataset, tmp_path / "c", epochs, **options, **place)
    done, plans = [], []
    result = sweep(
        GRID,
        dataset,
        recipe=RECIPE,
        resume=tmp_path / "c",
        on_epoch=lambda progress: done.append(progress),
        on_plan=plans.append,
        **options,
    )
    assert plans[0].chunks == 6 // replicas
    assert len(done) == 5 * plans[0].chunks - sum(stops)  # no epoch twice
    assert done[-1].done == 1
    if done[0].before:
        assert done[0].before == pytest.approx(sum(stops) / (5 * plans[0].chunks))
    assert_same_bits(result, expected)


@pytest.mark.parametrize("every", [(1, 3), (2, 1), (3, None)])
def test_the_interval_between_checkpoints_does_not_matter(dataset, uninterrupted, tmp_path, every):
    place, (expected, _) = tmp_path / "c", uninterrupted["packed"]
    stopped(dataset, place, 4, checkpoints=place, checkpoint_every=every[0])
    assert_same_bits(sweep(GRID, dataset, recipe=RECIPE, resume=place, checkpoint_every=every[1]), expected)


def test_a_second_stop_in_a_later_chunk(dataset, uninterrupted, tmp_path):
    place, (expected, need) = tmp_path / "c", uninterrupted["packed"]
    options = {"memory": need.total(2, 1), "checkpoint_every": 1}
    stopped(dataset, place, 7, checkpoints=place, **options)
    assert [path.name for path in (place / "finished").iterdir()] == ["000000000-000000001.npz"]
    stopped(dataset, place, 6, resume=place, **options)
    assert len(list((place / "finished").iterdir())) == 2
    assert_same_bits(sweep(GRID, dataset, recipe=RECIPE, resume=place, **options), expected)


@pytest.mark.slow
def test_other_memory_means_other_chunks_and_the_same_results(dataset, uninterrupted, tmp_path):
    """Replicas that are finished or in training keep their chunk; the others are shared out anew."""
    place, (expected, need) = tmp_path / "c", uninterrupted["packed"]
    stopped(dataset, place, 7, checkpoints=place, memory=need.total(2, 1))
    chunks = []
    result = sweep(
        GRID, dataset, recipe=RECIPE, resume=place, memory=need.total(1, 1), on_epoch=lambda p: chunks.append(p.done)
    )
    assert_same_bits(result, expected)
    names = sorted(path.name[:19] for path in (place / "finished").iterdir())
    assert names == [f"{a:09d}-{b:09d}" for a, b in ((0, 1), (2, 3), (4, 4), (5, 5))]


def test_a_finished_sweep_trains_nothing_more(dataset, uninterrupted, tmp_path):
    expected, need = uninterrupted["packed"]
    first = sweep(GRID, dataset, recipe=RECIPE, checkpoints=tmp_path / "c", memory=need.total(4, 1))
    before = {path: path.read_bytes() for path in (tmp_path / "c").rglob("*") if path.is_file()}

    def never(progress: object) -> None:
        pytest.fail("it trained")

    result = sweep(GRID, dataset, recipe=RECIPE, resume=tmp_path / "c", on_epoch=never)
    assert_same_bits(first, expected)
    assert_same_bits(result, expected)
    assert {path: path.read_bytes() for path in (tmp_path / "c").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"grid": Grid((0, 6), ("tanh",), (1e-2, 1e-3), 6)}, "hidden_units was [0, 5] and is now [0, 6]"),
        (
            {"grid": Grid((0, 5), ("tanh",), (1e-2, 1e-3), 7)},
            "seeds was [0, 1, 2, 3, 4, 5] and is now [0, 1, 2, 3, 4, 5, 6]",
        ),
        ({"recipe": Recipe(epochs=6, batch_size=16)}, "epochs was 5 and is now 6"),
        ({"recipe": Recipe(epochs=5, batch_size=8, beta1=0.8)}, "batch_size was 16 and is now 8; beta1 was 0.9 and is"),
        ({"layout": "vmap"}, 'layout was "packed" and is now "vmap"'),
        ({"use_bias": False}, "use_bias was true and is now false"),
        ({"dataset": make_dataset(seed=1)}, "dataset_digest was "),
    ],
)
def test_another_sweep_is_not_resumed(dataset, tmp_path, change, named):
    place = tmp_path / "c"
    stopped(dataset, place, 1, checkpoints=place, layout="packed")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    arguments = {"grid": GRID, "dataset": dataset, "recipe": RECIPE, "layout": "packed"} | change
    with pytest.raises(InputError, match=re.escape(f"{place}: cannot resume another sweep: {named}")):
        sweep(**arguments, resume=place)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_where_there_is_nothing_to_resume_and_where_something_is(dataset, tmp_path):
    with pytest.raises(InputError, match="no sweep to resume"):
        sweep(GRID, dataset, resume=tmp_path / "nowhere")
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(InputError, match="no sweep to resume"):
        sweep(GRID, dataset, resume=tmp_path)
    with pytest.raises(InputError, match="is there already"):
        sweep(GRID, dataset, checkpoints=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


# Damage


@pytest.fixture(scope="module")
def three_states(dataset, tmp_path_factory):
    """Checkpoints with states of epochs 2, 3 and 4."""
    place = tmp_path_factory.mktemp("three") / "c"
    stopped(dataset, place, 4, checkpoints=place, checkpoint_every=1)
    return place


def cut_short(state: Path) -> None:
    """Every file of the arrays: which of them Orbax reads depends on how it put them together."""
    for path in (path for path in (state / "arrays").rglob("*") if path.is_file()):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def half_deleted(state: Path) -> None:
    for path in sorted(path for path in state.rglob("*") if path.is_file())[::2]:
        path.unlink()


def emptied(state: Path) -> None:
    shutil.rmtree(state)
    state.mkdir()


def notes_lost(state: Path) -> None:
    shutil.rmtree(state / "notes")


def notes_of_others(state: Path) -> None:
    """Replicas 1 to 6 where 0 to 5 are: what is read is a state, but not theirs."""
    path = state / "notes" / "metadata"
    notes = json.loads(path.read_bytes())
    path.write_text(json.dumps(notes | {"first": 1}))


def arrays_of_others(state: Path) -> None:
    shutil.rmtree(state / "arrays")
    shutil.copytree(state.with_name(str(int(state.name) - 1)) / "arrays", state / "arrays")


DAMAGE = [cut_short, half_deleted, emptied, notes_lost, notes_of_others, arrays_of_others]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_state_is_named_and_the_one_before_it_used(dataset, uninterrupted, three_states, tmp_path, damage):
    place = shutil.copytree(three_states, tmp_path / "c")
    newest, before = (place / "states" / str(step) for step in (3, 2))
    damage(newest)
    epochs = []
    with pytest.warns(SweepWarning) as said:
        result = sweep(GRID, dataset, recipe=RECIPE, resume=place, on_epoch=lambda p: epochs.append(p.epoch))
    messages = [str(each.message) for each in said]
    assert len(messages) == 2
    assert messages[0].startswith(f"{newest}: ")
    assert messages[0].endswith(": skipped")
    assert messages[1] == f"continuing from {before}, epoch 3"
    assert epochs == [4, 5]
    assert_same_bits(result, uninterrupted["packed"][0])


def test_where_no_state_is_good_training_begins_again(dataset, uninterrupted, three_states, tmp_path):
    place = shutil.copytree(three_states, tmp_path / "c")
    for state in (place / "states").iterdir():
        cut_short(state)
    epochs = []
    with pytest.warns(SweepWarning) as said:
        result = sweep(GRID, dataset, recipe=RECIPE, resume=place, on_epoch=lambda p: epochs.append(p.epoch))
    messages = [str(each.message) for each in said]
    for step, message in zip((3, 2, 1), messages, strict=False):
        assert message.startswith(f"{place / 'states' / str(step)}: damaged")
    assert messages[3:] == ["no good state is left: training starts again"]
    assert epochs == [1, 2, 3, 4, 5]
    assert_same_bits(result, uninterrupted["packed"][0])


@pytest.mark.slow
def test_one_altered_byte_anywhere_in_a_state_is_noticed_or_changes_nothing(three_states, tmp_path, dataset):
    """In every file of it. Where it is not noticed, what is read is what was saved."""
    from mlp_jax.sweeps import loop

    place = shutil.copytree(three_states, tmp_path / "c")
    for step in (1, 2):
        shutil.rmtree(place / "states" / str(step))
    state = place / "states" / "3"
    read = {}

    class Begun(Exception):  # noqa: N818
        pass

    original = loop.Loop._restore

    def restore(self, saved):
        resumed, (record,) = original(self, saved), self.records
        read["arrays"] = jax.tree.map(np.asarray, (resumed.states, {k: v.copy() for k, v in record.curves.items()}))
        read["epoch"] = saved.epoch, resumed.chunk
        raise Begun

    def attempt() -> bool:
        """Whether it is taken for good; sets ``read``."""
        read.clear()
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", SweepWarning)
            patch.setattr(loop.Loop, "_restore", restore)
            patch.setattr(loop.Loop, "_train", lambda *_: (_ for _ in ()).throw(Begun))
            with pytest.raises(Begun):
                sweep(GRID, dataset, recipe=RECIPE, resume=place)
        return bool(read)

    assert attempt()
    expected, expected_epoch = read["arrays"], read["epoch"]
    rng = np.random.default_rng(0)
    noticed: dict[str, list[bool]] = {}
    for path in sorted(path for path in state.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        kind = re.sub(r"[0-9a-f]{32}", "DATA", str(path.relative_to(state)))
        for position in rng.choice(len(whole), size=1, replace=False).tolist():
            altered = bytearray(whole)
            altered[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(altered))
            taken = attempt()
            noticed.setdefault(kind, []).append(not taken)
            if taken:
                assert read["epoch"] == expected_epoch
                same = jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), read["arrays"], expected)
                assert jax.tree.all(same), (kind, position)
        path.write_bytes(whole)
    assert attempt()
    # What Orbax keeps for other purposes (who wrote it, the parts that it was put together from) is not read.
    for kind in ("notes/metadata", "arrays/d/DATA", "arrays/manifest.ocdbt"):
        assert all(noticed[kind]), kind


def test_a_damaged_file_of_finished_replicas_means_training_them_again(dataset, uninterrupted, tmp_path):
    expected, need = uninterrupted["packed"]
    place, options = tmp_path / "c", {"recipe": RECIPE, "memory": need.total(2, 1)}
    sweep(GRID, dataset, checkpoints=place, **options)
    _, second, third = sorted((place / "finished").iterdir())
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 4
    second.write_bytes(content)
    third.write_bytes(third.read_bytes()[:-30])
    trained = []
    with pytest.warns(SweepWarning) as said:
        result = sweep(GRID, dataset, resume=place, on_epoch=lambda p: trained.append(p.chunk), **options)
    for message, path in zip((str(each.message) for each in said), (second, third), strict=True):
        assert message.startswith(f"{path}: damaged")
        assert message.endswith("its replicas are trained again")
    assert trained == [2] * 5 + [3] * 5
    assert_same_bits(result, expected)
    shutil.rmtree(place / "finished")
    assert_same_bits(sweep(GRID, dataset, resume=place, **options), expected)


def test_one_altered_byte_anywhere_in_a_finished_file_is_noticed_or_changes_nothing(dataset, uninterrupted, tmp_path):
    sweep(Grid((1,), seeds=1), dataset, recipe=Recipe(epochs=1), checkpoints=tmp_path / "c")
    (path,) = (tmp_path / "c" / "finished").iterdir()
    whole, expected = path.read_bytes(), read_arrays(path)
    rng, unnoticed = np.random.default_rng(0), 0
    positions = [*rng.choice(len(whole), 300, replace=False), *range(len(whole) - 22, len(whole))]  # how a zip ends
    for position in positions:
        altered = bytearray(whole)
        altered[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(altered)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                arrays = read_arrays(path)
        except DamagedError:
            continue
        unnoticed += 1  # dates, attributes and the like
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            assert array.dtype == arrays[name].dtype
            assert array.tobytes() == arrays[name].tobytes()
    assert unnoticed < len(positions) / 2  # such arrays are small


# Memory


@pytest.mark.parametrize(
    ("layout", "replicas"), [("packed", 4), *(pytest.param("vmap", n, marks=pytest.mark.slow) for n in (1, 4, 5))]
)
def test_chunks_give_the_bits_of_one_piece(dataset, uninterrupted, layout, replicas):
    expected, need = uninterrupted[layout]
    plans, chunks = [], []
    result = sweep(
        GRID,
        dataset,
        recipe=RECIPE,
        layout=layout,
        memory=need.total(replicas, 1),
        on_plan=plans.append,
        on_epoch=lambda p: chunks.append((p.chunk, p.chunks)),
    )
    (plan,) = plans
    assert (plan.chunk, plan.chunks) == {1: (1, 6), 4: (3, 2), 5: (3, 2)}[replicas]  # of one size, as far as it goes
    assert plan.padding == plan.chunk * plan.chunks - 6 == 0
    assert plan.bytes_used <= plan.memory == need.total(replicas, 1)
    assert chunks == [(i + 1, plan.chunks) for i in range(plan.chunks) for _ in range(5)]
    assert [len(chunk) for chunk in result.timing.chunks] == [5] * plan.chunks
    assert_same_bits(result, expected)


@pytest.mark.slow
def test_a_last_chunk_that_is_not_full_is_padded(dataset):
    grid, plans = Grid((2,), seeds=5), []
    sweep(grid, dataset, recipe=Recipe(epochs=1), on_plan=plans.append)
    expected = sweep(grid, dataset, recipe=RECIPE)
    need = plans[0].need
    result = sweep(grid, dataset, recipe=RECIPE, memory=need.total(2, 1), on_plan=plans.append)
    assert (plans[1].chunk, plans[1].chunks, plans[1].padding) == (2, 3, 1)
    assert "3 chunks of 2, one after another" in str(plans[1])
    assert_same_bits(result, expected)


def test_one_replica_that_does_not_fit_is_refused_before_anything_is_written(dataset, uninterrupted, tmp_path):
    need = uninterrupted["packed"][1]
    with pytest.raises(InputError, match=r"one replica .* does not fit in memory.*: ask for fewer or narrower trials"):
        sweep(GRID, dataset, memory=need.total(1, 1) - 1, checkpoints=tmp_path / "c")
    assert not (tmp_path / "c").exists()


class _Short:
    """A compiled epoch that finds no memory for more than some rows."""

    def __init__(self, compiled, rows: int) -> None:
        self.compiled, self.rows = compiled, rows

    def memory_analysis(self):
        return self.compiled.memory_analysis()

    def __call__(self, count, state, *rest):
        if len(jax.tree.leaves(state)[0]) > self.rows:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.")
        return self.compiled(count, state, *rest)


def short_of_memory(monkeypatch, rows: int, healthy: int = 0) -> None:
    """Let the devices' memory do for so many replicas, after so many epochs in which it does for all."""
    from mlp_jax.sweeps import parts

    epochs = itertools.count()

    class Lowered:
        def __init__(self, lowered):
            self.lowered = lowered

        def compile(self):
            compiled = self.lowered.compile()
            short = _Short(compiled, rows)
            short_call = short.__call__

            class Counted(_Short):
                def __call__(self, *arguments):
                    return (compiled if next(epochs) < healthy else short_call)(*arguments)

            return Counted(compiled, rows)

    class Jitted:
        def __init__(self, program: Program) -> None:
            self.init, self.evaluate, self.epoch = jitted(program).init, jitted(program).evaluate, self
            self.program = program

        def lower(self, *arguments):
            return Lowered(jitted(self.program).epoch.lower(*arguments))

    monkeypatch.setattr(parts, "kept", lambda programs, *_: tuple(map(Jitted, programs)))


@pytest.mark.parametrize(
    ("layout", "healthy"),
    [
        ("packed", 2),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("packed", 0), ("vmap", 0), ("vmap", 2))),
    ],
)
def test_where_memory_runs_out_chunks_are_halved(dataset, uninterrupted, monkeypatch, tmp_path, layout, healthy):
    short_of_memory(monkeypatch, rows=2, healthy=healthy)
    with pytest.warns(SweepWarning) as said:
        result = sweep(GRID, dataset, recipe=RECIPE, layout=layout, checkpoints=tmp_path / "c", checkpoint_every=1)
    assert [str(each.message) for each in said] == [
        "out of memory with 6 replicas together: continuing with 3",
        "out of memory with 3 replicas together: continuing with 2",
    ]
    names = sorted(path.name for path in (tmp_path / "c" / "finished").iterdir())
    assert [len(range(int(name[:9]), int(name[10:19]) + 1)) for name in names] == [2, 1, 2, 1]
    assert_same_bits(result, uninterrupted[layout][0])


@pytest.mark.slow
def test_where_not_even_one_replica_fits_it_is_said(dataset, monkeypatch, tmp_path):
    short_of_memory(monkeypatch, rows=0)
    with pytest.warns(SweepWarning, match="out of memory"), pytest.raises(InputError, match="out of memory with one"):
        sweep(Grid((3,), seeds=2), dataset, recipe=RECIPE)


def test_other_errors_are_not_taken_for_a_lack_of_memory(dataset, monkeypatch):
    def broken(self, count, state, *rest):
        raise jax.errors.JaxRuntimeError("INTERNAL: something broke")

    monkeypatch.setattr(Program, "epoch", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something broke"):
        sweep(Grid((3,), seeds=2), dataset, recipe=RECIPE)


def test_states_are_saved_as_often_as_they_cost_little(dataset, tmp_path, monkeypatch):
    """By a clock of our own: never within LEAST_BETWEEN, nor for more than SHARE_OF_TIME of the time."""
    clock = [1000.0]
    monkeypatch.setattr(checkpoints.time, "perf_counter", lambda: clock[0])
    with Checkpoints(tmp_path / "saved", {"sweep": 1}, resume=False) as saver:
        clock[0] += checkpoints.LEAST_BETWEEN - 1
        assert not saver.due(1)
        clock[0] += 1
        assert saver.due(1)
        monkeypatch.setattr(
            checkpoints, "_fingerprint", lambda *_: clock.__setitem__(0, clock[0] + 5) or "five seconds"
        )
        saver.save(0, 1, {"w": np.ones((1, 2), np.float32)}, {"loss": np.zeros((1, 1, 1))}, [0.1])
        clock[0] += 5 / checkpoints.SHARE_OF_TIME - 1
        assert not saver.due(2)
        clock[0] += 1
        assert saver.due(2)
    with Checkpoints(tmp_path / "others", {"sweep": 1}, resume=False, every=3) as saver:
        assert [epoch for epoch in range(1, 8) if saver.due(epoch)] == [3, 6]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["packed", pytest.param("vmap", marks=pytest.mark.slow)])
def test_a_first_layer_without_anything_to_train_goes_on(tmp_path, layout):
    """Features that are always 0, and no biases: the packed layout's A has no columns to save."""
    x, y = np.zeros((12, 2), np.float32), np.arange(12) % 3
    dataset = Dataset.from_arrays(x, y, x + 1, y, x_validation=x + 1, y_validation=y)
    how = {"recipe": Recipe(epochs=2), "layout": layout, "use_bias": False}
    grid = Grid((0, 3), ("sigmoid",), (1e-2,), 2)
    with pytest.raises(SweepStopped):
        sweep(grid, dataset, **how, checkpoints=tmp_path / "there", stop=stop_after(1))
    assert_same_bits(sweep(grid, dataset, **how, resume=tmp_path / "there"), sweep(grid, dataset, **how))
