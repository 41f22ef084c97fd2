"""The benchmarks keep up with the library: each kernel's runs, and their own examples hold. They
are not timed here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("file", ["test_kernels.py", "workloads.py", "targets.py", "report.py"])
def test_benchmarks_run(file):
    """In a process of its own: benchmarks bind theirs to one core."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"benchmarks/{file}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
