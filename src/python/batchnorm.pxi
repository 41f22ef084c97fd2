# Batch normalisation as kernels of arrays: nncore.kernels.batchnorm_forward and the like. Samples
# are rows for the leaf kernels, so results are Fortran-ordered.

cdef cnp.ndarray vector(str name, object x, int t, Py_ssize_t n):
    """A contiguous (n, 1) array."""
    return ordered(real_matrix(name, x, t, n, 1, "n1"), False)


cdef cnp.ndarray samples_as_rows(str name, object x, int t, Py_ssize_t n, Py_ssize_t b):
    """A Fortran-ordered (n, b) array."""
    return ordered(real_matrix(name, x, t, n, b, "nb"), True)


cdef cnp.ndarray normalized(const nn_kernels *k, int t, cnp.ndarray a, cnp.ndarray g,
                            cnp.ndarray shift, cnp.ndarray mean, cnp.ndarray var, double eps,
                            bint given, cnp.ndarray norm):
    """Z of batchnorm_forward or batchnorm_apply; writes mean and var unless they are given, and
    norm unless it is None."""
    cdef nn_batchnorm s
    cdef cnp.ndarray z = new_matrix(cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1), t, True)
    memset(&s, 0, sizeof(s))
    s.features, s.batch = cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1)
    s.x, s.x_stride, s.row_stride = cnp.PyArray_DATA(a), s.features, s.features
    s.g, s.shift, s.eps, s.given = cnp.PyArray_DATA(g), cnp.PyArray_DATA(shift), eps, given
    s.mean, s.var, s.z = cnp.PyArray_DATA(mean), cnp.PyArray_DATA(var), cnp.PyArray_DATA(z)
    s.norm = cnp.PyArray_DATA(norm) if norm is not None else NULL
    with nogil:
        k.batchnorm_forward(&s)
    return z


def batchnorm_forward(A, G, B, eps=1e-20):
    """(Z, norm, mus, vars): norm = (A − mus) / √(vars + eps), Z = G ⊙ norm + B. A, Z, norm (n, b);
    G, B, mus, vars (n, 1)."""
    cdef int t = computing_type(G)
    cdef cnp.ndarray g = vector("G", G, t, -1)
    cdef Py_ssize_t n = cnp.PyArray_DIM(g, 0)
    cdef cnp.ndarray shift = vector("B", B, t, n), a = samples_as_rows("A", A, t, n, -1)
    if cnp.PyArray_DIM(a, 1) == 0:
        raise ValueError("A must hold at least one sample to be normalised, got 0 columns")
    cdef cnp.ndarray norm = new_matrix(n, cnp.PyArray_DIM(a, 1), t, True)
    cdef cnp.ndarray mean = new_matrix(n, 1, t, False), var = new_matrix(n, 1, t, False)
    return normalized(kernels_for(t), t, a, g, shift, mean, var, _checks.number("eps", eps), False,
                      norm), norm, mean, var


def batchnorm_apply(A, G, B, mus, vars, eps=1e-20):
    """Z = G ⊙ (A − mus) / √(vars + eps) + B with the given statistics. A, Z (n, b); G, B, mus, vars
    (n, 1)."""
    cdef int t = computing_type(G)
    cdef cnp.ndarray g = vector("G", G, t, -1)
    cdef Py_ssize_t n = cnp.PyArray_DIM(g, 0)
    cdef cnp.ndarray shift = vector("B", B, t, n), mean = vector("mus", mus, t, n)
    cdef cnp.ndarray var = vector("vars", vars, t, n)
    return normalized(kernels_for(t), t, samples_as_rows("A", A, t, n, -1), g, shift, mean, var,
                      _checks.number("eps", eps), True, None)


def batchnorm_backward(dLdZ, norm, vars, G, eps=1e-20):
    """(dLdA, dLdG, dLdB) of batchnorm_forward; dLdG and dLdB summed over the batch. dLdZ, norm,
    dLdA (n, b); the others (n, 1)."""
    cdef int t = computing_type(G)
    cdef nn_batchnorm s
    cdef cnp.ndarray g = vector("G", G, t, -1)
    cdef Py_ssize_t n = cnp.PyArray_DIM(g, 0)
    cdef cnp.ndarray var = vector("vars", vars, t, n)
    cdef cnp.ndarray normal = samples_as_rows("norm", norm, t, n, -1)
    cdef Py_ssize_t b = cnp.PyArray_DIM(normal, 1)
    cdef cnp.ndarray dz = samples_as_rows("dLdZ", dLdZ, t, n, b)
    if b == 0:
        raise ValueError("norm must hold at least one sample, got 0 columns")
    cdef cnp.ndarray dx = new_matrix(n, b, t, True), dg = new_matrix(n, 1, t, False)
    cdef cnp.ndarray dshift = new_matrix(n, 1, t, False)
    memset(&s, 0, sizeof(s))
    s.features, s.batch, s.row_stride, s.eps = n, b, n, _checks.number("eps", eps)
    s.g, s.var = cnp.PyArray_DATA(g), cnp.PyArray_DATA(var)
    s.norm, s.dz = cnp.PyArray_DATA(normal), cnp.PyArray_DATA(dz)
    s.dx, s.dg, s.dshift = cnp.PyArray_DATA(dx), cnp.PyArray_DATA(dg), cnp.PyArray_DATA(dshift)
    with nogil:
        kernels_for(t).batchnorm_backward(&s)
    return dx, dg, dshift
