"""Sequential.predictor: a frozen network called with as little as possible around its
arithmetic."""

import pickle
import threading

import numpy as np
import pytest
from support import LAYOUTS, assert_close, unchanged

import nncore
from nncore import Linear, OutputSigmoid, ReLU, Sequential, Sigmoid, SoftMax, Tanh

CHAINS = {
    "tiny": lambda d: [
        Linear(2, 3, dtype=d),
        Tanh(),
        Linear(3, 3, dtype=d),
        Tanh(),
        Linear(3, 2, dtype=d),
        SoftMax(),
    ],
    "digits": lambda d: [Linear(64, 32, dtype=d), ReLU(), Linear(32, 10, dtype=d), SoftMax()],
    "wide": lambda d: [
        Linear(30, 150, dtype=d),
        ReLU(),
        Linear(150, 67, dtype=d),
        Sigmoid(),
        Linear(67, 11, dtype=d),
        SoftMax(),
    ],
    "labels": lambda d: [Linear(5, 9, dtype=d), Sigmoid(), Linear(9, 17, dtype=d), OutputSigmoid()],
    "linear": lambda d: [Linear(7, 4, dtype=d)],
    "linear after linear": lambda d: [Linear(7, 4, dtype=d), Linear(4, 1, dtype=d)],
    "hidden activation last": lambda d: [Linear(3, 8, dtype=d), Tanh()],
    "activations in a row": lambda d: [
        Linear(4, 6, dtype=d),
        Tanh(),
        ReLU(),
        Linear(6, 3, dtype=d),
        SoftMax(),
    ],
    "activation first": lambda d: [ReLU(), Linear(4, 6, dtype=d), SoftMax()],
    "one": lambda d: [Linear(1, 1, dtype=d), OutputSigmoid()],
    "odd": lambda d: [Linear(33, 65, dtype=d), ReLU(), Linear(65, 63, dtype=d), SoftMax()],
}


@pytest.fixture(params=CHAINS)
def net(request, dtype, isa):
    np.random.seed(0)
    chain = CHAINS[request.param](dtype)
    for module in chain:
        if isinstance(module, Linear):
            module.W0[...] = np.random.normal(size=module.W0.shape)
    return Sequential(chain)


def inputs(net, N, dtype, seed=1):
    D = next(m for m in net.modules if isinstance(m, Linear)).W.shape[0]
    return np.random.default_rng(seed).standard_normal((D, N)).astype(dtype)


def test_it_predicts_what_the_modules_do(net, dtype):
    p = net.predictor()
    for N in (0, 1, 2, 16, 17, 40, 300):
        X = inputs(net, N, dtype)
        expected = net.forward(X)
        with unchanged(X):
            for order in "CF":
                P = p(np.asarray(X, order=order))
                assert_close(P, expected, f"{N} samples", 1.0)


def test_large_weights_are_packed_and_give_the_same_bits(dtype, isa):
    np.random.seed(0)
    sizes = 700, 451, 613, 7  # two layers of more than a MiB, whose last panels are not whole
    chain = []
    for m, n in zip(sizes, sizes[1:], strict=False):
        chain += [Linear(m, n, dtype=dtype), Tanh()]
    net = Sequential([*chain[:-1], SoftMax()])
    p = net.predictor()
    for N in (2, 3, 14, 15, 29, 100, 131, 258):
        X = inputs(net, N, dtype, seed=N)
        np.testing.assert_array_equal(p(X), net.predict_proba(X))
        assert p._program.last_plan["parameters"] == "panels"
        assert_close(p(X), net.forward(X), f"{N} samples", 1.0)
    assert parameters_of_predictor(Sequential([Linear(700, 10), SoftMax()])) == "packed"


def parameters_of_predictor(net):
    """How the predictor of a network holds its weights for several samples."""
    p = net.predictor()
    p(inputs(net, 20, np.float64))
    return p._program.last_plan["parameters"]


def test_a_vector_and_a_column(net, dtype):
    p, X = net.predictor(), inputs(net, 3, dtype)
    for j in range(3):
        column, vector = p(X[:, j : j + 1]), p(X[:, j])
        assert vector.shape == (column.shape[0],) and column.shape[1] == 1
        assert np.array_equal(column[:, 0], vector)
        assert_close(column, net.forward(X[:, j : j + 1]), "column", 1.0)


@pytest.mark.parametrize("how", LAYOUTS)
def test_any_layout(net, dtype, how):
    p = net.predictor()
    for N in (1, 5, 40):
        X = inputs(net, N, dtype)
        given = LAYOUTS[how](X)
        with unchanged(given):
            assert_close(p(given), p(X), how, 1.0)


@pytest.mark.parametrize("kind", ["i1", "u2", "i8", "f2", "f4", "f8", ">f4", ">f8", "?", "g"])
def test_any_real_type_is_converted(net, dtype, kind):
    X = (inputs(net, 4, np.float64) * 3).astype(kind)
    P = net.predictor()(X)
    assert P.dtype == dtype
    assert_close(P, net.predictor()(X.astype(dtype)), kind, 1.0)


def test_lists_are_taken():
    p = Sequential([Linear(2, 3), SoftMax()]).predictor()
    assert np.array_equal(p([[1], [2]])[:, 0], p([1, 2]))


def test_out_is_written_and_returned(net, dtype):
    p = net.predictor()
    for N in (1, 3, 50):
        X = inputs(net, N, dtype)
        expected = p(X)
        for order in "CF":
            out = np.full(expected.shape, np.nan, dtype, order)
            assert p(X, out=out) is out and np.array_equal(out, expected)
    out = np.full(expected.shape[0], np.nan, dtype)
    assert p(X[:, 0], out) is out and np.array_equal(out, p(X[:, 0]))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: np.zeros((3, 1), np.float32),
            TypeError,
            "out must be a float64 array, got float32",
        ),
        (lambda: np.zeros((2, 1)), ValueError, r"out must have shape \(3, 1\), got \(2, 1\)"),
        (lambda: np.zeros(3), ValueError, r"out must have shape \(3, 1\), got \(3,\)"),
        (lambda: np.zeros((6, 1))[::2], ValueError, "out must be"),
        (lambda: [0.0] * 3, TypeError, "out must be a float64 array, got list"),
        (lambda: np.broadcast_to(np.zeros((1, 1)), (3, 1)), ValueError, "out must be"),
    ],
)
def test_an_out_that_cannot_be_written_is_refused(make, error, message):
    p = Sequential([Linear(2, 3), SoftMax()]).predictor()
    with pytest.raises(error, match=message):
        p(np.ones((2, 1)), out=make())


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((3, 1)), ValueError, r"x must have shape \(2, N\), got \(3, 1\)"),
        (np.ones(3), ValueError, r"x must have shape \(2,\), got \(3,\)"),
        (np.ones((5, 2)), ValueError, "samples are columns"),
        (np.ones((2, 1, 1)), ValueError, "x must have shape"),
        (np.float64(3), ValueError, "x must have shape"),
        (np.ones((2, 1), complex), TypeError, "x must be a real array, got complex128"),
        (np.ones((2, 1), object), TypeError, "x must be a real array, got object"),
        (None, TypeError, "x must be a real array"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        Sequential([Linear(2, 3), SoftMax()]).predictor()(x)


def test_numbers_that_are_not_finite_show(dtype, isa):
    p = Sequential(
        [Linear(4, 20, dtype=dtype), ReLU(), Linear(20, 3, dtype=dtype), SoftMax()]
    ).predictor()
    for bad in (np.nan, np.inf):
        assert np.isnan(p(np.array([1, bad, 2, 3], dtype))).any()
    certain = Sequential([Linear(1, 3, dtype=dtype), SoftMax()])
    certain.modules[0].W[...] = [[1e30, -1e30, 0]]
    assert certain.predictor()(np.ones(1, dtype)).tolist() == [1, 0, 0]


def test_it_is_frozen(dtype):
    net = Sequential([Linear(3, 4, dtype=dtype), SoftMax()])
    p, x = net.predictor(), np.ones(3, dtype)
    before = p(x)
    net.modules[0].W += 1
    net.modules[0].W0[0] = 5
    assert np.array_equal(p(x), before) and not np.allclose(net.predictor()(x), before)
    assert np.array_equal(p(np.ones((3, 40), dtype))[:, 7:8], p(np.ones((3, 40), dtype))[:, 8:9])
    assert_close(p(np.ones((3, 40), dtype))[:, 0], before, "many", 1.0)


def test_it_can_be_pickled_and_shown(net, dtype):
    p, X = net.predictor(), inputs(net, 40, dtype)
    twin = pickle.loads(pickle.dumps(p))
    assert (
        np.array_equal(twin(X), p(X))
        and np.array_equal(twin(X[:, 0]), p(X[:, 0]))
        and repr(twin) == repr(p)
    )


def test_repr():
    assert (
        repr(Sequential(CHAINS["digits"](np.float32)).predictor()) == "Predictor(64-32-10, float32)"
    )


def test_threads_may_share_it():
    net = Sequential(CHAINS["wide"](np.float32))
    p = net.predictor()
    X = inputs(net, 300, np.float32)
    expected, one = p(X), p(X[:, 0])
    wrong = []

    def call():
        for _ in range(60):
            if not (np.array_equal(p(X), expected) and np.array_equal(p(X[:, 0]), one)):
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Mine(nncore.Module):
    def forward(self, A):
        return A


@pytest.mark.parametrize(
    ("chain", "error", "message"),
    [
        ([], ValueError, "modules must hold at least one module"),
        (
            [Linear(2, 3), Mine(), SoftMax()],
            TypeError,
            r"modules must compute as the library's own to make a predictor, got Mine\(\)",
        ),
        (
            [Linear(2, 3), Linear(3, 2, dtype=np.float32)],
            TypeError,
            "weights must be float32 or float64 arrays of one type",
        ),
        ([SoftMax()], TypeError, "at least one Linear"),
        (
            [Linear(2, 3), Linear(4, 2)],
            ValueError,
            r"modules\[1\] Linear\(4, 2\) must take the 3 outputs of modules\[0\] Linear\(2, 3\)",
        ),
    ],
)
def test_networks_it_cannot_take(chain, error, message):
    with pytest.raises(error, match=message):
        Sequential(chain).predictor()


def test_making_it_changes_nothing():
    net = Sequential([Linear(2, 3), SoftMax()])
    net.modules[0].W = np.array([[1, 2, 3], [4, 5, 6]])
    W = net.modules[0].W
    p = net.predictor()
    assert net.modules[0].W is W and p.__repr__() == "Predictor(2-3, float64)"
    assert_close(p(np.ones(2)), net.forward(np.ones((2, 1)))[:, 0], "integers", 1.0)
