"""The kernels in plain NumPy: the specification, and the oracle for the compiled kernels.

Samples are columns. b is the batch size; A (m, b), W (m, n), W0 (n, 1), Z and dLdZ (n, b). Every
function computes in the type of its weights, else of its first argument (float32 and float64 as
they are, other real types as float64), changes none of its inputs except for the steps, and takes
out= for its result. Losses are in nats.

The formulas are in numpy_formulas; these functions add checks, types and out=. numpy_activations,
numpy_losses, numpy_norm and numpy_steps define them.
"""

from __future__ import annotations

import numpy as np

from nncore import _checks
from nncore._types import Array, ArrayLike
from nncore.kernels import numpy_activations, numpy_losses, numpy_norm, numpy_steps
from nncore.kernels import numpy_formulas as formulas
from nncore.kernels.numpy_activations import *  # noqa: F403
from nncore.kernels.numpy_arrays import deliver, matrices, quiet
from nncore.kernels.numpy_losses import *  # noqa: F403
from nncore.kernels.numpy_norm import *  # noqa: F403
from nncore.kernels.numpy_steps import *  # noqa: F403
from nncore.kernels.numpy_steps import checked_state as checked_state
from nncore.kernels.numpy_steps import rule_step as rule_step
from nncore.kernels.numpy_steps import step_terms as step_terms

__all__ = ["linear_backward", "linear_forward"]
__all__ += numpy_activations.__all__
__all__ += numpy_losses.__all__
__all__ += numpy_norm.__all__
__all__ += numpy_steps.__all__


def linear_forward(A: ArrayLike, W: ArrayLike, W0: ArrayLike, out: Array | None = None) -> Array:
    """Linear layer, Z = Wᵀ A + W0.

    Parameters
    ----------
    A : array_like of shape (m, b)
        The inputs.
    W : array_like of shape (m, n)
        The weights; their type is the computing type.
    W0 : array_like of shape (n, 1)
        The biases.
    out : ndarray of shape (n, b), optional
        The array for the result.

    Returns
    -------
    ndarray of shape (n, b)
        The outputs Z.

    Examples
    --------
    >>> W, W0 = [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], [[0.0], [0.0], [0.5]]
    >>> linear_forward([[1.0], [2.0]], W, W0).ravel().tolist()
    [1.0, 2.0, 3.5]
    """
    dtype = _checks.computing_dtype(W)
    W_ = matrices("W", W, dtype, ("m", "n"))
    m, n = W_.shape
    A_, W0_ = matrices("A", A, dtype, (m, "b")), matrices("W0", W0, dtype, (n, 1))
    with quiet():
        return deliver(formulas.linear_forward(A_, W_, W0_), dtype, out, None, A, W, W0)


def linear_backward(
    dLdZ: ArrayLike, A: ArrayLike, W: ArrayLike, out: tuple[Array, Array, Array] | None = None
) -> tuple[Array, Array, Array]:
    """Backward of the linear layer: dLdA = W dLdZ, dLdW = A dLdZᵀ, dLdW0 = Σ dLdZ.

    Parameters
    ----------
    dLdZ : array_like of shape (n, b)
        The gradient of the outputs.
    A : array_like of shape (m, b)
        The inputs.
    W : array_like of shape (m, n)
        The weights; their type is the computing type.
    out : tuple of three ndarrays, optional
        The arrays for the results.

    Returns
    -------
    dLdA : ndarray of shape (m, b)
        The gradient of the inputs.
    dLdW : ndarray of shape (m, n)
        The gradient of the weights, summed over the batch.
    dLdW0 : ndarray of shape (n, 1)
        The gradient of the biases, summed over the batch.

    Examples
    --------
    >>> dLdA, dLdW, dLdW0 = linear_backward([[1.0]], [[3.0], [4.0]], [[2.0], [5.0]])
    >>> dLdA.ravel().tolist(), dLdW.ravel().tolist(), dLdW0.ravel().tolist()
    ([2.0, 5.0], [3.0, 4.0], [1.0])
    """
    dtype = _checks.computing_dtype(W)
    W_ = matrices("W", W, dtype, ("m", "n"))
    m, n = W_.shape
    A_ = matrices("A", A, dtype, (m, "b"))
    dLdZ_ = matrices("dLdZ", dLdZ, dtype, (n, A_.shape[1]))
    with quiet():
        results = formulas.linear_backward(dLdZ_, A_, W_)
    if out is None:
        return tuple(np.asarray(r, dtype) for r in results)  # type: ignore[return-value]
    if not isinstance(out, tuple) or len(out) != 3:
        raise TypeError(
            f"out must be a tuple of three arrays (dLdA, dLdW, dLdW0), got {type(out).__name__}"
        )
    inputs = [x for x in (dLdZ, A, W) if isinstance(x, np.ndarray)]
    for i, (o, r) in enumerate(zip(out, results, strict=True)):
        _checks.out(f"out[{i}]", o, r.shape, dtype)
        _checks.no_overlap(f"out[{i}]", o, *inputs, *out[:i])
    for o, r in zip(out, results, strict=True):
        np.copyto(o, r)
    return out
