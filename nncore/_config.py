"""show_config: the installation and the machine."""

from __future__ import annotations

import platform
from typing import Any, Literal

import numpy as np

from nncore import _backend, _core
from nncore._version import __version__


def show_config(mode: Literal["print", "dict"] = "print") -> dict[str, Any] | None:
    """Print the live backend, instruction-set level, threads, compiler and versions.

    Parameters
    ----------
    mode : {"print", "dict"}
        "dict" returns the configuration instead of printing it.

    Returns
    -------
    dict or None
        The configuration for mode="dict".

    Raises
    ------
    ValueError
        For another mode.

    Examples
    --------
    >>> import nncore
    >>> sorted(nncore.show_config(mode="dict"))
    ['backend', 'compiler', 'cython', 'isa', 'isa_available', 'numpy',
     'numpy_build', 'python', 'threads', 'version']
    """
    config = {
        "version": __version__,
        "backend": _backend.get_backend(),
        **_core.config(),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    if mode == "dict":
        return config
    if mode != "print":
        raise ValueError(f"mode must be 'print' or 'dict', got {mode!r}")
    for name, value in config.items():
        print(f"{name:14} {', '.join(value) if isinstance(value, tuple) else value}")
    return None
