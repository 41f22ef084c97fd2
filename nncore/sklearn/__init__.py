"""scikit-learn's MLPClassifier and MLPRegressor with the same meaning, on nncore's compiled engine.

Needs scikit-learn (``pip install 'nncore[sklearn]'``), which ``import nncore`` does not import.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "nncore.sklearn needs scikit-learn 1.9; install it with pip install 'nncore[sklearn]'"
    ) from error

from nncore import _names
from nncore.sklearn._classifier import MLPClassifier
from nncore.sklearn._convert import from_sklearn, to_sklearn
from nncore.sklearn._patch import is_patched, patch, unpatch
from nncore.sklearn._regressor import MLPRegressor

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "from_sklearn",
    "is_patched",
    "patch",
    "to_sklearn",
    "unpatch",
]


def __dir__() -> list[str]:
    return _names.shown(globals())
