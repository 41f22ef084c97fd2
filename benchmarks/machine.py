"""What a figure was measured on: the processor, the versions, and the peak of the floating-point units."""

import ctypes
import importlib
import os
import platform
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

LIBRARIES = ("nncore", "numpy", "scipy", "scikit-learn", "numba", "jax", "onnxruntime", "torch")

# Independent chains of fused multiply-adds, enough of them to hide the latency of one. They tend to y / (1 - x), so
# that no value becomes subnormal or infinite, which some processors would slow down for.
PEAK_SOURCE = """
#ifdef __AVX512F__
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define CHAINS 12
typedef REAL word __attribute__((vector_size(BYTES)));
int lanes(void) { return CHAINS * BYTES / sizeof(REAL); }
double multiply_add(long count)
{
    word chain[CHAINS], x = (word){0} + (REAL)0.5, y = (word){0} + (REAL)1.5;
    for (int i = 0; i < CHAINS; i++) chain[i] = y * (REAL)i;
    for (long k = 0; k < count; k++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) chain[i] = chain[i] * x + y;
        __asm__ volatile("");
    }
    for (int i = 1; i < CHAINS; i++) chain[0] += chain[i];
    return chain[0][0];
}
"""


def _cpuinfo(field):
    """The first value of a field of /proc/cpuinfo, "" where there is none."""
    try:
        found = re.search(rf"^{field}\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found.group(1).strip() if found else ""


def cpu_name():
    """The processor's name as the system gives it.

    >>> bool(cpu_name())
    True
    """
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def vector_extensions():
    """Those of the processor's instruction sets that decide which kernels run.

    >>> isinstance(vector_extensions(), list)
    True
    """
    present = _cpuinfo("flags").split()
    return [name for name in ("avx2", "fma", "avx512f", "avx512vl", "avx512_bf16", "amx_tile") if name in present]


def version_of(library):
    """The version of an installed package, or of a module that is only on the path, else "missing".

    >>> version_of("no such library")
    'missing'
    """
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        pass
    try:
        return importlib.import_module(library).__version__
    except (ImportError, AttributeError):
        return "missing"


def kernels():
    """The instruction-set level and the compiler of nncore's core, "missing" without it.

    >>> isinstance(kernels(), str)
    True
    """
    try:
        import nncore
    except ImportError:
        return "missing"
    config = nncore.show_config(mode="dict")
    return f"{config['isa']}, {config['compiler']}"


def describe():
    """Processor, cores, versions: what stands beside every figure.

    >>> sorted(describe())
    ['cores', 'cpu', 'instruction sets', 'kernels', 'python', 'system', 'versions']
    """
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "instruction sets": vector_extensions(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "kernels": kernels(),
        "versions": {library: version_of(library) for library in LIBRARIES},
    }


def compiled_peak(dtype, threads):
    """A function of no arguments that keeps the multiply-add units of `threads` cores busy, and the FLOPs of one call.

    Compiled with `cc` for this very machine. OSError where there is no `cc`, CalledProcessError where it fails.
    """
    real = {"float32": "float", "float64": "double"}[dtype]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "peak.so")
        options = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", f"-DREAL={real}", "-x", "c", "-"]
        subprocess.run(["cc", *options, "-o", library], input=PEAK_SOURCE.encode(), check=True)
        loaded = ctypes.CDLL(str(library))
    loaded.multiply_add.argtypes, loaded.multiply_add.restype = [ctypes.c_long], ctypes.c_double
    count = 2_000_000
    pool = ThreadPoolExecutor(threads)

    def run():
        list(pool.map(loaded.multiply_add, [count] * threads))

    return run, 2 * loaded.lanes() * count * threads


def matmul_peak(dtype, size=2048):
    """A large NumPy matrix product, which a compiler-less machine has as a lower bound, and the FLOPs of one call.

    >>> matmul_peak("float32", 8)[1]
    1024
    """
    import numpy as np

    A, B = np.random.default_rng(0).random((2, size, size)).astype(dtype)
    out = np.empty_like(A)
    return lambda: np.dot(A, B, out=out), 2 * size**3
