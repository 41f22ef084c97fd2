"""The same network on the compiled engine: training by epochs, gradients, outputs.

The engine reads and writes the estimator's own arrays, whichever they are at each call.
"""

import numpy as np
import scipy.sparse as sp

from nncore import _core
from nncore.sklearn import _formulas

HIDDEN = {"identity": "none", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
OUTPUT = {
    "identity": "none",
    "exp": "none",  # the exponential is part of the loss, and applied after a prediction
    "logistic": "output_sigmoid",
    "softmax": "softmax",
}
LOSSES = {
    "squared_error": "squared",
    "poisson": "poisson",
    "absolute_error": "absolute",
    "huber": "huber",
    "quantile": "quantile",
    "hinge": "hinge",
}
GRADIENT_ROWS = 256  # samples per block of a gradient over all samples


def computes(coefs, intercepts):
    """Whether the engine can use these weights: aligned native matrices of one real type, each
    writeable, that follow each other."""
    try:
        return _core.are_layers(coefs, intercepts)
    except TypeError:
        return False


def stages(coefs, intercepts, problem, dropout=None):
    """The layers as Program takes them."""
    layers = []
    for i, (W, w0) in enumerate(zip(coefs, intercepts, strict=True)):
        last = i == len(coefs) - 1
        name = OUTPUT[problem.out_activation] if last else HIDDEN[problem.activation]
        layers.append((_core.Frozen(W, w0.reshape(-1, 1)), name))
        if dropout is not None and not last:
            layers.append((dropout(i), "dropout"))
    return layers


def loss_of(problem):
    """The engine's name of a loss."""
    if problem.loss == "log_loss":
        return "nll" if problem.out_activation == "softmax" else "clipped_binary_nll"
    return LOSSES[problem.loss]


def objective_of(problem, n_outputs):
    """The engine's conventions for a loss, as arguments of Program.set_objective."""
    loss = problem.loss
    factor = 1 / n_outputs if loss in _formulas.MEAN_OVER_OUTPUTS else 1.0
    squared = loss == "squared_error"  # the engine's is (a − y)², with the gradient 2 (a − y)
    return {
        "loss_factor": 0.5 * factor if squared else factor,
        "gradient_factor": 0.5 if squared else 1.0,
        "loss_parameter": problem.delta if loss == "huber" else problem.quantile,
        "clips": loss == "log_loss" and problem.out_activation == "softmax",
        "continues": True,
    }


def columns(X, dtype):
    """X (n_samples, n_features) as the engine reads it, samples as columns."""
    if not sp.issparse(X):
        return X.T
    X = sp.csr_array(X) if X.format != "csr" else X
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return _core.Rows(
        np.ascontiguousarray(X.data, dtype),
        np.ascontiguousarray(X.indices, np.int32),
        np.ascontiguousarray(X.indptr, np.int64),
        X.shape[1],
    )


def targets(problem, y):
    """Targets (n_samples, n_outputs) as the engine reads them."""
    if problem.loss == "hinge":
        y = np.where(y, 1.0, -1.0)
    return y.T


class Outputs:
    """Predictions of a network from its arrays as they are at each call."""

    def __init__(self, problem, coefs, intercepts):
        self.exp = problem.out_activation == "exp"
        self.dtype = coefs[0].dtype
        self.program = _core.Program(
            stages(coefs, intercepts, problem), None, self.dtype, coefs[0].shape[0]
        )
        self.program.set_objective(short_calls=True)

    def of_plain(self, X, arrays, lists):
        """The outputs at an array that needs no validation, if the weights `arrays` are still those
        in the lists; else None."""
        outputs = self.program.outputs_of_plain(X, arrays, lists)
        return np.exp(outputs, out=outputs) if self.exp and outputs is not None else outputs

    def __call__(self, X):
        """The outputs (n_samples, n_outputs)."""
        outputs = self.program.run(columns(X, self.dtype))[0].T
        self.program.forget()
        return np.exp(outputs, out=outputs) if self.exp else outputs


class CompiledEngine:
    """Epochs of mini-batches, compiled. The interface is NumPyEngine's."""

    def __init__(
        self,
        problem,
        coefs,
        intercepts,
        optimizer,
        X,
        y,
        weights,
        batch_size,
        rng=None,
        short_calls=False,
    ):
        self.problem, self.optimizer, self.batch_size = problem, optimizer, batch_size
        self.coefs, self.intercepts = coefs, intercepts
        dtype = coefs[0].dtype
        dropout = (lambda _: Mask(problem.dropout, rng)) if problem.dropout else None
        self.program = _core.Program(
            stages(coefs, intercepts, problem, dropout),
            loss_of(problem),
            dtype,
            coefs[0].shape[0],
            True,
        )
        rule, parameters = optimizer.rule()
        self.program.use(rule, parameters, _states(optimizer, len(coefs)), 0.0)
        self.program.set_objective(
            **objective_of(problem, len(intercepts[-1])),
            l2_per_weight=problem.alpha,
            plain_root=optimizer.plain_root,
            short_calls=short_calls,
        )
        self.program.optimizer = optimizer.counter
        if X is not None:
            self.X, self.y = columns(X, dtype), targets(problem, y)
        self.weights = None if weights is None else np.ascontiguousarray(weights, np.float64)
        self.held_out = None

    def epoch(self, order):
        """One pass over the samples at `order`; returns Σ batch loss × batch size."""
        program, optimizer = self.program, self.optimizer
        try:
            return program.fit(
                self.X,
                self.y,
                order,
                self.batch_size,
                optimizer.rate,
                optimizer.t,
                True,
                False,
                self.weights,
            )
        finally:
            optimizer.counted()

    def give(self, X, y, batch_size):
        """Train on other samples, plain arrays, from now on."""
        self.X, self.y, self.batch_size = X.T, targets(self.problem, y), batch_size

    def forget(self):
        """Let go of the samples."""
        self.X = self.y = None
        self.program.forget()

    def outputs(self, X):
        """The network's outputs at X, without Dropout."""
        if self.held_out is None:
            self.held_out = Outputs(self.problem, self.coefs, self.intercepts)
        return self.held_out(X)


class Mask:
    """A Dropout layer of the engine, whose key an estimator's generator draws."""

    def __init__(self, p, rng):
        self.p, self.count = p, 0
        self.key = int(rng.randint(2**63, dtype=np.int64))

    def draw_key(self):
        """The key has been drawn."""


def _states(optimizer, n):
    """The optimizer's arrays as Program.use takes them: per layer, those of W and of w0."""
    states = optimizer.states
    return [
        (
            tuple(arrays[i] for arrays in states),
            tuple(arrays[n + i].reshape(-1, 1) for arrays in states),
        )
        for i in range(n)
    ]


class Gradient:
    """Loss and gradient over all samples, for packed vectors of weights."""

    def __init__(self, problem, layout, X, y, weights, dtype):
        self.problem, self.layout = problem, layout
        size = layout[1][-1][1]
        self.at, self.gradient = np.empty(size, dtype), np.empty(size, dtype)
        coefs, intercepts = self._parts(self.at)
        self.n_coefs = layout[0][-1][1]
        self.program = _core.Program(
            stages(coefs, intercepts, problem), loss_of(problem), dtype, coefs[0].shape[0], True
        )
        of_coefs, of_intercepts = self._parts(self.gradient)
        states = [
            ((W,), (w0.reshape(-1, 1),)) for W, w0 in zip(of_coefs, of_intercepts, strict=True)
        ]
        self.program.use("gradient", {}, states, 0.0)
        self.program.set_objective(**objective_of(problem, len(intercepts[-1])))
        self.X, self.y = columns(X, dtype), targets(problem, y)
        self.order = np.arange(X.shape[0])
        self.weights = None if weights is None else np.ascontiguousarray(weights, np.float64)
        self.total = X.shape[0] if weights is None else weights.sum()

    def _parts(self, vector):
        of_coefs, of_intercepts = self.layout
        return (
            [vector[start:end].reshape(shape) for start, end, shape in of_coefs],
            [vector[start:end] for start, end in of_intercepts],
        )

    def __call__(self, vector):
        """(loss, gradient) at a packed vector; the gradient is overwritten by the next call."""
        self.at[:] = vector
        self.gradient[:] = 0
        loss = self.program.gradient(self.X, self.y, self.order, GRADIENT_ROWS, self.weights)
        self.gradient /= self.total
        W = self.at[: self.n_coefs]
        alpha = self.problem.alpha / self.total
        if alpha:
            self.gradient[: self.n_coefs] += alpha * W
        return loss / self.total + 0.5 * alpha * np.dot(W, W), self.gradient.astype(np.float64)
