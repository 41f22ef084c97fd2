"""Step sizes as the training loops take them: numbers, schedules and functions of the step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nncore import _checks, _names

if TYPE_CHECKING:
    from numpy.typing import NDArray


SCHEDULES = "nncore.schedules"  # its classes are monotonic; importing it takes 4 ms


def check_rate(name, x):
    """Refuse x unless it is a valid step size."""
    if not 0 <= _checks.number(name, x) < math.inf:
        raise ValueError(f"{name} must be finite and at least 0, got {x}")


class Schedule:
    """Base class of the schedules.

    A subclass defines `values`; calling the object with a step t gives η(t), a float.

    See Also
    --------
    nncore.Sequential.sgd : Takes a schedule as `lrate`.

    Examples
    --------
    >>> class Halving(Schedule):
    ...     def values(self, t0, count):
    ...         return 0.5 ** np.arange(t0, t0 + count, dtype=np.float64)
    >>> Halving()(3)
    0.125
    """

    __module__ = SCHEDULES

    def values(self, t0: int, count: int) -> NDArray[np.float64]:
        """Return η(t0), ..., η(t0 + count − 1).

        Parameters
        ----------
        t0 : int
            The first step, counted from 1.
        count : int
            The number of steps.

        Returns
        -------
        ndarray of shape (count,)
            The step sizes, float64.
        """
        raise NotImplementedError

    def __call__(self, t: int) -> float:
        return float(over(self, t, 1)[0])


def at(lrate, t):
    """Return η(t) as a float; TypeError unless it is a real number, ValueError unless it is a valid
    step size.
    """
    return checked(lrate(t), t) if callable(lrate) else lrate


def checked(eta, t):
    """Return a function's rate for step t as a float; raises as `at` does."""
    eta = _checks.number("lrate(t)", eta)
    if not 0 <= eta < math.inf:
        raise _refused(eta, t)
    return eta


def over(lrate, first, count):
    """Return η(first) .. η(first + count − 1) as float64; TypeError or ValueError for other results
    of a schedule.

    The array ends before the first invalid step size, so that the steps before it can run.
    ValueError if that is the first one.
    """
    if not callable(lrate):
        return np.full(count, lrate, dtype=np.float64)
    if not hasattr(lrate, "values"):
        return np.array([at(lrate, first + i) for i in range(count)], dtype=np.float64)
    values = _checks.as_real("lrate.values(t0, count)", lrate.values(first, count), np.float64)
    _checks.shape("lrate.values(t0, count)", values, (count,))
    wrong = ~((values >= 0) & (values < math.inf))
    if wrong.any():
        at_ = int(np.argmax(wrong))
        if at_ == 0:
            raise _refused(values[0], first)
        values = values[:at_]
    return np.ascontiguousarray(values)


def _refused(eta, t):
    """Return the error for an invalid step size."""
    return ValueError(f"lrate must be finite and at least 0, got {eta} at step {t}")


def step_size(lrate, first=1, steps=0):
    """Return lrate as the training loops take it: a float, a Schedule or another callable.

    TypeError for anything else; ValueError for a number, or a library schedule, that is negative or
    non-finite anywhere in the steps first .. first + steps − 1. The library's schedules are
    monotonic, so checking their ends suffices.
    """
    if isinstance(lrate, type):
        raise TypeError(
            f"lrate must be a number, a function or a schedule, got the class {lrate.__name__}; "
            f"write {_names.call_of(lrate)}"
        )
    if not callable(lrate):
        check_rate("lrate", lrate)
        return _checks.number("lrate", lrate)
    if type(lrate).__module__ == SCHEDULES and steps > 0:
        with np.errstate(over="ignore"):
            for t in (first, first + steps - 1):
                at(lrate, t)
    return lrate
