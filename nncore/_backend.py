"""The live backend. Switching it updates the base classes of the layer API: a look-up at every call
would cost as much as a kernel.
"""

from __future__ import annotations

from typing import Self

from nncore import _checks, _core, kernels
from nncore._types import Backend
from nncore.kernels import compiled, numpy_kernels

BACKENDS = {"compiled": compiled, "numpy": numpy_kernels}
live = compiled
_followers: list[type] = []


def follow(cls):
    """Class decorator: `cls._kernels` is always the module of the live kernels."""
    _followers.append(cls)
    cls._kernels = live
    return cls


def _switch(module):
    global live
    live = module
    kernels.bind(module)
    _core.set_live(module is compiled)
    for cls in _followers:
        cls._kernels = module


class use_backend:
    """Switch the whole process to the "numpy" or the "compiled" kernels.

    As a context manager, switch for the block only.

    Parameters
    ----------
    name : {"numpy", "compiled"}
        The backend.

    Raises
    ------
    ValueError
        For another name.

    See Also
    --------
    get_backend : The live backend.

    Notes
    -----
    The two agree up to rounding: one step from identical weights to 1e-13 (float64) or 2e-6
    (float32) of each array's largest entry.

    Examples
    --------
    >>> import nncore
    >>> with nncore.use_backend("numpy"):
    ...     nncore.get_backend()
    'numpy'
    >>> nncore.get_backend()
    'compiled'
    """

    def __init__(self, name: Backend) -> None:
        self._before = live
        _switch(BACKENDS[_checks.choice("backend", name, tuple(BACKENDS))])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        _switch(self._before)


def get_backend() -> Backend:
    """Return the name of the live backend.

    Returns
    -------
    str
        "compiled" or "numpy".

    Examples
    --------
    >>> get_backend()
    'compiled'
    """
    return next(
        name  # type: ignore[misc]
        for name, module in BACKENDS.items()
        if module is live
    )
