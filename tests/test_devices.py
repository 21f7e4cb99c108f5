"""Many devices on one host, of a CPU, in a process of its own: JAX makes them when it starts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_dataset, save_dataset

TESTS = Path(__file__).parent


def test_on_eight_devices():
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "on_eight_devices.py"]
    flags = "--xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) == 11


@pytest.mark.parametrize(("seeds", "most"), [(3, 3), (1, 1)])
def test_the_command_line_has_a_device_a_core(tmp_path, seeds, most):
    """As far as there are replicas; the parameters are, to the bit, those that one device gives."""
    save_dataset(make_dataset(), tmp_path / "small.npz")
    command = [
        sys.executable,
        "-c",
        "import sys; from mlp_jax.cli import main; sys.exit(main())",
        "sweep",
        "--no-cache",
    ]
    command += ["--dataset", "small.npz", "--hidden-units", "0", "3", "--seeds", str(seeds), "--epochs", "2"]
    said = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    for run, environment in (("many", said), ("one", said | {"JAX_NUM_CPU_DEVICES": "1"})):
        environment |= {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run([*command, "--out", run], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    devices = [json.loads((tmp_path / run / "environment.json").read_text())["devices"] for run in ("many", "one")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert devices == [min(cores, most), 1]
    assert (tmp_path / "many" / "parameters.npz").read_bytes() == (tmp_path / "one" / "parameters.npz").read_bytes()
