"""Known mistakes of the last modules and the losses; see mistakes.py."""

import numpy as np

__all__ = ["SIGMOID_FORWARD", "TABLES"]


def _softmax_of(f):
    """Return a softmax that divides by `f` of the exponentials."""
    return lambda p: np.exp(p.Z) / f(np.exp(p.Z))


SIGMOID_FORWARD = [
    (lambda p: 1 / (1 + np.exp(p.Z)), "wrong sign in the exponent: it is np.exp(-Z)"),
    (lambda p: np.tanh(p.Z), "this is tanh"),
    (
        lambda p: np.exp(-p.Z) / (1 + np.exp(-p.Z)) ** 2,
        "this is the derivative of the sigmoid, not the sigmoid",
    ),
    (lambda p: p.Z, "Z is returned unchanged, without the sigmoid"),
]
_LOSS_BACKWARD = [
    (
        lambda p: (p.Ypred - p.Y) / p.b,
        "divided by the batch: the course's gradient is summed over the batch, not averaged",
    ),
    (
        lambda p: (p.Ypred - p.Y) / p.Y.size,
        "divided by the number of entries (np.mean?): it is summed over the batch, not averaged",
    ),
    (lambda p: p.Y - p.Ypred, "wrong sign: it is Ypred - Y"),
    (
        lambda p: -p.Y / p.Ypred,
        "this is dL/dYpred; backward must return dL/dZ, because SoftMax returns its "
        "argument unchanged",
    ),
    (
        lambda p: -(p.Y / p.Ypred - (1 - p.Y) / (1 - p.Ypred)),
        "this is dL/dYpred of the two-class loss; backward must return dL/dZ, because the output "
        "unit returns its argument unchanged",
    ),
    (lambda p: p.Ypred, "Y is not subtracted"),
    (lambda p: 2 * (p.Ypred - p.Y), "this is the gradient of the squared loss"),
    (
        lambda p: np.sum(p.Ypred - p.Y, axis=1, keepdims=True),
        "summed over the batch: every sample keeps its own column here, (n, b)",
    ),
    (
        lambda p: np.mean(p.Ypred - p.Y, axis=1, keepdims=True),
        "averaged over the batch: every sample keeps its own column here, (n, b)",
    ),
    (
        lambda p: np.sum(p.Ypred - p.Y),
        "summed to one number: every entry keeps its own derivative here, (n, b)",
    ),
]

TABLES = {
    "SoftMax.forward": [
        (
            _softmax_of(lambda E: np.sum(E, axis=1, keepdims=True)),
            "normalised over the wrong axis: the classes are axis=0, the samples axis=1",
        ),
        (
            _softmax_of(np.sum),
            "normalised over all samples together: each column must sum to 1 by itself (axis=0)",
        ),
        (lambda p: np.exp(p.Z), "not normalised: each column must be divided by its sum"),
        (
            _softmax_of(lambda E: np.max(E, axis=0)),
            "divided by the largest entry, not by the sum of the column",
        ),
        (lambda p: np.log(p.A), "this is the logarithm of the softmax"),
        (
            lambda p: np.exp(-p.Z) / np.sum(np.exp(-p.Z), axis=0),
            "wrong sign in the exponent: it is np.exp(Z)",
        ),
        (lambda p: 1 / (1 + np.exp(-p.Z)), "this is the sigmoid"),
        (lambda p: p.Z / np.sum(p.Z, axis=0), "np.exp is missing"),
        (lambda p: p.Z, "Z is returned unchanged"),
    ],
    "SoftMax.backward": [
        (
            lambda p: p.dLdZ * p.A * (1 - p.A),
            "multiplied by a derivative, but the loss gives dL/dZ already; return dLdZ itself",
        ),
        (
            lambda p: p.dLdZ * (1 - p.A**2),
            "multiplied by a derivative, but the loss gives dL/dZ already; return dLdZ itself",
        ),
        (
            lambda p: p.dLdZ * p.A,
            "multiplied by A, but the loss gives dL/dZ already; return dLdZ itself",
        ),
        (lambda p: p.A, "A is returned; return dLdZ itself"),
    ],
    "SoftMax.class_fun": [
        (
            lambda p: np.argmax(p.seen, axis=0),
            "it ignores its argument Ypred and uses the module's last output",
        ),
        (lambda p: np.argmax(p.Ypred, axis=1), "wrong axis: the classes are axis=0"),
        (
            lambda p: np.argmax(p.Ypred),
            "without axis=0 it looks for one largest entry in the whole array",
        ),
        (
            lambda p: np.max(p.Ypred, axis=0),
            "np.max gives the largest probability; its index is np.argmax(Ypred, axis=0)",
        ),
        (lambda p: np.argmin(p.Ypred, axis=0), "this is the class with the smallest probability"),
        (lambda p: p.Ypred, "Ypred is returned unchanged"),
        (
            lambda p: (p.Ypred == np.max(p.Ypred, axis=0)) * 1,
            "these are one-hot columns; it must be the indices of the classes",
        ),
        (
            lambda p: (p.Ypred > 0.5) * 1,
            "this is a test against 1/2; it must be the indices of the classes",
        ),
        (
            lambda p: np.argmax(p.Ypred, axis=0) + 1,
            "the classes are counted from 1; they start at 0",
        ),
    ],
    "OutputSigmoid.forward": SIGMOID_FORWARD,
    "NLL.forward": [
        (
            lambda p: -np.sum(p.Y * np.log(p.Ypred)) / p.b,
            "averaged over the batch: the course's loss is summed, not averaged",
        ),
        (
            lambda p: -np.mean(p.Y * np.log(p.Ypred)),
            "averaged over all entries (np.mean): the course's loss is summed, not averaged",
        ),
        (lambda p: np.sum(p.Y * np.log(p.Ypred)), "wrong sign: the minus is missing"),
        (
            lambda p: -np.sum(p.Y * np.log2(p.Ypred)),
            "np.log2 in place of the natural logarithm np.log",
        ),
        (
            lambda p: -np.sum(p.Y * np.log10(p.Ypred)),
            "np.log10 in place of the natural logarithm np.log",
        ),
        (lambda p: -p.Y * np.log(p.Ypred), "np.sum is missing: the loss is one number"),
        (
            lambda p: -np.sum(p.Y * np.log(p.Ypred), axis=0),
            "summed over the classes only (axis=0): the loss is one number, summed over the batch "
            "too",
        ),
        (
            lambda p: -np.sum(p.Y * np.log(p.Ypred), axis=0, keepdims=True),
            "summed over the classes only (axis=0): the loss is one number, summed over the batch "
            "too",
        ),
        (
            lambda p: -np.sum(p.Y * np.log(p.Ypred), axis=1),
            "summed over the batch only (axis=1): the loss is one number",
        ),
        (
            lambda p: -np.sum(p.Y * np.log(p.Ypred), axis=1, keepdims=True),
            "summed over the batch only (axis=1): the loss is one number",
        ),
        (
            lambda p: -np.sum(p.Y * np.log(p.Ypred) + (1 - p.Y) * np.log(1 - p.Ypred)),
            "this is the two-class formula with 1 - Y, for one sigmoid output; of a softmax only "
            "-Y * log(Ypred) counts",
        ),
        (
            lambda p: -(p.Y * np.log(p.Ypred) + (1 - p.Y) * np.log(1 - p.Ypred)),
            "this is the two-class formula with 1 - Y, and np.sum is missing; of a softmax only -Y "
            "* log(Ypred) counts",
        ),
        (lambda p: -np.sum(np.log(p.Ypred)), "Y is forgotten: only the true class counts"),
        (lambda p: -np.sum(p.Y * p.Ypred), "np.log is missing"),
        (lambda p: np.sum((p.Ypred - p.Y) ** 2), "this is the squared loss"),
        (
            lambda p: -(p.Y.T @ np.log(p.Ypred)),
            "this is a matrix product; the loss is the sum of Y * np.log(Ypred), entry by entry",
        ),
    ],
    "NLL.backward": _LOSS_BACKWARD,
    "BinaryNLL.forward": [
        (
            lambda p: -np.sum(p.Y * np.log(p.Ypred) + (1 - p.Y) * np.log(1 - p.Ypred)) / p.b,
            "averaged over the batch: the course's loss is summed, not averaged",
        ),
        (
            lambda p: -np.mean(p.Y * np.log(p.Ypred) + (1 - p.Y) * np.log(1 - p.Ypred)),
            "averaged over all entries (np.mean): the course's loss is summed, not averaged",
        ),
        (
            lambda p: np.sum(p.Y * np.log(p.Ypred) + (1 - p.Y) * np.log(1 - p.Ypred)),
            "wrong sign: the minus is missing",
        ),
        (
            lambda p: -(p.Y * np.log(p.Ypred) + (1 - p.Y) * np.log(1 - p.Ypred)),
            "np.sum is missing: the loss is one number",
        ),
        (
            lambda p: -np.sum(p.Y * np.log(p.Ypred)),
            "the part of the other class, (1 - Y) * log(1 - Ypred), is missing",
        ),
    ],
    "BinaryNLL.backward": _LOSS_BACKWARD,
}
