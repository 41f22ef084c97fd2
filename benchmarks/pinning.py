"""One place that fixes cores and thread pools. Import and call before NumPy or any peer is
imported."""

import os

POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NNCORE_THREADS",
)


def pin(threads):
    """Bind this process to `threads` cores and limit every thread pool to that number.

    The last cores are taken, because the first one usually serves interrupts. Libraries read the
    variables when they are loaded, and JAX counts the cores it may use, so this comes first.

    >>> sorted(POOLS)[0]
    'BLIS_NUM_THREADS'
    """
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(allowed):
        raise ValueError(
            f"threads must be between 1 and the {len(allowed)} usable cores, got {threads}"
        )
    os.sched_setaffinity(0, allowed[-threads:])
    for name in POOLS:
        os.environ[name] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
