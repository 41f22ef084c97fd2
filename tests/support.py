"""What several test files share: awkward sizes and layouts, comparisons that can fail, and networks
as chains of kernels."""

import contextlib
import json
import tempfile
import time
from types import SimpleNamespace

import numpy as np

import nncore
from nncore import _core

# of every processor, and those that this build adds
LEVELS = tuple(dict.fromkeys(("generic", "avx2", "avx512", *_core.isa_levels())))
DTYPES = (np.float32, np.float64)
TOLERANCE = {
    np.dtype(np.float32): 2e-6,
    np.dtype(np.float64): 1e-13,
}  # relative to the largest entry
SIZES = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)

# ---------------------------------------------------------------------------- covering combinations


def pairwise(*factors):
    """Rows in which every value of a factor meets every value of every other factor at least once.

    An orthogonal array over the integers modulo a prime p: rows (i, j), columns j, i, i + j, i +
    2j, ... Two different columns determine (i, j), so each of the p² pairs of two columns occurs
    exactly once; shorter factors wrap round.
    """
    p = max(len(factors) - 1, *map(len, factors))
    while any(p % d == 0 for d in range(2, int(p**0.5) + 1)):
        p += 1
    for i in range(p):
        for j in range(p):
            digits = [j] + [(i + c * j) % p for c in range(len(factors) - 1)]
            yield tuple(f[d % len(f)] for f, d in zip(factors, digits, strict=True))


# ------------------------------------------------------------------------------------------ layouts

# elements of poison on each side: more than the widest vector, and odd, so that rows start anywhere
GUARD = 67


def poison(dtype):
    """A value that shows wherever it is read: NaN, or a large number for types that have none."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return np.array(np.nan, dtype)
    return np.array(True if dtype.kind == "b" else np.iinfo(dtype).max, dtype)


def guarded(shape, dtype, order="C"):
    """An uninitialised contiguous array in the middle of a poisoned buffer."""
    size = int(np.prod(shape))
    room = np.full(size + 2 * GUARD, poison(dtype), dtype)
    return room[GUARD : GUARD + size].reshape(shape, order=order)


def root(a):
    """The array that owns the memory of a."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def guards_whole(a):
    """True while nothing was written around an array made by guarded()."""
    room = root(a)
    return bool(np.isnan(room[:GUARD]).all() and np.isnan(room[-GUARD:]).all())


def _contiguous(order):
    def make(a):
        b = guarded(a.shape, a.dtype, order)
        b[...] = a
        return b

    return make


def _spread(*steps):
    """Every |step|-th row and column of a larger poisoned array, backwards where the step is
    negative."""

    def make(a):
        steps_ = steps[-a.ndim :]
        room = np.full(
            [abs(s) * n + 3 for s, n in zip(steps_, a.shape, strict=True)], poison(a.dtype), a.dtype
        )
        b = room[
            tuple(slice(1, 1 + abs(s) * n, abs(s)) for s, n in zip(steps_, a.shape, strict=True))
        ]
        b = b[tuple(slice(None, None, 1 if s > 0 else -1) for s in steps_)]
        b[...] = a
        return b

    return make


def _misaligned(a):
    b = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    b[...] = a
    return b


def _read_only(a):
    b = _contiguous("C")(a)
    b.flags.writeable = False
    return b


def _memory_mapped(a):
    with tempfile.TemporaryFile() as file:
        b = np.memmap(file, a.dtype, "w+", shape=(a.size + 1,))[: a.size].reshape(a.shape)
    b[...] = a
    return b


def _as_type(kind):
    """a rounded into another type; whole numbers within its range, so that no conversion is
    undefined."""
    kind = np.dtype(kind)

    def make(a):
        if kind.kind == "b":
            return _contiguous("C")(a > 0.5)
        if kind.kind in "iu":
            a = np.abs(np.rint(a)) if kind.kind == "u" else np.rint(a)
        return _contiguous("C")(a.astype(kind))

    return make


LAYOUTS = {  # of the same type
    "C": _contiguous("C"),
    "F": _contiguous("F"),
    "rows spread": _spread(2, 1),
    "columns spread": _spread(1, 2),
    "spread": _spread(3, 2),
    "rows reversed": _spread(-1, 1),
    "columns reversed": _spread(1, -1),
    "reversed": _spread(-2, -3),
    "transposed": lambda a: _spread(1, 1)(a.T).T,
    "misaligned": _misaligned,
    "read-only": _read_only,
    "memmap": _memory_mapped,
}
TYPES = {
    **{
        np.dtype(t).name: _as_type(t)
        for t in (
            np.int8,
            np.int16,
            np.int32,
            np.int64,
            np.uint8,
            np.uint16,
            np.uint32,
            np.uint64,
            np.bool_,
            np.float16,
            np.longdouble,
        )
    },
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": lambda a: a.tolist(),
    "other float": lambda a: a.astype(np.float64 if a.dtype == np.float32 else np.float32),
}


@contextlib.contextmanager
def unchanged(*arrays):
    """Every byte of the arrays, and of the memory around them, stays as it was."""
    roots = [root(a) for a in arrays if isinstance(a, np.ndarray)]
    before = [r.tobytes() for r in roots]
    yield
    assert [r.tobytes() for r in roots] == before, "an input was changed"


# ------------------------------------------------------------------------------------------ threads


def shared(threads, run):
    """What run() returns with this number of threads, if it is the same whoever does the work: only
    the helper threads, which must get some, and with two threads whichever comes first.

    A call has no helpers while another thread leads a region, and for a second after the system has
    refused a thread; then it is made again.
    """
    before, done = nncore.get_num_threads(), _core.pool()[1]
    nncore.set_num_threads(threads)
    _core.only_helpers(True)
    try:
        result = run()
        give_up = time.monotonic() + 10
        while threads > 1 and _core.pool()[1] == done:
            assert time.monotonic() < give_up, "no helper thread took part"
            time.sleep(0.05)
            assert run() == result
        _core.only_helpers(False)
        assert threads != 2 or run() == result
    finally:
        _core.only_helpers(False)
        nncore.set_num_threads(before)
    return result


# -------------------------------------------------------------------------------------- comparisons


def assert_close(actual, expected, what="", scale=None, tolerance=None):
    """actual has the shape and type of expected; its finite entries lie within tolerance × the
    largest entry of `scale` (default: of expected), NaN and infinities are at the same places as in
    expected."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype, (
        f"{what}: {actual.dtype} {actual.shape} instead of {expected.dtype} {expected.shape}"
    )
    if not expected.size:
        return
    tolerance = TOLERANCE[expected.dtype] if tolerance is None else tolerance
    finite = np.isfinite(expected)
    assert np.array_equal(finite, np.isfinite(actual)), (
        f"{what}: finite where it should not be, or not where it should"
    )
    assert np.array_equal(actual[~finite], expected[~finite], equal_nan=True), (
        f"{what}: wrong NaN or infinity"
    )
    if finite.any():
        reference = np.abs(expected if scale is None else scale)
        limit = tolerance * float(np.max(reference, where=np.isfinite(reference), initial=0))
        error = float(np.max(np.abs(actual[finite].astype(np.longdouble) - expected[finite])))
        assert error <= limit, f"{what}: off by {error:.3g}, {limit:.3g} allowed"


def ulps(actual, exact, dtype):
    """|actual − exact| in units in the last place of dtype at exact; both mpmath numbers."""
    import mpmath

    spacing = float(np.spacing(np.abs(np.array(float(exact), dtype))))
    return float(abs(mpmath.mpf(float(actual)) - exact) / spacing)


# ----------------------------------------------------------------------------------------- networks

FROM_LOGITS = {
    "nll": "softmax_nll",
    "binary_nll": "sigmoid_nll",
    "squared": "squared_loss",
    "hinge": "hinge_loss",
}

# (inputs, stages): a stage is (outputs, activation), or an activation alone for one without a
# Linear; with a third the loss.
NETS = {
    "2-3-3-2": (2, [(3, "tanh"), (3, "relu"), (2, "softmax")]),
    "64-32-10": (64, [(32, "relu"), (10, "softmax")]),
    "784-128-10": (784, [(128, "relu"), (10, "softmax")]),
    "odd": (13, [(17, "sigmoid"), (31, "tanh"), (5, "relu"), (3, "softmax")]),
    "one layer": (9, [(4, "softmax")]),
    "linear-linear": (8, [(7, "none"), (9, "none"), (3, "softmax")]),
    "activations in a row": (
        5,
        [(16, "tanh"), "sigmoid", "relu", (33, "relu"), "tanh", (4, "softmax")],
    ),
    "tanh before softmax": (6, [(5, "tanh"), "softmax"]),
    "activation first": (7, ["tanh", (6, "relu"), (3, "softmax")]),
    "two activations first": (4, ["relu", "sigmoid", (2, "softmax")]),
    "one class": (3, [(4, "tanh"), (1, "softmax")]),
    "binary": (10, [(12, "tanh"), (1, "output_sigmoid")]),
    "labels": (15, [(64, "relu"), (9, "output_sigmoid")]),
    "width one": (1, [(1, "sigmoid"), (1, "tanh"), (2, "softmax")]),
    "squared": (9, [(17, "tanh"), (3, "none")]),
    "hinge": (12, [(33, "relu"), (2, "none")], "hinge"),
    "65 wide": (65, [(65, "relu"), (65, "sigmoid"), (65, "softmax")]),
}


def make_net(spec, dtype, seed=0):
    """(stages, loss) as nncore._core.Program takes them, with random weights; the loss that goes
    with the output, if none is named."""
    rng = np.random.default_rng(seed)
    width, layers, *named = spec
    stages = []
    for layer in layers:
        outputs, activation = layer if isinstance(layer, tuple) else (None, layer)
        linear = None
        if outputs is not None:
            linear = SimpleNamespace(
                W=rng.normal(0, width**-0.5, (width, outputs)).astype(dtype),
                W0=rng.normal(0, 0.5, (outputs, 1)).astype(dtype),
            )
            width = outputs
        stages.append((linear, activation))
    return stages, named[0] if named else {
        "softmax": "nll",
        "output_sigmoid": "binary_nll",
        "none": "squared",
    }[stages[-1][1]]


def make_data(spec, loss, samples, dtype, seed=1):
    """X (D, N) and Y (n, N): one-hot columns, numbers, -1 and +1, or independent labels of 0 and
    1."""
    rng = np.random.default_rng(seed)
    inputs, layers, *_ = spec
    outputs = [layer[0] for layer in layers if isinstance(layer, tuple)][-1]
    X = rng.normal(size=(inputs, samples))
    if loss == "nll":
        Y = np.eye(outputs)[:, rng.integers(outputs, size=samples)]
    elif loss == "squared":
        Y = rng.normal(size=(outputs, samples))
    elif loss == "hinge":
        Y = rng.choice([-1, 1], size=(outputs, samples))
    else:
        Y = rng.integers(2, size=(outputs, samples))
    return X.astype(dtype), Y.astype(dtype)


def make_program(stages, loss, dtype, inputs=None):
    """The compiled program of a chain; a chain that starts with an activation needs its
    inputs."""
    return _core.Program(stages, loss, dtype, stages[0][0].W.shape[0] if inputs is None else inputs)


def copy_net(stages):
    return [
        (linear and SimpleNamespace(W=linear.W.copy(), W0=linear.W0.copy()), name)
        for linear, name in stages
    ]


def weights(stages):
    return [w for linear, _ in stages if linear for w in (linear.W, linear.W0)]


def forward(kernels, stages, X):
    """(logits, the input of each stage, the output of each hidden activation)."""
    A, given, activated = X, [], []
    for i, (linear, activation) in enumerate(stages):
        given.append(A)
        if linear:
            A = kernels.linear_forward(A, linear.W, linear.W0)
        if i < len(stages) - 1 and activation != "none":
            A = getattr(kernels, activation + "_forward")(A)
        activated.append(A)
    return A, given, activated


def gradients(kernels, stages, loss, X, Y):
    """(loss summed over the batch, [(dLdW, dLdW0) of each Linear, first to last]): the notes'
    algorithm in kernels."""
    logits, given, activated = forward(kernels, stages, X)
    value, delta = getattr(kernels, FROM_LOGITS[loss])(logits, Y)
    results = []
    for i in reversed(range(len(stages))):
        linear, activation = stages[i]
        if i < len(stages) - 1 and activation != "none":
            delta = getattr(kernels, activation + "_backward")(delta, activated[i])
        if linear:
            delta, dLdW, dLdW0 = kernels.linear_backward(delta, given[i], linear.W)
            results.append((dLdW, dLdW0))
    return value, results[::-1]


def train_step(kernels, stages, loss, X, Y, rate):
    """One step of gradient descent on the columns of X and Y; returns the loss before it."""
    value, grads = gradients(kernels, stages, loss, X, Y)
    for linear, (dLdW, dLdW0) in zip([s for s, _ in stages if s], grads, strict=True):
        kernels.sgd_step(linear.W, dLdW, rate)
        kernels.sgd_step(linear.W0, dLdW0, rate)
    return value


# -------------------------------------------------------------------------------------- model files


def damaged(path, change):
    """Save the model at path anew after change(description, arrays)."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    model = json.loads(str(arrays["model"]))
    change(model, arrays)
    if "model" in arrays:
        arrays["model"] = np.array(json.dumps(model))
    with open(path, "wb") as out:
        np.savez(out, **arrays)
