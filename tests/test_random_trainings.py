"""Random networks, data and settings: the compiled trainings against the NumPy backend, and the
calls that must agree among themselves.
"""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import LEVELS, TOLERANCE, assert_close

import nncore as nn
from nncore import _core, optimizers

sp = pytest.importorskip("scipy.sparse")

KINKED = (nn.ReLU, functools.partial(nn.LeakyReLU, 0.1))
ACTIVATIONS = (nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, *KINKED)
LOSSES = {
    "nll": (lambda n: nn.NLL(0.1, np.linspace(0.5, 2, n)), nn.SoftMax),
    "binary": (lambda n: nn.BinaryNLL(), nn.OutputSigmoid),
    "squared": (lambda n: nn.Squared(), None),
    "absolute": (lambda n: nn.Absolute(), None),
    "huber": (lambda n: nn.Huber(0.5), None),
    "hinge": (lambda n: nn.Hinge(), None),
}
RULES = {
    "sgd": {},
    "momentum": {},
    "nesterov": {},
    "adagrad": {"eps": 0.1},  # a gradient's rounding errors count 1 / eps times
    "rmsprop": {"eps": 0.1},
    "adam": {"eps": 0.1},
    "adamw": {"eps": 0.1},
}
WIDTHS = st.one_of(st.integers(1, 40), st.sampled_from((63, 64, 65, 100, 129, 200)))


@st.composite
def trainings(draw):
    """(sizes, activations, biases, loss, number of samples, settings of the call, seed)."""
    sizes = draw(st.lists(WIDTHS, min_size=2, max_size=4))
    hidden = [draw(st.sampled_from(ACTIVATIONS)) for _ in sizes[2:]]
    biases = [draw(st.booleans()) for _ in sizes[1:]]
    batch = draw(st.sampled_from((1, 2, 3, 7, 8, 16, 32)))
    # at most four steps, the last one often on a single sample
    rest = draw(st.sampled_from(sorted({1, batch - 1, batch} - {0})))
    samples = batch * draw(st.integers(0, 3)) + rest
    # Clipped steps of a W0 from 0 cancel but for rounding, which decides on a kink's side.
    bounds = [{}, {}, {"clip_norm": 0.3}]
    bounds += [{"clip_value": 0.02}] if not set(KINKED) & set(hidden) else []
    call = {
        "batch_size": batch,
        "l2": draw(st.sampled_from((0.0, 0.0, 0.1))),
        "reduction": draw(st.sampled_from(("mean", "sum"))),
        **draw(st.sampled_from(bounds)),
    }
    rule = draw(st.sampled_from(("sgd", "sgd", *RULES)))
    weighs = draw(st.booleans())
    loss, seed = draw(st.sampled_from(tuple(LOSSES))), draw(st.integers(0, 2**32 - 1))
    return sizes, hidden, biases, loss, samples, call, rule, weighs, seed


def network(training, dtype):
    sizes, hidden, biases, loss, *_, seed = training
    rng = np.random.default_rng(seed)
    modules = []
    for i, bias in enumerate(biases):
        modules.append(nn.Linear(sizes[i], sizes[i + 1], dtype=dtype, rng=rng, bias=bias))
        modules += [hidden[i]()] if i < len(hidden) else []
    of, unit = LOSSES[loss]
    return nn.Sequential(modules + ([unit()] if unit else []), of(sizes[-1]))


def data(training, dtype):
    sizes, _, _, loss, samples, *_, seed = training
    rng, n = np.random.default_rng(seed), sizes[-1]
    X = rng.normal(size=(sizes[0], samples)) * (rng.random((sizes[0], samples)) < 0.4)
    Y = {
        "nll": lambda: np.eye(n)[:, rng.integers(n, size=samples)],
        "binary": lambda: rng.random((n, samples)),
        "hinge": lambda: rng.choice([-1.0, 1.0], (n, samples)),
    }.get(loss, lambda: rng.normal(size=(n, samples)))()
    return X.astype(dtype), Y.astype(dtype), rng.choice([0.0, 0.5, 1.0, 3.0], samples)


def trained(training, dtype, X, Y, weights, way="partial_fit"):
    """The weights, the optimizer's state and the loss after one pass."""
    *_, call, rule, weighs, _ = training
    net, optimizer = network(training, dtype), optimizers.NAMES[rule](**RULES[rule])
    call = {**call, "lrate": 0.01, "optimizer": optimizer}
    weights = weights if weighs else None
    if way == "partial_fit":
        loss = net.partial_fit(X, Y, sample_weight=weights, **call)
    elif way == "fit":
        loss = net.fit(X, Y, shuffle=False, sample_weight=weights, **call)["loss"][0]
    else:
        block = (X, Y) if weights is None else (X, Y, weights)
        loss = net.fit([block], shuffle=False, **call)["loss"][0]
    arrays = [getattr(m, name) for m in net.modules for name in getattr(m, "gradients", ())]
    states = [a for key in sorted(optimizer.state) for a in optimizer.state[key]]
    return [*arrays, *states, np.array(loss, dtype)]


@given(trainings(), st.sampled_from(LEVELS), st.sampled_from((np.float32, np.float64)))
@settings(max_examples=150, deadline=None)
def test_a_pass_is_the_same_on_both_backends_and_for_every_form_of_the_data(training, level, dtype):
    if level not in _core.isa_levels():
        return
    X, Y, weights = data(training, dtype)
    with nn.use_backend("numpy"):
        expected = trained(training, dtype, X, Y, weights)
    before = _core.get_isa()
    _core.set_isa(level)
    try:
        dense = trained(training, dtype, X, Y, weights)
        others = {
            "Fortran order": trained(training, dtype, np.asfortranarray(X), Y, weights),
            "fit": trained(training, dtype, X, Y, weights, "fit"),
            "blocks": trained(training, dtype, X, Y, weights, "blocks"),
        }
        sparse = trained(training, dtype, sp.csc_array(X), Y, weights)
    finally:
        _core.set_isa(before)
    for form, arrays in others.items():
        assert all(map(np.array_equal, arrays, dense)), form
    for name, arrays in (("dense", dense), ("sparse", sparse)):
        for a, e in zip(arrays, expected, strict=True):
            assert_close(a, e, name, np.maximum(np.abs(e), 0.01), 100 * TOLERANCE[np.dtype(dtype)])
