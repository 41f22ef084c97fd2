"""nncore: compiled kernels that train and run small and medium fully connected neural networks on CPUs.

The layer API is the course library's: modules with forward, backward and step, losses that hand back dL/dZ, Sequential with sgd.
Samples are columns. `nncore.reference` is the same API on plain NumPy; `nncore.kernels` holds the functions beneath.
"""

try:
    from nncore import _core as _core
except ImportError as error:
    if "NNCORE_" in str(error):
        raise
    raise ImportError(f"nncore's compiled core could not be imported ({error}); build it with `pip install .`, or in a checkout with "
                      "`pip install -e .`") from error

from nncore import _threads, kernels, schedules
from nncore._backend import get_backend, use_backend
from nncore._config import show_config
from nncore._core import get_num_threads, set_num_threads
from nncore.losses import NLL, BinaryNLL, Hinge, Squared
from nncore.modules import BatchNorm, Dropout, Linear, Module, OutputSigmoid, ReLU, Sigmoid, SoftMax, Tanh
from nncore.sequential import Sequential
from nncore.serialization import load

__version__ = "0.1.0"

_threads.follow_threadpoolctl()

__all__ = [
    "NLL", "BatchNorm", "BinaryNLL", "Dropout", "Hinge", "Linear", "Module", "OutputSigmoid", "ReLU", "Sequential", "Sigmoid", "SoftMax",
    "Squared", "Tanh",
    "accelerate", "callbacks", "check", "datasets", "get_backend", "get_num_threads", "kernels", "load", "optimizers", "plot_history",
    "reference", "schedules", "set_num_threads", "show_config", "use_backend",
]


def __getattr__(name):
    if name == "check":
        from nncore.checking import check

        return check
    if name in ("callbacks", "datasets", "optimizers", "reference"):
        import importlib

        return importlib.import_module(f"nncore.{name}")
    if name == "plot_history":
        from nncore._plot import plot_history

        return plot_history
    if name == "accelerate":
        from nncore._accelerate import accelerate

        return accelerate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
