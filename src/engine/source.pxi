# Samples of the user's arrays as rows of the network's type: in place where the layout allows, else
# converted.

cdef extern from *:
    """
    static void nncore_prefetch(const char *at, Py_ssize_t bytes) {
        for (Py_ssize_t i = 0; i < bytes && i < 1024; i += 64) __builtin_prefetch(at + i, 0, 3);
    }
    """
    void prefetch "nncore_prefetch"(const char *, Py_ssize_t) nogil


cdef inline void prefetch_sample(const Source *source, Py_ssize_t index) noexcept nogil:
    """Prefetch the first KiB of a contiguous sample; the hardware prefetcher follows."""
    if source.direct:
        prefetch(source.data + index * source.sample_bytes, source.features * source.feature_bytes)


cdef inline const char *read_sample(const Network *net, const Source *source, Py_ssize_t index,
                                    char *room) noexcept nogil:
    """A sample as a contiguous row of the network's type: its own memory, or a converted copy in
    `room`."""
    cdef const char *at = source.data + index * source.sample_bytes
    if source.direct:
        return at
    nn_convert(room, 0, net.type_number == cnp.NPY_DOUBLE, 1, source.features, at, 0,
               source.feature_bytes, source.type)
    return room


cdef bint gather(const Network *net, const Source *source, const int64_t *indices,
                 Py_ssize_t count, char *rows, Py_ssize_t stride,
                 bint checks=False) noexcept nogil:
    """Copy samples into rows of the network's type. With `checks`, False if one of them is not
    finite."""
    cdef Py_ssize_t i, row = stride * net.itemsize, bytes_ = source.features * net.itemsize
    cdef const char *at
    cdef bint finite = True
    for i in range(count):
        if i + 1 < count:
            prefetch_sample(source, indices[i + 1])
        at = read_sample(net, source, indices[i], rows + i * row)
        if checks:
            finite = net.k.copy_finite(source.features, at, rows + i * row) and finite
        elif at != rows + i * row:
            memcpy(rows + i * row, at, bytes_)
    return finite


cdef bint all_samples_finite(Engine *e, const Source *source, const int64_t *indices,
                             Py_ssize_t count, char *rows,
                             Py_ssize_t stride) noexcept nogil:
    """Whether every sample of a call is finite in the network's type; rows has room for the
    workspace's capacity."""
    cdef Py_ssize_t at = 0, here
    cdef bint finite = True
    while at < count:
        here = min(e.ws.capacity, count - at)
        finite = gather(&e.net, source, indices + at, here, rows, stride, True) and finite
        at += here
    return finite


cdef double input_density(Engine *e, const Source *x, const int64_t *indices,
                          Py_ssize_t count) noexcept nogil:
    """The share of non-zero inputs in up to CSR_PROBES of `count` samples, those of `indices` or
    all in order."""
    cdef Py_ssize_t probes = min(count, <Py_ssize_t>CSR_PROBES), i, at, n_nonzero = 0
    for i in range(probes):
        at = i * count // probes
        n_nonzero += e.net.k.count_nonzeros(e.net.inputs,
                                            read_sample(&e.net, x,
                                                        indices[at] if indices != NULL else at, e.ws.x_rows))
    return n_nonzero / fmax(1, <double>probes * e.net.inputs)
