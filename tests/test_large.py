"""Networks whose weights are so large that the program trains them in the user's own memory instead
of on copies."""

import numpy as np
import pytest

import nncore
from nncore import reference

SIZES = (900, 1300, 3)  # float32: 4.7 MB


def network(library=nncore, dtype=np.float32, order="C"):
    np.random.seed(3)
    net = library.Sequential(
        [
            library.Linear(SIZES[0], SIZES[1], dtype=dtype),
            library.ReLU(),
            library.Linear(SIZES[1], SIZES[2], dtype=dtype),
            library.SoftMax(),
        ],
        library.NLL(),
    )
    for linear in net.modules[::2]:
        linear.W = np.array(linear.W, order=order)
    return net


def data(samples=33, dtype=np.float32):
    rng = np.random.default_rng(1)
    return rng.normal(size=(SIZES[0], samples)).astype(dtype), np.eye(3, dtype=dtype)[
        :, rng.integers(3, size=samples)
    ]


def weights(net):
    return [w for linear in net.modules[::2] for w in (linear.W, linear.W0)]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rate", [0.05, lambda t: 0.05 / t], ids=["number", "function"])
def test_fit_agrees_with_the_reference_in_the_same_memory(order, rate, dtype):
    """33 samples in batches of 8: the last batch is a single sample."""
    X, Y = data(dtype=dtype)
    mine, theirs = network(dtype=dtype, order=order), network(reference, dtype)
    arrays = weights(mine)
    histories = [
        net.fit(X, Y, epochs=2, batch_size=8, lrate=rate, seed=0) for net in (mine, theirs)
    ]
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=tolerance)
    for a, b, before in zip(weights(mine), weights(theirs), arrays, strict=True):
        assert a is before
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max(), rtol=0)
    np.testing.assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), atol=tolerance)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("place", ["loss", "weights", "single"])
def test_divergence_keeps_the_last_whole_finite_step(order, place):
    """The loss that is not finite, the update that overflows, and both in a batch of one sample:
    all in the third step."""
    X, Y = data(17 if place == "single" else 24)
    kept, net = network(order=order), network(order=order)
    kept.fit(X[:, :16], Y[:, :16], batch_size=8, shuffle=False, lrate=0.05)
    if place == "loss":
        X[:, 16:] = 3e38
    else:  # a gradient of 1e38 times a rate of 1e3 in the third step only
        X[:, 16:] *= np.float32(1e30)
        Y[:, 16:] = np.float32(1e6)
    with pytest.raises(FloatingPointError, match="diverged at step 3.*those after step 2"):
        net.fit(
            X,
            Y,
            batch_size=8,
            shuffle=False,
            lrate=lambda t: 0.05 if t < 3 or place == "loss" else 1e9,
        )
    assert all(np.array_equal(a, b) for a, b in zip(weights(net), weights(kept), strict=True))


def test_large_rates_that_do_no_harm_go_on():
    """Where a bound of the weights cannot exclude an overflow, the step is tried."""
    X, Y = data(16)
    X[:, 8:] *= np.float32(1e-30)
    X[0, 8:] = 1e20
    mine, theirs = network(), network(reference)
    for net in (mine, theirs):
        net.modules[0].W[0] = 0
        net.modules[2].W[...] = 0
        Y[:, 8:] = np.float32(1 / 3)  # the gradient of the second batch is about 0
        net.fit(X, Y, batch_size=8, shuffle=False, lrate=lambda t: 1e-6 if t == 1 else 1e20)
    for a, b in zip(weights(mine), weights(theirs), strict=True):
        assert np.isfinite(a).all() and np.allclose(a, b, rtol=1e-2, atol=1e-2 * np.abs(b).max())


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_data_that_is_not_finite_is_refused_before_any_change(bad):
    X, Y = data(24, np.float64)
    X[5, 20] = bad
    net = network()
    before = [w.copy() for w in weights(net)]
    with pytest.raises(ValueError, match="finite"):
        net.fit(X, Y, batch_size=8)
    assert all(np.array_equal(a, b) for a, b in zip(weights(net), before, strict=True))


def test_sgd_of_giants_agrees_with_the_reference():
    """17 MB: one sample per step in the user's memory, too."""
    nets = []
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(1500, 9)), np.eye(2)[:, rng.integers(2, size=9)]
    for library in (nncore, reference):
        np.random.seed(0)
        net = library.Sequential(
            [
                library.Linear(1500, 1500),
                library.Tanh(),
                library.Linear(1500, 2),
                library.SoftMax(),
            ],
            library.NLL(),
        )
        np.random.seed(1)
        net.sgd(X, Y, 21, 0.01)
        nets.append(net)
    for a, b in zip(weights(nets[0]), weights(nets[1]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11, rtol=0)
