"""Modules with the course library's contract: output from input, dL/dInput from dL/dOutput, dL/dWeights, and the step.

Samples are columns: arrays are (features, b). Arithmetic is that of the live kernels (nncore.use_backend).
"""

import numpy as np

from nncore import _backend, _checks, initializers

__all__ = ["Linear", "Module", "OutputSigmoid", "ReLU", "Sigmoid", "SoftMax", "Tanh"]


@_backend.follow
class Module:
    """Base of all modules; subclass it and mix your own modules into a Sequential.

    A subclass with weights overrides `step(lrate)` or `sgd_step(lrate)`, whichever name its author knows: the other one calls it.
    A subclass that overrides neither has nothing to train.

    >>> class Double(Module):
    ...     def forward(self, A):
    ...         return 2 * A
    ...     def backward(self, dLdA):
    ...         return 2 * dLdA
    >>> Double().sgd_step(0.1)

    `gradients` tells nncore.optimizers what to train: the name of each weight, and that of its gradient, which backward sets.
    """

    gradients: dict[str, str] = {}

    def step(self, lrate):
        """Update the weights; the same as sgd_step."""
        self._either(Module.sgd_step, self.sgd_step, lrate)

    def sgd_step(self, lrate):
        """Update the weights: W ← W − lrate dL/dW; returns None."""
        self._either(Module.step, self.step, lrate)

    def _either(self, base, other, lrate):
        """Run the other name where a subclass or the instance overrides it, not from inside it; else the library's own update."""
        if getattr(other, "__func__", None) is base or "_stepping" in self.__dict__:
            self._update(lrate)
            return
        self._stepping = True
        try:
            other(lrate)
        finally:
            del self._stepping

    def _update(self, lrate):
        """A module without weights has nothing to update."""

    def __repr__(self):
        return f"{type(self).__name__}()"


class Linear(Module):
    """Z = Wᵀ A + W0, with W (m, n), W0 (n, 1), A (m, b), Z (n, b).

    init: "course" (W ~ N(0, 1/m) in one draw of np.random.normal, W0 = 0), "notes" (W0 ~ N(0, 1) as well, drawn after W), "he"
    (W ~ N(0, 2/m), W0 = 0) or a callable (m, n) -> (W, W0). dtype: float64 or float32; the type of W computes.
    ValueError for m or n below 1 and unknown names; TypeError for other dtypes.

    >>> import numpy as np
    >>> np.random.seed(0)
    >>> Linear(2, 3).forward(np.array([[2], [5]])).round(3).ravel().tolist()
    [10.418, 7.169, -2.071]
    """

    gradients = {"W": "dLdW", "W0": "dLdW0"}

    def __init__(self, m, n, *, init="course", dtype=np.float64):
        self.m, self.n = _checks.count("m", m, 1), _checks.count("n", n, 1)
        try:
            dtype = np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
        if dtype not in _checks.COMPUTING:
            raise TypeError(f"dtype must be float32 or float64, got {dtype}")
        self.W, self.W0 = initializers.initial_weights(init, self.m, self.n, dtype)

    def forward(self, A):
        """Z (n, b) from A (m, b), which is kept as .A for backward."""
        self.A = A
        return self._kernels.linear_forward(A, self.W, self.W0)

    def backward(self, dLdZ):
        """dLdA (m, b) from dLdZ (n, b); sets .dLdW (m, n) and .dLdW0 (n, 1), both summed over the batch."""
        if not hasattr(self, "A"):
            raise RuntimeError("Linear.backward must follow Linear.forward, got no input yet")
        dLdA, self.dLdW, self.dLdW0 = self._kernels.linear_backward(dLdZ, self.A, self.W)
        return dLdA

    def _update(self, lrate):
        """W ← W − lrate dLdW, W0 ← W0 − lrate dLdW0, in the arrays' own memory.

        Integer, bool, float16, longdouble and byte-swapped weights are first replaced by a float64 copy. Read-only weights,
        gradients of another shape and other types are refused before anything changes.
        """
        if not hasattr(self, "dLdW"):
            raise RuntimeError("Linear.step must follow Linear.backward, got no gradient yet")
        W, W0 = self.checked_weights()
        _checks.shape("dLdW", self.dLdW, W.shape)
        _checks.shape("dLdW0", self.dLdW0, W0.shape)
        self.W, self.W0 = W, W0
        self._kernels.sgd_step(W, self.dLdW, lrate)
        self._kernels.sgd_step(W0, self.dLdW0, lrate)

    def checked_weights(self):
        """(W, W0) as a step will update them: the attributes themselves, or float64 copies of what cannot be updated."""
        W = _checks.trainable("W", self.W, ("m", "n"))
        return W, _checks.trainable("W0", self.W0, (W.shape[1], 1))

    @property
    def parameters(self):
        """Number of weights, m n + n."""
        return np.size(self.W) + np.size(self.W0)

    def __repr__(self):
        m, n = np.shape(self.W) if np.ndim(self.W) == 2 else (self.m, self.n)
        dtype = getattr(self.W, "dtype", np.dtype(np.float64))
        return f"Linear({m}, {n}{'' if dtype == np.float64 else f', dtype={dtype}'})"


class _Activation(Module):
    def backward(self, dLdA):
        """dLdZ from dLdA, both of the shape of the last input."""
        if not hasattr(self, "A"):
            raise RuntimeError(f"{type(self).__name__}.backward must follow {type(self).__name__}.forward, got no input yet")
        return self._derive(dLdA)


class Tanh(_Activation):
    """A = tanh Z; dLdZ = dLdA ⊙ (1 − A²).

    >>> Tanh().forward([[0.0]]).item()
    0.0
    """

    def forward(self, Z):
        """A = tanh Z, kept as .A and returned; Z is not changed."""
        self.A = self._kernels.tanh_forward(Z)
        return self.A

    def _derive(self, dLdA):
        return self._kernels.tanh_backward(dLdA, self.A)


class ReLU(_Activation):
    """A = max(0, Z); dLdZ = dLdA where A > 0, else 0, so the gradient at 0 is 0. Whole numbers stay whole.

    >>> ReLU().forward(np.array([[-1], [2]])).ravel().tolist()
    [0, 2]
    """

    def forward(self, Z):
        """A = max(0, Z), kept as .A and returned; Z is not changed."""
        self.A = self._kernels.relu_forward(Z)
        return self.A

    def _derive(self, dLdA):
        return self._kernels.relu_backward(dLdA, self.A)


class Sigmoid(_Activation):
    """A = 1 / (1 + e^−Z) as a hidden activation; dLdZ = dLdA ⊙ A (1 − A). For an output with BinaryNLL use OutputSigmoid.

    >>> Sigmoid().forward([[0.0]]).item()
    0.5
    """

    def forward(self, Z):
        """A = 1 / (1 + e^−Z), kept as .A and returned; Z is not changed."""
        self.A = self._kernels.sigmoid_forward(Z)
        return self.A

    def _derive(self, dLdA):
        return self._kernels.sigmoid_backward(dLdA, self.A)


class SoftMax(Module):
    """a_i = e^{z_i} / Σ_j e^{z_j} in every column, as the output unit of NLL, which computes dLdZ itself.

    >>> SoftMax().forward([[0.0], [0.0]]).ravel().tolist()
    [0.5, 0.5]
    """

    def forward(self, Z):
        """Probabilities (n, b) from logits (n, b), stable for any finite logits."""
        return self._kernels.softmax_forward(Z)

    def backward(self, dLdZ):
        """dLdZ itself, handed through from the loss."""
        return dLdZ

    def class_fun(self, Ypred):
        """Index of the largest entry of every column, the first one where several are equal: (b,) int64."""
        return np.argmax(Ypred, axis=0).astype(np.int64, copy=False)


class OutputSigmoid(Module):
    """a = 1 / (1 + e^−z) for every label, as the output unit of BinaryNLL, which computes dLdZ itself.

    >>> OutputSigmoid().forward([[0.0]]).item()
    0.5
    """

    def forward(self, Z):
        """Probabilities (n, b) from logits (n, b)."""
        return self._kernels.sigmoid_forward(Z)

    def backward(self, dLdZ):
        """dLdZ itself, handed through from the loss."""
        return dLdZ

    def class_fun(self, Ypred):
        """1 where the probability exceeds 1/2, else 0: int64, (b,) for one label, (n, b) for several."""
        classes = (np.asarray(Ypred) > 0.5).astype(np.int64)
        return classes[0] if classes.shape[0] == 1 else classes
