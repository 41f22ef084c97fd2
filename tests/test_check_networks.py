"""nncore.check on networks, output units and losses, each mistake in several spellings.

The cause is named, one fault with a line of the program to look at; consequences of a fault are
none.
"""

import re

import numpy as np
import pytest
from programs import network, only_fault

import nncore as nn

# ------------------------------------------------------------------------ the network's own methods

BACK = "for m in self.modules[::-1]:\n            delta = m.backward(delta)"
DRAW, CUT = "np.random.randint(N)", "X[:, i:i + 1], Y[:, i:i + 1]"
CALL, BACKWARD, STEP = (
    "self.loss.forward(self.forward(Xt), Yt)",
    "self.backward(self.loss.backward())",
    "self.sgd_step(lrate)\n\n",
)
OF_NETWORKS = {
    "not reversed": (
        "backward",
        "from the last to the first",
        [
            (BACK, "for m in self.modules:\n            delta = m.backward(delta)"),
            (
                BACK,
                "for i in range(len(self.modules)):\n            delta = "
                "self.modules[i].backward(delta)",
            ),
            (BACK, "for m in self.modules[::1]:\n            delta = np.copy(m.backward(delta))"),
        ],
    ),
    "reverse()": (
        "backward",
        "reverses the list itself",
        [
            (BACK, "for m in self.modules.reverse():\n            delta = m.backward(delta)"),
            (
                BACK,
                "self.modules.reverse()\n        for m in self.modules:\n            delta = "
                "m.backward(delta)",
            ),
        ],
    ),
    "no delta =": (
        "backward",
        "what m.backward(delta) returns is dropped",
        [
            (BACK, "for m in self.modules[::-1]:\n            m.backward(delta)"),
            (BACK, "for m in reversed(self.modules):\n            d = m.backward(delta)"),
            (BACK, "[m.backward(delta) for m in self.modules[::-1]]"),
        ],
    ),
    "one left out": (
        "backward",
        "it does not call the backward of modules[0]",
        [
            (
                BACK,
                "for i in range(len(self.modules) - 1, 0, -1):\n            delta = "
                "self.modules[i].backward(delta)",
            ),
            (BACK, "for m in self.modules[:0:-1]:\n            delta = m.backward(delta)"),
        ],
    ),
    "lrate ignored": (
        "sgd",
        "lrate is ignored",
        [
            (STEP, "self.sgd_step(0.005)\n\n"),
            (STEP, "lrate = 0.01\n            self.sgd_step(lrate)\n\n"),
            (STEP, "[m.sgd_step(0.1) for m in self.modules]\n\n"),
        ],
    ),
    "lrate ignored in the step": (
        "sgd_step",
        "lrate is ignored",
        [
            ("m.sgd_step(lrate)", "m.sgd_step(0.01)"),
            (
                "self.modules, self.loss = modules, loss",
                "self.modules, self.loss, self.rate = modules, loss, 0.1",
                "m.sgd_step(lrate)",
                "m.sgd_step(self.rate)",
            ),
        ],
    ),
    "last sample": (
        "sgd",
        "the last sample is never drawn",
        [
            (DRAW, "np.random.randint(0, N - 1)"),
            (DRAW, "np.random.randint(N - 1)"),
            (DRAW, "random.randint(0, N - 2)"),
            (DRAW, "random.randrange(X.shape[1] - 1)"),
            (DRAW, "int(np.random.rand() * (N - 1))"),
            (DRAW, "np.random.choice(N - 1)"),
            (DRAW, "np.random.default_rng().integers(0, N - 1)"),
        ],
    ),
    "first sample": (
        "sgd",
        "the first sample is never drawn",
        [(DRAW, "np.random.randint(1, N)"), (DRAW, "random.randint(1, N - 1)")],
    ),
    "beyond the last": (
        "sgd",
        "beyond the last column",
        [(DRAW, "random.randint(0, N)"), (DRAW, "np.random.randint(N + 1)")],
    ),
    "one axis": (
        "sgd",
        "has lost that axis",
        [(CUT, "X[:, i], Y[:, i]"), (CUT, "X[:, i], Y[:, i:i + 1]"), (CUT, "X.T[i], Y.T[i]")],
    ),
    "swapped": (
        "sgd",
        "given the labels first",
        [
            (CALL, "self.loss.forward(Yt, self.forward(Xt))"),
            (
                CALL,
                "0\n            Ypred = self.forward(Xt)\n            self.loss.forward(Yt, Ypred)",
            ),
        ],
    ),
    "not reversed in sgd": (
        "sgd",
        "from the last to the first",
        [
            (
                BACKWARD,
                "d = self.loss.backward()\n            for m in self.modules:\n                d = "
                "m.backward(d)",
            )
        ],
    ),
    "the loss itself": (
        "sgd",
        "given the loss itself",
        [(BACKWARD, "self.backward(cur_loss)"), (BACKWARD, "self.backward(float(cur_loss))")],
    ),
    "no loss": (
        "sgd",
        "must come before self.loss.backward()",
        [(CALL, "self.forward(Xt)"), ("cur_loss = " + CALL, "Ypred = self.forward(Xt)")],
    ),
    "forwards reversed": (
        "forward",
        "from the first to the last",
        [
            (
                "for m in self.modules:\n            Xt",
                "for m in self.modules[::-1]:\n            Xt",
            ),
            (
                "for m in self.modules:\n            Xt",
                "for m in reversed(self.modules):\n            Xt",
            ),
        ],
    ),
}


@pytest.mark.parametrize("sizes", [(2, 3, 2), (3, 3, 3)], ids=str)
@pytest.mark.parametrize("name", OF_NETWORKS)
def test_mistakes_of_networks(program, name, sizes):
    what, words, spellings = OF_NETWORKS[name]
    for changes in spellings:
        m = program(*changes)
        np.random.seed(2)
        result, fault = only_fault(nn.check(network(m, *sizes)))
        assert (result.place, fault.what) == ("network", what) and words in fault.cause, (
            f"{changes}: {fault}"
        )


@pytest.mark.parametrize(
    "changes",
    [
        (BACK, "for m in reversed(self.modules):\n            delta = m.backward(delta)"),
        (
            BACK,
            "self.modules.reverse()\n        for m in self.modules:\n            delta = "
            "m.backward(delta)\n        self.modules.reverse()",
        ),
        (
            BACK,
            "for i in range(len(self.modules) - 1, -1, -1):\n            delta = "
            "np.array(self.modules[i].backward(delta))\n        return delta",
        ),
        (DRAW, "np.random.randint(0, N)"),
        (DRAW, "random.randrange(N)"),
        (DRAW, "int(np.random.rand() * N)"),
        (DRAW, "np.random.choice(N)"),
        (DRAW, "it % N"),
        (CUT, "X[:, [i]], Y[:, [i]]"),
        (CUT, "X[:, i][:, None], Y[:, i].reshape(-1, 1)"),
        (
            BACKWARD,
            "d = self.loss.backward()\n            for m in self.modules[::-1]:\n                d "
            "= m.backward(d)",
        ),
        (STEP, "for m in self.modules:\n                m.sgd_step(lrate=lrate)\n\n"),
        (
            "self.modules, self.loss = modules, loss",
            "self.modules, self.loss = modules, loss\n        self.backs = [m.backward for m in "
            "modules]",
            BACK,
            "for back in self.backs[::-1]:\n            delta = back(delta)",
        ),
        # the labels first, but everywhere
        (
            "def forward(self, Ypred, Y)",
            "def forward(self, Y, Ypred)",
            CALL,
            "self.loss.forward(Yt, self.forward(Xt))",
        ),
    ],
)
def test_right_networks_in_other_spellings(program, changes):
    m = program(*changes)
    for seed, sizes in enumerate([(2, 3, 2), (3, 3, 3), (1, 1, 2), (1, 4, 5)]):
        np.random.seed(seed)
        report = nn.check(network(m, *sizes))
        assert report and not any(r.unchecked for r in report.results), str(report)
    assert nn.check(m.Sequential) or "Y, Ypred" in changes[1]


# --------------------------------------------------------------------- the output unit and its loss

HANDED = "return dLdZ\n\n    def class_fun"


@pytest.mark.parametrize(
    "line",
    [
        "return dLdZ * self.A * (1 - self.A)",
        "return self.A * (1.0 - self.A) * dLdZ",
        "return np.multiply(dLdZ, self.A - self.A**2)",
        "d = np.zeros(dLdZ.shape)\n        for i in range(len(d)):\n            d[i] = dLdZ[i] * "
        "self.A[i] * (1 - self.A[i])\n        return d",
    ],
)
def test_softmax_times_a_derivative(program, line):
    m = program(HANDED, line + "\n\n    def class_fun")
    for thing, place in (
        (m.SoftMax, ""),
        (m.SoftMax(), ""),
        (network(m), "modules[3]"),
        (network(m, 3, 3, 3), "modules[3]"),
    ):
        result, fault = only_fault(nn.check(thing))
        assert (result.place, fault.what) == (place, "backward")
        assert fault.cause.startswith(
            "multiplied by a derivative, but the loss gives dL/dZ already"
        )


FORWARD, VALUE = "def forward(self, Ypred, Y)", "return float(np.sum(-Y * np.log(Ypred)))"


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            (FORWARD, "def forward(self, Y, Ypred)"),
            "its arguments are swapped: it is forward(self, Ypred, Y)",
        ),
        (
            (
                FORWARD,
                "def forward(self, Y, Ypred)",
                VALUE,
                "return -np.sum(Y * np.log(Ypred + 1e-10))",
            ),
            "its arguments are swapped",
        ),
        (
            (
                FORWARD,
                "def forward(self, Y, Ypred)",
                VALUE,
                "assert (Ypred > 0).all(); return -np.sum(np.log(Ypred[Y == 1]))",
            ),
            "its arguments are swapped",
        ),
        ((VALUE, "return float(np.sum(-Ypred * np.log(Y)))"), "Ypred and Y are swapped"),
        (
            (VALUE, "return -np.sum(Ypred * np.log(np.clip(Y, 1e-12, 1)))"),
            "Ypred and Y are swapped",
        ),
    ],
)
def test_nll_with_its_arguments_swapped(program, changes, words):
    m = program(*changes)
    for thing in (m.NLL, m.NLL(), network(m), network(m, 3, 3, 3)):
        found = [f for r in nn.check(thing).results if r.name == "NLL" for f in r.faults]
        assert (
            len(found) == 1 and found[0].what == "forward" and found[0].cause.startswith(words)
        ), found
        assert "student" in found[0].where


# ---------------------------------------------------------------- consequences of a fault are none


@pytest.mark.parametrize(
    "changes, cls, what",
    [
        (("np.tanh(Z)", "1 / (1 + np.exp(-Z))"), "Tanh", "forward"),
        (
            ("np.tanh(Z)", "1 / (1 + np.exp(-Z))", "(1 - self.A**2)", "self.A * (1 - self.A)"),
            "Tanh",
            "forward",
        ),
        (("np.tanh(Z)", "np.max(Z, axis=0)"), "Tanh", "forward"),
        (
            ("@ A + self.W0", "@ A", "        self.W0 = self.W0 - lrate * self.dLdW0\n", ""),
            "Linear",
            "forward",
        ),
        (
            (
                "dLdZ.sum(axis=1, keepdims=True)\n        return self.W",
                "None\n        return self.W",
            ),
            "Linear",
            "dLdW0",
        ),
        (
            (
                "dLdZ.sum(axis=1, keepdims=True)\n        return self.W",
                "np.sum(dLdZ)\n        return self.W",
            ),
            "Linear",
            "dLdW0",
        ),
        (("self.A @ dLdZ.T", "dLdZ @ self.A.T"), "Linear", "dLdW"),
        (
            (
                "self.A @ dLdZ.T, dLdZ.sum(axis=1, keepdims=True)",
                "-self.A @ dLdZ.T, -dLdZ.sum(axis=1, keepdims=True)",
            ),
            "Linear",
            "dLdW",
        ),
    ],
)
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
    m = program(
        "self.A = np.tanh(Z)", "self.A = np.random.default_rng(0).integers(5, 1, size=Z.shape)"
    )
    assert re.fullmatch(r"student\d+\.py:\d+: self\.A = .*", only_fault(nn.check(m.Tanh))[1].where)
    m = program(
        "self.A = np.tanh(Z)", "import nncore\n        self.A = nncore.kernels.tanh_forward('Z')"
    )
    assert re.fullmatch(r"student\d+\.py:\d+: self\.A = .*", only_fault(nn.check(m.Tanh))[1].where)
    m = program("self.A = np.tanh(Z)", "import statistics\n        self.A = statistics.mean([])")
    assert re.fullmatch(r"student\d+\.py:\d+: self\.A = .*", only_fault(nn.check(m.Tanh))[1].where)
    m = program(
        "def forward(self, Z):\n        self.A = np", "def forward(self):\n        self.A = Z = np"
    )
    assert re.fullmatch(r"forward, student\d+\.py:\d+", only_fault(nn.check(m.Tanh))[1].where)
