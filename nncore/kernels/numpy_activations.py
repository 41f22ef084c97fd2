"""The activations' kernels in plain NumPy; see numpy_kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np

from nncore import _checks
from nncore._types import Array, ArrayLike
from nncore.kernels import numpy_formulas as formulas
from nncore.kernels.numpy_arrays import deliver, matrices, quiet

__all__ = [
    "gelu_backward",
    "gelu_forward",
    "gelu_tanh_backward",
    "gelu_tanh_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
]


_FORWARD = """

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The inputs.
    out : ndarray of shape (n, b), optional
        The array for the result; may be Z itself.

    Returns
    -------
    ndarray of shape (n, b)
        The outputs A.

    Examples
    --------
"""


_BACKWARD = """

    Parameters
    ----------
    dLdA : array_like of shape (n, b)
        The gradient of the outputs.
    {name} : array_like of shape (n, b)
        The {what}.
    out : ndarray of shape (n, b), optional
        The array for the result; may be dLdA itself.

    Returns
    -------
    ndarray of shape (n, b)
        The gradient of the inputs, dLdZ.

    Examples
    --------
"""


def _kernel_of(formula, kernel, sections):
    """Give a kernel the name of its formula, and its docstring with sections before the example."""
    kernel.__name__ = kernel.__qualname__ = formula.__name__
    if formula.__doc__:  # none under python -OO
        summary, _, example = formula.__doc__.partition("\n\n")
        kernel.__doc__ = summary + sections + example
    return kernel


if TYPE_CHECKING:

    class _Forward(Protocol):
        def __call__(self, Z: ArrayLike, out: Array | None = None) -> Array: ...

    class _Backward(Protocol):
        def __call__(self, dLdA: ArrayLike, A: ArrayLike, out: Array | None = None) -> Array: ...

    class _BackwardOfInput(Protocol):
        def __call__(self, dLdA: ArrayLike, Z: ArrayLike, out: Array | None = None) -> Array: ...


def _forward(formula: Callable[..., Array]) -> _Forward:
    """Return the kernel of an activation's formula."""

    def kernel(Z: ArrayLike, out: Array | None = None) -> Array:
        return _activated(formula, Z, out)

    return _kernel_of(formula, kernel, _FORWARD)


def _activated(formula: Any, Z: ArrayLike, out: Array | None) -> Array:
    dtype = _checks.computing_dtype(Z)
    Z_ = _checks.as_real("Z", Z, dtype)
    with quiet():
        return deliver(formula(Z_), dtype, out, Z)


def _backward(formula: Callable[..., Array]) -> _Backward:
    """Return the kernel of a formula of dL/dZ in terms of dL/dA and the activation's output A."""

    def kernel(dLdA: ArrayLike, A: ArrayLike, out: Array | None = None) -> Array:
        return _derived(formula, "A", dLdA, A, out)

    return _kernel_of(formula, kernel, _BACKWARD.format(name="A", what="outputs of the forward"))


def _backward_of_input(formula: Callable[..., Array]) -> _BackwardOfInput:
    """Return the kernel of a formula of dL/dZ in terms of dL/dA and the activation's input Z."""

    def kernel(dLdA: ArrayLike, Z: ArrayLike, out: Array | None = None) -> Array:
        return _derived(formula, "Z", dLdA, Z, out)

    return _kernel_of(formula, kernel, _BACKWARD.format(name="Z", what="inputs of the forward"))


def _derived(formula: Any, name: str, dLdA: ArrayLike, U: ArrayLike, out: Array | None) -> Array:
    dtype = _checks.computing_dtype(U)
    U_ = _checks.as_real(name, U, dtype)
    dLdA_ = matrices("dLdA", dLdA, dtype, U_.shape)
    with quiet():
        return deliver(formula(dLdA_, U_), dtype, out, dLdA, U)


@_forward
def tanh_forward(Z: ArrayLike) -> Array:
    """A = tanh Z, elementwise.

    >>> tanh_forward([[0.0, 1.0]]).round(4).tolist()
    [[0.0, 0.7616]]
    """
    return formulas.tanh_forward(Z)


@_backward
def tanh_backward(dLdA: ArrayLike, A: ArrayLike) -> Array:
    """Backward of tanh, dLdZ = dLdA ⊙ (1 − A²).

    >>> tanh_backward([[1.0, 2.0]], [[0.0, 0.5]]).tolist()
    [[1.0, 1.5]]
    """
    return formulas.tanh_backward(dLdA, A)


@_forward
def sigmoid_forward(Z: ArrayLike) -> Array:
    """A = 1 / (1 + e^−Z), elementwise.

    >>> sigmoid_forward([[0.0, 1.0]]).round(4).tolist()
    [[0.5, 0.7311]]
    """
    return formulas.sigmoid_forward(Z)


@_backward
def sigmoid_backward(dLdA: ArrayLike, A: ArrayLike) -> Array:
    """Backward of the sigmoid, dLdZ = dLdA ⊙ A (1 − A).

    >>> sigmoid_backward([[1.0, 2.0]], [[0.5, 0.5]]).tolist()
    [[0.25, 0.5]]
    """
    return formulas.sigmoid_backward(dLdA, A)


def leaky_relu_forward(Z: ArrayLike, slope: float, out: Array | None = None) -> Array:
    """A = Z if Z > 0, else slope Z, elementwise.

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The inputs.
    slope : float
        The derivative for negative Z.
    out : ndarray of shape (n, b), optional
        The array for the result; may be Z itself.

    Returns
    -------
    ndarray of shape (n, b)
        The outputs A.

    Examples
    --------
    >>> leaky_relu_forward([[-1.0, 2.0]], 0.1).tolist()
    [[-0.1, 2.0]]
    """
    slope = _checks.number("slope", slope)
    return _activated(lambda Z: np.where(Z > 0, Z, slope * Z), Z, out)


def leaky_relu_backward(
    dLdA: ArrayLike, A: ArrayLike, slope: float, out: Array | None = None
) -> Array:
    """Backward of leaky ReLU, dLdZ = dLdA if A > 0, else slope dLdA.

    Parameters
    ----------
    dLdA : array_like of shape (n, b)
        The gradient of the outputs.
    A : array_like of shape (n, b)
        The outputs of the forward.
    slope : float
        The derivative for negative Z.
    out : ndarray of shape (n, b), optional
        The array for the result; may be dLdA itself.

    Returns
    -------
    ndarray of shape (n, b)
        The gradient of the inputs, dLdZ.

    Examples
    --------
    >>> leaky_relu_backward([[1.0, 1.0]], [[-0.1, 2.0]], 0.1).tolist()
    [[0.1, 1.0]]
    """
    slope = _checks.number("slope", slope)
    return _derived(lambda dLdA, A: np.where(A > 0, dLdA, slope * dLdA), "A", dLdA, A, out)


_FAR = 1000  # beyond, sigmoids and the normal distribution are 0 or 1


@_forward
def gelu_forward(Z: ArrayLike) -> Array:
    """A = Z ⊙ Φ(Z), with the standard normal distribution Φ.

    >>> gelu_forward([[0.0, 1.0]]).round(4).tolist()
    [[0.0, 0.8413]]
    """
    Z = np.maximum(Z, -_FAR)
    return Z * _normal(Z)


@_backward_of_input
def gelu_backward(dLdA: ArrayLike, Z: ArrayLike) -> Array:
    """Backward of GELU, dLdZ = dLdA ⊙ (Φ(Z) + Z ⊙ φ(Z)), with the standard normal density φ.

    >>> gelu_backward([[1.0, 1.0]], [[0.0, 1.0]]).round(4).tolist()
    [[0.5, 1.0833]]
    """
    Z = np.clip(Z, -_FAR, _FAR)
    return dLdA * (_normal(Z) + Z * np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi))


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _normal(Z):
    """Return Φ(z) = erfc(−z / √2) / 2."""
    return _erfc(-Z / np.sqrt(2)).astype(Z.dtype) / 2


@_forward
def gelu_tanh_forward(Z: ArrayLike) -> Array:
    """A = Z ⊙ (1 + tanh U) / 2 = Z ⊙ σ(2U), with U = √(2/π) (Z + 0.044715 Z³).

    >>> gelu_tanh_forward([[0.0, 1.0]]).round(4).tolist()
    [[0.0, 0.8412]]
    """
    Z = np.maximum(Z, -_FAR)
    return Z * formulas.sigmoid_forward(2 * np.sqrt(2 / np.pi) * (Z + 0.044715 * Z**3))


@_backward_of_input
def gelu_tanh_backward(dLdA: ArrayLike, Z: ArrayLike) -> Array:
    """Backward of GELU's tanh form, dLdZ = dLdA ⊙ (σ(2U) + Z ⊙ σ'(2U) ⊙ 2U').

    >>> gelu_tanh_backward([[1.0, 1.0]], [[0.0, 1.0]]).round(4).tolist()
    [[0.5, 1.083]]
    """
    Z, c = np.clip(Z, -_FAR, _FAR), 2 * np.sqrt(2 / np.pi)
    U2, slope = c * (Z + 0.044715 * Z**3), c * (1 + 3 * 0.044715 * Z**2)
    return dLdA * (formulas.sigmoid_forward(U2) + Z * _sigmoid_slope(U2) * slope)


@_forward
def silu_forward(Z: ArrayLike) -> Array:
    """A = Z ⊙ σ(Z), with the sigmoid σ.

    >>> silu_forward([[0.0, 1.0]]).round(4).tolist()
    [[0.0, 0.7311]]
    """
    Z = np.maximum(Z, -_FAR)
    return Z * formulas.sigmoid_forward(Z)


@_backward_of_input
def silu_backward(dLdA: ArrayLike, Z: ArrayLike) -> Array:
    """Backward of SiLU, dLdZ = dLdA ⊙ (σ(Z) + Z ⊙ σ(Z) ⊙ (1 − σ(Z))).

    >>> silu_backward([[1.0, 1.0]], [[0.0, 1.0]]).round(4).tolist()
    [[0.5, 0.9277]]
    """
    Z = np.clip(Z, -_FAR, _FAR)
    return dLdA * (formulas.sigmoid_forward(Z) + Z * _sigmoid_slope(Z))


def _sigmoid_slope(Z):
    """Return σ'(z) = σ(z) (1 − σ(z)), accurate also if σ(z) is nearly 1."""
    e = np.exp(-np.abs(Z))
    return e / (1 + e) ** 2


def relu_forward(Z: ArrayLike, out: Array | None = None) -> Array:
    """A = max(0, Z), elementwise; integers stay integers, NaN stays NaN.

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The inputs.
    out : ndarray of shape (n, b), optional
        The array for the result; may be Z itself.

    Returns
    -------
    ndarray of shape (n, b)
        The outputs A.

    Examples
    --------
    >>> relu_forward([[-1.0, 2.0]]).tolist()
    [[0.0, 2.0]]
    """
    if _whole(Z):
        return deliver(formulas.relu_forward(Z), Z.dtype, out, Z)
    return _activated(formulas.relu_forward, Z, out)


def relu_backward(dLdA: ArrayLike, A: ArrayLike, out: Array | None = None) -> Array:
    """Backward of ReLU, dLdZ = dLdA if A > 0, else 0; integers stay integers.

    Parameters
    ----------
    dLdA : array_like of shape (n, b)
        The gradient of the outputs.
    A : array_like of shape (n, b)
        The outputs of the forward.
    out : ndarray of shape (n, b), optional
        The array for the result; may be dLdA itself.

    Returns
    -------
    ndarray of shape (n, b)
        The gradient of the inputs, dLdZ.

    Examples
    --------
    >>> relu_backward([[1.0, 1.0]], [[0.0, 2.0]]).tolist()
    [[0.0, 1.0]]
    """
    if _whole(A) and _whole(dLdA):
        _checks.shape("dLdA", dLdA, A.shape)
        return deliver(formulas.relu_backward(dLdA, A), dLdA.dtype, out, dLdA, A)
    return _derived(formulas.relu_backward, "A", dLdA, A, out)


def _whole(x: Any) -> TypeGuard[Array]:
    return isinstance(x, np.ndarray) and x.dtype.kind in "iu"


def softmax_forward(Z: ArrayLike, out: Array | None = None) -> Array:
    """Softmax of each column, A = e^Z / Σ e^Z; stable for any finite logits.

    Parameters
    ----------
    Z : array_like of shape (n, b)
        The logits.
    out : ndarray of shape (n, b), optional
        The array for the result; may be Z itself.

    Returns
    -------
    ndarray of shape (n, b)
        The probabilities A.

    Examples
    --------
    >>> softmax_forward([[0.0, 1000.0], [0.0, 0.0]]).tolist()
    [[0.5, 1.0], [0.5, 0.0]]
    """
    dtype = _checks.computing_dtype(Z)
    Z_ = matrices("Z", Z, dtype, ("n", "b"))
    with quiet():
        return deliver(formulas.softmax_forward(Z_) if Z_.size else Z_, dtype, out, Z)
