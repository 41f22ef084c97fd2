"""Single ONNX operators: their attributes, constants, and the values of elementwise ones."""

import math
from functools import reduce

import numpy as np

__all__ = [
    "ELEMENTWISE",
    "Refused",
    "attributes",
    "class_labels",
    "described",
    "evaluate",
    "fold",
    "listed",
    "number",
    "shortest",
    "tensor",
]


class Refused(ValueError):
    """A reason why a file is not read."""


# ------------------------------------------------------------------------------------ elementwise


def _erf(z):
    return np.array([math.erf(x) for x in np.ravel(z)]).reshape(np.shape(z))


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _gelu(z, approximate):
    if approximate == "tanh":
        return z * _sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
    return z * (1 + _erf(z * math.sqrt(0.5))) / 2


def _cast(given, z):
    if given.get("to") not in FLOATS:
        raise Refused("the operator Cast rounds to whole numbers")
    return z


FLOATS = (1, 11)  # TensorProto.FLOAT and DOUBLE

# (given, arguments): given are the attributes
ELEMENTWISE = {
    "Add": lambda given, a, b: a + b,
    "Sub": lambda given, a, b: a - b,
    "Mul": lambda given, a, b: a * b,
    "Div": lambda given, a, b: a / b,
    "Pow": lambda given, a, b: a**b,
    "Max": lambda given, *arrays: reduce(np.maximum, arrays),
    "Min": lambda given, *arrays: reduce(np.minimum, arrays),
    "Neg": lambda given, z: -z,
    "Abs": lambda given, z: abs(z),
    "Exp": lambda given, z: np.exp(z),
    "Sqrt": lambda given, z: np.sqrt(z),
    "Reciprocal": lambda given, z: 1 / z,
    "Identity": lambda given, z: z,
    "Cast": _cast,
    "Tanh": lambda given, z: np.tanh(z),
    "Relu": lambda given, z: np.maximum(z, 0),
    "Sigmoid": lambda given, z: _sigmoid(z),
    "Erf": lambda given, z: _erf(z),
    "LeakyRelu": lambda given, z: np.where(z > 0, z, given.get("alpha", 0.01) * z),
    "PRelu": lambda given, z, slope: np.where(z > 0, z, slope * z),
    "Gelu": lambda given, z: _gelu(z, given.get("approximate", "none")),
    "Swish": lambda given, z: z * _sigmoid(given.get("alpha", 1.0) * z),
}


def evaluate(node, arrays):
    """Return the output of an elementwise operator in float64; Refused for a wrong number of
    arguments.
    """
    with np.errstate(all="ignore"):
        try:
            return np.asarray(ELEMENTWISE[node.op_type](attributes(node), *arrays))
        except Refused:
            raise
        except (TypeError, ValueError):
            raise Refused(f"the operator {node.op_type} has wrong arguments") from None


def listed(nodes):
    """Return the names of operators for a message."""
    names = list(dict.fromkeys(node.op_type for node in nodes))
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


# ------------------------------------------------------------------------- attributes and constants


def attributes(node):
    """Return the attributes that are numbers, lists of numbers and texts."""
    found = {}
    for a in node.attribute:
        if a.type == a.FLOAT:
            found[a.name] = a.f
        elif a.type == a.INT:
            found[a.name] = a.i
        elif a.type == a.STRING:
            found[a.name] = a.s.decode("utf-8", "replace")
        elif a.type == a.FLOATS:
            found[a.name] = list(a.floats)
        elif a.type == a.INTS:
            found[a.name] = list(a.ints)
    return found


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


def tensor(library, proto):
    """Return a constant as an array; Refused unless its bytes are those of its shape."""
    kinds = library.TensorProto
    types = {
        kinds.FLOAT: (np.float32, "float_data"),
        kinds.DOUBLE: (np.float64, "double_data"),
        kinds.INT64: (np.int64, "int64_data"),
        kinds.INT32: (np.int32, "int32_data"),
        kinds.BOOL: (np.bool_, "int32_data"),
    }
    name = f"the constant {proto.name[:60]!r}"
    if proto.data_location == kinds.EXTERNAL or proto.external_data:
        raise Refused(
            f"{name} is in another file, which is not read; save the model as one file (PyTorch: "
            f"torch.onnx.export(..., external_data=False))"
        )
    if proto.data_type not in types:
        raise Refused(f"{name} must be of float32 or float64, got type {proto.data_type} of ONNX")
    dtype, field = types[proto.data_type]
    shape = tuple(proto.dims)
    if len(shape) > 8 or min(shape, default=0) < 0:
        raise Refused(f"{name} has the shape {shape[:9]}")
    count = math.prod(shape)
    raw = proto.raw_data
    given = len(raw) / np.dtype(dtype).itemsize if raw else len(getattr(proto, field))
    if given != count:
        raise Refused(f"{name} has {given:g} numbers, not {count} as its shape says")
    if raw:
        a = np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape)
    else:
        a = np.array(getattr(proto, field), dtype).reshape(shape)
    if a.dtype.kind == "f" and not np.isfinite(a).all():
        raise Refused(f"{name} must be finite, got NaN or infinity")
    return a


def class_labels(library, graph, probabilities):
    """Return the labels that the graph picks by the largest of its probabilities, as scikit-learn's
    converter writes them; None if it does not.
    """
    largest = {
        node.output[0]
        for node in graph.node
        if node.op_type == "ArgMax" and list(node.input) == [probabilities] and node.output
    }
    protos = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "ArrayFeatureExtractor" and len(node.input) == 2:
            labels = protos.get(node.input[0])
            if labels is not None and node.input[1] in largest:
                if labels.data_type == library.TensorProto.STRING:
                    return [text.decode() for text in labels.string_data]
                return tensor(library, labels).ravel().tolist()
    return None


def fold(library, node, given, most):
    """Return the output of a node of constants; Refused for operators that are not needed here."""
    kind, settings = node.op_type, attributes(node)
    try:
        if kind == "Constant":
            return _constant(library, node, settings)
        if kind == "Transpose":
            axes = settings.get("perm", list(range(given[0].ndim))[::-1])
            return np.ascontiguousarray(given[0].transpose(axes))
        if kind in ("Reshape", "Squeeze", "Unsqueeze"):
            return _reshaped(kind, settings, given)
        if kind == "Cast":
            types = {
                library.TensorProto.FLOAT: np.float32,
                library.TensorProto.DOUBLE: np.float64,
                library.TensorProto.INT64: np.int64,
            }
            return given[0].astype(types[settings["to"]])
        if kind in ELEMENTWISE and kind != "Erf":
            shape = np.broadcast_shapes(*(a.shape for a in given))
            if math.prod(shape) * 8 > most:
                raise Refused("a constant takes many times the bytes of the file")
            return evaluate(node, given).astype(given[0].dtype)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"the constant operator {kind} cannot be computed") from None
    raise Refused(f"the operator {kind} of constants is not supported")


def _constant(library, node, settings):
    for a in node.attribute:
        if a.type == a.TENSOR:
            return tensor(library, a.t)
    for name in ("value_float", "value_floats"):
        if name in settings:
            return np.array(settings[name], np.float32)
    for name in ("value_int", "value_ints"):
        if name in settings:
            return np.array(settings[name], np.int64)
    raise Refused("a Constant must hold numbers")


def _reshaped(kind, settings, given):
    a = given[0]
    if kind == "Reshape":
        return a.reshape([int(n) for n in given[1].ravel()[:8]])
    axes = [int(i) for i in (given[1].ravel() if len(given) > 1 else settings.get("axes", []))]
    if kind == "Squeeze":
        return a.squeeze(tuple(axes)) if axes else a.squeeze()
    return np.expand_dims(a, tuple(axes))
