"""What every record of the registry promises, without a word here about the single one: formulas of
both backends that agree, right gradients, one result module by module and compiled, predictors,
saved models, and foreign code that is recognised."""

import inspect
import pickle
import re

import numpy as np
import pytest
from support import TOLERANCE, assert_close

import nncore as nn
from nncore import _core, reference, registry
from nncore.kernels import compiled, numpy_kernels

ACTIVATIONS = [cls.__name__ for cls, record in registry.ACTIVATIONS.items() if not record.is_output]
LOSSES = {cls.__name__: record for cls, record in registry.LOSSES.items()}
LAYERS = [
    cls.__name__ for cls in registry.LAYERS if cls not in (nn.Linear, nn.BatchNorm, nn.Dropout)
]
NUMBERS = {"slope": 0.1, "delta": 0.7, "smoothing": 0.2}  # arguments that are no arrays
KERNELS = [k for k in numpy_kernels.__all__ if not re.search("_step|batchnorm|dropout|linear", k)]


def object_of(library, name):
    """An object of the class, with 1/2 for whatever setting has no default."""
    cls = getattr(library, name)
    given = inspect.signature(cls).parameters.values()
    return cls(*(0.5 for p in given if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD))


def network(library, hidden, loss, dtype=np.float64, sizes=(6, 13, 3)):
    np.random.seed(0)
    modules = [library.Linear(sizes[0], sizes[1], dtype=dtype), object_of(library, hidden)]
    modules.append(library.Linear(sizes[1], sizes[2], dtype=dtype))
    loss = getattr(library, loss)()
    if registry.LOSSES[type(getattr(nn, type(loss).__name__)())].of_probabilities:
        modules.append(getattr(library, loss.output.__name__)())
    return library.Sequential(modules, loss)


def data(loss, dtype=np.float64, count=40):
    rng = np.random.default_rng(1)
    X, labels = rng.normal(size=(6, count)), rng.integers(3, size=count)
    one_hot = np.eye(3)[:, labels]
    kinds = {"classes": one_hot, "binary": one_hot, "signs": 2 * one_hot - 1}
    Y = kinds.get(LOSSES[loss].labels, rng.normal(size=(3, count)) * 2)
    return X.astype(dtype), Y.astype(dtype)


CASES = [(name, "NLL") for name in (*ACTIVATIONS, *LAYERS)] + [("Tanh", loss) for loss in LOSSES]


@pytest.mark.parametrize("kernel", KERNELS)
def test_both_backends_agree(kernel, isa, dtype):
    rng = np.random.default_rng(0)
    given = inspect.signature(getattr(numpy_kernels, kernel)).parameters
    for shape in ((1, 1), (3, 5), (7, 67), (10, 300)):
        arrays = [
            NUMBERS[name] if name in NUMBERS else rng.normal(0, 2, shape).astype(dtype)
            for name, p in given.items()
            if p.default is p.empty
        ]
        if "Ypred" in given:
            arrays = [abs(a) % 0.9 + 0.05 for a in arrays]
        got, wanted = (getattr(k, kernel)(*arrays) for k in (compiled, numpy_kernels))
        if isinstance(wanted, tuple):  # (loss, gradient)
            assert abs(got[0] - wanted[0]) <= 5 * TOLERANCE[np.dtype(dtype)] * abs(wanted[0])
            got, wanted = got[1], wanted[1]
        assert_close(got, wanted, kernel)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_far_values(name, isa, dtype):
    """Large and infinite inputs give what NumPy gives, and NaN stays NaN; so do the gradients."""
    Z = np.array([[0.0, -0.0, 1e-8, -1e-8, 1e30, -1e30, np.inf, -np.inf, np.nan]], dtype)
    module, ref = object_of(nn, name), object_of(reference, name)
    with np.errstate(all="ignore"):
        for a, b in (
            (module.forward(Z), ref.forward(Z)),
            (module.backward(np.ones_like(Z)), ref.backward(np.ones_like(Z))),
        ):
            np.testing.assert_allclose(a, b, rtol=TOLERANCE[np.dtype(dtype)] * 5, atol=0)
            assert np.isnan(a[0, -1]) or name in ("ReLU", "LeakyReLU")


@pytest.mark.parametrize("hidden, loss", CASES)
def test_gradients(hidden, loss):
    """nn.check takes finite differences of its own formulas; here those of the loss itself."""
    net = network(nn, hidden, loss)
    assert "WRONG" not in str(nn.check(net))
    X, Y = data(loss)
    net.loss.forward(net.forward(X), Y)
    net.backward(net.loss.backward())
    W, wanted, h = net.modules[0].W, net.modules[0].dLdW.copy(), 1e-6
    for at in ((0, 0), (2, 5), (5, 12)):
        before, values = W[at], []
        for W[at] in (before + h, before - h):
            values.append(net.loss.forward(net.forward(X), Y))
        W[at] = before
        assert abs((values[0] - values[1]) / (2 * h) - wanted[at]) <= 1e-6 * (1 + abs(wanted).max())


@pytest.mark.parametrize("hidden, loss", CASES)
@pytest.mark.parametrize("call", ["sgd", "fit"])
def test_compiled_as_module_by_module(hidden, loss, call, isa, dtype):
    X, Y = data(loss, dtype)
    nets = [network(library, hidden, loss, dtype) for library in (nn, reference)]
    assert nn.explain(nets[0], X, Y)["compiled"]
    for net in nets:
        np.random.seed(2)
        if call == "sgd":
            net.sgd(X, Y, iters=60, lrate=0.01)
        else:
            net.fit(X, Y, epochs=2, batch_size=8, lrate=0.01, seed=3)
    tolerance = 1e-4 if dtype is np.float32 else 1e-11
    for i in (0, 2):
        got, wanted = (net.modules[i].W for net in nets)
        assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()
    assert np.array_equal(nets[0].predict(X), nets[1].predict(X)) or not nets[0].loss.classifies


@pytest.mark.parametrize("hidden, loss", CASES)
@pytest.mark.parametrize("width", [13, 1500])
def test_predictors_and_saved_models(hidden, loss, width, tmp_path, isa, dtype):
    net = network(nn, hidden, loss, dtype, (6, width, 3))
    X, _ = data(loss, dtype)
    X = np.asarray(X, dtype)
    wanted, predictor = net.forward(X), net.predictor()
    net.save(tmp_path / "model.npz")
    copies = (predictor, pickle.loads(pickle.dumps(predictor)), nn.load(tmp_path / "model.npz"))
    assert_close(copies[2].forward(X), wanted, "loaded")
    for p in copies[:2]:
        assert_close(p(X), wanted, "many")
        assert_close(p(X[:, 0]), wanted[:, 0], "one")
        assert_close(p(X[:, :1], out=np.empty((3, 1), dtype)), wanted[:, :1], "a column")


def test_the_core_has_every_record():
    names = {record.core_name(record.cls()) for record in registry.ACTIVATIONS.values()}
    assert {n if isinstance(n, str) else n[0] for n in names} <= set(_core.ACTIVATIONS)
