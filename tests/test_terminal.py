"""What is printed: tables on narrow terminals, where nothing may be cut, and in encodings that lack characters."""

import io
import re

import numpy as np
import pytest
from conftest import make_dataset, make_run, save_dataset
from rich.console import Console

from mlp_jax import Grid, cli
from mlp_jax.answers.terminal import Display, fitted_table, print_table
from mlp_jax.runs.directory import read_run
from mlp_jax.sweeps.record import Progress

HEADINGS = ("M", "parameters", "train", "validation", "test")
ROW = ("100", "79,510", "99.17 ± 0.03", "97.61 ± 0.16", "97.46 ± 0.07")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of two settings."""
    path = tmp_path_factory.mktemp("run")
    save_dataset(make_dataset(), path / "small.npz")
    return make_run(make_dataset(), str(path / "small.npz"), path / "run", Grid((10, 100), ("relu", "tanh"), seeds=2))


def printed(width, *arguments, terminal=True, **how):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)
    print_table(console, *arguments, **how)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(100, ()), (80, ()), (63, ("parameters",)), (40, ("parameters", "train")), (15, HEADINGS[1:4])],
)
def test_a_table_leaves_columns_out_and_cuts_no_cell(width, left_out):
    said = printed(width, HEADINGS, [ROW], drop=HEADINGS[1:4], elsewhere="trials.csv")
    assert "…" not in said
    for heading, cell in zip(HEADINGS, ROW, strict=True):
        assert (cell in said) == (heading not in left_out)
    flat = " ".join(said.split())
    assert (f"left out ({', '.join(left_out)}); trials.csv has everything." in flat) == bool(left_out)
    if width > 15:
        assert max(map(len, said.splitlines())) <= width


@pytest.mark.parametrize(
    ("width", "columns", "deviations"),
    [(60, (0, 2, 3, 4), True), (41, (0, 3, 4), True), (36, (0, 2, 3, 4), False), (24, (0, 3), False)],
)
def test_standard_deviations_are_left_out_before_what_decides(width, columns, deviations):
    said = printed(width, HEADINGS, [ROW], drop=("parameters", "train"), then_drop=("test",), elsewhere="trials.csv")
    for heading, cell in zip(HEADINGS, ROW, strict=True):
        assert (cell.partition(" ± ")[0] in said) == (HEADINGS.index(heading) in columns)
    assert ("±" in said) == deviations
    assert ("standard deviations" in said) == (not deviations)
    assert max(map(len, said.splitlines())) <= width


def test_a_pipe_has_every_column():
    said = printed(10, HEADINGS, [ROW], drop=HEADINGS[1:4], terminal=False)
    assert all(cell in said for cell in ROW)
    assert "left out" not in said


def test_headings_and_sentences_wrap_at_words():
    console = Console(width=30, force_terminal=True)
    found = fitted_table(console, ("M", "a heading of words", "said"), [[("1", "2", "word " * 20)]], prose="said")
    assert found.left_out == ()
    assert found.width > 30  # the least of a column of sentences
    said = printed(60, ("M", "a heading of words", "said"), [("1", "2", "word " * 20)], prose="said")
    assert said.count("word ") >= 20
    assert max(map(len, said.splitlines())) <= 60


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("command", ["analyse", "evaluate --trial all", "evaluate", "check"])
def test_commands_on_a_narrow_terminal(command, width, run, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    name, *options = command.split()
    assert cli.main([name, str(run), *options]) == 0
    said = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "…" not in said
    if name != "check":
        best = read_run(run).trials["test_score"]
        assert re.search(rf"{100 * best.max():.2f}|{100 * best.mean():.2f}", said)
    if command.endswith("all"):
        rows = re.findall(r"^│ +(\d+) │ +(10+) │", said, flags=re.MULTILINE)
        assert [int(trial) for trial, _ in rows] == list(range(8))
        assert {units for _, units in rows} == {"10", "100"}


def test_what_cannot_be_encoded_is_printed_like_it(run, monkeypatch):
    for encoding in ("ascii", "latin-1"):
        output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr("sys.stdout", output)
        assert cli.main(["analyse", str(run)]) == 0
        output.flush()
        said = output.buffer.getvalue().decode(encoding)
        assert "step in M" in said
        assert "10 -> 100" in said
        assert "?" not in said.replace("need?", "").replace("chance?", "")


def progress(epoch, done, trials=4):
    values = np.full(trials, 0.5)
    return Progress(epoch, 4, 1, 1, 0.0, done, values, values, values, values, np.zeros(trials, bool))


def test_progress_is_labelled_and_the_time_that_remains_is_without_the_first_epoch(monkeypatch):
    console = Console(file=io.StringIO(), width=160)
    clock = iter([100.0, 102.0, 104.0, 106.0])  # the first epoch has the compilation in it
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    with Display(console, Grid((2, 3), seeds=2), 4, "accuracy") as display:
        for epoch in range(1, 5):
            display.on_epoch(progress(epoch, epoch / 4))
    lines = [line for line in console.file.getvalue().splitlines() if line.startswith("epoch")]
    assert [re.findall(r"(\d+) s remaining", line) for line in lines] == [[], ["4"], ["2"], []]
    assert all(
        "mean of 4 trials: running loss 0.5000  running accuracy 50.00 %  validation 50.00 %" in line for line in lines
    )
