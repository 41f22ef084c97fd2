"""nncore.reference: the public API of the layers on plain NumPy, the same to the caller, and what
the compiled steps agree with."""

import copy
import inspect
import itertools

import numpy as np
import pytest

import nncore as nn
from nncore import reference as ref
from nncore.training.compile import as_program

ACTIVATIONS = ("Tanh", "ReLU", "Sigmoid")
OUTPUTS = {"NLL": "SoftMax", "BinaryNLL": "OutputSigmoid", "Squared": None, "Hinge": None}
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-13}  # relative to the largest entry of each array


def build(library, activation, loss, dtype):
    np.random.seed(3)
    L = lambda m, n: library.Linear(m, n, init="notes", dtype=dtype)  # noqa: E731
    chain = [
        L(6, 9),
        getattr(library, activation)(),
        L(9, 5),
        getattr(library, activation)(),
        L(5, 4),
    ]
    if OUTPUTS[loss]:
        chain.append(getattr(library, OUTPUTS[loss])())
    return library.Sequential(chain, getattr(library, loss)())


def data(dtype, samples=17):
    rng = np.random.default_rng(4)
    return rng.normal(size=(6, samples)).astype(dtype), np.eye(4)[
        :, rng.integers(0, 4, samples)
    ].astype(dtype)


def assert_agree(one, other, dtype):
    for mine, theirs in zip(one.modules, other.modules, strict=True):
        for name in sorted(vars(theirs).keys() - {"m", "n"}):
            wanted = getattr(theirs, name)
            assert getattr(mine, name).dtype == wanted.dtype == dtype
            assert (
                np.abs(getattr(mine, name) - wanted).max()
                <= TOLERANCE[dtype] * np.abs(wanted).max()
            ), (name, theirs)


def test_every_public_class_has_its_twin():
    for name in ref.__all__:
        twin, original = getattr(ref, name), getattr(nn, name)
        assert issubclass(twin, original) and twin.__doc__
        assert inspect.signature(twin) == inspect.signature(original)
    assert set(ref.__all__) == {
        name for name in nn.__all__ if isinstance(getattr(nn, name), type)
    } - {"History", "use_backend"}


@pytest.mark.parametrize(("activation", "loss"), list(itertools.product(ACTIVATIONS, OUTPUTS)))
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
def test_one_step_agrees(activation, loss, dtype):
    X, Y = data(dtype)
    if loss == "Hinge":
        Y = 2 * Y - 1
    net, reference = build(nn, activation, loss, dtype), build(ref, activation, loss, dtype)
    assert as_program(net, (X, Y), True) is not None and as_program(reference, (X, Y), True) is None
    by_sgd, by_sgd_too, by_fit, by_fit_too = (
        copy.deepcopy(n) for n in (net, reference, net, reference)
    )
    for one in (by_sgd, by_sgd_too):
        np.random.seed(5)
        one.sgd(X, Y, 1, 0.05)
    assert_agree(by_sgd, by_sgd_too, dtype)
    for one in (net, reference):  # by hand, the whole data set at once
        one.loss.forward(one.forward(X), Y)
        one.backward(one.loss.backward())
        one.step(0.05)
    assert_agree(net, reference, dtype)
    one, other = (
        n.fit(X, Y, batch_size=17, lrate=0.05, shuffle=False)["loss"] for n in (by_fit, by_fit_too)
    )
    assert one == pytest.approx(other, rel=4 * TOLERANCE[dtype])
    for mine, theirs in zip(by_fit.modules[::2], by_fit_too.modules[::2], strict=True):
        for a, b in ((mine.W, theirs.W), (mine.W0, theirs.W0)):
            assert np.abs(a - b).max() <= TOLERANCE[dtype] * np.abs(b).max()


def test_the_same_draws():
    states = []
    for library in (nn, ref):
        net = build(library, "Tanh", "NLL", np.float64)
        net.sgd(*data(np.float64), 37, 0.01)
        states.append((np.random.get_state()[1].tolist(), np.random.get_state()[2]))
    assert states[0] == states[1]


def test_evaluation_agrees():
    X, Y = data(np.float64, 3000)
    net, reference = build(nn, "ReLU", "NLL", np.float64), build(ref, "ReLU", "NLL", np.float64)
    assert net.evaluate(X, Y) == pytest.approx(reference.evaluate(X, Y), rel=1e-12)
    assert net.log_likelihood(X, Y) == pytest.approx(reference.log_likelihood(X, Y), rel=1e-12)
    assert net.predict(X).tolist() == reference.predict(X).tolist()
    np.testing.assert_allclose(net.predict_proba(X), reference.predict_proba(X), rtol=1e-12)
