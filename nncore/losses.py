"""Losses, each for its own output unit, with dL/dZ as the gradient.

Values are summed over the batch; those of NLL and BinaryNLL are in nats.
"""

from typing import Any, ClassVar

import numpy as np

from nncore import _backend, _checks, _names, _sums, modules
from nncore._types import Array, ArrayLike

__all__ = ["BinaryNLL", "Hinge", "Loss", "NLL", "Squared"]


def __dir__() -> list[str]:
    return _names.shown(globals())


@_backend.follow
class Loss:
    """Base class of the library's losses.

    Attributes
    ----------
    output : type
        The module class that must come last in the network.
    classifies : bool
        Whether outputs are judged by their classes.

    Notes
    -----
    A user's own loss needs no base class: forward(Ypred, Y) -> float and backward() -> dL/dZ
    suffice.

    Examples
    --------
    >>> import nncore
    >>> nncore.NLL().output is nncore.SoftMax
    True
    """

    output: ClassVar[type[modules.Module]]
    classifies: ClassVar[bool] = True
    Ypred: Any
    Y: Any
    _kernels: ClassVar[Any]  # the live backend's, set by nncore._backend

    def forward(self, Ypred: ArrayLike, Y: ArrayLike) -> float:
        """Return the loss summed over the batch; keep .Ypred and .Y for `backward`.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The network's outputs.
        Y : array_like of shape (n, b)
            The labels.

        Returns
        -------
        float
            The loss, a sum over the batch.
        """
        self.Ypred, self.Y = Ypred, Y
        return _sums.total(self.per_sample(Ypred, Y))

    def backward(self) -> Array:
        """Return dL/dZ of the last Linear, through the output unit.

        Returns
        -------
        ndarray of shape (n, b)
            The gradient. For NLL and BinaryNLL it is Ypred − Y, for NLL if the labels of each
            sample sum to 1.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        """
        if not hasattr(self, "Ypred"):
            raise RuntimeError(
                f"{type(self).__name__}.backward must follow {type(self).__name__}.forward, got no "
                f"prediction yet"
            )
        return self._gradient()

    def _gradient(self):
        # in the computing type: unsigned bytes would wrap around, bool cannot be subtracted
        return np.subtract(self.Ypred, self.Y, dtype=_checks.computing_dtype(self.Ypred))

    def per_sample(self, Ypred: ArrayLike, Y: ArrayLike) -> Array:
        """Return the loss of every sample.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The network's outputs.
        Y : array_like of shape (n, b)
            The labels.

        Returns
        -------
        ndarray of shape (b,)
            The losses.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class NLL(Loss):
    """Negative log-likelihood of classes, −Σ_i y_i log a_i per sample, in nats.

    The last module must be a SoftMax. y is one-hot, or any weights of the classes; 0 log 0 = 0.

    Notes
    -----
    dL/dZ = (Σ_i y_i) a − y, which is a − y for labels that sum to 1. A column of zeros is an
    unlabelled sample: its loss and gradient are 0.

    Examples
    --------
    >>> NLL().forward([[0.5], [0.5]], [[1], [0]])
    0.6931471805599453
    """

    output = modules.SoftMax
    # True: a − y for any sum of the labels, as a matched user's loss computes it
    # (foreign/match_loss.py)
    _plain = False

    def per_sample(self, Ypred: ArrayLike, Y: ArrayLike) -> Array:
        """Return −Σ_i y_i log a_i of every sample.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The probabilities a.
        Y : array_like of shape (n, b)
            The labels y.

        Returns
        -------
        ndarray of shape (b,)
            The losses, in nats.
        """
        return self._kernels.nll(Ypred, Y)

    def _gradient(self):
        return (
            super()._gradient() if self._plain else self._kernels.nll_backward(self.Ypred, self.Y)
        )


class BinaryNLL(Loss):
    """Negative log-likelihood of one or many independent binary labels, in nats.

    It is −Σ_i (y_i log a_i + (1 − y_i) log(1 − a_i)) per sample. The last module must be an
    OutputSigmoid.

    Notes
    -----
    dL/dZ = a − y.

    Examples
    --------
    >>> BinaryNLL().forward([[0.5]], [[0]])
    0.6931471805599453
    """

    output = modules.OutputSigmoid

    def per_sample(self, Ypred: ArrayLike, Y: ArrayLike) -> Array:
        """Return −Σ_i (y_i log a_i + (1 − y_i) log(1 − a_i)) of every sample.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The probabilities a.
        Y : array_like of shape (n, b)
            The labels y, from 0 to 1.

        Returns
        -------
        ndarray of shape (b,)
            The losses, in nats.
        """
        return self._kernels.binary_nll(Ypred, Y)


class _OfLinear(Loss):
    """A loss of a last Linear's outputs, given by its kernels, `<_kernel>` and `<_kernel>_loss`."""

    output = modules.Linear
    _kernel = ""

    def per_sample(self, Ypred, Y):
        """Return the loss of every sample.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The outputs a.
        Y : array_like of shape (n, b)
            The labels or wanted outputs y.

        Returns
        -------
        ndarray of shape (b,)
            The losses.
        """
        return getattr(self._kernels, self._kernel)(Ypred, Y)

    def _gradient(self):
        return getattr(self._kernels, self._kernel + "_loss")(self.Ypred, self.Y)[1]


class _OfNumbers(_OfLinear):
    """Such a loss of numbers, not of classes."""

    classifies = False

    def class_fun(self, Ypred):
        """Return the outputs unchanged: predictions of numbers, not of classes.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The outputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs.
        """
        return np.asarray(Ypred)


class Squared(_OfNumbers):
    """Squared error, ‖a − y‖² = Σ_i (a_i − y_i)² per sample, for a last Linear.

    Notes
    -----
    dL/dZ = 2 (a − y). The squared error is neither halved nor averaged.

    Examples
    --------
    >>> loss = Squared()
    >>> loss.forward([[3.0]], [[1.0]]), loss.backward().item()
    (4.0, 4.0)
    """

    _kernel = "squared"


class Hinge(_OfLinear):
    """Hinge loss, Σ_i max(0, 1 − y_i a_i) per sample, for a last Linear and labels −1 and +1.

    Notes
    -----
    dL/dZ = −y if y a < 1, else 0; the gradient at the margin is 0.

    Examples
    --------
    >>> loss = Hinge()
    >>> loss.forward([[0.25]], [[1.0]]), loss.backward().item()
    (0.75, -1.0)
    >>> loss.class_fun([[0.25]]).tolist()
    [1]
    """

    _kernel = "hinge"

    def class_fun(self, Ypred: ArrayLike) -> Array:
        """Return +1 if the output is at least 0, else −1.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The outputs.

        Returns
        -------
        ndarray of shape (b,) or (n, b)
            The classes, int64; (b,) for one output.
        """
        classes = np.where(np.asarray(Ypred) >= 0, np.int64(1), np.int64(-1))
        return classes[0] if classes.shape[0] == 1 else classes
