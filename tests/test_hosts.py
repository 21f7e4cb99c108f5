"""Sweeps of several processes: real ones, with two simulated devices each, that talk over loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import make_dataset

from mlp_jax import Grid, InputError, Recipe, load_dataset, sweep
from mlp_jax.cli import main
from mlp_jax.machine import distributed
from mlp_jax.runs.directory import read_run

EPOCHS, SEEDS = 80, 7
DEADLINE = 60  # seconds in which each of these processes has to get on, on a machine that does other things too


@pytest.fixture
def data(tmp_path) -> Path:
    arrays = {}
    for split, values in make_dataset(examples=200).splits.items():
        arrays |= {f"x_{split}": values.features.astype(np.float32), f"y_{split}": values.targets}
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


@contextlib.contextmanager
def processes(count: int, *arguments: object, devices: int = 2):
    """Start ``mlp-jax sweep --distributed`` so many times; what is still there at the end is killed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()} | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # as conftest.py has it, for the same bits
    }
    # Arrays are told in pieces of a few rows, as large ones are.
    program = "import sys; from mlp_jax import cli; from mlp_jax.machine import distributed; "
    program += "distributed.GATHERED_BYTES = 256; sys.exit(cli.main())"
    command = [sys.executable, "-c", program, "sweep", "--no-cache"]
    command += ["--distributed", "--coordinator", f"127.0.0.1:{port}", "--process-count", str(count)]
    started = [
        subprocess.Popen(
            [*command, "--process-id", str(i), *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def options(data: Path) -> list[object]:
    return ["--dataset", data, "--hidden-units", 0, 4, "--seeds", SEEDS, "--epochs", EPOCHS, "--batch-size", 32]


def wait_for_a_state(run: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + DEADLINE
    while not any(path.name.isdecimal() for path in run.glob("checkpoints/states/*")):
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


@pytest.mark.slow
def test_the_process_that_leads_dies(data, tmp_path):
    """JAX itself may end the other one, at length; how to go on has been said by then."""
    run = tmp_path / "run"
    with processes(2, *options(data), "--checkpoint-every", 5, "--out", run) as (first, second):
        wait_for_a_state(run, first)
        first.send_signal(signal.SIGKILL)
        _, errors = second.communicate(timeout=DEADLINE)
        assert second.returncode in (1, -signal.SIGABRT)
        again = f"to continue, start them all with: mlp-jax sweep --resume {run}"
        assert f"mlp-jax: process 1 of 2: if any process ends, they all end; {again}" in errors.splitlines()
    assert not (run / "manifest.json").exists()


def test_one_of_two_processes_dies_and_two_or_one_go_on(data, tmp_path, capsys):
    """The parameters are, to the bit, those of one process with one device that was never interrupted."""
    run = tmp_path / "run"
    with processes(2, *options(data), "--checkpoint-every", 5, "--out", run) as (first, second):
        wait_for_a_state(run, first)
        second.send_signal(signal.SIGKILL)
        out, errors = first.communicate(timeout=DEADLINE)
        assert first.returncode == 1
        assert errors.splitlines()[-1] == (
            "mlp-jax: another process has ended, so this one ends; to continue, start them all with: "
            f"mlp-jax sweep --resume {run}"
        )
        assert "Traceback" not in errors
        assert "epoch 5/80" in out
        assert second.communicate()[0] == ""
    assert not (run / "manifest.json").exists()
    again = tmp_path / "again"
    shutil.copytree(run, again)

    with processes(2, "--resume", run, "--json") as started:
        said = [process.communicate(timeout=DEADLINE) for process in started]
        assert [process.returncode for process in started] == [0, 0], said
        assert said[0][0].startswith("{")
        assert said[0][0].endswith("}\n")
        assert said[1][0] == ""
    assert main(["sweep", "--resume", str(again), "--no-cache"]) == 0
    assert "epoch 5/80" not in capsys.readouterr().out

    expected = sweep(
        Grid((0, 4), ("sigmoid",), (1e-3,), SEEDS), load_dataset(str(data)), recipe=Recipe(EPOCHS, 32), devices=None
    )
    for directory in (run, again):
        assert not (directory / "checkpoints").exists()
        table = read_run(directory).trials
        with np.load(directory / "parameters.npz") as parameters:
            for i in range(len(expected.trials)):
                for symbol, array in expected.weights(i).items():
                    np.testing.assert_array_equal(parameters[f"{i}/{symbol}"], array)
        for name, scores in expected.final.items():
            np.testing.assert_allclose(table[name], scores, rtol=1e-6)


@pytest.mark.slow
def test_two_processes_add_seeds_until_it_is_decided(data, tmp_path, capsys):
    asked = ["--dataset", data, "--hidden-units", 1, 3, "--learning-rates", 0.1, "--epochs", 4, "--batch-size", 32]
    asked += ["--seeds", 2, "--until-decided", "--most-seeds", 8]
    run, alone = tmp_path / "run", tmp_path / "alone"
    with processes(2, *asked, "--out", run) as started:
        said = [process.communicate(timeout=4 * DEADLINE) for process in started]
        assert [process.returncode for process in started] == [0, 0], said
    assert "Seeds by width" in said[0][0]
    assert said[1][0] == ""
    with processes(2, "--resume", run) as started:  # there is nothing left to decide
        again = [process.communicate(timeout=DEADLINE) for process in started]
        assert [process.returncode for process in started] == [0, 0], again
    assert main(["sweep", *map(str, asked), "--out", str(alone), "--no-cache"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said[0][0].splitlines()[-1]
    ours, theirs = read_run(run).trials, read_run(alone).trials
    assert ours["seed"].tolist() == theirs["seed"].tolist()
    assert len(ours["seed"]) > 4
    np.testing.assert_allclose(ours["test_loss"], theirs["test_loss"], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["--coordinator", "10.0.0.1"], "coordinator is '10.0.0.1': expected HOST:PORT"),
        (["--coordinator", "host:port"], "expected HOST:PORT"),
        (["--coordinator", "10.0.0.1:7654", "--process-count", "0"], "process count is 0: expected 1 or more"),
        (["--coordinator", "10.0.0.1:7654", "--process-count", "2", "--process-id", "2"], "id is 2: expected 0 to 1"),
    ],
)
def test_mistakes(arguments, wrong, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["sweep", "--distributed", "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mlp-jax: error: ")
    assert error.count("\n") == 1
    assert wrong in error
    assert not out.exists()


def test_distributed_says_where_to_and_with_whom(capsys):
    assert main(["sweep", "--distributed"]) == 2
    assert "expected --out" in capsys.readouterr().err
    assert main(["sweep", "--process-id", "0"]) == 2
    assert "expected --distributed" in capsys.readouterr().err


def test_nobody_at_the_coordinator(monkeypatch):
    monkeypatch.setattr(distributed, "TIME_TO_JOIN", 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match="cannot be reached"):
        distributed.join(f"127.0.0.1:{port}", 2, 1)


def test_one_process_agrees_with_itself():
    assert distributed.leads()
    assert not distributed.several()
    assert distributed.neighbours() == 1
    assert distributed.from_all([3, 2**40]).tolist() == [[3, 2**40]]
    distributed.end_alone(3)  # as there are no others, the caller goes on
