"""net.learner: training from Python by single samples and small blocks."""

from typing import Self

import numpy as np

from nncore import _chain, _checks, _core, _rates, _sparse, modules, registry
from nncore._types import Array, ArrayLike, Learner, Samples
from nncore.training import clipping, fit, predict, preparation, session, validate
from nncore.training.updates import Updates, checked_penalty


def learner(net, lrate, optimizer, l2, clip_value=None, clip_norm=None) -> Learner:
    """Return a learner of the network; see Sequential.learner."""
    validate.check_network(net)
    token = session.Claim("a learner", "close it, or leave its `with` block, first")
    session.claim(net, token)  # first, as a training in another thread may set net.optimizer
    learn = None
    try:
        optimizer = fit.continued(net, optimizer)
        rate = _rates.step_size(optimizer.LRATE if lrate is None else lrate)
        clips = clipping.checked(clip_value, clip_norm)
        general = _General(net, optimizer, rate, checked_penalty(l2), clips, token)
        learn = _core.Learner(net, optimizer, rate, general)
        learn.open(token)
    except BaseException:
        if learn is not None:
            learn.close()  # without a token nothing
        session.release(net, token)
        raise
    return learn if net._preprocessing is None else PreparedLearner(learn)


class PreparedLearner:
    """A learner for a network with a scaling or with classes, which converts what it is given."""

    def __init__(self, learn):
        self._learn, self.net, self.optimizer = learn, learn.net, learn.optimizer

    def __call__(self, x: Samples, y: ArrayLike) -> float:
        return self._learn(*preparation.sample(self.net, x, y))

    def predict(self, x: Samples) -> Array:
        """Return the outputs for x (D,) or (D, K), in the units of the targets."""
        P = self._learn.predict(preparation.one_input(self.net, x))
        return preparation.outputs(self.net, P.reshape(len(P), -1)).reshape(P.shape)

    @property
    def closed(self) -> bool:
        """Whether the learner has ended."""
        return self._learn.closed

    def sync(self) -> None:
        """Make the network's arrays current."""
        self._learn.sync()

    def close(self) -> None:
        """End the training."""
        self._learn.close()

    def __enter__(self) -> Self:
        self._learn.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> bool | None:
        return self._learn.__exit__(*exc_info)

    def __repr__(self):
        return repr(self._learn)


class _General:
    """The part of a learner that runs in Python: checks, compilation, and every call other than one
    plain sample of a compiled network.
    """

    def __init__(self, net, optimizer, rate, l2, clips, token):
        self.net, self.optimizer, self.rate, self.l2 = net, optimizer, rate, l2
        self.clips, self.token = clips, None
        self.claim(token)

    def __del__(self, release=session.release):
        if self.token is not None:
            release(self.net, self.token)

    def claim(self, token):
        """Make the network count as training; RuntimeError if it is already."""
        session.claim(self.net, token)
        self.token = token

    def prepare(self):
        """Return (program of single samples or None, fingerprints of network and optimizer, kind of
        the labels).
        """
        validate.check_widths(validate.check_network(self.net))
        updates = self._updates(*_any_sample(self.net), self.rate)
        updates.unchecked = False
        updates.prepare()
        loss = registry.of_class(type(self.net.loss), registry.LOSSES)
        return (
            updates.program,
            updates.fingerprint,
            updates.settings,
            None if loss is None else loss.labels,
        )

    @staticmethod
    def plain(x, y):
        """Return one sample and its label as the compiled step reads them, for a sample of any
        type, byte order and alignment; None for a block.
        """
        if _sparse.is_sparse(x):
            return None
        y, x = _checks.real("y", y), _checks.real("x", x)
        return (_native(x), _native(y)) if x.ndim == 1 and y.ndim <= 1 else None

    def step(self, x, y, eta=None):
        """Make one step on a sample or a block of any kind; return its mean loss. eta: what the
        rate function has already given for it.
        """
        X, Y = _columns(x, y)
        rate = self.rate if eta is None else eta
        loss = fit.repeated(
            self.net,
            X,
            Y,
            X.shape[-1],
            rate,
            self.optimizer,
            self.l2,
            "mean",
            self.clips,
            self.token,
        )
        if loss is not None:
            return loss
        return fit.one_pass(self._updates(*fit.checked_data(self.net, X, Y), rate))

    def predict(self, x):
        """Return the outputs for a sample (D,) or a block (D, K)."""
        x = x if _sparse.is_sparse(x) else _checks.real("x", x)
        if x.ndim == 1:
            return predict.outputs(self.net, x[:, None])[:, 0]
        return predict.outputs(self.net, x)

    def _updates(self, X, Y, rate):
        size = max(X.shape[1], 1)
        updates = Updates(self.net, X, Y, size, rate, self.optimizer, self.l2, "mean", self.clips)
        updates.t = self.optimizer.t
        return updates

    @property
    def description(self):
        """The layer sizes and the type of the weights."""
        linears = [m for m in _chain.modules_of(self.net) if isinstance(m, modules.Linear)]
        if not linears:
            return repr(type(self.net).__name__)
        sizes = [np.shape(linears[0].W)[0], *(np.shape(m.W)[1] for m in linears)]
        return f"{'-'.join(map(str, sizes))}, {linears[0].W.dtype}"


def _native(a):
    """Return a copy in the processor's byte order; half-precision numbers as float32."""
    return np.array(a, np.float32 if a.dtype == np.float16 else a.dtype.newbyteorder("="))


def _columns(x, y):
    """Return a sample as a block of one column, with its label; a block as it is."""
    y = _checks.real("y", y)
    if _sparse.is_sparse(x):
        return x, y.reshape(1) if y.ndim == 0 else y
    x = _checks.real("x", x)
    if x.ndim != 1:
        return x, y
    if y.ndim == 0:
        y = y.reshape(1)
    elif y.ndim == 1:
        y = y[:, None]
    return x[:, None], y


def _any_sample(net):
    """Return zeros of the shapes of a sample and its label, for checks that need some."""
    linears = [m for m in _chain.modules_of(net) if isinstance(m, modules.Linear)]
    if not linears or any(np.ndim(m.W) != 2 for m in linears):
        return np.zeros((1, 1)), np.zeros((1, 1))
    return np.zeros((np.shape(linears[0].W)[0], 1)), np.zeros((np.shape(linears[-1].W)[1], 1))
