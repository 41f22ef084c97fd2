"""Checks of what a network consists of: a list of modules and a loss, all objects with methods.

Classes and names in their place are refused with what to write instead.
"""

from nncore import _names, registry


def check_list(modules, loss):
    """Raise TypeError unless modules is a list, and its elements and the loss are objects, neither
    classes nor names.
    """
    if not isinstance(modules, (list, tuple)):
        hint = ""
        if hasattr(modules, "forward"):
            hint = "; write Sequential([Linear(2, 3), ReLU(), ...], NLL())"
        raise TypeError(f"modules must be a list of modules, got {type(modules).__name__}{hint}")
    for i, x in enumerate((*modules, loss)):
        if isinstance(x, (type, str)):
            given = repr(x) if isinstance(x, str) else f"the class {x.__name__}"
            place, records = (
                _place(i, modules),
                registry.MODULES if i < len(modules) else registry.LOSSES,
            )
            raise TypeError(f"{place} must be an object, got {given}; {_remedy(x, records)}")
        if i < len(modules) and type(x) in registry.LOSSES:
            raise TypeError(
                f"{_place(i, modules)} must be a module, got the loss {x!r}, which is given after "
                f"the list: Sequential([...], {x!r})"
            )
    if type(loss) in registry.MODULES:
        raise TypeError(f"loss must be a loss, got the module {loss!r}, which belongs in the list")


def misplaced(net, *given):
    """Return the sentence about modules that are given one by one, or None."""
    if len(given) > 2 and hasattr(given[0], "forward"):
        shown = ", ".join(map(repr, given[:2]))
        return f"modules must be a list, got {len(given)} objects; write Sequential([{shown}, ...])"
    return None


def check_methods(modules, loss):
    """Raise TypeError unless modules and loss, if any, have a forward."""
    if (
        type(modules) is list
        and all([hasattr(x, "forward") and not isinstance(x, type) for x in modules])
        and (loss is None or hasattr(loss, "forward") and not isinstance(loss, type))
    ):
        return  # the fast path, taken by each call of partial_fit
    check_list(modules, loss)
    for i, x in enumerate(modules if loss is None else (*modules, loss)):
        if not hasattr(x, "forward"):
            raise TypeError(
                f"{_place(i, modules)} must have the methods forward and backward, "
                f"got {type(x).__name__}"
            )


def _place(i, modules):
    return f"modules[{i}]" if i < len(modules) else "loss"


def _remedy(given, records):
    """Return what to write in place of a class or a name of one of the records."""
    if isinstance(given, type):
        return f"write {_names.call_of(given)}"
    cls = _class_named(given, records)
    return (
        f"write {_names.call_of(cls)}"
        if cls
        else f"write one of {', '.join(map(_names.call_of, records))}"
    )


def _class_named(word, records):
    """Return the library's class that a word stands for, or None."""
    word = _names.squashed(word)
    for cls, record in records.items():
        if word in (cls.__name__.lower(), *record.aliases, *_names.CLASSES.get(cls.__name__, ())):
            return cls
    by_name = {cls.__name__: cls for cls in records}
    return by_name.get(_names.closest(word, by_name))
