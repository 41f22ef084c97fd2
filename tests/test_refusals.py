"""What cannot be meant is refused in the caller's terms; np.errstate does not change results."""

import os
import warnings
from fractions import Fraction

import numpy as np
import pytest
from test_training import by_modules, data, make, weights

import nncore as nn
from nncore import datasets, kernels, optimizers, schedules, serialization


@pytest.fixture(params=["numpy", "compiled"])
def backend(request):
    with nn.use_backend(request.param):
        yield request.param


X, Y = data()
LABELS = Y.argmax(0)
nan, inf, HUGE = np.nan, np.inf, 10**20
COLUMN = np.ones((4, 1))


def fit(**arguments):
    return lambda: make().fit(X, Y, **arguments)


REFUSED = {
    "validation nan": (
        fit(validation=nan),
        ValueError,
        "validation must be a fraction that leaves samples .*, got nan",
    ),
    "validation inf": (
        fit(validation=inf),
        ValueError,
        "validation must be a fraction .*, got inf",
    ),
    "validation above 1": (
        fit(validation=1.5),
        ValueError,
        "validation must be a fraction .*, got 1.5",
    ),
    "validation None": (
        fit(validation=(X, None)),
        TypeError,
        "Y of validation must be a real array, got object",
    ),
    "validation X": (
        fit(validation=(X.T, Y)),
        ValueError,
        r"X of validation must have shape \(5, N\), got \(23, 5\)",
    ),
    "validation Y": (
        fit(validation=(X, Y[:2])),
        ValueError,
        r"Y of validation must have shape \(3, 23\), got \(2, 23\)",
    ),
    "validation labels": (
        fit(validation=(X, LABELS + 3)),
        ValueError,
        "Y of validation must hold integers from 0 to 2",
    ),
    "validation text": (
        fit(validation=(np.array([["a"]]), Y)),
        TypeError,
        "X of validation must be a real array, got <U1",
    ),
    "validation empty": (
        fit(validation=(X[:, :0], Y[:, :0])),
        ValueError,
        "X of validation must hold at least one sample",
    ),
    "validation not finite": (
        fit(validation=(X * inf, Y)),
        ValueError,
        "X of validation must be finite",
    ),
    "validation of BinaryNLL": (
        lambda: make((5, 1), output=nn.OutputSigmoid, loss=nn.BinaryNLL).fit(
            X, Y[:1], validation=(X, 2 * Y[:1])
        ),
        ValueError,
        "Y of validation must lie between 0 and 1 for BinaryNLL, got 2",
    ),
    "callbacks number": (
        fit(callbacks=3),
        TypeError,
        "callbacks must hold functions of .net, history., got int",
    ),
    "callbacks dict": (
        fit(callbacks={"a": 1}),
        TypeError,
        "callbacks must hold functions .*, got str",
    ),
    "epochs": (
        fit(epochs=HUGE),
        ValueError,
        "epochs must be at most 9223372036854775807, got 100000000000000000000",
    ),
    "seed": (
        fit(seed=nan),
        TypeError,
        "seed must be None, an integer of at least 0, or .*, got nan",
    ),
    "negative seed": (
        fit(seed=-1),
        ValueError,
        "seed must be None, an integer of at least 0, .*, got -1",
    ),
    "reduction": (
        fit(reduction=np.zeros((2, 2))),
        ValueError,
        r"reduction must be one of 'mean', 'sum', got float64 \(2, 2\)",
    ),
    "optimizer": (
        fit(optimizer=np.zeros(2)),
        TypeError,
        "optimizer must be one of nncore.optimizers or its name, got ndarray",
    ),
    "iters": (lambda: make().sgd(X, Y, HUGE, 0.1), ValueError, "iters must be at most"),
    "iters of mini_gd": (
        lambda: make().mini_gd(X, Y, HUGE, 0.1),
        ValueError,
        "iters must be at most",
    ),
    "modules": (
        lambda: nn.Sequential(None),
        TypeError,
        "modules must be a list of modules, got NoneType",
    ),
    "modules generator": (
        lambda: nn.Sequential(m for m in ()),
        TypeError,
        "modules must be a list of modules, got generator",
    ),
    "module": (
        lambda: nn.Sequential([nn.Tanh(), None], nn.NLL()).fit(X, LABELS),
        TypeError,
        r"modules\[1\] must have the methods forward and backward, got NoneType",
    ),
    "module in predict": (
        lambda: nn.Sequential([nn.Linear(5, 3), 3, nn.SoftMax()]).predict(X),
        TypeError,
        r"modules\[1\] must have the methods forward and backward, got int",
    ),
    "class for a module": (
        lambda: nn.Sequential([nn.Tanh]),
        TypeError,
        r"modules\[0\] must be an object, got the class Tanh; write Tanh\(\)",
    ),
    "loss": (
        lambda: nn.Sequential([nn.Tanh()], "nll").fit(X, Y),
        TypeError,
        r"loss must be an object, got 'nll'; write NLL\(\)",
    ),
    "class for a loss": (
        lambda: nn.Sequential([], nn.NLL),
        TypeError,
        "loss must be an object, got the class NLL",
    ),
    "statistics": (
        lambda: nn.BatchNorm(3, statistics=np.zeros(2)),
        ValueError,
        "statistics must be one of 'batch', 'running', got float64",
    ),
    "init": (lambda: nn.Linear(2, 3, init=np.zeros((2, 2))), ValueError, "init must be one of"),
    "dtype": (
        lambda: nn.Linear(2, 3, dtype=np),
        TypeError,
        "dtype must be float32 or float64, got <module",
    ),
    "load number": (
        lambda: nn.load(3),
        TypeError,
        r"path must be a str, bytes or os.PathLike, got int",
    ),
    "load bool": (lambda: nn.load(True), TypeError, "path must be a str.*, got bool"),
    "load_metadata": (lambda: serialization.load_metadata(0), TypeError, "path must be a str"),
    "step": (
        lambda: kernels.sgd_step(np.ones((2, 2)), np.ones((2, 2)), np.ones(3)),
        TypeError,
        "lrate must be a real number, got ndarray",
    ),
    "step text": (
        lambda: kernels.sgd_step(np.ones((2, 2)), np.ones((2, 2)), "0.1"),
        TypeError,
        "lrate must be a real number, got str",
    ),
    "0-d W": (
        lambda: kernels.sgd_step(np.array(1.0), np.ones(2), 0.1),
        ValueError,
        r"dLdW must have shape \(\), got \(2,\)",
    ),
    "0-d A": (
        lambda: kernels.tanh_backward(np.ones(2), np.array(1.0)),
        ValueError,
        r"dLdA must have shape \(\), got \(2,\)",
    ),
    "t": (
        lambda: kernels.adam_step(
            *[np.ones((2, 2))] * 2, np.zeros((2, 2)), np.zeros((2, 2)), HUGE, 0.1, 0.9, 0.99, 1e-8
        ),
        ValueError,
        "t must be at most",
    ),
    "schedule": (
        lambda: schedules.Cosine(0.1, 3)(None),
        TypeError,
        "t must be a real number, got NoneType",
    ),
    "schedule nan": (lambda: schedules.Power(0.1, 3)(nan), ValueError, "t must be finite, got nan"),
    "schedule count": (
        lambda: schedules.Constant(0.1).values(1, -1),
        ValueError,
        "count must be at least 0, got -1",
    ),
    "one_hot n": (
        lambda: datasets.one_hot([0, 1], None),
        TypeError,
        "n must be an integer, got NoneType",
    ),
    "one_hot dtype": (
        lambda: datasets.one_hot([0, 1], 2, 3),
        TypeError,
        "dtype must be a NumPy type, got 3",
    ),
    "one_hot ragged": (
        lambda: datasets.one_hot([[0], [0, 1]], 2),
        TypeError,
        "labels must be a real array, got list",
    ),
    "fit_scaling": (
        lambda: datasets.fit_scaling(None),
        TypeError,
        "X must be a real array, got object",
    ),
    "fit_scaling empty": (
        lambda: datasets.fit_scaling(np.zeros((2, 0))),
        ValueError,
        "X must hold at least one number",
    ),
    "scale": (
        lambda: datasets.scale(X, None),
        TypeError,
        "scaling must be a dict with shift and factor, .*, got NoneType",
    ),
    "for_softmax": (
        lambda: datasets.for_softmax(None),
        TypeError,
        "y must be a real array, got object",
    ),
    "split_indices": (
        lambda: datasets.split_indices(1.5),
        TypeError,
        "count must be an integer, got float",
    ),
    "plot_history": (
        lambda: nn.plot_history([1.0]),
        TypeError,
        "history must be the dict that fit returns, got list",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_in_the_callers_terms(backend, case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message) as raised:
        call()
    assert type(raised.value) is error


def test_an_open_file_is_not_taken_for_a_path_and_closed():
    read, write = os.pipe()
    for call in (
        nn.load,
        serialization.load_metadata,
        make().save,
        datasets.load,
        datasets.load_npz,
        datasets.load_csv,
    ):
        with pytest.raises(TypeError):
            call(read)
    os.write(write, b"x")
    assert os.read(read, 1) == b"x"
    os.close(read)
    os.close(write)


def test_what_can_be_meant_is_taken(backend):
    one, two = make(), make()
    assert one.fit(X, Y, callbacks=None, batch_size=HUGE, seed=0) == two.fit(
        X, Y, batch_size=23, seed=0
    )
    assert one.partial_fit(X, Y, batch_size=HUGE) == two.partial_fit(X, Y, batch_size=23)
    assert all(map(np.array_equal, weights(one), weights(two)))
    assert make().fit(X, Y, validation=Fraction(1, 4), seed=0) == make().fit(
        X, Y, validation=0.25, seed=0
    )
    assert (
        make().fit(X, Y, callbacks=(c for c in [lambda n, h: True]), epochs=3)["loss"].__len__()
        == 1
    )
    dropout = nn.Dropout(0.5, seed=HUGE)  # any whole number is a key
    assert dropout.key == HUGE % 2**64
    assert optimizers.Adam(beta1=np.float32(0.5)).beta1 == 0.5
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X)
    assert one.fit(frame, pandas.Series(LABELS), seed=0) == two.fit(X, LABELS, seed=0)


# ------------------------------------------------------------------------------------ np.errstate


def everything(net, X, Y):
    """What the calls of a network return and leave, by call."""

    def train(call):
        trained = net()
        return [call(trained), *weights(trained)]

    one = X[:, :1]
    calls = {
        "sgd": lambda: train(lambda n: n.sgd(X, Y, 7, 0.01)),
        "mini_gd": lambda: train(lambda n: n.mini_gd(X, Y, 9, 1e-320, None, 10)),
        "fit": lambda: train(lambda n: n.fit(X, Y, batch_size=8, seed=0, validation=0.2)),
        "adam": lambda: train(lambda n: n.fit(X, Y, optimizer="adam", seed=0)),
        "l2": lambda: train(lambda n: n.fit(X, Y, l2=1e-3, lrate=1e-40, seed=0)),
        "partial_fit": lambda: train(lambda n: n.partial_fit(one, Y[:, :1])),
        "schedule": lambda: train(lambda n: n.sgd(X, Y, 9, schedules.Power(1e-3, 300.0))),
        "predict": lambda: net().predict_proba(X),
        "one sample": lambda: net().predict_proba(one),
        "forward": lambda: net().forward(X),
        "eval": lambda: net().eval().forward(X),
        "evaluate": lambda: net().evaluate(X, Y),
        "score": lambda: net().score(X, Y),
        "predictor": lambda: net().predictor()(X),
        "predictor of one": lambda: net().predictor()(X[:, 0]),
        "steps": lambda: train(
            lambda n: (
                n.loss.forward(n.forward(X), Y),
                n.backward(n.loss.backward()),
                n.sgd_step(1e-3),
            )[0]
        ),
    }
    return {name: outcome(call) for name, call in calls.items()}


def outcome(call):
    try:
        return call()
    except (FloatingPointError, TypeError) as error:  # divergence, and networks without a predictor
        return str(error)


def equal(a, b):
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and equal([*a.values()], [*b.values()])
    return a == b if isinstance(a, str) or a is None else np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-30, 1e37])
@pytest.mark.parametrize("chain", [lambda net: net, by_modules], ids=["program", "modules"])
@pytest.mark.parametrize("loss", [nn.NLL, nn.Squared])
def test_results_do_not_depend_on_errstate(backend, dtype, chain, loss, scale):
    tiny = (np.random.default_rng(0).normal(size=(5, 40)) * scale).astype(np.float32)
    targets = np.eye(3)[:, np.arange(40) % 3] * (1 if loss is nn.NLL else scale)

    def net():
        np.random.seed(0)
        made = nn.Sequential(
            [
                nn.Linear(5, 4, dtype=dtype),
                nn.BatchNorm(4, statistics="running", dtype=dtype),
                nn.Tanh(),
                nn.Dropout(0.25, seed=1),
                nn.Linear(4, 3, dtype=dtype),
                *([nn.SoftMax()] if loss is nn.NLL else []),
            ],
            loss(),
        )
        return chain(made)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usual = everything(net, tiny, targets)
        with np.errstate(all="raise"):
            strict = everything(net, tiny, targets)
    assert [name for name in usual if not equal(usual[name], strict[name])] == []


def test_kernels_schedules_and_scaling_do_not_depend_on_errstate(backend, dtype):
    tiny = np.full((4, 6), 1e-30)[::2, ::2]
    W = np.zeros((4, 6), dtype)[::2, ::2]
    raw = (
        np.zeros(1 + 4 * np.dtype(dtype).itemsize, np.uint8)[1:].view(dtype).reshape(2, 2)
    )  # misaligned
    with np.errstate(all="raise"):
        kernels.sgd_step(W, tiny, 1e-300)
        kernels.sgd_step(raw, tiny[:, :2], 1e-300)
        relu = nn.ReLU()
        relu.forward(np.full((2, 2), np.finfo(dtype).tiny, dtype), 0.5)
        relu.backward(np.full((2, 2), np.finfo(dtype).smallest_subnormal, dtype))
        assert schedules.Power(1.0, 400.0)(400) == schedules.Step(1.0, 1, 0.1)(400) == 0
        assert schedules.InverseTime(1e-300, 1e300)(3) == 0
        scaling = datasets.fit_scaling(np.array([[1e-300, 2e-300, 5e-300]]))
        datasets.scale(np.array([[1e-300]]), {"shift": 0.0, "factor": 1e-300}, np.float32)
    assert (W == 0).all() and (raw == 0).all() and np.isfinite(scaling["factor"]).all()
