"""The real command, killed, interrupted and starved of disk at random moments: nothing is lost, ever.

A run that is resumed until it is finished has, byte for byte, the results of one that nothing happened to.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from conftest import make_dataset, save_dataset

RESULTS = ("config.json", "trials.csv", "history.csv", "parameters.npz")
EPOCHS = 12
MOST_SECONDS = 120


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with a data set, a cache of compiled programs, and a run that nothing happened to."""
    place = tmp_path_factory.mktemp("kill")
    save_dataset(make_dataset(), place / "small.npz")
    done = finish(begin(place, "whole"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return place


def start(place: Path, *arguments: str, limit: int | None = None, command: str = "sweep") -> subprocess.Popen[str]:
    """The command, in a process of its own whose files may have so many bytes."""
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "1",  # chunks of replicas as below
        "JAX_ENABLE_COMPILATION_CACHE": str(int(limit is None)),  # its files would not fit either
        "JAX_COMPILATION_CACHE_DIR": str(place / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(limit or ""), command, *arguments],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# The limit is set in there, as a fork between two programs is no place for Python where JAX has threads.
COMMAND = """
import resource, sys
if limit := sys.argv.pop(1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
from mlp_jax.cli import main
sys.exit(main())
"""


def begin(place: Path, run: str, *, limit: int | None = None) -> subprocess.Popen[str]:
    arguments = ["--dataset", "small.npz", "--hidden-units", "0", "3", "--seeds", "3", "--epochs", str(EPOCHS)]
    # 3 replicas in chunks of 2 and 1: so a run has replicas that are finished, in training, and not begun.
    arguments += ["--batch-size", "16", "--checkpoint-every", "1", "--memory", "0.000165"]
    return start(place, *arguments, "--out", run, limit=limit)


def resume(place: Path, run: str) -> subprocess.Popen[str]:
    return start(place, "--resume", run, "--checkpoint-every", "1", "--memory", "0.000165")


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=MOST_SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def begin_search(place: Path, run: str) -> subprocess.Popen[str]:
    space = ["--dataset", "small.npz", "--hidden-units", "0", "3", "--learning-rates", "0.001", "0.01", "0.1"]
    rungs = ["--seeds", "2", "--epochs", "8", "--eta", "2", "--batch-size", "16", "--checkpoint-every", "1"]
    return start(place, *space, *rungs, "--out", run, command="search")


def resume_search(place: Path, run: str) -> subprocess.Popen[str]:
    return start(place, "--resume", run, "--checkpoint-every", "1", command="search")


def assert_as_if_nothing_happened(place: Path, run: str, like: str = "whole") -> None:
    for name in RESULTS:
        assert (place / run / name).read_bytes() == (place / like / name).read_bytes(), name
    names = sorted(path.name for path in (place / run).iterdir())
    assert names == sorted(path.name for path in (place / like).iterdir())  # and nothing that was on its way


# SIGKILL


def after(seconds: float) -> Callable[[Path], bool]:
    begun: list[float] = []

    def late(_: Path) -> bool:
        begun.append(time.monotonic())
        return begun[-1] - begun[0] > seconds

    return late


def writing_a_state(run: Path) -> bool:
    return any((run / "checkpoints" / "states").glob("*tmp*"))


def writing_finished_replicas(run: Path) -> bool:
    return any((run / "checkpoints" / "finished").iterdir())


def writing_results(run: Path) -> bool:
    return (run / ".results").exists()


def placing_results(run: Path) -> bool:
    """From the first one in its place to the last trace of checkpoints."""
    return (run / "trials.csv").exists() and (run / "checkpoints").exists()


MOMENTS = (writing_a_state, writing_finished_replicas, writing_results, placing_results)


def kill_at(process: subprocess.Popen[str], run: Path, moment: Callable[[Path], bool]) -> bool:
    """Kill a process when it is that far; whether it was there to be killed."""
    while process.poll() is None:
        with contextlib.suppress(OSError):
            if moment(run):
                break
        time.sleep(0.0005)
    process.kill()
    err = process.communicate()[1]
    assert process.returncode in (0, -signal.SIGKILL), (process.returncode, err)
    assert "Traceback" not in err
    # Killed while it moved its last files away: it was finished.
    return process.returncode != 0


def kill_again_and_again(
    place: Path, run: str, moments: Iterable[Callable[[Path], bool]], begin=begin, resume=resume, like="whole"
) -> None:
    """Kill a run at each of these moments; each time it is resumed, or, should it be finished by then, begun again."""
    for moment in moments:
        for _ in range(20):
            if (place / run / "manifest.json").exists():
                assert finish(resume(place, run)).returncode == 0
                assert_as_if_nothing_happened(place, run, like)
                shutil.rmtree(place / run)
            begun = (place / run / "config.json").exists()
            if kill_at(resume(place, run) if begun else begin(place, run), place / run, moment):
                break
        else:
            pytest.fail("that moment never comes")
    done = finish(resume(place, run) if (place / run / "config.json").exists() else begin(place, run))
    assert done.returncode == 0, done.stderr
    assert_as_if_nothing_happened(place, run, like)


def delayed(moment: Callable[[Path], bool], seconds: float) -> Callable[[Path], bool]:
    def then(run: Path) -> bool:
        if moment(run):
            time.sleep(seconds)
            return True
        return False

    return then


def test_killed_at_each_kind_of_moment(place):
    moments = (after(2.5), writing_a_state, delayed(writing_a_state, 0.03), *MOMENTS[1:])
    kill_again_and_again(place, "killed", moments)
    again = finish(resume(place, "killed"))
    assert again.returncode == 0
    assert "killed is finished: there is nothing to resume" in again.stdout


def at_rung(number: int) -> Callable[[Path], bool]:
    return lambda run: (run / "checkpoints" / f"rung-{number}").exists()


def finished_at_rung(number: int) -> Callable[[Path], bool]:
    return lambda run: any((run / "checkpoints" / f"rung-{number}" / "finished").glob("*.npz"))


@pytest.mark.slow
def test_a_search_killed_at_rungs_and_between_them(place):
    done = finish(begin_search(place, "searched"))
    assert done.returncode == 0, done.stderr
    kinds = {"begin": begin_search, "resume": resume_search, "like": "searched"}
    moments = (after(2.5), writing_finished_replicas, at_rung(1), finished_at_rung(1), at_rung(3), writing_results)
    kill_again_and_again(place, "killed-search", moments, **kinds)


@pytest.mark.slow
def test_a_search_killed_at_any_time(place):
    assert finish(begin_search(place, "any")).returncode == 0
    chance = random.Random(int(os.environ.get("KILL_SEED", "0")))
    moments = [after(chance.uniform(0.2, 8)) for _ in range(40)]
    kinds = {"begin": begin_search, "resume": resume_search, "like": "any"}
    kill_again_and_again(place, "any-killed", moments, **kinds)


def removing_what_was(run: Path) -> bool:
    """While results of a run that is extended in place take the place of its own; or just after an extension began."""
    return not (run / "manifest.json").exists() and (run / "extension").exists()


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [True, False])
def test_an_extension_is_killed_at_each_kind_of_moment(place, in_place):
    """Before and after it takes the place of a run, that run is whole, or can be finished."""
    how = ("--seeds", "5", "--checkpoint-every", "1", "--memory", "0.000165")
    if not (place / "grown").exists():
        assert finish(start(place, "--extend", "whole", *how, "--out", "grown")).returncode == 0
    run = f"extended-{in_place}"
    for moment in (removing_what_was, *MOMENTS[: 3 if in_place else 4]):
        shutil.rmtree(place / run, ignore_errors=True)
        if in_place:
            shutil.copytree(place / "whole", place / run)
        where = ("--extend", run, "--in-place") if in_place else ("--extend", "whole", "--out", run)
        killed = kill_at(start(place, *where, *how), place / run, moment)
        if in_place and moment is not removing_what_was:
            for name in RESULTS:
                assert (place / run / name).read_bytes() == (place / "whole" / name).read_bytes(), name
        done = finish(resume(place, run))
        assert done.returncode == 0, (killed, done.stderr)
        assert_as_if_nothing_happened(place, run, "grown")


def begin_until_decided(place: Path, run: str) -> subprocess.Popen[str]:
    asked = ["--dataset", "small.npz", "--hidden-units", "1", "3", "--learning-rates", "0.1", "--epochs", "6"]
    asked += ["--seeds", "2", "--until-decided", "--most-seeds", "8", "--batch-size", "16", "--checkpoint-every", "1"]
    return start(place, *asked, "--out", run)


def resume_until_decided(place: Path, run: str) -> subprocess.Popen[str]:
    return start(place, "--resume", run, "--checkpoint-every", "1")


def adding_seeds(run: Path) -> bool:
    return (run / "extension" / "lacking.json").exists()


def writing_added_results(run: Path) -> bool:
    return adding_seeds(run) and writing_results(run)


@pytest.mark.slow
def test_seeds_that_are_added_until_it_is_decided_are_killed_at_any_time(place):
    done = finish(begin_until_decided(place, "decided"))
    assert done.returncode == 0, done.stderr
    assert "Seeds by width: 1: 8" in done.stdout  # three looks
    chance = random.Random(int(os.environ.get("KILL_SEED", "0")))
    kinds = (*MOMENTS, adding_seeds, writing_added_results, removing_what_was)
    moments = [delayed(kind, chance.uniform(0, 0.05)) for kind in kinds]
    moments += [after(chance.uniform(1, 12)) for _ in range(8)]
    chance.shuffle(moments)
    how = {"begin": begin_until_decided, "resume": resume_until_decided, "like": "decided"}
    kill_again_and_again(place, "decided-killed", moments, **how)


@pytest.mark.slow
def test_killed_a_hundred_times(place):
    """At moments of all kinds, a little after them, and at any time."""
    chance, moments = random.Random(int(os.environ.get("KILL_SEED", "0"))), []
    for i in range(100):
        kind = (*MOMENTS, None)[i % 5]
        late = chance.choice((0, chance.uniform(0, 0.05)))
        moments.append(after(chance.uniform(0.2, 6)) if kind is None else delayed(kind, late))
    chance.shuffle(moments)
    kill_again_and_again(place, "hundred", moments)


# Signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_epoch_saves_and_says_how_to_go_on(place, number, code):
    run = f"stopped-{code}"
    process = begin(place, run)
    wait_until(lambda: writing_a_state(place / run), process)
    process.send_signal(number)
    done = finish(process)
    assert done.returncode == code
    first, second = done.stderr.splitlines()
    assert first == "mlp-jax: stopping after this epoch (once more to stop at once)"
    assert second == f"mlp-jax: stopped; to continue from the last checkpoint: mlp-jax sweep --resume {run}"
    done = finish(resume(place, run))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_as_if_nothing_happened(place, run)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if holds():
                return
        time.sleep(0.002)
    pytest.fail(f"did not happen; exit code {process.poll()}")


def test_signals_are_heard_while_an_epoch_takes_long(tmp_path):
    """At the first one it is said at once; at the second one the program ends, whatever the devices do."""
    program = (
        "import hashlib\n"
        "from mlp_jax.cli._signals import Stop\n"
        "with Stop(lambda: 'interrupted; parting words'):\n"
        "    print('begun', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)\n"  # minutes, in which no handler can run
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.2)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert "stopping after this epoch" in process.stderr.readline()
    assert time.monotonic() - begun < 5
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=20)[1]
    assert process.returncode == 143
    assert err == "mlp-jax: interrupted; parting words\n"
    assert time.monotonic() - begun < 20


# Two at once


@pytest.mark.slow
def test_a_second_sweep_into_the_same_directory_is_refused(place):
    run = "contended"
    first = begin(place, run)
    wait_until(lambda: (place / run / "config.json").exists(), first)
    first.send_signal(signal.SIGSTOP)
    for second, message in (
        (resume(place, run), f"{run}: another sweep is writing to it"),
        (begin(place, run), f"{run} is there already and is not empty"),
    ):
        done = finish(second)
        assert done.returncode == 2
        assert done.stderr.startswith(f"mlp-jax: error: {message}")
        assert done.stderr.count("\n") == 1
    first.kill()  # its lock goes with it
    first.communicate()
    assert (place / run / ".lock").exists()
    assert finish(resume(place, run)).returncode == 0
    assert_as_if_nothing_happened(place, run)


# Disk


def assert_one_line(done: subprocess.CompletedProcess[str], run: str, *reasons: str) -> None:
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stderr.startswith("mlp-jax: error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert any(reason in done.stderr for reason in reasons), done.stderr
    if run and "cannot be written: " not in done.stderr:  # the directory itself: that says enough
        assert f"mlp-jax sweep --resume {run}" in done.stderr


@pytest.mark.slow
def test_files_that_may_not_grow_are_one_line_and_what_was_saved_is_intact(place):
    """A limit on the size of files: the states fit, the results of the replicas do not."""
    run = "limited"
    process = begin(place, run)
    wait_until(lambda: (place / run / "checkpoints" / "states" / "3").exists(), process)
    process.kill()
    process.communicate()
    limited = start(place, "--resume", run, "--checkpoint-every", "1", "--memory", "0.000165", limit=3000)
    assert_one_line(finish(limited), run, "File too large")
    done = finish(resume(place, run))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_as_if_nothing_happened(place, run)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_one_line(place):
    (place / "closed").mkdir(mode=0o500)
    done = finish(begin(place, "closed/run"))
    assert_one_line(done, "", "cannot be written")


def mounted(path: Path, size: str) -> None:
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip()}")


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 4, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256])
def test_a_full_disk_is_one_line_and_what_was_saved_is_intact(place, free):
    """So many KiB are free of a small disk, when the run is some epochs old."""
    disk = place / f"disk-{free}"
    mounted(disk, "4m")
    try:
        run = f"{disk.name}/run"
        process = begin(place, run)
        wait_until(lambda: (place / run / "checkpoints" / "states" / "2").exists(), process)
        process.kill()
        process.communicate()
        with (disk / "filler").open("wb") as filler, contextlib.suppress(OSError):
            while shutil.disk_usage(disk).free > free * 1024:
                filler.write(bytes(4096))
                filler.flush()
        done = finish(resume(place, run))
        if done.returncode != 0:
            assert_one_line(done, run, "No space left")
        (disk / "filler").unlink()
        done = finish(resume(place, run))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert_as_if_nothing_happened(place, run)
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_disk_that_becomes_read_only_is_one_line_and_what_was_saved_is_intact(place):
    disk, run = place / "ro", "ro/run"
    mounted(disk, "4m")
    try:
        process = begin(place, run)
        wait_until(lambda: (place / run / "checkpoints" / "states" / "2").exists(), process)
        process.kill()
        process.communicate()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = finish(resume(place, run))
        assert_one_line(done, run, "Read-only file system")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        done = finish(resume(place, run))
        assert done.returncode == 0, done.stderr
        assert_as_if_nothing_happened(place, run)
    finally:
        subprocess.run(["umount", disk], check=True)
