# Prediction in blocks of PREDICT_BLOCK samples, each claimed by the first free thread. Called by
# Program.run through nn_pool_pieces.

cdef struct Prediction:
    Engine *e
    const Source *x
    const Source *y        # NULL: no losses
    Py_ssize_t first, n_samples
    char *outputs          # (n_samples, net.outputs), contiguous
    double *losses


cdef void predict_block(void *prediction, int block, int blocks, int thread) noexcept nogil:
    """Predict one block of samples, in this thread's rows of the workspace."""
    cdef Prediction *p = <Prediction *>prediction
    cdef Engine *e = p.e
    cdef Network *net = &e.net
    cdef Layer *last = &net.layers[net.n_layers - 1]
    cdef Py_ssize_t first = p.first + block * PREDICT_BLOCK
    cdef Py_ssize_t size = min(<Py_ssize_t>PREDICT_BLOCK, p.n_samples - first), i
    cdef Py_ssize_t output_bytes = net.outputs * net.itemsize
    cdef Py_ssize_t row_bytes = last.row_stride * net.itemsize
    cdef char *outputs = p.outputs + first * output_bytes
    cdef int64_t[PREDICT_BLOCK] indices
    cdef Batch batch
    for i in range(size):
        indices[i] = first + i
    if e.plan.stepper == COLUMN_PREDICTION:
        predict_columns(e, p.x, indices, size, thread, outputs)
        return
    batch.first, batch.size = thread * PREDICT_BLOCK, size
    batch.gemm = e.ws.gemm + thread * e.ws.gemm_bytes
    batch.csr, batch.listed = e.plan.csr and e.sparse.skips_zeros, NULL
    batch.outputs = outputs if last.activation.kind == NN_SOFTMAX else NULL
    read_block(e, p.x, indices, &batch)
    forward(e, &batch, p.y != NULL)
    if p.y != NULL:
        batch.y, batch.y_stride = e.ws.y_rows + batch.first * output_bytes, net.outputs
        batch.y_index = NULL
        gather(net, p.y, indices, size, <char *>batch.y, net.outputs)
        adjust_labels(e, <char *>batch.y, size, net.outputs, 1)
        losses_and_outputs(e, &batch, p.losses + first)
    for i in range(size if batch.outputs == NULL else 0):
        memcpy(outputs + i * output_bytes, last.a + (batch.first + i) * row_bytes, output_bytes)


cdef void read_block(Engine *e, const Source *x, const int64_t *indices,
                     Batch *batch) noexcept nogil:
    """Read the samples of a block as CSR rows, in place, or gathered."""
    cdef Network *net = &e.net
    cdef char *rows = e.ws.x_rows + batch.first * net.x_stride * net.itemsize
    if x.row_starts != NULL:
        batch.listed = indices
    elif batch.csr:
        read_csr(e, x, indices, batch, False)
    elif x.direct and x.sample_bytes > 0 and x.sample_bytes % net.itemsize == 0:
        batch.x = x.data + indices[0] * x.sample_bytes
        batch.x_stride = x.sample_bytes // net.itemsize
    else:
        gather(net, x, indices, batch.size, rows, net.x_stride)
        batch.x, batch.x_stride = rows, net.x_stride


cdef void losses_and_outputs(Engine *e, const Batch *batch, double *losses) noexcept nogil:
    """The loss of each sample from its logits, and the outputs in place of the logits."""
    loss_gradient(e, batch, True, True)
    memcpy(losses, e.ws.terms.losses + batch.first, batch.size * sizeof(double))
    if e.net.loss != NN_NLL:  # for NLL the softmax kernel has stored the probabilities
        output_unit(e, e.net.n_layers - 1, batch)
