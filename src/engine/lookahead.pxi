# The first layer at batch size 1. On the lookahead path LOOKAHEAD_STEPS consecutive steps share a
# pass over W: their products with W are taken together and corrected, step by step, for what the
# steps before have changed (lookahead.h has the mathematics).

cdef void layout_lookahead(Engine *e, Arena *arena) noexcept:
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
    if la.at >= 0:
        gram = la.gram + la.at * LOOKAHEAD_STEPS * e.net.itemsize
        e.net.k.gemv(la.at, p.width, gram, NULL, la.steps, p.width,
                            la.z + la.at * p.width * e.net.itemsize, z,
                      fused_activation(layer))
    else:
        e.net.k.gemv(s.n_nonzero or layer.inputs, p.width, x,
                            s.nonzero_index if s.n_nonzero else NULL, p.w, p.row_stride, p.w0,
                            z, fused_activation(layer))


cdef void first_layer_update(Engine *e, Layer *layer, const char *x, double eta) noexcept nogil:
    """W ← W − η x dL/dZ, now or, inside a block, with the pass of the next one."""
    cdef Lookahead *la = &e.lookahead
    cdef Sparse *s = &e.sparse
    cdef Params *p = &layer.params
    if la.at >= 0:
        e.net.k.scaled(p.width, layer.grad, eta, la.steps + la.at * p.width * e.net.itemsize)
    else:
        e.net.k.scaled(p.width, layer.grad, eta, la.steps)
        e.net.k.rank1_update(s.n_nonzero or layer.inputs, p.width, p.w, p.row_stride, x,
                           s.nonzero_index if s.n_nonzero else NULL, la.steps)


cdef bint open_block(Engine *e, const Run *run, Py_ssize_t at, Py_ssize_t count) noexcept nogil:
    """Take the products of a block's samples with W and with each other; samples that a last block
    lacks are zeros.

    False if the steps are better taken one by one because most inputs are 0, or must be because a
    product is not finite; the last block's update has then been carried out.
    """
    cdef Lookahead *la = &e.lookahead
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[0]
    cdef Params *p = &layer.params
    cdef Py_ssize_t i, row = net.inputs * net.itemsize, n_nonzero = 0
    for i in range(count):
        la.samples[i] = read_sample(net, run.x, run.indices[at + i], la.x + i * row)
        if e.sparse.skips_zeros:
            n_nonzero += net.k.count_nonzeros(net.inputs, la.samples[i])
    for i in range(count, LOOKAHEAD_STEPS):
        la.samples[i] = memset(la.x + i * row, 0, row)
    if ((e.sparse.skips_zeros and n_nonzero <= count * net.inputs * LOOKAHEAD_DENSITY)
            or not net.k.lookahead_gram(net.inputs, la.samples, la.gram)):
        flush_update(e)
        return False
    net.k.lookahead_columns(net.inputs, la.samples, la.next)
    net.k.lookahead_pass(layer.inputs, p.width, p.w, p.row_stride, la.old if la.pending else NULL,
                     la.steps, la.next, p.w0, la.z)
    memset(la.steps + count * p.width * net.itemsize, 0,
           (LOOKAHEAD_STEPS - count) * p.width * net.itemsize)
    la.old, la.next = la.next, la.old
    la.pending = True
    return True


cdef void flush_update(Engine *e) noexcept nogil:
    """Carry out the last block's update of W."""
    cdef Lookahead *la = &e.lookahead
    cdef Layer *layer = &e.net.layers[0]
    if la.pending:
        e.net.k.lookahead_pass(layer.inputs, layer.params.width, layer.params.w,
                           layer.params.row_stride, la.old, la.steps, NULL,
                           layer.params.w0, NULL)
        la.pending = False
