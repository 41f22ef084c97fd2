"""The kernels of batch normalisation and dropout in plain NumPy; see numpy_kernels."""

from __future__ import annotations

import numpy as np

from nncore import _checks
from nncore._types import Array, ArrayLike
from nncore.kernels import numpy_formulas as formulas
from nncore.kernels.numpy_arrays import matrices, quiet

__all__ = [
    "batchnorm_apply",
    "batchnorm_backward",
    "batchnorm_forward",
    "dropout",
]


def batchnorm_forward(
    A: ArrayLike, G: ArrayLike, B: ArrayLike, eps: float = 1e-20
) -> tuple[Array, Array, Array, Array]:
    """Batch normalisation: norm = (A − mus) / √(vars + eps), Z = G ⊙ norm + B.

    Parameters
    ----------
    A : array_like of shape (n, b)
        The inputs.
    G : array_like of shape (n, 1)
        The scales; their type is the computing type.
    B : array_like of shape (n, 1)
        The shifts.
    eps : float
        Added to the variances.

    Returns
    -------
    Z : ndarray of shape (n, b)
        The outputs.
    norm : ndarray of shape (n, b)
        The normalised inputs.
    mus : ndarray of shape (n, 1)
        The means over the batch.
    vars : ndarray of shape (n, 1)
        The variances (1/b) over the batch.

    Examples
    --------
    >>> Z, norm, mus, vars = batchnorm_forward([[1.0, 3.0]], [[2.0]], [[5.0]])
    >>> Z.tolist(), norm.tolist(), mus.item(), vars.item()
    ([[3.0, 7.0]], [[-1.0, 1.0]], 2.0, 1.0)
    """
    dtype, G_, B_ = _normalizer(G, B)
    A_ = matrices("A", A, dtype, (G_.shape[0], "b"))
    if not A_.shape[1]:
        raise ValueError("A must hold at least one sample to be normalised, got 0 columns")
    with quiet():
        return tuple(  # type: ignore[return-value]
            np.asarray(a, dtype)
            for a in formulas.batchnorm_forward(A_, G_, B_, dtype.type(_checks.number("eps", eps)))
        )


def batchnorm_backward(
    dLdZ: ArrayLike, norm: ArrayLike, vars: ArrayLike, G: ArrayLike, eps: float = 1e-20
) -> tuple[Array, Array, Array]:
    """Backward of batchnorm_forward.

    dLdA = G (dLdZ − mean dLdZ − norm ⊙ mean(dLdZ ⊙ norm)) / √(vars + eps), dLdG = Σ dLdZ ⊙ norm,
    dLdB = Σ dLdZ.

    Parameters
    ----------
    dLdZ : array_like of shape (n, b)
        The gradient of the outputs.
    norm : array_like of shape (n, b)
        The normalised inputs.
    vars : array_like of shape (n, 1)
        The variances.
    G : array_like of shape (n, 1)
        The scales; their type is the computing type.
    eps : float
        Added to the variances.

    Returns
    -------
    dLdA : ndarray of shape (n, b)
        The gradient of the inputs.
    dLdG : ndarray of shape (n, 1)
        The gradient of the scales, summed over the batch.
    dLdB : ndarray of shape (n, 1)
        The gradient of the shifts, summed over the batch.

    Examples
    --------
    >>> dLdA, dLdG, dLdB = batchnorm_backward([[1.0, 0.0]], [[-1.0, 1.0]], [[1.0]], [[2.0]])
    >>> dLdA.tolist(), dLdG.item(), dLdB.item()
    ([[0.0, 0.0]], -1.0, 1.0)
    """
    dtype, G_, vars_ = _normalizer(G, vars, "vars")
    norm_ = matrices("norm", norm, dtype, (G_.shape[0], "b"))
    dLdZ_ = matrices("dLdZ", dLdZ, dtype, norm_.shape)
    if not norm_.shape[1]:
        raise ValueError("norm must hold at least one sample, got 0 columns")
    with quiet():
        return tuple(  # type: ignore[return-value]
            np.asarray(a, dtype)
            for a in formulas.batchnorm_backward(
                dLdZ_, norm_, vars_, G_, dtype.type(_checks.number("eps", eps))
            )
        )


def batchnorm_apply(
    A: ArrayLike, G: ArrayLike, B: ArrayLike, mus: ArrayLike, vars: ArrayLike, eps: float = 1e-20
) -> Array:
    """Normalisation by given statistics, Z = G ⊙ (A − mus) / √(vars + eps) + B.

    Parameters
    ----------
    A : array_like of shape (n, b)
        The inputs.
    G : array_like of shape (n, 1)
        The scales; their type is the computing type.
    B : array_like of shape (n, 1)
        The shifts.
    mus : array_like of shape (n, 1)
        The means.
    vars : array_like of shape (n, 1)
        The variances.
    eps : float
        Added to the variances.

    Returns
    -------
    ndarray of shape (n, b)
        The outputs Z.

    Examples
    --------
    >>> batchnorm_apply([[1.0, 3.0]], [[2.0]], [[5.0]], [[2.0]], [[1.0]]).tolist()
    [[3.0, 7.0]]
    """
    dtype, G_, B_ = _normalizer(G, B)
    mus_, vars_ = (matrices(name, x, dtype, G_.shape) for name, x in (("mus", mus), ("vars", vars)))
    A_ = matrices("A", A, dtype, (G_.shape[0], "b"))
    with quiet():
        return np.asarray(
            formulas.batchnorm_apply(
                A_, G_, B_, mus_, vars_, dtype.type(_checks.number("eps", eps))
            ),
            dtype,
        )


def _normalizer(G, other, name="B"):
    dtype = _checks.computing_dtype(G)
    G_ = matrices("G", G, dtype, ("n", 1))
    return dtype, G_, matrices(name, other, dtype, G_.shape)


def dropout(A: ArrayLike, p: float, key: int, count: int) -> Array:
    """Dropout: A / (1 − p) for kept entries, else 0.

    Parameters
    ----------
    A : array_like of shape (n, b)
        The inputs.
    p : float
        The probability of dropping an entry, at least 0 and below 1.
    key : int
        The key of the random masks, 0 to 2**64 − 1.
    count : int
        The number of the mask, 0 to 2**64 − 1.

    Returns
    -------
    ndarray of shape (n, b)
        The result.

    Notes
    -----
    Entry (i, j) has the position i + n j. It is kept if a random 32-bit word, a function of key,
    count and position, is at least p 2**32.

    Examples
    --------
    >>> dropout(np.ones((1, 6)), 0.5, 1, 1).tolist()
    [[0.0, 0.0, 0.0, 2.0, 2.0, 2.0]]
    """
    dtype = _checks.computing_dtype(A)
    A_ = matrices("A", A, dtype, ("n", "b"))
    with quiet():
        return np.asarray(
            formulas.dropout(
                A_, _checks.share("p", p), _checks.word("key", key), _checks.word("count", count)
            ),
            dtype,
        )
