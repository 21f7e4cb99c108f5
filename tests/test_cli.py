"""The command line, as a user types it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_dataset, save_dataset
from flax import nnx

from mlp_jax import MLP, InputError, Recipe, cli, fit, load_dataset
from mlp_jax.cli import _training
from mlp_jax.runs.directory import read_config, read_run


@pytest.fixture
def npz(tmp_path, monkeypatch):
    """A small data set in a file; runs are written beside it."""
    monkeypatch.chdir(tmp_path)
    dataset = make_dataset()
    path = tmp_path / "small.npz"
    save_dataset(dataset, path)
    return path


def test_sweep_prints_the_table_and_writes_the_run(npz, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["sweep", "--dataset", str(npz), "--hidden-units", "0", "4", "9", "--seeds", "3", "--epochs", "4"]
    assert cli.main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Training 9 trials together" in printed
    assert "epoch 4/4  mean of 9 trials: running loss " in printed
    assert "Mean ± standard deviation over 3 seeds, of the finished models." in printed
    assert "That rests on validation (3 seeds, 20 examples), at the one learning rate tried, 0.001." in printed
    assert "\x1b" not in printed
    run = read_run(out)
    assert len(run.trials["trial"]) == 9
    assert len(run.history["trial"]) == 36
    mean = 100 * run.trials["test_score"][run.trials["hidden_units"] == 4].mean()
    assert f"{mean:.2f} ±" in printed
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json",
        "environment.json",
        "figures",
        "history.csv",
        "manifest.json",
        "outcomes.npz",
        "parameters.npz",
        "trials.csv",
    ]
    figures = sorted(path.name for path in (out / "figures").iterdir())
    assert figures == [
        "accuracy-against-width.png",
        "confusion-matrix.png",
        "learning-curves.png",
        "scores-against-parameters.png",
    ]

    assert cli.main([*arguments, "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err

    for path in (out / "figures").iterdir():
        path.unlink()
    assert cli.main(["plot", str(out)]) == 0
    assert sorted(path.name for path in (out / "figures").iterdir()) == figures


@pytest.mark.slow
def test_json_is_all_that_goes_to_standard_output(npz, tmp_path, capsys):
    arguments = ["--dataset", str(npz), "--epochs", "2", "--json"]
    assert cli.main(["sweep", "--hidden-units", "3", "5", *arguments, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert [row["hidden_units"] for row in record["summary"]] == [3, 5]
    assert record["summary"][0]["seeds"] == 5
    assert "epoch 2/2" in said.err
    assert cli.main(["train", *arguments]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert set(trained) >= {"test_loss", "test_score"}
    assert trained["diverged"] == 0
    assert cli.main(["train", *arguments, "--learning-rate", "1e30", "--activation", "relu"]) == 0
    lost = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert lost["diverged"] > 0
    assert cli.main(["data", "--dataset", str(npz), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["sizes"] == {"train": 70, "validation": 20, "test": 20}
    assert sum(described["class_counts"]["train"]) == 70


def test_train_shows_each_epoch_and_the_test_scores(npz, capsys):
    assert cli.main(["train", "--dataset", str(npz), "--epochs", "3"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("epoch")] == ["1/3", "2/3", "3/3"]
    assert "│ test " in printed


def test_data_draws_figures_of_images(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 6, 5)).astype(np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "images.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert cli.main(["data", "--dataset", str(tmp_path / "images.npz"), "--out", str(tmp_path / "figures")]) == 0
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["class-balance.png", "digit.png", "examples.png"]
    assert "6 × 5" in capsys.readouterr().out


def test_help_ends_well(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["sweep", "--help"])
    assert not stop.value.code
    assert "--hidden-units" in capsys.readouterr().out


def test_ctrl_c_says_so_and_leaves_nothing(npz, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_training, "sweep", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["sweep", "--dataset", str(npz), "--out", str(tmp_path / "run")]) == 130
    assert "no run was written" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_ctrl_c_while_everything_is_still_imported():
    """The signal comes just when the package is looked for."""
    program = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of some shells it is ignored
import mlp_jax_command

class Interrupting:
    def find_spec(self, name, *_):
        if name == "mlp_jax.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.exit(mlp_jax_command.main())
"""
    done = subprocess.run([sys.executable, "-c", program, "data"], capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("mlp-jax: interrupted: no run was written\n", 130)


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mlp-jax 0.")


def test_too_little_memory_is_one_line(npz, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_training, "sweep", lambda *a, **k: (_ for _ in ()).throw(MemoryError))
    assert cli.main(["sweep", "--dataset", str(npz), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        "mlp-jax: error: that does not fit in memory: ask for fewer or narrower trials\n"
    )
    assert not (tmp_path / "run").exists()


def test_heavy_packages_are_imported_when_used():
    heavy = ("matplotlib", "orbax.checkpoint", "tensorflow_datasets", "tyro", "rich.live", "sklearn", "PIL")
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, mlp_jax; print([m for m in {heavy} if m in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


def test_errors_are_value_errors():
    assert issubclass(InputError, ValueError)


@pytest.mark.slow
def test_a_run_of_another_rule_is_checked_resumed_and_told(npz, tmp_path, capsys):
    """How weights are updated is in the run, and every command that trains or reads it goes by that."""
    out = tmp_path / "run"
    rule = ["--optimizer", "nesterov", "--momentum", "0.9", "--weight-decay", "0.001", "--label-smoothing", "0.1"]
    grid = ["--hidden-units", "0", "4", "--learning-rates", "0.1", "--seeds", "2", "--epochs", "2"]
    assert cli.main(["sweep", "--dataset", str(npz), *grid, *rule, "--out", str(out)]) == 0
    config = read_config(out)
    assert (config["optimizers"], config["momenta"], config["label_smoothings"]) == (["nesterov"], [0.9], [0.1])
    assert "l2s" not in config
    assert cli.main(["check", str(out)]) == 0
    capsys.readouterr()
    assert cli.main(["sweep", "--resume", str(out), "--json"]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out)["run"] == str(out)
    assert "is finished: there is nothing to resume" in again.err
    assert cli.main(["sweep", "--resume", str(out), "--momentum", "0.5"]) == 2
    assert "momentum was 0.9 and is now 0.5" in capsys.readouterr().err
    assert cli.main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    for fact in ("<dt>Optimizer</dt><dd>nesterov</dd>", "<dt>Momentum</dt><dd>0.9</dd>"):
        assert fact in page
    assert "--optimizer nesterov --momentum 0.9 --weight-decay 0.001 --label-smoothing 0.1" in page
    assert cli.main(["time", str(out), "--epochs", "1"]) == 0

    run, dataset = read_run(out), load_dataset(npz)
    start = MLP(dataset.features, 4, dataset.outputs, rngs=nnx.Rngs(1))
    options = {"optimizer": "nesterov", "momentum": 0.9, "weight_decay": 0.001, "label_smoothing": 0.1}
    alone = fit(start, dataset.train, learning_rate=0.1, seed=1, recipe=Recipe(epochs=2), **options).model
    for symbol, array in run.model(3).weights.items():
        np.testing.assert_allclose(array, alone.weights[symbol], rtol=0, atol=2e-4)
