"""Everybody who does the work of a `Workload`: nncore, the course loop, and the peers in their best ordinary form.

A contestant is a function of (workload, threads) that returns a `Contest`. Libraries are imported inside, so that one
which is not installed is missed only by its own contestants. Peers take rows as samples, labels as integers and a fixed
sample order; nncore takes the transposed view of the same memory, one-hot labels, and draws its own order.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import course_loop
import machine
import numpy as np
import workloads as w


class Contest(NamedTuple):
    """answer: what `workloads.check` compares, computed before any timing. run(): does `units` units of work.

    A unit is a step ("sgd"), a sample ("batch", and "predict" of a batch), or a call (the rest).

    >>> Contest(None, int, 1).units
    1
    """

    answer: object
    run: Callable[[], object]
    units: int


def _step_count(workload):
    """Steps a timed call makes: some milliseconds, so that the call itself does not show."""
    return 1000 if workload.sizes[0] > 100 else 10_000


# nncore and the course loop


def _nncore_network(workload):
    import nncore as nn

    hidden = {"tanh": nn.Tanh, "relu": nn.ReLU}[workload.hidden]
    modules = []
    for W, b in w.weights(workload):
        linear = nn.Linear(*W.shape, dtype=workload.dtype)
        linear.W[...], linear.W0[...] = W, b[:, None]
        modules += [linear, hidden()]
    modules[-1] = nn.SoftMax()
    return nn.Sequential(modules, nn.NLL())


def _trained(net):
    return [(module.W.copy(), module.W0[:, 0].copy()) for module in net.modules[::2]]


def _columns(workload, count):
    """X (D, count) and one-hot Y (n, count): the transposed views of the rows, which cost nothing."""
    X, y = w.samples(workload, count)
    return X.T, w.one_hot(y, workload.sizes[-1], workload.dtype).T


def nncore(workload, threads=1):
    """The library in its documented form: `sgd`, `fit`, `predict_proba`, `kernels.softmax_nll`."""
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
    X, Y = _columns(workload, w.EPOCH)
    options = {"batch_size": workload.batch, "lrate": w.BATCH_RATE, "seed": w.SEED}
    net.fit(X, Y, epochs=1, shuffle=False, **options)
    answer = _trained(net)
    return Contest(answer, lambda: net.fit(X, Y, epochs=w.EPOCHS, shuffle=True, **options), w.EPOCHS * w.EPOCH)


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


def course(workload, threads=1):
    """The course's own classes in plain NumPy, in the workload's dtype, X in C order as students hold it."""
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
    count = w.POOL if workload.kind == "sgd" else w.EPOCH
    X, Y = (np.ascontiguousarray(array) for array in _columns(workload, count))
    if workload.kind == "sgd":
        np.random.seed(w.SEED)
        net.sgd(X, Y, w.CHECK_STEPS, w.RATE)
        steps = _step_count(workload)
        return Contest(_copied(params), lambda: net.sgd(X, Y, steps, w.RATE), steps)
    net.epoch(X, Y, workload.batch, w.BATCH_RATE, np.arange(w.EPOCH))
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
    """A Contest from a function of one batch, `step(x, y)`; `convert` makes the peer's arrays of NumPy's."""
    X, y = (convert(array) for array in w.samples(workload, w.EPOCH))
    for start in range(0, w.EPOCH, workload.batch):
        step(X[start : start + workload.batch], y[start : start + workload.batch])
    answer = trained()
    order = [convert(indices) for indices in w.shuffled_order(workload)]

    def run():
        for chosen in order:
            step(X[chosen], y[chosen])

    return Contest(answer, run, w.EPOCHS * w.EPOCH)


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
    steps = _step_count(workload)
    order = w.drawn_order(steps)
    train(X, y, order[: w.CHECK_STEPS], rate, *arrays)
    return Contest(_copied(params), lambda: train(X, y, order, rate, *arrays), steps)


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
    """A Contest from a jitted scan over `count` samples: `checked` and `timed` are the two runs' orders."""
    jax, jnp, train = _jax_step(workload, rate)
    params = [(jnp.array(W), jnp.array(b)) for W, b in w.weights(workload)]
    X, y = map(jnp.array, w.samples(workload, count))
    params = train(params, X, y, jnp.array(checked))
    answer, order = _copied(params), jnp.array(timed)

    def run():
        nonlocal params
        params = jax.block_until_ready(train(params, X, y, order))

    return Contest(answer, run, units)


def jax_sgd(workload, threads=1):
    order = w.drawn_order(_step_count(workload))
    return _jax_training(workload, w.RATE, w.POOL, order[: w.CHECK_STEPS], order, len(order))


def jax_batch(workload, threads=1):
    in_turn = np.arange(w.EPOCH).reshape(-1, workload.batch)
    return _jax_training(workload, w.BATCH_RATE, w.EPOCH, in_turn, w.shuffled_order(workload), w.EPOCHS * w.EPOCH)


def jax_loss(workload, threads=1):
    import jax
    import jax.numpy as jnp

    Z, y = map(jnp.array, w.logits(workload))

    def loss(z, y):
        return jnp.sum(jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, y[:, None], axis=1)[:, 0])

    function = jax.jit(jax.value_and_grad(loss))

    def run():
        return [np.asarray(part) for part in function(Z, y)]

    return Contest(run(), run, 1)


# PyTorch: eager, the fused optimizer


def torch_batch(workload, threads=1):
    import torch

    torch.set_num_threads(threads)
    layers = []
    for W, b in w.weights(workload):
        linear = torch.nn.Linear(*W.shape, dtype=getattr(torch, workload.dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.Tanh() if workload.hidden == "tanh" else torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(net.parameters(), lr=w.BATCH_RATE, fused=True)
    loss = torch.nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()

    def trained():
        return [(layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in net[::2]]

    return _batches(workload, step, trained, torch.from_numpy)


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
    # The newest onnx writes versions that the runtime may not read yet; these two are old enough for both.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return _prediction(workload, lambda x: session.run(None, {"x": x})[0], columns=False)


# The machine itself: a unit is as many operations as the workload's, so that times compare with the others'


def fma_peak(workload, threads=1):
    """Fused multiply-adds from registers, the most the cores can do."""
    run, operations = machine.compiled_peak(workload.dtype, threads)
    return Contest(None, run, operations / workload.flops_per_sample)


def matmul_peak(workload, threads=1):
    """A 2048 × 2048 matrix product in NumPy, a lower bound of the peak that needs no compiler."""
    run, operations = machine.matmul_peak(workload.dtype)
    return Contest(None, run, operations / workload.flops_per_sample)


PEAKS = {"peak: FMA in C": fma_peak, "peak: NumPy matmul": matmul_peak}

# By kind of workload (see `of`): nncore first, then its other forms and the course loop, then the peers
CONTESTANTS = {
    "sgd": {"nncore": nncore, "course loop": course, "numba": numba_sgd, "JAX": jax_sgd},
    "batch": {
        "nncore": nncore,
        "course loop": course,
        "NumPy": numpy_batch,
        "JAX": jax_batch,
        "PyTorch": torch_batch,
    },
    "predict": {
        "nncore": nncore,
        "nncore forward": nncore_forward,
        "course loop": course,
        "NumPy": numpy_predict,
        "ONNX Runtime": onnxruntime_predict,
        "numba": numba_predict,
    },
    "loss": {
        "nncore": nncore,
        "nncore out=": nncore_out,
        "course loop": course,
        "NumPy": numpy_loss,
        "SciPy": scipy_loss,
        "PyTorch": torch_loss,
        "JAX": jax_loss,
    },
}


def of(workload):
    """{name: contestant} of a workload, with the peaks where the machine's arithmetic could be the limit.

    >>> sorted(of(w.WORKLOADS["p1-f32"]))
    ['JAX', 'course loop', 'nncore', 'numba']
    """
    found = CONTESTANTS[workload.kind]
    return {**found, **PEAKS} if workload.flops_per_sample and workload.batch > 1 else found
