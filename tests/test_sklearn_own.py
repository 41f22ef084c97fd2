"""scikit-learn's own tests of its MLPs, from its wheel, with nncore's classes in place of its
own."""

import importlib.resources
from unittest import mock

import pytest

pytest.importorskip("sklearn", "1.9", reason="scikit-learn 1.9 is not installed")

import nncore.sklearn  # noqa: E402

SOURCE = importlib.resources.files("sklearn.neural_network.tests") / "test_mlp.py"


@pytest.fixture
def global_random_seed():
    return 42


# The file's functions become this module's; their names are those of scikit-learn's report.
with mock.patch.multiple(
    "sklearn.neural_network",
    MLPClassifier=nncore.sklearn.MLPClassifier,
    MLPRegressor=nncore.sklearn.MLPRegressor,
):
    exec(compile(SOURCE.read_text(), str(SOURCE), "exec"), globals())


def test_the_classes_under_test_are_nncores():
    assert globals()["MLPClassifier"] is nncore.sklearn.MLPClassifier
    assert globals()["MLPRegressor"] is nncore.sklearn.MLPRegressor
