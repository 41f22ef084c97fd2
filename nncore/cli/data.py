"""Data for the commands: what to train on, and what a model predicts."""

import dataclasses
import math
import os

import numpy as np

from nncore import _chain, _columns, _readers, datasets, modules

# Integers of more values than this, or of nearly as many as there are samples, are numbers to
# predict rather than classes.
MOST_CLASSES, FEW_CLASSES = 50, 10


@dataclasses.dataclass
class Prepared:
    """Scaled data to train and to test on, with what made them: columns of X and Y."""

    X: np.ndarray
    Y: np.ndarray
    X_test: np.ndarray
    Y_test: np.ndarray
    held: tuple | None
    scaling: dict
    classes: np.ndarray | None = None
    target_scaling: dict | None = None
    reason: str = ""

    @property
    def is_regression(self):
        """Whether numbers are predicted."""
        return self.classes is None

    @property
    def kind(self):
        """What is predicted, in words."""
        return "regression" if self.is_regression else f"{self.classes.size} classes"

    @property
    def target_factor(self):
        """The factor of the targets' scaling."""
        return self.target_scaling["factor"][0]

    def describe(self, net, source):
        """Give a network the attributes with which it takes raw data."""
        net.scaling, net.classes = self.scaling, self.classes
        net.target_scaling = self.target_scaling
        net._flat = self.is_regression  # numbers (N,), as after `fit` with such targets
        net.feature_names, net.target_name = source.feature_names, source.target_name


def wanted(options, label=None, **more):
    """Return the columns that the options ask for; label: in place of theirs."""
    return _columns.Wanted(
        label or options.label_column, option="--label-column", drop=options.drop, **more
    )


def prepare(source, options):
    """Return the Prepared data of a training."""
    X, labels, X_test, labels_test = source.split("regression")
    task, reason = _task(options, source, np.concatenate([labels, labels_test]))
    if task == "classification":
        source.split()  # refuses a single class
    scaling = datasets.fit_scaling(X, options.scaling)
    X, X_test = (datasets.scale(part, scaling, options.dtype) for part in (X, X_test))
    target_scaling = classes = None
    if task == "regression":
        target_scaling = _target_scaling(source, labels)
        Y, Y_test = (
            datasets.scale(part[None, :], target_scaling, options.dtype)
            for part in (labels, labels_test)
        )
    else:
        classes = np.unique(np.concatenate([labels, labels_test]))
        Y, Y_test = (
            datasets.one_hot(np.searchsorted(classes, part), classes.size, options.dtype)
            for part in (labels, labels_test)
        )
    (X, Y), held = _hold_out(X, Y, options.validation)
    return Prepared(X, Y, X_test, Y_test, held, scaling, classes, target_scaling, reason)


def _task(options, source, labels):
    """Return the task, and the reason if it was guessed from labels that allow both."""
    if options.task != "auto":
        return options.task, ""
    target = "the labels have" if source.target_name is None else f"{source.target_name!r} has"
    if labels.dtype.kind == "f":
        return "regression", f"regression, because {target} fractions"
    images = source.name == "digits" or os.path.isdir(source.name)
    if labels.dtype.kind != "i" or images:
        return "classification", ""
    count = np.unique(labels).size
    few = count <= FEW_CLASSES or count <= min(MOST_CLASSES, labels.size / 4)
    task, other = ("classification", "regression")[:: 1 if few else -1]
    return task, (
        f"{task}, because {target} {count} different integers in {labels.size} samples; "
        f"--task {other} otherwise"
    )


def _target_scaling(source, targets):
    """Return the scaling of the targets of a regression; ValueError if all are equal."""
    scaling = datasets.fit_scaling(targets[None, :].astype(np.float64), "standard")
    if not scaling["factor"][0]:
        raise ValueError(
            f"{source.name} must hold different numbers as targets to train on, got only "
            f"{targets[0]:g}; is the label column another one?"
        )
    return scaling


def _hold_out(X, Y, share):
    """Return ((X, Y) for training, (X, Y) for validation or None), split alike for every seed."""
    if not share:
        return (X, Y), None
    held = round(share * X.shape[1])
    if not 0 < held < X.shape[1]:
        raise ValueError(
            f"--validation must leave samples to train and to validate on, got {share} of "
            f"{X.shape[1]} samples"
        )
    order = np.random.default_rng(0).permutation(X.shape[1])
    parts = np.sort(order[held:]), np.sort(order[:held])
    return tuple((X[:, part], Y[:, part]) for part in parts)


# ---------------------------------------------------------------- data for a model


def is_regression(net):
    """Return whether a network predicts numbers."""
    return not getattr(net.loss, "classifies", True) or (
        net.loss is None and isinstance(_chain.modules_of(net)[-1], modules.Linear)
    )


def scores(predicted, targets):
    """Return R² (NaN for targets that are all equal) and the root mean squared error of predicted
    numbers, (N,) or (1, N).
    """
    errors = np.ravel(predicted).astype(np.float64) - targets
    spread = ((targets - targets.mean()) ** 2).sum()
    r2 = 1 - (errors**2).sum() / spread if spread else math.nan
    return r2, math.sqrt(np.mean(errors**2))


def inputs_of(net, path):
    """Return the number of inputs of a model; ValueError if it has no layer that says so."""
    first = next((m for m in _chain.modules_of(net) if isinstance(m, modules.Linear)), None)
    if first is None:
        raise ValueError(f"{path} must hold a network with a Linear, got one without")
    return first.m


def read_to_predict(net, model, path, options):
    """Return the Source at `path` with the features of a model; without its labels, and with a
    note, if they cannot be used.
    """
    try:
        return read_for(net, model, path, options)
    except ValueError as error:
        if options.label_column != "auto":
            raise
        try:
            source = read_for(net, model, path, options, "none")
        except ValueError:
            raise error from None
        source.notes = (*source.notes, f"read without labels: {error}")
        return source


def read_for(net, model, path, options, label=None):
    """Return the Source at `path` with the features of a model, in its order."""
    features = inputs_of(net, model)
    columns = wanted(
        options, label, features=features, names=net.feature_names, target=net.target_name
    )
    task = "regression" if is_regression(net) else "classification"
    source = _readers.read(path, columns, task)
    found = source.select("all")[0].shape[0]
    if found != features:
        raise ValueError(
            f"{path} must have {features} features per sample, as {model} has, got {found}"
        )
    if net.feature_names is not None and source.choice and source.feature_names is None:
        source.notes = (
            *source.notes,
            "it has no headings, so its columns are taken in the model's order",
        )
    return source
