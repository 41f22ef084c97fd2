# The first layer at batch size 1. On the path "lookahead-sgd" LOOKAHEAD_STEPS consecutive steps
# share a pass over W: their products with W are taken together and corrected, step by step, for the
# changes of the steps before (lookahead.h has the mathematics). Called by layers.pxi and
# steppers.pxi. Deleting the path leaves first_layer_forward and first_layer_update without its
# branches.

cdef void layout_lookahead(Engine *e, Arena *arena) noexcept:
    """Allocate the samples, products and steps of a block."""
    cdef Lookahead *la = &e.lookahead
    cdef Py_ssize_t size = e.net.itemsize, width = e.net.layers[0].width
    la.x = arena_alloc(arena, LOOKAHEAD_STEPS * e.net.inputs * size)
    la.next = arena_alloc(arena, LOOKAHEAD_STEPS * e.net.inputs * size)
    la.old = arena_alloc(arena, LOOKAHEAD_STEPS * e.net.inputs * size)
    la.z = arena_alloc(arena, LOOKAHEAD_STEPS * width * size)
    la.steps = arena_alloc(arena, LOOKAHEAD_STEPS * width * size)
    la.gram = arena_alloc(arena, LOOKAHEAD_STEPS * LOOKAHEAD_STEPS * size)


cdef void first_layer_forward(Engine *e, Layer *layer, const char *x, char *z) noexcept nogil:
    """f(x W + W0) of the first layer for one sample, or without f if z must be kept."""
    cdef Lookahead *la = &e.lookahead
    cdef Sparse *s = &e.sparse
    cdef Params *p = &layer.params
    cdef char *gram
    cdef char *product
    if e.opt.active and e.plan.stepper == SGD and not la.has_product:
        next_product(e, layer, x)
    if la.has_product:
        e.net.k.activation_forward(p.width, la.z, z, fused_activation(layer))
    elif la.step >= 0:
        gram = la.gram + la.step * LOOKAHEAD_STEPS * e.net.itemsize
        product = la.z + la.step * p.width * e.net.itemsize
        e.net.k.gemv(la.step, p.width, gram, NULL, la.steps, p.width, product, z,
                     fused_activation(layer))
    elif s.n_nonzero:
        e.net.k.gemv(s.n_nonzero, p.width, x, s.nonzero_index, p.w, p.row_stride, p.w0, z,
                     fused_activation(layer))
    else:
        e.net.k.gemv(layer.inputs, p.width, x, NULL, p.w, p.row_stride, p.w0, z,
                     fused_activation(layer))


cdef void first_layer_update(Engine *e, Layer *layer, const char *x, double eta) noexcept nogil:
    """W <- W - eta x dL/dZ, now or, inside a block, in the pass of the next block."""
    cdef Lookahead *la = &e.lookahead
    cdef Sparse *s = &e.sparse
    cdef Params *p = &layer.params
    if la.step >= 0:
        e.net.k.scaled(p.width, layer.grad, eta, la.steps + la.step * p.width * e.net.itemsize)
        return
    e.net.k.scaled(p.width, layer.grad, eta, la.steps)
    if s.n_nonzero:
        e.net.k.rank1_update(s.n_nonzero, p.width, p.w, p.row_stride, x, s.nonzero_index, la.steps)
    else:
        e.net.k.rank1_update(layer.inputs, p.width, p.w, p.row_stride, x, NULL, la.steps)


cdef bint open_block(Engine *e, const Run *run, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    """Take the products of a block's samples with W and with each other; a block of fewer than
    LOOKAHEAD_STEPS samples is filled up with zeros.

    Returns False, after flushing the last block's update, if single steps are faster because most
    inputs are zero, or necessary because a product is non-finite.
    """
    cdef Lookahead *la = &e.lookahead
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[0]
    cdef Params *p = &layer.params
    cdef Py_ssize_t i, row_bytes = net.inputs * net.itemsize, n_nonzero = 0
    cdef Py_ssize_t step_bytes = p.width * net.itemsize
    for i in range(count):
        la.samples[i] = read_sample(net, run.x, run.indices[first + i], la.x + i * row_bytes)
        if e.sparse.skips_zeros:
            n_nonzero += net.k.count_nonzeros(net.inputs, la.samples[i])
    for i in range(count, LOOKAHEAD_STEPS):
        la.samples[i] = memset(la.x + i * row_bytes, 0, row_bytes)
    if ((e.sparse.skips_zeros and n_nonzero <= count * net.inputs * LOOKAHEAD_DENSITY)
            or not net.k.lookahead_gram(net.inputs, la.samples, la.gram)):
        flush_update(e)
        return False
    net.k.lookahead_columns(net.inputs, la.samples, la.next)
    net.k.lookahead_pass(layer.inputs, p.width, p.w, p.row_stride, la.old if la.pending else NULL,
                         la.steps, la.next, p.w0, la.z)
    memset(la.steps + count * step_bytes, 0, (LOOKAHEAD_STEPS - count) * step_bytes)
    la.old, la.next = la.next, la.old
    la.pending = True
    return True


cdef void flush_update(Engine *e) noexcept nogil:
    """Carry out the last block's pending update of W."""
    cdef Lookahead *la = &e.lookahead
    cdef Layer *layer = &e.net.layers[0]
    cdef Params *p = &layer.params
    if la.pending:
        e.net.k.lookahead_pass(layer.inputs, p.width, p.w, p.row_stride, la.old, la.steps, NULL,
                               p.w0, NULL)
        la.pending = False
