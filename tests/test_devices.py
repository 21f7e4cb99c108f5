"""Many devices on one host, simulated in a process of its own: JAX makes them when it starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_on_eight_devices():
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "on_eight_devices.py"]
    flags = "--xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) == 11
