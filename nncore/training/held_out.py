"""Samples that `fit` holds out, evaluated in place in X."""

from nncore import _kinds
from nncore.training import predict


class HeldOut:
    """A share of the samples of X and Y to validate on, in place of a pair of arrays.

    Only the indices are kept: a copy of the samples of a memory-mapped X may not fit in memory.
    """

    def __init__(self, X, Y, samples):
        self.X, self.Y, self.samples = X, Y, samples

    def __iter__(self):
        """Yield copies of X and Y, for an `evaluate` of the user's own."""
        yield self.X[:, self.samples]
        yield self.Y[:, self.samples]


def evaluates_by_itself(net):
    """Return whether the network overrides evaluate."""
    return not _kinds.is_library_method(net, "evaluate")


def evaluated(net, validation):
    """Return the loss and the accuracy of validation data, a pair or HeldOut."""
    if isinstance(validation, HeldOut) and not evaluates_by_itself(net):
        return predict.evaluate(net, validation.X, validation.Y, validation.samples)
    return net.evaluate(*validation)
