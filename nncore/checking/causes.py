"""Find the known mistake that explains wrong numbers.

`likely_cause` looks for the first formula that agrees with a module's results on every probe, so
that it names a cause only if its numbers are exactly the module's.
"""

import numpy as np

from nncore.checking.mistakes import TABLES

__all__ = ["TOLERANCE", "likely_cause", "same"]

# Relative to the largest entry. Mistakes are far larger; 1e-8 added against division by 0 is not.
TOLERANCE = 1e-6

# Mistakes that any quantity may have: t is what it must be, q what it was on the probe before, s
# the sum of all before.
_ANYWHERE = [
    (lambda t, p, q, s: -t, "wrong sign"),
    (lambda t, p, q, s: t / p.b, "averaged over the batch (divided by it): it must be summed"),
    (lambda t, p, q, s: t * p.b, "multiplied by the batch size"),
    (lambda t, p, q, s: t.T, "transposed: samples are columns"),
    (lambda t, p, q, s: np.zeros_like(t), "all zeros: nothing is computed yet?"),
    (lambda t, p, q, s: np.ones_like(t), "all ones: nothing is computed yet?"),
    (
        lambda t, p, q, s: q,
        "it belongs to the batch before: what forward keeps for backward is not renewed",
    ),
    (
        lambda t, p, q, s: t + s,
        "it is added to those of the batches before: every backward must start from zero",
    ),
]


def same(x, y, tolerance=TOLERANCE):
    """Return whether two arrays have the same shape and agree to `tolerance` of the
    largest entry.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or x.dtype.kind not in "fiub" or y.dtype.kind not in "fiub":
        return False
    if not x.size:
        return True
    x, y = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(all="ignore"):
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return bool(np.array_equal(x, y, equal_nan=True))
        return bool(
            np.max(np.abs(x - y)) <= tolerance * max(1e-3, np.max(np.abs(x)), np.max(np.abs(y)))
        )


def likely_cause(what, probes, given, wanted, tolerance=TOLERANCE):
    """Return the words of the first mistake that explains the results on all probes, or "".

    what: a key of TABLES, or another name, for which only the general mistakes are tried. given and
    wanted have one array per probe.
    """
    for formula, words in TABLES.get(what, ()):
        if _fits(lambda i, f=formula: f(probes[i]), given, wanted, tolerance):
            return words
    wanted = [np.asarray(w) for w in wanted]
    for formula, words in _ANYWHERE:
        if _fits(
            lambda i, f=formula: f(wanted[i], probes[i], *_before(wanted, i)),
            given,
            wanted,
            tolerance,
        ):
            return words
    return (
        _by_shape(given, wanted, tolerance)
        or _by_factor(given, wanted, tolerance)
        or _by_batch(probes, given, wanted, tolerance)
    )


def _before(wanted, i):
    """Return the array wanted on the previous probe, and the sum over all previous ones; (None,
    None) if their shapes differ.
    """
    if not i or any(w.shape != wanted[i].shape for w in wanted[:i]):
        return None, None
    return wanted[i - 1], sum(wanted[:i])


def _fits(formula, given, wanted, tolerance):
    """Return whether the formula produces the given result on every probe.

    A probe on which the formula cannot be computed (because of its shapes, or as the first one)
    must have the right result.
    """
    for i, (g, w) in enumerate(zip(given, wanted, strict=True)):
        try:
            with np.errstate(all="ignore"):
                candidate = formula(i)
        except (ValueError, TypeError, AttributeError):
            candidate = w
        if not same(g, candidate, tolerance):
            return False
    return True


def _by_shape(given, wanted, tolerance):
    """Recognise the right numbers in another shape."""
    pairs = [(np.asarray(g), np.asarray(w)) for g, w in zip(given, wanted, strict=True)]
    if all(
        g.size == w.size and g.dtype.kind in "fiub" and same(g.ravel(), w.ravel(), tolerance)
        for g, w in pairs
    ):
        return (
            "the numbers are right, the shape is not: reshape it, or keep the axis with "
            "keepdims=True"
        )
    return ""


def _by_factor(given, wanted, tolerance):
    """Recognise the same multiple of the right numbers on every probe."""
    factors = []
    for g, w in zip(given, wanted, strict=True):
        g, w = np.asarray(g), np.asarray(w)
        if (
            g.shape != w.shape
            or not g.size
            or g.dtype.kind not in "fiub"
            or not np.max(np.abs(w)) > 0
        ):
            return ""
        factor = float(np.vdot(w, g) / np.vdot(w, w))
        if not np.isfinite(factor) or not same(g, factor * w, tolerance):
            return ""
        factors.append(factor)
    if factors and np.ptp(factors) <= 1e-6 * abs(factors[0]):
        return f"it is {factors[0]:.4g} times what it must be"
    return ""


def _by_batch(probes, given, wanted, tolerance):
    """Recognise results that are right for one sample only, or on the first batch only."""
    right = [same(g, w, tolerance) for g, w in zip(given, wanted, strict=True)]
    if right[0] and not any(right[1:]):
        return (
            "right the first time, wrong afterwards: something that is kept from an "
            "earlier batch is not renewed"
        )
    if (
        any(right)
        and not all(right)
        and all(r == (p.b == 1) for r, p in zip(right, probes, strict=True))
    ):
        return "right for one sample, wrong for a batch of several"
    return ""
