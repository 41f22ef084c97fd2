"""The loss curves of nncore.sklearn are scikit-learn's."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9", reason="scikit-learn 1.9 is not installed")

from sklearn import neural_network  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn_cases import COMMON, cases  # noqa: E402

import nncore.sklearn  # noqa: E402

CASES = {name: (kind, X, y, parameters, w) for kind, name, X, y, parameters, w in cases()}
CLASSES = {
    "classifier": (neural_network.MLPClassifier, nncore.sklearn.MLPClassifier),
    "regressor": (neural_network.MLPRegressor, nncore.sklearn.MLPRegressor),
}


def fitted(cls, X, y, parameters, weights):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return cls(**{**COMMON, **parameters}).fit(X, y, weights)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_loss_curve_and_weights(name, dtype):
    kind, X, y, parameters, weights = CASES[name]
    X = X.astype(dtype)
    y = y.astype(dtype) if kind == "regressor" else y
    theirs, ours = (fitted(cls, X, y, parameters, weights) for cls in CLASSES[kind])
    tolerance = 1e-6 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=tolerance, atol=1e-12)
    assert ours.n_iter_ == theirs.n_iter_ and ours.t_ == theirs.t_
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype == dtype
    if dtype == "float64":
        assert type(ours.loss_) is type(theirs.loss_)
        if parameters.get("early_stopping"):
            np.testing.assert_allclose(
                ours.validation_scores_, theirs.validation_scores_, rtol=1e-12
            )
        for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
