"""Sums of many terms: losses, penalties, gradients of the bias, statistics of a batch and softmax
denominators, to a few ulp."""

import collections
import functools
import math

import mpmath
import numpy as np
import pytest
from support import LEVELS, ulps

import nncore as nn
from nncore import _core, _sums
from nncore.kernels import compiled, numpy_kernels

N = 1800
ALLOWED = 4  # ulp of the computing type


@pytest.fixture(params=["numpy", *LEVELS])
def kernels(request):
    """The NumPy kernels, and the compiled ones at each instruction-set level."""
    if request.param == "numpy":
        yield numpy_kernels
        return
    if request.param not in _core.isa_levels():
        pytest.skip(f"this processor has no {request.param}")
    before = _core.get_isa()
    _core.set_isa(request.param)
    yield compiled
    _core.set_isa(before)


@pytest.fixture(params=["numpy", "compiled"])
def backend(request):
    with nn.use_backend(request.param):
        yield request.param


def exact_sum(terms):
    """To half a unit in the last place of float64."""
    return mpmath.mpf(math.fsum(terms))


# ----------------------------------------------------------------------------------------- pairwise


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 8, 127, 128, 1000, 100001])
def test_pairwise(n):
    x = np.random.default_rng(n).normal(size=(n, 3))
    expected = [math.fsum(column) for column in x.T]
    bound = 4 * np.finfo(float).eps * np.abs(x).sum(axis=0)
    for given, axis in (
        (x, 0),
        (np.asfortranarray(x), 0),
        (np.ascontiguousarray(x.T), 1),
        (x[:, ::-1][:, ::-1], 0),
    ):
        total = _sums.pairwise(given, axis)
        assert total.shape == (3,) and (np.abs(total - expected) <= bound).all()
        assert total.tobytes() == _sums.pairwise(x).tobytes()  # whatever the layout
        assert _sums.pairwise(given, axis, keepdims=True).shape == ((1, 3) if axis == 0 else (3, 1))


def test_pairwise_keeps_what_it_is_given():
    x = np.ones((1, 4))
    total = _sums.pairwise(x)
    total += 1
    assert (x == 1).all()
    assert (
        _sums.pairwise(np.ones(5, np.float32)).dtype == np.float64
        and _sums.pairwise(np.full(5, 2j)) == 10j
    )
    assert _sums.pairwise([np.inf, 1.0]) == np.inf


# ------------------------------------------------------------------------------------------- losses


def log1p_exp(z):
    """log(1 + e^z) of an mpmath number."""
    return max(z, 0) + mpmath.log1p(mpmath.exp(-abs(z)))


# The loss of a sample from its distinct pairs of an output and a label, and how often each occurs.


def softmax_loss(pairs):
    top = max(z for z, _ in pairs)
    log_sum = top + mpmath.log(
        mpmath.fsum(count * mpmath.exp(z - top) for (z, _), count in pairs.items())
    )
    return mpmath.fsum(count * y * (log_sum - z) for (z, y), count in pairs.items())


def of_terms(term):
    return lambda pairs: mpmath.fsum(count * term(z, y) for (z, y), count in pairs.items())


EXACT = {
    "softmax_nll": softmax_loss,
    "sigmoid_nll": of_terms(lambda z, y: y * log1p_exp(-z) + (1 - y) * log1p_exp(z)),
    "squared_loss": of_terms(lambda z, y: (z - y) ** 2),
    "hinge_loss": of_terms(lambda z, y: max(0, 1 - z * y)),
    "nll": of_terms(lambda p, y: -y * mpmath.log(p)),
    "binary_nll": of_terms(lambda p, y: -y * mpmath.log(p) - (1 - y) * mpmath.log1p(-p)),
    "squared": of_terms(lambda p, y: (p - y) ** 2),
    "hinge": of_terms(lambda p, y: max(0, 1 - p * y)),
}


def case(name, kind, dtype):
    """Two samples of N terms: all equal, which rounds in one direction, or random ones among
    few."""
    rng = np.random.default_rng(8)

    def draw(low, high):
        return rng.choice(rng.uniform(low, high, 12), (N, 2))

    y = np.full((N, 2), 0.4) if kind == "equal" else draw(0, 1)
    if name in ("nll", "binary_nll", "squared", "hinge"):
        z = np.full((N, 2), [0.3, 0.7]) if kind == "equal" else draw(0.1, 0.9)
    else:
        z = np.full((N, 2), [0.3, -0.7]) if kind == "equal" else draw(-2, 2)
    if name.startswith("hinge"):
        y = np.full((N, 2), -1.0)
    elif name == "softmax_nll":
        z[::50] += 1  # others than the largest, too
        y /= N
    return z.astype(dtype), y.astype(dtype)


@functools.cache
def exact_losses(name, kind, dtype):
    with mpmath.workdps(40):
        return [
            EXACT[name](
                {
                    (mpmath.mpf(z), mpmath.mpf(y)): count
                    for (z, y), count in collections.Counter(
                        zip(zs.tolist(), ys.tolist(), strict=True)
                    ).items()
                }
            )
            for zs, ys in zip(*(a.T for a in case(name, kind, dtype)), strict=True)
        ]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("kind", ["equal", "random"])
def test_losses_of_many_terms(name, kind, kernels, dtype):
    exact = exact_losses(name, kind, dtype)
    z, y = case(name, kind, dtype)
    for order in "CF":
        given = getattr(kernels, name)(np.array(z, order=order), np.array(y, order=order))
        if isinstance(given, tuple):
            assert ulps(given[0], sum(exact), dtype) <= ALLOWED, order
            for j in range(2):  # one sample: few outputs at a time
                assert (
                    ulps(
                        getattr(kernels, name)(z[:, j : j + 1], y[:, j : j + 1])[0], exact[j], dtype
                    )
                    <= ALLOWED
                )
        else:
            for loss, true in zip(given, exact, strict=True):
                assert ulps(loss, true, dtype) <= ALLOWED, order


@pytest.mark.parametrize("name", ["nll", "binary_nll", "squared", "hinge"])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 31, 64, 100])
def test_losses_of_samples_have_the_same_bits_in_every_layout(name, n, kernels, dtype):
    rng = np.random.default_rng(n)
    p, y = rng.uniform(0.1, 0.9, (n, 37)).astype(dtype), rng.uniform(0, 1, (n, 37)).astype(dtype)
    results = [getattr(kernels, name)(np.array(p, order=order), y).tobytes() for order in "CF"]
    wide = np.zeros((n, 80), dtype)
    wide[:, 1:75:2] = p
    out = np.empty(37, dtype)
    assert getattr(kernels, name)(wide[:, 1:75:2], y, out=out) is out
    assert results[0] == results[1] == out.tobytes()


def test_a_million_terms(kernels, dtype):
    """n log 2, which a running sum in float64 misses by 10,000 ulp, one in float32 by far more."""
    loss, _ = kernels.sigmoid_nll(np.zeros((1000, 1000), dtype), np.zeros((1000, 1000), dtype))
    assert ulps(loss, 10**6 * mpmath.log(2), dtype) <= ALLOWED
    loss, _ = kernels.softmax_nll(np.zeros((2, 200000), dtype), np.full((2, 200000), 0.5, dtype))
    assert ulps(loss, 200000 * mpmath.log(2), dtype) <= ALLOWED


@pytest.mark.parametrize("name", ["squared_loss", "sigmoid_nll", "hinge_loss", "squared", "hinge"])
def test_infinite_terms_stay_infinite(name, kernels, dtype):
    """The compensation of an infinite sum is not a number, and is left out."""
    z = np.zeros((100, 3), dtype)
    z[17, 1] = -np.inf
    result = getattr(kernels, name)(z, np.ones((100, 3), dtype))
    assert (result[0] if isinstance(result, tuple) else result[1]) == np.inf
    z[17, 1] = np.nan
    result = getattr(kernels, name)(z, np.ones((100, 3), dtype))
    assert np.isnan(result[0] if isinstance(result, tuple) else result[1])


@pytest.mark.parametrize("rest", [1e-9, 3e-3, 0.1, 0.7, 0.99, 1.1])
@pytest.mark.parametrize("n", [5, 40, 300, 700, 2500])
def test_the_loss_of_a_confident_softmax(n, rest, kernels, dtype):
    """log(1 + the other entries' e^(z − max)) keeps the digits of that sum, however small it is
    beside 1. From 1 on, it is that of all less 1, with the rounding of their block."""
    allowed = 2 * ALLOWED if rest < 1 else 6 * ALLOWED
    z = np.full((n, 2), np.log(rest / (n - 1)), dtype)
    z[n // 3], z[n // 2, 1] = 0, z[0, 0] - 1
    y = np.zeros((n, 2), dtype)
    y[n // 3] = 1
    with mpmath.workdps(40):
        low = mpmath.mpf(float(z[0, 0]))
        sums = [
            (n - 1) * mpmath.exp(low),
            (n - 2) * mpmath.exp(low) + mpmath.exp(mpmath.mpf(float(z[n // 2, 1]))),
        ]
        exact = [mpmath.log1p(s) for s in sums]
    for order in "CF":
        for j in range(2):
            loss, _ = kernels.softmax_nll(
                np.array(z[:, j : j + 1], order=order), np.array(y[:, j : j + 1], order=order)
            )
            assert ulps(loss, exact[j], dtype) <= allowed, order
        loss, _ = kernels.softmax_nll(np.array(z, order=order), np.array(y, order=order))
        assert ulps(loss, sum(exact), dtype) <= allowed, order


@pytest.mark.parametrize("n", [3, 20, 200, 700, 5000])
def test_an_infinite_loss_of_a_softmax(n, kernels, dtype):
    """A labelled logit of −∞; if its weight is 0 it does not count."""
    z, y = np.zeros((n, 3), dtype), np.zeros((n, 3), dtype)
    z[n - 2], y[0] = -np.inf, 1
    for order in "CF":
        finite = kernels.softmax_nll(np.array(z, order=order), np.array(y, order=order))[0]
        assert finite == pytest.approx(3 * np.log(n - 1), rel=8 * float(np.finfo(dtype).eps))
        y[n - 2, 1] = 0.5
        assert kernels.softmax_nll(np.array(z, order=order), np.array(y, order=order))[0] == np.inf
        y[n - 2, 1] = 0


# ----------------------------------------------------------------------------------- over the batch


def test_the_gradient_of_the_bias(kernels, dtype):
    b = 50021
    dLdZ = np.random.default_rng(1).uniform(0.1, 0.2, (19, b)).astype(dtype)
    dLdZ[0] = dtype(0.1)
    for order in "CF":
        dLdW0 = kernels.linear_backward(
            np.array(dLdZ, order=order), np.ones((1, b), dtype), np.ones((1, 19), dtype)
        )[2]
        for given, row in zip(dLdW0[:, 0], dLdZ, strict=True):
            assert ulps(given, exact_sum(row.tolist()), dtype) <= 2, order


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("b", [900, 30011])
def test_the_gradient_of_the_bias_in_fit(optimizer, b, backend, dtype):
    """The gradient of a batch of equal samples is that of one: the sum of b equal terms over b."""
    net = nn.Sequential([nn.Linear(1, 3, dtype=dtype)], nn.Squared())
    net.modules[0].W[...] = 0
    net.fit(
        np.zeros((1, b), dtype), np.full((3, b), -0.05, dtype), 1, b, lrate=1.0, optimizer=optimizer
    )
    one = 2 * dtype(0.05)
    assert all(ulps(-w, mpmath.mpf(float(one)), dtype) <= ALLOWED for w in net.modules[0].W0[:, 0])


def test_statistics_of_a_batch(kernels, dtype):
    """Mean and variance of many samples that lie far from 0."""
    b = 50021
    A = (1 + np.random.default_rng(2).uniform(0, 2.0**-6, (3, b))).astype(dtype)
    ones = np.ones((3, 1), dtype)
    _, norm, mus, vars = kernels.batchnorm_forward(A, ones, 0 * ones, 0.0)
    _, dLdG, dLdB = kernels.batchnorm_backward(A, norm, vars, ones, 0.0)
    for i in range(3):
        mean = exact_sum(A[i].tolist()) / b
        assert ulps(mus[i, 0], mean, dtype) <= 2
        deviations = (A[i].astype(np.float64) - float(mus[i, 0])) ** 2
        assert (
            abs(float(vars[i, 0]) / float(exact_sum(deviations) / b) - 1) < 8 * np.finfo(dtype).eps
        )
        assert ulps(dLdB[i, 0], exact_sum(A[i].tolist()), dtype) <= 2
        products = A[i] * norm[i]
        scale = float(np.abs(products).sum())
        assert (
            abs(float(dLdG[i, 0]) - float(exact_sum(products))) <= 2 * np.finfo(dtype).eps * scale
        )


# ------------------------------------------------------------------------------------------ softmax


@pytest.mark.parametrize("n", [17, 100, 767, 1535, 1800, 5000, 30000])
@pytest.mark.parametrize("batch", [1, 40])
def test_softmax_denominators(n, batch, kernels, dtype):
    """Many equal terms next to a largest one: e^(-1/4), whose sums round in one direction."""
    z = np.full((n, batch), -0.25, dtype)
    z[n // 2] = 0
    exact = 1 / (1 + (n - 1) * mpmath.exp(mpmath.mpf(-0.25)))
    for order in "CF":
        P = kernels.softmax_forward(np.array(z, order=order))
        for p in np.unique(P[n // 2]):
            assert ulps(p, exact, dtype) <= 2 * ALLOWED, order


# ------------------------------------------------------------------------------- penalty and epochs


def test_a_penalty_beyond_the_range_of_float32(backend):
    """W^2 = 4e38 is more than float32 holds; the penalty of 2e38 is a float64."""
    net = nn.Sequential([nn.Linear(1, 1, dtype=np.float32)], nn.Squared())
    net.modules[0].W[...] = 2e19
    history = net.fit(np.zeros((1, 2)), np.zeros((1, 2)), 1, 2, lrate=0.0, l2=1.0)
    assert history["loss"] == [pytest.approx(2e38, rel=1e-7)]


@pytest.mark.parametrize(
    "shape", [(1, 3000), (3000, 1), (700, 701), (1101, 1037)]
)  # the last in the user's memory
def test_penalties_of_many_weights(shape, backend, dtype):
    net = nn.Sequential([nn.Linear(*shape, dtype=dtype)], nn.Squared())
    net.modules[0].W[...] = 0.1
    w = mpmath.mpf(float(dtype(0.1)))
    history = net.fit(np.zeros((shape[0], 2)), np.zeros((shape[1], 2)), 1, 2, lrate=0.0, l2=0.3)
    assert (
        ulps(history["loss"][0], mpmath.mpf(0.15) * w * w * shape[0] * shape[1], np.float64)
        <= ALLOWED
    )


@pytest.mark.parametrize("batch", [1, 32])
def test_the_loss_of_an_epoch(batch, backend):
    """The mean of many equal losses is one of them."""
    count = 100000 if backend == "compiled" else 1500
    net = nn.Sequential([nn.Linear(1, 1)], nn.Squared())
    net.modules[0].W[...] = 0
    X, Y = np.zeros((1, count)), np.full((1, count), 0.3)
    one = mpmath.mpf(0.3) ** 2
    assert ulps(net.fit(X, Y, 1, batch, lrate=0.0)["loss"][0], one, np.float64) <= ALLOWED
    assert ulps(net.partial_fit(X, Y, batch, lrate=0.0), one, np.float64) <= ALLOWED
    assert ulps(net.evaluate(X, Y)[0], one, np.float64) <= ALLOWED
    assert ulps(-net.log_likelihood(X, Y), one * count, np.float64) <= ALLOWED
    assert ulps(net.loss.forward(np.zeros_like(Y), Y), one * count, np.float64) <= ALLOWED


def test_the_loss_of_an_epoch_does_not_depend_on_its_chunks():
    """One call, or one for each half: the sum is that of the same terms."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 20000)), rng.normal(size=(1, 20000))
    net = nn.Sequential([nn.Linear(3, 1)], nn.Squared())
    whole = net.partial_fit(X, Y, 4, lrate=0.0)
    halves = [
        net.partial_fit(X[:, half], Y[:, half], 4, lrate=0.0)
        for half in (slice(0, 9999), slice(9999, None))
    ]
    assert whole == pytest.approx((9999 * halves[0] + 10001 * halves[1]) / 20000, rel=1e-15)


def test_r_squared_of_many_samples(backend):
    """The mean of Y is subtracted before it is squared, however many samples there are and however
    far from 0."""
    net = nn.Sequential([nn.Linear(1, 1)], nn.Squared())
    net.modules[0].W[...], net.modules[0].W0[...] = 1, 0.25
    X = 2.0**20 + np.arange(60000)[None, :] % 2
    assert net.score(X, X) == pytest.approx(0.75, rel=1e-12)
