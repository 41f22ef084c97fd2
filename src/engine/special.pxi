# BatchNorm and Dropout in training. (In prediction a BatchNorm with running statistics is folded
# into a Linear, and a Dropout is left out.) Called by layers.pxi and optimizer.pxi.
#
# G and B are loaded, trained and stored like a Linear's W and W0, with one row. The running
# statistics are updated with the weights, so that a step that is not taken leaves them unchanged. A
# Dropout's mask is a function of its key and the number of its forward pass, which is that of the
# step, so that a repeated step has the same mask.

cdef enum SpecialKind:
    BATCHNORM = N_PLAIN_KINDS
    DROPOUT


cdef void special_forward(Engine *e, Layer *layer, const Batch *batch, const char *x,
                          Py_ssize_t x_stride) noexcept nogil:
    """The outputs of a layer that is neither a Linear nor an activation."""
    if layer.kind == BATCHNORM:
        batchnorm_forward_rows(&e.net, layer, batch, x, x_stride)
    elif layer.kind == DROPOUT:
        dropout_rows(e, layer, batch, x, x_stride, first_row(&e.net, layer.a, layer, batch))


cdef void special_backward(Engine *e, Layer *layer, const Batch *batch) noexcept nogil:
    """Convert such a layer's grad from dL/d(outputs) to dL/d(inputs), in place."""
    cdef char *grad = first_row(&e.net, layer.grad, layer, batch)
    if layer.kind == BATCHNORM:
        batchnorm_backward_rows(&e.net, layer, batch, grad)
    elif layer.kind == DROPOUT:
        dropout_rows(e, layer, batch, grad, layer.row_stride, grad)


cdef void batchnorm_forward_rows(const Network *net, Layer *layer, const Batch *batch,
                                 const char *x, Py_ssize_t x_stride) noexcept nogil:
    """Z = G * norm + B, norm = (X - mean) / sqrt(var + eps) over the batch."""
    cdef nn_batchnorm f
    memset(&f, 0, sizeof(f))
    f.batch, f.features = batch.size, layer.outputs
    f.x, f.x_stride, f.row_stride = x, x_stride, layer.row_stride
    f.g, f.shift, f.eps = layer.params.w, layer.params.w0, layer.norm.eps
    f.mean, f.var, f.z, f.norm = layer.norm.mean, layer.norm.var, layer.a, layer.norm.norm
    net.k.batchnorm_forward(&f)


cdef void batchnorm_backward_rows(const Network *net, Layer *layer, const Batch *batch,
                                  char *grad) noexcept nogil:
    """dL/dX in place of dL/dZ in `grad`, dL/dG and dL/dB."""
    cdef nn_batchnorm f
    memset(&f, 0, sizeof(f))
    f.batch, f.features, f.row_stride = batch.size, layer.outputs, layer.row_stride
    f.g, f.var, f.eps, f.norm = layer.params.w, layer.norm.var, layer.norm.eps, layer.norm.norm
    f.dz, f.dx, f.dg, f.dshift = grad, grad, layer.norm.g_grad, layer.norm.b_grad
    net.k.batchnorm_backward(&f)


cdef void batchnorm_update(const Network *net, Layer *layer, Py_ssize_t batch,
                           double eta) noexcept nogil:
    """G <- G - eta dL/dG, B <- B - eta dL/dB."""
    net.k.subtract_scaled(layer.params.width, layer.params.w, layer.norm.g_grad, eta)
    net.k.subtract_scaled(layer.params.width, layer.params.w0, layer.norm.b_grad, eta)
    update_running_statistics(net, layer, batch)


cdef void update_running_statistics(const Network *net, Layer *layer,
                                    Py_ssize_t batch) noexcept nogil:
    """Move the running mean and the running unbiased variance towards the batch's."""
    cdef NormState *norm = &layer.norm
    if norm.running:
        net.k.ema_update(layer.outputs, norm.running_mean, norm.mean, 1, norm.momentum)
        if batch > 1:
            net.k.ema_update(layer.outputs, norm.running_var, norm.var,
                             <double>batch / (batch - 1), norm.momentum)


cdef void dropout_rows(const Engine *e, const Layer *layer, const Batch *batch, const char *x,
                       Py_ssize_t x_stride, char *y) noexcept nogil:
    """y <- x * mask / (1 - p), with the mask of the current step."""
    cdef const DropoutState *drop = &layer.drop
    cdef uint64_t forwards = drop.count + <uint64_t>(e.run.steps_before + e.run.offset + 1)
    cdef uint64_t word = dropout_word(drop.key, forwards)
    cdef Py_ssize_t r, size = e.net.itemsize
    for r in range(batch.size):
        e.net.k.dropout(layer.outputs, x + r * x_stride * size, y + r * layer.row_stride * size,
                        word, <uint32_t>((batch.first + r) * layer.outputs), drop.threshold,
                        drop.scale)
