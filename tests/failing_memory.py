"""Run by test_memory.py in a child process under failing_malloc.c: each call while some allocation
fails. Prints JSON.

Arguments: how many allocations fail in a row, and at how many places of each call, spread evenly.
"""

import ctypes
import gc
import json
import os
import sys

import numpy as np

import nncore as nn
from nncore import _core

NEVER = 1 << 40


class Shim:
    """failing_malloc.c, as preloaded."""

    def __init__(self):
        self.library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self.library.fail_from.argtypes = [
            ctypes.c_long,
            ctypes.c_long,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self.allocations, self.stop = self.library.allocations, self.library.stop_failing
        self.allocations.restype = self.stop.restype = ctypes.c_long
        # any function of the compiled core, and Python's evaluation loop
        functions = (
            ctypes.CDLL(_core.__file__).PyInit__core,
            ctypes.pythonapi._PyEval_EvalFrameDefault,
        )
        self.inside = [ctypes.cast(function, ctypes.c_void_p).value for function in functions]

    def attempt(self, call, net, k, in_a_row):
        """What call(net) raises when the k-th allocation fails, and whether one did."""
        error = None
        gc.disable()
        self.library.fail_from(k, in_a_row, *self.inside)
        try:
            call(net)
        except BaseException as raised:
            error = raised
        failed = self.stop()
        gc.enable()
        return error, failed


def network(sizes, dtype=np.float64, extra=False):
    np.random.seed(0)
    modules = []
    for m, n in zip(sizes, sizes[1:], strict=False):
        modules.append(nn.Linear(m, n, dtype=dtype))
        if extra:
            modules += [nn.BatchNorm(n, statistics="running", dtype=dtype), nn.Dropout(0.2, seed=3)]
        modules.append(nn.ReLU())
    modules[-1:] = [nn.Linear(sizes[-1], sizes[-1], dtype=dtype), nn.SoftMax()]
    return nn.Sequential(modules, nn.NLL())


def weights(net):
    return [
        getattr(m, name).copy()
        for m in net.modules
        for name in (*m.gradients, *getattr(m, "statistics_arrays", ()))
    ]


def same(a, b):
    return all(np.allclose(x, y, rtol=1e-9, atol=1e-12) for x, y in zip(a, b, strict=True))


def problems(make, call, steps, shim, in_a_row, most):
    """(allocations, faults) of a call; steps: the same call with fewer steps, whose
    weights are whole, too."""
    call(make())
    shim.attempt(call, make(), NEVER, 1)
    allocations = shim.allocations()
    whole = [weights(make())]
    for j in range(1, steps[1] + 1) if steps else [None]:
        net = make()
        call(net) if j is None else steps[0](net, j)
        whole.append(weights(net))
    found = []
    for k in sorted({round(k) for k in np.linspace(1, allocations, min(most, allocations))}):
        net = make()
        error, failed = shim.attempt(call, net, k, in_a_row)
        if not failed:  # the path differs by an allocation or two from call to call
            break
        # Python 3.11 loses an exception when it finds no memory for the frames of its traceback,
        # either
        expected = MemoryError if in_a_row == 1 else (MemoryError, SystemError)
        if error is not None and not isinstance(error, expected):
            found.append((k, f"{type(error).__name__}: {error}"))
        if not any(same(weights(net), w) for w in whole):
            found.append((k, "the weights are those of no whole step"))
        try:
            call(net)
        except Exception as error:
            found.append((k, f"afterwards {type(error).__name__}: {error}"))
    return allocations, found


def data(sizes, samples, zeros=0.0, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(sizes[0], samples)).astype(dtype)
    X[rng.random(X.shape) < zeros] = 0
    return X, np.eye(sizes[-1], dtype=dtype)[:, rng.integers(sizes[-1], size=samples)]


def training(sizes, call, zeros=0.0, steps=0, extra=False, samples=64):
    """(make, call, steps) for `problems`, of call(net, X, Y), or call(net, X, Y, n) that makes n of
    so many steps."""
    X, Y = data(sizes, samples, zeros)

    def run(net, count):
        np.random.seed(7)
        call(net, X, Y, count) if steps else call(net, X, Y)

    return (
        lambda: network(sizes, extra=extra),
        lambda net: run(net, steps),
        (run, steps) if steps else None,
    )


SMALL, TURNED, WIDE = (6, 8, 3), (24, 70, 4), (40, 150, 4)
CASES = {
    "sgd small": training(SMALL, lambda net, X, Y, n: net.sgd(X, Y, n, 0.01), steps=7),
    "sgd turned": training(TURNED, lambda net, X, Y, n: net.sgd(X, Y, n, 0.01), steps=9),
    "sgd with a function": training(
        SMALL, lambda net, X, Y, n: net.sgd(X, Y, n, lambda t: 0.01), steps=5
    ),
    "sgd norm": training(TURNED, lambda net, X, Y, n: net.sgd(X, Y, n, 0.01), steps=4, extra=True),
    "mini_gd": training(SMALL, lambda net, X, Y, n: net.mini_gd(X, Y, n, 0.01, K=8), steps=5),
    "mini_gd norm": training(
        TURNED, lambda net, X, Y, n: net.mini_gd(X, Y, n, 0.01, K=16), steps=4, extra=True
    ),
    "fit": training(SMALL, lambda net, X, Y: net.fit(X, Y, 1, 8, seed=0)),
    "fit norm": training(
        TURNED, lambda net, X, Y: net.fit(X, Y, 1, 16, seed=0, optimizer="momentum"), extra=True
    ),
    "fit lists": training((300, 40, 4), lambda net, X, Y: net.fit(X, Y, 1, 32, seed=0), zeros=0.95),
    "validation": training(SMALL, lambda net, X, Y: net.fit(X, Y, 1, 8, seed=0, validation=(X, Y))),
    "partial_fit": training(SMALL, lambda net, X, Y: net.partial_fit(X, Y, 64)),
    **{
        f"fit {name}": training(
            SMALL, lambda net, X, Y, name=name: net.fit(X, Y, 1, 16, seed=0, optimizer=name, l2=0.1)
        )
        for name in ("nesterov", "adagrad", "rmsprop", "adam", "adamw")
    },
    "predict_proba": training(WIDE, lambda net, X, Y: net.predict_proba(X), samples=300),
    "one sample": training(SMALL, lambda net, X, Y: net.predict_proba(X[:, :1])),
    "evaluate": training(TURNED, lambda net, X, Y: net.evaluate(X, Y), samples=300, extra=True),
    "predictor": training(
        WIDE, lambda net, X, Y: [net.predictor()(x) for x in (X, X[:, :3], X[:, 0])], samples=300
    ),
    "save": training(SMALL, lambda net, X, Y: net.save("model.npz")),
    "by hand": training(
        SMALL,
        lambda net, X, Y: (
            net.loss.forward(net.forward(X), Y),
            net.backward(net.loss.backward()),
            net.sgd_step(0.01),
        ),
    ),
}

if __name__ == "__main__":
    shim = Shim()
    print(
        json.dumps(
            {name: problems(*case, shim, *map(int, sys.argv[1:])) for name, case in CASES.items()}
        )
    )
