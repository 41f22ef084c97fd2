"""P8: what `import` costs, in a fresh interpreter, over the NumPy that is imported first."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

MODULES = {
    "nncore": "nncore",
    "ONNX Runtime": "onnxruntime",
    "numba": "numba",
    "JAX": "jax",
    "sklearn.neural_network": "sklearn.neural_network",
    "PyTorch": "torch",
}

# VmHWM is the peak of this program alone; getrusage's would include that of the process it was
# started from.
PROGRAM = """
import json, sys, time
start = time.perf_counter()
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
bare = peak()
import numpy
middle, numpy_peak = time.perf_counter(), peak()
__import__(sys.argv[1])
end, last_peak = time.perf_counter(), peak()
print(json.dumps({
    "numpy_ms": 1e3 * (middle - start), "extra_ms": 1e3 * (end - middle),
    "numpy_mib": (numpy_peak - bare) / 1024, "extra_mib": (last_peak - numpy_peak) / 1024,
}))
"""


def measure(module):
    """{"numpy_ms", "extra_ms", "numpy_mib", "extra_mib"}: NumPy's own import, and what the module
    adds to it.

    ImportError if the module cannot be imported.

    >>> sorted(measure("json"))
    ['extra_mib', 'extra_ms', 'numpy_mib', 'numpy_ms']
    """
    # As pip leaves a package: with byte code. A first import, not measured, writes it where it is
    # missing.
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, module], capture_output=True, text=True, env=environment
        )
    if done.returncode:
        raise ImportError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def installed_mb(package):
    """The size of a package's files in MB, less what Python itself has put there.

    >>> 0 < installed_mb("json") < 1
    True
    """
    found = importlib.util.find_spec(package)
    if found is None:
        raise ImportError(f"No module named '{package}'")
    files = [
        path
        for path in Path(found.origin).parent.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    return 1e-6 * sum(path.stat().st_size for path in files)
