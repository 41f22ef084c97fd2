"""Sizes of 0: layers without inputs or outputs are refused by name wherever a network is trained or
predicts; the kernels of arrays give the right, empty or zero, answers."""

import itertools

import numpy as np
import pytest
from support import assert_close, unchanged

import nncore as nn
from nncore.kernels import compiled, numpy_kernels

SHAPES = [(4, 0, 3), (4, 3, 0), (0, 3, 2), (0, 2, 0), (0, 0, 0)]


@pytest.fixture(params=["numpy", "compiled"])
def backend(request):
    with nn.use_backend(request.param):
        yield request.param


def network(widths, dtype, inner=False):
    """A chain whose weights have been replaced by ones of these widths."""
    modules = []
    for m, n in itertools.pairwise(widths):
        linear = nn.Linear(4, 3, dtype=dtype)
        linear.W, linear.W0 = np.ones((m, n), dtype), np.ones((n, 1), dtype)
        modules += [linear, nn.Tanh()]
    modules = [*modules[:-1], nn.SoftMax()]
    return nn.Sequential([nn.Sequential(modules[:-1]), modules[-1]] if inner else modules, nn.NLL())


CALLS = {
    "sgd": lambda net, X, Y: net.sgd(X, Y, 1, 0.1),
    "sgd compiled": lambda net, X, Y: net.sgd(X, Y, 9, 0.1),
    "sgd of no steps": lambda net, X, Y: net.sgd(X, Y, 0, 0.1),
    "mini_gd": lambda net, X, Y: net.mini_gd(X, Y, 5, 0.1, K=3),
    "fit": lambda net, X, Y: net.fit(X, Y),
    "fit adam": lambda net, X, Y: net.fit(X, Y, optimizer="adam"),
    "partial_fit": lambda net, X, Y: net.partial_fit(X, Y),
    "predict": lambda net, X, Y: net.predict(X),
    "predict_proba": lambda net, X, Y: net.predict_proba(X),
    "one sample": lambda net, X, Y: net.predict_proba(X[:, :1]),
    "evaluate": lambda net, X, Y: net.evaluate(X, Y),
    "score": lambda net, X, Y: net.score(X, Y),
    "log_likelihood": lambda net, X, Y: net.log_likelihood(X, Y),
    "predictor": lambda net, X, Y: net.predictor(),
}


@pytest.mark.parametrize("widths", SHAPES, ids=str)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("inner", [False, True])
def test_a_layer_of_no_units_is_refused_by_name(call, widths, inner, backend, dtype):
    net = network(widths, dtype, inner)
    i = 0 if 0 in widths[:2] else 1
    wanted = rf"W of modules\[{2 * i}\] must have at least one input and one output, got shape "
    X, Y = np.ones((widths[0], 6), dtype), np.ones((widths[-1], 6), dtype)
    state = np.random.get_state()[1].tobytes()
    with (
        unchanged(X, Y),
        pytest.raises(ValueError, match=wanted + rf"\({widths[i]}, {widths[i + 1]}\)"),
    ):
        CALLS[call](net, X, Y)
    assert np.random.get_state()[1].tobytes() == state


def test_a_callback_cannot_empty_a_layer(backend):
    def empty(net, history):
        net.modules[0].W, net.modules[0].W0 = np.ones((4, 0)), np.ones((0, 1))

    net = network((4, 3, 3), np.float64)
    with pytest.raises(ValueError, match=r"W|shape"):
        net.fit(np.ones((4, 6)), np.ones((3, 6)), 2, callbacks=empty)


def arguments(n, b, dtype, order):
    """{kernel: arguments} of the kernels that keep the shape (n, b)."""
    rng = np.random.default_rng(0)

    def new(*shape):
        return np.asarray(rng.random(shape).astype(dtype), order=order)

    column = new(n, 1)
    of_pair = (
        "softmax_nll",
        "sigmoid_nll",
        "squared_loss",
        "hinge_loss",
        "nll",
        "binary_nll",
        "squared",
        "hinge",
        "tanh_backward",
        "relu_backward",
        "sigmoid_backward",
    )
    forward = ("tanh_forward", "relu_forward", "sigmoid_forward", "softmax_forward")
    return {
        **{name: (new(n, b), new(n, b)) for name in of_pair},
        **{name: (new(n, b),) for name in forward},
        "sgd_step": (new(n, b), new(n, b), 0.1),
        "momentum_step": (new(n, b), new(n, b), new(n, b), 0.1, 0.9),
        "adagrad_step": (new(n, b), new(n, b), new(n, b), 0.1, 1e-8),
        "rmsprop_step": (new(n, b), new(n, b), new(n, b), 0.1, 0.9, 1e-8),
        "adam_step": (new(n, b), new(n, b), new(n, b), new(n, b), 1, 0.1, 0.9, 0.99, 1e-8),
        "batchnorm_apply": (new(n, b), column, column, column, column, 1e-3),
        "dropout": (new(n, b), 0.5, 1, 2),
        **(
            {
                "batchnorm_forward": (new(n, b), column, column, 1e-3),
                "batchnorm_backward": (new(n, b), new(n, b), column, column, 1e-3),
            }
            if b
            else {}
        ),
    }


def assert_same(name, args):
    """One kernel of both backends, on copies of the arguments."""
    given, results = [], []
    for kernels in (compiled, numpy_kernels):
        given.append([a.copy(order="K") if isinstance(a, np.ndarray) else a for a in args])
        result = getattr(kernels, name)(*given[-1])
        results.append(result if isinstance(result, tuple) else (result,))
    for a, b in zip([*results[0], *given[0]], [*results[1], *given[1]], strict=True):
        if isinstance(b, (float, np.ndarray)):
            assert_close(a, b, name, 1.0)


@pytest.mark.parametrize("order", ["C", "F"])
def test_kernels_of_empty_arrays(order, dtype, isa):
    for n, b in itertools.product((0, 1, 3, 17), repeat=2):
        if n and b:
            continue
        for name, args in arguments(n, b, dtype, order).items():
            assert_same(name, args)
    for m, n, b in itertools.product((0, 1, 3, 17), repeat=3):
        if m and n and b:
            continue
        W, A, W0, dLdZ = (
            np.ones(shape, dtype, order) for shape in ((m, n), (m, b), (n, 1), (n, b))
        )
        assert_same("linear_forward", (A, W, W0))
        assert_same("linear_backward", (dLdZ, A, W))
