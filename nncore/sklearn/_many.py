"""Epochs that run without Python between them, so that other threads can run, and small sets cost
little. `_loop` runs all others, one at a time."""

import numpy as np

from nncore import _core
from nncore.sklearn import _compiled

# Operations of an epoch above which Python between epochs is a small part of the time, and a signal
# would have to wait: 10 to 50 ms.
MOST_OPERATIONS = 2e8
MOST_EPOCHS = 512  # of one call


class Course:
    """The epochs of a fit with everything that `_loop` counts."""

    def __init__(self, estimator, job, engine, order, loss_type):
        self.estimator, self.engine, self.loss_type = estimator, engine, loss_type
        self.n = job.n_samples
        self.best = None
        shuffles = estimator.shuffle
        self.epochs = _core.Epochs(
            engine.program,
            engine.X,
            engine.y,
            order,
            engine.batch_size,
            estimator._random_state if shuffles else None,
            engine.weights,
            estimator.tol,
            estimator.n_iter_no_change,
            loss_type == np.float32,
        )
        if estimator.early_stopping:
            self._hold_out(job)

    def _hold_out(self, job):
        self.best = [
            [w.copy() for w in arrays] for arrays in (self.engine.coefs, self.engine.intercepts)
        ]
        weights = job.weights_val
        self.epochs.hold_out(
            X=_compiled.columns(job.X_val, self.engine.coefs[0].dtype),
            weights=None if weights is None else np.ascontiguousarray(weights, np.float64),
            best=[w for W, w0 in zip(*self.best, strict=True) for w in (W, w0.reshape(-1, 1))],
            **self.estimator._held_out_targets(job),
        )

    def run(self, most):
        """Run up to `most` epochs, and record them."""
        model, optimizer, epochs = self.estimator, self.estimator._optimizer, self.epochs
        etas = optimizer.rates(model.t_, self.n, min(most, MOST_EPOCHS))
        losses, scores = np.empty(len(etas)), np.empty(len(etas))
        scored = self.best is not None
        epochs.bad = model._no_improvement_count
        epochs.best = best = model.best_validation_score_ if scored else model.best_loss_
        done, improved = epochs.run(etas, losses, scores)
        optimizer.counted()
        model.n_iter_ += done
        model.t_ += done * self.n
        values = losses[:done].astype(self.loss_type)
        model.loss_ = values[-1]
        model.loss_curve_.extend(values)
        model._no_improvement_count = int(epochs.bad)
        if not scored:
            if epochs.best < best:
                model.best_loss_ = self.loss_type.type(epochs.best)
            return
        model.validation_scores_.extend(scores[:done].tolist())
        if improved:
            model.best_validation_score_ = epochs.best
            model._best_coefs, model._best_intercepts = self.best


def course(estimator, job, engine, order, loss_type):
    """A Course for a fit that needs no Python between its epochs, else None."""
    self = estimator
    if (
        not isinstance(engine, _compiled.CompiledEngine)
        or job.incremental
        or self.verbose
        or self.dropout
        or self._optimizer.schedule is not None
        or type(self.tol) not in (int, float)
        or self.early_stopping
        and (self.scoring is not None or len(getattr(self, "classes_", (0, 1))) == 1)
        or self.shuffle
        and type(self._random_state) is not np.random.RandomState
        or 6.0 * job.n_samples * sum(w.size for w in self.coefs_) > MOST_OPERATIONS
    ):
        return None
    return Course(self, job, engine, order, loss_type)
