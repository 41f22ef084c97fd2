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
    arrays = [*coefs, *intercepts, *(a for arrays in optimizer.states for a in arrays)]
    settings = (self.activation, self.out_activation_, self.loss, self.alpha, id(optimizer))
    engine = _engines.take(self, arrays, settings)
    if engine is None:
        if not _compiled.computes(coefs, intercepts):
            return False
        engine = _compiled.CompiledEngine(
            self._problem(), coefs, intercepts, optimizer, None, None, None, 1, short_calls=True
        )
    engine.give(X, y, size)
    order = np.arange(n)
    if n > 1:
        self._random_state = check_random_state(self.random_state)
        if self.shuffle:
            self._random_state.shuffle(order)
    total = engine.epoch(order)
    engine.forget()
    _engines.put(self, arrays, settings, engine)
    _loop.record(self, total, n, y)
    optimizer.end_epoch(self.t_)
    if self._no_improvement_count > self.n_iter_no_change:
        if not optimizer.stop_or_slow()[1]:
            self._no_improvement_count = 0
    if not _core.all_finite(arrays[: 2 * len(coefs)]):
        raise ValueError(_loop.NOT_FINITE)
    return True
