"""Saving: atomic, mode and owner kept, devices and FIFOs, leftovers of killed saves swept."""

import io
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import nncore as nn
from nncore import serialization


def network():
    return nn.Sequential([nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2), nn.SoftMax()], nn.NLL())


def a_device(folder):
    """A device like /dev/null of our own; /dev/null itself if nobody could replace it."""
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
    reader = threading.Thread(
        target=lambda: got.append((tmp_path / "fifo").read_bytes()), daemon=True
    )
    reader.start()
    net.save(tmp_path / "fifo")
    reader.join(60)
    assert (
        stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
        and len(got[0]) == (tmp_path / "file").stat().st_size
    )
    (tmp_path / "copy").write_bytes(got[0])
    assert (nn.load(tmp_path / "copy").modules[0].W == net.modules[0].W).all()


def test_sockets_folders_and_missing_folders_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    with server:
        for path, error, text in (
            ("socket", OSError, "is a socket"),
            (".", IsADirectoryError, "is a folder"),
            ("none/m", FileNotFoundError, "folder does not exist"),
            ("", FileNotFoundError, "must name a file"),
            ("none/", FileNotFoundError, "must name a file"),
        ):
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
    assert sorted(os.listdir(tmp_path)) == ["dangling", "link", "m", "new"] and os.path.islink(
        tmp_path / "link"
    )
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
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "m"], capture_output=True, text=True, timeout=60
    )
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
    assert sorted(os.listdir(tmp_path)) == sorted(
        [*others, "m.npz", "m.npz.00000000.tmp", "m.npz.89abcdef.tmp"]
    )
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
    savers = [
        subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
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
