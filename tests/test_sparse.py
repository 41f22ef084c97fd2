"""Samples that are mostly zeros, which the first layer takes as lists: the same results as of the
dense way, for any shape and layout."""

import copy

import numpy as np
import pytest
from support import (
    NETS,
    assert_close,
    copy_net,
    forward,
    gradients,
    make_data,
    make_net,
    make_program,
    shared,
    train_step,
    weights,
)

import nncore
from nncore import registry
from nncore.kernels import numpy_kernels

# Whole strips of 8, 4, 2 and 1 vectors at every level, and blocks of inputs and samples that are
# whole, or a few more, or less.
SPECS = {
    "wide": (300, [(250, "relu"), (10, "softmax")]),
    "one block": (40, [(133, "tanh"), (3, "softmax")]),
    "one layer": (513, [(129, "softmax")]),
    "sigmoids": (257, [(136, "sigmoid"), (5, "output_sigmoid")]),
}


def mostly_zeros(X, share=0.05, seed=5):
    rng = np.random.default_rng(seed)
    X = X * (rng.random(X.shape) < share)
    X[:, ::7] = 0  # samples, and an input, of zeros only
    X[X.shape[0] // 2] = 0
    return X


def make(spec, dtype, samples, seed=0):
    stages, loss = make_net(spec, dtype, seed)
    X, Y = make_data(spec, loss, samples, dtype)
    return stages, loss, mostly_zeros(X), Y


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("batch", [16, 17, 65, 128, 300])
def test_steps_are_those_of_the_dense_way(name, batch, isa, dtype):
    stages, loss, X, Y = make(SPECS[name], dtype, 310)
    plain, before = copy_net(stages), copy_net(stages)
    program = make_program(stages, loss, dtype)
    order = np.random.default_rng(3).permutation(310)
    total = program.fit(X, Y, order, batch, 0.5, 0, True)
    assert program.last_plan["inputs"] == "csr"
    expected = 0.0
    for at in range(0, 310, batch):
        here = order[at : at + batch]
        expected += train_step(
            numpy_kernels, plain, loss, X[:, here], Y[:, here], dtype(0.5 / len(here))
        )
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    assert_close(dtype(total), dtype(expected), "loss", tolerance=tolerance)
    for i, (a, e, b) in enumerate(
        zip(weights(stages), weights(plain), weights(before), strict=True)
    ):
        assert_close(a, e, f"weights {i}", np.maximum(np.abs(e).max(), np.abs(b).max()), tolerance)


def test_the_gradient_of_one_step(isa, dtype):
    """η of the batch's size: an error of the gradient is as large in the weights as in the
    gradient."""
    stages, loss, X, Y = make(SPECS["wide"], dtype, 100)
    start = copy_net(stages)
    make_program(stages, loss, dtype).fit(X, Y, np.arange(100), 100, 1.0, 0, False)
    for (linear, _), (before, _), (dLdW, dLdW0) in zip(
        stages, start, gradients(numpy_kernels, start, loss, X, Y)[1], strict=True
    ):
        assert_close(linear.W, before.W - dLdW)
        assert_close(linear.W0, before.W0 - dLdW0)
    assert np.array_equal(stages[0][0].W[150], start[0][0].W[150])  # of an input that is always 0


def test_prediction_and_losses(isa, dtype):
    for name, spec in SPECS.items():
        stages, loss, X, Y = make(spec, dtype, 300)
        program = make_program(stages, loss, dtype)
        P, losses = program.run(X, Y)
        assert program.last_plan["inputs"] == "csr"
        logits, _, _ = forward(numpy_kernels, stages, X)
        unit = numpy_kernels.softmax_forward if loss == "nll" else numpy_kernels.sigmoid_forward
        assert_close(P, unit(logits), name, 1.0)
        dense = make_program(stages, loss, dtype).run(
            X[:, :8], Y[:, :8]
        )  # so few samples go the dense way
        assert_close(P[:, :8], dense[0], name, 1.0)
        assert_close(losses[:8], dense[1], name, tolerance=1e-5 if dtype == np.float32 else 1e-12)


def test_the_share_of_zeros_decides(dtype):
    spec = SPECS["wide"]
    stages, loss, X, Y = make(spec, dtype, 200)
    program, rng = make_program(stages, loss, dtype), np.random.default_rng(0)
    for share, sparse in ((0.05, True), (0.25, True), (0.6, False), (1.0, False)):
        X = rng.random(X.shape).astype(dtype) * (rng.random(X.shape) < share)
        program.fit(X, Y, np.arange(200), 50, 0.01, 0, True)
        assert (program.last_plan["inputs"] == "csr") == sparse, share
        program.run(X)
        assert (program.last_plan["inputs"] == "csr") == sparse, share
        program.fit(X, Y, np.arange(200), 8, 0.01, 0, True)
        assert program.last_plan["inputs"] == "dense"  # batches too small to gain


def test_batches_as_large_as_data_sets_take_no_room_for_lists():
    stages, loss = make_net((2100, [(64, "relu"), (2, "softmax")]), np.float32)
    X, Y = np.zeros((2100, 2000), np.float32), np.eye(2, dtype=np.float32)[:, np.arange(2000) % 2]
    program = make_program(stages, loss, np.float32)
    for batch, sparse in (
        (2000, False),
        (1000, True),
        (2000, False),
        (16, True),
        (500, True),
        (2000, False),
        (1500, True),
    ):
        program.fit(X, Y, np.arange(2000), batch, 0.01, 0, True)
        assert (program.last_plan["inputs"] == "csr") == sparse


@pytest.mark.parametrize("layout", ["C", "F", "uint8", "other float"])
def test_layouts_and_types_give_the_same_bits(layout, isa, dtype):
    stages, loss, X, Y = make(SPECS["wide"], dtype, 90)
    X = np.minimum(np.rint(50 * np.abs(X)), 255)
    given = {
        "C": X.copy("C"),
        "F": X.copy("F"),
        "uint8": X.astype(np.uint8),
        "other float": X.astype(np.float32 if dtype == np.float64 else np.float64),
    }[layout]
    twin = copy_net(stages)
    for net, data in ((stages, X.astype(dtype)), (twin, given)):
        program = make_program(net, loss, dtype)
        program.fit(data, Y, np.arange(90), 40, 0.001, 0, True)
        assert program.last_plan["inputs"] == "csr"
    assert [w.tobytes() for w in weights(stages)] == [w.tobytes() for w in weights(twin)]


@pytest.mark.parametrize(
    "inputs", [300, 4400]
)  # on copies of the weights, and in the user's memory, where rows are not padded
@pytest.mark.parametrize("rule", [None, "adam"])
def test_any_number_of_threads_gives_the_same_bits(inputs, rule, isa, dtype):
    def run():
        stages, loss, X, Y = make((inputs, [(245, "relu"), (10, "softmax")]), dtype, 300)
        program = make_program(stages, loss, dtype)
        if rule:
            states = [
                tuple(tuple(np.zeros_like(w) for _ in range(2)) for w in (s.W, s.W0))
                for s, _ in stages
            ]
            program.use(rule, {"beta1": 0.9, "beta2": 0.99, "eps": 1e-6}, states, 0.01)
        program.fit(
            X, Y, np.resize(np.arange(300), 1000), 240, 0.01, 0, True
        )  # a batch fills a parallel region
        assert program.last_plan["inputs"] == "csr"
        return [program.total, *(w.tobytes() for w in weights(stages))]

    alone = shared(1, run)
    for threads in (2, 3, 5):
        assert shared(threads, run) == alone, threads


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_optimizers(name, dtype):
    """Against the same network whose every way but module by module is refused, as a class of the
    user's stands in it."""

    class Own(nncore.ReLU):
        pass

    rng = np.random.default_rng(1)
    X, Y = mostly_zeros(rng.random((150, 96))).astype(dtype), np.eye(4)[rng.integers(4, size=96)].T
    np.random.seed(2)
    net = nncore.Sequential(
        [
            nncore.Linear(150, 140, dtype=dtype),
            nncore.ReLU(),
            nncore.Linear(140, 4, dtype=dtype),
            nncore.SoftMax(),
        ],
        nncore.NLL(),
    )
    twin = copy.deepcopy(net)
    twin.modules[1] = Own()
    for one in (net, twin):
        one.fit(X, Y, epochs=3, batch_size=32, lrate=0.01, seed=0, optimizer=name)
    for mine, theirs in zip(net.modules[::2], twin.modules[::2], strict=True):
        assert_close(mine.W, theirs.W, tolerance=1e-3 if dtype == np.float32 else 1e-10)


def test_weights_that_are_not_finite_are_not_skipped(isa, dtype):
    """0 times infinity is NaN, and the loss shows it."""
    stages, loss, X, Y = make(SPECS["wide"], dtype, 64)
    stages[0][0].W[150] = np.inf  # only zeros meet it
    with np.errstate(invalid="ignore"):
        expected = forward(numpy_kernels, stages, X)[0]
    assert np.isnan(expected).all()
    assert np.isnan(make_program(stages, loss, dtype).run(X, Y)[0]).all()
    kept = [w.copy() for w in weights(stages)]
    with pytest.raises(FloatingPointError, match="diverged at step 1:"):
        make_program(stages, loss, dtype).fit(X, Y, np.arange(64), 32, 0.1, 0, True)
    assert all(np.array_equal(a, b) for a, b in zip(weights(stages), kept, strict=True))


@pytest.mark.parametrize("inputs", [300, 4400])
def test_divergence_is_found_at_the_step_of_the_dense_way(inputs, isa, dtype):
    found = []
    for least in (
        0.0,
        1e-30,
    ):  # a denormal-free number in place of each 0 makes the same data dense
        stages, loss, X, Y = make((inputs, [(245, "relu"), (10, "softmax")]), dtype, 320)
        program = make_program(stages, loss, dtype)
        with pytest.raises(FloatingPointError, match="diverged at step") as caught:
            program.fit(
                np.where(X == 0, dtype(least), X),
                Y,
                np.resize(np.arange(320), 6400),
                32,
                1e6,
                0,
                True,
            )
        assert (program.last_plan["inputs"] == "csr") == (least == 0)
        found.append(str(caught.value))
        assert all(np.isfinite(w).all() for w in weights(stages))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "spec",
    [
        (64, [(32, "relu"), (10, "softmax")]),
        (70, [(7, "tanh"), (12, "sigmoid"), (3, "softmax")]),
        (33, [(4, "softmax")]),
    ],
    ids=str,
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_steps_of_one_sample_on_a_small_network(spec, order, isa, dtype):
    """The special path for networks of a few vectors per layer, with a sample of zeros only and one
    without any zero among them."""
    stages, loss, X, Y = make(spec, dtype, 29)
    X[:, 3] = 1
    plain, before = copy_net(stages), copy_net(stages)
    program = make_program(stages, loss, dtype)
    np.random.seed(6)
    program.sgd(np.asarray(X, order=order), Y, 500, 0.05, pytest.fail)
    np.random.seed(6)
    for i in np.random.randint(29, size=500):
        train_step(numpy_kernels, plain, loss, X[:, i : i + 1], Y[:, i : i + 1], dtype(0.05))
    for i, (a, e, b) in enumerate(
        zip(weights(stages), weights(plain), weights(before), strict=True)
    ):
        assert_close(
            a,
            e,
            f"weights {i}",
            np.maximum(np.abs(e).max(), np.abs(b).max()),
            1e-4 if dtype == np.float32 else 1e-11,
        )


def test_a_small_network_whose_unused_weights_are_infinite(isa):
    """0 times infinity is NaN: the first loss is not finite."""
    stages, loss, X, Y = make((64, [(8, "relu"), (3, "softmax")]), np.float64, 20)
    stages[0][0].W[32] = np.inf
    told = []
    make_program(stages, loss, np.float64).sgd(X, Y, 50, 0.1, told.append)
    assert told == [1]


@pytest.mark.parametrize("inputs", [256, 257, 263, 271])
def test_nan_is_not_taken_for_zero(inputs, isa, dtype):
    """At any place of a sample, beyond its last whole vector too; each sample has its NaN at
    another one."""
    spec = (inputs, [(40, "relu"), (3, "softmax")])
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, inputs, dtype)
    X = mostly_zeros(X)
    np.fill_diagonal(X, np.nan)
    program = make_program(stages, loss, dtype)
    P, losses = program.run(X, Y)
    assert program.last_plan["inputs"] == "csr" and np.isnan(P).all() and np.isnan(losses).all()


@pytest.mark.parametrize(
    "spec",
    [(130, [(8, "relu"), (3, "softmax")]), (135, [(140, "relu"), (3, "softmax")])],
    ids=["small", "wide"],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_shows_any_entry_that_is_not_finite(spec, value, isa, dtype):
    """One sample per step, of which only the non-zero entries are visited."""
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 12, dtype)
    for place in (0, 1, 63, 64, 127, *range(128, spec[0])):
        wrong, told = mostly_zeros(X), []
        wrong[place] = value  # in every sample
        with np.errstate(all="ignore"):
            make_program(copy_net(stages), loss, dtype).sgd(wrong, Y, 20, 0.1, told.append)
        assert told == [1], place


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(value, isa, dtype):
    stages, loss, X, Y = make(SPECS["wide"], dtype, 200)
    start = [w.copy() for w in weights(stages)]
    X[7, 130] = value
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity in column 130"):
        make_program(stages, loss, dtype).fit(X, Y, np.arange(200), 50, 0.1, 0, True, True)
    assert all(np.array_equal(a, b) for a, b in zip(weights(stages), start, strict=True))


def test_networks_that_do_not_begin_with_weights_take_no_lists(dtype):
    spec = NETS["activation first"]
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 64, dtype)
    program = make_program(stages, loss, dtype, spec[0])
    program.fit(X * 0, Y, np.arange(64), 32, 0.1, 0, True)
    program.run(X * 0)
    assert program.last_plan["inputs"] == "dense"
