# From arrays to pointers: validation, conversion and layout of the arrays of the kernel interface,
# nncore.kernels. Used by linear.pxi, activations.pxi, losses.pxi, steps.pxi, optimizers.pxi,
# batchnorm.pxi, dropout.pxi, Program and Predictor.
#
# The arrays are the user's: any strides, any real type. Arrays that the leaf kernels cannot address
# are copied here; invalid ones are rejected by nncore._checks. Each kernel decides from the layouts
# of its arguments which operand runs along vectors, so that neither C- nor Fortran-ordered arrays
# are transposed without need. Results do not depend on this choice: the order of every sum follows
# from the shapes alone, so that equal numbers give equal bits in every layout.

cdef inline bint is_addressable(object x, int type_number):
    """True for an array that kernels can address: of the type, aligned, native, strides in whole
    elements."""
    if not cnp.PyArray_Check(x):
        return False
    if not cnp.PyArray_CheckExact(x) and np.ma.is_masked(x):
        return False
    cdef cnp.ndarray a = <cnp.ndarray>x
    cdef int i
    if (cnp.PyArray_TYPE(a) != type_number or not cnp.PyArray_ISALIGNED(a)
            or not cnp.PyArray_ISNOTSWAPPED(a)):
        return False
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(a)
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_STRIDE(a, i) % size != 0:
            return False
    return True


cdef inline int computing_type(object x) noexcept:
    """NPY_FLOAT for native float32 arrays, else NPY_DOUBLE."""
    if (cnp.PyArray_Check(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT
            and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>x)):
        return cnp.NPY_FLOAT
    return cnp.NPY_DOUBLE


cdef object dtype_of(int type_number):
    return np.float32 if type_number == cnp.NPY_FLOAT else np.float64


cdef inline const nn_kernels *kernels_for(int type_number) noexcept nogil:
    return table[type_number == cnp.NPY_DOUBLE]


cdef cnp.ndarray real_array(str name, object x, int type_number):
    """x itself if the kernels can address it, else a converted copy; TypeError if it is not
    real."""
    if is_addressable(x, type_number):
        return <cnp.ndarray>x
    x = _checks.as_real(name, x, dtype_of(type_number))
    return <cnp.ndarray>(x if is_addressable(x, type_number) else np.array(x, order="K"))


cdef cnp.ndarray real_matrix(str name, object x, int type_number, Py_ssize_t rows,
                             Py_ssize_t columns, str letters):
    """A (rows, columns) array for the kernels; a negative size accepts any, and the error names it
    by its letter."""
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
    """True if the axis is contiguous or has at most one element."""
    return cnp.PyArray_DIM(a, axis) <= 1 or cnp.PyArray_STRIDE(a, axis) == cnp.PyArray_ITEMSIZE(a)


cdef int native_type(cnp.ndarray x) noexcept:
    """The array's type for nn_convert, or -1."""
    cdef int t = cnp.PyArray_TYPE(x)
    if t == cnp.NPY_BOOL:
        return NN_BOOL
    if t == cnp.NPY_FLOAT:
        return NN_F32
    if t == cnp.NPY_DOUBLE:
        return NN_F64
    if cnp.PyArray_ISINTEGER(x):
        size = cnp.PyArray_ITEMSIZE(x)
        if cnp.PyArray_ISSIGNED(x):
            return NN_I8 if size == 1 else NN_I16 if size == 2 else NN_I32 if size == 4 else NN_I64
        return NN_U8 if size == 1 else NN_U16 if size == 2 else NN_U32 if size == 4 else NN_U64
    return -1


cdef cnp.ndarray new_matrix(Py_ssize_t rows, Py_ssize_t columns, int type_number, bint fortran):
    cdef cnp.npy_intp shape[2]
    shape[0] = rows
    shape[1] = columns
    return <cnp.ndarray>cnp.PyArray_EMPTY(2, shape, type_number, fortran)


cdef object checked_out(str name, object out, tuple shape, int type_number, tuple inputs):
    out = _checks.out(name, out, shape, dtype_of(type_number))
    _checks.no_overlap(name, out, *inputs)
    return out


cdef void convert(void *dst, Py_ssize_t dst_stride, bint dst_is_double, Py_ssize_t rows,
                  Py_ssize_t columns, const char *src, Py_ssize_t src_stride,
                  Py_ssize_t src_col_stride, int src_type) noexcept:
    """nn_convert, without the GIL unless the array is small."""
    if rows * columns < GIL_COPY:
        nn_convert(dst, dst_stride, dst_is_double, rows, columns, src, src_stride, src_col_stride,
                   src_type)
        return
    with nogil:
        nn_convert(dst, dst_stride, dst_is_double, rows, columns, src, src_stride, src_col_stride,
                   src_type)


cdef cnp.ndarray ordered(cnp.ndarray a, bint fortran):
    """An addressable float array in C or Fortran order: itself, or a copy."""
    cdef cnp.ndarray copy
    cdef int t = cnp.PyArray_TYPE(a), row_axis = fortran, column_axis = not fortran
    cdef Py_ssize_t rows, columns
    if cnp.PyArray_IS_F_CONTIGUOUS(a) if fortran else cnp.PyArray_IS_C_CONTIGUOUS(a):
        return a
    if cnp.PyArray_NDIM(a) != 2:
        return <cnp.ndarray>(np.asfortranarray(a) if fortran else np.ascontiguousarray(a))
    copy = new_matrix(cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1), t, fortran)
    rows, columns = cnp.PyArray_DIM(a, row_axis), cnp.PyArray_DIM(a, column_axis)
    convert(cnp.PyArray_DATA(copy), columns, t == cnp.NPY_DOUBLE, rows, columns,
            <const char *>cnp.PyArray_DATA(a), cnp.PyArray_STRIDE(a, row_axis),
            cnp.PyArray_STRIDE(a, column_axis), native_type(a))
    return copy


cdef cnp.ndarray flat(cnp.ndarray a):
    """a, or a contiguous copy of it."""
    if cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a):
        return a
    return ordered(a, False)


cdef cnp.ndarray in_order_of(cnp.ndarray model, cnp.ndarray a):
    """a in the memory order of the contiguous array `model` of the same shape."""
    return ordered(a, not cnp.PyArray_IS_C_CONTIGUOUS(model))


cdef bint is_disjoint(cnp.ndarray a, object out, int t):
    """True if out is a writeable array of a's shape and type t, both are contiguous, and they share
    no memory. A fast path before the general checks."""
    if (not cnp.PyArray_CheckExact(out) or cnp.PyArray_TYPE(<cnp.ndarray>out) != t
            or not cnp.PyArray_SAMESHAPE(a, <cnp.ndarray>out)):
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
    """The array to write: a new one in the order of `model`, or `out`, which may be `model`."""
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


cdef struct Bounds:
    # the memory that an array spans
    Py_ssize_t low, high   # addresses of the first byte and past the last one


cdef Bounds bounds_of(cnp.ndarray a) noexcept:
    """The memory that an array with any strides spans."""
    cdef Bounds b
    cdef Py_ssize_t reach
    cdef int i
    b.low = <Py_ssize_t>cnp.PyArray_DATA(a)
    b.high = b.low + cnp.PyArray_ITEMSIZE(a)
    for i in range(cnp.PyArray_NDIM(a)):
        reach = (cnp.PyArray_DIM(a, i) - 1) * cnp.PyArray_STRIDE(a, i)
        if reach < 0:
            b.low += reach
        else:
            b.high += reach
    return b


def byte_bounds(cnp.ndarray a):
    """(address of the first byte, address past the last byte) of an array with any strides."""
    cdef Bounds b = bounds_of(a)
    return b.low, b.high


def has_nan(x):
    """True if an array of numbers holds NaN. A finite, contiguous float32 or float64 array takes
    one fast pass."""
    cdef cnp.ndarray a
    cdef int t
    cdef bint finite
    if cnp.PyArray_CheckExact(x):
        a = <cnp.ndarray>x
        t = cnp.PyArray_TYPE(a)
        if ((t == cnp.NPY_FLOAT or t == cnp.NPY_DOUBLE) and cnp.PyArray_ISBEHAVED_RO(a)
                and (cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a))):
            if cnp.PyArray_SIZE(a) < GIL_ELEMENTS:
                finite = kernels_for(t).all_finite(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(a))
            else:
                with nogil:
                    finite = kernels_for(t).all_finite(cnp.PyArray_SIZE(a), cnp.PyArray_DATA(a))
            if finite:
                return False
    x = np.asarray(x)
    return x.dtype.kind == "f" and bool(np.isnan(x).any())


cdef inline double number_at(const char *at, int type_) noexcept nogil:
    """A number of any real type."""
    cdef double value
    if type_ == NN_F64:
        return (<const double *>at)[0]
    if type_ == NN_F32:
        return (<const float *>at)[0]
    nn_convert(&value, 0, True, 1, 1, at, 0, 0, type_)
    return value


def sum_pairwise(x):
    """The sum of a vector by halves, in float64, as nncore._sums.pairwise defines it; None for
    anything but a short contiguous float32 or float64 array (n,)."""
    cdef cnp.ndarray a
    cdef Py_ssize_t i, n, half
    cdef double[64] few
    cdef double *terms = few
    cdef double total
    if not cnp.PyArray_CheckExact(x):
        return None
    a = <cnp.ndarray>x
    n = cnp.PyArray_DIM(a, 0) if cnp.PyArray_NDIM(a) == 1 else 0
    if n == 0 or n > GIL_COPY or not cnp.PyArray_ISCARRAY_RO(a):
        return None
    if cnp.PyArray_TYPE(a) != cnp.NPY_DOUBLE and cnp.PyArray_TYPE(a) != cnp.NPY_FLOAT:
        return None
    if n > 64:
        terms = <double *>malloc(n * sizeof(double))
        if terms == NULL:
            raise MemoryError()
    for i in range(n):
        terms[i] = number_at(<const char *>cnp.PyArray_DATA(a) + i * cnp.PyArray_STRIDE(a, 0),
                             native_type(a))
    while n > 1:
        half = n // 2
        for i in range(half):
            terms[i] += terms[half + i]
        if n % 2:
            terms[0] += terms[n - 1]
        n = half
    total = terms[0]
    if terms != few:
        free(terms)
    return total


def argmax_columns(x):
    """np.argmax(x, axis=0) as int64: the first of the largest entries, or the first NaN; None for
    anything but a small contiguous float32 or float64 matrix that is not empty."""
    cdef cnp.ndarray a, places
    cdef cnp.npy_intp b
    cdef Py_ssize_t n, row, column
    cdef int t
    cdef bint finite
    cdef int64_t *to
    if not cnp.PyArray_CheckExact(x) or cnp.PyArray_NDIM(<cnp.ndarray>x) != 2:
        return None
    a = <cnp.ndarray>x
    t, n, b = cnp.PyArray_TYPE(a), cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1)
    if t != cnp.NPY_FLOAT and t != cnp.NPY_DOUBLE or n == 0:
        return None
    if not (cnp.PyArray_ISBEHAVED_RO(a)
            and (cnp.PyArray_IS_C_CONTIGUOUS(a) or cnp.PyArray_IS_F_CONTIGUOUS(a))):
        return None
    if n * b < GIL_COPY:
        row, column = step(a, 0), step(a, 1)
        places = <cnp.ndarray>cnp.PyArray_EMPTY(1, &b, cnp.NPY_INT64, False)
        to = <int64_t *>cnp.PyArray_DATA(places)
        finite = kernels_for(t).all_finite(n * b, cnp.PyArray_DATA(a))
        if t == cnp.NPY_FLOAT:
            argmax_float(<const float *>cnp.PyArray_DATA(a), n, b, row, column, finite, to)
        else:
            argmax_double(<const double *>cnp.PyArray_DATA(a), n, b, row, column, finite, to)
        return places
    return None


cdef extern from *:
    """
    /* Four columns at a time, in registers, as each comparison waits for the one before it. */
    #define NNCORE_EACH(c) _Pragma("GCC unroll 4") for (int c = 0; c < 4; c++)
    #define NNCORE_ARGMAX(real)                                                                 \\
        static inline __attribute__((always_inline)) void nncore_argmax4_##real(                \\
            const real *x, Py_ssize_t n, Py_ssize_t b, Py_ssize_t row, Py_ssize_t column,       \\
            const int finite, int64_t *to) {                                                    \\
            for (Py_ssize_t j = 0; j < b; j += 4) {                                             \\
                const real *from[4];                                                            \\
                real most[4];                                                                   \\
                int64_t at[4];                                                                  \\
                NNCORE_EACH(c) {                                                                \\
                    from[c] = x + (j + c < b ? j + c : j) * column;                             \\
                    most[c] = from[c][0];                                                       \\
                    at[c] = 0;                                                                  \\
                }                                                                               \\
                for (Py_ssize_t i = 1; i < n; i++)                                              \\
                    NNCORE_EACH(c) {                                                            \\
                        const real value = from[c][i * row];                                    \\
                        const int more = finite ? value > most[c]                               \\
                                                : !(value <= most[c]) & (most[c] == most[c]);   \\
                        at[c] = more ? i : at[c];  \\
                        most[c] = more ? value : most[c];                                       \\
                    }                                                                           \\
                for (int c = 0; c < 4 && j + c < b; c++) to[j + c] = at[c];                     \\
            }                                                                                   \\
        }                                                                                       \\
        static void nncore_argmax_##real(const real *x, Py_ssize_t n, Py_ssize_t b,             \\
                                         Py_ssize_t row, Py_ssize_t column, int finite,         \\
                                         int64_t *to) {                                         \\
            if (finite) nncore_argmax4_##real(x, n, b, row, column, 1, to);                     \\
            else nncore_argmax4_##real(x, n, b, row, column, 0, to);                            \\
        }
    NNCORE_ARGMAX(float)
    NNCORE_ARGMAX(double)
    """
    void argmax_float "nncore_argmax_float"(const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                            Py_ssize_t, int, int64_t *) noexcept
    void argmax_double "nncore_argmax_double"(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                              Py_ssize_t, int, int64_t *) noexcept
