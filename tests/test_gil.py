"""Other Python threads run while compiled code works on large arrays.

No test measures time. With a switch interval of a thousand seconds the interpreter never takes the
lock away from a thread, so another one counts during a call only if the call lets go of it. A call
is repeated until that is seen, as a busy machine may not run the other thread in time; a call that
never lets go is never seen.
"""

import contextlib
import re
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import nncore as nn
from nncore import _core
from nncore.kernels import compiled

pytestmark = pytest.mark.alone

ATTEMPTS = 2000  # a loaded machine wakes the other thread late; the first success ends a test
SOURCES = Path(__file__).parent.parent / "src"


@contextlib.contextmanager
def counting():
    """A list of one number that another thread counts up when it gets the interpreter's lock."""
    counter, ended, interval = [0], threading.Event(), sys.getswitchinterval()

    def count():
        while not ended.is_set():
            counter[0] += 1
            time.sleep(0.0002)  # lets go of the lock

    thread = threading.Thread(target=count)
    sys.setswitchinterval(1000)
    thread.start()
    try:
        yield counter
    finally:
        ended.set()
        sys.setswitchinterval(interval)
        thread.join()


def lets_go(call, attempts=ATTEMPTS):
    """Whether another thread has ever run during a call."""
    with counting() as counter:
        for _ in range(attempts):
            time.sleep(0.0005)  # a chance to count, and to wait for the lock when the call begins
            before = counter[0]
            call()
            if counter[0] != before:
                return True
    return False


def test_a_call_that_never_lets_go_is_seen():
    numbers = list(range(200_000))
    assert not lets_go(lambda: sorted(numbers, reverse=True), attempts=100)


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int32])
@pytest.mark.parametrize("loop", ["sgd", "fit"])
def test_data_in_c_order_are_transposed_without_the_lock(kind, loop):
    """A rate function is called right after the data were made ready and before the first step."""
    X, Y = np.ones((200, 4000), kind), np.ones((1, 4000))
    net = nn.Sequential([nn.Linear(200, 1)], nn.Squared())
    counts = []

    def stop(t):
        counts.append(counter[0])
        raise Stop

    with counting() as counter:
        for _ in range(ATTEMPTS):
            time.sleep(0.0005)
            program = _core.Program([(net.modules[0], "none")], "squared", np.float64, 200)
            before = counter[0]
            with pytest.raises(Stop):
                if loop == "sgd":
                    program.sgd(X, Y, 4000, stop, None)
                else:
                    program.fit(X, Y, np.arange(4000), 50, stop, 0, True)
            if counts[-1] != before:
                break
    assert counts[-1] != before


def network(order="C"):
    np.random.seed(0)
    net = nn.Sequential([nn.Linear(700, 900), nn.Tanh(), nn.Linear(900, 2)], nn.Squared())
    for module in net.modules[::2]:
        module.W = np.asarray(module.W, order=order)
    return net


@pytest.mark.parametrize("order", ["C", "F"])
def test_weights_are_read_without_the_lock(order):
    """freeze() does nothing else."""
    net = network(order)
    program = _core.Program(
        [(net.modules[0], "tanh"), (net.modules[2], "none")], None, np.float64, 700
    )
    assert lets_go(program.freeze)


def test_memory_that_is_too_large_to_be_kept_is_freed_without_the_lock():
    net, programs = nn.Sequential([nn.Linear(2000, 2500)]), []  # beyond 32 MB malloc keeps nothing

    def free():
        programs.clear()

    with counting() as counter:
        for _ in range(ATTEMPTS):
            programs.append(_core.Program([(net.modules[0], "none")], None, np.float64, 2000))
            programs[0].freeze()  # writes all of it
            time.sleep(0.0005)
            before = counter[0]
            free()
            if counter[0] != before:
                return
    raise AssertionError("the lock was held")


LARGE = np.random.default_rng(0).random((300, 3000))
FORTRAN = np.asfortranarray(LARGE)
ONES, COLUMN = np.ones((300, 1)), np.ones((3000, 1))
MATRIX = np.ones((3000, 400))
CALLS = {
    "sgd_step": lambda: compiled.sgd_step(LARGE, LARGE * 0, 0.0),
    "sgd_step of mixed orders": lambda: compiled.sgd_step(LARGE, FORTRAN, 0.0),
    "sgd_step of rows": lambda: compiled.sgd_step(LARGE[:, :2000], FORTRAN[:, :2000], 0.0),
    "one sample forward": lambda: compiled.linear_forward(COLUMN, MATRIX, np.ones((400, 1))),
    "one sample backward": lambda: compiled.linear_backward(np.ones((400, 1)), COLUMN, MATRIX),
    "batchnorm_forward": lambda: compiled.batchnorm_forward(LARGE, ONES, ONES),
    "batchnorm_backward": lambda: compiled.batchnorm_backward(LARGE, FORTRAN, ONES, ONES),
    "dropout": lambda: compiled.dropout(LARGE, 0.5, 1, 1),
    "softmax_forward": lambda: compiled.softmax_forward(LARGE),
    **{
        name: lambda name=name: getattr(compiled, name)(LARGE, FORTRAN)
        for name in (
            "softmax_nll",
            "sigmoid_nll",
            "squared_loss",
            "hinge_loss",
            "nll",
            "binary_nll",
            "squared",
            "hinge",
            "tanh_backward",
        )
    },
}


@pytest.mark.parametrize("call", CALLS)
def test_kernels_of_large_arrays_run_without_the_lock(call):
    assert lets_go(CALLS[call])


# ------------------------------------------------------------------ every call of compiled code

LEAF = re.compile(
    r"(?<!def )\b(?:(?:self\.)?k\.\w+(?:\[[^\]]+\])?|kernels_for\(\w+\)\.\w+|nn_convert"
    r"|nn_write_back|start_bounds|skips_zeros|input_density|weights_finite|all_samples_finite|transfer_now"
    r"|(?:load|store)_(?:params|state)|STEPPERS\[[^\]]+\]\.run)\("
)
BRIEF = re.compile(
    r"\b(?:gemm_workspace|gemm_packed_size|softmax_workspace|csr_blocks)\("
)  # a few operations


HEAD = re.compile(r"\s*(?:cdef|cpdef|def|with|if|elif|else|for|while|try)\b")


def unlocked(lines, at):
    """Whether line `at` is nogil, by a block or its function, or under a test that it is short."""
    indent = len(lines[at]) - len(lines[at].lstrip())
    for i in range(at - 1, -1, -1):
        own = len(lines[i]) - len(lines[i].lstrip())
        if not lines[i].strip() or own >= indent or not HEAD.match(lines[i]):
            continue
        end = next(
            j for j in range(i, len(lines)) if lines[j].rstrip().endswith(":")
        )  # a head may go over several lines
        head, indent = " ".join(lines[i : end + 1]), own
        if "nogil" in head or re.match(r"\s*if\b.*(?:GIL_|holds_gil)", head):
            return True
        if re.match(r"\s*(?:cdef|cpdef|def)\b", head):
            return False
    return False


@pytest.mark.parametrize(
    "source", sorted(str(p.relative_to(SOURCES)) for p in SOURCES.rglob("*.p*x*"))
)
def test_compiled_code_is_called_without_the_lock_unless_it_is_short(source):
    lines = (SOURCES / source).read_text().split("\n")
    held = [
        f"{source}:{i + 1}: {line.strip()}"
        for i, line in enumerate(lines)
        if LEAF.search(line)
        and not BRIEF.search(line)
        and not re.match(r'\s*(?:#|"""|void |cdef (?!\w+ \w+ = ))', line)
        and not unlocked(lines, i)
    ]
    assert not held, "\n".join(held)


def test_epochs_of_an_estimator():
    pytest.importorskip("sklearn", "1.9", reason="scikit-learn 1.9 is not installed")
    from nncore.sklearn import MLPRegressor

    X = np.random.RandomState(0).randn(200, 5)
    model = MLPRegressor(max_iter=100, n_iter_no_change=1000, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert lets_go(lambda: model.fit(X, X[:, 0]))
