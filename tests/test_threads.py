"""Threads: the same bits whatever their number, who may set and limit it, and processes forked in between."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support import make_data, make_net, make_program, weights

import nncore
from nncore import _core, _threads
from nncore.kernels import compiled

COUNTS = [2, 3, 4, 7]
SPEC = (170, [(256, "relu"), (33, "tanh"), (10, "softmax")])


@pytest.fixture(autouse=True)
def _number_of_threads():
    before = nncore.get_num_threads()
    yield
    nncore.set_num_threads(before)


def trained(batch, dtype, spec=SPEC, samples=5000, step=0.05):
    """Enough steps at a time for a parallel region."""
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 300, dtype)
    total = make_program(stages, loss, dtype, spec[0]).fit(X, Y, np.resize(np.arange(300), samples), batch, step, 0, True)
    return [total, *(w.tobytes() for w in weights(stages))]


@pytest.mark.parametrize("batch", [64, 131, 300])
def test_training_gives_the_same_bits(batch, isa, dtype):
    nncore.set_num_threads(1)
    alone = trained(batch, dtype)
    for count in COUNTS:
        nncore.set_num_threads(count)
        assert trained(batch, dtype) == alone, count


# The sums of the first two layers of one go over several blocks, their weights are packed and updated in the user's memory or on copies;
# in the other the gradients are, those of a smaller last batch in blocks of more bytes than those of the others.
WIDE = (1100, [(1030, "relu"), (523, "tanh"), (10, "softmax")])
FLAT = (200, [(1030, "relu"), (10, "softmax")])
NARROW = (12, [(60, "relu"), (60, "tanh"), (3, "softmax")])  # small enough for a routine of its own, which does not share its work
MANY_CLASSES = (20, [(600, "softmax")])  # a batch of megabytes of logits, whose shares are less
LONG_ROWS = (20, [(3500, "softmax")])


@pytest.mark.parametrize(
    ("spec", "batch", "samples"), [(WIDE, 65, 955), (WIDE, 500, 955), (FLAT, 500, 1910), (FLAT, 250, 954), (NARROW, 500, 1910),
                                   (MANY_CLASSES, 2000, 2000), (LONG_ROWS, 350, 350)])
def test_training_of_wide_layers_gives_the_same_bits(spec, batch, samples, isa, dtype):
    nncore.set_num_threads(1)
    alone = trained(batch, dtype, spec, samples, 0.01)
    for count in (2, 5):
        nncore.set_num_threads(count)
        assert trained(batch, dtype, spec, samples, 0.01) == alone, count


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_linear_kernels_give_the_same_bits(order, isa, dtype):
    rng = np.random.default_rng(0)
    W, W0 = rng.standard_normal((130, 90)).astype(dtype), rng.standard_normal((90, 1)).astype(dtype)
    A, dLdZ = (np.asarray(rng.standard_normal((n, 201)), dtype, order) for n in (130, 90))

    def results():
        return [a.tobytes() for a in (compiled.linear_forward(A, W, W0), *compiled.linear_backward(dLdZ, A, W))]

    nncore.set_num_threads(1)
    alone = results()
    for count in COUNTS:
        nncore.set_num_threads(count)
        assert results() == alone, count


def test_the_work_is_really_shared():
    """Threads of the runtime appear once there is enough to do, and not before."""
    code = """
import os, numpy as np, nncore
from nncore.kernels import compiled
def threads(): return len(os.listdir("/proc/self/task"))
nncore.set_num_threads(3)
start = threads()
small, large = np.ones((8, 8)), np.ones((300, 300))
compiled.linear_forward(small, small, small[:, :1])
print(threads() - start)
compiled.linear_forward(large, large, large[:, :1])
print(threads() - start)
"""
    if not nncore.show_config(mode="dict")["openmp"] or not os.path.isdir("/proc/self/task"):
        pytest.skip("no OpenMP or no list of threads")
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.split() == ["0", "2"]


def test_training_is_shared_where_that_pays():
    """A wide layer and a batch of some size; not a few samples, nor layers narrow beside their inputs."""
    code = """
import os, numpy as np, nncore
def threads(): return len(os.listdir("/proc/self/task"))
def train(width, batch):
    net = nncore.Sequential([nncore.Linear(300, width), nncore.ReLU(), nncore.Linear(width, 10), nncore.SoftMax()], nncore.NLL())
    net.fit(X, Y, batch_size=batch, lrate=0.01)
X, Y = np.ones((300, 960)), np.eye(10)[:, np.arange(960) % 10]
nncore.set_num_threads(3)
start = threads()
for width, batch in ((200, 24), (40, 192), (600, 96)):
    train(width, batch)
    print(threads() - start)
"""
    if not nncore.show_config(mode="dict")["openmp"] or not os.path.isdir("/proc/self/task"):
        pytest.skip("no OpenMP or no list of threads")
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.split() == ["0", "0", "2"]


def test_samples_that_are_not_finite_are_found_in_any_share():
    nncore.set_num_threads(4)
    stages, loss = make_net(SPEC, np.float32)
    start = [w.copy() for w in weights(stages)]
    X, Y = make_data(SPEC, loss, 300, np.float32)
    X[3, 299] = np.nan
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity in column 299"):
        make_program(stages, loss, np.float32, SPEC[0]).fit(X, Y, np.arange(300), 100, 0.05, 0, True, True)
    assert all(np.array_equal(a, b) for a, b in zip(weights(stages), start, strict=True))


def test_a_number_beyond_float32_is_refused_before_any_change():
    stages, loss = make_net(SPEC, np.float32)
    start = [w.copy() for w in weights(stages)]
    X, Y = make_data(SPEC, loss, 300, np.float64)
    X[3, 299] = 1e300
    with pytest.raises(ValueError, match="X and Y must be finite in the network's type float32, got a number beyond its range"):
        make_program(stages, loss, np.float32, SPEC[0]).fit(X, Y, np.arange(300), 100, 0.05, 0, True, True)
    assert all(np.array_equal(a, b) for a, b in zip(weights(stages), start, strict=True))


# ------------------------------------------------------------------------------------------------ how many


def test_set_and_get():
    nncore.set_num_threads(3)
    assert nncore.get_num_threads() == nncore.show_config(mode="dict")["threads"] == (3 if _core.config()["openmp"] else 1)


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-2, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)])
def test_other_numbers_are_refused(n, error):
    before = nncore.get_num_threads()
    with pytest.raises(error, match="n must be"):
        nncore.set_num_threads(n)
    assert nncore.get_num_threads() == before


def started_with(code="import nncore; print(nncore.get_num_threads())", **variables):
    env = {k: v for k, v in os.environ.items() if k not in ("NNCORE_THREADS", "OMP_NUM_THREADS")}
    return subprocess.run([sys.executable, "-c", code], env={**env, **variables}, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(not _core.config()["openmp"], reason="built without OpenMP")
@pytest.mark.parametrize(("variables", "expected"), [
    ({"NNCORE_THREADS": "5"}, "5"), ({"OMP_NUM_THREADS": "3"}, "3"), ({"OMP_NUM_THREADS": "4,2"}, "4"),
    ({"NNCORE_THREADS": "1", "OMP_NUM_THREADS": "3"}, "1")])
def test_environment(variables, expected):
    assert started_with(**variables).stdout.strip() == expected


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_a_variable_that_is_no_number_is_refused_at_import(text):
    answer = started_with(NNCORE_THREADS=text)
    assert answer.returncode and f"NNCORE_THREADS must be a whole number of at least 1, got '{text}'" in answer.stderr.splitlines()[-1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or not _core.config()["openmp"], reason="no affinity to set")
def test_affinity():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import nncore; print(nncore.get_num_threads())"
    assert started_with(code).stdout.strip() == "1"


@pytest.mark.parametrize(("files", "expected"), [
    ({}, 4),
    ({"cpu.max": "max 100000"}, 4),
    ({"cpu.max": "250000 100000"}, 2),
    ({"cpu.max": "50000 100000"}, 1),
    ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 4)])
def test_quota_of_the_control_group(files, expected, monkeypatch):
    monkeypatch.setattr(_threads, "_read", lambda path: files.get(path.removeprefix("/sys/fs/cgroup/")))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    assert _threads.usable_cores() == expected


def test_hyperthreads_of_a_core_count_once(monkeypatch):
    monkeypatch.setattr(_threads, "_read", lambda path: {"cpu0": "0,4", "cpu4": "0,4", "cpu1": "1,5"}.get(path.split("/")[-3]))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4}, raising=False)
    assert _threads.usable_cores() == 2


def test_threadpoolctl_sees_and_limits_it():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    if not _core.config()["openmp"]:
        pytest.skip("built without OpenMP")
    found = [info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "openmp"]
    assert found
    if max(found) < 2:
        pytest.skip("OpenMP has one thread here: no lower limit can be set")
    nncore.set_num_threads(2)
    with threadpoolctl.threadpool_limits(1, "openmp"):
        assert nncore.get_num_threads() == 1
    assert nncore.get_num_threads() == 2


# ------------------------------------------------------------------------------------------------ fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_trains_at_once():
    """In a process of its own: the parent uses threads, then children train and predict, on one thread, to the same bits."""
    code = """
import os, sys, warnings
import numpy as np, nncore
warnings.simplefilter("ignore", DeprecationWarning)
nncore.set_num_threads(2)
X, Y = np.random.default_rng(0).standard_normal((64, 600)), np.eye(8)[:, np.arange(600) % 8]
def train():
    np.random.seed(0)
    net = nncore.Sequential([nncore.Linear(64, 64), nncore.ReLU(), nncore.Linear(64, 8), nncore.SoftMax()], nncore.NLL())
    net.fit(X, Y, epochs=2, batch_size=100, seed=0)
    return net.modules[0].W.tobytes() + net.predict_proba(X).tobytes()
expected = train()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if train() == expected and nncore.get_num_threads() == 1 else 1)
    if os.waitpid(child, 0)[1]:
        sys.exit("the child failed")
assert train() == expected
"""
    answer = started_with(code)
    assert answer.returncode == 0, answer.stderr
