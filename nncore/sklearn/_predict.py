"""Outputs of a fitted estimator at validated samples."""

from nncore.sklearn import _compiled, _formulas


def outputs(estimator, X):
    """The outputs (n_samples, n_outputs), of the type that X and the weights give in NumPy."""
    coefs, intercepts = estimator.coefs_, estimator.intercepts_
    if _compiled.computes(coefs, intercepts) and X.dtype == coefs[0].dtype:
        return _compiled.Outputs(estimator._problem(), coefs, intercepts)(X)
    return _formulas.outputs(
        X, coefs, intercepts, estimator.activation, estimator.out_activation_
    )
