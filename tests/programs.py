"""A student's whole program, right, to put mistakes into, and helpers of its tests."""

import importlib.util
import itertools
import re

import pytest

PROGRAM = """\
import random
import numpy as np


class Module:
    def sgd_step(self, lrate):
        pass


class Linear(Module):
    def __init__(self, m, n):
        self.W0, self.W = np.zeros((n, 1)), np.random.normal(0, m**-0.5, (m, n))

    def forward(self, A):
        self.A = A
        return self.W.T @ A + self.W0

    def backward(self, dLdZ):
        self.dLdW, self.dLdW0 = self.A @ dLdZ.T, dLdZ.sum(axis=1, keepdims=True)
        return self.W @ dLdZ

    def sgd_step(self, lrate):
        self.W = self.W - lrate * self.dLdW
        self.W0 = self.W0 - lrate * self.dLdW0


class Tanh(Module):
    def forward(self, Z):
        self.A = np.tanh(Z)
        return self.A

    def backward(self, dLdA):
        return dLdA * (1 - self.A**2)


class BatchNorm(Module):
    def __init__(self, m):
        self.eps, self.B, self.G = 1e-5, np.zeros((m, 1)), np.random.normal(1, 0.1, (m, 1))

    def forward(self, A):
        mu = A.mean(axis=1, keepdims=True)
        var = A.var(axis=1, keepdims=True)
        self.std = np.sqrt(var + self.eps)
        self.norm = (A - mu) / self.std
        return self.G * self.norm + self.B

    def backward(self, dLdZ):
        self.dLdB = dLdZ.sum(axis=1, keepdims=True)
        self.dLdG = (dLdZ * self.norm).sum(axis=1, keepdims=True)
        d = self.G * dLdZ
        of_var = self.norm * (d * self.norm).mean(axis=1, keepdims=True)
        return (d - d.mean(axis=1, keepdims=True) - of_var) / self.std

    def sgd_step(self, lrate):
        self.B = self.B - lrate * self.dLdB
        self.G = self.G - lrate * self.dLdG


class SoftMax(Module):
    def forward(self, Z):
        e = np.exp(Z - Z.max(axis=0))
        self.A = e / e.sum(axis=0)
        return self.A

    def backward(self, dLdZ):
        return dLdZ

    def class_fun(self, Ypred):
        return np.argmax(Ypred, axis=0)


class NLL(Module):
    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return float(np.sum(-Y * np.log(Ypred)))

    def backward(self):
        return self.Ypred - self.Y


class Sequential:
    def __init__(self, modules, loss):
        self.modules, self.loss = modules, loss

    def sgd(self, X, Y, iters=100, lrate=0.005):
        D, N = X.shape
        for it in range(iters):
            i = np.random.randint(N)
            Xt, Yt = X[:, i:i + 1], Y[:, i:i + 1]
            cur_loss = self.loss.forward(self.forward(Xt), Yt)
            self.backward(self.loss.backward())
            self.sgd_step(lrate)

    def forward(self, Xt):
        for m in self.modules:
            Xt = m.forward(Xt)
        return Xt

    def backward(self, delta):
        for m in self.modules[::-1]:
            delta = m.backward(delta)

    def sgd_step(self, lrate):
        for m in self.modules:
            m.sgd_step(lrate)
"""


@pytest.fixture
def program(tmp_path):
    """program(old, new, ...): the module that the course's program makes with these pieces of its
    text replaced.
    """
    numbers = itertools.count()

    def make(*changes):
        text = PROGRAM
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        name = f"student{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(text)
        spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return make


def network(m, *sizes):
    """A network of the program's classes."""
    a, b, c = sizes or (2, 3, 2)
    return m.Sequential([m.Linear(a, b), m.Tanh(), m.Linear(b, c), m.SoftMax()], m.NLL())


def only_fault(report):
    """(Result, its Fault) of a report that has one, and a line of the program to look at."""
    found = [(r, f) for r in report.results for f in r.faults]
    assert len(found) == 1, str(report)
    assert re.search(r"student\d+\.py:\d+", found[0][1].where), str(report)
    return found[0]
