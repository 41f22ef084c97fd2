# Finite weights. Packed copies leave the user's arrays unchanged until a chunk has proved finite,
# so that a chunk can be run again. Weights trained in place cannot be restored: a bound on weights
# and state is maintained, and a step that might exceed the type's range is taken with a backup.
# Called by steppers.pxi and program.pxi.

cdef double largest_entry(const Network *net, Py_ssize_t rows, Py_ssize_t n, const char *x,
                          Py_ssize_t stride) noexcept nogil:
    """max |x| over a matrix; infinity if an entry is non-finite."""
    cdef Py_ssize_t i
    cdef double most = 0
    if stride == n:
        rows, n = 1, rows * n
    for i in range(rows):
        most = fmax(most, net.k.largest(n, x + i * stride * net.itemsize))
    return most


cdef double largest_weight(const Network *net) noexcept nogil:
    """max |w| over all weights in use; infinity if one is non-finite."""
    cdef Py_ssize_t i
    cdef const Layer *layer
    cdef const Params *p
    cdef double most = 0
    for i in range(net.n_layers):
        layer = &net.layers[i]
        p = &layer.params
        if p.rows == 0:
            continue
        if p.transposed:
            most = fmax(most, largest_entry(net, layer.outputs, layer.inputs, p.w, p.row_stride))
        else:
            most = fmax(most, largest_entry(net, p.rows, p.width, p.w, p.row_stride))
        most = fmax(most, largest_entry(net, 1, p.width, p.w0, 0))
    return most


cdef bint weights_finite(const Network *net) noexcept nogil:
    return isfinite(largest_weight(net))


cdef inline double greatest(const Network *net) noexcept nogil:
    """The bound below which numbers count as finite beyond doubt."""
    return FLOAT_LIMIT if net.type_number == cnp.NPY_FLOAT else DOUBLE_LIMIT


cdef double largest_gradient(Engine *e, const Batch *batch, double eta) noexcept nogil:
    """A bound on the change of any weight in a step: |eta| batch max |a| max |dL/dz|."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, x_stride = batch.x_stride, inputs = net.inputs
    cdef Layer *layer
    cdef const char *x = batch.x
    cdef double most = 0, largest_input, largest_grad
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if layer.kind == LINEAR:
            if i == 0 and batch.csr:
                largest_input = largest_csr_input(e, batch)
            elif i == 0 and batch.listed != NULL:
                largest_input = largest_listed_input(e, batch)
                # eta x is the factor of a gradient, which may be 0
                if not fabs(eta) * largest_input < greatest(net):
                    return INFINITY
            else:
                largest_input = largest_entry(net, batch.size, inputs, x, x_stride)
            largest_grad = largest_entry(net, batch.size, layer.outputs, layer.grad,
                                         layer.row_stride)
            most = fmax(most, fmax(1, largest_input) * largest_grad)
        elif layer.kind == BATCHNORM:
            largest_grad = fmax(net.k.largest(layer.outputs, layer.norm.g_grad),
                                net.k.largest(layer.outputs, layer.norm.b_grad))
            most = fmax(most, largest_grad / batch.size)
        x, x_stride, inputs = layer.a, layer.row_stride, layer.outputs
    return fabs(eta) * batch.size * most


cdef void start_bounds(Engine *e) noexcept nogil:
    """Compute the bounds of the weights and states in use."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, j
    cdef Params *p
    cdef double most
    e.weight_bound = largest_weight(net)
    for j in range(e.opt.n_states if e.opt.active else 0):
        e.opt.state_bound[j] = 0
        for i in range(net.n_layers):
            p = &net.layers[i].params
            if p.rows:
                most = fmax(largest_entry(net, p.rows, p.width, p.state[j], p.width),
                            largest_entry(net, 1, p.width, p.state0[j], 0))
                e.opt.state_bound[j] = fmax(e.opt.state_bound[j], most)


cdef bint step_stays_finite(Engine *e, const Batch *batch, double eta) noexcept nogil:
    """True if the coming step provably leaves weights and state finite; the bounds are advanced to
    those after it."""
    cdef double limit = greatest(&e.net)
    if e.opt.active:
        return optimizer_bounds_hold(e, batch, limit)
    if updates_in_one_pass(e, batch):
        return single_step_stays_finite(e, batch, eta, limit)
    e.weight_bound += largest_gradient(e, batch, eta)
    return e.weight_bound < limit


cdef bint single_step_stays_finite(Engine *e, const Batch *batch, double eta,
                                   double limit) noexcept nogil:
    """step_stays_finite at batch size 1, before the backward pass, which updates as it goes. The
    bound is loose, so that it is computed anew when it no longer proves anything."""
    cdef double bound = bound_after_single_step(e, batch, eta)
    if not bound < limit:
        e.weight_bound = largest_weight(&e.net)
        bound = bound_after_single_step(e, batch, eta)
    if not bound < limit:
        return False
    e.weight_bound = bound
    return True


cdef double bound_after_single_step(Engine *e, const Batch *batch, double eta) noexcept nogil:
    """A bound on |w| after the coming step: |dL/dz| of a layer is at most its outputs times max |w|
    times |dL/dz| of the layer after it, times a derivative of at most 2 or LeakyReLU's slope.
    Infinity if no bound is known."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i
    cdef Layer *layer
    cdef const char *x
    cdef double most = 0
    cdef double grad = net.k.largest(net.outputs, net.layers[net.n_layers - 1].grad)
    for i in range(net.n_layers - 1, -1, -1):
        layer = &net.layers[i]
        if layer.kind >= N_PLAIN_KINDS:
            return INFINITY
        if layer.kind == LINEAR:
            x = net.layers[i - 1].a if i > 0 else batch.x
            most = fmax(most, fmax(1, net.k.largest(layer.inputs, x)) * grad)
            grad *= layer.outputs * e.weight_bound
        if i > 0:
            grad *= 2 * fmax(1, net.layers[i - 1].activation.slope)
    if not grad < FLOAT_LIMIT:  # a product of that size would not be finite in float32
        return INFINITY
    return e.weight_bound + fabs(eta) * most


cdef double LARGEST_IN_NORM = 1e145  # the squares of up to 1e17 such entries add up in a double


cdef bint optimizer_bounds_hold(Engine *e, const Batch *batch, double limit) noexcept nogil:
    """step_stays_finite for the optimizer's rule."""
    cdef nn_rule *rule = &e.opt.rule
    cdef double *state = e.opt.state_bound
    cdef double g = largest_gradient(e, batch, rule.scale) + rule.l2 * e.weight_bound, move
    if not rule.l2 * e.weight_bound * e.weight_bound * e.net.n_weights * batch.size < DOUBLE_LIMIT:
        return False  # the penalty might overflow
    if e.opt.clips and g < limit:
        if e.opt.clip_norm < INFINITY and g > LARGEST_IN_NORM:
            return False
        g = fmin(g, fmin(e.opt.clip_value, e.opt.clip_norm))
    if rule.kind == NN_SGD:
        move = g
    elif rule.kind == NN_MOMENTUM or rule.kind == NN_NESTEROV:
        state[0] = fabs(rule.beta1) * state[0] + g
        move = g + state[0]
    elif rule.kind == NN_ADAM:
        state[0] = state[0] + g
        state[1] = state[1] + g * g
        move = state[0] / rule.eps
    elif rule.kind == NN_ADAGRAD or rule.kind == NN_RMSPROP:
        state[0] = state[0] + g * g
        move = g / rule.eps
    else:
        return False  # no bound is known: the step is taken with a copy at hand
    e.weight_bound = fabs(rule.keep) * e.weight_bound + fabs(rule.eta) * move
    return (e.weight_bound < limit and g < limit and move < limit
            and (e.opt.n_states < 1 or state[0] < limit)
            and (e.opt.n_states < 2 or state[1] < limit))
