"""Arrays that begin on a cache line, where vectors read and write whole lines."""

import numpy as np

LINE = 64  # bytes
LEAST = 4096  # bytes; smaller weights are copied into the engine's own memory


def zeros(shape, dtype):
    """Return np.zeros(shape, dtype), on a cache line if it is large enough to be used in place."""
    dtype = np.dtype(dtype)
    n_bytes = dtype.itemsize * int(np.prod(shape))
    if n_bytes < LEAST:
        return np.zeros(shape, dtype)
    room = np.zeros(n_bytes + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + n_bytes].view(dtype).reshape(shape)


def aligned(x, dtype=None):
    """Return x in dtype as a C-contiguous array on a cache line: x itself if it is one."""
    dtype = x.dtype if dtype is None else np.dtype(dtype)
    if x.dtype == dtype and x.flags.carray and (x.nbytes < LEAST or x.ctypes.data % LINE == 0):
        return x
    copy = zeros(x.shape, dtype)
    copy[...] = x
    return copy
