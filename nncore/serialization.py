"""Models as `.npz` files: NumPy arrays and one JSON text, no pickle, written atomically.

Entries: `model` (JSON: format, version, modules in order with a list for an inner Sequential,
settings of modules by index, loss, loss_settings if not the default ones, metadata, flat if
`predict` returns numbers (N,), and optimizer: name, parameters, t), `i.W`, `i.W0` for the Linear at
index i (`i.G`, `i.B` and running statistics for a BatchNorm), and `i.W.k`, `i.W0.k` for array k of
the optimizer's state for these. An index counts the modules of inner Sequentials one by one.

Whatever a file holds, `read` returns a network or raises one ValueError that names the file. It
reads only the entries that the description calls for, and its memory is bounded by the file's size.
"""

import numpy as np

from nncore import _chain, _checks, _files, _memory, _npz, _preprocessing, registry
from nncore.training import preparation, validate

__all__ = [
    "as_json",
    "describe",
    "description",
    "load_metadata",
    "loss_of",
    "loss_settings",
    "network",
    "read",
    "save",
]

FORMAT, VERSION = "nncore", 1
# Bounds for networks that are loaded or saved: far beyond any useful network, far
# below the limits of stack and memory.
DEEPEST, MOST_MODULES = 100, 100_000
# `save` does not compress. A file that another tool has compressed may inflate to INFLATED times
# its size, or to SMALL bytes.
INFLATED, SMALL = 8, 2**23


_MODULES = {cls.__name__: record for cls, record in registry.MODULES.items()}
_LOSSES = {cls.__name__: record for cls, record in registry.LOSSES.items()}


# ---------------------------------------------------------------- saving


def save(net, path, metadata=None):
    """Write net to path (str, bytes or os.PathLike), exactly as named.

    metadata: a dict that JSON can hold; NumPy scalars are saved as plain numbers. The network's
    scaling, classes and names go into it under their own names. A regular file
    is replaced atomically: path holds the old model or the new one, never a part. It keeps its
    mode, and its owner if the process may set it. Devices and FIFOs are written into.

    TypeError for modules that are not the library's own, ValueError for settings that `load` would
    refuse, OSError if the file cannot be written.
    """
    validate.check_widths(_chain.modules_of(net))
    if getattr(net, "_preprocessing", None) is not None:
        preparation.check(net)
    model, arrays = describe(net, metadata)
    if net.optimizer is not None:
        model["optimizer"] = _describe_optimizer(net.optimizer, arrays)
    arrays["model"] = np.array(as_json(model))
    _files.write(path, lambda file: np.savez(file, **arrays))


def describe(net, metadata=None):
    """Return (description as a dict, arrays by entry name), without the optimizer."""
    arrays, settings = {}, {}
    for i, module in enumerate(_chain.modules_of(net)):
        kind = _MODULES[_name_of(module, _MODULES, f"modules[{i}]")]
        for name in (*module.gradients, *getattr(module, "statistics_arrays", ())):
            arrays[f"{i}.{name}"] = _checks.real(f"{name} of modules[{i}]", getattr(module, name))
        if kind.settings and not _has_defaults(module, kind):
            settings[i] = _plain_settings(module, kind, f"modules[{i}]")
    loss = None if net.loss is None else _name_of(net.loss, _LOSSES, "loss")
    kinds = _kinds(net)
    _flat(kinds)
    model = {
        "format": FORMAT,
        "version": VERSION,
        "modules": kinds,
        "settings": settings,
        "loss": loss,
        "flat": bool(getattr(net, "_flat", False)),
        "metadata": _metadata(net, metadata),
    }
    model.update(loss_settings(net.loss))
    return model, arrays


def _metadata(net, given):
    """Return the metadata with what the network knows about its data; that given wins."""
    own = getattr(net, "_preprocessing", None)
    if own is None or given is not None and not isinstance(given, dict):
        return given or {}
    return {**own.as_metadata(), **(given or {})}


def loss_settings(loss):
    """Return {"loss_settings": ...} for a library loss with other settings than the default ones,
    else {}.
    """
    record = None if loss is None else registry.record_of(loss, registry.LOSSES)
    if record is None or not record.has_settings(loss):
        return {}
    return {"loss_settings": _plain_settings(loss, record, "loss")}


def _has_defaults(module, kind):
    """Return whether a module has the settings that its class's attributes say; files leave out
    those of classes that once had none, so that older versions read them.
    """
    return bool(kind.later) and all(
        getattr(module, name) == getattr(kind.cls, name) for name in kind.settings
    )


def _plain_settings(thing, kind, where):
    """Return the settings of a module or loss as plain numbers; refuse those that its constructor
    would.
    """
    twin = kind.cls.__new__(kind.cls)
    try:
        twin._configure(**{name: getattr(thing, name) for name in kind.settings})
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where} must have settings that can be loaded: {error}") from None
    values = {name: getattr(twin, name) for name in kind.settings}
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}


def _kinds(net):
    """Names of the modules, those of an inner Sequential in a list."""
    return [
        _kinds(module) if hasattr(module, "modules") else _name_of(module, _MODULES, "modules")
        for module in net.modules
    ]


def _name_of(thing, kinds, where):
    for name, kind in kinds.items():
        if type(thing) is kind.cls or (
            type(thing).__module__ == "nncore.reference" and isinstance(thing, kind.cls)
        ):
            return name
    raise TypeError(
        f"{where} must be one of the library's own to be saved, got {type(thing).__name__}"
    )


def _describe_optimizer(optimizer, arrays):
    """Return the JSON description of an optimizer; its state goes into arrays."""
    names = {record.cls: name for name, record in registry.OPTIMIZERS.items()}
    if type(optimizer) not in names:
        raise TypeError(
            f"optimizer must be one of nncore.optimizers to be saved, got "
            f"{type(optimizer).__name__}"
        )
    name = names[type(optimizer)]
    made = _make_optimizer(name, optimizer.parameters, optimizer.t)
    for (i, weight), state in optimizer.state.items():
        arrays.update({f"{i}.{weight}.{k}": array for k, array in enumerate(state)})
    return {"name": name, "parameters": made.parameters, "t": made.t}


def _make_optimizer(name, parameters, t):
    _checks.choice("name", name, tuple(registry.OPTIMIZERS))
    optimizer = registry.OPTIMIZERS[name].cls(**parameters)
    optimizer.t = _checks.counter("t", t)
    return optimizer


def as_json(model):
    """Return the description as a text."""
    import json

    def plain(x):
        if isinstance(x, np.generic):
            return x.item()
        raise TypeError(f"got {type(x).__name__}")

    if not isinstance(model["metadata"], dict):
        raise TypeError(f"metadata must be a dict, got {type(model['metadata']).__name__}")
    try:
        return json.dumps(model, default=plain)
    except (TypeError, ValueError, RecursionError) as error:  # the rest of the model is plain
        raise TypeError(f"metadata must be what JSON can hold ({error})") from None


# ---------------------------------------------------------------- loading


def load_metadata(path):
    """Return the metadata dict saved with the model at path."""
    return _read(path, lambda archive, model: model["metadata"])


def read(path, make_network, scaling=True):
    """Return (network, metadata), both from one file even if another process replaces it.

    make_network: called with a list of modules, and for the outermost network also with its loss,
    like Sequential, which imports this module. scaling: whether the network gets the attributes
    that are in the metadata.
    """

    net, metadata = _read(
        path, lambda archive, model: (network(archive, model, make_network), model["metadata"])
    )
    if scaling:
        try:
            restore_preprocessing(net, metadata)
        except ValueError as error:
            raise ValueError(
                f"{_files.name(path)}: {_npz.one_line(error)}; nncore.load(path, scaling=False) "
                f"gives the network alone"
            ) from None
    return net, metadata


def restore_preprocessing(net, metadata):
    """Give a network the scaling, classes and names in the metadata; ValueError if they are none
    that fit it.
    """
    try:
        found = _preprocessing.made(**{name: metadata.get(name) for name in _preprocessing.NAMES})
        net._preprocessing = found
        if found is not None:
            preparation.check(net)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _read(path, build):
    """Return build(archive, description) for the model at path; one ValueError for all faults."""
    path = _files.name(path)
    refusal = f"{path} is not an nncore model file (expected an .npz written by `save`)"
    try:
        with _files.errors_name(path), _files.open_regular(path) as file:
            size = file.seek(0, 2)
            try:
                archive = _npz.Archive(file, most=max(SMALL, INFLATED * size))
            except ValueError:
                raise ValueError(refusal) from None
            return build(archive, description(archive))
    except ValueError as error:
        text = str(error)
        reason = "" if text == refusal else f": {_npz.one_line(text)}"
        raise ValueError(refusal + reason) from None


def description(archive):
    """Return the JSON text as a dict with all required fields, of their types."""
    import json

    try:
        model = json.loads(archive.text("model"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"there is no description of a model ({error})") from None
    if not isinstance(model, dict) or model.get("format") != FORMAT:
        raise ValueError("there is no description of a model")
    if model.get("version") != VERSION:
        raise ValueError(
            f"the format has version {model.get('version')!r}; this nncore reads version {VERSION}"
        )
    optional = {
        "settings": {},
        "loss": None,
        "loss_settings": None,
        "optimizer": None,
        "flat": False,
    }
    fields = {
        "modules": list,
        "metadata": dict,
        "settings": dict,
        "loss": str | None,
        "loss_settings": dict | None,
        "optimizer": dict | None,
        "flat": bool,
    }
    for field, kind in fields.items():
        given = model.setdefault(field, optional.get(field))
        if not isinstance(given, kind):
            raise ValueError(
                f"the description is incomplete: {field} is of type {type(given).__name__}"
            )
    return model


def network(archive, model, make_network):
    """Return the network of a description and of an archive: `name in archive`, `array(name)`."""
    chain = []
    width = None
    for i, name in enumerate(_flat(model["modules"])):
        if name not in _MODULES:
            raise ValueError(f"module {i} is of an unknown type {name!r}")
        kind = _MODULES[name]
        module = kind.cls.__new__(kind.cls)
        inputs = outputs = width
        settings = model["settings"].get(str(i))
        if kind.settings and (settings is not None or not kind.later):
            _configure(module, settings, kind.settings, f"module {i}")
        if name == "Linear":
            inputs, outputs = _load_linear(archive, module, i)
        elif name == "BatchNorm":
            inputs = outputs = _load_norm(archive, module, i)
        if width not in (None, inputs):
            raise ValueError(f"module {i} takes {inputs} inputs after {width} outputs")
        width = outputs
        chain.append(module)
    net = make_network(_nested(model["modules"], iter(chain), make_network), loss_of(model))
    if model["flat"]:
        net._flat = True
    if model["optimizer"] is not None:
        net.optimizer = _load_optimizer(archive, model["optimizer"], chain)
    return net


def _flat(kinds):
    """Return the names in nested lists in order; ValueError for other content or too much of it."""
    names, seen, unfinished = [], 0, [iter(kinds)]
    while unfinished:
        for kind in unfinished[-1]:
            seen += 1
            if isinstance(kind, list):
                unfinished.append(iter(kind))
                break
            if not isinstance(kind, str):
                raise ValueError(
                    "the description is incomplete: "
                    f"the name of a module is of type {type(kind).__name__}"
                )
            names.append(kind)
        else:
            unfinished.pop()
        if len(unfinished) > DEEPEST or seen > MOST_MODULES:
            raise ValueError(
                f"a network must have at most {MOST_MODULES} modules, "
                f"nested at most {DEEPEST} deep, to be saved"
            )
    return names


def _nested(kinds, chain, make_network):
    """Return the modules of chain, with networks where kinds has lists."""
    return [
        make_network(_nested(kind, chain, make_network)) if isinstance(kind, list) else next(chain)
        for kind in kinds
    ]


def loss_of(model):
    """Return the loss of a description, or None; ValueError if it is none of the library's."""
    name, settings = model["loss"], model.get("loss_settings")
    if name is None:
        return None
    if name not in _LOSSES:
        raise ValueError(f"the loss is of an unknown type {name!r}")
    loss = _LOSSES[name].cls()
    if settings is not None:
        _configure(loss, settings, _LOSSES[name].settings, "the loss")
    return loss


def _configure(thing, settings, names, what):
    """Give a module or loss its settings through the checks of its constructor."""
    if not isinstance(settings, dict) or not all(name in settings for name in names):
        raise ValueError(f"the settings of {what} are missing")
    try:
        thing._configure(**{name: settings[name] for name in names})
    except (TypeError, ValueError) as error:
        raise ValueError(f"the settings of {what} cannot be read ({error})") from None


def _weight(archive, i, name):
    """Return an array of module i; ValueError unless it is there and of a real type."""
    if f"{i}.{name}" not in archive:
        raise ValueError(f"the weights of module {i} are missing: {name}")
    a = archive.array(f"{i}.{name}")
    if a.dtype.kind not in _checks.REAL_KINDS:
        raise ValueError(
            f"the weights of module {i} are of the wrong type: {name} is {_checks.describe(a)}"
        )
    return a


def _columns(archive, i, names, m):
    """Return arrays of module i, all of shape (m, 1); m None: the first one decides."""
    found = []
    for name in names:
        a = _weight(archive, i, name)
        m = a.size if m is None else m
        if a.shape != (m, 1):
            raise ValueError(
                f"the weights of module {i} are of the wrong shape: "
                f"{name} is {a.shape}, not {(m, 1)}"
            )
        found.append(a)
    return found


def _load_linear(archive, module, i):
    """Set W, W0 and their sizes; return (inputs, outputs)."""
    W = _weight(archive, i, "W")
    if W.ndim != 2:
        raise ValueError(f"the weights of module {i} are of the wrong shape: W is {W.shape}")
    module.m, module.n = _sizes(i, W, m=W.shape[0], n=W.shape[1])
    module.W = _memory.aligned(W) if W.flags.c_contiguous else W
    if module.bias is False and f"{i}.W0" not in archive:
        module.W0 = np.zeros((module.n, 1), W.dtype)
    else:
        module.W0 = _columns(archive, i, ["W0"], module.n)[0]
    return W.shape


def _load_norm(archive, module, i):
    """Set G, B and the running statistics; return their size m."""
    names = (*module.gradients, *module.statistics_arrays)
    for name, array in zip(names, _columns(archive, i, names, None), strict=True):
        setattr(module, name, array)
    (module.m,) = _sizes(i, module.G, m=module.G.size)
    return module.m


def _sizes(i, W, **sizes):
    """Return the sizes of module i, whose weights are W; refuse those its constructor would."""
    try:
        return [_checks.count(name, size, 1) for name, size in sizes.items()]
    except ValueError as error:
        raise ValueError(f"the weights of module {i} have shape {W.shape}: {error}") from None


def _load_optimizer(archive, described, chain):
    """Return the optimizer that was saved with the modules of chain, with its state."""
    if not isinstance(parameters := described.get("parameters"), dict):
        raise ValueError("the description of the optimizer has no parameters")
    try:
        optimizer = _make_optimizer(described.get("name"), parameters, described.get("t"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the description of the optimizer cannot be read ({error})") from None
    for i, module in enumerate(chain):
        for name in getattr(module, "gradients", ()):
            keys = [f"{i}.{name}.{k}" for k in range(len(optimizer.STATE))]
            if not any(key in archive for key in keys):
                continue  # not trained yet
            W = getattr(module, name)
            state = tuple(archive.array(key) for key in keys)
            if any(a.shape != W.shape or a.dtype != W.dtype for a in state):
                raise ValueError(
                    f"the optimizer's state for {name} of module {i} is not of its shape and type"
                )
            optimizer.state[i, name] = tuple(map(np.ascontiguousarray, state))
    return optimizer
