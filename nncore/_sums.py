"""Sums whose rounding error does not grow with the number of terms."""

import numpy as np

from nncore import _checks, _core


@_checks.quiet
def pairwise(x, axis=0, keepdims=False):
    """Sum along an axis in float64 by halves: n terms lose at most about log2(n) / 2 units in the
    last place.

    The order of the additions does not depend on the memory layout, unlike that of NumPy's own sum.
    Complex numbers stay complex.

    >>> float(pairwise(np.full(10**6, np.float32(0.1))))
    100000.00149011612
    """
    x = np.asarray(x)
    terms = x.astype(np.result_type(x, np.float64), copy=False).swapaxes(0, axis)
    if not len(terms):
        terms = np.zeros((1, *terms.shape[1:]), terms.dtype)
    while len(terms) > 1:
        half = len(terms) // 2
        odd = terms[2 * half :]
        terms = terms[:half] + terms[half : 2 * half]
        if len(odd):
            terms[0] += odd[0]
    total = terms.swapaxes(0, axis).copy()  # no view of x
    return total if keepdims else total.squeeze(axis)


def total(x):
    """Return the pairwise sum of a vector as a float."""
    value = _core.sum_pairwise(x)
    return float(pairwise(x)) if value is None else value
