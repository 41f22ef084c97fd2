"""The L-BFGS solver, through SciPy, on one packed vector: all coefs in C order, then all
intercepts."""

import numpy as np
import scipy.optimize
from sklearn.utils.fixes import _get_additional_lbfgs_options_dict
from sklearn.utils.optimize import _check_optimize_result

from nncore.sklearn import _compiled, _formulas, _loop


def packed(coefs, intercepts):
    """One vector of all weights."""
    return np.hstack([w.ravel() for w in [*coefs, *intercepts]])


def layout(coefs, intercepts):
    """Where each array is in the packed vector: [(start, end, shape)], [(start, end)]."""
    of_coefs, of_intercepts, start = [], [], 0
    for w in coefs:
        of_coefs.append((start, start + w.size, w.shape))
        start += w.size
    for w in intercepts:
        of_intercepts.append((start, start + w.size))
        start += w.size
    return of_coefs, of_intercepts


def unpacked(vector, of_coefs, of_intercepts):
    """The packed vector's parts, as views."""
    return (
        [np.reshape(vector[start:end], shape) for start, end, shape in of_coefs],
        [vector[start:end] for start, end in of_intercepts],
    )


def fit(estimator, job):
    """Minimise the loss over all samples at once."""
    self = estimator
    self._coef_indptr, self._intercept_indptr = layout(self.coefs_, self.intercepts_)
    problem = self._problem()
    layers = self._coef_indptr, self._intercept_indptr

    def in_numpy(vector):
        loss, of_coefs, of_intercepts = _formulas.loss_and_gradients(
            problem, job.X, job.y, job.weights, *unpacked(vector, *layers)
        )
        return loss, packed(of_coefs, of_intercepts)

    loss_and_gradient = in_numpy
    if _compiled.computes(self.coefs_, self.intercepts_):
        loss_and_gradient = _compiled.Gradient(
            problem, layers, job.X, job.y, job.weights, np.float64
        )

    result = scipy.optimize.minimize(
        loss_and_gradient,
        packed(self.coefs_, self.intercepts_),
        method="L-BFGS-B",
        jac=True,
        options={
            "maxfun": self.max_fun,
            "maxiter": self.max_iter,
            "gtol": self.tol,
            **_get_additional_lbfgs_options_dict("iprint", 1 if self.verbose else -1),
        },
    )
    self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
    self.loss_ = _loop.loss_type(self, job.y, job.weights).type(result.fun)
    self._unpack(result.x)
