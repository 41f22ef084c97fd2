# The update by another rule than plain SGD, or with a penalty. The gradient of a layer is stored in
# blocks of rows that stay in the cache, and one kernel updates the rows of W and of the optimizer's
# state from each block. Called by steppers.pxi; the rules are in kernels/optimizer.h.

cdef int set_optimizer(Engine *e, int kind, double beta1, double beta2, double eps, double l2,
                       double decay, Py_ssize_t n_states, double clip_value=INFINITY,
                       double clip_norm=INFINITY) except -1:
    """Train by this rule, with n_states arrays of state per weight, from now on."""
    cdef Optimizer *opt = &e.opt
    opt.active, e.ws.capacity = True, 0
    opt.rule = new_rule(kind, 0)
    opt.rule.beta1, opt.rule.beta2, opt.rule.eps, opt.rule.l2 = beta1, beta2, eps, l2
    opt.decay, opt.n_states = decay, n_states
    opt.clip_value, opt.clip_norm = clip_value, clip_norm
    opt.clips = clip_value < INFINITY or clip_norm < INFINITY
    return arena_fill(e, layout_state, &e.ws.state_buffer)


cdef void layout_state(Engine *e, Arena *arena) noexcept:
    """Allocate the packed state, the sums of squares of W's rows and, to clip them, gradients."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, j, rows = 0
    cdef Params *p
    cdef Layer *layer
    for i in range(net.n_layers):
        layer, p = &net.layers[i], &net.layers[i].params
        for j in range(e.opt.n_states if p.rows else 0):
            p.packed_state[j] = arena_alloc(arena, packed_size(net, layer) * net.itemsize)
            p.packed_state0[j] = arena_alloc(arena, layer.width * net.itemsize)
        if layer.kind == LINEAR:
            rows += layer.inputs
    e.opt.squares = <double *>arena_alloc(arena, rows * sizeof(double))
    if e.opt.clips:
        layout_gradients(e, arena)


cdef void layout_gradient_blocks(Engine *e, Arena *arena) noexcept:
    """Allocate a block of gradient rows per thread."""
    cdef Network *net = &e.net
    cdef Layer *layer
    cdef Py_ssize_t i, row_bytes
    e.opt.gradient_bytes = 0
    for i in range(net.n_layers):
        layer = &net.layers[i]
        row_bytes = layer.width * net.itemsize
        e.opt.gradient_bytes = max(e.opt.gradient_bytes, gradient_rows(net, layer) * row_bytes)
    e.opt.gradient = arena_alloc(arena, e.ws.n_threads * e.opt.gradient_bytes)


cdef Py_ssize_t gradient_rows(const Network *net, const Layer *layer) noexcept nogil:
    """Rows per block of a layer's gradient."""
    return max(1, min(layer.inputs, <Py_ssize_t>GRADIENT_BYTES // (layer.width * net.itemsize)))


cdef void begin_optimizer_step(Engine *e, Py_ssize_t offset, double eta,
                               double scale) noexcept nogil:
    """Set the rule's constants for step `offset` (from 0) of the chunk; `scale` multiplies the
    gradient."""
    cdef nn_rule *rule = &e.opt.rule
    rule.eta, rule.scale = eta, scale * e.objective.gradient_factor
    if e.objective.l2_per_weight:
        rule.l2 = e.objective.l2 * scale
    if rule.kind == NN_ADAM:
        set_adam_step(rule, e.opt.updates + offset + 1, eta, rule.beta1, rule.beta2, e.opt.decay)
        if e.objective.plain_root:  # eta sqrt(1 - beta2^t) / (1 - beta1^t)
            rule.eta, rule.root = rule.eta / rule.root, 1


cdef int optimizer_update(Engine *e, const Batch *batch, int partition, int n_partitions,
                          int thread) noexcept nogil:
    """Step along dL/dW and dL/dW0, for one partition of the rows of every W. Returns BAD_WEIGHTS if
    a weight or state is non-finite, else FINITE."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, low, high, x_stride = batch.x_stride, rows_before = 0
    cdef Layer *layer
    cdef Params *p
    cdef const char *x = batch.x
    cdef char *bias_grad = e.ws.bias_grad + thread * net.widest * net.itemsize
    cdef nn_rule bias_rule = e.opt.rule
    cdef bint finite = True
    bias_rule.l2 = 0
    for i in range(net.n_layers):
        layer, p = &net.layers[i], &net.layers[i].params
        if layer.kind == LINEAR:
            low = layer.inputs * partition // n_partitions
            high = layer.inputs * (partition + 1) // n_partitions
            finite = optimizer_update_rows(e, i, batch, x, x_stride, low, high, thread,
                                           e.opt.squares + rows_before) and finite
            if i % n_partitions == partition and not layer.fixed_bias:
                net.k.sum_rows(batch.size, p.width, layer.grad, layer.row_stride, bias_grad)
                finite = step_vector(e, p.width, p.w0, bias_grad, p.state0, &bias_rule) and finite
            rows_before += layer.inputs
        elif layer.kind == BATCHNORM and partition == 0:
            finite = step_vector(e, p.width, p.w, layer.norm.g_grad, p.state,
                                 &bias_rule) and finite
            finite = step_vector(e, p.width, p.w0, layer.norm.b_grad, p.state0,
                                 &bias_rule) and finite
            update_running_statistics(net, layer, batch.size)
        x, x_stride = layer.a, layer.row_stride
    return FINITE if finite else BAD_WEIGHTS


cdef inline bint step_vector(Engine *e, Py_ssize_t n, char *w, const char *gradient, char **state,
                             const nn_rule *rule) noexcept nogil:
    """Step a vector of n weights and its state."""
    return e.net.k.optimizer_step(n, w, gradient, state_row(e, state, 0, 0),
                                  state_row(e, state, 1, 0), rule)


cdef inline char *state_row(const Engine *e, char **state, int j, Py_ssize_t offset) noexcept nogil:
    """Array j of a state from an offset in elements; NULL if the rule has no such array."""
    return state[j] + offset * e.net.itemsize if j < e.opt.n_states else NULL


cdef bint optimizer_update_rows(Engine *e, Py_ssize_t i, const Batch *batch, const char *x,
                                Py_ssize_t x_stride, Py_ssize_t low, Py_ssize_t high, int thread,
                                double *squares) noexcept nogil:
    """Rows low .. high - 1 of layer i: dL/dW = A (dL/dZ)^T, a block at a time, and the step along
    it."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Params *p = &layer.params
    cdef char *gradient = e.opt.gradient + thread * e.opt.gradient_bytes
    cdef Py_ssize_t first = low, rows
    cdef bint finite = True
    open_gradient_rows(e, i, batch, low, high)
    while first < high:
        rows = min(high - first, gradient_rows(net, layer))
        gradient_of_rows(e, i, batch, x, x_stride, first, rows, thread, gradient)
        finite = optimizer_step_rows(e, p, first, rows, gradient, squares + first) and finite
        first += rows
    return finite


cdef void open_gradient_rows(Engine *e, Py_ssize_t i, const Batch *batch, Py_ssize_t low,
                             Py_ssize_t high) noexcept nogil:
    """Prepare gradient_of_rows for rows low .. high - 1 of layer i."""
    if i == 0 and batch.csr:
        transpose_csr(e, batch, low, high)
    elif i == 0 and batch.listed != NULL:
        transpose_listed(e, batch, low, high)


cdef void gradient_of_rows(Engine *e, Py_ssize_t i, const Batch *batch, const char *x,
                           Py_ssize_t x_stride, Py_ssize_t first, Py_ssize_t rows, int thread,
                           char *gradient) noexcept nogil:
    """gradient (rows, width) <- rows first .. first + rows - 1 of dL/dW of layer i."""
    cdef Layer *layer = &e.net.layers[i]
    cdef Py_ssize_t width = layer.params.width
    cdef nn_gemm g
    if i == 0 and batch.csr:
        csr_gradient(e, layer, batch, first, first + rows, gradient, width, False, 0)
    elif i == 0 and batch.listed != NULL:
        listed_gradient(e, layer, first, first + rows, gradient, width)
    else:
        g.m, g.n, g.k = rows, width, batch.size
        g.a, g.a_rs, g.a_cs = x + first * e.net.itemsize, 1, x_stride
        g.b, g.b_rs, g.b_cs, g.packed = layer.grad, layer.row_stride, 1, NULL
        g.c, g.c_rs = gradient, width
        g.epilogue, g.activation, g.bias = NN_STORE, no_activation(), NULL
        g.workspace = e.ws.gemm + thread * e.ws.gemm_bytes
        e.net.k.gemm(&g)


cdef bint optimizer_step_rows(Engine *e, const Params *p, Py_ssize_t first, Py_ssize_t rows,
                              const char *gradient, double *squares) noexcept nogil:
    """Step rows first .. first + rows - 1 of W. With a penalty the sum of squares of each row is
    stored, so that their total does not depend on the number of threads."""
    cdef Py_ssize_t r, n = p.width, size = e.net.itemsize
    cdef char *w = p.w + first * p.row_stride * size
    cdef bint finite = True
    if e.objective.l2_per_weight:  # this sum of squares is not compensated
        return e.net.k.optimizer_rows(rows, n, w, p.row_stride, gradient,
                                      state_row(e, p.state, 0, first * n),
                                      state_row(e, p.state, 1, first * n), &e.opt.rule,
                                      squares if e.objective.l2 != 0 else NULL)
    if e.opt.rule.l2 == 0 and p.row_stride == n:
        return e.net.k.optimizer_step(rows * n, w, gradient, state_row(e, p.state, 0, first * n),
                                      state_row(e, p.state, 1, first * n), &e.opt.rule)
    for r in range(rows):
        if e.opt.rule.l2 != 0:
            squares[r] = e.net.k.sum_of_squares(n, w + r * p.row_stride * size)
        finite = e.net.k.optimizer_step(n, w + r * p.row_stride * size, gradient + r * n * size,
                                        state_row(e, p.state, 0, (first + r) * n),
                                        state_row(e, p.state, 1, (first + r) * n),
                                        &e.opt.rule) and finite
    return finite


cdef double penalty(const Engine *e) noexcept nogil:
    """l2 / 2 times the sum of squares of all W before the current step."""
    cdef Py_ssize_t i, r, rows_before = 0
    cdef nn_total total = nn_total(0, 0)
    if e.opt.rule.l2 == 0:
        return 0
    for i in range(e.net.n_layers):
        if e.net.layers[i].kind == LINEAR:
            for r in range(e.net.layers[i].inputs):
                nn_add(&total, e.opt.squares[rows_before + r])
            rows_before += e.net.layers[i].inputs
    return e.opt.rule.l2 / 2 * nn_value(&total)


cdef inline bint add_penalty(Run *run, double penalty) noexcept nogil:
    """Add a step's penalty to the run's total. Returns False if it is beyond the range of a double,
    as the squares of weights above 1e154 are."""
    nn_add(&run.total, penalty)
    return isfinite(penalty)


# ------------------------------------------------------------------------------------- batch size 1

cdef double single_penalty(const Engine *e) noexcept nogil:
    """penalty, from the weights themselves: packed, with zeros as padding."""
    cdef Py_ssize_t i
    cdef const Params *p
    cdef nn_total total = nn_total(0, 0)
    if e.opt.rule.l2 == 0:
        return 0
    for i in range(e.net.n_layers):
        p = &e.net.layers[i].params
        if e.net.layers[i].kind == LINEAR:
            nn_add(&total, e.net.k.sum_of_squares(
                (e.net.layers[i].outputs if p.transposed else p.rows) * p.row_stride, p.w))
    return e.opt.rule.l2 / 2 * nn_value(&total)


cdef void next_product(Engine *e, Layer *layer, const char *x) noexcept nogil:
    """The first layer's product with x, W0 included, for first_layer_forward; its bits are those of
    the product that optimize_layer takes with the next sample."""
    cdef nn_rank1 u
    cdef Params *p = &layer.params
    cdef Lookahead *la = &e.lookahead
    memcpy(la.z, p.w0, p.width * e.net.itemsize)
    u.rows, u.columns, u.stride = layer.inputs, p.width, p.row_stride
    u.w, u.factor, u.sums = p.w, x, la.z
    e.net.k.rank1_rule(&u, NULL)
    la.has_product = True


cdef bint backward_and_optimize(Engine *e, Run *run, const Batch *sample,
                                Py_ssize_t t) noexcept nogil:
    """Backward pass and the rule's step on one sample, without storing a gradient: that of a W is
    the outer product of the layer's inputs and dL/dZ. Returns False if a result is non-finite.

    A transposed W takes both in one pass. That of the first layer takes its product with the next
    sample in the pass of its update.
    """
    cdef Network *net = &e.net
    cdef Py_ssize_t i
    cdef Layer *layer
    cdef Layer *before
    cdef const char *x
    cdef bint finite = True
    e.lookahead.has_product = False
    for i in range(net.n_layers - 1, -1, -1):
        layer = &net.layers[i]
        before = &net.layers[i - 1] if i > 0 else NULL
        x = sample.x if before == NULL else before.a
        if layer.kind == LINEAR:
            finite = optimize_layer(e, run, i, x, t) and finite
        if before != NULL:
            net.k.activation_backward(layer.inputs,
                                      before.grad if layer.kind == LINEAR else layer.grad,
                                      before.z, before.grad, inner_activation(before))
    return finite


cdef bint optimize_layer(Engine *e, Run *run, Py_ssize_t i, const char *x,
                         Py_ssize_t t) noexcept nogil:
    """The rule's step of layer i at inputs x and, unless it is the first layer, dL/dA of the layer
    before, without f'."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Params *p = &layer.params
    cdef Lookahead *la = &e.lookahead
    cdef nn_rule bias_rule = e.opt.rule
    cdef nn_rank1 u
    cdef bint finite
    bias_rule.l2 = 0
    finite = layer.fixed_bias or step_vector(e, p.width, p.w0, layer.grad, p.state0, &bias_rule)
    u.w, u.stride, u.factor = p.w, p.row_stride, NULL
    u.s1, u.s2 = state_row(e, p.state, 0, 0), state_row(e, p.state, 1, 0)
    u.rows, u.columns, u.scalar, u.vector = layer.inputs, p.width, x, layer.grad
    u.after = 0
    if p.transposed:
        u.rows, u.columns, u.scalar, u.vector = layer.outputs, layer.inputs, layer.grad, x
        u.factor, u.sums = layer.grad, net.layers[i - 1].grad
        memset(u.sums, 0, net.layers[i - 1].width * net.itemsize)
    elif i > 0:
        net.k.gemv_t(layer.inputs, p.width, p.w, p.row_stride, layer.grad, net.layers[i - 1].grad)
    elif t + 1 < run.n_samples:
        u.factor = read_sample(net, run.x, run.indices[t + 1], la.x)
        u.sums, u.after, la.has_product = la.z, 1, True
        memcpy(la.z, p.w0, p.width * net.itemsize)
    return net.k.rank1_rule(&u, &e.opt.rule) and finite
