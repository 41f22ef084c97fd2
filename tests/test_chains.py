"""Random chains of the library's modules: output units, BatchNorm, Dropout and inner Sequentials
anywhere, in every way of predicting and training, on the compiled core and on the NumPy kernels."""

import copy

import numpy as np
import pytest
from support import assert_close

import nncore as nn

SEEDS = range(12)
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-3}  # of the largest entry, after a few steps
HIDDEN = (nn.Tanh, nn.ReLU, nn.Sigmoid, nn.SoftMax, nn.OutputSigmoid)
LAST = {nn.NLL: nn.SoftMax, nn.BinaryNLL: nn.OutputSigmoid, nn.Squared: None, nn.Hinge: None}


def make_chain(rng, dtype):
    """(network, number of inputs, number of outputs)."""
    loss = list(LAST)[rng.integers(len(LAST))]
    widths = rng.choice([1, 2, 3, 4, 5, 7, 9, 16, 17, 33, 90], size=rng.integers(2, 6))
    statistics = ("batch", "running")[rng.integers(2)]
    modules = [HIDDEN[rng.integers(5)]() for _ in range(rng.integers(3))]
    for at, (m, n) in enumerate(zip(widths, widths[1:], strict=False)):
        modules.append(nn.Linear(m, n, dtype=dtype))
        modules[-1].W[...] = rng.normal(size=(m, n)) * m**-0.5
        modules[-1].W0[...] = rng.normal(size=(n, 1))
        if at == len(widths) - 2:
            break
        for _ in range(rng.integers(4)):
            kind = rng.integers(8)
            if kind == 5:
                modules.append(nn.Dropout(0.3, seed=int(rng.integers(100))))
            elif kind == 6:
                modules.append(make_norm(rng, n, statistics, dtype))
            else:
                modules.append(HIDDEN[kind % 5]())
    if LAST[loss]:
        modules.append(LAST[loss]())
    for _ in range(rng.integers(3)):  # but for the last one, modules move into inner networks
        if len(modules) > 2:
            i, j = sorted(rng.integers(len(modules), size=2))
            modules[i:j] = [nn.Sequential(modules[i:j])]
    return nn.Sequential(modules, loss()), int(widths[0]), int(widths[-1])


def make_norm(rng, n, statistics, dtype):
    norm = nn.BatchNorm(n, statistics=statistics, eps=1e-3, dtype=dtype)
    norm.G[...], norm.B[...] = rng.normal(1, 0.1, (n, 1)), rng.normal(size=(n, 1))
    if statistics == "running":
        norm.running_mean[...] = rng.normal(size=(n, 1))
        norm.running_var[...] = rng.uniform(0.5, 2, (n, 1))
    return norm


def make_data(rng, net, inputs, outputs, samples, dtype):
    X = rng.normal(size=(inputs, samples)).astype(dtype)
    if type(net.loss) is nn.NLL:
        return X, np.eye(outputs, dtype=dtype)[:, rng.integers(outputs, size=samples)]
    Y = rng.integers(2, size=(outputs, samples)).astype(dtype)
    return X, 2 * Y - 1 if type(net.loss) is nn.Hinge else Y


def every_module(net):
    for module in net.modules:
        yield from every_module(module) if isinstance(module, nn.Sequential) else [module]


def arrays(net):
    """Copies of all weights and running statistics."""
    return [
        getattr(m, name).copy()
        for m in every_module(net)
        for name in (*m.gradients, *getattr(m, "statistics_arrays", ()))
    ]


@pytest.fixture(params=SEEDS)
def chain(request, dtype, isa):
    rng = np.random.default_rng(request.param)
    net, inputs, outputs = make_chain(rng, dtype)
    return net, *make_data(rng, net, inputs, outputs, 300, dtype)


def on_both(call, net, tolerance):
    """What call(network) returns, a list of arrays, is the same on both backends."""

    def run(net):
        np.random.seed(1)
        with np.errstate(over="ignore"):
            return call(net)

    actual = run(copy.deepcopy(net))
    with nn.use_backend("numpy"):
        expected = run(copy.deepcopy(net))
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert_close(a, b, f"{i} of {net}", tolerance=tolerance)


def test_prediction(chain, dtype):
    net, X, Y = chain

    def call(net):
        results = [net.predict_proba(X[:, :n]) for n in (0, 1, 2, 17, 129, 300) if n]
        results += [
            net.predict_proba(X[:, 5:6]),
            net.predict_proba(np.ascontiguousarray(X[:, ::3])),
        ]
        for n in (1, 2, 300):
            results += [
                np.array([net.evaluate(X[:, :n], Y[:, :n])[0]]),
                np.array([net.log_likelihood(X[:, :n], Y[:, :n])]),
            ]
        return results

    on_both(call, net, TOLERANCE[dtype])
    on_both(
        lambda net: [np.asarray(net.score(X, Y), dtype)], net, 0.01
    )  # classes may be near a draw


def test_predictor(chain, dtype):
    net, X, _ = chain
    if any(isinstance(m, nn.BatchNorm) and m.statistics == "batch" for m in every_module(net)):
        pytest.skip("this chain predicts by the statistics of the batch")
    with nn.use_backend("numpy"):
        expected = net.predict_proba(X)
    p, tolerance, out = net.predictor(), TOLERANCE[dtype], np.empty_like(expected)
    for _ in range(2):
        assert_close(p(X), expected, f"{net}", tolerance=tolerance)
        assert p(X, out=out) is out
        assert_close(out, expected, f"{net}", tolerance=tolerance)
        for n in (1, 2, 16, 17, 128, 129):
            assert_close(p(X[:, :n]), expected[:, :n], f"{n} of {net}", expected, tolerance)
        for j in (0, 7):
            one = np.empty(expected.shape[0], dtype)
            p(X[:, j], out=one)
            assert_close(p(X[:, j]), expected[:, j], f"{net}", expected, tolerance)
            assert_close(one, expected[:, j], f"{net}", expected, tolerance)


def test_prediction_by_several_threads(chain):
    net, X, Y = chain
    X, Y = np.tile(X, 30), np.tile(Y, 30)
    before, results = nn.get_num_threads(), []
    try:
        for threads in (1, 2):
            nn.set_num_threads(threads)
            results.append((net.predict_proba(X).tobytes(), net.log_likelihood(X, Y)))
    finally:
        nn.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "way", ["sgd", "mini_gd", "fit", "fit momentum", "fit whole", "partial_fit", "by hand"]
)
def test_training(chain, dtype, way):
    net, X, Y = chain
    X, Y = X[:, :40], Y[:, :40]

    def call(net):
        losses = []
        if way == "sgd":
            net.sgd(X, Y, 9, 0.001)
        elif way == "mini_gd":
            net.mini_gd(X, Y, 6, 0.001, K=7)
        elif way == "partial_fit":
            losses.append(net.partial_fit(X, Y, 9, 0.001))
        elif way == "by hand":
            for at in (0, 10):
                x, y = X[:, at : at + 10], Y[:, at : at + 10]
                losses.append(net.loss.forward(net.forward(x), y))
                net.backward(net.loss.backward())
                net.sgd_step(0.001)
        else:
            history = net.fit(
                X,
                Y,
                2,
                40 if way == "fit whole" else 9,
                lrate=0.001,
                seed=0,
                optimizer="momentum" if "momentum" in way else None,
                l2=0.1 if "momentum" in way else 0,
                validation=(X[:, :11], Y[:, :11]),
            )
            losses += history["loss"] + history["validation_loss"]
        return [np.array(losses), *arrays(net), net.predict_proba(X)]

    on_both(call, net, TOLERANCE[dtype])
