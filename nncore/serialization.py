"""Models as `.npz` files: NumPy arrays and one JSON text, no pickle, written atomically.

Entries: `model` (JSON: format, version, modules in order, loss, metadata), and `i.W`, `i.W0` for the Linear at index i.
"""

import os

import numpy as np

from nncore import _checks

__all__ = ["load", "load_metadata", "save"]

FORMAT, VERSION = "nncore", 1


def _library():
    from nncore import losses, modules

    return ({c.__name__: c for c in (modules.Linear, modules.Tanh, modules.ReLU, modules.Sigmoid, modules.SoftMax, modules.OutputSigmoid)},
            {c.__name__: c for c in (losses.NLL, losses.BinaryNLL, losses.Squared, losses.Hinge)})


def save(net, path, metadata=None):
    """Write net to path, exactly as named, together with metadata (a dict that JSON can hold).

    The file is written beside its place and then renamed, so that path holds the old model or the new one, never half of one.
    TypeError for modules that are not the library's own; OSError when the place cannot be written.
    """
    import json
    import secrets

    module_types, loss_types = _library()
    arrays = {}
    kinds = []
    for i, module in enumerate(net.modules):
        kinds.append(_name_of(module, module_types, f"modules[{i}]"))
        if kinds[-1] == "Linear":
            for name in ("W", "W0"):
                a = _checks.real(f"{name} of modules[{i}]", getattr(module, name))
                arrays[f"{i}.{name}"] = a
    loss = None if net.loss is None else _name_of(net.loss, loss_types, "loss")
    model = {"format": FORMAT, "version": VERSION, "modules": kinds, "loss": loss, "metadata": metadata or {}}
    arrays["model"] = np.array(json.dumps(model))
    path = os.path.realpath(os.fspath(path))
    beside = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(beside, "xb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise


def _name_of(thing, types, where):
    for name, cls in types.items():
        if type(thing) is cls or (type(thing).__module__ == "nncore.reference" and isinstance(thing, cls)):
            return name
    raise TypeError(f"{where} must be one of the library's own to be saved, got {type(thing).__name__}")


def load(path):
    """The network saved at path.

    >>> import os, tempfile
    >>> import nncore as nn
    >>> net = nn.Sequential([nn.Linear(2, 2), nn.SoftMax()], nn.NLL())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(os.path.join(folder, "model.npz"))
    ...     again = nn.load(os.path.join(folder, "model.npz"))
    >>> (again.modules[0].W == net.modules[0].W).all().item()
    True
    """
    from nncore.sequential import Sequential

    module_types, loss_types = _library()
    model, arrays = _read(path)
    chain = []
    width = None
    for i, name in enumerate(model["modules"]):
        if name not in module_types:
            raise _refuse(path, f"module {i} is of an unknown type {name!r}")
        module = module_types[name].__new__(module_types[name])
        if name == "Linear":
            W, W0 = arrays.get(f"{i}.W"), arrays.get(f"{i}.W0")
            if (W is None or W0 is None or W.ndim != 2 or W0.shape != (W.shape[1], 1)
                    or any(a.dtype.kind not in _checks.REAL_KINDS for a in (W, W0))):
                raise _refuse(path, f"the weights of module {i} are missing or of the wrong shape")
            if width not in (None, W.shape[0]):
                raise _refuse(path, f"module {i} takes {W.shape[0]} inputs after {width} outputs")
            module.m, module.n = W.shape
            module.W, module.W0, width = W, W0, W.shape[1]
        chain.append(module)
    if model["loss"] is not None and model["loss"] not in loss_types:
        raise _refuse(path, f"the loss is of an unknown type {model['loss']!r}")
    return Sequential(chain, None if model["loss"] is None else loss_types[model["loss"]]())


def load_metadata(path):
    """The metadata dict saved with the model at path."""
    return _read(path)[0]["metadata"]


def _refuse(path, reason):
    return ValueError(f"{os.fspath(path)} must be a model saved by nncore, got a file in which {reason}")


def _read(path):
    import json

    with open(path, "rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as file:
                arrays = {name: np.asarray(file[name]) for name in file.files}
        except MemoryError:
            raise
        except Exception as error:  # NumPy and zipfile meet damaged bytes with any of a dozen types
            raise _refuse(path, f"no model can be read ({error})") from None
    try:
        model = json.loads(str(arrays["model"][()]))
        complete = (model["format"] == FORMAT and isinstance(model["modules"], list) and isinstance(model["metadata"], dict)
                    and all(isinstance(name, str) for name in (*model["modules"], model["loss"] or "")))
        version = model["version"]
    except (KeyError, TypeError, ValueError):
        raise _refuse(path, "there is no description of a model") from None
    if not complete:
        raise _refuse(path, "the description of the model is incomplete")
    if version != VERSION:
        raise _refuse(path, f"the format has version {version}; this nncore reads version {VERSION}")
    return model, arrays
