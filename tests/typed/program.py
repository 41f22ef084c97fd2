"""A user's program: mypy --strict and pyright must find nothing wrong with it."""

import numpy as np
from numpy.typing import NDArray

import nncore as nn


class Scale(nn.Module):
    """A module of the user's own."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, A: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.factor * A

    def backward(self, dLdA: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.factor * dLdA


def report(net: nn.Sequential, history: nn.History) -> bool:
    return len(net) == 0 or history["loss"][-1] < 0.01


def train(seed: int) -> tuple[nn.Sequential, nn.History]:
    nn.set_seed(seed)
    X, labels = nn.datasets.load_digits("train")
    scaling = nn.datasets.fit_scaling(X)
    n = labels.max() + 1
    layers = [nn.Linear(64, 32, init="he", rng=seed), nn.ReLU(), nn.Linear(32, n), nn.SoftMax()]
    net = nn.Sequential(layers, nn.NLL())
    stop = nn.callbacks.EarlyStopping(patience=3)
    rate = nn.schedules.Cosine(0.1, steps=200)
    history = net.fit(
        nn.datasets.scale(X, scaling),
        labels,
        epochs=5,
        lrate=rate,
        optimizer=nn.optimizers.Nesterov(0.8),
        validation=0.2,
        callbacks=[stop, report],
    )
    return net, history


def show(net: nn.Sequential, X: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    first: nn.Linear = net[0]
    loss, accuracy = net.evaluate(X, y)
    right = int((net.predict(X) == y).sum())
    logits = net[:-1](X)
    outputs = net.predictor()(X[:, 0])
    twin = nn.reference.Linear(2, 3)
    loss, dLdZ = nn.kernels.softmax_nll(twin.W, np.eye(2, 3))
    print(net.summary(), first.W.shape, loss, right, logits.argmax(axis=0), outputs.max())
    with net.learner(lrate=0.01) as learn:
        learn([0.0] * 64, 3)
        row: NDArray[np.float64] = learn.predict(X[:, 0])
    balanced = net.evaluate(X, y, class_weight="balanced")[1]
    return accuracy + 0 * balanced * float(row.max())


def names(net: nn.Sequential, X: NDArray[np.float64]) -> NDArray[np.str_]:
    """Predictions are integers, texts or numbers; the caller knows which."""
    numbers: NDArray[np.int64] = net.predict(X)
    first = int(net.predict(X)[0]) + numbers[0]
    net.classes = [f"digit {i}" for i in range(10)]
    net.scaling = {"shift": 0.0, "factor": 1.0}
    net.fit(X, net.predict(X), class_weight={"digit 3": 2.0 + 0 * float(first)}, lrate=1e-6)
    out = np.empty(10)
    outputs: NDArray[np.float64] = net.predictor()(X[:, 0], out=out)
    assert outputs is out and not net.learner().closed
    texts: NDArray[np.str_] = net.predict(X)
    return texts


def regression() -> NDArray[np.float64]:
    layers = [nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)]
    nn.Sequential([*layers, Scale(2.0)]).forward([[0.5]])
    net = nn.Sequential(layers, nn.Squared())
    x = np.linspace(-1, 1, 50)
    net.fit(x[None, :], x**2, epochs=20, optimizer="adam", lrate=lambda t: 0.01 / t, progress=False)
    net.save("net.npz")
    again = nn.load("net.npz")
    answers: NDArray[np.float64] = again.predict(x[None, :])
    return answers


if __name__ == "__main__":
    trained, curves = train(0)
    curves.plot()
    digits, classes = nn.datasets.load_digits("test")
    print(show(trained, digits / 16, classes), regression().shape)
    print(names(trained, digits / 16)[:3])
