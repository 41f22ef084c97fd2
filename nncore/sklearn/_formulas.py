"""The network in NumPy: forward, loss and gradients, as formulas.

The reference of the compiled engine, used also if the engine cannot compute: other real types,
weights that a program has put in place. Samples are rows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, xlogy


@dataclass(frozen=True)
class Problem:
    """The model to be fitted: activations, loss and penalty."""

    activation: str
    out_activation: str
    loss: str
    alpha: float
    delta: float = 1.0  # Huber's
    quantile: float = 0.5
    dropout: float = 0.0


# ----------------------------------------------------------------------------------------- forward


def _softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)
    return z


ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "softmax": _softmax,
    "exp": np.exp,
}

# f'(z) as a function of a = f(z), times the gradient with respect to a.
DERIVATIVES = {
    "identity": lambda a, delta: delta,
    "logistic": lambda a, delta: delta * a * (1 - a),
    "tanh": lambda a, delta: delta * (1 - a**2),
    "relu": lambda a, delta: np.where(a == 0, 0, delta),
}


def outputs(X, coefs, intercepts, activation, out_activation):
    """The outputs (n_samples, n_outputs) of a network."""
    return forward(X, coefs, intercepts, activation, out_activation)[-1]


def forward(X, coefs, intercepts, activation, out_activation, masks=None):
    """The outputs of all layers, X first. masks: the factors of the hidden layers' outputs."""
    layers = [X]
    for i, (W, w0) in enumerate(zip(coefs, intercepts, strict=True)):
        last = i == len(coefs) - 1
        a = ACTIVATIONS[out_activation if last else activation](layers[-1] @ W + w0)
        layers.append(a if last or masks is None else a * masks[i])
    return layers


# -------------------------------------------------------------------------------------------- loss


def _clipped(p):
    eps = np.finfo(p.dtype).eps
    return np.clip(p, eps, 1 - eps)


def loss_terms(problem, y, a):
    """The loss of each sample and output (n_samples, n_outputs) at the outputs a."""
    loss = problem.loss
    if loss == "log_loss":
        p = _clipped(a)
        terms = xlogy(y, p)
        return -(terms if problem.out_activation == "softmax" else terms + xlogy(1 - y, 1 - p))
    if loss == "poisson":
        return xlogy(y, y / a) - y + a
    if loss == "hinge":
        return np.maximum(1 - _signs(y) * a, 0)
    error = y - a
    if loss == "squared_error":
        return 0.5 * error**2
    if loss == "absolute_error":
        return np.abs(error)
    if loss == "huber":
        size = np.abs(error)
        d = problem.delta
        return np.where(size <= d, 0.5 * error**2, d * (size - 0.5 * d))
    return np.maximum(problem.quantile * error, (problem.quantile - 1) * error)


def _signs(y):
    """Labels 0 and 1 as −1 and +1."""
    return 2.0 * np.asarray(y, dtype=float) - 1.0


def output_delta(problem, y, a):
    """dL/dz of the last layer, per sample; that of the losses with their own output unit is a − y.

    The regression losses are not divided by the number of outputs, although their values are.
    """
    loss = problem.loss
    if loss == "hinge":
        signs = _signs(y).astype(a.dtype, copy=False)
        return np.where(signs * a < 1, -signs, np.zeros((), a.dtype))
    if loss == "absolute_error":
        return np.sign(a - y)
    if loss == "huber":
        return np.clip(a - y, -problem.delta, problem.delta)
    if loss == "quantile":
        q = problem.quantile
        return np.where(y > a, -q, np.where(y < a, 1 - q, 0.0)).astype(a.dtype, copy=False)
    return a - y


# Losses whose value is the mean over the outputs; that of the others is the sum.
MEAN_OVER_OUTPUTS = ("squared_error", "absolute_error", "huber", "quantile")


def batch_loss(problem, y, a, weights, coefs, total_weight):
    """The weighted mean loss of a batch, with the penalty ½ α Σ‖W‖² / total_weight."""
    columns = np.average(loss_terms(problem, y, a), weights=weights, axis=0)
    value = columns.mean() if problem.loss in MEAN_OVER_OUTPUTS else columns.sum()
    squares = 0
    for W in coefs:
        flat = W.ravel()
        squares += np.dot(flat, flat)
    return value + (0.5 * problem.alpha) * squares / total_weight


def loss_and_gradients(problem, X, y, weights, coefs, intercepts, masks=None):
    """(batch loss, gradients of coefs, gradients of intercepts)."""
    total_weight = X.shape[0] if weights is None else weights.sum()
    layers = forward(X, coefs, intercepts, problem.activation, problem.out_activation, masks)
    loss = batch_loss(problem, y, layers[-1], weights, coefs, total_weight)
    delta = output_delta(problem, y, layers[-1])
    if weights is not None:
        delta = delta * weights.reshape(-1, 1)
    of_coefs, of_intercepts = [None] * len(coefs), [None] * len(coefs)
    for i in range(len(coefs) - 1, -1, -1):
        of_coefs[i] = (layers[i].T @ delta + problem.alpha * coefs[i]) / total_weight
        of_intercepts[i] = delta.sum(axis=0) / total_weight
        if i > 0:
            delta = delta @ coefs[i].T
            if masks is None:
                delta = DERIVATIVES[problem.activation](layers[i], delta)
            else:
                # A unit that is dropped has a mask of 0, so its undefined quotient is not used.
                a = np.divide(
                    layers[i], masks[i - 1], out=np.zeros_like(layers[i]), where=masks[i - 1] != 0
                )
                delta = DERIVATIVES[problem.activation](a, delta * masks[i - 1])
    return loss, of_coefs, of_intercepts


class NumPyEngine:
    """Epochs of mini-batches, batch by batch in NumPy."""

    def __init__(self, problem, coefs, intercepts, optimizer, X, y, weights, batch_size, rng=None):
        self.problem, self.coefs, self.intercepts = problem, coefs, intercepts
        self.optimizer, self.X, self.y, self.weights = optimizer, X, y, weights
        self.batch_size, self.rng = batch_size, rng

    def epoch(self, order):
        """One pass over the samples at `order`; returns Σ batch loss × batch size."""
        total = 0.0
        params = [*self.coefs, *self.intercepts]
        for at in range(0, len(order), self.batch_size):
            rows = order[at : at + self.batch_size]
            weights = None if self.weights is None else self.weights[rows]
            if weights is not None and weights.sum() == 0:
                continue
            loss, of_coefs, of_intercepts = loss_and_gradients(
                self.problem,
                self.X[rows],
                self.y[rows],
                weights,
                self.coefs,
                self.intercepts,
                self._masks(len(rows)),
            )
            total += loss * len(rows)
            self.optimizer.step(params, of_coefs + of_intercepts)
        return total

    def _masks(self, rows):
        """What Dropout multiplies the hidden layers by: 0, or 1 / (1 − p)."""
        p = self.problem.dropout
        if not p:
            return None
        return [
            ((self.rng.random_sample((rows, len(w0))) >= p) / (1 - p)).astype(w0.dtype)
            for w0 in self.intercepts[:-1]
        ]

    def outputs(self, X):
        """The network's outputs at X, without Dropout."""
        p = self.problem
        return outputs(X, self.coefs, self.intercepts, p.activation, p.out_activation)
