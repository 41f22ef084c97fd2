"""Samples that `fit` holds out, evaluated in place in X."""

from nncore import _kinds
from nncore.training import predict


class HeldOut:
    """Samples of X and Y to validate on, in place of a pair of arrays.

    Of a share only the indices are kept: a copy of the samples of a memory-mapped X may not fit in
    memory. given: X and Y as the caller gave them, if the network prepares its data.
    """

    def __init__(self, X, Y, samples=None, given=None, weights=None):
        self.X, self.Y, self.samples = X, Y, samples
        self.given = (X, Y) if given is None else given
        self.weights = weights if weights is None or samples is None else weights[samples]

    def __iter__(self):
        """Yield X and Y, copies of a share, for an `evaluate` of the user's own."""
        X, Y = self.given
        every = self.samples is None
        yield X if every else X[:, self.samples]
        yield Y if every else Y[self.samples] if Y.ndim == 1 else Y[:, self.samples]


def evaluates_by_itself(net):
    """Return whether the network overrides evaluate."""
    return not _kinds.is_library_method(net, "evaluate")


def evaluated(net, validation):
    """Return the loss and the accuracy of validation data, a pair or HeldOut."""
    if isinstance(validation, HeldOut) and not evaluates_by_itself(net):
        return predict.evaluate(
            net, validation.X, validation.Y, validation.samples, validation.weights, prepared=True
        )
    weights = getattr(validation, "weights", None)
    return net.evaluate(*validation, **({} if weights is None else {"sample_weight": weights}))
