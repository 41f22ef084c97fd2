"""fit and partial_fit: training in batches for ordinary use."""

import contextlib

import numpy as np

from nncore import _chain, _checks, _core, _random, _sparse, _sums, modules, registry, schedules
from nncore.training import clipping as clips
from nncore.training import (
    compile,
    course,
    held_out,
    labels,
    logits,
    ordering,
    preparation,
    session,
    validate,
)
from nncore.training import weights as weighing
from nncore.training.cache import (
    EngineCache,
    Fingerprint,
    NetworkChanged,
    OptimizerFingerprint,
    is_keepable,
    ready,
    runs_python,
    watched,
)
from nncore.training.progress import ProgressBar


def fit(
    net,
    X,
    Y,
    epochs,
    batch_size,
    shuffle,
    lrate,
    optimizer,
    l2,
    validation,
    callbacks,
    progress,
    seed,
    reduction,
    shuffle_window,
    sample_weight,
    class_weight,
    clip_value,
    clip_norm,
):
    """Train in mini-batches; see Sequential.fit."""

    raw = None
    if net._preprocessing is not None:
        raw = validate.check_inputs(_chain.modules_of(net), X), np.asarray(Y)
        X, Y = preparation.data(net, X, Y)
    given, (X, Y) = Y, checked_data(net, X, Y)
    optimizer = validate.as_optimizer(optimizer)
    epochs, updates = (
        _checks.count("epochs", epochs),
        Updates(
            net,
            X,
            Y,
            batch_size,
            lrate,
            optimizer,
            l2,
            reduction,
            clips.checked(clip_value, clip_norm),
        ),
    )
    window = ordering.checked_window(shuffle_window, shuffle)
    callbacks = course.checked_callbacks(callbacks)
    rng = _random.generator("seed", seed)
    if sample_weight is not None:
        sample_weight = weighing.checked(sample_weight, X.shape[1])
    samples, validation = _split(net, X, Y, validation, rng, sample_weight, raw)
    updates.weights = weighing.of_samples(net, Y, sample_weight, class_weight, samples)
    updates.check_rate(epochs, len(samples))
    history = course.new_history(net, validation)
    run = course.Run(net, history, optimizer, callbacks, validation, updates.reduce)
    with (
        session.exclusive_training(net),
        course.started(run),
        ProgressBar(progress, epochs) as show,
        prepared(updates, rng, FIT_KEPT_BYTES),
    ):
        losses = history["loss"]
        observed = bool(callbacks or validation is not None or progress)
        together = not observed and window is None
        while len(losses) < epochs:
            if losses and observed:
                updates.renew()
            if losses and together:
                more = updates.passes(rng if shuffle else None, samples, epochs - len(losses))
                together = bool(more)
                losses += more
                continue
            epoch_order = ordering.of_epoch(rng, samples, shuffle, window)
            losses.append(updates.run(epoch_order) / len(samples))
            if len(losses) == 1:
                labels.remember(net, given, anew=True)
            if course.ends(net, history, validation, callbacks, show):
                break
        course.finish(net, history, callbacks)
    return history


def partial_fit(
    net,
    X,
    Y,
    batch_size,
    lrate,
    optimizer,
    l2,
    reduction,
    sample_weight=None,
    class_weight=None,
    clip_value=None,
    clip_norm=None,
):
    """Make one pass in the given order; see Sequential.partial_fit."""

    clipping = clips.checked(clip_value, clip_norm)
    if net._preprocessing is not None:
        X, Y = preparation.data(net, X, Y)
    if sample_weight is None and class_weight is None:
        loss = repeated(net, X, Y, batch_size, lrate, optimizer, l2, reduction, clipping)
        if loss is not None:
            return loss
    optimizer = continued(net, optimizer)
    given, (X, Y) = Y, checked_data(net, X, Y)
    updates = Updates(net, X, Y, batch_size, lrate, optimizer, l2, reduction, clipping)
    weighing.refuse_balanced(class_weight, "in partial_fit")
    updates.weights = weighing.of_samples(net, Y, sample_weight, class_weight)
    updates.t = optimizer.t
    with session.exclusive_training(net):
        loss = one_pass(updates)
        labels.remember(net, given)
        return loss


def repeated(
    net,
    X,
    Y,
    batch_size,
    lrate,
    optimizer,
    l2,
    reduction,
    clipping=None,
    claimant=None,
    order=None,
    t0=None,
):
    """Make the pass by the program of an earlier call, in a few microseconds; None if there is none
    that fits, or anything must be checked in full. order, t0: as of Ready.partial_fit.
    """
    kept = _engine_cache.get(net)
    if kept is None:
        return None
    return kept.partial_fit(
        net, X, Y, batch_size, lrate, optimizer, l2, reduction, clipping, claimant, order, t0
    )


def continued(net, optimizer):
    """Return the optimizer of a call that continues the network's: also for its name, and for
    None.
    """
    before = net.optimizer
    if (
        optimizer is None
        or isinstance(optimizer, str)
        and optimizer.lower() in registry.OPTIMIZERS
        and type(before) is registry.OPTIMIZERS[optimizer.lower()].cls
    ):
        optimizer = before
    return validate.as_optimizer(optimizer)


def checked_data(net, X, Y):
    """Return X and Y as arrays that the network trains on; TypeError or ValueError otherwise."""
    Y = labels.columns(net, Y, compact=True)
    return labels.not_negative(net, *validate.check_data(net, X, Y))


def one_pass(updates):
    """Make one pass over the data in their order; return the mean loss per sample."""
    count = updates.X.shape[1]
    updates.check_rate(1, count)
    with prepared(updates):
        return updates.run(np.arange(count)) / count


def checked_penalty(l2):
    """Return l2 as a float of at least 0."""
    value = _checks.number("l2", l2)
    if not 0 <= value < np.inf:
        raise ValueError(f"l2 must be finite and at least 0, got {l2}")
    return value


@contextlib.contextmanager
def prepared(updates, rng=None, most=np.inf):
    """Prepare the updates with the network's cached program if it fits, else with a new one.

    On exit the program is cached for the next call, unless it takes more than `most` bytes. If the
    data are refused, net.optimizer and the optimizer's state are those before.
    """
    net, optimizer = updates.net, updates.optimizer
    before, t, keys = net.optimizer, optimizer.t, set(optimizer.state)
    kept = _engine_cache.get(net)
    if kept is not None and _serves(kept, updates):
        updates.take(kept)
    else:
        updates.prepare(rng)
    try:
        yield
    except ValueError:
        if optimizer.t == t:
            net.optimizer = before
            for key in optimizer.state.keys() - keys:
                del optimizer.state[key]
        raise
    finally:
        program = updates.program
        if program is None:
            _engine_cache.drop(net)
        else:
            program.forget()
            if program.nbytes <= most and is_keepable(net):
                if kept is None or kept.program is not program:
                    _engine_cache.put(
                        net,
                        ready(
                            net,
                            program,
                            updates.fingerprint,
                            updates.settings,
                            updates.optimizer,
                            updates.plain,
                            updates.l2,
                            updates.clipping,
                        ),
                    )
            else:
                _engine_cache.drop(net)


def forget_large(net):
    """Drop the program of a network that `fit` would not have kept."""
    kept = _engine_cache.get(net)
    if kept is not None and kept.program.nbytes > FIT_KEPT_BYTES:
        _engine_cache.drop(net)


def _serves(kept, updates):
    """Return whether a kept program fits a call's network, data and optimizer."""
    net, optimizer = updates.net, updates.optimizer
    return (
        (optimizer is kept.optimizer or kept.plain and updates.plain)
        and updates.l2 == kept.l2
        and updates.clipping == kept.clipping
        and kept.fingerprint.holds(net)
        and kept.settings.holds(optimizer)
        and compile.is_compiled(net)
        and all(
            kept.fingerprint.is_disjoint(_sparse.memory(data))
            for data in (updates.X, updates.Y)
            if isinstance(data, (np.ndarray, _sparse.Columns))  # class numbers are copies
        )
    )


_engine_cache = EngineCache()
FIT_KEPT_BYTES = _core.TUNING["FIT_KEPT_BYTES"]


OF_VALIDATION = " of validation"  # follows X and Y in error messages


def checked_pair(net, validation, of=OF_VALIDATION):
    """Return X and Y to validate on, of a tuple or a list; HeldOut if the network prepares its
    data. of: follows X and Y in messages.
    """
    if len(validation) != 2:
        raise ValueError(
            f"validation must be a pair (X, Y) or a fraction of the samples, got "
            f"{len(validation)} values"
        )
    X, Y = validation
    if net._preprocessing is not None:
        X, Y = preparation.data(net, X, Y, of)
    Y = labels.columns(net, Y, of, compact=True)
    pair = validate.check_data(net, X, Y, of)
    for name, x in zip(("X", "Y"), pair, strict=True):
        _sparse.check_finite(name + of, x)
    if net._preprocessing is not None:
        return held_out.HeldOut(*pair, given=tuple(validation))
    return pair


def _split(net, X, Y, validation, rng, sample_weight, given):
    """Return (positions of the training samples, pair of validation arrays, HeldOut or None).
    given: X and Y as the caller gave them, if the network prepares its data.
    """
    n = X.shape[1]
    if validation is None:
        return np.arange(n), None
    if isinstance(validation, (tuple, list)):
        return np.arange(n), checked_pair(net, validation)
    share = _checks.number("validation", validation)
    held = round(share * n) if 0 < share < 1 else 0
    if not 0 < held < n:
        raise ValueError(
            f"validation must be a fraction that leaves samples to train and to validate on, got "
            f"{validation} of {n} samples"
        )
    order = rng.permutation(n)
    return np.sort(order[held:]), held_out.HeldOut(X, Y, order[:held], given, sample_weight)


class Updates:
    """The updates of one call: compiled if possible, else module by module."""

    def __init__(self, net, X, Y, batch_size, lrate, optimizer, l2, reduction, clipping=None):
        from nncore import optimizers

        self.net, self.X, self.Y, self.optimizer = net, X, Y, optimizer
        self.batch_size = min(_checks.count("batch_size", batch_size, 1, most=None), X.shape[1])
        self.rate = schedules.step_size(optimizer.LRATE if lrate is None else lrate)
        self.l2 = checked_penalty(l2)
        self.mean = _checks.choice("reduction", reduction, ("mean", "sum")) == "mean"
        self.clipping = clipping
        self.plain = type(optimizer) is optimizers.SGD and self.l2 == 0 and clipping is None
        self.t, self.rng, self.unchecked = 0, None, True
        self.weights = None  # of the samples of X, float64

    def check_rate(self, epochs, samples):
        """Refuse a library schedule with an invalid step size within these epochs."""
        schedules.step_size(self.rate, self.t + 1, epochs * -(-samples // self.batch_size))

    def reduce(self, factor, least):
        """Multiply the rate of the steps to come by a factor, but not below `least`."""
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
        seen = callable(self.rate) and not isinstance(self.rate, schedules.Schedule)
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
                else schedules.at(self.rate, self.t + program.steps + 1)
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
                    schedules.at(self.rate, self.t + 1)
                    if eta is None
                    else schedules.checked(eta, self.t + 1)
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
