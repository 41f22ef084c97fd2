"""Models as files: what is saved comes back, nothing half-written stays, and other files are
refused in one sentence."""

import os
import zipfile

import numpy as np
import pytest
from support import damaged

import nncore as nn
from nncore import serialization


def network(dtype=np.float64):
    np.random.seed(0)
    return nn.Sequential(
        [
            nn.Linear(4, 3, dtype=dtype),
            nn.ReLU(),
            nn.Linear(3, 3, dtype=dtype),
            nn.Sigmoid(),
            nn.Linear(3, 2, dtype=dtype),
            nn.SoftMax(),
        ],
        nn.NLL(),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(tmp_path, dtype):
    net = network(dtype)
    path = tmp_path / "model without ending"
    net.save(path)
    assert os.listdir(tmp_path) == [path.name]
    twin = nn.load(path)
    assert [type(m) for m in twin.modules] == [type(m) for m in net.modules] and type(
        twin.loss
    ) is nn.NLL
    assert twin.modules[0].W.dtype == dtype and twin.modules[0].m == 4
    X = np.random.default_rng(0).normal(size=(4, 9))
    assert np.array_equal(net.predict_proba(X), twin.predict_proba(X))
    twin.sgd(X, np.eye(2)[[0] * 9].T, 3)
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "fU" for name in file.files)


def with_everything():
    np.random.seed(0)
    inner = nn.Sequential(
        [
            nn.Linear(4, 4),
            nn.BatchNorm(4, momentum=0.3, eps=1e-5),
            nn.Sequential([]),
            nn.Sequential([nn.Tanh()]),
        ]
    )
    net = nn.Sequential(
        [
            nn.BatchNorm(3, statistics="running", dtype=np.float64),
            nn.Linear(3, 4),
            nn.Dropout(0.25, seed=9),
            inner,
            nn.Dropout(0.5),
            nn.Linear(4, 2),
            nn.SoftMax(),
        ],
        nn.NLL(),
    )
    return net


def test_networks_of_all_modules_go_on_where_they_stopped(tmp_path):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 40)), np.eye(2)[:, rng.integers(2, size=40)]
    net = with_everything()
    net.fit(X, Y, optimizer="adam", seed=0)
    net.save(tmp_path / "m")
    again = nn.load(tmp_path / "m")
    assert (
        repr(again) == repr(net)
        and again.modules[0].statistics == "running"
        and again.modules[3].modules[1].eps == 1e-5
    )
    assert (again.modules[2].key, again.modules[2].count) == (9, 2) and again.modules[
        4
    ].key == net.modules[4].key is not None
    for n in (net, again):
        n.fit(X, Y, optimizer=n.optimizer, seed=1)
    assert again.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()
    fresh = with_everything()
    fresh.save(tmp_path / "m")
    assert nn.load(tmp_path / "m").modules[4].key is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m, a: m["settings"].pop("2"), "settings of module 2 are missing"),
        (lambda m, a: m.pop("settings"), "settings of module 0"),
        (
            lambda m, a: m["settings"]["0"].update(statistics="odd"),
            "settings of module 0 cannot be read",
        ),
        (lambda m, a: m["settings"]["2"].update(p=1.5), "settings of module 2 cannot be read"),
        (lambda m, a: m["settings"]["2"].update(key=-1), "settings of module 2 cannot be read"),
        (lambda m, a: m["settings"]["0"].update(eps="x"), "settings of module 0 cannot be read"),
        (lambda m, a: m.update(settings=[]), "incomplete"),
        (lambda m, a: a.pop("0.running_var"), "weights of module 0"),
        (lambda m, a: a.update({"0.G": np.ones((4, 1))}), "weights of module 0"),
        (
            lambda m, a: a.update({f"4.{k}": np.ones((9, 1)) for k in "GB"}),
            "takes 9 inputs after 4",
        ),
        (lambda m, a: m["modules"][3].append(7), "incomplete"),
        (lambda m, a: m["modules"][3].append("Gelu"), "unknown type 'Gelu'"),
        (lambda m, a: a.update({"4.G": np.array([["a"]] * 4)}), "weights of module 4"),
    ],
)
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
    monkeypatch.setattr(
        os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space"):
        network().save(path)
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["model.npz"]


def test_users_modules_cannot_be_saved(tmp_path):
    class Mine(nn.Tanh):
        pass

    with pytest.raises(
        TypeError, match=r"modules\[1\] must be one of the library's own to be saved, got Mine"
    ):
        nn.Sequential([nn.Linear(2, 2), Mine()], None).save(tmp_path / "m")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m, a: m.update(version=99), "version 99"),
        (lambda m, a: m["modules"].__setitem__(1, "Gelu"), "unknown type 'Gelu'"),
        (lambda m, a: m.update(loss="Tukey"), "unknown type 'Tukey'"),
        (lambda m, a: a.pop("2.W0"), "weights of module 2"),
        (lambda m, a: a.update({"2.W": np.ones((9, 3))}), "takes 9 inputs after 3"),
        (lambda m, a: a.pop("model"), "no description"),
        (lambda m, a: m.pop("modules"), "incomplete"),
        (lambda m, a: m.update(metadata=3), "incomplete"),
    ],
)
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
    """Each byte of each entry changed in turn, with a right checksum: a network, or the one
    sentence."""
    path = tmp_path / "model.npz"
    nn.Sequential([nn.Linear(1, 1), nn.OutputSigmoid()], nn.BinaryNLL()).save(path)
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    refused = 0
    for name, content in entries.items():
        for at in range(0, len(content), 3):
            damaged_entry = content[:at] + bytes([content[at] ^ 0x21]) + content[at + 1 :]
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
    for change in (
        lambda m, a: m.update(modules=[[5]]),
        lambda m, a: m.update(loss=["NLL"]),
        lambda m, a: a.update({"0.W": np.array("text")}),
    ):
        network().save(path)
        damaged(path, change)
        with pytest.raises(ValueError, match="is not an nncore model file"):
            nn.load(path)


def test_a_folder_that_is_not_there_is_named_as_given(tmp_path):
    path = tmp_path / "nowhere" / "model.npz"
    with pytest.raises(FileNotFoundError) as caught:
        nn.Sequential([nn.Linear(2, 2)]).save(path)
    assert caught.value.filename == str(path)
