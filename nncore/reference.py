"""The layer API bound to the plain NumPy kernels, whatever backend is live: the specification, to
read and to compare with.

>>> import numpy as np
>>> from nncore import reference as ref
>>> np.random.seed(0)
>>> net = ref.Sequential([ref.Linear(2, 3), ref.Tanh(), ref.Linear(3, 2), ref.SoftMax()], ref.NLL())
>>> net.forward(np.array([[1.0], [2.0]])).sum().round(12).item()
1.0
"""

from nncore import _kinds, losses, modules, sequential
from nncore.kernels import numpy_kernels
from nncore.modules import Module

__all__ = [
    "BatchNorm",
    "BinaryNLL",
    "Dropout",
    "Hinge",
    "Linear",
    "Module",
    "NLL",
    "OutputSigmoid",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "SoftMax",
    "Squared",
    "Tanh",
]


class Linear(modules.Linear):
    """nncore.Linear on the NumPy kernels."""

    _kernels = numpy_kernels


class Tanh(modules.Tanh):
    """nncore.Tanh on the NumPy kernels."""

    _kernels = numpy_kernels


class ReLU(modules.ReLU):
    """nncore.ReLU on the NumPy kernels."""

    _kernels = numpy_kernels


class Sigmoid(modules.Sigmoid):
    """nncore.Sigmoid on the NumPy kernels."""

    _kernels = numpy_kernels


class SoftMax(modules.SoftMax):
    """nncore.SoftMax on the NumPy kernels."""

    _kernels = numpy_kernels


class OutputSigmoid(modules.OutputSigmoid):
    """nncore.OutputSigmoid on the NumPy kernels."""

    _kernels = numpy_kernels


class BatchNorm(modules.BatchNorm):
    """nncore.BatchNorm on the NumPy kernels."""

    _kernels = numpy_kernels


class Dropout(modules.Dropout):
    """nncore.Dropout on the NumPy kernels."""

    _kernels = numpy_kernels


class NLL(losses.NLL):
    """nncore.NLL on the NumPy kernels."""

    _kernels = numpy_kernels


class BinaryNLL(losses.BinaryNLL):
    """nncore.BinaryNLL on the NumPy kernels."""

    _kernels = numpy_kernels


class Squared(losses.Squared):
    """nncore.Squared on the NumPy kernels."""

    _kernels = numpy_kernels


class Hinge(losses.Hinge):
    """nncore.Hinge on the NumPy kernels."""

    _kernels = numpy_kernels


class Sequential(sequential.Sequential):
    """nncore.Sequential; its networks always run module by module."""

    _kernels = numpy_kernels


for _name in __all__:
    if _name != "Module":
        _kinds.register(globals()[_name], globals()[_name].__base__)
