"""What a training changes, copied and restored."""

import numpy as np

from nncore import _chain, modules


class Start:
    """The weights, optimiser, and the Dropouts' keys and counts before a training."""

    def __init__(self, net, optimizer):
        self.net, self.optimizer, self.of_net, self.t = net, optimizer, net.optimizer, optimizer.t
        self.weights = copies(net)
        self.state = {
            key: tuple(array.copy() for array in arrays) for key, arrays in optimizer.state.items()
        }
        self.dropouts = [
            (m, m.key, m.count) for m in _chain.every_module(net) if isinstance(m, modules.Dropout)
        ]

    def restore(self):
        """Put everything back as it was."""
        restore(self.weights)
        self.net.optimizer, self.optimizer.t = self.of_net, self.t
        for key in set(self.optimizer.state) - set(self.state):
            del self.optimizer.state[key]
        for key, arrays in self.state.items():
            for array, before in zip(self.optimizer.state[key], arrays, strict=True):
                array[...] = before
        for module, key, count in self.dropouts:
            module.key, module.count = key, count


def copies(net):
    """Return [(module, name, copy of the array)] of everything that training changes.

    These are the weights that a module names by its gradients, and the state it names. A module
    that names neither may train any of its arrays by its own step, so all are copied.
    """
    copied = []
    for module in _chain.every_module(net):
        names = (*getattr(module, "gradients", ()), *getattr(module, "statistics_arrays", ()))
        if not names and not type(module).__module__.startswith("nncore."):
            names = [
                name
                for name, value in getattr(module, "__dict__", {}).items()
                if isinstance(value, np.ndarray)
            ]
        copied += ((module, name, np.array(getattr(module, name))) for name in names)
    return copied


def restore(copied):
    """Write copies back into the arrays they were taken of."""
    for module, name, before in copied:
        array = getattr(module, name)
        if isinstance(array, np.ndarray) and array.shape == before.shape:
            np.copyto(array, before, casting="unsafe")
        else:
            setattr(module, name, before)
