"""What a training of several epochs does around them: history, validation, callbacks."""

import contextlib
from collections.abc import Iterable

import numpy as np

from nncore.training import held_out


def new_history(validation):
    """Return the history before the first epoch."""
    names = ["loss"] + ["validation_loss", "validation_accuracy"] * (validation is not None)
    return {name: [] for name in names}


def ends(net, history, validation, callbacks, show):
    """Validate after an epoch, show the history and call the callbacks; return whether one of them
    ends the training.
    """
    if validation is not None:
        loss, accuracy = held_out.evaluated(net, validation)
        history["validation_loss"].append(loss)
        history["validation_accuracy"].append(accuracy)
    show(history)
    # all are called, whatever they return
    answers = [callback(net, history) for callback in callbacks]
    return any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)


def finish(net, history, callbacks):
    """Call the callbacks' `finish`, if they have one."""
    for callback in callbacks:
        getattr(callback, "finish", lambda *_: None)(net, history)


@contextlib.contextmanager
def started(callbacks, net, history, optimizer):
    """Notify the library's own callbacks that a training starts and, however it ends, that it has
    ended.
    """
    with contextlib.ExitStack() as begun:
        for callback in callbacks:
            if hasattr(callback, "_begin"):
                callback._begin(net, history, optimizer, callbacks)
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
        if not callable(callback):
            raise TypeError(
                f"callbacks must hold functions of (net, history), got {type(callback).__name__}"
            )
    return callbacks
