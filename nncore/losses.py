"""Losses, each for its own output unit, with dL/dZ as the gradient.

Values are summed over the batch; those of NLL and BinaryNLL are in nats.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from nncore import _backend, _checks, _names, _sums, modules
from nncore._types import Array, ArrayLike

__all__ = ["Absolute", "BinaryNLL", "Hinge", "Huber", "Loss", "NLL", "Squared"]


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

    def _of_logits(self, kernel, Z, Y):
        """Return (loss summed over the batch, dL/dZ) by the loss's kernel of logits."""
        return kernel(Z, Y)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class NLL(Loss):
    """Negative log-likelihood of classes, −Σ_i y_i log a_i per sample, in nats.

    The last module must be a SoftMax. y is one-hot, or any weights of the classes; 0 log 0 = 0.

    Parameters
    ----------
    label_smoothing : float
        From 0 to 1: y is replaced by (1 − label_smoothing) y + label_smoothing / n Σ_i y_i, which
        divides this share of the label among all n classes.
    class_weight : array_like of shape (n,), optional
        One weight per class, at least 0. The loss is −Σ_i class_weight_i y_i log a_i, with y after
        smoothing. To change it, give the network a new loss.

    Raises
    ------
    ValueError
        For a label_smoothing outside [0, 1], and for weights that are negative or non-finite.

    Notes
    -----
    dL/dZ = (Σ_i y_i) a − y, which is a − y for labels that sum to 1. A column of zeros is an
    unlabelled sample: its loss and gradient are 0.

    Both parameters are those of PyTorch's CrossEntropyLoss (`label_smoothing`, `weight`), except
    that the mean over a batch, here as for every loss, divides by the number of samples, not by the
    sum of their weights. They count in every value of the loss, also in that of `evaluate`.

    Examples
    --------
    >>> NLL().forward([[0.5], [0.5]], [[1], [0]])
    0.6931471805599453
    >>> NLL(label_smoothing=0.1).forward([[1.0], [0.5]], [[1], [0]])  # 0.05 log 2
    0.03465735902799726
    >>> NLL(class_weight=[2.0, 1.0]).forward([[0.5], [0.5]], [[1], [0]])  # 2 log 2
    1.3862943611198906
    """

    output = modules.SoftMax
    label_smoothing: float = 0.0
    class_weight: Array | None = None
    # True: a − y for any sum of the labels, as a matched user's loss computes it
    # (foreign/match_loss.py)
    _plain = False

    @_names.answering
    def __init__(self, label_smoothing: float = 0.0, class_weight: ArrayLike | None = None) -> None:
        self._configure(label_smoothing, class_weight)

    def _configure(self, label_smoothing, class_weight):
        share = _checks.number("label_smoothing", label_smoothing)
        if not 0 <= share <= 1:
            raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing}")
        if isinstance(class_weight, (Mapping, str)):
            raise TypeError(
                f"class_weight of NLL must hold one weight per class in order, got "
                f"{class_weight!r:.40}; net.fit(..., class_weight=) takes dicts and 'balanced'"
            )
        if class_weight is not None:
            class_weight = np.array(_checks.as_real("class_weight", class_weight, np.float64))
            _checks.shape("class_weight", class_weight, ("n",))
            at = _checks.first_wrong(class_weight, lambda w: ~((w >= 0) & (w < np.inf)))
            if at is not None:
                raise ValueError(
                    f"class_weight must be finite and at least 0, got {class_weight[at]} at {at[0]}"
                )
            class_weight.flags.writeable = False
        self.label_smoothing, self.class_weight = share, class_weight

    def _adjusted(self, Ypred, Y):
        """Return the labels in the computing type, smoothed and weighted."""
        if self.label_smoothing == 0 and self.class_weight is None:
            return Y
        Y = _checks.as_real("Y", Y, _checks.computing_dtype(Ypred))
        return self._kernels.adjusted_labels(Y, self.label_smoothing, self.class_weight)

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
        return self._kernels.nll(Ypred, self._adjusted(Ypred, Y))

    def _gradient(self):
        if self._plain:
            return super()._gradient()
        return self._kernels.nll_backward(self.Ypred, self._adjusted(self.Ypred, self.Y))

    def _of_logits(self, kernel, Z, Y):
        return kernel(Z, self._adjusted(Z, Y))

    def __repr__(self):
        settings = []
        if self.label_smoothing:
            settings.append(f"label_smoothing={self.label_smoothing}")
        if self.class_weight is not None:
            settings.append(f"class_weight={self.class_weight.tolist()}")
        return f"{type(self).__name__}({', '.join(settings)})"


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


class Absolute(_OfNumbers):
    """Absolute error, Σ_i |a_i − y_i| per sample, for a last Linear.

    It weighs outliers less than Squared does. Without noise the best output is the median of y.

    Notes
    -----
    dL/dZ = sign(a − y), which is 0 at a = y. The error is not averaged over the outputs.

    Examples
    --------
    >>> loss = Absolute()
    >>> loss.forward([[3.0]], [[1.0]]), loss.backward().item()
    (2.0, 1.0)
    """

    _kernel = "absolute"


class Huber(_OfNumbers):
    """Huber loss, Σ_i h(a_i − y_i) per sample, for a last Linear.

    It is squared for small errors and absolute for large ones: h(e) = e² / 2 if |e| ≤ delta, else
    delta (|e| − delta / 2).

    Parameters
    ----------
    delta : float
        The error from which on the loss is linear, finite and above 0.

    Raises
    ------
    ValueError
        For any other delta.

    Notes
    -----
    Huber 1964; PyTorch's HuberLoss. dL/dZ = a − y, bounded to [−delta, delta]. Unlike Squared, it
    halves the square.

    Examples
    --------
    >>> loss = Huber(delta=1.0)
    >>> loss.forward([[3.0]], [[1.0]]), loss.backward().item()
    (1.5, 1.0)
    """

    delta: float = 1.0

    @_names.answering
    def __init__(self, delta: float = 1.0) -> None:
        self._configure(delta)

    def _configure(self, delta):
        value = _checks.number("delta", delta)
        if not 0 < value < np.inf:
            raise ValueError(f"delta must be finite and above 0, got {delta}")
        self.delta = value

    def per_sample(self, Ypred: ArrayLike, Y: ArrayLike) -> Array:
        """Return the loss of every sample.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The outputs a.
        Y : array_like of shape (n, b)
            The wanted outputs y.

        Returns
        -------
        ndarray of shape (b,)
            The losses.
        """
        return self._kernels.huber(Ypred, Y, self.delta)

    def _gradient(self):
        return self._kernels.huber_loss(self.Ypred, self.Y, self.delta)[1]

    def _of_logits(self, kernel, Z, Y):
        return kernel(Z, Y, self.delta)

    def __repr__(self):
        return f"{type(self).__name__}({'' if self.delta == 1 else f'delta={self.delta}'})"


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
