"""nncore: compiled kernels that train and run small and medium fully connected neural networks on
CPUs.

The layer API is the course library's: modules with forward, backward and step, losses whose
backward returns dL/dZ, Sequential with sgd. Samples are columns. `nncore.reference` is the same API
on plain NumPy; `nncore.kernels` holds the functions beneath.
"""

from typing import TYPE_CHECKING, Any

try:
    import nncore._core as _core  # noqa: F401
except ImportError as _error:
    from nncore._missing import explained as _explained

    _sentence = _explained(_error)
    if _sentence is _error:
        raise
    raise _sentence from _error

# _checks and _rates are named here for tools that freeze programs: they do not see what compiled
# code imports.
from nncore import _checks as _checks
from nncore import _names, _threads, kernels, losses, modules
from nncore import _rates as _rates
from nncore._backend import get_backend, use_backend
from nncore._config import show_config
from nncore._core import get_num_threads, set_num_threads
from nncore._random import set_seed
from nncore._version import __version__ as __version__
from nncore.losses import *
from nncore.modules import *
from nncore.sequential import Sequential, load

if TYPE_CHECKING:  # imported when they are first used
    from nncore import (
        callbacks,
        checking,
        datasets,
        export,
        foreign,
        optimizers,
        reference,
        schedules,
    )
    from nncore import sklearn as sklearn
    from nncore._plot import plot_history
    from nncore.checking import check
    from nncore.exchange.arrays import from_arrays
    from nncore.exchange.from_onnx import import_onnx
    from nncore.exchange.pytorch import from_torch, to_torch
    from nncore.exchange.tensors import import_safetensors
    from nncore.foreign.accelerate import accelerate
    from nncore.training.explain import explain
    from nncore.training.history import History

_threads.follow_threadpoolctl(_core)


def _to_sklearn(self: Sequential, classes: Any = None) -> Any:
    """Return scikit-learn's estimator with copies of the network's weights.

    Parameters
    ----------
    classes : array-like, optional
        The classes that the outputs stand for; 0, 1, ... by default.

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor
        One that predicts the same; see `nncore.sklearn.to_sklearn`.
    """
    from nncore.sklearn import to_sklearn

    return to_sklearn(self, classes)


# Set here because nncore.sklearn is above nncore.sequential.
Sequential.to_sklearn = _to_sklearn  # type: ignore[method-assign]

__all__ = [
    "History",
    "Sequential",
    "accelerate",
    "callbacks",
    "check",
    "checking",
    "datasets",
    "explain",
    "export",
    "foreign",
    "from_arrays",
    "from_torch",
    "get_backend",
    "get_num_threads",
    "import_onnx",
    "import_safetensors",
    "kernels",
    "load",
    "losses",
    "modules",
    "optimizers",
    "plot_history",
    "reference",
    "schedules",
    "set_num_threads",
    "set_seed",
    "show_config",
    "to_torch",
    "use_backend",
]
__all__ += modules.__all__
__all__ += losses.__all__
__all__.remove("Loss")  # the base class is losses.Loss


def __dir__() -> list[str]:
    # sklearn is not in __all__, as `from nncore import *` must not need scikit-learn
    return [*__all__, "sklearn", *(name for name in globals() if name.startswith("__"))]


def _named_for_tools():
    """Never called: compiled code of NumPy's random module imports this, invisibly to tools that
    freeze programs.
    """
    import secrets  # noqa: F401


if not TYPE_CHECKING:  # to a type checker, any name would then exist

    def __getattr__(name):
        # One import statement each: tools that freeze programs do not see a module whose name is in
        # a string.
        if name == "History":
            from nncore.training.history import History

            return History
        if name == "accelerate":
            from nncore.foreign.accelerate import accelerate

            return accelerate
        if name == "callbacks":
            import nncore.callbacks

            return nncore.callbacks
        if name == "check":
            from nncore.checking import check

            return check
        if name == "checking":
            import nncore.checking

            return nncore.checking
        if name == "datasets":
            import nncore.datasets

            return nncore.datasets
        if name == "explain":
            from nncore.training.explain import explain

            return explain
        if name == "export":
            import nncore.export

            return nncore.export
        if name == "foreign":
            import nncore.foreign

            return nncore.foreign
        if name == "from_arrays":
            from nncore.exchange.arrays import from_arrays

            return from_arrays
        if name == "from_torch":
            from nncore.exchange.pytorch import from_torch

            return from_torch
        if name == "import_onnx":
            from nncore.exchange.from_onnx import import_onnx

            return import_onnx
        if name == "import_safetensors":
            from nncore.exchange.tensors import import_safetensors

            return import_safetensors
        if name == "optimizers":
            import nncore.optimizers

            return nncore.optimizers
        if name == "plot_history":
            from nncore._plot import plot_history

            return plot_history
        if name == "reference":
            import nncore.reference

            return nncore.reference
        if name == "schedules":
            import nncore.schedules

            return nncore.schedules
        if name == "sklearn":  # not in __all__: it needs scikit-learn
            import nncore.sklearn

            return nncore.sklearn
        if name == "to_torch":
            from nncore.exchange.pytorch import to_torch

            return to_torch
        raise AttributeError(_names.missing(name, globals()["__all__"]))
