"""Training in batches: mini_gd as the course defines it."""

import numpy as np

from nncore import _checks, schedules, training


def mini_gd(net, X, Y, iters, lrate, notif_each, K):
    """Mini-batch gradient descent as the course defines it; see Sequential.mini_gd."""
    X, Y = training.check_data(net, X, Y)
    n = X.shape[1]
    iters, rate, K = _checks.count("iters", iters), schedules.step_size(lrate), _checks.count("K", K, 1)
    every = _checks.count("notif_each", notif_each or 0)
    if K > n:
        raise ValueError(f"K must be at most the number of samples, {n}, to fill one batch, got {K}")
    with training.alone(net):
        training.prepare_weights(net)
        np.random.seed(0)
        _Loop(net, X, Y, iters, rate, every, K).run()


class _Loop:
    """The updates of one call of mini_gd. The last one, and those that are told of, run module by module: their attributes stay."""

    def __init__(self, net, X, Y, iters, rate, every, K):
        self.net, self.X, self.Y, self.iters, self.rate, self.every, self.K = net, X, Y, iters, rate, every, K
        self.program = training.as_program(net, (X, Y), True) if iters > training.FEW else None
        self.t, self.warned = 0, False

    def run(self):
        n = self.X.shape[1]
        indices, order = np.arange(n), np.arange(n)
        while self.t < self.iters:
            np.random.shuffle(indices)
            order = order[indices]  # what permuting X and Y anew each time comes to, without copies of them
            self._epoch(order[:n // self.K * self.K])

    def _epoch(self, order):
        at = 0
        while at < len(order) and self.t < self.iters:
            ahead = min((len(order) - at) // self.K, self._unseen())
            if self.program is not None and ahead:
                at += self._compiled(order[at:at + ahead * self.K]) * self.K
            else:
                self._by_modules(order[at:at + self.K])
                at += self.K

    def _unseen(self):
        """Updates before the next one whose loss or attributes somebody sees."""
        last = self.iters - 1
        return min(last, self.t + self.every - 1 - self.t % self.every if self.every else last) - self.t

    def _compiled(self, order):
        """How many updates the program has done; where one is not finite, the modules go on from there, as the course's would."""
        try:
            self.program.fit(self.X, self.Y, order, self.K, self.rate, self.t, False)
        except FloatingPointError:
            done, self.program = self.program.steps, None
        else:
            done = self.program.steps
        self.t += done
        return done

    def _by_modules(self, batch):
        net, t = self.net, self.t + 1
        X, Y = self.X[:, batch], self.Y[:, batch]
        eta = self.rate(t) if callable(self.rate) else self.rate
        with training.whole_steps():
            loss, finite = training.course_step(net, X, Y, eta)
        self.t = t
        if not finite and not self.warned:
            self.warned = True
            training.warn_not_finite(t, stacklevel=7)
        if self.every and t % self.every == 0:
            self._tell(loss)

    def _tell(self, loss):
        class_fun = training.class_fun(self.net)
        accuracy = np.mean(class_fun(training.outputs(self.net, self.X)) == class_fun(self.Y))
        print("Iteration =", self.t, "\tAcc =", accuracy, "\tLoss =", loss, flush=True)
