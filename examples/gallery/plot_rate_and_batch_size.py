"""
Step size and batch size together
=================================

The step size that works depends on the batch size. This picture shows the
validation accuracy after ten epochs for a grid of both: each epoch passes over
the same samples, so small batches make more steps.
"""

import matplotlib.pyplot as plt
import numpy as np

import nncore as nn

X, labels = nn.datasets.load_digits("train")
X_test, labels_test = nn.datasets.load_digits("test")
X, X_test = X / 16, X_test / 16
RATES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
SIZES = (1, 8, 32, 128, 512)


def accuracy(rate: float, batch_size: int) -> float:
    np.random.seed(0)
    layers = [nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), nn.SoftMax()]
    net = nn.Sequential(layers, nn.NLL())
    try:
        net.fit(
            X, labels, epochs=10, batch_size=batch_size, lrate=rate, seed=0
        )
    except (
        FloatingPointError
    ):  # the rate is so large that the weights overflowed
        return np.nan
    return net.score(X_test, labels_test)


grid = np.array([[accuracy(rate, size) for rate in RATES] for size in SIZES])
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
image = ax.imshow(grid, cmap="viridis", vmin=0.1, vmax=1, aspect="auto")
for (row, column), value in np.ndenumerate(grid):
    text = "diverged" if np.isnan(value) else f"{value:.2f}"
    colour = "white" if np.isnan(value) or value < 0.7 else "black"
    ax.text(
        column,
        row,
        text,
        ha="center",
        va="center",
        fontsize="small",
        color=colour,
    )
ax.set(
    xticks=range(len(RATES)),
    yticks=range(len(SIZES)),
    xlabel="lrate",
    ylabel="batch_size",
)
ax.set_xticklabels(map(str, RATES))
ax.set_yticklabels(map(str, SIZES))
figure.colorbar(image, label="accuracy after 10 epochs")
plt.show()

# %%
# Good rates lie on a diagonal: `fit` averages the gradient over the batch, so
# a larger batch makes fewer steps per epoch and takes a larger rate.
