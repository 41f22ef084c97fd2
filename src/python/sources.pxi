# Arrays for the engine: samples of X and Y (Source) and matrices of weights (View). Used by
# parameters.pxi and Program.

cdef Source source_of(cnp.ndarray x, int type_number) noexcept:
    """An addressable array with samples as columns, for a network of this type."""
    cdef Source source
    source.row_starts, source.columns, source.row_entries = NULL, NULL, 0
    source.data = <char *>cnp.PyArray_DATA(x)
    source.features = cnp.PyArray_DIM(x, 0)
    source.feature_bytes, source.sample_bytes = cnp.PyArray_STRIDE(x, 0), cnp.PyArray_STRIDE(x, 1)
    source.type = native_type(x)
    source.direct = cnp.PyArray_TYPE(x) == type_number and is_unit_stride(x, 0)
    return source


cdef class Rows:
    """A CSR matrix with samples as rows, as X of Program: its transpose's shape (features, N).

    data: of the network's type; columns (int32) are sorted and different in each row; row_starts
    (int64) has N + 1 entries. Nothing is copied.
    """

    cdef cnp.ndarray data
    cdef cnp.ndarray columns
    cdef cnp.ndarray row_starts
    cdef readonly tuple shape
    cdef Py_ssize_t row_entries

    def __init__(self, cnp.ndarray data, cnp.ndarray columns, cnp.ndarray row_starts, features):
        self.data, self.columns, self.row_starts = data, columns, row_starts
        self.shape = (features, len(row_starts) - 1)
        self.row_entries = int(np.max(np.diff(row_starts), initial=1))

    cdef Source source(self, int type_number) except *:
        cdef Source source
        if (cnp.PyArray_TYPE(self.columns) != cnp.NPY_INT32
                or cnp.PyArray_TYPE(self.row_starts) != cnp.NPY_INT64
                or cnp.PyArray_TYPE(self.data) != type_number):
            raise TypeError("Rows must hold data of the network's type, int32 columns and int64 "
                            "row_starts")
        memset(&source, 0, sizeof(source))
        source.data = <char *>cnp.PyArray_DATA(self.data)
        source.columns = <const int32_t *>cnp.PyArray_DATA(self.columns)
        source.row_starts = <const int64_t *>cnp.PyArray_DATA(self.row_starts)
        source.features, source.row_entries = self.shape[0], self.row_entries
        source.type = native_type(self.data)
        return source


cdef View matrix_view(object array, bint transposed) noexcept:
    """A matrix or its transpose; the transpose of a vector (n, 1) is one row."""
    cdef View view
    cdef cnp.ndarray a = <cnp.ndarray>array
    view.data = <char *>cnp.PyArray_DATA(a)
    view.row_bytes = cnp.PyArray_STRIDE(a, transposed)
    view.column_bytes = cnp.PyArray_STRIDE(a, not transposed)
    return view


cdef class Samples:
    # the arrays of X and Y that a call reads, prepared for the engine and cached by identity
    cdef int type_number   # of the network
    cdef dict prepared     # (name, id(array)) -> (array, array to read)

    def __cinit__(self, int type_number):
        self.type_number = type_number
        self.prepared = {}

    cdef Source source(self, str name, object X, Py_ssize_t samples_read) except *:
        """The Source for X (features, N). If X is not contiguous along the features and many
        samples are read, it is transposed once, so that a cache line holds many features of a
        sample. The caller keeps X alive."""
        cdef cnp.ndarray x
        cdef Py_ssize_t n
        if type(X) is Rows:
            self.prepared[name, id(X)] = (X, X)
            return (<Rows>X).source(self.type_number)
        if type(X) is Classes:
            self.prepared[name, id(X)] = (X, X)
            return (<Classes>X).source()
        if (cnp.PyArray_CheckExact(X) and native_type(<cnp.ndarray>X) >= 0
                and is_addressable(X, cnp.PyArray_TYPE(<cnp.ndarray>X))
                and is_unit_stride(<cnp.ndarray>X, 0)):
            return source_of(<cnp.ndarray>X, self.type_number)
        key = (name, id(X))
        if key in self.prepared:
            x = self.prepared[key][1]
        else:
            x = np.asarray(X)
            if not is_addressable(x, cnp.PyArray_TYPE(x)) or native_type(x) < 0:
                x = real_array(name, x, self.type_number)
            n = cnp.PyArray_DIM(x, 1)
            if not is_unit_stride(x, 0) and samples_read * TRANSPOSE_SHARE >= n and n > 1:
                x = self.transposed(x)
            self.prepared[key] = (X, x)
        return source_of(x, self.type_number)

    cdef cnp.ndarray transposed(self, cnp.ndarray x):
        """A Fortran-ordered copy of x in the network's type."""
        cdef Py_ssize_t features = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
        cdef cnp.ndarray copy = new_matrix(features, n, self.type_number, True)
        convert(cnp.PyArray_DATA(copy), features, self.type_number == cnp.NPY_DOUBLE, n, features,
                <char *>cnp.PyArray_DATA(x), cnp.PyArray_STRIDE(x, 1), cnp.PyArray_STRIDE(x, 0),
                native_type(x))
        return copy

    cdef int clear(self) except -1:
        """Release the arrays."""
        self.prepared.clear()
        return 0
