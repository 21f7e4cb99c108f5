"""How runs begin and end on machines that are not as they should be: in the same second, without a home or figures."""

import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import platformdirs
import pytest
from conftest import make_dataset, save_dataset
from flax import nnx

import mlp_jax
from mlp_jax import MLP, Grid, Recipe, SweepWarning, cli, enable_compilation_cache, fit, sweep
from mlp_jax.answers import plots
from mlp_jax.runs.directory import read_run
from mlp_jax.runs.running import own_place

SWEEP = ["sweep", "--dataset", "small.npz", "--hidden-units", "3", "--seeds", "2", "--epochs", "1"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_dataset(make_dataset(), tmp_path / "small.npz")
    return tmp_path


# Places


CLAIM = """
import sys, time
from mlp_jax.runs.running import own_place
sys.stdin.read(1)
for _ in range(5):
    with own_place("sweep") as path:
        (path / "file").touch()
        print(path, flush=True)
"""


def test_runs_begun_in_the_same_second_have_a_place_each():
    processes = [
        subprocess.Popen([sys.executable, "-c", CLAIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        process.stdin.write("g")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    places = [path for paths in said for path in paths]
    assert len(places) == len(set(places)) == 15
    assert sorted(places) == sorted(map(str, Path("runs").iterdir()))


def test_a_place_that_nothing_is_written_to_goes_again():
    with own_place("sweep") as first, own_place("sweep") as second:
        assert first != second
        assert first.is_dir()
    assert not Path("runs").exists()
    assert cli.main(["sweep", "--dataset", "nowhere"]) == 2
    assert not Path("runs").exists()


def test_runs_that_is_a_file_is_one_line(capsys):
    Path("runs").touch()
    assert cli.main(SWEEP) == 2
    assert "runs" in capsys.readouterr().err


@pytest.mark.slow
def test_paths_that_begin_with_a_tilde_lead_home(place, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(place / "home"))
    (place / "home").mkdir()
    assert cli.main([*SWEEP, "--out=~/run"]) == 0
    assert (place / "home" / "run" / "manifest.json").exists()
    assert cli.main(["export", "~/run", "--out=~/model.npz"]) == 0
    assert (place / "home" / "model.npz").exists()
    assert not (place / "~").exists()
    capsys.readouterr()
    assert cli.main([*SWEEP, "--out=~nobody-of-that-name/run"]) == 2
    assert "~nobody-of-that-name/run" in capsys.readouterr().err


# Homes


def test_without_a_home_programs_are_not_kept(monkeypatch):
    def none(*_):
        raise RuntimeError("could not determine the home directory")

    jax.config.update("jax_enable_compilation_cache", True)
    try:
        monkeypatch.setattr(platformdirs, "user_cache_path", none)
        with pytest.warns(SweepWarning, match="not kept.*home"):
            assert enable_compilation_cache() is None
        monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: Path("~/.cache") / name)
        with pytest.warns(SweepWarning, match="not kept.*home"):
            assert enable_compilation_cache() is None
    finally:
        jax.config.update("jax_enable_compilation_cache", False)
    assert not Path("~").exists()


# Figures


def test_results_are_written_where_figures_cannot_be_and_resuming_draws_them(monkeypatch, capsys):
    save = plots.save

    def full(figure, path):
        if "learning" in path.name:
            raise OSError(28, "No space left on device")
        save(figure, path)

    monkeypatch.setattr(plots, "save", full)
    assert cli.main([*SWEEP, "--out", "run"]) == 0
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert "learning-curves" in line
    assert "No space left" in line
    assert "mlp-jax plot run" in line
    assert cli.main(["check", "run"]) == 0
    drawn = {path: path.stat().st_mtime_ns for path in Path("run/figures").iterdir()}
    assert drawn
    monkeypatch.setattr(plots, "save", save)
    assert cli.main(["sweep", "--resume", "run"]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert Path("run/figures/learning-curves.png").exists()
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn


def test_results_are_written_where_nothing_can_be_drawn(monkeypatch, capsys):
    def fails(*_, **__):
        raise RuntimeError("Matplotlib requires access to a writable cache directory")

    monkeypatch.setattr(plots, "run_figures", fails)
    assert cli.main([*SWEEP, "--out", "run"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "figures" in line
    assert "writable cache" in line
    assert (read_run("run").trials["trial"] == [0, 1]).all()


READ_ONLY = """
set -e
mount --make-rprivate /
mount --bind out out
for each in $(awk '{print $2}' /proc/mounts | grep -v '^/proc\\|^/sys\\|^/dev$\\|/out$'); do
    mount -o remount,ro,bind "$each" 2>/dev/null || true
done
exec "$@"
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can mount")
def test_on_a_read_only_machine_results_are_written_where_they_may_be(place):
    (place / "out").mkdir()
    command = [sys.executable, Path(__file__).parent.parent / "mlp_jax_command.py", *SWEEP, "--out", "out/run"]
    done = subprocess.run(["unshare", "-m", "bash", "-c", READ_ONLY, "-", *command], capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"nothing can be mounted: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("mlp-jax: warning: ") for line in done.stderr.splitlines()), done.stderr
    assert (place / "out" / "run" / "manifest.json").exists()
    assert cli.main(["sweep", "--resume", "out/run"]) == 0
    assert (place / "out" / "run" / "figures" / "learning-curves.png").exists()


# Resuming what is finished


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (["--seeds", "8"], "seeds"),
        (["--first-seed", "1"], "first_seed"),
        (["--epochs", "3"], "epochs"),
        (["--hidden-units", "3", "4"], "hidden_units"),
        (["--no-use-bias"], "use_bias"),
        (["--dataset", "mnist"], "dataset"),
    ],
)
def test_an_option_that_a_finished_run_was_not_begun_with_is_refused(option, name, finished, capsys):
    assert cli.main(["sweep", "--resume", str(finished), *option]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name} was " in line


def test_options_that_say_what_was_said_are_no_others(finished, capsys):
    assert cli.main(["sweep", "--resume", str(finished), "--seeds", "2", "--layout", "auto"]) == 0
    assert "nothing to resume" in capsys.readouterr().out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("finished")
    save_dataset(make_dataset(), place / "small.npz")
    arguments = [str(place / "small.npz") if each == "small.npz" else each for each in SWEEP]
    assert cli.main([*arguments, "--out", str(place / "run")]) == 0
    return place / "run"


# What a run and the package say of themselves


def test_a_run_says_when_it_was(finished):
    where = json.loads((finished / "environment.json").read_text())
    started, ended = (datetime.datetime.fromisoformat(where[name]) for name in ("started", "ended"))
    assert started.utcoffset() == ended.utcoffset() == datetime.timedelta(0)
    assert datetime.timedelta(0) <= datetime.datetime.now(datetime.UTC) - ended < datetime.timedelta(hours=1)
    assert started <= ended
    assert cli.main(["report", str(finished)]) == 0
    assert where["started"] in (finished / "report.html").read_text()


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_results_are_printed_in_a_line(task, finished):
    dataset = make_dataset(task)
    result = sweep(Grid((0, 3), seeds=range(3)), dataset, recipe=Recipe(epochs=2))
    model = MLP(dataset.features, 3, dataset.outputs, task=task, rngs=nnx.Rngs(0))
    for each in (result, fit(model, dataset.train, recipe=Recipe(epochs=30)), read_run(finished)):
        assert len(repr(each)) < 200
        assert "\n" not in repr(each)
        assert "array" not in repr(each)
    assert "6 trials on small" in repr(result)


def test_python_m_runs_the_command_line():
    done = subprocess.run([sys.executable, "-m", "mlp_jax", "swep"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean sweep" in done.stderr


def test_documented_modules_and_the_version_are_there_after_import_mlp_jax():
    program = (
        "import sys, mlp_jax; before = 'mlp_jax.runs.verify' in sys.modules; "
        "print(before, mlp_jax.verify.verify.__name__, mlp_jax.timing.time_widths.__name__, mlp_jax.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "verify", "time_widths", importlib.metadata.version("mlp-jax")]
    assert "verify" in dir(mlp_jax)
    with pytest.raises(AttributeError):
        mlp_jax.nothing_of_that_name  # noqa: B018


@pytest.mark.parametrize(("task", "outputs"), [("multiclass", 3), ("binary", 1), ("regression", 2)])
def test_an_exported_function_takes_no_examples_as_well(task, outputs):
    from mlp_jax.adapters.export import stablehlo_bytes

    function = jax.export.deserialize(stablehlo_bytes(MLP(4, 5, outputs, task=task, rngs=nnx.Rngs(0)), inputs="uint8"))
    for examples in (0, 1, 5):
        answers = function.call(np.ones((examples, 4), np.uint8))
        assert {len(values) for values in answers.values()} == {examples}
