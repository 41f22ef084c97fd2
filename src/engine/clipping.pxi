# Clipped gradients. A step first stores the whole gradient, penalty included, with its sums of
# squares by rows, so that the norm does not depend on the number of threads; then one thread takes
# the norm, and the rule updates the weights. Called by steppers.pxi and columns.pxi.

CLIPPING_EPS = CLIP_EPS  # for the Python package


cdef void layout_gradients(Engine *e, Arena *arena) noexcept:
    """Allocate the gradient of every layer, and the sums of squares of its rows."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, rows = 0
    cdef Layer *layer
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if layer.kind == LINEAR:
            layer.w_gradient = arena_alloc(arena, layer.inputs * layer.width * net.itemsize)
            layer.b_gradient = arena_alloc(arena, layer.width * net.itemsize)
        rows += gradient_sums(layer)
    e.opt.gradient_squares = <double *>arena_alloc(arena, rows * sizeof(double))


cdef inline Py_ssize_t gradient_sums(const Layer *layer) noexcept nogil:
    """The sums of squares that are kept of a layer's gradient: of each row of W, and of W0."""
    return layer.params.rows + 1 if layer.params.rows else 0


cdef void store_gradients(Engine *e, const Batch *batch, int partition, int n_partitions,
                          int thread) noexcept nogil:
    """Store one partition of the rows of every gradient, finished for clipping."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, low, high, first, rows, x_stride = batch.x_stride, sums = 0, squares = 0
    cdef Layer *layer
    cdef Py_ssize_t row_bytes
    cdef const char *x = batch.x
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if layer.kind == LINEAR:
            row_bytes = layer.params.width * net.itemsize
            low = layer.inputs * partition // n_partitions
            high = first = layer.inputs * (partition + 1) // n_partitions
            open_gradient_rows(e, i, batch, low, high)
            first = low
            while first < high:
                rows = min(high - first, gradient_rows(net, layer))
                gradient_of_rows(e, i, batch, x, x_stride, first, rows, thread,
                                 layer.w_gradient + first * row_bytes)
                finish_rows(e, layer, first, rows, sums, squares)
                first += rows
            if i % n_partitions == partition:
                net.k.sum_rows(batch.size, layer.params.width, layer.grad, layer.row_stride,
                               layer.b_gradient)
                finish_biases(e, layer, sums)
            squares += layer.inputs
        elif layer.kind == BATCHNORM and partition == 0:
            finish_vector(e, layer.params.width, layer.norm.g_grad, e.opt.gradient_squares + sums)
            finish_vector(e, layer.params.width, layer.norm.b_grad,
                          e.opt.gradient_squares + sums + 1)
        sums += gradient_sums(layer)
        x, x_stride = layer.a, layer.row_stride


cdef void finish_all_gradients(Engine *e) noexcept nogil:
    """Finish stored gradients of samples as columns, and set the step's factor."""
    cdef Py_ssize_t i, sums = 0, squares = 0
    cdef Layer *layer
    for i in range(e.net.n_layers):
        layer = &e.net.layers[i]
        finish_rows(e, layer, 0, layer.inputs, sums, squares)
        finish_biases(e, layer, sums)
        sums += gradient_sums(layer)
        squares += layer.inputs
    set_clip_factor(e)


cdef inline double early_scale(const Engine *e) noexcept nogil:
    """What finish_rows multiplies gradients by: 1 if the update may do it, as neither a penalty nor
    a bound on the entries comes between."""
    return e.opt.rule.scale if e.opt.rule.l2 != 0 or e.opt.clip_value < INFINITY else 1


cdef void finish_rows(Engine *e, Layer *layer, Py_ssize_t first, Py_ssize_t rows, Py_ssize_t sums,
                      Py_ssize_t squares) noexcept nogil:
    """Scale rows of a stored gradient, add the penalty's and bound the entries; keep the sums of
    squares of gradient and weights."""
    cdef const nn_rule *rule = &e.opt.rule
    cdef const Params *p = &layer.params
    cdef Py_ssize_t r, size = e.net.itemsize
    cdef const char *w = p.w + first * p.row_stride * size
    e.net.k.clip_rows(rows, p.width, layer.w_gradient + first * p.width * size,
                      w if rule.l2 != 0 else NULL, p.row_stride, early_scale(e), rule.l2,
                      e.opt.clip_value, e.opt.gradient_squares + sums + first)
    if rule.l2 != 0:
        for r in range(first, first + rows):
            w = p.w + r * p.row_stride * size
            e.opt.squares[squares + r] = e.net.k.sum_of_squares(p.width, w)


cdef void finish_vector(Engine *e, Py_ssize_t n, char *gradient, double *square) noexcept nogil:
    """finish_rows for weights without penalty."""
    e.net.k.clip_rows(1, n, gradient, NULL, 0, early_scale(e), 0, e.opt.clip_value, square)


cdef void finish_biases(Engine *e, Layer *layer, Py_ssize_t sums) noexcept nogil:
    """finish_rows for W0; a fixed one has no gradient."""
    cdef double *square = e.opt.gradient_squares + sums + layer.inputs
    square[0] = 0
    if not layer.fixed_bias:
        finish_vector(e, layer.params.width, layer.b_gradient, square)


cdef void set_clip_factor(Engine *e) noexcept nogil:
    """The factor of all stored gradients in this step: min(1, clip_norm / (norm + 1e-6)) as in
    PyTorch, times what has not been applied of the scale; NaN, which ends the training, if the norm
    is non-finite."""
    cdef Py_ssize_t i, r, rows = 0
    cdef nn_total total = nn_total(0, 0)
    cdef double norm, scale = e.opt.rule.scale / early_scale(e)
    e.opt.clip_factor = scale
    if not e.opt.clip_norm < INFINITY:
        return
    for i in range(e.net.n_layers):
        rows += gradient_sums(&e.net.layers[i])
    for r in range(rows):
        nn_add(&total, e.opt.gradient_squares[r])
    norm = fabs(scale) * sqrt(nn_value(&total))
    if not isfinite(norm):
        e.opt.clip_factor = NAN
    elif norm + CLIP_EPS > e.opt.clip_norm:
        e.opt.clip_factor *= e.opt.clip_norm / (norm + CLIP_EPS)


cdef int clipped_update(Engine *e, int partition, int n_partitions) noexcept nogil:
    """Step along the stored gradients, for one partition of the rows of every W. Returns
    BAD_WEIGHTS if a weight or state is non-finite, else FINITE."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, low, high, n
    cdef Layer *layer
    cdef Params *p
    cdef nn_rule rule = e.opt.rule
    cdef bint finite = True
    rule.scale, rule.l2 = e.opt.clip_factor, 0
    for i in range(net.n_layers):
        layer, p = &net.layers[i], &net.layers[i].params
        n = p.width
        if layer.kind == LINEAR:
            low = layer.inputs * partition // n_partitions
            high = layer.inputs * (partition + 1) // n_partitions
            finite = step_stored_rows(e, layer, low, high, &rule) and finite
            if i % n_partitions == partition and not layer.fixed_bias:
                finite = step_vector(e, n, p.w0, layer.b_gradient, p.state0, &rule) and finite
        elif layer.kind == BATCHNORM and partition == 0:
            finite = step_vector(e, n, p.w, layer.norm.g_grad, p.state, &rule) and finite
            finite = step_vector(e, n, p.w0, layer.norm.b_grad, p.state0, &rule) and finite
            update_running_statistics(net, layer, e.step.batch.size)
    return FINITE if finite else BAD_WEIGHTS


cdef bint step_stored_rows(Engine *e, Layer *layer, Py_ssize_t low, Py_ssize_t high,
                           const nn_rule *rule) noexcept nogil:
    """Step rows low .. high - 1 of W along the stored gradient, at once if they are contiguous."""
    cdef Params *p = &layer.params
    cdef Py_ssize_t n = p.width, size = e.net.itemsize, r = low
    cdef Py_ssize_t rows = max(<Py_ssize_t>0, high - low) if p.row_stride == n else 1
    cdef bint finite = True
    while r < high:
        finite = e.net.k.optimizer_step(rows * n, p.w + r * p.row_stride * size,
                                        layer.w_gradient + r * n * size,
                                        state_row(e, p.state, 0, r * n),
                                        state_row(e, p.state, 1, r * n), rule) and finite
        r += rows
    return finite
