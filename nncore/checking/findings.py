"""What was found: faults with their likely cause, results for every part, the report; and the
comparison that makes a fault."""

import dataclasses

import numpy as np

from nncore.checking.mistakes import TOLERANCE, WANTED, likely_cause, same
from nncore.checking.trials import location

__all__ = ["Fault", "Report", "Result", "judge", "raised"]

RETURNED = ("forward", "backward", "dLdA", "class_fun")  # all else is kept in an attribute
TOLD = 3  # faults of one part that the report tells; what comes after follows from them as a rule


@dataclasses.dataclass
class Fault:
    """One thing that is wrong.

    what: dLdW0, forward, sgd_step ...; message: what is wrong with it; cause: the likely cause, ""
    where none is known; formula: what it should be; where: file and line, or ""; error: the largest
    difference over the largest right entry, nan where there is none to take; shape, wanted_shape:
    of the array, None where it is none.
    """

    what: str
    message: str
    cause: str = ""
    formula: str = ""
    where: str = ""
    error: float = float("nan")
    shape: tuple | None = None
    wanted_shape: tuple | None = None

    def lines(self):
        """What the report says of it."""
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
    """What was found about one part of a network.

    place: "modules[1]", "loss", "network", or "" for an object by itself; name: its class; size: "2
    -> 3" where it has weights; faults; remarks: what is right but worth knowing; unchecked: why it
    could not be checked, or "".
    """

    place: str
    name: str
    size: str = ""
    faults: list = dataclasses.field(default_factory=list)
    remarks: list = dataclasses.field(default_factory=list)
    unchecked: str = ""

    @property
    def ok(self):
        """True where nothing is wrong."""
        return not self.faults

    @property
    def title(self):
        """The class and its size."""
        return f"{self.name} {self.size}".strip()


class Report:
    """The outcome of `nncore.check`: true where nothing is wrong; `str` of it is for reading.

    results: a Result for every part, in order; first: the first one that is wrong, or None; ok:
    nothing is wrong.

    >>> import nncore
    >>> net = nncore.Sequential([nncore.Linear(2, 3), nncore.SoftMax()], nncore.NLL())
    >>> report = nncore.check(net)
    >>> bool(report), report.first, len(report.results)
    (True, None, 4)
    """

    def __init__(self, results):
        self.results = list(results)

    @property
    def ok(self):
        """True where nothing is wrong."""
        return all(r.ok for r in self.results)

    @property
    def first(self):
        """The first part that is wrong, a Result; None where there is none."""
        return next((r for r in self.results if not r.ok), None)

    def __bool__(self):
        return self.ok

    def __repr__(self):
        return str(self)

    def __str__(self):
        places = max((len(r.place) for r in self.results), default=0)
        titles = max((len(r.title) for r in self.results), default=0)
        lines, told = [self._head()] if len(self.results) > 1 else [], {}
        for r in self.results:
            state = "not checked" if r.unchecked else "ok" if r.ok else "WRONG"
            lines.append(
                "  ".join(filter(None, [r.place.ljust(places), r.title.ljust(titles), state]))
            )
            key = (
                all(f.where for f in r.faults) or r.name,
                tuple((f.what, f.cause, f.where) for f in r.faults),
            )
            if r.faults and key in told:
                lines.append(f"    as {told[key]}")
            else:
                told[key] = r.place
                lines += ["    " + line for fault in r.faults[:TOLD] for line in fault.lines()]
            lines += [
                f"    {text}"
                for text in [r.unchecked, *(f"note: {remark}" for remark in r.remarks)]
                if text
            ]
        return "\n".join(lines)

    def _head(self):
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
            f" Begin there; {wrong - 1} more below." if wrong > 1 else ""
        )


def judge(what, key, given, wanted, probes, method, tolerance=TOLERANCE, own=None, follows=False):
    """The Fault of what a method gave on each of the probes, or None.

    key: into WANTED and TABLES. wanted: an array for each probe, or (flat indices, values, shape)
    for what is known of it; None where only the kind of what was given can be judged. The cause is
    looked for on all probes together, and one at a time is told. own: the same by the module's own
    forward, if that is wrong. Values that agree with it, or that no known mistake explains, follow
    from it; with `follows`, all values of the right shape do.
    """
    common = {"formula": WANTED.get(key, ""), "where": location(method)}
    returned = what in RETURNED
    for g in given:
        if g is None:
            return Fault(
                what,
                "gives None" if what == getattr(method, "__name__", what) else "is None",
                "its return is missing, or it is still to be written"
                if returned
                else "it is still to be written",
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
            f"is off by {off:.3g} where the right entries go up to {most:.3g}"
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
    """What was given and what was wanted as arrays: of those that are known in part, those parts,
    where the shape is right."""
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
    """The Fault of a method that raised an exception; role: its table; only: on what it did, where
    not always.
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
        return "something is None: a return is missing, or a line is still to be written"
    if missing:
        name, meant = missing
        own = getattr(error, "obj", None) is thing
        if meant:
            return (
                f"{'self.' if own else ''}{name} is not there, but "
                f"{'self.' if own else ''}{meant} is: a misspelt name"
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
