"""Mini-batch gradient descent as the course defines it."""

import numpy as np

from nncore import _checks, _rates, _sparse
from nncore.training import compile, labels, predict, preparation, session, sgd, validate
from nncore.training.cache import NetworkChanged


def mini_gd(net, X, Y, iters, lrate, notif_each, K):
    """Train by mini-batch gradient descent as the course defines it; see Sequential.mini_gd."""
    if net._preprocessing is not None:
        X, Y = preparation.data(net, X, Y)
    given, (X, Y) = Y, validate.check_data(net, X, labels.columns(net, Y))
    n = X.shape[1]
    iters, K = _checks.count("iters", iters), _checks.count("K", K, 1)
    rate = _rates.step_size(lrate, 1, iters)
    every = _checks.count("notif_each", notif_each or 0)
    if K > n:
        raise ValueError(
            f"K must be at most the number of samples, {n}, to fill one batch, got {K}"
        )
    with session.exclusive_training(net):
        validate.prepare_weights(net)
        labels.remember(net, given)
        np.random.seed(0)
        _Loop(net, X, Y, iters, rate, every, K).run()


class _Loop:
    """The updates of one call of mini_gd. The last one, and those with a report, run module by
    module: their attributes remain.
    """

    def __init__(self, net, X, Y, iters, rate, every, K):
        self.net, self.X, self.Y, self.iters, self.rate, self.every, self.K = (
            net,
            X,
            Y,
            iters,
            rate,
            every,
            K,
        )
        self.compiled = sgd.Compiled(net, X, Y, rate, iters > compile.MIN_COMPILED_STEPS)
        self.t, self.warned = 0, False

    def run(self):
        n = self.X.shape[1]
        indices, order = np.arange(n), np.arange(n)
        while self.t < self.iters:
            np.random.shuffle(indices)
            # equivalent to permuting X and Y each time, without copying them
            order = order[indices]
            self._epoch(order[: n // self.K * self.K])

    def _epoch(self, order):
        at = 0
        while at < len(order) and self.t < self.iters:
            ahead = min((len(order) - at) // self.K, self._unobserved())
            eta = None
            if self.compiled.program is not None and ahead:
                done, eta = self._compiled(order[at : at + ahead * self.K])
                at += done * self.K
                if done == ahead:
                    continue
            self._by_modules(order[at : at + self.K], eta)
            at += self.K

    def _unobserved(self):
        """Return the number of updates before the next one whose loss or attributes are visible."""
        last = self.iters - 1
        return (
            min(last, self.t + self.every - 1 - self.t % self.every if self.every else last)
            - self.t
        )

    def _compiled(self, order):
        """Return (updates done by the program, the next one's rate if already known).

        After a non-finite update the modules continue from there, as the course's would.
        """
        program, eta = self.compiled.program, None
        try:
            X = _sparse.for_engine(self.X)
            program.fit(X, self.Y, order, self.K, self.compiled.rate, self.t, False)
        except FloatingPointError:
            self.compiled.program = None
        except NetworkChanged as change:
            eta = change.eta
            self.compiled.renew()
        self.t += program.steps
        return program.steps, eta

    def _by_modules(self, batch, eta):
        net, t = self.net, self.t + 1
        X, Y = _sparse.dense(self.X[:, batch]), self.Y[:, batch]
        eta = _rates.at(self.rate, t) if eta is None else _rates.checked(eta, t)
        with session.defer_sigint():
            loss, finite = sgd.course_step(net, X, Y, eta)
        self.t = t
        if not finite and not self.warned:
            self.warned = True
            sgd.warn_not_finite(t, stacklevel=8)
        if self.every and t % self.every == 0:
            self._report(loss)

    def _report(self, loss):
        score = predict.progress_score(self.net, predict.outputs(self.net, self.X), self.Y)
        print("Iteration =", self.t, *score, "\tLoss =", loss, flush=True)
