"""The compiled network program against the notes' algorithm in NumPy kernels: steps, draws,
trajectories, repeatability."""

import warnings

import mpmath
import numpy as np
import pytest
from support import (
    DTYPES,
    FROM_LOGITS,
    LAYOUTS,
    NETS,
    TYPES,
    assert_close,
    copy_net,
    forward,
    make_data,
    make_net,
    make_program,
    train_step,
    ulps,
    unchanged,
    weights,
)

import nncore
from nncore import _core, reference, schedules
from nncore.kernels import compiled, numpy_kernels


def silent(step):
    pytest.fail(f"the loss was called not finite at step {step}")


@pytest.fixture(params=NETS)
def spec(request):
    return NETS[request.param]


def assert_same_weights(actual, expected, before, rate_scale=1.0, tolerance=None):
    """Weights of two chains; `before` keeps the comparison relative to what the update started from
    where it nearly cancels."""
    for i, (a, e, b) in enumerate(
        zip(weights(actual), weights(expected), weights(before), strict=True)
    ):
        assert_close(
            a,
            e,
            f"weights {i}",
            np.maximum(np.abs(e).max(), np.abs(b).max()) * rate_scale,
            tolerance,
        )


# ----------------------------------------------------------------------------------------- one step


def test_one_step_of_one_sample(spec, isa, dtype):
    """η = 1: an error of the gradient is as large in the weights as in the gradient."""
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 5, dtype)
    compiled_net, plain = copy_net(stages), copy_net(stages)
    np.random.seed(3)
    make_program(compiled_net, loss, dtype, spec[0]).sgd(X, Y, 1, 1.0, silent)
    np.random.seed(3)
    i = np.random.randint(5)
    train_step(numpy_kernels, plain, loss, X[:, i : i + 1], Y[:, i : i + 1], 1.0)
    assert_same_weights(compiled_net, plain, stages)


@pytest.mark.parametrize("batch", [1, 2, 7, 32, 37, 150])
@pytest.mark.parametrize("mean", [True, False], ids=["mean", "sum"])
def test_one_batch(spec, batch, mean, isa, dtype):
    stages, loss = make_net(spec, dtype)
    count = max(41, batch + 4)
    X, Y = make_data(spec, loss, count, dtype)
    order = np.random.default_rng(2).permutation(count)[:batch]
    compiled_net, plain = copy_net(stages), copy_net(stages)
    rate = 1.0 if mean else 1.0 / batch
    with unchanged(X, Y, order):
        total = make_program(compiled_net, loss, dtype, spec[0]).fit(
            X, Y, order, batch, rate, 0, mean
        )
    expected = train_step(numpy_kernels, plain, loss, X[:, order], Y[:, order], 1.0 / batch)
    assert type(total) is float
    assert_close(dtype(total), dtype(expected), "loss")
    assert_same_weights(compiled_net, plain, stages)


@pytest.mark.parametrize(
    "spec",
    [
        (7, [(19, "tanh"), (1100, "sigmoid"), (3, "softmax")]),
        (5, [(1100, "relu"), (1100, "softmax")]),
    ],
    ids=["wide", "wide twice"],
)
def test_one_batch_of_wide_layers(spec, isa, dtype):
    """The way back sums over more outputs than one block of a product takes."""
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 9, dtype)
    plain, start = copy_net(stages), copy_net(stages)
    make_program(stages, loss, dtype).fit(X, Y, np.arange(9), 9, 0.1, 0, False)
    train_step(numpy_kernels, plain, loss, X, Y, dtype(0.1))
    assert_same_weights(stages, plain, start)


@pytest.mark.parametrize("batch, count", [(1, 3), (2, 5), (7, 16), (32, 41), (100, 41), (5, 0)])
def test_a_pass_in_batches_with_a_smaller_last_one(batch, count, isa, dtype):
    spec = NETS["odd"]
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 41, dtype)
    order = np.random.default_rng(4).permutation(41)[:count]
    rate = schedules.InverseTime(0.1, 0.5)
    compiled_net, plain = copy_net(stages), copy_net(stages)
    total = make_program(compiled_net, loss, dtype).fit(X, Y, order, batch, rate, 10, True)
    expected = 0.0
    for t, at in enumerate(range(0, count, batch)):
        here = order[at : at + batch]
        expected += train_step(
            numpy_kernels, plain, loss, X[:, here], Y[:, here], rate(11 + t) / len(here)
        )
    assert_close(dtype(total), dtype(expected), "loss")
    assert_same_weights(compiled_net, plain, stages)


@pytest.mark.parametrize("samples", [0, 1, 2, 7, 129, 300])
def test_prediction_and_losses(spec, samples, isa, dtype):
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, samples, dtype)
    with unchanged(X, Y, *weights(stages)):
        P, losses = make_program(stages, loss, dtype, spec[0]).run(X, Y)
        alone, nothing = make_program(stages, None, dtype, spec[0]).run(X)
    assert (
        P.flags.f_contiguous and P.dtype == dtype and losses.dtype == np.float64 and nothing is None
    )
    logits, _, _ = forward(numpy_kernels, stages, X)
    unit = {"nll": numpy_kernels.softmax_forward, "binary_nll": numpy_kernels.sigmoid_forward}.get(
        loss, np.copy
    )
    assert_close(P, unit(logits), "outputs", 1.0)
    assert_close(alone, unit(logits), "outputs without labels", 1.0)
    kernel = getattr(numpy_kernels, FROM_LOGITS[loss])
    each = [kernel(logits[:, j : j + 1], Y[:, j : j + 1])[0] for j in range(samples)]
    assert_close(losses.astype(dtype), np.array(each, dtype), "losses", max(each, default=0))


# -------------------------------------------------------------------------------------------- draws


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 33, 47])
def test_small_networks_of_every_width(width, isa, dtype):
    """Layers that fit one vector, of any of a level's widths, or a few: one sample per step,
    batches, and single predictions."""
    spec = (width + 6, [(width, "tanh"), (max(1, width - 1), "relu"), (width, "softmax")])
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 15, dtype)
    one, batches, plain, in_batches = (copy_net(stages) for _ in range(4))
    np.random.seed(4)
    make_program(one, loss, dtype).sgd(np.asfortranarray(X), Y, 40, 0.1, silent)
    np.random.seed(4)
    for i in np.random.randint(15, size=40):
        train_step(numpy_kernels, plain, loss, X[:, i : i + 1], Y[:, i : i + 1], dtype(0.1))
    make_program(batches, loss, dtype).fit(X, Y, np.arange(15), 4, 0.1, 0, True)
    for at in range(0, 15, 4):
        here = slice(at, at + 4)
        train_step(
            numpy_kernels, in_batches, loss, X[:, here], Y[:, here], dtype(0.1 / len(X[0, here]))
        )
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    for mine, theirs in ((one, plain), (batches, in_batches)):
        for i, (a, e, b) in enumerate(
            zip(weights(mine), weights(theirs), weights(stages), strict=True)
        ):
            assert_close(
                a, e, f"weights {i}", np.maximum(np.abs(e).max(), np.abs(b).max()), tolerance
            )
    modules = [
        m
        for linear, activation in stages
        for m in (
            nncore.Linear(*linear.W.shape, dtype=dtype),
            {"tanh": nncore.Tanh, "relu": nncore.ReLU, "softmax": nncore.SoftMax}[activation](),
        )
    ]
    for module, w in zip(modules[::2], [s for s, _ in stages], strict=True):
        module.W, module.W0 = w.W, w.W0
    p = nncore.Sequential(modules).predictor()
    expected = numpy_kernels.softmax_forward(forward(numpy_kernels, stages, X)[0])
    assert_close(
        np.stack([p(np.ascontiguousarray(X[:, i])) for i in range(15)], 1), expected, scale=1.0
    )


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 64, 1000, 2**31 + 5, 2**33 + 1])
def test_draws_and_the_generators_state(samples):
    """The weights after few steps show which samples were drawn; the state shows how many."""
    stages, loss = make_net(NETS["2-3-3-2"], np.float64)
    shown = min(samples, 1000)
    X, Y = make_data(NETS["2-3-3-2"], loss, shown, np.float64)
    if samples > shown:  # more samples than memory: every one the same
        X, Y = np.broadcast_to(X[:, :1], (2, samples)), np.broadcast_to(Y[:, :1], (2, samples))
    plain, before = copy_net(stages), copy_net(stages)
    np.random.seed(7)
    make_program(stages, loss, np.float64).sgd(X, Y, 137, 0.01, silent)
    state = np.random.get_state()
    np.random.seed(7)
    for _ in range(137):
        i = np.random.randint(samples)
        train_step(numpy_kernels, plain, loss, X[:, i : i + 1], Y[:, i : i + 1], 0.01)
    for mine, theirs in zip(state, np.random.get_state(), strict=True):
        assert np.array_equal(mine, theirs)
    assert_same_weights(stages, plain, before, tolerance=1e-12)


def test_no_steps_draw_nothing():
    stages, loss = make_net(NETS["one layer"], np.float64)
    X, Y = make_data(NETS["one layer"], loss, 4, np.float64)
    state = np.random.get_state()
    with unchanged(*weights(stages)):
        make_program(stages, loss, np.float64).sgd(X, Y, 0, 0.1, silent)
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))


def test_fit_draws_nothing():
    stages, loss = make_net(NETS["one layer"], np.float64)
    X, Y = make_data(NETS["one layer"], loss, 4, np.float64)
    state = np.random.get_state()
    make_program(stages, loss, np.float64).fit(X, Y, np.arange(4), 2, 0.1, 0, True)
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))


# ------------------------------------------------------------------------------------- trajectories


@pytest.mark.parametrize(
    "name, steps", [("2-3-3-2", 3000), ("64-32-10", 600), ("binary", 2000), ("odd", 600)]
)
def test_trajectories_stay_as_close_as_the_reference_to_itself(name, steps, isa):
    """Training is chaotic, so the yardstick is what one ulp in the reference's own initial weights
    becomes; for the same draws."""
    stages, loss = make_net(NETS[name], np.float64)
    X, Y = make_data(NETS[name], loss, 50, np.float64)
    plain, nudged = copy_net(stages), copy_net(stages)
    for w in weights(nudged):
        w[...] = np.nextafter(w, np.inf)
    np.random.seed(11)
    draws = np.random.randint(50, size=steps)
    for net in (plain, nudged):
        for i in draws:
            train_step(numpy_kernels, net, loss, X[:, i : i + 1], Y[:, i : i + 1], 0.1)
    np.random.seed(11)
    make_program(stages, loss, np.float64).sgd(X, Y, steps, 0.1, silent)

    def distance(net):
        return max(np.abs(a - b).max() for a, b in zip(weights(net), weights(plain), strict=True))

    sensitivity = distance(nudged)
    assert distance(stages) <= max(100 * sensitivity, 1e-9 if sensitivity < 1e-11 else 0)


@pytest.mark.parametrize(
    "sizes", [(33, 17, 5), (70, 130, 3), (70, 130, 35, 9), (600, 1, 4, 2), (600, 23)]
)
@pytest.mark.parametrize("share", ["dense", "sparse", "mixed"])
def test_blocks_of_steps_are_the_steps_one_by_one(sizes, share, isa, dtype):
    """Steps that share a pass over the first layer: whole blocks, what is left of one, and dense
    and sparse samples in turn."""
    spec = sizes[0], [*((n, "relu") for n in sizes[1:-1]), (sizes[-1], "softmax")]
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 29, dtype)
    if share != "dense":
        X[:, slice(None) if share == "sparse" else slice(None, None, 3)] *= (
            np.random.default_rng(1).random((sizes[0], 1)) < 0.2
        )
    for steps in (7, 8, 9, 16, 43):
        net, theirs = copy_net(stages), copy_net(stages)
        np.random.seed(steps)
        make_program(net, loss, dtype).sgd(X, Y, steps, 0.02, silent)
        np.random.seed(steps)
        for i in np.random.randint(29, size=steps):
            train_step(numpy_kernels, theirs, loss, X[:, i : i + 1], Y[:, i : i + 1], 0.02)
        for mine, other in zip(weights(net), weights(theirs), strict=True):
            assert_close(
                mine, other, f"{steps} steps", tolerance=1e-11 if dtype == np.float64 else 2e-4
            )


def test_sparse_samples_of_a_network_that_begins_without_weights(isa, dtype):
    """Only a first Linear may look at no more than the inputs that are not 0."""
    X = np.random.default_rng(2).normal(size=(200, 30)) * (
        np.random.default_rng(3).random((200, 30)) < 0.1
    )
    Y = np.eye(3)[np.arange(30) % 3].T
    nets = []
    for library in (nncore, nncore.reference):
        np.random.seed(4)
        nets.append(
            library.Sequential(
                [
                    library.Sigmoid(),
                    library.Linear(200, 70, dtype=dtype),
                    library.Tanh(),
                    library.Linear(70, 3, dtype=dtype),
                    library.SoftMax(),
                ],
                library.NLL(),
            )
        )
        nets[-1].sgd(X.astype(dtype), Y, 40, 0.02)
    for mine, theirs in zip(*(net.modules[1::2] for net in nets), strict=True):
        assert_close(mine.W, theirs.W, tolerance=1e-11 if dtype == np.float64 else 2e-4)
        assert_close(mine.W0, theirs.W0, tolerance=1e-11 if dtype == np.float64 else 2e-4)


def test_blocks_of_steps_give_way_where_products_of_samples_overflow(isa):
    """x . x of float32 samples of 1e25 is infinite although no sum of a single step is."""
    spec = 400, [(70, "tanh"), (3, "softmax")]
    stages, loss = make_net(spec, np.float32)
    X, Y = make_data(spec, loss, 20, np.float32)
    X[:, ::4] = 1e25
    theirs = copy_net(stages)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.random.seed(3)
        make_program(stages, loss, np.float32).sgd(X, Y, 48, 1e-3, silent)
    np.random.seed(3)
    for i in np.random.randint(20, size=48):
        train_step(numpy_kernels, theirs, loss, X[:, i : i + 1], Y[:, i : i + 1], 1e-3)
    for mine, other in zip(weights(stages), weights(theirs), strict=True):
        assert_close(mine, other, tolerance=2e-4)


def layer_net(library, dtype=np.float64):
    np.random.seed(2)
    return library.Sequential(
        [
            library.Linear(6, 9, dtype=dtype),
            library.Tanh(),
            library.Linear(9, 8, dtype=dtype),
            library.ReLU(),
            library.Linear(8, 3, dtype=dtype),
            library.SoftMax(),
        ],
        library.NLL(),
    )


@pytest.mark.parametrize("iters", [1, 2, 60])
def test_sgd_of_the_layer_api_leaves_what_the_reference_leaves(iters, isa, dtype):
    """Weights, gradients, kept activations, the loss's arrays and the generator's state."""
    rng = np.random.default_rng(0)
    X, Y = (
        rng.normal(size=(6, 20)).astype(dtype),
        np.eye(3, dtype=dtype)[:, rng.integers(3, size=20)],
    )
    nets, states = [], []
    for library in (nncore, reference):
        net = layer_net(library, dtype)
        np.random.seed(5)
        net.sgd(X, Y, iters, 0.05)
        nets.append(net)
        states.append(np.random.get_state())
    assert all(np.array_equal(a, b) for a, b in zip(*states, strict=True))
    tolerance = (1e-11 if dtype == np.float64 else 1e-4) if iters > 2 else None
    for mine, theirs in zip(nets[0].modules, nets[1].modules, strict=True):
        assert vars(mine).keys() == vars(theirs).keys()
        for name in vars(theirs).keys() - {"m", "n"}:
            assert_close(
                getattr(mine, name),
                getattr(theirs, name),
                name,
                max(1.0, np.abs(getattr(theirs, name)).max()),
                tolerance,
            )
    for name in ("Ypred", "Y"):
        assert_close(getattr(nets[0].loss, name), getattr(nets[1].loss, name), name, 1.0, tolerance)


@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_fit_of_the_layer_api_leaves_what_the_reference_leaves(batch_size, isa, dtype):
    rng = np.random.default_rng(0)
    X, Y = (
        rng.normal(size=(6, 20)).astype(dtype),
        np.eye(3, dtype=dtype)[:, rng.integers(3, size=20)],
    )
    mine, theirs = layer_net(nncore, dtype), layer_net(reference, dtype)
    histories = [
        net.fit(X, Y, epochs=2, batch_size=batch_size, lrate=0.05, seed=1) for net in (mine, theirs)
    ]
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    assert_close(
        np.array(histories[0]["loss"]),
        np.array(histories[1]["loss"]),
        "history",
        tolerance=tolerance,
    )
    for a, b in zip(mine.modules, theirs.modules, strict=True):
        if hasattr(a, "W"):
            assert_close(a.W, b.W, "W", 1.0, tolerance)
            assert_close(a.W0, b.W0, "W0", 1.0, tolerance)


# ------------------------------------------------------------------------------------ repeatability


@pytest.mark.parametrize("call", ["sgd", "fit", "run"])
def test_two_identical_calls_give_identical_bits(spec, call, isa, dtype):
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 37, dtype)
    results = []
    for shift in (0, 1):  # the same numbers elsewhere in memory
        net = copy_net(stages)
        room = np.zeros(X.size + shift, dtype)[shift:].reshape(X.shape)
        room[...] = X
        program = make_program(net, loss, dtype, spec[0])
        np.random.seed(0)
        if call == "sgd":
            results.append((program.sgd(room, Y, 40, 0.1, silent), weights(net)))
        elif call == "fit":
            results.append((program.fit(room, Y, np.arange(37), 10, 0.1, 0, True), weights(net)))
        else:
            results.append((None, list(program.run(room, Y))))
    (first, one), (second, other) = results
    assert first == second and all(
        a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True)
    )


def test_the_bits_do_not_depend_on_where_the_clock_ends_a_chunk(isa, dtype):
    """Of samples sparse and dense in turn only some are read by a list of what is not zero, which
    sums in another order."""
    stages, loss = make_net(NETS["65 wide"], dtype)
    X, Y = make_data(NETS["65 wide"], loss, 37, dtype)
    X[:, ::2] *= np.random.default_rng(1).random((65, 19)) < 0.3
    results = []
    for _ in range(4):
        net = copy_net(stages)
        np.random.seed(0)
        make_program(net, loss, dtype).sgd(X, Y, 25000, 0.01, silent)  # several chunks
        results.append(b"".join(a.tobytes() for a in weights(net)))
    assert len(set(results)) == 1


def test_a_sample_predicts_the_same_bits_alone_and_in_company(spec, isa, dtype):
    """Its place in the batch and the batch's remainder must not change the order of summation: 129
    = 128 + 1."""
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 129, dtype)
    program = make_program(stages, loss, dtype, spec[0])
    P, losses = program.run(X, Y)
    for j in (0, 5, 127):
        Q, again = program.run(X[:, j : j + 2], Y[:, j : j + 2])
        assert_close(Q, P[:, j : j + 2], f"outputs from sample {j}", 1.0)
        assert_close(
            again,
            losses[j : j + 2],
            f"losses from sample {j}",
            max(1.0, losses.max()),
            tolerance=4 * np.finfo(dtype).eps * 30,
        )


# -------------------------------------------------------------------------------------------- rates


def test_number_schedule_and_function_are_the_same_rate(spec, isa, dtype):
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 9, dtype)
    nets = []
    for rate in (0.05, schedules.Constant(0.05), lambda t: 0.05):
        net = copy_net(stages)
        np.random.seed(1)
        make_program(net, loss, dtype, spec[0]).sgd(X, Y, 25, rate, silent)
        nets.append((net, np.random.get_state()[1].tobytes()))
    assert all(
        a.tobytes() == b.tobytes()
        for a, b in zip(weights(nets[0][0]), weights(nets[1][0]), strict=True)
    )
    assert_same_weights(
        nets[2][0], nets[0][0], stages, tolerance=1e-11 if dtype == np.float64 else 1e-4
    )
    assert len({state for _, state in nets}) == 1


@pytest.mark.parametrize("method", ["sgd", "fit"])
def test_steps_are_counted_from_one_and_schedules_are_followed(method):
    rate, asked = schedules.InverseTime(0.2, 0.1), []
    stages, loss = make_net(NETS["odd"], np.float64)
    X, Y = make_data(NETS["odd"], loss, 30, np.float64)

    def remembered(t):
        asked.append(t)
        return rate(t)

    nets = [copy_net(stages), copy_net(stages)]
    for net, eta in zip(nets, (rate, remembered), strict=True):
        program = make_program(net, loss, np.float64)
        np.random.seed(0)
        if method == "sgd":
            program.sgd(X, Y, 30, eta, silent)
        else:
            program.fit(X, Y, np.arange(30), 1, eta, 0, True)
    assert asked == list(range(1, 31))
    assert_same_weights(nets[0], nets[1], stages, tolerance=1e-12)


def test_a_rate_function_sees_the_weights_of_every_whole_step():
    stages, loss = make_net(NETS["2-3-3-2"], np.float64)
    X, Y = make_data(NETS["2-3-3-2"], loss, 9, np.float64)
    plain, seen = copy_net(stages), []

    def rate(t):
        seen.append([w.copy() for w in weights(stages)])
        return 0.1

    np.random.seed(6)
    make_program(stages, loss, np.float64).sgd(X, Y, 12, rate, silent)
    np.random.seed(6)
    for t in range(12):
        for a, e in zip(seen[t], weights(plain), strict=True):
            assert_close(a, e, f"before step {t + 1}", 1.0, 1e-12)
        i = np.random.randint(9)
        train_step(numpy_kernels, plain, loss, X[:, i : i + 1], Y[:, i : i + 1], 0.1)


def test_weights_changed_by_a_rate_function_count():
    stages, loss = make_net(NETS["2-3-3-2"], np.float64)
    X, Y = make_data(NETS["2-3-3-2"], loss, 9, np.float64)
    first = stages[0][0]

    def rate(t):
        if t == 3:
            first.W = np.zeros((2, 3))
        if t == 4:
            first.W0[...] = 7.0
        return 0.0

    make_program(stages, loss, np.float64).sgd(X, Y, 5, rate, silent)
    assert not first.W.any() and (first.W0 == 7).all()


def test_an_error_in_a_rate_function_leaves_the_steps_before_it():
    stages, loss = make_net(NETS["2-3-3-2"], np.float64)
    X, Y = make_data(NETS["2-3-3-2"], loss, 9, np.float64)
    plain, before = copy_net(stages), copy_net(stages)

    def rate(t):
        if t == 5:
            raise LookupError("no rate for step 5")
        return 0.1

    np.random.seed(8)
    with pytest.raises(LookupError, match="no rate for step 5"):
        make_program(stages, loss, np.float64).sgd(X, Y, 50, rate, silent)
    np.random.seed(8)
    for _ in range(4):
        i = np.random.randint(9)
        train_step(numpy_kernels, plain, loss, X[:, i : i + 1], Y[:, i : i + 1], 0.1)
    assert_same_weights(stages, plain, before)


# -------------------------------------------------------------------- data and weights as they come


@pytest.mark.parametrize("method", ["sgd", "fit", "run"])
@pytest.mark.parametrize("how", [k for k in (*LAYOUTS, *TYPES) if k != "list"])
def test_data_of_every_type_and_layout(method, how, dtype):
    """Converted samples are the same numbers, so the weights are the same bits as from plain arrays
    of the network's type."""
    make = {**LAYOUTS, **TYPES}[how]
    spec = NETS["odd"]
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 23, dtype)
    X, Y = make(X), make(Y)
    results = []
    for data in ((X, Y), (np.array(X, dtype, order="C"), np.array(Y, dtype, order="C"))):
        net = copy_net(stages)
        program = make_program(net, loss, dtype)
        np.random.seed(0)
        with unchanged(*data):
            if method == "run":
                results.append(program.run(*data))
                continue
            if method == "sgd":
                program.sgd(
                    *data, 3, 0.05, silent
                )  # fewer draws than a transposed copy would pay for
                program.sgd(*data, 100, 0.05, silent)  # more
            else:
                program.fit(*data, np.arange(23), 5, 0.05, 0, True)
        results.append(weights(net))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    "how", ["F", "rows spread", "columns spread", "spread", "reversed", "transposed", "memmap"]
)
@pytest.mark.parametrize("method", ["sgd", "fit", "function"])
def test_weights_of_every_layout_are_updated_in_their_own_memory(how, method, isa, dtype):
    spec = NETS["odd"]
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 23, dtype)
    plain = copy_net(stages)
    for linear, _ in stages:
        if linear:
            linear.W, linear.W0 = LAYOUTS[how](linear.W), LAYOUTS[how](linear.W0)
    kept = weights(stages)
    for net in (stages, plain):
        program = make_program(net, loss, dtype)
        np.random.seed(0)
        if method == "fit":
            program.fit(X, Y, np.arange(23), 5, 0.05, 0, True)
        else:
            program.sgd(X, Y, 20, 0.05 if method == "sgd" else lambda t: 0.05, silent)
    assert all(a is b for a, b in zip(weights(stages), kept, strict=True))
    assert_same_weights(stages, plain, plain, tolerance=1e-12 if dtype == np.float64 else 1e-5)


# --------------------------------------------------------------------------------------- not finite


@pytest.mark.parametrize(
    "spec",
    [(4, [(3, "softmax")]), (4, [(150, "softmax")]), (4, [(70, "relu"), (150, "softmax")])],
    ids=str,
)
def test_an_infinite_loss_is_told_where_the_other_classes_are_finite(spec, isa, dtype):
    """The labelled class is impossible, which no sum over the other classes shows."""
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 6, dtype)
    stages[-1][0].W0[1] = -np.inf
    Y[:] = 0
    Y[1] = 1
    told = []
    make_program(stages, loss, dtype).sgd(X, Y, 5, 0.0, told.append)
    assert told == [1]


def test_sgd_tells_once_and_goes_on(isa, dtype):
    stages, loss = make_net(NETS["2-3-3-2"], dtype)
    X, Y = make_data(NETS["2-3-3-2"], loss, 6, dtype)
    X[0, 2] = np.nan
    np.random.seed(0)
    draws = [np.random.randint(6) for _ in range(50)]
    told = []
    np.random.seed(0)
    make_program(stages, loss, dtype).sgd(X, Y, 50, 0.1, told.append)
    assert told == [draws.index(2) + 1]
    assert all(np.isnan(w).any() for w in weights(stages)[:2])
    np.random.seed(0)
    assert [np.random.randint(6) for _ in range(50)] == draws


@pytest.mark.parametrize(
    "kind", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
)
def test_whole_numbers_at_the_ends_of_their_types(kind, dtype):
    """Unsigned numbers of 2**63 and more stay positive, in X and in Y."""
    ends = np.array([np.iinfo(kind).min, np.iinfo(kind).max, np.iinfo(kind).max // 2 + 1, 1], kind)
    stages, loss = make_net((4, [(3, "none")]), dtype)
    X, Y = (
        np.stack([np.roll(ends, i) for i in range(4)], 1),
        np.stack([np.roll(ends, i) for i in range(3)]),
    )
    given = make_program(stages, loss, dtype).run(X, Y)
    plain = make_program(stages, loss, dtype).run(X.astype(dtype), Y.astype(dtype))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(given, plain, strict=True))
    assert (X.astype(dtype) >= 0).all() == (np.iinfo(kind).min == 0)
    if dtype == np.float32 and np.iinfo(kind).bits == 64:
        return  # the gradient is beyond its range
    results = []
    for data in ((X, Y), (X.astype(dtype), Y.astype(dtype))):
        net = copy_net(stages)
        make_program(net, loss, dtype).fit(*data, np.arange(4), 2, 1e-45, 0, True)
        results.append(weights(net))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("what", ["X", "Y"])
def test_a_sample_that_is_not_finite_and_comes_late_undoes_the_whole_pass(size, what, isa, dtype):
    """Many chunks of steps have been written back by then."""
    spec = (400, [(10, "none")])
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 20, dtype)
    (X if what == "X" else Y)[3, 19] = np.nan
    order = np.append(np.resize(np.arange(19), 60000), 19)
    start = [w.copy() for w in weights(stages)]
    program = make_program(stages, loss, dtype)
    with pytest.raises(
        ValueError, match=f"{what} must be finite, got NaN or infinity in column 19"
    ):
        program.fit(X, Y, order, size, 1e-5, 0, True, True)
    assert program.steps == 0
    assert all(
        w.tobytes() == before.tobytes() for w, before in zip(weights(stages), start, strict=True)
    )
    program.fit(X[:, :19], Y[:, :19], order[:-1] % 19, size, 1e-5, 0, True, True)
    assert program.steps == -(-60000 // size) and not np.array_equal(weights(stages)[0], start[0])


@pytest.mark.parametrize("features", [1, 2, 15, 17, 33, 70])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_fit_refuses_what_is_not_finite_in_any_feature(features, value, isa, dtype):
    np.random.seed(0)
    net = nncore.Sequential(
        [nncore.Linear(features, 3, dtype=dtype), nncore.SoftMax()], nncore.NLL()
    )
    X, Y = np.random.rand(features, 20), np.eye(3)[np.arange(20) % 3].T
    before = net.modules[0].W.copy()
    for row in {0, features // 2, features - 1}:
        for wrong in (X.copy(), np.asfortranarray(X)):
            wrong[row, 13] = value
            with pytest.raises(
                ValueError, match="X must be finite, got NaN or infinity in column 13"
            ):
                net.fit(wrong, Y, batch_size=7, shuffle=False)
    np.testing.assert_array_equal(net.modules[0].W, before)


@pytest.mark.parametrize("what", ["X", "Y"])
def test_what_is_not_finite_is_found_before_large_weights_change(what, isa, dtype):
    """They are trained where they are, so all samples are looked at first: at any place of a
    sample, the last ones too."""
    spec = (1037, [(1100, "relu"), (9, "softmax")])
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 5, dtype)
    start = [w.copy() for w in weights(stages)]
    rows = (0, 1023, *range(1024, 1037)) if what == "X" else range(9)
    for row in rows:
        wrong = {"X": np.asfortranarray(X), "Y": np.asfortranarray(Y)}
        wrong[what][row, 3] = np.nan if row % 2 else -np.inf
        with pytest.raises(
            ValueError, match=f"{what} must be finite, got NaN or infinity in column 3"
        ):
            make_program(stages, loss, dtype).fit(
                wrong["X"], wrong["Y"], np.arange(5), 2, 0.1, 0, True, True
            )
    assert all(
        w.tobytes() == before.tobytes() for w, before in zip(weights(stages), start, strict=True)
    )


@pytest.mark.parametrize(
    "spec",
    [(6, [(5, "relu"), (3, "softmax")]), (6, [(40, "relu"), (40, "none")])],
    ids=["small", "general"],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_last_step_is_looked_at_too(spec, batch, isa, dtype):
    """No loss comes after it to show a weight that has left the range."""
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 9, dtype)
    X *= 100
    if loss == "nll":  # the least likely class is the label, so that no gradient vanishes
        Y = np.eye(3, dtype=dtype)[:, forward(numpy_kernels, stages, X)[0].argmin(axis=0)]
    steps = -(-9 // batch)

    class AtLast(schedules.Schedule):
        def values(self, t0, count):
            return np.where(np.arange(t0, t0 + count) == steps, 1.7e308, 0.0)

    start = [w.copy() for w in weights(stages)]
    with pytest.raises(FloatingPointError, match=f"diverged at step {steps}:"):
        make_program(stages, loss, dtype).fit(X, Y, np.arange(9), batch, AtLast(), 0, False)
    assert all(
        w.tobytes() == before.tobytes() for w, before in zip(weights(stages), start, strict=True)
    )


@pytest.mark.parametrize("rule", [None, "momentum"])
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_a_bias_that_leaves_the_range_is_found_at_its_step(rule, share, isa):
    """Also where large weights, which are trained where they are, do not change, as all inputs are
    0."""
    stages, loss = make_net((700, [(800, "none")]), np.float64)
    X, Y = share * 1e-160 * np.ones((700, 4)), np.full((800, 4), 1e150)
    start = [w.copy() for w in weights(stages)]
    program = make_program(stages, loss, np.float64)
    if rule:
        program.use(
            rule,
            {"beta1": 0.5},
            [tuple((np.zeros_like(w),) for w in (s.W, s.W0)) for s, _ in stages],
            0.0,
        )
    with pytest.raises(FloatingPointError, match="diverged at step 1:"):
        program.fit(X, Y, np.arange(4), 2, 1e160, 0, True)
    assert all(
        w.tobytes() == before.tobytes() for w, before in zip(weights(stages), start, strict=True)
    )


@pytest.mark.parametrize("huge", [1.7e308, 1e30, 1e300], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_fit_stops_at_the_last_whole_finite_step(batch, huge, isa, dtype):
    """A rate that explodes at the fifth update; the NumPy kernels show at which step something is
    not finite any more."""
    stages, loss = make_net(NETS["odd"], dtype)
    X, Y = make_data(NETS["odd"], loss, 90, dtype)

    class Exploding(schedules.Schedule):
        def values(self, t0, count):
            return np.where(np.arange(t0, t0 + count) == 5, huge, 0.1)

    def diverging_step(net):
        """(step, weights before it), or (None, weights at the end)."""
        for t in range(1, 90 // batch + 1):
            before, here = copy_net(net), slice((t - 1) * batch, t * batch)
            with np.errstate(all="ignore"):
                value = train_step(
                    numpy_kernels, net, loss, X[:, here], Y[:, here], Exploding()(t) / batch
                )
            if not np.isfinite([value, *(np.abs(w).max() for w in weights(net))]).all():
                return t, before
        return None, net

    step, before = diverging_step(copy_net(stages))
    program = make_program(stages, loss, dtype)
    if step is None:
        program.fit(X, Y, np.arange(90), batch, Exploding(), 0, True)
    else:
        with pytest.raises(FloatingPointError, match=f"diverged at step {step}:"):
            program.fit(X, Y, np.arange(90), batch, Exploding(), 0, True)
    assert all(np.isfinite(w).all() for w in weights(stages))
    if step == 5:  # later the weights are as large as the rate, and no digit is left to compare
        assert_same_weights(
            stages, before, before, tolerance=1e-12 if dtype == np.float64 else 1e-5
        )


# ----------------------------------------------------------------------------- against fifty digits

LOGITS = {  # one column each
    "thousand": [1000.0, -1000.0, 0.0],
    "minus thousand": [-1000.0, -1000.0, -1000.0],
    "tie": [5.0, 5.0, 5.0],
    "saturated": [800.0, 30.0, -800.0],
    "close": [1.0, 1.0 + 2**-20, 0.5],
    "small": [2.0**-30, -(2.0**-31), 0.0],
    "ordinary": [0.3, -1.7, 2.2],
    "steep": [36.0, 0.0, -1.0],
    "underflowing": [90.0, -14.0, 0.0],
    "tiny loss": [710.0, 0.0, 1.0],
    "one": [3.0],
    "two": [-745.0, 0.0],
    "many": [float(v) for v in np.linspace(-60, 60, 67)],
}


def exact_softmax_nll(z, true):
    """(loss, probabilities); each relative to the true class, so that fifty digits are enough for
    losses near 0 too."""
    others = mpmath.fsum(mpmath.exp(v - z[true]) for i, v in enumerate(z) if i != true)
    return mpmath.log1p(others), [mpmath.exp(v - z[true]) / (1 + others) for v in z]


def exact_sigmoid_nll(z, y):
    """(loss, probabilities)"""
    p = [1 / (1 + mpmath.exp(-v)) for v in z]
    return mpmath.fsum(
        mpmath.log1p(mpmath.exp(-v if t else v)) for v, t in zip(z, y, strict=True)
    ), p


def lost_in_the_shift(z):
    """What rounding z − max z has lost of each difference: its e^ is off by that much, relatively,
    however well e^ is computed."""
    top = z.max()
    return [mpmath.mpf(float(v - top)) - (mpmath.mpf(float(v)) - mpmath.mpf(float(top))) for v in z]


def check_against_exact(value, gradient, exact_loss, exact_p, y, lost, dtype):
    assert np.isfinite(value) and np.isfinite(gradient).all()
    smallest = float(np.finfo(dtype).smallest_normal)
    if exact_loss > smallest:
        assert ulps(value, exact_loss, dtype) <= 4
    else:
        assert abs(value) <= smallest
    for g, p, t, e in zip(gradient.ravel(), exact_p, y, lost, strict=True):
        assert (
            abs(mpmath.mpf(float(g)) - (p - int(t)))
            <= 4 * float(np.finfo(dtype).eps) * max(p, int(t)) + abs(e) * p + smallest
        )


@pytest.mark.parametrize("logits", LOGITS)
@pytest.mark.parametrize("order", "CF")
def test_softmax_nll_against_fifty_digits(logits, order, kernels, isa, dtype):
    z = np.array(LOGITS[logits], dtype)
    with mpmath.workdps(50):
        for true in {0, len(z) // 2, len(z) - 1}:
            y = np.arange(len(z)) == true
            exact = exact_softmax_nll([mpmath.mpf(float(v)) for v in z], true)
            for columns in (1, 3):  # along the classes, and along the samples
                Z = np.array(np.repeat(z[:, None], columns, 1), order=order)
                value, gradient = kernels.softmax_nll(
                    Z, np.array(np.repeat(y[:, None], columns, 1), dtype, order=order)
                )
                check_against_exact(
                    value / columns, gradient[:, -1], *exact, y, lost_in_the_shift(z), dtype
                )


@pytest.mark.parametrize("logits", LOGITS)
def test_sigmoid_nll_against_fifty_digits(logits, kernels, isa, dtype):
    z = np.array(LOGITS[logits], dtype)
    with mpmath.workdps(50):
        for v in z:  # each label alone: a sum of losses hides the small ones
            for y in (0, 1):
                exact = exact_sigmoid_nll([mpmath.mpf(float(v))], [y])
                value, gradient = kernels.sigmoid_nll(np.full((1, 1), v), np.full((1, 1), y, dtype))
                check_against_exact(value, gradient, *exact, [y], [0], dtype)


@pytest.mark.parametrize("logits", LOGITS)
@pytest.mark.parametrize("loss", ["nll", "binary_nll"])
def test_losses_of_the_program_against_fifty_digits(logits, loss, isa, dtype):
    """Weights 0 and biases z: the logits are exactly z, whatever the input."""
    z = np.array(LOGITS[logits], dtype)
    if loss == "binary_nll":
        z = z[:1]
    stages, _ = make_net((2, [(len(z), "softmax" if loss == "nll" else "output_sigmoid")]), dtype)
    stages[0][0].W[...], stages[0][0].W0[...] = 0, z[:, None]
    y = np.arange(len(z)) == 0
    with mpmath.workdps(50):
        exact_z = [mpmath.mpf(float(v)) for v in z]
        exact, p = (
            exact_softmax_nll(exact_z, 0) if loss == "nll" else exact_sigmoid_nll(exact_z, [1])
        )
        lost = lost_in_the_shift(z)
        P, losses = make_program(stages, loss, dtype).run(
            np.ones((2, 2), dtype), np.repeat(y[:, None], 2, 1)
        )
        check_against_exact(dtype(losses[1]), P[:, 1], exact, p, np.zeros(len(z)), lost, dtype)
        # the gradient as training uses it: with η = 1 and an input of 1, weights of 0 become −(p −
        # y)
        make_program(stages, loss, dtype).sgd(np.ones((2, 1), dtype), y[:, None], 1, 1.0, silent)
        check_against_exact(dtype(losses[0]), -stages[0][0].W[0], exact, p, y, lost, dtype)


# ----------------------------------------------------------------------- the comparisons themselves


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_comparison_of_steps_fails_for_a_rate_off_by_a_little(dtype):
    """Half the tolerance is seen to pass, eight times to fail, so the comparisons above are not
    idle."""
    spec = NETS["odd"]
    stages, loss = make_net(spec, dtype)
    X, Y = make_data(spec, loss, 5, dtype)
    slip = 1e-12 if dtype == np.float64 else 2e-5
    nets = [copy_net(stages), copy_net(stages)]
    for net, rate in zip(nets, (1.0, 1.0 + 100 * slip), strict=True):
        np.random.seed(3)
        make_program(net, loss, dtype).sgd(X, Y, 1, rate, silent)
    with pytest.raises(AssertionError, match="off by"):
        assert_same_weights(nets[0], nets[1], stages)


def test_kernels_of_all_levels_agree():
    """Not bit for bit, but to the tolerance; and the live level does decide what runs."""
    Z = np.random.default_rng(0).normal(size=(50, 33))
    before, results = _core.get_isa(), []
    try:
        for level in _core.isa_levels():
            _core.set_isa(level)
            assert _core.get_isa() == level
            results.append(compiled.softmax_forward(Z))
    finally:
        _core.set_isa(before)
    for result in results:
        assert_close(result, results[0])
    with pytest.raises(ValueError, match="instruction-set level must be one of .*, got 'abacus'"):
        _core.set_isa("abacus")
