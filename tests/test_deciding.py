"""Seeds that are added until an answer is decided: fewer are trained, and answers are wrong no more often."""

import json
import re

import numpy as np
import pytest
import simulation
from conftest import make_dataset, save_dataset

from mlp_jax import cli
from mlp_jax.answers.analysis import summarize, verdicts
from mlp_jax.answers.deciding import looks_until, undecided, unsettled
from mlp_jax.runs.directory import read_run
from mlp_jax.runs.verify import verify
from mlp_jax.sweeps.outcomes import Outcomes

LOOKS = (2, 4, 8)


def some(table, rows):
    return {name: values[rows] for name, values in table.items()}


def grown(truth, examples, rng, times=1):
    """A grid of known truth whose widths get seeds until it is decided: its verdict, and its points."""
    everything, curves, outcomes = simulation.draw(truth, LOOKS[-1], examples, rng, times)
    seeds = dict.fromkeys(simulation.WIDTHS[: len(truth)], LOOKS[0])
    taken = 0
    while True:
        taken += 1
        allowed = np.array([seeds[width] for width in everything["hidden_units"].tolist()])
        rows = np.flatnonzero(everything["seed"] < allowed)
        trials, history = some(everything, rows), some(curves, rows)
        trials = trials | {"trial": np.arange(len(rows))}
        hits = {split: values[rows] for split, values in outcomes.hits.items()}
        known = Outcomes(outcomes.sizes, hits, outcomes.guess, outcomes.variance)
        found = undecided(trials, history, known, LOOKS)
        assert found.counts == seeds
        if not found.widths or found.seeds is None:
            (verdict,) = verdicts(trials, history, known, len(LOOKS))
            assert taken <= len(LOOKS)
            return verdict, summarize(trials, known)
        assert found.seeds > max(seeds.values())
        seeds |= dict.fromkeys(found.widths, found.seeds)


@pytest.mark.parametrize(("curve", "examples"), [("flat", 400), ("saturating", 1000)])
def test_stopping_early_misleads_no_more_often(curve, examples):
    rng, grids, truth = np.random.default_rng(5), 40, simulation.CURVES_OF_TRUTH[curve]
    counts = [simulation.judge(truth, *grown(truth, examples, rng, simulation.MUCH)) for _ in range(grids)]
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / grids)
    assert np.mean([each.wrong for each in counts]) <= most
    assert np.mean([each.missed for each in counts]) <= most


def test_what_is_clear_gets_no_more_seeds():
    rng, truth = np.random.default_rng(0), (0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
    verdict, points = grown(truth, 2000, rng)
    assert not unsettled(verdict)
    assert verdict.enough.hidden_units == 200
    assert {point.seeds for point in points} == {LOOKS[0]}


def test_looks_are_few_and_planned():
    assert looks_until(5, 40) == (5, 10, 20, 40)
    assert looks_until(1, 6) == (2, 4, 6)
    assert looks_until(3, 3) == (3,)


def test_more_looks_make_wider_intervals():
    trials, history, outcomes = simulation.draw(simulation.CURVES_OF_TRUTH["rising"], 3, 400, np.random.default_rng(0))
    one, three = (verdicts(trials, history, outcomes, looks)[0].gains for looks in (1, 3))
    for narrow, wide in zip(one, three, strict=True):
        assert wide.interval.low < narrow.interval.low < narrow.interval.high < wide.interval.high
        assert wide.p_value == pytest.approx(min(1.0, 3 * narrow.p_value))


def test_the_command_adds_seeds_and_says_how_many_each_got(tmp_path, monkeypatch, capsys):
    save_dataset(make_dataset(examples=200), tmp_path / "small.npz")
    monkeypatch.chdir(tmp_path)
    asked = ["--hidden-units", "1", "6", "--learning-rates", "0.1", "--epochs", "4", "--seeds", "2"]
    asked += ["--dataset", "small.npz", "--out", "run", "--until-decided", "--most-seeds", "4"]
    assert cli.main(["sweep", *asked]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^(Decided|Not decided with .*)\. Seeds by width: 1: \d, 6: \d\.", said, re.MULTILINE)
    run = read_run(tmp_path / "run")
    assert run.config["looks"] == [2, 4]
    assert {each.verdict for each in verify(tmp_path / "run")} == {"sound"}
    assert (tmp_path / "run" / "figures").is_dir()
    assert cli.main(["analyse", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["looks"] == 2
    assert cli.main(["sweep", "--resume", "run"]) == 0  # there is nothing left to decide
    assert read_run(tmp_path / "run").trials["seed"].tolist() == run.trials["seed"].tolist()
