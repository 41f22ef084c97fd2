"""Check the docstrings of all public names with numpydoc's validator; `make lint` runs this.

The checks are those of [tool.numpydoc_validation] in pyproject.toml. EX01, an example, applies to
modules' functions and classes only: a method is shown by the example of its class.
"""

import inspect
import sys
import tomllib
import types
from pathlib import Path

from numpydoc import validate

import nncore
import nncore.callbacks
import nncore.checking
import nncore.datasets
import nncore.export
import nncore.foreign
import nncore.kernels.numpy_kernels
import nncore.optimizers
import nncore.sklearn

ROOT = Path(__file__).parent.parent
MODULES = (
    nncore,
    nncore.callbacks,
    nncore.checking,
    nncore.datasets,
    nncore.export,
    nncore.foreign,
    nncore.kernels.numpy_kernels,
    nncore.losses,
    nncore.modules,
    nncore.optimizers,
    nncore.schedules,
    nncore.sklearn,
)


def public_names():
    """Return {full name: object} of all public functions and classes, and the classes' members."""
    names = {}
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if not isinstance(thing, (type, types.FunctionType)):
                continue  # a module, or a compiled function, whose docstring is in src/
            full = f"{module.__name__}.{name}"
            if any(thing is other for other in names.values()):
                continue
            names[full] = thing
            if inspect.isclass(thing):
                names |= {f"{full}.{member}": m for member, m in members(thing).items()}
    return names


def members(cls):
    """Return {name: method or property} of a class's own public members.

    A method that overrides a documented one may inherit its docstring.
    """
    return {
        name: member
        for name, member in vars(cls).items()
        if not name.startswith("_")
        and not name.endswith("_request")  # made by scikit-learn
        and (inspect.isroutine(member) or isinstance(member, property))
        and not (not member.__doc__ and inspect.getdoc(getattr(cls, name)))
    }


def errors(name, checks):
    """Return the sentences about one docstring."""
    if name.rpartition(".")[0] in public:
        checks = checks - {"EX01"}
    found = validate.validate(name)["errors"]
    return [f"{name}: {code} {text}" for code, text in found if code in checks]


with open(ROOT / "pyproject.toml", "rb") as file:
    config = tomllib.load(file)["tool"]["numpydoc_validation"]
listed = set(config["checks"])
checks = set(validate.ERROR_MSGS) - listed if "all" in listed else listed
public = public_names()
wrong = [line for name in public for line in errors(name, checks)]
print("\n".join(wrong) or f"docstrings of {len(public)} public names: no errors")
sys.exit(bool(wrong))
