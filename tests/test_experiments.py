"""Experiments say what they take, and refuse what they do not know, before they do anything."""

import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = sorted((Path(__file__).parent.parent / "experiments").glob("*.py"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_help_and_a_mistake(path, tmp_path):
    for argument, code, said in (
        ("--help", 0, "--out" if path.stem == "explore_data" else "--epochs"),
        ("--no", 2, "--no"),
    ):
        done = subprocess.run([sys.executable, path, argument], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert said in (done.stderr if code else done.stdout)
        assert list(tmp_path.iterdir()) == []


def test_an_experiment_takes_options(tmp_path):
    path = next(each for each in EXPERIMENTS if each.stem == "ten_units")
    done = subprocess.run([sys.executable, path, "--epochs", "1"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("epoch  1  loss ")
    assert done.stdout.count("epoch") == 1
