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
    nn.optimizers.SGD: (0.05, 0.15, 0.5, 1.5),
    nn.optimizers.Momentum: (0.015, 0.05, 0.15, 0.5),
    nn.optimizers.Nesterov: (0.015, 0.05, 0.15, 0.5),
    nn.optimizers.Adagrad: (0.03, 0.1, 0.3, 1.0),
    nn.optimizers.RMSprop: (0.001, 0.003, 0.01, 0.03),
    nn.optimizers.Adam: (0.003, 0.01, 0.03, 0.1),
    nn.optimizers.AdamW: (0.003, 0.01, 0.03, 0.1),
}


def losses(rule: type[nn.optimizers.Optimizer], rate: float) -> list[float]:
    """Return the mean loss per sample of each epoch."""
    np.random.seed(0)
    layers = [nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), nn.SoftMax()]
    net = nn.Sequential(layers, nn.NLL())
    history = net.fit(
        X,
        labels,
        epochs=15,
        batch_size=32,
        optimizer=rule(),
        lrate=rate,
        seed=0,
    )
    return history["loss"]


figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for rule, rates in RATES.items():
    name = rule.__name__
    curves = {rate: losses(rule, rate) for rate in rates}
    best = min(curves, key=lambda rate: curves[rate][-1])
    ax.plot(range(1, 16), curves[best], label=f"{name}, rate {best:g}")
    loss = curves[best][-1]
    print(f"{name:9} best rate {best:<5g} loss after 15 epochs {loss:.4f}")
ax.set(xlabel="epoch", ylabel="mean loss per sample", yscale="log")
ax.grid(alpha=0.3)
ax.legend(fontsize="small")
plt.show()
