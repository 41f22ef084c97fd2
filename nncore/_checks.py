"""The checks of arrays and numbers: every message names the argument, what was wanted and what was
given.
"""

import numbers
from typing import Any

import numpy as np

from nncore import _names
from nncore._types import Array

REAL_KINDS = "fiub"
# A decorator for arithmetic that calls no user code: results do not depend on np.errstate (1 µs).
quiet = np.errstate(all="ignore")
COMPUTING = (np.dtype(np.float32), np.dtype(np.float64))


def describe(x):
    """Describe an argument in few words: dtype and shape of an array, else the type's name."""
    return f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__


def shown(x):
    """Return an argument as written; dtype and shape of an array."""
    return describe(x) if isinstance(x, np.ndarray) else repr(x)


def computing_dtype(x):
    """Return float32 for float32 arrays, else float64."""
    return COMPUTING[0] if getattr(x, "dtype", None) == COMPUTING[0] else COMPUTING[1]


def real(name: str, x: Any) -> Array:
    """Return x as an array of any real type; TypeError for complex, object, text and the like."""
    try:
        a = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise TypeError(f"{name} must be a real array, got {type(x).__name__} ({error})") from None
    if a is not x and isinstance(x, np.ndarray) and np.ma.is_masked(x):
        raise TypeError(
            f"{name} must not be masked, got a masked array with {np.ma.count_masked(x)} masked "
            f"entries; fill or drop them"
        )
    if a.dtype.kind not in REAL_KINDS:
        if hasattr(x, "tocsr"):
            raise TypeError(
                f"{name} must be a dense array, got a sparse {type(x).__name__} {x.shape}; pass "
                f"its toarray()"
            )
        raise TypeError(f"{name} must be a real array, got {a.dtype}{_no_numbers(name, x, a)}")
    return a


def is_table(x):
    """Return whether x is a DataFrame of pandas or Polars, whose rows are samples."""
    return hasattr(x, "columns") and hasattr(x, "to_numpy")


def _no_numbers(name, x, a):
    """Return what to do about data that are no numbers, to append to a message."""
    if is_table(x):
        wrong = [str(c) for c in x.columns if np.asarray(x[c]).dtype.kind not in REAL_KINDS]
        return f"; columns without numbers: {', '.join(wrong[:5])}; encode or drop them"
    if a.ndim == 1 and a.dtype.kind in "USOT" and name.startswith("Y"):
        return (
            "; names of classes become numbers by np.unique(labels, return_inverse=True)[1], and "
            "nncore.sklearn takes them as they are"
        )
    return ""


def as_real(name: str, x: Any, dtype: Any = None) -> Array:
    """Return x as an aligned, native array of dtype (None: float32 and float64 as they are, others
    as float64).
    """
    a = real(name, x)
    if dtype is None:
        dtype = (
            a.dtype.newbyteorder("=") if a.dtype.newbyteorder("=") in COMPUTING else COMPUTING[1]
        )
    return _required(a, dtype)


@quiet
def _required(a, dtype):
    return np.require(a, dtype, "A")  # a value beyond float32 becomes inf or 0


def shape(name, x, wanted, hint=""):
    """Raise ValueError unless x.shape is wanted, a tuple of sizes, with letters for any size; hint
    is appended.
    """
    given = x.shape if hasattr(x, "shape") else np.shape(x)
    if given == wanted or _fits(given, wanted):
        return
    text = "(" + ", ".join(str(w) for w in wanted) + ("," if len(wanted) == 1 else "") + ")"
    samples = wanted[-1:] in (("b",), ("N",))
    if len(wanted) == 2 and len(given) == 1 and samples:
        hint = "; a single sample is a column, as in X[:, j:j+1]"
    elif len(wanted) == 2 and samples and _fits(given[::-1], wanted):
        hint = "; samples are columns: pass the transpose"
    raise ValueError(f"{name} must have shape {text}, got {given}{hint}")


def _fits(given, wanted):
    """Return whether a shape is the wanted one; letters match any size."""
    if len(given) != len(wanted):
        return False
    for g, w in zip(given, wanted, strict=True):
        if g != w and not isinstance(w, str):
            return False
    return True


def not_empty(name, W):
    """Raise ValueError for weights (m, n) of a layer without inputs or outputs."""
    if np.ndim(W) == 2 and 0 in np.shape(W):
        raise ValueError(
            f"{name} must have at least one input and one output, got shape {np.shape(W)}"
        )


def out(name, x, wanted, dtype):
    """Return x if it can hold the result: dtype, shape, contiguous, aligned, native, writeable."""
    if not isinstance(x, np.ndarray) or x.dtype != dtype or not x.dtype.isnative:
        raise TypeError(f"{name} must be a {np.dtype(dtype)} array, got {describe(x)}")
    shape(name, x, wanted)
    if not (x.flags.c_contiguous or x.flags.f_contiguous) or not x.flags.aligned:
        raise ValueError(
            f"{name} must be aligned and C- or Fortran-contiguous, got strides {x.strides}"
        )
    if not x.flags.writeable:
        raise ValueError(f"{name} must be writeable, got a read-only array")
    return x


def no_overlap(name, x, *inputs):
    """Raise ValueError if x shares memory with an input."""
    for other in inputs:
        if np.may_share_memory(x, other):
            raise ValueError(f"{name} must not share memory with an input, got an array that does")


def in_place(name, x):
    """Refuse an array that cannot be updated in place: wrong type, read-only."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(x).__name__}")
    if x.dtype not in COMPUTING or not x.dtype.isnative:
        raise TypeError(f"{name} must be float32 or float64 to be updated in place, got {x.dtype}")
    if not x.flags.writeable:
        raise ValueError(f"{name} must be writeable to be updated in place, got a read-only array")


def trainable(name, x, wanted):
    """Return x ready for updates in place: itself, or a float64 copy if its type cannot hold
    fractions natively.

    Integers, bool, float16, longdouble and foreign byte orders are copied; complex, objects, wrong
    shapes and read-only arrays are refused.
    """
    if (
        type(x) is np.ndarray
        and x.dtype in COMPUTING
        and x.flags.writeable
        and _fits(x.shape, wanted)
    ):
        return x
    if not isinstance(x, (np.ndarray, list, tuple)) and not np.isscalar(x):
        raise TypeError(
            f"{name} must be a NumPy array to be trained in place, got {type(x).__name__}; assign "
            f"np.asarray({name}), which "
            "shares the memory of many arrays of other libraries, or a copy"
        )
    a = real(name, x)
    shape(name, a, wanted)
    if isinstance(x, np.ndarray):  # a subclass such as a memmap keeps its own memory
        if x.dtype in COMPUTING and x.dtype.isnative:
            in_place(name, x)
            return x
        if not x.flags.writeable:
            raise ValueError(
                f"{name} must be writeable to be updated in place, got a read-only array"
            )
    return np.array(a, dtype=COMPUTING[1])


def number(name, x):
    """Return x as a float; TypeError unless it is a real number."""
    if type(x) is float:  # the abstract classes below take a microsecond
        return x
    if isinstance(x, (bool, np.bool_)) or not isinstance(x, numbers.Real):
        if isinstance(x, np.ndarray) and x.ndim == 0 and x.dtype.kind in "fiu":
            return float(x)
        raise TypeError(f"{name} must be a real number, got {type(x).__name__}")
    try:
        return float(x)
    except OverflowError:
        largest = np.finfo(np.float64).max
        raise ValueError(f"{name} must be at most {largest:.4g} in size, got more") from None


def share(name, x):
    """Return x as a float of at least 0 and below 1."""
    value = number(name, x)
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {x}")
    return value


def word(name, x):
    """Return x as an unsigned 64-bit int."""
    value = count(name, x, most=None)
    if value >= 2**64:
        raise ValueError(f"{name} must be below 2**64, got {x}")
    return value


def counter(name, x):
    """Return x as an int that counts steps: at least 0, and so far below 2**63 that no training
    gets there.
    """
    value = count(name, x, most=None)
    if value >= 2**62:
        raise ValueError(f"{name} must be below 2**62, got {x}")
    return value


def network_dtype(dtype: Any) -> Any:
    """Return dtype as float32 or float64; TypeError for others."""
    try:
        given = np.dtype(dtype)
    except (TypeError, ValueError):
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
    if given not in COMPUTING:
        raise TypeError(f"dtype must be float32 or float64, got {given}")
    return given


def count(name, x, least=0, most=2**63 - 1):
    """Return x as an int from `least` to `most` (None: any); TypeError unless it is an integer."""
    if type(x) is int and least <= x and (most is None or x <= most):
        return x
    if isinstance(x, (bool, np.bool_)) or not isinstance(x, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {type(x).__name__}")
    if x < least:
        raise ValueError(f"{name} must be at least {least}, got {x}")
    if most is not None and x > most:
        raise ValueError(f"{name} must be at most {most}, got {x}")
    return int(x)


def choice(name, x, allowed, given=None):
    """Return x if it is one of the allowed strings. given: x as the caller wrote it."""
    if not isinstance(x, str) or x not in allowed:
        hint = _names.suggestion(x, allowed) if isinstance(x, str) else ""
        given = x if given is None else given
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, allowed))}, got {shown(given)}{hint}"
        )
    return x


def switch(name, x):
    """Return x as a bool; None is False."""
    if x is not None and not isinstance(x, (bool, np.bool_)):
        raise TypeError(f"{name} must be True, False or None, got {type(x).__name__}")
    return bool(x)


def finite(name, x):
    """Raise ValueError, naming the column, if x holds NaN or infinity."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":  # class numbers are finite
        return
    at = first_wrong(x, lambda part: ~np.isfinite(part))
    if at is not None:
        raise ValueError(f"{name} must be finite, got NaN or infinity in column {at[-1]}")


BLOCK = 1 << 20  # elements: a mask of a memory-mapped array may not fit in memory


def first_wrong(x, wrong):
    """Return the index of the first element of an array, in C order, for which wrong(part) holds;
    None if there is none. The mask is made of a block of samples at a time.
    """
    width = x.shape[-1] if x.size <= BLOCK else max(1, BLOCK * x.shape[-1] // x.size)
    found = None
    for at in range(0, x.shape[-1], max(width, 1)):
        mask = wrong(x[..., at : at + width])
        if mask.any():
            *index, column = map(int, np.unravel_index(int(mask.argmax()), mask.shape))
            index = (*index, column + at)
            found = index if found is None else min(found, index)
    return found
