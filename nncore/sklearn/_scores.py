"""The score of the held-out samples after each epoch."""

import numpy as np
from sklearn.metrics import check_scoring, r2_score


def accuracy(y, predicted, weights):
    """The weighted share of samples whose class, or whose every label, is right."""
    if _is_nothing(weights):
        return float("nan")
    right = y == predicted
    if right.ndim == 2:
        right = right.all(axis=1)
    return float(np.average(right, weights=weights))


def r2(y, outputs, weights):
    """R², or NaN if an output is not finite."""
    if _is_nothing(weights) or not np.isfinite(outputs).all():
        return float("nan")
    return r2_score(y, outputs, sample_weight=weights)


def _is_nothing(weights):
    """Whether weights sum to 0, so that they give no mean."""
    return weights is not None and weights.sum() == 0


def chosen(estimator, X, y, weights):
    """The score that the parameter `scoring` names, at validated samples."""
    scorer = check_scoring(estimator, estimator.scoring)
    given = {} if weights is None else {"sample_weight": weights}
    with estimator._trusting(X):
        return float(scorer(estimator, X, y, **given))
