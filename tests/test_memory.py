"""Memory that runs out: MemoryError, the weights of a whole step, and a network that works
afterwards."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import LAYOUTS, assert_close, unchanged

import nncore as nn
from nncore import _core
from nncore.kernels import compiled, numpy_kernels
from nncore.training import session

HERE = Path(__file__).parent

# -------------------------------------------------------------------------------- the compiled core


@pytest.fixture(scope="module")
def failing_malloc(tmp_path_factory):
    """The path of failing_malloc.c as a library to preload."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if sys.platform != "linux" or compiler is None:
        pytest.skip(
            "allocations are made to fail by a library preloaded on Linux, which needs a C compiler"
        )
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("a preloaded library, such as a sanitizer, replaces malloc already")
    path = tmp_path_factory.mktemp("shim") / "failing_malloc.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", HERE / "failing_malloc.c", "-o", path, "-ldl"],
        check=True,
    )
    return path


@pytest.mark.parametrize(
    ("in_a_row", "places"),
    [(1, 40), (5, 15), *(pytest.param(n, 1000, marks=pytest.mark.slow) for n in (1, 2, 5, 20))],
)
def test_failing_allocations_of_the_core(failing_malloc, in_a_row, places, tmp_path):
    environment = {
        **os.environ,
        "LD_PRELOAD": str(failing_malloc),
        "PYTHONMALLOC": "malloc",
        "NNCORE_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, HERE / "failing_memory.py", str(in_a_row), str(places)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(done.stdout)
    assert {name: found for name, (_, found) in results.items() if found} == {}
    assert (
        sum(allocations for allocations, _ in results.values()) > 500
    )  # or the library has not been preloaded


def test_the_core_has_no_comprehension_of_a_list_or_tuple():
    """Cython 3.3 releases an item twice when the list of a comprehension cannot grow; see the head
    of _core.pyx."""
    sources = [
        path for path in (HERE.parent / "src").rglob("*.p*") if path.suffix in (".pyx", ".pxi")
    ]
    if not sources:
        pytest.skip("the sources of the compiled core are not here")
    for path in sources:
        code = re.sub(r'""".*?"""|#[^\n]*|"[^"\n]*"', "", path.read_text(), flags=re.DOTALL)
        assert not re.search(
            r"(\[|\blist\(|\btuple\(|\*\()[^][()]*(\([^()]*\)[^][()]*)*\sfor\s", code
        ), path.name


# --------------------------------------------------------------------------------- module by module


@pytest.fixture(params=["numpy", "compiled"])
def backend(request):
    with nn.use_backend(request.param):
        yield request.param


class Shift(nn.Module):
    """A user's module without weights."""

    def forward(self, A):
        return A + 1

    def backward(self, dLdA):
        return dLdA


def network(dtype=np.float64):
    np.random.seed(0)
    return nn.Sequential(
        [
            nn.Linear(4, 6, dtype=dtype),
            nn.BatchNorm(6, statistics="running", dtype=dtype),
            nn.Tanh(),
            nn.Dropout(0.2, seed=1),
            Shift(),
            nn.Sequential([nn.Linear(6, 5, dtype=dtype), nn.ReLU()]),
            nn.Linear(5, 3, dtype=dtype),
            nn.SoftMax(),
        ],
        nn.NLL(),
    )


def state(net):
    inner = [m for module in net.modules for m in getattr(module, "modules", [module])]
    return (
        [
            getattr(m, name).copy()
            for m in inner
            for name in (*m.gradients, *getattr(m, "statistics_arrays", ()))
        ],
        [m.count for m in inner if isinstance(m, nn.Dropout)],
    )


def is_same(a, b):
    return all(map(np.array_equal, a[0], b[0])) and a[1] == b[1]


X, Y = np.random.default_rng(0).normal(size=(4, 12)), np.eye(3)[:, np.arange(12) % 3]
CALLS = {
    "sgd": lambda net: net.sgd(X, Y, 1, 0.1),
    "mini_gd": lambda net: net.mini_gd(X, Y, 1, 0.1, K=12),
    "fit": lambda net: net.fit(X, Y, 1, 12, seed=0),
    "fit adam": lambda net: net.fit(X, Y, 1, 12, seed=0, optimizer="adam"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "where", ["step_terms", "adam_step", "linear_backward", "batchnorm_forward", "dropout"]
)
def test_a_kernel_that_finds_no_memory_leaves_no_part_of_a_step(
    call, where, backend, dtype, monkeypatch
):
    before, after = network(dtype), network(dtype)
    before.modules[4:4], after.modules[4:4] = [Shift()], [Shift()]
    np.random.seed(1)
    CALLS[call](after)
    module = compiled if backend == "compiled" else numpy_kernels
    kernel, calls = getattr(module, where), []

    def failing(*args):
        calls.append(args)
        if len(calls) == k:
            raise MemoryError
        return kernel(*args)

    monkeypatch.setattr(module, where, failing)
    failures = 0
    for k in range(1, 12):
        net = network(dtype)
        net.modules[4:4] = [Shift()]
        np.random.seed(1)
        calls.clear()
        try:
            CALLS[call](net)
        except MemoryError:
            failures += 1
            assert is_same(state(net), state(before)), f"call {k} of {where}"
            assert net.optimizer is None or net.optimizer.t == 0
            k = 0
            np.random.seed(1)
            if "fit" in call:
                net.optimizer = None
            CALLS[call](net)
        assert is_same(state(net), state(after)), f"call {k} of {where}"
    used = {
        "adam_step": call == "fit adam",
        "step_terms": call != "fit adam",
        "linear_backward": backend == "numpy",  # the compiled chain calls it without Python
    }.get(where, True)
    assert (failures > 0) == used


@pytest.mark.parametrize("how", [*LAYOUTS])
@pytest.mark.parametrize("of_gradient", ["C", "F", "spread", "reversed", "misaligned"])
def test_prepared_steps_are_steps(how, of_gradient, kernels, dtype, isa):
    if how == "read-only":
        return
    rng = np.random.default_rng(0)
    for shape in ((5, 3), (33, 40), (7, 1), (1, 9)):
        W = rng.normal(size=shape).astype(dtype)
        gradient = LAYOUTS[of_gradient](rng.normal(size=shape).astype(dtype))
        stepped, expected = LAYOUTS[how](W), LAYOUTS[how](W)
        with unchanged(gradient):
            terms = [kernels.step_terms(stepped, gradient, 0.3)]
            assert np.array_equal(stepped, W)
            _core.take_steps(terms)
            kernels.sgd_step(expected, gradient, 0.3)
        assert_close(stepped, expected, f"{how}, {of_gradient}")


def test_two_prepared_steps_of_one_array_are_both_taken(kernels):
    for W in (np.ones((2, 3)), np.ones((4, 6))[::2, ::2], np.ones((6, 4)).T[:3:2]):
        terms = [
            kernels.step_terms(W, np.full(W.shape, 2.0), 0.5),
            kernels.step_terms(W, np.full(W.shape, 4.0), 0.5),
        ]
        _core.take_steps(terms)
        assert (W == -2).all()


@pytest.mark.parametrize("how", [name for name in LAYOUTS if name != "read-only"])
def test_copies_are_put_back_into_any_layout(how, dtype):
    rng = np.random.default_rng(0)
    arrays = [
        LAYOUTS[how](rng.normal(size=shape).astype(dtype)) for shape in ((4, 5), (3, 1), (1, 7))
    ]
    before = [np.array(a) for a in arrays]
    copies = _core.Copies(arrays)
    for a in arrays:
        a += 1
    copies.put_back()
    assert all(map(np.array_equal, arrays, before))


def test_a_training_that_could_not_begin_does_not_lock_the_network(monkeypatch):
    net = network()

    def fail(net):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(session._chain, "in_training_mode", fail)
        with pytest.raises(MemoryError):
            net.sgd(X, Y, 1, 0.1)
    net.sgd(X, Y, 1, 0.1)


def test_modes_come_back_when_memory_has_run_out(backend, monkeypatch):
    net = network().eval()
    monkeypatch.setattr(nn.NLL, "forward", lambda self, *args: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        net.sgd(X, Y, 1, 0.1)
    assert not any(m.training for m in (net, *net.modules))
