"""The kernel interface: functions of arrays, for people who only want the kernels.

Each function runs on the live backend (nncore.use_backend). The two implementations under the same names and signatures are
the modules `numpy_kernels` (plain NumPy: the specification) and `compiled`. Their docstrings give formulas, shapes and types.

>>> import numpy as np
>>> from nncore import kernels
>>> loss, dLdZ = kernels.softmax_nll(np.zeros((2, 1)), np.array([[1.0], [0.0]]))
>>> round(loss, 6), dLdZ.ravel().tolist()
(0.693147, [-0.5, 0.5])
"""

from nncore.kernels import compiled, numpy_kernels

__all__ = ["compiled", "numpy_kernels", *compiled.__all__]


def __getattr__(name):
    if name in compiled.__all__:
        from nncore import _backend

        return getattr(_backend.live, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
