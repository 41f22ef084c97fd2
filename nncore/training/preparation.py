"""The data of a call as the modules take them, for networks with a scaling or with classes.

Every method that takes data converts them here, once; all later code works on converted data.
"""

import numpy as np

from nncore import _chain, _checks, _sparse, losses, modules
from nncore.training import validate


def inputs(net, X, name="X"):
    """Return X (D, N) as the modules take it; TypeError or ValueError if it does not fit."""
    parts = _chain.modules_of(net)
    return scaled(net, validate.check_inputs(parts, X, name))


def scaled(net, X):
    """Return X, which has been checked, as the modules take it."""
    found = net._preprocessing
    if found is None or not found.scales:
        return X
    if not found.fits_inputs(X.shape[0]):
        check(net)
        found.check_inputs(X.shape[0])
    return found.scaled(X, computing_dtype(net, X))


def data(net, X, Y, of=""):
    """Return X and Y as the modules and the loss take them. of: follows X and Y in messages."""
    return inputs(net, X, f"X{of}"), targets(net, Y, f"Y{of}")


def targets(net, Y, name="Y"):
    """Return labels as class numbers, and numbers in the units of the outputs. One-hot columns are
    taken as they are.
    """
    found = net._preprocessing
    if found is None:
        return Y
    if found.is_encoded and np.ndim(Y) == 1 and not _is_compact(Y):
        return _encoded(net, Y, name)
    if not found.scales_targets:
        return Y
    check(net)
    return found.scaled_targets(_checks.real(name, Y), computing_dtype(net))


def sample(net, x, y):
    """Return a sample (D,) with its label, or a block (D, K) with its labels, likewise."""
    found = net._preprocessing
    if found is None:
        return x, y
    if found.is_encoded and np.ndim(y) <= (0 if np.ndim(x) == 1 else 1):
        y = _encoded(net, y, "y")
    elif found.scales_targets:
        y = _checks.real("y", y)
        column = np.ndim(x) == 1 and y.ndim == 1
        y = found.scaled_targets(y[:, None] if column else y, computing_dtype(net))
        y = y[:, 0] if column and y.ndim == 2 else y
    return one_input(net, x), y


def one_input(net, x):
    """Return x (D,) or (D, K) scaled; one of another shape as it is, for the caller to refuse."""
    found = net._preprocessing
    if found is None or not found.scales:
        return x
    if _sparse.is_sparse(x):
        return inputs(net, x, "x")
    x = _checks.real("x", x)
    if x.ndim not in (1, 2) or not found.fits_inputs(len(x)):
        return x
    dtype = computing_dtype(net, x)
    return found.scaled(x[:, None], dtype)[:, 0] if x.ndim == 1 else found.scaled(x, dtype)


def outputs(net, P):
    """Return outputs (n, N) in the units of the targets."""
    found = net._preprocessing
    if found is None or not found.scales_targets:
        return P
    if not found.fits_outputs(len(P)):
        check(net)
    return found.unscaled_targets(P)


def labels(net, classes, outputs):
    """Return the labels of what class_fun gives for so many outputs, one class per sample."""
    found = net._preprocessing
    if not found.is_encoded or classes.ndim != 1 or classes.dtype.kind not in "iu":
        return classes
    if not found.fits_labels(max(outputs, 2)):
        check(net)
    if isinstance(net.loss, losses.Hinge):
        classes = (classes + 1) // 2
    return found.decoded(classes)


def check(net):
    """Raise ValueError unless scalings and classes have the sizes of the network."""
    linears = [m for m in _chain.modules_of(net) if isinstance(m, modules.Linear)]
    if not linears or any(np.ndim(m.W) != 2 for m in linears):
        return
    n = np.shape(linears[-1].W)[1]
    net._preprocessing.check_inputs(np.shape(linears[0].W)[0])
    last = _chain.modules_of(net)[-1]
    binary = isinstance(last, modules.OutputSigmoid) or isinstance(net.loss, losses.Hinge)
    one = 2 if binary and n == 1 else n
    net._preprocessing.check_outputs(n, one if not binary or n == 1 else None)


def computing_dtype(net, X=None):
    """Return the type that the network computes X in."""
    first = next((m for m in _chain.modules_of(net) if isinstance(m, modules.Linear)), None)
    return _checks.computing_dtype(X if first is None else first.W)


def _is_compact(Y):
    return not isinstance(Y, (np.ndarray, list, tuple)) and hasattr(Y, "numbers")


def _encoded(net, Y, name):
    check(net)
    numbers = net._preprocessing.encoded(Y, name)
    return 2 * numbers - 1 if isinstance(net.loss, losses.Hinge) else numbers
