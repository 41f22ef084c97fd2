"""A network as a sequence of modules: net(X), net[0], len(net), iteration, and its summary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, overload

import numpy as np

from nncore import _kinds, modules
from nncore._types import Array, ArrayLike

__all__ = ["ModuleSequence", "Text"]


class Text(str):
    """A text that shows itself as it is, also without print."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ModuleSequence:
    """What a network has of a list. It is always true, and one element of an object array."""

    modules: list[Any]
    loss: Any

    def __call__(self, X: ArrayLike) -> Array:
        """Return forward(X), as in PyTorch; in training mode, as forward, until eval()."""
        return self.forward(X)  # type: ignore[attr-defined, no-any-return]

    def __len__(self) -> int:
        return len(self.modules)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(self.modules)

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> Any:
        """Return a module, or for a slice a network of the same modules, without a loss."""
        if isinstance(at, slice):
            return _kinds.library_class(type(self))(list(self.modules[at]))
        try:
            return self.modules[at]
        except TypeError:
            raise TypeError(
                f"a module is given by its place, an integer or a slice, got {type(at).__name__}"
            ) from None
        except IndexError:
            raise IndexError(
                f"the network has {len(self.modules)} modules, got place {at}"
            ) from None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return a 0-d array that holds the network, which NumPy would otherwise take apart."""
        if dtype is not None and np.dtype(dtype) != np.dtype(object):
            raise TypeError(f"a network cannot become an array of {np.dtype(dtype)}")
        box = np.empty((), object)
        box[()] = self
        return box

    def summary(self) -> Text:
        """Return a table of the modules: place, module, shape of the output, parameters.

        Returns
        -------
        str
            The table; `print(net.summary())` prints it. N stands for the number of samples, and ?
            for what only a module of your own knows.
        """
        rows = list(_rows(self, "", None))
        total = sum(count for *_, count in rows)
        shown = [(place, what, shape, f"{count:,}") for place, what, shape, count in rows]
        head = ("", "module", "output", "parameters")
        widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
        lines = [_line(row, widths) for row in (head, *shown)]
        lines.append(_line(("", "total", "", f"{total:,}"), widths))
        lines.append(f"loss: {self.loss!r}")
        return Text("\n".join(lines))


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    place, what, shape, count = row
    p, w, s, c = widths
    return f"{place:>{p}}  {what:<{w}}  {shape:<{s}}  {count:>{c}}"


def _rows(net: Any, prefix: str, width: int | None) -> Iterator[tuple[str, str, str, int]]:
    """Yield (place, module, shape of its output, parameters) of each module that computes."""
    for i, module in enumerate(net.modules):
        if _is_network(module):
            yield from _rows(module, f"{prefix}{i}.", width)
            width = width_after(module, width)
            continue
        width = width_after(module, width)
        own = type(module).__repr__ is object.__repr__
        what = type(module).__name__ if own else repr(module)
        count = getattr(module, "parameters", 0)
        shape = f"({'?' if width is None else width}, N)"
        yield f"{prefix}{i}", what, shape, count if isinstance(count, int) else 0


def _is_network(module: Any) -> bool:
    return isinstance(getattr(module, "modules", None), (list, tuple))


def width_after(module: Any, width: int | None) -> int | None:
    """Return the number of outputs of a module with `width` inputs; None if it is not known."""
    if _is_network(module):
        for part in module.modules:
            width = width_after(part, width)
        return width
    if _kinds.kind(module) is None:
        return None
    if isinstance(module, modules.Linear):
        return int(np.shape(module.W)[1]) if np.ndim(module.W) == 2 else None
    return int(module.m) if isinstance(module, modules.BatchNorm) else width
