"""Models as files: what is saved comes back, nothing half-written stays, and other files are refused in one sentence."""

import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import nncore as nn
from nncore import optimizers, serialization


def network(dtype=np.float64):
    np.random.seed(0)
    return nn.Sequential([nn.Linear(4, 3, dtype=dtype), nn.ReLU(), nn.Linear(3, 3, dtype=dtype), nn.Sigmoid(), nn.Linear(3, 2, dtype=dtype),
                          nn.SoftMax()], nn.NLL())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(tmp_path, dtype):
    net = network(dtype)
    path = tmp_path / "model without ending"
    net.save(path)
    assert os.listdir(tmp_path) == [path.name]
    twin = nn.load(path)
    assert [type(m) for m in twin.modules] == [type(m) for m in net.modules] and type(twin.loss) is nn.NLL
    assert twin.modules[0].W.dtype == dtype and twin.modules[0].m == 4
    X = np.random.default_rng(0).normal(size=(4, 9))
    assert np.array_equal(net.predict_proba(X), twin.predict_proba(X))
    twin.sgd(X, np.eye(2)[[0] * 9].T, 3)
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "fU" for name in file.files)


def with_everything():
    np.random.seed(0)
    inner = nn.Sequential([nn.Linear(4, 4), nn.BatchNorm(4, momentum=0.3, eps=1e-5), nn.Sequential([]), nn.Sequential([nn.Tanh()])])
    net = nn.Sequential([nn.BatchNorm(3, statistics="running", dtype=np.float64), nn.Linear(3, 4), nn.Dropout(0.25, seed=9), inner,
                         nn.Dropout(0.5), nn.Linear(4, 2), nn.SoftMax()], nn.NLL())
    return net


def test_networks_of_all_modules_go_on_where_they_stopped(tmp_path):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 40)), np.eye(2)[:, rng.integers(2, size=40)]
    net = with_everything()
    net.fit(X, Y, optimizer="adam", seed=0)
    net.save(tmp_path / "m")
    again = nn.load(tmp_path / "m")
    assert repr(again) == repr(net) and again.modules[0].statistics == "running" and again.modules[3].modules[1].eps == 1e-5
    assert (again.modules[2].key, again.modules[2].count) == (9, 2) and again.modules[4].key == net.modules[4].key is not None
    for n in (net, again):
        n.fit(X, Y, optimizer=n.optimizer, seed=1)
    assert again.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()
    fresh = with_everything()
    fresh.save(tmp_path / "m")
    assert nn.load(tmp_path / "m").modules[4].key is None


@pytest.mark.parametrize(("change", "reason"), [
    (lambda m, a: m["settings"].pop("2"), "settings of module 2 are missing"), (lambda m, a: m.pop("settings"), "settings of module 0"),
    (lambda m, a: m["settings"]["0"].update(statistics="odd"), "settings of module 0 cannot be read"),
    (lambda m, a: m["settings"]["2"].update(p=1.5), "settings of module 2 cannot be read"),
    (lambda m, a: m["settings"]["2"].update(key=-1), "settings of module 2 cannot be read"),
    (lambda m, a: m["settings"]["0"].update(eps="x"), "settings of module 0 cannot be read"),
    (lambda m, a: m.update(settings=[]), "incomplete"), (lambda m, a: a.pop("0.running_var"), "weights of module 0"),
    (lambda m, a: a.update({"0.G": np.ones((4, 1))}), "weights of module 0"),
    (lambda m, a: a.update({f"4.{k}": np.ones((9, 1)) for k in "GB"}), "takes 9 inputs after 4"),
    (lambda m, a: m["modules"][3].append(7), "incomplete"), (lambda m, a: m["modules"][3].append("Gelu"), "unknown type 'Gelu'"),
    (lambda m, a: a.update({"4.G": np.array([["a"]] * 4)}), "weights of module 4")])
def test_damaged_settings_are_refused(tmp_path, change, reason):
    path = tmp_path / "model.npz"
    with_everything().save(path)
    damaged(path, change)
    with pytest.raises(ValueError, match=f"model.npz is not an nncore model file .*{reason}"):
        nn.load(path)


def test_metadata_and_reference_models(tmp_path):
    serialization.save(network(), tmp_path / "m", {"classes": [3, 5]})
    assert nn.serialization.load_metadata(tmp_path / "m") == {"classes": [3, 5]}
    ref = nn.reference
    ref.Sequential([ref.Linear(2, 2), ref.OutputSigmoid()], ref.BinaryNLL()).save(tmp_path / "r")
    assert type(nn.load(tmp_path / "r").modules[0]) is nn.Linear
    for loss in (nn.Squared, nn.Hinge):
        nn.Sequential([nn.Linear(2, 1)], loss()).save(tmp_path / "l")
        assert type(nn.load(tmp_path / "l").loss) is loss


def test_an_old_model_survives_a_failed_save(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    network().save(path)
    old = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        network().save(path)
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["model.npz"]


def test_users_modules_cannot_be_saved(tmp_path):
    class Mine(nn.Tanh):
        pass

    with pytest.raises(TypeError, match=r"modules\[1\] must be one of the library's own to be saved, got Mine"):
        nn.Sequential([nn.Linear(2, 2), Mine()], None).save(tmp_path / "m")
    assert not os.listdir(tmp_path)


def damaged(path, change):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    model = json.loads(str(arrays["model"]))
    change(model, arrays)
    if "model" in arrays:
        arrays["model"] = np.array(json.dumps(model))
    with open(path, "wb") as out:
        np.savez(out, **arrays)


@pytest.mark.parametrize(("change", "reason"), [
    (lambda m, a: m.update(version=99), "version 99"), (lambda m, a: m["modules"].__setitem__(1, "Gelu"), "unknown type 'Gelu'"),
    (lambda m, a: m.update(loss="Huber"), "unknown type 'Huber'"), (lambda m, a: a.pop("2.W0"), "weights of module 2"),
    (lambda m, a: a.update({"2.W": np.ones((9, 3))}), "takes 9 inputs after 3"), (lambda m, a: a.pop("model"), "no description"),
    (lambda m, a: m.pop("modules"), "incomplete"), (lambda m, a: m.update(metadata=3), "incomplete")])
def test_damaged_models_are_refused(tmp_path, change, reason):
    path = tmp_path / "model.npz"
    network().save(path)
    damaged(path, change)
    with pytest.raises(ValueError, match=f"model.npz is not an nncore model file .*{reason}"):
        nn.load(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.npz"
    for content in (b"", b"hello", b"PK\x03\x04 not really", bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not an nncore model file"):
            nn.load(path)
    network().save(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="is not an nncore model file"):
        nn.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("0.W.npy", b"nonsense")
    with pytest.raises(ValueError, match="is not an nncore model file"):
        nn.load(path)
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "nowhere")
    np.save(path, np.ones(3))
    with pytest.raises(ValueError, match="is not an nncore model file"):
        nn.load(path)


def test_no_damaged_byte_gets_through_as_another_error(tmp_path):
    """Each byte of each entry changed in turn, with a right checksum: a network, or the one sentence."""
    path = tmp_path / "model.npz"
    nn.Sequential([nn.Linear(1, 1), nn.OutputSigmoid()], nn.BinaryNLL()).save(path)
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    refused = 0
    for name, content in entries.items():
        for at in range(0, len(content), 3):
            damaged_entry = content[:at] + bytes([content[at] ^ 0x21]) + content[at + 1:]
            with zipfile.ZipFile(path, "w") as file:
                for other in entries:
                    file.writestr(other, damaged_entry if other == name else entries[other])
            try:
                nn.load(path)
            except ValueError as error:
                assert "is not an nncore model file" in str(error)
                refused += 1
    assert refused > 100


def test_the_sizes_and_types_of_entries_are_looked_at(tmp_path):
    path = tmp_path / "model.npz"
    for change in (lambda m, a: m.update(modules=[[5]]), lambda m, a: m.update(loss=["NLL"]),
                   lambda m, a: a.update({"0.W": np.array("text")})):
        network().save(path)
        damaged(path, change)
        with pytest.raises(ValueError, match="is not an nncore model file"):
            nn.load(path)


def test_a_folder_that_is_not_there_is_named_as_given(tmp_path):
    path = tmp_path / "nowhere" / "model.npz"
    with pytest.raises(FileNotFoundError) as caught:
        nn.Sequential([nn.Linear(2, 2)]).save(path)
    assert caught.value.filename == str(path)


# ---------------------------------------------------------------------------------------------- hostile files


def entry(a):
    """The bytes of an array as an archive holds them."""
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asanyarray(a))
    return content.getvalue()


def archive(path, model, arrays, members=()):
    """A model file by hand, compressed; `members` are (name, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        if model:
            file.writestr("model.npy", entry(np.array(model if isinstance(model, str) else json.dumps(model))))
        for name, a in arrays.items():
            file.writestr(f"{name}.npy", entry(a))
        for name, content in members:
            file.writestr(name, content)


def refused(path, reason=""):
    with pytest.raises(ValueError, match=r"is not an nncore model file \(expected an \.npz written by `save`\)") as caught:
        nn.load(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and reason in text and "\n" not in text and len(text) < 500, text


LINEAR = {"0.W": np.ones((4, 3)), "0.W0": np.zeros((3, 1))}
COLUMNS = {"0.G": np.ones((3, 1)), "0.B": np.zeros((3, 1))}
ADAM = {"name": "adam", "parameters": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}, "t": 3}


def description(**fields):
    return {"format": "nncore", "version": 1, "modules": ["Linear"], "settings": {}, "loss": None, "metadata": {}, **fields}


def norm(**settings):
    return description(modules=["BatchNorm"], settings={"0": {"statistics": "batch", "momentum": 0.1, "eps": 0.0, **settings}})


def dropout(**settings):
    return description(modules=["Dropout"], settings={"0": {"p": 0.5, "key": 1, "count": 0, **settings}})


def test_models_by_hand_load(tmp_path):
    """So that what the next tests change is why they are refused."""
    path = tmp_path / "m.npz"
    for model, arrays in ((description(), LINEAR), (norm(), COLUMNS), (dropout(), {}), (description(optimizer=ADAM), LINEAR)):
        archive(path, model, arrays)
        nn.load(path)
    archive(path, description(modules=json.loads("[" * 50 + '"Linear"' + "]" * 50)), LINEAR)
    assert nn.load(path).predict_proba(np.ones((4, 2))).tolist() == [[4.0] * 2] * 3


@pytest.mark.parametrize(("model", "reason"), [
    (1, "no description"), ("[]", "no description"), ("{", "no description"), ("[" * 100_000, "no description"), ("", "model.npy is missing"),
    (description(format="other"), "no description"), (description(version=None), "version None"),
    (description(loss=[]), "loss is of type list"), (description(loss={}), "loss is of type dict"),
    (description(optimizer=[]), "optimizer is of type list"), (description(metadata=None), "metadata is of type NoneType"),
    (description(modules="Linear"), "modules is of type str"), (description(modules={"0": "Linear"}), "modules is of type dict"),
    (description(modules=json.loads("[" * 500 + "]" * 500)), "nested at most 100 deep"),
    (description(modules=["Tanh"] * 100_001), "at most 100000 modules"),
    (description(modules=["BatchNorm"], settings={"0": None}), "settings of module 0 are missing"),
    (description(modules=["Dropout"], settings={"0": [1, 2]}), "settings of module 0 are missing"),
    *((norm(eps=eps), "eps must be") for eps in (-1, 10**400, float("nan"), float("inf"), None, True, "1", [])),
    *((norm(momentum=momentum), "momentum must be") for momentum in (0, 1.5, float("nan"), 10**400, None)),
    *((norm(statistics=statistics), "statistics must be") for statistics in (None, [], {}, 1)),
    *((dropout(p=p), "p must be") for p in (1, -0.5, 10**400, float("nan"), None)),
    *((dropout(key=key), "key must be") for key in (-1, 2**64, 0.5, "x")),
    *((dropout(count=count), "count must be") for count in (-1, 2**63, 10**40, 0.5, None)),
    *((description(optimizer={**ADAM, "t": t}), "t must be") for t in (-1, 2**63, 2**64, 10**40, 1.5, None, True)),
    *((description(optimizer={**ADAM, "name": name}), "name must be") for name in ("x", None, [], {})),
    *((description(optimizer={**ADAM, "parameters": {"eps": eps}}), "eps must be") for eps in (0, -1, 10**400, float("inf"), None)),
    (description(optimizer={**ADAM, "parameters": {"gamma": 1}}), "gamma"),
    (description(optimizer={**ADAM, "parameters": [1]}), "no parameters"), (description(optimizer={}), "no parameters")])
def test_hostile_descriptions_are_refused(tmp_path, model, reason):
    archive(tmp_path / "m.npz", model, {**LINEAR, **COLUMNS})
    refused(tmp_path / "m.npz", reason)
    with pytest.raises(ValueError, match="is not an nncore model file"):
        serialization.read(tmp_path / "m.npz")


def test_descriptions_that_are_no_text_are_refused(tmp_path):
    text = json.dumps(description())
    for model in (entry(np.array(text)).replace(b"n\0\0\0n\0\0\0", b"n\0\0\0\xff\xff\xff\x7f"),
                  entry(np.array([text])), entry(np.array(text.encode())), entry(np.array(1.0))):
        with zipfile.ZipFile(tmp_path / "m.npz", "w") as file:
            file.writestr("model.npy", model)
        refused(tmp_path / "m.npz", "no description of a model")
    for order in "<>":
        archive(tmp_path / "m.npz", "", LINEAR, [("model.npy", entry(np.array(text).astype(f"{order}U{len(text)}")))])
        assert nn.load(tmp_path / "m.npz").modules[0].n == 3


@pytest.mark.parametrize(("shape", "size"), [((4, 0), "n"), ((0, 3), "m"), ((0, 0), "m")])
def test_sizes_below_one_are_refused_by_name(tmp_path, shape, size):
    archive(tmp_path / "m.npz", description(), {"0.W": np.ones(shape), "0.W0": np.zeros((shape[1], 1))})
    refused(tmp_path / "m.npz", f"the weights of module 0 have shape {shape}: {size} must be at least 1, got 0")
    archive(tmp_path / "m.npz", norm(), {"0.G": np.ones((0, 1)), "0.B": np.ones((0, 1))})
    refused(tmp_path / "m.npz", "the weights of module 0 have shape (0, 1): m must be at least 1, got 0")


def header(text):
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + bytes(24)


def shaped(shape):
    return header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}")


@pytest.mark.parametrize("content", [
    b"", b"text", header("(" * 9000), header("-" * 9000), header("[" * 300), shaped("(4294967296, 4294967296)"), shaped("(-3, -1)"), shaped("(100000000000000, 1)"),
    shaped(f"({'9' * 4000}, 1)"), shaped(f"({'9' * 5000}, 1)"), shaped("(3, 2)"), shaped("(3"), shaped("3"), shaped("(3.0, 1)"),
    header("{'descr': '|O', 'fortran_order': False, 'shape': (3, 1), }"), entry(np.array(["a", "b", "c"])[:, None]),
    entry(np.ones((3, 1), complex)), b"\x93NUMPY\2\0\xff\xff\xff\x7f" + b" " * 10**6, b"\x93NUMPY\7\0" + bytes(100)])
def test_damaged_arrays_are_refused(tmp_path, content):
    archive(tmp_path / "m.npz", description(), {"0.W": LINEAR["0.W"]}, [("0.W0.npy", content)])
    refused(tmp_path / "m.npz", "W0")


def test_a_small_file_costs_little_memory(tmp_path):
    """Entries that are not needed are not read, and what would inflate to many times the file is refused."""
    path = tmp_path / "m.npz"
    zeros = np.zeros(2**22)  # 32 MiB that deflate to 32 KiB
    lists = json.dumps(description(modules=["Linear"])).replace('["Linear"]', "[" + "[]," * 300_000 + '"Linear"]')
    spaces = b"\x93NUMPY\2\0" + (2**25).to_bytes(4, "little") + b" " * 2**25
    archive(path, description(), {"0.W": LINEAR["0.W"]}, [("0.W0.npy", spaces)])
    costs_little(path, False)
    for model, arrays, loads in (
            (description(), {**LINEAR, "surplus": zeros, "0.W.0": zeros}, True), (description(), {**LINEAR, "0.W": zeros.reshape(-1, 4)}, False),
            (description(), {**LINEAR, "0.W0": zeros[:, None]}, False), (lists, LINEAR, False),
            (description(optimizer=ADAM), {**LINEAR, **{f"0.{w}.{k}": zeros for w in ("W", "W0") for k in "01"}}, False)):
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


@pytest.mark.parametrize(("change", "reason"), [
    (lambda a: a.update({"0.W.0": a["0.W.0"].astype(np.float32)}), "not of its shape and type"),
    (lambda a: a.update({"0.W.1": a["0.W.1"][:1]}), "not of its shape and type"), (lambda a: a.pop("0.W0.1"), "0.W0.1.npy is missing")])
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
    assert str(caught.value) == f"{tmp_path / 'x.csv'} is not an nncore model file (expected an .npz written by `save`)"


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


# ---------------------------------------------------------------------------------------------- what can be saved


def test_numpy_scalars_are_saved_as_settings(tmp_path):
    norm, drop, adam = nn.BatchNorm(3, statistics="running"), nn.Dropout(0.5, seed=1), optimizers.Adam()
    norm.eps, norm.momentum, drop.p, drop.key, drop.count = np.float32(1e-5), np.float16(0.5), np.array(0.25), np.uint64(7), np.int8(3)
    adam.eps, adam.beta1, adam.t = np.float32(1e-6), np.float64(0.5), np.int32(4)
    net = nn.Sequential([nn.Linear(3, 3), norm, drop])
    net.optimizer = adam
    serialization.save(net, tmp_path / "m", {"classes": [np.int64(3)], "mean": np.float32(0.5)})
    again = nn.load(tmp_path / "m")
    _, norm, drop = again.modules
    assert (norm.eps, norm.momentum, drop.p, drop.key, drop.count) == (float(np.float32(1e-5)), 0.5, 0.25, 7, 3)
    assert (again.optimizer.eps, again.optimizer.beta1, again.optimizer.t) == (float(np.float32(1e-6)), 0.5, 4)
    assert serialization.load_metadata(tmp_path / "m") == {"classes": [3], "mean": 0.5}


@pytest.mark.parametrize(("change", "error", "text"), [
    (lambda net: setattr(net.modules[1], "eps", -1), ValueError, r"modules\[1\] must have settings that can be loaded: eps must be at least 0"),
    (lambda net: setattr(net.modules[1], "eps", 10**400), ValueError, r"modules\[1\] .* eps must be at most"),
    (lambda net: setattr(net.modules[2], "count", "x"), TypeError, r"modules\[2\] .* count must be a whole number"),
    (lambda net: setattr(net.optimizer, "t", 2**63), ValueError, "t must be below"),
    (lambda net: setattr(net.optimizer, "beta1", 1.5), ValueError, "beta1 must be at least 0 and below 1"),
    (lambda net: setattr(net, "modules", [nn.Tanh()] * 100_001), ValueError, "at most 100000 modules")])
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
            serialization.save(network(), tmp_path / "m", metadata)
    assert not os.listdir(tmp_path)


# ---------------------------------------------------------------------------------------------- where it is saved


def a_device(folder):
    """A device like /dev/null of our own; /dev/null itself where nobody could replace it."""
    try:
        os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        open(folder / "null", "wb").close()
    except OSError:
        if os.geteuid() == 0:
            pytest.skip("no device can be made here")
        return Path("/dev/null")
    return folder / "null"


def test_a_device_stays_a_device(tmp_path):
    path = a_device(tmp_path)
    network().save(path)
    assert stat.S_ISCHR(path.stat().st_mode)


def test_a_fifo_is_written_into(tmp_path):
    net = network()
    net.save(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()), daemon=True)
    reader.start()
    net.save(tmp_path / "fifo")
    reader.join(60)
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode) and len(got[0]) == (tmp_path / "file").stat().st_size
    (tmp_path / "copy").write_bytes(got[0])
    assert (nn.load(tmp_path / "copy").modules[0].W == net.modules[0].W).all()


def test_sockets_folders_and_missing_folders_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    with server:
        for path, error, text in (("socket", OSError, "is a socket"), (".", IsADirectoryError, "is a folder"),
                                  ("none/m", FileNotFoundError, "folder does not exist"), ("", FileNotFoundError, "must name a file"),
                                  ("none/", FileNotFoundError, "must name a file")):
            with pytest.raises(error, match=text) as caught:
                network().save(path)
            assert caught.value.filename == path
    assert os.listdir() == ["socket"] and stat.S_ISSOCK(os.stat("socket").st_mode)
    for path, error in ((3, TypeError), (io.BytesIO(), TypeError), ("a\0b", ValueError)):
        with pytest.raises(error, match="path must"):
            network().save(path)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_mode_of_a_file_is_kept_and_a_new_one_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        network().save(tmp_path / "m")
        assert mode(tmp_path / "m") == 0o640
        for wanted in (0o600, 0o666):
            os.chmod(tmp_path / "m", wanted)
            network().save(tmp_path / "m")
            assert mode(tmp_path / "m") == wanted
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_a_file_is_kept(tmp_path):
    network().save(tmp_path / "m")
    os.chown(tmp_path / "m", 1234, 4321)
    network().save(tmp_path / "m")
    assert ((tmp_path / "m").stat().st_uid, (tmp_path / "m").stat().st_gid) == (1234, 4321)


def test_a_group_that_cannot_be_kept_gets_what_everybody_had(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    network().save(tmp_path / "m")
    os.chmod(tmp_path / "m", 0o664)
    other = os.stat_result([*os.stat(tmp_path / "m")[:5], 54321, *os.stat(tmp_path / "m")[6:]])
    monkeypatch.setattr(serialization._files, "check", lambda path: other)
    monkeypatch.setattr(os, "fchown", refuse)
    network().save(tmp_path / "m")
    assert mode(tmp_path / "m") == 0o644


def test_links_bytes_and_long_names(tmp_path):
    net = network()
    for link, target in (("link", "m"), ("dangling", "new")):
        os.symlink(target, tmp_path / link)
    net.save(tmp_path / "m")
    net.save(tmp_path / "link")
    net.save(os.fsencode(tmp_path / "dangling"))
    assert sorted(os.listdir(tmp_path)) == ["dangling", "link", "m", "new"] and os.path.islink(tmp_path / "link")
    assert nn.load(os.fsencode(tmp_path / "dangling")).modules[0].m == 4
    for name in ("x" * 255, "é" * 127, b"\xff.npz"):
        path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
        net.save(path)
        assert nn.load(path).modules[0].m == 4


def test_a_full_disk_is_reported_with_the_path(tmp_path):
    """A child process, whose files may not grow beyond 4 KB."""
    script = """if True:
        import resource, sys
        import nncore as nn
        net = nn.Sequential([nn.Linear(100, 100)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        try:
            net.save(sys.argv[1])
        except OSError as error:
            print(error.filename)
    """
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "m"], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{tmp_path / 'm'}\n", done.stderr
    assert not os.listdir(tmp_path)


def test_leftovers_of_killed_saves_are_swept_and_files_being_written_are_not(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    others = ["m.npz.tmp", "m.npz.0123456g.tmp", "m.npz.01234567.tmp.npz", "other.npz.01234567.tmp"]
    for name in (*others, "m.npz.01234567.tmp", "m.npz.89abcdef.tmp"):
        (tmp_path / name).write_bytes(b"half a model")
    (tmp_path / "m.npz.00000000.tmp").mkdir()
    with open(tmp_path / "m.npz.89abcdef.tmp", "r+b") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        network().save(tmp_path / "m.npz")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "m.npz", "m.npz.00000000.tmp", "m.npz.89abcdef.tmp"])
    network().save(tmp_path / "m.npz")
    assert "m.npz.89abcdef.tmp" not in os.listdir(tmp_path)


def test_kills_and_saves_at_once_leave_whole_files_and_nothing_else(tmp_path):
    path = tmp_path / "m.npz"
    script = """if True:
        import sys
        import nncore as nn
        net = nn.Sequential([nn.Linear(300, 200), nn.Tanh(), nn.Linear(200, 10)])
        net.modules[0].W[:] = net.modules[2].W[:] = 0
        print("ready", flush=True)
        while True:
            for module in net.modules[::2]:
                module.W += 1
            net.save(sys.argv[1])
    """
    savers = [subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) for _ in range(3)]
    for process in savers:
        assert process.stdout.readline() == b"ready\n"
    for process in savers:
        time.sleep(0.1)
        assert process.poll() is None  # the others' sweeping does it no harm
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        process.stdout.close()
        a, b = (module.W for module in nn.load(path).modules[::2])
        assert (a == a[0, 0]).all() and (b == a[0, 0]).all()
    network().save(path)
    assert os.listdir(tmp_path) == ["m.npz"]
