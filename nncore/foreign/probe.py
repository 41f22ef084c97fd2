"""Run a foreign module or loss on given inputs, record what it returns and changes, and restore it.

The calls are the course's: module.forward(A), module.backward(dLdOutput), module.sgd_step(lrate) or
module.step(lrate); loss.forward(Ypred, Y), loss.backward().
"""

import contextlib
import io
import types
import warnings
from dataclasses import dataclass, field

import numpy as np

from nncore.foreign.snapshot import Snapshot, random_state

__all__ = ["Trace", "arrays", "disagreement", "quiet", "run_loss", "run_module", "untouched"]

DEPTH = 4  # depth of the search for arrays in objects


@dataclass
class Trace:
    """The results of one pass through an object, and the changes it made; arrays are copies.

    `held` has the arrays of the object by name, at the "start" and after each call ("forward",
    "backward", "step") that did not fail.
    """

    output: object = None  # of forward
    gradient: object = None  # of backward
    # raised by the call named in `failed`; later calls were not made
    error: Exception | None = None
    failed: str = ""
    held: dict = field(default_factory=dict)
    rebound: set = field(default_factory=set)  # names that the step bound to another array
    # "input", "gradient": arguments that were changed in place
    overwritten: set = field(default_factory=set)
    drew: bool = False  # whether np.random or random was used
    # numbers and lists whose value or length the step has changed
    counted: set = field(default_factory=set)

    def changed(self, call):
        """Return the names of the arrays that the call has created or changed."""
        calls = list(self.held)
        before, after = self.held[calls[calls.index(call) - 1]], self.held[call]
        return {
            name
            for name, a in after.items()
            if name not in before or not _identical(before[name], a)
        }


def run_module(module, *passes):
    """Return one Trace per pass (A, dLdOutput, lrate), in order; the module is restored, also after
    an exception.

    dLdOutput None: forward only; lrate None: no step. A pass that raises is the last one.

    >>> import nncore
    >>> trace, = run_module(nncore.ReLU(), (np.array([[-1.0], [2.0]]), np.ones((2, 1)), None))
    >>> trace.output.ravel().tolist(), trace.gradient.ravel().tolist(), trace.changed("forward")
    ([0.0, 2.0], [0.0, 1.0], {'A'})
    """
    traces = []
    with untouched(module):
        for A, dLdOutput, lrate in passes:
            trace = Trace()
            traces.append(trace)
            _pass(module, trace, _calls_of_module(module, trace, A, dLdOutput, lrate))
            if trace.error is not None:
                break
    return traces


def run_loss(loss, *pairs):
    """Return one Trace per pair (Ypred, Y): output is the value, gradient is dL/dZ; the loss is
    restored.

    >>> import nncore
    >>> ran = run_loss(nncore.NLL(), (np.array([[0.5], [0.5]]), np.array([[1], [0]])))[0]
    >>> ran.gradient.ravel().tolist()
    [-0.5, 0.5]
    """
    traces = []
    with untouched(loss):
        for Ypred, Y in pairs:
            trace = Trace()
            traces.append(trace)
            _pass(loss, trace, _calls_of_loss(loss, trace, Ypred, Y))
            if trace.error is not None:
                break
    return traces


@contextlib.contextmanager
def untouched(*objects):
    """Run the block quietly, then restore the objects. Yields the Snapshot."""
    snapshot = Snapshot(*objects)
    try:
        with quiet():
            yield snapshot
    finally:
        snapshot.restore()


@contextlib.contextmanager
def quiet():
    """Suppress output and warnings of foreign code; floating-point errors neither raise
    nor warn.
    """
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        yield


def _pass(x, trace, calls):
    """Make the calls (name, function) up to the first that raises."""
    generators = random_state()
    now = arrays(x)
    trace.held["start"] = _copies(now)
    for name, call in calls:
        before = now
        try:
            call()
        except Exception as error:
            trace.error, trace.failed = error, name
            break
        now = arrays(x)
        trace.held[name] = _copies(now)
        if name == "step":
            trace.rebound = {
                key for key, a in now.items() if key in before and before[key] is not a
            }
    trace.drew = random_state() != generators


def _calls_of_module(module, trace, A, dLdOutput, lrate):
    def forward():
        given = np.array(A)
        trace.output = _copy(module.forward(given))
        _note_overwritten(trace, "input", given, A)

    def backward():
        given = np.array(dLdOutput)
        trace.gradient = _copy(module.backward(given))
        _note_overwritten(trace, "gradient", given, dLdOutput)

    def step():
        update = getattr(module, "sgd_step", None) or module.step
        before = _counts(module)
        update(lrate)
        after = _counts(module)
        trace.counted = {name for name, value in after.items() if before.get(name) != value}

    yield "forward", forward
    if dLdOutput is not None:
        yield "backward", backward
    if lrate is not None:
        yield "step", step


def _calls_of_loss(loss, trace, Ypred, Y):
    def forward():
        given = np.array(Ypred), np.array(Y)
        trace.output = _copy(loss.forward(*given))
        _note_overwritten(trace, "input", given[0], Ypred)
        _note_overwritten(trace, "labels", given[1], Y)

    def backward():
        trace.gradient = _copy(loss.backward())

    yield "forward", forward
    yield "backward", backward


def _note_overwritten(trace, name, given, original):
    if not _identical(given, np.asarray(original)):
        trace.overwritten.add(name)


def _identical(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _copy(x):
    return np.array(x) if isinstance(x, np.ndarray) else x


def _copies(found):
    return {name: np.array(a) for name, a in found.items()}


def arrays(x):
    """Return {name: array} of the real arrays that an object holds, without copying; names read as
    Python: "W", "params['b']", "layers[0].w".

    >>> from types import SimpleNamespace
    >>> list(arrays(SimpleNamespace(W=np.ones(2), params={"b": np.zeros(1)}, name="dense")))
    ['W', "params['b']"]
    """
    found = {}
    _search(x, "", DEPTH, found, set())
    return found


def _search(x, name, depth, found, above):
    if isinstance(x, np.ndarray):
        if x.dtype.kind in "fiub" and name:
            found[name] = x
        return
    if depth < 0 or id(x) in above:
        return
    for part, value in _parts(x):
        _search(value, (name + part).removeprefix("."), depth - 1, found, above | {id(x)})


def _counts(x):
    """Return {name: value} of the numbers that an object and its class hold, and {name: length} of
    its lists and dictionaries.
    """
    found = {
        f"{type(x).__name__}.{name}": value
        for cls in type(x).__mro__[::-1]
        for name, value in vars(cls).items()
        if isinstance(value, (int, float, np.number)) and not name.startswith("__")
    }

    def search(x, name, depth, above):
        if isinstance(x, (int, float, np.number)):
            found[name] = x
        elif depth >= 0 and id(x) not in above and not isinstance(x, np.ndarray):
            if isinstance(x, (dict, list)):
                found[f"len({name})"] = len(x)
            for part, value in _parts(x):
                search(value, (name + part).removeprefix("."), depth - 1, above | {id(x)})

    search(x, "", DEPTH, set())
    return found


def _parts(x):
    """Return (its Python expression, value) of everything that a container or an object holds
    directly.
    """
    if isinstance(x, dict):
        return [(f"[{key!r}]", value) for key, value in x.items()]
    if isinstance(x, (list, tuple)):
        return [(f"[{i}]", value) for i, value in enumerate(x)] if len(x) < 100 else []
    if isinstance(x, (type, types.ModuleType, types.FunctionType, types.MethodType)):
        return []
    slots = [
        n
        for c in type(x).__mro__
        for n in np.atleast_1d(vars(c).get("__slots__", ())).tolist()
        if hasattr(x, n)
    ]
    attributes = getattr(x, "__dict__", {})
    return [
        (f".{n}", value)
        for n, value in [
            *attributes.items(),
            *((n, getattr(x, n)) for n in slots if n != "__dict__"),
        ]
    ]


def disagreement(actual, expected, scale=None):
    """Return the largest |actual − expected| over the largest |scale| (default: expected); infinite
    if shapes differ or a value is missing.

    Entries that are the same infinity in both, or NaN in both, agree.
    """
    try:
        a, e = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    except (TypeError, ValueError):
        return np.inf
    if a.shape != e.shape:
        return np.inf
    with np.errstate(all="ignore"):
        error = np.where((a == e) | (np.isnan(a) & np.isnan(e)), 0, np.abs(a - e))
    if not error.size:
        return 0.0
    worst = float(np.max(error))
    size = np.abs(e if scale is None else np.asarray(scale, dtype=np.float64))
    largest = float(np.max(size, where=np.isfinite(size), initial=0))
    if np.isnan(worst):
        return np.inf
    return worst / largest if largest else (np.inf if worst else 0.0)
