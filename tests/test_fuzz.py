"""The readers under hostile files: DataError in one line, or what was read; no other exception, no flood of memory.

The default run takes a few hundred cases of each with hypothesis. The slow one takes 100,000 and more with atheris
(extra ``fuzz``), which follows the coverage of our code; ``pytest -m slow -s tests/test_fuzz.py`` prints its figures.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import READERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = {"idx": 50_000, "npz": 40_000, "run": 30_000}
"""Of the slow test, by reader."""

HOSTILE = st.sampled_from(
    [
        b"\0",
        b"\xff",
        b"\n",
        b",",
        b'"',
        b"[" * 3000,
        b"9" * 5000,
        b"1e999",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\xff\xff\xff\xff",
    ]
)
"""What upsets parsers: NUL, deep nesting, more digits than an int may have, surrogates, greatest counts."""


@st.composite
def hostile_files(draw, seeds):
    """A file to start from, with stretches replaced by random or hostile bytes, or cut short; the first byte stays."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(1, len(data)))
        gone = draw(st.integers(0, 8))
        data = data[:start] + draw(st.one_of(st.just(b""), st.binary(max_size=8), HOSTILE)) + data[start + gone :]
    return data[: draw(st.one_of(st.just(len(data)), st.integers(1, len(data))))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("reader", READERS)
def test_hostile_files_are_read_or_refused(reader, data, tmp_path):
    read, seeds = READERS[reader]
    read(data.draw(hostile_files(seeds)), tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_what_fuzzing_starts_from_is_read(reader, tmp_path, monkeypatch):
    """Otherwise the fuzzing would try the first check alone."""
    read, seeds = READERS[reader]
    monkeypatch.setattr("fuzz.DataError", type("Never", (Exception,), {}))  # so that a refusal is an error here
    for seed in seeds:
        read(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_hundred_thousand_cases(reader, tmp_path):
    pytest.importorskip("atheris", reason="needs the extra fuzz")
    report = tmp_path / "report.json"
    script = Path(__file__).with_name("fuzz.py")
    done = subprocess.run(
        [sys.executable, script, reader, str(CASES[reader]), "3600", report],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(report.read_text())
    print(record)
    assert record["cases"] == CASES[reader]
    assert record["grown_mib"] < 512
