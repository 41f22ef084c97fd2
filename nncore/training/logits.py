"""The loss and its gradient from the logits, exact even if a probability underflows."""

import numpy as np

from nncore import _backend, _chain, _checks, modules, registry
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
    loss = registry.LOSSES.get(kind(net.loss))
    if loss is not None and kind(last) is net.loss.output and kind(net) is not None:
        return getattr(net.loss._kernels, loss.from_logits)
    return None


def loss_and_gradient(net, X, Y):
    """Return (loss summed over the batch, dL/dZ), module by module."""
    kernel = logits_kernel(net)
    if kernel is not None:
        Z = logits(net, X)
        loss, gradient = kernel(Z, Y)
        if is_plain(net.loss):
            P = net.loss._kernels.softmax_forward(Z)
            gradient = np.subtract(P, Y, dtype=P.dtype)
        return loss, gradient
    return _one_number(net.loss.forward(net.forward(X), Y)), net.loss.backward()


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
