"""A network as a sequence of modules: net(X), net[0], len(net), iteration, and its summary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, overload

import numpy as np

from nncore import _kinds, _preprocessing, modules
from nncore._types import Array, ArrayLike

__all__ = ["ModuleSequence", "Text", "summary"]


class Text(str):
    """A text that shows itself as it is, also without print."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ModuleSequence:
    """A list-like network. It is always true, and one element of an array of objects."""

    modules: list[Any]
    loss: Any
    _preprocessing: Any

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
            return self._part(list(self.modules[at]))
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

    def _part(self, parts: list[Any]) -> Any:
        """Return a network of some of the modules, which scales if it has the first or the last."""
        part = _kinds.library_class(type(self))(parts)
        if self._preprocessing is not None and parts:
            ends = parts[0] is self.modules[0], parts[-1] is self.modules[-1]
            part._preprocessing = _preprocessing.of_slice(self._preprocessing, *ends)
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return a 0-d array that holds the network, which NumPy would otherwise take apart."""
        if dtype is not None and np.dtype(dtype) != np.dtype(object):
            raise TypeError(f"a network cannot become an array of {np.dtype(dtype)}")
        box = np.empty((), object)
        box[()] = self
        return box


def summary(net: Any) -> Text:
    """Return the table of a network; see Sequential.summary."""
    rows = list(_rows(net, "", None))
    total = sum(count for *_, count in rows)
    shown = [(place, what, shape, f"{count:,}") for place, what, shape, count in rows]
    head = ("", "module", "output", "parameters")
    widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    lines = [_line(row, widths) for row in (head, *shown)]
    lines.append(_line(("", "total", "", f"{total:,}"), widths))
    lines.append(f"loss: {net.loss!r}")
    found = net._preprocessing
    if found is not None and found.summary:
        lines.append(f"data: {found.summary.removeprefix(', ')}")
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
