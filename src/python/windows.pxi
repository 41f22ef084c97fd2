# Data larger than memory: class numbers in place of one-hot columns, and copies of the samples of a
# part of a call where a copy of all would be too large. Used by sources.pxi and Program.fit.

cdef class Classes:
    """Class numbers (N,) as Y: one-hot columns (n, N), which are made as they are read.

    numbers: integers from 0 to n - 1, which are copied; dtype: of the columns.
    """

    cdef readonly cnp.ndarray numbers  # int32, contiguous
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef int type_number

    def __init__(self, numbers, Py_ssize_t n, dtype):
        self.numbers = np.array(numbers, dtype=np.int32)
        self.type_number = cnp.NPY_FLOAT if np.dtype(dtype) == np.float32 else cnp.NPY_DOUBLE
        self.shape, self.dtype = (n, len(self.numbers)), np.dtype(dtype_of(self.type_number))
        cdef const int32_t *classes = <const int32_t *>cnp.PyArray_DATA(self.numbers)
        cdef Py_ssize_t i
        cdef bint fits = cnp.PyArray_NDIM(self.numbers) == 1
        for i in range(cnp.PyArray_SIZE(self.numbers)):  # an index beyond n would write anywhere
            fits = fits and 0 <= classes[i] < n
        if not fits:
            raise ValueError(f"numbers must be classes from 0 to {n - 1}")

    @property
    def ndim(self):
        return 2

    @property
    def size(self):
        return self.shape[0] * self.shape[1]

    def __getitem__(self, key):
        """Y[:, samples], as an array."""
        rows, samples = key
        if not (isinstance(rows, slice) and rows == slice(None)):
            raise TypeError("Classes must be indexed by all classes and some samples, as Y[:, j]")
        cdef cnp.ndarray numbers = np.ascontiguousarray(self.numbers[samples]), columns
        cdef const int32_t *classes = <const int32_t *>cnp.PyArray_DATA(numbers)
        cdef cnp.npy_intp[2] shape
        cdef char *to
        cdef Py_ssize_t i
        cdef bint single = self.type_number == cnp.NPY_FLOAT
        shape[0], shape[1] = self.shape[0], cnp.PyArray_SIZE(numbers)
        columns = <cnp.ndarray>cnp.PyArray_ZEROS(2, shape, self.type_number, True)
        to = <char *>cnp.PyArray_DATA(columns)
        for i in range(shape[1]):
            if single:
                (<float *>to)[i * shape[0] + classes[i]] = 1
            else:
                (<double *>to)[i * shape[0] + classes[i]] = 1
        return columns

    cdef Source source(self) noexcept:
        cdef Source source
        memset(&source, 0, sizeof(source))
        source.data = <char *>cnp.PyArray_DATA(self.numbers)
        source.features, source.sample_bytes = self.shape[0], sizeof(int32_t)
        source.type = CLASS_NUMBERS
        return source


cdef Py_ssize_t copy_bytes = COPY_BYTES, window_bytes = WINDOW_BYTES


def set_copies(most=None, window=None):
    """Copy up to `most` bytes of data whole, and more by windows of so many bytes; for tests."""
    global copy_bytes, window_bytes
    copy_bytes = COPY_BYTES if most is None else most
    window_bytes = WINDOW_BYTES if window is None else window


cdef Py_ssize_t copied_bytes(object X, Py_ssize_t samples_read, int type_number) except -1:
    """Bytes of the copy that Samples.source would make of X."""
    cdef cnp.ndarray x
    if type(X) is Rows or type(X) is Classes:
        return 0
    x = <cnp.ndarray>np.asarray(X)
    if is_addressable(x, cnp.PyArray_TYPE(x)) and native_type(x) >= 0:
        if is_unit_stride(x, 0) or samples_read * TRANSPOSE_SHARE < cnp.PyArray_DIM(x, 1):
            return 0
    return cnp.PyArray_SIZE(x) * (4 if type_number == cnp.NPY_FLOAT else 8)


cdef Window window_for(object X, object Y, Py_ssize_t samples_read, Py_ssize_t batch_size,
                       int type_number, object weights=None):
    """A Window if the copies of X and Y would be too large, else None."""
    cdef Py_ssize_t bytes_ = (copied_bytes(X, samples_read, type_number)
                              + copied_bytes(Y, samples_read, type_number))
    if bytes_ == 0 or bytes_ + INDEX_BYTES * <Py_ssize_t>X.shape[1] <= copy_bytes:
        return None
    if type(X) is Rows:
        return None
    return Window(X, Y, samples_read, batch_size, type_number, weights)


cdef class Window:
    # A part of the samples of a call of fit, copied in the order of the call, as samples of the
    # network's type; class numbers stay such. It holds whole batches, or blocks of FUSED_BLOCK
    # single samples, so that chunks begin where the bits of a result allow it.

    cdef object X, Y, weights
    cdef cnp.ndarray x, y          # the copies (D, capacity), (n, capacity)
    cdef cnp.ndarray weight        # the copy of the samples' weights, or None
    cdef cnp.ndarray numbers       # the copy of class numbers, or None
    cdef cnp.ndarray slots         # 0, 1, 2, ...
    cdef int type_number
    cdef Py_ssize_t first, count, capacity  # of the part, in the order of the call

    def __cinit__(self, X, Y, Py_ssize_t samples_read, Py_ssize_t batch_size, int type_number,
                  weights):
        cdef Py_ssize_t whole = batch_size if batch_size > 1 else FUSED_BLOCK
        cdef Py_ssize_t itemsize = 4 if type_number == cnp.NPY_FLOAT else 8
        cdef Py_ssize_t sample_bytes = X.shape[0] * itemsize + sizeof(int32_t)
        self.X, self.Y, self.weights, self.type_number = X, Y, weights, type_number
        if type(Y) is not Classes:
            sample_bytes += Y.shape[0] * itemsize
        self.capacity = max(<Py_ssize_t>1, window_bytes // sample_bytes // whole) * whole
        self.capacity = min(self.capacity, samples_read)
        self.x = new_matrix(X.shape[0], self.capacity, type_number, True)
        if type(Y) is Classes:
            self.numbers = np.empty(self.capacity, np.int32)
        else:
            self.y = new_matrix(Y.shape[0], self.capacity, type_number, True)
        self.slots = np.arange(self.capacity, dtype=np.int64)
        if weights is not None:
            self.weight = np.empty(self.capacity)

    cdef int probe(self, Engine *e, cnp.ndarray order, Py_ssize_t n_samples,
                   bint of_all) except -1:
        """Copy the samples by which the plan estimates the density of X: spread over `order`, or
        over all samples."""
        cdef Py_ssize_t n = self.X.shape[1] if of_all or order is None else n_samples, probes
        probes = min(min(n, <Py_ssize_t>CSR_PROBES), self.capacity)
        picked = np.arange(probes, dtype=np.int64) * n // probes
        if not of_all and order is not None:
            picked = order[picked]
        self.copy(picked)
        self.count = 0             # not a part of the call
        self.show(e)
        return probes

    cdef Py_ssize_t open(self, Engine *e, cnp.ndarray order, Py_ssize_t first,
                         Py_ssize_t end) except -1:
        """Copy the part of order[:end] that begins at `first`, unless it is here. Returns the
        number of samples from `first` on that are."""
        if not (self.first <= first < self.first + self.count):
            self.first, self.count = first, 0
            self.copy(order[first:min(first + self.capacity, end)])
            self.count = min(self.capacity, end - first)
        self.show(e)
        return self.first + self.count - first

    cdef void show(self, Engine *e) noexcept:
        """Let the engine read the copies."""
        e.x = source_of(self.x, self.type_number)
        if self.weight is not None:
            e.objective.weights = <const double *>cnp.PyArray_DATA(self.weight)
        if self.numbers is not None:
            e.y = (<Classes>self.Y).source()
            e.y.data = <char *>cnp.PyArray_DATA(self.numbers)
        else:
            e.y = source_of(self.y, self.type_number)

    cdef int copy(self, cnp.ndarray samples) except -1:
        """Copy these samples to the first slots."""
        cdef cnp.ndarray by_position = <cnp.ndarray>np.argsort(samples, kind="stable")
        copy_samples(self.X, samples, by_position, self.x, self.type_number)
        if self.numbers is not None:
            np.take((<Classes>self.Y).numbers, samples, out=self.numbers[:len(samples)],
                    mode="clip")   # "raise", the default, would copy `out`
        else:
            copy_samples(self.Y, samples, by_position, self.y, self.type_number)
        if self.weight is not None:
            np.take(self.weights, samples, out=self.weight[:len(samples)], mode="clip")
        PyErr_CheckSignals()
        return 0


cdef int copy_samples(object X, cnp.ndarray samples, cnp.ndarray by_position, cnp.ndarray to,
                      int type_number) except -1:
    """Copy samples of X to the first columns of a Fortran-ordered array. by_position sorts them."""
    cdef cnp.ndarray x = <cnp.ndarray>np.asarray(X)
    cdef Py_ssize_t count = cnp.PyArray_SIZE(samples), at, part
    cdef Source source
    if is_addressable(x, cnp.PyArray_TYPE(x)) and native_type(x) >= 0:
        source = source_of(x, type_number)
        with nogil:
            copy_native(&source, <const int64_t *>cnp.PyArray_DATA(samples), count,
                        <const int64_t *>cnp.PyArray_DATA(by_position),
                        <char *>cnp.PyArray_DATA(to), type_number == cnp.NPY_DOUBLE)
        return 0
    # other types and byte orders: by NumPy, in parts, for the sake of its temporary arrays
    part = max(<Py_ssize_t>1, (1 << 18) // max(<Py_ssize_t>1, cnp.PyArray_DIM(x, 0)))
    rows, sources = (<object>to).T, (<object>x).T
    with np.errstate(all="ignore"):
        for at in range(0, count, part):
            slots = by_position[at:at + part]
            rows[slots] = sources[samples[slots]]
    return 0


cdef void copy_native(const Source *x, const int64_t *samples, Py_ssize_t count,
                      const int64_t *by_position, char *to, bint is_double) noexcept nogil:
    """copy_samples of an array of a native type."""
    cdef Py_ssize_t itemsize = 8 if is_double else 4, row_bytes = x.features * itemsize
    cdef Py_ssize_t block = COPY_FEATURES, k = 0, i
    cdef int64_t slot
    cdef bint consecutive = True
    for i in range(1, count):
        consecutive = consecutive and samples[i] == samples[i - 1] + 1
    if consecutive and count:
        nn_convert(to, x.features, is_double, count, x.features,
                   x.data + samples[0] * x.sample_bytes, x.sample_bytes, x.feature_bytes, x.type)
        return
    if x.direct or x.feature_bytes < x.sample_bytes:
        block = max(<Py_ssize_t>1, x.features)
    while k < x.features:
        for i in range(count):
            slot = by_position[i]
            nn_convert(to + slot * row_bytes + k * itemsize, 0, is_double, 1,
                       min(block, x.features - k),
                       x.data + samples[slot] * x.sample_bytes + k * x.feature_bytes, 0,
                       x.feature_bytes, x.type)
        k += block
