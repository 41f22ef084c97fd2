"""Optimizers: against forms of their own in this file and PyTorch's, on both backends, both ways of
running and every level."""

import copy
import itertools
import pickle
import threading

import numpy as np
import pytest
from support import SIZES, TOLERANCE, assert_close, guarded, guards_whole, shared
from test_training import by_modules, data, make, same, weights

import nncore as nn
from nncore import optimizers, registry
from nncore.kernels import compiled, numpy_kernels

NAMES = tuple(registry.OPTIMIZERS)
OBJECTS = {name: record.cls() for name, record in registry.OPTIMIZERS.items()} | {
    "momentum": optimizers.Momentum(0.8),
    "nesterov": optimizers.Nesterov(0.7),
    "adagrad": optimizers.Adagrad(eps=1e-6),
    "rmsprop": optimizers.RMSprop(rho=0.95, eps=1e-6),
    "adam": optimizers.Adam(beta1=0.8, beta2=0.99, eps=1e-6),
    "adamw": optimizers.AdamW(beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=0.05),
}


class Plain:
    """The optimizers as sums over the whole past, one entry at a time: nothing is shared with the
    code under test."""

    def __init__(self, optimizer):
        self.o, self.past = optimizer, {}

    def step(self, key, w, g, rate):
        past = self.past.setdefault(key, [])
        past.append(np.array(g, np.float64))
        name, o, t = type(self.o).__name__, self.o, len(past)
        ages = [(t - 1 - i, x) for i, x in enumerate(past)]
        if name == "SGD":
            return w - rate * g
        if name in ("Momentum", "Nesterov"):
            v = sum(o.beta**a * x for a, x in ages)
            return w - rate * (v if name == "Momentum" else g + o.beta * v)
        if name == "Adagrad":
            return w - rate * g / (np.sqrt(sum(x * x for _, x in ages)) + o.eps)
        if name == "RMSprop":
            return w - rate * g / (
                np.sqrt(sum((1 - o.rho) * o.rho**a * x * x for a, x in ages)) + o.eps
            )
        assert name in ("Adam", "AdamW"), f"Plain.step needs the definition of {name}"
        m = sum((1 - o.beta1) * o.beta1**a * x for a, x in ages) / (1 - o.beta1**t)
        v = sum((1 - o.beta2) * o.beta2**a * x * x for a, x in ages) / (1 - o.beta2**t)
        return w * (1 - rate * getattr(o, "weight_decay", 0)) - rate * m / (np.sqrt(v) + o.eps)


# ------------------------------------------------------------------------------------------ kernels


def apply(kernels, optimizer, W, g, state, t, rate):
    optimizer.t, optimizer.state = t, {"w": state}
    optimizer.step(kernels, "w", W, g, rate)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_follow_the_definitions(name, kernels, isa, dtype):
    """Five steps of every size, with poison around the arrays."""
    rng = np.random.default_rng(0)
    for n in SIZES:
        o, plain = copy.copy(OBJECTS[name]), Plain(OBJECTS[name])
        W, *state = (guarded((1, n), dtype) for _ in range(1 + len(o.STATE)))
        W[...], wanted = rng.normal(size=(1, n)), None
        for array in state:
            array[...] = 0
        wanted = W.astype(np.float64)
        for t in range(1, 6):
            g = rng.normal(size=(1, n)).astype(dtype)
            apply(kernels, o, W, g, tuple(state), t, 0.1)
            wanted = plain.step("w", wanted, g, 0.1)
        assert all(guards_whole(a) for a in (W, *state))
        if n:
            error = np.abs(W - wanted).max() / np.abs(wanted).max()
            assert error <= 5 * TOLERANCE[np.dtype(dtype)], f"n={n}: {error:.3g}"


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_weight_stays_infinite(name, kernels, isa, dtype):
    """What is not penalised adds no 0 times infinity to its gradient."""
    for n in (1, 5, 64):
        o = copy.copy(OBJECTS[name])
        W = np.ones((1, n), dtype)
        W[0, -1] = -np.inf
        apply(
            kernels, o, W, np.ones((1, n)), tuple(np.zeros((1, n), dtype) for _ in o.STATE), 1, 0.1
        )
        assert W[0, -1] == -np.inf and np.isfinite(W[0, :-1]).all()


@pytest.mark.parametrize("name", NAMES[1:])
def test_kernels_take_any_layout(name, isa, dtype):
    rng = np.random.default_rng(1)
    kinds = {
        "C": np.ascontiguousarray,
        "F": np.asfortranarray,
        "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
        "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    }
    o = copy.copy(OBJECTS[name])
    W, g, *state = (np.abs(rng.normal(size=(7, 19))).astype(dtype) for _ in range(2 + len(o.STATE)))
    expected = [a.copy() for a in (W, *state)]
    apply(numpy_kernels, o, expected[0], g, tuple(expected[1:]), 3, 0.1)
    for of_w in kinds.values():
        for of_state in kinds.values():
            for of_g in (*kinds.values(), lambda a: a.astype(np.float64), lambda a: a.tolist()):
                given = [of_w(W.copy()), *(of_state(a.copy()) for a in state)]
                apply(compiled, o, given[0], of_g(g), tuple(given[1:]), 3, 0.1)
                for a, b in zip(given, expected, strict=True):
                    assert_close(np.ascontiguousarray(a), b, name)


def test_kernels_refuse(kernels):
    W, g, V = np.ones((2, 3)), np.ones((2, 3)), np.zeros((2, 3))
    step = kernels.momentum_step
    locked = V.copy()
    locked.flags.writeable = False
    for arguments, error, message in [
        ((W, g[:, :2], V, 0.1, 0.9), ValueError, "dLdW must have shape"),
        ((W, g, V[:1], 0.1, 0.9), ValueError, "V must have shape"),
        (
            (W, g, V.astype(np.float32), 0.1, 0.9),
            TypeError,
            "V must be float64 as W is, got float32",
        ),
        ((W, g, W, 0.1, 0.9), ValueError, "V must not share memory"),
        ((W, g, locked, 0.1, 0.9), ValueError, "V must be writeable"),
        ((W.astype(int), g, V, 0.1, 0.9), TypeError, "W must be float32 or float64"),
        ((W.tolist(), g, V, 0.1, 0.9), TypeError, "W must be"),
        ((W, g, V, "fast", 0.9), TypeError, "lrate must be a real number"),
        ((W, g, V, 0.1, None), TypeError, "beta must be a real"),
    ]:
        with pytest.raises(error, match=message):
            step(*arguments)
    with pytest.raises(ValueError, match="t must be at least 1, got 0"):
        kernels.adam_step(W, g, V, V.copy(), 0, 0.1, 0.9, 0.9, 1e-8)
    with pytest.raises(ValueError, match="V must not share memory"):
        kernels.adam_step(W, g, V, V, 1, 0.1, 0.9, 0.9, 1e-8)
    assert (W == 1).all() and (V == 0).all()
    step(W, W, V, 0.5, 0.9)  # the gradient may be the weights themselves
    assert (W == 0.5).all() and (V == 1).all()


# ----------------------------------------------------------------------------------------- networks


def descend(net, X, Y, optimizer, batch_size, rate, l2, reduction, epochs=1):
    """fit without a shuffle, written out with the modules' own backward; returns the mean objective
    of each epoch."""
    plain, history, n = Plain(optimizer), [], X.shape[1]
    for _ in range(epochs):
        total = 0.0
        for at in range(0, n, batch_size):
            x, y = X[:, at : at + batch_size], Y[:, at : at + batch_size]
            b = x.shape[1]
            loss = net.loss.forward(net.forward(x), y)
            net.backward(net.loss.backward() / (b if reduction == "mean" else 1))
            linears = [(i, m) for i, m in enumerate(net.modules) if isinstance(m, nn.Linear)]
            penalty = l2 / 2 * sum((m.W.astype(float) ** 2).sum() for _, m in linears)
            total += loss + penalty * (b if reduction == "mean" else 1)
            for i, m in linears:
                m.W, m.W0 = (
                    plain.step((i, key), w, g, rate).astype(w.dtype)
                    for key, w, g in (("W", m.W, m.dLdW + l2 * m.W), ("W0", m.W0, m.dLdW0))
                )
        history.append(total / n)
    return history


CHAINS = {"program": make, "modules": lambda **options: by_modules(make(**options))}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_fit_follows_the_definitions(backend, name, chain, l2):
    for batch_size in (1, 5, 23):
        for reduction in ("mean", "sum"):
            net, wanted, (X, Y) = CHAINS[chain](), make(), data()
            o = copy.deepcopy(OBJECTS[name])
            got = net.fit(
                X,
                Y,
                epochs=2,
                batch_size=batch_size,
                shuffle=False,
                lrate=0.02,
                optimizer=o,
                l2=l2,
                reduction=reduction,
            )
            history = descend(wanted, X, Y, o, batch_size, 0.02, l2, reduction, 2)
            same([np.array(got["loss"])], [np.array(history)], 1e-9)
            same(weights(net), weights(wanted), 1e-9)
            assert net.optimizer is o and o.t == 2 * -(-23 // batch_size)


LOSSES = {
    "nll": (nn.SoftMax, nn.NLL),
    "binary": (nn.OutputSigmoid, nn.BinaryNLL),
    "squared": (None, nn.Squared),
    "hinge": (None, nn.Hinge),
}


def network(activation, loss, dtype, dims=(9, 17, 6), seed=0):
    np.random.seed(seed)
    output, loss = LOSSES[loss]
    chain = [
        nn.Linear(dims[0], dims[1], dtype=dtype),
        activation(),
        nn.Linear(dims[1], dims[2], dtype=dtype),
    ]
    return nn.Sequential(chain + ([output()] if output else []), loss())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.Sigmoid], ids=lambda a: a.__name__)
def test_one_step_is_the_same_on_both_backends(name, loss, activation, isa, dtype):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(9, 12)).astype(dtype)
    Y = np.eye(6)[:, rng.integers(6, size=12)].astype(dtype)
    Y = 2 * Y - 1 if loss == "hinge" else Y
    for batch in (1, 12):
        nets = []
        for backend in ("compiled", "numpy"):
            with nn.use_backend(backend):
                net = network(activation, loss, dtype)
                o = copy.deepcopy(OBJECTS[name])
                if hasattr(o, "eps"):
                    # g / (|g| + eps) of a small eps magnifies the rounding of a gradient that
                    # cancels
                    o.eps = 0.1
                value = net.fit(
                    X[:, :batch],
                    Y[:, :batch],
                    batch_size=12,
                    lrate=0.05,
                    optimizer=o,
                    l2=0.1,
                    seed=0,
                )["loss"]
                nets.append(
                    (np.array(value, dtype), weights(net), [a for s in o.state.values() for a in s])
                )
        assert_close(nets[0][0], nets[1][0], "loss")
        for part in (1, 2):
            for a, b in zip(nets[0][part], nets[1][part], strict=True):
                assert_close(a, b, f"{name} part {part}")


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_threads_gives_the_same_bits(name):
    rng = np.random.default_rng(0)
    X, Y = (
        rng.normal(size=(300, 960)),
        np.eye(10)[:, rng.integers(10, size=960)],
    )  # a batch is enough for a parallel region

    def run():
        net = make((300, 200, 10))
        history = net.fit(X, Y, epochs=2, batch_size=480, optimizer=name, l2=0.01, seed=0)
        return [history, *(w.tobytes() for w in weights(net))]

    alone = shared(1, run)
    assert shared(2, run) == alone and shared(3, run) == alone


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray], ids=["C", "F"])
def test_weights_of_megabytes(name, layout):
    """Trained in the user's memory; the last batch is of one sample."""
    dims, rng = (700, 900, 3), np.random.default_rng(0)
    X, Y = rng.normal(size=(700, 33)), np.eye(3)[:, rng.integers(3, size=33)]
    net, wanted = make(dims), make(dims)
    net.modules[0].W = layout(net.modules[0].W)
    o = copy.deepcopy(OBJECTS[name])
    net.fit(X, Y, batch_size=16, shuffle=False, lrate=0.01, optimizer=o, l2=0.01)
    descend(wanted, X, Y, o, 16, 0.01, 0.01, "mean")
    same(weights(net), weights(wanted), 1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chain", CHAINS)
def test_continuing_is_the_same_as_not_stopping(backend, name, chain, tmp_path):
    """By the object, through a copy, and through partial_fit."""
    X, Y = data()
    whole, parts, pieces = CHAINS[chain](), CHAINS[chain](), CHAINS[chain]()
    whole.fit(X, Y, epochs=4, batch_size=5, shuffle=False, lrate=0.03, optimizer=name)
    parts.fit(X, Y, epochs=3, batch_size=5, shuffle=False, lrate=0.03, optimizer=name)
    parts = pickle.loads(pickle.dumps(parts)) if chain == "program" else copy.deepcopy(parts)
    parts.fit(X, Y, epochs=1, batch_size=5, shuffle=False, lrate=0.03, optimizer=parts.optimizer)
    for _ in range(4):
        pieces.partial_fit(X, Y, batch_size=5, lrate=0.03, optimizer=name)
    for net in (parts, pieces):
        same(weights(whole), weights(net))
        assert net.optimizer.t == whole.optimizer.t == 20


@pytest.mark.parametrize("name", NAMES)
def test_saved_state_resumes(tmp_path, backend, name):
    X, Y = data()
    whole, first = make(), make()
    whole.fit(X, Y, epochs=6, batch_size=5, shuffle=False, optimizer=copy.deepcopy(OBJECTS[name]))
    first.fit(X, Y, epochs=3, batch_size=5, shuffle=False, optimizer=copy.deepcopy(OBJECTS[name]))
    first.save(tmp_path / "m.npz")
    again = nn.load(tmp_path / "m.npz")
    assert (
        type(again.optimizer) is type(OBJECTS[name])
        and again.optimizer.parameters == OBJECTS[name].parameters
    )
    assert again.optimizer.t == 15
    again.fit(X, Y, epochs=3, batch_size=5, shuffle=False, optimizer=again.optimizer)
    same(weights(whole), weights(again))


# ------------------------------------------------------------- what is refused, and what interrupts


class Stepping(nn.Linear):
    def step(self, lrate):
        self.W -= lrate * self.dLdW


def test_refused(backend):
    X, Y = data()
    stepping = make()
    stepping.modules[0] = Stepping(5, 7)
    other = optimizers.Adam()
    make((5, 4, 3)).fit(X, Y, optimizer=other)
    for net, arguments, error, message in [
        (make(), {"optimizer": "adamx"}, ValueError, "optimizer must be one of 'sgd', 'momentum'"),
        (
            make(),
            {"optimizer": optimizers.Adam},
            TypeError,
            r"optimizer must be one of .* or its name, got the class Adam; write Adam\(\)",
        ),
        (
            make(),
            {"optimizer": other},
            ValueError,
            r"must be new or belong to this network, got Adam\(.*\) after 1 steps on another",
        ),
        (make(), {"l2": -1}, ValueError, "l2 must be finite and at least 0"),
        (make(), {"l2": "much"}, TypeError, "l2 must be a real"),
        (make(), {"l2": np.inf}, ValueError, "l2 must be finite"),
        (
            stepping,
            {"optimizer": "adam"},
            TypeError,
            r"modules\[0\] must name its gradients, .* by Adam, got Stepping",
        ),
        (stepping, {"l2": 0.1}, TypeError, "trained by a penalty .l2., got Stepping"),
    ]:
        before = weights(net)
        with pytest.raises(error, match=message):
            net.fit(X, Y, **arguments)
        assert all(map(np.array_equal, weights(net), before)) and net.optimizer is None
    stepping.fit(X, Y)
    for make_bad in (
        lambda: optimizers.Momentum(1.0),
        lambda: optimizers.Adam(beta2=-0.1),
        lambda: optimizers.RMSprop(rho="x"),
        lambda: optimizers.Adagrad(eps=0),
        lambda: optimizers.AdamW(weight_decay=-1),
    ):
        with pytest.raises((TypeError, ValueError), match="must be"):
            make_bad()


def test_users_modules_with_gradients_are_trained(backend):
    class Scale(nn.Module):
        gradients = {"W": "dW"}

        def __init__(self):
            self.W = np.ones((7, 1), int)

        def forward(self, A):
            self.A = A
            return self.W * A

        def backward(self, dLdZ):
            self.dW = (dLdZ * self.A).sum(axis=1, keepdims=True)
            return self.W * dLdZ

    X, Y = data()
    for name in NAMES:
        net, wanted = make(), make()
        net.modules.insert(1, Scale())
        wanted.modules.insert(1, Scale())
        wanted.modules[1].W = np.ones((7, 1))
        o = copy.deepcopy(OBJECTS[name])
        net.fit(X, Y, batch_size=23, shuffle=False, lrate=0.1, optimizer=o, l2=0.5)
        scale = wanted.modules[1]
        wanted.loss.forward(wanted.forward(X), Y)
        wanted.backward(wanted.loss.backward() / 23)
        same(
            [net.modules[1].W], [Plain(o).step("w", scale.W, scale.dW + 0.5 * scale.W, 0.1)], 1e-10
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("size", ["small", "large"])
def test_divergence_leaves_weights_and_state_of_the_last_finite_step(backend, name, chain, size):
    dims = (5, 7, 3) if size == "small" else (700, 800, 3)
    if size == "large" and (chain == "modules" or backend == "numpy"):
        pytest.skip("the size matters to the program only")
    net, twin, (X, Y) = CHAINS[chain](dims=dims), CHAINS[chain](dims=dims), data(dims)

    def rate(t):
        return 0.01 if t < 8 else 1e308

    with (
        pytest.raises(FloatingPointError, match="training diverged at step") as caught,
        np.errstate(all="ignore"),
    ):
        net.fit(X, Y, epochs=20, batch_size=4, shuffle=False, lrate=rate, optimizer=name, l2=1e-3)
    done = int(str(caught.value).split("step ")[1].split(":")[0]) - 1
    assert 7 <= done <= 9 and net.optimizer.t == done
    order = np.arange(23)
    for t in range(done):
        batch = order[t % 6 * 4 : t % 6 * 4 + 4]
        twin.partial_fit(
            X[:, batch], Y[:, batch], batch_size=4, lrate=rate(t + 1), optimizer=name, l2=1e-3
        )
    same(weights(net), weights(twin))
    for key, arrays in net.optimizer.state.items():
        same(arrays, twin.optimizer.state[key])


@pytest.mark.parametrize("batch", [1, 40])
@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("dims", [(3, 2), (300, 2), (70, 9000, 2)])
def test_a_penalty_that_overflows_is_divergence(backend, dims, name, batch, isa):
    """The loss that fit would return is infinite, although every weight and gradient is finite."""
    np.random.seed(0)
    net = nn.Sequential([nn.Linear(m, n) for m, n in itertools.pairwise(dims)], nn.Squared())
    X, Y = np.zeros((dims[0], 80)), np.zeros((dims[-1], 80))
    net.fit(X, Y, 1, batch, optimizer=name, l2=0.1, lrate=0.01)
    net.modules[0].W[1, 1] = 1e160
    before = [w.copy() for w in weights(net)]
    with pytest.raises(FloatingPointError, match="diverged at step 1:"):
        net.fit(X, Y, 1, batch, optimizer=net.optimizer, l2=0.1, lrate=0.01)
    assert all(map(np.array_equal, weights(net), before)) and net.optimizer.t == 80 // batch
    with net.learner(0.01, l2=0.1) as learn, pytest.raises(FloatingPointError):
        learn(X[:, 0], Y[:, 0])
    assert all(map(np.array_equal, weights(net), before))


@pytest.mark.parametrize("l2", [0, 1e-9])
@pytest.mark.parametrize(
    "dims, samples", [((3, 2), 2), ((3, 2), 64), ((4, 40, 2), 7), ((70, 9000, 2), 2)]
)
def test_losses_whose_sum_overflows_are_divergence(backend, samples, dims, l2, isa):
    """Each is finite, and so are all gradients, but not the batch's loss."""
    np.random.seed(0)
    chain = [nn.Linear(m, n) for m, n in itertools.pairwise(dims)]
    net = nn.Sequential([*chain, nn.SoftMax()], nn.NLL())
    chain[-1].W0[0] = 1.7e308
    before = [w.copy() for w in weights(net)]
    X, y = np.zeros((dims[0], samples)), np.ones(samples, np.int64)
    with pytest.raises(FloatingPointError, match="diverged at step 1:"):
        net.fit(X, y, 1, samples, l2=l2)
    assert all(map(np.array_equal, weights(net), before)) and net.optimizer.t == 0
    assert net.partial_fit(X[:, :1], y[:1]) == pytest.approx(1.7e308)


def test_float32_state_that_overflows_is_divergence():
    """Adagrad's sum of squares leaves float32 long before a gradient does."""
    for dims in ((2, 2), (1400, 1400)):
        net = nn.Sequential([nn.Linear(*dims, dtype=np.float32)], nn.Squared())
        before = weights(net)
        X, Y = np.full((dims[0], 3), 1e15, np.float32), np.full((dims[1], 3), 1e18, np.float32)
        with pytest.raises(FloatingPointError, match="step 1:"):
            net.fit(X, Y, optimizer="adagrad", batch_size=3)
        assert all(map(np.array_equal, weights(net), before)) and all(
            (a == 0).all() for s in net.optimizer.state.values() for a in s
        )


@pytest.mark.parametrize("column, l2", [(0, 0), (1402, 0), (1402, 1e-9)])
@pytest.mark.parametrize("optimizer", ["adagrad", "momentum"])
def test_an_overflow_in_one_column_of_large_weights_is_divergence(
    optimizer, column, l2, isa, dtype
):
    """In place, in a whole vector or in the part of one at a row's end (rows go one by one with a
    penalty): of Adagrad's state, which makes the step 0, or of a weight alone, by a large step."""
    size, large = (1e100, 1e150) if dtype == np.float64 else (1e15, 1e20)
    lrates = {"adagrad": 0.1, "momentum": large}
    net = nn.Sequential([nn.Linear(1400, 1403, dtype=dtype)], nn.Squared())
    net.modules[0].W[:] = 0
    X, Y = np.full((1400, 3), size, dtype), np.zeros((1403, 3), dtype)
    Y[column] = size
    with pytest.raises(FloatingPointError, match="step 1:"):
        net.fit(X, Y, optimizer=optimizer, batch_size=3, lrate=lrates[optimizer], l2=l2)
    state = [a for arrays in net.optimizer.state.values() for a in arrays]
    assert not any(a.any() for a in [*weights(net), *state])


def test_data_that_are_not_finite_change_nothing(backend):
    for chain in CHAINS.values():
        for column in (0, 22):
            net, (X, Y) = chain(), data()
            X = X.copy()
            X[1, column] = np.nan
            before, o = weights(net), optimizers.Adam()
            with pytest.raises(
                ValueError, match=f"X must be finite, got NaN or infinity in column {column}"
            ):
                net.fit(X, Y, epochs=3, batch_size=2, shuffle=False, optimizer=o)
            assert all(map(np.array_equal, weights(net), before)) and o.t == 0
            assert all((a == 0).all() for s in o.state.values() for a in s)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_refused_call_leaves_the_network_its_optimizer(backend, chain):
    """partial_fit continues it, and the one of the refused call is still new."""
    net, (X, Y) = CHAINS[chain](), data()
    net.partial_fit(X, Y, optimizer="adam")
    before, X_, fresh = net.optimizer, X.copy(), optimizers.RMSprop()
    X_[1, 22] = np.inf
    for call in (
        lambda o: net.fit(X_, Y, optimizer=o),
        lambda o: net.partial_fit(X_, Y, optimizer=o),
        lambda o: net.fit([(X_, Y)], optimizer=o),
    ):
        for o in (fresh, "momentum", "adam", before):
            with pytest.raises(ValueError, match="must be finite"):
                call(o)
            assert net.optimizer is before and (before.t, len(before.state)) == (1, 4)
    CHAINS[chain](dims=(9, 4, 2)).fit(np.ones((9, 3)), np.eye(2)[:, [0, 1, 1]], optimizer=fresh)
    net.partial_fit(X, Y)
    assert net.optimizer is before and before.t == 2


def test_data_that_are_not_finite_change_nothing_after_a_look_at_signals():
    """More steps than the program takes in its first millisecond, after which weights and state
    have been written back."""
    dims, rng = (64, 128, 10), np.random.default_rng(0)
    bad, labels = rng.normal(size=(64, 4400)), rng.integers(10, size=4400)
    bad[3, -1] = np.inf
    net, o = make(dims), optimizers.Adam()
    before = weights(net)
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity in column 4399"):
        net.fit(bad, labels, batch_size=2, shuffle=False, optimizer=o)
    assert all(map(np.array_equal, weights(net), before)) and o.t == 0
    assert all((a == 0).all() for s in o.state.values() for a in s)


@pytest.mark.parametrize("dims", [(20, 30, 3), (700, 900, 3)], ids=["small", "large"])
def test_ctrl_c_leaves_weights_and_state_of_one_whole_step(dims):
    """The interrupted pair is the one that as many steps without an interruption give."""
    import os
    import signal

    net, twin, (X, Y) = make(dims), make(dims), data(dims, 64)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            net.fit(
                X,
                Y,
                epochs=10**9,
                batch_size=64,
                shuffle=False,
                lrate=1e-4,
                optimizer="adam",
                l2=0.1,
            )
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    twin.fit(
        X,
        Y,
        epochs=net.optimizer.t,
        batch_size=64,
        shuffle=False,
        lrate=1e-4,
        optimizer="adam",
        l2=0.1,
    )
    same(weights(net), weights(twin), 1e-9)
    for key, arrays in net.optimizer.state.items():
        same(arrays, twin.optimizer.state[key], 1e-9)


# ------------------------------------------------------------------------------------------ PyTorch


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_agrees(backend, name):
    torch = pytest.importorskip("torch")
    o, rate = OBJECTS[name], 0.02
    net, (X, Y) = make(), data()
    mine = copy.deepcopy(net)
    layers = []
    for m in mine.modules[::2]:
        layer = torch.nn.Linear(m.m, m.n).double()
        layer.weight.data[...], layer.bias.data[...] = (
            torch.tensor(m.W.T.copy()),
            torch.tensor(m.W0[:, 0].copy()),
        )
        layers += [layer, torch.nn.Tanh()]
    theirs = torch.nn.Sequential(*layers[:-1])
    make_theirs = {
        "sgd": lambda p: torch.optim.SGD(p, rate),
        "momentum": lambda p: torch.optim.SGD(p, rate, momentum=o.beta),
        "nesterov": lambda p: torch.optim.SGD(p, rate, momentum=o.beta, nesterov=True),
        "adagrad": lambda p: torch.optim.Adagrad(p, rate, eps=o.eps),
        "rmsprop": lambda p: torch.optim.RMSprop(p, rate, alpha=o.rho, eps=o.eps),
        "adam": lambda p: torch.optim.Adam(p, rate, (o.beta1, o.beta2), o.eps),
        "adamw": lambda p: torch.optim.AdamW(p, rate, (o.beta1, o.beta2), o.eps, o.weight_decay),
    }
    optimizer = make_theirs[name](theirs.parameters())
    for _ in range(10):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            theirs(torch.tensor(X.T.copy())), torch.tensor(Y.argmax(0))
        ).backward()
        optimizer.step()
    mine.fit(X, Y, epochs=10, batch_size=23, shuffle=False, lrate=rate, optimizer=copy.deepcopy(o))
    wanted = [
        a
        for layer in theirs[::2]
        for a in (layer.weight.detach().numpy().T, layer.bias.detach().numpy()[:, None])
    ]
    same(weights(mine), wanted, 1e-11)
