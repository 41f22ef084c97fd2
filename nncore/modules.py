"""Modules with the course library's contract: forward, backward and step.

A module computes its output from its input, dL/dInput and dL/dWeights from dL/dOutput, and then the
step. Samples are columns: arrays are (features, b). The live kernels do the arithmetic
(nncore.use_backend).
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike

from nncore import _backend, _checks, _core, _names, _random, initializers
from nncore._types import Array, ArrayLike, Init, Integer, Seed

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


def __dir__() -> list[str]:
    return _names.shown(globals())


@_backend.follow
class Module:
    """Base class of all modules; subclass it to mix your own modules into a Sequential.

    A subclass with weights overrides `step(lrate)` or `sgd_step(lrate)`; the other one calls it. A
    subclass that overrides neither has nothing to train. A module that predicts in another way than
    it trains, or whose forward keeps what its backward needs, may also have predict_forward(A),
    which keeps nothing: threads may then predict while another one trains.

    Attributes
    ----------
    training : bool
        True in training mode; set by net.train() and net.eval().
    gradients : dict
        The weights that optimizers may update, with the gradients that backward sets: {"W": "dLdW",
        "W0": "dLdW0"} for Linear.

    Examples
    --------
    >>> class Double(Module):
    ...     def forward(self, A):
    ...         return 2 * A
    ...     def backward(self, dLdA):
    ...         return 2 * dLdA
    >>> Double().sgd_step(0.1)
    """

    training: bool = True
    gradients: ClassVar[dict[str, str]] = {}
    _kernels: ClassVar[Any]  # the live backend's, set by nncore._backend

    if TYPE_CHECKING:  # every module has them, but not from this class

        def forward(self, A: Any, /) -> Any: ...
        def backward(self, delta: Any, /) -> Any: ...

    def step(self, lrate: float) -> None:
        """Update the weights; the same as sgd_step.

        Parameters
        ----------
        lrate : float
            The step size.
        """
        self._either(Module.sgd_step, self.sgd_step, lrate)

    def sgd_step(self, lrate: float) -> None:
        """Update the weights: W ← W − lrate dL/dW.

        Parameters
        ----------
        lrate : float
            The step size.
        """
        self._either(Module.step, self.step, lrate)

    def _either(self, base, other, lrate):
        """Run the other method if a subclass or the instance overrides it, except from inside it;
        else the library's own update.
        """
        if getattr(other, "__func__", None) is base or "_stepping" in self.__dict__:
            self._update(lrate)
            return
        self._stepping = True
        try:
            other(lrate)
        finally:
            del self._stepping

    def _update(self, lrate):
        """Update the library's weights in place."""
        _core.take_steps(self._step_terms(lrate))

    def _step_terms(self, lrate):
        """Return the arguments of take_steps for this module's step, before any weight changes; []
        without weights.
        """
        return []

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _misplaced(linear: Any, *given: Any, **_: Any) -> str | None:
    """Return the sentence about settings of a Linear given without their names, or None."""
    if len(given) <= 2:
        return None
    m, n, other = given[:3]
    name = "dtype" if isinstance(other, (type, np.dtype)) else "init"
    name = "bias" if isinstance(other, bool) else name
    shown = getattr(other, "__name__", repr(other))
    return f"Linear({m}, {n}, ...) takes settings by their names, as in {name}={shown}"


class Linear(Module):
    """Fully connected layer, Z = Wᵀ A + W0.

    Parameters
    ----------
    m : int
        The number of inputs.
    n : int
        The number of outputs.
    init : {"course", "notes", "he", "glorot", "xavier", "lecun"} or callable
        "course" and "lecun": W ~ N(0, 1/m) in one draw, W0 = 0. "notes": also W0 ~ N(0, 1), drawn
        after W. "he": W ~ N(0, 2/m), W0 = 0. "glorot" and "xavier": W uniform within
        ±√(6 / (m + n)), W0 = 0. A callable (m, n) -> (W, W0) may draw others.
    dtype : dtype
        The type of the weights, float64 or float32. It is the computing type.
    rng : int or object, optional
        Draws the weights: a generator, which all layers of a network may share, or a seed for
        np.random.default_rng. By default NumPy's global generator does, which np.random.seed and
        `nncore.set_seed` seed.
    bias : bool
        False: W0 is zero, whatever `init` gives, and no step updates it. It is not a parameter.

    Attributes
    ----------
    W : ndarray of shape (m, n)
        The weights.
    W0 : ndarray of shape (n, 1)
        The biases.
    dLdW, dLdW0 : ndarray
        Their gradients after `backward`, summed over the batch.

    Raises
    ------
    ValueError
        For m or n below 1, and for unknown names.
    TypeError
        For other dtypes.

    Examples
    --------
    >>> import numpy as np
    >>> np.random.seed(0)
    >>> Linear(2, 3).forward(np.array([[2], [5]])).round(3).ravel().tolist()
    [10.418, 7.169, -2.071]
    """

    gradients = {"W": "dLdW", "W0": "dLdW0"}
    statistics_arrays = ()
    bias: bool = True
    m: int
    n: int
    W: Array
    W0: Array
    dLdW: Array
    dLdW0: Array
    A: Any

    @_names.answering_with(_misplaced)
    def __init__(
        self,
        m: Integer,
        n: Integer,
        *,
        init: Init = "course",
        dtype: DTypeLike = np.float64,
        rng: Seed = None,
        bias: bool = True,
    ) -> None:
        self.m, self.n = _checks.count("m", m, 1), _checks.count("n", n, 1)
        dtype = _checks.network_dtype(dtype)
        self._configure(bias)
        self.W, self.W0 = initializers.initial_weights(init, self.m, self.n, dtype, rng)
        if self.bias is False:
            self.W0 = np.zeros_like(self.W0)

    def _configure(self, bias):
        if not isinstance(bias, (bool, np.bool_)):
            raise TypeError(f"bias must be True or False, got {type(bias).__name__}")
        if not bias:  # else the class's, so that compiled code sees a plain module
            self.bias = False

    def forward(self, A: ArrayLike) -> Array:
        """Return Z = Wᵀ A + W0; keep A as .A for `backward`.

        Parameters
        ----------
        A : array_like of shape (m, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs Z.
        """
        self.A = A
        return self._kernels.linear_forward(A, self.W, self.W0)

    def predict_forward(self, A: ArrayLike) -> Array:
        """Return forward(A) without keeping A.

        Parameters
        ----------
        A : array_like of shape (m, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs Z.
        """
        return self._kernels.linear_forward(A, self.W, self.W0)

    def backward(self, dLdZ: ArrayLike) -> Array:
        """Return dL/dA = W dL/dZ; set .dLdW = A dL/dZᵀ and .dLdW0, summed over the batch.

        Parameters
        ----------
        dLdZ : array_like of shape (n, b)
            The gradient of the outputs.

        Returns
        -------
        ndarray of shape (m, b)
            The gradient of the inputs.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        """
        if not hasattr(self, "A"):
            raise RuntimeError("Linear.backward must follow Linear.forward, got no input yet")
        dLdA, self.dLdW, self.dLdW0 = self._kernels.linear_backward(dLdZ, self.A, self.W)
        return dLdA

    def _step_terms(self, lrate):
        """Return the terms of W ← W − lrate dLdW, W0 ← W0 − lrate dLdW0, in place.

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
        of_W = terms(W, self.dLdW, lrate)
        return [of_W] if self.bias is False else [of_W, terms(W0, self.dLdW0, lrate)]

    def checked_weights(self) -> tuple[Array, Array]:
        """Return the weights that a step will update.

        Returns
        -------
        W : ndarray of shape (m, n)
            The attribute, or a float64 copy if its type cannot be updated.
        W0 : ndarray of shape (n, 1)
            Likewise.
        """
        W = _checks.trainable("W", self.W, ("m", "n"))
        return W, _checks.trainable("W0", self.W0, (W.shape[1], 1))

    @property
    def parameters(self) -> int:
        """The number of weights, m n + n, or m n without biases."""
        return np.size(self.W) + (0 if self.bias is False else np.size(self.W0))

    def __repr__(self) -> str:
        m, n = np.shape(self.W) if np.ndim(self.W) == 2 else (self.m, self.n)
        dtype = getattr(self.W, "dtype", np.dtype(np.float64))
        settings = "" if dtype == np.float64 else f", dtype={dtype}"
        return f"Linear({m}, {n}{settings}{', bias=False' if self.bias is False else ''})"


class _Activation(Module):
    """Base class of the activations with a derivative."""

    A: Array
    _derive: Any  # method of the subclass: dL/dA -> dL/dZ

    def backward(self, dLdA: ArrayLike) -> Array:
        """Return dL/dZ from dL/dA.

        Parameters
        ----------
        dLdA : array_like of shape (n, b)
            The gradient of the outputs of the last `forward`.

        Returns
        -------
        ndarray of shape (n, b)
            The gradient of the inputs.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        """
        if not hasattr(self, "A"):
            raise RuntimeError(
                f"{type(self).__name__}.backward must follow {type(self).__name__}.forward, got no "
                f"input yet"
            )
        return self._derive(dLdA)


class Tanh(_Activation):
    """Hyperbolic tangent, A = tanh Z; dL/dZ = dL/dA ⊙ (1 − A²).

    Examples
    --------
    >>> Tanh().forward([[0.0]]).item()
    0.0
    """

    def forward(self, Z: ArrayLike) -> Array:
        """Return A = tanh Z, kept as .A; Z is not changed.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs A.
        """
        self.A = self._kernels.tanh_forward(Z)
        return self.A

    def predict_forward(self, Z: ArrayLike) -> Array:
        """Return forward(Z) without keeping A.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs A.
        """
        return self._kernels.tanh_forward(Z)

    def _derive(self, dLdA):
        return self._kernels.tanh_backward(dLdA, self.A)


_NONE = 0.0  # no dropout; compared by identity, which is fast


class ReLU(_Activation):
    """Rectified linear unit, A = max(0, Z); dL/dZ = dL/dA if A > 0, else 0.

    The gradient at 0 is 0. Integers stay integers.

    Notes
    -----
    forward(Z, dropout_pct) is the course's variant with dropout: a fraction dropout_pct of the
    outputs, drawn by np.random.binomial, becomes 0, and the others are divided by 1 − dropout_pct;
    so are the gradients. At 0 nothing is drawn. Networks call forward(Z) only, so use Dropout in a
    network.

    Examples
    --------
    >>> ReLU().forward(np.array([[-1], [2]])).ravel().tolist()
    [0, 2]
    """

    _scale = 1.0

    def forward(self, Z: ArrayLike, dropout_pct: float = _NONE) -> Array:
        """Return A = max(0, Z), kept as .A; Z is not changed.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The inputs.
        dropout_pct : float
            The fraction of outputs to drop, at least 0 and below 1.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs A.
        """
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

    def predict_forward(self, Z: ArrayLike) -> Array:
        """Return max(0, Z) without keeping it.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs A.
        """
        return self._kernels.relu_forward(Z)

    def _derive(self, dLdA):
        dLdZ = self._kernels.relu_backward(dLdA, self.A)
        return dLdZ if self._scale == 1 else _times(dLdZ, dLdZ.dtype.type(self._scale))


@_checks.quiet
def _times(a, b):
    return a * b


class Sigmoid(_Activation):
    """Logistic sigmoid as a hidden activation, A = 1 / (1 + e^−Z); dL/dZ = dL/dA ⊙ A (1 − A).

    For an output with BinaryNLL use OutputSigmoid.

    Examples
    --------
    >>> Sigmoid().forward([[0.0]]).item()
    0.5
    """

    def forward(self, Z: ArrayLike) -> Array:
        """Return A = 1 / (1 + e^−Z), kept as .A; Z is not changed.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs A.
        """
        self.A = self._kernels.sigmoid_forward(Z)
        return self.A

    def predict_forward(self, Z: ArrayLike) -> Array:
        """Return forward(Z) without keeping A.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs A.
        """
        return self._kernels.sigmoid_forward(Z)

    def _derive(self, dLdA):
        return self._kernels.sigmoid_backward(dLdA, self.A)


class _Elementwise(_Activation):
    """An activation given by its kernels, `<_kernel>_forward` and `<_kernel>_backward`."""

    _kernel = ""
    _of = "A"  # the derivative's argument: the output A, or the input Z
    _arguments: tuple[float, ...] = ()  # further arguments of the kernels

    def forward(self, Z):
        """Return A, kept as .A; Z is not changed.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs A.
        """
        self.A = self.predict_forward(Z)
        if self._of == "Z":
            self.Z = Z
        return self.A

    def predict_forward(self, Z):
        """Return forward(Z) without keeping A.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs A.
        """
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

    slope: float
    _kernel = "leaky_relu"

    @_names.answering
    def __init__(self, slope: float = 0.01) -> None:
        self._configure(slope)

    def _configure(self, slope):
        """Check the setting and store it as a plain number; `load` also calls this."""
        value = _checks.number("slope", slope)
        if not 0 <= value < np.inf:
            raise ValueError(f"slope must be at least 0 and finite, got {slope}")
        self.slope = value

    @property
    def _arguments(self):
        return (self.slope,)

    def __repr__(self) -> str:
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

    approximate: Literal["none", "tanh"]
    _of = "Z"

    @_names.answering
    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self._configure(approximate)

    def _configure(self, approximate):
        """Check the setting; `load` also calls this."""
        self.approximate = _checks.choice("approximate", approximate, ("none", "tanh"))

    @property
    def _kernel(self):
        return "gelu" if self.approximate == "none" else "gelu_tanh"

    def __repr__(self) -> str:
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
    """Softmax of every column, a_i = e^{z_i} / Σ_j e^{z_j}: the output unit of NLL.

    The loss computes dL/dZ itself, so `backward` returns its argument.

    Examples
    --------
    >>> SoftMax().forward([[0.0], [0.0]]).ravel().tolist()
    [0.5, 0.5]
    """

    def forward(self, Z: ArrayLike) -> Array:
        """Return the probabilities, stable for any finite logits.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The logits.

        Returns
        -------
        ndarray of shape (n, b)
            The probabilities; every column sums to 1.
        """
        return self._kernels.softmax_forward(Z)

    def backward(self, dLdZ: Any) -> Any:
        """Return dL/dZ unchanged, as the loss has computed it.

        Parameters
        ----------
        dLdZ : array_like of shape (n, b)
            The gradient of the logits.

        Returns
        -------
        array_like of shape (n, b)
            The argument.
        """
        return dLdZ

    def class_fun(self, Ypred: ArrayLike) -> Array:
        """Return the index of the largest entry of every column, the first of equal ones.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The probabilities, or one-hot columns.

        Returns
        -------
        ndarray of shape (b,)
            The classes, int64.
        """
        places = _core.argmax_columns(Ypred)
        return np.argmax(Ypred, axis=0).astype(np.int64, copy=False) if places is None else places


class OutputSigmoid(Module):
    """Logistic sigmoid of every label, a = 1 / (1 + e^−z): the output unit of BinaryNLL.

    The loss computes dL/dZ itself, so `backward` returns its argument.

    Examples
    --------
    >>> OutputSigmoid().forward([[0.0]]).item()
    0.5
    """

    def forward(self, Z: ArrayLike) -> Array:
        """Return the probabilities.

        Parameters
        ----------
        Z : array_like of shape (n, b)
            The logits.

        Returns
        -------
        ndarray of shape (n, b)
            The probabilities.
        """
        return self._kernels.sigmoid_forward(Z)

    def backward(self, dLdZ: Any) -> Any:
        """Return dL/dZ unchanged, as the loss has computed it.

        Parameters
        ----------
        dLdZ : array_like of shape (n, b)
            The gradient of the logits.

        Returns
        -------
        array_like of shape (n, b)
            The argument.
        """
        return dLdZ

    def class_fun(self, Ypred: ArrayLike) -> Array:
        """Return 1 if the probability exceeds 1/2, else 0.

        Parameters
        ----------
        Ypred : array_like of shape (n, b)
            The probabilities.

        Returns
        -------
        ndarray of shape (b,) or (n, b)
            The classes, int64; (b,) for one label.
        """
        classes = (np.asarray(Ypred) > 0.5).astype(np.int64)
        return classes[0] if classes.shape[0] == 1 else classes


class BatchNorm(Module):
    """Batch normalisation, Z = G ⊙ (A − μ) / √(v + eps) + B.

    μ and v are mean and variance (1/K) of each of the m rows over the K samples of the batch. The
    constructor draws G ~ N(0, 1/m), (m, 1), by np.random.normal; B = 0.

    Parameters
    ----------
    m : int
        The number of features.
    statistics : {"batch", "running"}
        "batch" is the course's form. It also predicts by the statistics of the given batch: the
        output for one sample depends on the rest of the batch, and a single sample gives B. The
        constructor calls np.random.seed(0) before it draws. "running" predicts by running_mean and
        running_var; the constructor seeds nothing.
    momentum : float
        The fraction by which each training forward moves the running statistics towards the batch's
        mean and variance (1/(K − 1); unchanged for K = 1); above 0, at most 1.
    eps : float, optional
        Added to the variance, at least 0. The default is 1e-20 for "batch" and 1e-5 for "running".
    dtype : dtype
        The type of the weights, float64 or float32.
    rng : int or object, optional
        Draws G, as for `Linear`; then nothing is seeded.

    Attributes
    ----------
    G, B : ndarray of shape (m, 1)
        Scale and shift.
    dLdG, dLdB : ndarray of shape (m, 1)
        Their gradients after `backward`, summed over the batch.
    running_mean, running_var : ndarray of shape (m, 1)
        The running statistics, with statistics="running".

    Notes
    -----
    dL/dA = G (dL/dZ − mean dL/dZ − norm ⊙ mean(dL/dZ ⊙ norm)) / √(v + eps); dL/dG = Σ dL/dZ ⊙ norm;
    dL/dB = Σ dL/dZ (Ioffe and Szegedy 2015).

    Examples
    --------
    >>> import numpy as np
    >>> norm = BatchNorm(1)
    >>> norm.G[:] = 1
    >>> norm.forward(np.array([[1.0, 3.0]])).tolist(), norm.mus.item(), norm.vars.item()
    ([[-1.0, 1.0]], 2.0, 1.0)
    """

    gradients = {"G": "dLdG", "B": "dLdB"}
    m: int
    statistics: Literal["batch", "running"]
    momentum: float
    eps: float
    G: Array
    B: Array
    dLdG: Array
    dLdB: Array
    running_mean: Array
    running_var: Array
    A: Any
    K: int
    mus: Array
    vars: Array
    norm: Array

    @_names.answering
    def __init__(
        self,
        m: Integer,
        *,
        statistics: Literal["batch", "running"] = "batch",
        momentum: float = 0.1,
        eps: float | None = None,
        dtype: DTypeLike = np.float64,
        rng: Seed = None,
    ) -> None:
        self.m = _checks.count("m", m, 1)
        dtype = _checks.network_dtype(dtype)
        default = 1e-5 if isinstance(statistics, str) and statistics == "running" else 1e-20
        self._configure(statistics, momentum, default if eps is None else eps)
        source = _random.of_weights(rng)
        if self.statistics == "batch" and rng is None:
            np.random.seed(0)
        self.B = np.zeros((self.m, 1), dtype)
        self.G = source.normal(0, self.m**-0.5, (self.m, 1)).astype(dtype)
        if self.statistics == "running":
            self.running_mean, self.running_var = (
                np.zeros((self.m, 1), dtype),
                np.ones((self.m, 1), dtype),
            )

    def _configure(self, statistics, momentum, eps):
        """Check all settings, then store them as plain numbers; `load` also calls this."""
        _checks.choice("statistics", statistics, ("batch", "running"))
        share, least = _checks.number("momentum", momentum), _checks.number("eps", eps)
        if not 0 < share <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, got {momentum}")
        if not 0 <= least < np.inf:
            finite = " and finite" if least == np.inf else ""
            raise ValueError(f"eps must be at least 0{finite}, got {eps}")
        self.statistics, self.momentum, self.eps = statistics, share, least

    def forward(self, A: ArrayLike) -> Array:
        """Return Z; in training mode keep .A, .K, .mus, .vars (m, 1) and .norm (m, K).

        Parameters
        ----------
        A : array_like of shape (m, K)
            The inputs.

        Returns
        -------
        ndarray of shape (m, K)
            The outputs Z.
        """
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
    def follow(self, mus: Array, vars: Array, K: int) -> None:
        """Move the running statistics towards those of a batch.

        Parameters
        ----------
        mus : ndarray of shape (m, 1)
            The means of the batch.
        vars : ndarray of shape (m, 1)
            Its variances (1/K).
        K : int
            The number of its samples.
        """
        self.running_mean += self.momentum * (mus - self.running_mean)
        if K > 1:
            self.running_var += self.momentum * (vars * (K / (K - 1)) - self.running_var)

    def predict_forward(self, A: ArrayLike) -> Array:
        """Return Z by the statistics of prediction, keeping nothing.

        Parameters
        ----------
        A : array_like of shape (m, K)
            The inputs.

        Returns
        -------
        ndarray of shape (m, K)
            The outputs Z.
        """
        if self.statistics == "batch":
            return self._kernels.batchnorm_forward(A, self.G, self.B, self.eps)[0]
        return self._kernels.batchnorm_apply(
            A, self.G, self.B, self.running_mean, self.running_var, self.eps
        )

    def backward(self, dLdZ: ArrayLike) -> Array:
        """Return dL/dA; set .dLdG and .dLdB, summed over the batch.

        Parameters
        ----------
        dLdZ : array_like of shape (m, K)
            The gradient of the outputs.

        Returns
        -------
        ndarray of shape (m, K)
            The gradient of the inputs.

        Raises
        ------
        RuntimeError
            If `forward` has not been called in training mode.
        """
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
        """Return the terms of G ← G − lrate dLdG, B ← B − lrate dLdB, in place."""
        if not hasattr(self, "dLdG"):
            raise RuntimeError("BatchNorm.step must follow BatchNorm.backward, got no gradient yet")
        self.G, self.B = self.checked_weights()
        terms = self._kernels.step_terms
        return [terms(self.G, self.dLdG, lrate), terms(self.B, self.dLdB, lrate)]

    @property
    def parameters(self) -> int:
        """The number of weights, 2 m."""
        return np.size(self.G) + np.size(self.B)

    @property
    def statistics_arrays(self) -> tuple[str, ...]:
        """The names of the arrays besides the weights that change in training."""
        return ("running_mean", "running_var") if self.statistics == "running" else ()

    def checked_weights(self) -> tuple[Array, Array]:
        """Return the weights that a step will update.

        Returns
        -------
        G : ndarray of shape (m, 1)
            The attribute, or a float64 copy if its type cannot be updated.
        B : ndarray of shape (m, 1)
            Likewise.
        """
        return tuple(
            _checks.trainable(name, getattr(self, name), (self.m, 1)) for name in ("G", "B")
        )

    @_checks.quiet
    def affine(self) -> tuple[Array, Array]:
        """Return scale and shift of prediction by running statistics, Z = scale ⊙ A + shift.

        Returns
        -------
        scale : ndarray of shape (m, 1)
            The factor.
        shift : ndarray of shape (m, 1)
            The summand.
        """
        scale = self.G / np.sqrt(self.running_var + self.eps)
        return scale, self.B - self.running_mean * scale

    def __repr__(self) -> str:
        statistics = "" if self.statistics == "batch" else f", statistics={self.statistics!r}"
        dtype = getattr(self.G, "dtype", np.dtype(np.float64))
        return f"BatchNorm({self.m}{statistics}{'' if dtype == np.float64 else f', dtype={dtype}'})"


class Dropout(Module):
    """Dropout: set each entry to 0 with probability p in training, divide the others by 1 − p.

    In prediction nothing is changed.

    Parameters
    ----------
    p : float
        The probability, at least 0 and below 1.
    seed : int, optional
        The key of the masks. By default np.random.randint draws it at the first training forward.

    Notes
    -----
    The mask is a function of the key, the number of the training forward and the position of the
    entry, so both backends, every instruction-set level and any number of threads give the same
    one. "Inverted" dropout, Srivastava and others 2014.

    Examples
    --------
    >>> Dropout(0.5, seed=0).forward(np.ones((2, 4))).tolist()
    [[0.0, 2.0, 2.0, 0.0], [2.0, 0.0, 2.0, 2.0]]
    """

    p: float
    key: int | None
    count: int

    @_names.answering
    def __init__(self, p: float, seed: int | None = None) -> None:
        self._configure(
            p, None if seed is None else _checks.count("seed", seed, most=None) % 2**64, 0
        )

    def _configure(self, p, key, count):
        """Check the settings and store them as plain numbers; `load` also calls this."""
        self.p = _checks.share("p", p)
        self.key = None if key is None else _checks.word("key", key)
        self.count = _checks.counter("count", count)

    def forward(self, A: Any) -> Any:
        """Return A ⊙ mask / (1 − p) in training mode, A itself in prediction mode.

        Parameters
        ----------
        A : array_like of shape (n, b)
            The inputs.

        Returns
        -------
        ndarray of shape (n, b)
            The outputs.
        """
        self._dropped = self.training and self.p > 0
        if not self._dropped:
            return A
        self.draw_key()
        self.count += 1
        return self._kernels.dropout(A, self.p, self.key, self.count)

    def draw_key(self, rng: "np.random.Generator | None" = None) -> None:
        """Draw the key if no seed was given.

        Parameters
        ----------
        rng : numpy.random.Generator, optional
            The generator; np.random by default.
        """
        if self.key is None:
            self.key = int(
                np.random.randint(2**63, dtype=np.int64) if rng is None else rng.integers(2**63)
            )

    def predict_forward(self, A: Any) -> Any:
        """Return A itself.

        Parameters
        ----------
        A : array_like of shape (n, b)
            The inputs.

        Returns
        -------
        array_like of shape (n, b)
            The argument.
        """
        return A

    def backward(self, dLdA: Any) -> Any:
        """Return dL/dA ⊙ mask / (1 − p), with the mask of the last forward.

        Parameters
        ----------
        dLdA : array_like of shape (n, b)
            The gradient of the outputs.

        Returns
        -------
        ndarray of shape (n, b)
            The gradient of the inputs.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        """
        if not hasattr(self, "_dropped"):
            raise RuntimeError("Dropout.backward must follow Dropout.forward, got no input yet")
        return self._kernels.dropout(dLdA, self.p, self.key, self.count) if self._dropped else dLdA

    def __repr__(self) -> str:
        return f"Dropout({self.p})"
