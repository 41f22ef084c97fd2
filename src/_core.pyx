"""The compiled core: kernels of arrays (boundary.pxi) and the engine (engine/), with its Python
face (python/program.pxi)."""

# No comprehensions in the compiled core's lists and tuples: the code that Cython 3.3 generates for
# them releases the item twice when the list cannot grow (__Pyx_ListComp_AppendAndDecref).
# list.append and any(), all() of a generator are right.

import os
import threading
import numpy as np
from nncore import _checks, _threads, schedules

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport fabs, fmax, isfinite, pow, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cnp.import_array()

# ---------------------------------------------------------------------------- instruction-set level

cdef int live_level = 0
cdef const nn_kernels *table[2]  # float, double


cdef int use_level(int level) except -1:
    global live_level
    live_level = level
    table[0] = nn_table(level, 0)
    table[1] = nn_table(level, 1)
    return 0


def isa_levels():
    """Names of the instruction-set levels this processor runs, lowest first."""
    names = []
    for i in range(NN_LEVELS):
        if nn_level_usable(i):
            names.append(nn_level_name(i).decode())
    return tuple(names)


def get_isa():
    """Name of the live instruction-set level."""
    return nn_level_name(live_level).decode()


def set_isa(name):
    """Switch to another level; for tests and diagnosis. ValueError names the usable levels."""
    for i in range(NN_LEVELS):
        if nn_level_name(i).decode() == name and nn_level_usable(i):
            use_level(i)
            return
    raise ValueError(f"the instruction-set level must be one of {', '.join(isa_levels())}, got {name!r}")


def config():
    """What this build is and runs on: level, threads, compiler, versions."""
    return {"isa": get_isa(), "isa_available": isa_levels(), "threads": get_num_threads(),
            "compiler": COMPILER.decode(), "cython": CYTHON.decode(), "numpy_build": NUMPY_BUILD.decode()}


cdef extern from *:
    """
    #define NNCORE_TEXT_(x) #x
    #define NNCORE_TEXT(x) NNCORE_TEXT_(x)
    #if defined(__clang__)
    #define NNCORE_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define NNCORE_COMPILER "gcc " __VERSION__
    #else
    #define NNCORE_COMPILER "unknown"
    #endif
    """
    const char *COMPILER "NNCORE_COMPILER"
    const char *CYTHON "NNCORE_CYTHON"
    const char *NUMPY_BUILD "NNCORE_NUMPY"


cdef int choose_level() except -1:
    cdef int i, best = 0
    wanted = os.environ.get("NNCORE_ISA", "")
    if wanted:
        try:
            set_isa(wanted)
        except ValueError:
            raise ImportError(f"NNCORE_ISA must be one of {', '.join(isa_levels())}, got {wanted!r}") from None
        return 0
    for i in range(NN_LEVELS):
        if nn_level_usable(i):
            best = i
    return use_level(best)


choose_level()

include "kernels/kernels.pxi"
include "engine/tuning.pxi"
include "python/threads.pxi"
include "python/copies.pxi"
include "python/boundary.pxi"
include "python/chain.pxi"
include "python/optimizers.pxi"
include "python/batchnorm.pxi"
include "python/dropout.pxi"

include "engine/types.pxi"
include "engine/arena.pxi"
include "engine/source.pxi"
include "engine/network.pxi"
include "engine/params.pxi"
include "engine/layers.pxi"
include "engine/special.pxi"
include "engine/sparse.pxi"
include "engine/lookahead.pxi"
include "engine/fused.pxi"
include "engine/optimizer.pxi"
include "engine/guard.pxi"
include "engine/plan.pxi"
include "engine/steppers.pxi"
include "engine/pace.pxi"
include "engine/predict.pxi"

include "python/program.pxi"
include "python/predictor.pxi"
