"""Read untrusted `.npz` archives: only the arrays asked for, their sizes checked beforehand.

NumPy's reader trusts the sizes in a file, and damaged bytes make it raise a dozen types of error.
Here every fault is a ValueError in one sentence. An array is inflated only if its header and the
archive's directory agree on its size, so that reading takes no more memory than the array.
"""

import contextlib
import errno
import io
import math

import numpy as np

# The limit of np.lib.format; only structured types have longer headers.
LONGEST_HEADER = 10_000
READERS = {
    b"\1\0": (2, np.lib.format.read_array_header_1_0),
    b"\2\0": (4, np.lib.format.read_array_header_2_0),
}
# Raised by a seek to a wrong place, or in a FIFO. Other errors are the disk's, not the file's.
DAMAGE = (None, errno.EINVAL, errno.ESPIPE)


class Archive:
    """The arrays in an open `.npz` file. ValueError if the file is no such archive.

    `names` are the arrays' names. Reading more than `most` bytes in all raises a ValueError.
    """

    def __init__(self, file, most=math.inf):
        import zipfile

        with _one_error("no .npz file can be read"):
            self._zip = zipfile.ZipFile(file)
        members = self._zip.infolist()
        self._members = {m.filename[:-4]: m for m in members if m.filename.endswith(".npy")}
        self._left = most
        # What NumPy writes. The decoders of other methods can be made to allocate gigabytes.
        self._methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

    @property
    def names(self):
        """Names of the arrays, in the file's order."""
        return tuple(self._members)

    def __contains__(self, name):
        return name in self._members

    def array(self, name):
        """Read one array; ValueError if it is missing, damaged or holds Python objects."""
        if name not in self._members:
            raise ValueError(f"{name}.npy is missing")
        member = self._members[name]
        if member.compress_type not in self._methods:
            raise ValueError(f"{name}.npy is compressed by another method than deflate")
        with _one_error(f"{name}.npy cannot be read"), self._zip.open(member) as content:
            size = _size(content)
        if size != member.file_size:
            raise ValueError(
                f"{name}.npy has {member.file_size} bytes, not {size} as its header says"
            )
        self._left -= size
        if self._left < 0:
            raise ValueError(f"the arrays up to {name}.npy have many times the bytes of the file")
        with _one_error(f"{name}.npy cannot be read"), self._zip.open(member) as content:
            return np.lib.format.read_array(content, allow_pickle=False)

    def text(self, name):
        """Read an array that is one text; ValueError if it is not."""
        a = self.array(name)
        if a.dtype.kind != "U" or a.shape != ():
            raise ValueError(f"{name}.npy is not a text")
        # Not str(a), which raises SystemError for characters that do not exist.
        return a.astype(a.dtype.newbyteorder("<")).tobytes().decode("utf-32-le").rstrip("\0")


def _size(content):
    """Return the bytes that a member needs by the header of its array, which comes first."""
    magic = content.read(8)
    if magic[:6] != np.lib.format.MAGIC_PREFIX or magic[6:] not in READERS:
        raise ValueError("it does not start as an array")
    digits, read = READERS[magic[6:]]
    start = content.read(digits)
    length = int.from_bytes(start, "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes")
    header = content.read(length)
    try:
        shape, _, dtype = read(io.BytesIO(start + header))
    except Exception as error:  # MemoryError, too: the parser raises it for deep nesting
        raise ValueError(f"its header cannot be read: {error}") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return 8 + digits + length + math.prod(map(int, shape)) * dtype.itemsize


@contextlib.contextmanager
def _one_error(what):
    """Turn whatever zipfile, zlib and NumPy raise for damaged bytes into a ValueError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in DAMAGE:
            raise
        raise ValueError(f"{what} ({one_line(error)})") from None


def one_line(error):
    """Return an error's text on one line, at most 200 characters; its type if it has no text."""
    return " ".join(str(error).split())[:200] or type(error).__name__
