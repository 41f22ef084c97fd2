"""Losses that go with their output unit and hand back dL/dZ directly. Values are summed over the
batch; those of NLL are nats."""

import numpy as np

from nncore import _backend, _checks, _sums, modules

__all__ = ["BinaryNLL", "Hinge", "Loss", "NLL", "Squared"]


@_backend.follow
class Loss:
    """Base of the library's losses; `output` is the module class that must come last in the
    network.

    A user's own loss needs no base class: forward(Ypred, Y) -> float and backward() -> dL/dZ
    suffice.
    """

    output: type[modules.Module]
    classifies = True  # whether outputs are judged by their classes

    def forward(self, Ypred, Y):
        """The loss summed over the batch, a Python float; keeps .Ypred and .Y. Ypred, Y (n, b)."""
        self.Ypred, self.Y = Ypred, Y
        return float(_sums.pairwise(self.per_sample(Ypred, Y)))

    def backward(self):
        """dL/dZ (n, b) of the last Linear, through the output unit; for the losses of probabilities
        Ypred − Y, if labels sum to 1."""
        if not hasattr(self, "Ypred"):
            raise RuntimeError(
                f"{type(self).__name__}.backward must follow {type(self).__name__}.forward, got no "
                f"prediction yet"
            )
        return self._gradient()

    def _gradient(self):
        # in the computing type: unsigned bytes would wrap around, bool cannot be subtracted
        return np.subtract(self.Ypred, self.Y, dtype=_checks.computing_dtype(self.Ypred))

    def per_sample(self, Ypred, Y):
        """The loss of every sample, (b,)."""
        raise NotImplementedError

    def __repr__(self):
        return f"{type(self).__name__}()"


class NLL(Loss):
    """−Σ_i y_i log a_i a sample, with a last SoftMax and y one-hot (or any weights of the classes);
    0 log 0 = 0.

    dL/dZ = (Σ_i y_i) a − y, which is a − y for labels that sum to 1. A column of zeros is an
    unlabelled sample: loss and gradient 0.

    >>> NLL().forward([[0.5], [0.5]], [[1], [0]])
    0.6931471805599453
    """

    output = modules.SoftMax
    # True: a − y whatever the labels sum to, in the place of a user's loss that computes this
    # (foreign/match_loss.py)
    _plain = False

    def per_sample(self, Ypred, Y):
        """−Σ_i y_i log a_i of every sample, (b,)."""
        return self._kernels.nll(Ypred, Y)

    def _gradient(self):
        return (
            super()._gradient() if self._plain else self._kernels.nll_backward(self.Ypred, self.Y)
        )


class BinaryNLL(Loss):
    """−Σ_i (y_i log a_i + (1 − y_i) log(1 − a_i)) a sample, over one or many independent labels,
    with a last OutputSigmoid.

    >>> BinaryNLL().forward([[0.5]], [[0]])
    0.6931471805599453
    """

    output = modules.OutputSigmoid

    def per_sample(self, Ypred, Y):
        """−Σ_i (y_i log a_i + (1 − y_i) log(1 − a_i)) of every sample, (b,)."""
        return self._kernels.binary_nll(Ypred, Y)


class Squared(Loss):
    """‖a − y‖² = Σ_i (a_i − y_i)² a sample, with a last Linear; dL/dZ = 2 (a − y). The squared
    error is neither halved nor averaged.

    >>> loss = Squared()
    >>> loss.forward([[3.0]], [[1.0]]), loss.backward().item()
    (4.0, 4.0)
    """

    output = modules.Linear
    classifies = False

    def per_sample(self, Ypred, Y):
        """Σ_i (a_i − y_i)² of every sample, (b,)."""
        return self._kernels.squared(Ypred, Y)

    def _gradient(self):
        return self._kernels.squared_loss(self.Ypred, self.Y)[1]

    def class_fun(self, Ypred):
        """The outputs themselves, (n, b): a prediction of numbers, not of classes."""
        return np.asarray(Ypred)


class Hinge(Loss):
    """Σ_i max(0, 1 − y_i a_i) a sample, with a last Linear and labels −1 and +1; dL/dZ = −y where y
    a < 1, else 0, so the gradient at the margin is 0.

    >>> loss = Hinge()
    >>> loss.forward([[0.25]], [[1.0]]), loss.backward().item(), loss.class_fun([[0.25]]).tolist()
    (0.75, -1.0, [1])
    """

    output = modules.Linear

    def per_sample(self, Ypred, Y):
        """Σ_i max(0, 1 − y_i a_i) of every sample, (b,)."""
        return self._kernels.hinge(Ypred, Y)

    def _gradient(self):
        return self._kernels.hinge_loss(self.Ypred, self.Y)[1]

    def class_fun(self, Ypred):
        """+1 where the output is 0 or more, else −1: int64, (b,) for one output, (n, b) for
        several."""
        classes = np.where(np.asarray(Ypred) >= 0, np.int64(1), np.int64(-1))
        return classes[0] if classes.shape[0] == 1 else classes
