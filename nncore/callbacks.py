"""Callbacks of fit. Any callable serves: it is called with (net, history) after each epoch; returning True ends the training.

One that has a method `finish(net, history)` is also told when the training has come to its end.
"""

import math

import numpy as np

from nncore import _chain, _checks

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """End the training when `monitor`, a name in the history, has not become better by more than min_delta in `patience` epochs.

    Names that end in "accuracy" are better when larger, others when smaller. restore_best: when the training ends, by this or by its
    number of epochs, the weights become those of the best epoch, in their own memory (the optimiser's state stays; after Ctrl-C or
    divergence nothing is restored). Afterwards `best` and `best_epoch` (from 1) tell which. An object can be used again.

    >>> stop = EarlyStopping(patience=3)
    >>> stop.monitor, stop.restore_best
    ('validation_loss', True)
    """

    def __init__(self, monitor="validation_loss", patience=5, min_delta=0.0, restore_best=True):
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be the name of a list in the history, got {type(monitor).__name__}")
        self.monitor, self.patience = monitor, _checks.count("patience", patience, 1)
        self.min_delta, self.restore_best = _checks.number("min_delta", min_delta), bool(restore_best)
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta must be finite and at least 0, got {min_delta}")
        self._forget()

    def _forget(self):
        self.best, self.best_epoch, self._weights = math.nan, 0, None

    def __call__(self, net, history):
        if self.monitor not in history:
            raise ValueError(f"monitor must be one of {', '.join(map(repr, history))} in this training, got {self.monitor!r}; validation "
                             "data are given as fit(..., validation=)")
        values = history[self.monitor]
        epoch = len(values)
        if epoch == 1:
            self._forget()
        sign = -1 if self.monitor.endswith("accuracy") else 1
        if self.best_epoch == 0 or sign * values[-1] < sign * self.best - self.min_delta:
            self.best, self.best_epoch = values[-1], epoch
            if self.restore_best:
                self._weights = [array.copy() for array in _weights(net)]
        return epoch - self.best_epoch >= self.patience

    def finish(self, net, history):
        """Restore the best epoch's weights."""
        if self._weights is not None:
            for array, best in zip(_weights(net), self._weights, strict=True):
                np.copyto(array, best)
            self._weights = None


def _weights(net):
    """Every array that training changes: weights named by their gradients, and what else a module names as its state."""
    for module in _chain.every_module(net):
        for name in (*getattr(module, "gradients", ()), *getattr(module, "statistics_arrays", ())):
            yield getattr(module, name)
