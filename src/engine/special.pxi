# BatchNorm and Dropout in training. (In prediction a BatchNorm with running statistics is folded
# into a Linear, a Dropout left out.)
#
# G and B are loaded, trained and stored as a Linear's W and W0, with one row. The running
# statistics move with the update, so that a step that is not taken leaves them alone. A Dropout's
# mask is a function of its key and the number of its forward pass, which is that of the step: a
# step done again has the same mask.

cdef void batchnorm_forward_rows(const Network *net, Layer *layer, const Batch *batch,
                                 const char *x, Py_ssize_t x_stride) noexcept nogil:
    cdef nn_batchnorm f
    memset(&f, 0, sizeof(f))
    f.batch, f.features, f.x, f.x_stride, f.row_stride = batch.size, layer.outputs, x, x_stride, layer.row_stride
    f.g, f.shift, f.eps = layer.params.w, layer.params.w0, layer.norm.eps
    f.mean, f.var, f.z, f.norm = layer.norm.mean, layer.norm.var, layer.a, layer.norm.norm
    net.k.batchnorm_forward(&f)


cdef void batchnorm_backward_rows(const Network *net, Layer *layer, const Batch *batch,
                                  char *grad) noexcept nogil:
    cdef nn_batchnorm f
    memset(&f, 0, sizeof(f))
    f.batch, f.features, f.row_stride, f.g = batch.size, layer.outputs, layer.row_stride, layer.params.w
    f.var, f.eps, f.norm = layer.norm.var, layer.norm.eps, layer.norm.norm
    f.dz, f.dx, f.dg, f.dshift = grad, grad, layer.norm.g_grad, layer.norm.b_grad
    net.k.batchnorm_backward(&f)


cdef void batchnorm_update(const Network *net, Layer *layer, Py_ssize_t batch,
                           double eta) noexcept nogil:
    """The step of plain SGD."""
    net.k.subtract_scaled(layer.params.width, layer.params.w, layer.norm.g_grad, eta)
    net.k.subtract_scaled(layer.params.width, layer.params.w0, layer.norm.b_grad, eta)
    update_running_statistics(net, layer, batch)


cdef void update_running_statistics(const Network *net, Layer *layer,
                                    Py_ssize_t batch) noexcept nogil:
    if layer.norm.running:
        net.k.ema_update(layer.outputs, layer.norm.running_mean, layer.norm.mean, 1,
                     layer.norm.momentum)
        if batch > 1:
            net.k.ema_update(layer.outputs, layer.norm.running_var, layer.norm.var,
                         <double>batch / (batch - 1), layer.norm.momentum)


cdef void dropout_rows(const Engine *e, const Layer *layer, const Batch *batch, const char *x,
                       Py_ssize_t x_stride,
                       char *y) noexcept nogil:
    """y <- x ⊙ mask / (1 − p), with the mask of the step being done."""
    cdef uint64_t forward_number = layer.drop.count + <uint64_t>(e.run.steps_before + e.run.offset + 1)
    cdef uint64_t word = dropout_word(layer.drop.key, forward_number)
    cdef Py_ssize_t r
    for r in range(batch.size):
        e.net.k.dropout(layer.outputs, x + r * x_stride * e.net.itemsize,
                        y + r * layer.row_stride * e.net.itemsize, word,
                        <uint32_t>((batch.first + r) * layer.outputs), layer.drop.threshold, layer.drop.scale)
