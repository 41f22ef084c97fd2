# Small networks: every layer fits FUSED_VECTORS vectors, and one kernel call runs many steps
# (fused_sgd.h) or half of a mini-batch step (fused_minibatch.h) on both W and its transpose.
#
# Called by steppers.pxi and by Program, which chooses the vector width before it adds the layers.
# Deleting this file with its rows of STEPPERS leaves the general path, with the same results to
# rounding.

cdef Py_ssize_t choose_fused(Engine *e, Py_ssize_t widest, Py_ssize_t first_weights) noexcept nogil:
    """Choose the narrowest vector that holds the widest layer and return its lanes, or 0 if the
    network is too large."""
    cdef const nn_kernels *k = e.net.k
    cdef Py_ssize_t lanes = 16 // e.net.itemsize
    e.fused.lanes = e.fused.width_index = 0
    if widest > FUSED_VECTORS * k.lanes or first_weights * e.net.itemsize > FUSED_BYTES:
        return 0
    while lanes < widest and lanes < k.lanes:
        e.fused.width_index += 1
        lanes *= 2
    e.fused.lanes = lanes
    return lanes


cdef int make_fused(Engine *e) except -1:
    """Allocate the memory of the fused kernels, after all layers have been added."""
    cdef Py_ssize_t i, bytes_ = e.net.n_layers * sizeof(nn_fused_layer)
    e.fused.layers = <nn_fused_layer *>calloc(e.net.n_layers, sizeof(nn_fused_layer))
    if e.fused.layers == NULL:
        raise MemoryError(f"to run this network takes {bytes_} bytes, which are not available")
    arena_fill(e, layout_fused, &e.fused.buffer)
    for i in range(FUSED_BLOCK):
        e.fused.ordinals[i] = i
    return 0


cdef void layout_fused(Engine *e, Arena *arena) noexcept:
    """Allocate activations, gradients and the transpose of W of every layer, and the samples."""
    cdef Network *net = &e.net
    cdef Fused *f = &e.fused
    cdef Layer *layer
    cdef nn_fused_layer *fused
    cdef Py_ssize_t i, size = net.itemsize
    for i in range(net.n_layers):
        layer, fused = &net.layers[i], &f.layers[i]
        fused.m, fused.n, fused.vectors = layer.inputs, layer.outputs, layer.width // f.lanes
        fused.activation = layer.activation
        fused.w, fused.b = layer.params.packed_w, layer.params.packed_w0
        fused.a = fused.z = arena_alloc(arena, layer.width * size)
        if nn_uses_input(layer.activation):
            fused.z = arena_alloc(arena, layer.width * size)
        fused.dz = arena_alloc(arena, layer.width * size)
        fused.step = arena_alloc(arena, layer.width * size)
        if i > 0:
            fused.wt = arena_alloc(arena, layer.outputs * net.layers[i - 1].width * size)
    f.x = arena_alloc(arena, FUSED_BLOCK * net.inputs * size)
    f.y = arena_alloc(arena, FUSED_BLOCK * net.outputs * size)
    f.nonzero_index = <int32_t *>arena_alloc(arena, 2 * (net.inputs + 16) * sizeof(int32_t))
    f.ordinals = <int64_t *>arena_alloc(arena, FUSED_BLOCK * sizeof(int64_t))


cdef void transpose_fused_weights(Engine *e) noexcept nogil:
    """Set the transposes from the packed weights."""
    cdef Py_ssize_t i
    cdef Layer *layer
    for i in range(1, e.net.n_layers):
        layer = &e.net.layers[i]
        e.net.k.transpose(layer.inputs, layer.outputs, layer.params.packed_w, layer.width,
                          e.fused.layers[i].wt, e.net.layers[i - 1].width)


cdef Py_ssize_t run_fused_sgd(Engine *e, Run *run) noexcept nogil:
    """Steps at batch size 1. Returns 0, or 1 if a logit of some step was non-finite; the packed
    weights are then invalid."""
    cdef Fused *f = &e.fused
    cdef nn_fused_sgd call
    cdef Py_ssize_t t = 0
    transpose_fused_weights(e)
    call.plain = e.net.plain_nll
    call.n_layers, call.layers = e.net.n_layers, f.layers
    call.nonzero_index = f.nonzero_index if e.sparse.skips_zeros else NULL
    while t < run.n_samples:
        call.steps = min(run.n_samples - t, <Py_ssize_t>FUSED_BLOCK)
        call.rates, call.sample_index = run.rates + t, run.indices + t
        if run.x.direct and run.y.direct:
            call.x, call.x_stride = run.x.data, run.x.sample_bytes // e.net.itemsize
            call.y, call.y_stride = run.y.data, run.y.sample_bytes // e.net.itemsize
        else:
            gather(&e.net, run.x, run.indices + t, call.steps, f.x, e.net.inputs)
            gather(&e.net, run.y, run.indices + t, call.steps, f.y, e.net.outputs)
            call.x, call.x_stride = f.x, e.net.inputs
            call.y, call.y_stride = f.y, e.net.outputs
            call.sample_index = f.ordinals
        if not e.net.k.fused_sgd[f.width_index](&call):
            run.status = BAD_LOSS
            return 1
        t += call.steps
    return 0


cdef void open_fused_minibatch(Engine *e) noexcept nogil:
    """Point the fused layers at the batch's activations and gradients."""
    cdef Py_ssize_t i
    cdef Layer *layer
    cdef nn_fused_layer *fused
    for i in range(e.net.n_layers):
        layer, fused = &e.net.layers[i], &e.fused.layers[i]
        fused.rows_z, fused.rows_a, fused.rows_dz = layer.z, layer.a, layer.grad
        fused.row_stride = layer.row_stride
    transpose_fused_weights(e)


cdef int fused_gradients(Engine *e, const Step *step, nn_fused_batch *call) noexcept nogil:
    """The first half of a mini-batch step: forward pass, losses and dL/dZ of the last layer. The
    kernel of the second half, fused_update, also computes dL/dZ of the other layers.

    Returns the Status. Samples read in place are not checked: any product with NaN or infinity is
    neither finite nor 0, so it shows in the loss or in the weights.
    """
    cdef Network *net = &e.net
    cdef Batch batch = step.batch
    cdef const Source *x = step.run.x
    cdef const Source *y = step.run.y
    cdef bint checks = step.run.checks_data, finite = True
    call.n_layers, call.layers = net.n_layers, e.fused.layers
    call.batch, call.eta = batch.size, step.eta
    if x.direct:
        call.x, call.x_stride = x.data, x.sample_bytes // net.itemsize
        call.sample_index = step.indices
    else:
        finite = gather(net, x, step.indices, batch.size, e.ws.x_rows, net.x_stride, checks)
        call.x, call.x_stride, call.sample_index = e.ws.x_rows, net.x_stride, NULL
    if not (gather(net, y, step.indices, batch.size, e.ws.y_rows, net.outputs,
                   checks and not y.direct) and finite):
        return BAD_DATA
    net.k.fused_forward[e.fused.width_index](call)
    return FINITE if loss_gradient(e, &batch, True) else BAD_LOSS
