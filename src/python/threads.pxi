# How many threads a piece of work gets; pool.h runs them.
#
# - The most: set_num_threads (threadpoolctl calls it too), else NNCORE_THREADS, else
# OMP_NUM_THREADS, else the processor cores this process may use (affinity, control group quota;
# hyperthreads of one core count once, as they share the multiply-add units). - Each thread must get
# ROWS_PER_THREAD rows and FLOPS_PER_THREAD, else the work runs on fewer: small networks are never
# split. - Training in mini-batches also moves weights and samples from core to core, at every step:
# see SPLIT_BATCH.

cdef extern from "engine/pool.h":
    int NN_POOL_MOST
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

cdef int most_threads = 0  # 0: not determined yet


def set_num_threads(n):
    """At most `n` threads from now on, in this process; a whole number of 1 or more. Results do not
    depend on it, to the last bit.

    >>> import nncore
    >>> nncore.set_num_threads(1)
    >>> nncore.get_num_threads()
    1
    """
    global most_threads
    most_threads = min(_checks.count("n", n, 1), NN_POOL_MOST)


def get_num_threads():
    """The most threads that work is shared among: as set, else NNCORE_THREADS, OMP_NUM_THREADS, or
    the cores this process may use.

    Small networks and batches are not shared: each thread must have enough to do. If the system
    refuses a thread, the work runs on fewer.

    >>> import nncore
    >>> nncore.get_num_threads() >= 1
    True
    """
    if most_threads == 0:
        set_num_threads(_threads.wanted() or _threads.usable_cores())
    return most_threads


cdef int threads_for(Py_ssize_t rows, double flops) except -1:
    """Threads for work of so many rows and floating-point operations."""
    cdef Py_ssize_t n = min(rows // ROWS_PER_THREAD, <Py_ssize_t>(flops / FLOPS_PER_THREAD))
    if n < 2:
        return 1
    return <int>min(n, <Py_ssize_t>get_num_threads())


def pool():
    """Return (live helper threads, pieces of work done by helpers so far); for tests."""
    return nncore_pool_helpers(), nn_pool_counted()


def only_helpers(bint on):
    """Set whether all shared work is left to the helpers; for tests, which must not depend on who
    comes first."""
    nn_pool_only_helpers(on)


def _read_environment():
    try:
        _threads.wanted()
    except ValueError as error:
        raise ImportError(str(error)) from None


_read_environment()
nn_pool_setup()
