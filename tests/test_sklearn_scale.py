"""nncore.sklearn with data larger than memory, on a Dask cluster, and with other threads."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9", reason="scikit-learn 1.9 is not installed")

import nncore  # noqa: E402
from nncore.sklearn import MLPRegressor  # noqa: E402

EXAMPLE = Path(__file__).parent.parent / "examples" / "scikit_learn" / "dask_search.py"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(Path(nncore.__file__).parent.parent), *sys.path]),
}
MEBIBYTE = 1 << 20

# The file has holes, so it takes no room on the disk. Anonymous memory is a program's own memory,
# without the pages of mapped files.
OUT_OF_CORE = """
import numpy as np, sys
from nncore.sklearn import MLPRegressor

def anonymous():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("RssAnon")).split()[1]) << 10

features, rows, chunk = 256, int(sys.argv[1]) // (256 * 8), 8192
X = np.memmap("X.dat", np.float64, "w+", shape=(rows, features))
y = np.zeros(rows)
model = MLPRegressor(hidden_layer_sizes=(8,), random_state=0)
model.partial_fit(X[:chunk], y[:chunk])
before, most = anonymous(), 0
for first in range(0, rows, chunk):
    model.partial_fit(X[first : first + chunk], y[first : first + chunk])
    most = max(most, anonymous() - before)
print(most, model.t_)
"""


@pytest.mark.alone
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_chunks_of_a_file_larger_than_the_memory_used(tmp_path):
    size = 1024 * MEBIBYTE
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_CORE, str(size)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    most, samples = map(int, done.stdout.split())
    assert samples >= size // 2048
    assert most < 64 * MEBIBYTE, f"{most >> 20} MiB of anonymous memory"


@pytest.mark.alone
def test_the_example_on_a_dask_cluster():
    pytest.importorskip("distributed")
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--epochs", "20"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    accuracies = [float(line.rsplit(" ", 1)[1]) for line in done.stdout.splitlines()]
    assert len(accuracies) == 2 and min(accuracies) > 0.8


@pytest.mark.alone
def test_other_threads_run_while_a_model_is_fitted():
    X = np.random.RandomState(0).randn(4000, 200)
    started, counted = threading.Event(), []

    def count():
        started.wait()
        while not done.is_set():
            counted.append(None)
            done.wait(0.001)

    done = threading.Event()
    thread = threading.Thread(target=count)
    thread.start()
    started.set()
    MLPRegressor(hidden_layer_sizes=(200,), batch_size=4000, max_iter=3, tol=0, random_state=0).fit(
        X, X[:, 0]
    )
    done.set()
    thread.join()
    assert len(counted) > 5
