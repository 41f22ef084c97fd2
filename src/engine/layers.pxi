# The passes through the layers: forward, backward, update. Samples are rows inside the engine: activations are (batch, width) and W
# is (m, n), both row-major, so that every pass runs along W's rows. In the notes' notation, with samples as columns:
#
#     forward    Z = Wᵀ A + W0, A = f(Z)
#     loss       dL/dZ of the last layer, from its logits and Y
#     backward   dL/dA = W dL/dZ, dL/dZ of the layer before = dL/dA ⊙ f'(Z)
#     update     W ← W − η A (dL/dZ)ᵀ, W0 ← W0 − η Σ dL/dZ
#
# Padding of W, biases and gradients is zero and stays zero.

# ------------------------------------------------------------------------------------------ forward

cdef void forward(Engine *e, const Batch *batch, bint keep_logits) noexcept nogil:
    """Activations of all layers. With keep_logits the last layer's softmax or output sigmoid is
    left to the loss."""
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
        elif layer.kind == BATCHNORM:
            batchnorm_forward_rows(net, layer, batch, x, x_stride)
        else:
            dropout_rows(e, layer, batch, x, x_stride,
                         layer.a + batch.first * layer.row_stride * net.itemsize)
        if not (keep_logits and i == net.n_layers - 1):
            output_unit(e, i, batch)
        x, x_stride = layer.a + batch.first * layer.row_stride * net.itemsize, layer.row_stride


cdef inline nn_activation inner_activation(const Layer *layer) noexcept nogil:
    """The element-wise activation of a layer; that of an output unit is none."""
    cdef nn_activation f = layer.activation
    if f.kind == NN_SOFTMAX or f.kind == NN_OUTPUT_SIGMOID:
        f.kind = NN_NONE
    return f


cdef inline nn_activation fused_activation(const Layer *layer) noexcept nogil:
    """The activation that the kernel of the layer's product applies: none if z must be kept."""
    cdef nn_activation f = inner_activation(layer)
    if layer.z != layer.a:
        f.kind = NN_NONE
    return f


cdef void linear_forward_rows(Engine *e, Py_ssize_t i, const Batch *batch, const char *x,
                              Py_ssize_t x_stride) noexcept nogil:
    """Z = X W + W0 and A = f(Z) of layer i."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Params *p = &layer.params
    cdef char *z = layer.z + batch.first * layer.row_stride * net.itemsize
    cdef nn_gemm g
    if i == 0 and batch.csr:
        csr_forward(e, layer, batch, z)
    elif batch.size > 1:
        g.m, g.n, g.k = batch.size, p.width, layer.inputs
        g.a, g.a_rs, g.a_cs = x, x_stride, 1
        g.b, g.b_rs, g.b_cs, g.work = p.w, p.row_stride, 1, batch.gemm
        g.c, g.c_rs = z, layer.row_stride
        g.epilogue, g.activation = NN_STORE, fused_activation(layer)
        g.bias, g.bias_down_rows = p.w0, 0
        net.k.gemm(&g)
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
    cdef char *a = layer.a + batch.first * layer.row_stride * size
    for r in range(batch.size):
        net.k.activation_forward(layer.outputs, x + r * x_stride * size,
                                 a + r * layer.row_stride * size,
                       inner_activation(layer))


cdef void keep_inputs(const Network *net, const Layer *layer, const Batch *batch, const char *x,
                      Py_ssize_t x_stride) noexcept nogil:
    """Z = X of an activation that does not follow a Linear, if its derivative uses Z."""
    cdef Py_ssize_t r, size = net.itemsize
    cdef char *z = layer.z + batch.first * layer.row_stride * size
    for r in range(batch.size if layer.z != layer.a else 0):
        memcpy(z + r * layer.row_stride * size, x + r * x_stride * size, layer.outputs * size)


cdef void output_unit(Engine *e, Py_ssize_t i, const Batch *batch) noexcept nogil:
    """The softmax or output sigmoid of layer i, in place of its logits; the last softmax writes to
    batch.outputs if there is one."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef Py_ssize_t r
    cdef char *a = layer.a + batch.first * layer.row_stride * net.itemsize
    if layer.activation.kind == NN_SOFTMAX:
        softmax(e, i, batch, NULL, True)
    elif layer.activation.kind == NN_OUTPUT_SIGMOID:
        for r in range(batch.size):
            net.k.activation_forward(layer.outputs, a + r * layer.row_stride * net.itemsize,
                                     a + r * layer.row_stride * net.itemsize, layer.activation)


cdef void softmax(Engine *e, Py_ssize_t i, const Batch *batch, const char *y,
                  bint keeps_outputs) noexcept nogil:
    """Softmax of layer i's logits. With labels y, its gradient becomes dL/dZ of the NLL and the
    workspace gets the terms of the loss; the probabilities are kept if keeps_outputs."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef LossTerms *terms = &e.ws.terms
    cdef nn_softmax f
    cdef Py_ssize_t first = batch.first * net.itemsize
    f.batch, f.classes, f.classes_contiguous = batch.size, layer.outputs, 1
    f.z, f.z_sample, f.z_class = layer.a + first * layer.row_stride, layer.row_stride, 1
    f.p, f.p_sample, f.p_class = (layer.a if keeps_outputs
                                  else layer.grad) + first * layer.row_stride, layer.row_stride, 1
    if keeps_outputs and batch.outputs != NULL and i == net.n_layers - 1:
        f.p, f.p_sample = batch.outputs, layer.outputs
    f.y, f.y_sample, f.y_class, f.plain = y, batch.y_stride, 1, net.plain_nll
    f.grad, f.grad_sample, f.grad_class = layer.grad + first * layer.row_stride, layer.row_stride, 1
    f.label_gap, f.label_sum, f.exp_rest = terms.label_gap + first, terms.label_sum + first, terms.exp_rest + first
    net.k.softmax(&f)


# --------------------------------------------------------------------------------------------- loss

cdef bint loss_gradient(Engine *e, const Batch *batch, bint with_losses,
                        bint keeps_outputs=False) noexcept nogil:
    """dL/dZ of the last layer and the samples' losses; with keeps_outputs the probabilities of a
    softmax, too. False: not finite.

    Without with_losses the losses are not computed where the terms they are made of show whether
    they are finite.
    """
    cdef Network *net = &e.net
    cdef Layer *last = &net.layers[net.n_layers - 1]
    cdef LossTerms *terms = &e.ws.terms
    cdef Py_ssize_t r, size = net.itemsize, first = batch.first * size, row = last.row_stride * size
    cdef double *losses = terms.losses + batch.first
    cdef bint finite = True
    if net.loss == NN_NLL:
        softmax(e, net.n_layers - 1, batch, batch.y, keeps_outputs)
        if not with_losses:
            return net.k.all_finite(batch.size,
                                    terms.label_gap + first) and net.k.all_finite(batch.size,
                                                                                  terms.exp_rest + first)
        net.k.softmax_losses(batch.size, terms.label_gap + first, terms.label_sum + first,
                             terms.exp_rest + first, losses, False)
    else:
        for r in range(batch.size):
            losses[r] = net.k.loss_and_gradient(last.outputs,
                                                last.a + first * last.row_stride + r * row,
                                                batch.y + r * batch.y_stride * size, last.grad + first * last.row_stride + r * row,
                                                net.loss)
    for r in range(batch.size):
        finite = finite and isfinite(losses[r])
    return finite


# ----------------------------------------------------------------------------------------- backward

cdef void backward(Engine *e, const Batch *batch) noexcept nogil:
    """dL/dZ of every layer, from the last one's to the first one's."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, r, size = net.itemsize, first = batch.first * size
    cdef Layer *layer
    cdef Layer *before
    cdef nn_gemm g
    for i in range(net.n_layers - 1, 0, -1):
        layer, before = &net.layers[i], &net.layers[i - 1]
        if layer.kind == LINEAR:
            g.m, g.n, g.k = batch.size, layer.inputs, layer.outputs
            g.a, g.a_rs, g.a_cs = layer.grad + first * layer.row_stride, layer.row_stride, 1
            g.b, g.b_rs, g.b_cs, g.work = layer.params.w, 1, layer.params.row_stride, batch.gemm
            g.c, g.c_rs = before.grad + first * before.row_stride, before.row_stride
            g.epilogue, g.activation = NN_DERIVATIVE, inner_activation(before)
            g.d, g.d_rs = before.z + first * before.row_stride, before.row_stride
            net.k.gemm(&g)
        else:
            for r in range(batch.size):
                net.k.activation_backward(layer.inputs,
                                          layer.grad + (first + r * size) * layer.row_stride,
                             before.z + (first + r * size) * before.row_stride, before.grad + (first + r * size) * before.row_stride,
                             inner_activation(before))
        special_backward(e, before, batch)


cdef void special_backward(Engine *e, Layer *layer, const Batch *batch) noexcept nogil:
    """A BatchNorm's or Dropout's grad, until now with respect to its outputs, becomes that with
    respect to its inputs."""
    cdef char *grad = layer.grad + batch.first * layer.row_stride * e.net.itemsize
    if layer.kind == BATCHNORM:
        batchnorm_backward_rows(&e.net, layer, batch, grad)
    elif layer.kind == DROPOUT:
        dropout_rows(e, layer, batch, grad, layer.row_stride, grad)


# ------------------------------------------------------------------------------------------- update

cdef void update(Engine *e, const Batch *batch, double eta, int partition, int n_partitions,
                 int thread) noexcept nogil:
    """W ← W − η Xᵀ dZ and W0 ← W0 − η Σ dZ, for one partition of the rows of every W."""
    cdef Network *net = &e.net
    cdef Py_ssize_t i, x_stride = batch.x_stride, low, high
    cdef Layer *layer
    cdef const char *x = batch.x
    cdef char *bias_grad = e.ws.bias_grad + thread * net.widest * net.itemsize
    for i in range(net.n_layers):
        layer = &net.layers[i]
        if layer.kind == LINEAR:
            low, high = layer.inputs * partition // n_partitions, layer.inputs * (partition + 1) // n_partitions
            update_rows(e, i, batch, x, x_stride, eta, low, high, thread)
            if i % n_partitions == partition:
                net.k.sum_rows(batch.size, layer.params.width, layer.grad, layer.row_stride,
                               bias_grad)
                net.k.subtract_scaled(layer.params.width, layer.params.w0, bias_grad, eta)
        elif layer.kind == BATCHNORM and partition == 0:
            batchnorm_update(net, layer, batch.size, eta)
        x, x_stride = layer.a, layer.row_stride


cdef void update_rows(Engine *e, Py_ssize_t i, const Batch *batch, const char *x,
                      Py_ssize_t x_stride, double eta, Py_ssize_t low,
                      Py_ssize_t high, int thread) noexcept nogil:
    """Rows low .. high − 1 of layer i's W."""
    cdef Network *net = &e.net
    cdef Layer *layer = &net.layers[i]
    cdef char *w = layer.params.w + low * layer.params.row_stride * net.itemsize
    cdef nn_gemm g
    if i == 0 and batch.csr:
        transpose_csr(e, batch, low, high)
        csr_gradient(e, layer, batch, low, high, w, layer.params.row_stride, True, eta)
        return
    g.m, g.n, g.k = high - low, layer.params.width, batch.size
    g.a, g.a_rs, g.a_cs = x + low * net.itemsize, 1, x_stride
    g.b, g.b_rs, g.b_cs, g.work = layer.grad, layer.row_stride, 1, e.ws.gemm + thread * e.ws.gemm_bytes
    g.c, g.c_rs, g.epilogue, g.eta = w, layer.params.row_stride, NN_UPDATE, eta
    net.k.gemm(&g)


# --------------------------------------------------------------------------------------- one sample

cdef void backward_and_update(Engine *e, const Batch *sample, double eta) noexcept nogil:
    """The backward pass of one sample; each layer's weights are updated in the pass that takes the
    gradient through them."""
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
        if layer.kind == LINEAR:
            net.k.subtract_scaled(p.width, p.w0, layer.grad, eta)
