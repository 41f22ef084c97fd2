"""nncore.check on whole programs, each mistake in several spellings: the cause, one fault, and a line of the program to look at."""

import importlib.util
import itertools
import re

import numpy as np
import pytest

import nncore as nn

PROGRAM = '''\
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
        return (d - d.mean(axis=1, keepdims=True) - self.norm * (d * self.norm).mean(axis=1, keepdims=True)) / self.std

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
'''


@pytest.fixture
def program(tmp_path):
    """program(old, new, ...): the module that the course's program makes with these pieces of its text replaced."""
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


def test_the_program_is_right(program):
    m = program()
    for thing in (network(m), network(m, 3, 3, 3), m.Sequential, m.Linear, m.Tanh, m.BatchNorm, m.SoftMax, m.NLL):
        report = nn.check(thing)
        assert report and not any(r.unchecked for r in report.results), str(report)


# ------------------------------------------------------------------------------------------------ layers of any names and shapes

NAMES = (("W", "W0", "dLdW", "dLdW0"), ("weights", "bias", "dweights", "dbias"), ("W", "b", "grad_W", "grad_b"))
COLUMN = {"column": "self.{1}", "flat": "self.{1}[:, None]", "row": "self.{1}.T"}
SHAPE = {"column": "(n, 1)", "flat": "(n,)", "row": "(1, n)"}


def layer(names, outputs_first, bias, in_place, loops):
    """(old text, new text) that puts a layer of another style into the program."""
    W, shape = ("self.{0}", "(n, m)") if outputs_first else ("self.{0}.T", "(m, n)")
    Z = f"{W} @ A + {COLUMN[bias]}"
    if loops:
        Z = "np.hstack([" + Z.replace("@ A", "@ A[:, t:t + 1]") + " for t in range(A.shape[1])])"
    lines = ["class Linear(Module):", "    def __init__(self, m, n):",
             f"        self.{{0}}, self.{{1}} = np.random.normal(size={shape}), np.random.normal(size={SHAPE[bias]})", "",
             "    def forward(self, A):", "        self.A = A", f"        return {Z}", "", "    def backward(self, dLdZ):",
             f"        self.{{2}} = {'dLdZ @ self.A.T' if outputs_first else 'self.A @ dLdZ.T'}",
             f"        self.{{3}} = dLdZ.sum(axis=1).reshape({SHAPE[bias].replace('n', '-1', 1) if bias != 'row' else '1, -1'})",
             f"        return {'self.{0}.T' if outputs_first else 'self.{0}'} @ dLdZ", "", "    def sgd_step(self, lrate):"]
    lines += [f"        self.{{{k}}} {'-= ' if in_place else f'= self.{{{k}}} - '}lrate * self.{{{k + 2}}}" for k in (0, 1)]
    return PROGRAM[PROGRAM.index("class Linear"):PROGRAM.index("\n\n\nclass Tanh")], "\n".join(lines).format(*names)


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[2])
@pytest.mark.parametrize("outputs_first", [False, True])
@pytest.mark.parametrize("bias", COLUMN)
def test_right_layers_pass_whatever_their_style(program, names, outputs_first, bias):
    rng = np.random.default_rng(len(bias) + outputs_first)
    for in_place, loops in ((False, False), (True, True)):
        m = program(*layer(names, outputs_first, bias, in_place, loops))
        sizes = [(1, 1), (3, 3), (1, 4), (4, 1), tuple(rng.integers(1, 8, size=2).tolist()), (5, 5)]
        for thing in (m.Linear, *(m.Linear(*size) for size in sizes)):
            report = nn.check(thing)
            assert report and not report.results[0].unchecked, str(report)
            turned = getattr(thing, names[0], np.zeros((1, 2))).shape != (1, 1)
            assert ("outputs first" in str(report)) == (outputs_first and turned), str(report)
        assert nn.check(network(m, 3, 3, 3)) and nn.check(network(m, 1, 2, 3))


@pytest.mark.parametrize("size", [(3, 3), (4, 4)])
@pytest.mark.parametrize("changes, words", [
    (("return self.W @ A + self.W0", "return self.W @ A"), "the bias W0 is missing"),
    (("return self.W @ A + self.W0", "return self.W @ A - self.W0"), "the bias W0 is subtracted"),
    (("return self.W.T @ dLdZ", "return self.W @ dLdZ"), "wrong transpose: W has the outputs first"),
    (("dLdZ @ self.A.T", "self.A @ dLdZ.T"), "wrong transpose: W has the outputs first, so that it is dLdZ @ A.T"),
    (("self.dLdW0 = dLdZ.sum(axis=1).reshape((-1, 1))", "self.dLdW0 = dLdZ"), "not summed over the batch"),
    (("return self.W @ A + self.W0", "return self.W @ A + self.W0", "self.A = A", "pass"), "forward must keep it: self.A"),
])
def test_a_square_layer_with_the_outputs_first_is_judged_as_such(program, size, changes, words):
    old, new = layer(NAMES[0], True, "column", False, False)
    m = program(old, new, *changes)
    np.random.seed(5)
    fault = only_fault(nn.check(m.Linear(*size)))[1]
    assert words in fault.cause
    assert fault.formula in ("", "Z = W @ A + W0", "dLdA = W.T @ dLdZ", "dLdW = dLdZ @ A.T", "dLdW0 = np.sum(dLdZ, axis=1, keepdims=True)")


@pytest.mark.parametrize("names", NAMES[1:], ids=lambda names: names[2])
@pytest.mark.parametrize("line, mistake, what, words", [
    ("@ A + self.{1}", "@ A", "forward", "the bias self.{1} is missing"),
    ("self.{3} = dLdZ.sum(axis=1).reshape((-1, 1))", "self.{3} = dLdZ", "{3}", "not summed over the batch"),
    ("self.{3} = dLdZ.sum(axis=1).reshape((-1, 1))", "self.{3} = np.mean(dLdZ, axis=1, keepdims=True)", "{3}", "averaged"),
    ("self.A @ dLdZ.T", "dLdZ @ self.A.T", "{2}", "wrong transpose"),
    ("lrate * self.{2}", "lrate * self.{0}", "sgd_step", "lrate multiplies the weight"),
])
def test_mistakes_of_layers_with_names_of_their_own(program, names, line, mistake, what, words):
    old, new = layer(names, False, "column", False, False)
    m = program(old, new, line.format(*names), mistake.format(*names))
    words = words.format(*names).replace("self.W0", "W0")
    fault = only_fault(nn.check(m.Linear))[1]
    assert fault.what == what.format(*names) and words in fault.cause
    assert f"self.{names[1]}" in fault.formula or f"self.{names[0]}" in fault.formula or "self." in fault.formula or names[0] == "W"


# ------------------------------------------------------------------------------------------------ the bias in dLdA

OF_BIAS = ("return self.W @ dLdZ + self.W0", "return self.W @ (dLdZ + self.W0)", "return np.dot(self.W + self.W0.T, dLdZ)",
           "return np.vstack([self.W, self.W0.T]) @ dLdZ", "return np.hstack([self.W0, self.W.T]).T @ dLdZ",
           "dLdA = np.dot(self.W, dLdZ)\n        dLdA += self.W0\n        return dLdA")


@pytest.mark.parametrize("line", OF_BIAS)
@pytest.mark.parametrize("size", [None, (3, 3), (4, 1), (1, 3), (5, 2)])
def test_the_bias_in_dlda(program, line, size):
    m = program("return self.W @ dLdZ", line)
    if size is None:
        report = nn.check(m.Linear)
    else:
        np.random.seed(1)
        report = nn.check(m.Linear(*size))
    fault = only_fault(report)[1]
    assert fault.what in ("dLdA", "backward") and fault.cause.startswith("the bias W0 is in it"), str(report)
    assert fault.formula == "dLdA = W @ dLdZ"


# ------------------------------------------------------------------------------------------------ BatchNorm

MU, VAR, STD, NORM, OUT = ("mu = A.mean(axis=1, keepdims=True)", "var = A.var(axis=1, keepdims=True)", "np.sqrt(var + self.eps)",
                           "(A - mu) / self.std", "return self.G * self.norm + self.B")
OF_BATCHNORM = {
    "wrong axis": ("over the wrong axis", (MU, "mu = A.mean(axis=0, keepdims=True)", VAR, "var = A.var(axis=0, keepdims=True)"),
                   (MU, "mu = np.mean(A, axis=0)", VAR, "var = np.mean((A - mu)**2, axis=0)")),
    "all entries": ("all entries together", (MU, "mu = A.mean()", VAR, "var = A.var()"),
                    (MU, "mu = np.sum(A) / A.size", VAR, "var = np.sum((A - mu)**2) / A.size")),
    "std for var": ("np.std in place of np.var", (VAR, "var = A.std(axis=1, keepdims=True)"), (STD, "np.sqrt(np.sqrt(var + self.eps))")),
    "divided by var": ("np.sqrt is missing", (STD, "var + self.eps"), (NORM, "(A - mu) * (var + self.eps)**-1")),
    "swapped": ("G and B are swapped", (OUT, "return self.B * self.norm + self.G"), (OUT, "return np.add(np.multiply(self.norm, self.B), self.G)")),
    "ddof": ("ddof=1", (VAR, "var = A.var(axis=1, keepdims=True, ddof=1)"),
             (VAR, "var = np.sum((A - mu)**2, axis=1, keepdims=True) / (A.shape[1] - 1)")),
    "no shift": ("the shift B is missing", (OUT, "return self.G * self.norm"), (OUT, "return np.multiply(self.norm, self.G)")),
    "no scale": ("the scale G is missing", (OUT, "return self.norm + self.B"), (OUT, "return np.add(self.B, self.norm)")),
    "no mean": ("the mean is not subtracted", (NORM, "A / self.std"), (MU, MU + "; A0 = A", NORM, "A0 / self.std")),
    "summed": ("must be averaged", (VAR, "var = np.sum((A - mu)**2, axis=1, keepdims=True)"), (VAR, "var = A.shape[1] * A.var(axis=1, keepdims=True)")),
}


@pytest.mark.parametrize("eps", ["1e-20", "1e-5", "1e-3"])
@pytest.mark.parametrize("name", OF_BATCHNORM)
def test_mistakes_of_a_batchnorms_forward(program, name, eps):
    words, *spellings = OF_BATCHNORM[name]
    for changes in spellings:
        m = program(*changes, "self.eps, self.B, self.G = 1e-5", f"self.eps, self.B, self.G = {eps}")
        for thing in (m.BatchNorm, m.BatchNorm(3), m.BatchNorm(4)):
            fault = only_fault(nn.check(thing))[1]
            assert fault.what == "forward" and words in fault.cause and fault.where.startswith("forward, "), fault
            assert fault.formula.startswith("Z = G * (A - mu) / np.sqrt(var + eps) + B")


@pytest.mark.parametrize("changes, what, words", [
    (("return (d - d.mean(axis=1, keepdims=True) - self.norm * (d * self.norm).mean(axis=1, keepdims=True)) / self.std",
      "return d / self.std"), "backward", "taken for constants"),
    ((" - self.norm * (d * self.norm).mean(axis=1, keepdims=True)", ""), "backward", "the term of the variance is missing"),
    (("d - d.mean(axis=1, keepdims=True) - ", "d - "), "backward", "the term of the mean is missing"),
    (("(dLdZ * self.norm).sum(axis=1, keepdims=True)", "dLdZ * self.norm"), "dLdG", "not summed over the batch"),
    (("self.dLdB = dLdZ.sum(axis=1, keepdims=True)", "self.dLdB = dLdZ.mean(axis=1, keepdims=True)"), "dLdB", "averaged"),
    (("self.B = self.B - lrate * self.dLdB", "pass"), "sgd_step", "B is forgotten"),
    ((OUT, "self.G * self.norm + self.B"), "forward", "return is missing"),
    ((MU, "mu = A.mean(axis=1)"), "forward", "must stay columns"),
])
def test_other_mistakes_of_a_batchnorm(program, changes, what, words):
    m = program(*changes)
    for thing in (m.BatchNorm, m.BatchNorm(4)):
        fault = only_fault(nn.check(thing))[1]
        assert fault.what == what and words in fault.cause, fault


@pytest.mark.parametrize("G, B", [("gamma", "beta"), ("scale", "shift")])
@pytest.mark.parametrize("eps", ["0.0", "1e-20", "1e-8", "1e-3"])
def test_right_batchnorms_pass(program, G, B, eps):
    text = PROGRAM[PROGRAM.index("class BatchNorm"):PROGRAM.index("class SoftMax")]
    own = re.sub(r"\bself\.G\b", f"self.{G}", re.sub(r"\bself\.B\b", f"self.{B}", text)).replace("1e-5", eps)
    own = own.replace("dLdG", f"d{G}").replace("dLdB", f"d{B}")
    flat = own.replace("(m, 1)", "m").replace(f"self.{G} *", f"self.{G}[:, None] *").replace(f"+ self.{B}", f"+ self.{B}[:, None]").replace(
        f"lrate * self.d{G}", f"lrate * self.d{G}[:, 0]").replace(f"lrate * self.d{B}", f"lrate * self.d{B}[:, 0]")
    beside = own.replace("np.sqrt(var + self.eps)", "np.sqrt(var) + self.eps")
    running = own.replace(f"return self.{G}", f"self.mean = 0.9 * getattr(self, 'mean', 0) + 0.1 * mu\n        return self.{G}")
    for style in (own, flat, beside, running, own.replace("class BatchNorm", "class Norm")):
        m = program(text, style)
        cls = getattr(m, "BatchNorm", None) or m.Norm
        for thing in (cls, cls(1), cls(4), cls(7)):
            report = nn.check(thing)
            assert report, str(report)
    m = program()
    assert nn.check(m.Sequential([m.Linear(2, 3), m.BatchNorm(3), m.Tanh(), m.Linear(3, 2), m.SoftMax()], m.NLL()))


def test_a_batchnorm_that_does_something_else_is_judged_by_differences(program):
    """Predicts by its running statistics: right by itself, though not what the library's does in training."""
    text = PROGRAM[PROGRAM.index("    def forward(self, A):\n        mu"):PROGRAM.index("class SoftMax")]
    other = '''    def forward(self, A):
        self.norm = (A - 0.5) / np.sqrt(2 + self.eps)
        return self.G * self.norm + self.B

    def backward(self, dLdZ):
        self.dLdB, self.dLdG = dLdZ.sum(axis=1, keepdims=True), (dLdZ * self.norm).sum(axis=1, keepdims=True)
        return self.G * dLdZ / np.sqrt(2 + self.eps)

    def sgd_step(self, lrate):
        self.B, self.G = self.B - lrate * self.dLdB, self.G - lrate * self.dLdG


'''
    report = nn.check(program(text, other).BatchNorm)
    assert report and "finite differences alone judge it" in str(report)
    assert not nn.check(program(text, other.replace("return self.G * dLdZ /", "return dLdZ /")).BatchNorm)


# ------------------------------------------------------------------------------------------------ the network's own methods

BACK = "for m in self.modules[::-1]:\n            delta = m.backward(delta)"
DRAW, CUT = "np.random.randint(N)", "X[:, i:i + 1], Y[:, i:i + 1]"
CALL, BACKWARD, STEP = "self.loss.forward(self.forward(Xt), Yt)", "self.backward(self.loss.backward())", "self.sgd_step(lrate)\n\n"
OF_NETWORKS = {
    "not reversed": ("backward", "from the last to the first", [
        (BACK, "for m in self.modules:\n            delta = m.backward(delta)"),
        (BACK, "for i in range(len(self.modules)):\n            delta = self.modules[i].backward(delta)"),
        (BACK, "for m in self.modules[::1]:\n            delta = np.copy(m.backward(delta))")]),
    "reverse()": ("backward", "turns the list itself round", [
        (BACK, "for m in self.modules.reverse():\n            delta = m.backward(delta)"),
        (BACK, "self.modules.reverse()\n        for m in self.modules:\n            delta = m.backward(delta)")]),
    "no delta =": ("backward", "what m.backward(delta) returns is dropped", [
        (BACK, "for m in self.modules[::-1]:\n            m.backward(delta)"),
        (BACK, "for m in reversed(self.modules):\n            d = m.backward(delta)"),
        (BACK, "[m.backward(delta) for m in self.modules[::-1]]")]),
    "one left out": ("backward", "it does not call the backward of modules[0]", [
        (BACK, "for i in range(len(self.modules) - 1, 0, -1):\n            delta = self.modules[i].backward(delta)"),
        (BACK, "for m in self.modules[:0:-1]:\n            delta = m.backward(delta)")]),
    "lrate ignored": ("sgd", "lrate is ignored", [
        (STEP, "self.sgd_step(0.005)\n\n"), (STEP, "lrate = 0.01\n            self.sgd_step(lrate)\n\n"),
        (STEP, "[m.sgd_step(0.1) for m in self.modules]\n\n")]),
    "lrate ignored in the step": ("sgd_step", "lrate is ignored", [
        ("m.sgd_step(lrate)", "m.sgd_step(0.01)"), ("self.modules, self.loss = modules, loss", "self.modules, self.loss, self.rate = modules, "
                                                    "loss, 0.1", "m.sgd_step(lrate)", "m.sgd_step(self.rate)")]),
    "last sample": ("sgd", "the last sample is never drawn", [
        (DRAW, "np.random.randint(0, N - 1)"), (DRAW, "np.random.randint(N - 1)"), (DRAW, "random.randint(0, N - 2)"),
        (DRAW, "random.randrange(X.shape[1] - 1)"), (DRAW, "int(np.random.rand() * (N - 1))"), (DRAW, "np.random.choice(N - 1)"),
        (DRAW, "np.random.default_rng().integers(0, N - 1)")]),
    "first sample": ("sgd", "the first sample is never drawn", [(DRAW, "np.random.randint(1, N)"), (DRAW, "random.randint(1, N - 1)")]),
    "beyond the last": ("sgd", "beyond the last column", [(DRAW, "random.randint(0, N)"), (DRAW, "np.random.randint(N + 1)")]),
    "one axis": ("sgd", "has lost that axis", [(CUT, "X[:, i], Y[:, i]"), (CUT, "X[:, i], Y[:, i:i + 1]"), (CUT, "X.T[i], Y.T[i]")]),
    "swapped": ("sgd", "given the labels first", [
        (CALL, "self.loss.forward(Yt, self.forward(Xt))"),
        (CALL, "0\n            Ypred = self.forward(Xt)\n            self.loss.forward(Yt, Ypred)")]),
    "not reversed in sgd": ("sgd", "from the last to the first", [
        (BACKWARD, "d = self.loss.backward()\n            for m in self.modules:\n                d = m.backward(d)")]),
    "the loss itself": ("sgd", "given the loss itself", [(BACKWARD, "self.backward(cur_loss)"), (BACKWARD, "self.backward(float(cur_loss))")]),
    "no loss": ("sgd", "must come before self.loss.backward()", [(CALL, "self.forward(Xt)"), ("cur_loss = " + CALL, "Ypred = self.forward(Xt)")]),
    "forwards reversed": ("forward", "from the first to the last", [
        ("for m in self.modules:\n            Xt", "for m in self.modules[::-1]:\n            Xt"),
        ("for m in self.modules:\n            Xt", "for m in reversed(self.modules):\n            Xt")]),
}


@pytest.mark.parametrize("sizes", [(2, 3, 2), (3, 3, 3)], ids=str)
@pytest.mark.parametrize("name", OF_NETWORKS)
def test_mistakes_of_networks(program, name, sizes):
    what, words, spellings = OF_NETWORKS[name]
    for changes in spellings:
        m = program(*changes)
        np.random.seed(2)
        result, fault = only_fault(nn.check(network(m, *sizes)))
        assert (result.place, fault.what) == ("network", what) and words in fault.cause, f"{changes}: {fault}"


@pytest.mark.parametrize("changes", [
    (BACK, "for m in reversed(self.modules):\n            delta = m.backward(delta)"),
    (BACK, "self.modules.reverse()\n        for m in self.modules:\n            delta = m.backward(delta)\n        self.modules.reverse()"),
    (BACK, "for i in range(len(self.modules) - 1, -1, -1):\n            delta = np.array(self.modules[i].backward(delta))\n        return delta"),
    (DRAW, "np.random.randint(0, N)"), (DRAW, "random.randrange(N)"), (DRAW, "int(np.random.rand() * N)"), (DRAW, "np.random.choice(N)"),
    (DRAW, "it % N"), (CUT, "X[:, [i]], Y[:, [i]]"), (CUT, "X[:, i][:, None], Y[:, i].reshape(-1, 1)"),
    (BACKWARD, "d = self.loss.backward()\n            for m in self.modules[::-1]:\n                d = m.backward(d)"),
    (STEP, "for m in self.modules:\n                m.sgd_step(lrate=lrate)\n\n"),
    ("self.modules, self.loss = modules, loss", "self.modules, self.loss = modules, loss\n        self.backs = [m.backward for m in modules]",
     BACK, "for back in self.backs[::-1]:\n            delta = back(delta)"),
    # the labels first, but everywhere
    ("def forward(self, Ypred, Y)", "def forward(self, Y, Ypred)", CALL, "self.loss.forward(Yt, self.forward(Xt))"),
])
def test_right_networks_in_other_spellings(program, changes):
    m = program(*changes)
    for seed, sizes in enumerate([(2, 3, 2), (3, 3, 3), (1, 1, 2), (1, 4, 5)]):
        np.random.seed(seed)
        report = nn.check(network(m, *sizes))
        assert report and not any(r.unchecked for r in report.results), str(report)
    assert nn.check(m.Sequential) or "Y, Ypred" in changes[1]


# ------------------------------------------------------------------------------------------------ the output unit and its loss

HANDED = "return dLdZ\n\n    def class_fun"


@pytest.mark.parametrize("line", [
    "return dLdZ * self.A * (1 - self.A)", "return self.A * (1.0 - self.A) * dLdZ", "return np.multiply(dLdZ, self.A - self.A**2)",
    "d = np.zeros(dLdZ.shape)\n        for i in range(len(d)):\n            d[i] = dLdZ[i] * self.A[i] * (1 - self.A[i])\n        return d"])
def test_softmax_times_a_derivative(program, line):
    m = program(HANDED, line + "\n\n    def class_fun")
    for thing, place in ((m.SoftMax, ""), (m.SoftMax(), ""), (network(m), "modules[3]"), (network(m, 3, 3, 3), "modules[3]")):
        result, fault = only_fault(nn.check(thing))
        assert (result.place, fault.what) == (place, "backward")
        assert fault.cause.startswith("multiplied by a derivative, but the loss hands over dL/dZ already")


FORWARD, VALUE = "def forward(self, Ypred, Y)", "return float(np.sum(-Y * np.log(Ypred)))"


@pytest.mark.parametrize("changes, words", [
    ((FORWARD, "def forward(self, Y, Ypred)"), "its arguments are swapped: it is forward(self, Ypred, Y)"),
    ((FORWARD, "def forward(self, Y, Ypred)", VALUE, "return -np.sum(Y * np.log(Ypred + 1e-10))"), "its arguments are swapped"),
    ((FORWARD, "def forward(self, Y, Ypred)", VALUE, "assert (Ypred > 0).all(); return -np.sum(np.log(Ypred[Y == 1]))"),
     "its arguments are swapped"),
    ((VALUE, "return float(np.sum(-Ypred * np.log(Y)))"), "Ypred and Y are swapped"),
    ((VALUE, "return -np.sum(Ypred * np.log(np.clip(Y, 1e-12, 1)))"), "Ypred and Y are swapped"),
])
def test_nll_with_its_arguments_swapped(program, changes, words):
    m = program(*changes)
    for thing in (m.NLL, m.NLL(), network(m), network(m, 3, 3, 3)):
        found = [f for r in nn.check(thing).results if r.name == "NLL" for f in r.faults]
        assert len(found) == 1 and found[0].what == "forward" and found[0].cause.startswith(words), found
        assert "student" in found[0].where


# ------------------------------------------------------------------------------------------------ what follows from a fault is none


@pytest.mark.parametrize("changes, cls, what", [
    (("np.tanh(Z)", "1 / (1 + np.exp(-Z))"), "Tanh", "forward"),
    (("np.tanh(Z)", "1 / (1 + np.exp(-Z))", "(1 - self.A**2)", "self.A * (1 - self.A)"), "Tanh", "forward"),
    (("np.tanh(Z)", "np.max(Z, axis=0)"), "Tanh", "forward"),
    (("@ A + self.W0", "@ A", "        self.W0 = self.W0 - lrate * self.dLdW0\n", ""), "Linear", "forward"),
    (("dLdZ.sum(axis=1, keepdims=True)\n        return self.W", "None\n        return self.W"), "Linear", "dLdW0"),
    (("dLdZ.sum(axis=1, keepdims=True)\n        return self.W", "np.sum(dLdZ)\n        return self.W"), "Linear", "dLdW0"),
    (("self.A @ dLdZ.T", "dLdZ @ self.A.T"), "Linear", "dLdW"),
    (("self.A @ dLdZ.T, dLdZ.sum(axis=1, keepdims=True)", "-self.A @ dLdZ.T, -dLdZ.sum(axis=1, keepdims=True)"), "Linear", "dLdW"),
])
def test_what_follows_from_a_fault_is_not_told(program, changes, cls, what):
    m = program(*changes)
    assert only_fault(nn.check(getattr(m, cls)))[1].what == what


def test_a_fault_of_a_base_class_is_told_once(program):
    m = program("def sgd_step(self, lrate):\n        pass", "def sgd_step(self):\n        pass")
    report = nn.check(network(m))
    assert [r.place for r in report.results if not r.ok] == ["modules[1]", "modules[3]"]
    assert str(report).count("must take (self, lrate)") == 1 and "as modules[1]" in str(report)
    assert report.results[-1].unchecked == "its modules must run first"


def test_lines_of_compiled_code_are_no_places_to_look_at(program):
    """NumPy's and nncore's compiled functions raise in files that the user does not have."""
    m = program("self.A = np.tanh(Z)", "self.A = np.random.default_rng(0).integers(5, 1, size=Z.shape)")
    assert re.fullmatch(r"student\d+\.py:\d+: self\.A = .*", only_fault(nn.check(m.Tanh))[1].where)
    m = program("self.A = np.tanh(Z)", "import nncore\n        self.A = nncore.kernels.tanh_forward('Z')")
    assert re.fullmatch(r"student\d+\.py:\d+: self\.A = .*", only_fault(nn.check(m.Tanh))[1].where)
    m = program("self.A = np.tanh(Z)", "import statistics\n        self.A = statistics.mean([])")
    assert re.fullmatch(r"student\d+\.py:\d+: self\.A = .*", only_fault(nn.check(m.Tanh))[1].where)
    m = program("def forward(self, Z):\n        self.A = np", "def forward(self):\n        self.A = Z = np")
    assert re.fullmatch(r"forward, student\d+\.py:\d+", only_fault(nn.check(m.Tanh))[1].where)
