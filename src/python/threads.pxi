# The number of threads for a piece of work; pool.h runs them. Used by the kernels of arrays and by
# the plan.
#
# - The maximum is set by set_num_threads (which threadpoolctl calls too), else NNCORE_THREADS,
#   else OMP_NUM_THREADS, else the processor cores this process may use (affinity, control group
#   quota; hyperthreads of one core count once, as they share the multiply-add units).
# - Each thread needs ROWS_PER_THREAD rows and FLOPS_PER_THREAD, else the work runs on fewer: small
#   networks are never split.
# - Mini-batch training also moves weights and samples between cores at every step: see SPLIT_BATCH.

cdef extern from "engine/pool.h":
    int NN_POOL_MAX_THREADS
    ctypedef void (*nn_pool_work)(void *, int) noexcept nogil
    ctypedef void (*nn_pool_piece)(void *, int, int, int) noexcept nogil
    void nn_pool_setup() nogil
    int nn_pool_open(int, nn_pool_work, void *) nogil
    void nn_pool_close(int) nogil
    void nn_pool_pieces(int, int, nn_pool_piece, void *) nogil
    int nncore_pool_helpers() nogil
    void nn_pool_count(uint64_t) nogil
    uint64_t nn_pool_counted() nogil
    void nn_pool_only_helpers(int) nogil
    bint nn_pool_leader_works(int) nogil
    uint64_t nn_pool_forks() nogil
    int nn_pool_limit() nogil
    void nn_pool_set_limit(int) nogil


def set_num_threads(n):
    """Use at most `n` threads in this process from now on; an integer of at least 1. Results are
    the same to the last bit for every number.

    >>> import nncore
    >>> nncore.set_num_threads(1)
    >>> nncore.get_num_threads()
    1
    """
    nn_pool_set_limit(min(_checks.count("n", n, 1), NN_POOL_MAX_THREADS))


def get_num_threads():
    """Return the maximum number of threads: as set, else NNCORE_THREADS, OMP_NUM_THREADS, or the
    cores this process may use.

    Small networks and batches use fewer, as each thread must have enough to do. If the system
    refuses a thread, the work runs on fewer.

    >>> import nncore
    >>> nncore.get_num_threads() >= 1
    True
    """
    if nn_pool_limit() == 0:
        set_num_threads(_threads.wanted() or _threads.usable_cores())
    return nn_pool_limit()


cdef int threads_for(Py_ssize_t rows, double flops) except -1:
    """The number of threads for this many rows and floating-point operations."""
    cdef Py_ssize_t n = min(rows // ROWS_PER_THREAD, <Py_ssize_t>(flops / FLOPS_PER_THREAD))
    if n < 2:
        return 1
    return <int>min(n, <Py_ssize_t>get_num_threads())


def pool():
    """Return (live helper threads, pieces of work done by helpers so far); for tests."""
    return nncore_pool_helpers(), nn_pool_counted()


def only_helpers(bint on):
    """Leave all shared work to the helpers, or not; for tests, which must not depend on which
    thread comes first."""
    nn_pool_only_helpers(on)


def _read_environment():
    try:
        _threads.wanted()
    except ValueError as error:
        raise ImportError(str(error)) from None


_read_environment()
nn_pool_setup()
