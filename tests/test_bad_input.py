"""What a user can get wrong: each mistake is answered in one line, with the value and what is allowed.

At the command line that is exit code 2, from the API InputError (a ValueError), or DataError where the data are at
fault; no file is left behind.
Arrays that do not fit are in test_datasets.py, damaged IDX files in test_idx.py, hostile ones in test_fuzz.py.
"""

import io
import json
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
import zipfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from conftest import make_dataset
from flax import nnx

from mlp_jax import (
    MLP,
    DataError,
    Dataset,
    Grid,
    InputError,
    Recipe,
    Split,
    Trial,
    cli,
    evaluate,
    evaluate_model,
    fit,
    load_dataset,
    sweep,
)
from mlp_jax.datasets.npz import read_npz
from mlp_jax.runs.directory import MOST_CSV, MOST_JSON, check_new, read_run, write_run

SHORT = ["--epochs", "1", "--dataset", "good.npz"]
WHOLE = "expected a whole number from"
RATE = "expected a finite float32 number above 0"
ACTIVATION = "expected one of sigmoid, tanh"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a good data set and many things that are none."""
    directory = tmp_path_factory.mktemp("place")
    dataset = make_dataset()
    arrays = {f"x_{name}": split.features for name, split in dataset.splits.items()}
    arrays |= {f"y_{name}": split.targets for name, split in dataset.splits.items()}
    np.savez(directory / "good.npz", **arrays)
    for name, changed in {
        "nan.npz": {"x_test": arrays["x_test"] * np.nan},
        "inf.npz": {"x_train": arrays["x_train"] + np.inf},
        "narrow.npz": {"x_test": arrays["x_test"][:, 1:]},
        "hot.npz": {"y_train": np.ones((70, 3), int)},
        "labels.npz": {"y_test": arrays["y_test"] + 7},
        "real.npz": {"y_train": arrays["y_train"] + 0.5},
        "text.npz": {"y_train": np.array(["cat"] * 70)},
        "objects.npz": {"x_train": np.array([Trap(directory / "sprung")], dtype=object)},
    }.items():
        np.savez(directory / name, **arrays | changed)
    (directory / "pickle.npz").write_bytes(pickle.dumps(Trap(directory / "sprung")))
    (directory / "empty.npz").touch()
    (directory / "file").touch()
    (directory / "empty").mkdir()
    (directory / "full").mkdir()
    (directory / "full" / "file").touch()
    (directory / "dangling").symlink_to("nowhere")
    (directory / "loop").symlink_to("loop")
    (directory / "link").symlink_to("empty")
    return directory


class Trap:
    """A pickle that leaves a file behind if anybody loads it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def everything(directory):
    """All that is below a directory, with its content."""
    return {
        path: path.read_bytes() if path.is_file() else os.path.realpath(path) for path in sorted(directory.rglob("*"))
    }


OUT = [
    ("file", "file is a file: name a directory"),
    ("full", "full is there already and is not empty: name another directory"),
    ("file/run", "file/run cannot be written: .*file is no directory that you may write to"),
    ("", r"\. is there already and is not empty: name another"),
    ("..", r"\.\. is there already and is not empty: name another"),
    ("dangling", "dangling is a symbolic link: name a directory that is not there"),
    ("loop", "loop is a symbolic link: name a directory"),
    ("link", "link is a symbolic link: name a directory"),
    ("loop/run", "loop/run cannot be written"),
    ("x" * 300, "x{300} cannot be written .File name too long.: name a directory"),
    ("nul\0", r"nul\\x00 cannot be written .embedded null byte.: name a directory"),
    ("/proc/run", "/proc/run cannot be written"),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command is given: expected one of sweep, train, "),
        (["swep"], "unknown command 'swep': did you mean sweep. expected one of sweep, train, "),
        (["zzz"], "unknown command 'zzz': expected one of sweep, train, "),
        (["--versio"], "mlp-jax has no option --versio: expected one of sweep, train, .* .mlp-jax --help"),
        (["sweep", "extra"], "sweep does not know what to do with 'extra' .mlp-jax sweep --help"),
        (["sweep", "--no-such-option"], "mlp-jax sweep has no option --no-such-option .mlp-jax sweep --help"),
        (
            ["sweep", "--hiden-units", "10"],
            "no option --hiden-units: did you mean --hidden-units. .mlp-jax sweep",
        ),
        (["train", "--activations", "relu"], "no option --activations: did you mean --activation. .mlp-jax train"),
        (["sweep", "--activation=relu"], "no option --activation: did you mean --activations. .mlp-jax sweep"),
        (["sweep", "--no-cach"], "no option --no-cach: did you mean --no-cache"),
        (
            ["sweep", "--hidden_units", "10,20"],
            "--hidden-units is '10,20': expected whole numbers separated by spaces",
        ),
        (["sweep", "--learning-rates=1e-3,1e-2"], "is '1e-3,1e-2': expected numbers separated by spaces, not commas"),
        (["sweep", "--momentum", "0.9"], "momentum is 0.9 with optimizer adam, .* expected 0, or an optimizer of sgd"),
        (["sweep", "--weight-decay", "0.1"], "weight decay is 0.1 with optimizer adam, .*adamw.*l2 is a penalty"),
        (["train", "--optimizer", "sgd", "--momentum", "1"], "momentum is 1.0: expected a number, 0 or more and below"),
        (["train", "--l2", "-1"], "L2 penalty is -1.0: expected a finite float32 number, 0 or more"),
        (["sweep", "--dataset", "sklearn:diabetes", "--label-smoothing", "0.1"], "label smoothing is 0.1 for a regr"),
        (["sweep", "--hidden-units", "-3"], f"hidden_units is -3: {WHOLE} 0 to 2147483647"),
        (["sweep", "--hidden-units", "1.5"], "--hidden-units is '1.5': expected whole numbers"),
        (["sweep", "--hidden-units", "1", "many"], "--hidden-units is 'many': expected whole num"),
        (["sweep", "--hidden-units", ""], "--hidden-units is '': expected whole numbers"),
        (["sweep", "--hidden-units", "3", "3"], "hidden_units holds 3 2 times: expected each value once"),
        (["sweep", "--hidden-units"], "hidden_units is empty: expected at least one value"),
        (["sweep", "--hidden-units", "1000000000000"], f"hidden_units is 1000000000000: {WHOLE} 0 to 2147483647"),
        (["sweep", "--hidden-units", "9" * 5000], r"--hidden-units is '9+\.\.\.: expected whole"),
        (
            ["sweep", "--hidden-units", "2147483647", *SHORT, "--out", "new"],
            "does not fit in memory.*: ask for fewer or narrower",
        ),
        (["sweep", "--hidden-units", "2147483647", *SHORT], "does not fit in memory"),
        (["sweep", "--hidden-units", "2147483647", *SHORT, "--out", "a/b/c"], "does not fit in memory"),
        (["sweep", "--hidden-units", "2147483647", *SHORT, "--out", "empty"], "does not fit in memory"),
        (["sweep", "--seeds", "0"], f"seeds is 0: {WHOLE} 1 to"),
        (["sweep", "--seeds", "1.5"], "--seeds is '1.5': expected a whole number .mlp-jax sweep"),
        (["sweep", "--seeds", "99999999999"], f"seeds is 99999999999: {WHOLE} 1 to 10000000"),
        (["sweep", "--first-seed", "-1"], f"seed is -1: {WHOLE} 0 to 4294967295"),
        (["sweep", "--first-seed", "4294967295"], f"seed is 4294967296: {WHOLE} 0 to 4294967295"),
        (["sweep", "--hidden-units", *map(str, range(1001)), "--seeds", "10000"], "has 10010000 trials: expected at"),
        (["sweep", "--epochs", "0"], f"epochs is 0: {WHOLE} 1 to"),
        (["sweep", "--epochs", "0.5"], "--epochs is '0.5': expected whole numbers"),
        (["sweep", "--epochs", "0", "2"], f"epochs is 0: {WHOLE} 1 to"),
        (["sweep", "--optimizer"], "--optimizer has no value: expected at least one"),
        (["sweep", "--schedule", "cosin"], "--schedule is 'cosin': expected constant or cosine"),
        (["sweep", "--hidden-units", "4-0"], f"hidden_units is 0: {WHOLE} 1 to"),
        (
            ["sweep", "--network", "cnn", "--hidden-units", "0"],
            "hidden units are 0 with network cnn: expected a number",
        ),
        (["sweep", "--network", "cnn", "--hidden-units", "2", *SHORT], "network is cnn and good holds no images"),
        (["sweep", "--epochs", "99999999999"], f"epochs is 99999999999: {WHOLE} 1 to"),
        (["sweep", "--epochs"], "--epochs has no value: expected at least one"),
        (["sweep", "--batch-size", "0"], f"batch_size is 0: {WHOLE} 1 to"),
        (["sweep", "--batch-size", "-128"], f"batch_size is -128: {WHOLE} 1 to"),
        (["sweep", "--batch-size", "99999999999"], f"batch_size is 99999999999: {WHOLE} 1 to 2147483647"),
        (["sweep", "--learning-rates", "nan"], f"learning rate is nan: {RATE}"),
        (["sweep", "--learning-rates", "inf"], f"learning rate is inf: {RATE}"),
        (["sweep", "--learning-rates", "0"], f"learning rate is 0.0: {RATE}"),
        (["sweep", "--learning-rates", "-1"], f"learning rate is -1.0: {RATE}"),
        (["sweep", "--learning-rates", "1e-50"], f"learning rate is 1e-50: {RATE}"),  # float32 makes it 0
        (["sweep", "--learning-rates", "1e39"], rf"learning rate is 1e\+39: {RATE}"),  # float32 makes it infinite
        (["sweep", "--learning-rates", "fast"], "--learning-rates is 'fast': expected numbers"),
        (["sweep", "--learning-rates"], "learning_rates is empty: expected at least one value"),
        (["sweep", "--activations", "swish"], f"unknown activation 'swish': {ACTIVATION}"),
        (["sweep", "--activations", ""], f"unknown activation '': {ACTIVATION}"),
        (["sweep", "--activations", "relu\nelu"], rf"unknown activation 'relu\\nelu': {ACTIVATION}"),
        (["sweep", "--activations", "relu", "relu"], "activations holds 'relu' 2 times: expected each value once"),
        (["sweep", "--activations"], "activations is empty"),
        (["sweep", "--layout", "tree"], "--layout is 'tree': expected auto or packed or vmap .mlp"),
        (["sweep", "--dtype", "float16"], "--dtype is 'float16': expected float32 or float64"),
        (["sweep", "--dtype", "float64"], "dtype float64 needs JAX's 64-bit mode: set JAX_ENABLE_X64=1"),
        (["sweep", "--use-bias", "maybe"], "--use-bias has the value 'maybe': expected none; .* --no-use-"),
        (["sweep", "--memory", "all"], "--memory is 'all': expected a number .mlp-jax"),
        *(
            ([command, "--dataset", name], message)
            for command in ("sweep", "data")
            for name, message in [
                ("nowhere", "unknown data set 'nowhere': expected mnist, tfds:NAME, sklearn:NAME, hf:NAME, a CSV"),
                ("nowhere.npz", "'nowhere.npz': no such file or directory in "),
                ("no/where", "'no/where': no such file or directory in "),
                (
                    "real.npz",
                    r'hold 2.5: expected integers, or task="regression" for values .an array in the',
                ),
                ("", "unknown data set '': expected mnist"),
                ("no\nwhere", r"unknown data set 'no\\nwhere'"),
                ("\x1b[31mred", r"unknown data set '\\x1b\[31mred'"),
                ("file", "file: is a file: expected .csv, .tsv or .npz, or a directory of IDX files"),
                ("empty", "empty: holds no data: expected train.csv, IDX files named as MNIST's are, or images"),
                ("empty.npz", "empty.npz: cannot be read .not a zip archive, or cut short.: expected plain arrays"),
                ("dangling", "unknown data set 'dangling'"),
                ("loop", "unknown data set 'loop'"),
                ("/dev/zero", "unknown data set '/dev/zero'"),
                ("nan.npz", r"nan.npz: test features hold nan at \(0, 0\): expected finite float32 numbers"),
                ("inf.npz", r"inf.npz: train features hold inf at \(0, 0\): expected finite"),
                ("narrow.npz", r"test examples have shape \(11,\), those of train \(12,\): give every split the same"),
                ("hot.npz", r"train labels have shape \(70, 3\) and are not one-hot: expected a single 1 in each row"),
                ("labels.npz", "test labels go up to 9: expected 0 to 2"),
                ("text.npz", "y_train has dtype <U3: real numbers are taken, so number the classes .*class_names"),
                ("objects.npz", "x_train holds pickled objects, which are not loaded.: expected plain arrays"),
                ("pickle.npz", "pickle.npz: cannot be read .not a zip archive"),
            ]
        ),
        (["train", "--hidden-units", "-1"], f"hidden_units is -1: {WHOLE} 0 to"),
        (["train", "--hidden-units", "2", "3"], "mlp-jax train does not know what to do with '3'"),
        (["train", "--activation", "swish"], f"unknown activation 'swish': {ACTIVATION}"),
        (["train", "--learning-rate", "nan"], f"learning rate is nan: {RATE}"),
        (["train", "--seed", "-1"], f"seed is -1: {WHOLE} 0 to 4294967295"),
        (["train", "--seed", "first"], "--seed is 'first': expected a whole number"),
        *((["sweep", *SHORT, "--out", out], message) for out, message in OUT),
        *((["train", *SHORT, "--out", out], message) for out, message in OUT[:2]),
        *((["data", "--dataset", "good.npz", "--out", out], message) for out, message in OUT[:2]),
        (["sweep", "--resume", "nowhere"], "nowhere is no directory: expected one that mlp-jax sweep started"),
        (["sweep", "--resume", "file"], "file is no directory: expected one"),
        (["sweep", "--resume", "empty"], "empty/config.json: cannot be read"),
        (["sweep", "--extend", "nowhere"], "nowhere is no directory: expected one that mlp-jax sweep started"),
        (["sweep", "--extend", "empty"], "empty/config.json: cannot be read"),
        (["sweep", "--extend"], "--extend has no value: expected a path"),
        (["sweep", "--in-place"], "in place without extend: expected --extend RUN as well"),
        (["sweep", "--extend", "full", "--resume", "full"], "resume and extend are both given: expected one"),
        (["sweep", "--extend", "full", "--in-place", "--out", "new"], "out is new: expected none, as full is extended"),
        (["sweep", "--until-decided"], "given apart: expected --until-decided --most-seeds N"),
        (["sweep", "--most-seeds", "9"], "given apart: expected --until-decided --most-seeds N"),
        (["sweep", "--until-decided", "--most-seeds", "3"], "most_seeds is 3: expected a whole number from 5 to"),
        (["compare"], "0 runs are named: expected 2 to 26, as in mlp-jax compare A B"),
        (["compare", "full"], "1 runs are named: expected 2 to 26, as in mlp-jax compare A B"),
        (["compare", "full", "full/../full"], "full is named 2 times: expected each run once"),
        (["compare", "nowhere", "full"], "nowhere is no directory: expected one that mlp-jax sweep wrote"),
        (["report", "full", "--against", "full/../full"], "expected another run than the one that is reported"),
        (["compare", "full", "empty", "--format", "pdf"], "--format is 'pdf': expected png or svg .mlp-jax compare"),
        (["sweep", *SHORT, "--checkpoint-every", "0", "--out", "new"], f"checkpoint_every is 0: {WHOLE} 1 to"),
        (["sweep", *SHORT, "--memory", "0", "--out", "new"], "memory is 0.0: expected a number of GiB above 0"),
        (["search", "--first-epochs", "20"], "first_epochs is 20: expected less than the 20 epochs"),
        (["search", "--first-epochs", "0"], f"first_epochs is 0: {WHOLE} 1 to"),
        (["search", "--eta", "1"], f"eta is 1: {WHOLE} 2 to"),
        (["search", "--budget", "3"], "budget is 3 epochs of training: expected at least [0-9]+, which"),
        (["search", "--budget", "0"], f"budget is 0: {WHOLE} 1 to"),
        (["search", "--search-seed", "-1"], f"search seed is -1: {WHOLE} 0 to"),
        (["search", "--method", "random"], "--method is 'random': expected halving or hyperband"),
        (["search", "--epochs", "3", "6"], "budgets is given: expected none, as a search decides"),
        (["search", "--hidden-units", "3", "--learning-rates", "0.1", *SHORT], "first_epochs is 1: expected less"),
        (
            ["search", "--hidden-units", "3", "--learning-rates", "0.1"],
            "the grid has one configuration: exp",
        ),
        (["search", "--report-every", "2"], "first_epochs is 1: expected a multiple of report_every, 2"),
        (["search", "--learning-rates", "1e-4..1e-1"], "learning_rates is a range: expected --sample"),
        (
            ["search", "--hidden-units", "8..9..", "--sample", "3"],
            "--hidden-units is '8..9..': expected values",
        ),
        (
            ["search", "--hidden-units", "8..x", "--sample", "3"],
            "--hidden-units is '8..x': expected values",
        ),
        (
            ["search", "--hidden-units", "8..9", "4", "--sample", "3"],
            "--hidden-units is '8..9 4': expected values",
        ),
        (
            ["search", "--hidden-units", "9..8", "--sample", "3"],
            "a range is from 9 to 8: expected numbers above 0",
        ),
        (["search", "--hidden-units", "0..8", "--sample", "3"], "a range is from 0 to 8: expected numbers above 0"),
        (["search", "--learning-rates", "0.1..inf", "--sample", "3"], "a range is from 0.1 to inf: expected numbers"),
        (
            ["search", "--learning-rates", "fast"],
            "--learning-rates is 'fast': expected numbers",
        ),
        (
            ["search", "--learning-rates", "1,2"],
            "--learning-rates is '1,2': expected numbers .* not commas",
        ),
        (["search", "--learning-rates", "nan"], f"learning rate is nan: {RATE}"),
        (["search", "--sample", "0"], f"sample is 0: {WHOLE} 1 to"),
        (["search", "--sample", "40"], "sample is 40: expected at most about 28, as there are not so many to draw"),
        (["search", "--resume", "nowhere"], "nowhere is no directory: expected one that mlp-jax search began"),
        (["search", "--resume", "empty"], "empty/config.json: cannot be read"),
        *((["search", "--dataset", "good.npz", "--out", out], message) for out, message in OUT[:2]),
        (["plot"], "RUN is missing: expected what mlp-jax sweep wrote, as in mlp-jax plot runs/sweep"),
        (["plot", "empty", "--format", "pdf"], "--format is 'pdf': expected png or svg .mlp-jax plot --help"),
        (["export", "empty"], "--out is missing: expected a path"),
        (["evaluate", "empty", "--trial", "worst"], "--trial is 'worst': expected a whole number or best or all"),
        (["predict", "digit.png"], "RUN is missing before digit.png: expected what mlp-jax sweep wrote, then one or"),
        (["plot", "nowhere"], "nowhere is no directory: expected one that mlp-jax sweep wrote"),
        (["plot", "no\nwhere"], r"no\\nwhere is no directory"),
        (["plot", "nul\0"], r"nul\\x00 is no directory"),
        (["plot", "x" * 5000], "File name too long"),
        (["plot", "file"], "file is no directory"),
        (["plot", "empty"], "empty/config.json: cannot be read .No such file or directory.: is this a run directory"),
    ],
)
def test_a_mistake_at_the_command_line(arguments, message, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    before = everything(place)
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("mlp-jax: error: ")
    assert said.err[:-1].isprintable()
    assert said.err.endswith("\n")
    assert re.search(message, said.err)
    assert "Traceback" not in said.out + said.err
    assert everything(place) == before


def test_a_mistake_is_one_line_in_any_locale(capsys):
    """What is drawn as boxes of ASCII there, and not of line-drawing characters, is understood too."""
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="ascii")):
        assert cli.main(["sweep", "--epochs", "0.5"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mlp-jax: error: --epochs is '0.5': expected whole numbers separated by spaces")
    assert said.count("\n") == 1


def model(task="multiclass", outputs=3):
    return MLP(12, 2, outputs, task=task, rngs=nnx.Rngs(0))


SMALL = make_dataset()
GRID, ONCE = Grid((2,), seeds=1), Recipe(epochs=1)
ANYTHING = [None, "3", b"3", True, np.True_, 1.5, np.float32(2.5), float("nan"), [3], {}, 1j, np.array([[1]]), object()]
"""None of which is a whole number, ..."""

NO_LIST = [None, "relu", b"3", 1.5, {3: 4}, {3}, np.array(3), np.array([[1, 2]]), object(), lambda: 0]
"""... none a list, ..."""

NO_NUMBER = [None, "3", b"3", True, np.True_, float("nan"), float("inf"), -1.0, [3], {}, 1j, np.array([0.5]), object()]
"""... and none a finite number, 0 or more."""


@pytest.mark.parametrize(
    ("call", "values", "message"),
    [
        (lambda v: Grid(hidden_units=v), [*NO_LIST, 3], "hidden_units is .*: expected a list of values"),
        (lambda v: Grid(hidden_units=[v]), [*ANYTHING, -1, 2**31, 10**5000], f"hidden_units is .*: {WHOLE} 0 to"),
        (lambda v: Grid(hidden_units=(4, v)), [4, np.int64(4), np.array(4)], "hidden_units holds 4 2 times"),
        (lambda v: Grid(activations=v), [*NO_LIST, 3], "activations is .*: expected a list of values"),
        (lambda v: Grid(activations=[v]), [*ANYTHING, "swish", "Relu"], f"unknown activation .*: {ACTIVATION}"),
        (lambda v: Grid(learning_rates=v), [*NO_LIST, 3], "learning_rates is .*: expected a list of values"),
        (lambda v: Grid(learning_rates=[v]), [*NO_NUMBER, 0, 1e-50, 10**400], f"learning rate is .*: {RATE}"),
        (lambda v: Grid(learning_rates=[1, v]), [1.0, np.float32(1), np.array(1)], "holds 1.0 2 times"),
        (lambda v: Grid(seeds=v), [x for x in NO_LIST if not isinstance(x, bool)], "seeds is .*: expected a list"),
        (lambda v: Grid(seeds=v), [0, -1, True, 10**9, np.int64(0)], f"seeds is .*: {WHOLE} 1 to 10000000"),
        (lambda v: Grid(seeds=v), [range(10**20)], r"seeds is range\(0, 1.*\): expected at most 10000000 values"),
        (
            lambda v: Grid(hidden_units=v),
            [range(10**8)],
            "hidden_units has 100000000 values: expected at most 10000000",
        ),
        (lambda v: Grid(seeds=[v]), [*ANYTHING, -1, 2**32], f"seed is .*: {WHOLE} 0 to 4294967295"),
        (
            lambda v: Grid(**{v: ()}),
            ["hidden_units", "activations", "learning_rates", "seeds"],
            "is empty: expected",
        ),
        (lambda v: Recipe(epochs=v), [*ANYTHING, 0, -1, 2**31], f"epochs is .*: {WHOLE} 1 to 2147483647"),
        (lambda v: Recipe(batch_size=v), [*ANYTHING, 0, -1, 2**31], f"batch_size is .*: {WHOLE} 1 to 2147483647"),
        (lambda v: Recipe(beta1=v), [*NO_NUMBER, 1, 1.5], "beta1 is .*: expected a number, 0 or more and below 1"),
        (lambda v: Recipe(beta2=v), [*NO_NUMBER, 1, 1.5], "beta2 is .*: expected a number, 0 or more and below 1"),
        (lambda v: Recipe(epsilon=v), [*NO_NUMBER, 1e39], "epsilon is .*: expected a finite float32 number, 0 or"),
        (lambda v: Recipe(precision=v), [*ANYTHING, "float8"], "precision .*: expected"),
        (lambda v: sweep(v, SMALL), [*ANYTHING, SMALL], "grid is .*: expected an mlp_jax.Grid"),
        (lambda v: sweep(GRID, v), [*ANYTHING, SMALL.train], "dataset is .*: expected an mlp_jax.Dataset"),
        (lambda v: sweep(GRID, SMALL, recipe=v), [*ANYTHING, 20], "recipe is .*: expected an mlp_jax.Recipe"),
        (
            lambda v: sweep(GRID, SMALL, layout=v),
            [*ANYTHING, "tree"],
            "unknown layout .*: expected one of auto",
        ),
        (lambda v: sweep(GRID, SMALL, dtype=v), [*ANYTHING, "int8", float], "unknown dtype .*: expected float32 or"),
        (lambda v: sweep(GRID, SMALL, dtype=v), ["float64"], "float64 needs JAX's 64-bit mode: set JAX_ENABLE_X64=1"),
        (
            lambda v: sweep(GRID, SMALL, use_bias=v),
            [None, 1, "yes", np.True_],
            "use_bias is .*: expected True or",
        ),
        (
            lambda v: sweep(GRID, SMALL, replicas_at_once=v),
            [0, -1, *ANYTHING[1:]],
            f"replicas_at_once is .*: {WHOLE}",
        ),
        (lambda v: sweep(GRID, SMALL, memory=v), [0, -1, *ANYTHING[1:]], f"memory is .*: {WHOLE} 1 to"),
        (lambda v: sweep(GRID, SMALL, memory=v), [1, np.int64(1000)], "does not fit in memory.*: ask for fewer"),
        (lambda v: sweep(GRID, SMALL, devices=v), ["cpu", 1], "devices is .*: expected a list of jax.Device"),
        (lambda v: sweep(GRID, SMALL, devices=v), [["cpu"], range(10**20)], "a device is .*: expected a jax.Device"),
        (lambda v: sweep(GRID, SMALL, on_epoch=v), [1, "print", []], "on_epoch is .*: expected a function"),
        (lambda v: sweep(GRID, SMALL, stop=v), [1, True], "stop is .*: expected a function"),
        (lambda v: sweep(GRID, SMALL, checkpoints=v), [1, True, b"x"], "checkpoints is .*: expected a path"),
        (lambda v: sweep(GRID, SMALL, resume=v), [1, True, b"x"], "resume is .*: expected a path"),
        (lambda v: fit(v, SMALL.train), [*ANYTHING, MLP], "model is .*: expected an mlp_jax.MLP"),
        (lambda v: fit(model(), v), [*ANYTHING, SMALL], "the split is .*: expected an mlp_jax.Split"),
        (lambda v: fit(model(), SMALL.train, v), ANYTHING[1:], "the split is .*: expected an mlp_jax.Split"),
        (lambda v: fit(model(), SMALL.train, learning_rate=v), [*NO_NUMBER, 0, 1e39], f"learning rate is .*: {RATE}"),
        (lambda v: fit(model(), SMALL.train, seed=v), [*ANYTHING, -1, 2**32], f"seed is .*: {WHOLE} 0 to 4294967295"),
        (lambda v: fit(model(), SMALL.train, recipe=v), ANYTHING, "recipe is .*: expected an mlp_jax.Recipe"),
        (lambda v: fit(model(), SMALL.train, on_epoch=v), [1, "print"], "on_epoch is .*: expected a function"),
        (
            lambda v: fit(model(), Split(v, SMALL.train.targets[:1])),
            [np.ones((1, 5), np.float32), np.ones((1, 13), np.float32)],
            r"examples have shape \((5|13),\): the model expects \(12,\)",
        ),
        *(
            (lambda v, use=use, made=made: use(made, Split(SMALL.train.features, v)), [targets], message)
            for use in (fit, evaluate)
            for made, targets, message in (
                (model(), np.arange(70) % 4, "labels go up to 3: the model has 3 classes .* .4 outputs are needed, or"),
                (model(), SMALL.train.targets - 1, "targets run from -1 to 1: number the classes 0, 1, 2"),
                (model(), SMALL.train.targets[:35], r"70 examples but targets of shape \(35,\)"),
                (model(), np.eye(3, dtype=int)[SMALL.train.targets], r"expected labels \[N\] .y.argmax"),
                (model(), np.eye(3)[SMALL.train.targets], "the model expects integer labels .*y.argmax"),
                (model(), SMALL.train.targets[:, None], r"expected labels \[N\] .y.reshape\(-1\)"),
                (model("binary", 1), SMALL.train.targets, 'labels go up to 2: the model has 2 .*task="multiclass"'),
                (model("regression", 2), SMALL.train.targets, r"the model expects values \[N, 2\]"),
                (model("regression", 2), np.ones((70, 3)), "targets have 3 values each: the model expects 2"),
            )
        ),
        (
            lambda v: fit(model(), Split(v, SMALL.train.targets), Split(v.astype(np.uint8), SMALL.train.targets)),
            [255 * SMALL.train.features],
            "features of train are float64 from 0 to .*, those of validation uint8 from 0 to .*, scaled by 255",
        ),
        (lambda v: evaluate(v, SMALL.test), ANYTHING, "model is .*: expected an mlp_jax.MLP"),
        (lambda v: evaluate(model(), v), ANYTHING, "the split is .*: expected an mlp_jax.Split"),
        (
            lambda v: evaluate(model(), Split(v, np.zeros(0, np.int32))),
            [np.zeros((0, 12), np.float32)],
            "the split is empty: expected at least one example",
        ),
        (
            lambda v: evaluate_model(2, v, SMALL.test.features, SMALL.test.targets, *vars(SMALL.test).values()),
            [*ANYTHING, -1, 0, 10**30],
            f"K is .*: {WHOLE} 1 to 1000000",
        ),
        (
            lambda v: load_dataset(v),
            [v for v in [*ANYTHING, 3] if v != "3"],
            "the data set is .*: expected a name or a path",
        ),
        (lambda v: changed(task=v), [*ANYTHING[1:], "ranking"], "unknown task .*: expected one of multiclass, binary"),
        (lambda v: changed(name=v), [None, 3, b"x", []], "name is .*: expected text"),
        (lambda v: changed(class_names=v), NO_LIST, "class_names is .*: expected a list of names"),
        (lambda v: changed(hold_out=v), [*ANYTHING, "last"], "hold_out is .*: expected random or first"),
        (lambda v: changed(split_seed=v), [*ANYTHING, -1, 2**32], f"split_seed is .*: {WHOLE} 0 to 4294967295"),
        (lambda v: changed(x_train=v), [None, "3", {}, object()], "train features have dtype"),
        (lambda v: changed(y_test=v), [None, "3", {}, object()], "test targets have dtype"),
        (lambda v: check_new(Path(v)), ["nul\0"], r"nul\\x00 cannot be written .embedded null byte"),
    ],
)
def test_a_mistake_in_the_api(call, values, message):
    for value in values:
        with pytest.raises(InputError, match=message) as refused:
            call(value)
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 300


def changed(**arguments):
    """A data set with some arguments replaced."""
    x, y = np.ones((9, 2)), np.arange(9) % 3
    return Dataset.from_arrays(**{"x_train": x, "y_train": y, "x_test": x, "y_test": y, **arguments})


def test_numbers_of_numpy_and_arrays_of_no_dimensions_are_numbers():
    grid = Grid(np.array([2, 3]), ["relu"], [np.float32(0.5), np.array(1)], np.int64(2))
    assert grid == Grid((2, 3), ("relu",), (0.5, 1.0), (0, 1))
    recipe = Recipe(epochs=np.int32(2), batch_size=np.array(4), beta1=np.float64(0), epsilon=0)
    assert recipe == Recipe(2, 4, 0.0, epsilon=0.0)
    numbers = (*grid.trials[0], *vars(recipe).values())
    assert {type(number) for number in numbers} == {int, float, str}
    json.dumps(numbers)


def test_a_mistake_in_a_model_and_in_a_trial():
    """Models are checked by beartype in these tests, before their own checks: hence a process without it."""
    rows = [
        ("MLP(v, 2, 3, rngs=nnx.Rngs(0))", '[None, "3", 1.5, True, -1, 0, 2**31]', "features is "),
        ("MLP(12, v, 3, rngs=nnx.Rngs(0))", '[None, "3", 1.5, True, -1, 2**31]', "hidden_units is "),
        ("MLP(12, 2, v, rngs=nnx.Rngs(0))", '[None, "3", 1.5, True, -1, 0, 2**31]', "outputs is "),
        ("MLP(12, 2, 3, activation=v, rngs=nnx.Rngs(0))", '[None, 3, [], "swish"]', "unknown activation "),
        ("MLP(12, 2, 3, use_bias=v, rngs=nnx.Rngs(0))", '[None, 3, "no"]', "use_bias is "),
        ("MLP(12, 2, 3, task=v, rngs=nnx.Rngs(0))", '[None, 3, [], "ranking"]', "unknown task "),
        ("MLP(12, 2, 3, dtype=v, rngs=nnx.Rngs(0))", '[None, 3, "x", [], int, bool, object()]', "dtype is "),
        ("MLP(12, 2, 3, rngs=v)", "[None, 3, 'seed']", "rngs is "),
        ("evaluate_model(v, 2, x, y, x, y)", '[None, "3", 1.5, True, -1, 2**31]', "hidden_units is "),
    ]
    script = "from flax import nnx\nfrom mlp_jax import *\nimport numpy as np\nx = np.ones((6, 2)); y = [0, 1] * 3\n"
    for call, values, message in rows:
        script += f"for v in {values}:\n    try:\n        {call}\n    except InputError as e:\n"
        script += f"        assert str(e).startswith({message!r}) and 'expected' in str(e), str(e)\n"
        script += f"    else:\n        raise SystemExit(f'{call} took {{v!r}}')\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained():
    return sweep(Grid((0, 3), seeds=1), SMALL, recipe=ONCE)


@pytest.fixture
def run(trained, tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    write_run(trained, directory, "good.npz")
    return directory


def replaced(name, content):
    def change(run):
        (run / name).write_bytes(content)

    return change


def edited(name, old, new):
    def change(run):
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new, 1))

    return change


def moved_out(name):
    def change(run):
        (run / name).rename(run.parent / name)
        (run / name).symlink_to(f"../{name}")

    return change


def grown(name, size):
    def change(run):
        os.truncate(run / name, size)  # the rest is a hole, which takes no disk

    return change


def fifo(run):
    (run / "config.json").unlink()
    os.mkfifo(run / "config.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("config.json", b""), "config.json: not JSON"),
        (replaced("config.json", b"[" * 100_000), "config.json: not JSON .maximum recursion depth"),
        (replaced("config.json", b'{"a": ' * 100_000), "config.json: not JSON .maximum recursion depth"),
        (replaced("config.json", b"9" * 5000), "config.json: not JSON .*4300 digits"),
        (replaced("config.json", b"\xff\xfe"), "config.json: not JSON .'utf-8' codec can't decode byte 0xff"),
        (replaced("config.json", b"null"), "config.json: expected a JSON object"),
        (replaced("config.json", b"{}"), "config.json holds no dataset: written by another version"),
        (edited("config.json", '"task": "multiclass"', '"task": 3'), "config.json: task is 3: expected a str"),
        (edited("config.json", '"accuracy"', '"\\ud800"'), r"config.json: score_name is '\\ud800': expected a str"),
        (edited("config.json", '"epochs": 1', '"epochs": "1"'), "config.json: epochs is '1': expected a int"),
        (edited("config.json", '"epochs": 1', '"epochs": true'), "config.json: epochs is True: expected a int"),
        (edited("config.json", '"beta1": 0.9', '"beta1": null'), "config.json: beta1 is None: expected a"),
        (grown("config.json", MOST_JSON + 1), f"config.json: has {MOST_JSON + 1} bytes: expected at most {MOST_JSON}"),
        (grown("trials.csv", MOST_CSV + 1), f"trials.csv: has {MOST_CSV + 1} bytes: expected at most {MOST_CSV}"),
        (fifo, "config.json: is no file: is this a run directory"),
        (moved_out("config.json"), "config.json: leads out of the run directory, to .*: expected a file in it"),
        (moved_out("trials.csv"), "trials.csv: leads out of the run directory"),
        (moved_out("history.csv"), "history.csv: leads out of the run directory"),
        (moved_out("environment.json"), "environment.json: leads out of the run directory"),
        (
            lambda run: (run / "timing.csv").symlink_to("/dev/zero"),
            "timing.csv: leads out of the run directory",
        ),
        (lambda run: (run / "timing.csv").symlink_to("timing.csv"), "timing.csv: cannot be read"),
        (replaced("trials.csv", b""), "trials.csv: has no trial"),
        (replaced("trials.csv", b"\0"), "trials.csv: has no trial"),
        (replaced("trials.csv", b'"' + b"x" * 200_000), "trials.csv: damaged .field larger than field limit"),
        (edited("trials.csv", "diverged", "sunk"), "trials.csv: has no diverged"),
        (edited("trials.csv", "\n0,0,sigmoid", "\n1,0,sigmoid"), "damaged .the trials are not numbered 0, 1, 2"),
        (edited("trials.csv", "0,sigmoid", "-3,sigmoid"), "damaged .hidden_units is -3: expected 0 or more"),
        (edited("trials.csv", "0,sigmoid", "9" * 20 + ",sigmoid"), "damaged .Python int too large"),
        (edited("trials.csv", "0,sigmoid", "0,swish"), "damaged .unknown activation 'swish'"),
        (edited("trials.csv", "0.001", "nan"), "damaged .learning rate is nan"),
        (edited("history.csv", "0.001", "slow"), "history.csv: damaged .could not convert string to float: 'slow'"),
        (edited("history.csv", "\n", "\n1,2\n"), "history.csv: damaged"),
    ],
)
def test_a_run_directory_that_is_none(change, message, run):
    change(run)
    before = sorted(run.rglob("*"))
    with pytest.raises(DataError, match=message) as refused:
        read_run(run)
    assert str(refused.value).isprintable()
    assert sorted(run.rglob("*")) == before


def archive(run, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(run / "parameters.npz", "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"0/A.npy": npy(np.array([Trap("sprung")]))}, "0/A holds pickled objects, which are not loaded"),
        ({"0/A.npy": npy(np.array(["x"]))}, "0/A has dtype <U1: real numbers are taken"),
        ({"0/../../A.npy": npy(np.ones((12, 3)))}, "not the parameters of this run"),
        ({"../A.npy": npy(np.ones((12, 3)))}, "not the parameters of this run"),
        ({"0/A.npy": npy(np.ones(3))}, "not the parameters of this run"),
        (
            {"0/A.npy": npy(np.ones((12, 3), np.float32)), "0/c1.npy": npy(np.ones(5, np.float32))},
            "not the parameters of this run",
        ),
        ({"0/A.npy": npy(np.ones((12, 3)))[:-1]}, r"0/A announces shape \(12, 3\) of float64, but the file holds"),
        ({"0/A.npy": npy(np.ones((12, 3))).replace(b"(12, 3)", b"(9**9,)")}, "cannot be read"),
        ({"0/A.npy": npy(np.ones((12, 3))).replace(b"(12, 3), ", b"(1<<40,) ")}, "cannot be read"),
        ({"0/A.npy": b"\x93NUMPY\x02\0\xff\xff\xff\xff"}, "0/A announces a header of 4294967295 bytes"),
        ({"0/A.npy": b"\x93NUMPY\x09\0"}, "0/A is in version"),
        (
            {"0/A.npy": npy(np.ones((12, 3), np.float32)), "0/B.npy": npy(np.ones((3, 3), np.float32))},
            "trial 0 has 3 units",
        ),
    ],
)
def test_parameters_that_are_none(members, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive(run, members)
    before = everything(tmp_path)
    with pytest.raises(DataError, match=message) as refused:
        read_run(run).model(0)
    assert "parameters.npz" in str(refused.value)
    assert str(refused.value).isprintable()
    assert everything(tmp_path) == before


def test_parameters_out_of_the_run_directory(run):
    moved_out("parameters.npz")(run)
    with pytest.raises(DataError, match=r"parameters.npz: leads out of the run directory"):
        read_run(run).model(0)


def test_figures_out_of_the_run_directory(run, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (run / "figures").symlink_to(tmp_path / "elsewhere")
    assert cli.main(["plot", str(run)]) == 2
    assert "figures leads out of the run directory: remove that link, or name one with --out" in capsys.readouterr().err
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_that_announces_what_is_not_there(compression, tmp_path):
    """16 GiB, in a file of a few bytes: nothing is allocated for them."""
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x_train.npy", npy(np.ones(1)).replace(b"(1,), }", b"(1<<34,), }"))
        file.writestr("y_train.npy", npy(np.ones(1)).replace(b"(1,), }" + b" " * 10, b"(17179869184,), }"))
    for name, message in (("x_train", "cannot be read"), ("y_train", r"announces shape \(17179869184,\) of float64")):
        tracemalloc.start()
        with pytest.raises(DataError, match=message):
            read_npz(path, [name])
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
        tracemalloc.stop()


def test_an_archive_that_expands_without_end_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x_train=np.zeros(1 << 22))  # 32 MiB in 32 KiB
    assert path.stat().st_size < 1 << 16
    np.testing.assert_array_equal(read_npz(path, ["x_train"])["x_train"], np.zeros(1 << 22))
    monkeypatch.setattr("mlp_jax.datasets.npz.machine_memory", lambda: 1 << 24)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DataError, match="x_train holds 33554560 bytes, more than this machine's 16777216"):
        read_npz(path, ["x_train"])


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_is_compressed_otherwise_is_refused(compression, tmp_path):
    """Those expand by more than can be told from the file's size."""
    with zipfile.ZipFile(tmp_path / "set.npz", "w", compression) as file:
        file.writestr("x_train.npy", npy(np.ones(3)))
    with pytest.raises(DataError, match="x_train is encrypted, or compressed in another way than deflate"):
        read_npz(tmp_path / "set.npz", ["x_train"])


def test_files_that_may_not_be_read(run, place, monkeypatch):
    """Whoever runs the tests may be allowed to read everything: so the system says no here."""

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    for read, path in ((load_dataset, place / "good.npz"), (read_run, run)):
        with pytest.raises(DataError, match=r"cannot be read .Permission denied") as refused:
            read(path)
        assert str(refused.value).isprintable()


def test_no_trial_of_the_sweep(trained):
    for trial in (Trial(6, "sigmoid", 1e-3, 0), Trial(3, "relu", 1e-3, 0)):
        with pytest.raises(InputError, match=r"the sweep has no Trial.*: expected one of its trials"):
            trained.weights(trial)
    with pytest.raises(InputError, match=f"trial is 2: {WHOLE} -2 to 1"):
        trained.model(2)
    for trial in (None, "0", 1.5, True, [0]):
        with pytest.raises(InputError, match=f"trial is .*: {WHOLE} -2 to 1"):
            trained.weights(trial)


def test_no_trap_was_sprung(place):
    """Last: none of the above ran what a pickle asked for."""
    assert not (place / "sprung").exists()
    Trap(place / "sprung").__reduce__()[0](*Trap(place / "sprung").__reduce__()[1]).close()
    assert (place / "sprung").exists()  # which loading it would have done
