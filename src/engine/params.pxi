# Transfer of weights and optimizer state between the user's arrays and the engine. The user's
# arrays are current whenever Python code can run: a chunk of training begins with load_* and ends
# with store_*. Neither allocates, so that a store is never left half done. Called by Program.

cdef struct View:
    # a matrix of the user's, of the network's type
    char *data
    Py_ssize_t row_bytes, column_bytes


cdef inline int real_type(const Network *net) noexcept nogil:
    return NN_F64 if net.type_number == cnp.NPY_DOUBLE else NN_F32


cdef void copy_in(const Network *net, char *to, Py_ssize_t stride, Py_ssize_t rows,
                  Py_ssize_t columns, View from_) noexcept nogil:
    nn_convert(to, stride, net.type_number == cnp.NPY_DOUBLE, rows, columns, from_.data,
               from_.row_bytes, from_.column_bytes, real_type(net))


cdef void copy_out(const Network *net, View to, Py_ssize_t rows, Py_ssize_t columns,
                   const char *from_, Py_ssize_t stride) noexcept nogil:
    nn_write_back(to.data, to.row_bytes, to.column_bytes, net.type_number == cnp.NPY_DOUBLE, rows,
                  columns, from_, stride)


cdef inline View transposed_view(View v) noexcept nogil:
    v.row_bytes, v.column_bytes = v.column_bytes, v.row_bytes
    return v


cdef void load_params(Engine *e, Py_ssize_t i, View w, View w0) noexcept nogil:
    """Read W (rows, outputs) and W0 (1, outputs) of layer i: use the user's memory if the plan says
    so and its rows are contiguous, else copy them into padded rows."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Params *p = &layer.params
    p.transposed = False
    if (e.plan.in_place and (w.column_bytes == net.itemsize or layer.outputs == 1)
            and (w0.column_bytes == net.itemsize or layer.outputs == 1)):
        p.w, p.w0 = w.data, w0.data
        p.row_stride, p.width = w.row_bytes // net.itemsize, layer.outputs
        return
    p.w, p.w0 = p.packed_w, p.packed_w0
    p.row_stride = p.width = layer.width
    p.transposed = i > 0 and layer.kind == LINEAR and (
        e.plan.transposes == TRANSPOSE_ALL
        or (e.plan.transposes == TRANSPOSE_NARROW
            and layer.outputs <= TRANSPOSED_VECTORS * net.k.lanes
            and layer.inputs >= 2 * net.k.lanes))
    # an earlier non-finite run may have left NaN in the padding
    if layer.width != layer.outputs:
        memset(p.w, 0, p.rows * layer.width * net.itemsize)
        memset(p.w0, 0, layer.width * net.itemsize)
    if p.transposed:
        p.row_stride = transposed_stride(e, i)
        memset(p.w, 0, layer.outputs * p.row_stride * net.itemsize)
        copy_in(net, p.w, p.row_stride, layer.outputs, p.rows, transposed_view(w))
    else:
        copy_in(net, p.w, p.row_stride, p.rows, layer.outputs, w)
    copy_in(net, p.w0, layer.width, 1, layer.outputs, w0)


cdef void store_params(Engine *e, Py_ssize_t i, View w, View w0) noexcept nogil:
    """Write layer i's weights back, after load_params has read them from the same views."""
    if e.net.layers[i].params.w == e.net.layers[i].params.packed_w:
        copy_params(e, i, w, w0)


cdef void copy_params(Engine *e, Py_ssize_t i, View w, View w0) noexcept nogil:
    """Write layer i's weights to other memory than that in use."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Params *p = &layer.params
    if p.transposed:
        copy_out(net, transposed_view(w), layer.outputs, p.rows, p.w, p.row_stride)
    else:
        copy_out(net, w, p.rows, layer.outputs, p.w, p.row_stride)
    copy_out(net, w0, 1, layer.outputs, p.w0, layer.width)


cdef void load_state(Engine *e, Py_ssize_t i, int j, View s, View s0) noexcept nogil:
    """Read array j of the optimizer's state for layer i, after load_params; both are
    C-contiguous."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Params *p = &layer.params
    if p.w != p.packed_w:
        p.state[j], p.state0[j] = s.data, s0.data
        return
    p.state[j], p.state0[j] = p.packed_state[j], p.packed_state0[j]
    memset(p.state0[j], 0, layer.width * net.itemsize)
    if p.transposed:
        memset(p.state[j], 0, layer.outputs * p.row_stride * net.itemsize)
        copy_in(net, p.state[j], p.row_stride, layer.outputs, p.rows, transposed_view(s))
    else:
        memset(p.state[j], 0, p.rows * layer.width * net.itemsize)
        copy_in(net, p.state[j], layer.width, p.rows, layer.outputs, s)
    copy_in(net, p.state0[j], layer.width, 1, layer.outputs, s0)


cdef void store_state(Engine *e, Py_ssize_t i, int j, View s, View s0) noexcept nogil:
    """Write array j of the optimizer's state for layer i back."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Params *p = &layer.params
    if p.w != p.packed_w:
        return
    if p.transposed:
        copy_out(net, transposed_view(s), layer.outputs, p.rows, p.state[j], p.row_stride)
    else:
        copy_out(net, s, p.rows, layer.outputs, p.state[j], layer.width)
    copy_out(net, s0, 1, layer.outputs, p.state0[j], layer.width)


cdef void load_statistics(Engine *e, Py_ssize_t i, View mean, View var) noexcept nogil:
    """Read a BatchNorm's running statistics, (1, outputs) each, which are never used in place."""
    cdef Layer *layer = &e.net.layers[i]
    copy_in(&e.net, layer.norm.running_mean, layer.width, 1, layer.outputs, mean)
    copy_in(&e.net, layer.norm.running_var, layer.width, 1, layer.outputs, var)


cdef void store_statistics(Engine *e, Py_ssize_t i, View mean, View var) noexcept nogil:
    cdef Layer *layer = &e.net.layers[i]
    copy_out(&e.net, mean, 1, layer.outputs, layer.norm.running_mean, layer.width)
    copy_out(&e.net, var, 1, layer.outputs, layer.norm.running_var, layer.width)


cdef void transfer(Engine *e, Py_ssize_t i, int j, bint loads, View w, View w0) noexcept:
    """Load or store layer i's weights (j = -1) or array j of their state, without the GIL unless
    they are small."""
    cdef Layer *layer = &e.net.layers[i]
    if layer.params.rows * layer.outputs < GIL_COPY:
        transfer_now(e, i, j, loads, w, w0)
        return
    with nogil:
        transfer_now(e, i, j, loads, w, w0)


cdef void transfer_now(Engine *e, Py_ssize_t i, int j, bint loads, View w, View w0) noexcept nogil:
    if j < 0:
        if loads:
            load_params(e, i, w, w0)
        else:
            store_params(e, i, w, w0)
    elif loads:
        load_state(e, i, j, w, w0)
    else:
        store_state(e, i, j, w, w0)
