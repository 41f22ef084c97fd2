"""nncore.check: right modules pass in whatever style, wrong ones are named with their cause, and
nothing is left changed."""

import json
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import students
from students import (
    MSE,
    NLL,
    BatchNorm,
    BinaryNLL,
    CrossEntropyOfOutputs,
    Dropout,
    Hinge,
    Linear,
    LinearInPlace,
    Module,
    OutputSigmoid,
    ReLU,
    Sequential,
    Sigmoid,
    SoftMax,
    SoftMaxDerivative,
    Squared,
    Tanh,
)
from test_cli import environment, run  # noqa: F401

import nncore as nn
from nncore import checking
from nncore.checking import causes, mistakes, roles, trials

ZOO = {name: cls for name, cls, _, _ in students.WRONG}


def _fixed(self, lrate):
    self.W, self.W0 = self.W - 0.01 * self.dLdW, self.W0 - 0.01 * self.dLdW0


def network(*modules, loss=None, cls=Sequential):
    return cls(list(modules), NLL() if loss is None else loss)


# ----------------------------------------------------------------------------------- single classes


@pytest.mark.parametrize("cls", students.RIGHT, ids=lambda c: c.__name__)
def test_right_classes_pass(cls):
    report = nn.check(cls)
    assert report and report.first is None, str(report)


@pytest.mark.parametrize(
    "name, cls, what, words", students.WRONG, ids=[w[0] for w in students.WRONG]
)
def test_wrong_classes_are_named_with_the_cause(name, cls, what, words):
    report = nn.check(cls)
    assert not report and not report.ok
    fault = report.first.faults[0]
    assert fault.what == what, str(report)
    assert all(word in fault.cause for word in words), str(report)
    assert (
        f"{what} {fault.message}" in str(report)
        and fault.cause in str(report)
        and "WRONG" in str(report)
    )
    assert "students.py" in fault.where, str(report)


def test_the_zoo_is_large():
    assert len(students.WRONG) >= 80 and len(ZOO) == len(students.WRONG)


@pytest.mark.parametrize("backend", ["numpy", "compiled"])
def test_the_library_passes_without_remarks(backend):
    with nn.use_backend(backend):
        for library in (nn, nn.reference):
            for name in (
                "Linear",
                "Tanh",
                "ReLU",
                "Sigmoid",
                "SoftMax",
                "OutputSigmoid",
                "NLL",
                "BinaryNLL",
                "Sequential",
            ):
                report = nn.check(getattr(library, name))
                assert report and not report.results[0].remarks, str(report)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 3), (5, 2), (40, 9)])
def test_objects_of_any_size(shape):
    assert nn.check(Linear(*shape)) and nn.check(nn.Linear(*shape, dtype=np.float32))
    assert (
        nn.check(ZOO["LinearUnsummed"](*shape))
        .first.faults[0]
        .cause.startswith("not summed over the batch")
    )
    report = nn.check(ZOO["LinearFlatSum"](*shape))
    # a bias of one entry is updated as it should be all the same
    assert "keepdims" in (
        report.first.faults[0].cause if shape[1] > 1 else report.results[0].remarks[0]
    )


def test_a_square_layer_tells_transposes_apart():
    assert (
        "W is not transposed"
        in nn.check(ZOO["LinearForwardUntransposed"](3, 3)).first.faults[0].cause
    )
    assert (
        "wrong transpose" in nn.check(ZOO["LinearBackwardTransposed"](3, 3)).first.faults[0].cause
    )
    assert (
        "wrong transpose" in nn.check(ZOO["LinearTransposedGradient"](3, 3)).first.faults[0].cause
    )


def test_weights_that_hide_mistakes_are_not_the_ones_probed_with():
    layer = ZOO["LinearNoBias"](3, 2)
    layer.W[...] = 0
    layer.W0[...] = 0
    assert "bias" in nn.check(layer).first.faults[0].cause


@pytest.mark.parametrize(
    "cls, words",
    [
        (students.LinearSumsInStep, "not summed over the batch"),
        (students.LinearMomentum, "another optimizer"),
        (SoftMaxDerivative, "dL/dYpred"),
        (MSE, "averaged over the batch"),
        (BinaryNLL, "0 * log 0"),
    ],
)
def test_what_is_right_but_worth_knowing_is_a_remark(cls, words):
    report = nn.check(cls)
    assert report and words in " ".join(report.results[0].remarks) and "note: " in str(report)


def test_more_remarks():
    class SoftMax(students.SoftMax):
        def forward(self, Z):
            return np.exp(Z) / np.sum(np.exp(Z), axis=0)

        def class_fun(self, Ypred):
            return np.argmax(Ypred, axis=0, keepdims=True)

    class ReLU(students.ReLU):
        def backward(self, dLdA):
            dLdA[self.A < 0] = 0
            return dLdA * (self.A > 0)

    class Sloped(students.ReLU):
        def forward(self, Z):
            self.Z = Z
            return np.maximum(0, Z)

        def backward(self, dLdA):
            return dLdA * (self.Z >= 0)

    class NLL(students.NLL):
        def forward(self, Ypred, Y):
            return np.array([[super().forward(Ypred, Y)]])

    class Linear(students.Linear):
        def __init__(self, m, n):
            self.W, self.b = np.random.normal(size=(n, m)), np.zeros((n, 1))

        def forward(self, A):
            self.A = A
            return self.W @ A + self.b

        def backward(self, dLdZ):
            self.dLdW, self.dLdb = dLdZ @ self.A.T, dLdZ.sum(axis=1, keepdims=True)
            return self.W.T @ dLdZ

        def sgd_step(self, lrate):
            self.W -= lrate * self.dLdW
            self.b -= lrate * self.dLdb

    for thing, *words in (
        (SoftMax, "unstable softmax", "one axis"),
        (Sloped, "exactly 0"),
        (NLL, "an array (1, 1)"),
        (Linear, "outputs first"),
    ):
        report = nn.check(thing)
        assert report, str(report)
        assert all(word in str(report) for word in words), str(report)

    ReLU.backward = lambda self, dLdA: np.multiply(dLdA, self.A > 0, out=dLdA)
    assert nn.check(ReLU) and "changes the array that it is given" in str(nn.check(ReLU))


def test_a_class_that_no_constructor_argument_fits():
    class Linear(Module):
        def __init__(self, m, n):
            self.W = np.zeros(undefined)  # noqa: F821

    Linear.forward, Linear.backward = students.Linear.forward, students.Linear.backward
    report = nn.check(Linear)
    assert (
        report.first.faults[0].what == "__init__" and "NameError" in report.first.faults[0].message
    )
    assert "Linear(3, 2)" in report.first.faults[0].message

    class Rate(Dropout):
        def __init__(self, rate):
            assert 0 <= rate < 1
            super().__init__(rate)

    assert nn.check(Rate)


def test_inputs_where_nothing_tells_them():
    class Pairs(Module):
        """Adds neighbours: takes an even number of features."""

        def forward(self, A):
            return A.reshape(6, 2, -1).sum(axis=1)

        def backward(self, dLdZ):
            return np.repeat(dLdZ, 2, axis=0)

    assert not nn.check(Pairs)
    assert nn.check(Pairs, inputs=12) and nn.check(Pairs(), 12)
    assert nn.check(network(Pairs(), Linear(6, 2), SoftMax()), inputs=12)


def test_slots_and_attributes_elsewhere():
    class Tanh:
        __slots__ = ("A",)

        def forward(self, Z):
            self.A = np.tanh(Z)
            return self.A

        def backward(self, dLdA):
            return dLdA * (1 - self.A**2)

    assert nn.check(Tanh) and nn.check(Tanh())


# ----------------------------------------------------------------------------------------- networks


class NetworkOfStep(Sequential):
    def sgd_step(self, lrate):
        for m in self.modules:
            m.step(lrate)


class LinearStep(Module):
    __init__, forward, backward, step = (
        Linear.__init__,
        Linear.forward,
        Linear.backward,
        Linear.sgd_step,
    )


def nll_of_two_classes():
    loss = BinaryNLL()
    loss.__class__ = type("NLL", (BinaryNLL,), {})
    return loss


RIGHT = {
    "course": lambda: network(Linear(2, 3), Tanh(), Linear(3, 3), ReLU(), Linear(3, 2), SoftMax()),
    "in place": lambda: network(
        LinearInPlace(2, 3), Tanh(), LinearInPlace(3, 2), SoftMax(), cls=nn.Sequential
    ),
    "own in ours": lambda: nn.Sequential([Linear(2, 3), Tanh(), Linear(3, 2), SoftMax()], NLL()),
    "ours in own": lambda: network(
        nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2), nn.SoftMax(), loss=nn.NLL()
    ),
    "ours": lambda: nn.Sequential(
        [nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.SoftMax()], nn.NLL()
    ),
    "float32": lambda: nn.Sequential(
        [
            nn.Linear(2, 3, dtype=np.float32),
            nn.Tanh(),
            nn.Linear(3, 2, dtype=np.float32),
            nn.SoftMax(),
        ],
        nn.NLL(),
    ),
    "binary": lambda: nn.Sequential(
        [nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.OutputSigmoid()], nn.BinaryNLL()
    ),
    "reference": lambda: nn.reference.Sequential(
        [nn.reference.Linear(2, 2), nn.reference.SoftMax()], nn.reference.NLL()
    ),
    "derivatives": lambda: network(
        Linear(2, 3), Tanh(), Linear(3, 2), SoftMaxDerivative(), loss=CrossEntropyOfOutputs()
    ),
    "sigmoid output": lambda: network(
        Linear(2, 3), Sigmoid(), Linear(3, 1), OutputSigmoid(), loss=nll_of_two_classes()
    ),
    "sigmoid hands through": lambda: network(
        Linear(2, 3), Tanh(), Linear(3, 2), ZOO["SigmoidForgets"](), loss=BinaryNLL()
    ),
    "sigmoid and mean": lambda: network(Linear(2, 3), Tanh(), Linear(3, 1), Sigmoid(), loss=MSE()),
    "squared": lambda: network(Linear(2, 3), Tanh(), Linear(3, 2), loss=Squared()),
    "hinge": lambda: network(Linear(2, 3), ReLU(), Linear(3, 1), loss=Hinge()),
    "batchnorm": lambda: network(Linear(2, 3), ReLU(), BatchNorm(3), Linear(3, 2), SoftMax()),
    "dropout": lambda: network(Linear(2, 3), Tanh(), Dropout(), Linear(3, 2), SoftMax()),
    "nncore's dropout": lambda: nn.Sequential(
        [nn.Linear(2, 3), nn.Dropout(0.5, seed=1), nn.Dropout(0.2), nn.Linear(3, 2), nn.SoftMax()],
        nn.NLL(),
    ),
    "nncore's batchnorm": lambda: nn.Sequential(
        [
            nn.Linear(2, 3),
            nn.BatchNorm(3),
            nn.ReLU(),
            nn.BatchNorm(3, statistics="running"),
            nn.Linear(3, 2),
            nn.SoftMax(),
        ],
        nn.NLL(),
    ),
    "nested": lambda: nn.Sequential(
        [nn.Sequential([nn.Linear(2, 3), nn.Tanh()]), nn.Linear(3, 2), nn.SoftMax()], nn.NLL()
    ),
    "no loss": lambda: nn.Sequential([Linear(2, 3), Tanh()]),
    "wide": lambda: network(Linear(64, 32), ReLU(), Linear(32, 10), SoftMax()),
    "only modules": lambda: SimpleNamespace(modules=[Linear(2, 3), SoftMax()], loss=NLL()),
}

_tanh = Tanh()
WRONG = {  # place, what, words
    "unsummed": (
        lambda: network(Linear(2, 3), Tanh(), ZOO["LinearUnsummed"](3, 2), SoftMax()),
        "modules[2]",
        "dLdW0",
        "not summed",
    ),
    "derivative at Z": (
        lambda: network(Linear(2, 3), ZOO["TanhAtZ"](), Linear(3, 2), SoftMax()),
        "modules[1]",
        "backward",
        "at Z instead",
    ),
    "softmax axis": (
        lambda: network(Linear(2, 2), ZOO["SoftMaxRows"]()),
        "modules[1]",
        "forward",
        "wrong axis",
    ),
    "averaged": (
        lambda: network(Linear(2, 2), SoftMax(), loss=ZOO["NLLAveraged"]()),
        "loss",
        "forward",
        "averaged over the batch",
    ),
    "divided": (
        lambda: network(Linear(2, 2), SoftMax(), loss=ZOO["NLLBackwardAveraged"]()),
        "loss",
        "backward",
        "divided by the batch",
    ),
    "derivative twice": (
        lambda: network(Linear(2, 2), SoftMaxDerivative()),
        "modules[1]",
        "backward",
        "applied twice",
    ),
    "sigmoid twice": (
        lambda: network(Linear(2, 2), Sigmoid(), loss=BinaryNLL()),
        "modules[1]",
        "backward",
        "applied twice",
    ),
    "derivative never": (
        lambda: network(Linear(2, 2), SoftMax(), loss=ZOO["NLLOfOutputs"]()),
        "loss",
        "backward",
        "dL/dYpred",
    ),
    "squared": (
        lambda: network(Linear(2, 2), loss=ZOO["SquaredSign"]()),
        "loss",
        "backward",
        "wrong sign",
    ),
    "own loss beside softmax": (
        lambda: network(Linear(2, 2), SoftMax(), loss=Squared()),
        "loss",
        "backward",
        "",
    ),
    "nll of linear outputs": (
        lambda: network(
            Linear(2, 2), loss=Hinge.__new__(type("NLL", (Hinge,), {"backward": lambda s: s.Y}))
        ),
        "loss",
        "backward",
        "",
    ),
    "no output unit": (
        lambda: network(Linear(2, 3), Tanh(), Linear(3, 2), loss=NLL()),
        "modules[2]",
        "it",
        "SoftMax is missing",
    ),
    "tanh for an output unit": (
        lambda: network(Linear(2, 2), Tanh(), loss=NLL()),
        "modules[1]",
        "it",
        "SoftMax is missing",
    ),
    "sigmoid before several classes": (
        lambda: network(Linear(2, 3), nn.Sigmoid(), loss=NLL()),
        "modules[1]",
        "it",
        "NLL is SoftMax",
    ),
    "a step at its own rate": (
        lambda: network(
            type("Linear", (Linear,), {"sgd_step": _fixed})(2, 2), SoftMax(), loss=NLL()
        ),
        "modules[0]",
        "sgd_step",
        "lrate is ignored",
    ),
    "changes its input": (
        lambda: network(Linear(2, 2), ZOO["ReLUInPlace"](), Linear(2, 2), SoftMax()),
        "modules[1]",
        "forward",
        "writes into",
    ),
    "same object": (
        lambda: network(Linear(2, 2), _tanh, Linear(2, 2), _tanh),
        "modules[3]",
        "it",
        "overwritten",
    ),
    "class": (
        lambda: network(Linear(2, 3), Tanh, Linear(3, 2), SoftMax()),
        "modules[1]",
        "it",
        "parentheses are missing: Tanh()",
    ),
    "class of the loss": (
        lambda: network(Linear(2, 2), SoftMax(), loss=NLL),
        "loss",
        "it",
        "parentheses are missing: NLL()",
    ),
    "sizes": (
        lambda: network(Linear(2, 3), Tanh(), Linear(4, 2), SoftMax()),
        "modules[2]",
        "W",
        "sizes do not fit",
    ),
    "first of two": (
        lambda: network(ZOO["LinearAdds"](2, 3), ZOO["TanhForgets"](), Linear(3, 2), SoftMax()),
        "modules[0]",
        "sgd_step",
        "added",
    ),
    "template": (
        lambda: network(ZOO["LinearReturnsNothing"](2, 3), Tanh(), Linear(3, 2), SoftMax()),
        "modules[0]",
        "forward",
        "return",
    ),
    "step and sgd_step": (
        lambda: network(LinearStep(2, 3), Tanh(), LinearStep(3, 2), SoftMax()),
        "network",
        "sgd_step",
        "calls sgd_step, which does nothing there; the update is called step",
    ),
    "no step": (
        lambda: network(Linear(2, 3), Tanh(), Linear(3, 2), SoftMax(), cls=NetworkOfStep),
        "network",
        "sgd_step",
        "has no step, but sgd_step",
    ),
    "no step at all": (
        lambda: network(
            Linear(2, 3),
            students.Squared.__new__(
                type("Same", (), {"forward": lambda s, A: A.copy(), "backward": lambda s, g: g})
            ),
            SoftMax(),
        ),
        "network",
        "sgd_step",
        "without weights need one that does nothing",
    ),
    "sgd draws": (
        lambda: network(
            Linear(2, 3), Tanh(), Linear(3, 2), SoftMax(), cls=ZOO["SequentialNeverTheLast"]
        ),
        "network",
        "sgd",
        "0 to N-1",
    ),
    "sgd once": (
        lambda: network(Linear(2, 3), Tanh(), Linear(3, 2), SoftMax(), cls=ZOO["SequentialOnce"]),
        "network",
        "sgd",
        "return or break",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_networks_pass(name):
    report = nn.check(RIGHT[name]())
    assert report and str(report).startswith("All right."), str(report)
    assert not any(r.unchecked for r in report.results)


@pytest.mark.parametrize("seed", [44, 159])
def test_a_right_network_passes_whose_units_are_off(seed):
    """With Hinge, which takes NaN for right, samples that are NaN do not show in the weights
    there."""
    np.random.seed(seed)
    report = nn.check(network(Linear(2, 3), ReLU(), Linear(3, 1), loss=Hinge()))
    assert report and str(report).startswith("All right."), str(report)


@pytest.mark.parametrize("name", WRONG)
def test_the_first_wrong_module_is_named(name):
    make, place, what, words = WRONG[name]
    report = nn.check(make())
    assert not report
    assert (report.first.place, report.first.faults[0].what) == (place, what), str(report)
    assert words in report.first.faults[0].cause, str(report)
    assert str(report).startswith(f"Wrong: {place} {report.first.name}: {what} ")


def test_what_a_program_reads_from_the_report():
    report = nn.check(
        network(
            ZOO["LinearUnsummed"](2, 3),
            ZOO["TanhNoSquare"](),
            ZOO["LinearUnsummed"](3, 2),
            SoftMax(),
        )
    )
    assert [r.place for r in report.results] == [
        "modules[0]",
        "modules[1]",
        "modules[2]",
        "modules[3]",
        "loss",
        "network",
    ]
    assert [r.ok for r in report.results] == [False, False, False, True, True, True]
    first, second = report.results[:2]
    assert report.first is first and (first.name, first.size) == ("Linear", "2 -> 3")
    (fault,) = first.faults
    assert (fault.shape, fault.wanted_shape, fault.formula) == (
        (3, 4),
        (3, 1),
        "dLdW0 = np.sum(dLdZ, axis=1, keepdims=True)",
    )
    assert np.isnan(fault.error)
    assert 0 < second.faults[0].error < 10
    text = str(report)
    assert text.splitlines()[0] == (
        "Wrong: modules[0] Linear: dLdW0 has shape (3, 4), must be (3, 1) for a batch of 4. "
        "Start there; 2more below."
    )
    assert "modules[2]  Linear 3 -> 2  WRONG\n    as modules[0]\n" in text
    assert repr(report) == text and max(map(len, text.splitlines())) < 200


def test_a_failure_of_a_module_is_not_told_again_of_the_network():
    report = nn.check(network(ZOO["LinearMisspeltGradient"](2, 3), Tanh(), Linear(3, 2), SoftMax()))
    assert [r.ok for r in report.results] == [False] + [True] * 5 and report.results[
        -1
    ].unchecked == "its modules must run first"


def test_the_size_of_the_error_is_relative_to_the_largest_entry():
    class Tanh(students.Tanh):
        def backward(self, dLdA):
            return 1.01 * super().backward(dLdA)

    fault = nn.check(Tanh).first.faults[0]
    assert fault.cause == "it is 1.01 times what it must be" and fault.error == pytest.approx(0.01)


@pytest.mark.parametrize("error, passes", [(1e-5, False), (1e-10, True)])
@pytest.mark.parametrize("base", [students.Tanh, students.Swish])
def test_small_errors(base, error, passes):
    wrong = type(
        base.__name__, (base,), {"backward": lambda self, g: (1 + error) * base.backward(self, g)}
    )
    assert bool(nn.check(wrong)) is passes


def test_a_module_may_refuse_a_single_sample():
    class Standardise(BatchNorm):
        def forward(self, A):
            if A.shape[1] < 2:
                raise ValueError("one sample has no variance")
            return super().forward(A)

    assert nn.check(Standardise)


class Noise(Module):
    """Random, from generators of its own."""

    def __init__(self):
        self.rng, self.legacy, self.python = (
            np.random.default_rng(),
            np.random.RandomState(3),
            random.Random(),
        )

    def forward(self, Z):
        self.mask = (
            self.rng.normal(size=Z.shape) + self.legacy.normal(size=Z.shape) + self.python.random()
        )
        return Z * self.mask

    def backward(self, dLdA):
        return dLdA * self.mask


def test_finite_differences_judge_what_agrees_with_the_library():
    class Tanh(students.Tanh):
        """Right at the inputs that it is probed with, and only there."""

        def forward(self, Z):
            self.A = (
                np.tanh(Z)
                if not hasattr(self, "seen") or np.array_equal(Z, self.seen)
                else np.tanh(Z) + (Z - self.seen)
            )
            self.seen = Z.copy()
            return self.A

    tanh = Tanh()
    result = checking.Result("", "Tanh")
    x = np.array([[0.5], [-0.7]])
    tanh.forward(x)
    trial = SimpleNamespace(out=[tanh.A], back=[tanh.backward(np.ones((2, 1)))], gradients=[{}])
    checking.modules._by_differences(
        result, tanh, roles.Role("Tanh"), {}, trial, [SimpleNamespace(x=x, g=np.ones((2, 1)), b=1)]
    )
    assert "not the derivative of what forward computes" in result.faults[0].cause


def test_modules_with_random_generators_of_their_own():
    noise = Noise()
    state = (
        str(noise.rng.bit_generator.state),
        noise.python.getstate(),
        str(noise.legacy.get_state()),
    )
    assert nn.check(noise) and nn.check(network(Linear(2, 3), noise, Linear(3, 2), SoftMax()))
    assert (
        str(noise.rng.bit_generator.state),
        noise.python.getstate(),
        str(noise.legacy.get_state()),
    ) == state
    wrong = type("Noise", (Noise,), {"backward": lambda self, g: g})
    assert not nn.check(wrong)


@pytest.mark.parametrize(
    "epsilon, words", [(1e-12, ""), (1e-8, ""), (1e-5, "a small number added"), (1e-2, None)]
)
def test_a_small_number_in_the_logarithm(epsilon, words):
    loss = type(
        "NLL",
        (NLL,),
        {
            "forward": lambda self, P, Y: (
                NLL.forward(self, P, Y),
                -np.sum(Y * np.log(P + epsilon)),
            )[1]
        },
    )
    report = nn.check(loss)
    assert bool(report) is (words is not None)
    assert report.results[0].remarks == [] if not words else words in report.results[0].remarks[0]


def test_a_loss_that_no_labels_suit_is_not_judged():
    report = nn.check(
        type(
            "Odd",
            (Squared,),
            {"forward": lambda self, P, Y: (Squared.forward(self, P, Y), np.nan)[1]},
        )
    )
    assert report and "not checked" in str(report) and "not finite" in report.results[0].unchecked


def test_an_sgd_with_other_arguments_is_left_out():
    class Other(Sequential):
        def sgd(self, X, Y, lrate, epochs):
            raise NotImplementedError

    report = nn.check(Other)
    assert report and "sgd was not checked: it takes (X, Y, lrate, epochs)" in str(report)


@pytest.mark.parametrize(
    "body, words",
    [
        (
            lambda self, X, Y, iters, lrate: [
                Sequential.sgd(self, X[:, i : i + 1], Y[:, i : i + 1], 1, lrate)
                for i in np.random.default_rng(np.random.randint(99)).integers(
                    X.shape[1], size=iters
                )
            ],
            "does not draw by one",
        ),
        (
            lambda self, X, Y, iters, lrate: [
                np.random.seed(1),
                Sequential.sgd(self, X, Y, iters, lrate),
            ],
            "same samples in every call",
        ),
    ],
)
def test_draws_of_another_kind_are_a_remark(body, words):
    report = nn.check(type("Sequential", (Sequential,), {"sgd": body}))
    assert report and words in str(report), str(report)


@pytest.mark.parametrize("seed", range(8))
def test_right_networks_of_any_shape(seed):
    rng = np.random.default_rng(seed)
    widths = rng.integers(1, 9, size=rng.integers(2, 5)).tolist()
    modules = []
    for m, n in zip(widths, widths[1:], strict=False):
        modules += [
            [Linear, LinearInPlace, students.LinearLoops, nn.Linear][rng.integers(4)](m, n),
            [Tanh, ReLU, Sigmoid, students.Swish, nn.ReLU, students.LeakyReLU][rng.integers(6)](),
        ]
    modules[-1], loss = [
        (SoftMax(), NLL()),
        (nn.SoftMax(), nn.NLL()),
        (SoftMaxDerivative(), CrossEntropyOfOutputs()),
        (Tanh(), Squared()),
        (nn.OutputSigmoid(), BinaryNLL()),
    ][rng.integers(5)]
    for module in modules:
        module.sgd_step = getattr(module, "sgd_step", None) or module.step
    report = nn.check(Sequential(modules, loss))
    assert report and not any(r.unchecked for r in report.results), str(report)


# ------------------------------------------------------------------------------- nothing is changed


def state(thing):
    """All that can be seen of an object: attributes, their identity, contents."""
    return {
        k: (
            id(v),
            v.tobytes()
            if isinstance(v, np.ndarray)
            else [id(x) for x in v]
            if isinstance(v, list)
            else None,
        )
        for k, v in vars(thing).items()
    }


@pytest.mark.parametrize(
    "make", [*RIGHT.values(), *(w[0] for w in WRONG.values())], ids=[*RIGHT, *WRONG]
)
def test_nothing_is_changed_or_printed(make, capsys):
    net = make()
    modules = list(net.modules)
    np.random.normal(size=3)
    before = [state(x) for x in (net, net.loss, *modules) if x is not None]
    draws, other = np.random.get_state(legacy=False), random.getstate()
    for module in (net, *modules):
        if hasattr(module, "W"):
            module.W.flags.writeable = True
    nn.check(net)
    assert [state(x) for x in (net, net.loss, *modules) if x is not None] == before
    assert str(np.random.get_state(legacy=False)) == str(draws) and random.getstate() == other
    assert capsys.readouterr() == ("", "")


def test_a_trained_module_is_checked_as_it_is_and_stays_so():
    layer = Linear(3, 2)
    layer.forward(np.ones((3, 1)))
    layer.backward(np.ones((2, 1)))
    layer.sgd_step(0.1)
    layer.W = layer.W.astype(np.float32)
    layer.W.flags.writeable = False
    before = state(layer)
    assert nn.check(layer) and state(layer) == before and not layer.W.flags.writeable


@pytest.mark.parametrize("seed", range(4))
def test_an_optimizer_with_a_velocity_is_none_the_worse_for_having_trained(seed):
    np.random.seed(seed)
    layer = students.LinearMomentum(5, 4)
    for _ in range(3):
        layer.forward(np.random.normal(size=(5, 6)))
        layer.backward(np.random.normal(size=(4, 6)))
        layer.sgd_step(0.1)
    report = nn.check(layer)
    assert report and "another optimizer" in str(report)
    assert not nn.check(
        type(
            "Linear",
            (students.LinearMomentum,),
            {"sgd_step": lambda self, lrate: students.LinearMomentum.sgd_step(self, -lrate)},
        )(5, 4)
    )


def test_what_modules_print_and_warn_of_is_not_shown(capsys, recwarn):
    class Tanh(students.Tanh):
        def forward(self, Z):
            print("forward")
            np.log(np.zeros(1))
            return super().forward(Z)

    assert nn.check(Tanh) and capsys.readouterr().out == "" and not recwarn.list


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "thing, message",
    [
        (3, "module_or_net must be a network .*, got int"),
        (np.ones(3), "got ndarray"),
        (int, "got int"),
        (Module, "got Module"),
        (
            type("Conv", (Tanh,), {"__init__": lambda self, a, b, c: None}),
            "Conv must be given as an object",
        ),
        (
            SimpleNamespace(modules=[3], loss=None),
            r"modules\[0\] must have forward and backward, got int",
        ),
        (SimpleNamespace(modules=[Tanh()], loss=3), "loss must have forward and backward, got int"),
    ],
)
def test_what_cannot_be_checked_is_refused(thing, message):
    with pytest.raises(TypeError, match=message):
        nn.check(thing)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="modules must hold at least one module, got none"):
        nn.check(Sequential([], NLL()))
    with pytest.raises(ValueError, match="inputs must be at least 1, got 0"):
        nn.check(Tanh, inputs=0)
    with pytest.raises(TypeError, match="inputs must be an integer, got str"):
        nn.check(Tanh, inputs="4")


# --------------------------------------------------------------------------- the tables of mistakes


def probe(key, b, rng):
    """A probe with all names that a table may use."""
    m, n = 3, 2
    if key.startswith("Linear"):
        p = SimpleNamespace(
            A=rng.normal(size=(m, b)),
            W=rng.normal(size=(m, n)),
            W0=rng.normal(size=(n, 1)),
            dLdZ=rng.normal(size=(n, b)),
        )
        p.Z = p.W.T @ p.A + p.W0
        p.W = p.W.T if "OutputsFirst" in key else p.W
    elif key.startswith("BatchNorm"):
        b = max(b, 2)  # one sample is its own mean
        p = SimpleNamespace(
            A=rng.normal(size=(m, b)),
            G=rng.normal(size=(m, 1)),
            B=rng.normal(size=(m, 1)),
            dLdZ=rng.normal(size=(m, b)),
        )
        p.eps, p.mean, p.d = 0, lambda x: np.mean(x, axis=1, keepdims=True), p.G * p.dLdZ
        vars(p).update(roles.statistics(p.A))
    elif "NLL" in key:
        p = SimpleNamespace(
            Ypred=rng.uniform(0.1, 0.9, (m, b)), Y=np.eye(m)[:, rng.integers(m, size=b)]
        )
    else:
        unit = getattr(nn.reference, key.partition(".")[0])()
        p = SimpleNamespace(
            Z=rng.normal(size=(m, b)),
            dLdA=rng.normal(size=(m, b)),
            Ypred=rng.uniform(0.1, 0.6, (m, b)),
            seen=rng.normal(size=(m, b)),
        )
        p.A, p.dLdZ = unit.forward(p.Z), p.dLdA
    p.b = b
    return p


def right(key, p):
    """The formula of WANTED, computed as it is written."""
    formula = mistakes.WANTED[key].partition(", where")[0]
    formula = formula.partition(",")[0] if "itself" in formula else formula
    formula = formula.removesuffix(" itself").partition(" = ")[2] or formula.removesuffix(" itself")
    return eval(formula, {"np": np}, vars(p))


@pytest.mark.parametrize("key", mistakes.TABLES)
def test_every_mistake_is_told_from_the_right_formula_and_found_by_its_numbers(key):
    rng = np.random.default_rng(0)
    probes = [probe(key, b, rng) for b in (4, 4, 1)]
    wanted = [right(key, p) for p in probes]
    for formula, words in mistakes.TABLES[key]:
        given = []
        for p, w in zip(probes, wanted, strict=True):
            try:
                given.append(formula(p))
            except ValueError:
                given.append(w)
        if all(causes.same(g, w) for g, w in zip(given, wanted, strict=True)):
            # such as a product that only a square layer allows
            assert key.startswith("Linear") or key == "ReLU.backward", words
            continue
        found = causes.likely_cause(key, probes, given, wanted)
        assert found == words or next(w for f, w in mistakes.TABLES[key] if w == found), words


def test_no_cause_is_named_for_numbers_of_no_formula():
    rng = np.random.default_rng(0)
    probes = [probe("Tanh.backward", b, rng) for b in (4, 4, 1)]
    wanted = [right("Tanh.backward", p) for p in probes]
    assert (
        causes.likely_cause(
            "Tanh.backward", probes, [rng.normal(size=w.shape) for w in wanted], wanted
        )
        == ""
    )


def test_differences_leave_kinks_out():
    x = np.array([[1.0, 0.0], [-2.0, 3.0]])
    index, slopes, shape = trials.differences(lambda: float(np.sum(np.abs(x))), x, 1e-5)
    assert index.tolist() == [0, 2, 3] and np.allclose(slopes, [1, -1, 1]) and shape == (2, 2)
    assert x.tolist() == [[1.0, 0.0], [-2.0, 3.0]]


# -------------------------------------------------------------------------------------- the command


COURSE = (
    json.dumps(students.__file__),
    "exec(open({0}).read().split('# ' + '-' * 92 + ' wrong')[0], globals())",
)
PROGRAM = (
    COURSE[1].format(COURSE[0])
    + """
print("a word of the program")
net = Sequential([Linear(2, 3), Tanh(), Linear(3, 2), SoftMax()], NLL())
"""
)
WRONG_PROGRAM = """
import numpy as np
class Tanh:
    def forward(self, Z):
        self.A = np.tanh(Z)
        return self.A
    def backward(self, dLdA):
        return dLdA
    def sgd_step(self, lrate):
        pass
if __name__ == "__main__":
    net = open("written by the main part", "w")
"""


@pytest.fixture
def check(run, tmp_path):  # noqa: F811
    """check(program, *arguments): the finished command on a file with that text."""

    def start(program, *arguments):
        (tmp_path / "student.py").write_text(program)
        return run("check", "student.py", *arguments)

    return start


def test_command_right(check):
    done = check(PROGRAM, "--name", "net")
    assert done.returncode == 0 and done.stdout.splitlines()[0] == "All right."
    assert done.stderr == "a word of the program\n"


@pytest.mark.parametrize("end", ["exit()", "exit(0)", "raise SystemExit"])
def test_command_of_a_program_that_says_where_it_ends(check, end):
    assert check(f"{PROGRAM}\n{end}\n", "--name", "net").returncode == 0


def test_command_finds_networks_and_unused_classes(check):
    done = check(PROGRAM)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "== net" and "== classes" in lines
    rest = lines[lines.index("== classes") :]
    assert any(line.startswith("ReLU ") for line in rest) and not any(
        line.startswith("Tanh ") for line in rest
    )


def test_command_wrong(check, tmp_path):
    done = check(WRONG_PROGRAM)
    assert done.returncode == 1 and done.stderr == ""
    assert (
        done.stdout.splitlines()[0] == "Tanh  WRONG"
        and "the derivative is forgotten" in done.stdout
    )
    assert "look at: backward, student.py:7" in done.stdout
    assert not (tmp_path / "written by the main part").exists()
    done = check(WRONG_PROGRAM + "\ntanh = Tanh()", "--name", "tanh", "--inputs", "2")
    assert done.returncode == 1 and "the derivative is forgotten" in done.stdout


@pytest.mark.parametrize(
    "program, arguments, message",
    [
        (
            "x = 1",
            [],
            "student.py must keep a network in a variable, or define classes with forward and "
            "backward, outside of `if __name__ == "
            '"__main__":`, got neither',
        ),
        (
            "def f(:",
            [],
            "student.py must be a Python program that runs, got SyntaxError: invalid syntax, line "
            "1",
        ),
        (
            "\nx = y",
            [],
            "student.py must run to its end to be checked, got NameError: name 'y' is not defined "
            "at student.py:2: x = y",
        ),
        (
            "exit(3)",
            [],
            "student.py must run to its end to be checked, got SystemExit: 3 at student.py:1: "
            "exit(3)",
        ),
        (
            "input()",
            [],
            "student.py must run to its end to be checked, got EOFError: EOF when reading a line "
            "at student.py:1: input()",
        ),
        (
            WRONG_PROGRAM,
            ["--name", "tanh"],
            "--name must be a variable of student.py, such as Tanh, got 'tanh'",
        ),
        (
            WRONG_PROGRAM,
            ["--name", "np"],
            "--name must be a network, a module or a loss, or a class of them, got 'np', a module",
        ),
        (WRONG_PROGRAM, ["--inputs", "0"], "--inputs must be at least 1, got 0"),
        (
            WRONG_PROGRAM.replace(
                "def forward", "def __init__(self, a, b, c): pass\n    def forward"
            ),
            ["--name", "Tanh"],
            "Tanh must be given as an object, because it takes more than two sizes to make one, "
            "got the class",
        ),
    ],
)
def test_command_refuses_in_one_sentence(check, program, arguments, message):
    done = check(program, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"nncore: {message}\n")


def test_command_refuses_files(run):  # noqa: F811
    for name, message in (
        ("none.py", "none.py: No such file or directory"),
        ("hw.ipynb", "FILE.py must be a Python program, got hw.ipynb"),
    ):
        done = run("check", name)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"nncore: {message}\n")


def test_command_leaves_out_what_it_cannot_make(check):
    done = check(WRONG_PROGRAM + "\nclass Conv(Tanh):\n    def __init__(self, a, b, c): pass\n")
    assert done.returncode == 1 and "Conv  not checked" in done.stdout


def test_command_checks_the_base_of_other_classes_only_where_it_does_something(check):
    done = check(
        "class Base:\n    def forward(self, A):\n        raise NotImplementedError\n    def "
        "backward(self, g):\n        pass\n"
        "class Same(Base):\n    def forward(self, A):\n        return A + 0\n    def "
        "backward(self, g):\n        return g + 0\n"
    )
    assert (done.returncode, done.stdout) == (0, "Same  ok\n")


def test_checking_is_loaded_when_it_is_asked_for(environment):  # noqa: F811
    code = (
        "import sys, nncore; assert 'nncore.checking' not in sys.modules; "
        "nncore.check; assert 'nncore.checking' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 0
