"""The findings: faults with their likely cause, results per part, the report; and the comparison
that makes a fault.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nncore.checking.causes import TOLERANCE, likely_cause, same
from nncore.checking.mistakes import WANTED
from nncore.checking.trials import location

__all__ = ["Fault", "Report", "Result", "judge", "raised"]

RETURNED = ("forward", "backward", "dLdA", "class_fun")  # the rest is kept in attributes
MAX_FAULTS = 3  # reported faults per part; later ones usually follow from the first


@dataclasses.dataclass
class Fault:
    """One fault found by `nncore.check`.

    Parameters
    ----------
    what : str
        The faulty method or array: dLdW0, forward, sgd_step ...
    message : str
        The mistake, in words.
    cause : str
        The likely cause, "" if unknown.
    formula : str
        The correct formula, or "".
    where : str
        File and line, or "".
    error : float
        The largest difference over the largest correct entry, nan if it cannot be computed.
    shape : tuple or None
        The shape of the array, None if it is not an array.
    wanted_shape : tuple or None
        The correct shape, likewise.

    See Also
    --------
    nncore.check : Find faults.

    Examples
    --------
    >>> fault = Fault("forward", "has the wrong sign", formula="A = tanh(Z)")
    >>> fault.lines()
    ['forward has the wrong sign', '  wanted: A = tanh(Z)']
    """

    what: str
    message: str
    cause: str = ""
    formula: str = ""
    where: str = ""
    error: float = float("nan")
    shape: tuple[int, ...] | None = None
    wanted_shape: tuple[int, ...] | None = None

    def lines(self) -> list[str]:
        """Return the lines of the report on this fault.

        Returns
        -------
        list of str
            The mistake, then the likely cause, the formula and the location, if known.
        """
        return [
            f"{self.what} {self.message}",
            *(
                f"  {label}: {text}"
                for label, text in (
                    ("likely cause", self.cause),
                    ("wanted", self.formula),
                    ("look at", self.where),
                )
                if text
            ),
        ]


@dataclasses.dataclass
class Result:
    """The findings of `nncore.check` on one part of a network.

    Parameters
    ----------
    place : str
        "modules[1]", "loss", "network", or "" for an object by itself.
    name : str
        The name of its class.
    size : str
        "2 -> 3" if it has weights, else "".
    faults : list of Fault
        The faults.
    remarks : list of str
        Correct but unusual behaviour.
    unchecked : str
        The reason why it could not be checked, or "".

    See Also
    --------
    nncore.check : Find faults.

    Examples
    --------
    >>> Result("modules[0]", "Linear", size="2 -> 3").title
    'Linear 2 -> 3'
    """

    place: str
    name: str
    size: str = ""
    faults: list[Fault] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    unchecked: str = ""

    @property
    def ok(self) -> bool:
        """True if there are no faults."""
        return not self.faults

    @property
    def title(self) -> str:
        """The class and its size."""
        return f"{self.name} {self.size}".strip()


class Report:
    """The outcome of `nncore.check`: true if nothing is wrong; `str` gives the report to read.

    Parameters
    ----------
    results : list of Result
        The result of every part, in order.

    Attributes
    ----------
    results : list of Result
        The result of every part, in order.
    ok : bool
        True if nothing is wrong; also the report's truth value.
    first : Result or None
        The first part with a fault.

    See Also
    --------
    nncore.check : Find faults.

    Examples
    --------
    >>> import nncore
    >>> net = nncore.Sequential([nncore.Linear(2, 3), nncore.SoftMax()], nncore.NLL())
    >>> report = nncore.check(net)
    >>> bool(report), report.first, len(report.results)
    (True, None, 4)
    """

    def __init__(self, results: list[Result]) -> None:
        self.results = list(results)

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return all(r.ok for r in self.results)

    @property
    def first(self) -> Result | None:
        """The first part with a fault, a Result; None if there is none."""
        return next((r for r in self.results if not r.ok), None)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        places = max((len(r.place) for r in self.results), default=0)
        titles = max((len(r.title) for r in self.results), default=0)
        lines: list[str] = [self._head()] if len(self.results) > 1 else []
        reported: dict[Any, Any] = {}
        for r in self.results:
            state = "not checked" if r.unchecked else "ok" if r.ok else "WRONG"
            lines.append(
                "  ".join(filter(None, [r.place.ljust(places), r.title.ljust(titles), state]))
            )
            key = (
                all(f.where for f in r.faults) or r.name,
                tuple((f.what, f.cause, f.where) for f in r.faults),
            )
            if r.faults and key in reported:
                lines.append(f"    as {reported[key]}")
            else:
                reported[key] = r.place
                lines += [
                    "    " + line for fault in r.faults[:MAX_FAULTS] for line in fault.lines()
                ]
            lines += [
                f"    {text}"
                for text in [r.unchecked, *(f"note: {remark}" for remark in r.remarks)]
                if text
            ]
        return "\n".join(lines)

    def _head(self):
        """Return the report's first line."""
        wrong = sum(not r.ok for r in self.results)
        if not wrong:
            left = sum(bool(r.unchecked) for r in self.results)
            return (
                "All right."
                if not left
                else (
                    f"Nothing wrong was found, but {left} of {len(self.results)} parts could "
                    f"not be checked."
                )
            )
        first = " ".join(filter(None, [self.first.place, self.first.name]))
        return f"Wrong: {first}: {self.first.faults[0].what} {self.first.faults[0].message}." + (
            f" Start there; {wrong - 1}more below." if wrong > 1 else ""
        )


def judge(what, key, given, wanted, probes, method, tolerance=TOLERANCE, own=None, follows=False):
    """Return the Fault of a method's results on the probes, or None.

    key: of WANTED and TABLES. wanted: an array per probe, or (flat indices, values, shape) of its
    known entries; None if only the kind of the results can be judged. A cause must explain all
    probes. own: the right results given the module's own, wrong forward: results that agree with
    it, or that no known mistake explains, are not reported again; with `follows`, neither are any
    of the right shape.
    """
    common = {"formula": WANTED.get(key, ""), "where": location(method)}
    returned = what in RETURNED
    for g in given:
        if g is None:
            return Fault(
                what,
                "gives None" if what == getattr(method, "__name__", what) else "is None",
                "its return is missing, or it is not written yet"
                if returned
                else "it is not written yet",
                **common,
            )
        if (
            not isinstance(g, (np.ndarray, np.generic, float, int))
            or np.asarray(g).dtype.kind not in "fiub"
        ):
            return Fault(what, f"is a {type(g).__name__}, must be an array of numbers", **common)
    if wanted is None:
        return None
    pairs = [_comparable(np.asarray(g), w) for g, w in zip(given, wanted, strict=True)]
    for (g, w), p in zip(pairs, probes, strict=True):
        if same(g, w, tolerance):
            continue
        cause = likely_cause(key, probes, [g for g, _ in pairs], [w for _, w in pairs], tolerance)
        if own is not None and (
            (follows or not cause)
            and g.shape == w.shape
            or all(
                same(*_comparable(np.asarray(x), o), max(tolerance, TOLERANCE))
                for x, o in zip(given, own, strict=True)
            )
        ):
            return None
        if g.shape != w.shape:
            text = (
                f"gives shape {g.shape}, must give" if returned else f"has shape {g.shape}, must be"
            )
            return Fault(
                what,
                f"{text} {w.shape} for a batch of {p.b}",
                cause,
                shape=g.shape,
                wanted_shape=w.shape,
                **common,
            )
        with np.errstate(all="ignore"):
            off, most = float(np.max(np.abs(g - w))), float(np.max(np.abs(w)))
        text = (
            f"is off by {off:.3g}; the correct entries go up to {most:.3g}"
            if np.isfinite(off)
            else "holds NaN or infinity"
        )
        return Fault(
            what,
            text,
            cause,
            error=off / most if most else off,
            shape=g.shape,
            wanted_shape=w.shape,
            **common,
        )
    return None


def _comparable(g, w):
    """Return what was given and wanted as arrays, restricted to the known entries if the shape is
    right.
    """
    if not isinstance(w, tuple):
        return g, np.asarray(w)
    index, values, shape = w
    if g.shape != shape:
        return g, np.zeros(shape) if len(index) != np.prod(shape) else values.reshape(shape)
    return g.ravel()[index], values


SETTER = {"backward": "forward", "sgd_step": "backward", "step": "backward"}
TAKES = {
    "forward": "(self, A)",
    "backward": "(self, dLdZ)",
    "sgd_step": "(self, lrate)",
    "step": "(self, lrate)",
    "class_fun": "(self, Ypred)",
}
_SHAPES = "a gradient does not have the shape of its weight"
SHAPES = {  # why shapes do not fit, by the table and the method
    "Linear.forward": "wrong transpose, or a missing one: W.T @ A is (n, m) times (m, b), "
    "and W0 is (n, 1)",
    "Linear.backward": "wrong transpose, or a missing one: dLdA = W @ dLdZ is (m, n) times (n, b); "
    "dLdW = A @ dLdZ.T is (m, b) times (b, n)",
    "Linear.sgd_step": _SHAPES,
    "Linear.step": _SHAPES,
    "LinearOutputsFirst.forward": "wrong transpose: W has the outputs first, so that W @ A is "
    "(n, m) times (m, b); W0 is (n, 1)",
    "LinearOutputsFirst.backward": "wrong transpose, or a missing one: W has the outputs "
    "first, so that dLdA = W.T @ dLdZ is (m, n) times "
    "(n, b); dLdW = dLdZ @ A.T is (n, b) times (b, m)",
    "LinearOutputsFirst.sgd_step": _SHAPES,
    "LinearOutputsFirst.step": _SHAPES,
    "BatchNorm.sgd_step": _SHAPES,
    "BatchNorm.step": _SHAPES,
    "BatchNorm.forward": "mean and variance must stay columns (m, 1), as G and B are: axis=1 with "
    "keepdims=True",
    "BatchNorm.backward": "sums and means over the batch must stay columns (m, 1): axis=1 with "
    "keepdims=True",
}


def raised(thing, method, failure, role=None, only=""):
    """Return the Fault of a method that raised an exception; role: its table; only: the inputs on
    which it did, if not all.
    """
    return Fault(
        method,
        f"raised {failure}{only}",
        _why(thing, method, failure, role),
        WANTED.get(f"{role}.{method}", ""),
        failure.line or location(getattr(thing, method, None)),
    )


def _why(thing, method, failure, role):
    error, missing = failure.error, failure.missing
    if "NoneType" in str(error):
        return "something is None: a return is missing, or a line is not written yet"
    if missing:
        name, meant = missing
        own = getattr(error, "obj", None) is thing
        if meant:
            return (
                f"{'self.' if own else ''}{name} does not exist, but "
                f"{'self.' if own else ''}{meant} does: a misspelt name"
            )
        return f"{SETTER.get(method, '__init__')} must keep it: self.{name} = ..." if own else ""
    if isinstance(error, TypeError) and "positional argument" in str(error) and failure.outside:
        return f"{method} must take {TAKES.get(method, '')}"
    if isinstance(error, ValueError) and "truth value" in str(error):
        return (
            "max, if, and, or take one number, not an array; entry by entry work "
            "np.maximum and np.where"
        )
    if isinstance(error, ValueError) and f"{role}.{method}" in SHAPES:
        return SHAPES[f"{role}.{method}"]
    if isinstance(error, ValueError) and method == "backward" and role is not None:
        return (
            "a matrix product in place of the product entry by entry? dLdA and the "
            "derivative have one shape (n, b): multiply them by *"
        )
    return ""
