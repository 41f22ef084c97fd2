"""A network run by hand, module by module, for comparison with its own methods."""

from types import SimpleNamespace

import numpy as np

from nncore.checking import roles
from nncore.checking.causes import same
from nncore.checking.steps import NAMES
from nncore.checking.trials import call, copied, seeded
from nncore.foreign.probe import arrays, untouched

__all__ = ["RATE", "ByHand", "agree", "changed"]

RATE = 0.0625


class ByHand:
    """A network with three samples, and its forward, backward and steps made by hand.

    chain: its modules; places: their names; movers: for each module the step that changes anything,
    or None; trained: the keys (index of the module, attribute) that the steps change.
    """

    def __init__(self, net, chain, places, loss, features, outputs):
        self.net, self.chain, self.places, self.loss = net, chain, places, loss
        labels = np.arange(3) % max(2, outputs)
        self.X = np.random.default_rng(5).normal(size=(features, 3))
        self.Y = np.eye(max(2, outputs))[:outputs, labels]
        if roles.name_of(loss) == "Hinge":
            self.Y = 2 * self.Y - 1
        self.movers = self.trained = None
        self.recordable = len({id(m) for m in chain}) == len(chain)

    def untouched(self):
        """Return a context in which all parts may be changed: they are restored on exit."""
        return untouched(self.net, self.loss, *self.chain)

    def forward(self, X):
        """Run the modules in order; return (outputs, Failure or None). `inputs` collects each one's
        input.
        """
        self.inputs, failure = [], None
        A = X.copy()
        for module in self.chain:
            self.inputs.append(copied(A))
            A, failure = call(module.forward, A)
            if failure:
                break
        return A, failure

    def forward_backward(self, X, Y):
        """Run the modules' forward and backward; return the first Failure, or None."""
        A, failure = self.forward(X)
        if failure:
            return failure
        _, failure = call(self.loss.forward, A, Y.copy())
        delta, other = call(self.loss.backward)
        for module in self.chain[::-1]:
            failure = failure or other
            if failure:
                return failure
            delta, failure = call(module.backward, delta)
        return failure

    def find_movers(self):
        """Set `movers` and `trained`; return the first Failure of modules or loss, or None."""
        with self.untouched():
            seeded()
            failure = self.forward_backward(self.X, self.Y)
            self.movers = [self._mover(module) for module in self.chain]
            before = self.arrays()
            self.step(RATE)
            self.trained = changed(before, self.arrays())
        return failure

    def _mover(self, module):
        """Return the name of the module's step that changes an array, or None."""
        for name in NAMES:
            if callable(getattr(module, name, None)):
                with untouched(module):
                    before = dict(arrays(module))
                    before = {k: v.copy() for k, v in before.items()}
                    call(getattr(module, name), RATE)
                    if changed(before, arrays(module)):
                        return name
        return None

    def step(self, rate):
        """Make every module's step; return the first Failure, or None."""
        for module, name in zip(self.chain, self.movers, strict=True):
            failure = call(getattr(module, name), rate)[1] if name else None
            if failure:
                return failure
        return None

    def arrays(self):
        """Return {(index of the module, attribute): copy} of all arrays that the modules keep."""
        return {
            (i, k): v.copy()
            for i, module in enumerate(self.chain)
            for k, v in arrays(module).items()
        }

    def weights(self):
        """Return copies of the arrays that a step changes."""
        return {key: v for key, v in self.arrays().items() if key in self.trained}

    def after(self, samples, rate=RATE):
        """Return the weights after one step per sample, given as (columns of X, columns of Y); None
        if a step fails.
        """
        with self.untouched():
            seeded()
            for i, j in samples:
                if self.forward_backward(self.X[:, i], self.Y[:, j]) or self.step(rate):
                    return None
            return self.weights()

    def record(self, stand_ins=None):
        """Return a list that grows with every call of a module or of the loss; use within
        `untouched`.

        An entry has `method`, `index` (of the module; None for the loss), `given` (copies of the
        arguments) and `result`. stand_ins: for each module, the value its backward returns instead
        of running. If a part accepts no attributes, or is used twice, the record is incomplete and
        `recordable` is False.
        """
        calls = []
        if len({id(m) for m in self.chain}) < len(self.chain):
            return calls
        for i, part in [*enumerate(self.chain), (None, self.loss)]:
            for name in ("forward", "backward", *NAMES):
                method = getattr(part, name, None)
                if callable(method):
                    result = (
                        stand_ins[i] if stand_ins and name == "backward" and i is not None else None
                    )
                    try:
                        setattr(part, name, _recorder(calls, name, i, method, result))
                    except AttributeError:
                        self.recordable = False
        return calls


def _recorder(calls, name, index, method, stand_in):
    """Wrap a method so that its calls are appended to `calls`."""

    def recorded(*given, **named):
        entry = SimpleNamespace(
            method=name,
            index=index,
            given=[copied(x) for x in (*given, *named.values())],
            result=None,
        )
        calls.append(entry)
        result = method(*given, **named) if stand_in is None else stand_in
        entry.result = copied(result)
        return result

    return recorded


def changed(before, after):
    """Return the keys of the arrays that have changed."""
    return {key for key, v in after.items() if key not in before or not same(v, before[key], 0)}


def agree(x, y):
    """Return whether two states of the weights are equal up to rounding."""
    return (
        x is not None
        and y is not None
        and x.keys() == y.keys()
        and all(same(x[key], y[key], 1e-7) for key in x)
    )
