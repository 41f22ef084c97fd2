"""scikit-learn's estimator checks, none of which is expected to fail."""

import pytest

pytest.importorskip("sklearn", "1.9", reason="scikit-learn 1.9 is not installed")

from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from nncore.sklearn import MLPClassifier, MLPRegressor  # noqa: E402


@parametrize_with_checks([MLPClassifier(), MLPRegressor()])
def test_check(estimator, check):
    check(estimator)
