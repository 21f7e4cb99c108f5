"""The data of a run are found from anywhere, or where the user says that they are now; others are refused."""

import json
import shutil

import pytest
from conftest import make_dataset, save_dataset

from mlp_jax import Grid, Recipe, cli
from mlp_jax.runs.directory import read_run, sweep_config, write_json
from mlp_jax.sweeps.sweep import make_setup


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two directories; in the first, which is the current one, data and a run of them, named as typed there."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    save_dataset(make_dataset(), here / "mine.npz")
    sweep = ["sweep", "--dataset", "mine.npz", "--hidden-units", "2", "3", "--seeds", "1", "--epochs", "2"]
    assert cli.main([*sweep, "--out", "run"]) == 0
    return here, there


USES = (["check"], ["evaluate"], ["plot"], ["report"], ["time", "--epochs", "1"])


@pytest.mark.slow
def test_from_another_directory(places, monkeypatch, capsys):
    here, there = places
    config = read_run(here / "run").config
    assert (config["dataset"], config["dataset_path"]) == ("mine.npz", str(here / "mine.npz"))
    monkeypatch.chdir(there)
    save_dataset(make_dataset(seed=1), there / "mine.npz")  # of the same name, and not the run's
    capsys.readouterr()
    for command, *options in USES:
        assert cli.main([command, "../here/run", *options]) == 0, command
        said = capsys.readouterr()
        assert said.err == ""
        assert "not checked" not in said.out
    assert "Next: mlp-jax plot ../here/run" in said.out


def test_moved_together(places, monkeypatch, capsys):
    here, there = places
    for name in ("run", "mine.npz"):
        shutil.move(here / name, there / name)
    monkeypatch.chdir(there)
    capsys.readouterr()
    assert cli.main(["check", "run"]) == 0
    assert "run: sound.\n" in capsys.readouterr().out


def test_moved_elsewhere(places, capsys):
    here, there = places
    shutil.move(here / "mine.npz", there / "moved.npz")
    save_dataset(make_dataset(seed=1), here / "other.npz")
    capsys.readouterr()
    assert cli.main(["check", "run", "--json"]) == 0
    scores = next(each for each in json.loads(capsys.readouterr().out)["findings"] if each["part"] == "scores")
    assert scores["verdict"] == "unchecked"
    assert "--dataset names another place" in scores["message"]
    for command, *options in USES:
        assert cli.main([command, "run", *options, "--dataset", str(there / "moved.npz")]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert "not checked" not in said.out
        assert cli.main([command, "run", *options, "--dataset", "other.npz"]) == (0 if command == "evaluate" else 2)
        said = capsys.readouterr()
        assert ("other.npz is not what run was trained on: its SHA-256 differs" in said.err) == (command != "evaluate")


@pytest.mark.parametrize("moved", [False, True])
def test_a_run_is_resumed_from_another_directory(moved, places, monkeypatch, capsys):
    here, there = places
    begun = here / "begun"
    begun.mkdir()
    setup = make_setup(Grid((2,), seeds=1), make_dataset(), recipe=Recipe(epochs=2))
    write_json(begun / "config.json", sweep_config(setup, "mine.npz"))
    monkeypatch.chdir(there)
    if moved:
        shutil.move(here / "mine.npz", there / "moved.npz")
        assert cli.main(["sweep", "--resume", str(begun)]) == 2
        assert "no such file" in capsys.readouterr().err
    assert cli.main(["sweep", "--resume", str(begun), *(["--dataset", "moved.npz"] if moved else [])]) == 0
    config = read_run(begun).config
    name, place = ("moved.npz", there / "moved.npz") if moved else ("mine.npz", here / "mine.npz")
    assert (config["dataset"], config["dataset_path"]) == (name, str(place))
    assert cli.main(["check", str(begun)]) == 0


@pytest.mark.slow
def test_train_keeps_its_model(places, capsys):
    here, _ = places
    assert cli.main(["train", "--dataset", "mine.npz", "--epochs", "1"]) == 0
    (run,) = (here / "runs").iterdir()
    assert run.name.startswith("train-")
    said = capsys.readouterr().out
    assert f"Written to runs/{run.name}/" in said
    assert f"Next: mlp-jax analyse runs/{run.name}" in said
    assert "Batches of 128 are more than the 70 training examples" in said
    assert cli.main(["evaluate", str(run)]) == 0
