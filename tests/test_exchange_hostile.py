"""Files of other formats that nobody wrote in good faith: refused in one sentence, in little time
and memory, and nothing in them runs."""

import json
import random
import time
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from exchange_nets import network

import nncore as nn
from nncore.exchange import from_onnx, partition, tensors


@contextmanager
def frugal(most=40 * 2**20, seconds=5):
    """Little memory and time, with a wide margin for a busy machine."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak / 2**20:.0f} MiB"
    assert time.process_time() - start < seconds


def refused(read, path, message=""):
    """One ValueError in one line that names the file; return its text."""
    with frugal(), pytest.raises(ValueError, match=message) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 500, text


# -------------------------------------------------------------------------------------- safetensors

W = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
B = {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]}
GOOD = {"0.weight": W, "0.bias": B}
DATA = np.arange(8, dtype="<f4").tobytes()


def tensor_file(path, head, data=DATA, length=None):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    length = len(text) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + text + data)
    return path


def read_tensors(path):
    return nn.import_safetensors(path, [None])


def test_a_file_by_hand(tmp_path):
    net = read_tensors(tensor_file(tmp_path / "f", GOOD))
    assert net.modules[0].W.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert net.modules[0].W0.ravel().tolist() == [6, 7]


def changed(entry, **fields):
    return {"0.weight": {**W, **fields}, "0.bias": B} if entry == "W" else None


def with_bias(**fields):
    return {"0.weight": W, "0.bias": {**B, **fields}}


TWICE = b'{"0.weight":%s,"0.weight":%s}' % (json.dumps(W).encode(), json.dumps(W).encode())
HEADS = {
    "empty": (b"", "its header would have 0 bytes"),
    "no object": (b"[1,2,3,4]", "its header is not JSON"),
    "no JSON": (b"{'a': 1}", "its header is not JSON"),
    "two objects": (b"{}{}", "its header is not JSON"),
    "not UTF-8": (b'{"\xff\xfe": 1}', "not UTF-8"),
    "nested": (b'{"a":' + b"[" * 20000, "nested too deeply|not JSON"),
    "a name twice": (TWICE, "occurs twice"),
    "a field twice": (b'{"0.weight":{"dtype":"F32","dtype":"F32"}}', "occurs twice"),
    "NaN": (b'{"0.weight":NaN}', "holds NaN"),
    "infinity": (b'{"0.weight":{"shape":[Infinity]}}', "holds Infinity"),
    "a long number": (b'{"a":' + b"9" * 9999 + b"}", "cannot be read"),
    "no entry": ({"0.weight": 3}, "must have dtype, shape and data_offsets"),
    "more fields": (changed("W", more=1), "must have dtype, shape and data_offsets"),
    "metadata": ({"__metadata__": {"a": 1}, **GOOD}, "__metadata__ must hold texts"),
    "metadata is a list": ({"__metadata__": [], **GOOD}, "__metadata__ must hold texts"),
    "type": (changed("W", dtype="BF16"), "must be of type F32 or F64, got BF16"),
    "no type": (changed("W", dtype=[1]), "must be of type F32 or F64"),
    "negative": (changed("W", shape=[-2, -3]), "whole numbers"),
    "true": (changed("W", shape=[True, 6]), "whole numbers"),
    "fraction": (changed("W", shape=[2.0, 3]), "whole numbers"),
    "huge": (changed("W", shape=[2**40, 2**40]), "not .* as its shape says"),
    "many axes": (changed("W", shape=[1] * 99), "whole numbers"),
    "larger": (changed("W", shape=[3, 3]), "has 24 bytes, not 36"),
    "three offsets": (changed("W", data_offsets=[0, 24, 48]), "whole numbers"),
    "backwards": (changed("W", data_offsets=[24, 0]), "has -24 bytes"),
    "beyond": (with_bias(data_offsets=[48, 56]), "starts at byte 48, not at byte 24"),
    "overlap": (with_bias(data_offsets=[16, 24]), "starts at byte 16, not at byte 24"),
    "gap": (with_bias(shape=[1], data_offsets=[28, 32]), "starts at byte 28, not at byte 24"),
    "left over": ({"0.weight": W}, "its arrays have 24 bytes, the file 32"),
    "cube": (changed("W", shape=[1, 2, 3]), "must be a matrix or a vector|shape"),
    "no weight": ({"0.bias": {**B, "data_offsets": [0, 8]}}, "its arrays have 8 bytes"),
    "counter": ({**GOOD, "1.num_batches_tracked": W}, "must be of type I64"),
}


@pytest.mark.parametrize("case", HEADS)
def test_headers(case, tmp_path):
    head, message = HEADS[case]
    refused(read_tensors, tensor_file(tmp_path / "f", head), message)


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**31, 2**63, 2**64 - 1])
def test_lengths_of_headers(length, tmp_path):
    refused(read_tensors, tensor_file(tmp_path / "f", GOOD, length=length), "its header")


def test_a_long_header(tmp_path):
    path = tensor_file(tmp_path / "f", b"{" + b" " * tensors.LONGEST_HEADER + b"}")
    refused(read_tensors, path, "more than")


def test_a_header_of_many_empty_lists(tmp_path):
    head = b'{"a":[' + b"[]," * (tensors.LONGEST_HEADER // 3 - 10) + b"[]]}"
    with frugal(), pytest.raises(ValueError, match="must have dtype"):
        read_tensors(tensor_file(tmp_path / "f", head))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(value, tmp_path):
    data = np.arange(8, dtype="<f4")
    data[3] = value
    path = tensor_file(tmp_path / "f", GOOD, data.tobytes())
    refused(read_tensors, path, "'0.weight' must be finite")


@pytest.mark.parametrize("description", [
    "[]", "{", '{"a":1,"a":1}', '{"format":"nncore","version":2}', "null",
    json.dumps({"format": "nncore", "version": 1, "modules": [], "metadata": {}, "loss": 3}),
    json.dumps({"format": "nncore", "version": 1, "modules": ["Shell"], "metadata": {}}),
    json.dumps({"format": "nncore", "version": 1, "modules": ["Linear"] * 2, "metadata": {}}),
    json.dumps({"format": "nncore", "version": 1, "modules": ["BatchNorm"], "metadata": {}}),
    json.dumps({"format": "nncore", "version": 1, "modules": [3], "metadata": {}}),
])  # fmt: skip
def test_descriptions(description, tmp_path):
    head = {"__metadata__": {"nncore": description}, **GOOD}
    refused(nn.import_safetensors, tensor_file(tmp_path / "f", head), "cannot be read as a network")


def test_a_description_nested_deeply(tmp_path):
    nested = "[" * 5000 + "]" * 5000
    text = '{"format":"nncore","version":1,"metadata":{},"modules":' + nested + "}"
    head = {"__metadata__": {"nncore": text}, **GOOD}
    refused(nn.import_safetensors, tensor_file(tmp_path / "f", head), "nested|deep")


def test_an_optimizer_in_the_description_is_not_read(tmp_path):
    model = {"format": "nncore", "version": 1, "modules": ["Linear"], "metadata": {}}
    model["optimizer"] = {"name": "adam", "parameters": {"beta1": 9}, "t": -1}
    head = {"__metadata__": {"nncore": json.dumps(model)}, **GOOD}
    assert nn.import_safetensors(tensor_file(tmp_path / "f", head)).optimizer is None


def fuzzed(content, count):
    """The content cut, and with some bytes changed, reproducibly."""
    rng = random.Random(0)
    for _ in range(count):
        if rng.random() < 0.3:
            yield content[: rng.randrange(len(content))]
            continue
        some = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 8))):
            some[rng.randrange(min(len(some), 2000))] = rng.choice((0, 1, 34, 44, 57, 255, 128))
        yield bytes(some)


def test_damaged_safetensors(tmp_path):
    path = tmp_path / "f"
    nn.export.safetensors(network("GELU", np.float32), path)
    content, read = path.read_bytes(), 0
    for some in fuzzed(content, 400):
        path.write_bytes(some)
        try:
            nn.import_safetensors(path)
            read += 1
        except ValueError as error:
            assert str(path) in str(error)
    assert read < 200


@pytest.mark.parametrize("read", [nn.import_safetensors, "onnx"])
def test_what_is_no_file(read, tmp_path):
    if read == "onnx":
        pytest.importorskip("onnx")
        read = nn.import_onnx
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    with pytest.raises(TypeError, match="path must be a str"):
        read(3)
    refused(read, "/dev/null", "is a device, not a regular file")


# --------------------------------------------------------------------------------------------- ONNX


def model(nodes, tensors=(), inputs=(("x", [None, 2]),), outputs=("y",), **more):
    """An ONNX model by hand."""
    onnx = pytest.importorskip("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "g",
        [helper.make_tensor_value_info(name, number, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, number, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in tensors],
    )
    return helper.make_model(graph, **more)


def onnx_file(path, *given, **more):
    path.write_bytes(model(*given, **more).SerializeToString())
    return path


F = np.float32
EYE, TWO = ("W", np.eye(2, dtype=F)), ("two", F(2))
GEMM = ("Gemm", ["x", "W"], ["y"])
# operators, constants, what is said
ONNX = {
    "no nodes": ([], [], "not an ONNX file with a graph"),
    "unknown": ([("Conv", ["x", "W"], ["y"])], [EYE], "the operator Conv has no counterpart"),
    "ELU": ([("Gemm", ["x", "W"], ["h"]), ("Elu", ["h"], ["y"])], [EYE], "operator Elu"),
    "HardSwish": (
        [("Gemm", ["x", "W"], ["h"]), ("HardSwish", ["h"], ["y"])], [EYE], "operator HardSwish"),
    "quick GELU": (
        [GEMM[:2] + (["h"],), ("Mul", ["h", "k"], ["a"]), ("Sigmoid", ["a"], ["b"]),
         ("Mul", ["h", "b"], ["y"])],
        [EYE, ("k", F(1.702))], "Mul, Sigmoid compute no activation of nncore"),
    "logarithms": (
        [GEMM[:2] + (["h"],), ("LogSoftmax", ["h"], ["y"])], [EYE], "Softmax as its last operator"),
    "residual": (
        [GEMM[:2] + (["h"],), ("Gemm", ["h", "W"], ["g"]), ("Add", ["h", "g"], ["y"])], [EYE],
        "the operator Gemm|not a chain|compute no activation"),
    "transposed": ([("Gemm", ["x", "W"], ["y"], {"transA": 1})], [EYE], "samples as columns"),
    "left": ([("MatMul", ["W", "x"], ["y"])], [EYE], "samples in rows by constant weights"),
    "twice": ([("MatMul", ["x", "x"], ["y"])], [EYE], "samples in rows by constant weights"),
    "vector": ([GEMM], [("W", np.ones(2, F))], "matrix of weights, got float32"),
    "integers": ([GEMM], [("W", np.eye(2, dtype=np.int64))], "matrix of weights, got int64"),
    "half": ([GEMM], [("W", np.eye(2, dtype=np.float16))], "must be of float32 or float64"),
    "bias": ([("Gemm", ["x", "W", "b"], ["y"])], [EYE, ("b", np.ones(3, F))], "bias of shape"),
    "two types": ([("Gemm", ["x", "W", "b"], ["y"])], [EYE, ("b", np.ones(2))], "of two types"),
    "NaN": ([GEMM], [("W", np.eye(2, dtype=F) * np.nan)], "'W' must be finite"),
    "softmax": ([GEMM[:2] + (["h"],), ("Softmax", ["h"], ["y"], {"axis": 0})], [EYE], "axis 1"),
    "widths": (
        [GEMM[:2] + (["h"],), ("MatMul", ["h", "V"], ["y"])], [EYE, ("V", np.ones((3, 2), F))],
        "must take the 2 outputs"),
    "domain": ([("Gemm", ["x", "W"], ["y"], {"domain": "evil"})], [EYE], "unknown domain 'evil'"),
    "circle": (
        [("Add", ["y", "x"], ["h"]), ("Add", ["h", "x"], ["y"])], [], "before it is computed"),
    "not computed": ([("Add", ["x", "nothing"], ["y"])], [], "'nothing' before it is computed"),
    "computed twice": ([GEMM, ("Relu", ["x"], ["y"])], [EYE], "'y' is computed twice"),
    "no weights": ([("Relu", ["x"], ["y"])], [], "must have a Linear or BatchNorm"),
    "only constants": ([("Add", ["W", "W"], ["y"])], [EYE], "depend on one input, got none"),
    "to integers": (
        [GEMM[:2] + (["h"],), ("Cast", ["h"], ["y"], {"to": 7})], [EYE], "Cast rounds"),
    "training": (
        [("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"], {"training_mode": 1})],
        [("s", np.ones(2, F))], "prediction mode"),
    "negative variance": (
        [("BatchNormalization", ["x", "s", "s", "s", "v"], ["y"])],
        [("s", np.ones(2, F)), ("v", np.ones(3, F))], "different shapes"),
    "scaling": (
        [("Mul", ["x", "s"], ["h"]), ("MatMul", ["h", "W"], ["y"])],
        [EYE, ("s", np.ones(3, F))], "3 numbers|scalings"),
    "arguments": ([GEMM[:2] + (["h"],), ("Relu", ["h", "h"], ["y"])], [EYE], "wrong arguments"),
    "columns": (
        [GEMM[:2] + (["h"],), ("Sub", ["two", "h"], ["a"]), ("Concat", ["a", "h"], ["y"],
         {"axis": 1})], [EYE, TWO], "Sub, Concat|no counterpart|compute no activation"),
}  # fmt: skip


@pytest.mark.parametrize("case", ONNX)
def test_graphs(case, tmp_path):
    nodes, constants, message = ONNX[case]
    refused(nn.import_onnx, onnx_file(tmp_path / "f", nodes, constants), message)


def test_a_graph_by_hand(tmp_path):
    net = nn.import_onnx(onnx_file(tmp_path / "f", [GEMM], [EYE]))
    assert repr(net.modules) == "[Linear(2, 2, dtype=float32, bias=False)]"


@pytest.mark.parametrize("inputs, outputs, message", [
    ((("x", [None, 2]), ("z", [None, 2])), ("y",), "depend on one input, got x, z"),
    ((("x", [None, 2]),), ("y", "h"), "one output of floats, got y, h"),
    ((("x", [2]),), ("y",), "samples as rows, got 1 axes"),
])  # fmt: skip
def test_inputs_and_outputs(inputs, outputs, message, tmp_path):
    nodes = [("Gemm", ["x", "W"], ["h"]), ("Add", ["h", inputs[-1][0]], ["y"])]
    if len(inputs) == 1:
        nodes[1] = ("Relu", ["h"], ["y"])
    path = onnx_file(tmp_path / "f", nodes, [EYE], inputs=inputs, outputs=outputs)
    refused(nn.import_onnx, path, message)


def test_weights_in_another_file_are_not_opened(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_bytes(np.eye(2, dtype=F).tobytes())
    made = model([GEMM], [EYE])
    weights = made.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = 1
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "secret"
    (tmp_path / "f").write_bytes(made.SerializeToString())
    refused(nn.import_onnx, tmp_path / "f", "is in another file, which is not read")


@pytest.mark.parametrize("dims", [[3, 3], [2**40, 2**40], [-2, -2], [1] * 20, []])
def test_shapes_that_are_not_those_of_the_bytes(dims, tmp_path):
    made = model([GEMM], [EYE])
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend(dims)
    (tmp_path / "f").write_bytes(made.SerializeToString())
    refused(nn.import_onnx, tmp_path / "f", "'W' has")


def test_a_small_file_asks_for_much_memory(tmp_path):
    """One matrix used by many layers, and two vectors that broadcast to a matrix."""
    W = ("W", np.eye(1000, dtype=F) / 1000)
    nodes = [("Gemm", [f"h{k}", "W"], [f"h{k + 1}"], {"transB": 1}) for k in range(3000)]
    nodes[0][1][0], nodes[-1][2][0] = "x", "y"
    inputs = (("x", [None, 1000]),)
    path = onnx_file(tmp_path / "f", nodes, [W], inputs=inputs)
    with frugal(150 * 2**20), pytest.raises(ValueError, match="many times the bytes of the file"):
        nn.import_onnx(path)
    vectors = [("a", np.ones((40_000, 1), F)), ("b", np.ones((1, 40_000), F))]
    nodes = [("Add", ["a", "b"], ["W"]), GEMM]
    refused(nn.import_onnx, onnx_file(tmp_path / "f", nodes, vectors), "many times the bytes")


@pytest.mark.parametrize("count", [150, 3000, 10_001])
def test_many_operators_in_a_row(count, tmp_path, monkeypatch):
    monkeypatch.setattr(from_onnx, "MOST_NODES", 10_000)
    nodes = [("Abs", [f"h{k}"], [f"h{k + 1}"]) for k in range(count)]
    nodes[0][1][0] = "x"
    nodes.append(("Gemm", [f"h{count}", "W"], ["y"]))
    made = model(nodes, [EYE])
    (tmp_path / "f").write_bytes(made.SerializeToString())
    message = "no activation|too many|in a row|more than 10000"
    with frugal(seconds=20), pytest.raises(ValueError, match=message):
        nn.import_onnx(tmp_path / "f")


def test_many_runs_of_operators(tmp_path, monkeypatch):
    """Each run alone is right, and takes its time."""
    monkeypatch.setattr(partition, "MOST_WORK", 20_000)
    nodes, at = [], "x"
    for k in range(40):
        for j in range(150):
            nodes.append(("Neg", [at], [at := f"n{k}.{j}"]))
        nodes.append(("Gemm", [at, "W"], [at := f"g{k}"]))
    nodes[-1][2][0] = "y"
    path = onnx_file(tmp_path / "f", nodes, [EYE])
    with frugal(seconds=20), pytest.raises(ValueError, match="too many to recognise"):
        nn.import_onnx(path)


def test_attributes_of_other_types(tmp_path):
    for attribute in ({"alpha": [1.0, 2.0]}, {"beta": "x"}, {"alpha": "1"}):
        nodes = [("Gemm", ["x", "W"], ["y"], attribute)]
        refused(nn.import_onnx, onnx_file(tmp_path / "f", nodes, [EYE]), "must be a number")
    for attribute in ({"transA": [0]}, {"transB": "x"}, {"more": 3}):
        nodes = [("Gemm", ["x", "W"], ["y"], attribute)]
        try:
            nn.import_onnx(onnx_file(tmp_path / "f", nodes, [EYE]))
        except ValueError as error:
            assert str(tmp_path / "f") in str(error)


def test_many_layers(tmp_path):
    """What is right is read, in linear time."""
    nodes = []
    for k in range(1500):
        nodes += [("Gemm", [f"h{k}", "W"], [f"g{k}"]), ("Tanh", [f"g{k}"], [f"h{k + 1}"])]
    nodes[0][1][0], nodes[-1][2][0] = "x", "y"
    with frugal(seconds=20):
        net = nn.import_onnx(onnx_file(tmp_path / "f", nodes, [EYE]))
    assert len(net.modules) == 3000


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\x80\x04\x95", b"\0" * 1000])
def test_what_is_not_onnx(content, tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "f").write_bytes(content)
    refused(nn.import_onnx, tmp_path / "f", "it is not an ONNX file")


def test_damaged_onnx(tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "f"
    nn.export.onnx(network("GELU tanh", np.float64), path)
    content = path.read_bytes()
    for some in fuzzed(content, 300):
        path.write_bytes(some)
        try:
            nn.import_onnx(path)
        except ValueError as error:
            assert str(path) in str(error)


def test_notes_of_nncore_are_not_trusted(tmp_path):
    onnx = pytest.importorskip("onnx")
    for text in ("[", "[]", '{"modules":[],"loss":1}', "[" * 9999, '{"modules":["a"],"loss":"os"}'):
        made = model([GEMM], [EYE])
        onnx.helper.set_model_props(made, {"nncore": text})
        (tmp_path / "f").write_bytes(made.SerializeToString())
        assert nn.import_onnx(tmp_path / "f").loss is None
