"""Weights of megabytes: where they begin in memory, and steps at batch size 1 that pass over them
by blocks of rows."""

import numpy as np
import pytest
from support import assert_close

import nncore as nn

LINE = 64


def begins_on_a_line(a):
    return a.ctypes.data % LINE == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m, n", [(64, 33), (784, 100), (100, 4096), (1, 5000)])
@pytest.mark.parametrize(
    "init", ["course", "notes", "he", lambda m, n: (np.ones((m, n)), np.zeros((n, 1)))]
)
def test_weights_begin_on_a_cache_line(m, n, dtype, init):
    module = nn.Linear(m, n, init=init, dtype=dtype)
    assert begins_on_a_line(module.W) and module.W.dtype == dtype
    assert module.W.flags.carray and module.W.shape == (m, n)


def test_loaded_weights_begin_on_a_cache_line(tmp_path):
    net = nn.Sequential([nn.Linear(300, 70, dtype=np.float32)], nn.Squared())
    net.save(tmp_path / "model.npz")
    loaded = nn.load(tmp_path / "model.npz").modules[0].W
    assert begins_on_a_line(loaded) and np.array_equal(loaded, net.modules[0].W)


def test_loaded_weights_keep_their_order(tmp_path):
    net = nn.Sequential([nn.Linear(300, 70)], nn.Squared())
    net.modules[0].W = np.asfortranarray(net.modules[0].W)
    net.save(tmp_path / "model.npz")
    loaded = nn.load(tmp_path / "model.npz").modules[0].W
    assert loaded.flags.f_contiguous and np.array_equal(loaded, net.modules[0].W)


def test_the_draw_of_aligned_weights_is_that_of_the_course():
    np.random.seed(3)
    expected = np.random.normal(0, 300**-0.5, (300, 70))
    np.random.seed(3)
    assert np.array_equal(nn.Linear(300, 70).W, expected)


def test_state_of_an_optimizer_begins_on_a_cache_line():
    net = nn.Sequential([nn.Linear(300, 70)], nn.Squared())
    net.fit(np.ones((300, 8)), np.ones((70, 8)), 1, optimizer="adam")
    (first, second), *_ = [s for s in net.optimizer.state.values() if s[0].shape == (300, 70)]
    assert begins_on_a_line(first) and begins_on_a_line(second) and second.any()


# Rows of W are taken 64 at a time, or 16 if they are multiples of 16 KiB apart.
SIZES = [
    (np.float32, 700, 301),  # a last block of 60 rows, a last vector of 13
    (np.float64, 1025, 97),
    (np.float32, 131, 1040),
    (np.float32, 83, 4096),  # 16 KiB
    (np.float64, 83, 4096),
]


@pytest.mark.parametrize("dtype, m, n", SIZES)
@pytest.mark.parametrize("shift", [0, 1])
def test_lookahead_by_blocks_of_rows(dtype, m, n, shift, isa):
    """Steps as by NumPy, also where W begins one number after a cache line."""
    nets = []
    for _ in range(2):
        np.random.seed(m)
        net = nn.Sequential(
            [nn.Linear(m, n, dtype=dtype), nn.Tanh(), nn.Linear(n, 2, dtype=dtype), nn.SoftMax()],
            nn.NLL(),
        )
        room = np.empty(m * n + 64, dtype)
        start = -room.ctypes.data % LINE // room.itemsize + shift
        W = room[start : start + m * n].reshape(m, n)
        W[...] = net.modules[0].W
        net.modules[0].W = W
        nets.append(net)
    rng = np.random.default_rng(n)
    X = np.asfortranarray(rng.normal(size=(m, 30)).astype(dtype))
    Y = np.eye(2, dtype=dtype)[:, rng.integers(2, size=30)]
    assert nn.explain(nets[0], X, Y, call="sgd")["path"] == "lookahead-sgd"
    for net, backend in zip(nets, ("compiled", "numpy"), strict=True):
        np.random.seed(0)
        with nn.use_backend(backend):
            net.sgd(X, Y, 43, 0.01)
    tolerance = 500 * np.finfo(dtype).eps  # after 43 steps
    for i in (0, 2):
        for name in ("W", "W0"):
            ours, theirs = (getattr(net.modules[i], name) for net in nets)
            assert_close(ours, theirs, name, tolerance=tolerance)


def test_lookahead_ends_where_a_block_would_delay_signals():
    """A block reads the first W once, the others in each of its eight steps."""

    def path(*sizes):
        linears = [nn.Linear(1, 1, dtype=np.float32) for _ in sizes[1:]]
        for module, m, n in zip(linears, sizes, sizes[1:], strict=False):
            module.m, module.n = m, n
            module.W, module.W0 = np.zeros((m, n), np.float32), np.zeros((n, 1), np.float32)
        return nn.explain(nn.Sequential(linears, nn.Squared()), call="sgd")

    assert path(3000, 3000, 1)["path"] == "lookahead-sgd"  # 36 MB
    assert path(100, 3900, 3900, 1)["path"] == "lookahead-sgd"  # 8 x 61 MB
    refused = path(100, 4200, 4200, 1)  # 8 x 71 MB
    assert refused["path"] == "sgd"
    assert any("would delay signals" in reason for reason in refused["reasons"])
