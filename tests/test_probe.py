"""Probing foreign objects: what is seen of them, and that they are left exactly as they were."""

import collections
import pickle
import random
from types import SimpleNamespace

import numpy as np
import pytest

from nncore.foreign import probe
from nncore.foreign.snapshot import Snapshot, random_state

FILE_RNG = np.random.default_rng(0)
FILE_CACHE = {}
file_counter = 0


class Slotted:
    __slots__ = ("W", "late")

    def __init__(self):
        self.W = np.ones(2)


class Restless:
    """Changes everything it can reach, in every way the snapshot promises to undo."""

    instances = 0
    log: list = []

    def __init__(self):
        self.W, self.W0 = np.arange(6.0).reshape(2, 3), np.zeros((3, 1))
        self.view = self.W[:, ::2]
        self.params = {"b": np.zeros(3), "nested": [np.ones(2), {1, 2}]}
        self.queue = collections.deque([1, 2])
        self.objects = np.array([[1], None], dtype=object)
        self.slotted = Slotted()
        self.generators = [np.random.default_rng(1), np.random.RandomState(1), random.Random(1)]
        self.frozen = np.ones(2)
        self.frozen.flags.writeable = False
        self.missing = None
        variable = [0]

        def closure():
            nonlocal variable
            variable.append(1)
            variable = [9]
            return variable

        self.closure = closure

    def forward(self, A, memory=[]):  # noqa: B006
        global file_counter
        file_counter += 1
        FILE_CACHE[file_counter] = A
        memory.append(A)
        FILE_RNG.normal()
        np.random.rand()
        random.random()
        for g in self.generators:
            g.random()
        type(self).instances += 1
        type(self).fresh = 1
        self.log.append("forward")
        self.W += 1
        self.W0 = self.W0 - 1
        self.view[0, 0] = 77
        self.params["b"][:] = 3
        self.params["nested"][1].add(3)
        self.params["nested"].append(1)
        del self.params["nested"][0]
        self.params["new"] = 1
        self.queue.append(3)
        self.objects[0].append(5)
        self.objects[1] = 3
        self.slotted.W, self.slotted.late = None, 1
        self.W0.shape = (1, 3)
        self.closure()
        self.__dict__["made"] = 1
        del self.missing
        print("noise")
        A[0, 0] = 1e9
        return A

    def backward(self, dLdZ):
        raise ZeroDivisionError("on purpose")


def state(x):
    """Everything the test can see, as bytes, with the identities of what must stay the same
    object."""
    variable = x.closure.__closure__[0].cell_contents
    return (
        pickle.dumps({k: v for k, v in vars(x).items() if k != "closure"}),
        list(vars(x)),
        id(x.W),
        id(x.W0),
        id(x.params["b"]),
        id(x.slotted.W),
        id(variable),
        list(variable),
        Restless.instances,
        list(Restless.log),
        hasattr(Restless, "fresh"),
        file_counter,
        dict(FILE_CACHE),
        repr(FILE_RNG.bit_generator.state),
        random_state(),
        Restless.forward.__defaults__[0][:],
    )


def test_everything_is_put_back_and_nothing_shown(capsys):
    x = Restless()
    before = state(x)
    (trace,) = probe.run_module(
        x,
        (np.ones((2, 1)), np.ones((2, 1)), 0.1),
    )
    assert (
        isinstance(trace.error, ZeroDivisionError)
        and trace.failed == "backward"
        and trace.output[0, 0] == 1e9
    )
    assert trace.overwritten == {"input"} and trace.drew
    assert state(x) == before
    assert capsys.readouterr().out == ""


def test_put_back_on_interrupt():
    x = Restless()
    before = state(x)
    with pytest.raises(KeyboardInterrupt), probe.untouched(x):
        x.forward(np.ones((2, 1)))
        assert state(x) != before
        raise KeyboardInterrupt
    assert state(x) == before


def test_snapshot_restores_more_than_once():
    x = Restless()
    before = state(x)
    snapshot = Snapshot(x)
    for _ in range(2):
        x.forward(np.ones((2, 1)))
        snapshot.restore()
        assert state(x) == before


def test_cycles_end():
    a, b = SimpleNamespace(W=np.ones(1)), SimpleNamespace()
    a.other, b.other, b.all = b, a, [a, b]
    with probe.untouched(a):
        a.W[0] = 5
        b.other = None
    assert a.W[0] == 1 and b.other is a
    assert list(probe.arrays(a)) == ["W"]


def test_a_trace_tells_what_changed_when():
    class Dense:
        def __init__(self):
            self.p = {"w": np.ones((2, 3)), "b": np.zeros((3, 1))}

        def forward(self, A):
            self.A = A
            return self.p["w"].T @ A + self.p["b"]

        def backward(self, dLdZ):
            self.dw, self.db = self.A @ dLdZ.T, dLdZ.sum(axis=1, keepdims=True)
            return self.p["w"] @ dLdZ

        def step(self, lrate):
            self.p["w"] -= lrate * self.dw
            self.p["b"] = self.p["b"] - lrate * self.db

    A, dLdZ = np.arange(4.0).reshape(2, 2), np.ones((3, 2))
    first, second = probe.run_module(Dense(), (A, dLdZ, 0.5), (A, dLdZ, 0.5))
    assert [first.changed(c) for c in ("forward", "backward", "step")] == [
        {"A"},
        {"dw", "db"},
        {"p['w']", "p['b']"},
    ]
    assert (
        first.rebound == {"p['b']"}
        and not first.overwritten
        and not first.drew
        and first.error is None
    )
    np.testing.assert_array_equal(first.gradient, np.full((2, 2), 3.0))
    np.testing.assert_array_equal(first.held["step"]["p['b']"], np.full((3, 1), -1.0))
    np.testing.assert_array_equal(second.held["step"]["p['b']"], np.full((3, 1), -2.0))


def test_losses_and_what_they_overwrite():
    class Loss:
        def forward(self, Ypred, Y):
            self.Y = Y
            Y[0] = 7
            return 3

        def backward(self):
            return self.Y

    (trace,) = probe.run_loss(Loss(), (np.ones((2, 1)), np.zeros((2, 1))))
    assert trace.output == 3 and trace.gradient[0, 0] == 7 and trace.overwritten == {"labels"}


@pytest.mark.parametrize(
    "actual, expected, error",
    [
        (1.0, 2.0, 0.5),
        ([1.0, 2.0], [1.0, 2.5], 0.2),
        ([np.inf, 1], [np.inf, 1], 0),
        ([np.nan], [np.nan], 0),
        ([np.nan], [1], np.inf),
        (None, [1], np.inf),
        ([[1.0]], [1.0], np.inf),
        ([0.0], [0.0], 0),
        ([1.0], [0.0], np.inf),
        ("text", [1.0], np.inf),
        ([], [], 0),
    ],
)
def test_disagreement(actual, expected, error):
    assert probe.disagreement(actual, expected) == pytest.approx(error)
