"""Initial weights by name: W (m, n) and W0 (n, 1) of a Linear, drawn by NumPy's legacy global
generator or another one.
"""

import numpy as np

from nncore import _checks, _memory, _random


def course(m, n, rng):
    """Draw W ~ N(0, 1/m) in exactly one draw; W0 = 0: the course library's rule."""
    W0 = np.zeros((n, 1))
    return rng.normal(0, m**-0.5, (m, n)), W0


def notes(m, n, rng):
    """Draw W ~ N(0, 1/m), so that the scale of Z is independent of m, then W0 ~ N(0, 1): the notes'
    rule.
    """
    W = rng.normal(0, m**-0.5, (m, n))
    return W, rng.normal(0, 1, (n, 1))


def he(m, n, rng):
    """Draw W ~ N(0, 2/m); W0 = 0: keeps the scale of activations through ReLU (He et al. 2015, eq.
    10).
    """
    return rng.normal(0, (2 / m) ** 0.5, (m, n)), np.zeros((n, 1))


def glorot(m, n, rng):
    """Draw W uniformly within ±√(6 / (m + n)); W0 = 0: balances the scales of activations and
    gradients (Glorot and Bengio 2010, eq. 16).
    """
    bound = (6 / (m + n)) ** 0.5
    return rng.uniform(-bound, bound, (m, n)), np.zeros((n, 1))


# "lecun" is the course's rule under the name of its source: LeCun et al. 1998, Efficient BackProp,
# eq. 16.
BY_NAME = {
    "course": course,
    "notes": notes,
    "he": he,
    "glorot": glorot,
    "xavier": glorot,
    "lecun": course,
}


def initial_weights(init, m, n, dtype, rng=None):
    """Return (W, W0) in dtype from a name or a callable (m, n) -> (W, W0)."""
    if callable(init):
        if rng is not None:
            raise TypeError(
                "rng must be None if init is a function, which draws by a generator of its own, "
                f"got {_checks.shown(rng)}"
            )
        drawn = init(m, n)
        if not isinstance(drawn, tuple) or len(drawn) != 2:
            raise TypeError(f"init must return a tuple (W, W0), got {type(drawn).__name__}")
        W, W0 = (
            _checks.as_real(name, x, dtype) for name, x in zip(("W", "W0"), drawn, strict=True)
        )
        _checks.shape("W", W, (m, n))
        _checks.shape("W0", W0, (n, 1))
        return _memory.aligned(np.array(W)), np.array(W0)
    rule = BY_NAME[_checks.choice("init", init, tuple(BY_NAME))]
    W, W0 = rule(m, n, _random.of_weights(rng))
    return _memory.aligned(W, dtype), W0.astype(dtype, copy=False)
