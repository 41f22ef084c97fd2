# Linear as kernels of arrays: nncore.kernels.linear_forward and linear_backward.

cdef struct GemmCall:
    # a matrix product whose rows are split among threads
    const nn_kernels *k
    nn_gemm gemm
    Py_ssize_t workspace_bytes  # per thread


cdef void multiply(const nn_kernels *k, cnp.ndarray a, bint a_transposed, cnp.ndarray b,
                   bint b_transposed, cnp.ndarray c, bint c_transposed, const void *bias,
                   bint bias_down_rows) except *:
    """C = A B (+ bias), each operand or its transpose; C's rows are contiguous."""
    cdef nn_gemm g
    cdef int a_row = a_transposed, b_row = b_transposed, c_row = c_transposed
    g.m, g.k = cnp.PyArray_DIM(a, a_row), cnp.PyArray_DIM(a, 1 - a_row)
    g.n = cnp.PyArray_DIM(b, 1 - b_row)
    g.a, g.a_rs, g.a_cs = cnp.PyArray_DATA(a), step(a, a_row), step(a, 1 - a_row)
    g.b, g.b_rs = cnp.PyArray_DATA(b), step(b, b_row)
    g.b_cs = step(b, 1 - b_row) if g.n > 1 else 1
    g.packed = NULL
    g.c, g.c_rs = cnp.PyArray_DATA(c), step(c, c_row)
    g.epilogue, g.activation = NN_STORE, no_activation()
    g.bias, g.bias_down_rows = bias, bias_down_rows
    g.d, g.d_rs, g.eta = NULL, 0, 0
    cdef int threads = threads_for(g.m, 2.0 * g.m * g.n * g.k)
    cdef GemmCall call
    cdef Py_ssize_t bytes_ = (k.gemm_workspace(g.n, g.k) + 63) // 64 * 64
    cdef char *memory = <char *>malloc(threads * bytes_ + 64)
    if memory == NULL:
        raise MemoryError()
    g.workspace = memory + (64 - <size_t>memory % 64) % 64
    if g.m * g.n * g.k < GIL_PRODUCT:
        k.gemm(&g)
    else:
        call.k, call.gemm, call.workspace_bytes = k, g, bytes_
        with nogil:
            nn_pool_pieces(0, threads, multiply_rows, &call)
    free(memory)


cdef void multiply_rows(void *arg, int partition, int n_partitions, int thread) noexcept nogil:
    """One partition of the rows of A, C and of a bias per row."""
    cdef GemmCall *call = <GemmCall *>arg
    cdef nn_gemm g = call.gemm
    cdef Py_ssize_t size = call.k.itemsize, low = g.m * partition // n_partitions
    g.m = g.m * (partition + 1) // n_partitions - low
    g.a = <char *>g.a + low * g.a_rs * size
    g.c = <char *>g.c + low * g.c_rs * size
    if g.bias != NULL and g.bias_down_rows:
        g.bias = <char *>g.bias + low * size
    g.workspace = <char *>g.workspace + thread * call.workspace_bytes
    call.k.gemm(&g)


def linear_forward(A, W, W0, out=None):
    """Z = Wᵀ A + W0. A (m, b), W (m, n), W0 (n, 1), out (n, b); returns Z."""
    return linear_output(A, W, W0, out)


cdef cnp.ndarray linear_output(object A, object W, object W0, object out):
    """linear_forward; also called by chain.pxi."""
    cdef int t = computing_type(W)
    cdef cnp.ndarray w = real_matrix("W", W, t, -1, -1, "mn")
    cdef Py_ssize_t m = cnp.PyArray_DIM(w, 0), n = cnp.PyArray_DIM(w, 1), b
    cdef cnp.ndarray a = real_matrix("A", A, t, m, -1, "mb")
    cdef cnp.ndarray bias = real_matrix("W0", W0, t, n, 1, "nb")
    cdef cnp.ndarray z
    cdef const nn_kernels *k = kernels_for(t)
    cdef bint fortran  # Z is Fortran-ordered, and the product's rows are samples
    b = cnp.PyArray_DIM(a, 1)
    if not is_unit_stride(bias, 0):
        bias = ordered(bias, False)
    if out is not None:
        z = checked_out("out", out, (n, b), t, (a, w, bias))
        fortran = is_unit_stride(z, 0)
        if not fortran and not is_unit_stride(a, 1):
            a = ordered(a, False)
    else:
        fortran = b == 1 or not is_unit_stride(a, 1)
        z = new_matrix(n, b, t, fortran)
    if not fortran:
        multiply(k, w, True, a, False, z, False, cnp.PyArray_DATA(bias), True)
        return z
    if not is_unit_stride(w, 1):
        w = ordered(w, False)
    if b == 1:
        one_row_forward(k, a if is_unit_stride(a, 0) else ordered(a, True), w, bias, z)
    else:
        multiply(k, a, True, w, False, z, True, cnp.PyArray_DATA(bias), False)
    return z


cdef void one_row_forward(const nn_kernels *k, cnp.ndarray a, cnp.ndarray w, cnp.ndarray bias,
                          cnp.ndarray z) noexcept:
    """z = Wᵀ a + bias of one sample."""
    cdef Py_ssize_t m = cnp.PyArray_DIM(w, 0), n = cnp.PyArray_DIM(w, 1)
    if m * n < GIL_PRODUCT:
        k.gemv(m, n, cnp.PyArray_DATA(a), NULL, cnp.PyArray_DATA(w), step(w, 0),
               cnp.PyArray_DATA(bias), cnp.PyArray_DATA(z), no_activation())
        return
    with nogil:
        k.gemv(m, n, cnp.PyArray_DATA(a), NULL, cnp.PyArray_DATA(w), step(w, 0),
               cnp.PyArray_DATA(bias), cnp.PyArray_DATA(z), no_activation())


cdef void one_row_backward(const nn_kernels *k, cnp.ndarray w, cnp.ndarray dz,
                           cnp.ndarray da) noexcept:
    """da = W dz of one sample."""
    cdef Py_ssize_t m = cnp.PyArray_DIM(w, 0), n = cnp.PyArray_DIM(w, 1)
    if m * n < GIL_PRODUCT:
        k.gemv_t(m, n, cnp.PyArray_DATA(w), step(w, 0), cnp.PyArray_DATA(dz), cnp.PyArray_DATA(da))
        return
    with nogil:
        k.gemv_t(m, n, cnp.PyArray_DATA(w), step(w, 0), cnp.PyArray_DATA(dz), cnp.PyArray_DATA(da))


cdef void sum_of_samples(const nn_kernels *k, cnp.ndarray rows, cnp.ndarray sums) noexcept:
    """sums (n, 1) <- the sums over the samples of `rows` (n, b), whose columns are contiguous."""
    cdef Py_ssize_t n = cnp.PyArray_DIM(rows, 0), b = cnp.PyArray_DIM(rows, 1)
    if n * b < GIL_PRODUCT:
        k.sum_rows(b, n, cnp.PyArray_DATA(rows), step(rows, 1), cnp.PyArray_DATA(sums))
        return
    with nogil:
        k.sum_rows(b, n, cnp.PyArray_DATA(rows), step(rows, 1), cnp.PyArray_DATA(sums))


def linear_backward(dLdZ, A, W, out=None):
    """dLdA = W dLdZ, dLdW = A dLdZᵀ, dLdW0 = sum of dLdZ over the batch. dLdZ (n, b), A (m, b),
    W (m, n), out a tuple of three arrays (m, b), (m, n), (n, 1); returns (dLdA, dLdW, dLdW0)."""
    return linear_gradients(dLdZ, A, W, out, True)


cdef tuple linear_gradients(object dLdZ, object A, object W, object out, bint with_dA):
    """linear_backward; also called by chain.pxi. dLdA is None if it is not wanted."""
    cdef int t = computing_type(W)
    cdef cnp.ndarray w = real_matrix("W", W, t, -1, -1, "mn")
    cdef Py_ssize_t m = cnp.PyArray_DIM(w, 0), n = cnp.PyArray_DIM(w, 1), b
    cdef cnp.ndarray a = real_matrix("A", A, t, m, -1, "mb")
    b = cnp.PyArray_DIM(a, 1)
    cdef cnp.ndarray dz = real_matrix("dLdZ", dLdZ, t, n, b, "nb")
    cdef cnp.ndarray da, dw, dw0, rows
    cdef const nn_kernels *k = kernels_for(t)
    cdef bint fortran
    if not is_unit_stride(dz, 0) and not is_unit_stride(dz, 1):
        dz = ordered(dz, False)
    if out is not None:
        if not isinstance(out, tuple) or len(out) != 3:
            raise TypeError("out must be a tuple of three arrays (dLdA, dLdW, dLdW0), "
                            f"got {type(out).__name__}")
        inputs = (dz, a, w)
        da = checked_out("out[0]", out[0], (m, b), t, inputs)
        dw = checked_out("out[1]", out[1], (m, n), t, (*inputs, da))
        dw0 = checked_out("out[2]", out[2], (n, 1), t, (*inputs, da, dw))
        fortran = is_unit_stride(da, 0)
    else:
        fortran = b == 1 or not is_unit_stride(dz, 1)
        da = new_matrix(m, b, t, fortran) if with_dA else None
        dw = new_matrix(m, n, t, False)
        dw0 = new_matrix(n, 1, t, False)
    # dLdW and the sums need dLdZ with contiguous columns, a C-ordered dLdA one with contiguous rows
    rows = dz if is_unit_stride(dz, 0) else ordered(dz, True)
    if is_unit_stride(dw, 1):
        multiply(k, a, False, rows, True, dw, False, NULL, False)
    else:
        a = a if is_unit_stride(a, 0) else ordered(a, True)
        multiply(k, dz, False, a, True, dw, True, NULL, False)
    sum_of_samples(k, rows, dw0)
    if not with_dA:
        return None, dw, dw0
    if not fortran:
        dz = dz if is_unit_stride(dz, 1) else ordered(dz, False)
        multiply(k, w, False, dz, False, da, False, NULL, False)
    elif b == 1:
        one_row_backward(k, w if is_unit_stride(w, 1) else ordered(w, False), rows, da)
    else:
        w = w if is_unit_stride(w, 0) else ordered(w, True)
        multiply(k, dz, True, w, True, da, True, NULL, False)
    return da, dw, dw0
