"""Convert labels of shape (N,) to the columns (n, N) that a network trains on."""

import numpy as np

from nncore import _chain, _checks, _core, modules, registry

CLASSES = "integers from 0 to"


def columns(net, Y, of="", compact=False):
    """Return Y, or for one-dimensional Y: one-hot columns for a final SoftMax, a single row for a
    network of one output. compact: Classes in place of one-hot columns, and as Y.

    ValueError for labels that are out of range, not integers or not of the loss's kind. Shapes are
    checked later. of: follows Y in error messages.
    """
    if compact and type(Y) is _core.Classes:
        return Y
    try:
        Y = _checks.real(f"Y{of}", Y)
    except TypeError as error:
        if not getattr(net.loss, "classifies", True) and _are_objects(Y):
            raise TypeError(
                f"Y{of} must hold numbers for {type(net.loss).__name__}, got "
                f"{np.asarray(Y).dtype}; numbers in another form become such by "
                f"np.asarray(Y, float)"
            ) from None
        if not _are_texts(Y):
            raise
        raise TypeError(f"{error}; so does a network with net.classes = np.unique(Y)") from None
    last = next(
        (m for m in reversed(_chain.modules_of(net)) if isinstance(m, modules.Linear)), None
    )
    if Y.ndim != 1 or last is None or np.ndim(last.W) != 2:
        return Y
    n = np.shape(last.W)[1]
    loss = registry.record_of(net.loss, registry.LOSSES)
    if loss is None:
        return Y
    if loss.labels == "classes":
        classes = _core.Classes(_classes(Y, n, of), n, _checks.computing_dtype(last.W))
        return classes if compact else classes[:, :]
    if n == 1 and loss.labels == "binary":
        return _classes(Y, 2, of)[None, :]
    # Signs and numbers; check_data refuses other labels than signs.
    return Y[None, :] if n == 1 else Y


def _are_objects(Y):
    """Return whether Y is an array, or makes one, of texts or objects."""
    try:
        a = np.asarray(Y)
    except (TypeError, ValueError):  # lists of different lengths
        return False
    return a.ndim in (1, 2) and a.dtype.kind in "USOT"


def _are_texts(Y):
    try:
        return all(isinstance(label, str) for label in np.asarray(Y).flat)
    except (TypeError, ValueError):  # lists of different lengths
        return False


def remember(net, Y, anew=False):
    """Note whether a network of one number per sample is trained on numbers (N,), as `predict` then
    returns such. anew: also if an earlier training has noted it.
    """
    if not getattr(net.loss, "classifies", True) and (anew or "_flat" not in vars(net)):
        net._flat = np.ndim(Y) == 1


def not_negative(net, X, Y):
    """Return X and Y; ValueError if NLL would weight a class negatively, which rewards unlikely
    outputs.
    """
    loss = registry.of_class(type(net.loss), registry.LOSSES)
    if loss is None or loss.labels != "classes" or type(Y) is _core.Classes:
        return X, Y
    at = _checks.first_wrong(Y, lambda part: part < 0)
    if at is not None:
        raise ValueError(
            f"Y must hold one-hot columns, or weights of the classes that are not negative, for "
            f"{loss.cls.__name__}, got {Y[at]}"
        )
    return X, Y


def _classes(Y, n, of=""):
    """Return Y as int64; ValueError unless all are classes below n."""
    if Y.dtype.kind in "biu" and Y.size and Y.min() >= 0 and Y.max() < n:
        return Y.astype(np.int64)  # a quarter of the time of the general check
    at = _checks.first_wrong(Y, lambda y: (y != np.floor(y)) | (y < 0) | (y >= n) | (y != y))
    if at is not None:
        (at,) = at
        raise ValueError(
            f"Y{of} must hold {CLASSES} {n - 1}, the classes of the network, or one column per "
            f"sample, got {Y[at]} at {at}"
        )
    return Y.astype(np.int64)
