"""Match a foreign module with the library's BatchNorm (statistics of the batch) by its
behaviour.
"""

from functools import partial

import numpy as np

from nncore import modules
from nncore.foreign import probe
from nncore.foreign.match import (
    LRATE,
    RUNS,
    TOLERANCE,
    Refused,
    biases,
    check_backward,
    check_forward,
    check_step,
    first_match,
    notes_on,
    refuse_counting,
    run_steps,
    step_size,
    two_passes,
)

# Of the inputs that show eps: small compared with the root of any in use but the course's 1e-20.
SPREAD = 1e-6
# Usual values of eps, tried if no attribute holds it.
EPS = (1e-20, 0.0, 1e-5, 1e-8, 1e-3, 1e-6, 1e-7, 1e-10, 1e-12, 1e-16)


def batchnorm(foreign, width):
    """Return (BatchNorm on the arrays of a foreign module of `width` features (None if unknown),
    its notes); or refuse.
    """
    found = probe.arrays(foreign)
    sizes = list(dict.fromkeys(a.size for a in found.values())) if width is None else [width]
    pairs = [
        (G, B)
        for n in sizes
        for G in biases(found, n)
        for B in biases(found, n)
        if G.array is not B.array and G.usable and B.usable
    ]
    return first_match(
        [partial(_batchnorm_on, foreign, G, B) for G, B in pairs],
        "it holds no arrays of the shapes of G and B",
    )


def batchnorm_of(G, B, eps):
    """Return the library's BatchNorm on these arrays, without drawing any."""
    made = modules.BatchNorm.__new__(modules.BatchNorm)
    made.m, made.eps, made.statistics, made.momentum = G.shape[0], eps, "batch", 0.1
    made.G, made.B = G, B
    return made


def _batchnorm_on(foreign, G, B):
    """Return (BatchNorm on these places, its notes); or refuse."""
    if step_size(foreign) is None:
        raise Refused(Refused.STEP, "it has neither sgd_step nor step")
    with probe.untouched(foreign):
        eps = _eps(foreign, G, B)
        notes = _compare(foreign, G, B, eps)
        _refuse_memory(foreign, G, B)
    return batchnorm_of(G.share(), B.share(), eps), notes


def _eps(foreign, G, B):
    """Return the eps nearest to the estimate from outputs for inputs of little spread, among the
    module's floats and the usual values.
    """
    G.share()[...], B.share()[...] = 1, 0
    A = SPREAD * np.where(np.arange(4) % 2, 1.0, -1.0) + np.zeros((G.share().shape[0], 1))
    (trace,) = probe.run_module(foreign, (A, None, None))
    # the output is between 0 and that for any eps
    check_forward(modules.BatchNorm, trace, probe.Trace(np.sign(A)), np.ones(A.shape), False, 1.0)
    estimate = (SPREAD / np.max(np.abs(trace.output))) ** 2 - SPREAD**2
    held = [
        x for x in getattr(foreign, "__dict__", {}).values() if isinstance(x, float) and 0 <= x < 1
    ]
    return min((*held, *EPS), key=lambda eps: abs(eps - estimate))


def _compare(foreign, G, B, eps):
    """Return notes on a module that is BatchNorm with these weights; or refuse."""
    rng = np.random.default_rng(7)
    dtype, n = G.array.dtype, G.share().shape[0]
    tolerance = max(TOLERANCE[dtype], TOLERANCE[B.array.dtype])
    everything = []
    for samples, large in RUNS:
        G.share()[...], B.share()[...] = rng.normal(size=(n, 1)), rng.normal(size=(n, 1))
        twin = batchnorm_of(G.share().copy(), B.share().copy(), eps)
        passes = two_passes(rng, n, n, samples, large, dtype, LRATE)
        theirs, ours = probe.run_module(foreign, *passes), run_steps(twin, ("G", "B"), passes)
        everything += theirs
        for i, (trace, (A, d, lrate)) in enumerate(zip(theirs, passes, strict=False)):
            wanted, (g, b), after = ours[i]
            largest = np.sqrt(samples)  # no entry is farther from the mean, in standard deviations
            slope = abs(g * d) / np.sqrt(A.var(axis=1, keepdims=True) + eps)
            check_forward(
                modules.BatchNorm, trace, wanted, abs(g) * largest + abs(b), False, tolerance
            )
            check_backward(modules.BatchNorm, trace, wanted, slope, slice(None), False, tolerance)
            summed = abs(d).sum(axis=1, keepdims=True)
            scales = abs(g) + lrate * largest * summed, abs(b) + lrate * summed
            check_step(
                modules.BatchNorm, trace, i, (G, B), (g, b), after, scales, tolerance, samples
            )
    refuse_counting(modules.BatchNorm, everything)
    return notes_on(everything)


def _refuse_memory(foreign, G, B):
    """Refuse a module whose arrays change if a batch is repeated: running statistics, which may be
    used for prediction.
    """
    A = np.random.default_rng(8).normal(size=(G.share().shape[0], 3))
    _, again = probe.run_module(foreign, (A, None, None), (A, None, None))
    kept = sorted(again.changed("forward"))
    if kept:
        raise Refused(
            Refused.REST,
            f"it trains as BatchNorm, but keeps {', '.join(kept)} from batch to batch, as running "
            f"statistics; "
            "nncore.BatchNorm(statistics='running') could replace it",
        )
