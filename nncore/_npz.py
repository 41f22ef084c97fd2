"""Read `.npz` archives that nobody vouches for: only the arrays asked for, with sizes checked before anything is inflated.

NumPy's own reader believes the sizes in a file and meets damaged bytes with a dozen types of error. Here every fault is
a ValueError in one sentence, and reading an array takes no more memory than its own size, which the archive's directory
and the array's header must agree on.
"""

import contextlib
import errno
import io
import math

import numpy as np

# np.lib.format's own limit; a longer header could only hold a structured type.
LONGEST_HEADER = 10_000
_READERS = {b"\1\0": (2, np.lib.format.read_array_header_1_0), b"\2\0": (4, np.lib.format.read_array_header_2_0)}
# What seeking raises where a file's sizes are wrong, or where a FIFO cannot seek; others are the disk's.
_DAMAGE = (None, errno.EINVAL, errno.ESPIPE)


class Archive:
    """The arrays in an open `.npz` file; `names` are theirs. most: refuse to read more bytes than that, all arrays together.

    ValueError if the file is no such archive.
    """

    def __init__(self, file, most=math.inf):
        import zipfile

        with _one_error("no .npz file can be read"):
            self._zip = zipfile.ZipFile(file)
            self._members = {info.filename[:-4]: info for info in self._zip.infolist() if info.filename.endswith(".npy")}
        self._left = most
        self._methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the decoders of others can be made to take gigabytes

    @property
    def names(self):
        """Names of the arrays, in the file's order."""
        return tuple(self._members)

    def __contains__(self, name):
        return name in self._members

    def array(self, name):
        """Read one array. ValueError if it is not there, damaged, or not of plain numbers or text."""
        if name not in self._members:
            raise ValueError(f"{name}.npy is missing")
        info = self._members[name]
        if info.compress_type not in self._methods:
            raise ValueError(f"{name}.npy is compressed by another method than deflate")
        with _one_error(f"{name}.npy cannot be read"), self._zip.open(info) as member:
            size = _size(member)
        if size != info.file_size:
            raise ValueError(f"{name}.npy must hold {size} bytes as its header says, got {info.file_size}")
        self._left -= size
        if self._left < 0:
            raise ValueError(f"the arrays up to {name}.npy take up many times the bytes of the file")
        with _one_error(f"{name}.npy cannot be read"), self._zip.open(info) as member:
            return np.lib.format.read_array(member, allow_pickle=False)


def _size(member):
    """The bytes that a member must have by its array's header, which comes first."""
    magic = member.read(8)
    if magic[:6] != np.lib.format.MAGIC_PREFIX or magic[6:] not in _READERS:
        raise ValueError("it does not start as an array")
    digits, read = _READERS[magic[6:]]
    start = member.read(digits)
    length = int.from_bytes(start, "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes")
    header = member.read(length)
    try:
        shape, _, dtype = read(io.BytesIO(start + header))
    except Exception as error:  # of the parser, MemoryError too, which it raises for deep nesting
        raise ValueError(f"its header cannot be read: {error}") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return len(magic) + len(start) + len(header) + math.prod(map(int, shape)) * dtype.itemsize


@contextlib.contextmanager
def _one_error(what):
    """Turn whatever damaged bytes make zipfile, zlib and NumPy raise into a ValueError that begins with `what`."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in _DAMAGE:
            raise
        raise ValueError(f"{what} ({one_line(error)})") from None


def one_line(error):
    """The text of an error on one line of bounded length; its type's name if it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__
