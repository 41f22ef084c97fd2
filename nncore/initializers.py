"""Initial weights by name: W (m, n) and W0 (n, 1) of a Linear, from NumPy's legacy global
generator.
"""

import numpy as np

from nncore import _checks, _memory


def course(m, n):
    """Draw W ~ N(0, 1/m) in exactly one draw; W0 = 0: the course library's rule."""
    W0 = np.zeros((n, 1))
    return np.random.normal(0, m**-0.5, (m, n)), W0


def notes(m, n):
    """Draw W ~ N(0, 1/m), so that the scale of Z is independent of m, then W0 ~ N(0, 1): the notes'
    rule.
    """
    W = np.random.normal(0, m**-0.5, (m, n))
    return W, np.random.normal(0, 1, (n, 1))


def he(m, n):
    """Draw W ~ N(0, 2/m); W0 = 0: keeps the scale of activations through ReLU (He et al. 2015, eq.
    10).
    """
    return np.random.normal(0, (2 / m) ** 0.5, (m, n)), np.zeros((n, 1))


BY_NAME = {"course": course, "notes": notes, "he": he}


def initial_weights(init, m, n, dtype):
    """Return (W, W0) in dtype from a name or a callable (m, n) -> (W, W0)."""
    if callable(init):
        drawn = init(m, n)
        if not isinstance(drawn, tuple) or len(drawn) != 2:
            raise TypeError(f"init must return a tuple (W, W0), got {type(drawn).__name__}")
        W, W0 = (
            _checks.as_real(name, x, dtype) for name, x in zip(("W", "W0"), drawn, strict=True)
        )
        _checks.shape("W", W, (m, n))
        _checks.shape("W0", W0, (n, 1))
        return _memory.aligned(np.array(W)), np.array(W0)
    W, W0 = BY_NAME[_checks.choice("init", init, tuple(BY_NAME))](m, n)
    return _memory.aligned(W, dtype), W0.astype(dtype, copy=False)
