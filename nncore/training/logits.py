"""The loss and its gradient from the logits, exact even if a probability underflows."""

import functools

import numpy as np

from nncore import _backend, _chain, _checks, _sums, modules, registry
from nncore._kinds import kind


def live_kernels():
    """Return the live module of kernels, for modules that are not the library's."""
    return _backend.live


def has_output_unit(net):
    """Return whether the loss belongs to a module that turns logits into outputs; otherwise both
    are the same.
    """
    return getattr(net.loss, "output", None) is not modules.Linear


def logits(net, X, predicting=False):
    """Return the outputs of the last Linear, for a library loss."""
    parts = _chain.modules_of(net)
    parts = parts[:-1] if has_output_unit(net) else parts
    if predicting:
        return _chain.predicted(parts, X)
    for module in parts:
        X = module.forward(X)
    return X


def logits_kernel(net):
    """Return the kernel from (logits, Y) to (loss, dL/dZ) if the library's loss follows its own
    output unit, else None.

    From logits the loss stays finite and exact even if a probability has underflowed to 0. The
    outputs of a final Linear are logits.
    """
    last = _chain.modules_of(net)[-1]
    loss = registry.of_class(kind(net.loss), registry.LOSSES)
    if loss is not None and kind(last) is net.loss.output and kind(net) is not None:
        return functools.partial(net.loss._of_logits, getattr(net.loss._kernels, loss.from_logits))
    return None


def loss_and_gradient(net, X, Y, weights=None):
    """Return (loss summed over the batch, dL/dZ), module by module; weights: of the samples."""
    kernel = logits_kernel(net)
    if kernel is None:
        P = net.forward(X)
        loss = _one_number(net.loss.forward(P, Y))
        if weights is None:
            return loss, net.loss.backward()
        return _weighted(per_sample(net, P, Y), net.loss.backward(), weights)
    Z = logits(net, X)
    loss, gradient = kernel(Z, Y)
    if is_plain(net.loss):
        P = net.loss._kernels.softmax_forward(Z)
        gradient = np.subtract(P, Y, dtype=P.dtype)
    if weights is None:
        return loss, gradient
    return _weighted(losses_of_logits(kernel, Z, Y), gradient, weights)


@_checks.quiet
def _weighted(losses, gradient, weights):
    """Return (Σ w L, dL/dZ ⊙ w), given the loss of each sample."""
    gradient = np.asarray(gradient)
    return float(_sums.pairwise(weights * losses)), gradient * weights.astype(gradient.dtype)


def losses_of_logits(kernel, Z, Y):
    """Return the loss of each sample, float64, by the kernel that sums over samples."""
    return np.array([kernel(Z[:, j : j + 1], Y[:, j : j + 1])[0] for j in range(Z.shape[1])])


def per_sample(net, P, Y):
    """Return the loss of each sample, float64, of a loss without a kernel; TypeError if it
    cannot be computed.
    """
    if not hasattr(net.loss, "per_sample"):
        raise TypeError(
            "loss must have per_sample(Ypred, Y), the loss of each sample, to weight samples, got "
            f"{type(net.loss).__name__} without it"
        )
    values = numbers(net.loss.per_sample(P, Y))
    if values is None or values.size != np.shape(P)[-1]:
        raise ValueError("loss.per_sample must return one number per sample")
    return values.astype(np.float64).ravel()


def is_plain(loss):
    """Return whether an NLL's gradient is Ypred − Y for any sum of a sample's labels."""
    return getattr(loss, "_plain", False)


def _one_number(loss):
    """Return the value of a user's loss as a float; ValueError unless it is one number."""
    value = numbers(loss)
    if value is not None and value.size == 1:
        return float(value.reshape(()))
    raise ValueError(
        f"loss.forward must return one number, the loss summed over the batch, got {given(loss)}"
    )


def numbers(loss):
    """Return the value of a user's loss as an array, None if it is not made of real numbers."""
    try:
        value = np.asarray(loss)
    except ValueError:  # lists of different lengths
        return None
    return value if value.dtype.kind in _checks.REAL_KINDS else None


def given(loss):
    """Describe the value of a user's loss: its shape, or its type."""
    shaped = isinstance(loss, np.ndarray) or numbers(loss) is not None
    return f"shape {np.shape(loss)}" if shaped else type(loss).__name__
