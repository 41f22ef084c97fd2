"""Clipped gradients."""

import copy
import math

import numpy as np
import pytest
from objectives import close, data, linears, network

import nncore as nn
from nncore import reference


def test_every_gradient_is_in_the_norm_also_that_of_a_batchnorm(dtype):
    """One step of plain SGD with lrate 1 moves the weights by the clipped gradient."""
    X, given, Y = data("vectors", nn.NLL(), dtype)
    for lib in (nn, reference):
        for extra in ({"clip_norm": 0.25}, {"clip_value": 0.001}):
            net = network("vectors", nn.NLL(), dtype, lib=lib, norm=True)
            twin = copy.deepcopy(net)
            twin.loss.forward(twin.forward(X), Y)
            twin.backward(twin.loss.backward())
            names = [(i, k) for i, m in enumerate(net.modules) for k in getattr(m, "gradients", ())]
            before = {(i, k): getattr(net.modules[i], k).copy() for i, k in names}
            net.partial_fit(X, given, batch_size=45, lrate=1.0, **extra)
            moves = {(i, k): before[i, k] - getattr(net.modules[i], k) for i, k in names}
            wanted = {
                (i, k): getattr(twin.modules[i], twin.modules[i].gradients[k]).astype(float) / 45
                for i, k in names
            }
            size = math.sqrt(sum((g**2).sum() for g in wanted.values()))
            tolerance = 1e-10 if dtype == np.float64 else 2e-4
            for key, g in wanted.items():
                if "clip_norm" in extra:
                    assert size > 0.25
                    g = g * 0.25 / (size + 1e-6)
                else:
                    g = np.clip(g, -0.001, 0.001)
                close(moves[key], g, tolerance, 0.01)


def test_learner_and_partial_fit_clip_alike(dtype):
    X, given, _ = data("vectors", nn.NLL(), dtype)
    for extra in ({"clip_norm": 0.2}, {"clip_value": 0.01}):
        for optimizer in ("sgd", "adam"):
            nets = [network("vectors", nn.NLL(0.1), dtype) for _ in range(2)]
            with nets[0].learner(0.05, optimizer, **extra) as learn:
                for j in range(10):
                    learn(X[:, j], given[j])
                assert learn.fast_calls == 10
                learn(X[:, :8], given[:8])
            for j in range(10):
                nets[1].partial_fit(X[:, j : j + 1], given[j : j + 1], 1, 0.05, optimizer, **extra)
            nets[1].partial_fit(X[:, :8], given[:8], 8, 0.05, optimizer, **extra)
            for a, b in zip(*map(linears, nets), strict=True):
                close(a.W, b.W, 1e-12 if dtype == np.float64 else 1e-4)


def test_repeated_calls_do_not_mix_up_their_bounds():
    X, given, _ = data("narrow", nn.NLL(), N=8)
    net, twin = network("narrow", nn.NLL()), network("narrow", nn.NLL(), lib=reference)
    for extra in ({}, {}, {"clip_norm": 0.1}, {"clip_norm": 0.1}, {"clip_norm": 0.2}, {}, {}):
        for n in (net, twin):
            n.partial_fit(X, given, lrate=0.3, **extra)
    close(net.modules[0].W, twin.modules[0].W, 1e-12)


def test_clipping_saves_what_would_diverge_and_a_gradient_beyond_the_range_diverges():
    X, _, Y = data("narrow", nn.Squared())
    X = X * 1e4
    net = network("narrow", nn.Squared())
    with pytest.raises(FloatingPointError):
        network("narrow", nn.Squared()).fit(X, Y * 1e6, epochs=300, lrate=10.0, seed=0)
    history = net.fit(X, Y * 1e6, epochs=300, lrate=10.0, seed=0, clip_norm=1.0)
    assert np.isfinite(history["loss"]).all()
    net = nn.Sequential([nn.Linear(1, 1)], nn.Squared())
    net.modules[0].W[...] = 0
    before = net.modules[0].W.copy()
    with pytest.raises(FloatingPointError, match="step 1"):
        net.partial_fit(np.full((1, 2), 1e154), np.full((1, 2), 1e152), clip_norm=1.0)
    assert (net.modules[0].W == before).all()


@pytest.mark.parametrize("width", [3, 1200])
def test_a_norm_beyond_the_range_leaves_the_weights(width):
    """Also those that are trained where they are."""
    np.random.seed(0)  # weights with which not every unit of the ReLU is 0
    net = nn.Sequential([nn.Linear(1100, width), nn.ReLU(), nn.Linear(width, 2)], nn.Squared())
    X, Y = np.full((1100, 20), 1e10), np.zeros((2, 20))
    Y[:, 10:] = 1e150
    before = [a.copy() for layer in linears(net) for a in (layer.W, layer.W0)]
    for call in (
        lambda: net.partial_fit(X, Y, batch_size=10, clip_norm=1.0, lrate=0.0),
        lambda: net.partial_fit(X[:, 10:], Y[:, 10:], batch_size=10, clip_norm=1.0),
    ):
        with pytest.raises(FloatingPointError):
            call()
        after = [a for layer in linears(net) for a in (layer.W, layer.W0)]
        assert all((a == b).all() for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("size", [(700, 900, 3), (1100, 1200, 3)])
def test_weights_in_place_are_clipped(size, dtype):
    rng = np.random.default_rng(0)
    X, given = rng.normal(size=(size[0], 40)).astype(dtype), rng.integers(3, size=40)
    nets = []
    for lib in (nn, reference):
        np.random.seed(0)
        nets.append(
            lib.Sequential(
                [
                    lib.Linear(size[0], size[1], dtype=dtype),
                    lib.ReLU(),
                    lib.Linear(size[1], 3, dtype=dtype, bias=False),
                    lib.SoftMax(),
                ],
                lib.NLL(),
            )
        )
        nets[-1].fit(X, given, batch_size=20, seed=0, clip_norm=0.3, l2=0.01, optimizer="adam")
    tolerance = 1e-9 if dtype == np.float64 else 1e-3
    for a, b in zip(*map(linears, nets), strict=True):
        close(a.W, b.W, tolerance)
