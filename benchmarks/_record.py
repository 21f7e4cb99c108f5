"""The record of a benchmark or study: what was measured, every sample of it, with what; and tables made of records."""

import datetime
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent / "records"

_DIGITS = 6  # microseconds
_DISTRIBUTIONS = (
    "mlp-jax",
    "jax",
    "jaxlib",
    "jax-cuda12-plugin",
    "jax-cuda13-plugin",
    "flax",
    "optax",
    "numpy",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "scikit-learn",
    "torch",
    "optuna",
    "keras-tuner",
    "mnist1d",
)
# What a user may have set, and what changes how fast these packages are.
_VARIABLES = ("XLA_FLAGS", "JAX_PLATFORMS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Number, median and range of the samples, and the samples, in the order they were taken."""
    return {
        "n": len(samples),
        "median": round(statistics.median(samples), _DIGITS),
        "min": round(min(samples), _DIGITS),
        "max": round(max(samples), _DIGITS),
        "samples": [round(sample, _DIGITS) for sample in samples],
    }


def environment() -> dict[str, Any]:
    """Date, command, commit, versions and machine: to be called before anything is measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", _script(), *_what_was_asked(sys.argv[1:])]),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | _versions(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        # Of the cores that are there, those that this process may use.
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        # Of the last minute: if it is not near 0, others were at work on this machine.
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _script() -> str:
    """The program that runs, from the repository's root."""
    path = Path(sys.argv[0]).resolve()
    root = Path(__file__).parents[1]
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _what_was_asked(arguments: Sequence[str]) -> list[str]:
    """Arguments without where to write: that is nobody's business, and changes nothing that is measured."""
    if "--out" not in arguments:
        return list(arguments)
    place = arguments.index("--out")
    return [*arguments[:place], *arguments[place + 2 :]]


def write_record(record: dict[str, Any], directory: Path, name: str) -> Path:
    """Write a record as ``name``.json; an older one of that name is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    text = json.dumps(record, indent=1, ensure_ascii=False)
    # Lists of numbers each on one line.
    text = re.sub(r"\[\s+([-+.\deE,\s]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read_record(directory: Path, name: str) -> dict[str, Any]:
    """The record of that name."""
    record: dict[str, Any] = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    return record


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; every column but the first is aligned to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """A page with these tables between their ``<!-- NAME -->`` and ``<!-- end -->``; other places are left alone."""

    def table(found: re.Match[str]) -> str:
        return f"{found[1]}\n{tables[found[2]]()}\n\n{found[3]}" if found[2] in tables else found[0]

    return re.sub(r"(<!-- ([\w-]+) -->\n).*?(<!-- end -->)", table, text, flags=re.DOTALL)


def _versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit that is measured, with -dirty behind it if files were changed; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
