"""Gradient clipping: bounds on the entries, or on the norm, of a step's gradient."""

from typing import NamedTuple

import numpy as np

from nncore import _checks, _core, _sums

EPS = _core.CLIPPING_EPS  # added to the norm, as PyTorch does


class Clipping(NamedTuple):
    """The bounds of every entry and of the norm; infinity for none."""

    value: float
    norm: float


def checked(clip_value, clip_norm):
    """Return a Clipping, or None if neither bound is given; refuse both at once."""
    if clip_value is None and clip_norm is None:
        return None
    if clip_value is not None and clip_norm is not None:
        raise ValueError(
            "clip_value and clip_norm must not both be given, got "
            f"clip_value={_checks.shown(clip_value)} and clip_norm={_checks.shown(clip_norm)}"
        )
    return Clipping(_bound("clip_value", clip_value), _bound("clip_norm", clip_norm))


def _bound(name, x):
    if x is None:
        return np.inf
    value = _checks.number(name, x)
    if not 0 < value < np.inf:
        raise ValueError(f"{name} must be finite and above 0, got {x}")
    return value


@_checks.quiet
def clipped(gradients, clipping):
    """Return the gradients of all weights, clipped.

    By value g is bounded to [−value, value]. By norm all are multiplied by min(1, norm / (‖g‖ +
    EPS)), where ‖g‖ is the norm of all of them together; a non-finite one gives NaN.
    """
    if clipping.value < np.inf:
        gradients = [np.clip(g, -g.dtype.type(clipping.value), clipping.value) for g in gradients]
    if clipping.norm < np.inf:
        squares = [_sums.pairwise(np.square(g, dtype=np.float64).ravel()) for g in gradients]
        size = np.sqrt(sum(squares))
        factor = min(1.0, clipping.norm / (size + EPS)) if np.isfinite(size) else np.nan
        gradients = [g * g.dtype.type(factor) for g in gradients]
    return gradients
