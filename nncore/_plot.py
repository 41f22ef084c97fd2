"""Learning curves, confusion matrices and predictions, drawn by matplotlib (an extra).

It comes with `pip install nncore[plot]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = {
    "loss": "tab:blue",
    "validation_loss": "tab:orange",
    "accuracy": "tab:purple",
    "validation_accuracy": "tab:green",
    "r2": "tab:purple",
    "validation_r2": "tab:green",
}


def plot_history(history: Mapping[str, Sequence[float]], ax: Any = None) -> Any:
    """Plot the learning curves that `fit` has returned.

    Losses are plotted against the epoch, accuracies and R² on a second axis.

    Parameters
    ----------
    history : dict
        {name: list of one number per epoch}.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. `plot_history(history).figure.savefig("curve.png")` writes a file.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `history` is not a dict, or `ax` is not a matplotlib Axes.
    ValueError
        If the history has no epoch.

    Examples
    --------
    >>> plot_history({"loss": []})
    Traceback (most recent call last):
        ...
    ValueError: history must hold at least one epoch, got none
    """
    if not isinstance(history, dict):
        raise TypeError(f"history must be the dict that fit returns, got {type(history).__name__}")
    if ax is not None and not hasattr(ax, "plot"):
        raise TypeError(f"ax must be a matplotlib Axes, got {type(ax).__name__}")
    curves = {name: list(values) for name, values in history.items() if len(values)}
    if not curves:
        raise ValueError("history must hold at least one epoch, got none")
    if ax is None:
        ax = _new_axes()
    others = [name for name in curves if name.endswith(("accuracy", "r2"))]
    lines = [_draw(ax, name, curves[name]) for name in curves if name not in others]
    ax.set(xlabel="epoch", ylabel="mean loss per sample")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(alpha=0.3)
    if others:
        right = ax.twinx()
        lines += [_draw(right, name, curves[name], linestyle="--") for name in others]
        right.set_ylabel("R²" if all(name.endswith("r2") for name in others) else "accuracy")
    ax.legend(handles=lines, loc="center right")
    return ax


def confusion(matrix, classes):
    """Draw a confusion matrix, rows for labels and columns for predictions; return the axes."""
    side = min(max(4.0, 0.45 * len(classes)), 12.0)
    ax = _new_axes((side + 1, side))
    image = ax.imshow(matrix, cmap="Blues")
    places = range(len(classes))
    names = [str(label)[:20] for label in classes.tolist()]
    ax.set_xticks(places, names, rotation=45 if max(map(len, names)) > 3 else 0)
    ax.set_yticks(places, names)
    ax.set(xlabel="prediction", ylabel="label")
    if len(classes) <= 25:
        for i in places:
            for j in places:
                if matrix[i, j]:
                    colour = "white" if matrix[i, j] > matrix.max() / 2 else "black"
                    ax.text(j, i, str(matrix[i, j]), ha="center", va="center", color=colour)
    ax.figure.colorbar(image, ax=ax, label="samples")
    return ax


def predictions(targets, predicted, name=None):
    """Draw predicted numbers over the targets; return the axes."""
    ax = _new_axes((5.0, 4.6))
    ax.scatter(targets, predicted, s=12, alpha=0.5)
    ends = [min(targets.min(), predicted.min()), max(targets.max(), predicted.max())]
    ax.plot(ends, ends, color="grey", linewidth=1)
    name = "target" if name is None else name
    ax.set(xlabel=name, ylabel=f"{name}, predicted")
    ax.grid(alpha=0.3)
    return ax


def _new_axes(size=(6.4, 4.0)):
    try:
        from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError(
            "plot_history needs matplotlib; install it with `pip install nncore[plot]`"
        ) from error
    import sys

    if "matplotlib.pyplot" in sys.modules:  # pyplot is in use: make one of its figures
        return sys.modules["matplotlib.pyplot"].subplots(figsize=size, layout="constrained")[1]
    return Figure(figsize=size, layout="constrained").subplots()


def _draw(ax, name, values, **style):
    epochs = range(1, len(values) + 1)
    marker = "o" if len(values) == 1 else None
    return ax.plot(
        epochs,
        values,
        label=name.replace("_", " "),
        color=COLOURS.get(name),
        marker=marker,
        **style,
    )[0]
