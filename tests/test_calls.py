"""Calls that take over what an earlier one has checked and compiled: the same results, and every
change that Python code makes in between is seen."""

import copy
import itertools

import numpy as np
import pytest

import nncore as nn
from nncore import _core, _sums
from nncore.kernels import numpy_kernels
from nncore.training import fit, predict, sgd
from nncore.training.cache import Fingerprint, OptimizerFingerprint

N = 30
X = np.asfortranarray(np.random.default_rng(0).normal(size=(5, N)))
LABELS = np.random.default_rng(1).integers(3, size=N)
Y = np.asfortranarray(np.eye(3)[:, LABELS])


def make(unit=nn.SoftMax, loss=nn.NLL, n=3, hidden=nn.Tanh, dtype=np.float64, seed=0):
    np.random.seed(seed)
    chain = [nn.Linear(5, 7, dtype=dtype), hidden(), nn.Linear(7, n, dtype=dtype)]
    return nn.Sequential(chain + ([unit()] if unit else []), loss())


def weights(net):
    return [getattr(m, name) for m in net.modules for name in getattr(m, "gradients", ())]


def same(net, twin):
    return all(map(np.array_equal, weights(net), weights(twin)))


# --------------------------------------------------------------------------------------- snapshots


class Net(nn.Sequential):
    pass


CHANGES = {
    "W": lambda net: setattr(net.modules[0], "W", net.modules[0].W.copy()),
    "shape": lambda net: setattr(net.modules[2].W, "shape", (3, 7)),
    "read-only": lambda net: net.modules[0].W.setflags(write=False),
    "module": lambda net: net.modules.__setitem__(1, nn.Tanh()),
    "modules": lambda net: setattr(net, "modules", list(net.modules)),
    "longer": lambda net: net.modules.append(nn.Tanh()),
    "loss": lambda net: setattr(net, "loss", nn.NLL()),
    "method": lambda net: setattr(
        net.modules[1], "forward", lambda Z, tanh=net.modules[1]: nn.Tanh.forward(tanh, 2 * Z)
    ),
    "inner method": lambda net: setattr(net.modules[1], "_derive", lambda Z: Z),
    "method of the loss": lambda net: setattr(net.loss, "per_sample", lambda P, Y: 0),
    "method of the network": lambda net: setattr(net, "sgd_step", lambda eta: None),
    "class": lambda net: setattr(net.modules[0], "__class__", type("Other", (nn.Linear,), {
        "backward": lambda self, dLdZ: dLdZ})),
}  # fmt: skip
HARMLESS = {
    "numbers": lambda net: net.modules[0].W.__imul__(2),
    "attributes": lambda net: setattr(net, "name", 3),
    "forward": lambda net: net.forward(X),
    "trained": lambda net: (net.loss.forward(net.forward(X), Y), net.backward(net.loss.backward())),
    "deleted": lambda net: delattr(net.modules[0], "m"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("cls", [nn.Sequential, Net])
def test_a_fingerprint_sees_every_change(change, cls):
    net = make()
    net.__class__ = cls
    before = Fingerprint(net)
    assert before.holds(net) and before.compare(net) and before.holds(net)
    CHANGES[change](net)
    assert not before.holds(net) and not before.compare(net) and not before.holds(net)


@pytest.mark.parametrize("change", HARMLESS)
def test_a_fingerprint_holds_in_spite_of_other_changes(change):
    net = make()
    before = Fingerprint(net)
    for _ in range(2):
        HARMLESS[change](net) if change != "deleted" or hasattr(net.modules[0], "m") else None
        assert before.holds(net) and before.compare(net)
    net.modules[0].backward = None
    assert not before.holds(net)


def test_a_fingerprint_sees_a_patched_class():
    class Hidden(nn.Tanh):
        pass

    net = make(hidden=Hidden)
    before = Fingerprint(net)
    assert before.holds(net)
    Hidden.name = "harmless"
    assert before.holds(net)
    Hidden.forward = lambda self, Z: Z
    assert not before.holds(net)


def test_a_fingerprint_of_an_optimizer():
    net, optimizer = make(), nn.optimizers.Adam()
    net.partial_fit(X, Y, optimizer=optimizer)
    for change, seen in (
        (lambda one: setattr(one, "t", 7), False),
        (lambda one: setattr(one, "note", 7), False),
        (lambda one: setattr(one, "beta1", 0.5), True),
        (lambda one: setattr(one, "state", dict(one.state)), False),
        (lambda one: one.state.popitem(), True),
        (lambda one: one.state.update({(0, "W"): tuple(map(np.array, one.state[0, "W"]))}), True),
        (lambda one: one.reset(), True),
    ):
        one = copy.deepcopy(optimizer)
        before = OptimizerFingerprint(one)
        assert before.holds(one)
        change(one)
        for _ in range(2):
            assert before.holds(one) == before.compare(one) == (not seen)


# ------------------------------------------------------------------------------ calls that repeat


CALLS = {
    "partial_fit": lambda net, X, Y: net.partial_fit(X, Y, lrate=0.1),
    "adam": lambda net, X, Y: net.partial_fit(X, Y, 7, optimizer="adam", l2=0.01),
    "sgd": lambda net, X, Y: net.sgd(X, Y, 1, 0.1),
    "more sgd": lambda net, X, Y: net.sgd(X, Y, 12, 0.1),
    "rate": lambda net, X, Y: net.sgd(X, Y, 12, lambda t: 0.1 / t),
    "proba": lambda net, X, Y: net.predict_proba(X).tolist(),
    "predict": lambda net, X, Y: net.predict(X).tolist(),
    "evaluate": lambda net, X, Y: net.evaluate(X, Y),
    "score": lambda net, X, Y: net.score(X, Y),
    "log_likelihood": lambda net, X, Y: net.log_likelihood(X, Y),
}
CACHES = {"partial_fit": fit._engine_cache, "adam": fit._engine_cache, "sgd": sgd._kept,
          "more sgd": sgd._kept, "rate": sgd._kept}  # fmt: skip


def forget():
    for cache in (fit._engine_cache, sgd._kept, predict._kept):
        cache._entries.clear()


@pytest.mark.parametrize("samples", ["one", "some", "many", "strided", "integers", "labels"])
@pytest.mark.parametrize("call", CALLS)
def test_a_repeated_call_gives_the_same_bits(call, samples, dtype):
    data = {
        "one": (X[:, 3:4], Y[:, 3:4]),
        "some": (X[:, :9], Y[:, :9]),
        "many": (X, Y),
        "strided": (X[:, ::2], Y[:, ::2]),
        "integers": (np.rint(3 * X[:, :9]).astype(np.int16), Y[:, :9].astype(np.uint8)),
        "labels": (X[:, :9], LABELS[:9]),
    }[samples]
    net, twin = make(dtype=dtype), make(dtype=dtype)
    np.random.seed(0)
    given = [CALLS[call](net, *data) for _ in range(4)]
    entry = CACHES.get(call, predict._kept).get(net)
    if entry is None:
        assert samples == "one" and call in ("proba", "predict")
    else:
        assert entry.calls >= 3
    np.random.seed(0)
    for result in given:
        forget()
        assert CALLS[call](twin, *data) == result
    assert same(net, twin)


@pytest.mark.parametrize("sizes", [(5, 17, 3), (5, 33, 20), (5, 50, 1)])
@pytest.mark.parametrize("count", [1, 2, 129])
def test_predictions_on_weights_in_place_have_the_bits_of_packed_ones(sizes, count, dtype, isa):
    X = np.asfortranarray(np.random.default_rng(0).integers(-3, 4, size=(5, count)))
    np.random.seed(0)
    chain = [nn.Linear(*sizes[:2], dtype=dtype), nn.Tanh(), nn.Linear(*sizes[1:], dtype=dtype)]
    net = nn.Sequential(chain)
    first = net.predict_proba(X)
    assert np.array_equal(net.predict_proba(X), first)
    assert predict._kept.get(net).calls == 1


@pytest.mark.parametrize("change", ["W", "numbers", "module", "method", "forward", "loss"])
@pytest.mark.parametrize("call", CALLS)
def test_changes_between_repeated_calls(call, change):
    def run(fresh):
        net, found = make(), []
        np.random.seed(0)
        for i in range(6):
            if i == 3:
                (CHANGES | HARMLESS)[change](net)
            if fresh:
                forget()
            found.append(CALLS[call](net, X[:, :8], Y[:, :8]))
        return found, net

    (found, net), (expected, twin) = run(False), run(True)
    assert found == expected and same(net, twin)


@pytest.mark.parametrize("call", CALLS)
def test_what_a_repeated_call_refuses(call):
    net = make()
    for _ in range(2):
        CALLS[call](net, X, Y)
    predicts = call in ("proba", "predict")
    before = [w.copy() for w in weights(net)]
    for bad, error in (
        ((X[:4], Y), ValueError),
        ((X.astype(complex), Y), TypeError),
        ((X[:, 0], Y), ValueError),
        *(() if predicts else (((X, Y[:2]), ValueError), ((X, Y[:, :3]), ValueError))),
        *(() if predicts else (((X, LABELS + 1), ValueError),)),
    ):
        with pytest.raises(error) as raised:
            CALLS[call](net, *bad)
        forget()
        with pytest.raises(error) as general:
            CALLS[call](make(), *bad)
        assert str(raised.value) == str(general.value)
        CALLS[call](net, X, Y) if call not in CACHES else None
    assert all(map(np.array_equal, before, weights(net)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_data_that_only_some_calls_take(bad):
    x, y = X[:, :2].copy(), Y[:, :2].copy()
    y[0, 0] = bad
    net, twin = make(), make()
    for one in (net, twin):
        one.partial_fit(X[:, :2], Y[:, :2])
        np.random.seed(0)
        with np.errstate(all="ignore"), pytest.raises(ValueError):
            one.partial_fit(x, y)
        one.sgd(X, Y, 1)
    assert same(net, twin)
    net = make(None, nn.Squared, 1)
    net.partial_fit(X[:, :2], X[:1, :2])
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity in column 1"):
        net.partial_fit(np.column_stack([X[:, 0], np.full(5, np.nan)]), X[:1, :2])


def test_numpy_kernels_after_compiled_ones():
    net, twin = make(), make()
    for _ in range(2):
        net.partial_fit(X, Y), net.sgd(X, Y, 5), net.predict(X), net.evaluate(X, Y)
    twin.modules[0].W[:], twin.modules[2].W[:] = net.modules[0].W, net.modules[2].W
    twin.modules[0].W0[:], twin.modules[2].W0[:] = net.modules[0].W0, net.modules[2].W0
    with nn.use_backend("numpy"):
        assert np.array_equal(net.predict_proba(X), twin.predict_proba(X))
        calls = fit._engine_cache.get(net).calls
        net.partial_fit(X, Y)
        kept = fit._engine_cache.get(net)
        assert kept is None or kept.calls == calls


def test_a_repeated_call_may_not_come_from_inside_itself(monkeypatch):
    """A signal handler that trains the same network meanwhile is refused."""
    import signal

    net = make()
    X, Y = np.tile(X_LARGE, (1, 8)), np.tile(Y_LARGE, (1, 8))
    net.partial_fit(X[:, :100], Y[:, :100])
    seen = []

    def handler(*_):
        try:
            net.partial_fit(X[:, :100], Y[:, :100])
        except RuntimeError as error:
            seen.append(str(error))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(200):
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            net.partial_fit(X[:, :4000], np.argmax(Y[:, :4000], axis=0), batch_size=1)
            if seen:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not seen or "must not be trained by two calls at once" in seen[0]


X_LARGE, Y_LARGE = np.tile(X, (1, 40)), np.tile(Y, (1, 40))


# ------------------------------------------------------------------------------- functions as rates


@pytest.mark.parametrize("sizes", [(5, 7, 3), (5, 3), (5, 300, 300, 3)])
def test_the_loop_for_rate_functions(sizes, dtype):
    """The same draws, weights and generator as the plain loop, and all of it true inside the
    function."""

    def build():
        np.random.seed(0)
        chain = []
        for m, n in itertools.pairwise(sizes):
            chain += [nn.Linear(m, n, dtype=dtype), nn.Tanh()]
        return nn.Sequential([*chain[:-1], nn.SoftMax()], nn.NLL())

    net, twin, seen = build(), build(), []
    rates = [0.01, np.float64(0.02), np.float32(0.03125), 0]

    def rate(t):
        seen.append((t, np.random.get_state()[2], net.modules[0].W.copy()))
        return rates[t % 4]

    np.random.seed(5)
    net.sgd(X, Y, 40, rate)
    state = np.random.get_state()
    program = sgd._kept.get(net).program
    if program is not None:
        assert program.steps_by_function == 39
    np.random.seed(5)
    with nn.use_backend("numpy"):
        for t, at, W in seen:
            assert at == np.random.get_state()[2]
            tolerance = 1e-11 if dtype == np.float64 else 1e-3
            assert np.allclose(W, twin.modules[0].W, rtol=tolerance, atol=tolerance)
            i = np.random.randint(N)
            loss = twin.loss.forward(twin.forward(X[:, i : i + 1]), Y[:, i : i + 1])
            twin.backward(twin.loss.backward())
            twin.sgd_step(float(rates[t % 4]))
            assert np.isfinite(loss)
    assert (state[1] == np.random.get_state()[1]).all() and state[2] == np.random.get_state()[2]


def test_a_rate_function_may_draw_and_seed(backend):
    def run(net, steps):
        np.random.seed(5)

        def rate(t):
            if t == 4:
                np.random.seed(9)
            return 0.1 * np.random.rand()

        net.sgd(X, Y, steps, rate)
        return np.random.get_state()[1:3]

    def by_hand(net, steps):
        np.random.seed(5)
        for t in range(1, steps + 1):
            if t == 4:
                np.random.seed(9)
            eta = 0.1 * np.random.rand()
            i = np.random.randint(N)
            net.loss.forward(net.forward(X[:, i : i + 1]), Y[:, i : i + 1])
            net.backward(net.loss.backward())
            net.sgd_step(eta)
        return np.random.get_state()[1:3]

    net, twin = make(), make()
    a, b = run(net, 20), by_hand(twin, 20)
    assert (a[0] == b[0]).all() and a[1] == b[1]
    assert all(map(np.allclose, weights(net), weights(twin)))


# -------------------------------------------------------------------------------------------- draws


@pytest.mark.parametrize(
    "n", [1, 2, 3, 10, 1000, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40 + 7, 2**63 - 1]
)
def test_draws_are_those_of_numpy(n):
    states, found = [], []
    for draw in (
        lambda: [int(np.random.randint(n)) for _ in range(500)],
        lambda: [_core.randint(n) for _ in range(500)],
        lambda: _core.randint(n, 500).tolist(),
    ):
        np.random.seed(3)
        np.random.normal()  # leaves one more normal number behind
        found.append(draw())
        states.append(np.random.get_state())
    assert found[0] == found[1] == found[2]
    for state in states[1:]:
        assert (state[1] == states[0][1]).all() and state[2:] == states[0][2:]


def test_draws_follow_another_generator(monkeypatch):
    before = np.random.get_bit_generator()
    try:
        for bits in (np.random.PCG64(1), np.random.MT19937(2)):
            np.random.set_bit_generator(bits)
            state = bits.state
            expected = [int(np.random.randint(1000)) for _ in range(20)]
            bits.state = state
            assert [_core.randint(1000) for _ in range(20)] == expected
            bits.state = state
            assert _core.randint(1000, 20).tolist() == expected
    finally:
        np.random.set_bit_generator(before)
    monkeypatch.setattr(
        np.random, "randint", lambda n, size=None: 7 if size is None else [7] * size
    )
    assert _core.randint(1000) == 7 and _core.randint(1000, 3).tolist() == [7, 7, 7]


# --------------------------------------------------------------------------- backward pass and step


HIDDEN = [nn.Tanh, nn.ReLU, nn.Sigmoid, nn.LeakyReLU, nn.GELU, nn.SiLU]


def loop_backward(net, delta):
    for module in reversed(net.modules):
        delta = module.backward(delta)


def loop_step(net, lrate):
    for module in net.modules:
        module.sgd_step(lrate)


@pytest.mark.parametrize("columns", [1, 6])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_backward_and_step_are_those_of_the_modules(hidden, columns, dtype, backend):
    net, twin = make(hidden=hidden, dtype=dtype), make(hidden=hidden, dtype=dtype)
    for one, back, step in (
        (net, net.backward, net.sgd_step),
        (twin, lambda d: loop_backward(twin, d), lambda eta: loop_step(twin, eta)),
    ):
        for i in range(3):
            one.loss.forward(one.forward(X[:, i : i + columns]), Y[:, i : i + columns])
            assert back(one.loss.backward()) is None
            step([0.1, 1, np.float64(0.01)][i])
    for a, b in zip(net.modules, twin.modules, strict=True):
        for name in ("W", "W0", "dLdW", "dLdW0", "A"):
            assert hasattr(a, name) == hasattr(b, name)
            if hasattr(a, name):
                assert np.array_equal(getattr(a, name), getattr(b, name))
                assert getattr(a, name).dtype == getattr(b, name).dtype


def test_backward_through_patched_modules_inner_networks_and_dropout():
    calls = []

    class Loud(nn.Linear):
        def backward(self, dLdZ):
            calls.append("class")
            return super().backward(dLdZ)

    def build(chained):
        np.random.seed(0)
        chain = [
            nn.Sequential([nn.Linear(5, 6), nn.Tanh()]),
            nn.Linear(6, 6),
            nn.ReLU(),
            Loud(6, 4),
            nn.Tanh(),
            nn.Linear(4, 3),
            nn.SoftMax(),
        ]
        chain[4].backward = lambda dLdA: calls.append("object") or nn.Tanh.backward(chain[4], dLdA)
        return nn.Sequential(chain, nn.NLL())

    net = build(True)
    net.loss.forward(net.forward(X), Y)
    net.backward(net.loss.backward())
    assert calls == ["object", "class"]
    twin = build(False)
    twin.loss.forward(twin.forward(X), Y)
    delta = twin.loss.backward()
    for module in reversed(twin.modules[1:]):
        delta = module.backward(delta)
    for module in reversed(twin.modules[0].modules):
        delta = module.backward(delta)
    for a, b in (
        (net.modules[0].modules[0], twin.modules[0].modules[0]),
        (net.modules[1], twin.modules[1]),
    ):
        assert np.array_equal(a.dLdW, b.dLdW)
    relu = net.modules[2]
    np.random.seed(1)
    A = relu.forward(np.ones((6, 3)), 0.5)
    assert set(np.unique(A)) <= {0.0, 2.0} and relu.backward(np.ones((6, 3))).max() == 2


def test_a_class_patched_later_is_honoured(monkeypatch):
    net = make()
    net.loss.forward(net.forward(X), Y)
    delta = net.loss.backward()
    net.backward(delta), net.sgd_step(0.1)
    calls = []
    derive, terms = nn.Tanh._derive, nn.Linear._step_terms
    monkeypatch.setattr(
        nn.Tanh, "_derive", lambda self, d: calls.append("derive") or derive(self, d)
    )
    net.backward(delta)
    monkeypatch.setattr(
        nn.Linear, "_step_terms", lambda self, eta: calls.append("step") or terms(self, eta)
    )
    net.sgd_step(0.1)
    assert calls == ["derive", "step", "step"]


def test_steps_that_must_be_checked_first():
    for spoil, error in (
        (lambda linear: delattr(linear, "dLdW"), RuntimeError),
        (lambda linear: setattr(linear, "dLdW", np.ones((2, 2))), ValueError),
        (lambda linear: linear.W.setflags(write=False), ValueError),
        (lambda linear: setattr(linear, "W0", np.ones(3)), ValueError),
        (lambda linear: setattr(linear, "dLdW0", np.ones((3, 1)) * 1j), TypeError),
    ):
        net = make()
        net.loss.forward(net.forward(X), Y)
        net.backward(net.loss.backward())
        before = net.modules[0].W.copy()
        spoil(net.modules[2])
        with pytest.raises(error):
            net.sgd_step(0.1)
        assert np.array_equal(before, net.modules[0].W)  # the first module has not stepped either
    net = make()
    for linear in net.modules[::2]:
        linear.W = np.rint(3 * linear.W).astype(int)
    net.loss.forward(net.forward(X), Y)
    net.backward(net.loss.backward())
    net.sgd_step(0.1)
    assert net.modules[0].W.dtype == np.float64
    net.modules[0].W[:] = net.modules[0].dLdW = np.ones((5, 7))
    net.modules[0].dLdW = net.modules[0].W  # overlaps
    net.sgd_step(0.5)
    assert (net.modules[0].W == 0.5).all()


# ------------------------------------------------------------------------------------- small pieces


def test_argmax_of_columns():
    rng = np.random.default_rng(0)
    for shape in ((1, 4), (3, 5), (10, 1), (7, 0), (40, 33)):
        for dtype in (np.float32, np.float64):
            a = np.rint(3 * rng.normal(size=shape)).astype(dtype)  # with ties
            a[rng.random(shape) < 0.1] = np.nan
            for one in (a, np.asfortranarray(a)):
                found = _core.argmax_columns(one)
                assert found.dtype == np.int64 and np.array_equal(found, np.argmax(one, axis=0))
    assert _core.argmax_columns(np.ones((0, 3))) is None
    assert _core.argmax_columns(np.ones((3, 4))[::2]) is None
    assert _core.argmax_columns(np.ones((3, 4), int)) is None


@pytest.mark.parametrize("n", [1, 2, 3, 5, 63, 64, 65, 1000, 1024])
def test_sums_by_halves(n, dtype):
    x = np.random.default_rng(n).normal(size=n).astype(dtype)
    assert _core.sum_pairwise(x) == float(_sums.pairwise(x)) == _sums.total(x)
    assert _core.sum_pairwise(x[::2]) is None or n < 3
    assert _sums.total(x[::2]) == float(_sums.pairwise(x[::2]))
    assert _core.sum_pairwise(np.ones((2, 2), dtype)) is None
    assert _sums.total(np.arange(3)) == 3 and _sums.total([1.5, 2]) == 3.5


@pytest.mark.parametrize("m", [1, 5, 16, 37])
def test_one_output_without_padding(m, dtype, isa):
    """A column of weights in the user's memory takes the bits of rows padded to vectors."""
    np.random.seed(m)
    net, twin = (
        nn.Sequential(
            [nn.Linear(2, m, dtype=dtype), nn.Tanh(), nn.Linear(m, 1, dtype=dtype)], nn.Squared()
        )
        for _ in range(2)
    )
    for a, b in zip(weights(net), weights(twin), strict=True):
        b[:] = a
    x = np.array([0.5, -1], dtype)
    with net.learner(0.1) as learn:
        for y in (1.0, -1.0, 0.25):
            learn(x, y)
            twin.partial_fit(x[:, None], np.full((1, 1), y), lrate=0.1)
    if fit._engine_cache.get(twin).program.last_plan["path"] == "minibatch":
        assert same(net, twin)
    expected = numpy_kernels.linear_forward(x[:, None], twin.modules[0].W, twin.modules[0].W0)
    assert np.allclose(learn.predict(x), twin.modules[2].forward(np.tanh(expected))[:, 0], 1e-5)


def test_fit_takes_the_checks_of_an_earlier_call(dtype):
    net, twin = make(dtype=dtype), make(dtype=dtype)
    net.fit(X, Y, seed=0)
    kept = fit._engine_cache.get(net)
    assert kept.fit_data(net, X, Y) is not None
    for wrong in ((X[:-1], Y), (X, -Y), (X, Y[:, 1:]), (X.tolist(), Y), (X, Y[:-1])):
        assert kept.fit_data(net, *wrong) is None
    again = net.fit(X, Y, seed=0)
    forget()
    twin.fit(X, Y, seed=0)
    forget()
    assert twin.fit(X, Y, seed=0) == again and same(net, twin)
    net.modules[0].W = net.modules[0].W.copy()
    assert kept.fit_data(net, X, Y) is None
