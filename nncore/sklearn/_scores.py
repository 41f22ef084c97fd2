"""The score of the held-out samples after each epoch."""

import numpy as np
from sklearn.metrics import check_scoring, r2_score


def accuracy(y, predicted, weights):
    """The weighted share of samples whose class, or whose every label, is right."""
    right = y == predicted
    if right.ndim == 2:
        right = right.all(axis=1)
    return float(np.average(right, weights=weights))


def r2(y, outputs, weights):
    """R², or NaN if an output is not finite."""
    if not np.isfinite(outputs).all():
        return float("nan")
    return r2_score(y, outputs, sample_weight=weights)


def chosen(estimator, X, y, weights):
    """The score that the parameter `scoring` names, at validated samples."""
    scorer = check_scoring(estimator, estimator.scoring)
    given = {} if weights is None else {"sample_weight": weights}
    with estimator._trusting(X):
        return float(scorer(estimator, X, y, **given))
