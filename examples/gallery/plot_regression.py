"""
Regression: a noisy curve
=========================

A network of one input, one output and the loss :class:`nncore.Squared`. Its
last module is a :class:`nncore.Linear`, so its outputs are plain numbers.
"""

import matplotlib.pyplot as plt
import numpy as np

import nncore as nn

rng = np.random.default_rng(0)
x = rng.uniform(-3, 3, 200)
y = np.sin(2 * x) + 0.5 * x + rng.normal(0, 0.2, x.size)


def network() -> nn.Sequential:
    np.random.seed(0)
    layers = [
        nn.Linear(1, 32),
        nn.Tanh(),
        nn.Linear(32, 32),
        nn.Tanh(),
        nn.Linear(32, 1),
    ]
    return nn.Sequential(layers, nn.Squared())


# %%
# X has one row because there is one feature. y may have shape (N,), as labels
# may. The picture shows the fit after 10, 100 and 1,000 epochs.

grid = np.linspace(-3.5, 3.5, 300)[None]
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.scatter(x, y, s=10, color="gray", label="samples")
for epochs in (10, 100, 1000):
    net = network()
    net.fit(
        x[None],
        y,
        epochs=epochs,
        batch_size=20,
        optimizer="adam",
        lrate=0.003,
        seed=0,
    )
    ax.plot(grid[0], net.predict_proba(grid)[0], label=f"{epochs} epochs")
    print(f"{epochs:5} epochs: R² = {net.score(x[None], y):.3f}")
ax.set(xlabel="x", ylabel="y")
ax.legend()
plt.show()

# %%
# Outside the range of the samples the curve means nothing: a network of Tanh
# units is flat far from them.
