"""Epochs of fit between which no Python code runs: the bits, draws and counts of epochs run one by
one, which a callback forces."""

import signal
import threading

import numpy as np
import pytest
from support import pairwise
from test_small_networks import LOSSES, data, make, weights

import nncore as nn
from nncore import _core


@pytest.fixture
def passes(monkeypatch):
    """The numbers of epochs that were run at a time, without Python between them."""
    counts = []

    def counted(*args):
        losses = fit_passes(*args)
        counts.append(len(losses))
        return losses

    fit_passes = _core.fit_passes
    monkeypatch.setattr(_core, "fit_passes", counted)
    return counts


def one_by_one(net, history):
    """A callback that does nothing."""


def fitted(sizes, loss, dtype, samples, callbacks, optimizer, settings):
    """Train; return what can be compared: weights, state, losses, counts, the next draws."""
    X, Y = data(sizes, loss, samples, dtype)
    net = make(sizes, nn.Tanh, loss, dtype)
    rng, optimizer = np.random.default_rng(8), optimizer()
    settings = {
        name: value(samples) if callable(value) else value for name, value in settings.items()
    }
    history = net.fit(
        X, Y, epochs=7, optimizer=optimizer, seed=rng, callbacks=callbacks, **settings
    )
    state = [a for arrays in optimizer.state.values() for a in arrays]
    return [*weights(net), *state, history["loss"], optimizer.t, rng.integers(1 << 40, size=3)]


SETTINGS = (
    {},
    {"l2": 0.01},
    {"clip_norm": 0.1},
    {"shuffle": False},
    {"reduction": "sum"},
    {"sample_weight": lambda n: np.linspace(0.5, 2, n)},
)
OPTIMIZERS = (nn.optimizers.SGD, nn.optimizers.Adam, lambda: nn.optimizers.Nesterov(0.8))


@pytest.mark.parametrize(
    ("sizes", "loss", "samples", "batch", "optimizer", "settings"),
    [
        row
        for row in pairwise(
            ((2, 3, 3, 2), (5, 9, 1), (64, 32, 10), (40, 90, 70, 3)),
            tuple(LOSSES),
            (1, 23, 130),
            (1, 8, 64),
            OPTIMIZERS,
            SETTINGS,
        )
        if row[0][-1] > 1 or row[1] != "nll"
    ],
)
def test_epochs_without_python_between_them(
    sizes, loss, samples, batch, optimizer, settings, isa, dtype, passes
):
    settings = {**settings, "batch_size": batch, "lrate": 0.01}
    given = (sizes, loss, dtype, samples)
    mine = fitted(*given, None, optimizer, settings)
    # a machine on which the first pass took long runs the others alone, too
    assert sum(passes) == 6 or batch < samples and passes == [0]
    calls = len(passes)
    theirs = fitted(*given, one_by_one, optimizer, settings)
    assert len(passes) == calls
    assert all(map(np.array_equal, mine, theirs))


@pytest.mark.parametrize("optimizer", [nn.optimizers.SGD, lambda: nn.optimizers.Momentum(0.9)])
@pytest.mark.parametrize("batch", [1, 4, 64])
def test_divergence_is_that_of_epochs_run_one_by_one(batch, optimizer, isa, dtype, passes):
    """The weights are those after the last finite step, and the message names it."""
    X, Y = data((3, 4, 1), "squared", 20, dtype)
    found = []
    for callbacks in (None, one_by_one):
        net, rng, rule = make((3, 4, 1), nn.ReLU, "squared", dtype), np.random.default_rng(2), None
        rule = optimizer()
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError) as error:
            net.fit(
                X, 3 * Y, 10_000, batch, lrate=2.0, seed=rng, optimizer=rule, callbacks=callbacks
            )
        found.append([*weights(net), str(error.value), rule.t, rng.integers(1 << 40)])
    assert all(map(np.array_equal, *found))
    assert all(np.isfinite(w).all() for w in found[0][:4])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [9]),
        ({"validation": 0.2}, []),
        ({"progress": "lines"}, []),
        ({"shuffle_window": 10}, []),
        ({"lrate": nn.schedules.InverseTime(0.1, 100)}, []),
        ({"lrate": lambda t: 0.1}, []),
    ],
)
def test_which_calls_run_so(settings, expected, passes):
    X, Y = data((5, 9, 3), "nll", 50, np.float64)
    net = make((5, 9, 3), nn.Tanh, "nll", np.float64)
    # one step per pass, which is never too long
    history = net.fit(X, Y, epochs=10, batch_size=50, **settings)
    assert [sum(passes)][: len(passes)] == expected and len(history["loss"]) == 10


def test_networks_with_modules_of_their_own_run_one_by_one(passes):
    X, Y = data((5, 9, 3), "nll", 50, np.float64)
    for extra in (nn.Dropout(0.5), nn.BatchNorm(9)):
        net = make((5, 9, 3), nn.Tanh, "nll", np.float64)
        net.modules.insert(1, extra)
        assert len(net.fit(X, Y, epochs=4)["loss"]) == 4
    assert passes == [0, 0]


def test_long_passes_run_one_by_one(passes):
    """Unless the first one has shown that they are not that long here."""
    X, Y = data((784, 256, 10), "nll", 3000, np.float32)
    net = make((784, 256, 10), nn.ReLU, "nll", np.float32)
    history = net.fit(X, Y, epochs=2, batch_size=1, lrate=1e-4)
    assert passes in ([0], [1]) and len(history["loss"]) == 2


def test_ctrl_c_ends_them_soon(passes):
    """With whole epochs behind it."""
    X, Y = data((2, 3, 3, 2), "nll", 10, np.float64)
    net = make((2, 3, 3, 2), nn.Tanh, "nll", np.float64)
    optimizer = nn.optimizers.Momentum(0.5)
    timer = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=10**8, optimizer=optimizer, lrate=1e-6)
    timer.join()
    assert optimizer.t > 1
    net.fit(X, Y, epochs=1)  # not left in training
