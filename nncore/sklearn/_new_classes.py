"""More classes for a fitted classifier: outputs are added, and the rest stays."""

import copy

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target, unique_labels


def extended(estimator, y, classes):
    """Add outputs for classes in y or `classes` that the estimator does not know; whether there
    were any.

    Two classes have one logistic output z. It becomes the softmax of 0 and z, which is the same.
    """
    self = estimator
    if type_of_target(y).startswith("multilabel") or self._label_binarizer.y_type_ not in (
        "binary",
        "multiclass",
    ):
        return False
    known = self.classes_
    wanted = unique_labels(known, y) if classes is None else unique_labels(known, y, classes)
    if len(wanted) == len(known):
        return False
    if len(known) < 2 or self.loss == "hinge":
        raise ValueError(
            "extend_classes needs at least two classes to begin with, and loss='log_loss'"
        )
    _extend(self, wanted)
    return True


def _extend(self, wanted):
    places = np.searchsorted(wanted, self.classes_)
    fan_in, n = self.coefs_[-1].shape[0], len(wanted)
    bound = np.sqrt((2.0 if self.activation == "logistic" else 6.0) / (fan_in + n))
    draw = check_random_state(self.random_state).uniform
    W = draw(-bound, bound, (fan_in, n)).astype(self.coefs_[-1].dtype)
    w0 = draw(-bound, bound, n).astype(W.dtype)
    self.coefs_ = [*self.coefs_[:-1], _moved(self.coefs_[-1], W, places)]
    self.intercepts_ = [*self.intercepts_[:-1], _moved(self.intercepts_[-1], w0, places)]
    self._best_coefs = [w.copy() for w in self.coefs_]
    self._best_intercepts = [w.copy() for w in self.intercepts_]
    if hasattr(self, "_optimizer"):
        self._optimizer = copy.deepcopy(self._optimizer)  # a refused call keeps the old one
    for arrays in self._optimizer.states if hasattr(self, "_optimizer") else ():
        for i, like in ((len(self.coefs_) - 1, W), (2 * len(self.coefs_) - 1, w0)):
            arrays[i] = _moved(arrays[i], np.zeros(like.shape, arrays[i].dtype), places)
    self._label_binarizer = LabelBinarizer().fit(wanted)
    self.classes_ = self._label_binarizer.classes_
    self.n_outputs_, self.out_activation_ = n, "softmax"


def _moved(old, new, places):
    """`new` with the columns of `old` at `places`; a single one is the second class's."""
    if old.shape[-1] == 1:
        new[..., places[0]] = 0
        new[..., places[1]] = old[..., 0]
    else:
        new[..., places] = old
    return new
