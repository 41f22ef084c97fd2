# Steps per chunk: Python code such as signal handlers must run again after about CHUNK_SECONDS.
# Called by Program.

cdef extern from "engine/pool.h":
    double now "nn_seconds"() nogil


cdef Py_ssize_t first_chunk(const Engine *e) noexcept:
    """Steps of the first chunk, before any has been timed."""
    cdef Py_ssize_t multiple = e.plan.chunk_multiple
    cdef double flops = 6.0 * e.call.batch_size * multiple * max(e.net.n_weights, 1)
    return max(1, <Py_ssize_t>(FIRST_CHUNK_FLOPS * e.net.k.lanes / flops)) * multiple


cdef Py_ssize_t next_chunk(Py_ssize_t steps, double seconds) noexcept:
    """Steps that should take about CHUNK_SECONDS, at most sixteen times as many as before."""
    cdef double wanted = 16.0 * steps
    if seconds > 0 and steps * CHUNK_SECONDS / seconds < wanted:
        wanted = steps * CHUNK_SECONDS / seconds
    return max(1, min(<Py_ssize_t>wanted, 1 << 20))
