"""Running code that somebody else wrote, to look at what it does: quietly, repeatably, and with
finite differences."""

import difflib
import inspect
import linecache
import os
import random
import sysconfig
import traceback

import numpy as np

from nncore.foreign.probe import arrays, quiet

__all__ = [
    "Failure",
    "attributes",
    "call",
    "copied",
    "differences",
    "is_users",
    "location",
    "required",
    "reseeder",
    "seeded",
    "set_weights",
]

FEW = 200  # entries of which all are differentiated; of larger arrays SAMPLE
SAMPLE = 60
OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # where nncore itself is
LIBRARIES = (
    OWN,
    os.path.dirname(os.path.abspath(np.__file__)) + os.sep,
    "<frozen",
    *{
        path + os.sep
        for path in map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))
    },
)


class Failure:
    """An exception of a user's code: kind, message, and the last line of the user's code.

    Libraries and compiled code are left out: their files are not the user's to look at.
    """

    def __init__(self, error):
        self.error = error
        frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users(f.filename)]
        self.frame = next((f for f in reversed(frames) if f.line), None)
        self.outside = not frames  # it happened in the call itself
        self.missing = self._missing()  # now, as the object will be put back

    @property
    def line(self):
        """Where it happened, as "student.py:12: the line", or ""."""
        if self.frame is None:
            return ""
        code = (self.frame.line or "").strip()
        return f"{os.path.basename(self.frame.filename)}:{self.frame.lineno}" + (
            f": {code}" if code else ""
        )

    def __str__(self):
        text = " ".join(str(self.error).split())
        return f"{type(self.error).__name__}{': ' + text if text else ''}"

    def _missing(self):
        """(name, similar): the attribute that was not there and the most similar one that is, or
        ""; None for other failures."""
        if not isinstance(self.error, AttributeError) or not self.error.name:
            return None
        there = [name for name in dir(self.error.obj) if not name.startswith("__")]
        close = [
            name
            for name in there
            if name.lower().replace("_", "") == self.error.name.lower().replace("_", "")
        ]
        close += difflib.get_close_matches(self.error.name, there, 1, 0.75)
        return self.error.name, close[0] if close else ""


def call(function, *arguments):
    """(result, None) or (None, Failure); what the function prints and warns of is dropped."""
    try:
        with quiet():
            return function(*arguments), None
    except (Exception, SystemExit) as error:  # whatever a module does is a finding
        return None, Failure(error)


def seeded(seed=0):
    """Both global generators in the same place, so that a random module (dropout) does the same
    thing again."""
    np.random.seed(seed)
    random.seed(seed)


def reseeder(*things):
    """A function (seed=0) that does what seeded does, and puts the generators that the things keep
    themselves, and their whole numbers, which may count the draws, where they are now."""
    kept = [v for thing in things for v in attributes(thing).values()]
    numpy = [
        (g.bit_generator, g.bit_generator.state) for g in kept if isinstance(g, np.random.Generator)
    ]
    legacy = [(g, g.get_state()) for g in kept if isinstance(g, np.random.RandomState)]
    python = [(g, g.getstate()) for g in kept if isinstance(g, random.Random)]
    counts = [
        (vars(thing), {name: v for name, v in attributes(thing).items() if type(v) is int})
        for thing in things
        if attributes(thing)
    ]

    def reset(seed=0):
        seeded(seed)
        for bits, state in numpy:
            bits.state = state
        for g, state in legacy:
            g.set_state(state)
        for g, state in python:
            g.setstate(state)
        for held, numbers in counts:
            held.update(numbers)

    return reset


def attributes(thing):
    """The attributes kept in an object itself; none for one that has no dictionary."""
    return getattr(thing, "__dict__", {})


def set_weights(thing, weights):
    """Put copies of weights into a thing: bound to its attributes, or written into the arrays of
    its lists and dictionaries."""
    held = arrays(thing) if not all(k.isidentifier() for k in weights) else {}
    for k, w in weights.items():
        if k.isidentifier():
            setattr(thing, k, w.copy())
        else:
            held[k][...] = w


def copied(x):
    """Arrays as they are now; anything else itself."""
    return np.array(x) if isinstance(x, np.ndarray) else x


def required(function):
    """The parameters that must be given by position, or None where they cannot be told."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [
        p
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]


def is_users(filename):
    """True for a file of the user's own Python code, False for one of a library or of compiled
    code.
    """
    return not filename.startswith(LIBRARIES) and not filename.endswith((".pyx", ".pxi", ".pxd"))


def location(function):
    """Return where a function or method is defined, as "forward, student.py:12"; "" if it has no
    file or is a library's own.
    """
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if (
        code is None
        or not is_users(code.co_filename)
        or not linecache.getline(code.co_filename, code.co_firstlineno)
    ):
        return ""
    return f"{code.co_name}, {os.path.basename(code.co_filename)}:{code.co_firstlineno}"


def differences(value, x, step):
    """(flat indices, derivatives, shape) of value() with respect to entries of x, by central
    differences.

    x is changed in place and put back. Entries beside a kink, where the slopes to the two sides
    differ, are left out. All entries of small arrays, SAMPLE random ones of others. value() ->
    float; whatever it raises is raised.
    """
    index = (
        np.arange(x.size)
        if x.size <= FEW
        else np.sort(np.random.default_rng(0).choice(x.size, SAMPLE, replace=False))
    )
    middle = value()
    kept, slopes = [], []
    for i in index:
        at = np.unravel_index(i, x.shape)
        before = x[at]
        sides = []
        for sign in (1, -1):
            x[at] = before + sign * step
            sides.append(value())
        x[at] = before
        right, left = (sides[0] - middle) / step, (middle - sides[1]) / step
        if not abs(right - left) > 1e-2 * max(1.0, abs(right), abs(left)):
            kept.append(i)
            slopes.append((right + left) / 2)
    return np.array(kept, dtype=np.intp), np.array(slopes), x.shape
