"""Match a foreign module with the library's Linear by its behaviour, and find its weights."""

from functools import partial

import numpy as np

from nncore import _checks, modules
from nncore.foreign import probe
from nncore.foreign.match import (
    RUNS,
    TOLERANCE,
    Place,
    Refused,
    biases,
    check_backward,
    check_forward,
    check_step,
    first_match,
    itself,
    notes_on,
    refuse_counting,
    run_steps,
    step_size,
    transposed,
    two_passes,
)


def _matrices(found, width):
    """Yield the places that may be W: (m, n), or (n, m), transposed."""
    for name, a in found.items():
        if a.ndim == 2 and a.size:
            for view in (itself, transposed):
                if width in (None, view(a).shape[0]):
                    yield Place(name, a, view)


def _pairs(found, width):
    """Yield the pairs of places that may be W and W0: separate arrays, or rows or
    columns of one.
    """
    for W in _matrices(found, width):
        for W0 in biases(found, W.share().shape[1]):
            if W0.array is not W.array:
                yield W, W0
    for name, a in found.items():
        if a.ndim != 2:
            continue
        for turn in (itself, transposed):
            if turn(a).shape[0] < 2 or width not in (None, turn(a).shape[0] - 1):
                continue
            yield (
                Place(name, a, lambda x, turn=turn: turn(x)[:-1]),
                Place(name, a, lambda x, turn=turn: turn(x)[-1:].T),
            )
            yield (
                Place(name, a, lambda x, turn=turn: turn(x)[1:]),
                Place(name, a, lambda x, turn=turn: turn(x)[:1].T),
            )


def linear_of(W, W0):
    """Return the library's Linear on these arrays, without drawing any; W0 None: without bias."""
    made = modules.Linear.__new__(modules.Linear)
    made._configure(W0 is not None)
    made.m, made.n = W.shape
    made.W, made.W0 = W, np.zeros((made.n, 1), W.dtype) if W0 is None else W0
    return made


def linear(foreign, width):
    """Return (Linear on the arrays of a foreign module with `width` inputs, its notes);
    or refuse.
    """
    found = probe.arrays(foreign)
    try:
        return first_match(
            [partial(_linear_on, foreign, W, W0) for W, W0 in _pairs(found, width)],
            "it holds no arrays of the shapes of W and W0",
        )
    except Refused as refused:
        matched = None
        if refused.stage <= Refused.FORWARD:
            matched = _without_bias(foreign, found, width)
        if matched is None:
            raise
        return matched


def _linear_on(foreign, W, W0):
    """Return (Linear on these places, its notes); or refuse."""
    if W.usable and W0.usable:
        return linear_of(W.share(), W0.share()), _compare_linear(foreign, W, W0)
    _refuse_fixed(foreign, W, W0)
    raise Refused(Refused.RAISES, f"{W.name} and {W0.name} are not its weights")


def _forward_agrees(foreign, W, W0):
    """Return whether the foreign forward is Wᵀ A + W0 with these values."""
    A = np.random.default_rng(2).normal(size=(W.shape[0], 2))
    (trace,) = probe.run_module(foreign, (A, None, None))
    tolerance = max(TOLERANCE[_checks.computing_dtype(W)], TOLERANCE[_checks.computing_dtype(W0)])
    W, W0 = np.asarray(W, np.float64), np.asarray(W0, np.float64)
    return (
        trace.error is None
        and probe.disagreement(trace.output, W.T @ A + W0, abs(W).T @ abs(A) + abs(W0)) <= tolerance
    )


def _refuse_fixed(foreign, W, W0):
    """Refuse weights that cannot be updated in place."""
    if not _forward_agrees(foreign, W.share(), W0.share()):
        return
    for place in (W, W0):
        if not place.array.flags.writeable:
            raise Refused(
                Refused.STEP,
                f"its forward is Linear's, but {place.name} is read-only and cannot be updated in "
                f"place",
            )
        if not place.usable:
            raise Refused(
                Refused.STEP,
                f"its forward is Linear's, but {place.name} is {place.array.dtype} and cannot be "
                f"updated in place; use {place.name}.astype(float)",
            )


def _without_bias(foreign, found, width):
    """Return (Linear without bias, its notes) for a module whose forward is Wᵀ A, None for others;
    refuse it if it has an array that may be the bias.
    """
    for W in _matrices(found, width):
        if not _forward_agrees(foreign, W.share(), np.zeros((W.share().shape[1], 1))):
            continue
        if not W.usable or any(biases(found, W.share().shape[1])):
            raise Refused(
                Refused.BACKWARD, f"its forward is Wᵀ A with {W.name} as W, but there is no bias W0"
            )
        return linear_of(W.share(), None), _compare_linear(foreign, W, None)
    return None


def _compare_linear(foreign, W, W0):
    """Return notes on a module that is Linear with these weights, W0 None if without bias; or
    refuse.

    The arrays are filled with random numbers first: if the outputs follow, the module reads these
    arrays.
    """
    rng = np.random.default_rng(3)
    dtype = W.array.dtype
    places = [place for place in (W, W0) if place is not None]
    tolerance = max(TOLERANCE[place.array.dtype] for place in places)
    lrate = step_size(foreign)
    if lrate is None:
        raise Refused(Refused.STEP, "it has neither sgd_step nor step")
    with probe.untouched(foreign):
        m, n = W.share().shape
        W.share()[...] = rng.normal(0, m**-0.5, (m, n))
        if W0 is not None:
            W0.share()[...] = rng.normal(size=(n, 1))
        everything, unsummed = [], False
        for samples, large in RUNS:
            twin = linear_of(*(p if p is None else p.share().copy() for p in (W, W0)))
            passes = two_passes(rng, m, n, samples, large, dtype, lrate)
            theirs, ours = probe.run_module(foreign, *passes), run_steps(twin, ("W", "W0"), passes)
            everything += theirs
            unsummed |= _compare_steps(theirs, ours, passes, places, tolerance, samples)
    refuse_counting(modules.Linear, everything)
    names = sorted(set().union(*(t.rebound for t in everything)) & {p.name for p in places})
    notes = (
        [
            f"your own step rebinds {' and '.join(names)}, so that after it the two networks no "
            f"longer share them"
        ]
        if names
        else []
    )
    if unsummed:
        notes.append(
            f"your gradient of {W0.name} is not summed over the batch, so yours trains on single "
            f"samples only; nncore's is summed"
        )
    return notes + notes_on(everything)


def _compare_steps(theirs, ours, passes, places, tolerance, samples):
    """Refuse if two passes differ from Linear's; return whether the bias gradient alone is not
    summed.
    """
    for i, (trace, (A, d, lrate)) in enumerate(zip(theirs, passes, strict=False)):
        twin, (w, w0), after = ours[i]
        check_forward(modules.Linear, trace, twin, abs(w).T @ abs(A) + abs(w0), False, tolerance)
        check_backward(modules.Linear, trace, twin, abs(w) @ abs(d), slice(None), False, tolerance)
        if samples > 1 and len(places) > 1 and _is_unsummed(trace, d, places[1]):
            return True
        scales = (
            abs(w) + lrate * abs(A) @ abs(d).T,
            abs(w0) + lrate * abs(d).sum(axis=1, keepdims=True),
        )
        before, after, scales = (x[: len(places)] for x in ((w, w0), after, scales))
        check_step(modules.Linear, trace, i, places, before, after, scales, tolerance, samples)
    return False


def _is_unsummed(trace, d, W0):
    """Return whether backward keeps dLdZ itself as the gradient of W0, and the step fails or gives
    W0 one column per sample.
    """
    kept = [
        name
        for name in trace.changed("backward")
        if np.array_equal(trace.held["backward"][name], d)
    ]
    if not kept:
        return False
    if trace.failed == "step":
        return isinstance(trace.error, ValueError)
    before, now = trace.held["backward"][W0.name], trace.held["step"].get(W0.name)
    return before.shape == (d.shape[0], 1) and np.shape(now) == d.shape
