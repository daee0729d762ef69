"""What a run ran on is read without importing anything heavy."""

import subprocess
import sys

import numpy as np

from modeconn.runs.environment import peak_memory_mib, versions


def test_versions_are_those_that_run():
    assert versions()["numpy"] == np.__version__
    assert versions()["python"] == sys.version.split()[0]


def test_peak_memory_is_in_mib():
    code = "from modeconn.runs.environment import peak_memory_mib as p; b = bytearray(200 * 2**20); print(p())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # On Linux a child begins with the peak of the process that started it.
    assert 200 < float(done.stdout) < 400 + peak_memory_mib()


def test_peak_memory_never_falls():
    before = peak_memory_mib()
    held = bytearray(2**20)
    assert peak_memory_mib() >= before
    assert len(held) == 2**20
