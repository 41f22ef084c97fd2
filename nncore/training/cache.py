"""What a compiled program was made from, and the programs that wait for a network's next call.

Setting a program up takes longer than many a step, so `fit` and `partial_fit` leave theirs behind.
Nothing is taken on trust: a `Fingerprint` holds only while the very objects, their types, settings
and shapes are there still, and the program itself reads pointers and layouts of all arrays at the
start of each run.
"""

import operator
import os
import weakref

from nncore import _chain, _core, registry
from nncore._kinds import kind


class Changed(Exception):
    """Raised out of a compiled loop by a rate function that has changed what the program was made
    from; eta is the rate it gave."""

    def __init__(self, eta):
        super().__init__("the network has changed")
        self.eta = eta


class Fingerprint:
    """The modules, settings, loss and weights of a network, to see whether Python code has put
    others in their place.

    It does not hold the network itself, so that a cache keyed by networks does not keep them alive.
    """

    def __init__(self, net):
        self.loss = net.loss
        self.chains = [(None, net.modules, list(net.modules))]
        self.chains += [
            (m, m.modules, list(m.modules))
            for m in _chain.every_module(net)
            if isinstance(getattr(m, "modules", None), (list, tuple))
        ]
        self.parts = _chain.modules_of(net)
        self.kinds = [kind(net), kind(net.loss), *map(kind, self.parts)]
        self.facts = [
            (module, name, getattr(module, name))
            for module in self.parts
            for name in _names(module)
        ]
        self.weights = [value for module, name, value in self.facts if name in ("W", "W0")]
        self.shapes = [(a.shape, a.strides, a.dtype, a.flags.writeable) for a in self.weights]

    def holds(self, net):
        """Whether all of it is there still, the very objects."""
        for owner, chain, parts in self.chains:
            now = (net if owner is None else owner).modules
            if (
                now is not chain
                or len(chain) != len(parts)
                or not all(map(operator.is_, chain, parts))
            ):
                return False
        return (
            net.loss is self.loss
            and [kind(net), kind(net.loss), *map(kind, self.parts)] == self.kinds
            and all([getattr(module, name, None) is value for module, name, value in self.facts])
            and [(a.shape, a.strides, a.dtype, a.flags.writeable) for a in self.weights]
            == self.shapes
        )

    def is_disjoint(self, data):
        """Whether data share no byte with the weights."""
        low, high = _core.byte_bounds(data)
        return all(
            high <= first or last <= low for first, last in map(_core.byte_bounds, self.weights)
        )


def _names(module):
    """The attributes of a library module that decide how it computes."""
    record = registry.record_of(module, registry.MODULES)
    if record is None:
        return ()
    statistics = getattr(module, "statistics_arrays", ())
    return (*record.cls.gradients, *record.constants, *statistics)


class OptimizerFingerprint:
    """An optimizer's settings and state, likewise."""

    def __init__(self, optimizer):
        self.rule, self.state = optimizer.rule(), list(optimizer.state.items())
        self.shapes = self._shapes()

    def holds(self, optimizer):
        """Whether an optimizer has these settings and this very state."""
        return (
            optimizer.rule() == self.rule
            and len(optimizer.state) == len(self.state)
            and all([optimizer.state.get(key) is arrays for key, arrays in self.state])
            and self._shapes() == self.shapes
        )

    def _shapes(self):
        return [(a.shape, a.dtype) for _, arrays in self.state for a in arrays]


class _Watched:
    """A user's rate function that raises Changed, with the rate, once a program's fingerprint does
    not hold any more."""

    def __init__(self, rate, unchanged):
        self.rate, self.unchanged = rate, unchanged

    def __call__(self, t):
        eta = self.rate(t)
        if not self.unchanged():
            raise Changed(eta)
        return eta


class _WatchedSchedule(_Watched):
    """The same for a user's schedule, which gives the rates of many steps at once."""

    def values(self, t0, count):
        etas = self.rate.values(t0, count)
        if not self.unchanged():
            raise Changed(None)
        return etas


def runs_python(rate):
    """Whether a rate is a function or a schedule of the user's, which may do more than give a
    number."""
    return callable(rate) and type(rate).__module__ != "nncore.schedules"


def watched(rate, unchanged):
    """rate for a compiled loop: a function or schedule of the user's raises Changed where
    `unchanged()` is no longer true."""
    if not runs_python(rate):
        return rate
    return (_WatchedSchedule if hasattr(rate, "values") else _Watched)(rate, unchanged)


class EngineCache:
    """One entry per network, by identity, for as long as the network lives."""

    def __init__(self):
        self._entries = {}
        # a training of the parent's may have been in the middle of one
        os.register_at_fork(after_in_child=self._entries.clear)

    def get(self, net):
        """The entry of a network, or None."""
        found = self._entries.get(id(net))
        return None if found is None else found[1]

    def put(self, net, entry):
        """Keep an entry until the network goes."""
        key, entries = id(net), self._entries
        entries[key] = (weakref.ref(net, lambda _: entries.pop(key, None)), entry)

    def drop(self, net):
        """Forget a network's entry."""
        self._entries.pop(id(net), None)
