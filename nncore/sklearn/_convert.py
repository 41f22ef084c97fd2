"""Fitted estimators of scikit-learn as nncore's, and the other way."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from nncore import _chain, losses, modules
from nncore._types import ArrayLike
from nncore.sequential import Sequential
from nncore.sklearn import _jobs, _networks, _theirs
from nncore.sklearn._classifier import MLPClassifier
from nncore.sklearn._mlp import BaseMLP
from nncore.sklearn._originals import ScikitClassifier, ScikitRegressor
from nncore.sklearn._regressor import MLPRegressor
from nncore.training import preparation, validate


def from_sklearn(model: Any) -> MLPClassifier | MLPRegressor:
    """Return an estimator of nncore.sklearn with the parameters and attributes of scikit-learn's.

    Parameters
    ----------
    model : sklearn.neural_network.MLPClassifier or MLPRegressor
        The estimator, fitted or not; it is not changed.

    Returns
    -------
    MLPClassifier or MLPRegressor
        One that predicts the same, and whose training goes on from the same state.

    Raises
    ------
    TypeError
        If the model is neither of the two.

    Examples
    --------
    >>> from sklearn import neural_network
    >>> from nncore.sklearn import from_sklearn
    >>> from_sklearn(neural_network.MLPClassifier(alpha=0.1)).alpha
    0.1
    """
    if type(model) in (ScikitClassifier, MLPClassifier):
        result = MLPClassifier()
    elif type(model) in (ScikitRegressor, MLPRegressor):
        result = MLPRegressor()
    else:
        raise TypeError(
            "model must be scikit-learn's MLPClassifier or MLPRegressor, got "
            f"{type(model).__name__}"
        )
    state = {name: copy.deepcopy(value) for name, value in model.__dict__.items()}
    result.__dict__.update(_theirs.adopted(state))
    return result


def to_sklearn(model: Any, classes: ArrayLike | None = None) -> Any:
    """Return scikit-learn's own estimator with the parameters and attributes of a model.

    Parameters that scikit-learn does not have and that only training uses are left out. Use it for
    files that must load without nncore, while nncore is not patched in.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor or nncore.Sequential
        The estimator or network; it is not changed.
    classes : array-like, optional
        The classes that a network's outputs stand for; by default its own, or 0, 1, ....

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor
        One that predicts the same.

    Raises
    ------
    TypeError, ValueError
        If scikit-learn has no such estimator.

    Examples
    --------
    >>> from nncore.sklearn import MLPClassifier, to_sklearn
    >>> type(to_sklearn(MLPClassifier())).__module__
    'sklearn.neural_network._multilayer_perceptron'
    """
    if isinstance(model, Sequential):
        model = estimator_of(model, classes)
    if not isinstance(model, BaseMLP):
        raise TypeError(
            "model must be an estimator of nncore.sklearn or a Sequential, got "
            f"{type(model).__name__}"
        )
    return _theirs.to_theirs(model)


def estimator_of(net, classes=None):
    """A fitted estimator of nncore.sklearn with copies of a network's weights.

    Parameters
    ----------
    net : nncore.Sequential
        Linear modules with one activation, Tanh, ReLU or Sigmoid, between them, or none, and a
        last SoftMax, OutputSigmoid or none.
    classes : array-like, optional
        The classes of a classifier; 0, 1, ... by default.

    Returns
    -------
    MLPClassifier or MLPRegressor
        A classifier if the network ends with SoftMax or OutputSigmoid, or has the loss Hinge.

    Raises
    ------
    TypeError
        If scikit-learn's estimators have no such network.
    """
    found = net._preprocessing
    if found is not None:
        preparation.check(net)
        classes = found.classes if classes is None else classes
    parts = list(_chain.modules_of(net))
    validate.check_widths(parts)
    unit = type(parts[-1]) if parts and not isinstance(parts[-1], modules.Linear) else None
    hidden = parts if unit is None else parts[:-1]
    linears = [m for m in hidden if type(m) is modules.Linear]
    between = [type(m) for m in hidden if type(m) is not modules.Linear]
    kinds = set(between)
    regular = not between or [type(m) is modules.Linear for m in hidden] == (
        [True, False] * len(between) + [True]
    )
    if not linears or len(kinds) > 1 or not kinds <= set(_networks.NAMES) or not regular:
        raise TypeError(
            "the network must be Linear modules with one activation (Tanh, ReLU or Sigmoid) "
            "between all of them, or none, to be an estimator of scikit-learn"
        )
    if unit not in (None, modules.SoftMax, modules.OutputSigmoid):
        raise TypeError(f"the last module must be a Linear or an output unit, got {parts[-1]!r}")
    hinge = isinstance(net.loss, losses.Hinge)
    sizes = tuple(m.W.shape[1] for m in linears[:-1])
    settings = {
        "hidden_layer_sizes": sizes,
        "activation": _networks.NAMES[kinds.pop()] if kinds else "identity",
    }
    if unit is None and not hinge:
        model = MLPRegressor(**settings)
        activation = "identity"
    else:
        model = MLPClassifier(**settings, loss="hinge" if hinge else "log_loss")
        n = linears[-1].W.shape[1]
        if unit is modules.OutputSigmoid and n > 1:
            targets = np.eye(n, dtype=int)
        else:
            targets = np.arange(max(n, 2)) if classes is None else np.asarray(classes)
        model._label_binarizer = LabelBinarizer().fit(targets)
        model.classes_ = model._label_binarizer.classes_
        names = {modules.SoftMax: "softmax", modules.OutputSigmoid: "logistic"}
        activation = names.get(unit, "identity")
        if activation != "logistic" and len(model.classes_) != max(n, 2):
            raise ValueError(f"classes must hold {max(n, 2)} classes, got {len(model.classes_)}")
    weights = [(np.array(m.W, order="C"), np.array(m.W0)) for m in linears]
    if found is not None and found.scales:
        weights[0] = found.into_first(*weights[0])
    if found is not None and found.scales_targets:
        weights[-1] = found.into_last(*weights[-1])
    _jobs.set_weights(model, [W for W, _ in weights], [W0.ravel() for _, W0 in weights], activation)
    return model
