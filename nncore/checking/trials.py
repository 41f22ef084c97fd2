"""Run a user's code quietly and repeatably; differentiate it by finite differences."""

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

ALL_ENTRIES = 200  # arrays up to this size are differentiated at all entries, larger ones at SAMPLE
SAMPLE = 60
OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # nncore's directory
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

    Lines in libraries and compiled code are skipped.
    """

    def __init__(self, error):
        self.error = error
        frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users(f.filename)]
        self.frame = next((f for f in reversed(frames) if f.line), None)
        self.outside = not frames  # raised by the call itself
        self.missing = self._missing()  # determined now: the object will be restored

    @property
    def line(self):
        """The failing line as "student.py:12: the line", or ""."""
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
        """Return (name, similar) for a missing attribute, with the most similar existing one or "";
        None for other failures.
        """
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
    """Return (result, None) or (None, Failure), with output and warnings suppressed."""
    try:
        with quiet():
            return function(*arguments), None
    except (Exception, SystemExit) as error:  # whatever a module raises is a finding
        return None, Failure(error)


def seeded(seed=0):
    """Seed both global generators, so that a random module (dropout) repeats itself."""
    np.random.seed(seed)
    random.seed(seed)


def reseeder(*things):
    """Return a function (seed=0) that calls `seeded` and restores the things' own generators and
    integers, which may count the draws.
    """
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
    """Return the attributes of an object's dictionary; {} if it has none."""
    return getattr(thing, "__dict__", {})


def set_weights(thing, weights):
    """Put copies of weights into a module: bound to its attributes, or written into arrays of its
    lists and dictionaries.
    """
    held = arrays(thing) if not all(k.isidentifier() for k in weights) else {}
    for k, w in weights.items():
        if k.isidentifier():
            setattr(thing, k, w.copy())
        else:
            held[k][...] = w


def copied(x):
    """Return a copy of an array; anything else unchanged."""
    return np.array(x) if isinstance(x, np.ndarray) else x


def required(function):
    """Return the required positional parameters, or None if the signature is unknown."""
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
    """Return whether the file is the user's own Python code, not a library's or compiled."""
    return not filename.startswith(LIBRARIES) and not filename.endswith((".pyx", ".pxi", ".pxd"))


def location(function):
    """Return where a function is defined, as "forward, student.py:12"; "" if it has no file or is a
    library's.
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
    """Return (flat indices, derivatives, shape) of value() with respect to entries of x, by central
    differences.

    x is changed in place and restored. Entries at a kink, with different one-sided slopes, are
    left out. value() returns a float; its exceptions are passed on.
    """
    index = (
        np.arange(x.size)
        if x.size <= ALL_ENTRIES
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
