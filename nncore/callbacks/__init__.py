"""Callbacks of `fit`: callables invoked with (net, history) after each epoch.

A callback that returns True ends the training. Its method `finish(net, history)`, if any, is called
at the end.
"""

from nncore import _names
from nncore.callbacks._checkpoint import ModelCheckpoint
from nncore.callbacks._metrics import Metrics
from nncore.callbacks._plateau import ReduceOnPlateau
from nncore.callbacks._stopping import EarlyStopping

__all__ = ["EarlyStopping", "Metrics", "ModelCheckpoint", "ReduceOnPlateau"]


def __dir__() -> list[str]:
    return _names.shown(globals())
