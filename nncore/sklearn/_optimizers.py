"""The optimizers' state, under the names that scikit-learn's users know: `estimator._optimizer`.

``arrays`` are the state's arrays in the order coefs_ + intercepts_; both engines update them in
place. The learning rate of ``sgd`` is part of the velocity: v ← m v − η g.
"""

import numpy as np

ADAPTIVE_LEAST = 1e-6  # "adaptive" stops at this learning rate instead of dividing it by 5


class SGDState:
    """W ← W + v with v ← m v − η g, or W ← W + m v − η g with Nesterov's momentum."""

    t = 0  # steps are not counted
    counter = None

    def __init__(self, params, learning_rate_init, lr_schedule, momentum, nesterov, power_t):
        self.learning_rate_init = learning_rate_init
        self.learning_rate = float(learning_rate_init)
        self.lr_schedule = lr_schedule
        self.momentum = momentum
        self.nesterov = nesterov
        self.power_t = power_t
        self.velocities = [np.zeros_like(param) for param in params]

    @property
    def states(self):
        """The state's arrays: one list per array of state that a weight has."""
        return (self.velocities,)

    @property
    def rate(self):
        """The step size of the engine's next steps."""
        return self.learning_rate

    def rule(self):
        """(name, parameters) of the engine's rule."""
        return "nesterov_velocity" if self.nesterov else "velocity", {"beta1": self.momentum}

    def count_steps(self, steps):
        """The engine has taken so many steps."""

    def step(self, params, gradients):
        """One step along the gradients, in place."""
        for param, gradient, velocity in zip(params, gradients, self.velocities, strict=True):
            move = self.learning_rate * gradient
            velocity *= self.momentum
            velocity -= move
            if self.nesterov:
                param += self.momentum * velocity - move
            else:
                param += velocity

    def end_epoch(self, samples):
        """Set the learning rate of the next epoch, after `samples` samples in all."""
        if self.lr_schedule == "invscaling":
            self.learning_rate = float(self.learning_rate_init) / (samples + 1) ** self.power_t

    def stop_or_slow(self):
        """Return what to do when the score has not improved: words, and whether to stop."""
        if self.lr_schedule != "adaptive":
            return "Stopping.", True
        if self.learning_rate <= ADAPTIVE_LEAST:
            return "Learning rate too small. Stopping.", True
        self.learning_rate /= 5.0
        return f"Setting learning rate to {self.learning_rate:f}", False


class AdamState:
    """Adam, with epsilon added to the root of the uncorrected second moment."""

    def __init__(self, params, learning_rate_init, beta_1, beta_2, epsilon):
        self.learning_rate_init = learning_rate_init
        self.learning_rate = float(learning_rate_init)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.t = 0
        self.ms = [np.zeros_like(param) for param in params]
        self.vs = [np.zeros_like(param) for param in params]

    @property
    def states(self):
        """The state's arrays: one list per array of state that a weight has."""
        return self.ms, self.vs

    @property
    def rate(self):
        """The step size of the engine's next steps, without the bias corrections."""
        return self.learning_rate_init

    @property
    def counter(self):
        """What has the number of steps as its `t`, which the engine counts up."""
        return self

    def rule(self):
        """(name, parameters) of the engine's rule."""
        return "adam", {"beta1": self.beta_1, "beta2": self.beta_2, "eps": self.epsilon}

    def count_steps(self, steps):
        """The engine has taken so many steps, and counted them: `learning_rate` is that of the last
        one, with the bias corrections."""
        if self.t:
            self.learning_rate = float(
                self.learning_rate_init
                * np.sqrt(1 - self.beta_2**self.t)
                / (1 - self.beta_1**self.t)
            )

    def step(self, params, gradients):
        """One step along the gradients, in place."""
        self.t += 1
        self.count_steps(1)
        for param, g, m, v in zip(params, gradients, self.ms, self.vs, strict=True):
            m *= self.beta_1
            m += (1 - self.beta_1) * g
            v *= self.beta_2
            v += (1 - self.beta_2) * g**2
            param += -self.learning_rate * m / (np.sqrt(v) + self.epsilon)

    def end_epoch(self, samples):
        """Nothing changes at the end of an epoch."""

    def stop_or_slow(self):
        """Return what to do when the score has not improved: words, and whether to stop."""
        return "Stopping.", True


def new(estimator, params):
    """The state of an estimator's solver, at step 0."""
    if estimator.solver == "sgd":
        return SGDState(
            params,
            estimator.learning_rate_init,
            estimator.learning_rate,
            estimator.momentum,
            estimator.nesterovs_momentum,
            estimator.power_t,
        )
    return AdamState(
        params,
        estimator.learning_rate_init,
        estimator.beta_1,
        estimator.beta_2,
        estimator.epsilon,
    )
