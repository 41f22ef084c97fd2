"""One place that holds nncore and its peers to an instruction-set level. Call before any of them is
imported."""

import os
import platform

# What each library reads when it is loaded. ONNX Runtime reads nothing of the kind.
_PEERS = {
    "avx2": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
        "NUMBA_CPU_NAME": "haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "generic": {
        "OPENBLAS_CORETYPE": "Prescott",
        "NUMBA_CPU_NAME": "x86-64",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
        "ATEN_CPU_CAPABILITY": "default",
        "DNNL_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
}
UNLIMITED = ("ONNX Runtime",)
CHOICES = ("generic", "avx2", "avx512")


def hold(level):
    """Make this process and its children use no instructions above a level: "generic", "avx2" or
    "avx512".

    >>> import os; before = dict(os.environ)
    >>> hold("avx2"); os.environ["NNCORE_ISA"], compiler_flags()
    ('avx2', ['-mavx2', '-mfma'])
    >>> os.environ.clear(); os.environ.update(before)
    """
    os.environ["NNCORE_ISA"] = level
    # On other processors the generic level is the only one, and that of the peers, too.
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.update(_PEERS.get(level, {}))


def held():
    """The level that processes are held to, "" if none.

    >>> held() in ("", *CHOICES)
    True
    """
    return os.environ.get("NNCORE_ISA", "")


def compiler_flags():
    """The flags of C code for the level, or for this very machine.

    >>> isinstance(compiler_flags(), list)
    True
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return ["-march=native"]
    return {"generic": [], "avx2": ["-mavx2", "-mfma"]}.get(held(), ["-march=native"])
