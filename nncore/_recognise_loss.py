"""Tell by its behaviour which loss of the library a foreign one is, alone or together with the output module before it."""

import numpy as np

from nncore import _probe, losses, modules
from nncore._recognise import (
    NOT_FINITE,
    RUNS,
    TOLERANCE,
    Refused,
    check_calls,
    class_fun_notes,
    described,
    finite_columns,
    notes_on,
    numbers,
    off_by,
)

VANISHED = 1e-9  # a probability below it may be bounded by a loss


def _probabilities(rng, shape, large):
    return modules.SoftMax().forward(numbers(rng, shape, large))


def _one_hot(rng, shape):
    return np.eye(shape[0])[:, rng.integers(shape[0], size=shape[1])]


def _nll_data(rng, shape, large, likely):
    P = _probabilities(rng, shape, large)
    return P, np.eye(shape[0])[:, P.argmax(axis=0)] if likely else _one_hot(rng, shape)


def _binary_data(rng, shape, large, likely):
    P = modules.Sigmoid().forward(numbers(rng, shape, large))
    return P, np.rint(P) if likely else rng.integers(2, size=shape).astype(np.float64)


def _squared_data(rng, shape, large, likely):
    return numbers(rng, shape, large), numbers(rng, shape, large)


def _hinge_data(rng, shape, large, likely):
    Y = rng.choice([-1.0, 1.0], size=shape)
    A = numbers(rng, shape, large)
    if shape[1] > 1:
        A[:, 0] = Y[:, 0]  # a margin of exactly 1
    return A, Y


DATA = {"NLL": _nll_data, "BinaryNLL": _binary_data, "Squared": _squared_data, "Hinge": _hinge_data}


def loss(foreign, width):
    """(the library's loss, its notes) for a foreign loss of `width` outputs (None: not known); Refused says why not."""
    nearest = None
    for name, data in DATA.items():
        kind = getattr(losses, name, None)
        if kind is None or name == "NLL" and width == 1:  # of one class, every loss of probabilities is 0
            continue
        try:
            return kind(), _compare_loss(kind, foreign, data, 3 if width is None else width)
        except Refused as refused:
            if nearest is None or refused.stage > nearest.stage:
                nearest = refused
    if nearest.stage == Refused.FORWARD:
        raise Refused(Refused.FORWARD, "its value is none of the library's losses")
    raise nearest


def _compare_loss(kind, foreign, data, width):
    rng = np.random.default_rng(4)
    # the likely labels have a finite value also where probabilities vanish; the others show whether it is bounded there
    runs = [([data(rng, (width, samples), large, likely) for likely in (False, large)], large) for samples, large in RUNS]
    notes, everything = [], []
    for pairs, large in runs:
        theirs, ours = _probe.run_loss(foreign, *pairs), _probe.run_loss(kind(), *pairs)
        everything += theirs
        for a, b, (P, Y) in zip(theirs, ours, pairs, strict=False):
            notes += _compare_value(kind, a, b.output, P, Y, large)
            if a.failed == "backward":
                check_calls(a, kind)
            error = _probe.disagreement(a.gradient, b.gradient, np.maximum(abs(P), abs(Y)))
            if error > TOLERANCE[np.dtype(np.float64)]:
                raise Refused(Refused.BACKWARD, f"its value is {kind.__name__}'s, but its backward is not dL/dZ as nncore's "
                                                f"({off_by(error)} of the largest entry)")
            check_calls(a, kind)
    return [*dict.fromkeys(notes + notes_on(everything))]


def _compare_value(kind, trace, wanted, P, Y, large):
    """Notes on the value of a loss; Refused where it is another one."""
    if trace.failed == "forward":
        check_calls(trace, kind)
    try:
        value = np.asarray(trace.output, dtype=np.float64)
    except (TypeError, ValueError):
        raise Refused(Refused.RAISES, f"its forward gives {described(trace.output)} instead of a number") from None
    total = float(value.sum())
    if _probe.disagreement(total, wanted) <= TOLERANCE[np.dtype(np.float64)]:
        return ["yours gives one value a sample, nncore's their sum"] if value.size > 1 else []
    if large and not np.isfinite(total):
        return [NOT_FINITE] if np.isfinite(wanted) else []
    if large and kind in (losses.NLL, losses.BinaryNLL) and np.isfinite(total) and _vanishes(P, Y):
        return ["yours bounds the logarithm where a probability vanishes, nncore's does not"]
    samples = P.shape[1]
    if np.isfinite(wanted) and samples > 1 and _probe.disagreement(total * samples, wanted) < 1e-9:
        raise Refused(Refused.LARGE, f"its value is {kind.__name__}'s averaged over the batch instead of added up")
    raise Refused(Refused.LARGE if large else Refused.FORWARD, f"its value is not {kind.__name__}'s for large numbers or vanishing "
                                                               "probabilities" if large else f"its value is not {kind.__name__}'s")


def _vanishes(P, Y):
    return bool((np.where(Y > 0, P, 1) < VANISHED).any() or (np.where(Y < 1, 1 - P, 1) < VANISHED).any())


# ---------------------------------------------------------------------------------------------- output and loss together


def output_and_loss(last, foreign, width):
    """((the library's output, notes), (the library's loss, notes)) where only the two together are the library's; or Refused.

    So it is where the loss hands back ∂L/∂A, and the output multiplies by ∂A/∂Z.
    """
    nearest = Refused(Refused.RAISES, "they are no pair of the library's")
    for output, kind, data in ((modules.SoftMax, losses.NLL, _nll_data), (modules.OutputSigmoid, losses.BinaryNLL, _binary_data)):
        try:
            notes = _compare_pair(last, foreign, output, kind, data, 3 if width is None else width)
            together = f"taken together with the loss: its backward alone is not {output.__name__}'s, but the two give the same dL/dZ"
            return ((output(), [together, *notes, *class_fun_notes(last, output(), 3 if width is None else width)]),
                    (kind(), ["taken together with the last module, which makes dL/dZ of its backward"]))
        except Refused as refused:
            if refused.stage > nearest.stage:
                nearest = refused
    raise nearest


def _compare_pair(last, foreign, output, kind, data, width):
    rng = np.random.default_rng(5)
    tolerance = 100 * TOLERANCE[np.dtype(np.float64)]  # dividing by a probability and multiplying by it again costs digits
    finite = True
    for samples, large in RUNS:
        Z, Y = numbers(rng, (width, samples), large), data(rng, (width, samples), False, False)[1]
        ours = output().forward(Z)
        value = kind().forward(ours, Y)
        with _probe.untouched(last, foreign):
            try:
                P = np.array(last.forward(Z.copy()))
                theirs = foreign.forward(P.copy(), Y.copy())
                gradient = np.array(last.backward(foreign.backward()))
            except Exception as error:
                raise Refused(Refused.RAISES, f"they raise {type(error).__name__}: {error}") from None
        if P.shape != Z.shape or gradient.shape != Z.shape:
            raise Refused(Refused.FORWARD, "they give arrays of other shapes")
        columns = finite_columns(P, ours) & finite_columns(gradient, Z) if large else np.full(samples, True)
        finite = finite and columns.all()
        if _probe.disagreement(P[:, columns], ours[:, columns], np.ones(1)) > tolerance:
            raise Refused(Refused.FORWARD, f"the output is not {output.__name__}")
        if not large and _probe.disagreement(float(np.sum(theirs)), value) > tolerance:
            raise Refused(Refused.FORWARD, f"the value is not {kind.__name__}'s")
        if _probe.disagreement(gradient[:, columns], (ours - Y)[:, columns], np.ones(1)) > tolerance:
            raise Refused(Refused.BACKWARD, "the gradient of the logits is not Ypred − Y")
    return [] if finite else [NOT_FINITE]
