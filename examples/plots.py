"""What the examples draw, by matplotlib: imported only where a plot was asked for."""

import sys

import numpy as np

try:
    from matplotlib.figure import Figure
except ImportError:
    sys.exit("--plot needs matplotlib; install it with `pip install nncore[plot]`")

COLOURS = ("tab:red", "tab:blue")


def grid(count, columns, size=3.2, height=None):
    """A figure and a list of `count` axes, `columns` side by side, each `size` inches wide and `height` (or `size`) high."""
    rows = -(-count // columns)
    figure = Figure(figsize=(size * columns, (height or size) * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def regions(ax, net, X, labels, title, resolution=300):
    """P(class 1) over the plane around the points X (2, N) as colours, the line where both classes are equally likely, the points."""
    low, high = X.min(axis=1), X.max(axis=1)
    margin = 0.15 * (high - low)
    x, y = np.meshgrid(*(np.linspace(a, b, resolution) for a, b in zip(low - margin, high + margin, strict=True)))
    P = net.predict_proba(np.vstack([x.ravel(), y.ravel()]))[1].reshape(x.shape)
    ax.pcolormesh(x, y, P, cmap="RdBu", vmin=-0.3, vmax=1.3, shading="nearest", rasterized=True)
    if P.min() < 0.5 < P.max():
        ax.contour(x, y, P, levels=[0.5], colors="black", linewidths=1)
    for label, colour in enumerate(COLOURS):
        ax.scatter(*X[:, labels == label], s=30, color=colour, edgecolors="white", zorder=2)
    ax.set_title(title, fontsize="small")


def images(axes, X, shape, titles):
    """Columns of X as grey images of `shape`, one on each of the axes."""
    for ax in axes:
        ax.set_axis_off()
    for ax, x, title in zip(axes, X.T, titles, strict=False):
        ax.imshow(x.reshape(shape), cmap="gray_r")
        ax.set_title(title, fontsize="small")
