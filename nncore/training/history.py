"""The history that `fit` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nncore import _names

__all__ = ["History"]


class History(dict[str, list[float]]):
    """The history of a training: a dict from names to lists with one number per epoch.

    "loss" is the mean loss per sample. With validation data there are "validation_loss" and
    "validation_accuracy", or "validation_r2" for a loss of numbers, such as Squared. Callbacks may
    add others.

    See Also
    --------
    nncore.plot_history : Draws the curves.

    Examples
    --------
    >>> History(loss=[0.5, 0.25])
    History(2 epochs: loss 0.5 -> 0.25)
    """

    def __repr__(self) -> str:
        epochs = len(self.get("loss", ()))
        curves = ", ".join(f"{name} {_ends(values)}" for name, values in self.items())
        return f"{type(self).__name__}({epochs} epoch{'' if epochs == 1 else 's'}: {curves})"

    def __missing__(self, name: str) -> Any:
        meant = _names.list_meant(str(name), self) or _names.closest(str(name), self)
        hint = f"; did you mean {meant!r}?" if meant else f"; it has {', '.join(self)}"
        raise KeyError(f"the history has no list {name!r}{hint}")

    if not TYPE_CHECKING:  # to a type checker, any attribute would then exist

        def __getattr__(self, name):
            """Answer Keras' history.history, and lists that are asked for as attributes."""
            what = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name == "history":
                what += "; it is the dict itself: history['loss']"
            elif name in self:
                what += f"; write history[{name!r}]"
            raise AttributeError(what)

    def plot(self, ax: Any = None) -> Any:
        """Draw the curves, as `nncore.plot_history` does.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            The axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there was no epoch.
        """
        from nncore._plot import plot_history

        return plot_history(self, ax)


def _ends(values: Any) -> str:
    """Return the first and the last number of a list."""
    try:
        numbers = [f"{float(x):.4g}" for x in (values[0], values[-1])]
    except (TypeError, ValueError, IndexError, KeyError):
        return "-"
    return numbers[0] if len(values) == 1 else " -> ".join(numbers)
