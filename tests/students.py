"""Modules as students write them: right ones in several styles, and a zoo of wrong ones, each with
words that its report must hold."""

import numpy as np

# ----------------------------------------------------------------------- right, as the course's own


class Module:
    def sgd_step(self, lrate):
        pass


class Linear(Module):
    def __init__(self, m, n):
        self.m, self.n = (m, n)
        self.W0 = np.zeros([self.n, 1])
        self.W = np.random.normal(0, 1.0 * m ** (-0.5), [m, n])

    def forward(self, A):
        self.A = A
        return np.dot(self.W.T, A) + self.W0

    def backward(self, dLdZ):
        self.dLdW = np.dot(self.A, dLdZ.T)
        self.dLdW0 = dLdZ.sum(axis=1).reshape((self.n, 1))
        return np.dot(self.W, dLdZ)

    def sgd_step(self, lrate):
        self.W = self.W - lrate * self.dLdW
        self.W0 = self.W0 - lrate * self.dLdW0


class Tanh(Module):
    def forward(self, Z):
        self.A = np.tanh(Z)
        return self.A

    def backward(self, dLdA):
        return dLdA * (1.0 - self.A**2)


class ReLU(Module):
    def forward(self, Z):
        self.A = np.maximum(0, Z)
        return self.A

    def backward(self, dLdA):
        return dLdA * (self.A != 0)


class Sigmoid(Module):
    def forward(self, Z):
        self.A = 1 / (1 + np.exp(-Z))
        return self.A

    def backward(self, dLdA):
        return dLdA * self.A * (1 - self.A)


class SoftMax(Module):
    def forward(self, Z):
        e = np.exp(Z - np.max(Z, axis=0))
        return e / np.sum(e, axis=0)

    def backward(self, dLdZ):
        return dLdZ

    def class_fun(self, Ypred):
        return np.argmax(Ypred, axis=0)


class NLL(Module):
    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return float(np.sum(-Y * np.log(np.clip(Ypred, 1e-300, 1))))

    def backward(self):
        return self.Ypred - self.Y


class Sequential:
    def __init__(self, modules, loss):
        self.modules = modules
        self.loss = loss

    def sgd(self, X, Y, iters=100, lrate=0.005):
        D, N = X.shape
        for it in range(iters):
            i = np.random.randint(N)
            Xt, Yt = X[:, i : i + 1], Y[:, i : i + 1]
            cur_loss = self.loss.forward(self.forward(Xt), Yt)
            self.backward(self.loss.backward())
            self.sgd_step(lrate)
            self.print_accuracy(it, X, Y, cur_loss)

    def forward(self, Xt):
        for m in self.modules:
            Xt = m.forward(Xt)
        return Xt

    def backward(self, delta):
        for m in self.modules[::-1]:
            delta = m.backward(delta)

    def sgd_step(self, lrate):
        for m in self.modules:
            m.sgd_step(lrate)

    def print_accuracy(self, it, X, Y, cur_loss, every=250):
        if it % every == 1 and hasattr(self.modules[-1], "class_fun"):
            cf = self.modules[-1].class_fun
            print(
                "Iteration =",
                it,
                "\tAcc =",
                np.mean(cf(self.forward(X)) == cf(Y)),
                "\tLoss =",
                cur_loss,
                flush=True,
            )


# --------------------------------------------------------------------------- right, in other styles


class LinearInPlace(Linear):
    """In-place updates under the later homework's name, no base class that does nothing, W0 a view
    of one matrix with W."""

    sgd_step = None

    def __init__(self, m, n):
        self.all = np.random.normal(size=(m + 1, n))
        self.W, self.W0 = self.all[1:], self.all[:1].T

    def backward(self, dLdZ):
        self.dLdW = np.einsum("ib,jb->ij", self.A, dLdZ)
        self.dLdW0 = np.sum(dLdZ, 1, keepdims=True)
        return np.einsum("ij,jb->ib", self.W, dLdZ)

    def step(self, lrate):
        self.W -= lrate * self.dLdW
        self.W0 -= lrate * self.dLdW0


class LinearSumsInStep(Linear):
    """Keeps dLdW0 unsummed and sums in the step: trains as it should."""

    def backward(self, dLdZ):
        super().backward(dLdZ)
        self.dLdW0 = dLdZ
        return self.W @ dLdZ

    def sgd_step(self, lrate):
        self.W = self.W - lrate * self.dLdW
        self.W0 = self.W0 - np.sum(lrate * self.dLdW0, axis=1).reshape(-1, 1)


class LinearLoops(Linear):
    """Loops over everything, gradients under names of its own."""

    def forward(self, A):
        self.A = A
        Z = np.zeros((self.n, A.shape[1]))
        for j in range(self.n):
            for t in range(A.shape[1]):
                Z[j, t] = self.W0[j, 0] + sum(self.W[i, j] * A[i, t] for i in range(self.m))
        return Z

    def backward(self, dLdZ):
        self.gW = sum(np.outer(self.A[:, t], dLdZ[:, t]) for t in range(dLdZ.shape[1]))
        self.gW0 = dLdZ @ np.ones((dLdZ.shape[1], 1))
        return self.W @ dLdZ

    def sgd_step(self, lrate):
        self.W += -lrate * self.gW
        self.W0 += -lrate * self.gW0


class LinearMomentum(Linear):
    def __init__(self, m, n):
        super().__init__(m, n)
        self.v, self.v0 = np.zeros((m, n)), np.zeros((n, 1))

    def sgd_step(self, lrate):
        self.v = 0.9 * self.v + 0.1 * self.dLdW
        self.v0 = 0.9 * self.v0 + 0.1 * self.dLdW0
        self.W = self.W - lrate * self.v
        self.W0 = self.W0 - lrate * self.v0


class Layer:
    """A layer under other names, outputs first, that the library has no twin for."""

    def __init__(self, m, n):
        self.weight, self.offset = np.random.normal(size=(n, m)), np.zeros((n, 1))

    def forward(self, x):
        self.x = x
        return self.weight @ x + self.offset

    def backward(self, g):
        self.dLdweight, self.dLdoffset = g @ self.x.T, g.sum(axis=1, keepdims=True)
        return self.weight.T @ g

    def step(self, lrate):
        self.weight -= lrate * self.dLdweight
        self.offset -= lrate * self.dLdoffset


class LinearOfDictionaries(Module):
    """Weights in a dictionary, gradients in another."""

    def __init__(self, m, n):
        self.p = {"W": np.random.normal(size=(m, n)), "b": np.zeros((n, 1))}

    def forward(self, A):
        self.A = A
        return self.p["W"].T @ A + self.p["b"]

    def backward(self, dLdZ):
        self.g = {"W": self.A @ dLdZ.T, "b": dLdZ.sum(axis=1, keepdims=True)}
        return self.p["W"] @ dLdZ

    def sgd_step(self, lrate):
        for k in self.p:
            self.p[k] -= lrate * self.g[k]


class Swish(Module):
    """No library module does this: finite differences alone judge it."""

    def forward(self, Z):
        self.Z = Z
        self.s = 1 / (1 + np.exp(-Z))
        return Z * self.s

    def backward(self, dLdA):
        return dLdA * (self.s + self.Z * self.s * (1 - self.s))


class LeakyReLU(Module):
    def forward(self, Z):
        self.Z = Z
        return np.where(Z > 0, Z, 0.1 * Z)

    def backward(self, dLdA):
        return dLdA * np.where(self.Z > 0, 1, 0.1)


class Dropout(Module):
    def __init__(self, pct=0.5):
        self.keep = 1 - pct

    def forward(self, Z):
        self.mask = np.random.binomial(1, self.keep, Z.shape) / self.keep
        return Z * self.mask

    def backward(self, dLdA):
        return dLdA * self.mask


class BatchNorm(Module):
    """The course's: samples of a batch depend on each other."""

    def __init__(self, m):
        np.random.seed(0)
        self.eps, self.m = 1e-20, m
        self.B, self.G = np.zeros([m, 1]), np.random.normal(0, m ** (-0.5), [m, 1])

    def forward(self, A):
        self.A, self.K = A, A.shape[1]
        self.mus = A.mean(axis=1, keepdims=True)
        self.vars = A.var(axis=1, keepdims=True)
        self.std_inv = 1 / np.sqrt(self.vars + self.eps)
        self.norm = (A - self.mus) * self.std_inv
        return self.G * self.norm + self.B

    def backward(self, dLdZ):
        self.dLdB = dLdZ.sum(axis=1, keepdims=True)
        self.dLdG = (dLdZ * self.norm).sum(axis=1, keepdims=True)
        d = dLdZ * self.G
        return self.std_inv * (
            d
            - d.mean(axis=1, keepdims=True)
            - self.norm * (d * self.norm).mean(axis=1, keepdims=True)
        )

    def sgd_step(self, lrate):
        self.B = self.B - lrate * self.dLdB
        self.G = self.G - lrate * self.dLdG


class SoftMaxDerivative(SoftMax):
    """Its backward is the true derivative, for a loss that gives dL/dYpred."""

    def forward(self, Z):
        self.A = super().forward(Z)
        return self.A

    def backward(self, dLdA):
        return self.A * (dLdA - np.sum(self.A * dLdA, axis=0))


class CrossEntropyOfOutputs(NLL):
    def backward(self):
        return -self.Y / self.Ypred


class OutputSigmoid(Sigmoid):
    def backward(self, dLdZ):
        return dLdZ


class BinaryNLL(NLL):
    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return -np.sum(Y * np.log(Ypred) + (1 - Y) * np.log(1 - Ypred))


class Squared:
    def forward(self, Ypred, Y):
        self.diff = Ypred - Y
        return np.sum(self.diff**2)

    def backward(self):
        return 2 * self.diff


class MSE:
    """A mean, and its gradient is that of the mean."""

    def forward(self, Ypred, Y):
        self.diff = Ypred - Y
        return np.mean(self.diff**2)

    def backward(self):
        return 2 * self.diff / self.diff.size


class Hinge:
    def forward(self, Ypred, Y):
        assert np.all(np.abs(Y) == 1)
        self.Ypred, self.Y = Ypred, Y
        return np.sum(np.maximum(0, 1 - Y * Ypred))

    def backward(self):
        return np.where(self.Y * self.Ypred < 1, -self.Y, 0)


RIGHT = [
    Linear,
    Tanh,
    ReLU,
    Sigmoid,
    SoftMax,
    NLL,
    Sequential,
    LinearInPlace,
    LinearSumsInStep,
    LinearLoops,
    LinearMomentum,
    Layer,
    LinearOfDictionaries,
    Swish,
    LeakyReLU,
    Dropout,
    BatchNorm,
    SoftMaxDerivative,
    OutputSigmoid,
    BinaryNLL,
    Squared,
    MSE,
    Hinge,
    CrossEntropyOfOutputs,
]

# -------------------------------------------------------------------------------------------- wrong


WRONG = []  # (class, what, words of the cause)


def wrong(what, *words, name=None):
    """Put a class into the zoo: the quantity at fault, and words that the cause must hold."""

    def put(cls):
        WRONG.append((cls.__name__, cls, what, words))
        # it has the name of the intended thing, as a student's would
        cls.__name__ = name or next(base.__name__ for base in cls.__mro__[1:])
        return cls

    return put


@wrong("forward", "bias", "missing")
class LinearNoBias(Linear):
    def forward(self, A):
        self.A = A
        return self.W.T @ A


@wrong("W0", "bias is missing")
class LinearWithoutW0(Linear):
    def __init__(self, m, n):
        self.W = np.random.normal(size=(m, n))

    def forward(self, A):
        self.A = A
        return self.W.T @ A

    def backward(self, dLdZ):
        self.dLdW = self.A @ dLdZ.T
        return self.W @ dLdZ

    def sgd_step(self, lrate):
        self.W = self.W - lrate * self.dLdW


@wrong("W0", "column")
class LinearFlatW0(Linear):
    def __init__(self, m, n):
        super().__init__(m, n)
        self.W0 = np.zeros(n)


@wrong("__init__", "random")
class LinearZeros(Linear):
    def __init__(self, m, n):
        super().__init__(m, n)
        self.W = np.zeros((m, n))


@wrong("forward", "transpose")
class LinearForwardUntransposed(Linear):
    def forward(self, A):
        self.A = A
        return self.W @ A + self.W0


@wrong("forward", "return is missing")
class LinearReturnsNothing(Linear):
    def forward(self, A):
        self.A = A
        self.W.T @ A + self.W0


@wrong("backward", "forward must keep it: self.A")
class LinearForgetsA(Linear):
    def forward(self, A):
        return self.W.T @ A + self.W0


@wrong("dLdW0", "not summed over the batch", "axis=1")
class LinearUnsummed(Linear):
    def backward(self, dLdZ):
        self.dLdW = self.A @ dLdZ.T
        self.dLdW0 = dLdZ
        return self.W @ dLdZ


@wrong("dLdW0", "keepdims")
class LinearFlatSum(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        self.dLdW0 = np.sum(dLdZ, axis=1)
        return self.W @ dLdZ


@wrong("dLdW0", "wrong axis")
class LinearSumsFeatures(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        self.dLdW0 = np.sum(dLdZ, axis=0, keepdims=True)
        return self.W @ dLdZ


@wrong("dLdW0", "averaged")
class LinearMeanBias(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        self.dLdW0 = np.mean(dLdZ, axis=1, keepdims=True)
        return self.W @ dLdZ


@wrong("dLdW", "averaged", "summed")
class LinearAveraged(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        self.dLdW = self.dLdW / dLdZ.shape[1]
        self.dLdW0 = self.dLdW0 / dLdZ.shape[1]
        return self.W @ dLdZ


@wrong("dLdW", "wrong transpose")
class LinearTransposedGradient(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        self.dLdW = dLdZ @ self.A.T
        return self.W @ dLdZ


@wrong("backward", "wrong transpose")
class LinearUntransposedProduct(Linear):
    def backward(self, dLdZ):
        self.dLdW = np.dot(self.A, dLdZ)
        self.dLdW0 = dLdZ
        return np.dot(self.W, dLdZ)


@wrong("backward", "wrong transpose")
class LinearBackwardTransposed(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        return self.W.T @ dLdZ


@wrong("dLdA", "return is missing")
class LinearBackwardReturnsNothing(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)


@wrong("dLdA", "returns dLdW")
class LinearReturnsItsGradient(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        return self.dLdW


@wrong("dLdW", "wrong sign")
class LinearWrongSign(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        self.dLdW, self.dLdW0 = -self.dLdW, -self.dLdW0
        return self.W @ dLdZ


@wrong("dLdW", "batches before")
class LinearAccumulates(Linear):
    def __init__(self, m, n):
        super().__init__(m, n)
        self.dLdW, self.dLdW0 = np.zeros((m, n)), np.zeros((n, 1))

    def backward(self, dLdZ):
        self.dLdW = self.dLdW + self.A @ dLdZ.T
        self.dLdW0 = self.dLdW0 + np.sum(dLdZ, axis=1, keepdims=True)
        return self.W @ dLdZ


@wrong("dLdW", "first sample")
class LinearFirstSample(Linear):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        self.dLdW = self.A[:, 0:1] @ dLdZ[:, 0:1].T
        return self.W @ dLdZ


@wrong("dLdW", "output Z is used")
class LinearKeepsZ(Linear):
    def forward(self, A):
        self.A = np.dot(self.W.T, A) + self.W0
        return self.A


@wrong("sgd_step", "misspelt", "dLdw0")
class LinearMisspeltGradient(Linear):
    def backward(self, dLdZ):
        self.dLdW = np.dot(self.A, dLdZ.T)
        self.dLdw0 = np.sum(dLdZ, axis=1, keepdims=True)
        return np.dot(self.W, dLdZ)


@wrong("sgd_step", "gradient is added")
class LinearAdds(Linear):
    def sgd_step(self, lrate):
        self.W = self.W + lrate * self.dLdW
        self.W0 = self.W0 + lrate * self.dLdW0


@wrong("sgd_step", "local variable W")
class LinearLocal(Linear):
    def sgd_step(self, lrate):
        W = self.W - lrate * self.dLdW
        W0 = self.W0 - lrate * self.dLdW0
        return W, W0


@wrong("sgd_step", "self.w; it must be self.W")
class LinearStray(Linear):
    def sgd_step(self, lrate):
        self.w = self.W - lrate * self.dLdW
        self.w0 = self.W0 - lrate * self.dLdW0


@wrong("sgd_step", "assigns nothing to self.W")
class LinearComputesOnly(Linear):
    def sgd_step(self, lrate):
        self.W - lrate * self.dLdW


@wrong("sgd_step", "does nothing yet")
class LinearEmptyStep(Linear):
    def sgd_step(self, lrate):
        return None


@wrong("sgd_step", "has no sgd_step", "sdg_step", "misspelt", name="Linear")
class LinearMisspelt(Module):
    __init__, forward, backward, sdg_step = (
        Linear.__init__,
        Linear.forward,
        Linear.backward,
        Linear.sgd_step,
    )


@wrong("sgd_step", "called step", "inherited from Module", name="Linear")
class LinearOtherName(Module):
    __init__, forward, backward, step = (
        Linear.__init__,
        Linear.forward,
        Linear.backward,
        Linear.sgd_step,
    )


@wrong("sgd_step", "W0 is forgotten")
class LinearForgetsW0(Linear):
    def sgd_step(self, lrate):
        self.W = self.W - lrate * self.dLdW


@wrong("sgd_step", "lrate is forgotten")
class LinearForgetsRate(Linear):
    def sgd_step(self, lrate):
        self.W = self.W - self.dLdW
        self.W0 = self.W0 - self.dLdW0


@wrong("sgd_step", "divided by the batch")
class LinearAveragesInStep(Linear):
    def sgd_step(self, lrate):
        self.W = self.W - lrate * self.dLdW / self.A.shape[1]
        self.W0 = self.W0 - lrate * self.dLdW0 / self.A.shape[1]


@wrong("backward", "derivative is forgotten")
class TanhForgets(Tanh):
    def backward(self, dLdA):
        return dLdA


@wrong("backward", "dLdA is forgotten")
class TanhForgetsGradient(Tanh):
    def backward(self, dLdA):
        return 1 - self.A**2


@wrong("backward", "at Z instead of A")
class TanhAtZ(Tanh):
    def forward(self, Z):
        self.Z = Z
        return np.tanh(Z)

    def backward(self, dLdA):
        return dLdA * (1 - self.Z**2)


@wrong("backward", "square is missing")
class TanhNoSquare(Tanh):
    def backward(self, dLdA):
        return dLdA * (1 - self.A)


@wrong("backward", "second time")
class TanhTwice(Tanh):
    def backward(self, dLdA):
        return dLdA * (1 - np.tanh(self.A) ** 2)


@wrong("backward", "all zeros")
class TanhTimesZero(Tanh):
    def backward(self, dLdA):
        return dLdA * 0


@wrong("backward", "matrix product")
class TanhMatrix(Tanh):
    def backward(self, dLdA):
        return dLdA @ (1 - self.A**2)


@wrong("backward", "one sample", "batch")
class TanhDiagonal(Tanh):
    def backward(self, dLdA):
        return np.diag((1 - self.A**2)[:, 0]) @ dLdA


@wrong("backward", "first time")
class TanhStale(Tanh):
    def forward(self, Z):
        if not hasattr(self, "A"):
            self.A = np.tanh(Z)
        return np.tanh(Z)

    def backward(self, dLdA):
        return (
            dLdA * (1 - self.A**2)
            if dLdA.shape == self.A.shape
            else dLdA * (1 - self.A[:, : dLdA.shape[1]] ** 2)
        )


@wrong("forward", "this is the sigmoid")
class TanhIsSigmoid(Tanh):
    def forward(self, Z):
        self.A = 1 / (1 + np.exp(-Z))
        return self.A


@wrong("backward", "derivative is forgotten")
class ReLUForgets(ReLU):
    def backward(self, dLdA):
        return dLdA


@wrong("backward", "multiplied by A")
class ReLUTimesA(ReLU):
    def backward(self, dLdA):
        return dLdA * self.A


@wrong("backward", "applied to dLdA")
class ReLUOfGradient(ReLU):
    def backward(self, dLdA):
        return np.maximum(0, dLdA)


@wrong("forward", "np.maximum")
class ReLUMax(ReLU):
    def forward(self, Z):
        self.A = max(0, Z)
        return self.A


@wrong("forward", "np.maximum")
class ReLULargest(ReLU):
    def forward(self, Z):
        self.A = np.max(Z, axis=0)
        return self.A


@wrong("forward", "writes into the array that it is given")
class ReLUInPlace(ReLU):
    def forward(self, Z):
        Z[Z < 0] = 0
        self.A = Z
        return self.A


@wrong("backward", "derivative is forgotten", "OutputSigmoid")
class SigmoidForgets(Sigmoid):
    def backward(self, dLdA):
        return dLdA


@wrong("backward", "factor 1 - A")
class SigmoidHalf(Sigmoid):
    def backward(self, dLdA):
        return dLdA * self.A


@wrong("forward", "wrong sign in the exponent")
class SigmoidSign(Sigmoid):
    def forward(self, Z):
        self.A = 1 / (1 + np.exp(Z))
        return self.A


@wrong("forward", "wrong axis")
class SoftMaxRows(SoftMax):
    def forward(self, Z):
        e = np.exp(Z)
        return e / np.sum(e, axis=1, keepdims=True)


@wrong("forward", "all samples together")
class SoftMaxWhole(SoftMax):
    def forward(self, Z):
        return np.exp(Z) / np.sum(np.exp(Z))


@wrong("forward", "not normalised")
class SoftMaxUnnormalised(SoftMax):
    def forward(self, Z):
        return np.exp(Z)


@wrong("class_fun", "ignores its argument")
class SoftMaxIgnores(SoftMax):
    def forward(self, Z):
        self.A = super().forward(Z)
        return self.A

    def class_fun(self, Ypred):
        return np.argmax(self.A, axis=0)


@wrong("class_fun", "wrong axis")
class SoftMaxClassesAlongSamples(SoftMax):
    def class_fun(self, Ypred):
        return np.argmax(Ypred, axis=1)


@wrong("class_fun", "axis=0")
class SoftMaxOneClass(SoftMax):
    def class_fun(self, Ypred):
        return np.argmax(Ypred)


@wrong("class_fun", "lists")
class SoftMaxList(SoftMax):
    def class_fun(self, Ypred):
        return [np.argmax(column) for column in Ypred.T]


@wrong("class_fun", "largest probability")
class SoftMaxProbability(SoftMax):
    def class_fun(self, Ypred):
        return np.max(Ypred, axis=0)


@wrong("backward", "derivative", "dL/dZ already")
class SoftMaxDiagonal(SoftMax):
    def forward(self, Z):
        self.A = super().forward(Z)
        return self.A

    def backward(self, dLdZ):
        return dLdZ * self.A * (1 - self.A)


@wrong("forward", "averaged over the batch")
class NLLAveraged(NLL):
    def forward(self, Ypred, Y):
        super().forward(Ypred, Y)
        return -np.sum(Y * np.log(Ypred)) / Y.shape[1]


@wrong("backward", "divided by the batch")
class NLLBackwardAveraged(NLL):
    def backward(self):
        return (self.Ypred - self.Y) / self.Y.shape[1]


@wrong("backward", "wrong sign")
class NLLBackwardSign(NLL):
    def backward(self):
        return self.Y - self.Ypred


@wrong("backward", "dL/dYpred", "SoftMax returns its argument")
class NLLOfOutputs(NLL):
    def backward(self):
        return -self.Y / self.Ypred


@wrong("forward", "minus is missing")
class NLLSign(NLL):
    def forward(self, Ypred, Y):
        super().forward(Ypred, Y)
        return np.sum(Y * np.log(Ypred))


@wrong("forward", "two-class")
class NLLTwoClass(NLL):
    def forward(self, Ypred, Y):
        super().forward(Ypred, Y)
        return -np.sum(Y * np.log(Ypred) + (1 - Y) * np.log(1 - Ypred))


@wrong("forward", "np.sum is missing")
class NLLUnsummed(NLL):
    def forward(self, Ypred, Y):
        super().forward(Ypred, Y)
        return -Y * np.log(Ypred)


@wrong("forward", "return is missing")
class NLLTemplate(NLL):
    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return None


@wrong("backward", "forward must keep it: self.Ypred")
class NLLForgets(NLL):
    def forward(self, Ypred, Y):
        return -np.sum(Y * np.log(Ypred))


@wrong("backward", "wrong sign")
class SquaredSign(Squared):
    def backward(self):
        return -2 * self.diff


@wrong("backward", "0.5 times")
class SquaredHalf(Squared):
    def backward(self):
        return self.diff


@wrong("backward", "wrong sign")
class SwishSign(Swish):
    def backward(self, dLdA):
        return -super().backward(dLdA)


@wrong("backward")
class SwishForgets(Swish):
    def backward(self, dLdA):
        return dLdA * self.s


@wrong("dLdoffset", "averaged")
class LayerAverages(Layer):
    def backward(self, g):
        super().backward(g)
        self.dLdoffset = g.mean(axis=1, keepdims=True)
        return self.weight.T @ g


@wrong("sgd_step", "gradient is added", name="Linear")
class LinearOfDictionariesAdds(LinearOfDictionaries):
    def sgd_step(self, lrate):
        for k in self.p:
            self.p[k] += lrate * self.g[k]


@wrong("sgd_step", "averaged", name="Linear")
class LinearOfDictionariesAverages(LinearOfDictionaries):
    def backward(self, dLdZ):
        result = super().backward(dLdZ)
        self.g["b"] = self.g["b"] / dLdZ.shape[1]
        return result


@wrong("forward", "samples as rows", name="Linear")
class LinearRows(Linear):
    def forward(self, A):
        self.A = A
        return A @ self.W + self.W0.T


@wrong("backward")
class BatchNormForgetsMean(BatchNorm):
    def backward(self, dLdZ):
        super().backward(dLdZ)
        return self.std_inv * self.G * dLdZ


@wrong("forward", "next one")
class SequentialNoChain(Sequential):
    def forward(self, Xt):
        for m in self.modules:
            m.forward(Xt)
        return Xt


@wrong("backward", "delta = m.backward(delta)", "from the last to the first")
class SequentialForwards(Sequential):
    def backward(self, delta):
        for m in self.modules[::-1]:
            m.backward(delta)


@wrong("sgd_step", "does not call its sgd_step")
class SequentialFirstOnly(Sequential):
    def sgd_step(self, lrate):
        self.modules[0].sgd_step(lrate)


@wrong("sgd", "must call sgd_step")
class SequentialNeverSteps(Sequential):
    def sgd(self, X, Y, iters=100, lrate=0.005):
        for _ in range(iters):
            i = np.random.randint(X.shape[1])
            self.loss.forward(self.forward(X[:, i : i + 1]), Y[:, i : i + 1])
            self.backward(self.loss.backward())


@wrong("sgd", "return or break inside the loop")
class SequentialOnce(Sequential):
    def sgd(self, X, Y, iters=100, lrate=0.005):
        for _ in range(iters):
            super().sgd(X, Y, 1, lrate)
            return


@wrong("sgd", "all samples")
class SequentialFullBatch(Sequential):
    def sgd(self, X, Y, iters=100, lrate=0.005):
        for _ in range(iters):
            self.loss.forward(self.forward(X), Y)
            self.backward(self.loss.backward())
            self.sgd_step(lrate)


@wrong("sgd", "drawn separately")
class SequentialTwoDraws(Sequential):
    def sgd(self, X, Y, iters=100, lrate=0.005):
        N = X.shape[1]
        for _ in range(iters):
            i, j = np.random.randint(N), np.random.randint(N)
            super().sgd(X[:, i : i + 1], Y[:, j : j + 1], 1, lrate)


@wrong("sgd", "0 to N-1")
class SequentialNeverTheLast(Sequential):
    def sgd(self, X, Y, iters=100, lrate=0.005):
        for _ in range(iters):
            i = np.random.randint(max(1, X.shape[1] - 1))
            super().sgd(X[:, i : i + 1], Y[:, i : i + 1], 1, lrate)


@wrong("sgd", "uphill")
class SequentialUphill(Sequential):
    def sgd(self, X, Y, iters=100, lrate=0.005):
        super().sgd(X, Y, iters, -lrate)
