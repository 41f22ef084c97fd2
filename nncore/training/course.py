"""The work around the epochs of a training: history, validation, callbacks."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from nncore import _names
from nncore.training import held_out, predict
from nncore.training.history import History


def new_history(net, validation):
    """Return the history before the first epoch."""
    names = ["loss"]
    if validation is not None:
        accurate = held_out.evaluates_by_itself(net) or predict.classifies(net)
        names += ["validation_loss", "validation_accuracy" if accurate else "validation_r2"]
    return History({name: [] for name in names})


def ends(net, history, validation, callbacks, show):
    """Validate after an epoch, call the callbacks and show the history; return whether a callback
    ends the training.
    """
    if validation is not None:
        loss, score = held_out.evaluated(net, validation)
        history["validation_loss"].append(loss)
        name = "validation_r2" if "validation_r2" in history else "validation_accuracy"
        history[name].append(score)
    # all are called, whatever they return
    answers = [callback(net, history) for callback in callbacks]
    show(history)
    return any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)


def finish(net, history, callbacks):
    """Call the callbacks' `finish`, if they have one."""
    for callback in callbacks:
        getattr(callback, "finish", lambda *_: None)(net, history)


class Run(NamedTuple):
    """A training that is about to start, as the library's own callbacks see it."""

    net: Any
    history: History
    optimizer: Any
    callbacks: tuple
    validation: Any  # a pair (X, Y), HeldOut or None
    reduce: Callable[[float, float], None]  # multiplies the rate by a factor, down to a least one


def started(run):
    """Return a context manager that notifies the library's own callbacks that a training starts
    and, however it ends, that it has ended.
    """
    return _started(run) if run.callbacks else contextlib.nullcontext()


@contextlib.contextmanager
def _started(run):
    with contextlib.ExitStack() as begun:
        for callback in run.callbacks:
            if hasattr(callback, "_begin"):
                callback._begin(run)
                begun.callback(callback._end)
        yield


def checked_callbacks(callbacks):
    if callbacks is None:
        return ()
    if not callable(callbacks) and not isinstance(callbacks, Iterable):
        raise TypeError(
            f"callbacks must hold functions of (net, history), got {type(callbacks).__name__}"
        )
    callbacks = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for callback in callbacks:
        if isinstance(callback, type):
            raise TypeError(
                f"callbacks must hold objects, got the class {callback.__name__}; write "
                f"{_names.call_of(callback)}"
            )
        if not callable(callback):
            raise TypeError(
                f"callbacks must hold functions of (net, history), got {type(callback).__name__}"
            )
    return callbacks
