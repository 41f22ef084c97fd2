"""Networks and predictors that several Python threads use at once. `make sanitize-threads` runs
this file under ThreadSanitizer."""

import threading

import numpy as np
import pytest

import nncore as nn
from nncore import registry

pytestmark = pytest.mark.alone

SMALL, WIDE = (
    (20, 12, 3),
    (300, 200, 150, 4),
)  # one sample by the special path of small networks, or layer by layer


def network(sizes, dtype=np.float64):
    np.random.seed(0)
    modules = []
    for m, n in zip(sizes, sizes[1:], strict=False):
        modules += [nn.Linear(m, n, dtype=dtype), nn.ReLU()]
    return nn.Sequential([*modules[:-1], nn.SoftMax()], nn.NLL())


def data(sizes, samples, dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.standard_normal((sizes[0], samples)).astype(dtype), np.eye(sizes[-1])[
        :, rng.integers(sizes[-1], size=samples)
    ]


def at_once(*calls):
    """What the calls return, each made in a thread of its own, all from the same moment; the first
    error of one is raised here."""
    ready, results, errors = threading.Barrier(len(calls)), [None] * len(calls), []

    def run(i):
        try:
            ready.wait(60)
            results[i] = calls[i]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def always(call, times=8):
    """A function that calls many times and returns whether all answers were the same, to the bit,
    as one before."""
    expected = [np.array(a).tobytes() for a in call()]
    return lambda: all([np.array(a).tobytes() for a in call()] == expected for _ in range(times))


@pytest.mark.parametrize("extra", [None, "dropout", "batch", "running"])
@pytest.mark.parametrize("sizes", [SMALL, WIDE])
def test_a_network_predicts_in_several_threads(sizes, extra, backend, dtype):
    net, (X, Y) = network(sizes, dtype), data(sizes, 400, dtype)
    if extra:
        net.modules.insert(
            1,
            nn.Dropout(0.5)
            if extra == "dropout"
            else nn.BatchNorm(sizes[1], statistics=extra, dtype=dtype),
        )
    calls = [
        lambda: [net.predict(X)],
        lambda: [net.predict_proba(X[:, :1]), net.predict_proba(X)],
        lambda: net.evaluate(X, Y),
        lambda: [net.log_likelihood(X, Y)],
    ]
    assert all(at_once(*[always(call) for call in calls]))


def test_predictions_leave_no_trace_in_the_librarys_modules(backend):
    class Doubled(nn.Module):
        def forward(self, A):
            return 2 * A

    net, (X, Y) = network(SMALL), data(SMALL, 5)
    net.modules.insert(1, Doubled())
    before = [dict(vars(module)) for module in net.modules]
    for call in (
        lambda: net.predict(X),
        lambda: net.predict_proba(X[:, :1]),
        lambda: net.evaluate(X, Y),
        lambda: net.log_likelihood(X, Y),
    ):
        call()
        assert [vars(module).keys() for module in net.modules] == [
            attributes.keys() for attributes in before
        ]


def test_a_forward_of_ones_own_predicts(backend):
    """Also where the class above has a predict_forward."""

    class Half(nn.Linear):
        def forward(self, A):
            return super().forward(A) / 2

    class Rest(nn.Dropout):
        def forward(self, A):
            return A + 1

    class Negative(nn.Sequential):
        def forward(self, X):
            return -super().forward(X)

    X = data(SMALL, 5)[0]
    linear = Half(20, 3)
    Z = linear.W.T @ X
    assert np.allclose(nn.Sequential([linear]).predict_proba(X), Z / 2)
    assert np.allclose(nn.Sequential([linear, Rest(0.5)]).predict_proba(X), Z / 2 + 1)
    assert np.allclose(Negative([linear]).predict_proba(X), -Z / 2)
    assert np.allclose(
        nn.Sequential([Negative([linear]), nn.ReLU()]).predict_proba(X), np.maximum(-Z / 2, 0)
    )
    plain = nn.Linear(20, 3)
    assert np.allclose(Negative([plain], nn.Squared()).evaluate(X, -plain.W.T @ X)[0], 0)
    assert np.allclose(Negative([plain], nn.Squared()).fit(X, -plain.W.T @ X, lrate=0.0)["loss"], 0)
    linear.forward = lambda A: A[:3]
    assert np.array_equal(nn.Sequential([linear]).predict_proba(X), X[:3])


@pytest.mark.parametrize("sizes", [SMALL, WIDE])
def test_a_predictor_is_called_in_several_threads(sizes, isa, dtype):
    predictor, (X, _) = network(sizes, dtype).predictor(), data(sizes, 400, dtype)
    out = [np.empty((sizes[-1], n), dtype) for n in (400, 1)]
    calls = [
        lambda: [predictor(X)],
        lambda: [predictor(X[:, 0]), predictor(X[:, :3])],
        lambda: [predictor(X, out[0])],
        lambda: [predictor(X[:, :1], out[1])],
    ]
    assert all(at_once(*[always(call) for call in calls]))


@pytest.mark.parametrize("optimizer", [None, *registry.OPTIMIZERS])
@pytest.mark.parametrize("sizes", [SMALL, WIDE])
def test_networks_of_their_own_train_in_several_threads(sizes, optimizer):
    """Programs share memory kept from earlier ones, and nothing else."""
    X, Y = data(sizes, 96)

    def train():
        net = network_of[threading.get_ident()] = copies.pop()
        history = net.fit(
            X,
            Y,
            epochs=3,
            batch_size=32,
            lrate=0.01,
            optimizer=optimizer,
            l2=0.01 if optimizer else 0.0,
            seed=0,
        )
        net.partial_fit(X, Y, lrate=0.01, optimizer=optimizer)
        net.partial_fit(X, Y, lrate=0.01, optimizer=optimizer)
        return [*history["loss"], *(w.tobytes() for m in net.modules[::2] for w in (m.W, m.W0))]

    copies, network_of = [network(sizes) for _ in range(5)], {}
    alone = train()
    assert at_once(train, train, train, train) == [alone] * 4


@pytest.mark.parametrize("method", ["sgd", "mini_gd", "fit", "partial_fit"])
def test_a_network_in_training_refuses_another_and_predicts(method, backend):
    """Both unharmed: the training ends with the weights of an undisturbed one."""
    net, (X, Y) = network(SMALL), data(SMALL, 60)
    twin, stop = network(SMALL), threading.Event()
    train = {
        "sgd": lambda n: n.sgd(X, Y, 1000, 1e-3),
        "mini_gd": lambda n: n.mini_gd(X, Y, 500, 1e-3),
        "fit": lambda n: n.fit(X, Y, epochs=200, lrate=1e-3, seed=0),
        "partial_fit": lambda n: [n.partial_fit(X, Y, lrate=1e-3) for _ in range(100)],
    }[method]
    np.random.seed(1)
    train(twin)
    inside, go_on = threading.Event(), threading.Event()

    def trained():
        try:
            net.sgd(
                X, Y, 1, lambda t: inside.set() or 0.0 * go_on.wait(60)
            )  # until the second was refused; changes nothing
            np.random.seed(1)
            train(net)
        finally:
            stop.set()

    def refused():
        inside.wait(60)
        for call in (
            lambda: net.sgd(X, Y, 5),
            lambda: net.mini_gd(X, Y, 5, 0.1),
            lambda: net.fit(X, Y),
            lambda: net.partial_fit(X, Y),
        ):
            with pytest.raises(RuntimeError, match="two calls at once"):
                call()
        go_on.set()

    def predicts():
        away = [0.0]
        while not stop.is_set():
            loss, _ = net.evaluate(X, Y)
            away += [
                abs(net.predict_proba(X).sum(axis=0) - 1).max(),
                abs(net.predict_proba(X[:, :1]).sum() - 1),
                0 * loss,
            ]
        return max(away) < 1e-12

    answers = at_once(trained, refused, predicts, predicts)
    assert answers[2:] == [True, True]
    for ours, theirs in zip(net.modules[::2], twin.modules[::2], strict=True):
        assert np.array_equal(ours.W, theirs.W) and np.array_equal(ours.W0, theirs.W0)


def test_the_kernels_of_arrays_in_several_threads(isa, dtype):
    """They read the same arrays and write their own."""
    rng = np.random.default_rng(0)
    A, W, W0, dLdZ = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((130, 90), (130, 70), (70, 1), (70, 90))
    )
    Y = np.eye(70, dtype=dtype)[:, rng.integers(70, size=90)]
    k = nn.kernels

    def adam():
        w, m, v = W.copy(), np.zeros_like(W), np.zeros_like(W)
        k.adam_step(w, W, m, v, 1, 0.1, 0.9, 0.999, 1e-8)
        return [w, m, v]

    calls = [
        lambda: [k.linear_forward(A, W, W0)],
        lambda: k.linear_backward(dLdZ, A, W),
        lambda: [k.tanh_forward(A)],
        lambda: k.softmax_nll(dLdZ, Y),
        adam,
    ]
    assert all(at_once(*[always(call) for call in calls]))


@pytest.mark.parametrize("name", [None, "adam"])
@pytest.mark.parametrize("second", ["partial_fit", "learner"])
def test_first_calls_of_several_threads_share_one_optimizer(name, second, monkeypatch):
    """Another thread's first call may end while this one checks its arguments, or is refused."""
    from nncore.training import clipping, fit

    net = nn.Sequential([nn.Linear(2, 1, rng=0)], nn.Squared())
    X, Y = np.ones((2, 3)), np.ones(3)
    place, function = {
        "partial_fit": (fit, "checked_data"),
        "learner": (clipping, "checked"),
    }[second]
    original, calls, made = getattr(place, function), [], []

    def meanwhile(*given):
        calls.append(1)
        if len(calls) == 1:
            try:
                net.partial_fit(X, Y, batch_size=1, optimizer=name)
                made.append(3)
            except RuntimeError:  # the learner has the network already
                assert second == "learner"
        return original(*given)

    monkeypatch.setattr(place, function, meanwhile)
    if second == "partial_fit":
        net.partial_fit(X, Y, batch_size=1, optimizer=name)
        assert made == [3] and net.optimizer.t == 6
    else:
        with net.learner(optimizer=name) as learn:
            learn(X[:, 0], 1.0)
        assert net.optimizer.t == 1 + sum(made)


def test_steps_of_several_threads_are_all_counted():
    net = nn.Sequential([nn.Linear(2, 1, rng=0)], nn.Squared())
    done, start = [], threading.Barrier(4)

    def work():
        start.wait()
        for _ in range(20):
            try:
                net.partial_fit(np.ones((2, 1)), np.ones(1), optimizer="adam")
            except RuntimeError:  # another thread is training it
                continue
            done.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert net.optimizer.t == len(done) > 0
