# A frozen network for prediction: packed copies of the weights, with minimal overhead between
# Python and the arithmetic. Created by Sequential.predictor().
#
# One sample passes through fused_predict.h if the network is small, else layer by layer with
# scratch memory of the call, so that any number of threads may call at once. Several samples go to
# a Program, one caller at a time; a second caller creates another. So does one sample if the
# network has a layer of engine/special.pxi.

cdef object new_lock():
    """A lock. MemoryError replaces the RuntimeError that Python raises without memory for it."""
    try:
        return _thread.allocate_lock()
    except RuntimeError:
        raise MemoryError("a predictor needs a lock, for which there is no memory") from None


cdef class Predictor:
    """A frozen copy of a Sequential of library modules: ``predictor(x, out=None)``. Created by
    Sequential.predictor().

    x: a sample (D,) or samples as columns (D, N), of any real type, converted to the network's.
    Returns the outputs (n,) or (n, N): probabilities after SoftMax or OutputSigmoid. out: an array
    of that shape and the network's type, contiguous in C or Fortran order, to write and return.
    Later changes of the network have no effect. Any number of threads may call it at once.
    """

    cdef const nn_kernels *k
    cdef nn_fused_layer *layers
    cdef char *memory
    cdef Py_ssize_t n_layers, inputs, outputs, itemsize, widest
    cdef int type_number, width_index
    cdef bint fused        # one sample goes through fused_predict.h ...
    cdef bint holds_gil    # ... in less time than releasing the GIL would take
    cdef bint by_program   # a layer is neither a Linear nor an activation
    cdef list stages
    cdef object lock, description
    cdef readonly object _program  # cached for calls with several samples; tests look at it
    cdef uint64_t process  # nn_pool_forks() of the process that created _program and lock

    def __cinit__(self, list stages, dtype, inputs, str description):
        cdef Py_ssize_t lanes, bytes_
        self.type_number = cnp.NPY_FLOAT if np.dtype(dtype) == np.float32 else cnp.NPY_DOUBLE
        self.k = kernels_for(self.type_number)
        self.itemsize = self.k.itemsize
        self.n_layers, self.inputs, self.description = len(stages), inputs, description
        self.stages = stages
        for _, name in stages:
            self.by_program = self.by_program or name in SPECIAL_KINDS
        self._reset()
        lanes = self._choose_width()
        self.layers = <nn_fused_layer *>calloc(max(self.n_layers, 1), sizeof(nn_fused_layer))
        bytes_ = 0 if self.by_program else self._weight_bytes(lanes)
        self.memory = <char *>calloc(bytes_ + 64, 1)
        if self.layers == NULL or self.memory == NULL:
            raise MemoryError(f"a predictor of this network needs {bytes_} bytes, which are not "
                              "available")
        if not self.by_program:
            self._copy_weights(lanes)
        self.holds_gil = self.fused and bytes_ < GIL_COPY * self.itemsize

    def __dealloc__(self):
        free(self.layers)
        free(self.memory)

    cdef Py_ssize_t _choose_width(self) except -1:
        """Set the sizes, `fused` and width_index; return the lanes that rows are padded to."""
        cdef Py_ssize_t lanes = self.k.lanes
        widths = [self.inputs]
        for linear, name in self.stages:
            if linear and name not in SPECIAL_KINDS:
                widths.append(linear.W.shape[1])
        self.outputs, self.widest = widths[len(widths) - 1], max(widths)
        self.fused = not self.by_program and max(widths[1:]) <= FUSED_VECTORS * self.k.lanes
        # fused_predict supports output units in the last layer only
        for i, (linear, name) in enumerate(self.stages):
            if not linear or (i < self.n_layers - 1 and name in ("softmax", "output_sigmoid")):
                self.fused = False
        if self.fused:
            self.width_index, lanes = 0, 16 // self.itemsize
            while lanes < max(widths[1:]) and lanes < self.k.lanes:
                self.width_index += 1
                lanes *= 2
        return lanes

    cdef Py_ssize_t _weight_bytes(self, Py_ssize_t lanes) except -1:
        """Bytes of all weights, with padded rows on cache lines."""
        cdef Py_ssize_t width, bytes_ = 0
        for linear, _ in self.stages:
            if linear:
                width = (linear.W.shape[1] + lanes - 1) // lanes * lanes
                bytes_ += ((linear.W.shape[0] + 1) * width * self.itemsize + 127) // 64 * 64
        return bytes_

    cdef int _copy_weights(self, Py_ssize_t lanes) except -1:
        """Describe the layers and copy their weights to `memory`."""
        cdef Py_ssize_t i, width, m = self.inputs, itemsize = self.itemsize
        cdef int type_ = NN_F64 if self.type_number == cnp.NPY_DOUBLE else NN_F32
        cdef nn_fused_layer *layer
        cdef cnp.ndarray w, w0
        cdef char *next_w = self.memory + (64 - <size_t>self.memory % 64) % 64
        for i, (linear, name) in enumerate(self.stages):
            layer = &self.layers[i]
            layer.m, layer.n = m, linear.W.shape[1] if linear else m
            layer.activation = activation_named(name)
            if linear:
                w, w0 = linear.W, linear.W0
                width = (layer.n + lanes - 1) // lanes * lanes
                layer.vectors = width // lanes
                layer.w = next_w
                layer.b = next_w + (layer.m * width * itemsize + 63) // 64 * 64
                next_w = <char *>layer.b + (width * itemsize + 63) // 64 * 64
                convert(layer.w, width, type_ == NN_F64, layer.m, layer.n,
                        <char *>cnp.PyArray_DATA(w), cnp.PyArray_STRIDE(w, 0),
                        cnp.PyArray_STRIDE(w, 1), type_)
                convert(layer.b, width, type_ == NN_F64, 1, layer.n, <char *>cnp.PyArray_DATA(w0),
                        0, cnp.PyArray_STRIDE(w0, 0), type_)
            m = layer.n
        return 0

    cdef int _reset(self) except -1:
        """Set the state that belongs to this process: after a fork, a thread that exists only in
        the parent may hold the lock and be in the middle of the program."""
        self._program, self.lock, self.process = None, new_lock(), nn_pool_forks()
        return 0

    def __call__(self, x, out=None):
        cdef cnp.ndarray a, y
        cdef cnp.npy_intp[2] shape
        cdef int ndim
        if (cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == self.type_number
                and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x)
                and 1 <= cnp.PyArray_NDIM(<cnp.ndarray>x) <= 2
                and cnp.PyArray_DIM(<cnp.ndarray>x, 0) == self.inputs):
            a = <cnp.ndarray>x
        else:
            a = self._converted(x)
        ndim = cnp.PyArray_NDIM(a)
        if ndim == 2 and cnp.PyArray_DIM(a, 1) != 1:
            return self._batch(a, out)
        if not is_unit_stride(a, 0):
            a = ordered(a, False)
        if out is None:
            shape[0], shape[1] = self.outputs, 1
            y = <cnp.ndarray>cnp.PyArray_EMPTY(ndim, shape, self.type_number, False)
        else:
            y = self._checked_out(out, ndim)
        if self.holds_gil:
            self.k.fused_predict[self.width_index](self.layers, self.n_layers, cnp.PyArray_DATA(a),
                                                   cnp.PyArray_DATA(y))
        elif self.fused:
            with nogil:
                self.k.fused_predict[self.width_index](self.layers, self.n_layers,
                                                       cnp.PyArray_DATA(a), cnp.PyArray_DATA(y))
        elif self.by_program:
            np.reshape(y, (self.outputs, 1))[...] = self._run(np.reshape(a, (self.inputs, 1)))
        else:
            self._layer_by_layer(<const char *>cnp.PyArray_DATA(a), <char *>cnp.PyArray_DATA(y))
        return y

    cdef cnp.ndarray _converted(self, x):
        """x as an array of the network's type with one or two dimensions; TypeError or ValueError
        if it is none."""
        a = _checks.as_real("x", x, dtype_of(self.type_number))
        if a.ndim == 1:
            _checks.shape("x", a, (self.inputs,))
        else:
            _checks.shape("x", a, (self.inputs, "N"))
        return <cnp.ndarray>np.array(a, order="K", subok=False)

    cdef cnp.ndarray _checked_out(self, out, int ndim):
        """`out` for one sample; TypeError or ValueError if it does not fit."""
        cdef cnp.ndarray y
        cdef tuple wanted = (self.outputs, 1)
        if (cnp.PyArray_CheckExact(out) and cnp.PyArray_TYPE(<cnp.ndarray>out) == self.type_number
                and cnp.PyArray_ISBEHAVED(<cnp.ndarray>out)
                and cnp.PyArray_NDIM(<cnp.ndarray>out) == ndim):
            y = <cnp.ndarray>out
            if (cnp.PyArray_DIM(y, 0) == self.outputs
                    and (ndim == 1 or cnp.PyArray_DIM(y, 1) == 1) and is_unit_stride(y, 0)):
                return y
        return <cnp.ndarray>_checks.out("out", out, wanted[:ndim], dtype_of(self.type_number))

    cdef int _layer_by_layer(self, const char *x, char *out) except -1:
        """One contiguous sample through a large network, with scratch memory of this call."""
        cdef Py_ssize_t i, bytes_ = (self.widest + 2 * self.k.lanes) * self.itemsize
        cdef nn_fused_layer *layer
        cdef nn_softmax s
        cdef nn_activation f
        cdef char *scratch = <char *>malloc(2 * bytes_)
        cdef char *a = scratch
        cdef const char *before = x
        if scratch == NULL:
            raise MemoryError()
        memset(&s, 0, sizeof(s))
        with nogil:
            for i in range(self.n_layers):
                layer = &self.layers[i]
                f = layer.activation
                if f.kind == NN_SOFTMAX:
                    f.kind = NN_NONE
                if layer.w != NULL:
                    self.k.gemv(layer.m, layer.vectors * self.k.lanes, before, NULL, layer.w,
                                layer.vectors * self.k.lanes, layer.b, a, f)
                else:
                    self.k.activation_forward(layer.n, before, a, f)
                if layer.activation.kind == NN_SOFTMAX:
                    s.batch, s.classes, s.classes_contiguous = 1, layer.n, 1
                    s.z, s.z_sample, s.z_class = a, layer.n, 1
                    s.p, s.p_sample, s.p_class = a, layer.n, 1
                    self.k.softmax(&s)
                before, a = a, scratch if a != scratch else scratch + bytes_
            memcpy(out, before, self.outputs * self.itemsize)
        free(scratch)
        return 0

    cdef object _batch(self, cnp.ndarray X, out):
        """The outputs (n, N) for columns X (D, N)."""
        cdef Py_ssize_t N = cnp.PyArray_DIM(X, 1)
        cdef cnp.ndarray P, columns
        if out is not None:
            out = _checks.out("out", out, (self.outputs, N), dtype_of(self.type_number))
        if self.fused and N <= PREDICT_SINGLES:
            columns = X if is_unit_stride(X, 0) else ordered(X, True)
            P = new_matrix(self.outputs, N, self.type_number, True)
            if self.holds_gil:
                self._column_by_column(columns, P, N)
            else:
                with nogil:
                    self._column_by_column(columns, P, N)
        else:
            P = self._run(X)
        if out is None:
            return P
        out[...] = P
        return out

    cdef object _run(self, X):
        """Run the cached program, or a new one if another thread is using it."""
        if self.process != nn_pool_forks():
            with cython.critical_section(self):
                if self.process != nn_pool_forks():  # no other thread of the child was first
                    self._reset()
        if not self.lock.acquire(False):
            return self._new_program().run(X)[0]
        try:
            if self._program is None:
                self._program = self._new_program()
            return self._program.run(X)[0]
        finally:
            self.lock.release()

    cdef void _column_by_column(self, cnp.ndarray columns, cnp.ndarray P,
                                Py_ssize_t N) noexcept nogil:
        """Contiguous columns through a small network, one by one, into those of P."""
        cdef char *x = <char *>cnp.PyArray_DATA(columns)
        cdef char *y = <char *>cnp.PyArray_DATA(P)
        cdef Py_ssize_t j, x_bytes = cnp.PyArray_STRIDE(columns, 1)
        cdef Py_ssize_t y_bytes = self.outputs * self.itemsize
        for j in range(N):
            self.k.fused_predict[self.width_index](self.layers, self.n_layers, x + j * x_bytes,
                                                   y + j * y_bytes)

    def _new_program(self):
        program = Program(self.stages, None, dtype_of(self.type_number), self.inputs)
        program.freeze()
        return program

    def __reduce__(self):
        stages = []
        for linear, name in self.stages:
            if linear and name not in SPECIAL_KINDS:
                linear = linear.W, linear.W0
            stages.append((linear, name))
        return _predictor, (stages, np.dtype(dtype_of(self.type_number)), self.inputs,
                            self.description)

    def __repr__(self):
        return f"Predictor({self.description}, {np.dtype(dtype_of(self.type_number))})"


class Frozen:
    """The weights of a Linear, for unpickling."""

    def __init__(self, W, W0):
        self.W, self.W0 = W, W0


def _predictor(stages, dtype, inputs, description):
    frozen = []
    for weights, name in stages:
        frozen.append((Frozen(*weights) if isinstance(weights, tuple) else weights, name))
    return Predictor(frozen, dtype, inputs, description)
