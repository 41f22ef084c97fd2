"""Arrays in the computing type, and results in out=, for the NumPy kernels."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from nncore import _checks
from nncore._types import Array

__all__ = [
    "deliver",
    "matrices",
    "quiet",
]


def matrices(name: str, x: Any, dtype: Any, wanted: Any) -> Array:
    a = _checks.as_real(name, x, dtype)
    _checks.shape(name, a, wanted)
    return a


def deliver(result, dtype, out, overwritten, *others):
    """Return result in the computing type, in out if given; out may be the array that an
    elementwise kernel overwrites.
    """
    result = np.asarray(result, dtype=dtype)
    if out is None:
        return result
    _checks.out("out", out, result.shape, dtype)
    if overwritten is not None and not same_memory(out, overwritten):
        others = (overwritten, *others)
    _checks.no_overlap("out", out, *(x for x in others if isinstance(x, np.ndarray)))
    np.copyto(out, result)
    return out


def same_memory(a, b):
    return (
        isinstance(b, np.ndarray)
        and a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    )


# infinities and NaN propagate; the layer API reports them
quiet = functools.partial(np.errstate, all="ignore")
