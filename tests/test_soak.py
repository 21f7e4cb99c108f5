"""A process that sweeps again and again: memory, open files, threads and compilations do not grow.

``pytest -m slow -s tests/test_soak.py`` prints the figures. What still grows with checkpoints is TensorStore's: each
collection of its metrics, which Orbax asks for around every save, leaves some lists behind (2 KiB with version 0.1.86).
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "times", "kib", "compilations"),
    [("alike", 1000, 1, 0), ("checkpointed", 300, 160, 0), ("different", 100, 512, 3), ("shapes", 40, 6144, 11)],
)
def test_nothing_grows(kind, times, kib, compilations):
    """After the first fifth: memory by less than so many KiB a time, compilations by so many a time, the rest not."""
    script = Path(__file__).with_name("soak.py")
    done = subprocess.run([sys.executable, script, kind, str(times)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout.splitlines()[-1])[3:]
    later = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    slope = np.polyfit(later["times"], later["kib"], 1)[0]
    print(f"{kind}: {rows[0]} to {rows[-1]}: {slope:.3f} KiB a time")
    assert slope < kib
    assert (np.diff(later["compiled"]) == compilations * np.diff(later["times"])).all()
    for name in ("files", "threads"):
        assert (later[name] == later[name][0]).all(), name
    assert later["all_threads"][-1] <= later["all_threads"][0] + 2  # TensorStore's pools fill up slowly
