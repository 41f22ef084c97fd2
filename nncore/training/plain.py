"""Modules that compiled code may run without their methods, in forward, backward and sgd_step."""

from nncore import _core, modules, registry

# Modules whose forward compiled code may replace: Linear, and elementwise activations.
FORWARD = {modules.Linear: (modules.Linear.forward, _core.ACTIVATIONS["none"])} | {
    cls: (cls.forward, _core.ACTIVATIONS[activation.name])
    for cls, activation in registry.ACTIVATIONS.items()
    if activation.keeps_output and not activation.settings
}
# The methods of the modules that compiled code may replace in backward and sgd_step, as defined.
_DEFINED = {
    cls: {
        name: getattr(cls, name)
        for name in ("backward", "_derive", "step", "sgd_step", "_either", "_update", "_step_terms")
        if hasattr(cls, name)
    }
    for cls in FORWARD
}


def _unpatched(cls):
    """Return whether a class of the library has the methods that it was defined with."""
    return all(getattr(cls, name, None) is method for name, method in _DEFINED[cls].items())


METHODS = _core.PlainModules({cls: number for cls, (_, number) in FORWARD.items()}, _unpatched)
