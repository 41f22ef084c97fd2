# The passes through the layers: forward, loss, backward, update. Samples are rows inside the
# engine: activations are (batch, width) and W is (m, n), both row-major, so that every pass runs
# along W's rows. In the notes' notation, with samples as columns:
#
#     forward    Z = W^T A + W0, A = f(Z)
#     loss       dL/dZ of the last layer, from its logits and Y
#     backward   dL/dA = W dL/dZ, and dL/dZ = dL/dA * f'(Z) of the layer before
#     update     W <- W - eta dL/dW, dL/dW = A (dL/dZ)^T; W0 <- W0 - eta sum of dL/dZ
#
# Padding of W, biases and gradients is zero and stays zero. Called by steppers.pxi and predict.pxi.

# ------------------------------------------------------------------------------------------ forward

cdef void forward(Engine *e, const Batch *batch, bint keep_logits) noexcept nogil:
    """Z = W^T A + W0 and A = f(Z) of every layer, from the first one's to the last one's.

    With keep_logits the softmax or output sigmoid of the last layer is left to the loss.
    """
    cdef Network *net = &e.net
    cdef Py_ssize_t i
    cdef Layer *layer
    cdef const char *x = batch.x
    cdef Py_ssize_t x_stride = batch.x_stride
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if layer.kind == LINEAR:
            linear_forward_rows(e, i, batch, x, x_stride)
        elif layer.kind == ACTIVATION:
            keep_inputs(net, layer, batch, x, x_stride)
            activate_rows(net, layer, batch, x, x_stride)
        else:
            special_forward(e, layer, batch, x, x_stride)
        if not (keep_logits and i == net.n_layers - 1):
            output_unit(e, i, batch)
        x, x_stride = first_row(net, layer.a, layer, batch), layer.row_stride


cdef inline char *first_row(const Network *net, char *rows, const Layer *layer,
                            const Batch *batch) noexcept nogil:
    """The batch's first row of a layer's z, a or grad."""
    return rows + batch.first * layer.row_stride * net.itemsize


cdef inline nn_activation inner_activation(const Layer *layer) noexcept nogil:
    """The element-wise activation of a layer; none for an output unit."""
    cdef nn_activation f = layer.activation
    if f.kind == NN_SOFTMAX or f.kind == NN_OUTPUT_SIGMOID:
        f.kind = NN_NONE
    return f


cdef inline nn_activation fused_activation(const Layer *layer) noexcept nogil:
    """The activation that the kernel of the layer's product applies; none if z must be kept."""
    cdef nn_activation f = inner_activation(layer)
    if layer.z != layer.a:
        f.kind = NN_NONE
    return f


cdef void linear_forward_rows(Engine *e, Py_ssize_t i, const Batch *batch, const char *x,
                              Py_ssize_t x_stride) noexcept nogil:
    """Z = W^T X + W0 and A = f(Z) of layer i; for samples as rows Z = X W + W0."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Params *p = &layer.params
    cdef char *z = first_row(net, layer.z, layer, batch)
    cdef nn_gemm g
    if i == 0 and batch.csr:
        csr_forward(e, layer, batch, z)
    elif i == 0 and batch.listed != NULL:
        listed_forward(e, layer, batch, z)
    elif batch.size > 1:
        g.m, g.n, g.k = batch.size, p.width, layer.inputs
        g.a, g.a_rs, g.a_cs = x, x_stride, 1
        g.b, g.b_rs, g.b_cs, g.packed = p.w, p.row_stride, 1, p.panels
        g.c, g.c_rs = z, layer.row_stride
        g.epilogue, g.activation = NN_STORE, fused_activation(layer)
        g.bias, g.bias_down_rows = p.w0, 0
        g.workspace = batch.gemm
        net.k.gemm(&g)
    elif e.call.live:
        net.k.gemv_unpadded(layer.inputs, layer.outputs, x, p.w, p.row_stride, p.w0, z,
                            fused_activation(layer))
    elif i == 0:
        first_layer_forward(e, layer, x, z)
    elif p.transposed:
        net.k.gemv_wt(layer.inputs, layer.outputs, x, p.w, p.row_stride, p.w0, z,
                      fused_activation(layer))
    else:
        net.k.gemv(layer.inputs, p.width, x, NULL, p.w, p.row_stride, p.w0, z,
                   fused_activation(layer))
    if layer.z != layer.a:
        activate_rows(net, layer, batch, z, layer.row_stride)


cdef void activate_rows(const Network *net, const Layer *layer, const Batch *batch, const char *x,
                        Py_ssize_t x_stride) noexcept nogil:
    """A = f(X), row by row."""
    cdef Py_ssize_t r, size = net.itemsize
    cdef char *a = first_row(net, layer.a, layer, batch)
    for r in range(batch.size):
        net.k.activation_forward(layer.outputs, x + r * x_stride * size,
                                 a + r * layer.row_stride * size, inner_activation(layer))


cdef void keep_inputs(const Network *net, const Layer *layer, const Batch *batch, const char *x,
                      Py_ssize_t x_stride) noexcept nogil:
    """Z = X of an activation that does not follow a Linear, if its derivative uses Z."""
    cdef Py_ssize_t r, size = net.itemsize
    cdef char *z = first_row(net, layer.z, layer, batch)
    for r in range(batch.size if layer.z != layer.a else 0):
        memcpy(z + r * layer.row_stride * size, x + r * x_stride * size, layer.outputs * size)


cdef void output_unit(Engine *e, Py_ssize_t i, const Batch *batch) noexcept nogil:
    """A = softmax(Z) or sigmoid(Z) of layer i, if it has an output unit, in place; the last softmax
    writes to batch.outputs if that is not NULL."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Py_ssize_t r, row = layer.row_stride * net.itemsize
    cdef char *a = first_row(net, layer.a, layer, batch)
    if layer.activation.kind == NN_SOFTMAX:
        softmax(e, i, batch, NULL, True)
    elif layer.activation.kind == NN_OUTPUT_SIGMOID:
        for r in range(batch.size):
            net.k.activation_forward(layer.outputs, a + r * row, a + r * row, layer.activation)


cdef void softmax(Engine *e, Py_ssize_t i, const Batch *batch, const char *y,
                  bint keeps_outputs) noexcept nogil:
    """A = softmax(Z) of layer i and, given labels y, dL/dZ = (sum of y) A - Y of the NLL and the
    terms of the losses in the workspace. A is kept if keeps_outputs."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef LossTerms *terms = &e.ws.terms
    cdef Py_ssize_t first = batch.first * net.itemsize
    cdef nn_softmax s
    s.batch, s.classes, s.classes_contiguous = batch.size, layer.outputs, 1
    s.z = first_row(net, layer.a, layer, batch)
    s.p = first_row(net, layer.a if keeps_outputs else layer.grad, layer, batch)
    s.grad = first_row(net, layer.grad, layer, batch)
    s.y, s.plain = y, net.plain_nll
    s.z_sample = s.p_sample = s.grad_sample = layer.row_stride
    s.y_sample = batch.y_stride
    s.z_class = s.p_class = s.grad_class = s.y_class = 1
    if keeps_outputs and batch.outputs != NULL and i == net.n_layers - 1:
        s.p, s.p_sample = batch.outputs, layer.outputs
    s.label_gap = terms.label_gap + first
    s.label_sum = terms.label_sum + first
    s.exp_rest = terms.exp_rest + first
    net.k.softmax(&s)


# --------------------------------------------------------------------------------------------- loss

cdef bint loss_gradient(Engine *e, const Batch *batch, bint with_losses,
                        bint keeps_outputs=False) noexcept nogil:
    """dL/dZ of the last layer from its logits and Y, and the loss of each sample. Returns False if
    a loss is non-finite.

    For NLL through a softmax dL/dZ = A - Y, if the labels of a sample sum to 1. With keeps_outputs
    the probabilities A are kept. Without with_losses the losses of NLL are not computed: their
    terms suffice to detect non-finite ones.
    """
    cdef Network *net = &e.net
    cdef Layer *last = &net.layers[net.n_layers - 1]
    cdef LossTerms *terms = &e.ws.terms
    cdef Py_ssize_t r, size = net.itemsize, first = batch.first * size, row = last.row_stride * size
    cdef const char *z = first_row(net, last.a, last, batch)
    cdef char *grad = first_row(net, last.grad, last, batch)
    cdef double *losses = terms.losses + batch.first
    cdef const char *y
    cdef Py_ssize_t y_bytes = batch.y_stride * size
    cdef bint finite = True
    if net.loss == NN_NLL:
        softmax(e, net.n_layers - 1, batch, batch.y, keeps_outputs)
        if not with_losses:
            return (net.k.all_finite(batch.size, terms.label_gap + first)
                    and net.k.all_finite(batch.size, terms.exp_rest + first))
        net.k.softmax_losses(batch.size, terms.label_gap + first, terms.label_sum + first,
                             terms.exp_rest + first, losses, False)
    else:
        for r in range(batch.size):
            y = batch.y + (r if batch.y_index == NULL else batch.y_index[r]) * y_bytes
            losses[r] = net.k.loss_and_gradient(last.outputs, z + r * row, y, grad + r * row,
                                                net.loss, e.objective.loss_parameter)
    for r in range(batch.size):
        finite = finite and isfinite(losses[r])
    if e.objective.clips:
        clip_losses(net, batch.size, losses)
    return finite


cdef void clip_losses(const Network *net, Py_ssize_t n, double *losses) noexcept nogil:
    """The losses of probabilities in [eps, 1 - eps], for one right class per sample; NaN stays
    NaN."""
    cdef double eps = 2.220446049250313e-16
    if net.type_number == cnp.NPY_FLOAT:
        eps = 1.1920928955078125e-07
    cdef double low = -log1p(-eps), high = -log(eps)
    cdef Py_ssize_t r
    for r in range(n):
        if losses[r] < low:
            losses[r] = low
        elif losses[r] > high:
            losses[r] = high


cdef void weigh_samples(Engine *e, const Batch *batch, const int64_t *indices) noexcept nogil:
    """Multiply the batch's losses and dL/dZ of the last layer by the samples' weights."""
    cdef Network *net = &e.net
    cdef Layer *last = &net.layers[net.n_layers - 1]
    cdef Py_ssize_t r
    cdef double weight
    cdef char *grad
    for r in range(batch.size):
        weight = e.objective.weights[indices[r]]
        grad = last.grad + (batch.first + r) * last.row_stride * net.itemsize
        net.k.scaled(last.outputs, grad, weight, grad)
        e.ws.terms.losses[batch.first + r] *= weight


# ----------------------------------------------------------------------------------------- backward

cdef void backward(Engine *e, const Batch *batch) noexcept nogil:
    """dL/dA = W dL/dZ and dL/dZ = dL/dA * f'(Z), from the last layer's dL/dZ to the first one's."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, r, size = net.itemsize
    cdef Layer *layer
    cdef Layer *before
    cdef const char *z
    cdef const char *grad
    cdef char *grad_before
    cdef nn_gemm g
    for i in range(net.n_layers - 1, 0, -1):
        layer, before = &net.layers[i], &net.layers[i - 1]
        grad = first_row(net, layer.grad, layer, batch)
        grad_before = first_row(net, before.grad, before, batch)
        z = first_row(net, before.z, before, batch)
        if layer.kind == LINEAR:
            g.m, g.n, g.k = batch.size, layer.inputs, layer.outputs
            g.a, g.a_rs, g.a_cs = grad, layer.row_stride, 1
            g.b, g.b_rs, g.b_cs, g.packed = layer.params.w, 1, layer.params.row_stride, NULL
            g.c, g.c_rs = grad_before, before.row_stride
            g.epilogue, g.activation = NN_DERIVATIVE, inner_activation(before)
            g.d, g.d_rs = z, before.row_stride
            g.workspace = batch.gemm
            net.k.gemm(&g)
        else:
            for r in range(batch.size):
                net.k.activation_backward(layer.inputs, grad + r * layer.row_stride * size,
                                          z + r * before.row_stride * size,
                                          grad_before + r * before.row_stride * size,
                                          inner_activation(before))
        special_backward(e, before, batch)


# ------------------------------------------------------------------------------------------- update

cdef void update(Engine *e, const Batch *batch, double eta, int partition, int n_partitions,
                 int thread) noexcept nogil:
    """W <- W - eta dL/dW, dL/dW = A (dL/dZ)^T, and W0 <- W0 - eta sum of dL/dZ, for one partition
    of the rows of every W."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, x_stride = batch.x_stride, low, high
    cdef Layer *layer
    cdef const char *x = batch.x
    cdef char *bias_grad = e.ws.bias_grad + thread * net.widest * net.itemsize
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if layer.kind == LINEAR:
            low = layer.inputs * partition // n_partitions
            high = layer.inputs * (partition + 1) // n_partitions
            update_rows(e, i, batch, x, x_stride, eta, low, high, thread)
            if i % n_partitions == partition and not layer.fixed_bias:
                net.k.sum_rows(batch.size, layer.params.width, layer.grad, layer.row_stride,
                               bias_grad)
                net.k.subtract_scaled(layer.params.width, layer.params.w0, bias_grad, eta)
        elif layer.kind == BATCHNORM and partition == 0:
            batchnorm_update(net, layer, batch.size, eta)
        x, x_stride = layer.a, layer.row_stride


cdef void update_rows(Engine *e, Py_ssize_t i, const Batch *batch, const char *x,
                      Py_ssize_t x_stride, double eta, Py_ssize_t low, Py_ssize_t high,
                      int thread) noexcept nogil:
    """W <- W - eta A (dL/dZ)^T for rows low .. high - 1 of layer i; for samples as rows the product
    is X^T dL/dZ."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Params *p = &layer.params
    cdef char *w = p.w + low * p.row_stride * net.itemsize
    cdef nn_gemm g
    if i == 0 and batch.csr:
        transpose_csr(e, batch, low, high)
        csr_gradient(e, layer, batch, low, high, w, p.row_stride, True, eta)
        return
    if i == 0 and batch.listed != NULL:
        listed_update(e, layer, batch, low, high, eta)
        return
    g.m, g.n, g.k = high - low, p.width, batch.size
    g.a, g.a_rs, g.a_cs = x + low * net.itemsize, 1, x_stride
    g.b, g.b_rs, g.b_cs, g.packed = layer.grad, layer.row_stride, 1, NULL
    g.c, g.c_rs = w, p.row_stride
    g.epilogue, g.eta = NN_UPDATE, eta
    g.workspace = e.ws.gemm + thread * e.ws.gemm_bytes
    net.k.gemm(&g)


# ------------------------------------------------------------------------------------- batch size 1

cdef inline bint updates_in_one_pass(const Engine *e, const Batch *batch) noexcept nogil:
    """True if a step of plain SGD goes by backward_and_update, which reads the inputs of one sample
    as a row: the last batch of an epoch may hold one sample, too."""
    return batch.size == 1 and batch.listed == NULL and not e.opt.active


cdef void backward_and_update(Engine *e, const Batch *sample, double eta) noexcept nogil:
    """Backward pass and update of one sample: dL/dA = W dL/dZ and W <- W - eta A (dL/dZ)^T in one
    pass over each W, then dL/dZ = dL/dA * f'(Z) of the layer before."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i
    cdef Layer *layer
    cdef Layer *before
    cdef Params *p
    for i in range(net.n_layers - 1, -1, -1):
        layer, p = &net.layers[i], &net.layers[i].params
        before = &net.layers[i - 1] if i > 0 else NULL
        if layer.kind == BATCHNORM:
            batchnorm_update(net, layer, 1, eta)
        if layer.kind != LINEAR:
            if before != NULL:
                net.k.activation_backward(layer.inputs, layer.grad, before.z, before.grad,
                                          inner_activation(before))
        elif before == NULL:
            first_layer_update(e, layer, sample.x, eta)
        else:
            if p.transposed:
                net.k.gemv_backward_wt(layer.inputs, layer.outputs, p.w, p.row_stride, before.a,
                                       layer.grad, before.grad, fused_activation(before), eta)
            else:
                net.k.gemv_backward(layer.inputs, p.width, p.w, p.row_stride, before.a, layer.grad,
                                    before.grad, fused_activation(before), eta)
            if before.z != before.a:
                net.k.activation_backward(layer.inputs, before.grad, before.z, before.grad,
                                          inner_activation(before))
        if before != NULL:
            special_backward(e, before, sample)
        if layer.kind == LINEAR and not layer.fixed_bias:
            net.k.subtract_scaled(p.width, p.w0, layer.grad, eta)
