"""Eight Python threads at once, each through a mixture of calls in an order of its own, on networks
of their own and on shared ones: every answer has the bits that it has alone. On a free-threaded
Python, the threads really run at once. `make sanitize-threads` runs this file, too."""

import random
import sys
import sysconfig
import threading

import numpy as np
import pytest

import nncore as nn
from nncore import _core, _random

pytestmark = pytest.mark.alone

THREADS, ROUNDS = 8, 3
# by the routines of small networks, by layers, and with memory that the buffer pool keeps
SIZES = [(4, 8, 3), (20, 12, 3), (64, 90, 40, 10), (300, 200, 4)]


@pytest.fixture(autouse=True)
def _switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def network(sizes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    modules = []
    for m, n in zip(sizes, sizes[1:], strict=False):
        linear = nn.Linear(m, n, dtype=dtype)
        linear.W, linear.W0 = (0.1 * rng.standard_normal(a.shape) for a in (linear.W, linear.W0))
        linear.W, linear.W0 = linear.W.astype(dtype), linear.W0.astype(dtype)
        modules += [linear, nn.Tanh()]
    return nn.Sequential([*modules[:-1], nn.SoftMax()], nn.NLL())


def data(sizes, samples, dtype=np.float64):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((sizes[0], samples)).astype(dtype)
    return X, rng.integers(sizes[-1], size=samples)


def at_once(calls):
    """Make each call in a thread of its own, all from the same moment; raise the first error."""
    ready, errors = threading.Barrier(len(calls)), []

    def run(call):
        try:
            ready.wait(60)
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def bits(*arrays):
    return [np.array(a).tobytes() for a in arrays]


def weights(net):
    return bits(*(a for m in net.modules if hasattr(m, "W") for a in (m.W, m.W0)))


# --------------------------------------------------------------- jobs: each returns bits to compare


def trains(sizes, dtype, optimizer):
    net, (X, labels) = network(sizes, dtype), data(sizes, 60, dtype)
    history = net.fit(X, labels, epochs=2, batch_size=20, lrate=0.01, optimizer=optimizer, seed=0)
    losses = [net.partial_fit(X, labels, lrate=0.01, optimizer=optimizer) for _ in range(3)]
    return [*bits(history["loss"], losses), *weights(net)]


def learns(sizes, dtype):
    net, (X, labels) = network(sizes, dtype), data(sizes, 30, dtype)
    with net.learner(lrate=0.01) as learn:
        losses = [learn(X[:, j], int(labels[j])) for j in range(30)]
        P = learn.predict(X[:, 0])
    return [*bits(losses, P), *weights(net)]


def predicts(net, sizes, dtype):
    X, labels = data(sizes, 70, dtype)
    return bits(net.predict(X), net.predict_proba(X[:, :1]), *net.evaluate(X, labels))


def asks(predictor, sizes, dtype):
    X, _ = data(sizes, 70, dtype)
    return bits(predictor(X), predictor(X[:, 0]), predictor(X[:, :5]))


def computes(sizes, dtype):
    X, labels = data(sizes, 130, dtype)
    W = np.random.default_rng(2).standard_normal((sizes[0], 7)).astype(dtype)
    Z = nn.kernels.linear_forward(X, W, np.ones((7, 1), dtype))
    Y = np.eye(7, dtype=dtype)[:, labels % 7]
    return bits(Z, *nn.kernels.linear_backward(Z, X, W), *nn.kernels.softmax_nll(Z, Y))


def jobs():
    """The functions of all jobs; the networks and predictors are shared by all threads."""
    made = []
    for sizes in SIZES:
        for dtype in (np.float32, np.float64):
            net = network(sizes, dtype)
            predictor = net.predictor()
            made += [
                lambda s=sizes, d=dtype, n=net: predicts(n, s, d),
                lambda s=sizes, d=dtype, p=predictor: asks(p, s, d),
                lambda s=sizes, d=dtype: learns(s, d),
                lambda s=sizes, d=dtype: computes(s, d),
                lambda s=sizes, d=dtype: trains(s, d, None),
                lambda s=sizes, d=dtype: trains(s, d, "adam"),
            ]
    return made


def test_a_mixture_of_calls_in_eight_threads():
    made = jobs()
    alone = [job() for job in made]

    def run(seed):
        order = list(range(len(made))) * ROUNDS
        random.Random(seed).shuffle(order)
        for i in order:
            assert made[i]() == alone[i], i

    at_once([lambda seed=seed: run(seed) for seed in range(THREADS)])


@pytest.mark.parametrize("sizes", SIZES)
def test_a_shared_network_whose_arrays_are_replaced(sizes):
    """By arrays of the same numbers, so that what has been kept of the network must be renewed
    again and again, while the answers stay."""
    net = network(sizes)
    expected, stop = predicts(net, sizes, np.float64), threading.Event()

    def replaces():
        while not stop.is_set():
            for module in net.modules[::2]:
                module.W = module.W.copy()

    def reads():
        for _ in range(40):
            assert predicts(net, sizes, np.float64) == expected

    def all_reads():
        try:
            at_once([reads] * (THREADS - 2))
        finally:
            stop.set()

    at_once([replaces, replaces, all_reads])


def test_one_of_many_trainings_of_a_network_is_let_in():
    """The others are refused, and the weights are those of as many trainings as were let in."""
    sizes = SIZES[1]
    net, twin, (X, labels) = network(sizes), network(sizes), data(sizes, 60)
    done = []

    def trains_too():
        for _ in range(30):
            try:
                net.partial_fit(X, labels, lrate=0.01)
                done.append(1)
            except RuntimeError as error:
                assert "two calls at once" in str(error)

    at_once([trains_too] * THREADS)
    for _ in done:
        twin.partial_fit(X, labels, lrate=0.01)
    assert len(done) >= 1 and weights(net) == weights(twin)


def test_the_number_of_threads_changes_meanwhile():
    sizes = (300, 256, 10)
    expected = trains(sizes, np.float64, None)
    before, stop = nn.get_num_threads(), threading.Event()

    def changes():
        while not stop.is_set():
            for n in (1, 2, 3):
                nn.set_num_threads(n)

    def all_train():
        try:
            at_once([lambda: [trains(sizes, np.float64, None) == expected or 1 / 0] * 3] * 6)
        finally:
            stop.set()

    try:
        at_once([changes, all_train])
    finally:
        nn.set_num_threads(before)


def test_trainings_without_a_seed_draw_different_numbers_after_set_seed():
    """NumPy counts the children of a generator without a lock."""
    nn.set_seed(0)
    drawn = []

    def draws():
        drawn.extend(int(_random.generator("seed", None).integers(2**62)) for _ in range(200))

    try:
        at_once([draws] * THREADS)
        nn.set_seed(0)
        expected = [int(_random.generator("seed", None).integers(2**62)) for _ in drawn]
    finally:
        nn.set_seed(None)
    assert sorted(drawn) == sorted(expected)


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="NumPy 2.4's own randint crashes while set_bit_generator runs without the GIL",
)
def test_draws_while_the_global_generator_is_replaced():
    """Each number is one that a whole generator gives."""
    before, stop = np.random.get_bit_generator(), threading.Event()

    def replaces():
        seed = 0
        while not stop.is_set():
            np.random.set_bit_generator(np.random.MT19937(seed := seed + 1))

    def draws():
        for _ in range(300):
            assert 0 <= _core.randint(10) < 10
            assert set(_core.randint(3, 20)) <= {0, 1, 2}

    def all_draw():
        try:
            at_once([draws] * (THREADS - 2))
        finally:
            stop.set()

    try:
        at_once([replaces, all_draw])
    finally:
        np.random.set_bit_generator(before)


@pytest.mark.parametrize("sizes", SIZES[:2])
def test_a_learner_predicts_in_other_threads_while_it_is_prepared_again(sizes):
    """Its network's arrays are replaced between its steps, which leave the numbers as they are.
    Larger networks are read while they are written, which is allowed, and no fault of a thread."""
    net, (X, labels) = network(sizes), data(sizes, 4)
    x, stop = X[:, 0], threading.Event()
    with net.learner(lrate=0.0) as learn:
        expected = learn.predict(x)

        def learns_on():
            while not stop.is_set():
                net.modules[0].W = net.modules[0].W.copy()
                learn(x, int(labels[0]))

        def predicts_on():
            for _ in range(150):
                np.testing.assert_allclose(learn.predict(x), expected, rtol=1e-9)

        def all_predict():
            try:
                at_once([predicts_on] * (THREADS - 2))
            finally:
                stop.set()

        at_once([learns_on, all_predict])


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python is not free-threaded"
)
def test_a_free_threaded_python_stays_free():
    assert not sys._is_gil_enabled() and _core.__name__
