"""What is measured: one `Workload` a row of the tables, with its weights, its data and its right answer.

Every contestant starts from `weights`, sees `samples`, and must give what `answer` says before it is timed.
Rows are samples here, as the peers take them; `nncore` and the course loop get the transposed view.
"""

from dataclasses import dataclass

import course_loop
import numpy as np

RATE = 0.005  # P1-P3: the course's default
BATCH_RATE = 0.05  # P4: on the gradient averaged over the batch
SEED = 2  # of the sample order
POOL = 1000  # P1-P3: samples to draw from
CHECK_STEPS = 500  # P1-P3: steps before the weights are compared
EPOCH = 5120  # P4: rows, whole batches of each size; few enough for the caches, so that the arithmetic is timed
EPOCHS = 4  # P4: in one timed call
QUERIES = 10_000  # P6: rows of the batch prediction
SINGLES = 100  # P6: different single samples, one call each

# Relative to the largest entry of each array. Trained weights carry the rounding of hundreds of steps; a rate 1 % off
# moves them by 1e-3. The course loop's plain float32 sum over 50 000 classes is what the last one leaves room for.
TOLERANCE = {
    ("trained", "float32"): 1e-4,
    ("trained", "float64"): 1e-10,
    ("computed", "float32"): 5e-5,
}


@dataclass(frozen=True)
class Workload:
    """One row of the performance tables.

    kind: "sgd" (one sample a step), "batch" (mini-batch steps), "predict", "loss" (softmax and NLL alone).
    sizes: the layers; for "loss" the number of classes. density: share of inputs that are not zero.

    >>> WORKLOADS["p2-f32"].flops_per_sample
    10112
    """

    row: str
    kind: str
    sizes: tuple[int, ...]
    hidden: str = "relu"
    dtype: str = "float32"
    density: float = 1.0
    batch: int = 1

    @property
    def flops_per_sample(self):
        """Two a weight for prediction, six for training less the input gradient of the first layer, else 0."""
        pairs = [m * n for m, n in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        if self.kind == "loss":
            return 0
        return 2 * sum(pairs) if self.kind == "predict" else 6 * sum(pairs) - 2 * pairs[0]

    @property
    def title(self):
        shape = "-".join(map(str, self.sizes))
        if self.kind == "loss":
            return f"softmax and NLL with its gradient, {self.batch} samples × {shape} classes, {self.dtype}"
        work = {
            "sgd": "SGD, one random sample a step",
            "batch": f"mini-batch SGD, batch {self.batch} of {EPOCH} shuffled rows",
            "predict": "probabilities, one sample a call" if self.batch == 1 else f"probabilities, batch {self.batch}",
        }[self.kind]
        return f"{shape} {self.hidden}, {work}, {self.dtype}, {self.density:.0%} of inputs not 0"


def _rows():
    tiny, digits, mnist, deep = (2, 3, 3, 2), (64, 32, 10), (784, 128, 10), (784, 256, 128, 10)
    for dtype, tag in (("float32", "f32"), ("float64", "f64")):
        yield Workload(f"p1-{tag}", "sgd", tiny, "tanh", dtype)
        yield Workload(f"p2-{tag}", "sgd", digits, "relu", dtype, 0.2)
        yield Workload(f"p2-dense-{tag}", "sgd", digits, "relu", dtype)
        yield Workload(f"p3-{tag}", "sgd", mnist, "relu", dtype, 0.2)
        yield Workload(f"p3-dense-{tag}", "sgd", mnist, "relu", dtype)
        for batch in (32, 128, 512):
            yield Workload(f"p4-b{batch}-{tag}", "batch", deep, "relu", dtype, 0.2, batch)
    for name, sizes, hidden in (("tiny", tiny, "tanh"), ("digits", digits, "relu"), ("mnist", mnist, "relu")):
        density = 1.0 if name == "tiny" else 0.2
        yield Workload(f"p6-{name}-one", "predict", sizes, hidden, density=density)
        if name != "tiny":
            yield Workload(f"p6-{name}-10k", "predict", sizes, hidden, density=density, batch=QUERIES)
    for batch, classes in ((128, 10), (1024, 1000), (64, 50_000)):
        yield Workload(f"p7-{batch}x{classes}", "loss", (classes,), batch=batch)


WORKLOADS = {workload.row: workload for workload in sorted(_rows(), key=lambda w: w.row[:2])}


def weights(workload, seed=0):
    """[(W (m, n), b (n,)), ...]: W ~ N(0, 1/m), b ~ N(0, 0.01), new arrays at every call.

    >>> [W.shape for W, _ in weights(WORKLOADS["p1-f64"])]
    [(2, 3), (3, 3), (3, 2)]
    """
    draw = np.random.default_rng(seed).normal
    return [
        (draw(0, m**-0.5, (m, n)).astype(workload.dtype), draw(0, 0.1, n).astype(workload.dtype))
        for m, n in zip(workload.sizes[:-1], workload.sizes[1:], strict=True)
    ]


def samples(workload, count, seed=1):
    """X (count, D) in [0, 1) with the workload's share of non-zeros, and labels (count,), int64.

    >>> X, y = samples(WORKLOADS["p2-f32"], 1000)
    >>> X.shape, y.shape, bool(abs((X != 0).mean() - 0.2) < 0.01)
    ((1000, 64), (1000,), True)
    """
    rng = np.random.default_rng(seed)
    X = rng.random((count, workload.sizes[0]), dtype=np.float32).astype(workload.dtype)
    if workload.density < 1:
        X *= rng.random(X.shape) < workload.density
    return X, rng.integers(0, workload.sizes[-1], count)


def queries(workload):
    """The rows to predict: one batch, or the single samples that are asked for one by one.

    >>> queries(WORKLOADS["p6-tiny-one"]).shape
    (100, 2)
    """
    return samples(workload, workload.batch if workload.batch > 1 else SINGLES)[0]


def logits(workload, seed=0):
    """Z (batch, classes) ~ N(0, 9) and labels (batch,), for the "loss" rows.

    >>> logits(WORKLOADS["p7-128x10"])[0].shape
    (128, 10)
    """
    rng = np.random.default_rng(seed)
    shape = (workload.batch, workload.sizes[-1])
    return rng.normal(0, 3, shape).astype(workload.dtype), rng.integers(0, shape[1], shape[0])


def one_hot(labels, classes, dtype):
    """Y (count, classes), 1 at each row's label.

    >>> one_hot(np.array([1]), 2, "float32")
    array([[0., 1.]], dtype=float32)
    """
    Y = np.zeros((len(labels), classes), dtype)
    Y[np.arange(len(labels)), labels] = 1
    return Y


def drawn_order(count):
    """The sample indices that `sgd` draws after `np.random.seed(SEED)`.

    >>> drawn_order(3).shape
    (3,)
    """
    return np.random.RandomState(SEED).randint(POOL, size=count)


def shuffled_order(workload):
    """The sample indices of `EPOCHS` epochs, each shuffled anew and cut into batches: (batches, batch).

    >>> shuffled_order(WORKLOADS["p4-b512-f32"]).shape
    (40, 512)
    """
    rng = np.random.default_rng(SEED)
    return np.concatenate([rng.permutation(EPOCH) for _ in range(EPOCHS)]).reshape(-1, workload.batch)


def course_network(workload, params):
    """The course loop's network that computes in place on `params`.

    >>> len(course_network(WORKLOADS["p1-f64"], weights(WORKLOADS["p1-f64"])).modules)
    6
    """
    hidden = {"tanh": course_loop.Tanh, "relu": course_loop.ReLU}[workload.hidden]
    modules = []
    for W, b in params:
        modules += [course_loop.Linear(W, b[:, None]), hidden()]
    modules[-1] = course_loop.SoftMax()
    return course_loop.Sequential(modules, course_loop.NLL())


def _logits_of(workload, params, X):
    A = X.astype(np.float64)
    for W, b in params[:-1]:
        A = A @ np.asarray(W, np.float64) + np.asarray(b, np.float64)
        A = np.tanh(A) if workload.hidden == "tanh" else np.maximum(A, 0)
    W, b = params[-1]
    return A @ np.asarray(W, np.float64) + np.asarray(b, np.float64)


def softmax_nll(Z, labels):
    """(loss in nats summed over the rows of Z (b, n), dL/dZ (b, n)), in float64.

    >>> round(softmax_nll(np.zeros((1, 2)), np.array([0]))[0], 6)
    0.693147
    """
    Z = Z.astype(np.float64)
    Z -= Z.max(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    powers = np.exp(Z)
    sums = powers.sum(axis=1, keepdims=True)
    gradient = powers / sums
    gradient[rows, labels] -= 1
    return float(np.sum(np.log(sums[:, 0]) - Z[rows, labels])), gradient


def answer(workload):
    """What every contestant must return before it is timed.

    "sgd", "batch": the weights [(W, b), ...] after `CHECK_STEPS` steps in `drawn_order`, or after an epoch
    in the rows' order. "predict": probabilities (count, n) of the `queries`. "loss": (loss, dL/dZ) of the `logits`.

    >>> [array.shape for array in answer(WORKLOADS["p1-f64"])[0]]
    [(2, 3), (3,)]
    """
    if workload.kind == "loss":
        return softmax_nll(*logits(workload))
    params = weights(workload)
    if workload.kind == "predict":
        Z = _logits_of(workload, params, queries(workload))
        powers = np.exp(Z - Z.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    net = course_network(workload, params)
    if workload.kind == "sgd":
        X, y = samples(workload, POOL)
        Y = one_hot(y, workload.sizes[-1], workload.dtype)
        for i in drawn_order(CHECK_STEPS):
            net.train_on(X[i : i + 1].T, Y[i : i + 1].T, RATE)
    else:
        X, y = samples(workload, EPOCH)
        Y = one_hot(y, workload.sizes[-1], workload.dtype)
        net.epoch(X.T, Y.T, workload.batch, BATCH_RATE, np.arange(EPOCH))
    return params


def deviation(given, wanted):
    """Largest difference between two answers, each array's relative to its largest entry.

    >>> deviation([(np.array([1.0, 2.0]), 0.0)], [(np.array([1.0, 2.5]), 0.0)])
    0.2
    """
    if isinstance(wanted, list | tuple):
        if len(given) != len(wanted):
            raise ValueError(f"answer must have {len(wanted)} parts, got {len(given)}")
        return max(deviation(g, w) for g, w in zip(given, wanted, strict=True))
    given, wanted = np.asarray(given, np.float64), np.asarray(wanted, np.float64)
    if given.shape != wanted.shape:
        raise ValueError(f"answer must have shape {wanted.shape}, got {given.shape}")
    scale = float(np.abs(wanted).max()) or 1.0
    return float(np.abs(given - wanted).max()) / scale


def check(workload, given):
    """The deviation of an answer from the NumPy reference's; ValueError where it exceeds `TOLERANCE`.

    >>> workload = WORKLOADS["p7-128x10"]
    >>> check(workload, answer(workload))
    0.0
    """
    worst = deviation(given, answer(workload))
    limit = TOLERANCE["trained" if workload.kind in ("sgd", "batch") else "computed", workload.dtype]
    if not worst <= limit:
        raise ValueError(f"answer must lie within {limit:g} of the NumPy reference, got {worst:.3g}")
    return worst
