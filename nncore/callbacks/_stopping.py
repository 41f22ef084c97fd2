"""End a training early."""

from __future__ import annotations

from typing import Any

from nncore import _checks, _names
from nncore.callbacks._monitor import Mode, Monitor
from nncore.callbacks._state import copies, restore


class EarlyStopping(Monitor):
    """End the training when `monitor` has not improved for `patience` values.

    Parameters
    ----------
    monitor : str
        A name in the history. NaN never improves. `fit` adds one value per epoch. If another
        callback adds the list, pass that callback first.
    patience : int
        Number of values without improvement, at least 1.
    min_delta : float
        The least change that counts as an improvement; finite, at least 0.
    restore_best : bool
        If True, the weights of the best epoch are restored in place when the training ends, by this
        callback or after its last epoch. The optimizer's state is not restored. After Ctrl-C or
        divergence nothing is restored.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better. "auto": names that end in accuracy, r2, precision,
        recall, f1, auc or score improve upwards, others downwards.

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
        callback could have added it. Weights, optimizer and Dropouts are then unchanged.
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

    patience: int
    restore_best: bool

    @_names.answering
    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: Mode = "auto",
    ) -> None:
        super().__init__(monitor, min_delta, mode)
        self.patience = _checks.count("patience", patience, 1)
        self.restore_best = bool(restore_best)

    def _drop(self) -> None:
        super()._drop()
        self._weights: Any = None

    def _update(self, net: Any, history: Any, improved: bool) -> bool:
        if improved and self.restore_best:
            self._weights = copies(net)
        return self._seen - self._best_at >= self.patience

    def finish(self, net: Any, history: Any) -> None:
        """Restore the best epoch's weights.

        Parameters
        ----------
        net : Sequential
            The trained network.
        history : dict
            Its history.
        """
        restore(self._weights or ())
        self._weights = None
