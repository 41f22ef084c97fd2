"""
Decision regions of the course's toy sets
=========================================

A 2-10-10-2 network learns each of four small sets with the course's own loop:
one random sample per step, 100,000 steps, no optimizer. Each run takes a few
hundredths of a second.
"""

# %%
# Samples are columns, and labels are one-hot columns.
# :meth:`nncore.Sequential.sgd` draws from NumPy's global generator, so
# `np.random.seed` makes the run repeatable.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import nncore as nn

SETS = ("super_simple_separable", "xor", "xor_more", "hard")


def train(name: str) -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    """Return the trained network, the points and their classes."""
    X, Y = getattr(nn.datasets, name)()
    np.random.seed(0)
    layers = [
        nn.Linear(2, 10),
        nn.ReLU(),
        nn.Linear(10, 10),
        nn.ReLU(),
        nn.Linear(10, 2),
    ]
    net = nn.Sequential([*layers, nn.SoftMax()], nn.NLL())
    net.sgd(X, Y, iters=100_000, lrate=0.005)
    return net, X, Y.argmax(axis=0)


# %%
# :meth:`nncore.Sequential.predict_proba` takes any number of columns, so one
# call colours the plane. The black line is the decision boundary, on which
# both classes have probability 1/2.


def draw(
    ax: Axes, net: nn.Sequential, X: np.ndarray, labels: np.ndarray
) -> None:
    low, high = X.min(axis=1) - 1, X.max(axis=1) + 1
    x, y = np.meshgrid(
        np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200)
    )
    P = net.predict_proba(np.vstack([x.ravel(), y.ravel()]))[1].reshape(
        x.shape
    )
    ax.pcolormesh(
        x,
        y,
        P,
        cmap="RdBu",
        vmin=-0.4,
        vmax=1.4,
        shading="nearest",
        rasterized=True,
    )
    ax.contour(x, y, P, levels=[0.5], colors="black", linewidths=1)
    for label, colour in enumerate(("darkred", "navy")):
        x, y = X[:, labels == label]
        ax.scatter(x, y, s=25, color=colour, edgecolors="white")


figure, axes = plt.subplots(
    1, len(SETS), figsize=(11, 3), layout="constrained"
)
for ax, name in zip(axes, SETS, strict=True):
    net, X, labels = train(name)
    draw(ax, net, X, labels)
    ax.set_title(
        f"{name}\naccuracy {net.score(X, labels):.0%}", fontsize="small"
    )
plt.show()

# %%
# `examples/decision_regions.py` is the same as a command, with options for the
# width, the activation and the step size.
