"""Reduce the step size when a training no longer improves."""

from __future__ import annotations

import math
from typing import Any

from nncore import _checks, _names
from nncore.callbacks._monitor import Mode, Monitor


class ReduceOnPlateau(Monitor):
    """Multiply the step size by `factor` when `monitor` has not improved for `patience` values.

    The rest of this call of `fit` takes the reduced rate; a schedule or function is reduced
    likewise, at every step.

    Parameters
    ----------
    monitor : str
        A name in the history, as for `EarlyStopping`.
    factor : float
        Above 0 and below 1.
    patience : int
        Number of values without improvement, at least 1, before each reduction.
    min_delta : float
        The least change that counts as an improvement; finite, at least 0.
    cooldown : int
        Number of values after a reduction that are not counted.
    min_lrate : float
        The rate is not reduced below this.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better, as for `EarlyStopping`.

    Attributes
    ----------
    best : float
        The best value; NaN if every value was NaN.
    best_epoch : int
        Its epoch, from 1; 0 if every value was NaN.
    reductions : list of int
        The epochs after which the rate was reduced.

    Raises
    ------
    ValueError
        If the training does not compute `monitor`, before the first epoch.
    RuntimeError
        If anything but `fit` calls it: only `fit` owns a step size.

    See Also
    --------
    nncore.schedules.Schedule : Step sizes that depend on the step alone.

    Examples
    --------
    >>> import numpy as np
    >>> import nncore as nn
    >>> slow = nn.callbacks.ReduceOnPlateau("loss", factor=0.5, patience=2)
    >>> net = nn.Sequential([nn.Linear(2, 1)], nn.Squared())
    >>> X = np.random.default_rng(0).normal(size=(2, 64))
    >>> history = net.fit(X, X[0] ** 2, epochs=40, lrate=0.2, callbacks=slow, seed=0)
    >>> len(slow.reductions) > 0
    True
    """

    factor: float
    min_lrate: float
    patience: int
    cooldown: int
    reductions: list[int]

    @_names.answering
    def __init__(
        self,
        monitor: str = "validation_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lrate: float = 0.0,
        mode: Mode = "auto",
    ) -> None:
        super().__init__(monitor, min_delta, mode)
        self.factor, self.min_lrate = (
            _checks.number("factor", factor),
            _checks.number("min_lrate", min_lrate),
        )
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be above 0 and below 1, got {factor}")
        if not 0 <= self.min_lrate < math.inf:
            raise ValueError(f"min_lrate must be finite and at least 0, got {min_lrate}")
        self.patience = _checks.count("patience", patience, 1)
        self.cooldown = _checks.count("cooldown", cooldown)

    def _forget(self) -> None:
        super()._forget()
        self.reductions = []
        self._waited = self._cooling = 0

    def _drop(self) -> None:
        super()._drop()
        self._reduce: Any = None

    def _begin(self, run):
        super()._begin(run)
        self._reduce = run.reduce

    def _update(self, net: Any, history: Any, improved: bool) -> bool:
        if self._reduce is None:
            raise RuntimeError(
                "ReduceOnPlateau must be among the callbacks of fit, which owns the step size; a "
                "loop of your own chooses its lrate itself"
            )
        if self._cooling:
            self._cooling -= 1
            return False
        self._waited = 0 if improved else self._waited + 1
        if self._waited >= self.patience:
            self._reduce(self.factor, self.min_lrate)
            self.reductions.append(len(history.get("loss", ())))
            self._waited, self._cooling = 0, self.cooldown
        return False
