"""Outputs, classes, losses and scores of data, in slices of bounded memory."""

import warnings

import numpy as np

from nncore import _chain, _checks, _core, _sums, modules, registry
from nncore._kinds import kind
from nncore.training import compile, labels, logits, validate

SLICE = 1024  # samples evaluated at a time: bounds the memory of evaluate and log_likelihood


def class_fun(net):
    """The function from outputs to classes: the last module's, else the loss's; None where neither
    has one."""
    last = _chain.modules_of(net)[-1:]
    return getattr(last[0] if last else None, "class_fun", None) or getattr(
        net.loss, "class_fun", None
    )


def judge(net):
    """The class_fun by which evaluate counts right answers; None where a network is not judged by
    classes."""
    return class_fun(net) if getattr(net.loss, "classifies", True) else None


def _one_sample(net, X):
    """The outputs for a single column by the live kernels, without the set-up of a program and
    without leaving a trace, or None."""
    first = net.modules[0]
    if (
        kind(net) is None
        or kind(first) is not modules.Linear
        or np.shape(first.W)[:1] != X.shape[:1]
    ):
        return None
    for module in net.modules:
        what = kind(module)
        if what is modules.Linear:
            if not X.size:  # refused by the general path
                return None
            X = module._kernels.linear_forward(X, module.W, module.W0)
        elif what in registry.ACTIVATIONS:
            activation = registry.ACTIVATIONS[what]
            if activation.settings:
                X = module.predict_forward(X)
            else:
                X = getattr(module._kernels, activation.forward)(X)
        elif what is not modules.Dropout:
            return None
    return X if X.size else None


def takes_one_sample(net, X):
    """Whether `outputs` sends X through the live kernels without a program."""
    return _is_one_sample(net, X) and _one_sample(net, X) is not None


def _is_one_sample(net, X):
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.shape[1] == 1
        and X.dtype in _checks.COMPUTING
        and bool(net.modules)
    )


def outputs(net, X):
    """The network's outputs (n, N) for X (D, N)."""
    if _is_one_sample(net, X):
        P = _one_sample(net, X)
        if P is not None:
            return P
    _chain.check_methods(net.modules, None)
    X = validate.check_inputs(_chain.modules_of(net), X)
    program = compile.as_program(net, (X,), False)
    return program.run(X)[0] if program is not None else _chain.predicted([net], X)


def agreement(class_fun, P, Y):
    """Whether the classes of P are those of Y, as class_fun gives them; a sample whose outputs are
    NaN has none."""
    agree = class_fun(P) == class_fun(Y)
    if _core.has_nan(P):
        valid = ~np.isnan(P)
        agree = agree & (valid if np.shape(agree) == np.shape(P) else valid.all(axis=0))
    return agree


def nan_samples(P):
    """How many samples have an output that is NaN."""
    return int(np.isnan(P).any(axis=0).sum()) if _core.has_nan(P) else 0


def warn_of_nan(count, N):
    """Warn of samples whose outputs are NaN, which a class would hide."""
    if count:
        warnings.warn(
            f"the outputs of {count} of {N} samples are NaN, because X or a weight holds NaN or "
            f"infinity; their classes mean "
            "nothing and count as wrong",
            RuntimeWarning,
            stacklevel=3,
        )


def slices(net, X, Y):
    """(outputs, losses, Y) of up to SLICE samples at a time; losses one a sample, or their sum for
    a loss without per_sample."""
    X, Y = validate.check_data(net, X, labels.columns(net, Y))
    program = compile.as_program(net, (X, Y), False) if kind(net.loss) in registry.LOSSES else None
    size = X.shape[1] if _chain.depends_on_batch(net) else SLICE
    for at in range(0, X.shape[1], size):
        Xs, Ys = X[:, at : at + size], Y[:, at : at + size]
        if program is not None:
            P, values = program.run(Xs, Ys)
        else:
            kernel = logits.logits_kernel(net)
            if kernel is not None:
                Z = logits.logits(net, Xs, predicting=True)
                yield (
                    _chain.modules_of(net)[-1].forward(Z) if logits.has_output_unit(net) else Z,
                    kernel(Z, Ys)[0],
                    Ys,
                )
                continue
            P = _chain.predicted([net], Xs)
            call = "per_sample" if hasattr(net.loss, "per_sample") else "forward"
            given = getattr(net.loss, call)(P, Ys)
            values = logits.numbers(given)
            if values is None:
                raise ValueError(f"loss.{call} must return numbers, got {logits.given(given)}")
        yield P, values, Ys


def score(net, X, Y):
    """Accuracy, or R squared; see Sequential.score."""
    if getattr(net.loss, "classifies", True):
        return net.evaluate(X, Y)[1]
    parts = [(P, Ys) for P, _, Ys in slices(net, X, Y)]
    P, Y = (
        np.concatenate(arrays, axis=1).astype(np.float64) for arrays in zip(*parts, strict=True)
    )
    warn_of_nan(nan_samples(P), P.shape[1])
    return _r_squared(P, Y)


@_checks.quiet
def _r_squared(P, Y):
    residual = _sums.pairwise((Y - P) ** 2, axis=1)
    total = _sums.pairwise((Y - _sums.pairwise(Y, axis=1, keepdims=True) / Y.shape[1]) ** 2, axis=1)
    flat = total == 0
    return float(np.mean(np.where(flat, residual == 0, 1 - residual / np.where(flat, 1, total))))
