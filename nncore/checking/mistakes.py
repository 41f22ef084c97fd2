"""Known mistakes in modules written by hand: formulas, each with the words that name the mistake.

A table is a list of (formula, words). A formula takes a probe p, whose attributes are the arrays of
one batch under the course's names (A, Z, W, W0, dLdZ, dLdA, Ypred, Y; b is the batch size), and
returns the result that the mistake produces. causes.py searches the tables.
"""

import numpy as np

from nncore import registry
from nncore.checking import output_mistakes

__all__ = ["BIAS_IN_DLDA", "EITHER", "TABLES", "WANTED"]

EITHER = "it is not the derivative of what forward computes: one of the two is wrong"

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

BIAS_IN_DLDA = "the bias W0 is in it: it moves Z whatever A is, so it takes no part in dLdA"


def _sum(x):
    """Sum over the batch."""
    return np.sum(x, axis=1, keepdims=True)


def _sums(of, name, words):
    """Return the mistakes of a gradient that is the sum of `of` over the batch."""
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
    """Return the mistakes of dLdA, given W(p) (m, n), inputs first, however the module
    stores it.
    """
    return [
        (lambda p: _sum(p.dLdZ), "backward returns dLdW0; it must return dLdA"),
        (lambda p: p.dLdZ, "dLdZ is passed on without W"),
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
    """Return BatchNorm's output, normalised over the wrong axes; axis: of the variance."""
    return (
        p.G
        * (p.A - np.mean(p.A, axis=mean, keepdims=True))
        / np.std(p.A, axis=axis, keepdims=True, ddof=ddof)
        + p.B
    )


def _of_batchnorm(p, mean, var):
    """Return BatchNorm's dLdA with the terms of mean and variance multiplied by these factors."""
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
        (lambda p: p.A, "A is returned unchanged"),
    ],
    "LinearOutputsFirst.forward": [
        (lambda p: p.W @ p.A, "the bias W0 is missing"),
        (lambda p: p.W @ p.A - p.W0, "the bias W0 is subtracted, not added"),
        (lambda p: p.W.T @ p.A + p.W0, "W is transposed, but it has the outputs first"),
        (
            lambda p: p.W.T @ p.A,
            "W is transposed, but it has the outputs first; and the bias W0 is missing",
        ),
        (lambda p: p.A, "A is returned unchanged"),
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
        (lambda p: p.A, "A is returned unchanged"),
    ],
    "BatchNorm.backward": [
        (
            lambda p: _of_batchnorm(p, 0, 0),
            "mean and variance of the batch are treated as constants: they depend on A, too",
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
        (lambda p: p.dLdZ, "dLdZ is passed on unchanged"),
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
        (lambda p: p.Z, "Z is returned unchanged, without tanh"),
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
            "this is 1 where Z > 0; those entries must keep their value",
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
        (lambda p: p.Z, "Z is returned unchanged: negative entries must become 0"),
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
    "Sigmoid.forward": output_mistakes.SIGMOID_FORWARD,
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
} | output_mistakes.TABLES
