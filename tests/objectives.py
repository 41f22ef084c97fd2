"""Trainings defined in plain NumPy, float64: weights of samples and classes, smoothed labels,
losses, clipped gradients and layers without bias; shared by several test files."""

import copy
import math

import numpy as np
import pytest

import nncore as nn
from nncore import optimizers

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
