#!/usr/bin/env python3
"""Test an installed wheel: where it lies, its level and threads, its size, and the kernels.

    test_wheel.py CHECKOUT [pytest's arguments]

Run by the Python into which the wheel was installed, which also needs pytest, hypothesis and
mpmath. The tests are copied to a folder of their own, so that they cannot import the checkout.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

TESTS = (
    "test_platforms test_kernels test_functions test_optimizers test_training test_threads "
    "test_stress test_predictor test_mini_gd test_course_cases"
).split()
# Runs without the checkout and without site customisation: what a user has after pip install.
PROOF = """
import os, sys
import numpy as np, nncore as nn
from nncore import _core
core = os.path.realpath(_core.__file__)
assert "site-packages" in core, core
nn.set_num_threads(2)
_core.only_helpers(True)  # the helper threads do the shared work, or nothing would be done
np.random.seed(0)
net = nn.Sequential([nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10), nn.SoftMax()], nn.NLL())
X, labels = np.random.randn(784, 512), np.random.randint(10, size=512)
before = _core.pool()[1]
net.fit(X, labels, epochs=2, batch_size=256, lrate=0.01, seed=0)
helpers, pieces = _core.pool()
assert helpers >= 1 and pieces > before, (helpers, pieces)
print("nncore:", os.path.basename(core), "level", nn.show_config(mode="dict")["isa"] + ",",
      helpers, "helper thread,", pieces - before, "pieces of work done by it")
"""
# by benchmarks/footprint.py, which reads Linux's /proc
SIZES = """
import footprint
cost = footprint.measure("nncore")
print(f"nncore: {footprint.installed_mb('nncore'):.1f} MB installed; importing it takes "
      f"{cost['extra_ms']:.0f} ms and {cost['extra_mib']:.1f} MiB more than NumPy alone "
      f"({cost['numpy_ms']:.0f} ms, {cost['numpy_mib']:.1f} MiB)")
"""


def main():
    checkout = pathlib.Path(sys.argv[1]).absolute()
    ours = ("NNCORE_", "PYTHONPATH")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    with tempfile.TemporaryDirectory() as folder:
        proof = [sys.executable, "-I", "-c", PROOF]
        subprocess.run(proof, cwd=folder, env=environment, check=True)
        if sys.platform == "linux":
            paths = {**environment, "PYTHONPATH": str(checkout / "benchmarks")}
            sizes = [sys.executable, "-c", SIZES]
            subprocess.run(sizes, cwd=folder, env=paths, check=True)
        for name in ("tests", "docs", "examples", "benchmarks"):
            shutil.copytree(checkout / name, pathlib.Path(folder, name))
        for name in ("pyproject.toml", "setup.py", "CITATION.cff"):
            shutil.copy(checkout / name, folder)
        for path in checkout.glob("*.md"):
            shutil.copy(path, folder)
        tests = sys.argv[2:] or [f"tests/{name}.py" for name in TESTS]
        options = ["-o", "addopts=--import-mode=importlib", "-q", "-m", "not slow"]
        command = [sys.executable, "-m", "pytest", *options, *tests]
        sys.exit(subprocess.run(command, cwd=folder, env=environment).returncode)


if __name__ == "__main__":
    main()
