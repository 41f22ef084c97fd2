# Small networks: every layer fits FUSED_VECTORS vectors, and one kernel call runs many steps
# (fused_sgd.h) or half of a mini-batch step (fused_minibatch.h) on both W and its transpose.
#
# Called by steppers.pxi and by Program, which chooses the vector width before it adds the layers.
# Deleting this file with its rows of STEPPERS leaves the general path, with the same results to
# rounding.

cdef int choose_fused(Engine *e, Py_ssize_t widest, Py_ssize_t first_weights) noexcept nogil:
    """Choose the narrowest vector that holds the widest layer; return ACCEPTED, or TOO_LARGE if the
    network is too large for steps at batch size 1. If only its first layer is too large, a sparse
    matrix's samples still go by the widest vectors, as they need few rows of W."""
    cdef const nn_kernels *k = e.net.k
    cdef Fused *f = &e.fused
    cdef bint large = first_weights * e.net.itemsize > FUSED_BYTES
    f.lanes = f.width_index = 0
    if widest > max(FUSED_VECTORS * k.lanes, <Py_ssize_t>FUSED_WIDTH):
        return TOO_LARGE
    f.lanes, f.listed_only = 16 // e.net.itemsize, large
    while f.lanes < (k.lanes if large else min(widest, k.lanes)):
        f.width_index += 1
        f.lanes *= 2
    return TOO_LARGE if large else ACCEPTED


cdef int make_fused(Engine *e) except -1:
    """Allocate the memory of the fused kernels, after all layers have been added, once."""
    if e.fused.buffer.memory != NULL:  # not if memory has run out before
        return 0
    cdef Py_ssize_t i, bytes_ = e.net.n_layers * sizeof(nn_fused_layer)
    if e.fused.layers == NULL:
        e.fused.layers = <nn_fused_layer *>calloc(e.net.n_layers, sizeof(nn_fused_layer))
    if e.fused.layers == NULL:
        raise MemoryError(f"to run this network takes {bytes_} bytes, which are not available")
    arena_fill(e, layout_fused, &e.fused.buffer)
    for i in range(FUSED_BLOCK):
        e.fused.ordinals[i] = i
    return 0


cdef void layout_fused(Engine *e, Arena *arena) noexcept:
    """Allocate activations, gradients and the transpose of W of every layer, the samples, and what
    a block of steps needs."""
    cdef Network *net = &e.net
    cdef Fused *f = &e.fused
    cdef Layer *layer
    cdef nn_fused_layer *fused
    cdef Py_ssize_t i, size = net.itemsize
    for i in range(net.n_layers):
        layer, fused = &net.layers[i], &f.layers[i]
        fused.m, fused.n, fused.vectors = layer.inputs, layer.outputs, layer.width // f.lanes
        fused.activation = layer.activation
        fused.a = fused.z = arena_alloc(arena, layer.width * size)
        if nn_uses_input(layer.activation):
            fused.z = arena_alloc(arena, layer.width * size)
        fused.dz = arena_alloc(arena, layer.width * size)
        fused.step = arena_alloc(arena, layer.width * size)
        if i > 0:
            fused.copy = arena_alloc(arena, layer.outputs * net.layers[i - 1].width * size)
    if not f.listed_only:
        f.x = arena_alloc(arena, FUSED_BLOCK * net.inputs * size)
        f.nonzero_index = <int32_t *>arena_alloc(arena, 2 * (net.inputs + 16) * sizeof(int32_t))
    f.y = arena_alloc(arena, FUSED_BLOCK * net.outputs * size)
    f.ordinals = <int64_t *>arena_alloc(arena, FUSED_BLOCK * sizeof(int64_t))
    f.logits = arena_alloc(arena, FUSED_BLOCK * net.outputs * size)
    f.terms.label_gap = arena_alloc(arena, FUSED_BLOCK * size)
    f.terms.label_sum = arena_alloc(arena, FUSED_BLOCK * size)
    f.terms.exp_rest = arena_alloc(arena, FUSED_BLOCK * size)
    f.terms.losses = <double *>arena_alloc(arena, FUSED_BLOCK * sizeof(double))
    f.rules = <nn_rule *>arena_alloc(arena, FUSED_BLOCK * sizeof(nn_rule))
    f.squares = <double *>arena_alloc(arena, FUSED_BLOCK * sizeof(double))


cdef bint fused_two_copies(const Engine *e) noexcept nogil:
    """True if steps at batch size 1 use W as well as its transpose: plain SGD on layers of one
    vector and dense samples; see fused_sgd.h."""
    return not e.opt.active and e.net.widest == e.fused.lanes and e.x.row_starts == NULL


cdef void transpose_fused_weights(Engine *e) noexcept nogil:
    """Point the fused layers at the packed weights, and set the transposes from them."""
    cdef Py_ssize_t i
    cdef Layer *layer
    for i in range(e.net.n_layers):
        layer = &e.net.layers[i]
        e.fused.layers[i].w, e.fused.layers[i].b = layer.params.w, layer.params.w0
        if i > 0:
            e.fused.layers[i].wt = e.fused.layers[i].copy
            e.net.k.transpose(layer.inputs, layer.outputs, layer.params.w, layer.width,
                              e.fused.layers[i].wt, e.net.layers[i - 1].width)


cdef void open_fused_sgd(Engine *e, const Run *run, nn_fused_sgd *call) noexcept nogil:
    """Set the parts of a kernel call that are the same for all blocks of steps."""
    cdef Fused *f = &e.fused
    cdef Py_ssize_t i, j
    cdef Params *p
    call.plain, call.loss = e.net.plain_nll, e.net.loss
    call.loss_parameter = e.objective.loss_parameter
    call.n_layers, call.layers = e.net.n_layers, f.layers
    call.nonzero_index = f.nonzero_index if e.sparse.skips_zeros else NULL
    call.two_copies = e.plan.transposes == TRANSPOSE_NONE
    call.rules = f.rules if e.opt.active else NULL
    call.squares = f.squares if e.opt.active and e.opt.rule.l2 != 0 else NULL
    call.sum_of_squares = e.net.k.sum_of_squares
    call.logits = f.logits if e.plan.call == CALL_FIT else NULL
    if call.two_copies:
        transpose_fused_weights(e)
        return
    for i in range(e.net.n_layers):
        p = &e.net.layers[i].params
        f.layers[i].w, f.layers[i].wt, f.layers[i].b = p.w, p.w, p.w0
        for j in range(e.opt.n_states if e.opt.active else 0):
            f.layers[i].state[j], f.layers[i].state0[j] = p.state[j], p.state0[j]


cdef Py_ssize_t run_fused_sgd(Engine *e, Run *run) noexcept nogil:
    """Steps at batch size 1. Returns 0, or a 1-based step from the first non-finite one on; the
    packed weights are then invalid."""
    cdef nn_fused_sgd call
    cdef Py_ssize_t t = 0, bad = 0
    cdef uint64_t mode = 0
    open_fused_sgd(e, run, &call)
    if e.opt.active:
        mode = nn_flush_subnormals()
    while t < run.n_samples and not bad:
        call.steps = min(run.n_samples - t, <Py_ssize_t>FUSED_BLOCK)
        bad = fused_block(e, run, &call, t)
        t += call.steps
    if e.opt.active:
        nn_restore_subnormals(mode)
    return bad


cdef Py_ssize_t fused_block(Engine *e, Run *run, nn_fused_sgd *call, Py_ssize_t t) noexcept nogil:
    """call.steps steps from step t of the chunk on, as run_fused_sgd."""
    cdef Fused *f = &e.fused
    cdef Py_ssize_t i
    cdef bint fits = call.logits != NULL
    call.rates = run.rates + t
    call.row_starts, call.columns = run.x.row_starts, run.x.columns
    if run.x.row_starts != NULL:
        call.x, call.sample_index = run.x.data, run.indices + t
    elif run.x.direct:
        call.x, call.x_stride = run.x.data, run.x.sample_bytes // e.net.itemsize
        call.sample_index = run.indices + t
    else:
        if not gather(&e.net, run.x, run.indices + t, call.steps, f.x, e.net.inputs,
                      run.checks_data):
            run.status = BAD_DATA
            return t + 1
        call.x, call.x_stride, call.sample_index = f.x, e.net.inputs, f.ordinals
    if run.y.direct and not fits and not e.labels.adjusted:
        call.y, call.y_stride = run.y.data, run.y.sample_bytes // e.net.itemsize
        call.label_index = run.indices + t
    else:
        if not gather(&e.net, run.y, run.indices + t, call.steps, f.y, e.net.outputs,
                      run.checks_data):
            run.status = BAD_DATA
            return t + 1
        call.y, call.y_stride, call.label_index = f.y, e.net.outputs, f.ordinals
        adjust_labels(e, f.y, call.steps, e.net.outputs, 1)
    for i in range(call.steps if e.opt.active else 0):
        begin_optimizer_step(e, t + i, run.rates[t + i], 1)
        f.rules[i] = e.opt.rule
    if not e.net.k.fused_sgd[f.width_index](call):
        run.status = BAD_LOSS
        return t + 1
    if fits and not add_block_losses(e, run, call.steps):
        run.status = BAD_LOSS
        return t + 1
    for i in range(call.steps if call.squares != NULL else 0):
        if not add_penalty(run, e.opt.rule.l2 / 2 * f.squares[i]):
            run.status = BAD_LOSS
            return t + 1
    return 0


cdef bint add_block_losses(Engine *e, Run *run, Py_ssize_t steps) noexcept nogil:
    """Add the losses of a block of steps to the run's total, from the logits, which are
    overwritten. Returns False if one is non-finite."""
    cdef Fused *f = &e.fused
    cdef nn_softmax s
    cdef double total
    if e.net.loss == NN_NLL:
        s.batch, s.classes, s.classes_contiguous = steps, e.net.outputs, 1
        s.z, s.p, s.grad, s.y, s.plain = f.logits, f.logits, NULL, f.y, e.net.plain_nll
        s.z_sample = s.p_sample = s.y_sample = e.net.outputs
        s.z_class = s.p_class = s.y_class = 1
        s.label_gap, s.label_sum = f.terms.label_gap, f.terms.label_sum
        s.exp_rest = f.terms.exp_rest
        e.net.k.softmax(&s)
        total = e.net.k.softmax_total(steps, s.label_gap, s.label_sum, s.exp_rest,
                                      f.terms.losses)
    else:
        total = e.net.k.loss_and_gradient(steps * e.net.outputs, f.logits, f.y, f.logits,
                                          e.net.loss, e.objective.loss_parameter)
    nn_add(&run.total, total)
    return isfinite(total)


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
    adjust_labels(e, e.ws.y_rows, batch.size, net.outputs, 1)
    net.k.fused_forward[e.fused.width_index](call)
    if not loss_gradient(e, &batch, True):
        return BAD_LOSS
    if e.objective.weights != NULL:
        weigh_samples(e, &batch, step.indices)
    return FINITE
