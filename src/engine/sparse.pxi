# Inputs that are mostly zeros, like images. In batches the first layer takes its samples as CSR
# rows, so that its products cost as much as there are non-zeros; at batch size 1 it visits only W's
# rows of the sample's non-zero inputs. Both need finite weights, as 0 times a non-finite weight
# would be NaN. Called by layers.pxi, lookahead.pxi, steppers.pxi, optimizer.pxi, guard.pxi and
# predict.pxi. Deleting it with these calls leaves dense inputs, with the same results to rounding.

# ------------------------------------------------------------------------------------- batch size 1

cdef void layout_nonzeros(Engine *e, Arena *arena) noexcept:
    """Allocate the index of a sample's non-zeros."""
    e.sparse.nonzero_index = <int32_t *>arena_alloc(arena, (e.net.inputs + 16) * sizeof(int32_t))


cdef void index_nonzeros(Engine *e, const char *x) noexcept nogil:
    """Index the non-zeros of a sample; n_nonzero is 0 for a dense one."""
    cdef Sparse *s = &e.sparse
    s.n_nonzero = e.net.inputs
    if s.skips_zeros:
        s.n_nonzero = e.net.k.nonzero_index(e.net.inputs, x, s.nonzero_index)
    if s.n_nonzero > e.net.inputs * NONZERO_DENSITY:
        s.n_nonzero = 0
    elif s.n_nonzero == 0:  # all inputs are zero: an index of one row, times zero
        s.nonzero_index[0] = 0
        s.n_nonzero = 1


# ------------------------------------------------------------------------------------------ batches

cdef void layout_csr(Engine *e, Arena *arena) noexcept:
    """Allocate the CSR rows of a batch and, for training, those of its transpose."""
    cdef Sparse *s = &e.sparse
    cdef Py_ssize_t batch = e.ws.capacity, entries = batch * s.row_entries
    if entries > 0 and e.net.trains:
        s.input_starts = <Py_ssize_t *>arena_alloc(arena, e.net.inputs * sizeof(Py_ssize_t))
        s.input_ends = <Py_ssize_t *>arena_alloc(arena, e.net.inputs * sizeof(Py_ssize_t))
        s.entry_rows = <int32_t *>arena_alloc(arena, entries * sizeof(int32_t))
        s.entry_values = <double *>arena_alloc(arena, entries * sizeof(double))
    s.capacity = batch if s.wanted and batch <= CSR_CAPACITY // max(e.net.inputs, 1) else 0
    if s.capacity == 0:
        return
    layout_csr_matrix(e, arena, &s.by_sample, batch, e.net.inputs)
    s.largest_input = <double *>arena_alloc(arena, batch * sizeof(double))
    if e.net.trains:
        layout_csr_matrix(e, arena, &s.by_input, e.net.inputs, batch)


cdef void layout_csr_matrix(Engine *e, Arena *arena, nn_csr *matrix, Py_ssize_t rows,
                            Py_ssize_t columns) noexcept:
    """Allocate a CSR matrix in which every entry may be non-zero."""
    cdef Py_ssize_t entry_bytes = 2 * e.net.itemsize, n_blocks = e.net.k.csr_blocks(columns)
    matrix.rows, matrix.columns, matrix.row_capacity = rows, columns, columns + e.net.k.lanes
    matrix.entries = arena_alloc(arena, rows * matrix.row_capacity * entry_bytes)
    matrix.block_ends = <int32_t *>arena_alloc(arena, rows * n_blocks * sizeof(int32_t))


cdef bint read_csr(Engine *e, const Source *x, const int64_t *indices, const Batch *batch,
                   bint checks) noexcept nogil:
    """Read the batch's samples as CSR rows. With `checks`, returns False if one is non-finite."""
    cdef Sparse *s = &e.sparse
    cdef Py_ssize_t i, row, row_bytes = e.net.x_stride * e.net.itemsize
    cdef const char *sample
    cdef bint finite = True
    for i in range(batch.size):
        if i + 1 < batch.size:
            prefetch_sample(x, indices[i + 1])
        row = batch.first + i
        sample = read_sample(&e.net, x, indices[i], e.ws.x_rows + row * row_bytes)
        e.net.k.csr_row(&s.by_sample, row, sample)
        if checks or e.plan.in_place:
            s.largest_input[row] = e.net.k.largest(e.net.inputs, sample)
            finite = finite and (not checks or isfinite(s.largest_input[row]))
    return finite


cdef double largest_csr_input(const Engine *e, const Batch *batch) noexcept nogil:
    """max |x| over the batch."""
    cdef Py_ssize_t i
    cdef double most = 0
    for i in range(batch.size):
        most = fmax(most, e.sparse.largest_input[batch.first + i])
    return most


cdef void csr_forward(Engine *e, const Layer *layer, const Batch *batch, char *z) noexcept nogil:
    """f(X W + W0) of the first layer, or without f if z must be kept."""
    cdef nn_spmm g
    g.a, g.n = e.sparse.by_sample, layer.params.width
    g.first, g.last = batch.first, batch.first + batch.size
    g.b, g.b_rs, g.packs_b = layer.params.w, layer.params.row_stride, True
    g.c, g.c_rs, g.updates = z, layer.row_stride, False
    g.activation, g.bias = fused_activation(layer), layer.params.w0
    e.net.k.spmm(&g)


cdef void transpose_csr(Engine *e, const Batch *batch, Py_ssize_t low,
                        Py_ssize_t high) noexcept nogil:
    """Transpose the batch into the rows of inputs low .. high - 1, for csr_gradient."""
    e.net.k.csr_transpose(&e.sparse.by_sample, batch.size, low, high, &e.sparse.by_input)


cdef void csr_gradient(Engine *e, const Layer *layer, const Batch *batch, Py_ssize_t low,
                       Py_ssize_t high, char *c, Py_ssize_t c_stride, bint updates,
                       double eta) noexcept nogil:
    """c <- dL/dW or, if `updates`, c <- c - eta dL/dW, rows low .. high - 1 of the first layer."""
    cdef nn_spmm g
    g.a, g.n = e.sparse.by_input, layer.params.width
    g.first, g.last, g.a.columns = low, high, batch.size
    g.b, g.b_rs, g.packs_b = layer.grad, layer.row_stride, False
    g.c, g.c_rs, g.updates, g.eta = c, c_stride, updates, eta
    g.activation, g.bias = no_activation(), NULL
    e.net.k.spmm(&g)


# ---------------------------------------------------------------------- a CSR matrix of the user's

cdef inline double listed_value(const Engine *e, const Source *x, int64_t j) noexcept nogil:
    """Entry j of a CSR Source."""
    if e.net.type_number == cnp.NPY_DOUBLE:
        return (<const double *>x.data)[j]
    return (<const float *>x.data)[j]


cdef double largest_listed_input(const Engine *e, const Batch *batch) noexcept nogil:
    """max |x| over the batch."""
    cdef const Source *x = &e.x
    cdef double most = 0
    cdef Py_ssize_t r
    cdef int64_t start
    for r in range(batch.size):
        start = x.row_starts[batch.listed[r]]
        most = fmax(most, e.net.k.largest(x.row_starts[batch.listed[r] + 1] - start,
                                          x.data + start * e.net.itemsize))
    return most


cdef char *spread_sample(Engine *e, const Source *x, Py_ssize_t index) noexcept nogil:
    """Write a sample into the row of zeros at x_rows, and list its inputs as index_nonzeros
    does."""
    cdef Sparse *s = &e.sparse
    cdef Py_ssize_t size = e.net.itemsize
    cdef int64_t j, start = x.row_starts[index], count = x.row_starts[index + 1] - start
    if size == sizeof(double):
        for j in range(start, start + count):
            (<double *>e.ws.x_rows)[x.columns[j]] = (<const double *>x.data)[j]
    else:
        for j in range(start, start + count):
            (<float *>e.ws.x_rows)[x.columns[j]] = (<const float *>x.data)[j]
    s.n_nonzero = 0 if count > e.net.inputs * NONZERO_DENSITY else max(count, 1)
    s.nonzero_index[0] = 0
    memcpy(s.nonzero_index, x.columns + start, count * sizeof(int32_t))
    return e.ws.x_rows


cdef void prefetch_rows(const Engine *e, const Source *x, Py_ssize_t index) noexcept nogil:
    """Ask for the beginnings of W's rows that a sample will need: no hardware foresees them (0.75
    of the time for 10000-32-2 with a hundredth of the inputs)."""
    cdef const Params *p = &e.net.layers[0].params
    cdef Py_ssize_t row = p.row_stride * e.net.itemsize
    cdef int64_t j
    for j in range(x.row_starts[index], x.row_starts[index + 1]):
        prefetch(p.w + x.columns[j] * row, min(row, 256))


cdef void clear_sample(Engine *e, const Source *x, Py_ssize_t index) noexcept nogil:
    """Clear the row of zeros again."""
    cdef int64_t j
    if e.net.itemsize == sizeof(double):
        for j in range(x.row_starts[index], x.row_starts[index + 1]):
            (<double *>e.ws.x_rows)[x.columns[j]] = 0
    else:
        for j in range(x.row_starts[index], x.row_starts[index + 1]):
            (<float *>e.ws.x_rows)[x.columns[j]] = 0


cdef void listed_forward(Engine *e, const Layer *layer, const Batch *batch,
                         char *z) noexcept nogil:
    """f(X W + W0) of the first layer, or without f if z must be kept."""
    cdef const Source *x = &e.x
    cdef Py_ssize_t r, size = e.net.itemsize, row = layer.row_stride * size
    cdef int64_t start, end
    cdef const Params *p = &layer.params
    cdef nn_activation f = fused_activation(layer)
    for r in range(batch.size):
        start, end = x.row_starts[batch.listed[r]], x.row_starts[batch.listed[r] + 1]
        e.net.k.gemv_listed(end - start, p.width, x.data + start * size, x.columns + start, p.w,
                            p.row_stride, p.w0, z + r * row, f)


cdef void transpose_listed(Engine *e, const Batch *batch, Py_ssize_t low,
                           Py_ssize_t high) noexcept nogil:
    """List the batch's entries by input, for inputs low .. high - 1, for listed_gradient."""
    cdef Sparse *s = &e.sparse
    cdef const Source *x = &e.x
    cdef Py_ssize_t r, k, count, at = 0
    cdef int64_t j
    for k in range(low, high):
        s.input_ends[k] = 0
    for r in range(batch.size):
        for j in range(x.row_starts[batch.listed[r]], x.row_starts[batch.listed[r] + 1]):
            k = x.columns[j]
            if k >= high:
                break
            if k < low:
                at += 1
            else:
                s.input_ends[k] += 1
    for k in range(low, high):
        count = s.input_ends[k]
        s.input_starts[k] = s.input_ends[k] = at
        at += count
    for r in range(batch.size):
        for j in range(x.row_starts[batch.listed[r]], x.row_starts[batch.listed[r] + 1]):
            k = x.columns[j]
            if k >= high:
                break
            if k >= low:
                at = s.input_ends[k]
                s.entry_rows[at], s.entry_values[at] = r, listed_value(e, x, j)
                s.input_ends[k] = at + 1


cdef void listed_gradient(Engine *e, const Layer *layer, Py_ssize_t low, Py_ssize_t high, char *c,
                          Py_ssize_t c_stride) noexcept nogil:
    """c <- dL/dW, rows low .. high - 1 of the first layer."""
    cdef Sparse *s = &e.sparse
    cdef Py_ssize_t k, i, n = layer.params.width, size = e.net.itemsize
    cdef const char *grad
    for k in range(low, high):
        if s.input_starts[k] == s.input_ends[k]:
            memset(c, 0, n * size)
        for i in range(s.input_starts[k], s.input_ends[k]):
            grad = layer.grad + s.entry_rows[i] * layer.row_stride * size
            if i == s.input_starts[k]:
                e.net.k.scaled(n, grad, s.entry_values[i], c)
            else:
                e.net.k.subtract_scaled(n, c, grad, -s.entry_values[i])
        c += c_stride * size


cdef void listed_update(Engine *e, const Layer *layer, const Batch *batch, Py_ssize_t low,
                        Py_ssize_t high, double eta) noexcept nogil:
    """W <- W - eta dL/dW, rows low .. high - 1 of the first layer."""
    cdef Sparse *s = &e.sparse
    cdef const Params *p = &layer.params
    cdef Py_ssize_t k, i, size = e.net.itemsize
    transpose_listed(e, batch, low, high)
    for k in range(low, high):
        for i in range(s.input_starts[k], s.input_ends[k]):
            e.net.k.subtract_scaled(p.width, p.w + k * p.row_stride * size,
                                    layer.grad + s.entry_rows[i] * layer.row_stride * size,
                                    eta * s.entry_values[i])
