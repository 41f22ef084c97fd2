"""fit on blocks: an iterable of (X, Y), each of which is a part of data larger than memory."""

import re

import numpy as np

from nncore import _checks, _random, _rates, _sums
from nncore.training import clipping, course, labels, preparation, session, validate
from nncore.training import fit as passes
from nncore.training import weights as weighing
from nncore.training.progress import ProgressBar
from nncore.training.updates import Updates, checked_penalty


def fit(
    net,
    blocks,
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
    """Train on an iterable of (X, Y); see Sequential.fit."""
    if sample_weight is not None:
        raise ValueError(
            "sample_weight must be None if X is an iterable of blocks; give blocks "
            f"(X, Y, sample_weight), got {_checks.shown(sample_weight)}"
        )
    weighing.refuse_balanced(class_weight, "for blocks")
    if shuffle_window is not None:
        raise ValueError(
            "shuffle_window must be None if X is an iterable of blocks, which are shuffled one by "
            f"one, got {_checks.shown(shuffle_window)}"
        )
    epochs = _checks.count("epochs", epochs)
    iterator = _first_iterator(blocks, epochs)
    validate.check_network(net)
    optimizer = validate.as_optimizer(optimizer)
    optimizer.begin(net)
    clips = clipping.checked(clip_value, clip_norm)
    training = Training(net, batch_size, shuffle, lrate, optimizer, l2, seed, reduction, clips)
    training.class_weight = class_weight
    callbacks = course.checked_callbacks(callbacks)
    if validation is not None:
        validation = _checked_validation(net, validation)
    history = course.new_history(net, validation)
    run = course.Run(net, history, optimizer, callbacks, validation, training.reduce)
    with (
        training.session,
        course.started(run),
        ProgressBar(progress, epochs) as show,
    ):
        try:
            for epoch in range(epochs):
                where = f" in epoch {epoch + 1}" if epochs > 1 else ""
                history["loss"].append(training.epoch(iterator if epoch == 0 else blocks, where))
                if course.ends(net, history, validation, callbacks, show):
                    break
        finally:
            passes.forget_large(net)
        course.finish(net, history, callbacks)
    return history


def _first_iterator(blocks, epochs):
    """Return the iterator of the first epoch, from which nothing has been taken; raise unless there
    can be one for each epoch.
    """
    given = type(blocks).__name__
    is_data = hasattr(blocks, "__array__") or hasattr(blocks, "tocsr")
    if is_data or isinstance(blocks, (str, bytes, dict)):
        raise TypeError(f"Y must be given for X of type {given}; only blocks of (X, Y) go without")
    try:
        iterator = iter(blocks)
    except TypeError:
        raise TypeError(
            f"X must be an array, with Y, or an iterable of blocks (X, Y), got {given}"
        ) from None
    if epochs > 1 and iterator is blocks:
        raise ValueError(
            f"blocks must be iterable {epochs} times for epochs={epochs}, got {given}, which can "
            f"be read once; pass a list or an object whose __iter__ starts anew, or epochs=1"
        )
    return iterator


def _checked_validation(net, validation):
    if not isinstance(validation, (tuple, list)):
        raise ValueError(
            "validation must be a pair (X, Y) or None if X is an iterable of blocks, got "
            f"{_checks.shown(validation)}"
        )
    return passes.checked_pair(net, validation)


class Training:
    """The training of one call, block by block."""

    def __init__(self, net, batch_size, shuffle, lrate, optimizer, l2, seed, reduction, clips):
        self.net, self.shuffle = net, shuffle
        self.batch_size = _checks.count("batch_size", batch_size, 1, most=None)
        self.rate = _rates.step_size(optimizer.LRATE if lrate is None else lrate)
        l2 = checked_penalty(l2)
        _checks.choice("reduction", reduction, ("mean", "sum"))
        self.settings = (self.batch_size, lrate, optimizer, l2, reduction, clips)
        self.class_weight = None
        self.rng = _random.generator("seed", seed)
        self.session = session.exclusive_training(net)
        self.t = 0  # steps of this call

    def reduce(self, factor, least):
        """Multiply the rate of the steps to come by a factor, but not below `least`."""
        from nncore import schedules

        self.rate = schedules.reduced(self.rate, factor, least)
        size, _, *others = self.settings
        self.settings = (size, self.rate, *others)

    def epoch(self, blocks, where):
        """Train on each block; return the mean loss per sample. where: follows a block's position
        in error messages.
        """
        losses, samples = [], 0
        for block in blocks:
            try:
                if not isinstance(block, (tuple, list)) or len(block) not in (2, 3):
                    raise TypeError(
                        f"block must be a pair (X, Y), got {_shown(block)}; weights of samples "
                        "make it (X, Y, sample_weight)"
                    )
                first = self.t == 0
                loss, count = self.block(*block)
                if first:
                    labels.remember(self.net, block[1], anew=True)
            except (TypeError, ValueError) as error:
                _locate(error, f"blocks[{len(losses)}]{where}")
                raise
            del block  # before the next one is made
            losses.append(loss)
            samples += count
        if not samples:
            raise ValueError(f"X must yield at least one block (X, Y), got none{where}")
        return float(_sums.pairwise(losses)) / samples

    def block(self, X, Y, sample_weight=None):
        """Make one pass over a block; return the summed loss and the number of samples."""
        net, order = self.net, None
        if net._preprocessing is not None:
            X, Y = preparation.data(net, X, Y)
        weighted = sample_weight is not None or self.class_weight is not None
        if not weighted and type(X) is np.ndarray and X.ndim == 2 and X.shape[1]:
            count = X.shape[1]
            order = self._order(count)
            loss = passes.repeated(net, X, Y, *self.settings, self.session, order, self.t)
            if loss is not None:
                self.t += -(-count // self.batch_size)
                return loss, count
        X, Y = passes.checked_data(net, X, Y)
        order = self._order(X.shape[1]) if order is None else order
        updates = Updates(net, X, Y, *self.settings)
        updates.weights = weighing.of_samples(net, Y, sample_weight, self.class_weight)
        updates.t = self.t
        updates.check_rate(1, len(order))
        with passes.prepared(updates, self.rng):
            loss = updates.run(order)
        self.t = updates.t
        return loss, len(order)

    def _order(self, count):
        return self.rng.permutation(count) if self.shuffle else np.arange(count)


def _shown(block):
    kind = _checks.describe(block)
    return f"a {kind} of {len(block)}" if isinstance(block, (tuple, list)) else kind


def _locate(error, position):
    """Raise an error about a block's data once more, with the block's position."""
    text = str(error)
    subject = re.match("X and Y|X|Y|block|sample_weight", text)
    if type(error) not in (TypeError, ValueError) or subject is None:
        return
    rest = text[subject.end() :]
    name = position if subject[0] == "block" else f"{subject[0]} of {position}"
    raise type(error)(name + rest) from error
