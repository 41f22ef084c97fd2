"""The formulas of the notes in plain NumPy, without checks of types or shapes; see numpy_kernels.

Samples are columns. b is the batch size; A (m, b), W (m, n), W0 (n, 1), Z and dLdZ (n, b).
"""

import numpy as np

from nncore._sums import pairwise


def linear_forward(A, W, W0):
    """Z = Wᵀ A + W0."""
    return W.T @ A + W0


def linear_backward(dLdZ, A, W):
    """dLdA = W dLdZ, dLdW = A dLdZᵀ, dLdW0 = Σ dLdZ over the batch."""
    dLdA = W @ dLdZ
    dLdW = A @ dLdZ.T
    dLdW0 = pairwise(dLdZ, axis=1, keepdims=True)
    return dLdA, dLdW, dLdW0


def tanh_forward(Z):
    """A = tanh Z."""
    return np.tanh(Z)


def tanh_backward(dLdA, A):
    """dLdZ = dLdA ⊙ (1 − A²)."""
    return dLdA * (1 - A**2)


def relu_forward(Z):
    """A = max(0, Z)."""
    return np.maximum(Z, 0)


def relu_backward(dLdA, A):
    """dLdZ = dLdA if A > 0, else 0."""
    return np.where(A > 0, dLdA, 0)


def sigmoid_forward(Z):
    """A = 1 / (1 + e^−Z)."""
    # e^-|z| <= 1 never overflows, and e / (1 + e) is accurate for very negative z
    e = np.exp(-np.abs(Z))
    return np.where(Z < 0, e, 1) / (1 + e)


def sigmoid_backward(dLdA, A):
    """dLdZ = dLdA ⊙ A (1 − A)."""
    return dLdA * (A * (1 - A))


def softmax_forward(Z):
    """a_i = e^{z_i} / Σ_j e^{z_j}, per column."""
    # the largest exponent is 0: no overflow for finite logits
    e = np.exp(Z - Z.max(axis=0, keepdims=True))
    return e / pairwise(e, keepdims=True).astype(e.dtype)


def softmax_nll(Z, Y):
    """−Σ_i y_i log softmax(z)_i = Σ_i y_i ((max − z_i) + log(1 + Σ e^(z − max) of the other
    entries)).
    """
    top = Z.argmax(axis=0)
    columns = np.arange(Z.shape[1])
    below = Z[top, columns] - Z
    others = np.exp(-below)
    others[top, columns] = np.where(np.isnan(below[top, columns]), np.nan, 0)
    log_sum = np.log1p(pairwise(others))
    losses = pairwise(weighted(Y, below)) + pairwise(Y) * log_sum
    return losses, nll_backward(softmax_forward(Z), Y)


def nll_backward(Ypred, Y):
    """(Σ_i y_i) a − y, the derivative of −Σ_i y_i log softmax(z)_i."""
    return label_weights(Y) * Ypred - Y


def label_weights(Y):
    """The sum of each column; exactly 1 if it is 1 up to rounding, or non-finite.

    n labels normalised in float32 sum to 1 within n 2⁻²³.
    """
    sums = pairwise(Y)
    off = np.abs(sums - 1)
    return np.where((off > Y.shape[0] * 2.0**-23) & (off < np.inf), sums, 1).astype(Y.dtype)


def sigmoid_nll(Z, Y):
    """y softplus(−z) + (1 − y) softplus(z), with softplus(z) = log(1 + e^z) = max(z, 0) +
    log1p(e^−|z|).
    """
    tail = np.log1p(np.exp(-np.abs(Z)))
    losses = weighted(Y, np.maximum(-Z, 0) + tail) + weighted(1 - Y, np.maximum(Z, 0) + tail)
    return pairwise(losses), sigmoid_forward(Z) - Y


def batchnorm_apply(A, G, B, mus, vars, eps):
    """Z = G ⊙ (A − μ) / √(v + eps) + B."""
    return G * ((A - mus) / np.sqrt(vars + eps)) + B


def batchnorm_forward(A, G, B, eps):
    """(Z, norm, μ, v), with mean μ and variance v of each row over the batch."""
    mus = mean(A)
    mus = mus + mean(A - mus)  # exact if all are equal; √eps is smaller than an ulp of the mean
    vars = mean((A - mus) ** 2)
    norm = (A - mus) / np.sqrt(vars + eps)
    return G * norm + B, norm, mus, vars


def batchnorm_backward(dLdZ, norm, vars, G, eps):
    """dLdA = G (dLdZ − mean dLdZ − norm ⊙ mean(dLdZ ⊙ norm)) / √(v + eps), dLdG, dLdB."""
    dLdG, dLdB = pairwise(dLdZ * norm, axis=1, keepdims=True), pairwise(dLdZ, axis=1, keepdims=True)
    dLdA = G * (dLdZ - mean(dLdZ) - norm * mean(dLdZ * norm)) / np.sqrt(vars + eps)
    return dLdA, dLdG, dLdB


def mean(A):
    """The mean of each row, over the batch."""
    return (pairwise(A, axis=1, keepdims=True) / A.shape[1]).astype(A.dtype)


def mix(word):
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), for a Python int."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ word >> shift) * factor % 2**64
    return word ^ word >> 31


def scramble(u):
    """A mixing function of 32-bit words with little bias (Wellons, hash-prospector)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        u = (u ^ u >> np.uint32(shift)) * np.uint32(factor)
    return u ^ u >> np.uint32(16)


def dropout_kept(shape, p, key, count):
    """The mask (n, b), sample by sample: True if an entry's random 32-bit word is at
    least p 2**32.
    """
    word = mix((key + count * 0x9E3779B97F4A7C15) % 2**64)
    places = np.arange(shape[0] * shape[1], dtype=np.uint32)
    u = scramble(scramble(places ^ np.uint32(word % 2**32)) ^ np.uint32(word >> 32))
    return (u >= np.uint32(p * 2**32)).reshape(shape, order="F")


def dropout(A, p, key, count):
    """A / (1 − p) for kept entries, else 0."""
    return np.where(dropout_kept(A.shape, p, key, count), A * A.dtype.type(1 / (1 - p)), 0)


def squared_loss(Z, Y):
    """(Σ (z − y)² per column, 2 (Z − Y))."""
    return pairwise((Z - Y) ** 2), 2 * (Z - Y)


def hinge_loss(Z, Y):
    """(Σ max(0, 1 − y z) per column, −y if y z < 1, else 0)."""
    margin = Y * Z
    return pairwise(np.where(margin >= 1, 0, 1 - margin)), np.where(margin < 1, -Y, 0)


def absolute_loss(Z, Y):
    """(Σ |z − y| per column, sign(Z − Y))."""
    return pairwise(abs(Z - Y)), np.sign(Z - Y)


def huber_loss(Z, Y, delta):
    """(Σ h(z − y) per column, z − y bounded to [−delta, delta]).

    h(e) = e²/2 up to |e| = delta, then delta (|e| − delta/2).
    """
    error, size = Z - Y, abs(Z - Y)
    delta = Z.dtype.type(delta)
    losses = np.where(size > delta, delta * (size - delta / 2), error**2 / 2)
    return pairwise(losses), np.clip(error, -delta, delta)


def adjusted_labels(Y, smoothing, weights):
    """w ⊙ ((1 − smoothing) Y + smoothing / n Σ y), Σ y the sum of a column; weights w (n,)."""
    Y = Y.astype(np.float64)
    return weights[:, None] * ((1 - smoothing) * Y + smoothing / len(Y) * Y.sum(axis=0))


def nll(Ypred, Y):
    """−Σ y log a per column."""
    return pairwise(weighted(Y, -np.log(Ypred)))


def binary_nll(Ypred, Y):
    """−Σ (y log a + (1 − y) log(1 − a)) per column."""
    return pairwise(weighted(Y, -np.log(Ypred)) + weighted(1 - Y, -np.log1p(-Ypred)))


def squared(Ypred, Y):
    """Σ (a − y)² per column."""
    return squared_loss(Ypred, Y)[0]


def hinge(Ypred, Y):
    """Σ max(0, 1 − y a) per column."""
    return hinge_loss(Ypred, Y)[0]


def absolute(Ypred, Y):
    """Σ |a − y| per column."""
    return absolute_loss(Ypred, Y)[0]


def huber(Ypred, Y, delta):
    """Σ h(a − y) per column."""
    return huber_loss(Ypred, Y, delta)[0]


def momentum_step(W, g, V, lrate, beta):
    """V ← beta V + g, W ← W − lrate V."""
    V = beta * V + g
    return W - lrate * V, V


def nesterov_step(W, g, V, lrate, beta):
    """V ← beta V + g, W ← W − lrate (beta V + g)."""
    V = beta * V + g
    return W - lrate * (beta * V + g), V


def adagrad_step(W, g, S, lrate, eps):
    """S ← S + g², W ← W − lrate g / (√S + eps)."""
    S = S + g**2
    return W - lrate * g / (np.sqrt(S) + eps), S


def rmsprop_step(W, g, S, lrate, rho, eps):
    """S ← rho S + (1 − rho) g², W ← W − lrate g / (√S + eps)."""
    S = rho * S + (1 - rho) * g**2
    return W - lrate * g / (np.sqrt(S) + eps), S


def adam_step(W, g, M, V, t, lrate, beta1, beta2, eps, weight_decay):
    """M and V are moving averages of g and g²; W ← (1 − lrate weight_decay) W − lrate M' / (√V' +
    eps).
    """
    M = beta1 * M + (1 - beta1) * g
    V = beta2 * V + (1 - beta2) * g**2
    # corrected for the zeros they started from
    mean, mean_square = (M / (1 - beta1**t), V / (1 - beta2**t))
    return (1 - lrate * weight_decay) * W - lrate * mean / (np.sqrt(mean_square) + eps), M, V


def weighted(weight, value):
    """weight * value with 0 * inf = 0: values without weight do not count."""
    return np.where(weight == 0, 0, weight * value)
