"""Attributes of scikit-learn's estimators as nncore's have them, and the other way."""

import copy
import inspect

from nncore.sklearn import _optimizers
from nncore.sklearn._originals import (
    AdamOptimizer,
    ScikitClassifier,
    ScikitRegressor,
    SGDOptimizer,
)


def to_theirs(model):
    """scikit-learn's own estimator with the parameters and attributes of one of nncore's."""
    theirs = ScikitClassifier if isinstance(model, ScikitClassifier) else ScikitRegressor
    names = inspect.signature(theirs.__init__).parameters
    extra = set(model.get_params(deep=False)) - set(names)
    if model.loss not in ("log_loss", "squared_error", "poisson"):
        raise ValueError(f"loss must be one of scikit-learn's, got {model.loss!r}")
    result = theirs()
    for name, value in model.__dict__.items():
        if name == "_optimizer":
            value = _theirs(value, result.__dict__)
        elif name in extra and name != "loss":
            continue
        result.__dict__[name] = copy.deepcopy(value)
    return result


def adopted(state):
    """The attributes of a scikit-learn estimator as those of nncore's: its optimizer's object."""
    optimizer = state.get("_optimizer")
    if isinstance(optimizer, SGDOptimizer):
        ours = _optimizers.SGDState.__new__(_optimizers.SGDState)
    elif isinstance(optimizer, AdamOptimizer):
        ours = _optimizers.AdamState.__new__(_optimizers.AdamState)
    else:
        return state
    ours.__dict__.update(optimizer.__dict__)
    return {**state, "_optimizer": ours}


def _theirs(optimizer, state):
    """scikit-learn's object for an optimizer's state, or None for one that it does not have."""
    if isinstance(optimizer, _optimizers.SGDState):
        theirs = SGDOptimizer([])
    elif isinstance(optimizer, _optimizers.AdamState):
        theirs = AdamOptimizer([])
    else:
        return None
    theirs.__dict__.update(optimizer.__dict__)
    return theirs
