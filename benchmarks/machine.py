"""What a figure was measured on: the processor, the versions, and the peak of the floating-point
units."""

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

import levels

LIBRARIES = ("nncore", "numpy", "scipy", "scikit-learn", "numba", "jax", "onnxruntime", "torch")

# Independent chains of fused multiply-adds, enough of them to hide the latency of one, and passes
# over memory. All values tend to y / (1 - x), so that none becomes subnormal or infinite, which
# some processors would slow down for.
LIMITS_SOURCE = """
#ifdef __AVX512F__
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define CHAINS 12
typedef REAL word __attribute__((vector_size(BYTES)));
#define x ((word){0} + (REAL)0.5)
#define y ((word){0} + (REAL)1.5)
int lanes(void) { return BYTES / sizeof(REAL); }
double multiply_add(long count)
{
    word chain[CHAINS];
    /* a chain known to start where it tends to would be left out, and still be counted */
    volatile REAL start = 1;
    for (int i = 0; i < CHAINS; i++) chain[i] = (word){0} + start * (REAL)i;
    for (long k = 0; k < count; k++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) chain[i] = chain[i] * x + y;
        __asm__ volatile("");
    }
    for (int i = 1; i < CHAINS; i++) chain[0] += chain[i];
    return chain[0][0];
}
double pass_on(word *to, const word *from, long words, long passes)
{
    for (long k = 0; k < passes; k++) {
#pragma GCC unroll 8
#pragma GCC ivdep
        for (long i = 0; i < words; i++) to[i] = from[i] * x + y;
        __asm__ volatile("" ::: "memory");
    }
    return 0;
}
double pass_two_on(word *to, const word *from, const word *other, long words, long passes)
{
    for (long k = 0; k < passes; k++) {
#pragma GCC unroll 8
#pragma GCC ivdep
        for (long i = 0; i < words; i++) to[i] = from[i] * x + other[i];
        __asm__ volatile("" ::: "memory");
    }
    return 0;
}
double read_all(const word *from, long words, long passes)
{
    word sum[8];
    for (int i = 0; i < 8; i++) sum[i] = y;
    for (long k = 0; k < passes; k++) {
        for (long i = 0; i < words; i += 8)
#pragma GCC unroll 8
            for (int u = 0; u < 8; u++) sum[u] += from[i + u];
        __asm__ volatile("" ::: "memory");
    }
    for (int i = 1; i < 8; i++) sum[0] += sum[i];
    return sum[0][0];
}
"""


def _cpuinfo(field):
    """The first value of a field of /proc/cpuinfo, "" if there is none."""
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
    return [
        name
        for name in ("avx2", "fma", "avx512f", "avx512vl", "avx512_bf16", "amx_tile")
        if name in present
    ]


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
    """Processor, cores, versions: the context of every figure.

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


def compiled(source, dtype, *options):
    """A loaded library made of C source for this very machine, or for the instruction-set level
    that it is held to, with REAL the C name of `dtype`.

    FileNotFoundError if there is no `cc`, CalledProcessError if it fails.
    """
    real = {"float32": "float", "float64": "double"}[dtype]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "compiled.so")
        flags = ["-O3", "-ffp-contract=fast", "-shared", "-fPIC", f"-DREAL={real}"]
        subprocess.run(
            ["cc", *flags, *levels.compiler_flags(), "-x", "c", "-", "-o", library, *options],
            input=source.encode(),
            check=True,
        )
        return ctypes.CDLL(str(library))


def compiled_peak(dtype, threads):
    """A function of no arguments that keeps the multiply-add units of `threads` cores busy, and the
    FLOPs of one call."""
    loaded = compiled(LIMITS_SOURCE, dtype)
    loaded.multiply_add.argtypes, loaded.multiply_add.restype = [ctypes.c_long], ctypes.c_double
    count = 10_000_000  # some 20 ms, compared with which starting the threads' work is negligible
    pool = ThreadPoolExecutor(threads)

    def run():
        list(pool.map(loaded.multiply_add, [count] * threads))

    return run, 2 * 12 * loaded.lanes() * count * threads


def compiled_pass(dtype, count, writes, threads):
    """A function of no arguments that passes over `count` numbers again and again, and how often it
    does in one call.

    writes: "nothing" (they are summed), "in place", or "elsewhere", of two arrays of so many
    numbers. The caches that hold them set the pace; each thread has its share.
    """
    import numpy as np

    loaded = compiled(LIMITS_SOURCE, dtype)
    function = {
        "nothing": loaded.read_all,
        "in place": loaded.pass_on,
        "elsewhere": loaded.pass_two_on,
    }[writes]
    function.restype = ctypes.c_double
    itemsize = np.dtype(dtype).itemsize
    group = 8 * loaded.lanes()  # numbers that the reading loop takes at once
    groups = max(1, round(count / group / threads))
    passes = max(1, 1_000_000_000 // (threads * groups * group * itemsize))
    arrays, calls = [], []
    for _ in range(threads):
        # Not zeros: memory never written to is one and the same page, read from the nearest cache.
        own = [
            _aligned(np.full(groups * group + 64, 3, dtype))
            for _ in range(3 if writes == "elsewhere" else 1)
        ]
        arrays += own
        arguments = [
            ctypes.c_void_p(array.ctypes.data)
            for array in (own * 2 if writes == "in place" else own)
        ]
        calls.append([*arguments, ctypes.c_long(groups * 8), ctypes.c_long(passes)])
    pool = ThreadPoolExecutor(threads)

    def run(keep=arrays):
        list(pool.map(lambda arguments: function(*arguments), calls))

    return run, passes * threads * groups * group / count


def _aligned(array):
    """The array from its first entry at a multiple of 64 bytes on."""
    return array[-array.ctypes.data % 64 // array.itemsize :]


def matmul_peak(dtype, size=2048):
    """A large NumPy matrix product, which a compiler-less machine has as a lower bound, and the
    FLOPs of one call.

    >>> matmul_peak("float32", 8)[1]
    1024
    """
    import numpy as np

    A, B = np.random.default_rng(0).random((2, size, size)).astype(dtype)
    out = np.empty_like(A)
    return lambda: np.dot(A, B, out=out), 2 * size**3
