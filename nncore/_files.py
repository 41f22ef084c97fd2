"""Files by path: what names one, and writing one so that its path holds the old content or the new, never a part of it.

A regular file is written under a temporary name in its folder and renamed. A character device or a FIFO is written
into, since renaming would replace it. A temporary file is locked while its process writes it: an unlocked one was left
by a process that was killed, and the next write of the same file removes it.
"""

import contextlib
import errno
import io
import os
import re
import stat

# Of the file's name; longer temporary names could exceed the 255 bytes that most file systems allow.
STEM = 60


def name(path):
    """Return path as text; TypeError unless it is a str, bytes or os.PathLike, ValueError for a null character."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"path must be a str, bytes or os.PathLike, got {type(path).__name__}") from None
    if "\0" in text:
        raise ValueError(f"path must not contain a null character, got {text!r}")
    return text


def open_regular(path):
    """Open the file for reading; ValueError unless it is a regular file, as opening a FIFO can wait for ever."""
    if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
        raise ValueError(f"it is {_kind(mode)}, not a regular file")
    return open(path, "rb")


def check(path):
    """Return os.stat of the file at path, None if there is none; OSError if `write` could not write it."""
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
        raise OSError(errno.EISDIR if stat.S_ISDIR(old.st_mode) else errno.ENXIO, f"is {_kind(old.st_mode)}", path)
    if old is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "the file cannot be written to", path)
    return old


def write(path, fill):
    """Write the file at path by fill(file), atomically if it is a regular file.

    A file that exists keeps its mode, and its owner where the process may set it; a new one gets the mode that the umask
    leaves. Symbolic links are followed. OSError, naming path, if it cannot be written.
    """
    path = name(path)
    old = check(path)
    if old is None or stat.S_ISREG(old.st_mode):
        _replace(path, os.path.realpath(path), old, fill)
        return
    # All at once, so that a FIFO's reader gets the bytes that a file would hold: zipfile writes others if it cannot seek.
    buffer = io.BytesIO()
    fill(buffer)
    with errors_name(path), open(path, "wb") as file:
        file.write(buffer.getbuffer())


def _kind(mode):
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a block device"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _replace(path, real, old, fill):
    """Write a temporary file beside real, then rename it to real; old is the os.stat of the one that it replaces."""
    folder, base = os.path.split(real)
    _sweep(folder, base[:STEM])
    beside = None
    try:
        beside, descriptor = _create(os.path.join(folder, base[:STEM]), old)
        with open(descriptor, "wb") as file:
            if old is not None:
                _take_over(descriptor, old)
            fill(file)
            file.flush()
            os.fsync(descriptor)
            os.replace(beside, real)  # before the file is closed, which gives up its lock
    except BaseException as error:
        if beside is not None:
            with contextlib.suppress(OSError):
                os.unlink(beside)
        with errors_name(path, folder):
            raise error


@contextlib.contextmanager
def errors_name(path, folder=None):
    """Name path in an OSError that names nothing, or a temporary file in folder."""
    try:
        yield
    except OSError as error:
        temporary = isinstance(error.filename, str) and os.path.dirname(error.filename) == folder
        if error.errno is None or not (error.filename is None or temporary):
            raise
        raise OSError(error.errno, error.strerror, path) from None


def _create(stem, old):
    """(path, descriptor) of a new file, locked; readable by nobody else if it replaces one whose mode may say so."""
    while True:
        beside = f"{stem}.{os.urandom(4).hex()}.tmp"
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if old is None else 0o600)
        except FileExistsError:
            continue
        _lock(descriptor)
        if os.path.exists(beside):
            return beside, descriptor
        os.close(descriptor)  # another process has swept it before it was locked


def _take_over(descriptor, old):
    """Give a file the mode of the one that it replaces, and its owner and group where the process may."""
    mode = stat.S_IMODE(old.st_mode)
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        for owner in (old.st_uid, -1):
            with contextlib.suppress(OSError):
                os.fchown(descriptor, owner, old.st_gid)
                break
    if os.fstat(descriptor).st_gid != old.st_gid:
        mode = mode & ~0o070 | (mode & 0o007) << 3  # another group gets what everybody had
    with contextlib.suppress(PermissionError):  # file systems without modes, such as FAT
        os.fchmod(descriptor, mode)


def _lock(descriptor, wait=True):
    """Whether this process holds the lock of the file now; False on systems and file systems without such locks."""
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
    """Remove temporary files of this stem that nobody writes any more."""
    pattern = re.compile(re.escape(stem) + r"\.[0-9a-f]{8}\.tmp")
    with contextlib.suppress(OSError):  # a folder that may be written to but not read
        for entry in os.scandir(folder):
            if pattern.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # gone meanwhile, of another user, not a regular file
                    _remove_unlocked(entry.path)


def _remove_unlocked(path):
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor, wait=False):
            os.unlink(path)
    finally:
        os.close(descriptor)
