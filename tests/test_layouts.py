"""Equal numbers give equal bits, wherever in memory and in whatever layout X, Y, the arguments of
kernels and out= are."""

import copy
import warnings

import numpy as np
import pytest
import test_small_networks as small
from kernel_cases import KERNELS, arguments, shape_of
from support import LAYOUTS

import nncore as nn
from nncore.kernels import compiled


def _at(order, offset):
    """A contiguous array `offset` elements behind a boundary of 64 bytes."""

    def make(a):
        room = np.zeros(a.nbytes + 64 + offset * a.itemsize, np.uint8)
        start = -room.ctypes.data % 64 + offset * a.itemsize
        b = room[start : start + a.nbytes].view(a.dtype).reshape(a.shape, order=order)
        b[...] = a
        return b

    return make


PLACES = {**LAYOUTS, **{f"{order} at {k}": _at(order, k) for order in "CF" for k in range(17)}}
OUTS = {name: place for name, place in PLACES.items() if " at " in name}
SIZES = (
    (3, 2, 1),
    (5, 4, 2),
    (20, 10, 1),
    (20, 10, 3),
    (100, 17, 1),
    (33, 40, 9),
    (7, 100, 3),
    (64, 65, 130),
    (3, 300, 2),
    (2, 600, 5),
    (2, 1030, 3),
    (1, 1540, 2),
    (2, 2600, 3),
)
STATEFUL = {
    "sgd_step": (2, (0.1,)),
    "momentum_step": (3, (0.1, 0.9)),
    "adagrad_step": (3, (0.1, 1e-3)),
    "rmsprop_step": (3, (0.1, 0.9, 1e-3)),
    "adam_step": (4, (3, 0.1, 0.9, 0.99, 1e-3, 0.01)),
}


def bits(*values):
    """The bytes of arrays and numbers, whatever the arrays' layout."""
    return [
        np.asarray(v).tobytes()
        for value in values
        for v in (value if isinstance(value, (tuple, list)) else (value,))
    ]


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels(kernel, isa, dtype):
    specs, results, _ = KERNELS[kernel]
    function = getattr(compiled, kernel)
    for m, n, b in SIZES:
        rng = np.random.default_rng(m + n + b)
        plain = arguments(kernel, m, n, b, dtype)
        expected = bits(function(*plain))
        for trial, name in enumerate(PLACES):
            places = [name, *rng.choice(list(PLACES), len(specs) - 1)]
            given = [PLACES[p](a) for p, a in zip(places, plain, strict=True)]
            assert bits(function(*given)) == expected, f"{kernel} {(m, n, b)} {places}"
            if trial % 3 == 0:
                chosen = list(rng.choice(list(OUTS), len(results)))
                outs = tuple(
                    OUTS[p](np.zeros(shape_of(s, m, n, b), dtype))
                    for p, s in zip(chosen, results, strict=True)
                )
                value = function(*given, out=outs if len(outs) > 1 else outs[0])
                assert bits(value) == expected, f"{kernel} {(m, n, b)} {places} into {chosen}"


@pytest.mark.parametrize(
    "kernel",
    [
        "tanh_forward",
        "sigmoid_backward",
        "softmax_forward",
        "softmax_nll",
        "squared_loss",
        "nll_backward",
    ],
)
def test_kernels_in_place(kernel, isa, dtype):
    for m, n, b in SIZES:
        plain = arguments(kernel, m, n, b, dtype)
        expected = bits(getattr(compiled, kernel)(*plain))
        for name, place in OUTS.items():
            first, *others = map(place, plain)
            value = getattr(compiled, kernel)(first, *others, out=first)
            assert bits(value) == expected, f"{kernel} {(m, n, b)} {name}"


@pytest.mark.parametrize("kernel", STATEFUL)
def test_steps(kernel, isa, dtype):
    count, numbers = STATEFUL[kernel]
    writeable = [name for name in PLACES if name != "read-only"]
    for m, n in ((1, 5), (7, 4), (33, 17), (65, 130)):
        rng = np.random.default_rng(m)
        plain = [np.abs(rng.normal(size=(m, n))).astype(dtype) for _ in range(count)]
        expected = [a.copy() for a in plain]
        getattr(compiled, kernel)(*expected, *numbers)
        for name in writeable:
            places = [name, *rng.choice(writeable, count - 1)]
            given = [PLACES[p](a) for p, a in zip(places, plain, strict=True)]
            getattr(compiled, kernel)(*given, *numbers)
            assert bits(*given) == bits(*expected), f"{kernel} {(m, n)} {places}"


@pytest.mark.parametrize(
    "kernel", ["batchnorm_forward", "batchnorm_backward", "batchnorm_apply", "dropout"]
)
def test_batchnorm_and_dropout(kernel, isa, dtype):
    rng = np.random.default_rng(0)
    for n, b in ((1, 5), (7, 1), (33, 17), (65, 130)):
        A, D, (G, B, v) = (
            *rng.normal(size=(2, n, b)).astype(dtype),
            np.abs(rng.normal(size=(3, n, 1))).astype(dtype),
        )
        plain = {
            "batchnorm_forward": (A, G, B),
            "batchnorm_backward": (D, A, v, G),
            "batchnorm_apply": (A, G, B, v, v),
            "dropout": (A,),
        }[kernel]
        numbers = (0.3, 5, 7) if kernel == "dropout" else (1e-5,)
        expected = bits(getattr(compiled, kernel)(*plain, *numbers))
        for name in PLACES:
            given = [
                PLACES[name](plain[0]),
                *(
                    PLACES[p](a)
                    for p, a in zip(
                        rng.choice(list(PLACES), len(plain) - 1), plain[1:], strict=True
                    )
                ),
            ]
            assert bits(getattr(compiled, kernel)(*given, *numbers)) == expected, (
                f"{kernel} {(n, b)} {name}"
            )


# ----------------------------------------------------------------------------------------- networks

NETWORKS = {  # sizes, activation, loss
    "small": ((5, 4, 3), nn.Tanh, nn.NLL),
    "one class of labels": ((6, 2), nn.ReLU, nn.NLL),
    "wide": ((70, 90, 30), nn.ReLU, nn.NLL),
    "many classes": ((4, 700), nn.Tanh, nn.NLL),
    "very many classes": ((3, 1700), nn.Tanh, nn.NLL),
    "numbers": ((6, 20, 9), nn.Sigmoid, nn.Squared),
    "many numbers": ((6, 70), nn.Tanh, nn.Squared),
    "labels": ((6, 33, 5), nn.ReLU, nn.BinaryNLL),
    "margin": ((40, 5, 1), nn.Tanh, nn.Hinge),
}


def network(name, dtype, extra=False):
    sizes, activation, loss = NETWORKS[name]
    np.random.seed(1)
    parts = [
        part
        for m, n in zip(sizes, sizes[1:], strict=False)
        for part in (nn.Linear(m, n, dtype=dtype), activation())
    ][:-1]
    if extra:
        parts[1:1] = [
            nn.BatchNorm(sizes[1], statistics="running", dtype=dtype),
            nn.Dropout(0.2, seed=3),
        ]
    return nn.Sequential(
        [*parts, *([loss.output()] if loss.output is not nn.Linear else [])], loss()
    )


def data(name, dtype, count):
    sizes, _, loss = NETWORKS[name]
    rng = np.random.default_rng(count)
    X = rng.normal(size=(sizes[0], count))
    X[rng.random(X.shape) < (0.8 if sizes[0] in (40, 70) else 0)] = 0
    if loss is nn.NLL:
        Y = rng.dirichlet(np.ones(sizes[-1]), count).T
        Y[:, ::3] = np.eye(sizes[-1])[:, rng.integers(sizes[-1], size=len(range(0, count, 3)))]
        Y[:, ::7] *= 2
    else:
        Y = {
            nn.Squared: rng.normal(size=(sizes[-1], count)),
            nn.BinaryNLL: rng.integers(2, size=(sizes[-1], count)) * 1.0,
            nn.Hinge: rng.choice([-1.0, 1.0], size=(sizes[-1], count)),
        }[loss]
    return X.astype(dtype), Y.astype(dtype)


def trained(net):
    return [
        getattr(part, name)
        for part in net.modules
        for name in (*part.gradients, *getattr(part, "statistics_arrays", ()))
    ]


def sgd(net, X, Y):
    np.random.seed(2)
    net.sgd(X, Y, 70, 0.01)


def mini_gd(net, X, Y):
    net.mini_gd(X, Y, 9, 0.01, K=7)


def fit(net, X, Y):
    return net.fit(X, Y, epochs=2, batch_size=8, lrate=0.01, seed=4)["loss"]


def adam(net, X, Y):
    return net.fit(X, Y, epochs=1, batch_size=8, optimizer="adam", l2=0.01, seed=4)["loss"]


def partial_fit(net, X, Y):
    return [net.partial_fit(X[:, at : at + 1], Y[:, at : at + 1], lrate=0.01) for at in range(5)]


def predict_proba(net, X, Y):
    return [net.predict_proba(X[:, :k]) for k in (1, 2, 17, X.shape[1])]


def predictor(net, X, Y):
    p = net.predictor()
    return [p(X[:, 0]), p(X[:, :1]), p(X[:, :5]), p(X)]


def evaluate(net, X, Y):
    return [*net.evaluate(X, Y), net.log_likelihood(X, Y), net.score(X, Y)]


def forward(net, X, Y):
    value = net.loss.forward(net.forward(X), Y)
    gradient = net.loss.backward()
    net.backward(gradient)
    net.sgd_step(0.01)
    return [value, gradient]


CALLS = (sgd, mini_gd, fit, adam, partial_fit, predict_proba, predictor, evaluate, forward)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, isa, dtype):
    X, Y = data(name, dtype, 40)
    for extra in (False, True) if len(NETWORKS[name][0]) > 2 else (False,):
        start = network(name, dtype, extra)
        for call in CALLS:
            rng = np.random.default_rng(len(call.__name__))
            expected = None
            for place in ("C", "F", *rng.choice(list(PLACES), 5)):
                net, of_y = (
                    copy.deepcopy(start),
                    "C" if expected is None else rng.choice(list(PLACES)),
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    given = call(net, PLACES[place](X), PLACES[of_y](Y))
                got = bits(*trained(net), *([] if given is None else given))
                if expected is None:
                    expected = got
                assert got == expected, f"{call.__name__} X {place}, Y {of_y}, {extra}"


def test_results_of_a_predictor_do_not_depend_on_where_out_is(isa, dtype):
    for name in ("small", "wide", "many classes", "very many classes"):
        p, X = network(name, dtype).predictor(), data(name, dtype, 30)[0]
        for k in (1, 3, 30):
            expected = bits(p(X[:, :k]))
            for place in OUTS.values():
                out = place(np.zeros(p(X[:, :k]).shape, dtype))
                assert p(X[:, :k], out=out) is out and bits(out) == expected


@pytest.mark.parametrize("loss", ["squared", "binary", "hinge", "nll"])
@pytest.mark.parametrize("labels", ["contiguous samples", "spread", "another type", "weighted"])
def test_labels_that_are_read_in_place(loss, labels, isa, dtype):
    """As those that are gathered first, in any order and in later epochs, which do not check."""
    X, Y = small.data((70, 90, 80), loss, 100, dtype)
    weighted = {"sample_weight": np.linspace(0.5, 1.5, 100)} if labels == "weighted" else {}
    nets = []
    for given in (
        np.ascontiguousarray(Y),
        {"spread": np.repeat(Y, 2, 1)[:, ::2], "another type": Y.astype(np.longdouble)}.get(
            labels, np.asfortranarray(Y)
        ),
    ):
        net = small.make((70, 90, 80), nn.Tanh, loss, dtype)
        losses = net.fit(X, given, 3, 16, lrate=0.001, seed=4, **weighted)["loss"]
        assert nn.explain(net, X, given, batch_size=16)["path"] == "minibatch"
        nets.append([*small.weights(net), losses])
    assert all(map(np.array_equal, *nets))
    with nn.use_backend("numpy"):
        twin = small.make((70, 90, 80), nn.Tanh, loss, dtype)
        losses = twin.fit(X, Y, 3, 16, lrate=0.001, seed=4, **weighted)["loss"]
    np.testing.assert_allclose(nets[0][-1], losses, 1e-4 if dtype == np.float32 else 1e-11)
