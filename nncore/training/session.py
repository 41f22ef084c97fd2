"""A training session: one at a time, in training mode, Ctrl-C between steps, undo after
a failure.
"""

import _signal  # type: ignore[import-not-found, unused-ignore]
import signal
import threading

from nncore import _chain, _core, _threads, modules

_training: dict[int, object] = {}


class exclusive_training:
    """Train in training mode; refuse a network that another thread, or a caller, is training.

    A class because its exit must allocate nothing: if memory runs out, the network would stay
    locked.
    """

    def __init__(self, net, has_modes=True):
        self.net, self.key, self.has_modes = net, id(net), has_modes

    def __enter__(self):
        claim(self.net, self)
        if not self.has_modes:
            return
        try:
            self.mode = _chain.in_training_mode(self.net)
            self.mode.__enter__()
        except BaseException:
            del _training[self.key]
            raise

    def __exit__(self, *exc_info):
        try:
            if self.has_modes:
                self.mode.__exit__()
        finally:
            _training.pop(self.key, None)


class Claim:
    """The training that holds a network, and the call that ends it, if it is longer than a call."""

    def __init__(self, holder, remedy):
        self.holder, self.remedy = holder, remedy


def claim(net, claimant):
    """Make the network count as training; RuntimeError if it does already."""
    holder = _training.setdefault(id(net), claimant)
    if holder is claimant:
        return
    if isinstance(holder, Claim):
        raise RuntimeError(
            f"the network must not be trained while {holder.holder} trains it; {holder.remedy}"
        )
    raise RuntimeError(
        "the network must not be trained by two calls at once, got a second one while the "
        "first is running"
    )


def release(net, claimant, end=_core.end_session):
    """End the training that the claimant has begun. Also as Python exits: no global is used."""
    end(id(net), claimant)


def is_training(net):
    """Return whether a call is training the network."""
    return id(net) in _training


def _forget():
    """Begin a new table in a forked child, which has none of the parent's other threads. On a
    free-threaded Python, one of them may own the lock of the old table for ever.
    """
    global _training
    _training = {}
    _core.set_sessions(_training)


_core.set_sessions(_training)
_threads.in_forked_children(_forget)


class defer_sigint:
    """Defer Ctrl-C until `between_steps()` is called, so that it never leaves a half-updated
    network.

    A class using `_signal` because its exit must allocate nothing: if memory runs out, Ctrl-C would
    have no effect.
    """

    def __enter__(self):
        self.pending, self.before = [], _signal.getsignal(signal.SIGINT)
        self.holds = threading.current_thread() is threading.main_thread() and callable(self.before)
        between_steps = self._between_steps
        if self.holds:
            _signal.signal(signal.SIGINT, self._hold)
        return between_steps

    def __exit__(self, *exc_info):
        if self.holds:
            _signal.signal(signal.SIGINT, self.before)
            self._between_steps()  # also after a failed step: no Ctrl-C is lost

    def _hold(self, *args):
        self.pending.append(args)

    def _between_steps(self):
        if self.pending:
            args = self.pending.pop()
            self.pending.clear()
            self.before(*args)


class ForwardState:
    """The state that a training forward changes before the step (running statistics, counts of
    Dropouts), to restore after a failure.
    """

    def __init__(self, net, arrays=()):
        parts = _chain.modules_of(net)
        statistics = [
            getattr(module, name)
            for module in parts
            for name in getattr(module, "statistics_arrays", ())
        ]
        self.counts = [
            (module, module.count) for module in parts if isinstance(module, modules.Dropout)
        ]
        self.arrays = [*statistics, *arrays]
        self.copies = _core.Copies(self.arrays)

    def restore(self):
        """Restore the state. Allocates nothing, so it works when memory has run out."""
        self.copies.put_back()
        at = len(self.counts)
        while at:  # `for` would allocate an iterator
            at -= 1
            module, count = self.counts[at]
            module.count = count
