"""mlp-jax check: a sound run passes, every kind of damage is found and named, and nothing is touched."""

import itertools
import json
import shutil

import numpy as np
import pytest
from conftest import make_dataset, make_run, save_dataset

from mlp_jax import Grid, Recipe, SweepStopped, cli, sweep
from mlp_jax.runs.directory import FILES, MANIFEST, read_run, sweep_config, write_json, write_manifest
from mlp_jax.runs.tables import SCORES
from mlp_jax.runs.verify import verify
from mlp_jax.sweeps.sweep import make_setup

GRID, EPOCHS = Grid((0, 4), ("relu",), (1e-2, 1e30), seeds=2), 3  # the second learning rate diverges where M is 4
EVERY_FILE = (*FILES, MANIFEST)

FOUR = Grid(GRID.values("hidden_units"), GRID.values("activation"), GRID.values("learning_rate"), seeds=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made")
    save_dataset(make_dataset(), path / "small.npz")
    return make_run(make_dataset(), str(path / "small.npz"), path / "run", GRID, EPOCHS, keep_state=True)


@pytest.fixture
def run(made, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture(scope="module")
def stopped(made):
    """A run with states after epochs 1, 2 and 3 of one chunk of two, the other finished."""
    path = made.parent / "stopped"
    path.mkdir()
    dataset, recipe, asked = make_dataset(), Recipe(epochs=5, batch_size=32), itertools.count()
    write_json(
        path / "config.json", sweep_config(make_setup(FOUR, dataset, recipe=recipe), str(made.parent / "small.npz"))
    )
    plans = []
    sweep(FOUR, dataset, recipe=Recipe(epochs=1), on_plan=plans.append)
    with pytest.raises(SweepStopped):
        sweep(
            FOUR,
            dataset,
            recipe=recipe,
            memory=plans[0].need.total(2, 1),
            checkpoints=path / "checkpoints",
            checkpoint_every=1,
            stop=lambda: next(asked) >= 8,
        )
    return path


@pytest.fixture
def unfinished(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "stopped")


def wrong(path):
    """By part, what is wrong."""
    found = {}
    for each in verify(path):
        if each.verdict == "wrong":
            found[each.part] = f"{found[each.part]}; {each.message}" if each.part in found else each.message
    return found


def snapshot(path):
    return {each: (each.stat().st_mtime_ns, each.is_file() and each.read_bytes()) for each in path.rglob("*")}


def alter(path, place=0.5):
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)


def rewrite(path, change):
    """Change the rows of a table, and make the manifest fit."""
    names, *rows = (line.split(",") for line in path.read_text().splitlines())
    rows = change(names, rows)
    path.write_text("\n".join(",".join(row) for row in [names, *rows]) + "\n")
    write_manifest(path.parent)


def scaled(column, row, factor):
    """A change of one value of a table."""

    def change(names, rows):
        place = names.index(column)
        rows[row][place] = str(float(rows[row][place]) * factor)
        return rows

    return change


def rewrite_parameters(path, change):
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **change(arrays))
    write_manifest(path.parent)


# Sound runs


def test_a_sound_run_passes_and_is_not_touched(made, capsys):
    before = snapshot(made)
    assert cli.main(["check", str(made)]) == 0
    said = capsys.readouterr().out
    assert f"{made}: sound." in said
    assert "\x1b" not in said
    for part in ("config.json", "parameters.npz", "8 trials, 24 reports", "that diverged are left out"):
        assert part in said
    assert snapshot(made) == before


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("regression", {"layout": "vmap", "use_bias": False, "dtype": "float64"}),
        ("binary", {"precision": "bfloat16"}),
    ],
)
def test_scores_of_other_kinds_of_run_agree(task, options, tmp_path, request):
    dataset = make_dataset(task)
    save_dataset(dataset, tmp_path / "data.npz")
    with np.load(tmp_path / "data.npz") as stored:
        np.savez(tmp_path / "data.npz", **stored, task=task)
    if options.get("dtype") == "float64":
        request.getfixturevalue("float64")
    run = make_run(dataset, str(tmp_path / "data.npz"), tmp_path / "run", **options)
    assert {each.verdict for each in verify(run)} == {"sound"}
    rewrite(run / "trials.csv", scaled("test_loss", 3, 1.05))
    assert wrong(run)["scores"].startswith("test_loss of trial 3 is ")


def test_json_is_for_scripts(run, capsys):
    assert cli.main(["check", str(run), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["finished"]
    assert record["sound"]
    assert {each["part"] for each in record["findings"]} == {*FILES, "scores"}
    (run / "history.csv").unlink()
    assert cli.main(["check", str(run), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert not record["sound"]
    assert {"part": "history.csv", "verdict": "wrong", "message": "is not there"} in record["findings"]


def test_without_its_data_the_scores_are_not_checked(run, capsys):
    config = json.loads((run / "config.json").read_text())
    write_json(run / "config.json", config | {"dataset": "nowhere.npz", "dataset_path": None})
    write_manifest(run)
    findings = {each.part: each for each in verify(run)}
    assert findings.pop("scores").verdict == "unchecked"
    assert {each.verdict for each in findings.values()} == {"sound"}
    assert cli.main(["check", str(run)]) == 0
    assert "1 not checked" in capsys.readouterr().out


# Damage


def test_a_part_is_listed_once(run, capsys):
    with (run / "trials.csv").open("a") as file:
        file.write("\n" * 2000)
    found = [each for each in verify(run) if each.part == "trials.csv"]
    size = (run / "trials.csv").stat().st_size
    assert [each.verdict for each in found] == ["wrong"]
    assert f"has {size:,} bytes: manifest.json says {size - 2000:,}" in found[0].message


@pytest.mark.parametrize("name", EVERY_FILE)
def test_one_altered_byte_is_found(run, name, capsys):
    alter(run / name)
    assert cli.main(["check", str(run)]) == 1
    capsys.readouterr()
    found = wrong(run)
    assert any(part == name or name in said for part, said in found.items()), found


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_named(run, name):
    (run / name).unlink()
    assert "is not there" in wrong(run)[name]


def test_a_cut_file_is_named(run):
    path = run / "parameters.npz"
    path.write_bytes(path.read_bytes()[:-100])
    assert any(each.part == path.name and "bytes: manifest.json says" in each.message for each in verify(run))


@pytest.mark.parametrize(("name", "rows"), [("trials.csv", 8), ("history.csv", 24)])
def test_a_row_removed_is_found_though_the_manifest_fits(run, name, rows):
    rewrite(run / name, lambda _, there: there[:-1])
    assert f"has {rows - 1} rows: config.json asks for {rows}" in wrong(run)[name]


@pytest.mark.parametrize("column", SCORES)
def test_an_altered_score_is_found_though_the_manifest_fits(run, column):
    rewrite(run / "trials.csv", scaled(column, 0, 1 + 1e-6))
    assert not wrong(run)  # rounding
    rewrite(run / "trials.csv", scaled(column, 0, 0.5 if column.endswith("score") else 1.001))
    found = wrong(run)
    assert found["scores"].startswith(f"{column} of trial 0 is ")
    assert set(found) <= {"scores", "history.csv", "outcomes.npz"}


def test_an_altered_curve_is_found_though_the_manifest_fits(run):
    rewrite(run / "history.csv", scaled("validation_loss", 2, 1.01))
    assert "trial 0 ends at" in wrong(run)["history.csv"]


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [("trials.csv", "seed", "7"), ("trials.csv", "parameters", "1"), ("history.csv", "epoch", "9")],
)
def test_another_point_is_found_though_the_manifest_fits(run, name, column, value):
    def change(names, rows):
        rows[1][names.index(column)] = value
        return rows

    rewrite(run / name, change)
    assert wrong(run)[name].startswith(f"{column} in row 2 is {value}: expected ")


@pytest.mark.parametrize(
    ("change", "part", "message"),
    [
        # Trials 0 and 1 have the same shape; 0 and 4 have not.
        (lambda a: a | {"0/A": a["1/A"], "1/A": a["0/A"]}, "scores", "of trial 0 is"),
        (
            lambda a: a | {"0/A": a["4/A"]},
            "parameters.npz",
            "A of trial 0 is float32 (12, 4): expected float32 (12, 3)",
        ),
        (lambda a: a | {"0/A": a["0/A"].astype(np.float64)}, "parameters.npz", "expected float32"),
        (lambda a: a | {"1/c1": a["1/c1"] * np.nan}, "parameters.npz", "c1 of trial 1 is not finite"),
        (lambda a: {k: v for k, v in a.items() if k != "4/B"}, "parameters.npz", "does not hold '4/B'"),
        (lambda a: a | {"8/A": a["0/A"]}, "parameters.npz", "holds '8/A'"),
    ],
)
def test_other_parameters_are_found_though_the_manifest_fits(run, change, part, message):
    rewrite_parameters(run / "parameters.npz", change)
    assert message in wrong(run)[part]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a | {"test": a["test"] ^ np.uint8(128)}, "on test: trials.csv says"),
        (lambda a: a | {"validation": a["validation"][:-1]}, "expected uint8 (8, 3)"),
        (lambda a: a | {"test_guess": ~a["test_guess"]}, "its trivial guess of test is not that of the data"),
        (lambda a: {k: v for k, v in a.items() if k != "test_variance"}, "test_variance is not there"),
    ],
)
def test_other_outcomes_are_found_though_the_manifest_fits(run, change, message):
    rewrite_parameters(run / "outcomes.npz", change)
    assert message in wrong(run)["outcomes.npz"]


def test_a_run_of_an_earlier_version_has_no_outcomes(run):
    (run / "outcomes.npz").unlink()
    assert "outcomes.npz" in wrong(run)  # the manifest lists it
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["files"]["outcomes.npz"]
    write_json(run / "manifest.json", manifest)
    assert not wrong(run)
    assert not read_run(run).outcomes.known


@pytest.mark.parametrize(
    ("change", "part", "message"),
    [
        ({"epochs": 4}, "history.csv", "has 24 rows: config.json asks for 32"),
        ({"seeds": [0, 0]}, "config.json", "seeds holds 0 2 times"),
        ({"task": "binary"}, "config.json", "the data are for multiclass"),
        ({"dtype": "float64"}, "parameters.npz", "expected float64"),
        ({"use_bias": False}, "parameters.npz", "holds '0/c1'"),
    ],
)
def test_another_configuration_is_found_though_the_manifest_fits(run, change, part, message):
    write_json(run / "config.json", json.loads((run / "config.json").read_text()) | change)
    write_manifest(run)
    assert message in wrong(run)[part]


# Unfinished runs


def test_states_of_an_unfinished_run_are_read_and_not_touched(stopped, capsys):
    before = snapshot(stopped)
    assert cli.main(["check", str(stopped)]) == 0
    said = capsys.readouterr().out
    assert "2 of 4 replicas" in said
    assert "epoch 2 of 5, replicas 2 to 3 of 4" in said
    assert "resuming continues from checkpoints/states/" in said
    assert said.count("epoch 3") == 2
    assert snapshot(stopped) == before


def test_a_damaged_state_is_named_and_the_one_before_it_gone_on_from(unfinished):
    newest = max((unfinished / "checkpoints" / "states").glob("[0-9]*"), key=lambda path: int(path.name))
    for path in newest.rglob("*"):
        if path.is_file():
            alter(path)
    findings = verify(unfinished)
    assert [each.part for each in findings if each.verdict == "wrong"] == [f"checkpoints/states/{newest.name}"]
    assert findings[-1].message == f"resuming continues from checkpoints/states/{int(newest.name) - 1}, epoch 2"


def test_damaged_finished_replicas_are_named(unfinished):
    alter(next((unfinished / "checkpoints" / "finished").iterdir()))
    assert "000000000-000000001.npz: damaged" in wrong(unfinished)["checkpoints/finished"]


def test_checkpoints_of_another_sweep_are_named(unfinished):
    config = json.loads((unfinished / "config.json").read_text())
    write_json(unfinished / "config.json", config | {"batch_size": 16})
    assert "batch_size was 32 and is now 16" in wrong(unfinished)["checkpoints/sweep.json"]
    (unfinished / "checkpoints" / "sweep.json").unlink()
    assert "is not there" in wrong(unfinished)["checkpoints/sweep.json"]


def test_states_without_their_data_are_not_checked_whole(unfinished):
    config = json.loads((unfinished / "config.json").read_text())
    write_json(unfinished / "config.json", config | {"dataset": "nowhere.npz", "dataset_path": None})
    states = [each for each in verify(unfinished) if "/states/" in each.part]
    assert [each.verdict for each in states] == ["unchecked"] * 3
    assert "epoch 3 of 5" in states[0].message


def test_a_run_of_which_nothing_is_saved_is_sound(unfinished):
    shutil.rmtree(unfinished / "checkpoints")
    assert [each.verdict for each in verify(unfinished)] == ["sound", "sound"]


@pytest.mark.parametrize(("name", "message"), [("nowhere", "is no directory"), (".", "holds no file of a run")])
def test_what_is_no_run_is_a_mistake(tmp_path, name, message, capsys):
    assert cli.main(["check", str(tmp_path / name)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not said.out
