"""Match a foreign loss with a loss of the library by its behaviour, alone or with its output
module.
"""

from functools import partial

import numpy as np

from nncore import losses, modules, registry
from nncore.foreign import probe
from nncore.foreign.match import (
    NOT_FINITE,
    RUNS,
    TOLERANCE,
    Refused,
    check_calls,
    class_fun_notes,
    described,
    finite_columns,
    first_match,
    note_on_kinks,
    notes_on,
    numbers,
    off_by,
)

# Small numbers that losses add to a logarithm's argument.
ADDED = (
    *(10.0**-k for k in (*range(5, 41), *range(50, 301, 10), 307, 308)),
    *(float(np.finfo(t).eps) for t in (np.float32, np.float64)),
    *(float(np.finfo(t).tiny) for t in (np.float32, np.float64)),
    float(np.finfo(np.float64).smallest_subnormal),
)
BOUND = 1e-6  # a loss may bound the logarithm of probabilities nearer to 0 or 1
OF_PROBABILITIES = tuple(cls for cls, loss in registry.LOSSES.items() if loss.of_probabilities)
UNDERFLOW = 1e-300  # quotients by smaller probabilities need not be finite


# Inputs of a loss, and (Ypred, Y) made of them for each loss. The loss of likely labels is finite
# even if probabilities vanish; they come with probabilities near 1. For large logits the other
# labels are the unlikeliest, which shows whether a loss bounds the logarithm.


def _logits(rng, shape, large, likely):
    return numbers(rng, shape, large) * (10 if likely and not large else 1)


def _nll_data(Z, rng, large, likely):
    P = modules.SoftMax().forward(Z)
    labels = (
        P.argmax(axis=0)
        if likely
        else P.argmin(axis=0)
        if large
        else rng.integers(Z.shape[0], size=Z.shape[1])
    )
    return P, np.eye(Z.shape[0])[:, labels]


def _binary_data(Z, rng, large, likely):
    P = modules.OutputSigmoid().forward(Z)
    return P, np.rint(P) if likely else 1 - np.rint(P) if large else rng.integers(
        2, size=Z.shape
    ).astype(np.float64)


def _squared_data(Z, rng, large, likely):
    return Z, numbers(rng, Z.shape, large)


def _hinge_data(Z, rng, large, likely):
    Y = rng.choice([-1.0, 1.0], size=Z.shape)
    if large:
        Z[:, 0] = Y[:, 0]  # a margin of exactly 1
    return Z, Y


_DATA_OF_LABELS = {
    "classes": _nll_data,
    "binary": _binary_data,
    "numbers": _squared_data,
    "signs": _hinge_data,
}
DATA = {cls.__name__: _DATA_OF_LABELS[loss.labels] for cls, loss in registry.LOSSES.items()}


def loss(foreign, width):
    """Return (the library's loss, its notes, Guard or None) for a foreign loss of `width` outputs
    (None if unknown); or refuse.
    """
    width = 3 if width is None else width

    def compared(name):
        kind = getattr(losses, name)
        notes, guard = _compare_loss(kind, foreign, DATA[name], width)
        return *_with_weights(kind(), notes, width, partial(_loss_gradient, foreign)), guard

    try:
        # NLL of a single class is always 0
        return first_match([partial(compared, name) for name in DATA if name != "NLL" or width > 1])
    except Refused as refused:
        if refused.stage == Refused.FORWARD:
            raise Refused(Refused.FORWARD, "its value is none of the library's losses") from None
        raise


def _compare_loss(kind, foreign, data, width):
    rng = np.random.default_rng(4)
    runs = [
        (
            [
                data(_logits(rng, (width, samples), large, likely), rng, large, likely)
                for likely in (False, True)
            ],
            large,
        )
        for samples, large in RUNS
    ]
    notes, everything, gradients = [], [], []
    for pairs, large in runs:
        theirs, ours = probe.run_loss(foreign, *pairs), probe.run_loss(kind(), *pairs)
        if len(theirs) < len(pairs):  # the first has raised: run the second by itself
            theirs += probe.run_loss(foreign, *pairs[len(theirs) :])
        everything += theirs
        for a, b, (P, Y), likely in zip(theirs, ours, pairs, (False, True), strict=False):
            if (
                a.error is not None
                and kind in OF_PROBABILITIES
                and (_least(kind, P) < UNDERFLOW).any()
            ):
                notes.append(
                    f"yours raises {type(a.error).__name__} if a probability is 0, nncore's "
                    f"does not"
                )
                continue
            notes += _compare_value(kind, a, b.output, P, Y, large or likely)
            check_calls(a, kind)
            gradients.append((P, Y, a.gradient, b.gradient))
    tolerance = TOLERANCE[np.dtype(np.float64)]
    on_gradients, guard = _compare_gradients(
        kind,
        gradients,
        tolerance,
        f"its value is {kind.__name__}'s, but its backward is not dL/dZ as nncore's",
    )
    return [*dict.fromkeys(notes + on_gradients + notes_on(everything))], guard


def _with_weights(loss, notes, width, gradient):
    """Return (loss, notes); for labels that do not sum to 1, the NLL computes the same as the
    foreign loss.

    gradient(Z, P, Y): the foreign dL/dZ. The course's programs return Ypred − Y for any labels;
    those that differentiate the loss return (Σ y) Ypred − Y.
    """
    if not isinstance(loss, losses.NLL):
        return loss, notes
    rng = np.random.default_rng(7)
    Z, Y = rng.normal(size=(width, 4)), rng.integers(1, 4, size=(width, 4)) * 1.0
    P = modules.SoftMax().forward(Z)
    try:
        theirs = gradient(Z, P, Y)
    except Refused:
        return loss, notes  # it does not train on such labels
    tolerance = 100 * TOLERANCE[np.dtype(np.float64)]
    if probe.disagreement(theirs, Y.sum(axis=0) * P - Y, Y) <= tolerance:
        return loss, notes
    loss._plain = True
    if probe.disagreement(theirs, P - Y, Y) <= tolerance:
        return loss, notes
    return loss, [
        *notes,
        "if the labels of a sample do not sum to 1, dL/dZ is Ypred − Y here, yours is not",
    ]


def _loss_gradient(foreign, Z, P, Y):
    trace = probe.run_loss(foreign, (P, Y))[0]
    if trace.error is not None or np.shape(trace.gradient) != P.shape:
        raise Refused(Refused.RAISES, "it does not accept such labels")
    return trace.gradient


def _pair_gradient(last, foreign, Z, P, Y):
    return _run_pair(last, foreign, Z, Y)[2]


def _least(kind, P):
    """Return the smallest probability that each sample's loss may divide by: a row (1, b); for
    BinaryNLL that of each label, (n, b).
    """
    return np.min(P, axis=0, keepdims=True) if kind is losses.NLL else np.minimum(P, 1 - P)


# dL/dZ of losses that guard against division by 0: p is the probability of the label, a the small
# number.
GUARDED = (
    (
        lambda P, Y, p, a: (P - Y) * (p / (p + a)),
        "yours keeps its divisor away from 0, by {:.2g}",
    ),
    (
        lambda P, Y, p, a: (P - Y) * (p / np.maximum(p, a)),
        "yours keeps its divisor away from 0, by {:.2g}",
    ),
    (
        lambda P, Y, p, a: np.clip(P, a, 1 - a) - Y,
        "your dL/dZ clips probabilities to at least {:.2g} from 0 and 1",
    ),
    (lambda P, Y, p, a: np.maximum(P, a) - Y, "your dL/dZ clips probabilities below {:.2g}"),
    (lambda P, Y, p, a: P + a - Y, "your dL/dZ adds {:.2g} to a probability"),
)


class Guard:
    """The library's loss with a foreign loss's guard in its gradient, for training next to the
    foreign one.
    """

    def __init__(self, kind, formula, small):
        self.kind, self.formula, self.small = kind, formula, small

    def gradient(self, P, Y):
        """Return dL/dZ by a formula of GUARDED."""
        nll = self.kind is losses.NLL
        p = np.sum(P * Y, axis=0, keepdims=True) if nll else np.where(Y > 0, P, 1 - P)
        return self.formula(P, Y, p, self.small)

    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y

    def backward(self):
        return self.gradient(self.Ypred, self.Y)


def _compare_gradients(kind, gradients, tolerance, wrong):
    """Return (notes, Guard or None) on (P, Y, their dL/dZ, ours) of all runs; refuse with the
    sentence `wrong` if they are not those of the loss.
    """
    notes, worst = [], 0.0
    for P, Y, theirs, ours in gradients:
        if np.shape(theirs) != np.shape(ours):
            raise Refused(
                Refused.BACKWARD, f"{wrong} ({described(theirs)} instead of shape {ours.shape})"
            )
        if kind is losses.Hinge:
            kinks = P * Y == 1
            notes += note_on_kinks(theirs, ours, kinks, -Y, "the margin y a = 1")
            theirs = np.where(kinks, ours, theirs)
        worst = max(worst, probe.disagreement(theirs, ours, np.maximum(abs(P), abs(Y))))
    if worst <= tolerance:
        return notes, None
    if kind in OF_PROBABILITIES:
        for guard, words in (
            (None, NOT_FINITE),
            *(
                (Guard(kind, f, a), f"{words.format(a)}, nncore's does not")
                for f, words in GUARDED
                for a in ADDED
            ),
        ):
            if all(_is_guarded(kind, *run, guard, tolerance) for run in gradients):
                return [*notes, words], guard
    raise Refused(Refused.BACKWARD, f"{wrong} ({off_by(worst)})")


def _is_guarded(kind, P, Y, theirs, ours, guard, tolerance):
    """Return whether the guard (None: ours) gives theirs; it need not be finite if a probability
    underflows.
    """
    with np.errstate(all="ignore"):
        wanted = ours if guard is None else guard.gradient(P, Y)
        left_out = (_least(kind, P) < UNDERFLOW) & ~np.isfinite(np.asarray(theirs, np.float64))
        return (
            probe.disagreement(
                np.where(left_out, 0, theirs),
                np.where(left_out, 0, wanted),
                np.maximum(abs(P), abs(Y)),
            )
            <= tolerance
        )


def _compare_value(kind, trace, wanted, P, Y, extreme):
    """Return notes on the value of a loss, or refuse. For `extreme` numbers or probabilities it
    need not be finite.
    """
    if trace.failed == "forward":
        check_calls(trace, kind)
    try:
        value = np.asarray(trace.output, dtype=np.float64)
    except (TypeError, ValueError):
        raise Refused(
            Refused.RAISES, f"its forward gives {described(trace.output)} instead of a number"
        ) from None
    total = float(value.sum())
    if probe.disagreement(total, wanted, max(abs(wanted), 1)) <= TOLERANCE[np.dtype(np.float64)]:
        return ["yours gives one value per sample, nncore's their sum"] if value.size > 1 else []
    if kind in OF_PROBABILITIES and (added := _added(kind, total, P, Y)):
        return [f"yours adds {added:.2g} to a probability before its logarithm, nncore's does not"]
    if extreme and not np.isfinite(total):
        return [NOT_FINITE] if np.isfinite(wanted) else []
    if (
        extreme
        and kind in OF_PROBABILITIES
        and (_vanishes(P, Y) or abs(total - wanted) < BOUND * Y.size)
    ):
        return ["yours bounds the logarithm of a probability near 0 or 1, nncore's does not"]
    samples = P.shape[1]
    if np.isfinite(wanted) and samples > 1 and probe.disagreement(total * samples, wanted) < 1e-9:
        raise Refused(
            Refused.LARGE,
            f"its value is {kind.__name__}'s averaged over the batch instead of summed",
        )
    where = " for large numbers or probabilities near 0 or 1" if extreme else ""
    raise Refused(
        Refused.LARGE if extreme else Refused.FORWARD, f"its value is not {kind.__name__}'s{where}"
    )


def _added(kind, total, P, Y):
    """Return the small number that a loss adds to probabilities before taking logarithms, None if
    it adds none.
    """
    if kind is losses.BinaryNLL:
        P, Y = np.concatenate([P, 1 - P]), np.concatenate([Y, 1 - Y])
    values = {added: losses.NLL().forward(P + added, Y) for added in ADDED}
    return next(
        (
            added
            for added, value in values.items()
            if probe.disagreement(total, value, max(abs(value), 1))
            <= TOLERANCE[np.dtype(np.float64)]
        ),
        None,
    )


def _vanishes(P, Y):
    """Return whether the probability of a label is nearly 0."""
    return bool((np.where(Y > 0, P, 1 - P) < BOUND).any())


# ------------------------------------------------------------------------- output and loss together


def output_and_loss(last, foreign, width):
    """Return ((the library's output, notes), (the library's loss, notes, Guard or None)) if only
    the pair matches; or refuse.

    Pairs match together if the loss returns ∂L/∂A, and the output multiplies by ∂A/∂Z.
    """
    width = 3 if width is None else width

    def compared(output, kind, data):
        notes, guard = _compare_pair(last, foreign, output, kind, data, width)
        together = (
            f"matched together with the loss: its backward alone is not {output.__name__}'s, "
            f"but the two give the same dL/dZ"
        )
        gradient = partial(_pair_gradient, last, foreign)
        of_loss = ["matched together with the last module, which makes dL/dZ of its backward"]
        return (
            (output(), [together, *notes, *class_fun_notes(last, output(), width)]),
            (*_with_weights(kind(), of_loss, width, gradient), guard),
        )

    return first_match(
        [
            partial(compared, *pair)
            for pair in ((cls.output, cls, DATA[cls.__name__]) for cls in OF_PROBABILITIES)
        ],
        "they are not an output and a loss of the library",
    )


def _compare_pair(last, foreign, output, kind, data, width):
    """Return (notes, Guard or None) on a last module and a loss that match as a pair; or refuse."""
    rng = np.random.default_rng(5)
    # dividing by a probability and multiplying by it again costs digits
    tolerance = 100 * TOLERANCE[np.dtype(np.float64)]
    notes, gradients = [], []
    for samples, large in RUNS:
        for likely in (False, True):
            Z = _logits(rng, (width, samples), large, likely)
            ours, Y = data(Z, rng, large, likely)
            P, value, gradient = _run_pair(last, foreign, Z, Y)
            columns = (
                finite_columns(P, ours) & finite_columns(gradient, Z)
                if large
                else np.full(samples, True)
            )
            notes += [] if columns.all() else [NOT_FINITE]
            if probe.disagreement(P[:, columns], ours[:, columns], 1) > tolerance:
                raise Refused(Refused.FORWARD, f"the output is not {output.__name__}")
            notes += _compare_value(
                kind, probe.Trace(value), kind().forward(ours, Y), ours, Y, large or likely
            )
            gradients.append(tuple(x[:, columns] for x in (ours, Y, gradient, ours - Y)))
    on_gradients, guard = _compare_gradients(
        kind, gradients, tolerance, "the gradient of the logits is not Ypred − Y"
    )
    return [*dict.fromkeys(notes + on_gradients)], guard


def _run_pair(last, foreign, Z, Y):
    """Return (Ypred, loss, dL/dZ) of a last module and a loss; refuse if they raise or return other
    shapes.
    """
    with probe.untouched(last, foreign):
        try:
            P = np.array(last.forward(Z.copy()), dtype=np.float64)
            value = foreign.forward(P.copy(), Y.copy())
            gradient = np.array(last.backward(foreign.backward()), dtype=np.float64)
        except Exception as error:
            raise Refused(Refused.RAISES, f"they raise {type(error).__name__}: {error}") from None
    if P.shape != Z.shape or gradient.shape != Z.shape:
        raise Refused(Refused.FORWARD, "they give arrays of other shapes")
    return P, value, gradient
