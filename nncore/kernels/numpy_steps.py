"""The optimizers' steps in plain NumPy; see numpy_kernels."""

from __future__ import annotations

import functools

import numpy as np

from nncore import _checks
from nncore._types import Array, ArrayLike
from nncore.kernels import numpy_formulas as formulas
from nncore.kernels.numpy_arrays import matrices, quiet

__all__ = [
    "adagrad_step",
    "adam_step",
    "momentum_step",
    "rmsprop_step",
    "sgd_step",
]


def sgd_step(W: Array, dLdW: ArrayLike, lrate: float) -> None:
    """Gradient step, W ← W − lrate dLdW, in place for any strides.

    Parameters
    ----------
    W : ndarray
        The weights, float32 or float64, writeable.
    dLdW : array_like
        The gradient, of the same shape.
    lrate : float
        The step size.

    Examples
    --------
    >>> W = np.ones((1, 2))
    >>> sgd_step(W, [[1.0, 2.0]], 0.5)
    >>> W.tolist()
    [[0.5, 0.0]]
    """
    step = _scaled(W, dLdW, lrate)
    with quiet():
        W -= step


def _scaled(W, dLdW, lrate):
    """Return lrate dLdW in W's type."""
    _checks.in_place("W", W)
    lrate = _checks.number("lrate", lrate)
    gradient = matrices("dLdW", dLdW, W.dtype, W.shape)
    with quiet():
        return W.dtype.type(lrate) * gradient


def step_terms(W, dLdW, lrate):
    """Return the terms of sgd_step(W, dLdW, lrate) for nncore._core.take_steps."""
    return W, _scaled(W, dLdW, lrate), 1.0


def _optimizer_step(formula, W, dLdW, state, *numbers):
    """Check the arrays, make the step and write the results into W and the state in place."""
    _checks.in_place("W", W)
    gradient = matrices("dLdW", dLdW, W.dtype, W.shape)
    checked_state(W, state)
    with quiet():
        results = formula(W, gradient, *state.values(), *numbers)
        for array, result in zip((W, *state.values()), results, strict=True):
            np.copyto(array, result)


def rule_step(name, W, dLdW, states, lrate, parameters):
    """Make the step of any rule, whose formula is numpy_formulas' <name>_step."""
    formula = functools.partial(getattr(formulas, f"{name}_step"), **parameters)
    state = {f"state[{i}]": array for i, array in enumerate(states)}
    _optimizer_step(formula, W, dLdW, state, _checks.number("lrate", lrate))


def checked_state(W, state):
    """Refuse state arrays, by name, that do not fit W or share memory with it or with
    each other.
    """
    seen = [W]
    for name, array in state.items():
        _checks.in_place(name, array)
        if array.dtype != W.dtype:
            raise TypeError(f"{name} must be {W.dtype} as W is, got {array.dtype}")
        _checks.shape(name, array, W.shape)
        if any(np.may_share_memory(array, other) for other in seen):
            raise ValueError(
                f"{name} must not share memory with W or the rest of the state, got an array that "
                f"does"
            )
        seen.append(array)


def momentum_step(
    W: Array, dLdW: ArrayLike, V: Array, lrate: float, beta: float, nesterov: bool = False
) -> None:
    """Momentum step, in place: V ← beta V + dLdW, W ← W − lrate V.

    With nesterov, W ← W − lrate (beta V + dLdW).

    Parameters
    ----------
    W : ndarray
        The weights, float32 or float64, writeable.
    dLdW : array_like
        The gradient, of the same shape.
    V : ndarray
        The velocity, of the same shape and type.
    lrate : float
        The step size.
    beta : float
        The decay of V.
    nesterov : bool
        Whether to use Nesterov's form.

    Notes
    -----
    Polyak (1964); Nesterov's form as in Sutskever et al. (2013).

    Examples
    --------
    >>> W, V = np.array([[1.0]]), np.array([[2.0]])
    >>> momentum_step(W, [[1.0]], V, lrate=0.5, beta=0.5)
    >>> W.item(), V.item()
    (0.0, 2.0)
    """
    numbers = _checks.number("lrate", lrate), _checks.number("beta", beta)
    _optimizer_step(
        formulas.nesterov_step if nesterov else formulas.momentum_step, W, dLdW, {"V": V}, *numbers
    )


def adagrad_step(W: Array, dLdW: ArrayLike, S: Array, lrate: float, eps: float) -> None:
    """Adagrad step, in place: S ← S + dLdW², W ← W − lrate dLdW / (√S + eps).

    Parameters
    ----------
    W : ndarray
        The weights, float32 or float64, writeable.
    dLdW : array_like
        The gradient, of the same shape.
    S : ndarray
        The sum of squares, of the same shape and type.
    lrate : float
        The step size.
    eps : float
        Added to the divisor.

    Notes
    -----
    Duchi, Hazan, Singer (2011).

    Examples
    --------
    >>> W, S = np.array([[1.0]]), np.array([[9.0]])
    >>> adagrad_step(W, [[4.0]], S, lrate=0.5, eps=0)
    >>> W.item(), S.item()
    (0.6, 25.0)
    """
    _optimizer_step(
        formulas.adagrad_step,
        W,
        dLdW,
        {"S": S},
        _checks.number("lrate", lrate),
        _checks.number("eps", eps),
    )


def rmsprop_step(W: Array, dLdW: ArrayLike, S: Array, lrate: float, rho: float, eps: float) -> None:
    """RMSprop step, in place.

    S ← rho S + (1 − rho) dLdW², W ← W − lrate dLdW / (√S + eps), elementwise.

    Parameters
    ----------
    W : ndarray
        The weights, float32 or float64, writeable.
    dLdW : array_like
        The gradient, of the same shape.
    S : ndarray
        The mean square, of the same shape and type.
    lrate : float
        The step size.
    rho : float
        The decay of S.
    eps : float
        Added to the divisor.

    Notes
    -----
    Tieleman and Hinton (2012).

    Examples
    --------
    >>> W, S = np.array([[1.0]]), np.array([[2.0]])
    >>> rmsprop_step(W, [[4.0]], S, lrate=0.5, rho=0.5, eps=1)
    >>> W.item(), S.item()
    (0.5, 9.0)
    """
    numbers = _checks.number("lrate", lrate), _checks.number("rho", rho), _checks.number("eps", eps)
    _optimizer_step(formulas.rmsprop_step, W, dLdW, {"S": S}, *numbers)


def adam_step(
    W: Array,
    dLdW: ArrayLike,
    M: Array,
    V: Array,
    t: int,
    lrate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
) -> None:
    """Adam or AdamW step, in place.

    M ← beta1 M + (1 − beta1) dLdW, V ← beta2 V + (1 − beta2) dLdW², then with M' = M / (1 − beta1ᵗ)
    and V' = V / (1 − beta2ᵗ), W ← (1 − lrate weight_decay) W − lrate M' / (√V' + eps), elementwise.

    Parameters
    ----------
    W : ndarray
        The weights, float32 or float64, writeable.
    dLdW : array_like
        The gradient, of the same shape.
    M : ndarray
        The moving average of the gradient, of the same shape and type.
    V : ndarray
        The moving average of its square, likewise.
    t : int
        The number of the step, from 1.
    lrate : float
        The step size.
    beta1 : float
        The decay of M.
    beta2 : float
        The decay of V.
    eps : float
        Added to the divisor.
    weight_decay : float
        The decay of the weights.

    Notes
    -----
    Kingma and Ba (2015); weight_decay as in Loshchilov and Hutter (2019).

    Examples
    --------
    >>> W, M, V = np.array([[1.0]]), np.array([[0.0]]), np.array([[0.0]])
    >>> adam_step(W, [[4.0]], M, V, t=1, lrate=0.5, beta1=0.5, beta2=0.75, eps=0)
    >>> W.item(), M.item(), V.item()
    (0.5, 2.0, 4.0)
    """
    t = _checks.count("t", t, 1)
    numbers = [
        _checks.number(name, x)
        for name, x in (
            ("lrate", lrate),
            ("beta1", beta1),
            ("beta2", beta2),
            ("eps", eps),
            ("weight_decay", weight_decay),
        )
    ]
    _optimizer_step(formulas.adam_step, W, dLdW, {"M": M, "V": V}, t, *numbers)
