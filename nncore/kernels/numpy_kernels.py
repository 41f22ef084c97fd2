"""The kernels in plain NumPy: the formulas of the notes, to be read beside them, and the oracle for
the compiled ones.

Samples are columns. b is the batch; A (m, b), W (m, n), W0 (n, 1), Z and dLdZ (n, b). Every
function computes in the type of its weights, else of its first argument (float32 and float64 as
they are, other real types as float64), changes none of its inputs and takes out= for its result.
Losses are in nats.

The private functions are the formulas alone, without checks or types; the public ones below them
add both.
"""

import functools
import math

import numpy as np

from nncore import _checks
from nncore._sums import pairwise

__all__ = [
    "adagrad_step",
    "adam_step",
    "batchnorm_apply",
    "batchnorm_backward",
    "batchnorm_forward",
    "binary_nll",
    "dropout",
    "gelu_backward",
    "gelu_forward",
    "gelu_tanh_backward",
    "gelu_tanh_forward",
    "hinge",
    "hinge_loss",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "linear_backward",
    "linear_forward",
    "momentum_step",
    "nll",
    "nll_backward",
    "relu_backward",
    "relu_forward",
    "rmsprop_step",
    "sgd_step",
    "sigmoid_backward",
    "sigmoid_forward",
    "sigmoid_nll",
    "silu_backward",
    "silu_forward",
    "softmax_forward",
    "softmax_nll",
    "squared",
    "squared_loss",
    "tanh_backward",
    "tanh_forward",
]

# ------------------------------------------------------------------------------------- the formulas


def _linear_forward(A, W, W0):
    return W.T @ A + W0


def _linear_backward(dLdZ, A, W):
    dLdA = W @ dLdZ
    dLdW = A @ dLdZ.T
    dLdW0 = pairwise(dLdZ, axis=1, keepdims=True)
    return dLdA, dLdW, dLdW0


def _tanh_forward(Z):
    """A = tanh Z, element by element."""
    return np.tanh(Z)


def _tanh_backward(dLdA, A):
    """dLdZ = dLdA ⊙ (1 − A²)."""
    return dLdA * (1 - A**2)


def _relu_forward(Z):
    return np.maximum(Z, 0)


def _relu_backward(dLdA, A):
    return np.where(A > 0, dLdA, 0)


def _sigmoid_forward(Z):
    """A = 1 / (1 + e^−Z), element by element."""
    e = np.exp(
        -np.abs(Z)
    )  # e^-|z| <= 1 never overflows, and e / (1 + e) keeps its digits where z is very negative
    return np.where(Z < 0, e, 1) / (1 + e)


def _sigmoid_backward(dLdA, A):
    """dLdZ = dLdA ⊙ A (1 − A)."""
    return dLdA * (A * (1 - A))


def _softmax_forward(Z):
    e = np.exp(
        Z - Z.max(axis=0, keepdims=True)
    )  # the largest exponent is 0: no overflow for finite logits
    return e / pairwise(e, keepdims=True).astype(e.dtype)


def _softmax_nll(Z, Y):
    """-sum_i y_i log softmax(z)_i = sum_i y_i ((max - z_i) + log(1 + the other entries' e^(z -
    max)))."""
    top = Z.argmax(axis=0)
    columns = np.arange(Z.shape[1])
    below = Z[top, columns] - Z
    others = np.exp(-below)
    others[top, columns] = np.where(np.isnan(below[top, columns]), np.nan, 0)
    log_sum = np.log1p(pairwise(others))
    losses = pairwise(_weighted(Y, below)) + pairwise(Y) * log_sum
    return losses, _nll_backward(_softmax_forward(Z), Y)


def _nll_backward(Ypred, Y):
    """(sum_i y_i) a - y, the derivative of -sum_i y_i log softmax(z)_i."""
    return _label_weights(Y) * Ypred - Y


def _label_weights(Y):
    """The sum of each column, exactly 1 if it is 1 to rounding or not finite. n labels normalised
    in float32 sum to 1 within n 2^-23."""
    sums = pairwise(Y)
    off = np.abs(sums - 1)
    return np.where((off > Y.shape[0] * 2.0**-23) & (off < np.inf), sums, 1).astype(Y.dtype)


def _sigmoid_nll(Z, Y):
    """y softplus(-z) + (1 - y) softplus(z), softplus(z) = log(1 + e^z) = max(z, 0) +
    log1p(e^-|z|)."""
    tail = np.log1p(np.exp(-np.abs(Z)))
    losses = _weighted(Y, np.maximum(-Z, 0) + tail) + _weighted(1 - Y, np.maximum(Z, 0) + tail)
    return pairwise(losses), _sigmoid_forward(Z) - Y


def _batchnorm_apply(A, G, B, mus, vars, eps):
    return G * ((A - mus) / np.sqrt(vars + eps)) + B


def _batchnorm_forward(A, G, B, eps):
    mus = _mean(A)
    mus = mus + _mean(A - mus)  # exact if all are equal; √eps is smaller than an ulp of the mean
    vars = _mean((A - mus) ** 2)
    norm = (A - mus) / np.sqrt(vars + eps)
    return G * norm + B, norm, mus, vars


def _batchnorm_backward(dLdZ, norm, vars, G, eps):
    dLdG, dLdB = pairwise(dLdZ * norm, axis=1, keepdims=True), pairwise(dLdZ, axis=1, keepdims=True)
    dLdA = G * (dLdZ - _mean(dLdZ) - norm * _mean(dLdZ * norm)) / np.sqrt(vars + eps)
    return dLdA, dLdG, dLdB


def _mean(A):
    """Of each row, over the batch."""
    return (pairwise(A, axis=1, keepdims=True) / A.shape[1]).astype(A.dtype)


def _mix(word):
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), of a Python int."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ word >> shift) * factor % 2**64
    return word ^ word >> 31


def _scramble(u):
    """A mixing of 32-bit words with little bias (Wellons, hash-prospector)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        u = (u ^ u >> np.uint32(shift)) * np.uint32(factor)
    return u ^ u >> np.uint32(16)


def _dropout_kept(shape, p, key, count):
    """The mask of shape (n, b), sample by sample: where a random 32-bit word of each entry is at
    least p 2**32."""
    word = _mix((key + count * 0x9E3779B97F4A7C15) % 2**64)
    places = np.arange(shape[0] * shape[1], dtype=np.uint32)
    u = _scramble(_scramble(places ^ np.uint32(word % 2**32)) ^ np.uint32(word >> 32))
    return (u >= np.uint32(p * 2**32)).reshape(shape, order="F")


def _dropout(A, p, key, count):
    return np.where(_dropout_kept(A.shape, p, key, count), A * A.dtype.type(1 / (1 - p)), 0)


def _squared_loss(Z, Y):
    return pairwise((Z - Y) ** 2), 2 * (Z - Y)


def _hinge_loss(Z, Y):
    margin = Y * Z
    return pairwise(np.where(margin >= 1, 0, 1 - margin)), np.where(margin < 1, -Y, 0)


def _nll(Ypred, Y):
    return pairwise(_weighted(Y, -np.log(Ypred)))


def _binary_nll(Ypred, Y):
    return pairwise(_weighted(Y, -np.log(Ypred)) + _weighted(1 - Y, -np.log1p(-Ypred)))


def _squared(Ypred, Y):
    return _squared_loss(Ypred, Y)[0]


def _hinge(Ypred, Y):
    return _hinge_loss(Ypred, Y)[0]


def _momentum_step(W, g, V, lrate, beta):
    V = beta * V + g
    return W - lrate * V, V


def _nesterov_step(W, g, V, lrate, beta):
    V = beta * V + g
    return W - lrate * (beta * V + g), V


def _adagrad_step(W, g, S, lrate, eps):
    S = S + g**2
    return W - lrate * g / (np.sqrt(S) + eps), S


def _rmsprop_step(W, g, S, lrate, rho, eps):
    S = rho * S + (1 - rho) * g**2
    return W - lrate * g / (np.sqrt(S) + eps), S


def _adam_step(W, g, M, V, t, lrate, beta1, beta2, eps, weight_decay):
    M = beta1 * M + (1 - beta1) * g
    V = beta2 * V + (1 - beta2) * g**2
    mean, mean_square = (
        M / (1 - beta1**t),
        V / (1 - beta2**t),
    )  # without the zeros they started from
    return (1 - lrate * weight_decay) * W - lrate * mean / (np.sqrt(mean_square) + eps), M, V


def _weighted(weight, value):
    """weight * value with 0 * inf = 0: what has no weight has no say."""
    return np.where(weight == 0, 0, weight * value)


# --------------------------------------------------------------------------- types, shapes and out=


def _matrices(name, x, dtype, wanted):
    a = _checks.as_real(name, x, dtype)
    _checks.shape(name, a, wanted)
    return a


def _deliver(result, dtype, out, overwritten, *others):
    """result in the computing type, in out if there is one; out may be the very array that is
    overwritten element by element."""
    result = np.asarray(result, dtype=dtype)
    if out is None:
        return result
    _checks.out("out", out, result.shape, dtype)
    if overwritten is not None and not _same_memory(out, overwritten):
        others = (overwritten, *others)
    _checks.no_overlap("out", out, *(x for x in others if isinstance(x, np.ndarray)))
    np.copyto(out, result)
    return out


def _same_memory(a, b):
    return (
        isinstance(b, np.ndarray)
        and a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    )


_quiet = functools.partial(
    np.errstate, all="ignore"
)  # infinities and NaN travel on; the layer API decides what to say


def linear_forward(A, W, W0, out=None):
    """Z = Wᵀ A + W0. A (m, b), W (m, n), W0 (n, 1), out (n, b); returns Z.

    >>> W, W0 = [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], [[0.0], [0.0], [0.5]]
    >>> linear_forward([[1.0], [2.0]], W, W0).ravel().tolist()
    [1.0, 2.0, 3.5]
    """
    dtype = _checks.computing_dtype(W)
    W_ = _matrices("W", W, dtype, ("m", "n"))
    m, n = W_.shape
    A_, W0_ = _matrices("A", A, dtype, (m, "b")), _matrices("W0", W0, dtype, (n, 1))
    with _quiet():
        return _deliver(_linear_forward(A_, W_, W0_), dtype, out, None, A, W, W0)


def linear_backward(dLdZ, A, W, out=None):
    """dLdA = W dLdZ, dLdW = A dLdZᵀ, dLdW0 = sum of dLdZ over the batch.

    dLdZ (n, b), A (m, b), W (m, n), out a tuple of arrays (m, b), (m, n), (n, 1); returns (dLdA,
    dLdW, dLdW0).

    >>> dLdA, dLdW, dLdW0 = linear_backward([[1.0]], [[3.0], [4.0]], [[2.0], [5.0]])
    >>> dLdA.ravel().tolist(), dLdW.ravel().tolist(), dLdW0.ravel().tolist()
    ([2.0, 5.0], [3.0, 4.0], [1.0])
    """
    dtype = _checks.computing_dtype(W)
    W_ = _matrices("W", W, dtype, ("m", "n"))
    m, n = W_.shape
    A_ = _matrices("A", A, dtype, (m, "b"))
    dLdZ_ = _matrices("dLdZ", dLdZ, dtype, (n, A_.shape[1]))
    with _quiet():
        results = _linear_backward(dLdZ_, A_, W_)
    if out is None:
        return tuple(np.asarray(r, dtype) for r in results)
    if not isinstance(out, tuple) or len(out) != 3:
        raise TypeError(
            f"out must be a tuple of three arrays (dLdA, dLdW, dLdW0), got {type(out).__name__}"
        )
    inputs = [x for x in (dLdZ, A, W) if isinstance(x, np.ndarray)]
    for i, (o, r) in enumerate(zip(out, results, strict=True)):
        _checks.out(f"out[{i}]", o, r.shape, dtype)
        _checks.no_overlap(f"out[{i}]", o, *inputs, *out[:i])
    for o, r in zip(out, results, strict=True):
        np.copyto(o, r)
    return out


def _forward(formula, name=None):
    """The kernel of an activation's formula, under its name."""

    @functools.wraps(formula)
    def kernel(Z, out=None):
        dtype = _checks.computing_dtype(Z)
        Z_ = _checks.as_real("Z", Z, dtype)
        with _quiet():
            return _deliver(formula(Z_), dtype, out, Z)

    kernel.__name__ = kernel.__qualname__ = name or formula.__name__
    return kernel


def _backward(formula, name=None):
    """The kernel of the formula of dL/dZ in terms of dL/dA and the activation's output A."""

    @functools.wraps(formula)
    def kernel(dLdA, A, out=None):
        return _derived(formula, "A", dLdA, A, out)

    kernel.__name__ = kernel.__qualname__ = name or formula.__name__
    return kernel


def _backward_of_input(formula):
    """Likewise, in terms of dL/dA and the activation's input Z."""

    @functools.wraps(formula)
    def kernel(dLdA, Z, out=None):
        return _derived(formula, "Z", dLdA, Z, out)

    return kernel


def _derived(formula, name, dLdA, U, out):
    dtype = _checks.computing_dtype(U)
    U_ = _checks.as_real(name, U, dtype)
    dLdA_ = _matrices("dLdA", dLdA, dtype, U_.shape)
    with _quiet():
        return _deliver(formula(dLdA_, U_), dtype, out, dLdA, U)


tanh_forward = _forward(_tanh_forward, "tanh_forward")
tanh_backward = _backward(_tanh_backward, "tanh_backward")
sigmoid_forward = _forward(_sigmoid_forward, "sigmoid_forward")
sigmoid_backward = _backward(_sigmoid_backward, "sigmoid_backward")


def leaky_relu_forward(Z, slope, out=None):
    """A = Z where Z > 0, else slope Z."""
    slope = _checks.number("slope", slope)
    return _forward(lambda Z: np.where(Z > 0, Z, slope * Z))(Z, out)


def leaky_relu_backward(dLdA, A, slope, out=None):
    """dLdZ = dLdA where A > 0, else slope dLdA."""
    slope = _checks.number("slope", slope)
    return _backward(lambda dLdA, A: np.where(A > 0, dLdA, slope * dLdA))(dLdA, A, out)


_FAR = 1000  # where sigmoids and the normal distribution are 0 or 1


@_forward
def gelu_forward(Z):
    """A = Z ⊙ Φ(Z), Φ the standard normal distribution."""
    Z = np.maximum(Z, -_FAR)
    return Z * _normal(Z)


@_backward_of_input
def gelu_backward(dLdA, Z):
    """dLdZ = dLdA ⊙ (Φ(Z) + Z ⊙ φ(Z)), φ the standard normal density."""
    Z = np.clip(Z, -_FAR, _FAR)
    return dLdA * (_normal(Z) + Z * np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi))


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _normal(Z):
    """Φ(z) = erfc(−z / √2) / 2."""
    return _erfc(-Z / np.sqrt(2)).astype(Z.dtype) / 2


@_forward
def gelu_tanh_forward(Z):
    """A = Z ⊙ (1 + tanh U) / 2 = Z ⊙ σ(2U), U = √(2/π) (Z + 0.044715 Z³)."""
    Z = np.maximum(Z, -_FAR)
    return Z * _sigmoid_forward(2 * np.sqrt(2 / np.pi) * (Z + 0.044715 * Z**3))


@_backward_of_input
def gelu_tanh_backward(dLdA, Z):
    """dLdZ = dLdA ⊙ (σ(2U) + Z ⊙ σ'(2U) ⊙ 2U'), U = √(2/π) (Z + 0.044715 Z³)."""
    Z, c = np.clip(Z, -_FAR, _FAR), 2 * np.sqrt(2 / np.pi)
    U2, slope = c * (Z + 0.044715 * Z**3), c * (1 + 3 * 0.044715 * Z**2)
    return dLdA * (_sigmoid_forward(U2) + Z * _sigmoid_slope(U2) * slope)


@_forward
def silu_forward(Z):
    """A = Z ⊙ σ(Z)."""
    Z = np.maximum(Z, -_FAR)
    return Z * _sigmoid_forward(Z)


@_backward_of_input
def silu_backward(dLdA, Z):
    """dLdZ = dLdA ⊙ (σ(Z) + Z ⊙ σ(Z) ⊙ (1 − σ(Z)))."""
    Z = np.clip(Z, -_FAR, _FAR)
    return dLdA * (_sigmoid_forward(Z) + Z * _sigmoid_slope(Z))


def _sigmoid_slope(Z):
    """σ'(z) = σ(z) (1 − σ(z)), which keeps its digits when σ(z) is nearly 1."""
    e = np.exp(-np.abs(Z))
    return e / (1 + e) ** 2


_relu_forward_real = _forward(_relu_forward, "relu_forward")
_relu_backward_real = _backward(_relu_backward, "relu_backward")


def relu_forward(Z, out=None):
    """A = max(0, Z), element by element; whole numbers stay whole, NaN stays NaN."""
    if _whole(Z):
        return _deliver(_relu_forward(Z), Z.dtype, out, Z)
    return _relu_forward_real(Z, out)


def relu_backward(dLdA, A, out=None):
    """dLdZ = dLdA where A > 0, else 0; whole numbers stay whole."""
    if _whole(A) and _whole(dLdA):
        _checks.shape("dLdA", dLdA, A.shape)
        return _deliver(_relu_backward(dLdA, A), dLdA.dtype, out, dLdA, A)
    return _relu_backward_real(dLdA, A, out)


def _whole(x):
    return isinstance(x, np.ndarray) and x.dtype.kind in "iu"


def softmax_forward(Z, out=None):
    """A = e^Z / (sum of e^Z over each column), stable for any finite logits. Z, out (n, b).

    >>> softmax_forward([[0.0, 1000.0], [0.0, 0.0]]).tolist()
    [[0.5, 1.0], [0.5, 0.0]]
    """
    dtype = _checks.computing_dtype(Z)
    Z_ = _matrices("Z", Z, dtype, ("n", "b"))
    with _quiet():
        return _deliver(_softmax_forward(Z_) if Z_.size else Z_, dtype, out, Z)


def _loss_and_gradient(formula, Z, Y, out):
    dtype = _checks.computing_dtype(Z)
    Z_ = _matrices("Z", Z, dtype, ("n", "b"))
    Y_ = _matrices("Y", Y, dtype, Z_.shape)
    with _quiet():
        losses, gradient = formula(Z_, Y_) if Z_.size else (np.zeros(Z_.shape[1]), Z_)
        return float(pairwise(losses)), _deliver(gradient, dtype, out, Z, Y)


def softmax_nll(Z, Y, out=None):
    """(loss summed over the batch in nats, dLdZ), from logits, in one pass. Z, Y, out (n, b).

    dLdZ = softmax(Z) − Y for columns of Y that sum to 1, in general (Σ y) softmax(Z) − Y; see
    nll_backward.

    >>> loss, dLdZ = softmax_nll([[0.0], [0.0]], [[1.0], [0.0]])
    >>> round(loss, 6), dLdZ.ravel().tolist()
    (0.693147, [-0.5, 0.5])
    """
    return _loss_and_gradient(_softmax_nll, Z, Y, out)


def sigmoid_nll(Z, Y, out=None):
    """(loss summed over labels and batch in nats, dLdZ = sigmoid(Z) − Y), from logits. Z, Y, out
    (n, b).

    >>> loss, dLdZ = sigmoid_nll([[0.0]], [[1.0]])
    >>> round(loss, 6), dLdZ.item()
    (0.693147, -0.5)
    """
    return _loss_and_gradient(_sigmoid_nll, Z, Y, out)


def batchnorm_forward(A, G, B, eps=1e-20):
    """(Z, norm, mus, vars): norm = (A − mus) / √(vars + eps), Z = G ⊙ norm + B. A, Z, norm (n, b);
    G, B, mus, vars (n, 1).

    mus and vars are mean and variance (1/b) over the batch; computes in the type of G.

    >>> Z, norm, mus, vars = batchnorm_forward([[1.0, 3.0]], [[2.0]], [[5.0]])
    >>> Z.tolist(), norm.tolist(), mus.item(), vars.item()
    ([[3.0, 7.0]], [[-1.0, 1.0]], 2.0, 1.0)
    """
    dtype, G_, B_ = _normalizer(G, B)
    A_ = _matrices("A", A, dtype, (G_.shape[0], "b"))
    if not A_.shape[1]:
        raise ValueError("A must hold at least one sample to be normalised, got 0 columns")
    with _quiet():
        return tuple(
            np.asarray(a, dtype)
            for a in _batchnorm_forward(A_, G_, B_, dtype.type(_checks.number("eps", eps)))
        )


def batchnorm_backward(dLdZ, norm, vars, G, eps=1e-20):
    """(dLdA, dLdG, dLdB) of batchnorm_forward: dLdA = G (dLdZ − mean dLdZ − norm ⊙ mean(dLdZ ⊙
    norm)) / √(vars + eps), dLdG and dLdB summed over the batch. dLdZ, norm, dLdA (n, b); vars, G,
    dLdG, dLdB (n, 1).

    >>> dLdA, dLdG, dLdB = batchnorm_backward([[1.0, 0.0]], [[-1.0, 1.0]], [[1.0]], [[2.0]])
    >>> dLdA.tolist(), dLdG.item(), dLdB.item()
    ([[0.0, 0.0]], -1.0, 1.0)
    """
    dtype, G_, vars_ = _normalizer(G, vars, "vars")
    norm_ = _matrices("norm", norm, dtype, (G_.shape[0], "b"))
    dLdZ_ = _matrices("dLdZ", dLdZ, dtype, norm_.shape)
    if not norm_.shape[1]:
        raise ValueError("norm must hold at least one sample, got 0 columns")
    with _quiet():
        return tuple(
            np.asarray(a, dtype)
            for a in _batchnorm_backward(
                dLdZ_, norm_, vars_, G_, dtype.type(_checks.number("eps", eps))
            )
        )


def batchnorm_apply(A, G, B, mus, vars, eps=1e-20):
    """Z = G ⊙ (A − mus) / √(vars + eps) + B by given statistics. A, Z (n, b); G, B, mus, vars (n,
    1).

    >>> batchnorm_apply([[1.0, 3.0]], [[2.0]], [[5.0]], [[2.0]], [[1.0]]).tolist()
    [[3.0, 7.0]]
    """
    dtype, G_, B_ = _normalizer(G, B)
    mus_, vars_ = (
        _matrices(name, x, dtype, G_.shape) for name, x in (("mus", mus), ("vars", vars))
    )
    A_ = _matrices("A", A, dtype, (G_.shape[0], "b"))
    with _quiet():
        return np.asarray(
            _batchnorm_apply(A_, G_, B_, mus_, vars_, dtype.type(_checks.number("eps", eps))), dtype
        )


def _normalizer(G, other, name="B"):
    dtype = _checks.computing_dtype(G)
    G_ = _matrices("G", G, dtype, ("n", 1))
    return dtype, G_, _matrices(name, other, dtype, G_.shape)


def dropout(A, p, key, count):
    """A / (1 − p) where the entry is kept, else 0: a share p is dropped, at random by the key, the
    count and the entry's place.

    A (n, b); p at least 0 and below 1; key and count whole numbers from 0 to 2**64 − 1. Entry (i,
    j) has the place i + n j, and is kept where a random 32-bit word made of key, count and place is
    at least p 2**32.

    >>> dropout(np.ones((1, 6)), 0.5, 1, 1).tolist()
    [[0.0, 0.0, 0.0, 2.0, 2.0, 2.0]]
    """
    dtype = _checks.computing_dtype(A)
    A_ = _matrices("A", A, dtype, ("n", "b"))
    with _quiet():
        return np.asarray(
            _dropout(
                A_, _checks.share("p", p), _checks.word("key", key), _checks.word("count", count)
            ),
            dtype,
        )


def squared_loss(Z, Y, out=None):
    """(sum of (Z − Y)² over outputs and batch, dLdZ = 2 (Z − Y)), from the outputs of a Linear. Z,
    Y, out (n, b).

    >>> loss, dLdZ = squared_loss([[3.0]], [[1.0]])
    >>> loss, dLdZ.item()
    (4.0, 4.0)
    """
    return _loss_and_gradient(_squared_loss, Z, Y, out)


def hinge_loss(Z, Y, out=None):
    """(sum of max(0, 1 − Y Z) over outputs and batch, dLdZ = −Y where Y Z < 1, else 0), Y of −1 and
    +1. Z, Y, out (n, b).

    >>> loss, dLdZ = hinge_loss([[0.25, 2.0]], [[1.0, 1.0]])
    >>> loss, dLdZ.tolist()
    (0.75, [[-1.0, 0.0]])
    """
    return _loss_and_gradient(_hinge_loss, Z, Y, out)


def _losses(formula, Ypred, Y, out):
    dtype = _checks.computing_dtype(Ypred)
    P = _matrices("Ypred", Ypred, dtype, ("n", "b"))
    Y_ = _matrices("Y", Y, dtype, P.shape)
    with _quiet():
        return _deliver(formula(P, Y_), dtype, out, None, Ypred, Y)


def nll(Ypred, Y, out=None):
    """−sum of Y log Ypred over each column: the loss of every sample in nats, (b,); 0 log 0 = 0.
    Ypred, Y (n, b).

    >>> nll([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]).tolist()
    [0.0, inf]
    """
    return _losses(_nll, Ypred, Y, out)


def nll_backward(Ypred, Y, out=None):
    """dLdZ = (Σ y) Ypred − Y through a softmax whose outputs are Ypred, where Σ y is the sum of a
    column. Ypred, Y, out (n, b).

    A column counts as summing to 1, which gives Ypred − Y to the last bit, if |Σ y − 1| ≤ n 2⁻²³.
    Normalising n labels in float32 stays within that. The sum is taken in float64, of Y converted
    to the computing type.

    >>> nll_backward([[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 3.0]]).tolist()
    [[-0.5, 1.5], [0.5, -1.5]]
    """
    dtype = _checks.computing_dtype(Ypred)
    P = _matrices("Ypred", Ypred, dtype, ("n", "b"))
    Y_ = _matrices("Y", Y, dtype, P.shape)
    with _quiet():
        return _deliver(_nll_backward(P, Y_), dtype, out, Ypred, Y)


def binary_nll(Ypred, Y, out=None):
    """−sum of Y log Ypred + (1 − Y) log(1 − Ypred) over each column, nats, (b,); 0 log 0 = 0.
    Ypred, Y (n, b).

    >>> binary_nll([[0.5, 1.0]], [[0.0, 1.0]]).round(6).tolist()
    [0.693147, 0.0]
    """
    return _losses(_binary_nll, Ypred, Y, out)


def squared(Ypred, Y, out=None):
    """Sum of (Ypred − Y)² over each column: the loss of every sample, (b,). Ypred, Y (n, b).

    >>> squared([[3.0, 1.0]], [[1.0, 1.0]]).tolist()
    [4.0, 0.0]
    """
    return _losses(_squared, Ypred, Y, out)


def hinge(Ypred, Y, out=None):
    """Sum of max(0, 1 − Y Ypred) over each column: the loss of every sample, (b,), Y of −1 and +1.
    Ypred, Y (n, b).

    >>> hinge([[0.25, 2.0]], [[1.0, 1.0]]).tolist()
    [0.75, 0.0]
    """
    return _losses(_hinge, Ypred, Y, out)


def sgd_step(W, dLdW, lrate):
    """W ← W − lrate dLdW in W's own memory, whatever its strides. W float32 or float64, writeable;
    dLdW of the same shape.

    >>> W = np.ones((1, 2))
    >>> sgd_step(W, [[1.0, 2.0]], 0.5)
    >>> W.tolist()
    [[0.5, 0.0]]
    """
    step = _scaled(W, dLdW, lrate)
    with _quiet():
        W -= step


def _scaled(W, dLdW, lrate):
    """lrate dLdW in W's type."""
    _checks.in_place("W", W)
    lrate = _checks.number("lrate", lrate)
    gradient = _matrices("dLdW", dLdW, W.dtype, W.shape)
    with _quiet():
        return W.dtype.type(lrate) * gradient


def step_terms(W, dLdW, lrate):
    """sgd_step(W, dLdW, lrate), prepared for nncore._core.take_steps."""
    return W, _scaled(W, dLdW, lrate), 1.0


def _optimizer_step(formula, W, dLdW, state, *numbers):
    """Check the arrays, take the step and write the results into W's and the state's own memory."""
    _checks.in_place("W", W)
    gradient = _matrices("dLdW", dLdW, W.dtype, W.shape)
    checked_state(W, state)
    with _quiet():
        results = formula(W, gradient, *state.values(), *numbers)
        for array, result in zip((W, *state.values()), results, strict=True):
            np.copyto(array, result)


def checked_state(W, state):
    """Refuse arrays of an optimiser's state, by name, that do not fit W or share memory with it or
    with each other."""
    seen = [W]
    for name, array in state.items():
        _checks.in_place(name, array)
        if array.dtype != W.dtype:
            raise TypeError(f"{name} must be {W.dtype} as W is, got {array.dtype}")
        _checks.shape(name, array, W.shape)
        if any(np.may_share_memory(array, other) for other in seen):
            raise ValueError(
                f"{name} must not share memory with W or the rest of the state, got an array that "
                f"does"
            )
        seen.append(array)


def momentum_step(W, dLdW, V, lrate, beta, nesterov=False):
    """V ← beta V + dLdW, W ← W − lrate V; with nesterov W ← W − lrate (beta V + dLdW). W and V
    change in their own memory.

    W, dLdW, V of one shape; W and V float32 or float64, writeable. Polyak (1964); Nesterov's form
    as in Sutskever et al. (2013).

    >>> W, V = np.array([[1.0]]), np.array([[2.0]])
    >>> momentum_step(W, [[1.0]], V, lrate=0.5, beta=0.5)
    >>> W.item(), V.item()
    (0.0, 2.0)
    """
    numbers = _checks.number("lrate", lrate), _checks.number("beta", beta)
    _optimizer_step(_nesterov_step if nesterov else _momentum_step, W, dLdW, {"V": V}, *numbers)


def adagrad_step(W, dLdW, S, lrate, eps):
    """S ← S + dLdW², W ← W − lrate dLdW / (√S + eps), element by element, in the arrays' own
    memory.

    W, dLdW, S of one shape; W and S float32 or float64, writeable. Duchi, Hazan, Singer (2011).

    >>> W, S = np.array([[1.0]]), np.array([[9.0]])
    >>> adagrad_step(W, [[4.0]], S, lrate=0.5, eps=0)
    >>> W.item(), S.item()
    (0.6, 25.0)
    """
    _optimizer_step(
        _adagrad_step, W, dLdW, {"S": S}, _checks.number("lrate", lrate), _checks.number("eps", eps)
    )


def rmsprop_step(W, dLdW, S, lrate, rho, eps):
    """S ← rho S + (1 − rho) dLdW², W ← W − lrate dLdW / (√S + eps), element by element, in the
    arrays' own memory.

    W, dLdW, S of one shape; W and S float32 or float64, writeable. Tieleman and Hinton (2012).

    >>> W, S = np.array([[1.0]]), np.array([[2.0]])
    >>> rmsprop_step(W, [[4.0]], S, lrate=0.5, rho=0.5, eps=1)
    >>> W.item(), S.item()
    (0.5, 9.0)
    """
    numbers = _checks.number("lrate", lrate), _checks.number("rho", rho), _checks.number("eps", eps)
    _optimizer_step(_rmsprop_step, W, dLdW, {"S": S}, *numbers)


def adam_step(W, dLdW, M, V, t, lrate, beta1, beta2, eps, weight_decay=0.0):
    """M ← beta1 M + (1 − beta1) dLdW, V ← beta2 V + (1 − beta2) dLdW², then with M' = M / (1 −
    beta1ᵗ), V' = V / (1 − beta2ᵗ) W ← (1 − lrate weight_decay) W − lrate M' / (√V' + eps), element
    by element, in the arrays' own memory.

    W, dLdW, M, V of one shape; W, M and V float32 or float64, writeable; t = 1, 2, ... counts the
    steps. Kingma and Ba (2015); weight_decay as in Loshchilov and Hutter (2019).

    >>> W, M, V = np.array([[1.0]]), np.array([[0.0]]), np.array([[0.0]])
    >>> adam_step(W, [[4.0]], M, V, t=1, lrate=0.5, beta1=0.5, beta2=0.75, eps=0)
    >>> W.item(), M.item(), V.item()
    (0.5, 2.0, 4.0)
    """
    t = _checks.count("t", t, 1)
    numbers = [
        _checks.number(name, x)
        for name, x in (
            ("lrate", lrate),
            ("beta1", beta1),
            ("beta2", beta2),
            ("eps", eps),
            ("weight_decay", weight_decay),
        )
    ]
    _optimizer_step(_adam_step, W, dLdW, {"M": M, "V": V}, t, *numbers)
