"""Experiments say what they take, and refuse what they do not know, before they do anything; studies end quickly."""

import importlib
import importlib.util
import json
import math
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_dataset

import mlp_jax

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted(path for path in (ROOT / "experiments").glob("*.py") if not path.stem.startswith("_"))
STUDIES = [path for path in EXPERIMENTS if "NAME = " in path.read_text(encoding="utf-8")]


def run(path, *arguments, cwd):
    return subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_help_and_a_mistake(path, tmp_path, monkeypatch, capsys):
    """In this process: a dozen new ones would take half a minute to import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    option = "--quick" if path in STUDIES else "--out" if path.stem == "explore_data" else "--epochs"
    for argument, code, said in (("--help", 0, option), ("--no", 2, "--no")):
        monkeypatch.setattr(sys, "argv", [str(path), argument])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(path), run_name="__main__")
        assert (end.value.code or 0) == code
        printed = capsys.readouterr()
        assert said in (printed.err if code else printed.out)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_experiment_takes_options(tmp_path):
    path = next(each for each in EXPERIMENTS if each.stem == "ten_units")
    done = run(path, "--epochs", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("epoch  1  loss ")
    assert done.stdout.count("epoch") == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_in_short(path, tmp_path, module):
    if path.stem == "double_descent_1d" and not importlib.util.find_spec("mnist1d"):
        pytest.skip("mnist1d, of the extra studies, is not installed")
    done = run(path, "--quick", "--out", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    study = module(path.stem)
    record = json.loads((tmp_path / study.NAME / f"{study.NAME}.json").read_text(encoding="utf-8"))
    assert study.table(record) in done.stdout
    assert record["environment"]["command"].startswith(f"python experiments/{path.name}")
    assert (tmp_path / study.NAME / f"{study.NAME}.png").stat().st_size > 10_000


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_pages_show_the_records_of_studies(path, module):
    study, page = module(path.stem), (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    shown = re.search(f"<!-- {study.NAME} -->\n(.*?)<!-- end -->", page, flags=re.DOTALL)
    assert shown
    record = json.loads((ROOT / "experiments" / "records" / f"{study.NAME}.json").read_text(encoding="utf-8"))
    assert shown[1].strip() == study.table(record), f"python {path} --from-record --page writes it anew"


def test_a_width_that_was_not_published(tmp_path):
    path = next(each for each in STUDIES if each.stem == "double_descent")
    done = run(path, "--widths", "11", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: width 11: expected some of 1, 2, 3")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing(module, monkeypatch):
    study = module("double_descent_1d")
    monkeypatch.setitem(sys.modules, "mnist1d", None)
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(mlp_jax.MissingExtraError, match="studies"):
        study.mnist1d_data()


def test_the_first_images_are_those_of_the_files(module):
    study = module("double_descent")
    dataset = study.first_images()
    assert dataset.train.features.shape == (4000, 784)
    assert dataset.train.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # as the MNIST files begin


def test_the_published_networks_of_label_noise(module):
    study = module("double_descent")
    trials = study.published_grid(study.WIDTHS, 0.2, 3).trials
    assert len(trials) == 105
    assert {(trial.initialization, trial.init_scale) for trial in trials if trial.hidden_units == 1} == {("glorot", 1)}
    assert {(trial.initialization, trial.init_scale) for trial in trials if trial.hidden_units > 1} == {("normal", 0.1)}
    logged = study.published()
    assert {noise: sorted(level["test_accuracy"]) for noise, level in logged.items()} == {
        0: list(study.WIDTHS),
        20: list(study.WIDTHS),
    }
    assert all(len(runs) == 3 for level in logged.values() for runs in level["test_accuracy"].values())
    last_rate = study.RATE / math.sqrt(study.EPOCHS * 32 // study.DECAY)
    text = (ROOT / "experiments" / "published" / "gu2023-mnist.csv").read_text(encoding="utf-8")
    assert text.splitlines()[1].endswith(f",{last_rate}")


def test_peaks_and_standard_errors(module):
    study = module("double_descent")
    assert study.peak((1, 2, 3, 4, 5), [0.9, 0.3, 0.4, 0.35, 0.1]) == 3
    assert study.peak((1, 2, 3), [0.9, 0.3, 0.2]) is None
    errors, chance = study.compared([1.0, 3.0], [0.0, 0.0, 0.0])
    assert errors == pytest.approx(2.0)
    assert chance == pytest.approx(1 - 2 * 0.1475836, abs=1e-4)  # of one degree of freedom: 1 / 2 − atan(2) / π
    assert math.isnan(study.compared([1.0], [0.0, 1.0])[0])
    assert math.isnan(study.compared([1.0, 1.0], [0.5, 0.5])[0])


def test_the_best_rate_is_a_parabolas_vertex(module):
    best_rate = module("rate_transfer").best_rate
    rates = [2.0**power for power in range(-4, 3)]
    losses = [math.exp((power + 0.7) ** 2 / 5) for power in range(-4, 3)]
    assert best_rate(rates, losses) == pytest.approx(-0.7)
    assert best_rate(rates, losses[:4] + [math.nan] * 3) == -1.0  # its neighbour has diverged
    assert best_rate(rates, list(range(1, 8))) == -4.0
    assert math.isnan(best_rate(rates, [math.nan] * 7))


def test_steps_to_a_goal(module):
    study = module("batch_size")
    steps_to = study.steps_to
    assert steps_to(0.1, np.array([0.4, 0.2, 0.1, 0.05]), 100) == 300
    assert 200 < steps_to(0.15, np.array([0.4, 0.2, 0.1, 0.05]), 100) < 300
    assert steps_to(0.5, np.array([0.4, 0.2]), 100) == 100
    assert steps_to(0.01, np.array([0.4, 0.2]), 100) == math.inf
    record = {"steps": [[[10.0, None], [30.0, 30.0], [20.0, 80.0]]]}
    at, steps = study.best(record, 0)  # not the rate at which one seed never arrives
    assert (at, steps.tolist()) == (1, [30.0, 30.0])


def test_spread_of_networks_that_err_independently(module):
    study = module("luck")
    random = np.random.default_rng(0)
    rate = random.uniform(0.5, 1, 2000)
    hits = random.random((400, 2000)) < rate

    class Outcomes:
        def merit(self, split, trials):
            return hits[list(trials)].astype(float)

    class Result:
        trials, outcomes = range(len(hits)), Outcomes()

    found = study.examples(Result())
    deviation, low, high = study.spread(hits.mean(axis=1))
    assert low < found["independent"] < high
    assert deviation == pytest.approx(found["independent"], rel=0.1)
    pairs = np.mean([(hits[i] != hits[i + 1]).mean() for i in range(399)])
    assert found["disagreement"] == pytest.approx(pairs, rel=0.02)
    assert found["sampling"] == pytest.approx((hits.mean() * (1 - hits.mean()) / 2000) ** 0.5)


def test_a_study_goes_on_where_it_was_interrupted(tmp_path, module):
    study = module("_study")
    dataset, grid = make_dataset(), mlp_jax.Grid((3,), ("relu",), (1e-2,), 2)
    recipe = mlp_jax.Recipe(epochs=3, batch_size=16)
    place = tmp_path / "checkpoints" / "some"
    whole, seconds = study.swept(record := {}, "networks", grid, dataset, recipe, place)
    again, more = study.swept(other := {}, "networks", grid, dataset, recipe, place)  # it is finished: only read
    np.testing.assert_array_equal(again.final["test_loss"], whole.final["test_loss"])
    assert more > seconds
    assert other["processor_seconds"] > record["processor_seconds"]
    with pytest.raises(mlp_jax.InputError, match="epochs"):
        study.swept({}, "networks", grid, dataset, mlp_jax.Recipe(epochs=4, batch_size=16), place)
