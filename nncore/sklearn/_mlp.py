"""What both estimators share: parameters, the order of work in fit and partial_fit, prediction.

A call is prepared whole (``_jobs.prepare``) before anything is trained. A call that is refused
leaves the estimator as it was.
"""

from __future__ import annotations

import contextlib
import inspect
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from nncore import _core, optimizers, schedules
from nncore._types import ArrayLike
from nncore.sequential import Sequential
from nncore.sklearn import _formulas, _jobs, _lbfgs, _loop, _networks, _predict, _theirs

SOLVERS = ("lbfgs", "sgd", "adam")


def keep(estimator, parameters):
    """Set the parameters of __init__, given as its locals()."""
    for name, value in parameters.items():
        if name != "self" and not name.startswith("__"):
            setattr(estimator, name, value)


@contextlib.contextmanager
def unchanged_if_refused(estimator):
    """Put the estimator's attributes back if the block raises."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


class BaseMLP(CallbackSupportMixin):
    """Base of MLPClassifier and MLPRegressor."""

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
        "solver": [
            StrOptions({*SOLVERS, "adagrad", "adamw", "momentum", "nesterov", "rmsprop"}),
            optimizers.Optimizer,
        ],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [
            StrOptions({"constant", "invscaling", "adaptive"}),
            schedules.Schedule,
        ],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "scoring": [None, str, callable],
        "callbacks": [None, callable, "array-like"],
        "progress": ["boolean"],
    }

    # ------------------------------------------------------------------------------------- training

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
    ) -> Self:
        """Fit the model to X and y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples. float32 and float64 are kept; other types become float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or numbers for a regressor.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        validation_data : tuple (X, y) or (X, y, sample_weight), default=None
            Samples that ``early_stopping`` scores, instead of a part of X and y.

        Returns
        -------
        object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or a parameter cannot be used; the estimator is then unchanged.
        """
        return self._fit(X, y, sample_weight, validation_data, incremental=False)

    def _fit(self, X, y, sample_weight, validation_data, incremental, classes=None):
        with unchanged_if_refused(self):
            self._begin(y, incremental, classes)
            job = _jobs.prepare(self, X, y, sample_weight, validation_data, incremental)
        if self.solver == "lbfgs":
            _lbfgs.fit(self, job)
        else:
            _loop.fit(self, job)
        if not all(np.isfinite(w).all() for w in (*self.coefs_, *self.intercepts_)):
            raise ValueError(_loop.NOT_FINITE)
        return self

    def _is_plain(self, X):
        """Whether X needs no validation, for an estimator without names of features."""
        fitted = self.__dict__
        return (
            "feature_names_in_" not in fitted
            and "coefs_" in fitted
            and _core.is_plain(X, fitted.get("n_features_in_", -1))
        )

    def _check_solver(self):
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic"
                f" optimizers. {self.solver} is not stochastic."
            )
        return True

    # ----------------------------------------------------------------------------------- prediction

    def _forward_pass_fast(self, X, check_input=True):
        """The network's outputs (n_samples, n_outputs)."""
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return _predict.outputs(self, X)

    def _outputs(self, X):
        """The outputs at a caller's X."""
        outputs = _predict.of_plain(self, X)
        if outputs is not None:
            return outputs
        check_is_fitted(self)
        return self._forward_pass_fast(X, check_input=X is not self.__dict__.get("_trusted"))

    @contextlib.contextmanager
    def _trusting(self, X):
        """Predict this very X, which has been validated, without validating it again."""
        self._trusted = X
        try:
            yield
        finally:
            del self._trusted

    # --------------------------------------------------------------------------------- conversions

    @property
    def network_(self) -> Sequential:
        """An nncore.Sequential on the estimator's own weights, samples as columns."""
        check_is_fitted(self)
        return _networks.network_of(self)

    def to_sklearn(self) -> Any:
        """Return scikit-learn's own estimator with the same parameters and attributes.

        Returns
        -------
        sklearn.neural_network.MLPClassifier or MLPRegressor
            One that predicts the same; see `nncore.sklearn.to_sklearn`.
        """
        return _theirs.to_theirs(self)

    def __setstate__(self, state):
        super().__setstate__(_theirs.adopted(state))
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name != "self":  # a pickle of scikit-learn's has fewer parameters
                self.__dict__.setdefault(name, parameter.default)

    # ------------------------------------------------------------------------------- private names

    def _problem(self):
        """The network's formulas, from the parameters as they are now."""
        return _formulas.Problem(
            self.activation,
            self.out_activation_,
            self.loss,
            self.alpha,
            getattr(self, "delta", 1.0),
            getattr(self, "quantile", 0.5),
            self.dropout,
        )

    def _unpack(self, packed_parameters):
        """Make coefs_ and intercepts_ views of a packed vector."""
        self.coefs_, self.intercepts_ = _lbfgs.unpacked(
            packed_parameters, self._coef_indptr, self._intercept_indptr
        )

    def _loss_grad_lbfgs(
        self,
        packed_coef_inter,
        X,
        y,
        sample_weight,
        activations=None,
        deltas=None,
        coef_grads=None,
        intercept_grads=None,
    ):
        """(loss, packed gradient) at a packed vector; the last four arguments are not used."""
        self._unpack(packed_coef_inter)
        loss, of_coefs, of_intercepts = _formulas.loss_and_gradients(
            self._problem(), X, y, sample_weight, self.coefs_, self.intercepts_
        )
        return loss, _lbfgs.packed(of_coefs, of_intercepts)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
