# Prediction: blocks of PREDICT_BLOCK samples go through the layers, each by whichever thread comes
# first.

cdef struct Prediction:
    Engine *e
    const Source *x
    const Source *y        # NULL: no losses are wanted
    Py_ssize_t first, n_samples
    char *outputs          # (n_samples, net.outputs) rows close together
    double *losses


cdef void predict_block(void *prediction, int block, int blocks, int thread) noexcept nogil:
    """One block of samples, in the workspace's rows of this thread."""
    cdef Prediction *p = <Prediction *>prediction
    cdef Engine *e = p.e
    cdef Network *net = &e.net
    cdef Layer *last = &net.layers[net.n_layers - 1]
    cdef Py_ssize_t at = p.first + block * PREDICT_BLOCK
    cdef Py_ssize_t size = min(<Py_ssize_t>PREDICT_BLOCK, p.n_samples - at), i
    cdef Py_ssize_t row = net.outputs * net.itemsize
    cdef int64_t[PREDICT_BLOCK] indices
    cdef Batch batch
    for i in range(size):
        indices[i] = at + i
    batch.first, batch.size, batch.gemm = thread * PREDICT_BLOCK, size, e.ws.gemm + thread * e.ws.gemm_bytes
    batch.csr = e.plan.csr and e.sparse.skips_zeros
    batch.outputs = p.outputs + at * row if last.activation.kind == NN_SOFTMAX else NULL
    read_block(e, p.x, indices, &batch)
    forward(e, &batch, p.y != NULL)
    if p.y != NULL:
        batch.y, batch.y_stride = e.ws.y_rows + batch.first * row, net.outputs
        gather(net, p.y, indices, size, <char *>batch.y, net.outputs)
        losses_and_outputs(e, &batch, p.losses + at)
    for i in range(size if batch.outputs == NULL else 0):
        memcpy(p.outputs + (at + i) * row, last.a + (batch.first + i) * last.row_stride * net.itemsize, row)


cdef void read_block(Engine *e, const Source *x, const int64_t *indices,
                     Batch *batch) noexcept nogil:
    """The samples of a block as CSR rows, in place, or gathered."""
    cdef Network *net = &e.net
    cdef char *rows = e.ws.x_rows + batch.first * net.x_stride * net.itemsize
    if batch.csr:
        read_csr(e, x, indices, batch, False)
    elif x.direct and x.sample_bytes > 0 and x.sample_bytes % net.itemsize == 0:
        batch.x, batch.x_stride = x.data + indices[0] * x.sample_bytes, x.sample_bytes // net.itemsize
    else:
        gather(net, x, indices, batch.size, rows, net.x_stride)
        batch.x, batch.x_stride = rows, net.x_stride


cdef void losses_and_outputs(Engine *e, const Batch *batch, double *losses) noexcept nogil:
    """The loss of each sample from its logits; the outputs take the logits' place."""
    loss_gradient(e, batch, True, True)
    memcpy(losses, e.ws.terms.losses + batch.first, batch.size * sizeof(double))
    if e.net.loss != NN_NLL:  # the softmax kernel has left the probabilities already
        output_unit(e, e.net.n_layers - 1, batch)
