# The layers of a network and the layout of their weights, activations and gradients. Called by
# Program and plan.pxi.

cdef Py_ssize_t padded_stride(const Network *net, Py_ssize_t n) noexcept nogil:
    """The row stride for n elements: an odd number of cache lines, so that rows do not compete for
    a few cache sets."""
    cdef Py_ssize_t line = 64 // net.itemsize
    return n if n <= line or n % (2 * line) else n + line


cdef void add_layer(Engine *e, int kind, nn_activation activation, Py_ssize_t inputs,
                    Py_ssize_t outputs) noexcept:
    """Append a layer; net.layers has capacity for it."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[net.n_layers]
    cdef Py_ssize_t lanes = e.fused.lanes if e.fused.lanes else net.k.lanes
    net.n_layers += 1
    layer.kind, layer.activation, layer.inputs, layer.outputs = kind, activation, inputs, outputs
    layer.width = (outputs + lanes - 1) // lanes * lanes
    layer.row_stride = padded_stride(net, layer.width)
    if kind == LINEAR:
        layer.params.rows = inputs
        net.n_weights += inputs * outputs
    elif kind == BATCHNORM:
        layer.params.rows = 1
        net.has_norm = True
    net.has_special = net.has_special or kind >= N_PLAIN_KINDS
    net.widest = max(net.widest, layer.width)
    net.outputs = outputs


cdef inline Py_ssize_t transposed_stride(const Engine *e, Py_ssize_t i) noexcept nogil:
    """The inputs of layer i rounded up to whole vectors: the row stride of a transposed W."""
    if e.plan.transposes == TRANSPOSE_ALL:
        return e.net.layers[i - 1].width
    return (e.net.layers[i].params.rows + e.net.k.lanes - 1) // e.net.k.lanes * e.net.k.lanes


cdef inline Py_ssize_t packed_size(const Network *net, const Layer *layer) noexcept nogil:
    """Elements that hold a layer's W, or its transpose, in padded rows."""
    cdef Py_ssize_t inputs = (layer.params.rows + net.k.lanes - 1) // net.k.lanes * net.k.lanes
    return max(layer.params.rows * layer.width, layer.outputs * inputs)


cdef void layout_weights(Engine *e, Arena *arena) noexcept:
    """Allocate the packed weights and a BatchNorm's statistics."""
    cdef Network *net = &e.net
    cdef Layer *layer
    cdef Py_ssize_t i, size = net.itemsize, n
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if layer.params.rows:
            layer.params.packed_w = arena_alloc(arena, packed_size(net, layer) * size)
            layer.params.packed_w0 = arena_alloc(arena, layer.width * size)
        if layer.kind == BATCHNORM:
            n = layer.width * size
            layer.norm.mean = arena_alloc(arena, n)
            layer.norm.var = arena_alloc(arena, n)
            layer.norm.running_mean = arena_alloc(arena, n)
            layer.norm.running_var = arena_alloc(arena, n)
            layer.norm.g_grad = arena_alloc(arena, n)
            layer.norm.b_grad = arena_alloc(arena, n)


cdef inline bint wants_panels(const Network *net, const Layer *layer) noexcept nogil:
    """Whether a frozen network packs the layer's weights: they will not stay in the cache."""
    return layer.kind == LINEAR and layer.inputs * layer.width * net.itemsize >= PANELS_BYTES


cdef void layout_panels(Engine *e, Arena *arena) noexcept:
    """Allocate the packed panels of the weights that want them."""
    cdef Network *net = &e.net
    cdef Layer *layer
    cdef Py_ssize_t i
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if wants_panels(net, layer):
            layer.params.panels = arena_alloc(
                arena, net.k.gemm_packed_size(layer.width, layer.inputs))


cdef void pack_panels(Engine *e) noexcept nogil:
    """Pack the weights for which layout_panels has found memory."""
    cdef Network *net = &e.net
    cdef Params *p
    cdef Py_ssize_t i
    for i in range(net.n_layers):
        p = &net.layers[i].params
        if p.panels != NULL:
            net.k.gemm_pack(p.width, net.layers[i].inputs, p.w, p.row_stride, 1, p.panels)


cdef void layout_batch(Engine *e, Arena *arena) noexcept:
    """Allocate everything whose size depends on the number of samples or threads."""
    cdef Network *net = &e.net
    cdef Workspace *ws = &e.ws
    cdef Py_ssize_t i, batch = ws.capacity, size = net.itemsize, gemm = gemm_bytes(e, batch)
    cdef Layer *layer
    cdef char *gemm_memory
    for i in range(net.n_layers):
        layer = &net.layers[i]
        layer.a = layer.z = arena_alloc(arena, batch * layer.row_stride * size)
        if net.trains:
            if nn_uses_input(layer.activation):
                layer.z = arena_alloc(arena, batch * layer.row_stride * size)
            layer.grad = arena_alloc(arena, batch * layer.row_stride * size)
        if layer.kind == BATCHNORM:
            layer.norm.norm = arena_alloc(arena, batch * layer.row_stride * size)
    ws.x_rows = arena_alloc(arena, batch * net.x_stride * size)
    ws.y_rows = arena_alloc(arena, batch * net.outputs * size)
    if net.trains:
        layout_nonzeros(e, arena)
        layout_lookahead(e, arena)
    layout_csr(e, arena)
    layout_columns(e, arena)
    ws.bias_grad = arena_alloc(arena, ws.n_threads * net.widest * size)
    if e.opt.active:
        layout_gradient_blocks(e, arena)
    ws.gemm_bytes = (gemm + 63) // 64 * 64 + NN_REDZONE
    for i in range(ws.n_threads):
        gemm_memory = arena_alloc(arena, gemm)
        ws.gemm = gemm_memory if i == 0 else ws.gemm
    ws.terms.label_gap = arena_alloc(arena, batch * size)
    ws.terms.label_sum = arena_alloc(arena, batch * size)
    ws.terms.exp_rest = arena_alloc(arena, batch * size)
    ws.terms.losses = <double *>arena_alloc(arena, batch * sizeof(double))


cdef Py_ssize_t gemm_bytes(const Engine *e, Py_ssize_t batch) noexcept nogil:
    """Bytes of packing memory that suffice for every product of a batch; single samples need none,
    except of a sparse matrix, which may go as a batch (see updates_in_one_pass)."""
    cdef const Network *net = &e.net
    cdef const Layer *layer
    cdef Py_ssize_t i, most = 0
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if layer.kind == LINEAR and (batch > 1 or e.opt.active or e.sparse.row_entries > 0):
            most = max(most, max(net.k.gemm_workspace(layer.width, layer.inputs),
                                 net.k.gemm_workspace(layer.width, batch)))
            if i > 0:
                most = max(most, net.k.gemm_workspace(net.layers[i - 1].width, layer.outputs))
    return most


cdef int reserve(Engine *e, Py_ssize_t batch, int n_threads) except -1:
    """Allocate memory for batches of this size and this number of threads."""
    if batch <= e.ws.capacity and n_threads <= e.ws.n_threads:
        e.ws.n_threads = n_threads
        return 0
    e.ws.n_threads = n_threads
    e.ws.capacity = batch
    try:
        arena_fill(e, layout_batch, &e.ws.batch_buffer)
    except MemoryError:
        e.ws.capacity = 0
        raise
    return 0
