"""The cache of compiled programs, and the fingerprints that show whether one still fits its
network.

Setting up a program takes longer than many single steps, so `fit` and `partial_fit` keep theirs. A
`Fingerprint` holds only as long as the same objects are in place, with the same types, settings and
shapes. The program itself reads pointers and layouts of all arrays at the start of each run.
"""

import dataclasses
import operator
import weakref

from nncore import _chain, _core, _threads, modules, registry
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
        things = [(None, ("modules", "loss"))]
        of_loss = _loss_settings(self.loss)
        self.facts += [(self.loss, name, getattr(self.loss, name)) for name in of_loss]
        things += [(self.loss, of_loss)] if self.kinds[1] is not None else []
        things += [(owner, ("modules",)) for owner, _, _ in self.chains[1:]]
        things += [(module, _names(module)) for module in self.parts]
        library = None not in (self.kinds[0], *self.kinds[2:])
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


def _loss_settings(loss):
    """Return the attributes of a library loss that determine its computation."""
    record = registry.record_of(loss, registry.LOSSES)
    return () if record is None else record.settings


class OptimizerFingerprint(_core.Snapshot):
    """The settings and state of an optimizer."""

    def __init__(self, optimizer):
        self.rule, self.state = optimizer.rule(), list(optimizer.state.items())
        self.shapes = self._shapes()
        self.renew(optimizer)

    def renew(self, optimizer):
        """Take the snapshot of an optimizer that has these settings and this state."""
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
        """Return whether an optimizer has these settings and this state."""
        return (
            optimizer.rule() == self.rule
            and len(optimizer.state) == len(self.state)
            and all([optimizer.state.get(key) is arrays for key, arrays in self.state])
            and self._shapes() == self.shapes
        )

    def _shapes(self):
        return [(a.shape, a.dtype) for _, arrays in self.state for a in arrays]


class _WatchedSchedule:
    """A user's schedule, which returns the rates of many steps at once, watched likewise."""

    def __init__(self, rate, unchanged):
        self.rate, self.unchanged = rate, unchanged

    def __call__(self, t):
        return _core.WatchedRate(self.rate, NetworkChanged, None, None, self.unchanged)(t)

    def values(self, t0, count):
        etas = self.rate.values(t0, count)
        if not self.unchanged():
            raise NetworkChanged(None)
        return etas


def runs_python(rate):
    """Return whether a rate is a user's function or schedule, which may have side effects."""
    return callable(rate) and type(rate).__module__ != "nncore.schedules"


def watched(rate, unchanged=None, fingerprint=None, net=None):
    """Return the rate for a compiled loop: a user's function or schedule raises NetworkChanged if
    the network is no longer what the fingerprint has, or if `unchanged()` is false.
    """
    if not runs_python(rate):
        return rate
    if hasattr(rate, "values"):
        return _WatchedSchedule(rate, unchanged or (lambda: fingerprint.holds(net)))
    return _core.WatchedRate(rate, NetworkChanged, fingerprint, net, unchanged)


class EngineCache:
    """One entry per network, by identity, for as long as the network lives."""

    def __init__(self):
        self._forget()
        _threads.in_forked_children(self._forget)

    def _forget(self):
        """Begin empty, also in a forked child: another thread of the parent may have been using an
        entry, or own the lock that a dict has on a free-threaded Python.
        """
        self._entries = {}

    def get(self, net):
        """Return the entry of a network, or None."""
        found = self._entries.get(id(net))
        return None if found is None else found[1]

    def put(self, net, entry):
        """Keep an entry for the lifetime of the network."""
        key = id(net)
        self._entries[key] = (weakref.ref(net, lambda _: self._entries.pop(key, None)), entry)

    def drop(self, net):
        """Remove a network's entry."""
        self._entries.pop(id(net), None)


def is_keepable(net):
    """Return whether the network has plain layers only, first a Linear, so that a later call may
    rely on the checks of an earlier one.
    """
    return (
        bool(net.modules)
        and kind(net.modules[0]) is modules.Linear
        and all(
            kind(module) is modules.Linear or kind(module) in registry.ACTIVATIONS
            for module in net.modules
        )
    )


def ready(
    net, program, fingerprint, settings=None, optimizer=None, plain=True, l2=0.0, clipping=None
):
    """Return the record that a later call on a keepable network needs."""
    loss = registry.of_class(type(net.loss), registry.LOSSES)
    weights = fingerprint.weights
    return _core.Ready(
        program,
        fingerprint,
        settings,
        optimizer,
        None if optimizer is None else registry.name_of(optimizer),
        plain,
        l2,
        None if loss is None else loss.labels,
        (weights[0].shape[0], weights[-1].shape[0], weights[0].dtype),
        clipping,
    )
