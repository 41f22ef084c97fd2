# A frozen network: packed copies of the weights, called with as little as possible between Python
# and the arithmetic.
#
# One sample goes through fused_predict.h where the network is small, else layer by layer with
# scratch of its own, so that any number of threads may call at once. Several samples go through a
# Program, one caller at a time; a second caller makes itself another.

cdef object new_lock():
    """A lock; Python raises RuntimeError where there is no memory for it."""
    try:
        return threading.Lock()
    except RuntimeError:
        raise MemoryError("a predictor needs a lock, for which there is no memory") from None


cdef class Predictor:
    """A frozen copy of a Sequential of library modules: ``predictor(x, out=None)``. Made by
    Sequential.predictor().

    x: a sample (D,) or samples as columns (D, N), of any real type, converted to the network's.
    Returns the outputs (n,) or (n, N): probabilities after SoftMax or OutputSigmoid. out: an array
    of that shape and the network's type, contiguous in C or Fortran order, to write and return.
    Later changes of the network do not show. Any number of threads may call it at once.
    """

    cdef const nn_kernels *k
    cdef nn_fused_layer *layers
    cdef char *memory
    cdef Py_ssize_t count, inputs, outputs, itemsize, widest
    cdef int type_number, small_width
    # goes through fused_predict.h; in less time than to let other Python threads run meanwhile
    cdef bint small, brief
    cdef list stages
    cdef object lock, description
    cdef readonly object _program  # cached for calls with several samples; tests look at it
    cdef uint64_t process  # nn_pool_forks() of the process that _program and lock belong to

    def __cinit__(self, list stages, dtype, inputs, str description):
        cdef Py_ssize_t i, lanes, width, used = 0
        cdef nn_fused_layer *layer
        cdef cnp.ndarray w, w0
        self.type_number = cnp.NPY_FLOAT if np.dtype(dtype) == np.float32 else cnp.NPY_DOUBLE
        self.k = kernels_for(self.type_number)
        self.itemsize = self.k.itemsize
        self.count, self.inputs, self.description = len(stages), inputs, description
        self.stages = stages
        self._start()
        widths = [inputs]
        for linear, _ in self.stages:
            if linear:
                widths.append(linear.W.shape[1])
        self.outputs, self.widest = widths[len(widths) - 1], max(widths)
        self.small = max(widths[1:]) <= FUSED_VECTORS * self.k.lanes
        # fused_predict takes output units in the last layer only
        for i, (linear, name) in enumerate(self.stages):
            if not linear or (i < self.count - 1 and name in ("softmax", "output_sigmoid")):
                self.small = False
        lanes = self.k.lanes
        if self.small:
            self.small_width, lanes = 0, 16 // self.itemsize
            while lanes < max(widths[1:]) and lanes < self.k.lanes:
                self.small_width += 1
                lanes *= 2
        self.layers = <nn_fused_layer *>calloc(max(self.count, 1), sizeof(nn_fused_layer))
        for linear, _ in self.stages:
            if linear:
                width = (linear.W.shape[1] + lanes - 1) // lanes * lanes
                used += ((linear.W.shape[0] + 1) * width * self.itemsize + 127) // 64 * 64
        self.memory = <char *>calloc(used + 64, 1)
        if self.layers == NULL or self.memory == NULL:
            raise MemoryError(f"a predictor of this network needs {used} bytes, which are not available")
        at = self.memory + (64 - <size_t>self.memory % 64) % 64
        m = inputs
        for i, (linear, name) in enumerate(self.stages):
            layer = &self.layers[i]
            layer.m, layer.n = m, linear.W.shape[1] if linear else m
            layer.activation = activation_named(name)
            if linear:
                w, w0 = linear.W, linear.W0
                width = (layer.n + lanes - 1) // lanes * lanes
                layer.vectors = width // lanes
                layer.w = <char *>at
                layer.b = <char *>at + (layer.m * width * self.itemsize + 63) // 64 * 64
                at = <char *>layer.b + (width * self.itemsize + 63) // 64 * 64
                kind = NN_F64 if self.type_number == cnp.NPY_DOUBLE else NN_F32
                convert(layer.w, width, kind == NN_F64, layer.m, layer.n,
                        <char *>cnp.PyArray_DATA(w), cnp.PyArray_STRIDE(w, 0),
                        cnp.PyArray_STRIDE(w, 1), kind)
                convert(layer.b, width, kind == NN_F64, 1, layer.n, <char *>cnp.PyArray_DATA(w0),
                        0, cnp.PyArray_STRIDE(w0, 0), kind)
            m = layer.n
        self.brief = self.small and used < GIL_COPY * self.itemsize

    def __dealloc__(self):
        free(self.layers)
        free(self.memory)

    cdef int _start(self) except -1:
        """Start afresh in this process: after a fork, a thread that exists only in the parent may
        hold the lock and be in the middle of the program."""
        self._program, self.lock, self.process = None, new_lock(), nn_pool_forks()
        return 0

    def __call__(self, x, out=None):
        cdef cnp.ndarray a, y
        cdef cnp.npy_intp[2] shape
        cdef int ndim
        if (cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == self.type_number
            and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x)
                and 1 <= cnp.PyArray_NDIM(<cnp.ndarray>x) <= 2 and cnp.PyArray_DIM(<cnp.ndarray>x,
                                                                                   0) == self.inputs):
            a = <cnp.ndarray>x
        else:
            a = self._accepted(x)
        ndim = cnp.PyArray_NDIM(a)
        if ndim == 2 and cnp.PyArray_DIM(a, 1) != 1:
            return self._several(a, out)
        if not is_unit_stride(a, 0):
            a = ordered(a, False)
        if out is None:
            shape[0], shape[1] = self.outputs, 1
            y = <cnp.ndarray>cnp.PyArray_EMPTY(ndim, shape, self.type_number, False)
        else:
            y = self._checked_out(out, ndim)
        if self.brief:
            self.k.fused_predict[self.small_width](self.layers, self.count, cnp.PyArray_DATA(a),
                                                   cnp.PyArray_DATA(y))
        elif self.small:
            with nogil:
                self.k.fused_predict[self.small_width](self.layers, self.count,
                                                       cnp.PyArray_DATA(a), cnp.PyArray_DATA(y))
        else:
            self._one(<const char *>cnp.PyArray_DATA(a), <char *>cnp.PyArray_DATA(y))
        return y

    cdef cnp.ndarray _accepted(self, x):
        """x as an array of the network's type and one or two dimensions; TypeError or ValueError
        says what is wrong."""
        a = _checks.as_real("x", x, dtype_of(self.type_number))
        if a.ndim == 1:
            _checks.shape("x", a, (self.inputs,))
        else:
            _checks.shape("x", a, (self.inputs, "N"))
        return <cnp.ndarray>np.array(a, order="K", subok=False)

    cdef cnp.ndarray _checked_out(self, out, int ndim):
        cdef cnp.ndarray y
        cdef tuple wanted = (self.outputs, 1)
        if (cnp.PyArray_CheckExact(out) and cnp.PyArray_TYPE(<cnp.ndarray>out) == self.type_number
                and cnp.PyArray_ISBEHAVED(<cnp.ndarray>out) and cnp.PyArray_NDIM(<cnp.ndarray>out) == ndim):
            y = <cnp.ndarray>out
            if cnp.PyArray_DIM(y, 0) == self.outputs and (ndim == 1 or cnp.PyArray_DIM(y,
                                                                                       1) == 1) and is_unit_stride(y, 0):
                return y
        return <cnp.ndarray>_checks.out("out", out, wanted[:ndim], dtype_of(self.type_number))

    cdef int _one(self, const char *x, char *out) except -1:
        """One contiguous sample, layer by layer; scratch of this call's own."""
        cdef Py_ssize_t i, room = (self.widest + 2 * self.k.lanes) * self.itemsize
        cdef nn_fused_layer *layer
        cdef nn_softmax s
        cdef nn_activation f
        cdef char *scratch = <char *>malloc(2 * room)
        cdef char *a = scratch
        cdef const char *before = x
        if scratch == NULL:
            raise MemoryError()
        memset(&s, 0, sizeof(s))
        with nogil:
            for i in range(self.count):
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
                before, a = a, scratch if a != scratch else scratch + room
            memcpy(out, before, self.outputs * self.itemsize)
        free(scratch)
        return 0

    cdef object _several(self, cnp.ndarray X, out):
        """Columns X (D, N)."""
        cdef Py_ssize_t N = cnp.PyArray_DIM(X, 1)
        cdef cnp.ndarray P, columns
        if out is not None:
            out = _checks.out("out", out, (self.outputs, N), dtype_of(self.type_number))
        if self.small and N <= PREDICT_SINGLES:
            columns = X if is_unit_stride(X, 0) else ordered(X, True)
            P = new_matrix(self.outputs, N, self.type_number, True)
            if self.brief:
                self._small_ones(columns, P, N)
            else:
                with nogil:
                    self._small_ones(columns, P, N)
        else:
            P = self._run(X)
        if out is None:
            return P
        out[...] = P
        return out

    cdef object _run(self, X):
        """Run the cached program, or a new one if another thread is using it."""
        if self.process != nn_pool_forks():
            self._start()
        if not self.lock.acquire(False):
            return self._new_program().run(X)[0]
        try:
            if self._program is None:
                self._program = self._new_program()
            return self._program.run(X)[0]
        finally:
            self.lock.release()

    cdef void _small_ones(self, cnp.ndarray columns, cnp.ndarray P, Py_ssize_t N) noexcept nogil:
        """Contiguous columns one by one through a small network, into those of P."""
        cdef Py_ssize_t j
        for j in range(N):
            self.k.fused_predict[self.small_width](self.layers, self.count,
                                                   <char *>cnp.PyArray_DATA(columns) + j * cnp.PyArray_STRIDE(columns, 1),
                                                   <char *>cnp.PyArray_DATA(P) + j * self.outputs * self.itemsize)

    def _new_program(self):
        program = Program(self.stages, None, dtype_of(self.type_number), self.inputs)
        program.freeze()
        return program

    def __reduce__(self):
        stages = []
        for linear, name in self.stages:
            stages.append((linear and (linear.W, linear.W0), name))
        return _predictor, (stages, np.dtype(dtype_of(self.type_number)), self.inputs,
                            self.description)

    def __repr__(self):
        return f"Predictor({self.description}, {np.dtype(dtype_of(self.type_number))})"


class Frozen:
    """The weights of a Linear, copied."""

    def __init__(self, W, W0):
        self.W, self.W0 = W, W0


def _predictor(stages, dtype, inputs, description):
    frozen = []
    for weights, name in stages:
        frozen.append((weights and Frozen(*weights), name))
    return Predictor(frozen, dtype, inputs, description)
