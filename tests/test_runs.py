"""Run directories: whole or not there, read back as written."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import DataError, Grid, InputError, Recipe, sweep
from mlp_jax.runs.directory import check_new, environment, new_directory, read_run, sweep_config, write_run
from mlp_jax.runs.tables import history_table, trials_table


@pytest.fixture(scope="module")
def result():
    from conftest import make_dataset

    return sweep(Grid((0, 3), seeds=2), make_dataset(), recipe=Recipe(epochs=2, batch_size=32))


@pytest.fixture
def run(result, tmp_path):
    with new_directory(tmp_path / "run") as directory:
        write_run(result, directory, "somewhere.npz")
    return tmp_path / "run"


def test_reads_back_what_was_written(result, run):
    back = read_run(run)
    for written, read in ((trials_table(result), back.trials), (history_table(result), back.history)):
        assert written.keys() == read.keys()
        for column, values in written.items():
            np.testing.assert_array_equal(read[column].astype(values.dtype), values)
    assert back.config == json.loads(json.dumps(sweep_config(result, "somewhere.npz")))
    assert back.environment == environment(result)
    for trial in range(4):
        x = jnp.ones((2, 12))
        np.testing.assert_array_equal(back.model(trial)(x), result.model(trial)(x))
    with pytest.raises(InputError, match="no trial 4"):
        back.model(4)


def test_config_is_enough_to_run_it_again(result, run):
    from conftest import make_dataset

    config = read_run(run).config
    grid = Grid(*(config[key] for key in ("hidden_units", "activations", "learning_rates", "seeds")))
    recipe = Recipe(**{key: config[key] for key in ("epochs", "batch_size", "beta1", "beta2", "epsilon", "precision")})
    options = {key: config[key] for key in ("layout", "use_bias", "dtype")}
    dataset = make_dataset()
    assert dataset.digest == config["dataset_digest"]
    again = sweep(grid, dataset, recipe=recipe, **options)
    for column, values in result.final.items():
        np.testing.assert_array_equal(again.final[column], values)


def test_a_failure_leaves_nothing(tmp_path):
    def write_half() -> None:
        with new_directory(tmp_path / "run") as directory:
            (directory / "half").write_text("written")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="is there already"), new_directory(run):
        pass
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (run.parent / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        check_new(run.parent / "file")
    with pytest.raises(InputError, match="cannot be written"):
        check_new(run.parent / "file" / "run")
    (run.parent / "empty").mkdir()
    check_new(run.parent / "empty")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "not JSON"),
        ("config.json", "[]", "expected a JSON object"),
        ("config.json", "{}", "holds no dataset: written by another version"),
        ("trials.csv", "", "not a table of a run"),
        ("trials.csv", "trial,seed\n0,0\n", "has no hidden_units"),
        ("trials.csv", "trial,hidden_units,activation,learning_rate,seed\n0,x,relu,1,0\n", "damaged"),
        ("trials.csv", "trial,hidden_units,activation,learning_rate,seed\n0,1\n", "damaged"),
        ("history.csv", None, "cannot be read"),
    ],
)
def test_damaged_runs_are_noticed(run, name, content, message):
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_text(content)
    with pytest.raises(DataError, match=message) as refused:
        read_run(run)
    assert name in str(refused.value)


def test_damaged_parameters_are_noticed(run):
    path = run / "parameters.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read"):
        read_run(run).model(0)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_run(run).model(0)


def test_a_directory_that_is_no_run(tmp_path):
    with pytest.raises(DataError, match="is this a run directory"):
        read_run(tmp_path)
    with pytest.raises(DataError, match="is no directory"):
        read_run(tmp_path / "nowhere")
