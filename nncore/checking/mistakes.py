"""What goes wrong in modules written by hand: formulas beside the words that name the mistake.

A table is a list of (formula, words); a formula takes a probe p, whose attributes are the arrays of
one batch under the course's names (A, Z, W, W0, dLdZ, dLdA, Ypred, Y; b is the batch), and gives
what the mistake gives. `likely_cause` looks for the first formula that agrees with what a module
gave on every probe, so that a cause is named only where its numbers are the module's own.
"""

import numpy as np

from nncore import registry

__all__ = ["BIAS_IN_DLDA", "EITHER", "TABLES", "TOLERANCE", "WANTED", "likely_cause", "same"]

EITHER = "it is not the derivative of what forward computes: one of the two is wrong"

# Relative to the largest entry: mistakes are far larger, and a 1e-8 that a student adds to be safe
# from dividing by 0 is none.
TOLERANCE = 1e-6


def _sum(x):
    return np.sum(x, axis=1, keepdims=True)


def _softmax_of(f):
    """A softmax of `f`'s own way of dividing."""
    return lambda p: np.exp(p.Z) / f(np.exp(p.Z))


# The right formulas, as a student would write them.
WANTED = {
    f"{cls.__name__}.{what}": code
    for records in (registry.MODULES, registry.LOSSES)
    for cls, record in records.items()
    for what, code in record.code.items()
} | {
    "LinearOutputsFirst.forward": "Z = W @ A + W0",
    "LinearOutputsFirst.dLdA": "dLdA = W.T @ dLdZ",
    "LinearOutputsFirst.dLdW": "dLdW = dLdZ @ A.T",
    "LinearOutputsFirst.dLdW0": "dLdW0 = np.sum(dLdZ, axis=1, keepdims=True)",
}

_SIGMOID_FORWARD = [
    (lambda p: 1 / (1 + np.exp(p.Z)), "wrong sign in the exponent: it is np.exp(-Z)"),
    (lambda p: np.tanh(p.Z), "this is tanh"),
    (
        lambda p: np.exp(-p.Z) / (1 + np.exp(-p.Z)) ** 2,
        "this is the derivative of the sigmoid, not the sigmoid",
    ),
    (lambda p: p.Z, "Z is returned as it came, without the sigmoid"),
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
        "this is dL/dYpred; backward must return dL/dZ, because SoftMax hands through what it is "
        "given",
    ),
    (
        lambda p: -(p.Y / p.Ypred - (1 - p.Y) / (1 - p.Ypred)),
        "this is dL/dYpred of the two-class loss; backward must return dL/dZ, because the output "
        "unit hands through what it is given",
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

BIAS_IN_DLDA = "the bias W0 is in it: it moves Z whatever A is, so it takes no part in dLdA"


def _sums(of, name, words):
    """Mistakes of a gradient that is the sum of `of` over the batch."""
    return [
        (
            of,
            f"not summed over the batch: sum {words} over axis=1 with keepdims=True, which gives "
            f"(n, 1)",
        ),
        (
            lambda p: np.sum(of(p), axis=1),
            "the sum has lost an axis: keepdims=True keeps it as a column (n, 1)",
        ),
        (lambda p: np.sum(of(p), axis=0), "summed over the wrong axis: the batch is axis=1"),
        (
            lambda p: np.sum(of(p), axis=0, keepdims=True),
            "summed over the wrong axis: the batch is axis=1",
        ),
        (
            lambda p: np.mean(of(p), axis=1),
            "averaged, not summed, over the batch; and without keepdims=True",
        ),
        (
            lambda p: np.sum(of(p)),
            "summed over everything: the batch is axis=1 only, with keepdims=True",
        ),
        (lambda p: of(p)[:, :1], "only the first sample of the batch is used"),
        (lambda p: of(p)[:, -1:], "only the last sample of the batch is used"),
        (lambda p: getattr(p, name) * _sum(of(p)), f"multiplied by {name}"),
    ]


def _dLdA(W):
    """Mistakes of dLdA in which W (m, n), inputs first, stands whichever way it is kept."""
    return [
        (lambda p: _sum(p.dLdZ), "backward returns dLdW0; it must return dLdA"),
        (lambda p: p.dLdZ, "dLdZ is handed on without W"),
        (
            lambda p: W(p) @ p.dLdZ * (1 - p.A**2),
            "this multiplies by tanh's derivative too, which is the Tanh module's own work",
        ),
        (
            lambda p: W(p) @ p.dLdZ * (p.A > 0),
            "this multiplies by ReLU's derivative too, which is the ReLU module's own work",
        ),
        (lambda p: W(p) @ p.dLdZ + p.W0, BIAS_IN_DLDA),
        (lambda p: W(p) @ (p.dLdZ + p.W0), BIAS_IN_DLDA),
        (lambda p: (W(p) + p.W0.T) @ p.dLdZ, BIAS_IN_DLDA),
        (lambda p: W(p) @ p.dLdZ + np.sum(p.W0), BIAS_IN_DLDA),
        (lambda p: W(p) @ p.dLdZ + p.W0.T @ p.dLdZ, BIAS_IN_DLDA),
        (
            lambda p: np.vstack([W(p), p.W0.T]) @ p.dLdZ,
            BIAS_IN_DLDA + ": leave out its row, the last one",
        ),
        (
            lambda p: np.vstack([p.W0.T, W(p)]) @ p.dLdZ,
            BIAS_IN_DLDA + ": leave out its row, the first one",
        ),
    ]


def _normalised(p, axis=1, mean=1, ddof=0):
    """A normalised over other axes than the batch; axis: of the variance."""
    return (
        p.G
        * (p.A - np.mean(p.A, axis=mean, keepdims=True))
        / np.std(p.A, axis=axis, keepdims=True, ddof=ddof)
        + p.B
    )


def _of_batchnorm(p, mean, var):
    """dLdA of a BatchNorm with its terms for the mean and the variance of the batch so many
    times."""
    d = p.G * p.dLdZ
    return (
        d
        - mean * np.mean(d, axis=1, keepdims=True)
        - var * p.norm * np.mean(d * p.norm, axis=1, keepdims=True)
    ) / np.sqrt(p.var)


TABLES = {
    "Linear.forward": [
        (lambda p: p.W.T @ p.A, "the bias W0 is missing"),
        (lambda p: p.W.T @ p.A - p.W0, "the bias W0 is subtracted, not added"),
        (lambda p: p.W @ p.A + p.W0, "W is not transposed"),
        (lambda p: p.W @ p.A, "W is not transposed, and the bias W0 is missing"),
        (lambda p: p.A, "A is returned as it came"),
    ],
    "LinearOutputsFirst.forward": [
        (lambda p: p.W @ p.A, "the bias W0 is missing"),
        (lambda p: p.W @ p.A - p.W0, "the bias W0 is subtracted, not added"),
        (lambda p: p.W.T @ p.A + p.W0, "W is transposed, but it has the outputs first"),
        (
            lambda p: p.W.T @ p.A,
            "W is transposed, but it has the outputs first; and the bias W0 is missing",
        ),
        (lambda p: p.A, "A is returned as it came"),
    ],
    "Linear.dLdA": [
        (lambda p: p.W.T @ p.dLdZ, "wrong transpose: W is not transposed in backward"),
        (lambda p: p.A @ p.dLdZ.T, "backward returns dLdW; it must return dLdA"),
        *_dLdA(lambda p: p.W),
    ],
    "LinearOutputsFirst.dLdA": [
        (
            lambda p: p.W @ p.dLdZ,
            "wrong transpose: W has the outputs first, so that backward must transpose it",
        ),
        (lambda p: p.dLdZ @ p.A.T, "backward returns dLdW; it must return dLdA"),
        *_dLdA(lambda p: p.W.T),
    ],
    "Linear.dLdW": [
        (lambda p: p.dLdZ @ p.A.T, "wrong transpose: it is A @ dLdZ.T, not dLdZ @ A.T"),
        (lambda p: p.A[:, :1] @ p.dLdZ[:, :1].T, "only the first sample of the batch is used"),
        (lambda p: p.A[:, -1:] @ p.dLdZ[:, -1:].T, "only the last sample of the batch is used"),
        (lambda p: p.Z @ p.dLdZ.T, "the output Z is used in place of the input A"),
        (lambda p: p.A @ p.dLdZ.T + p.W, "W is added"),
    ],
    "LinearOutputsFirst.dLdW": [
        (
            lambda p: p.A @ p.dLdZ.T,
            "wrong transpose: W has the outputs first, so that it is dLdZ @ A.T, not A @ dLdZ.T",
        ),
        (lambda p: p.dLdZ[:, :1] @ p.A[:, :1].T, "only the first sample of the batch is used"),
        (lambda p: p.dLdZ[:, -1:] @ p.A[:, -1:].T, "only the last sample of the batch is used"),
        (lambda p: p.dLdZ @ p.Z.T, "the output Z is used in place of the input A"),
        (lambda p: p.dLdZ @ p.A.T + p.W, "W is added"),
    ],
    "Linear.dLdW0": _sums(lambda p: p.dLdZ, "W0", "dLdZ"),
    "LinearOutputsFirst.dLdW0": _sums(lambda p: p.dLdZ, "W0", "dLdZ"),
    "BatchNorm.forward": [
        (lambda p: p.G * p.norm, "the shift B is missing"),
        (lambda p: p.norm + p.B, "the scale G is missing"),
        (lambda p: p.norm, "the scale G and the shift B are missing"),
        (lambda p: p.G * p.norm - p.B, "the shift B is subtracted, not added"),
        (lambda p: p.B * p.norm + p.G, "G and B are swapped: G multiplies, B is added"),
        (lambda p: p.G * (p.norm + p.B), "the shift B is multiplied by G, too"),
        (lambda p: p.G * p.A / np.sqrt(p.var) + p.B, "the mean is not subtracted"),
        (lambda p: p.G * (p.A - p.mu) + p.B, "not divided by the standard deviation"),
        (
            lambda p: p.G * (p.A - p.mu) / p.var + p.B,
            "divided by the variance, not by its square root: np.sqrt is missing",
        ),
        (
            lambda p: p.G * (p.A - p.mu) / p.var**0.25 + p.B,
            "divided by the root of the standard deviation: np.std in place of np.var, or np.sqrt "
            "twice",
        ),
        (
            lambda p: p.G * (p.A - p.mu) * np.sqrt(p.var) + p.B,
            "multiplied by the standard deviation; it must be divided by it",
        ),
        (
            lambda p: _normalised(p, 0, 0),
            "normalised over the wrong axis: mean and variance are of each row, over the batch, "
            "axis=1",
        ),
        (
            lambda p: _normalised(p, None, None),
            "mean and variance are of all entries together; they must be of each row, over the "
            "batch, "
            "axis=1",
        ),
        (
            lambda p: _normalised(p, 1, 0),
            "the mean is over the wrong axis: it is of each row, over the batch, axis=1",
        ),
        (
            lambda p: _normalised(p, 0, 1),
            "the variance is over the wrong axis: it is of each row, over the batch, axis=1",
        ),
        (
            lambda p: _normalised(p, 1, None),
            "the mean is of all entries together; it must be of each row, over the batch, axis=1",
        ),
        (
            lambda p: _normalised(p, None, 1),
            "the variance is of all entries together; it must be of each row, over the batch, "
            "axis=1",
        ),
        (
            lambda p: _normalised(p, ddof=1),
            "the variance is divided by K - 1 (ddof=1); here it is the mean of the squares, over K "
            "samples",
        ),
        (
            lambda p: p.G * (p.A - p.mu) / np.sqrt(np.mean(p.A**2, axis=1, keepdims=True)) + p.B,
            "the variance is that of A itself; it is the mean of (A - mean)**2",
        ),
        (
            lambda p: p.G * (p.A - p.mu) / np.sqrt(p.var * p.b) + p.B,
            "the variance is summed over the batch; it must be averaged",
        ),
        (lambda p: p.A, "A is returned as it came"),
    ],
    "BatchNorm.backward": [
        (
            lambda p: _of_batchnorm(p, 0, 0),
            "mean and variance of the batch are taken for constants: they depend on A, too",
        ),
        (
            lambda p: _of_batchnorm(p, 1, 0),
            "the term of the variance is missing: the variance of the batch depends on A, too",
        ),
        (
            lambda p: _of_batchnorm(p, 0, 1),
            "the term of the mean is missing: the mean of the batch depends on A, too",
        ),
        (
            lambda p: _of_batchnorm(p, p.b, p.b),
            "the terms of mean and variance are summed over the batch: 1/K is missing",
        ),
        (
            lambda p: _of_batchnorm(p, p.b, 1),
            "the term of the mean is summed over the batch: 1/K is missing",
        ),
        (
            lambda p: _of_batchnorm(p, 1, p.b),
            "the term of the variance is summed over the batch: 1/K is missing",
        ),
        (lambda p: _of_batchnorm(p, -1, 1), "the term of the mean has the wrong sign"),
        (lambda p: _of_batchnorm(p, 1, -1), "the term of the variance has the wrong sign"),
        (lambda p: _of_batchnorm(p, -1, -1), "the terms of mean and variance have the wrong sign"),
        (
            lambda p: _of_batchnorm(p, 1, 0.5),
            "the term of the variance is half of what it must be: the 2 of the derivative of a "
            "square?",
        ),
        (
            lambda p: _of_batchnorm(p, 1, 2),
            "the term of the variance is twice what it must be: the 1/2 of the derivative of a "
            "root?",
        ),
        (lambda p: _of_batchnorm(p, 1, 1) / p.G, "the scale G is missing"),
        (
            lambda p: _of_batchnorm(p, 1, 1) * np.sqrt(p.var),
            "not divided by the standard deviation",
        ),
        (lambda p: p.dLdZ, "dLdZ is handed on as it came"),
        (
            lambda p: p.G * p.dLdZ,
            "the derivative of the normalisation is missing: this is dLdZ times G",
        ),
    ],
    "BatchNorm.dLdG": [
        *_sums(lambda p: p.dLdZ * p.norm, "G", "dLdZ * norm"),
        (lambda p: _sum(p.dLdZ * p.A), "A is used in place of the normalised norm"),
        (lambda p: _sum(p.dLdZ), "this is dLdB: norm is forgotten"),
    ],
    "BatchNorm.dLdB": [
        *_sums(lambda p: p.dLdZ, "B", "dLdZ"),
        (lambda p: _sum(p.dLdZ * p.norm), "this is dLdG: B is added, so that dLdZ alone counts"),
        (lambda p: _sum(p.dLdZ * p.G), "multiplied by G"),
    ],
    "Tanh.forward": [
        (lambda p: 1 / (1 + np.exp(-p.Z)), "this is the sigmoid"),
        (lambda p: 1 - np.tanh(p.Z) ** 2, "this is the derivative of tanh, not tanh"),
        (lambda p: np.tan(p.Z), "this is np.tan; the hyperbolic tangent is np.tanh"),
        (lambda p: np.sinh(p.Z), "this is sinh"),
        (lambda p: p.Z, "Z is returned as it came, without tanh"),
    ],
    "Tanh.backward": [
        (lambda p: p.dLdA, "the derivative is forgotten: dLdA must be multiplied by 1 - A**2"),
        (
            lambda p: 1 - p.A**2,
            "dLdA is forgotten: the derivative 1 - A**2 must be multiplied by it",
        ),
        (
            lambda p: p.dLdA * (1 - p.Z**2),
            "the derivative is evaluated at Z instead of A: it is 1 - A**2, A being tanh(Z)",
        ),
        (
            lambda p: p.dLdA * (1 - np.tanh(p.A) ** 2),
            "tanh is applied a second time: self.A is tanh(Z) already",
        ),
        (lambda p: p.dLdA * (1 - p.A), "the square is missing in 1 - A**2"),
        (
            lambda p: p.dLdA * (1 - p.A) ** 2,
            "the parentheses are wrong: it is 1 - A**2, not (1 - A)**2",
        ),
        (lambda p: p.dLdA * p.A**2, "1 minus is missing in 1 - A**2"),
        (lambda p: p.dLdA * (1 + p.A**2), "wrong sign: it is 1 - A**2"),
        (lambda p: p.dLdA * p.A * (1 - p.A), "this is the derivative of the sigmoid"),
        (lambda p: p.dLdA * p.A, "multiplied by A, not by the derivative 1 - A**2"),
        (lambda p: p.dLdA * (1 - p.dLdA**2), "the derivative is evaluated at dLdA instead of A"),
        (lambda p: p.dLdA * np.tanh(p.Z), "multiplied by tanh(Z), not by its derivative"),
    ],
    "ReLU.forward": [
        (lambda p: np.minimum(0, p.Z), "the wrong side is kept: it is the maximum of 0 and Z"),
        (lambda p: np.abs(p.Z), "this is the absolute value; negative entries must become 0"),
        (
            lambda p: (p.Z > 0) * 1.0,
            "this is only where Z > 0; those entries must keep their value",
        ),
        (
            lambda p: np.where(p.Z > 0, p.Z, 0.01 * p.Z),
            "this is a leaky ReLU: negative entries must become 0",
        ),
        (
            lambda p: np.max(p.Z),
            "np.max takes the largest of all entries; np.maximum(0, Z) works entry by entry",
        ),
        (
            lambda p: np.max(p.Z, axis=0),
            "np.max takes the largest of a column; np.maximum(0, Z) works entry by entry",
        ),
        (lambda p: np.maximum(1, p.Z), "the maximum is taken with 1, not 0"),
        (lambda p: p.Z, "Z is returned as it came: negative entries must become 0"),
    ],
    "ReLU.backward": [
        (lambda p: p.dLdA, "the derivative is forgotten: dLdA must become 0 where A is 0"),
        (
            lambda p: (p.A > 0) * 1.0,
            "dLdA is forgotten: the derivative (1 where A > 0) must be multiplied by it",
        ),
        (
            lambda p: p.dLdA * p.A,
            "multiplied by A, not by the derivative, which is 1 where A > 0 and 0 elsewhere",
        ),
        (
            lambda p: p.dLdA * p.Z,
            "multiplied by Z, not by the derivative, which is 1 where A > 0 and 0 elsewhere",
        ),
        (lambda p: p.dLdA * (p.Z < 0), "the wrong side is kept: the derivative is 1 where A > 0"),
        (
            lambda p: np.maximum(0, p.dLdA),
            "ReLU is applied to dLdA: what counts is where A is positive, not dLdA",
        ),
        (
            lambda p: p.dLdA * (p.dLdA > 0) * (p.A > 0),
            "entries of dLdA below 0 are dropped too: what counts is where A is positive",
        ),
        (lambda p: p.dLdA * np.sign(p.Z), "negative entries get the derivative -1; it is 0 there"),
        (lambda p: np.maximum(p.A, 0), "A is returned; it must be dLdA where A > 0"),
        (
            lambda p: np.where(p.A > 0, p.dLdA, 0.01 * p.dLdA),
            "this is the derivative of a leaky ReLU",
        ),
        (
            lambda p: np.where(p.A >= 0, p.dLdA, 0),
            "the test must be A > 0: A >= 0 is true everywhere",
        ),
    ],
    "Sigmoid.forward": _SIGMOID_FORWARD,
    "Sigmoid.backward": [
        (lambda p: p.dLdA, "the derivative is forgotten: dLdA must be multiplied by A * (1 - A)"),
        (
            lambda p: p.A * (1 - p.A),
            "dLdA is forgotten: the derivative A * (1 - A) must be multiplied by it",
        ),
        (
            lambda p: p.dLdA * p.Z * (1 - p.Z),
            "the derivative is evaluated at Z instead of A: it is A * (1 - A), A being sigmoid(Z)",
        ),
        (lambda p: p.dLdA * (1 - p.A), "the factor A is missing in A * (1 - A)"),
        (lambda p: p.dLdA * p.A, "the factor 1 - A is missing in A * (1 - A)"),
        (lambda p: p.dLdA * p.A * (1 + p.A), "wrong sign: it is A * (1 - A)"),
        (lambda p: p.dLdA * (1 - p.A**2), "this is the derivative of tanh"),
        (
            lambda p: p.dLdA * np.exp(-p.A) / (1 + np.exp(-p.A)) ** 2,
            "the sigmoid is applied a second time: self.A is sigmoid(Z) already",
        ),
    ],
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
        (lambda p: p.Z, "Z is returned as it came"),
    ],
    "SoftMax.backward": [
        (
            lambda p: p.dLdZ * p.A * (1 - p.A),
            "multiplied by a derivative, but the loss hands over dL/dZ already; return dLdZ itself",
        ),
        (
            lambda p: p.dLdZ * (1 - p.A**2),
            "multiplied by a derivative, but the loss hands over dL/dZ already; return dLdZ itself",
        ),
        (
            lambda p: p.dLdZ * p.A,
            "multiplied by A, but the loss hands over dL/dZ already; return dLdZ itself",
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
        (lambda p: p.Ypred, "Ypred is returned as it came"),
        (
            lambda p: (p.Ypred == np.max(p.Ypred, axis=0)) * 1,
            "these are one-hot columns; wanted are the indices of the classes",
        ),
        (
            lambda p: (p.Ypred > 0.5) * 1,
            "this is a test against 1/2; wanted are the indices of the classes",
        ),
        (
            lambda p: np.argmax(p.Ypred, axis=0) + 1,
            "the classes are counted from 1; they start at 0",
        ),
    ],
    "OutputSigmoid.forward": _SIGMOID_FORWARD,
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

# What can go wrong with any quantity: t is what it must be, q what it was on the probe before, s
# the sum of all before.
_ANYWHERE = [
    (lambda t, p, q, s: -t, "wrong sign"),
    (lambda t, p, q, s: t / p.b, "averaged over the batch (divided by it): it must be summed"),
    (lambda t, p, q, s: t * p.b, "multiplied by the batch"),
    (lambda t, p, q, s: t.T, "transposed: samples are columns"),
    (lambda t, p, q, s: np.zeros_like(t), "all zeros: nothing is computed yet?"),
    (lambda t, p, q, s: np.ones_like(t), "all ones: nothing is computed yet?"),
    (
        lambda t, p, q, s: q,
        "it belongs to the batch before: what forward keeps for backward is not renewed",
    ),
    (
        lambda t, p, q, s: t + s,
        "it is added to those of the batches before: every backward must start anew",
    ),
]


def same(x, y, tolerance=TOLERANCE):
    """True where two arrays have one shape and agree to `tolerance` of the larger one's largest
    entry."""
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
    """The words of the first mistake that gives what was given on all probes (lists of equal
    length), or "" where none does.

    what: a key of TABLES, or any other name for the mistakes that can happen anywhere.
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
    """What was wanted on the probe before and the sum of all before, where these are of one shape;
    else (None, None)."""
    if not i or any(w.shape != wanted[i].shape for w in wanted[:i]):
        return None, None
    return wanted[i - 1], sum(wanted[:i])


def _fits(formula, given, wanted, tolerance):
    """True when the formula gives what was given on every probe.

    Where it cannot be computed (shapes that do not fit on this probe; nothing before the first one)
    the right numbers must stand.
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
    """The right numbers in another shape."""
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
    """A multiple of the right numbers, the same on every probe."""
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
    """Right for one sample, wrong for several; or right on the first batch only."""
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
