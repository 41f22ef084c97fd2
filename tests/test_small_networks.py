"""The special paths of small networks against the NumPy kernels: every loss, activation and rule at
batch size 1, and samples as columns in batches and predictions."""

import warnings

import numpy as np
import pytest
from support import LAYOUTS, assert_close, pairwise

import nncore as nn
from nncore import _core

TANH, RELU, SIGMOID = nn.Tanh, nn.ReLU, nn.Sigmoid
ACTIVATIONS = (
    TANH,
    RELU,
    SIGMOID,
    nn.LeakyReLU,
    nn.SiLU,
    nn.GELU,
    lambda: nn.GELU("tanh"),
)
LOSSES = {
    "nll": (nn.SoftMax, nn.NLL),
    "binary": (nn.OutputSigmoid, nn.BinaryNLL),
    "squared": (None, nn.Squared),
    "hinge": (None, nn.Hinge),
}
# one vector, several, 64 outputs, no hidden layer, three hidden layers; the last entry: outputs
SIZES = (
    (2, 3, 3, 2),
    (5, 9, 1),
    (30, 16, 1),
    (7, 33, 20, 3),
    (6, 64, 64, 5),
    (40, 4),
    (3, 17, 10),
    (9, 8, 8, 8, 2),
)
OPTIMIZERS = {
    "momentum": lambda: nn.optimizers.Momentum(0.9),
    "nesterov": lambda: nn.optimizers.Nesterov(0.8),
    "adagrad": lambda: nn.optimizers.Adagrad(eps=0.1),
    "rmsprop": lambda: nn.optimizers.RMSprop(eps=0.1),
    "adam": lambda: nn.optimizers.Adam(eps=0.1),
    "adamw": lambda: nn.optimizers.AdamW(eps=0.1, weight_decay=0.1),
    "penalty": nn.optimizers.SGD,
}


def make(sizes, activation, loss, dtype):
    rng = np.random.default_rng(3)
    chain = []
    for m, n in zip(sizes[:-1], sizes[1:], strict=True):
        linear = nn.Linear(m, n, dtype=dtype)
        linear.W[...], linear.W0[...] = rng.normal(0, m**-0.5, (m, n)), rng.normal(0, 0.5, (n, 1))
        chain += [linear, activation()]
    unit, loss = LOSSES[loss]
    chain[-1:] = [unit()] if unit else []
    return nn.Sequential(chain, loss())


def data(sizes, loss, count, dtype, density=1.0):
    rng = np.random.default_rng(4)
    n = sizes[-1]
    X = rng.normal(size=(sizes[0], count)).astype(dtype)
    X[rng.random(X.shape) >= density] = 0
    Y = {
        "nll": np.eye(n)[:, rng.integers(n, size=count)],
        "binary": rng.integers(2, size=(n, count)),
        "squared": rng.normal(size=(n, count)),
        "hinge": rng.choice([-1, 1], size=(n, count)),
    }[loss]
    return np.asfortranarray(X), np.asfortranarray(Y.astype(dtype))


def weights(net):
    return [w for m in net.modules if isinstance(m, nn.Linear) for w in (m.W, m.W0)]


def assert_same(mine, theirs, steps, dtype):
    """Weights of two networks; rounding grows with the steps."""
    tolerance = (4e-6 if dtype == np.float32 else 4e-14) * max(10, steps)
    for i, (a, e) in enumerate(zip(weights(mine), weights(theirs), strict=True)):
        assert_close(a, e, f"weights {i}", max(1.0, np.abs(e).max()), tolerance)


def both(sizes, activation, loss, dtype, call):
    """The networks that a call has trained on either backend, and its result."""
    nets, results = [], []
    for backend in ("compiled", "numpy"):
        with nn.use_backend(backend):
            net = make(sizes, activation, loss, dtype)
            np.random.seed(5)
            results.append(call(net))
            nets.append(net)
    return nets, results


def trained(net, X, Y, **options):
    return net.fit(X, Y, shuffle=False, **options)["loss"]


@pytest.mark.parametrize(
    ("sizes", "loss", "activation", "density"),
    [
        row
        for row in pairwise(SIZES, tuple(LOSSES), ACTIVATIONS, (1.0, 0.1))
        if row[0][-1] > 1 or row[1] != "nll"
    ],
)
def test_single_samples(sizes, loss, activation, density, isa, dtype):
    X, Y = data(sizes, loss, 23, dtype, density)
    nets, _ = both(sizes, activation, loss, dtype, lambda net: net.sgd(X, Y, iters=40, lrate=0.01))
    assert_same(*nets, 40, dtype)
    assert nn.explain(nets[0], X, Y, call="sgd")["path"] == "fused-sgd"
    nets, histories = both(
        sizes, activation, loss, dtype, lambda net: trained(net, X, Y, batch_size=1, lrate=0.01)
    )
    assert_same(*nets, 23, dtype)
    assert_close(
        np.array(histories[0], dtype),
        np.array(histories[1], dtype),
        "loss",
        None,
        1e-4 if dtype == np.float32 else 1e-12,
    )


@pytest.mark.parametrize(
    ("name", "sizes", "loss", "activation", "l2"),
    [
        row
        for row in pairwise(
            tuple(OPTIMIZERS), (*SIZES, (97, 130, 11)), tuple(LOSSES), ACTIVATIONS, (0.0, 0.2)
        )
        if row[1][-1] > 1 or row[2] != "nll"
    ],
)
def test_rules_on_single_samples(name, sizes, loss, activation, l2, isa, dtype):
    X, Y = data(sizes, loss, 19, dtype)
    l2 = 0.2 if name == "penalty" else l2
    optimizers = []

    def call(net):
        optimizers.append(OPTIMIZERS[name]())
        return trained(net, X, Y, batch_size=1, lrate=0.01, optimizer=optimizers[-1], l2=l2)

    nets, histories = both(sizes, activation, loss, dtype, call)
    assert_same(*nets, 19, dtype)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    assert_close(
        np.array(histories[0], dtype), np.array(histories[1], dtype), "loss", None, tolerance
    )
    for mine, theirs in zip(*(o.state.values() for o in optimizers), strict=True):
        for a, e in zip(mine, theirs, strict=True):
            assert_close(a, e, "state", max(1.0, np.abs(e).max()), tolerance)
    path = nn.explain(nets[0], X, Y, batch_size=1, optimizer=OPTIMIZERS[name](), l2=l2)["path"]
    assert path == ("sgd" if sizes[1] > 64 else "fused-sgd")


def test_a_function_as_rate_and_a_number_give_the_same_bits_with_a_rule(isa, dtype):
    X, Y = data((7, 20, 3), "nll", 30, dtype)
    found = []
    for rate in (0.01, lambda t: 0.01):
        net = make((7, 20, 3), TANH, "nll", dtype)
        net.fit(X, Y, batch_size=1, lrate=rate, optimizer="adam", seed=0)
        found.append(b"".join(w.tobytes() for w in weights(net)))
    assert found[0] == found[1]


@pytest.mark.parametrize("sizes", [(6, 64, 64, 5), (5, 9, 3), (97, 130, 11)])
def test_state_never_stays_subnormal(sizes, isa):
    """A mean of gradients that are 0 decays until it is smaller than every normal number."""
    X, Y = data(sizes, "nll", 50, np.float32)
    net = make(sizes, RELU, "nll", np.float32)
    net.modules[0].W0[::2] = -1e6  # units that are never active
    adam = nn.optimizers.Adam()
    # a first step with gradients, then none
    for module in net.modules[:1]:
        module.W0[::2] = 0
    net.fit(X, Y, batch_size=1, optimizer=adam, lrate=1e-3, seed=0)
    net.modules[0].W0[::2] = -1e6
    for _ in range(30):
        net.fit(X, Y, batch_size=1, optimizer=adam, lrate=1e-3, seed=0)
    tiny = np.finfo(np.float32).tiny
    M = next(iter(adam.state.values()))[0]
    assert (M[:, ::2] == 0).all()
    for arrays in adam.state.values():
        for s in arrays:
            assert not ((s != 0) & (np.abs(s) < tiny)).any()


@pytest.mark.parametrize("loss", ["squared", "binary", "hinge"])
@pytest.mark.parametrize("sizes", [(4, 6, 1), (6, 40, 2)])
def test_a_loss_that_is_not_finite_is_reported_at_its_step(loss, sizes, isa, dtype):
    X, Y = data(sizes, loss, 300, dtype)
    net = make(sizes, RELU, loss, dtype)
    np.random.seed(5)
    draws = np.random.randint(300, size=200)
    at = draws[170]
    first = int(np.flatnonzero(draws == at)[0]) + 1
    X[:, at] = np.nan
    np.random.seed(5)
    with pytest.warns(RuntimeWarning, match=f"not finite at step {first}"):
        net.sgd(X, Y, iters=200, lrate=1e-3)


@pytest.mark.parametrize("optimizer", [None, "momentum"])
@pytest.mark.parametrize("loss", ["nll", "squared"])
@pytest.mark.parametrize("sizes", [(4, 6, 3), (6, 40, 3), (90, 100, 3)])
def test_divergence_of_single_samples_ends_at_the_last_finite_step(
    optimizer, loss, sizes, isa, dtype
):
    """The weights are those that a training of one step fewer gives on the NumPy kernels."""
    X, Y = data(sizes, loss, 260, dtype)
    X[:, 200:203] = np.finfo(dtype).max ** 0.7

    def call(net):
        with warnings.catch_warnings(), pytest.raises(FloatingPointError) as error:
            warnings.simplefilter("ignore")
            trained(net, X, Y, batch_size=1, lrate=1e-3, optimizer=optimizer)
        return str(error.value)

    nets, messages = both(sizes, RELU, loss, dtype, call)
    assert messages[0] == messages[1] and "at step 20" in messages[0]
    assert all(np.isfinite(w).all() for w in weights(nets[0]))
    assert_same(*nets, 200, dtype)


NARROW = ((2, 3, 3, 2), (5, 3, 1), (30, 16, 1), (10, 20, 1), (9, 8, 8, 8, 2), (4, 5))


@pytest.mark.parametrize(
    ("sizes", "loss", "activation", "batch", "rule"),
    [
        row
        for row in pairwise(
            NARROW,
            tuple(LOSSES),
            ACTIVATIONS,
            (32, 47, 128, 129, 300),
            (None, "adam", "momentum", "penalty"),
        )
        if row[0][-1] > 1 or row[1] != "nll"
    ],
)
def test_samples_as_columns(sizes, loss, activation, batch, rule, isa, dtype):
    X, Y = data(sizes, loss, 700, dtype)
    l2 = 0.2 if rule == "penalty" else 0.0

    def call(net):
        optimizer = OPTIMIZERS[rule]() if rule else None
        return trained(net, X, Y, batch_size=batch, lrate=0.02, optimizer=optimizer, l2=l2)

    nets, histories = both(sizes, activation, loss, dtype, call)
    assert_same(*nets, 30, dtype)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    assert_close(
        np.array(histories[0], dtype), np.array(histories[1], dtype), "loss", None, tolerance
    )
    for count in (32, 129, 700):
        P, Q = [], []
        for backend, found in (("compiled", P), ("numpy", Q)):
            with nn.use_backend(backend):
                net = make(sizes, activation, loss, dtype)
                found.append(net.predict_proba(X[:, :count]))
                found.append(np.array(net.evaluate(X[:, :count], Y[:, :count])))
        assert_close(P[0], Q[0], "outputs", 1.0)
        assert_close(P[1].astype(dtype), Q[1].astype(dtype), "evaluate", None, tolerance)


@pytest.mark.parametrize("batch", [1, 47, 300])
@pytest.mark.parametrize("classes", [2, 3, 7, 12])
@pytest.mark.parametrize("confidence", [0.0, 1.0, 30.0, 600.0])
@pytest.mark.parametrize("labels", ["one-hot", "soft", "of another sum", "mixed"])
def test_sums_of_losses_from_tiny_to_huge(batch, classes, confidence, labels, isa, dtype):
    """The logarithms of a slice are taken at once if all its labels sum to 1."""
    rng = np.random.default_rng(6)
    X, Y = data((4, 5, classes), "nll", 300, dtype)
    if labels == "soft":
        Y[:] = rng.dirichlet(np.ones(classes), 300).T
    elif labels == "of another sum":
        Y *= 2
    elif labels == "mixed":
        Y[:, 200] *= dtype(0.75)

    def call(net):
        net.modules[2].W *= dtype(confidence)
        if confidence > 1:  # right for most samples, by far
            P = net.predict_proba(X)
            Y[:, :290] = np.eye(classes)[:, P.argmax(0)[:290]]
        return trained(net, X, Y, batch_size=batch, lrate=1e-30)

    _, (mine, theirs) = both((4, 5, classes), TANH, "nll", dtype, call)
    assert np.isfinite(theirs).all()
    np.testing.assert_allclose(mine, theirs, 3e-6 if dtype == np.float32 else 3e-14)


@pytest.mark.parametrize(
    ("sizes", "batch", "path"),
    [
        ((2, 3, 3, 2), 15, "fused-minibatch"),
        ((2, 3, 3, 2), 16, "column-minibatch"),
        ((30, 16, 1), 64, "column-minibatch"),
        ((64, 32, 10), 32, "fused-minibatch"),
        ((64, 32, 10), 128, "column-minibatch"),
        ((100, 64, 10), 128, "fused-minibatch"),
    ],
)
def test_where_samples_become_columns(sizes, batch, path):
    """By the measurements in src/engine/tuning.h."""
    if _core.get_isa() != "avx512":
        pytest.skip("measured with AVX-512")
    net = make(sizes, TANH, "nll", np.float32)
    X, Y = data(sizes, "nll", 200, np.float32)
    assert nn.explain(net, X, Y, batch_size=batch)["path"] == path
    assert nn.explain(net, X, Y, call="evaluate")["path"] == "blocks"
    predicts = "column-blocks" if sizes == (2, 3, 3, 2) else "blocks"
    assert nn.explain(net, X, call="predict")["path"] == predicts


@pytest.mark.parametrize("call", ["fit", "adam", "single", "single adam", "predict"])
def test_every_layout_gives_the_same_bits(call, isa, dtype):
    sizes = (9, 8, 8, 8, 2)
    X, Y = data(sizes, "nll", 150, dtype)
    found = set()
    for layout in (lambda x: x, *(LAYOUTS[name] for name in LAYOUTS if name != "list")):
        net = make(sizes, SIGMOID, "nll", dtype)
        x, y = layout(X), layout(Y)
        if call == "predict":
            found.add(np.ascontiguousarray(net.predict_proba(x)).tobytes())
            continue
        optimizer = "adam" if "adam" in call else None
        net.fit(x, y, batch_size=1 if "single" in call else 40, optimizer=optimizer, seed=0)
        found.add(b"".join(w.tobytes() for w in weights(net)))
    assert len(found) == 1


def test_paths_of_all_threads_give_the_same_bits():
    before = nn.get_num_threads()
    X, Y = data((2, 3, 3, 2), "nll", 20_000, np.float32)
    found = []
    try:
        for threads in (1, 2):
            nn.set_num_threads(threads)
            net = make((2, 3, 3, 2), TANH, "nll", np.float32)
            net.fit(X, Y, batch_size=5000, seed=0)
            found.append((net.predict_proba(X).tobytes(), [w.tobytes() for w in weights(net)]))
    finally:
        nn.set_num_threads(before)
    assert found[0] == found[1]
