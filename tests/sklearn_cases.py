"""Configurations on which nncore.sklearn must give scikit-learn's loss curve.

Inputs are scaled and rates are like the defaults: training that is chaotic (a large learning rate
on unscaled data) multiplies the last bit's difference by 10 in each few epochs, in scikit-learn
against itself, too. Raw digits with the defaults are among them.
"""

import numpy as np
from sklearn.datasets import (
    load_digits,
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.preprocessing import StandardScaler

COMMON = dict(max_iter=20, n_iter_no_change=100, random_state=0)


def _standardised(y):
    return (y - y.mean(0)) / y.std(0)


def cases():
    """Yield (kind, name, X, y, parameters, sample_weight or None)."""
    raw, yd = load_digits(return_X_y=True)
    Xd = raw / 16
    Xb, yb = make_classification(1003, 20, random_state=1)
    Xr, yr = make_regression(1003, 13, n_informative=9, noise=5, random_state=2)
    X3, y3 = make_regression(705, 13, n_targets=3, noise=5, random_state=2)
    yr, y3 = _standardised(yr), _standardised(y3)
    Xm, ym = make_multilabel_classification(603, 20, random_state=3)
    Xm = StandardScaler().fit_transform(Xm)
    rng = np.random.RandomState(0)
    counts = rng.poisson(np.exp(np.clip(Xr[:, 0] * 0.5, -3, 3))).astype(float)
    weights_r, weights_d = rng.uniform(0.1, 2, len(yr)), rng.uniform(0.1, 2, len(yd))

    def classifier(name, X, y, weights=None, **parameters):
        return "classifier", name, X, y, parameters, weights

    def regressor(name, X, y, weights=None, **parameters):
        return "regressor", name, X, y, parameters, weights

    yield classifier("digits-adam-relu", Xd, yd)
    yield classifier(
        "digits-adam-logistic", Xd, yd, activation="logistic", batch_size=32, alpha=1e-2
    )
    yield classifier(
        "digits-sgd-nesterov-tanh",
        Xd,
        yd,
        solver="sgd",
        activation="tanh",
        batch_size=64,
        learning_rate_init=0.05,
    )
    yield classifier(
        "digits-sgd-invscaling",
        Xd,
        yd,
        solver="sgd",
        learning_rate="invscaling",
        power_t=0.25,
        hidden_layer_sizes=(64, 32),
        learning_rate_init=0.3,
    )
    yield classifier("binary-adam-early-stopping", Xb, yb, early_stopping=True, alpha=1.0)
    yield classifier(
        "binary-sgd-adaptive-identity",
        Xb,
        yb,
        solver="sgd",
        learning_rate="adaptive",
        tol=0.02,
        n_iter_no_change=1,
        activation="identity",
        learning_rate_init=0.1,
    )
    yield classifier("multilabel-adam-tanh", Xm, ym, activation="tanh", learning_rate_init=0.01)
    yield classifier(
        "multilabel-sgd-logistic-early-stopping",
        Xm,
        ym,
        solver="sgd",
        activation="logistic",
        momentum=0,
        learning_rate_init=0.5,
        early_stopping=True,
    )
    yield regressor("adam-no-shuffle", Xr, yr, batch_size=50, shuffle=False)
    yield regressor(
        "outputs-sgd-momentum",
        X3,
        y3,
        solver="sgd",
        nesterovs_momentum=False,
        alpha=0.1,
        learning_rate_init=0.01,
    )
    yield regressor(
        "adam-weights-early-stopping",
        Xr,
        yr,
        weights_r,
        early_stopping=True,
        learning_rate_init=0.01,
    )
    yield regressor(
        "poisson-adam", Xr, counts, loss="poisson", learning_rate_init=0.01, activation="tanh"
    )
    yield classifier("digits-adam-weights", Xd, yd, weights_d, alpha=0.1)
    yield regressor("adam-batch-of-1", Xr[:200], yr[:200], batch_size=1)
    yield classifier("raw-digits-defaults", raw, yd)
