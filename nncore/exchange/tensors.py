"""safetensors files in PyTorch's names and layout, written and read without any other package.

The format: 8 bytes with the length of a JSON header, the header, then the arrays' bytes. The header
maps names to type, shape and place, and "__metadata__" to texts.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nncore import _checks, _files, _kinds, _npz, _preprocessing, modules, serialization
from nncore._types import Scaling, StrPath
from nncore.exchange import arrays, chain
from nncore.sequential import Sequential

__all__ = ["import_safetensors", "safetensors"]

TYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
COUNTERS = {"I64": np.dtype("<i8")}  # PyTorch's num_batches_tracked
# Enough for 5000 layers; a header of so many bytes parses to less than 40 MB.
LONGEST_HEADER = 2**20
MOST_AXES = 8
# PyTorch's names of the weights.
NAMES = {
    modules.Linear: {"W": "weight", "W0": "bias"},
    modules.BatchNorm: {
        "G": "weight",
        "B": "bias",
        "running_mean": "running_mean",
        "running_var": "running_var",
    },
}


# ------------------------------------------------------------------------------------------ writing


def safetensors(
    net: Sequential,
    path: StrPath,
    *,
    scaling: Scaling | None = None,
    classes: Sequence[int] | None = None,
) -> None:
    """Write a network's weights as a safetensors file in PyTorch's names and layout.

    The names are those of the state of `torch.nn.Sequential` with the same modules, such as
    "0.weight" (outputs, inputs) and "0.bias" (outputs,); the bits are those of the network. The
    metadata describe the modules, so that `import_safetensors` makes the whole network again.

    Parameters
    ----------
    net : Sequential
        The network, of nncore's own modules.
    path : str, bytes or os.PathLike
        The file, replaced as a whole if all goes well.
    scaling : dict, optional
        {"shift", "factor"}, as `datasets.fit_scaling` returns it: becomes a first BatchNorm with
        running statistics, which `import_safetensors` makes the network's scaling again. By default
        that of the network, if any.
    classes : list of int or str, optional
        The labels of the outputs, stored in the metadata. By default those of the network, if any.

    Raises
    ------
    TypeError
        For networks and modules that are not nncore's own.
    ValueError
        For weights of two types or with NaN, and for layers that do not fit.
    OSError
        If the file cannot be written.

    See Also
    --------
    nncore.import_safetensors : Read such a file.

    Notes
    -----
    The optimizer's state is not written; `Sequential.save` writes it. No package is needed.

    Examples
    --------
    >>> import os, tempfile
    >>> import nncore as nn
    >>> layers = [nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2), nn.SoftMax()]
    >>> net = nn.Sequential(layers, nn.NLL())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.safetensors")
    ...     nn.export.safetensors(net, path)
    ...     again = nn.import_safetensors(path)
    >>> (again.modules[0].W == net.modules[0].W).all().item()
    True
    """
    content = rendered(net, scaling, classes)
    _files.write(path, lambda file: file.write(content))


def rendered(net, scaling=None, classes=None):
    """Return the file's bytes."""
    own = getattr(net, "_preprocessing", None)
    metadata = {} if own is None else own.as_metadata()
    for name in ("scaling", "target_scaling"):  # the latter becomes part of the weights
        metadata.pop(name, None)
    net, scaling, classes = chain.unprepared(net, "safetensors", scaling, classes)
    network = chain.described(net, "safetensors", scaling)
    if network.scaling is not None:
        flat = net._flat
        net = Sequential([chain.scaling_norm(network), *net.modules], net.loss)
        net._flat = flat
        # import_safetensors makes the first module, which is PyTorch's way, this attribute again.
        metadata["scaling"] = _preprocessing.made(scaling=scaling).scaling
        metadata["scaling_module"] = 0
    if classes is not None:
        metadata["classes"] = np.asarray(classes).tolist()
    model, _ = serialization.describe(net, metadata)
    found = {}
    for prefix, module in placed(net):
        for name, other in weights_of(module):
            a = np.asarray(getattr(module, name))
            a = a.astype(_checks.computing_dtype(a).newbyteorder("<"), copy=False)
            found[f"{prefix}.{other}"] = a.T if name == "W" else a.ravel()
        if isinstance(module, modules.BatchNorm) and module.statistics == "running":
            found[f"{prefix}.num_batches_tracked"] = np.array(0, "<i8")
    head = _header(found, {"format": "pt", "nncore": serialization.as_json(model)})
    if len(head) > LONGEST_HEADER:
        raise ValueError(
            f"a network must have a description of at most {LONGEST_HEADER} bytes to be written as "
            f"safetensors, got {len(head)}; `save` has no such limit"
        )

    return b"".join([len(head).to_bytes(8, "little"), head, *(a.tobytes() for a in found.values())])


def placed(net, prefix=""):
    """Yield (PyTorch's prefix, module) of all modules, those of inner networks under theirs."""
    for i, module in enumerate(net.modules):
        if hasattr(module, "modules"):
            yield from placed(module, f"{prefix}{i}.")
        else:
            yield f"{prefix}{i}", module


def weights_of(module):
    """Return (attribute, PyTorch's name) of a module's weights and running statistics."""
    names = NAMES.get(_kinds.kind(module), {})
    return [(name, other) for name, other in names.items() if _has(module, name)]


def _has(module, name):
    if name == "W0" and not chain.has_bias(module):
        return False
    return name in module.gradients or name in getattr(module, "statistics_arrays", ())


def _header(found, metadata):
    head, at = {"__metadata__": metadata}, 0
    kinds = {dtype: kind for kind, dtype in {**TYPES, **COUNTERS}.items()}
    for name, a in found.items():
        head[name] = {
            "dtype": kinds[a.dtype],
            "shape": list(a.shape),
            "data_offsets": [at, at + a.nbytes],
        }
        at += a.nbytes
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


# ------------------------------------------------------------------------------------------ reading


def import_safetensors(
    path: StrPath, activations: Sequence[Any] | None = None, *, eps: float | None = None
) -> Sequential:
    """Read a safetensors file in PyTorch's names and layout as a network.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        The file.
    activations : list, optional
        What follows each Linear and each BatchNorm of a file that nncore did not write, as in
        `from_arrays`. The layers are taken in the order of their numbers.
    eps : float, optional
        That of all BatchNorms of such a file, by default 1e-5.

    Returns
    -------
    Sequential
        The network, bit by bit the one written by `nncore.export.safetensors`.

    Raises
    ------
    ValueError
        If the file is damaged: a header that is not strict JSON, names that occur twice, bytes that
        belong to no array or to two, weights with NaN; or if `activations` are missing.
    OSError
        If it cannot be opened.

    See Also
    --------
    nncore.export.safetensors : Write such a file.
    nncore.from_arrays : Make a network of arrays.

    Notes
    -----
    Nothing in the file is executed. Memory is bounded by the size of the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import nncore as nn
    >>> layers = [nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 2), nn.SoftMax()]
    >>> net = nn.Sequential(layers, nn.NLL())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.safetensors")
    ...     nn.export.safetensors(net, path)
    ...     nn.import_safetensors(path).modules
    [Linear(2, 3), GELU(), Linear(3, 2), SoftMax()]
    """
    path = _files.name(path)
    try:
        with _files.errors_name(path), _files.open_regular(path) as file:
            metadata, found = read(file)
        if activations is None and "nncore" in metadata:
            _strict(metadata["nncore"])
            archive = _Archive(metadata["nncore"], found)
            return _prepared(serialization.network(archive, archive.model, Sequential), archive)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as a network in safetensors: {_npz.one_line(error)}"
        ) from None
    if activations is None:
        raise ValueError(
            f"{path} has weights but no modules, as nncore did not write it; name the "
            f"activations, as in import_safetensors(path, ['relu', 'softmax'])"
        )
    try:
        return arrays.from_arrays(found, activations, layout="torch", eps=eps)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _prepared(net, archive):
    """Return a network with the scaling, classes and names in its description."""
    metadata = archive.model["metadata"]
    if "scaling_module" in metadata:
        if not net.modules or type(net.modules[0]) is not modules.BatchNorm:
            raise ValueError("the scaling in its description has no module")
        del net.modules[0]
    serialization.restore_preprocessing(net, metadata)
    return net


class _Archive:
    """The arrays of a file under the names of `serialization`: "0.W" is "0.weight" transposed."""

    def __init__(self, description, found):
        self._text = description
        self.model = serialization.description(self)
        self._arrays = {}
        for i, prefix in enumerate(_prefixes(self.model["modules"])):
            for names in NAMES.values():
                for name, other in names.items():
                    a = found.get(f"{prefix}.{other}")
                    if a is not None and (a.ndim == 2) == (name == "W"):
                        self._arrays[f"{i}.{name}"] = a.T if name == "W" else a.reshape(-1, 1)
        self.model["optimizer"] = None

    def text(self, name):
        return self._text

    def __contains__(self, name):
        return name in self._arrays

    def array(self, name):
        return np.array(self._arrays[name], order="C")


def _prefixes(kinds):
    """Return PyTorch's prefixes of the modules in nested lists, in order."""
    found, unfinished = [], [("", enumerate(kinds))]
    while unfinished:
        prefix, rest = unfinished[-1]
        for i, kind in rest:
            if isinstance(kind, list):
                unfinished.append((f"{prefix}{i}.", enumerate(kind)))
                break
            found.append(f"{prefix}{i}")
        else:
            unfinished.pop()
        if len(unfinished) > serialization.DEEPEST:
            raise ValueError(f"networks are nested more than {serialization.DEEPEST} deep")
    return found


def read(file):
    """Return (metadata, {name: array}) of an open safetensors file; ValueError for every fault."""
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or length < 2 or length > size - 8:
        raise ValueError(f"its header would have {length} bytes, the file has {size}")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {LONGEST_HEADER}")
    text = file.read(length)
    if not text.startswith(b"{"):
        raise ValueError("its header is not JSON")
    try:
        head = _strict(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8") from None
    metadata = head.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("__metadata__ must hold texts")
    places = [(*_place(name, entry), name) for name, entry in head.items()]
    at = 0
    for start, end, *_, name in sorted(places, key=lambda place: place[:2]):
        if start != at:
            raise ValueError(f"{name[:60]!r} starts at byte {start}, not at byte {at}")
        at = end
    if at != size - 8 - length:
        raise ValueError(f"its arrays have {at} bytes, the file {size - 8 - length}")
    found = {}
    for start, end, dtype, shape, name in places:
        file.seek(8 + length + start)
        content = file.read(end - start)
        if len(content) != end - start:
            raise ValueError("the file has become shorter")
        a = np.frombuffer(content, dtype).reshape(shape)
        if dtype in COUNTERS.values():
            continue
        if not np.isfinite(a).all():
            raise ValueError(f"{name[:60]!r} must be finite, got NaN or infinity")
        found[name] = a.astype(dtype.newbyteorder("="), copy=False)
    return metadata, found


def _strict(text):
    """Return a JSON object; ValueError for names that occur twice, NaN, and other content."""

    def unique(pairs):
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("a name occurs twice in its header")
        return made

    def refuse(constant):
        raise ValueError(f"its header holds {constant}, which is not JSON")

    try:
        head = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is not JSON ({error})") from None
    if not isinstance(head, dict):
        raise ValueError("its header is not a JSON object")
    return head


def _place(name, entry):
    """Return (start, end, dtype, shape) of one entry of the header."""
    label = repr(name[:60])
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{label} must have dtype, shape and data_offsets")
    kind, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    counter = name.rpartition(".")[2] == "num_batches_tracked"
    types = COUNTERS if counter else TYPES
    if not isinstance(kind, str) or kind not in types:
        raise ValueError(
            f"{label} must be of type {' or '.join(types)}, got {str(kind)[:20]}; nncore computes "
            f"in float32 or float64"
        )
    if not _counts(shape) or len(shape) > MOST_AXES or not _counts(place) or len(place) != 2:
        raise ValueError(f"{label} must have a shape and two offsets of whole numbers")
    size = math.prod(shape) * types[kind].itemsize
    if place[1] - place[0] != size:
        raise ValueError(f"{label} has {place[1] - place[0]} bytes, not {size} as its shape says")
    return *place, types[kind], tuple(shape)


def _counts(numbers):
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 2**60 for n in numbers)
