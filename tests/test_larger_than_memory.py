"""Data larger than memory: class numbers instead of one-hot columns, windows of X, and the peak of
anonymous memory, which mapped files do not count to."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from test_training import by_modules, same, weights

import nncore as nn
from nncore import _core
from nncore.training import ordering

N = 700
MIB = 1 << 20


def network(sizes=(20, 13, 5), dtype=np.float32, output=nn.SoftMax, loss=nn.NLL, seed=0):
    np.random.seed(seed)
    chain = []
    for m, n in itertools.pairwise(sizes):
        chain += [nn.Linear(m, n, dtype=dtype), nn.Tanh()]
    return nn.Sequential(chain[:-1] + ([output()] if output else []), loss())


@pytest.fixture
def small_windows():
    """Windows for all data that would be copied."""
    _core.set_copies(0, 20_000)
    yield
    _core.set_copies()


def digits(dtype, layout, features=20, share=1.0):
    rng = np.random.default_rng(1)
    X = rng.integers(-3, 4, (features, N)) * (rng.random((features, N)) < share)
    return np.asarray(X.astype(dtype), order=layout), rng.integers(0, 5, N)


# -------------------------------------------------------------------------------------- the windows

CALLS = {
    "single samples": ({"batch_size": 1, "lrate": 0.01}, (20, 13, 5)),
    "adam": ({"batch_size": 1, "optimizer": "adam"}, (20, 70, 5)),
    "lookahead": ({"batch_size": 1, "lrate": 0.01}, (20, 90, 5)),
    "columns": ({"batch_size": 64}, (20, 3, 5)),
    "fused": ({"batch_size": 24}, (20, 13, 5)),
    "batches": ({"batch_size": 24, "optimizer": "momentum"}, (20, 130, 5)),
    "in order": ({"batch_size": 24, "shuffle": False}, (20, 13, 5)),
    "one batch": ({"batch_size": N}, (20, 130, 5)),
    "share": ({"batch_size": 10, "validation": 0.3}, (20, 13, 5)),
    "rate": ({"batch_size": 100, "lrate": lambda t: 0.1 / t}, (20, 13, 5)),
}
TYPES = ("f4", "f8", "i2", "f2", ">f4", ">i8", "g")


@pytest.mark.parametrize(
    ("call", "dtype", "layout", "computing"),
    [
        *itertools.product(CALLS, ("f4", "f2"), "CF", (np.float32,)),
        *itertools.product(("fused", "batches"), TYPES, "C", (np.float32, np.float64)),
    ],
)
def test_windows_give_the_bits_of_a_copy_of_all(small_windows, call, dtype, layout, computing):
    settings, sizes = CALLS[call]
    X, labels = digits(dtype, layout)
    results = []
    for limit in (0, None):
        _core.set_copies(*(() if limit is None else (limit, 20_000)))
        net = network(sizes, computing)
        history = net.fit(X, labels, epochs=2, seed=3, **settings)
        results.append((history, weights(net)))
    assert results[0][0] == results[1][0]
    assert all(map(np.array_equal, results[0][1], results[1][1]))


@pytest.mark.parametrize("batch_size", [1, 20])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_windows_leave_the_plan_as_it_is(small_windows, share, batch_size):
    plans, results = [], []
    X, labels = digits("f4", "C", 80, share)
    for limit in (0, None):
        _core.set_copies(*(() if limit is None else (limit, 20_000)))
        net = network((80, 200, 5))
        results.append(net.fit(X, labels, seed=3, batch_size=batch_size))
        plans.append(nn.explain(net, X, labels, batch_size=batch_size))
    assert results[0] == results[1] and str(plans[0]) == str(plans[1])


@pytest.mark.parametrize("layouts", ["CC", "FC", "CF"])
def test_windows_of_y(small_windows, layouts):
    X, _ = digits("f4", layouts[0])
    Y = np.asarray(X[:5] * 0.1, order=layouts[1])
    nets = network(loss=nn.Squared, output=None), network(loss=nn.Squared, output=None)
    one = nets[0].fit(X, Y, epochs=2, seed=0, lrate=0.01)
    _core.set_copies()
    assert one == nets[1].fit(X, Y, epochs=2, seed=0, lrate=0.01)
    assert all(map(np.array_equal, weights(nets[0]), weights(nets[1])))


@pytest.mark.parametrize("sizes", [(20, 13, 5), (20, 1100, 1100, 5)])
def test_data_that_are_not_finite_are_found_in_any_window(small_windows, sizes):
    X, labels = digits("f4", "C")
    X[7, 650] = np.nan
    net = network(sizes)
    before = [w.copy() for w in weights(net)]
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity in column 650"):
        net.fit(X, labels, shuffle=False)
    assert all(map(np.array_equal, weights(net), before))


def test_a_divergence_in_a_later_window(small_windows):
    X, labels = digits("f4", "C")
    X[:, 600:] = 1e30
    messages, results = [], []
    for _ in range(2):
        net = network((20, 5), loss=nn.Squared, output=None)
        with pytest.raises(FloatingPointError) as caught:
            net.fit(X, X[:5], shuffle=False, lrate=1e6)
        messages.append(str(caught.value))
        results.append(weights(net))
        _core.set_copies()
    assert messages[0] == messages[1]
    assert all(map(np.array_equal, *results))


# ------------------------------------------------------------------------------------ class numbers


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("computing", [np.float32, np.float64])
def test_class_numbers_give_the_bits_of_one_hot_columns(call, computing):
    settings, sizes = CALLS[call]
    X, labels = digits("f4", "F")
    results = []
    for Y in (labels, np.eye(5)[:, labels]):
        net = network(sizes, computing)
        history = net.fit(X, Y, epochs=2, seed=3, **settings)
        history |= {"again": net.partial_fit(X, Y), "score": net.evaluate(X, Y)}
        results.append((history, weights(net)))
    assert results[0][0] == results[1][0]
    assert all(map(np.array_equal, results[0][1], results[1][1]))


def test_class_numbers_module_by_module():
    X, labels = digits("f8", "F")
    one, two = by_modules(network(dtype=np.float64)), by_modules(network(dtype=np.float64))
    assert one.fit(X, labels, seed=0) == two.fit(X, np.eye(5)[:, labels], seed=0)
    assert all(map(np.array_equal, weights(one), weights(two)))


def test_classes_are_columns():
    Y = _core.Classes([2, 0, 1, 2], 3, np.float32)
    assert (Y.shape, Y.ndim, Y.size, Y.dtype) == ((3, 4), 2, 12, np.float32)
    assert Y[:, 1:].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]] and Y[:, 1:].dtype == np.float32
    assert Y[:, [3]].tolist() == [[0], [0], [1]]
    with pytest.raises(TypeError, match="all classes and some samples"):
        Y[0, 1]
    for numbers in ([3], [-1], [[0]]):
        with pytest.raises(ValueError, match="numbers must be classes from 0 to 2"):
            _core.Classes(numbers, 3, np.float32)


# ------------------------------------------------------------------------------------------- memory

PEAK = """
import sys, threading, time, numpy as np
import nncore as nn
from nncore import _core

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("RssAnon"))

nn.set_num_threads(1)
X = np.memmap(sys.argv[1], dtype, "r", shape=shape, order=order)
N = X.shape[1]
labels = np.zeros(N, np.uint8)
net = nn.Sequential([nn.Linear(D, classes, dtype=np.float32), nn.SoftMax()], nn.NLL())
net.fit(X[:, :500], labels[:500], **settings)
before, peak, done = anonymous(), 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
net.fit(X, labels, **settings)
done = True
thread.join()
print(peak - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads RssAnon of /proc/self/status")
@pytest.mark.parametrize(
    ("dtype", "shape", "order", "settings", "most"),
    [
        # rows.T of a (N, D) file; class numbers, whose one-hot columns would take 200 MiB
        ("f4", (512, 500_000), "F", {"batch_size": 512, "validation": 0.2}, 60),
        ("f4", (512, 250_000), "C", {"batch_size": 512, "shuffle": False}, 100),
        ("f4", (512, 250_000), "C", {"batch_size": 512, "validation": 0.2}, 100),
        ("f4", (512, 250_000), "C", {"batch_size": 512, "shuffle_window": 65_536}, 100),
        ("f2", (512, 450_000), "F", {"batch_size": 512}, 100),
        (">f4", (512, 250_000), "C", {"batch_size": 512, "shuffle": False}, 100),
    ],
    ids=["rows.T", "columns in order", "columns", "windows", "float16", "big-endian"],
)
def test_anonymous_memory_of_a_training_on_a_file(tmp_path, dtype, shape, order, settings, most):
    path = tmp_path / "X.bin"
    with open(path, "wb") as file:  # sparse: it takes no space on the disk
        file.truncate(np.dtype(dtype).itemsize * shape[0] * shape[1])
    assert path.stat().st_size > 4 * most * MIB
    head = f"{dtype=}; {shape=}; {order=}; {settings=}; D = shape[0]; classes = 100\n"
    done = subprocess.run(
        [sys.executable, "-c", head + PEAK, path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < most


# ------------------------------------------------------------------------- the order of an epoch

SHUFFLED_SIZES = (0, 1, 2, 3, 4, 5, 8, 9, 100, 255, 256, 257, 4096, 70000)


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_shuffling_takes_numpys_draws(bits):
    """Numbers and state; a buffered half of a draw, too."""
    mine, numpys = (np.random.Generator(getattr(np.random, bits)(7)) for _ in range(2))
    for size in SHUFFLED_SIZES:
        samples = np.arange(size)[::-1] * 3
        found = _core.shuffled(mine, samples)
        assert found.dtype == np.int64 and np.array_equal(found, numpys.permutation(samples))
        assert mine.integers(2**20, dtype=np.uint32) == numpys.integers(2**20, dtype=np.uint32)
    assert mine.bytes(16) == numpys.bytes(16)


def test_a_generator_of_the_users_own_shuffles():
    class Reversing(np.random.Generator):
        def permutation(self, x):
            return x[::-1]

    rng = Reversing(np.random.PCG64(0))
    assert ordering.of_epoch(rng, np.arange(5), True, None).tolist() == [4, 3, 2, 1, 0]


# ------------------------------------------------------------------------------- windows of samples


def test_the_order_of_windows():
    rng = np.random.default_rng(0)
    samples = np.arange(0, 2300, 2)
    for window, sizes in ((100, [100] * 11 + [50]), (1, [1] * 1150), (1149, [1149, 1])):
        order = ordering.of_epoch(rng, samples, True, window)
        assert sorted(order) == samples.tolist()
        runs = np.split(order, np.flatnonzero(np.diff(order // 2 // window)) + 1)
        starts = [min(run) for run in runs]
        assert sorted(map(len, runs), reverse=True) == sizes
        assert window == 1149 or starts != sorted(starts)
        assert window == 1 or runs[0].tolist() != sorted(runs[0])


@pytest.mark.parametrize("layout", "CF")
@pytest.mark.parametrize("settings", [{}, {"validation": 0.3, "batch_size": 1}])
def test_fit_in_windows(backend, layout, settings):
    X, labels = digits("f8", layout)
    net, twin = network(dtype=np.float64), network(dtype=np.float64)
    net.fit(X, labels, epochs=2, seed=3, lrate=0.01, shuffle_window=100, **settings)
    rng = np.random.default_rng(3)
    samples = np.arange(N)
    if settings:
        samples = np.sort(rng.permutation(N)[round(0.3 * N) :])
    for _ in range(2):
        order = ordering.of_epoch(rng, samples, True, 100)
        twin.partial_fit(
            X[:, order], labels[order], lrate=0.01, batch_size=settings.get("batch_size", 32)
        )
    same(weights(net), weights(twin))


def test_a_window_of_all_samples_is_an_ordinary_epoch():
    X, labels = digits("f8", "F")
    one, two = network(), network()
    assert one.fit(X, labels, seed=3, shuffle_window=N) == two.fit(X, labels, seed=3)
    assert all(map(np.array_equal, weights(one), weights(two)))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"shuffle_window": 0}, ValueError, "shuffle_window must be at least 1, got 0"),
        ({"shuffle_window": 2.5}, TypeError, "shuffle_window must be an integer, got float"),
        (
            {"shuffle_window": 10, "shuffle": False},
            ValueError,
            "shuffle must be True for shuffle_window=10, got False",
        ),
    ],
)
def test_windows_are_refused(settings, error, message):
    X, labels = digits("f8", "F")
    net = network()
    before = weights(net)
    with pytest.raises(error, match=message):
        net.fit(X, labels, **settings)
    with pytest.raises(
        ValueError, match="shuffle_window must be None if X is an iterable of block"
    ):
        net.fit([(X, labels)], shuffle_window=10)
    assert all(map(np.array_equal, weights(net), before))
