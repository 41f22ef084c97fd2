"""The updates of one call of fit, partial_fit or a learner: by a compiled program, or module by
module.
"""

import numpy as np

from nncore import _chain, _checks, _core, _rates, _sparse, _sums, modules
from nncore.training import clipping as clips
from nncore.training import compile, logits, session, validate
from nncore.training.cache import (
    Fingerprint,
    NetworkChanged,
    OptimizerFingerprint,
    runs_python,
    watched,
)


def checked_penalty(l2):
    """Return l2 as a float of at least 0."""
    value = _checks.number("l2", l2)
    if not 0 <= value < np.inf:
        raise ValueError(f"l2 must be finite and at least 0, got {l2}")
    return value


class Updates:
    """The updates of one call: compiled if possible, else module by module."""

    def __init__(self, net, X, Y, batch_size, lrate, optimizer, l2, reduction, clipping=None):
        from nncore import optimizers

        self.net, self.X, self.Y, self.optimizer = net, X, Y, optimizer
        self.batch_size = min(_checks.count("batch_size", batch_size, 1, most=None), X.shape[1])
        self.rate = _rates.step_size(optimizer.LRATE if lrate is None else lrate)
        self.l2 = checked_penalty(l2)
        self.mean = _checks.choice("reduction", reduction, ("mean", "sum")) == "mean"
        self.clipping = clipping
        self.plain = type(optimizer) is optimizers.SGD and self.l2 == 0 and clipping is None
        self.t, self.rng, self.unchecked = 0, None, True
        self.weights = None  # of the samples of X, float64

    def check_rate(self, epochs, samples):
        """Refuse a library schedule with an invalid step size within these epochs."""
        _rates.step_size(self.rate, self.t + 1, epochs * -(-samples // self.batch_size))

    def reduce(self, factor, least):
        """Multiply the rate of the steps to come by a factor, but not below `least`."""
        from nncore import schedules

        self.rate = schedules.reduced(self.rate, factor, least)

    def prepare(self, rng=None):
        """Refuse anything that cannot be trained; prepare weights, state and program. Raises before
        changing anything.
        """
        net, optimizer = self.net, self.optimizer
        self.rng = rng
        optimizer.begin(net)
        if not self.plain:
            self._weights()
        self.program = compile.as_program(net, (self.X, self.Y), True)
        self._validate_data()
        validate.prepare_weights(net, rng)
        if not self.plain:
            optimizer.prepare(self._weights())
        optimizer.bind(net)
        if self.program is None:  # the prepared weights may compile
            self.program = compile.as_program(net, (self.X, self.Y), True)
        self.fingerprint, self.settings = Fingerprint(net), OptimizerFingerprint(optimizer)
        if self.program is not None and not self.plain:
            bounds = () if self.clipping is None else self.clipping
            self.program.use(*self.settings.rule, self._states(), self.l2, *bounds)

    def take(self, kept):
        """Prepare with a cached program that fits this network and optimizer."""
        self.optimizer.begin(self.net)
        self.program, self.fingerprint, self.settings = (
            kept.program,
            kept.fingerprint,
            kept.settings,
        )
        self._validate_data()
        self.optimizer.bind(self.net)

    def unchanged(self):
        """Return whether everything that the updates were prepared for is in place; Python code may
        have run since.
        """
        return self.fingerprint.holds(self.net) and self.settings.holds(self.optimizer)

    def renew(self):
        """Prepare again if callbacks or rate functions have changed the network or the
        optimizer.
        """
        if not self.unchanged():
            self.unchecked = False  # the data have been validated
            self.X, self.Y = validate.check_data(self.net, self.X, self.Y)
            self.prepare(self.rng)

    def _validate_data(self):
        """Raise ValueError if X or Y is non-finite, unless the program checks each sample and rolls
        back before Python code can see the weights.
        """
        seen = callable(self.rate) and not isinstance(self.rate, _rates.Schedule)
        sparse = isinstance(self.X, _sparse.Columns)  # whose numbers are few
        if self.unchecked and (self.program is None or seen or sparse):
            _sparse.check_finite("X", self.X)
            _checks.finite("Y", self.Y)
            self.unchecked = False

    def _weights(self):
        from nncore import optimizers

        return optimizers.trained_weights(self.net, self.optimizer, self.l2, self.clipping)

    def _states(self):
        """Return the state arrays of each module with weights, for a network that compiles; zeros
        for weights that are not trained.
        """
        return [
            tuple(self._state(i, module, name) for name in module.gradients)
            for i, module in enumerate(_chain.modules_of(self.net))
            if module.gradients
        ]

    def _state(self, i, module, name):
        if name in _chain.trained(module):
            return self.optimizer.state.get((i, name), ())
        return tuple(np.zeros_like(getattr(module, name)) for _ in self.optimizer.STATE)

    def run(self, order):
        """Make one pass over the samples at `order`; return the summed loss, each batch's before
        its update.
        """
        at, losses, eta = 0, [], None
        while at < len(order):
            if self.program is not None and eta is None:
                done, part, eta = self._compiled(order[at:])
            else:
                done, part = self._by_modules(order[at:], eta)
                eta = None
            at += done * self.batch_size
            losses.append(part)
        # most passes are one part, and NumPy's sum of one number takes as long as 400 tiny samples
        return losses[0] if len(losses) == 1 else float(_sums.pairwise(losses))

    def passes(self, rng, samples, most):
        """Make up to `most` passes over the samples without Python code between them, each in an
        order that rng draws, or in theirs; return their mean losses. [] if they must be made one by
        one.
        """
        program = self.program
        if (
            program is None
            or type(self.rate) is not float
            or self.unchecked
            or type(rng) not in (np.random.Generator, type(None))
        ):
            return []
        program.optimizer = self.optimizer
        try:
            return _core.fit_passes(
                program,
                _sparse.for_engine(self.X),
                self.Y,
                samples,
                rng,
                most,
                self.batch_size,
                self.rate,
                self.t,
                self.mean,
                self.weights,
            )
        finally:
            self.t += program.steps

    def _compiled(self, order):
        """Return (steps done, their summed loss, the next step's rate if already known)."""
        program, eta = self.program, None
        check, self.unchecked = self.unchecked, False
        program.optimizer = self.optimizer
        try:
            program.fit(
                _sparse.for_engine(self.X),
                self.Y,
                order,
                self.batch_size,
                watched(self.rate, self.unchanged),
                self.t,
                self.mean,
                check,
                self.weights,
            )
        except NetworkChanged as change:
            eta = (
                change.eta
                if change.eta is not None
                else _rates.at(self.rate, self.t + program.steps + 1)
            )
            self.renew()
        finally:
            self.t += program.steps
        return program.steps, program.total, eta

    def _by_modules(self, order, eta):
        """Run as Program.fit does until a program fits; eta is the first step's rate if already
        known.

        Return (steps done, their summed loss).
        """
        losses = []
        with session.defer_sigint() as between_steps:
            for at in range(0, len(order), self.batch_size):
                eta = (
                    _rates.at(self.rate, self.t + 1)
                    if eta is None
                    else _rates.checked(eta, self.t + 1)
                )
                if runs_python(self.rate):
                    self.renew()
                with _chain.in_training_mode(self.net):  # Python code may have called net.eval()
                    losses.append(self._step(order[at : at + self.batch_size], eta))
                eta = None
                between_steps()
                if self.program is not None:
                    break
        return len(losses), float(_sums.pairwise(losses))

    def _step(self, batch, eta):
        """Make one update; undo it if a value becomes non-finite. Return the batch's contribution
        to the summed loss.
        """
        from nncore import optimizers

        net, optimizer, t, count = self.net, self.optimizer, self.t + 1, self.optimizer.t
        weights = self._weights()  # collected each time: Python code has run
        own = [
            w
            for module in _chain.modules_of(net)
            if isinstance(module, modules.Linear) and optimizers.has_own_step(module)
            for w in (module.W, module.W0)
        ]
        changed = [
            *weights.values(),
            *own,
            *(a for arrays in optimizer.state.values() for a in arrays),
        ]
        before = session.ForwardState(net, changed)
        try:
            loss, gradient = logits.loss_and_gradient(
                net,
                _sparse.dense(self.X[:, batch]),
                self.Y[:, batch],
                None if self.weights is None else self.weights[batch],
            )
            if np.isfinite(loss):
                net.backward(_scaled(gradient, len(batch)) if self.mean else gradient)
                loss += self._penalty(weights) * (len(batch) if self.mean else 1)
                optimizer.t = count + 1
                self._update(weights, eta)
            if not np.isfinite(loss) or not all(np.isfinite(a).all() for a in before.arrays):
                raise FloatingPointError(
                    f"training diverged at step {t}: the loss or a weight is no longer finite; the "
                    f"weights are "
                    f"those after step {t - 1}; a smaller lrate may help"
                )
            self.t = t
        except BaseException:
            optimizer.t = count
            before.restore()
            raise
        return loss

    def _update(self, weights, eta):
        if self.plain:
            self.net.sgd_step(eta)
            return
        parts = _chain.modules_of(self.net)
        gradients = []
        for (i, name), W in weights.items():
            gradient = getattr(parts[i], parts[i].gradients[name])
            if self.l2 and name == "W":
                gradient = _penalised(gradient, self.l2, W)
            gradients.append(gradient)
        if self.clipping is not None:
            gradients = clips.clipped(gradients, self.clipping)
        for ((i, name), W), gradient in zip(weights.items(), gradients, strict=True):
            kernels = getattr(parts[i], "_kernels", logits.live_kernels())
            self.optimizer.step(kernels, (i, name), W, gradient, eta)

    @_checks.quiet
    def _penalty(self, weights):
        """Return l2 / 2 times the sum of the squares of every W."""
        if not self.l2:
            return 0.0
        squares = (
            np.square(W, dtype=np.float64).ravel()
            for (_, name), W in weights.items()
            if name == "W"
        )
        return self.l2 / 2 * float(sum(map(_sums.pairwise, squares)))


@_checks.quiet
def _scaled(gradient, count):
    return gradient / count


@_checks.quiet
def _penalised(gradient, l2, W):
    return gradient + np.asarray(l2, W.dtype) * W
