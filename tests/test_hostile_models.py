"""Model files that `save` did not write, and what `save` refuses because of `load`."""

import io
import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from support import damaged

import nncore as nn
from nncore import optimizers, serialization

# ---------------------------------------------------------------- hostile files


def entry(a):
    """The bytes of an array as an archive holds them."""
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asanyarray(a))
    return content.getvalue()


def archive(path, model, arrays, members=()):
    """A model file by hand, compressed; `members` are (name, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        if model:
            file.writestr(
                "model.npy", entry(np.array(model if isinstance(model, str) else json.dumps(model)))
            )
        for name, a in arrays.items():
            file.writestr(f"{name}.npy", entry(a))
        for name, content in members:
            file.writestr(name, content)


def refused(path, reason=""):
    with pytest.raises(
        ValueError, match=r"is not an nncore model file \(expected an \.npz written by `save`\)"
    ) as caught:
        nn.load(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and reason in text and "\n" not in text and len(text) < 500, (
        text
    )


LINEAR = {"0.W": np.ones((4, 3)), "0.W0": np.zeros((3, 1))}
COLUMNS = {"0.G": np.ones((3, 1)), "0.B": np.zeros((3, 1))}
ADAM = {"name": "adam", "parameters": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}, "t": 3}


def description(**fields):
    return {
        "format": "nncore",
        "version": 1,
        "modules": ["Linear"],
        "settings": {},
        "loss": None,
        "metadata": {},
        **fields,
    }


def norm(**settings):
    return description(
        modules=["BatchNorm"],
        settings={"0": {"statistics": "batch", "momentum": 0.1, "eps": 0.0, **settings}},
    )


def dropout(**settings):
    return description(
        modules=["Dropout"], settings={"0": {"p": 0.5, "key": 1, "count": 0, **settings}}
    )


def test_models_by_hand_load(tmp_path):
    """So that the next tests' changes are the reason for the refusals."""
    path = tmp_path / "m.npz"
    for model, arrays in (
        (description(), LINEAR),
        (norm(), COLUMNS),
        (dropout(), {}),
        (description(optimizer=ADAM), LINEAR),
    ):
        archive(path, model, arrays)
        nn.load(path)
    archive(path, description(modules=json.loads("[" * 50 + '"Linear"' + "]" * 50)), LINEAR)
    assert nn.load(path).predict_proba(np.ones((4, 2))).tolist() == [[4.0] * 2] * 3


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (1, "no description"),
        ("[]", "no description"),
        ("{", "no description"),
        ("[" * 100_000, "no description"),
        ("", "model.npy is missing"),
        (description(format="other"), "no description"),
        (description(version=None), "version None"),
        (description(loss=[]), "loss is of type list"),
        (description(loss={}), "loss is of type dict"),
        (description(optimizer=[]), "optimizer is of type list"),
        (description(metadata=None), "metadata is of type NoneType"),
        (description(modules="Linear"), "modules is of type str"),
        (description(modules={"0": "Linear"}), "modules is of type dict"),
        (description(modules=json.loads("[" * 500 + "]" * 500)), "nested at most 100 deep"),
        (description(modules=["Tanh"] * 100_001), "at most 100000 modules"),
        (
            description(modules=["BatchNorm"], settings={"0": None}),
            "settings of module 0 are missing",
        ),
        (
            description(modules=["Dropout"], settings={"0": [1, 2]}),
            "settings of module 0 are missing",
        ),
        *(
            (norm(eps=eps), "eps must be")
            for eps in (-1, 10**400, float("nan"), float("inf"), None, True, "1", [])
        ),
        *(
            (norm(momentum=momentum), "momentum must be")
            for momentum in (0, 1.5, float("nan"), 10**400, None)
        ),
        *((norm(statistics=statistics), "statistics must be") for statistics in (None, [], {}, 1)),
        *((dropout(p=p), "p must be") for p in (1, -0.5, 10**400, float("nan"), None)),
        *((dropout(key=key), "key must be") for key in (-1, 2**64, 0.5, "x")),
        *((dropout(count=count), "count must be") for count in (-1, 2**63, 10**40, 0.5, None)),
        *(
            (description(optimizer={**ADAM, "t": t}), "t must be")
            for t in (-1, 2**63, 2**64, 10**40, 1.5, None, True)
        ),
        *(
            (description(optimizer={**ADAM, "name": name}), "name must be")
            for name in ("x", None, [], {})
        ),
        *(
            (description(optimizer={**ADAM, "parameters": {"eps": eps}}), "eps must be")
            for eps in (0, -1, 10**400, float("inf"), None)
        ),
        (description(optimizer={**ADAM, "parameters": {"gamma": 1}}), "gamma"),
        (description(optimizer={**ADAM, "parameters": [1]}), "no parameters"),
        (description(optimizer={}), "no parameters"),
    ],
)
def test_hostile_descriptions_are_refused(tmp_path, model, reason):
    archive(tmp_path / "m.npz", model, {**LINEAR, **COLUMNS})
    refused(tmp_path / "m.npz", reason)
    with pytest.raises(ValueError, match="is not an nncore model file"):
        serialization.read(tmp_path / "m.npz", nn.Sequential)


def test_descriptions_that_are_no_text_are_refused(tmp_path):
    text = json.dumps(description())
    for model in (
        entry(np.array(text)).replace(b"n\0\0\0n\0\0\0", b"n\0\0\0\xff\xff\xff\x7f"),
        entry(np.array([text])),
        entry(np.array(text.encode())),
        entry(np.array(1.0)),
    ):
        with zipfile.ZipFile(tmp_path / "m.npz", "w") as file:
            file.writestr("model.npy", model)
        refused(tmp_path / "m.npz", "no description of a model")
    for order in "<>":
        archive(
            tmp_path / "m.npz",
            "",
            LINEAR,
            [("model.npy", entry(np.array(text).astype(f"{order}U{len(text)}")))],
        )
        assert nn.load(tmp_path / "m.npz").modules[0].n == 3


@pytest.mark.parametrize(("shape", "size"), [((4, 0), "n"), ((0, 3), "m"), ((0, 0), "m")])
def test_sizes_below_one_are_refused_by_name(tmp_path, shape, size):
    archive(
        tmp_path / "m.npz", description(), {"0.W": np.ones(shape), "0.W0": np.zeros((shape[1], 1))}
    )
    refused(
        tmp_path / "m.npz",
        f"the weights of module 0 have shape {shape}: {size} must be at least 1, got 0",
    )
    archive(tmp_path / "m.npz", norm(), {"0.G": np.ones((0, 1)), "0.B": np.ones((0, 1))})
    refused(
        tmp_path / "m.npz", "the weights of module 0 have shape (0, 1): m must be at least 1, got 0"
    )


def header(text):
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + bytes(24)


def shaped(shape):
    return header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        header("(" * 9000),
        header("-" * 9000),
        header("[" * 300),
        shaped("(4294967296, 4294967296)"),
        shaped("(-3, -1)"),
        shaped("(100000000000000, 1)"),
        shaped(f"({'9' * 4000}, 1)"),
        shaped(f"({'9' * 5000}, 1)"),
        shaped("(3, 2)"),
        shaped("(3"),
        shaped("3"),
        shaped("(3.0, 1)"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (3, 1), }"),
        entry(np.array(["a", "b", "c"])[:, None]),
        entry(np.ones((3, 1), complex)),
        b"\x93NUMPY\2\0\xff\xff\xff\x7f" + b" " * 10**6,
        b"\x93NUMPY\7\0" + bytes(100),
    ],
)
def test_damaged_arrays_are_refused(tmp_path, content):
    archive(tmp_path / "m.npz", description(), {"0.W": LINEAR["0.W"]}, [("0.W0.npy", content)])
    refused(tmp_path / "m.npz", "W0")


def test_a_small_file_costs_little_memory(tmp_path):
    """Surplus entries are not read; arrays of many times the file are refused."""
    path = tmp_path / "m.npz"
    zeros = np.zeros(2**22)  # 32 MiB that deflate to 32 KiB
    lists = json.dumps(description(modules=["Linear"])).replace(
        '["Linear"]', "[" + "[]," * 300_000 + '"Linear"]'
    )
    spaces = b"\x93NUMPY\2\0" + (2**25).to_bytes(4, "little") + b" " * 2**25
    archive(path, description(), {"0.W": LINEAR["0.W"]}, [("0.W0.npy", spaces)])
    costs_little(path, False)
    for model, arrays, loads in (
        (description(), {**LINEAR, "surplus": zeros, "0.W.0": zeros}, True),
        (description(), {**LINEAR, "0.W": zeros.reshape(-1, 4)}, False),
        (description(), {**LINEAR, "0.W0": zeros[:, None]}, False),
        (lists, LINEAR, False),
        (
            description(optimizer=ADAM),
            {**LINEAR, **{f"0.{w}.{k}": zeros for w in ("W", "W0") for k in "01"}},
            False,
        ),
    ):
        archive(path, model, arrays)
        costs_little(path, loads)


def costs_little(path, loads):
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    try:
        if loads:
            nn.load(path)
        else:
            refused(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * 2**20, f"{peak / 2**20:.0f} MiB"


def test_other_compression_methods_are_refused(tmp_path):
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "m.npz", "w", method) as file:
            file.writestr("model.npy", entry(np.array(json.dumps(description()))))
        refused(tmp_path / "m.npz", "another method than deflate")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.update({"0.W.0": a["0.W.0"].astype(np.float32)}), "not of its shape and type"),
        (lambda a: a.update({"0.W.1": a["0.W.1"][:1]}), "not of its shape and type"),
        (lambda a: a.pop("0.W0.1"), "0.W0.1.npy is missing"),
    ],
)
def test_the_optimizers_state_must_fit_the_weights(tmp_path, change, reason):
    path = tmp_path / "m.npz"
    net = nn.Sequential([nn.Linear(2, 2), nn.SoftMax()], nn.NLL())
    net.fit(np.ones((2, 4)), [0, 1, 0, 1], optimizer="adam")
    net.save(path)
    assert nn.load(path).optimizer.state[0, "W"][0].dtype == np.float64
    damaged(path, lambda model, arrays: change(arrays))
    refused(path, reason)


def test_a_text_file_is_named_as_one_that_save_has_not_written(tmp_path):
    (tmp_path / "x.csv").write_text("1,2,0\n")
    with pytest.raises(ValueError) as caught:
        nn.load(tmp_path / "x.csv")
    assert (
        str(caught.value)
        == f"{tmp_path / 'x.csv'} is not an nncore model file (expected an .npz written by `save`)"
    )


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "it is a FIFO")
    refused("/dev/zero", "it is a device")
    with pytest.raises(IsADirectoryError):
        nn.load(tmp_path)
    for load in (nn.load, serialization.load_metadata):
        with pytest.raises(TypeError, match="path must be a str, bytes or os.PathLike, got int"):
            load(0)
        with pytest.raises(ValueError, match="path must not contain a null character"):
            load("a\0b")


# ---------------------------------------------------------------- what can be saved


def test_numpy_scalars_are_saved_as_settings(tmp_path):
    norm, drop, adam = (
        nn.BatchNorm(3, statistics="running"),
        nn.Dropout(0.5, seed=1),
        optimizers.Adam(),
    )
    norm.eps, norm.momentum, drop.p, drop.key, drop.count = (
        np.float32(1e-5),
        np.float16(0.5),
        np.array(0.25),
        np.uint64(7),
        np.int8(3),
    )
    adam.eps, adam.beta1, adam.t = np.float32(1e-6), np.float64(0.5), np.int32(4)
    net = nn.Sequential([nn.Linear(3, 3), norm, drop])
    net.optimizer = adam
    serialization.save(net, tmp_path / "m", {"classes": [np.int64(3)], "mean": np.float32(0.5)})
    again = nn.load(tmp_path / "m")
    _, norm, drop = again.modules
    assert (norm.eps, norm.momentum, drop.p, drop.key, drop.count) == (
        float(np.float32(1e-5)),
        0.5,
        0.25,
        7,
        3,
    )
    assert (again.optimizer.eps, again.optimizer.beta1, again.optimizer.t) == (
        float(np.float32(1e-6)),
        0.5,
        4,
    )
    assert repr(serialization.load_metadata(tmp_path / "m")) == "{'classes': [3], 'mean': 0.5}"


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            lambda net: setattr(net.modules[1], "eps", -1),
            ValueError,
            r"modules\[1\] must have settings that can be loaded: eps must be at least 0",
        ),
        (
            lambda net: setattr(net.modules[1], "eps", 10**400),
            ValueError,
            r"modules\[1\] .* eps must be at most",
        ),
        (
            lambda net: setattr(net.modules[2], "count", "x"),
            TypeError,
            r"modules\[2\] .* count must be an integer",
        ),
        (lambda net: setattr(net.optimizer, "t", 2**63), ValueError, "t must be below"),
        (
            lambda net: setattr(net.optimizer, "beta1", 1.5),
            ValueError,
            "beta1 must be at least 0 and below 1",
        ),
        (
            lambda net: setattr(net, "modules", [nn.Tanh()] * 100_001),
            ValueError,
            "at most 100000 modules",
        ),
    ],
)
def test_what_load_would_refuse_is_not_saved(tmp_path, change, error, text):
    net = nn.Sequential([nn.Linear(3, 3), nn.BatchNorm(3), nn.Dropout(0.5)])
    net.optimizer = optimizers.Adam()
    net.save(tmp_path / "m")
    old = (tmp_path / "m").read_bytes()
    change(net)
    with pytest.raises(error, match=text):
        net.save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == old


def test_metadata_that_json_cannot_hold_are_refused(tmp_path):
    for metadata in ([1], {"a": {1, 2}}, {"a": np.ones(3)}, {"a": 1j}):
        with pytest.raises(TypeError, match="metadata must be"):
            serialization.save(nn.Sequential([nn.Linear(2, 2)]), tmp_path / "m", metadata)
    assert not os.listdir(tmp_path)
