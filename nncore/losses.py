"""Losses that go with their output unit and hand back dL/dZ directly. Values are in nats, summed over the batch."""

import numpy as np

from nncore import _backend, _checks, modules

__all__ = ["BinaryNLL", "Loss", "NLL"]


@_backend.follow
class Loss:
    """Base of the library's losses; `output` is the module class that must come last in the network.

    A user's own loss needs no base class: forward(Ypred, Y) -> float and backward() -> dL/dZ suffice.
    """

    output: type[modules.Module]

    def forward(self, Ypred, Y):
        """The loss summed over the batch, a Python float in nats; keeps .Ypred and .Y. Ypred, Y (n, b)."""
        self.Ypred, self.Y = Ypred, Y
        return float(np.sum(self.per_sample(Ypred, Y), dtype=np.float64))

    def backward(self):
        """dL/dZ = Ypred − Y (n, b), through the output unit."""
        if not hasattr(self, "Ypred"):
            raise RuntimeError(f"{type(self).__name__}.backward must follow {type(self).__name__}.forward, got no prediction yet")
        # in the computing type: unsigned bytes would wrap around, bool cannot be subtracted
        return np.subtract(self.Ypred, self.Y, dtype=_checks.computing_dtype(self.Ypred))

    def per_sample(self, Ypred, Y):
        """The loss of every sample, (b,), in nats."""
        raise NotImplementedError

    def __repr__(self):
        return f"{type(self).__name__}()"


class NLL(Loss):
    """−Σ_i y_i log a_i a sample, with a last SoftMax and y one-hot (or any weights of the classes); 0 log 0 = 0.

    >>> NLL().forward([[0.5], [0.5]], [[1], [0]])
    0.6931471805599453
    """

    output = modules.SoftMax

    def per_sample(self, Ypred, Y):
        """−Σ_i y_i log a_i of every sample, (b,)."""
        return self._kernels.nll(Ypred, Y)


class BinaryNLL(Loss):
    """−Σ_i (y_i log a_i + (1 − y_i) log(1 − a_i)) a sample, over one or many independent labels, with a last OutputSigmoid.

    >>> BinaryNLL().forward([[0.5]], [[0]])
    0.6931471805599453
    """

    output = modules.OutputSigmoid

    def per_sample(self, Ypred, Y):
        """−Σ_i (y_i log a_i + (1 − y_i) log(1 − a_i)) of every sample, (b,)."""
        return self._kernels.binary_nll(Ypred, Y)
