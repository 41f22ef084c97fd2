"""Read an ONNX file as a network: its chain of layers, and elementwise operators by the values they
compute.

The file is not trusted. Its operators are never run but a few, on few numbers; nothing else is
opened; memory and time are bounded by the file's size.
"""

import json
import math

import numpy as np

from nncore import _checks, _files, _npz, _preprocessing, modules, registry, serialization
from nncore._types import StrPath
from nncore.exchange import arrays, chain, extras
from nncore.exchange.operators import (
    ELEMENTWISE,
    Refused,
    attributes,
    fold,
    tensor,
)
from nncore.exchange.partition import Affine, partition
from nncore.sequential import Sequential

__all__ = ["import_onnx"]

# Arrays made from a file take at most INFLATED times its size, or SMALL bytes.
INFLATED, SMALL = 8, 2**23
MOST_NODES = 100_000
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def import_onnx(path: StrPath) -> Sequential:
    """Read an ONNX file as a network: layers of Gemm or MatMul, normalisations and activations.

    Activations are recognised by what their operators compute, so that the decomposed forms of
    PyTorch's and Keras' converters become the GELU or SiLU that they are. Scalings become a
    BatchNorm with running statistics; the first one in a file of `nncore.export.onnx` becomes the
    network's `scaling`. A last Sigmoid becomes OutputSigmoid, and the two columns
    (1 − p, p) of scikit-learn's binary classifiers a SoftMax.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        The file.

    Returns
    -------
    Sequential
        The network, of the type of the file's weights, float32 or float64. Its loss is NLL after
        SoftMax and BinaryNLL after OutputSigmoid, else None or what `nncore.export.onnx` noted.

    Raises
    ------
    ImportError
        If onnx is not installed: `pip install nncore[onnx]`.
    ValueError
        If the file is damaged, or holds operators that nncore's modules do not compute; they are
        named.
    OSError
        If it cannot be opened.

    See Also
    --------
    nncore.export.onnx : Write such a file.

    Notes
    -----
    The graph must be one chain with samples as rows, from one input to one output of floats. Other
    outputs, such as scikit-learn's labels, are ignored. Weights in other files ("external data")
    are refused.

    Examples
    --------
    >>> import nncore as nn
    >>> net = nn.Sequential([nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 1), nn.OutputSigmoid()])
    >>> nn.export.onnx(net, "net.onnx")  # doctest: +SKIP
    >>> nn.import_onnx("net.onnx").modules  # doctest: +SKIP
    [Linear(2, 3), GELU(), Linear(3, 1), OutputSigmoid()]
    """
    library = extras.need("onnx", "nncore.import_onnx", "nncore[onnx]")
    path = _files.name(path)
    try:
        with _files.errors_name(path), _files.open_regular(path) as file:
            content = file.read()
        try:
            model = library.ModelProto.FromString(content)
        except MemoryError:
            raise
        except Exception:  # protobuf's DecodeError
            raise Refused("it is not an ONNX file") from None
        return _Reader(library, model, len(content)).network()
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a network: {error}") from None


class _Reader:
    """The chain of one model."""

    def __init__(self, library, model, size):
        self.graph = model.graph
        if not self.graph.node or not self.graph.output:
            raise Refused("it is not an ONNX file with a graph")
        if len(self.graph.node) > MOST_NODES:
            raise Refused(f"it has {len(self.graph.node)} nodes, more than {MOST_NODES}")
        self.library = library
        self.properties = {p.key: p.value for p in model.metadata_props}
        self.left = max(SMALL, INFLATED * size)
        self.constants = {}
        self.work = 0
        self.initializers = {t.name: t for t in self.graph.initializer}
        if self.graph.sparse_initializer:
            raise Refused("it has sparse weights, which nncore does not have")

    # ---------------------------------------------------------------- the graph

    def network(self):
        """Return the Sequential."""
        items, run = [], []
        for nodes, base, output in self._segments():
            item = self._layer(nodes, base, output)
            if item is None:
                run.append((nodes, base, output))
            else:
                items += [*partition(run, self), *item]
                run = []
        items += partition(run, self)
        return self._built(items)

    def _segments(self):
        """Yield (nodes, base, output): pieces of the graph with one tensor in and one out."""
        first, last, nodes = self._path()
        uses = {}
        for node in nodes:
            for name in node.input:
                uses[name] = uses.get(name, 0) + 1
        uses[last] = uses.get(last, 0) + 1
        live, base, piece = {first}, first, []
        for node in nodes:
            for name in node.input:
                if name in live:
                    uses[name] -= 1
                    if not uses[name]:
                        live.discard(name)
                elif name and self.constant(name) is None:
                    raise Refused(f"{described(node)} reads {name!r} before it is computed")
            output = node.output[0]
            if any(name in uses for name in node.output[1:]):
                raise Refused(f"several outputs of {described(node)} are used")
            live.add(output)
            piece.append(node)
            if live == {output}:
                yield piece, base, output
                base, piece = output, []
        if piece or base != last:
            raise Refused("it is not a chain from one input to one output")

    def _path(self):
        """Return the names of input and output, and the nodes between them that compute."""
        last = self._output()
        by_output = {}
        for node in self.graph.node:
            if node.domain not in DOMAINS:
                raise Refused(f"{described(node)} is of the unknown domain {node.domain!r}")
            for name in node.output:
                if name and (name in by_output or name in self.initializers):
                    raise Refused(f"{name!r} is computed twice")
                by_output[name] = node
        needed, todo = set(), [last]
        while todo:
            node = by_output.get(todo.pop())
            if node is not None and id(node) not in needed:
                needed.add(id(node))
                todo += [name for name in node.input if name]
        known = {t.name for t in self.graph.initializer}
        inputs = [i for i in self.graph.input if i.name not in known]
        nodes, read = [], set()
        for node in self.graph.node:
            if id(node) in needed and not self._folded(node):
                nodes.append(node)
                read.update(node.input)
        used = [i for i in inputs if i.name in read]
        if len(used) != 1:
            names = ", ".join(i.name for i in used) or "none"
            raise Refused(f"the output must depend on one input, got {names}")
        self.shape = _shape_of(used[0])
        return used[0].name, last, nodes

    def _output(self):
        """Return the name of the tensor of outputs."""
        producers = {node.output[0]: node for node in self.graph.node if node.output}
        kinds = (self.library.TensorProto.FLOAT, self.library.TensorProto.DOUBLE)
        found = []
        for output in self.graph.output:
            node = producers.get(output.name)
            if node is not None and node.op_type == "ZipMap" and node.input:
                found.append(node.input[0])
            elif output.type.tensor_type.elem_type in kinds:
                found.append(output.name)
        if len(set(found)) != 1:
            raise Refused(
                f"it must have one output of floats, got {', '.join(found) or 'none'}; remove the "
                f"others"
            )
        return found[0]

    # ---------------------------------------------------------------- constants

    def constant(self, name):
        """Return a constant as an array, or None if the name is none."""
        if name not in self.constants and name in self.initializers:
            self.constants[name] = self._spent(tensor(self.library, self.initializers[name]))
        return self.constants.get(name)

    def _folded(self, node):
        """Compute a node of constants alone; return whether it is one."""
        given = [self.constant(name) for name in node.input if name]
        if any(a is None for a in given) or (not given and node.op_type != "Constant"):
            return False
        self.constants[node.output[0]] = self._spent(fold(self.library, node, given, self.left))
        return True

    def _spent(self, a):
        """Return an array that the file has asked for; refuse if it asks for too much in all."""
        self.left -= a.nbytes
        if self.left < 0:
            raise Refused("its weights take many times the bytes of the file")
        return a

    # ---------------------------------------------------------------- layers

    def _layer(self, nodes, base, output):
        """Return the items for a piece of the graph, or None if it is elementwise."""
        if len(nodes) > 1:
            item = self._two_columns(nodes, base)
            unknown = [node for node in nodes if node.op_type not in ELEMENTWISE]
            if item is None and unknown:
                raise Refused(f"{described(unknown[0])} has no counterpart in nncore at its place")
            return item
        node = nodes[0]
        read = getattr(self, f"_read_{node.op_type.lower()}", None)
        if read is None:
            if node.op_type not in ELEMENTWISE:
                raise Refused(f"{described(node)} has no counterpart in nncore")
            return None
        return read(node, base)

    def _read_gemm(self, node, base):
        given = attributes(node)
        B = self._second(node, base)
        if given.get("transA"):
            raise Refused(f"{described(node)} takes samples as columns, not rows")
        W = B.T if given.get("transB") else B
        alpha, beta = number(given, "alpha", 1.0), number(given, "beta", 1.0)
        C = self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        W = W * W.dtype.type(alpha)
        if C is None:
            return [self._linear(node, W)]
        if C.size not in (1, W.shape[1]) or C.shape[:-1] not in ((), (1,)):
            raise Refused(f"{described(node)} has a bias of shape {C.shape} for {W.shape[1]} units")
        b = np.broadcast_to(C.ravel(), (W.shape[1],))
        return [self._linear(node, W, b * b.dtype.type(beta))]

    def _read_matmul(self, node, base):
        return [self._linear(node, self._second(node, base))]

    def _second(self, node, base):
        """Return the weights of a product: its second argument, a matrix."""
        B = self.constant(node.input[1]) if len(node.input) > 1 else None
        if B is None or node.input[0] != base:
            raise Refused(f"{described(node)} must multiply samples in rows by constant weights")
        if B.ndim != 2 or not B.size or B.dtype not in _checks.COMPUTING:
            raise Refused(
                f"{described(node)} must have a float32 or float64 matrix of weights, got "
                f"{_checks.describe(B)}"
            )
        return B

    def _linear(self, node, W, b=None):
        if b is None:
            return chain.linear(self._spent(np.array(W, order="C")))
        if b.dtype != W.dtype:
            raise Refused(f"{described(node)} has weights of two types")
        return chain.linear(self._spent(np.array(W, order="C")), self._spent(np.array(b)))

    def _read_batchnormalization(self, node, base):
        given = attributes(node)
        arrays = [self.constant(name) for name in node.input[1:]]
        if len(arrays) != 4 or any(a is None for a in arrays) or node.input[0] != base:
            raise Refused(f"{described(node)} must have four constant weights")
        G, B, mean, var = (self._spent(np.array(a)) for a in arrays)
        if any(a.shape != G.shape or a.ndim != 1 or a.dtype != G.dtype for a in (G, B, mean, var)):
            raise Refused(f"{described(node)} has weights of different shapes or types")
        if given.get("training_mode") or G.dtype not in _checks.COMPUTING or not G.size:
            raise Refused(f"{described(node)} must be in prediction mode, in float32 or float64")
        norm = chain.affine_norm(mean, G, B)
        norm.running_var = var.reshape(-1, 1)
        norm._configure(
            "running",
            shortest(min(max(1 - number(given, "momentum", 0.9), 1e-6), 1.0)),
            shortest(number(given, "epsilon", 1e-5)),
        )
        return [norm]

    def _read_softmax(self, node, base):
        # Before opset 13 the default was 1, which is the last axis here.
        if attributes(node).get("axis", -1) not in (1, -1):
            raise Refused(f"{described(node)} must be over the outputs, axis 1")
        return [modules.SoftMax()]

    def _read_logsoftmax(self, node, base):
        raise Refused(
            f"{described(node)} gives logarithms of probabilities; convert the model with Softmax "
            f"as its last operator"
        )

    def _read_dropout(self, node, base):
        given = attributes(node)
        ratio = self.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
        if len(node.input) > 2 and node.input[2]:
            mode = self.constant(node.input[2])
            if mode is None or mode.any():
                raise Refused(f"{described(node)} must be in prediction mode")
        p = number(given, "ratio", 0.5) if ratio is None else ratio.ravel()[:1].sum()
        return [modules.Dropout(shortest(p))]

    def _read_flatten(self, node, base):
        if attributes(node).get("axis", 1) != 1:
            raise Refused(f"{described(node)} must keep one row per sample, axis 1")
        return self._flat(node, base)

    def _read_reshape(self, node, base):
        shape = self.constant(node.input[1]) if len(node.input) > 1 else None
        if shape is None or shape.shape != (2,) or shape[0] not in (-1, 0):
            raise Refused(f"{described(node)} must keep one row per sample, shape (-1, n)")
        return self._flat(node, base)

    def _flat(self, node, base):
        self.shape = None if self.shape is None else (math.prod(self.shape),)
        return []

    def _read_scaler(self, node, base):
        given = attributes(node)
        offset, factor = (
            np.array(given.get(k, d)) for k, d in (("offset", [0.0]), ("scale", [1.0]))
        )
        return [Affine(offset.astype(np.float64), factor.astype(np.float64), np.zeros(1))]

    def _two_columns(self, nodes, base):
        """Return an item for the columns (1 − p, p) of a binary classifier, else None."""
        if [node.op_type for node in nodes] != ["Sub", "Concat"] or len(nodes[0].input) != 2:
            return None
        one = self.constant(nodes[0].input[0])
        pair = [nodes[0].output[0], base]
        if one is None or not (one == 1).all() or list(nodes[1].input) != pair:
            return None
        return [TWO_COLUMNS]

    # ---------------------------------------------------------------- modules

    def _built(self, items):
        """Return the network of all items, which are modules and affine steps."""
        widths = _widths(items, self.shape)
        scaling, items, widths = self._scaling(items, widths)
        parts = []
        dtype = next((m.W.dtype for m in items if isinstance(m, modules.Linear)), None)
        for item, width in zip(items, widths, strict=True):
            if item is TWO_COLUMNS:
                _two_outputs(parts)
            elif isinstance(item, Affine):
                _add_affine(parts, item, width, dtype or np.dtype(np.float32), self._spent)
            else:
                parts.append(item)
        if parts and type(parts[-1]) is modules.Sigmoid and self._noted()[0] != "Sigmoid":
            parts[-1] = modules.OutputSigmoid()
        net = Sequential(parts, self._loss(parts))
        chain.described(net, "a network")
        self._prepare(net, scaling)
        return net

    def _scaling(self, items, widths):
        """Return the scaling that `nncore.export.onnx` noted, and the items and widths without the
        first one, if that computes it; else None and all of them.
        """
        noted = self._description().get("scaling")
        if noted is None or not items or not isinstance(items[0], Affine):
            return None, items, widths
        try:
            shift, factor = _preprocessing.made(scaling=noted).shift_and_factor()
            mean, scale, offset = (np.asarray(a, np.float64) for a in items[0].arrays)
            with np.errstate(all="ignore"):
                fits = np.allclose(scale, factor.ravel(), rtol=1e-6, atol=0) and np.allclose(
                    mean * scale - offset, (shift * factor).ravel(), rtol=1e-5, atol=1e-6
                )
        except (TypeError, ValueError):
            fits = False
        return (noted, items[1:], widths[1:]) if fits else (None, items, widths)

    def _prepare(self, net, scaling):
        """Give the network the scaling, classes and names that `nncore.export.onnx` noted."""
        noted = self._description()
        metadata = {name: noted.get(name) for name in ("feature_names", "target_name")}
        if scaling is not None:
            metadata["scaling"] = scaling
        net._flat = noted.get("flat") is True
        try:
            if "nncore" in self.properties and "classes" in self.properties:
                metadata["classes"] = json.loads(self.properties["classes"])
            serialization.restore_preprocessing(net, metadata)
        except (ValueError, RecursionError) as error:
            raise Refused(f"its classes or names cannot be read ({_npz.one_line(error)})") from None

    def _description(self):
        """Return what `nncore.export.onnx` noted, {} for other files."""
        try:
            noted = json.loads(self.properties.get("nncore", "{}"))
        except (ValueError, RecursionError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def _noted(self):
        """Return (kind of the last module, name of the loss, its settings or None) that
        `nncore.export.onnx` noted.
        """
        noted = self._description()
        try:
            return noted["modules"][-1], noted["loss"], noted.get("loss_settings")
        except (TypeError, KeyError, IndexError):
            return None, None, None

    def _loss(self, parts):
        _, noted, settings = self._noted()
        loss = arrays.output_loss(parts[-1] if parts else None)
        name = None if loss is None else type(loss).__name__
        names = [cls.__name__ for cls, r in registry.LOSSES.items() if not r.of_probabilities]
        if loss is None and isinstance(noted, str) and noted in names:
            name = noted
        try:
            return serialization.loss_of(
                {"loss": name, "loss_settings": settings if name == noted else None}
            )
        except ValueError as error:
            raise Refused(f"what nncore noted of the loss is damaged: {error}") from None


TWO_COLUMNS = object()


def described(node):
    """Return an operator and its name for a message."""
    return f"the operator {node.op_type}" + (f" {node.name[:60]!r}" if node.name else "")


def number(given, name, default):
    """Return an attribute that is a number."""
    x = given.get(name, default)
    if not isinstance(x, (int, float)):
        raise Refused(f"the attribute {name} must be a number, got a {type(x).__name__}")
    return x


def shortest(x):
    """Return the shortest number that rounds to the same float32: 0.1, not 0.10000000149."""
    return float(str(np.float32(x)))


def _shape_of(value):
    """Return the input's dimensions after the first, None if one is unknown."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    if len(dims) < 2:
        raise Refused(f"its input {value.name!r} must have samples as rows, got {len(dims)} axes")
    return None if None in dims[1:] else tuple(dims[1:])


def _widths(items, shape):
    """Return the number of inputs of each item; those before the first Linear from the back."""
    width = math.prod(shape) if shape is not None and len(shape) == 1 else None
    sizes = []
    for item in items:
        width = getattr(item, "m", width)
        if isinstance(item, Affine) and item.size > 1:
            if width not in (None, item.size):
                raise Refused(f"a scaling has {item.size} numbers for {width} features")
            width = item.size
        sizes.append(width)
        width = getattr(item, "n", 2 if item is TWO_COLUMNS else width)
    known = next((size for size in sizes if size is not None), None)
    return [known if size is None else size for size in sizes]


def _add_affine(parts, item, width, dtype, spent):
    """Append an affine step, as the bias of a Linear before it without one, else as BatchNorm."""
    if width is None or item.size not in (1, width):
        raise Refused(f"a scaling has {item.size} numbers for {width} features")
    mean, factor, offset = (spent(np.broadcast_to(a, (width,)).astype(dtype)) for a in item.arrays)
    if not mean.any() and (factor == 1).all() and not offset.any():
        return
    last = parts[-1] if parts else None
    if isinstance(last, modules.Linear) and not last.W0.any() and (factor == 1).all():
        parts[-1] = chain.linear(last.W, spent(offset - mean))
        return
    parts.append(chain.affine_norm(mean, factor, offset))


def _two_outputs(parts):
    """Replace a last Linear of one unit and its sigmoid p by a SoftMax of (1 − p, p)."""
    if (
        len(parts) < 2
        or type(parts[-1]) is not modules.Sigmoid
        or not isinstance(parts[-2], modules.Linear)
        or parts[-2].n != 1
    ):
        raise Refused("the columns (1 − p, p) must follow a Sigmoid of one unit")
    last = parts[-2]
    W, W0 = (
        np.concatenate([np.zeros_like(a), a], axis=axis) for a, axis in ((last.W, 1), (last.W0, 0))
    )
    parts[-2:] = [chain.linear(W, W0), modules.SoftMax()]
