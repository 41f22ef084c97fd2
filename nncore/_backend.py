"""Which kernels are live. The layer API looks them up here at every call."""

from nncore import _checks
from nncore.kernels import compiled, numpy_kernels

BACKENDS = {"compiled": compiled, "numpy": numpy_kernels}
live = compiled


class use_backend:
    """Switch the whole process to the "numpy" or the "compiled" kernels; as a context manager, for the block only.

    The two agree to rounding: one step from identical weights to 1e-13 (float64) or 2e-6 (float32) of each array's largest entry.
    ValueError for another name.

    >>> import nncore
    >>> with nncore.use_backend("numpy"):
    ...     nncore.get_backend()
    'numpy'
    >>> nncore.get_backend()
    'compiled'
    """

    def __init__(self, name):
        global live
        self._before = live
        live = BACKENDS[_checks.choice("backend", name, tuple(BACKENDS))]

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        global live
        live = self._before


def get_backend():
    """Name of the live backend, "compiled" or "numpy".

    >>> get_backend()
    'compiled'
    """
    return next(name for name, module in BACKENDS.items() if module is live)
