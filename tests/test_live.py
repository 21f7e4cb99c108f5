"""A run while it is trained: its file of progress, watching it, TensorBoard's event files."""

import json
import shutil
import struct
import sys

import numpy as np
import pytest
from conftest import make_dataset, make_run, save_dataset

from mlp_jax import DataError, Grid, Recipe, SweepStopped, cli, search, sweep
from mlp_jax.adapters.tensorboard import EVENTS, LiveEvents, trial_directories, write_events
from mlp_jax.cli import _training
from mlp_jax.cli.watch import sparkline
from mlp_jax.runs.directory import read_run, sweep_config, write_json
from mlp_jax.runs.progress import PROGRESS, ProgressFile, read_progress
from mlp_jax.sweeps.sweep import make_setup, prepare

GRID = Grid((0, 2, 3), ("relu",), (1e-2, 1e-1), seeds=2)
RECIPE = Recipe(epochs=3, batch_size=16)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The file is written after every epoch, however short they are."""
    monkeypatch.setattr("mlp_jax.runs.progress.EVERY", 0)
    monkeypatch.setattr("mlp_jax.runs.progress.SHARE_OF_TIME", np.inf)


@pytest.mark.parametrize("chunks", [1, 2])
def test_the_file_says_what_is_known(small, tmp_path, chunks):
    """Of all replicas together, and chunk by chunk."""
    (stage,) = prepare(make_setup(GRID, small, recipe=RECIPE, layout="packed"), small, None, None, None)
    memory = stage.plan.need.total(1, 1) if chunks == 2 else None
    seen, file = [], ProgressFile(tmp_path, GRID)

    def look(progress):
        file.on_epoch(progress)
        seen.append(read_progress(tmp_path, len(GRID.trials)))

    result = sweep(GRID, small, recipe=RECIPE, memory=memory, on_epoch=look, layout="packed")
    assert seen[-1].chunks == chunks
    assert [each.epoch for each in seen] == chunks * [1, 2, 3]
    assert seen[-1].done == 1
    assert not np.isfinite(seen[-1].remaining) or seen[-1].remaining == 0
    assert seen[0].remaining > 0
    last = seen[-1]
    np.testing.assert_allclose(last.validation_score, result.history["validation_score"][:, -1], rtol=1e-6)
    assert (last.trained == 3).all()
    assert last.widths.tolist() == [0, 2, 3]
    units = np.array([trial.hidden_units for trial in GRID.trials])
    for row, epoch in enumerate(last.curve_epochs):
        for place, width in enumerate(last.widths):
            mean = result.history["validation_loss"][units == width, epoch - 1].mean()
            assert last.curve_validation_loss[row, place] == pytest.approx(mean, rel=1e-5)


def test_of_a_search_what_was_stopped_keeps_what_it_came_to(small, tmp_path):
    file = ProgressFile(tmp_path, GRID)
    result = search(GRID, small, recipe=RECIPE, eta=2, on_epoch=file.on_epoch)
    snapshot = read_progress(tmp_path, len(GRID.trials))
    np.testing.assert_array_equal(snapshot.trained, result.epochs)
    reached = result.history["validation_score"][np.arange(len(GRID.trials)), result.epochs - 1]
    np.testing.assert_allclose(snapshot.validation_score, reached, rtol=1e-6)


def test_trials_that_diverge_are_counted_and_left_out(small, tmp_path):
    grid = Grid((2,), ("relu",), (1e-2, 1e30), seeds=1)
    file = ProgressFile(tmp_path, grid)
    result = sweep(grid, small, recipe=RECIPE, on_epoch=file.on_epoch)
    snapshot = read_progress(tmp_path, 2)
    assert snapshot.diverged.tolist() == [False, True]
    np.testing.assert_allclose(snapshot.curve_validation_loss[:, 0], result.history["validation_loss"][0], rtol=1e-5)


def test_a_run_that_is_resumed_goes_on_with_its_curves(small, tmp_path):
    asked = iter(range(9))
    options = {"recipe": RECIPE, "checkpoint_every": 1}
    file = ProgressFile(tmp_path, GRID)
    with pytest.raises(SweepStopped):
        sweep(
            GRID,
            small,
            **options,
            checkpoints=tmp_path / "c",
            stop=lambda: next(asked) == 2,
            on_epoch=file.on_epoch,
        )
    again = ProgressFile(tmp_path, GRID)
    sweep(GRID, small, **options, resume=tmp_path / "c", on_epoch=again.on_epoch)
    snapshot = read_progress(tmp_path, len(GRID.trials))
    assert snapshot.curve_epochs.tolist() == [1, 2, 3]
    assert np.isfinite(snapshot.curve_validation_score).all()
    assert snapshot.before == pytest.approx(2 / 3)


def test_a_disk_that_is_full_stops_nothing(small, tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlp_jax.runs.progress.written_whole", full)
    sweep(GRID, small, recipe=RECIPE, on_epoch=ProgressFile(tmp_path, GRID).on_epoch)
    with pytest.raises(DataError, match=r"progress.npz is not there: nothing is known"):
        read_progress(tmp_path, 12)


# Watching


@pytest.fixture
def training(small, tmp_path):
    """The directory of a run that is trained at this moment, after two of its three epochs."""
    run = tmp_path / "run"
    run.mkdir()
    write_json(run / "config.json", sweep_config(make_setup(GRID, small, recipe=RECIPE), "small.npz"))
    file, asked = ProgressFile(run, GRID), iter(range(9))
    with pytest.raises(SweepStopped):
        sweep(GRID, small, recipe=RECIPE, on_epoch=file.on_epoch, stop=lambda: next(asked) == 1)
    return run


def test_watch_shows_curves_and_ranking(training, capsys):
    assert cli.main(["watch", str(training), "--once"]) == 0
    out = capsys.readouterr().out
    assert "epoch 1/3  33 %" in out
    assert "12 of 12 trials" in out
    assert "Ranking so far, on validation" in out
    assert cli.main(["watch", str(training), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["finished"] is False
    assert record["epoch"] == 1
    assert [each["seeds"] for each in record["ranking"]] == 6 * [2]
    scores = [each["validation_score"] for each in record["ranking"]]
    assert scores == sorted(scores, reverse=True)
    assert record["curves"]["widths"] == [0, 2, 3]
    assert np.shape(record["curves"]["validation_loss"]) == (3, 1)


def test_watch_follows_a_run_to_its_end(training, small, tmp_path, monkeypatch, capsys):
    looked = []

    def sleep(_):
        """Meanwhile the other process trains on, and at the second look it has finished."""
        looked.append(1)
        if len(looked) == 1:
            asked, file = iter(range(9)), ProgressFile(training, GRID)
            with pytest.raises(SweepStopped):
                sweep(GRID, small, recipe=RECIPE, on_epoch=file.on_epoch, stop=lambda: next(asked) == 2)
        else:
            shutil.rmtree(training)
            make_run(small, "small.npz", training, GRID)

    monkeypatch.setattr("mlp_jax.cli.watch.time.sleep", sleep)
    assert cli.main(["watch", str(training)]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/3  33 %")
    assert second.startswith("epoch 2/3  67 %")
    assert last == f"{training} is finished: 12 trials, 0 diverged; mlp-jax analyse {training}"
    assert cli.main(["watch", str(training), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run": str(training), "finished": True}


def test_before_anything_is_known_and_of_damaged_files(training, capsys):
    (training / PROGRESS).write_bytes(b"no archive")
    assert cli.main(["watch", str(training), "--once"]) == 2
    assert "progress.npz: cannot be read (not a zip archive" in capsys.readouterr().err
    np.savez(training / "other.npz", time=3)
    (training / "other.npz").rename(training / PROGRESS)
    assert cli.main(["watch", str(training), "--once"]) == 2
    assert "progress.npz: holds no begun: damaged" in capsys.readouterr().err
    (training / PROGRESS).unlink()
    assert cli.main(["watch", str(training), "--once"]) == 0
    assert "nothing is known yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["watch"], "RUN is missing: expected what mlp-jax sweep wrote, as in mlp-jax watch runs/sweep"),
        (["watch", "nowhere"], "nowhere/config.json: cannot be read"),
        (["watch", "run", "--every", "0"], "every is 0.0: expected seconds, 0.05 to 3600"),
        (["watch", "run", "--every", "often"], "--every is 'often': expected a number"),
    ],
)
def test_bad_input(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_sparklines():
    assert sparkline(np.array([0.0, 0.5, 1.0]), 0, 1) == "▁▅█"
    assert sparkline(np.array([0.0, 0.5, 1.0]), 0, 1, plain=True) == "_+@"
    assert sparkline(np.array([2.0]), 2, 2) == "█"
    assert len(sparkline(np.linspace(0, 1, 1000), 0, 1)) == 40
    assert sparkline(np.array([]), 0, 1) == ""


# TensorBoard


def scalars(path):
    """By name, the steps and values of the event file at a path; by TFRecord's framing, its checksums looked at."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    content, place, found = path.read_bytes(), 0, {}
    while place < len(content):
        length, check = struct.unpack_from("<QI", content, place)
        assert check == masked_crc32c(content[place : place + 8])
        body = content[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", content, place + 12 + length) == (masked_crc32c(body),)
        for value in Event.FromString(body).summary.value:
            if not value.tag.startswith("_hparams_/"):
                found.setdefault(value.tag, []).append((Event.FromString(body).step, value.simple_value))
        place += 12 + length + 4
    return found


def test_event_files_grow_while_training_and_end_as_those_of_a_finished_run(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    save_dataset(make_dataset(), tmp_path / "data.npz")
    monkeypatch.setattr(_training, "draw_lacking", lambda *_, **__: None)
    run, seen = tmp_path / "run", []
    report = LiveEvents.on_epoch

    def look(self, progress):
        report(self, progress)
        seen.append([scalars(path) for path in sorted((run / "tensorboard").glob(f"*/{EVENTS}"))])

    monkeypatch.setattr(LiveEvents, "on_epoch", look)
    arguments = ["--hidden-units", "0", "2", "--epochs", "2", "--seeds", "1", "--dataset", str(tmp_path / "data.npz")]
    assert cli.main(["sweep", *arguments, "--tensorboard", "--out", str(run), "--no-cache"]) == 0
    assert [len(each["loss/train"]) for each in seen[0]] == [1, 1]  # readable while the run goes on
    assert [len(each["loss/train"]) for each in seen[1]] == [2, 2]
    back = read_run(run)
    (tmp_path / "after").mkdir()
    write_events(back, tmp_path / "after")
    for name in trial_directories(back.trials):
        live, after = (scalars(place / name / EVENTS) for place in (run / "tensorboard", tmp_path / "after"))
        assert live.keys() == after.keys()
        for tag, values in after.items():
            np.testing.assert_allclose(np.array(live[tag]), np.array(values), rtol=1e-6)


def test_a_run_that_is_resumed_has_event_files_of_its_own(small, tmp_path):
    pytest.importorskip("tensorboardX")
    LiveEvents(tmp_path, GRID.trials, "accuracy")
    again = LiveEvents(tmp_path, GRID.trials, "accuracy")
    sweep(GRID, small, recipe=Recipe(epochs=1, batch_size=16), on_epoch=again.on_epoch)
    for name in trial_directories({"trial": np.arange(12), **_axes()}):
        first, second = sorted((tmp_path / name).iterdir())
        assert (first.name, second.name) == (EVENTS, f"{EVENTS}.1")
        assert scalars(first) == {}
        assert set(scalars(second)) == {"loss/train", "loss/validation", "accuracy/train", "accuracy/validation"}


def _axes():
    from mlp_jax.runs.tables import axes_table

    return axes_table(GRID.trials)


def test_without_tensorboardx_nothing_is_begun(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX.summary", None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sweep", "--tensorboard", "--out", "run"]) == 2
    assert "mlp-jax[tensorboard]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
