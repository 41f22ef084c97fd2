"""Modules with the course library's contract: output from input, dL/dInput from dL/dOutput,
dL/dWeights, and the step.

Samples are columns: arrays are (features, b). Arithmetic is that of the live kernels
(nncore.use_backend).
"""

import numpy as np

from nncore import _backend, _checks, _core, initializers

__all__ = [
    "GELU",
    "BatchNorm",
    "Dropout",
    "LeakyReLU",
    "Linear",
    "Module",
    "OutputSigmoid",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "SoftMax",
    "Tanh",
]


@_backend.follow
class Module:
    """Base of all modules; subclass it and mix your own modules into a Sequential.

    A subclass with weights overrides `step(lrate)` or `sgd_step(lrate)`, whichever name its author
    knows: the other one calls it. A subclass that overrides neither has nothing to train.
    `training` is True or False as net.train() and net.eval() set it; a module that predicts by
    another way than it trains, or whose forward keeps what its backward needs, may also have
    predict_forward(A), which keeps nothing: with it, threads may predict while another trains.
    `gradients` names the weights that optimisers may update, and the gradients that backward
    leaves: {"W": "dLdW", "W0": "dLdW0"} for Linear.

    >>> class Double(Module):
    ...     def forward(self, A):
    ...         return 2 * A
    ...     def backward(self, dLdA):
    ...         return 2 * dLdA
    >>> Double().sgd_step(0.1)
    """

    training = True
    gradients: dict[str, str] = {}

    def step(self, lrate):
        """Update the weights; the same as sgd_step."""
        self._either(Module.sgd_step, self.sgd_step, lrate)

    def sgd_step(self, lrate):
        """Update the weights: W ← W − lrate dL/dW; returns None."""
        self._either(Module.step, self.step, lrate)

    def _either(self, base, other, lrate):
        """Run the other name where a subclass or the instance overrides it, not from inside it;
        else the library's own update."""
        if getattr(other, "__func__", None) is base or "_stepping" in self.__dict__:
            self._update(lrate)
            return
        self._stepping = True
        try:
            other(lrate)
        finally:
            del self._stepping

    def _update(self, lrate):
        """The library's own update of the module's weights, in the arrays' own memory."""
        _core.take_steps(self._step_terms(lrate))

    def _step_terms(self, lrate):
        """What take_steps needs for this module's step; no weight has changed yet. A module without
        weights has none."""
        return []

    def __repr__(self):
        return f"{type(self).__name__}()"


class Linear(Module):
    """Z = Wᵀ A + W0, with W (m, n), W0 (n, 1), A (m, b), Z (n, b).

    init: "course" (W ~ N(0, 1/m) in one draw of np.random.normal, W0 = 0), "notes" (W0 ~ N(0, 1) as
    well, drawn after W), "he" (W ~ N(0, 2/m), W0 = 0) or a callable (m, n) -> (W, W0). dtype:
    float64 or float32; the type of W computes. ValueError for m or n below 1 and unknown names;
    TypeError for other dtypes.

    >>> import numpy as np
    >>> np.random.seed(0)
    >>> Linear(2, 3).forward(np.array([[2], [5]])).round(3).ravel().tolist()
    [10.418, 7.169, -2.071]
    """

    gradients = {"W": "dLdW", "W0": "dLdW0"}
    statistics_arrays = ()

    def __init__(self, m, n, *, init="course", dtype=np.float64):
        self.m, self.n = _checks.count("m", m, 1), _checks.count("n", n, 1)
        dtype = _checks.network_dtype(dtype)
        self.W, self.W0 = initializers.initial_weights(init, self.m, self.n, dtype)

    def forward(self, A):
        """Z (n, b) from A (m, b), which is kept as .A for backward."""
        self.A = A
        return self._kernels.linear_forward(A, self.W, self.W0)

    def predict_forward(self, A):
        """forward(A) that keeps nothing."""
        return self._kernels.linear_forward(A, self.W, self.W0)

    def backward(self, dLdZ):
        """dLdA (m, b) from dLdZ (n, b); sets .dLdW (m, n) and .dLdW0 (n, 1), both summed over the
        batch."""
        if not hasattr(self, "A"):
            raise RuntimeError("Linear.backward must follow Linear.forward, got no input yet")
        dLdA, self.dLdW, self.dLdW0 = self._kernels.linear_backward(dLdZ, self.A, self.W)
        return dLdA

    def _step_terms(self, lrate):
        """W ← W − lrate dLdW, W0 ← W0 − lrate dLdW0, in the arrays' own memory.

        Integer, bool, float16, longdouble and byte-swapped weights are first replaced by a float64
        copy. Read-only weights, gradients of another shape and other types are refused before
        anything changes.
        """
        if not hasattr(self, "dLdW"):
            raise RuntimeError("Linear.step must follow Linear.backward, got no gradient yet")
        W, W0 = self.checked_weights()
        _checks.shape("dLdW", self.dLdW, W.shape)
        _checks.shape("dLdW0", self.dLdW0, W0.shape)
        self.W, self.W0 = W, W0
        terms = self._kernels.step_terms
        return [terms(W, self.dLdW, lrate), terms(W0, self.dLdW0, lrate)]

    def checked_weights(self):
        """(W, W0) as a step will update them: the attributes themselves, or float64 copies of what
        cannot be updated."""
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
            raise RuntimeError(
                f"{type(self).__name__}.backward must follow {type(self).__name__}.forward, got no "
                f"input yet"
            )
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

    def predict_forward(self, Z):
        """forward(Z) that keeps nothing."""
        return self._kernels.tanh_forward(Z)

    def _derive(self, dLdA):
        return self._kernels.tanh_backward(dLdA, self.A)


_NONE = 0.0  # no dropout: the very object, for a quick look


class ReLU(_Activation):
    """A = max(0, Z); dLdZ = dLdA where A > 0, else 0, so the gradient at 0 is 0. Whole numbers stay
    whole.

    forward(Z, dropout_pct) is the course's variant with dropout: of the outputs a share
    dropout_pct, drawn by np.random.binomial, becomes 0 and the others are divided by 1 −
    dropout_pct, and so are the gradients; at 0 nothing is drawn. Networks call forward(Z) alone: in
    a network use Dropout.

    >>> ReLU().forward(np.array([[-1], [2]])).ravel().tolist()
    [0, 2]
    """

    _scale = 1.0

    def forward(self, Z, dropout_pct=_NONE):
        """A = max(0, Z), kept as .A and returned; Z is not changed. 0 ≤ dropout_pct < 1."""
        A = self._kernels.relu_forward(Z)
        if dropout_pct is _NONE and self._scale == 1:
            self.A = A
            return A
        dropped = _checks.share("dropout_pct", dropout_pct)
        if dropped:
            self._scale = 1 / (1 - dropped)
            kept = np.random.binomial(1, 1 - dropped, A.shape) * self._scale
            A = _times(A, kept.astype(_checks.computing_dtype(A)))
        elif "_scale" in self.__dict__:
            del self._scale
        self.A = A
        return A

    def predict_forward(self, Z):
        """forward(Z) that keeps nothing."""
        return self._kernels.relu_forward(Z)

    def _derive(self, dLdA):
        dLdZ = self._kernels.relu_backward(dLdA, self.A)
        return dLdZ if self._scale == 1 else _times(dLdZ, dLdZ.dtype.type(self._scale))


@_checks.quiet
def _times(a, b):
    return a * b


class Sigmoid(_Activation):
    """A = 1 / (1 + e^−Z) as a hidden activation; dLdZ = dLdA ⊙ A (1 − A). For an output with
    BinaryNLL use OutputSigmoid.

    >>> Sigmoid().forward([[0.0]]).item()
    0.5
    """

    def forward(self, Z):
        """A = 1 / (1 + e^−Z), kept as .A and returned; Z is not changed."""
        self.A = self._kernels.sigmoid_forward(Z)
        return self.A

    def predict_forward(self, Z):
        """forward(Z) that keeps nothing."""
        return self._kernels.sigmoid_forward(Z)

    def _derive(self, dLdA):
        return self._kernels.sigmoid_backward(dLdA, self.A)


class _Elementwise(_Activation):
    """An activation given by its kernels, `<_kernel>_forward` and `<_kernel>_backward`."""

    _kernel = ""
    _of = "A"  # what the derivative is a function of: the output A, or the input Z
    _arguments: tuple[float, ...] = ()  # further ones of the kernels

    def forward(self, Z):
        """Return A, which is kept as `.A`; Z is not changed."""
        self.A = self.predict_forward(Z)
        if self._of == "Z":
            self.Z = Z
        return self.A

    def predict_forward(self, Z):
        """Return forward(Z), but keep nothing."""
        return getattr(self._kernels, self._kernel + "_forward")(Z, *self._arguments)

    def _derive(self, dLdA):
        backward = getattr(self._kernels, self._kernel + "_backward")
        return backward(dLdA, getattr(self, self._of), *self._arguments)


class LeakyReLU(_Elementwise):
    """Rectified linear unit with a slope for negative inputs.

    A = Z if Z > 0, else slope Z; dL/dZ = dL/dA if A > 0, else slope dL/dA. The derivative at 0 is
    `slope`.

    Parameters
    ----------
    slope : float, default 0.01
        Derivative for negative Z, at least 0 and finite.

    Raises
    ------
    ValueError
        If slope is negative, infinite or NaN.
    TypeError
        If slope is not a real number.

    Examples
    --------
    >>> LeakyReLU(0.1).forward([[-2.0], [3.0]]).ravel().tolist()
    [-0.2, 3.0]
    """

    _kernel = "leaky_relu"

    def __init__(self, slope=0.01):
        self._configure(slope)

    def _configure(self, slope):
        """Check the setting and keep it as a plain number; `load` calls it, too."""
        value = _checks.number("slope", slope)
        if not 0 <= value < np.inf:
            raise ValueError(f"slope must be at least 0 and finite, got {slope}")
        self.slope = value

    @property
    def _arguments(self):
        return (self.slope,)

    def __repr__(self):
        return f"LeakyReLU({self.slope:g})"


class GELU(_Elementwise):
    """Gaussian error linear unit.

    A = Z ⊙ Φ(Z), where Φ is the standard normal distribution; dL/dZ = dL/dA ⊙ (Φ(Z) + Z ⊙ φ(Z)),
    where φ is its density (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    approximate : {"none", "tanh"}, default "none"
        "tanh" computes A = Z ⊙ (1 + tanh U) / 2 with U = √(2/π) (Z + 0.044715 Z³), which differs
        from the exact form by at most 5e-4.

    Raises
    ------
    ValueError
        If approximate is neither.

    Examples
    --------
    >>> GELU().forward([[-1.0], [1.0]]).ravel().round(4).tolist()
    [-0.1587, 0.8413]
    """

    _of = "Z"

    def __init__(self, approximate="none"):
        self._configure(approximate)

    def _configure(self, approximate):
        """Check the setting; `load` calls it, too."""
        self.approximate = _checks.choice("approximate", approximate, ("none", "tanh"))

    @property
    def _kernel(self):
        return "gelu" if self.approximate == "none" else "gelu_tanh"

    def __repr__(self):
        return "GELU()" if self.approximate == "none" else "GELU('tanh')"


class SiLU(_Elementwise):
    """Sigmoid linear unit, also known as Swish.

    A = Z ⊙ σ(Z) with σ(z) = 1 / (1 + e^−z); dL/dZ = dL/dA ⊙ (σ(Z) + Z ⊙ σ(Z) ⊙ (1 − σ(Z)))
    (Hendrycks and Gimpel 2016; Elfwing, Uchibe and Doya 2018).

    Examples
    --------
    >>> SiLU().forward([[0.0], [1.0]]).ravel().round(4).tolist()
    [0.0, 0.7311]
    """

    _kernel, _of = "silu", "Z"


class SoftMax(Module):
    """a_i = e^{z_i} / Σ_j e^{z_j} in every column, as the output unit of NLL, which computes dLdZ
    itself.

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
        """Index of the largest entry of every column, the first one where several are equal: (b,)
        int64."""
        return np.argmax(Ypred, axis=0).astype(np.int64, copy=False)


class OutputSigmoid(Module):
    """a = 1 / (1 + e^−z) for every label, as the output unit of BinaryNLL, which computes dLdZ
    itself.

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
        """1 where the probability exceeds 1/2, else 0: int64, (b,) for one label, (n, b) for
        several."""
        classes = (np.asarray(Ypred) > 0.5).astype(np.int64)
        return classes[0] if classes.shape[0] == 1 else classes


class BatchNorm(Module):
    """Z = G ⊙ (A − μ) / √(v + eps) + B, where μ and v are mean and variance (1/K) of each of the m
    rows over the K samples of the batch.

    dLdA = G (dLdZ − mean dLdZ − norm ⊙ mean(dLdZ ⊙ norm)) / √(v + eps); dLdG = Σ dLdZ ⊙ norm; dLdB
    = Σ dLdZ (Ioffe and Szegedy 2015). The constructor draws G ~ N(0, 1/m), (m, 1), by
    np.random.normal; B = 0.

    statistics: "batch" is the course's form. It normalises by the batch given, in prediction too:
    the output for one sample depends on the rest of the batch, and a sample alone gives B. The
    constructor calls np.random.seed(0) before it draws, and eps is 1e-20. "running" predicts by
    running_mean and running_var, which each training forward moves by `momentum` towards the
    batch's mean and its variance (1/(K − 1); unchanged for K = 1). The constructor seeds nothing,
    and eps is 1e-5.

    eps: a number of at least 0; None is the default of the form.

    >>> import numpy as np
    >>> norm = BatchNorm(1)
    >>> norm.G[:] = 1
    >>> norm.forward(np.array([[1.0, 3.0]])).tolist(), norm.mus.item(), norm.vars.item()
    ([[-1.0, 1.0]], 2.0, 1.0)
    """

    gradients = {"G": "dLdG", "B": "dLdB"}

    def __init__(self, m, *, statistics="batch", momentum=0.1, eps=None, dtype=np.float64):
        self.m = _checks.count("m", m, 1)
        dtype = _checks.network_dtype(dtype)
        default = 1e-5 if isinstance(statistics, str) and statistics == "running" else 1e-20
        self._configure(statistics, momentum, default if eps is None else eps)
        if self.statistics == "batch":
            np.random.seed(0)
        self.B = np.zeros((self.m, 1), dtype)
        self.G = np.random.normal(0, self.m**-0.5, (self.m, 1)).astype(dtype)
        if self.statistics == "running":
            self.running_mean, self.running_var = (
                np.zeros((self.m, 1), dtype),
                np.ones((self.m, 1), dtype),
            )

    def _configure(self, statistics, momentum, eps):
        """Check all settings, then keep them as plain numbers; `load` calls it, too."""
        _checks.choice("statistics", statistics, ("batch", "running"))
        share, least = _checks.number("momentum", momentum), _checks.number("eps", eps)
        if not 0 < share <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, got {momentum}")
        if not 0 <= least < np.inf:
            finite = " and finite" if least == np.inf else ""
            raise ValueError(f"eps must be at least 0{finite}, got {eps}")
        self.statistics, self.momentum, self.eps = statistics, share, least

    def forward(self, A):
        """Z (m, K) from A (m, K); in training mode keeps .A, .K, .mus, .vars (m, 1) and .norm (m,
        K)."""
        if not self.training:
            return self.predict_forward(A)
        Z, self.norm, self.mus, self.vars = self._kernels.batchnorm_forward(
            A, self.G, self.B, self.eps
        )
        self.A, self.K = A, np.shape(A)[1]
        if self.statistics == "running":
            self.follow(self.mus, self.vars, self.K)
        return Z

    @_checks.quiet
    def follow(self, mus, vars, K):
        """Move the running statistics towards those of a batch of K samples."""
        self.running_mean += self.momentum * (mus - self.running_mean)
        if K > 1:
            self.running_var += self.momentum * (vars * (K / (K - 1)) - self.running_var)

    def predict_forward(self, A):
        """Z (m, K) by the statistics of prediction; nothing is kept."""
        if self.statistics == "batch":
            return self._kernels.batchnorm_forward(A, self.G, self.B, self.eps)[0]
        return self._kernels.batchnorm_apply(
            A, self.G, self.B, self.running_mean, self.running_var, self.eps
        )

    def backward(self, dLdZ):
        """dLdA (m, K) from dLdZ (m, K); sets .dLdG and .dLdB (m, 1), both summed over the batch."""
        if not hasattr(self, "norm"):
            raise RuntimeError(
                "BatchNorm.backward must follow BatchNorm.forward in training mode, got no input "
                "yet"
            )
        dLdA, self.dLdG, self.dLdB = self._kernels.batchnorm_backward(
            dLdZ, self.norm, self.vars, self.G, self.eps
        )
        return dLdA

    def _step_terms(self, lrate):
        """G ← G − lrate dLdG, B ← B − lrate dLdB, in the arrays' own memory."""
        if not hasattr(self, "dLdG"):
            raise RuntimeError("BatchNorm.step must follow BatchNorm.backward, got no gradient yet")
        self.G, self.B = self.checked_weights()
        terms = self._kernels.step_terms
        return [terms(self.G, self.dLdG, lrate), terms(self.B, self.dLdB, lrate)]

    @property
    def parameters(self):
        """Number of weights, 2 m."""
        return np.size(self.G) + np.size(self.B)

    @property
    def statistics_arrays(self):
        """Names of the arrays that change in training beside the weights."""
        return ("running_mean", "running_var") if self.statistics == "running" else ()

    def checked_weights(self):
        """(G, B) as a step will update them."""
        return tuple(
            _checks.trainable(name, getattr(self, name), (self.m, 1)) for name in ("G", "B")
        )

    @_checks.quiet
    def affine(self):
        """(scale, shift), both (m, 1): in prediction by running statistics Z = scale ⊙ A +
        shift."""
        scale = self.G / np.sqrt(self.running_var + self.eps)
        return scale, self.B - self.running_mean * scale

    def __repr__(self):
        statistics = "" if self.statistics == "batch" else f", statistics={self.statistics!r}"
        dtype = getattr(self.G, "dtype", np.dtype(np.float64))
        return f"BatchNorm({self.m}{statistics}{'' if dtype == np.float64 else f', dtype={dtype}'})"


class Dropout(Module):
    """In training each entry becomes 0 with probability p, and the others are divided by 1 − p; in
    prediction nothing is changed.

    The mask is a function of (key, number of the training forward, place of the entry), so that
    both backends, every instruction-set level and any number of threads give the same one. seed:
    the key, a whole number; None draws it by np.random.randint at the first training forward. 0 ≤ p
    < 1 (Srivastava and others 2014, as "inverted" dropout).

    >>> Dropout(0.5, seed=0).forward(np.ones((2, 4))).tolist()
    [[0.0, 2.0, 2.0, 0.0], [2.0, 0.0, 2.0, 2.0]]
    """

    def __init__(self, p, seed=None):
        self._configure(
            p, None if seed is None else _checks.count("seed", seed, most=None) % 2**64, 0
        )

    def _configure(self, p, key, count):
        """Check the settings and keep them as plain numbers; `load` calls it, too."""
        self.p = _checks.share("p", p)
        self.key = None if key is None else _checks.word("key", key)
        self.count = _checks.counter("count", count)

    def forward(self, A):
        """A ⊙ mask / (1 − p) in training mode, A itself in prediction mode."""
        self._dropped = self.training and self.p > 0
        if not self._dropped:
            return A
        self.draw_key()
        self.count += 1
        return self._kernels.dropout(A, self.p, self.key, self.count)

    def draw_key(self, rng=None):
        """Settle on a key, where no seed was given: from a numpy.random.Generator, or from
        np.random."""
        if self.key is None:
            self.key = int(
                np.random.randint(2**63, dtype=np.int64) if rng is None else rng.integers(2**63)
            )

    def predict_forward(self, A):
        """A itself."""
        return A

    def backward(self, dLdA):
        """dLdA ⊙ mask / (1 − p), by the mask of the last forward."""
        if not hasattr(self, "_dropped"):
            raise RuntimeError("Dropout.backward must follow Dropout.forward, got no input yet")
        return self._kernels.dropout(dLdA, self.p, self.key, self.count) if self._dropped else dLdA

    def __repr__(self):
        return f"Dropout({self.p})"
