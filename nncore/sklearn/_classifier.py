"""MLPClassifier."""

from __future__ import annotations

import functools
import types
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import validate_data

from nncore._types import Array, ArrayLike
from nncore.sklearn import _lean, _new_classes, _scores
from nncore.sklearn._mlp import BaseMLP, keep
from nncore.sklearn._originals import ScikitClassifier


class _OfLogLoss:
    """A method that a classifier with another loss does not have: available_if at a third of its
    cost, which is 5 % of a prediction of one sample."""

    def __init__(self, method):
        self.method = method
        functools.update_wrapper(self, method)

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self.method
        estimator._has_probabilities()
        return types.MethodType(self.method, estimator)


class MLPClassifier(BaseMLP, ScikitClassifier):
    """Multi-layer perceptron classifier, as scikit-learn's, on compiled kernels.

    The parameters up to ``max_fun`` are scikit-learn's own, with the same meaning and default.

    Parameters
    ----------
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
    loss : {"log_loss", "hinge"}, default="log_loss"
        "hinge" trains one score per class with labels −1 and +1; there are no probabilities then.
    class_weight : dict or "balanced", default=None
        Weights of the classes, multiplied with ``sample_weight``.
    extend_classes : bool, default=False
        Whether partial_fit adds outputs for classes that it has not seen before.
    dropout : float, default=0.0
        The share of each hidden layer's outputs that is set to 0 in a training step.
    scoring : str or callable, default=None
        The score of ``early_stopping``; None is the accuracy.
    callbacks : callable or list of callables, default=None
        Called with (network, history) after each epoch; one that returns True ends the training.
    progress : bool, default=False
        Whether to show a progress bar.

    Attributes
    ----------
    classes_, coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, \
    best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, n_features_in_, \
    feature_names_in_, out_activation_
        As scikit-learn's.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from nncore.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(max_iter=500, tol=1e-3, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    __module__ = "nncore.sklearn"

    _parameter_constraints: dict = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"log_loss", "hinge"})],
        "extend_classes": ["boolean"],
        "class_weight": [None, dict, StrOptions({"balanced"}), list],
    }

    def __init__(
        self,
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
        loss: str = "log_loss",
        class_weight: Any = None,
        extend_classes: bool = False,
        dropout: Any = 0.0,
        scoring: Any = None,
        callbacks: Any = None,
        progress: bool = False,
    ) -> None:
        keep(self, locals())

    # ------------------------------------------------------------------------------------- training

    @available_if(lambda estimator: estimator._check_solver())
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
    ) -> Self:
        """Make one pass over the given samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,)
            The class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        classes : array of shape (n_classes,), default=None
            All classes of all calls; needed in the first one.
        validation_data : tuple (X, y) or (X, y, sample_weight), default=None
            Samples that ``early_stopping`` scores after each call; the best weights are kept.

        Returns
        -------
        object
            The fitted estimator.
        """
        if sample_weight is None and validation_data is None and self._is_plain(X):
            codes = self._known_codes(y, len(X), classes)
            if codes is not None and _lean.partial_fit(self, X, codes):
                return self
        return self._validated_partial_fit(X, y, sample_weight, classes, validation_data)

    @_fit_context(prefer_skip_nested_validation=True)
    def _validated_partial_fit(self, X, y, sample_weight, classes, validation_data):
        return self._fit(X, y, sample_weight, validation_data, incremental=True, classes=classes)

    def _known_codes(self, y, n, classes):
        """The labels as rows of 0 and 1, (n, n_outputs), if they are an array of known classes of
        one label per sample; else None."""
        known = self.__dict__.get("classes_")
        if (
            known is None
            or classes is not None
            and not np.array_equal(classes, known)
            or self.class_weight is not None
            or self.warm_start
            or type(y) is not np.ndarray
            or y.shape != (n,)
            or y.dtype != known.dtype
            or y.dtype.kind not in "biuU"
            or len(known) < 2
            or not self._is_one_of_classes()
        ):
            return None
        places = known.searchsorted(y)
        if places.max() == len(known) or (known[places] != y).any():
            return None
        if len(known) == 2:
            return places.reshape(-1, 1)
        codes = np.zeros((n, len(known)), bool)
        codes[np.arange(n), places] = True
        return codes

    def _begin(self, y, incremental, classes):
        if not incremental:
            return
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' cannot be used with partial_fit, which does not see all "
                "samples; give the weights as a dict"
            )
        if self.extend_classes and hasattr(self, "coefs_") and hasattr(self, "classes_"):
            if _new_classes.extended(self, y, classes):
                return
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer.fit(y if multilabel else classes)

    def _validate_input(self, X, y, incremental, reset):
        X, y = self._validate_data(X, y, reset)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_classes(y)
        weights = None
        if self.class_weight is not None:
            weights = compute_sample_weight(self.class_weight, y)
        return X, self._label_binarizer.transform(y).astype(bool), weights

    def _validate_data(self, X, y, reset):
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=reset,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _check_classes(self, y):
        classes = unique_labels(y)
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same "
                    "classes as in the previous call to fit. Previously "
                    f"got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _validate_held_out(self, X, y):
        X, y = self._validate_data(X, y, False)
        check_classification_targets(y)
        missing = np.setdiff1d(unique_labels(y), self.classes_)
        if len(missing):
            raise ValueError(f"validation_data has classes that y does not have: {missing}")
        return X, self._label_binarizer.transform(y).astype(bool)

    def _output_activation(self):
        if self.loss == "hinge":
            return "identity"
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _held_out_score(self, job, outputs):
        if self.scoring is None:
            return _scores.accuracy(
                self._codes(job.y_val), self._codes_of(outputs(job.X_val)), job.weights_val
            )
        y = self._label_binarizer.inverse_transform(job.y_val.astype(int))
        return _scores.chosen(self, job.X_val, y, job.weights_val)

    def _held_out_targets(self, job):
        """The targets of held-out samples as _core.Epochs scores them."""
        if self._is_one_of_classes() and job.y_val.shape[1] > 1:
            return {"kind": "classes", "targets": job.y_val.argmax(axis=1).astype(np.int64)}
        return {
            "kind": "labels",
            "targets": np.ascontiguousarray(job.y_val, bool),
            "threshold": 0.0 if self.loss == "hinge" else 0.5,
        }

    # ----------------------------------------------------------------------------------- prediction

    def _is_one_of_classes(self):
        return self._label_binarizer.y_type_ in ("binary", "multiclass")

    def _codes(self, y):
        """Class numbers (n_samples,) of one-hot labels, or the labels themselves."""
        if not self._is_one_of_classes():
            return y
        return y.argmax(axis=1) if y.shape[1] > 1 else y.ravel()

    def _codes_of(self, outputs):
        """The predicted class numbers, or labels; None if an output is NaN."""
        if self._is_one_of_classes() and outputs.shape[1] > 1:
            return outputs.argmax(axis=1)
        codes = outputs > (0 if self.loss == "hinge" else 0.5)
        if self._is_one_of_classes() and len(self.classes_) == 1:
            codes[:] = False
        return codes.ravel() if self._is_one_of_classes() else codes

    def predict(self, X: Any) -> Array:
        """Predict the classes of samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            The predicted classes.
        """
        return self._labels(self._outputs(X))

    def _labels(self, outputs):
        binarizer = self._label_binarizer
        if not self._is_one_of_classes():
            if self.loss == "hinge":
                outputs = outputs > 0
            return binarizer.inverse_transform(outputs)
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(outputs))
        return self.classes_[self._codes_of(outputs).astype(np.intp)]

    def _has_probabilities(self):
        if self.loss == "hinge":
            raise AttributeError("predict_proba needs loss='log_loss', got 'hinge'")
        return True

    @_OfLogLoss
    def predict_proba(self, X: Any) -> Array:
        """Predict the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The probabilities, in the order of ``classes_``.
        """
        outputs = self._outputs(X)
        if self.n_outputs_ > 1:
            return outputs
        both = np.empty((len(outputs), 2), outputs.dtype)
        both[:, 1:] = outputs
        np.subtract(1, outputs, out=both[:, :1])
        return both

    @available_if(lambda estimator: estimator._has_probabilities())
    def predict_log_proba(self, X: Any) -> Array:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            ``np.log(predict_proba(X))``.
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def _has_scores(self):
        if self.loss != "hinge":
            raise AttributeError("decision_function needs loss='hinge', got 'log_loss'")
        return True

    @available_if(lambda estimator: estimator._has_scores())
    def decision_function(self, X: Any) -> Array:
        """Compute the score of each class, with ``loss="hinge"``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            The scores; (n_samples,) with two classes.
        """
        outputs = self._outputs(X)
        return outputs.ravel() if self.n_outputs_ == 1 else outputs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
