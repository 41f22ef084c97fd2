"""The compiled core: kernels of arrays (python/boundary.pxi and the files that use it) and the
engine (engine/) with its Python interface (python/program.pxi, python/predictor.pxi)."""

# List and tuple comprehensions are not used in the compiled core: the code that Cython 3.3
# generates for them releases the item twice if the list cannot grow
# (__Pyx_ListComp_AppendAndDecref). list.append, and any() and all() of a generator, are correct.

import os
import _thread
import numpy as np
from nncore import _checks, _rates, _threads

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, NAN, exp, fabs, fmax, fmin, isfinite, log, log1p, pow, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cnp.import_array()

# ---------------------------------------------------------------------------- instruction-set level

cdef int current_level = 0
cdef const nn_kernels *table[2]  # float, double


cdef int use_level(int level) except -1:
    """Use the kernel tables of this level."""
    global current_level
    current_level = level
    table[0] = nn_table(level, 0)
    table[1] = nn_table(level, 1)
    return 0


def isa_levels():
    """Names of the instruction-set levels that this processor can run, lowest first."""
    names = []
    for i in range(NN_LEVELS):
        if nn_level_usable(i):
            names.append(nn_level_name(i).decode())
    return tuple(names)


def get_isa():
    """Name of the instruction-set level in use."""
    return nn_level_name(current_level).decode()


def set_isa(name):
    """Use another instruction-set level; for tests and diagnosis. ValueError if it is unusable."""
    for i in range(NN_LEVELS):
        if nn_level_name(i).decode() == name and nn_level_usable(i):
            use_level(i)
            return
    raise ValueError(
        f"the instruction-set level must be one of {', '.join(isa_levels())}, got {name!r}")


def config():
    """Configuration of this build and process: level, threads, compiler, versions."""
    return {
        "isa": get_isa(),
        "isa_available": isa_levels(),
        "threads": get_num_threads(),
        "compiler": COMPILER.decode(),
        "cython": CYTHON.decode(),
        "numpy_build": NUMPY_BUILD.decode(),
    }


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
    """Use the level that NNCORE_ISA names, else the highest usable one."""
    cdef int i, best = 0
    wanted = os.environ.get("NNCORE_ISA", "")
    if wanted:
        try:
            set_isa(wanted)
        except ValueError:
            levels = ", ".join(isa_levels())
            raise ImportError(f"NNCORE_ISA must be one of {levels}, got {wanted!r}") from None
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
include "python/snapshot.pxi"
include "python/draws.pxi"
include "python/linear.pxi"
include "python/activations.pxi"
include "python/losses.pxi"
include "python/steps.pxi"
include "python/chain.pxi"
include "python/optimizers.pxi"
include "python/batchnorm.pxi"
include "python/dropout.pxi"

include "engine/types.pxi"
include "engine/arena.pxi"
include "engine/source.pxi"
include "engine/special.pxi"
include "engine/network.pxi"
include "engine/params.pxi"
include "engine/layers.pxi"
include "engine/sparse.pxi"
include "engine/lookahead.pxi"
include "engine/fused.pxi"
include "engine/clipping.pxi"
include "engine/optimizer.pxi"
include "engine/columns.pxi"
include "engine/guard.pxi"
include "engine/plan.pxi"
include "engine/steppers.pxi"
include "engine/pace.pxi"
include "engine/predict.pxi"
include "engine/epochs.pxi"

include "python/sources.pxi"
include "python/windows.pxi"
include "python/parameters.pxi"
include "python/plain.pxi"
include "python/compiled.pxi"
include "python/program.pxi"
include "python/epochs.pxi"
include "python/ready.pxi"
include "python/learner.pxi"
include "python/predictor.pxi"
