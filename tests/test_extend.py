"""mlp-jax sweep --extend and mlp_jax.runs.extend: a run that grew holds what one sweep of everything holds."""

import json
import re
import shutil
import zipfile

import numpy as np
import pytest
from conftest import make_dataset, make_run, save_dataset

from mlp_jax import Dataset, Grid, InputError, Recipe, SweepStopped, SweepWarning, Trial, cli, runs
from mlp_jax.answers.report import rerun
from mlp_jax.cli._signals import Stop
from mlp_jax.runs import running
from mlp_jax.runs.directory import read_run, write_json, write_manifest
from mlp_jax.runs.verify import verify

AXES = ((0, 4), ("relu",), (1e-2,))
TWO, FOUR = Grid(*AXES, seeds=2), Grid(*AXES, seeds=4)
RECIPE = Recipe(epochs=3, batch_size=32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs of two and of four seeds, and their data."""
    place = tmp_path_factory.mktemp("made")
    save_dataset(make_dataset(), place / "small.npz")
    for name, grid in (("two", TWO), ("four", FOUR)):
        make_run(make_dataset(), str(place / "small.npz"), place / name, grid)
    return place


@pytest.fixture
def two(made, tmp_path):
    """A copy, to be extended in place or damaged."""
    return shutil.copytree(made / "two", tmp_path / "two")


def content(path):
    """Of every array, by the trial's point and symbol, the bytes of its file; and the rows of the tables."""
    run = read_run(path)
    trials = [Grid.from_axes(run.config).trials[i] for i in run.trials["trial"].tolist()]
    with zipfile.ZipFile(path / "parameters.npz") as archive:
        arrays = {
            (trials[int(name.split("/")[0])], name.split("/")[1]): archive.read(name) for name in archive.namelist()
        }
    rows = {}
    for table in ("trials.csv", "history.csv"):
        for line in (path / table).read_text().splitlines()[1:]:
            number, rest = line.split(",", 1)
            rows.setdefault((trials[int(number)], table), []).append(rest)
    return arrays, rows


def snapshot(path):
    return {each.relative_to(path): each.is_file() and each.read_bytes() for each in path.rglob("*")}


def assert_sound(path):
    found = {each.part: (each.verdict, each.message) for each in verify(path)}
    assert {verdict for verdict, _ in found.values()} == {"sound"}, found


def assert_taken_over(before, after):
    """What a run had, a run that grew has, to the byte."""
    for old, new in zip(before, after, strict=True):
        assert old.items() <= new.items()


def test_more_seeds_make_the_run_that_has_them_all(made, tmp_path):
    run = runs.extend(made / "two", FOUR, make_dataset(), tmp_path / "grown")
    assert run.config == read_run(made / "four").config
    whole = read_run(made / "four")
    for name in ("trial", "hidden_units", "seed", "parameters", "diverged"):
        np.testing.assert_array_equal(run.trials[name], whole.trials[name])
    for table, other in ((run.trials, whole.trials), (run.history, whole.history)):
        assert list(table) == list(other)
        for name in table.keys() - {"activation", "variant"}:
            np.testing.assert_allclose(table[name], other[name], rtol=1e-5, err_msg=name)
    for split, hits in run.outcomes.hits.items():
        np.testing.assert_array_equal(hits, whole.outcomes.hits[split])
    names = [zipfile.ZipFile(path / "parameters.npz").namelist() for path in (tmp_path / "grown", made / "four")]
    assert names[0] == names[1]
    with np.load(tmp_path / "grown" / "parameters.npz") as ours, np.load(made / "four" / "parameters.npz") as theirs:
        for name in names[0]:
            np.testing.assert_allclose(ours[name[:-4]], theirs[name[:-4]], rtol=1e-5, atol=1e-6, err_msg=name)
    assert_taken_over(content(made / "two"), content(tmp_path / "grown"))
    assert_sound(tmp_path / "grown")
    assert run.environment["taken_over"]["trials"] == 4
    assert run.environment["taken_over"]["environment"] == read_run(made / "two").environment


@pytest.mark.slow
def test_the_command_extends_with_figures_and_answers(made, tmp_path, capsys):
    out = tmp_path / "grown"
    asked = ["--hidden-units", "4", "8", "--seeds", "3", "--out", str(out)]
    assert cli.main(["sweep", "--extend", str(made / "two"), *asked]) == 0
    said = capsys.readouterr().out
    assert "4 trials are taken over, 4 are trained" in said
    grid = Grid.from_axes(json.loads((out / "config.json").read_text()))
    by_width = {
        width: {t.seed for t in grid.trials if t.hidden_units == width} for width in grid.values("hidden_units")
    }
    assert by_width == {0: {0, 1}, 4: {0, 1, 2}, 8: {0, 1, 2}}
    assert list(by_width) == [0, 4, 8]
    assert "over 2 to 3 seeds" in said
    header = next(line for line in said.splitlines() if "parameters" in line)
    assert "seeds" in header
    assert (out / "figures" / "accuracy-against-width.png").is_file()
    assert_taken_over(content(made / "two"), content(out))
    assert_sound(out)
    namespace = {}
    exec(rerun(read_run(out).config).split("result =")[0], namespace)  # what the report says is run again
    assert namespace["grid"].trials == grid.trials
    assert cli.main(["analyse", str(out)]) == 0
    capsys.readouterr()
    # And it grows once more: what is not a product grows product by product.
    assert cli.main(["sweep", "--extend", str(out), "--in-place", "--learning-rates", "0.1", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {(row["hidden_units"], row["seeds"]) for row in record["summary"]} == {(0, 2), (4, 3), (8, 3)}
    assert len(read_run(out).trials["trial"]) == 16
    assert_sound(out)


@pytest.mark.slow
def test_other_epochs_and_batches_are_other_trials(made, tmp_path, capsys):
    out = tmp_path / "grown"
    arguments = ["--epochs", "3", "5", "--batch-size", "32", "16", "--hidden-units", "0", "--out", str(out)]
    assert cli.main(["sweep", "--extend", str(made / "two"), *arguments]) == 0
    said = capsys.readouterr().out
    assert "2 of them, of 5 epochs, from the beginning, as no state was kept to go on from (--keep-state)" in said
    run = read_run(out)
    found = {
        (m, int(epochs), int(batch))
        for m, epochs, batch in zip(*(run.trials[n] for n in ("hidden_units", "epochs", "batch_size")), strict=True)
    }
    assert found == {(4, 3, 32), (0, 3, 32), (0, 3, 16), (0, 5, 32), (0, 5, 16)}
    assert run.config["epochs"] == 5
    assert_sound(out)
    before, after = content(made / "two")[0], content(out)[0]
    for (trial, symbol), array in before.items():
        assert after[trial._replace(epochs=3, batch_size=32), symbol] == array


@pytest.mark.parametrize("task", ["regression", pytest.param("binary", marks=pytest.mark.slow)])
def test_other_tasks_grow_by_a_width_in_place(task, tmp_path):
    dataset = make_dataset(task, outputs=1)
    run = make_run(dataset, "elsewhere.npz", tmp_path / "run", Grid((2, (3, 2)), ("tanh",), (1e-2,), seeds=[5]))
    before = content(run)
    grown = runs.extend(run, Grid((1, 2), ("tanh",), (1e-2,), seeds=[5]), dataset, run)
    assert grown.path == run
    assert grown.trials["hidden_units"].tolist() == [2, 3, 1]
    after = content(run)
    assert {(trial, symbol) for trial, symbol in after[0] if trial.hidden_units == (3, 2)}
    assert before[0].items() <= after[0].items()
    assert {each.verdict for each in verify(run) if each.part != "scores"} == {"sound"}


def test_a_trial_that_diverged_stays_as_it_was(tmp_path):
    dataset = make_dataset()
    grid = Grid((4,), ("relu",), (1e30,), seeds=2)
    run = make_run(dataset, "elsewhere.npz", tmp_path / "run", grid)
    runs.extend(run, Grid((4,), ("relu",), (1e-2,), seeds=1), dataset, tmp_path / "out")
    grown = read_run(tmp_path / "out")
    assert (grown.trials["diverged"] > 0).tolist() == [False, True, True]
    assert_taken_over(content(run), content(tmp_path / "out"))


# Going on from a state that was kept

SHAPES = {
    "adam": Grid((0, 4, (3, 2)), ("relu",), (1e-2, 3e-2), seeds=2),
    "rules": Grid((3,), ("tanh",), (1e-2,), 2, dropouts=(0, 0.5), clips=(0, 0.1), l2s=(1e-3,), warmup_steps=(4,)),
    "optimizers": Grid(
        (3, 5), ("relu",), (1e-2,), seeds=1, optimizers=("nesterov", "lion", "adamw"), schedules=("rsqrt",)
    ),
    "momentum": Grid((3,), ("relu",), (1e-2,), seeds=2, optimizers=("sgd",), momenta=(0.0, 0.9), batch_sizes=(16, 32)),
    "noise": Grid((4,), ("relu",), (1e-2, 1e30), seeds=2, label_noises=(0.2,), init_scales=(0.5,)),
}


def longer(grid):
    """The grid as its trials are told apart by their epochs."""
    return grid.changed(lambda _: {"budgets": (5,)})


def assert_goes_on(grid, dataset, tmp_path, **options):
    """Trained for 3 epochs and for 2 more: to the bit what 5 epochs are."""
    base = make_run(dataset, "elsewhere.npz", tmp_path / "base", grid, epochs=3, keep_state=True, **options)
    more = runs.extend(base, grid, dataset, tmp_path / "more", recipe=Recipe(epochs=5, batch_size=32))
    whole = make_run(dataset, "elsewhere.npz", tmp_path / "whole", longer(grid), epochs=5, keep_state=True, **options)
    by_trial = [content(path) for path in (more.path, whole)]
    batch = {trial: trial._replace(batch_size=0) for trial in grid.trials if not trial.batch_size}
    for ours, theirs in zip(*by_trial, strict=True):
        mine = {(trial, name): value for (trial, name), value in ours.items() if trial.epochs == 5}
        assert {name for _, name in mine} == {name for _, name in theirs}
        assert mine == {(trial, name): value for (trial, name), value in theirs.items()}, batch
    ours, theirs = more.outcomes, read_run(whole).outcomes
    rows = [Grid.from_axes(more.config).trials.index(trial) for trial in longer(grid).trials]
    for split, hits in theirs.hits.items():
        np.testing.assert_array_equal(ours.hits[split][rows], hits)
    with np.load(more.path / "state.npz") as mine, np.load(whole / "state.npz") as there:
        for name in there.files:
            number, _, rest = name.partition("/")
            np.testing.assert_array_equal(mine[f"{rows[int(number)]}/{rest}"], there[name], err_msg=name)
    assert {each.verdict for each in verify(more.path) if each.part != "scores"} == {"sound"}
    return more.path


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "adam" else [pytest.mark.slow]) for name in SHAPES],
)
def test_more_epochs_go_on_from_the_state_that_was_kept(name, tmp_path):
    assert_goes_on(SHAPES[name], make_dataset(), tmp_path)


@pytest.mark.parametrize("layout", [pytest.param("packed", marks=pytest.mark.slow), "vmap"])
def test_values_of_one_feature_go_on_in_any_layout(layout, tmp_path):
    x = np.linspace(0, 1, 27)[:, None]
    y = np.sin(5 * x)
    rows = [slice(0, 9), slice(9, 18), slice(18, 27)]
    dataset = Dataset.from_arrays(
        x[rows[0]], y[rows[0]], x[rows[1]], y[rows[1]], x_validation=x[rows[2]], y_validation=y[rows[2]],
        task="regression",
    )  # fmt: skip
    assert_goes_on(Grid((1, 3), ("tanh",), (1e-2,), seeds=[4]), dataset, tmp_path, layout=layout)


@pytest.mark.slow
def test_a_run_that_went_on_goes_on_again_with_more_seeds(tmp_path):
    dataset, grid = make_dataset(), Grid((0, 4), ("relu",), (1e-2,), seeds=2)
    path = make_run(dataset, "elsewhere.npz", tmp_path / "run", grid, epochs=2, keep_state=True)
    runs.extend(path, grid, dataset, path, recipe=Recipe(epochs=4, batch_size=32))
    more = Grid(*AXES, seeds=3)
    asked = []
    runs.extend(path, more, dataset, path, recipe=Recipe(epochs=6, batch_size=32), on_epoch=asked.append)
    # Only 2 epochs of 4 trials are trained, and 6 of 2.
    run = read_run(path)
    assert sorted({(int(e), int(s)) for e, s in zip(run.trials["epochs"], run.trials["seed"], strict=True)}) == [
        *((e, s) for e in (2, 4) for s in (0, 1)),
        *((6, s) for s in (0, 1, 2)),
    ]
    seen = [each.epoch for each in asked]
    assert seen == [1, 2, 3, 4, 5, 6, 5, 6]
    whole = make_run(dataset, "elsewhere.npz", tmp_path / "whole", more, epochs=6)
    rows = run.trials["epochs"] == 6
    for name in ("test_loss", "validation_loss", "train_loss"):
        np.testing.assert_allclose(run.trials[name][rows], read_run(whole).trials[name], rtol=1e-5)
    assert {each.verdict for each in verify(path) if each.part != "scores"} == {"sound"}


def test_what_depends_on_the_number_of_epochs_is_trained_anew_and_it_says_so(made, tmp_path, capsys):
    data = ["--dataset", str(made / "small.npz"), "--batch-size", "32", "--hidden-units", "3", "--seeds", "1"]
    out = tmp_path / "base"
    asked = ["--schedule", "cosine", "--keep-state", "--epochs", "2", "--out", str(out)]
    assert cli.main(["sweep", *data, *asked]) == 0
    assert "state.npz, to go on from with --extend and more --epochs: 0.0 MiB" in capsys.readouterr().out
    assert_sound(out)
    more = tmp_path / "more"
    assert cli.main(["sweep", "--extend", str(out), "--epochs", "4", "--out", str(more)]) == 0
    said = capsys.readouterr().out
    assert "1 of them, of 4 epochs, from the beginning, as the schedule cosine depends on the number of epochs" in said
    whole = tmp_path / "whole"
    assert cli.main(["sweep", *data, "--schedule", "cosine", "--epochs", "4", "--out", str(whole)]) == 0
    capsys.readouterr()
    rows = read_run(more).trials["epochs"] == 4
    assert read_run(more).trials["test_loss"][rows].tolist() == read_run(whole).trials["test_loss"].tolist()
    assert "--keep-state" in rerun(read_run(out).config)


@pytest.mark.slow
def test_a_run_begins_to_keep_states_where_it_is_extended(made, two, tmp_path, capsys):
    assert cli.main(["sweep", "--extend", str(two), "--in-place", "--seeds", "3", "--keep-state"]) == 0
    assert_sound(two)
    capsys.readouterr()
    assert (
        cli.main(["sweep", "--extend", str(two), "--seeds", "3", "--epochs", "5", "--out", str(tmp_path / "out")]) == 0
    )
    said = capsys.readouterr().out
    assert "2 of them, of 5 epochs, going on from epoch 3" in said
    assert "4 of them, of 5 epochs, from the beginning, as no state was kept" in said
    assert_sound(tmp_path / "out")


@pytest.mark.slow
def test_going_on_is_interrupted_and_goes_on(made, tmp_path):
    dataset, grid = make_dataset(), SHAPES["adam"]
    base = make_run(dataset, str(made / "small.npz"), tmp_path / "base", grid, keep_state=True)
    whole = runs.extend(base, grid, dataset, tmp_path / "whole", recipe=Recipe(epochs=6, batch_size=32))
    asked = iter((False, True))
    again = {"recipe": Recipe(epochs=6, batch_size=32), "checkpoint_every": 1}
    with pytest.raises(SweepStopped):
        runs.extend(base, grid, dataset, tmp_path / "out", **again, stop=lambda: next(asked))
    found = {each.part: each for each in verify(tmp_path / "out")}
    assert {each.verdict for each in found.values()} == {"sound"}
    assert "epoch 4 of 6" in found["checkpoints"].message + found["checkpoints/states/0"].message
    assert cli.main(["sweep", "--resume", str(tmp_path / "out")]) == 0
    assert content(tmp_path / "out") == content(whole.path)
    assert not (tmp_path / "out" / "extension").exists()


def test_a_kept_state_that_is_damaged_is_refused(tmp_path):
    dataset, grid = make_dataset(), Grid(*AXES, seeds=1)
    base = make_run(dataset, "elsewhere.npz", tmp_path / "base", grid, keep_state=True)
    path, recipe = base / "state.npz", Recipe(epochs=5, batch_size=32)
    with np.load(path) as arrays:
        kept = dict(arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30] + b"x" + whole[-29:])
    with pytest.raises(InputError, match=r"state\.npz .*SHA-256"):
        runs.extend(base, grid, dataset, tmp_path / "out", recipe=recipe)
    for broken, message in (
        (
            {name: array for name, array in kept.items() if name != "1/curves/train_loss"},
            "holds no 1/curves/train_loss",
        ),
        ({"a": np.zeros(1)}, "not the states of a run's trials"),
    ):
        np.savez(path, **broken)
        write_manifest(base)
        with pytest.raises(InputError, match=message):
            runs.extend(base, grid, dataset, tmp_path / "out", recipe=recipe)
    path.unlink()
    with pytest.raises(InputError, match=r"state\.npz is not there"):
        runs.extend(base, grid, dataset, tmp_path / "out", recipe=recipe)
    assert not (tmp_path / "out").exists()


def test_a_run_is_resumed_keeping_what_it_was_begun_to_keep(made, tmp_path, monkeypatch, capsys):
    out, asked = tmp_path / "run", iter((False, True))
    what = ["--dataset", str(made / "small.npz"), "--hidden-units", "3", "--seeds", "1", "--epochs", "3"]
    with monkeypatch.context() as patched:
        patched.setattr(Stop, "__call__", lambda self: next(asked, True))
        assert cli.main(["sweep", *what, "--keep-state", "--checkpoint-every", "1", "--out", str(out)]) == 143
    assert not (out / "state.npz").exists()
    assert cli.main(["sweep", "--resume", str(out), "--no-keep-state"]) == 2
    assert "cannot be resumed as another sweep: keep_state was True and is now False" in capsys.readouterr().err
    assert cli.main(["sweep", "--resume", str(out)]) == 0
    assert_sound(out)
    assert (out / "state.npz").is_file()
    with pytest.raises(InputError, match="keep_state is 1: expected True or False"):
        make_run(make_dataset(), "elsewhere.npz", tmp_path / "no", keep_state=1)


# Refusals


def changed(run, **values):
    config = json.loads((run / "config.json").read_text())
    write_json(run / "config.json", config | values)
    write_manifest(run)


def test_what_does_not_fit_is_refused_and_nothing_is_touched(made, two, tmp_path):
    dataset, out = make_dataset(), tmp_path / "out"
    before = snapshot(two)
    for message, extend in {
        "is not what it was trained on": lambda: runs.extend(two, FOUR, make_dataset(seed=1), out),
        "has all of these trials already": lambda: runs.extend(two, TWO, dataset, out),
        "epsilon was 1e-07 and is now 0.1": lambda: runs.extend(two, FOUR, dataset, out, recipe=Recipe(epsilon=0.1)),
        "report_every": lambda: runs.extend(two, FOUR, dataset, out, recipe=Recipe(3, 32, report_every=3)),
        "is there already": lambda: runs.extend(two, FOUR, dataset, made / "four"),
        "expected an mlp_jax.Grid": lambda: runs.extend(two, TWO.trials, dataset, out),
        "expected the path of a directory": lambda: runs.extend(two, FOUR, dataset, None),
        "label noise is 0.1 for a regression": lambda: runs.extend(
            make_run(make_dataset("regression"), "x", tmp_path / "values"),
            Grid((1,), label_noises=(0.1,)),
            make_dataset("regression"),
            out,
        ),
    }.items():
        with pytest.raises(InputError, match=message):
            extend()
        assert not out.exists()
    assert snapshot(two) == before


def test_a_run_of_another_version_or_altered_is_refused(two, tmp_path):
    path = two / "environment.json"
    environment = json.loads(path.read_text())
    write_json(path, environment | {"versions": environment["versions"] | {"mlp-jax": "0.0.1"}})
    write_manifest(two)
    with pytest.raises(InputError, match=r"mlp-jax 0\.0\.1 trained it"):
        runs.extend(two, FOUR, make_dataset(), tmp_path / "out")
    write_json(path, environment | {"versions": environment["versions"] | {"jax": "0.0.1"}})
    write_manifest(two)
    with pytest.warns(SweepWarning, match=r"jax 0\.0\.1 and not .* rounding may differ"):
        runs.extend(two, Grid((3,), ("relu",), (1e-2,), seeds=1), make_dataset(), tmp_path / "warned")
    text = (two / "trials.csv").read_bytes()
    (two / "trials.csv").write_bytes(text[:-3] + b"7" + text[-2:])
    with pytest.raises(InputError, match=r"trials\.csv .*SHA-256"):
        runs.extend(two, FOUR, make_dataset(), tmp_path / "out")
    write_manifest(two)
    changed(two, seeds=[0, 1, 2])
    with pytest.raises(InputError, match=r"trials\.csv has 4 rows: config\.json asks for 6"):
        runs.extend(two, FOUR, make_dataset(), tmp_path / "out")
    changed(two, seeds=[0, 1])
    (two / "outcomes.npz").unlink()
    manifest = json.loads((two / "manifest.json").read_text())
    del manifest["files"]["outcomes.npz"]
    write_json(two / "manifest.json", manifest)
    with pytest.raises(InputError, match=r"no outcomes\.npz, as an earlier version wrote it"):
        runs.extend(two, FOUR, make_dataset(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--use-bias"], "has all of these trials already"),
        (["--no-use-bias", "--seeds", "3"], "use_bias was True and is now False"),
        (["--precision", "bfloat16", "--seeds", "3"], "precision was 'float32' and is now 'bfloat16'"),
        (["--layout", "vmap", "--seeds", "3"], "layout was 'packed' and is now 'vmap'"),
        (["--seeds", "0"], "seeds is 0: expected a whole number from 1"),
        (["--momentum", "0.9"], "momentum is 0.9 with optimizer adam"),
        (["--dataset", "sklearn:iris", "--seeds", "3"], "is not what .*: its SHA-256 differs|is not what it was"),
        (["--in-place", "--seeds", "3", "--out", "x"], "out is x: expected none"),
        (["--resume", "x"], "resume and extend are both given"),
        (["--seeds", "3", "--out", "file"], "file is a file: name a directory"),
    ],
)
def test_a_mistake_at_the_command_line_is_one_line(arguments, message, two, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    before = snapshot(tmp_path)
    assert cli.main(["sweep", "--extend", str(two), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mlp-jax: error: ")
    assert said.count("\n") == 1
    assert re.search(message, said), said
    assert snapshot(tmp_path) == before


# Interruption


@pytest.mark.parametrize("in_place", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_what_was_interrupted_goes_on(in_place, two, made, tmp_path, capsys):
    out = two if in_place else tmp_path / "out"
    before, was = content(two), snapshot(two)
    asked = iter((False, True))
    with pytest.raises(SweepStopped):
        runs.extend(two, FOUR, make_dataset(), out, checkpoint_every=1, stop=lambda: next(asked))
    assert (out / "checkpoints" / "states").is_dir()
    if in_place:  # until all is trained, it is the run that it was
        assert was.items() <= snapshot(two).items()
        assert_sound(two)
        assert cli.main(["sweep", "--extend", str(two), "--in-place", "--seeds", "5"]) == 2
        assert "is being extended already" in capsys.readouterr().err
    else:
        assert {each.verdict for each in verify(out)} == {"sound"}
        assert cli.main(["analyse", str(out)]) == 2
        assert "is not finished" in capsys.readouterr().err
    assert cli.main(["sweep", "--resume", str(out), "--seeds", "5"]) == 2
    assert "cannot be resumed as another sweep: seeds" in capsys.readouterr().err
    assert cli.main(["sweep", "--resume", str(out)]) == 0
    assert_taken_over(before, content(out))
    assert_sound(out)
    assert sorted(each.name for each in out.iterdir() if each.is_file()) == sorted(
        each.name for each in (made / "four").iterdir()
    )
    np.testing.assert_allclose(
        read_run(out).trials["test_loss"], read_run(made / "four").trials["test_loss"], rtol=1e-5
    )
    assert cli.main(["sweep", "--resume", str(out)]) == 0
    assert "is finished: there is nothing to resume" in capsys.readouterr().out


def test_what_fails_before_anything_is_saved_leaves_the_run_as_it_was(two, tmp_path):
    was = snapshot(two)
    with pytest.raises(InputError, match="memory"):
        runs.extend(two, FOUR, make_dataset(), two, memory=1)
    assert snapshot(two) == was
    with pytest.raises(InputError, match="memory"):
        runs.extend(two, FOUR, make_dataset(), tmp_path / "a" / "b", memory=1)
    assert not (tmp_path / "a").exists()


def test_killed_while_results_are_put_in_place(two, monkeypatch):
    """Between any two files, the run can be finished, and is whole then."""
    before = content(two)
    real = running.write_manifest
    monkeypatch.setattr(running, "write_manifest", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        runs.extend(two, FOUR, make_dataset(), two)
    assert not (two / "manifest.json").exists()
    monkeypatch.setattr(running, "write_manifest", real)
    runs.extend(two, FOUR, make_dataset(), two)
    assert_taken_over(before, content(two))
    assert_sound(two)
    assert not (two / "extension").exists()


# Grids


def test_grids_are_united_and_taken_from_one_another():
    one = Grid((10, 50), seeds=3)
    assert one.united(Grid((25,), seeds=3)).axes == Grid((10, 25, 50), seeds=3).axes
    assert one.united(Grid((10,), seeds=3)).trials == one.trials
    more = one.united(Grid((50,), seeds=5))
    assert more.trials == tuple(Trial(m, "sigmoid", 1e-3, seed) for m, n in ((10, 3), (50, 5)) for seed in range(n))
    assert (more - one).axes == Grid((50,), seeds=[3, 4]).axes
    assert Grid.from_axes(json.loads(json.dumps(more.axes))).trials == more.trials
    assert more.axes["seeds"] == [0, 1, 2, 3, 4]
    kept = Grid((50, 10), seeds=[4, 1]).united(Grid(((8, 4), 10), seeds=[1, 4]))
    assert kept.values("hidden_units") == (50, 10, (8, 4))
    with pytest.raises(InputError, match="expected one that the other lacks"):
        one - more
    with pytest.raises(InputError, match=r"expected an mlp_jax\.Grid"):
        one.united("more")
    rates = more.changed(lambda product: {"learning_rates": [0.1, 0.2]})
    assert len(rates.trials) == 2 * len(more.trials)
    with pytest.raises(InputError, match="momentum"):
        more.changed(lambda product: {"momenta": [0.9]})
