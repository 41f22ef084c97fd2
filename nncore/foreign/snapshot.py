"""Save the state of foreign objects and restore it: every value, every array in its own memory.

A snapshot covers everything reachable from the objects: attributes (also slots, and those of their
classes), lists, dicts, sets, the elements of arrays, random generators and, through the functions
they call, closures, mutable defaults and the globals of their file that these functions name. It
always covers NumPy's global generator and that of `random`. It does not cover files, processes, and
the internal state of others' compiled code.
"""

import collections
import pickle
import random
import sys
import types

import numpy as np

_MISSING = object()
_LIBRARIES = frozenset(sys.stdlib_module_names) | {"numpy", "nncore"}
_ATOMS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    np.generic,
    np.dtype,
    types.ModuleType,
    types.BuiltinFunctionType,
)
_WRITTEN_BY_HAND = (types.FunctionType, type)


class Snapshot:
    """The state of objects at one moment; `restore()` restores it, any number of times.

    >>> weights = [np.ones(2)]
    >>> snapshot = Snapshot(weights)
    >>> weights[0] += 1; weights.append(3)
    >>> snapshot.restore()
    >>> weights
    [array([1., 1.])]
    """

    def __init__(self, *objects):
        self._restorers = [_keep_python_random(), _keep_numpy_random()]
        self._seen = {}  # by id; the values keep the objects alive, so that no id is reused
        waiting = list(objects)
        while waiting:
            x = waiting.pop()
            if isinstance(x, _ATOMS) or id(x) in self._seen:
                continue
            self._seen[id(x)] = x
            for keep in _keepers(x):
                restore, inside = keep(x)
                self._restorers.append(restore)
                waiting.extend(inside)

    def restore(self):
        """Restore everything that has changed since."""
        for restore in self._restorers:
            restore()


def random_state():
    """Return the states of NumPy's global generator and of `random`, for comparison."""
    return pickle.dumps(np.random.get_state(legacy=False)), random.getstate()


def _keepers(x):
    """Return the functions x -> (restore, objects inside) that together save x."""
    if isinstance(x, types.MethodType):
        return [_keep_method]
    if isinstance(x, _WRITTEN_BY_HAND):
        if (getattr(x, "__module__", None) or "builtins").partition(".")[0] in _LIBRARIES:
            return []
        return [_keep_class if isinstance(x, type) else _keep_function]
    found = [keep for kind, keep in _BY_TYPE if isinstance(x, kind)][:1]
    if isinstance(getattr(x, "__dict__", None), dict):
        found.append(_keep_attributes)
    if any("__slots__" in vars(c) for c in type(x).__mro__):
        found.append(_keep_slots)
    return found


def _keep_method(method):
    return _nothing, [method.__self__, method.__func__]


def _nothing():
    pass


# ------------------------------------------------------------------------ containers and attributes


def _keep_dict(d):
    saved = dict(d)

    def restore():
        if list(map(id, d)) != list(map(id, saved)) or any(d[k] is not v for k, v in saved.items()):
            d.clear()
            d.update(saved)

    return restore, list(saved.values())


def _keep_sequence(x):
    saved = list(x)

    def restore():
        if len(x) != len(saved) or any(a is not b for a, b in zip(x, saved, strict=True)):
            x.clear()
            x.extend(saved)

    return restore, saved


def _keep_set(x):
    saved = set(x)

    def restore():
        if x != saved:
            x.clear()
            x.update(saved)

    return restore, list(saved)


def _keep_tuple(x):
    return _nothing, list(x)


def _keep_array(a):
    """Save the elements, restored into the array's own memory, its shape and its writeable flag."""
    saved, shape, writeable = np.array(a, subok=False), a.shape, a.flags.writeable

    def restore():
        if a.shape != shape and a.size == saved.size:
            a.shape = shape
        if a.flags.writeable:
            np.copyto(a, saved)
        if a.flags.writeable != writeable:
            a.flags.writeable = writeable

    return restore, list(saved.ravel()) if a.dtype == object else []


def _keep_attributes(x):
    d = x.__dict__
    restore_dict, values = _keep_dict(d)

    def restore():
        if x.__dict__ is not d:
            x.__dict__ = d
        restore_dict()

    return restore, [*values, type(x)]


def _keep_slots(x):
    names = [name for c in type(x).__mro__ for name in _slots(c)]
    saved = {name: getattr(x, name, _MISSING) for name in names}

    def restore():
        for name, value in saved.items():
            now = getattr(x, name, _MISSING)
            if now is value:
                continue
            if value is _MISSING:
                object.__delattr__(x, name)
            else:
                object.__setattr__(x, name, value)

    return restore, [*(v for v in saved.values() if v is not _MISSING), type(x)]


def _slots(cls):
    names = vars(cls).get("__slots__", ())
    names = (names,) if isinstance(names, str) else names
    private = "_" + cls.__name__.lstrip("_")
    return [
        private + n if n.startswith("__") and not n.endswith("__") else n
        for n in names
        if n not in ("__dict__", "__weakref__")
    ]


# ---------------------------------------------------------------------------- classes and functions


def _keep_class(cls):
    """Save the attributes of a class, such as a counter of its instances; its methods, also
    inherited ones, are searched.
    """
    saved = {name: value for name, value in vars(cls).items() if _is_state(name)}

    def restore():
        now = {name: value for name, value in vars(cls).items() if _is_state(name)}
        for name in now.keys() - saved.keys():
            delattr(cls, name)
        for name, value in saved.items():
            if now.get(name, _MISSING) is not value:
                setattr(cls, name, value)

    return restore, [*saved.values(), *vars(cls).values(), *cls.__bases__]


def _is_state(name):
    return not name.startswith(("__", "_abc_"))


def _keep_function(f):
    """Save the variables of a function's closure, its defaults, and the globals of its file that it
    names.
    """
    cells = [(cell, _contents(cell)) for cell in f.__closure__ or ()]
    namespace = f.__globals__
    saved = {name: namespace.get(name, _MISSING) for name in f.__code__.co_names}

    def restore():
        for cell, value in cells:
            if value is not _MISSING and _contents(cell) is not value:
                cell.cell_contents = value
        for name, value in saved.items():
            if namespace.get(name, _MISSING) is value:
                continue
            if value is _MISSING:
                del namespace[name]
            else:
                namespace[name] = value

    inside = [
        *(value for _, value in cells),
        *saved.values(),
        *(f.__defaults__ or ()),
        *(f.__kwdefaults__ or {}).values(),
    ]
    return restore, [x for x in inside if x is not _MISSING]


def _contents(cell):
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return _MISSING


# --------------------------------------------------------------------------------------- generators


def _keep_python_random():
    state = random.getstate()
    return lambda: random.setstate(state)


def _keep_numpy_random():
    state = np.random.get_state(legacy=False)
    return lambda: np.random.set_state(state)


def _keep_generator(g):
    bits, state = g.bit_generator, g.bit_generator.state

    def restore():
        bits.state = state

    return restore, []


def _keep_random_state(g):
    state = g.get_state(legacy=False)
    return lambda: g.set_state(state), []


def _keep_random(g):
    state = g.getstate()
    return lambda: g.setstate(state), []


_BY_TYPE = (
    (np.ndarray, _keep_array),
    (dict, _keep_dict),
    ((list, collections.deque, bytearray), _keep_sequence),
    (set, _keep_set),
    ((tuple, frozenset), _keep_tuple),
    (np.random.Generator, _keep_generator),
    (np.random.RandomState, _keep_random_state),
    (random.Random, _keep_random),
)
