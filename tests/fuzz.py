"""Fuzzing of the readers of files: for each a function from bytes to a file and its reading, and files to start from.

    python tests/fuzz.py READER CASES SECONDS REPORT

runs one of them under atheris (extra ``fuzz``), guided by the coverage of our own code, until so many cases or seconds
are past, and writes what it took as JSON. tests/test_fuzz.py runs all of them, and a few cases under hypothesis.
"""

import gzip
import inspect
import io
import json
import os
import resource
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlp_jax import DataError, SweepWarning, load_dataset
from mlp_jax.answers.analysis import summarize
from mlp_jax.datasets.idx import read_idx
from mlp_jax.runs.directory import read_run

_IDX = struct.pack(">2xBB3I", 8, 3, 2, 3, 4) + bytes(range(24))
_ARRAYS = {"x_train": np.ones((6, 2)), "y_train": np.arange(6) % 3, "x_test": np.ones((3, 2)), "y_test": np.arange(3)}
_CONFIG = {
    "dataset": "mine.npz",
    "dataset_name": "mine",
    "dataset_digest": "00",
    "task": "multiclass",
    "score_name": "accuracy",
    "hidden_units": [0, 3],
    "activations": ["sigmoid"],
    "learning_rates": [0.001],
    "seeds": [0],
    "epochs": 1,
    "batch_size": 128,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-07,
    "layout": "packed",
    "use_bias": True,
    "dtype": "float32",
}
_SCORES = "train_loss,train_score,validation_loss,validation_score,test_loss,test_score"
_RUN = {
    "config.json": json.dumps(_CONFIG),
    "environment.json": '{"seconds": {"epochs": [0.5]}}',
    "trials.csv": f"trial,hidden_units,activation,learning_rate,seed,parameters,diverged,{_SCORES}\n"
    "0,0,sigmoid,0.001,0,9,0,1.1,0.4,1.1,0.4,1.1,nan\n1,3,sigmoid,0.001,0,21,1,inf,0.4,1.1,0.4,1.1,0.4\n",
    "history.csv": "trial,hidden_units,activation,learning_rate,seed,epoch,diverged,loss,score,validation_loss,"
    "validation_score\n0,0,sigmoid,0.001,0,1,0,1.1,0.4,1.1,0.4\n1,3,sigmoid,0.001,0,1,1,nan,0.4,1.1,0.4\n",
    "timing.csv": "program,hidden_units,seconds,device\nours,3,0.5,cpu\n",
}


def read_or_refuse(read: Callable[[Path], object], path: Path) -> object:
    """What was read, or None if DataError says, in one line, why it was not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SweepWarning)  # of values that are doubtful, and were read
            return read(path)
    except DataError as error:
        message = str(error)
    assert message.isprintable(), message
    return None


def idx(data: bytes, directory: Path) -> None:
    """An IDX file; the first byte says whether the rest is compressed first, so that damage gets past the checksum."""
    path = directory / "file"
    path.write_bytes(gzip.compress(data[1:], 1) if data[:1] == b"z" else data[1:])
    array = read_or_refuse(lambda path: read_idx(path), path)
    assert array is None or array.nbytes <= len(data)


def npz(data: bytes, directory: Path) -> None:
    """A data set in an .npz: the whole file, or, if the first byte says so, one array of an undamaged archive."""
    path = directory / "set.npz"
    if data[:1] in (b"s", b"d"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if data[:1] == b"s" else zipfile.ZIP_DEFLATED) as archive:
            for name, array in _ARRAYS.items():
                archive.writestr(f"{name}.npy", data[1:] if name == "x_train" else _npy(array))
    else:
        path.write_bytes(data[1:])
    read_or_refuse(load_dataset, path)


def run(data: bytes, directory: Path) -> None:
    """A run directory, one file of which is the data; the first byte says which. What is read can be worked with."""
    changed = list(_RUN)[data[0] % len(_RUN)] if data else "config.json"
    for name, content in _RUN.items():
        path = directory / name
        if name == changed or not path.exists():
            path.write_bytes(data[1:] if name == changed else content.encode())
    found = read_or_refuse(read_run, directory)
    (directory / changed).unlink()
    if found is not None:
        with np.errstate(all="ignore"):  # losses may be infinite
            summarize(found.trials)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **_ARRAYS)
    return file.getvalue()


READERS: dict[str, tuple[Callable[[bytes, Path], None], list[bytes]]] = {
    "idx": (idx, [b"z" + _IDX, b"p" + _IDX, b"p" + gzip.compress(_IDX, mtime=0)]),
    "npz": (npz, [b"w" + _npz(), b"s" + _npy(_ARRAYS["x_train"]), b"d" + _npy(_ARRAYS["x_train"])]),
    "run": (run, [bytes([i]) + content.encode() for i, content in enumerate(_RUN.values())]),
}
"""By name: the function, and data to start from."""


def main() -> None:
    """Fuzz as the command line says."""
    import atheris

    name, cases, seconds, report = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]).absolute()
    read, seeds = READERS[name]
    directory, corpus = report.parent / f"{name}-case", report.parent / f"{name}-corpus"
    for each in (directory, corpus):
        each.mkdir()
    for i, seed in enumerate(seeds):
        (corpus / str(i)).write_bytes(seed)
    began, done = time.monotonic(), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def one(data: bytes) -> None:
        nonlocal done
        read(data, directory)
        done += 1
        past = time.monotonic() - began
        if done >= cases or past > seconds:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            record = {"reader": name, "cases": done, "seconds": round(past, 1)}
            report.write_text(json.dumps(record | {"peak_mib": peak >> 10, "grown_mib": (peak - before) >> 10}))
            os._exit(0)  # libFuzzer takes any other way out for a crash

    for module in ("mlp_jax.datasets", "mlp_jax.datasets.npz", "mlp_jax.datasets.idx", "mlp_jax.runs"):
        for function in vars(sys.modules[module]).values():
            if inspect.isfunction(function) and function.__module__.startswith("mlp_jax"):
                atheris.instrument_func(function)
    options = ["-max_len=4096", "-rss_limit_mb=4096", "-timeout=20", f"-artifact_prefix={report.parent}/"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
