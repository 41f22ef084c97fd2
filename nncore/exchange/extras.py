"""Import optional packages when they are used."""

import importlib


def need(name, what, install):
    """Import a package; ImportError naming the command that installs it.

    The name is a string on purpose: tools that freeze programs would put ONNX and PyTorch, hundreds
    of megabytes, into every program that imports nncore.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{what} needs the package {name.partition('.')[0]}; install it with "
            f"`pip install {install}` ({error})"
        ) from None
