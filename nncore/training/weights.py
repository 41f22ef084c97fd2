"""Weights of samples, given for each or by class."""

from collections.abc import Mapping

import numpy as np

from nncore import _checks, _core, registry
from nncore.training import preparation


def of_samples(net, Y, sample_weight, class_weight, samples=None):
    """Return the weight of each sample, (N,) float64, or None if neither argument is given.

    Y: the labels as columns, checked; samples: the indices of those to train on, which
    class_weight="balanced" counts, or None for all.
    """
    N = Y.shape[1]
    weights = None if sample_weight is None else checked(sample_weight, N)
    if class_weight is None:
        return weights
    names, classes = _classes(net, Y)
    if net._preprocessing is not None and net.classes is not None:
        preparation.check(net)
        names = net.classes.tolist()
    by_class = _by_class(class_weight, names, classes if samples is None else classes[samples])
    found = by_class[classes]
    return found if weights is None else found * weights


def checked(sample_weight, N, name="sample_weight"):
    """Return weights of N samples as a float64 array; TypeError or ValueError otherwise."""
    weights = _checks.as_real(name, sample_weight, np.float64)
    _checks.shape(name, weights, (N,), "; it must hold one weight per sample")
    _not_negative(name, weights)
    return np.ascontiguousarray(weights)


def _not_negative(name, weights):
    at = _checks.first_wrong(weights, lambda w: ~((w >= 0) & (w < np.inf)))
    if at is not None:
        raise ValueError(f"{name} must be finite and at least 0, got {weights[at]} at {at[0]}")


def _classes(net, Y):
    """Return (the numbers of the classes, each sample's index among them)."""
    loss = registry.record_of(net.loss, registry.LOSSES)
    if loss is None or loss.labels == "numbers":
        raise TypeError(
            f"class_weight must be None for the loss {type(net.loss).__name__}, which has no "
            "classes; sample_weight takes a weight per sample"
        )
    if type(Y) is _core.Classes:
        return range(Y.shape[0]), Y.numbers
    if loss.labels == "classes":
        if not ((np.count_nonzero(Y, axis=0) == 1).all() and (Y.max(axis=0) == 1).all()):
            raise ValueError(
                "Y must hold classes or one-hot columns to be weighted by class_weight; "
                f"{loss.cls.__name__}(class_weight=...) weights labels that are spread over classes"
            )
        return range(Y.shape[0]), Y.argmax(axis=0)
    if Y.shape[0] > 1:
        raise ValueError(
            f"class_weight must be None for {Y.shape[0]} labels per sample, of which each has its "
            "own classes; sample_weight takes a weight per sample"
        )
    names = (-1, 1) if loss.labels == "signs" else (0, 1)
    if (at := _checks.first_wrong(Y, lambda y: (y != names[0]) & (y != 1))) is not None:
        raise ValueError(
            f"Y must hold {names[0]} and 1 to be weighted by class_weight, got {Y[at]} at {at[1]}"
        )
    return names, (Y[0] == 1).astype(np.int64)


def _by_class(class_weight, names, classes):
    """Return the weight of each class of `names`."""
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(
                f"class_weight must be 'balanced', a dict or one weight per class, got "
                f"{class_weight!r}"
            )
        return _balanced(classes, len(names))
    if not isinstance(class_weight, Mapping):
        weights = _checks.as_real("class_weight", class_weight, np.float64)
        _checks.shape("class_weight", weights, (len(names),), "; it must hold one weight per class")
        _not_negative("class_weight", weights)
        return weights
    found, places = np.ones(len(names)), {name: i for i, name in enumerate(names)}
    for name, weight in class_weight.items():
        if name not in places:
            raise ValueError(
                f"class_weight must have the network's classes, {_listed(names)}, as keys, got "
                f"{name!r}{_names_of_classes(name, names)}"
            )
        value = found[places[name]] = _checks.number(f"class_weight[{name!r}]", weight)
        if not 0 <= value < np.inf:
            raise ValueError(
                f"class_weight must be finite and at least 0, got {value} for {name!r}"
            )
    return found


def _listed(names):
    """Return the names of classes in words, numbers in order as a range."""
    if isinstance(names, list):
        return ", ".join(map(repr, names[:6])) + (", ..." if len(names) > 6 else "")
    return f"{names[0]} {'and' if len(names) == 2 else 'to'} {names[-1]}"


def _names_of_classes(key, names):
    """Return how a text becomes a key, if the network has no labels."""
    if isinstance(key, str) and not isinstance(names, list):
        return "; labels are keys for a network with net.classes = np.unique(labels)"
    return ""


def _balanced(classes, n):
    """Return N / (K N_c) for each of n classes, N_c of N samples being of class c, and K the number
    of classes that occur; as scikit-learn.
    """
    counts = np.bincount(classes, minlength=n)
    occur = counts > 0
    return len(classes) / (max(occur.sum(), 1) * np.where(occur, counts, 1))


def refuse_balanced(class_weight, where):
    """ValueError for "balanced" where not all labels are known."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        raise ValueError(
            f"class_weight must not be 'balanced' {where}, which does not see all labels; pass a "
            "dict or one weight per class"
        )
