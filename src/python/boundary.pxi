# From arrays to pointers: the kernel interface of nncore.kernels, compiled.
#
# The arrays are the user's: any strides, any real type. What the leaf kernels cannot take as it
# stands is copied here; what nobody can take is refused by nncore._checks. Each function decides
# which of its operands runs along vectors from the layouts it is given, so that neither C- nor
# Fortran-ordered arrays are transposed without need. What is computed does not depend on that:
# every sum has an order that follows from the shapes alone, so that equal numbers give equal bits
# wherever and however they lie in memory.

cdef inline bint is_addressable(object x, int type_number):
    """True for a matrix or array that kernels can address: of the type, aligned, native, strides in
    whole elements."""
    if not cnp.PyArray_Check(x):
        return False
    if not cnp.PyArray_CheckExact(x) and np.ma.is_masked(x):
        return False
    cdef cnp.ndarray a = <cnp.ndarray>x
    cdef int i
    if cnp.PyArray_TYPE(a) != type_number or not cnp.PyArray_ISALIGNED(a) or not cnp.PyArray_ISNOTSWAPPED(a):
        return False
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(a)
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_STRIDE(a, i) % size != 0:
            return False
    return True


cdef inline int computing_type(object x) noexcept:
    """NPY_FLOAT for native float32 arrays, else NPY_DOUBLE."""
    if cnp.PyArray_Check(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>x):
        return cnp.NPY_FLOAT
    return cnp.NPY_DOUBLE


cdef object dtype_of(int type_number):
    return np.float32 if type_number == cnp.NPY_FLOAT else np.float64


cdef inline const nn_kernels *kernels_for(int type_number) noexcept nogil:
    return table[type_number == cnp.NPY_DOUBLE]


cdef cnp.ndarray real_array(str name, object x, int type_number):
    """x itself when the kernels can address it, else a converted copy; TypeError for what is not
    real."""
    if is_addressable(x, type_number):
        return <cnp.ndarray>x
    x = _checks.as_real(name, x, dtype_of(type_number))
    return <cnp.ndarray>(x if is_addressable(x, type_number) else np.array(x, order="K"))


cdef cnp.ndarray real_matrix(str name, object x, int type_number, Py_ssize_t rows,
                             Py_ssize_t columns, str letters):
    """A (rows, columns) array for the kernels; a negative size accepts any and is called by its
    letter in the error."""
    cdef cnp.ndarray a = real_array(name, x, type_number)
    if (cnp.PyArray_NDIM(a) != 2 or (rows >= 0 and cnp.PyArray_DIM(a, 0) != rows)
            or (columns >= 0 and cnp.PyArray_DIM(a, 1) != columns)):
        _checks.shape(name, a, (letters[0] if rows < 0 else rows,
                                letters[1] if columns < 0 else columns))
        raise ValueError(f"{name} has the wrong shape {(<object>a).shape}")
    return a


cdef inline Py_ssize_t step(cnp.ndarray a, int axis) noexcept nogil:
    """Stride in elements."""
    return cnp.PyArray_STRIDE(a, axis) // cnp.PyArray_ITEMSIZE(a)


cdef inline bint is_unit_stride(cnp.ndarray a, int axis) noexcept:
    """True when neighbours along the axis are neighbours in memory (or there is none)."""
    return cnp.PyArray_DIM(a, axis) <= 1 or cnp.PyArray_STRIDE(a, axis) == cnp.PyArray_ITEMSIZE(a)


cdef cnp.ndarray new_matrix(Py_ssize_t rows, Py_ssize_t columns, int type_number, bint fortran):
    cdef cnp.npy_intp shape[2]
    shape[0] = rows
    shape[1] = columns
    return <cnp.ndarray>cnp.PyArray_EMPTY(2, shape, type_number, fortran)


cdef object checked_out(str name, object out, tuple shape, int type_number, tuple inputs):
    out = _checks.out(name, out, shape, dtype_of(type_number))
    _checks.no_overlap(name, out, *inputs)
    return out


cdef void convert(void *to, Py_ssize_t to_row, bint to_double, Py_ssize_t rows, Py_ssize_t columns,
                  const char *x, Py_ssize_t down,
                  Py_ssize_t across, int kind) noexcept:
    """nn_convert; other Python threads run meanwhile unless it is short."""
    if rows * columns < GIL_COPY:
        nn_convert(to, to_row, to_double, rows, columns, x, down, across, kind)
        return
    with nogil:
        nn_convert(to, to_row, to_double, rows, columns, x, down, across, kind)


cdef void write_back(char *to, Py_ssize_t down, Py_ssize_t across, bint is_double, Py_ssize_t rows,
                     Py_ssize_t columns, const void *x,
                     Py_ssize_t row) noexcept:
    """nn_write_back, likewise."""
    if rows * columns < GIL_COPY:
        nn_write_back(to, down, across, is_double, rows, columns, x, row)
        return
    with nogil:
        nn_write_back(to, down, across, is_double, rows, columns, x, row)


cdef void clear(void *at, Py_ssize_t bytes_) noexcept:
    """Zeros, likewise."""
    if bytes_ < 8 * GIL_COPY:
        memset(at, 0, bytes_)
        return
    with nogil:
        memset(at, 0, bytes_)


cdef cnp.ndarray ordered(cnp.ndarray a, bint fortran):
    """A is_addressable float array in C or in Fortran order: itself, or a copy."""
    cdef cnp.ndarray copy
    cdef int t = cnp.PyArray_TYPE(a), down = fortran, across = not fortran
    if cnp.PyArray_IS_F_CONTIGUOUS(a) if fortran else cnp.PyArray_IS_C_CONTIGUOUS(a):
        return a
    if cnp.PyArray_NDIM(a) != 2:
        return <cnp.ndarray>(np.asfortranarray(a) if fortran else np.ascontiguousarray(a))
    copy = new_matrix(cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1), t, fortran)
    convert(cnp.PyArray_DATA(copy), cnp.PyArray_DIM(a, across), t == cnp.NPY_DOUBLE,
            cnp.PyArray_DIM(a, down), cnp.PyArray_DIM(a, across),
            <const char *>cnp.PyArray_DATA(a), cnp.PyArray_STRIDE(a, down), cnp.PyArray_STRIDE(a,
                                                                                               across), native_type(a))
    return copy


# ------------------------------------------------------------------------------------------- Linear

cdef struct Shared:
    # a matrix product whose rows are shared among threads
    const nn_kernels *k
    nn_gemm whole
    Py_ssize_t work        # bytes of packing room per thread


cdef void multiply(const nn_kernels *k, cnp.ndarray a, bint a_transposed, cnp.ndarray b,
                   bint b_transposed, cnp.ndarray c,
                   bint c_transposed, const void *bias, bint bias_down_rows) except *:
    """C = A B (+ bias), each operand or its transpose; C runs along its second index."""
    cdef nn_gemm g
    cdef int ar = a_transposed, br = b_transposed, cr = c_transposed
    g.m, g.k = cnp.PyArray_DIM(a, ar), cnp.PyArray_DIM(a, 1 - ar)
    g.n = cnp.PyArray_DIM(b, 1 - br)
    g.a, g.a_rs, g.a_cs = cnp.PyArray_DATA(a), step(a, ar), step(a, 1 - ar)
    g.b, g.b_rs, g.b_cs = cnp.PyArray_DATA(b), step(b, br), step(b, 1 - br) if g.n > 1 else 1
    g.c, g.c_rs = cnp.PyArray_DATA(c), step(c, cr)
    g.epilogue, g.activation = NN_STORE, no_activation()
    g.bias, g.bias_down_rows = bias, bias_down_rows
    g.d, g.d_rs, g.eta = NULL, 0, 0
    cdef int threads = threads_for(g.m, 2.0 * g.m * g.n * g.k)
    cdef Shared shared
    cdef Py_ssize_t work = (k.gemm_workspace(g.n, g.k) + 63) // 64 * 64
    cdef char *memory = <char *>malloc(threads * work + 64)
    if memory == NULL:
        raise MemoryError()
    g.work = memory + (64 - <size_t>memory % 64) % 64
    if g.m * g.n * g.k < GIL_PRODUCT:
        k.gemm(&g)
    else:
        shared.k, shared.whole, shared.work = k, g, work
        with nogil:
            nn_pool_pieces(0, threads, multiply_rows, &shared)
    free(memory)


cdef void multiply_rows(void *arg, int share, int shares, int thread) noexcept nogil:
    """One share of the rows of A, C and the bias that runs along them."""
    cdef Shared *shared = <Shared *>arg
    cdef nn_gemm g = shared.whole
    cdef Py_ssize_t size = shared.k.itemsize, low = g.m * share // shares
    g.m = g.m * (share + 1) // shares - low
    g.a = <char *>g.a + low * g.a_rs * size
    g.c = <char *>g.c + low * g.c_rs * size
    if g.bias != NULL and g.bias_down_rows:
        g.bias = <char *>g.bias + low * size
    g.work = <char *>g.work + thread * shared.work
    shared.k.gemm(&g)


def linear_forward(A, W, W0, out=None):
    """Z = Wᵀ A + W0. A (m, b), W (m, n), W0 (n, 1), out (n, b); returns Z."""
    return linear_output(A, W, W0, out)


cdef cnp.ndarray linear_output(object A, object W, object W0, object out):
    cdef int t = computing_type(W)
    cdef cnp.ndarray w = real_matrix("W", W, t, -1, -1, "mn")
    cdef Py_ssize_t m = cnp.PyArray_DIM(w, 0), n = cnp.PyArray_DIM(w, 1), b
    cdef cnp.ndarray a = real_matrix("A", A, t, m, -1, "mb")
    cdef cnp.ndarray bias = real_matrix("W0", W0, t, n, 1, "nb")
    cdef cnp.ndarray z
    cdef const nn_kernels *k = kernels_for(t)
    cdef bint fortran  # samples are the rows of the product, and Z is Fortran-ordered
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
    cdef Py_ssize_t m = cnp.PyArray_DIM(w, 0), n = cnp.PyArray_DIM(w, 1)
    if m * n < GIL_PRODUCT:
        k.gemv(m, n, cnp.PyArray_DATA(a), NULL, cnp.PyArray_DATA(w), step(w, 0),
                      cnp.PyArray_DATA(bias), cnp.PyArray_DATA(z),
                      no_activation())
        return
    with nogil:
        k.gemv(m, n, cnp.PyArray_DATA(a), NULL, cnp.PyArray_DATA(w), step(w, 0),
                      cnp.PyArray_DATA(bias), cnp.PyArray_DATA(z),
                      no_activation())


cdef void one_row_back(const nn_kernels *k, cnp.ndarray w, cnp.ndarray dz, cnp.ndarray da) noexcept:
    cdef Py_ssize_t m = cnp.PyArray_DIM(w, 0), n = cnp.PyArray_DIM(w, 1)
    if m * n < GIL_PRODUCT:
        k.gemv_t(m, n, cnp.PyArray_DATA(w), step(w, 0), cnp.PyArray_DATA(dz),
                       cnp.PyArray_DATA(da))
        return
    with nogil:
        k.gemv_t(m, n, cnp.PyArray_DATA(w), step(w, 0), cnp.PyArray_DATA(dz),
                       cnp.PyArray_DATA(da))


cdef void sum_of_samples(const nn_kernels *k, cnp.ndarray rows, cnp.ndarray sums) noexcept:
    """Sums over the columns of `rows` (n, b), whose columns are contiguous."""
    cdef Py_ssize_t n = cnp.PyArray_DIM(rows, 0), b = cnp.PyArray_DIM(rows, 1)
    if n * b < GIL_PRODUCT:
        k.sum_rows(b, n, cnp.PyArray_DATA(rows), step(rows, 1), cnp.PyArray_DATA(sums))
        return
    with nogil:
        k.sum_rows(b, n, cnp.PyArray_DATA(rows), step(rows, 1), cnp.PyArray_DATA(sums))


def linear_backward(dLdZ, A, W, out=None):
    """dLdA = W dLdZ, dLdW = A dLdZᵀ, dLdW0 = sum of dLdZ over the batch. dLdZ (n, b), A (m, b), W
    (m, n), out a tuple of three arrays (m, b), (m, n), (n, 1); returns (dLdA, dLdW, dLdW0)."""
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
            raise TypeError(f"out must be a tuple of three arrays (dLdA, dLdW, dLdW0), got {type(out).__name__}")
        inputs = (dz, a, w)
        da = checked_out("out[0]", out[0], (m, b), t, inputs)
        dw = checked_out("out[1]", out[1], (m, n), t, (*inputs, da))
        dw0 = checked_out("out[2]", out[2], (n, 1), t, (*inputs, da, dw))
        fortran = is_unit_stride(da, 0)
    else:
        fortran = b == 1 or not is_unit_stride(dz, 1)
        da = new_matrix(m, b, t, fortran)
        dw = new_matrix(m, n, t, False)
        dw0 = new_matrix(n, 1, t, False)
    # dLdW and the sums want dLdZ with the outputs side by side; the other order is made where it is
    # needed
    rows = dz if is_unit_stride(dz, 0) else ordered(dz, True)
    if is_unit_stride(dw, 1):
        multiply(k, a, False, rows, True, dw, False, NULL, False)
    else:
        multiply(k, dz, False, a if is_unit_stride(a, 0) else ordered(a, True), True, dw, True,
                 NULL, False)
    sum_of_samples(k, rows, dw0)
    if not fortran:
        multiply(k, w, False, dz if is_unit_stride(dz, 1) else ordered(dz, False), False, da,
                 False, NULL,
                 False)
    elif b == 1:
        one_row_back(k, w if is_unit_stride(w, 1) else ordered(w, False), rows, da)
    else:
        multiply(k, dz, True, w if is_unit_stride(w, 0) else ordered(w, True), True, da, True,
                 NULL, False)
    return da, dw, dw0


# -------------------------------------------------------------------------------------- activations

cdef cnp.ndarray flat(cnp.ndarray a):
    """a, contiguous in C or Fortran order."""
    if cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a):
        return a
    return ordered(a, False)


cdef cnp.ndarray in_order_of(cnp.ndarray model, cnp.ndarray a):
    """a with its elements in memory in the order of the contiguous array model, of the same
    shape."""
    return ordered(a, not cnp.PyArray_IS_C_CONTIGUOUS(model))


cdef bint is_disjoint(cnp.ndarray a, object out, int t):
    """True where out is plainly an array to write beside a: of a's shape, of type t, both
    contiguous, no byte in common. A quick look that spares the general one."""
    if not cnp.PyArray_CheckExact(out) or cnp.PyArray_TYPE(<cnp.ndarray>out) != t or not cnp.PyArray_SAMESHAPE(a, <cnp.ndarray>out):
        return False
    cdef cnp.ndarray o = <cnp.ndarray>out
    if not cnp.PyArray_ISBEHAVED(o) or not (cnp.PyArray_IS_C_CONTIGUOUS(o)
                                            or cnp.PyArray_IS_F_CONTIGUOUS(o)):
        return False
    if not (cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a)):
        return False
    cdef char *low = <char *>cnp.PyArray_DATA(a)
    cdef char *out_low = <char *>cnp.PyArray_DATA(o)
    return out_low >= low + cnp.PyArray_NBYTES(a) or low >= out_low + cnp.PyArray_NBYTES(o)


cdef cnp.ndarray result_like(cnp.ndarray model, object out, int t, tuple others):
    """The array to write: a new one in the order of model, or out, which may be the very memory of
    model."""
    if out is None:
        return <cnp.ndarray>cnp.PyArray_EMPTY(cnp.PyArray_NDIM(model), cnp.PyArray_DIMS(model), t,
                                              not cnp.PyArray_IS_C_CONTIGUOUS(model))
    cdef bint fits = is_disjoint(model, out, t)
    for other in others:
        fits = fits and is_disjoint(<cnp.ndarray>other, out, t)
    if fits:
        return <cnp.ndarray>out
    shape = (<object>model).shape
    out = _checks.out("out", out, shape, dtype_of(t))
    if cnp.PyArray_DATA(<cnp.ndarray>out) != cnp.PyArray_DATA(model):
        _checks.no_overlap("out", out, model)
    _checks.no_overlap("out", out, *others)
    return <cnp.ndarray>out


cdef object activation_forward(object Z, object out, int kind, double slope=0):
    cdef int t = computing_type(Z)
    cdef cnp.ndarray z = flat(real_array("Z", Z, t)), a = result_like(z, out, t, ())
    cdef nn_activation f = nn_activation(kind, slope)
    z = in_order_of(a, z)
    if cnp.PyArray_SIZE(z) < GIL_ELEMENTS:
        kernels_for(t).activation_forward(cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z),
                                          cnp.PyArray_DATA(a), f)
        return a
    with nogil:
        kernels_for(t).activation_forward(cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z),
                                          cnp.PyArray_DATA(a), f)
    return a


cdef object activation_backward(object dLdA, str name, object A, object out, int kind,
                                double slope=0):
    """dLdA ⊙ f', a function of A, which is the activation's output or input."""
    cdef int t = computing_type(A)
    cdef nn_activation f = nn_activation(kind, slope)
    cdef cnp.ndarray a = flat(real_array(name, A, t)), da = real_array("dLdA", dLdA, t), dz
    if not cnp.PyArray_SAMESHAPE(a, da):
        _checks.shape("dLdA", da, (<object>a).shape)
    if out is None:
        dz = result_like(a, None, t, ())
        da = in_order_of(dz, da)
    else:
        da = flat(da)
        dz = result_like(da, out, t, (a,))
        da = in_order_of(dz, da)
        a = in_order_of(dz, a)
    if cnp.PyArray_SIZE(a) < GIL_ELEMENTS:
        kernels_for(t).activation_backward(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(da),
                                           cnp.PyArray_DATA(a),
                              cnp.PyArray_DATA(dz), f)
        return dz
    with nogil:
        kernels_for(t).activation_backward(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(da),
                                           cnp.PyArray_DATA(a),
                              cnp.PyArray_DATA(dz), f)
    return dz


cdef bint whole_numbers(object x):
    return cnp.PyArray_Check(x) and cnp.PyArray_ISINTEGER(<cnp.ndarray>x)


def tanh_forward(Z, out=None):
    """A = tanh Z, element by element."""
    return activation_forward(Z, out, NN_TANH)


def tanh_backward(dLdA, A, out=None):
    """dLdZ = dLdA ⊙ (1 − A²)."""
    return activation_backward(dLdA, "A", A, out, NN_TANH)


def relu_forward(Z, out=None):
    """A = max(0, Z); whole numbers stay whole, NaN stays NaN."""
    if whole_numbers(Z):
        return numpy_relu_forward(Z, out)
    return activation_forward(Z, out, NN_RELU)


def relu_backward(dLdA, A, out=None):
    """dLdZ = dLdA where A > 0, else 0."""
    if whole_numbers(A):
        return numpy_relu_backward(dLdA, A, out)
    return activation_backward(dLdA, "A", A, out, NN_RELU)


def numpy_relu_forward(Z, out):
    from nncore.kernels import numpy_kernels
    return numpy_kernels.relu_forward(Z, out)


def numpy_relu_backward(dLdA, A, out):
    from nncore.kernels import numpy_kernels
    return numpy_kernels.relu_backward(dLdA, A, out)


def sigmoid_forward(Z, out=None):
    """A = 1 / (1 + e^−Z)."""
    return activation_forward(Z, out, NN_SIGMOID)


def sigmoid_backward(dLdA, A, out=None):
    """dLdZ = dLdA ⊙ A (1 − A)."""
    return activation_backward(dLdA, "A", A, out, NN_SIGMOID)


def leaky_relu_forward(Z, slope, out=None):
    """A = Z where Z > 0, else slope Z."""
    return activation_forward(Z, out, NN_LEAKY_RELU, slope)


def leaky_relu_backward(dLdA, A, slope, out=None):
    """dLdZ = dLdA where A > 0, else slope dLdA."""
    return activation_backward(dLdA, "A", A, out, NN_LEAKY_RELU, slope)


def gelu_forward(Z, out=None):
    """A = Z ⊙ Φ(Z), Φ the standard normal distribution."""
    return activation_forward(Z, out, NN_GELU)


def gelu_backward(dLdA, Z, out=None):
    """dLdZ = dLdA ⊙ (Φ(Z) + Z ⊙ φ(Z)), φ the standard normal density."""
    return activation_backward(dLdA, "Z", Z, out, NN_GELU)


def gelu_tanh_forward(Z, out=None):
    """A = Z ⊙ (1 + tanh U) / 2, U = √(2/π) (Z + 0.044715 Z³)."""
    return activation_forward(Z, out, NN_GELU_TANH)


def gelu_tanh_backward(dLdA, Z, out=None):
    """dLdZ = dLdA ⊙ (σ(2U) + Z ⊙ σ'(2U) ⊙ 2U'), U = √(2/π) (Z + 0.044715 Z³)."""
    return activation_backward(dLdA, "Z", Z, out, NN_GELU_TANH)


def silu_forward(Z, out=None):
    """A = Z ⊙ σ(Z)."""
    return activation_forward(Z, out, NN_SILU)


def silu_backward(dLdA, Z, out=None):
    """dLdZ = dLdA ⊙ (σ(Z) + Z ⊙ σ(Z) ⊙ (1 − σ(Z)))."""
    return activation_backward(dLdA, "Z", Z, out, NN_SILU)


# ------------------------------------------------------------------------------------------- losses

cdef inline void describe(cnp.ndarray a, void **data, nn_index *sample, nn_index *cls) noexcept:
    data[0] = cnp.PyArray_DATA(a)
    sample[0] = step(a, 1)
    cls[0] = step(a, 0)


cdef void run_softmax(const nn_kernels *k, const nn_softmax *s, double *losses,
                      double *loss) noexcept nogil:
    k.softmax(s)
    if s.y != NULL:
        loss[0] = k.softmax_losses(s.batch, s.label_gap, s.label_sum, s.exp_rest, losses, True)


cdef object softmax_call(cnp.ndarray z, cnp.ndarray y, cnp.ndarray p, int t, double *loss):
    """Softmax of the columns of z into p; with y, p becomes the gradient p − y and *loss the summed
    loss. All of one layout."""
    cdef nn_softmax s
    cdef const nn_kernels *k = kernels_for(t)
    cdef nn_index b = cnp.PyArray_DIM(z, 1)
    cdef void *data
    cdef char *work
    cdef double *losses = NULL
    cdef double small[256]  # room without malloc, for few samples
    cdef size_t room
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
    room = 0 if s.classes_contiguous else k.softmax_work(b, s.classes)
    work = NULL
    s.work = small
    if room or 4 * b > 256:
        work = <char *>malloc(room + 4 * b * sizeof(double) + 64)
        if work == NULL:
            raise MemoryError()
        s.work = work + (64 - <size_t>work % 64) % 64
    s.label_gap = <char *>s.work + room
    s.label_sum = <char *>s.label_gap + b * sizeof(double)
    s.exp_rest = <char *>s.label_sum + b * sizeof(double)
    losses = <double *>s.exp_rest + b
    if loss != NULL:
        loss[0] = 0
    if s.classes == 0:
        free(work)
        return p
    if s.batch * s.classes < GIL_ELEMENTS:
        run_softmax(k, &s, losses, loss)
    else:
        with nogil:
            run_softmax(k, &s, losses, loss)
    free(work)
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
    if cnp.PyArray_DATA(p) == cnp.PyArray_DATA(z) and cnp.PyArray_DIM(z,
                                                                      0) * cnp.PyArray_ITEMSIZE(z) >= SOFTMAX_LONG_BYTES:
        z = z.copy(order="K")  # many classes need their logits to the end
    softmax_call(in_order_of(p, z), in_order_of(p, y), p, t, &loss)
    return loss, p


cdef object loss_and_gradient(object Z, object Y, object out, int kind):
    cdef int t = computing_type(Z)
    cdef cnp.ndarray z = flat(real_matrix("Z", Z, t, -1, -1, "nb"))
    cdef cnp.ndarray y = real_matrix("Y", Y, t, cnp.PyArray_DIM(z, 0), cnp.PyArray_DIM(z, 1), "nb")
    cdef cnp.ndarray grad = result_like(z, out, t, (y,))
    cdef double loss
    # so few are summed as they come
    if cnp.PyArray_SIZE(z) <= kernels_for(t).lanes and not cnp.PyArray_IS_F_CONTIGUOUS(grad):
        loss, transposed = loss_and_gradient(ordered(z, True), ordered(y, True), None, kind)
        grad[...] = transposed
        return loss, grad
    z, y = in_order_of(grad, z), in_order_of(grad, y)
    if cnp.PyArray_SIZE(z) < GIL_ELEMENTS:
        loss = kernels_for(t).loss_and_gradient(cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z),
                                                cnp.PyArray_DATA(y), cnp.PyArray_DATA(grad), kind)
        return loss, grad
    with nogil:
        loss = kernels_for(t).loss_and_gradient(cnp.PyArray_SIZE(z), cnp.PyArray_DATA(z),
                                                cnp.PyArray_DATA(y), cnp.PyArray_DATA(grad), kind)
    return loss, grad


def sigmoid_nll(Z, Y, out=None):
    """(loss summed over labels and batch in nats, dLdZ = sigmoid(Z) − Y) from logits, in one pass.
    Z, Y, out (n, b)."""
    return loss_and_gradient(Z, Y, out, NN_BINARY_NLL)


def squared_loss(Z, Y, out=None):
    """(sum of (Z − Y)² over outputs and batch, dLdZ = 2 (Z − Y)), in one pass. Z, Y, out (n, b)."""
    return loss_and_gradient(Z, Y, out, NN_SQUARED)


def hinge_loss(Z, Y, out=None):
    """(sum of max(0, 1 − Y Z) over outputs and batch, dLdZ = −Y where Y Z < 1, else 0), in one
    pass. Z, Y, out (n, b)."""
    return loss_and_gradient(Z, Y, out, NN_HINGE)


cdef void sum_losses(const nn_kernels *k, cnp.ndarray p, cnp.ndarray y, cnp.ndarray terms,
                     cnp.ndarray losses, int kind) noexcept nogil:
    """losses (b,) <- the sums of the terms of each column, which have one order for every
    layout."""
    cdef Py_ssize_t n = cnp.PyArray_DIM(p, 0), b = cnp.PyArray_DIM(p, 1)
    k.loss_terms(n * b, cnp.PyArray_DATA(p), cnp.PyArray_DATA(y), cnp.PyArray_DATA(terms), kind)
    if cnp.PyArray_IS_C_CONTIGUOUS(terms):
        k.sum_rows(n, b, cnp.PyArray_DATA(terms), b, cnp.PyArray_DATA(losses))
    else:
        k.sum_columns(n, b, cnp.PyArray_DATA(terms), n, cnp.PyArray_DATA(losses))


cdef object losses_of_samples(object Ypred, object Y, object out, int kind):
    cdef int t = computing_type(Ypred)
    cdef cnp.ndarray p = flat(real_matrix("Ypred", Ypred, t, -1, -1, "nb"))
    cdef cnp.ndarray y = in_order_of(p, real_matrix("Y", Y, t, cnp.PyArray_DIM(p, 0),
                                                    cnp.PyArray_DIM(p, 1), "nb"))
    cdef cnp.ndarray terms = result_like(p, None, t, ()), losses
    losses = np.empty(cnp.PyArray_DIM(p, 1), terms.dtype)
    if out is not None:
        checked_out("out", out, (cnp.PyArray_DIM(p, 1),), t, (p, y))
    if cnp.PyArray_SIZE(p) < GIL_ELEMENTS:
        sum_losses(kernels_for(t), p, y, terms, losses, kind)
    else:
        with nogil:
            sum_losses(kernels_for(t), p, y, terms, losses, kind)
    if out is None:
        return losses
    out[...] = losses
    return out


def nll(Ypred, Y, out=None):
    """−sum of Y log Ypred over each column: the loss of every sample in nats, (b,); 0 log 0 = 0.
    Ypred, Y (n, b)."""
    return losses_of_samples(Ypred, Y, out, NN_NLL)


def nll_backward(Ypred, Y, out=None):
    """dLdZ = (Σ y) Ypred − Y through a softmax whose outputs are Ypred, where Σ y is the sum of a
    column. Ypred, Y, out (n, b)."""
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


def binary_nll(Ypred, Y, out=None):
    """−sum of Y log Ypred + (1 − Y) log(1 − Ypred) over each column, nats, (b,); 0 log 0 = 0.
    Ypred, Y (n, b)."""
    return losses_of_samples(Ypred, Y, out, NN_BINARY_NLL)


def squared(Ypred, Y, out=None):
    """Sum of (Ypred − Y)² over each column, (b,). Ypred, Y (n, b)."""
    return losses_of_samples(Ypred, Y, out, NN_SQUARED)


def hinge(Ypred, Y, out=None):
    """Sum of max(0, 1 − Y Ypred) over each column, (b,). Ypred, Y (n, b)."""
    return losses_of_samples(Ypred, Y, out, NN_HINGE)


# ------------------------------------------------------------------------------------------- update

def sgd_step(W, dLdW, lrate):
    """W ← W − lrate dLdW in W's own memory, whatever its strides. W float32 or float64, writeable;
    dLdW of the same shape."""
    _, g, eta = step_terms(W, dLdW, lrate)
    subtract(<cnp.ndarray>W, <cnp.ndarray>g, eta)


def step_terms(W, dLdW, lrate):
    """sgd_step(W, dLdW, lrate), prepared for take_steps: (W, G, eta) for W ← W − eta G."""
    cdef double eta = lrate if type(lrate) is float else _checks.number("lrate", lrate)
    cdef int t = computing_type(W)
    if not is_addressable(W, t) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>W):
        _checks.in_place("W", W)  # what is left are misaligned arrays and odd strides
    cdef cnp.ndarray w = <cnp.ndarray>W, g = real_array("dLdW", dLdW, t)
    if not cnp.PyArray_SAMESHAPE(w, g):
        _checks.shape("dLdW", g, W.shape)
    if np.may_share_memory(w, g):
        g = g.copy()
    if cnp.PyArray_IS_C_CONTIGUOUS(w) or cnp.PyArray_IS_F_CONTIGUOUS(w):
        g = in_order_of(w, g)
    elif cnp.PyArray_NDIM(w) == 2:
        g = ordered(g, not is_unit_stride(w, 1))
    return W, g, eta


def take_steps(list terms):
    """Take the steps that step_terms has prepared. Allocates nothing, so that a network never keeps
    half a step."""
    cdef cnp.ndarray w, g
    for w, g, eta in terms:
        subtract(w, g, eta)


cdef void subtract(cnp.ndarray w, cnp.ndarray g, double eta) noexcept:
    """w <- w - eta g, with the same bits whatever the strides; quick where both run along memory in
    the same order."""
    cdef const nn_kernels *k = kernels_for(cnp.PyArray_TYPE(w))
    cdef bint aligned = cnp.PyArray_ISALIGNED(w) and cnp.PyArray_ISALIGNED(g)
    cdef bint c_order = cnp.PyArray_IS_C_CONTIGUOUS(g), fortran = cnp.PyArray_IS_F_CONTIGUOUS(g)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(w), rows = 1, row = 0
    cdef int across
    if aligned and ((c_order and cnp.PyArray_IS_C_CONTIGUOUS(w))
                    or (fortran and cnp.PyArray_IS_F_CONTIGUOUS(w))):
        pass
    elif aligned and cnp.PyArray_NDIM(w) == 2 and ((c_order and is_unit_stride(w,
                                                                      1)) or (fortran
                                                                              and is_unit_stride(w,
                                                                                                0))):
        across = c_order and is_unit_stride(w, 1)  # the axis along which both are contiguous
        n, rows, row = cnp.PyArray_DIM(w, across), cnp.PyArray_DIM(w,
                                                                   1 - across), cnp.PyArray_STRIDE(w, 1 - across)
    else:
        with nogil:
            subtract_anywhere(k, <char *>cnp.PyArray_DATA(w), <const char *>cnp.PyArray_DATA(g), w,
                              g, eta, 0)
        return
    if n * rows < GIL_ELEMENTS:
        subtract_rows(k, w, row, g, rows, n, eta)
        return
    with nogil:
        subtract_rows(k, w, row, g, rows, n, eta)


cdef void subtract_rows(const nn_kernels *k, cnp.ndarray w, Py_ssize_t row, cnp.ndarray g,
                        Py_ssize_t rows, Py_ssize_t n,
                        double eta) noexcept nogil:
    """Rows of w, so many bytes apart, less eta times those of g, which are close together."""
    cdef Py_ssize_t i
    for i in range(rows):
        k.subtract_scaled(n, <char *>cnp.PyArray_DATA(w) + i * row,
                          <char *>cnp.PyArray_DATA(g) + i * n * k.itemsize, eta)


cdef void subtract_anywhere(const nn_kernels *k, char *to, const char *of, cnp.ndarray w,
                            cnp.ndarray g, double eta,
                            int axis) noexcept nogil:
    """The same for arrays of any strides, also of places that are not aligned: what lies along this
    axis and those after it."""
    cdef double[64] some
    cdef double[64] steps
    cdef int last = cnp.PyArray_NDIM(w) - 1
    cdef Py_ssize_t i, at = 0, together, size = k.itemsize
    cdef Py_ssize_t n = cnp.PyArray_DIM(w, axis) if axis <= last else 1
    cdef Py_ssize_t w_step = cnp.PyArray_STRIDE(w, axis) if axis <= last else 0
    cdef Py_ssize_t g_step = cnp.PyArray_STRIDE(g, axis) if axis <= last else 0
    if axis < last:
        for i in range(n):
            subtract_anywhere(k, to + i * w_step, of + i * g_step, w, g, eta, axis + 1)
        return
    while at < n:
        together = min(64, n - at)
        move(together, size, <char *>some, size, to + at * w_step, w_step)
        move(together, size, <char *>steps, size, of + at * g_step, g_step)
        k.subtract_scaled(together, some, steps, eta)
        move(together, size, to + at * w_step, w_step, <char *>some, size)
        at += together


cdef inline void move(Py_ssize_t n, Py_ssize_t size, char *to, Py_ssize_t to_step, const char *of,
                      Py_ssize_t of_step) noexcept nogil:
    """Copy n elements of 4 or 8 bytes, so many bytes apart, to or from places that need not be
    aligned."""
    cdef Py_ssize_t i
    if size == 8:
        for i in range(n):
            memcpy(to + i * to_step, of + i * of_step, 8)
    else:
        for i in range(n):
            memcpy(to + i * to_step, of + i * of_step, 4)


def byte_bounds(cnp.ndarray a):
    """(address of the first byte, address past the last byte) of an array, whatever its strides."""
    cdef Py_ssize_t low = <Py_ssize_t>cnp.PyArray_DATA(a), high = low + cnp.PyArray_ITEMSIZE(a)
    cdef Py_ssize_t reach
    cdef int i
    for i in range(cnp.PyArray_NDIM(a)):
        reach = (cnp.PyArray_DIM(a, i) - 1) * cnp.PyArray_STRIDE(a, i)
        if reach < 0:
            low += reach
        else:
            high += reach
    return low, high


def has_nan(x):
    """Whether an array of numbers holds NaN; a contiguous float32 or float64 one that is finite is
    told in a single quick pass."""
    cdef cnp.ndarray a
    cdef int t
    cdef bint finite
    if cnp.PyArray_CheckExact(x):
        a = <cnp.ndarray>x
        t = cnp.PyArray_TYPE(a)
        if (t == cnp.NPY_FLOAT or t == cnp.NPY_DOUBLE) and cnp.PyArray_ISBEHAVED_RO(a) and (
                cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a)):
            if cnp.PyArray_SIZE(a) < GIL_ELEMENTS:
                finite = kernels_for(t).all_finite(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(a))
            else:
                with nogil:
                    finite = kernels_for(t).all_finite(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(a))
            if finite:
                return False
    x = np.asarray(x)
    return x.dtype.kind == "f" and bool(np.isnan(x).any())


def apply(str function, X):
    """exp, log or log1p of every element by the vector functions inside the kernels; for tests of
    their accuracy."""
    cdef int t = computing_type(X)
    cdef cnp.ndarray x = flat(real_array("X", X, t)), y = result_like(x, None, t, ())
    cdef int kind = {"exp": NN_EXP, "log": NN_LOG, "log1p": NN_LOG1P}[function]
    with nogil:
        kernels_for(t).apply(cnp.PyArray_SIZE(x), cnp.PyArray_DATA(x), cnp.PyArray_DATA(y), kind)
    return y
