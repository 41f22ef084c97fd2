"""SciPy's sparse matrices as X: the results of the same numbers in an array, without one."""

import numpy as np
import pytest
from support import assert_close

import nncore as nn
from nncore import _sparse

sp = pytest.importorskip("scipy.sparse")

D, N = 70, 90


def network(dtype, hidden=20, classes=4, extra=(), inputs=D):
    np.random.seed(0)
    modules = [
        nn.Linear(inputs, hidden, dtype=dtype),
        nn.Tanh(),
        *extra,
        nn.Linear(hidden, classes, dtype=dtype),
        nn.SoftMax(),
    ]
    return nn.Sequential(modules, nn.NLL())


def matrix(dtype=np.float64, density=0.1, inputs=D, samples=N):
    """A CSC matrix with a sample and an input without entries."""
    X = sp.random(inputs, samples, density, "csc", dtype, np.random.default_rng(1)).tolil()
    X[:, 3] = 0
    X[5] = 0
    return X.tocsc().astype(dtype)


LABELS = np.random.default_rng(2).integers(4, size=N)
CALLS = {
    "fit": lambda net, X: net.fit(X, LABELS, 2, 16, lrate=0.1, seed=0)["loss"],
    "fit, single samples": lambda net, X: net.fit(X, LABELS, 2, 1, lrate=0.1, seed=0)["loss"],
    "fit, all samples": lambda net, X: net.fit(X, LABELS, 3, N, lrate=0.1)["loss"],
    "fit, a last batch of one sample": lambda net, X: net.fit(
        X[:, :81], LABELS[:81], 2, 16, lrate=0.1, seed=0
    )["loss"],
    "fit, Adam, a last batch of one sample": lambda net, X: net.fit(
        X[:, :81], LABELS[:81], 2, 16, optimizer="adam", seed=0
    )["loss"],
    "fit, Adam": lambda net, X: net.fit(X, LABELS, 2, 7, optimizer="adam", seed=0)["loss"],
    "fit, momentum, single samples": lambda net, X: net.fit(
        X, LABELS, 1, 1, lrate=0.01, optimizer="momentum", seed=0
    )["loss"],
    "fit, penalty": lambda net, X: net.fit(X, LABELS, 2, 8, lrate=0.1, l2=0.01, seed=0)["loss"],
    "fit, validation": lambda net, X: list(
        np.ravel(list(net.fit(X, LABELS, 2, 8, lrate=0.1, validation=0.3, seed=0).values()))
    ),
    "fit, validation pair": lambda net, X: net.fit(
        X, LABELS, 2, 8, lrate=0.1, validation=(X, LABELS), seed=0
    )["validation_loss"],
    "fit, a function as rate": lambda net, X: net.fit(
        X, LABELS, 1, 1, lrate=lambda t: 0.1 / t, seed=0
    )["loss"],
    "partial_fit": lambda net, X: net.partial_fit(X, LABELS, 10, 0.1),
    "sgd": lambda net, X: net.sgd(X, LABELS, 60, 0.1),
    "sgd, one step": lambda net, X: net.sgd(X, LABELS, 1, 0.1),
    "sgd, a function as rate": lambda net, X: net.sgd(X, LABELS, 60, lambda t: 0.1 / t),
    "mini_gd": lambda net, X: net.mini_gd(X, LABELS, 20, 0.1, K=9),
    "predict_proba": lambda net, X: net.predict_proba(X),
    "predict": lambda net, X: net.predict(X),
    "evaluate": lambda net, X: net.evaluate(X, LABELS),
    "score": lambda net, X: net.score(X, LABELS),
}


def outcome(net, call, X):
    """Everything that a call returns and changes."""
    np.random.seed(5)
    returned = call(net, X)
    arrays = [getattr(m, name) for m in net.modules for name in getattr(m, "gradients", ())]
    return [np.asarray(x, float) for x in (returned, *arrays) if x is not None]


def check(call, net, X, dtype, other=None):
    """Compare the call on X with the same on an array."""
    sparse = outcome(net, call, X)
    dense = outcome(net if other is None else other, call, np.asfortranarray(X.toarray()))
    for a, b in zip(sparse, dense, strict=True):
        assert_close(a, b, tolerance=2000 * np.finfo(dtype).eps)


@pytest.mark.parametrize("call", CALLS)
def test_calls_take_sparse_matrices(call, dtype, isa):
    check(CALLS[call], network(dtype), matrix(dtype), dtype, network(dtype))


@pytest.mark.parametrize("call", ["fit", "fit, single samples", "sgd", "evaluate", "mini_gd"])
def test_networks_that_run_module_by_module(call, dtype):
    class Own(nn.Tanh):
        def forward(self, Z):
            return super().forward(Z)

    nets = [network(dtype, extra=[Own()]) for _ in range(2)]
    assert not nn.explain(nets[0], matrix(dtype), LABELS)["compiled"]
    check(CALLS[call], nets[0], matrix(dtype), dtype, nets[1])


def test_a_first_module_that_is_not_linear(dtype):
    nets = []
    for _ in range(2):
        net = network(dtype)
        net.modules.insert(0, nn.Tanh())
        nets.append(net)
    plan = nn.explain(nets[0], matrix(dtype), LABELS)
    assert not plan["compiled"] and any("X is sparse" in reason for reason in plan["reasons"])
    check(CALLS["fit"], nets[0], matrix(dtype), dtype, nets[1])
    check(CALLS["predict_proba"], nets[0], matrix(dtype), dtype, nets[1])


@pytest.mark.parametrize(
    "extra",
    [[nn.BatchNorm(20)], [nn.BatchNorm(20, statistics="running")], [nn.Dropout(0.4, seed=3)]],
)
def test_batch_normalisation_and_dropout(extra):
    import copy

    for call in ("fit", "predict_proba"):
        nets = [network(np.float64, extra=copy.deepcopy(extra)) for _ in range(2)]
        check(CALLS[call], nets[0], matrix(), np.float64, nets[1])


FORMS = {
    "csr": lambda X: X.tocsr(),
    "coo": lambda X: X.tocoo(),
    "lil": lambda X: X.tolil(),
    "transposed csr": lambda X: X.T.tocsr().T,
    "csc_array": sp.csc_array,
    "csr_array": sp.csr_array,
    "int8": lambda X: (X * 5).astype(np.int8),
    "bool": lambda X: X != 0,
    "float32": lambda X: X.astype(np.float32),
    "float64": lambda X: X.astype(np.float64),
    "all entries": lambda X: sp.csc_matrix(np.random.default_rng(0).normal(size=X.shape)),
    "no entry": lambda X: sp.csc_matrix(X.shape),
}


@pytest.mark.parametrize("form", FORMS)
def test_formats(form, dtype):
    X = FORMS[form](matrix())
    for call in ("fit", "sgd", "predict_proba"):
        check(CALLS[call], network(dtype), X, dtype, network(dtype))


def test_entries_out_of_order_and_twice():
    X = matrix()
    rows, columns, data = X.indices[::-1].copy(), X.tocoo().col[::-1], X.data[::-1].copy()
    twice = sp.coo_matrix(
        (np.r_[data, data / 2], (np.r_[rows, rows], np.r_[columns, columns])), X.shape
    )
    messy = sp.csc_matrix((X.data.copy(), X.indices.copy(), X.indptr.copy()), X.shape)
    start, end = messy.indptr[7], messy.indptr[8]
    messy.indices[start:end] = messy.indices[start:end][::-1].copy()
    messy.data[start:end] = messy.data[start:end][::-1].copy()
    messy.has_sorted_indices = messy.has_canonical_format = False
    before = messy.indices.copy()
    check(CALLS["fit"], network(np.float64), messy, np.float64, network(np.float64))
    assert np.array_equal(messy.indices, before)  # the user's matrix is as it was
    check(CALLS["fit"], network(np.float64), twice, np.float64, network(np.float64))


def test_a_csc_matrix_of_the_networks_type_is_read_where_it_is():
    for X in (matrix(), matrix().T.tocsr().T):
        columns = _sparse.columns("X", X, np.float64)
        assert np.shares_memory(columns.matrix.data, X.data)
        assert columns is _sparse.columns("X", columns, np.float64)


@pytest.mark.parametrize(
    "call, arguments, narrow, wide",
    [
        ("fit", {"batch_size": 16}, "minibatch", "minibatch"),
        ("fit", {"batch_size": 1}, "fused-sgd", "sgd"),
        ("fit", {"batch_size": 1, "optimizer": "adam"}, "minibatch", "minibatch"),
        ("partial_fit", {"batch_size": 1}, "fused-sgd", "sgd"),
        ("sgd", {}, "fused-sgd", "sgd"),
        ("sgd", {"lrate": lambda t: 0.1}, "sgd", "sgd"),
        ("predict_proba", {}, "blocks", "blocks"),
        ("learner", {}, "fused-sgd", "sgd"),
    ],
)
def test_the_path_is_explained(call, arguments, narrow, wide, dtype):
    for hidden, path in ((20, narrow), (300, wide)):
        plan = nn.explain(network(dtype, hidden), matrix(dtype), LABELS, call=call, **arguments)
        assert (plan["path"], plan["inputs"]) == (path, "sparse")
        assert path in ("blocks", "fused-sgd") or "X is a sparse matrix" in plan["reasons"]


@pytest.mark.parametrize("loss", ["NLL", "Squared"])
@pytest.mark.parametrize("hidden", [3, 20, 64])
@pytest.mark.parametrize("inputs", [40, 5000])
def test_steps_on_single_samples_of_narrow_networks(inputs, hidden, loss, dtype, isa):
    """Also if only a sparse matrix lets the first layer in, whose program then serves arrays."""
    X = matrix(dtype, 0.03, inputs)

    def make():
        np.random.seed(0)
        chain = [
            nn.Linear(inputs, hidden, dtype=dtype),
            nn.GELU(),
            nn.Linear(hidden, hidden, dtype=dtype),
            nn.ReLU(),
            nn.Linear(hidden, 4 if loss == "NLL" else 1, dtype=dtype),
        ]
        chain += [nn.SoftMax()] if loss == "NLL" else []
        return nn.Sequential(chain, getattr(nn, loss)())

    def call(net, X):
        return net.fit(X, LABELS, 2, 1, lrate=0.01, seed=0)["loss"]

    sparse, dense = make(), make()
    assert nn.explain(sparse, X, LABELS, batch_size=1)["path"] == "fused-sgd"
    for _ in range(2):
        check(call, sparse, X, dtype, dense)
        for net in (sparse, dense):
            call(net, np.asfortranarray(X.toarray()))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_weights_are_not_copied_for_a_few_samples(batch_size, dtype):
    X = matrix(dtype, 0.002, 20_000)
    sparse, dense = (network(dtype, inputs=20_000) for _ in range(2))
    plan = nn.explain(sparse, X[:, :4], LABELS[:4], batch_size=batch_size)
    assert (plan["path"], plan["parameters"]) == ("minibatch", "in place")
    many = matrix(dtype, 0.02, 20_000)
    assert nn.explain(sparse, many, LABELS, batch_size=1)["parameters"] == "packed"
    for at in range(0, 12, 4):
        few = slice(at, at + 4)
        check(
            lambda net, X, few=few: net.partial_fit(X, LABELS[few], batch_size, 0.1),
            sparse,
            X[:, few],
            dtype,
            dense,
        )


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_divergence_on_weights_that_are_not_copied(batch_size, dtype):
    X = matrix(dtype, 0.001, 20_000, 8)[:, :4].tolil()
    X[7, 2] = 1e30 if dtype == np.float32 else 1e250
    X, nets = X.tocsc(), [network(dtype, inputs=20_000) for _ in range(2)]
    rate = 1e20 if dtype == np.float32 else 1e200
    for net, backend in zip(nets, ("compiled", "numpy"), strict=True):
        net.modules[1] = nn.ReLU()
        with nn.use_backend(backend), pytest.raises(FloatingPointError, match="at step 2"):
            net.partial_fit(X, LABELS[:4], batch_size, rate)
    for a, b in zip(nets[0].modules[::2], nets[1].modules[::2], strict=True):
        assert_close(a.W, b.W, tolerance=1e-5)


def test_samples_of_very_many_entries_do_not_delay_signals(dtype):
    X = sp.csc_matrix(np.ones((5000, 3), dtype))
    net = network(dtype, inputs=5000)
    assert nn.explain(net, X, [0, 1, 2], call="sgd")["path"] == "sgd"
    empty = sp.csc_matrix((5000, 1), dtype=dtype)
    assert nn.explain(net, empty, [0], call="sgd")["path"] == "fused-sgd"


def test_a_divergence_of_single_samples_leaves_the_weights_before_it(dtype):
    X = matrix(dtype).tolil()
    X[0, 50] = 1e30 if dtype == np.float32 else 1e250
    X, nets = X.tocsc(), [network(dtype) for _ in range(2)]
    for net in nets:
        net.modules[1] = nn.ReLU()
    rate = 1e10 if dtype == np.float32 else 1e100
    with pytest.raises(FloatingPointError, match="training diverged at step 51"):
        nets[0].fit(X, LABELS, 1, 1, shuffle=False, lrate=lambda t: rate if t > 50 else 0.1)
    nets[1].fit(X[:, :50], LABELS[:50], 1, 1, shuffle=False, lrate=0.1)
    assert_close(nets[0].modules[0].W, nets[1].modules[0].W, tolerance=1e-5)


def test_a_learner_takes_blocks(dtype):
    X, nets = matrix(dtype), [network(dtype) for _ in range(2)]
    with nets[0].learner(lrate=0.1) as sparse, nets[1].learner(lrate=0.1) as dense:
        for at in range(0, 20, 5):
            a = sparse(X[:, at : at + 5], LABELS[at : at + 5])
            b = dense(X[:, at : at + 5].toarray(), LABELS[at : at + 5])
            assert a == pytest.approx(b, rel=1e-5)
        assert sparse(X[:, :1], LABELS[0]) == pytest.approx(
            dense(X[:, 0].toarray().ravel(), LABELS[0]), rel=1e-4
        )
        assert_close(sparse.predict(X), dense.predict(X.toarray()), tolerance=1e-4)


def test_large_weights_in_place(dtype):
    """Weights of more than 4 MiB are trained in place; their growth is bounded."""
    X, nets = matrix(dtype, 0.01, 9000), [network(dtype, 150, inputs=9000) for _ in range(2)]
    assert nn.explain(nets[0], X, LABELS, batch_size=16)["parameters"] == "in place"
    check(CALLS["fit"], nets[0], X, dtype, nets[1])
    check(CALLS["sgd"], nets[0], X, dtype, nets[1])
    huge = X * 1e30 if dtype == np.float32 else X * 1e250
    before = nets[0].modules[0].W.copy()
    with pytest.raises(FloatingPointError):
        nets[0].fit(huge, LABELS, 5, 16, lrate=1e20 if dtype == np.float32 else 1e200)
    assert np.isfinite(nets[0].modules[0].W).all() and before.shape == (9000, 150)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_bits_do_not_depend_on_threads(batch_size, dtype):
    X, results = matrix(dtype, 0.1, 400, 300), []
    labels = np.random.default_rng(0).integers(4, size=300)
    before = nn.get_num_threads()
    try:
        for threads in (1, 2):
            nn.set_num_threads(threads)
            net = network(dtype, 128, inputs=400)
            net.fit(X, labels, 2, batch_size, lrate=0.05, seed=0)
            results.append(net.modules[0].W.tobytes() + net.predict_proba(X).tobytes())
    finally:
        nn.set_num_threads(before)
    assert results[0] == results[1]


def test_nothing_is_made_dense(monkeypatch):
    monkeypatch.setattr(_sparse, "dense", lambda X: pytest.fail("X was made dense"))
    for kind in (sp.csc_matrix, sp.csr_matrix, sp.csc_array, sp.csr_array):
        monkeypatch.setattr(kind, "toarray", lambda *_, **__: pytest.fail("X was made dense"))
    X, net = matrix(), network(np.float64)
    for name, call in CALLS.items():
        if not name.startswith(("sgd", "mini_gd")):  # whose last steps run module by module
            call(net, X)


@pytest.mark.parametrize(
    "X, error, message",
    [
        (matrix()[:60], ValueError, r"X must have shape \(70, N\), got \(60, 90\)"),
        (matrix().T, ValueError, "samples are columns: pass the transpose"),
        (matrix() * 1j, TypeError, "X must be a real matrix, got a sparse one of complex128"),
        (matrix()[:, :50], ValueError, "Y must have shape"),
        (matrix()[:, :0], ValueError, "Y must have shape"),
    ],
)
def test_refused(X, error, message):
    net = network(np.float64)
    before = net.modules[0].W.copy()
    for call in ("fit", "sgd", "evaluate"):
        with pytest.raises(error, match=message):
            CALLS[call](net, X)
    assert np.array_equal(net.modules[0].W, before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("call", ["fit", "fit, single samples", "partial_fit"])
def test_what_is_not_finite_is_refused(call, value):
    X, net = matrix(), network(np.float64)
    X.data[40] = value
    before = net.modules[0].W.copy()
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity in column"):
        CALLS[call](net, X)
    assert np.array_equal(net.modules[0].W, before)


def test_the_column_that_is_not_finite_is_named():
    X = sp.csc_matrix(([1.0, np.nan], ([2, 4], [1, 6])), (D, N))
    with pytest.raises(ValueError, match="in column 6"):
        CALLS["fit"](network(np.float64), X)


def test_a_last_batch_of_one_sample_on_weights_of_megabytes(dtype):
    inputs = 3 << 16  # 20 outputs make 16 MB of float32, which are trained in place
    X, nets = matrix(dtype, 1e-3, inputs, 9), [network(dtype, inputs=inputs) for _ in range(2)]

    def call(net, X):
        return net.fit(X, LABELS[:9], 1, 4, lrate=0.1, seed=0)["loss"]

    check(call, nets[0], X, dtype, nets[1])
