# Softmax and losses as kernels of arrays: nncore.kernels.softmax_forward, nll and the like; two per
# entry of the list of losses in kernels/kernels.h.

cdef inline void describe(cnp.ndarray a, void **data, nn_index *sample, nn_index *cls) noexcept:
    """Data and strides of an array with samples as columns."""
    data[0] = cnp.PyArray_DATA(a)
    sample[0] = step(a, 1)
    cls[0] = step(a, 0)


cdef void run_softmax(const nn_kernels *k, const nn_softmax *s, double *losses,
                      double *loss) noexcept nogil:
    k.softmax(s)
    if s.y != NULL:
        loss[0] = k.softmax_losses(s.batch, s.label_gap, s.label_sum, s.exp_rest, losses, True)


cdef object softmax_call(cnp.ndarray z, cnp.ndarray y, cnp.ndarray p, int t, double *loss):
    """p <- softmax of the columns of z or, given y, the gradient (Σ y) softmax(z) − y, with the
    summed loss in *loss. All arrays have the same layout."""
    cdef nn_softmax s
    cdef const nn_kernels *k = kernels_for(t)
    cdef nn_index b = cnp.PyArray_DIM(z, 1)
    cdef void *data
    cdef char *memory
    cdef double *losses = NULL
    cdef double[256] stack_memory  # avoids malloc for few samples
    cdef size_t workspace_bytes
    memset(&s, 0, sizeof(s))
    s.batch, s.classes = b, cnp.PyArray_DIM(z, 0)
    s.classes_contiguous = is_unit_stride(p, 0) and is_unit_stride(z, 0)
    describe(z, &data, &s.z_sample, &s.z_class)
    s.z = data
    describe(p, &s.p, &s.p_sample, &s.p_class)
    if y is not None:
        describe(y, &data, &s.y_sample, &s.y_class)
        s.y = data
        s.grad, s.grad_sample, s.grad_class = s.p, s.p_sample, s.p_class
    workspace_bytes = 0 if s.classes_contiguous else k.softmax_workspace(b, s.classes)
    memory = NULL
    s.workspace = stack_memory
    if workspace_bytes or 4 * b > 256:
        memory = <char *>malloc(workspace_bytes + 4 * b * sizeof(double) + 64)
        if memory == NULL:
            raise MemoryError()
        s.workspace = memory + (64 - <size_t>memory % 64) % 64
    s.label_gap = <char *>s.workspace + workspace_bytes
    s.label_sum = <char *>s.label_gap + b * sizeof(double)
    s.exp_rest = <char *>s.label_sum + b * sizeof(double)
    losses = <double *>s.exp_rest + b
    if loss != NULL:
        loss[0] = 0
    if s.classes == 0:
        free(memory)
        return p
    if s.batch * s.classes < GIL_ELEMENTS:
        run_softmax(k, &s, losses, loss)
    else:
        with nogil:
            run_softmax(k, &s, losses, loss)
    free(memory)
    return p


def softmax_forward(Z, out=None):
    """A = e^Z / (sum of e^Z over each column), stable. Z, out (n, b)."""
    cdef int t = computing_type(Z)
    cdef cnp.ndarray z = flat(real_matrix("Z", Z, t, -1, -1, "nb")), p = result_like(z, out, t, ())
    return softmax_call(in_order_of(p, z), None, p, t, NULL)


def softmax_nll(Z, Y, out=None):
    """(loss summed over the batch in nats, dLdZ = (Σ y) softmax(Z) − Y) from logits, in one pass.
    Z, Y, out (n, b)."""
    cdef int t = computing_type(Z)
    cdef cnp.ndarray z = flat(real_matrix("Z", Z, t, -1, -1, "nb"))
    cdef cnp.ndarray y = real_matrix("Y", Y, t, cnp.PyArray_DIM(z, 0), cnp.PyArray_DIM(z, 1), "nb")
    cdef cnp.ndarray p = result_like(z, out, t, (y,))
    cdef double loss = 0
    cdef Py_ssize_t row_bytes = cnp.PyArray_DIM(z, 0) * cnp.PyArray_ITEMSIZE(z)
    if cnp.PyArray_DATA(p) == cnp.PyArray_DATA(z) and row_bytes >= SOFTMAX_LONG_BYTES:
        z = z.copy(order="K")  # the kernel reads the logits of many classes to the end
    softmax_call(in_order_of(p, z), in_order_of(p, y), p, t, &loss)
    return loss, p


cdef object loss_and_gradient(object Z, object Y, object out, int kind, double parameter=0):
    """(loss summed over outputs and batch, dLdZ) from the outputs of the last Linear."""
    cdef int t = computing_type(Z)
    cdef cnp.ndarray z = flat(real_matrix("Z", Z, t, -1, -1, "nb"))
    cdef cnp.ndarray y = real_matrix("Y", Y, t, cnp.PyArray_DIM(z, 0), cnp.PyArray_DIM(z, 1), "nb")
    cdef cnp.ndarray grad = result_like(z, out, t, (y,))
    cdef double loss
    # the kernel sums the terms of one vector in order, which must be that of the samples
    if cnp.PyArray_SIZE(z) <= kernels_for(t).lanes and not cnp.PyArray_IS_F_CONTIGUOUS(grad):
        loss, transposed = loss_and_gradient(ordered(z, True), ordered(y, True), None, kind,
                                             parameter)
        grad[...] = transposed
        return loss, grad
    z, y = in_order_of(grad, z), in_order_of(grad, y)
    if cnp.PyArray_SIZE(z) < GIL_ELEMENTS:
        loss = kernels_for(t).loss_and_gradient(cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z),
                                                cnp.PyArray_DATA(y), cnp.PyArray_DATA(grad), kind,
                                                parameter)
        return loss, grad
    with nogil:
        loss = kernels_for(t).loss_and_gradient(cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z),
                                                cnp.PyArray_DATA(y), cnp.PyArray_DATA(grad), kind,
                                                parameter)
    return loss, grad


def sigmoid_nll(Z, Y, out=None):
    """(loss summed over labels and batch in nats, dLdZ = sigmoid(Z) − Y) from logits, in one pass.
    Z, Y, out (n, b)."""
    return loss_and_gradient(Z, Y, out, NN_BINARY_NLL)


cdef void sum_losses(const nn_kernels *k, cnp.ndarray p, cnp.ndarray y, cnp.ndarray terms,
                     cnp.ndarray losses, int kind, double parameter) noexcept nogil:
    """losses (b,) <- the sum of the terms of each column, in the same order for every layout."""
    cdef Py_ssize_t n = cnp.PyArray_DIM(p, 0), b = cnp.PyArray_DIM(p, 1)
    k.loss_terms(n * b, cnp.PyArray_DATA(p), cnp.PyArray_DATA(y), cnp.PyArray_DATA(terms), kind,
                 parameter)
    if cnp.PyArray_IS_C_CONTIGUOUS(terms):
        k.sum_rows(n, b, cnp.PyArray_DATA(terms), b, cnp.PyArray_DATA(losses))
    else:
        k.sum_columns(n, b, cnp.PyArray_DATA(terms), n, cnp.PyArray_DATA(losses))


cdef object losses_of_samples(object Ypred, object Y, object out, int kind, double parameter=0):
    """The loss of each sample, (b,), from the network's outputs."""
    cdef int t = computing_type(Ypred)
    cdef cnp.ndarray p = flat(real_matrix("Ypred", Ypred, t, -1, -1, "nb"))
    cdef cnp.ndarray y = in_order_of(p, real_matrix("Y", Y, t, cnp.PyArray_DIM(p, 0),
                                                    cnp.PyArray_DIM(p, 1), "nb"))
    cdef cnp.ndarray terms = result_like(p, None, t, ()), losses
    losses = np.empty(cnp.PyArray_DIM(p, 1), terms.dtype)
    if out is not None:
        checked_out("out", out, (cnp.PyArray_DIM(p, 1),), t, (p, y))
    if cnp.PyArray_SIZE(p) < GIL_ELEMENTS:
        sum_losses(kernels_for(t), p, y, terms, losses, kind, parameter)
    else:
        with nogil:
            sum_losses(kernels_for(t), p, y, terms, losses, kind, parameter)
    if out is None:
        return losses
    out[...] = losses
    return out


def nll(Ypred, Y, out=None):
    """−sum of Y log Ypred over each column: the loss of each sample in nats, (b,); 0 log 0 = 0.
    Ypred, Y (n, b)."""
    return losses_of_samples(Ypred, Y, out, NN_NLL)


def nll_backward(Ypred, Y, out=None):
    """dLdZ = (Σ y) Ypred − Y through a softmax with outputs Ypred; Σ y is the sum of a column of Y.
    Ypred, Y, out (n, b)."""
    cdef int t = computing_type(Ypred)
    cdef cnp.ndarray p = flat(real_matrix("Ypred", Ypred, t, -1, -1, "nb"))
    cdef cnp.ndarray y = real_matrix("Y", Y, t, cnp.PyArray_DIM(p, 0), cnp.PyArray_DIM(p, 1), "nb")
    cdef cnp.ndarray grad = result_like(p, out, t, (y,)), samples = grad
    cdef Py_ssize_t n = cnp.PyArray_DIM(p, 0), b = cnp.PyArray_DIM(p, 1)
    if not is_unit_stride(grad, 0):
        samples = new_matrix(n, b, t, True)
    p, y = <cnp.ndarray>np.asfortranarray(p), <cnp.ndarray>np.asfortranarray(y)
    if n * b < GIL_ELEMENTS:
        kernels_for(t).nll_backward(b, n, cnp.PyArray_DATA(p), cnp.PyArray_DATA(y),
                                    cnp.PyArray_DATA(samples))
    else:
        with nogil:
            kernels_for(t).nll_backward(b, n, cnp.PyArray_DATA(p), cnp.PyArray_DATA(y),
                                        cnp.PyArray_DATA(samples))
    if samples is not grad:
        grad[...] = samples
    return grad


def _kernels_of_loss(int kind):
    """The kernel from the last Linear's outputs, and the loss of each sample."""
    def from_logits(Z, Y, out=None):
        return loss_and_gradient(Z, Y, out, kind)

    def of_samples(Ypred, Y, out=None):
        return losses_of_samples(Ypred, Y, out, kind)
    return from_logits, of_samples


for _number in range(NN_NLL + 1, NN_ELEMENTWISE_LOSS_KINDS):
    _name = nn_loss_name(_number).decode()
    _forward, _backward = _kernels_of_loss(_number)
    if _number != NN_BINARY_NLL:  # its own is sigmoid_nll
        _define(_name + "_loss", _forward)
    _define(_name, _backward)


def huber_loss(Z, Y, delta, out=None):
    """(Huber loss summed over outputs and batch, dLdZ) from the outputs of the last Linear."""
    return loss_and_gradient(Z, Y, out, NN_HUBER, _checks.number("delta", delta))


def huber(Ypred, Y, delta, out=None):
    """The Huber loss of each sample, (b,)."""
    return losses_of_samples(Ypred, Y, out, NN_HUBER, _checks.number("delta", delta))


def adjusted_labels(Y, smoothing, class_weight=None, out=None):
    """class_weight ⊙ ((1 − smoothing) Y + smoothing / n Σ y), Σ y the sum of a column. Y, out
    (n, b), class_weight (n,)."""
    cdef int t = computing_type(Y)
    cdef cnp.ndarray y = real_matrix("Y", Y, t, -1, -1, "nb"), weights = None
    cdef cnp.ndarray to = result_like(y, out, t, ())
    cdef Py_ssize_t n = cnp.PyArray_DIM(y, 0), b = cnp.PyArray_DIM(y, 1)
    cdef double share = _checks.number("smoothing", smoothing)
    cdef const double *of_classes = NULL
    if class_weight is not None:
        weights = np.ascontiguousarray(_checks.as_real("class_weight", class_weight, np.float64))
        _checks.shape("class_weight", weights, (n,))
        of_classes = <const double *>cnp.PyArray_DATA(weights)
    (<object>to)[...] = y
    if n * b:
        with nogil:
            kernels_for(t).adjust_labels(b, n, cnp.PyArray_DATA(to), step(to, 1), step(to, 0),
                                         share, of_classes)
    return to
