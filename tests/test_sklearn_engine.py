"""The engine's options for nncore.sklearn against the same formulas in NumPy, at every
instruction-set level."""

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9", reason="scikit-learn 1.9 is not installed")

import scipy.sparse as sp  # noqa: E402

from nncore import _core, optimizers  # noqa: E402
from nncore.sklearn import _compiled, _formulas, _optimizers  # noqa: E402

LOSSES = {
    "squared_error": "identity",
    "absolute_error": "identity",
    "huber": "identity",
    "quantile": "identity",
    "poisson": "exp",
    "hinge": "identity",
    "log_loss": "logistic",
    "softmax": "softmax",
}
TOLERANCE = {"float64": dict(rtol=1e-11, atol=1e-13), "float32": dict(rtol=2e-4, atol=2e-6)}
N, SIZES = 37, (9, 17, 4)


def problem_of(loss, activation="tanh"):
    out = LOSSES[loss]
    name = "log_loss" if loss == "softmax" else loss
    return _formulas.Problem(activation, out, name, 0.01, 0.7, 0.3)


def data_of(loss, rng):
    X = rng.randn(N, SIZES[0])
    X[rng.rand(*X.shape) < 0.6] = 0
    y = rng.randn(N, SIZES[-1])
    if loss == "poisson":
        y = rng.poisson(1.0, y.shape).astype(float)
    elif loss in ("hinge", "log_loss"):
        y = y > 0
    elif loss == "softmax":
        y = np.eye(SIZES[-1], dtype=bool)[rng.randint(0, SIZES[-1], N)]
    return X, y


def network_of(dtype, rng):
    coefs = [rng.randn(m, n) * 0.3 for m, n in zip(SIZES, SIZES[1:], strict=False)]
    intercepts = [rng.randn(n) * 0.3 for n in SIZES[1:]]
    return [w.astype(dtype) for w in coefs], [w.astype(dtype) for w in intercepts]


def optimizer_of(name, params):
    if name == "sgd":
        return _optimizers.SGDState(params, 0.05, "constant", 0.9, False, 0.5)
    if name == "nesterov":
        return _optimizers.SGDState(params, 0.05, "constant", 1.0, True, 0.5)
    if name == "adam":
        return _optimizers.AdamState(params, 0.01, 0.9, 0.999, 1e-3)
    return _optimizers.LibraryState(params, optimizers.RMSprop(eps=1e-2), 0.01, "constant", 0.5)


def trained(engine, loss, solver, dtype, weights, sparse=False, epochs=2):
    """(loss of each epoch, weights, state) after some epochs of batches of 8."""
    rng = np.random.RandomState(0)
    X, y = data_of(loss, rng)
    X = X.astype(dtype)
    coefs, intercepts = network_of(dtype, rng)
    optimizer = optimizer_of(solver, coefs + intercepts)
    w = rng.uniform(0, 2, N) if weights else None
    if weights:
        w[:8] = 0  # a batch without a step
    made = engine(
        problem_of(loss), coefs, intercepts, optimizer, sp.csr_array(X) if sparse else X, y, w, 8
    )
    losses = [made.epoch(np.arange(N)) for _ in range(epochs)]
    return losses, [*coefs, *intercepts, *(a for s in optimizer.states for a in s)], optimizer.t


def compare(one, other, dtype):
    np.testing.assert_allclose(one[0], other[0], **TOLERANCE[dtype])
    for a, b in zip(one[1], other[1], strict=True):
        np.testing.assert_allclose(a, b, **TOLERANCE[dtype])
    assert one[2] == other[2]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("weights", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("solver", ["sgd", "nesterov", "adam", "rmsprop"])
@pytest.mark.parametrize("loss", LOSSES)
def test_epochs(loss, solver, weights, dtype, isa):
    ours = trained(_compiled.CompiledEngine, loss, solver, dtype, weights)
    compare(ours, trained(_formulas.NumPyEngine, loss, solver, dtype, weights), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_sparse_epochs(solver, dtype, isa):
    sparse = trained(_compiled.CompiledEngine, "softmax", solver, dtype, True, sparse=True)
    compare(sparse, trained(_compiled.CompiledEngine, "softmax", solver, dtype, True), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("width", [1, 5, 100])
def test_sparse_predictions_with_weights_beyond_the_cache(width, dtype, isa):
    """The rows of W are prefetched there."""
    features = (4 << 20) // (width * np.dtype(dtype).itemsize)
    rng = np.random.RandomState(0)
    X = sp.random(5, features, 20 / features, "csr", dtype, random_state=0)
    W, w0 = rng.randn(features, width).astype(dtype), rng.randn(width).astype(dtype)
    problem = _formulas.Problem("tanh", "identity", "squared_error", 0.0, 1.0, 0.5)
    network = _compiled.Outputs(problem, [W], [w0])
    np.testing.assert_allclose(network(X), X @ W + w0, **TOLERANCE[dtype])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_at_a_point(loss, weights, sparse, isa):
    rng = np.random.RandomState(1)
    X, y = data_of(loss, rng)
    coefs, intercepts = network_of("float64", rng)
    w = rng.uniform(0, 2, N) if weights else None
    wanted, of_coefs, of_intercepts = _formulas.loss_and_gradients(
        problem_of(loss), X, y, w, coefs, intercepts
    )
    from nncore.sklearn import _lbfgs

    layout = _lbfgs.layout(coefs, intercepts)
    gradient = _compiled.Gradient(
        problem_of(loss), layout, sp.csr_array(X) if sparse else X, y, w, np.dtype(float)
    )
    for _ in range(2):  # nothing is left over from one call to the next
        value, found = gradient(_lbfgs.packed(coefs, intercepts))
        assert value == pytest.approx(wanted, rel=1e-12)
        np.testing.assert_allclose(
            found, _lbfgs.packed(of_coefs, of_intercepts), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 300])
def test_outputs_of_few_and_many_rows(rows, isa):
    rng = np.random.RandomState(2)
    coefs, intercepts = network_of("float64", rng)
    X = rng.randn(rows, SIZES[0])
    for loss in ("softmax", "log_loss", "poisson", "squared_error"):
        problem = problem_of(loss, "relu")
        ours = _compiled.Outputs(problem, coefs, intercepts)(X)
        theirs = _formulas.outputs(X, coefs, intercepts, "relu", problem.out_activation)
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_threads_give_the_same_bits():
    results = []
    before = _core.get_num_threads()
    try:
        for n in (1, 2):
            _core.set_num_threads(n)
            results.append(trained(_compiled.CompiledEngine, "softmax", "adam", "float64", True))
    finally:
        _core.set_num_threads(before)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        assert (a == b).all()


def test_refusals():
    rows = _core.Rows(np.ones(1), np.zeros(1, np.int32), np.array([0, 1]), 3)
    assert rows.shape == (3, 1)
    assert not _core.is_plain(np.ones((2, 3), np.float16), 3)
    assert not _core.is_plain(np.array([[np.nan]]), 1)
    assert not _core.is_plain(np.ones((3, 2)).T, 3) and not _core.is_plain([[1.0]], 1)
    assert not _core.are_layers([np.ones((2, 3)), np.ones((2, 3))], [np.ones(3), np.ones(3)])
    assert not _core.are_layers([np.ones((2, 3), "f4")], [np.ones(3)])
