"""The library class that computes for an object: its own, or a base whose computation is not
overridden.

Compiled code may replace an object's methods only if `kind`, which is compiled, returns a class.
"""

from nncore import _core

COMPUTATION = frozenset(
    {
        "forward",
        "backward",
        "predict_forward",
        "step",
        "sgd_step",
        "per_sample",
        "gradients",
        "statistics_arrays",
        "checked_weights",
        "follow",
        "affine",
        "draw_key",
        "_either",
        "_update",
        "_step_terms",
        "_derive",
        "_gradient",
        "_input_gradient",
        "__getattribute__",
        "__setattr__",
        "__delattr__",
    }
)
# Attributes that compiled code reads or sets: a property of that name overrides, too. `register`
# adds the weights, gradients and settings of every class.
STATE = {
    "modules",
    "loss",
    "training",
    "A",
    "K",
    "mus",
    "vars",
    "norm",
    "running_mean",
    "running_var",
    "Ypred",
    "Y",
    "_scale",
}

_library: dict[type, type] = {}


def register(cls, kind=None, settings=()):
    """Make cls a library class that computes as `kind` (default: itself) does, with its weights and
    these settings; return cls.
    """
    _library[cls] = kind or cls
    STATE.update(settings)
    for weight, gradient in getattr(cls, "gradients", {}).items():
        STATE.update((weight, gradient))
    return cls


def library_class(cls):
    """Return the library class that a class is or is derived from."""
    return next(c for c in cls.__mro__ if c in _library)


def is_library_method(thing, name):
    """Return whether the method is a library class's own, overridden neither by a subclass nor by
    the object.
    """
    if name in getattr(thing, "__dict__", ()):
        return False
    if type(thing) in _library:
        return True
    owner = next((cls for cls in type(thing).__mro__ if name in vars(cls)), None)
    return owner in _library


def overridden(thing):
    """Return the names of the computation that a subclass of a library class, or the object,
    overrides; [] for foreign objects.
    """
    base = next((c for c in type(thing).__mro__ if c in _library), None)
    if base is None:
        return []
    classes = [c for c in type(thing).__mro__ if c not in base.__mro__]
    return sorted(
        {name for c in classes for name in vars(c) if _overrides_name(c, name)}
        | COMPUTATION.intersection(thing.__dict__)
    )


def _inherited(cls):
    base = next((c for c in cls.__mro__ if c in _library), None)
    if base is None or any(_overrides(c) for c in cls.__mro__ if c not in base.__mro__):
        return None
    return _library[base]


def _overrides(cls):
    return any(_overrides_name(cls, name) for name in vars(cls))


def _overrides_name(cls, name):
    return name in COMPUTATION or (name in STATE and hasattr(vars(cls)[name], "__set__"))


_core.set_kinds(_library, COMPUTATION, _inherited)
kind = _core.kind
