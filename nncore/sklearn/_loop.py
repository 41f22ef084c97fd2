"""The stochastic solvers: epochs, scores, stopping."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from nncore.sklearn import _callbacks, _compiled, _formulas, _many

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may"
    " contain large values and need to be preprocessed."
)
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
WORDS = {
    False: "Training loss did not improve more than tol=%f for %d consecutive epochs. ",
    True: "Validation score did not improve more than tol=%f for %d consecutive epochs. ",
}


def fit(estimator, job):
    """Train by epochs until the loss or score no longer improves; one epoch for partial_fit.

    partial_fit with early stopping trains on until there are too many calls without a better score;
    that call puts the best weights back, and later ones do nothing.
    """
    self = estimator
    if job.incremental and self.early_stopping and has_stopped(self):
        return
    compiled = _compiled.computes(self.coefs_, self.intercepts_)
    engine = (_compiled.CompiledEngine if compiled else _formulas.NumPyEngine)(
        self._problem(),
        self.coefs_,
        self.intercepts_,
        self._optimizer,
        job.X,
        job.y,
        job.weights,
        job.batch_size,
        self._random_state,
    )
    with _callbacks.followed(self, job) as after_epoch:
        try:
            _epochs(self, job, engine, after_epoch)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
    if self.early_stopping and (not job.incremental or has_stopped(self)):
        self.coefs_ = self._best_coefs
        self.intercepts_ = self._best_intercepts


def has_stopped(estimator):
    """Whether a partial_fit with early stopping has ended the training."""
    return estimator._no_improvement_count > estimator.n_iter_no_change


def _epochs(self, job, engine, after_epoch):
    order = np.arange(job.n_samples)
    type_of_loss = loss_type(self, job.y, job.weights)
    course = None
    if after_epoch is None:
        course = _many.course(self, job, engine, order, type_of_loss)
    self.n_iter_ = 0
    while self.n_iter_ < self.max_iter:
        if course is None:
            _epoch(self, job, engine, order, type_of_loss)
        else:
            course.run(self.max_iter - self.n_iter_)
        stops = after_epoch is not None and after_epoch()
        if _ends(self, job, stops):
            break


def _epoch(self, job, engine, order, type_of_loss):
    """One epoch, in a new order."""
    n = job.n_samples
    if self.shuffle:
        self._random_state.shuffle(order)
    total = engine.epoch(order)
    self.n_iter_ += 1
    self.loss_ = type_of_loss.type(total / n)
    self.t_ += n
    self.loss_curve_.append(self.loss_)
    if self.verbose:
        print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
    _count(self, job, engine)


def record(estimator, total, n, y):
    """Record the only epoch of a partial_fit with the summed loss `total`."""
    fitted = estimator.__dict__
    loss = loss_type(estimator, y, None).type(total / n)
    fitted["n_iter_"], fitted["loss_"] = 1, loss
    fitted["t_"] += n
    fitted["loss_curve_"].append(loss)
    _count_losses(fitted, loss)


def loss_type(estimator, y, weights):
    """The type that the loss has in scikit-learn: float32 for a regressor if all arrays are, unless
    a batch size is given, which is one of NumPy's integers there."""
    self = estimator
    if (
        y.dtype != np.float32
        or self.coefs_[0].dtype == np.float64
        or self.solver != "lbfgs"
        and self.batch_size != "auto"
        or weights is not None
        and weights.dtype != np.float32
    ):
        return _FLOAT64
    return _FLOAT32


def _ends(self, job, stops):
    """Set the next epoch's learning rate; whether this was the last epoch."""
    optimizer = self._optimizer
    optimizer.end_epoch(self.t_)
    if has_stopped(self):
        action, ends = optimizer.stop_or_slow()
        if self.verbose:
            print(WORDS[self.early_stopping] % (self.tol, self.n_iter_no_change) + action)
        if ends:
            return True
        self._no_improvement_count = 0
    if job.incremental or stops:
        return True
    if self.n_iter_ == self.max_iter:
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
            "reached and the optimization hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=6,
        )
    return False


def _count_losses(fitted, loss):
    """Count an epoch without improvement in the attributes of an estimator."""
    best = fitted["best_loss_"]
    bad = loss > best - fitted["tol"]
    fitted["_no_improvement_count"] = fitted["_no_improvement_count"] + 1 if bad else 0
    if loss < best:
        fitted["best_loss_"] = loss


def _count(self, job, engine):
    """Count the epochs without improvement, and keep the best weights."""
    if not self.early_stopping:
        _count_losses(self.__dict__, self.loss_)
        return
    score = self._held_out_score(job, engine.outputs)
    self.validation_scores_.append(score)
    if self.verbose:
        print(f"Validation score: {score:f}")
    # A comparison with NaN is False: the count starts again and the best weights stay.
    worse = score < self.best_validation_score_ + self.tol
    self._no_improvement_count = self._no_improvement_count + 1 if worse else 0
    if score > self.best_validation_score_:
        self.best_validation_score_ = score
        self._best_coefs = [w.copy() for w in self.coefs_]
        self._best_intercepts = [w.copy() for w in self.intercepts_]
