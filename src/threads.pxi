# How many threads a piece of work gets. OpenMP runs them, where the compiler has it; threadpoolctl then sees and limits them.
#
# - The most: set_num_threads, else NNCORE_THREADS, else OMP_NUM_THREADS, else the processor cores this process may use (affinity,
#   control group quota; hyperthreads of one core count once, as they share the multiply-add units). A limit set later through
#   OpenMP, as threadpoolctl does, is kept to.
# - Each thread must get ROWS_A_THREAD rows and FLOPS_A_THREAD, else the work runs on fewer: small networks are never split.
# - Training in mini-batches also moves weights and samples from core to core, at every step: see steps_share.
# - GNU's OpenMP hangs in a process forked after its threads were started: there, work runs on one thread.

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define NNCORE_OPENMP _OPENMP
    #else
    #define NNCORE_OPENMP 0
    #define omp_get_max_threads() 1
    #endif
    """
    int OPENMP "NNCORE_OPENMP"
    int omp_get_max_threads() noexcept nogil

cdef Py_ssize_t ROWS_A_THREAD = 8
cdef double FLOPS_A_THREAD = 1e6
cdef int most_threads = 0        # 0: not looked at yet
cdef int openmp_at_first = 1     # what OpenMP allowed then
cdef bint started = False        # whether this process has ever run on several threads
cdef bint forked = False         # whether a parent of it had


def set_num_threads(n):
    """At most `n` threads from now on, in this process; a whole number of 1 or more. Results do not depend on it, to the last bit.

    >>> import nncore
    >>> nncore.set_num_threads(1)
    >>> nncore.get_num_threads()
    1
    """
    global most_threads, openmp_at_first
    most_threads = min(_checks.count("n", n, 1), 1 << 16)
    openmp_at_first = omp_get_max_threads()


def get_num_threads():
    """The most threads that work is shared among: as set, else NNCORE_THREADS, OMP_NUM_THREADS, or the cores this process may use.

    Small networks and batches are not shared: each thread must have enough to do. Without OpenMP, and in a process forked from one
    that had used threads, it is 1.

    >>> import nncore
    >>> nncore.get_num_threads() >= 1
    True
    """
    if most_threads == 0:
        set_num_threads(_threads.wanted() or _threads.usable_cores())
    if forked or not OPENMP:
        return 1
    # a limit below what OpenMP allowed at first was set by someone since, for example by threadpoolctl
    return min(most_threads, omp_get_max_threads()) if omp_get_max_threads() < openmp_at_first else most_threads


cdef int threads_for(Py_ssize_t rows, double flops) except -1:
    """Threads for work of so many rows and floating-point operations."""
    global started
    cdef Py_ssize_t n = min(rows // ROWS_A_THREAD, <Py_ssize_t>(flops / FLOPS_A_THREAD))
    if n < 2:
        return 1
    n = min(n, <Py_ssize_t>get_num_threads())
    if n > 1:
        started = True
    return <int>n


cdef bint steps_share(Py_ssize_t batch, Py_ssize_t inputs, Py_ssize_t weights) noexcept nogil:
    """Whether a mini-batch step gains by threads. The arithmetic saved grows as weights x batch, what moves between the cores' caches as
    weights + batch x inputs, whatever the number of threads; the factors are measured (two cores of a Xeon, Sapphire Rapids, float32 and
    float64): below them a second thread cost up to a quarter of the speed."""
    return 40.0 / batch + 80.0 * inputs / max(weights, 1) < 1


def _after_fork():
    global forked
    forked = started


def _read_environment():
    try:
        _threads.wanted()
    except ValueError as error:
        raise ImportError(str(error)) from None


_read_environment()
os.register_at_fork(after_in_child=_after_fork)
