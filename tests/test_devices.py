"""Many devices on one host, of a CPU, in a process of its own: JAX makes them when it starts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_dataset, save_dataset

TESTS = Path(__file__).parent


@pytest.mark.parametrize(
    ("file", "which", "tests"),
    [
        ("on_eight_devices.py", "not slow", 9),
        pytest.param("on_eight_devices.py", "slow", 15, marks=pytest.mark.slow),
        ("every_kind.py", "not slow", 5),
        pytest.param("every_kind.py", "slow", 25, marks=pytest.mark.slow),
    ],
)
def test_on_eight_devices(file, which, tests):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", which, file]
    flags = "--xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) == tests


def sweeps(directory, dataset: str, *options: str) -> tuple[list[int], list[str], list[Path]]:
    """A sweep by the command line as it is, and with one device: their devices, plans, and parameters."""
    command = [sys.executable, "-c", "import sys; from mlp_jax.cli import main; sys.exit(main())", "sweep"]
    command += ["--no-cache", "--dataset", dataset, *options]
    said = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    for run, environment in (("many", said), ("one", said | {"JAX_NUM_CPU_DEVICES": "1"})):
        environment |= {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run([*command, "--out", run], cwd=directory, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    where = [json.loads((directory / run / "environment.json").read_text()) for run in ("many", "one")]
    paths = [directory / run / "parameters.npz" for run in ("many", "one")]
    return [each["devices"] for each in where], [each["plan"] for each in where], paths


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(("seeds", "most"), [(3, 3), pytest.param(1, 1, marks=pytest.mark.slow)])
def test_the_command_line_has_a_device_a_core(tmp_path, seeds, most):
    """As far as there are replicas; the parameters are, to the bit, those that one device gives."""
    save_dataset(make_dataset(), tmp_path / "small.npz")
    options = ("--hidden-units", "0", "3", "--seeds", str(seeds), "--epochs", "2")
    devices, _, (many, one) = sweeps(tmp_path, "small.npz", *options)
    assert devices == [min(CORES, most), 1]
    assert many.read_bytes() == one.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(CORES == 1, reason="one core has nothing to divide")
def test_the_command_line_divides_one_replica_among_cores(tmp_path):
    devices, plans, (many, one) = sweeps(
        tmp_path, "mnist", "--hidden-units", "300", "320", "--seeds", "1", "--epochs", "5"
    )
    assert devices == [2, 1]
    assert plans[0].startswith("on 2 devices, trials divided among them, ")
    assert plans[1].startswith("on 1 device, ")
    with np.load(many) as divided, np.load(one) as whole:
        assert divided.keys() == whole.keys()
        for name, array in divided.items():
            np.testing.assert_allclose(array, whole[name], rtol=0, atol=2e-4)
