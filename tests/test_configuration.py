"""Options in a file: read, overridden, printed, and read again."""

import json
import math
import shutil
import subprocess
import tomllib

import pytest
from conftest import make_dataset, make_run, save_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp_jax import Grid, Trial
from mlp_jax.cli import COMMANDS, main
from mlp_jax.cli._configuration import options_text, read_options
from mlp_jax.cli.sweep import Sweep


@pytest.fixture
def npz(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_dataset(make_dataset(), tmp_path / "small.npz")
    return "small.npz"


@pytest.fixture
def file(tmp_path):
    """A function that writes a configuration file."""

    def write(text, name="sweep.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def printed(arguments, capsys):
    """The options that a command prints with --print-config."""
    assert main([*map(str, arguments), "--print-config"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return tomllib.loads(said.out)


def test_a_sweep_follows_its_file_where_the_command_line_says_nothing_else(npz, file, tmp_path, capsys):
    path = file(f'dataset = "{npz}"\nhidden-units = [3, "4-2"]\nlearning_rates = 1e-2\nseeds = 3\nepochs = 2\n')
    assert main(["sweep", "--config", str(path), "--seeds", "2", "--out", "run", "--json"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["hidden_units"] == [3, [4, 2]]
    assert (config["learning_rates"], config["seeds"], config["epochs"]) == ([1e-2], [0, 1], 2)
    capsys.readouterr()

    # The run's own configuration begins the same run again, also for another command, and from another directory.
    again = printed(["sweep", "--config", "run"], capsys)
    assert again == printed(["sweep", "--config", tmp_path / "run" / "config.json"], capsys)
    assert again["dataset"] == str(tmp_path / npz)
    assert (again["hidden_units"], again["seeds"], again["first_seed"]) == ([3, "4-2"], 2, 0)
    searched = printed(["search", "--config", "run", "--eta", "3"], capsys)
    assert (searched["hidden_units"], searched["learning_rates"], searched["eta"]) == ([3, "4-2"], ["0.01"], 3)

    # An extension: the file's options are options that were given, so that they name the values that are wanted.
    more = file("seeds = 3\n", "more.toml")
    assert main(["sweep", "--extend", "run", "--config", str(more), "--out", "extended", "--json"]) == 0
    assert json.loads((tmp_path / "extended" / "config.json").read_text())["seeds"] == [0, 1, 2]


@pytest.mark.parametrize("command", ["sweep", "search", "train"])
def test_what_is_printed_is_read_back_as_it_was(command, file, capsys):
    kind, _ = COMMANDS[command]
    usual = printed([command], capsys)
    assert kind(**read_options(file(options_text(kind())), kind)) == kind()
    changed = ["--dataset", 'a "b"\\ü.npz', "--hidden-units", "7", "--no-use-bias", "--memory", "0.5", "--epochs", "3"]
    options = printed([command, *changed], capsys)
    differ = {name for name in usual.keys() | options.keys() if usual.get(name) != options.get(name)}
    assert differ == {"dataset", "hidden_units", "use_bias", "memory", "epochs"}
    said = "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())
    assert printed([command, "--config", file(said)], capsys) == options


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    rates=st.lists(st.floats(allow_nan=False)),
    memory=st.none() | st.floats(allow_nan=False),
    bias=st.booleans(),
)
def test_any_value_survives(texts, rates, memory, bias, tmp_path_factory):
    path = tmp_path_factory.mktemp("configuration") / "options.toml"
    options = Sweep(hidden_units=tuple(texts), learning_rates=tuple(rates), memory=memory, use_bias=bias)
    path.write_text(options_text(options), encoding="utf-8", newline="")
    assert Sweep(**read_options(path, Sweep)) == options
    assert memory is None or math.copysign(1, memory) == math.copysign(1, read_options(path, Sweep)["memory"])


def test_a_search_takes_ranges_and_numbers(file, capsys):
    path = file('hidden_units = "8..256"\nlearning_rates = [1e-3, "0.1"]\nmethod = "hyperband"\nmomentum = [0, 0.9]\n')
    options = printed(["search", "--config", path, "--budget", "9"], capsys)
    assert (options["hidden_units"], options["learning_rates"]) == (["8..256"], ["0.001", "0.1"])
    assert (options["method"], options["momentum"], options["budget"]) == ("hyperband", [0.0, 0.9], 9)


@pytest.mark.slow
def test_the_configuration_of_a_search_begins_one_like_it(npz, tmp_path, capsys):
    asked = ["--dataset", npz, "--hidden-units", "2", "3", "--learning-rates", "0.01", "--seeds", "1", "--epochs", "3"]
    how = ["--eta", "2", "--method", "hyperband", "--search-seed", "4"]
    assert main(["search", *asked, *how, "--out", "found", "--json"]) == 0
    capsys.readouterr()
    options = printed(["search", "--config", "found"], capsys)
    assert (options["eta"], options["method"], options["search_seed"]) == (2, "hyperband", 4)
    assert options["hidden_units"] == [2, 3]
    assert "eta" not in printed(["sweep", "--config", "found"], capsys)


@pytest.mark.slow
def test_train_takes_the_run_of_one_model_alone(npz, tmp_path, capsys):
    one = make_run(make_dataset(), npz, tmp_path / "one", Grid(((4, 2),), ("relu",), (1e-2,), [7]), epochs=2)
    options = printed(["train", "--config", one], capsys)
    assert (options["hidden_units"], options["activation"], options["learning_rate"]) == ("4-2", "relu", 1e-2)
    assert (options["seed"], options["epochs"], options["batch_size"]) == (7, 2, 32)
    several = make_run(make_dataset(), npz, tmp_path / "several", Grid((3,), ("relu", "tanh"), (1e-2,), 1), epochs=1)
    assert "activation" in mistake(["train", "--config", several], capsys)


def mistake(arguments, capsys):
    assert main([*map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("mlp-jax: error: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hidden_unit = [3]", ["hidden_unit", "did you mean hidden_units?"]),
        ("config = 'other.toml'", ["no option 'config'"]),
        ("given = ['seeds']", ["no option 'given'"]),
        ("[sweep]\nseeds = 3", ["no option 'sweep'"]),
        ("seeds = '3'", ["seeds is '3'", "a whole number"]),
        ("seeds = 3.0", ["seeds is 3.0", "a whole number"]),
        ("seeds = true", ["seeds is True", "a whole number"]),
        ("seeds = [3]", ["seeds is [3]", "a whole number"]),
        ("use_bias = 1", ["use_bias is 1", "true or false"]),
        ("transpose = 'yes'", ["transpose is 'yes'", "true or false"]),
        ("hidden_units = [3, true]", ["hidden_units is [3, True]", "words in a list"]),
        ("learning_rates = ['fast']", ["learning_rates is ['fast']", "numbers in a list"]),
        (f"memory = 1{400 * '0'}", ["memory is 1000", "a number"]),
        ("layout = 'dense'", ["layout is 'dense'", "auto or packed or vmap"]),
        ("optimizer = ['adagrad']", ["optimizer is ['adagrad']", "adam"]),
        ("out = 3", ["out is 3", "a path"]),
        ("first-seed = 1\nfirst_seed = 2", ["first_seed is given twice"]),
        ("seeds 3", ["not TOML"]),
        ("seeds = 3\nseeds = 4", ["not TOML"]),
    ],
)
def test_a_mistake_in_a_file_is_one_line(text, words, file, capsys):
    said = mistake(["sweep", "--config", file(text)], capsys)
    assert "sweep.toml" in said
    for word in words:
        assert word in said


def test_files_that_are_no_configuration(npz, tmp_path, file, capsys):
    assert "none.toml" in mistake(["sweep", "--config", "none.toml"], capsys)
    assert "config.json" in mistake(["sweep", "--config", tmp_path], capsys)
    (tmp_path / "latin.toml").write_bytes(b'out = "\xe9"')
    assert "not TOML" in mistake(["sweep", "--config", "latin.toml"], capsys)
    assert "JSON" in mistake(["sweep", "--config", file("[1]", "list.json")], capsys)
    assert "not the configuration of a run" in mistake(
        ["sweep", "--config", file('{"dataset_digest": "", "search": 3}', "broken.json")], capsys
    )
    assert "no value" in mistake(["sweep", "--config"], capsys)

    listed = Grid.of([Trial(3, "relu", 1e-2, 0), Trial(4, "relu", 1e-3, 0)])
    run = make_run(make_dataset(), npz, tmp_path / "listed", listed, epochs=1)
    assert "combinations" in mistake(["sweep", "--config", run], capsys)
    run = make_run(make_dataset(), npz, tmp_path / "seeds", Grid((3,), ("relu",), (1e-2,), [0, 5]), epochs=1)
    assert "seeds" in mistake(["sweep", "--config", run], capsys)


def test_options_of_a_file_exclude_one_another_as_given_ones_do(file, capsys):
    assert "most seeds" in mistake(["sweep", "--config", file("until_decided = true")], capsys)
    assert "distributed" in mistake(["sweep", "--config", file("process_id = 1")], capsys)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_written(shell, tmp_path):
    path = tmp_path / "completion"
    with pytest.raises(SystemExit) as end:
        main(["--tyro-write-completion", shell, str(path)])
    assert not end.value.code
    script = path.read_text()
    assert all(word in script for word in ("mlp-jax", "sweep", "--hidden-units"))
    if shell == "bash" and shutil.which("bash"):
        typed = 'COMP_WORDS=(mlp-jax sweep --hid); COMP_CWORD=2; _tyro_mlp_jax; echo "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", f"source {path}; {typed}"], capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["--hidden-units"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["tcsh", "-"], "bash or zsh or fish"), ([], "bash"), (["bash"], "a file"), (["bash", "nowhere/file"], "nowhere")],
)
def test_completion_that_cannot_be_written_is_one_line(arguments, word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = mistake(["--tyro-write-completion", *arguments], capsys)
    assert word in said
