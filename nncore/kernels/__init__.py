"""The kernel interface: functions of arrays, for people who only want the kernels.

Each function runs on the live backend (nncore.use_backend). The two implementations under the same
names and signatures are the modules `numpy_kernels` (plain NumPy: the specification) and
`compiled`. Their docstrings give formulas, shapes and types.

>>> import numpy as np
>>> from nncore import kernels
>>> loss, dLdZ = kernels.softmax_nll(np.zeros((2, 1)), np.array([[1.0], [0.0]]))
>>> round(loss, 6), dLdZ.ravel().tolist()
(0.693147, [-0.5, 0.5])
"""

from typing import TYPE_CHECKING

from nncore.kernels import compiled, numpy_kernels

if TYPE_CHECKING:
    from nncore.kernels.compiled import *  # noqa: F403

__all__ = ["compiled", "numpy_kernels"]
__all__ += numpy_kernels.__all__


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


def bind(module):
    """Set the functions of this package to those of `module`, as plain attributes: a look-up per
    call would cost more than most kernels.
    """
    globals().update({name: getattr(module, name) for name in numpy_kernels.__all__})


for _name in numpy_kernels.__all__:  # the core makes some from its lists, without a docstring
    if not getattr(compiled, _name).__doc__:
        getattr(compiled, _name).__doc__ = getattr(numpy_kernels, _name).__doc__

bind(compiled)
