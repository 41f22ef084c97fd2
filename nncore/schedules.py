"""Learning-rate schedules: step sizes η(t) as functions of the step t = 1, 2, 3, ...

Any callable works as a schedule. These are evaluated for a block of steps at a time, so the
compiled loop does not return to Python for them.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from nncore import _checks, _names
from nncore._rates import Schedule, check_rate

__all__ = ["Constant", "Cosine", "InverseTime", "Power", "Schedule", "Step"]


def __dir__() -> list[str]:
    return _names.shown(globals())


def _steps(t0, count):
    """Return t0, ..., t0 + count − 1 as float64."""
    if not math.isfinite(_checks.number("t", t0)):
        raise ValueError(f"t must be finite, got {t0}")
    count = _checks.count("count", count)
    return np.arange(t0, t0 + count, dtype=np.float64)


@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """Constant learning rate, η(t) = rate.

    Parameters
    ----------
    rate : float
        The step size, finite and at least 0.

    Examples
    --------
    >>> Constant(0.1)(7)
    0.1
    """

    rate: float

    def __post_init__(self):
        check_rate("rate", self.rate)

    @_checks.quiet
    def values(self, t0: int, count: int) -> NDArray[np.float64]:
        return np.full(_steps(t0, count).shape, self.rate, dtype=np.float64)


@dataclasses.dataclass(frozen=True)
class InverseTime(Schedule):
    """Inverse-time decay, η(t) = rate / (1 + decay (t − 1)).

    Parameters
    ----------
    rate : float
        The first step size.
    decay : float
        The speed of the decay, at least 0.

    Notes
    -----
    The classical 1/t schedule of stochastic approximation (Robbins and Monro 1951).

    Examples
    --------
    >>> InverseTime(1.0, decay=1.0)(4)
    0.25
    """

    rate: float
    decay: float

    def __post_init__(self):
        check_rate("rate", self.rate)
        check_rate("decay", self.decay)

    @_checks.quiet
    def values(self, t0: int, count: int) -> NDArray[np.float64]:
        return self.rate / (1 + self.decay * (_steps(t0, count) - 1))


@dataclasses.dataclass(frozen=True)
class Power(Schedule):
    """Power-law decay, η(t) = rate t^−power.

    Parameters
    ----------
    rate : float
        The first step size.
    power : float
        The exponent.

    Examples
    --------
    >>> Power(1.0, 0.5)(4)
    0.5
    """

    rate: float
    power: float

    def __post_init__(self):
        check_rate("rate", self.rate)
        if not math.isfinite(_checks.number("power", self.power)):
            raise ValueError(f"power must be finite, got {self.power}")

    @_checks.quiet
    def values(self, t0: int, count: int) -> NDArray[np.float64]:
        return self.rate * _steps(t0, count) ** -self.power


@dataclasses.dataclass(frozen=True)
class Step(Schedule):
    """Step decay, η(t) = rate factor^⌊(t − 1) / every⌋.

    Parameters
    ----------
    rate : float
        The first step size.
    every : int
        The number of steps between reductions.
    factor : float
        The factor of each reduction.

    Examples
    --------
    >>> [Step(1.0, every=2, factor=0.5)(t) for t in (1, 2, 3, 5)]
    [1.0, 1.0, 0.5, 0.25]
    """

    rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self):
        check_rate("rate", self.rate)
        _checks.count("every", self.every, 1)
        check_rate("factor", self.factor)

    @_checks.quiet
    def values(self, t0: int, count: int) -> NDArray[np.float64]:
        return self.rate * self.factor ** ((_steps(t0, count) - 1) // self.every)


@dataclasses.dataclass(frozen=True)
class Cosine(Schedule):
    """Cosine decay from `rate` to `final` in `steps` steps, then constant.

    η(t) = final + (rate − final) (1 + cos(π min((t − 1) / (steps − 1), 1))) / 2.

    Parameters
    ----------
    rate : float
        The first step size.
    steps : int
        The number of steps.
    final : float
        The last step size.

    Notes
    -----
    Loshchilov and Hutter 2017, eq. 5, without restarts.

    Examples
    --------
    >>> round(Cosine(1.0, steps=3)(2), 12)
    0.5
    """

    rate: float
    steps: int
    final: float = 0.0

    def __post_init__(self):
        check_rate("rate", self.rate)
        _checks.count("steps", self.steps, 1)
        check_rate("final", self.final)

    @_checks.quiet
    def values(self, t0: int, count: int) -> NDArray[np.float64]:
        progress = np.minimum((_steps(t0, count) - 1) / max(self.steps - 1, 1), 1)
        return self.final + (self.rate - self.final) * (1 + np.cos(math.pi * progress)) / 2


@dataclasses.dataclass(frozen=True)
class _Reduced(Schedule):
    """A library schedule times a factor, but not below the least rate."""

    base: Schedule
    factor: float
    least: float

    @_checks.quiet
    def values(self, t0: int, count: int) -> NDArray[np.float64]:
        return _times(self.base.values(t0, count), self.factor, self.least)


def _times(rate, factor, least):
    """Return the rate times a factor; at least `least`, or the rate itself if that is smaller."""
    return np.maximum(rate * factor, np.minimum(rate, least))


def reduced(lrate, factor, least):
    """Return a rate that is `factor` times as large at each step, but not below `least`."""
    if not callable(lrate):
        return float(_times(lrate, factor, least))
    if type(lrate).__module__ == __name__:
        return _Reduced(lrate, factor, least)
    # a plain function, which stays visible as the user's
    return lambda t: float(_times(_checks.number("lrate(t)", lrate(t)), factor, least))
