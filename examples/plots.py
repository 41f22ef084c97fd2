"""What the examples draw, by matplotlib: imported only where a plot was asked for."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import nncore as nn

try:
    from matplotlib.figure import Figure
except ImportError:
    sys.exit("--plot needs matplotlib; install it with `pip install nncore[plot]`")

COLOURS = ("darkred", "navy")


def grid(count: int, columns: int, size: float = 3.2) -> tuple[Figure, list[Any]]:
    """A figure and a list of `count` axes, `columns` side by side, each `size` inches wide and
    high."""
    rows = -(-count // columns)
    figure = Figure(figsize=(size * columns, size * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def two_rows(count: int) -> tuple[Figure, Any, list[Any]]:
    """A figure with one wide axes above and a list of `count` square ones below."""
    figure = Figure(figsize=(2.4 * count, 6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[3.6, 2.4])
    above, below = parts
    return figure, above.subplots(), list(below.subplots(1, count, squeeze=False).flat)


def regions(
    ax: Any,
    probabilities: Callable[[np.ndarray], np.ndarray],
    X: np.ndarray,
    labels: np.ndarray,
    title: str,
    resolution: int = 300,
) -> None:
    """P(class 1) over the plane around the points X (2, N) as colours, the line where both classes
    are equally likely, the points.

    probabilities: a function of points (2, N) that gives (2, N).
    """
    low, high = X.min(axis=1), X.max(axis=1)
    margin = 0.15 * (high - low)
    x, y = np.meshgrid(
        *(np.linspace(a, b, resolution) for a, b in zip(low - margin, high + margin, strict=True))
    )
    P = probabilities(np.vstack([x.ravel(), y.ravel()]))[1].reshape(x.shape)
    ax.pcolormesh(x, y, P, cmap="RdBu", vmin=-0.7, vmax=1.7, shading="nearest", rasterized=True)
    if P.min() < 0.5 < P.max():
        ax.contour(x, y, P, levels=[0.5], colors="black", linewidths=1)
    for label, colour in enumerate(COLOURS):
        ax.scatter(*X[:, labels == label], s=25, color=colour, edgecolors="white", zorder=2)
    ax.set_title(title, fontsize="small")


def training(
    history: Any,
    X: np.ndarray,
    shape: tuple[int, int],
    titles: Sequence[str],
    columns: int = 8,
    rows: int = 3,
) -> Figure:
    """A figure of the learning curve, and below it the first images, columns of X, as many as fit
    into that many columns and rows."""
    rows = min(rows, -(-X.shape[1] // columns))
    figure = Figure(figsize=(8, 3.5 + 1.3 * rows), layout="constrained")
    if not rows:
        nn.plot_history(history, figure.subplots())
        return figure
    parts: Any = figure.subfigures(2, 1, height_ratios=[3.5, 1.3 * rows])
    above, below = parts
    nn.plot_history(history, above.subplots())
    axes = list(below.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        ax.set_axis_off()
    for ax, x, title in zip(axes, X.T, titles, strict=False):
        ax.imshow(x.reshape(shape), cmap="gray_r")
        ax.set_title(title, fontsize="small")
    return figure
