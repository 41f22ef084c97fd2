"""Callbacks of `fit`: callables invoked with (net, history) after each epoch.

A callback that returns True ends the training. Its method `finish(net, history)`, if any, is called
at the end.
"""

import math

import numpy as np

from nncore import _chain, _checks, _kinds, modules
from nncore.training import predict, session

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """End the training when `monitor` has not improved for `patience` of its values.

    Parameters
    ----------
    monitor : str
        A name in the history. Names that end in "accuracy" improve upwards, others downwards. NaN
        never improves. `fit` adds one value per epoch. If another callback adds the list, pass that
        callback first.
    patience : int
        Number of values without improvement, at least 1.
    min_delta : float
        The least change that counts as an improvement; finite, at least 0.
    restore_best : bool
        If True, the weights of the best epoch are restored in place when the training ends, by this
        callback or after its last epoch. The optimiser's state is not restored. After Ctrl-C or
        divergence nothing is restored.

    Attributes
    ----------
    best : float
        The best value; NaN if every value was NaN.
    best_epoch : int
        Its epoch, from 1; 0 if every value was NaN.

    Raises
    ------
    ValueError
        If the training does not compute `monitor`: before the first epoch, or after it if another
        callback could have added it. Weights, optimiser and Dropouts are then unchanged.
    RuntimeError
        If the object is used by two trainings at once. It can be reused for one training after
        another.

    Examples
    --------
    >>> import numpy as np
    >>> import nncore
    >>> stop = nncore.callbacks.EarlyStopping(monitor="loss", patience=3)
    >>> net = nncore.Sequential([nncore.Linear(2, 1)], nncore.Squared())
    >>> X = np.random.default_rng(0).normal(size=(2, 64))
    >>> history = net.fit(X, X[:1], epochs=500, lrate=0.1, callbacks=[stop])
    >>> stop.best_epoch <= len(history["loss"]) < 500
    True
    """

    def __init__(self, monitor="validation_loss", patience=5, min_delta=0.0, restore_best=True):
        if not isinstance(monitor, str):
            raise TypeError(
                f"monitor must be the name of a list in the history, got {type(monitor).__name__}"
            )
        self.monitor, self.patience = monitor, _checks.count("patience", patience, 1)
        self.min_delta, self.restore_best = (
            _checks.number("min_delta", min_delta),
            bool(restore_best),
        )
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta must be finite and at least 0, got {min_delta}")
        self._forget()
        self._drop()

    def _forget(self):
        self.best, self.best_epoch = math.nan, 0
        # The number of values of the monitor, and the position of the best one, from 1.
        self._seen = self._best_at = 0

    def _drop(self):
        """Release the network and all copies of its weights."""
        self._net = self._weights = self._start = None

    def _begin(self, net, history, optimizer, callbacks):
        """Prepare for a training; `fit` calls it before it changes anything."""
        if self._net is not None and self._net is not net and session.is_training(self._net):
            raise RuntimeError(
                "EarlyStopping must serve one training at a time, got a second one while the first "
                "is running; make an object for each"
            )
        if self.monitor not in history and all(
            isinstance(callback, EarlyStopping) for callback in callbacks
        ):
            self._refuse(history)
        if (
            self.monitor == "validation_accuracy"
            and predict.judge(net) is None
            and not _evaluates_by_itself(net)
        ):
            raise ValueError(
                "monitor must be a number that this training computes, got 'validation_accuracy', "
                "which is NaN: "
                f"{type(net.loss).__name__} has no classes; monitor='validation_loss' has a value"
            )
        self._forget()
        self._drop()
        self._net = net
        if self.monitor not in history:
            self._start = _Start(net, optimizer)

    def _refuse(self, history):
        hint = (
            "; validation data are given as fit(..., validation=)"
            if self.monitor.startswith("validation_")
            else "; a callback that adds it must come before this one"
        )
        raise ValueError(
            f"monitor must be one of {', '.join(map(repr, history))} in this training, "
            f"got {self.monitor!r}{hint}"
        )

    def __call__(self, net, history):
        if self.monitor not in history:
            if self._start is not None:
                self._start.restore()
            self._refuse(history)
        self._start = None
        values = history[self.monitor]
        # a loop of the user's own starts again
        if self._net is None and len(values) == 1:
            self._forget()
        # another callback may add no value in some epochs
        if len(values) == 0 or self._net is not None and len(values) == self._seen:
            return False
        self._seen = len(values)
        value = _checks.number(f"history[{self.monitor!r}]", values[-1])
        sign = -1 if self.monitor.endswith("accuracy") else 1
        if value == value and (
            self.best_epoch == 0 or sign * value < sign * self.best - self.min_delta
        ):
            self.best, self.best_epoch, self._best_at = (
                value,
                max(self._seen, len(history.get("loss", ()))),
                self._seen,
            )
            if self.restore_best:
                self._weights = _copies(net)
        return self._seen - self._best_at >= self.patience

    def finish(self, net, history):
        """Restore the best epoch's weights.

        Parameters
        ----------
        net : Sequential
            The trained network.
        history : dict
            Its history.
        """
        _restore(self._weights or ())
        self._weights = None

    def _end(self):
        """Release the copies; `fit` calls it when it ends, also after an error."""
        self._drop()


class _Start:
    """The weights, optimiser, and the Dropouts' keys and counts before a training."""

    def __init__(self, net, optimizer):
        self.net, self.optimizer, self.of_net, self.t = net, optimizer, net.optimizer, optimizer.t
        self.weights = _copies(net)
        self.state = {
            key: tuple(array.copy() for array in arrays) for key, arrays in optimizer.state.items()
        }
        self.dropouts = [
            (m, m.key, m.count) for m in _chain.every_module(net) if isinstance(m, modules.Dropout)
        ]

    def restore(self):
        _restore(self.weights)
        self.net.optimizer, self.optimizer.t = self.of_net, self.t
        for key in set(self.optimizer.state) - set(self.state):
            del self.optimizer.state[key]
        for key, arrays in self.state.items():
            for array, before in zip(self.optimizer.state[key], arrays, strict=True):
                array[...] = before
        for module, key, count in self.dropouts:
            module.key, module.count = key, count


def _copies(net):
    """Return [(module, name, copy of the array)] of everything that training changes.

    These are the weights that a module names by its gradients, and the state it names. A module
    that names neither may train any of its arrays by its own step, so all are copied.
    """
    copies = []
    for module in _chain.every_module(net):
        names = (*getattr(module, "gradients", ()), *getattr(module, "statistics_arrays", ()))
        if not names and not type(module).__module__.startswith("nncore."):
            names = [
                name
                for name, value in getattr(module, "__dict__", {}).items()
                if isinstance(value, np.ndarray)
            ]
        copies += ((module, name, np.array(getattr(module, name))) for name in names)
    return copies


def _restore(copies):
    for module, name, before in copies:
        array = getattr(module, name)
        if isinstance(array, np.ndarray) and array.shape == before.shape:
            np.copyto(array, before, casting="unsafe")
        else:
            setattr(module, name, before)


def _evaluates_by_itself(net):
    """Return whether the network overrides evaluate."""
    return not _kinds.is_library_method(net, "evaluate")
