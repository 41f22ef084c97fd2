"""Explain in one sentence, with the remedy, why the compiled core could not be imported."""

import importlib.machinery
import os
import sys

# The words of CPython, Cython and NumPy for an extension module loaded twice in one process.
_SUBINTERPRETER = (
    "subinterpreter",
    "sub-interpreter",
    "interpreter change",
    "more than once per process",
)


def explained(error):
    """Return the ImportError to raise instead of `error`, which importing nncore._core has raised.

    It is `error` itself if that needs no explanation.
    """
    words = " ".join(str(error).split())
    # an invalid environment variable: its own sentence is enough
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
        "if this names a library, install it, else rebuild nncore "
        "on this system"
    )


def _files():
    return os.listdir(os.path.dirname(__file__))
