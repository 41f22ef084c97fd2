"""Save the network while it trains."""

from __future__ import annotations

import os
import string
from typing import Any

from nncore import _files, _names, serialization
from nncore._types import StrPath
from nncore.callbacks._monitor import Mode, Monitor


class ModelCheckpoint(Monitor):
    """Save the network after each epoch in which `monitor` is better than ever.

    Parameters
    ----------
    path : str or path_like
        The file, written as `Sequential.save` does: atomically, with the optimiser's state. It may
        name {epoch}, which counts from 1, and lists of the history, with formats as in
        "model-{epoch:03d}-{loss:.3f}.npz".
    monitor : str
        A name in the history, as for `EarlyStopping`.
    best_only : bool
        False saves after every epoch; `monitor` then only decides `best`, and may be missing.
    min_delta : float
        The least change that counts as an improvement; finite, at least 0.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better, as for `EarlyStopping`.

    Attributes
    ----------
    best : float
        The best value; NaN if every value was NaN.
    best_epoch : int
        Its epoch, from 1; 0 if every value was NaN.
    saved : str or None
        The last file that was written.

    Raises
    ------
    ValueError
        If the training does not compute `monitor` or a name in `path`, before the first epoch.
    TypeError
        If the network cannot be saved, before the first epoch.
    OSError
        If the folder does not exist, before the first epoch, or the file cannot be written.

    See Also
    --------
    nncore.load : Load the file, to predict or to train on.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import nncore as nn
    >>> net = nn.Sequential([nn.Linear(2, 1)], nn.Squared())
    >>> X = np.eye(2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep = nn.callbacks.ModelCheckpoint(os.path.join(folder, "best.npz"), "loss")
    ...     history = net.fit(X, X[0], epochs=5, callbacks=keep)
    ...     best = nn.load(keep.saved)
    >>> keep.best == min(history["loss"])
    True
    """

    path: str
    best_only: bool
    saved: str | None

    @_names.answering
    def __init__(
        self,
        path: StrPath,
        monitor: str = "validation_loss",
        best_only: bool = True,
        min_delta: float = 0.0,
        mode: Mode = "auto",
    ) -> None:
        self.saved = None
        super().__init__(monitor, min_delta, mode)
        self.path, self.best_only = _files.name(path), bool(best_only)
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(self.path) if name]
            self._fields = {name.split(".")[0].split("[")[0] for name in fields}
        except ValueError as error:
            raise ValueError(
                f"path must be a name, in which {{epoch}} may stand, got {self.path!r} ({error})"
            ) from None

    def _begin(self, run):
        serialization.describe(run.net)
        unknown = self._fields - {"epoch"} - set(run.history)
        if unknown:
            raise ValueError(
                f"path must name epoch or {', '.join(run.history)} in braces, got {{"
                f"{sorted(unknown)[0]}}}"
            )
        folder = os.path.dirname(self.path) or "."
        if not self._fields and not os.path.isdir(folder):
            raise FileNotFoundError(f"the folder of {self.path} does not exist; make it first")
        if self.best_only or self.monitor in run.history:
            super()._begin(run)
        else:
            self._forget()
            self._drop()
            self._net = run.net

    def __call__(self, net: Any, history: Any) -> bool:
        if self.best_only or self.monitor in history:
            return super().__call__(net, history)
        self._save(net, history)
        return False

    def _update(self, net: Any, history: Any, improved: bool) -> bool:
        if improved or not self.best_only:
            self._save(net, history)
        return False

    def _save(self, net, history):
        last = {name: history[name][-1] for name in self._fields - {"epoch"}}
        path = self.path
        if self._fields:
            path = path.format(epoch=len(history.get("loss", ())), **last)
        net.save(path)
        self.saved = path
