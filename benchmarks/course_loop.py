"""The course's module library as students fill it in: the baseline of every "times faster than the
course loop".

Plain NumPy, one small class a module, columns are samples, nothing tuned: a new array for every
intermediate. It is kept apart from `nncore`'s own NumPy kernels so that the baseline does not move
when those do.

Shapes: W (m, n), W0 (n, 1), A (m, b), Z (n, b). Whatever dtype the weights and the data have is the
dtype computed in. Source: the course notes, the training algorithm and the table of modules.
"""

import numpy as np


class Linear:
    """Z = Wᵀ A + W0, from weights given as arrays.

    >>> Linear(np.ones((2, 1)), np.zeros((1, 1))).forward(np.array([[1.0], [2.0]]))
    array([[3.]])
    """

    def __init__(self, W, W0):
        self.W, self.W0 = W, W0

    def forward(self, A):
        self.A = A
        return np.dot(self.W.T, A) + self.W0

    def backward(self, dLdZ):
        self.dLdW = np.dot(self.A, dLdZ.T)
        self.dLdW0 = dLdZ.sum(axis=1, keepdims=True)
        return np.dot(self.W, dLdZ)

    def sgd_step(self, lrate):
        self.W -= lrate * self.dLdW
        self.W0 -= lrate * self.dLdW0


class Unweighted:
    """A module without weights: its step does nothing.

    >>> Unweighted().sgd_step(0.1)
    """

    def sgd_step(self, lrate):
        return None


class Tanh(Unweighted):
    """A = tanh Z, dL/dZ = dL/dA ⊙ (1 − A²).

    >>> Tanh().forward(np.zeros((1, 1)))
    array([[0.]])
    """

    def forward(self, Z):
        self.A = np.tanh(Z)
        return self.A

    def backward(self, dLdA):
        return dLdA * (1 - self.A**2)


class ReLU(Unweighted):
    """A = max(0, Z), dL/dZ = dL/dA ⊙ [A > 0].

    >>> ReLU().forward(np.array([[-1.0], [2.0]])).ravel()
    array([0., 2.])
    """

    def forward(self, Z):
        self.A = np.maximum(0, Z)
        return self.A

    def backward(self, dLdA):
        return dLdA * (self.A > 0)


class SoftMax(Unweighted):
    """a_i = exp(z_i) / Σ_j exp(z_j) down each column; hands the loss's dL/dZ through.

    >>> SoftMax().forward(np.zeros((2, 1))).ravel()
    array([0.5, 0.5])
    """

    def forward(self, Z):
        powers = np.exp(Z - Z.max(axis=0, keepdims=True))
        return powers / powers.sum(axis=0, keepdims=True)

    def backward(self, dLdZ):
        return dLdZ


class NLL:
    """L = −Σ Y log P in nats, summed over the batch; dL/dZ = P − Y.

    >>> round(NLL().forward(np.array([[0.5], [0.5]]), np.array([[1.0], [0.0]])), 6)
    0.693147
    """

    def forward(self, P, Y):
        self.P, self.Y = P, Y
        return float(-(Y * np.log(P)).sum())

    def backward(self):
        return self.P - self.Y


class Sequential:
    """A chain of modules and a loss.

    >>> net = Sequential([Linear(np.zeros((2, 2)), np.zeros((2, 1))), SoftMax()], NLL())
    >>> net.sgd(np.eye(2), np.eye(2), 3, 0.1)
    """

    def __init__(self, modules, loss):
        self.modules, self.loss = modules, loss

    def forward(self, X):
        for module in self.modules:
            X = module.forward(X)
        return X

    def backward(self, delta):
        for module in reversed(self.modules):
            delta = module.backward(delta)

    def sgd_step(self, lrate):
        for module in self.modules:
            module.sgd_step(lrate)

    def train_on(self, X, Y, lrate):
        """One step on the samples in X (D, b) and Y (n, b), with the gradient summed over them."""
        self.loss.forward(self.forward(X), Y)
        self.backward(self.loss.backward())
        self.sgd_step(lrate)

    def sgd(self, X, Y, iters, lrate):
        """`iters` steps of one sample each, drawn with replacement from NumPy's legacy global
        generator."""
        for _ in range(iters):
            i = np.random.randint(X.shape[1])
            self.train_on(X[:, i : i + 1], Y[:, i : i + 1], lrate)

    def epoch(self, X, Y, batch, lrate, order):
        """A step on each `batch` consecutive entries of `order`, with the gradient averaged over
        them."""
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            self.train_on(X[:, chosen], Y[:, chosen], lrate / len(chosen))
