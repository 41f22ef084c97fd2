"""Sequential with what users put into it: their own modules, subclasses, patches, odd arrays, forks
and signals."""

import os
import re
import signal
import threading
import warnings

import numpy as np
import pytest

import nncore as nn
from nncore.training.compile import as_program

N = 11
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, N))
Y = np.eye(3)[RNG.integers(0, 3, N)].T


@pytest.fixture(autouse=True, params=["numpy", "compiled"])
def backend(request):
    with nn.use_backend(request.param):
        yield request.param


def network(first=nn.Linear, hidden=nn.Tanh, library=nn):
    np.random.seed(0)
    return library.Sequential(
        [first(4, 5), hidden(), library.Linear(5, 3), library.SoftMax()], library.NLL()
    )


def test_the_chain_and_its_own_list():
    net = network()
    assert net.forward(X) is not None and net.loss.forward(net.forward(X), Y) > 0
    assert (
        net.backward(net.loss.backward()) is None
        and net.sgd_step(0.1) is None
        and net.step(0.1) is None
    )
    assert net.sgd(X, Y, 3, 0.1) is None
    extra = nn.Linear(3, 3)
    modules = net.modules
    modules[3:3] = [nn.ReLU(), extra]
    net.sgd(X, Y, 5, 0.1)
    assert extra.A.shape == (3, 1) and extra.dLdW.shape == (3, 3)


class Shifted(nn.Tanh):
    """A module of the user's that keeps what forward gave it."""

    def forward(self, Z):
        self.given = Z
        return super().forward(Z) + 1


@pytest.mark.parametrize("columns", [1, 3, 500])
@pytest.mark.parametrize("data", ["whole numbers", "float32", "a list"])
def test_forward_is_what_the_modules_do_one_by_one(columns, data):
    """What each keeps, too, in arrays of its own; after ReLU's dropout, within another network,
    with modules of the user's."""
    numbers = RNG.integers(-3, 4, (4, columns))
    x = {
        "whole numbers": numbers,
        "float32": numbers.astype(np.float32),
        "a list": numbers.tolist(),
    }[data]

    def modules():
        np.random.seed(1)
        return [
            nn.ReLU(),
            nn.Linear(4, 5),
            nn.Tanh(),
            nn.Sigmoid(),
            nn.Sequential([nn.Linear(5, 6), nn.ReLU()]),
            nn.Linear(6, 6),
            nn.ReLU(),
            nn.Linear(6, 5),
            Shifted(),
            nn.Linear(5, 4),
            nn.OutputSigmoid(),
            nn.Linear(4, 3),
            nn.SoftMax(),
        ]

    ours, theirs = modules(), modules()
    for chain in (ours, theirs):
        chain[6].forward(np.ones((6, columns)), 0.5)
    P, expected = nn.Sequential(ours).forward(x), x
    for module in theirs:
        expected = module.forward(expected)
    assert P.dtype == expected.dtype and np.array_equal(P, expected)
    kept = [
        (module.A, other.A)
        for module, other in zip(ours, theirs, strict=True)
        if hasattr(module, "A")
    ]
    assert len(kept) == 10 and all(np.array_equal(a, b) for a, b in kept)
    assert np.array_equal(ours[8].given, theirs[8].given)
    outputs = [ours[i].A for i in (0, 2, 3, 6, 8)] + [P]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
    assert isinstance(x, list) or np.array_equal(x, numbers)


@pytest.mark.parametrize("where", ["on the object", "on the class", "by __class__"])
def test_forward_calls_what_took_the_place_of_a_method(where, monkeypatch):
    net = network()
    calls = []
    original = nn.Tanh.forward

    def forward(self, Z):
        calls.append(Z)
        return original(self, Z)

    if where == "on the object":
        net.modules[1].forward = lambda Z: forward(net.modules[1], Z)
    elif where == "on the class":
        monkeypatch.setattr(nn.Tanh, "forward", forward)
    else:
        net.modules[1].__class__ = type("Tanh", (nn.Tanh,), {"forward": forward})
    net.forward(X)
    assert len(calls) == 1 and np.array_equal(np.tanh(calls[0]).round(9), net.modules[1].A.round(9))


def test_accuracy_is_printed_for_the_right_iterations_only(capsys):
    net = network()
    for it in range(1, 8):
        net.print_accuracy(it, X, Y, 1.5, every=3)
    printed = capsys.readouterr().out.splitlines()
    accuracy = np.mean(net.predict(X) == Y.argmax(axis=0))
    assert printed == [f"Iteration = {it} \tAcc = {accuracy} \tLoss = 1.5" for it in (1, 4, 7)]
    net.print_accuracy(1, X, Y, 1.5, every=1)
    assert capsys.readouterr().out == ""
    net.print_accuracy(1, X, Y.argmax(axis=0), 1.5)
    assert capsys.readouterr().out == f"Iteration = 1 \tAcc = {accuracy} \tLoss = 1.5\n"


def test_progress_of_a_regression_is_its_r_squared(capsys):
    numbers = X[0] * 2 + 1
    for train in (
        lambda net: net.sgd(X, numbers, 252, 0.01, progress=True),
        lambda net: net.mini_gd(X, numbers, 252, 0.01, notif_each=252, K=4),
    ):
        np.random.seed(0)
        net = nn.Sequential([nn.Linear(len(X), 1)], nn.Squared())
        train(net)
        last = capsys.readouterr().out.splitlines()[-1]
        shown = float(re.search(r"\tR2 = (\S+) \tLoss", last)[1])
        assert shown == pytest.approx(net.score(X, numbers), abs=1e-3) and 0 < shown < 1


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        (
            Y.argmax(axis=0)[None],
            r"got \(1, 11\); one label per sample is an array \(N,\), as in Y.ravel\(\)",
        ),
        (Y.T, r"got \(11, 3\); samples are columns: pass the transpose"),
        (Y[:2], r"got \(2, 11\)$"),
    ],
)
@pytest.mark.parametrize("library", [nn, nn.reference], ids=["nncore", "reference"])
def test_labels_given_in_another_form(library, labels, hint):
    with pytest.raises(ValueError, match=r"Y must have shape \(3, 11\), " + hint):
        network(library.Linear, library.Tanh, library).sgd(X, labels, 3)


def test_one_row_of_labels():
    with pytest.raises(
        ValueError,
        match=(
            r"Y must have shape \(1, 11\), got \(11,\); one label per sample is one row, as "
            r"in Y\[None, :\]"
        ),
    ):
        nn.Sequential(
            [nn.Linear(4, 1)], type("Mine", (), {"forward": None, "backward": None})()
        ).sgd(X, np.ones(N))
    net = nn.Sequential([nn.Linear(4, 1), nn.OutputSigmoid()], nn.BinaryNLL())
    with pytest.raises(
        ValueError,
        match=(
            r"Y must have shape \(1, 11\), got \(11, 1\); samples are columns: pass the "
            r"transpose"
        ),
    ):
        net.fit(X, np.ones((N, 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "train",
    [
        lambda net, X, Y: net.sgd(X, Y, 30, 0.1),
        lambda net, X, Y: net.mini_gd(X, Y, 30, 0.1, K=4),
        lambda net, X, Y: net.fit(X, Y, seed=0),
        lambda net, X, Y: net.partial_fit(X, Y),
    ],
)
@pytest.mark.parametrize(
    ("loss", "n", "labels", "columns"),
    [
        (nn.NLL, 3, np.arange(N) % 3, np.eye(3)[:, np.arange(N) % 3]),
        (nn.BinaryNLL, 1, np.arange(N) % 2, np.arange(N)[None] % 2),
        (nn.Hinge, 1, np.arange(N) % 2 * 2 - 1, np.arange(N)[None] % 2 * 2 - 1),
        (nn.Squared, 1, np.arange(N), np.arange(N)[None]),
    ],
)
def test_labels_as_people_have_them(backend, loss, n, labels, columns, train, dtype):
    trained = []
    for Y in (labels, columns):
        np.random.seed(3)
        unit = [] if loss.output is nn.Linear else [loss.output()]
        net = nn.Sequential(
            [nn.Linear(4, 5, dtype=dtype), nn.Tanh(), nn.Linear(5, n, dtype=dtype), *unit], loss()
        )
        train(net, X, Y)
        trained.append([w for m in (net.modules[0], net.modules[2]) for w in (m.W, m.W0)])
    assert all(map(np.array_equal, *trained))


def test_mapped_memory_is_trained_in_place(tmp_path):
    net, twin = network(), network()
    mapped = np.memmap(tmp_path / "W", np.float64, "w+", shape=(4, 5))
    mapped[...] = net.modules[0].W
    net.modules[0].W = mapped
    for one in (net, twin):
        np.random.seed(1)
        one.sgd(X, Y, 7, 0.1)
    assert net.modules[0].W is mapped and np.allclose(mapped, twin.modules[0].W, rtol=1e-12, atol=0)


class RowsFirst(nn.Linear):
    """A user's layer that keeps W the other way round."""

    def __init__(self, m, n):
        super().__init__(m, n)
        self.W = self.W.T.copy()

    def forward(self, A):
        self.A = A
        return self.W @ A + self.W0

    def backward(self, dLdZ):
        self.dLdW, self.dLdW0 = dLdZ @ self.A.T, dLdZ.sum(axis=1, keepdims=True)
        return self.W.T @ dLdZ

    def step(self, lrate):
        self.W -= lrate * self.dLdW
        self.W0 -= lrate * self.dLdW0


def test_a_subclass_may_have_its_own_shapes():
    net, twin = network(RowsFirst), network()
    for one in (net, twin):
        np.random.seed(1)
        one.sgd(X, Y, 7, 0.1)
        one.fit(X, Y, batch_size=4, seed=0)
    np.testing.assert_allclose(net.modules[0].W, twin.modules[0].W.T, rtol=1e-11)
    assert net.predict(X).tolist() == twin.predict(X).tolist()


def test_a_network_within_a_network():
    np.random.seed(0)
    inner = nn.Sequential([nn.Linear(4, 5), nn.Tanh()])
    outer = network()
    nested = nn.Sequential([inner, nn.Linear(5, 3), nn.SoftMax()], nn.NLL())
    nested.modules[1].W, nested.modules[1].W0 = (
        outer.modules[2].W.copy(),
        outer.modules[2].W0.copy(),
    )

    class Handing(nn.Sequential):
        def backward(self, delta):
            for module in reversed(self.modules):
                delta = module.backward(delta)
            return delta

    nested.modules[0] = Handing(inner.modules)
    for one in (nested, outer):
        np.random.seed(1)
        one.sgd(X, Y, 7, 0.1)
    np.testing.assert_allclose(inner.modules[0].W, outer.modules[0].W, rtol=1e-11)


def test_methods_replaced_on_an_instance_are_used():
    for name, choose in (
        ("step", lambda n: n.modules[0]),
        ("forward", lambda n: n.loss),
        ("forward", lambda n: n.modules[-1]),
    ):
        net, calls = network(), []
        target = choose(net)
        original = getattr(target, name)

        def replaced(*args, original=original, calls=calls):
            calls.append(1)
            return original(*args)

        setattr(target, name, replaced)
        assert as_program(net, (X, Y), True) is None
        net.sgd(X, Y, 4, 0.1)
        assert len(calls) == 4
        net.fit(X, Y, batch_size=N, seed=0)
        assert len(calls) == 5, (name, target)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_networks_type_computes_where_an_activation_comes_first(dtype):
    results = []
    for backend in ("numpy", "compiled"):
        with nn.use_backend(backend):
            np.random.seed(0)
            net = nn.Sequential([nn.Tanh(), nn.Linear(4, 3, dtype=dtype), nn.SoftMax()], nn.NLL())
            other = np.float64 if dtype == np.float32 else np.float32
            net.sgd(X.astype(other), Y, 5, 0.5)
            results.append(net.modules[1].W)
            assert net.predict_proba(X.astype(other)).dtype == dtype
    np.testing.assert_allclose(*results, rtol=1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("kind", [np.uint8, bool, np.int64])
def test_gradients_of_whole_numbers_do_not_wrap_around(kind):
    loss = nn.NLL()
    loss.forward(np.array([[1], [0]], kind), np.array([[0], [1]], kind))
    assert loss.backward().tolist() == [[1.0], [-1.0]]


def test_a_confident_mistake_is_no_reason_to_warn():
    for hidden in (nn.Tanh, type("Own", (nn.Tanh,), {})):
        net = network(hidden=hidden)
        net.modules[2].W0[...] = [[0], [0], [4000]]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            net.sgd(X, np.eye(3)[:, [0] * N], 1, 1e-9)
        assert net.loss.forward(net.forward(X), np.eye(3)[:, [0] * N]) == np.inf


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_forked_while_another_thread_trains_may_train():
    net = network()
    started, ended = threading.Event(), threading.Event()

    def rate(t):
        started.set()
        ended.wait(20)
        return 0.1

    thread = threading.Thread(target=net.sgd, args=(X, Y, 2, rate))
    thread.start()
    started.wait(20)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # newer Pythons warn of forks in processes with threads
        child = os.fork()
    if child == 0:
        try:
            net.sgd(X, Y, 20, 0.1)
            net.fit(X, Y)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    ended.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


class Failing(nn.Tanh):
    """Gets a Ctrl-C in its third forward, and fails there too if asked to."""

    fails, calls = False, 0

    def forward(self, Z):
        self.calls += 1
        if self.calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
            if self.fails:
                raise ValueError("failed")
        return super().forward(Z)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    "train",
    [
        lambda net: net.sgd(X, Y, 10),
        lambda net: net.fit(X, Y, batch_size=2, shuffle=False, lrate=0.1),
    ],
    ids=["sgd", "fit"],
)
def test_ctrl_c_is_neither_lost_nor_early(train, fails):
    net = network(hidden=Failing)
    net.modules[1].fails = fails
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs start with Ctrl-C ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            train(net)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert net.modules[1].calls == 3
    assert (net.modules[0].dLdW.any() and net.modules[2].A is net.modules[1].A) or fails
    train(net)
