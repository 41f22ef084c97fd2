"""The loss and its gradient from the logits, which stay exact where a probability underflows."""

import numpy as np

from nncore import _backend, _chain, _checks, modules, registry
from nncore._kinds import kind


def live_kernels():
    """The module of kernels that is live, for modules that are not the library's."""
    return _backend.live


def has_output_unit(net):
    """Whether the loss goes with a module that turns logits into outputs; else they are the
    same."""
    return getattr(net.loss, "output", None) is not modules.Linear


def logits(net, X, predicting=False):
    """Outputs of the last Linear, for a library's loss."""
    parts = _chain.modules_of(net)
    parts = parts[:-1] if has_output_unit(net) else parts
    if predicting:
        return _chain.predicted(parts, X)
    for module in parts:
        X = module.forward(X)
    return X


def logits_kernel(net):
    """The kernel that takes logits and Y for (loss, dL/dZ) where the library's loss stands beside
    the library's output, or None.

    From logits the loss stays finite and exact where a probability has underflowed to 0. Of a last
    Linear the outputs are the logits.
    """
    last = _chain.modules_of(net)[-1]
    loss = registry.LOSSES.get(kind(net.loss))
    if loss is not None and kind(last) is net.loss.output and kind(net) is not None:
        return getattr(net.loss._kernels, loss.from_logits)
    return None


def loss_and_gradient(net, X, Y):
    """(loss summed over the batch, dL/dZ), module by module."""
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
    """Whether an NLL's gradient is Ypred − Y whatever the labels of a sample sum to."""
    return getattr(loss, "_plain", False)


def _one_number(loss):
    """What a user's loss has given as a float; ValueError unless it is one number."""
    value = numbers(loss)
    if value is not None and value.size == 1:
        return float(value.reshape(()))
    raise ValueError(
        f"loss.forward must return one number, the loss summed over the batch, got {given(loss)}"
    )


def numbers(loss):
    """What a user's loss has given as an array, or None if it is not made of real numbers."""
    try:
        value = np.asarray(loss)
    except ValueError:  # lists of different lengths
        return None
    return value if value.dtype.kind in _checks.REAL_KINDS else None


def given(loss):
    """Words for what a user's loss has given: its shape, or its type."""
    shaped = isinstance(loss, np.ndarray) or numbers(loss) is not None
    return f"shape {np.shape(loss)}" if shaped else type(loss).__name__
