"""Match a foreign module with a class of the library by its behaviour.

The module and a candidate run on the same random inputs: one sample and several, small and large
numbers, forward, backward and two steps. The module matches if all results agree up to rounding.
Differences that do not matter in training are noted and do not prevent a match: overflow on large
numbers, another derivative at a kink, a class_fun with other classes, or a bias gradient that is
not summed over the batch, so that the module trains on single samples only.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from nncore import _checks, registry
from nncore.foreign import probe

# Relative to the natural size of each array, such as |W|ᵀ |A| + |W0|.
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}
RUNS = ((1, False), (3, False), (6, True))  # (samples, large numbers)
LRATE = 0.1


class Refused(Exception):
    """Raised for no match; `stage` says how far the two agreed, so that the nearest candidate's
    reason is reported.
    """

    RAISES, FORWARD, LARGE, BACKWARD, STEP, REST = range(6)

    def __init__(self, stage, reason):
        super().__init__(reason)
        self.stage, self.reason = stage, reason


def first_match(attempts, otherwise=None):
    """Return the result of the first attempt that is not refused; else raise the Refused that got
    farthest, the first of equals.

    otherwise: the reason if there is no attempt, or if all raised exceptions.
    """
    refusals = [] if otherwise is None else [Refused(Refused.RAISES, otherwise)]
    for attempt in attempts:
        try:
            return attempt()
        except Refused as refused:
            refusals.append(refused)
    raise max(refusals, key=lambda refused: refused.stage)


# ------------------------------------------------------------------------------------------- inputs


def numbers(rng, shape, large, dtype=np.float64):
    """Return random numbers around 1 or, if large, of all sizes up to 1000.

    None lies between 600 and 800, at which e^z overflows only in a sum, or is too small to keep its
    digits.
    """
    if not large:
        return rng.normal(size=shape).astype(dtype)
    sizes = np.where(
        rng.random(shape) < 0.2,
        rng.uniform(800, 1000, shape),
        10 ** rng.uniform(-3, np.log10(600), shape),
    )
    return (sizes * rng.choice([-1, 1], size=shape)).astype(dtype)


def two_passes(rng, inputs, outputs, samples, large, dtype, lrate):
    """Return two passes (A, dLdOutput, lrate)."""
    passes = [
        (
            numbers(rng, (inputs, samples), large, dtype),
            numbers(rng, (outputs, samples), large, dtype),
            lrate,
        )
        for _ in range(2)
    ]
    for A, _, _ in passes if large else ():
        A[0, 0] = 0  # a derivative at exactly 0
    return passes


def step_size(foreign):
    """Return a learning rate if the module has a step, else None."""
    return LRATE if hasattr(foreign, "sgd_step") or hasattr(foreign, "step") else None


# ---------------------------------------------------------------------------------------- comparing


def check_calls(trace, kind):
    """Refuse a module whose call raised before its result could be compared."""
    if trace.error is not None:
        stage = {"forward": Refused.RAISES, "backward": Refused.BACKWARD, "step": Refused.STEP}[
            trace.failed
        ]
        raise Refused(
            stage, f"its {trace.failed} raises {type(trace.error).__name__}: {trace.error}"
        )
    if trace.drew:
        raise Refused(
            Refused.REST,
            f"it is {kind.__name__} but draws random numbers, which would change the draws of the "
            f"training",
        )


def check_forward(kind, theirs, ours, scale, large, tolerance):
    """Return the columns to compare further, without those that are finite in the library only; or
    refuse.
    """
    if theirs.failed == "forward":
        check_calls(theirs, kind)
    stage = Refused.LARGE if large else Refused.FORWARD
    if not _is_real(theirs.output, ours.output.shape):
        raise Refused(
            Refused.FORWARD,
            f"its forward gives {described(theirs.output)} instead of an array of shape "
            f"{ours.output.shape}",
        )
    columns = finite_columns(theirs.output, ours.output) if large else slice(None)
    scale = ours.output if scale is None else scale
    error = probe.disagreement(
        np.asarray(theirs.output)[:, columns], ours.output[:, columns], scale
    )
    if error > tolerance:
        raise Refused(
            stage,
            f"its forward is not {registry.MODULES[kind].formula}"
            + (f" for large numbers (off by {error:.2g})" if large else ""),
        )
    return columns


def check_backward(kind, theirs, ours, scale, columns, large, tolerance, but=None):
    """Return the columns to compare further, or refuse. but: entries that are not compared."""
    if theirs.failed == "backward":
        check_calls(theirs, kind)
    if not _is_real(theirs.gradient, ours.gradient.shape):
        raise Refused(
            Refused.BACKWARD,
            f"its forward is {kind.__name__}'s, but its backward gives "
            f"{described(theirs.gradient)} instead "
            f"of an array of shape {ours.gradient.shape}",
        )
    if large:
        columns = columns & finite_columns(theirs.gradient, ours.gradient)
    gradient = theirs.gradient if but is None else np.where(but, ours.gradient, theirs.gradient)
    error = probe.disagreement(np.asarray(gradient)[:, columns], ours.gradient[:, columns], scale)
    if error > tolerance:
        where = " for large numbers" if large else ""
        raise Refused(
            Refused.BACKWARD,
            f"its forward is {kind.__name__}'s, but its backward is not "
            f"{registry.MODULES[kind].derivative}{where} ({off_by(error)})",
        )
    return columns


def _is_real(x, shape):
    """Return whether x is a real array of that shape."""
    return isinstance(x, np.ndarray) and x.shape == shape and x.dtype.kind in "fiub"


def finite_columns(theirs, ours):
    """Return the columns to compare: all except those that are finite in the library only."""
    return np.isfinite(np.asarray(theirs, dtype=np.float64)).all(axis=0) | ~np.isfinite(ours).all(
        axis=0
    )


def off_by(error):
    """Describe an error of numbers of the right shape."""
    return (
        f"off by {error:.2g} of the largest entry"
        if np.isfinite(error)
        else "nan or infinity in its place"
    )


def described(x):
    """Return the shape of an array, or the type of another object."""
    return f"shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__


def refuse_counting(kind, traces):
    """Refuse a module whose step changes a number besides its weights: later steps may depend on
    it.
    """
    stepped = [trace.counted for trace in traces if "step" in trace.held]
    names = set.intersection(*stepped) if stepped else set()
    if names:
        raise Refused(
            Refused.REST,
            f"it is {kind.__name__}, but its step also changes {', '.join(sorted(names))}, on "
            f"which later steps "
            "may depend",
        )


def notes_on(traces):
    """Return notes on inputs that the foreign object overwrites."""
    overwritten = set().union(*(t.overwritten for t in traces))
    return [f"yours changes its {name} in place, nncore's does not" for name in sorted(overwritten)]


NOT_FINITE = "yours gives nan or infinity for large numbers, nncore's stays finite"

# -------------------------------------------------------------------------------------- activations


def activation(foreign, width):
    """Return (an activation, its notes) for a foreign module of `width` features (None if unknown);
    or refuse.
    """
    rng = np.random.default_rng(0)
    width = 3 if width is None else width
    runs = [
        two_passes(rng, width, width, samples, large, np.float64, step_size(foreign))
        for samples, large in RUNS
    ]
    traces = [probe.run_module(foreign, *passes) for passes in runs]

    def compared(kind, twin):
        notes = _compare_activation(
            kind, traces, [probe.run_module(twin, *passes) for passes in runs], runs
        )
        return twin, notes + class_fun_notes(foreign, twin, width)

    try:
        Z, A = _outputs(runs, traces)
        return first_match(
            [
                partial(compared, kind, twin)
                for kind, record in registry.ACTIVATIONS.items()
                for twin in _matching(record, Z, A)
            ]
        )
    except Refused as refused:
        if refused.stage == Refused.FORWARD:
            raise Refused(
                Refused.FORWARD, "its forward is none of the library's functions"
            ) from None
        raise


def _outputs(all_passes, all_traces):
    """Return (Z, A) of all passes whose forward succeeded, as vectors of equal length."""
    Z, A = [], []
    for passes, traces in zip(all_passes, all_traces, strict=True):
        for (given, *_), trace in zip(passes, traces, strict=False):
            if np.shape(trace.output) == given.shape:
                Z.append(np.ravel(given))
                A.append(np.ravel(np.asarray(trace.output, np.float64)))
    return (np.concatenate(Z), np.concatenate(A)) if Z else (np.empty(0), np.empty(0))


def _matching(record, Z, A):
    """Return objects of an activation's class that might compute A from Z."""
    with np.errstate(all="ignore"):
        return record.matching(Z, A)


def _compare_activation(kind, all_theirs, all_ours, runs):
    tolerance = TOLERANCE[np.dtype(np.float64)]
    find_kinks = registry.ACTIVATIONS[kind].kinks
    finite, notes = True, []
    for theirs, ours, passes, (_, large) in zip(all_theirs, all_ours, runs, RUNS, strict=True):
        # strict=False: the foreign module's trace ends at an exception
        for a, b, (A, d, _) in zip(theirs, ours, passes, strict=False):
            columns = check_forward(kind, a, b, None, large, tolerance)
            kinks = None if find_kinks is None else find_kinks(A)
            columns = check_backward(kind, a, b, d, columns, large, tolerance, kinks)
            notes += note_on_kinks(a.gradient, b.gradient, kinks, d, "0")
            check_calls(a, kind)
            finite = finite and not (large and not columns.all())
    everything = [t for traces in all_theirs for t in traces]
    refuse_counting(kind, everything)
    return ([] if finite else [NOT_FINITE]) + [*dict.fromkeys(notes)] + notes_on(everything)


def note_on_kinks(theirs, ours, kinks, unit, place):
    """Return [a note] if derivatives at a kink differ; unit: the factor of a derivative; place: of
    the kink.
    """
    if kinks is None or not np.any(differ := kinks & (np.asarray(theirs) != ours)):
        return []
    slopes = [float(x[differ][0] / unit[differ][0]) + 0.0 for x in (np.asarray(theirs), ours)]
    return [f"your derivative at exactly {place} is {slopes[0]:.3g}, nncore's {slopes[1]:.3g}"]


def class_fun_notes(foreign, twin, width):
    """Return notes on class_fun, if the library's module has one: whether it gives the same
    classes. Training does not use it.
    """
    if not hasattr(twin, "class_fun"):
        return []
    if not hasattr(foreign, "class_fun"):
        return ["yours has no class_fun, nncore's has"]
    rng = np.random.default_rng(1)
    P = rng.random((width, 50))
    ours, instead = (
        twin.class_fun(P),
        f"predictions of the new network use nncore's, {registry.ACTIVATIONS[type(twin)].classes}",
    )
    try:
        with probe.untouched(foreign):
            foreign.forward(rng.normal(size=P.shape))  # class_fun may use what forward has kept
            theirs = np.array(foreign.class_fun(P.copy()))
    except Exception as error:
        return [f"your class_fun raises {type(error).__name__}: {error}; {instead}"]
    if theirs.size != ours.size or not np.array_equal(theirs.ravel(), ours.ravel()):
        return [f"your class_fun gives other classes; {instead}"]
    return (
        [f"your class_fun gives shape {theirs.shape}, nncore's {ours.shape}"]
        if theirs.shape != ours.shape
        else []
    )


# --------------------------------------------------------------------------- weights and their step


@dataclass
class Place:
    """The location of a weight: its array's name, the array, and the view of it that is W (m, n) or
    W0 (n, 1).
    """

    name: str
    array: np.ndarray
    view: object

    def share(self):
        """Return the weight as the library's Linear takes it: the array itself, or a view of its
        memory.
        """
        a = self.array if type(self.array) is np.ndarray else np.asarray(self.array)
        return self.view(a)

    @property
    def usable(self):
        """Whether the library can train the array in place."""
        return (
            self.array.dtype in _checks.COMPUTING
            and self.array.dtype.isnative
            and self.array.flags.writeable
        )


def itself(a):
    """Return the array."""
    return a


def transposed(a):
    """Return the transpose."""
    return a.T


def _column(a):
    return a[:, None]


def biases(found, n):
    """Yield the places that may be W0: (n, 1), (n,) or (1, n)."""
    for name, a in found.items():
        if a.shape == (n, 1):
            yield Place(name, a, itself)
        elif a.shape == (n,):
            yield Place(name, a, _column)
        elif a.shape == (1, n):
            yield Place(name, a, transposed)


def run_steps(twin, names, passes):
    """Return [(trace, weights of these names before, after)] of the library's module, with a step
    in each pass.
    """
    steps = []
    for A, d, lrate in passes:
        before = [getattr(twin, name).copy() for name in names]
        (trace,) = probe.run_module(twin, (A, d, None))
        twin.forward(A)
        twin.backward(d)
        twin.step(lrate)
        steps.append((trace, before, [getattr(twin, name).copy() for name in names]))
    return steps


def check_step(kind, trace, i, places, before, after, scales, tolerance, samples):
    """Refuse if the step of pass i takes the weights at these places from `before` to other values
    than `after`.
    """
    check_calls(trace, kind)
    for place, was, wanted, scale in zip(places, before, after, scales, strict=True):
        got = _after_step(trace, place)
        if probe.disagreement(got, wanted, scale) > tolerance:
            raise Refused(
                Refused.STEP,
                _about_step(
                    kind, trace, place, {p.name for p in places}, i, got, was, wanted, samples
                ),
            )


def _after_step(trace, place):
    now = trace.held["step"].get(place.name)
    return place.view(now) if now is not None and now.ndim == place.array.ndim else now


def _about_step(kind, trace, place, weights, i, got, before, wanted, samples):
    """Describe a wrong step in a sentence."""
    agree = f"its forward and backward are {kind.__name__}'s, but its"
    others = sorted(trace.changed("step") - weights)
    kept = f"; it keeps {', '.join(others)} from step to step, as momentum does" if others else ""
    if got is None or np.shape(got) != wanted.shape:
        return f"{agree} step leaves {place.name} as {described(got)}"
    if np.array_equal(got, before):
        return f"{agree} step leaves {place.name} unchanged"
    ratio = float(
        np.vdot(got - before, wanted - before) / np.vdot(wanted - before, wanted - before)
    )
    proportional = probe.disagreement(got - before, ratio * (wanted - before)) < 1e-6
    if i > 0:
        return f"{agree} second step is not {place.name} − lrate dL/d{place.name}{kept}"
    if proportional and samples > 1 and abs(ratio * samples - 1) < 1e-6:
        return (
            f"{agree} step averages the gradient of {place.name} over the batch instead of "
            f"summing it"
        )
    times = f" but {ratio:.3g} times that step" if proportional else ""
    return f"{agree} step is not {place.name} − lrate dL/d{place.name}{times}{kept}"
