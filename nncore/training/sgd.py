"""Stochastic gradient descent as the course defines it: one sample a step."""

import warnings

import numpy as np

from nncore import _chain, _checks, schedules
from nncore.training import compile, labels, logits, session, validate
from nncore.training.cache import Changed, Fingerprint, runs_python, watched
from nncore.training.progress import overrides_progress


def sgd(net, X, Y, iters, lrate, progress):
    """Stochastic gradient descent as the course defines it; see Sequential.sgd."""
    X, Y = validate.check_data(net, X, labels.columns(net, Y))
    iters, progress = _checks.count("iters", iters), _checks.switch("progress", progress)
    rate = schedules.step_size(lrate, 1, iters)
    with session.alone(net):
        validate.prepare_weights(net)
        if iters > 0:
            _Sgd(net, X, Y, iters, rate, progress).run()


class Compiled:
    """The program of one call of sgd or mini_gd, or None; made anew where a rate function has
    changed the network."""

    def __init__(self, net, X, Y, rate, wanted):
        self.net, self.X, self.Y, self.wanted = net, X, Y, wanted
        self.watches = runs_python(rate)
        self._make()
        self.rate = watched(rate, lambda: self.fingerprint.holds(net))

    def _make(self):
        self.program = compile.as_program(self.net, (self.X, self.Y), True) if self.wanted else None
        if self.program is not None and self.watches:
            self.fingerprint = Fingerprint(self.net)

    def renew(self):
        """Check and compile the network that a rate function has left."""
        self.X, self.Y = validate.check_data(self.net, self.X, self.Y)
        validate.prepare_weights(self.net)
        self._make()


class _Sgd:
    """The steps of one call of sgd. The last one, and those whose loss or attributes somebody sees,
    run module by module."""

    EVERY = (
        250  # steps from one line of the library's print_accuracy to the next, as in the homework
    )

    def __init__(self, net, X, Y, iters, rate, progress):
        self.net, self.X, self.Y, self.iters, self.rate = net, X, Y, iters, rate
        self.overridden = overrides_progress(net)
        self.shows = self.overridden or progress
        self.compiled = Compiled(net, X, Y, rate, iters > compile.FEW and not self.overridden)
        self.t, self.warned = 0, False

    def run(self):
        while self.t < self.iters:
            eta = self._compiled() if self._compiles() else None
            with session.whole_steps() as between_steps:
                while self.t < self.iters and (eta is not None or not self._compiles()):
                    self._by_modules(eta)
                    between_steps()
                    eta = None

    def _compiles(self):
        return self.compiled.program is not None and self._unseen() > 0

    def _unseen(self):
        """Steps before the next one that somebody sees."""
        last = self.iters - 1 - self.t
        return min(last, (1 - self.t) % self.EVERY) if self.shows else last

    def _compiled(self):
        """Run the steps before the next one that somebody sees; returns the next step's rate where
        it is known already."""
        program = self.compiled.program
        try:
            program.sgd(self.X, self.Y, self._unseen(), self.compiled.rate, self._warn, self.t)
        except Changed as change:
            self.compiled.renew()
            return (
                change.eta
                if change.eta is not None
                else schedules.at(self.rate, self.t + program.steps + 1)
            )
        finally:
            self.t += program.steps
        return None

    def _by_modules(self, eta):
        """A step of the course's own loop: .A, .dLdW, .Ypred ... stand as it leaves them."""
        net, t = self.net, self.t + 1
        eta = schedules.at(self.rate, t) if eta is None else schedules.checked(eta, t)
        i = np.random.randint(self.X.shape[1])
        loss, finite = course_step(net, self.X[:, i : i + 1], self.Y[:, i : i + 1], eta)
        self.t = t
        if not finite:
            self._warn(t)
        if self.overridden or (self.shows and self.t % self.EVERY == 2 % self.EVERY):
            net.print_accuracy(t - 1, self.X, self.Y, loss)

    def _warn(self, t):
        if not self.warned:
            self.warned = True
            warn_not_finite(t, stacklevel=7)


def course_step(net, X, Y, eta):
    """(loss, whether it is finite) of one step of the course's loop on the samples X, Y, module by
    module.

    The loop does nothing with the loss, which may therefore be anything; what is not a number
    counts as finite.
    """
    moved = session.Moved(net)
    try:
        with _chain.in_training_mode(net):  # a rate function may have called net.eval()
            loss = net.loss.forward(net.forward(X), Y)
            gradient = net.loss.backward()
            # from logits the loss is finite where a probability has underflowed to 0: there the
            # gradient tells
            finite = _is_finite(loss) or (
                logits.has_output_unit(net)
                and logits.logits_kernel(net) is not None
                and np.isfinite(gradient).all()
            )
            net.backward(gradient)
            net.sgd_step(eta)
    except BaseException:
        moved.put_back()
        raise
    return loss, finite


def _is_finite(loss):
    try:
        return bool(np.isfinite(loss).all())
    except (TypeError, ValueError):  # ValueError: lists of different lengths
        return True


def warn_not_finite(t, stacklevel):
    warnings.warn(
        f"the loss is not finite at step {t}; training goes on as in the course library; a smaller "
        f"lrate may help",
        RuntimeWarning,
        stacklevel=stacklevel,
    )
