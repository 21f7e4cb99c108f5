"""Trials that differ in optimizers, their numbers and depth: tables, answers, figures, commands."""

import json

import numpy as np
import pytest
from conftest import make_dataset, make_run, save_dataset

import mlp_jax
from mlp_jax import DataError, Grid, Recipe, Trial, cli, load_dataset, sweep
from mlp_jax.answers import plots
from mlp_jax.answers.analysis import analyse, analysis_record, best_rates, summarize
from mlp_jax.answers.report import rerun
from mlp_jax.answers.rows import MOST_SETTINGS
from mlp_jax.answers.words import answer, findings, tables
from mlp_jax.runs.directory import grid_of, read_run
from mlp_jax.runs.tables import axes_table, references, shared_parts, trials_table, widths_at, with_variants, without
from mlp_jax.runs.verify import verify


def variants_of(*trials):
    return axes_table(trials)["variant"].tolist()


def trial(hidden_units=8, activation="relu", **axes):
    return Trial(hidden_units, activation, 0.1, 0, **axes)


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(examples=120)


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """Two depths, two optimizers, momentum and decay; read back."""
    path = tmp_path_factory.mktemp("variants")
    save_dataset(dataset, path / "data.npz")
    grid = Grid(
        (4, 8, (4, 4), (8, 8), 0),
        ("relu", "tanh"),
        (0.03, 0.1),
        seeds=2,
        optimizers=("sgd", "nesterov"),
        momenta=(0.0, 0.9),
        weight_decays=(0.0, 0.01),
    )
    return read_run(make_run(load_dataset(path / "data.npz"), str(path / "data.npz"), path / "run", grid, epochs=2))


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([trial(), trial(16)], ["relu", "relu"]),
        ([trial(), trial(activation="tanh")], ["relu", "tanh"]),
        # What all have in common tells nothing apart.
        ([trial(optimizer="sgd", momentum=0.9)] * 2, ["relu", "relu"]),
        (
            [trial(), trial(optimizer="sgd"), trial(optimizer="sgd", momentum=0.9)],
            ["relu, adam", "relu, sgd, momentum 0", "relu, sgd, momentum 0.9"],
        ),
        ([trial(l2=0.1), trial(l2=0.1000001)], ["relu, L2 penalty 0.1", "relu, L2 penalty 0.1000001"]),
    ],
)
def test_a_variant_says_what_differs(trials, expected):
    assert variants_of(*trials) == expected


@pytest.mark.parametrize(
    ("stacks", "expected"),
    [
        ([0, 8, (8, 8)], ["1 layer", "1 layer", "2 layers M-M"]),
        ([(8, 4), (16, 8)], ["2 layers M-0.5M"] * 2),
        ([(8, 4), (16, 4)], ["2 layers M-4"] * 2),
        ([(300, 100), (600, 200)], ["2 layers M-100", "2 layers M-200"]),  # a third is no number to read
        ([0, (8, 8), (8, 8, 8)], ["2 layers M-M", "2 layers M-M", "3 layers M-M-M"]),
        ([0, (8, 3), (9, 5)], ["no hidden layer", "2 layers M-3", "2 layers M-5"]),
    ],
)
def test_depth_is_said_relative_to_the_first_width(stacks, expected):
    assert variants_of(*map(trial, stacks)) == [f"relu, {text}" for text in expected]


def test_variants_tell_any_two_trials_apart_but_for_width_rate_and_seed():
    grid = Grid((0, 4, (4, 2), (8, 4), (4, 2, 2)), ("relu", "tanh"), seeds=2, optimizers=("sgd", "nesterov"),
                momenta=(0, 0.5), l2s=(0, 1e-3))  # fmt: skip
    table = axes_table(grid.trials)
    points = set(
        zip(*(table[name].tolist() for name in ("variant", "hidden_units", "learning_rate", "seed")), strict=True)
    )
    assert len(points) == len(grid.trials)


def test_parts_of_variants():
    assert shared_parts(["relu, adam, l2 0", "relu, sgd, l2 0"]) == "relu, l2 0"
    assert shared_parts(["relu, adam", "tanh, sgd"]) == ""
    assert without("relu, sgd, l2 0", "relu, l2 0") == "sgd"


@pytest.mark.slow
def test_tables_have_a_column_for_every_axis_that_is_not_as_usual(run, dataset):
    assert {"hidden_layers", "optimizer", "momentum", "weight_decay"} <= run.trials.keys()
    assert not {"l2", "label_smoothing"} & run.trials.keys()
    header = (run.path / "trials.csv").read_text().partition("\n")[0]
    assert "hidden_layers,optimizer,momentum,weight_decay" in header
    assert "variant" not in header
    expected = grid_of(run.config).trials
    for i, each in enumerate(expected):
        assert widths_at(run.trials, i) == each.hidden_units
        for name in ("activation", "learning_rate", "seed", "optimizer", "momentum", "weight_decay"):
            assert run.trials[name][i] == getattr(each, name)
    np.testing.assert_array_equal(run.history["variant"], np.repeat(run.trials["variant"], 2))
    plain = trials_table(sweep(Grid((4,), seeds=1), dataset, recipe=Recipe(epochs=1)))
    assert list(plain)[:6] == ["trial", "hidden_units", "activation", "learning_rate", "seed", "variant"]


@pytest.mark.slow
def test_models_come_back_and_the_run_is_sound(run, dataset):
    deep = grid_of(run.config).trials.index(Trial((8, 8), "tanh", 0.1, 1, "nesterov", 0.9, 0.01))
    model = run.model(deep)
    assert (model.hidden_units, model.activation) == ((8, 8), "tanh")
    assert set(model.weights) == {"A", "A2", "B", "c1", "c2", "c3"}
    assert all(each.verdict == "sound" for each in verify(run.path)), verify(run.path)


def test_more_trials_of_one_network_than_are_scored_together_are_sound(tmp_path):
    # More examples than are scored at once, and more than 32 trials: where XLA's sums went wrong.
    data = make_dataset(examples=1100)
    save_dataset(data, tmp_path / "data.npz")
    grid = Grid((0,), learning_rates=np.linspace(0.01, 0.2, 17), seeds=3)
    path = make_run(load_dataset(tmp_path / "data.npz"), str(tmp_path / "data.npz"), tmp_path / "run", grid, epochs=1)
    assert [each.message for each in verify(path) if each.verdict != "sound"] == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("8-8", "8-0", "hidden_units is 0"),
        ("8-8", "9-8", "hidden_layers is 9-8 where hidden_units is 8"),
        ("8-8", "8:8", "expected widths, such as 100-50"),
        ("nesterov", "lyon", "unknown optimizer"),
    ],
)
def test_damaged_columns_are_refused(old, new, message, run, tmp_path):
    for name in ("config.json", "environment.json", "history.csv", "manifest.json"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    (tmp_path / "trials.csv").write_text((run.path / "trials.csv").read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        read_run(tmp_path)


def test_a_run_that_lacks_a_column_that_its_trials_differ_in_is_wrong(run, tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    for each in run.path.iterdir():
        (path / each.name).write_bytes(each.read_bytes())
    rows = [line.split(",") for line in (path / "trials.csv").read_text().splitlines()]
    place = rows[0].index("momentum")
    (path / "trials.csv").write_text("\n".join(",".join(row[:place] + row[place + 1 :]) for row in rows) + "\n")
    said = {each.part: each.message for each in verify(path) if each.verdict == "wrong"}
    assert "has no column momentum" in said["trials.csv"]


def test_statistics_are_of_each_variant(run):
    rows = summarize(run.trials)
    assert len(rows) == len(run.trials["trial"]) / 2
    row = next(each for each in rows if each.hidden_units == 8 and each.variant.startswith("tanh, 2 layers M-M, sgd"))
    assert row.axes["hidden_layers"] == "8-8"
    mask = np.all([run.trials[name] == value for name, value in row.axes.items()], axis=0)
    mask &= run.trials["learning_rate"] == row.learning_rate
    assert row.mean["test_score"] == pytest.approx(run.trials["test_score"][mask].mean())
    assert row.seeds == mask.sum() == 2
    assert {each.variant for each in best_rates(run.trials)} == {each.variant for each in rows}


def test_a_trial_that_diverged_does_not_rename_the_others(run):
    trials = run.trials | {"diverged": (run.trials["optimizer"] == "sgd").astype(int)}
    assert {each.variant for each in summarize(trials)} == set(run.trials["variant"].tolist())


def test_words_and_tables_tell_variants_apart(run):
    analysis = analyse(run.trials, run.history, run.config, outcomes=run.outcomes)
    settings = {each.setting for each in analysis.verdicts}
    assert len(settings) == 2 * 2 * 2 * 2 * 2 * 2
    said = answer(analysis)
    assert "Best of 64 settings on validation" in str(said)
    assert "M is the number of units in the first hidden layer" in str(said)
    sentences = findings(analysis)
    assert sum("learning rate 0." in sentence and sentence.startswith(("relu", "tanh")) for sentence in sentences) <= 12
    assert any("12 best on validation of 64 settings" in sentence for sentence in sentences)
    first = tables(analysis)[0]
    assert first.headings[:3] == ("variant", "learning rate", "M")
    record = analysis_record(analysis)
    assert record["widths"][0]["optimizer"] in ("sgd", "nesterov")
    assert record["widths"][0]["variant"] == analysis.rows[0].variant
    json.dumps(record["saturation"])


def test_what_all_variants_share_is_said_once():
    table = axes_table([trial(m, optimizer=name) for name in ("adam", "sgd") for m in (4, 8)])
    count = len(table["variant"])
    scores = dict.fromkeys(("train_loss", "train_score", "test_loss", "test_score"), np.linspace(0.5, 0.9, count))
    trials = table | scores | {"validation_score": np.linspace(0.5, 0.9, count), "validation_loss": np.ones(count)}
    trials |= {"trial": np.arange(count), "parameters": np.full(count, 7), "diverged": np.zeros(count, int)}
    history = trials | {"epoch": np.ones(count, int), "loss": np.ones(count), "score": np.ones(count)}
    first = tables(analyse(trials, history, {"score_name": "accuracy"}))[0]
    assert [row[0] for row in first.rows] == ["adam", "adam", "sgd", "sgd"]
    assert first.notes[0] == "Common to all variants: relu."


def test_figures_show_the_best_of_many_and_say_so(run):
    words = {}
    for name, figure, _ in plots.run_figures(run.trials, run.history, run.config, outcomes=run.outcomes):
        legends = [legend.get_title().get_text() for legend in figure.legends]
        words[name] = " ".join([*(text.get_text() for text in figure.texts), *legends, figure.get_supxlabel()])
        figure.draw_without_rendering()
        titles = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
        assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
    for name in ("accuracy-against-width", "learning-curves", "scores-against-parameters"):
        assert f"the {MOST_SETTINGS} best on validation of 64 settings" in words[name]
    assert f"the {MOST_SETTINGS} best on validation of 32 variants" in words["rate-by-width"]
    assert "hatched" not in words["rate-by-width"]  # M = 0 has one depth: of the other nothing diverged


def test_the_baseline_of_no_hidden_layer_is_one_for_all_activations_and_depths(run):
    def lines(table=run.trials, **wanted):
        mask = np.all([np.isin(table[name], value) for name, value in wanted.items()], axis=0)
        trials = with_variants({name: values[mask] for name, values in table.items()})
        (axes,) = plots.accuracy_against_width(trials, "accuracy").axes
        return sum(line.get_linestyle() == "-." for line in axes.lines)

    of = {"learning_rate": 0.1, "weight_decay": 0.0, "momentum": 0.9}
    assert lines(**of, optimizer="sgd", activation="relu") == 1  # two depths
    short = with_variants({name: values for name, values in run.trials.items() if name != "hidden_layers"})
    assert lines(short, **of, hidden_units=[0, 4], activation="relu") == 2  # two optimizers


def test_commands_read_such_runs(dataset, tmp_path, capsys):
    save_dataset(dataset, tmp_path / "data.npz")
    data, grid = load_dataset(tmp_path / "data.npz"), Grid((4, (4, 2)), seeds=1, optimizers=("sgd", "adam"))
    path = str(make_run(data, str(tmp_path / "data.npz"), tmp_path / "run", grid, epochs=1))
    assert cli.main(["analyse", path]) == 0
    assert "2 layers M-2, sgd" in capsys.readouterr().out
    assert cli.main(["evaluate", path, "--trial", "all"]) == 0
    assert "4-2" in capsys.readouterr().out
    assert cli.main(["evaluate", path, "--trial", "3"]) == 0
    assert "M = 4-2, sigmoid, 2 layers M-2, adam, learning rate 0.001, seed 0" in capsys.readouterr().out
    assert cli.main(["export", path, "--trial", "3", "--out", str(tmp_path / "model.npz")]) == 0
    assert "A2" in np.load(tmp_path / "model.npz")
    assert cli.main(["report", path]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    for fact in ("<dd>sgd, adam (beta1", "<dd>4, 4-2</dd>", "optimizers=["):
        assert fact in page
    assert cli.main(["check", path]) == 0


def test_how_to_run_it_again_makes_the_same_grid(run):
    code = rerun(run.config)
    assert "hidden_units=[4, 8, (4, 4), (8, 8), 0]" in code
    namespace = {}
    line = next(line for line in code.splitlines() if line.startswith("grid = "))
    exec(line, {"mlp_jax": mlp_jax}, namespace)
    assert namespace["grid"] == grid_of(run.config)


def test_others_figures_are_not_held_against_other_rules_or_depths():
    config = {"dataset": "mnist", "epochs": 20, "batch_size": 128, "use_bias": True, "hidden_units": [10, 100]}
    config |= {"activations": ["sigmoid"], "learning_rates": [1e-3]}
    assert references(config)
    assert references(config | {"optimizers": ["adam", "sgd"]}) == {}
    assert references(config | {"hidden_units": [10, [10, 10]]}) == {}
