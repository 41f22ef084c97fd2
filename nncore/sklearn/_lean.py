"""partial_fit without validation, for arrays and estimators that need none.

Called first by partial_fit, once per sample in a stream: scikit-learn's validation takes longer
than the work. Whatever is unusual goes the usual way, so that messages and effects are the same.
"""

import numpy as np
from sklearn.utils import check_random_state

from nncore import _core
from nncore.sklearn import _compiled, _jobs, _loop
from nncore.sklearn._predict import Cache

_engines = Cache()
ONE = np.zeros(1, np.int64)  # the order of one sample


def partial_fit(estimator, X, y):
    """Train on one pass over X and y, targets (n_samples, n_outputs) of known classes.

    Returns whether it was done: only if nothing is unusual.
    """
    self = estimator
    fitted = self.__dict__
    optimizer = fitted.get("_optimizer")
    if (
        optimizer is None
        or fitted.get("best_loss_") is None
        or fitted["early_stopping"]
        or fitted["verbose"]
        or fitted["callbacks"] is not None
        or fitted["progress"]
        or fitted["dropout"]
        or "_skl_callbacks" in fitted
    ):
        return False
    n, size = X.shape[0], fitted["batch_size"]
    size = min(_jobs.MOST_BATCH, n) if size == "auto" else size
    if not isinstance(size, int) or size > n:  # this is worth a warning
        return False
    coefs, intercepts = fitted["coefs_"], fitted["intercepts_"]
    if y.shape[1] != np.shape(coefs[-1])[1] or X.dtype != coefs[0].dtype:
        return False
    lists = (coefs, intercepts, *optimizer.states)
    settings = (
        fitted["activation"],
        fitted["out_activation_"],
        self.loss,
        fitted["alpha"],
        id(optimizer),
    )
    entry = _engines.take(self, lists, settings)
    if entry is None:
        if not _compiled.computes(coefs, intercepts):
            return False
        engine = _compiled.CompiledEngine(
            self._problem(), coefs, intercepts, optimizer, None, None, None, 1, short_calls=True
        )
        entry = _engines.entry(self, lists, settings, engine)
    engine = entry[-1]
    engine.give(X, y, size)
    order = ONE
    if n > 1:
        order = np.arange(n)
        self._random_state = check_random_state(self.random_state)
        if self.shuffle:
            self._random_state.shuffle(order)
    total = engine.epoch(order)
    engine.forget()
    _engines.put(self, entry)
    _loop.record(self, total, n, y)
    optimizer.end_epoch(fitted["t_"])
    if fitted["_no_improvement_count"] > fitted["n_iter_no_change"]:
        if not optimizer.stop_or_slow()[1]:
            self._no_improvement_count = 0
    if not (_core.all_finite(coefs) and _core.all_finite(intercepts)):
        raise ValueError(_loop.NOT_FINITE)
    return True
