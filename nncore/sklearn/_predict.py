"""Outputs of a fitted estimator, by a compiled network that is kept for its next call."""

import weakref

import numpy as np
import scipy.sparse as sp

from nncore import _core, _threads
from nncore.sklearn import _compiled, _formulas


class Cache:
    """One compiled object per estimator, for as long as it lives.

    `take` hands an object to one caller alone, so that threads may share an estimator; `put` gives
    it back. Nothing is taken on trust: `take` compares the weights' arrays and the settings.
    """

    def __init__(self):
        self._forget()
        _threads.in_forked_children(self._forget)

    def _forget(self):
        """Begin empty, also in a forked child: another thread of the parent may have had an object
        in use, or own the lock that a dict has on a free-threaded Python."""
        self._entries = {}

    def take(self, estimator, lists, settings):
        """The estimator's entry if it belongs to the arrays in these lists and to these settings,
        or None; the object is its last item."""
        entry = self._entries.pop(id(estimator), None)
        if entry is None or entry[2] != settings or not _core.are_chained(entry[1], lists):
            return None
        return entry

    def pop(self, estimator):
        """The estimator's entry, whatever it belongs to, or None."""
        return self._entries.pop(id(estimator), None)

    def entry(self, estimator, lists, settings, thing):
        """An entry for an object, to be put back."""
        key = id(estimator)
        reference = weakref.ref(estimator, lambda _: self._entries.pop(key, None))
        return reference, [array for arrays in lists for array in arrays], settings, thing

    def put(self, estimator, entry):
        """Keep an entry until the estimator goes."""
        self._entries[id(estimator)] = entry


_networks = Cache()


def outputs(estimator, X):
    """The outputs (n_samples, n_outputs) at validated samples, of the type that X and the weights
    give in NumPy."""
    coefs, intercepts = estimator.coefs_, estimator.intercepts_
    settings = (estimator.activation, estimator.out_activation_)
    lists = (coefs, intercepts)
    entry = _networks.take(estimator, lists, settings)
    if entry is None:
        if not _compiled.computes(coefs, intercepts):
            return _formulas.outputs(X, coefs, intercepts, *settings)
        network = _compiled.Outputs(estimator._problem(), coefs, intercepts)
        entry = _networks.entry(estimator, lists, settings, network)
    network = entry[-1]
    try:
        if X.dtype != network.dtype:
            return _formulas.outputs(X, coefs, intercepts, *settings)
        return network(X)
    finally:
        _networks.put(estimator, entry)


def of_plain(estimator, X):
    """The outputs at X if it is an array that scikit-learn's validation would pass unchanged, for a
    fitted estimator without names of features; else None."""
    fitted = estimator.__dict__
    features = fitted.get("n_features_in_")
    entry = _networks.pop(estimator)
    if entry is not None:
        found = None
        if (
            entry[2] == (fitted.get("activation"), fitted.get("out_activation_"))
            and features is not None
            and "feature_names_in_" not in fitted
        ):
            lists = (fitted.get("coefs_"), fitted.get("intercepts_"))
            found = entry[-1].of_plain(X, entry[1], lists)
        _networks.put(estimator, entry)
        if found is not None:
            return found
    if (
        features is None
        or "feature_names_in_" in fitted
        or "coefs_" not in fitted
        or not (_core.is_plain(X, features) or _is_plain_csr(X, features))
    ):
        return None
    return outputs(estimator, X)


def _is_plain_csr(X, features):
    """Whether X is a finite CSR matrix that validation would pass unchanged."""
    return (
        type(X) in (sp.csr_matrix, sp.csr_array)
        and X.shape[1] == features
        and X.shape[0] > 0
        and X.indices.dtype == np.int32
        and X.dtype in (np.float32, np.float64)
        and type(X.data) is np.ndarray
        and X.data.flags.c_contiguous
        and _core.all_finite([X.data])
    )
