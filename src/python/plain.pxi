# Arrays that need no validation by another library: checks for the short calls of nncore.sklearn.

def is_plain(X, Py_ssize_t features):
    """True for a finite (n, features) array that the engine reads as it is: exactly a NumPy array,
    C-contiguous, float32 or float64, n > 0."""
    cdef cnp.ndarray x
    cdef int type_number
    if type(X) is not np.ndarray:
        return False
    x = <cnp.ndarray>X
    type_number = cnp.PyArray_TYPE(x)
    return ((type_number == cnp.NPY_DOUBLE or type_number == cnp.NPY_FLOAT)
            and cnp.PyArray_NDIM(x) == 2 and cnp.PyArray_DIM(x, 1) == features
            and cnp.PyArray_DIM(x, 0) > 0 and cnp.PyArray_IS_C_CONTIGUOUS(x)
            and cnp.PyArray_ISALIGNED(x) and cnp.PyArray_ISNOTSWAPPED(x)
            and is_finite_array(x))


def is_plain_vector(Y, Py_ssize_t n):
    """True for a finite (n,) array of float32 or float64 without holes."""
    cdef cnp.ndarray y
    if type(Y) is not np.ndarray:
        return False
    y = <cnp.ndarray>Y
    return ((cnp.PyArray_TYPE(y) == cnp.NPY_DOUBLE or cnp.PyArray_TYPE(y) == cnp.NPY_FLOAT)
            and cnp.PyArray_NDIM(y) == 1 and cnp.PyArray_DIM(y, 0) == n
            and cnp.PyArray_IS_C_CONTIGUOUS(y) and cnp.PyArray_ISALIGNED(y)
            and cnp.PyArray_ISNOTSWAPPED(y) and is_finite_array(y))


cdef bint is_finite_array(cnp.ndarray x) noexcept:
    """True if a contiguous float32 or float64 array holds finite numbers only."""
    cdef const nn_kernels *k = kernels_for(cnp.PyArray_TYPE(x))
    cdef bint finite
    if cnp.PyArray_SIZE(x) < GIL_ELEMENTS:
        return k.all_finite(cnp.PyArray_SIZE(x), cnp.PyArray_DATA(x))
    with nogil:
        finite = k.all_finite(cnp.PyArray_SIZE(x), cnp.PyArray_DATA(x))
    return finite


def all_finite(list arrays):
    """True if contiguous float32 or float64 arrays hold finite numbers only."""
    cdef Py_ssize_t i
    for i in range(len(arrays)):
        if not is_finite_array(<cnp.ndarray>arrays[i]):
            return False
    return True


def are_chained(list objects, tuple lists):
    """True if `objects` are the same objects as those of the lists, one list after the other."""
    cdef Py_ssize_t i, at = 0
    cdef object part
    cdef list items
    for part in lists:
        if type(part) is not list:
            return False
        items = <list>part
        if at + len(items) > len(objects):
            return False
        for i in range(len(items)):
            if objects[at + i] is not items[i]:
                return False
        at += len(items)
    return at == len(objects)
