"""The layer API bound to the plain NumPy kernels, whatever backend is live: the specification to
read and compare with.

>>> import numpy as np
>>> from nncore import reference as ref
>>> np.random.seed(0)
>>> net = ref.Sequential([ref.Linear(2, 3), ref.Tanh(), ref.Linear(3, 2), ref.SoftMax()], ref.NLL())
>>> net.forward(np.array([[1.0], [2.0]])).sum().round(12).item()
1.0
"""

from typing import TYPE_CHECKING

from nncore import _kinds, _names, losses, modules, registry, sequential
from nncore.kernels import numpy_kernels
from nncore.modules import Module as Module

if TYPE_CHECKING:  # the classes are made below
    from nncore.losses import *  # noqa: F403
    from nncore.modules import *  # noqa: F403


def _bound(cls):
    """Return a subclass of cls on the NumPy kernels."""
    namespace = {
        "__module__": __name__,
        "__doc__": f"nncore.{cls.__name__} on the NumPy kernels.",
        "_kernels": numpy_kernels,
    }
    return _kinds.register(type(cls.__name__, (cls,), namespace), cls)


for _cls in (*registry.MODULES, *registry.LOSSES):
    globals()[_cls.__name__] = _bound(_cls)


class Sequential(sequential.Sequential):
    """nncore.Sequential; its networks always run module by module."""

    _kernels = numpy_kernels


_kinds.register(Sequential, sequential.Sequential)

__all__ = ["Sequential"]
__all__ += modules.__all__
__all__ += losses.__all__
__all__.remove("Loss")


def __dir__() -> list[str]:
    return _names.shown(globals())
