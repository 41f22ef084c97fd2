"""Further numbers of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from nncore import _checks, _core, _kinds, _names
from nncore._types import ArrayLike, Samples
from nncore.training import fit, held_out, predict, preparation

EVALUATED = ("loss", "accuracy", "r2")  # by Sequential.evaluate

Metric: TypeAlias = Callable[[Any, Any], float]


class Metrics:
    """Add further numbers to the history after each epoch.

    Parameters
    ----------
    metrics : str, callable, list or dict
        "accuracy", "r2", "loss", a function (y_true, y_pred) -> float, such as those of
        sklearn.metrics, or several: in a list, or in a dict by name. y_true are the classes (N,),
        or for losses of numbers the numbers (N,) or (n, N); y_pred are those that `predict` gives.
    data : tuple, optional
        A pair (X, Y), such as the training data. By default the validation data of `fit`.
    prefix : str, optional
        The beginning of the names in the history. By default it is "validation_" for the validation
        data of `fit`, else "".

    Raises
    ------
    ValueError
        If there are no data, the data do not fit the network, or the history has a list of the same
        name, before the first epoch.
    TypeError
        If a metric is not a function, or gives no real number.

    See Also
    --------
    EarlyStopping : Watches such a number, if it comes after this callback.

    Examples
    --------
    >>> import numpy as np
    >>> import nncore as nn
    >>> def largest_error(y_true, y_pred):
    ...     return np.abs(y_true - y_pred).max()
    >>> X = np.random.default_rng(0).normal(size=(2, 64))
    >>> net = nn.Sequential([nn.Linear(2, 1)], nn.Squared())
    >>> watch = nn.callbacks.Metrics(["r2", largest_error], data=(X, X[0]))
    >>> list(net.fit(X, X[0], epochs=2, callbacks=watch))
    ['loss', 'r2', 'largest_error']
    """

    metrics: dict[str, Any]
    data: Any
    prefix: str

    @_names.answering
    def __init__(
        self,
        metrics: str | Metric | Sequence[str | Metric] | Mapping[str, str | Metric],
        data: tuple[Samples, ArrayLike] | None = None,
        prefix: str | None = None,
    ) -> None:
        named: dict[str, Any] = _named(metrics)
        if not named:
            raise ValueError("metrics must hold at least one metric, got none")
        for name, metric in named.items():
            if isinstance(metric, str):
                _checks.choice(f"the metric {name}", metric, EVALUATED)
            elif not callable(metric):
                raise TypeError(
                    f"the metric {name} must be a function of (y_true, y_pred) or one of "
                    f"{', '.join(map(repr, EVALUATED))}, got {type(metric).__name__}"
                )
        self.metrics = named
        if data is not None and (not isinstance(data, (tuple, list)) or len(data) != 2):
            raise TypeError(f"data must be a pair (X, Y), got {_checks.shown(data)}")
        self.data = data
        self.prefix = prefix if prefix is not None else "validation_" if data is None else ""
        self._pair: Any = None

    def _begin(self, run):
        """Check the data and make room in the history; `fit` calls it before it changes
        anything.
        """
        for name, metric in self.metrics.items():
            accurate = predict.classifies(run.net)
            if metric == ("r2" if accurate else "accuracy"):
                wanted = "accuracy" if accurate else "r2"
                raise ValueError(
                    f"the metric of {type(run.net.loss).__name__} must be {wanted!r}, got "
                    f"{metric!r}"
                )
            if self.prefix + name in run.history:
                raise ValueError(
                    f"the history must not have {self.prefix + name!r} yet, got the metric "
                    f"{name!r}; name it otherwise by prefix="
                )
        own = not _kinds.is_library_method(run.net, "predict")
        if self._calls() and predict.class_fun(run.net) is None and not own:
            raise TypeError(
                "the loss, or the last module, must have a class_fun for metrics of (y_true, "
                f"y_pred), got {type(run.net.loss).__name__}"
            )
        if self.data is not None:
            self._pair = fit.checked_pair(run.net, self.data, " of data")
        elif run.validation is not None:
            self._pair = run.validation
        else:
            raise ValueError(
                "data must be given to Metrics, or validation to fit, got neither; for the "
                "training data write Metrics(metrics, data=(X, Y))"
            )
        for name in self.metrics:
            run.history[self.prefix + name] = []

    def __call__(self, net: Any, history: Any) -> None:
        pair = self._pair if self._pair is not None else self._own_pair(net)
        evaluated: dict[str, float] = {}
        if any(isinstance(metric, str) for metric in self.metrics.values()):
            loss, score = held_out.evaluated(net, pair)
            evaluated = {"loss": loss, "accuracy": score, "r2": score}
        truth = answers = None
        if self._calls():
            X, Y = pair
            answers = net.predict(X)
            truth = _truth(net, Y, np.ndim(answers))
        for name, metric in self.metrics.items():
            value = evaluated[metric] if isinstance(metric, str) else metric(truth, answers)
            place = history.setdefault(self.prefix + name, [])
            place.append(_checks.number(f"the metric {name}", value))

    def _calls(self):
        """Return whether any metric is a function."""
        return any(callable(metric) for metric in self.metrics.values())

    def _own_pair(self, net):
        """Return the data in a loop of the user's own."""
        if self.data is None:
            raise ValueError("data must be given to Metrics outside fit, got None")
        return fit.checked_pair(net, self.data, " of data")

    def _end(self):
        """Release the data; `fit` calls it when it ends, also after an error."""
        self._pair = None


def _named(metrics: Any) -> dict[str, Any]:
    """Return metrics by name."""
    if isinstance(metrics, Mapping):
        return dict(metrics)
    several = metrics if isinstance(metrics, (list, tuple)) else (metrics,)
    return {_name(metric): metric for metric in several}


def _name(metric: Any) -> str:
    """Return the name of a metric that is given without one."""
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(
            f"a metric must be a function or a name, got {type(metric).__name__}; others get "
            "their name in a dict: {'name': metric}"
        )
    return name


def _truth(net, Y, ndim):
    """Return the answers that labels stand for, as `predict` gives its own."""
    if type(Y) is _core.Classes:
        return np.array(Y.numbers, np.int64)
    if np.ndim(Y) == 1:
        return np.asarray(Y)
    answers = predict.class_fun(net)
    truth = Y if answers is None else answers(Y)
    if net._preprocessing is not None and answers is not None:
        truth = preparation.labels(net, truth, len(Y))
    return truth[0] if np.ndim(truth) == 2 and ndim == 1 else truth
