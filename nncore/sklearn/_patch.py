"""nncore's estimators under scikit-learn's names, for programs that import those."""

import sys
import threading
import warnings

import sklearn
import sklearn.neural_network
from sklearn.neural_network import _multilayer_perceptron

from nncore.sklearn._classifier import MLPClassifier
from nncore.sklearn._originals import ScikitClassifier, ScikitRegressor
from nncore.sklearn._regressor import MLPRegressor

TESTED = "1.9"  # the release of scikit-learn whose behaviour the estimators have
_lock = threading.Lock()
_PLACES = (sklearn.neural_network, _multilayer_perceptron)
_NAMES = ("MLPClassifier", "MLPRegressor")


def patch() -> None:
    """Put nncore's MLPClassifier and MLPRegressor in the place of scikit-learn's, in this process.

    Call it before ``from sklearn.neural_network import ...``: a module that has imported a class
    already keeps it, with a warning. Calling it again changes nothing. Files are not changed.

    Raises
    ------
    RuntimeError
        If scikit-learn's release is not the one that nncore.sklearn has been tested with.

    Warns
    -----
    UserWarning
        If modules have imported scikit-learn's classes before.

    See Also
    --------
    unpatch : The other way.

    Examples
    --------
    >>> import nncore.sklearn
    >>> nncore.sklearn.patch()
    >>> from sklearn.neural_network import MLPClassifier
    >>> MLPClassifier.__module__
    'nncore.sklearn'
    >>> nncore.sklearn.unpatch()
    """
    release = ".".join(sklearn.__version__.split(".")[:2])
    if release != TESTED:
        raise RuntimeError(
            f"patch needs scikit-learn {TESTED}, whose behaviour the estimators have; this is "
            f"{sklearn.__version__}. nncore.sklearn.MLPClassifier can be imported by name"
        )
    with _lock:
        if not _is_patched():
            _warn_of_imports()
        _bind(MLPClassifier, MLPRegressor)


def unpatch() -> None:
    """Put scikit-learn's own classes back; names that were imported meanwhile stay nncore's.

    See Also
    --------
    patch : The other way.

    Examples
    --------
    >>> import nncore.sklearn
    >>> nncore.sklearn.unpatch()
    >>> nncore.sklearn.is_patched()
    False
    """
    with _lock:
        _bind(ScikitClassifier, ScikitRegressor)


def is_patched() -> bool:
    """Whether nncore's classes are in the place of scikit-learn's.

    Returns
    -------
    bool
        True after `patch`, until `unpatch`.

    Examples
    --------
    >>> import nncore.sklearn
    >>> nncore.sklearn.is_patched()
    False
    """
    with _lock:
        return _is_patched()


def _is_patched():
    return _multilayer_perceptron.MLPClassifier is not ScikitClassifier


def _bind(classifier, regressor):
    for place in _PLACES:
        for name, cls in zip(_NAMES, (classifier, regressor), strict=True):
            setattr(place, name, cls)


def _warn_of_imports():
    """Name the modules that hold scikit-learn's classes."""
    holders = set()
    for name, module in list(sys.modules.items()):
        if module in _PLACES or name.startswith("nncore."):
            continue
        names = getattr(module, "__dict__", {})
        if any(names.get(own) in (ScikitClassifier, ScikitRegressor) for own in _NAMES):
            holders.add(name)
    if holders:
        warnings.warn(
            "scikit-learn's MLPs were imported before nncore.sklearn.patch() by "
            f"{', '.join(sorted(holders))}; import them again to get nncore's",
            stacklevel=3,
        )
