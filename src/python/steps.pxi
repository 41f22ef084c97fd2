# Steps of plain SGD as kernels of arrays: nncore.kernels.sgd_step, and steps prepared for a whole
# network.

def sgd_step(W, dLdW, lrate):
    """W ← W − lrate dLdW in place, for any strides. W float32 or float64, writeable; dLdW of the
    same shape."""
    _, g, eta = step_terms(W, dLdW, lrate)
    subtract(<cnp.ndarray>W, <cnp.ndarray>g, eta)


def step_terms(W, dLdW, lrate):
    """Prepare sgd_step(W, dLdW, lrate) for take_steps: (W, G, eta) for W ← W − eta G."""
    cdef double eta = lrate if type(lrate) is float else _checks.number("lrate", lrate)
    cdef int t = computing_type(W)
    if not is_addressable(W, t) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>W):
        _checks.in_place("W", W)  # accepts misaligned arrays and odd strides
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
    """Take the steps that step_terms has prepared. Allocates nothing, so that no network is left
    with half a step."""
    cdef cnp.ndarray w, g
    for w, g, eta in terms:
        subtract(w, g, eta)


cdef void subtract(cnp.ndarray w, cnp.ndarray g, double eta) noexcept:
    """w <- w - eta g, with the same bits for all strides; fast if both are contiguous in the same
    order, or along the same axis."""
    cdef const nn_kernels *k = kernels_for(cnp.PyArray_TYPE(w))
    cdef bint aligned = cnp.PyArray_ISALIGNED(w) and cnp.PyArray_ISALIGNED(g)
    cdef bint c_order = cnp.PyArray_IS_C_CONTIGUOUS(g), fortran = cnp.PyArray_IS_F_CONTIGUOUS(g)
    cdef bint same_order = ((c_order and cnp.PyArray_IS_C_CONTIGUOUS(w))
                            or (fortran and cnp.PyArray_IS_F_CONTIGUOUS(w)))
    cdef Py_ssize_t n = cnp.PyArray_SIZE(w), rows = 1, row_bytes = 0
    cdef int axis = -1  # along which both are contiguous
    if aligned and not same_order and cnp.PyArray_NDIM(w) == 2:
        if c_order and is_unit_stride(w, 1):
            axis = 1
        elif fortran and is_unit_stride(w, 0):
            axis = 0
    if axis >= 0:
        n, rows = cnp.PyArray_DIM(w, axis), cnp.PyArray_DIM(w, 1 - axis)
        row_bytes = cnp.PyArray_STRIDE(w, 1 - axis)
    elif not (aligned and same_order):
        with nogil:
            subtract_strided(k, <char *>cnp.PyArray_DATA(w), <const char *>cnp.PyArray_DATA(g), w,
                             g, eta, 0)
        return
    if n * rows < GIL_ELEMENTS:
        subtract_rows(k, w, row_bytes, g, rows, n, eta)
        return
    with nogil:
        subtract_rows(k, w, row_bytes, g, rows, n, eta)


cdef void subtract_rows(const nn_kernels *k, cnp.ndarray w, Py_ssize_t row_bytes, cnp.ndarray g,
                        Py_ssize_t rows, Py_ssize_t n, double eta) noexcept nogil:
    """w <- w - eta g row by row, for a contiguous g."""
    cdef Py_ssize_t i
    for i in range(rows):
        k.subtract_scaled(n, <char *>cnp.PyArray_DATA(w) + i * row_bytes,
                          <char *>cnp.PyArray_DATA(g) + i * n * k.itemsize, eta)


cdef void subtract_strided(const nn_kernels *k, char *w_data, const char *g_data, cnp.ndarray w,
                           cnp.ndarray g, double eta, int axis) noexcept nogil:
    """w <- w - eta g along this axis and the following ones, for any strides and alignment."""
    cdef double[64] w_part
    cdef double[64] g_part
    cdef int last = cnp.PyArray_NDIM(w) - 1
    cdef Py_ssize_t i, first = 0, count, size = k.itemsize
    cdef Py_ssize_t n = cnp.PyArray_DIM(w, axis) if axis <= last else 1
    cdef Py_ssize_t w_step = cnp.PyArray_STRIDE(w, axis) if axis <= last else 0
    cdef Py_ssize_t g_step = cnp.PyArray_STRIDE(g, axis) if axis <= last else 0
    if axis < last:
        for i in range(n):
            subtract_strided(k, w_data + i * w_step, g_data + i * g_step, w, g, eta, axis + 1)
        return
    while first < n:
        count = min(64, n - first)
        move(count, size, <char *>w_part, size, w_data + first * w_step, w_step)
        move(count, size, <char *>g_part, size, g_data + first * g_step, g_step)
        k.subtract_scaled(count, w_part, g_part, eta)
        move(count, size, w_data + first * w_step, w_step, <char *>w_part, size)
        first += count


cdef inline void move(Py_ssize_t n, Py_ssize_t size, char *dst, Py_ssize_t dst_step,
                      const char *src, Py_ssize_t src_step) noexcept nogil:
    """Copy n elements of 4 or 8 bytes with strides in bytes; they need not be aligned."""
    cdef Py_ssize_t i
    if size == 8:
        for i in range(n):
            memcpy(dst + i * dst_step, src + i * src_step, 8)
    else:
        for i in range(n):
            memcpy(dst + i * dst_step, src + i * src_step, 4)
