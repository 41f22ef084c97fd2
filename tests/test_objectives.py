"""What a training minimises: smoothed labels, weights of classes and samples, the losses Absolute
and Huber, clipped gradients, layers without bias; against definitions of their own."""

import copy
import math

import numpy as np
import pytest

import nncore as nn
from nncore import optimizers, reference

SIZES = {
    "narrow": (4, 5, 3),
    "one layer": (4, 3),
    "vectors": (20, 40, 30, 3),
    "wide inputs": (300, 8, 3),
    "wide": (64, 100, 5),
    "one output": (7, 6, 1),
}
# name: (the loss, what is passed to Oracle)
LOSSES = {
    "nll": (nn.NLL(), {}),
    "smooth": (nn.NLL(label_smoothing=0.1), {"smoothing": 0.1}),
    "weighted": (nn.NLL(class_weight=[0.0, 2.0, 0.5, 1.0, 3.0]), {"by_class": [0, 2, 0.5, 1, 3]}),
    "both": (
        nn.NLL(0.3, [0.25, 2.0, 0.5, 1.0, 3.0]),
        {"smoothing": 0.3, "by_class": [0.25, 2, 0.5, 1, 3]},
    ),
    "binary": (nn.BinaryNLL(), {}),
    "squared": (nn.Squared(), {}),
    "absolute": (nn.Absolute(), {}),
    "huber": (nn.Huber(0.5), {"delta": 0.5}),
    "hinge": (nn.Hinge(), {}),
}
TRAININGS = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "penalty": {"l2": 0.1},
    "momentum": {"optimizer": "momentum", "l2": 0.05},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": optimizers.AdamW(weight_decay=0.2), "reduction": "sum"},
}
EXTRAS = {
    "nothing": {},
    "weights": {"sample_weight": True},
    "norm": {"clip_norm": 0.3},
    "large norm": {"clip_norm": 1e3},
    "value": {"clip_value": 0.02},
    "weights, norm": {"sample_weight": True, "clip_norm": 0.3},
}


RATE = 0.002  # small enough for Squared on the widest network


def close(actual, wanted, tolerance, scale=None):
    """All entries agree to the tolerance times the largest one, or `scale`."""
    actual, wanted = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
    assert actual.shape == wanted.shape
    scale = max(abs(wanted).max(), 1e-300) if scale is None else scale
    assert abs(actual - wanted).max() <= tolerance * scale


def network(size, loss, dtype=np.float64, bias=True, lib=nn, norm=False):
    sizes = SIZES[size]
    if isinstance(loss, nn.NLL) and loss.class_weight is not None:
        loss = nn.NLL(loss.label_smoothing, loss.class_weight[: sizes[-1]])
    np.random.seed(3)
    chain = []
    for i, (m, n) in enumerate(zip(sizes, sizes[1:], strict=False)):
        chain.append(lib.Linear(m, n, dtype=dtype, bias=bias, init="notes"))
        if i < len(sizes) - 2:
            chain += [lib.BatchNorm(n, dtype=dtype)] if norm else []
            chain.append(lib.Tanh())
    if isinstance(loss, nn.NLL):
        chain.append(lib.SoftMax())
    elif isinstance(loss, nn.BinaryNLL):
        chain.append(lib.OutputSigmoid())
    own = getattr(lib, type(loss).__name__)()
    own.__dict__.update(loss.__dict__)
    return lib.Sequential(chain, own)


def data(size, loss, dtype=np.float64, N=45, seed=0):
    """X, the labels as one passes them, and as columns."""
    rng, sizes = np.random.default_rng(seed), SIZES[size]
    n = sizes[-1]
    X = rng.normal(size=(sizes[0], N)).astype(dtype)
    if isinstance(loss, nn.NLL):
        labels = rng.integers(n, size=N)
        return X, labels, np.eye(n)[:, labels]
    if isinstance(loss, nn.BinaryNLL):
        Y = rng.integers(2, size=(n, N)).astype(np.float64)
    elif isinstance(loss, nn.Hinge):
        Y = rng.choice([-1.0, 1.0], size=(n, N))
    else:
        Y = rng.normal(size=(n, N))
    return X, Y, Y


def sample_weights(N, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 2, N) * (rng.random(N) > 0.2)


class Oracle:
    """The training in plain NumPy, float64, sample by sample where that is plainer."""

    def __init__(self, net, smoothing=0.0, by_class=None, delta=1.0):
        layers = [m for m in net.modules if isinstance(m, nn.Linear)]
        self.W = [m.W.astype(np.float64) for m in layers]
        self.b = [m.W0.astype(np.float64) for m in layers]
        self.bias = [m.bias for m in layers]
        self.loss, self.smoothing, self.by_class, self.delta = net.loss, smoothing, by_class, delta

    def outputs(self, X):
        A = [X.astype(np.float64)]
        for i, (W, b) in enumerate(zip(self.W, self.b, strict=True)):
            Z = W.T @ A[-1] + b
            A.append(Z if i == len(self.W) - 1 else np.tanh(Z))
        return A

    def losses_and_gradients(self, Z, Y):
        """The loss of each sample, and dL/dZ."""
        losses, gradient = np.zeros(Z.shape[1]), np.zeros(Z.shape)
        for j in range(Z.shape[1]):
            losses[j], gradient[:, j] = self.of_sample(Z[:, j], Y[:, j])
        return losses, gradient

    def of_sample(self, z, y):
        n, kind = len(z), type(self.loss).__name__
        if kind == "NLL":
            # PyTorch's CrossEntropyLoss(weight, label_smoothing, reduction="sum") for one class
            c, eps = int(y.argmax()), self.smoothing
            w = np.ones(n) if self.by_class is None else np.array(self.by_class[:n], float)
            log_p = z - z.max() - math.log(np.exp(z - z.max()).sum())
            loss = -(1 - eps) * w[c] * log_p[c] - eps / n * (w * log_p).sum()
            target = w * ((1 - eps) * (np.arange(n) == c) + eps / n)
            return loss, target.sum() * np.exp(log_p) - target
        if kind == "BinaryNLL":
            p = 1 / (1 + np.exp(-z))
            return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(), p - y
        e = z - y
        if kind == "Squared":
            return (e**2).sum(), 2 * e
        if kind == "Absolute":
            return abs(e).sum(), np.sign(e)
        if kind == "Huber":
            small = abs(e) <= self.delta
            linear = self.delta * (abs(e) - self.delta / 2)
            return np.where(small, e**2 / 2, linear).sum(), np.where(
                small, e, self.delta * np.sign(e)
            )
        return np.maximum(0, 1 - y * z).sum(), np.where(y * z < 1, -y, 0)

    def gradients(self, X, Y, w):
        """The weighted losses, and the gradients of their sum by W and b of each layer."""
        A = self.outputs(X)
        losses, delta = self.losses_and_gradients(A[-1], Y)
        delta, found = delta * w, []
        for i in reversed(range(len(self.W))):
            found.append((A[i] @ delta.T, delta.sum(axis=1, keepdims=True)))
            if i:
                delta = (self.W[i] @ delta) * (1 - A[i] ** 2)
        return (w * losses).sum(), found[::-1]

    def train(self, X, Y, w, batch, rate, optimizer, l2, mean, clip_value=None, clip_norm=None):
        """One pass in order; the mean of w L, with the penalty, before each step."""
        total, state, t, N = 0.0, {}, 0, X.shape[1]
        for at in range(0, N, batch):
            part, t = slice(at, min(at + batch, N)), t + 1
            b = part.stop - at
            loss, gradients = self.gradients(X[:, part], Y[:, part], w[part])
            total += loss + l2 / 2 * sum((W**2).sum() for W in self.W) * (b if mean else 1)
            arrays = {}
            for i, (gW, gb) in enumerate(gradients):
                share = b if mean else 1
                arrays[i, "W"] = self.W[i], gW / share + l2 * self.W[i]
                if self.bias[i]:
                    arrays[i, "b"] = self.b[i], gb / share
            if clip_value is not None:
                arrays = {
                    k: (x, np.where(abs(g) > clip_value, clip_value * np.sign(g), g))
                    for k, (x, g) in arrays.items()
                }
            if clip_norm is not None:
                # torch.nn.utils.clip_grad_norm_
                size = math.sqrt(sum((g**2).sum() for _, g in arrays.values()))
                factor = min(1, clip_norm / (size + 1e-6))
                arrays = {k: (x, g * factor) for k, (x, g) in arrays.items()}
            for key, (x, g) in arrays.items():
                self.step(state, key, x, g, t, rate, optimizer)
        return total / N

    @staticmethod
    def step(state, key, x, g, t, rate, optimizer):
        name = type(optimizer).__name__
        m, v = state.get(key, (0, 0))
        if name == "SGD":
            x -= rate * g
        elif name == "Momentum":
            m = optimizer.beta * m + g
            x -= rate * m
        else:
            x *= 1 - rate * getattr(optimizer, "weight_decay", 0)
            m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
            v = optimizer.beta2 * v + (1 - optimizer.beta2) * g**2
            root = np.sqrt(v / (1 - optimizer.beta2**t))
            x -= rate * m / (1 - optimizer.beta1**t) / (root + optimizer.eps)
        state[key] = m, v


def trained(net, X, Y, batch, extra, training):
    training = {**training, "optimizer": copy.deepcopy(training.get("optimizer"))}
    return net.partial_fit(X, Y, batch_size=batch, lrate=RATE, **training, **extra)


def linears(net):
    return [m for m in net.modules if isinstance(m, nn.Linear)]


def check_against_oracle(size, loss, training, extra, batch, dtype, bias, lib):
    object_, settings = LOSSES[loss]
    X, given, Y = data(size, object_, dtype)
    extra, w = dict(EXTRAS[extra]), np.ones(X.shape[1])
    if extra.get("sample_weight"):
        extra["sample_weight"] = w = sample_weights(X.shape[1])
    net = network(size, object_, dtype, bias, lib)
    oracle = Oracle(net, **settings)
    training = TRAININGS[training]
    value = trained(net, X, given, batch, extra, training)
    clips = {k: v for k, v in extra.items() if k != "sample_weight"}
    wanted = oracle.train(
        X,
        Y,
        w,
        batch,
        RATE,
        net.optimizer,
        training.get("l2", 0),
        training.get("reduction") != "sum",
        **clips,
    )
    tolerance = 1e-11 if dtype == np.float64 else 2e-4
    assert value == pytest.approx(wanted, rel=tolerance)
    for layer, W, b in zip(linears(net), oracle.W, oracle.b, strict=True):
        close(layer.W, W, tolerance)
        close(layer.W0, b, tolerance, max(abs(W).max(), abs(b).max()))


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("size", SIZES)
def test_trainings_are_those_of_the_definitions(size, training, extra, dtype):
    """Every loss, batch size and kind of layer in turn, on every path."""
    names = [name for name in LOSSES if SIZES[size][-1] > 1 or name not in ("both", "weighted")]
    start = list(TRAININGS).index(training) + list(EXTRAS).index(extra)
    for i in range(4):
        k = start + 2 * i
        check_against_oracle(
            size,
            names[k % len(names)],
            training,
            extra,
            (32, 1, 45, 7)[i],
            dtype,
            bias=(k // 2) % 3 != 0,
            lib=(nn, nn, reference)[k % 3],
        )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("batch", [1, 16, 45])
def test_losses_and_levels(isa, loss, batch, dtype):
    for size in ("narrow", "vectors"):
        for extra in ("nothing", "weights, norm"):
            check_against_oracle(size, loss, "adam", extra, batch, dtype, True, nn)
            check_against_oracle(size, loss, "plain", extra, batch, dtype, batch != 16, nn)


@pytest.mark.parametrize("loss", ["smooth", "both", "absolute", "huber"])
def test_gradients_by_finite_differences(loss, backend):
    object_ = LOSSES[loss][0]
    X, _, Y = data("vectors", object_)
    net = network("vectors", object_)
    net.loss.forward(net.forward(X), Y)
    net.backward(net.loss.backward())
    for layer in linears(net):
        for at in [(0, 0), (1, 2), (-1, -1)]:
            before, ends = layer.W[at], []
            for h in (1e-6, -1e-6):
                layer.W[at] = before + h
                ends.append(net.loss.forward(net.forward(X), Y))
            layer.W[at] = before
            slope = (ends[0] - ends[1]) / 2e-6
            assert layer.dLdW[at] == pytest.approx(slope, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_values_of_losses(loss, backend, dtype):
    """forward, per_sample, backward and evaluate agree with the definitions."""
    object_, settings = LOSSES[loss]
    for size in ("narrow", "vectors"):
        X, given, Y = data(size, object_, dtype)
        net = network(size, object_, dtype)
        oracle = Oracle(net, **settings)
        losses, gradient = oracle.losses_and_gradients(oracle.outputs(X)[-1], Y)
        tolerance = 1e-11 if dtype == np.float64 else 2e-5
        P, w = net.predict_proba(X), sample_weights(X.shape[1])
        assert net.loss.forward(P, Y) == pytest.approx(losses.sum(), rel=tolerance)
        close(net.loss.per_sample(P, Y), losses, tolerance)
        net.loss.forward(P, Y)
        close(net.loss.backward(), gradient, tolerance)
        assert net.evaluate(X, given)[0] == pytest.approx(losses.mean(), rel=tolerance)
        value, accuracy = net.evaluate(X, given, sample_weight=w)
        assert value == pytest.approx((w * losses).sum() / w.sum(), rel=tolerance)
        if net.loss.classifies:
            class_fun = getattr(net.modules[-1], "class_fun", None) or net.loss.class_fun
            right = class_fun(P) == class_fun(Y)
            wanted = (w * right).sum() / (w * np.ones_like(right)).sum()
            assert accuracy == pytest.approx(wanted, rel=1e-12)
        else:
            assert value > 0


@pytest.mark.parametrize("loss", ["smooth", "both", "huber", "absolute"])
def test_sgd_takes_the_loss_as_it_is(loss, dtype):
    """All labels: class numbers, one-hot columns of any type and order."""
    object_, settings = LOSSES[loss]
    X, given, Y = data("vectors", object_, dtype)
    given = given.astype(dtype) if given.ndim == 2 else given
    results = []
    for labels in (given, Y, np.asfortranarray(Y, dtype), np.ascontiguousarray(Y, dtype)):
        net = network("vectors", object_, dtype)
        np.random.seed(0)
        net.sgd(X, labels, iters=60, lrate=0.02)
        results.append([layer.W.copy() for layer in linears(net)])
    np.random.seed(0)
    oracle = Oracle(network("vectors", object_, dtype), **settings)
    np.random.seed(0)
    for _ in range(60):
        i = np.random.randint(X.shape[1])
        part = slice(i, i + 1)
        _, gradients = oracle.gradients(X[:, part], Y[:, part], np.ones(1))
        for W, b, (gW, gb) in zip(oracle.W, oracle.b, gradients, strict=True):
            W -= 0.02 * gW
            b -= 0.02 * gb
    tolerance = 1e-11 if dtype == np.float64 else 2e-4
    for weights in results:
        for W, wanted in zip(weights, oracle.W, strict=True):
            close(W, wanted, tolerance)


def test_soft_labels_are_smoothed_and_an_unlabelled_sample_stays_one(backend):
    Y = np.array([[0.5, 0.0, 2.0], [0.5, 0.0, 1.0]])
    P = np.array([[0.2, 0.3, 0.4], [0.8, 0.7, 0.6]])
    loss = nn.NLL(label_smoothing=0.2, class_weight=[1.0, 2.0])
    target = np.array([[1.0], [2.0]]) * (0.8 * Y + 0.1 * Y.sum(axis=0))
    close(loss.per_sample(P, Y), -(target * np.log(P)).sum(axis=0), 1e-14)
    loss.forward(P, Y)
    close(loss.backward(), target.sum(axis=0) * P - target, 1e-14)
    assert not loss.backward()[:, 1].any()


def test_log_likelihood_is_of_the_labels_themselves():
    X, given, _ = data("narrow", nn.NLL())
    plain, smooth = network("narrow", nn.NLL()), network("narrow", LOSSES["both"][0])
    assert smooth.log_likelihood(X, given) == pytest.approx(plain.log_likelihood(X, given))
    assert smooth.evaluate(X, given)[0] != pytest.approx(plain.evaluate(X, given)[0])


def test_a_new_setting_counts_from_the_next_call():
    X, given, _ = data("narrow", nn.NLL())
    one, other = network("narrow", nn.NLL()), network("narrow", nn.NLL())
    for net in (one, other):
        net.partial_fit(X, given, lrate=0.1)
        net.evaluate(X, given)
    one.loss = nn.NLL(label_smoothing=0.4)
    other.loss.label_smoothing = 0.4
    assert one.evaluate(X, given) == other.evaluate(X, given)
    assert one.partial_fit(X, given, lrate=0.1) == other.partial_fit(X, given, lrate=0.1)
    assert (one.modules[0].W == other.modules[0].W).all()
    plain = network("narrow", nn.NLL())
    plain.partial_fit(X, given, lrate=0.1)
    plain.partial_fit(X, given, lrate=0.1)
    assert (one.modules[0].W != plain.modules[0].W).any()


# --------------------------------------------------------------------------------- samples, classes


def test_weights_of_one_change_no_bit():
    X, given, _ = data("wide", nn.NLL())
    results = []
    for extra in ({}, {"sample_weight": np.ones(45)}, {"class_weight": {0: 1.0}}):
        net = network("wide", nn.NLL())
        results.append((net.fit(X, given, epochs=2, seed=0, **extra), net.modules[0].W))
    for history, W in results[1:]:
        assert history == results[0][0]
        assert (W == results[0][1]).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_follow_their_samples(seed, backend):
    """Shuffled, held out, in windows: as if a sample occurred as often as its weight says."""
    X, given, _ = data("narrow", nn.NLL(), N=60)
    w = np.random.default_rng(seed).integers(0, 3, 60)
    for extra in ({}, {"shuffle_window": 16}):
        net, twin = network("narrow", nn.NLL()), network("narrow", nn.NLL())
        rng = np.random.default_rng(7)
        net.fit(X, given, sample_weight=w, batch_size=60, epochs=3, seed=rng, **extra)
        many = np.repeat(np.arange(60), w)
        for _ in range(3):
            twin.partial_fit(
                X[:, many], given[many], batch_size=len(many), lrate=0.1 / 60, reduction="sum"
            )
        for a, b in zip(linears(net), linears(twin), strict=True):
            close(a.W, b.W, 1e-12)


def test_held_out_samples_keep_their_weights():
    X, given, _ = data("narrow", nn.NLL(), N=80)
    w = sample_weights(80)
    net = network("narrow", nn.NLL())
    history = net.fit(X, given, validation=0.25, sample_weight=w, epochs=1, lrate=0.0, seed=5)
    held = np.random.default_rng(5).permutation(80)[:20]
    rest = np.setdiff1d(np.arange(80), held)
    loss, accuracy = net.evaluate(X[:, held], given[held], sample_weight=w[held])
    assert history["validation_loss"][0] == pytest.approx(loss, rel=1e-12)
    assert history["validation_accuracy"][0] == pytest.approx(accuracy, rel=1e-12)
    P = net.predict_proba(X[:, rest])
    mean = (w[rest] * net.loss.per_sample(P, np.eye(3)[:, given[rest]])).mean()
    assert history["loss"][0] == pytest.approx(mean, rel=1e-12)


def test_memory_mapped_data_are_read_with_their_weights(monkeypatch, dtype):
    from nncore import _core

    X, given, _ = data("vectors", nn.NLL(), dtype, N=500)
    X, w = np.asfortranarray(X.T).T, sample_weights(500)
    whole, parts = network("vectors", nn.NLL(), dtype), network("vectors", nn.NLL(), dtype)
    whole.fit(X, given, epochs=2, seed=0, sample_weight=w)
    _core.set_copies(1000, 9000)
    try:
        parts.fit(X, given, epochs=2, seed=0, sample_weight=w)
    finally:
        _core.set_copies()
    for a, b in zip(linears(whole), linears(parts), strict=True):
        assert (a.W == b.W).all()


def test_sparse_data_are_weighted_and_clipped(dtype):
    sparse = pytest.importorskip("scipy.sparse")
    X, given, _ = data("wide inputs", nn.NLL(), dtype)
    X = X * (np.random.default_rng(0).random(X.shape) < 0.1)
    w = sample_weights(45)
    for extra in ({"sample_weight": w}, {"clip_norm": 0.2}, {"clip_value": 0.01}):
        for batch in (1, 16):
            nets = [network("wide inputs", nn.NLL(0.1), dtype) for _ in range(2)]
            for net, x in zip(nets, (X, sparse.csr_matrix(X)), strict=True):
                net.fit(x, given, batch_size=batch, seed=0, optimizer="adam", **extra)
                net.evaluate(x, given, sample_weight=w)
            for a, b in zip(*map(linears, nets), strict=True):
                close(a.W, b.W, 1e-9 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_gives_the_same_bits(threads, dtype):
    rng = np.random.default_rng(0)
    X, given = rng.normal(size=(200, 512)).astype(dtype), rng.integers(10, size=512)
    w, results = sample_weights(512), []
    before = nn.get_num_threads()
    for count in (1, threads):
        nn.set_num_threads(count)
        np.random.seed(0)
        net = nn.Sequential(
            [
                nn.Linear(200, 150, dtype=dtype),
                nn.ReLU(),
                nn.Linear(150, 90, dtype=dtype, bias=False),
                nn.Tanh(),
                nn.Linear(90, 10, dtype=dtype),
                nn.SoftMax(),
            ],
            nn.NLL(0.1),
        )
        try:
            net.fit(
                X,
                given,
                epochs=2,
                batch_size=256,
                optimizer="adam",
                l2=0.01,
                clip_norm=0.5,
                sample_weight=w,
                seed=0,
            )
        finally:
            nn.set_num_threads(before)
        results.append([a for m in linears(net) for a in (m.W, m.W0)])
    assert all((a == b).all() for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    "loss, labels, weights, wanted",
    [
        ("nll", [0, 0, 0, 2], "balanced", [4 / 6, 4 / 6, 4 / 6, 2]),  # class 1 does not occur
        ("nll", [0, 1, 2, 2], {2: 3.0}, [1, 1, 3, 3]),
        ("nll", [0, 1, 2, 2], [0.5, 0, 2], [0.5, 0, 2, 2]),
        ("binary", [0, 1, 1, 1], "balanced", [2, 4 / 6, 4 / 6, 4 / 6]),
        ("binary", [0, 1, 1, 1], {1: 5}, [1, 5, 5, 5]),
        ("hinge", [-1, 1, 1, 1], {-1: 5}, [5, 1, 1, 1]),
        ("hinge", [-1, 1, -1, -1], [2, 3], [2, 3, 2, 2]),
    ],
)
def test_weights_of_classes_are_weights_of_samples(loss, labels, weights, wanted, backend):
    object_ = LOSSES[loss][0]
    size = "narrow" if loss == "nll" else "one output"
    X, labels = data(size, object_, N=4)[0], np.array(labels)
    one_hot = np.eye(3)[:, labels] if loss == "nll" else labels[None]
    for given in (labels, one_hot):
        net, twin = network(size, object_), network(size, object_)
        net.fit(X, given, batch_size=3, class_weight=weights, seed=0)
        twin.fit(X, given, batch_size=3, sample_weight=wanted, seed=0)
        close(net.modules[0].W, twin.modules[0].W, 1e-14)
        both = network(size, object_)
        both.fit(X, given, batch_size=3, class_weight=weights, sample_weight=[1, 0, 2, 1], seed=0)
        twin = network(size, object_)
        twin.fit(X, given, batch_size=3, sample_weight=wanted * np.array([1, 0, 2, 1]), seed=0)
        close(both.modules[0].W, twin.modules[0].W, 1e-14)


def test_balanced_is_that_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils.class_weight")
    from nncore.training import weights

    labels = np.random.default_rng(0).choice([0, 2], 50, p=[0.9, 0.1])
    net = network("narrow", nn.NLL())
    found = weights.of_samples(net, np.eye(3)[:, labels], None, "balanced")
    close(found, utils.compute_sample_weight("balanced", labels), 1e-15)


def test_blocks_take_weights():
    X, given, _ = data("narrow", nn.NLL(), N=60)
    w = sample_weights(60)
    net, twin = network("narrow", nn.NLL()), network("narrow", nn.NLL())
    blocks = [(X[:, :30], given[:30], w[:30]), (X[:, 30:], given[30:])]
    extra = {"class_weight": {1: 2.0}, "clip_norm": 0.4, "optimizer": "adam"}
    history = net.fit(blocks, shuffle=False, batch_size=8, **extra)
    first = twin.partial_fit(X[:, :30], given[:30], 8, sample_weight=w[:30], **extra)
    second = twin.partial_fit(X[:, 30:], given[30:], 8, **extra)
    assert history["loss"][0] == pytest.approx((first + second) / 2)
    assert (net.modules[0].W == twin.modules[0].W).all()


def test_a_zero_weight_leaves_a_sample_out_and_all_zeros_leave_the_weights():
    X, given, _ = data("vectors", nn.NLL(), N=20)
    w = np.ones(20)
    w[3] = 0
    X[:, 3] = 1e6
    net, twin = network("vectors", nn.NLL()), network("vectors", nn.NLL())
    net.partial_fit(X, given, 20, lrate=0.1, sample_weight=w)
    kept = w > 0
    twin.partial_fit(X[:, kept], given[kept], 19, lrate=0.1 * 19 / 20)
    close(net.modules[0].W, twin.modules[0].W, 1e-12)
    before = net.modules[0].W.copy()
    assert net.partial_fit(X, given, 7, lrate=0.1, sample_weight=np.zeros(20)) == 0
    assert (net.modules[0].W == before).all()


def test_a_loss_of_the_users_own_is_weighted():
    class Own:
        def forward(self, Ypred, Y):
            self.d = Ypred - Y
            return float((self.d**2).sum())

        def per_sample(self, Ypred, Y):
            return ((Ypred - Y) ** 2).sum(axis=0)

        def backward(self):
            return 2 * self.d

    X, _, Y = data("narrow", nn.Squared())
    net, twin = network("narrow", nn.Squared()), network("narrow", nn.Squared())
    twin.loss, w = Own(), sample_weights(45)
    for extra in ({"clip_norm": 0.1}, {"clip_value": 0.01}, {}):
        losses = [n.partial_fit(X, Y, lrate=0.05, sample_weight=w, **extra) for n in (net, twin)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    close(net.modules[0].W, twin.modules[0].W, 1e-12)
    assert net.evaluate(X, Y, sample_weight=w)[0] == pytest.approx(
        twin.evaluate(X, Y, sample_weight=w)[0]
    )
    del Own.per_sample
    with pytest.raises(TypeError, match="loss must have per_sample"):
        twin.partial_fit(X, Y, sample_weight=w)


# ---------------------------------------------------------------------------------------- clipping


def test_every_gradient_is_in_the_norm_also_that_of_a_batchnorm(dtype):
    """One step of plain SGD with lrate 1 moves the weights by the clipped gradient."""
    X, given, Y = data("vectors", nn.NLL(), dtype)
    for lib in (nn, reference):
        for extra in ({"clip_norm": 0.25}, {"clip_value": 0.001}):
            net = network("vectors", nn.NLL(), dtype, lib=lib, norm=True)
            twin = copy.deepcopy(net)
            twin.loss.forward(twin.forward(X), Y)
            twin.backward(twin.loss.backward())
            names = [(i, k) for i, m in enumerate(net.modules) for k in getattr(m, "gradients", ())]
            before = {(i, k): getattr(net.modules[i], k).copy() for i, k in names}
            net.partial_fit(X, given, batch_size=45, lrate=1.0, **extra)
            moves = {(i, k): before[i, k] - getattr(net.modules[i], k) for i, k in names}
            wanted = {
                (i, k): getattr(twin.modules[i], twin.modules[i].gradients[k]).astype(float) / 45
                for i, k in names
            }
            size = math.sqrt(sum((g**2).sum() for g in wanted.values()))
            tolerance = 1e-10 if dtype == np.float64 else 2e-4
            for key, g in wanted.items():
                if "clip_norm" in extra:
                    assert size > 0.25
                    g = g * 0.25 / (size + 1e-6)
                else:
                    g = np.clip(g, -0.001, 0.001)
                close(moves[key], g, tolerance, 0.01)


def test_learner_and_partial_fit_clip_alike(dtype):
    X, given, _ = data("vectors", nn.NLL(), dtype)
    for extra in ({"clip_norm": 0.2}, {"clip_value": 0.01}):
        for optimizer in ("sgd", "adam"):
            nets = [network("vectors", nn.NLL(0.1), dtype) for _ in range(2)]
            with nets[0].learner(0.05, optimizer, **extra) as learn:
                for j in range(10):
                    learn(X[:, j], given[j])
                assert learn.fast_calls == 10
                learn(X[:, :8], given[:8])
            for j in range(10):
                nets[1].partial_fit(X[:, j : j + 1], given[j : j + 1], 1, 0.05, optimizer, **extra)
            nets[1].partial_fit(X[:, :8], given[:8], 8, 0.05, optimizer, **extra)
            for a, b in zip(*map(linears, nets), strict=True):
                close(a.W, b.W, 1e-12 if dtype == np.float64 else 1e-4)


def test_repeated_calls_do_not_mix_up_their_bounds():
    X, given, _ = data("narrow", nn.NLL(), N=8)
    net, twin = network("narrow", nn.NLL()), network("narrow", nn.NLL(), lib=reference)
    for extra in ({}, {}, {"clip_norm": 0.1}, {"clip_norm": 0.1}, {"clip_norm": 0.2}, {}, {}):
        for n in (net, twin):
            n.partial_fit(X, given, lrate=0.3, **extra)
    close(net.modules[0].W, twin.modules[0].W, 1e-12)


def test_clipping_saves_what_would_diverge_and_a_gradient_beyond_the_range_diverges():
    X, _, Y = data("narrow", nn.Squared())
    X = X * 1e4
    net = network("narrow", nn.Squared())
    with pytest.raises(FloatingPointError):
        network("narrow", nn.Squared()).fit(X, Y * 1e6, epochs=300, lrate=10.0, seed=0)
    history = net.fit(X, Y * 1e6, epochs=300, lrate=10.0, seed=0, clip_norm=1.0)
    assert np.isfinite(history["loss"]).all()
    net = nn.Sequential([nn.Linear(1, 1)], nn.Squared())
    net.modules[0].W[...] = 0
    before = net.modules[0].W.copy()
    with pytest.raises(FloatingPointError, match="step 1"):
        net.partial_fit(np.full((1, 2), 1e154), np.full((1, 2), 1e152), clip_norm=1.0)
    assert (net.modules[0].W == before).all()


@pytest.mark.parametrize("size", [(700, 900, 3), (1100, 1200, 3)])
def test_weights_in_place_are_clipped(size, dtype):
    rng = np.random.default_rng(0)
    X, given = rng.normal(size=(size[0], 40)).astype(dtype), rng.integers(3, size=40)
    nets = []
    for lib in (nn, reference):
        np.random.seed(0)
        nets.append(
            lib.Sequential(
                [
                    lib.Linear(size[0], size[1], dtype=dtype),
                    lib.ReLU(),
                    lib.Linear(size[1], 3, dtype=dtype, bias=False),
                    lib.SoftMax(),
                ],
                lib.NLL(),
            )
        )
        nets[-1].fit(X, given, batch_size=20, seed=0, clip_norm=0.3, l2=0.01, optimizer="adam")
    tolerance = 1e-9 if dtype == np.float64 else 1e-3
    for a, b in zip(*map(linears, nets), strict=True):
        close(a.W, b.W, tolerance)


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ({"sample_weight": np.ones(44)}, ValueError, r"sample_weight must have shape \(45,\)"),
        ({"sample_weight": np.ones((1, 45))}, ValueError, "one weight per sample"),
        ({"sample_weight": -np.ones(45)}, ValueError, "at least 0, got -1.0 at 0"),
        ({"sample_weight": [np.nan] * 45}, ValueError, "finite and at least 0, got nan"),
        ({"sample_weight": [np.inf] * 45}, ValueError, "finite and at least 0, got inf"),
        ({"sample_weight": ["a"] * 45}, TypeError, "sample_weight must be a real array"),
        ({"class_weight": "equal"}, ValueError, "class_weight must be 'balanced', a dict"),
        ({"class_weight": {3: 1.0}}, ValueError, "classes, 0 to 2, as keys, got 3"),
        ({"class_weight": {0: -1.0}}, ValueError, "class_weight must be finite and at least 0"),
        ({"class_weight": [1.0, 2.0]}, ValueError, r"class_weight must have shape \(3,\)"),
        ({"clip_norm": 0}, ValueError, "clip_norm must be finite and above 0, got 0"),
        ({"clip_norm": np.inf}, ValueError, "clip_norm must be finite and above 0"),
        ({"clip_value": -1}, ValueError, "clip_value must be finite and above 0, got -1"),
        ({"clip_value": "1"}, TypeError, "clip_value must be a real number"),
        ({"clip_value": 1, "clip_norm": 1}, ValueError, "must not both be given"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_wrong_arguments_are_refused_and_nothing_changes(call, arguments, error, text):
    X, given, _ = data("narrow", nn.NLL())
    net = network("narrow", nn.NLL())
    before = [layer.W.copy() for layer in linears(net)]
    with pytest.raises(error, match=text):
        getattr(net, call)(X, given, **arguments)
    assert all((m.W == W).all() for m, W in zip(linears(net), before, strict=True))


def test_what_has_no_meaning_is_refused():
    X, given, Y = data("narrow", nn.NLL())
    net = network("narrow", nn.NLL())
    with pytest.raises(ValueError, match="'balanced' in partial_fit"):
        net.partial_fit(X, given, class_weight="balanced")
    with pytest.raises(ValueError, match="'balanced' for blocks"):
        net.fit([(X, given)], class_weight="balanced")
    with pytest.raises(ValueError, match=r"give blocks \(X, Y, sample_weight\)"):
        net.fit([(X, given)], sample_weight=np.ones(45))
    with pytest.raises(ValueError, match=r"sample_weight of blocks\[0\] must have shape"):
        net.fit([(X, given, np.ones(4))])
    with pytest.raises(ValueError, match=r"NLL\(class_weight=...\)"):
        net.fit(X, np.full((3, 45), 1 / 3), class_weight={0: 2.0})
    with pytest.raises(TypeError, match="class_weight must be None for the loss Squared"):
        network("narrow", nn.Squared()).fit(X, Y, class_weight={0: 2.0})
    with pytest.raises(ValueError, match="3 labels per sample"):
        network("narrow", nn.BinaryNLL()).fit(X, Y, class_weight={0: 2.0})
    with pytest.raises(ValueError, match="not be 0 for every sample"):
        net.evaluate(X, given, sample_weight=np.zeros(45))
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(45,\)"):
        net.evaluate(X, given, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="class_weight of NLL must hold one weight per class, 3"):
        net.loss = nn.NLL(class_weight=[1.0, 2.0])
        net.fit(X, given)


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: nn.NLL(label_smoothing=1.5), ValueError, "label_smoothing must be from 0 to 1"),
        (lambda: nn.NLL(label_smoothing=-0.1), ValueError, "label_smoothing must be from 0 to 1"),
        (lambda: nn.NLL("0.1"), TypeError, "label_smoothing must be a real number"),
        (lambda: nn.NLL(class_weight=[1, -1]), ValueError, "at least 0, got -1.0 at 1"),
        (lambda: nn.NLL(class_weight=[[1, 1]]), ValueError, r"class_weight must have shape \(n,\)"),
        (lambda: nn.NLL(class_weight={0: 1}), TypeError, "class_weight must be a real array"),
        (lambda: nn.Huber(0), ValueError, "delta must be finite and above 0, got 0"),
        (lambda: nn.Huber(np.nan), ValueError, "delta must be finite and above 0"),
        (lambda: nn.Linear(2, 3, bias=0), TypeError, "bias must be True or False, got int"),
    ],
)
def test_wrong_settings_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


# ----------------------------------------------------------------------------------- settings, bias


@pytest.mark.parametrize(
    "loss, text",
    [
        (nn.NLL(), "NLL()"),
        (nn.NLL(0.1, [1.0, 2.0, 0.5]), "NLL(label_smoothing=0.1, class_weight=[1.0, 2.0, 0.5])"),
        (nn.Huber(), "Huber()"),
        (nn.Huber(2), "Huber(delta=2.0)"),
        (nn.Absolute(), "Absolute()"),
    ],
)
def test_losses_are_saved_and_shown_with_their_settings(loss, text, tmp_path):
    assert repr(loss) == text
    net = network("narrow", loss)
    net.save(tmp_path / "net.npz")
    again = nn.load(tmp_path / "net.npz")
    assert repr(again.loss) == text
    X, given, _ = data("narrow", loss)
    assert again.evaluate(X, given)[0] == net.evaluate(X, given)[0]
    assert nn.check(again).ok
    copied = copy.deepcopy(again)
    assert repr(copied.loss) == text
    assert copied.evaluate(X, given)[0] == net.evaluate(X, given)[0]


def test_a_file_with_wrong_settings_is_refused(tmp_path):
    import json

    net = network("narrow", nn.Huber(2))
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as file:
        arrays = dict(file)
    for settings in ({"delta": -1}, {}, {"delta": "x"}, 3):
        model = json.loads(str(arrays["model"]))
        model["loss_settings"] = settings
        np.savez(tmp_path / "bad.npz", **{**arrays, "model": json.dumps(model)})
        with pytest.raises(ValueError, match="bad.npz is not an nncore model"):
            nn.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("size", SIZES)
def test_no_training_moves_a_bias_that_is_not_there(size, optimizer, dtype, tmp_path):
    loss = nn.NLL() if SIZES[size][-1] > 1 else nn.Squared()
    X, given, Y = data(size, loss, dtype)
    net = network(size, loss, dtype, bias=False)
    for layer in linears(net):
        assert not layer.W0.any()
        assert layer.parameters == layer.W.size
        assert "bias=False" in repr(layer)
    assert net.parameters == sum(layer.W.size for layer in linears(net))
    for batch in (1, 5, 32):
        net.fit(X, given, batch_size=batch, lrate=0.01, optimizer=optimizer, seed=0)
    net.sgd(X, Y, iters=20, lrate=0.01)
    net.mini_gd(X, Y, iters=6, lrate=0.01, K=8)
    net.fit(X, given, optimizer=optimizer, lrate=0.01, seed=0)
    with net.learner(0.01, net.optimizer) as learn:
        learn(X[:, 0], given[..., 0])
    net.loss.forward(net.forward(X), Y)
    net.backward(net.loss.backward())
    net.sgd_step(0.1)
    assert not any(layer.W0.any() for layer in linears(net))
    assert not any(name == "W0" for _, name in net.optimizer.state)
    net.save(tmp_path / "net.npz")
    again = nn.load(tmp_path / "net.npz")
    assert repr(again) == repr(net)
    for n in (net, again):
        n.fit(X, given, seed=1, lrate=0.01, optimizer=n.optimizer)
    assert (linears(net)[0].W == linears(again)[0].W).all()
    assert not any(layer.W0.any() for layer in linears(again))
    assert nn.check(net).ok


def test_draws_do_not_depend_on_the_bias():
    for init in ("course", "notes", "he"):
        np.random.seed(0)
        with_bias = nn.Linear(3, 2, init=init)
        after = np.random.rand()
        np.random.seed(0)
        without = nn.Linear(3, 2, init=init, bias=False)
        assert (with_bias.W == without.W).all()
        assert not without.W0.any()
        assert np.random.rand() == after


def test_plans_say_why():
    X, given, _ = data("vectors", nn.NLL())
    net, without = network("vectors", nn.NLL()), network("vectors", nn.NLL(), bias=False)
    plan = nn.explain(net, X, given, batch_size=1, clip_norm=1.0)
    assert plan["compiled"] and plan["path"] == "minibatch"
    assert "gradients are clipped" in plan["reasons"]
    plan = nn.explain(net, X, given, batch_size=1, sample_weight=np.ones(45))
    assert plan["compiled"] and "samples are weighted" in plan["reasons"]
    plan = nn.explain(net, X, given, batch_size=16, class_weight="balanced", optimizer="adam")
    assert plan["compiled"]
    plan = nn.explain(without, X, given, batch_size=1)
    assert plan["compiled"] and "a Linear has no bias" in plan["reasons"]
    narrow = network("narrow", nn.NLL())
    plan = nn.explain(narrow, batch_size=32, optimizer="adam", clip_norm=1.0)
    assert plan["path"] == "column-minibatch"
