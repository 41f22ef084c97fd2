"""Name, open and write files; a written path holds the old content or the new, never a part.

A regular file is written under a temporary name in the same folder and renamed. Character devices
and FIFOs are written into, because renaming would replace them. A process locks its temporary file
while it writes. An unlocked one was left by a process that was killed; the next write of the same
file removes it. Windows has no such locks, modes or owners, and renames closed files only.
"""

import contextlib
import errno
import io
import os
import re
import stat
from typing import Any

WINDOWS = os.name == "nt"
# Characters of the file's name in its temporary name, which must stay below 255 bytes in UTF-8.
STEM = 60
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a device",
}


def name(path: Any) -> str:
    """Return path as text. TypeError unless it names a file, ValueError for a null character."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise TypeError(
            f"path must be a str, bytes or os.PathLike, got {type(path).__name__}"
        ) from None
    if "\0" in text:
        raise ValueError(f"path must not contain a null character, got {text!r}")
    return text


def open_regular(path):
    """Open a regular file for reading; ValueError for others: opening a FIFO can wait forever."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # open refuses folders itself
        raise ValueError(f"it is {_kind(mode)}, not a regular file")
    return open(path, "rb")


def check(path):
    """Return os.stat of the file, None if there is none; OSError if `write` could not write it."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    if old is None and not os.path.basename(path):
        raise FileNotFoundError(errno.ENOENT, "path must name a file", path)
    if old is None or stat.S_ISREG(old.st_mode):
        folder = os.path.dirname(os.path.realpath(path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, "the folder does not exist", path)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "the folder cannot be written to", path)
    elif not (stat.S_ISFIFO(old.st_mode) or stat.S_ISCHR(old.st_mode)):
        code = errno.EISDIR if stat.S_ISDIR(old.st_mode) else errno.ENXIO
        raise OSError(code, f"is {_kind(old.st_mode)}", path)
    if old is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "the file cannot be written to", path)
    return old


def write(path, fill):
    """Write the file at path by fill(file); atomically if it is a regular file or does not exist.

    An existing file keeps its mode, and its owner if the process may set it. A new file gets the
    mode that the umask leaves. Symbolic links are followed. Raises an OSError that names path.
    """
    path = name(path)
    old = check(path)
    if old is None or stat.S_ISREG(old.st_mode):
        _replace(path, os.path.realpath(path), old, fill)
        return
    # In one piece: without seeking, zipfile would write other bytes into a FIFO than into a file.
    buffer = io.BytesIO()
    fill(buffer)
    with errors_name(path), open(path, "wb") as file:
        file.write(buffer.getbuffer())


@contextlib.contextmanager
def errors_name(path, folder=None):
    """Make an OSError name path if it names nothing, or a temporary file in folder."""
    try:
        yield
    except OSError as error:
        given = error.filename
        temporary = isinstance(given, str) and os.path.dirname(given) == folder
        if error.errno is None or not (given is None or temporary):
            raise
        raise OSError(error.errno, error.strerror, path) from None


def _kind(mode):
    return KINDS.get(stat.S_IFMT(mode), "a special file")


def _replace(path, real, old, fill):
    """Write a temporary file and rename it to real; old is os.stat of a file there, or None."""
    folder, base = os.path.split(real)
    if not WINDOWS:
        _sweep(folder, base[:STEM])
    temporary = None
    try:
        temporary, descriptor = _create(os.path.join(folder, base[:STEM]), old)
        with open(descriptor, "wb") as file:
            if old is not None and not WINDOWS:
                _take_over(descriptor, old)
            fill(file)
            file.flush()
            os.fsync(descriptor)
            if not WINDOWS:
                os.replace(temporary, real)  # while the file is still locked
        if WINDOWS:
            os.replace(temporary, real)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        with errors_name(path, folder):
            raise error


def _create(stem, old):
    """Return (path, descriptor) of a new locked file, private if it replaces another one."""
    mode = 0o666 if old is None else 0o600
    while True:
        temporary = f"{stem}.{os.urandom(4).hex()}.tmp"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            continue
        _lock(descriptor)
        if os.path.exists(temporary):
            return temporary, descriptor
        os.close(descriptor)  # another process swept it before it was locked


def _take_over(descriptor, old):
    """Give a file the mode of the one that it replaces, and its owner and group if allowed."""
    mode = stat.S_IMODE(old.st_mode)
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        for owner in (old.st_uid, -1):
            with contextlib.suppress(OSError):
                os.fchown(descriptor, owner, old.st_gid)
                break
    if os.fstat(descriptor).st_gid != old.st_gid:
        mode = mode & ~0o070 | (mode & 0o007) << 3  # a new group gets what all others had
    with contextlib.suppress(PermissionError):  # file systems without modes, such as FAT
        os.fchmod(descriptor, mode)


def _lock(descriptor, wait=True):
    """Lock a file; False if another process has the lock, or if there are no such locks here."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _sweep(folder, stem):
    """Remove the temporary files of this stem that no process is writing."""
    pattern = re.compile(re.escape(stem) + r"\.[0-9a-f]{8}\.tmp")
    with contextlib.suppress(OSError):  # the folder may be writeable but not readable
        for entry in os.scandir(folder):
            if pattern.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # already gone, another user's, not a file
                    _remove_unlocked(entry.path)


def _remove_unlocked(path):
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor, wait=False):
            os.unlink(path)
    finally:
        os.close(descriptor)
