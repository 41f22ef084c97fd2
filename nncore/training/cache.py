"""The cache of compiled programs, and the fingerprints that show whether one still fits its
network.

Setting up a program takes longer than many single steps, so `fit` and `partial_fit` keep theirs. A
`Fingerprint` holds only as long as the same objects are in place, with the same types, settings and
shapes. The program itself reads pointers and layouts of all arrays at the start of each run.
"""

import dataclasses
import operator
import os
import weakref

from nncore import _chain, _core, registry
from nncore._kinds import kind


class NetworkChanged(Exception):
    """Raised out of a compiled loop by a rate function that has changed the network; eta is the
    rate it returned.
    """

    def __init__(self, eta):
        super().__init__("the network has changed")
        self.eta = eta


class Fingerprint(_core.Snapshot):
    """The modules, settings, loss and weights of a network, to detect that Python code has replaced
    any.

    It does not hold the network itself, so that a cache keyed by networks does not keep them alive.
    `holds(net)` compares object by object; `compare(net)` is the full comparison that it falls back
    on.
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
        things = [(None, ("modules", "loss")), (self.loss, ())]
        things += [(owner, ("modules",)) for owner, _, _ in self.chains[1:]]
        things += [(module, _names(module)) for module in self.parts]
        library = None not in self.kinds and len(self.chains) == 1
        self.watch(net, things, [chain for _, chain, _ in self.chains], self.weights, library)

    def compare(self, net):
        """Return whether all objects are still in place."""
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


def _names(module):
    """Return the attributes of a library module that determine its computation."""
    record = registry.record_of(module, registry.MODULES)
    if record is None:
        return ()
    statistics = getattr(module, "statistics_arrays", ())
    return (*record.cls.gradients, *record.constants, *statistics)


class OptimizerFingerprint(_core.Snapshot):
    """The settings and state of an optimiser."""

    def __init__(self, optimizer):
        self.rule, self.state = optimizer.rule(), list(optimizer.state.items())
        self.shapes = self._shapes()
        self.renew(optimizer)

    def renew(self, optimizer):
        """Take the snapshot of an optimiser that has these settings and this state."""
        names = tuple(field.name for field in dataclasses.fields(optimizer))
        arrays = [a for _, arrays in self.state for a in arrays]
        self.watch(
            optimizer,
            [(None, (*names, "state")), (optimizer.state, None)],
            [],
            arrays,
            type(optimizer).__module__ == "nncore.optimizers"
            and type(optimizer.state) is dict
            and all(type(getattr(optimizer, name)) in (int, float) for name in names)
            and all(a.ndim <= 2 for a in arrays),
        )

    def compare(self, optimizer):
        """Return whether an optimiser has these settings and this state."""
        return (
            optimizer.rule() == self.rule
            and len(optimizer.state) == len(self.state)
            and all([optimizer.state.get(key) is arrays for key, arrays in self.state])
            and self._shapes() == self.shapes
        )

    def _shapes(self):
        return [(a.shape, a.dtype) for _, arrays in self.state for a in arrays]


class _Watched:
    """A user's rate function that raises NetworkChanged, with the rate, if the fingerprint no
    longer holds.
    """

    def __init__(self, rate, unchanged):
        self.rate, self.unchanged = rate, unchanged

    def __call__(self, t):
        eta = self.rate(t)
        if not self.unchanged():
            raise NetworkChanged(eta)
        return eta


class _WatchedSchedule(_Watched):
    """The same for a user's schedule, which returns the rates of many steps at once."""

    def values(self, t0, count):
        etas = self.rate.values(t0, count)
        if not self.unchanged():
            raise NetworkChanged(None)
        return etas


def runs_python(rate):
    """Return whether a rate is a user's function or schedule, which may have side effects."""
    return callable(rate) and type(rate).__module__ != "nncore.schedules"


def watched(rate, unchanged):
    """Return the rate for a compiled loop: a user's function or schedule raises NetworkChanged if
    `unchanged()` is false.
    """
    if not runs_python(rate):
        return rate
    return (_WatchedSchedule if hasattr(rate, "values") else _Watched)(rate, unchanged)


class EngineCache:
    """One entry per network, by identity, for as long as the network lives."""

    def __init__(self):
        self._entries = {}
        # a training of the parent may have been using an entry
        os.register_at_fork(after_in_child=self._entries.clear)

    def get(self, net):
        """Return the entry of a network, or None."""
        found = self._entries.get(id(net))
        return None if found is None else found[1]

    def put(self, net, entry):
        """Keep an entry for the lifetime of the network."""
        key, entries = id(net), self._entries
        entries[key] = (weakref.ref(net, lambda _: entries.pop(key, None)), entry)

    def drop(self, net):
        """Remove a network's entry."""
        self._entries.pop(id(net), None)
