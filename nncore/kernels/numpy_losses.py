"""The losses' kernels in plain NumPy; see numpy_kernels."""

from __future__ import annotations

import functools

import numpy as np

from nncore import _checks
from nncore._sums import pairwise
from nncore._types import Array, ArrayLike
from nncore.kernels import numpy_formulas as formulas
from nncore.kernels.numpy_arrays import deliver, matrices, quiet

__all__ = [
    "absolute",
    "absolute_loss",
    "adjusted_labels",
    "binary_nll",
    "hinge",
    "hinge_loss",
    "huber",
    "huber_loss",
    "nll",
    "nll_backward",
    "sigmoid_nll",
    "softmax_nll",
    "squared",
    "squared_loss",
]


def _loss_and_gradient(formula, Z, Y, out):
    dtype = _checks.computing_dtype(Z)
    Z_ = matrices("Z", Z, dtype, ("n", "b"))
    Y_ = matrices("Y", Y, dtype, Z_.shape)
    with quiet():
        losses, gradient = formula(Z_, Y_) if Z_.size else (np.zeros(Z_.shape[1]), Z_)
        return float(pairwise(losses)), deliver(gradient, dtype, out, Z, Y)


def softmax_nll(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]:
    """Negative log-likelihood of a softmax and its gradient, from logits, in one pass.

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The logits.
    Y : array_like of shape (n, b)
        The labels.
    out : ndarray of shape (n, b), optional
        The array for dLdZ; may be Z itself.

    Returns
    -------
    loss : float
        The loss summed over the batch, in nats.
    dLdZ : ndarray of shape (n, b)
        The gradient: softmax(Z) − Y for columns of Y that sum to 1, in general
        (Σ y) softmax(Z) − Y; see nll_backward.

    Examples
    --------
    >>> loss, dLdZ = softmax_nll([[0.0], [0.0]], [[1.0], [0.0]])
    >>> round(loss, 6), dLdZ.ravel().tolist()
    (0.693147, [-0.5, 0.5])
    """
    return _loss_and_gradient(formulas.softmax_nll, Z, Y, out)


def sigmoid_nll(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]:
    """Negative log-likelihood of sigmoids and its gradient, from logits, in one pass.

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The logits.
    Y : array_like of shape (n, b)
        The labels, from 0 to 1.
    out : ndarray of shape (n, b), optional
        The array for dLdZ; may be Z itself.

    Returns
    -------
    loss : float
        The loss summed over labels and batch, in nats.
    dLdZ : ndarray of shape (n, b)
        The gradient, sigmoid(Z) − Y.

    Examples
    --------
    >>> loss, dLdZ = sigmoid_nll([[0.0]], [[1.0]])
    >>> round(loss, 6), dLdZ.item()
    (0.693147, -0.5)
    """
    return _loss_and_gradient(formulas.sigmoid_nll, Z, Y, out)


def squared_loss(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]:
    """Squared loss and its gradient, from the outputs of a Linear.

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The outputs.
    Y : array_like of shape (n, b)
        The wanted outputs.
    out : ndarray of shape (n, b), optional
        The array for dLdZ; may be Z itself.

    Returns
    -------
    loss : float
        Σ (Z − Y)² over outputs and batch.
    dLdZ : ndarray of shape (n, b)
        The gradient, 2 (Z − Y).

    Examples
    --------
    >>> loss, dLdZ = squared_loss([[3.0]], [[1.0]])
    >>> loss, dLdZ.item()
    (4.0, 4.0)
    """
    return _loss_and_gradient(formulas.squared_loss, Z, Y, out)


def hinge_loss(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]:
    """Hinge loss and its gradient, from the outputs of a Linear.

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The outputs.
    Y : array_like of shape (n, b)
        The labels, −1 or +1.
    out : ndarray of shape (n, b), optional
        The array for dLdZ; may be Z itself.

    Returns
    -------
    loss : float
        Σ max(0, 1 − Y Z) over outputs and batch.
    dLdZ : ndarray of shape (n, b)
        The gradient, −Y if Y Z < 1, else 0.

    Examples
    --------
    >>> loss, dLdZ = hinge_loss([[0.25, 2.0]], [[1.0, 1.0]])
    >>> loss, dLdZ.tolist()
    (0.75, [[-1.0, 0.0]])
    """
    return _loss_and_gradient(formulas.hinge_loss, Z, Y, out)


def absolute_loss(Z: ArrayLike, Y: ArrayLike, out: Array | None = None) -> tuple[float, Array]:
    """Absolute loss and its gradient, from the outputs of a Linear.

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The outputs.
    Y : array_like of shape (n, b)
        The wanted outputs.
    out : ndarray of shape (n, b), optional
        The array for dLdZ; may be Z itself.

    Returns
    -------
    loss : float
        Σ |Z − Y| over outputs and batch.
    dLdZ : ndarray of shape (n, b)
        The gradient, sign(Z − Y), which is 0 at 0.

    Examples
    --------
    >>> loss, dLdZ = absolute_loss([[3.0, 1.0]], [[1.0, 1.0]])
    >>> loss, dLdZ.tolist()
    (2.0, [[1.0, 0.0]])
    """
    return _loss_and_gradient(formulas.absolute_loss, Z, Y, out)


def huber_loss(
    Z: ArrayLike, Y: ArrayLike, delta: float, out: Array | None = None
) -> tuple[float, Array]:
    """Huber loss and its gradient, from the outputs of a Linear.

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The outputs.
    Y : array_like of shape (n, b)
        The wanted outputs.
    delta : float
        The error from which on the loss is linear.
    out : ndarray of shape (n, b), optional
        The array for dLdZ; may be Z itself.

    Returns
    -------
    loss : float
        Σ h(Z − Y) over outputs and batch; h(e) is e² / 2 if |e| ≤ delta, else
        delta (|e| − delta / 2).
    dLdZ : ndarray of shape (n, b)
        The gradient, Z − Y bounded to [−delta, delta].

    Examples
    --------
    >>> loss, dLdZ = huber_loss([[3.0, 1.5]], [[1.0, 1.0]], 1.0)
    >>> loss, dLdZ.tolist()
    (1.625, [[1.0, 0.5]])
    """
    formula = functools.partial(formulas.huber_loss, delta=_checks.number("delta", delta))
    return _loss_and_gradient(formula, Z, Y, out)


def _losses(formula, Ypred, Y, out):
    dtype = _checks.computing_dtype(Ypred)
    P = matrices("Ypred", Ypred, dtype, ("n", "b"))
    Y_ = matrices("Y", Y, dtype, P.shape)
    with quiet():
        return deliver(formula(P, Y_), dtype, out, None, Ypred, Y)


def nll(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array:
    """Negative log-likelihood of every sample, −Σ y log Ypred, in nats; 0 log 0 = 0.

    Parameters
    ----------
    Ypred : array_like of shape (n, b)
        The probabilities.
    Y : array_like of shape (n, b)
        The labels.
    out : ndarray of shape (b,), optional
        The array for the result.

    Returns
    -------
    ndarray of shape (b,)
        The losses.

    Examples
    --------
    >>> nll([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]).tolist()
    [0.0, inf]
    """
    return _losses(formulas.nll, Ypred, Y, out)


def nll_backward(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array:
    """Gradient of the NLL through a softmax with the outputs Ypred, dLdZ = (Σ y) Ypred − Y.

    Parameters
    ----------
    Ypred : array_like of shape (n, b)
        The outputs of the softmax.
    Y : array_like of shape (n, b)
        The labels; Σ y is the sum of a column.
    out : ndarray of shape (n, b), optional
        The array for the result; may be Ypred itself.

    Returns
    -------
    ndarray of shape (n, b)
        The gradient of the logits, dLdZ.

    Notes
    -----
    A column counts as summing to 1, which gives Ypred − Y to the last bit, if |Σ y − 1| ≤ n 2⁻²³.
    Normalising n labels in float32 stays within that. The sum is taken in float64, of Y converted
    to the computing type.

    Examples
    --------
    >>> nll_backward([[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 3.0]]).tolist()
    [[-0.5, 1.5], [0.5, -1.5]]
    """
    dtype = _checks.computing_dtype(Ypred)
    P = matrices("Ypred", Ypred, dtype, ("n", "b"))
    Y_ = matrices("Y", Y, dtype, P.shape)
    with quiet():
        return deliver(formulas.nll_backward(P, Y_), dtype, out, Ypred, Y)


def binary_nll(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array:
    """Negative log-likelihood of binary labels per sample, in nats; 0 log 0 = 0.

    It is −Σ (Y log Ypred + (1 − Y) log(1 − Ypred)) over each column.

    Parameters
    ----------
    Ypred : array_like of shape (n, b)
        The probabilities.
    Y : array_like of shape (n, b)
        The labels, from 0 to 1.
    out : ndarray of shape (b,), optional
        The array for the result.

    Returns
    -------
    ndarray of shape (b,)
        The losses.

    Examples
    --------
    >>> binary_nll([[0.5, 1.0]], [[0.0, 1.0]]).round(6).tolist()
    [0.693147, 0.0]
    """
    return _losses(formulas.binary_nll, Ypred, Y, out)


def squared(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array:
    """Squared loss of every sample, Σ (Ypred − Y)² over each column.

    Parameters
    ----------
    Ypred : array_like of shape (n, b)
        The outputs.
    Y : array_like of shape (n, b)
        The wanted outputs.
    out : ndarray of shape (b,), optional
        The array for the result.

    Returns
    -------
    ndarray of shape (b,)
        The losses.

    Examples
    --------
    >>> squared([[3.0, 1.0]], [[1.0, 1.0]]).tolist()
    [4.0, 0.0]
    """
    return _losses(formulas.squared, Ypred, Y, out)


def hinge(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array:
    """Hinge loss of every sample, Σ max(0, 1 − Y Ypred) over each column.

    Parameters
    ----------
    Ypred : array_like of shape (n, b)
        The outputs.
    Y : array_like of shape (n, b)
        The labels, −1 or +1.
    out : ndarray of shape (b,), optional
        The array for the result.

    Returns
    -------
    ndarray of shape (b,)
        The losses.

    Examples
    --------
    >>> hinge([[0.25, 2.0]], [[1.0, 1.0]]).tolist()
    [0.75, 0.0]
    """
    return _losses(formulas.hinge, Ypred, Y, out)


def absolute(Ypred: ArrayLike, Y: ArrayLike, out: Array | None = None) -> Array:
    """Absolute loss of every sample, Σ |Ypred − Y| over each column.

    Parameters
    ----------
    Ypred : array_like of shape (n, b)
        The outputs.
    Y : array_like of shape (n, b)
        The wanted outputs.
    out : ndarray of shape (b,), optional
        The array for the result.

    Returns
    -------
    ndarray of shape (b,)
        The losses.

    Examples
    --------
    >>> absolute([[3.0, 1.0]], [[1.0, 1.0]]).tolist()
    [2.0, 0.0]
    """
    return _losses(formulas.absolute, Ypred, Y, out)


def huber(Ypred: ArrayLike, Y: ArrayLike, delta: float, out: Array | None = None) -> Array:
    """Huber loss of every sample, Σ h(Ypred − Y) over each column; see huber_loss.

    Parameters
    ----------
    Ypred : array_like of shape (n, b)
        The outputs.
    Y : array_like of shape (n, b)
        The wanted outputs.
    delta : float
        The error from which on the loss is linear.
    out : ndarray of shape (b,), optional
        The array for the result.

    Returns
    -------
    ndarray of shape (b,)
        The losses.

    Examples
    --------
    >>> huber([[3.0, 1.5]], [[1.0, 1.0]], 1.0).tolist()
    [1.5, 0.125]
    """
    formula = functools.partial(formulas.huber, delta=_checks.number("delta", delta))
    return _losses(formula, Ypred, Y, out)


def adjusted_labels(
    Y: ArrayLike,
    smoothing: float,
    class_weight: ArrayLike | None = None,
    out: Array | None = None,
) -> Array:
    """Smooth labels and weight them: class_weight ⊙ ((1 − smoothing) Y + smoothing / n Σ y).

    The NLL of the result is the NLL of Y with label smoothing and weights per class.

    Parameters
    ----------
    Y : array_like of shape (n, b)
        The labels; Σ y is the sum of a column.
    smoothing : float
        The share of each label that all n classes get alike.
    class_weight : array_like of shape (n,), optional
        The weights of the classes; 1 by default.
    out : ndarray of shape (n, b), optional
        The array for the result; may be Y itself.

    Returns
    -------
    ndarray of shape (n, b)
        The labels.

    Examples
    --------
    >>> adjusted_labels([[1.0], [0.0]], 0.5).ravel().tolist()
    [0.75, 0.25]
    >>> adjusted_labels([[1.0], [0.0]], 0.5, [2.0, 1.0]).ravel().tolist()
    [1.5, 0.25]
    """
    dtype = _checks.computing_dtype(Y)
    Y_ = matrices("Y", Y, dtype, ("n", "b"))
    share = _checks.number("smoothing", smoothing)
    weights = np.ones(len(Y_))
    if class_weight is not None:
        weights = matrices("class_weight", class_weight, np.float64, (len(Y_),))
    with quiet():
        result = formulas.adjusted_labels(Y_, share, weights) if Y_.size else Y_
        return deliver(result, dtype, out, Y)
