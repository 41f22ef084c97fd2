"""fit and partial_fit: training in batches for ordinary use."""

import contextlib

import numpy as np

from nncore import _chain, _checks, _core, _random, _sparse, registry
from nncore.training import clipping as clips
from nncore.training import (
    compile,
    course,
    held_out,
    labels,
    ordering,
    preparation,
    session,
    validate,
)
from nncore.training import weights as weighing
from nncore.training.cache import (
    EngineCache,
    is_keepable,
    ready,
)
from nncore.training.progress import ProgressBar
from nncore.training.updates import Updates


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
    given, (X, Y) = Y, checked_data(net, X, Y)
    weighing.refuse_balanced(class_weight, "in partial_fit")
    weights = weighing.of_samples(net, Y, sample_weight, class_weight)
    with session.exclusive_training(net):
        # In here, as another thread's first call may have given the network its optimizer.
        optimizer = continued(net, optimizer)
        updates = Updates(net, X, Y, batch_size, lrate, optimizer, l2, reduction, clipping)
        updates.weights, updates.t = weights, optimizer.t
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
    kept = _engine_cache.get(net)
    data = None if kept is None else kept.fit_data(net, X, Y)
    if data is not None:
        return data
    Y = labels.columns(net, Y, compact=True)
    return labels.not_negative(net, *validate.check_data(net, X, Y))


def one_pass(updates):
    """Make one pass over the data in their order; return the mean loss per sample."""
    count = updates.X.shape[1]
    updates.check_rate(1, count)
    with prepared(updates):
        return updates.run(np.arange(count)) / count


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
            if program.nbytes > most or not is_keepable(net):
                _engine_cache.drop(net)
            elif kept is None or kept.program is not program:
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
