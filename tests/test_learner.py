"""net.learner: the steps of partial_fit from Python, one sample or block per call."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import nncore as nn
from nncore.training import fit

LOSSES = {
    "nll": (nn.SoftMax, nn.NLL, 3),
    "binary": (nn.OutputSigmoid, nn.BinaryNLL, 2),
    "squared": (None, nn.Squared, 1),
    "hinge": (None, nn.Hinge, 1),
}
OPTIMIZERS = [None, "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"]
N = 40


def make(loss="nll", hidden=nn.Tanh, sizes=(5, 7), dtype=np.float64, extra=(), seed=0):
    np.random.seed(seed)
    unit, cls, n = LOSSES[loss]
    chain = []
    for m, k in zip(sizes, sizes[1:], strict=False):
        chain += [nn.Linear(m, k, dtype=dtype), hidden(), *(layer() for layer in extra)]
    chain += [nn.Linear(sizes[-1], n, dtype=dtype), *([unit()] if unit else [])]
    return nn.Sequential(chain, cls())


def samples(loss="nll", D=5, dtype=np.float64, seed=1):
    rng = np.random.default_rng(seed)
    X, n = rng.normal(size=(D, N)).astype(dtype), LOSSES[loss][2]
    Y = {
        "nll": np.eye(n)[:, rng.integers(n, size=N)],
        "binary": rng.integers(2, size=(n, N)),
        "squared": rng.normal(size=(n, N)),
        "hinge": 2.0 * rng.integers(2, size=(n, N)) - 1,
    }[loss].astype(dtype)
    return X, Y


def weights(net):
    return [
        getattr(m, name)
        for m in nn._chain.modules_of(net)
        for name in (*getattr(m, "gradients", ()), *getattr(m, "statistics_arrays", ()))
    ]


def state(net):
    return [a for arrays in net.optimizer.state.values() for a in arrays]


def same_path(twin):
    """Whether partial_fit takes the learner's path, whose bits the learner then gives."""
    kept = fit._engine_cache.get(twin)
    return kept is None or kept.program.last_plan["path"] == "minibatch"


def same_numbers(a, b, twin):
    if same_path(twin):
        return np.array_equal(a, b)
    tolerance = 1e-9 if np.result_type(a, np.float32) == np.float64 else 1e-4
    return np.allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max(initial=0))


def equal(net, twin):
    arrays = zip(weights(net) + state(net), weights(twin) + state(twin), strict=True)
    return net.optimizer.t == twin.optimizer.t and all(same_numbers(a, b, twin) for a, b in arrays)


def same_loss(loss, expected, twin):
    dtype = weights(twin)[0].dtype
    return same_numbers(dtype.type(loss), dtype.type(expected), twin) and (
        not same_path(twin) or loss == expected
    )


# -------------------------------------------------------------------------- the same as partial_fit


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_single_samples_give_the_bits_of_partial_fit(loss, optimizer, dtype):
    X, Y = samples(loss, dtype=dtype)
    net, twin = make(loss, dtype=dtype), make(loss, dtype=dtype)
    arguments = {"lrate": 0.05, "optimizer": optimizer, "l2": 0.01}
    with net.learner(**arguments) as learn:
        for i in range(N):
            loss_ = learn(X[:, i].copy(), Y[:, i].copy())
            expected = twin.partial_fit(X[:, i : i + 1], Y[:, i : i + 1], **arguments)
            assert same_loss(loss_, expected, twin)
            assert equal(net, twin)  # after every call
        assert learn.fast_calls == N


@pytest.mark.parametrize("hidden", [nn.ReLU, nn.Sigmoid, nn.LeakyReLU, nn.GELU, nn.SiLU])
@pytest.mark.parametrize(
    "sizes", [(2, 10), (4, 64, 64), (64, 32), (20, 17, 33), (100, 128), (3, 300)]
)
@pytest.mark.parametrize("loss", ["nll", "squared"])
def test_layers_of_every_width(sizes, hidden, loss, dtype, isa):
    X, Y = samples(loss, sizes[0], dtype)
    net, twin = (make(loss, hidden, sizes, dtype) for _ in range(2))
    with net.learner(0.01) as learn:
        for i in range(12):
            loss_ = learn(X[:, i].copy(), Y[:, i].copy())
            expected = twin.partial_fit(X[:, i : i + 1], Y[:, i : i + 1], lrate=0.01)
            assert same_loss(loss_, expected, twin)
        assert learn.fast_calls == 12
    assert equal(net, twin)


@pytest.mark.parametrize("optimizer", [None, "adam"])
@pytest.mark.parametrize("loss", LOSSES)
def test_blocks(loss, optimizer, dtype):
    X, Y = samples(loss, dtype=dtype)
    net, twin = make(loss, dtype=dtype), make(loss, dtype=dtype)
    exact = True
    with net.learner(0.05, optimizer) as learn:
        for first, size in ((0, 8), (8, 1), (9, 20), (29, 11)):
            block = slice(first, first + size)
            loss_ = learn(X[:, block], Y[:, block])
            expected = twin.partial_fit(X[:, block], Y[:, block], size, 0.05, optimizer)
            assert loss_ == expected or not exact and loss_ == pytest.approx(expected, rel=1e-4)
            loss_ = learn(X[:, first], Y[:, first])  # a block and a sample in turn
            expected = twin.partial_fit(
                X[:, first : first + 1], Y[:, first : first + 1], 1, 0.05, optimizer
            )
            exact = exact and same_path(twin)
            assert same_loss(loss_, expected, twin)
    assert equal(net, twin)


@pytest.mark.parametrize("kind", ["int", "numpy", "float", "array", "vector"])
@pytest.mark.parametrize("loss", ["nll", "binary", "squared", "hinge"])
def test_labels(loss, kind, dtype):
    unit, cls, n = LOSSES[loss]
    np.random.seed(0)
    nets = []
    for _ in range(2):
        np.random.seed(3)
        last = nn.Linear(7, 3 if loss == "nll" else 1, dtype=dtype)
        chain = [nn.Linear(5, 7, dtype=dtype), nn.Tanh(), last, *([unit()] if unit else [])]
        nets.append(nn.Sequential(chain, cls()))
    net, twin = nets
    values = {"nll": [0, 2, 1], "binary": [0, 1, 1], "squared": [3, -2, 0], "hinge": [1, -1, 1]}
    X, _ = samples(dtype=dtype)
    with net.learner(0.1) as learn:
        for i, value in enumerate(values[loss]):
            y = {
                "int": value,
                "numpy": np.int32(value),
                "float": float(value),
                "array": np.array([value]) if loss != "nll" else np.array(value),
                "vector": np.eye(3, dtype=np.int8)[value] if loss == "nll" else np.float32([value]),
            }[kind]
            loss_ = learn(X[:, i].copy(), y)
            expected = twin.partial_fit(X[:, i : i + 1], np.array([value]), lrate=0.1)
            assert same_loss(loss_, expected, twin)
    assert equal(net, twin)


def test_samples_of_other_types_and_layouts_are_converted(dtype):
    X, Y = samples(dtype=dtype)
    net, twin = make(dtype=dtype), make(dtype=dtype)
    kinds = [
        lambda x: x.astype(np.float32),
        lambda x: x.astype(np.float64),
        lambda x: np.rint(3 * x).astype(np.int16),
        lambda x: x > 0,
        lambda x: np.repeat(x, 3)[::3],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(x.dtype.newbyteorder()),
        lambda x: x.astype(np.float16),
        lambda x: x.tolist(),
    ]
    with net.learner(0.1) as learn:
        for i, kind in enumerate(kinds):
            x = kind(X[:, i].copy())
            loss_ = learn(x, Y[:, i])
            expected = twin.partial_fit(np.asarray(x)[:, None], Y[:, i : i + 1], lrate=0.1)
            assert same_loss(loss_, expected, twin)
        assert learn.fast_calls == len(kinds)
    assert equal(net, twin)


@pytest.mark.parametrize("loss", ["nll", "squared"])
def test_alignment_and_byte_order_do_not_change_the_bits(loss, dtype, isa):
    """partial_fit takes another path here, whose bits a sample must not get by its memory alone."""
    X, Y = samples(loss, dtype=dtype)
    nets = make(loss, dtype=dtype), make(loss, dtype=dtype)
    kinds = [
        lambda a: np.ndarray(a.shape, a.dtype, b"." + a.tobytes(), 1),  # unaligned
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a.tolist(),
    ]
    rates = [0.05, lambda t: 0.05]
    with nets[0].learner(rates[0]) as learn, nets[1].learner(rates[1]) as other:
        for i, (of_x, of_y) in enumerate((a, b) for a in kinds for b in (*kinds, np.copy)):
            expected = learn(X[:, i].copy(), Y[:, i].copy())
            assert other(of_x(X[:, i]), of_y(Y[:, i])) == expected
    assert all(map(np.array_equal, weights(nets[0]), weights(nets[1])))


def test_schedules_and_functions_as_rates(backend):
    X, Y = samples()
    asked = []

    def rate(t):
        asked.append((t, nets[0].optimizer.t))
        return 0.1 / t

    for one in (rate, nn.schedules.InverseTime(0.1, 0.5)):
        nets = make(), make()
        with nets[0].learner(one) as learn:
            for i in range(6):
                learn(X[:, i], Y[:, i])
        if one is rate:
            assert asked == [(t, t - 1) for t in range(1, 7)]
        for i in range(6):
            nets[1].partial_fit(X[:, i : i + 1], Y[:, i : i + 1], lrate=one)
        assert equal(*nets)


@pytest.mark.parametrize("extra", ["norm", "dropout", "module", "nested", "transposed"])
def test_what_does_not_take_the_compiled_step(extra, backend):
    class Doubled(nn.Tanh):
        def _derive(self, dLdA):
            return 2 * super()._derive(dLdA)

    def build():
        norm = {"norm": [lambda: nn.BatchNorm(7, statistics="running")]}.get(extra, ())
        if extra == "dropout":
            norm = [lambda: nn.Dropout(0.3, seed=2)]
        net = make(hidden=Doubled if extra == "module" else nn.Tanh, extra=norm)
        if extra == "nested":
            net.modules[:2] = [nn.Sequential(net.modules[:2])]
        if extra == "transposed":
            net.modules[0].W = np.asfortranarray(net.modules[0].W)
        return net

    X, Y = samples()
    net, twin = build(), build()
    with net.learner(0.05) as learn:
        for i in range(10):
            block = X[:, 2 * i : 2 * i + 2], Y[:, 2 * i : 2 * i + 2]
            for one, other in (
                (block, block),
                ((X[:, i], Y[:, i]), (X[:, i : i + 1], Y[:, i : i + 1])),
            ):
                loss_, expected = learn(*one), twin.partial_fit(*other, lrate=0.05)
                assert loss_ == pytest.approx(expected, rel=1e-9)
        assert learn.fast_calls == (10 if extra == "nested" and backend == "compiled" else 0)
    for a, b in zip(weights(net), weights(twin), strict=True):
        assert np.allclose(a, b, rtol=1e-9)


def test_predict(backend, dtype):
    X, Y = samples(dtype=dtype)
    net = make(dtype=dtype)
    with net.learner(0.5) as learn:
        for i in range(4):
            learn(X[:, i], Y[:, i])
            expected = net.predict_proba(X)
            tolerance = 1e-6 if dtype == np.float32 else 1e-14
            assert np.allclose(learn.predict(X[:, i].copy()), expected[:, i], rtol=tolerance)
            assert np.allclose(learn.predict(X), expected, rtol=tolerance)
            assert learn.predict(X[:, i].copy()).dtype == dtype
        with pytest.raises(ValueError, match="X must have shape"):
            learn.predict(np.ones(4))


# --------------------------------------------------------------------- writes, changes and refusals


def test_writes_to_the_weights_count_from_the_next_call(backend):
    X, Y = samples()
    net, twin = make(), make()
    with net.learner(0.1, "adam") as learn:
        for i in range(N):
            for one in (net, twin):
                linear = one.modules[0]
                if i == 5:
                    linear.W[:] = linear.W * 0.5  # in place
                if i == 10:
                    linear.W = linear.W * 0.5  # another array
                if i == 15:
                    linear.W = np.asfortranarray(linear.W)
                if i == 20:
                    one.modules[1] = nn.ReLU()
                if i == 23:
                    linear.W0 += 1
                if i == 25:
                    one.optimizer.beta1 = 0.5
                if i == 28:
                    one.optimizer.reset()
                if i == 31:
                    one.modules = [nn.Linear(5, 3), nn.SoftMax()]
                    one.modules[0].W[:] = 0.1
                    one.optimizer.reset()
            learn(X[:, i], Y[:, i])
            twin.partial_fit(X[:, i : i + 1], Y[:, i : i + 1], lrate=0.1, optimizer="adam")
            assert equal(net, twin), i


def test_a_patched_method_is_honoured():
    X, Y = samples()
    net = make()
    with net.learner(0.1) as learn:
        learn(X[:, 0], Y[:, 0])
        calls = []
        net.modules[1].forward = lambda Z: calls.append(1) or nn.Tanh.forward(net.modules[1], Z)
        learn(X[:, 1], Y[:, 1])
        assert calls == [1] and learn.fast_calls == 1
        del net.modules[1].forward
        learn(X[:, 2], Y[:, 2])
        assert learn.fast_calls == 2


BAD = [
    ((np.ones(4), 0), ValueError, r"X must have shape \(5, N\), got \(4, 1\)"),
    ((np.ones(5) * 1j, 0), TypeError, "x must be a real array, got complex128"),
    ((np.ones(5), 3), ValueError, "Y must hold integers from 0 to 2"),
    ((np.ones(5), -1), ValueError, "Y must hold integers from 0 to 2"),
    ((np.ones(5), 0.5), ValueError, "Y must hold integers from 0 to 2"),
    ((np.ones(5), np.array([0.5, -0.5, 1])), ValueError, "not negative"),
    ((np.ones(5), np.ones(2)), ValueError, "Y must have shape"),
    ((np.ones(5), "a"), TypeError, "y must be a real array"),
    ((np.full(5, np.nan), 0), ValueError, "X must be finite, got NaN or infinity in column 0"),
    ((np.ones(5), np.array([0, np.inf, 0])), ValueError, "Y must be finite"),
    ((np.ones((5, 0)), np.ones((3, 0))), ValueError, "X must hold at least one sample"),
    ((np.ones((5, 2)), 0), ValueError, "Y must have shape"),
]


@pytest.mark.parametrize("arguments, error, message", BAD)
def test_a_refused_call_changes_nothing(arguments, error, message, backend):
    X, Y = samples()
    net = make()
    with net.learner(0.1, "adam") as learn:
        learn(X[:, 0], Y[:, 0])
        before, t = [w.copy() for w in weights(net) + state(net)], net.optimizer.t
        with pytest.raises(error, match=message):
            learn(*arguments)
        assert all(map(np.array_equal, before, weights(net) + state(net)))
        assert net.optimizer.t == t
        learn(X[:, 1], Y[:, 1])  # goes on
        assert net.optimizer.t == t + 1


def test_refused_arguments():
    for arguments, error in (
        ({"lrate": -1}, ValueError),
        ({"lrate": "fast"}, TypeError),
        ({"optimizer": "none"}, ValueError),
        ({"l2": np.inf}, ValueError),
    ):
        net = make()
        with pytest.raises(error):
            net.learner(**arguments)
        net.fit(*samples())  # not left as training
    with pytest.raises(ValueError, match="loss must be given"):
        nn.Sequential([nn.Linear(2, 2)]).learner()
    net = make()
    net.modules[0].W.flags.writeable = False
    with pytest.raises(ValueError, match="W must be writeable"):
        net.learner()
    net = make()
    with net.learner(lambda t: 0.1 if t < 3 else np.nan) as learn:
        X, Y = samples()
        learn(X[:, 0], Y[:, 0]), learn(X[:, 1], Y[:, 1])
        with pytest.raises(ValueError, match="lrate must be finite and at least 0, got nan at ste"):
            learn(X[:, 2], Y[:, 2])


@pytest.mark.parametrize("optimizer", [None, "momentum", "adam"])
def test_divergence_leaves_the_weights_of_the_last_whole_step(optimizer, dtype):
    net, twin = make("squared", nn.ReLU, (1, 3), dtype), make("squared", nn.ReLU, (1, 3), dtype)
    for one in (net, twin):
        for linear in one.modules[::2]:
            linear.W[:] = 1
    big, y = np.array([1e30], dtype) if dtype == np.float32 else np.array([1e200]), np.ones(1)
    with net.learner(1.0, optimizer) as learn:
        for _ in range(3):
            before = [w.copy() for w in weights(net) + state(net)]
            steps = net.optimizer.t
            try:
                learn(big.astype(dtype), y)
            except FloatingPointError as error:
                assert f"training diverged at step {steps + 1}" in str(error)
                assert all(map(np.array_equal, before, weights(net) + state(net)))
                assert net.optimizer.t == steps
                with pytest.raises(FloatingPointError) as other:
                    twin.partial_fit(big[:, None], y[:, None], lrate=1.0, optimizer=optimizer)
                assert str(other.value) == str(error)
                break
            twin.partial_fit(big[:, None], y[:, None], lrate=1.0, optimizer=optimizer)
        else:
            pytest.fail("did not diverge")


@pytest.mark.parametrize("size", [1e18, 3e37])
def test_steps_near_the_range_of_the_type(size):
    """Where no bound proves that a step stays finite, it is taken with a copy at hand."""
    net, twin = (make("squared", nn.ReLU, (3, 4), np.float32) for _ in range(2))
    for one in (net, twin):
        one.modules[0].W[:] = [[size], [1], [1]]
    X = np.array([[0, 1, 2], [0, 2, 1]], np.float32)
    with net.learner(1e-3) as learn:
        for x in X:
            expected = twin.partial_fit(x[:, None], np.ones((1, 1)), lrate=1e-3)
            assert same_loss(learn(x.copy(), 1.0), expected, twin)
        assert learn.fast_calls == 2
    assert equal(net, twin)


# ------------------------------------------------------------------------ it counts as training ...


def test_the_network_counts_as_training():
    net, other = make(), make()
    X, Y = samples()
    learn = net.learner(0.1)
    for train in (
        lambda: net.learner(),
        lambda: net.fit(X, Y),
        lambda: net.partial_fit(X, Y),
        lambda: net.sgd(X, Y, 10),
        lambda: net.mini_gd(X, Y, 5, 0.1),
    ):
        with pytest.raises(RuntimeError, match="must not be trained while a learner trains it; cl"):
            train()
    other.fit(X, Y)
    assert net.predict(X).shape == (N,) and net.evaluate(X, Y) and net.predictor()(X[:, 0]).size
    learn(X[:, 0], Y[:, 0])
    learn.close()
    learn.close()
    assert learn.closed
    with pytest.raises(RuntimeError, match="the learner is closed"):
        learn(X[:, 0], Y[:, 0])
    with pytest.raises(RuntimeError, match="the learner is closed"):
        learn.__enter__()
    with pytest.raises(RuntimeError, match="the learner is closed"):
        learn.sync()
    assert np.allclose(learn.predict(X), net.predict_proba(X))
    net.fit(X, Y)
    with net.learner() as learn:
        learn.sync()
        learn(X[:, 0], Y[:, 0])
    net.fit(X, Y)


def test_not_while_it_is_training():
    net = make()
    X, Y = samples()

    def callback(net, history):
        with pytest.raises(RuntimeError, match="must not be trained by two calls at once"):
            net.learner()

    net.fit(X, Y, callbacks=callback)
    net.learner().close()


def test_a_learner_that_is_dropped_is_closed():
    net = make()
    X, Y = samples()
    learn = net.learner(0.1)
    learn(X[:, 0], Y[:, 0])
    del learn
    gc.collect()
    net.fit(X, Y)
    assert all(w.base is None or w.size for w in weights(net))


def test_a_learner_that_python_outlives_ends_silently():
    """The modules of the package may be gone before it is."""
    code = """
import sys, numpy as np, nncore as nn
net = nn.Sequential([nn.Linear(3, 1)], nn.Squared())
for keeper in (net, sys, np):
    keeper.kept = nn.Sequential([nn.Linear(3, 1)], nn.Squared()).learner(0.1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr


def test_an_exception_in_the_block_closes_it():
    net, twin = make(), make()
    X, Y = samples()
    with pytest.raises(KeyError), net.learner(0.1) as learn:
        learn(X[:, 0], Y[:, 0])
        raise KeyError
    assert learn.closed
    twin.partial_fit(X[:, :1], Y[:, :1], lrate=0.1)
    assert equal(net, twin)
    net.fit(X, Y)


def test_a_function_as_rate_may_raise_or_call_back():
    net = make()
    X, Y = samples()

    def rate(t):
        if t == 2:
            raise KeyError("rate")
        if t == 1:
            with pytest.raises(RuntimeError, match="a second call while the first is running"):
                learn(X[:, 0], Y[:, 0])
        return 0.1

    with net.learner(rate) as learn:
        learn(X[:, 0], Y[:, 0])
        before = [w.copy() for w in weights(net)]
        with pytest.raises(KeyError):
            learn(X[:, 1], Y[:, 1])
        assert all(map(np.array_equal, before, weights(net))) and net.optimizer.t == 1


def test_pickles():
    net = make()
    X, Y = samples()
    with net.learner(0.1, "adam") as learn:
        learn(X[:, 0], Y[:, 0])
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="a learner cannot be pickled or copied"):
                copied(learn)
        again, other = pickle.loads(pickle.dumps(net)), copy.deepcopy(net)
        for one in (again, other):
            assert all(map(np.array_equal, weights(net), weights(one)))
            one.fit(X, Y)  # a copy is not training
        with again.learner(0.1) as second:
            second(X[:, 0], Y[:, 0])
        assert learn(X[:, 1], Y[:, 1]) > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("what", ["learn", "fit", "both"])
def test_a_child_trains_its_own_network(what):
    net, twin = make(), make()
    X, Y = samples()
    learn = net.learner(0.1)
    learn(X[:, 0], Y[:, 0])
    twin.partial_fit(X[:, :1], Y[:, :1], lrate=0.1)
    child = os.fork()
    if child == 0:
        try:
            if what == "fit":
                net.fit(X, Y)
                os._exit(0)
            learn(X[:, 1], Y[:, 1])
            twin.partial_fit(X[:, 1:2], Y[:, 1:2], lrate=0.1)
            good = equal(net, twin)
            if what == "both":  # the child's learner has claimed the child's network
                try:
                    net.fit(X, Y)
                    good = False
                except RuntimeError:
                    pass
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert equal(net, twin)
    learn(X[:, 1], Y[:, 1])
    twin.partial_fit(X[:, 1:2], Y[:, 1:2], lrate=0.1)
    assert equal(net, twin)


def test_two_threads():
    """A large network's step releases Python's lock: the second caller is refused."""
    net = make("squared", nn.ReLU, (600, 900), np.float32)
    X, Y = samples("squared", 600, np.float32)
    learn = net.learner(1e-5)
    seen, refused = [], []

    def run():
        for i in range(300):
            try:
                learn(X[:, i % N].copy(), 1.0)
                seen.append(1)
            except RuntimeError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == net.optimizer.t and len(seen) + len(refused) == 600
    assert all("by two threads at once" in text for text in refused)


def test_repr():
    learn = make(dtype=np.float32).learner(0.1)
    assert repr(learn) == "Learner(5-7-3, float32, SGD(), lrate=0.1)"


def test_explain():
    X, Y = samples()
    assert nn.explain(make(), X, Y, call="learner")["parameters"] == "in place"
    assert nn.explain(make(), X, Y, call="learner", optimizer="adam")["parameters"] == "in place"
    assert nn.explain(make(), X, Y, call="partial_fit", batch_size=1)["parameters"] == "packed"
    dropout = make(extra=[lambda: nn.Dropout(0.5)])
    assert nn.explain(dropout, X, Y, call="learner")["parameters"] == "packed"
