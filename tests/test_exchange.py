"""Networks as ONNX, C, safetensors and modules of PyTorch, and back: the same outputs, or a refusal
that names the cause."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exchange_nets import (
    ACTIVATIONS,
    COMPILERS,
    WARNINGS,
    Compiled,
    digits,
    network,
    norm,
    samples,
    ulps,
)

import nncore as nn
from nncore import _kinds, cli, reference, registry, serialization
from nncore.exchange import c_int8, operators, table, tensors

TOLERANCE = {np.float32: 1e-6, np.float64: 1e-14}
needs_cc = pytest.mark.skipif(not COMPILERS, reason="there is no gcc or clang")
CASES = json.loads((Path(__file__).parent / "exchange_cases.json").read_text())


def close(got, wanted, dtype):
    """Within the tolerance of the largest output, and the same classes."""
    assert got.shape == wanted.shape and got.dtype == dtype
    assert np.abs(got - wanted).max() <= TOLERANCE[dtype] * max(1, np.abs(wanted).max())


def kinds(net):
    from nncore import _chain

    return [repr(module) for module in _chain.modules_of(net)]


def run_onnx(path, X):
    """The outputs of ONNX Runtime, after the checker."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx.checker.check_model(str(path), full_check=True)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input"]
    return session.run(None, {"input": np.ascontiguousarray(X.T)})[0].T


# ---------------------------------------------------------------------------------------- the table


def test_every_module_has_a_row():
    assert set(table.FORMS) == set(registry.MODULES), (
        "a new module needs a row in exchange/table.py"
    )
    for cls, row in table.FORMS.items():
        for form in row:
            assert not isinstance(form, table.Missing) or len(form.reason) > 10, cls
        assert callable(row.onnx) or isinstance(row.onnx, table.Missing), cls
        assert callable(row.c) or isinstance(row.c, table.Missing) or "z" in row.c, cls
        assert isinstance(row.torch, (table.Torch, table.Missing)), cls
        kinds = ("table", "relu", "linear", "norm", "nothing", "output")
        assert row.integer in kinds or isinstance(row.integer, table.Missing), cls


def test_the_page_names_every_module():
    page = (Path(__file__).parent.parent / "docs" / "take-it-with-you.md").read_text()
    rows = page.partition("## Formats of each module")[2].partition("\n## ")[0]
    assert {cls.__name__ for cls in table.FORMS} <= set(re.findall(r"^\| `(\w+)", rows, re.M))


def test_these_tests_have_every_activation():
    assert {type(make()) for make in ACTIVATIONS.values()} == set(registry.ACTIVATIONS)


@pytest.mark.parametrize("form", ["onnx", "c", "integer", "torch"])
def test_a_module_without_a_form_is_named(form, monkeypatch, tmp_path):
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "torch", fake_torch())
    net = nn.Sequential([nn.Linear(2, 2), nn.Tanh()])
    reason = table.Missing("needs a function that this format does not have")
    row = table.FORMS[nn.Tanh]._replace(**{form: reason})
    monkeypatch.setitem(table.FORMS, nn.Tanh, row)
    write = {
        "onnx": lambda: nn.export.onnx(net, tmp_path / "f"),
        "c": lambda: nn.export.c(net, tmp_path / "f", "net"),
        "integer": lambda: nn.export.c(net, tmp_path / "f", "net", int8=np.ones((2, 3))),
        "torch": lambda: nn.to_torch(net),
    }[form]
    with pytest.raises(ValueError, match="Tanh.* cannot be written: it needs a function"):
        write()
    monkeypatch.delitem(table.FORMS, nn.Tanh)
    with pytest.raises(ValueError, match="Tanh.* has no row"):
        write()
    assert not list(tmp_path.iterdir())


def fake_torch():
    """As much of PyTorch as it takes to refuse."""
    from contextlib import nullcontext
    from types import SimpleNamespace

    layers = SimpleNamespace(
        Linear=lambda **k: SimpleNamespace(weight=Ignored(), bias=Ignored()), Sequential=None
    )
    return SimpleNamespace(
        nn=layers, float32=0, float64=0, no_grad=nullcontext, from_numpy=lambda a: a
    )


class Ignored:
    def copy_(self, other):
        pass


# ---------------------------------------------------------------------------------- each activation


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnx(activation, dtype, tmp_path):
    net, path = network(activation, dtype), tmp_path / "net.onnx"
    X = samples(60, 7, dtype, 2)
    pytest.importorskip("onnx")
    nn.export.onnx(net, path)
    P = net.predict_proba(X)
    got = run_onnx(path, X)
    close(got, P, dtype)
    assert np.array_equal(got.argmax(axis=0), net.predict(X))
    close(run_onnx(path, X[:, :1]), P[:, :1], dtype)
    again = nn.import_onnx(path)
    expected = [k.replace("OutputSigmoid", "Sigmoid") for k in kinds(net)]
    assert kinds(again) == expected and isinstance(again.loss, nn.NLL)
    close(again.predict_proba(X), P, dtype)
    eps = [m.eps for m in again.modules if isinstance(m, nn.BatchNorm)]
    assert eps == ([1e-5, 1e-5] if dtype == np.float32 else [0.0, 0.0])


@needs_cc
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_c(activation, dtype, tmp_path):
    net, path = network(activation, dtype), tmp_path / "net.c"
    nn.export.c(net, path, "net")
    compiler = COMPILERS[0 if dtype == np.float32 else -1]
    run = Compiled(path, "net", dtype, 5, compiler)
    X = samples(60, 7, dtype)
    P = net.predict_proba(X)
    assert ulps(run(X), P) <= 64
    assert np.array_equal(run(X).argmax(axis=0), net.predict(X))
    assert run.self_test() == 0


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_safetensors(activation, dtype, tmp_path):
    net, path = network(activation, dtype), tmp_path / "net.safetensors"
    nn.export.safetensors(net, path)
    again = nn.import_safetensors(path)
    assert repr(again) == repr(net)
    for one, other in zip(weights(net), weights(again), strict=True):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    read = library.load_file(path)
    assert read["0.weight"].tobytes() == np.ascontiguousarray(net.modules[0].W.T).tobytes()
    assert read["2.running_var"].tobytes() == net.modules[2].running_var.tobytes()
    assert read["6.1.bias"].tobytes() == net.modules[6].modules[1].W0.tobytes()
    assert len(read) == 3 * 2 + 2 * 5


def weights(net):
    from nncore import _chain

    for module in _chain.modules_of(net):
        for name in (*module.gradients, *getattr(module, "statistics_arrays", ())):
            yield getattr(module, name)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_torch(activation, dtype):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    net, X = network(activation, dtype), samples(60, 7, dtype, 2)
    module = nn.to_torch(net)
    P = net.predict_proba(X)
    with torch.no_grad():
        close(module(torch.from_numpy(np.ascontiguousarray(X.T))).numpy().T, P, dtype)
    again = nn.from_torch(module)
    assert kinds(again) == [k.replace("OutputSigmoid", "Sigmoid") for k in kinds(net)]
    assert [a.tobytes() for a in weights(again)] == [a.tobytes() for a in weights(net)]
    names = set(module.state_dict())
    assert {"0.weight", "2.running_mean", "2.num_batches_tracked", "6.1.bias"} <= names


# -------------------------------------------------------------------------------- sizes and outputs

SIZES = {
    "one to one": [1, 1],
    "one to one, hidden": [1, 3, 1],
    "600 classes": [3, 4, 600],
    "one layer": [5, 3],
    "wide": [2, 300, 2],
    "three": [4, 9, 5, 2],
}
OUTPUTS = {"logits": None, "SoftMax": nn.SoftMax, "OutputSigmoid": nn.OutputSigmoid}


@needs_cc
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("sizes", SIZES)
def test_sizes(sizes, output, tmp_path):
    sizes, dtype = SIZES[sizes], np.float32
    np.random.seed(0)
    parts = []
    for m, n in zip(sizes, sizes[1:], strict=False):
        parts += [nn.Linear(m, n, init="notes", dtype=dtype), nn.Tanh()]
    parts[-1:] = [OUTPUTS[output]()] if OUTPUTS[output] else []
    net, X = nn.Sequential(parts), samples(7, sizes[0], dtype)
    P = net.predict_proba(X)
    nn.export.c(net, tmp_path / "net.c", "net")
    run = Compiled(tmp_path / "net.c", "net", dtype, sizes[-1], options=["-O1"])
    assert run.self_test() == 0
    close(run(X), P, dtype)
    nn.export.safetensors(net, tmp_path / "net.safetensors")
    assert repr(nn.import_safetensors(tmp_path / "net.safetensors")) == repr(net)
    pytest.importorskip("onnx")
    nn.export.onnx(net, tmp_path / "net.onnx")
    close(run_onnx(tmp_path / "net.onnx", X), P, dtype)
    close(run_onnx(tmp_path / "net.onnx", X[:, :1]), P[:, :1], dtype)
    assert kinds(nn.import_onnx(tmp_path / "net.onnx")) == kinds(net)


SINGLE = {
    "normalisation": lambda d: [norm(3, d, np.random.default_rng(0))],
    "activation first": lambda d: [nn.Tanh(), nn.Linear(3, 2, dtype=d)],
    "activation last": lambda d: [nn.Linear(3, 2, dtype=d), nn.GELU()],
    "two activations": lambda d: [nn.Linear(3, 4, dtype=d), nn.Tanh(), nn.ReLU()],
    "equal sizes": lambda d: [
        *(nn.Linear(3, 3, dtype=d), nn.ReLU(), nn.Linear(3, 3, dtype=d), nn.ReLU()),
        *(nn.Linear(3, 7, dtype=d), nn.Linear(7, 7, dtype=d), nn.Linear(7, 3, dtype=d)),
    ],
    "linear twice": lambda d: [nn.Linear(3, 4, dtype=d), nn.Linear(4, 2, dtype=d)],
    "softmax within": lambda d: [nn.Linear(3, 4, dtype=d), nn.SoftMax(), nn.Linear(4, 2, dtype=d)],
    "dropout alone": lambda d: [nn.Linear(3, 4, dtype=d), nn.Dropout(0.5), nn.Dropout(0.0)],
    "normalisation first": lambda d: [
        norm(3, d, np.random.default_rng(0)),
        nn.Linear(3, 2, dtype=d),
        nn.Sigmoid(),
    ],
}


@needs_cc
@pytest.mark.parametrize("name", SINGLE)
def test_unusual_chains(name, dtype, tmp_path):
    net, X = nn.Sequential(SINGLE[name](dtype)), samples(20, 3, dtype)
    P = net.predict_proba(X)
    nn.export.c(net, tmp_path / "net.c", "net")
    run = Compiled(tmp_path / "net.c", "net", dtype, len(P), options=["-O1"])
    close(run(X), P, dtype)
    assert run.self_test() == 0
    nn.export.safetensors(net, tmp_path / "net.safetensors")
    assert repr(nn.import_safetensors(tmp_path / "net.safetensors")) == repr(net)
    pytest.importorskip("onnx")
    nn.export.onnx(net, tmp_path / "net.onnx")
    close(run_onnx(tmp_path / "net.onnx", X), P, dtype)
    close(nn.import_onnx(tmp_path / "net.onnx").predict_proba(X), P, dtype)


def test_the_reference_exports_too(tmp_path):
    np.random.seed(0)
    net = reference.Sequential([reference.Linear(3, 2), reference.Tanh()])
    nn.export.safetensors(net, tmp_path / "f")
    assert kinds(nn.import_safetensors(tmp_path / "f")) == ["Linear(3, 2)", "Tanh()"]


@pytest.mark.parametrize("loss", ["Squared", "Hinge", "NLL", "BinaryNLL"])
def test_the_loss_comes_back(loss, tmp_path):
    loss = getattr(nn, loss)()
    output = [] if loss.output is nn.Linear else [loss.output()]
    net = nn.Sequential([nn.Linear(3, 2), *output], loss)
    nn.export.safetensors(net, tmp_path / "f.safetensors")
    assert type(nn.import_safetensors(tmp_path / "f.safetensors").loss) is type(loss)
    pytest.importorskip("onnx")
    nn.export.onnx(net, tmp_path / "f.onnx")
    assert type(nn.import_onnx(tmp_path / "f.onnx").loss) is type(loss)


# ------------------------------------------------------------------------------------------ scaling


def raw_state(path):
    """({name: array}, metadata) of a safetensors file, as PyTorch sees it."""
    with open(path, "rb") as file:
        metadata, found = tensors.read(file)
    return found, metadata


@needs_cc
def test_scaling_of_large_numbers(dtype, tmp_path):
    """The year 2000 in float32 has four digits less; the scaling loses none of the rest."""
    X = 2000 + samples(50, 7, np.float64, 10)
    X = X.astype(dtype)
    scaling = nn.datasets.fit_scaling(X, "standard")
    net = network("Tanh", dtype)
    P = net.predict_proba(nn.datasets.scale(X, scaling, dtype))
    nn.export.c(net, tmp_path / "net.c", "net", scaling=scaling)
    run = Compiled(tmp_path / "net.c", "net", dtype, 5)
    close(run(X), P, dtype)
    assert run.self_test() == 0
    nn.export.safetensors(net, tmp_path / "net.safetensors", scaling=scaling)
    again = nn.import_safetensors(tmp_path / "net.safetensors")
    assert kinds(again) == kinds(net) and again.scaling == scaling
    assert (again.predict_proba(X) == P).all()
    state, _ = raw_state(tmp_path / "net.safetensors")  # in PyTorch a first BatchNorm1d
    again = nn.from_arrays(state, [None, "tanh", None, None, "tanh", "softmax"], eps=0)
    assert kinds(again)[0] == "BatchNorm(7, statistics='running'" + (
        ")" if dtype == np.float64 else ", dtype=float32)"
    )
    by_modules = again.modules[0].predict_forward(X)
    wanted = nn.datasets.scale(X, scaling, dtype)
    assert np.abs(by_modules - wanted).max() <= 4 * np.finfo(dtype).eps * np.abs(wanted).max()
    pytest.importorskip("onnx")
    nn.export.onnx(net, tmp_path / "net.onnx", scaling=scaling)
    close(run_onnx(tmp_path / "net.onnx", X), P, dtype)
    again = nn.import_onnx(tmp_path / "net.onnx")
    assert kinds(again) == kinds(net) and again.scaling == scaling
    assert (again.predict_proba(X) == P).all()


def test_a_network_with_a_scaling_of_its_own(tmp_path):
    net = nn.Sequential([nn.Linear(2, 2)])
    net.scaling = {"shift": [1.0, 2.0], "factor": [2.0, 0.0]}
    nn.export.safetensors(net, tmp_path / "f")
    again = nn.import_safetensors(tmp_path / "f")
    assert again.scaling == net.scaling and kinds(again) == ["Linear(2, 2)"]
    state, _ = raw_state(tmp_path / "f")
    assert state["0.running_mean"].tolist() == [1, 2] and state["0.weight"].tolist() == [2, 0]
    nn.export.safetensors(net, tmp_path / "f", scaling={"shift": 0, "factor": 1})
    again = nn.import_safetensors(tmp_path / "f")
    assert again.scaling is None and kinds(again) == ["Linear(2, 2)"]


# ------------------------------------------------------------------------------ figures that we say

TRAINED = {"32": ([32], nn.ReLU), "128-64": ([128, 64], nn.Tanh)}


@needs_cc
@pytest.mark.parametrize("name", TRAINED)
def test_trained_networks(name, dtype, tmp_path):
    hidden, activation = TRAINED[name]
    net = digits(hidden, dtype, activation)
    X = (nn.datasets.load_digits("test")[0] / 16).astype(dtype)
    P = net.predict_proba(X)
    assert net.score(X, nn.datasets.load_digits("test")[1]) > 0.8
    nn.export.c(net, tmp_path / "net.c", "net")
    for option, most in (("-UNET_FMA", 64), ("-DNET_FMA", 64 if activation is nn.Tanh else 12)):
        run = Compiled(tmp_path / "net.c", "net", dtype, 10, options=["-O2", option])
        assert ulps(run(X), P) <= most
        assert np.array_equal(run(X).argmax(axis=0), net.predict(X))
        assert run.self_test() == 0
    pytest.importorskip("onnx")
    nn.export.onnx(net, tmp_path / "net.onnx")
    got = run_onnx(tmp_path / "net.onnx", X)
    assert np.abs(got - P).max() <= TOLERANCE[dtype]
    assert np.array_equal(got.argmax(axis=0), net.predict(X))


@pytest.mark.parametrize("level", ["-O2", "-Os"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_small_code_without_state(compiler, level, tmp_path):
    if compiler not in COMPILERS:
        pytest.skip(f"there is no {compiler}")
    net = small(np.float32)
    nn.export.c(net, tmp_path / "iris.c", "iris")
    text = (tmp_path / "iris.c").read_text()
    assert "#define IRIS_INPUTS 4" in text and "#define IRIS_OUTPUTS 3" in text
    assert not re.search(r"\b(malloc|calloc|free|alloca)\b", text)
    made = tmp_path / "iris.o"
    command = [compiler, *WARNINGS, "-Wmissing-prototypes", level, "-c", "iris.c", "-o", made]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    size = subprocess.run(["size", made], capture_output=True, text=True, check=True).stdout
    text, data, bss = map(int, size.splitlines()[1].split()[:3])
    assert text <= 1000 and data == bss == 0, size
    symbols = subprocess.run(["nm", made], capture_output=True, text=True, check=True).stdout
    found = {tuple(line.split()[-2:]) for line in symbols.splitlines()}
    assert ("T", "iris") in found and not [s for s in found if s[0] in "DdBbC"], symbols
    assert {name for kind, name in found if kind == "U"} <= {"expf", "tanhf"}, symbols


def small(dtype, hidden=8):
    np.random.seed(0)
    parts = [nn.Linear(4, hidden, dtype=dtype), nn.Tanh(), nn.Linear(hidden, 3, dtype=dtype)]
    return nn.Sequential([*parts, nn.SoftMax()], nn.NLL())


@needs_cc
@pytest.mark.parametrize("int8", [False, True])
def test_other_files_include_the_header_alone(int8, tmp_path):
    X = samples(30, 4, np.float32)
    nn.export.c(small(np.float32), tmp_path / "iris.c", "iris", int8=X if int8 else None)
    (tmp_path / "main.c").write_text(
        '#define IRIS_HEADER\n#include "iris.c"\n'
        "int main(void) { return iris_self_test() + IRIS_INPUTS + IRIS_OUTPUTS - 7; }\n"
    )
    command = [COMPILERS[0], *WARNINGS, "-DIRIS_SELF_TEST", "main.c", "iris.c", "-lm", "-o", "main"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert subprocess.run([tmp_path / "main"]).returncode == 0


@needs_cc
@pytest.mark.parametrize("int8", [False, True])
def test_the_self_test_finds_a_wrong_weight(int8, tmp_path):
    X, path = samples(30, 4, np.float32, 2), tmp_path / "iris.c"
    given = X[:, :3]
    nn.export.c(small(np.float32), path, "iris", int8=X if int8 else None, samples=given)
    text = path.read_text()
    at = text.index("w2[" if not int8 else "w1[")
    start = text.index("{", at) + 1
    end = text.index(",", start)
    path.write_text(f"{text[:start]} {'3.0f' if not int8 else '99'}{text[end:]}")
    made = Compiled(path, "iris", np.int8 if int8 else np.float32, 3)
    assert made.self_test() == 1


def test_a_self_test_on_samples_of_the_users(tmp_path):
    X = np.array([[1.0, 2, 3], [0.5, 0.25, 0.125]])
    nn.export.c(nn.Sequential([nn.Linear(2, 1)]), tmp_path / "f.c", "f", samples=X)
    text = (tmp_path / "f.c").read_text()
    assert re.search(r"x\[3\]\[2\] = \{\s*\{\s*1\.0, 0x1p-1\s*\}", text), text


# --------------------------------------------------------------------------------------------- int8


@needs_cc
@pytest.mark.parametrize("hidden, activation", [([32], nn.ReLU), ([64, 32], nn.Tanh)])
def test_int8_of_the_digits(hidden, activation, tmp_path, capsys):
    net = digits(hidden, np.float32, activation, 20000)
    X, labels = nn.datasets.load_digits("train")
    scaling = {"shift": 0.0, "factor": 1 / 16}
    nn.export.c(net, tmp_path / "net.c", "net", int8=X, scaling=scaling)
    line = capsys.readouterr().out
    share = float(
        re.fullmatch(r"net: int8 gives the same class for (\S+) of 1437 samples\n", line)[1]
    )
    assert share >= 0.98
    text = (tmp_path / "net.c").read_text()
    code = re.sub(r"/\*.*?\*/|#define NET_(IN|OUT)PUT_SCALE .*", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(float|double|math)\b|\d\.\d|\dp[-+]\d", code)
    run = Compiled(tmp_path / "net.c", "net", np.int8, 10, result=np.int32)
    assert run.self_test() == 0
    scale, unit = (
        float.fromhex(re.search(f"define NET_{k}_SCALE (\\S+)", text)[1])
        for k in ("INPUT", "OUTPUT")
    )
    test = nn.datasets.load_digits("test")[0]
    q = np.rint(test / 16 / scale)
    assert np.abs(q * scale - test / 16).max() < 1e-12, "grey levels are exact"
    y = run(q)
    assert np.mean(y.argmax(axis=0) == net.predict(test / 16)) >= 0.98
    logits = nn.Sequential(net.modules[:-1]).predict_proba((test / 16).astype(np.float32))
    assert np.abs(y * unit - logits).max() < 0.1 * np.abs(logits).max()


@needs_cc
@pytest.mark.parametrize("activation", ["LeakyReLU", "GELU", "SiLU", "Sigmoid", "OutputSigmoid"])
def test_the_integers_of_c_are_those_of_the_simulation(activation, tmp_path, capsys):
    net, X = network(activation, np.float64), samples(300, 7, np.float64)
    scaling = nn.datasets.fit_scaling(X, "standard")
    text = c_int8.text
    kept = {}

    def spy(net, described, name, X, samples):
        layers, output = c_int8._layers(described)
        kept["scales"], kept["stages"] = c_int8._quantised(described, layers, X)
        kept["described"] = described
        return text(net, described, name, X, samples)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c_int8, "text", spy)
        nn.export.c(net, tmp_path / "net.c", "net", int8=X, scaling=scaling)
    assert float(re.search(r"for (\S+) of", capsys.readouterr().out)[1]) > 0.9
    run = Compiled(tmp_path / "net.c", "net", np.int8, 5, COMPILERS[-1], np.int32)
    q = c_int8._inputs(kept["described"], X * 2, kept["scales"])
    assert np.abs(q).max() == 127, "inputs beyond the calibration are cut"
    assert np.array_equal(run(q), c_int8._run(kept["stages"], q))
    logits = nn.Sequential(net.modules[:-1]).predict_proba(nn.datasets.scale(X, scaling))
    got = run(c_int8._inputs(kept["described"], X, kept["scales"])) * kept["scales"][-1]
    assert np.abs(got - logits).max() < 0.1 * np.abs(logits).max()
    assert run.self_test() == 0


@needs_cc
def test_int8_rounds_halves_away_from_0(tmp_path):
    nn.export.c(small(np.float32), tmp_path / "net.c", "net", int8=samples(30, 4, np.float32))
    (tmp_path / "probe.c").write_text(
        '#include "net.c"\nint32_t probe_self_test(void);\nvoid probe(int32_t *s, int32_t *y);\n'
        "int32_t probe_self_test(void) { return 0; }\n"
        "void probe(int32_t *s, int32_t *y) { *y = net_rescaled(s[0], s[1], (uint8_t)s[2]); }\n"
    )
    run = Compiled(tmp_path / "probe.c", "probe", np.int32, 1)
    sums = np.array([-5, -4, -3, -1, 0, 1, 3, 4, 5, -(2**31) + 1, 2**31 - 1])
    for m, shift in ((2**30, 31), (2**30, 32), (2**31 - 1, 31), (2**30 + 1, 62)):
        wanted = c_int8._rescaled(sums, np.int64(m), np.int64(shift))
        got = run(np.array([[s, m, shift] for s in sums]).T)[0]
        assert got.tolist() == wanted.tolist()
        if (m, shift) == (2**30, 31):
            assert wanted[:9].tolist() == [-3, -2, -2, -1, 0, 1, 2, 2, 3]


@needs_cc
def test_int8_of_numbers_and_of_labels(tmp_path, capsys):
    np.random.seed(0)
    X = samples(100, 3, np.float32)
    parts = [nn.Linear(3, 6, dtype=np.float32), nn.ReLU(), nn.Linear(6, 2, dtype=np.float32)]
    net = nn.Sequential(parts, nn.Squared())
    nn.export.c(net, tmp_path / "net.c", "net", int8=X)
    error, largest = map(
        float,
        re.search(r"error of int8 (\S+), outputs up to (\S+)$", capsys.readouterr().out).groups(),
    )
    assert 0 < error < 0.03 * largest
    net = nn.Sequential([*parts, nn.OutputSigmoid()], nn.BinaryNLL())
    nn.export.c(net, tmp_path / "net.c", "net", int8=X)
    assert float(re.search(r"for (\S+) of", capsys.readouterr().out)[1]) > 0.95
    assert "a label is 1 if its y is above 0" in (tmp_path / "net.c").read_text().replace(
        "\n * ", " "
    )


def test_int8_refuses_sums_that_may_overflow(tmp_path):
    net = nn.Sequential([nn.Linear(150_000, 1)])
    net.modules[0].W[:] = 1
    with pytest.raises(ValueError, match=r"sums below 2\*\*31 .* 150000 inputs"):
        nn.export.c(net, tmp_path / "f", "net", int8=np.ones((150_000, 1)))


# ----------------------------------------------------------------------------------------- refusals


class Own(nn.Module):
    def forward(self, A):
        return A


class Loud(nn.Tanh):
    def forward(self, Z):
        return super().forward(Z) * 2


def mixed():
    return [nn.Linear(2, 3), nn.Linear(3, 1, dtype=np.float32)]


def with_nan(array="W", value=np.nan):
    parts = [nn.Linear(2, 3)]
    getattr(parts[0], array)[0, 0] = value
    return parts


FORMATS = {
    "onnx": lambda net, path, **more: nn.export.onnx(net, path, **more),
    "c": lambda net, path, **more: nn.export.c(net, path, "net", **more),
    "safetensors": lambda net, path, **more: nn.export.safetensors(net, path, **more),
}
REFUSED = {
    "own": (
        lambda: [nn.Linear(2, 2), Own()],
        TypeError,
        r"modules\[1\] must be one of nncore's own",
    ),
    "subclass": (lambda: [nn.Linear(2, 2), Loud()], TypeError, "got Loud, which overrides forward"),
    "no sizes": (lambda: [nn.Tanh()], ValueError, r"must have a Linear .* got Tanh\(\)"),
    "empty": (lambda: [], ValueError, "got no modules"),
    "mixed": (mixed, ValueError, r"one type .* W0 of modules\[0\] is float64, .* is float32"),
    "NaN": (with_nan, ValueError, r"W of modules\[0\] must be finite .* got NaN"),
    "infinity": (lambda: with_nan("W0", np.inf), ValueError, r"W0 of modules\[0\] must be finite"),
    "widths": (
        lambda: [nn.Linear(2, 3), nn.Tanh(), nn.Linear(2, 2)],
        ValueError,
        r"modules\[2\] Linear\(2, 2\) must take the 3 outputs of modules\[0\] Linear\(2, 3\)",
    ),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", REFUSED)
def test_refusals_leave_the_file_as_it_was(form, case, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnx")
    make, error, message = REFUSED[case]
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error, match=message) as caught:
        FORMATS[form](nn.Sequential(make()), path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("form", ["onnx", "c"])
def test_statistics_of_the_batch_are_refused(form, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnx")
    net = nn.Sequential([nn.Linear(2, 3), nn.BatchNorm(3)])
    with pytest.raises(ValueError, match=r"modules\[1\] BatchNorm\(3\) must predict by running"):
        FORMATS[form](net, tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_statistics_of_the_batch_as_safetensors(tmp_path):
    net = nn.Sequential([nn.Linear(2, 3), nn.BatchNorm(3)])
    nn.export.safetensors(net, tmp_path / "f")
    assert repr(nn.import_safetensors(tmp_path / "f")) == repr(net)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "scaling",
    [
        {"shift": [1.0, 2.0, 3.0], "factor": 1.0},
        {"shift": 0.0},
        {"shift": float("nan"), "factor": 1.0},
        {"shift": "a", "factor": 1.0},
        3,
    ],
)
def test_scalings_that_do_not_fit(form, scaling, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnx")
    with pytest.raises(ValueError, match="scaling must be a dict with shift and factor"):
        FORMATS[form](nn.Sequential([nn.Linear(2, 3)]), tmp_path / "f", scaling=scaling)


@needs_cc
@pytest.mark.parametrize("name", ["a", "b", "w0", "net_f0", "A", "f", "X", "sum", "real"])
def test_names_that_are_used_in_the_file(name, tmp_path):
    nn.export.c(network("Tanh", np.float32), tmp_path / "f.c", name)
    assert Compiled(tmp_path / "f.c", name, np.float32, 5, options=["-O0"]).self_test() == 0


@pytest.mark.parametrize(
    "name", ["", "2x", "a-b", "int", "expf", "ä", "a b", "x" * 60, "main", "_a", "a\n", "a;", "log"]
)
def test_names_that_are_none_in_c(name, tmp_path):
    with pytest.raises(ValueError, match="name must be a C identifier"):
        nn.export.c(nn.Sequential([nn.Linear(2, 3)]), tmp_path / "f", name)
    assert not list(tmp_path.iterdir())


C_REFUSED = {
    "int8 shape": ({"int8": np.ones((3, 5))}, r"int8 must have shape \(2, N\), got \(3, 5\)"),
    "int8 empty": ({"int8": np.ones((2, 0))}, "at least one sample"),
    "int8 NaN": ({"int8": np.full((2, 3), np.nan)}, "int8 must be finite"),
    "samples": ({"samples": np.ones((2, 4))}, r"samples must have shape \(2, 3\), got \(2, 4\)"),
}


@pytest.mark.parametrize("case", C_REFUSED)
def test_samples_that_do_not_fit(case, tmp_path):
    more, message = C_REFUSED[case]
    with pytest.raises(ValueError, match=message):
        nn.export.c(nn.Sequential([nn.Linear(2, 3)]), tmp_path / "f", "net", **more)


INT8_REFUSED = {
    "softmax within": (
        [nn.Linear(2, 2), nn.SoftMax(), nn.Linear(2, 2)],
        r"modules\[1\] SoftMax\(\) must be the last",
    ),
    "activation first": ([nn.Tanh(), nn.Linear(2, 2)], "must follow a Linear"),
    "batch": ([nn.Linear(2, 2), nn.BatchNorm(2)], "must predict by running statistics"),
    "norm last": (
        [nn.Linear(2, 2), nn.Tanh(), norm(2, np.float64, np.random.default_rng(0))],
        "must end in a Linear",
    ),
}


@pytest.mark.parametrize("case", INT8_REFUSED)
def test_what_int8_does_not_do(case, tmp_path):
    parts, message = INT8_REFUSED[case]
    with pytest.raises(ValueError, match=message):
        nn.export.c(nn.Sequential(parts), tmp_path / "f", "net", int8=np.ones((2, 3)))


def test_a_normalisation_of_a_constant(tmp_path):
    norm = nn.BatchNorm(2, statistics="running", eps=0.0)
    norm.running_var[0] = 0
    with pytest.raises(ValueError, match=r"running_var \+ eps of modules\[0\] .* above 0"):
        nn.export.c(nn.Sequential([norm]), tmp_path / "f", "net")


@pytest.mark.parametrize("name, call", [
    ("onnx", lambda net, path: nn.export.onnx(net, path)),
    ("onnx", lambda net, path: nn.import_onnx(path)),
    ("torch", lambda net, path: nn.to_torch(net)),
])  # fmt: skip
def test_extras_that_are_missing(name, call, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"needs the package {name}; .*`pip install"):
        call(nn.Sequential([nn.Linear(2, 3)]), tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_classes_that_do_not_fit(tmp_path):
    pytest.importorskip("onnx")
    net = nn.Sequential([nn.Linear(2, 3)])
    for classes in ([1, 2], [1.5, 2, 3], "abc"):
        with pytest.raises(ValueError, match="classes must be 3 integers or texts"):
            nn.export.onnx(net, tmp_path / "f", classes=classes)


def test_heavy_packages_are_not_imported():
    code = "import sys, nncore as nn; nn.export, nn.from_arrays, nn.import_onnx, nn.to_torch; "
    code += "print({'onnx', 'torch', 'safetensors', 'google'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


# ---------------------------------------------------------------------- networks of other libraries


def arrays_of(case):
    """The arrays of a case as the library would hand them over."""
    dtype = np.float64 if case["layout"] == "sklearn" else np.float32
    if case["layout"] == "torch":
        return {
            k: np.array(v, np.int64 if k.endswith("tracked") else dtype)
            for k, v in case["weights"].items()
        }
    if case["layout"] == "sklearn":
        return [[np.array(w, dtype) for w in part] for part in case["weights"]]
    return [np.array(w, dtype) for w in case["weights"]]


@pytest.mark.parametrize("case", CASES["arrays"], ids=lambda c: f"{c['layout']} {c['activations']}")
def test_from_arrays(case):
    dtype = np.float64 if case["layout"] == "sklearn" else np.float32
    net = nn.from_arrays(arrays_of(case), case["activations"], layout=case["layout"])
    X, Y = (np.array(case[k], dtype).T for k in "XY")
    close(net.predict_proba(X), Y, dtype)


@pytest.mark.parametrize("case", CASES["onnx"], ids=lambda c: c["name"])
def test_onnx_files_of_converters(case, tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "f").write_bytes(base64.b64decode(case["file"]))
    net = nn.import_onnx(tmp_path / "f")
    dtype = np.dtype(case["dtype"]).type
    X, Y = (np.array(case[k], dtype).T for k in "XY")
    close(net.predict_proba(X), Y, dtype)
    known = {cls.__name__ for cls in registry.ACTIVATIONS} - {"SoftMax", "OutputSigmoid"}
    found = [type(m).__name__ for m in net.modules]
    assert [name for name in found if name in known] == case["activations"]
    assert case["name"] == "sklearn numbers" or found[-1] == "SoftMax"
    if "tanh" in case["name"]:
        assert {m.approximate for m in net.modules if isinstance(m, nn.GELU)} == {"tanh"}
    if "Leaky" in case["name"]:
        assert {m.slope for m in net.modules if isinstance(m, nn.LeakyReLU)} == {0.15}


V = np.array([0.5, -2.0, 3.0], np.float32)
STEPS = {  # after a Linear: operators with constants, and what they are
    "c - x": ([("Sub", V, "x")], ["BatchNorm"]),
    "x - c": ([("Sub", "x", V)], ["BatchNorm"]),
    "-x": ([("Neg", "x")], ["BatchNorm"]),
    "c x": ([("Mul", V, "x")], ["BatchNorm"]),
    "x / c": ([("Div", "x", V)], ["BatchNorm"]),
    "c + x": ([("Add", V, "x")], ["BatchNorm"]),
    "four": ([("Sub", "x", V), ("Mul", "x", V), ("Sub", V, "x"), ("Add", "x", 2.0)], ["BatchNorm"]),
    "nothing": ([("Identity", "x"), ("Mul", "x", 1.0), ("Add", 0.0, "x")], []),
    "shift, ReLU, shift": (
        [("Add", "x", V), ("Relu", "x"), ("Sub", "x", 1.0)], ["BatchNorm", "ReLU", "BatchNorm"]),
    "sigmoid by exp": (
        [("Neg", "x"), ("Exp", "x"), ("Add", "x", 1.0), ("Reciprocal", "x")], ["Sigmoid"]),
    "tanh by sigmoid": (
        [("Mul", "x", 2.0), ("Sigmoid", "x"), ("Mul", "x", 2.0), ("Sub", "x", 1.0)], ["Tanh"]),
    "relu by max": ([("Max", "x", 0.0)], ["ReLU"]),
    "leaky by max": ([("Mul", "h", "x", 0.25), ("Max", "x", "h")], ["LeakyReLU"]),
    "prelu": ([("PRelu", "x", 0.25)], ["LeakyReLU"]),
    "gelu halves": (
        [("Mul", "h", "x", 0.5), ("Div", "x", 2**0.5), ("Erf", "x"), ("Add", "x", 1.0),
         ("Mul", "x", "h")], ["GELU"]),
    "silu by division": (
        [("Neg", "h", "x"), ("Exp", "h", "h"), ("Add", "h", "h", 1.0), ("Div", "x", "h")],
        ["SiLU"]),
    "casts": ([("Cast", "x"), ("Tanh", "x"), ("Cast", "x")], ["Tanh"]),
    "two in a row": ([("Tanh", "x"), ("Relu", "x")], ["Tanh", "ReLU"]),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_onnx(name, tmp_path):
    """Each operator writes to x, or to h if that is its first name."""
    onnx = pytest.importorskip("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    steps, expected = STEPS[name]
    rng = np.random.default_rng(0)
    tensors = {k: rng.normal(size=s).astype(np.float32) for k, s in (("W", (4, 3)), ("b", 3))}
    live, nodes = {"x": "z"}, [helper.make_node("Gemm", ["input", "W", "b"], ["z"])]
    for k, (operator, *given) in enumerate(steps):
        target = given.pop(0) if isinstance(given[0], str) and given[0] == "h" else "x"
        names = []
        for g in given:
            if isinstance(g, str):
                names.append(live[g])
            else:
                tensors[f"c{k}"] = np.asarray(g, np.float32)
                names.append(f"c{k}")
        more = {"to": number} if operator == "Cast" else {}
        live[target] = f"t{k}"
        nodes.append(helper.make_node(operator, names, [f"t{k}"], **more))
    nodes[-1].output[0] = "output"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", number, ["N", 4])],
        [helper.make_tensor_value_info("output", number, ["N", 3])],
        [onnx.numpy_helper.from_array(a, n) for n, a in tensors.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "f")
    net = nn.import_onnx(tmp_path / "f")
    assert [type(m).__name__.replace("Output", "") for m in net.modules] == ["Linear", *expected]
    if expected == ["LeakyReLU"]:
        assert net.modules[1].slope == 0.25
    X = samples(40, 4, np.float32, 2)
    close(net.predict_proba(X), run_onnx(tmp_path / "f", X), np.float32)


def test_the_scaler_of_sklearn(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    scaler = {"offset": [1.0, 2.0], "scale": [0.5, 4.0], "domain": "ai.onnx.ml"}
    nodes = [
        helper.make_node("Scaler", ["x"], ["h"], **scaler),
        helper.make_node("MatMul", ["h", "W"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, number, [None, 2]) for n in "xy"]
    W = onnx.numpy_helper.from_array(np.eye(2, dtype=np.float32), "W")
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [W])),
              tmp_path / "f")  # fmt: skip
    X = np.array([[3.0, 1.0], [2.0, 0.0]], np.float32)
    assert nn.import_onnx(tmp_path / "f").predict_proba(X).tolist() == [[1, 0], [0, -8]]


@pytest.mark.parametrize("labels", [["b", "a"], [-3, 5], [0, 1], ["a", "b", "c"], [7, 7]])
def test_the_labels_of_sklearn(labels, tmp_path):
    """Its converter picks them by an ArgMax of the probabilities."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    W = np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["h"]),
        helper.make_node("Softmax", ["h"], ["p"]),
        helper.make_node("ArgMax", ["p"], ["i"], axis=1),
        helper.make_node("ArrayFeatureExtractor", ["classes", "i"], ["y"], domain="ai.onnx.ml"),
    ]
    texts = isinstance(labels[0], str)
    kind = kinds.STRING if texts else kinds.INT64
    values = [helper.make_tensor_value_info(n, kinds.FLOAT, [None, 2]) for n in "xp"]
    constants = [
        onnx.numpy_helper.from_array(W, "W"),
        helper.make_tensor("classes", kind, [len(labels)], labels),
    ]
    outputs = [values[1], helper.make_tensor_value_info("y", kind, [None])]
    graph = helper.make_graph(nodes, "g", values[:1], outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "f")
    if labels in (["a", "b", "c"], [7, 7]):
        with pytest.raises(ValueError, match="its classes or names cannot be read"):
            nn.import_onnx(tmp_path / "f")
        return
    net = nn.import_onnx(tmp_path / "f")
    assert net.classes is None if labels == [0, 1] else list(net.classes) == labels
    x = np.eye(2, dtype=np.float32)
    assert net.predict(x).tolist() == [labels[1], labels[0]]


@pytest.mark.parametrize("int8", [False, True])
def test_c_lists_the_classes(int8, tmp_path):
    net = nn.Sequential([nn.Linear(2, 3), nn.SoftMax()], nn.NLL())
    X = np.eye(2)
    nn.export.c(net, tmp_path / "f", "f", int8=X if int8 else None)
    assert "Classes" not in (tmp_path / "f").read_text()
    net.classes = ["cat */ int", "chien\n", "Löwe"]
    nn.export.c(net, tmp_path / "f", "f", int8=X if int8 else None)
    text = (tmp_path / "f").read_text()
    assert " * Classes 0, 1, ...: 'cat * / int', 'chien\\n', 'L\\xf6we'\n" in text
    assert text.index("#ifndef") > text.index("*/") > text.index("Classes")


def test_onnx_keeps_the_names_of_columns(tmp_path):
    pytest.importorskip("onnx")
    net = nn.Sequential([nn.Linear(2, 1)], nn.Squared())
    net.feature_names, net.target_name = ["height", "Länge"], "price"
    nn.export.onnx(net, tmp_path / "f")
    again = nn.import_onnx(tmp_path / "f")
    assert again.feature_names == ["height", "Länge"] and again.target_name == "price"


def test_from_arrays_in_all_its_ways():
    rng = np.random.default_rng(0)
    W, V, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=3)
    four = [rng.uniform(1, 2, 3) for _ in range(4)]
    ways = [
        nn.from_arrays([W, b, V], ["tanh", "softmax"], layout="keras"),
        nn.from_arrays([(W, b), (V,)], ["Tanh", nn.SoftMax()], layout="keras"),
        nn.from_arrays([W.T, b, V.T], ["tanh", "Softmax"]),
        nn.from_arrays({"a.weight": W.T, "a.bias": b, "b.weight": V.T}, ["tanh", "softmax"]),
        nn.from_arrays(([W, V], [b, np.zeros(2)]), ["tanh", "softmax"], layout="sklearn"),
    ]
    X = rng.normal(size=(4, 5))
    for net in ways:
        last = "Linear(3, 2)" if net is ways[-1] else "Linear(3, 2, bias=False)"
        assert kinds(net) == ["Linear(4, 3)", "Tanh()", last, "SoftMax()"]
        assert net.predict_proba(X).tobytes() == ways[0].predict_proba(X).tobytes()
        assert not np.shares_memory(net.modules[0].W, W)
    net = nn.from_arrays([W, b, *four, V], ["leaky_relu", None, "sigmoid"], layout="keras")
    assert kinds(net)[1:3] == ["LeakyReLU(0.01)", "BatchNorm(3, statistics='running')"]
    assert net.modules[2].eps == 1e-3 and kinds(net)[-1] == "OutputSigmoid()"
    assert nn.from_arrays([*four, W.T[:, :3]], [None, "gelu"], eps=0.5).modules[0].eps == 0.5
    state = {f"{k}.weight": np.eye(2) * k for k in (10, 2)}
    assert nn.from_arrays(state, [None, None]).modules[0].W[0, 0] == 2
    half = nn.from_arrays([W.astype(np.float16)], [None], layout="keras")
    assert half.modules[0].W.dtype == np.float64
    assert nn.from_arrays([W.astype(np.float32)], [None], layout="keras").modules[0].W.dtype == "f4"


A = np.ones
ARRAYS_REFUSED = {
    "transposed": (([A((4, 3)), A(3), A((2, 3)), A(2)], ["relu", None], "keras"), ValueError,
                   r"weights\[2\] must have shape \(inputs, outputs\) .* layout='torch' would fit"),
    "bias": (([A((3, 4)), A(4)], [None]), ValueError,
             r"weights\[1\] must have shape \(3,\).* layout='keras' would fit"),
    "three vectors": (([A((3, 4)), A(3), A(3), A(3)], [None]), ValueError, "3 vectors follow"),
    "cube": (([A((2, 2, 2))], [None]), ValueError, "must be a matrix or a vector"),
    "empty": (([A((0, 2))], [None]), ValueError, r"got \(0, 2\)"),
    "complex": (([A((2, 2)) * 1j], [None]), TypeError, "must be a real array, got complex128"),
    "count": (([A((2, 2))], []), ValueError, "one entry for each of the 1 layers"),
    "text": (([A((2, 2))], "relu"), TypeError, "activations must be a list"),
    "unknown": (([A((2, 2))], ["swash"]), ValueError, "must be one of gelu, .* got 'swash'"),
    "number": (([A((2, 2))], [3]), TypeError, "must be a name, a module or None, got 3"),
    "layout": (([A((2, 2))], [None], "jax"), ValueError, "layout must be one of 'torch'"),
    "none": (([], []), TypeError, "weights must be a list of arrays"),
    "NaN": (([A((2, 2)) * np.nan], [None]), ValueError, "must be finite"),
    "state": (({"0.weight": A((2, 2)), "0.scale": A(2)}, [None]), ValueError,
              "layer '0' must have weight and bias"),
    "unequal": ((([A((2, 2))], []), [None], "sklearn"), ValueError, "must have the same length"),
    "norm": (([A((3, 2)), A(3), *[A(4)] * 4], [None, None]), ValueError,
             r"weights\[2\] must have shape \(3,\), got \(4,\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS_REFUSED)
def test_arrays_that_do_not_fit(case):
    given, error, message = ARRAYS_REFUSED[case]
    with pytest.raises(error, match=message):
        nn.from_arrays(*given)


def test_safetensors_of_another_program(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    rng = np.random.default_rng(0)
    W, V = (rng.normal(size=s).astype(np.float32) for s in ((5, 4), (3, 5)))
    state = {"0.weight": W, "0.bias": np.zeros(5, np.float32), "2.weight": V}
    library.save_file(state, tmp_path / "f")
    with pytest.raises(ValueError, match=r"name the activations, as in import_safe"):
        nn.import_safetensors(tmp_path / "f")
    net = nn.import_safetensors(tmp_path / "f", ["relu", "softmax"])
    assert net.modules[0].W.tobytes() == np.ascontiguousarray(W.T).tobytes()
    assert kinds(net)[-1] == "SoftMax()"


# -------------------------------------------------------------------------------- live from PyTorch


def test_layers_of_torch_that_are_unknown():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layers = torch.nn
    double = torch.nn.Linear(2, 2)
    double.register_forward_hook(lambda *_: None)

    class Mine(layers.Module):
        pass

    for module, error, message in (
        (
            layers.Sequential(layers.Conv2d(1, 1, 1)),
            TypeError,
            "module '0' must be one of .*Conv2d",
        ),
        (
            layers.Sequential(layers.Linear(2, 2), layers.Sequential(layers.ELU())),
            TypeError,
            "'1.0'",
        ),
        (layers.Sequential(layers.Linear(2, 2), layers.LogSoftmax(1)), TypeError, "use Softmax"),
        (layers.Sequential(layers.Linear(2, 2), Mine()), TypeError, "must be a layer of torch.nn"),
        (layers.Sequential(layers.Linear(2, 2), layers.Softmax(0)), ValueError, "must have dim=1"),
        (layers.Sequential(layers.Linear(2, 2), layers.Flatten(0)), TypeError, "got Flatten"),
        (layers.BatchNorm1d(2, momentum=None), ValueError, "must have a momentum"),
        (layers.Sequential(layers.Linear(2, 3), layers.Linear(2, 2)), ValueError, "3 outputs"),
        (double, TypeError, "must have no hooks"),
        ([], TypeError, "must be a layer of torch.nn"),
    ):
        with pytest.raises(error, match=message):
            nn.from_torch(module)


def test_torch_modules_without_weights():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for made in (torch.nn.LazyLinear(3), torch.nn.Linear(2, 3, device="meta")):
        with pytest.raises(ValueError, match="must have weights; run or load the module first"):
            nn.from_torch(torch.nn.Sequential(made))


def test_what_is_read_is_not_said_to_be_written():
    with pytest.raises(
        ValueError, match=r"^W of modules\[0\] must be finite, got NaN or infinity$"
    ):
        nn.from_arrays([np.full((2, 3), np.nan)], [None])


def test_kinds_of_batch_normalisation_in_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    X = samples(9, 4, np.float32)
    for made in (
        torch.nn.BatchNorm1d(4, track_running_stats=False),
        torch.nn.BatchNorm1d(4, affine=False),
        torch.nn.BatchNorm1d(4, eps=0.1),
    ):
        net = nn.from_torch(torch.nn.Sequential(torch.nn.Flatten(), made.eval()))
        with torch.no_grad():
            wanted = made(torch.from_numpy(np.ascontiguousarray(X.T))).numpy().T
        close(net.predict_proba(X), wanted, np.float32)
        assert repr(nn.from_torch(nn.to_torch(net))) == repr(net)


def test_keras_live(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    keras = pytest.importorskip("keras", reason="keras is not installed", exc_type=ImportError)
    layers = [keras.layers.Dense(5, "tanh"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3, "softmax")])
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    X = samples(20, 4, np.float32)
    net = nn.from_arrays(model.get_weights(), ["tanh", None, "softmax"], layout="keras")
    close(net.predict_proba(X), np.asarray(model(X.T, training=False)).T, np.float32)


@pytest.mark.filterwarnings("ignore")  # not converged
def test_sklearn_live():
    mlp = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    X = samples(60, 4, np.float64)
    made = mlp.MLPClassifier((6,), max_iter=20, random_state=0).fit(X.T, X[:3].argmax(axis=0))
    net = nn.from_arrays((made.coefs_, made.intercepts_), ["relu", "softmax"], layout="sklearn")
    close(net.predict_proba(X), made.predict_proba(X.T).T, np.float64)


# -------------------------------------------------------------------------------------- the command


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model of a table whose features are scaled, and the table."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)) * [1, 10, 100] + [0, 50, 1000], rng.integers(0, 2, 60) * 5
    rows = [
        ",".join(map(repr, [*map(float, x), int(label)])) for x, label in zip(X, y, strict=True)
    ]
    Path("table.csv").write_text("\n".join(rows) + "\n")
    train = "train table.csv --layers 4 --epochs 2 --quiet --no-compare --output model.npz"
    assert cli.main(train.split()) == 0
    return X.T


def test_the_command(model, tmp_path, capsys):
    pytest.importorskip("onnx")
    net = nn.load("model.npz")
    X = model.astype(np.float32)
    P = net.predict_proba(X)
    capsys.readouterr()
    assert cli.main("export model.npz --onnx --c --safetensors st".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\d+ bytes", "n bytes", line) for line in lines] == [
        "wrote model.onnx (n bytes)",
        "wrote model.c (n bytes)",
        "wrote st (n bytes)",
    ]
    close(run_onnx("model.onnx", X), P, np.float32)
    properties = {
        p.key: p.value for p in pytest.importorskip("onnx").load("model.onnx").metadata_props
    }
    assert json.loads(properties["classes"]) == [0, 5]
    again = nn.import_safetensors("st")
    assert (again.predict_proba(X) == P).all() and again.classes.tolist() == [0, 5]
    assert nn.import_onnx("model.onnx").classes.tolist() == [0, 5]
    if COMPILERS:
        run = Compiled(tmp_path / "model.c", "model", np.float32, 2)
        close(run(X), P, np.float32)
    assert cli.main("export model.npz --c net.c --name f --int8 table.csv".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"f: int8 gives the same class for [01]\.\d+ of 60 samples", lines[1])
    assert "void f(const int8_t x[F_INPUTS]" in Path("net.c").read_text()


@pytest.mark.parametrize(
    "options, message",
    [
        ("", "one of --onnx, --c and --safetensors must be given, got none"),
        ("--onnx --name f", "--name must come with --c"),
        ("--onnx --int8 table.csv", "--int8 must come with --c"),
        ("--c model.npz", "--c must be another file than MODEL, got model.npz"),
        ("--c nowhere/f.c", "--c must be a file that can be written, got nowhere/f.c"),
        ("--safetensors st --c 2.c", "model.npz: name must be a C identifier"),
        ("--c --int8 other.csv", "other.csv: No such file"),
    ],
)
def test_refusals_of_the_command(options, message, model, capsys):
    before = sorted(p.name for p in Path().iterdir())
    capsys.readouterr()
    assert cli.main(["export", "model.npz", *options.split()]) == 2
    given = capsys.readouterr().err
    assert given.startswith("nncore: " + message) and len(given.splitlines()) == 1, given
    assert sorted(p.name for p in Path().iterdir()) == before


def test_the_command_without_onnx(model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert cli.main(["export", "model.npz", "--onnx", "--safetensors"]) == 2
    assert "install it with `pip install nncore[onnx]`" in capsys.readouterr().err
    assert not Path("model.onnx").exists() and not Path("model.safetensors").exists()


# -------------------------------------------------------------------------------------- the recipe


class ELU(nn.modules._Elementwise):
    """The example of docs/internals.md, without kernels."""

    def predict_forward(self, Z):
        Z = np.asarray(Z)
        return np.where(Z > 0, Z, np.expm1(np.minimum(Z, 0))).astype(Z.dtype)


@needs_cc
def test_the_recipe_for_an_activation(monkeypatch, tmp_path, capsys):
    """One row makes a new activation go everywhere."""
    with nn.use_backend("numpy"):
        elu_everywhere(monkeypatch, tmp_path, capsys)


def elu_everywhere(monkeypatch, tmp_path, capsys):
    record = registry.Activation(ELU, "elu", "elu_forward", "", "", {}, ("elu",))
    for records in (registry.ACTIVATIONS, registry.MODULES):
        monkeypatch.setitem(records, ELU, record)
    monkeypatch.setitem(_kinds._library, ELU, ELU)
    monkeypatch.setitem(serialization._MODULES, "ELU", record)
    row = table.Form(
        table._node("Elu", alpha=1.0),
        "z > 0 ? z : expm1{f}(z)",
        table.Torch("ELU", back=lambda t: ELU()),
    )
    monkeypatch.setitem(table.FORMS, ELU, row)
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(4, 9)), rng.normal(size=9), rng.normal(size=(9, 3))]
    weights = [w.astype(np.float32) for w in weights]
    net = nn.from_arrays(weights, ["elu", "softmax"], layout="keras")
    X = samples(30, 4, np.float32)
    P = net.predict_proba(X)
    nn.export.c(net, tmp_path / "f.c", "f")
    assert ulps(Compiled(tmp_path / "f.c", "f", np.float32, 3)(X), P) <= 64
    nn.export.c(net, tmp_path / "f.c", "f", int8=X)
    assert float(re.search(r"for (\S+) of", capsys.readouterr().out)[1]) > 0.9
    nn.export.safetensors(net, tmp_path / "f")
    assert kinds(nn.import_safetensors(tmp_path / "f"))[1] == "ELU()"
    pytest.importorskip("onnx")
    nn.export.onnx(net, tmp_path / "f.onnx")
    close(run_onnx(tmp_path / "f.onnx", X), P, np.float32)
    monkeypatch.setitem(operators.ELEMENTWISE, "Elu", lambda given, z: ELU().predict_forward(z))
    assert kinds(nn.import_onnx(tmp_path / "f.onnx"))[1] == "ELU()"
