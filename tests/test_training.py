"""sgd, fit and evaluation: the same on both backends and both ways of running, and nothing changed
by what is refused."""

import copy
import pickle
import threading
import warnings

import numpy as np
import pytest

import nncore as nn
from nncore import schedules
from nncore.training.compile import as_program

RATES = {
    "number": 0.05,
    "schedule": schedules.InverseTime(0.05, 0.01),
    "callable": lambda t: 0.05 / (1 + 0.01 * (t - 1)),
}


def make(dims=(5, 7, 3), activation=nn.Tanh, output=nn.SoftMax, loss=nn.NLL, seed=0, **options):
    np.random.seed(seed)
    chain = []
    for m, n in zip(dims, dims[1:], strict=False):
        chain += [nn.Linear(m, n, **options), activation()]
    return nn.Sequential([*chain[:-1], output()], loss())


def data(dims=(5, 7, 3), n=23, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(dims[0], n)), np.eye(dims[-1])[rng.integers(0, dims[-1], n)].T


def weights(net):
    return [a.copy() for m in net.modules if isinstance(m, nn.Linear) for a in (m.W, m.W0)]


def same(first, second, rtol=1e-12):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(np.abs(b).max(), 1e-300))


class Watched(nn.Tanh):
    """A user's own module: sends a network the way of modules."""

    def forward(self, Z):
        return super().forward(Z)


def by_modules(net):
    """The same network with every compiled short cut refused."""
    twin = copy.deepcopy(net)
    twin.modules = [Watched() if type(m) is nn.Tanh else m for m in twin.modules]
    return twin


@pytest.mark.parametrize("rate", RATES)
def test_program_modules_and_numpy_agree(rate):
    X, Y = data()
    nets = [make(), by_modules(make()), make()]
    states = []
    for net, backend in zip(nets, ("compiled", "compiled", "numpy"), strict=True):
        with nn.use_backend(backend):
            assert (as_program(net, (X, Y), True) is not None) == (net is nets[0])
            np.random.seed(3)
            net.sgd(X, Y, 57, RATES[rate])
            states.append(np.random.get_state())
    for net, state in zip(nets[1:], states[1:], strict=True):
        same(weights(nets[0]), weights(net))
        assert (
            state[0] == states[0][0]
            and np.array_equal(state[1], states[0][1])
            and state[2:] == states[0][2:]
        )


def test_sgd_is_the_courses_loop(backend):
    net, (X, Y) = make(), data()
    wanted = copy.deepcopy(net)
    np.random.seed(9)
    net.sgd(X, Y, 20, 0.1)
    after = np.random.randint(1 << 30)
    np.random.seed(9)
    for _ in range(20):
        i = np.random.randint(X.shape[1])
        wanted.loss.forward(wanted.forward(X[:, i : i + 1]), Y[:, i : i + 1])
        wanted.backward(wanted.loss.backward())
        wanted.sgd_step(0.1)
    assert after == np.random.randint(1 << 30)
    same(weights(net), weights(wanted))
    for mine, theirs in zip(net.modules, wanted.modules, strict=True):
        for name in ("A", "dLdW", "dLdW0"):
            assert hasattr(mine, name) == hasattr(theirs, name)
            if hasattr(theirs, name):
                same([getattr(mine, name)], [getattr(theirs, name)])
    same([net.loss.Ypred, net.loss.Y], [wanted.loss.Ypred, wanted.loss.Y])


def test_the_weights_own_memory_is_updated(backend):
    for layout in (np.ascontiguousarray, np.asfortranarray, lambda W: np.repeat(W, 3, 1)[:, ::3]):
        for rate in RATES.values():
            net, (X, Y) = make(), data()
            for module in net.modules[::2][:2]:
                module.W = layout(module.W)
            kept = [(m.W, m.W0) for m in net.modules if isinstance(m, nn.Linear)]
            wanted = make()
            np.random.seed(2)
            net.sgd(X, Y, 11, rate)
            np.random.seed(2)
            wanted.sgd(X, Y, 11, rate)
            same(weights(net), weights(wanted))
            linears = [m for m in net.modules if isinstance(m, nn.Linear)]
            assert all(m.W is W and m.W0 is W0 for m, (W, W0) in zip(linears, kept, strict=True))


def test_integer_weights_are_rebound_before_training(backend):
    net, (X, Y) = make(), data()
    net.modules[0].W0 = np.ones((7, 1), int)
    net.sgd(X, Y, 5, 0.1)
    assert net.modules[0].W0.dtype == np.float64 and not np.array_equal(
        net.modules[0].W0, np.ones((7, 1))
    )


def test_zero_iterations_draw_nothing(backend):
    net, (X, Y) = make(), data()
    before, state = weights(net), np.random.get_state()[1:3]
    net.sgd(X, Y, 0)
    net.fit(X, Y, epochs=0)
    assert (
        np.array_equal(np.random.get_state()[1], state[0]) and np.random.get_state()[2] == state[1]
    )
    assert all(map(np.array_equal, weights(net), before))


X_, Y_ = data()
REFUSED = {
    "X transposed": (
        lambda n: n.sgd(X_.T, Y_),
        ValueError,
        "X must have shape .5, N., got .23, 5.; samples are columns",
    ),
    "one column": (lambda n: n.sgd(X_[:, 0], Y_), ValueError, "X must have shape"),
    "labels": (
        lambda n: n.sgd(X_, np.full(23, 3)),
        ValueError,
        "Y must hold integers from 0 to 2, the classes of the network",
    ),
    "rate": (
        lambda n: n.sgd(X_, Y_, 30, -0.1),
        ValueError,
        "lrate must be finite and at least 0, got -0.1",
    ),
    "nan rate": (
        lambda n: n.mini_gd(X_, Y_, 30, np.nan),
        ValueError,
        "lrate must be finite and at least 0, got nan",
    ),
    "schedule": (
        lambda n: n.sgd(X_, Y_, 500, nn.schedules.Power(1e300, -4)),
        ValueError,
        "got inf at step 500",
    ),
    "masked X": (
        lambda n: n.sgd(np.ma.masked_less(X_, 0.1), Y_),
        TypeError,
        "X must not be masked, got a masked array with",
    ),
    "masked Y": (
        lambda n: n.mini_gd(X_, np.ma.masked_equal(Y_, 1), 3, 0.1),
        TypeError,
        "Y must not be masked, got a masked array with 23",
    ),
    "Y too short": (lambda n: n.sgd(X_, Y_[:, :5]), ValueError, "Y must have shape .3, 23."),
    "complex": (lambda n: n.sgd(X_ + 0j, Y_), TypeError, "X must be a real array, got complex128"),
    "text": (lambda n: n.sgd(X_, Y_.astype(str)), TypeError, "Y must be a real array"),
    "no samples": (lambda n: n.sgd(X_[:, :0], Y_[:, :0]), ValueError, "at least one sample"),
    "iters": (lambda n: n.sgd(X_, Y_, 1.5), TypeError, "iters must be an integer, got float"),
    "iters negative": (lambda n: n.sgd(X_, Y_, -1), ValueError, "iters must be at least 0, got -1"),
    "lrate": (
        lambda n: n.sgd(X_, Y_, 5, "fast"),
        TypeError,
        "lrate must be a real number, got str",
    ),
    "lrate bool": (
        lambda n: n.sgd(X_, Y_, 5, True),
        TypeError,
        "lrate must be a real number, got bool",
    ),
    "batch": (
        lambda n: n.fit(X_, Y_, batch_size=0),
        ValueError,
        "batch_size must be at least 1, got 0",
    ),
    "epochs": (lambda n: n.fit(X_, Y_, epochs=-1), ValueError, "epochs must be at least 0"),
    "reduction": (
        lambda n: n.fit(X_, Y_, reduction="max"),
        ValueError,
        "reduction must be one of 'mean', 'sum', got 'max'",
    ),
    "NaN": (
        lambda n: n.fit(np.where(X_ == X_[2, 4], np.nan, X_), Y_),
        ValueError,
        "X must be finite, got NaN or infinity in column 4",
    ),
    "inf": (lambda n: n.fit(X_, np.where(Y_ > 0, np.inf, 0)), ValueError, "Y must be finite"),
    "evaluate": (lambda n: n.evaluate(X_.T, Y_), ValueError, "samples are columns"),
    "predict": (lambda n: n.predict(X_.T), ValueError, "samples are columns"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_changes(backend, case):
    call, error, message = REFUSED[case]
    net = make()
    before, state = weights(net), np.random.get_state()[1:3]
    with pytest.raises(error, match=message):
        call(net)
    assert (
        np.array_equal(np.random.get_state()[1], state[0]) and np.random.get_state()[2] == state[1]
    )
    assert all(map(np.array_equal, weights(net), before))
    assert not hasattr(net.modules[0], "A")


def test_read_only_and_mismatched_weights_are_refused_first(backend):
    X, Y = data()
    net = make()
    net.modules[2].W.flags.writeable = False
    before, state = weights(net), np.random.get_state()[2]
    with pytest.raises(ValueError, match="W must be writeable"):
        net.sgd(X, Y, 5)
    assert np.random.get_state()[2] == state and all(map(np.array_equal, weights(net), before))
    net.predict(X)  # reading needs no permission
    net = nn.Sequential([nn.Linear(5, 4), nn.Tanh(), nn.Linear(6, 3), nn.SoftMax()], nn.NLL())
    with pytest.raises(ValueError, match=r"must take the 4 outputs of modules"):
        net.sgd(X, Y, 5)


@pytest.mark.parametrize(
    ("output", "loss"),
    [
        (nn.OutputSigmoid, nn.NLL),
        (nn.SoftMax, nn.BinaryNLL),
        (nn.Sigmoid, nn.BinaryNLL),
        (nn.Tanh, nn.NLL),
        (nn.SoftMax, nn.Squared),
        (nn.Tanh, nn.Hinge),
    ],
)
def test_a_loss_beside_the_wrong_output_is_refused(backend, output, loss):
    net, (X, Y) = make(output=output, loss=loss), data()
    for call in (lambda: net.sgd(X, Y, 5), lambda: net.fit(X, Y), lambda: net.evaluate(X, Y)):
        with pytest.raises(ValueError, match=f"{loss.__name__} requires a final"):
            call()
    net.forward(X)


def test_users_own_loss_and_modules_train(backend):
    class Halved:  # neither base class nor sgd_step
        def forward(self, A):
            return A / 2

        def backward(self, d):
            return d / 2

        def step(self, lrate):
            self.stepped = True

    class Distance:
        def forward(self, P, Y):
            self.difference = P - Y
            return float((self.difference**2).sum())

        def backward(self):
            return 2 * self.difference

    np.random.seed(0)
    X, Y = data()
    net = nn.Sequential([nn.Linear(5, 4), nn.Tanh(), Halved(), nn.Linear(4, 3)], Distance())
    first = net.evaluate(X, Y)[0]
    net.sgd(X, Y, 300, 0.02)
    history = net.fit(X, Y, epochs=20, batch_size=5, lrate=0.05, seed=0)
    assert (
        net.modules[2].stepped and history["loss"][-1] < first and np.isnan(net.evaluate(X, Y)[1])
    )


def test_not_compiled_when_it_must_not():
    X, Y = data()
    assert as_program(make(), (X, Y), True) is not None
    shared = make((5, 5, 5))
    shared.modules[2].W = shared.modules[0].W
    twice = make((5, 5, 5))
    twice.modules[2] = twice.modules[0]
    patched = make()
    patched.modules[0].forward = lambda A: nn.Linear.forward(patched.modules[0], A)
    mixed = make()
    mixed.modules[0] = nn.Linear(5, 7, dtype=np.float32)
    overlapping = make()
    overlapping.modules[0].W = X[:, :7]
    subclass = make()
    subclass.modules[1] = Watched()
    packed = make()
    packed.modules[0].W = np.zeros((5, 7), np.dtype([("pad", "u1"), ("w", "f8")]))["w"]
    for net in (shared, twice, patched, mixed, overlapping, subclass, packed):
        assert as_program(net, (X, Y) if net.modules[0].m == 5 else (X, Y), True) is None
        if net in (patched, mixed, overlapping, subclass, packed):
            net.sgd(X.copy() if net is overlapping else X, Y, 3)
    assert np.isfinite(packed.modules[0].W).all()


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_fit_is_gradient_descent_over_batches(backend, batch_size, reduction):
    net, (X, Y) = make(), data()
    wanted = make()
    history = net.fit(
        X, Y, epochs=3, batch_size=batch_size, lrate=0.02, seed=7, reduction=reduction
    )
    rng = np.random.default_rng(7)
    for epoch in range(3):
        order, total = rng.permutation(23), 0.0
        for at in range(0, 23, batch_size):
            i = order[at : at + batch_size]
            total += wanted.loss.forward(wanted.forward(X[:, i]), Y[:, i])
            wanted.backward(wanted.loss.backward() / (len(i) if reduction == "mean" else 1))
            wanted.sgd_step(0.02)
        assert history["loss"][epoch] == pytest.approx(total / 23, rel=1e-10)
    same(weights(net), weights(wanted), 1e-11)


def test_fit_repeats_by_seed_and_leaves_the_global_generator_alone(backend):
    X, Y = data()
    state = np.random.get_state()[2]
    one, two, other = make(), make(), make()
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    assert one.fit(X, Y, epochs=2, seed=3, batch_size=4) == two.fit(
        X, Y, epochs=2, seed=3, batch_size=4
    )
    other.fit(X, Y, epochs=2, seed=4, batch_size=4)
    assert np.array_equal(np.random.get_state()[1], state)
    assert all(map(np.array_equal, weights(one), weights(two))) and not np.array_equal(
        one.modules[0].W, other.modules[0].W
    )


@pytest.mark.parametrize("chain", [make, lambda: by_modules(make())], ids=["program", "modules"])
@pytest.mark.parametrize(
    "rate",
    [1e308, schedules.Constant(1e308), lambda t: 1e308, lambda t: 0.1 if t < 9 else 1e308],
    ids=["number", "schedule", "callable", "late"],
)
def test_fit_stops_on_divergence_with_the_last_finite_weights(backend, chain, rate):
    net, (X, Y) = chain(), data()
    with (
        pytest.raises(FloatingPointError, match="training diverged at step") as caught,
        np.errstate(all="ignore"),
    ):
        net.fit(X, Y, epochs=50, batch_size=4, lrate=rate, seed=0)
    assert all(np.isfinite(w).all() for w in weights(net))
    step = int(str(caught.value).split("step ")[1].split(":")[0])
    steps, twin = [], chain()  # the same batches one at a time, up to the step before

    def counted(t):
        steps.append(t)
        if t == step:
            raise StopIteration
        return rate(t) if callable(rate) else rate

    with pytest.raises(StopIteration), np.errstate(all="ignore"):
        twin.fit(X, Y, epochs=50, batch_size=4, lrate=counted, seed=0)
    assert steps[-1] == step
    assert all(map(np.array_equal, weights(net), weights(twin)))


def test_a_confident_mistake_is_not_divergence(backend):
    np.random.seed(0)

    class Own(nn.Sequential):
        """Never compiled."""

    for net in (make((2, 2)), Own(make((2, 2)).modules, nn.NLL())):
        net.modules[0].W[...] = [[1e4, 0], [0, 1e4]]
        X, Y = np.eye(2), np.eye(2)[::-1].copy()
        assert net.fit(X, Y, lrate=0.1, batch_size=2)["loss"] == [1e4] and net.evaluate(X, Y)[
            0
        ] == pytest.approx(1e4, rel=1e-3)


def test_sgd_warns_once_of_a_loss_that_is_not_finite_and_goes_on(backend):
    net, (X, Y) = make(), data()
    X = X.copy()
    X[0, :] = np.nan
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        net.sgd(X, Y, 50, 0.1)
    seen = [w for w in seen if "the loss is not finite" in str(w.message)]
    assert (
        len(seen) == 1
        and seen[0].category is RuntimeWarning
        and "at step 1;" in str(seen[0].message)
    )
    assert np.isnan(net.modules[0].W).all()


def test_a_second_training_at_once_is_refused(backend):
    net, (X, Y) = make(), data()
    errors = []

    def rate(t):
        if t == 3:

            def second():
                try:
                    net.fit(X, Y)
                except RuntimeError as error:
                    errors.append(str(error))

            thread = threading.Thread(target=second)
            thread.start()
            thread.join()
            net.predict(X)  # prediction is free
        return 0.1

    net.sgd(X, Y, 5, rate)
    assert len(errors) == 1 and "two calls at once" in errors[0]
    net.sgd(X, Y, 5)


def test_a_users_rate_sees_and_changes_the_weights(backend):
    X, Y = data()
    for layout in (np.ascontiguousarray, np.asfortranarray):
        seen, results = [], []
        for chain in (make(), by_modules(make())):
            chain.modules[0].W = layout(chain.modules[0].W)

            def rate(t, chain=chain, seen=seen):
                seen.append(chain.modules[0].W.sum())
                if t == 4:
                    chain.modules[2].W = np.ones((7, 3))
                if t == 6:
                    np.random.random()
                return 0.1

            np.random.seed(8)
            chain.sgd(X, Y, 9, rate)
            results.append(weights(chain))
        assert len(set(np.round(seen[:9], 9))) > 5
        np.testing.assert_allclose(seen[:9], seen[9:], rtol=1e-12)
        same(*results)


def test_a_failing_rate_leaves_whole_steps(backend):
    net, (X, Y) = make(), data()
    twin = make()

    def rate(t):
        if t == 7:
            raise KeyError("no more")
        return 0.1

    np.random.seed(8)
    with pytest.raises(KeyError):
        net.sgd(X, Y, 20, rate)
    np.random.seed(8)
    twin.sgd(X, Y, 6, 0.1)
    same(weights(net), weights(twin))
    net.sgd(X, Y, 1)


def test_evaluate_predict_and_likelihood_agree(backend):
    net = make()
    X, Y = data(n=2500)
    P = net.forward(X)
    loss, accuracy = net.evaluate(X, Y)
    assert loss == pytest.approx(net.loss.forward(P, Y) / 2500, rel=1e-12)
    assert accuracy == pytest.approx(np.mean(P.argmax(0) == Y.argmax(0)), abs=1e-15)
    assert net.log_likelihood(X, Y) == pytest.approx(-2500 * loss, rel=1e-12)
    np.testing.assert_allclose(net.predict_proba(X), P, rtol=1e-12)
    assert net.predict(X).tolist() == P.argmax(0).tolist() and net.predict(X).dtype == np.int64
    assert net.predict_proba(X[:, :0]).shape == (3, 0)
    with pytest.raises(TypeError, match="class_fun"):
        nn.Sequential([nn.Linear(5, 3)]).predict(X)
    with pytest.raises(ValueError, match="loss must be given"):
        nn.Sequential([nn.Linear(5, 3)]).sgd(X, Y, 1)
    with pytest.raises(ValueError, match="at least one module"):
        nn.Sequential([], nn.NLL()).sgd(X, Y, 1)


def test_binary_labels(backend):
    for labels in (1, 4):
        dims = (5, 6, labels)
        net = make(dims, nn.Sigmoid, nn.OutputSigmoid, nn.BinaryNLL)
        rng = np.random.default_rng(0)
        X = rng.normal(size=(5, 60))
        Y = (X[:labels] > 0).astype(int)
        first = net.evaluate(X, Y)[0]
        assert first == pytest.approx(net.loss.forward(net.forward(X), Y) / 60)
        net.sgd(X, Y, 3000, 0.2)
        history = net.fit(X, Y, epochs=50, batch_size=7, lrate=0.5, seed=0)
        assert history["loss"][-1] < first / 2 and net.evaluate(X, Y)[1] > 0.9
        assert net.evaluate(X, Y)[1] == np.mean(
            net.predict(X) == (Y[0] if labels == 1 else Y)
        )  # the share of labels


def test_networks_copy_pickle_and_show_themselves(backend):
    net = make()
    X, Y = data()
    net.sgd(X, Y, 5)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(twin.predict_proba(X), net.predict_proba(X))
    text = repr(net)
    assert "Linear(5, 7)" in text and "42 parameters" in text and "66 parameters" in text
    chain = net.modules
    assert nn.Sequential(chain, net.loss).modules is chain


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.Constant(0.3),
        schedules.InverseTime(0.3, 0.1),
        schedules.Power(0.3, 0.5),
        schedules.Step(0.3, 4, 0.5),
        schedules.Cosine(0.3, 10, 0.01),
    ],
    ids=repr,
)
def test_schedules(schedule):
    values = schedule.values(1, 20)
    assert values.shape == (20,) and values.dtype == np.float64 and values[0] == 0.3
    assert [schedule(t) for t in range(1, 21)] == values.tolist() and np.array_equal(
        schedule.values(6, 5), values[5:10]
    )
    assert pickle.loads(pickle.dumps(schedule)) == schedule and (np.diff(values) <= 0).all()


@pytest.mark.parametrize(
    "make_bad",
    [
        lambda: schedules.Constant("0.1"),
        lambda: schedules.InverseTime(0.1, -1),
        lambda: schedules.Step(0.1, 0),
        lambda: schedules.Cosine(0.1, 1.5),
        lambda: schedules.Power(None, 1),
    ],
)
def test_schedules_refuse(make_bad):
    with pytest.raises((TypeError, ValueError), match="must"):
        make_bad()


# ----------------------------------------------------------------------------------- linear outputs


def test_squared_learns_a_function(backend):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2, 400))
    Y = np.stack([X[0] * X[1], X[0] - X[1]])
    np.random.seed(0)
    net = nn.Sequential([nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 2)], nn.Squared())
    before = net.evaluate(X, Y)[0]
    net.fit(X, Y, epochs=60, batch_size=20, lrate=0.1, seed=0)
    after, r2 = net.evaluate(X, Y)
    assert after < 0.02 * before and r2 == net.score(X, Y) > 0.9
    np.testing.assert_array_equal(net.predict(X), net.predict_proba(X))
    assert after == pytest.approx(np.mean(np.sum((net.predict(X) - Y) ** 2, axis=0)), rel=1e-12)
    np.random.seed(1)
    net.sgd(X, Y, 500, 0.01)
    assert net.evaluate(X, Y)[0] < after * 3 and net.modules[-1].dLdW.shape == (20, 2)


def test_hinge_separates_and_wants_signs(backend):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2, 300))
    Y = np.where(X[:1] + X[1:] > 0, 1, -1)
    np.random.seed(0)
    net = nn.Sequential([nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)], nn.Hinge())
    net.sgd(X, Y, 3000, 0.01)
    assert (
        net.evaluate(X, Y)[1] > 0.97
        and set(net.predict(X)) == {-1, 1}
        and net.predict(X).shape == (300,)
    )
    before = weights(net)
    for call in (net.sgd, net.fit, net.evaluate):
        with pytest.raises(
            ValueError,
            match=r"Y must hold -1 and \+1 for Hinge, got 0; labels of 0 and 1 become 2 \* Y - 1",
        ):
            call(X, (Y + 1) // 2)
    assert all(map(np.array_equal, weights(net), before))


def test_squared_errors_beyond_the_range_are_told(backend):
    X, Y = np.array([[1.0], [2.0]]), np.array([[1e200]])
    net = nn.Sequential([nn.Linear(2, 1)], nn.Squared())
    with pytest.warns(RuntimeWarning, match="not finite at step 1"):
        net.sgd(X, Y, 6, 1e-300)
    with pytest.raises(FloatingPointError, match="diverged at step 1"):
        net.fit(X, Y)


# ----------------------------------------------------------------------- what a rate function gives

METHODS = {
    "sgd": lambda net, rate: net.sgd(X_, Y_, 30, rate),
    "mini_gd": lambda net, rate: net.mini_gd(X_, Y_, 30, rate, K=5),
    "fit": lambda net, rate: net.fit(X_, Y_, epochs=3, batch_size=5, lrate=rate),
    "partial_fit": lambda net, rate: net.partial_fit(X_, Y_, batch_size=5, lrate=rate),
}


class Values(nn.schedules.Schedule):
    def __init__(self, give):
        self.give = give

    def values(self, t0, count):
        return self.give(count)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "given, name",
    [
        (None, "NoneType"),
        ("0.1", "str"),
        ([0.1], "list"),
        (np.array([0.1]), "ndarray"),
        (True, "bool"),
        (0.1j, "complex"),
    ],
    ids=["None", "text", "list", "array", "bool", "complex"],
)
def test_a_rate_function_that_gives_no_number_is_refused(backend, method, given, name):
    net = make()
    before = weights(net)
    with pytest.raises(TypeError, match=rf"lrate\(t\) must be a real number, got {name}"):
        METHODS[method](net, lambda t: given)
    same(weights(net), before, 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "give, error, words",
    [
        (
            lambda count: np.full(count - 1, 0.1),
            ValueError,
            r"must have shape \(\d+,\), got \(\d+,\)",
        ),
        (
            lambda count: np.full(count + 1, 0.1),
            ValueError,
            r"must have shape \(\d+,\), got \(\d+,\)",
        ),
        (lambda count: 0.1, ValueError, r"must have shape \(\d+,\), got \(\)"),
        (lambda count: None, TypeError, "must be a real array, got object"),
        (lambda count: ["slow"] * count, TypeError, "must be a real array, got <U4"),
    ],
    ids=["short", "long", "one", "None", "text"],
)
def test_a_schedule_that_gives_other_than_so_many_numbers_is_refused(
    backend, method, give, error, words
):
    net = make()
    before = weights(net)
    with pytest.raises(error, match=r"lrate.values\(t0, count\) " + words):
        METHODS[method](net, Values(give))
    same(weights(net), before, 0)


def test_what_a_schedule_gives_may_be_whole_numbers_in_a_list(backend):
    nets = [make(), make()]
    for net, rate in zip(nets, (Values(lambda count: [1] * count), 1.0), strict=True):
        np.random.seed(0)
        net.sgd(X_, Y_, 30, rate)
    same(weights(nets[0]), weights(nets[1]), 0)
