"""Outputs of a fitted estimator, by a compiled network that is kept for its next call."""

import os
import weakref

from nncore import _core
from nncore.sklearn import _compiled, _formulas


class Cache:
    """One compiled object per estimator, for as long as it lives.

    `take` hands an object to one caller alone, so that threads may share an estimator; `put` gives
    it back. Nothing is taken on trust: `take` compares the weights' arrays and the settings.
    """

    def __init__(self):
        self._entries = {}
        # another thread of the parent may have had an object in use
        os.register_at_fork(after_in_child=self._entries.clear)

    def take(self, estimator, arrays, settings):
        """The estimator's object if it belongs to these arrays and settings, or None."""
        entry = self._entries.pop(id(estimator), None)
        if entry is None or entry[2] != settings or not _core.are_same(entry[1], arrays):
            return None
        return entry[3]

    def put(self, estimator, arrays, settings, thing):
        """Keep an object until the estimator goes."""
        key, entries = id(estimator), self._entries
        reference = weakref.ref(estimator, lambda _: entries.pop(key, None))
        entries[key] = (reference, arrays, settings, thing)


_networks = Cache()


def outputs(estimator, X):
    """The outputs (n_samples, n_outputs) at validated samples, of the type that X and the weights
    give in NumPy."""
    coefs, intercepts = estimator.coefs_, estimator.intercepts_
    settings = (estimator.activation, estimator.out_activation_)
    arrays = [*coefs, *intercepts]
    network = _networks.take(estimator, arrays, settings)
    if network is None:
        if not _compiled.computes(coefs, intercepts):
            return _formulas.outputs(X, coefs, intercepts, *settings)
        network = _compiled.Outputs(estimator._problem(), coefs, intercepts)
    try:
        if X.dtype != network.dtype:
            return _formulas.outputs(X, coefs, intercepts, *settings)
        return network(X)
    finally:
        _networks.put(estimator, arrays, settings, network)


def of_plain(estimator, X):
    """The outputs at X if it is an array that scikit-learn's validation would pass unchanged, for a
    fitted estimator without names of features; else None."""
    fitted = estimator.__dict__
    features = fitted.get("n_features_in_")
    if (
        features is None
        or "feature_names_in_" in fitted
        or "coefs_" not in fitted
        or not _core.is_plain(X, features)
    ):
        return None
    return outputs(estimator, X)
