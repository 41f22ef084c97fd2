"""Everybody who does the work of a `Workload`: nncore, the course loop, and the peers in their best
ordinary form.

A contestant is a function of (workload, threads) that returns a `Contest`. Libraries are imported
inside, so that one which is not installed is missed only by its own contestants. Peers take rows as
samples, labels as integers and a fixed sample order; nncore takes the transposed view of the same
memory, one-hot labels, and draws its own order.
"""

import ctypes
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import accuracy
import course_loop
import levels
import machine
import numpy as np
import workloads as w


class Contest(NamedTuple):
    """answer: what `workloads.check` compares, computed before any timing. run(): does `units`
    units of work.

    A unit is a step ("sgd"), a sample ("batch", and "predict" of a batch), or a call (the rest).
    self_timed: `run` returns the seconds that count, as not all that it does is to be timed.
    note(): remarks for the reader of the result, after a run.

    >>> Contest(None, int, 1).units
    1
    """

    answer: object
    run: Callable[[], object]
    units: float
    self_timed: bool = False
    note: Callable[[], str] = str


def _step_count(workload):
    """Steps a timed call makes: some milliseconds, so that the call itself does not show."""
    return 1000 if workload.sizes[0] > 100 else 10_000 if workload.sizes[0] > 10 else 50_000


# nncore and the course loop


def _nncore_network(workload, params=None):
    import nncore as nn

    hidden = {"tanh": nn.Tanh, "relu": nn.ReLU}[workload.hidden]
    modules = []
    for W, b in params or w.weights(workload):
        linear = nn.Linear(*W.shape, dtype=workload.dtype)
        linear.W[...], linear.W0[...] = W, b[:, None]
        modules += [linear, hidden()]
    unit, loss = {
        "nll": (nn.SoftMax, nn.NLL),
        "binary": (nn.OutputSigmoid, nn.BinaryNLL),
        "squared": (None, nn.Squared),
        "hinge": (None, nn.Hinge),
    }[workload.loss]
    modules[-1:] = [unit()] if unit else []
    return nn.Sequential(modules, loss())


def _timed_rows(workload):
    return workload.rows * workload.epochs


def _trained(net):
    return [(module.W.copy(), module.W0[:, 0].copy()) for module in net.modules[::2]]


def _columns(workload, count):
    """X (D, count) and one-hot Y (n, count): the transposed views of the rows, which cost
    nothing."""
    X, y = w.samples(workload, count)
    if workload.loss == "nll":
        y = w.one_hot(y, workload.sizes[-1], workload.dtype)
    return X.T, y.T


def _training_columns(workload):
    """The samples of a row of `fit`, for nncore as a sparse matrix if the row is about one."""
    X, Y = _columns(workload, workload.rows)
    if workload.sparse:
        from scipy.sparse import csc_array

        X = csc_array(X)
    return X, Y


def _set_threads(threads):
    import nncore as nn

    # A version without threads of its own can do with one.
    if threads > 1 or hasattr(nn, "set_num_threads"):
        if not hasattr(nn, "set_num_threads"):
            raise ImportError("this version of nncore has no set_num_threads")
        nn.set_num_threads(threads)


def nncore(workload, threads=1):
    """The library in its documented form: `sgd`, `fit`, `predict_proba`, `kernels.softmax_nll`."""
    _set_threads(threads)
    if workload.kind == "loss":
        from nncore import kernels

        Z, Y = _loss_columns(workload)
        loss, gradient = kernels.softmax_nll(Z, Y)
        return Contest((loss, gradient.T), lambda: kernels.softmax_nll(Z, Y), 1)
    net = _nncore_network(workload)
    if workload.kind == "predict":
        return _prediction(workload, net.predict_proba)
    if workload.kind == "sgd":
        X, Y = _columns(workload, w.POOL)
        steps = _step_count(workload)
        np.random.seed(w.SEED)
        net.sgd(X, Y, w.CHECK_STEPS, w.RATE)
        return Contest(_trained(net), lambda: net.sgd(X, Y, steps, w.RATE), steps)
    X, Y = _training_columns(workload)
    if workload.kind == "train":
        return _nncore_training(workload, net, X, Y)
    options = {"batch_size": workload.batch, "lrate": w.BATCH_RATE, "seed": w.SEED}
    net.fit(X, Y, epochs=1, shuffle=False, **options)
    answer = _trained(net)
    return Contest(
        answer,
        lambda: net.fit(X, Y, epochs=workload.epochs, shuffle=True, **options),
        _timed_rows(workload),
    )


def _nncore_training(workload, net, X, Y):
    import nncore as nn

    makes = {
        "sgd": nn.optimizers.SGD,
        "momentum": lambda: nn.optimizers.Momentum(0.9),
        "adam": nn.optimizers.Adam,
        "adamw": lambda: nn.optimizers.AdamW(weight_decay=0.01),
    }[workload.optimizer]
    options = {
        "batch_size": workload.batch,
        "lrate": w.TRAIN_RATES[workload.optimizer],
        "seed": w.SEED,
    }
    order = w.training_order(workload).ravel()
    net.fit(X[:, order], Y[:, order], shuffle=False, optimizer=makes(), **options)
    answer, optimizer = _trained(net), makes()
    return Contest(
        answer,
        lambda: net.fit(X, Y, epochs=workload.epochs, optimizer=optimizer, **options),
        _timed_rows(workload),
    )


def nncore_sgd(workload, threads=1):
    """`sgd` on the samples of a row of `fit`."""
    if workload.batch > 1 or workload.optimizer != "sgd":
        raise ImportError("sgd takes one sample per step, without an optimizer")
    _set_threads(threads)
    net = _nncore_network(workload)
    X, Y = _training_columns(workload)
    steps = _timed_rows(workload)
    return Contest(None, lambda: net.sgd(X, Y, steps, w.TRAIN_RATES["sgd"]), steps)


def nncore_one_thread(workload, threads=1):
    """The same with one thread, wherever the others use more: more threads should never be
    slower."""
    return nncore(workload, 1)


def nncore_out(workload, threads=1):
    """`kernels.softmax_nll` into an array that is reused."""
    from nncore import kernels

    Z, Y = _loss_columns(workload)
    out = np.empty_like(Z)
    loss, gradient = kernels.softmax_nll(Z, Y, out=out)
    return Contest((loss, gradient.T.copy()), lambda: kernels.softmax_nll(Z, Y, out=out), 1)


def nncore_forward(workload, threads=1):
    """The course API's `forward`, which keeps every module's activation."""
    return _prediction(workload, _nncore_network(workload).forward)


def nncore_predictor(workload, threads=1):
    """The frozen copy that `Sequential.predictor` makes."""
    return _prediction(workload, _nncore_network(workload).predictor())


def _online(workload, learn, trained, one_hot=False, convert=lambda x: x):
    """A Contest for `learn(x, y)`, called for one sample after another: x (D,) and its class, or
    columns with one-hot labels."""
    X, y = w.samples(workload, w.POOL)
    order = w.drawn_order(w.CHECK_STEPS)
    if one_hot:
        Y = w.one_hot(y, workload.sizes[-1], workload.dtype)
        pairs = [(X[i, :, None].copy(), Y[i, :, None].copy()) for i in order]
    else:
        pairs = [(convert(X[i].copy()), convert(y[i])) for i in order]

    def run():
        for x, label in pairs:
            learn(x, label)

    run()
    return Contest(trained(), run, len(pairs))


def nncore_learner(workload, threads=1):
    """What `Sequential.learner` makes."""
    _set_threads(threads)
    net = _nncore_network(workload)
    learn = net.learner(w.RATE)
    return _online(workload, lambda x, y: learn(x, y), lambda: _trained(net))


def nncore_partial_fit(workload, threads=1):
    net = _nncore_network(workload)
    learn = functools.partial(net.partial_fit, lrate=w.RATE)
    return _online(workload, learn, lambda: _trained(net), one_hot=True)


def nncore_by_hand(workload, threads=1):
    """The four calls of the course's loop."""
    net = _nncore_network(workload)

    def learn(x, y):
        net.loss.forward(net.forward(x), y)
        net.backward(net.loss.backward())
        net.sgd_step(w.RATE)

    return _online(workload, learn, lambda: _trained(net), one_hot=True)


def nncore_sgd_once(workload, threads=1):
    net = _nncore_network(workload)

    def learn(x, y):
        net.sgd(x, y, 1, w.RATE)

    return _online(workload, learn, lambda: _trained(net), one_hot=True)


def course(workload, threads=1):
    """The course's own classes in plain NumPy, in the workload's dtype, X in C order as students
    hold it."""
    if workload.kind == "loss":
        Z, Y = (np.ascontiguousarray(array) for array in _loss_columns(workload))
        softmax, nll = course_loop.SoftMax(), course_loop.NLL()

        def run():
            return nll.forward(softmax.forward(Z), Y), nll.backward()

        loss, gradient = run()
        return Contest((loss, gradient.T), run, 1)
    params = w.weights(workload)
    net = w.course_network(workload, params)
    if workload.kind == "predict":
        return _prediction(workload, net.forward)
    if workload.kind == "online":
        learn = functools.partial(net.train_on, lrate=w.RATE)
        return _online(workload, learn, lambda: _copied(params), one_hot=True)
    count = w.POOL if workload.kind == "sgd" else workload.rows
    X, Y = (np.ascontiguousarray(array) for array in _columns(workload, count))
    if workload.kind == "sgd":
        np.random.seed(w.SEED)
        net.sgd(X, Y, w.CHECK_STEPS, w.RATE)
        steps = _step_count(workload)
        return Contest(_copied(params), lambda: net.sgd(X, Y, steps, w.RATE), steps)
    net.epoch(X, Y, workload.batch, w.BATCH_RATE, np.arange(workload.rows))
    answer, order = _copied(params), w.shuffled_order(workload).ravel()
    return Contest(answer, lambda: net.epoch(X, Y, workload.batch, w.BATCH_RATE, order), len(order))


def _copied(params):
    return [(np.array(W), np.array(b)) for W, b in params]


def _loss_columns(workload):
    Z, y = w.logits(workload)
    return Z.T, w.one_hot(y, workload.sizes[-1], workload.dtype).T


def _prediction(workload, predict, columns=True):
    """A Contest for `predict`: one call on the whole batch, or one on each single sample."""
    X = w.queries(workload)
    if workload.batch > 1:
        queries = [X]
    else:
        queries = [X[i : i + 1] for i in range(len(X))]
    if columns:
        queries = [query.T for query in queries]
    answers = [np.array(predict(query)) for query in queries]

    def run():
        for query in queries:
            predict(query)

    return Contest(np.concatenate([a.T for a in answers] if columns else answers), run, len(X))


# Plain NumPy and SciPy, tuned as far as they go: rows, buffers reused, operations in place


def numpy_batch(workload, threads=1):
    params = w.weights(workload)
    Ws, bs = [list(part) for part in zip(*params, strict=True)]
    depth, batch = len(Ws), workload.batch
    dtype = np.dtype(workload.dtype).type
    rate = dtype(w.BATCH_RATE / batch)
    activations = [np.empty((batch, W.shape[1]), dtype) for W in Ws]
    deltas = [np.empty((batch, W.shape[1]), dtype) for W in Ws[:-1]]
    gradients = [np.empty_like(W) for W in Ws]
    rows = np.arange(batch)

    def step(x, y):
        inputs = [x, *activations]
        for layer in range(depth):
            z = np.dot(inputs[layer], Ws[layer], out=activations[layer])
            z += bs[layer]
            if layer < depth - 1:
                np.maximum(z, 0, out=z)
        delta = activations[-1]
        delta -= delta.max(axis=1, keepdims=True)
        np.exp(delta, out=delta)
        delta /= delta.sum(axis=1, keepdims=True)
        delta[rows, y] -= 1
        for layer in reversed(range(depth)):
            below = None
            if layer:
                below = np.dot(delta, Ws[layer].T, out=deltas[layer - 1])
                below *= inputs[layer] > 0
            np.dot(inputs[layer].T, delta, out=gradients[layer])
            gradients[layer] *= rate
            Ws[layer] -= gradients[layer]
            bs[layer] -= rate * delta.sum(axis=0)
            delta = below

    return _batches(workload, step, lambda: _copied(params))


def _batches(workload, step, trained, convert=lambda array: array):
    """A Contest from a function of one batch, `step(x, y)`; `convert` makes the peer's arrays of
    NumPy's."""
    X, y = (convert(array) for array in w.samples(workload, workload.rows))
    for start in range(0, workload.rows, workload.batch):
        step(X[start : start + workload.batch], y[start : start + workload.batch])
    answer = trained()
    order = [convert(indices) for indices in w.shuffled_order(workload)]

    def run():
        for chosen in order:
            step(X[chosen], y[chosen])

    return Contest(answer, run, _timed_rows(workload))


def numpy_predict(workload, threads=1):
    params = w.weights(workload)

    def predict(x):
        for W, b in params[:-1]:
            x = np.dot(x, W)
            x += b
            if workload.hidden == "tanh":
                np.tanh(x, out=x)
            else:
                np.maximum(x, 0, out=x)
        x = np.dot(x, params[-1][0])
        x += params[-1][1]
        x -= x.max(axis=1, keepdims=True)
        np.exp(x, out=x)
        x /= x.sum(axis=1, keepdims=True)
        return x

    return _prediction(workload, predict, columns=False)


def numpy_loss(workload, threads=1):
    Z, y = w.logits(workload)
    rows = np.arange(len(y))

    def run():
        z = Z - Z.max(axis=1, keepdims=True)
        true = z[rows, y]
        np.exp(z, out=z)
        sums = z.sum(axis=1, keepdims=True)
        loss = np.sum(np.log(sums[:, 0]) - true)
        z /= sums
        z[rows, y] -= 1
        return loss, z

    return Contest(run(), run, 1)


def scipy_loss(workload, threads=1):
    from scipy.special import log_softmax

    Z, y = w.logits(workload)
    rows = np.arange(len(y))

    def run():
        logs = log_softmax(Z, axis=1)
        loss = -logs[rows, y].sum()
        gradient = np.exp(logs, out=logs)
        gradient[rows, y] -= 1
        return loss, gradient

    return Contest(run(), run, 1)


# C: plain loops, compiled with all options that permit faster arithmetic


C_LOSS = """
#include <math.h>
double softmax_nll(long batch, long classes, const REAL *Z, const long *labels, REAL *gradient)
{
    double loss = 0;
    for (long i = 0; i < batch; i++) {
        const REAL *restrict z = Z + i * classes;
        REAL *restrict g = gradient + i * classes;
        REAL largest = z[0], sum = 0;
        for (long j = 1; j < classes; j++) largest = z[j] > largest ? z[j] : largest;
        for (long j = 0; j < classes; j++) { g[j] = expf(z[j] - largest); sum += g[j]; }
        loss += log(sum) - (z[labels[i]] - largest);
        REAL scale = 1 / sum;
        for (long j = 0; j < classes; j++) g[j] *= scale;
        g[labels[i]] -= 1;
    }
    return loss;
}
"""


def plain_c_loss(workload, threads=1):
    """One thread, the gradient into an array that is reused."""
    Z, y = w.logits(workload)
    out = np.empty_like(Z)
    function = machine.compiled(C_LOSS, workload.dtype, "-ffast-math", "-lm").softmax_nll
    function.restype = ctypes.c_double
    sizes = [ctypes.c_long(size) for size in Z.shape]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (Z, y, out)]

    def run(keep=(Z, y, out)):
        return function(*sizes, *pointers), out

    loss, gradient = run()
    return Contest((loss, gradient.copy()), run, 1)


# numba: plain loops, compiled with fastmath, sizes and depth known


def numba_sgd(workload, threads=1):
    import numba

    jit = numba.njit(fastmath=True)
    tanh = workload.hidden == "tanh"

    @jit
    def forward(x, W, b, z, hidden):
        m, n = W.shape
        for j in range(n):
            z[j] = b[j]
        for k in range(m):
            value = x[k]
            for j in range(n):
                z[j] += value * W[k, j]
        if hidden:
            for j in range(n):
                z[j] = math.tanh(z[j]) if tanh else max(z[j], x[0] * 0)

    @jit
    def loss_gradient(z, d, label):
        largest, total = z.max(), z[0] * 0
        for j in range(z.size):
            d[j] = math.exp(z[j] - largest)
            total += d[j]
        for j in range(z.size):
            d[j] /= total
        d[label] -= 1

    @jit
    def backward(x, W, b, d, below, rate):
        m, n = W.shape
        for k in range(m):
            step, total = rate * x[k], rate * 0
            for j in range(n):
                total += W[k, j] * d[j]
            for j in range(n):
                W[k, j] -= step * d[j]
            if tanh:
                below[k] = total * (1 - x[k] * x[k])
            else:
                below[k] = total if x[k] > 0 else rate * 0
        for j in range(n):
            b[j] -= rate * d[j]

    @jit
    def update(x, W, b, d, rate):
        m, n = W.shape
        for k in range(m):
            step = rate * x[k]
            for j in range(n):
                W[k, j] -= step * d[j]
        for j in range(n):
            b[j] -= rate * d[j]

    @jit
    def two_layers(X, y, order, rate, W1, b1, W2, b2, z1, z2, d1, d2):
        for i in order:
            x = X[i]
            forward(x, W1, b1, z1, True)
            forward(z1, W2, b2, z2, False)
            loss_gradient(z2, d2, y[i])
            backward(z1, W2, b2, d2, d1, rate)
            update(x, W1, b1, d1, rate)

    @jit
    def three_layers(X, y, order, rate, W1, b1, W2, b2, W3, b3, z1, z2, z3, d1, d2, d3):
        for i in order:
            x = X[i]
            forward(x, W1, b1, z1, True)
            forward(z1, W2, b2, z2, True)
            forward(z2, W3, b3, z3, False)
            loss_gradient(z3, d3, y[i])
            backward(z2, W3, b3, d3, d2, rate)
            backward(z1, W2, b2, d2, d1, rate)
            update(x, W1, b1, d1, rate)

    train = two_layers if len(workload.sizes) == 3 else three_layers
    params = w.weights(workload)
    X, y = w.samples(workload, w.POOL)
    rate = X.dtype.type(w.RATE)
    arrays = [array for pair in params for array in pair]
    arrays += [np.zeros(n, workload.dtype) for _ in "zd" for n in workload.sizes[1:]]
    if workload.kind == "online":
        zero = np.zeros(1, np.int64)

        def learn(x, label):
            train(x[None], np.array([label]), zero, rate, *arrays)

        return _online(workload, learn, lambda: _copied(params))
    steps = _step_count(workload)
    order = w.drawn_order(steps)
    train(X, y, order[: w.CHECK_STEPS], rate, *arrays)
    return Contest(_copied(params), lambda: train(X, y, order, rate, *arrays), steps)


def numba_train(workload, threads=1):
    """Any loss and optimizer, one sample per step: the loops of `numba_sgd` for these layers."""
    if workload.batch > 1:
        raise ImportError("the loops take one sample per step")
    import numba

    jit = numba.njit(fastmath=True, error_model="numpy")
    real = np.dtype(workload.dtype).type
    tanh, loss, rule = workload.hidden == "tanh", workload.loss, workload.optimizer
    zero, one, two, keep1, keep2, eps = map(real, (0, 1, 2, 0.9, 0.999, 1e-8))
    new1, new2 = real(0.1), real(0.001)
    decay = real(0.01 if rule == "adamw" else 0)

    @jit
    def forward(x, W, b, z, hidden):
        m, n = W.shape
        for j in range(n):
            z[j] = b[j]
        for k in range(m):
            value = x[k]
            for j in range(n):
                z[j] += value * W[k, j]
        if hidden:
            for j in range(n):
                z[j] = math.tanh(z[j]) if tanh else max(z[j], zero)

    @jit
    def loss_gradient(z, d, y, i):
        n = z.size
        if loss == "nll":
            largest, total = z.max(), zero
            for j in range(n):
                d[j] = math.exp(z[j] - largest)
                total += d[j]
            for j in range(n):
                d[j] /= total
            d[y[i]] -= one
        elif loss == "squared":
            for j in range(n):
                d[j] = two * (z[j] - y[i, j])
        elif loss == "binary":
            for j in range(n):
                d[j] = one / (one + math.exp(-z[j])) - y[i, j]
        else:
            for j in range(n):
                d[j] = -y[i, j] if y[i, j] * z[j] < one else zero

    @jit
    def below(x, W, d, out):
        m, n = W.shape
        for k in range(m):
            total = zero
            for j in range(n):
                total += W[k, j] * d[j]
            out[k] = total * (one - x[k] * x[k]) if tanh else (total if x[k] > zero else zero)

    @jit
    def update(x, W, b, d, M, V, mb, vb, rate, first, second):
        m, n = W.shape
        for k in range(m):
            for j in range(n):
                g = x[k] * d[j]
                if rule == "sgd":
                    W[k, j] -= rate * g
                elif rule == "momentum":
                    M[k, j] = keep1 * M[k, j] + g
                    W[k, j] -= rate * M[k, j]
                else:
                    M[k, j] = keep1 * M[k, j] + new1 * g
                    V[k, j] = keep2 * V[k, j] + new2 * g * g
                    W[k, j] = W[k, j] * (one - rate * decay) - rate * (M[k, j] * first) / (
                        math.sqrt(V[k, j] * second) + eps
                    )
        for j in range(n):
            if rule == "sgd":
                b[j] -= rate * d[j]
            elif rule == "momentum":
                mb[j] = keep1 * mb[j] + d[j]
                b[j] -= rate * mb[j]
            else:
                mb[j] = keep1 * mb[j] + new1 * d[j]
                vb[j] = keep2 * vb[j] + new2 * d[j] * d[j]
                b[j] = b[j] * (one - rate * decay) - rate * (mb[j] * first) / (
                    math.sqrt(vb[j] * second) + eps
                )

    layers = range(len(workload.pairs))
    names = ", ".join(f"W{i}, b{i}, z{i}, d{i}, M{i}, V{i}, mb{i}, vb{i}" for i in layers)
    lines = [
        f"def train(X, y, order, rate, t, {names}):",
        "    p1, p2 = 0.9 ** t, 0.999 ** t",
        "    for i in order:",
        "        p1, p2 = p1 * 0.9, p2 * 0.999",
        "        first, second, x = real(1 / (1 - p1)), real(1 / (1 - p2)), X[i]",
    ]
    last = layers[-1]
    inputs = ["x", *(f"z{i}" for i in layers)]
    for i in layers:
        lines.append(f"        forward({inputs[i]}, W{i}, b{i}, z{i}, {i < last})")
    lines.append(f"        loss_gradient(z{last}, d{last}, y, i)")
    for i in reversed(layers):
        if i:
            lines.append(f"        below({inputs[i]}, W{i}, d{i}, d{i - 1})")
        lines.append(
            f"        update({inputs[i]}, W{i}, b{i}, d{i}, M{i}, V{i}, mb{i}, vb{i}, rate, first, "
            "second)"
        )
    names = {"forward": forward, "loss_gradient": loss_gradient, "below": below, "update": update}
    names["real"] = numba.float32 if workload.dtype == "float32" else numba.float64
    exec("\n".join(lines), names)
    train = jit(names["train"])
    params = w.weights(workload)
    arrays = []
    for W, b in params:
        arrays += [W, b, *(np.zeros_like(p) for p in (b, b, W, W, b, b))]
    X, y = w.samples(workload, workload.rows)
    rate = real(w.TRAIN_RATES[rule])
    train(X, y, w.training_order(workload).ravel(), rate, 0, *arrays)
    answer, taken = _copied(params), w.TRAIN_CHECK
    order = np.concatenate(
        [
            np.random.default_rng(w.SEED + epoch).permutation(workload.rows)
            for epoch in range(workload.epochs)
        ]
    )

    def run():
        nonlocal taken
        train(X, y, order, rate, taken, *arrays)
        taken += len(order)

    return Contest(answer, run, len(order))


def numba_predict(workload, threads=1):
    import numba

    tanh = workload.hidden == "tanh"

    @numba.njit(fastmath=True)
    def layer(X, W, b, hidden):
        count, m = X.shape
        n = W.shape[1]
        Z = np.empty((count, n), X.dtype)
        for i in range(count):
            for j in range(n):
                Z[i, j] = b[j]
            for k in range(m):
                value = X[i, k]
                for j in range(n):
                    Z[i, j] += value * W[k, j]
            if hidden:
                for j in range(n):
                    Z[i, j] = math.tanh(Z[i, j]) if tanh else max(Z[i, j], value * 0)
            else:
                largest, total = Z[i].max(), value * 0
                for j in range(n):
                    Z[i, j] = math.exp(Z[i, j] - largest)
                    total += Z[i, j]
                for j in range(n):
                    Z[i, j] /= total
        return Z

    @numba.njit
    def two_layers(X, W1, b1, W2, b2):
        return layer(layer(X, W1, b1, True), W2, b2, False)

    @numba.njit
    def three_layers(X, W1, b1, W2, b2, W3, b3):
        return layer(layer(layer(X, W1, b1, True), W2, b2, True), W3, b3, False)

    predict = two_layers if len(workload.sizes) == 3 else three_layers
    arrays = [array for pair in w.weights(workload) for array in pair]
    return _prediction(workload, lambda x: predict(x, *arrays), columns=False)


# JAX: one jitted program, the loop inside it (`lax.scan`), parameters donated


def _jax_step(workload, rate):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", workload.dtype == "float64")
    activation = {"tanh": jnp.tanh, "relu": lambda z: jnp.maximum(z, 0)}[workload.hidden]
    rate = np.dtype(workload.dtype).type(rate)

    def loss(params, x, y):
        for W, b in params[:-1]:
            x = activation(x @ W + b)
        z = x @ params[-1][0] + params[-1][1]
        true = jnp.take_along_axis(z, y[..., None], axis=-1)[..., 0]
        return jnp.mean(jax.nn.logsumexp(z, axis=-1) - true)

    def step(params, x, y):
        return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params, x, y))

    def train(params, X, y, order):
        return jax.lax.scan(lambda p, i: (step(p, X[i], y[i]), None), params, order)[0]

    return jax, jnp, jax.jit(train, donate_argnums=0)


def _jax_training(workload, rate, count, checked, timed, units):
    """A Contest from a jitted scan over `count` samples: `checked` and `timed` are the two runs'
    orders."""
    jax, jnp, train = _jax_step(workload, rate)
    params = [(jnp.array(W), jnp.array(b)) for W, b in w.weights(workload)]
    X, y = map(jnp.array, w.samples(workload, count))
    params = train(params, X, y, jnp.array(checked))
    answer, order = _copied(params), jnp.array(timed)

    def run():
        nonlocal params
        params = jax.block_until_ready(train(params, X, y, order))

    return Contest(answer, run, units)


def jax_train(workload, threads=1):
    """Any loss and optimizer: `lax.scan` over the batches, the optimizer's state donated too."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", workload.dtype == "float64")
    activation = {"tanh": jnp.tanh, "relu": lambda z: jnp.maximum(z, 0)}[workload.hidden]
    real = np.dtype(workload.dtype).type
    rate, rule = real(w.TRAIN_RATES[workload.optimizer]), workload.optimizer

    def loss(params, x, y):
        for W, b in params[:-1]:
            x = activation(x @ W + b)
        z = x @ params[-1][0] + params[-1][1]
        if workload.loss == "nll":
            true = jnp.take_along_axis(z, y[..., None], axis=-1)[..., 0]
            return jnp.mean(jax.nn.logsumexp(z, axis=-1) - true)
        each = {
            "squared": lambda: (z - y) ** 2,
            "binary": lambda: jax.nn.softplus(z) - y * z,
            "hinge": lambda: jnp.maximum(0, 1 - y * z),
        }[workload.loss]()
        return jnp.mean(jnp.sum(each, axis=-1))

    def step(state, x, y):
        params, m, v, t = state
        g, t = jax.grad(loss)(params, x, y), t + 1
        if rule == "sgd":
            return jax.tree.map(lambda p, d: p - rate * d, params, g), m, v, t
        if rule == "momentum":
            m = jax.tree.map(lambda m, d: real(0.9) * m + d, m, g)
            return jax.tree.map(lambda p, m: p - rate * m, params, m), m, v, t
        m = jax.tree.map(lambda m, d: real(0.9) * m + real(0.1) * d, m, g)
        v = jax.tree.map(lambda v, d: real(0.999) * v + real(0.001) * d * d, v, g)
        now = t.astype(workload.dtype)
        first, second = 1 / (1 - real(0.9) ** now), 1 / (1 - real(0.999) ** now)
        keep = real(1 - rate * 0.01) if rule == "adamw" else real(1)
        params = jax.tree.map(
            lambda p, m, v: p * keep - rate * (m * first) / (jnp.sqrt(v * second) + real(1e-8)),
            params,
            m,
            v,
        )
        return params, m, v, t

    def train(state, X, y, order):
        return jax.lax.scan(lambda s, i: (step(s, X[i], y[i]), None), state, order)[0]

    train = jax.jit(train, donate_argnums=0)
    params = [(jnp.array(W), jnp.array(b)) for W, b in w.weights(workload)]
    zeros = [jax.tree.map(jnp.zeros_like, params) if n else () for n in _states(rule)]
    state = (params, *zeros, jnp.zeros((), "int32"))
    X, y = map(jnp.array, w.samples(workload, workload.rows))
    shape = (-1,) if workload.batch == 1 else (-1, workload.batch)
    state = train(state, X, y, jnp.array(w.training_order(workload).reshape(shape)))
    answer = _copied(state[0])
    order = np.concatenate(
        [
            np.random.default_rng(w.SEED + epoch).permutation(workload.rows)
            for epoch in range(workload.epochs)
        ]
    )
    order = jnp.array(order.reshape(shape))

    def run():
        nonlocal state
        state = jax.block_until_ready(train(state, X, y, order))

    return Contest(answer, run, _timed_rows(workload))


def _states(rule):
    """Whether a rule has a mean of gradients and one of their squares."""
    return {"sgd": (0, 0), "momentum": (1, 0)}.get(rule, (1, 1))


def jax_sgd(workload, threads=1):
    order = w.drawn_order(_step_count(workload))
    return _jax_training(workload, w.RATE, w.POOL, order[: w.CHECK_STEPS], order, len(order))


def jax_online(workload, threads=1):
    jax, jnp, train = _jax_step(workload, w.RATE)
    params, zero = [(jnp.array(W), jnp.array(b)) for W, b in w.weights(workload)], jnp.zeros(1, int)

    def learn(x, label):
        nonlocal params
        params = jax.block_until_ready(train(params, x[None], np.array([label]), zero))

    return _online(workload, learn, lambda: _copied(params))


def jax_batch(workload, threads=1):
    in_turn = np.arange(workload.rows).reshape(-1, workload.batch)
    order = w.shuffled_order(workload)
    return _jax_training(
        workload, w.BATCH_RATE, workload.rows, in_turn, order, _timed_rows(workload)
    )


def jax_loss(workload, threads=1):
    import jax
    import jax.numpy as jnp

    Z, y = map(jnp.array, w.logits(workload))

    def loss(z, y):
        return jnp.sum(
            jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
        )

    function = jax.jit(jax.value_and_grad(loss))

    def run():
        return [np.asarray(part) for part in function(Z, y)]

    return Contest(run(), run, 1)


# PyTorch: eager, the fused optimizer


def _torch_network(workload, params, rate):
    """(network, step(x, y)) that trains it by one batch."""
    import torch

    layers = []
    for W, b in params:
        linear = torch.nn.Linear(*W.shape, dtype=getattr(torch, workload.dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.Tanh() if workload.hidden == "tanh" else torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, fused=True)
    loss = torch.nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()

    return net, step


def _torch_trained(net):
    return [
        (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy())
        for layer in net[::2]
    ]


def torch_batch(workload, threads=1):
    import torch

    torch.set_num_threads(threads)
    net, step = _torch_network(workload, w.weights(workload), w.BATCH_RATE)
    return _batches(workload, step, lambda: _torch_trained(net), torch.from_numpy)


def torch_loss(workload, threads=1):
    import torch

    torch.set_num_threads(threads)
    Z, y = map(torch.from_numpy, w.logits(workload))
    Z.requires_grad_()

    def run():
        loss = torch.nn.functional.cross_entropy(Z, y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, Z)
        return loss.detach().numpy(), gradient.numpy()

    return Contest(run(), run, 1)


def onnxruntime_predict(workload, threads=1):
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers, name = [], [], "x"
    last = len(workload.sizes) - 2
    for i, (W, b) in enumerate(w.weights(workload)):
        initializers += [numpy_helper.from_array(W, f"W{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [name, f"W{i}", f"b{i}"], [f"z{i}"]))
        operation = "Softmax" if i == last else {"tanh": "Tanh", "relu": "Relu"}[workload.hidden]
        name = f"a{i}"
        nodes.append(helper.make_node(operation, [f"z{i}"], [name]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, workload.sizes[0]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, workload.sizes[-1]])],
        initializers,
    )
    # The newest onnx writes versions that the runtime may not read yet; these two are old enough
    # for both.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return _prediction(workload, lambda x: session.run(None, {"x": x})[0], columns=False)


# P9: a trainer (see `accuracy.Race`) for each library


def _until_done(epoch):
    def train(done):
        epoch()
        while not done():
            epoch()

    return train


def _nncore_trainer(workload, threads):
    _set_threads(threads)

    def trainer(X, y, params, batch, rate, seed):
        net = _nncore_network(workload, params)
        columns, Y = X.T, w.one_hot(y, workload.sizes[-1], workload.dtype).T
        rng = np.random.default_rng(seed)
        np.random.seed(seed)

        def fit(done):
            stop = [lambda net, history: done()]
            net.fit(
                columns,
                Y,
                accuracy.MAX_EPOCHS,
                batch,
                shuffle=seed is not None,
                lrate=rate,
                callbacks=stop,
                seed=rng,
            )

        # One sample a step is the course's own algorithm, which draws with replacement.
        sgd = _until_done(lambda: net.sgd(columns, Y, len(y), rate))
        return sgd if batch == 1 else fit, lambda: _trained(net)

    return trainer


def _course_trainer(workload, threads):
    def trainer(X, y, params, batch, rate, seed):
        net = w.course_network(workload, params)
        columns, Y = (
            np.ascontiguousarray(rows.T)
            for rows in (X, w.one_hot(y, workload.sizes[-1], workload.dtype))
        )
        rng = np.random.default_rng(seed)
        np.random.seed(seed)

        def epoch():
            if batch == 1:
                net.sgd(columns, Y, len(y), rate)
            else:
                net.epoch(
                    columns,
                    Y,
                    batch,
                    rate,
                    np.arange(len(y)) if seed is None else rng.permutation(len(y)),
                )

        return _until_done(epoch), lambda: params

    return trainer


def _jax_trainer(workload, threads):
    compiled = functools.cache(functools.partial(_jax_step, workload))

    def trainer(X, y, params, batch, rate, seed):
        jax, jnp, train = compiled(rate)
        params = [(jnp.array(W), jnp.array(b)) for W, b in params]
        data = jnp.array(X), jnp.array(y)
        rng = np.random.default_rng(seed)
        whole = len(y) - len(y) % batch  # a scan takes batches of one size

        def epoch():
            nonlocal params
            order = np.arange(len(y)) if seed is None else rng.permutation(len(y))
            params = jax.block_until_ready(
                train(params, *data, jnp.array(order[:whole].reshape(-1, batch)))
            )

        return _until_done(epoch), lambda: _copied(params)

    return trainer


def _torch_trainer(workload, threads):
    import torch

    torch.set_num_threads(threads)

    def trainer(X, y, params, batch, rate, seed):
        net, step = _torch_network(workload, params, rate)
        X, y = torch.from_numpy(X), torch.from_numpy(y)
        torch.manual_seed(seed or 0)

        def epoch():
            order = torch.arange(len(y)) if seed is None else torch.randperm(len(y))
            for chosen in order.split(batch):
                step(X[chosen], y[chosen])

        return _until_done(epoch), lambda: _torch_trained(net)

    return trainer


def _sklearn_network(workload, X, y, params, batch, rate, seed=None):
    """An MLPClassifier with the given weights. Two classes are one logistic output there, so a
    network of two outputs keeps weights of its own."""
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier(
        workload.sizes[1:-1],
        activation=workload.hidden,
        solver="sgd",
        alpha=0,
        momentum=0,
        batch_size=batch,
        learning_rate_init=rate,
        shuffle=seed is not None,
        random_state=seed,
    )
    # A first call makes its arrays, which then get everyone's weights.
    net.partial_fit(X[:batch], y[:batch], classes=np.arange(workload.sizes[-1]))
    for own, given in zip(
        net.coefs_ + net.intercepts_ if workload.sizes[-1] > 2 else [],
        [W for W, _ in params] + [b for _, b in params] if workload.sizes[-1] > 2 else [],
        strict=True,
    ):
        own[...] = given
    return net


def sklearn_mlp(workload, threads=1):
    """scikit-learn's `MLPClassifier`: `partial_fit` on the rows in order, `predict_proba`."""
    if workload.kind == "predict":
        X, y = w.samples(workload, 10)
        net = _sklearn_network(workload, X, y, w.weights(workload), 10, w.RATE)
        contest = _prediction(workload, net.predict_proba, columns=False)
        return contest if workload.sizes[-1] > 2 else contest._replace(answer=None)
    single = workload.kind == "sgd"
    batch, rate = (1, w.RATE) if single else (workload.batch, w.BATCH_RATE)
    X, y = w.samples(workload, w.POOL if single else workload.rows)
    net = _sklearn_network(workload, X, y, w.weights(workload), batch, rate)
    checked = w.drawn_order(w.CHECK_STEPS) if single else np.arange(workload.rows)
    net.partial_fit(X[checked], y[checked])
    trained = zip(net.coefs_, net.intercepts_, strict=True)
    answer = [(W.copy(), b.copy()) for W, b in trained] if workload.sizes[-1] > 2 else None
    order = w.drawn_order(1000) if single else w.shuffled_order(workload).ravel()
    rows, labels = X[order], y[order]
    return Contest(answer, lambda: net.partial_fit(rows, labels), len(order))


def sklearn_online(workload, threads=1):
    """`MLPClassifier.partial_fit` of one row per call."""
    X, y = w.samples(workload, 1)
    net = _sklearn_network(workload, X, y, w.weights(workload), 1, w.RATE)

    def learn(x, y):
        net.partial_fit(x[None, :], [y])

    two = workload.sizes[-1] == 2  # one logistic output there
    contest = _online(
        workload,
        learn,
        lambda: [(W.copy(), b.copy()) for W, b in zip(net.coefs_, net.intercepts_, strict=True)],
    )
    return contest._replace(answer=None) if two else contest


def sklearn_regression(workload, threads=1):
    """`MLPRegressor.partial_fit` on the rows in order, one sample per step. Its loss is half of
    the squared error, so its rate is twice nncore's."""
    if (workload.loss, workload.optimizer) != ("squared", "sgd"):
        raise ImportError("MLPRegressor's loss is the squared error")
    from sklearn.neural_network import MLPRegressor

    X, y = w.samples(workload, workload.rows)
    net = MLPRegressor(
        hidden_layer_sizes=workload.sizes[1:-1],
        activation=workload.hidden,
        solver="sgd",
        alpha=0,
        momentum=0,
        batch_size=workload.batch,
        learning_rate_init=2 * w.TRAIN_RATES["sgd"],
        shuffle=False,
    )
    y = y.ravel() if workload.sizes[-1] == 1 else y
    net.partial_fit(X[: workload.batch], y[: workload.batch])  # makes its arrays
    for own, given in zip(
        net.coefs_ + net.intercepts_,
        [W for W, _ in w.weights(workload)] + [b for _, b in w.weights(workload)],
        strict=True,
    ):
        own[...] = given
    order = w.training_order(workload).ravel()
    net.partial_fit(X[order], y[order])
    answer = [(W.copy(), b.copy()) for W, b in zip(net.coefs_, net.intercepts_, strict=True)]
    return Contest(answer, lambda: net.partial_fit(X, y), workload.rows)


def _sklearn_trainer(workload, threads):
    def trainer(X, y, params, batch, rate, seed):
        net = _sklearn_network(workload, X, y, params, batch, rate, seed)
        return _until_done(lambda: net.partial_fit(X, y)), lambda: list(
            zip(net.coefs_, net.intercepts_, strict=True)
        )

    return trainer


TRAINERS = {
    "nncore": _nncore_trainer,
    "course loop": _course_trainer,
    "JAX": _jax_trainer,
    "PyTorch": _torch_trainer,
    "scikit-learn": _sklearn_trainer,
}


def _race(library, workload, threads=1):
    race = accuracy.Race(TRAINERS[library](workload, threads), workload)
    return Contest(race.answer, race.run, 1, self_timed=True, note=race.describe)


# The machine itself: a unit is as much work as the workload's, so that times compare with the
# others'


def fma_peak(workload, threads=1):
    """Fused multiply-adds from registers, the most the cores can do."""
    run, operations = machine.compiled_peak(workload.dtype, threads)
    return Contest(None, run, operations / workload.flops_per_sample)


def matmul_peak(workload, threads=1):
    """A 2048 × 2048 matrix product in NumPy, a lower bound of the peak that needs no compiler."""
    run, operations = machine.matmul_peak(workload.dtype)
    return Contest(None, run, operations / workload.flops_per_sample)


def weights_updated(workload, threads=1):
    """All weights read and written in place, as a step of one sample must; counted as the share of
    them that the sample needs."""
    total = sum(m * n for m, n in workload.pairs)
    run, passes = machine.compiled_pass(workload.dtype, total, "in place", threads)
    return Contest(None, run, passes * total / workload.touched)


def weights_read(workload, threads=1):
    """All weights read, as the prediction of one sample must; counted likewise."""
    total = sum(m * n for m, n in workload.pairs)
    run, passes = machine.compiled_pass(workload.dtype, total, "nothing", threads)
    return Contest(None, run, passes * total / workload.touched)


def logits_to_gradient(workload, threads=1):
    """As many numbers as there are logits and labels read, and as many as there are logits written
    elsewhere."""
    run, passes = machine.compiled_pass(
        workload.dtype, workload.batch * workload.sizes[-1], "elsewhere", threads
    )
    return Contest(None, run, passes)


PEAKS = {"limit: FMA in C": fma_peak, "limit: NumPy matmul": matmul_peak}
TRAFFIC = {
    "limit: W read, written": ("sgd", weights_updated),
    "limit: W read": ("predict", weights_read),
    "limit: Z and Y read, dL/dZ written": ("loss", logits_to_gradient),
}
LATENCY_BOUND = (
    16_000  # weights or logits up to which a step or a call is a chain of dependent operations
)

# By kind of workload (see `of`): nncore first, then its other forms and the course loop, then the
# peers
CONTESTANTS = {
    "sgd": {
        "nncore": nncore,
        "course loop": course,
        "numba": numba_sgd,
        "JAX": jax_sgd,
        "scikit-learn": sklearn_mlp,
    },
    "online": {
        "nncore": nncore_learner,
        "nncore partial_fit": nncore_partial_fit,
        "nncore by hand": nncore_by_hand,
        "nncore sgd(iters=1)": nncore_sgd_once,
        "course loop": course,
        "numba": numba_sgd,
        "JAX": jax_online,
        "scikit-learn": sklearn_online,
    },
    "batch": {
        "nncore": nncore,
        "course loop": course,
        "NumPy": numpy_batch,
        "JAX": jax_batch,
        "PyTorch": torch_batch,
        "scikit-learn": sklearn_mlp,
    },
    "train": {
        "nncore": nncore,
        "nncore sgd": nncore_sgd,
        "numba": numba_train,
        "JAX": jax_train,
        "scikit-learn": sklearn_regression,
    },
    "predict": {
        "nncore": nncore,
        "nncore predictor": nncore_predictor,
        "nncore forward": nncore_forward,
        "course loop": course,
        "NumPy": numpy_predict,
        "ONNX Runtime": onnxruntime_predict,
        "numba": numba_predict,
        "scikit-learn": sklearn_mlp,
    },
    "loss": {
        "nncore": nncore,
        "nncore out=": nncore_out,
        "course loop": course,
        "plain C": plain_c_loss,
        "NumPy": numpy_loss,
        "SciPy": scipy_loss,
        "PyTorch": torch_loss,
        "JAX": jax_loss,
    },
    "accuracy": {library: functools.partial(_race, library) for library in TRAINERS},
}


def of(workload, threads=1):
    """{name: contestant} of a workload, with the limits of the machine that could be its limit.

    >>> sorted(of(w.WORKLOADS["p1-f32"]))
    ['JAX', 'course loop', 'nncore', 'numba', 'scikit-learn']
    """
    found = dict(CONTESTANTS[workload.kind])
    if threads > 1 and workload.kind in ("sgd", "batch"):
        found["nncore, 1 thread"] = nncore_one_thread
    if large(workload):
        del found[
            "course loop"
        ]  # its arrays, made anew at every operation, take gigabytes and teach nothing
    if workload.level or levels.held():
        for name in levels.UNLIMITED:
            found.pop(name, None)
    if latency_bound(workload):
        return found
    if workload.flops_per_sample and (workload.batch > 1 or workload.kind in ("sgd", "online")):
        found |= PEAKS
    if workload.batch == 1 or workload.kind == "loss":
        found |= {name: limit for name, (kind, limit) in TRAFFIC.items() if kind == workload.kind}
    return found


def large(workload):
    """Whether a step takes so long that it is one of few.

    >>> large(w.WORKLOADS["p5-b256"]), large(w.WORKLOADS["p4-b512-f64"])
    (True, False)
    """
    return workload.kind == "batch" and workload.epochs == 1


def latency_bound(workload):
    """Whether neither arithmetic nor memory traffic limits the workload, but the chain of
    operations and the call.

    >>> latency_bound(w.WORKLOADS["p2-f32"]), latency_bound(w.WORKLOADS["p3-f32"])
    (True, False)
    """
    if workload.kind == "loss":
        return workload.batch * workload.sizes[-1] < LATENCY_BOUND
    return (
        workload.kind in ("sgd", "online", "predict", "train")
        and workload.batch == 1
        and sum(m * n for m, n in workload.pairs) < LATENCY_BOUND
    )
