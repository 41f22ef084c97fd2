"""Which path a call takes: every path and fallback is the one that runs, `explain` names it, and
asking changes nothing."""

import numpy as np
import pytest
from support import make_net, make_program

import nncore as nn
from nncore import _core
from nncore.training import compile as compiling

N = 200


def make(sizes=(64, 32, 10), dtype=np.float32, *, loss="nll", extra=(), seed=0):
    np.random.seed(seed)
    chain = []
    for m, n in zip(sizes[:-1], sizes[1:], strict=True):
        chain += [nn.Linear(m, n, dtype=dtype), nn.Tanh()]
    unit, loss = {
        "nll": (nn.SoftMax, nn.NLL),
        "binary": (nn.OutputSigmoid, nn.BinaryNLL),
        "squared": (None, nn.Squared),
    }[loss]
    chain[-1:] = [unit()] if unit else []
    for at, module in extra:
        chain.insert(at, module)
    return nn.Sequential(chain, loss())


def data(net, density=1.0, dtype=np.float32):
    rng = np.random.default_rng(0)
    m, n = (
        net.modules[0].W.shape[0],
        [x for x in net.modules if isinstance(x, nn.Linear)][-1].W.shape[1],
    )
    X = rng.normal(size=(m, N)).astype(dtype)
    X[rng.random(X.shape) >= density] = 0
    return np.asfortranarray(X), np.eye(n, dtype=dtype)[:, rng.integers(n, size=N)]


def ran(net, call, X, Y, **arguments):
    """The plan of the program that a call has run, caught as it is made."""
    made = []
    as_program, compiling.as_program = (
        compiling.as_program,
        lambda *args: made.append(as_program(*args)) or made[-1],
    )
    try:
        getattr(net, call)(X, Y, **arguments) if call not in (
            "predict_proba",
        ) else net.predict_proba(X)
    finally:
        compiling.as_program = as_program
    program = next((p for p in made if p is not None), None)
    return program and program.last_plan


CASES = {
    "fused sgd": ({}, "sgd", {}, "fused-sgd", None),
    "lookahead": ({"sizes": (784, 128, 10)}, "sgd", {}, "lookahead-sgd", "wider than 4 vectors"),
    "fused sgd of other losses": ({"loss": "squared"}, "sgd", {}, "fused-sgd", None),
    "fused sgd of one vector": (
        {"sizes": (9, 4, 1), "loss": "binary"},
        "sgd",
        {},
        "fused-sgd",
        None,
    ),
    "fused sgd up to 64 outputs": (
        {"sizes": (4, 64, 64, 1), "loss": "squared"},
        "sgd",
        {},
        "fused-sgd",
        None,
    ),
    "lookahead of other losses": (
        {"sizes": (784, 128, 10), "loss": "squared"},
        "sgd",
        {},
        "lookahead-sgd",
        "wider than 4 vectors",
    ),
    "sgd by a function": (
        {},
        "sgd",
        {"lrate": lambda t: 0.01},
        "sgd",
        "a Python function gives the rate",
    ),
    "sgd with Dropout": (
        {"extra": [(1, nn.Dropout(0.5))]},
        "sgd",
        {},
        "sgd",
        "a layer is neither a Linear nor an activation",
    ),
    "fused batches": ({}, "fit", {"batch_size": 16}, "fused-minibatch", None),
    "mini_gd": ({}, "mini_gd", {"iters": 30, "lrate": 0.01, "K": 16}, "fused-minibatch", None),
    "single samples": ({}, "fit", {"batch_size": 1}, "fused-sgd", None),
    "single samples by a function": (
        {},
        "fit",
        {"batch_size": 1, "lrate": lambda t: 0.01},
        "fused-sgd",
        None,
    ),
    "single samples of a wide network": (
        {"sizes": (784, 128, 10)},
        "fit",
        {"batch_size": 1},
        "lookahead-sgd",
        "wider than 4 vectors",
    ),
    "single samples with Dropout": (
        {"extra": [(1, nn.Dropout(0.5))]},
        "fit",
        {"batch_size": 1},
        "sgd",
        "a layer is neither a Linear nor an activation",
    ),
    "Adam on single samples": (
        {},
        "fit",
        {"batch_size": 1, "optimizer": "adam"},
        "fused-sgd",
        None,
    ),
    "a penalty on single samples": ({}, "fit", {"batch_size": 1, "l2": 0.1}, "fused-sgd", None),
    "Adam on single samples of a wide network": (
        {"sizes": (784, 128, 10)},
        "fit",
        {"batch_size": 1, "optimizer": "adam"},
        "sgd",
        "an optimizer other than plain SGD",
    ),
    "Adam on single samples with Dropout": (
        {"extra": [(1, nn.Dropout(0.5))]},
        "fit",
        {"batch_size": 1, "optimizer": "adam"},
        "minibatch",
        "a layer is neither a Linear nor an activation",
    ),
    "Adam": ({}, "fit", {"optimizer": "adam"}, "minibatch", "an optimizer other than plain SGD"),
    "penalty": ({}, "fit", {"l2": 0.1}, "minibatch", "or a penalty"),
    "samples as columns": (
        {"sizes": (20, 30, 10)},
        "fit",
        {"batch_size": 150},
        "column-minibatch",
        None,
    ),
    "samples as columns with Adam": (
        {"sizes": (20, 30, 10)},
        "fit",
        {"batch_size": 150, "optimizer": "adam"},
        "column-minibatch",
        None,
    ),
    "predictions as columns": ({"sizes": (2, 3, 3, 2)}, "predict_proba", {}, "column-blocks", None),
    "threads could gain": (
        {"sizes": (8, 32, 32, 32, 32, 10)},
        "fit",
        {"batch_size": 150},
        "minibatch",
        "several threads to gain",
    ),
    "wide": ({"sizes": (784, 300, 10)}, "fit", {}, "minibatch", "wider than 4 vectors"),
    "other losses": ({"loss": "binary"}, "fit", {}, "fused-minibatch", None),
    "prediction": ({}, "predict_proba", {}, "blocks", None),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_path_that_runs_is_the_one_explained(case, dtype):
    options, call, arguments, path, reason = CASES[case]
    net = make(**options, dtype=dtype)
    X, Y = data(net, dtype=dtype)
    explained = nn.explain(net, X, Y, call=call, **arguments)
    plan = ran(net, call, X, Y, **arguments)
    assert explained["compiled"] and explained["path"] == path == plan["path"]
    assert (reason is None) == (explained["reasons"] == []) and (
        reason is None or any(reason in r for r in explained["reasons"])
    )
    for name in ("parameters", "inputs", "threads", "level", "dtype"):
        assert explained[name] == plan[name]
    assert (
        str(explained).startswith(f"{call}: compiled, path {path}\n")
        and explained["dtype"] == np.dtype(dtype).name
    )


@pytest.mark.parametrize(
    ("sizes", "call", "arguments", "inputs"),
    [
        ((784, 128, 10), "fit", {}, "csr"),
        ((784, 128, 10), "predict_proba", {}, "csr"),
        ((784, 128, 10), "sgd", {}, "non-zeros"),
        ((200, 20, 10), "sgd", {}, "non-zeros"),
        ((200, 20, 10), "fit", {"batch_size": 8}, "dense"),
        ((16, 4, 3), "sgd", {}, "dense"),
    ],
)
def test_zeros_choose_how_inputs_are_read(sizes, call, arguments, inputs):
    for density, wanted in (
        (0.1, inputs),
        (1.0, "non-zeros" if sizes[0] == 784 and call == "sgd" else "dense"),
    ):
        net = make(sizes)
        X, Y = data(net, density)
        assert (
            nn.explain(net, X, Y, call=call, **arguments)["inputs"]
            == wanted
            == ran(net, call, X, Y, **arguments)["inputs"]
        )


def test_large_weights_are_trained_in_place_and_batches_are_shared():
    net = make((1000, 1100, 10))
    X, Y = data(net)
    before = nn.get_num_threads()
    try:
        for threads in (1, 2):
            nn.set_num_threads(threads)
            assert nn.explain(net, X, Y, batch_size=100)["parameters"] == "in place"
            assert nn.explain(net, X, Y, batch_size=100)["threads"] == threads
            assert nn.explain(net, X, Y, call="sgd")["parameters"] == "packed"
            assert (
                nn.explain(net, X, Y, call="sgd", lrate=lambda t: 0.1)["parameters"] == "in place"
            )
    finally:
        nn.set_num_threads(before)


@pytest.mark.parametrize(("sizes", "fallback"), [((64, 32, 10), "sgd"), ((784, 128, 10), "sgd")])
def test_a_value_that_is_not_finite_gives_up_the_special_paths(sizes, fallback, dtype):
    net = make(sizes, dtype)
    X, Y = data(net, dtype=dtype)
    X[0, :] = np.nan
    with pytest.warns(RuntimeWarning, match="not finite at step 1"):
        plan = ran(net, "sgd", X, Y, iters=100, lrate=0.01)
    assert plan["path"] == fallback and plan["reasons"][-1] == "a value that is not finite appeared"


class Own(nn.Tanh):
    def forward(self, Z):
        return super().forward(Z)


def patched():
    net = make()
    net.modules[1].backward = net.modules[1].backward
    return net


def shared():
    net = make((10, 10, 10))
    net.modules[2].W = net.modules[0].W
    return net


def twice():
    net = make((10, 10, 10))
    net.modules[2] = net.modules[0]
    return net


def mixed():
    net = make()
    net.modules[0] = nn.Linear(64, 32)
    return net


def own():
    net = make()
    net.modules[1] = Own()
    return net


def printing():
    net = make()
    net.print_accuracy = lambda *args: None
    return net


@pytest.mark.parametrize(
    ("net", "arguments", "reason"),
    [
        (own, {}, r"modules\[1\] \(Own\) overrides forward"),
        (patched, {}, r"modules\[1\] \(Tanh\) overrides backward"),
        (shared, {}, "weights share memory"),
        (twice, {}, "a module is used twice"),
        (mixed, {}, "both float32 and float64"),
        (printing, {"call": "sgd"}, "print_accuracy is overridden"),
        (make, {"call": "sgd", "iters": 3}, "3 steps take less time"),
        (
            lambda: make(extra=[(1, nn.BatchNorm(32, dtype=np.float32))]),
            {"call": "predict"},
            "normalises by the whole batch",
        ),
    ],
)
def test_what_runs_module_by_module_says_why(net, arguments, reason):
    import re

    explained = nn.explain(net(), **arguments)
    assert (
        not explained["compiled"]
        and explained["path"] == "modules"
        and re.search(reason, explained["reasons"][0])
    )
    assert len(explained["modules"]) >= 4 and "because" in str(explained)
    with nn.use_backend("numpy"):
        assert "uses the NumPy kernels" in nn.explain(make())["reasons"][0]


def test_one_sample_is_predicted_without_a_program():
    net = make()
    assert "one sample" in nn.explain(net, np.zeros((64, 1)), call="predict")["reasons"][0]


def test_asking_changes_nothing():
    net = make(extra=[(1, nn.Dropout(0.5))])
    X, Y = data(net)
    state, weights = (
        np.random.get_state()[1].copy(),
        [m.W.copy() for m in net.modules if isinstance(m, nn.Linear)],
    )
    for call in ("sgd", "mini_gd", "fit", "partial_fit", "predict", "evaluate"):
        nn.explain(net, X, Y, call=call)
    nn.explain(net, call="fit", optimizer="adam", l2=0.1)
    assert (
        (np.random.get_state()[1] == state).all()
        and net.optimizer is None
        and net.modules[1].key is None
    )
    assert all(map(np.array_equal, weights, [m.W for m in net.modules if isinstance(m, nn.Linear)]))
    with pytest.raises(ValueError, match="call must be one of 'sgd', 'mini_gd', 'fit'"):
        nn.explain(net, call="train")
    with pytest.raises(ValueError, match=r"X must have shape \(64, N\)"):
        nn.explain(net, X[:3])


def test_every_path_has_its_row():
    stages, loss = make_net((5, [(4, "tanh"), (3, "softmax")]), np.float64)
    program = make_program(stages, loss, np.float64)
    X, Y = np.ones((5, 20)), np.eye(3)[:, np.arange(20) % 3]
    assert (
        program.plan("sgd", X, Y)["path"] == "fused-sgd"
        and program.plan("fit", X, Y, 4)["path"] == "fused-minibatch"
    )
    assert _core.get_isa() == program.plan("predict", X)["level"]


@pytest.mark.parametrize(
    ("sizes", "call", "batch_size", "path"),
    [
        ((5, 4, 3), "fit", 1, "fused-sgd"),
        ((200, 300, 3), "fit", 1, "lookahead-sgd"),
        ((5, 4, 3), "fit", 4, "fused-minibatch"),
        ((2, 3, 2), "fit", 150, "column-minibatch"),
    ],
)
def test_conventions_of_scikit_learn_refuse_the_special_paths(sizes, call, batch_size, path):
    X, Y = np.ones((sizes[0], N)), np.eye(sizes[-1])[:, np.arange(N) % sizes[-1]]
    stages, loss = make_net((sizes[0], [(sizes[1], "tanh"), (sizes[2], "softmax")]), np.float64)
    assert make_program(stages, loss, np.float64).plan(call, X, Y, batch_size)["path"] == path
    program = make_program(stages, loss, np.float64)
    program.set_objective(loss_factor=0.5)
    plan = program.plan(call, X, Y, batch_size)
    assert plan["path"] == "minibatch"
    assert any("scikit-learn's conventions" in reason for reason in plan["reasons"])
