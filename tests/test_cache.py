"""The compilation cache: a second process compiles nothing; nobody else can reach what is kept."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from conftest import make_dataset, save_dataset

from mlp_jax import SweepWarning, cli, enable_compilation_cache
from mlp_jax.cli import _training

SWEEP = """
import collections, json, sys
sys.path.insert(0, sys.argv[1])
import jax
from conftest import make_dataset, save_dataset
from mlp_jax import Grid, Recipe, enable_compilation_cache, sweep

jax.config.update("jax_enable_compilation_cache", True)
events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name.rsplit("/", 1)[-1]]))
place = enable_compilation_cache()
result = sweep(Grid((3, 0), seeds=2), make_dataset(), recipe=Recipe(epochs=2))
print(json.dumps({"place": str(place), "loss": result.history["loss"].tolist()} | events))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    def run():
        done = subprocess.run(
            [sys.executable, "-c", SWEEP, str(Path(__file__).parent)],
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    first, second = run(), run()
    assert first["cache_misses"] > 0
    assert "cache_misses" not in second
    assert second["cache_hits"] >= first["cache_misses"]
    assert second["loss"] == first["loss"]
    place = Path(first["place"])
    assert place.is_relative_to(tmp_path)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.fixture
def cache_home(tmp_path, monkeypatch):
    """A user's cache directory, and JAX as it is when nobody has said anything of its cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    jax.config.update("jax_enable_compilation_cache", False)
    jax.config.update("jax_compilation_cache_dir", before)


def test_what_was_said_to_jax_is_left_alone(cache_home):
    jax.config.update("jax_compilation_cache_dir", str(cache_home / "mine"))
    assert enable_compilation_cache() == cache_home / "mine"
    jax.config.update("jax_enable_compilation_cache", False)
    assert enable_compilation_cache() is None
    assert list(cache_home.iterdir()) == []


def test_a_directory_that_others_could_read_is_closed_to_them(cache_home):
    used = enable_compilation_cache()
    used.chmod(0o755)
    jax.config.update("jax_compilation_cache_dir", None)
    assert enable_compilation_cache() == used
    assert stat.S_IMODE(used.stat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["a link", "a file", "nothing, and no place for it"])
def test_what_cannot_be_used_is_named_and_not_used(cache_home, what):
    used = enable_compilation_cache()
    used.rmdir()
    if what == "a link":
        (cache_home / "open to all").mkdir()
        used.symlink_to(cache_home / "open to all")
    elif what == "a file":
        used.write_text("")
    else:
        used.parent.rmdir()
        used.parent.write_text("")
    jax.config.update("jax_compilation_cache_dir", None)
    with pytest.warns(SweepWarning, match=f"are not kept: {used}"):
        assert enable_compilation_cache() is None


@pytest.mark.slow
def test_the_command_line_turns_it_on_and_off(tmp_path, monkeypatch):
    save_dataset(make_dataset(), tmp_path / "small.npz")
    calls = []
    monkeypatch.setattr(_training, "enable_compilation_cache", lambda: calls.append(1))
    train = ["train", "--dataset", str(tmp_path / "small.npz"), "--epochs", "1"]
    assert cli.main([*train, "--no-cache"]) == 0
    assert calls == []
    assert cli.main(train) == 0
    assert calls == [1]
