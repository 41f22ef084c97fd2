"""Why the compiled core could not be imported, in one sentence with the remedy."""

import importlib.machinery
import os
import sys

# What CPython, Cython and NumPy say when an extension module is loaded twice in one process.
_SUBINTERPRETER = (
    "subinterpreter",
    "sub-interpreter",
    "interpreter change",
    "more than once per process",
)


def explained(error):
    """The ImportError to raise instead of `error`, which importing nncore._core has raised.

    `error` itself where it says it all.
    """
    words = " ".join(str(error).split())
    # a wish of the environment's that cannot be fulfilled: its own sentence says all
    if "NNCORE_" in words:
        return error
    if any(hint in words.lower() for hint in _SUBINTERPRETER):
        return ImportError(
            f"nncore does not support subinterpreters; use threads or processes ({words})"
        )
    if isinstance(error, ModuleNotFoundError) and error.name != "nncore._core":
        return ImportError(
            f"nncore needs {error.name}, which is not installed; "
            f"install it with `pip install {error.name}` ({words})"
        )
    if not os.path.isdir(os.path.dirname(__file__)):
        return ImportError(
            f"nncore's compiled core is not there ({words}); "
            "Python loads no compiled modules from a zip archive: unpack it"
        )
    if isinstance(error, ModuleNotFoundError):
        others = sorted(
            name
            for name in _files()
            if name.startswith("_core.")
            and name.endswith((".so", ".pyd"))
            and name.removeprefix("_core") not in importlib.machinery.EXTENSION_SUFFIXES
        )
        found = (
            f"; found only {', '.join(others)}, "
            f"which this Python {sys.version_info[0]}.{sys.version_info[1]} cannot load"
            if others
            else ""
        )
        return ImportError(
            f"nncore's compiled core is not there ({words}{found}); "
            "build it with `pip install .`, or in a checkout with "
            "`pip install -e .`"
        )
    return ImportError(
        f"nncore's compiled core could not be loaded: {words}; "
        "if this names a library, install it, else build nncore anew "
        "on this system"
    )


def _files():
    return os.listdir(os.path.dirname(__file__))
