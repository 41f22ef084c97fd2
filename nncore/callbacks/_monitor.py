"""The number that a callback watches, and whether it improves."""

import math
from typing import Any, Literal, TypeAlias, get_args

from nncore import _checks
from nncore.callbacks._state import Start
from nncore.training import held_out, predict, session

Mode: TypeAlias = Literal["auto", "min", "max"]
# The last words of names whose numbers improve upwards.
UPWARDS = ("accuracy", "r2", "precision", "recall", "f1", "auc", "score")


class Monitor:
    """Base class of the callbacks that watch a number of the history.

    A subclass says in `_update` what follows from a value. The same object serves one training
    after another, and a loop of the user's own that calls it.
    """

    monitor: str
    min_delta: float
    mode: Mode
    best: float
    best_epoch: int

    def __init__(self, monitor: str, min_delta: float, mode: Mode) -> None:
        if not isinstance(monitor, str):
            raise TypeError(
                f"monitor must be the name of a list in the history, got {type(monitor).__name__}"
            )
        self.monitor, self.min_delta = monitor, _checks.number("min_delta", min_delta)
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta must be finite and at least 0, got {min_delta}")
        self.mode = _checks.choice("mode", mode, get_args(Mode))
        self._forget()
        self._drop()

    def _forget(self) -> None:
        """Forget all values, for a new training."""
        self.best, self.best_epoch = math.nan, 0
        # The number of values of the monitor, and the position of the best one, from 1.
        self._seen = self._best_at = 0

    def _drop(self) -> None:
        """Release the network and all copies of its weights."""
        self._net: Any = None
        self._start: Any = None

    def _begin(self, run):
        """Prepare for a training; `fit` calls it before it changes anything."""
        if self._net is not None and self._net is not run.net and session.is_training(self._net):
            raise RuntimeError(
                f"{type(self).__name__} must serve one training at a time, got a second one while "
                "the first is running; make an object for each"
            )
        if (
            self.monitor == "validation_accuracy"
            and predict.judge(run.net) is None
            and not held_out.evaluates_by_itself(run.net)
        ):
            other = "validation_loss" if predict.classifies(run.net) else "validation_r2"
            raise ValueError(
                "monitor must be a number that this training computes, got 'validation_accuracy': "
                f"{type(run.net.loss).__name__} has no classes; monitor={other!r} has a value"
            )
        known = all(type(c).__module__.startswith("nncore.callbacks.") for c in run.callbacks)
        if self.monitor not in run.history and known:
            self._refuse(run.history)
        self._forget()
        self._drop()
        self._net = run.net
        if self.monitor not in run.history:
            self._start = Start(run.net, run.optimizer)

    def _refuse(self, history):
        hint = (
            "; validation data are given as fit(..., validation=)"
            if self.monitor.startswith("validation_") and "validation_loss" not in history
            else "; a callback that adds it must come before this one"
        )
        raise ValueError(
            f"monitor must be one of {', '.join(map(repr, history))} in this training, "
            f"got {self.monitor!r}{hint}"
        )

    def __call__(self, net: Any, history: Any) -> bool:
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
        improved = self._is_better(value)
        if improved:
            self.best, self._best_at = value, self._seen
            self.best_epoch = max(self._seen, len(history.get("loss", ())))
        return self._update(net, history, improved)

    def _is_better(self, value):
        """Return whether a value improves on the best one; NaN never does."""
        if value != value or self.best_epoch == 0:
            return value == value
        upwards = self.mode == "max" or self.mode == "auto" and self.monitor.endswith(UPWARDS)
        sign = -1 if upwards else 1
        return sign * value < sign * self.best - self.min_delta

    def _update(self, net: Any, history: Any, improved: bool) -> bool:
        """Act on a new value; return True to end the training."""
        raise NotImplementedError

    def _end(self):
        """Release the copies; `fit` calls it when it ends, also after an error."""
        self._drop()
