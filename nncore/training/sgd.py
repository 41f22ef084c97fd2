"""Stochastic gradient descent as the course defines it: one sample per step."""

import math
import warnings

import numpy as np

from nncore import _chain, _checks, _core, _rates, _sparse
from nncore.training import compile, labels, logits, preparation, session, validate
from nncore.training.cache import (
    EngineCache,
    Fingerprint,
    NetworkChanged,
    is_keepable,
    ready,
    runs_python,
    watched,
)
from nncore.training.progress import overrides_progress


def sgd(net, X, Y, iters, lrate, progress):
    """Train by stochastic gradient descent as the course defines it; see Sequential.sgd."""
    if net._preprocessing is not None:
        X, Y = preparation.data(net, X, Y)
    kept = _kept.get(net)
    data = None if kept is None else kept.data(net, X, Y)
    checked = data is not None
    if not checked:
        data = validate.check_data(net, X, labels.columns(net, Y))
        labels.remember(net, Y)
        kept = kept if kept is not None and kept.holds(net) else None
    iters, progress = _checks.count("iters", iters), _checks.switch("progress", progress)
    rate = _rates.step_size(lrate, 1, iters)
    # without modes there is nothing that forward could do otherwise, or a function could see
    with session.exclusive_training(net, kept is None or runs_python(rate)):
        if not checked:
            validate.prepare_weights(net)
        if kept is None:
            if is_keepable(net) and compile.is_compiled(net):
                kept = ready(net, None, Fingerprint(net))
                _kept.put(net, kept)
            else:
                _kept.drop(net)
        if iters > 0:
            _Sgd(net, *data, iters, rate, progress, kept).run()


_kept = EngineCache()  # checked and compiled programs of networks with plain layers
KEPT_BYTES = _core.TUNING["FIT_KEPT_BYTES"]


class Compiled:
    """The program of one call of sgd or mini_gd, or None; recompiled after a rate function has
    changed the network.
    """

    def __init__(self, net, X, Y, rate, wanted, kept=None):
        self.net, self.X, self.Y, self.wanted, self.kept = net, X, Y, wanted, kept
        self.watches = runs_python(rate)
        self.given = rate
        self._make()

    def _make(self):
        kept, self.rate, self.program = self.kept, self.given, None
        if kept is not None and self.wanted:
            disjoint = all(
                kept.fingerprint.is_disjoint(_sparse.memory(data)) for data in (self.X, self.Y)
            )
            self.program = kept.program if disjoint else None
        if self.wanted and self.program is None:
            self.program = compile.as_program(self.net, (self.X, self.Y), True)
            if kept is not None and self.program is not None:
                kept.program = self.program if self.program.nbytes <= KEPT_BYTES else None
        if self.program is not None and self.watches:
            fingerprint = Fingerprint(self.net) if kept is None else kept.fingerprint
            self.rate = watched(self.given, fingerprint=fingerprint, net=self.net)

    def renew(self):
        """Check and compile the network as a rate function has left it."""
        self.X, self.Y = validate.check_data(self.net, self.X, self.Y)
        validate.prepare_weights(self.net)
        self.kept = None
        self._make()


class _Sgd:
    """The steps of one call of sgd. The last one, and those whose loss or attributes are visible,
    run module by module.
    """

    EVERY = (
        250  # steps from one line of the library's print_accuracy to the next, as in the homework
    )

    def __init__(self, net, X, Y, iters, rate, progress, kept):
        self.net, self.X, self.Y, self.iters, self.rate = net, X, Y, iters, rate
        self.overridden = overrides_progress(net)
        self.shows = self.overridden or progress
        self.compiled = Compiled(
            net, X, Y, rate, iters > compile.MIN_COMPILED_STEPS and not self.overridden, kept
        )
        self.plain = kept is not None and not runs_python(rate) and not self.overridden
        self.t, self.warned = 0, False

    def run(self):
        while self.t < self.iters:
            eta = self._compiled() if self._compiles() else None
            with session.defer_sigint() as between_steps:
                while self.t < self.iters and (eta is not None or not self._compiles()):
                    self._by_modules(eta)
                    between_steps()
                    eta = None

    def _compiles(self):
        return self.compiled.program is not None and self._unobserved() > 0

    def _unobserved(self):
        """Return the number of steps before the next visible one."""
        last = self.iters - 1 - self.t
        return min(last, (1 - self.t) % self.EVERY) if self.shows else last

    def _compiled(self):
        """Run the steps before the next visible one; return the next step's rate if
        already known.
        """
        program = self.compiled.program
        try:
            X = _sparse.for_engine(self.X)
            program.sgd(X, self.Y, self._unobserved(), self.compiled.rate, self._warn, self.t)
        except NetworkChanged as change:
            self.compiled.renew()
            return (
                change.eta
                if change.eta is not None
                else _rates.at(self.rate, self.t + program.steps + 1)
            )
        finally:
            self.t += program.steps
            program.forget()
        return None

    def _by_modules(self, eta):
        """Make a step of the course's own loop, which sets .A, .dLdW, .Ypred ..."""
        net, t = self.net, self.t + 1
        eta = _rates.at(self.rate, t) if eta is None else _rates.checked(eta, t)
        i = _core.randint(self.X.shape[1])
        X, Y = _sparse.dense(self.X[:, i : i + 1]), self.Y[:, i : i + 1]
        loss, finite = (_plain_step if self.plain else course_step)(net, X, Y, eta)
        self.t = t
        if not finite:
            self._warn(t)
        if self.overridden or (self.shows and self.t % self.EVERY == 2 % self.EVERY):
            net.print_accuracy(t - 1, _sparse.dense(self.X), self.Y, loss)

    def _warn(self, t):
        if not self.warned:
            self.warned = True
            warn_not_finite(t, stacklevel=8)


def _plain_step(net, X, Y, eta):
    """Make a course_step of a network of plain layers, which has no state to restore and no
    modes.
    """
    loss = net.loss.forward(net.forward(X), Y)
    gradient = net.loss.backward()
    finite = type(loss) is float and math.isfinite(loss)
    finite = finite or _is_finite_from_logits(net, loss, gradient)
    net.backward(gradient)
    net.sgd_step(eta)
    return loss, finite


def course_step(net, X, Y, eta):
    """Make one step of the course's loop on the samples X, Y, module by module; return (loss,
    whether it is finite).

    The loop does not use the loss, so it may be anything; a value that is not a number counts as
    finite.
    """
    state = session.ForwardState(net)
    try:
        with _chain.in_training_mode(net):  # a rate function may have called net.eval()
            loss = net.loss.forward(net.forward(X), Y)
            gradient = net.loss.backward()
            finite = _is_finite_from_logits(net, loss, gradient)
            net.backward(gradient)
            net.sgd_step(eta)
    except BaseException:
        state.restore()
        raise
    return loss, finite


def _is_finite_from_logits(net, loss, gradient):
    """Return whether the loss is finite. From logits it is even if a probability has underflowed to
    0; then the gradient decides.
    """
    return _is_finite(loss) or (
        logits.has_output_unit(net)
        and logits.logits_kernel(net) is not None
        and np.isfinite(gradient).all()
    )


def _is_finite(loss):
    try:
        return bool(np.isfinite(loss).all())
    except (TypeError, ValueError):  # ValueError: lists of different lengths
        return True


def warn_not_finite(t, stacklevel):
    """Warn that the loss is non-finite."""
    warnings.warn(
        f"the loss is not finite at step {t}; training goes on as in the course library; a smaller "
        f"lrate may help",
        RuntimeWarning,
        stacklevel=stacklevel,
    )
