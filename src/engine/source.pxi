# Samples of the user's arrays as rows of the network's type: in place if the layout allows, else
# converted. Called by steppers.pxi, predict.pxi, sparse.pxi, lookahead.pxi and fused.pxi.

cdef extern from *:
    """
    static void nncore_prefetch(const char *address, Py_ssize_t bytes) {
        for (Py_ssize_t i = 0; i < bytes && i < 1024; i += 64)
            __builtin_prefetch(address + i, 0, 3);
    }
    """
    void prefetch "nncore_prefetch"(const char *, Py_ssize_t) nogil


cdef inline void prefetch_sample(const Source *source, Py_ssize_t index) noexcept nogil:
    """Prefetch the first KiB of a contiguous sample; the hardware prefetcher follows."""
    if source.direct:
        prefetch(source.data + index * source.sample_bytes, source.features * source.feature_bytes)


cdef inline void set_one(const Network *net, char *to, Py_ssize_t i) noexcept nogil:
    """to[i] = 1, in the network's type."""
    if net.type_number == cnp.NPY_DOUBLE:
        (<double *>to)[i] = 1
    else:
        (<float *>to)[i] = 1


cdef inline const char *read_sample(const Network *net, const Source *source, Py_ssize_t index,
                                    char *scratch) noexcept nogil:
    """A sample as a contiguous row of the network's type: in place, or converted into `scratch`."""
    cdef const char *sample = source.data + index * source.sample_bytes
    if source.direct:
        return sample
    if source.type == CLASS_NUMBERS:
        memset(scratch, 0, source.features * net.itemsize)
        set_one(net, scratch, (<const int32_t *>sample)[0])
        return scratch
    nn_convert(scratch, 0, net.type_number == cnp.NPY_DOUBLE, 1, source.features, sample, 0,
               source.feature_bytes, source.type)
    return scratch


cdef bint gather(const Network *net, const Source *source, const int64_t *indices,
                 Py_ssize_t count, char *rows, Py_ssize_t stride,
                 bint checks=False) noexcept nogil:
    """Copy samples into rows of the network's type. With `checks`, returns False if one is
    non-finite."""
    cdef Py_ssize_t i, row_bytes = stride * net.itemsize
    cdef const char *sample
    cdef char *row
    cdef bint finite = True
    if source.type == CLASS_NUMBERS:
        memset(rows, 0, count * row_bytes)
        for i in range(count):
            set_one(net, rows + i * row_bytes, (<const int32_t *>source.data)[indices[i]])
        return True
    for i in range(count):
        if i + 1 < count:
            prefetch_sample(source, indices[i + 1])
        row = rows + i * row_bytes
        sample = read_sample(net, source, indices[i], row)
        if checks:
            finite = net.k.copy_finite(source.features, sample, row) and finite
        elif sample != row:
            memcpy(row, sample, source.features * net.itemsize)
    return finite


cdef inline void adjust_labels(const Engine *e, char *y, Py_ssize_t count, Py_ssize_t sample_stride,
                               Py_ssize_t class_stride) noexcept nogil:
    """Smooth and weight the labels of `count` samples, in place, as the loss wants them."""
    if e.labels.adjusted:
        e.net.k.adjust_labels(count, e.net.outputs, y, sample_stride, class_stride,
                              e.labels.smoothing, e.labels.weights)


cdef bint all_samples_finite(Engine *e, const Source *source, const int64_t *indices,
                             Py_ssize_t count, char *rows, Py_ssize_t stride) noexcept nogil:
    """True if every sample of a call is finite in the network's type. rows: scratch for the
    workspace's capacity."""
    cdef Py_ssize_t first = 0, n
    cdef bint finite = True
    while first < count:
        n = min(e.ws.capacity, count - first)
        finite = gather(&e.net, source, indices + first, n, rows, stride, True) and finite
        first += n
    return finite


cdef double input_density(Engine *e, const Source *x, const int64_t *indices,
                          Py_ssize_t count) noexcept nogil:
    """The share of non-zero inputs, estimated from up to CSR_PROBES of the `count` samples at
    `indices`, or of all samples in order if that is NULL."""
    cdef Py_ssize_t probes = min(count, <Py_ssize_t>CSR_PROBES), i, index, n_nonzero = 0
    cdef const char *sample
    for i in range(probes):
        index = i * count // probes
        if indices != NULL:
            index = indices[index]
        sample = read_sample(&e.net, x, index, e.ws.x_rows)
        n_nonzero += e.net.k.count_nonzeros(e.net.inputs, sample)
    return n_nonzero / fmax(1, <double>probes * e.net.inputs)
