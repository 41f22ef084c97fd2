"""The optimizers' state, under the names that scikit-learn's users know: `estimator._optimizer`.

Each has `states`, for each array of state that a weight has a list in the order coefs_ +
intercepts_. Both engines update these arrays in place.
"""

import copy
import math

import numpy as np

from nncore import optimizers, schedules
from nncore.kernels import numpy_kernels

ADAPTIVE_LEAST = 1e-6  # "adaptive" stops at this learning rate instead of dividing it by 5


class State:
    """Base: the learning rate, and the number of steps."""

    schedule = None  # an nncore schedule, which gives the rate of each step
    lr_schedule = "constant"
    power_t = 0.5
    plain_root = False  # whether Adam adds eps to the root of the uncorrected second moment
    t = 0

    def set_rate(self, learning_rate_init, learning_rate, power_t):
        """Start with a learning rate, and the way it changes."""
        self.learning_rate_init = learning_rate_init
        self.learning_rate = float(learning_rate_init)
        self.power_t = power_t
        if isinstance(learning_rate, schedules.Schedule):
            self.schedule = learning_rate
        else:
            self.lr_schedule = learning_rate

    @property
    def rate(self):
        """The step size of the engine's next steps: a number or a schedule."""
        return self.learning_rate if self.schedule is None else self.schedule

    def rates(self, samples, n, most):
        """The step sizes of the next `most` epochs of n samples, after `samples` samples in all,
        if none of them ends in `stop_or_slow`."""
        rates = np.full(most, self.rate, np.float64)
        if self.lr_schedule == "invscaling":
            for i in range(1, most):
                rates[i] = self._scaled(samples + i * n)
        return rates

    def _scaled(self, samples):
        return float(self.learning_rate_init) / (samples + 1) ** self.power_t

    @property
    def counter(self):
        """The object whose attribute `t` is the number of steps; the engine increases it."""
        return self

    def counted(self):
        """Set `learning_rate` after the engine has taken steps, and counted them."""
        if self.schedule is not None and self.t:
            self.learning_rate = self.schedule(self.t)

    def next_rate(self):
        """Count a step of NumPyEngine, and return its step size."""
        self.t += 1
        self.counted()
        return self.learning_rate

    def end_epoch(self, samples):
        """Set the learning rate of the next epoch, after `samples` samples in all."""
        if self.lr_schedule == "invscaling":
            self.learning_rate = self._scaled(samples)

    def stop_or_slow(self):
        """Return what to do when the score has not improved: words, and whether to stop."""
        if self.lr_schedule != "adaptive":
            return "Stopping.", True
        if self.learning_rate <= ADAPTIVE_LEAST:
            return "Learning rate too small. Stopping.", True
        self.learning_rate /= 5.0
        return f"Setting learning rate to {self.learning_rate:f}", False


class SGDState(State):
    """v ← m v − η g, then W ← W + v, or W ← W + m v − η g with Nesterov's momentum."""

    def __init__(self, params, learning_rate_init, lr_schedule, momentum, nesterov, power_t):
        self.set_rate(learning_rate_init, lr_schedule, power_t)
        self.momentum = momentum
        self.nesterov = nesterov
        self.velocities = [np.zeros_like(param) for param in params]

    @property
    def states(self):
        """The state's arrays."""
        return (self.velocities,)

    def rule(self):
        """(name, parameters) of the engine's rule."""
        return "nesterov_velocity" if self.nesterov else "velocity", {"beta1": self.momentum}

    def step(self, params, gradients):
        """One step along the gradients, in place."""
        rate = self.next_rate()
        for param, gradient, velocity in zip(params, gradients, self.velocities, strict=True):
            move = rate * gradient
            velocity *= self.momentum
            velocity -= move
            if self.nesterov:
                param += self.momentum * velocity - move
            else:
                param += velocity


class AdamState(State):
    """Adam, with epsilon added to the root of the uncorrected second moment."""

    plain_root = True

    def __init__(self, params, learning_rate_init, beta_1, beta_2, epsilon, lr_schedule="constant"):
        if not isinstance(lr_schedule, schedules.Schedule):
            lr_schedule = "constant"  # the others are sgd's
        self.set_rate(learning_rate_init, lr_schedule, 0.5)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.t = 0
        self.ms = [np.zeros_like(param) for param in params]
        self.vs = [np.zeros_like(param) for param in params]

    @property
    def states(self):
        """The state's arrays."""
        return self.ms, self.vs

    @property
    def rate(self):
        """The step size of the engine's next steps, without the bias corrections."""
        return self.learning_rate_init if self.schedule is None else self.schedule

    def counted(self):
        """Set `learning_rate` to that of the last step, with the bias corrections."""
        if self.t:
            rate = self.learning_rate_init if self.schedule is None else self.schedule(self.t)
            self.learning_rate = float(
                rate * math.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
            )

    def rule(self):
        """(name, parameters) of the engine's rule."""
        return "adam", {"beta1": self.beta_1, "beta2": self.beta_2, "eps": self.epsilon}

    def step(self, params, gradients):
        """One step along the gradients, in place."""
        rate = self.next_rate()
        for param, g, m, v in zip(params, gradients, self.ms, self.vs, strict=True):
            m *= self.beta_1
            m += (1 - self.beta_1) * g
            v *= self.beta_2
            v += (1 - self.beta_2) * g**2
            param += -rate * m / (np.sqrt(v) + self.epsilon)


class LibraryState(State):
    """One of nncore's optimizers."""

    def __init__(self, params, optimizer, learning_rate_init, lr_schedule, power_t):
        self.set_rate(learning_rate_init, lr_schedule, power_t)
        self.optimizer = copy.deepcopy(optimizer).reset()
        self.arrays = [[np.zeros_like(param) for param in params] for _ in optimizer.STATE]
        self.t = 0

    @property
    def states(self):
        """The state's arrays."""
        return tuple(self.arrays)

    def rule(self):
        """(name, parameters) of the engine's rule."""
        return self.optimizer.rule()

    def step(self, params, gradients):
        """One step along the gradients, in place."""
        rate, optimizer = self.next_rate(), self.optimizer
        optimizer.t = self.t
        for i, (param, gradient) in enumerate(zip(params, gradients, strict=True)):
            optimizer.state[i] = tuple(arrays[i] for arrays in self.arrays)
            optimizer.step(numpy_kernels, i, param, np.asarray(gradient, param.dtype), rate)
        optimizer.state.clear()


def new(estimator, params):
    """The state of an estimator's solver, at step 0."""
    self = estimator
    rates = self.learning_rate_init, self.learning_rate, self.power_t
    if self.solver == "sgd":
        return SGDState(params, *rates[:2], self.momentum, self.nesterovs_momentum, self.power_t)
    if self.solver == "adam":
        return AdamState(
            params, rates[0], self.beta_1, self.beta_2, self.epsilon, self.learning_rate
        )
    return LibraryState(params, _named(self), *rates)


def _named(self):
    """The optimizer that the parameter `solver` names."""
    solver = self.solver
    if not isinstance(solver, str):
        return solver
    if solver in ("momentum", "nesterov"):
        return getattr(optimizers, solver.capitalize())(self.momentum)
    if solver == "adamw":
        return optimizers.AdamW(beta1=self.beta_1, beta2=self.beta_2, eps=self.epsilon)
    if solver == "rmsprop":
        return optimizers.RMSprop(eps=self.epsilon)
    return optimizers.Adagrad(eps=self.epsilon)
