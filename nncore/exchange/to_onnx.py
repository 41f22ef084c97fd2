"""Write a network as an ONNX file, by the table's forms."""

import json
from collections.abc import Sequence

import numpy as np

from nncore import _files, _kinds, _preprocessing, modules, serialization
from nncore._types import Scaling, StrPath
from nncore._version import __version__
from nncore.exchange import chain, extras, table
from nncore.sequential import Sequential

__all__ = ["onnx"]

# Understood by ONNX Runtime since 1.14 and by the converters for small devices.
OPSET, IR = 17, 8
# A protobuf message is limited to 2 GiB; this leaves room for the nodes.
MOST_BYTES = 2**31 - 2**24


def onnx(
    net: Sequential,
    path: StrPath,
    *,
    scaling: Scaling | None = None,
    classes: Sequence[int] | None = None,
) -> None:
    """Write a network as an ONNX file, which computes Yᵀ = predict_proba(Xᵀ).

    The graph has one input, "input" (N, inputs), and one output, "output" (N, outputs), of the
    type of the weights, float32 or float64: samples are rows. It needs opset 17.

    Parameters
    ----------
    net : Sequential
        The network, of nncore's own modules.
    path : str, bytes or os.PathLike
        The file, replaced as a whole if all goes well.
    scaling : dict, optional
        {"shift", "factor"}, as `datasets.fit_scaling` returns it: the graph then takes raw inputs
        and scales them first, (x − shift) ⊙ factor. By default that of the network, if any.
    classes : list of int or str, optional
        The labels of the outputs, stored as the metadata "classes". By default those of the
        network, if any.

    Raises
    ------
    ImportError
        If onnx is not installed: `pip install nncore[onnx]`.
    TypeError
        For networks and modules that are not nncore's own.
    ValueError
        For a BatchNorm that predicts by the statistics of the batch, for weights of two types or
        with NaN, and for more than 2 GB of weights.
    OSError
        If the file cannot be written.

    See Also
    --------
    nncore.import_onnx : Read such a file.

    Notes
    -----
    Outputs of ONNX Runtime are within 1e-6 (float32) or 1e-14 (float64) of `predict_proba` for
    networks of usual size. LeakyReLU and exact GELU in float64 are written in terms of other
    operators, for which ONNX Runtime has float64 kernels; that form of GELU is within 5e-16.

    Examples
    --------
    >>> import nncore as nn
    >>> net = nn.Sequential([nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2), nn.SoftMax()])
    >>> nn.export.onnx(net, "net.onnx")  # doctest: +SKIP
    >>> nn.import_onnx("net.onnx").modules  # doctest: +SKIP
    [Linear(2, 3), Tanh(), Linear(3, 2), SoftMax()]
    """
    content = rendered(net, scaling, classes)
    _files.write(path, lambda file: file.write(content))


def rendered(net, scaling=None, classes=None):
    """Return the file's bytes."""
    library = extras.need("onnx", "nncore.export.onnx", "nncore[onnx]")
    names = {name: getattr(net, name, None) for name in ("feature_names", "target_name")}
    net, scaling, classes = chain.unprepared(net, "ONNX", scaling, classes)
    network = chain.described(net, "ONNX", scaling)
    size = sum(m.W.size for m in (s.module for s in network.steps) if hasattr(m, "W"))
    if size * network.dtype.itemsize > MOST_BYTES:
        raise ValueError(
            f"a network must have at most {MOST_BYTES / 1e9:.2f} GB of weights to be written as "
            f"ONNX, got {size * network.dtype.itemsize / 1e9:.2f} GB; safetensors has no limit"
        )
    model = _model(library, network, _description(net, network, scaling, classes, names))
    return model.SerializeToString()


def _description(net, network, scaling, classes, names):
    """Return the metadata of the file, texts by name."""
    kinds = [step.cls.__name__ for step in network.steps]
    loss = getattr(_kinds.kind(net.loss), "__name__", None) if net.loss is not None else None
    noted = {"modules": kinds, "loss": loss, **serialization.loss_settings(net.loss)}
    if network.scaling is not None:
        noted["scaling"] = _preprocessing.made(scaling=scaling).scaling
    noted.update({name: value for name, value in names.items() if value is not None})
    if net._flat:
        noted["flat"] = True
    found = {"nncore": json.dumps(noted)}
    if classes is not None:
        found["classes"] = json.dumps(_labels(classes, network))
    return found


def _labels(classes, network):
    """Return the labels as plain values; ValueError for another number of them."""
    labels, count = np.asarray(classes), network.outputs
    if count == 1 and network.steps[-1].cls is not modules.SoftMax:
        count = 2  # of a binary label
    if labels.shape != (count,) or labels.dtype.kind not in "biuU":
        raise ValueError(
            f"classes must be {count} integers or texts, one per label that the outputs tell "
            f"apart, got {str(classes)[:80]}"
        )
    return labels.tolist()


def _model(library, network, description):
    graph = Graph(library, network.dtype)
    x = "input"
    if network.scaling is not None:
        shift, factor, offset = chain.scaling_terms(network)
        x = graph.add("Sub", x, graph.weight("scaling.shift", shift))
        x = graph.add("Mul", x, graph.weight("scaling.factor", factor))
        if offset.any():
            x = graph.add("Add", x, graph.weight("scaling.offset", offset))
    for step in network.steps:
        x = table.form_of(step, "onnx")(graph, step, x)
    if x == "input":  # a network that changes nothing
        x = graph.add("Identity", x)
    graph.nodes[-1].output[0] = "output"
    helper = library.helper
    kind = helper.np_dtype_to_tensor_dtype(network.dtype)
    made = helper.make_graph(
        graph.nodes,
        "nncore",
        [helper.make_tensor_value_info("input", kind, ["N", network.inputs])],
        [helper.make_tensor_value_info("output", kind, ["N", network.outputs])],
        graph.tensors,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="nncore",
        producer_version=__version__,
    )
    helper.set_model_props(model, description)
    return model


class Graph:
    """The nodes and weights of an ONNX graph, as the table's forms add them."""

    def __init__(self, library, dtype):
        self.dtype = dtype
        self.nodes = []
        self.tensors = []
        self._library = library
        self._constants = set()

    def add(self, operator, *inputs, **attributes):
        """Add a node; return the name of its output."""
        output = f"{operator}.{len(self.nodes)}"
        node = self._library.helper.make_node(
            operator, list(inputs), [output], name=output, **attributes
        )
        self.nodes.append(node)
        return output

    def weight(self, name, array):
        """Add an array under a name that is not taken; return the name."""
        array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        self.tensors.append(self._library.numpy_helper.from_array(array, name))
        return name

    def constant(self, name, value):
        """Add a number of the network's type, once per name and value; return its name."""
        number = np.array(value, self.dtype)
        if not np.isfinite(number):
            raise ValueError(f"{name} must be within the range of {self.dtype}, got {value:.3g}")
        name = f"{name}={value!r}" if name == "slope" else name
        if name not in self._constants:
            self._constants.add(name)
            self.weight(name, number)
        return name
