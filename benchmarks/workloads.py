"""What is measured: one `Workload` a row of the tables, with its weights, its data and its right
answer.

Every contestant starts from `weights`, sees `samples`, and must give what `answer` says before it
is timed. Rows are samples here, as the peers take them; `nncore` and the course loop get the
transposed view.
"""

import os
from dataclasses import dataclass, replace

import course_loop
import numpy as np

RATE = 0.005  # P1-P3: the course's default
BATCH_RATE = 0.05  # P4, P5: on the gradient averaged over the batch
SEED = 2  # of the sample order
POOL = 1000  # P1-P3: samples to draw from
CHECK_STEPS = 500  # P1-P3: steps before the weights are compared
# P4: rows, less what does not fill a batch; few enough for the caches, so that the arithmetic is
# timed
EPOCH = 5120
EPOCHS = 4  # P4: in one timed call
# P5: steps of an epoch, one epoch a timed call; the second step computes with the first one's
# weights
LARGE_STEPS = 2
QUERIES = 10_000  # P6: rows of the batch prediction
SINGLES = 100  # P6: different single samples, one call each

# P9: environment variable with the number of seeds, 20 in the full protocol
SEEDS = "NNCORE_BENCH_SEEDS"
MNIST = "NNCORE_BENCH_MNIST"  # P3 on real images: environment variable with a folder of idx files
GOAL = 0.96  # P9: test accuracy to reach
CELLS = [
    (batch, rate) for batch in (32, 8, 1) for rate in (0.1, 0.2, 0.05, 0.5, 0.02)
]  # P9: likely winners first
CHECK_CELL = (32, 0.1)  # P9: batch size and rate of the epoch in the rows' order that is checked
CHECK_ROWS = 1280  # P9: rows of that epoch, whole batches

# Relative to the largest entry of each array: of the change that training made to the weights, else
# of the result. Trained weights carry the rounding of hundreds of steps; a rate 1 % off changes
# them by 1e-2. The course loop's plain float32 sum over 50 000 classes is what the last one leaves
# room for.
TOLERANCE = {
    ("trained", "float32"): 1e-3,
    ("trained", "float64"): 1e-10,
    ("computed", "float32"): 5e-5,
}
# Of the 17 million hidden units of P5's two steps of 1024 samples, some lie so near to zero that
# rounding decides whether ReLU lets them through: PyTorch and NumPy differ by 1.4e-3 there, too.
LARGE_TOLERANCE = 5e-3
TRAINED = ("sgd", "online", "batch", "train", "accuracy")  # kinds whose answer is the weights
# P11-P13, "train": rates by optimizer, steps before the weights are compared, samples of an epoch
# at batch size 1
TRAIN_RATES = {"sgd": 0.002, "momentum": 0.002, "adam": 0.001, "adamw": 0.001}
TRAIN_CHECK = 60
TRAIN_POOL = 1000


@dataclass(frozen=True)
class Workload:
    """One row of the performance tables.

    kind: "sgd" (one sample per step), "online" (one sample per call from Python), "batch"
    (mini-batch steps), "predict", "loss" (softmax and NLL alone), "accuracy" (time to it), "train"
    (an epoch of `fit` by any loss and optimizer, in batches or one sample per step). sizes: the
    layers; for "loss" the number of classes. density: share of inputs that are not zero. images:
    real ones of the folder that `MNIST` names. rows, epochs: of one timed call of "batch". seed: of
    the samples; of P4 one with which no input of a ReLU comes nearer to 0 than 1e-7 in the epoch
    that is checked, as rounding would decide on which side of it. sparse: nncore is given X as a
    SciPy sparse matrix, its peers as an array. level: the instruction-set level that everyone is
    held to, if not the machine's. extra: no target is set for it.

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
    rows: int = EPOCH
    epochs: int = EPOCHS
    images: bool = False
    seed: int = 1
    loss: str = "nll"
    optimizer: str = "sgd"
    sparse: bool = False
    level: str = ""
    extra: bool = False

    @property
    def pairs(self):
        """(inputs, outputs) of each layer."""
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    @property
    def touched(self):
        """Weights that a sample needs: of the first layer only the rows of the inputs that are not
        zero.

        >>> WORKLOADS["p1-f64"].touched
        21
        """
        (m, n), *rest = self.pairs
        return round(self.density * m * n) + sum(m * n for m, n in rest)

    @property
    def flops_per_sample(self):
        """Two per weight for prediction; six for training, less the input gradient of the first
        layer; otherwise 0."""
        if self.kind in ("loss", "accuracy"):
            return 0
        pairs = [m * n for m, n in self.pairs]
        return 2 * sum(pairs) if self.kind == "predict" else 6 * sum(pairs) - 2 * pairs[0]

    @property
    def title(self):
        shape = "-".join(map(str, self.sizes))
        if self.kind == "loss":
            return (
                f"softmax and NLL with its gradient, {self.batch} samples × {shape} classes, "
                f"{self.dtype}"
            )
        if self.kind == "accuracy":
            return (
                f"{shape} {self.hidden}, UCI digits, time to {GOAL:.0%} test accuracy, "
                f"{self.dtype}, median of {seeds()} seeds"
                f"{'' if seeds() >= 20 else ' (the full protocol has 20: --seeds 20)'}, each "
                f"library's best batch size and rate"
            )
        work = {
            "sgd": "SGD, one random sample a step",
            "train": f"{self.optimizer}, {self.loss}, batch {self.batch}",
            "online": "SGD, one sample per call from Python",
            "batch": f"mini-batch SGD, batch {self.batch} of {self.rows} shuffled rows",
            "predict": "probabilities, one sample a call"
            if self.batch == 1
            else f"probabilities, batch {self.batch}",
        }[self.kind]
        return (
            f"{shape} {self.hidden}, {work}, {self.dtype}, {self.density:.0%} of inputs not "
            f"0{' (images)' if self.images else ''}{' (SciPy sparse)' if self.sparse else ''}"
            f"{f', all at {self.level}' if self.level else ''}"
        )


def _rows():
    tiny, digits, mnist, deep = (2, 3, 3, 2), (64, 32, 10), (784, 128, 10), (784, 256, 128, 10)
    for dtype, tag in (("float32", "f32"), ("float64", "f64")):
        yield Workload(f"p1-{tag}", "sgd", tiny, "tanh", dtype)
        yield Workload(f"p2-{tag}", "sgd", digits, "relu", dtype, 0.2)
        yield Workload(f"p2-dense-{tag}", "sgd", digits, "relu", dtype, extra=True)
        yield Workload(
            f"p3-mnist-{tag}",
            "sgd",
            mnist,
            "relu",
            dtype,
            0.19,
            images=True,
            extra=dtype == "float64",
        )
        yield Workload(f"p3-{tag}", "sgd", mnist, "relu", dtype, 0.2, extra=True)
        yield Workload(f"p3-dense-{tag}", "sgd", mnist, "relu", dtype)
        for batch in (32, 128, 512):
            yield _batches(f"p4-b{batch}-{tag}", deep, dtype, batch)
        yield replace(
            _batches(f"p4-dense-{tag}", deep, dtype, 128), density=1.0, extra=dtype == "float64"
        )
    odd = [
        ("b131", deep, 131),
        ("out26", (784, 256, 128, 26), 128),
        ("out101", (784, 256, 128, 101), 128),
    ]
    for name, sizes, batch in (
        ("b37", deep, 37),
        *odd,
        ("narrow", (784, 100, 50, 10), 128),
        ("small", digits, 32),
    ):
        yield _batches(f"p4-{name}-f32", sizes, "float32", batch)
    for name, sizes, batch in odd:
        yield replace(
            _batches(f"p4-dense-{name}-f32", sizes, "float32", batch), density=1.0, seed=4
        )
    for batch in (256, 1024):
        rows = LARGE_STEPS * batch
        yield Workload(
            f"p5-b{batch}",
            "batch",
            (1024, 4096, 4096, 1000),
            density=0.2,
            batch=batch,
            rows=rows,
            epochs=1,
        )
    for name, sizes, hidden in (
        ("tiny", tiny, "tanh"),
        ("digits", digits, "relu"),
        ("mnist", mnist, "relu"),
    ):
        density = 1.0 if name == "tiny" else 0.2
        yield Workload(f"p6-{name}-one", "predict", sizes, hidden, density=density)
        if name != "tiny":
            yield Workload(
                f"p6-{name}-10k", "predict", sizes, hidden, density=density, batch=QUERIES
            )
    for name, sizes in (
        ("tiny", (2, 10, 2)),
        ("deep", (4, 64, 64, 2)),
        ("digits", digits),
        ("mnist", mnist),
    ):
        yield Workload(f"p10-{name}", "online", sizes)
    for batch, classes in ((128, 10), (1024, 1000), (64, 50_000)):
        yield Workload(f"p7-{batch}x{classes}", "loss", (classes,), batch=batch)
    yield Workload("p9", "accuracy", digits, "tanh", rows=1437)
    yield from _losses()
    yield from _optimizers()
    yield from _shapes()
    yield from _predictions()
    yield from _sparse()
    yield from _levels()


def _train(
    row, sizes, hidden="relu", loss="nll", optimizer="sgd", dtype="float32", batch=1, **more
):
    rows = TRAIN_POOL if batch == 1 else max(2048, 4 * batch)
    return Workload(
        row,
        "train",
        sizes,
        hidden,
        dtype,
        batch=batch,
        rows=rows,
        epochs=max(1, 20_000 // rows),
        loss=loss,
        optimizer=optimizer,
        **more,
    )


def _losses():
    """P11: losses other than NLL; each with the same hidden layers as NLL with two outputs."""
    for sizes, hidden, losses in (
        ((2, 3, 3), "tanh", ("squared", "binary")),
        ((30, 16), "relu", ("binary", "hinge")),
        ((4, 64, 64), "relu", ("squared",)),
    ):
        name = "-".join(map(str, sizes))
        yield _train(f"p11-{name}-nll-f32", (*sizes, 2), hidden)
        for loss in losses:
            yield _train(f"p11-{name}-{loss}-f32", (*sizes, 1), hidden, loss)
    yield _train("p11-2-3-3-squared-f64", (2, 3, 3, 1), "tanh", "squared", dtype="float64")
    yield _train("p11-4-64-64-squared-f64", (4, 64, 64, 1), "relu", "squared", dtype="float64")
    yield _train("p11-64-32-10-squared-f32", (64, 32, 10), "relu", "squared")
    yield _train("p11-30-16-binary-b256-f32", (30, 16, 1), "relu", "binary", batch=256)
    yield _train("p11-10-20-squared-b1024-f32", (10, 20, 1), "tanh", "squared", batch=1024)


def _optimizers():
    """P12: rules other than plain SGD, one sample per step."""
    for sizes in ((4, 64, 64, 2), (64, 32, 10), (784, 128, 10)):
        name = "-".join(map(str, sizes))
        for optimizer in ("adam", "momentum", "adamw"):
            yield _train(f"p12-{name}-{optimizer}-f32", sizes, optimizer=optimizer)
        if sizes[0] > 4:
            yield _train(f"p12-{name}-adam-f64", sizes, optimizer="adam", dtype="float64")


def _shapes():
    """P13: sizes at which a path ends, `fit` of single samples, tiny networks in batches."""
    for inputs in (4, 120, 136):
        yield Workload(f"p13-{inputs}-64-64-2-f32", "sgd", (inputs, 64, 64, 2))
    yield _train("p13-fit-2-3-3-2-f32", (2, 3, 3, 2), "tanh")
    yield _train("p13-fit-64-32-10-f32", (64, 32, 10))
    yield replace(_train("p13-fit-64-32-10-zeros-f32", (64, 32, 10)), density=0.2)
    yield _train("p13-fit-784-128-10-f32", (784, 128, 10))
    yield _train("p13-2-3-3-2-b64-f32", (2, 3, 3, 2), "tanh", batch=64)
    yield _train("p13-4-16-3-b1024-f32", (4, 16, 3), batch=1024)
    yield Workload("p13-2-3-3-2-10k", "predict", (2, 3, 3, 2), "tanh", batch=QUERIES)
    yield Workload("p13-2912-2912-10-f32", "sgd", (2912, 2912, 10))
    # of seed 1 an input of a ReLU comes as near to 0 as 2e-7
    yield replace(_batches("p13-3072-512-100-b48-f32", (3072, 512, 100), "float32", 48), seed=2)
    yield _batches("p13-128-64-5000-b128-f32", (128, 64, 5000), "float32", 128)
    for loss in ("squared", "binary"):
        yield _train(f"p13-784-32-784-{loss}-b128-f32", (784, 32, 784), loss=loss, batch=128)


def _predictions():
    """P14: predictions of some samples per call."""
    for sizes, batches in (
        ((64, 32, 10), (2, 10, 100)),
        ((784, 128, 10), (10, 256)),
        ((1024, 1024, 1024, 10), (4, 16, 256, 1024)),
    ):
        name = "-".join(map(str, sizes))
        for batch in batches:
            yield Workload(f"p14-{name}-b{batch}", "predict", sizes, batch=batch)


def _sparse():
    """P15: bags of words, one input in a hundred of which is not zero."""
    for batch, name in ((1, "p15-10000-32-2-f32"), (128, "p15-10000-32-2-b128-f32")):
        row = _train(name, (10_000, 32, 2), batch=batch)
        yield replace(row, density=0.01, sparse=True, rows=1024, epochs=20)


def _levels():
    """P16: the levels that most processors have, nncore and its peers held to them."""
    tiny, digits, deep = (2, 3, 3, 2), (64, 32, 10), (784, 256, 128, 10)
    for level in ("avx2", "generic"):
        for row in (
            Workload("p16-tiny", "sgd", tiny, "tanh"),
            Workload("p16-digits", "sgd", digits),
            _batches("p16-digits-b32", digits, "float32", 32),
            *(_batches(f"p16-deep-b{batch}", deep, "float32", batch) for batch in (32, 128, 512)),
            Workload("p16-digits-10k", "predict", digits, batch=QUERIES),
        ):
            yield replace(row, row=f"{row.row}-{level}", level=level)


def _batches(row, sizes, dtype, batch):
    seed = 6 if batch in (32, 37, 131, 512) and sizes[0] > 64 else 1
    return Workload(
        row, "batch", sizes, "relu", dtype, 0.2, batch, EPOCH - EPOCH % batch, seed=seed
    )


def table(row):
    """The number of a row's table.

    >>> table("p10-tiny")
    10
    """
    return int(row.partition("-")[0].removeprefix("p"))


WORKLOADS = {workload.row: workload for workload in sorted(_rows(), key=lambda w: table(w.row))}


# Rows that are also run with two threads; in some the only question is whether two are ever slower
# than one.
TWO_THREADS = [
    row
    for row in WORKLOADS
    if row in ("p1-f32", "p2-f32", "p4-small-f32")
    or row.startswith(("p4-b32-", "p4-b128-", "p4-b512-", "p5-"))
]


def seeds():
    """P9: how many seeds are run, 5 unless the environment says otherwise.

    >>> seeds() > 0
    True
    """
    return int(os.environ.get(SEEDS, 5))


def weights(workload, seed=0):
    """[(W (m, n), b (n,)), ...]: W ~ N(0, 1/m), b ~ N(0, 0.01), new arrays at every call.

    >>> [W.shape for W, _ in weights(WORKLOADS["p1-f64"])]
    [(2, 3), (3, 3), (3, 2)]
    """
    draw = np.random.default_rng(seed).normal
    return [
        (draw(0, m**-0.5, (m, n)).astype(workload.dtype), draw(0, 0.1, n).astype(workload.dtype))
        for m, n in workload.pairs
    ]


def samples(workload, count):
    """X (count, D) in [0, 1] with the workload's share of non-zeros, and labels (count,), int64.

    FileNotFoundError if the workload wants images and `MNIST` names no folder that has them.

    >>> X, y = samples(WORKLOADS["p2-f32"], 1000)
    >>> X.shape, y.shape, bool(abs((X != 0).mean() - 0.2) < 0.01)
    ((1000, 64), (1000,), True)
    """
    rng = np.random.default_rng(workload.seed)
    if workload.images:
        X, y = _images()
        chosen = rng.permutation(len(X))[:count]
        return (X[chosen] / 255).astype(workload.dtype), y[chosen]
    X = rng.random((count, workload.sizes[0]), dtype=np.float32).astype(workload.dtype)
    if workload.density < 1:
        X *= rng.random(X.shape) < workload.density
    n = workload.sizes[-1]
    if workload.loss == "squared":
        return X, rng.normal(size=(count, n)).astype(workload.dtype)
    if workload.loss in ("binary", "hinge"):
        y = rng.integers(2, size=(count, n)).astype(workload.dtype)
        return X, y if workload.loss == "binary" else 2 * y - 1
    return X, rng.integers(0, n, count)


def _images():
    folder = os.environ.get(MNIST)
    if not folder:
        raise FileNotFoundError(
            f"no images: name a folder of MNIST-format idx files by --mnist or {MNIST}"
        )
    from nncore import datasets

    X, y = datasets.load_idx(folder)
    return X.T, y


def digits(workload):
    """P9: X and labels to train on, X and labels to test, rows in [0, 1]: scikit-learn's split of
    80/20 by random_state 0.

    >>> [array.shape for array in digits(WORKLOADS["p9"])]
    [(1437, 64), (1437,), (360, 64), (360,)]
    """
    from nncore import datasets

    X, y = datasets.load_digits()
    X = (X.T / 16).astype(workload.dtype)
    order = np.random.RandomState(0).permutation(len(X))
    test, train = np.split(order, [len(X) - workload.rows])
    return X[train], y[train], X[test], y[test]


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


def training_order(workload):
    """The order of a "train" row's check: one epoch in the rows' order, (steps, batch)."""
    steps = min(TRAIN_CHECK, workload.rows // workload.batch)
    return np.arange(steps * workload.batch).reshape(steps, workload.batch)


def shuffled_order(workload):
    """The sample indices of the workload's epochs, each shuffled anew and cut into batches:
    (batches, batch).

    >>> shuffled_order(WORKLOADS["p4-b512-f32"]).shape
    (40, 512)
    """
    rng = np.random.default_rng(SEED)
    return np.concatenate([rng.permutation(workload.rows) for _ in range(workload.epochs)]).reshape(
        -1, workload.batch
    )


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


def accuracy(workload, params, X, y):
    """The share of the rows of X whose largest logit is their label's.

    >>> workload = WORKLOADS["p9"]
    >>> accuracy(workload, weights(workload), *digits(workload)[2:]) < 0.5
    True
    """
    return float((_logits_of(workload, params, X).argmax(axis=1) == y).mean())


def answer(workload):
    """What every contestant must return before it is timed.

    The weights [(W, b), ...], of "sgd" and "online" after `CHECK_STEPS` steps in `drawn_order`, of
    "batch" after an epoch in the rows' order, of "accuracy" after `CHECK_ROWS` rows in order by
    `CHECK_CELL`.
    "predict": probabilities (count, n) of the `queries`. "loss": (loss, dL/dZ) of the `logits`.

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
    if workload.kind == "train":
        return _trained(workload)
    net = course_network(workload, params)
    if workload.kind in ("sgd", "online"):
        X, y = samples(workload, POOL)
        Y = one_hot(y, workload.sizes[-1], workload.dtype)
        for i in drawn_order(CHECK_STEPS):
            net.train_on(X[i : i + 1].T, Y[i : i + 1].T, RATE)
        return params
    if workload.kind == "accuracy":
        (X, y), (batch, rate) = digits(workload)[:2], CHECK_CELL
        X, y = X[:CHECK_ROWS], y[:CHECK_ROWS]
    else:
        (X, y), batch, rate = samples(workload, workload.rows), workload.batch, BATCH_RATE
    net.epoch(X.T, one_hot(y, workload.sizes[-1], workload.dtype).T, batch, rate, np.arange(len(X)))
    return params


def _trained(workload):
    """The weights of a "train" row after the steps of `training_order`, in float64."""
    params = [[p.astype(np.float64) for p in pair] for pair in weights(workload)]
    X, y = samples(workload, workload.rows)
    Y = one_hot(y, workload.sizes[-1], "float64") if workload.loss == "nll" else y
    means = [[np.zeros_like(p) for p in pair] for pair in params]
    squares = [[np.zeros_like(p) for p in pair] for pair in params]
    rate = TRAIN_RATES[workload.optimizer]
    for t, order in enumerate(training_order(workload), 1):
        A = _forward(workload, params, X[order].astype(np.float64))
        d, W = _loss_gradient(workload.loss, A[-1], Y[order]) / len(order), None
        for i in reversed(range(len(params))):
            if W is not None:
                a = A[i + 1]
                d = (d @ W.T) * (1 - a * a if workload.hidden == "tanh" else a > 0)
            W = params[i][0].copy()
            for j, g in enumerate((A[i].T @ d, d.sum(axis=0))):
                p, m, v = params[i][j], means[i][j], squares[i][j]
                if workload.optimizer == "sgd":
                    p -= rate * g
                elif workload.optimizer == "momentum":
                    m *= 0.9
                    m += g
                    p -= rate * m
                else:
                    p *= 1 - rate * (0.01 if workload.optimizer == "adamw" else 0)
                    m += 0.1 * (g - m)
                    v += 0.001 * (g * g - v)
                    p -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return [tuple(pair) for pair in params]


def _forward(workload, params, X):
    """The inputs, the hidden activations and the logits."""
    A = [X]
    for i, (W, b) in enumerate(params):
        z = A[-1] @ W + b
        if i < len(params) - 1:
            z = np.tanh(z) if workload.hidden == "tanh" else np.maximum(z, 0)
        A.append(z)
    return A


def _loss_gradient(loss, z, y):
    if loss == "nll":
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True) - y
    if loss == "squared":
        return 2 * (z - y)
    return 1 / (1 + np.exp(-z)) - y if loss == "binary" else -y * (y * z < 1)


def deviation(given, wanted, base=None):
    """Largest difference between two answers, each array's relative to its largest entry, or to its
    largest change from `base`.

    >>> deviation([(np.array([1.0, 2.0]), 0.0)], [(np.array([1.0, 2.5]), 0.0)])
    0.2
    >>> deviation(np.array([1.0, 2.0]), np.array([1.0, 2.5]), np.array([1.0, 2.0]))
    1.0
    """
    if isinstance(wanted, list | tuple):
        if len(given) != len(wanted):
            raise ValueError(f"answer must have {len(wanted)} parts, got {len(given)}")
        bases = [None] * len(wanted) if base is None else base
        return max(deviation(*parts) for parts in zip(given, wanted, bases, strict=True))
    given, wanted = np.asarray(given, np.float64), np.asarray(wanted, np.float64)
    if given.shape != wanted.shape:
        raise ValueError(f"answer must have shape {wanted.shape}, got {given.shape}")
    scale = float(np.abs(wanted if base is None else wanted - base).max()) or 1.0
    return float(np.abs(given - wanted).max()) / scale


def check(workload, given):
    """The deviation of an answer from the NumPy reference's; ValueError if it exceeds
    `TOLERANCE`.

    >>> workload = WORKLOADS["p7-128x10"]
    >>> check(workload, answer(workload))
    0.0
    """
    trained = workload.kind in TRAINED
    worst = deviation(given, answer(workload), weights(workload) if trained else None)
    limit = (
        LARGE_TOLERANCE
        if workload.row == "p5-b1024"
        else TOLERANCE["trained" if trained else "computed", workload.dtype]
    )
    if not worst <= limit:
        raise ValueError(
            f"answer must lie within {limit:g} of the NumPy reference, got {worst:.3g}"
        )
    return worst
