"""Outputs, classes, losses and scores of data, in slices of bounded memory."""

import copy
import warnings

import numpy as np

from nncore import _chain, _checks, _core, _sparse, _sums, modules, registry
from nncore._kinds import kind
from nncore.training import compile, labels, logits, objects, preparation, validate
from nncore.training import weights as weighing
from nncore.training.cache import EngineCache, Fingerprint, is_keepable, ready

EVALUATE_SLICE = _core.TUNING["EVALUATE_SLICE"]


def class_fun(net):
    """Return the function from outputs to classes, of the last module or else of the loss; None if
    neither has one.
    """
    last = net.modules[-1] if net.modules else None
    if hasattr(last, "modules"):
        last = next(iter(_chain.modules_of(net)[-1:]), None)
    return getattr(last, "class_fun", None) or getattr(net.loss, "class_fun", None)


def judge(net):
    """Return the class_fun with which evaluate counts correct answers; None if the network is no
    classifier.
    """
    return class_fun(net) if classifies(net) else None


def progress_score(net, P, Y):
    """Return the name and the score that a line of progress shows: the accuracy, or R squared."""
    Y = labels.columns(net, Y) if np.ndim(Y) == 1 else Y
    if not classifies(net):
        found = _RSquared()
        found.add(P, Y, None)
        return "\tR2 =", found.value()
    answers = class_fun(net)
    return "\tAcc =", np.mean(answers(P) == answers(Y))


def flat(net, answers):
    """Return predictions of one number per sample, (1, N), as (N,)."""
    single = not classifies(net) and np.ndim(answers) == 2 and len(answers) == 1
    return answers[0] if single else answers


def _one_sample(net, X):
    """Return the outputs for a single column, by the live kernels without compiling and without
    storing activations; or None.
    """
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
            if not X.size:  # the general path refuses it
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
    """Return whether `outputs` sends X through the live kernels without a program."""
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
    """Return the network's outputs (n, N) for X (D, N)."""
    if _is_one_sample(net, X):
        try:
            P = _one_sample(net, X)
        except ValueError:  # sizes that do not fit, which the general path explains
            P = None
        if P is not None:
            return P
    kept = _kept.get(net)
    found = None if kept is None else kept.outputs(net, X)
    if found is not None:
        return found[0]
    objects.check_methods(net.modules, None)
    X = validate.check_inputs(_chain.modules_of(net), X)
    program = compile.as_program(net, (X,), False)
    if program is None:
        return _chain.predicted([net], _sparse.dense(X))
    P = program.run(_sparse.for_engine(X))[0]
    _keep(net, kept, program)
    return P


def prepared_outputs(net, X):
    """Return `outputs` for a network that scales its data, in slices of bounded memory."""
    X = validate.check_inputs(_chain.modules_of(net), X)
    N = X.shape[1]
    if N <= PREPARED_SLICE or _chain.depends_on_batch(net):
        return preparation.outputs(net, outputs(net, preparation.scaled(net, X)))
    parts = [
        outputs(net, preparation.scaled(net, X[:, at : at + PREPARED_SLICE]))
        for at in range(0, N, PREPARED_SLICE)
    ]
    return preparation.outputs(net, np.concatenate(parts, axis=1))


PREPARED_SLICE = 16 * EVALUATE_SLICE
_kept = EngineCache()  # of networks with plain layers, programs that predict
KEPT_BYTES = _core.TUNING["PREDICT_KEPT_BYTES"]


def _keep(net, kept, program):
    """Keep a program for the next prediction, if the network has plain layers only and the program
    kept before no longer fits.
    """
    if kept is not None and kept.holds(net):
        return
    if program.resident_bytes <= KEPT_BYTES and is_keepable(net):
        program.live = True
        program.forget()
        _kept.put(net, ready(net, program, Fingerprint(net)))
    else:
        _kept.drop(net)


def agreement(class_fun, P, Y):
    """Return whether the classes of P equal those of Y under class_fun; NaN outputs
    have no class.
    """
    agree = class_fun(P) == class_fun(Y)
    if _core.has_nan(P):
        valid = ~np.isnan(P)
        agree = agree & (valid if np.shape(agree) == np.shape(P) else valid.all(axis=0))
    return agree


def nan_samples(P):
    """Return the number of samples with a NaN output."""
    return int(np.isnan(P).any(axis=0).sum()) if _core.has_nan(P) else 0


def warn_of_nan(count, N, stacklevel=3):
    """Warn about samples with NaN outputs, which their classes would hide."""
    if count:
        warnings.warn(
            f"the outputs of {count} of {N} samples are NaN, because X or a weight holds NaN or "
            f"infinity; their classes mean "
            "nothing and count as wrong",
            RuntimeWarning,
            stacklevel=stacklevel,
        )


def evaluate(net, X, Y, samples=None, weights=None, prepared=False, class_weight=None):
    """Return the mean loss and the accuracy or R squared; see Sequential.evaluate. samples: the
    indices of those that count, which are copied by slices; None for all. weights: of the samples
    that count. prepared: as in `slices`.
    """
    if class_weight is not None:
        weights = _with_class_weight(net, X, Y, weights, class_weight)
    sums, undefined, judged = [], 0, _Agreement(judge(net)) if classifies(net) else _RSquared()
    if weights is not None and np.ndim(X) == 2:  # others are refused below
        weights = weighing.checked(weights, np.shape(X)[1] if samples is None else len(samples))
        if not weights.any():
            name = "sample_weight" if class_weight is None else "the weight"
            raise ValueError(f"{name} must not be 0 for every sample, got zeros only")
    at = 0
    for P, losses, Ys in slices(net, X, Y, samples, weights is not None, prepared):
        w = None if weights is None else weights[at : at + np.shape(P)[-1]]
        at += np.shape(P)[-1]
        sums.append(_sums.total(np.ravel(losses) if w is None else w * np.ravel(losses)))
        undefined += nan_samples(P)
        judged.add(P, Ys, w)
    warn_of_nan(undefined, at, 4)
    loss = sums[0] if len(sums) == 1 else _sums.total(sums)
    return loss / (at if weights is None else _sums.total(weights)), judged.value()


def _with_class_weight(net, X, Y, weights, class_weight):
    """Return the weights of samples, by their classes, too."""
    Y = labels.columns(net, preparation.targets(net, Y), compact=True)
    Y = validate.check_data(net, X, Y)[1]
    return weighing.of_samples(net, Y, weights, class_weight)


def classifies(net):
    """Return whether a network is judged by its classes; else by R squared."""
    return getattr(net.loss, "classifies", True)


class _Agreement:
    """The fraction of correct classes; NaN without a class_fun."""

    def __init__(self, class_fun):
        self.class_fun, self.right, self.count = class_fun, 0, 0

    def add(self, P, Y, weights):
        if self.class_fun is not None:
            agree = agreement(self.class_fun, P, Y)
            self.right += _counted(agree, weights)
            every = agree.size if weights is None else _counted(np.ones_like(agree), weights)
            self.count += every

    def value(self):
        return float(self.right / self.count) if self.count else float("nan")


class _RSquared:
    """R squared, from sums over slices that are merged (Chan, Golub and LeVeque 1979, eq. 2.1)."""

    count = 0

    @_checks.quiet
    def add(self, P, Y, weights):
        P, Y = (np.asarray(a, np.float64) for a in (P, Y))
        w = 1.0 if weights is None else weights
        n = Y.shape[1] if weights is None else _sums.total(weights)
        if n == 0:
            return
        mean = _sums.pairwise(w * Y, axis=1) / n
        residual = _sums.pairwise(w * (Y - P) ** 2, axis=1)
        total = _sums.pairwise(w * (Y - mean[:, None]) ** 2, axis=1)
        if self.count:
            away = mean - self.mean
            total = self.total + total + away**2 * (self.count * n / (self.count + n))
            residual = self.residual + residual
            mean = self.mean + away * (n / (self.count + n))
        self.count, self.mean, self.total, self.residual = self.count + n, mean, total, residual

    @_checks.quiet
    def value(self):
        flat = self.total == 0
        explained = 1 - self.residual / np.where(flat, 1, self.total)
        return float(np.mean(np.where(flat, self.residual == 0, explained)))


def _counted(agree, weights):
    """Return the number of true entries, or their weight."""
    if weights is None:
        return int(np.count_nonzero(agree))
    return float(_sums.pairwise(np.ravel(agree * weights)))


def slices(net, X, Y, samples=None, each=False, prepared=False):
    """Yield (outputs, losses, Y) of up to EVALUATE_SLICE samples at a time; losses are one per
    sample, or, unless `each` is set, their sum. samples: as in `evaluate`. prepared: X and Y are as
    the modules and the loss take them.
    """
    if net._preprocessing is not None and not prepared:
        yield from _prepared_slices(net, X, Y, each)
        return
    if samples is not None and len(samples) <= EVALUATE_SLICE:
        X, Y, samples = X[:, samples], Y[:, samples], None  # a kept program takes them at once
    kept = _kept.get(net)
    found = None if kept is None else kept.outputs(net, X, Y)
    if found is not None:
        yield found
        return
    X, Y = validate.check_data(net, X, labels.columns(net, Y, compact=True))
    program = compile.as_program(net, (X, Y), False) if kind(net.loss) in registry.LOSSES else None
    N = X.shape[1] if samples is None else len(samples)
    size = N if _chain.depends_on_batch(net) else EVALUATE_SLICE
    for at in range(0, N, size):
        part = slice(at, at + size) if samples is None else samples[at : at + size]
        Xs, Ys = X[:, part], Y[:, part]
        if program is not None:
            P, values = program.run(_sparse.for_engine(Xs), Ys)
            if at == 0:
                _keep(net, kept, program)
        else:
            Xs, kernel = _sparse.dense(Xs), logits.logits_kernel(net)
            if kernel is not None:
                Z = logits.logits(net, Xs, predicting=True)
                yield (
                    _chain.modules_of(net)[-1].forward(Z) if logits.has_output_unit(net) else Z,
                    logits.losses_of_logits(kernel, Z, Ys) if each else kernel(Z, Ys)[0],
                    Ys,
                )
                continue
            P = _chain.predicted([net], Xs)
            if each:
                yield P, logits.per_sample(net, P, Ys), Ys
                continue
            call = "per_sample" if hasattr(net.loss, "per_sample") else "forward"
            given = getattr(net.loss, call)(P, Ys)
            values = logits.numbers(given)
            if values is None:
                raise ValueError(f"loss.{call} must return numbers, got {logits.given(given)}")
        yield P, values, Ys


def log_likelihood(net, X, Y):
    """Return minus the summed NLL; see Sequential.log_likelihood."""
    record = registry.record_of(net.loss, registry.LOSSES)
    if record is not None and record.labels == "classes" and record.has_settings(net.loss):
        net = copy.copy(net)
        net.loss = record.cls()  # neither smoothed nor weighted
    parts = [_sums.pairwise(np.ravel(losses)) for _, losses, _ in slices(net, X, Y)]
    return -float(_sums.pairwise(parts))


def _prepared_slices(net, X, Y, each):
    """Yield `slices` for a network with a scaling or with classes; X is scaled by slices."""
    Y = labels.columns(net, preparation.targets(net, Y), compact=True)
    X, Y = validate.check_data(net, X, Y)
    size = X.shape[1] if _chain.depends_on_batch(net) else EVALUATE_SLICE
    for at in range(0, X.shape[1], size):
        part = slice(at, at + size)
        yield from slices(net, preparation.scaled(net, X[:, part]), Y[:, part], None, each, True)
