# Batches and predictions of networks whose layers are narrower than a vector: COLUMN_SLICE samples
# at a time become columns, and vectors run along the samples (kernels/fused_columns.h). Called by
# steppers.pxi, plan.pxi, network.pxi and predict.pxi. Deleting this file with its rows of STEPPERS
# leaves the general paths, with the same results to rounding.

cdef bint holds_columns(const Engine *e) noexcept nogil:
    """True if the network can take samples as columns: Linears with activations, an output unit
    last at most, small enough for a slice to stay near the processor."""
    cdef const Network *net = &e.net
    cdef const Layer *layer
    cdef Py_ssize_t i, features = net.inputs
    if net.n_layers > COLUMN_LAYERS:
        return False
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if layer.kind != LINEAR or (i < net.n_layers - 1 and is_output_unit(layer)):
            return False
        features += layer.outputs
    return features * net.itemsize * COLUMN_SLICE <= COLUMN_BYTES


cdef bint columns_pay(const Engine *e, Py_ssize_t lanes, double overhead) noexcept nogil:
    """True if vectors along the samples, whose operations are `overhead` times as slow, are faster
    than vectors of so many lanes along the outputs, which are partly padding."""
    cdef const Layer *layer
    cdef Py_ssize_t i
    cdef double padded = 0, exact = 0
    for i in range(e.net.n_layers):
        layer = &e.net.layers[i]
        padded += layer.inputs * ((layer.outputs + lanes - 1) // lanes)
        exact += <double>layer.inputs * layer.outputs / e.net.k.lanes
    return exact * overhead < padded


cdef inline bint is_output_unit(const Layer *layer) noexcept nogil:
    return layer.activation.kind == NN_SOFTMAX or layer.activation.kind == NN_OUTPUT_SIGMOID


cdef void layout_columns(Engine *e, Arena *arena) noexcept:
    """Allocate a slice's columns per thread, and the gradients."""
    cdef Network *net = &e.net
    cdef Workspace *ws = &e.ws
    cdef Layer *layer
    cdef Py_ssize_t i, n = net.inputs + 4 * net.outputs, size = net.itemsize
    cdef char *memory
    if not holds_columns(e):
        return
    for i in range(net.n_layers):
        n += 3 * net.layers[i].outputs
    ws.column_bytes = (n * COLUMN_SLICE * size
                       + net.k.softmax_workspace(COLUMN_SLICE, net.outputs) + NN_REDZONE)
    for i in range(ws.n_threads):
        memory = arena_alloc(arena, ws.column_bytes - NN_REDZONE)
        ws.columns = memory if i == 0 else ws.columns
    ws.column_bytes = (ws.column_bytes - NN_REDZONE + 63) // 64 * 64 + NN_REDZONE
    for i in range(net.n_layers if net.trains else 0):
        layer = &net.layers[i]
        layer.b_lost = arena_alloc(arena, layer.width * size)
        if not e.opt.clips:  # else by layout_gradients
            layer.w_gradient = arena_alloc(arena, layer.inputs * layer.width * size)
            layer.b_gradient = arena_alloc(arena, layer.width * size)


cdef void open_columns(Engine *e, Columns *c, int thread, Py_ssize_t count) noexcept nogil:
    """Lay out `count` samples as columns in a thread's memory."""
    cdef Network *net = &e.net
    cdef Layer *layer
    cdef nn_column_layer *column
    cdef Py_ssize_t i, line = 64 // net.itemsize, padded = (count + line - 1) // line * line
    cdef Py_ssize_t bytes_ = padded * net.itemsize
    cdef char *memory = e.ws.columns + thread * e.ws.column_bytes
    c.count = count
    c.call.n_layers, c.call.padded, c.call.layers = net.n_layers, padded, c.layers
    c.x, memory = memory, memory + net.inputs * bytes_
    c.call.x = c.x
    c.y, memory = memory, memory + net.outputs * bytes_
    c.gap, c.sum, c.rest = memory, memory + bytes_, memory + 2 * bytes_
    memory += 3 * bytes_
    for i in range(net.n_layers):
        layer, column = &net.layers[i], &c.layers[i]
        column.m, column.n, column.w_stride = layer.inputs, layer.outputs, layer.params.row_stride
        column.activation = layer.activation
        column.w, column.b = layer.params.w, layer.params.w0
        column.a = column.z = memory
        memory += layer.outputs * bytes_
        if nn_uses_input(layer.activation):
            column.z, memory = memory, memory + layer.outputs * bytes_
        column.dz, memory = memory, memory + layer.outputs * bytes_
        column.w_gradient, column.b_gradient = layer.w_gradient, layer.b_gradient
        column.b_lost = layer.b_lost
    c.workspace = memory


cdef bint read_columns(Engine *e, const Source *source, const int64_t *indices, Py_ssize_t features,
                       char *rows, Py_ssize_t stride, const Columns *c, char *to,
                       bint checks) noexcept nogil:
    """Read a slice's samples as columns, through `rows` if they are converted. With `checks`,
    returns False if one is non-finite."""
    cdef const Network *net = &e.net
    cdef Py_ssize_t j
    if source.type == CLASS_NUMBERS:
        memset(to, 0, features * c.call.padded * net.itemsize)
        for j in range(c.count):
            set_one(net, to, c.call.padded * (<const int32_t *>source.data)[indices[j]] + j)
        return True
    if source.direct:
        net.k.load_columns(features, c.count, c.call.padded, source.data,
                           source.sample_bytes // net.itemsize, indices, to)
    else:
        gather(net, source, indices, c.count, rows, stride)
        net.k.load_columns(features, c.count, c.call.padded, rows, stride, NULL, to)
    return not checks or net.k.all_finite(features * c.call.padded, to)


cdef double column_losses(Engine *e, Columns *c, const int64_t *indices) noexcept nogil:
    """dL/dZ of the last layer from its logits and the labels, zero beyond the samples, which are
    those of `indices`. Returns the summed loss."""
    cdef Network *net = &e.net
    cdef nn_column_layer *last = &c.layers[net.n_layers - 1]
    cdef Py_ssize_t j, row = c.call.padded * net.itemsize, used = c.count * net.itemsize
    cdef double total = 0
    cdef nn_softmax s
    if net.loss == NN_NLL:
        column_softmax(e, c, &s)
        s.p = s.grad = last.dz
        s.y = c.y
        net.k.softmax(&s)
        if e.objective.weights == NULL:
            total = net.k.softmax_total(c.count, c.gap, c.sum, c.rest, e.ws.terms.losses)
        else:
            net.k.softmax_losses(c.count, c.gap, c.sum, c.rest, e.ws.terms.losses, False)
    elif e.objective.weights != NULL:
        sample_losses(e, c)
    else:
        for j in range(net.outputs):
            total += net.k.loss_and_gradient(c.count, <char *>last.z + j * row, c.y + j * row,
                                             <char *>last.dz + j * row, net.loss,
                                             e.objective.loss_parameter)
    if e.objective.weights != NULL:
        total = weigh_columns(e, c, indices)
    for j in range(net.outputs if used < row else 0):
        memset(<char *>last.dz + j * row + used, 0, row - used)
    return total


cdef void sample_losses(Engine *e, Columns *c) noexcept nogil:
    """dL/dZ as column_losses, and the loss of each sample in the workspace."""
    cdef Network *net = &e.net
    cdef nn_column_layer *last = &c.layers[net.n_layers - 1]
    cdef Py_ssize_t i, j, at
    for j in range(c.count):
        e.ws.terms.losses[j] = 0
        for i in range(net.outputs):
            at = (i * c.call.padded + j) * net.itemsize
            e.ws.terms.losses[j] += net.k.loss_and_gradient(
                1, <char *>last.z + at, c.y + at, <char *>last.dz + at, net.loss,
                e.objective.loss_parameter)


cdef double weigh_columns(Engine *e, Columns *c, const int64_t *indices) noexcept nogil:
    """weigh_samples for samples as columns; returns the summed loss."""
    cdef nn_column_layer *last = &c.layers[e.net.n_layers - 1]
    cdef Py_ssize_t i, j, at
    cdef nn_total total = nn_total(0, 0)
    cdef double weight
    cdef float *single = <float *>last.dz
    cdef double *wide = <double *>last.dz
    for j in range(c.count):
        weight = e.objective.weights[indices[j]]
        nn_add(&total, weight * e.ws.terms.losses[j])
        for i in range(e.net.outputs):
            at = i * c.call.padded + j
            if e.net.type_number == cnp.NPY_DOUBLE:
                wide[at] *= weight
            else:
                single[at] *= <float>weight
    return nn_value(&total)


cdef void column_softmax(Engine *e, Columns *c, nn_softmax *s) noexcept nogil:
    """The arguments of the softmax of the logits, in place and without labels."""
    cdef nn_column_layer *last = &c.layers[e.net.n_layers - 1]
    s.batch, s.classes, s.classes_contiguous, s.plain = c.count, last.n, 0, e.net.plain_nll
    s.z = s.p = s.grad = last.z
    s.y = NULL
    s.z_sample = s.p_sample = s.grad_sample = s.y_sample = 1
    s.z_class = s.p_class = s.grad_class = s.y_class = c.call.padded
    s.label_gap, s.label_sum, s.exp_rest = c.gap, c.sum, c.rest
    s.workspace = c.workspace


# ------------------------------------------------------------------------------------- mini-batches

cdef int column_gradients(Engine *e, const Step *step, nn_total *total) noexcept nogil:
    """Forward and backward pass of a batch, slice by slice: the summed loss, and the gradients
    added to w_gradient and b_gradient. Returns the Status."""
    cdef Py_ssize_t first = 0, n, i
    cdef double loss
    cdef Run *run = step.run
    cdef Layer *layer
    cdef Columns c
    while first < step.batch.size:
        n = min(step.batch.size - first, <Py_ssize_t>COLUMN_SLICE)
        open_columns(e, &c, 0, n)
        if not read_columns(e, run.x, step.indices + first, e.net.inputs, e.ws.x_rows,
                            e.net.x_stride, &c, c.x, run.checks_data):
            return BAD_DATA
        if not read_columns(e, run.y, step.indices + first, e.net.outputs, e.ws.y_rows,
                            e.net.outputs, &c, c.y, run.checks_data):
            return BAD_DATA
        adjust_labels(e, c.y, n, 1, c.call.padded)
        e.net.k.columns_forward(&c.call)
        loss = column_losses(e, &c, step.indices + first)
        if not isfinite(loss):
            return BAD_LOSS
        nn_add(total, loss)
        e.net.k.columns_backward(&c.call)
        first += n
    for i in range(e.net.n_layers):
        layer = &e.net.layers[i]
        e.net.k.subtract_scaled(layer.width, layer.b_gradient, layer.b_lost, -1)
    return FINITE


cdef void clear_column_gradients(Engine *e) noexcept nogil:
    cdef Py_ssize_t i
    cdef Layer *layer
    for i in range(e.net.n_layers):
        layer = &e.net.layers[i]
        memset(layer.w_gradient, 0, layer.inputs * layer.width * e.net.itemsize)
        memset(layer.b_gradient, 0, layer.width * e.net.itemsize)
        memset(layer.b_lost, 0, layer.width * e.net.itemsize)


cdef bint column_update(Engine *e, double eta) noexcept nogil:
    """W <- W - eta dL/dW, or the optimizer's step. Returns False if the optimizer reports a
    non-finite result."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, n
    cdef Layer *layer
    cdef Params *p
    cdef nn_rule bias_rule = e.opt.rule
    cdef bint finite = True
    bias_rule.l2 = 0
    for i in range(net.n_layers):
        layer, p = &net.layers[i], &net.layers[i].params
        n = layer.inputs * layer.width
        if e.opt.active:
            finite = net.k.optimizer_step(n, p.w, layer.w_gradient, state_row(e, p.state, 0, 0),
                                          state_row(e, p.state, 1, 0), &e.opt.rule) and finite
            if not layer.fixed_bias:
                finite = step_vector(e, layer.width, p.w0, layer.b_gradient, p.state0,
                                     &bias_rule) and finite
        else:
            net.k.subtract_scaled(n, p.w, layer.w_gradient, eta)
            if not layer.fixed_bias:
                net.k.subtract_scaled(layer.width, p.w0, layer.b_gradient, eta)
    return finite


cdef Py_ssize_t run_columns(Engine *e, Run *run) noexcept nogil:
    """Mini-batch steps of a narrow network. Returns 0, or the 1-based step that produced a
    non-finite value."""
    cdef Py_ssize_t first = 0, t = 0
    cdef Step *step = &e.step
    cdef nn_total total
    cdef bint finite
    while first < run.n_samples:
        begin_step(e, run, first, t)
        if e.opt.active:
            begin_optimizer_step(e, t, run.rates[t],
                                 1.0 / step.batch.size if run.mean else 1.0)
        t += 1
        clear_column_gradients(e)
        total.sum = total.lost = 0
        run.status = column_gradients(e, step, &total)
        if run.status == FINITE and not isfinite(nn_value(&total)):
            run.status = BAD_LOSS
        if run.status != FINITE:
            return t
        nn_add(&run.total, nn_value(&total))
        finite = True
        if e.opt.active:
            finite = add_penalty(run, single_penalty(e) * (step.batch.size if run.mean else 1))
        if e.opt.active and e.opt.clips:
            finish_all_gradients(e)
            finite = clipped_update(e, 0, 1) == FINITE and finite
        else:
            finite = column_update(e, step.eta) and finite
        if not finite or (run.checks_weights and not weights_finite(&e.net)):
            run.status = BAD_WEIGHTS
            return t
        first += step.batch.size
    return 0


# --------------------------------------------------------------------------------------- prediction

cdef void predict_columns(Engine *e, const Source *x, const int64_t *indices, Py_ssize_t count,
                          int thread, char *outputs) noexcept nogil:
    """The outputs (count, n), contiguous, of consecutive samples."""
    cdef Network *net = &e.net
    cdef Py_ssize_t first = 0, n
    cdef nn_column_layer *last
    cdef nn_softmax s
    cdef Columns c
    cdef char *rows = e.ws.x_rows + thread * PREDICT_BLOCK * net.x_stride * net.itemsize
    while first < count:
        n = min(count - first, <Py_ssize_t>COLUMN_SLICE)
        open_columns(e, &c, thread, n)
        last = &c.layers[net.n_layers - 1]
        read_columns(e, x, indices + first, net.inputs, rows, net.x_stride, &c, c.x, False)
        net.k.columns_forward(&c.call)
        if last.activation.kind == NN_SOFTMAX:
            column_softmax(e, &c, &s)
            net.k.softmax(&s)
        else:
            net.k.activation_forward(last.n * c.call.padded, last.z, last.z, last.activation)
        net.k.transpose(last.n, n, last.z, c.call.padded,
                        outputs + first * last.n * net.itemsize, last.n)
        first += n
