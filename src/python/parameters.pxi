# The user's arrays of weights, running statistics and optimizer state, and their transfer to and
# from the engine (engine/params.pxi). Used by Program, which owns the engine.

def are_layers(coefs, intercepts):
    """True if the engine can train on W (m, n) and w0 (n,) of each layer: writeable, aligned,
    native, of one type of float32 and float64, without holes, each layer following the last."""
    cdef cnp.ndarray w, w0
    cdef Py_ssize_t width = -1, i
    cdef int type_number
    if len(coefs) == 0 or len(coefs) != len(intercepts) or type(coefs[0]) is not np.ndarray:
        return False
    type_number = cnp.PyArray_TYPE(<cnp.ndarray>coefs[0])
    if type_number != cnp.NPY_FLOAT and type_number != cnp.NPY_DOUBLE:
        return False
    for i in range(len(coefs)):
        if type(coefs[i]) is not np.ndarray or type(intercepts[i]) is not np.ndarray:
            return False
        w, w0 = coefs[i], intercepts[i]
        if (not is_addressable(w, type_number) or not is_addressable(w0, type_number)
                or cnp.PyArray_NDIM(w) != 2 or cnp.PyArray_NDIM(w0) != 1
                or not cnp.PyArray_ISWRITEABLE(w) or not cnp.PyArray_ISWRITEABLE(w0)
                or not cnp.PyArray_IS_C_CONTIGUOUS(w) or not cnp.PyArray_IS_C_CONTIGUOUS(w0)
                or width >= 0 and cnp.PyArray_DIM(w, 0) != width
                or cnp.PyArray_DIM(w, 1) != cnp.PyArray_DIM(w0, 0)):
            return False
        width = cnp.PyArray_DIM(w, 1)
    return True


cdef class Parameters:
    # the modules with weights of a compiled network, and their arrays while it runs
    cdef Engine *e
    cdef list owners       # (layer, module, name of w, name of w0) of each layer with weights
    cdef list norms        # (layer, BatchNorm) of those with running statistics
    cdef list arrays       # the user's (W, W0) as last loaded, kept alive
    cdef list statistics   # the user's (running_mean, running_var), likewise
    cdef list states       # the optimizer's (arrays for W, arrays for W0) of each owner

    def __cinit__(self):
        self.owners, self.norms, self.arrays, self.statistics, self.states = [], [], [], [], []

    cdef int load(self, bint written) except -1:
        """Read weights, state and statistics from the arrays that the user's objects hold now."""
        cdef cnp.ndarray w, w0
        cdef Layer *layer
        cdef list arrays = []
        for i, module, w_name, w0_name in self.owners:
            layer = &self.e.net.layers[<Py_ssize_t>i]
            w = self.array(w_name, getattr(module, w_name),
                           layer.inputs if layer.kind == LINEAR else layer.outputs,
                           layer.outputs if layer.kind == LINEAR else 1, written)
            w0 = self.array(w0_name, getattr(module, w0_name), layer.outputs, 1, written)
            arrays.append((w, w0))
        self.arrays = arrays
        self.find_statistics()
        self.move(True)
        return 0

    cdef int store(self) except -1:
        """Write everything back to the arrays it was read from. Allocates nothing, so that a store
        is never left half done."""
        return self.move(False)

    cdef int move(self, bint loads) except -1:
        """Load or store weights, state and statistics."""
        cdef Engine *e = self.e
        cdef Py_ssize_t k, i
        cdef int j
        cdef tuple owner, pair
        cdef bint is_norm
        for k in range(len(self.owners)):
            owner, pair = self.owners[k], self.arrays[k]
            i = owner[0]
            is_norm = e.net.layers[i].kind == BATCHNORM
            transfer(e, i, -1, loads, matrix_view(pair[0], is_norm), matrix_view(pair[1], True))
            for j in range(e.opt.n_states if e.opt.active else 0):
                pair = self.states[k]
                transfer(e, i, j, loads, matrix_view((<tuple>pair[0])[j], is_norm),
                         matrix_view((<tuple>pair[1])[j], True))
        for k in range(len(self.norms)):
            owner, pair = self.norms[k], self.statistics[k]
            if loads:
                load_statistics(e, owner[0], matrix_view(pair[0], True), matrix_view(pair[1], True))
            else:
                store_statistics(e, owner[0], matrix_view(pair[0], True),
                                 matrix_view(pair[1], True))
        return 0

    cdef cnp.ndarray array(self, str name, object x, Py_ssize_t rows, Py_ssize_t columns,
                           bint written):
        """The user's array, validated again, as Python code may have replaced it."""
        cdef int type_number = self.e.net.type_number
        if (not is_addressable(x, type_number) or cnp.PyArray_NDIM(<cnp.ndarray>x) != 2
                or cnp.PyArray_DIM(<cnp.ndarray>x, 0) != rows
                or cnp.PyArray_DIM(<cnp.ndarray>x, 1) != columns
                or (written and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>x))):
            given = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            dtype = np.dtype(dtype_of(type_number))
            raise ValueError(f"{name} must stay a writeable {dtype} array of shape "
                             f"({rows}, {columns}) while its network runs, got {given}")
        return <cnp.ndarray>x

    cdef int find_statistics(self) except -1:
        """Set `statistics` to the arrays that the BatchNorms hold now."""
        cdef list found = []
        cdef Py_ssize_t n
        for i, module in self.norms:
            n = self.e.net.layers[<Py_ssize_t>i].outputs
            found.append((self.array("running_mean", module.running_mean, n, 1, True),
                          self.array("running_var", module.running_var, n, 1, True)))
        self.statistics = found
        return 0

    cdef list trained_arrays(self):
        """Every array of the user's that training changes."""
        cdef list arrays = []
        for _, module, w_name, w0_name in self.owners:
            arrays.append(getattr(module, w_name))
            arrays.append(getattr(module, w0_name))
        for _, module in self.norms:
            arrays.append(module.running_mean)
            arrays.append(module.running_var)
        for w_state, w0_state in self.states if self.e.opt.active else ():
            arrays.extend(w_state)
            arrays.extend(w0_state)
        return arrays
