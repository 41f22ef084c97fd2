"""The thread pool: the same bits for any number of threads, who may set and limit it, forks, and
systems that refuse threads."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
from support import make_data, make_net, make_program, shared, weights

import nncore
from nncore import _core, _threads
from nncore.kernels import compiled

pytestmark = pytest.mark.alone

COUNTS = [2, 3, 4, 7]
SPEC = (
    170,
    [(900, "relu"), (33, "tanh"), (10, "softmax")],
)  # one batch is enough for a parallel region


@pytest.fixture(autouse=True)
def _number_of_threads():
    before = nncore.get_num_threads()
    yield
    nncore.set_num_threads(before)


def trained(batch, dtype, spec=SPEC, samples=1000, step=0.05):
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 300, dtype)
    program = make_program(stages, loss, dtype, spec[0])
    program.fit(X, Y, np.resize(np.arange(300), samples), batch, step, 0, True)
    return [program.total, *(w.tobytes() for w in weights(stages))]


@pytest.mark.parametrize("batch", [96, 131, 300])
def test_training_gives_the_same_bits(batch, isa, dtype):
    run = partial(trained, batch, dtype)
    alone = shared(1, run)
    for count in COUNTS:
        assert shared(count, run) == alone, count


# The sums of the first two layers of one go over several blocks, their weights are packed and
# updated in the user's memory or on copies; in the other the gradients are, those of a smaller last
# batch in blocks of more bytes than those of the others.
WIDE = (1100, [(1030, "relu"), (523, "tanh"), (10, "softmax")])
FLAT = (200, [(1030, "relu"), (10, "softmax")])
NARROW = (
    12,
    [(60, "relu"), (60, "tanh"), (3, "softmax")],
)  # small enough for a routine of its own, which does not share its work
MANY_CLASSES = (20, [(600, "softmax")])  # a batch of megabytes of logits, whose shares are less
LONG_ROWS = (20, [(3500, "softmax")])


@pytest.mark.parametrize(
    ("spec", "batch", "samples"),
    [
        (WIDE, 65, 955),
        (WIDE, 500, 955),
        (FLAT, 500, 1910),
        (FLAT, 250, 954),
        (NARROW, 500, 1910),
        (MANY_CLASSES, 2000, 2000),
        (LONG_ROWS, 350, 350),
    ],
)
def test_training_of_wide_layers_gives_the_same_bits(spec, batch, samples, isa, dtype):
    run = partial(trained, batch, dtype, spec, samples, 0.01)
    alone = shared(1, run)
    for count in (2, 5):
        if spec is NARROW:
            nncore.set_num_threads(count)
        assert (run() if spec is NARROW else shared(count, run)) == alone, count


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_linear_kernels_give_the_same_bits(order, isa, dtype):
    rng = np.random.default_rng(0)
    W, W0 = rng.standard_normal((130, 90)).astype(dtype), rng.standard_normal((90, 1)).astype(dtype)
    A, dLdZ = (np.asarray(rng.standard_normal((n, 201)), dtype, order) for n in (130, 90))

    def results():
        return [
            a.tobytes()
            for a in (compiled.linear_forward(A, W, W0), *compiled.linear_backward(dLdZ, A, W))
        ]

    alone = shared(1, results)
    for count in COUNTS:
        assert shared(count, results) == alone, count


@pytest.mark.parametrize("with_losses", [False, True])
def test_prediction_gives_the_same_bits(with_losses, isa, dtype):
    stages, loss = make_net(SPEC, dtype)
    X, Y = make_data(SPEC, loss, 3001, dtype)

    def results():
        P, losses = make_program(stages, loss, dtype, SPEC[0]).run(X, Y if with_losses else None)
        return P.tobytes(), with_losses and losses.tobytes()

    alone = shared(1, results)
    for count in COUNTS:
        assert shared(count, results) == alone, count


def test_python_threads_that_find_the_pool_busy_work_alone():
    """Only one of them has the helpers at a time; all get the same bits."""
    nncore.set_num_threads(2)
    A = np.random.default_rng(0).standard_normal((200, 200))
    expected = compiled.linear_forward(A, A, A[:, :1]).tobytes()
    results = []

    def work():
        results.extend(
            compiled.linear_forward(A, A, A[:, :1]).tobytes() == expected for _ in range(100)
        )

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 300 and all(results)


def test_helpers_take_over_the_caller_s_treatment_of_subnormal_numbers(compile_c):
    """A thread may flush them to zero, and do so after the helpers were created."""
    library = compile_c("""
#include <xmmintrin.h>
unsigned flush(unsigned on) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(on ? before | 0x8040 : before & ~0x8040u);
    return before;
}
""")
    A, W = np.full((200, 200), 1e-30, np.float32), np.full((200, 200), 1e-10, np.float32)

    def forward():
        return np.count_nonzero(compiled.linear_forward(A, W, np.zeros((200, 1), np.float32)))

    assert shared(2, forward) == 200 * 200
    library.flush(1)
    try:
        assert shared(2, forward) == 0
    finally:
        library.flush(0)
    assert shared(2, forward) == 200 * 200


def test_threads_are_created_for_the_first_work_that_wants_them():
    """None at import, none for little work; as many as are wanted and no more, under Python's
    eyes."""
    code = """
import os, numpy as np, nncore
from nncore import _core
from nncore.kernels import compiled
TASKS = "/proc/self/task"
start = len(os.listdir(TASKS)) if os.path.isdir(TASKS) else 0
def threads():
    ours = _core.pool()[0]
    return (len(os.listdir(TASKS)) - start if os.path.isdir(TASKS) else ours, ours)
nncore.set_num_threads(3)
small, large = np.ones((8, 8)), np.ones((300, 300))
compiled.linear_forward(small, small, small[:, :1])
print(*threads())
compiled.linear_forward(large, large, large[:, :1])
print(*threads())
nncore.set_num_threads(2)
compiled.linear_forward(large, large, large[:, :1])
print(*threads())
"""
    answer = started_with(code, OPENBLAS_NUM_THREADS="1")
    assert answer.stdout.split() == ["0", "0", "2", "2", "2", "2"], answer.stderr


def test_training_is_shared_where_that_pays():
    """A wide layer and a batch of some size; not a few samples, nor layers narrow compared
    with their inputs."""
    X, Y = np.ones((300, 960)), np.eye(10)[:, np.arange(960) % 10]

    def train(width, batch):
        net = nncore.Sequential(
            [nncore.Linear(300, width), nncore.ReLU(), nncore.Linear(width, 10), nncore.SoftMax()],
            nncore.NLL(),
        )
        net.fit(X, Y, batch_size=batch, lrate=0.01)

    nncore.set_num_threads(3)
    before = _core.pool()[1]
    train(200, 24)
    train(40, 192)
    assert _core.pool()[1] == before
    shared(3, lambda: train(600, 96))


def test_samples_that_are_not_finite_are_found_in_any_share():
    nncore.set_num_threads(4)
    stages, loss = make_net(SPEC, np.float32)
    start = [w.copy() for w in weights(stages)]
    X, Y = make_data(SPEC, loss, 300, np.float32)
    X[3, 299] = np.nan
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity in column 299"):
        make_program(stages, loss, np.float32, SPEC[0]).fit(
            X, Y, np.arange(300), 100, 0.05, 0, True, True
        )
    assert all(np.array_equal(a, b) for a, b in zip(weights(stages), start, strict=True))


def test_a_number_beyond_float32_is_refused_before_any_change():
    stages, loss = make_net(SPEC, np.float32)
    start = [w.copy() for w in weights(stages)]
    X, Y = make_data(SPEC, loss, 300, np.float64)
    X[3, 299] = 1e300
    with pytest.raises(
        ValueError,
        match="X and Y must be finite in the network's type float32, got a number beyond its range",
    ):
        make_program(stages, loss, np.float32, SPEC[0]).fit(
            X, Y, np.arange(300), 100, 0.05, 0, True, True
        )
    assert all(np.array_equal(a, b) for a, b in zip(weights(stages), start, strict=True))


# ----------------------------------------------------------------------------------------- how many


def test_set_and_get():
    nncore.set_num_threads(3)
    assert nncore.get_num_threads() == nncore.show_config(mode="dict")["threads"] == 3


@pytest.mark.parametrize(
    ("n", "error"),
    [(0, ValueError), (-2, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_other_numbers_are_refused(n, error):
    before = nncore.get_num_threads()
    with pytest.raises(error, match="n must be"):
        nncore.set_num_threads(n)
    assert nncore.get_num_threads() == before


def started_with(code="import nncore; print(nncore.get_num_threads())", **variables):
    env = {k: v for k, v in os.environ.items() if k not in ("NNCORE_THREADS", "OMP_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**env, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NNCORE_THREADS": "5"}, "5"),
        ({"OMP_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "4,2"}, "4"),
        ({"NNCORE_THREADS": "1", "OMP_NUM_THREADS": "3"}, "1"),
    ],
)
def test_environment(variables, expected):
    assert started_with(**variables).stdout.strip() == expected


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_a_variable_that_is_no_number_is_refused_at_import(text):
    answer = started_with(NNCORE_THREADS=text)
    assert (
        answer.returncode
        and f"NNCORE_THREADS must be an integer of at least 1, got '{text}'"
        in answer.stderr.splitlines()[-1]
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity to set")
def test_affinity():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import "
        "nncore; print(nncore.get_num_threads())"
    )
    assert started_with(code).stdout.strip() == "1"


V1 = (
    "30 23 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
)
V2 = "24 23 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"


def group(path, quota):
    """The files of a quota in version 1 or 2."""
    if "/cpu" not in path:
        return {f"{path}/cpu.max": quota}
    return {
        f"{path}/cpu.cfs_quota_us": quota.split()[0],
        f"{path}/cpu.cfs_period_us": quota.split()[1],
    }


@pytest.mark.parametrize(
    ("own", "mounts", "quotas", "expected"),
    [
        ("0::/", V2, {}, 4),
        ("0::/", V2, {"/sys/fs/cgroup": "max 100000"}, 4),
        ("0::/", V2, {"/sys/fs/cgroup": "250000 100000"}, 2),
        ("0::/a/b.service", V2, {"/sys/fs/cgroup/a/b.service": "300000 100000"}, 3),
        (
            "0::/a/b.service",
            V2,
            {"/sys/fs/cgroup/a/b.service": "300000 100000", "/sys/fs/cgroup/a": "50000 100000"},
            1,
        ),
        (
            "0::/a/b.service",
            V2,
            {"/sys/fs/cgroup/a/b.service": "max 100000", "/sys/fs/cgroup/a": "150000 50000"},
            3,
        ),
        ("0::/a", V2, {"/sys/fs/cgroup/ab": "100000 100000"}, 4),
        (
            "0::/a",
            V2.replace("/sys/fs", r"/my\040mounts"),
            {"/my mounts/cgroup/a": "100000 100000"},
            1,
        ),
        (
            "0::/../other",
            V2,
            {"/sys/fs/cgroup": "200000 100000", "/sys/fs/other": "100000 100000"},
            2,
        ),  # outside the namespace
        ("3:cpu,cpuacct:/a\n2:memory:/m", V1, {"/sys/fs/cgroup/cpu/a": "300000 100000"}, 3),
        (
            "3:cpu,cpuacct:/a\n2:memory:/m",
            V1,
            {"/sys/fs/cgroup/cpu/a": "-1 100000", "/sys/fs/cgroup/cpu": "200000 100000"},
            2,
        ),
        (
            "3:cpu,cpuacct:/docker/1",
            V1.replace("0:26 / ", "0:26 /docker/1 "),
            {"/sys/fs/cgroup/cpu": "100000 100000"},
            1,
        ),  # in a container
        (
            "3:cpu,cpuacct:/a\n0::/u",
            V1 + "\n" + V2.replace("cgroup rw", "cgroup/unified rw"),
            {"/sys/fs/cgroup/unified/u": "200000 100000", "/sys/fs/cgroup/cpu/a": "300000 100000"},
            2,
        ),
        ("odd", "odd", {}, 4),
        (None, None, {}, 4),
    ],
)
def test_quota_of_the_control_groups(own, mounts, quotas, expected, tmp_path, monkeypatch):
    """The least of the group's own and its ancestors', in files as Linux writes them."""
    files = {"/proc/self/cgroup": own, "/proc/self/mountinfo": mounts}
    for path, quota in quotas.items():
        files.update(group(path, quota))
    for path, text in files.items():
        if text is not None:
            (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path[1:]).write_text(text + "\n")
    quota = _threads._quota(str(tmp_path))
    monkeypatch.setattr(_threads, "_quota", lambda: quota)
    monkeypatch.setattr(_threads, "_read", lambda path: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    assert _threads.usable_cores() == expected


def test_hyperthreads_of_a_core_count_once(monkeypatch):
    monkeypatch.setattr(_threads, "_quota", lambda: sys.maxsize)
    monkeypatch.setattr(
        _threads,
        "_read",
        lambda path: {"cpu0": "0,4", "cpu4": "0,4", "cpu1": "1,5"}.get(path.split("/")[-3]),
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4}, raising=False)
    assert _threads.usable_cores() == 2


@pytest.mark.parametrize("order", ["threadpoolctl, nncore", "nncore, threadpoolctl"])
def test_threadpoolctl_sees_and_limits_the_threads(order):
    pytest.importorskip("threadpoolctl")
    answer = started_with(f"""
import {order}
nncore.set_num_threads(3)
ours = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "nncore"]
print([info["num_threads"] for info in ours])
with threadpoolctl.threadpool_limits(1):
    print(nncore.get_num_threads())
with threadpoolctl.threadpool_limits(2, "nncore"):
    print(nncore.get_num_threads())
print(nncore.get_num_threads())
""")
    assert answer.stdout.split() == ["[3]", "1", "2", "3"], answer.stderr


# ---------------------------------------------------------------------------- what the system gives


PRODUCT = """
import os, sys, time, numpy as np, nncore
from nncore import _core
from nncore.kernels import compiled
nncore.set_num_threads(4)
A = np.random.default_rng(0).standard_normal((300, 300))
def product(): return compiled.linear_forward(A, A, A[:, :1]).tobytes()
"""


def test_threads_that_the_system_refuses_are_done_without():
    """Same bits, and no message; when the system gives threads again, they are used."""
    pytest.importorskip("resource")
    answer = started_with(
        PRODUCT
        + """
import resource
nncore.set_num_threads(1)
expected = product()
nncore.set_num_threads(4)
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)  # the limit does not bind root
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
assert all(product() == expected for _ in range(20))
print(_core.pool()[0])
resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
time.sleep(1.1)
assert product() == expected
print(_core.pool()[0])
""",
        OPENBLAS_NUM_THREADS="1",
    )
    assert (answer.returncode, answer.stdout.split(), answer.stderr) == (0, ["0", "3"], "")


@pytest.mark.parametrize(
    "variables", [{"OMP_STACKSIZE": "16k", "GOMP_STACKSIZE": "16"}, {"OMP_THREAD_LIMIT": "1"}]
)
def test_variables_of_openmp_beside_the_number_of_threads_mean_nothing(variables):
    answer = started_with(
        PRODUCT
        + """
_core.only_helpers(True)
print(len({product() for _ in range(50)}), _core.pool()[0], _core.pool()[1] > 0)
""",
        **variables,
    )
    assert answer.stdout.split() == ["1", "3", "True"], answer.stderr


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no /proc")
def test_helpers_leave_signals_to_python_s_threads():
    answer = started_with(
        PRODUCT
        + """
before = set(os.listdir("/proc/self/task"))
_core.only_helpers(True)  # they have started; before that, the C library blocks everything
product()
for task in set(os.listdir("/proc/self/task")) - before:
    status = open(f"/proc/self/task/{task}/status")
    print(next(line.split()[1] for line in status if line.startswith("SigBlk")))
"""
    )
    masks = [int(word, 16) for word in answer.stdout.split()]
    assert len(masks) == 3
    for mask in masks:
        assert all(
            mask >> number - 1 & 1
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1)
        )
        assert not any(
            mask >> number - 1 & 1 for number in (signal.SIGSEGV, signal.SIGFPE, signal.SIGBUS)
        )


def test_the_process_ends_while_a_daemon_thread_works():
    answer = started_with(
        PRODUCT
        + """
import threading
def work():
    while True: product()
for _ in range(2): threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
print("end")
"""
    )
    assert (answer.returncode, answer.stdout.split(), answer.stderr) == (0, ["end"], "")


# --------------------------------------------------------------------------------------------- fork

NET = """
import copy, os, sys, signal, threading, time, warnings
import numpy as np, nncore
from nncore import _core
warnings.simplefilter("ignore", DeprecationWarning)
nncore.set_num_threads(2)
X, Y = np.random.default_rng(0).standard_normal((64, 600)), np.eye(8)[:, np.arange(600) % 8]
start = nncore.Sequential(
    [nncore.Linear(64, 400), nncore.ReLU(), nncore.Linear(400, 8), nncore.SoftMax()], nncore.NLL())
def train():  # without np.random, whose lock another thread may hold at a fork
    net = copy.deepcopy(start)
    net.fit(X, Y, epochs=4, batch_size=600, seed=0)
    return net.modules[0].W.tobytes() + net.predict_proba(X).tobytes()
def in_child(act):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs
        os._exit(0 if act() else 1)
    status = os.waitpid(child, 0)[1]
    if status:
        sys.exit(f"the child ended with {os.waitstatus_to_exitcode(status)}")
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


@needs_fork
def test_a_forked_child_trains_at_once_with_threads_of_its_own():
    answer = started_with(
        NET
        + """
_core.only_helpers(True)
expected = train()
def act():
    before = _core.pool()
    same = train() == expected
    after = _core.pool()
    return before[0] == 0 and same and after[0] == 1 and after[1] > before[1]
for _ in range(10):
    in_child(act)
in_child(lambda: in_child(act) is None)
assert train() == expected
"""
    )
    assert answer.returncode == 0, answer.stderr


@needs_fork
def test_a_child_forked_while_other_threads_use_the_pool_trains_at_once():
    """On a free-threaded Python, the other threads share no Python object with the child's call: a
    thread that waits for the lock of a dict, as of a table in `copy` or `abc`, can be given it
    while Python stops all threads for a fork, and the child then waits for it for ever. CPython
    3.13.5 does so without nncore: with threads in `shared.copy()`, on a dict of 200,000 entries,
    every fifth child hangs in `shared.get(1)`."""
    answer = started_with(
        NET
        + """
import sysconfig
from nncore.kernels import compiled
expected = train()
end = False
A = np.random.default_rng(0).standard_normal((300, 300))
def product(): compiled.linear_forward(A, A, A[:, :1])
act = product if sysconfig.get_config_var("Py_GIL_DISABLED") else train
def work():
    while not end: act()
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
try:
    for _ in range(20):
        in_child(lambda: train() == expected and _core.pool()[0] == 1)
finally:
    end = True
for thread in threads: thread.join()
assert train() == expected
"""
    )
    assert answer.returncode == 0, answer.stderr


@needs_fork
@pytest.mark.parametrize("first", ["nncore", "other", "fork"])
def test_a_child_does_not_hang_whatever_openmp_did_in_the_parent(first, compile_c, tmp_path):
    """Another library with GNU's OpenMP, which hangs in a child of a parent that ran its threads,
    before or after nncore is loaded."""
    compile_c(
        """
#include <omp.h>
int run(void) {
    int n = 0;
    #pragma omp parallel num_threads(3) reduction(+ : n)
    n += 1;
    return n;
}
""",
        "-fopenmp",
    )
    other = f"import ctypes\nassert ctypes.CDLL({str(tmp_path / 'compiled.so')!r}).run() == 3\n"
    act = "assert train() == train()\n"
    code = {
        "nncore": NET + act + other + "in_child(lambda: train() == train())",
        "other": other + NET + "in_child(lambda: train() == train())\n" + act,
        "fork": other
        + f"import os, sys\nif os.fork() == 0:\n    exec({NET + act!r})\n    os._exit(0)\n"
        + "sys.exit(os.wait()[1] >> 8)",
    }
    answer = started_with(code[first])
    assert answer.returncode == 0, answer.stderr


@needs_fork
def test_a_predictor_whose_lock_was_held_at_a_fork_is_open_in_the_child():
    """Its kept program is there to be used again: a locked one would make a program for each
    call."""
    answer = started_with(
        NET
        + """
net = nncore.Sequential(
    [nncore.Linear(64, 200), nncore.ReLU(), nncore.Linear(200, 8), nncore.SoftMax()], nncore.NLL())
predictor = net.predictor()
expected = predictor(X).tobytes()
before = predictor._program
end = False
def work():
    many = np.tile(X, 20)
    while not end: predictor(many)
thread = threading.Thread(target=work)
thread.start()
def act():
    same = predictor(X).tobytes() == expected
    kept = predictor._program
    right = predictor(X[:, :2]).shape == (8, 2)
    return same and right and kept not in (None, before) and predictor._program is kept
try:
    for _ in range(20): in_child(act)
finally:
    end = True
thread.join()
assert predictor._program is before
"""
    )
    assert answer.returncode == 0, answer.stderr
