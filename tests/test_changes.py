"""What Python code changes while a network trains counts from the next batch or epoch on, on both
backends; counters are true."""

import copy
import os
import threading
import time
import warnings

import numpy as np
import pytest

import nncore as nn
from nncore.optimizers import SGD, Adam, AdamW, Momentum, RMSprop
from nncore.training import fit

N = 24
X = np.random.default_rng(0).normal(size=(5, N))
Y = np.eye(3)[:, np.arange(N) % 3]


def make(seed=0, dtype=np.float64, norm=False, dropout=False):
    np.random.seed(seed)
    chain = [nn.Linear(5, 7, dtype=dtype), nn.Tanh(), nn.Linear(7, 3, dtype=dtype), nn.SoftMax()]
    if norm:
        chain.insert(1, nn.BatchNorm(7, statistics="running", eps=1e-5, dtype=dtype))
    if dropout:
        chain.insert(1, nn.Dropout(0.3, seed=5))
    return nn.Sequential(chain, nn.NLL())


def weights(net):
    return [getattr(m, name) for m in net.modules for name in getattr(m, "gradients", ())]


def same(a, b, rtol=1e-10):
    return all(
        x.shape == y.shape and np.allclose(x, y, rtol=rtol, atol=rtol)
        for x, y in zip(a, b, strict=True)
    )


# ------------------------------------------------------------------------------------------ changes


class Steeper(nn.NLL):
    def _gradient(self):
        return 3 * super()._gradient()


def set_beta(net):
    net.optimizer.beta1 = 0.5


def set_eps(net):
    net.optimizer.eps = 0.1


def set_decay(net):
    net.optimizer.weight_decay = 0.3


def set_norm(net):
    net.modules[1].momentum, net.modules[1].eps = 0.9, 0.5


def set_dropout(net):
    net.modules[1].p = 0.0


def set_dropout_on(net):
    net.modules[1].p = 0.7


def set_activation(net):
    net.modules[net.modules.index(next(m for m in net.modules if isinstance(m, nn.Tanh)))] = (
        nn.ReLU()
    )


def set_modules(net):
    net.modules = [nn.ReLU() if isinstance(m, nn.Tanh) else m for m in net.modules]


def set_loss(net):
    net.loss = Steeper()


def set_weights(net):
    net.modules[0].W = net.modules[0].W * 0.5


def set_layer(net):
    net.modules[0] = copy.deepcopy(net.modules[0])
    net.modules[0].W *= 0.5


def patch_module(net):
    net.modules[0].backward = lambda dLdZ: nn.Linear.backward(net.modules[0], 2 * dLdZ)


def set_state(net):
    for key, arrays in net.optimizer.state.items():
        net.optimizer.state[key] = tuple(np.ones_like(a) for a in arrays)


def set_steps(net):
    net.optimizer.t = 0


CHANGES = {
    "beta": (set_beta, {}),
    "eps": (set_eps, {}),
    "decay": (set_decay, {}),
    "norm": (set_norm, {"norm": True}),
    "dropout off": (set_dropout, {"dropout": True}),
    "dropout": (set_dropout_on, {"dropout": True}),
    "activation": (set_activation, {}),
    "modules": (set_modules, {}),
    "loss": (set_loss, {}),
    "weights": (set_weights, {}),
    "layer": (set_layer, {}),
    "patch": (patch_module, {}),
    "state": (set_state, {}),
    "steps": (set_steps, {}),
}


def fitted(change, options, how, backend, dtype):
    """Weights after four epochs, with the change after the second one, made by `how`."""
    with nn.use_backend(backend):
        net = make(dtype=dtype, **options)
        calls = []

        def once(net, at):
            calls.append(1)
            if change is not None and len(calls) == at:
                change(net)

        # Adam would blow up the rounding of the gradient of a bias before a BatchNorm, which is 0
        optimizer = Momentum() if "norm" in options else AdamW(weight_decay=0.1)
        arguments = dict(epochs=4, batch_size=8, optimizer=optimizer, seed=3, l2=0.01, lrate=0.02)
        if how == "callback":
            net.fit(X, Y, **arguments, callbacks=lambda net, history: once(net, 2))
        else:
            net.fit(X, Y, **arguments | {"lrate": lambda t: once(net, 7) or 0.02})
        return weights(net)


@pytest.mark.parametrize("how", ["callback", "rate"])
@pytest.mark.parametrize("what", CHANGES)
def test_changes_during_fit(what, how, dtype):
    change, options = CHANGES[what]
    compiled, reference = (
        fitted(change, options, how, backend, dtype) for backend in ("compiled", "numpy")
    )
    assert same(compiled, reference, 1e-9 if dtype == np.float64 else 1e-3)
    unchanged = fitted(None, options, how, "compiled", dtype)
    assert len(unchanged) != len(compiled) or not same(
        compiled, unchanged, 1e-6 if dtype == np.float64 else 1e-4
    )


COURSE = {
    "sgd": lambda net, rate: net.sgd(X, Y, 60, rate),
    "mini_gd": lambda net, rate: net.mini_gd(X, Y, 60, rate, K=5),
}


class Changing(nn.schedules.Schedule):
    """A schedule that changes the network at its first call, which asks for one step or for
    many."""

    def __init__(self, change):
        self.change = change

    def values(self, t0, count):
        change, self.change = self.change, lambda: None
        change()
        return np.full(count, 0.02)


def trained(change, options, method, kind, backend, dtype):
    """Weights after 60 steps of the course's loops, with a change made by the rate."""
    asked = []
    with nn.use_backend(backend):
        net = make(dtype=dtype, **options)

        def rate(t):
            asked.append(t)
            if t == 31:
                change(net)
            return 0.02

        np.random.seed(9)
        COURSE[method](net, rate if kind == "function" else Changing(lambda: change(net)))
    assert asked == (list(range(1, 61)) if kind == "function" else [])
    return weights(net)


@pytest.mark.parametrize("kind", ["function", "schedule"])
@pytest.mark.parametrize("method", COURSE)
@pytest.mark.parametrize(
    "what",
    [
        "norm",
        "dropout off",
        "dropout",
        "activation",
        "modules",
        "loss",
        "weights",
        "layer",
        "patch",
    ],
)
def test_changes_by_a_rate_during_the_courses_loops(what, method, kind, dtype):
    change, options = CHANGES[what]
    if what == "norm" and method == "sgd":
        pytest.skip("one sample, normalised by itself, gives B whatever eps is")
    compiled, reference = (
        trained(change, options, method, kind, backend, dtype) for backend in ("compiled", "numpy")
    )
    assert same(compiled, reference, 1e-9 if dtype == np.float64 else 2e-3)
    unchanged = trained(lambda net: None, options, method, kind, "compiled", dtype)
    assert len(unchanged) != len(compiled) or not same(
        compiled, unchanged, 1e-6 if dtype == np.float64 else 1e-4
    )


@pytest.mark.parametrize("norm, dropout", [(False, True), (True, False)])
@pytest.mark.parametrize("method", ["sgd", "mini_gd", "fit", "fit, rate"])
def test_eval_during_a_training_counts_after_it(backend, method, norm, dropout):
    """The training methods always train; the mode that Python code sets is that of forward."""

    def train(change):
        net = make(norm=norm, dropout=dropout)

        def rate(t):
            change(net)
            return 0.02

        if method in COURSE:
            np.random.seed(9)
            COURSE[method](net, rate)
        elif method == "fit":
            net.fit(X, Y, 4, 8, lrate=0.02, seed=3, callbacks=lambda net, history: change(net))
        else:
            net.fit(X, Y, 4, 8, lrate=rate, seed=3)
        return net

    net = train(lambda net: net.eval() and None)
    assert not net.training and not net.modules[1].training
    for a, b in zip(weights(net), weights(train(lambda net: None)), strict=True):
        np.testing.assert_array_equal(a, b)


class Restless(nn.schedules.Schedule):
    """A schedule that changes the network at each call."""

    def __init__(self, rate):
        self.rate = rate

    def values(self, t0, count):
        return np.full(count, self.rate(t0))


def restless(backend):
    net = make()

    def rate(t):
        net.modules[1] = nn.Tanh()
        if net.optimizer is not None:
            net.optimizer.beta1 = 0.9 / t
        return 0.05

    with nn.use_backend(backend):
        for eta in (rate, Restless(rate)):
            np.random.seed(0)
            net.sgd(X, Y, 12, eta)
            net.mini_gd(X, Y, 12, eta, K=5)
            net.fit(X, Y, epochs=2, batch_size=6, lrate=eta, optimizer="adam", seed=0)
    return weights(net)


def test_a_rate_that_changes_the_network_at_each_step():
    assert same(restless("compiled"), restless("numpy"))


def test_what_a_change_makes_wrong_is_refused(backend):
    def breaks(net, history):
        net.modules[0] = nn.Linear(6, 7)

    net = make()
    with pytest.raises(ValueError, match=r"X must have shape \(6, N\)"):
        net.fit(X, Y, epochs=3, callbacks=breaks)

    def spoils(net, history):
        net.optimizer.beta1 = 2.0

    net = make()
    with pytest.raises(ValueError, match="beta1 must be at least 0 and below 1, got 2.0"):
        net.fit(X, Y, epochs=3, callbacks=spoils, optimizer="adam")


# ----------------------------------------------------------------------------------------- counters


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
def test_counters_are_true_whenever_python_looks(backend, optimizer):
    net, seen = make(dropout=True), []

    def rate(t):
        seen.append((t, net.optimizer.t, net.modules[1].count))
        return 0.01

    net.fit(
        X,
        Y,
        epochs=2,
        batch_size=8,
        lrate=rate,
        optimizer=optimizer(),
        seed=0,
        callbacks=lambda net, history: seen.append(
            (len(history["loss"]), net.optimizer.t, net.modules[1].count)
        ),
    )
    assert seen == [
        (1, 0, 0),
        (2, 1, 1),
        (3, 2, 2),
        (1, 3, 3),
        (4, 3, 3),
        (5, 4, 4),
        (6, 5, 5),
        (2, 6, 6),
    ]
    net, seen = make(dropout=True), []
    net.sgd(X, Y, 6, lambda t: seen.append((t, net.modules[1].count)) or 0.01)
    net.mini_gd(X, Y, 6, lambda t: seen.append((t, net.modules[1].count)) or 0.01, K=4)
    assert seen == [(t, t - 1) for t in range(1, 7)] + [(t, t + 5) for t in range(1, 7)]


def test_counters_are_true_for_a_schedule_and_after_a_refused_rate(backend):
    net, seen = make(dropout=True), []

    class Values(nn.schedules.Schedule):
        def values(self, t0, count):
            seen.append((t0, net.optimizer.t, net.modules[1].count))
            return np.where(np.arange(t0, t0 + count) < 5, 0.01, -1.0)

    with pytest.raises(ValueError, match="lrate must be finite and at least 0, got -1.0 at step 5"):
        net.fit(X, Y, epochs=2, batch_size=8, lrate=Values(), optimizer="adam", seed=0)
    assert (
        net.optimizer.t == 4
        and net.modules[1].count == 4
        and all(t == before + 1 == count + 1 for t, before, count in seen)
    )


@pytest.mark.parametrize("where", ["rate", "callback"])
def test_a_checkpoint_saved_in_between_resumes_exactly(where, tmp_path):
    order = np.tile(np.arange(N), 3)
    net, path = make(dropout=True, norm=False), tmp_path / "model.npz"

    def rate(t):
        if where == "rate" and t == 5:
            net.save(path)
        return 0.05

    net.fit(
        X[:, order],
        Y[:, order],
        batch_size=8,
        shuffle=False,
        optimizer="adam",
        lrate=rate,
        callbacks=lambda net, history: net.save(path) if where == "callback" else None,
    )
    again = nn.load(path)
    if where == "rate":
        assert again.optimizer.t == 4
        again.fit(
            X[:, order[32:]],
            Y[:, order[32:]],
            batch_size=8,
            shuffle=False,
            optimizer=again.optimizer,
            lrate=lambda t: 0.05,
        )
    assert all(map(np.array_equal, weights(net), weights(again)))


# -------------------------------------------------------------------------------------------- rates


@pytest.mark.parametrize("eta", [np.nan, np.inf, -0.1, -np.inf])
@pytest.mark.parametrize("method", ["sgd", "mini_gd", "fit", "partial_fit"])
def test_a_rate_that_is_no_step_size(backend, method, eta):
    def call(net, rate):
        if method in COURSE:
            return COURSE[method](net, rate)
        return getattr(net, method)(
            X, Y, batch_size=3, lrate=rate, **({"shuffle": False} if method == "fit" else {})
        )

    net = make()
    before, state = [w.copy() for w in weights(net)], np.random.get_state()[1].copy()
    with pytest.raises(ValueError, match="lrate must be finite and at least 0, got"):
        call(net, eta)
    assert (
        all(map(np.array_equal, before, weights(net))) and (np.random.get_state()[1] == state).all()
    )

    class Values(nn.schedules.Schedule):
        def values(self, t0, count):
            return np.where(np.arange(t0, t0 + count) < 6, 0.05, eta)

    for rate in (lambda t: 0.05 if t < 6 else eta, Values()):
        net, twin = make(), make()
        np.random.seed(5)
        with pytest.raises(ValueError, match="got .* at step 6"):
            call(net, rate)
        after = np.random.get_state()
        np.random.seed(5)
        if method in COURSE:
            twin.sgd(X, Y, 5, 0.05) if method == "sgd" else twin.mini_gd(X, Y, 5, 0.05, K=5)
        else:
            twin.partial_fit(X[:, :15], Y[:, :15], batch_size=3, lrate=0.05)
        assert same(weights(net), weights(twin), 1e-12)
        if method == "sgd":
            assert (
                after[2] == np.random.get_state()[2]
                and (after[1] == np.random.get_state()[1]).all()
            )


@pytest.mark.parametrize(
    "make_bad",
    [
        lambda: nn.schedules.Constant(-1),
        lambda: nn.schedules.Step(0.1, 3, -0.5),
        lambda: nn.schedules.InverseTime(np.inf, 1),
        lambda: nn.schedules.Cosine(0.1, 5, -0.1),
        lambda: nn.schedules.Power(0.1, np.nan),
    ],
)
def test_schedules_that_are_no_step_sizes_cannot_be_made(make_bad):
    with pytest.raises(ValueError, match="must be finite"):
        make_bad()


# -------------------------------------------------------------------------- optimizers and networks


@pytest.mark.parametrize("optimizer", [SGD, Momentum, RMSprop, Adam])
def test_a_used_optimizer_belongs_to_its_network(backend, optimizer):
    net, other, used = make(), make(seed=1), optimizer()
    net.fit(X, Y, optimizer=used)
    before = [w.copy() for w in weights(other)]
    for call in (other.fit, other.partial_fit):
        with pytest.raises(
            ValueError,
            match=(
                r"optimizer must be new or belong to this network, got .* after 1 steps on another"
            ),
        ):
            call(X, Y, optimizer=used)
    assert (
        all(map(np.array_equal, before, weights(other))) and other.optimizer is None and used.t == 1
    )
    net.fit(X, Y, optimizer="momentum")
    net.fit(X, Y, optimizer=used)  # back to the first one
    nn.Sequential(net.modules, nn.NLL()).fit(X, Y, optimizer=used)  # the same modules
    twin = copy.deepcopy(net)
    twin.fit(X, Y, optimizer=twin.optimizer)
    assert used.t == 3 and twin.optimizer.t == 4
    with pytest.raises(ValueError, match="optimizer must be new"):
        other.fit(X, Y, optimizer=twin.optimizer)
    del net, twin
    with pytest.raises(ValueError, match="optimizer must be new"):  # also when the network is gone
        other.fit(X, Y, optimizer=used)
    other.fit(X, Y, optimizer=used.reset())
    assert used.t == 1


# ------------------------------------------------------------------------------ masks, tensors, NaN


def test_masked_arrays_are_refused_where_a_mask_is_set(backend):
    net, masked = make(), np.ma.masked_equal(X, X[2, 0])
    before = [w.copy() for w in weights(net)]
    for call in (
        lambda: net.fit(masked, Y),
        lambda: net.sgd(masked, Y),
        lambda: net.partial_fit(X, np.ma.masked_equal(Y, 0)),
        lambda: net.predict(masked),
        lambda: net.predict_proba(masked[:, :1]),
        lambda: net.evaluate(masked, Y),
        lambda: net.forward(masked),
        lambda: net.predictor()(masked),
        lambda: net.predictor()(masked[:, 0]),
        lambda: nn.kernels.tanh_forward(masked),
        lambda: net.fit(X, Y, validation=(masked, Y)),
    ):
        with pytest.raises(TypeError, match="must not be masked, got a masked array with"):
            call()
    assert all(map(np.array_equal, before, weights(net)))
    whole = np.ma.masked_array(X)
    assert np.array_equal(net.predict(whole), net.predict(X)) and net.fit(whole, Y)
    net.modules[0].W = np.ma.masked_less(net.modules[0].W, 0)
    with pytest.raises(TypeError, match="W must not be masked"):
        net.sgd(X, Y)


class Tensor:
    """What other libraries' arrays have in common."""

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_a_tensor_as_weights_is_refused_not_copied(backend):
    net = make()
    net.modules[0].W = tensor = Tensor(net.modules[0].W)
    for call in (
        lambda: net.sgd(X, Y),
        lambda: net.fit(X, Y),
        lambda: net.mini_gd(X, Y, 5, 0.1),
        lambda: net.partial_fit(X, Y),
    ):
        with pytest.raises(
            TypeError, match="W must be a NumPy array to be trained in place, got Tensor"
        ):
            call()
    assert net.modules[0].W is tensor
    net.modules[0].W = np.asarray(tensor)
    net.sgd(X, Y, 5)
    assert net.modules[0].W is tensor.array


@pytest.mark.parametrize("columns", [1, 40, 3000])
@pytest.mark.parametrize(
    "unit",
    [
        (nn.SoftMax, nn.NLL, 3),
        (nn.OutputSigmoid, nn.BinaryNLL, 1),
        (nn.OutputSigmoid, nn.BinaryNLL, 4),
        (None, nn.Hinge, 2),
    ],
)
def test_samples_that_are_nan_have_no_class(backend, unit, columns, dtype):
    output, loss, n = unit
    np.random.seed(0)
    net = nn.Sequential(
        [
            nn.Linear(5, 9, dtype=dtype),
            nn.ReLU(),
            nn.Linear(9, n, dtype=dtype),
            *([output()] if output else []),
        ],
        loss(),
    )
    X = np.random.normal(size=(5, columns)).astype(dtype)
    labels = np.atleast_2d(net.predict(X))
    Y = np.eye(3)[:, labels[0]] if loss is nn.NLL else labels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert net.score(X, Y) == 1
    X[2, 0] = np.nan
    with pytest.warns(RuntimeWarning, match=f"outputs of 1 of {columns} samples are NaN") as caught:
        P = net.predict_proba(X)
    assert np.isnan(P[:, 0]).all() and not np.isnan(P[:, 1:]).any() and len(caught) == 1
    for call in (net.predict, lambda X: net.score(X, Y), lambda X: net.evaluate(X, Y)):
        with pytest.warns(
            RuntimeWarning, match=f"outputs of 1 of {columns} samples are NaN"
        ) as caught:
            given = call(X)
        assert len(caught) == 1
    assert given[1] == pytest.approx(1 - 1 / columns, abs=1e-12) and np.isnan(given[0])


# --------------------------------------------------------------------------------------- the oracle


@pytest.mark.parametrize("scale", [1, 800, 1e4])
def test_the_reference_takes_its_losses_from_logits(scale):
    ref = nn.reference
    for library in (nn, ref):
        net = library.Sequential(
            [library.Linear(1, 1), library.OutputSigmoid()], library.BinaryNLL()
        )
        net.modules[0].W[:] = scale
        assert net.evaluate(np.ones((1, 1)), np.zeros((1, 1)))[0] == pytest.approx(
            np.logaddexp(0, scale), rel=1e-15
        )
        net.fit(np.ones((1, 1)), np.zeros((1, 1)), lrate=0.1)
        net = library.Sequential([library.Linear(1, 2), library.SoftMax()], library.NLL())
        net.modules[0].W[:] = [[0, scale]]
        assert net.evaluate(np.ones((1, 1)), np.array([[1.0], [0.0]]))[0] == pytest.approx(
            np.logaddexp(0, scale), rel=1e-15
        )
        net.fit(np.ones((1, 1)), np.array([[1.0], [0.0]]), lrate=0.1)


# -------------------------------------------------------------------------------------------- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_does_not_train_on_what_the_parent_was_reading():
    """A fork in the middle of another thread's fit: the child changes X in place and trains the
    same network, by its cache's program."""
    rng = np.random.default_rng(0)
    X = np.ascontiguousarray(rng.normal(size=(20, 4000)))  # C-ordered: transposed once for a call
    Y = X[:1] * 3
    net = nn.Sequential([nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 1)], nn.Squared())
    net.fit(X, Y, lrate=1e-3)
    assert fit._engine_cache.get(net) is not None
    thread = threading.Thread(
        target=lambda: net.fit(
            X, Y, epochs=3000, batch_size=4000, lrate=1e-3, callbacks=lambda *_: stop.is_set()
        )
    )
    stop = threading.Event()
    thread.start()
    time.sleep(0.05)
    child = os.fork()
    if child == 0:
        try:
            Y[:] = 1
            loss = [net.fit(X, Y, epochs=5, lrate=0.05, seed=0)["loss"][-1]][0]
            os._exit(0 if fit._engine_cache.get(net) is not None and loss < 0.5 else 1)
        finally:
            os._exit(2)
    stop.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
