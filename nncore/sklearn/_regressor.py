"""MLPRegressor."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from nncore import _core
from nncore._types import Array, ArrayLike
from nncore.sklearn import _lean, _scores
from nncore.sklearn._mlp import BaseMLP, keep
from nncore.sklearn._originals import ScikitRegressor


class MLPRegressor(BaseMLP, ScikitRegressor):
    """Multi-layer perceptron regressor, as scikit-learn's, on compiled kernels.

    The parameters up to ``max_fun`` are scikit-learn's own, with the same meaning and default.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber", "quantile"}, \
            default="squared_error"
        The losses after "poisson" are nncore's; ``delta`` and ``quantile`` are theirs.
    hidden_layer_sizes : array-like of int, default=(100,)
        The number of units in each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        The function of the hidden layers: x, 1 / (1 + exp(−x)), tanh(x), max(x, 0).
    solver : {"lbfgs", "sgd", "adam", "momentum", "nesterov", "adagrad", "rmsprop", "adamw"} or \
            nncore.optimizers.Optimizer, default="adam"
        The names after "adam", and objects, are nncore's optimizers.
    alpha : float, default=0.0001
        The factor of the L2 penalty ½ alpha Σ W², divided by the batch's weight.
    batch_size : int or "auto", default="auto"
        Samples per step; "auto" is min(200, n_samples). Not used by "lbfgs".
    learning_rate : {"constant", "invscaling", "adaptive"} or nncore.schedules.Schedule, \
            default="constant"
        A schedule gives the step size of each update; ``learning_rate_init`` is then not used.
    learning_rate_init : float, default=0.001
        The step size, at first.
    power_t : float, default=0.5
        The exponent of "invscaling": learning_rate_init / t ** power_t.
    max_iter : int, default=200
        The largest number of epochs, or of iterations of "lbfgs".
    shuffle : bool, default=True
        Whether each epoch has an order of its own.
    random_state : int, RandomState instance or None, default=None
        The generator of the weights, the held-out samples and the orders.
    tol : float, default=1e-4
        The improvement of the loss or score that counts.
    verbose : bool, default=False
        Whether to print the loss of each epoch.
    warm_start : bool, default=False
        Whether fit goes on from the present weights.
    momentum : float, default=0.9
        The momentum of "sgd", from 0 to 1.
    nesterovs_momentum : bool, default=True
        Whether it is Nesterov's.
    early_stopping : bool, default=False
        Whether to hold samples out, stop when their score no longer improves, and keep the best
        weights.
    validation_fraction : float, default=0.1
        The share of samples held out.
    beta_1 : float, default=0.9
        Adam's decay of the mean gradient.
    beta_2 : float, default=0.999
        Adam's decay of the mean squared gradient.
    epsilon : float, default=1e-8
        Added by Adam to the root of the mean squared gradient.
    n_iter_no_change : int, default=10
        Epochs without improvement until the training ends.
    max_fun : int, default=15000
        The largest number of evaluations of the loss by "lbfgs".
    delta : float, default=1.0
        The size of an error from which the Huber loss is linear.
    quantile : float, default=0.5
        The quantile that ``loss="quantile"`` estimates.
    dropout : float, default=0.0
        The share of each hidden layer's outputs that is set to 0 in a training step.
    scoring : str or callable, default=None
        The score of ``early_stopping``; None is R².
    callbacks : callable or list of callables, default=None
        Called with (network, history) after each epoch; one that returns True ends the training.
    progress : bool, default=False
        Whether to show a progress bar.

    Attributes
    ----------
    coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, \
    best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, n_features_in_, \
    feature_names_in_, out_activation_
        As scikit-learn's.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from nncore.sklearn import MLPRegressor
    >>> X, y = make_regression(200, n_features=5, random_state=0)
    >>> model = MLPRegressor(learning_rate_init=0.05, random_state=0).fit(X, y / 100)
    >>> model.score(X, y / 100) > 0.5
    True
    """

    __module__ = "nncore.sklearn"

    _parameter_constraints: dict = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson", "absolute_error", "huber", "quantile"})],
        "delta": [Interval(Real, 0, None, closed="neither")],
        "quantile": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 0.0001,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-08,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        delta: float = 1.0,
        quantile: float = 0.5,
        dropout: Any = 0.0,
        scoring: Any = None,
        callbacks: Any = None,
        progress: bool = False,
    ) -> None:
        keep(self, locals())

    # ------------------------------------------------------------------------------------- training

    @available_if(lambda estimator: estimator._check_solver)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
    ) -> Self:
        """Make one pass over the given samples.

        With ``solver="lbfgs"`` this is a whole fit from the present weights, as in scikit-learn.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        validation_data : tuple (X, y) or (X, y, sample_weight), default=None
            Samples that ``early_stopping`` scores after each call; the best weights are kept.

        Returns
        -------
        object
            The fitted estimator.
        """
        if (
            sample_weight is None
            and validation_data is None
            and self.solver != "lbfgs"
            and self._is_plain(X)
            and _core.is_plain_vector(y, len(X))
            and _lean.partial_fit(self, X, y.reshape(-1, 1))
        ):
            return self
        return self._validated_partial_fit(X, y, sample_weight, validation_data)

    @_fit_context(prefer_skip_nested_validation=True)
    def _validated_partial_fit(self, X, y, sample_weight, validation_data):
        return self._fit(X, y, sample_weight, validation_data, incremental=True)

    def _begin(self, y, incremental, classes):
        """Nothing is to be known of y before it is validated."""

    def _validate_input(self, X, y, incremental, reset):
        X, y = self._validate_data(X, y, reset)
        return X, y, None

    def _validate_data(self, X, y, reset):
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _validate_held_out(self, X, y):
        return self._validate_data(X, y, False)

    def _output_activation(self):
        return "exp" if self.loss == "poisson" else "identity"

    def _held_out_score(self, job, outputs):
        if self.scoring is None:
            return _scores.r2(job.y_val, outputs(job.X_val), job.weights_val)
        y = job.y_val.ravel() if job.y_val.shape[1] == 1 else job.y_val
        return _scores.chosen(self, job.X_val, y, job.weights_val)

    def _held_out_targets(self, job):
        """The targets of held-out samples as _core.Epochs scores them."""
        y, weights = np.ascontiguousarray(job.y_val, np.float64), job.weights_val
        parts = np.ones((len(y), 1)) if weights is None else weights[:, None].astype(np.float64)
        with np.errstate(all="ignore"):  # weights that sum to 0 have no mean: the score is NaN
            mean = (parts * y).sum(axis=0) / parts.sum()
        return {
            "kind": "r2",
            "targets": y,
            "spreads": (parts * (y - mean) ** 2).sum(axis=0),
            "exponential": self.out_activation_ == "exp",
        }

    # ----------------------------------------------------------------------------------- prediction

    def predict(self, X: Any) -> Array:
        """Predict the targets of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predicted values.
        """
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs
