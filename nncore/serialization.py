"""Models as `.npz` files: NumPy arrays and one JSON text, no pickle, written atomically.

Entries: `model` (JSON: format, version, modules in order with a list for an inner Sequential, settings of modules by index, loss, metadata,
and optimizer: name, parameters, t), `i.W`, `i.W0` for the Linear at index i (`i.G`, `i.B` and running statistics for a BatchNorm), and
`i.W.k`, `i.W0.k` for array k of the optimiser's state for these. An index counts the modules of inner Sequentials one by one.
"""

import os

import numpy as np

from nncore import _chain, _checks

__all__ = ["load", "load_metadata", "save"]

FORMAT, VERSION = "nncore", 1
SETTINGS = {"BatchNorm": ("statistics", "momentum", "eps"), "Dropout": ("p", "key", "count")}


def _library():
    from nncore import losses, modules

    kinds = (modules.Linear, modules.Tanh, modules.ReLU, modules.Sigmoid, modules.SoftMax, modules.OutputSigmoid, modules.BatchNorm,
             modules.Dropout)
    return ({c.__name__: c for c in kinds},
            {c.__name__: c for c in (losses.NLL, losses.BinaryNLL, losses.Squared, losses.Hinge)})


def save(net, path, metadata=None):
    """Write net to path, exactly as named, together with metadata (a dict that JSON can hold).

    The file is written beside its place and then renamed, so that path holds the old model or the new one, never half of one.
    TypeError for modules that are not the library's own; OSError when the place cannot be written.
    """
    import json
    import secrets

    module_types, loss_types = _library()
    arrays, settings = {}, {}
    for i, module in enumerate(_chain.modules_of(net)):
        kind = _name_of(module, module_types, f"modules[{i}]")
        for name in (*module.gradients, *getattr(module, "statistics_arrays", ())):
            arrays[f"{i}.{name}"] = _checks.real(f"{name} of modules[{i}]", getattr(module, name))
        if kind in SETTINGS:
            settings[i] = {name: getattr(module, name) for name in SETTINGS[kind]}
    loss = None if net.loss is None else _name_of(net.loss, loss_types, "loss")
    model = {"format": FORMAT, "version": VERSION, "modules": _kinds(net, module_types), "settings": settings, "loss": loss,
             "metadata": metadata or {}}
    if net.optimizer is not None:
        model["optimizer"] = _describe_optimizer(net.optimizer, arrays)
    arrays["model"] = np.array(json.dumps(model))
    path = os.path.realpath(os.fspath(path))
    beside = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(beside, "xb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        if os.path.exists(beside):
            os.unlink(beside)
        if isinstance(error, OSError) and error.filename == beside:
            raise type(error)(error.errno, error.strerror, path) from None
        raise


def _kinds(net, module_types):
    """Names of the modules, those of an inner Sequential in a list."""
    return [_kinds(module, module_types) if hasattr(module, "modules") else _name_of(module, module_types, "modules")
            for module in net.modules]


def _describe_optimizer(optimizer, arrays):
    """What JSON can hold of an optimiser; its state goes into arrays."""
    from nncore import optimizers

    if type(optimizer) not in optimizers.NAMES.values():
        raise TypeError(f"optimizer must be one of nncore.optimizers to be saved, got {type(optimizer).__name__}")
    for (i, name), state in optimizer.state.items():
        arrays.update({f"{i}.{name}.{k}": array for k, array in enumerate(state)})
    return {"name": type(optimizer).__name__.lower(), "parameters": optimizer.parameters, "t": optimizer.t}


def _load_optimizer(path, described, chain, arrays):
    """The optimiser that was saved with the modules of chain, with its state."""
    from nncore import optimizers

    try:
        optimizer = optimizers.NAMES[described["name"]](**described["parameters"])
        optimizer.t = _checks.count("t", described["t"])
    except (KeyError, TypeError, ValueError) as error:
        raise _refuse(path, f"the description of the optimizer cannot be read ({error})") from None
    for i, module in enumerate(chain):
        for name in getattr(module, "gradients", ()):
            state = tuple(arrays[key] for key in (f"{i}.{name}.{k}" for k in range(len(optimizer.STATE))) if key in arrays)
            W = getattr(module, name)
            if state and (len(state) != len(optimizer.STATE) or any(a.shape != W.shape or a.dtype != W.dtype for a in state)):
                raise _refuse(path, f"the optimizer's state for {name} of module {i} is not of its shape and type")
            if state:
                optimizer.state[i, name] = tuple(np.array(a, order="C") for a in state)
    return optimizer


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
    for i, name in enumerate(_flat(model["modules"])):
        if name not in module_types:
            raise _refuse(path, f"module {i} is of an unknown type {name!r}")
        module = module_types[name].__new__(module_types[name])
        inputs = outputs = width
        if name == "Linear":
            inputs, outputs = _load_linear(path, module, i, arrays)
        elif name == "BatchNorm":
            inputs = outputs = _load_norm(path, module, i, _settings(path, model, i, name), arrays)
        elif name == "Dropout":
            _load_dropout(path, module, i, _settings(path, model, i, name))
        if width not in (None, inputs):
            raise _refuse(path, f"module {i} takes {inputs} inputs after {width} outputs")
        width = outputs
        chain.append(module)
    if model["loss"] is not None and model["loss"] not in loss_types:
        raise _refuse(path, f"the loss is of an unknown type {model['loss']!r}")
    net = Sequential(_nested(model["modules"], iter(chain)), None if model["loss"] is None else loss_types[model["loss"]]())
    if model.get("optimizer") is not None:
        net.optimizer = _load_optimizer(path, model["optimizer"], chain, arrays)
    return net


def _flat(kinds):
    for kind in kinds:
        if isinstance(kind, list):
            yield from _flat(kind)
        else:
            yield kind


def _nested(kinds, chain):
    """The modules of chain, one after the other, with Sequentials where kinds has lists."""
    from nncore.sequential import Sequential

    return [Sequential(_nested(kind, chain)) if isinstance(kind, list) else next(chain) for kind in kinds]


def _real_arrays(path, i, arrays, names, shape):
    """Arrays of module i by name, all real and of one shape; shape None: of that of the first, (m, 1)."""
    found = [arrays.get(f"{i}.{name}") for name in names]
    if shape is None and found[0] is not None:
        shape = (found[0].size, 1)
    if any(a is None or a.shape != shape or a.dtype.kind not in _checks.REAL_KINDS for a in found):
        raise _refuse(path, f"the weights of module {i} are missing or of the wrong shape")
    return found


def _load_linear(path, module, i, arrays):
    """(inputs, outputs)"""
    W = arrays.get(f"{i}.W")
    if W is None or W.ndim != 2 or W.dtype.kind not in _checks.REAL_KINDS:
        raise _refuse(path, f"the weights of module {i} are missing or of the wrong shape")
    module.m, module.n = W.shape
    module.W, module.W0 = W, _real_arrays(path, i, arrays, ["W0"], (W.shape[1], 1))[0]
    return W.shape


def _load_norm(path, module, i, settings, arrays):
    """Its size m."""
    try:
        module.statistics = _checks.choice("statistics", settings["statistics"], ("batch", "running"))
        module.momentum, module.eps = _checks.number("momentum", settings["momentum"]), _checks.number("eps", settings["eps"])
    except (TypeError, ValueError) as error:
        raise _refuse(path, f"the settings of module {i} cannot be read ({error})") from None
    names = (*module.gradients, *module.statistics_arrays)
    for name, array in zip(names, _real_arrays(path, i, arrays, names, None), strict=True):
        setattr(module, name, array)
    module.m = module.G.size
    return module.m


def _load_dropout(path, module, i, settings):
    try:
        module.p, module.count = _checks.share("p", settings["p"]), _checks.count("count", settings["count"])
        module.key = None if settings["key"] is None else _checks.word("key", settings["key"])
    except (TypeError, ValueError) as error:
        raise _refuse(path, f"the settings of module {i} cannot be read ({error})") from None


def _settings(path, model, i, kind):
    settings = model.get("settings", {}).get(str(i), {})
    if not all(name in settings for name in SETTINGS[kind]):
        raise _refuse(path, f"the settings of module {i} are missing")
    return settings


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
                    and all(isinstance(name, str) for name in (*_flat(model["modules"]), model["loss"] or ""))
                    and isinstance(model.get("settings", {}), dict))
        version = model["version"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise _refuse(path, "there is no description of a model") from None
    if not complete:
        raise _refuse(path, "the description of the model is incomplete")
    if version != VERSION:
        raise _refuse(path, f"the format has version {version}; this nncore reads version {VERSION}")
    return model, arrays
