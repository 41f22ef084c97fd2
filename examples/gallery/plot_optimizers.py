"""
Seven optimizers on the digits
==============================

The same network, the same initial weights and the same order of samples for
every optimizer. Each one gets the best of four rates for it: a comparison at
one common rate would say more about the rate than about the optimizer.
"""

import matplotlib.pyplot as plt
import numpy as np

import nncore as nn

X, labels = nn.datasets.load_digits("train")
X = X / 16
RATES = {
    "sgd": (0.05, 0.15, 0.5, 1.5),
    "momentum": (0.015, 0.05, 0.15, 0.5),
    "nesterov": (0.015, 0.05, 0.15, 0.5),
    "adagrad": (0.03, 0.1, 0.3, 1.0),
    "rmsprop": (0.001, 0.003, 0.01, 0.03),
    "adam": (0.003, 0.01, 0.03, 0.1),
    "adamw": (0.003, 0.01, 0.03, 0.1),
}


def losses(optimizer: str, rate: float) -> list[float]:
    """Return the mean loss per sample of each epoch."""
    np.random.seed(0)
    layers = [nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), nn.SoftMax()]
    net = nn.Sequential(layers, nn.NLL())
    history = net.fit(
        X,
        labels,
        epochs=15,
        batch_size=32,
        optimizer=optimizer,
        lrate=rate,
        seed=0,
    )
    return history["loss"]


figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for optimizer, rates in RATES.items():
    curves = {rate: losses(optimizer, rate) for rate in rates}
    best = min(curves, key=lambda rate: curves[rate][-1])
    ax.plot(range(1, 16), curves[best], label=f"{optimizer}, rate {best:g}")
    loss = curves[best][-1]
    print(
        f"{optimizer:9} best rate {best:<5g} loss after 15 epochs {loss:.4f}"
    )
ax.set(xlabel="epoch", ylabel="mean loss per sample", yscale="log")
ax.grid(alpha=0.3)
ax.legend(fontsize="small")
plt.show()
